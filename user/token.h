/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token formats, byte for byte as compat.md has them. Secret, value, binding and time come
 * in one params struct; no clock, no globals, no allocation, constant-time comparison.
 */
#ifndef HT_TOKEN_H
#define HT_TOKEN_H

#include "config.h"
#include "keyring.h"
#include "util.h"

#define HT_TOKEN_TEXT_MAX 256 /* bytes of any profile's token */

struct ht_token_params {
	enum ht_profile profile;
	struct ht_secret secret;
	struct ht_str name; /* of the covered cookie (not in f5-irule's MAC) */
	struct ht_str value;
	struct ht_str input; /* the binding's text */
	bool input_colon;    /* the input can contain ':', see the guard of f5-irule */
};

enum ht_token_verdict {
	HT_TOKEN_VALID,
	HT_TOKEN_FORGED,  /* well-formed or not, it does not verify */
	HT_TOKEN_REFUSED, /* a guard forbids signing or verifying this value at all */
};

/*
 * Writes the token of (value, input) into ret[HT_TOKEN_TEXT_MAX], *ret_len bytes without a NUL.
 * f5-irule: base64(HMAC-SHA256(secret, value ":" input)), 44 characters. -EPERM if a guard
 * forbids it (a value with ':' where input_colon, an empty value), -EOPNOTSUPP for a profile not
 * built, -EIO if the library fails.
 */
int ht_token_sign(const struct ht_token_params *p, char *ret, size_t *ret_len);

/* Compares in constant time. A failing library verifies nothing. */
enum ht_token_verdict ht_token_verify(const struct ht_token_params *p, struct ht_str token);

/* "f5-irule" <-> HT_PROFILE_F5_IRULE. -EINVAL for no profile; built or not is another matter. */
int ht_profile_parse(const char *text, enum ht_profile *ret);
const char *ht_profile_name(enum ht_profile profile);
bool ht_profile_built(enum ht_profile profile);

#endif
