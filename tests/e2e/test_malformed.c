/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What RFC 9112 calls malformed or ambiguous never reaches a backend: it gets its status and the
 * connection is closed. Then the limits, to the byte.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

TestSuite(malformed, .timeout = E2E_TIMEOUT);
TestSuite(limits, .timeout = E2E_TIMEOUT);

struct row {
	const char *name, *raw;
	size_t len; /* 0 = strlen */
	int status, or_status;
};

#define H "Host: gw.test\r\n"
#define GET "GET / HTTP/1.1\r\n" H
#define POST "POST / HTTP/1.1\r\n" H
#define NUL(s) s, sizeof(s) - 1

static const struct row rows[] = {
	{"length and coding",
	 POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 400, 0},
	{"coding and length",
	 POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 0, 400, 0},
	{"two lengths", POST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 0, 400, 0},
	{"two equal lengths", POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 0, 400, 0},
	{"list of lengths", POST "Content-Length: 3, 3\r\n\r\nabc", 0, 400, 0},
	{"negative length", POST "Content-Length: -1\r\n\r\n", 0, 400, 0},
	{"length with plus", POST "Content-Length: +3\r\n\r\nabc", 0, 400, 0},
	{"hexadecimal length", POST "Content-Length: 0x3\r\n\r\nabc", 0, 400, 0},
	{"empty length", POST "Content-Length:\r\n\r\n", 0, 400, 0},
	{"length with blank", POST "Content-Length: 1 2\r\n\r\nabc", 0, 400, 0},
	{"huge length", POST "Content-Length: 99999999999999999999\r\n\r\n", 0, 400, 413},
	{"length 2^64", POST "Content-Length: 18446744073709551616\r\n\r\n", 0, 400, 413},
	{"letters for a length", POST "Content-Length: abc\r\n\r\n", 0, 400, 0},
	{"unknown coding", POST "Transfer-Encoding: gzip\r\n\r\n", 0, 501, 400},
	{"gzip then chunked", POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 0, 501,
	 400},
	{"chunked twice", POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 0, 400, 501},
	{"coding in two fields",
	 POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 400,
	 501},
	{"identity", POST "Transfer-Encoding: identity\r\n\r\n", 0, 501, 400},
	{"xchunked", POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 0, 501, 400},
	{"empty coding", POST "Transfer-Encoding:\r\n\r\n", 0, 400, 501},
	{"coding with VT", POST "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", 0, 400, 501},
	{"coding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 400,
	 0},
	{"blank before the colon", GET "X-A : 1\r\n\r\n", 0, 400, 0},
	{"blank before the coding's colon", POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 0,
	 400, 0},
	{"tab before the cookie's colon", GET "Cookie\t: sid=1\r\n\r\n", 0, 400, 0},
	{"obs-fold", GET "X-A: 1\r\n 2\r\n\r\n", 0, 400, 0},
	{"obs-fold with tab", GET "Cookie: a=1;\r\n\tsid=EVIL\r\n\r\n", 0, 400, 0},
	{"fold of the first field", "GET / HTTP/1.1\r\n " H "\r\n", 0, 400, 0},
	{"bare LF after a field", "GET / HTTP/1.1\r\nHost: gw.test\nX: 1\r\n\r\n", 0, 400, 0},
	{"bare LF after the request line", "GET / HTTP/1.1\nHost: gw.test\r\n\r\n", 0, 400, 0},
	{"bare LFs at the end", "GET / HTTP/1.1\r\nHost: gw.test\n\n", 0, 400, 0},
	{"bare CR in a value", GET "X-A: 1\rCookie: sid=EVIL\r\n\r\n", 0, 400, 0},
	{"bare CR in a name", GET "X\r-A: 1\r\n\r\n", 0, 400, 0},
	{"NUL in a value", NUL(GET "X-A: a\0b\r\n\r\n"), 400, 0},
	{"NUL in a cookie", NUL(GET "Cookie: a=1;\0sid=EVIL\r\n\r\n"), 400, 0},
	{"NUL in the target", NUL("GET /\0 HTTP/1.1\r\n" H "\r\n"), 400, 0},
	{"control in a value",
	 GET "X-A: a\x01"
	     "b\r\n\r\n",
	 0, 400, 0},
	{"DEL in a value",
	 GET "X-A: a\x7f"
	     "b\r\n\r\n",
	 0, 400, 0},
	{"empty field name", GET ": x\r\n\r\n", 0, 400, 0},
	{"no colon", GET "nonsense\r\n\r\n", 0, 400, 0},
	{"blank in a name", GET "X A: 1\r\n\r\n", 0, 400, 0},
	{"8-bit in a name", GET "X\xe4: 1\r\n\r\n", 0, 400, 0},
	{"separator in a name", GET "X(A): 1\r\n\r\n", 0, 400, 0},
	{"no Host", "GET / HTTP/1.1\r\n\r\n", 0, 400, 0},
	{"two Hosts", "GET / HTTP/1.1\r\n" H H "\r\n", 0, 400, 0},
	{"two different Hosts", "GET / HTTP/1.1\r\n" H "Host: evil\r\n\r\n", 0, 400, 0},
	{"Host with a blank", "GET / HTTP/1.1\r\nHost: gw test\r\n\r\n", 0, 400, 0},
	{"Host with a slash", "GET / HTTP/1.1\r\nHost: gw/test\r\n\r\n", 0, 400, 0},
	{"Host with user", "GET / HTTP/1.1\r\nHost: a@gw.test\r\n\r\n", 0, 400, 0},
	{"no version", "GET /\r\n\r\n", 0, 400, 505},
	{"HTTP/2.0", "GET / HTTP/2.0\r\n" H "\r\n", 0, 505, 0},
	{"HTTP/1.2", "GET / HTTP/1.2\r\n" H "\r\n", 0, 505, 400},
	{"HTTP/0.9", "GET / HTTP/0.9\r\n" H "\r\n", 0, 505, 400},
	{"HTTP/1.10", "GET / HTTP/1.10\r\n" H "\r\n", 0, 400, 505},
	{"http/1.1", "GET / http/1.1\r\n" H "\r\n", 0, 400, 505},
	{"HTTQ/1.1", "GET / HTTQ/1.1\r\n" H "\r\n", 0, 400, 505},
	{"HTTP/1.1 and a blank", "GET / HTTP/1.1 \r\n" H "\r\n", 0, 400, 505},
	{"two blanks", "GET  / HTTP/1.1\r\n" H "\r\n", 0, 400, 0},
	{"tab for a blank", "GET\t/\tHTTP/1.1\r\n" H "\r\n", 0, 400, 0},
	{"blank in the target", "GET /a b HTTP/1.1\r\n" H "\r\n", 0, 400, 0},
	{"blank before the method", " GET / HTTP/1.1\r\n" H "\r\n", 0, 400, 0},
	{"no method", "/ HTTP/1.1\r\n" H "\r\n", 0, 400, 0},
	{"separator in the method", "G@T / HTTP/1.1\r\n" H "\r\n", 0, 400, 0},
	{"relative target", "GET foo HTTP/1.1\r\n" H "\r\n", 0, 400, 0},
	{"* for GET", "GET * HTTP/1.1\r\n" H "\r\n", 0, 400, 0},
	{"8-bit in the target", "GET /\xff HTTP/1.1\r\n" H "\r\n", 0, 400, 0},
	{"CONNECT", "CONNECT gw.test:443 HTTP/1.1\r\n" H "\r\n", 0, 405, 400},
	{"h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 400, 505},
	{"TLS on a plain port", NUL("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), 400,
	 0},
	{"garbage", "\x80\x81\x82\r\n\r\n", 0, 400, 0},
	{"only empty lines", "\r\n\r\n\r\n\r\n", 0, 400, 0},
};

static void run_row(struct gw *gw, struct backend *be, const struct row *r, bool tls)
{
	struct client *c = tls ? client_tls(gw) : client_plain(gw);
	struct response *re;

	client_send(c, r->raw, r->len ? r->len : strlen(r->raw));
	/* Whoever takes the head for a good one goes on and shows it at the backend. */
	client_sendf(c, "%s", GET "\r\n");
	re = client_read(c);
	cr_expect(re->status == r->status || (r->or_status && re->status == r->or_status),
		  "%s: %d, want %d", r->name, re->status, r->status);
	cr_expect(client_at_eof(c), "%s: the connection stays open", r->name);
	cr_expect_eq(backend_count(be), 0, "%s: reached the backend:\n%s", r->name,
		     backend_count(be) ? backend_last(be)->head : "");
	/* One failure must not show up in the next rows. */
	be->nreqs = 0;
	client_close(c);
}

static void run_table(bool tls)
{
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	be->keep_raw = true;
	be->no_record = true;
	for (size_t i = 0; i < E2E_ARRAY_SIZE(rows); i++)
		run_row(gw, be, &rows[i], tls);
	cr_expect_eq(be->raw.len, 0, "bytes at the backend: %s", be->raw.p);
	gw_stop(gw);
	backend_stop(be);
}

Test(malformed, table_plain)
{
	e2e_need_gate();
	run_table(false);
}

Test(malformed, table_tls)
{
	e2e_need_gate();
	run_table(true);
}

/* The head was fine and is at the backend; the body must not become anything but cut off. */
Test(malformed, chunked_bodies)
{
	static const struct {
		const char *name, *body;
		size_t len;
	} bodies[] = {
		{"no size", "\r\nabc\r\n0\r\n\r\n", 0},
		{"letters", "xyz\r\nabc\r\n0\r\n\r\n", 0},
		{"0x", "0x3\r\nabc\r\n0\r\n\r\n", 0},
		{"negative", "-3\r\nabc\r\n0\r\n\r\n", 0},
		{"blank first", " 3\r\nabc\r\n0\r\n\r\n", 0},
		{"blank after", "3 \r\nabc\r\n0\r\n\r\n", 0},
		{"bare LF", "3\nabc\n0\n\n", 0},
		{"bare LF after data", "3\r\nabc\n0\r\n\r\n", 0},
		{"too much data", "3\r\nabcd\r\n0\r\n\r\n", 0},
		{"too little data", "4\r\nabc\r\n0\r\n\r\n" GET "\r\n", 0},
		{"2^64", "10000000000000003\r\nabc\r\n0\r\n\r\n", 0},
		{"2^63", "8000000000000000\r\nabc", 0},
		{"bare CR in extension", "3;a\rb\r\nabc\r\n0\r\n\r\n", 0},
		{"LF in extension", "3;a\nb\r\nabc\r\n0\r\n\r\n", 0},
		{"NUL in extension", NUL("3;\0\r\nabc\r\n0\r\n\r\n")},
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	int complete;

	be->no_record = true; /* when the cut comes depends on time */
	for (size_t i = 0; i < E2E_ARRAY_SIZE(bodies); i++) {
		struct client *c = client_plain(gw);

		client_sendf(c, POST "Transfer-Encoding: chunked\r\n\r\n");
		client_send(c, bodies[i].body,
			    bodies[i].len ? bodies[i].len : strlen(bodies[i].body));
		cr_expect_eq(client_read(c)->status, 400, "%s: %d", bodies[i].name, c->r.status);
		cr_expect(client_at_eof(c), "%s", bodies[i].name);
		/* a head may come late, when its client is gone: one each, and the one below */
		cr_expect_leq(backend_count(be), 2 * (int)i + 1, "%s: smuggled", bodies[i].name);
		for (int n = complete = 0; n < backend_count(be); n++)
			complete += backend_req(be, n)->complete;
		cr_expect_eq(complete, (int)i, "%s: complete", bodies[i].name);
		client_close(c);
		/* The next client is not served on what is left of that connection. */
		cr_expect_eq(client_once(gw, NULL, ""), 200);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(malformed, absolute_targets_and_empty_line_are_fine)
{
	static const char *const good[] = {
		"GET http://gw.test/a?b HTTP/1.1\r\nHost: other.test\r\n\r\n",
		"\r\nGET /a?b HTTP/1.1\r\n" H "\r\n",
		"GET /a?b HTTP/1.1\r\nhOST:gw.test\r\n\r\n",
		"GET /a?b HTTP/1.1\r\nHost: gw.test:80 \r\nX-Empty:\r\n\r\n",
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(good); i++) {
		struct client *c = client_plain(gw);

		client_sendf(c, "%s", good[i]);
		cr_expect_str_eq(client_read(c)->body, "/a?b", "%s", good[i]);
		client_close(c);
	}
	cr_expect_str_eq(head_field(backend_req(be, 0)->head, "Host", 0), "gw.test");
	cr_expect_eq(head_count(backend_req(be, 0)->head, "Host"), 1);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- limits ---- */

/* A GET whose head has exactly `len` bytes; its field of filler makes up the rest. */
static int padded_get(struct gw *gw, size_t len, bool tls)
{
	static const char first[] = "GET /pad HTTP/1.1\r\nHost: gw.test\r\nX-Pad: ",
			  last[] = "\r\n\r\n";
	size_t pad = len - (sizeof(first) - 1) - (sizeof(last) - 1);
	struct client *c = tls ? client_tls(gw) : client_plain(gw);
	char *filler = malloc(pad + 1);
	int status;

	memset(filler, 'p', pad);
	filler[pad] = 0;
	client_sendf(c, "%s%s%s", first, filler, last);
	status = client_read(c)->status;
	free(filler);
	client_close(c);
	return status;
}

static void head_limit(size_t limit, const char *limits, bool tls)
{
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.limits = limits});
	size_t ours;

	/* The limit counts the head as it leaves: what we add is the same every time. */
	cr_assert_eq(padded_get(gw, 1000, tls), 200);
	ours = backend_last(be)->head_len - 1000;
	cr_expect_eq(padded_get(gw, limit - ours, tls), 200, "exactly %zu bytes", limit);
	cr_expect_eq(backend_last(be)->head_len, limit);
	cr_expect_eq(padded_get(gw, limit - ours + 1, tls), 431, "%zu bytes", limit + 1);
	cr_expect_eq(padded_get(gw, limit * 2, tls), 431);
	cr_expect_eq(padded_get(gw, limit + 200000, tls), 431);
	cr_expect_eq(backend_count(be), 2);
	gw_stop(gw);
	backend_stop(be);
}

Test(limits, head_of_exactly_16384_bytes)
{
	e2e_need_gate();
	head_limit(16384, NULL, false);
}

Test(limits, head_of_exactly_16384_bytes_tls)
{
	e2e_need_gate();
	head_limit(16384, NULL, true);
}

Test(limits, head_of_exactly_the_configured_limit)
{
	e2e_need_gate();
	head_limit(4096, "{ head: 4096 }", false);
}

Test(limits, cookie_at_the_end_of_a_full_head_is_still_judged)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text line = {0};
	size_t ours;

	cr_assert_eq(padded_get(gw, 1000, false), 200);
	ours = backend_last(be)->head_len - 1000;
	for (int good = 0; good < 2; good++) {
		char *pad = malloc(16384);
		size_t used;

		text_clear(&line);
		token_expand(&line, good ? "\r\nCookie: sid=good; sid_HMAC={good}; z=1\r\n"
					 : "\r\nCookie: sid=EVIL; sid_HMAC={good}; z=1\r\n");
		used = strlen("GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n") + strlen("X-Pad: ") +
		       line.len;
		memset(pad, 'p', 16384);
		snprintf(pad, 16384, "X-Pad: ");
		memset(pad + 7, 'p', 16384 - ours - used);
		pad[7 + 16384 - ours - used] = 0;
		text_addf(&line, "%s", "");
		struct text fields = {0};

		text_addf(&fields, "%s%s", pad, line.p);
		cr_expect_eq(client_once(gw, NULL, fields.p), 200);
		cr_expect_eq(text_has(backend_last(be)->head, backend_last(be)->head_len, "sid="),
			     good);
		cr_expect(text_has(backend_last(be)->head, backend_last(be)->head_len, "z=1"));
		text_free(&fields);
		free(pad);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(limits, too_many_fields)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text fields = {0};

	for (int i = 0; i < 300; i++)
		text_addf(&fields, "X-%d: y\r\n", i);
	cr_expect_eq(client_once(gw, NULL, fields.p), 431);
	cr_expect_eq(backend_count(be), 0);
	gw_stop(gw);
	backend_stop(be);
}

Test(limits, body_too_large_is_413)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.limits = "{ body: 1000 }"});
	struct client *c = client_plain(gw);

	be->no_record = true;
	client_sendf(c, POST "Content-Length: 1000\r\n\r\n");
	client_send_pattern(c, 1000);
	cr_expect_eq(client_read(c)->status, 200);
	client_sendf(c, POST "Content-Length: 1001\r\n\r\n");
	cr_expect_eq(client_read(c)->status, 413);
	cr_expect(client_at_eof(c));
	client_close(c);
	cr_expect_eq(backend_count(be), 1);

	c = client_plain(gw);
	client_sendf(c, POST "Transfer-Encoding: chunked\r\n\r\n3e8\r\n");
	client_send_pattern(c, 1000);
	client_sendf(c, "\r\n1\r\nx\r\n0\r\n\r\n");
	cr_expect_eq(client_read(c)->status, 413, "%d", c->r.status);
	client_close(c);
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	for (int i = 1; i < backend_count(be); i++)
		cr_expect_not(backend_req(be, i)->complete && backend_req(be, i)->body_len > 1000);
	gw_stop(gw);
	backend_stop(be);
}

Test(limits, incomplete_head_is_408)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.timeouts = "{ head: 300ms }"});
	struct client *c = client_plain(gw);

	client_sendf(c, "GET / HTTP/1.1\r\nHost: gw");
	cr_expect_eq(client_read(c)->status, 408);
	cr_expect(client_at_eof(c));
	client_close(c);
	cr_expect_eq(backend_count(be), 0);
	gw_stop(gw);
	backend_stop(be);
}

Test(limits, stuck_body_is_408_and_the_backend_is_let_go)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.timeouts = "{ body: 300ms }"});
	struct client *c = client_plain(gw);

	client_sendf(c, POST "Content-Length: 10\r\n\r\nabc");
	cr_expect_eq(client_read(c)->status, 408);
	cr_expect(client_at_eof(c));
	cr_expect(e2e_wait(be->nclosed == 1));
	cr_expect_not(backend_req(be, 0)->complete);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(limits, idle_connections_are_closed_silently)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.timeouts = "{ idle: 300ms }"});
	struct client *c = client_plain(gw);

	cr_expect_eq(client_get(c, "/", "")->status, 200);
	cr_expect(client_at_eof(c), "bytes came");
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(limits, stalled_handshake_is_closed)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.timeouts = "{ handshake: 300ms }"});
	struct client *c = client_open(&(struct client_options){.port = gw->tls});

	client_send(c, "\x16\x03\x01", 3);
	cr_expect(client_at_eof(c));
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(limits, connections_over_the_limit_are_turned_away)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.limits = "{ connections: 2 }"});
	struct client *a = client_plain(gw), *b = client_plain(gw), *c;
	int status;

	cr_assert_eq(client_get(a, "/", "")->status, 200);
	cr_assert_eq(client_get(b, "/", "")->status, 200);
	c = client_try(&(struct client_options){.port = gw->plain});
	status = c ? client_get(c, "/", "")->status : 0;
	cr_expect(status == 503 || status == 0, "%d", status);
	client_close(c);
	cr_expect_eq(backend_count(be), 2);
	client_close(a);
	cr_expect(e2e_wait(client_once(gw, NULL, "") == 200), "no way in after one left");
	client_close(b);
	gw_stop(gw);
	backend_stop(be);
}
