/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Profile secure-cookie through the whole gateway: the browser only ever holds ciphertext, the backend
 * only plaintext, whoever opens it. Sealed values are made and opened here (seal.h).
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "seal.h"
#include "tables.h"

TestSuite(sealed, .timeout = E2E_TIMEOUT);

#define RULE(more) "[ { name: sid, profile: secure-cookie, key: shop" more " } ]"
#define BY_IP RULE(", bind: [client-ip]")
#define BY_CERT RULE(", bind: [x509-spki]")
#define VALUE_MAX SEAL_MAX

/* ---- to and fro ---- */

static struct gw *start_certs(struct backend *be, const char *cookies)
{
	char ca[400];

	snprintf(ca, sizeof(ca), "      client-ca: %s/ca.pem\n      client-certificate: optional\n",
		 run_dir());
	return gw_start(be, &(struct gw_spec){.cookies = cookies, .tls_extra = ca});
}

static struct client *client_as(struct gw *gw, const char *cert)
{
	return client_open(&(struct client_options){.port = gw->tls, .tls = true, .cert = cert});
}

/* ---- sealed out, opened in ---- */

Test(sealed, the_browser_holds_ciphertext_and_the_backend_plaintext)
{
	static const char *const fields[] = {
		"sid=s.1",
		"sid=s.1; Path=/app; Domain=gw.test; Secure; HttpOnly; SameSite=None; Partitioned",
		"sid=\"quoted, = and so on\"; Path=/",
		"sid=s.1; Max-Age=600; Priority=High",
		"sid=s.1; Expires=Fri, 01 Jan 2038 00:00:00 GMT",
	};

	e2e_need_gate();
	struct backend *be = seal_backend();
	struct gw *gw = seal_gw(be, BY_IP);
	struct client *c = client_plain(gw);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(fields); i++) {
		const char *plain = seal_value_in(fields[i] + 4),
			   *line = seal_login(c, be, fields[i]);
		struct seal who = {.name = "sid", .ip = SEAL_IP};
		char opened[SEAL_MAX], want[VALUE_MAX + 20];

		cr_expect_eq(response_count(&c->r, "Set-Cookie"), 1, "%s", c->r.head);
		cr_expect_null(strstr(c->r.head, plain), "the browser sees it:\n%s", c->r.head);
		cr_assert(seal_open(&who, seal_value_in(line), opened), "%s", line);
		cr_expect_str_eq(opened, plain);
		cr_expect_str_eq(line + strcspn(line, ";"), fields[i] + strcspn(fields[i], ";"));
		if (i != 4)
			cr_expect_eq(who.expires - who.issued, i == 3 ? 600 : 86400);
		cr_expect(strcasestr(response_field(&c->r, "Cache-Control", 0) ?: "", "private"));
		snprintf(want, sizeof(want), "a=1; sid=%s; b=2", plain);
		for (int k = 0; k < 3; k++)
			cr_expect_str_eq(seal_come_sid(c, be, seal_value_in(line)), want, "%s",
					 seal_seen(be));
	}
	cr_expect(e2e_wait(gw_hits(gw) == 15), "%g: the first request is no hit", gw_hits(gw));
	if (run_gate_on())
		cr_expect_eq(kernel_count(gw, "hit"), 15, "%g", kernel_count(gw, "hit"));
	cr_expect_eq(
		gw_metric(gw, "hardtack_cookies_signed_total", "profile=\"secure-cookie\"", NULL),
		5);
	cr_expect_not(gw_logged(gw, "s.1"), "a value is in the log");
	client_close(c);
	seal_stop(gw, be);
}

Test(sealed, a_deletion_passes_as_it_is)
{
	static const char *const fields[] = {"sid=; Max-Age=0; Path=/", "sid="};

	e2e_need_gate();
	struct backend *be = seal_backend();
	struct gw *gw = seal_gw(be, BY_IP);
	struct client *c = client_plain(gw);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(fields); i++)
		cr_expect_str_eq(seal_login(c, be, fields[i]), fields[i] + 4);
	/* and one with a value is no reason to show it */
	cr_expect_null(strstr(seal_login(c, be, "sid=s.1; Max-Age=0"), "s.1"));
	cr_expect(strstr(c->r.head, "; Max-Age=0"), "%s", c->r.head);
	client_close(c);
	seal_stop(gw, be);
}

static void fill(char *p, size_t len, char with)
{
	memset(p, with, len);
	p[len] = '\0';
}

Test(sealed, lengths)
{
	static const size_t lens[] = {1, 7, 8, 9, 1023, 1024, 1025, 2900};
	static char field[8192], want[8192], plain[8192];

	e2e_need_gate();
	struct backend *be = seal_backend();
	struct gw *gw = seal_gw(be, BY_IP);
	struct client *c = client_plain(gw);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(lens); i++) {
		char value[SEAL_MAX + 1];

		fill(plain, lens[i], 'A' + (char)i);
		snprintf(field, sizeof(field), "sid=%s; Path=/", plain);
		snprintf(value, sizeof(value), "%s", seal_value_in(seal_login(c, be, field)));
		snprintf(want, sizeof(want), "a=1; sid=%s; b=2", plain);
		for (int k = 0; k < 2; k++)
			cr_expect_str_eq(seal_come_sid(c, be, value), want, "%zu: %s", lens[i],
					 seal_seen(be));
		/* that it has just passed in plain is nobody's leave to send it so */
		cr_expect_str_eq(seal_come_sid(c, be, plain), "a=1; b=2", "%zu", lens[i]);
	}
	if (run_gate_on()) /* what is longer the daemon opens, and the kernel passes it */
		cr_expect(e2e_wait(kernel_count(gw, "hit") == 12), "%g", kernel_count(gw, "hit"));
	cr_expect_eq(gw_passed(gw), 16, "%g", gw_passed(gw));
	/* no browser would take it: better not at all than in plain */
	fill(plain, 3100, 'x');
	snprintf(field, sizeof(field), "sid=%s; Path=/", plain);
	cr_expect_str_empty(seal_login(c, be, field));
	cr_expect_eq(response_count(&c->r, "Set-Cookie"), 0, "%s", c->r.head);
	cr_expect(gw_logged(gw, "plaintext=3100 limit=4096"));
	cr_expect_eq(gw_metric(gw, "hardtack_cookies_unsigned_total", "reason=\"too-long\"", NULL),
		     1);
	client_close(c);
	seal_stop(gw, be);
}

/* A response full of them grows by a third, and still fits; the request that comes back is long, too. */
Test(sealed, a_response_full_of_them)
{
	struct text reply = {0}, sent = {0}, want = {0};
	char plain[2701];

	e2e_need_gate();
	struct backend *be = seal_backend();
	struct gw *gw = seal_gw(be, "[ { only: [\"c*\"], profile: secure-cookie, key: shop, bind: "
				    "[client-ip] } ]");
	struct client *c = client_plain(gw);

	text_addf(&reply, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n");
	for (int i = 0; i < 12; i++) {
		fill(plain, 2700, 'a' + (char)i);
		text_addf(&reply, "Set-Cookie: c%d=%s; Path=/\r\n", i, plain);
	}
	text_addf(&reply, "\r\n%05000d", 0);
	backend_reply(be, reply.p);
	cr_assert_eq(client_get(c, "/", "")->status, 200, "%s", c->r.head);
	backend_reply(be, NULL);
	cr_expect_eq(c->r.body_len, 5000);
	cr_expect_eq(response_count(&c->r, "Set-Cookie"), 12);
	for (int i = 0; i < 12; i++) {
		struct seal who = {.ip = SEAL_IP};
		char name[8], opened[SEAL_MAX];
		const char *value;

		snprintf(name, sizeof(name), "c%d", i);
		who.name = name;
		value = seal_value_in(seal_set_by(&c->r, name, 0));
		fill(plain, 2700, 'a' + (char)i);
		cr_assert(seal_open(&who, value, opened), "%d", i);
		cr_expect_str_eq(opened, plain);
		if (i % 3)
			continue;
		text_addf(&sent, "%s%s=%s", i ? "; " : "", name, value);
		text_addf(&want, "%s%s=%s", i ? "; " : "", name, plain);
	}
	for (int i = 0; i < 2; i++)
		cr_expect_str_eq(seal_come(c, be, sent.p), want.p);
	text_free(&reply);
	text_free(&sent);
	text_free(&want);
	client_close(c);
	seal_stop(gw, be);
}

/* ---- what must not pass ---- */

/* Fixed values and times: both runs of the suite see the same bytes. */
Test(sealed, requests)
{
	const struct seal good = {.name = "sid",
				  .value = "s.1",
				  .ip = SEAL_IP,
				  .issued = SIGN_FIRST,
				  .expires = SEAL_LAST};
	struct seal old = good, early = good, named = good, moved = good, keyed = good, twin = good,
		    user = good, unbound = good;
	static char wrong[12][SEAL_MAX + 200], line[20000];
	const char *sealed = seal_make(&good);
	size_t n = 0;

	old.expires = SIGN_FIRST + 1;
	early.issued = SIGN_FIRST + 100; /* newer, of the same session */
	named.name = "sie";
	moved.ip = "127.0.0.9";
	keyed.key = "another key altogether";
	twin.value = "s2";
	user.user = "alice";
	unbound.ip = NULL;
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = seal_gw(be, RULE(", bind: [client-ip], expire-stripped: true"));
	struct client *c = client_plain(gw);

	snprintf(wrong[n++], sizeof(wrong[0]), "s.1");
	snprintf(wrong[n++], sizeof(wrong[0]), "%s", seal_make(&old));
	snprintf(wrong[n++], sizeof(wrong[0]), "%s", seal_make(&named));
	snprintf(wrong[n++], sizeof(wrong[0]), "%s", seal_make(&moved));
	snprintf(wrong[n++], sizeof(wrong[0]), "%s", seal_make(&keyed));
	snprintf(wrong[n++], sizeof(wrong[0]), "%s", seal_make(&user));
	snprintf(wrong[n++], sizeof(wrong[0]), "%s", seal_make(&unbound));
	snprintf(wrong[n++], sizeof(wrong[0]), "%sA", sealed);
	snprintf(wrong[n++], sizeof(wrong[0]), "%.*s", (int)strlen(sealed) - 1, sealed);
	snprintf(wrong[n++], sizeof(wrong[0]), "%s=", sealed);
	snprintf(wrong[n++], sizeof(wrong[0]), "%s; sid=%s", sealed, seal_make(&twin));
	for (size_t i = 0; i < 2 * n; i++) {
		cr_expect_str_eq(seal_come_sid(c, be, wrong[i % n]), "a=1; b=2", "%zu: %s", i % n,
				 seal_seen(be));
		cr_expect(strstr(seal_set_by(&c->r, "sid", 0), "Max-Age=0"), "%zu: %s", i % n,
			  c->r.head);
	}
	for (int i = 0; i < 3; i++) {
		cr_expect_str_eq(seal_come_sid(c, be, sealed), "a=1; sid=s.1; b=2");
		snprintf(line, sizeof(line), "%s; sid=s.1; sid=%s", sealed, sealed);
		cr_expect_str_eq(seal_come_sid(c, be, line), "a=1; sid=s.1; b=2", "%s",
				 seal_seen(be));
		snprintf(line, sizeof(line), "%s; sid=%s", sealed, seal_make(&early));
		cr_expect_str_eq(seal_come_sid(c, be, line), "a=1; sid=s.1; b=2", "%s",
				 seal_seen(be));
	}
	/* of a key that nobody has it is as good as expired */
	cr_expect_eq(gw_verdicts(gw, "expired", "strip"), 4, "%g",
		     gw_verdicts(gw, "expired", "strip"));
	cr_expect_eq(gw_verdicts(gw, "missing", "strip"), 2);
	cr_expect_eq(gw_verdicts(gw, "duplicate", "strip"), 2);
	/* every character of it: one changed, and it is nothing */
	for (size_t i = 0; i < strlen(sealed); i += run_small() ? 7 : 1) {
		snprintf(line, sizeof(line), "%s", sealed);
		line[i] = line[i] == 'A' ? 'B' : 'A';
		cr_expect_str_eq(seal_come_sid(c, be, line), "a=1; b=2", "%zu: %s", i,
				 seal_seen(be));
	}
	client_close(c);
	seal_stop(gw, be);
}

Test(sealed, two_cookies_can_not_change_places)
{
	const struct seal a = {.name = "sa",
			       .value = "one",
			       .ip = SEAL_IP,
			       .issued = SIGN_FIRST,
			       .expires = SEAL_LAST},
			  b = {.name = "sb",
			       .value = "two",
			       .ip = SEAL_IP,
			       .issued = SIGN_FIRST,
			       .expires = SEAL_LAST};
	char text[2 * SEAL_MAX];

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = seal_gw(be, "[ { only: [\"s*\"], profile: secure-cookie, key: shop, "
				    "bind: [client-ip] } ]");
	struct client *c = client_plain(gw);

	for (int i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "sa=%s; sb=%s", seal_make(&a), seal_make(&b));
		cr_expect_str_eq(seal_come(c, be, text), "sa=one; sb=two");
		snprintf(text, sizeof(text), "sb=%s; x=1; sa=%s", seal_make(&b), seal_make(&a));
		cr_expect_str_eq(seal_come(c, be, text), "sb=two; x=1; sa=one");
		snprintf(text, sizeof(text), "x=1; sa=%s; sb=%s", seal_make(&b), seal_make(&a));
		cr_expect_str_eq(seal_come(c, be, text), "x=1");
	}
	client_close(c);
	seal_stop(gw, be);
}

/* Bound to the client's key: who copies the cookie has nothing. And to his name, which it carries. */
Test(sealed, bound_to_a_certificate)
{
	static const char *const rules[] = {BY_CERT, RULE(", bind: [x509-spki, user]")};

	e2e_need_gate();
	for (size_t i = 0; i < E2E_ARRAY_SIZE(rules); i++) {
		struct backend *be = seal_backend();
		struct gw *gw = start_certs(be, rules[i]);
		struct client *alice = client_as(gw, "alice"), *bob = client_as(gw, "bob"),
			      *nobody = client_as(gw, NULL);
		struct seal who = {.name = "sid",
				   .spki = seal_spki("alice"),
				   .user = i ? "Alice Example" : NULL};
		char value[SEAL_MAX + 1], opened[SEAL_MAX];

		snprintf(value, sizeof(value), "%s",
			 seal_value_in(seal_login(alice, be, "sid=hers")));
		cr_assert(seal_open(&who, value, opened), "%s", value);
		cr_expect_str_eq(opened, "hers");
		for (int k = 0; k < 2; k++) {
			struct client *again = client_as(gw, "alice");

			cr_expect_str_eq(seal_come_sid(alice, be, value), "a=1; sid=hers; b=2");
			cr_expect_str_eq(seal_come_sid(again, be, value), "a=1; sid=hers; b=2");
			cr_expect_str_eq(seal_come_sid(bob, be, value), "a=1; b=2");
			cr_expect_str_eq(seal_come_sid(nobody, be, value), "a=1; b=2");
			cr_expect_str_eq(seal_come_sid(alice, be, "hers"), "a=1; b=2");
			client_close(again);
		}
		/* whom it can't be sealed for does not get it in plain */
		cr_expect_str_empty(seal_login(nobody, be, "sid=secret"));
		cr_expect_null(strstr(nobody->r.head, "secret"), "%s", nobody->r.head);
		cr_expect(gw_verdicts(gw, "unbound", "strip") == 2);
		cr_expect_eq(gw_metric(gw, "hardtack_cookies_unsigned_total", "reason=\"unbound\"",
				       NULL),
			     1);
		client_close(alice);
		client_close(bob);
		client_close(nobody);
		seal_stop(gw, be);
	}
}

/* It lives for one connection: what it is good for, and its caveat. */
Test(sealed, bound_to_a_connection)
{
	e2e_need_gate();
	struct backend *be = seal_backend();
	struct gw *gw = seal_gw(be, RULE(", bind: [tls-exporter]"));
	struct client *c = client_tls(gw), *other = client_tls(gw);
	char value[SEAL_MAX + 1];

	snprintf(value, sizeof(value), "%s", seal_value_in(seal_login(c, be, "sid=s.1")));
	for (int i = 0; i < 2; i++) {
		cr_expect_str_eq(seal_come_sid(c, be, value), "a=1; sid=s.1; b=2");
		cr_expect_str_eq(seal_come_sid(other, be, value), "a=1; b=2");
	}
	cr_expect(gw_logged(gw, "tls-exporter lives for one connection"));
	client_close(c);
	client_close(other);
	seal_stop(gw, be);
}

/* ---- any order, any length ---- */

#define COOKIES 24
#define PLAIN_MAX 1100

struct jar {
	uint64_t seed;
	struct {
		char name[8], plain[PLAIN_MAX + 1], wire[2 * PLAIN_MAX + 400];
		bool sealed, set;
	} cookie[COOKIES];
};

static uint32_t roll(struct jar *j, uint32_t n)
{
	j->seed ^= j->seed << 13;
	j->seed ^= j->seed >> 7;
	j->seed ^= j->seed << 17;
	return (uint32_t)(j->seed >> 20) % n;
}

static void shuffle(struct jar *j, size_t *order, size_t n)
{
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	for (size_t i = n; i-- > 1;) {
		size_t k = roll(j, (uint32_t)i + 1), t = order[i];

		order[i] = order[k];
		order[k] = t;
	}
}

/* A new value, short mostly, now and then on the edge of what the gate can put there, or beyond. */
static void jar_new_plain(struct jar *j, size_t i)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-_=, ";
	size_t len = 1 + roll(j, 40);

	switch (roll(j, 12)) {
	case 0:
		len = 1020 + roll(j, 8);
		break;
	case 1:
		len = 1 + roll(j, PLAIN_MAX);
		break;
	}
	for (size_t k = 0; k < len; k++)
		j->cookie[i].plain[k] = letters[roll(j, k && k + 1 < len ? 41 : 36)];
	j->cookie[i].plain[len] = '\0';
}

/* The backend sets some of them; the client keeps what it gets. */
static void jar_set(struct jar *j, struct client *c, struct backend *be)
{
	static struct text reply;
	struct response *r;
	bool sets[COOKIES];

	text_clear(&reply);
	text_addf(&reply, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
	for (size_t i = 0; i < COOKIES; i++) {
		sets[i] = !roll(j, 4);
		if (!sets[i])
			continue;
		jar_new_plain(j, i);
		text_addf(&reply, "Set-Cookie: %s=%s; Path=/\r\n", j->cookie[i].name,
			  j->cookie[i].plain);
	}
	text_addf(&reply, "\r\n");
	backend_reply(be, reply.p);
	r = client_get(c, "/set", "");
	backend_reply(be, NULL);
	cr_assert_eq(r->status, 200, "%s", r->head);
	for (size_t i = 0; i < COOKIES; i++) {
		char token[80];
		const char *got;

		if (!sets[i])
			continue;
		got = seal_value_in(seal_set_by(r, j->cookie[i].name, 0));
		cr_assert_eq(!strcmp(got, j->cookie[i].plain), !j->cookie[i].sealed, "%s: %s",
			     j->cookie[i].name, got);
		snprintf(token, sizeof(token), "HTSIG_%s", j->cookie[i].name);
		snprintf(j->cookie[i].wire, sizeof(j->cookie[i].wire), "%s=%s%s%s%s%s",
			 j->cookie[i].name, got, j->cookie[i].sealed ? "" : "; ",
			 j->cookie[i].sealed ? "" : token, j->cookie[i].sealed ? "" : "=",
			 j->cookie[i].sealed ? "" : seal_value_in(seal_set_by(r, token, 0)));
		j->cookie[i].set = true;
	}
}

static void add_pair(struct text *t, const char *fmt, const char *a, const char *b)
{
	if (t->len)
		text_addf(t, "; ");
	text_addf(t, fmt, a, b);
}

/*
 * Some of them in some order, wrong ones and others' among them: what is sent, and what must come.
 * Tokens of native stay beside their cookies, and where they were.
 */
static void jar_request(struct jar *j, struct text *sent, struct text *want)
{
	size_t order[COOKIES], covered = 0;

	shuffle(j, order, COOKIES);
	for (size_t k = 0; k < COOKIES && covered < 16; k++) {
		size_t i = order[k];
		const char *name = j->cookie[i].name, *wire = j->cookie[i].wire;
		char changed[3000];

		if (!j->cookie[i].set || roll(j, 3) == 0)
			continue;
		if (sent->len + strlen(wire) > 12000)
			break;
		if (roll(j, 4) == 0) {
			add_pair(sent, "u%s=%s", name, "of no rule");
			add_pair(want, "u%s=%s", name, "of no rule");
		}
		covered++;
		if (roll(j, 6)) {
			add_pair(sent, "%s%s", wire, "");
			if (j->cookie[i].sealed)
				add_pair(want, "%s=%s", name, j->cookie[i].plain);
			else
				add_pair(want, "%s%s", wire, "");
			continue;
		}
		/* not as it was given: in plain, or with a byte changed */
		if (!j->cookie[i].sealed || roll(j, 2)) {
			add_pair(sent, "%s=%s", name, j->cookie[i].plain);
			continue;
		}
		snprintf(changed, sizeof(changed), "%s", wire);
		changed[strlen(changed) - 1 - roll(j, 60)] ^= 1;
		add_pair(sent, "%s%s", changed, "");
	}
}

Test(sealed, any_order_and_any_length)
{
	static struct jar jar;
	struct text sent = {0}, want = {0};
	int rounds = run_small() ? 15 : 60;

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = seal_gw(be, "[ { only: [\"c*\"], profile: secure-cookie, key: shop, bind: "
				    "[client-ip] }, { only: [\"n*\"], key: shop, bind: [client-ip] "
				    "} ]");
	struct client *c = client_plain(gw);

	be->no_record = true; /* tokens of native have times in them */
	jar.seed = 88172645463325252ULL;
	for (size_t i = 0; i < COOKIES; i++) {
		jar.cookie[i].sealed = i % 3 != 0;
		snprintf(jar.cookie[i].name, sizeof(jar.cookie[0].name), "%c%zu",
			 jar.cookie[i].sealed ? 'c' : 'n', i);
	}
	for (int i = 0; i < rounds; i++) {
		jar_set(&jar, c, be);
		text_clear(&sent);
		text_clear(&want);
		jar_request(&jar, &sent, &want);
		for (int k = 0; k < 2 && sent.len; k++)
			cr_assert_str_eq(seal_come(c, be, sent.p), want.p ? want.p : "",
					 "round %d\nsent %s\ngot  %s", i, sent.p, seal_seen(be));
	}
	if (run_gate_on())
		cr_expect_gt(kernel_count(gw, "hit"), rounds);
	cr_expect_eq(gw_metric(gw, "hardtack_requests_total", "code=\"400\"", NULL), 0);
	text_free(&sent);
	text_free(&want);
	client_close(c);
	seal_stop(gw, be);
}

/* Sixteen at once, in as many places as there are, and the same bytes whoever opens them. */
Test(sealed, sixteen_of_them)
{
	struct text sent = {0}, want = {0};
	char plain[17][800];

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = seal_gw(be, "[ { all: true, profile: secure-cookie, key: shop, bind: "
				    "[client-ip] } ]");
	struct client *c = client_plain(gw);

	for (int round = 0; round < 8; round++) {
		text_clear(&sent);
		text_clear(&want);
		for (size_t i = 0; i < 16; i++) {
			struct seal s = {.ip = SEAL_IP, .issued = SIGN_FIRST, .expires = SEAL_LAST};
			char name[16];

			snprintf(name, sizeof(name), "x%zu", (i * 7 + (size_t)round) % 16);
			fill(plain[i], 1 + (i * 31 + (size_t)round * 97) % 700, 'a' + (char)i);
			s.name = name;
			s.value = plain[i];
			add_pair(&sent, "%s=%s", name, seal_make(&s));
			add_pair(&want, "%s=%s", name, plain[i]);
		}
		for (int k = 0; k < 2; k++)
			cr_expect_str_eq(seal_come(c, be, sent.p), want.p, "%d", round);
	}
	if (run_gate_on())
		cr_expect(e2e_wait(kernel_count(gw, "hit") >= 16 * 8), "%g",
			  kernel_count(gw, "hit"));
	text_free(&sent);
	text_free(&want);
	client_close(c);
	seal_stop(gw, be);
}
