/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The HTTP/1 head scanner: one step function, compiled into the verdict program and into the
 * daemon, which differ only in the loop that drives it. It finds the lines of a request head as
 * the daemon writes it, its framing fields and its cookies, and refuses whatever it does not
 * understand. No libc, no allocation, no clock; it changes nothing but its own state. What is then
 * cut out of the head is cut.h's.
 */
#ifndef HT_HEAD_H
#define HT_HEAD_H

#include "words.h"

/* The message: what the verdict program is given, or its like. */
#ifdef __bpf__
#define ht_text sk_msg_md
#else
struct ht_text {
	const __u8 *data, *data_end;
};
#endif
#define HT_PART_BEGIN const __u8 *data = m->data, *end = m->data_end;

#define HT_STEPS_MAX (HT_HEAD_MAX + 64) /* every step but the last moves by a byte or more */
#define HT_BLANKS_MAX 7			/* around a cookie's name or value */
#ifndef HT_SKIPS
#define HT_SKIPS 8 /* lines, pairs or 64 bytes of them that are passed over at once; tests try 0 */
#endif

#define HT_CUR_TOKEN 0xff /* ht_head.cur: a token, of whatever rule */

enum ht_head_field {
	HT_FIELD_OTHER = 0,
	HT_FIELD_REQUEST,
	HT_FIELD_LENGTH,
	HT_FIELD_CODING,
	HT_FIELD_CONNECTION,
	HT_FIELD_UPGRADE,
};

/* ht_head.flags */
#define HT_HEAD_DONE 1
#define HT_HEAD_GET 2
#define HT_HEAD_LENGTH 4
#define HT_HEAD_CHUNKED 8
#define HT_HEAD_CONN_UPGRADE 16
#define HT_HEAD_UPGRADE 32

HT_INLINE int ht_head_stop(struct ht_head *h, __u8 reason)
{
	h->reason = reason;
	return 1;
}

/* A name's fingerprint: eight bytes each of its beginning, middle and end, and its length. */
HT_INLINE __u64 ht_name_print(__u64 first, __u64 mid, __u64 last, __u32 len)
{
	return first ^ HT_ROTL(mid, 13) ^ HT_ROTL(last, 29) ^ len * 0x9e3779b97f4a7c15ULL;
}

/* The same with what stands before it: 0 nothing, 1 __Host-, 2 __Secure-. */
HT_INLINE __u64 ht_base_print(__u64 print, __u64 guard)
{
	return print ^ guard * 0xd6e8feb86659fd93ULL;
}

HT_INLINE __u64 ht_print_at(const struct ht_head *h, const __u8 *data, const __u8 *end, __u32 off,
			    __u32 len)
{
	__u64 first = ht_load(h, data, end, off), mid = 0, last;

	if (len < 8)
		first &= (1ULL << (8 * (len & 7))) - 1;
	last = len > 8 ? ht_load(h, data, end, off + len - 8) : first;
	if (len > 16)
		mid = ht_load(h, data, end, off + len / 2 - 4);
	return ht_name_print(first, mid, last, len);
}

HT_INLINE __u32 ht_name_bucket(const struct ht_policy *pol, __u64 print)
{
	return (print * pol->multiplier) >> 58; /* HT_BUCKETS is 64 */
}

HT_INLINE int ht_name_equal(const struct ht_head *h, const struct ht_name *n, const __u8 *data,
			    const __u8 *end, __u32 off, __u32 len)
{
	__u32 i;

	for (i = 0; i < HT_NAME_MAX / 8; i++) {
		__u64 left = len - 8 * i;
		__u64 w = ht_load(h, data, end, off + 8 * i);

		HT_BOUND(left, 127); /* or the verifier learns about len from it, each time anew */

		if (left < 8)
			w &= (1ULL << (8 * left)) - 1;
		if (w != n->bytes[i])
			return 0;
		if (left <= 8)
			return 1;
	}
	return 0;
}

/* The name in the table + 1, or 0. No two there have the same print. */
HT_INLINE __u8 ht_name_find(const struct ht_head *h, const struct ht_policy *pol, const __u8 *data,
			    const __u8 *end, __u32 off, __u32 len)
{
	__u64 print, i;
	__u32 hops;

	if (len == 0 || len > HT_NAME_MAX)
		return 0;
	print = ht_print_at(h, data, end, off, len);
	i = ht_name_bucket(pol, print);
	HT_BOUND(i, HT_BUCKETS - 1);
	i = pol->bucket[i];
	for (hops = 0; hops < HT_CHAIN_MAX && i; hops++) {
		__u64 at = i - 1;

		HT_BOUND(at, HT_NAMES_MAX - 1);
		if (pol->name[at].print == print)
			break;
		i = pol->name[at].next;
	}
	if (!i)
		return 0;
	print = i - 1;
	HT_BOUND(print, HT_NAMES_MAX - 1);
	return ht_name_equal(h, &pol->name[print], data, end, off, len) ? i : 0;
}

/* Field values as the daemon writes them: one space, then the value up to CR. */
HT_INLINE __u32 ht_value_start(const struct ht_head *h, const __u8 *data, const __u8 *end,
			       __u32 off)
{
	return (ht_load(h, data, end, off) & 0xff) == ' ' ? off + 1 : off;
}

HT_INLINE __u8 ht_field_length(struct ht_head *h, const __u8 *data, const __u8 *end, __u32 e)
{
	__u32 off = ht_value_start(h, data, end, h->line + 15), i;
	__u64 n = 0, w = 0;

	if ((h->flags & HT_HEAD_LENGTH) || off >= e || e - off > 18)
		return HT_REASON_LENGTH;
	for (i = 0; i < 18 && off + i < e; i++) {
		__u64 digit;

		if (!(i & 7))
			w = ht_load(h, data, end, off + i);
		digit = (w & 0xff) - '0';
		w >>= 8;
		if (digit > 9)
			return HT_REASON_LENGTH;
		n = n * 10 + digit;
	}
	h->length = n;
	h->flags |= HT_HEAD_LENGTH;
	return 0;
}

HT_INLINE __u8 ht_field_upgrade(struct ht_head *h, const __u8 *data, const __u8 *end, __u32 e)
{
	__u32 off = ht_value_start(h, data, end, h->line + 8), i;
	__u64 w = ht_load(h, data, end, off), commas = 0;

	if ((h->flags & HT_HEAD_UPGRADE) || off >= e || e - off > 32)
		return HT_REASON_UPGRADE;
	if (((w | HT_FOLD) & HT_LOW(2)) == ('h' | '2' << 8))
		return HT_REASON_UPGRADE;
	for (i = 0; i < 4; i++)
		commas |= ht_equal_bytes(ht_load(h, data, end, off + 8 * i), ',') << (8 * i);
	if (commas & ((1ULL << ((e - off) & 63)) - 1))
		return HT_REASON_UPGRADE;
	h->flags |= HT_HEAD_UPGRADE;
	return 0;
}

/* Is [off, e) the seven letters `word`, in any case? */
HT_INLINE int ht_value_is7(const struct ht_head *h, const __u8 *data, const __u8 *end, __u32 off,
			   __u32 e, __u64 word)
{
	off = ht_value_start(h, data, end, off);
	return e - off == 7 && ((ht_load(h, data, end, off) | HT_FOLD) & HT_LOW(7)) == word;
}

/* What the line [h->line, e) says, now that its end is known. */
HT_INLINE __u8 ht_line_judge(struct ht_head *h, const __u8 *data, const __u8 *end, __u32 e)
{
	switch (h->field) {
	case HT_FIELD_REQUEST:
		/* "G / HTTP/1.1" is the shortest one */
		if (e - h->line < 12 ||
		    ht_load(h, data, end, e - 8) != HT_W('H', 'T', 'T', 'P', '/', '1', '.', '1') ||
		    (ht_load(h, data, end, e - 9) & 0xff) != ' ')
			return HT_REASON_REQUEST_LINE;
		return 0;
	case HT_FIELD_LENGTH:
		return ht_field_length(h, data, end, e);
	case HT_FIELD_CODING:
		if ((h->flags & HT_HEAD_CHUNKED) ||
		    !ht_value_is7(h, data, end, h->line + 18, e,
				  HT_W('c', 'h', 'u', 'n', 'k', 'e', 'd', 0)))
			return HT_REASON_CODING;
		h->flags |= HT_HEAD_CHUNKED;
		return 0;
	case HT_FIELD_CONNECTION:
		if (!ht_value_is7(h, data, end, h->line + 11, e,
				  HT_W('u', 'p', 'g', 'r', 'a', 'd', 'e', 0)))
			return HT_REASON_CONNECTION;
		h->flags |= HT_HEAD_CONN_UPGRADE;
		return 0;
	case HT_FIELD_UPGRADE:
		return ht_field_upgrade(h, data, end, e);
	}
	return 0;
}

/*
 * The line ends at e with the bytes w, a control character other than TAB: CR LF or a refusal. Two of them end
 * the head, which must be the end of the message, too.
 */
HT_INLINE int ht_line_end(struct ht_head *h, const __u8 *data, const __u8 *end, __u32 e, __u64 w)
{
	__u8 reason = 0;

	if (e >= h->size)
		return ht_head_stop(h, HT_REASON_INCOMPLETE);
	if ((w & 0xffff) != ('\r' | '\n' << 8))
		return ht_head_stop(h, HT_REASON_CONTROL);
	if (h->field)
		reason = ht_line_judge(h, data, end, e);
	if (reason)
		return ht_head_stop(h, reason);
	h->line = e + 2;
	h->pos = e + 2;
	h->mode = HT_MODE_LINE;
	if ((w & 0xffffffff) != HT_W('\r', '\n', '\r', '\n', 0, 0, 0, 0))
		return 0;
	if (e + 4 != h->size)
		return ht_head_stop(h, HT_REASON_SURPLUS);
	if ((h->flags & HT_HEAD_CHUNKED) && (h->flags & HT_HEAD_LENGTH))
		return ht_head_stop(h, HT_REASON_CODING);
	h->flags |= HT_HEAD_DONE;
	return 1;
}

/* Which line begins with these bytes? */
HT_INLINE __u8 ht_line_field(const struct ht_head *h, const __u8 *data, const __u8 *end, __u64 w,
			     __u8 *reason)
{
	__u64 more, first;

	w |= HT_FOLD;
	first = w & 0xff;
	if (first != 'c' && first != 't' && first != 'u')
		return HT_FIELD_OTHER;
	switch (w) {
	case HT_W('c', 'o', 'n', 't', 'e', 'n', 't', '-'):
		more = ht_load(h, data, end, h->line + 8);
		if (((more | HT_FOLD) & HT_LOW(6)) != HT_W('l', 'e', 'n', 'g', 't', 'h', 0, 0))
			return HT_FIELD_OTHER;
		more = more >> 48 & 0xff;
		if (ht_is_blank(more))
			*reason = HT_REASON_FIELD_NAME;
		return more == ':' ? HT_FIELD_LENGTH : HT_FIELD_OTHER;
	case HT_W('t', 'r', 'a', 'n', 's', 'f', 'e', 'r'):
		more = ht_load(h, data, end, h->line + 8);
		if ((more | HT_FOLD) != HT_W('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n'))
			return HT_FIELD_OTHER;
		more = ht_load(h, data, end, h->line + 16);
		if (((more | HT_FOLD) & 0xff) != 'g')
			return HT_FIELD_OTHER;
		more = more >> 8 & 0xff;
		if (ht_is_blank(more))
			*reason = HT_REASON_FIELD_NAME;
		return more == ':' ? HT_FIELD_CODING : HT_FIELD_OTHER;
	case HT_W('c', 'o', 'n', 'n', 'e', 'c', 't', 'i'):
		more = ht_load(h, data, end, h->line + 8);
		if (((more | HT_FOLD) & HT_LOW(2)) != HT_W('o', 'n', 0, 0, 0, 0, 0, 0))
			return HT_FIELD_OTHER;
		more = more >> 16 & 0xff;
		if (ht_is_blank(more))
			*reason = HT_REASON_FIELD_NAME;
		return more == ':' ? HT_FIELD_CONNECTION : HT_FIELD_OTHER;
	case HT_W('u', 'p', 'g', 'r', 'a', 'd', 'e', ':'):
		return HT_FIELD_UPGRADE;
	case HT_W('u', 'p', 'g', 'r', 'a', 'd', 'e', ' '):
	case HT_W('u', 'p', 'g', 'r', 'a', 'd', 'e', '\t' | 0x20):
		*reason = HT_REASON_FIELD_NAME;
		return HT_FIELD_OTHER;
	}
	return HT_FIELD_OTHER;
}

/* Does the site say anything of names that it doesn't spell out? */
HT_INLINE int ht_decides(const struct ht_policy *pol)
{
	return pol->npatterns || pol->sibling[0].len;
}

/* And of one that begins with c? */
HT_INLINE int ht_decides_on(const struct ht_policy *pol, __u8 c)
{
	return pol->npatterns ||
	       (pol->sibling[0].len && (c == '_' || c == (__u8)pol->sibling[0].bytes[0] ||
					c == (__u8)pol->sibling[1].bytes[0]));
}

/* Is a cookie whose name begins with c nobody's? Never of blanks, controls, '=' and ';'. */
HT_INLINE int ht_is_nobodys(const struct ht_policy *pol, __u64 c)
{
	return pol->nobodys[c >> 6] >> (c & 63) & 1;
}

/* At the first byte of a line. Cookie fields change the mode where there is something to find. */
HT_INLINE int ht_line_begin(struct ht_head *h, const struct ht_policy *pol, const __u8 *data,
			    const __u8 *end)
{
	__u64 w = ht_load(h, data, end, h->line);
	__u8 reason = 0;

	h->field = HT_FIELD_OTHER;
	if (h->line == 0) {
		h->field = HT_FIELD_REQUEST;
		if ((w & HT_LOW(4)) == HT_W('G', 'E', 'T', ' ', 0, 0, 0, 0))
			h->flags |= HT_HEAD_GET;
		if (w == HT_W('C', 'O', 'N', 'N', 'E', 'C', 'T', ' '))
			return ht_head_stop(h, HT_REASON_REQUEST_LINE);
		return 0;
	}
	if (ht_is_blank(w & 0xff))
		return ht_head_stop(h, HT_REASON_FOLD);
	if (((w | HT_FOLD) & HT_LOW(6)) == HT_W('c', 'o', 'o', 'k', 'i', 'e', 0, 0)) {
		__u64 c = w >> 48 & 0xff;

		if (ht_is_blank(c))
			return ht_head_stop(h, HT_REASON_FIELD_NAME);
		if (c == ':' && (pol->nnames || ht_decides(pol))) {
			h->mode = HT_MODE_NAME;
			h->pos = h->line + 7;
			h->name = 0;
			h->sep = 0;
			h->open = 0;
			return 0;
		}
	}
	h->field = ht_line_field(h, data, end, w, &reason);
	if (reason)
		return ht_head_stop(h, reason);
	return 0;
}

/* How many blanks w begins with, HT_BLANKS_MAX + 1 if too many. `too`: a byte to skip, too. */
HT_INLINE __u32 ht_blanks(__u64 w, __u8 too)
{
	__u32 n;

	for (n = 0; n <= HT_BLANKS_MAX; n++) {
		__u64 c = w & 0xff;

		if (!ht_is_blank(c) && c != too)
			break;
		w >>= 8;
	}
	return n;
}

/* How many blanks stand before off. There are always eight bytes before a cookie. */
HT_INLINE __u32 ht_blanks_before(const struct ht_head *h, const __u8 *data, const __u8 *end,
				 __u32 off)
{
	__u64 w = ht_load(h, data, end, off - 8);
	__u32 n;

	for (n = 0; n <= HT_BLANKS_MAX; n++) {
		if (!ht_is_blank(w >> 56))
			break;
		w <<= 8;
	}
	return n;
}

/*
 * The pair behind a ';' or the colon begins at h->pos. An empty name cannot hide a signed one:
 * "=sid=x" is judged as "sid=x". *ret_first is the first byte of the name.
 */
HT_INLINE int ht_pair_begin(struct ht_head *h, const __u8 *data, const __u8 *end, __u64 *ret_first)
{
	__u64 open = h->open, w = ht_load(h, data, end, h->pos);
	__u32 blanks = ht_blanks(w, ' ');

	if (blanks > HT_BLANKS_MAX)
		return ht_head_stop(h, HT_REASON_BLANKS);
	h->start = h->pos + blanks;
	if (open) {
		open--;
		HT_BOUND(open, HT_OCC_MAX - 1);
		h->occ[open].next = h->start;
		h->open = 0;
	}
	h->pos = h->start;
	w = w >> (8 * (blanks & 7)) & 0xff;
	if (w == '=') {
		w = ht_load(h, data, end, h->pos);
		blanks = ht_blanks(w, '=');
		if (blanks > HT_BLANKS_MAX)
			return ht_head_stop(h, HT_REASON_BLANKS);
		h->pos += blanks;
		w = w >> (8 * (blanks & 7)) & 0xff;
	}
	h->name = h->pos;
	*ret_first = w;
	return 0;
}

/* The name ends at e: is it spelt out by a rule, or to be decided upon? */
HT_INLINE int ht_name_end(struct ht_head *h, const struct ht_policy *pol, const __u8 *data,
			  const __u8 *end, __u32 e)
{
	__u32 blanks = 0;
	__u64 i;

	if (e > h->name)
		blanks = ht_blanks_before(h, data, end, e);
	if (blanks > HT_BLANKS_MAX)
		return ht_head_stop(h, HT_REASON_BLANKS);
	h->cur = 0;
	h->name_len = 0;
	h->mode = HT_MODE_VALUE;
	if (e - blanks <= h->name)
		return 0;
	h->name_len = e - blanks - h->name;
	i = ht_name_find(h, pol, data, end, h->name, h->name_len);
	if (i) {
		const struct ht_name *n;

		i--;
		HT_BOUND(i, HT_NAMES_MAX - 1);
		n = &pol->name[i];
		h->form = n->form;
		h->base = n->base;
		h->cur = n->form ? HT_CUR_TOKEN : n->rule + 1; /* HT_RULE_NONE + 1 is 0 */
	} else if (ht_decides_on(pol, ht_load(h, data, end, h->name) & 0xff)) {
		h->form = h->pattern = 0;
		h->base = 0;
		h->mode = HT_MODE_MATCH;
	}
	return 0;
}

/* What the name is, but for __Host- or __Secure- and a token's prefix: h->base, h->form. */
HT_INLINE void ht_name_take_apart(struct ht_head *h, const struct ht_policy *pol, const __u8 *data,
				  const __u8 *end)
{
	const struct ht_token_prefix *a = &pol->sibling[0], *b = &pol->sibling[1];
	__u64 w = ht_load(h, data, end, h->name), v = ht_load(h, data, end, h->name + 8);
	__u64 host, secure, skip, is_a, is_b;

	/* a match is inside the name, since '=' and ';' and blanks match nothing */
	host = ht_is_zero((w ^ HT_W('_', '_', 'H', 'o', 's', 't', '-', 0)) & HT_LOW(7));
	secure = ht_is_zero((w ^ HT_W('_', '_', 'S', 'e', 'c', 'u', 'r', 'e')) |
			    ((v ^ '-') & 0xff));
	skip = 7 * host + 9 * secure;
	w = ht_load(h, data, end, h->name + skip);
	v = ht_load(h, data, end, h->name + skip + 8);
	is_a = ht_is_zero(((w ^ a->bytes[0]) & a->mask[0]) | ((v ^ a->bytes[1]) & a->mask[1]));
	is_b = ht_is_zero(((w ^ b->bytes[0]) & b->mask[0]) | ((v ^ b->bytes[1]) & b->mask[1]));
	is_a &= 1 ^ ht_is_zero(a->len);
	is_b &= 1 ^ ht_is_zero(b->len);
	is_b &= 1 ^ is_a; /* the longer prefix is the first */
	skip += is_a * a->len + is_b * b->len;
	HT_BOUND(skip, 31);
	h->form = (HT_FORM_PREFIX | a->cut) * is_a + (HT_FORM_PREFIX_2 | b->cut) * is_b;
	h->base = ht_base_print(ht_print_at(h, data, end, h->name + skip, h->name_len - skip),
				host + 2 * secure);
}

/* One step of the decision about a name that no rule spells out; the last one sets the mode. */
HT_INLINE void ht_name_match(struct ht_head *h, const struct ht_policy *pol, const __u8 *data,
			     const __u8 *end)
{
	const struct ht_pattern *p;
	__u64 i = h->pattern, off = 0;

	if (!i) {
		ht_name_take_apart(h, pol, data, end);
		if (h->form) {
			h->cur = HT_CUR_TOKEN;
			h->mode = HT_MODE_VALUE;
			return;
		}
	}
	if (i < pol->npatterns) {
		HT_BOUND(i, HT_PATTERNS_MAX - 1);
		p = &pol->pattern[i];
		off |= (ht_load(h, data, end, h->name) ^ p->bytes[0]) & p->mask[0];
		off |= (ht_load(h, data, end, h->name + 8) ^ p->bytes[1]) & p->mask[1];
		off |= (ht_load(h, data, end, h->name + 16) ^ p->bytes[2]) & p->mask[2];
		off |= (ht_load(h, data, end, h->name + 24) ^ p->bytes[3]) & p->mask[3];
		if (!off && p->rule != HT_RULE_NONE) {
			h->cur = p->rule + 1;
			h->mode = HT_MODE_VALUE;
			return;
		}
		h->pattern = off ? i + 1 : p->next;
	}
	if (h->pattern >= pol->npatterns)
		h->mode = HT_MODE_VALUE;
}

#define HT_SEEN_TRIES 4

/* The entry of h->base + 1, a new one if need be; 0 when there are too many. */
HT_INLINE __u32 ht_seen_find(struct ht_head *h)
{
	__u64 base = h->base, n = h->nseen, like = 0, i;
	__u8 byte = (base * 0x9e3779b97f4a7c15ULL) >> 56;
	__u32 tries;

	for (i = 0; i < HT_SEEN_MAX / 8 && 8 * i < n; i++)
		like |= ht_equal_bytes(h->print[i], byte) << (8 * i);
	HT_FORGET(like, base);
	HT_FORGET(n, base);
	HT_BOUND(n, HT_SEEN_MAX * 2 - 1);
	like &= (1ULL << n) - 1;
	for (tries = 0; tries < HT_SEEN_TRIES && like; tries++) {
		HT_FORGET(like, base);
		i = ht_bits((like & -like) - 1);
		HT_BOUND(i, HT_SEEN_MAX - 1);
		if (h->seen[i].base == base)
			return i + 1;
		like &= like - 1;
	}
	if (n >= HT_SEEN_MAX || like)
		return 0;
	HT_BOUND(n, HT_SEEN_MAX - 1);
	((__u8 *)h->print)[n] = byte;
	h->seen[n] = (struct ht_seen){.base = base};
	h->nseen = n + 1;
	return n + 1;
}

/* The pair that ends at e, less the blanks around its value. */
HT_INLINE int ht_pair_trim(struct ht_head *h, const __u8 *data, const __u8 *end, __u32 e,
			   __u32 *ret_val, __u32 *ret_tail)
{
	__u32 val = h->val, tail = e, blanks;

	if (val < tail) {
		blanks = ht_blanks(ht_load(h, data, end, val), ' ');
		if (blanks > HT_BLANKS_MAX)
			return ht_head_stop(h, HT_REASON_BLANKS);
		val += blanks;
	}
	if (val < tail) {
		blanks = ht_blanks_before(h, data, end, tail);
		if (blanks > HT_BLANKS_MAX)
			return ht_head_stop(h, HT_REASON_BLANKS);
		tail -= blanks;
	}
	val = val > tail ? tail : val;
	HT_FORGET(val, h->size);
	HT_FORGET(tail, h->size);
	*ret_val = val;
	*ret_tail = tail;
	return 0;
}

/* Occurrence n belongs to the entry: a value of that rule, or a token of that form. */
HT_INLINE int ht_seen_note(struct ht_head *h, const struct ht_policy *pol, struct ht_seen *seen,
			   __u64 n)
{
	__u64 form = h->form & ~HT_FORM_CUT;

	if (!form) {
		if (h->nval >= pol->max_cookies)
			return ht_head_stop(h, HT_REASON_COOKIES);
		h->nval++;
		/* who can make a name that looks like another must not choose the other's rule */
		if (seen->value && seen->rule != h->cur - 1)
			return ht_head_stop(h, HT_REASON_COOKIES);
		if (seen->value)
			seen->twice |= 1;
		else
			seen->value = n + 1;
		seen->rule = h->cur - 1;
		return 0;
	}
	form--;
	HT_BOUND(form, HT_FORMS - 1);
	if (seen->token[form])
		seen->twice |= 2 << form;
	else
		seen->token[form] = n + 1;
	if (h->form & HT_FORM_CUT)
		h->doomed |= 1ULL << n;
	return 0;
}

/* A covered pair or a token ends at e: note where it is. */
HT_INLINE int ht_pair_note(struct ht_head *h, const struct ht_policy *pol, const __u8 *data,
			   const __u8 *end, __u32 e)
{
	__u64 n = h->nocc, i;
	__u32 val, tail;
	struct ht_occ *o;

	if (ht_pair_trim(h, data, end, e, &val, &tail))
		return 1;
	i = ht_seen_find(h);
	if (!i || n >= HT_OCC_MAX)
		return ht_head_stop(h, HT_REASON_COOKIES);
	i--;
	HT_BOUND(i, HT_SEEN_MAX - 1);
	HT_BOUND(n, HT_OCC_MAX - 1);
	o = &h->occ[n];
	o->line = h->line;
	o->sep = h->sep;
	o->start = h->start;
	o->end = e;
	o->next = 0;
	o->val = val;
	o->val_len = tail - val;
	o->name = h->name;
	o->name_len = h->name_len;
	o->seen = i;
	o->form = h->form & ~HT_FORM_CUT;
	h->open = n + 1;
	h->nocc = n + 1;
	return ht_seen_note(h, pol, &h->seen[i], n);
}

/* Could a line that begins with these bytes mean something to us, or be folded? */
HT_INLINE int ht_line_matters(__u64 w)
{
	/* a set of letters, by their low bits: most lines begin with none of them */
	__u64 first = 1ULL << ('c' & 31) | 1ULL << ('t' & 31) | 1ULL << ('u' & 31) | 1 | 1 << '\t';
	__u64 c = (w | HT_FOLD) & 0xffff, differs;

	if (!(first >> (w & 31) & 1))
		return 0;
	/* of 64 bits together: 0 if one of the factors is */
	differs = (c ^ ('c' | 'o' << 8)) * (c ^ ('t' | 'r' << 8)) * (c ^ ('u' | 'p' << 8)) *
		  ((c & 0xff) ^ ' ') * ((w & 0xff) ^ '\t');
	return !differs;
}

/*
 * Most lines of a head are none of our business: takes many at once, with the position in a register.
 * Stops in front of whatever else there is, and near the message's end, be that within a line;
 * skipping nothing is fine.
 */
HT_INLINE void ht_skip_lines(struct ht_head *h, const __u8 *data, const __u8 *end)
{
	__u64 pos = h->pos, line = pos, within = 0, w, n;
	const __u8 *p;
	__u32 i;

	for (i = 0; i < HT_SKIPS; i++) {
		HT_BOUND(pos, HT_OFF_MASK); /* one state for the verifier, not one a path */
		HT_BOUND(line, HT_OFF_MASK);
		HT_BOUND(within, 1);
		p = data + pos;
		if (p + 64 > end || (!within && ht_line_matters(*(const ht_word *)p)))
			break;
		HT_MEET(pos);
		n = ht_scan_words(p, HT_MODE_LINE);
		HT_MEET(n);
		pos += n;
		within = n >> 6;   /* not at a line's first byte */
		HT_OPAQUE(within); /* clang knows when it is 1, and would make a state of that */
		if (n == 64)
			continue;
		HT_BOUND(pos, HT_OFF_MASK);
		p = data + pos;
		if (p + 8 > end)
			break;
		w = *(const ht_word *)p;
		/* a line's end, and not the head's */
		if ((w & 0xffff) != ('\r' | '\n' << 8) || (w >> 16 & 0xff) == '\r')
			break;
		pos += 2;
		line = pos;
	}
	h->pos = pos;
	h->line = line;
}

/*
 * In a pair that is nobody's: goes on through those behind it that are nobody's, too, by the first
 * byte of their names, and stops in front of whatever else there is; skipping nothing is fine.
 */
HT_INLINE void ht_skip_pairs(struct ht_head *h, const struct ht_policy *pol, const __u8 *data,
			     const __u8 *end)
{
	__u64 pos = h->pos, w, n;
	const __u8 *p;
	__u32 i;

	for (i = 0; i < HT_SKIPS; i++) {
		HT_BOUND(pos, HT_OFF_MASK);
		p = data + pos;
		if (p + 64 > end)
			break;
		HT_MEET(pos);
		n = ht_scan_words(p, HT_MODE_VALUE);
		HT_MEET(n);
		pos += n;
		if (n == 64)
			continue;
		HT_BOUND(pos, HT_OFF_MASK);
		p = data + pos;
		if (p + 8 > end)
			break;
		w = *(const ht_word *)p;
		if ((w & 0xffff) != (';' | ' ' << 8) || !ht_is_nobodys(pol, w >> 16 & 0xff))
			break;
		pos += 3;
	}
	h->pos = pos;
}

/* ---- the parts of a step ---- */

/* At the first byte of a line. */
HT_INLINE int ht_part_line(struct ht_text *m, struct ht_head *h, const struct ht_policy *pol)
{
	HT_PART_BEGIN
	if (h->line)
		ht_skip_lines(h, data, end);
	if (h->pos == h->line)
		return ht_line_begin(h, pol, data, end);
	h->field = HT_FIELD_OTHER;
	return 0;
}

/* In a cookie's name, or before it. */
HT_INLINE int ht_part_name(struct ht_text *m, struct ht_head *h, const struct ht_policy *pol)
{
	HT_PART_BEGIN
	__u64 first, w;
	__u32 n, e;

	if (!h->name) {
		if (ht_pair_begin(h, data, end, &first))
			return 1;
		if (ht_is_nobodys(pol, first)) {
			h->cur = 0;
			h->mode = HT_MODE_VALUE;
			ht_skip_pairs(h, pol, data, end);
			return 0;
		}
	}
	n = ht_scan(h, data, end, h->pos, HT_MODE_NAME);
	e = h->pos + n;
	h->pos = e;
	if (n == 64)
		return 0;
	w = ht_load(h, data, end, e) & 0xff;
	if (w == '\t') {
		h->pos = e + 1;
		return 0;
	}
	h->val = e + (w == '=');
	h->pos = h->val;
	return ht_name_end(h, pol, data, end, e);
}

/* At a name's end, where no rule spells it out. */
HT_INLINE int ht_part_match(struct ht_text *m, struct ht_head *h, const struct ht_policy *pol)
{
	HT_PART_BEGIN
	ht_name_match(h, pol, data, end);
	return 0;
}

/* In a line that is none of our business or in a cookie's value: 1 at its end, the bytes *ret_w. */
HT_INLINE int ht_part_rest(struct ht_text *m, struct ht_head *h, __u64 *ret_w)
{
	HT_PART_BEGIN
	__u32 n, e;

	if (h->mode == HT_MODE_VALUE)
		n = ht_scan(h, data, end, h->pos, HT_MODE_VALUE);
	else
		n = ht_scan(h, data, end, h->pos, HT_MODE_LINE);
	e = h->pos + n;
	h->pos = e;
	if (n == 64)
		return 0;
	*ret_w = ht_load(h, data, end, e);
	if ((*ret_w & 0xff) != '\t')
		return 1;
	h->pos = e + 1; /* no end of anything */
	return 0;
}

/* At the end of a covered pair. */
HT_INLINE int ht_part_note(struct ht_text *m, struct ht_head *h, const struct ht_policy *pol)
{
	HT_PART_BEGIN
	return ht_pair_note(h, pol, data, end, h->pos);
}

/* At the end of a pair or of a line, the bytes w. */
HT_INLINE int ht_part_end(struct ht_text *m, struct ht_head *h, __u64 w)
{
	HT_PART_BEGIN

	if (h->mode == HT_MODE_LINE || (w & 0xff) != ';')
		return ht_line_end(h, data, end, h->pos, w);
	h->sep = h->pos;
	h->pos++;
	h->name = 0;
	h->mode = HT_MODE_NAME;
	return 0;
}

/*
 * One step of the scan; call it until it returns 1. Then h->reason is 0 and HT_HEAD_DONE set, or
 * the reason says what the scanner does not accept.
 */
HT_INLINE int ht_head_step(struct ht_text *m, struct ht_head *h, const struct ht_policy *pol)
{
	__u64 w;

	if (h->pos == h->line && ht_part_line(m, h, pol))
		return 1;
	if (h->mode == HT_MODE_NAME && ht_part_name(m, h, pol))
		return 1;
	if (h->mode == HT_MODE_MATCH)
		ht_part_match(m, h, pol);
	if (h->mode == HT_MODE_NAME || h->mode == HT_MODE_MATCH)
		return 0;
	if (!ht_part_rest(m, h, &w))
		return 0;
	if (h->cur && h->mode == HT_MODE_VALUE && ht_part_note(m, h, pol))
		return 1;
	return ht_part_end(m, h, w);
}

/* Before the first step. A message of fewer than 8 bytes is no head. */
HT_INLINE void ht_head_init(struct ht_head *h, const struct ht_text *m, __u32 size)
{
	const __u8 *p = m->data, *end = m->data_end;
	__u64 last = size - 8;
	__u32 i;

	HT_BOUND(last, HT_OFF_MASK);
	p += last;
	h->last = size >= 8 && p + 8 <= end ? *(const ht_word *)p : 0;
	h->size = size;
	h->pos = h->line = 0;
	h->name = h->name_len = h->val = h->start = h->sep = 0;
	h->length = h->base = h->doomed = h->opened = 0;
	h->mode = h->field = h->flags = h->reason = 0;
	h->nocc = h->nval = h->ncuts = h->nseen = 0;
	h->cur = h->form = h->pattern = h->open = 0;
	for (i = 0; i < HT_SEEN_MAX / 8; i++)
		h->print[i] = 0;
}

#endif
