/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the tokens: whatever stands in a cookie, only the one text that was signed verifies, and
 * what a native token says of itself can be written into a Set-Cookie. The input is three lines:
 * the token, the value and the attributes that are signed.
 */
#include "token.h"
#include "fuzz.h"

#define NOW 1700000000

static const uint8_t digest[HT_BINDING_DIGEST] = {1, 2, 3};
static const struct ht_secret secret = {.bytes = (const uint8_t *)"0123456789abcdef", .len = 16};

static struct ht_str line(struct ht_str *rest)
{
	const char *end = rest->len ? memchr(rest->p, '\n', rest->len) : NULL;
	struct ht_str s = {rest->p, end ? (size_t)(end - rest->p) : rest->len};
	size_t skip = s.len + (end != NULL);

	rest->p += skip;
	rest->len -= skip;
	return s;
}

static void check_info(const struct ht_token_info *info)
{
	ENSURE(memchr(info->attributes, '\0', sizeof(info->attributes)));
	ENSURE(!*info->attributes || !strncmp(info->attributes, "; ", 2));
	for (const char *p = info->attributes; *p; p++)
		ENSURE((uint8_t)*p >= ' ' && *p != 0x7f);
	ENSURE(info->issued_s < info->expires_s);
}

/* What is signed verifies, says what was signed, and can be signed again from what it says. */
static void check_own(struct ht_token_params *p, struct ht_str right)
{
	char again[HT_TOKEN_TEXT_MAX];
	struct ht_token_info info;
	size_t len;

	ENSURE(ht_token_check(p, right, NOW, &info) == HT_TOKEN_VALID);
	if (p->profile != HT_PROFILE_NATIVE)
		return;
	check_info(&info);
	ENSURE(info.issued_s == p->issued_s && info.expires_s == p->expires_s);
	for (size_t i = 0; i < right.len; i++)
		ENSURE(right.p[i] > ' ' && right.p[i] < 0x7f && !strchr("\",;\\", right.p[i]));
	p->attributes = HT_STR(info.attributes);
	p->persistent = info.persistent;
	ENSURE(!ht_token_sign(p, again, &len));
	ENSURE(ht_str_eq((struct ht_str){again, len}, right));
	ENSURE(ht_token_check(p, right, p->expires_s, &info) == HT_TOKEN_EXPIRED);
}

static void check_profile(enum ht_profile profile, struct ht_str token, struct ht_str value,
			  struct ht_str attributes)
{
	struct ht_token_params p = {
		.profile = profile,
		.secret = secret,
		.name = HT_STR("sid"),
		.value = value,
		.input = HT_STR("192.0.2.10"),
		.bind = digest,
		.name_in_mac = true,
		.separator = HT_STR("|"),
		.issued_s = NOW,
		.expires_s = NOW + 60,
		.attributes = attributes,
	};
	char right[HT_TOKEN_TEXT_MAX];
	struct ht_token_info info;
	enum ht_token_verdict verdict = ht_token_check(&p, token, NOW, &info);
	size_t len = 0;

	/* Nobody here has the key, so that only what we signed can be right. */
	if (ht_token_sign(&p, right, &len)) {
		ENSURE(verdict == HT_TOKEN_REFUSED || verdict == HT_TOKEN_FORGED);
		return;
	}
	ENSURE(len && len <= sizeof(right));
	ENSURE((verdict == HT_TOKEN_VALID) == ht_str_eq(token, (struct ht_str){right, len}));
	ENSURE(verdict != HT_TOKEN_EXPIRED);
	check_own(&p, (struct ht_str){right, len});
	/* One character of it changed: wherever and into whatever the input says. */
	if (token.len >= 2) {
		size_t at = (uint8_t)token.p[0] % len;

		if (right[at] != token.p[1]) {
			right[at] = token.p[1];
			ENSURE(ht_token_check(&p, (struct ht_str){right, len}, NOW, &info) ==
			       HT_TOKEN_FORGED);
			ENSURE(!info.expires_s && !*info.attributes);
		}
	}
}

/* An id is a value that is its own token: what its shape allows, its MAC must not. */
static void check_session(struct ht_str text)
{
	static const uint8_t zeros[HT_SESSION_DATA];
	uint8_t data[HT_SESSION_DATA];
	char right[HT_TOKEN_TEXT_MAX];
	struct ht_token_params p = {
		.profile = HT_PROFILE_SESSION_ID,
		.secret = secret,
		.value = text,
		.data = zeros,
		.issued_s = NOW,
		.lifetime_s = 60,
	};
	bool like = ht_session_id_parse(text, data, &p.issued_s);
	struct ht_token_info info;
	enum ht_token_verdict verdict = ht_token_check(&p, text, p.issued_s, &info);
	size_t len = 0;

	ENSURE(like == ht_session_id_like(text));
	if (like)
		p.data = data;
	ENSURE(!ht_token_sign(&p, right, &len) && len == HT_SESSION_ID_LEN);
	ENSURE((verdict == HT_TOKEN_VALID) == ht_str_eq(text, (struct ht_str){right, len}));
	ENSURE(verdict == HT_TOKEN_VALID || verdict == HT_TOKEN_FORGED);
	/* the one id of these bytes and this time, in all that the shape says */
	p.value = (struct ht_str){right, len};
	ENSURE(!like || !memcmp(right, text.p, len - 28));
	ENSURE(ht_token_check(&p, p.value, p.issued_s + 60, &info) == HT_TOKEN_VALID);
	ENSURE(info.issued_s == p.issued_s && !info.persistent && !*info.attributes);
	ENSURE(ht_token_check(&p, p.value, p.issued_s + 61, &info) == HT_TOKEN_EXPIRED);
	if (!text.len)
		return;
	right[(uint8_t)text.p[0] % len] ^= 1;
	ENSURE(ht_token_check(&p, p.value, p.issued_s, &info) != HT_TOKEN_VALID);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ht_str rest = {(const char *)data, size}, token = line(&rest), value = line(&rest);

	check_profile(HT_PROFILE_NATIVE, token, value, rest);
	check_profile(HT_PROFILE_F5_IRULE, token, value, rest);
	check_profile(HT_PROFILE_PROXYSG, token, value, rest);
	check_session(token);
	return 0;
}
