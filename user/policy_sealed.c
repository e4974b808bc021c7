/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sealing of Set-Cookie (profile secure-cookie): the backend's cookie goes to the browser as
 * ciphertext, in its own place, with its own attributes. Judges no requests; what must not leave
 * unsealed does not leave at all.
 */
#include "policy_parts.h"

int ht_policy_seal(const struct ht_policy_context *by, size_t rule,
		   const struct ht_set_cookie *cookie, char *ret, size_t *ret_len,
		   uint64_t *ret_until_s)
{
	const struct ht_rule_config *r = by->site->rules[rule];
	const struct ht_key *key = &by->ring->keys[by->site->gate.rule[rule].key];
	const uint64_t now = by->client->time.now_s;
	struct ht_token_params p = ht_rule_params(r, HT_PROFILE_SECURE_COOKIE,
						  &by->client->bind[by->site->gate.rule[rule].bind],
						  cookie->name, cookie->value);
	struct ht_token_info info = {.issued_s = now, .persistent = cookie->persistent};

	if (!key->nsecrets)
		return -ENOKEY; /* a reload has just taken the key away */
	p.secret = key->secrets[0];
	p.attributes = cookie->attributes;
	p.persistent = cookie->persistent;
	p.issued_s = now;
	/* one that deletes has an end that has passed, and none but a browser sees its value again */
	p.expires_s = info.expires_s = cookie->persistent ? HT_MAX(cookie->expires_s, now + 1)
							  : now + r->lifetime_s;
	*ret_until_s = ht_renewal_s(&info);
	return ht_sealed_make(&p, ret, ret_len);
}

int ht_policy_reseal(const struct ht_policy_context *by, size_t rule,
		     const struct ht_set_cookie *cookie, bool known, char *line, size_t cap,
		     size_t *ret_len, struct ht_str *ret_sealed, uint64_t *ret_until_s)
{
	struct ht_line l = {.p = line, .cap = cap};
	char attributes[HT_TOKEN_ATTRIBUTES_MAX];
	char text[HT_COOKIE_MAX];
	struct ht_str sealed = {text, 0};
	int err = ht_policy_seal(by, rule, cookie, text, &sealed.len, ret_until_s);

	if (err)
		return err;
	snprintf(attributes, sizeof(attributes), HT_STR_FMT, HT_STR_ARG(cookie->attributes));
	ht_line_add(&l, "Set-Cookie: " HT_STR_FMT "=" HT_STR_FMT, HT_STR_ARG(cookie->name),
		    HT_STR_ARG(sealed));
	*ret_sealed = (struct ht_str){line + l.len - sealed.len, sealed.len};
	ht_line_own_attributes(&l, attributes, by->client->plain && !known, cookie->name);
	if (cookie->persistent)
		ht_line_add(&l, "; Max-Age=%llu",
			    (unsigned long long)(cookie->expires_s - by->client->time.now_s));
	return ht_line_done(&l, ret_len) ? -ENOSPC : 0; /* too long for us, not for a browser */
}

/* The field's attributes stay as the backend wrote them. */
static int ht_sealed_line(const struct ht_set_cookie *c, struct ht_str sealed, char *line,
			  size_t cap, size_t *ret_len)
{
	struct ht_line l = {.p = line, .cap = cap};

	ht_line_add(&l, "Set-Cookie: " HT_STR_FMT "=" HT_STR_FMT HT_STR_FMT, HT_STR_ARG(c->name),
		    HT_STR_ARG(sealed), HT_STR_ARG(c->attributes));
	return ht_line_done(&l, ret_len);
}

enum ht_sign_result ht_policy_sign_sealed(const struct ht_policy_context *by, size_t rule,
					  const struct ht_set_cookie *cookie, char *line,
					  size_t cap, size_t *ret_len, struct ht_push *ret_push)
{
	char text[HT_COOKIE_MAX];
	struct ht_str sealed = {text, 0};
	uint64_t until_s;
	int err;

	if (by->site->rules[rule]->mode == HT_MODE_REPORT || !cookie->value.len)
		return HT_SIGN_UNCOVERED; /* nothing to seal in a cookie that goes */
	if (ht_policy_revoked(by, rule, cookie->name, cookie->value))
		return HT_SIGN_REVOKED;
	if (by->client->bind[by->site->gate.rule[rule].bind].empty)
		return HT_SIGN_UNBOUND;
	err = ht_policy_seal(by, rule, cookie, text, &sealed.len, &until_s);
	if (err == -E2BIG)
		return HT_SIGN_TOO_LONG;
	if (err || ht_sealed_line(cookie, sealed, line, cap, ret_len))
		return HT_SIGN_REFUSED;
	if (by->keys && cookie->value.len <= HT_SEALED_MAX && !cookie->deletion)
		ht_push_sealed(by, rule, cookie->name, sealed, cookie->value, until_s, ret_push);
	return HT_SIGN_SEALED;
}

bool ht_policy_withholds(const struct ht_rule_config *rule, enum ht_sign_result result,
			 uint64_t now_s)
{
	switch (result) {
	case HT_SIGN_SIBLING:
	case HT_SIGN_ISSUER:
	case HT_SIGN_SEALED:
		return true;
	case HT_SIGN_REVOKED:
		return rule->profile == HT_PROFILE_SECURE_COOKIE;
	case HT_SIGN_TOO_LONG:
	case HT_SIGN_REFUSED:
	case HT_SIGN_UNBOUND:
		return rule->profile == HT_PROFILE_SECURE_COOKIE && now_s >= rule->enforce_after_s;
	default:
		return false;
	}
}
