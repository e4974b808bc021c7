/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys under which TLS session tickets are sealed: a current one and the one before it, made
 * at random, replaced every twelve hours, in memory that is neither swapped nor dumped. They never
 * leave the process. No TLS in here, no clock, no logging.
 */
#ifndef HT_TICKET_H
#define HT_TICKET_H

#include "util.h"

#define HT_TICKET_PERIOD_S (12 * 3600ull)

struct ht_ticket_key {
	uint8_t name[16]; /* stands in the ticket, in the clear */
	uint8_t aes[32], hmac[32];
};

struct ht_ticket_ring;

/* -ENOMEM, or -EIO when there is no randomness. `now_s`: of a clock that never goes back. */
int ht_ticket_ring_new(uint64_t now_s, struct ht_ticket_ring **ret);
void ht_ticket_ring_free(struct ht_ticket_ring *r); /* wipes it; NULL-safe */

/*
 * The key to seal with, a copy to be wiped by the caller. Replaces the current one first if it has
 * had its time. -EIO when there is no randomness for that: then nothing is sealed. Any thread.
 */
int ht_ticket_ring_current(struct ht_ticket_ring *r, uint64_t now_s, struct ht_ticket_key *ret);

/*
 * The key of that name, a copy to be wiped by the caller; *ret_current: it is still the one that
 * seals. -ENOENT for a name that is none, or no longer. Any thread.
 */
int ht_ticket_ring_find(struct ht_ticket_ring *r, uint64_t now_s, const uint8_t name[16],
			struct ht_ticket_key *ret, bool *ret_current);

#endif
