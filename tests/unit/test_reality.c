/* SPDX-License-Identifier: Apache-2.0 */
/* The table of cookie_cases.h through the daemon's own judgement, as it is where no gate is. */
#include <arpa/inet.h>
#include <criterion/criterion.h>

#include "../cookie_rules.h"

static const uint8_t secret[] = "AzaZ5678901234567XYZ34567XYZ";
static struct ht_key key = {.name = "k", .gen = 1, .nsecrets = 1, .secrets = &cookie_signer.secret};
static const struct ht_keyring ring = {.nkeys = 1, .keys = &key, .global_gen = 1};
static const struct ht_sip_keys sip = {{1, 2}, {3, 4}};
static struct ht_binding binding;
static const struct ht_policy_client client = {.bind = &binding, .time = {COOKIE_NOW, 1000000000}};
static struct ht_site_config config;
static struct ht_policy_site site;

static void compile(enum cookie_site which)
{
	struct ht_config c = {.file = "t.yaml", .limits.covered_cookies = HT_COOKIES_MAX};
	struct ht_client me = {.addr = {.ss_family = AF_INET}};
	struct ht_diag diag;

	config = cookie_site_rules(which);
	inet_pton(AF_INET, "192.0.2.10", &((struct sockaddr_in *)&me.addr)->sin_addr);
	cr_assert_eq(ht_policy_compile(&c, &config, &site, &diag), 0, "%s", diag.text);
	cr_assert_eq(site.nbinds, 1);
	ht_binding_make(site.bind[0].binds, site.bind[0].nbinds, &me, &binding);
	cookie_signer.secret = (struct ht_secret){.bytes = secret, .len = sizeof(secret) - 1};
	cookie_signer.bind = &binding;
}

/* As the daemon does: what the scanner refuses is written canonically, once. */
static int judge(char *head, size_t *len, const struct ht_sip_keys *keys, struct ht_judgement *ret)
{
	static struct ht_head scratch;
	int reason = ht_policy_judge(&(struct ht_policy_context){&site, &ring, keys, &client},
				     &scratch, head, len, 0, ret);

	if (!reason)
		return 0;
	ht_policy_canonicalize(head, len);
	return ht_policy_judge(&(struct ht_policy_context){&site, &ring, keys, &client}, &scratch,
			       head, len, 0, ret);
}

static void expect_verdict(const struct cookie_case *c, const char *want,
			   const struct ht_judgement *j)
{
	char got[64];

	cr_expect_eq(j->ncookies > 0, want != NULL, "%s: %zu covered", c->name, j->ncookies);
	if (!want || !j->ncookies)
		return;
	snprintf(got, sizeof(got), "%s %s", ht_cookie_verdict_name(j->cookie[0].verdict),
		 ht_cookie_action_name(j->cookie[0].action));
	cr_expect_str_eq(got, want, "%s: %s", c->name, got);
}

/* Whatever stays is pushed, nothing else. */
static void expect_pushes(const struct cookie_case *c, const struct ht_judgement *j)
{
	size_t pass = 0;

	for (size_t k = 0; k < j->ncookies; k++)
		pass += j->cookie[k].action == HT_ACTION_PASS;
	cr_expect_eq(j->npushes, pass, "%s: %zu pushes", c->name, j->npushes);
	cr_expect_eq(j->nreissues, 0, "%s", c->name);
}

static void expect_case(enum cookie_site which, const struct cookie_case *c)
{
	static char head[COOKIE_TEXT_MAX], want[COOKIE_TEXT_MAX];
	static struct ht_judgement j;
	const char *pattern = cookie_want(c, which);
	bool refused = !strcmp(pattern, COOKIE_REFUSED);
	size_t len = cookie_head(which, c->before, head), want_len;
	int reason = judge(head, &len, NULL, &j);

	cr_expect_eq(reason, refused ? HT_REASON_COOKIES : 0, "%s: %d", c->name, reason);
	if (refused || reason)
		return;
	want_len = cookie_head(which, pattern, want);
	head[len] = 0;
	cr_expect(len == want_len && !memcmp(head, want, len), "%s, %s: left\n%sand not\n%s",
		  cookie_site_names[which], c->name, head, want);
	if (which != COOKIE_ALL)
		expect_verdict(c, which != COOKIE_F5 && c->named ? c->named : c->verdict, &j);
	cr_expect_eq(j.npushes, 0, "%s: nobody comes behind us", c->name);
	len = cookie_head(which, c->before, head);
	cr_expect_eq(judge(head, &len, &sip, &j), 0);
	expect_pushes(c, &j);
}

static void expect_table(enum cookie_site which)
{
	compile(which);
	for (size_t i = 0; i < COOKIE_CASES; i++)
		expect_case(which, &cookie_cases[i]);
}

Test(reality, f5_irule)
{
	expect_table(COOKIE_F5);
}

Test(reality, native)
{
	expect_table(COOKIE_NATIVE);
}

Test(reality, proxysg)
{
	expect_table(COOKIE_PROXYSG);
}

Test(reality, proxysg_all)
{
	expect_table(COOKIE_ALL);
}
