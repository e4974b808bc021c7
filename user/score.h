/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who keeps forging: for each source the different forged cookies of the last while. Memory is
 * fixed; when it is full the source that has been quiet for longest is forgotten. Pure: the clock
 * is passed in, no lock (the guard has one), no log.
 */
#ifndef HT_SCORE_H
#define HT_SCORE_H

#include "abi.h"
#include "util.h"

#define HT_SCORE_FORGED_MAX 64 /* cookies that are told apart for one source */

/* A source: an address as 16 bytes, IPv4-mapped, less the bits beyond its prefix. */
struct ht_source_key {
	uint8_t addr[16];
};

struct ht_score;

struct ht_score_params {
	size_t sources;		 /* at a time; rounded up */
	uint32_t forged;	 /* different ones that make an offender: 1..HT_SCORE_FORGED_MAX */
	uint64_t per_ms;	 /* of the last so many milliseconds */
	struct ht_sip_keys keys; /* random (.key): nobody chooses whom he shares a place with */
};

/* The caller owns *ret. -ENOMEM, -EINVAL. */
int ht_score_new(const struct ht_score_params *p, struct ht_score **ret);
void ht_score_free(struct ht_score *s); /* NULL-safe */

/*
 * Another forged cookie of this source; `print` is a keyed hash of it. The same one again counts as
 * one, however often it comes, and is remembered for `per_ms` after it came last. Returns how many
 * different ones there are now. At `forged` of them the source begins anew, with none.
 */
uint32_t ht_score_add(struct ht_score *s, const struct ht_source_key *source, uint64_t print,
		      uint64_t now_ms);

/* Sources that had something to remember and were forgotten because there were too many. */
uint64_t ht_score_evicted(const struct ht_score *s);

size_t ht_score_bytes(const struct ht_score *s);

#endif
