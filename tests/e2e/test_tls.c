/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TLS side as clients see it: certificates by name, versions, resumption and what it must not
 * carry over, ALPN. The bodies' tests run over TLS elsewhere.
 */
#include <criterion/criterion.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

TestSuite(tls, .timeout = E2E_TIMEOUT);

static void peer_name(struct client *c, char *out, size_t cap)
{
	X509 *x = SSL_get1_peer_certificate(c->ssl);

	cr_assert(x);
	X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, out, (int)cap);
	X509_free(x);
}

Test(tls, certificate_by_server_name)
{
	static const struct {
		const char *sni, *cn;
	} names[] = {
		{"gw.test", "gw.test"},	      {"other.test", "other.test"},
		{"OTHER.test", "other.test"}, {"a.other.test", "other.test"},
		{"unknown.test", "gw.test"},  {NULL, "gw.test"},
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(names); i++) {
		struct client *c = client_open(&(struct client_options){
			.port = gw->tls, .tls = true, .sni = names[i].sni});
		char cn[64];

		peer_name(c, cn, sizeof(cn));
		cr_expect_str_eq(cn, names[i].cn, "%s gets %s", names[i].sni, cn);
		cr_expect_eq(client_get(c, "/", "")->status, 200);
		client_close(c);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(tls, both_versions_and_none_older)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	for (size_t i = 0; i < 2; i++) {
		struct client *c = client_open(&(struct client_options){
			.port = gw->tls, .tls = true, .version = versions[i]});

		cr_expect_eq(SSL_version(c->ssl), versions[i]);
		cr_expect_eq(client_get(c, "/", "")->status, 200);
		client_close(c);
	}
	cr_expect_null(client_try(
		&(struct client_options){.port = gw->tls, .tls = true, .version = TLS1_1_VERSION}));
	cr_expect_geq(gw_metric(gw, "hardtack_tls_connections_total", "1.2", NULL), 1);
	cr_expect_geq(gw_metric(gw, "hardtack_tls_connections_total", "1.3", NULL), 1);
	gw_stop(gw);
	backend_stop(be);
}

Test(tls, min_version)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be,
				 &(struct gw_spec){.tls_extra = "      min-version: \"1.3\"\n"});
	struct client *c;

	cr_expect_null(client_try(
		&(struct client_options){.port = gw->tls, .tls = true, .version = TLS1_2_VERSION}));
	c = client_tls(gw);
	cr_expect_eq(SSL_version(c->ssl), TLS1_3_VERSION);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(tls, alpn)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	const unsigned char *proto;
	unsigned len;
	struct client *c = client_open(
		&(struct client_options){.port = gw->tls, .tls = true, .alpn = "http/1.1"});

	SSL_get0_alpn_selected(c->ssl, &proto, &len);
	cr_expect(len == 8 && !memcmp(proto, "http/1.1", 8));
	cr_expect_eq(client_get(c, "/", "")->status, 200);
	client_close(c);
	/* Who speaks only h2 gets no h2: an alert, or nothing selected. */
	c = client_try(&(struct client_options){.port = gw->tls, .tls = true, .alpn = "h2"});
	if (c) {
		SSL_get0_alpn_selected(c->ssl, &proto, &len);
		cr_expect_eq(len, 0);
	}
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* A session that can be resumed. The response is read first: TLS 1.3 sends tickets late. */
static SSL_SESSION *session_of(int port, const char *cert, int version, bool *reused,
			       SSL_SESSION *resume, int *status)
{
	struct client *c = client_try(&(struct client_options){.port = port,
							       .tls = true,
							       .sni = "gw.test",
							       .cert = cert,
							       .version = version,
							       .session = resume});
	SSL_SESSION *s;

	*status = 0;
	*reused = false;
	if (!c)
		return NULL;
	*status = client_get(c, "/", "")->status;
	*reused = SSL_session_reused(c->ssl);
	s = SSL_get1_session(c->ssl);
	SSL_shutdown(c->ssl);
	client_close(c);
	return s;
}

Test(tls, resumption_works)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	for (size_t i = 0; i < 2; i++) {
		bool reused;
		int status;
		SSL_SESSION *s = session_of(gw->tls, NULL, versions[i], &reused, NULL, &status);

		cr_assert(s && status == 200);
		for (int n = 0; n < 3; n++) {
			SSL_SESSION *next = session_of(gw->tls, NULL, versions[i], &reused, s,
						       &status);

			cr_expect_eq(status, 200);
			cr_expect(reused, "version %x was not resumed", versions[i]);
			s = next;
		}
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(tls, a_resumed_session_keeps_its_subject)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	static char ca[600];

	e2e_need_gate();
	snprintf(ca, sizeof(ca), "      client-ca: %s/ca.pem\n      client-certificate: required\n",
		 run_dir());
	struct backend *be = backend_start(NULL);
	struct gw *gw =
		gw_start(be, &(struct gw_spec){.tls_extra = ca,
					       .cookies = "[ { name: sid, profile: f5-irule, key: "
							  "shop, bind: [x509-subject] } ]"});

	for (size_t i = 0; i < 2; i++) {
		bool reused;
		int status;
		SSL_SESSION *s = session_of(gw->tls, "alice", versions[i], &reused, NULL, &status);

		cr_assert_eq(status, 200);
		session_of(gw->tls, "alice", versions[i], &reused, s, &status);
		cr_expect_eq(status, 200);
		cr_expect_str_eq(head_field(backend_last(be)->head, "X-Client-Cert-Subject", 0),
				 E2E_ALICE, "resumed %d", reused);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(tls, no_resumption_across_client_cas)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	static char ca[600], ca2[600];

	e2e_need_gate();
	snprintf(ca, sizeof(ca), "      client-ca: %s/ca.pem\n      client-certificate: required\n",
		 run_dir());
	snprintf(ca2, sizeof(ca2),
		 "      client-ca: %s/ca2.pem\n      client-certificate: required\n", run_dir());
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.tls_extra = ca, .tls2_extra = ca2});

	for (size_t i = 0; i < 2; i++) {
		bool reused;
		int status, n;
		SSL_SESSION *s = session_of(gw->tls, "alice", versions[i], &reused, NULL, &status);

		cr_assert_eq(status, 200);
		n = backend_count(be);
		/* The other listener doesn't know Alice's CA: her ticket must not open it. */
		session_of(gw->tls2, "alice", versions[i], &reused, s, &status);
		cr_expect_eq(status, 0, "version %x: got in with another listener's session",
			     versions[i]);
		cr_expect_not(reused && status);
		cr_expect_eq(backend_count(be), n);
		s = session_of(gw->tls, "alice", versions[i], &reused, NULL, &status);
		session_of(gw->tls2, "stranger", versions[i], &reused, s, &status);
		cr_expect_not(reused);
		cr_expect_eq(status, 200);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(tls, plain_http_on_the_tls_port_gets_no_answer_from_the_backend)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_open(&(struct client_options){.port = gw->tls});

	cr_expect_neq(client_get(c, "/", "")->status, 200);
	client_close(c);
	cr_expect_eq(backend_count(be), 0);
	gw_stop(gw);
	backend_stop(be);
}

Test(tls, truncation_by_the_client_is_no_request)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	for (int i = 0; i < 20; i++) {
		struct client *c = client_tls(gw);

		client_sendf(c, "GET /%d HTTP/1.1\r\nHost: gw.test\r\n", i);
		client_close(c);
	}
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	cr_expect_eq(backend_count(be), 1);
	gw_stop(gw);
	backend_stop(be);
}
