/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the policy share: how a push is made and how a token is signed. Nobody else
 * includes it.
 */
#ifndef HT_POLICY_PARTS_H
#define HT_POLICY_PARTS_H

#include "policy.h"
#include "token.h"

/* Up to eight bytes as a little-endian word, as the scanner reads them. */
uint64_t ht_bytes8(const char *p, size_t len);

/* When an entry ends by the gate's clock; `s` = 0: never. */
uint64_t ht_boot_ns(const struct ht_policy_time *t, uint64_t s);

/* One tag for this value and token. `until_s`: Unix time, 0 = the format knows no end. */
void ht_push_make(const struct ht_policy_context *by, size_t rule, struct ht_str name,
		  struct ht_str value, struct ht_str token, uint64_t until_s, struct ht_push *ret);

/* The plaintext of a sealed value as its own token, under client->opened. */
#define HT_OPENED_S                                                                                \
	600 /* longer than a head waits for its backend: nobody can use it but that head */
void ht_push_opened(const struct ht_policy_context *by, size_t rule, struct ht_str name,
		    struct ht_str plain, struct ht_push *ret);

/* The plaintext, of at most HT_SEALED_MAX bytes, for the gate to put in the sealed value's place. */
void ht_push_sealed(const struct ht_policy_context *by, size_t rule, struct ht_str name,
		    struct ht_str sealed, struct ht_str plain, uint64_t until_s,
		    struct ht_push *ret);

/* Adds as many words as the bytes take. */
void ht_sip_bytes(struct ht_sip *s, struct ht_str bytes);

/* What a token of that profile is computed from; secret, times and attributes are the caller's. */
struct ht_token_params ht_rule_params(const struct ht_rule_config *r, enum ht_profile profile,
				      const struct ht_binding *bind, struct ht_str name,
				      struct ht_str value);

/* Was this session ended by hand? `rule` covers it. */
bool ht_policy_revoked(const struct ht_policy_context *by, size_t rule, struct ht_str name,
		       struct ht_str value);

/* Is a cookie's value proof of itself, if it is right? */
static inline bool ht_rule_is_self(const struct ht_rule_config *r)
{
	return r->accept >> HT_PROFILE_SESSION_ID & 1;
}

/* Does it take sealed cookies? */
static inline bool ht_rule_opens(const struct ht_rule_config *r)
{
	return r->accept >> HT_PROFILE_SECURE_COOKIE & 1;
}

/*
 * Seals a value with the newest secret into ret[HT_COOKIE_MAX]; what it says of its attributes and
 * end is `cookie`'s. *ret_until_s: until when the gate may open it without asking. -errno as
 * ht_sealed_make().
 */
int ht_policy_seal(const struct ht_policy_context *by, size_t rule,
		   const struct ht_set_cookie *cookie, char *ret, size_t *ret_len,
		   uint64_t *ret_until_s);

/*
 * ht_policy_resign() of that profile. `known`: its attributes are those that it had, and not ours to
 * change.
 */
int ht_policy_reseal(const struct ht_policy_context *by, size_t rule,
		     const struct ht_set_cookie *cookie, bool known, char *line, size_t cap,
		     size_t *ret_len, struct ht_str *ret_sealed, uint64_t *ret_until_s);

/* ht_policy_sign() for a cookie that a rule of profile secure-cookie covers. */
enum ht_sign_result ht_policy_sign_sealed(const struct ht_policy_context *by, size_t rule,
					  const struct ht_set_cookie *cookie, char *line,
					  size_t cap, size_t *ret_len, struct ht_push *ret_push);

/*
 * A session's next id: as `data` is, and now. line[cap] gets "Set-Cookie: ...", *ret_id is the id
 * in it. -errno.
 */
int ht_session_issue(const struct ht_policy_context *by, size_t rule,
		     const uint8_t data[HT_SESSION_DATA], char *line, size_t cap, size_t *ret_len,
		     struct ht_str *ret_id, uint64_t *ret_until_s);

/* Until when the gate may take a native token without asking: half its life, then it is renewed. */
uint64_t ht_renewal_s(const struct ht_token_info *info);

/* A line that is being written; `full` when it did not fit. */
struct ht_line {
	char *p;
	size_t len, cap;
	bool full;
};
_printf_(2, 3) void ht_line_add(struct ht_line *l, const char *fmt, ...);
/* Attributes, less Secure where it would void the cookie of a client without TLS. */
void ht_line_own_attributes(struct ht_line *l, const char *attributes, bool plain,
			    struct ht_str name);

int ht_line_done(const struct ht_line *l, size_t *ret_len);

/*
 * "Set-Cookie: NAME=VALUE" as a cookie with these attributes was set, to set it anew with another
 * value; or, without one, to delete it. -E2BIG.
 */
int ht_policy_set_again(struct ht_str name, struct ht_str value, const struct ht_token_info *info,
			uint64_t now_s, char *line, size_t cap, size_t *ret_len);

/*
 * Signs a cookie anew without having seen its attributes: with those that the old token carries,
 * or the rule's own. `old` may be NULL. line[cap] gets "Set-Cookie: ...", -errno otherwise.
 */
int ht_policy_resign(const struct ht_policy_context *by, size_t rule, struct ht_str name,
		     struct ht_str value, const struct ht_token_info *old, char *line, size_t cap,
		     size_t *ret_len, struct ht_str *ret_token, uint64_t *ret_until_s);

#endif
