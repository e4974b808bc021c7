/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed cookies through policy and gate together, as a request goes: sent, missed, judged and pushed
 * by the daemon, sent again. The backend must see the bytes that the daemon alone would have made of
 * the same head, the first time and, by what the kernel then knows, the second.
 */
#include <criterion/criterion.h>
#include <time.h>

#include "../rules.h"
#include "rig.h"

#ifndef HT_WEAK

#define NOW 1700000000

#define BIND .binds = {{HT_BIND_CLIENT_IP, 32, 128}}, .nbinds = 1
#define SEALED_RULE(n, m, ...)                                                                     \
	{                                                                                          \
		.covers = HT_COVERS_NAME, .name = n, .label = n,                                   \
		.names = (struct ht_cookie_name[]){{n, false}}, .nnames = 1,                       \
		.profile = HT_PROFILE_SECURE_COOKIE, .accept = 1U << HT_PROFILE_SECURE_COOKIE,     \
		.key = "k", .reissue = REISSUE, .mode = m, .lifetime_s = 86400,                    \
		.copy_attributes = true, BIND, __VA_ARGS__                                         \
	}

/* s and t are enforced, g before its rollout, w report-only; p is signed */
static struct ht_rule_config rules[] = {
	SEALED_RULE("s", HT_MODE_ENFORCE),
	SEALED_RULE("t", HT_MODE_ENFORCE),
	SEALED_RULE("g", HT_MODE_ENFORCE, .enforce_after_s = NOW + 1000),
	SEALED_RULE("w", HT_MODE_REPORT),
	F5_RULE("p", HT_MODE_ENFORCE, BIND),
};

static struct rig rig;
static struct pair pair;
static uint64_t heads; /* so far: no two have the same digest */

static void setup(void)
{
	static char *hosts[] = {(char *)"shop.example.com"};
	static const struct ht_site_config site = {
		.hosts = hosts, .nhosts = 1, .rules = rules, .nrules = HT_ARRAY_SIZE(rules)};

	rig_open(&rig, 0);
	rig_site(&rig, &site);
}

static void finish(void)
{
	rig_close(&rig);
}

TestSuite(sealed_policy, .init = setup, .fini = finish);

static const char *plaintext(char name, size_t len)
{
	static char out[4096];

	for (size_t i = 0; i < len; i++)
		out[i] = (char)('a' + (name + len + i * i) % 26);
	out[len] = 0;
	return out;
}

static size_t seal(char name, size_t len, uint64_t expires_s, char *out)
{
	static const uint8_t nonce[HT_SEALED_NONCE] = {1};
	const char as_text[] = {name, 0};
	const struct ht_token_params p = {
		.profile = HT_PROFILE_SECURE_COOKIE,
		.secret = rig.secret,
		.name = HT_STR(as_text),
		.value = HT_STR(plaintext(name, len)),
		.bind = rig.bind.sha,
		.issued_s = NOW - 10,
		.expires_s = expires_s,
		.attributes = HT_STR("; Path=/"),
		.nonce = nonce,
	};
	size_t n;

	cr_assert_eq(ht_sealed_make(&p, out, &n), 0);
	out[n] = 0;
	return n;
}

/*
 * <s12> is the cookie s, sealed, of 12 bytes; <s12!> with one byte wrong, <s12-> expired; <p> signed;
 * '|' ends a field.
 */
static size_t write_head(const char *pattern, char *out)
{
	size_t n = (size_t)sprintf(out, "GET / HTTP/1.1\r\nHost: a\r\n");

	for (; *pattern; pattern++) {
		const char *end = strchr(pattern, '>');
		char mac[64];

		if (*pattern != '<') {
			n += (size_t)(*pattern == '|' ? sprintf(out + n, "\r\n")
						      : sprintf(out + n, "%c", *pattern));
			continue;
		}
		if (pattern[2] == '>') {
			n += (size_t)sprintf(out + n, "%c=value; %c_HMAC=%s", pattern[1],
					     pattern[1], rig_token(&rig, "value", mac));
		} else {
			n += (size_t)sprintf(out + n, "%c=", pattern[1]);
			n += seal(pattern[1], (size_t)atoi(pattern + 2),
				  end[-1] == '-' ? NOW - 1 : NOW + 1000, out + n);
			if (end[-1] == '!')
				out[n - 20] ^= out[n - 20] == 'A' ? 3 : 'A' ^ out[n - 20];
		}
		pattern = end;
	}
	return n + (size_t)sprintf(out + n, "\r\n");
}

static int judge(char *head, size_t *len, bool gated, struct ht_policy_client *ret_client,
		 struct ht_judgement *ret)
{
	static struct ht_head scratch;
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	*ret_client = (struct ht_policy_client){
		.bind = &rig.bind,
		.time = {NOW, (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec},
		.opened = {++heads, 1},
	};
	return ht_policy_judge(
		&(struct ht_policy_context){&rig.site, &rig.ring,
					    gated ? ht_offload_keys(rig.offload) : NULL,
					    ret_client},
		&scratch, head, len, 0, ret);
}

/* As conn_request.c sends a head; returns what the gate said the first time. */
static struct ht_gate_answer send_head(const char *name, char *head, size_t len)
{
	static struct ht_judgement j;
	struct ht_policy_client client;
	struct ht_gate_answer first, a;

	pair.opened = NULL;
	cr_assert_eq(pair_try(&pair, head, len, false, &first), 0);
	if (first.verdict == HT_VERDICT_PASS)
		return first;
	cr_assert_eq(first.verdict, HT_VERDICT_MISS, "%s", name);
	cr_assert_eq(judge(head, &len, true, &client, &j), 0);
	for (size_t i = 0; i < j.npushes; i++)
		cr_assert_eq(ht_offload_push(rig.offload, &j.push[i]), 0);
	pair.opened = client.opened;
	cr_assert_eq(pair_try(&pair, head, len, false, &a), 0);
	cr_assert_eq(a.verdict, HT_VERDICT_PASS, "%s: missed again after the judgement:\n%.*s",
		     name, (int)len, head);
	return first;
}

struct row {
	const char *name, *head;
	bool known; /* the second time the kernel needs nobody */
};
static const struct row rows[] = {
	{"valid", "Cookie: a=1; <s12>; b=2|", true},
	{"one byte", "Cookie: <s1>|", true},
	{"the longest for the map", "Cookie: <s1024>; b=2|", true},
	{"longer", "Cookie: a=1; <s1025>; b=2|", false},
	{"the longest of all", "Cookie: <s2900>|", false},
	{"changed", "Cookie: a=1; <s12!>; b=2|", false},
	{"expired", "Cookie: a=1; <s12->; b=2|", false},
	{"not sealed", "Cookie: a=1; s=plain; b=2|", false},
	{"empty", "Cookie: a=1; s=; b=2|", false},
	{"of another cookie", "Cookie: <t12>; s=x|", false},
	{"two of one name", "Cookie: <s12>; s=other; b=2|", false},
	{"two that open", "Cookie: <s12>; <s13>|", false},
	{"the same twice", "Cookie: <s12>; <s12>|", false},
	{"two cookies", "Cookie: <s40>; <t7>|", true},
	{"one good, one bad", "Cookie: <s40>; <t7!>; a=1|", false},
	{"a long one and a short one", "Cookie: <s2000>; <t7>; a=1|", false},
	{"with a signed one", "Cookie: <p>; <s40>; a=1|", true},
	{"with a forged signed one", "Cookie: p=EVIL; <s40>; a=1|", true},
	{"before the rollout, sealed", "Cookie: <g40>; a=1|", true},
	{"before the rollout, not sealed", "Cookie: g=plain; a=1|", false},
	{"before the rollout, changed", "Cookie: <g40!>; a=1|", false},
	{"report, sealed", "Cookie: <w40>; a=1|", true},
	{"report, not sealed", "Cookie: w=plain; a=1|", false},
	{"report, changed", "Cookie: <w40!>; a=1|", false},
	{"report, several", "Cookie: w=1; w=2; a=1|", false},
	{"report, several that open", "Cookie: <w40>; w=2; a=1|", false},
	{"report and others", "Cookie: w=plain; <s20>; <p>; <g5>; t=EVIL|", false},
	{"several fields", "Cookie: <s20>|X: y|Cookie: <t300>; p=EVIL|Cookie: g=plain|", false},
	{"blanks", "Cookie:  <s20> ;\t<t8>\t;p = EVIL ;|", true},
};

Test(sealed_policy, same_bytes_as_without_a_gate)
{
	static char sent[HT_HEAD_MAX], want[HT_HEAD_MAX], got[RIG_BUF + 1];
	static struct ht_judgement j;

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_policy_client client;
		size_t len = write_head(rows[i].head, want), n;

		cr_assert_eq(judge(want, &len, false, &client, &j), 0);
		/* nothing that a row before has left is known */
		rig.key.gen++;
		ht_offload_generations(rig.offload, &rig.ring);
		for (int again = 0; again < 2; again++) {
			struct ht_gate_answer first;

			pair_open(&pair, &rig);
			first = send_head(rows[i].name, sent, write_head(rows[i].head, sent));
			n = pair_close(&pair, false, got);
			got[n] = 0;
			cr_expect(n == len && !memcmp(got, want, n), "%s: came\n%sand not\n%.*s",
				  rows[i].name, got, (int)len, want);
			cr_expect(!again || first.verdict == (rows[i].known ? HT_VERDICT_PASS
									    : HT_VERDICT_MISS),
				  "%s: the second time", rows[i].name);
		}
	}
}

/* What the daemon let through for one head is nobody's pass for the next. */
Test(sealed_policy, plaintext_that_passed_once_is_judged_again)
{
	static char sent[HT_HEAD_MAX], got[RIG_BUF + 1];
	struct ht_gate_answer a;
	size_t n;

	pair_open(&pair, &rig);
	send_head("sealed", sent, write_head("Cookie: <s1500>|", sent));
	n = (size_t)sprintf(sent, "GET / HTTP/1.1\r\nHost: a\r\nCookie: s=%s\r\n\r\n",
			    plaintext('s', 1500));
	pair.opened = NULL;
	cr_assert_eq(pair_try(&pair, sent, n, false, &a), 0);
	cr_assert_eq(a.verdict, HT_VERDICT_MISS);
	cr_assert_eq(pair_close(&pair, false, got), n);
	cr_assert(!memcmp(got, sent, n));
}

#endif
