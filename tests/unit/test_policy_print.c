/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By what forged cookies are told apart: the same one has the same print, whoever judged it, and
 * another value or another token is another one.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>

#include "../rules.h"
#include "policy.h"

#define HEAD(cookies) "GET / HTTP/1.1\r\nHost: a\r\nCookie: " cookies "\r\n\r\n"

static const uint8_t secret_bytes[] = "AzaZ5678901234567XYZ34567XYZ";
static const struct ht_secret secret = {.bytes = secret_bytes, .len = sizeof(secret_bytes) - 1};
static struct ht_key key = {.name = "k", .gen = 1, .nsecrets = 1, .secrets = &secret};
static struct ht_keyring ring = {.nkeys = 1, .keys = &key, .global_gen = 1};
static const struct ht_sip_keys sip = {{1, 2}, {3, 4}}, other_sip = {{1, 2}, {3, 5}};

static struct ht_rule_config rules[] = {
	F5_RULE("sid", HT_MODE_ENFORCE, .nbinds = 1,
		.binds = {{.kind = HT_BIND_CLIENT_IP, .v4_bits = 32, .v6_bits = 128}}),
	F5_RULE("cart", HT_MODE_ENFORCE, .nbinds = 1,
		.binds = {{.kind = HT_BIND_CLIENT_IP, .v4_bits = 32, .v6_bits = 128}}),
};
static char *hosts[] = {"a"};
static struct ht_site_config site_config = {
	.hosts = hosts, .nhosts = 1, .rules = rules, .nrules = 2};
static struct ht_config config = {.file = "t.yaml", .limits.covered_cookies = 16};
static struct ht_policy_site site;
static struct ht_binding binding;
static struct ht_head scratch;
static struct ht_judgement judgement;

static void setup(void)
{
	struct ht_client c = {.addr.ss_family = AF_INET};
	struct ht_diag diag;

	cr_assert_eq(inet_pton(AF_INET, "192.0.2.10", &((struct sockaddr_in *)&c.addr)->sin_addr),
		     1);
	ht_binding_make(rules[0].binds, 1, &c, &binding);
	cr_assert_eq(ht_policy_compile(&config, &site_config, &site, &diag), 0, "%s", diag.text);
}

TestSuite(policy_print, .init = setup);

/* Of the only cookie of the head, as the daemon judges it. */
static uint64_t judged(const char *text, const struct ht_sip_keys *prints)
{
	const struct ht_policy_client client = {.bind = &binding, .prints = prints};
	size_t len = strlen(text);
	char head[1024];

	memcpy(head, text, len);
	cr_assert_eq(ht_policy_judge(&(struct ht_policy_context){&site, &ring, NULL, &client},
				     &scratch, head, &len, 0, &judgement),
		     0);
	cr_assert_eq(judgement.ncookies, 1, "%s", text);
	cr_assert_eq(judgement.cookie[0].verdict, HT_COOKIE_FORGED, "%s", text);
	return judgement.cookie[0].print;
}

/* As the kernel has judged it, and the daemon only names it. */
static uint64_t named(const char *text)
{
	ht_policy_name(&site, &scratch, text, strlen(text), 1, &sip, &judgement);
	cr_assert_eq(judgement.ncookies, 1, "%s", text);
	return judgement.cookie[0].print;
}

/* All different from each other. */
static const char *const heads[] = {
	HEAD("sid=a; sid_HMAC=b"),  HEAD("sid=a; sid_HMAC=c"),	HEAD("sid=b; sid_HMAC=b"),
	HEAD("sid=ab; sid_HMAC=c"), HEAD("sid=a; sid_HMAC=bc"), HEAD("cart=a; cart_HMAC=b"),
	HEAD("sid=a; sid_HMAC=b0"), HEAD("sid=a0; sid_HMAC=b"),
};

Test(policy_print, tells_cookies_apart)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(heads); i++) {
		for (size_t k = 0; k < i; k++)
			cr_expect_neq(judged(heads[i], &sip), judged(heads[k], &sip), "%s and %s",
				      heads[i], heads[k]);
	}
}

Test(policy_print, is_the_same_whoever_judged)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(heads); i++)
		cr_expect_eq(judged(heads[i], &sip), named(heads[i]), "%s", heads[i]);
	cr_expect_eq(judged(HEAD("sid=a; sid_HMAC=b"), &sip),
		     judged(HEAD("x=y;  sid=a ; z; sid_HMAC=b"), &sip), "whatever is around it");
}

Test(policy_print, is_keyed)
{
	cr_expect_neq(judged(heads[0], &sip), judged(heads[0], &other_sip));
	cr_expect_eq(judged(heads[0], NULL), 0);
}
