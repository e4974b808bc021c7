/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head scanner against itself: as it is, and without what it passes over at once. Include it
 * before anything that includes head.h; for one file of a program.
 */
#ifndef HT_TEST_SCAN_H
#define HT_TEST_SCAN_H

/* How much it passes over at once, in the file that includes this. */
static unsigned scan_skips;
#define HT_SKIPS scan_skips

#include <string.h>

#include "head.h"

/* Returns the reason, -1 if it does not come to an end. */
static inline int scan_by(const struct ht_policy *p, unsigned skips, const char *head, size_t len,
			  struct ht_head *h)
{
	struct ht_text t = {(const __u8 *)head, (const __u8 *)head + len};
	size_t steps = 0;

	scan_skips = skips;
	memset(h, 0, sizeof(*h));
	ht_head_init(h, &t, (__u32)len);
	while (!ht_head_step(&t, h, p)) {
		if (++steps >= HT_STEPS_MAX)
			return -1;
	}
	return !h->reason == !!(h->flags & HT_HEAD_DONE) ? h->reason : -1;
}

/* Have both found the same? */
static inline int scan_same(const struct ht_head *a, const struct ht_head *b)
{
	if (a->reason || b->reason)
		return a->reason == b->reason;
	return a->flags == b->flags && a->length == b->length && a->nocc == b->nocc &&
	       a->nval == b->nval && a->nseen == b->nseen && a->doomed == b->doomed &&
	       !memcmp(a->occ, b->occ, a->nocc * sizeof(*a->occ)) &&
	       !memcmp(a->seen, b->seen, a->nseen * sizeof(*a->seen));
}

/*
 * Scans the head into `h`, and is true if nothing was passed over in which something would have been
 * found: but for too many blanks in a cookie that is nobody's.
 */
static inline int scan_agrees(const struct ht_policy *p, const char *head, size_t len,
			      struct ht_head *h)
{
	static struct ht_policy closer;
	static struct ht_head other;

	if (scan_by(p, 0, head, len, &other) < 0 || scan_by(p, 16, head, len, h) < 0 ||
	    !scan_same(h, &other))
		return 0;
	closer = *p;
	memset(closer.nobodys, 0, sizeof(closer.nobodys));
	return scan_by(&closer, 0, head, len, &other) == HT_REASON_BLANKS || scan_same(h, &other);
}

#endif
