/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of several certificates a client gets, by the name that it asks for: always the one that
 * X509_check_host() would pick, the library's own last word on what a certificate is good for.
 */
#include <criterion/criterion.h>

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls.h"

TestSuite(tls_names, .timeout = 60);

static const struct {
	const char *cn, *alt; /* as openssl.cnf(5) has them */
} certs[] = {
	{"default.test", "DNS:default.test"},
	{"several", "DNS:one.test,DNS:two.test,IP:192.0.2.1"},
	{"all.test", "DNS:*.all.test"},
	{"partly", "DNS:f*.part.test"},
	{"only.test", NULL},
	{"address.test", "IP:192.0.2.2,URI:https://uri.test/"},
	{"not.test", "DNS:shown.test"},
	{"second", "DNS:two.test,DNS:host.all.test"},
	{"literal", "DNS:*.com,DNS:*,DNS:a.*.test,DNS:deep.er.test"},
	{"*.fallback.test", NULL},
};

static const struct {
	const char *name;
	size_t cert;
} rows[] = {
	{"default.test", 0},
	{"one.test", 1},
	{"TWO.Test", 1}, /* the first of two */
	{"192.0.2.1", 0},
	{"x.all.test", 2},
	{"X.ALL.TEST", 2},
	{"host.all.test", 2},
	{"all.test", 0},
	{"a.b.all.test", 0}, /* of one label */
	{"xn--a.all.test", 2},
	{"foo.part.test", 3},
	{"bar.part.test", 0},
	{"only.test", 4},
	{"address.test", 5}, /* none of its alternative names is a host's */
	{"uri.test", 0},
	{"not.test", 0},
	{"shown.test", 6},
	{"*.com", 8},
	{"x.com", 0},
	{"*", 8},
	{"com", 0},
	{"a.x.test", 0},
	{"deep.er.test", 8},
	{"deep.er.tes", 0},
	{".er.test", 8}, /* any below it */
	{".", 0},
	{"x.fallback.test", 9},
	{"fallback.test", 0},
};

#define CERTS HT_ARRAY_SIZE(certs)

static struct {
	char dir[32], path[CERTS][2][64];
	X509 *cert[CERTS];
	struct ht_tls_ctx *ctx;
	SSL_CTX *peer_ctx;
} e;

static void make_certificate(size_t i)
{
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	X509_EXTENSION *alt;
	FILE *f;

	X509_set_version(x, 2);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, pkey);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)certs[i].cn, -1, -1, 0);
	if (certs[i].alt) {
		alt = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, certs[i].alt);
		cr_assert(alt && X509_add_ext(x, alt, -1), "%s", certs[i].alt);
		X509_EXTENSION_free(alt);
	}
	cr_assert(X509_sign(x, pkey, EVP_sha256()) > 0);
	snprintf(e.path[i][0], sizeof(e.path[i][0]), "%s/%zu.pem", e.dir, i);
	f = fopen(e.path[i][0], "w");
	cr_assert(f && PEM_write_X509(f, x));
	fclose(f);
	snprintf(e.path[i][1], sizeof(e.path[i][1]), "%s/%zu.key", e.dir, i);
	f = fopen(e.path[i][1], "w");
	cr_assert(f && PEM_write_PrivateKey(f, pkey, NULL, NULL, 0, NULL, NULL));
	fclose(f);
	e.cert[i] = x;
	EVP_PKEY_free(pkey);
}

static void begin(void)
{
	struct ht_cert_config list[CERTS] = {0};
	struct ht_tls_config tls = {.certs = list, .ncerts = CERTS, .min_version = TLS1_2_VERSION};
	struct ht_listener_config listener = {.tls = &tls};
	struct ht_tls_params params = {.listener = &listener};
	struct ht_diag diag;

	strcpy(e.dir, "/tmp/ht-names-XXXXXX");
	cr_assert(mkdtemp(e.dir));
	for (size_t i = 0; i < CERTS; i++) {
		make_certificate(i);
		list[i].certificate = e.path[i][0];
		list[i].key = e.path[i][1];
	}
	cr_assert_eq(ht_tls_ctx_new(&params, &e.ctx, &diag), 0, "%s", diag.text);
	e.peer_ctx = SSL_CTX_new(TLS_client_method());
}

static void end(void)
{
	ht_tls_ctx_free(e.ctx);
	SSL_CTX_free(e.peer_ctx);
	for (size_t i = 0; i < CERTS; i++) {
		X509_free(e.cert[i]);
		unlink(e.path[i][0]);
		unlink(e.path[i][1]);
	}
	rmdir(e.dir);
}

/* Which certificate a client gets that asks for this name. */
static size_t certificate_for(const char *name)
{
	struct ht_source source = {.readable = true, .writable = true};
	SSL *peer = SSL_new(e.peer_ctx);
	struct ht_tls tls;
	size_t i = 0;
	const char *why;
	X509 *got;
	int fd[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	source.fd = fd[0];
	SSL_set_fd(peer, fd[1]);
	SSL_set_connect_state(peer);
	cr_assert(SSL_set_tlsext_host_name(peer, name));
	cr_assert_eq(ht_tls_open(&tls, e.ctx, &source, NULL), 0);
	for (int n = 0; n < 20 && !SSL_is_init_finished(peer); n++) {
		SSL_do_handshake(peer);
		source.readable = source.writable = true;
		if (!tls.established)
			ht_tls_handshake(&tls, &why);
	}
	got = SSL_get0_peer_certificate(peer);
	cr_assert(got, "%s", name);
	while (i < CERTS && X509_cmp(got, e.cert[i]))
		i++;
	SSL_free(peer);
	ht_tls_close(&tls);
	close(fd[0]);
	close(fd[1]);
	return i;
}

/* The first that X509_check_host() finds good, or the default. */
static size_t expected_for(const char *name)
{
	for (size_t i = 0; i < CERTS; i++) {
		if (X509_check_host(e.cert[i], name, strlen(name), 0, NULL) == 1)
			return i;
	}
	return 0;
}

Test(tls_names, the_certificate_is_the_names)
{
	begin();
	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		cr_expect_eq(certificate_for(rows[i].name), rows[i].cert, "%s: number %zu",
			     rows[i].name, certificate_for(rows[i].name));
		cr_expect_eq(expected_for(rows[i].name), rows[i].cert, "%s: the library says %zu",
			     rows[i].name, expected_for(rows[i].name));
	}
	end();
}

/* With one certificate there is no choice. */
Test(tls_names, whatever_is_asked_for_gets_the_only_one)
{
	struct ht_cert_config cert = {0};
	struct ht_tls_config tls = {.certs = &cert, .ncerts = 1, .min_version = TLS1_2_VERSION};
	struct ht_listener_config listener = {.tls = &tls};
	struct ht_tls_params params = {.listener = &listener};
	struct ht_diag diag;

	begin();
	ht_tls_ctx_free(e.ctx);
	cert.certificate = e.path[4][0];
	cert.key = e.path[4][1];
	cr_assert_eq(ht_tls_ctx_new(&params, &e.ctx, &diag), 0, "%s", diag.text);
	cr_expect_eq(certificate_for("only.test"), 4);
	cr_expect_eq(certificate_for("one.test"), 4);
	end();
}
