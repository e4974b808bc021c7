/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What of a request head goes: the cookies that the scanner of head.h found and the judges doomed,
 * and what stands behind the plaintext in a sealed cookie's place, as ranges of bytes. Compiled into
 * the verdict program and into the daemon, so that both cut the same. It moves no bytes itself.
 */
#ifndef HT_CUT_H
#define HT_CUT_H

#include "head.h"

/* The next range, in front of those before it. */
HT_INLINE void ht_cut_add(struct ht_head *h, __u32 lo, __u32 hi)
{
	__u64 n = h->ncuts;

	HT_BOUND(n, HT_OCC_MAX - 1);
	h->cut[n].lo = lo;
	h->cut[n].hi = hi;
	h->ncuts = n + 1;
}

/* Closes the open run: its bytes, with the ';' before it or the whole field where it was last. */
HT_INLINE void ht_cut_close(struct ht_head *h)
{
	const struct ht_cut_run *r = &h->run;

	ht_cut_add(h,
		   !r->last ? r->lo
		   : r->sep ? r->sep
			    : r->line,
		   r->last && !r->sep ? r->hi + 2 : r->hi);
	h->run.open = 0;
}

/* An occurrence that goes opens a run, or makes the open one longer. */
HT_INLINE void ht_cut_take(struct ht_head *h, const struct ht_occ *o)
{
	if (!h->run.open) {
		h->run.open = 1;
		h->run.last = !o->next;
		h->run.hi = o->next ? o->next : o->end;
	}
	h->run.lo = o->start;
	h->run.sep = o->sep;
	h->run.line = o->line;
}

/*
 * Turns the occurrences in h->doomed, and the rest of the values in h->opened, into the byte ranges
 * to cut, last one first. Call it h->nocc + 1 times with k = 0, 1, ... after ht_cut_init(). What is
 * in both is doomed. Ranges may touch, never overlap.
 */
HT_INLINE void ht_cut_step(struct ht_head *h, __u32 k)
{
	__u64 i = h->nocc - 1 - k;
	const struct ht_occ *o;
	int out;

	if (k >= h->nocc) {
		if (h->run.open)
			ht_cut_close(h);
		return;
	}
	HT_BOUND(i, HT_OCC_MAX - 1);
	o = &h->occ[i];
	out = h->doomed >> i & 1;
	if (h->run.open && !(out && o->next == h->run.lo))
		ht_cut_close(h);
	if (out)
		ht_cut_take(h, o);
	else if ((h->opened >> i & 1) && o->kept < o->val_len)
		ht_cut_add(h, o->val + o->kept, o->val + o->val_len);
}

HT_INLINE void ht_cut_init(struct ht_head *h)
{
	h->ncuts = 0;
	h->run.open = 0;
}

#endif
