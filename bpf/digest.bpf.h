/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Digests of what stands in a message: the map key of a cookie, the tag of its token (the end of abi.h
 * has what goes into them). Judges nothing, and leaves the message as it is.
 */
#ifndef HT_DIGEST_BPF_H
#define HT_DIGEST_BPF_H

#include "run.bpf.h"

/* As ht_load(), but of what stands there now: that may be plaintext which the scanner never saw. */
static __always_inline __u64 load_now(const struct ht_head *h, const struct sk_msg_md *msg,
				      __u32 off)
{
	const __u8 *data = msg->data, *end = msg->data_end;
	__u64 o = off, last = h->size - 8;

	HT_BOUND(o, HT_OFF_MASK);
	if (data + o + 8 <= end)
		return *(const ht_word *)(data + o);
	HT_BOUND(last, HT_OFF_MASK);
	if (data + last + 8 > end || o < last || o - last >= 8)
		return 0;
	return *(const ht_word *)(data + last) >> (8 * ((o - last) & 7));
}

/* Whole words of up to 64 bytes at st->sip_off into the hash. */
static long sip_step(__u32 i, struct run *r)
{
	struct ht_sock *st = r->st;
	__u32 off = st->sip_off, len = st->sip_len, k;
	struct ht_sip s = st->sip;
	__u64 w;

	for (k = 0; k < 8 && len >= 8; k++) {
		w = load_now(&st->head, r->msg, off);
		HT_MEET(w);
		ht_sip_word(&s, w);
		off += 8;
		len -= 8;
	}
	st->sip = s;
	st->sip_off = off;
	st->sip_len = len;
	return len < 8;
}

/* What is long or near the message's end, into st->sip. Global: the verifier looks at it once. */
__noinline int sip_long(struct sk_msg_md *msg, struct ht_sock *st, __u32 off, __u32 len)
{
	struct run r = {.msg = msg, .st = st};
	__u64 tail;

	if (!st)
		return 0;
	st->sip_off = off;
	st->sip_len = len;
	bpf_loop(HT_HEAD_MAX / 64, sip_step, &r, 0);
	len = st->sip_len & 7;
	if (!len)
		return 0;
	tail = load_now(&st->head, msg, st->sip_off);
	ht_sip_word(&st->sip, tail & ((1ULL << (8 * len)) - 1));
	return 0;
}

/* The bytes [off, off + len) as words, the last one filled with zeros. */
static __always_inline void sip_text(struct ht_sip *s, struct sk_msg_md *msg, struct ht_sock *st,
				     __u32 off, __u32 len)
{
	const __u8 *p = msg->data, *end = msg->data_end;
	__u64 o = off;
	__u32 k;

	HT_BOUND(o, HT_OFF_MASK);
	p += o;
	if (len > 64 || p + 64 > end) {
		st->sip = *s;
		sip_long(msg, st, off, len);
		*s = st->sip;
		return;
	}
	for (k = 0; k < 8 && 8 * k + 8 <= len; k++)
		ht_sip_word(s, ((const ht_word *)p)[k]);
	HT_MEET(len);
	if (!(len & 7))
		return;
	p += len & 56;
	if (p + 8 <= end)
		ht_sip_word(s, *(const ht_word *)p & ((1ULL << (8 * (len & 7))) - 1));
}

static __always_inline __u32 generation(__u32 index)
{
	__u32 *g = bpf_map_lookup_elem(&gens, &index);

	return g ? READ(*g) : 0;
}

/*
 * Whose cookie it is and what must not have changed since it was pushed, into `st`: the client's
 * binding, or with `opened` HT_BIND_OPENED, and the generations. 0 if he has no such binding: on-empty
 * is the daemon's business. Each is read once, here.
 */
static __always_inline int circumstances(struct ht_sock *st, const struct ht_rule *rule,
					 const struct ht_slot *slot, int opened)
{
	__u64 bind = rule->bind;

	HT_BOUND(bind, HT_BINDS_MAX - 1);
	if (opened)
		bind = HT_BIND_OPENED;
	st->bind[0] = READ(slot->bind[bind][0]);
	st->bind[1] = READ(slot->bind[bind][1]);
	st->key_gen = generation(rule->key);
	st->global_gen = generation(HT_GLOBAL_GEN);
	return !!(st->bind[0] | st->bind[1]);
}

/* The map key of occurrence `which` & 63 under these circumstances, into st->key. */
__noinline int session_key(struct sk_msg_md *msg, struct ht_sock *st, const struct ht_rule *rule,
			   __u32 which)
{
	const struct ht_occ *value;
	__u64 v = which;
	struct ht_sip s;

	if (!st || !rule)
		return 0;
	HT_BOUND(v, HT_OCC_MAX - 1);
	value = &st->head.occ[v];

	ht_sip_init(&s, st->keys.key, 1);
	ht_sip_word(&s, rule->id);
	ht_sip_word(&s, st->bind[0]);
	ht_sip_word(&s, st->bind[1]);
	ht_sip_word(&s, value->name_len | (__u64)value->val_len << 32);
	sip_text(&s, msg, st, value->name, value->name_len);
	sip_text(&s, msg, st, value->val, value->val_len);
	st->key.lo = ht_sip_final(&s, 1);
	st->key.hi = ht_sip_final_hi(&s);
	if (WEAK(GENERATION)) {
		struct ht_token_key key = st->key;
		const struct ht_token *e = bpf_map_lookup_elem(&tokens, &key);

		st->key_gen = e ? e->key_gen : st->key_gen;
		st->global_gen = e ? e->global_gen : st->global_gen;
	}
	return 1;
}

/* What every tag begins with. */
static __always_inline void tag_begin(struct ht_sip *s, const struct ht_sock *st)
{
	ht_sip_init(s, st->keys.tag, 0);
	ht_sip_word(s, st->key.lo);
	ht_sip_word(s, st->key.hi);
	ht_sip_word(s, st->key_gen | (__u64)st->global_gen << 32);
}

static __always_inline __u64 tag_end(struct ht_sip *s)
{
	__u64 tag = ht_sip_final(s, 0);

	return tag | ht_is_zero(tag); /* 0 marks an unused tag */
}

/* The tag of the token in occurrence `t` & 63 for st->key, into st->tag. */
__noinline int token_tag(struct sk_msg_md *msg, struct ht_sock *st, __u32 which)
{
	const struct ht_occ *token;
	__u64 t = which;
	struct ht_sip s;

	if (!st)
		return 0;
	HT_BOUND(t, HT_OCC_MAX - 1);
	token = &st->head.occ[t];
	tag_begin(&s, st);
	ht_sip_word(&s, token->val_len);
	sip_text(&s, msg, st, token->val, token->val_len);
	st->tag = tag_end(&s);
	return 1;
}

#endif
