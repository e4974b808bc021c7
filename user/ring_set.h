/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rings of all keys whose secrets are ours to make: those of directories and of memcached. They
 * are opened for a configuration, go into force with it, and change by themselves afterwards: by the
 * clock, by hand, by what other nodes do. The request path never comes here; it has snapshots.
 */
#ifndef HT_RING_SET_H
#define HT_RING_SET_H

#include "config.h"
#include "keyring.h"

struct ht_ring_set;

/* Nothing in it yet. NULL without memory. */
struct ht_ring_set *ht_ring_set_new(void);
void ht_ring_set_free(struct ht_ring_set *s); /* ends its threads; NULL-safe */

/*
 * Opens the rings of a configuration: reads directories, makes those that are missing (as c->user,
 * where we are root), asks memcached for what there is no copy of, makes a first secret where there
 * is none. Then builds the key ring of all keys, as ht_keyring_make(). Nothing of it is in force
 * before ht_ring_set_commit() with the same configuration. Blocks for seconds if a store does not
 * answer. Main thread. -EINVAL, -ENOMEM with diag.
 */
int ht_ring_set_load(struct ht_ring_set *s, const struct ht_config *c,
		     const struct ht_keyring *before, uint64_t now_s, struct ht_keyring **ret,
		     struct ht_diag *diag);
void ht_ring_set_commit(struct ht_ring_set *s);

/* The same for whoever only looks: nothing is made, nobody is asked; a key may have no secrets. */
int ht_ring_set_look(const struct ht_config *c, uint64_t now_s, struct ht_keyring **ret,
		     struct ht_diag *diag);

/* Starts the threads that mind memcached, as many as there is anything to do for by now. -errno. */
int ht_ring_set_start(struct ht_ring_set *s);

/* Readable when another node, or a thread of ours, has changed something; reading it is the caller's. */
int ht_ring_set_fd(const struct ht_ring_set *s);

/* Rotates what is due in directories, drops what has ended. Main thread. */
void ht_ring_set_tick(struct ht_ring_set *s, uint64_t now_s);

/* When there is something to do for ht_ring_set_tick() or in the ring; 0 = never. */
uint64_t ht_ring_set_event_s(struct ht_ring_set *s, const struct ht_keyring *ring, uint64_t now_s);

/*
 * The key ring as it has to be now: 1 with *ret, where a key has other secrets than in `ring` and
 * a new generation; 0 if nothing is different; -ENOMEM.
 */
int ht_ring_set_refresh(struct ht_ring_set *s, const struct ht_keyring *ring, uint64_t now_s,
			struct ht_keyring **ret);

/*
 * By hand. -ENOENT: that key is none of ours. -errno with why; else `why` says what of it is not as
 * wished, or "". What has changed is not in force before ht_ring_set_refresh().
 */
int ht_ring_set_rotate(struct ht_ring_set *s, const char *name, uint64_t now_s, char *why,
		       size_t why_len);
int ht_ring_set_revoke(struct ht_ring_set *s, const char *name, uint64_t now_s, char *why,
		       size_t why_len);

/* Has the key's store told of it; waits for seconds. -errno if it is not known to have heard. */
int ht_ring_set_tell_store(struct ht_ring_set *s, const char *name);

/* What of its store there is to count. All 0 for a key that is none of ours. */
struct ht_ring_counts {
	uint64_t failures;	/* rotations and copies that could not be made or written */
	uint64_t polls;		/* of the store that were answered */
	uint64_t polls_failed;	/* no server did */
	uint64_t garbage;	/* values that nobody understands */
	uint64_t lease_busy;	/* something was to be written, and another node was at it */
	uint64_t last_poll_s;	/* Unix time of the last answer; 0 = never */
	uint64_t void_before_s; /* everything that was born before is revoked */
};
void ht_ring_set_counts(struct ht_ring_set *s, const char *name, struct ht_ring_counts *ret);

#endif
