/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When the bans that were made end, so that how many are running can be said without looking at each
 * of them. Knows no sources. No lock, no clock: both are the caller's. For guard.c alone.
 */
#ifndef HT_GUARD_ENDS_H
#define HT_GUARD_ENDS_H

#include "util.h"

struct ht_guard_ends {
	uint64_t *at; /* a heap, the soonest first */
	size_t n, cap;
	size_t max; /* there are never more bans than that: who is one too many has made room */
};

/* What there is no memory for is not counted. */
void ht_guard_ends_add(struct ht_guard_ends *e, uint64_t until_ns);
/* One of those that end then, if there is one: its ban was lifted, or there is another. */
void ht_guard_ends_remove(struct ht_guard_ends *e, uint64_t until_ns);
/* How many are not over. */
size_t ht_guard_ends_count(struct ht_guard_ends *e, uint64_t now_ns);
void ht_guard_ends_clear(struct ht_guard_ends *e);

#endif
