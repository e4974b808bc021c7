/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every binding alone and with client-ip: whoever is the same client by it keeps his session,
 * whoever is another one loses it, and who can't be told apart gets none. Expected inputs are
 * computed here, with OpenSSL alone.
 */
#include <criterion/criterion.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../mmdb.h"
#include "harness.h"

TestSuite(bindings, .timeout = E2E_TIMEOUT);

#define PROXY "PROXY TCP4 192.0.2.10 127.0.0.1 40000 443\r\n"
#define LOGIN "HTTP/1.1 200 OK\r\nSet-Cookie: sid=s1\r\nContent-Length: 2\r\n\r\nin"

/* ---- the world ---- */

static const struct mmdb_row world[] = {
	{"192.0.2.0/24", "DE", "US"},
	{"198.51.100.0/24", "FR", NULL},
	{"203.0.113.0/24", NULL, "SE"},
	{"2001:db8::/32", "DE", NULL},
};

/* A file of this test's own beside the certificates. 64 results live at a time. */
static const char *own_file(const char *name)
{
	static char path[64][300];
	static unsigned next;
	char *ret = path[next++ % 64];

	snprintf(ret, sizeof(path[0]), "%s/bindings-%d-%s", run_dir(), getpid(), name);
	return ret;
}

static void write_world(const struct mmdb_row *rows, size_t n)
{
	cr_assert(mmdb_write(own_file("world.mmdb"), false, rows, n));
}

/* ---- certificates ---- */

/* Keys are made of a letter, so that both runs of the suite see the same. */
static EVP_PKEY *key_of(char letter)
{
	uint8_t seed[32];

	memset(seed, letter, sizeof(seed));
	return EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof(seed));
}

static const char *spki_of(char letter)
{
	static char hex[16][65];
	static unsigned next;
	char *ret = hex[next++ % 16];
	EVP_PKEY *key = key_of(letter);
	unsigned char *der = NULL, sha[32];
	int len = i2d_PUBKEY(key, &der);

	cr_assert_gt(len, 0);
	cr_assert(EVP_Digest(der, (size_t)len, sha, NULL, EVP_sha256(), NULL));
	for (size_t i = 0; i < sizeof(sha); i++)
		snprintf(ret + 2 * i, 3, "%02x", sha[i]);
	OPENSSL_free(der);
	EVP_PKEY_free(key);
	return ret;
}

struct cn {
	const char *text;
	int len; /* 0 = strlen() */
};

static void put_pem(const char *name, const char *suffix, X509 *x, EVP_PKEY *key)
{
	char path[400];
	FILE *f;

	snprintf(path, sizeof(path), "%s%s", own_file(name), suffix);
	f = fopen(path, "we");
	cr_assert(f);
	cr_assert(x ? PEM_write_X509(f, x)
		    : PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
	fclose(f);
}

static void *read_pem(const char *name, bool key)
{
	char path[300];
	FILE *f;
	void *ret;

	snprintf(path, sizeof(path), "%s/%s", run_dir(), name);
	f = fopen(path, "re");
	cr_assert(f);
	ret = key ? (void *)PEM_read_PrivateKey(f, NULL, NULL, NULL)
		  : (void *)PEM_read_X509(f, NULL, NULL, NULL);
	cr_assert(ret);
	fclose(f);
	return ret;
}

/* A certificate of the client CA: O=Example Corp and these common names, in that order. */
static void make_certificate(const char *name, char letter, const struct cn *cns, size_t ncns)
{
	X509 *x = X509_new(), *ca = read_pem("ca.pem", false);
	EVP_PKEY *ca_key = read_pem("ca.key", true), *key = key_of(letter);
	X509_NAME *n = X509_get_subject_name(x);

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 5000 + letter);
	X509_gmtime_adj(X509_getm_notBefore(x), -86400);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(n, "O", MBSTRING_UTF8, (const void *)"Example Corp", -1, -1, 0);
	for (size_t i = 0; i < ncns; i++)
		cr_assert(X509_NAME_add_entry_by_NID(
			n, NID_commonName, V_ASN1_UTF8STRING, (const void *)cns[i].text,
			cns[i].len ? cns[i].len : (int)strlen(cns[i].text), -1, 0));
	X509_set_issuer_name(x, X509_get_subject_name(ca));
	cr_assert(X509_sign(x, ca_key, EVP_sha256()));
	put_pem(name, ".pem", x, NULL);
	put_pem(name, ".key", NULL, key);
	X509_free(x);
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
}

/* Their name for client_options.cert. */
static const char *own_cert(const char *name)
{
	return own_file(name) + strlen(run_dir()) + 1;
}

/* ---- the gateway ---- */

static struct gw *start_with(struct backend *be, const char *rule)
{
	char cookies[400], ca[400], tls2[500], top[500];

	snprintf(cookies, sizeof(cookies), "[ { name: sid, profile: f5-irule, key: shop, %s } ]",
		 rule);
	snprintf(ca, sizeof(ca), "      client-ca: %s/ca.pem\n      client-certificate: optional\n",
		 run_dir());
	snprintf(tls2, sizeof(tls2), "%s    proxy-protocol: accept\n", ca);
	snprintf(top, sizeof(top), "trusted-proxies: [127.0.0.1]\ngeoip: %s\n",
		 own_file("world.mmdb"));
	if (access(own_file("world.mmdb"), F_OK))
		write_world(world, E2E_ARRAY_SIZE(world));
	return gw_start(
		be, &(struct gw_spec){
			    .cookies = cookies, .tls_extra = ca, .tls2_extra = tls2, .top = top});
}

/* How somebody comes, and what he is bound to. */
struct who {
	const char *name;
	const char *cert;   /* "alice", or NULL */
	const char *proxy;  /* a PROXY header */
	const char *from;   /* instead of 127.0.0.1, which is a trusted proxy */
	const char *fields; /* that a proxy adds, as complete lines */
	const char *ip;	    /* as client-ip sees him */
	const char *input;  /* of the binding itself; NULL = he can't give it */
};

static struct client *arrive(struct gw *gw, const struct who *w)
{
	return client_open(&(struct client_options){
		.port = w->proxy ? gw->tls2 : gw->tls,
		.tls = true,
		.sni = "gw.test",
		.cert = w->cert,
		.before = w->proxy,
		.from = w->from,
	});
}

static bool last_has_session(struct backend *be)
{
	struct text cookies = {0};
	bool has;

	head_cookies(backend_last(be)->head, "sid_HMAC", &cookies);
	has = cookies.p && !strcmp(cookies.p, "sid=s1");
	text_free(&cookies);
	return has;
}

/* Does his session pass with a token for `input`? On an open connection. */
static bool passes_on(struct client *c, struct backend *be, const char *fields, const char *input)
{
	char lines[1024];

	snprintf(lines, sizeof(lines), "%sCookie: sid=s1; sid_HMAC=%s\r\n", fields ? fields : "",
		 token_for("s1", input));
	cr_assert_eq(client_get(c, "/", lines)->status, 200);
	return last_has_session(be);
}

/* The binding alone, behind the address, before it. */
enum { ALONE, BEHIND, BEFORE, ORDERS };

static void compose(char *ret, size_t cap, const struct who *w, int order)
{
	snprintf(ret, cap, "%s%s%s", order == BEHIND ? w->ip : "", w->input,
		 order == BEFORE ? w->ip : "");
}

static void expect_login(struct gw *gw, struct backend *be, const struct who *w, const char *input)
{
	struct client *c = arrive(gw, w);
	struct response *r;
	char want[200];

	backend_reply(be, LOGIN);
	r = client_get(c, "/", w->fields ? w->fields : "");
	snprintf(want, sizeof(want), "sid_HMAC=%s; HttpOnly; Secure; Path=/",
		 token_for("s1", input));
	cr_expect_eq(response_count(r, "Set-Cookie"), 2, "%s: not signed", w->name);
	if (response_count(r, "Set-Cookie") == 2)
		cr_expect_str_eq(response_field(r, "Set-Cookie", 1), want, "%s", w->name);
	client_close(c);
}

/* Everybody shows everybody's token, twice, so that the gate knows them all. */
static void expect_apart(struct gw *gw, struct backend *be, const struct who *people, size_t n,
			 int order)
{
	char mine[300], theirs[300];

	for (size_t i = 0; i < 2 * n; i++) {
		const struct who *w = &people[i % n];
		struct client *c = arrive(gw, w);

		compose(mine, sizeof(mine), w, order);
		for (size_t k = 0; k < n; k++) {
			compose(theirs, sizeof(theirs), &people[k], order);
			cr_expect_eq(passes_on(c, be, w->fields, theirs), !strcmp(mine, theirs),
				     "%s with the token of %s", w->name, people[k].name);
		}
		client_close(c);
	}
}

static void expect_bound(const char *bind, const struct who *people, size_t n)
{
	static const char *const rules[ORDERS] = {
		[ALONE] = "bind: [%s]",
		[BEHIND] = "bind: [client-ip, %s]",
		[BEFORE] = "bind: [%s, client-ip]",
	};

	for (int order = ALONE; order < ORDERS; order++) {
		struct backend *be = backend_start(NULL);
		char rule[200], input[300];
		struct gw *gw;

		snprintf(rule, sizeof(rule), rules[order], bind);
		gw = start_with(be, rule);
		expect_apart(gw, be, people, n, order);
		for (size_t i = 0; i < n; i++) {
			compose(input, sizeof(input), &people[i], order);
			expect_login(gw, be, &people[i], input);
		}
		gw_stop(gw);
		backend_stop(be);
	}
}

/* Who can't give the binding loses what he has and gets nothing; or is sent away. */
static void expect_unbound(const char *bind, const struct who *people, size_t n, const char *input)
{
	for (int reject = 0; reject < 2; reject++) {
		struct backend *be = backend_start(NULL);
		char rule[200];
		struct gw *gw;

		snprintf(rule, sizeof(rule), "bind: [%s], on-empty: %s", bind,
			 reject ? "reject" : "strip");
		gw = start_with(be, rule);
		for (size_t i = 0; i < n; i++) {
			struct client *c = arrive(gw, &people[i]);
			const char *fields = people[i].fields ? people[i].fields : "";
			int before = backend_count(be);

			backend_reply(be, LOGIN);
			if (reject) {
				cr_expect_eq(client_get(c, "/", fields)->status, 403, "%s",
					     people[i].name);
				cr_expect_eq(backend_count(be), before, "%s", people[i].name);
			} else {
				cr_expect_not(passes_on(c, be, fields, input), "%s",
					      people[i].name);
				cr_expect_not(passes_on(c, be, fields, ""), "%s", people[i].name);
				cr_expect_eq(
					response_count(client_get(c, "/", fields), "Set-Cookie"), 1,
					"%s: signed", people[i].name);
			}
			client_close(c);
		}
		gw_stop(gw);
		backend_stop(be);
	}
}

/* ---- geoip-country ---- */

#define XFF(address) "X-Forwarded-For: " address "\r\n"

Test(bindings, country)
{
	static const struct who people[] = {
		{"a German", .fields = XFF("192.0.2.10"), .ip = "192.0.2.10", .input = "DE"},
		{"another German", .fields = XFF("192.0.2.200"), .ip = "192.0.2.200",
		 .input = "DE"},
		{"one with IPv6", .fields = XFF("2001:db8::7"), .ip = "2001:db8::7", .input = "DE"},
		{"one in IPv6's clothes", .fields = XFF("::ffff:192.0.2.10"), .ip = "192.0.2.10",
		 .input = "DE"},
		{"one behind an L4 proxy", .proxy = PROXY, .ip = "192.0.2.10", .input = "DE"},
		{"a Frenchwoman", .fields = XFF("198.51.100.1"), .ip = "198.51.100.1",
		 .input = "FR"},
	};

	e2e_need_gate();
	expect_bound("geoip-country", people, E2E_ARRAY_SIZE(people));
}

Test(bindings, country_unknown)
{
	static const struct who people[] = {
		{"not in the database", .fields = XFF("192.0.3.1")},
		{"only registered in a country", .fields = XFF("203.0.113.1")},
		{"IPv6 that is not there", .fields = XFF("2001:db9::1")},
		{"loopback", .from = "127.0.0.9"},
	};

	e2e_need_gate();
	expect_unbound("geoip-country", people, E2E_ARRAY_SIZE(people), "DE");
	expect_unbound("client-ip, geoip-country", people, 1, "192.0.3.1");
}

/* One connection of a proxy, its clients in turns. */
Test(bindings, country_changes_on_a_connection)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start_with(be, "bind: [geoip-country]");
	struct client *c = client_tls(gw);

	for (int i = 0; i < 3; i++) {
		cr_expect(passes_on(c, be, XFF("192.0.2.1"), "DE"));
		cr_expect_not(passes_on(c, be, XFF("198.51.100.1"), "DE"));
		cr_expect(passes_on(c, be, XFF("198.51.100.1"), "FR"));
		cr_expect_not(passes_on(c, be, XFF("192.0.3.1"), "FR"));
		cr_expect(passes_on(c, be, XFF("192.0.2.9"), "DE"));
	}
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* A new database comes with a reload, not before; one that is none changes nothing. */
Test(bindings, country_database_is_read_by_a_reload)
{
	static const struct mmdb_row moved[] = {{"192.0.2.0/24", "AT", NULL}};
	struct text out = {0};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start_with(be, "bind: [geoip-country]");
	struct client *c = client_tls(gw);
	FILE *f;

	cr_expect(passes_on(c, be, XFF("192.0.2.1"), "DE"));
	write_world(moved, E2E_ARRAY_SIZE(moved));
	cr_expect(passes_on(c, be, XFF("192.0.2.2"), "DE"));
	cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	cr_expect_not(passes_on(c, be, XFF("192.0.2.2"), "DE"));
	cr_expect(passes_on(c, be, XFF("192.0.2.2"), "AT"));
	f = fopen(own_file("world.mmdb"), "we");
	fputs("no database", f);
	fclose(f);
	text_clear(&out);
	cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 1);
	cr_expect(text_has(out.p, out.len, "geoip"), "%s", out.p);
	cr_expect(passes_on(c, be, XFF("192.0.2.3"), "AT"));
	text_free(&out);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* --check says where and why. */
Test(bindings, country_database_is_checked)
{
	static const struct mmdb_row numbers[] = {{"192.0.2.0/24", NULL, NULL}};
	const char *argv[] = {run_daemon(), "--check", "-c", NULL, NULL};
	struct text out = {0};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start_with(be, "bind: [geoip-country]");

	argv[3] = gw->config;
	cr_expect_eq(run_command(&out, argv), 0, "%s", out.p);
	write_world(numbers, 1);
	text_clear(&out);
	cr_expect_eq(run_command(&out, argv), 2);
	cr_expect(text_has(out.p, out.len, "no record of it has a country"), "%s", out.p);
	cr_expect(text_has(out.p, out.len, ":8: geoip "), "no place: %s", out.p);
	unlink(own_file("world.mmdb"));
	text_clear(&out);
	cr_expect_eq(run_command(&out, argv), 2);
	cr_expect(text_has(out.p, out.len, "No such file"), "%s", out.p);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- certificates ---- */

static const struct cn alice[] = {{"Alice Example", 0}};

Test(bindings, certificate_key)
{
	e2e_need_gate();
	make_certificate("one", 'a', alice, 1);
	make_certificate("renewed", 'a', alice, 1);
	make_certificate("two", 'b', alice, 1);
	const struct who people[] = {
		{"her key", .cert = own_cert("one"), .ip = "127.0.0.1", .input = spki_of('a')},
		{"a new certificate for it", .cert = own_cert("renewed"), .ip = "127.0.0.1",
		 .input = spki_of('a')},
		{"the same name, another key", .cert = own_cert("two"), .ip = "127.0.0.1",
		 .input = spki_of('b')},
	};
	const struct who nobody = {.name = "no certificate"};

	expect_bound("x509-spki", people, E2E_ARRAY_SIZE(people));
	expect_unbound("x509-spki", &nobody, 1, spki_of('a'));
}

/* The two of one key above have one subject, but so has the other key's. */
Test(bindings, certificate_subject)
{
	e2e_need_gate();
	make_certificate("one", 'a', alice, 1);
	make_certificate("two", 'b', alice, 1);
	const struct who people[] = {
		{"one key", .cert = own_cert("one"), .ip = "127.0.0.1",
		 .input = "CN=Alice Example,O=Example Corp"},
		{"another", .cert = own_cert("two"), .ip = "127.0.0.1",
		 .input = "CN=Alice Example,O=Example Corp"},
		{"Bob", .cert = "bob", .ip = "127.0.0.1", .input = E2E_BOB},
	};

	expect_bound("x509-subject", people, E2E_ARRAY_SIZE(people));
}

static SSL_SESSION *session_of(struct gw *gw, const char *cert, int version)
{
	struct client *c = client_open(&(struct client_options){
		.port = gw->tls, .tls = true, .sni = "gw.test", .cert = cert, .version = version});
	SSL_SESSION *ret;

	client_get(c, "/", ""); /* tickets of TLS 1.3 come behind the handshake */
	ret = SSL_get1_session(c->ssl);
	SSL_shutdown(c->ssl); /* else it can't be resumed */
	client_close(c);
	return ret;
}

/* A resumed connection shows no certificate, and has it all the same. */
Test(bindings, certificate_key_of_a_resumed_connection)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	e2e_need_gate();
	make_certificate("one", 'a', alice, 1);
	struct backend *be = backend_start(NULL);
	struct gw *gw = start_with(be, "bind: [x509-spki, user]");

	for (size_t i = 0; i < E2E_ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = session_of(gw, own_cert("one"), versions[i]);
		struct client *c = client_open(&(struct client_options){.port = gw->tls,
									.tls = true,
									.sni = "gw.test",
									.version = versions[i],
									.session = session});
		char input[100];

		snprintf(input, sizeof(input), "%sAlice Example", spki_of('a'));
		cr_expect(SSL_session_reused(c->ssl));
		cr_expect(passes_on(c, be, "", input));
		client_close(c);
		SSL_SESSION_free(session);
	}
	gw_stop(gw);
	backend_stop(be);
}

/* ---- user ---- */

#define XFU(user) "X-Forwarded-User: " user "\r\n"

Test(bindings, user_of_the_certificate)
{
	static const struct cn bob[] = {{"Bob", 0}}, in_a_directory[] = {{"Users", 0}, {"Bob", 0}};
	static const struct cn the_other_way[] = {{"Bob", 0}, {"Users", 0}};

	e2e_need_gate();
	make_certificate("bob", 'b', bob, 1);
	make_certificate("again", 'c', in_a_directory, 2);
	make_certificate("users", 'b', the_other_way, 2);
	const struct who people[] = {
		{"Bob", .cert = own_cert("bob"), .ip = "127.0.0.1", .input = "Bob"},
		{"Bob with another key and two names", .cert = own_cert("again"), .ip = "127.0.0.1",
		 .input = "Bob"},
		{"Bob by his proxy's word", .fields = XFU("Bob"), .ip = "127.0.0.1",
		 .input = "Bob"},
		{"the same names the other way round", .cert = own_cert("users"), .ip = "127.0.0.1",
		 .input = "Users"},
	};

	expect_bound("user", people, E2E_ARRAY_SIZE(people));
}

Test(bindings, user_by_a_trusted_proxy)
{
	static const struct who people[] = {
		{"alice", .fields = XFU("alice"), .ip = "127.0.0.1", .input = "alice"},
		{"alice at home", .fields = XFU("alice") XFF("192.0.2.1"), .ip = "192.0.2.1",
		 .input = "alice"},
		{"Alice", .fields = XFU("Alice"), .ip = "127.0.0.1", .input = "Alice"},
		{"bob", .fields = XFU("bob") XFF("192.0.2.1"), .ip = "192.0.2.1", .input = "bob"},
	};

	e2e_need_gate();
	expect_bound("user", people, E2E_ARRAY_SIZE(people));
}

Test(bindings, user_unknown)
{
	static char longest[300], too_long[400];
	static const struct cn with_nul[] = {{"alice\0.evil", 11}}, none[] = {{"", 0}};
	struct cn of_257 = {longest, 257};

	e2e_need_gate();
	memset(longest, 'x', 257);
	snprintf(too_long, sizeof(too_long), "X-Forwarded-User: %s\r\n", longest);
	make_certificate("nul", 'a', with_nul, 1);
	make_certificate("long", 'b', &of_257, 1);
	make_certificate("empty", 'c', none, 0);
	const struct who people[] = {
		{.name = "neither certificate nor proxy"},
		{"a NUL in it", .cert = own_cert("nul")},
		{"too long", .cert = own_cert("long")},
		{"no common name", .cert = own_cert("empty")},
		{"too long a field", .fields = too_long},
		{"an empty field", .fields = XFU("")},
		{"two fields", .fields = XFU("alice") XFU("alice")},
		{"a proxy with a certificate of its own", .cert = "alice",
		 .fields = XFF("192.0.2.1")},
		{"the same, of a user who is not logged in", .cert = "alice", .fields = XFU("")},
		{"a field of one who is no proxy", .from = "127.0.0.9", .fields = XFU("alice")},
		{"likewise, by its twin", .from = "127.0.0.9",
		 .fields = "X_Forwarded_User: alice\r\n"},
		{"a proxy's twin", .fields = "X_Forwarded_User: alice\r\n"},
	};

	expect_unbound("user", people, E2E_ARRAY_SIZE(people), "alice");
}

Test(bindings, user_changes_on_a_connection)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start_with(be, "bind: [user]");
	struct client *c = client_tls(gw);

	for (int i = 0; i < 3; i++) {
		cr_expect(passes_on(c, be, XFU("alice"), "alice"));
		cr_expect_not(passes_on(c, be, XFU("bob"), "alice"));
		cr_expect(passes_on(c, be, XFU("bob"), "bob"));
		cr_expect_not(passes_on(c, be, "", "bob"));
		cr_expect(passes_on(c, be, XFU("alice"), "alice"));
	}
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* The backend hears of users from trusted proxies, and nobody else can tell it anything. */
Test(bindings, user_towards_the_backend)
{
	static const struct {
		const char *name, *from, *fields, *user;
	} rows[] = {
		{"a proxy's", "127.0.0.1", XFU("alice"), "alice"},
		{"in any case", "127.0.0.1", "x-FORWARDED-user: alice\r\n", "alice"},
		{"two of a proxy", "127.0.0.1", XFU("alice") XFU("bob"), NULL},
		{"and its twin", "127.0.0.1", XFU("alice") "X_Forwarded-User: bob\r\n", "alice"},
		{"somebody's", "127.0.0.9", XFU("alice"), NULL},
		{"somebody's twin", "127.0.0.9", "X_FORWARDED_USER: alice\r\n", NULL},
		{"no field", "127.0.0.1", "", NULL},
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start_with(be, "bind: [user]");

	for (size_t i = 0; i < E2E_ARRAY_SIZE(rows); i++) {
		const char *got;
		struct breq *r;

		cr_expect_eq(client_once(gw, rows[i].from, rows[i].fields), 200, "%s",
			     rows[i].name);
		r = backend_last(be);
		got = head_field(r->head, "X-Forwarded-User", 0);
		cr_expect_eq(head_count(r->head, "X-Forwarded-User"), !!rows[i].user, "%s",
			     rows[i].name);
		cr_expect_str_eq(got ? got : "", rows[i].user ? rows[i].user : "", "%s",
				 rows[i].name);
		cr_expect_not(text_has(r->head, r->head_len, "bob"), "%s", rows[i].name);
		cr_expect_not(text_has(r->head, r->head_len, "X_"), "%s", rows[i].name);
	}
	gw_stop(gw);
	backend_stop(be);
}

/* ---- tls-exporter ---- */

/* In hex, as this end of the connection knows it. */
static const char *exporter_of(struct client *c)
{
	static char hex[65];
	uint8_t bytes[32];

	cr_assert_eq(SSL_export_keying_material(c->ssl, bytes, sizeof(bytes),
						"EXPORTER-Channel-Binding", 24,
						(const unsigned char *)"", 0, 1),
		     1);
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	return hex;
}

static void expect_exporter(struct gw *gw, struct backend *be, int version, const char *before,
			    const char *after)
{
	struct client_options o = {
		.port = gw->tls, .tls = true, .sni = "gw.test", .version = version};
	struct client *c = client_open(&o);
	char input[200], elsewhere[200];

	snprintf(input, sizeof(input), "%s%s%s", before, exporter_of(c), after);
	for (int i = 0; i < 3; i++)
		cr_expect(passes_on(c, be, "", input));
	cr_expect_not(passes_on(c, be, "", before));
	/* by the word of a proxy, which has one connection for all of its clients */
	cr_expect_not(passes_on(c, be, XFF("127.0.0.1"), input));
	cr_expect(passes_on(c, be, "", input));
	o.session = SSL_get1_session(c->ssl);
	SSL_shutdown(c->ssl);
	client_close(c);
	c = client_open(&o);
	cr_expect(SSL_session_reused(c->ssl));
	cr_expect_not(passes_on(c, be, "", input), "on a resumed connection");
	snprintf(elsewhere, sizeof(elsewhere), "%s%s%s", before, exporter_of(c), after);
	cr_expect(passes_on(c, be, "", elsewhere));
	client_close(c);
	SSL_SESSION_free(o.session);
	o.session = NULL;
	c = client_open(&o);
	cr_expect_not(passes_on(c, be, "", input), "on another connection");
	client_close(c);
}

Test(bindings, exporter)
{
	static const char *const rules[ORDERS] = {
		[ALONE] = "bind: [tls-exporter]",
		[BEHIND] = "bind: [client-ip, tls-exporter]",
		[BEFORE] = "bind: [tls-exporter, client-ip]",
	};

	e2e_need_gate();
	for (int order = ALONE; order < ORDERS; order++) {
		struct backend *be = backend_start(NULL);
		struct gw *gw = start_with(be, rules[order]);
		const char *before = order == BEHIND ? "127.0.0.1" : "";
		const char *after = order == BEFORE ? "127.0.0.1" : "";

		expect_exporter(gw, be, TLS1_3_VERSION, before, after);
		expect_exporter(gw, be, TLS1_2_VERSION, before, after);
		be->no_record = true; /* no two connections have the same tokens */
		gw_stop(gw);
		backend_stop(be);
	}
}

/* Plain HTTP, and TLS 1.2 whose master secret isn't bound to its handshake (RFC 7627). */
Test(bindings, exporter_that_is_none)
{
	const char *const rules[] = {"bind: [tls-exporter]",
				     "bind: [tls-exporter], on-empty: reject"};

	e2e_need_gate();
	for (int reject = 0; reject < 2; reject++) {
		struct backend *be = backend_start(NULL);
		struct gw *gw = start_with(be, rules[reject]);
		struct client *plain = client_plain(gw);
		struct client *old = client_open(
			&(struct client_options){.port = gw->tls,
						 .tls = true,
						 .sni = "gw.test",
						 .version = TLS1_2_VERSION,
						 .ssl_options = SSL_OP_NO_EXTENDED_MASTER_SECRET});

		cr_expect_eq(SSL_get_extms_support(old->ssl), 0);
		if (reject) {
			cr_expect_eq(client_get(plain, "/", "")->status, 403);
			cr_expect_eq(client_get(old, "/", "")->status, 403);
			cr_expect_eq(backend_count(be), 0);
		} else {
			cr_expect_not(passes_on(plain, be, "", ""));
			cr_expect_not(passes_on(old, be, "", exporter_of(old)));
			cr_expect_not(passes_on(old, be, "", ""));
		}
		client_close(plain);
		client_close(old);
		be->no_record = true;
		gw_stop(gw);
		backend_stop(be);
	}
}

Test(bindings, exporter_is_warned_of_once)
{
	struct text log = {0};
	char *at;

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start_with(be, "bind: [client-ip, tls-exporter]");

	log.p = text_file(gw->stderr_path, &log.len);
	at = strstr(log.p, "tls-exporter");
	cr_assert(at, "no warning");
	cr_expect(strstr(at, "one connection"));
	cr_expect_not(strstr(at + strcspn(at, "\n"), "tls-exporter"), "twice");
	free(log.p);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- behind a proxy that ends TLS ---- */

/* The certificate that we see is the proxy's: no client of it is bound to that. */
Test(bindings, certificate_of_a_proxy_is_nobodys)
{
	static const struct who people[] = {
		{"X-Forwarded-For", .cert = "alice", .fields = XFF("192.0.2.1")},
		{"naming the proxy itself", .cert = "alice", .fields = XFF("127.0.0.1")},
		{"Forwarded", .cert = "alice", .fields = "Forwarded: for=192.0.2.1\r\n"},
		{"a user", .cert = "alice", .fields = XFU("alice")},
	};

	e2e_need_gate();
	expect_unbound("x509-subject", people, E2E_ARRAY_SIZE(people), E2E_ALICE);
	expect_unbound("x509-spki", people, E2E_ARRAY_SIZE(people), "");
	expect_unbound("tls-exporter", people, E2E_ARRAY_SIZE(people), "");
}

/* ---- all of them ---- */

Test(bindings, six_at_once)
{
	static const struct cn cn[] = {{"bob", 0}};

	e2e_need_gate();
	make_certificate("bob", 'b', cn, 1);
	struct backend *be = backend_start(NULL);
	struct gw *gw = start_with(be, "bind: [user, x509-spki, client-ip/24, tls-exporter, "
				       "x509-subject, geoip-country]");
	struct client *c = client_open(&(struct client_options){.port = gw->tls2,
								.tls = true,
								.sni = "gw.test",
								.cert = own_cert("bob"),
								.before = PROXY});
	const char *exporter = exporter_of(c), *subject = "CN=bob,O=Example Corp";
	char input[400], order[400], five[400];

	snprintf(input, sizeof(input), "bob%s192.0.2.0%s%sDE", spki_of('b'), exporter, subject);
	snprintf(order, sizeof(order), "%sbob192.0.2.0%s%sDE", spki_of('b'), exporter, subject);
	snprintf(five, sizeof(five), "bob%s192.0.2.0%s%s", spki_of('b'), exporter, subject);
	cr_expect(passes_on(c, be, "", input));
	cr_expect_not(passes_on(c, be, "", order));
	cr_expect_not(passes_on(c, be, "", five));
	cr_expect(passes_on(c, be, "", input));
	client_close(c);
	be->no_record = true;
	gw_stop(gw);
	backend_stop(be);
}
