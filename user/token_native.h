/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the token*.c files share. Nobody else includes it.
 */
#ifndef HT_TOKEN_NATIVE_H
#define HT_TOKEN_NATIVE_H

#include "mac.h"
#include "token.h"

/* hardtack-native(7). As ht_token_sign() and ht_token_check(), of a value and secret not empty. */
int ht_native_sign(const struct ht_token_params *p, char *ret, size_t *ret_len);
enum ht_token_verdict ht_native_check(const struct ht_token_params *p, struct ht_str token,
				      uint64_t now_s, struct ht_token_info *ret);

/* The seed's session id. As the two above, of a secret not empty. */
int ht_session_sign(const struct ht_token_params *p, char *ret, size_t *ret_len);
enum ht_token_verdict ht_session_check(const struct ht_token_params *p, struct ht_str token,
				       uint64_t now_s, struct ht_token_info *ret);

/* RFC 4648, 5, without padding: *ret gets (4 * len + 2) / 3 characters and no NUL. */
size_t ht_base64url_encode(const uint8_t *bytes, size_t len, char *ret);

/*
 * False if it is none: bits that are left over must be zero, so that no two texts are one. ret has
 * room for 3 bytes of every 4 characters.
 */
bool ht_base64url_decode(struct ht_str text, char *ret, size_t *ret_len);

/* Cuts what stands before the first `at` off *rest, which moves behind it. */
struct ht_str ht_str_cut(struct ht_str *rest, char at);

/*
 * What is carried of a Set-Cookie's attributes. Encoding: -EPERM if they have no such text. Decoding
 * fills `persistent` and `attributes` of *ret if it is one.
 */
#define HT_ATTRIBUTES_TEXT_MAX 431
int ht_attributes_encode(struct ht_str attributes, bool persistent,
			 char ret[HT_ATTRIBUTES_TEXT_MAX], size_t *ret_len);
bool ht_attributes_decode(struct ht_str text, struct ht_token_info *ret);

#define HT_TOKEN_TIME_MAX 253402300799ull /* the last second of the year 9999 */

/* Is a live secret of the key the one of this id? */
bool ht_token_kid_lives(const char *kid, const struct ht_key *key, uint64_t now_s);

/* The kept state of a secret, or one made in *scratch, which ht_token_key_done() then wipes. */
const struct ht_mac_key *ht_token_key(const struct ht_secret *secret, struct ht_mac_key *scratch);
/* The same with its id. */
const struct ht_mac_key *ht_token_named_key(const struct ht_secret *secret,
					    struct ht_mac_key *scratch);
void ht_token_key_done(const struct ht_secret *secret, struct ht_mac_key *scratch);

#endif
