/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The guards that the weakened build of the gate can leave out, and the failures that it can
 * pretend, so that a test can show the attack each one closes. Never part of the product.
 */
#ifndef HT_WEAK_H
#define HT_WEAK_H

enum ht_weak {
	HT_WEAK_SEQ = 1 << 0,	      /* a slot's seq is not checked */
	HT_WEAK_SIZE = 1 << 1,	      /* heads may be larger than HT_HEAD_MAX */
	HT_WEAK_STATE = 1 << 2,	      /* a head may come before the body is complete */
	HT_WEAK_BODY = 1 << 3,	      /* bodies are not counted */
	HT_WEAK_TUNNEL = 1 << 4,      /* anything may become a tunnel */
	HT_WEAK_RECYCLED = 1 << 5,    /* the copy of the key is not compared */
	HT_WEAK_GENERATION = 1 << 6,  /* the entry's own generations are believed */
	HT_WEAK_POP = 1 << 7,	      /* a failed pop is ignored */
	HT_WEAK_PULL = 1 << 8,	      /* a failed pull is ignored */
	HT_WEAK_DISPLACE = 1 << 9,    /* sockets are admitted with BPF_ANY */
	HT_WEAK_ADMIT = 1 << 10,      /* sockets are called admitted even if that failed */
	HT_WEAK_UPGRADE = 1 << 11,    /* any Upgrade is passed */
	HT_WEAK_COOKIES = 1 << 12,    /* what follows the sixteenth covered cookie is not judged */
	HT_WEAK_CHUNK = 1 << 13,      /* the end of a chunked body is not compared */
	HT_WEAK_CUT = 1 << 14,	      /* each range is popped where it stands */
	HT_WEAK_SEALED_TAG = 1 << 15, /* copied plaintext is believed to be this cookie's */
	/* failures that are pretended */
	HT_FAIL_POP = 1 << 16,
	HT_FAIL_PULL = 1 << 17,
	HT_FAIL_SAME_KEY = 1 << 18, /* all sockets have one socket cookie */
	/* what the daemon's side leaves out */
	HT_WEAK_ATTACH = 1 << 24, /* the verdict program is not attached */
	HT_WEAK_FULL = 1 << 25,	  /* the sockhash has room for one */
	HT_WEAK_OPENED = 1 << 26, /* the digest of the last head's plaintext stays in the slot */
};

#ifdef __bpf__
struct weak_cut {
	struct sk_msg_md *msg;
	struct ht_head *head;
};

/* What cut_cookies() did before it moved what is kept: it leaves a message in many pieces. */
static long weak_cut_step(__u32 i, struct weak_cut *w)
{
	__u64 k = i;
	__u32 lo;

	HT_BOUND(k, HT_OCC_MAX - 1);
	lo = w->head->cut[k].lo;
	return bpf_msg_pop_data(w->msg, lo, w->head->cut[k].hi - lo, 0) != 0;
}

static __always_inline void weak_cut(struct sk_msg_md *msg, struct ht_head *head)
{
	struct weak_cut w = {msg, head};

	bpf_loop(head->ncuts, weak_cut_step, &w, 0);
}
#endif

#endif
