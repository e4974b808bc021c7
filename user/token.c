/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token formats of compat.md, one function per profile, and which profiles there are;
 * token_native.c has our own, token_session.c the session id, token_sealed.c the sealed cookie. A token
 * is computed from its parameters alone: no clock, no cache, no logging, and nothing of the secret outlives a call.
 */
#include "token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "token_native.h"

static const struct {
	const char *name;
	bool built;
} profiles[] = {
	[HT_PROFILE_NATIVE] = {"native", true},
	[HT_PROFILE_F5_IRULE] = {"f5-irule", true},
	[HT_PROFILE_PROXYSG] = {"proxysg", true},
	[HT_PROFILE_SESSION_ID] = {"session-id", true},
	[HT_PROFILE_SECURE_COOKIE] = {"secure-cookie", true},
};

static void mac_sha256(const struct ht_secret *secret, const struct ht_str *parts, size_t n,
		       uint8_t ret[SHA256_DIGEST_LENGTH])
{
	struct ht_mac_key scratch;

	ht_mac_sha256(ht_token_key(secret, &scratch), parts, n, ret);
	ht_token_key_done(secret, &scratch);
}

/* ---- f5-irule ---- */

/*
 * What must not be signed or verified: a value that can shift a ':' between itself and the input
 * ("abc" "2001:db8::1" and "abc:2001" "db8::1" have one token).
 */
static bool f5_irule_refuses(const struct ht_token_params *p)
{
	return p->input_colon && memchr(p->value.p, ':', p->value.len);
}

static int f5_irule_sign(const struct ht_token_params *p, char *ret, size_t *ret_len)
{
	const struct ht_str parts[] = {p->value, {":", 1}, p->input};
	uint8_t mac[SHA256_DIGEST_LENGTH];

	if (f5_irule_refuses(p))
		return -EPERM;
	mac_sha256(&p->secret, parts, HT_ARRAY_SIZE(parts), mac);
	*ret_len = (size_t)EVP_EncodeBlock((unsigned char *)ret, mac, sizeof(mac));
	OPENSSL_cleanse(mac, sizeof(mac));
	return 0;
}

/* ---- proxysg ---- */

static size_t encode(enum ht_encoding encoding, const uint8_t *mac, size_t len, char *ret)
{
	static const char digits[] = "0123456789abcdef";

	switch (encoding) {
	case HT_BASE64:
		return (size_t)EVP_EncodeBlock((unsigned char *)ret, mac, (int)len);
	case HT_BASE64URL:
		return ht_base64url_encode(mac, len, ret);
	case HT_HEX:
		break;
	}
	for (size_t i = 0; i < len; i++) {
		ret[2 * i] = digits[mac[i] >> 4];
		ret[2 * i + 1] = digits[mac[i] & 15];
	}
	return 2 * len;
}

/*
 * The first separator ends the name and the last one begins the input, or the bytes of one can be
 * those of the other: not even a part of a separator may stand where it could be taken for one.
 * Without any, nothing tells a name from a value; that a value runs into its input ("a1" "0.0.0.1"
 * and "a" "10.0.0.1") is what byte compatibility costs.
 */
static bool proxysg_refuses(const struct ht_token_params *p)
{
	struct ht_str sep = p->separator;

	if (p->name_in_mac && (!p->name.len || !sep.len))
		return true;
	if (!sep.len)
		return false;
	return (p->name_in_mac && memchr(p->name.p, sep.p[0], p->name.len)) ||
	       (p->input.len && memchr(p->input.p, sep.p[sep.len - 1], p->input.len));
}

static int proxysg_sign(const struct ht_token_params *p, char *ret, size_t *ret_len)
{
	uint8_t mac[SHA256_DIGEST_LENGTH];
	size_t n = 0, len = SHA256_DIGEST_LENGTH;
	struct ht_str parts[5];

	_Static_assert(SHA_DIGEST_LENGTH < SHA256_DIGEST_LENGTH, "mac[] holds either");
	if (proxysg_refuses(p))
		return -EPERM;
	if (p->name_in_mac) {
		parts[n++] = p->name;
		parts[n++] = p->separator;
	}
	parts[n++] = p->value;
	if (p->input.len) {
		parts[n++] = p->separator;
		parts[n++] = p->input;
	}
	if (p->algorithm == HT_SHA1) {
		len = SHA_DIGEST_LENGTH;
		ht_mac_sha1(p->secret.bytes, p->secret.len, parts, n, mac);
	} else {
		mac_sha256(&p->secret, parts, n, mac);
	}
	*ret_len = encode(p->encoding, mac, len, ret);
	OPENSSL_cleanse(mac, sizeof(mac));
	return 0;
}

/* ---- all of them ---- */

/* An empty value is a deletion, an empty secret is none. Of an id the value is made only now. */
static bool is_void(const struct ht_token_params *p)
{
	return (!p->value.len && p->profile != HT_PROFILE_SESSION_ID) || !p->secret.len;
}

int ht_token_sign(const struct ht_token_params *p, char *ret, size_t *ret_len)
{
	/* EVP_EncodeBlock() adds a NUL. */
	_Static_assert(2 * SHA256_DIGEST_LENGTH < HT_TOKEN_TEXT_MAX, "a token and its NUL fit");

	if (!ht_profile_built(p->profile))
		return -EOPNOTSUPP;
	if (is_void(p))
		return -EPERM;
	switch (p->profile) {
	case HT_PROFILE_NATIVE:
		return ht_native_sign(p, ret, ret_len);
	case HT_PROFILE_F5_IRULE:
		return f5_irule_sign(p, ret, ret_len);
	case HT_PROFILE_PROXYSG:
		return proxysg_sign(p, ret, ret_len);
	case HT_PROFILE_SESSION_ID:
		return ht_session_sign(p, ret, ret_len);
	default:
		return -EOPNOTSUPP;
	}
}

/* A format without times has one token for its parameters. */
static enum ht_token_verdict compare(const struct ht_token_params *p, struct ht_str token)
{
	enum ht_token_verdict verdict = HT_TOKEN_FORGED;
	char right[HT_TOKEN_TEXT_MAX];
	size_t len;
	int r = ht_token_sign(p, right, &len);

	if (r == -EPERM || r == -EOPNOTSUPP)
		return HT_TOKEN_REFUSED;
	if (r < 0)
		return HT_TOKEN_FORGED;
	if (token.len == len && !CRYPTO_memcmp(token.p, right, len))
		verdict = HT_TOKEN_VALID;
	OPENSSL_cleanse(right, len); /* the right token is what a forger lacks */
	return verdict;
}

enum ht_token_verdict ht_token_check(const struct ht_token_params *p, struct ht_str token,
				     uint64_t now_s, struct ht_token_info *ret)
{
	ret->issued_s = ret->expires_s = 0;
	ret->persistent = false;
	ret->attributes[0] = '\0';
	if (p->profile != HT_PROFILE_NATIVE && p->profile != HT_PROFILE_SESSION_ID)
		return compare(p, token);
	if (is_void(p))
		return HT_TOKEN_REFUSED;
	return p->profile == HT_PROFILE_NATIVE ? ht_native_check(p, token, now_s, ret)
					       : ht_session_check(p, token, now_s, ret);
}

enum ht_token_verdict ht_token_verify(const struct ht_token_params *p, struct ht_str token)
{
	struct ht_token_info unused;

	return ht_token_check(p, token, UINT64_MAX, &unused);
}

int ht_profile_parse(const char *text, enum ht_profile *ret)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(profiles); i++) {
		if (!strcmp(text, profiles[i].name)) {
			*ret = (enum ht_profile)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *ht_profile_name(enum ht_profile profile)
{
	return (size_t)profile < HT_ARRAY_SIZE(profiles) ? profiles[profile].name : "unknown";
}

bool ht_profile_built(enum ht_profile profile)
{
	return (size_t)profile < HT_ARRAY_SIZE(profiles) && profiles[profile].built;
}
