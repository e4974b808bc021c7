/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed cookies in a site's rules: what opens and what goes, what the gate is told, what comes back
 * anew, and what becomes of a Set-Cookie. Times and secrets are fixed.
 */
#include <criterion/criterion.h>

#include "policy.h"
#include "token.h"

#define NOW 1700000000ull
#define DAY 86400ull
#define SEALED_BIT (1U << HT_PROFILE_SECURE_COOKIE)
#define NATIVE_BIT (1U << HT_PROFILE_NATIVE)

static const uint8_t new_bytes[] = "the newest secret", old_bytes[] = "the one before it",
		     spki[2][32] = {{1}, {2}};
static const struct ht_secret secrets[] = {
	{.bytes = new_bytes, .len = sizeof(new_bytes) - 1},
	{.bytes = old_bytes, .len = sizeof(old_bytes) - 1},
};
static struct ht_key key = {.name = "k", .gen = 7, .nsecrets = 2, .secrets = secrets};
static const struct ht_keyring ring = {.nkeys = 1, .keys = &key, .global_gen = 3};
static const struct ht_sip_keys sip = {{1, 2}, {3, 4}};

static struct ht_cookie_name sid = {"sid", false};
static char *hosts[] = {"shop.test"};
static struct ht_rule_config rule;
static struct ht_site_config site_config = {
	.hosts = hosts, .nhosts = 1, .rules = &rule, .nrules = 1};
static struct ht_config config = {.file = "t.yaml", .limits.covered_cookies = 16};
static struct ht_policy_site site;
static struct ht_binding binding, other;
static struct ht_policy_client client;
static struct ht_judgement judgement;
static char text_max[4096];

static void compile(void)
{
	struct ht_client who = {.x509_spki = {(const char *)spki[0], 32}, .user = HT_STR("alice")};
	struct ht_diag diag;

	cr_assert_eq(ht_policy_compile(&config, &site_config, &site, &diag), 0, "%s", diag.text);
	ht_binding_make(rule.binds, rule.nbinds, &who, &binding);
	who.x509_spki.p = (const char *)spki[1];
	ht_binding_make(rule.binds, rule.nbinds, &who, &other);
}

static void set_up(void)
{
	rule = (struct ht_rule_config){
		.covers = HT_COVERS_NAME,
		.name = "sid",
		.label = "sid",
		.names = &sid,
		.nnames = 1,
		.profile = HT_PROFILE_SECURE_COOKIE,
		.accept = SEALED_BIT,
		.key = "k",
		.binds = {{.kind = HT_BIND_X509_SPKI}},
		.nbinds = 1,
		.reissue = "; Path=/; Secure; HttpOnly",
		.copy_attributes = true,
		.mode = HT_MODE_ENFORCE,
		.lifetime_s = DAY,
	};
	client = (struct ht_policy_client){
		.bind = &binding, .time = {NOW, 5}, .opened = {0x1111, 0x2222}};
	memset(text_max, 'v', sizeof(text_max));
	compile();
}

/* The other profile's tokens stand where they do by default. */
static void also_native(enum ht_profile own)
{
	rule.profile = own;
	rule.accept = SEALED_BIT | NATIVE_BIT;
	rule.sibling = "HTSIG_";
	rule.siblings[0] = (struct ht_sibling){"HTSIG_", true, NATIVE_BIT};
	rule.nsiblings = 1;
	compile();
}

TestSuite(policy_sealed, .init = set_up);

/* ---- sealed values ---- */

struct made {
	const char *name, *value;
	size_t len; /* 0 = strlen() */
	size_t secret;
	uint64_t issued_s, expires_s;
	const char *attributes;
	bool persistent;
	const struct ht_binding *bind;
};

/* Always the same one for the same input; 16 at a time. */
static const char *make_sealed(const struct made *m)
{
	static const uint8_t nonce[HT_SEALED_NONCE] = {9};
	static char texts[16][HT_COOKIE_MAX + 1];
	static unsigned next;
	char *ret = texts[next++ % 16];
	const struct ht_token_params p = {
		.profile = HT_PROFILE_SECURE_COOKIE,
		.secret = secrets[m->secret],
		.name = HT_STR(m->name ? m->name : "sid"),
		.value = {m->value, m->len ? m->len : strlen(m->value)},
		.bind = m->bind ? m->bind->sha : binding.sha,
		.issued_s = m->issued_s ? m->issued_s : NOW - 10,
		.expires_s = m->expires_s ? m->expires_s : NOW + DAY,
		.attributes = HT_STR(m->attributes ? m->attributes : ""),
		.persistent = m->persistent,
		.nonce = nonce,
	};
	size_t len;

	cr_assert_eq(ht_sealed_make(&p, ret, &len), 0);
	ret[len] = '\0';
	return ret;
}

static const char *native_of(const char *value)
{
	static char texts[8][HT_TOKEN_TEXT_MAX + 1];
	static unsigned next;
	char *ret = texts[next++ % 8];
	const struct ht_token_params p = {
		.profile = HT_PROFILE_NATIVE,
		.secret = secrets[0],
		.name = HT_STR("sid"),
		.value = HT_STR(value),
		.bind = binding.sha,
		.issued_s = NOW - 10,
		.expires_s = NOW + DAY,
		.attributes = HT_STR("; Path=/n"),
	};
	size_t len = 0;

	cr_assert_eq(ht_token_sign(&p, ret, &len), 0);
	ret[len] = '\0';
	return ret;
}

/* By the letter behind a '$'; what stands in braces is the plaintext. */
static const char *by_letter(char letter, const char *value)
{
	struct made m = {.value = value};

	switch (letter) {
	case 's':
		break;
	case 'r': /* of the same session, later */
		m.issued_s = NOW - 5;
		break;
	case 'o':
		m.secret = 1;
		break;
	case 'h': /* past half its life */
		m.issued_s = NOW - DAY;
		m.expires_s = NOW + 100;
		break;
	case 'e':
		m.expires_s = NOW;
		break;
	case 'b':
		m.bind = &other;
		break;
	case 'n':
		m.name = "other";
		break;
	case 't':
		return native_of(value);
	default:
		cr_assert_fail("$%c", letter);
	}
	return make_sealed(&m);
}

static void expand(const char *from, char *to)
{
	while (*from) {
		char value[64];
		size_t len;

		if (*from != '$') {
			*to++ = *from++;
			continue;
		}
		len = strcspn(from + 3, "}");
		snprintf(value, sizeof(value), "%.*s", (int)len, from + 3);
		to = stpcpy(to, by_letter(from[1], value));
		from += 4 + len;
	}
	*to = '\0';
}

/* ---- judging ---- */

static size_t head_of(const char *cookies, char *out)
{
	return (size_t)sprintf(out, "GET / HTTP/1.1\r\nHost: a\r\nCookie: %s\r\n\r\n", cookies);
}

/* The Cookie field that is left, "" if none is. */
static const char *judge_text(const char *cookies, const struct ht_sip_keys *keys)
{
	static char head[HT_HEAD_MAX + 1], line[HT_HEAD_MAX];
	static struct ht_head scratch;
	size_t len = head_of(cookies, head);
	const char *at;

	cr_assert_eq(ht_policy_judge(&(struct ht_policy_context){&site, &ring, keys, &client},
				     &scratch, head, &len, 0, &judgement),
		     0);
	head[len] = '\0';
	at = strstr(head, "Cookie: ");
	snprintf(line, sizeof(line), "%.*s", at ? (int)strcspn(at + 8, "\r") : 0, at ? at + 8 : "");
	return line;
}

static const char *judge(const char *cookies, const struct ht_sip_keys *keys)
{
	static char text[HT_HEAD_MAX];

	expand(cookies, text);
	return judge_text(text, keys);
}

static const struct {
	const char *before, *after;
	int verdict, action;
	size_t opened;
} rows[] = {
	{"sid=$s{abc}", "sid=abc", HT_COOKIE_VALID, HT_ACTION_PASS, 3},
	{"a=1; sid=$s{x}; b=2", "a=1; sid=x; b=2", HT_COOKIE_VALID, HT_ACTION_PASS, 1},
	{"sid = $s{a b} ; b=2", "sid = a b ; b=2", HT_COOKIE_VALID, HT_ACTION_PASS, 3},
	{"sid=$o{abc}", "sid=abc", HT_COOKIE_VALID, HT_ACTION_PASS, 3},
	{"a=1; sid=$e{abc}; b=2", "a=1; b=2", HT_COOKIE_EXPIRED, HT_ACTION_STRIP, 0},
	{"a=1; sid=$b{abc}; b=2", "a=1; b=2", HT_COOKIE_FORGED, HT_ACTION_STRIP, 0},
	{"a=1; sid=$n{abc}; b=2", "a=1; b=2", HT_COOKIE_FORGED, HT_ACTION_STRIP, 0},
	{"a=1; sid=$s{abc}x; b=2", "a=1; b=2", HT_COOKIE_FORGED, HT_ACTION_STRIP, 0},
	{"a=1; sid=abc; b=2", "a=1; b=2", HT_COOKIE_MISSING, HT_ACTION_STRIP, 0},
	{"a=1; sid=; b=2", "a=1; b=2", HT_COOKIE_MISSING, HT_ACTION_STRIP, 0},
	{"a=1; sid; b=2", "a=1; b=2", HT_COOKIE_MISSING, HT_ACTION_STRIP, 0},
	/* one that is right stays, whatever is beside it */
	{"sid=$s{abc}; sid=$s{abc}", "sid=abc", HT_COOKIE_DUPLICATE, HT_ACTION_PASS, 3},
	{"sid=abc; sid=$s{abc}; a=1", "sid=abc; a=1", HT_COOKIE_DUPLICATE, HT_ACTION_PASS, 3},
	{"sid=$s{abc}; a=1; sid=x", "sid=abc; a=1", HT_COOKIE_DUPLICATE, HT_ACTION_PASS, 3},
	{"sid=$s{abc}; sid=$r{abc}", "sid=abc", HT_COOKIE_DUPLICATE, HT_ACTION_PASS, 3},
	{"sid=$o{abc}; sid=$s{abc}", "sid=abc", HT_COOKIE_DUPLICATE, HT_ACTION_PASS, 3},
	{"a=1; sid=$s{abc}; sid=$s{xyz}", "a=1", HT_COOKIE_DUPLICATE, HT_ACTION_STRIP, 0},
	{"a=1; sid=x; sid=y", "a=1", HT_COOKIE_MISSING, HT_ACTION_STRIP, 0},
	/* what is no token here is none */
	{"sid=$s{abc}; HTSIG_sid=x; sid_HMAC=y", "sid=abc; HTSIG_sid=x; sid_HMAC=y",
	 HT_COOKIE_VALID, HT_ACTION_PASS, 3},
};

/* Without a gate, and before one that has not opened what it was told. */
Test(policy_sealed, what_stays)
{
	for (size_t i = 0; i < 2 * HT_ARRAY_SIZE(rows); i++) {
		size_t n = i / 2;
		const char *got;

		client.opens = i % 2;
		got = judge(rows[n].before, i % 2 ? &sip : NULL);
		cr_expect_str_eq(got, rows[n].after, "%s: %s", rows[n].before, got);
		cr_assert_eq(judgement.ncookies, 1, "%s", rows[n].before);
		cr_expect_eq(judgement.cookie[0].verdict, rows[n].verdict, "%s: %s", rows[n].before,
			     ht_cookie_verdict_name(judgement.cookie[0].verdict));
		cr_expect_eq(judgement.cookie[0].action, rows[n].action, "%s", rows[n].before);
		cr_expect_eq(judgement.cookie[0].opened, rows[n].opened, "%s", rows[n].before);
		cr_expect_eq(judgement.opened, rows[n].opened > 0, "%s", rows[n].before);
	}
}

/* The gate opens what it is told: all the rest goes, and it finds one sealed value. */
Test(policy_sealed, what_is_left_to_the_gate)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		char text[HT_HEAD_MAX];
		const char *got = judge(rows[i].before, &sip), *at = strstr(got, "sid=");
		struct ht_str found;

		cr_expect_not(judgement.opened, "%s", rows[i].before);
		if (!rows[i].opened || strchr(rows[i].before, ' ') == rows[i].before + 3)
			continue;
		cr_assert(at, "%s: %s", rows[i].before, got);
		found = (struct ht_str){at + 4, strcspn(at + 4, "; ")};
		cr_expect(ht_sealed_like(found), "%s: %s", rows[i].before, got);
		cr_expect_eq(judgement.push[0].sealed.len, rows[i].opened);
		snprintf(text, sizeof(text), "%s", got);
		cr_expect_str_eq(judge_text(text, NULL), rows[i].after, "%s", rows[i].before);
	}
}

/* ---- what is pushed ---- */

static void sip_bytes(struct ht_sip *s, const char *p, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t w = 0;

		memcpy(&w, p + i, HT_MIN(len - i, sizeof(w)));
		ht_sip_word(s, w);
	}
}

/* As abi.h has it, written once more. */
static struct ht_token_key key_of(const uint64_t digest[2], const char *value)
{
	struct ht_token_key ret;
	struct ht_sip s;

	ht_sip_init(&s, sip.key, 1);
	ht_sip_word(&s, site.gate.rule[0].id);
	ht_sip_word(&s, digest[0]);
	ht_sip_word(&s, digest[1]);
	ht_sip_word(&s, 3 | (uint64_t)strlen(value) << 32);
	sip_bytes(&s, "sid", 3);
	sip_bytes(&s, value, strlen(value));
	ret.lo = ht_sip_final(&s, 1);
	ret.hi = ht_sip_final_hi(&s);
	return ret;
}

static uint64_t tag_of(const struct ht_token_key *k, const uint64_t *not_after, const char *text)
{
	struct ht_sip s;

	ht_sip_init(&s, sip.tag, 0);
	ht_sip_word(&s, k->lo);
	ht_sip_word(&s, k->hi);
	ht_sip_word(&s, 7 | 3ull << 32);
	if (not_after)
		ht_sip_word(&s, *not_after);
	ht_sip_word(&s, strlen(text));
	sip_bytes(&s, text, strlen(text));
	return ht_sip_final(&s, 0);
}

static void expect_push(size_t n, const struct ht_token_key *k, uint64_t tag, const char *sealed)
{
	const struct ht_push *p = &judgement.push[n];

	cr_assert_gt(judgement.npushes, n);
	cr_expect(p->key.lo == k->lo && p->key.hi == k->hi, "%zu: another key", n);
	cr_expect_eq(p->token.tag[0], tag, "%zu: another tag", n);
	cr_expect_eq(p->token.key_gen, 7);
	cr_expect_eq(p->token.global_gen, 3);
	cr_expect_eq(p->token.flags & HT_TOKEN_CLOSED, 0);
	cr_expect_eq(!sealed, !p->sealed.p);
	if (sealed && p->sealed.p)
		cr_expect(ht_str_eq(p->sealed, HT_STR(sealed)));
}

Test(policy_sealed, what_is_pushed)
{
	const char *value = make_sealed(&(struct made){.value = "some plaintext"});
	const uint64_t not_after = 5 + (DAY - 10) / 2 * 1000000000ull;
	struct ht_token_key k = key_of(binding.digest, value);

	judge("sid=$s{some plaintext}", &sip);
	cr_assert_eq(judgement.npushes, 1);
	expect_push(0, &k, tag_of(&k, &not_after, "some plaintext"), "some plaintext");
	cr_expect_eq(judgement.push[0].token.not_after_ns, not_after);
	/* and where the gate did not take it, the plaintext as its own token, of this head alone */
	client.opens = true;
	judge("sid=$s{some plaintext}", &sip);
	cr_assert_eq(judgement.npushes, 2);
	expect_push(0, &k, tag_of(&k, &not_after, "some plaintext"), "some plaintext");
	k = key_of(client.opened, "some plaintext");
	expect_push(1, &k, tag_of(&k, NULL, "some plaintext"), NULL);
	cr_expect_neq(judgement.push[1].token.not_after_ns, 0);
	/* nothing of what is wrong */
	for (const char *const *p = (const char *const[]){"sid=abc", "sid=$e{abc}", "sid=$b{abc}",
							  "sid=$s{a}; sid=$s{b}", NULL};
	     *p; p++) {
		judge(*p, &sip);
		cr_expect_eq(judgement.npushes, 0, "%s", *p);
	}
}

/* Of as many as a head may have: what it takes to send each now, and later. */
Test(policy_sealed, pushes_of_all)
{
	char text[HT_HEAD_MAX];
	size_t len = 0, tokens = 0;

	rule.covers = HT_COVERS_ALL;
	rule.nnames = 0;
	client.opens = true;
	compile();
	for (unsigned i = 0; i < HT_COOKIES_MAX; i++) {
		char name[16];

		snprintf(name, sizeof(name), "c%02u", i);
		len += (size_t)snprintf(
			text + len, sizeof(text) - len, "%s%s=%s", i ? "; " : "", name,
			make_sealed(&(struct made){.name = name, .value = "abc", .secret = 1}));
	}
	judge_text(text, &sip);
	cr_expect_eq(judgement.nreissues, HT_COOKIES_MAX);
	cr_assert_eq(judgement.npushes, 3 * HT_COOKIES_MAX);
	for (size_t i = 0; i < judgement.npushes; i++)
		tokens += !judgement.push[i].sealed.p;
	cr_expect_eq(tokens, HT_COOKIES_MAX);
}

/* It says whose it is, and nobody has that any more: who was away for so long forges nothing. */
Test(policy_sealed, a_secret_that_has_ended)
{
	key.nsecrets = 1;
	cr_expect_str_eq(judge("a=1; sid=$o{abc}", NULL), "a=1");
	cr_expect_eq(judgement.cookie[0].verdict, HT_COOKIE_EXPIRED);
	cr_expect_str_eq(judge("a=1; sid=$s{abc}x", NULL), "a=1");
	cr_expect_eq(judgement.cookie[0].verdict, HT_COOKIE_FORGED);
	key.nsecrets = 2;
}

/* The gate has room for some; what is longer is opened here. */
Test(policy_sealed, lengths)
{
	static const size_t lens[] = {1, 7, 8, 9, 1023, 1024, 1025, 2900};

	for (size_t i = 0; i < HT_ARRAY_SIZE(lens); i++) {
		const bool gates = lens[i] <= HT_SEALED_MAX;
		const char *value = make_sealed(&(struct made){.value = text_max, .len = lens[i]});
		char before[8192], want[8192], sealed[8192];

		snprintf(before, sizeof(before), "a=1; sid=%s; b=2", value);
		snprintf(sealed, sizeof(sealed), "%s", before);
		snprintf(want, sizeof(want), "a=1; sid=%.*s; b=2", (int)lens[i], text_max);
		cr_expect_str_eq(judge_text(before, NULL), want, "%zu", lens[i]);
		cr_expect_str_eq(judge_text(before, &sip), gates ? sealed : want, "%zu", lens[i]);
		cr_assert_eq(judgement.npushes, 1);
		cr_expect_eq(judgement.push[0].sealed.len, gates ? lens[i] : 0);
		cr_expect_eq(judgement.opened, !gates);
	}
}

/* ---- made anew ---- */

static const char *line(size_t i)
{
	static char lines[4][8192];
	static unsigned next;
	char *ret = lines[next++ % 4];

	cr_assert_lt(i, judgement.nreissues);
	snprintf(ret, sizeof(lines[0]), HT_STR_FMT, HT_STR_ARG(judgement.reissue[i].line));
	return ret;
}

/* What a line seals, and that it is by the newest secret; "" if it is nothing of the kind. */
static const char *sealed_in(const char *set_cookie, struct ht_token_info *ret)
{
	static char data[HT_SEALED_DATA_MAX + 1];
	const char *at = strncmp(set_cookie, "Set-Cookie: sid=", 16) ? "" : set_cookie + 16;
	const struct ht_token_params p = {
		.profile = HT_PROFILE_SECURE_COOKIE,
		.secret = secrets[0],
		.name = HT_STR("sid"),
		.user = {binding.text + binding.user_at, binding.user_len},
		.bind = binding.sha,
	};
	size_t len;

	ht_sealed_open(&p, (struct ht_str){at, strcspn(at, ";")}, NOW, data, &len, ret);
	data[len] = '\0';
	return data;
}

Test(policy_sealed, an_older_secret_or_half_its_life_is_a_reason_to_seal_anew)
{
	static const struct {
		const char *cookie;
		enum ht_renewal renewal;
	} reasons[] = {{"sid=$o{abc}", HT_RENEWAL_KEY}, {"sid=$h{abc}", HT_RENEWAL_AGE}};
	struct ht_token_info info;

	for (size_t i = 0; i < HT_ARRAY_SIZE(reasons); i++) {
		judge(reasons[i].cookie, &sip);
		cr_assert_eq(judgement.nreissues, 1);
		cr_expect_eq(judgement.cookie[0].renewal, reasons[i].renewal);
		cr_expect(judgement.reissue[0].token);
		cr_expect_str_eq(sealed_in(line(0), &info), "abc", "%s", line(0));
		cr_expect_eq(info.issued_s, NOW);
		cr_expect_eq(info.expires_s, NOW + DAY);
		/* the gate knows the old one for a while, and the new one */
		cr_assert_eq(judgement.npushes, 2);
		cr_expect_eq(judgement.push[0].token.not_after_ns,
			     5 + HT_REISSUE_S * 1000000000ull);
		cr_expect_eq(judgement.push[1].token.not_after_ns, 5 + DAY / 2 * 1000000000ull);
		cr_expect(ht_str_eq(judgement.push[1].sealed, HT_STR("abc")));
		cr_expect_neq(judgement.push[0].key.lo, judgement.push[1].key.lo);
	}
	judge("sid=$s{abc}", &sip);
	cr_expect_eq(judgement.nreissues, 0);
}

Test(policy_sealed, what_is_sealed_anew_keeps_its_attributes_and_its_end)
{
	struct made m = {.value = "abc",
			 .secret = 1,
			 .expires_s = NOW + 1000,
			 .persistent = true,
			 .attributes = "; Path=/app; Domain=x.test; HttpOnly; SameSite=Lax"};
	struct ht_token_info info;
	char text[8192];

	snprintf(text, sizeof(text), "sid=%s", make_sealed(&m));
	judge_text(text, NULL);
	cr_expect_str_eq(strchr(line(0), ';'),
			 "; Path=/app; Domain=x.test; HttpOnly; SameSite=Lax; Max-Age=1000");
	cr_expect_str_eq(sealed_in(line(0), &info), "abc");
	cr_expect_eq(info.expires_s, NOW + 1000);
	cr_expect(info.persistent);
	cr_expect_str_eq(info.attributes, m.attributes);
}

/* ---- who is only watched, and who was there before ---- */

Test(policy_sealed, report_opens_what_is_right_and_changes_nothing_else)
{
	static const struct {
		const char *before, *after;
	} reports[] = {
		{"sid=$s{abc}", "sid=abc"},
		{"sid=$o{abc}", "sid=abc"},
		{"sid=plain", "sid=plain"},
		{"sid=$s{abc}; sid=plain", "sid=abc; sid=plain"},
		{"sid=$s{abc}; a=1; sid=$s{abc}", "sid=abc; a=1; sid=abc"},
		{"sid=$s{abc}; sid=$r{abc}", "sid=abc; sid=abc"},
		{"sid=", "sid="},
	};
	static const char *const wrong[] = {"sid=$e{abc}", "sid=$b{abc}", "sid=$n{abc}"};
	char text[HT_HEAD_MAX];

	rule.mode = HT_MODE_REPORT;
	compile();
	for (size_t i = 0; i < 2 * HT_ARRAY_SIZE(reports); i++) {
		const char *got = judge(reports[i / 2].before, i % 2 ? &sip : NULL);

		cr_expect_str_eq(got, reports[i / 2].after, "%s: %s", reports[i / 2].before, got);
		cr_expect_eq(judgement.nreissues, 0, "%s", reports[i / 2].before);
	}
	for (size_t i = 0; i < HT_ARRAY_SIZE(wrong); i++) {
		expand(wrong[i], text);
		cr_expect_str_eq(judge_text(text, NULL), text);
		cr_expect_eq(judgement.cookie[0].action, HT_ACTION_REPORT);
		cr_expect_eq(judgement.npushes, 0);
	}
	rule.enforce_after_s = NOW + 10;
	compile();
	judge("sid=plain", NULL);
	cr_expect_eq(judgement.nreissues, 0, "it seals");
}

Test(policy_sealed, before_enforce_after_what_is_not_sealed_passes_and_is_sealed)
{
	struct ht_token_info info;
	struct ht_token_key k;

	rule.enforce_after_s = NOW + 10;
	compile();
	cr_expect_str_eq(judge("sid=abc", &sip), "sid=abc");
	cr_expect_eq(judgement.cookie[0].verdict, HT_COOKIE_MISSING);
	cr_expect_eq(judgement.cookie[0].action, HT_ACTION_GRACE);
	k = key_of(client.opened, "abc");
	expect_push(0, &k, tag_of(&k, NULL, "abc"), NULL);
	cr_expect_eq(judgement.npushes, 2);
	cr_expect_str_eq(sealed_in(line(0), &info), "abc");
	cr_expect_str_eq(strchr(line(0), ';'), "; Path=/; Secure; HttpOnly");
	cr_expect_eq(judgement.cookie[0].renewal, HT_RENEWAL_UNSIGNED);
	/* what looks sealed and is not right is no cookie of before */
	cr_expect_str_eq(judge("sid=$e{abc}", &sip), "");
	cr_expect_str_eq(judge("sid=$b{abc}", &sip), "");
	cr_expect_str_eq(judge("sid=x; sid=y", &sip), "");
	/* who can't be bound keeps what he has */
	binding.empty = true;
	cr_expect_str_eq(judge("sid=abc", &sip), "sid=abc");
	expect_push(0, &k, tag_of(&k, NULL, "abc"), NULL);
	cr_expect_eq(judgement.nreissues, 0);
	rule.enforce_after_s = NOW;
	cr_expect_str_eq(judge("sid=abc", &sip), "");
	cr_expect_eq(judgement.cookie[0].verdict, HT_COOKIE_UNBOUND);
}

/* On an exempt path nothing goes, and nothing is told to a gate. */
Test(policy_sealed, exempt)
{
	static const struct {
		const char *before, *after;
	} paths[] = {
		{"sid=$s{abc}; a=1", "sid=abc; a=1"},
		{"sid=$s{abc}; sid=$s{abc}; sid=x", "sid=abc; sid=abc; sid=x"},
		{"sid=plain", "sid=plain"},
	};

	client.exempt = true;
	for (size_t i = 0; i < HT_ARRAY_SIZE(paths); i++)
		cr_expect_str_eq(judge(paths[i].before, NULL), paths[i].after);
}

Test(policy_sealed, revoked_by_what_the_backend_sees_or_by_what_the_browser_has)
{
	struct ht_revoked_entry e;
	struct ht_revoked *set;

	for (int sealed = 0; sealed < 2; sealed++) {
		ht_revoked_hash(&sip, HT_STR("shop.test"), HT_STR("sid"),
				HT_STR(sealed ? by_letter('s', "abc") : "abc"), &e);
		e.until_s = NOW + 1;
		cr_assert_eq(ht_revoked_new(&sip, &e, 1, &set), 0);
		client.revoked = set;
		cr_expect_str_eq(judge("sid=$s{abc}", &sip), "");
		cr_expect_eq(judgement.cookie[0].verdict, HT_COOKIE_REVOKED);
		cr_expect_eq(judgement.npushes, 0);
		cr_expect_str_eq(judge("sid=$s{abd}", NULL), "sid=abd");
		/* another seal of the same session */
		cr_expect_str_eq(judge("sid=$r{abc}", NULL), sealed ? "sid=abc" : "");
		ht_revoked_unref(set);
	}
}

Test(policy_sealed, another_user)
{
	const uint8_t wrong_user[] = "bob";
	struct ht_binding bob;

	rule.binds[1].kind = HT_BIND_USER;
	rule.nbinds = 2;
	compile();
	cr_expect_eq(binding.user_len, 5);
	cr_expect_str_eq(judge("sid=$s{abc}", NULL), "", "sealed without a user");
	bob = binding;
	memcpy(bob.text + bob.user_at, wrong_user, 3);
	bob.user_len = 3;
	client.bind = &bob;
	cr_expect_str_eq(judge("sid=$s{abc}", NULL), "");
}

/* ---- from native to sealed and back ---- */

Test(policy_sealed, from_native)
{
	struct ht_token_info info;

	also_native(HT_PROFILE_SECURE_COOKIE);
	cr_expect_str_eq(judge("sid=abc; HTSIG_sid=x; a=1", NULL), "HTSIG_sid=x; a=1");
	judge("sid=abc; HTSIG_sid=$t{abc}", &sip);
	cr_expect_eq(judgement.cookie[0].verdict, HT_COOKIE_VALID);
	cr_expect_eq(judgement.cookie[0].renewal, HT_RENEWAL_PROFILE);
	/* a token for the gate, a sealed cookie for the client, and the old token's end */
	cr_assert_eq(judgement.npushes, 2);
	cr_expect_null(judgement.push[0].sealed.p);
	cr_expect(ht_str_eq(judgement.push[1].sealed, HT_STR("abc")));
	cr_assert_eq(judgement.nreissues, 2);
	cr_expect_str_eq(sealed_in(line(0), &info), "abc", "%s", line(0));
	cr_expect_str_eq(info.attributes, "; Path=/n");
	cr_expect(
		!strncmp(line(1), "Set-Cookie: HTSIG_sid=; Path=/n; Expires=Thu, 01 Jan 1970", 56),
		"%s", line(1));
	cr_expect(judgement.reissue[0].token);
	cr_expect_not(judgement.reissue[1].token);
	/* until the client has forgotten it: the gate would judge by it */
	for (int i = 0; i < 2; i++) {
		const char *got = judge("sid=$s{abc}; HTSIG_sid=$t{abc}; a=1", i ? &sip : NULL);

		cr_expect_null(strstr(got, "HTSIG_sid"), "%s", got);
		if (!i)
			cr_expect_str_eq(got, "sid=abc; a=1");
		cr_assert_eq(judgement.nreissues, 1);
		cr_expect(!strncmp(line(0), "Set-Cookie: HTSIG_sid=;", 23), "%s", line(0));
	}
	/* what is pushed does not stand in the head, which is cut in front of it */
	cr_expect_not(strncmp(judge("sid=abc; sid=the-one; HTSIG_sid=$t{the-one}", &sip),
			      "sid=the-one; HTSIG_sid=", 23));
	cr_assert_eq(judgement.npushes, 2);
	cr_expect(ht_str_eq(judgement.push[1].sealed, HT_STR("the-one")));
	rule.mode = HT_MODE_REPORT;
	compile();
	cr_expect_str_eq(judge("sid=$s{abc}; HTSIG_sid=x; a=1", &sip), "sid=abc; HTSIG_sid=x; a=1");
	judge("sid=abc; HTSIG_sid=$t{abc}", &sip);
	cr_expect_eq(judgement.nreissues, 0);
}

/* A token that does not say its attributes is forgotten when the sealed cookie does. */
Test(policy_sealed, from_f5_irule)
{
	struct ht_token_params p = {
		.profile = HT_PROFILE_F5_IRULE,
		.secret = secrets[0],
		.name = HT_STR("sid"),
		.value = HT_STR("abc"),
		.input = {binding.text, binding.len},
	};
	char token[HT_TOKEN_TEXT_MAX], text[8192];
	struct ht_token_info info;
	size_t len = 0;

	rule.accept = SEALED_BIT | 1U << HT_PROFILE_F5_IRULE;
	rule.siblings[0] = (struct ht_sibling){"sid_HMAC", false, 1U << HT_PROFILE_F5_IRULE};
	rule.nsiblings = 1;
	compile();
	cr_assert_eq(ht_token_sign(&p, token, &len), 0);
	snprintf(text, sizeof(text), "sid=abc; sid_HMAC=%.*s", (int)len, token);
	cr_expect_str_eq(judge_text(text, &sip), text);
	cr_assert_eq(judgement.nreissues, 1);
	cr_expect_str_eq(sealed_in(line(0), &info), "abc");
	cr_expect_str_eq(info.attributes, "; Path=/; Secure; HttpOnly");
	snprintf(text, sizeof(text), "%s", line(0) + strlen("Set-Cookie: "));
	sprintf(text + strcspn(text, ";"), "; sid_HMAC=%.*s", (int)len, token);
	cr_expect_str_eq(judge_text(text, NULL), "sid=abc");
	cr_assert_eq(judgement.nreissues, 1);
	cr_expect(!strncmp(line(0), "Set-Cookie: sid_HMAC=; Path=/;", 30), "%s", line(0));
}

Test(policy_sealed, back_to_native)
{
	struct made m = {.value = "abc", .attributes = "; Path=/app; HttpOnly"};
	char text[8192], want[1024];

	also_native(HT_PROFILE_NATIVE);
	snprintf(text, sizeof(text), "sid=%s; a=1", make_sealed(&m));
	cr_expect_str_eq(judge_text(text, NULL), "sid=abc; a=1");
	cr_expect_eq(judgement.cookie[0].renewal, HT_RENEWAL_PROFILE);
	cr_assert_eq(judgement.nreissues, 2);
	cr_expect_str_eq(line(1), "Set-Cookie: sid=abc; Path=/app; HttpOnly");
	cr_expect(!strncmp(line(0), "Set-Cookie: HTSIG_sid=1.", 24), "%s", line(0));
	cr_expect_str_eq(strchr(line(0), ';'), "; Path=/app; HttpOnly");
	judge_text(text, &sip);
	cr_assert_eq(judgement.npushes, 2);
	cr_expect(ht_str_eq(judgement.push[0].sealed, HT_STR("abc")));
	cr_expect_null(judgement.push[1].sealed.p);
	/* what the client has then is right */
	snprintf(want, sizeof(want), "sid=abc; %s", line(0) + strlen("Set-Cookie: "));
	want[strcspn(want + 9, ";") + 9] = '\0';
	cr_expect_str_eq(judge_text(want, NULL), want);
	cr_expect_eq(judgement.nreissues, 0);
	cr_expect_str_eq(judge("sid=abc; a=1", NULL), "a=1");
}

/* ---- Set-Cookie ---- */

static enum ht_sign_result sign(const char *field, const char **ret_line, struct ht_push *push)
{
	static char text[8192];
	struct ht_set_cookie cookie;
	enum ht_sign_result result;
	size_t len = 0, n;

	ht_set_cookie_parse(HT_STR(field), NOW, &cookie);
	result = ht_policy_sign(&(struct ht_policy_context){&site, &ring, &sip, &client}, &cookie,
				text, sizeof(text) - 1, &len, push, &n);
	text[len] = '\0';
	*ret_line = text;
	return result;
}

Test(policy_sealed, set_cookie)
{
	static const struct {
		const char *field, *attributes;
		uint64_t life_s;
		bool persistent;
	} fields[] = {
		{"sid=abcdefgh", NULL, DAY, false},
		{"sid=abcdefgh; Path=/x; Domain=a.test; Secure; HttpOnly; Partitioned; "
		 "Priority=High",
		 "; Path=/x; Domain=a.test; Secure; HttpOnly; Partitioned; Priority=High", DAY,
		 false},
		{"sid = abcdefgh ; Max-Age=600", "; Max-Age=600", 600, true},
		{"sid=abcdefgh;Expires=Fri, 15 Dec 2023 00:00:00 GMT",
		 ";Expires=Fri, 15 Dec 2023 00:00:00 GMT", 1702598400 - NOW, true},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(fields); i++) {
		struct ht_token_info info;
		struct ht_push push;
		const char *got;
		const uint64_t until = fields[i].persistent ? fields[i].life_s : DAY / 2;

		cr_assert_eq(sign(fields[i].field, &got, &push), HT_SIGN_SEALED, "%zu", i);
		cr_expect_str_eq(sealed_in(got, &info), "abcdefgh", "%s", got);
		cr_expect_eq(info.issued_s, NOW);
		cr_expect_eq(info.expires_s, NOW + fields[i].life_s);
		cr_expect_eq(info.persistent, fields[i].persistent);
		cr_expect_null(strstr(got, "abcdefgh"), "%s", got);
		if (fields[i].attributes)
			cr_expect_str_eq(strchr(got, ';'), fields[i].attributes);
		else
			cr_expect_null(strchr(got, ';'));
		cr_expect(ht_str_eq(push.sealed, HT_STR("abcdefgh")));
		cr_expect_eq(push.token.not_after_ns, 5 + until * 1000000000);
	}
}

Test(policy_sealed, what_is_not_sealed)
{
	char field[8192];
	struct ht_push push;
	const char *got;

	cr_expect_eq(sign("other=abc", &got, &push), HT_SIGN_UNCOVERED);
	cr_expect_eq(sign("sid=; Max-Age=0", &got, &push), HT_SIGN_UNCOVERED);
	/* one that deletes and says what: no browser sees it in plain, and nobody needs it */
	cr_expect_eq(sign("sid=deleted; Max-Age=0", &got, &push), HT_SIGN_SEALED);
	cr_expect_null(push.sealed.p);
	cr_expect_null(strstr(got, "deleted"));
	for (size_t n = 1024; n <= 1025; n++) {
		snprintf(field, sizeof(field), "sid=%.*s", (int)n, text_max);
		cr_expect_eq(sign(field, &got, &push), HT_SIGN_SEALED);
		cr_expect_eq(push.sealed.len, n == 1024 ? n : 0);
	}
	snprintf(field, sizeof(field), "sid=%.*s", 3100, text_max);
	cr_expect_eq(sign(field, &got, &push), HT_SIGN_TOO_LONG);
	cr_expect_eq(sign("sid=a\1b", &got, &push), HT_SIGN_REFUSED);
	binding.empty = true;
	cr_expect_eq(sign("sid=abc", &got, &push), HT_SIGN_UNBOUND);
	rule.mode = HT_MODE_REPORT;
	compile();
	cr_expect_eq(sign("sid=abc", &got, &push), HT_SIGN_UNCOVERED);
}

/* What can't be sealed goes to nobody; until it counts, it passes as it always did. */
Test(policy_sealed, what_is_withheld)
{
	static const enum ht_sign_result always[] = {
		HT_SIGN_SEALED,	 HT_SIGN_SIBLING,  HT_SIGN_ISSUER, HT_SIGN_REVOKED,
		HT_SIGN_REFUSED, HT_SIGN_TOO_LONG, HT_SIGN_UNBOUND};

	for (size_t i = 0; i < HT_ARRAY_SIZE(always); i++)
		cr_expect(ht_policy_withholds(&rule, always[i], NOW), "%zu", i);
	cr_expect_not(ht_policy_withholds(&rule, HT_SIGN_UNCOVERED, NOW));
	rule.enforce_after_s = NOW + 1;
	for (size_t i = 0; i < HT_ARRAY_SIZE(always); i++)
		cr_expect_eq(ht_policy_withholds(&rule, always[i], NOW), i < 4, "%zu", i);
	rule.enforce_after_s = 0;
	rule.profile = HT_PROFILE_NATIVE;
	for (size_t i = 3; i < HT_ARRAY_SIZE(always); i++)
		cr_expect_not(ht_policy_withholds(&rule, always[i], NOW), "%zu", i);
}

/* A reissue that no browser would take is counted, not sent. */
Test(policy_sealed, too_long_to_come_back)
{
	char text[HT_HEAD_MAX];

	rule.enforce_after_s = NOW + 10;
	compile();
	snprintf(text, sizeof(text), "sid=%.*s", 3100, text_max);
	cr_expect_str_eq(judge_text(text, &sip), text);
	cr_expect_eq(judgement.nreissues, 0);
	cr_expect_eq(judgement.too_long, 1);
	/* and who has a token of another profile keeps that */
	also_native(HT_PROFILE_SECURE_COOKIE);
	snprintf(text, sizeof(text), "sid=%.*s", 3100, text_max);
	snprintf(text + 3104, sizeof(text) - 3104, "; HTSIG_sid=%s", native_of(text + 4));
	cr_expect_str_eq(judge_text(text, &sip), text);
	cr_expect_eq(judgement.nreissues, 0);
	cr_expect_eq(judgement.too_long, 1);
}
