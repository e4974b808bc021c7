/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signing of Set-Cookie: the line that goes beside a backend's, and those that we send of our
 * own accord. Decides nothing about requests.
 */
#include <stdarg.h>
#include <strings.h>

#include "policy_parts.h"

#define HT_LONG_AGO "Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0"

/* Browsers take a cookie of such a name only with Secure, also over plain HTTP: not at all. */
static bool ht_is_guarded(struct ht_str name)
{
	return name.len >= 2 && !memcmp(name.p, "__", 2);
}

void ht_line_add(struct ht_line *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(l->p + l->len, l->cap - l->len, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= l->cap - l->len)
		l->full = true;
	else
		l->len += (size_t)n;
}

int ht_line_done(const struct ht_line *l, size_t *ret_len)
{
	*ret_len = l->len;
	return l->full ? -E2BIG : 0;
}

static void ht_line_begin_cookie(struct ht_line *l, const struct ht_rule_config *r,
				 struct ht_str name, struct ht_str token)
{
	size_t len;

	ht_line_add(l, "Set-Cookie: ");
	if (ht_policy_sibling(&r->siblings[0], name, l->p + l->len, l->cap - l->len, &len))
		l->full = true;
	else
		l->len += len;
	ht_line_add(l, "=" HT_STR_FMT, HT_STR_ARG(token));
}

/* The sibling of a backend's Set-Cookie, with its attributes or the seed's. */
static int ht_sibling_line(const struct ht_rule_config *r, const struct ht_set_cookie *c,
			   struct ht_str token, char *line, size_t cap, size_t *ret_len)
{
	struct ht_line l = {.p = line, .cap = cap};
	/* a copied Max-Age or Expires deletes by itself, but an empty value alone does not */
	const char *gone = c->deletion ? "; " HT_LONG_AGO : "";

	ht_line_begin_cookie(&l, r, c->name, token);
	if (r->copy_attributes)
		ht_line_add(&l, HT_STR_FMT "%s", HT_STR_ARG(c->attributes), gone);
	else
		ht_line_add(&l, "%s; HttpOnly; Secure; Path=/", gone);
	return ht_line_done(&l, ret_len);
}

/* Attributes, less Secure where the client came without TLS: it would void the cookie. */
static void ht_line_attributes(struct ht_line *l, const char *attributes, bool keep_secure)
{
	const char *p = attributes;

	while (*p) {
		size_t n = strcspn(p + 1, ";") + 1;

		if (keep_secure || n < 8 || strncasecmp(p + n - 6, "secure", 6))
			ht_line_add(l, "%.*s", (int)n, p);
		p += n;
	}
}

void ht_line_own_attributes(struct ht_line *l, const char *attributes, bool plain,
			    struct ht_str name)
{
	ht_line_attributes(l, attributes, !plain || ht_is_guarded(name));
}

int ht_policy_set_again(struct ht_str name, struct ht_str value, const struct ht_token_info *info,
			uint64_t now_s, char *line, size_t cap, size_t *ret_len)
{
	struct ht_line l = {.p = line, .cap = cap};

	ht_line_add(&l, "Set-Cookie: " HT_STR_FMT "=" HT_STR_FMT "%s", HT_STR_ARG(name),
		    HT_STR_ARG(value), info->attributes);
	if (!value.len)
		ht_line_add(&l, "; " HT_LONG_AGO);
	else if (info->persistent)
		ht_line_add(&l, "; Max-Age=%llu", (unsigned long long)(info->expires_s - now_s));
	return ht_line_done(&l, ret_len);
}

int ht_policy_expire(struct ht_str name, bool plain, char *line, size_t cap, size_t *ret_len)
{
	struct ht_line l = {.p = line, .cap = cap};

	ht_line_add(&l, "Set-Cookie: " HT_STR_FMT "=; " HT_LONG_AGO, HT_STR_ARG(name));
	ht_line_own_attributes(&l, "; HttpOnly; Secure; Path=/", plain, name);
	return ht_line_done(&l, ret_len);
}

/* Signs with the newest secret. *ret_until_s: when the gate must ask again, 0 = never. */
static int ht_sign(const struct ht_policy_context *by, size_t rule, struct ht_token_params *p,
		   uint64_t expires_s, char *ret, size_t *ret_len, uint64_t *ret_until_s)
{
	const struct ht_rule_config *r = by->site->rules[rule];
	const struct ht_key *key = &by->ring->keys[by->site->gate.rule[rule].key];
	const uint64_t now = by->client->time.now_s;
	struct ht_token_info info = {.issued_s = now, .persistent = p->persistent};

	if (!key->nsecrets)
		return -ENOKEY; /* a reload has just taken the key away */
	p->secret = key->secrets[0];
	p->issued_s = now;
	p->expires_s = info.expires_s = expires_s ? expires_s : now + r->lifetime_s;
	*ret_until_s = r->profile == HT_PROFILE_NATIVE ? ht_renewal_s(&info) : 0;
	return ht_token_sign(p, ret, ret_len);
}

int ht_policy_resign(const struct ht_policy_context *by, size_t rule, struct ht_str name,
		     struct ht_str value, const struct ht_token_info *old, char *line, size_t cap,
		     size_t *ret_len, struct ht_str *ret_token, uint64_t *ret_until_s)
{
	const struct ht_rule_config *r = by->site->rules[rule];
	const struct ht_policy_client *client = by->client;
	const struct ht_binding *bind = &client->bind[by->site->gate.rule[rule].bind];
	struct ht_token_params p = ht_rule_params(r, r->profile, bind, name, value);
	/* a token that knows its times knows the attributes, too, if only that there are none */
	bool known = old && old->expires_s, persistent = old && old->persistent;
	const char *attributes = known ? old->attributes : r->reissue;
	struct ht_line l = {.p = line, .cap = cap};
	char text[HT_TOKEN_TEXT_MAX];
	struct ht_str token = {text, 0};
	uint8_t data[HT_SESSION_DATA];
	uint64_t issued_s;
	size_t at;
	int err;

	if (r->profile == HT_PROFILE_SESSION_ID)
		return ht_session_id_parse(value, data, &issued_s)
			       ? ht_session_issue(by, rule, data, line, cap, ret_len, ret_token,
						  ret_until_s)
			       : -EINVAL;
	if (r->profile == HT_PROFILE_SECURE_COOKIE)
		return ht_policy_reseal(by, rule,
					&(struct ht_set_cookie){
						.name = name,
						.value = value,
						.attributes = HT_STR(attributes),
						.persistent = persistent,
						.expires_s = persistent ? old->expires_s : 0,
					},
					known, line, cap, ret_len, ret_token, ret_until_s);
	p.attributes = HT_STR(attributes);
	p.persistent = persistent;
	err = ht_sign(by, rule, &p, persistent ? old->expires_s : 0, text, &token.len, ret_until_s);
	if (err)
		return err;
	ht_line_begin_cookie(&l, r, name, token);
	at = l.len - token.len;
	ht_line_attributes(&l, attributes, known || !client->plain || ht_is_guarded(name));
	if (persistent)
		ht_line_add(&l, "; Max-Age=%llu",
			    (unsigned long long)(old->expires_s - client->time.now_s));
	*ret_token = (struct ht_str){line + at, token.len};
	return ht_line_done(&l, ret_len);
}

enum ht_sign_result ht_policy_sign(const struct ht_policy_context *by,
				   const struct ht_set_cookie *cookie, char *line, size_t cap,
				   size_t *ret_len, struct ht_push *ret_push, size_t *ret_rule)
{
	const struct ht_policy_site *s = by->site;
	const struct ht_binding *bind;
	const struct ht_rule_config *r;
	char text[HT_TOKEN_TEXT_MAX];
	struct ht_str token = {text, 0};
	struct ht_token_params p;
	uint64_t until_s;
	bool sibling;
	size_t i = ht_policy_covers(s, cookie->name, &sibling);

	if (sibling)
		return HT_SIGN_SIBLING;
	if (i == SIZE_MAX)
		return HT_SIGN_UNCOVERED;
	*ret_rule = i;
	ret_push->sealed = (struct ht_str){NULL, 0};
	r = s->rules[i];
	if (r->profile == HT_PROFILE_SESSION_ID) /* a backend may end a session, not make one */
		return cookie->deletion || !(s->issuers >> i & 1) ? HT_SIGN_UNCOVERED
								  : HT_SIGN_ISSUER;
	if (r->profile == HT_PROFILE_SECURE_COOKIE)
		return ht_policy_sign_sealed(by, i, cookie, line, cap, ret_len, ret_push);
	if (cookie->deletion)
		return ht_sibling_line(r, cookie, token, line, cap, ret_len) ? HT_SIGN_REFUSED
									     : HT_SIGN_DELETED;
	if (ht_policy_revoked(by, i, cookie->name, cookie->value))
		return HT_SIGN_REVOKED;
	bind = &by->client->bind[s->gate.rule[i].bind];
	if (bind->empty)
		return HT_SIGN_UNBOUND;
	p = ht_rule_params(r, r->profile, bind, cookie->name, cookie->value);
	p.attributes = cookie->attributes;
	p.persistent = cookie->persistent;
	if (ht_sign(by, i, &p, cookie->persistent ? cookie->expires_s : 0, text, &token.len,
		    &until_s) ||
	    ht_sibling_line(r, cookie, token, line, cap, ret_len))
		return HT_SIGN_REFUSED;
	ht_push_make(by, i, cookie->name, cookie->value, token, until_s, ret_push);
	return HT_SIGN_SIGNED;
}
