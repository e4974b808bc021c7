/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cookie rules of a site: what they cover, what each profile makes of the keys, which rules do
 * not go together, and what is said about it.
 */
#include <criterion/criterion.h>

#include "abi.h"
#include "config_text.h"

TestSuite(config_rules);

/* The rules stand from line 3 on, each in a line of its own. */
#define FILE_WITH(listen, more, rules)                                                             \
	"keys: [{ name: k, file: k.key }]\n"                                                       \
	"listeners: [{ " listen " }]" more "\n"                                                    \
	"sites: [{ hosts: [\"*\"], upstreams: [a:1], cookies: [\n" rules "] }]\n"
#define PLAIN "address: 127.0.0.1:80"
#define TLS "address: 127.0.0.1:443, tls: { certificates: [{ certificate: a, key: b }] }"
#define MTLS                                                                                       \
	"address: 127.0.0.1:443, tls: { certificates: [{ certificate: a, key: b }], "              \
	"client-ca: c }"
#define RULES(rules) FILE_WITH(PLAIN, "", rules)
#define F5 "profile: f5-irule, key: k, bind: [client-ip]"
#define PX "profile: proxysg, key: k"
#define SID "profile: session-id, key: k"
#define SEALED "profile: secure-cookie, key: k"
#define BITS(p) (1u << HT_PROFILE_##p)

#define A8 "aaaaaaaa"
#define A32 A8 A8 A8 A8
#define A96 A32 A32 A32

/* ---- what is right ---- */

Test(config_rules, native_is_what_a_rule_is_unless_it_says_more)
{
	struct ht_config *c = parse_ok(RULES("{ name: sid, key: k, bind: [client-ip] }"));
	const struct ht_rule_config *r = c->sites->rules;

	cr_expect_eq(r->covers, HT_COVERS_NAME);
	cr_expect_str_eq(r->name, "sid");
	cr_assert_eq(r->nnames, 1);
	cr_expect_str_eq(r->names[0].text, "sid");
	cr_expect_not(r->names[0].prefix);
	cr_expect_str_eq(r->label, "sid");
	cr_expect_eq(r->profile, HT_PROFILE_NATIVE);
	cr_expect_eq(r->accept, BITS(NATIVE));
	cr_expect_str_eq(r->sibling, "HTSIG_");
	cr_expect(r->sibling_prefix && r->copy_attributes);
	cr_assert_eq(r->nsiblings, 1);
	cr_expect(r->siblings[0].prefix && !strcmp(r->siblings[0].text, "HTSIG_"));
	cr_expect_eq(r->siblings[0].accept, BITS(NATIVE));
	cr_expect_eq(r->enforce_after_s, 0);
	cr_expect_eq(r->lifetime_s, 86400);
	cr_expect_str_eq(r->reissue, "; Path=/; Secure; HttpOnly");
	cr_expect_eq(r->mode, HT_MODE_ENFORCE);
	cr_expect_eq(r->on_empty, HT_ON_EMPTY_STRIP);
	ht_config_free(c);
}

Test(config_rules, session_id_defaults)
{
	struct ht_config *c =
		parse_ok(RULES("{ name: a, " SID " },\n{ name: b, " SID
			       ", lifetime: 1h, issue: [/login, \"/app/*\"], "
			       "reissue-attributes: \"Path=/app\" },\n"
			       "{ name: c, key: k, accept: [session-id], lifetime: 5m, "
			       "bind: [client-ip] }"));
	const struct ht_rule_config *r = c->sites->rules;

	cr_expect_eq(r->accept, BITS(SESSION_ID));
	cr_expect(!r->nsiblings && !r->sibling && !r->nissue);
	cr_expect_eq(r->session_s, 172800);
	cr_expect_str_eq(r->reissue, "; Path=/; Secure; HttpOnly");
	cr_expect(ht_config_issues(r, HT_STR("/whatever")));
	r++;
	cr_expect_eq(r->session_s, 3600);
	cr_assert_eq(r->nissue, 2);
	cr_expect_str_eq(r->reissue, "; Path=/app");
	cr_expect(ht_config_issues(r, HT_STR("/login")) && ht_config_issues(r, HT_STR("/app/")));
	cr_expect_not(ht_config_issues(r, HT_STR("/")));
	r++;
	cr_expect_eq(r->accept, BITS(SESSION_ID) | BITS(NATIVE));
	cr_expect_eq(r->lifetime_s, 300, "its own tokens'");
	cr_expect_eq(r->session_s, 172800, "the ids'");
	cr_expect_eq(r->nsiblings, 1);
	ht_config_free(c);
}

Test(config_rules, secure_cookie_defaults)
{
	struct ht_config *c = parse_ok(
		RULES("{ name: a, " SEALED ", bind: [client-ip] },\n"
		      "{ all-but: [x], " SEALED ", lifetime: 1h, accept: [native, proxysg] },\n"
		      "{ name: c, " SEALED ", accept: [native], sibling: c_TOKEN },\n"
		      "{ name: d, key: k, accept: [secure-cookie], lifetime: 5m }"));
	const struct ht_rule_config *r = c->sites->rules;

	cr_expect_eq(r->accept, BITS(SECURE_COOKIE));
	cr_expect(!r->nsiblings && !r->sibling && r->copy_attributes);
	cr_expect_eq(r->lifetime_s, 86400);
	cr_expect_str_eq(r->reissue, "; Path=/; Secure; HttpOnly");
	r++;
	cr_expect_eq(r->accept, BITS(SECURE_COOKIE) | BITS(NATIVE) | BITS(PROXYSG));
	cr_expect_eq(r->lifetime_s, 3600);
	cr_assert_eq(r->nsiblings, 2);
	cr_expect_str_eq(r->siblings[0].text, "HTSIG_");
	cr_expect_eq(r->siblings[0].accept, BITS(NATIVE));
	cr_expect_str_eq(r->siblings[1].text, "BCSIG_");
	cr_expect_eq(r->siblings[1].accept, BITS(PROXYSG));
	r++;
	cr_assert_eq(r->nsiblings, 1);
	cr_expect_str_eq(r->siblings[0].text, "c_TOKEN", "of those that it accepts");
	cr_expect_eq(r->siblings[0].accept, BITS(NATIVE));
	r++;
	cr_expect_eq(r->accept, BITS(SECURE_COOKIE) | BITS(NATIVE));
	cr_expect_eq(r->lifetime_s, 300);
	cr_assert_eq(r->nsiblings, 1);
	cr_expect_eq(r->siblings[0].accept, BITS(NATIVE));
	ht_config_free(c);
}

Test(config_rules, proxysg_defaults)
{
	struct ht_config *c = parse_ok(RULES("{ all: true, " PX " }"));
	const struct ht_rule_config *r = c->sites->rules;

	cr_expect_eq(r->covers, HT_COVERS_ALL);
	cr_expect(!r->name && !r->nnames && !r->nbinds);
	cr_expect_str_eq(r->label, "all");
	cr_expect_str_eq(r->sibling, "BCSIG_");
	cr_expect(r->sibling_prefix && r->copy_attributes && r->name_in_mac);
	cr_expect_eq(r->algorithm, HT_SHA256);
	cr_expect_eq(r->encoding, HT_BASE64);
	cr_expect_str_eq(r->separator, "|");
	cr_expect_eq(r->accept, BITS(PROXYSG));
	ht_config_free(c);
}

Test(config_rules, f5_irule_defaults)
{
	struct ht_config *c = parse_ok(RULES("{ name: sid, " F5 " }"));
	const struct ht_rule_config *r = c->sites->rules;

	cr_expect_eq(r->accept, BITS(F5_IRULE));
	cr_expect_str_eq(r->sibling, "sid_HMAC");
	cr_expect(!r->sibling_prefix && !r->copy_attributes);
	cr_expect_str_eq(r->reissue, "; HttpOnly; Secure; Path=/");
	ht_config_free(c);
}

Test(config_rules, everything_that_proxysg_has)
{
	struct ht_config *c = parse_ok(
		RULES("{ only: [a, \"sess*\", B], " PX ", bind: [client-ip/24], algorithm: sha1, "
		      "encoding: hex, name-in-mac: false, separator: \"\", sibling: \"XS_*\", "
		      "reissue-attributes: \"Path=/app;secure ; SameSite=Lax\", mode: report, "
		      "enforce-after: 2026-12-01, expire-stripped: true }"));
	const struct ht_rule_config *r = c->sites->rules;

	cr_expect_eq(r->covers, HT_COVERS_ONLY);
	cr_expect(!r->name);
	cr_assert_eq(r->nnames, 3);
	cr_expect(!strcmp(r->names[0].text, "a") && !r->names[0].prefix);
	cr_expect(!strcmp(r->names[1].text, "sess") && r->names[1].prefix);
	cr_expect(!strcmp(r->names[2].text, "B") && !r->names[2].prefix);
	cr_expect_str_eq(r->label, "only a, sess*, B");
	cr_expect_eq(r->algorithm, HT_SHA1);
	cr_expect_eq(r->encoding, HT_HEX);
	cr_expect_not(r->name_in_mac);
	cr_expect_str_eq(r->separator, "");
	cr_expect_str_eq(r->sibling, "XS_");
	cr_expect(r->sibling_prefix);
	cr_expect_str_eq(r->reissue, "; Path=/app;secure ; SameSite=Lax");
	cr_expect_eq(r->enforce_after_s, 1796083200);
	cr_expect(r->expire_stripped);
	ht_config_free(c);
}

Test(config_rules, everything_that_native_has)
{
	struct ht_config *c = parse_ok(
		RULES("{ all-but: [\"_ga*\", theme], profile: native, key: k, bind: [client-ip], "
		      "lifetime: 90m, enforce-after: \"2028-02-29T23:59:59Z\", "
		      "sibling-attributes: copy }"));
	const struct ht_rule_config *r = c->sites->rules;

	cr_expect_eq(r->covers, HT_COVERS_ALL_BUT);
	cr_expect_str_eq(r->label, "all-but _ga*, theme");
	cr_expect_eq(r->lifetime_s, 5400);
	cr_expect_eq(r->enforce_after_s, 1835481599);
	ht_config_free(c);
}

Test(config_rules, a_star_makes_a_prefix_of_a_name)
{
	struct ht_config *c = parse_ok(RULES("{ name: \"sess*\", key: k }"));
	const struct ht_rule_config *r = c->sites->rules;

	cr_expect_eq(r->covers, HT_COVERS_ONLY);
	cr_expect(!r->name);
	cr_assert_eq(r->nnames, 1);
	cr_expect(!strcmp(r->names[0].text, "sess") && r->names[0].prefix);
	cr_expect_str_eq(r->label, "only sess*");
	ht_config_free(c);
}

Test(config_rules, a_long_label_is_cut)
{
	struct ht_config *c = parse_ok(RULES("{ only: [x" A32 ", y" A32 ", z" A32 "], key: k }"));
	const char *label = c->sites->rules->label;

	cr_expect_eq(strlen(label), HT_LABEL_MAX);
	cr_expect_str_eq(label + HT_LABEL_MAX - 3, "...");
	ht_config_free(c);
}

static const struct {
	const char *name, *rule;
	uint32_t accept;
	struct {
		const char *text;
		bool prefix;
		uint32_t accept;
	} siblings[3];
} places[] = {
	{"f5-irule moves to native",
	 "{ name: s, key: k, bind: [client-ip], accept: [f5-irule, native] }",
	 BITS(NATIVE) | BITS(F5_IRULE),
	 {{"HTSIG_", true, BITS(NATIVE)}, {"s_HMAC", false, BITS(F5_IRULE)}}},
	{"its own profile need not be accepted",
	 "{ name: s, accept: [native], " F5 " }",
	 BITS(NATIVE) | BITS(F5_IRULE),
	 {{"s_HMAC", false, BITS(F5_IRULE)}, {"HTSIG_", true, BITS(NATIVE)}}},
	{"all three",
	 "{ name: s, " F5 ", accept: [native, proxysg, f5-irule] }",
	 BITS(NATIVE) | BITS(F5_IRULE) | BITS(PROXYSG),
	 {{"s_HMAC", false, BITS(F5_IRULE)},
	  {"HTSIG_", true, BITS(NATIVE)},
	  {"BCSIG_", true, BITS(PROXYSG)}}},
	{"two profiles in one place",
	 "{ all: true, key: k, accept: [proxysg], sibling: BCSIG_* }",
	 BITS(NATIVE) | BITS(PROXYSG),
	 {{"BCSIG_", true, BITS(NATIVE) | BITS(PROXYSG)}}},
	{"a name for native",
	 "{ name: s, key: k, bind: [client-ip], accept: [f5-irule], sibling: s_HMAC }",
	 BITS(NATIVE) | BITS(F5_IRULE),
	 {{"s_HMAC", false, BITS(NATIVE) | BITS(F5_IRULE)}}},
};

Test(config_rules, where_tokens_are_looked_for)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(places); i++) {
		char text[1024];
		struct ht_config *c;
		const struct ht_rule_config *r;
		size_t n = 0;

		snprintf(text, sizeof(text), RULES("%s"), places[i].rule);
		c = parse_ok(text);
		r = c->sites->rules;
		cr_expect_eq(r->accept, places[i].accept, "%s", places[i].name);
		for (; n < 3 && places[i].siblings[n].text; n++) {
			const struct ht_sibling *s = &r->siblings[n];

			cr_assert(n < r->nsiblings, "%s", places[i].name);
			cr_expect_str_eq(s->text, places[i].siblings[n].text, "%s", places[i].name);
			cr_expect_eq(s->prefix, places[i].siblings[n].prefix, "%s", places[i].name);
			cr_expect_eq(s->accept, places[i].siblings[n].accept, "%s", places[i].name);
		}
		cr_expect_eq(r->nsiblings, n, "%s", places[i].name);
		cr_expect_str_eq(r->sibling, r->siblings[0].text);
		cr_expect_eq(r->sibling_prefix, r->siblings[0].prefix);
		ht_config_free(c);
	}
}

/* Keys of a profile that is only accepted say how its tokens are verified. */
Test(config_rules, keys_of_an_accepted_profile)
{
	struct ht_config *c = parse_ok(RULES("{ all: true, key: k, accept: [proxysg], "
					     "algorithm: sha1, encoding: base64url }"));

	cr_expect_eq(c->sites->rules->algorithm, HT_SHA1);
	cr_expect_eq(c->sites->rules->encoding, HT_BASE64URL);
	ht_config_free(c);
}

Test(config_rules, every_binding)
{
	static const char *const rows[] = {
		FILE_WITH(MTLS, "", "{ name: a, key: k, bind: [x509-spki, x509-subject, user] }"),
		FILE_WITH(PLAIN, "\ntrusted-proxies: [10.0.0.1]",
			  "{ name: a, key: k, bind: [user] }"),
		FILE_WITH(PLAIN, "\ngeoip: x.mmdb",
			  "{ name: a, key: k, bind: [geoip-country, client-ip] }"),
		FILE_WITH(TLS, "", "{ name: a, key: k, bind: [tls-exporter] }"),
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++)
		ht_config_free(parse_ok(rows[i]));
}

/* A connection without a subject is refused, as the iRule does; elsewhere its cookie goes. */
Test(config_rules, only_f5_irule_rejects_by_itself)
{
	struct ht_config *c =
		parse_ok(FILE_WITH(MTLS, "",
				   "{ name: a, key: k, bind: [x509-subject] },\n"
				   "{ name: b, key: k, profile: f5-irule, bind: [x509-subject] }"));

	cr_expect_eq(c->sites->rules[0].on_empty, HT_ON_EMPTY_STRIP);
	cr_expect_eq(c->sites->rules[1].on_empty, HT_ON_EMPTY_REJECT);
	ht_config_free(c);
}

/* ---- what is wrong ---- */

static const struct mistake mistakes[] = {
	/* which cookies */
	{"nothing", RULES("{ key: k }"), 4, 1, "write name: COOKIE, all: true, all-but:"},
	{"name and all", RULES("{ all: true, name: a, key: k }"), 4, 8,
	 "'name' and 'all' both say"},
	{"all and only", RULES("{ only: [a], key: k, all: true }"), 4, 9,
	 "'all' and 'only' both say"},
	{"all-but and only", RULES("{ only: [a], all-but: [b], key: k }"), 4, 9, "both say"},
	{"all: false", RULES("{ all: false, key: k }"), 4, 8, "write all: true, or name"},
	{"all as a list", RULES("{ all: [a], key: k }"), 4, 8, "'all' is a list"},
	{"only a word", RULES("{ only: a, key: k }"), 4, 9, "'only' is not a list"},
	{"empty list", RULES("{ all-but: [], key: k }"), 4, 12, "empty list"},
	{"* alone", RULES("{ name: \"*\", key: k }"), 4, 9, "write all: true"},
	{"* in a list", RULES("{ only: [a, \"*\"], key: k }"), 4, 13, "write all: true"},
	{"no cookie in a list", RULES("{ only: [\"a b\"], key: k }"), 4, 10, "is no cookie name"},
	{"prefix too long", RULES("{ only: [b" A32 "*], key: k }"), 4, 10, "at most 32"},
	{"twice in a list", RULES("{ only: [a, b, a], key: k }"), 4, 16, "overlap"},
	{"name under a prefix of the list", RULES("{ all-but: [\"a*\", ab], key: k }"), 4, 19,
	 "'a*' and 'ab' of this list overlap"},
	{"prefix under a prefix", RULES("{ all-but: [\"ab*\", \"a*\"], key: k }"), 4, 20,
	 "overlap"},
	{"f5-irule for all", RULES("{ all: true, " F5 " }"), 4, 23, "f5-irule signs one cookie"},
	{"f5-irule for a prefix", RULES("{ name: \"a*\", " F5 " }"), 4, 24,
	 "f5-irule signs one cookie"},
	{"f5-irule accepted for several",
	 RULES("{ only: [a], key: k, bind: [client-ip], accept: [f5-irule] }"), 4, 49,
	 "f5-irule signs one cookie"},
	{"f5-irule accepted without a binding", RULES("{ name: a, key: k, accept: [f5-irule] }"), 4,
	 1, "f5-irule needs one; write bind: [client-ip]"},

	/* bindings */
	{"spki of nobody", RULES("{ name: a, key: k, bind: [x509-spki] }"), 4, 27,
	 "x509-spki needs client certificates"},
	{"user of nobody", RULES("{ name: a, key: k, bind: [user] }"), 4, 27,
	 "user needs client certificates, or a proxy that is believed"},
	{"country without a database", RULES("{ name: a, key: k, bind: [geoip-country] }"), 4, 27,
	 "add geoip: FILE.mmdb"},
	{"exporter without TLS", RULES("{ name: a, key: k, bind: [tls-exporter] }"), 4, 27,
	 "needs TLS"},
	{"empty binding", RULES("{ name: a, key: k, bind: [] }"), 4, 26, "empty list"},

	/* dates */
	{"no date", RULES("{ name: a, key: k, enforce-after: soon }"), 4, 35, "is no date"},
	{"day 31 of June", RULES("{ name: a, key: k, enforce-after: 2026-06-31 }"), 4, 35,
	 "is no date"},
	{"February 29", RULES("{ name: a, key: k, enforce-after: 2027-02-29 }"), 4, 35,
	 "is no date"},
	{"another order", RULES("{ name: a, key: k, enforce-after: 01-12-2026 }"), 4, 35,
	 "is no date"},
	{"one digit", RULES("{ name: a, key: k, enforce-after: 2026-1-01 }"), 4, 35, "is no date"},
	{"more behind it", RULES("{ name: a, key: k, enforce-after: 2026-12-01x }"), 4, 35,
	 "is no date"},
	{"no zone", RULES("{ name: a, key: k, enforce-after: 2026-12-01T00:00:00 }"), 4, 35,
	 "in UTC"},
	{"second 60", RULES("{ name: a, key: k, enforce-after: 2026-12-01T00:00:60Z }"), 4, 35,
	 "is no date"},
	{"half a time", RULES("{ name: a, key: k, enforce-after: 2026-12-01T00:00Z }"), 4, 35,
	 "is no date"},
	{"before 1970", RULES("{ name: a, key: k, enforce-after: 1969-12-31 }"), 4, 35,
	 "is no date"},

	/* siblings */
	{"a name for several", RULES("{ all: true, key: k, sibling: tok }"), 4, 31,
	 "write a prefix such as HTSIG_*"},
	{"a prefix of nothing", RULES("{ all: true, key: k, sibling: \"*\" }"), 4, 31,
	 "the cookie's own name"},
	{"prefix too long", RULES("{ all: true, key: k, sibling: abcdefghijklmnopq* }"), 4, 31,
	 "write at most 16"},
	{"__Host- before the prefix", RULES("{ all: true, key: k, sibling: __host-x* }"), 4, 31,
	 "write what comes behind it"},
	{"__Secure- before the prefix", RULES("{ all: true, key: k, sibling: __Secure-* }"), 4, 31,
	 "write what comes behind it"},
	{"a prefix for f5-irule", RULES("{ name: a, " F5 ", sibling: X* }"), 4, 67,
	 "write its whole name"},
	{"no cookie name", RULES("{ all: true, key: k, sibling: \"a;*\" }"), 4, 31,
	 "is no cookie name"},
	{"name and prefix too long", RULES("{ name: " A96 ", key: k }"), 4, 9, "with HTSIG_ '" A32},
	{"too long in a list", RULES("{ only: [b, " A96 "], key: k }"), 4, 9,
	 "in a rule of its own"},
	{"f5-irule's default too long",
	 RULES("{ name: " A96 ", key: k, bind: [client-ip], accept: [f5-irule], sibling: t }"), 4,
	 9, "with _HMAC"},
	{"a cookie that begins as a sibling", RULES("{ name: HTSIG_a, key: k }"), 4, 1,
	 "begins as the siblings of this rule do (HTSIG_*)"},
	{"behind __Host-", RULES("{ name: __Host-BCSIG_a, " PX " }"), 4, 1,
	 "begins as the siblings"},
	{"a prefix that begins as a sibling", RULES("{ only: [b, \"HTSIG_x*\"], key: k }"), 4, 1,
	 "'HTSIG_x*' begins as the siblings"},
	{"a sibling that is the cookie", RULES("{ name: a, key: k, sibling: a }"), 4, 29,
	 "own name"},
	{"a sibling of an accepted profile", RULES("{ name: BCSIG_a, key: k, accept: [proxysg] }"),
	 4, 1, "(BCSIG_*)"},
	{"places that overlap", RULES("{ name: a, key: k, accept: [proxysg], sibling: BCSIG_b }"),
	 4, 48, "could be 'BCSIG_*' of another"},
	{"a cookie that is another rule's sibling",
	 RULES("{ only: [x], key: k },\n{ name: HTSIG_y, " PX " }"), 5, 9,
	 "'HTSIG_y' is already a cookie or a sibling of the rule in line 4"},
	{"the same in a list", RULES("{ only: [x], key: k },\n{ only: [y, HTSIG_z], " PX " }"), 5,
	 9, "'HTSIG_z' is already"},
	{"a sibling that is another rule's cookie",
	 RULES("{ name: BCSIG_y, key: k },\n{ only: [x], " PX " }"), 5, 1,
	 "the sibling 'BCSIG_*' is already a cookie or a sibling of the rule in line 4"},
	{"a name among another rule's siblings",
	 RULES("{ only: [x], key: k },\n{ name: a, " F5 ", sibling: HTSIG_q }"), 5, 67,
	 "the sibling 'HTSIG_q' is already"},
	{"prefixes of each other",
	 RULES("{ only: [x], key: k, sibling: S_* },\n{ only: [y], key: k, sibling: S_T_* }"), 5,
	 31, "the sibling 'S_T_*' is already"},
	{"three prefixes",
	 RULES("{ only: [x], key: k },\n{ only: [y], " PX " },\n"
	       "{ only: [z], key: k, sibling: S_* }"),
	 6, 31, "can have 2 different prefixes, and after HTSIG_* and BCSIG_* this one (S_*)"},
	{"three prefixes by acceptance",
	 RULES("{ only: [x], key: k, sibling: S_* },\n{ only: [y], key: k, accept: [proxysg] }"), 5,
	 1, "can have 2 different prefixes"},
	{"a cookie twice", RULES("{ name: a, key: k },\n{ name: a, key: k }"), 5, 9,
	 "each name may stand once in a site"},

	/* session ids */
	{"session-id of all", RULES("{ all: true, " SID " }"), 4, 23,
	 "a session-id is one cookie, and this rule is for 'all'"},
	{"session-id of a prefix", RULES("{ name: s*, " SID " }"), 4, 22, "write name: COOKIE"},
	{"accepted for all", RULES("{ all: true, key: k, accept: [session-id] }"), 4, 30,
	 "a session-id is one cookie"},
	{"session-id accepts another", RULES("{ name: a, " SID ", accept: [native] }"), 4, 49,
	 "can't become a session-id"},
	{"session-id bound", RULES("{ name: a, " SID ", bind: [client-ip] }"), 4, 47,
	 "no place for a binding"},
	{"session-id with a sibling", RULES("{ name: a, " SID ", sibling: b }"), 4, 50,
	 "has no sibling"},
	{"session-id with an algorithm", RULES("{ name: a, " SID ", algorithm: sha1 }"), 4, 52,
	 "belongs to profile proxysg"},
	{"an issue path without '/'", RULES("{ name: a, " SID ", issue: [login] }"), 4, 49,
	 "issue path 'login' does not begin with '/'"},
	{"an issue path with a '*' inside", RULES("{ name: a, " SID ", issue: [\"/a*b\"] }"), 4, 49,
	 "only a last one makes a prefix"},
	{"issue without paths", RULES("{ name: a, " SID ", issue: [] }"), 4, 48, "empty list"},

	/* sealed cookies */
	{"sealed with a sibling", RULES("{ name: a, " SEALED ", sibling: b }"), 4, 53,
	 "a sealed cookie is its own proof and has no sibling"},
	{"sealed or an id", RULES("{ name: a, key: k, accept: [session-id, secure-cookie] }"), 4,
	 28, "session ids or sealed cookies, not both"},
	{"sealed, of an id", RULES("{ name: a, " SEALED ", accept: [session-id] }"), 4, 52,
	 "not both"},
	{"sealed with an encoding", RULES("{ name: a, " SEALED ", encoding: hex }"), 4, 54,
	 "belongs to profile proxysg"},

	/* keys of other profiles */
	{"algorithm of native", RULES("{ name: a, key: k, algorithm: sha1 }"), 4, 31,
	 "'algorithm' belongs to profile proxysg, and the rule has profile native"},
	{"encoding of f5-irule", RULES("{ name: a, " F5 ", encoding: hex }"), 4, 68,
	 "belongs to profile proxysg"},
	{"name-in-mac of native", RULES("{ name: a, key: k, name-in-mac: false }"), 4, 33,
	 "belongs to profile proxysg"},
	{"separator of native", RULES("{ name: a, key: k, separator: \"\" }"), 4, 31,
	 "belongs to profile proxysg"},
	{"lifetime of proxysg", RULES("{ name: a, " PX ", lifetime: 1h }"), 4, 48,
	 "belongs to profiles native, session-id and secure-cookie, and the rule has profile "
	 "proxysg"},
	{"issue of native", RULES("{ name: a, key: k, issue: [/login] }"), 4, 27,
	 "'issue' belongs to profile session-id, and the rule has profile native"},
	{"fixed attributes of native", RULES("{ name: a, key: k, sibling-attributes: seed }"), 4,
	 40, "those of f5-irule, and profile native has none"},
	{"other attributes of f5-irule",
	 RULES("{ name: a, " F5 ", reissue-attributes: \"Path=/\" }"), 4, 78,
	 "write sibling-attributes: copy"},

	/* their values */
	{"algorithm", RULES("{ name: a, " PX ", algorithm: md5 }"), 4, 49, "write sha256 or sha1"},
	{"encoding", RULES("{ name: a, " PX ", encoding: base32 }"), 4, 48,
	 "write base64, base64url or hex"},
	{"name-in-mac", RULES("{ name: a, " PX ", name-in-mac: yes }"), 4, 51,
	 "write true or false"},
	{"separator without value", RULES("{ name: a, " PX ", separator: }"), 4, 49,
	 "has no value"},
	{"separator too long", RULES("{ name: a, " PX ", separator: 123456789 }"), 4, 49,
	 "write at most 8"},
	{"name without separator", RULES("{ name: a, " PX ", separator: \"\" }"), 4, 49,
	 "add name-in-mac: false"},
	{"separator in the name", RULES("{ name: a-b, " PX ", separator: \"-\" }"), 4, 51,
	 "stands in the name 'a-b'"},
	{"separator in a listed prefix", RULES("{ only: [x, \"a-*\"], " PX ", separator: \"-\" }"),
	 4, 58, "stands in the name 'a-'"},
	{"separator in addresses",
	 RULES("{ name: a, " PX ", bind: [client-ip], separator: \":\" }"), 4, 68,
	 "stands in addresses"},
	{"lifetime without unit", RULES("{ name: a, key: k, lifetime: 24 }"), 4, 30, "write 24s"},
	{"lifetime of nothing", RULES("{ name: a, key: k, lifetime: 0s }"), 4, 30, "between"},
	{"Max-Age again", RULES("{ name: a, key: k, reissue-attributes: \"Path=/; Max-Age=5\" }"),
	 4, 40, "'Max-Age=5' in 'reissue-attributes' is no attribute"},
	{"a path that is none", RULES("{ name: a, key: k, reissue-attributes: Path=x }"), 4, 40,
	 "is no attribute"},
	{"attributes too long", RULES("{ name: a, key: k, reissue-attributes: \"Path=/" A96 "\" }"),
	 4, 40, "longer than 96"},
	{"33 names",
	 RULES("{ only: [a1,a2,a3,a4,a5,a6,a7,a8,a9,b1,b2,b3,b4,b5,b6,b7,b8,b9,c1,c2], key: k },\n"
	       "{ only: [d1,d2,d3,d4,d5,d6,d7,d8,d9,e1,e2,e3,e4], key: k }"),
	 5, 1, "can name 32 cookies and 32 prefixes of cookies; with this one they are 33 and 0"},
	{"65 in one list",
	 RULES("{ only: [" A8
	       "1,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,"
	       "b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b], key: k }"),
	 4, 146, "at most 64"},
	{"the balance cookie by name",
	 "keys: [{ name: k, file: k }]\nlisteners: [{ address: 127.0.0.1:80 }]\n"
	 "sites: [{ hosts: [a], upstreams: [a:1], balance: cookie, cookies: [\n"
	 "{ only: [\"ht_*\"], key: k }] }]\n",
	 3, 9, "'ht_backend' is a cookie or a sibling of the rule in line 4"},
	{"the balance cookie among all",
	 "keys: [{ name: k, file: k }]\nlisteners: [{ address: 127.0.0.1:80 }]\n"
	 "sites: [{ hosts: [a], upstreams: [a:1], balance: cookie, cookies: [\n"
	 "{ all: true, key: k }] }]\n",
	 3, 67, "write all-but: [ht_backend]"},
};

Test(config_rules, mistakes)
{
	CHECK_MISTAKES(mistakes);
}

Test(config_rules, what_goes_together)
{
	static const char *const rows[] = {
		RULES("{ name: a, " F5 " },\n{ all: true, key: k, bind: [client-ip] }"),
		RULES("{ only: [\"HT*\"], key: k }"), /* siblings are looked for first */
		RULES("{ all-but: [HTSIG_x], key: k }"),
		RULES("{ only: [x], key: k },\n{ only: [y], key: k }"), /* one prefix */
		RULES("{ name: __Host-sid, key: k }"),
		RULES("{ only: [a], " PX ", separator: \"--\", bind: [client-ip] }"),
		RULES("{ all-but: [\"a|b\"], " PX " }"),
		"keys: [{ name: k, file: k }]\nlisteners: [{ address: 127.0.0.1:80 }]\n"
		"sites: [{ hosts: [a], upstreams: [a:1], balance: cookie, cookies: [\n"
		"{ all-but: [\"ht_*\"], key: k }] }]\n",
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++)
		ht_config_free(parse_ok(rows[i]));
}

/* ---- warnings ---- */

#define IP ", key: k, bind: [client-ip]"
#define NEVER "never counts"

static const struct warning warnings[] = {
	{"no binding", RULES("{ name: a, key: k }"),
	 "4: the tokens of this rule (a) are bound to nothing", NULL},
	{"bound", RULES("{ name: a" IP " }"), NULL, "bound to nothing"},
	{"no binding, off", RULES("{ name: a, key: k, mode: off }"), NULL, "bound to nothing"},
	{"exporter", FILE_WITH(TLS, "", "{ name: a, key: k, bind: [tls-exporter] }"),
	 "4: tls-exporter lives for one connection", NULL},
	{"all behind all", RULES("{ all: true" IP " },\n{ all: true" IP " }"),
	 "5: this rule (all) " NEVER, "4: this rule"},
	{"a name behind all", RULES("{ all: true" IP " },\n{ name: a" IP " }"), "5: this rule (a)",
	 NULL},
	{"all behind a name", RULES("{ name: a" IP " },\n{ all: true" IP " }"), NULL, NEVER},
	{"a name under a prefix", RULES("{ only: [\"a*\"]" IP " },\n{ name: ab" IP " }"),
	 "5: this rule (ab)", NULL},
	{"a prefix over a name", RULES("{ name: ab" IP " },\n{ only: [\"a*\"]" IP " }"), NULL,
	 NEVER},
	{"all of a list", RULES("{ name: a" IP " },\n{ name: b" IP " },\n{ only: [b, a]" IP " }"),
	 "6: this rule (only b, a)", NULL},
	{"some of a list", RULES("{ name: a" IP " },\n{ only: [b, a]" IP " }"), NULL, NEVER},
	{"an exception behind all-but", RULES("{ all-but: [a]" IP " },\n{ name: a" IP " }"), NULL,
	 NEVER},
	{"no exception behind all-but", RULES("{ all-but: [a]" IP " },\n{ name: b" IP " }"),
	 "5: this rule (b)", NULL},
	{"a prefix over an exception", RULES("{ all-but: [ab]" IP " },\n{ only: [\"a*\"]" IP " }"),
	 NULL, NEVER},
	{"all behind all-but", RULES("{ all-but: [a]" IP " },\n{ all: true" IP " }"), NULL, NEVER},
	{"all behind all-but and the exception",
	 RULES("{ all-but: [a]" IP " },\n{ name: a" IP " },\n{ all: true" IP " }"),
	 "6: this rule (all)", NULL},
	{"all-but behind a smaller one",
	 RULES("{ all-but: [a]" IP " },\n{ all-but: [a, b]" IP " }"), "5: this rule", NULL},
	{"all-but behind a larger one", RULES("{ all-but: [a, b]" IP " },\n{ all-but: [a]" IP " }"),
	 NULL, NEVER},
	{"behind a rule that is off, which is for them",
	 RULES("{ all: true, mode: off" IP " },\n{ name: a" IP " }"), "5: this rule (a)", NULL},
	{"no separator",
	 RULES("{ name: a, " PX ", bind: [client-ip], name-in-mac: false, "
	       "separator: \"\" }"),
	 "4: without a separator", "name-in-mac"},
	{"no separator, no binding",
	 RULES("{ name: a, " PX ", name-in-mac: false, separator: \"\" }"), NULL,
	 "without a separator"},
	{"no name", RULES("{ all: true, " PX ", name-in-mac: false }"), "4: without name-in-mac",
	 "without a separator"},
};

Test(config_rules, warnings)
{
	CHECK_WARNINGS(warnings);
}
