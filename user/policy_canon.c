/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The canonical form of a head's cookies, for heads that the gate does not understand: the same
 * cookies in one field without the blanks. Judges nothing, and must never make a head longer.
 */
#include <strings.h>

#include "policy.h"

#define HT_SEEN 256 /* pairs that are remembered while duplicates are dropped */

struct ht_canon {
	char *out;
	size_t n;
	bool any; /* it has a pair */
	struct ht_str seen[HT_SEEN];
};

static bool ht_is_cookie_line(const char *p, size_t len)
{
	return len >= 7 && !strncasecmp(p, "cookie:", 7);
}

/* Was this very pair written before? Forgetful, but linear in the number of pairs. */
static bool ht_canon_seen(struct ht_canon *c, struct ht_str pair)
{
	uint64_t hash = pair.len;
	struct ht_str *slot;

	for (size_t i = 0; i < pair.len; i++)
		hash = (hash ^ (uint8_t)pair.p[i]) * 0x100000001b3ULL;
	slot = &c->seen[(hash ^ hash >> 40) % HT_SEEN];
	if (slot->p && ht_str_eq(*slot, pair))
		return true;
	*slot = pair;
	return false;
}

static void ht_canon_put(struct ht_canon *c, const char *p, size_t len)
{
	memmove(c->out + c->n, p, len);
	c->n += len;
}

/* One pair, trimmed inside and out; `blank`: a blank parted it from the one before. */
static void ht_canon_pair(struct ht_canon *c, struct ht_str pair, bool blank)
{
	struct ht_str name, value = {NULL, 0};
	const char *eq, *start;

	pair = ht_str_trim(pair);
	while (pair.len && (pair.p[0] == '=' || ht_is_blank((uint8_t)pair.p[0]))) {
		pair.p++;
		pair.len--;
	}
	if (!pair.len)
		return;
	eq = memchr(pair.p, '=', pair.len);
	name = pair;
	if (eq) {
		name = ht_str_trim((struct ht_str){pair.p, eq - pair.p});
		value = ht_str_trim((struct ht_str){eq + 1, pair.p + pair.len - eq - 1});
	}
	if (c->any)
		ht_canon_put(c, ";", 1);
	if (blank)
		ht_canon_put(c, " ", 1);
	start = c->out + c->n;
	ht_canon_put(c, name.p, name.len);
	if (eq) {
		ht_canon_put(c, "=", 1);
		ht_canon_put(c, value.p, value.len);
	}
	if (ht_canon_seen(c, (struct ht_str){start, c->out + c->n - start})) {
		c->n = start - c->out - c->any - blank;
		return;
	}
	c->any = true;
}

static void ht_canon_field(struct ht_canon *c, const char *p, size_t len)
{
	/* never longer than it was: a blank only where there was one, or a field's own name */
	const bool lead = c->any || (len && ht_is_blank((uint8_t)p[0]));
	bool blank = lead;

	while (len) {
		const char *semi = memchr(p, ';', len);
		size_t n = semi ? (size_t)(semi - p) : len;

		ht_canon_pair(c, (struct ht_str){p, n}, blank);
		if (!semi)
			return;
		p += n + 1;
		len -= n + 1;
		blank = (len && ht_is_blank((uint8_t)p[0])) || (lead && !c->any);
	}
}

/* The head is written over itself, never ahead of the reading; the cookies come last in it. */
void ht_policy_canonicalize(char *head, size_t *len)
{
	char pairs[HT_HEAD_MAX];
	struct ht_canon c = {.out = pairs};
	size_t in = 0, out = 0;

	if (*len > HT_HEAD_MAX)
		return;
	while (in < *len) {
		char *crlf = memmem(head + in, *len - in, "\r\n", 2);
		size_t n = crlf ? (size_t)(crlf - head) + 2 - in : *len - in;
		size_t eol = crlf ? 2 : 0;

		if (ht_is_cookie_line(head + in, n)) {
			ht_canon_field(&c, head + in + 7, n - 7 - eol);
		} else if (n == eol && in) {
			/* the end of the head: the cookies go before it */
			if (c.any) {
				memcpy(head + out, "Cookie:", 7);
				memcpy(head + out + 7, pairs, c.n);
				memcpy(head + out + 7 + c.n, "\r\n", 2);
				out += 7 + c.n + 2;
			}
			n = *len - in;
			memmove(head + out, head + in, n);
			out += n;
		} else {
			memmove(head + out, head + in, n);
			out += n;
		}
		in += n;
	}
	*len = out;
}
