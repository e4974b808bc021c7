/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tools of this suite, without a gateway between them: a failure here makes every other result
 * worthless.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "harness.h"

TestSuite(harness, .timeout = E2E_TIMEOUT);

Test(harness, tokens_are_those_of_the_vectors)
{
	struct text t = {0};

	cr_expect_str_eq(token_for("0a1b2c3d4e5f6g7h8i9j0k1l", "192.0.2.10"),
			 "t2XKmsBp+4ESEdq8ZScrjjyQBq+E812UoiPFXGoR/7A=");
	token_expand(&t, "x{0a1b2c3d4e5f6g7h8i9j0k1l@DE}y{*3}");
	cr_expect_str_eq(t.p, "x6Y2BBhGZhysaSWo/oJVtMn93j27YeVGYA8cdNYYJJkQ=yabc");
}

Test(harness, cookies_are_taken_apart)
{
	struct text t = {0};

	head_cookies(
		"GET / HTTP/1.1\r\nA: b\r\nCookie: a=1;sid =\tx ; c\r\ncookie: =d;;e=f=g\r\n\r\n",
		NULL, &t);
	cr_expect_str_eq(t.p, "a=1|sid=x|c|=d|e=f=g");
	head_cookies("GET / HTTP/1.1\r\nCookie: a=1; sid=x; b=2\r\n\r\n", "sid", &t);
	cr_expect_str_eq(t.p, "a=1|b=2");
	head_cookies("GET / HTTP/1.1\r\nA: b\r\n\r\n", NULL, &t);
	cr_expect_str_eq(t.p, "");
}

static struct client *direct(struct backend *be)
{
	return client_open(&(struct client_options){.port = be->port});
}

Test(harness, client_and_backend_understand_each_other)
{
	struct backend *be = backend_start(NULL);
	struct client *c = direct(be);
	struct response *r;

	be->no_record = true;
	cr_expect_str_eq(client_get(c, "/one", "")->body, "/one");
	client_sendf(
		c, "POST /two HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
	cr_expect_str_eq(client_read(c)->body, "/two");
	cr_expect_str_eq(backend_req(be, 1)->body, "abc");
	cr_expect_eq(backend_req(be, 1)->complete, true);
	client_sendf(c, "POST /three HTTP/1.1\r\nContent-Length: 70000\r\n\r\n");
	client_send_pattern(c, 70000);
	cr_expect_str_eq(client_read(c)->body, "/three");
	cr_expect_eq(backend_req(be, 2)->body_hash, pattern_hash_of(70000));
	backend_reply(be,
		      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
	r = client_get(c, "/", "");
	cr_expect(r->chunked && !r->truncated);
	cr_expect_str_eq(r->body, "ok");
	backend_reply_bytes(be, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", 40, true);
	cr_expect(client_get(c, "/", "")->truncated);
	cr_expect(client_at_eof(c));
	client_close(c);
	backend_stop(be);
}

Test(harness, trailers_and_cut_bodies_are_seen_by_the_backend)
{
	struct backend *be = backend_start(NULL);
	struct client *c = direct(be);

	be->no_record = true;
	client_sendf(c, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n");
	cr_expect(e2e_wait(backend_req(be, 0)->broken));
	client_close(c);
	c = direct(be);
	client_sendf(c, "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc");
	backend_req(be, 1);
	client_close(c);
	cr_expect(e2e_wait(backend_req(be, 1)->broken));
	backend_stop(be);
}

Test(harness, nginx_logs_cookies)
{
	if (!nginx_have())
		e2e_skip("needs nginx");
	struct nginx *n = nginx_start();
	struct client *c = client_open(&(struct client_options){.port = n->port});
	size_t len;
	char *log;

	cr_expect_str_eq(client_get(c, "/echo?id=7", "Cookie: sid=x; a=b\r\n")->body, "id=7;\n");
	cr_expect_str_eq(response_field(&c->r, "X-Id", 0), "7");
	cr_expect_eq(client_get(c, "/www/100k", "")->body_hash, pattern_hash_of(102400));
	cr_expect_str_eq(response_field(client_get(c, "/login?s=v", ""), "Set-Cookie", 0),
			 "ASP.NET_SessionId=v; path=/; HttpOnly");
	client_close(c);
	nginx_stop(n);
	log = nginx_cookie_log(n, &len);
	cr_expect(text_has(log, len, "7 200 sid=x; a=b\n"), "%s", log);
}
