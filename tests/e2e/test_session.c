/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The iRule's job: a login is signed, the next request passes untouched, and a session cookie
 * whose token is missing, forged or somebody else's never reaches the backend. Then the bindings
 * by which "somebody else" is told.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

TestSuite(session, .timeout = E2E_TIMEOUT);
TestSuite(binding, .timeout = E2E_TIMEOUT);

#define SESSION "0a1b2c3d4e5f6g7h8i9j0k1l"
#define ASPNET "[ { name: ASP.NET_SessionId, profile: f5-irule, key: shop, bind: [client-ip] } ]"
#define LOGIN_REPLY(cookie)                                                                        \
	"HTTP/1.1 200 OK\r\nSet-Cookie: " cookie "\r\nContent-Length: 2\r\n\r\nin"

Test(session, login_gets_the_exact_sibling)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = ASPNET});
	struct client *c = client_tls(gw);
	struct text line = {0};
	struct response *r;

	backend_reply(be, LOGIN_REPLY("ASP.NET_SessionId=" SESSION "; path=/; HttpOnly"));
	r = client_get(c, "/login", "");
	cr_assert_eq(r->status, 200);
	cr_expect_str_eq(r->body, "in");
	cr_assert_eq(response_count(r, "Set-Cookie"), 2);
	cr_expect_str_eq(response_field(r, "Set-Cookie", 0),
			 "ASP.NET_SessionId=" SESSION "; path=/; HttpOnly");
	text_addf(&line, "\r\nSet-Cookie: ASP.NET_SessionId_HMAC=%s; HttpOnly; Secure; Path=/\r\n",
		  token_for(SESSION, "127.0.0.1"));
	cr_expect(text_has(r->head, r->head_len, line.p), "want %s in\n%s", line.p, r->head);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

static int ctl_token(const char *verb, const char *key, const char *value, const char *bind,
		     const char *token, struct text *out)
{
	const char *argv[] = {run_ctl(),
			      verb,
			      "--profile",
			      "f5-irule",
			      "--key-file",
			      key,
			      "--name",
			      "sid",
			      "--value",
			      value,
			      "--bind",
			      bind,
			      token ? "--token" : NULL,
			      token,
			      NULL};

	text_clear(out);
	return run_command(out, argv);
}

Test(session, token_equals_hardtackctl_sign)
{
	static const char *const rows[][3] = {
		{SESSION, "192.0.2.10", "t2XKmsBp+4ESEdq8ZScrjjyQBq+E812UoiPFXGoR/7A="},
		{SESSION, "DE", "6Y2BBhGZhysaSWo/oJVtMn93j27YeVGYA8cdNYYJJkQ="},
		{SESSION, E2E_ALICE, "NSgs3cldF9RIykLa8Q5eShbD5gI1nlxo7jZgwWNz8bI="},
		{SESSION, "2001:db8::1", "mSiWVPeDrVA6caJwyOsTJEFHvhVcPNXKoySNK64RK50="},
	};
	struct text out = {0};
	char key[512];
	FILE *f;

	snprintf(key, sizeof(key), "%s/vector-%d.key", run_dir(), getpid());
	f = fopen(key, "we");
	fchmod(fileno(f), 0600);
	fputs(E2E_KEY "\n", f);
	fclose(f);
	for (size_t i = 0; i < E2E_ARRAY_SIZE(rows); i++) {
		cr_expect_eq(ctl_token("sign", key, rows[i][0], rows[i][1], NULL, &out), 0);
		cr_expect(text_has(out.p, out.len, rows[i][2]), "%s: %s", rows[i][1], out.p);
		cr_expect(text_has(out.p, out.len, token_for(rows[i][0], rows[i][1])));
		cr_expect_not(text_has(out.p, out.len, E2E_KEY));
	}
	unlink(key);
}

Test(session, next_request_passes_untouched_and_hits)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = ASPNET});
	struct client *c = client_tls(gw);
	struct text line = {0};

	backend_reply(be, LOGIN_REPLY("ASP.NET_SessionId=" SESSION "; path=/; HttpOnly"));
	cr_assert_eq(client_get(c, "/login", "")->status, 200);
	text_addf(&line,
		  "Cookie: theme=dark; ASP.NET_SessionId=" SESSION
		  "; ASP.NET_SessionId_HMAC=%s; lang=de\r\n",
		  token_for(SESSION, "127.0.0.1"));
	for (int i = 1; i <= 5; i++) {
		cr_assert_eq(client_get(c, "/page", line.p)->status, 200);
		struct breq *r = backend_req(be, i);

		cr_expect(text_has(r->head, r->head_len, line.p), "want %s in\n%s", line.p,
			  r->head);
		cr_expect_eq(head_count(r->head, "Cookie"), 1);
	}
	/* Not one of them cost the daemon an HMAC: the login itself put the token into the map. */
	cr_expect(e2e_wait(gw_hits(gw) >= 5), "%g hits", gw_hits(gw));
	cr_expect_eq(gw_hits(gw), 5);
	if (run_gate_on())
		cr_expect_eq(gw_metric(gw, "hardtack_verdicts_total", "where=\"user\"",
				       "verdict=\"valid\"", NULL),
			     0);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(session, unknown_valid_token_misses_once_then_hits)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text line = {0};

	token_expand(&line, "Cookie: sid=elsewhere; sid_HMAC={elsewhere}\r\n");
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(client_once(gw, NULL, line.p), 200);
		cr_expect(text_has(backend_req(be, i)->head, backend_req(be, i)->head_len, line.p));
	}
	cr_assert(e2e_wait(gw_passed(gw) >= 4));
	cr_expect_eq(gw_passed(gw), 4);
	if (run_gate_on()) {
		cr_expect_eq(gw_hits(gw), 3);
		cr_expect_eq(gw_metric(gw, "hardtack_verdicts_total", "where=\"user\"",
				       "verdict=\"valid\"", NULL),
			     1);
	}
	gw_stop(gw);
	backend_stop(be);
}

struct row {
	const char *name, *from, *cookie; /* cookie: with {tokens} */
	const char *want;		  /* pairs at the backend, siblings left out */
	const char *verdict;		  /* what is counted as stripped, or NULL */
};

static const struct row rows[] = {
	{"valid", NULL, "a=1; sid=good; sid_HMAC={good}; b=2", "a=1|sid=good|b=2", NULL},
	{"missing token", NULL, "a=1; sid=good; b=2", "a=1|b=2", "missing"},
	{"missing token, alone", NULL, "sid=good", "", "missing"},
	{"forged token", NULL, "a=1; sid=good; sid_HMAC={evil}; b=2", "a=1|b=2", "forged"},
	{"forged value", NULL, "a=1; sid=evil; sid_HMAC={good}; b=2", "a=1|b=2", "forged"},
	{"empty token", NULL, "a=1; sid=good; sid_HMAC=; b=2", "a=1|b=2", NULL},
	{"empty value", NULL, "a=1; sid=; sid_HMAC={}; b=2", "a=1|b=2", NULL},
	{"short token", NULL, "sid=good; sid_HMAC=abcd", "", "forged"},
	{"token and more", NULL, "sid=good; sid_HMAC={good}x", "", "forged"},
	{"token less one", NULL, "sid=good; sid_HMAC=x{good}", "", "forged"},
	{"quoted token", NULL, "sid=good; sid_HMAC=\"{good}\"", "", "forged"},
	{"quoted value", NULL, "sid=\"good\"; sid_HMAC={good}", "", "forged"},
	{"token of another address", NULL, "sid=good; sid_HMAC={good@127.0.0.2}", "", "forged"},
	{"stolen", "127.0.0.2", "sid=good; sid_HMAC={good}", "", "forged"},
	{"own elsewhere", "127.0.0.2", "sid=good; sid_HMAC={good@127.0.0.2}", "sid=good", NULL},
	{"token in other case name", NULL, "sid=good; SID_HMAC={good}", "SID_HMAC={good}",
	 "missing"},
	{"cookie in other case", NULL, "SID=good; x=1", "SID=good|x=1", NULL},
	{"token before the cookie", NULL, "sid_HMAC={good}; a=1; sid=good", "a=1|sid=good", NULL},
	{"token alone", NULL, "a=1; sid_HMAC={good}", "a=1", NULL},
	{"prefix of the name", NULL, "si=1; sidd=2; xsid=3", "si=1|sidd=2|xsid=3", NULL},
};

/* Every row must come out the same whether the kernel knows the session yet or not. */
static void run_row(struct gw *gw, struct backend *be, const struct row *row, bool warm)
{
	struct text line = {0}, got = {0}, want = {0};
	double before;

	token_expand(&want, row->want);
	token_expand(&line, "Cookie: ");
	token_expand(&line, row->cookie);
	text_addf(&line, "\r\n");
	before = row->verdict ? gw_verdicts(gw, row->verdict, "strip") : 0;
	cr_expect_eq(client_once(gw, row->from, line.p), 200, "%s", row->name);
	head_cookies(backend_last(be)->head, "sid_HMAC", &got);
	cr_expect_str_eq(got.p, want.p, "%s (%s): got %s, want %s", row->name,
			 warm ? "warm" : "cold", got.p, want.p);
	if (row->verdict)
		cr_expect(e2e_wait(gw_verdicts(gw, row->verdict, "strip") == before + 1),
			  "%s: not counted as %s/strip", row->name, row->verdict);
	text_free(&line);
	text_free(&got);
	text_free(&want);
}

static void run_rows(bool warm)
{
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text line = {0};

	if (warm) {
		token_expand(&line, "Cookie: sid=good; sid_HMAC={good}\r\n");
		cr_assert_eq(client_once(gw, NULL, line.p), 200);
		text_clear(&line);
		token_expand(&line, "Cookie: sid=good; sid_HMAC={good@127.0.0.2}\r\n");
		cr_assert_eq(client_once(gw, "127.0.0.2", line.p), 200);
	}
	for (size_t i = 0; i < E2E_ARRAY_SIZE(rows); i++)
		run_row(gw, be, &rows[E2E_ARRAY_SIZE(rows) - 1 - i], warm);
	gw_stop(gw);
	backend_stop(be);
}

Test(session, judgements_when_the_map_is_cold)
{
	e2e_need_gate();
	run_rows(false);
}

Test(session, judgements_when_the_map_is_warm)
{
	e2e_need_gate();
	run_rows(true);
}

Test(session, forged_again_is_cut_by_the_kernel)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text line = {0};

	token_expand(&line, "Cookie: sid=good; sid_HMAC={good}\r\n");
	cr_assert_eq(client_once(gw, NULL, line.p), 200);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(client_once(gw, NULL, "Cookie: sid=good; sid_HMAC=AAAA\r\n"), 200);
	cr_assert(e2e_wait(gw_verdicts(gw, "forged", "strip") == 3));
	if (run_gate_on())
		cr_expect_eq(gw_metric(gw, "hardtack_verdicts_total", "where=\"kernel\"",
				       "verdict=\"forged\"", "action=\"strip\"", NULL),
			     3);
	/* And the owner is not logged out by it. */
	cr_assert_eq(client_once(gw, NULL, line.p), 200);
	cr_expect(text_has(backend_last(be)->head, backend_last(be)->head_len, line.p));
	gw_stop(gw);
	backend_stop(be);
}

Test(session, one_connection_two_sessions_and_a_thief)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *a = client_plain(gw), *b = client_from(gw, "127.0.0.2");
	struct text mine = {0}, other = {0};

	token_expand(&mine, "Cookie: sid=mine; sid_HMAC={mine}\r\n");
	token_expand(&other, "Cookie: sid=other; sid_HMAC={other}\r\n");
	/* In turns over one pooled backend connection: no memo may leak between clients. */
	for (int i = 0; i < 6; i++) {
		client_get(a, "/", i % 2 ? mine.p : other.p);
		cr_expect(head_count(backend_last(be)->head, "Cookie") == 1);
		client_get(b, "/", i % 2 ? mine.p : other.p);
		cr_expect_not(text_has(backend_last(be)->head, backend_last(be)->head_len, "sid="));
	}
	client_close(a);
	client_close(b);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- bindings ---- */

struct bind_row {
	const char *from, *cookie;
	bool passes;
};

static void run_binds(const struct gw_spec *spec, const struct bind_row *r, size_t n)
{
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, spec);
	struct text line = {0};

	for (size_t i = 0; i < n; i++) {
		text_clear(&line);
		token_expand(&line, "Cookie: ");
		token_expand(&line, r[i].cookie);
		text_addf(&line, "\r\n");
		cr_expect_eq(client_once(gw, r[i].from, line.p), 200);
		cr_expect_eq(text_has(backend_last(be)->head, backend_last(be)->head_len, "sid="),
			     r[i].passes, "%s from %s", r[i].cookie, r[i].from);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(binding, prefix_of_the_address)
{
	static const struct bind_row r[] = {
		{"127.0.0.1", "sid=x; sid_HMAC={x@127.0.0.0}", true},
		{"127.0.0.200", "sid=x; sid_HMAC={x@127.0.0.0}", true},
		{"127.0.1.1", "sid=x; sid_HMAC={x@127.0.0.0}", false},
		{"127.0.1.1", "sid=x; sid_HMAC={x@127.0.1.0}", true},
		{"127.0.0.1", "sid=x; sid_HMAC={x@127.0.0.1}", false},
		{"::1", "sid=x; sid_HMAC={x@::}", true},
	};

	e2e_need_gate();
	run_binds(&(struct gw_spec){.ipv6 = true,
				    .cookies = "[ { name: sid, profile: f5-irule, key: shop, "
					       "bind: [client-ip/24,64] } ]"},
		  r, E2E_ARRAY_SIZE(r));
}

Test(binding, prefix_written_with_quotes)
{
	static const struct bind_row r[] = {
		{"127.0.0.77", "sid=x; sid_HMAC={x@127.0.0.0}", true},
		{"127.0.1.1", "sid=x; sid_HMAC={x@127.0.0.0}", false},
	};

	e2e_need_gate();
	run_binds(&(struct gw_spec){.cookies = "[ { name: sid, profile: f5-irule, key: shop, "
					       "bind: [\"client-ip/24,64\"] } ]"},
		  r, E2E_ARRAY_SIZE(r));
}

Test(binding, ipv6_is_not_ipv4)
{
	static const struct bind_row r[] = {
		{"::1", "sid=x; sid_HMAC={x@::1}", true},
		{"::1", "sid=x; sid_HMAC={x@127.0.0.1}", false},
		{"127.0.0.1", "sid=x; sid_HMAC={x@::1}", false},
		{"127.0.0.1", "sid=x; sid_HMAC={x@127.0.0.1}", true},
		{"::1", "sid=x; sid_HMAC={x@::1}", true},
	};

	e2e_need_gate();
	run_binds(&(struct gw_spec){.ipv6 = true}, r, E2E_ARRAY_SIZE(r));
}

/* abc + 2001:db8::1 and abc:2001 + db8::1 share one token. */
Test(binding, a_colon_in_the_value_is_refused_over_ipv6)
{
	static const struct bind_row r[] = {
		{"::1", "sid=abc:2001; sid_HMAC={abc:2001@::1}", false},
		{"::1", "sid=abc; sid_HMAC={abc@::1}", true},
	};

	e2e_need_gate();
	run_binds(&(struct gw_spec){.ipv6 = true}, r, E2E_ARRAY_SIZE(r));
}

Test(binding, a_colon_in_a_login_over_ipv6_is_not_signed)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.ipv6 = true});
	struct client *c = client_from(gw, "::1");
	struct response *r;

	backend_reply(be, LOGIN_REPLY("sid=abc:2001"));
	r = client_get(c, "/", "");
	cr_assert_eq(r->status, 200);
	cr_expect_not(text_has(r->head, r->head_len, "sid_HMAC=") &&
		      text_has(r->head, r->head_len, token_for("abc:2001", "::1")));
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

#define CLIENT_CA(how)                                                                             \
	({                                                                                         \
		static char _b[600];                                                               \
		snprintf(_b, sizeof(_b),                                                           \
			 "      client-ca: %s/ca.pem\n      client-certificate: %s\n", run_dir(),  \
			 how);                                                                     \
		_b;                                                                                \
	})
#define BY_SUBJECT(more)                                                                           \
	"[ { name: sid, profile: f5-irule, key: shop, bind: [x509-subject]" more " } ]"

static struct client *with_cert(struct gw *gw, const char *cert, int version)
{
	return client_try(&(struct client_options){
		.port = gw->tls, .tls = true, .sni = "gw.test", .cert = cert, .version = version});
}

static void expect_subject(struct gw *gw, struct backend *be, const char *cert, const char *cookie,
			   bool passes)
{
	struct client *c = with_cert(gw, cert, 0);
	struct text line = {0};

	cr_assert(c, "%s: no connection", cert ? cert : "no certificate");
	token_expand(&line, cookie);
	cr_expect_eq(client_get(c, "/", line.p)->status, 200);
	cr_expect_eq(text_has(backend_last(be)->head, backend_last(be)->head_len, "sid="), passes,
		     "%s as %s", cookie, cert);
	client_close(c);
}

Test(binding, subject_of_the_certificate)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.tls_extra = CLIENT_CA("required"),
						       .cookies = BY_SUBJECT("")});
	const char *alices = "Cookie: sid=x; sid_HMAC={x@" E2E_ALICE "}\r\n";
	const char *bobs = "Cookie: sid=x; sid_HMAC={x@" E2E_BOB "}\r\n";

	expect_subject(gw, be, "alice", alices, true);
	expect_subject(gw, be, "bob", alices, false);
	expect_subject(gw, be, "bob", bobs, true);
	expect_subject(gw, be, "alice", bobs, false);
	expect_subject(gw, be, "alice", alices, true);
	cr_expect_str_eq(head_field(backend_last(be)->head, "X-Client-Cert-Subject", 0), E2E_ALICE);
	gw_stop(gw);
	backend_stop(be);
}

Test(binding, login_with_a_certificate)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.tls_extra = CLIENT_CA("required"),
						       .cookies = BY_SUBJECT("")});
	struct client *c = with_cert(gw, "alice", 0);
	struct text want = {0};
	struct response *r;

	backend_reply(be, LOGIN_REPLY("sid=" SESSION));
	r = client_get(c, "/", "");
	token_expand(&want, "sid_HMAC={" SESSION "@" E2E_ALICE "}; HttpOnly; Secure; Path=/");
	cr_assert_eq(response_count(r, "Set-Cookie"), 2);
	cr_expect_str_eq(response_field(r, "Set-Cookie", 1), want.p);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* No answer comes, and the backend hears nothing. In TLS 1.3 the client learns late. */
static void expect_rejected(struct gw *gw, struct backend *be, const char *cert)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	for (size_t i = 0; i < 2; i++) {
		struct client *c = with_cert(gw, cert, versions[i]);

		if (c)
			cr_expect_eq(client_get(c, "/", "")->status, 0, "%s got an answer",
				     cert ? cert : "no certificate");
		client_close(c);
	}
	cr_expect_eq(backend_count(be), 0);
}

Test(binding, required_certificate_is_required)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.tls_extra = CLIENT_CA("required"),
						       .cookies = BY_SUBJECT("")});

	expect_rejected(gw, be, NULL);
	expect_rejected(gw, be, "nobody");   /* verifies, but has an empty subject */
	expect_rejected(gw, be, "stranger"); /* Alice's name, another CA */
	expect_subject(gw, be, "alice", "", false);
	gw_stop(gw);
	backend_stop(be);
}

Test(binding, without_a_subject_no_handshake_even_if_optional)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.tls_extra = CLIENT_CA("optional"),
						       .cookies = BY_SUBJECT("")});

	expect_rejected(gw, be, NULL);
	expect_rejected(gw, be, "nobody");
	gw_stop(gw);
	backend_stop(be);
}

Test(binding, on_empty_strip_lets_the_connection_in_and_strips)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.tls_extra = CLIENT_CA("optional"),
						       .cookies = BY_SUBJECT(", on-empty: strip")});
	struct client *c;
	struct response *r;

	/* The token over an empty input is well known to whoever has the key: it must not count. */
	expect_subject(gw, be, NULL, "Cookie: sid=x; sid_HMAC={x@}\r\n", false);
	expect_subject(gw, be, "nobody", "Cookie: sid=x; sid_HMAC={x@}\r\n", false);
	expect_subject(gw, be, "alice", "Cookie: sid=x; sid_HMAC={x@" E2E_ALICE "}\r\n", true);
	cr_expect_eq(gw_verdicts(gw, "unbound", "strip"), 2);

	c = with_cert(gw, NULL, 0);
	backend_reply(be, LOGIN_REPLY("sid=" SESSION));
	r = client_get(c, "/", "");
	cr_expect_eq(r->status, 200);
	cr_expect_not(text_has(r->head, r->head_len, token_for(SESSION, "")));
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(binding, several_in_the_configured_order)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.tls_extra = CLIENT_CA("required"),
				      .cookies = "[ { name: sid, profile: f5-irule, key: shop, "
						 "bind: [client-ip, x509-subject] } ]"});

	expect_subject(gw, be, "alice", "Cookie: sid=x; sid_HMAC={x@127.0.0.1" E2E_ALICE "}\r\n",
		       true);
	expect_subject(gw, be, "alice", "Cookie: sid=x; sid_HMAC={x@" E2E_ALICE "127.0.0.1}\r\n",
		       false);
	expect_subject(gw, be, "alice", "Cookie: sid=x; sid_HMAC={x@127.0.0.1}\r\n", false);
	expect_subject(gw, be, "bob", "Cookie: sid=x; sid_HMAC={x@127.0.0.1" E2E_ALICE "}\r\n",
		       false);
	gw_stop(gw);
	backend_stop(be);
}

Test(binding, rules_of_one_site_with_different_bindings)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be,
		&(struct gw_spec){
			.cookies =
				"[ { name: one, profile: f5-irule, key: shop, bind: [client-ip] }, "
				"{ name: two, profile: f5-irule, key: shop, bind: "
				"[client-ip/24,64] } ]"});
	struct text line = {0}, got = {0};

	token_expand(&line, "Cookie: one=a; two=a; one_HMAC={a}; two_HMAC={a@127.0.0.0}\r\n");
	for (int i = 0; i < 3; i++) {
		client_once(gw, NULL, line.p);
		cr_expect(text_has(backend_last(be)->head, backend_last(be)->head_len, line.p));
		client_once(gw, "127.0.0.9", line.p);
		head_cookies(backend_last(be)->head, "one_HMAC", &got);
		cr_expect(!strncmp(got.p, "two=a", 5), "%s", got.p);
		/* A token that is good for one cookie is not for the other. */
		client_once(gw, NULL, "Cookie: one=a; two=a; two_HMAC=x; one_HMAC=y\r\n");
		head_cookies(backend_last(be)->head, NULL, &got);
		cr_expect_not(text_has(got.p, got.len, "=a"), "%s", got.p);
	}
	gw_stop(gw);
	backend_stop(be);
}
