/* SPDX-License-Identifier: Apache-2.0 */
/*
 * curl and nginx, as an operator would try it: two programs that know nothing of these tests.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

TestSuite(curl, .timeout = E2E_TIMEOUT);

#define PATIENCE (run_slow() ? "500" : "60") /* seconds, of curl */

static bool have_curl(void)
{
	return !access("/usr/bin/curl", X_OK) && nginx_have();
}

static struct backend as_backend(const struct nginx *n)
{
	return (struct backend){.port = n->port};
}

#define ASPNET "[ { name: ASP.NET_SessionId, profile: f5-irule, key: shop, bind: [client-ip] } ]"

struct jar {
	char path[256], ca[256], resolve[64], url[128];
};

static void jar_open(struct jar *j, struct gw *gw, const char *target)
{
	snprintf(j->path, sizeof(j->path), "%s/jar", gw->dir);
	snprintf(j->ca, sizeof(j->ca), "%s/edge.pem", run_dir());
	snprintf(j->resolve, sizeof(j->resolve), "gw.test:%d:127.0.0.1", gw->tls);
	snprintf(j->url, sizeof(j->url), "https://gw.test:%d%s", gw->tls, target);
}

static int fetch(struct jar *j, struct text *out, const char *more, const char *arg)
{
	const char *argv[] = {"curl",  "-sS",	    "-i",	"--max-time", PATIENCE, "--cacert",
			      j->ca,   "--resolve", j->resolve, "-b",	      j->path,	"-c",
			      j->path, j->url,	    more,	arg,	      NULL};

	text_clear(out);
	return run_command(out, argv);
}

Test(curl, login_and_back)
{
	e2e_need_gate();
	if (!have_curl())
		e2e_skip("needs curl and nginx");
	struct nginx *n = nginx_start();
	struct backend be = as_backend(n);
	struct gw *gw = gw_start(&be, &(struct gw_spec){.cookies = ASPNET});
	struct text out = {0}, want = {0};
	struct jar j;

	jar_open(&j, gw, "/login?s=browser1");
	cr_assert_eq(fetch(&j, &out, NULL, NULL), 0, "%s", out.p);
	text_addf(&want, "Set-Cookie: ASP.NET_SessionId_HMAC=%s; HttpOnly; Secure; Path=/\r\n",
		  token_for("browser1", "127.0.0.1"));
	cr_expect(text_has(out.p, out.len, want.p), "%s", out.p);

	jar_open(&j, gw, "/");
	cr_assert_eq(fetch(&j, &out, NULL, NULL), 0);
	cr_expect(text_has(out.p, out.len, "ASP.NET_SessionId=browser1"), "%s", out.p);
	cr_expect(e2e_wait(gw_hits(gw) == 1));

	/* The same jar from another address: a stolen cookie. */
	cr_assert_eq(fetch(&j, &out, "--interface", "127.0.0.3"), 0);
	cr_expect_not(text_has(out.p, out.len, "ASP.NET_SessionId=browser1"), "%s", out.p);
	gw_stop(gw);
	nginx_stop(n);
}

Test(curl, bodies_of_nginx)
{
	static const struct {
		const char *target;
		size_t len;
	} files[] = {{"/www/200", 200}, {"/www/16k", 16384}, {"/www/100k", 102400}};

	e2e_need_gate();
	if (!have_curl())
		e2e_skip("needs curl and nginx");
	struct nginx *n = nginx_start();
	struct backend be = as_backend(n);
	struct gw *gw = gw_start(&be, NULL);
	struct client *c = client_tls(gw);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(files); i++) {
		struct response *r = client_get(c, files[i].target, "");

		cr_expect_eq(r->status, 200);
		cr_expect_eq(r->body_len, files[i].len);
		cr_expect_eq(r->body_hash, pattern_hash_of(files[i].len));
	}
	client_close(c);
	gw_stop(gw);
	nginx_stop(n);
}

Test(curl, upload_with_expect_and_chunks)
{
	e2e_need_gate();
	if (!have_curl())
		e2e_skip("needs curl and nginx");
	struct nginx *n = nginx_start();
	struct backend be = as_backend(n);
	struct gw *gw = gw_start(&be, NULL);
	struct text out = {0};
	char file[256], got[256], *body;
	size_t len;
	struct jar j;
	FILE *f;

	snprintf(file, sizeof(file), "%s/upload", gw->dir);
	body = malloc(3000000);
	pattern_fill(body, 3000000, 0);
	f = fopen(file, "we");
	fwrite(body, 1, 3000000, f);
	fclose(f);
	jar_open(&j, gw, "/put/one");
	cr_assert_eq(fetch(&j, &out, "-T", file), 0);
	cr_expect(text_has(out.p, out.len, " 201 "), "%s", out.p);
	snprintf(got, sizeof(got), "%s/put/one", n->dir);
	free(body);
	body = text_file(got, &len);
	cr_expect_eq(len, 3000000);
	cr_expect_eq(pattern_hash(0, body, len), pattern_hash_of(3000000));

	const char *chunked[] = {"curl",
				 "-sS",
				 "-i",
				 "--max-time",
				 PATIENCE,
				 "--cacert",
				 j.ca,
				 "--resolve",
				 j.resolve,
				 "-T",
				 file,
				 "-H",
				 "Transfer-Encoding: chunked",
				 "-H",
				 "Content-Length:",
				 j.url,
				 NULL};

	text_clear(&out);
	snprintf(j.url, sizeof(j.url), "https://gw.test:%d/put/two", gw->tls);
	cr_assert_eq(run_command(&out, chunked), 0);
	snprintf(got, sizeof(got), "%s/put/two", n->dir);
	body = text_file(got, &len);
	cr_expect_eq(len, 3000000, "%s", out.p);
	cr_expect_eq(pattern_hash(0, body, len), pattern_hash_of(3000000));
	gw_stop(gw);
	nginx_stop(n);
}

Test(curl, http_1_0_head_and_parallel)
{
	e2e_need_gate();
	if (!have_curl())
		e2e_skip("needs curl and nginx");
	struct nginx *n = nginx_start();
	struct backend be = as_backend(n);
	struct gw *gw = gw_start(&be, NULL);
	struct text out = {0};
	struct jar j;

	jar_open(&j, gw, "/www/200");
	cr_expect_eq(fetch(&j, &out, "--http1.0", NULL), 0);
	cr_expect(text_has(out.p, out.len, "200 OK"));
	cr_expect_eq(fetch(&j, &out, "-I", NULL), 0);
	cr_expect(text_has(out.p, out.len, "Content-Length: 200"));
	jar_open(&j, gw, "/echo?id=[1-50]");
	cr_expect_eq(fetch(&j, &out, "-Z", NULL), 0, "%s", out.p);
	for (int i = 1; i <= 50; i++) {
		char id[16];

		snprintf(id, sizeof(id), "id=%d;", i);
		cr_expect(text_has(out.p, out.len, id), "%s is missing", id);
	}
	gw_stop(gw);
	nginx_stop(n);
}
