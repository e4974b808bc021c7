/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures of profiles proxysg and native, computed here with OpenSSL alone from what compat.md
 * and hardtack-native(7) say. Key is E2E_KEY. Knows nothing of the daemon's own code.
 */
#ifndef HT_E2E_SIGN_H
#define HT_E2E_SIGN_H

#include "harness.h"

#define SIGN_FIRST 1700000000ULL  /* a fixed token's times: both runs of the suite see the same */
#define SIGN_LAST 253402300799ULL /* bytes, and half of its life is far away */

/* How a proxysg rule signs. */
struct style {
	const char *algorithm; /* "sha256", "sha1" */
	const char *encoding;  /* "base64", "base64url", "hex" */
	bool name_in_mac;
	const char *separator;
};
extern const struct style sign_default;

/* 32 results of each live at a time. An empty `input` is no binding. */
const char *sign_proxysg(const struct style *s, const char *name, const char *value,
			 const char *input);

/* A native token; `attributes` in the token's own short form. `ip`: bound to client-ip, or NULL. */
struct native {
	const char *name, *value, *ip, *attributes;
	uint64_t issued, expires;
};
const char *sign_native(const struct native *n);

/* Is it what sign_native() makes of this, whatever its times and attributes? They come out. */
bool sign_is_native(const char *token, const char *name, const char *value, const char *ip,
		    struct native *ret);

/*
 * Appends `pattern` to `out`. {NAME=VALUE} and {NAME=VALUE@INPUT} become proxysg signatures of
 * `style` (NULL = the default), <NAME=VALUE> and <NAME=VALUE@IP> native tokens of fixed times, the
 * rest is as token_expand() has it.
 */
void sign_expand(struct text *out, const char *pattern, const struct style *style);

/* What stands in a Set-Cookie field of that name: the value, or NULL. 16 results live at a time. */
const char *set_cookie_value(const struct response *r, const char *name);
const char *set_cookie_attributes(const struct response *r, const char *name);

#endif
