/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands around a site: proxies in front of it and what is believed of them, revoked
 * certificates, redirects, exempt paths; and what an operator and a browser are told when a cookie
 * was stripped.
 */
#include <criterion/criterion.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

TestSuite(edges, .timeout = E2E_TIMEOUT);

#define TRUST "trusted-proxies: [127.0.0.1]\n"
#define ACCEPT "    proxy-protocol: accept\n"
#define V1 "PROXY TCP4 192.0.2.10 192.0.2.1 40000 443\r\n"

static const char *last_field(struct backend *be, const char *name)
{
	const char *v = head_field(backend_last(be)->head, name, 0);

	return v ? v : "(none)";
}

static bool last_has_cookie(struct backend *be, const char *pair)
{
	struct text cookies = {0};
	bool has;

	head_cookies(backend_last(be)->head, NULL, &cookies);
	has = text_has(cookies.p, cookies.len, pair);
	text_free(&cookies);
	return has;
}

/* "Cookie: sid=VALUE; sid_HMAC=..." for that client. */
static const char *session_line(const char *value, const char *client)
{
	static __thread char line[4][256];
	static __thread unsigned next;
	char *p = line[next++ % 4];

	snprintf(p, sizeof(line[0]), "Cookie: sid=%s; sid_HMAC=%s\r\n", value,
		 token_for(value, client));
	return p;
}

/* ---- the PROXY protocol ---- */

static const struct {
	const char *name, *header;
	size_t len;
	const char *client;
} headers[] = {
	{"v1", V1, 0, "192.0.2.10"},
	{"v1, IPv6", "PROXY TCP6 2001:db8::10 2001:db8::1 40000 443\r\n", 0, "2001:db8::10"},
	{"v1, unknown", "PROXY UNKNOWN\r\n", 0, "127.0.0.1"},
	{"v2",
	 "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
	 "\xc0\0\x02\x0a\xc0\0\x02\x01\x9c\x40\x01\xbb",
	 28, "192.0.2.10"},
	{"v2 with something to skip",
	 "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13"
	 "\xc0\0\x02\x0a\xc0\0\x02\x01\x9c\x40\x01\xbb\x04\0\x04GET ",
	 35, "192.0.2.10"},
	{"v2, local",
	 "\r\n\r\n\0\r\nQUIT\n\x20\x11\0\x0c"
	 "\xc0\0\x02\x0a\xc0\0\x02\x01\x9c\x40\x01\xbb",
	 28, "127.0.0.1"},
};

Test(edges, proxy_header_names_the_client)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.plain_extra = ACCEPT, .tls_extra = ACCEPT, .top = TRUST});

	for (size_t i = 0; i < 2 * E2E_ARRAY_SIZE(headers); i++) {
		size_t h = i / 2;
		bool tls = i % 2;
		struct client *c =
			client_open(&(struct client_options){.port = tls ? gw->tls : gw->plain,
							     .tls = tls,
							     .before = headers[h].header,
							     .before_len = headers[h].len});

		cr_expect_eq(client_get(c, "/", session_line("s1", headers[h].client))->status, 200,
			     "%s", headers[h].name);
		cr_expect_str_eq(last_field(be, "X-Forwarded-For"), headers[h].client, "%s",
				 headers[h].name);
		cr_expect(last_has_cookie(be, "sid=s1"), "%s", headers[h].name);
		/* bound to whom the proxy named, and to nobody else */
		client_get(c, "/", session_line("s1", "192.0.2.99"));
		cr_expect_not(last_has_cookie(be, "sid=s1"), "%s", headers[h].name);
		client_close(c);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(edges, proxy_header_in_pieces)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.plain_extra = ACCEPT, .top = TRUST});

	for (size_t h = 0; h < E2E_ARRAY_SIZE(headers); h++) {
		size_t len = headers[h].len ? headers[h].len : strlen(headers[h].header);
		struct client *c = client_plain(gw);

		for (size_t i = 0; i < len; i++) {
			cr_assert(client_send(c, headers[h].header + i, 1));
			if (i % 8 == 0)
				run_pause_ms(2); /* so that most pieces are seen as such */
		}
		cr_expect_eq(client_get(c, "/", "")->status, 200, "%s", headers[h].name);
		cr_expect_str_eq(last_field(be, "X-Forwarded-For"), headers[h].client, "%s",
				 headers[h].name);
		client_close(c);
	}
	gw_stop(gw);
	backend_stop(be);
}

static bool is_turned_away(struct client *c)
{
	int status;

	if (!c)
		return true;
	status = client_get(c, "/", "")->status;
	client_close(c);
	return !status;
}

Test(edges, proxy_header_from_others_or_none_at_all)
{
	static const char *const wrong[] = {
		"",
		"PROXY TCP4 192.0.2.10\r\n",
		"PROXY TCP4 192.0.2.999 192.0.2.1 1 2\r\n",
		"proxy TCP4 192.0.2.10 192.0.2.1 1 2\r\n",
		" " V1,
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.plain_extra = ACCEPT, .tls_extra = ACCEPT, .top = TRUST});

	for (size_t i = 0; i < E2E_ARRAY_SIZE(wrong); i++)
		cr_expect(is_turned_away(client_try(
				  &(struct client_options){.port = gw->plain, .before = wrong[i]})),
			  "%s", wrong[i]);
	cr_expect(
		is_turned_away(client_try(&(struct client_options){.port = gw->tls, .tls = true})));
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_proxy_refused_total", "reason=\"malformed\"",
				     NULL) == E2E_ARRAY_SIZE(wrong) + 1));
	cr_expect_eq(gw_metric(gw, "hardtack_proxy_refused_total", "reason=\"untrusted\"", NULL),
		     0);
	/* who connects and goes only wants to know whether somebody is there */
	client_close(client_plain(gw));
	run_pause_ms(50);
	cr_expect_eq(gw_metric(gw, "hardtack_proxy_refused_total", "reason=\"malformed\"", NULL),
		     E2E_ARRAY_SIZE(wrong) + 1);

	cr_expect(is_turned_away(client_try(
		&(struct client_options){.port = gw->plain, .from = "127.0.0.9", .before = V1})));
	cr_expect(is_turned_away(client_try(&(struct client_options){
		.port = gw->tls, .tls = true, .from = "127.0.0.9", .before = V1})));
	cr_expect(e2e_wait(
		gw_metric(gw, "hardtack_proxy_refused_total", "reason=\"untrusted\"", NULL) == 2));
	cr_expect_eq(backend_count(be), 0);
	/* a second header is no request */
	struct client *c =
		client_open(&(struct client_options){.port = gw->plain, .before = V1 V1});

	cr_expect_eq(client_get(c, "/", "")->status, 400);
	client_close(c);
	cr_expect_eq(backend_count(be), 0);
	gw_stop(gw);
	backend_stop(be);
}

Test(edges, proxy_header_must_come_in_time)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.plain_extra = ACCEPT,
						       .top = TRUST,
						       .timeouts = "{ handshake: 300ms }"});
	struct client *c = client_plain(gw);

	client_send(c, V1, 10);
	cr_expect(client_at_eof(c));
	client_close(c);
	cr_expect_geq(gw_metric(gw, "hardtack_timeouts_total", NULL), 1);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- X-Forwarded-* ---- */

Test(edges, a_trusted_proxy_is_believed)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.top = "trusted-proxies: [127.0.0.1, 10.0.0.0/8]\n"});
	struct client *c = client_plain(gw);
	char lines[512];

	snprintf(lines, sizeof(lines),
		 "X-Forwarded-For: 6.6.6.6, 192.0.2.10\r\nX-Forwarded-For: 10.1.2.3\r\n"
		 "X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n"
		 "X-Request-ID: abc-123\r\n%s",
		 session_line("s1", "192.0.2.10"));
	cr_expect_eq(client_get(c, "/", lines)->status, 200);
	cr_expect_str_eq(last_field(be, "X-Forwarded-For"),
			 "6.6.6.6, 192.0.2.10, 10.1.2.3, 127.0.0.1");
	cr_expect_eq(head_count(backend_last(be)->head, "X-Forwarded-For"), 1);
	cr_expect_str_eq(last_field(be, "X-Forwarded-Proto"), "https");
	cr_expect_str_eq(last_field(be, "X-Forwarded-Host"), "shop.example");
	cr_expect_str_eq(last_field(be, "X-Request-ID"), "abc-123");
	cr_expect_eq(head_count(backend_last(be)->head, "Forwarded"), 0);
	cr_expect(last_has_cookie(be, "sid=s1"));

	/* on the same connection, another client with the other's cookie; then the first again */
	client_get(c, "/", lines);
	cr_expect(last_has_cookie(be, "sid=s1"));
	snprintf(lines, sizeof(lines), "X-Forwarded-For: 192.0.2.11\r\n%s",
		 session_line("s1", "192.0.2.10"));
	client_get(c, "/", lines);
	cr_expect_not(last_has_cookie(be, "sid=s1"), "another client's cookie");
	snprintf(lines, sizeof(lines), "Forwarded: for=\"[2001:db8::7]\";proto=http\r\n%s",
		 session_line("s2", "2001:db8::7"));
	client_get(c, "/", lines);
	cr_expect(last_has_cookie(be, "sid=s2"));
	cr_expect_str_eq(last_field(be, "Forwarded"),
			 "for=\"[2001:db8::7]\";proto=http, for=127.0.0.1");
	cr_expect_str_eq(last_field(be, "X-Forwarded-For"), "2001:db8::7");
	client_get(c, "/", session_line("s3", "127.0.0.1"));
	cr_expect(last_has_cookie(be, "sid=s3"), "without a field it is the proxy's own");
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(edges, what_makes_no_sense_is_not_believed)
{
	static const struct {
		const char *lines, *client;
	} odd[] = {
		{"X-Forwarded-For: unknown\r\n", "127.0.0.1"},
		{"X-Forwarded-For: 192.0.2.10\r\nForwarded: for=192.0.2.11\r\n", "127.0.0.1"},
		{"X-Forwarded-For: EVIL, 10.0.0.1\r\n", "10.0.0.1"},
		{"X_Forwarded_For: 192.0.2.10\r\n", "127.0.0.1"},
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.top = "trusted-proxies: [127.0.0.1, 10.0.0.0/8]\n"});

	for (size_t i = 0; i < E2E_ARRAY_SIZE(odd); i++) {
		cr_expect_eq(client_once(gw, NULL, odd[i].lines), 200);
		cr_expect_str_eq(last_field(be, "X-Forwarded-For"), odd[i].client, "%s",
				 odd[i].lines);
		cr_expect_eq(head_count(backend_last(be)->head, "Forwarded"), 0);
	}
	client_once(gw, NULL,
		    "X-Forwarded-Proto: ftp\r\nX-Forwarded-Host: a b\r\nX-Request-ID: a b\r\n");
	cr_expect_str_eq(last_field(be, "X-Forwarded-Proto"), "http");
	cr_expect_str_eq(last_field(be, "X-Forwarded-Host"), "gw.test");
	cr_expect_eq(strlen(last_field(be, "X-Request-ID")), 32);
	gw_stop(gw);
	backend_stop(be);
}

Test(edges, others_are_not_believed)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.top = TRUST});
	char lines[512];

	snprintf(lines, sizeof(lines),
		 "X-Forwarded-For: 192.0.2.10\r\nX-Forwarded-Proto: https\r\n"
		 "X-Forwarded-Host: evil\r\nX-Request-ID: evil\r\nForwarded: for=192.0.2.10\r\n%s",
		 session_line("s1", "192.0.2.10"));
	cr_expect_eq(client_once(gw, "127.0.0.9", lines), 200);
	cr_expect_str_eq(last_field(be, "X-Forwarded-For"), "127.0.0.9");
	cr_expect_str_eq(last_field(be, "X-Forwarded-Proto"), "http");
	cr_expect_not(text_has(backend_last(be)->head, backend_last(be)->head_len, "evil"));
	cr_expect_eq(head_count(backend_last(be)->head, "Forwarded"), 0);
	cr_expect_not(last_has_cookie(be, "sid=s1"));
	gw_stop(gw);
	backend_stop(be);
}

/* Behind the PROXY protocol it is the named client who is trusted, or not. */
Test(edges, both_kinds_of_proxies_in_a_row)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.plain_extra = ACCEPT,
				      .top = "trusted-proxies: [127.0.0.1, 10.0.0.0/8]\n"});
	struct client *c = client_open(&(struct client_options){
		.port = gw->plain, .before = "PROXY TCP4 10.0.0.7 192.0.2.1 40000 443\r\n"});

	client_get(c, "/", "X-Forwarded-For: 192.0.2.10\r\n");
	cr_expect_str_eq(last_field(be, "X-Forwarded-For"), "192.0.2.10, 10.0.0.7");
	client_close(c);
	c = client_open(&(struct client_options){.port = gw->plain, .before = V1});
	client_get(c, "/", "X-Forwarded-For: 6.6.6.6\r\n");
	cr_expect_str_eq(last_field(be, "X-Forwarded-For"), "192.0.2.10");
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- what is said about a strip ---- */

/* The line of the log that has all of these words, copied; NULL if there is none. */
static char *log_line(struct gw *gw, const char *const *words, size_t n)
{
	char *log = text_file(gw->stderr_path, NULL), *save, *found = NULL;

	for (char *line = strtok_r(log, "\n", &save); line && !found;
	     line = strtok_r(NULL, "\n", &save)) {
		size_t i = 0;

		while (i < n && strstr(line, words[i]))
			i++;
		if (i == n)
			found = strdup(line);
	}
	free(log);
	return found;
}

static void expect_audit(struct gw *gw, struct backend *be, const char *what, const char *reason,
			 const char *client)
{
	char id[128], why[64], who[64];
	const char *const words[] = {what, id, "site=*", "cookie=sid ", why, "source=", who};
	char *line;

	snprintf(id, sizeof(id), "request_id=%s ", last_field(be, "X-Request-ID"));
	snprintf(why, sizeof(why), "reason=%s ", reason);
	snprintf(who, sizeof(who), "client=%s", client);
	line = log_line(gw, words, E2E_ARRAY_SIZE(words));
	cr_expect(line, "no line says %s %s %s", what, reason, id);
	if (line) {
		cr_expect(!strncmp(line, "info ", 5), "%s", line);
		cr_expect_not(strstr(line, "secretvalue"), "%s", line);
	}
	free(line);
}

#define STRIPPED "msg=\"cookie stripped\""
#define WOULD "msg=\"cookie would be stripped\""

Test(edges, every_strip_has_its_line_in_the_log)
{
	char lines[512];

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	client_once(gw, NULL, "Cookie: sid=secretvalue\r\n");
	expect_audit(gw, be, STRIPPED, "missing", "127.0.0.1");
	client_once(gw, "127.0.0.9", "Cookie: sid=secretvalue; sid_HMAC=nonsense\r\n");
	expect_audit(gw, be, STRIPPED, "forged", "127.0.0.9");
	client_once(gw, NULL, "Cookie: sid=secretvalue; sid=secretvalue2; sid_HMAC=x\r\n");
	expect_audit(gw, be, STRIPPED, "duplicate", "127.0.0.1");
	/* once the kernel knows the session, it is the kernel that finds another token wrong */
	client_once(gw, NULL, session_line("secretvalue3", "127.0.0.1"));
	client_once(gw, NULL, "Cookie: sid=secretvalue3; sid_HMAC=wrong\r\n");
	expect_audit(gw, be, STRIPPED, "forged", "127.0.0.1");
	if (run_gate_on())
		cr_expect(gw_logged(gw, "reason=forged source=kernel client=127.0.0.1"));
	snprintf(lines, sizeof(lines), "Cookie: sid=EVIL; sid=secretvalue3; sid_HMAC=%s\r\n",
		 token_for("secretvalue3", "127.0.0.1"));
	client_once(gw, NULL, lines);
	cr_expect(last_has_cookie(be, "sid=secretvalue3"));
	expect_audit(gw, be, STRIPPED, "duplicate", "127.0.0.1 session=kept");
	/* not rate-limited */
	for (int i = 0; i < 20; i++) {
		client_once(gw, NULL, "Cookie: sid=secretvalue\r\n");
		expect_audit(gw, be, STRIPPED, "missing", "127.0.0.1");
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(edges, who_cannot_be_bound_has_his_line_too)
{
	static char ca[600];

	e2e_need_gate();
	snprintf(ca, sizeof(ca), "      client-ca: %s/ca.pem\n", run_dir());
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.tls_extra = ca,
				      .cookies = "[ { name: sid, profile: f5-irule, key: shop, "
						 "bind: [x509-subject], on-empty: strip } ]"});
	struct client *c = client_tls(gw);

	client_get(c, "/", session_line("secretvalue", ""));
	expect_audit(gw, be, STRIPPED, "unbound", "127.0.0.1");
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(edges, a_report_has_its_line_too)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.cookies = "[ { name: sid, profile: f5-irule, key: shop, "
						 "bind: [client-ip], mode: report, "
						 "expire-stripped: true } ]"});
	struct client *c = client_plain(gw);
	struct response *r = client_get(c, "/", "Cookie: sid=secretvalue; sid_HMAC=x\r\n");

	expect_audit(gw, be, WOULD, "forged", "127.0.0.1");
	cr_expect(last_has_cookie(be, "sid=secretvalue"));
	cr_expect_eq(response_count(r, "Set-Cookie"), 0, "nothing was stripped");
	client_get(c, "/", "Cookie: sid=secretvalue\r\n");
	expect_audit(gw, be, WOULD, "missing", "127.0.0.1");
	cr_expect_not(gw_logged(gw, STRIPPED));
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- expire-stripped ---- */

#define GONE "Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Secure; Path=/"
#define EXPIRING                                                                                   \
	"[ { name: sid, profile: f5-irule, key: shop, bind: [client-ip], expire-stripped: true }," \
	" { name: other, profile: f5-irule, key: shop, bind: [client-ip] } ]"

Test(edges, what_was_stripped_is_deleted_at_the_client)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = EXPIRING});
	struct client *c = client_tls(gw);
	static const char *const stripped[] = {
		"Cookie: sid=a\r\n",
		"Cookie: sid=a; sid_HMAC=b\r\n",
		"Cookie: sid=a; sid=b; sid_HMAC=c\r\n",
	};
	struct response *r;

	for (size_t i = 0; i < E2E_ARRAY_SIZE(stripped); i++) {
		r = client_get(c, "/", stripped[i]);
		cr_assert_eq(response_count(r, "Set-Cookie"), 2, "%s", stripped[i]);
		cr_expect_str_eq(response_field(r, "Set-Cookie", 0), "sid=; " GONE);
		cr_expect_str_eq(response_field(r, "Set-Cookie", 1), "sid_HMAC=; " GONE);
		cr_expect(strstr(response_field(r, "Cache-Control", 0), "private"));
	}
	cr_expect_eq(response_count(client_get(c, "/", "Cookie: other=a\r\n"), "Set-Cookie"), 0);
	cr_expect_eq(
		response_count(client_get(c, "/", session_line("a", "127.0.0.1")), "Set-Cookie"),
		0);
	/* a new session from the backend is what counts */
	backend_reply(be, "HTTP/1.1 200 OK\r\nSet-Cookie: sid=new; Path=/\r\n"
			  "Content-Length: 0\r\n\r\n");
	r = client_get(c, "/", "Cookie: sid=a\r\n");
	cr_expect_eq(response_count(r, "Set-Cookie"), 2);
	cr_expect_str_eq(response_field(r, "Set-Cookie", 0), "sid=new; Path=/");
	backend_reply(be, "HTTP/1.1 204 No Content\r\nSet-Cookie: x=y\r\n\r\n");
	r = client_get(c, "/", "Cookie: sid=a\r\n");
	cr_expect_eq(response_count(r, "Set-Cookie"), 3);
	client_close(c);
	/* browsers ignore Secure over plain HTTP */
	c = client_plain(gw);
	r = client_get(c, "/", "Cookie: sid=a\r\n");
	cr_expect_eq(response_count(r, "Set-Cookie"), 3);
	cr_expect_not(strstr(response_field(r, "Set-Cookie", 1), "Secure"));
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- exempt ---- */

Test(edges, exempt_paths_are_not_judged)
{
	static const char *const exempt[] = {"/healthz", "/healthz?a=/../b", "/hooks/",
					     "/hooks/a/b.c?x"};
	static const char *const judged[] = {"/",
					     "/healthz/",
					     "/Healthz",
					     "/hooks",
					     "/hooks/../admin",
					     "/hooks/%2e%2e/a",
					     "/hooks/a%2Fb",
					     "/hooks//a",
					     "/hooks/./a",
					     "/hooks/..",
					     "/hooks/a\\..\\b",
					     "/hooks/..;/admin",
					     "/a?/healthz",
					     "//healthz",
					     "/hooks/a;jsession=1"};
	static const char *const renamed[] = {"X-Original-URL: /admin\r\n",
					      "x-rewrite_url: /admin\r\n"};
	char lines[256];

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.site_extra = "    exempt: [/healthz, \"/hooks/*\"]\n"});
	struct client *c = client_plain(gw);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(exempt); i++) {
		cr_expect_eq(client_get(c, exempt[i], "Cookie: sid=a; b=c; sid_HMAC=x\r\n")->status,
			     200);
		cr_expect(last_has_cookie(be, "sid=a|b=c|sid_HMAC=x"), "%s", exempt[i]);
		/* the next one on the same connection is judged again */
		client_get(c, judged[i], "Cookie: sid=a; b=c; sid_HMAC=x\r\n");
		cr_expect_not(last_has_cookie(be, "sid=a"), "after %s", exempt[i]);
	}
	for (size_t i = 0; i < E2E_ARRAY_SIZE(judged); i++) {
		client_get(c, judged[i], "Cookie: sid=a; sid_HMAC=x\r\n");
		cr_expect_not(last_has_cookie(be, "sid=a"), "%s", judged[i]);
	}
	for (size_t i = 0; i < E2E_ARRAY_SIZE(renamed); i++) {
		snprintf(lines, sizeof(lines), "%sCookie: sid=a; sid_HMAC=x\r\n", renamed[i]);
		client_get(c, "/healthz", lines);
		cr_expect_not(last_has_cookie(be, "sid=a"), "%s", renamed[i]);
	}
	cr_expect_eq(gw_metric(gw, "hardtack_exempt_requests_total", NULL), E2E_ARRAY_SIZE(exempt));
	/* odd cookies that would need a rewriting if anybody looked at them, and too many */
	client_get(c, "/healthz", "Cookie: sid =a;; sid=b; =sid=c\r\nCookie:sid=d\r\n");
	cr_expect(last_has_cookie(be, "sid=d"));
	client_close(c);
	/* absolute-form: what counts is what the backend reads */
	c = client_plain(gw);
	client_sendf(c, "GET http://gw.test/healthz HTTP/1.1\r\nHost: gw.test\r\n"
			"Cookie: sid=a\r\n\r\n");
	cr_expect_eq(client_read(c)->status, 200);
	cr_expect(last_has_cookie(be, "sid=a"));
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(edges, exempt_paths_still_sign)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.site_extra = "    exempt: [/login]\n"});
	struct client *c = client_plain(gw);
	struct response *r;
	char want[256];

	backend_reply(be, "HTTP/1.1 200 OK\r\nSet-Cookie: sid=new\r\nContent-Length: 0\r\n\r\n");
	r = client_get(c, "/login", "Cookie: sid=old\r\n");
	snprintf(want, sizeof(want), "sid_HMAC=%s; HttpOnly; Secure; Path=/",
		 token_for("new", "127.0.0.1"));
	cr_assert_eq(response_count(r, "Set-Cookie"), 2);
	cr_expect_str_eq(response_field(r, "Set-Cookie", 1), want);
	client_get(c, "/", session_line("new", "127.0.0.1"));
	cr_expect(last_has_cookie(be, "sid=new"));
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- redirect-https, hsts ---- */

Test(edges, plain_listeners_can_redirect)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be,
		&(struct gw_spec){
			.sites = "sites:\n  - hosts: [gw.test]\n    upstreams: [127.0.0.1:%P]\n",
			.plain_extra = "    redirect-https: true\n",
			.top = TRUST});
	struct client *c = client_from(gw, "127.0.0.9");
	struct response *r = client_get(c, "/a/b?c=d", "X-Forwarded-Proto: https\r\n");

	cr_expect_eq(r->status, 308);
	cr_expect_str_eq(response_field(r, "Location", 0), "https://gw.test/a/b?c=d");
	/* the connection goes on, and so does a body that is thrown away */
	client_sendf(c, "HEAD / HTTP/1.1\r\nHost: GW.test:8080\r\n\r\n");
	r = client_read_head_only(c);
	cr_expect_eq(r->status, 308);
	cr_expect_str_eq(response_field(r, "Location", 0), "https://GW.test/");
	client_sendf(c, "POST /x HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 5\r\n\r\nhello");
	cr_expect_eq(client_read(c)->status, 308);
	client_close(c);
	/* no place for hosts that are none of ours */
	c = client_plain(gw);
	client_sendf(c, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
	r = client_read(c);
	cr_expect_eq(r->status, 404);
	cr_expect_null(response_field(r, "Location", 0));
	cr_expect_eq(backend_count(be), 0);
	/* behind somebody else's TLS it would never end */
	cr_expect_eq(client_get(c, "/", "X-Forwarded-Proto: https\r\n")->status, 200);
	client_close(c);
	cr_expect_eq(backend_count(be), 1);
	cr_expect_eq(gw_metric(gw, "hardtack_requests_total", "code=\"308\"", NULL), 3);
	c = client_tls(gw);
	cr_expect_eq(client_get(c, "/", "")->status, 200);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(edges, hsts)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.site_extra = "    hsts: 365d\n"});
	struct client *c = client_tls(gw), *plain = client_plain(gw);
	struct response *r = client_get(c, "/", "");

	cr_expect_eq(response_count(r, "Strict-Transport-Security"), 1);
	cr_expect_str_eq(response_field(r, "Strict-Transport-Security", 0), "max-age=31536000");
	cr_expect_eq(response_count(client_get(plain, "/", ""), "Strict-Transport-Security"), 0);
	backend_reply(be, "HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=1\r\n"
			  "Content-Length: 0\r\n\r\n");
	r = client_get(c, "/", "");
	cr_expect_eq(response_count(r, "Strict-Transport-Security"), 1);
	cr_expect_str_eq(response_field(r, "Strict-Transport-Security", 0), "max-age=1");
	backend_reply(be, "HTTP/1.1 204 No Content\r\n\r\n");
	r = client_get(c, "/", "");
	cr_expect_eq(response_count(r, "Strict-Transport-Security"), 1, "without any field");
	client_close(c);
	client_close(plain);
	gw_stop(gw);
	backend_stop(be);
}
