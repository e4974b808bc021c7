/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be done with TLS records: cut, glued, empty, forged, out of place; no handshake at all;
 * key updates, renegotiation, tickets, early data. No part of a request becomes a whole one, what
 * was refused is counted, and the daemon goes on serving without a descriptor lost. The same with
 * records in the kernel's hands, where only a change of keys may end a connection that is in order.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "record.h"

TestSuite(records, .timeout = E2E_TIMEOUT);

/* ---- cuts and joins ---- */

Test(records, packets_of_any_size)
{
	static const size_t cuts[] = {1, 7, 1000};
	static const char body[] = "sixteen letters!";

	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	each_version(v)
	{
		for (size_t i = 0; i < E2E_ARRAY_SIZE(cuts); i++) {
			struct rec *r = rec_connect(p.gw->tls, *v);

			cr_assert(rec_handshake(r, cuts[i]));
			cr_assert(rec_flush(r, cuts[i]));
			rec_addf(r,
				 "POST /cut HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 16\r\n");
			rec_addf(r, "\r\n%.5s", body);
			rec_addf(r, "%s", body + 5);
			cr_assert(rec_flush(r, cuts[i]));
			rec_expect_answer(r, "/cut");
			cr_expect_str_eq(backend_last(p.be)->body, body);
			rec_close(r, false);
		}
	}
	place_close(&p);
}

Test(records, of_one_byte)
{
	static const char request[] =
		"POST /one HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 9\r\n\r\nnine byte";

	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	each_version(v)
	{
		struct rec *r = rec_open(p.gw->tls, *v);

		for (const char *s = request; *s; s++)
			rec_add(r, REC_DATA, s, 1, 0);
		cr_assert(rec_flush(r, 0));
		rec_expect_answer(r, "/one");
		cr_expect_str_eq(backend_last(p.be)->body, "nine byte");
		rec_close(r, false);
	}
	place_close(&p);
}

Test(records, glued_to_the_handshake)
{
	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	each_version(v)
	{
		struct rec *r = rec_connect(p.gw->tls, *v);

		/* the client's Finished waits in the packet: two requests leave with it */
		cr_assert(rec_handshake(r, 0));
		rec_add_get(r, "/first");
		rec_add_get(r, "/second");
		cr_assert(rec_flush(r, 0));
		rec_expect_answer(r, "/first");
		rec_expect_answer(r, "/second");
		rec_close(r, false);
	}
	place_close(&p);
}

Test(records, empty_and_padded)
{
	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	each_version(v)
	{
		struct rec *r = rec_open(p.gw->tls, *v);

		for (int i = 0; i < 5; i++) {
			rec_add(r, REC_DATA, "", 0, 0);
			rec_add(r, REC_DATA, "GET /", i ? 0 : 5, 100);
		}
		rec_add(r, REC_DATA, "empty HTTP/1.1\r\nHost: gw.test\r\n\r\n", 33, 16000);
		cr_assert(rec_flush(r, 0));
		rec_expect_answer(r, "/empty");
		place_expect_target(p.be, "/empty");
		rec_close(r, false);
	}
	place_close(&p);
}

Test(records, of_every_size_up_to_the_largest)
{
	static const size_t sizes[] = {2, 255, 256, 4096, 16383, 16384};

	e2e_need_gate();
	struct place p = place_open(NULL, NULL);
	char *data = malloc(16384);

	each_version(v)
	{
		struct rec *r = rec_open(p.gw->tls, *v);
		uint64_t at = 0;

		rec_addf(r,
			 "POST /sizes HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 37376\r\n\r\n");
		for (size_t i = 0; i < E2E_ARRAY_SIZE(sizes); i++) {
			pattern_fill(data, sizes[i], at);
			rec_add(r, REC_DATA, data, sizes[i], 0);
			at += sizes[i];
		}
		cr_assert_eq(at, 37376);
		cr_assert(rec_flush(r, 0));
		rec_expect_answer(r, "/sizes");
		cr_expect_eq(backend_last(p.be)->body_len, at);
		cr_expect_eq(backend_last(p.be)->body_hash, pattern_hash_of(at));
		rec_close(r, false);
	}
	free(data);
	place_close(&p);
}

/* ---- records that are none ---- */

static void flip_tag(struct text *t)
{
	t->p[t->len - 1] ^= 1;
}

static void flip_data(struct text *t)
{
	t->p[t->len - 20] ^= 1;
}

static void change_type(struct text *t)
{
	t->p[0] = 99;
}

static void change_version(struct text *t)
{
	t->p[1] = 9;
}

static void make_longer(struct text *t)
{
	t->p[3] = 0x7f; /* beyond what any record may have */
}

static void make_shorter(struct text *t)
{
	t->p[4]--;
}

static void twice(struct text *t)
{
	char copy[4096];
	size_t len = t->len;

	memcpy(copy, t->p, len);
	text_add(t, copy, len);
}

/* The second half of the request is not what was sealed, or comes twice. */
Test(records, forged_on_the_way)
{
	static const struct {
		const char *name;
		void (*break_it)(struct text *packet);
		int whole; /* requests that are in order before that */
	} rows[] = {
		{"tag", flip_tag, 0},	      {"data", flip_data, 0},
		{"type", change_type, 0},     {"version", change_version, 0},
		{"too long", make_longer, 0}, {"too short", make_shorter, 0},
		{"comes twice", twice, 1},
	};

	e2e_need_gate();
	struct place p = place_open(NULL, NULL);
	double count = 0;
	int whole = 0;

	p.be->no_record = true; /* how far a broken body gets is a matter of time */
	each_version(v)
	{
		for (size_t i = 0; i < E2E_ARRAY_SIZE(rows); i++) {
			struct rec *r = rec_open(p.gw->tls, *v);

			rec_addf(r, "POST /forged HTTP/1.1\r\nHost: gw.test\r\n"
				    "Content-Length: 30\r\n\r\n");
			cr_assert(rec_flush(r, 0));
			rec_addf(r, "123456789012345678901234567890");
			rows[i].break_it(&r->packet);
			rec_flush(r, 0);
			rec_fin(r); /* who waits for more of it gets no more */
			cr_expect(rec_end(r));
			whole += rows[i].whole;
			/* TLS 1.3 seals the type inside, and the kernel doesn't read the other */
			if (rows[i].break_it == change_type && r->plain.len &&
			    place_offloaded(p.gw, TLS1_3_VERSION, "ktls_rx=\"on\"")) {
				cr_expect_str_eq(backend_last(p.be)->body,
						 "123456789012345678901234567890");
				whole++;
				rec_close(r, false);
				continue;
			}
			count++;
			cr_expect(e2e_wait(place_refused(p.gw, "record") >= count),
				  "%s: not counted", rows[i].name);
			cr_expect_leq(place_complete(p.be), whole,
				      "version %x, %s: half became whole", *v, rows[i].name);
			cr_expect(r->alert >= 0 || r->reset || !r->goodbye, "%s", rows[i].name);
			rec_close(r, false);
		}
	}
	place_close(&p);
}

/* A kernel that gets its keys late finds it before the server's part of the handshake is over. */
static double record_or_handshake(struct gw *gw)
{
	return place_refused(gw, "record") + gw_metric(gw, "hardtack_tls_failed_total", NULL);
}

Test(records, sealed_but_too_large)
{
	e2e_need_gate();
	struct place p = place_open(NULL, NULL);
	char *data = calloc(1, 20000);

	memset(data, 'a', 20000);
	memcpy(data, "GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n", 33);
	each_version(v)
	{
		static const size_t sizes[] = {16385, 16384 + 256, 20000};

		for (size_t i = 0; i < E2E_ARRAY_SIZE(sizes); i++) {
			struct rec *r = rec_open(p.gw->tls, *v);
			double before = record_or_handshake(p.gw);

			rec_add(r, REC_DATA, data, sizes[i], 0);
			rec_flush(r, 0);
			cr_expect(rec_end(r));
			cr_expect_not(r->goodbye);
			cr_expect(e2e_wait(record_or_handshake(p.gw) > before),
				  "version %x, %zu: not counted", *v, sizes[i]);
			rec_close(r, false);
		}
	}
	cr_expect_eq(backend_count(p.be), 0);
	free(data);
	place_close(&p);
}

/* Sealed with the right keys, and still nothing that belongs there. */
Test(records, out_of_place)
{
	static const struct {
		const char *name;
		int version, type;
		const char *data;
		size_t len;
	} rows[] = {
		{"unknown type", 0, 99, "x", 1},
		{"heartbeat", 0, 24, "\x01\x00\x10hello", 8},
		{"change cipher spec", TLS1_2_VERSION, REC_CCS, "\x01", 1},
		{"change cipher spec, sealed", TLS1_3_VERSION, REC_CCS, "\x01", 1},
		{"Finished once more", 0, REC_HANDSHAKE, "\x14\0\0\x0cxxxxxxxxxxxx", 16},
		{"a client hello", TLS1_3_VERSION, REC_HANDSHAKE, "\x01\0\0\x02\3\3", 6},
		{"a ticket from the client", TLS1_3_VERSION, REC_HANDSHAKE,
		 "\x04\0\0\x0d\0\0\0\1\0\0\0\1\0\0\1x\0", 17},
		{"key update of another kind", TLS1_3_VERSION, REC_HANDSHAKE, "\x18\0\0\1\2", 5},
		{"key update and more", TLS1_3_VERSION, REC_HANDSHAKE, "\x18\0\0\1\0\x18\0\0\1\0",
		 10},
		{"half a message", TLS1_3_VERSION, REC_HANDSHAKE, "\x18\0\0", 3},
		{"an empty handshake record", TLS1_3_VERSION, REC_HANDSHAKE, "", 0},
		{"an alert of one byte", 0, REC_ALERT, "\x01", 1},
		{"an alert of three bytes", 0, REC_ALERT, "\x01\x5a\x00", 3},
		{"an alert of no level", TLS1_2_VERSION, REC_ALERT, "\x07\x5a", 2},
	};

	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	each_version(v)
	{
		for (size_t i = 0; i < E2E_ARRAY_SIZE(rows); i++) {
			struct rec *r;
			double before = gw_metric(p.gw, "hardtack_tls_refused_total", NULL);

			if (rows[i].version && rows[i].version != *v)
				continue;
			r = rec_open(p.gw->tls, *v);
			rec_addf(r, "GET /half HTTP/1.1\r\n");
			rec_add(r, rows[i].type, rows[i].data, rows[i].len, 0);
			rec_addf(r, "Host: gw.test\r\n\r\n");
			rec_flush(r, 0);
			cr_expect(rec_end(r), "version %x, %s: goes on", *v, rows[i].name);
			cr_expect_not(r->goodbye, "version %x, %s", *v, rows[i].name);
			cr_expect(e2e_wait(gw_metric(p.gw, "hardtack_tls_refused_total", NULL) >
					   before),
				  "version %x, %s: not counted", *v, rows[i].name);
			rec_close(r, false);
		}
	}
	cr_expect_eq(backend_count(p.be), 0);
	place_close(&p);
}

Test(records, empty_ones_without_end)
{
	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	each_version(v)
	{
		struct rec *r = rec_open(p.gw->tls, *v);

		for (int i = 0; i < 2000; i++)
			rec_add(r, REC_DATA, "", 0, 0);
		rec_flush(r, 0);
		cr_expect_eq(client_once(p.gw, NULL, ""), 200);
		rec_add_get(r, "/late");
		rec_flush(r, 0);
		/* the library takes 32 in a row; the kernel, which has no limit, skips them */
		if (rec_response(r, NULL) == 200)
			cr_expect(place_offloaded(p.gw, *v, "ktls_rx=\"on\""));
		else
			expect_refused(p.gw, "record", 1);
		rec_close(r, false);
	}
	p.be->no_record = true;
	place_close(&p);
}

/* ---- before there are keys ---- */

Test(records, instead_of_a_handshake)
{
	static const struct {
		const char *name;
		const char *data;
		size_t len;
		const char *answer;
	} rows[] = {
		{"an alert", "\x15\x03\x01\0\2\1\0", 7, NULL},
		{"a fatal alert", "\x15\x03\x01\0\2\2\x28", 7, NULL},
		{"plain HTTP", "GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n", 33, "HTTP/1.1 400 "},
		{"plain HTTP with a body",
		 "POST / HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 3\r\n\r\nabc", 54,
		 "HTTP/1.1 400 "},
		{"data", "\x17\x03\x03\0\5hello", 10, NULL},
		{"change cipher spec", "\x14\x03\x03\0\1\1", 6, NULL},
		{"a record without end", "\x16\x03\x01\xff\xff\1", 6, NULL},
		{"an SSL 2 hello", "\x80\x2e\1\0\2\0\x15\0\0\0\x10\1\0\x80\2\0\x80", 17, NULL},
		{"noise", "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8", 8, NULL},
		{"nothing", "", 0, NULL},
		{"half a hello", "\x16\x03\x01\x02\0\1\0\1\xfc\3\3abcdef", 17, NULL},
	};

	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(rows); i++) {
		double before = gw_metric(p.gw, "hardtack_tls_failed_total", NULL);
		struct client *c = client_open(&(struct client_options){.port = p.gw->tls});
		char got[4096];
		ssize_t n = 0, len = 0;

		client_send(c, rows[i].data, rows[i].len);
		shutdown(c->fd, SHUT_WR);
		while (len < (ssize_t)sizeof(got) - 1 &&
		       (n = client_recv(c, got + len, sizeof(got) - 1 - (size_t)len)) > 0)
			len += n;
		got[len] = 0;
		cr_expect(c->eof, "%s: left open", rows[i].name);
		/* an alert, an answer, or nothing: never anything else */
		if (rows[i].answer)
			cr_expect(!strncmp(got, rows[i].answer, strlen(rows[i].answer)), "%s: %s",
				  rows[i].name, got);
		else
			cr_expect(!len || (len == 7 && got[0] == REC_ALERT), "%s: %zd bytes",
				  rows[i].name, len);
		cr_expect_eq(gw_metric(p.gw, "hardtack_tls_failed_total", NULL), before + 1, "%s",
			     rows[i].name);
		client_close(c);
	}
	cr_expect_eq(backend_count(p.be), 0);
	place_close(&p);
}

/* ---- keys ---- */

/* Served, or ended before anything of it was: where the kernel can't change its keys. */
static void expect_answer_or_end(struct place *p, struct rec *r, const char *target, bool may_end)
{
	int before = place_complete(p->be), status = rec_response(r, NULL);

	if (status == 200 || !may_end) {
		cr_expect_eq(status, 200, "version %x, %s", r->version, target);
		return;
	}
	cr_expect(rec_end(r));
	cr_expect_not(r->broken, "what came was no record");
	cr_expect_not(r->goodbye);
	cr_expect_eq(r->plain.len, 0);
	cr_expect_eq(place_complete(p->be), before, "%s was forwarded", target);
	expect_refused(p->gw, "key-update", 1);
}

Test(records, key_updates)
{
	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	each_version(v)
	{
		for (int requested = 0; *v == TLS1_3_VERSION && requested < 2; requested++) {
			struct rec *r = rec_open(p.gw->tls, *v);
			bool may_end;

			rec_add_get(r, "/before");
			cr_assert(rec_flush(r, 0));
			rec_expect_answer(r, "/before");
			may_end = place_offloaded(p.gw, *v, "ktls_rx=\"on\"") ||
				  (requested && place_offloaded(p.gw, *v, "ktls_tx=\"on\""));
			for (int i = 0; i < 3 && !r->fin && !r->reset; i++) {
				rec_add_key_update(r, requested);
				if (i)
					rec_flush(r, 0);
				rec_add_get(r, "/updated");
				rec_flush(r, 0);
				expect_answer_or_end(&p, r, "/updated", may_end);
			}
			printf("key updates, requested %d: %s\n", requested,
			       r->fin || r->reset ? "refused" : "followed");
			rec_close(r, false);
		}
	}
	p.be->no_record = true;
	place_close(&p);
}

Test(records, key_update_in_a_body)
{
	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	p.be->no_record = true;
	each_version(v)
	{
		struct rec *r;
		bool may_end;

		if (*v != TLS1_3_VERSION)
			continue;
		r = rec_open(p.gw->tls, *v);
		may_end = place_offloaded(p.gw, *v, "ktls_rx=\"on\"") ||
			  place_offloaded(p.gw, *v, "ktls_tx=\"on\"");
		rec_addf(r,
			 "POST /body HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 10\r\n\r\nhello");
		rec_add_key_update(r, true);
		rec_addf(r, "world");
		rec_flush(r, 0);
		cr_assert(e2e_wait(place_complete(p.be) || place_refused(p.gw, "key-update") > 0));
		if (place_complete(p.be) || !may_end) {
			cr_expect_str_eq(backend_last(p.be)->body, "helloworld");
			rec_expect_answer(r, "/body");
		} else {
			cr_expect(rec_end(r));
			expect_refused(p.gw, "key-update", 1);
		}
		rec_close(r, false);
	}
	place_close(&p);
}

/* Each costs the server more than the client: they end with the connection. */
Test(records, key_updates_without_end)
{
	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	each_version(v)
	{
		struct rec *r;

		if (*v != TLS1_3_VERSION)
			continue;
		r = rec_open(p.gw->tls, *v);
		for (int i = 0; i < 1000; i++)
			rec_add_key_update(r, false);
		rec_add_get(r, "/never");
		rec_flush(r, 0);
		cr_expect(rec_end(r));
		cr_expect_not(r->goodbye);
		cr_expect(e2e_wait(
			place_refused(p.gw, "flood") + place_refused(p.gw, "key-update") == 1));
		cr_expect_eq(backend_count(p.be), 0);
		rec_close(r, false);
	}
	place_close(&p);
}

/* A hello under the keys of TLS 1.2. Only its first bytes are looked at. */
static void add_hello(struct rec *r)
{
	char hello[43] = "\x01\0\0\x27\3\3";

	rec_add(r, REC_HANDSHAKE, hello, sizeof(hello), 0);
}

Test(records, renegotiation)
{
	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	each_version(v)
	{
		struct rec *r;

		if (*v != TLS1_2_VERSION)
			continue;
		r = rec_open(p.gw->tls, *v);
		add_hello(r);
		rec_add_get(r, "/after");
		cr_assert(rec_flush(r, 0));
		/* told no, and served all the same */
		cr_expect(backend_wait(p.be, 1));
		place_expect_target(p.be, "/after");
		rec_plain(r, 1);
		cr_expect_eq(r->alert, SSL_AD_NO_RENEGOTIATION);
		expect_refused(p.gw, "renegotiation", 1);
		rec_close(r, false);

		r = rec_open(p.gw->tls, *v);
		for (int i = 0; i < 1000; i++)
			add_hello(r);
		rec_add_get(r, "/never");
		rec_flush(r, 0);
		cr_expect(rec_end(r));
		expect_refused(p.gw, "flood", 1);
		cr_expect_eq(backend_count(p.be), 1);
		rec_close(r, false);
	}
	place_close(&p);
}

/* ---- sessions ---- */

/* One that can be resumed; the answer comes first, because TLS 1.3 sends tickets late. */
static SSL_SESSION *session_of(struct gw *gw, int version)
{
	struct rec *r = rec_open(gw->tls, version);
	SSL_SESSION *s;

	rec_add_get(r, "/session");
	cr_assert(rec_flush(r, 0));
	rec_expect_answer(r, "/session");
	s = SSL_get1_session(r->ssl);
	cr_assert(SSL_SESSION_is_resumable(s));
	rec_close(r, false);
	return s;
}

Test(records, tickets)
{
	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	each_version(v)
	{
		SSL_SESSION *s = session_of(p.gw, *v);

		for (int i = 0; i < 3; i++) {
			struct rec *r = rec_connect(p.gw->tls, *v);

			rec_resume(r, s);
			cr_assert(rec_handshake(r, i ? 50 : 0));
			rec_add_get(r, "/resumed"); /* with the last flight, if there is one */
			cr_assert(rec_flush(r, 0));
			rec_expect_answer(r, "/resumed");
			cr_expect(SSL_session_reused(r->ssl), "version %x", *v);
			rec_add_get(r, "/again");
			cr_assert(rec_flush(r, 1));
			rec_expect_answer(r, "/again");
			rec_close(r, false);
		}
		SSL_SESSION_free(s);
	}
	place_close(&p);
}

Test(records, early_data)
{
	static const char request[] = "GET /early HTTP/1.1\r\nHost: gw.test\r\n\r\n";

	e2e_need_gate();
	struct place p = place_open(NULL, NULL);

	each_version(v)
	{
		SSL_SESSION *s;
		struct rec *r;
		size_t n = 0;

		if (*v != TLS1_3_VERSION)
			continue;
		s = session_of(p.gw, *v);
		cr_expect_eq(SSL_SESSION_get_max_early_data(s), 0, "early data is offered");
		SSL_SESSION_set_max_early_data(s, 16384); /* nobody said that we may */
		r = rec_connect(p.gw->tls, *v);
		rec_resume(r, s);
		cr_expect_eq(SSL_write_early_data(r->ssl, request, sizeof(request) - 1, &n), 1);
		cr_expect_eq(n, sizeof(request) - 1);
		cr_assert(rec_handshake(r, 0));
		cr_expect_eq(SSL_get_early_data_status(r->ssl), SSL_EARLY_DATA_REJECTED);
		rec_add_get(r, "/late");
		cr_assert(rec_flush(r, 0));
		rec_expect_answer(r, "/late");
		place_expect_target(p.be, "/late");
		cr_expect_eq(backend_count(p.be), 2, "early data was forwarded");
		expect_refused(p.gw, "early-data", 1);
		rec_close(r, false);
		SSL_SESSION_free(s);
	}
	place_close(&p);
}
