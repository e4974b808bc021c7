/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the backend learns about the client, what a client can't make it believe, and which fields
 * are not for it at all.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

TestSuite(headers, .timeout = E2E_TIMEOUT);

/* No field of the head may fold to `name` and carry EVIL. */
static bool carries_evil(const struct breq *r)
{
	return text_has(r->head, r->head_len, "EVIL");
}

Test(headers, twins_of_ours_never_come_through)
{
	static const char *const fields[] = {
		"X-Forwarded-For: EVIL",	"X_Forwarded_For: EVIL",
		"x-forwarded_for: EVIL",	"X-FORWARDED-FOR: EVIL",
		"X-Forwarded-Proto: EVIL",	"X_Forwarded-Proto: EVIL",
		"X-Forwarded-Host: EVIL",	"X_FORWARDED_HOST: EVIL",
		"X-Request-ID: EVIL",		"X_Request_ID: EVIL",
		"x_request-id: EVIL",		"X-Client-Cert-Subject: EVIL",
		"X_Client_Cert_Subject: EVIL",	"x-client_cert-SUBJECT: EVIL",
		"X-Client-Cert-Verified: EVIL", "X_CLIENT_CERT_VERIFIED: EVIL",
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	char line[128];

	for (size_t i = 0; i < E2E_ARRAY_SIZE(fields); i++) {
		snprintf(line, sizeof(line), "%s\r\nX-Other: kept\r\n", fields[i]);
		cr_expect_eq(client_once(gw, NULL, line), 200);
		cr_expect_not(carries_evil(backend_last(be)), "%s:\n%s", fields[i],
			      backend_last(be)->head);
		cr_expect_str_eq(head_field(backend_last(be)->head, "X-Other", 0), "kept");
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(headers, ours_say_the_truth)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.ipv6 = true});
	struct client *c;
	struct breq *r;

	cr_expect_eq(client_once(gw, "127.0.0.9", ""), 200);
	r = backend_last(be);
	cr_expect_str_eq(head_field(r->head, "X-Forwarded-For", 0), "127.0.0.9");
	cr_expect_str_eq(head_field(r->head, "X-Forwarded-Proto", 0), "http");
	cr_expect_str_eq(head_field(r->head, "X-Forwarded-Host", 0), "gw.test");
	cr_expect_str_eq(head_field(r->head, "Host", 0), "gw.test");
	cr_expect_eq(head_count(r->head, "X-Request-ID"), 1);
	cr_expect_eq(head_count(r->head, "X-Client-Cert-Subject"), 0);

	cr_expect_eq(client_once(gw, "::1", ""), 200);
	cr_expect_str_eq(head_field(backend_last(be)->head, "X-Forwarded-For", 0), "::1");

	c = client_tls(gw);
	client_get(c, "/", "");
	r = backend_last(be);
	cr_expect_str_eq(head_field(r->head, "X-Forwarded-Proto", 0), "https");
	client_get(c, "/", "");
	cr_expect_str_neq(head_field(r->head, "X-Request-ID", 0),
			  head_field(backend_last(be)->head, "X-Request-ID", 0));
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(headers, client_certificate_is_told)
{
	static char ca[600];

	e2e_need_gate();
	snprintf(ca, sizeof(ca), "      client-ca: %s/ca.pem\n      client-certificate: optional\n",
		 run_dir());
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.tls_extra = ca});
	struct client *c = client_open(
		&(struct client_options){.port = gw->tls, .tls = true, .cert = "alice"});
	const char *with, *without;

	client_get(c, "/", "X-Client-Cert-Subject: CN=EVIL\r\nX-Client_Cert-Verified: EVIL\r\n");
	client_close(c);
	cr_expect_str_eq(head_field(backend_last(be)->head, "X-Client-Cert-Subject", 0), E2E_ALICE);
	with = head_field(backend_last(be)->head, "X-Client-Cert-Verified", 0);
	cr_expect_not(carries_evil(backend_last(be)));
	c = client_tls(gw);
	client_get(c, "/", "X-Client-Cert-Subject: CN=EVIL\r\nX-Client_Cert-Verified: EVIL\r\n");
	client_close(c);
	cr_expect_not(carries_evil(backend_last(be)));
	cr_expect_not(text_has(backend_last(be)->head, backend_last(be)->head_len, "CN="));
	without = head_field(backend_last(be)->head, "X-Client-Cert-Verified", 0);
	cr_expect(with && (!without || strcmp(with, without)), "verified or not look the same");
	gw_stop(gw);
	backend_stop(be);
}

Test(headers, hop_by_hop_fields_stay_here)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	static const char *const gone[] = {"X-Hop",   "Keep-Alive",	  "TE",
					   "Trailer", "Proxy-Connection", "Proxy-Authorization",
					   "X-Second"};
	struct client *c = client_plain(gw);
	struct response *r;

	client_get(c, "/",
		   "Connection: keep-alive, X-Hop\r\nConnection: x-second\r\nX-Hop: 1\r\n"
		   "X-Second: 2\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X\r\n"
		   "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\n"
		   "X-End: stays\r\nAuthorization: Basic eA==\r\n");
	for (size_t i = 0; i < E2E_ARRAY_SIZE(gone); i++)
		cr_expect_eq(head_count(backend_last(be)->head, gone[i]), 0, "%s:\n%s", gone[i],
			     backend_last(be)->head);
	cr_expect_str_eq(head_field(backend_last(be)->head, "X-End", 0), "stays");
	cr_expect_str_eq(head_field(backend_last(be)->head, "Authorization", 0), "Basic eA==");

	backend_reply(be, "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
			  "Keep-Alive: timeout=5\r\nX-End: stays\r\nContent-Length: 0\r\n\r\n");
	r = client_get(c, "/", "");
	cr_expect_eq(response_count(r, "X-Hop"), 0);
	cr_expect_eq(response_count(r, "Keep-Alive"), 0);
	cr_expect_str_eq(response_field(r, "X-End", 0), "stays");
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(headers, connection_cannot_name_what_protects)
{
	static const char *const names[] = {
		"Cookie",	  "X-Forwarded-For",	   "Host",
		"Content-Length", "X-Client-Cert-Subject", "Transfer-Encoding"};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	char line[128];

	for (size_t i = 0; i < E2E_ARRAY_SIZE(names); i++) {
		struct client *c = client_plain(gw);
		int n = backend_count(be), status;

		snprintf(line, sizeof(line), "Connection: %s\r\nCookie: a=1; sid=EVIL\r\n",
			 names[i]);
		client_sendf(c,
			     "POST / HTTP/1.1\r\nHost: gw.test\r\n%sContent-Length: 3\r\n\r\nabc",
			     line);
		status = client_read(c)->status;
		cr_expect(status == 200 || status == 400, "%s: %d", names[i], status);
		if (backend_count(be) > n) {
			struct breq *r = backend_last(be);

			cr_expect(e2e_wait(r->complete));
			cr_expect_not(carries_evil(r));
			cr_expect_eq(r->body_len, 3, "%s", names[i]);
			cr_expect_str_eq(head_field(r->head, "X-Forwarded-For", 0), "127.0.0.1");
			cr_expect_str_eq(head_field(r->head, "Host", 0), "gw.test");
		}
		client_close(c);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(headers, everything_else_passes_as_it_is)
{
	static const char fields[] =
		"User-Agent: x/1 (y; z)\r\nAccept: */*\r\naccept-encoding: gzip\r\n"
		"X-Empty:\r\nX-8bit: \xc3\xa4\r\nReferer: http://gw.test/a?b=c\r\n"
		"If-None-Match: \"x\", W/\"y\"\r\nX-Same: 1\r\nX-Same: 2\r\n"
		"Range: bytes=0-10\r\n";

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct breq *r;

	cr_expect_eq(client_once(gw, NULL, fields), 200);
	r = backend_last(be);
	cr_expect(!strncmp(r->head, "GET / HTTP/1.1\r\n", 16));
	cr_expect_str_eq(head_field(r->head, "User-Agent", 0), "x/1 (y; z)");
	cr_expect_str_eq(head_field(r->head, "accept-encoding", 0), "gzip");
	cr_expect_str_eq(head_field(r->head, "X-8bit", 0), "\xc3\xa4");
	cr_expect_str_eq(head_field(r->head, "X-Same", 0), "1");
	cr_expect_str_eq(head_field(r->head, "X-Same", 1), "2");
	cr_expect_str_eq(head_field(r->head, "If-None-Match", 0), "\"x\", W/\"y\"");
	cr_expect_eq(head_count(r->head, "X-Empty"), 1);
	gw_stop(gw);
	backend_stop(be);
}

Test(headers, sites_are_chosen_by_host)
{
	static const struct {
		const char *host;
		bool judged;
		int status;
	} hosts[] = {
		{"shop.test", true, 200},   {"SHOP.test:8443", true, 200},
		{"a.shop.test", true, 200}, {"free.test", false, 200},
		{"nobody.test", false, 0},
	};
	const char *sites =
		"sites:\n"
		"  - hosts: [shop.test, \"*.shop.test\"]\n    upstreams: [127.0.0.1:%P]\n"
		"    cookies: [ { name: sid, profile: f5-irule, key: shop, bind: [client-ip] } ]\n"
		"  - hosts: [free.test]\n    upstreams: [127.0.0.1:@]\n";

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct text s = {0};
	const char *at = strchr(sites, '@');

	text_addf(&s, "%.*s%d%s", (int)(at - sites), sites, be->port, at + 1);
	struct gw *gw = gw_start(be, &(struct gw_spec){.sites = s.p});

	for (size_t i = 0; i < E2E_ARRAY_SIZE(hosts); i++) {
		struct client *c = client_plain(gw);
		int n = backend_count(be), status;

		client_sendf(c, "GET / HTTP/1.1\r\nHost: %s\r\nCookie: sid=1\r\n\r\n",
			     hosts[i].host);
		status = client_read(c)->status;
		if (hosts[i].status) {
			cr_expect_eq(status, 200, "%s: %d", hosts[i].host, status);
			cr_expect_eq(text_has(backend_last(be)->head, backend_last(be)->head_len,
					      "sid="),
				     !hosts[i].judged, "%s", hosts[i].host);
		} else {
			cr_expect_geq(status, 400, "%s: %d", hosts[i].host, status);
			cr_expect_eq(backend_count(be), n);
		}
		client_close(c);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(headers, pooled_connection_serves_two_sites_by_their_own_rules)
{
	const char *sites =
		"sites:\n"
		"  - hosts: [a.test]\n    upstreams: [127.0.0.1:%P]\n"
		"    cookies: [ { name: one, profile: f5-irule, key: shop, bind: [client-ip] } ]\n"
		"  - hosts: [b.test]\n    upstreams: [127.0.0.1:@]\n"
		"    cookies: [ { name: two, profile: f5-irule, key: shop, bind: [client-ip] } ]\n";

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct text s = {0}, got = {0};
	const char *at = strchr(sites, '@');

	text_addf(&s, "%.*s%d%s", (int)(at - sites), sites, be->port, at + 1);
	struct gw *gw = gw_start(be, &(struct gw_spec){.sites = s.p});
	struct client *c = client_plain(gw);

	for (int i = 0; i < 6; i++) {
		client_sendf(c, "GET / HTTP/1.1\r\nHost: %c.test\r\nCookie: one=1; two=2\r\n\r\n",
			     'a' + i % 2);
		cr_expect_eq(client_read(c)->status, 200);
		head_cookies(backend_last(be)->head, NULL, &got);
		cr_expect_str_eq(got.p, i % 2 ? "one=1" : "two=2");
	}
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}
