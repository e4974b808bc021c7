/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HMAC (RFC 2104) over parts, from a state that is kept for each secret: everything up to the
 * first byte of the message is done once, when the key is loaded, and a MAC costs two blocks less
 * and no allocation. It must not know what is signed, and keeps nothing of it.
 */
#ifndef HT_MAC_H
#define HT_MAC_H

#include <openssl/sha.h>

#include "util.h"

#define HT_KEY_ID_LEN 8 /* characters */

/* As secret as the secret: where it lives is wiped as that is. */
struct ht_mac_key {
	SHA256_CTX inner, outer;
	char id[HT_KEY_ID_LEN]; /* of hardtack-native(7), not NUL-terminated; no secret */
};

/* All but the id, which takes another MAC. */
void ht_mac_key_make(const uint8_t *secret, size_t len, struct ht_mac_key *ret);
void ht_mac_key_make_id(struct ht_mac_key *key);

/* HMAC over the parts in order. They cannot fail. Any thread. */
void ht_mac_sha256(const struct ht_mac_key *key, const struct ht_str *parts, size_t n,
		   uint8_t ret[SHA256_DIGEST_LENGTH]);
void ht_mac_sha1(const uint8_t *secret, size_t len, const struct ht_str *parts, size_t n,
		 uint8_t ret[SHA_DIGEST_LENGTH]);

#endif
