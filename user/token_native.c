/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native token of hardtack-native(7): "1.kid.issued.expires.attributes.mac". There is one way
 * to write each of them, and whatever is written in another does not verify. Must believe nothing
 * of a token before its MAC is found right.
 */
#include "token_native.h"

#include <inttypes.h>
#include <openssl/crypto.h>

#define LABEL "hardtack native 1"
#define VERSION "1"
#define MAC_LEN 43 /* base64url of 32 bytes */
#define TIME_DIGITS 12
#define FIELDS 6

/* version, kid, two times, MAC and the dots between them */
_Static_assert(HT_ATTRIBUTES_TEXT_MAX == HT_TOKEN_TEXT_MAX - (1 + HT_KEY_ID_LEN + 2 * TIME_DIGITS +
							      MAC_LEN + FIELDS - 1),
	       "the longest attributes fill a token");

const struct ht_mac_key *ht_token_key(const struct ht_secret *secret, struct ht_mac_key *scratch)
{
	if (secret->keyed)
		return secret->keyed;
	ht_mac_key_make(secret->bytes, secret->len, scratch);
	return scratch;
}

void ht_token_key_done(const struct ht_secret *secret, struct ht_mac_key *scratch)
{
	if (!secret->keyed)
		OPENSSL_cleanse(scratch, sizeof(*scratch));
}

const struct ht_mac_key *ht_token_named_key(const struct ht_secret *secret,
					    struct ht_mac_key *scratch)
{
	const struct ht_mac_key *key = ht_token_key(secret, scratch);

	if (key == scratch)
		ht_mac_key_make_id(scratch);
	return key;
}

/* ---- base64url ---- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t ht_base64url_encode(const uint8_t *bytes, size_t len, char *ret)
{
	uint32_t bits = 0;
	unsigned nbits = 0;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		bits = bits << 8 | bytes[i];
		for (nbits += 8; nbits >= 6; nbits -= 6)
			ret[n++] = alphabet[bits >> (nbits - 6) & 63];
	}
	if (nbits)
		ret[n++] = alphabet[bits << (6 - nbits) & 63];
	return n;
}

static int digit_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool ht_base64url_decode(struct ht_str text, char *ret, size_t *ret_len)
{
	uint32_t bits = 0;
	unsigned nbits = 0;
	size_t n = 0;

	if (text.len % 4 == 1)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		int digit = digit_of(text.p[i]);

		if (digit < 0)
			return false;
		bits = bits << 6 | (uint32_t)digit;
		nbits += 6;
		if (nbits >= 8) {
			nbits -= 8;
			ret[n++] = (char)(bits >> nbits);
		}
	}
	*ret_len = n;
	return !(bits & ((1u << nbits) - 1));
}

/* ---- the token ---- */

/* The texts that are MACed, as they stand in the token. */
struct fields {
	struct ht_str kid, issued, expires, attributes, mac;
};

/* Every part with its length before it: no byte can move from one to another. */
static void mac_of(const struct ht_token_params *p, const struct ht_mac_key *key,
		   const struct fields *f, char ret[MAC_LEN])
{
	const struct ht_str in[] = {
		{LABEL, sizeof(LABEL) - 1},
		f->kid,
		f->issued,
		f->expires,
		f->attributes,
		p->name,
		p->value,
		{(const char *)p->bind, HT_BINDING_DIGEST},
	};
	uint8_t lengths[HT_ARRAY_SIZE(in)][4], mac[SHA256_DIGEST_LENGTH];
	struct ht_str parts[2 * HT_ARRAY_SIZE(in)];

	for (size_t i = 0; i < HT_ARRAY_SIZE(in); i++) {
		lengths[i][0] = (uint8_t)(in[i].len >> 24);
		lengths[i][1] = (uint8_t)(in[i].len >> 16);
		lengths[i][2] = (uint8_t)(in[i].len >> 8);
		lengths[i][3] = (uint8_t)in[i].len;
		parts[2 * i] = (struct ht_str){(const char *)lengths[i], 4};
		parts[2 * i + 1] = in[i];
	}
	ht_mac_sha256(key, parts, HT_ARRAY_SIZE(parts), mac);
	ht_base64url_encode(mac, sizeof(mac), ret);
	OPENSSL_cleanse(mac, sizeof(mac));
}

static bool refuses(const struct ht_token_params *p)
{
	return !p->name.len || !p->bind || p->name.len > UINT32_MAX || p->value.len > UINT32_MAX;
}

/* Six fields and the dots between them; no NUL, for which a longest token has no room. */
static size_t put_token(const struct fields *f, char *ret)
{
	const struct ht_str fields[FIELDS] = {HT_STR(VERSION), f->kid,	      f->issued,
					      f->expires,      f->attributes, f->mac};
	size_t n = 0;

	for (size_t i = 0; i < FIELDS; i++) {
		if (i)
			ret[n++] = '.';
		memcpy(ret + n, fields[i].p, fields[i].len);
		n += fields[i].len;
	}
	return n;
}

int ht_native_sign(const struct ht_token_params *p, char *ret, size_t *ret_len)
{
	char issued[TIME_DIGITS + 1], expires[TIME_DIGITS + 1], text[HT_ATTRIBUTES_TEXT_MAX];
	char mac[MAC_LEN];
	struct fields f = {.attributes = {text, 0}, .mac = {mac, sizeof(mac)}};
	const struct ht_mac_key *key;
	struct ht_mac_key scratch;
	int r;

	if (refuses(p) || p->expires_s > HT_TOKEN_TIME_MAX || p->issued_s >= p->expires_s)
		return -EPERM;
	r = ht_attributes_encode(p->attributes, p->persistent, text, &f.attributes.len);
	if (r)
		return r;
	snprintf(issued, sizeof(issued), "%" PRIu64, p->issued_s);
	snprintf(expires, sizeof(expires), "%" PRIu64, p->expires_s);
	f.issued = HT_STR(issued);
	f.expires = HT_STR(expires);
	key = ht_token_named_key(&p->secret, &scratch);
	f.kid = (struct ht_str){key->id, sizeof(key->id)};
	mac_of(p, key, &f, mac);
	*ret_len = put_token(&f, ret);
	ht_token_key_done(&p->secret, &scratch);
	OPENSSL_cleanse(mac, sizeof(mac));
	return 0;
}

/* Decimal without sign or leading zeros. */
static bool parse_time(struct ht_str text, uint64_t *ret)
{
	uint64_t t = 0;

	if (!text.len || text.len > TIME_DIGITS || (text.p[0] == '0' && text.len > 1))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		t = t * 10 + (uint64_t)(text.p[i] - '0');
	}
	*ret = t;
	return t <= HT_TOKEN_TIME_MAX;
}

/* The shape only. A dot too many ends up in the MAC, which then has the wrong length. */
static bool split_token(struct ht_str token, struct fields *ret)
{
	struct ht_str version;

	if (token.len > HT_TOKEN_TEXT_MAX)
		return false;
	version = ht_str_cut(&token, '.');
	ret->kid = ht_str_cut(&token, '.');
	ret->issued = ht_str_cut(&token, '.');
	ret->expires = ht_str_cut(&token, '.');
	ret->attributes = ht_str_cut(&token, '.');
	ret->mac = token;
	return ht_str_eq(version, HT_STR(VERSION)) && ret->kid.len == HT_KEY_ID_LEN &&
	       ret->attributes.len <= HT_ATTRIBUTES_TEXT_MAX && ret->mac.len == MAC_LEN;
}

static bool mac_is_right(const struct ht_token_params *p, const struct fields *f)
{
	struct ht_mac_key scratch;
	const struct ht_mac_key *key = ht_token_named_key(&p->secret, &scratch);
	char mac[MAC_LEN];
	bool right = false;

	if (!memcmp(f->kid.p, key->id, sizeof(key->id))) {
		mac_of(p, key, f, mac);
		right = !CRYPTO_memcmp(f->mac.p, mac, sizeof(mac));
		OPENSSL_cleanse(mac, sizeof(mac)); /* what a forger lacks */
	}
	ht_token_key_done(&p->secret, &scratch);
	return right;
}

bool ht_token_kid_lives(const char *kid, const struct ht_key *key, uint64_t now_s)
{
	for (size_t i = 0; i < key->nsecrets; i++) {
		const struct ht_secret *s = &key->secrets[i];
		struct ht_mac_key scratch;
		bool claims;

		if (s->retire_s && s->retire_s <= now_s)
			continue;
		claims = !memcmp(kid, ht_token_named_key(s, &scratch)->id, HT_KEY_ID_LEN);
		ht_token_key_done(s, &scratch);
		if (claims)
			return true;
	}
	return false;
}

bool ht_native_outlived(struct ht_str token, const struct ht_key *key, uint64_t now_s)
{
	struct fields f;

	return split_token(token, &f) && !ht_token_kid_lives(f.kid.p, key, now_s);
}

enum ht_token_verdict ht_native_check(const struct ht_token_params *p, struct ht_str token,
				      uint64_t now_s, struct ht_token_info *ret)
{
	struct ht_token_info info;
	struct fields f;

	if (refuses(p))
		return HT_TOKEN_REFUSED;
	if (!split_token(token, &f) || !parse_time(f.issued, &info.issued_s) ||
	    !parse_time(f.expires, &info.expires_s) || info.issued_s >= info.expires_s ||
	    !mac_is_right(p, &f) || !ht_attributes_decode(f.attributes, &info))
		return HT_TOKEN_FORGED;
	ret->issued_s = info.issued_s;
	ret->expires_s = info.expires_s;
	ret->persistent = info.persistent;
	strcpy(ret->attributes, info.attributes);
	return now_s < ret->expires_s ? HT_TOKEN_VALID : HT_TOKEN_EXPIRED;
}
