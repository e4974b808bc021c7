/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HMAC on the digests' own functions. Those of EVP allocate a context for every message and can
 * only copy one into memory that is not locked; these work on a struct that its owner places. Must
 * leave nothing of a secret or a message on the stack.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* EVP is advised, for want of what is needed here */
#include "mac.h"

#include <openssl/crypto.h>

#define BLOCK 64 /* bytes, of both digests */

_Static_assert(SHA256_CBLOCK == BLOCK && SHA_CBLOCK == BLOCK, "one block for both");

static void xor_block(uint8_t block[BLOCK], uint8_t with)
{
	for (size_t i = 0; i < BLOCK; i++)
		block[i] ^= with;
}

static void sha256_parts(SHA256_CTX *ctx, const struct ht_str *parts, size_t n, uint8_t *ret)
{
	for (size_t i = 0; i < n; i++)
		if (parts[i].len)
			SHA256_Update(ctx, parts[i].p, parts[i].len);
	SHA256_Final(ret, ctx);
}

void ht_mac_sha256(const struct ht_mac_key *key, const struct ht_str *parts, size_t n,
		   uint8_t ret[SHA256_DIGEST_LENGTH])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	struct ht_str inner = {(const char *)digest, sizeof(digest)};
	SHA256_CTX ctx = key->inner;

	sha256_parts(&ctx, parts, n, digest);
	ctx = key->outer;
	sha256_parts(&ctx, &inner, 1, ret);
	OPENSSL_cleanse(&ctx, sizeof(ctx));
	OPENSSL_cleanse(digest, sizeof(digest));
}

void ht_mac_key_make_id(struct ht_mac_key *key)
{
	static const struct ht_str label = {"hardtack key id", 15};
	uint8_t mac[SHA256_DIGEST_LENGTH];
	char hex[HT_KEY_ID_LEN + 1];

	ht_mac_sha256(key, &label, 1, mac);
	snprintf(hex, sizeof(hex), "%02x%02x%02x%02x", mac[0], mac[1], mac[2], mac[3]);
	memcpy(key->id, hex, sizeof(key->id));
}

void ht_mac_key_make(const uint8_t *secret, size_t len, struct ht_mac_key *ret)
{
	uint8_t block[BLOCK] = {0};

	if (len > BLOCK)
		SHA256(secret, len, block);
	else if (len)
		memcpy(block, secret, len);
	xor_block(block, 0x36);
	SHA256_Init(&ret->inner);
	SHA256_Update(&ret->inner, block, sizeof(block));
	xor_block(block, 0x36 ^ 0x5c);
	SHA256_Init(&ret->outer);
	SHA256_Update(&ret->outer, block, sizeof(block));
	OPENSSL_cleanse(block, sizeof(block));
}

void ht_mac_sha1(const uint8_t *secret, size_t len, const struct ht_str *parts, size_t n,
		 uint8_t ret[SHA_DIGEST_LENGTH])
{
	uint8_t block[BLOCK] = {0}, digest[SHA_DIGEST_LENGTH];
	SHA_CTX ctx;

	if (len > BLOCK)
		SHA1(secret, len, block);
	else if (len)
		memcpy(block, secret, len);
	xor_block(block, 0x36);
	SHA1_Init(&ctx);
	SHA1_Update(&ctx, block, sizeof(block));
	for (size_t i = 0; i < n; i++)
		if (parts[i].len)
			SHA1_Update(&ctx, parts[i].p, parts[i].len);
	SHA1_Final(digest, &ctx);

	xor_block(block, 0x36 ^ 0x5c);
	SHA1_Init(&ctx);
	SHA1_Update(&ctx, block, sizeof(block));
	SHA1_Update(&ctx, digest, sizeof(digest));
	SHA1_Final(ret, &ctx);
	OPENSSL_cleanse(&ctx, sizeof(ctx));
	OPENSSL_cleanse(block, sizeof(block));
	OPENSSL_cleanse(digest, sizeof(digest));
}
