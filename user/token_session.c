/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session id of compat.md's OpenResty seed: "b64u(data16):ts:b64u(HMAC-SHA1(secret, data16 ts))".
 * It is a cookie's value and its own token. There is one way to write an id, and what is written in
 * another is none. Must not know who is given one.
 */
#include "token_native.h"

#include <inttypes.h>
#include <openssl/crypto.h>

/* "DATA**:TIME:MAC*", where '*' is the padding */
#define DATA_LEN 22
#define TIME_AT (HT_SESSION_HANDLE_LEN + 1)
#define TIME_LEN 10
#define MAC_AT (TIME_AT + TIME_LEN + 1)
#define MAC_LEN 28
#define TIME_MIN 1000000000ull /* the first second of ten digits */
#define TIME_MAX 9999999999ull

_Static_assert(MAC_AT + MAC_LEN == HT_SESSION_ID_LEN, "the parts are all of it");

static void mac_of(const struct ht_secret *secret, const uint8_t data[HT_SESSION_DATA],
		   const char time[TIME_LEN], char ret[MAC_LEN])
{
	const struct ht_str parts[] = {{(const char *)data, HT_SESSION_DATA}, {time, TIME_LEN}};
	uint8_t mac[SHA_DIGEST_LENGTH];

	ht_mac_sha1(secret->bytes, secret->len, parts, HT_ARRAY_SIZE(parts), mac);
	ht_base64url_encode(mac, sizeof(mac), ret);
	ret[MAC_LEN - 1] = '*';
	OPENSSL_cleanse(mac, sizeof(mac));
}

int ht_session_sign(const struct ht_token_params *p, char *ret, size_t *ret_len)
{
	char time[TIME_LEN + 1];

	if (!p->data || p->issued_s < TIME_MIN || p->issued_s > TIME_MAX)
		return -EPERM;
	snprintf(time, sizeof(time), "%" PRIu64, p->issued_s);
	ht_base64url_encode(p->data, HT_SESSION_DATA, ret);
	memcpy(ret + DATA_LEN, "**:", 3);
	memcpy(ret + TIME_AT, time, TIME_LEN);
	ret[TIME_AT + TIME_LEN] = ':';
	mac_of(&p->secret, p->data, time, ret + MAC_AT);
	*ret_len = HT_SESSION_ID_LEN;
	return 0;
}

/* The seed takes what Lua's tonumber() does: blanks, signs, "17e8", "0x...". This is not that. */
static bool parse_time(const char *digits, uint64_t *ret)
{
	uint64_t t = 0;

	for (size_t i = 0; i < TIME_LEN; i++) {
		if (digits[i] < '0' || digits[i] > '9')
			return false;
		t = t * 10 + (uint64_t)(digits[i] - '0');
	}
	*ret = t;
	return t >= TIME_MIN; /* with no zero in front */
}

bool ht_session_id_parse(struct ht_str text, uint8_t ret_data[HT_SESSION_DATA], uint64_t *ret_time)
{
	char data[HT_SESSION_DATA];
	uint64_t time;
	size_t len;

	if (text.len != HT_SESSION_ID_LEN || text.p[HT_SESSION_ID_LEN - 1] != '*' ||
	    memcmp(text.p + DATA_LEN, "**:", 3) || text.p[MAC_AT - 1] != ':' ||
	    !parse_time(text.p + TIME_AT, &time) ||
	    !ht_base64url_decode((struct ht_str){text.p, DATA_LEN}, data, &len))
		return false;
	memcpy(ret_data, data, sizeof(data));
	*ret_time = time;
	return true;
}

bool ht_session_id_like(struct ht_str text)
{
	uint8_t data[HT_SESSION_DATA];
	uint64_t time;

	return ht_session_id_parse(text, data, &time);
}

static bool mac_is_right(const struct ht_token_params *p, const uint8_t data[HT_SESSION_DATA],
			 struct ht_str id)
{
	char mac[MAC_LEN];
	bool right;

	mac_of(&p->secret, data, id.p + TIME_AT, mac);
	right = !CRYPTO_memcmp(id.p + MAC_AT, mac, sizeof(mac));
	OPENSSL_cleanse(mac, sizeof(mac)); /* what a forger lacks */
	return right;
}

enum ht_token_verdict ht_session_check(const struct ht_token_params *p, struct ht_str token,
				       uint64_t now_s, struct ht_token_info *ret)
{
	uint8_t data[HT_SESSION_DATA];
	uint64_t issued_s, expires_s;
	bool over;

	if (!ht_str_eq(token, p->value) || !ht_session_id_parse(token, data, &issued_s))
		return HT_TOKEN_FORGED;
	expires_s = issued_s + p->lifetime_s + 1; /* the seed's last second is a good one */
	/* its secret may have gone before it: whoever was away that long forges nothing */
	over = now_s >= expires_s;
	if (!over && !mac_is_right(p, data, token))
		return HT_TOKEN_FORGED;
	ret->issued_s = issued_s;
	ret->expires_s = expires_s;
	return over ? HT_TOKEN_EXPIRED : HT_TOKEN_VALID;
}
