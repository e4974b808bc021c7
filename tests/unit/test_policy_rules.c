/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which rule covers a name: what is decided for signing a Set-Cookie must be what the scanner
 * decides in a request, or a cookie is signed that nobody checks, or checked that nobody signed.
 */
#include <criterion/criterion.h>

#include "../rules.h"
#include "policy.h"

static struct ht_cookie_name ui[] = {{(char *)"ui_", true}, {(char *)"theme", false}};
static struct ht_cookie_name shop[] = {
	{(char *)"shop_", true}, {(char *)"sid", false}, {(char *)"__Host-", true}};
static char *hosts[] = {(char *)"*"};
static struct ht_config config = {.file = "t.yaml", .limits.covered_cookies = 16};
static struct ht_policy_site site;

static void compile(struct ht_rule_config *rules, size_t n)
{
	static struct ht_site_config kept; /* the policy points to it */
	struct ht_diag diag;

	kept = (struct ht_site_config){.hosts = hosts, .nhosts = 1, .rules = rules, .nrules = n};
	cr_assert_eq(ht_policy_compile(&config, &kept, &site, &diag), 0, "%s", diag.text);
}

#define NONE (-1)
#define TOKEN (-2)

/* What the scanner makes of it. */
static int scanned(const char *name)
{
	static struct ht_head h;
	char head[512];
	size_t len = (size_t)sprintf(head, "GET / HTTP/1.1\r\nCookie: %s=v\r\n\r\n", name);
	struct ht_text t = {(const uint8_t *)head, (const uint8_t *)head + len};

	ht_head_init(&h, &t, (uint32_t)len);
	while (!ht_head_step(&t, &h, &site.gate))
		;
	cr_assert_eq(h.reason, 0);
	if (!h.nocc)
		return NONE;
	return h.occ[0].form ? TOKEN : h.seen[h.occ[0].seen].rule;
}

static int covered(const char *name)
{
	bool token;
	size_t rule = ht_policy_covers(&site, HT_STR(name), &token);

	return token ? TOKEN : rule == SIZE_MAX ? NONE : (int)rule;
}

struct want {
	const char *name;
	int rule;
};

static void check(const struct want *want, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		cr_assert_eq(scanned(want[i].name), want[i].rule, "scanned %s: %d", want[i].name,
			     scanned(want[i].name));
		cr_assert_eq(covered(want[i].name), want[i].rule, "covers %s: %d", want[i].name,
			     covered(want[i].name));
	}
}

#define CHECK(list) check(list, HT_ARRAY_SIZE(list))

Test(policy_rules, all)
{
	struct ht_rule_config rules[] = {PROXYSG_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_ENFORCE)};
	static const struct want want[] = {
		{"a", 0},
		{"sid", 0},
		{"__Host-sid", 0},
		{"BCSIG", 0},
		{"xBCSIG_", 0},
		{"bcsig_a", 0},
		{"BCSIG_", TOKEN},
		{"BCSIG_a", TOKEN},
		{"__Host-BCSIG_a", TOKEN},
		{"__Secure-BCSIG_a", TOKEN},
		{"__host-BCSIG_a", 0},
		{"HTSIG_a", 0},
	};

	compile(rules, HT_ARRAY_SIZE(rules));
	CHECK(want);
}

Test(policy_rules, all_but)
{
	struct ht_rule_config rules[] = {NATIVE_RULE(HT_COVERS_ALL_BUT, ui, 2, HT_MODE_ENFORCE)};
	static const struct want want[] = {
		{"ui_", NONE},
		{"ui_lang", NONE},
		{"ui", 0},
		{"uI_x", 0},
		{"theme", NONE},
		{"theme2", 0},
		{"Theme", 0},
		{"sid", 0},
		{"HTSIG_a", TOKEN},
		{"HTSIG_theme", TOKEN},
		{"__Secure-HTSIG_", TOKEN},
	};

	compile(rules, HT_ARRAY_SIZE(rules));
	CHECK(want);
}

Test(policy_rules, only)
{
	struct ht_rule_config rules[] = {NATIVE_RULE(HT_COVERS_ONLY, shop, 3, HT_MODE_ENFORCE)};
	static const struct want want[] = {
		{"shop_", 0},	{"shop_cart", 0}, {"shop", NONE},   {"sid", 0},
		{"sid2", NONE}, {"__Host-x", 0},  {"__Host", NONE}, {"x", NONE},
	};

	compile(rules, HT_ARRAY_SIZE(rules));
	CHECK(want);
}

Test(policy_rules, the_first_one_wins_and_what_is_off_hides)
{
	struct ht_rule_config rules[] = {
		F5_RULE("sid", HT_MODE_ENFORCE),
		NATIVE_RULE(HT_COVERS_ONLY, ui, 2, HT_MODE_OFF),
		NATIVE_RULE(HT_COVERS_ONLY, shop, 3, HT_MODE_ENFORCE),
		PROXYSG_RULE(HT_COVERS_ALL_BUT, shop, 3, HT_MODE_ENFORCE),
		NATIVE_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_REPORT),
	};
	/* numbers are of the rules that are not off */
	static const struct want want[] = {
		{"sid", 0},	    {"sid_HMAC", TOKEN},       {"ui_x", NONE}, {"theme", NONE},
		{"shop_x", 1},	    {"__Host-a", 1},	       {"other", 2},   {"BCSIG_sid", TOKEN},
		{"HTSIG_a", TOKEN}, {"__Host-HTSIG_a", TOKEN},
	};

	compile(rules, HT_ARRAY_SIZE(rules));
	CHECK(want);
}

Test(policy_rules, off_alone_looks_for_nothing)
{
	struct ht_rule_config rules[] = {PROXYSG_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_OFF)};
	static const struct want want[] = {{"sid", NONE}, {"BCSIG_sid", NONE}};

	compile(rules, HT_ARRAY_SIZE(rules));
	CHECK(want);
}
