/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cookies as clients and backends really write them, through the whole gateway: the table of
 * cookie_cases.h on the way in, Set-Cookie in every shape on the way out. Tokens are computed here
 * (sign.h); with the gate and without it the same bytes must come out.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "../cookie_cases.h"
#include "sign.h"

TestSuite(reality, .timeout = E2E_TIMEOUT);
TestSuite(setcookie, .timeout = E2E_TIMEOUT);

#define RULE(covers, profile) "{ " covers ", profile: " profile ", key: shop, bind: [client-ip] }"
#define BOTH "only: [sid, cart]"

static const char *const site_rules[COOKIE_SITES] = {
	"[ " RULE("name: sid", "f5-irule") ", " RULE("name: cart, sibling-attributes: copy",
						     "f5-irule") " ]",
	"[ " RULE(BOTH, "native") " ]",
	"[ " RULE(BOTH, "proxysg") " ]",
	"[ " RULE("all: true", "proxysg") " ]",
};

static const char *token_of(enum cookie_site site, const char *name, const char *value)
{
	if (site == COOKIE_F5)
		return token_for(value, "127.0.0.1");
	if (site == COOKIE_NATIVE)
		return sign_native(
			&(struct native){name, value, "127.0.0.1", "", SIGN_FIRST, SIGN_LAST});
	return sign_proxysg(&sign_default, name, value, "127.0.0.1");
}

/* The values of all Cookie fields, one a line, less the blanks at both ends. */
static void cookie_values(const char *head, struct text *out)
{
	const char *end;

	text_clear(out);
	text_add(out, "", 0);
	for (; (end = strstr(head, "\r\n")); head = end + 2) {
		const char *p = head + 7, *last = end;

		if (strncasecmp(head, "Cookie:", 7))
			continue;
		p += strspn(p, " \t");
		while (last > p && strchr(" \t", last[-1]))
			last--;
		text_addf(out, "%.*s\n", (int)(last - p), p);
	}
}

static void expect_case(struct gw *gw, struct backend *be, enum cookie_site site,
			const struct cookie_case *c)
{
	static char fields[COOKIE_TEXT_MAX];
	const char *pattern = cookie_want(c, site);
	bool refused = !strcmp(pattern, COOKIE_REFUSED);
	struct text want = {0}, got = {0};
	int before = backend_count(be), status;

	cookie_write(site, token_of, c->before, fields);
	status = client_once(gw, NULL, fields);
	cr_expect_eq(status, refused ? 431 : 200, "%s, %s: %d", cookie_site_names[site], c->name,
		     status);
	cr_expect_eq(backend_count(be) - before, !refused, "%s", c->name);
	if (!refused && backend_count(be) > before) {
		cookie_write(site, token_of, pattern, fields);
		cookie_values(fields, &want);
		cookie_values(backend_last(be)->head, &got);
		cr_expect_str_eq(got.p, want.p, "%s, %s: got\n%sand not\n%s",
				 cookie_site_names[site], c->name, got.p, want.p);
	}
	text_free(&want);
	text_free(&got);
}

/* Twice: what was valid the first time is the kernel's the second time. */
static void expect_table(enum cookie_site site)
{
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = site_rules[site]});

	for (size_t i = 0; i < 2 * COOKIE_CASES; i++)
		expect_case(gw, be, site, &cookie_cases[i / 2]);
	cr_expect_gt(gw_hits(gw), 0);
	gw_stop(gw);
	backend_stop(be);
}

Test(reality, f5_irule)
{
	e2e_need_gate();
	expect_table(COOKIE_F5);
}

Test(reality, native)
{
	e2e_need_gate();
	expect_table(COOKIE_NATIVE);
}

Test(reality, proxysg)
{
	e2e_need_gate();
	expect_table(COOKIE_PROXYSG);
}

Test(reality, proxysg_all)
{
	e2e_need_gate();
	expect_table(COOKIE_ALL);
}

/* Whatever the client sends: as with mode: off, nothing is changed and nothing refused. */
static void expect_untouched(enum cookie_site site, const char *rules)
{
	static char fields[COOKIE_TEXT_MAX];
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = rules});
	struct text want = {0}, got = {0};

	for (size_t i = 0; i < 2 * COOKIE_CASES; i++) {
		const struct cookie_case *c = &cookie_cases[i / 2];

		cookie_write(site, token_of, c->before, fields);
		cr_expect_eq(client_once(gw, NULL, fields), 200, "%s", c->name);
		cookie_values(fields, &want);
		cookie_values(backend_last(be)->head, &got);
		cr_expect_str_eq(got.p, want.p, "%s, %s: got\n%sand not\n%s",
				 cookie_site_names[site], c->name, got.p, want.p);
	}
	cr_expect_gt(gw_verdicts(gw, "forged", "report"), 0);
	gw_stop(gw);
	backend_stop(be);
}

#define REPORT(covers, profile) RULE(covers ", mode: report", profile)

Test(reality, report_changes_nothing)
{
	e2e_need_gate();
	expect_untouched(COOKIE_F5, "[ " REPORT("name: sid", "f5-irule") ", " REPORT(
					    "name: cart", "f5-irule") " ]");
	expect_untouched(COOKIE_NATIVE, "[ " REPORT(BOTH, "native") " ]");
	expect_untouched(COOKIE_ALL, "[ " REPORT("all: true", "proxysg") " ]");
}

/* ---- Set-Cookie ---- */

/*
 * What the client gets of these fields, in order: "+sid=a; Path=/" is the sibling of that
 * Set-Cookie, "~sid; Path=/" one that deletes it, anything else stands there as it is.
 */
struct answer_row {
	const char *name, *fields, *want[7];
};

#define SET(line) "Set-Cookie: " line "\r\n"
#define KEPT(line) line, "+" line
#define EPOCH "Thu, 01 Jan 1970 00:00:00 GMT"

static const struct answer_row answer_rows[] = {
	{"plain", SET("sid=a"), {KEPT("sid=a")}},
	{"none", "X-A: b\r\n", {NULL}},
	{"attributes",
	 SET("sid=a; Domain=x.test; Path=/p; SameSite=Lax; HttpOnly; Secure; Partitioned"),
	 {KEPT("sid=a; Domain=x.test; Path=/p; SameSite=Lax; HttpOnly; Secure; Partitioned")}},
	{"attributes in odd case",
	 SET("cart=a; pAtH=/; DOMAIN=x.test; hTTPoNLY; sECURE; samesite=NONE; MAX-AGE=60"),
	 {KEPT("cart=a; pAtH=/; DOMAIN=x.test; hTTPoNLY; sECURE; samesite=NONE; MAX-AGE=60")}},
	{"attributes oddly written",
	 SET("cart=a;path = /;; secure ;\tX-New=1; =; Path"),
	 {KEPT("cart=a;path = /;; secure ;\tX-New=1; =; Path")}},
	{"attributes with 8-bit bytes",
	 SET("cart=a; Path=/; Comment=\xc3\xa4"),
	 {KEPT("cart=a; Path=/; Comment=\xc3\xa4")}},
	{"; at the end", SET("cart=a; Path=/;"), {KEPT("cart=a; Path=/;")}},
	{"lower-case field", "set-cookie: sid=a\r\n", {KEPT("sid=a")}},
	{"odd-case field", "sEt-cOOkie:sid=a\r\n", {KEPT("sid=a")}},
	{"blanks", SET(" \tsid\t= a ;Path=/"), {"sid\t= a ;Path=/", "+sid=a;Path=/"}},
	{"uncovered", SET("theme=dark"), {"theme=dark"}},
	{"another case", SET("SID=a"), {"SID=a"}},
	{"quoted value", SET("sid=\"a\""), {KEPT("sid=\"a\"")}},
	{"a blank in quotes", SET("sid=\"a b\"; Path=/"), {KEPT("sid=\"a b\"; Path=/")}},
	{"; in quotes ends it", SET("cart=\"a;b\""), {KEPT("cart=\"a;b\"")}},
	{"= in the value", SET("sid=a=b="), {KEPT("sid=a=b=")}},
	{"= first in the value", SET("sid==a"), {KEPT("sid==a")}},
	{"8-bit value", SET("sid=\xc3\xa4\xff; Path=/"), {KEPT("sid=\xc3\xa4\xff; Path=/")}},
	{"without a name", SET("=a") SET("a"), {"=a", "a"}},
	{"empty", SET(""), {""}},
	{"uncovered around", SET("a=1") SET("sid=x") SET("b=2"), {"a=1", KEPT("sid=x"), "b=2"}},
	{"two covered",
	 SET("sid=x; Path=/") SET("cart=y"),
	 {KEPT("sid=x; Path=/"), KEPT("cart=y")}},
	{"same name twice",
	 SET("sid=x") "X-A: b\r\n" SET("sid=y; Path=/y"),
	 {KEPT("sid=x"), KEPT("sid=y; Path=/y")}},
	{"future Expires",
	 SET("cart=x; Expires=Fri, 01 Jan 2038 00:00:00 GMT"),
	 {KEPT("cart=x; Expires=Fri, 01 Jan 2038 00:00:00 GMT")}},
	{"Max-Age wins over Expires",
	 SET("sid=x; Expires=" EPOCH "; Max-Age=60"),
	 {KEPT("sid=x; Expires=" EPOCH "; Max-Age=60")}},
	{"Max-Age that is none", SET("sid=x; Max-Age=0x0"), {KEPT("sid=x; Max-Age=0x0")}},
	/* a deletion deletes the sibling */
	{"empty value", SET("sid=; Path=/p"), {"sid=; Path=/p", "~sid; Path=/p"}},
	{"empty value, copied", SET("cart=; Path=/p"), {"cart=; Path=/p", "~cart; Path=/p"}},
	{"blank value", SET("sid= ; Path=/"), {"sid= ; Path=/", "~sid; Path=/"}},
	{"nothing but the name", SET("sid="), {"sid=", "~sid"}},
	{"Max-Age=0", SET("sid=x; Max-Age=0"), {"sid=x; Max-Age=0", "~sid; Max-Age=0"}},
	{"negative, in odd case",
	 SET("cart=x; mAX-aGE=-1"),
	 {"cart=x; mAX-aGE=-1", "~cart; mAX-aGE=-1"}},
	{"past Expires",
	 SET("cart=x; Path=/; Expires=" EPOCH),
	 {"cart=x; Path=/; Expires=" EPOCH, "~cart; Path=/; Expires=" EPOCH}},
	{"past Expires, in odd case",
	 SET("sid=x; eXPIRES=thu, 01-JAN-70 00:00:01 gmt"),
	 {"sid=x; eXPIRES=thu, 01-JAN-70 00:00:01 gmt",
	  "~sid; eXPIRES=thu, 01-JAN-70 00:00:01 gmt"}},
	{"deleted and set again",
	 SET("sid=; Max-Age=0") SET("sid=new"),
	 {"sid=; Max-Age=0", "~sid; Max-Age=0", KEPT("sid=new")}},
};

/* ';' may stand in quotes for us as little as for a browser. */
static void sibling_of(enum cookie_site site, const char *spec, char *name, char *value)
{
	char plain[64];
	size_t len = strcspn(spec, "=;");

	snprintf(plain, sizeof(plain), "%.*s", (int)len, spec);
	name[cookie_sibling(site, plain, name)] = 0;
	spec += len + (spec[len] == '=');
	sprintf(value, "%.*s", (int)strcspn(spec, ";"), spec);
}

/* f5-irule's sid has the seed's attributes; everything else what the backend wrote. */
static void attributes_of(enum cookie_site site, const char *spec, struct text *out)
{
	const char *gone = spec[0] == '~' ? "; Expires=" EPOCH "; Max-Age=0" : "";

	if (site == COOKIE_F5 && !strncmp(spec + 1, "sid", 3))
		text_addf(out, "%s; HttpOnly; Secure; Path=/", gone);
	else
		text_addf(out, "%s%s", spec + strcspn(spec, ";"), gone);
}

static bool set_cookie_fits(enum cookie_site site, const char *got, const char *want)
{
	char name[64], value[512], sibling[64], token[600];
	struct text rest = {0};
	struct native n;
	size_t len;
	bool ok;

	if (!strchr("+~", want[0]) || !want[0])
		return !strcmp(got, want);
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(want + 1, "=;"), want + 1);
	sibling_of(site, want + 1, sibling, value);
	attributes_of(site, want, &rest);
	len = strlen(sibling);
	if (strncmp(got, sibling, len) || got[len] != '=')
		return false;
	got += len + 1;
	snprintf(token, sizeof(token), "%.*s", (int)strcspn(got, ";"), got);
	ok = !strcmp(got + strlen(token), rest.p);
	if (want[0] == '~')
		ok = ok && !token[0];
	else if (site == COOKIE_NATIVE)
		ok = ok && sign_is_native(token, name, value, "127.0.0.1", &n);
	else
		ok = ok && !strcmp(token, token_of(site, name, value));
	text_free(&rest);
	return ok;
}

static struct response *answer_status(struct client *c, struct backend *be, const char *status,
				      const char *fields)
{
	struct text reply = {0};
	struct response *r;

	text_addf(&reply, "HTTP/1.1 %s\r\n%s", status, fields);
	text_addf(&reply, strncmp(status, "204", 3) && strncmp(status, "304", 3)
				  ? "Content-Length: 2\r\n\r\nhi"
				  : "\r\n");
	backend_reply(be, reply.p);
	r = client_get(c, "/", "");
	backend_reply(be, NULL);
	cr_expect_eq(r->status, atoi(status), "%s: %d", status, r->status);
	text_free(&reply);
	return r;
}

/* The cookie and its sibling as a browser would send them back: the cookie gets through. */
static void expect_back(struct gw *gw, struct backend *be, enum cookie_site site,
			const struct answer_row *row, const struct response *r)
{
	struct text line = {0}, want = {0}, got = {0};
	char sibling[64], value[512];
	const char *pair = response_field(r, "Set-Cookie", 0),
		   *token = response_field(r, "Set-Cookie", 1);

	sibling_of(site, row->want[1] + 1, sibling, value);
	text_addf(&line, "Cookie: %.*s; %.*s\r\n", (int)strcspn(pair, ";"), pair,
		  (int)strcspn(token, ";"), token);
	text_addf(&want, "%.*s=%s", (int)strcspn(row->want[1] + 1, "="), row->want[1] + 1, value);
	cr_expect_eq(client_once(gw, NULL, line.p), 200);
	head_cookies(backend_last(be)->head, sibling, &got);
	cr_expect_str_eq(got.p, want.p, "%s, %s: back came %s", cookie_site_names[site], row->name,
			 got.p);
	text_free(&line);
	text_free(&want);
	text_free(&got);
}

static void expect_answer_row(struct gw *gw, struct backend *be, enum cookie_site site,
			      const char *status, const struct answer_row *row)
{
	struct client *c = client_plain(gw);
	struct response *r = answer_status(c, be, status, row->fields);
	int n = 0;

	while (n < 7 && row->want[n])
		n++;
	cr_expect_eq(response_count(r, "Set-Cookie"), n, "%s, %s, %s:\n%s", cookie_site_names[site],
		     row->name, status, r->head);
	for (int i = 0; i < n && i < response_count(r, "Set-Cookie"); i++)
		cr_expect(set_cookie_fits(site, response_field(r, "Set-Cookie", i), row->want[i]),
			  "%s, %s, %s: got %s, want %s", cookie_site_names[site], row->name, status,
			  response_field(r, "Set-Cookie", i), row->want[i]);
	if (n == 2 && row->want[1][0] == '+' && response_count(r, "Set-Cookie") == 2)
		expect_back(gw, be, site, row, r);
	client_close(c);
}

/* What came as native comes back with the time of day in it, and no two runs are the same. */
static struct backend *backend_of_answers(enum cookie_site site)
{
	struct backend *be = backend_start(NULL);

	be->no_record = site == COOKIE_NATIVE;
	return be;
}

static void expect_answer_table(enum cookie_site site)
{
	struct backend *be = backend_of_answers(site);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = site_rules[site]});

	for (size_t i = 0; i < E2E_ARRAY_SIZE(answer_rows); i++)
		expect_answer_row(gw, be, site, "200 OK", &answer_rows[i]);
	gw_stop(gw);
	backend_stop(be);
}

Test(setcookie, f5_irule)
{
	e2e_need_gate();
	expect_answer_table(COOKIE_F5);
}

Test(setcookie, native)
{
	e2e_need_gate();
	expect_answer_table(COOKIE_NATIVE);
}

Test(setcookie, proxysg)
{
	e2e_need_gate();
	expect_answer_table(COOKIE_PROXYSG);
}

Test(setcookie, every_status)
{
	static const char *const statuses[] = {
		"200 OK",
		"201 Created",
		"204 No Content",
		"206 Partial Content",
		"301 Moved Permanently",
		"302 Found",
		"303 See Other",
		"304 Not Modified",
		"307 Temporary Redirect",
		"308 Permanent Redirect",
		"400 Bad Request",
		"401 Unauthorized",
		"403 Forbidden",
		"404 Not Found",
		"410 Gone",
		"429 Too Many Requests",
		"500 Oops",
		"502 Bad Gateway",
		"503 Service Unavailable",
		"599 What",
	};
	static const struct answer_row set = {
		"set", "Location: /in\r\n" SET("sid=a; Path=/"), {KEPT("sid=a; Path=/")}};
	static const struct answer_row gone = {
		"deleted", SET("sid=a; Max-Age=0"), {"sid=a; Max-Age=0", "~sid; Max-Age=0"}};

	e2e_need_gate();
	for (enum cookie_site site = COOKIE_F5; site <= COOKIE_PROXYSG; site++) {
		struct backend *be = backend_of_answers(site);
		struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = site_rules[site]});

		for (size_t i = 0; i < E2E_ARRAY_SIZE(statuses); i++) {
			expect_answer_row(gw, be, site, statuses[i], &set);
			expect_answer_row(gw, be, site, statuses[i], &gone);
		}
		gw_stop(gw);
		backend_stop(be);
	}
}

/* A backend that makes its own would have an oracle, and a client two of them. */
Test(setcookie, siblings_are_ours_to_set)
{
	static const char *const own[] = {"sid_HMAC=mine", "HTSIG_sid=mine", "BCSIG_sid=mine"};

	e2e_need_gate();
	for (enum cookie_site site = COOKIE_F5; site <= COOKIE_PROXYSG; site++) {
		struct backend *be = backend_of_answers(site);
		struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = site_rules[site]});
		struct answer_row row = {.name = own[site], .want = {KEPT("sid=x")}};
		char fields[128];

		snprintf(fields, sizeof(fields), SET("%s") SET("sid=x"), own[site]);
		row.fields = fields;
		expect_answer_row(gw, be, site, "200 OK", &row);
		snprintf(fields, sizeof(fields), SET("sid=x") SET("%s; Path=/"), own[site]);
		expect_answer_row(gw, be, site, "200 OK", &row);
		gw_stop(gw);
		backend_stop(be);
	}
}

Test(setcookie, each_of_two_of_one_name_verifies_afterwards)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text line = {0};
	struct client *c = client_plain(gw);

	answer_status(c, be, "200 OK", SET("sid=x") SET("sid=y"));
	for (int i = 0; i < 2; i++) {
		text_clear(&line);
		token_expand(&line, i ? "Cookie: sid=y; sid_HMAC={y}\r\n"
				      : "Cookie: sid=x; sid_HMAC={x}\r\n");
		cr_assert_eq(client_get(c, "/", line.p)->status, 200);
		cr_expect(text_has(backend_last(be)->head, backend_last(be)->head_len, line.p));
	}
	cr_expect(e2e_wait(gw_hits(gw) == 2), "%g hits", gw_hits(gw));
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

#define OURS "private, no-cache=\"Set-Cookie\""
#define CC "Cache-Control: "

/* All fields of that name, as a list. */
static void cache_control(const struct response *r, struct text *out)
{
	text_clear(out);
	text_add(out, "", 0);
	for (int i = 0; i < response_count(r, "Cache-Control"); i++)
		text_addf(out, "%s%s", i ? ", " : "", response_field(r, "Cache-Control", i));
}

/* What a shared cache could keep is private now; what it may not keep anyway stays as it is. */
Test(setcookie, signed_responses_are_private)
{
	static const struct {
		const char *status, *fields, *want;
	} in[] = {
		{"200 OK", "", OURS},
		{"200 OK", CC "public, max-age=60\r\n", "max-age=60, " OURS},
		{"200 OK", CC "s-maxage=5\r\n", OURS},
		{"200 OK", CC "max-age=60\r\n" CC "public\r\n", "max-age=60, " OURS},
		{"200 OK", "Expires: Fri, 01 Jan 2038 00:00:00 GMT\r\n", OURS},
		{"200 OK", CC "private\r\n", OURS},
		{"200 OK", CC "no-cache\r\n", "no-cache, private"},
		{"200 OK", CC "no-store\r\n", "no-store"},
		{"301 Moved Permanently", "Location: /\r\n", OURS},
		{"302 Found", CC "max-age=9\r\nLocation: /\r\n", "max-age=9, " OURS},
		{"304 Not Modified", CC "public\r\nETag: \"a\"\r\n", OURS},
		{"404 Not Found", CC "s-maxage=5\r\n", OURS},
		{"503 Service Unavailable", "", OURS},
	};
	/* What is not signed stays as cacheable as its backend made it, deletions too. */
	static const char *const others[] = {
		CC "public, max-age=60\r\n" SET("theme=dark"),
		CC "public, max-age=60\r\n" SET("sid=; Path=/"),
	};
	struct text fields = {0}, got = {0};

	e2e_need_gate();
	for (enum cookie_site site = COOKIE_F5; site <= COOKIE_PROXYSG; site++) {
		struct backend *be = backend_start(NULL);
		struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = site_rules[site]});
		struct client *c = client_plain(gw);
		struct response *r;

		for (size_t i = 0; i < E2E_ARRAY_SIZE(in); i++) {
			text_clear(&fields);
			text_addf(&fields, "%s%s", in[i].fields, SET("sid=a"));
			r = answer_status(c, be, in[i].status, fields.p);
			cache_control(r, &got);
			cr_expect_str_eq(got.p, in[i].want, "%s, %s %s: got %s",
					 cookie_site_names[site], in[i].status, fields.p, got.p);
		}
		for (size_t i = 0; i < E2E_ARRAY_SIZE(others); i++) {
			r = answer_status(c, be, "200 OK", others[i]);
			cache_control(r, &got);
			cr_expect_str_eq(got.p, "public, max-age=60", "%s", others[i]);
		}
		client_close(c);
		gw_stop(gw);
		backend_stop(be);
	}
	text_free(&fields);
	text_free(&got);
}

Test(setcookie, early_hints_are_not_signed_twice)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);
	struct response *r;

	backend_reply(be, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
			  "HTTP/1.1 200 OK\r\nSet-Cookie: sid=a\r\nContent-Length: 0\r\n\r\n");
	r = client_get(c, "/", "");
	if (r->status == 103)
		r = client_read(c);
	cr_expect_eq(r->status, 200);
	cr_expect_eq(response_count(r, "Set-Cookie"), 2);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}
