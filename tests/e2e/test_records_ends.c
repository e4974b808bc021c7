/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How TLS connections end: alerts, goodbyes from either side, half-close, clients that stop
 * reading, resets at every stage. No part of a request becomes a whole one and no part of an answer
 * looks complete; what was refused is counted, and the daemon goes on serving.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "record.h"

TestSuite(records_ends, .timeout = E2E_TIMEOUT);

#define BIG 300000

/* ---- alerts and goodbyes ---- */

Test(records_ends, harmless_alerts)
{
	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	each_version(v)
	{
		struct rec *r = rec_open(p.gw->tls, *v);

		rec_addf(r, "GET /harmless HTTP/1.1\r\n");
		rec_add_alert(r, SSL3_AL_WARNING, SSL_AD_USER_CANCELLED);
		rec_addf(r, "Host: gw.test\r\n\r\n");
		cr_assert(rec_flush(r, 0));
		rec_expect_answer(r, "/harmless");
		/* but not without end */
		for (int i = 0; i < 50; i++)
			rec_add_alert(r, SSL3_AL_WARNING, SSL_AD_USER_CANCELLED);
		rec_add_get(r, "/never");
		rec_flush(r, 0);
		cr_expect(rec_end(r));
		cr_expect_eq(r->plain.len, 0);
		rec_close(r, false);
	}
	expect_refused(p.gw, "record", 1);
	place_expect_target(p.be, "/harmless");
	place_close(&p);
}

/* A fatal alert is the end at once, whatever stands behind it. */
Test(records_ends, fatal_alerts)
{
	e2e_need_gate();
	struct place p = place_open(NULL, NULL);
	double count = 0;

	p.be->no_record = true;
	each_version(v)
	{
		for (int body = 0; body < 2; body++) {
			struct rec *r = rec_open(p.gw->tls, *v);

			rec_addf(r, body ? "POST /x HTTP/1.1\r\nHost: gw.test\r\n"
					   "Content-Length: 10\r\n\r\nhello"
					 : "GET /x HTTP/1.1\r\n");
			rec_add_alert(r, SSL3_AL_FATAL, SSL_AD_INTERNAL_ERROR);
			rec_addf(r, body ? "hello" : "Host: gw.test\r\n\r\n");
			rec_flush(r, 0);
			cr_expect(rec_end(r));
			cr_expect_not(r->goodbye);
			cr_expect_eq(r->plain.len, 0);
			expect_refused(p.gw, "alert", ++count);
			rec_close(r, false);
		}
	}
	cr_expect_eq(place_complete(p.be), 0);
	place_close(&p);
}

static void handle_big(struct bconn *c, struct breq *r)
{
	bconn_body(c, r);
	bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BIG);
	bconn_send_pattern(c, BIG, false);
}

/* Who has said goodbye, or only closed his side, still gets all of the answer, and a goodbye. */
Test(records_ends, goodbye_then_the_answer)
{
	e2e_need_gate();
	struct place p = place_open(handle_big, NULL);

	each_version(v)
	{
		for (int how = 0; how < 3; how++) {
			struct rec *r = rec_open(p.gw->tls, *v);
			struct text body = {0};

			rec_add_get(r, "/goodbye");
			if (how)
				rec_add_alert(r, SSL3_AL_WARNING, SSL_AD_CLOSE_NOTIFY);
			cr_assert(rec_flush(r, 0));
			if (how != 1)
				rec_fin(r);
			cr_expect_eq(rec_response(r, &body), 200, "version %x, way %d", *v, how);
			cr_expect_eq(pattern_hash(0, body.p, body.len), pattern_hash_of(BIG));
			cr_expect(rec_end(r));
			cr_expect(r->goodbye && r->fin && !r->broken, "version %x, way %d", *v,
				  how);
			text_free(&body);
			rec_close(r, false);
		}
	}
	place_close(&p);
}

/* Half a request and a goodbye, or just an end: it stays half. */
Test(records_ends, goodbye_in_a_request)
{
	static const char *const halves[] = {
		"GET /half HTTP/1.1\r\nHost: gw.test\r\n",
		"POST /half HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 10\r\n\r\nhello",
		"POST /half HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: "
		"chunked\r\n\r\n5\r\nhello\r\n",
	};

	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	p.be->no_record = true;
	each_version(v)
	{
		for (size_t i = 0; i < 2 * E2E_ARRAY_SIZE(halves); i++) {
			struct rec *r = rec_open(p.gw->tls, *v);
			int status;

			rec_addf(r, "%s", halves[i / 2]);
			if (i % 2)
				rec_add_alert(r, SSL3_AL_WARNING, SSL_AD_CLOSE_NOTIFY);
			/* data behind a goodbye is void */
			if (i % 2)
				rec_addf(r, "\r\nhello0\r\n\r\n");
			cr_assert(rec_flush(r, 0));
			rec_fin(r);
			status = rec_response(r, NULL);
			cr_expect(status == 400, "version %x, row %zu: %d", *v, i, status);
			cr_expect(rec_end(r));
			rec_close(r, false);
		}
	}
	cr_expect_eq(place_complete(p.be), 0);
	place_close(&p);
}

enum { SEEN, RESETS };

/* Sends the reply and closes, or resets once the client has it. */
static void handle_and_close(struct bconn *c, struct breq *r)
{
	struct backend *be = c->be;
	bool reset = be->flags[RESETS];

	bconn_body(c, r);
	bconn_send(c, be->reply, be->reply_len);
	if (reset)
		backend_until(be, SEEN, (int)++be->counter);
	bconn_close(c, reset);
}

/* Goodbye means that the answer was complete, and only that. */
Test(records_ends, the_servers_goodbye)
{
	static const struct {
		const char *reply;
		int minor;
		bool reset, whole;
	} rows[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0, false, true},
		{"HTTP/1.0 200 OK\r\n\r\nto the end", 0, false, true},
		{"HTTP/1.0 200 OK\r\n\r\nto the end", 1, false, true},
		{"HTTP/1.0 200 OK\r\n\r\nto a reset", 0, true, false},
		{"HTTP/1.0 200 OK\r\n\r\nto a reset", 1, true, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", 0, false, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", 1, false, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 0, false,
		 false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n", 1,
		 false, false},
	};

	e2e_need_gate();
	struct place p = place_open(handle_and_close, NULL);
	int seen = 0;

	each_version(v)
	{
		for (size_t i = 0; i < E2E_ARRAY_SIZE(rows); i++) {
			struct rec *r = rec_open(p.gw->tls, *v);

			backend_reply(p.be, rows[i].reply);
			backend_set(p.be, RESETS, rows[i].reset);
			rec_addf(r,
				 "GET /%zu HTTP/1.%d\r\nHost: gw.test\r\nConnection: close\r\n\r\n",
				 i, rows[i].minor);
			cr_assert(rec_flush(r, 0));
			if (rows[i].reset) { /* once its answer is here */
				cr_assert(rec_plain(r, 20));
				backend_set(p.be, SEEN, ++seen);
			}
			cr_expect(rec_end(r));
			cr_expect_not(r->broken, "version %x, row %zu", *v, i);
			cr_expect_eq(r->goodbye, rows[i].whole, "version %x, row %zu", *v, i);
			rec_close(r, false);
		}
	}
	place_close(&p);
}

/* ---- ends of all sorts ---- */

static void handle_endless(struct bconn *c, struct breq *r)
{
	bconn_body(c, r);
	bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
	bconn_send_pattern(c, 100000000, false);
	bconn_close(c, false);
}

Test(records_ends, a_client_that_stops_reading)
{
	e2e_need_gate();
	struct place p = place_open(handle_endless,
				    &(struct gw_spec){.timeouts = "{ body: 300ms }"});
	double count = 0;

	each_version(v)
	{
		struct rec *r = rec_open(p.gw->tls, *v);

		rec_add_get(r, "/endless");
		cr_assert(rec_flush(r, 0));
		cr_expect(e2e_wait(gw_metric(p.gw, "hardtack_timeouts_total", NULL) > count));
		count++;
		cr_expect(e2e_wait(p.be->nclosed == p.be->nconns), "the backend is left writing");
		/* what is in the pipes still comes, but no goodbye */
		rec_end(r);
		cr_expect_not(r->goodbye);
		cr_expect_lt(r->plain.len, 100000000);
		rec_close(r, false);
	}
	place_close(&p);
}

enum stage {
	AT_CONNECT,
	AT_HALF_A_HELLO,
	AT_HELLO,
	AT_FINISHED,
	AT_HALF_A_HEAD,
	AT_HALF_A_BODY,
	AT_HALF_A_RECORD,
	AT_REQUEST,
	AT_HALF_AN_ANSWER,
	AT_IDLE,
	AT_GOODBYE,
	NSTAGES,
};

/* Up to there and no further. */
static struct rec *rec_until(struct place *p, int version, enum stage stage)
{
	struct rec *r = rec_connect(p->gw->tls, version);

	if (stage == AT_HALF_A_HELLO || stage == AT_HELLO)
		rec_hello(r, stage == AT_HELLO ? 0 : 100);
	if (stage < AT_FINISHED)
		return r;
	cr_assert(rec_handshake(r, 0));
	if (stage == AT_HALF_A_HEAD)
		rec_addf(r, "GET /half HTTP/1.1\r\n");
	else if (stage == AT_HALF_A_BODY)
		rec_addf(r,
			 "POST /half HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 9\r\n\r\nfour");
	else if (stage >= AT_HALF_A_RECORD)
		rec_add_get(r, "/whole");
	if (stage == AT_HALF_A_RECORD)
		r->packet.len -= 10;
	if (stage == AT_GOODBYE)
		rec_add_alert(r, SSL3_AL_WARNING, SSL_AD_CLOSE_NOTIFY);
	cr_assert(rec_flush(r, 0));
	if (stage == AT_HALF_AN_ANSWER)
		rec_plain(r, 1000);
	else if (stage >= AT_IDLE)
		rec_response(r, NULL);
	return r;
}

Test(records_ends, reset_at_every_stage)
{
	e2e_need_gate();
	struct place p = place_open(handle_big, NULL);

	p.be->no_record = true;
	each_version(v)
	{
		for (int stage = 0; stage < NSTAGES; stage++) {
			int before = place_complete(p.be);
			struct rec *r = rec_until(&p, *v, stage);

			rec_close(r, true);
			cr_expect(e2e_wait(place_is_quiet(&p)), "version %x, stage %d", *v, stage);
			if (stage < AT_REQUEST)
				cr_expect_eq(place_complete(p.be), before, "version %x, stage %d",
					     *v, stage);
		}
	}
	place_close(&p);
}

/* ---- behind a 101 ---- */

/* Echoes until the client has closed his side, then says so and closes. */
static void handle_tunnel(struct bconn *c, struct breq *r)
{
	char buf[4096];
	ssize_t n;

	(void)r;
	bconn_sendf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n"
		       "Connection: upgrade\r\n\r\n");
	while ((n = bconn_recv(c, buf, sizeof(buf))) > 0)
		bconn_send(c, buf, (size_t)n);
	bconn_sendf(c, n ? "cut" : "bye");
	bconn_close(c, false);
}

Test(records_ends, goodbye_in_a_tunnel)
{
	e2e_need_gate();
	struct place p = place_open(handle_tunnel, NULL);

	each_version(v)
	{
		struct rec *r = rec_open(p.gw->tls, *v);

		rec_addf(r, "GET /echo HTTP/1.1\r\nHost: gw.test\r\nUpgrade: echo\r\n"
			    "Connection: upgrade\r\n\r\n");
		cr_assert(rec_flush(r, 0));
		cr_assert_eq(rec_response(r, NULL), 101);
		for (const char *s = "one by one"; *s; s++)
			rec_add(r, REC_DATA, s, 1, 0);
		cr_assert(rec_flush(r, 3));
		cr_expect(rec_plain(r, 10));
		rec_add_alert(r, SSL3_AL_WARNING, SSL_AD_CLOSE_NOTIFY);
		cr_assert(rec_flush(r, 0));
		cr_expect(rec_end(r));
		cr_expect_str_eq(r->plain.p, "one by onebye");
		cr_expect(r->goodbye && !r->broken, "version %x", *v);
		rec_close(r, false);
	}
	place_close(&p);
}
