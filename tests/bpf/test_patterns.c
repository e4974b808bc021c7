/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules that cover cookies by list, by prefix or all of them: whatever a client may send, the
 * kernel lets the same bytes through as the daemon's own judgement. Heads are put together at
 * random, with a fixed seed, from names and tokens that the rules know and such that they don't.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <time.h>

#include "../rules.h"
#include "rig.h"
#include "token.h"

#define NOW 1700000000 /* the daemon's clock; the gate has its own */
#define ROUNDS 150

static struct rig rig;
static char head[HT_HEAD_MAX], want[HT_HEAD_MAX], got[RIG_BUF];

#define BIND .binds = {{HT_BIND_CLIENT_IP, 32, 128}}, .nbinds = 1

static struct ht_policy_client client_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (struct ht_policy_client){
		.bind = &rig.bind,
		.time = {NOW, (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec},
	};
}

static const char *const names[] = {
	"sid",
	"a",
	"ui_lang",
	"ui_",
	"theme",
	"__Host-sid",
	"__Host-ui",
	"__Secure-x",
	"session_of_the_shop",
	"session_",
	"SID",
	"x",
	"other",
	"BCSIG",
	"a_very_long_name_of_a_cookie_that_has_more_than_ninety_six_bytes_"
	"which_only_a_rule_for_all_can_cover_at_all",
};
/* Session ids: one that is right, one of its session's before that, one whose MAC is another's. */
static char ids[3][HT_SESSION_ID_LEN + 1];
static const char *const values[] = {"GOOD",
				     "EVIL",
				     "",
				     "x=y==",
				     "0123456789abcdef0123456789abcdef"
				     "0123456789abcdef0123456789abcdef"
				     "0123456789abcdef",
				     ids[0],
				     ids[1],
				     ids[2]};

static void make_ids(void)
{
	static const uint8_t data[HT_SESSION_DATA] = "of the session";
	struct ht_token_params p = {
		.profile = HT_PROFILE_SESSION_ID, .secret = rig.secret, .data = data};
	char text[HT_TOKEN_TEXT_MAX];
	size_t len;

	for (size_t i = 0; i < HT_ARRAY_SIZE(ids); i++) {
		p.issued_s = NOW - 60 * i;
		cr_assert_eq(ht_token_sign(&p, text, &len), 0);
		cr_assert_eq(len, HT_SESSION_ID_LEN);
		memcpy(ids[i], text, len);
	}
	ids[2][40] ^= 1;
}

static void setup(void)
{
	rig_open(&rig, 0);
	make_ids();
}

static void finish(void)
{
	rig_close(&rig);
}

TestSuite(patterns, .init = setup, .fini = finish);

static const char *pick(const char *const *list, size_t n)
{
	return list[(size_t)rand() % n];
}

#define PICK(list) pick(list, HT_ARRAY_SIZE(list))

/* A token for the name as some profile would have it, and where it stands. */
static size_t put_token(char *out, const char *name, const char *value, enum ht_profile profile)
{
	struct ht_sibling place = {.text = (char *)"BCSIG_", .prefix = true};
	struct ht_token_params p = {
		.profile = profile,
		.secret = rig.secret,
		.name = HT_STR(name),
		.value = HT_STR(value),
		.input = {rig.bind.text, rig.bind.len},
		.bind = rig.bind.sha,
		.name_in_mac = true,
		.separator = HT_STR("|"),
		.issued_s = NOW - 60,
		.expires_s = NOW + 3600,
	};
	char text[HT_TOKEN_TEXT_MAX], sibling[256], suffixed[256];
	size_t len, n;

	snprintf(suffixed, sizeof(suffixed), "%s_HMAC", name);
	if (profile == HT_PROFILE_NATIVE)
		place.text = (char *)"HTSIG_";
	if (profile == HT_PROFILE_F5_IRULE)
		place = (struct ht_sibling){.text = suffixed};
	cr_assert_eq(ht_policy_sibling(&place, p.name, sibling, sizeof(sibling), &n), 0);
	if (ht_token_sign(&p, text, &len))
		len = (size_t)sprintf(text, "nothing");
	if (rand() % 6 == 0)
		text[len / 2] ^= 1;
	return (size_t)sprintf(out, "%.*s=%.*s", (int)n, sibling, (int)len, text);
}

static size_t random_head(char *out)
{
	static const enum ht_profile profiles[] = {HT_PROFILE_NATIVE, HT_PROFILE_F5_IRULE,
						   HT_PROFILE_PROXYSG};
	size_t n = (size_t)sprintf(out, "GET / HTTP/1.1\r\nHost: a\r\n"),
	       pairs = (size_t)rand() % 8;

	if (pairs)
		n += (size_t)sprintf(out + n, "Cookie: ");
	for (size_t i = 0; i < pairs; i++) {
		const char *name = PICK(names), *value = PICK(values);
		bool token_first = rand() % 3 == 0;

		if (i)
			n += (size_t)sprintf(out + n, rand() % 8   ? "; "
						      : rand() % 2 ? ";"
								   : "\r\nCookie: ");
		if (token_first) {
			n += put_token(out + n, name, value, profiles[rand() % 3]);
			n += (size_t)sprintf(out + n, "; ");
		}
		n += (size_t)sprintf(out + n, "%s=%s", name, value);
		if (rand() % 3) {
			n += (size_t)sprintf(out + n, "; ");
			n += put_token(out + n, name, value, profiles[rand() % 3]);
		}
	}
	return n + (size_t)sprintf(out + n, "%s\r\n", pairs ? "\r\n" : "");
}

/* What the daemon makes of the head in `ret`: alone, or for the gate, which learns what is valid. */
static size_t judge(size_t len, bool gated, char *ret)
{
	static struct ht_judgement j;
	static struct ht_head scratch;
	const struct ht_policy_client client = client_now();

	memcpy(ret, head, len);
	cr_assert_eq(ht_policy_judge(
			     &(struct ht_policy_context){
				     &rig.site, &rig.ring,
				     gated ? ht_offload_keys(rig.offload) : NULL, &client},
			     &scratch, ret, &len, 0, &j),
		     0, "%.*s", (int)len, head);
	for (size_t i = 0; i < j.npushes; i++)
		cr_assert_eq(ht_offload_push(rig.offload, &j.push[i]), 0);
	return len;
}

/* The way of a request: the gate first, on a miss the daemon and then the gate again. */
static void same_bytes(size_t len, unsigned *misses)
{
	static char again[HT_HEAD_MAX];
	size_t want_len = judge(len, false, want), n;
	struct ht_gate_answer a;
	struct pair pair;

	pair_open(&pair, &rig);
	cr_assert_eq(pair_try(&pair, head, len, false, &a), 0);
	cr_assert_neq(a.verdict, HT_VERDICT_REFUSED, "%s:\n%.*s", ht_reason_name(a.reason),
		      (int)len, head);
	if (a.verdict == HT_VERDICT_MISS) {
		++*misses;
		n = judge(len, true, again);
		cr_assert_eq(pair_try(&pair, again, n, false, &a), 0);
		cr_assert_eq(a.verdict, HT_VERDICT_PASS,
			     "missed again after the daemon's judgement:\n%.*s\n%.*s", (int)len,
			     head, (int)n, again);
	}
	n = pair_close(&pair, false, got);
	cr_assert(n == want_len && !memcmp(got, want, n),
		  "of\n%.*sthe gate made\n%.*sand not\n%.*s", (int)len, head, (int)n, got,
		  (int)want_len, want);
}

static void same_as_the_daemon(struct ht_rule_config *rules, size_t n)
{
	static char *hosts[] = {(char *)"*"};
	struct ht_site_config site = {.hosts = hosts, .nhosts = 1, .rules = rules, .nrules = n};
	unsigned misses = 0;

	rig_site(&rig, &site);
	srand(20);
	for (int i = 0; i < ROUNDS; i++)
		same_bytes(random_head(head), &misses);
	cr_assert_gt(misses, 0);
	/* the same heads again: what is valid is known now */
	srand(20);
	n = misses;
	misses = 0;
	for (int i = 0; i < ROUNDS; i++)
		same_bytes(random_head(head), &misses);
	cr_assert_lt(misses, n, "nothing was remembered");
}

static struct ht_cookie_name ui[] = {{(char *)"ui_", true}, {(char *)"theme", false}};
static struct ht_cookie_name sessions[] = {
	{(char *)"session_", true}, {(char *)"sid", false}, {(char *)"__Host-", true}};

Test(patterns, proxysg_all)
{
	struct ht_rule_config rules[] = {
		PROXYSG_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_ENFORCE, BIND)};

	same_as_the_daemon(rules, HT_ARRAY_SIZE(rules));
}

Test(patterns, proxysg_all_but)
{
	struct ht_rule_config rules[] = {
		PROXYSG_RULE(HT_COVERS_ALL_BUT, ui, 2, HT_MODE_ENFORCE, BIND)};

	same_as_the_daemon(rules, HT_ARRAY_SIZE(rules));
}

Test(patterns, native_only)
{
	struct ht_rule_config rules[] = {
		NATIVE_RULE(HT_COVERS_ONLY, sessions, 3, HT_MODE_ENFORCE, BIND)};

	same_as_the_daemon(rules, HT_ARRAY_SIZE(rules));
}

Test(patterns, the_first_rule_wins)
{
	struct ht_rule_config rules[] = {
		F5_RULE("sid", HT_MODE_ENFORCE, BIND),
		NATIVE_RULE(HT_COVERS_ONLY, ui, 2, HT_MODE_OFF, BIND),
		NATIVE_RULE(HT_COVERS_ONLY, sessions, 3, HT_MODE_ENFORCE, BIND),
		PROXYSG_RULE(HT_COVERS_ALL_BUT, sessions, 3, HT_MODE_ENFORCE, BIND),
		NATIVE_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_REPORT, BIND),
	};

	same_as_the_daemon(rules, HT_ARRAY_SIZE(rules));
}

Test(patterns, several_profiles_for_one_cookie)
{
	struct ht_rule_config rules[] = {
		F5_RULE("sid", HT_MODE_ENFORCE, BIND),
		PROXYSG_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_ENFORCE, BIND),
	};

	/* sid emits native and accepts what f5-irule wrote; all others emit native, accept proxysg */
	rules[0].profile = HT_PROFILE_NATIVE;
	rules[0].accept |= 1U << HT_PROFILE_NATIVE;
	rules[0].siblings[1] = rules[0].siblings[0];
	rules[0].siblings[0] = (struct ht_sibling){(char *)"HTSIG_", true, 1U << HT_PROFILE_NATIVE};
	rules[0].sibling = (char *)"HTSIG_";
	rules[0].sibling_prefix = true;
	rules[0].nsiblings = 2;
	rules[0].lifetime_s = 3600;
	rules[1].profile = HT_PROFILE_NATIVE;
	rules[1].accept |= 1U << HT_PROFILE_NATIVE;
	rules[1].siblings[1] = rules[1].siblings[0];
	rules[1].siblings[0] = rules[0].siblings[0];
	rules[1].sibling = (char *)"HTSIG_";
	rules[1].nsiblings = 2;
	same_as_the_daemon(rules, HT_ARRAY_SIZE(rules));
}

/* A value that is its own token, among rules whose tokens stand elsewhere. */
Test(patterns, session_ids)
{
	struct ht_rule_config rules[] = {
		SESSION_RULE((char *)"sid", HT_MODE_ENFORCE, BIND),
		SESSION_RULE((char *)"theme", HT_MODE_REPORT, BIND),
		NATIVE_RULE(HT_COVERS_ONLY, sessions, 3, HT_MODE_ENFORCE, BIND),
		PROXYSG_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_ENFORCE, BIND),
	};

	same_as_the_daemon(rules, HT_ARRAY_SIZE(rules));
}

/* sid was issued by a gateway once, and is the application's now: an id is as good as a token. */
Test(patterns, session_ids_that_native_accepts)
{
	static struct ht_cookie_name sid = {(char *)"sid", false};
	struct ht_rule_config rules[] = {
		NATIVE_RULE(HT_COVERS_NAME, &sid, 1, HT_MODE_ENFORCE, BIND),
		PROXYSG_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_ENFORCE, BIND),
	};

	rules[0].name = sid.text;
	rules[0].accept |= 1U << HT_PROFILE_SESSION_ID;
	rules[0].session_s = 172800;
	same_as_the_daemon(rules, HT_ARRAY_SIZE(rules));
}

/* Before enforce-after what is no id passes, through the same gate that stops a wrong one. */
Test(patterns, session_ids_before_the_rollout)
{
	struct ht_rule_config rules[] = {
		SESSION_RULE((char *)"sid", HT_MODE_ENFORCE, BIND, .enforce_after_s = NOW + 3600),
		PROXYSG_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_ENFORCE, BIND),
	};

	same_as_the_daemon(rules, HT_ARRAY_SIZE(rules));
}
