/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client certificates that were revoked: the client's own or that of an authority between him and
 * the root, lists that are missing or too old, and sessions from before.
 */
#include <criterion/criterion.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

TestSuite(revocation, .timeout = E2E_TIMEOUT);

/* ---- certificates ---- */

static X509 *read_cert(const char *name)
{
	char path[512];
	FILE *f;
	X509 *x;

	snprintf(path, sizeof(path), "%s/%s.pem", run_dir(), name);
	f = fopen(path, "r");
	x = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
	cr_assert(x, "%s", path);
	fclose(f);
	return x;
}

static EVP_PKEY *read_key(const char *name)
{
	char path[512];
	EVP_PKEY *key;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.key", run_dir(), name);
	f = fopen(path, "r");
	key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
	cr_assert(key, "%s", path);
	fclose(f);
	return key;
}

static void openssl_run(const char *const argv[])
{
	struct text out = {0};

	cr_assert_eq(run_command(&out, argv), 0, "%s", out.p);
	text_free(&out);
}

/* NAME.pem and NAME.key, by ISSUER; names are this test's own. */
static void make_cert(const char *issuer, const char *name, const char *extension)
{
	char key[300], csr[300], pem[300], ca[300], ca_key[300], ext[300], subject[64];
	FILE *f;

	snprintf(key, sizeof(key), "%s/%s.key", run_dir(), name);
	snprintf(csr, sizeof(csr), "%s/%s.csr", run_dir(), name);
	snprintf(pem, sizeof(pem), "%s/%s.pem", run_dir(), name);
	snprintf(ext, sizeof(ext), "%s/%s.ext", run_dir(), name);
	snprintf(ca, sizeof(ca), "%s/%s.pem", run_dir(), issuer);
	snprintf(ca_key, sizeof(ca_key), "%s/%s.key", run_dir(), issuer);
	snprintf(subject, sizeof(subject), "/CN=%s", name);
	f = fopen(ext, "w");
	cr_assert(f && fputs(extension, f) >= 0 && !fclose(f));
	openssl_run((const char *[]){"openssl", "req", "-newkey", "ec", "-pkeyopt",
				     "ec_paramgen_curve:P-256", "-nodes", "-subj", subject,
				     "-keyout", key, "-out", csr, NULL});
	openssl_run((const char *[]){"openssl", "x509", "-req", "-in", csr, "-CA", ca, "-CAkey",
				     ca_key, "-days", "2", "-extfile", ext, "-out", pem, NULL});
}

/* ---- lists ---- */

enum { NEVER = 0, PAST = -60, HOUR = 3600 };

/* Appends the list of `issuer`, with one person on it or nobody, good for so many seconds. */
static void add_crl(const char *path, const char *issuer, const char *who, long good_for)
{
	X509 *ca = read_cert(issuer), *gone = who ? read_cert(who) : NULL;
	EVP_PKEY *key = read_key(issuer);
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *t = X509_gmtime_adj(NULL, -120);
	FILE *f = fopen(path, "a");

	X509_CRL_set_version(crl, 1);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca));
	X509_CRL_set1_lastUpdate(crl, t);
	if (gone) {
		X509_REVOKED *r = X509_REVOKED_new();

		X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(gone));
		X509_REVOKED_set_revocationDate(r, t);
		X509_CRL_add0_revoked(crl, r);
	}
	X509_gmtime_adj(t, good_for);
	X509_CRL_set1_nextUpdate(crl, t);
	X509_CRL_sort(crl);
	X509_CRL_sign(crl, key, EVP_sha256());
	cr_assert(f && PEM_write_X509_CRL(f, crl) && !fclose(f));
	ASN1_TIME_free(t);
	X509_CRL_free(crl);
	EVP_PKEY_free(key);
	X509_free(ca);
	X509_free(gone);
}

static void write_crl(const char *path, const char *who)
{
	unlink(path);
	add_crl(path, "ca", who, HOUR);
}

/* One request with that certificate: its status, 0 if the handshake failed. */
static int tls_once(struct gw *gw, const char *cert, int version, SSL_SESSION **session,
		    bool *ret_reused)
{
	struct client *c = client_try(&(struct client_options){.port = gw->tls,
							       .tls = true,
							       .cert = cert,
							       .version = version,
							       .session = *session});
	int status;

	*ret_reused = false;
	if (!c)
		return 0;
	status = client_get(c, "/", "")->status;
	*ret_reused = SSL_session_reused(c->ssl);
	*session = SSL_get1_session(c->ssl);
	SSL_shutdown(c->ssl);
	client_close(c);
	return status;
}

Test(revocation, a_revoked_certificate_is_refused_also_when_its_session_is_resumed)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	static char path[300], tls[700];

	e2e_need_gate();
	snprintf(path, sizeof(path), "%s/revoked-%d.crl", run_dir(), getpid());
	snprintf(tls, sizeof(tls),
		 "      client-ca: %s/ca.pem\n      client-crl: %s\n"
		 "      client-certificate: required\n",
		 run_dir(), path);
	write_crl(path, "bob");
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.tls_extra = tls});
	SSL_SESSION *session[2] = {0}, *none;
	bool reused;

	for (size_t i = 0; i < 2; i++) {
		none = NULL;
		cr_expect_eq(tls_once(gw, "bob", versions[i], &none, &reused), 0, "revoked");
		cr_expect_eq(tls_once(gw, "alice", versions[i], &session[i], &reused), 200);
		cr_expect_eq(tls_once(gw, "alice", versions[i], &session[i], &reused), 200);
		cr_expect(reused);
	}
	write_crl(path, "alice");
	struct text out = {0};

	cr_assert_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	for (size_t i = 0; i < 2; i++) {
		cr_expect_eq(tls_once(gw, "alice", versions[i], &session[i], &reused), 0,
			     "resumed with a revoked certificate");
		none = NULL;
		cr_expect_eq(tls_once(gw, "bob", versions[i], &none, &reused), 200);
	}
	cr_expect_geq(gw_metric(gw, "hardtack_tls_failed_total", NULL), 2);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- chains ---- */

static char crl_path[300];

/* ca -> mid -> carol, by names of this test's own; alice is ca's. */
static struct gw *chain_start(struct backend *be, char mid[32], char carol[32])
{
	static char ca_path[300], tls[1000];
	char *text;
	FILE *f;

	be->no_record = true; /* the names are of this run */
	snprintf(mid, 32, "mid-%d", getpid());
	snprintf(carol, 32, "carol-%d", getpid());
	snprintf(crl_path, sizeof(crl_path), "%s/chain-%d.crl", run_dir(), getpid());
	snprintf(ca_path, sizeof(ca_path), "%s/chain-%d.pem", run_dir(), getpid());
	make_cert("ca", mid,
		  "basicConstraints = critical, CA:TRUE\nkeyUsage = keyCertSign, cRLSign\n");
	make_cert(mid, carol, "basicConstraints = CA:FALSE\nextendedKeyUsage = clientAuth\n");
	f = fopen(ca_path, "w");
	for (int i = 0; i < 2; i++) {
		char path[300];

		snprintf(path, sizeof(path), "%s/%s.pem", run_dir(), i ? mid : "ca");
		text = text_file(path, NULL);
		cr_assert(f && text && fputs(text, f) >= 0);
		free(text);
	}
	fclose(f);
	snprintf(tls, sizeof(tls),
		 "      client-ca: %s\n      client-crl: %s\n      client-certificate: required\n",
		 ca_path, crl_path);
	unlink(crl_path);
	add_crl(crl_path, mid, NULL, HOUR);
	return gw_start(be, &(struct gw_spec){.tls_extra = tls});
}

static void chain_reload(struct gw *gw)
{
	struct text out = {0};

	cr_assert_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	text_free(&out);
}

#define CAROL "*" /* on a list */
#define MID "+"

static const struct {
	const char *name;
	long mid_for; /* how long the list of mid is good; NEVER: there is none */
	const char *mid_revokes;
	long ca_for;
	const char *ca_revokes;
	int carol, alice; /* the status they get */
} chains[] = {
	{"a list of the client's issuer alone", HOUR, NULL, NEVER, NULL, 200, 0},
	{"a list of the root alone", NEVER, NULL, HOUR, NULL, 0, 200},
	{"nobody on either", HOUR, NULL, HOUR, NULL, 200, 200},
	{"the client", HOUR, CAROL, HOUR, NULL, 0, 200},
	{"the authority between", HOUR, NULL, HOUR, MID, 0, 200},
	{"the client's issuer's is too old", PAST, NULL, HOUR, NULL, 0, 200},
	{"the root's is too old", HOUR, NULL, PAST, NULL, 0, 0},
};

Test(revocation, whole_chains_are_looked_up)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	char mid[32], carol[32];
	struct gw *gw = chain_start(be, mid, carol);
	SSL_SESSION *none;
	bool reused;

	for (size_t i = 0; i < E2E_ARRAY_SIZE(chains); i++) {
		unlink(crl_path);
		if (chains[i].mid_for != NEVER)
			add_crl(crl_path, mid, chains[i].mid_revokes ? carol : NULL,
				chains[i].mid_for);
		if (chains[i].ca_for != NEVER)
			add_crl(crl_path, "ca", chains[i].ca_revokes ? mid : NULL,
				chains[i].ca_for);
		chain_reload(gw);
		none = NULL;
		cr_expect_eq(tls_once(gw, carol, 0, &none, &reused), chains[i].carol, "%s: carol",
			     chains[i].name);
		none = NULL;
		cr_expect_eq(tls_once(gw, "alice", 0, &none, &reused), chains[i].alice, "%s: alice",
			     chains[i].name);
	}
	cr_expect(gw_logged(gw, "past its next update"));
	gw_stop(gw);
	backend_stop(be);
}

Test(revocation, sessions_end_with_the_authority_between)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	char mid[32], carol[32];
	struct gw *gw = chain_start(be, mid, carol);
	SSL_SESSION *session[2] = {0};
	bool reused;

	add_crl(crl_path, "ca", NULL, HOUR);
	chain_reload(gw);
	for (size_t i = 0; i < 2; i++) {
		cr_expect_eq(tls_once(gw, carol, versions[i], &session[i], &reused), 200);
		cr_expect_eq(tls_once(gw, carol, versions[i], &session[i], &reused), 200);
		cr_expect(reused);
	}
	unlink(crl_path);
	add_crl(crl_path, mid, NULL, HOUR);
	add_crl(crl_path, "ca", mid, HOUR);
	chain_reload(gw);
	for (size_t i = 0; i < 2; i++)
		cr_expect_eq(tls_once(gw, carol, versions[i], &session[i], &reused), 0);
	gw_stop(gw);
	backend_stop(be);
}

/* Nothing is reloaded: the list just comes of age while there are sessions from before. */
Test(revocation, sessions_end_with_the_list)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	char mid[32], carol[32];
	struct gw *gw = chain_start(be, mid, carol);
	SSL_SESSION *session[2], *again;
	bool reused, begun;
	int64_t made_ms;
	long good_for = 4;

	/* both sessions begin under the list: where that takes longer than it is good for, a longer one */
	do {
		good_for *= 2;
		made_ms = run_now_ms();
		unlink(crl_path);
		add_crl(crl_path, mid, NULL, good_for);
		chain_reload(gw);
		begun = true;
		for (size_t i = 0; i < 2; i++) {
			session[i] = NULL;
			begun &= tls_once(gw, carol, versions[i], &session[i], &reused) == 200;
		}
		cr_assert(begun || run_now_ms() - made_ms >= (good_for - 1) * 1000);
	} while (!begun);
	for (size_t i = 0; i < 2; i++)
		cr_expect(e2e_wait(
			(again = session[i], !tls_once(gw, carol, versions[i], &again, &reused))));
	gw_stop(gw);
	backend_stop(be);
}
