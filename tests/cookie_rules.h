/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sites of cookie_cases.h as rules, and their tokens from token.h: for the unit tests and the
 * gate's, which call the policy itself. The end-to-end suite has its own.
 */
#ifndef HT_TEST_COOKIE_RULES_H
#define HT_TEST_COOKIE_RULES_H

#include "cookie_cases.h"
#include "policy.h"
#include "rules.h"
#include "token.h"

#define COOKIE_NOW 1700000000 /* the daemon's clock */

/* Whose tokens cookie_token() makes: set it before. */
static struct {
	struct ht_secret secret;
	const struct ht_binding *bind;
} cookie_signer;

static inline const char *cookie_token(enum cookie_site site, const char *name, const char *value)
{
	static const enum ht_profile profiles[COOKIE_SITES] = {
		HT_PROFILE_F5_IRULE, HT_PROFILE_NATIVE, HT_PROFILE_PROXYSG, HT_PROFILE_PROXYSG};
	static char text[HT_TOKEN_TEXT_MAX + 1];
	const struct ht_token_params p = {
		.profile = profiles[site],
		.secret = cookie_signer.secret,
		.name = HT_STR(name),
		.value = HT_STR(value),
		.input = {cookie_signer.bind->text, cookie_signer.bind->len},
		.input_colon = cookie_signer.bind->colon,
		.bind = cookie_signer.bind->sha,
		.name_in_mac = true,
		.separator = HT_STR("|"),
		.issued_s = COOKIE_NOW - 60,
		.expires_s = COOKIE_NOW + 3600,
	};
	size_t len;

	if (ht_token_sign(&p, text, &len))
		return "a-guard-forbids-it";
	text[len] = 0;
	return text;
}

#define COOKIE_BIND .binds = {{HT_BIND_CLIENT_IP, 32, 128}}, .nbinds = 1

static struct ht_cookie_name cookie_list[] = {{(char *)"sid", false}, {(char *)"cart", false}};
static struct ht_rule_config cookie_f5[] = {
	F5_RULE("sid", HT_MODE_ENFORCE, COOKIE_BIND),
	F5_RULE("cart", HT_MODE_ENFORCE, COOKIE_BIND),
};
static struct ht_rule_config cookie_native[] = {
	NATIVE_RULE(HT_COVERS_ONLY, cookie_list, 2, HT_MODE_ENFORCE, COOKIE_BIND)};
static struct ht_rule_config cookie_proxysg[] = {
	PROXYSG_RULE(HT_COVERS_ONLY, cookie_list, 2, HT_MODE_ENFORCE, COOKIE_BIND)};
static struct ht_rule_config cookie_all[] = {
	PROXYSG_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_ENFORCE, COOKIE_BIND)};

static inline struct ht_site_config cookie_site_rules(enum cookie_site site)
{
	static struct ht_rule_config *const rules[COOKIE_SITES] = {cookie_f5, cookie_native,
								   cookie_proxysg, cookie_all};
	static char *hosts[] = {(char *)"shop.example.com"};

	return (struct ht_site_config){.hosts = hosts,
				       .nhosts = 1,
				       .rules = rules[site],
				       .nrules = site == COOKIE_F5 ? 2 : 1};
}

/* A request head with the pattern's fields, NUL-terminated. */
static inline size_t cookie_head(enum cookie_site site, const char *pattern, char *out)
{
	size_t n = (size_t)sprintf(out, "GET / HTTP/1.1\r\nHost: a\r\n");

	n += cookie_write(site, cookie_token, pattern, out + n);
	return n + (size_t)sprintf(out + n, "\r\n");
}

#endif
