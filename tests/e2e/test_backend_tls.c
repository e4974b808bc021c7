/* SPDX-License-Identifier: Apache-2.0 */
/*
 * https upstreams: what arrives at a TLS backend is what would at a plain one, judged by the daemon;
 * a certificate that is not the backend's own gets nothing.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

TestSuite(backend_tls, .timeout = E2E_TIMEOUT);

/* The gate can't be required here: what it would judge is encrypted. */
static struct gw *gw_within(struct backend *be, const char *host, const char *ca,
			    const char *timeouts)
{
	const char *gate = getenv("HT_GATE");
	char upstreams[128], extra[300] = "";

	snprintf(upstreams, sizeof(upstreams), "\"https://%s:%d\"", host, be->port);
	if (ca)
		snprintf(extra, sizeof(extra), "    upstream-ca: %s/%s.pem\n", run_dir(), ca);
	return gw_start(
		be, &(struct gw_spec){.upstreams = upstreams,
				      .site_extra = extra,
				      .timeouts = timeouts,
				      .gate = gate && !strcmp(gate, "require") ? "auto" : NULL});
}

static struct gw *gw_to(struct backend *be, const char *host, const char *ca)
{
	return gw_within(be, host, ca, NULL);
}

static const struct {
	const char *name, *host;
	int version;
} ways[] = {
	{"by name", "localhost", 0},
	{"by address", "127.0.0.1", 0},
	{"TLS 1.2", "localhost", TLS1_2_VERSION},
};

static void many(struct gw *gw, struct backend *be, const char *name)
{
	struct client *c = client_plain(gw);
	struct response *r;

	for (int i = 0; i < 10; i++)
		cr_expect_eq(client_get(c, "/some/where", "")->status, 200, "%s", name);
	cr_expect_eq(backend_conns(be), 1, "%s: not pooled", name);
	client_sendf(c, "POST /up HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 3000000\r\n\r\n");
	cr_expect(client_send_pattern(c, 3000000));
	cr_expect_eq(client_read(c)->status, 200);
	cr_expect(backend_last(be)->body_hash == pattern_hash_of(3000000), "%s", name);
	client_sendf(c, "POST /up HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n"
			"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
	cr_expect_eq(client_read(c)->status, 200);
	cr_expect_eq(backend_last(be)->body_len, 11);
	cr_expect_str_eq(head_field(backend_last(be)->head, "X-Forwarded-Proto", 0), "http");
	backend_reply(be, "HTTP/1.1 200 OK\r\nSet-Cookie: sid=v1; Path=/\r\n"
			  "Content-Length: 2\r\n\r\nok");
	r = client_get(c, "/", "");
	cr_expect_eq(response_count(r, "Set-Cookie"), 2, "%s: not signed", name);
	client_close(c);
}

Test(backend_tls, requests_bodies_and_pooling)
{
	for (size_t i = 0; i < E2E_ARRAY_SIZE(ways); i++) {
		struct backend *be = backend_start_tls("edge", ways[i].version, NULL);
		struct gw *gw = gw_to(be, ways[i].host, "edge");

		many(gw, be, ways[i].name);
		gw_stop(gw);
		backend_stop(be);
	}
}

Test(backend_tls, cookies_are_judged)
{
	struct backend *be = backend_start_tls("edge", 0, NULL);
	struct gw *gw = gw_to(be, "localhost", "edge");
	char good[200];

	snprintf(good, sizeof(good), "Cookie: a=1; sid=s1; sid_HMAC=%s\r\n",
		 token_for("s1", "127.0.0.1"));
	for (int i = 0; i < 3; i++) {
		cr_expect_eq(client_once(gw, NULL, good), 200);
		cr_expect(strstr(backend_last(be)->head, "sid=s1"));
		cr_expect_eq(client_once(gw, NULL, "Cookie: a=1; sid=s1; sid_HMAC=wrong\r\n"), 200);
		cr_expect_not(strstr(backend_last(be)->head, "sid="), "%s", backend_last(be)->head);
		cr_expect(strstr(backend_last(be)->head, "a=1"));
	}
	gw_stop(gw);
	backend_stop(be);
}

static void answer_large(struct bconn *c, struct breq *r)
{
	bool chunked = strstr(r->head, "/chunked") != NULL;

	bconn_body(c, r);
	if (chunked)
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	else
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n");
	bconn_send_pattern(c, 5000000, chunked);
}

Test(backend_tls, large_answers)
{
	struct backend *be = backend_start_tls("edge", 0, answer_large);
	struct gw *gw = gw_to(be, "localhost", "edge");
	struct client *c = client_tls(gw);
	struct response *r;

	for (int i = 0; i < 3; i++) {
		r = client_get(c, "/length", "");
		cr_expect(r->body_len == 5000000 && r->body_hash == pattern_hash_of(5000000));
		r = client_get(c, "/chunked", "");
		cr_expect(r->body_len == 5000000 && r->body_hash == pattern_hash_of(5000000));
	}
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- uploads ---- */

#define UPLOAD 6000000

static void read_late(struct bconn *c, struct breq *r)
{
	int small = 65536;

	setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	backend_until(c->be, 0, 1);
	backend_answer(c, r);
}

static void send_upload(struct client *c, bool chunked)
{
	client_sendf(c, "POST /up HTTP/1.1\r\nHost: gw.test\r\n");
	if (!chunked) {
		client_sendf(c, "Content-Length: %d\r\n\r\n", UPLOAD);
		client_send_pattern(c, UPLOAD);
		return;
	}
	client_sendf(c, "Transfer-Encoding: chunked\r\n\r\n%x\r\n", UPLOAD);
	client_send_pattern(c, UPLOAD);
	client_sendf(c, "\r\n0\r\n\r\n");
}

/* Nothing moves any more: whatever is between the client and the backend is full. */
static void wait_for_stillness(struct gw *gw, double most)
{
	int64_t until = run_now_ms() + run_deadline_ms();
	double was = -1, now = 0;

	while (was != now && run_now_ms() < until) {
		was = now;
		run_pause_ms(50);
		now = gw_metric(gw, "hardtack_received_bytes_total", NULL);
	}
	cr_expect_lt(now, most, "the backend reads");
}

/* Sealed records that did not leave at once, or only in part, leave once and in order. */
Test(backend_tls, slow_backends_get_all_of_it)
{
	struct backend *be = backend_start_tls("edge", 0, read_late);
	struct gw *gw = gw_to(be, "localhost", "edge");
	struct client *c = client_plain(gw);

	for (int chunked = 0; chunked < 2; chunked++) {
		pid_t pid;
		int status;

		backend_set(be, 0, 0);
		pid = fork(); /* somebody must send while the backend does not read */
		if (!pid) {
			send_upload(c, chunked);
			_exit(c->error);
		}
		cr_assert(backend_wait_heads(be, chunked + 1));
		wait_for_stillness(gw, UPLOAD * (chunked + 1.0));
		backend_set(be, 0, 1);
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_expect_eq(status, 0);
		cr_expect_eq(client_read(c)->status, 200);
		cr_expect_eq(backend_last(be)->body_len, UPLOAD);
		cr_expect(backend_last(be)->body_hash == pattern_hash_of(UPLOAD));
	}
	cr_expect_eq(backend_conns(be), 1, "not pooled");
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

static const struct {
	const char *name, *cert, *host, *ca, *why;
	int version;
} wrong[] = {
	{"somebody else's certificate", "other", "localhost", "other", "hostname mismatch", 0},
	{"somebody else's address", "other", "127.0.0.1", "other", "IP address mismatch", 0},
	{"an authority that is not ours", "edge", "localhost", "other", "self-signed certificate",
	 0},
	{"nobody that the system knows", "edge", "localhost", NULL, "self-signed certificate", 0},
	{"TLS 1.1", "edge", "localhost", "edge", "TLS to a backend failed", TLS1_1_VERSION},
};

Test(backend_tls, a_wrong_certificate_gets_nothing)
{
	for (size_t i = 0; i < E2E_ARRAY_SIZE(wrong); i++) {
		struct backend *be = backend_start_tls(wrong[i].cert, wrong[i].version, NULL);
		struct gw *gw = gw_to(be, wrong[i].host, wrong[i].ca);

		cr_expect_eq(client_once(gw, NULL, ""), 502, "%s", wrong[i].name);
		cr_expect_eq(backend_count(be), 0, "%s", wrong[i].name);
		cr_expect(gw_logged(gw, wrong[i].why), "%s: not in the log", wrong[i].name);
		cr_expect(gw_logged(gw, "TLS to a backend failed"));
		gw_stop(gw);
		backend_stop(be);
	}
}

Test(backend_tls, one_that_speaks_no_tls_is_502)
{
	struct backend *be = backend_start(NULL); /* waits for the end of a head */
	struct gw *gw = gw_within(be, "localhost", "edge", "{ connect: 1s }");

	be->no_record = true;
	cr_expect_geq(client_once(gw, NULL, ""), 502);
	gw_stop(gw);
	backend_stop(be);
}

/* An answer without a length is over when TLS says so, not when the connection breaks. */
static void answer_until_close(struct bconn *c, struct breq *r)
{
	bconn_body(c, r);
	bconn_sendf(c, "HTTP/1.1 200 OK\r\n\r\nall of it");
	if (strstr(r->head, "/cut")) {
		shutdown(c->fd, SHUT_WR);
		c->ssl = (SSL_free(c->ssl), NULL);
	}
	bconn_close(c, false);
}

Test(backend_tls, an_answer_cut_short_is_cut_short)
{
	struct backend *be = backend_start_tls("edge", 0, answer_until_close);
	struct gw *gw = gw_to(be, "localhost", "edge");
	struct client *c = client_plain(gw);
	struct response *r = client_get(c, "/whole", "");

	cr_expect_eq(r->body_len, 9);
	cr_expect_not(r->truncated);
	r = client_get(c, "/cut", "");
	cr_expect(r->truncated || !r->status);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

static void answer_tunnel(struct bconn *c, struct breq *r)
{
	char buf[1024];
	ssize_t n;

	(void)r;
	c->body_read = true;
	bconn_sendf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
		       "Upgrade: websocket\r\n\r\nhello");
	while ((n = bconn_recv(c, buf, sizeof(buf))) > 0)
		bconn_send(c, buf, (size_t)n);
	bconn_close(c, false);
}

Test(backend_tls, tunnel)
{
	struct backend *be = backend_start_tls("edge", 0, answer_tunnel);
	struct gw *gw = gw_to(be, "localhost", "edge");
	struct client *c = client_tls(gw);
	char buf[16] = "";
	size_t n = 0;
	ssize_t got;

	client_sendf(c, "GET /ws HTTP/1.1\r\nHost: gw.test\r\nConnection: Upgrade\r\n"
			"Upgrade: websocket\r\n\r\n");
	cr_expect_eq(client_read_head_only(c)->status, 101);
	client_sendf(c, "echo");
	while (n < 9 && (got = client_recv(c, buf + n, sizeof(buf) - 1 - n)) > 0)
		n += (size_t)got;
	cr_expect_str_eq(buf, "helloecho");
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(backend_tls, a_gate_that_is_required_forbids_it)
{
	struct gw *gw = gw_start(NULL, &(struct gw_spec){.upstreams = "\"https://localhost:1\"",
							 .gate = "require",
							 .expect_failure = true});

	cr_expect_eq(gw_end(gw), 2);
	cr_expect(gw_logged(gw, "'gate: require' can't hold for the upstream"));
}
