/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backends that refuse, die, lie, dawdle or answer too soon; which connections are pooled and
 * which must not be; the end of the daemon itself.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

TestSuite(faults, .timeout = E2E_TIMEOUT);
TestSuite(pool, .timeout = E2E_TIMEOUT);
TestSuite(drain, .timeout = E2E_TIMEOUT);

static const char *upstreams(const char *fmt, int a, int b)
{
	static char buf[128];

	snprintf(buf, sizeof(buf), fmt, a, b);
	return buf;
}

Test(faults, refused_upstream_is_skipped)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw =
		gw_start(be, &(struct gw_spec){.upstreams = upstreams("127.0.0.1:%d, 127.0.0.1:%d",
								      port_free(), be->port)});

	for (int i = 0; i < 10; i++)
		cr_expect_eq(client_once(gw, NULL, ""), 200, "request %d", i);
	cr_expect_eq(backend_count(be), 10);
	gw_stop(gw);
	backend_stop(be);
}

Test(faults, nobody_there_is_502_or_503)
{
	e2e_need_gate();
	struct gw *gw = gw_start(
		NULL, &(struct gw_spec){.upstreams = upstreams("127.0.0.1:%d, 127.0.0.1:%d",
							       port_free(), port_free())});
	struct client *c = client_plain(gw);
	int status = client_get(c, "/", "")->status;

	cr_expect(status == 502 || status == 503, "%d", status);
	client_close(c);
	gw_stop(gw);
}

Test(faults, a_backend_that_comes_back_is_used_again)
{
	e2e_need_gate();
	int port = port_free();
	struct gw *gw =
		gw_start(NULL, &(struct gw_spec){.upstreams = upstreams("127.0.0.1:%d", port, 0)});
	struct backend *be;

	cr_expect_geq(client_once(gw, NULL, ""), 502);
	be = backend_start_on(port, NULL);
	cr_expect(e2e_wait(client_once(gw, NULL, "") == 200), "it is never tried again");
	gw_stop(gw);
	backend_stop(be);
}

Test(faults, round_robin_over_two)
{
	e2e_need_gate();
	struct backend *a = backend_start(NULL), *b = backend_start(NULL);
	struct gw *gw =
		gw_start(a, &(struct gw_spec){.upstreams = upstreams("127.0.0.1:%d, 127.0.0.1:%d",
								     a->port, b->port)});

	for (int i = 0; i < 20; i++)
		cr_expect_eq(client_once(gw, NULL, ""), 200);
	cr_expect_eq(backend_count(a), 10);
	cr_expect_eq(backend_count(b), 10);
	gw_stop(gw);
	backend_stop(a);
	backend_stop(b);
}

static const char *const partial[] = {
	"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n500\r\nhello",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n",
};

Test(faults, death_in_a_response_shows_at_the_client)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	for (int tls = 0; tls < 2; tls++) {
		for (size_t i = 0; i < E2E_ARRAY_SIZE(partial); i++) {
			struct client *c = tls ? client_tls(gw) : client_plain(gw);
			struct response *r;

			backend_reply_bytes(be, partial[i], strlen(partial[i]), true);
			r = client_get(c, "/", "");
			cr_expect_eq(r->status, 200);
			cr_expect(r->truncated, "row %zu: %llu bytes look complete", i,
				  (unsigned long long)r->body_len);
			cr_expect(c->eof);
			client_close(c);
		}
	}
	backend_reply(be, NULL);
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	gw_stop(gw);
	backend_stop(be);
}

Test(faults, nonsense_for_a_response_is_502)
{
	static const struct {
		const char *raw;
		size_t len;
	} replies[] = {
		{"garbage\r\n\r\n", 0},
		{"", 0},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 0},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: "
		 "chunked\r\n\r\n0\r\n\r\n",
		 0},
		{"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", 0},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx", 0},
		{"HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\nContent-Length: 0\r\n\r\n", 0},
		{"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n", 43},
		{"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n", 0},
		{"HTTP/1.1 2000 High\r\nContent-Length: 0\r\n\r\n", 0},
		{"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", 0},
		{"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", 0},
		{"HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 0\r\n\r\n", 0},
		{"HTTP/1.1 200 OK\r\nX: half a he", 0},
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	be->no_record = true; /* GETs on a fresh connection may be tried once more */
	for (size_t i = 0; i < E2E_ARRAY_SIZE(replies); i++) {
		size_t len = replies[i].len ? replies[i].len : strlen(replies[i].raw);
		struct client *c = client_plain(gw);

		backend_reply_bytes(be, replies[i].raw, len, true);
		cr_expect_eq(client_get(c, "/", "")->status, 502, "row %zu: %d", i, c->r.status);
		client_close(c);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(faults, a_response_head_too_large_is_502)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text reply = {0};

	be->no_record = true;
	token_expand(&reply, "HTTP/1.1 200 OK\r\nX: {*2000000}\r\nContent-Length: 0\r\n\r\n");
	backend_reply(be, reply.p);
	cr_expect_eq(client_once(gw, NULL, ""), 502);
	gw_stop(gw);
	backend_stop(be);
}

static void handle_never(struct bconn *c, struct breq *r)
{
	bconn_body(c, r);
	backend_until(c->be, 0, 1);
	bconn_close(c, false);
}

Test(faults, silence_is_504)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_never);
	struct gw *gw = gw_start(be, &(struct gw_spec){.timeouts = "{ response: 300ms }"});

	be->no_record = true;
	cr_expect_eq(client_once(gw, NULL, ""), 504);
	gw_stop(gw);
	backend_stop(be);
}

Test(faults, a_full_listen_queue_is_504_or_503_in_time)
{
	e2e_need_gate();
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), queued[4], status;
	struct gw *gw;

	/* A queue of one, filled: further connects hang in SYN_SENT. */
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, len), 0);
	cr_assert_eq(listen(fd, 0), 0);
	getsockname(fd, (struct sockaddr *)&a, &len);
	for (int i = 0; i < 4; i++) {
		queued[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(queued[i], (struct sockaddr *)&a, sizeof(a));
	}
	gw = gw_start(NULL, &(struct gw_spec){
				    .timeouts = "{ connect: 300ms }",
				    .upstreams = upstreams("127.0.0.1:%d", ntohs(a.sin_port), 0)});
	status = client_once(gw, NULL, "");
	cr_expect(status >= 502 && status <= 504, "%d", status);
	gw_stop(gw);
	for (int i = 0; i < 4; i++)
		close(queued[i]);
	close(fd);
}

/* Closes, unanswered, each connection's second request. */
static void handle_second_dies(struct bconn *c, struct breq *r)
{
	int nth = 0;

	bconn_body(c, r);
	for (int i = 0; i < c->be->nreqs; i++)
		nth += c->be->reqs[i]->conn == c->id;
	if (nth >= 2)
		bconn_close(c, true);
	else
		backend_answer(c, r);
}

Test(faults, dead_pooled_connection_get_is_retried_post_is_not)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_second_dies);
	struct gw *gw = gw_start(be, NULL);

	cr_expect_eq(client_once(gw, NULL, ""), 200);
	/* On the pooled connection, which dies: tried again on a new one, unseen by the client. */
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	cr_expect_eq(backend_count(be), 3);

	struct client *c = client_plain(gw);

	client_sendf(c, "POST /x HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 3\r\n\r\nabc");
	cr_expect_eq(client_read(c)->status, 502);
	client_close(c);
	cr_expect_eq(backend_count(be), 4, "a POST was sent twice");
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	gw_stop(gw);
	backend_stop(be);
}

static void handle_answer_then_close(struct bconn *c, struct breq *r)
{
	backend_answer(c, r);
	bconn_close(c, false);
}

Test(faults, pooled_connection_closed_while_idle)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_answer_then_close);
	struct gw *gw = gw_start(be, NULL);

	/* It says keep-alive and closes all the same. GETs always succeed, POSTs as well once the
	 * end has been seen. */
	for (int i = 0; i < 20; i++) {
		cr_expect_eq(client_once(gw, NULL, ""), 200, "request %d", i);
		cr_expect(e2e_wait(be->nclosed == be->nconns));
	}
	gw_stop(gw);
	be->no_record = true;
	backend_stop(be);
}

static void handle_surplus(struct bconn *c, struct breq *r)
{
	bconn_body(c, r);
	bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
		       "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
}

Test(faults, surplus_response_bytes_reach_nobody_else)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_surplus);
	struct gw *gw = gw_start(be, NULL);

	be->no_record = true;
	for (int i = 0; i < 10; i++) {
		struct client *c = client_plain(gw);
		struct response *r = client_get(c, "/", "");

		cr_expect_eq(r->status, 200);
		cr_expect_str_eq(r->body, "ok");
		client_close(c);
	}
	gw_stop(gw);
	backend_stop(be);
}

/* ---- pooling ---- */

Test(pool, one_connection_serves_many_clients)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	for (int i = 0; i < 20; i++)
		cr_expect_eq(client_once(gw, i % 2 ? "127.0.0.2" : NULL, ""), 200);
	cr_expect_eq(backend_conns(be), 1);
	gw_stop(gw);
	backend_stop(be);
}

Test(pool, ntlm_connections_belong_to_their_client)
{
	static const char *const auth[] = {"NTLM TlRMTVNTUAABAAAA", "Negotiate YIIB", "ntlm TlRM"};

	e2e_need_gate();
	for (size_t i = 0; i < E2E_ARRAY_SIZE(auth); i++) {
		struct backend *be = backend_start(NULL);
		struct gw *gw = gw_start(be, NULL);
		struct client *a = client_plain(gw), *b = client_from(gw, "127.0.0.2");
		char line[128];

		snprintf(line, sizeof(line), "Authorization: %s\r\n", auth[i]);
		client_get(a, "/a1", line);
		client_get(b, "/b1", "");
		client_get(a, "/a2", "");
		client_get(b, "/b2", "");
		cr_expect_neq(backend_req(be, 0)->conn, backend_req(be, 1)->conn, "%s", auth[i]);
		cr_expect_eq(backend_req(be, 0)->conn, backend_req(be, 2)->conn, "%s", auth[i]);
		cr_expect_eq(backend_req(be, 1)->conn, backend_req(be, 3)->conn);
		client_close(a);
		client_get(b, "/b3", "");
		cr_expect_neq(backend_req(be, 0)->conn, backend_req(be, 4)->conn);
		client_close(b);
		gw_stop(gw);
		backend_stop(be);
	}
}

Test(pool, a_401_that_offers_ntlm_binds_too)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *a = client_plain(gw), *b = client_plain(gw);

	backend_reply(be, "HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic realm=x\r\n"
			  "WWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n");
	cr_expect_eq(client_get(a, "/a1", "")->status, 401);
	backend_reply(be, NULL);
	client_get(b, "/b1", "");
	client_get(a, "/a2", "");
	cr_expect_neq(backend_req(be, 0)->conn, backend_req(be, 1)->conn);
	cr_expect_eq(backend_req(be, 0)->conn, backend_req(be, 2)->conn);
	client_close(a);
	client_close(b);
	gw_stop(gw);
	backend_stop(be);
}

/* Answers at once, with the upload still under way. */
static void handle_early(struct bconn *c, struct breq *r)
{
	if (strncmp(r->head, "POST /early", 11)) {
		backend_answer(c, r);
		return;
	}
	bconn_sendf(c, "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
	bconn_body(c, r);
}

Test(pool, early_answer_reaches_the_client_and_the_connection_is_not_reused)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_early);
	struct gw *gw = gw_start(be, NULL);

	be->no_record = true;
	for (int i = 0; i < 2; i++) {
		struct client *c = client_plain(gw);
		struct response *r;
		int conn;

		client_sendf(c, "POST /early HTTP/1.1\r\nHost: gw.test\r\n%s\r\n",
			     i ? "Transfer-Encoding: chunked\r\n" : "Content-Length: 100000\r\n");
		client_sendf(c, "%s", i ? "3\r\nabc\r\n" : "abc");
		r = client_read(c);
		cr_expect_eq(r->status, 403);
		cr_expect_str_eq(r->body, "no");
		conn = backend_last(be)->conn;
		client_close(c);
		cr_expect_eq(client_once(gw, NULL, ""), 200);
		cr_expect_neq(backend_last(be)->conn, conn);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(pool, unfinished_upload_is_never_continued_by_somebody_else)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	be->no_record = true;
	for (int i = 0; i < 4; i++) {
		struct client *c = i & 1 ? client_tls(gw) : client_plain(gw);
		int n = backend_count(be);

		client_sendf(c, "POST /cut HTTP/1.1\r\nHost: gw.test\r\n%s\r\n",
			     i & 2 ? "Transfer-Encoding: chunked\r\n\r\n40\r\nabc"
				   : "Content-Length: 64\r\n\r\nabc");
		backend_req(be, n);
		client_close(c);
		cr_expect_eq(client_once(gw, NULL, "Cookie: sid=EVIL\r\n"), 200);
		cr_expect_neq(backend_last(be)->conn, backend_req(be, n)->conn);
		cr_expect(e2e_wait(backend_req(be, n)->broken));
		cr_expect_not(text_has(backend_last(be)->head, backend_last(be)->head_len, "EVIL"));
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(pool, client_gone_before_the_answer)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_never);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);

	be->no_record = true;
	client_sendf(c, "GET /gone HTTP/1.1\r\nHost: gw.test\r\n\r\n");
	backend_req(be, 0);
	client_close(c);
	backend_set(be, 0, 1);
	be->handler = NULL;
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	cr_expect_str_neq(backend_last(be)->head, "");
	gw_stop(gw);
	backend_stop(be);
}

/* ---- the end ---- */

static void handle_wait(struct bconn *c, struct breq *r)
{
	if (!strstr(r->head, "/at-once"))
		backend_until(c->be, 0, 1);
	backend_answer(c, r);
}

static bool turned_away(struct gw *gw)
{
	struct client *late = client_try(&(struct client_options){.port = gw->plain});
	bool away = !late;

	client_close(late);
	return away;
}

static void drain(bool tls)
{
	struct backend *be = backend_start(handle_wait);
	struct gw *gw = gw_start(be, &gw_own);
	struct client *busy = tls ? client_tls(gw) : client_plain(gw);
	struct client *idle = client_plain(gw);
	struct response *r;

	cr_assert_eq(client_get(idle, "/at-once", "")->status, 200);
	client_sendf(busy, "GET /last HTTP/1.1\r\nHost: gw.test\r\n\r\n");
	backend_req(be, 1);
	gw_terminate(gw);
	/* Idle connections go at once, new ones are refused, the request in flight is answered. */
	cr_expect(client_at_eof(idle));
	cr_expect(e2e_wait(turned_away(gw)), "new connections are still taken");
	backend_set(be, 0, 1);
	r = client_read(busy);
	cr_expect_eq(r->status, 200);
	cr_expect_str_eq(r->body, "/last");
	cr_expect(client_at_eof(busy), "the connection outlives the daemon's drain");
	client_close(busy);
	client_close(idle);
	gw_stop(gw);
	backend_stop(be);
}

Test(drain, request_in_flight_is_finished_plain)
{
	e2e_need_gate();
	drain(false);
}

Test(drain, request_in_flight_is_finished_tls)
{
	e2e_need_gate();
	drain(true);
}

Test(drain, ends_in_time_though_a_backend_never_answers)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_never);
	struct gw *gw = gw_start(be,
				 &(struct gw_spec){.timeouts = "{ drain: 500ms }", .own = true});
	struct client *c = client_plain(gw);

	be->no_record = true;
	client_sendf(c, "GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n");
	backend_req(be, 0);
	gw_stop(gw); /* exit 0 */
	client_close(c);
	backend_stop(be);
}

Test(drain, no_program_stays_attached)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &gw_own);
	struct dirent *e;
	DIR *d;

	cr_expect_eq(client_once(gw, NULL, ""), 200);
	gw_terminate(gw);
	cr_expect_eq(gw_end(gw), 0);
	/* Maps may stay for the next daemon; a link would judge sockets that nobody feeds. */
	d = opendir(gw->pin);
	while (d && (e = readdir(d)))
		cr_expect_not(strstr(e->d_name, "link"), "%s is left", e->d_name);
	if (d)
		closedir(d);
	gw_stop(gw);
	backend_stop(be);
}
