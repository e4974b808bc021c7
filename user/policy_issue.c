/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session ids (profile session-id): who is given one, how it gets into the request, what its
 * successor is. Judges nothing: an id of ours goes through the gate like any other cookie.
 */
#include <strings.h>

#include "policy_parts.h"

uint32_t ht_policy_issues(const struct ht_policy_site *s, struct ht_str path)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < s->nrules; i++) {
		if (s->issuers >> i & 1 && ht_config_issues(s->rules[i], path))
			bits |= 1U << i;
	}
	return bits;
}

struct ht_str ht_policy_session(const struct ht_rule_config *r, struct ht_str value)
{
	if (ht_rule_is_self(r) && ht_session_id_like(value))
		value.len = HT_SESSION_HANDLE_LEN;
	return value;
}

/* ---- cookies of a head ---- */

/* Moves to the next Cookie field: its value, or false. *at: where to go on looking. */
static bool ht_next_cookies(const char *head, size_t len, size_t *at, struct ht_str *ret)
{
	for (const char *end = head + len; *at < len;) {
		const char *line = head + *at,
			   *crlf = memmem(line, (size_t)(end - line), "\r\n", 2);
		size_t n = crlf ? (size_t)(crlf - line) : len - *at;

		*at += n + 2;
		if (n >= 7 && !strncasecmp(line, "cookie:", 7)) {
			*ret = (struct ht_str){line + 7, n - 7};
			return true;
		}
	}
	return false;
}

/* The name of the pair that begins here, as the scanner reads it: "=sid=x" is a sid, too. */
static struct ht_str ht_pair_name(struct ht_str pair)
{
	const char *eq;

	while (pair.len && (pair.p[0] == '=' || pair.p[0] == ' ' || pair.p[0] == '\t')) {
		pair.p++;
		pair.len--;
	}
	eq = pair.len ? memchr(pair.p, '=', pair.len) : NULL;
	return ht_str_trim((struct ht_str){pair.p, eq ? (size_t)(eq - pair.p) : pair.len});
}

static bool ht_cookies_have(struct ht_str cookies, struct ht_str name)
{
	while (cookies.len) {
		const char *semi = memchr(cookies.p, ';', cookies.len);
		size_t n = semi ? (size_t)(semi - cookies.p) : cookies.len;

		if (ht_str_eq(ht_pair_name((struct ht_str){cookies.p, n}), name))
			return true;
		n += semi != NULL;
		cookies.p += n;
		cookies.len -= n;
	}
	return false;
}

bool ht_policy_has_cookie(const char *head, size_t len, struct ht_str name)
{
	struct ht_str cookies;
	size_t at = 0;

	while (ht_next_cookies(head, len, &at, &cookies)) {
		if (ht_cookies_have(cookies, name))
			return true;
	}
	return false;
}

/* Behind the other cookies, or in a field of its own before the head's end. */
static int ht_head_add_cookie(char *head, size_t *len, size_t cap, struct ht_str name,
			      struct ht_str value)
{
	struct ht_str cookies = {NULL, 0};
	size_t at = 0, where = *len - 2, n;
	char text[HT_NAME_MAX + HT_TOKEN_TEXT_MAX + 16];

	if (*len < 4)
		return -EINVAL;
	while (ht_next_cookies(head, *len, &at, &cookies))
		where = (size_t)(cookies.p + cookies.len - head);
	n = (size_t)snprintf(text, sizeof(text), "%s" HT_STR_FMT "=" HT_STR_FMT "%s",
			     cookies.p ? "; " : "Cookie: ", HT_STR_ARG(name), HT_STR_ARG(value),
			     cookies.p ? "" : "\r\n");
	if (n >= sizeof(text) || n > cap - HT_MIN(*len, cap))
		return -ENOSPC;
	memmove(head + where + n, head + where, *len - where);
	memcpy(head + where, text, n);
	*len += n;
	return 0;
}

/* ---- ids ---- */

int ht_session_issue(const struct ht_policy_context *by, size_t rule,
		     const uint8_t data[HT_SESSION_DATA], char *line, size_t cap, size_t *ret_len,
		     struct ht_str *ret_id, uint64_t *ret_until_s)
{
	const struct ht_rule_config *r = by->site->rules[rule];
	const struct ht_key *key = &by->ring->keys[by->site->gate.rule[rule].key];
	struct ht_line l = {.p = line, .cap = cap};
	struct ht_token_params p = {
		.profile = HT_PROFILE_SESSION_ID,
		.issued_s = by->client->time.now_s,
		.data = data,
	};
	char id[HT_TOKEN_TEXT_MAX];
	size_t len;
	int err;

	if (!key->nsecrets)
		return -ENOKEY; /* a reload has just taken the key away */
	p.secret = key->secrets[0];
	err = ht_token_sign(&p, id, &len);
	if (err)
		return err;
	ht_line_add(&l, "Set-Cookie: %s=%.*s", r->name, (int)len, id);
	*ret_id = (struct ht_str){line + l.len - len, len};
	ht_line_own_attributes(&l, r->reissue, by->client->plain, HT_STR(r->name));
	*ret_len = l.len;
	*ret_until_s = by->client->time.now_s + r->session_s + 1;
	return l.full ? -E2BIG : 0;
}

int ht_policy_issue(const struct ht_policy_context *by, size_t rule,
		    const uint8_t data[HT_SESSION_DATA], char *head, size_t *len, size_t cap,
		    char *line, size_t line_cap, size_t *ret_line_len, struct ht_push *ret_push)
{
	const struct ht_str name = HT_STR(by->site->rules[rule]->name);
	struct ht_str id;
	uint64_t until_s;
	int err = ht_session_issue(by, rule, data, line, line_cap, ret_line_len, &id, &until_s);

	if (!err)
		err = ht_head_add_cookie(head, len, cap, name, id);
	if (!err && by->keys)
		ht_push_make(by, rule, name, id, id, until_s, ret_push);
	return err;
}
