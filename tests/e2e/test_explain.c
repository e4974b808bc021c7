/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hardtackctl explain beside the gateway that it explains: what it says the backend gets is what
 * the backend gets, of the same configuration and the same requests.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

TestSuite(explain, .timeout = E2E_TIMEOUT);

#define COOKIES                                                                                    \
	"[ { name: sid, profile: f5-irule, key: shop, bind: [client-ip] },"                        \
	" { name: cart, key: shop, accept: [f5-irule], bind: [client-ip] },"                       \
	" { name: seen, key: shop, mode: report },"                                                \
	" { name: new, key: shop, enforce-after: 2199-01-01 },"                                    \
	" { only: [\"p*\"], profile: proxysg, key: shop } ]"

static const struct {
	const char *header;
	int status;
	const char *says;
} rows[] = {
	{"theme=dark", 0, "theme: pass; no rule covers it"},
	{"sid=a; sid_HMAC={a}", 0, "sid: pass; valid: f5-irule with key shop"},
	{"sid=a; sid_HMAC={b}; theme=dark", 1, "sid: strip; forged"},
	{"a=1; sid=a; b=2", 1, "sid: strip; missing"},
	{"sid=x; sid=a; sid_HMAC={a}", 1, "sid: pass; duplicate"},
	{"sid=x; sid=y; sid_HMAC={a}; z=1", 1, "sid: strip; duplicate"},
	{"cart=c; cart_HMAC={c}", 0, "gets a new token: its own is of another profile"},
	{"cart=c; HTSIG_cart=1.x.2.3.4", 1, "cart: strip; forged"},
	{"seen=1; x=2", 0, "seen: report; missing"},
	{"new=1; x=2", 0, "new: grace; missing"},
	{"p1=x; BCSIG_p1=forged; BCSIG_zz=1; x=2", 1, "BCSIG_zz: remove"},
	{" sid = a ; sid_HMAC={a};;x", 0, "sid: pass; valid"},
	{"=sid=a; x=1", 1, "sid: strip; missing"},
};

static int explain(struct gw *gw, const char *header, const char *more, struct text *out)
{
	const char *argv[] = {run_ctl(), "explain",  "-c",   gw->config, "--site",
			      "gw.test", "--cookie", header, "--bind",	 "client-ip=127.0.0.1",
			      more,	 NULL};

	text_clear(out);
	return run_command(out, argv);
}

/* Behind the last "Cookie: " of a text, up to the end of the line. */
static const char *cookie_field(const char *text, char *ret, size_t cap)
{
	const char *at = strstr(text, "\nCookie: ");

	snprintf(ret, cap, "%.*s", at ? (int)strcspn(at + 9, "\r\n") : 0, at ? at + 9 : "");
	return ret;
}

/* The backend's field has no blanks around it. */
static char *trimmed(char *s)
{
	size_t n = strlen(s);

	while (n && s[n - 1] == ' ')
		s[--n] = '\0';
	return s + strspn(s, " ");
}

Test(explain, says_what_the_gateway_does)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = COOKIES});
	struct text out = {0};

	be->no_record = true; /* the tokens of a new login have times in them */
	for (size_t i = 0; i < E2E_ARRAY_SIZE(rows); i++) {
		struct text header = {0}, line = {0};
		struct client *c = client_tls(gw);
		char said[1024], got[1024];
		int status;

		token_expand(&header, rows[i].header);
		text_addf(&line, "Cookie: %s\r\n", header.p);
		cr_assert_eq(client_get(c, "/", line.p)->status, 200, "%s", rows[i].header);
		client_close(c);
		status = explain(gw, header.p, NULL, &out);
		cr_expect_eq(status, rows[i].status, "%s: %d\n%s", rows[i].header, status, out.p);
		cr_expect(text_has(out.p, out.len, rows[i].says), "%s:\n%s", rows[i].header, out.p);
		cookie_field(out.p, said, sizeof(said));
		cookie_field(backend_last(be)->head, got, sizeof(got));
		cr_expect_str_eq(trimmed(said), trimmed(got), "%s: said '%s', got '%s'",
				 rows[i].header, said, got);
		cr_expect_not(text_has(out.p, out.len, E2E_KEY), "the key shows");
		text_free(&header);
		text_free(&line);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(explain, what_is_wrong_has_its_place)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text out = {0};

	cr_expect_eq(explain(gw, "a=1", "--json", &out), 0, "%s", out.p);
	cr_expect(text_has(out.p, out.len, "\"backend\": \"a=1\""), "%s", out.p);
	cr_expect_eq(explain(gw, "a=\n", NULL, &out), 2);
	cr_expect(text_has(out.p, out.len, "no request can have this"), "%s", out.p);
	cr_expect_eq(explain(gw, "a=1", "--bind", &out), 2);
	cr_expect_eq(explain(gw, "a=1", "more", &out), 2);
	cr_expect_eq(explain(gw, "a=1", "--time=x", &out), 2);
	gw_edit(gw, "key: shop", "key: nope");
	cr_expect_eq(explain(gw, "a=1", NULL, &out), 2);
	cr_expect(text_has(out.p, out.len, ": no key is named 'nope'"), "%s", out.p);
	cr_expect(text_has(out.p, out.len, gw->config), "%s", out.p);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}
