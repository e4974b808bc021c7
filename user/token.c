/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token formats of compat.md, one function per profile. A token is computed from its
 * parameters alone: no clock, no cache, no logging, and nothing of the secret outlives a call.
 */
#include "token.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

#define SHA256_LEN 32
#define SHA256_BLOCK 64
#define F5_TOKEN_LEN 44 /* base64 of SHA256_LEN bytes, padded */

static const struct {
	const char *name;
	bool built;
} profiles[] = {
	[HT_PROFILE_NATIVE] = {"native", false},
	[HT_PROFILE_F5_IRULE] = {"f5-irule", true},
	[HT_PROFILE_PROXYSG] = {"proxysg", false},
	[HT_PROFILE_SESSION_ID] = {"session-id", false},
	[HT_PROFILE_SECURE_COOKIE] = {"secure-cookie", false},
};

/*
 * Looking SHA-256 up by name costs more than computing it, so it is looked up once. The method is
 * immutable: every thread reads it without a lock.
 */
static EVP_MD *sha256_method;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void fetch_sha256(void)
{
	sha256_method = EVP_MD_fetch(NULL, "SHA256", NULL);
}

/* SHA-256 over the parts in order. *ctx is ready for the next message afterwards. */
static bool sha256_parts(EVP_MD_CTX *ctx, const struct ht_str *parts, size_t n, uint8_t *ret)
{
	if (!EVP_DigestInit_ex2(ctx, sha256_method, NULL))
		return false;
	for (size_t i = 0; i < n; i++)
		if (parts[i].len && !EVP_DigestUpdate(ctx, parts[i].p, parts[i].len))
			return false;
	return EVP_DigestFinal_ex(ctx, ret, NULL);
}

/* The secret as one zero-padded block; a longer one is hashed first (RFC 2104, 2). */
static bool hmac_block(EVP_MD_CTX *ctx, struct ht_secret secret, uint8_t block[SHA256_BLOCK])
{
	struct ht_str whole = {(const char *)secret.bytes, secret.len};

	memset(block, 0, SHA256_BLOCK);
	if (secret.len > SHA256_BLOCK)
		return sha256_parts(ctx, &whole, 1, block);
	if (secret.len)
		memcpy(block, secret.bytes, secret.len);
	return true;
}

static void xor_block(uint8_t block[SHA256_BLOCK], uint8_t with)
{
	for (size_t i = 0; i < SHA256_BLOCK; i++)
		block[i] ^= with;
}

#define HMAC_PARTS_MAX 3

/*
 * HMAC-SHA256 (RFC 2104) over the parts in order. Written on top of the digest because that is
 * half the price of EVP_MAC once its copy of the secret is wiped too (0.3 against 0.54 us), and
 * a third of HMAC(), which looks its methods up each time.
 */
static int hmac_sha256(struct ht_secret secret, const struct ht_str *parts, size_t n,
		       uint8_t ret[SHA256_LEN])
{
	uint8_t block[SHA256_BLOCK], inner[SHA256_LEN];
	struct ht_str padded[1 + HMAC_PARTS_MAX] = {{(const char *)block, sizeof(block)}};
	EVP_MD_CTX *ctx;
	int r = -EIO;

	assert(n <= HMAC_PARTS_MAX);
	memcpy(padded + 1, parts, n * sizeof(*parts));
	pthread_once(&sha256_once, fetch_sha256);
	ctx = EVP_MD_CTX_new();
	if (!ctx || !sha256_method || !hmac_block(ctx, secret, block))
		goto out;

	xor_block(block, 0x36);
	if (!sha256_parts(ctx, padded, 1 + n, inner))
		goto out;
	xor_block(block, 0x36 ^ 0x5c);
	padded[1] = (struct ht_str){(const char *)inner, sizeof(inner)};
	if (!sha256_parts(ctx, padded, 2, ret))
		goto out;
	r = 0;
out:
	EVP_MD_CTX_free(ctx); /* wipes its state */
	OPENSSL_cleanse(block, sizeof(block));
	OPENSSL_cleanse(inner, sizeof(inner));
	return r;
}

/*
 * What must not be signed or verified: an empty value (that is a deletion), a secret that is none,
 * and a value that can shift a ':' between itself and the input ("abc" "2001:db8::1" and
 * "abc:2001" "db8::1" have one token).
 */
static bool f5_irule_refuses(const struct ht_token_params *p)
{
	return !p->value.len || !p->secret.len ||
	       (p->input_colon && memchr(p->value.p, ':', p->value.len));
}

static int f5_irule_sign(const struct ht_token_params *p, char *ret, size_t *ret_len)
{
	const struct ht_str parts[] = {p->value, {":", 1}, p->input};
	uint8_t mac[SHA256_LEN];
	/* EVP_EncodeBlock() adds a NUL. */
	_Static_assert(F5_TOKEN_LEN < HT_TOKEN_TEXT_MAX, "a token and its NUL fit");
	int r;

	if (f5_irule_refuses(p))
		return -EPERM;
	r = hmac_sha256(p->secret, parts, HT_ARRAY_SIZE(parts), mac);
	if (r < 0)
		return r;
	*ret_len = (size_t)EVP_EncodeBlock((unsigned char *)ret, mac, sizeof(mac));
	OPENSSL_cleanse(mac, sizeof(mac));
	return 0;
}

int ht_token_sign(const struct ht_token_params *p, char *ret, size_t *ret_len)
{
	switch (p->profile) {
	case HT_PROFILE_F5_IRULE:
		return f5_irule_sign(p, ret, ret_len);
	default:
		return -EOPNOTSUPP;
	}
}

enum ht_token_verdict ht_token_verify(const struct ht_token_params *p, struct ht_str token)
{
	enum ht_token_verdict verdict = HT_TOKEN_FORGED;
	char right[HT_TOKEN_TEXT_MAX];
	size_t len;
	int r;

	r = ht_token_sign(p, right, &len);
	if (r == -EPERM || r == -EOPNOTSUPP)
		return HT_TOKEN_REFUSED;
	if (r < 0)
		return HT_TOKEN_FORGED;
	if (token.len == len && !CRYPTO_memcmp(token.p, right, len))
		verdict = HT_TOKEN_VALID;
	OPENSSL_cleanse(right, sizeof(right)); /* the right token is what a forger lacks */
	return verdict;
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
