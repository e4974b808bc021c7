/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which cookies a site's rules cover, and profile proxysg, through the whole gateway:
 * what leaves beside a backend's Set-Cookie, and what of a request gets to a backend. Tokens
 * are computed here (sign.h); every table is sent twice, so that the gate knows them the second time.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "abi.h"
#include "head.h"
#include "tables.h"

TestSuite(proxysg, .timeout = E2E_TIMEOUT);
TestSuite(policies, .timeout = E2E_TIMEOUT);

#define PSG(covers) "{ " covers ", profile: proxysg, key: shop }"
#define ONE(rule) "[ " rule " ]"

/* ---- the three policies of the seed ---- */

/* Its text has the attributes with a colon in them. */
#define SEED_SET                                                                                   \
	{                                                                                          \
		"A=a;domain=.x.com:path=/", "B=b;HttpOnly", "C=c;Secure"                           \
	}
#define SEED_SIGNED                                                                                \
	"Cookie: A=a; BCSIG_A={A=a}\r\nCookie: B=b; C=c; BCSIG_B={B=b}; BCSIG_C={C=c}\r\n"

static void expect_policy(const char *rule, const struct set_row *set, const struct row *rows,
			  size_t n)
{
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = rule});

	expect_set_row(gw, be, set, NULL);
	expect_rows(gw, be, rows, n, NULL);
	cr_expect_eq(gw_metric(gw, "hardtack_requests_total", "code=\"503\"", NULL), 0);
	gw_stop(gw);
	backend_stop(be);
}

Test(proxysg, sign_all)
{
	static const struct set_row set = {
		"all",
		SEED_SET,
		{"BCSIG_A={A=a};domain=.x.com:path=/", "BCSIG_B={B=b};HttpOnly",
		 "BCSIG_C={C=c};Secure"},
	};
	static const struct row rows[] = {
		{"all signed", SEED_SIGNED, "A=a|B=b|C=c", NULL},
		{"the original request", "Cookie: A=a\r\nCookie: B=b; C=c\r\n", "", NULL},
		{"one signed", "Cookie: A=a\r\nCookie: B=b; C=c; BCSIG_B={B=b}\r\n", "B=b", NULL},
		{"one changed", "Cookie: A=x; B=b; BCSIG_A={A=a}; BCSIG_B={B=b}\r\n", "B=b", NULL},
		{"a signature alone", "Cookie: BCSIG_A={A=a}\r\n", "", NULL},
		{"nothing", "", "", NULL},
	};

	e2e_need_gate();
	expect_policy(ONE(PSG("all: true")), &set, rows, E2E_ARRAY_SIZE(rows));
}

Test(proxysg, sign_all_but_b_and_c)
{
	static const struct set_row set = {
		"all but", SEED_SET, {"BCSIG_A={A=a};domain=.x.com:path=/"}};
	static const struct row rows[] = {
		{"all signed", "Cookie: A=a; BCSIG_A={A=a}\r\nCookie: B=b; C=c\r\n", "A=a|B=b|C=c",
		 NULL},
		{"the original request", "Cookie: A=a\r\nCookie: B=b; C=c\r\n", "B=b|C=c", NULL},
		{"changed", "Cookie: A=x; BCSIG_A={A=a}; B=x; C=x\r\n", "B=x|C=x", NULL},
		{"signatures of what is not covered", "Cookie: B=b; BCSIG_B={B=x}; C=c\r\n",
		 "B=b|C=c", NULL},
		{"other cookies", "Cookie: D=d; b=b; BB=b\r\n", "", NULL},
	};

	e2e_need_gate();
	expect_policy(ONE(PSG("all-but: [B, C]")), &set, rows, E2E_ARRAY_SIZE(rows));
}

/* In the sense of its text: the last of its tables shows B unsigned and C signed. */
Test(proxysg, sign_only_b_and_c)
{
	static const struct set_row set = {
		"only", SEED_SET, {"BCSIG_B={B=b};HttpOnly", "BCSIG_C={C=c};Secure"}};
	static const struct row rows[] = {
		{"B unsigned, C signed", "Cookie: A=a\r\nCookie: B=b; C=c; BCSIG_C={C=c}\r\n",
		 "A=a|C=c", NULL},
		{"both signed", "Cookie: A=a; B=b; C=c; BCSIG_B={B=b}; BCSIG_C={C=c}\r\n",
		 "A=a|B=b|C=c", NULL},
		{"none signed", "Cookie: A=a; B=b; C=c; D=d\r\n", "A=a|D=d", NULL},
		{"changed", "Cookie: A=x; B=x; C=c; BCSIG_B={B=b}; BCSIG_C={C=c}\r\n", "A=x|C=c",
		 NULL},
		{"names are compared with their case", "Cookie: b=x; c=x; BB=x; B=x\r\n",
		 "b=x|c=x|BB=x", NULL},
	};

	e2e_need_gate();
	expect_policy(ONE(PSG("only: [B, C]")), &set, rows, E2E_ARRAY_SIZE(rows));
}

/* ---- signatures towards the backend and the client ---- */

Test(proxysg, signatures_never_reach_the_backend)
{
	static const struct row rows[] = {
		{"valid", "Cookie: sid=1; BCSIG_sid={sid=1}; a=1\r\n", "sid=1|a=1", NULL},
		{"an orphan", "Cookie: a=1; BCSIG_sid={sid=1}; b=2\r\n", "a=1|b=2", NULL},
		{"of an uncovered cookie", "Cookie: a=1; BCSIG_a={a=1}\r\n", "a=1", NULL},
		{"of nothing at all", "Cookie: BCSIG_=1; BCSIG_x; a=1\r\n", "a=1", NULL},
		{"several", "Cookie: BCSIG_a=1; BCSIG_b=2\r\nCookie: a=1; BCSIG_a=3\r\n", "a=1",
		 NULL},
		{"guarded orphans", "Cookie: __Host-BCSIG_q=1; __Secure-BCSIG_q=2; a=1\r\n", "a=1",
		 NULL},
		{"look-alikes", "Cookie: bcsig_a=1; xBCSIG_a=2; BCSIG=3; __host-BCSIG_q=4\r\n",
		 "bcsig_a=1|xBCSIG_a=2|BCSIG=3|__host-BCSIG_q=4", NULL},
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = ONE(PSG("name: sid"))});

	expect_rows(gw, be, rows, E2E_ARRAY_SIZE(rows), NULL);
	gw_stop(gw);
	backend_stop(be);
}

Test(proxysg, attributes_are_copied)
{
	static const struct set_row rows[] = {
		{"none", {"A=a"}, {"BCSIG_A={A=a}"}},
		{"all of them",
		 {"A=a; Domain=x.test; Path=/p; Expires=Fri, 01 Jan 2038 00:00:00 GMT; Secure; "
		  "HttpOnly; SameSite=Strict; Partitioned"},
		 {"BCSIG_A={A=a}; Domain=x.test; Path=/p; Expires=Fri, 01 Jan 2038 00:00:00 GMT; "
		  "Secure; HttpOnly; SameSite=Strict; Partitioned"}},
		{"as they are written",
		 {"A=a;  path = /;;secure ; X-New=1"},
		 {"BCSIG_A={A=a};  path = /;;secure ; X-New=1"}},
		{"__Host-",
		 {"__Host-A=a; Secure; Path=/"},
		 {"__Host-BCSIG_A={__Host-A=a}; Secure; Path=/"}},
		{"__Secure-",
		 {"__Secure-A=a; Secure"},
		 {"__Secure-BCSIG_A={__Secure-A=a}; Secure"}},
		{"two paths",
		 {"A=a; Path=/a", "A=b; Path=/b"},
		 {"BCSIG_A={A=a}; Path=/a", "BCSIG_A={A=b}; Path=/b"}},
		{"uncovered", {"free=1; Path=/"}, {NULL}},
	};
	static const char *const gone[] = {
		"A=; Path=/p; Domain=x.test",
		"A=a; Path=/p; Max-Age=0",
		"A=a; Path=/p; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
	};
	const char *got;

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = ONE(PSG("all-but: [free]"))});
	struct client *c = client_plain(gw);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(rows); i++)
		expect_set_row(gw, be, &rows[i], NULL);
	for (size_t i = 0; i < E2E_ARRAY_SIZE(gone); i++) {
		const char *set[4] = {gone[i]};
		struct response *r = answer_with(c, be, set, "");

		cr_expect_str_empty(set_cookie_value(r, "BCSIG_A"), "%s", gone[i]);
		got = set_cookie_attributes(r, "BCSIG_A");
		cr_assert(got, "%s:\n%s", gone[i], r->head);
		cr_expect(!strncmp(got, strchr(gone[i], ';'), strlen(strchr(gone[i], ';'))),
			  "%s: %s", gone[i], got);
		cr_expect(strstr(got, "Max-Age=0") || strstr(got, "1970"), "%s", got);
	}
	/* A backend that makes its own would have an oracle, and a client two of them. */
	const char *own[4] = {"BCSIG_A=mine", "A=a"};
	struct response *r = answer_with(c, be, own, "");

	cr_expect_eq(response_count(r, "Set-Cookie"), 2, "%s", r->head);
	cr_expect_str_eq(set_cookie_value(r, "BCSIG_A"), sign_proxysg(&sign_default, "A", "a", ""));
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* Every way to write a signature; what is written in another way is none. */
Test(proxysg, algorithms_and_encodings)
{
	static const char *const algorithms[] = {"sha256", "sha1"};
	static const char *const encodings[] = {"base64", "base64url", "hex"};
	static const struct row rows[] = {
		{"good", "Cookie: A=>>>; BCSIG_A={A=x}; B=b?; BCSIG_B={B=b?}\r\n", "B=b?", NULL},
		{"alone", "Cookie: A=x; BCSIG_A={A=x}\r\n", "A=x", NULL},
		{"none", "Cookie: A=x\r\n", "", NULL},
	};

	e2e_need_gate();
	for (int i = 0; i < 12; i++) {
		const struct style style = {algorithms[i % 2], encodings[i / 2 % 3], i < 6,
					    i < 6 ? "|" : ""};
		const struct style other = {style.algorithm, encodings[(i / 2 + 1) % 3],
					    style.name_in_mac, style.separator};
		const struct set_row set = {
			style.encoding, {"A=a", "B=b"}, {"BCSIG_A={A=a}", "BCSIG_B={B=b}"}};
		struct backend *be = backend_start(NULL);
		struct row wrong = {"another encoding", NULL, "", NULL};
		char rule[200], line[300];
		struct gw *gw;

		snprintf(rule, sizeof(rule),
			 "[ { all: true, profile: proxysg, key: shop, algorithm: %s, encoding: %s, "
			 "name-in-mac: %s, separator: \"%s\" } ]",
			 style.algorithm, style.encoding, i < 6 ? "true" : "false",
			 style.separator);
		gw = gw_start(be, &(struct gw_spec){.cookies = rule});
		expect_set_row(gw, be, &set, &style);
		expect_rows(gw, be, rows, E2E_ARRAY_SIZE(rows), &style);
		snprintf(line, sizeof(line), "Cookie: A=x; BCSIG_A=%s\r\n",
			 sign_proxysg(&other, "A", "x", ""));
		wrong.fields = line;
		expect_rows(gw, be, &wrong, 1, &style);
		gw_stop(gw);
		backend_stop(be);
	}
}

/* Fixed: HMAC-SHA256 and -SHA1 of "a" and of "a127.0.0.1", from the openssl command. */
Test(proxysg, byte_compatible)
{
#define COMPATIBLE "{ all: true, profile: proxysg, key: shop, name-in-mac: false, separator: \"\", "
	static const struct style style = {"sha256", "base64", false, ""};
	static const struct row plain[] = {
		{"by its value alone", "Cookie: A=a; BCSIG_A={A=a}\r\n", "A=a", NULL},
		{"as any other cookie's", "Cookie: B=a; BCSIG_B={A=a}\r\n", "B=a", NULL},
		{"and of no other value", "Cookie: B=b; BCSIG_B={A=a}\r\n", "", NULL},
	};
	static const struct row bound[] = {
		{"the value and the address", "Cookie: A=a; BCSIG_A={A=a@127.0.0.1}\r\n", "A=a",
		 NULL},
		{"nothing between them", "Cookie: A=a1; BCSIG_A={A=a@127.0.0.1}\r\n", "", NULL},
		{"elsewhere", "Cookie: A=a; BCSIG_A={A=a@127.0.0.1}\r\n", "", "127.0.0.9"},
		{"the value alone", "Cookie: A=a; BCSIG_A={A=a}\r\n", "", NULL},
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = ONE(COMPATIBLE "}")});
	struct client *c = client_plain(gw);
	const char *set[4] = {"A=a"};

	cr_expect_str_eq(set_cookie_value(answer_with(c, be, set, ""), "BCSIG_A"),
			 "PwDrhHuZ+XrTYbY0HTUILcP2nqNuhtEdjx6iHVqqC+g=");
	client_close(c);
	expect_rows(gw, be, plain, E2E_ARRAY_SIZE(plain), &style);
	gw_stop(gw);
	gw = gw_start(be,
		      &(struct gw_spec){
			      .cookies = ONE(COMPATIBLE "bind: [client-ip], algorithm: sha1 }")});
	c = client_plain(gw);
	cr_expect_str_eq(set_cookie_value(answer_with(c, be, set, ""), "BCSIG_A"),
			 "9dqztFhZQ1y6fE0gjdz89U4EJE4=");
	client_close(c);
	expect_rows(gw, be, bound, E2E_ARRAY_SIZE(bound),
		    &(const struct style){"sha1", "base64", false, ""});
	gw_stop(gw);
	backend_stop(be);
}

Test(proxysg, swapped_signatures)
{
	static const struct row rows[] = {
		{"right", "Cookie: A=v; B=v; BCSIG_A={A=v}; BCSIG_B={B=v}\r\n", "A=v|B=v", NULL},
		{"swapped", "Cookie: A=v; B=v; BCSIG_A={B=v}; BCSIG_B={A=v}\r\n", "", NULL},
		{"one moved", "Cookie: A=v; B=v; BCSIG_A={A=v}; BCSIG_B={A=v}\r\n", "A=v", NULL},
		{"values swapped", "Cookie: A=x; B=y; BCSIG_A={A=y}; BCSIG_B={B=x}\r\n", "", NULL},
		{"a separator in the name", "Cookie: A|=v; BCSIG_A|={A|=v}\r\n", "", NULL},
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = ONE(PSG("all: true"))});

	expect_rows(gw, be, rows, E2E_ARRAY_SIZE(rows), NULL);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- bindings ---- */

Test(proxysg, bound_to_the_address)
{
	static const struct row rows[] = {
		{"at home", "Cookie: A=a; BCSIG_A={A=a@127.0.0.1}\r\n", "A=a", NULL},
		{"elsewhere", "Cookie: A=a; BCSIG_A={A=a@127.0.0.1}\r\n", "", "127.0.0.9"},
		{"another's own", "Cookie: A=a; BCSIG_A={A=a@127.0.0.9}\r\n", "A=a", "127.0.0.9"},
		{"unbound", "Cookie: A=a; BCSIG_A={A=a}\r\n", "", NULL},
		{"an address in the value", "Cookie: A=a|127.0.0.1; BCSIG_A={A=a@127.0.0.1}\r\n",
		 "", NULL},
	};
	static const struct set_row set = {
		"bound", {"A=a; Path=/"}, {"BCSIG_A={A=a@127.0.0.1}; Path=/"}};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.cookies = ONE("{ all: true, profile: proxysg, key: shop, "
						     "bind: [client-ip] }")});

	expect_set_row(gw, be, &set, NULL);
	expect_rows(gw, be, rows, E2E_ARRAY_SIZE(rows), NULL);
	gw_stop(gw);
	backend_stop(be);
}

#define XFU(user) "X-Forwarded-User: " user "\r\n"

Test(proxysg, bound_to_the_user)
{
	static const struct row rows[] = {
		{"alice", XFU("alice") "Cookie: A=a; BCSIG_A={A=a@alice}\r\n", "A=a", NULL},
		{"bob has hers", XFU("bob") "Cookie: A=a; BCSIG_A={A=a@alice}\r\n", "", NULL},
		{"bob", XFU("bob") "Cookie: A=a; BCSIG_A={A=a@bob}\r\n", "A=a", NULL},
		{"nobody has hers", "Cookie: A=a; BCSIG_A={A=a@alice}\r\n", "", NULL},
		{"nobody, as the seed would sign", "Cookie: A=a; BCSIG_A={A=a}\r\n", "", NULL},
		{"an empty name", XFU("") "Cookie: A=a; BCSIG_A={A=a}\r\n", "", NULL},
		{"who is no proxy", XFU("alice") "Cookie: A=a; BCSIG_A={A=a@alice}\r\n", "",
		 "127.0.0.9"},
		{"a separator in the name", XFU("x|alice") "Cookie: A=a; BCSIG_A={A=a@x|alice}\r\n",
		 "", NULL},
		{"a value that ends like one",
		 XFU("alice") "Cookie: A=a|x; BCSIG_A={A=a|x@alice}\r\n", "A=a|x", NULL},
	};
	const char *set[4] = {"A=a"};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.cookies = ONE("{ all: true, profile: proxysg, key: shop, "
						     "bind: [user] }"),
				      .top = "trusted-proxies: [127.0.0.1]\n"});
	struct client *c = client_plain(gw);

	cr_expect_str_eq(set_cookie_value(answer_with(c, be, set, XFU("alice")), "BCSIG_A"),
			 sign_proxysg(&sign_default, "A", "a", "alice"));
	cr_expect_null(set_cookie_value(answer_with(c, be, set, ""), "BCSIG_A"));
	client_close(c);
	expect_rows(gw, be, rows, E2E_ARRAY_SIZE(rows), NULL);
	cr_expect_gt(gw_verdicts(gw, "unbound", "strip"), 0);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- rules ---- */

Test(policies, first_match_wins)
{
	static const struct row rows[] = {
		{"off hides from all that follow", "Cookie: legacy=1; legacy2=2\r\n", "legacy=1",
		 NULL},
		{"a prefix that is off", "Cookie: app_x=1; app_=2; ap_x=3; App_x=4\r\n",
		 "app_x=1|app_=2", NULL},
		{"a name before the prefix that is off", "Cookie: app_sid=1; app_x=2\r\n",
		 "app_x=2", NULL},
		{"the same, signed", "Cookie: app_sid=1; HTSIG_app_sid=<app_sid=1>\r\n",
		 "app_sid=1|HTSIG_app_sid=<app_sid=1>", NULL},
		{"by another rule's profile", "Cookie: app_sid=1; BCSIG_app_sid={app_sid=1}\r\n",
		 "", NULL},
		{"a prefix", "Cookie: pre-1=a; HTSIG_pre-1=<pre-1=a>; pre-2=b\r\n",
		 "pre-1=a|HTSIG_pre-1=<pre-1=a>", NULL},
		{"only its own signature", "Cookie: pre-1=a; BCSIG_pre-1={pre-1=a}\r\n", "", NULL},
		{"the rest", "Cookie: z=1; BCSIG_z={z=1}; Pre-1=2; BCSIG_Pre-1={Pre-1=2}\r\n",
		 "z=1|Pre-1=2", NULL},
		{"the rest by the rule before", "Cookie: z=1; HTSIG_z=<z=1>\r\n", "HTSIG_z=<z=1>",
		 NULL},
		{"the rest unsigned", "Cookie: z=1; pre=2; y=3\r\n", "", NULL},
	};
	static const struct set_row set[] = {
		{"off", {"legacy=1", "app_q=2"}, {NULL}},
		{"the rest", {"legacy2=1", "z=2"}, {"BCSIG_legacy2={legacy2=1}", "BCSIG_z={z=2}"}},
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be,
		&(struct gw_spec){
			.cookies = "[ { name: legacy, mode: off, key: shop }, "
				   "{ name: app_sid, key: shop }, "
				   "{ name: \"app_*\", mode: off, profile: proxysg, key: shop }, "
				   "{ only: [\"pre-*\"], key: shop }, " PSG("all: true") " ]"});

	for (size_t i = 0; i < E2E_ARRAY_SIZE(set); i++)
		expect_set_row(gw, be, &set[i], NULL);
	expect_rows(gw, be, rows, E2E_ARRAY_SIZE(rows), NULL);
	gw_stop(gw);
	backend_stop(be);
}

/* An exception is nobody's unless a later rule takes it. */
Test(policies, exceptions_go_to_later_rules)
{
	static const struct row rows[] = {
		{"excepted and taken", "Cookie: t_a=1; t_b=2; HTSIG_t_b=<t_b=2>\r\n",
		 "t_b=2|HTSIG_t_b=<t_b=2>", NULL},
		{"excepted and free", "Cookie: f_a=1; free=2; Free=3\r\n", "f_a=1|free=2", NULL},
		{"all others", "Cookie: x=1; y=2; BCSIG_y={y=2}; t=3; f=4\r\n", "y=2", NULL},
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be,
		&(struct gw_spec){.cookies = "[ " PSG(
					  "all-but: [\"t_*\", \"f_*\", free]") ", { name: \"t_*\", "
									       "key: shop } ]"});

	expect_rows(gw, be, rows, E2E_ARRAY_SIZE(rows), NULL);
	gw_stop(gw);
	backend_stop(be);
}

/* f5-irule for the session, ProxySG's for all else: a token of the one is no cookie of the other. */
Test(policies, mixed_profiles)
{
	static const struct row rows[] = {
		{"all signed", "Cookie: sid=s; sid_HMAC={s}; a=1; BCSIG_a={a=1}\r\n",
		 "sid=s|sid_HMAC={s}|a=1", NULL},
		{"the session forged", "Cookie: sid=x; sid_HMAC={s}; a=1; BCSIG_a={a=1}\r\n",
		 "sid_HMAC={s}|a=1", NULL},
		{"the other forged", "Cookie: sid=s; sid_HMAC={s}; a=2; BCSIG_a={a=1}\r\n",
		 "sid=s|sid_HMAC={s}", NULL},
		{"the session with the other's", "Cookie: sid=s; BCSIG_sid={sid=s}; a=1\r\n", "",
		 NULL},
		{"the other with the session's", "Cookie: a=s; a_HMAC={s}\r\n", "", NULL},
		{"none", "Cookie: sid=s; a=1\r\n", "", NULL},
	};
	static const struct set_row set = {
		"both",
		{"sid=s", "a=1; Path=/a"},
		{"sid_HMAC={s}; HttpOnly; Secure; Path=/", "BCSIG_a={a=1}; Path=/a"}};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.cookies = "[ { name: sid, profile: f5-irule, key: shop, "
						 "bind: [client-ip] }, " PSG("all: true") " ]"});

	expect_set_row(gw, be, &set, NULL);
	expect_rows(gw, be, rows, E2E_ARRAY_SIZE(rows), NULL);
	gw_stop(gw);
	backend_stop(be);
}

/* Which site a request is for decides; what one site has signed is no token of another's key map. */
Test(policies, hosts)
{
	static const struct {
		const char *host, *want;
	} rows[] = {
		{"shop.test", "a=1|b=1"},	     /* only a, b signed */
		{"SHOP.test:8443", "a=1|b=1"},	     /* in any case, with a port */
		{"x.shop.test", "b=1|c=1"},	     /* all but c */
		{"y.x.shop.test", "b=1|c=1"},	     /* at any depth */
		{"elsewhere.test", "b=1"},	     /* all */
		{"shop.test.elsewhere.test", "b=1"}, /* all */
	};
	struct text sites = {0}, got = {0}, line = {0};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct client *c;
	struct gw *gw;

	text_addf(&sites,
		  "sites:\n"
		  "  - hosts: [\"*\"]\n    upstreams: [127.0.0.1:%d]\n    cookies: [ %s ]\n"
		  "  - hosts: [\"*.shop.test\"]\n    upstreams: [127.0.0.1:%d]\n"
		  "    cookies: [ %s ]\n"
		  "  - hosts: [shop.test]\n    upstreams: [127.0.0.1:%d]\n    cookies: [ %s ]\n",
		  be->port, PSG("all: true"), be->port, PSG("all-but: [c]"), be->port,
		  PSG("only: [c]"));
	gw = gw_start(be, &(struct gw_spec){.sites = sites.p});
	sign_expand(&line, "Cookie: a=1; b=1; BCSIG_b={b=1}; c=1\r\n", NULL);
	c = client_plain(gw);
	for (size_t i = 0; i < 2 * E2E_ARRAY_SIZE(rows); i++) {
		const char *host = rows[i / 2].host;

		client_sendf(c, "GET / HTTP/1.1\r\nHost: %s\r\n%s\r\n", host, line.p);
		cr_assert_eq(client_read(c)->status, 200, "%s", host);
		head_cookies(backend_last(be)->head, NULL, &got);
		cr_expect_str_eq(got.p, rows[i / 2].want, "%s: %s", host, got.p);
	}
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- how many ---- */

static void add_signed(struct text *line, int n, int forged)
{
	text_addf(line, "Cookie: z=0");
	for (int i = 0; i < n; i++) {
		char pattern[100];

		snprintf(pattern, sizeof(pattern), "; c%d=v; BCSIG_c%d={c%d=%s}", i, i, i,
			 i == forged ? "x" : "v");
		sign_expand(line, pattern, NULL);
	}
	text_addf(line, "\r\n");
}

Test(policies, sixteen_covered_cookies)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = ONE(PSG("all-but: [z]"))});
	struct text line = {0}, got = {0}, want = {0};

	text_addf(&want, "z=0");
	for (int i = 0; i < 16; i++)
		text_addf(&want, "|c%d=v", i);
	add_signed(&line, 16, -1);
	for (int round = 0; round < 3; round++) {
		cr_assert_eq(client_once(gw, NULL, line.p), 200);
		head_cookies(backend_last(be)->head, NULL, &got);
		cr_expect_str_eq(got.p, want.p, "%s", got.p);
	}
	cr_expect(e2e_wait(gw_passed(gw) == 48), "%g", gw_passed(gw));
	if (run_gate_on())
		cr_expect_eq(kernel_count(gw, "hit"), 32, "%g", kernel_count(gw, "hit"));
	/* one that is wrong among them, first and last */
	for (int at = 0; at < 16; at += 15) {
		text_clear(&line);
		add_signed(&line, 16, at);
		cr_assert_eq(client_once(gw, NULL, line.p), 200);
		head_cookies(backend_last(be)->head, NULL, &got);
		cr_expect_eq(strstr(got.p, "|c0=v") != NULL, at != 0, "%s", got.p);
		cr_expect_eq(strstr(got.p, "|c15=v") != NULL, at != 15, "%s", got.p);
	}
	cr_expect_eq(gw_verdicts(gw, "forged", "strip"), 2);
	if (run_gate_on()) /* it knows the right signatures, and that there are no others */
		cr_expect_eq(kernel_count(gw, "forged"), 2);
	gw_stop(gw);
	backend_stop(be);
}

Test(policies, seventeen_covered_cookies)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = ONE(PSG("all-but: [z]"))});
	struct text line = {0}, log = {0};

	add_signed(&line, 17, -1);
	cr_expect_eq(client_once(gw, NULL, line.p), 431);
	cr_expect_eq(backend_count(be), 0);
	cr_expect_gt(gw_metric(gw, "hardtack_gate_refused_total", "reason=\"cookies\"", NULL), 0);
	log.p = text_file(gw->stderr_path, &log.len);
	cr_expect(strstr(log.p, "reason=cookies") && strstr(log.p, "client=127.0.0.1"), "%s",
		  log.p);
	cr_expect_not(strstr(log.p, sign_proxysg(&sign_default, "c0", "v", "")));
	gw_stop(gw);
	backend_stop(be);
}

/* Where the gate's table of names ends at 96 bytes, hashes of a part of them must not decide. */
static void long_name(char *ret, size_t len, char middle)
{
	for (size_t i = 0; i < len; i++)
		ret[i] = (char)('a' + i % 26);
	ret[len / 4] = middle;
	ret[len] = 0;
}

Test(policies, long_names)
{
	static const int lengths[] = {90, 91, 96, 97, 128, 255, 300};
	struct text line = {0};
	char a[301], b[301];

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = ONE(PSG("all: true"))});

	for (size_t i = 0; i < E2E_ARRAY_SIZE(lengths); i++) {
		char fields[5][2048], want[1][1024];

		long_name(a, (size_t)lengths[i], 'X');
		long_name(b, (size_t)lengths[i], 'Y');
		snprintf(fields[0], sizeof(fields[0]), "Cookie: %s=v; BCSIG_%s={%s=v}\r\n", a, a,
			 a);
		snprintf(fields[1], sizeof(fields[1]), "Cookie: %s=x; BCSIG_%s={%s=v}\r\n", a, a,
			 a);
		snprintf(fields[2], sizeof(fields[2]), "Cookie: %s=v\r\n", a);
		snprintf(fields[3], sizeof(fields[3]),
			 "Cookie: %s=v; %s=v; BCSIG_%s={%s=v}; BCSIG_%s={%s=v}\r\n", a, b, a, a, b,
			 b);
		snprintf(fields[4], sizeof(fields[4]),
			 "Cookie: %s=v; %s=v; BCSIG_%s={%s=v}; BCSIG_%s={%s=v}\r\n", a, b, b, a, a,
			 b);
		snprintf(want[0], sizeof(want[0]), "%s=v", a);
		const struct row rows[] = {
			{"signed", fields[0], want[0], NULL}, {"changed", fields[1], "", NULL},
			{"unsigned", fields[2], "", NULL},    {"signed", fields[0], want[0], NULL},
			{"swapped", fields[4], "", NULL},
		};

		expect_rows(gw, be, rows, E2E_ARRAY_SIZE(rows), NULL);
		/* the gate can't tell them apart, and says so */
		sign_expand(&line, fields[3], NULL);
		cr_expect_eq(client_once(gw, NULL, line.p), 431);
		cr_expect_eq(client_once(gw, NULL, line.p), 431);
		text_clear(&line);
	}
	cr_expect_eq(gw_metric(gw, "hardtack_requests_total", "code=\"503\"", NULL), 0);
	if (run_gate_on()) /* of each length the lone signed one, three times of four */
		cr_expect_geq(kernel_count(gw, "hit"), 3 * E2E_ARRAY_SIZE(lengths), "%g",
			      kernel_count(gw, "hit"));
	gw_stop(gw);
	backend_stop(be);
}

/* ---- names that look like others to the gate ---- */

/* A name of 24 bytes with the fingerprint of `name` in include/head.h. */
static void look_alike(const char *name, char ret[25])
{
	uint64_t word[3] = {0}, want;

	memcpy(word, name, strlen(name));
	want = ht_name_print(word[0], 0, word[0], (uint32_t)strlen(name));
	for (unsigned n = 0;; n++) {
		bool good = true;

		snprintf(ret + 8, 17, "%016x", n * 2654435761U);
		memcpy(&word[1], ret + 8, 16);
		word[0] = want ^ ht_name_print(0, word[1], word[2], 24);
		memcpy(ret, &word[0], 8);
		for (int i = 0; i < 8; i++)
			good &= (unsigned char)ret[i] > ' ' && ret[i] != 127 &&
				!strchr(";=,<>{}", ret[i]);
		if (good)
			return;
	}
}

/* Whoever can make a cookie look like the session must not choose the rule that it is judged by. */
Test(policies, look_alike_of_another_rule)
{
	static const char *const patterns[] = {
		"sid=EVIL; %s=1",
		"%s=1; sid=EVIL",
		"sid=EVIL; HTSIG_sid=x; %s=1",
		"%s=1; sid=EVIL; HTSIG_sid=<sid=s>",
		"sid=EVIL; sid=EVIL; %s=1; %s=2",
		"sid=EVIL; HTSIG_%s=x",
		"sid=EVIL; %s=1; HTSIG_%s=x; HTSIG_sid=x",
	};
	char name[25];

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.cookies = "[ { name: sid, key: shop }, "
						 "{ all: true, key: shop, mode: report } ]"});

	look_alike("sid", name);
	for (size_t i = 0; i < 2 * E2E_ARRAY_SIZE(patterns); i++) {
		struct text line = {0};
		char pattern[300];
		int status;

		snprintf(pattern, sizeof(pattern), patterns[i / 2], name, name);
		sign_expand(&line, pattern, NULL);
		text_addf(&line, "\r\n");
		struct client *c = client_plain(gw);

		client_sendf(c, "GET / HTTP/1.1\r\nHost: gw.test\r\nCookie: %s\r\n", line.p);
		status = client_read(c)->status;
		cr_expect(status == 200 || status == 431, "%s: %d", patterns[i / 2], status);
		if (backend_count(be))
			cr_expect_not(strstr(backend_last(be)->head, "EVIL"), "%s: %s",
				      patterns[i / 2], backend_last(be)->head);
		client_close(c);
		text_free(&line);
	}
	gw_stop(gw);
	backend_stop(be);
}

/* What looks like a token of the session's, or is one of a rule that is not the session's. */
Test(policies, look_alikes_of_tokens)
{
	char name[25], fields[2][300], want[300];

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be,
		&(struct gw_spec){.cookies = "[ { only: [sid], key: shop }, { all: true, profile: "
					     "proxysg, key: shop, mode: report } ]"});

	look_alike("sid", name);
	snprintf(fields[0], sizeof(fields[0]),
		 "Cookie: sid=s; HTSIG_%s=x; HTSIG_sid=<sid=s>; HTSIG_%s=y\r\n", name, name);
	snprintf(fields[1], sizeof(fields[1]), "Cookie: sid=s; HTSIG_%s=<sid=x>\r\n", name);
	snprintf(want, sizeof(want), "HTSIG_%s=<sid=x>", name);
	const struct row rows[] = {
		{"beside the right one", fields[0], "sid=s|HTSIG_sid=<sid=s>", NULL},
		{"instead of it", fields[1], want, NULL},
		{"another rule's, twice",
		 "Cookie: sid=s; BCSIG_sid=x; HTSIG_sid=<sid=s>; BCSIG_sid=y\r\n",
		 "sid=s|BCSIG_sid=x|HTSIG_sid=<sid=s>|BCSIG_sid=y", NULL},
	};

	expect_rows(gw, be, rows, E2E_ARRAY_SIZE(rows), NULL);
	if (run_gate_on())
		cr_expect_eq(kernel_count(gw, "hit"), 2, "%g", kernel_count(gw, "hit"));
	gw_stop(gw);
	backend_stop(be);
}

/* ---- report ---- */

static const char *const report_lines[] = {
	"Cookie: a=1; BCSIG_a={a=1}; b=2\r\n",
	"Cookie: a=1; BCSIG_a={a=2}\r\n",
	"Cookie: BCSIG_q=1; a=1; a=2; BCSIG_a={a=1}\r\n",
	"Cookie: a =1;b=2;BCSIG_b={b=2}\r\nCookie: __Host-c=1; __Host-BCSIG_c={__Host-c=1}\r\n",
	"Cookie: a=1; HTSIG_a=<a=1>; =x; q\r\n",
};

static void run_report(const char *rule, struct text *out, double *reports)
{
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = rule});
	struct text line = {0};

	for (size_t i = 0; i < 2 * E2E_ARRAY_SIZE(report_lines); i++) {
		text_clear(&line);
		sign_expand(&line, report_lines[i / 2], NULL);
		cr_expect_eq(client_once(gw, NULL, line.p), 200, "%s", line.p);
	}
	for (int i = 0; i < be->nreqs; i++) {
		const char *l = be->reqs[i]->head, *end;

		for (; (end = strstr(l, "\r\n")); l = end + 2)
			if (strncasecmp(l, "X-Request-ID:", 13))
				text_add(out, l, (size_t)(end + 2 - l));
	}
	*reports = gw_metric(gw, "hardtack_verdicts_total", "action=\"report\"", NULL);
	cr_expect_eq(gw_metric(gw, "hardtack_verdicts_total", "action=\"strip\"", NULL), 0);
	if (*reports)
		cr_expect(gw_logged(gw, "would be stripped"));
	gw_stop(gw);
	backend_stop(be);
}

Test(policies, report_changes_nothing)
{
	static const char *const profiles[] = {"proxysg", "native"};
	/* of the lines of proxysg, in each round: b; a; none; a; a, HTSIG_a, x, q */
	e2e_need_gate();
	for (int i = 0; i < 2; i++) {
		struct text report = {0}, off = {0};
		double reports, none;
		char rule[200];

		snprintf(rule, sizeof(rule),
			 "[ { all: true, profile: %s, key: shop, mode: report } ]", profiles[i]);
		run_report(rule, &report, &reports);
		snprintf(rule, sizeof(rule), "[ { all: true, profile: %s, key: shop, mode: off } ]",
			 profiles[i]);
		run_report(rule, &off, &none);
		cr_expect_str_eq(report.p, off.p, "%s", profiles[i]);
		cr_expect_eq(reports, i ? 30 : 14, "%s: %g reports", profiles[i], reports);
		cr_expect_eq(none, 0);
	}
}
