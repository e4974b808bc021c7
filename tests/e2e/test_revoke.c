/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One session ended by hand: with its very next request it is over, whatever the kernel and the
 * connection remember of it, and so it stays over restarts and logins; everybody else stays.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

TestSuite(revoke, .timeout = E2E_TIMEOUT);

#define LOGIN(value) "HTTP/1.1 200 OK\r\nSet-Cookie: sid=" value "\r\nContent-Length: 2\r\n\r\nin"

/* ---- people ---- */

static void login(struct gw *gw, struct backend *be, const char *reply)
{
	struct client *c = client_tls(gw);

	backend_reply(be, reply);
	cr_assert_eq(client_get(c, "/login", "")->status, 200);
	client_close(c);
	backend_reply(be, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

static const char *cookie_of(const char *value)
{
	static char lines[8][256];
	static unsigned next;
	char *ret = lines[next++ % 8];

	snprintf(ret, sizeof(lines[0]), "Cookie: sid=%s; sid_HMAC=%s\r\n", value,
		 token_for(value, "127.0.0.1"));
	return ret;
}

/* What the backend gets of a request on this connection: his cookie, or nothing of it. */
static bool is_in(struct client *c, struct backend *be, const char *value)
{
	struct text cookies = {0};
	char want[64];
	bool in;

	snprintf(want, sizeof(want), "sid=%s", value);
	cr_assert_eq(client_get(c, "/", cookie_of(value))->status, 200);
	head_cookies(backend_last(be)->head, "sid_HMAC", &cookies);
	in = cookies.p && !strcmp(cookies.p, want);
	cr_expect(in || !cookies.len, "neither in nor out: %s", cookies.p);
	text_free(&cookies);
	return in;
}

static int ctl_revoke(struct gw *gw, const char *cookie, const char *const more[], struct text *out)
{
	const char *argv[12] = {run_ctl(), "-s", gw->control, "revoke", "--cookie", cookie};
	size_t n = 6;

	for (; more && *more; more++)
		argv[n++] = *more;
	text_clear(out);
	return run_command(out, argv);
}

static void revoke_ok(struct gw *gw, const char *cookie)
{
	struct text out = {0};

	cr_assert_eq(ctl_revoke(gw, cookie, NULL, &out), 0, "%s", out.p);
	text_free(&out);
}

/* ---- tests ---- */

Test(revoke, at_once_though_it_was_a_hit_and_for_good)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &gw_own);
	struct client *alice, *bob;

	login(gw, be, LOGIN("alice1"));
	login(gw, be, LOGIN("bob1"));
	alice = client_tls(gw);
	bob = client_tls(gw);
	for (int i = 0; i < 3; i++) {
		cr_assert(is_in(alice, be, "alice1"));
		cr_assert(is_in(bob, be, "bob1"));
	}
	cr_assert(e2e_wait(gw_hits(gw) == 6), "%g hits", gw_hits(gw));
	revoke_ok(gw, "sid=alice1");
	cr_expect_not(is_in(alice, be, "alice1"), "she was a hit a moment ago");
	cr_expect(is_in(bob, be, "bob1"));
	cr_expect_not(is_in(alice, be, "alice1"));
	cr_expect(e2e_wait(gw_verdicts(gw, "revoked", "strip") == 2));
	cr_expect_eq(gw_metric(gw, "hardtack_revoked_sessions", NULL), 1);
	cr_expect(gw_logged(gw, "reason=revoked"));
	cr_expect(gw_logged(gw, "session revoked"));
	cr_expect_not(gw_logged(gw, "alice1"), "a value is in the log");
	client_close(alice);
	client_close(bob);

	gw_terminate(gw);
	cr_assert_eq(gw_end(gw), 0);
	cr_assert(gw_restart(gw));
	alice = client_tls(gw);
	bob = client_tls(gw);
	cr_expect_not(is_in(alice, be, "alice1"), "forgotten by a restart");
	cr_expect(is_in(bob, be, "bob1"));
	cr_expect_eq(gw_metric(gw, "hardtack_revoked_sessions", NULL), 1);
	client_close(alice);
	client_close(bob);
	gw_stop(gw);
	backend_stop(be);
}

/* A backend that hands the same id out once more does not give it back. */
Test(revoke, a_login_with_the_same_id_does_not_lift_it)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &gw_own);
	struct client *c = client_tls(gw);
	struct response *r;

	login(gw, be, LOGIN("alice1"));
	revoke_ok(gw, "sid=alice1");
	backend_reply(be, LOGIN("alice1"));
	r = client_get(c, "/login", "");
	cr_expect_eq(response_count(r, "Set-Cookie"), 1, "it was signed");
	cr_expect_eq(gw_metric(gw, "hardtack_cookies_unsigned_total", "reason=\"revoked\"", NULL),
		     1);
	backend_reply(be, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	for (int i = 0; i < 2; i++)
		cr_expect_not(is_in(c, be, "alice1"));
	cr_expect(gw_logged(gw, "the session was revoked"));
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* Unsigned cookies pass before enforce-after, and the kernel decides that; not of a revoked one. */
Test(revoke, grace_is_none_for_whoever_was_revoked)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw =
		gw_start(be, &(struct gw_spec){.cookies = "[ { name: sid, profile: f5-irule, key: "
							  "shop, bind: [client-ip], enforce-after: "
							  "2199-01-01 } ]",
					       .own = true});
	struct client *c = client_tls(gw);
	static const char *const fields[] = {"Cookie: sid=alice1\r\n", "Cookie: sid=bob1\r\n"};

	for (int i = 0; i < 2; i++) {
		cr_assert_eq(client_get(c, "/", fields[i])->status, 200);
		cr_assert_eq(head_count(backend_last(be)->head, "Cookie"), 1);
	}
	revoke_ok(gw, "sid=alice1");
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(client_get(c, "/", fields[i])->status, 200);
		cr_expect_eq(head_count(backend_last(be)->head, "Cookie"), i, "%s", fields[i]);
	}
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

#define RULE "      - { name: sid, profile: f5-irule, key: shop, bind: [client-ip] }\n"

/* The same backend for both. */
static struct gw *two_sites(struct backend *be)
{
	static struct text sites;

	text_addf(&sites,
		  "sites:\n"
		  "  - hosts: [one.test]\n    upstreams: [127.0.0.1:%d]\n    cookies:\n" RULE
		  "  - hosts: [two.test]\n    upstreams: [127.0.0.1:%d]\n    cookies:\n" RULE
		  "      - { name: seen, profile: f5-irule, key: shop, bind: [client-ip], "
		  "mode: report }\n",
		  be->port, be->port);
	return gw_start(be, &(struct gw_spec){.sites = sites.p, .own = true});
}

static bool is_in_at(struct client *c, struct backend *be, const char *host, const char *value)
{
	cr_assert(client_sendf(c, "GET / HTTP/1.1\r\nHost: %s\r\n%s\r\n", host, cookie_of(value)));
	cr_assert_eq(client_read(c)->status, 200);
	return text_has(backend_last(be)->head, backend_last(be)->head_len, "Cookie: sid=");
}

Test(revoke, only_where_and_as_long_as_told)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = two_sites(be);
	struct client *c = client_plain(gw);
	struct text out = {0};

	be->no_record = true; /* how often somebody asks is a matter of time */
	static const char *const one[] = {"--site", "one.test", "--json", NULL};
	static const char *const moment[] = {"--for", "1s", NULL};

	cr_assert_eq(ctl_revoke(gw, "sid=a", one, &out), 0, "%s", out.p);
	cr_expect(text_has(out.p, out.len, "\"for_s\": 172800"), "%s", out.p);
	cr_expect_not(is_in_at(c, be, "one.test", "a"));
	cr_expect(is_in_at(c, be, "two.test", "a"));

	cr_assert_eq(ctl_revoke(gw, "sid=b", moment, &out), 0, "%s", out.p);
	cr_expect(e2e_wait(is_in_at(c, be, "two.test", "b")), "it has no end");
	cr_expect(is_in_at(c, be, "one.test", "b"));
	cr_expect_eq(gw_metric(gw, "hardtack_revoked_sessions", NULL), 1);
	client_close(c);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

static const struct {
	const char *cookie, *more[4];
	int status;
	const char *says;
} said[] = {
	{"other=x", {NULL}, 1, "no rule of any site covers"},
	{"seen=x", {"--site", "one.test", NULL}, 1, "no rule of this site covers"},
	{"seen=x", {NULL}, 0, "mode: report"},
	{"sid=x", {"--site", "three.test", NULL}, 1, "no site serves this host"},
	{"sid", {NULL}, 2, "or --cookie NAME=VALUE"},
	{"sid=", {NULL}, 2, "or --cookie NAME=VALUE"},
	{"sid=x", {"--for", "soon", NULL}, 2, "such as 30m"},
	{"sid=x", {"--for", "11y", NULL}, 2, "such as 30m"},
	{"sid=x", {"--for", "4000d", NULL}, 2, "ten years"},
	{"sid=x", {"--for", "0", NULL}, 2, "such as 30m"},
	{"sid=x", {"shop", NULL}, 2, "the name of one key, or"},
};

Test(revoke, what_can_not_be_is_said)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = two_sites(be);
	struct text out = {0};

	for (size_t i = 0; i < E2E_ARRAY_SIZE(said); i++) {
		int status = ctl_revoke(gw, said[i].cookie, said[i].more, &out);

		cr_expect_eq(status, said[i].status, "%s: %d, %s", said[i].cookie, status, out.p);
		cr_expect(text_has(out.p, out.len, said[i].says), "%s: %s", said[i].says, out.p);
	}
	cr_expect_eq(gw_ctl(gw, &out, "revoke", "shop"), 1);
	cr_expect(text_has(out.p, out.len, "replace"), "%s", out.p);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}
