// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The gate: a sockops program that admits the daemon's backend sockets, and an sk_msg program
 * through which every byte towards a backend passes. It judges each request head against the token
 * map, cuts the cookies that are invalid, opens those that are sealed, counts bodies down by its own
 * parse of the head, and lets nothing else out. What it does not understand never leaves.
 *
 * Refusing without breaking the connection is popping the whole message and passing it; SK_DROP is
 * for disagreements between the daemon and us, and is final. State lives in the socket's
 * storage: sk_msg programs are preemptible, per-CPU scratch is not safe.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "cut.h"
#include "digest.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline struct ht_counters *counters_here(void)
{
	__u32 only = 0;

	return bpf_map_lookup_elem(&counters, &only);
}

/* Atomic, since another thread's run may preempt ours on the same CPU. */
static __always_inline void count(__u64 *what, __u64 n)
{
	__sync_fetch_and_add(what, n);
}

/* ---- admission ---- */

SEC("sockops")
int admit(struct bpf_sock_ops *ops)
{
	struct ht_counters *counters = counters_here();
	struct ht_slot *slot;
	struct ht_sock *st;
	__u64 cookie;
	__u32 index;
	long err;

	if (ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB || !ops->sk || !counters)
		return 1;
	st = bpf_sk_storage_get(&socks, ops->sk, NULL, 0);
	if (!st)
		return 1; /* none of ours */
	index = st->slot;
	slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return 1;
	cookie = FAIL(SAME_KEY) ? 1 : bpf_get_socket_cookie(ops);
	/* BPF_ANY would leave a socket that it displaces ungated */
	err = bpf_sock_hash_update(ops, &gated, &cookie, WEAK(DISPLACE) ? BPF_ANY : BPF_NOEXIST);
	if (!err || WEAK(ADMIT))
		WRITE(slot->admitted, st->nonce);
	count(err ? &counters->not_admitted : &counters->admitted, 1);
	return 1;
}

/* ---- outcomes ---- */

static __always_inline void answer(struct run *r, enum ht_verdict verdict, __u64 reason)
{
	WRITE(r->slot->reason, reason);
	WRITE(r->slot->verdict, verdict);
	if (!reason)
		return;
	/* or clang tests reason - 1, and before 6.18 the verifier takes the index for unbounded */
	asm volatile("" : "+r"(reason));
	if (reason < HT_REASON_MAX)
		count(&r->counters->reason[reason], 1);
}

static __always_inline int pass(struct run *r)
{
	answer(r, HT_VERDICT_PASS, 0);
	return SK_PASS;
}

static __always_inline int drop(struct run *r, __u32 reason)
{
	r->st->state = HT_SOCK_DEAD;
	answer(r, HT_VERDICT_DROP, reason);
	return SK_DROP;
}

static __always_inline long pop(struct sk_msg_md *msg, __u32 at, __u32 n)
{
	long err = FAIL(POP) ? -1 : bpf_msg_pop_data(msg, at, n, 0);

	return WEAK(POP) ? 0 : err;
}

/* Makes the whole message readable in one piece. */
static __always_inline long pull(struct sk_msg_md *msg, __u32 size)
{
	long err;

	if (msg->data_end - msg->data >= size && !FAIL(PULL))
		return 0;
	err = FAIL(PULL) ? -1 : bpf_msg_pull_data(msg, 0, size, 0);
	return WEAK(PULL) ? 0 : err;
}

/* Nothing leaves, and the socket stays usable: the daemon decides. */
static __always_inline int withhold(struct run *r, enum ht_verdict verdict, __u32 reason)
{
	if (pop(r->msg, 0, r->msg->size))
		return drop(r, HT_REASON_POP);
	answer(r, verdict, reason);
	return SK_PASS;
}

/* ---- judging one cookie ---- */

enum finding { FOUND_HIT, FOUND_FORGED, FOUND_MISSING, FOUND_NOTHING, FOUND_TORN };

static __always_inline int expired(__u64 not_after_ns)
{
	return not_after_ns && bpf_ktime_get_boot_ns() >= not_after_ns;
}

/* Is it ours, not something else that the LRU recycled the element for meanwhile? */
static __always_inline int is_entry_of(const struct ht_token *t, const struct ht_token_key *key)
{
	return WEAK(RECYCLED) ||
	       !((READ(t->check_lo) ^ (__u32)key->lo) | (READ(t->check_hi) ^ (__u32)key->hi));
}

/*
 * The verdict of the map on occurrence `token` under st->key. The entry is fetched before the tag is
 * made, which needs nothing of it: among many sessions it comes from memory, and takes as long.
 */
static __always_inline enum finding look_up(struct run *r, __u32 token, __u64 *ret_not_after)
{
	struct ht_sock *st = r->st;
	struct ht_token_key key = st->key;
	struct ht_token *t = bpf_map_lookup_elem(&tokens, &key);
	__u64 not_after, tag, same, cuts;

	if (!t)
		return FOUND_NOTHING;
	token_tag(r->msg, st, token);
	tag = st->tag;
	if (!is_entry_of(t, &key))
		return FOUND_NOTHING;
	same = ht_is_zero(READ(t->tag[0]) ^ tag) | ht_is_zero(READ(t->tag[1]) ^ tag) |
	       ht_is_zero(READ(t->tag[2]) ^ tag) | ht_is_zero(READ(t->tag[3]) ^ tag);
	not_after = READ(t->not_after_ns);
	cuts = (READ(t->flags) & HT_TOKEN_CLOSED) & ht_is_zero(READ(t->key_gen) ^ st->key_gen) &
	       ht_is_zero(READ(t->global_gen) ^ st->global_gen);
	/* x86 keeps loads in order; what was read above was this entry's if it still is */
	barrier();
	if (!is_entry_of(t, &key) || expired(not_after))
		return FOUND_NOTHING;
	if (!same)
		return cuts ? FOUND_FORGED : FOUND_NOTHING;
	t->hits++;
	*ret_not_after = not_after;
	return FOUND_HIT;
}

static __always_inline __u64 renew(__u64 *what, __u64 is)
{
	__u64 was = *what;

	*what = is;
	return was ^ is;
}

/*
 * Did the value and the token of the pair (occurrences, the token's << 8) hit on this connection
 * before, under the same circumstances? What a hit says is a function of the bytes that are compared
 * here: rule, binding, generations, name, value and token; only time can end it, and is asked. So no
 * change of the policy, of a key or of the client needs to reach this memory. No dump of a map shows it
 * (who has CAP_BPF can ask for a socket's storage: inet_diag), and it is this socket's alone, whose lock
 * serializes us. What is compared is stored in passing, of no effect
 * until judge_token() sets its shape.
 */
__noinline int memo_hit(struct sk_msg_md *msg, struct ht_sock *st, const struct ht_rule *rule,
			__u32 pair)
{
	const __u8 *data = msg->data, *end = msg->data_end, *p;
	__u64 v = pair, t = pair >> 8, lo, hi, at, shape, diff;
	const struct ht_occ *value, *token;
	struct ht_memo *m;
	__u32 k, len;

	if (!st || !rule)
		return 0;
	st->memo_shape = 0;
	HT_BOUND(v, HT_OCC_MAX - 1);
	HT_BOUND(t, HT_OCC_MAX - 1);
	value = &st->head.occ[v];
	token = &st->head.occ[t];
	lo = value->name < token->val ? value->name : token->val;
	hi = value->val + value->val_len;
	at = token->val + token->val_len;
	hi = at > hi ? at : hi;
	len = hi - lo;
	if (len > HT_MEMO_TEXT || token->val_len < 8 || WEAK(GENERATION))
		return 0;
	shape = 1ULL << 63 | (value->name - lo) | (value->val - lo) << 8 | (token->val - lo) << 16 |
		(__u64)value->name_len << 24 | (__u64)value->val_len << 32 |
		(__u64)token->val_len << 40;
	at -= 8;
	HT_BOUND(at, HT_OFF_MASK);
	p = data + at;
	if (p + 8 > end)
		return 0;
	at = (*(const ht_word *)p * 0x9e3779b97f4a7c15ULL >> 32) * HT_MEMOS >> 32;
	HT_BOUND(at, 7); /* idle */
	m = &st->memo[at];
	asm volatile("" : "+r"(m)); /* one pointer, not one for each member */
	diff = renew(&m->shape, 0) ^ shape;
	diff |= renew(&m->rule, rule->id);
	diff |= renew(&m->bind[0], st->bind[0]);
	diff |= renew(&m->bind[1], st->bind[1]);
	diff |= renew(&m->gens, st->key_gen | (__u64)st->global_gen << 32);
	hi -= 8;
	HT_BOUND(hi, HT_OFF_MASK);
	p = data + hi;
	if (p + 8 > end)
		return 0;
	diff |= renew(&m->last, *(const ht_word *)p);
	HT_BOUND(lo, HT_OFF_MASK);
	p = data + lo;
	if (p + HT_MEMO_TEXT > end)
		return 0;
#pragma clang loop unroll(full)
	for (k = 0; k < HT_MEMO_TEXT / 8; k++) {
		if (8 * k + 8 > len)
			break;
		diff |= renew(&m->text[k], ((const ht_word *)p)[k]);
	}
	if (!diff && !expired(m->not_after_ns)) {
		m->shape = shape;
		return 1;
	}
	st->memo_shape = shape;
	st->memo_at = at;
	return 0;
}

static __always_inline enum finding judge_token(struct run *r, const struct ht_rule *rule,
						__u32 pair)
{
	struct ht_sock *st = r->st;
	__u64 not_after = 0, at;
	enum finding found;

	if (!circumstances(st, rule, r->slot, 0))
		return FOUND_NOTHING;
	if (memo_hit(r->msg, st, rule, pair)) {
		st->memo_hits++;
		return FOUND_HIT;
	}
	session_key(r->msg, st, rule, pair & (HT_OCC_MAX - 1));
	found = look_up(r, pair >> 8, &not_after);
	if (found == FOUND_HIT && st->memo_shape) {
		at = st->memo_at;
		HT_BOUND(at, 7);
		if (at >= HT_MEMOS)
			return FOUND_NOTHING;
		st->memo[at].not_after_ns = not_after;
		st->memo[at].shape = st->memo_shape;
	}
	return found;
}

enum opening { OPEN_UNKNOWN, OPEN_DONE, OPEN_TORN };

#define OPEN_WORDS 32

/* Words `from` to `from` + 31 of `len` bytes of plaintext, to `off` in the message and into `s`. */
static __always_inline int open_words(struct sk_msg_md *msg, const struct ht_sealed *e, __u64 off,
				      __u32 len, __u64 from, struct ht_sip *s)
{
	const __u8 *data = msg->data, *end = msg->data_end;
	__u64 at, w;
	__u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < OPEN_WORDS && 8 * (from + i) < len; i++) {
		w = READ(e->text[from + i]);
		at = off + 8 * (from + i);
		HT_BOUND(at, HT_OFF_MASK);
		if (data + at + 8 > end)
			return 0;
		*(ht_word *)(data + at) = w;
		ht_sip_word(s, w);
	}
	HT_MEET(s->v1);
	return 1;
}

/* The same of what is longer. Global: the verifier looks at it once, and not at each word there may be. */
__noinline int open_more(struct sk_msg_md *msg, struct ht_sock *st, const struct ht_sealed *e,
			 __u32 i)
{
	__u64 from = i;
	struct ht_sip s;

	if (!st || !e)
		return 0;
	HT_BOUND(from, HT_SEALED_MAX / 8 - OPEN_WORDS);
	s = st->sip;
	if (!open_words(msg, e, st->sip_off, st->sip_len, from, &s))
		return 0;
	st->sip = s;
	return 1;
}

/*
 * Puts the plaintext that stands under st->key in the place of occurrence `which` & 63, which is longer.
 * The LRU may recycle the element at any moment: what counts is the tag of the very words that were
 * copied. If that is wrong, what was scribbled over must not leave.
 */
__noinline int open_value(struct sk_msg_md *msg, struct ht_sock *st, __u32 which)
{
	__u64 v = which, not_after, tag;
	const struct ht_sealed *e;
	struct ht_token_key key;
	struct ht_occ *value;
	struct ht_sip s;
	__u32 len, i;

	if (!st)
		return OPEN_UNKNOWN;
	key = st->key; /* before 6.2 what a global function was given can't be a map's key itself */
	e = bpf_map_lookup_elem(&sealed, &key);
	if (!e)
		return OPEN_UNKNOWN;
	HT_BOUND(v, HT_OCC_MAX - 1);
	value = &st->head.occ[v];
	tag = READ(e->tag);
	not_after = READ(e->not_after_ns);
	len = READ(e->len);
	/* whole words are written: the last one must not reach beyond the value */
	if (len > HT_SEALED_MAX || len + 8 > value->val_len || expired(not_after))
		return OPEN_UNKNOWN;
	tag_begin(&s, st);
	ht_sip_word(&s, not_after);
	ht_sip_word(&s, len);
	HT_MEET(s.v1);
	if (!open_words(msg, e, value->val, len, 0, &s))
		return OPEN_TORN;
	if (len > 8 * OPEN_WORDS) {
		st->sip = s;
		st->sip_off = value->val;
		st->sip_len = len;
		for (i = OPEN_WORDS; i < HT_SEALED_MAX / 8 && 8 * i < len; i += OPEN_WORDS) {
			if (!open_more(msg, st, e, i))
				return OPEN_TORN;
		}
		s = st->sip;
	}
	if (tag_end(&s) != tag && !WEAK(SEALED_TAG))
		return OPEN_TORN;
	value->kept = len;
	return OPEN_DONE;
}

/*
 * Judges occurrence `v`, a sealed cookie whose plaintext the map may hold, or plaintext that the
 * daemon has put there. No memo: there is no token to remember.
 */
static __always_inline enum finding judge_sealed(struct run *r, const struct ht_rule *rule, __u32 v)
{
	struct ht_sock *st = r->st;
	__u64 bit = v, not_after;

	if (circumstances(st, rule, r->slot, 0)) {
		int opening;

		session_key(r->msg, st, rule, v);
		opening = open_value(r->msg, st, v);
		if (opening == OPEN_DONE) {
			HT_BOUND(bit, HT_OCC_MAX - 1);
			st->head.opened |= 1ULL << bit;
			return FOUND_HIT;
		}
		if (opening == OPEN_TORN)
			return FOUND_TORN;
	}
	if (!circumstances(st, rule, r->slot, 1))
		return FOUND_NOTHING;
	session_key(r->msg, st, rule, v);
	return look_up(r, v, &not_after) == FOUND_HIT ? FOUND_HIT : FOUND_NOTHING;
}

/*
 * The token to judge by: the rule's own if it is there, else another that the rule accepts; 0 if
 * there is none. `ret_choice`: there are others, so that this one being wrong settles nothing.
 */
static __always_inline __u64 choose_token(const struct ht_seen *seen, const struct ht_rule *rule,
					  int *ret_choice)
{
	__u64 own = rule->form - 1, chosen, n = 0, other = 0;
	__u32 f;

	HT_BOUND(own, HT_FORMS - 1);
	chosen = seen->token[own];
	for (f = 0; f < HT_FORMS; f++) {
		__u64 t = seen->token[f] & -(rule->forms >> f & 1);
		__u64 is = 1 ^ ht_is_zero(t);

		other |= t & -ht_is_zero(other);
		n += is;
	}
	*ret_choice = n > 1;
	return chosen | (other & -ht_is_zero(chosen));
}

/*
 * Of a report-only rule a cookie passes that we know nothing of; but who could open a sealed one, the
 * daemon, must have seen it.
 */
static __always_inline int may_stay_unknown(const struct run *r, const struct ht_rule *rule)
{
	const __u64 *opened = r->slot->bind[HT_BIND_OPENED];

	if (!(rule->flags & HT_RULE_REPORT))
		return 0;
	return !(rule->flags & HT_RULE_SEALED) || (READ(opened[0]) | READ(opened[1]));
}

static __always_inline void judge_seen(struct run *r, __u32 i, const struct ht_seen *seen)
{
	struct ht_sock *st = r->st;
	const struct ht_rule *rule;
	__u64 index = seen->rule, v = seen->value - 1, t;
	enum finding found = FOUND_NOTHING;
	__u32 bit = 1U << (i & (HT_SEEN_MAX - 1));
	int choice;

	HT_BOUND(index, HT_RULES_MAX - 1);
	HT_BOUND(v, HT_OCC_MAX - 1);
	rule = &r->pol->rule[index];
	r->slot->rule[i & (HT_COOKIES_MAX - 1)] = index;
	t = choose_token(seen, rule, &choice);
	/* a session id has none beside it: it is its own */
	t |= seen->value & -(ht_is_zero(t) & (rule->flags / HT_RULE_SELF & 1));
	if (seen->twice & (1 | rule->forms << 1)) {
		found = FOUND_NOTHING;
	} else if (!t || !st->head.occ[v].val_len) {
		if (!t && st->head.occ[v].val_len && rule->grace_until_ns &&
		    !expired(rule->grace_until_ns)) {
			st->unknown |= bit; /* of before the rollout: it passes, and is signed */
			return;
		}
		found = rule->flags & HT_RULE_MISSING_CUTS ? FOUND_MISSING : FOUND_NOTHING;
	} else if (t == seen->value && (rule->flags & HT_RULE_SEALED)) {
		found = judge_sealed(r, rule, v);
	} else {
		found = judge_token(r, rule, v | (t - 1) << 8);
		if (found == FOUND_FORGED && choice)
			found = FOUND_NOTHING;
	}
	switch (found) {
	case FOUND_HIT:
		st->hit |= bit;
		return;
	case FOUND_FORGED:
		st->forged |= bit;
		break;
	case FOUND_MISSING:
		st->missing |= bit;
		break;
	case FOUND_TORN:
		count(&r->counters->torn, 1);
		st->miss |= bit;
		return;
	case FOUND_NOTHING:
		if (may_stay_unknown(r, rule))
			st->unknown |= bit;
		else
			st->miss |= bit;
		return;
	}
	if (!(rule->flags & HT_RULE_REPORT))
		st->head.doomed |= 1ULL << v;
}

static long judge_step(__u32 i, struct run *r)
{
	__u64 k = i;
	const struct ht_seen *seen;

	HT_BOUND(k, HT_SEEN_MAX - 1);
	seen = &r->st->head.seen[k];
	if (seen->value)
		judge_seen(r, k, seen);
	return 0;
}

/* ---- one head ---- */

static long scan_step(__u32 i, struct run *r)
{
	return ht_head_step(r->msg, &r->st->head, r->pol) ? 1 : 0;
}

static long cut_step(__u32 i, struct run *r)
{
	ht_cut_step(&r->st->head, i);
	return 0;
}

/* What stands before the cut of index st->cut, up to the one before that. 1 when all is moved. */
static __always_inline long next_range(struct ht_sock *st)
{
	__u64 k = st->cut, lower = st->cut + 1;

	if (k >= st->head.ncuts)
		return 1;
	HT_BOUND(k, HT_OCC_MAX - 1);
	HT_BOUND(lower, HT_OCC_MAX - 1);
	st->move_from = st->head.cut[k].lo;
	st->move_len = st->move_from - (k + 1 < st->head.ncuts ? st->head.cut[lower].hi : 0);
	st->cut = k + 1;
	return 0;
}

/*
 * Moves up to 64 bytes of what is kept towards the end of the message, the last ones first, then
 * goes on with what stands before the next cut. Cutting each range by itself would cost a helper
 * call each; and taken from the front, the kernel needs to split nothing.
 */
static long move_step(__u32 i, struct run *r)
{
	struct ht_sock *st = r->st;
	const __u8 *data = r->msg->data, *end = r->msg->data_end;
	__u64 from, to;
	__u32 k;

	for (k = 0; k < 8 && st->move_len >= 8; k++) {
		from = st->move_from - 8;
		to = st->move_to - 8;
		HT_BOUND(from, HT_OFF_MASK);
		HT_BOUND(to, HT_OFF_MASK);
		if (data + from + 8 > end || data + to + 8 > end)
			return 1;
		*(ht_word *)(data + to) = *(const ht_word *)(data + from);
		st->move_from -= 8;
		st->move_to -= 8;
		st->move_len -= 8;
	}
	if (st->move_len >= 8)
		return 0;
	for (k = 0; k < 7 && st->move_len; k++) {
		from = st->move_from - 1;
		to = st->move_to - 1;
		HT_BOUND(from, HT_OFF_MASK);
		HT_BOUND(to, HT_OFF_MASK);
		if (data + from + 1 > end || data + to + 1 > end)
			return 1;
		*(__u8 *)(data + to) = data[from];
		st->move_from--;
		st->move_to--;
		st->move_len--;
	}
	return next_range(st);
}

/* Cuts what is doomed, and what stands behind plaintext. Returns 0 or a reason. */
static __always_inline __u32 cut_cookies(struct run *r)
{
	struct ht_sock *st = r->st;

	if (!(st->head.doomed | st->head.opened))
		return 0;
	ht_cut_init(&st->head);
	bpf_loop(st->head.nocc + 1, cut_step, r, 0);
#ifdef HT_WEAK
	if (WEAK(CUT)) {
		weak_cut(r->msg, &st->head);
		return 0;
	}
#endif
	st->cut = 0;
	st->move_to = st->head.cut[0].hi;
	next_range(st);
	bpf_loop(HT_HEAD_MAX / 64 + 2 * HT_OCC_MAX, move_step, r, 0);
	/* everything is where it belongs, or nothing leaves */
	if (st->move_from || st->move_len || pop(r->msg, 0, st->move_to))
		return HT_REASON_POP;
	r->slot->cut = st->move_to;
	return 0;
}

/* What may follow the head that passes now. */
static __always_inline void expect_body(struct ht_sock *st)
{
	const struct ht_head *h = &st->head;

	st->upgrade = 0;
	st->first_chunk = 1;
	st->left = 0;
	if (h->flags & HT_HEAD_CHUNKED) {
		st->state = HT_SOCK_CHUNK_LINE;
	} else if (h->length) {
		st->state = HT_SOCK_BODY;
		st->left = h->length;
	} else {
		st->state = HT_SOCK_HEAD;
		st->upgrade = (h->flags & HT_HEAD_GET) && (h->flags & HT_HEAD_CONN_UPGRADE) &&
			      (h->flags & HT_HEAD_UPGRADE);
	}
}

static __always_inline int judge_head(struct run *r, __u32 size, __u64 seq)
{
	struct ht_sock *st = r->st;
	struct ht_slot *slot = r->slot;
	__u32 index = READ(slot->policy), reason;

	if (seq <= st->seq && !WEAK(SEQ))
		return drop(r, HT_REASON_STALE);
	st->seq = seq;
	WRITE(slot->judged, seq);
	slot->counts[HT_COUNT_HEADS]++;
	if (size > HT_HEAD_MAX && !WEAK(SIZE))
		return drop(r, HT_REASON_TOO_LONG);
	r->pol = bpf_map_lookup_elem(&policy, &index);
	if (!r->pol)
		return drop(r, HT_REASON_POLICY);
	if (pull(r->msg, size))
		return drop(r, HT_REASON_PULL);

	ht_head_init(&st->head, r->msg, size);
	st->hit = st->forged = st->missing = st->unknown = st->miss = st->memo_hits = 0;
	if (size < 8)
		return withhold(r, HT_VERDICT_REFUSED, HT_REASON_INCOMPLETE);
	bpf_loop(HT_STEPS_MAX, scan_step, r, 0);
	if (WEAK(UPGRADE) && st->head.reason == HT_REASON_UPGRADE)
		return SK_PASS;
	if (WEAK(COOKIES) && st->head.reason == HT_REASON_COOKIES)
		return SK_PASS;
	if (st->head.reason)
		return withhold(r, HT_VERDICT_REFUSED, st->head.reason);
	if (!(st->head.flags & HT_HEAD_DONE))
		return withhold(r, HT_VERDICT_REFUSED, HT_REASON_STEPS);

	if (st->head.nval)
		bpf_loop(st->head.nseen, judge_step, r, 0);
	slot->hit = st->hit;
	slot->forged = st->forged;
	slot->missing = st->missing;
	slot->unknown = st->unknown;
	slot->cut = 0;
	if (st->miss) {
		count(&r->counters->miss, 1);
		return withhold(r, HT_VERDICT_MISS, 0);
	}
	reason = cut_cookies(r);
	if (reason)
		return drop(r, reason);
	if (st->hit)
		slot->counts[HT_COUNT_HIT] += ht_bits(st->hit);
	slot->counts[HT_COUNT_MEMO] += st->memo_hits;
	if (st->forged)
		count(&r->counters->forged, ht_bits(st->forged));
	if (st->missing)
		count(&r->counters->missing, ht_bits(st->missing));
	if (st->unknown)
		count(&r->counters->report, ht_bits(st->unknown));
	if (st->head.opened)
		count(&r->counters->opened, ht_bits(st->head.opened));
	expect_body(st);
	return pass(r);
}

/* ---- what follows a head ---- */

static __always_inline int count_body(struct run *r, __u32 size)
{
	struct ht_sock *st = r->st;

	if (st->state != HT_SOCK_BODY && st->state != HT_SOCK_CHUNK)
		return drop(r, HT_REASON_KIND);
	if (size > st->left && !WEAK(BODY))
		return drop(r, HT_REASON_BODY);
	st->left -= size;
	if (!st->left)
		st->state = st->state == HT_SOCK_BODY ? HT_SOCK_HEAD : HT_SOCK_CHUNK_LINE;
	return pass(r);
}

/*
 * [CRLF] HEX CRLF in a message of its own, at most 16 digits, no blanks, no extensions. `last`:
 * [CRLF] "0" CRLF CRLF; whatever a trailer could smuggle stays behind.
 */
static __always_inline int read_chunk_line(struct run *r, __u32 size, int last)
{
	struct ht_sock *st = r->st;
	__u32 wrong = last ? HT_REASON_END : HT_REASON_CHUNK, i;
	const __u8 *p, *end;
	__u64 n = 0;

	if (st->state != HT_SOCK_CHUNK_LINE)
		return drop(r, HT_REASON_KIND);
	if (last && WEAK(CHUNK))
		return pass(r);
	if (size > 20)
		return drop(r, wrong);
	if (pull(r->msg, size))
		return drop(r, HT_REASON_PULL);
	p = r->msg->data;
	end = r->msg->data_end;
	if (!st->first_chunk) {
		if (p + 2 > end || p[0] != '\r' || p[1] != '\n')
			return drop(r, wrong);
		p += 2;
		size -= 2;
	}
	if (last) {
		if (size != 5 || p + 5 > end || p[0] != '0' || p[1] != '\r' || p[2] != '\n' ||
		    p[3] != '\r' || p[4] != '\n')
			return drop(r, wrong);
		st->state = HT_SOCK_HEAD;
		return pass(r);
	}
	if (size < 3)
		return drop(r, wrong);
	for (i = 0; i < 18; i++) {
		__u64 c;

		if (p + i + 1 > end)
			return drop(r, wrong);
		c = p[i];
		if (c == '\r')
			break;
		if (c >= '0' && c <= '9')
			c -= '0';
		else if (c >= 'a' && c <= 'f')
			c -= 'a' - 10;
		else
			return drop(r, wrong);
		HT_BOUND(c, 15); /* idle: one state for the verifier */
		HT_MEET(c);
		if (n >> 59)
			return drop(r, wrong);
		n = n << 4 | c;
	}
	if (i + 2 != size || p + i + 2 > end || p[i + 1] != '\n' || !n)
		return drop(r, wrong);
	st->left = n;
	st->first_chunk = 0;
	st->state = HT_SOCK_CHUNK;
	return pass(r);
}

/* After a 101 to an upgrade that we passed ourselves, once, and never back. */
static __always_inline int tunnel(struct run *r)
{
	struct ht_sock *st = r->st;

	if (st->state == HT_SOCK_TUNNEL)
		return pass(r);
	if ((st->state != HT_SOCK_HEAD || !st->upgrade) && !WEAK(TUNNEL))
		return drop(r, HT_REASON_TUNNEL);
	st->state = HT_SOCK_TUNNEL;
	return pass(r);
}

SEC("sk_msg")
int verdict(struct sk_msg_md *msg)
{
	struct run r = {.msg = msg};
	__u32 index, size = msg->size;
	__u64 seq;

	r.counters = counters_here();
	if (!r.counters || !msg->sk)
		return SK_DROP;
	r.st = bpf_sk_storage_get(&socks, msg->sk, NULL, 0);
	if (!r.st)
		return SK_DROP;
	index = r.st->slot;
	r.slot = bpf_map_lookup_elem(&slots, &index);
	if (!r.slot) {
		count(&r.counters->runs, 1);
		count(&r.counters->reason[HT_REASON_SLOT], 1);
		return SK_DROP;
	}
	r.slot->counts[HT_COUNT_RUNS]++;
	seq = READ(r.slot->seq);
	switch (READ(r.slot->kind)) {
	case HT_KIND_HEAD:
		if (r.st->state != HT_SOCK_HEAD && !WEAK(STATE))
			break;
		return judge_head(&r, size, seq);
	case HT_KIND_BODY:
		return count_body(&r, size);
	case HT_KIND_CHUNK:
		return read_chunk_line(&r, size, 0);
	case HT_KIND_END:
		return read_chunk_line(&r, size, 1);
	case HT_KIND_TUNNEL:
		return tunnel(&r);
	}
	return drop(&r, HT_REASON_KIND);
}
