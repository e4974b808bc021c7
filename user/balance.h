/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of several upstreams comes next, and the cookie that brings a client back to the one it
 * had. Pure: no sockets, no clock, no state.
 */
#ifndef HT_BALANCE_H
#define HT_BALANCE_H

#include "config.h"
#include "util.h"

#define HT_BALANCE_TOKEN 32 /* characters of an affinity cookie's value */

struct ht_balance_peer {
	uint64_t id;	 /* of its name: ht_balance_id() */
	uint32_t active; /* requests under way */
};

/* A number for a name or an address, the same on every node and after every restart. */
uint64_t ht_balance_id(const void *data, size_t len);

/*
 * One of those with their bit in `ready` (not 0). `turn` is where the round-robin stands, and
 * breaks ties of least-connections; `key` is the source's id: as long as its upstream is ready it
 * stays there, and one that comes or goes moves only its own share (rendezvous hashing).
 * HT_BALANCE_COOKIE is round-robin: whoever brings a cookie is not asked.
 */
size_t ht_balance_pick(enum ht_balance how, const struct ht_balance_peer *peers, size_t n,
		       uint64_t ready, size_t turn, uint64_t key);

/*
 * The value that stands for an upstream: HMAC-SHA256 under a secret of ours, 128 bits of it in
 * hexadecimal, with a NUL. It tells nobody its name or address. -EIO.
 */
int ht_balance_token(const uint8_t *secret, size_t secret_len, const char *name,
		     char ret[HT_BALANCE_TOKEN + 1]);

/* The next value of a cookie of that name in a Cookie field; *rest begins with all of it. */
bool ht_balance_cookie(struct ht_str *rest, const char *name, struct ht_str *ret);

#endif
