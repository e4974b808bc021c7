/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's judgement, the canonical form and the signing of Set-Cookie, as tables. */
#include <arpa/inet.h>
#include <criterion/criterion.h>

#include "policy.h"
#include "token.h"

static const uint8_t secret_bytes[] = "AzaZ5678901234567XYZ34567XYZ";
static const uint8_t old_bytes[] = "an older secret of the same key";
static struct ht_secret secrets[] = {
	{.bytes = secret_bytes, .len = sizeof(secret_bytes) - 1},
	{.bytes = old_bytes, .len = sizeof(old_bytes) - 1},
};
static struct ht_key key = {.name = "shop", .gen = 7, .nsecrets = 1, .secrets = secrets};
static struct ht_keyring ring = {.nkeys = 1, .keys = &key, .global_gen = 3};
static const struct ht_sip_keys sip = {{1, 2}, {3, 4}};

static struct ht_rule_config rules[3];
static char *hosts[] = {"shop.example.com"};
static struct ht_site_config site_config = {
	.hosts = hosts, .nhosts = 1, .rules = rules, .nrules = HT_ARRAY_SIZE(rules)};
static struct ht_config config = {.file = "t.yaml", .limits.covered_cookies = 16};
static struct ht_policy_site site;
static struct ht_binding binding;
static struct ht_policy_client client = {.bind = &binding};
static struct ht_diag diag;

static void rule(size_t i, char *name, char *sibling, enum ht_mode mode)
{
	static struct ht_cookie_name names[HT_ARRAY_SIZE(rules)];

	names[i] = (struct ht_cookie_name){name, false};
	rules[i] = (struct ht_rule_config){
		.name = name,
		.label = name,
		.names = &names[i],
		.nnames = 1,
		.sibling = sibling,
		.siblings = {{sibling, false, 1U << HT_PROFILE_F5_IRULE}},
		.nsiblings = 1,
		.profile = HT_PROFILE_F5_IRULE,
		.accept = 1U << HT_PROFILE_F5_IRULE,
		.key = "shop",
		.reissue = "; Path=/; Secure; HttpOnly",
		.nbinds = 1,
		.mode = mode,
		.line = 10 + i,
		.col = 3,
		.binds = {{.kind = HT_BIND_CLIENT_IP, .v4_bits = 32, .v6_bits = 128}},
	};
}

static void bind_to(const char *ip)
{
	struct ht_client c = {.addr.ss_family = strchr(ip, ':') ? AF_INET6 : AF_INET};

	if (c.addr.ss_family == AF_INET)
		inet_pton(AF_INET, ip, &((struct sockaddr_in *)&c.addr)->sin_addr);
	else
		inet_pton(AF_INET6, ip, &((struct sockaddr_in6 *)&c.addr)->sin6_addr);
	ht_binding_make(rules[0].binds, 1, &c, &binding);
}

static void setup(void)
{
	rule(0, "sid", "sid_HMAC", HT_MODE_ENFORCE);
	rule(1, "cart", "cart_HMAC", HT_MODE_ENFORCE);
	rule(2, "seen", "seen_HMAC", HT_MODE_REPORT);
	cr_assert_eq(ht_policy_compile(&config, &site_config, &site, &diag), 0);
	bind_to("192.0.2.10");
	key.nsecrets = 1;
}

TestSuite(policy, .init = setup);

/* The token of `value` with the i-th secret. */
static void token_of(const char *value, size_t i, char out[HT_TOKEN_TEXT_MAX])
{
	const struct ht_token_params p = {
		.profile = HT_PROFILE_F5_IRULE,
		.secret = secrets[i],
		.value = HT_STR(value),
		.input = {binding.text, binding.len},
	};
	size_t len = 0;

	cr_assert_eq(ht_token_sign(&p, out, &len), 0);
	out[len] = 0;
}

/* Replaces {good} and {old} by tokens and '|' by another Cookie field. */
static size_t head_of(const char *cookies, char *out)
{
	char good[HT_TOKEN_TEXT_MAX], old[HT_TOKEN_TEXT_MAX];
	size_t n = sprintf(out, "GET / HTTP/1.1\r\nA: b\r\n");

	token_of("GOOD", 0, good);
	token_of("GOOD", 1, old);
	if (*cookies)
		n += sprintf(out + n, "Cookie: ");
	for (const char *p = cookies; *p; p++) {
		if (*p == '|')
			n += sprintf(out + n, "\r\nCookie: ");
		else if (!strncmp(p, "{good}", 6))
			n += sprintf(out + n, "%s", good), p += 5;
		else if (!strncmp(p, "{old}", 5))
			n += sprintf(out + n, "%s", old), p += 4;
		else
			out[n++] = *p;
	}
	return n + sprintf(out + n, "%s\r\n", *cookies ? "\r\n" : "");
}

/* Several rules, and report. What one cookie may look like is in test_reality.c. */
static const struct {
	const char *before, *after;
	int verdict, action; /* of the first covered cookie */
} judged[] = {
	/* two rules, one of them wrong */
	{"sid=EVIL; cart=GOOD; cart_HMAC={good}", "cart=GOOD; cart_HMAC={good}", HT_COOKIE_MISSING,
	 HT_ACTION_STRIP},
	/* report changes nothing */
	{"seen=EVIL; a=1", "seen=EVIL; a=1", HT_COOKIE_MISSING, HT_ACTION_REPORT},
	{"seen=GOOD; seen_HMAC={good}", "seen=GOOD; seen_HMAC={good}", HT_COOKIE_VALID,
	 HT_ACTION_PASS},
};

Test(policy, judges_and_cuts)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(judged); i++) {
		char head[4096], want[4096];
		size_t len = head_of(judged[i].before, head);
		size_t want_len = head_of(judged[i].after, want);
		struct ht_judgement j;
		struct ht_head scratch;

		cr_assert_eq(
			ht_policy_judge(&(struct ht_policy_context){&site, &ring, &sip, &client},
					&scratch, head, &len, 0, &j),
			0);
		cr_assert(len == want_len && !memcmp(head, want, len), "%s: left\n%.*s",
			  judged[i].before, (int)len, head);
		cr_assert_geq(j.ncookies, 1, "%s", judged[i].before);
		cr_assert_eq(j.cookie[0].verdict, judged[i].verdict, "%s: %s", judged[i].before,
			     ht_cookie_verdict_name(j.cookie[0].verdict));
		cr_assert_eq(j.cookie[0].action, judged[i].action, "%s", judged[i].before);
		/* whatever stays is pushed, nothing else */
		size_t pass = 0;

		for (size_t k = 0; k < j.ncookies; k++)
			pass += j.cookie[k].action == HT_ACTION_PASS;
		cr_assert_eq(j.npushes, pass, "%s", judged[i].before);
	}
}

static int judge_text(const char *cookies, uint32_t only, char *head, size_t *len,
		      struct ht_judgement *j)
{
	struct ht_head scratch;

	*len = head_of(cookies, head);
	return ht_policy_judge(&(struct ht_policy_context){&site, &ring, &sip, &client}, &scratch,
			       head, len, only, j);
}

Test(policy, only_counts_and_changes_nothing)
{
	char head[4096], want[4096];
	struct ht_judgement j;
	size_t len, n = head_of("sid=EVIL; seen=EVIL", want);

	cr_assert_eq(judge_text("sid=EVIL; seen=EVIL", 2, head, &len, &j), 0);
	cr_assert_eq(j.ncookies, 1);
	cr_assert_eq(j.cookie[0].rule, 2);
	cr_assert(len == n && !memcmp(head, want, n));
}

Test(policy, without_a_binding_nothing_passes)
{
	char head[4096];
	struct ht_judgement j;
	size_t len;

	binding.empty = true;
	cr_assert_eq(judge_text("sid=GOOD; sid_HMAC={good}", 0, head, &len, &j), 0);
	cr_assert_eq(j.cookie[0].verdict, HT_COOKIE_UNBOUND);
	cr_assert_eq(j.cookie[0].action, HT_ACTION_STRIP);
	cr_assert(!memmem(head, len, "sid=", 4));
}

Test(policy, another_address_is_forged)
{
	char head[4096], good[4096];
	struct ht_judgement j;
	struct ht_head scratch;
	size_t len = head_of("sid=GOOD; sid_HMAC={good}", good);

	bind_to("192.0.2.11");
	memcpy(head, good, len);
	cr_assert_eq(ht_policy_judge(&(struct ht_policy_context){&site, &ring, &sip, &client},
				     &scratch, head, &len, 0, &j),
		     0);
	cr_assert_eq(j.cookie[0].verdict, HT_COOKIE_FORGED);
}

Test(policy, older_secrets_verify_and_entries_stay_open)
{
	char head[4096];
	struct ht_judgement j;
	size_t len;

	cr_assert_eq(judge_text("sid=GOOD; sid_HMAC={old}", 0, head, &len, &j), 0);
	cr_assert_eq(j.cookie[0].verdict, HT_COOKIE_FORGED);
	key.nsecrets = 2;
	cr_assert_eq(judge_text("sid=GOOD; sid_HMAC={old}", 0, head, &len, &j), 0);
	cr_assert_eq(j.cookie[0].verdict, HT_COOKIE_VALID);
	cr_assert_eq(j.push[0].token.flags & HT_TOKEN_CLOSED, 0);
	key.nsecrets = 1;
	cr_assert_eq(judge_text("sid=GOOD; sid_HMAC={good}", 0, head, &len, &j), 0);
	cr_assert_eq(j.push[0].token.flags & HT_TOKEN_CLOSED, HT_TOKEN_CLOSED);
}

/* Others may sign with it already; what they sign is as good as ours, and not renewed with ours. */
Test(policy, a_secret_that_comes_next_verifies_and_is_no_renewal)
{
	char head[4096];
	struct ht_judgement j;
	size_t len;

	key.nsecrets = 2;
	cr_assert_eq(judge_text("sid=GOOD; sid_HMAC={old}", 0, head, &len, &j), 0);
	cr_assert_eq(j.cookie[0].verdict, HT_COOKIE_VALID);
	cr_assert_eq(j.cookie[0].renewal, HT_RENEWAL_KEY);
	cr_assert_eq(j.nreissues, 1);
	secrets[1].early = true;
	cr_assert_eq(judge_text("sid=GOOD; sid_HMAC={old}", 0, head, &len, &j), 0);
	cr_assert_eq(j.cookie[0].verdict, HT_COOKIE_VALID);
	cr_assert_eq(j.cookie[0].renewal, HT_RENEWAL_NONE);
	cr_assert_eq(j.nreissues, 0);
}

Test(policy, a_secret_that_has_ended_verifies_nothing)
{
	char head[4096];
	struct ht_judgement j;
	size_t len;

	key.nsecrets = 2;
	client.time.now_s = 1000;
	secrets[1].retire_s = 1001;
	cr_assert_eq(judge_text("sid=GOOD; sid_HMAC={old}", 0, head, &len, &j), 0);
	cr_assert_eq(j.cookie[0].verdict, HT_COOKIE_VALID);
	secrets[1].retire_s = 1000;
	cr_assert_eq(judge_text("sid=GOOD; sid_HMAC={old}", 0, head, &len, &j), 0);
	cr_assert_eq(j.cookie[0].verdict, HT_COOKIE_FORGED);
}

Test(policy, a_push_carries_the_snapshots_generations)
{
	char head[4096];
	struct ht_judgement j, k;
	size_t len;

	judge_text("sid=GOOD; sid_HMAC={good}", 0, head, &len, &j);
	cr_assert_eq(j.push[0].token.key_gen, 7);
	cr_assert_eq(j.push[0].token.global_gen, 3);
	key.gen = 8;
	judge_text("sid=GOOD; sid_HMAC={good}", 0, head, &len, &k);
	key.gen = 7;
	cr_assert_eq(j.push[0].key.lo, k.push[0].key.lo);
	cr_assert_neq(j.push[0].token.tag[0], k.push[0].token.tag[0]);
}

static const struct {
	const char *before, *after;
} canonical[] = {
	{"", ""},
	{"a=1; b=2", "a=1; b=2"},
	{"a=1;b=2", "a=1;b=2"},
	{"  a  =  1  ;   b=2   ", "a=1; b=2"},
	{"a=1|b=2|c=3", "a=1; b=2; c=3"},
	{"a=1; a=1; a=1", "a=1"},
	{"a=1; a=2; a=1", "a=1; a=2"},
	{";;; =; ==;a=1;", "a=1"},
	{"==sid=x", "sid=x"},
	{"foo; bar", "foo; bar"},
	{"a=b=c; d==", "a=b=c; d=="},
	{"a=\t1\t", "a=1"},
	{"=", ""},
};

Test(policy, canonical_form)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(canonical); i++) {
		char head[4096], want[4096];
		size_t len = head_of(canonical[i].before, head), before = len;
		size_t want_len = head_of(canonical[i].after, want);

		ht_policy_canonicalize(head, &len);
		cr_assert(len == want_len && !memcmp(head, want, len), "%s: became\n%.*s",
			  canonical[i].before, (int)len, head);
		cr_assert_leq(len, before);
	}
}

Test(policy, canonical_form_never_grows_and_never_overruns)
{
	static char head[HT_HEAD_MAX];
	const char *const units[] = {"a;",   ";",  "=",	 "Cookie:a\r\n",
				     "a=1;", " ;", "\t", "cookie: \r\n"};

	for (size_t u = 0; u < HT_ARRAY_SIZE(units); u++) {
		size_t n = sprintf(head, "GET / HTTP/1.1\r\nCookie:"), unit = strlen(units[u]), len;

		if (units[u][unit - 1] == '\n')
			n -= 7;
		while (n + unit + 4 <= sizeof(head)) {
			memcpy(head + n, units[u], unit);
			n += unit;
		}
		if (head[n - 1] != '\n') {
			memcpy(head + n, "\r\n", 2);
			n += 2;
		}
		memcpy(head + n, "\r\n", 2);
		len = n + 2;
		ht_policy_canonicalize(head, &len);
		cr_assert_leq(len, n + 2);
		cr_assert(!memcmp(head + len - 4, "\r\n\r\n", 4), "%s", units[u]);
	}
}

static const struct {
	const char *field, *name, *value, *attributes;
	bool deletion;
} set_cookies[] = {
	{"sid=x", "sid", "x", "", false},
	{"sid=x; Path=/; HttpOnly", "sid", "x", "; Path=/; HttpOnly", false},
	{" sid = x ;Secure", "sid", "x", ";Secure", false},
	{"sid=", "sid", "", "", true},
	{"sid=; Path=/", "sid", "", "; Path=/", true},
	{"sid=x; Max-Age=0", "sid", "x", "; Max-Age=0", true},
	{"sid=x; max-age=-1", "sid", "x", "; max-age=-1", true},
	{"sid=x; Max-Age=00", "sid", "x", "; Max-Age=00", true},
	{"sid=x; Max-Age=10", "sid", "x", "; Max-Age=10", false},
	{"sid=x; Max-Age=", "sid", "x", "; Max-Age=", false},
	{"sid=x; Max-Age=z", "sid", "x", "; Max-Age=z", false},
	{"sid=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "sid", "x",
	 "; Expires=Thu, 01 Jan 1970 00:00:00 GMT", true},
	{"sid=x; Expires=Thu, 01-Jan-1970 00:00:01 GMT", "sid", "x",
	 "; Expires=Thu, 01-Jan-1970 00:00:01 GMT", true},
	{"sid=x; Expires=Sun Nov  6 08:49:37 1994", "sid", "x",
	 "; Expires=Sun Nov  6 08:49:37 1994", true},
	{"sid=x; Expires=Fri, 31 Dec 2100 23:59:59 GMT", "sid", "x",
	 "; Expires=Fri, 31 Dec 2100 23:59:59 GMT", false},
	{"sid=x; Expires=soon", "sid", "x", "; Expires=soon", false},
	/* Max-Age goes before Expires, the last one of a kind counts */
	{"sid=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60", "sid", "x",
	 "; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60", false},
	{"sid=x; Max-Age=60; Max-Age=0", "sid", "x", "; Max-Age=60; Max-Age=0", true},
	{"nameless", "", "nameless", "", false},
	{"=x", "", "x", "", false},
	{"sid=a=b; X", "sid", "a=b", "; X", false},
	{"sid=\"q\"; X", "sid", "\"q\"", "; X", false},
};

Test(policy, set_cookie_fields)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(set_cookies); i++) {
		struct ht_set_cookie c;

		ht_set_cookie_parse(HT_STR(set_cookies[i].field), 1763700000, &c);
		cr_assert(ht_str_eq(c.name, HT_STR(set_cookies[i].name)), "%s",
			  set_cookies[i].field);
		cr_assert(ht_str_eq(c.value, HT_STR(set_cookies[i].value)), "%s",
			  set_cookies[i].field);
		cr_assert(ht_str_eq(c.attributes, HT_STR(set_cookies[i].attributes)), "%s",
			  set_cookies[i].field);
		cr_assert_eq(c.deletion, set_cookies[i].deletion, "%s", set_cookies[i].field);
	}
}

static enum ht_sign_result sign(const char *field, char *line, struct ht_push *push)
{
	struct ht_set_cookie c;
	size_t len = 0, r = SIZE_MAX;
	enum ht_sign_result result;

	ht_set_cookie_parse(HT_STR(field), 1763700000, &c);
	result = ht_policy_sign(&(struct ht_policy_context){&site, &ring, &sip, &client}, &c, line,
				512, &len, push, &r);
	line[len] = 0;
	return result;
}

/* compat.md's first vector, in the seed's exact line. */
Test(policy, signs_as_the_seed_does)
{
	char line[512];
	struct ht_push push;

	cr_assert_eq(sign("sid=0a1b2c3d4e5f6g7h8i9j0k1l; Path=/app; HttpOnly", line, &push),
		     HT_SIGN_SIGNED);
	cr_assert_str_eq(line, "Set-Cookie: sid_HMAC=t2XKmsBp+4ESEdq8ZScrjjyQBq+E812UoiPFXGoR/7A=; "
			       "HttpOnly; Secure; Path=/");
}

Test(policy, copies_attributes_if_told_to)
{
	char line[512];
	struct ht_push push;

	rules[0].copy_attributes = true;
	cr_assert_eq(sign("sid=0a1b2c3d4e5f6g7h8i9j0k1l; Path=/app; SameSite=Lax", line, &push),
		     HT_SIGN_SIGNED);
	cr_assert_str_eq(line, "Set-Cookie: sid_HMAC=t2XKmsBp+4ESEdq8ZScrjjyQBq+E812UoiPFXGoR/7A=; "
			       "Path=/app; SameSite=Lax");
}

Test(policy, what_was_signed_is_pushed_as_a_judge_would)
{
	char line[512], head[4096];
	struct ht_judgement j;
	struct ht_push push;
	size_t len;

	cr_assert_eq(sign("sid=GOOD", line, &push), HT_SIGN_SIGNED);
	cr_assert_eq(judge_text("sid=GOOD; sid_HMAC={good}", 0, head, &len, &j), 0);
	cr_assert(!memcmp(&push, &j.push[0], sizeof(push)));
}

Test(policy, deletions_delete_the_sibling)
{
	char line[512];
	struct ht_push push;

	cr_assert_eq(sign("sid=; Path=/", line, &push), HT_SIGN_DELETED);
	cr_assert_str_eq(line, "Set-Cookie: sid_HMAC=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; "
			       "Max-Age=0; HttpOnly; Secure; Path=/");
}

Test(policy, guards_of_signing)
{
	char line[512];
	struct ht_push push;

	cr_assert_eq(sign("other=1", line, &push), HT_SIGN_UNCOVERED);
	cr_assert_eq(sign("SID=1", line, &push), HT_SIGN_UNCOVERED);
	cr_assert_eq(sign("sid_HMAC=1", line, &push), HT_SIGN_SIBLING);
	cr_assert_eq(sign("sid=a:b", line, &push), HT_SIGN_SIGNED);
	bind_to("2001:db8::1");
	cr_assert_eq(sign("sid=a:b", line, &push), HT_SIGN_REFUSED);
	binding.empty = true;
	cr_assert_eq(sign("sid=ab", line, &push), HT_SIGN_UNBOUND);
}

Test(policy, compiling_leaves_out_what_is_off)
{
	rules[1].mode = HT_MODE_OFF;
	cr_assert_eq(ht_policy_compile(&config, &site_config, &site, &diag), 0);
	cr_assert_eq(site.nrules, 2);
	cr_assert_eq(site.gate.nnames, 5, "what is off covers nothing, but hides its name");
	cr_assert_eq(site.rules[1], &rules[2]);
	cr_assert(site.gate.rule[1].flags & HT_RULE_REPORT);
}

Test(policy, rule_ids_tell_everything_apart)
{
	uint64_t was = site.gate.rule[0].id;

	cr_assert_neq(was, site.gate.rule[1].id);
	ht_policy_compile(&config, &site_config, &site, &diag);
	cr_assert_eq(site.gate.rule[0].id, was, "stable over restarts");
	rules[0].key = "other";
	ht_policy_compile(&config, &site_config, &site, &diag);
	cr_assert_neq(site.gate.rule[0].id, was);
	rules[0].key = "shop";
	rules[0].binds[0].v4_bits = 24;
	ht_policy_compile(&config, &site_config, &site, &diag);
	cr_assert_neq(site.gate.rule[0].id, was);
}

Test(policy, fewer_covered_cookies_if_told_so)
{
	char head[4096];
	struct ht_judgement j;
	size_t len;

	config.limits.covered_cookies = 2;
	cr_assert_eq(ht_policy_compile(&config, &site_config, &site, &diag), 0);
	cr_assert_eq(judge_text("sid=1; cart=2", 0, head, &len, &j), 0);
	cr_assert_eq(judge_text("sid=1; cart=2; seen=3", 0, head, &len, &j), HT_REASON_COOKIES);
}

Test(policy, too_many_rules_and_bindings_have_a_place)
{
	static struct ht_rule_config many[17];
	static struct ht_cookie_name covered[17];
	static char names[17][2][16];
	struct ht_site_config s = {.hosts = hosts, .nhosts = 1, .rules = many, .nrules = 17};

	for (int i = 0; i < 17; i++) {
		many[i] = rules[0];
		sprintf(names[i][0], "c%d", i);
		sprintf(names[i][1], "c%d_HMAC", i);
		many[i].name = names[i][0];
		many[i].sibling = many[i].siblings[0].text = names[i][1];
		covered[i].text = names[i][0];
		many[i].names = &covered[i];
		many[i].line = 100 + i;
	}
	cr_assert_eq(ht_policy_compile(&config, &s, &site, &diag), -EINVAL);
	cr_assert_eq(diag.line, 116);
	s.nrules = 16;
	cr_assert_eq(ht_policy_compile(&config, &s, &site, &diag), 0);
	for (int i = 0; i < 5; i++)
		many[i].binds[0].v4_bits = 20 + i;
	cr_assert_eq(ht_policy_compile(&config, &s, &site, &diag), -EINVAL);
}
