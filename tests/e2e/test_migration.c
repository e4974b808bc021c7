/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A site moves from one profile to another, or begins to sign at all, and nobody is logged out: old
 * tokens are good until the operator says that they are not, and who comes with one leaves with a new
 * one. Tokens are computed here (sign.h).
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sign.h"

TestSuite(migration, .timeout = E2E_TIMEOUT);

#define RULE(more) "[ { name: sid, key: shop, bind: [client-ip]" more " } ]"

/* ---- from one profile to another ---- */

/* Where a token stood, and where it goes. `old` is a pattern: "NAME=TOKEN" of sid=s. */
struct move {
	const char *profile, *old, *forged, *sibling;
	bool hidden; /* the backend does not see the old token */
	const char *to, *to_sibling;
};

static const struct move moves[] = {
	{"f5-irule", "sid_HMAC={s}", "sid_HMAC={x}", "sid_HMAC", false, "native", "HTSIG_sid"},
	{"proxysg", "BCSIG_sid={sid=s@127.0.0.1}", "BCSIG_sid={sid=x@127.0.0.1}", "BCSIG_sid", true,
	 "native", "HTSIG_sid"},
	{"native", "HTSIG_sid=<sid=s@127.0.0.1>", "HTSIG_sid=<sid=x@127.0.0.1>", "HTSIG_sid", false,
	 "proxysg", "BCSIG_sid"},
	{"proxysg", "BCSIG_sid={sid=s@127.0.0.1}", "BCSIG_sid={sid=x@127.0.0.1}", "BCSIG_sid", true,
	 "f5-irule", "sid_HMAC"},
};

static char *expand(const char *pattern)
{
	struct text t = {0};

	text_add(&t, "", 0);
	sign_expand(&t, pattern, NULL);
	return t.p;
}

/* Is the session there, whatever tokens are beside it? */
static bool has_session(const struct breq *r)
{
	struct text got = {0};
	bool has = false;

	head_cookies(r->head, NULL, &got);
	for (const char *p = got.p; p && !has; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
		has = !strncmp(p, "sid=s", 5) && (p[5] == '|' || !p[5]);
	text_free(&got);
	return has;
}

/* Sends these cookies; the response is the client's, until the next one. */
static struct response *come_with(struct client *c, const char *cookies)
{
	char fields[2048];

	snprintf(fields, sizeof(fields), "Cookie: %s\r\n", cookies);
	return client_get(c, "/", fields);
}

static bool lives_with(struct gw *gw, struct backend *be, const char *cookies)
{
	struct client *c = client_plain(gw);
	struct response *r = come_with(c, cookies);

	cr_assert_eq(r->status, 200, "%s: %d", cookies, r->status);
	client_close(c);
	return has_session(backend_last(be));
}

static struct gw *gw_of(struct backend *be, const char *profile, const char *accept)
{
	char rule[200];

	snprintf(rule, sizeof(rule), RULE(", profile: %s, accept: [%s]"), profile, accept);
	return gw_start(be, &(struct gw_spec){.cookies = rule, .workers = 2});
}

static void reconfigure(struct gw *gw, const char *before, const char *after)
{
	struct text out = {0};

	gw_edit(gw, before, after);
	cr_assert_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	text_free(&out);
}

/* Both tokens at once, on as many connections, before any of them is answered. */
static void expect_parallel(struct gw *gw, struct backend *be, const char *old, const char *new)
{
	const char *tokens[3] = {old, new, NULL};
	struct client *c[18];
	int before = backend_count(be);
	char both[1500];

	snprintf(both, sizeof(both), "%s; %s", old, new);
	tokens[2] = both;
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < E2E_ARRAY_SIZE(c); i++) {
			c[i] = client_plain(gw);
			client_sendf(c[i],
				     "GET / HTTP/1.1\r\nHost: gw.test\r\nCookie: sid=s; %s\r\n\r\n",
				     tokens[i % 3]);
		}
		for (size_t i = 0; i < E2E_ARRAY_SIZE(c); i++) {
			cr_assert_eq(client_read(c[i])->status, 200, "%s", tokens[i % 3]);
			client_close(c[i]);
		}
	}
	for (int i = before; i < backend_count(be); i++)
		cr_expect(has_session(backend_req(be, i)), "%s", backend_req(be, i)->head);
	cr_expect_eq(backend_count(be) - before, 36);
}

static void expect_move(const struct move *m)
{
	char accept[100], cookies[800], forged[800], *old = expand(m->old),
						     *bad = expand(m->forged);
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_of(be, m->profile, m->profile);
	struct client *c = client_plain(gw);
	const char *new;
	char token[700];
	struct response *r;

	/* new tokens have times in them */
	be->no_record = true;
	snprintf(cookies, sizeof(cookies), "sid=s; %s", old);
	snprintf(forged, sizeof(forged), "sid=s; %s", bad);
	cr_expect(lives_with(gw, be, cookies) && lives_with(gw, be, cookies));

	/* both are good, the new one is what clients get */
	char rule[100], next[200];

	snprintf(accept, sizeof(accept), "%s, %s", m->profile, m->to);
	snprintf(rule, sizeof(rule), "profile: %s, accept: [%s]", m->profile, m->profile);
	snprintf(next, sizeof(next), "profile: %s, accept: [%s]", m->to, accept);
	reconfigure(gw, rule, next);
	backend_reply(be, "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\n"
			  "Content-Length: 0\r\n\r\n");
	r = come_with(c, cookies);
	cr_assert_eq(r->status, 200);
	cr_expect(has_session(backend_last(be)), "%s", backend_last(be)->head);
	cr_expect_eq(strstr(backend_last(be)->head, m->sibling) == NULL, m->hidden, "%s",
		     backend_last(be)->head);
	new = set_cookie_value(r, m->to_sibling);
	cr_assert(new, "%s -> %s: no new token:\n%s", m->profile, m->to, r->head);
	cr_expect_eq(response_count(r, "Set-Cookie"), 1, "%s", r->head);
	cr_expect(strcasestr(response_field(r, "Cache-Control", 0), "private"), "%s", r->head);
	snprintf(token, sizeof(token), "%s=%s", m->to_sibling, new);
	backend_reply(be, NULL);
	expect_parallel(gw, be, old, token);
	cr_expect_not(lives_with(gw, be, forged));

	/* with the new one nothing is signed again, and it is a hit */
	snprintf(forged, sizeof(forged), "sid=s; %s", token);
	double hits = gw_hits(gw);

	r = come_with(c, forged);
	cr_expect_eq(response_count(r, "Set-Cookie"), 0, "%s", r->head);
	cr_expect(has_session(backend_last(be)));
	cr_expect(e2e_wait(gw_hits(gw) == hits + 1));

	/* the old profile is over */
	snprintf(rule, sizeof(rule), "accept: [%s]", accept);
	snprintf(next, sizeof(next), "accept: [%s]", m->to);
	reconfigure(gw, rule, next);
	for (int i = 0; i < 2; i++) {
		cr_expect_not(lives_with(gw, be, cookies), "%s after its end", m->profile);
		cr_expect(lives_with(gw, be, forged), "%s", m->to);
	}
	cr_expect_eq(gw_metric(gw, "hardtack_requests_total", "code=\"503\"", NULL), 0);
	cr_expect_eq(gw_verdicts(gw, "duplicate", "strip"), 0);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
	free(old);
	free(bad);
}

Test(migration, f5_irule_to_native)
{
	e2e_need_gate();
	expect_move(&moves[0]);
}

Test(migration, proxysg_to_native)
{
	e2e_need_gate();
	expect_move(&moves[1]);
}

Test(migration, native_back_to_proxysg)
{
	e2e_need_gate();
	expect_move(&moves[2]);
}

Test(migration, proxysg_to_f5_irule)
{
	e2e_need_gate();
	expect_move(&moves[3]);
}

/* Old and new tokens of fixed times, in one header too: the bytes at the backend. */
Test(migration, both_tokens_at_once)
{
	static const struct {
		const char *fields, *want;
	} rows[] = {
		{"sid=s; sid_HMAC={s}", "sid=s|sid_HMAC={s}"},
		{"sid=s; HTSIG_sid=<sid=s@127.0.0.1>", "sid=s|HTSIG_sid=<sid=s@127.0.0.1>"},
		{"sid=s; sid_HMAC={s}; HTSIG_sid=<sid=s@127.0.0.1>",
		 "sid=s|sid_HMAC={s}|HTSIG_sid=<sid=s@127.0.0.1>"},
		{"HTSIG_sid=<sid=s@127.0.0.1>; sid_HMAC={s}; sid=s",
		 "HTSIG_sid=<sid=s@127.0.0.1>|sid_HMAC={s}|sid=s"},
		{"sid=s; sid_HMAC={x}", "sid_HMAC={x}"},
		{"sid=s; HTSIG_sid=<sid=x@127.0.0.1>", "HTSIG_sid=<sid=x@127.0.0.1>"},
		{"sid=s; sid_HMAC={x}; HTSIG_sid=<sid=x@127.0.0.1>",
		 "sid_HMAC={x}|HTSIG_sid=<sid=x@127.0.0.1>"},
		{"sid=t; sid=s; sid_HMAC={s}; HTSIG_sid=<sid=s@127.0.0.1>", NULL},
		{"sid=s; a=1", "a=1"},
	};
	struct text line = {0}, want = {0}, got = {0};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_of(be, "native", "f5-irule, native");

	for (size_t i = 0; i < 3 * E2E_ARRAY_SIZE(rows); i++) {
		size_t n = i % E2E_ARRAY_SIZE(rows);

		text_clear(&line);
		text_clear(&want);
		sign_expand(&line, rows[n].fields, NULL);
		sign_expand(&want, rows[n].want ? rows[n].want : "", NULL);
		struct client *c = client_plain(gw);

		cr_expect_eq(come_with(c, line.p)->status, 200, "%s", rows[n].fields);
		client_close(c);
		head_cookies(backend_last(be)->head, NULL, &got);
		if (rows[n].want)
			cr_expect_str_eq(got.p, want.p, "%s: %s", rows[n].fields, got.p);
		else
			cr_expect(has_session(backend_last(be)), "%s", got.p);
	}
	gw_stop(gw);
	backend_stop(be);
}

/* One of the two is wrong while the other is right: the session stays, by whichever is right. */
Test(migration, one_of_two_is_wrong)
{
	static const char *const rows[] = {
		"sid=s; sid_HMAC={x}; BCSIG_sid={sid=s@127.0.0.1}",
		"sid=s; sid_HMAC={s}; BCSIG_sid={sid=x@127.0.0.1}; BCSIG_q=1",
		"sid=s; sid_HMAC={s}; BCSIG_sid={sid=x@127.0.0.1}; HTSIG_sid=",
		"sid=s; sid_HMAC={s}; HTSIG_sid=<sid=x@127.0.0.1>",
		"sid=s; sid_HMAC={x}; HTSIG_sid=<sid=s@127.0.0.1>",
		"sid=s; sid_HMAC={s}; HTSIG_sid=nonsense",
		"sid=s; sid_HMAC=; HTSIG_sid=<sid=s@127.0.0.1>",
		"HTSIG_sid=<sid=s@127.0.0.1>; sid=s; sid_HMAC={x}; a=1",
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_of(be, "native", "f5-irule, native, proxysg");

	for (size_t i = 0; i < 3 * E2E_ARRAY_SIZE(rows); i++) {
		char *cookies = expand(rows[i % E2E_ARRAY_SIZE(rows)]);

		cr_expect(lives_with(gw, be, cookies), "%s: %s", rows[i % E2E_ARRAY_SIZE(rows)],
			  backend_last(be)->head);
		free(cookies);
	}
	cr_expect_eq(gw_metric(gw, "hardtack_requests_total", "code=\"503\"", NULL), 0);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- enforce-after ---- */

static const struct {
	const char *profile, *sibling, *forged;
} profiles[] = {
	{"native", "HTSIG_sid", "HTSIG_sid=<sid=x@127.0.0.1>"},
	{"f5-irule", "sid_HMAC", "sid_HMAC={x}"},
	{"proxysg", "BCSIG_sid", "BCSIG_sid={sid=x@127.0.0.1}"},
};

static struct gw *gw_after(struct backend *be, const char *profile, const char *date)
{
	char rule[200];

	snprintf(rule, sizeof(rule), RULE(", profile: %s, enforce-after: %s"), profile, date);
	return gw_start(be, &(struct gw_spec){.cookies = rule});
}

Test(migration, grace)
{
	e2e_need_gate();
	for (size_t i = 0; i < E2E_ARRAY_SIZE(profiles); i++) {
		struct backend *be = backend_start(NULL);
		struct gw *gw = gw_after(be, profiles[i].profile, "2099-12-31T23:59:59Z");
		char cookies[800], *forged = expand(profiles[i].forged);
		struct client *c = client_plain(gw);
		const char *token;
		struct response *r;

		be->no_record = true;
		r = come_with(c, "sid=s");
		cr_assert_eq(r->status, 200);
		cr_expect(has_session(backend_last(be)), "%s", profiles[i].profile);
		token = set_cookie_value(r, profiles[i].sibling);
		cr_assert(token, "%s: %s", profiles[i].profile, r->head);
		cr_expect(strcasestr(response_field(r, "Cache-Control", 0), "private"), "%s",
			  r->head);
		cr_expect_eq(gw_verdicts(gw, "missing", "grace"), 1);
		cr_expect(gw_logged(gw, "let through unsigned"));

		/* once more unsigned: it may have been sent before the answer came */
		r = come_with(c, "sid=s");
		cr_expect(has_session(backend_last(be)));
		cr_expect(set_cookie_value(r, profiles[i].sibling));

		/* signed from now on, and a hit */
		snprintf(cookies, sizeof(cookies), "sid=s; %s=%s", profiles[i].sibling, token);
		double hits = gw_hits(gw);

		r = come_with(c, cookies);
		cr_expect(has_session(backend_last(be)));
		cr_expect_eq(response_count(r, "Set-Cookie"), 0, "%s", r->head);
		cr_expect(e2e_wait(gw_hits(gw) == hits + 1), "%s", profiles[i].profile);

		/* a wrong token was never a token of before the rollout, nor are two values */
		snprintf(cookies, sizeof(cookies), "sid=s; %s", forged);
		cr_assert_eq(come_with(c, cookies)->status, 200);
		cr_expect_not(has_session(backend_last(be)), "%s", profiles[i].profile);
		cr_assert_eq(come_with(c, "sid=s; sid=t")->status, 200);
		cr_expect_not(has_session(backend_last(be)), "%s", profiles[i].profile);
		cr_assert_eq(come_with(c, "sid=; a=1")->status, 200);
		cr_expect_not(text_has(backend_last(be)->head, backend_last(be)->head_len, "sid"),
			      "%s", backend_last(be)->head);
		cr_expect_eq(gw_verdicts(gw, "missing", "grace"), 2);

		/* what the backend sets anew is signed instead */
		backend_reply(be, "HTTP/1.1 200 OK\r\nSet-Cookie: sid=new; Path=/\r\n"
				  "Content-Length: 0\r\n\r\n");
		r = come_with(c, "sid=s");
		cr_expect_eq(response_count(r, "Set-Cookie"), 2, "%s", r->head);
		backend_reply(be, "HTTP/1.1 200 OK\r\nSet-Cookie: sid=; Max-Age=0\r\n"
				  "Content-Length: 0\r\n\r\n");
		r = come_with(c, "sid=s");
		cr_expect_eq(response_count(r, "Set-Cookie"), 2, "%s", r->head);
		cr_expect_str_empty(set_cookie_value(r, profiles[i].sibling));
		client_close(c);
		gw_stop(gw);
		backend_stop(be);
		free(forged);
	}
}

/* Who can't be bound keeps his cookie until the day comes, and is given nothing for it. */
Test(migration, grace_of_the_unbound)
{
	e2e_need_gate();
	for (size_t i = 0; i < E2E_ARRAY_SIZE(profiles); i++) {
		struct backend *be = backend_start(NULL);
		char rule[200];
		struct gw *gw;
		struct client *c;
		struct response *r;

		snprintf(rule, sizeof(rule),
			 "[ { name: sid, key: shop, profile: %s, bind: [user], enforce-after: "
			 "2099-12-31 } ]",
			 profiles[i].profile);
		gw = gw_start(be, &(struct gw_spec){.cookies = rule,
						    .top = "trusted-proxies: [127.0.0.1]\n"});
		c = client_plain(gw);
		for (int round = 0; round < 2; round++) {
			r = come_with(c, "sid=s");
			cr_assert_eq(r->status, 200);
			cr_expect(has_session(backend_last(be)), "%s", profiles[i].profile);
			cr_expect_eq(response_count(r, "Set-Cookie"), 0, "%s", r->head);
		}
		cr_expect_eq(gw_verdicts(gw, "missing", "grace"), 2);
		r = come_with(c, "sid=s\r\nX-Forwarded-User: alice");
		cr_expect(set_cookie_value(r, profiles[i].sibling), "%s", r->head);
		client_close(c);
		gw_stop(gw);
		backend_stop(be);
	}
}

/* The cookie's own attributes are not in a request: the rule says what its sibling gets. */
Test(migration, attributes_of_what_comes_back_signed)
{
	static const struct {
		const char *rule, *sibling, *tls, *plain;
	} rows[] = {
		{"", "HTSIG_sid", "; Path=/; Secure; HttpOnly", "; Path=/; HttpOnly"},
		{", profile: proxysg", "BCSIG_sid", "; Path=/; Secure; HttpOnly",
		 "; Path=/; HttpOnly"},
		{", profile: f5-irule", "sid_HMAC", "; HttpOnly; Secure; Path=/",
		 "; HttpOnly; Path=/"},
		{", reissue-attributes: \"Path=/app; SameSite=Lax\"", "HTSIG_sid",
		 "; Path=/app; SameSite=Lax", "; Path=/app; SameSite=Lax"},
	};

	e2e_need_gate();
	for (size_t i = 0; i < E2E_ARRAY_SIZE(rows); i++) {
		struct backend *be = backend_start(NULL);
		struct client *tls, *plain;
		char rule[300];
		struct gw *gw;

		snprintf(rule, sizeof(rule), RULE(", enforce-after: 2099-12-31%s"), rows[i].rule);
		gw = gw_start(be, &(struct gw_spec){.cookies = rule});
		tls = client_tls(gw);
		plain = client_plain(gw);
		cr_expect_str_eq(set_cookie_attributes(come_with(tls, "sid=s"), rows[i].sibling),
				 rows[i].tls);
		cr_expect_str_eq(set_cookie_attributes(come_with(plain, "sid=s"), rows[i].sibling),
				 rows[i].plain);
		client_close(tls);
		client_close(plain);
		gw_stop(gw);
		backend_stop(be);
	}
}

/* As many as a request may have: each comes back signed, and then each is a hit. */
Test(migration, grace_of_sixteen)
{
	static const char *const rules[] = {
		"[ { all: true, key: shop, enforce-after: 2099-12-31 } ]",
		"[ { all: true, key: shop, profile: proxysg, enforce-after: 2099-12-31 } ]",
	};

	e2e_need_gate();
	for (size_t i = 0; i < E2E_ARRAY_SIZE(rules); i++) {
		struct backend *be = backend_start(NULL);
		struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = rules[i]});
		struct text fields = {0}, more = {0};
		struct client *c = client_plain(gw);
		struct response *r;

		be->no_record = true;
		text_addf(&fields, "Cookie: c0=v");
		for (int n = 1; n < 16; n++)
			text_addf(&fields, "; c%d=v", n);
		text_addf(&more, "%s", fields.p);
		text_addf(&fields, "\r\n");
		r = client_get(c, "/", fields.p);
		cr_assert_eq(r->status, 200);
		cr_expect(text_has(backend_last(be)->head, backend_last(be)->head_len, fields.p));
		cr_expect_eq(response_count(r, "Set-Cookie"), 16, "%s", r->head);
		for (int n = 0; n < 16; n++) {
			char name[32];

			snprintf(name, sizeof(name), "%s_c%d", i ? "BCSIG" : "HTSIG", n);
			cr_assert(set_cookie_value(r, name), "%s", name);
			text_addf(&more, "; %s=%s", name, set_cookie_value(r, name));
		}
		text_addf(&more, "\r\n");
		double hits = gw_hits(gw);

		r = client_get(c, "/", more.p);
		cr_assert_eq(r->status, 200);
		cr_expect_eq(response_count(r, "Set-Cookie"), 0, "%s", r->head);
		cr_expect(e2e_wait(gw_hits(gw) == hits + 16), "%g", gw_hits(gw) - hits);
		client_close(c);
		gw_stop(gw);
		backend_stop(be);
	}
}

Test(migration, grace_is_over)
{
	static const char *const dates[] = {"2020-01-01", "2021-11-20T01:02:03Z"};

	e2e_need_gate();
	for (size_t i = 0; i < 2 * E2E_ARRAY_SIZE(profiles); i++) {
		struct backend *be = backend_start(NULL);
		struct gw *gw = gw_after(be, profiles[i / 2].profile, dates[i % 2]);

		cr_expect_not(lives_with(gw, be, "sid=s"), "%s", profiles[i / 2].profile);
		cr_expect_not(lives_with(gw, be, "sid=s"), "%s", profiles[i / 2].profile);
		cr_expect_eq(gw_verdicts(gw, "missing", "strip"), 2);
		cr_expect_eq(gw_metric(gw, "hardtack_verdicts_total", "action=\"grace\"", NULL), 0);
		gw_stop(gw);
		backend_stop(be);
	}
}

/* The day itself comes, and no daemon is asked. */
Test(migration, grace_ends)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	time_t soon = time(NULL) + 3;
	struct tm tm;
	char date[32];
	struct gw *gw;
	int64_t end;
	int rounds = 0;

	gmtime_r(&soon, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
	be->no_record = true;
	gw = gw_after(be, "native", date);
	end = run_now_ms() + run_deadline_ms();
	while (lives_with(gw, be, "sid=s")) {
		cr_assert_lt(run_now_ms(), end, "no end");
		rounds++;
		run_pause();
	}
	cr_expect_eq(gw_verdicts(gw, "missing", "grace"), rounds);
	cr_expect_eq(gw_verdicts(gw, "missing", "strip"), 1);
	if (run_gate_on())
		cr_expect_eq(gw_metric(gw, "hardtack_verdicts_total", "where=\"kernel\"",
				       "action=\"strip\"", NULL),
			     1);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- report ---- */

static const char *const report_lines[] = {
	"a=1; sid=s; sid_HMAC={s}",
	"sid=s; sid_HMAC={x}; a=1",
	"sid=s",
	"sid=s; HTSIG_sid=<sid=s@127.0.0.1>; a=1",
	"sid=s; HTSIG_sid=<sid=x@127.0.0.1>",
	"sid=s; sid_HMAC={s}; HTSIG_sid=<sid=s@127.0.0.1>",
	"BCSIG_sid={sid=s@127.0.0.1}; sid=s",
	"a=1; sid =s;sid=t",
};

static void run_report(const char *mode, struct text *out, double *ret_reports)
{
	struct backend *be = backend_start(NULL);
	char rule[200];
	struct gw *gw;

	snprintf(rule, sizeof(rule), RULE(", accept: [f5-irule, proxysg], mode: %s"), mode);
	gw = gw_start(be, &(struct gw_spec){.cookies = rule});
	for (size_t i = 0; i < 2 * E2E_ARRAY_SIZE(report_lines); i++) {
		char *cookies = expand(report_lines[i / 2]);
		struct client *c = client_plain(gw);
		struct response *r = come_with(c, cookies);

		cr_expect_eq(r->status, 200);
		cr_expect_eq(response_count(r, "Set-Cookie"), 0, "%s: %s", cookies, r->head);
		client_close(c);
		free(cookies);
	}
	for (int i = 0; i < be->nreqs; i++) {
		const char *line = be->reqs[i]->head, *end;

		for (; (end = strstr(line, "\r\n")); line = end + 2)
			if (strncasecmp(line, "X-Request-ID:", 13))
				text_add(out, line, (size_t)(end + 2 - line));
	}
	*ret_reports = gw_metric(gw, "hardtack_verdicts_total", "action=\"report\"", NULL);
	cr_expect_eq(gw_metric(gw, "hardtack_verdicts_total", "action=\"strip\"", NULL), 0);
	cr_expect_eq(gw_logged(gw, "would be stripped"), *ret_reports > 0);
	gw_stop(gw);
	backend_stop(be);
}

Test(migration, report)
{
	struct text report = {0}, off = {0};
	double reports, none;

	e2e_need_gate();
	run_report("report", &report, &reports);
	run_report("off", &off, &none);
	cr_expect_str_eq(report.p, off.p);
	cr_expect_eq(reports, 8, "%g: four lines, twice", reports);
	cr_expect_eq(none, 0);
}
