/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key that many nodes share through memcached, as the OpenResty gateway before us did: BPS1 holds
 * the secret that signs and BPS2 the one before it, as "<secret>:<unix time>", and whoever rotates
 * holds BP_LEASE. Ours beside them: BPS0, the secret that will sign next, which every node has long
 * before anybody signs with it, and BP_VOID, the time before which everything is revoked. Blocks;
 * nobody who serves requests may call it.
 */
#ifndef HT_FLEET_H
#define HT_FLEET_H

#include "ring.h"

#define HT_FLEET_LEASE_S 5

/* ---- what the store says, and what is to be done about it: pure ---- */

enum ht_fleet_item { HT_FLEET_NEXT, HT_FLEET_CURRENT, HT_FLEET_PREVIOUS, HT_FLEET_VOID };
#define HT_FLEET_ITEMS 4 /* BPS0, BPS1, BPS2, BP_VOID */

struct ht_fleet_view {
	struct {
		bool there, good; /* good: we know what it means */
		uint64_t cas;
		struct ht_ring_secret secret; /* of the first three */
	} item[HT_FLEET_ITEMS];
	uint64_t void_before_s;
};

/* "<88 characters of base64>:<seconds>", nothing else. */
bool ht_fleet_parse_secret(const char *text, size_t len, struct ht_ring_secret *ret);
bool ht_fleet_parse_void(const char *text, size_t len, uint64_t *ret_before_s);

/*
 * Adds what it says to the ring; while the store has not heard of the ring's last revocation, only what
 * the ring knows. Of a later one than the ring's it takes everything, and nothing else stays.
 */
void ht_fleet_take(const struct ht_fleet_view *v, struct ht_ring *r);

/*
 * What is to be written, as bits 1 << enum ht_fleet_item, for the store to say what the ring does;
 * HT_FLEET_ROTATE when another secret is to sign before. `settled` is the id of the next secret that
 * every node must have seen by now, or "". The ring is to have taken the view.
 */
#define HT_FLEET_ROTATE (1U << 8)
unsigned ht_fleet_plan(const struct ht_fleet_view *v, const struct ht_ring *r,
		       const struct ht_ring_times *t, uint64_t now_s, const char *settled,
		       bool rotate);

/* A secret of chance, for a store or a directory. It is to be wiped even after -EIO. */
int ht_fleet_fresh(uint64_t born_s, struct ht_ring_secret *ret);

/* ---- asking it ---- */

struct ht_fleet_params {
	const char *const *servers; /* "HOST:PORT", asked in this order until one answers */
	size_t nservers;
	const char *prefix; /* of the names above */
	struct ht_ring_times times;
	unsigned timeout_ms; /* for each step with one server */
};

struct ht_fleet_request {
	uint64_t now_s;
	bool rotate; /* even if it isn't due */
	char settled[HT_SECRET_ID_LEN + 1];
};

struct ht_fleet_answer {
	bool reached;
	const char *server; /* that answered; one of `servers` */
	bool rotated, published;
	unsigned garbage;		    /* values that nobody understands */
	char next_id[HT_SECRET_ID_LEN + 1]; /* in the store at the end, or "" */
	bool not_settled;		    /* a rotation waits until all have the next one */
	char why[256];			    /* what went wrong, no secret in it */
};

/*
 * One exchange: takes what the store knows into *ring and writes there what it lacks; rotates if that
 * is due. -EAGAIN: there is something to write, and another node has the lease or was faster;
 * -EIO: no server answers, or one stopped in the middle. *ring is good to use in any case.
 */
int ht_fleet_sync(const struct ht_fleet_params *p, const struct ht_fleet_request *q,
		  struct ht_ring *ring, struct ht_fleet_answer *ret);

#endif
