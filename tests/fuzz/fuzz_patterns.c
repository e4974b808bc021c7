/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the judgement by rules for lists, prefixes and all cookies, in every profile. The daemon
 * may judge for the gate, which then judges what is left: that must come to the same bytes as the
 * daemon's judgement alone. What a rule enforces is not there afterwards without a token, and what
 * no rule covers still is. The input: a byte for the site, then Cookie fields, where bytes 1 to 3
 * stand for the native, f5-irule and proxysg tokens of "sid=GOOD".
 */
#include "fuzz_site.h"

#define NOW 1700000000

static struct ht_binding binding;

static struct ht_cookie_name ui[] = {{(char *)"ui_", true}, {(char *)"theme", false}};
static struct ht_cookie_name shop[] = {
	{(char *)"shop_", true}, {(char *)"sid", false}, {(char *)"__Host-", true}};

static struct ht_rule_config all[] = {
	PROXYSG_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_ENFORCE, FUZZ_BIND)};
static struct ht_rule_config all_but[] = {
	NATIVE_RULE(HT_COVERS_ALL_BUT, ui, 2, HT_MODE_ENFORCE, FUZZ_BIND)};
static struct ht_rule_config only[] = {
	NATIVE_RULE(HT_COVERS_ONLY, shop, 3, HT_MODE_ENFORCE, FUZZ_BIND)};
static struct ht_rule_config mixed[] = {
	F5_RULE("sid", HT_MODE_ENFORCE, FUZZ_BIND),
	NATIVE_RULE(HT_COVERS_ONLY, ui, 2, HT_MODE_OFF, FUZZ_BIND),
	NATIVE_RULE(HT_COVERS_ONLY, shop, 3, HT_MODE_REPORT, FUZZ_BIND),
	PROXYSG_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_ENFORCE, FUZZ_BIND),
};
static struct ht_rule_config moving[] = {F5_RULE("sid", HT_MODE_ENFORCE, FUZZ_BIND)};

#define SITES 5
static struct ht_policy_site sites[SITES];
static char tokens[3][HT_TOKEN_TEXT_MAX];
static size_t token_len[3];

static void make_token(enum ht_profile profile, size_t i)
{
	const struct ht_token_params p = {
		.profile = profile,
		.secret = secret,
		.name = HT_STR("sid"),
		.value = HT_STR("GOOD"),
		.input = {binding.text, binding.len},
		.bind = binding.sha,
		.name_in_mac = true,
		.separator = HT_STR("|"),
		.issued_s = NOW - 60,
		.expires_s = NOW + 86400,
	};

	ENSURE(!ht_token_sign(&p, tokens[i], &token_len[i]));
}

static void set_up(void)
{
	const struct ht_client client = fuzz_client("192.0.2.10");

	moving[0].profile = HT_PROFILE_NATIVE;
	moving[0].accept |= 1U << HT_PROFILE_NATIVE;
	moving[0].siblings[1] = moving[0].siblings[0];
	moving[0].siblings[0] = (struct ht_sibling){(char *)"HTSIG_", true,
						    1U << HT_PROFILE_NATIVE};
	moving[0].sibling = (char *)"HTSIG_";
	moving[0].sibling_prefix = true;
	moving[0].nsiblings = 2;
	moving[0].lifetime_s = 3600;
	fuzz_site(all, 1, &sites[0]);
	fuzz_site(all_but, 1, &sites[1]);
	fuzz_site(only, 1, &sites[2]);
	fuzz_site(mixed, HT_ARRAY_SIZE(mixed), &sites[3]);
	fuzz_site(moving, 1, &sites[4]);
	ht_binding_make(all[0].binds, 1, &client, &binding);
	make_token(HT_PROFILE_NATIVE, 0);
	make_token(HT_PROFILE_F5_IRULE, 1);
	make_token(HT_PROFILE_PROXYSG, 2);
}

/* A head with the input as its Cookie fields, exactly as large as it is; 0 if it is too large. */
static char *make_head(const uint8_t *in, size_t len, size_t *ret_len)
{
	static const char before[] = "GET / HTTP/1.1\r\nHost: a\r\nCookie: ", after[] = "\r\n\r\n";
	size_t n = sizeof(before) - 1;
	char *head;

	for (size_t i = 0; i < len; i++)
		n += in[i] >= 1 && in[i] <= 3 ? token_len[in[i] - 1] : 1;
	n += sizeof(after) - 1;
	if (n > HT_HEAD_MAX)
		return NULL;
	head = malloc(n);
	ENSURE(head);
	*ret_len = n;
	memcpy(head, before, sizeof(before) - 1);
	n = sizeof(before) - 1;
	for (size_t i = 0; i < len; i++) {
		if (in[i] >= 1 && in[i] <= 3) {
			memcpy(head + n, tokens[in[i] - 1], token_len[in[i] - 1]);
			n += token_len[in[i] - 1];
		} else {
			head[n++] = (char)in[i];
		}
	}
	memcpy(head + n, after, sizeof(after) - 1);
	return head;
}

static int judge(const struct ht_policy_site *s, bool gated, char *head, size_t *len)
{
	static struct ht_judgement judgement;
	static struct ht_head scratch;
	const struct ht_policy_client client = {.bind = &binding, .time = {NOW, 1}};
	int reason = ht_policy_judge(
		&(struct ht_policy_context){s, &ring, gated ? &sip_keys : NULL, &client}, &scratch,
		head, len, 0, &judgement);

	ENSURE(judgement.used <= sizeof(judgement.text));
	ENSURE(judgement.npushes <= HT_PUSHES_MAX);
	return reason;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char gated[HT_HEAD_MAX];
	const struct ht_policy_site *s;
	size_t len, was, gated_len;
	char *head;
	int reason;

	if (!token_len[0])
		set_up();
	if (!size)
		return 0;
	s = &sites[data[0] % SITES];
	head = make_head(data + 1, size - 1, &len);
	if (!head)
		return 0;
	was = gated_len = len;
	memcpy(gated, head, len);
	reason = judge(s, false, head, &len);
	ENSURE(judge(s, true, gated, &gated_len) == reason);
	if (reason)
		goto out;
	ENSURE(len <= gated_len && gated_len <= was);
	/* the gate's turn */
	ENSURE(!judge(s, false, gated, &gated_len));
	ENSURE(gated_len == len && !memcmp(gated, head, len));
out:
	free(head);
	return 0;
}
