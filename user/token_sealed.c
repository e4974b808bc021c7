/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sealed value of hardtack-secure-cookie(7): the secure cookie protocol of Liu, Kovacs, Huang and
 * Gouda, with an AEAD. It is a cookie's value and its own proof. There is one way to write it, and
 * what is written in another is none. Must let nobody see a plaintext that was not found whole.
 */
#include "token_native.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#define LABEL "hardtack secure-cookie 1"
#define VERSION 1
#define TAG 16
#define USER_MAX 255

/* Where what stands in front of the user is. */
#define KID_AT 1
#define EXPIRES_AT (KID_AT + HT_KEY_ID_LEN)
#define USER_LEN_AT (EXPIRES_AT + 8)
#define USER_AT (USER_LEN_AT + 1)

/* What is sealed: when, the attributes and their length, and at least a byte of data. */
#define INNER_MIN (8 + 2 + 1)
#define WIRE_MIN (USER_AT + HT_SEALED_NONCE + INNER_MIN + TAG)
#define WIRE_MAX HT_SEALED_DATA_MAX /* bytes of HT_COOKIE_MAX characters */

_Static_assert(USER_AT % 3 == 0, "the beginning ends with a character of base64");

/* The bytes of a sealed value. */
struct wire {
	uint8_t bytes[WIRE_MAX];
	size_t len;
	size_t head; /* of them in front of the ciphertext */
};

static void put_be(uint8_t *to, uint64_t n, size_t bytes)
{
	while (bytes--) {
		to[bytes] = (uint8_t)n;
		n >>= 8;
	}
}

static uint64_t get_be(const uint8_t *from, size_t bytes)
{
	uint64_t n = 0;

	while (bytes--)
		n = n << 8 | *from++;
	return n;
}

/* k of the paper, for this user until this time: HMAC over parts with their lengths before them. */
static void derive(const struct ht_mac_key *key, const struct wire *w, uint8_t ret[32])
{
	const struct ht_str in[] = {
		{LABEL, sizeof(LABEL) - 1},
		{(const char *)w->bytes + USER_AT, w->bytes[USER_LEN_AT]},
		{(const char *)w->bytes + EXPIRES_AT, 8},
	};
	uint8_t lengths[HT_ARRAY_SIZE(in)][4];
	struct ht_str parts[2 * HT_ARRAY_SIZE(in)];

	for (size_t i = 0; i < HT_ARRAY_SIZE(in); i++) {
		put_be(lengths[i], in[i].len, 4);
		parts[2 * i] = (struct ht_str){(const char *)lengths[i], 4};
		parts[2 * i + 1] = in[i];
	}
	ht_mac_sha256(key, parts, HT_ARRAY_SIZE(parts), ret);
}

/* What is authenticated beside the ciphertext: all in front of it, the name and who it is for. */
static bool add_context(EVP_CIPHER_CTX *ctx, const struct ht_token_params *p, const struct wire *w)
{
	uint8_t name_len[4];
	int n;

	put_be(name_len, p->name.len, sizeof(name_len));
	return EVP_CipherUpdate(ctx, NULL, &n, w->bytes, (int)w->head) == 1 &&
	       EVP_CipherUpdate(ctx, NULL, &n, name_len, sizeof(name_len)) == 1 &&
	       EVP_CipherUpdate(ctx, NULL, &n, (const uint8_t *)p->name.p, (int)p->name.len) == 1 &&
	       EVP_CipherUpdate(ctx, NULL, &n, p->bind, HT_BINDING_DIGEST) == 1;
}

static EVP_CIPHER_CTX *cipher_begin(const struct ht_token_params *p, const struct wire *w,
				    const struct ht_mac_key *key, int encrypt)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t k[32];
	bool ok;

	derive(key, w, k);
	ok = ctx &&
	     EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, k,
			       w->bytes + w->head - HT_SEALED_NONCE, encrypt) == 1 &&
	     add_context(ctx, p, w);
	OPENSSL_cleanse(k, sizeof(k));
	if (ok)
		return ctx;
	EVP_CIPHER_CTX_free(ctx);
	return NULL;
}

/* The inner bytes stand in the wire already, and become ciphertext and tag where they are. */
static int encrypt(const struct ht_token_params *p, const struct ht_mac_key *key, struct wire *w)
{
	EVP_CIPHER_CTX *ctx = cipher_begin(p, w, key, 1);
	uint8_t *inner = w->bytes + w->head;
	int n, end;
	bool ok = ctx && EVP_CipherUpdate(ctx, inner, &n, inner, (int)(w->len - w->head)) == 1 &&
		  EVP_CipherFinal_ex(ctx, inner + n, &end) == 1 &&
		  EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG, w->bytes + w->len) == 1;

	EVP_CIPHER_CTX_free(ctx);
	w->len += TAG;
	return ok ? 0 : -EIO;
}

/* Into inner[WIRE_MAX], *ret_len bytes; what is there after a failure is nothing to be looked at. */
static bool decrypt(const struct ht_token_params *p, const struct ht_mac_key *key, struct wire *w,
		    uint8_t *inner, size_t *ret_len)
{
	const size_t len = w->len - w->head - TAG;
	EVP_CIPHER_CTX *ctx = cipher_begin(p, w, key, 0);
	int n, end;
	bool ok = ctx &&
		  EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG, w->bytes + w->len - TAG) ==
			  1 &&
		  EVP_CipherUpdate(ctx, inner, &n, w->bytes + w->head, (int)len) == 1 &&
		  EVP_CipherFinal_ex(ctx, inner + n, &end) == 1;

	EVP_CIPHER_CTX_free(ctx);
	*ret_len = len;
	return ok;
}

/* One value in a Cookie field, whoever reads it: nothing that ends it, nor is trimmed off it. */
static bool is_value(struct ht_str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (((uint8_t)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == ';')
			return false;
	return s.len && ht_str_trim(s).len == s.len;
}

/* ---- sealing ---- */

static bool refuses(const struct ht_token_params *p)
{
	return !p->name.len || p->name.len > HT_COOKIE_MAX || !p->secret.len || !p->bind ||
	       p->user.len > USER_MAX;
}

static int put_head(const struct ht_token_params *p, const struct ht_mac_key *key, struct wire *w)
{
	uint8_t *nonce = w->bytes + USER_AT + p->user.len;

	w->bytes[0] = VERSION;
	memcpy(w->bytes + KID_AT, key->id, HT_KEY_ID_LEN);
	put_be(w->bytes + EXPIRES_AT, p->expires_s, 8);
	w->bytes[USER_LEN_AT] = (uint8_t)p->user.len;
	if (p->user.len)
		memcpy(w->bytes + USER_AT, p->user.p, p->user.len);
	w->head = w->len = USER_AT + p->user.len + HT_SEALED_NONCE;
	if (!p->nonce)
		return RAND_bytes(nonce, HT_SEALED_NONCE) == 1 ? 0 : -EIO;
	memcpy(nonce, p->nonce, HT_SEALED_NONCE);
	return 0;
}

/* -E2BIG if a browser would not take it. */
static int put_inner(const struct ht_token_params *p, struct ht_str attributes, struct wire *w)
{
	size_t len = w->head + 8 + 2 + attributes.len;

	if (p->value.len > sizeof(w->bytes) - TAG - len ||
	    (4 * (len + p->value.len + TAG) + 2) / 3 + p->name.len > HT_COOKIE_MAX)
		return -E2BIG;
	put_be(w->bytes + w->head, p->issued_s, 8);
	put_be(w->bytes + w->head + 8, attributes.len, 2);
	memcpy(w->bytes + w->head + 10, attributes.p, attributes.len);
	memcpy(w->bytes + len, p->value.p, p->value.len);
	w->len = len + p->value.len;
	return 0;
}

int ht_sealed_make(const struct ht_token_params *p, char *ret, size_t *ret_len)
{
	char text[HT_ATTRIBUTES_TEXT_MAX];
	struct ht_str attributes = {text, 0};
	const struct ht_mac_key *key;
	struct ht_mac_key scratch;
	struct wire w;
	int r;

	if (refuses(p) || !is_value(p->value) || p->expires_s > HT_TOKEN_TIME_MAX ||
	    p->issued_s >= p->expires_s)
		return -EPERM;
	r = ht_attributes_encode(p->attributes, p->persistent, text, &attributes.len);
	if (r)
		return r;
	key = ht_token_named_key(&p->secret, &scratch);
	r = put_head(p, key, &w);
	if (!r)
		r = put_inner(p, attributes, &w);
	if (!r)
		r = encrypt(p, key, &w);
	if (!r)
		*ret_len = ht_base64url_encode(w.bytes, w.len, ret);
	ht_token_key_done(&p->secret, &scratch);
	OPENSSL_cleanse(&w, sizeof(w)); /* the plaintext, where it could not be sealed */
	return r;
}

/* ---- opening ---- */

bool ht_sealed_like(struct ht_str text)
{
	char head[USER_AT];
	size_t len;

	if (text.len < (4 * WIRE_MIN + 2) / 3 || text.len > HT_COOKIE_MAX ||
	    !ht_base64url_decode((struct ht_str){text.p, sizeof(head) / 3 * 4}, head, &len) ||
	    head[0] != VERSION)
		return false;
	for (size_t i = KID_AT; i < EXPIRES_AT; i++)
		if (!strchr("0123456789abcdef", head[i]) || !head[i])
			return false;
	return get_be((const uint8_t *)head + EXPIRES_AT, 8) <= HT_TOKEN_TIME_MAX;
}

bool ht_sealed_outlived(struct ht_str text, const struct ht_key *key, uint64_t now_s)
{
	char head[USER_AT];
	size_t len;

	return ht_sealed_like(text) &&
	       ht_base64url_decode((struct ht_str){text.p, sizeof(head) / 3 * 4}, head, &len) &&
	       !ht_token_kid_lives(head + KID_AT, key, now_s);
}

/* The shape, and whether it can be this user's by this key; that it is says the cipher. */
static bool parse(const struct ht_token_params *p, struct ht_str sealed,
		  const struct ht_mac_key *key, struct wire *w)
{
	struct ht_str user;

	if (!ht_sealed_like(sealed) || !ht_base64url_decode(sealed, (char *)w->bytes, &w->len))
		return false;
	user = (struct ht_str){(const char *)w->bytes + USER_AT, w->bytes[USER_LEN_AT]};
	w->head = USER_AT + user.len + HT_SEALED_NONCE;
	return w->len >= w->head + INNER_MIN + TAG && ht_str_eq(user, p->user) &&
	       !memcmp(w->bytes + KID_AT, key->id, HT_KEY_ID_LEN);
}

static bool read_inner(const uint8_t *inner, size_t len, struct ht_token_info *info,
		       struct ht_str *ret_data)
{
	size_t attributes = (size_t)get_be(inner + 8, 2);

	if (len - INNER_MIN < attributes || attributes > HT_ATTRIBUTES_TEXT_MAX)
		return false;
	info->issued_s = get_be(inner, 8);
	*ret_data = (struct ht_str){(const char *)inner + 10 + attributes, len - 10 - attributes};
	return ht_attributes_decode((struct ht_str){(const char *)inner + 10, attributes}, info) &&
	       is_value(*ret_data) && info->issued_s < info->expires_s;
}

static bool open_wire(const struct ht_token_params *p, struct ht_str sealed, char *ret,
		      size_t *ret_len, struct ht_token_info *ret_info)
{
	struct ht_mac_key scratch;
	const struct ht_mac_key *key = ht_token_named_key(&p->secret, &scratch);
	uint8_t inner[WIRE_MAX];
	struct ht_token_info info;
	struct ht_str data;
	struct wire w;
	size_t len;
	bool right = parse(p, sealed, key, &w) && decrypt(p, key, &w, inner, &len);

	if (right) {
		info.expires_s = get_be(w.bytes + EXPIRES_AT, 8);
		right = read_inner(inner, len, &info, &data);
	}
	if (right) {
		memcpy(ret, data.p, data.len);
		*ret_len = data.len;
		*ret_info = info;
	}
	ht_token_key_done(&p->secret, &scratch);
	OPENSSL_cleanse(inner, sizeof(inner));
	return right;
}

enum ht_token_verdict ht_sealed_open(const struct ht_token_params *p, struct ht_str sealed,
				     uint64_t now_s, char *ret, size_t *ret_len,
				     struct ht_token_info *ret_info)
{
	*ret_info = (struct ht_token_info){0};
	*ret_len = 0;
	if (refuses(p))
		return HT_TOKEN_REFUSED;
	if (!open_wire(p, sealed, ret, ret_len, ret_info))
		return HT_TOKEN_FORGED;
	return now_s < ret_info->expires_s ? HT_TOKEN_VALID : HT_TOKEN_EXPIRED;
}
