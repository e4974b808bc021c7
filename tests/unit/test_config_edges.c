/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration of what stands at the edges: trusted proxies, the PROXY protocol, redirects,
 * HSTS, exempt paths, revocation lists; the mistakes in each with their place.
 */
#include <criterion/criterion.h>
#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "config_text.h"

TestSuite(config_edges);

#define SITE "sites: [{ hosts: [\"*\"], upstreams: [127.0.0.1:9000] }]\n"
#define SITE_OF(more) "sites: [{ hosts: [a], upstreams: [127.0.0.1:1], " more " }]\n"
#define PLAIN "listeners: [{ address: 127.0.0.1:8080 }]\n"
#define LISTENER(more) "listeners: [{ address: 127.0.0.1:1, " more " }]\n"
#define CERTS "certificates: [{ certificate: a.pem, key: a.key }]"
#define TRUST "trusted-proxies: [10.0.0.0/8]\n"

Test(config_edges, all_of_it)
{
	struct ht_config *c = parse_ok(
		"listeners:\n"
		"  - { address: 127.0.0.1:80, redirect-https: true, proxy-protocol: accept }\n"
		"  - address: 127.0.0.1:443\n"
		"    proxy-protocol: off\n"
		"    tls: { " CERTS ", client-crl: list.pem, client-ca: ca.pem }\n"
		"trusted-proxies: [10.0.0.0/8, \"2001:db8::/32\", 192.0.2.1]\n"
		"sites:\n"
		"  - { hosts: [a], upstreams: [127.0.0.1:1], hsts: 365d,\n"
		"      exempt: [/healthz, \"/hooks/*\"] }\n"
		"  - { hosts: [b], upstreams: [127.0.0.1:1], exempt: [], cookies: [{ name: sid,\n"
		"      profile: f5-irule, key: k, bind: [client-ip], expire-stripped: true }] }\n"
		"keys: [{ name: k, file: k.key }]\n");
	const struct ht_listener_config *l = c->listeners;

	cr_expect(l[0].redirect_https && l[0].proxy_protocol);
	cr_expect(!l[1].redirect_https && !l[1].proxy_protocol);
	cr_expect_str_eq(l[1].tls->client_crl, "/etc/hardtack/list.pem");
	cr_expect_eq(l[1].tls->crl_line, 5);
	cr_assert_eq(c->ntrusted, 3);
	cr_expect_eq(c->trusted[0].bits, 8);
	cr_expect_eq(c->trusted[1].family, AF_INET6);
	cr_expect_eq(c->trusted[2].bits, 32);
	cr_expect_eq(c->sites[0].hsts_s, 365 * 86400);
	cr_assert_eq(c->sites[0].nexempt, 2);
	cr_expect_str_eq(c->sites[0].exempt[1], "/hooks/*");
	cr_expect_eq(c->sites[1].nexempt, 0);
	cr_expect_eq(c->sites[1].hsts_s, 0);
	cr_expect(c->sites[1].rules[0].expire_stripped);
	ht_config_free(c);
}

static const struct mistake mistakes[] = {
	{"no address", PLAIN SITE "trusted-proxies: [example.com]\n", 3, 19, "is no address"},
	{"too many bits", PLAIN SITE "trusted-proxies: [10.0.0.0/8, 10.0.0.0/33]\n", 3, 31,
	 "from 0 to 32"},
	{"bits beyond", PLAIN SITE "trusted-proxies: [10.0.0.1/8]\n", 3, 19, "bits set beyond"},
	{"no list", PLAIN SITE "trusted-proxies: 10.0.0.0/8\n", 3, 18, "is not a list"},
	{"nobody trusted", LISTENER("proxy-protocol: accept") SITE, 1, 53,
	 "add trusted-proxies: [ADDRESS/BITS]"},
	{"nobody trusted either", LISTENER("proxy-protocol: accept") SITE "trusted-proxies: []\n",
	 1, 53, "add trusted-proxies: [ADDRESS/BITS]"},
	{"unix has no peers",
	 TRUST "listeners: [{ address: unix:x, proxy-protocol: accept }]\n" SITE, 2, 48,
	 "peers of a unix socket have none"},
	{"no such word", TRUST LISTENER("proxy-protocol: v2") SITE, 2, 53, "accept"},
	{"redirect with tls", LISTENER("redirect-https: true, tls: { " CERTS " }") SITE, 1, 53,
	 "'redirect-https' is for plain listeners"},
	{"redirect to where", LISTENER("redirect-https: www") SITE, 1, 53, "true"},
	{"a list without a CA", LISTENER("tls: { " CERTS ", client-crl: c }") SITE, 1, 108,
	 "add client-ca: FILE.pem"},
	{"hsts without unit", PLAIN SITE_OF("hsts: forever"), 2, 55, "hsts"},
	{"hsts too long", PLAIN SITE_OF("hsts: 9999d"), 2, 55, "hsts"},
	{"no path", PLAIN SITE_OF("exempt: [healthz]"), 2, 58, "does not begin with '/'"},
	{"everything", PLAIN SITE_OF("exempt: [\"*\"]"), 2, 58, "does not begin with '/'"},
	{"star inside", PLAIN SITE_OF("exempt: [\"/a/*/b\"]"), 2, 58, "only a last one"},
	{"two stars", PLAIN SITE_OF("exempt: [\"/a/**\"]"), 2, 58, "only a last one"},
	{"escape", PLAIN SITE_OF("exempt: [\"/a%2fb\"]"), 2, 58, "no request is ever exempt"},
	{"query", PLAIN SITE_OF("exempt: [\"/a?b\"]"), 2, 58, "no request is ever exempt"},
	{"dots", PLAIN SITE_OF("exempt: [\"/a/../b\"]"), 2, 58, "no request is ever exempt"},
	{"dots at the end", PLAIN SITE_OF("exempt: [\"/a/..\"]"), 2, 58,
	 "no request is ever exempt"},
	{"empty segment", PLAIN SITE_OF("exempt: [\"/a//b\"]"), 2, 58, "no request is ever exempt"},
	{"backslash", PLAIN SITE_OF("exempt: ['/a\\b']"), 2, 58, "no request is ever exempt"},
	{"parameter", PLAIN SITE_OF("exempt: [\"/a;b\"]"), 2, 58, "no request is ever exempt"},
};

Test(config_edges, mistakes)
{
	CHECK_MISTAKES(mistakes);
}

/* ---- exempt paths ---- */

static const struct {
	const char *path;
	bool exempt;
} paths[] = {
	{"/healthz", true},
	{"/hooks/", true},
	{"/hooks/a/b", true},
	{"/hooks/a.b/..c/...", true},
	{"/hooks/a/", true},
	{"/v1:run", true},
	{"/pre", true},
	{"/prefix", true},
	{"", false},
	{"/", false},
	{"*", false},
	{"/healthz/", false},
	{"/Healthz", false},
	{"/healthzx", false},
	{"/hooks", false},
	{"/healthz%00", false},
	{"/hooks/..", false},
	{"/hooks/../admin", false},
	{"/hooks/a/../../admin", false},
	{"/hooks/./a", false},
	{"/hooks/.", false},
	{"/hooks/%2e%2e/admin", false},
	{"/hooks/a%2fb", false},
	{"/hooks//admin", false},
	{"/hooks/a//", false},
	{"//hooks/a", false},
	{"/hooks/..\\admin", false},
	{"/hooks\\..\\admin", false},
	{"/hooks/..;/admin", false},
	{"/hooks/a;/../admin", false},
	{"/hooks/a;jsessionid=1", false},
	{"/hooks/a\"b", false},
	{"/hooks/a<b", false},
	{"/hooks/\x80", false},
};

Test(config_edges, a_path_is_exempt_only_if_nobody_can_read_another_out_of_it)
{
	struct ht_config *c =
		parse_ok(PLAIN SITE_OF("exempt: [/healthz, \"/hooks/*\", \"/v1:run\", \"/pre*\"]"));

	for (size_t i = 0; i < HT_ARRAY_SIZE(paths); i++)
		cr_expect_eq(ht_config_exempts(&c->sites[0], HT_STR(paths[i].path)),
			     paths[i].exempt, "%s", paths[i].path);
	cr_expect_not(ht_config_exempts(&c->sites[0], (struct ht_str){"/healthz\0", 9}));
	ht_config_free(c);
	c = parse_ok(PLAIN SITE_OF("exempt: [\"/*\"]"));
	cr_expect(ht_config_exempts(&c->sites[0], HT_STR("/")));
	cr_expect(ht_config_exempts(&c->sites[0], HT_STR("/a")));
	cr_expect_not(ht_config_exempts(&c->sites[0], HT_STR("/..")));
	ht_config_free(c);
}

/* ---- warnings ---- */

#define KEY "keys: [{ name: k, file: k.key }]\n"
#define RULE "cookies: [{ name: sid, profile: f5-irule, key: k, bind: [client-ip] }]"

static const struct warning warnings[] = {
	{"a trusted proxy beside us", KEY PLAIN "trusted-proxies: [127.0.0.0/8]\n" SITE_OF(RULE),
	 NULL, "behind another proxy"},
	{"only another one is trusted", KEY PLAIN TRUST SITE_OF(RULE), "2: behind another proxy",
	 NULL},
	{"a redirect judges nothing",
	 KEY "listeners: [{ address: 0.0.0.0:80, redirect-https: true }]\n" SITE_OF(RULE), NULL,
	 "has no tls"},
	{"everything is exempt", KEY PLAIN SITE_OF(RULE ", exempt: [\"/*\"]"),
	 "3: the site of a exempts every path", NULL},
	{"nothing to judge there", PLAIN SITE_OF("exempt: [\"/*\"]"), NULL, "exempts"},
	{"hsts without TLS", PLAIN SITE_OF("hsts: 1d"), "2: hsts of the site of a is never sent",
	 NULL},
	{"hsts by a proxy's word", TRUST PLAIN SITE_OF("hsts: 1d"), NULL, "hsts"},
	{"hsts", LISTENER("tls: { " CERTS " }") SITE_OF("hsts: 1d"), NULL, "hsts"},
};

Test(config_edges, warnings)
{
	CHECK_WARNINGS(warnings);
}

/* ---- revocation lists ---- */

static char dir[64];

static const char *in_dir(const char *name)
{
	static char path[8][128];
	static unsigned next;
	char *p = path[next++ % 8];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static X509 *make_ca(const char *name, EVP_PKEY *key)
{
	X509 *x = X509_new();
	FILE *f = fopen(in_dir(name), "w");

	X509_set_version(x, 2);
	X509_gmtime_adj(X509_getm_notBefore(x), -10);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)"CA", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_set_pubkey(x, key);
	cr_assert(f && X509_sign(x, key, EVP_sha256()) > 0 && PEM_write_X509(f, x));
	fclose(f);
	return x;
}

static void make_crl(const char *name, X509 *ca, EVP_PKEY *key, long lasts)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *t = X509_gmtime_adj(NULL, -100);
	FILE *f = fopen(in_dir(name), "w");

	X509_CRL_set_version(crl, 1);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca));
	X509_CRL_set1_lastUpdate(crl, t);
	X509_gmtime_adj(t, lasts);
	X509_CRL_set1_nextUpdate(crl, t);
	cr_assert(f && X509_CRL_sign(crl, key, EVP_sha256()) > 0 && PEM_write_X509_CRL(f, crl));
	fclose(f);
	ASN1_TIME_free(t);
	X509_CRL_free(crl);
}

static const char *const files[] = {"a.pem", "a.key", "good.crl", "old.crl", "other.crl", "x.yaml"};

static void make_files(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
	X509 *ca;
	FILE *f;

	strcpy(dir, "/tmp/ht-edges-XXXXXX");
	cr_assert(mkdtemp(dir));
	ca = make_ca("a.pem", key);
	f = fopen(in_dir("a.key"), "w");
	cr_assert(f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
	fclose(f);
	make_crl("good.crl", ca, key, 3600);
	make_crl("old.crl", ca, key, -10);
	make_crl("other.crl", ca, other, 3600); /* the same issuer by name only */
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

static void remove_files(void)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(files); i++)
		unlink(in_dir(files[i]));
	rmdir(dir);
}

static int load(const char *crl, struct ht_config **ret, struct ht_diag *d)
{
	FILE *f = fopen(in_dir("x.yaml"), "w");

	fprintf(f,
		"listeners:\n  - address: 127.0.0.1:1\n    tls:\n      " CERTS "\n"
		"      client-ca: a.pem\n      client-crl: %s\n" SITE,
		crl);
	fclose(f);
	return ht_config_load(in_dir("x.yaml"), ret, d);
}

Test(config_edges, revocation_lists, .init = make_files, .fini = remove_files)
{
	static const struct {
		const char *crl, *says;
	} wrong[] = {
		{"none.crl", "can't read client-crl"},
		{"a.pem", "holds no revocation list"},
		{"other.crl", "that no certificate of client-ca signed"},
	};
	struct ht_config *c = NULL;
	struct ht_diag d = {0};
	struct warnings_said said = {.ordered = true};

	for (size_t i = 0; i < HT_ARRAY_SIZE(wrong); i++) {
		cr_expect_eq(load(wrong[i].crl, &c, &d), -EINVAL, "%s", wrong[i].crl);
		cr_expect(d.line == 6 && d.col == 19, "%s: at %u:%u", wrong[i].crl, d.line, d.col);
		cr_expect(strstr(d.text, wrong[i].says), "%s: says '%s'", wrong[i].crl, d.text);
	}
	cr_assert_eq(load("good.crl", &c, &d), 0, "%s", d.text);
	ht_config_warnings(c, warning_note, &said);
	cr_expect_str_eq(said.text, "");
	ht_config_free(c);
	/* An old list locks clients out, not everybody: it starts, and says so. */
	cr_assert_eq(load("old.crl", &c, &d), 0, "%s", d.text);
	ht_config_warnings(c, warning_note, &said);
	cr_expect(strstr(said.text, "6: client-crl") && strstr(said.text, "past its next update"),
		  "'%s'", said.text);
	ht_config_free(c);
}
