/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a sealed session: keys change, daemons restart, rules are introduced and withdrawn, and
 * nobody is logged out but who was to be. Sealed values are made and opened here (seal.h).
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "seal.h"
#include "tables.h"

TestSuite(sealed_life, .timeout = E2E_TIMEOUT);

#define RULE(more) "[ { name: sid, key: shop, bind: [client-ip], profile: secure-cookie" more " } ]"
#define LATER ", enforce-after: 2199-01-01"

static const struct seal good = {
	.name = "sid", .value = "s.1", .ip = SEAL_IP, .issued = SIGN_FIRST, .expires = SEAL_LAST};

static void ctl_ok(struct gw *gw, const char *command, const char *arg)
{
	struct text out = {0};

	cr_assert_eq(gw_ctl(gw, &out, command, arg), 0, "%s", out.p);
	text_free(&out);
}

static void revoke(struct gw *gw, const char *cookie)
{
	const char *const argv[] = {run_ctl(),	"-s",	gw->control, "revoke",
				    "--cookie", cookie, NULL};
	struct text out = {0};

	cr_assert_eq(run_command(&out, argv), 0, "%s", out.p);
	text_free(&out);
}

/* What of a client's three ways is seen by the backend: all must be the same. */
static bool lives(struct client *c, struct backend *be, const char *value)
{
	return !strcmp(seal_come_sid(c, be, value), "a=1; sid=s.1; b=2");
}

static bool is_gone(struct client *c, struct backend *be, const char *value)
{
	return !strcmp(seal_come_sid(c, be, value), "a=1; b=2");
}

static bool opens(const char *sealed)
{
	struct seal who = good;
	char plain[SEAL_MAX];

	return seal_open(&who, sealed, plain) && !strcmp(plain, "s.1");
}

/* ---- keys ---- */

Test(sealed_life, a_rotated_key_seals_anew)
{
	e2e_need_gate();
	struct backend *be = seal_backend();
	struct gw *gw = gw_start(
		be, &(struct gw_spec){
			    .cookies = "[ { name: sid, key: ring, bind: [client-ip], profile: "
				       "secure-cookie } ]",
			    .keys = "  - { name: ring, directory: keys/ring, rotate-every: 24h, "
				    "lifetime: 48h }\n"});
	struct client *c = client_plain(gw);
	char old[SEAL_MAX + 1], next[SEAL_MAX + 1];

	snprintf(old, sizeof(old), "%s", seal_value_in(seal_login(c, be, "sid=s.1; Path=/app")));
	cr_expect(lives(c, be, old));
	ctl_ok(gw, "rotate", "ring");
	cr_expect(lives(c, be, old), "with what the old secret sealed");
	snprintf(next, sizeof(next), "%s", seal_set_by(&c->r, "sid", 0));
	cr_assert(*next, "it is not sealed anew:\n%s", c->r.head);
	cr_expect_str_eq(strchr(next, ';'), "; Path=/app");
	next[strcspn(next, ";")] = '\0';
	cr_expect_str_neq(next, old);
	for (int i = 0; i < 2; i++) {
		cr_expect(lives(c, be, next));
		cr_expect_eq(response_count(&c->r, "Set-Cookie"), 0, "once is enough");
		cr_expect(lives(c, be, old), "somebody who did not get the new one");
	}
	ctl_ok(gw, "revoke", "ring");
	cr_expect(is_gone(c, be, old));
	cr_expect(is_gone(c, be, next));
	client_close(c);
	seal_stop(gw, be);
}

/* What is past half its life comes anew, with what it carries; a cookie's own end stays. */
Test(sealed_life, half_a_life)
{
	e2e_need_gate();
	struct backend *be = seal_backend();
	struct gw *gw = seal_gw(be, RULE(", lifetime: 1h"));
	struct client *c = client_plain(gw);
	const uint64_t now = (uint64_t)time(NULL);
	struct seal s = good;

	s.issued = now - 3000;
	s.expires = now + 600;
	s.attributes = "h~pL2FwcA";
	cr_expect(lives(c, be, seal_make(&s)));
	cr_expect(opens(seal_value_in(seal_set_by(&c->r, "sid", 0))), "%s", c->r.head);
	cr_expect_str_eq(strchr(seal_set_by(&c->r, "sid", 0), ';'), "; Path=/app; HttpOnly");
	s.attributes = "he~pL2FwcA";
	cr_expect(lives(c, be, seal_make(&s)));
	cr_expect_str_empty(seal_set_by(&c->r, "sid", 0), "it has its own end");
	/* what the backend sets on the same response is newer than what we would */
	s.attributes = "h~pL2FwcA";
	const char *const set[4] = {"sid=other"};
	char line[SEAL_MAX + 20];

	snprintf(line, sizeof(line), "Cookie: sid=%s\r\n", seal_make(&s));
	answer_with(c, be, set, line);
	cr_expect_eq(response_count(&c->r, "Set-Cookie"), 1, "%s", c->r.head);
	cr_expect_not(opens(seal_value_in(seal_set_by(&c->r, "sid", 0))));
	client_close(c);
	seal_stop(gw, be);
}

Test(sealed_life, a_restart)
{
	e2e_need_gate();
	struct backend *be = seal_backend();
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = RULE(""), .own = true});
	struct client *c = client_plain(gw);
	char value[SEAL_MAX + 1];

	snprintf(value, sizeof(value), "%s", seal_value_in(seal_login(c, be, "sid=s.1")));
	cr_expect(lives(c, be, value));
	client_close(c);
	gw_terminate(gw);
	cr_assert_eq(gw_end(gw), 0);
	cr_assert(gw_restart(gw));
	c = client_plain(gw);
	for (int i = 0; i < 2; i++)
		cr_expect(lives(c, be, value));
	if (run_gate_on()) /* plaintext does not outlive the daemon, so the first is a miss */
		cr_expect(e2e_wait(kernel_count(gw, "hit") >= 1), "%g", kernel_count(gw, "hit"));
	ctl_ok(gw, "flush", NULL);
	cr_expect(lives(c, be, value));
	client_close(c);
	seal_stop(gw, be);
}

/* ---- who is logged out ---- */

Test(sealed_life, revoked_by_what_the_log_of_the_backend_shows_or_by_what_was_stolen)
{
	char cookie[SEAL_MAX + 10];
	struct seal again = good, other = good;

	again.issued++;
	other.value = "s.2";
	e2e_need_gate();
	for (int sealed = 0; sealed < 2; sealed++) {
		struct backend *be = seal_backend();
		struct gw *gw = seal_gw(be, RULE(""));
		struct client *c = client_plain(gw);

		snprintf(cookie, sizeof(cookie), "sid=%s", sealed ? seal_make(&good) : "s.1");
		for (int i = 0; i < 2; i++)
			cr_expect(lives(c, be, seal_make(&good)));
		revoke(gw, cookie);
		for (int i = 0; i < 2; i++) {
			cr_expect(is_gone(c, be, seal_make(&good)));
			cr_expect(sealed ? lives(c, be, seal_make(&again))
					 : is_gone(c, be, seal_make(&again)));
			cr_expect_str_eq(seal_come_sid(c, be, seal_make(&other)),
					 "a=1; sid=s.2; b=2");
		}
		cr_expect_eq(gw_verdicts(gw, "revoked", "strip"), sealed ? 2 : 4);
		if (!sealed) { /* a backend that sets it again does not give it back */
			cr_expect_str_empty(seal_login(c, be, "sid=s.1"));
			cr_expect_null(strstr(c->r.head, "s.1"), "%s", c->r.head);
		}
		client_close(c);
		seal_stop(gw, be);
	}
}

/* ---- rules come and go ---- */

Test(sealed_life, report_opens_and_does_nothing_else)
{
	struct seal old = good;
	char line[3 * SEAL_MAX];

	old.expires = SIGN_FIRST + 1;
	e2e_need_gate();
	struct backend *be = seal_backend();
	struct gw *gw = seal_gw(be, RULE(", mode: enforce"));
	struct client *c = client_plain(gw);
	char value[SEAL_MAX + 1];

	snprintf(value, sizeof(value), "%s", seal_value_in(seal_login(c, be, "sid=s.1")));
	cr_expect(lives(c, be, value));
	seal_reconfigure(gw, "mode: enforce", "mode: report");
	client_close(c);
	c = client_plain(gw);
	for (int i = 0; i < 3; i++) {
		cr_expect(lives(c, be, value), "logged out by a report: %s", seal_seen(be));
		cr_expect(lives(c, be, "s.1"), "%s", seal_seen(be));
		snprintf(line, sizeof(line), "a=1; sid=%s; b=2", seal_make(&old));
		cr_expect_str_eq(seal_come(c, be, line), line);
		/* where there are two, each that is right is opened */
		snprintf(line, sizeof(line), "sid=%s; x=1; sid=plain; sid=%s", value,
			 seal_make(&good));
		cr_expect_str_eq(seal_come(c, be, line), "sid=s.1; x=1; sid=plain; sid=s.1", "%s",
				 seal_seen(be));
		cr_expect_eq(response_count(&c->r, "Set-Cookie"), 0);
	}
	cr_expect_str_eq(seal_login(c, be, "sid=s.2; Path=/"), "s.2; Path=/");
	cr_expect_eq(gw_verdicts(gw, "expired", "report"), 3, "%g",
		     gw_verdicts(gw, "expired", "report"));
	cr_expect_eq(gw_verdicts(gw, "missing", "report"), 3);
	client_close(c);
	seal_stop(gw, be);
}

Test(sealed_life, before_enforce_after_nobody_is_logged_out)
{
	struct seal elsewhere = good;
	char value[SEAL_MAX + 1];

	elsewhere.ip = "127.0.0.9";
	e2e_need_gate();
	struct backend *be = seal_backend();
	struct gw *gw = seal_gw(be, RULE(LATER));
	struct client *c = client_plain(gw);

	for (int i = 0; i < 3; i++) {
		cr_expect(lives(c, be, "s.1"), "%s", seal_seen(be));
		snprintf(value, sizeof(value), "%s", seal_value_in(seal_set_by(&c->r, "sid", 0)));
		cr_expect(opens(value), "%s", c->r.head);
		cr_expect_str_eq(strchr(seal_set_by(&c->r, "sid", 0), ';'), "; Path=/; HttpOnly");
		/* what was sealed for somebody else is no cookie of before */
		cr_expect(is_gone(c, be, seal_make(&elsewhere)));
	}
	cr_expect(lives(c, be, value));
	cr_expect_eq(response_count(&c->r, "Set-Cookie"), 0);
	cr_expect_eq(gw_verdicts(gw, "missing", "grace"), 3);
	seal_reconfigure(gw, LATER, "");
	client_close(c);
	c = client_plain(gw);
	for (int i = 0; i < 2; i++) {
		cr_expect(is_gone(c, be, "s.1"));
		cr_expect(lives(c, be, value));
	}
	client_close(c);
	seal_stop(gw, be);
}

/* Tokens of native become sealed cookies and, should the operator think better of it, again tokens. */
Test(sealed_life, from_native_and_back)
{
	const struct native token = {"sid", "s.1", SEAL_IP, "h", SIGN_FIRST, SIGN_LAST};
	char both[SEAL_MAX + 800], value[SEAL_MAX + 1];

	e2e_need_gate();
	struct backend *be = seal_backend();
	struct gw *gw = seal_gw(be, "[ { name: sid, key: shop, bind: [client-ip], profile: native, "
				    "accept: [native] } ]");
	struct client *c = client_plain(gw);

	snprintf(both, sizeof(both), "sid=s.1; HTSIG_sid=%s", sign_native(&token));
	cr_expect_str_eq(seal_come(c, be, both), both);
	seal_reconfigure(gw, "profile: native, accept: [native]",
			 "profile: secure-cookie, accept: [native]");
	client_close(c);
	c = client_plain(gw);
	for (int i = 0; i < 2; i++) {
		cr_expect_str_eq(seal_come(c, be, both), both, "%s", seal_seen(be));
		if (i) /* for a while the kernel knows it */
			continue;
		cr_expect_eq(response_count(&c->r, "Set-Cookie"), 2, "%s", c->r.head);
		snprintf(value, sizeof(value), "%s", seal_value_in(seal_set_by(&c->r, "sid", 0)));
		cr_expect(opens(value), "%s", c->r.head);
		cr_expect_str_eq(strchr(seal_set_by(&c->r, "sid", 0), ';'), "; HttpOnly");
		cr_expect(strstr(seal_set_by(&c->r, "HTSIG_sid", 0), "Max-Age=0"), "%s", c->r.head);
	}
	cr_expect(is_gone(c, be, "s.1"), "%s", seal_seen(be));
	/* a client that has not forgotten its token is reminded to, and not in the way of anything */
	snprintf(both, sizeof(both), "sid=%s; x=1; HTSIG_sid=%s", value, sign_native(&token));
	for (int i = 0; i < 2; i++) {
		cr_expect_str_eq(seal_come(c, be, both), "sid=s.1; x=1", "%s", seal_seen(be));
		cr_expect(strstr(seal_set_by(&c->r, "HTSIG_sid", 0), "Max-Age=0"), "%s", c->r.head);
		cr_expect(lives(c, be, value));
		cr_expect_eq(response_count(&c->r, "Set-Cookie"), 0);
	}
	seal_reconfigure(gw, "profile: secure-cookie, accept: [native]",
			 "profile: native, accept: [secure-cookie]");
	client_close(c);
	c = client_plain(gw);
	for (int i = 0; i < 2; i++) {
		cr_expect(lives(c, be, value), "%s", seal_seen(be));
		if (i)
			continue;
		cr_expect_eq(response_count(&c->r, "Set-Cookie"), 2, "%s", c->r.head);
		cr_expect_str_eq(seal_set_by(&c->r, "sid", 0), "s.1; HttpOnly");
		snprintf(both, sizeof(both), "sid=s.1; HTSIG_sid=%s",
			 seal_value_in(seal_set_by(&c->r, "HTSIG_sid", 0)));
	}
	seal_reconfigure(gw, "profile: native, accept: [secure-cookie]", "profile: native");
	client_close(c);
	c = client_plain(gw);
	for (int i = 0; i < 2; i++) {
		cr_expect_str_eq(seal_come(c, be, both), both);
		cr_expect(is_gone(c, be, value), "%s", seal_seen(be));
	}
	client_close(c);
	seal_stop(gw, be);
}

Test(sealed_life, exempt_paths_get_plaintext_too)
{
	char fields[2 * SEAL_MAX];

	e2e_need_gate();
	struct backend *be = seal_backend();
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.cookies = RULE(""), .site_extra = "    exempt: [/open]\n"});
	struct client *c = client_plain(gw);

	snprintf(fields, sizeof(fields), "Cookie: a=1; sid=%s; sid=bare\r\n", seal_make(&good));
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(client_get(c, "/open", fields)->status, 200);
		cr_expect_str_eq(seal_seen(be), "a=1; sid=s.1; sid=bare");
		cr_expect_eq(response_count(&c->r, "Set-Cookie"), 0);
		cr_assert_eq(client_get(c, "/", fields)->status, 200);
		cr_expect_str_eq(seal_seen(be), "a=1; sid=s.1");
	}
	client_close(c);
	seal_stop(gw, be);
}

/* ---- what does not go at once ---- */

/* Answers the first request of a connection; the next one it hears, and goes. */
static void once(struct bconn *c, struct breq *r)
{
	static __thread int served;

	if (served++)
		bconn_close(c, false);
	else
		backend_answer(c, r);
}

/* A head that holds plaintext is sent once more on another connection, as often as need be. */
Test(sealed_life, a_connection_that_is_lost)
{
	struct seal longer = good;
	static char plain[2901], want[3000];

	memset(plain, 'p', sizeof(plain) - 1);
	longer.value = plain;
	snprintf(want, sizeof(want), "a=1; sid=%s; b=2", plain);
	e2e_need_gate();
	struct backend *be = backend_start(once);
	struct gw *gw = seal_gw(be, RULE(""));
	struct client *c = client_plain(gw);

	be->no_record = true;
	for (int i = 0; i < 6; i++) {
		cr_expect_str_eq(seal_come_sid(c, be, seal_make(&longer)), want);
		cr_expect(lives(c, be, seal_make(&good)), "%s", seal_seen(be));
	}
	cr_expect_gt(gw_metric(gw, "hardtack_backend_retries_total", NULL), 3);
	client_close(c);
	seal_stop(gw, be);
}

/* A map with hardly any room, or none: what the kernel forgot the daemon opens, in the same bytes. */
Test(sealed_life, a_map_that_is_full)
{
	static const char *const rooms[] = {"{ sealed-max: 1 }", "{ sealed-max: 0 }",
					    "{ sealed-max: 4 }"};
	struct text sent = {0}, want = {0};

	e2e_need_gate();
	for (size_t n = 0; n < 16; n++) {
		struct seal s = good;
		char name[8];

		snprintf(name, sizeof(name), "c%zu", n);
		s.name = name;
		text_addf(&sent, "%s%s=%s", n ? "; " : "", name, seal_make(&s));
		text_addf(&want, "%s%s=s.1", n ? "; " : "", name);
	}
	for (size_t i = 0; i < E2E_ARRAY_SIZE(rooms); i++) {
		struct backend *be = backend_start(NULL);
		struct gw *gw =
			gw_start(be, &(struct gw_spec){.cookies = "[ { only: [\"c*\"], profile: "
								  "secure-cookie, key: shop, bind: "
								  "[client-ip] } ]",
						       .tokens = rooms[i]});
		struct client *c = client_plain(gw);

		for (int k = 0; k < 5; k++)
			cr_expect_str_eq(seal_come(c, be, sent.p), want.p, "%s: %s", rooms[i],
					 seal_seen(be));
		client_close(c);
		seal_stop(gw, be);
	}
	text_free(&sent);
	text_free(&want);
}

/* However often such a head is judged, its client is given one session id, the one that arrives. */
Test(sealed_life, a_session_id_beside_them)
{
	struct text sent = {0};
	static char plain[1501];

	memset(plain, 'p', sizeof(plain) - 1);
	for (size_t n = 0; n < 6; n++) {
		struct seal s = good;
		char name[8];

		snprintf(name, sizeof(name), "c%zu", n);
		s.name = name;
		s.value = n ? "s.1" : plain;
		text_addf(&sent, "%s=%s; ", name, seal_make(&s));
	}
	text_addf(&sent, "id=nonsense");
	e2e_need_gate();
	struct backend *be = seal_backend();
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.cookies = "[ { only: [\"c*\"], profile: secure-cookie, key: "
						 "shop, bind: [client-ip] }, { name: id, profile: "
						 "session-id, key: shop } ]",
				      .tokens = "{ sealed-max: 1 }"});
	struct client *c = client_plain(gw);

	for (int k = 0; k < 5; k++) {
		const char *got = seal_come(c, be, sent.p), *at = strstr(got, "; id=");

		cr_assert(at, "%s", got);
		cr_expect_null(strstr(at + 1, "; id="), "%s", got);
		cr_expect_eq(response_count(&c->r, "Set-Cookie"), 1, "%s", c->r.head);
		cr_expect_str_eq(seal_value_in(seal_set_by(&c->r, "id", 0)), at + 5);
		cr_expect(strstr(got, "c5=s.1; id="), "%s", got);
		cr_expect_eq(strspn(got + 3, "p"), 1500);
	}
	text_free(&sent);
	client_close(c);
	seal_stop(gw, be);
}

/* What the scanner does not read is written anew, and then opened. */
Test(sealed_life, blanks)
{
	char line[SEAL_MAX + 100];

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = seal_gw(be, RULE(""));
	struct client *c = client_plain(gw);

	snprintf(line, sizeof(line), "a=1; sid  =            %s            ; b=2",
		 seal_make(&good));
	for (int i = 0; i < 2; i++)
		cr_expect_str_eq(seal_come(c, be, line), "a=1; sid=s.1; b=2", "%s", seal_seen(be));
	snprintf(line, sizeof(line), "=sid=%s", seal_make(&good));
	cr_expect_str_eq(seal_come(c, be, line), "=sid=s.1");
	client_close(c);
	seal_stop(gw, be);
}

/* What hardtackctl explain says the backend gets is what it gets. */
Test(sealed_life, explained)
{
	struct text out = {0};
	char header[SEAL_MAX + 20], fields[2 * SEAL_MAX];

	e2e_need_gate();
	struct backend *be = seal_backend();
	struct gw *gw = seal_gw(be, RULE(""));
	struct client *c = client_plain(gw);
	const char *const argv[] = {
		run_ctl(), "explain",  "-c",   gw->config, "--site",
		"gw.test", "--cookie", header, "--bind",   "client-ip=127.0.0.1",
		NULL};

	snprintf(header, sizeof(header), "a=1; sid=%s; b=2", seal_make(&good));
	cr_expect_eq(run_command(&out, argv), 0, "%s", out.p);
	cr_expect(strstr(out.p, "sid: pass; valid: secure-cookie with key shop"), "%s", out.p);
	snprintf(fields, sizeof(fields), "the backend gets\nCookie: %s\n",
		 seal_come(c, be, header));
	cr_expect(strstr(out.p, fields), "%s", out.p);
	text_free(&out);
	client_close(c);
	seal_stop(gw, be);
}
