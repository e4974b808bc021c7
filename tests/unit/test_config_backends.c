/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the configuration says of backends: https upstreams, balancing, names and health checks, and
 * the place and text of each mistake.
 */
#include <criterion/criterion.h>

#include "config_text.h"

#define LISTEN "listeners: [{ address: 127.0.0.1:8080 }]\n"
#define SITE(text) LISTEN "sites:\n- hosts: [a]\n  upstreams: [a:1]\n  " text "\n"
#define UP(text) LISTEN "sites:\n- hosts: [a]\n  upstreams: [" text "]\n"
#define KEYS "keys: [{ name: k, file: k }]\n"

Test(config_backends, defaults)
{
	struct ht_config *c = parse_ok(UP("a:1"));
	const struct ht_site_config *s = c->sites;

	cr_expect_eq(s->balance, HT_BALANCE_ROUND_ROBIN);
	cr_expect_null(s->balance_cookie);
	cr_expect_null(s->upstream_ca);
	cr_expect_null(s->check.path);
	cr_expect_eq(s->resolve_every, 30000);
	cr_expect_not(s->upstreams[0].tls);
	ht_config_free(c);
}

static const struct {
	const char *word;
	enum ht_balance balance;
} words[] = {
	{"balance: round-robin", HT_BALANCE_ROUND_ROBIN},
	{"balance: least-connections", HT_BALANCE_LEAST_CONNECTIONS},
	{"balance: source", HT_BALANCE_SOURCE},
	{"balance: cookie", HT_BALANCE_COOKIE},
};

Test(config_backends, balance)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(words); i++) {
		char text[512];
		struct ht_config *c;

		snprintf(text, sizeof(text), UP("a:1") "  %s\n", words[i].word);
		c = parse_ok(text);
		cr_expect_eq(c->sites[0].balance, words[i].balance, "%s", words[i].word);
		if (words[i].balance == HT_BALANCE_COOKIE)
			cr_expect_str_eq(c->sites[0].balance_cookie, "ht_backend");
		ht_config_free(c);
	}
}

Test(config_backends, everything)
{
	struct ht_config *c = parse_ok(
		UP("\"https://app.internal\", \"https://10.1.2.3:8443\", \"https://[::1]:8443\", "
		   "\"https://[::1]\"") "  balance: cookie\n  balance-cookie: where\n  "
					"resolve-every: 5s\n"
					"  upstream-ca: ca.pem\n"
					"  health-check: { path: \"/up?x=1\", every: 1s, timeout: "
					"500ms, rise: 3, fall: 4, "
					"status: 204 }\n");
	const struct ht_site_config *s = c->sites;

	cr_expect_str_eq(s->balance_cookie, "where");
	cr_expect_str_eq(s->upstream_ca, "/etc/hardtack/ca.pem");
	cr_expect_eq(s->resolve_every, 5000);
	cr_expect_str_eq(s->check.path, "/up?x=1");
	cr_expect_eq(s->check.every, 1000);
	cr_expect_eq(s->check.timeout, 500);
	cr_expect_eq(s->check.rise, 3);
	cr_expect_eq(s->check.fall, 4);
	cr_expect_eq(s->check.status, 204);
	cr_assert_eq(s->nupstreams, 4);
	for (size_t i = 0; i < 4; i++)
		cr_expect(s->upstreams[i].tls);
	cr_expect_str_eq(s->upstreams[0].host, "app.internal");
	cr_expect_eq(s->upstreams[0].port, 443);
	cr_expect_eq(s->upstreams[1].port, 8443);
	cr_expect_str_eq(s->upstreams[2].host, "::1");
	cr_expect_eq(s->upstreams[2].port, 8443);
	cr_expect_eq(s->upstreams[3].port, 443);
	ht_config_free(c);
}

static const struct mistake mistakes[] = {
	{"https and a gate", "gate: require\n" UP("\"https://10.1.2.3:8443\""), 5, 15,
	 "'gate: require' can't hold for the upstream 'https://10.1.2.3:8443'"},
	{"unix and a gate", "gate: require\n" UP("unix:app.sock"), 5, 15,
	 "'gate: require' can't hold for the upstream 'unix:app.sock'"},
	{"https with a path", UP("\"https://a:1/x\""), 4, 15, "has a path"},
	{"https without host", UP("\"https://\""), 4, 15, "has a path"},
	{"https with a port that is none", UP("\"https://a:0\""), 4, 15, "number from 1 to 65535"},
	{"https with odd characters", UP("\"https://a b\""), 4, 15, "is no host name or address"},
	{"http", UP("\"http://a:1\""), 4, 15, "is a URL"},
	{"balance", SITE("balance: random"), 5, 12, "write round-robin"},
	{"cookie without balance", SITE("balance-cookie: x"), 5, 19, "needs balance: cookie"},
	{"cookie name", SITE("balance: cookie\n  balance-cookie: \"a b\""), 6, 19,
	 "is no cookie name"},
	{"cookie that is covered",
	 KEYS SITE("balance: cookie\n  balance-cookie: sid\n  cookies: [{ name: sid, profile: "
		   "f5-irule, key: k, bind: [client-ip] }]"),
	 7, 19, "is a cookie or a sibling of the rule in line 8"},
	{"cookie that is a sibling",
	 KEYS SITE("balance: cookie\n  balance-cookie: sid_HMAC\n  cookies: [{ name: sid, profile: "
		   "f5-irule, key: k, bind: [client-ip] }]"),
	 7, 19, "is a cookie or a sibling of the rule in line 8"},
	{"ca without https", SITE("upstream-ca: ca.pem"), 5, 16, "needs an https upstream"},
	{"resolve-every", SITE("resolve-every: often"), 5, 18, "resolve-every"},
	{"check without path", SITE("health-check: { every: 1s }"), 5, 17, "has no path"},
	{"check path", SITE("health-check: { path: up }"), 5, 25, "begins with '/'"},
	{"check path with a blank", SITE("health-check: { path: \"/a b\" }"), 5, 25,
	 "without blanks"},
	{"check every", SITE("health-check: { path: /, every: 1ms }"), 5, 35, "every"},
	{"check rise", SITE("health-check: { path: /, rise: 0 }"), 5, 34, "rise"},
	{"check status", SITE("health-check: { path: /, status: 99 }"), 5, 36, "status"},
	{"check typo", SITE("health-check: { path: /, raise: 1 }"), 5, 28, "rise"},
};

Test(config_backends, mistakes)
{
	CHECK_MISTAKES(mistakes);
}

/* As many as a request can remember to have tried. */
Test(config_backends, too_many_upstreams)
{
	char text[8192] = LISTEN "sites:\n- hosts: [a]\n  upstreams: [a:1";
	struct ht_config *c = NULL;
	struct ht_diag d = {0};

	for (int i = 1; i < HT_UPSTREAMS_MAX; i++)
		strcat(text, ", a:1");
	strcat(text, "]\n");
	ht_config_free(parse_ok(text));
	strcpy(strrchr(text, ']'), ", a:1]\n");
	cr_assert_eq(ht_config_parse(CONFIG_TEXT_FILE, text, strlen(text), &c, &d), -EINVAL);
	cr_expect(strstr(d.text, "upstreams"), "%s", d.text);
}
