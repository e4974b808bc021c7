/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 between a client and a backend that both do all that RFC 9112 allows: bodies of every
 * framing and size, pipelining, interim and bodiless responses, HTTP/1.0, upgrades, one byte at a
 * time, slow readers.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

TestSuite(framing, .timeout = E2E_TIMEOUT);
TestSuite(upgrade, .timeout = E2E_TIMEOUT);

static const uint64_t sizes[] = {0,	1,     2,     4095,  4096,  4097,   16383,
				 16384, 16385, 65535, 65536, 65537, 1048576};

static struct client *open_either(struct gw *gw, bool tls)
{
	return tls ? client_tls(gw) : client_plain(gw);
}

static void expect_upload(struct backend *be, int i, uint64_t len, bool chunked)
{
	struct breq *r = backend_req(be, i);

	cr_assert(e2e_wait(r->complete || r->broken));
	cr_expect(r->complete && !r->broken, "%llu bytes: incomplete", (unsigned long long)len);
	cr_expect_eq(r->body_len, len, "%llu of %llu bytes", (unsigned long long)r->body_len,
		     (unsigned long long)len);
	cr_expect_eq(r->body_hash ? r->body_hash : 0, pattern_hash_of(len), "%llu bytes differ",
		     (unsigned long long)len);
	cr_expect_eq(r->chunked, chunked);
	cr_expect_eq(head_count(r->head, "Content-Length"), !chunked);
	cr_expect_eq(head_count(r->head, "Transfer-Encoding"), chunked);
}

static void uploads_by_length(bool tls)
{
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = open_either(gw, tls);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(sizes); i++) {
		client_sendf(c,
			     "POST /up HTTP/1.1\r\nHost: gw.test\r\nContent-Length: %llu\r\n\r\n",
			     (unsigned long long)sizes[i]);
		cr_assert(client_send_pattern(c, sizes[i]));
		cr_assert_eq(client_read(c)->status, 200);
		expect_upload(be, (int)i, sizes[i], false);
	}
	cr_expect_eq(backend_conns(be), 1, "one pooled connection does for all of them");
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, uploads_by_length_plain)
{
	e2e_need_gate();
	uploads_by_length(false);
}

Test(framing, uploads_by_length_tls)
{
	e2e_need_gate();
	uploads_by_length(true);
}

/* Chunks of `step` bytes, with extensions and trailers where asked for. */
static void send_chunked(struct client *c, uint64_t len, size_t step, bool odd)
{
	char *buf = malloc(step ? step : 1);

	for (uint64_t at = 0; at < len;) {
		size_t n = len - at < step ? (size_t)(len - at) : step;

		pattern_fill(buf, n, at);
		client_sendf(c, odd ? "%04zX;a=b;c=\"d\"\r\n" : "%zx\r\n", n);
		client_send(c, buf, n);
		client_sendf(c, "\r\n");
		at += n;
	}
	client_sendf(c, odd ? "000;x\r\nCookie: sid=EVIL\r\nX-Trailer: 1\r\n\r\n" : "0\r\n\r\n");
	free(buf);
}

static void uploads_chunked(bool tls)
{
	static const size_t steps[] = {1000, 16384, 65536, 1 << 20};
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = open_either(gw, tls);
	int n = 0;

	be->keep_raw = true;
	for (size_t i = 0; i < E2E_ARRAY_SIZE(sizes); i++) {
		client_sendf(c, "POST /up HTTP/1.1\r\nHost: gw.test\r\nTrailer: Cookie\r\n"
				"Transfer-Encoding: chunked\r\n\r\n");
		send_chunked(c, sizes[i], sizes[i] < 100 ? 1 : steps[i % 4], i % 2);
		cr_assert_eq(client_read(c)->status, 200, "%llu bytes",
			     (unsigned long long)sizes[i]);
		expect_upload(be, n++, sizes[i], true);
	}
	cr_expect_eq(backend_conns(be), 1);
	cr_expect_not(text_has(be->raw.p, be->raw.len, "EVIL"), "a trailer got through");
	cr_expect_not(text_has(be->raw.p, be->raw.len, "a=b"), "a chunk extension got through");
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, uploads_chunked_plain)
{
	e2e_need_gate();
	uploads_chunked(false);
}

Test(framing, uploads_chunked_tls)
{
	e2e_need_gate();
	uploads_chunked(true);
}

enum shape { BY_LENGTH, BY_CHUNKS, BY_CLOSE };

/* GET /SHAPE/LEN */
static void handle_download(struct bconn *c, struct breq *r)
{
	char target[128];
	int shape = 0;
	unsigned long long len = 0;

	bconn_body(c, r);
	breq_target(r, target, sizeof(target));
	sscanf(target, "/%d/%llu", &shape, &len);
	if (shape == BY_LENGTH)
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", len);
	else if (shape == BY_CHUNKS)
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	else
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
	bconn_send_pattern(c, len, shape == BY_CHUNKS);
	if (shape == BY_CLOSE)
		bconn_close(c, false);
}

static void downloads(bool tls, enum shape shape)
{
	struct backend *be = backend_start(handle_download);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = open_either(gw, tls);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(sizes); i++) {
		char target[64];
		struct response *r;

		snprintf(target, sizeof(target), "/%d/%llu", shape, (unsigned long long)sizes[i]);
		r = client_get(c, target, "");
		cr_assert_eq(r->status, 200, "%s", target);
		cr_expect_not(r->truncated, "%s", target);
		cr_expect_eq(r->body_len, sizes[i], "%s: %llu bytes", target,
			     (unsigned long long)r->body_len);
		cr_expect_eq(r->body_hash, pattern_hash_of(sizes[i]), "%s", target);
		if (r->until_close) {
			client_close(c);
			c = open_either(gw, tls);
		}
	}
	if (shape != BY_CLOSE)
		cr_expect_eq(backend_conns(be), 1);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, downloads_by_length_plain)
{
	e2e_need_gate();
	downloads(false, BY_LENGTH);
}

Test(framing, downloads_by_length_tls)
{
	e2e_need_gate();
	downloads(true, BY_LENGTH);
}

Test(framing, downloads_chunked_plain)
{
	e2e_need_gate();
	downloads(false, BY_CHUNKS);
}

Test(framing, downloads_chunked_tls)
{
	e2e_need_gate();
	downloads(true, BY_CHUNKS);
}

Test(framing, downloads_until_close_plain)
{
	e2e_need_gate();
	downloads(false, BY_CLOSE);
}

Test(framing, downloads_until_close_tls)
{
	e2e_need_gate();
	downloads(true, BY_CLOSE);
}

#define SMUGGLED "GET /smuggled HTTP/1.1\r\nHost: gw.test\r\nCookie: sid=EVIL\r\n\r\n"

Test(framing, body_that_looks_like_a_head_is_body)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);
	size_t len = strlen(SMUGGLED);

	for (int i = 0; i < 4; i++) {
		client_sendf(c,
			     "POST /a HTTP/1.1\r\nHost: gw.test\r\nContent-Length: %zu\r\n\r\n%s",
			     len, SMUGGLED);
		cr_assert_eq(client_read(c)->status, 200);
		client_sendf(c,
			     "POST /b HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n"
			     "\r\n%zx\r\n%s\r\n0\r\n\r\n",
			     len, SMUGGLED);
		cr_assert_eq(client_read(c)->status, 200);
	}
	cr_expect_eq(backend_count(be), 8);
	for (int i = 0; i < 8; i++)
		cr_expect(backend_req(be, i)->body_len == len &&
				  !memcmp(backend_req(be, i)->body, SMUGGLED, len),
			  "body %d", i);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, pipelined_requests_are_answered_in_order)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text all = {0};

	for (int tls = 0; tls < 2; tls++) {
		struct client *c = open_either(gw, tls);

		text_clear(&all);
		for (int i = 0; i < 10; i++) {
			text_addf(&all, "GET /%d HTTP/1.1\r\nHost: gw.test\r\n", i);
			token_expand(&all, i % 3 == 0 ? "Cookie: n=1; sid=p; sid_HMAC={p}\r\n\r\n"
					   : i % 3 == 1
						   ? "Cookie: n=1; sid=EVIL; sid_HMAC={p}\r\n\r\n"
						   : "Cookie: n=1; sid=EVIL\r\n\r\n");
		}
		client_send(c, all.p, all.len);
		for (int i = 0; i < 10; i++) {
			struct response *r = client_read(c);
			char want[8];

			snprintf(want, sizeof(want), "/%d", i);
			cr_assert_eq(r->status, 200, "response %d: %d", i, r->status);
			cr_expect_str_eq(r->body, want);
		}
		client_close(c);
	}
	for (int i = 0; i < 20; i++) {
		struct breq *r = backend_req(be, i);

		cr_expect_not(text_has(r->head, r->head_len, "EVIL"), "request %d", i);
		cr_expect_eq(text_has(r->head, r->head_len, "sid=p"), i % 10 % 3 == 0);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, pipelined_behind_bodies)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);
	static const char all[] =
		"POST /1 HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 5\r\n\r\nhello"
		"POST /2 HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n"
		"3\r\nabc\r\n0\r\n\r\n"
		"GET /3 HTTP/1.1\r\nHost: gw.test\r\n\r\n"
		"\r\nHEAD /4 HTTP/1.1\r\nHost: gw.test\r\n\r\n"
		"GET /5 HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n\r\n"
		"GET /never HTTP/1.1\r\nHost: gw.test\r\n\r\n";

	client_send(c, all, sizeof(all) - 1);
	cr_expect_str_eq(client_read(c)->body, "/1");
	cr_expect_str_eq(client_read(c)->body, "/2");
	cr_expect_str_eq(client_read(c)->body, "/3");
	cr_expect_eq(client_read_head_only(c)->length, 2);
	cr_expect_str_eq(client_read(c)->body, "/5");
	cr_expect(client_at_eof(c));
	cr_expect_eq(backend_count(be), 5);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, one_byte_at_a_time)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text all = {0};

	token_expand(
		&all,
		"POST /slow HTTP/1.1\r\nHost: gw.test\r\n"
		"Cookie: a=1; sid=slow; sid_HMAC={slow}; sid=EVIL\r\n"
		"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\n"
		"GET /next HTTP/1.1\r\nHost: gw.test\r\n\r\n");
	for (int tls = 0; tls < 2; tls++) {
		struct client *c = open_either(gw, tls);

		for (size_t i = 0; i < all.len; i++)
			cr_assert(client_send(c, all.p + i, 1));
		cr_expect_str_eq(client_read(c)->body, "/slow");
		cr_expect_str_eq(client_read(c)->body, "/next");
		client_close(c);
	}
	cr_expect_str_eq(backend_req(be, 0)->body, "hello!");
	cr_expect(text_has(be->reqs[0]->head, be->reqs[0]->head_len, "sid=slow"));
	cr_expect_not(text_has(be->reqs[0]->head, be->reqs[0]->head_len, "EVIL"));
	gw_stop(gw);
	backend_stop(be);
}

/* An origin server by RFC 9110: 100 before it reads, or a final answer instead. */
static void handle_expect(struct bconn *c, struct breq *r)
{
	const char *expect = head_field(r->head, "Expect", 0);

	if (strstr(r->head, "/refuse")) {
		bconn_sendf(c, "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
		bconn_body(c, r);
		return;
	}
	if (expect && !strcasecmp(expect, "100-continue") && !strstr(r->head, "/silent"))
		bconn_sendf(c, "HTTP/1.1 100 Continue\r\n\r\n");
	backend_answer(c, r);
}

Test(framing, expect_100_continue)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_expect);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);
	struct response *r;

	for (int i = 0; i < 3; i++) {
		/* The body comes only after the 100, so the 100 can't depend on it. */
		client_sendf(c, "PUT /x HTTP/1.1\r\nHost: gw.test\r\nExpect: 100-continue\r\n"
				"Content-Length: 10\r\n\r\n");
		cr_assert_eq(client_read(c)->status, 100);
		client_sendf(c, "0123456789");
		cr_assert_eq(client_read(c)->status, 200);
		cr_expect_str_eq(backend_req(be, i)->body, "0123456789");
	}
	/* Sent along with the body: a 100 may come or not, the response comes once. */
	client_sendf(c, "PUT /y HTTP/1.1\r\nHost: gw.test\r\nExpect: 100-Continue\r\n"
			"Content-Length: 3\r\n\r\nabc");
	r = client_read(c);
	if (r->status == 100)
		r = client_read(c);
	cr_expect_eq(r->status, 200);
	/* A backend that never says 100: the client loses patience and sends. */
	client_sendf(c, "PUT /silent HTTP/1.1\r\nHost: gw.test\r\nExpect: 100-continue\r\n"
			"Transfer-Encoding: chunked\r\n\r\n");
	backend_req(be, 4);
	client_sendf(c, "3\r\nabc\r\n0\r\n\r\n");
	r = client_read(c);
	if (r->status == 100)
		r = client_read(c);
	cr_expect_str_eq(r->body, "/silent");
	cr_expect_eq(client_get(c, "/z", "")->status, 200);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, a_refused_expectation_is_final)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_expect);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);
	struct response *r;

	be->no_record = true; /* how its upload ends at the backend depends on time */
	client_sendf(c, "PUT /refuse HTTP/1.1\r\nHost: gw.test\r\nExpect: 100-continue\r\n"
			"Content-Length: 10\r\n\r\n");
	r = client_read(c);
	cr_expect_eq(r->status, 403, "%d", r->status);
	cr_expect_str_eq(r->body, "no");
	/* What comes now is the body or a request: nobody can tell, so the end is the only answer. */
	cr_expect(client_at_eof(c));
	client_close(c);
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	cr_expect_neq(backend_last(be)->conn, backend_req(be, 0)->conn);
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, unknown_expectation_is_refused_or_passed_but_not_hung)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);
	int status = client_get(c, "/", "Expect: the unexpected\r\n")->status;

	cr_expect(status == 417 || status == 200 || status == 400, "%d", status);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, bodiless_responses_leave_the_connection_usable)
{
	static const char *const replies[] = {
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 1234\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_tls(gw);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(replies); i++) {
		struct response *r;

		backend_reply(be, replies[i]);
		r = client_get(c, "/", "");
		cr_expect_eq(r->status, atoi(replies[i] + 9), "%s", replies[i]);
		cr_expect_eq(r->body_len, 0);
		if (r->status == 204)
			cr_expect_not(response_field(r, "Transfer-Encoding", 0) || r->has_length);
		backend_reply(be, NULL);
		cr_assert_str_eq(client_get(c, "/after", "")->body, "/after");
	}
	cr_expect_eq(backend_conns(be), 1);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, head_has_no_body_and_keeps_its_length)
{
	static const char *const replies[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\n",
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(replies); i++) {
		struct response *r;

		backend_reply(be, replies[i]);
		client_sendf(c, "HEAD /h HTTP/1.1\r\nHost: gw.test\r\n\r\n");
		r = client_read_head_only(c);
		cr_expect_eq(r->status, atoi(replies[i] + 9));
		if (strstr(replies[i], "77"))
			cr_expect_eq(r->length, 77);
		backend_reply(be, NULL);
		cr_assert_str_eq(client_get(c, "/after", "")->body, "/after", "%s", replies[i]);
	}
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, interim_responses)
{
	static const char *const replies[] = {
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
		"HTTP/1.1 103 Early Hints\r\nLink: </y>\r\n\r\n"
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: "
		"chunked\r\n\r\n"
		"2\r\nok\r\n0\r\n\r\n",
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(replies); i++) {
		struct response *r;

		backend_reply(be, replies[i]);
		r = client_get(c, "/", "");
		for (int n = 0; n < 4 && r->status >= 100 && r->status < 200; n++)
			r = client_read(c);
		cr_expect_eq(r->status, 200);
		cr_expect_str_eq(r->body, "ok");
	}
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, client_says_close)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	for (int tls = 0; tls < 2; tls++) {
		struct client *c = open_either(gw, tls);
		struct response *r = client_get(c, "/x", "Connection: close\r\n");
		const char *conn = response_field(r, "Connection", 0);

		cr_expect_str_eq(r->body, "/x");
		cr_expect(conn && !strcasecmp(conn, "close"));
		cr_expect(client_at_eof(c));
		if (tls)
			cr_expect_not(c->error, "the end came without close_notify");
		client_close(c);
	}
	/* That was the client's wish for its own leg: the backend's connection lives on. */
	cr_expect_eq(backend_conns(be), 1);
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, http_1_0_clients)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_download);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);
	struct response *r;

	client_sendf(c, "GET /0/100 HTTP/1.0\r\n\r\n");
	r = client_read(c);
	cr_expect_eq(r->status, 200);
	cr_expect_eq(r->body_len, 100);
	cr_expect(client_at_eof(c));
	client_close(c);

	c = client_plain(gw);
	for (int i = 0; i < 3; i++) {
		client_sendf(
			c,
			"GET /0/100 HTTP/1.0\r\nHost: gw.test\r\nConnection: keep-alive\r\n\r\n");
		r = client_read(c);
		cr_expect_eq(r->body_len, 100);
		cr_expect(response_field(r, "Connection", 0) &&
			  !strcasecmp(response_field(r, "Connection", 0), "keep-alive"));
	}
	/* 1.0 knows no chunks: what is chunked at the backend ends with the connection. */
	client_sendf(c, "GET /1/70000 HTTP/1.0\r\nHost: gw.test\r\nConnection: keep-alive\r\n\r\n");
	r = client_read(c);
	cr_expect_not(r->chunked);
	cr_expect_eq(r->body_len, 70000);
	cr_expect_eq(r->body_hash, pattern_hash_of(70000));
	client_close(c);
	cr_expect(text_has(backend_last(be)->head, backend_last(be)->head_len, " HTTP/1.1\r\n"));
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, http_1_0_backends)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	for (int i = 0; i < 2; i++) {
		const char *reply = i ? "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"
				      : "HTTP/1.0 200 OK\r\n\r\nok";
		struct client *c = client_plain(gw);
		struct response *r;

		backend_reply_bytes(be, reply, strlen(reply), true);
		r = client_get(c, "/", "");
		cr_expect_eq(r->status, 200);
		cr_expect_str_eq(r->body, "ok");
		cr_expect(!strncmp(r->head, "HTTP/1.1 ", 9), "%s", r->head);
		client_close(c);
	}
	cr_expect_eq(backend_conns(be), 2, "1.0 without keep-alive is not pooled");
	gw_stop(gw);
	backend_stop(be);
}

/* ---- backpressure ---- */

#define HUGE (64ull << 20)

static void handle_flood(struct bconn *c, struct breq *r)
{
	char buf[16384];

	bconn_body(c, r);
	bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", HUGE);
	for (uint64_t at = 0; at < HUGE; at += sizeof(buf)) {
		pattern_fill(buf, sizeof(buf), at);
		if (!bconn_send(c, buf, sizeof(buf)))
			return;
		__atomic_store_n(&c->be->counter, at + sizeof(buf), __ATOMIC_RELAXED);
	}
}

/* Waits until `*counter` has stood still; how long that takes is nobody's business. */
static uint64_t settle(uint64_t *counter)
{
	uint64_t last = UINT64_MAX, now = 0;
	int still = 0;

	while (still < 40) {
		now = __atomic_load_n(counter, __ATOMIC_RELAXED);
		still = now == last && now ? still + 1 : 0;
		last = now;
		run_pause_ms(10);
	}
	return now;
}

static void slow_reader(bool tls)
{
	struct backend *be = backend_start(handle_flood);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_open(&(struct client_options){
		.port = tls ? gw->tls : gw->plain, .tls = tls, .rcvbuf = 65536});
	long before = gw_status_kb(gw, "VmRSS:");
	uint64_t taken;
	struct response *r;

	client_sendf(c, "GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n");
	taken = settle(&be->counter);
	cr_expect_lt(taken, HUGE / 2, "%llu bytes were taken from the backend",
		     (unsigned long long)taken);
	r = client_read(c);
	cr_expect_eq(r->body_len, HUGE);
	cr_expect_eq(r->body_hash, pattern_hash_of(HUGE));
	if (!run_sanitized())
		cr_expect_lt(gw_status_kb(gw, "VmHWM:") - before, 8192);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(framing, slow_reader_slows_the_backend_plain)
{
	e2e_need_gate();
	slow_reader(false);
}

Test(framing, slow_reader_slows_the_backend_tls)
{
	e2e_need_gate();
	slow_reader(true);
}

static void handle_late_body(struct bconn *c, struct breq *r)
{
	backend_until(c->be, 0, 1);
	backend_answer(c, r);
}

struct feeder {
	struct client *c;
	uint64_t sent;
};

static void *feed(void *arg)
{
	struct feeder *f = arg;
	char buf[16384];

	for (uint64_t at = 0; at < HUGE; at += sizeof(buf)) {
		pattern_fill(buf, sizeof(buf), at);
		if (!client_send(f->c, buf, sizeof(buf)))
			break;
		__atomic_store_n(&f->sent, at + sizeof(buf), __ATOMIC_RELAXED);
	}
	return NULL;
}

Test(framing, slow_backend_slows_the_client)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_late_body);
	struct gw *gw = gw_start(be, NULL);
	long before = gw_status_kb(gw, "VmRSS:");
	struct feeder f = {.c = client_plain(gw)};
	pthread_t t;

	client_sendf(f.c, "POST / HTTP/1.1\r\nHost: gw.test\r\nContent-Length: %llu\r\n\r\n", HUGE);
	pthread_create(&t, NULL, feed, &f);
	cr_expect_lt(settle(&f.sent), HUGE / 2);
	backend_set(be, 0, 1);
	pthread_join(t, NULL);
	cr_expect_eq(client_read(f.c)->status, 200);
	cr_expect_eq(backend_req(be, 0)->body_hash, pattern_hash_of(HUGE));
	if (!run_sanitized())
		cr_expect_lt(gw_status_kb(gw, "VmHWM:") - before, 8192);
	client_close(f.c);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- upgrades ---- */

static void handle_websocket(struct bconn *c, struct breq *r)
{
	const char *up = head_field(r->head, "Upgrade", 0);
	char buf[4096];
	ssize_t n;

	if (!up || strcasecmp(up, "websocket")) {
		backend_answer(c, r);
		return;
	}
	backend_until(c->be, 0, 1);
	bconn_sendf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
		       "Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello");
	while ((n = bconn_recv(c, buf, sizeof(buf))) > 0)
		if (!bconn_send(c, buf, (size_t)n))
			break;
	bconn_close(c, false);
}

#define WS_HEAD(cookie)                                                                            \
	"GET /ws HTTP/1.1\r\nHost: gw.test\r\nConnection: keep-alive, Upgrade\r\n"                 \
	"Upgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n" cookie    \
	"\r\n"

static void read_exactly(struct client *c, char *buf, size_t len)
{
	size_t got = 0;
	ssize_t n;

	while (got < len) {
		n = client_recv(c, buf + got, len - got);
		cr_assert_gt(n, 0, "the tunnel ended after %zu of %zu bytes", got, len);
		got += (size_t)n;
	}
}

static void websocket(bool tls)
{
	struct backend *be = backend_start(handle_websocket);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = open_either(gw, tls);
	char out[5000], in[5000];
	struct response *r;

	backend_set(be, 0, 1);
	client_sendf(c, WS_HEAD("Cookie: sid=EVIL; a=1\r\n"));
	r = client_read(c);
	cr_assert_eq(r->status, 101);
	cr_expect(response_field(r, "Upgrade", 0) &&
		  !strcasecmp(response_field(r, "Upgrade", 0), "websocket"));
	cr_expect(strcasestr(response_field(r, "Connection", 0), "upgrade") != NULL);
	read_exactly(c, in, 5);
	cr_expect(!memcmp(in, "hello", 5));
	for (int i = 0; i < 200; i++) {
		size_t len = (size_t)(1 + i * 25);

		pattern_fill(out, len, (uint64_t)i);
		client_send(c, out, len);
		read_exactly(c, in, len);
		cr_assert(!memcmp(in, out, len), "message %d", i);
	}
	/* In a tunnel nothing is HTTP any more. */
	client_sendf(c, "%s", SMUGGLED);
	read_exactly(c, in, strlen(SMUGGLED));
	cr_expect_not(text_has(backend_req(be, 0)->head, be->reqs[0]->head_len, "EVIL"));
	cr_expect_eq(backend_count(be), 1);
	client_close(c);
	cr_expect(e2e_wait(be->nclosed == 1), "the backend's end stays open");
	gw_stop(gw);
	backend_stop(be);
}

Test(upgrade, websocket_echo_plain)
{
	e2e_need_gate();
	websocket(false);
}

Test(upgrade, websocket_echo_tls)
{
	e2e_need_gate();
	websocket(true);
}

Test(upgrade, early_bytes_wait_for_the_101)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_websocket);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);
	char in[256];

	be->keep_raw = true;
	client_sendf(c, WS_HEAD("") "early-bytes");
	backend_req(be, 0);
	/* They are at the gateway by now or soon; the backend must not see them yet. */
	run_pause_ms(50);
	cr_expect_not(text_has(be->raw.p, be->raw.len, "early-bytes"));
	backend_set(be, 0, 1);
	cr_assert_eq(client_read(c)->status, 101);
	read_exactly(c, in, 5 + 11);
	cr_expect(!memcmp(in, "helloearly-bytes", 16));
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(upgrade, refused_upgrade_leaves_http)
{
	e2e_need_gate();
	struct backend *be = backend_start(backend_answer);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);

	/* What follows a refused upgrade is a request, and is judged as one. */
	client_sendf(c, "%s%s", WS_HEAD(""), SMUGGLED);
	cr_expect_str_eq(client_read(c)->body, "/ws");
	cr_expect_str_eq(client_read(c)->body, "/smuggled");
	cr_expect_eq(head_count(backend_req(be, 0)->head, "Upgrade"), 1);
	cr_expect_not(text_has(backend_req(be, 1)->head, be->reqs[1]->head_len, "EVIL"));
	cr_expect_eq(head_count(be->reqs[1]->head, "Upgrade"), 0);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(upgrade, a_101_that_nobody_asked_for_is_502)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);

	backend_reply(be, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
			  "Upgrade: websocket\r\n\r\n");
	cr_expect_eq(client_get(c, "/", "")->status, 502);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(upgrade, h2c_is_removed)
{
	static const char *const fields[] = {
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "
		"AAMAAABk\r\n",
		"Connection: upgrade\r\nUpgrade: H2C\r\n",
		"Connection: upgrade\r\nUpgrade: h2c, websocket\r\n",
		"Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
		"Upgrade: h2c\r\n",
		"Upgrade: websocket\r\n",
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(fields); i++) {
		struct client *c = client_plain(gw);
		int n = backend_count(be), status = client_get(c, "/", fields[i])->status;

		cr_expect(status == 200 || status == 400, "%s: %d", fields[i], status);
		if (backend_count(be) > n) {
			cr_expect_not(strcasestr(backend_last(be)->head, "h2c"), "%s", fields[i]);
			cr_expect_not(strcasestr(backend_last(be)->head, "HTTP2-Settings"));
		}
		client_close(c);
	}
	gw_stop(gw);
	backend_stop(be);
}
