/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the ring set share: the entries, and what may be done with them under the lock.
 * Nobody else includes it, but for tests.
 */
#ifndef HT_RING_PARTS_H
#define HT_RING_PARTS_H

#include <pthread.h>

#include "abi.h"
#include "fleet.h"
#include "ring.h"
#include "ring_set.h"

/* What is configured of one key. Immutable, but for what is counted under the lock. */
struct ht_ring_settings {
	unsigned refs;
	bool busy; /* a thread is asking */
	char *name, *dir, *prefix;
	char **servers;
	size_t nservers;
	struct ht_ring_times times;
	uint64_t poll_every_ms;
	unsigned line, col; /* where it stands */
};

struct ht_ring_entry {
	struct ht_ring_settings *settings; /* in force; NULL = not yet */
	struct ht_ring *ring;
	struct ht_ring_settings *pending; /* of a configuration that is being loaded, and ... */
	struct ht_ring *pending_ring;	  /* ... its ring, or NULL = the one in force */
	char pending_held[HT_SECRET_ID_LEN + 1]; /* goes with that ring */
	struct ht_ring_counts counts;
	/* memcached */
	bool troubled;	 /* the last poll had no answer, and the log knows */
	bool copy_fails; /* likewise for the copy in the directory */
	bool rotate;	 /* asked for by hand, while this one signed: */
	char rotate_from[HT_SECRET_ID_LEN + 1];
	uint64_t asked, done; /* exchanges that began, that have ended */
	int done_err;	      /* of the last one */
	char done_why[256];
	uint64_t poll_ms; /* CLOCK_MONOTONIC: when it is asked again */
	/* The next secret, as the store has it, and since when we know */
	char next_id[HT_SECRET_ID_LEN + 1];
	uint64_t next_since_ms;
	uint64_t answered_ms; /* when the store was last heard of */
	/* Signs, as the store has it, and was never seen before: others may not have it yet. */
	char held[HT_SECRET_ID_LEN + 1];
	uint64_t held_until_ms;
};

/* So many threads ask at a time: of more stores than that the slow ones make others wait. */
#define HT_RING_POLLERS_MAX 8

struct ht_ring_set {
	pthread_mutex_t lock;
	pthread_cond_t wake, done;
	int event_fd;
	bool stop;
	size_t nthreads;
	pthread_t thread[HT_RING_POLLERS_MAX];
	size_t n;
	struct ht_ring_entry *entry[2 * HT_KEYS_MAX]; /* those of two configurations */
};

#define HT_RING_SETTLE_POLLS 3	/* intervals after which every node that is well has polled ... */
#define HT_RING_SILENCE_POLLS 2 /* ... unless the store was silent for so many of them */

uint64_t ht_ring_now_ms(void); /* CLOCK_MONOTONIC */

/*
 * How long until the next poll, from the end of the last one, with 16 bits of chance: 0.6 to 1 times
 * `every_ms`, never more, for within that time a node has heard of a revocation.
 */
uint64_t ht_ring_pause_ms(uint64_t every_ms, uint16_t chance);
uint64_t ht_ring_settle_ms(const struct ht_ring_settings *s);

/* The next secret, if all nodes have had the time to hear of it, or "". The entry has settings. */
const char *ht_ring_settled_id(const struct ht_ring_entry *e, uint64_t now_ms);

void ht_ring_settings_unref(struct ht_ring_settings *s); /* NULL-safe */

/* The copy of the ring on disk. Counts and says when it can't be written, once. */
void ht_ring_entry_save(struct ht_ring_entry *e);

/* Tells the main thread. */
void ht_ring_set_tell(struct ht_ring_set *s);

/*
 * One exchange with the store of these settings, without the lock: `ring` is a copy. `settled` is as in
 * ht_fleet_request.
 */
int ht_ring_exchange(const struct ht_ring_settings *s, bool rotate, const char *settled,
		     struct ht_ring *ring, struct ht_fleet_answer *ret);

/* Books an exchange: counts, log lines, what settles. With the lock. */
void ht_ring_entry_note(struct ht_ring_entry *e, const char *name, int err,
			const struct ht_fleet_answer *a, uint64_t now_ms);

/* Waits until a thread has been through with the entry once more, `ms` at the most. With the lock. */
int ht_ring_entry_ask(struct ht_ring_set *s, struct ht_ring_entry *e, unsigned ms);

#endif
