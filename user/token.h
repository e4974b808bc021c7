/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token formats, byte for byte as compat.md and hardtack-native(7) have them. Secret, value,
 * binding and times come in one params struct; no clock, no allocation, constant-time comparison.
 */
#ifndef HT_TOKEN_H
#define HT_TOKEN_H

#include "config.h"
#include "keyring.h"
#include "util.h"

#define HT_TOKEN_TEXT_MAX 512	    /* bytes of any profile's token */
#define HT_TOKEN_ATTRIBUTES_MAX 512 /* bytes of what a native token carries, as text */
#define HT_BINDING_DIGEST 32	    /* bytes */
#define HT_SESSION_ID_LEN 64	    /* characters of a session id */
#define HT_SESSION_HANDLE_LEN 24    /* its first ones, which name the session: the data */
#define HT_SESSION_DATA 16	    /* bytes of that */

struct ht_token_params {
	enum ht_profile profile;
	struct ht_secret secret;
	struct ht_str name; /* of the covered cookie (not in f5-irule's MAC) */
	struct ht_str value;
	struct ht_str input; /* the binding's text: f5-irule and proxysg; empty without a binding */
	bool input_colon;    /* the input can contain ':', see the guard of f5-irule */
	const uint8_t
		*bind; /* native, secure-cookie: the binding's digest, HT_BINDING_DIGEST bytes */
	/* proxysg */
	enum ht_algorithm algorithm;
	enum ht_encoding encoding;
	bool name_in_mac;
	struct ht_str separator;
	/* native and secure-cookie, for signing */
	uint64_t issued_s, expires_s; /* Unix time */
	struct ht_str attributes;     /* of the Set-Cookie from the first ';' on, or empty */
	bool persistent; /* as ht_token_info's; Max-Age and Expires are the caller's to read */
	/* session-id */
	const uint8_t *data; /* for signing: HT_SESSION_DATA bytes that nobody else is given */
	uint64_t lifetime_s; /* for verifying */
	/* secure-cookie */
	struct ht_str user;   /* where the rule binds to it, else empty */
	const uint8_t *nonce; /* for sealing: HT_SEALED_NONCE bytes, never twice; NULL = random */
};

enum ht_token_verdict {
	HT_TOKEN_VALID,
	HT_TOKEN_FORGED,  /* well-formed or not, it does not verify */
	HT_TOKEN_REFUSED, /* a guard forbids signing or verifying this value at all */
	HT_TOKEN_EXPIRED, /* its time has passed */
};

/* What a token that verifies, or is expired, says of itself; zeros where its format does not. */
struct ht_token_info {
	uint64_t issued_s, expires_s; /* Unix time; it is good before expires_s */
	bool persistent; /* the cookie has an end of its own, which a new token must not outlive */
	/* "; Path=/; Secure", without Max-Age and Expires: what a token signed anew must carry */
	char attributes[HT_TOKEN_ATTRIBUTES_MAX];
};

/*
 * Writes the token into ret[HT_TOKEN_TEXT_MAX], *ret_len bytes without a NUL.
 * - f5-irule: base64(HMAC-SHA256(secret, value ":" input)), 44 characters.
 * - proxysg: HMAC-<algorithm>(secret, [name separator] value [separator input]) in the encoding;
 *   the name with name_in_mac, the input's separator only with an input.
 * - native: "1.kid.issued.expires.attributes.mac", see hardtack-native(7).
 * - session-id: the cookie's value, which is its own token: of data and issued_s, 64 characters.
 * -EPERM if a guard forbids it: an empty value or secret; f5-irule, a value with ':' where
 * input_colon; proxysg, a name or an input that contains the separator, a name in the MAC without
 * a separator; native, no binding digest, times that are none, attributes that don't fit;
 * session-id, no data, a time that has not ten digits.
 * -EOPNOTSUPP for secure-cookie, which has no token; -EIO if the library fails.
 */
int ht_token_sign(const struct ht_token_params *p, char *ret, size_t *ret_len);

/*
 * Is this the token of these parameters at `now_s`? Compares in constant time; of a native token
 * nothing is believed, not even its times, before its MAC is. *ret is always written. A failing
 * library verifies nothing. session-id: `token` must be the value; one whose time has passed, by
 * its own word, is expired whoever made it.
 */
enum ht_token_verdict ht_token_check(const struct ht_token_params *p, struct ht_str token,
				     uint64_t now_s, struct ht_token_info *ret);

/* The same for formats without times; a native token is as good as expired here. */
enum ht_token_verdict ht_token_verify(const struct ht_token_params *p, struct ht_str token);

/*
 * Does a native token say that a secret made it which is none of the key's live ones? Then nothing
 * of it can be known, and nothing is computed: whoever was away for longer than a secret lives comes
 * with one, and a forger has no more of it than of no token.
 */
bool ht_native_outlived(struct ht_str token, const struct ht_key *key, uint64_t now_s);
/* The same of a sealed value. */
bool ht_sealed_outlived(struct ht_str text, const struct ht_key *key, uint64_t now_s);

/*
 * Takes an id apart, by its shape alone: whether it is anybody's, ht_token_check() says. The second
 * only asks whether it has that shape.
 */
bool ht_session_id_parse(struct ht_str text, uint8_t ret_data[HT_SESSION_DATA], uint64_t *ret_time);
bool ht_session_id_like(struct ht_str text);

/* ---- sealed cookies: hardtack-secure-cookie(7) ---- */

#define HT_SEALED_NONCE 12
#define HT_COOKIE_MAX 4096	/* bytes of name and value that a browser takes (RFC 6265bis) */
#define HT_SEALED_DATA_MAX 3072 /* bytes that a sealed value of that length can hold */

/*
 * Seals p->value into ret[HT_COOKIE_MAX], *ret_len bytes without a NUL. -EPERM if a guard forbids it:
 * an empty name, value or secret, a value that would not be one value in a Cookie field, no binding
 * digest, a user of more than 255 bytes, times that are none, attributes that don't fit; -E2BIG if
 * name and sealed value are more than HT_COOKIE_MAX; -EIO if the library fails. secure-cookie only.
 */
int ht_sealed_make(const struct ht_token_params *p, char *ret, size_t *ret_len);

/*
 * Opens what may be a sealed value: into ret[HT_SEALED_DATA_MAX], *ret_len bytes, if it is valid or
 * expired, else 0 of them. p->value is not looked at. Nothing of it is believed before it is found
 * whole. *ret_info is always written.
 */
enum ht_token_verdict ht_sealed_open(const struct ht_token_params *p, struct ht_str sealed,
				     uint64_t now_s, char *ret, size_t *ret_len,
				     struct ht_token_info *ret_info);

/* Has it the shape of a sealed value, by its length and beginning alone? */
bool ht_sealed_like(struct ht_str text);

/* "f5-irule" <-> HT_PROFILE_F5_IRULE. -EINVAL for no profile; built or not is another matter. */
int ht_profile_parse(const char *text, enum ht_profile *ret);
const char *ht_profile_name(enum ht_profile profile);
bool ht_profile_built(enum ht_profile profile);

#endif
