/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Profile native through the whole gateway: who has a token stays until it ends, by the kernel's
 * clock; what is signed anew carries what the first one did. Tokens are computed here (sign.h).
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tables.h"

TestSuite(native, .timeout = E2E_TIMEOUT);

#define NATIVE(more) "[ { name: sid, key: shop" more " } ]"
#define BOUND NATIVE(", bind: [client-ip]")
/* Between two looks at something that ends within seconds; where they are slow, within many. */
#define LOOK_MS (run_slow() ? 500 : 20)

/* One session, its token as the client holds it. */
struct session {
	struct gw *gw;
	struct backend *be;
	char token[600];
};

/* Did it pass? A token of a response is what the client has from then on, with `follow`. */
static bool session_lives(struct session *s, struct client *c, bool follow)
{
	struct text got = {0}, line = {0};
	struct response *r;
	const char *next;
	bool lives;

	text_addf(&line, "Cookie: sid=s; HTSIG_sid=%s\r\n", s->token);
	r = client_get(c, "/", line.p);
	cr_assert_eq(r->status, 200, "%d\n%s", r->status, r->head);
	next = set_cookie_value(r, "HTSIG_sid");
	if (next && follow)
		snprintf(s->token, sizeof(s->token), "%s", next);
	head_cookies(backend_last(s->be)->head, "HTSIG_sid", &got);
	lives = !strcmp(got.p, "sid=s");
	text_free(&got);
	text_free(&line);
	return lives;
}

static void session_begin(struct session *s, const char *set)
{
	struct client *c = client_plain(s->gw);
	const char *const sets[4] = {set};
	struct response *r = answer_with(c, s->be, sets, "");
	const char *token = set_cookie_value(r, "HTSIG_sid");

	cr_assert(token, "%s", r->head);
	snprintf(s->token, sizeof(s->token), "%s", token);
	client_close(c);
}

/* Times are in them: no two runs of the suite see the same bytes. */
static struct session session_start(const char *cookies, const char *set)
{
	struct session s = {.be = backend_start(NULL)};

	s.be->no_record = true;
	s.gw = gw_start(s.be, &(struct gw_spec){.cookies = cookies});
	session_begin(&s, set);
	return s;
}

static void session_stop(struct session *s)
{
	cr_expect_eq(gw_metric(s->gw, "hardtack_requests_total", "code=\"503\"", NULL), 0);
	gw_stop(s->gw);
	backend_stop(s->be);
}

Test(native, login)
{
	static const char *const rows[] = {
		"sid=s",
		"sid=s; Path=/app; Domain=x.test; Secure; HttpOnly; SameSite=None; Partitioned",
		"sid=s; Max-Age=600; Path=/",
		"sid=s; Expires=Fri, 01 Jan 2038 00:00:00 GMT",
	};
	static const char *const rules[] = {NATIVE(""), BOUND};

	e2e_need_gate();
	for (size_t i = 0; i < 2 * E2E_ARRAY_SIZE(rows); i++) {
		const char *const set[4] = {rows[i / 2]}, *ip = i % 2 ? "127.0.0.1" : NULL;
		struct session s = session_start(rules[i % 2], set[0]);
		struct client *c = client_plain(s.gw);
		struct response *r = answer_with(c, s.be, set, "");
		struct native n;

		cr_expect(sign_is_native(s.token, "sid", "s", ip, &n), "%s: %s", set[0], s.token);
		cr_expect_str_eq(set_cookie_attributes(r, "HTSIG_sid"),
				 set[0] + strcspn(set[0], ";"));
		if (!strstr(set[0], "Expires"))
			cr_expect_eq(n.expires - n.issued, strstr(set[0], "Max-Age") ? 600 : 86400);
		cr_expect(session_lives(&s, c, false));
		cr_expect(e2e_wait(gw_hits(s.gw) == 1), "the first request is no hit");
		cr_expect_eq(gw_metric(s.gw, "hardtack_cookies_signed_total", "profile=\"native\"",
				       NULL),
			     2);
		client_close(c);
		session_stop(&s);
	}
}

/* Fixed tokens, so that the bytes at the backend can be compared. */
Test(native, requests)
{
#define T(text) "1.1b8dcfa8.1700000000.253402300799.." text
	static const struct row rows[] = {
		{"good", "Cookie: sid=s; HTSIG_sid=<sid=s@127.0.0.1>; a=1\r\n",
		 "sid=s|HTSIG_sid=<sid=s@127.0.0.1>|a=1", NULL},
		{"another value", "Cookie: sid=t; HTSIG_sid=<sid=s@127.0.0.1>; a=1\r\n",
		 "HTSIG_sid=<sid=s@127.0.0.1>|a=1", NULL},
		{"missing", "Cookie: sid=s; a=1\r\n", "a=1", NULL},
		{"unbound", "Cookie: sid=s; HTSIG_sid=<sid=s>; a=1\r\n", "HTSIG_sid=<sid=s>|a=1",
		 NULL},
		{"elsewhere", "Cookie: sid=s; HTSIG_sid=<sid=s@127.0.0.1>; a=1\r\n",
		 "HTSIG_sid=<sid=s@127.0.0.1>|a=1", "127.0.0.9"},
		{"another's own", "Cookie: sid=s; HTSIG_sid=<sid=s@127.0.0.9>\r\n",
		 "sid=s|HTSIG_sid=<sid=s@127.0.0.9>", "127.0.0.9"},
		{"another name's", "Cookie: sid=s; HTSIG_sid=<aux=s@127.0.0.1>\r\n",
		 "HTSIG_sid=<aux=s@127.0.0.1>", NULL},
		{"nonsense", "Cookie: sid=s; HTSIG_sid=" T("x") "\r\n", "HTSIG_sid=" T("x"), NULL},
		{"empty", "Cookie: sid=s; HTSIG_sid=\r\n", "HTSIG_sid=", NULL},
		{"f5's", "Cookie: sid=s; HTSIG_sid={s}; sid_HMAC={s}\r\n",
		 "HTSIG_sid={s}|sid_HMAC={s}", NULL},
		{"two, one right", "Cookie: sid=s; HTSIG_sid=x; HTSIG_sid=<sid=s@127.0.0.1>\r\n",
		 "sid=s|HTSIG_sid=<sid=s@127.0.0.1>", NULL},
		{"two values", "Cookie: sid=x; sid=s; HTSIG_sid=<sid=s@127.0.0.1>\r\n",
		 "sid=s|HTSIG_sid=<sid=s@127.0.0.1>", NULL},
		{"of another case", "Cookie: SID=s; sid=s; HTSIG_SID=<SID=s@127.0.0.1>\r\n",
		 "SID=s|HTSIG_SID=<SID=s@127.0.0.1>", NULL},
	};
	const struct native old = {"sid", "s", "127.0.0.1", "", 1000, SIGN_FIRST};
	struct row expired = {"expired", NULL, NULL, NULL};
	char line[700], want[700];

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = BOUND});

	expect_rows(gw, be, rows, E2E_ARRAY_SIZE(rows), NULL);
	snprintf(line, sizeof(line), "Cookie: sid=s; HTSIG_sid=%s\r\n", sign_native(&old));
	snprintf(want, sizeof(want), "HTSIG_sid=%s", sign_native(&old));
	expired.fields = line;
	expired.want = want;
	expect_rows(gw, be, &expired, 1, NULL);
	cr_expect_eq(gw_verdicts(gw, "expired", "strip"), 2);
	cr_expect_eq(gw_metric(gw, "hardtack_requests_total", "code=\"503\"", NULL), 0);
	gw_stop(gw);
	backend_stop(be);
}

Test(native, guarded_names)
{
	static const struct set_row set[] = {
		{"deleted", {"__Host-sid=; Secure; Path=/; Max-Age=0"}, {NULL}},
	};
	static const struct row rows[] = {
		{"__Host-", "Cookie: __Host-sid=s; __Host-HTSIG_sid=<__Host-sid=s>\r\n",
		 "__Host-sid=s|__Host-HTSIG_sid=<__Host-sid=s>", NULL},
		{"__Secure-", "Cookie: __Secure-sid=s; __Secure-HTSIG_sid=<__Secure-sid=s>\r\n",
		 "__Secure-sid=s|__Secure-HTSIG_sid=<__Secure-sid=s>", NULL},
		{"each has its own",
		 "Cookie: sid=s; __Host-sid=s; HTSIG_sid=<__Host-sid=s>; "
		 "__Host-HTSIG_sid=<sid=s>\r\n",
		 "HTSIG_sid=<__Host-sid=s>|__Host-HTSIG_sid=<sid=s>", NULL},
		{"all three",
		 "Cookie: sid=s; __Host-sid=s; __Secure-sid=s; HTSIG_sid=<sid=s>; "
		 "__Host-HTSIG_sid=<__Host-sid=s>\r\n",
		 "sid=s|__Host-sid=s|HTSIG_sid=<sid=s>|__Host-HTSIG_sid=<__Host-sid=s>", NULL},
		{"in front of the sibling's prefix",
		 "Cookie: __Host-sid=s; HTSIG___Host-sid=<__Host-sid=s>\r\n",
		 "HTSIG___Host-sid=<__Host-sid=s>", NULL},
	};
	const char *const login[4] = {"__Host-sid=s; Secure; Path=/", "__Secure-sid=t; Secure"};
	struct native n;

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = "[ { all: true, key: shop } ]"});
	struct client *c = client_plain(gw);
	struct response *r = answer_with(c, be, login, "");

	cr_expect(sign_is_native(set_cookie_value(r, "__Host-HTSIG_sid"), "__Host-sid", "s", NULL,
				 &n),
		  "%s", r->head);
	cr_expect_str_eq(set_cookie_attributes(r, "__Host-HTSIG_sid"), "; Secure; Path=/");
	cr_expect(sign_is_native(set_cookie_value(r, "__Secure-HTSIG_sid"), "__Secure-sid", "t",
				 NULL, &n),
		  "%s", r->head);
	r = answer_with(c, be, set[0].set, "");
	cr_expect_str_empty(set_cookie_value(r, "__Host-HTSIG_sid"), "%s", r->head);
	cr_expect(strstr(set_cookie_attributes(r, "__Host-HTSIG_sid"),
			 "; Secure; Path=/; Max-Age=0"));
	client_close(c);
	expect_rows(gw, be, rows, E2E_ARRAY_SIZE(rows), NULL);
	gw_stop(gw);
	backend_stop(be);
}

/* Whoever takes what he is given stays, whoever keeps his first token goes when its time has come. */
Test(native, lifetime_ends)
{
	e2e_need_gate();
	struct session s = session_start(run_slow() ? NATIVE(", bind: [client-ip], lifetime: 40s")
						    : NATIVE(", bind: [client-ip], lifetime: 4s"),
					 "sid=s");
	struct session keeper = s;
	struct client *memo = client_plain(s.gw);
	int64_t end = run_now_ms() + run_deadline_ms();
	int renewed = 0;
	char last[600];

	snprintf(last, sizeof(last), "%s", s.token);
	while (renewed < 2 || session_lives(&keeper, memo, false)) {
		struct client *c = client_plain(s.gw);

		cr_assert_lt(run_now_ms(), end, "no end");
		cr_assert(session_lives(&s, c, true), "lost after %d renewals", renewed);
		client_close(c);
		renewed += strcmp(last, s.token) != 0;
		snprintf(last, sizeof(last), "%s", s.token);
		run_pause_ms(LOOK_MS);
	}
	cr_expect_gt(gw_hits(s.gw), 1);
	cr_expect_gt(gw_verdicts(s.gw, "expired", "strip"), 0);
	client_close(memo);
	session_stop(&s);
}

/* A cookie with an end of its own has it in the kernel: until then all are hits, then it is over. */
Test(native, kernel_ends_it)
{
	e2e_need_gate();
	for (int warm = 0; warm < 2; warm++) { /* by the map; by the connection's own memory */
		struct session s = session_start(NATIVE(""), run_slow() ? "sid=s; Max-Age=30"
									: "sid=s; Max-Age=3");
		struct client *c = client_plain(s.gw);
		int64_t end = run_now_ms() + run_deadline_ms();
		int rounds = 0;

		while (session_lives(&s, c, true)) {
			cr_assert_lt(run_now_ms(), end, "no end");
			rounds++;
			run_pause_ms(LOOK_MS);
			if (warm)
				continue;
			client_close(c);
			c = client_plain(s.gw);
		}
		cr_expect_gt(rounds, 0);
		if (run_gate_on())
			cr_expect_eq(kernel_count(s.gw, "hit"), rounds, "%g hits of %d",
				     kernel_count(s.gw, "hit"), rounds);
		cr_expect_eq(gw_verdicts(s.gw, "expired", "strip"), 1);
		cr_expect_eq(gw_metric(s.gw, "hardtack_cookies_signed_total", NULL), 1);
		client_close(c);
		session_stop(&s);
	}
}

/* What the token carries is what its successor has: the request tells nothing of attributes. */
Test(native, reissued_past_half_of_its_life)
{
	static const struct {
		const char *carried, *want[8];
	} rows[] = {
		{"", {NULL}}, /* it had none */
		{"shpn~pL2FwcA~deC50ZXN0",
		 {"Path=/app", "Domain=x.test", "Secure", "HttpOnly", "SameSite=None",
		  "Partitioned"}},
		{"t~pLw", {"Path=/", "SameSite=Strict"}},
		{"l", {"SameSite=Lax"}},
	};

	e2e_need_gate();
	struct session s = session_start(NATIVE(""), "sid=s");
	struct client *c = client_plain(s.gw);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(rows); i++) {
		const struct native old = {"sid",	    "s",  NULL,
					   rows[i].carried, 1000, (uint64_t)time(NULL) + 3600};
		char fields[700];
		struct response *r;
		struct native n;
		const char *got;
		int attributes = 0;

		snprintf(fields, sizeof(fields), "Cookie: sid=s; HTSIG_sid=%s\r\n",
			 sign_native(&old));
		backend_reply(s.be, "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\n"
				    "Content-Length: 0\r\n\r\n");
		r = client_get(c, "/", fields);
		cr_assert_eq(r->status, 200);
		cr_assert(sign_is_native(set_cookie_value(r, "HTSIG_sid"), "sid", "s", NULL, &n),
			  "%s: %s", rows[i].carried, r->head);
		cr_expect_eq(n.expires - n.issued, 86400);
		cr_expect(strcasestr(response_field(r, "Cache-Control", 0), "private"), "%s",
			  r->head);
		cr_expect_null(strcasestr(response_field(r, "Cache-Control", 0), "public"));
		got = set_cookie_attributes(r, "HTSIG_sid");
		for (int k = 0; k < 8 && rows[i].want[k]; k++)
			cr_expect(strstr(got, rows[i].want[k]), "%s: no %s in %s", rows[i].carried,
				  rows[i].want[k], got);
		for (const char *p = got; *p; p++)
			attributes += *p == ';';
		for (int k = 0; k < 8 && rows[i].want[k]; k++)
			attributes--;
		cr_expect_eq(attributes, 0, "%s", got);
		cr_expect(text_has(backend_last(s.be)->head, backend_last(s.be)->head_len, fields));
		/* and what comes with the session's next response needs no second one */
		const char *const again[4] = {"sid=new; Path=/n"};

		r = answer_with(c, s.be, again, fields);
		cr_expect_eq(response_count(r, "Set-Cookie"), 2, "%s", r->head);
		cr_expect(sign_is_native(set_cookie_value(r, "HTSIG_sid"), "sid", "new", NULL, &n));
	}
	client_close(c);
	session_stop(&s);
}

/* The end that the backend gave stays the end, whatever else becomes of the token. */
Test(native, end_of_a_persistent_cookie_stays)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.cookies = "[ { name: sid, key: shop, profile: proxysg, "
						 "accept: [native, proxysg] } ]"});
	const struct native old = {"sid",	  "s",	NULL,
				   "she~pL2FwcA", 1000, (uint64_t)time(NULL) + 3600};
	struct client *c = client_plain(gw);
	unsigned long long age = 0;
	char fields[700];
	struct response *r;
	const char *got;

	be->no_record = true;
	snprintf(fields, sizeof(fields), "Cookie: sid=s; HTSIG_sid=%s\r\n", sign_native(&old));
	r = client_get(c, "/", fields);
	cr_assert_eq(r->status, 200);
	got = set_cookie_attributes(r, "BCSIG_sid");
	cr_assert(got, "%s", r->head);
	cr_expect(strstr(got, "; Path=/app") && strstr(got, "; Secure") &&
			  strstr(got, "; HttpOnly"),
		  "%s", got);
	cr_assert(strstr(got, "; Max-Age="), "%s", got);
	sscanf(strstr(got, "; Max-Age="), "; Max-Age=%llu", &age);
	cr_expect(age > 0 && age <= 3600, "%s", got);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* What a token can't carry is not signed, and counted: it would come back as something else. */
Test(native, attributes_that_do_not_fit)
{
	struct text set = {0};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = NATIVE("")});
	struct client *c = client_plain(gw);

	token_expand(&set, "sid=s; Path=/{*600}");
	const char *const sets[4] = {set.p};

	cr_expect_eq(response_count(answer_with(c, be, sets, ""), "Set-Cookie"), 1);
	cr_expect_eq(gw_metric(gw, "hardtack_cookies_unsigned_total", "reason=\"refused\"", NULL),
		     1);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}
