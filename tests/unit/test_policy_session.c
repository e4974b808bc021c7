/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session ids in requests: which stay, what is pushed for them, how one gets into a head, and which
 * come back anew. Times and secrets are fixed.
 */
#include <criterion/criterion.h>

#include "policy.h"
#include "token.h"

#define NOW 1700000000ull
#define LIFETIME 172800ull

static const uint8_t new_bytes[] = "the newest secret", old_bytes[] = "the one before it";
static const struct ht_secret secrets[] = {
	{.bytes = new_bytes, .len = sizeof(new_bytes) - 1},
	{.bytes = old_bytes, .len = sizeof(old_bytes) - 1},
};
static struct ht_key key = {.name = "k", .gen = 7, .nsecrets = 2, .secrets = secrets};
static const struct ht_keyring ring = {.nkeys = 1, .keys = &key, .global_gen = 3};
static const struct ht_sip_keys sip = {{1, 2}, {3, 4}};

static struct ht_cookie_name sid = {"sid", false};
static char *issue[] = {"/login", "/app/*"};
static char *hosts[] = {"shop.test"};
static struct ht_rule_config rule;
static struct ht_site_config site_config = {
	.hosts = hosts, .nhosts = 1, .rules = &rule, .nrules = 1};
static struct ht_config config = {.file = "t.yaml", .limits.covered_cookies = 16};
static struct ht_policy_site site;
static struct ht_binding binding;
static struct ht_policy_client client;
static struct ht_judgement judgement;

static void compile(void)
{
	const struct ht_client nobody = {0};
	struct ht_diag diag;

	cr_assert_eq(ht_policy_compile(&config, &site_config, &site, &diag), 0, "%s", diag.text);
	ht_binding_make(rule.binds, rule.nbinds, &nobody, &binding);
}

static void set_up(void)
{
	rule = (struct ht_rule_config){
		.covers = HT_COVERS_NAME,
		.name = "sid",
		.label = "sid",
		.names = &sid,
		.nnames = 1,
		.profile = HT_PROFILE_SESSION_ID,
		.accept = 1U << HT_PROFILE_SESSION_ID,
		.key = "k",
		.reissue = "; Path=/; Secure; HttpOnly",
		.copy_attributes = true,
		.mode = HT_MODE_ENFORCE,
		.session_s = LIFETIME,
	};
	client = (struct ht_policy_client){.bind = &binding, .time = {NOW, 5}};
	compile();
}

TestSuite(policy_session, .init = set_up);

/* The session with this letter, by the i-th secret; 8 at a time. */
static const char *id_of(char letter, size_t secret, uint64_t issued_s)
{
	static char ids[8][HT_TOKEN_TEXT_MAX + 1];
	static unsigned next;
	char *ret = ids[next++ % 8];
	uint8_t data[HT_SESSION_DATA];
	size_t len = 0;
	const struct ht_token_params p = {
		.profile = HT_PROFILE_SESSION_ID,
		.secret = secrets[secret],
		.data = memset(data, letter, sizeof(data)),
		.issued_s = issued_s,
	};

	cr_assert_eq(ht_token_sign(&p, ret, &len), 0);
	ret[len] = '\0';
	return ret;
}

/* A head with these cookies ('|' begins another field), in a buffer of HT_HEAD_MAX. */
static size_t head_of(const char *cookies, char *out)
{
	size_t n = (size_t)sprintf(out, "GET / HTTP/1.1\r\nHost: a\r\n");

	for (const char *p = cookies; *p;) {
		size_t len = strcspn(p, "|");

		n += (size_t)sprintf(out + n, "Cookie: %.*s\r\n", (int)len, p);
		p += len + (p[len] == '|');
	}
	return n + (size_t)sprintf(out + n, "\r\n");
}

/* Expands {n}, {m}, {o}, {e}, {t}: an id of now, of before, of the old secret, expired, another's. */
static void expand(const char *from, char *to)
{
	for (; *from; from++) {
		const char *id = !strncmp(from, "{n}", 3)   ? id_of('s', 0, NOW - 10)
				 : !strncmp(from, "{m}", 3) ? id_of('s', 0, NOW - 20)
				 : !strncmp(from, "{t}", 3) ? id_of('t', 0, NOW - 20)
				 : !strncmp(from, "{o}", 3) ? id_of('s', 1, NOW - 10)
				 : !strncmp(from, "{e}", 3) ? id_of('s', 0, NOW - LIFETIME - 1)
							    : NULL;

		if (id)
			from += 2;
		else
			*to++ = *from;
		if (id)
			to = stpcpy(to, id);
	}
	*to = '\0';
}

static void judge(const char *cookies, const struct ht_sip_keys *keys, char *ret_head)
{
	static struct ht_head scratch;
	char text[4096];
	size_t len;

	expand(cookies, text);
	len = head_of(text, ret_head);
	cr_assert_eq(ht_policy_judge(&(struct ht_policy_context){&site, &ring, keys, &client},
				     &scratch, ret_head, &len, 0, &judgement),
		     0);
	ret_head[len] = '\0';
}

static const struct {
	const char *before, *after;
	int verdict, action; /* -1: nothing was judged */
} rows[] = {
	{"sid={n}", "sid={n}", HT_COOKIE_VALID, HT_ACTION_PASS},
	{"sid={o}", "sid={o}", HT_COOKIE_VALID, HT_ACTION_PASS},
	{"a=1; sid={n}; b=2", "a=1; sid={n}; b=2", HT_COOKIE_VALID, HT_ACTION_PASS},
	{"a=1; sid={e}; b=2", "a=1; b=2", HT_COOKIE_EXPIRED, HT_ACTION_STRIP},
	{"a=1; sid=garbage; b=2", "a=1; b=2", HT_COOKIE_FORGED, HT_ACTION_STRIP},
	{"sid=", "", HT_COOKIE_MISSING, HT_ACTION_STRIP},
	{"sid", "", HT_COOKIE_MISSING, HT_ACTION_STRIP},
	{"sid={n}x", "", HT_COOKIE_FORGED, HT_ACTION_STRIP},
	{"=sid=x; a=1", "a=1", HT_COOKIE_FORGED, HT_ACTION_STRIP},
	{"other={n}", "other={n}", -1, -1},
	/* one that is right stays, whatever is beside it */
	{"sid={n}; sid={n}", "sid={n}", HT_COOKIE_DUPLICATE, HT_ACTION_PASS},
	{"sid=x; sid={n}", "sid={n}", HT_COOKIE_DUPLICATE, HT_ACTION_PASS},
	{"sid={e}; sid={n}; a=1", "sid={n}; a=1", HT_COOKIE_DUPLICATE, HT_ACTION_PASS},
	{"sid=x|sid={n}", "sid={n}", HT_COOKIE_DUPLICATE, HT_ACTION_PASS},
	{"sid={t}; sid={n}", "", HT_COOKIE_DUPLICATE, HT_ACTION_STRIP},
	/* two ids of one session: what a renewal with another Path leaves behind */
	{"sid={o}; sid={n}", "sid={n}", HT_COOKIE_DUPLICATE, HT_ACTION_PASS},
	{"sid={n}; sid={o}", "sid={n}", HT_COOKIE_DUPLICATE, HT_ACTION_PASS},
	{"sid={m}; sid={n}", "sid={n}", HT_COOKIE_DUPLICATE, HT_ACTION_PASS},
	{"sid={n}; sid={m}; sid={o}", "sid={n}", HT_COOKIE_DUPLICATE, HT_ACTION_PASS},
	{"sid=x; sid=y; a=1", "a=1", HT_COOKIE_DUPLICATE, HT_ACTION_STRIP},
	/* names of siblings mean nothing here */
	{"sid={n}; HTSIG_sid=x; BCSIG_sid=y; sid_HMAC=z",
	 "sid={n}; HTSIG_sid=x; BCSIG_sid=y; sid_HMAC=z", HT_COOKIE_VALID, HT_ACTION_PASS},
};

Test(policy_session, what_stays)
{
	for (size_t i = 0; i < 2 * HT_ARRAY_SIZE(rows); i++) {
		size_t n = i / 2;
		char head[HT_HEAD_MAX], want[HT_HEAD_MAX], text[4096];

		judge(rows[n].before, i % 2 ? &sip : NULL, head);
		expand(rows[n].after, text);
		want[head_of(text, want)] = '\0';
		cr_expect_str_eq(head, want, "%s: %s", rows[n].before, head);
		cr_expect_eq(judgement.ncookies, rows[n].verdict >= 0, "%s", rows[n].before);
		if (rows[n].verdict < 0 || !judgement.ncookies)
			continue;
		cr_expect_eq(judgement.cookie[0].verdict, rows[n].verdict, "%s", rows[n].before);
		cr_expect_eq(judgement.cookie[0].action, rows[n].action, "%s", rows[n].before);
	}
}

/* The gate computes the tag of the value over the value: only that is pushed, until its end. */
Test(policy_session, what_is_pushed)
{
	char head[HT_HEAD_MAX];

	judge("sid={n}", &sip, head);
	cr_assert_eq(judgement.npushes, 1);
	cr_expect_eq(judgement.push[0].token.flags & HT_TOKEN_CLOSED, 0);
	cr_expect_eq(judgement.push[0].token.not_after_ns, 5 + (LIFETIME - 10 + 1) * 1000000000);
	cr_expect_eq(judgement.push[0].token.key_gen, 7);
	cr_expect_eq(judgement.nreissues, 0);
	for (size_t i = 0; i < 2; i++) {
		judge(i ? "sid={e}" : "sid=garbage", &sip, head);
		cr_expect_eq(judgement.npushes, 0);
	}
	key.nsecrets = 1; /* what would close an entry of a profile that signs */
	judge("sid={n}", &sip, head);
	cr_expect_eq(judgement.push[0].token.flags & HT_TOKEN_CLOSED, 0);
}

/* The session stays: the same data, a new time, the newest secret; and the gate knows both. */
Test(policy_session, an_older_secret_is_a_reason_to_issue_anew)
{
	char head[HT_HEAD_MAX], want[200];
	struct ht_token_key first;

	judge("sid={o}", &sip, head);
	cr_assert_eq(judgement.nreissues, 1);
	cr_expect_eq(judgement.cookie[0].renewal, HT_RENEWAL_KEY);
	snprintf(want, sizeof(want), "Set-Cookie: sid=%s; Path=/; Secure; HttpOnly",
		 id_of('s', 0, NOW));
	cr_expect(ht_str_eq(judgement.reissue[0].line, HT_STR(want)), HT_STR_FMT,
		  HT_STR_ARG(judgement.reissue[0].line));
	cr_expect(ht_str_eq(judgement.reissue[0].name, HT_STR("sid")));
	cr_assert_eq(judgement.npushes, 2);
	cr_expect_eq(judgement.push[0].token.not_after_ns, 5 + HT_REISSUE_S * 1000000000ull);
	cr_expect_eq(judgement.push[1].token.not_after_ns, 5 + (LIFETIME + 1) * 1000000000);
	cr_expect_neq(judgement.push[0].key.lo, judgement.push[1].key.lo);
	/* what comes next hits what was pushed */
	first = judgement.push[1].key;
	snprintf(want, sizeof(want), "sid=%s", id_of('s', 0, NOW));
	judge(want, &sip, head);
	cr_expect_eq(judgement.push[0].key.lo, first.lo);
	cr_expect_eq(judgement.nreissues, 0);
}

Test(policy_session, without_tls_nothing_new_is_secure)
{
	char head[HT_HEAD_MAX];

	client.plain = true;
	judge("sid={o}", &sip, head);
	cr_assert_eq(judgement.nreissues, 1);
	cr_expect_null(
		memmem(judgement.reissue[0].line.p, judgement.reissue[0].line.len, "Secure", 6));
}

Test(policy_session, report_changes_nothing)
{
	static const char *const cookies[] = {"sid=garbage", "sid={e}", "sid={o}", "sid=", "a=1"};
	char head[HT_HEAD_MAX], want[HT_HEAD_MAX], text[4096];

	rule.mode = HT_MODE_REPORT;
	compile();
	for (size_t i = 0; i < HT_ARRAY_SIZE(cookies); i++) {
		judge(cookies[i], NULL, head);
		expand(cookies[i], text);
		want[head_of(text, want)] = '\0';
		cr_expect_str_eq(head, want);
		cr_expect_eq(judgement.nreissues, 0, "%s", cookies[i]);
		if (i < 2)
			cr_expect_eq(judgement.cookie[0].action, HT_ACTION_REPORT);
	}
	cr_expect_eq(ht_policy_issues(&site, HT_STR("/")), 0);
}

/* Before enforce-after what is no id at all passes, this once; what is a wrong id does not. */
Test(policy_session, grace)
{
	char head[HT_HEAD_MAX];

	rule.enforce_after_s = NOW + 100;
	compile();
	judge("sid=of-before", &sip, head);
	cr_expect_eq(judgement.cookie[0].verdict, HT_COOKIE_MISSING);
	cr_expect_eq(judgement.cookie[0].action, HT_ACTION_GRACE);
	cr_expect_eq(judgement.nreissues, 0, "his session is not ours to rename");
	cr_assert_eq(judgement.npushes, 1);
	cr_expect_eq(judgement.push[0].token.not_after_ns, 5 + HT_GRACE_S * 1000000000ull);
	judge("sid={e}", &sip, head);
	cr_expect_eq(judgement.cookie[0].action, HT_ACTION_STRIP);
	judge("sid={n}", &sip, head);
	cr_expect_eq(judgement.cookie[0].action, HT_ACTION_PASS);
	client.time.now_s = NOW + 100;
	judge("sid=of-before", &sip, head);
	cr_expect_eq(judgement.cookie[0].action, HT_ACTION_STRIP);
}

/* Revoked is the session, by whichever of its ids. */
Test(policy_session, revoked_under_every_id)
{
	const struct ht_str now = HT_STR(id_of('s', 0, NOW - 10)),
			    next = HT_STR(id_of('s', 0, NOW)), other = HT_STR(id_of('t', 0, NOW));
	struct ht_revoked_entry e;
	struct ht_revoked *set;
	char head[HT_HEAD_MAX], text[200];

	cr_assert_eq(ht_policy_session(&rule, now).len, HT_SESSION_HANDLE_LEN);
	cr_expect(ht_str_eq(ht_policy_session(&rule, now), ht_policy_session(&rule, next)));
	cr_expect_not(ht_str_eq(ht_policy_session(&rule, now), ht_policy_session(&rule, other)));
	cr_expect_eq(ht_policy_session(&rule, HT_STR("garbage")).len, 7);
	ht_revoked_hash(&sip, HT_STR("shop.test"), HT_STR("sid"), ht_policy_session(&rule, now),
			&e);
	e.until_s = NOW + 1000;
	cr_assert_eq(ht_revoked_new(&sip, &e, 1, &set), 0);
	client.revoked = set;
	for (size_t i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "sid=%s", (i == 0 ? now : i == 1 ? next : other).p);
		judge(text, &sip, head);
		cr_expect_eq(judgement.cookie[0].verdict,
			     i < 2 ? HT_COOKIE_REVOKED : HT_COOKIE_VALID, "%zu", i);
	}
	ht_revoked_unref(set);
}

/* ---- issuing ---- */

Test(policy_session, paths)
{
	static const struct {
		const char *path;
		bool issues;
	} paths[] = {
		{"/login", true},    {"/login/", false},  {"/app/", true}, {"/app/x/y", true},
		{"/app", false},     {"/", false},	  {"*", false},	   {"/LOGIN", false},
		{"/%6cogin", false}, {"/app/../x", true},
	};

	cr_expect_eq(ht_policy_issues(&site, HT_STR("/any/path")), 1);
	cr_expect_eq(ht_policy_issues(&site, HT_STR("*")), 1);
	rule.issue = issue;
	rule.nissue = HT_ARRAY_SIZE(issue);
	for (size_t i = 0; i < HT_ARRAY_SIZE(paths); i++)
		cr_expect_eq(ht_policy_issues(&site, HT_STR(paths[i].path)), paths[i].issues, "%s",
			     paths[i].path);
	rule.mode = HT_MODE_OFF;
	compile();
	cr_expect_eq(ht_policy_issues(&site, HT_STR("/login")), 0);
}

Test(policy_session, whether_there_is_one)
{
	static const struct {
		const char *cookies;
		bool has;
	} heads[] = {
		{"", false},
		{"sid=x", true},
		{"a=1; sid=x", true},
		{"a=1;sid=x", true},
		{"a=1|sid=x", true},
		{"sid", true},
		{"sid=", true},
		{" sid = x", true},
		{"\tsid\t=x", true},
		{"=sid=x", true},
		{"= =sid", true},
		{"sidx=1", false},
		{"xsid=1", false},
		{"SID=1", false},
		{"a=sid", false},
		{"a=\"; sid=x\"", true},
		{"a=1; b=sid=2", false},
		{";;", false},
	};
	char head[HT_HEAD_MAX];

	for (size_t i = 0; i < HT_ARRAY_SIZE(heads); i++)
		cr_expect_eq(
			ht_policy_has_cookie(head, head_of(heads[i].cookies, head), HT_STR("sid")),
			heads[i].has, "%s", heads[i].cookies);
}

static const uint8_t data[HT_SESSION_DATA] = "zzzzzzzzzzzzzzz";

static int issue_into(char *head, size_t *len, size_t cap, char line[1024], struct ht_push *push)
{
	size_t n = 0;
	int err = ht_policy_issue(&(struct ht_policy_context){&site, &ring, &sip, &client}, 0, data,
				  head, len, cap, line, 1023, &n, push);

	line[err ? 0 : n] = '\0';
	head[*len] = '\0';
	return err;
}

/* What is issued is valid, and what was pushed for it is what the gate will look for. */
Test(policy_session, an_id_that_is_issued)
{
	static const char *const cookies[][2] = {
		{"", "sid=%s"},
		{"a=1", "a=1; sid=%s"},
		{"a=1; b=2|c=3", "a=1; b=2|c=3; sid=%s"},
		{"a=1;", "a=1;; sid=%s"},
	};
	static char head[HT_HEAD_MAX + 1], want[HT_HEAD_MAX], text[1024], line[1024];
	const struct ht_str value = {line + sizeof("Set-Cookie: sid=") - 1, HT_SESSION_ID_LEN};
	struct ht_push push;
	size_t len;

	for (size_t i = 0; i < HT_ARRAY_SIZE(cookies); i++) {
		char id[HT_SESSION_ID_LEN + 1] = "";

		len = head_of(cookies[i][0], head);
		cr_assert_eq(issue_into(head, &len, HT_HEAD_MAX, line, &push), 0);
		cr_assert(!strncmp(line, "Set-Cookie: sid=", 16), "%s", line);
		cr_expect_str_eq(value.p + value.len, "; Path=/; Secure; HttpOnly");
		cr_expect(ht_session_id_like(value), "%s", line);
		memcpy(id, value.p, value.len);
		snprintf(text, sizeof(text), cookies[i][1], id);
		want[head_of(text, want)] = '\0';
		cr_expect_str_eq(head, want, "%s", head);
		judge(text, &sip, head);
		cr_assert_eq(judgement.ncookies, 1);
		cr_expect_eq(judgement.cookie[0].verdict, HT_COOKIE_VALID);
		cr_assert_eq(judgement.npushes, 1);
		cr_expect(!memcmp(&judgement.push[0], &push, sizeof(push)));
	}
}

Test(policy_session, no_room_for_an_id)
{
	static char head[HT_HEAD_MAX + 1], line[1024];
	struct ht_push push;
	size_t len, full;

	len = full = head_of("a=1", head);
	full += sizeof("; sid=") - 1 + HT_SESSION_ID_LEN;
	cr_expect_eq(issue_into(head, &len, full - 1, line, &push), -ENOSPC);
	cr_expect_eq(len, head_of("a=1", head));
	cr_expect_eq(issue_into(head, &len, full, line, &push), 0);
	cr_expect_eq(len, full);
	cr_expect_eq(issue_into(head, &len, len - 10, line, &push), -ENOSPC);
}

/* The backend may end a session, but not make one: that is ours. */
Test(policy_session, set_cookie_of_a_backend)
{
	static const struct {
		const char *field;
		enum ht_mode mode;
		enum ht_sign_result want;
	} fields[] = {
		{"sid=x; Path=/", HT_MODE_ENFORCE, HT_SIGN_ISSUER},
		{"sid=; Max-Age=0", HT_MODE_ENFORCE, HT_SIGN_UNCOVERED},
		{"sid=x; Path=/", HT_MODE_REPORT, HT_SIGN_UNCOVERED},
		{"other=x", HT_MODE_ENFORCE, HT_SIGN_UNCOVERED},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(fields); i++) {
		struct ht_set_cookie cookie;
		struct ht_push push;
		size_t len, r;
		char line[1024];

		rule.mode = fields[i].mode;
		compile();
		ht_set_cookie_parse(HT_STR(fields[i].field), NOW, &cookie);
		cr_expect_eq(
			ht_policy_sign(&(struct ht_policy_context){&site, &ring, &sip, &client},
				       &cookie, line, sizeof(line), &len, &push, &r),
			fields[i].want, "%s", fields[i].field);
	}
}

/* ---- ids that another profile accepts ---- */

Test(policy_session, accepted_by_native)
{
	char head[HT_HEAD_MAX], want[HT_HEAD_MAX], text[4096];

	rule.profile = HT_PROFILE_NATIVE;
	rule.accept |= 1U << HT_PROFILE_NATIVE;
	rule.siblings[0] = (struct ht_sibling){"HTSIG_", true, 1U << HT_PROFILE_NATIVE};
	rule.nsiblings = 1;
	rule.lifetime_s = 86400;
	compile();
	cr_expect_eq(ht_policy_issues(&site, HT_STR("/")), 0);
	judge("sid={n}", &sip, head);
	cr_expect_eq(judgement.cookie[0].verdict, HT_COOKIE_VALID);
	cr_expect_eq(judgement.cookie[0].renewal, HT_RENEWAL_PROFILE);
	cr_assert_eq(judgement.nreissues, 1);
	cr_expect(!strncmp(judgement.reissue[0].line.p, "Set-Cookie: HTSIG_sid=1.", 24));
	cr_expect_not_null(memmem(judgement.reissue[0].line.p, judgement.reissue[0].line.len,
				  "; Path=/; Secure; HttpOnly", 26));
	/* a sibling that is wrong must not stand in the gate's way */
	judge("sid={n}; HTSIG_sid=x", &sip, head);
	cr_expect_eq(judgement.cookie[0].verdict, HT_COOKIE_VALID);
	expand("sid={n}", text);
	want[head_of(text, want)] = '\0';
	cr_expect_str_eq(head, want);
	judge("sid=garbage", &sip, head);
	cr_expect_eq(judgement.cookie[0].verdict, HT_COOKIE_MISSING);
	judge("sid={e}", &sip, head);
	cr_expect_eq(judgement.cookie[0].verdict, HT_COOKIE_EXPIRED);
	judge("sid=garbage; HTSIG_sid=x", &sip, head);
	cr_expect_eq(judgement.cookie[0].verdict, HT_COOKIE_FORGED);
}
