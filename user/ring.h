/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One named key over time: the secret that signs, those before it, the one that comes after it, and
 * what was voided. Pure: no clock, no files, no chance; whoever calls brings the time and fresh
 * secrets. Nodes that saw the same secrets in whatever order hold the same ring.
 */
#ifndef HT_RING_H
#define HT_RING_H

#include "keyring.h"

#define HT_RING_MAX 15	       /* secrets that sign or signed; HT_SECRETS_MAX less the next one */
#define HT_RING_SECRET_MAX 256 /* bytes of one */
#define HT_RING_FRESH_BYTES 64 /* of chance in a new one */
#define HT_RING_FRESH_LEN 88   /* characters: their base64 */

struct ht_ring_secret {
	uint64_t born_s; /* when it began to sign; of the next one: when it was made */
	size_t len;
	char id[HT_SECRET_ID_LEN + 1];
	uint8_t bytes[HT_RING_SECRET_MAX];
};

/* As secret as what is in it: ht_ring_new(). */
struct ht_ring {
	uint64_t void_before_s; /* no secret that was born earlier counts, whoever brings it */
	bool has_next;
	struct ht_ring_secret next; /* verifies, so that all have it before anybody signs with it */
	size_t n;
	struct ht_ring_secret secret[HT_RING_MAX]; /* newest first */
};

/* What is configured about it. */
struct ht_ring_times {
	uint64_t rotate_every_s; /* 0 = not by itself */
	uint64_t lifetime_s;	 /* how long a secret verifies after the next one began to sign */
};

/* In locked memory; NULL when there is none. Freeing wipes; NULL-safe. */
struct ht_ring *ht_ring_new(void);
void ht_ring_free(struct ht_ring *r);
static inline void ht_ring_freep(struct ht_ring **r)
{
	ht_ring_free(*r);
}

/* -EINVAL unless it has 1 to HT_RING_SECRET_MAX bytes. Names it. */
int ht_ring_secret_make(const void *bytes, size_t len, uint64_t born_s, struct ht_ring_secret *ret);

void ht_ring_secret_wipe(struct ht_ring_secret *s);

/* A new secret as text from HT_RING_FRESH_BYTES of chance. */
void ht_ring_fresh(const uint8_t chance[HT_RING_FRESH_BYTES], uint64_t born_s,
		   struct ht_ring_secret *ret);

/*
 * Adds one that signs or signed. Not what is void or known; one that is known takes the later birth,
 * and the next one is no longer next. Of more than HT_RING_MAX the oldest goes.
 */
void ht_ring_add(struct ht_ring *r, const struct ht_ring_secret *s);

/* Names the next one, in the place of any other; not what is void or among those that sign. */
void ht_ring_set_next(struct ht_ring *r, const struct ht_ring_secret *s);

/* Whatever was born before is void now, and for good. */
void ht_ring_void(struct ht_ring *r, uint64_t before_s);

/* Everything that the other one knows. */
void ht_ring_join(struct ht_ring *r, const struct ht_ring *other);

/*
 * The same for what a copy of it has learned meanwhile. Where one of them was revoked later than the
 * other one knows, it alone counts: what else there is may be what was revoked, born again.
 */
void ht_ring_learn(struct ht_ring *r, const struct ht_ring *copy);

/* Nothing of it counts any more, however late it was born: for what somebody says who revoked later. */
void ht_ring_begin_anew(struct ht_ring *r, uint64_t void_before_s);

/* When the i-th secret ends: 0 for the one that signs. */
uint64_t ht_ring_retires_s(const struct ht_ring *r, size_t i, const struct ht_ring_times *t);

/* Drops those whose time is over. */
void ht_ring_retire(struct ht_ring *r, const struct ht_ring_times *t, uint64_t now_s);

/* Is it time for another one to sign? Always when there is none. */
bool ht_ring_due(const struct ht_ring *r, const struct ht_ring_times *t, uint64_t now_s);

/* When ht_ring_due() or ht_ring_retire() will have something to do; 0 = never. */
uint64_t ht_ring_event_s(const struct ht_ring *r, const struct ht_ring_times *t);

/*
 * The next one signs from now on, else `fresh` does. With `ahead` there is a next one afterwards: the
 * fresh one, if it is not in use. Returns whether `fresh` was taken.
 */
bool ht_ring_rotate(struct ht_ring *r, uint64_t now_s, bool ahead,
		    const struct ht_ring_secret *fresh);

/* All are void; `fresh` signs, `next` (or NULL) comes after it. Their births are set. */
void ht_ring_revoke(struct ht_ring *r, uint64_t now_s, const struct ht_ring_secret *fresh,
		    const struct ht_ring_secret *next);

/* Is it in there, whenever it was born? */
bool ht_ring_knows(const struct ht_ring *r, const struct ht_ring_secret *s);

bool ht_ring_same(const struct ht_ring *a, const struct ht_ring *b);

/*
 * What the key ring is to be made of; it borrows from the ring. The newest one verifies and does not
 * sign yet if its id is `held`, which may be "".
 */
void ht_ring_source(const struct ht_ring *r, const struct ht_ring_times *t, const char *held,
		    struct ht_key_source *ret);

#endif
