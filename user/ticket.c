/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring of ticket keys. It turns when somebody looks at it and its time has come: there is no
 * thread and no timer for it.
 */
#include "ticket.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <sys/mman.h>

struct ht_ticket_ring {
	pthread_mutex_t lock;
	uint64_t since_s; /* when key[0] began */
	bool has_previous;
	struct ht_ticket_key key[2]; /* current, previous */
};

int ht_ticket_ring_new(uint64_t now_s, struct ht_ticket_ring **ret)
{
	struct ht_ticket_ring *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (r == MAP_FAILED)
		return -ENOMEM;
	/* where locking is not allowed the keys are as safe as all the other memory */
	(void)mlock(r, sizeof(*r));
	madvise(r, sizeof(*r), MADV_DONTDUMP);
	madvise(r, sizeof(*r), MADV_WIPEONFORK);
	pthread_mutex_init(&r->lock, NULL);
	r->since_s = now_s;
	if (RAND_priv_bytes((unsigned char *)&r->key[0], sizeof(r->key[0])) != 1) {
		ht_ticket_ring_free(r);
		return -EIO;
	}
	*ret = r;
	return 0;
}

void ht_ticket_ring_free(struct ht_ticket_ring *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->lock);
	OPENSSL_cleanse(r, sizeof(*r));
	munmap(r, sizeof(*r));
}

/* A key seals for one period and opens for two. */
static int ring_turn(struct ht_ticket_ring *r, uint64_t now_s)
{
	uint64_t age_s = now_s > r->since_s ? now_s - r->since_s : 0;
	struct ht_ticket_key next;

	if (age_s < HT_TICKET_PERIOD_S)
		return 0;
	if (RAND_priv_bytes((unsigned char *)&next, sizeof(next)) != 1)
		return -EIO;
	r->has_previous = age_s < 2 * HT_TICKET_PERIOD_S;
	r->key[1] = r->key[0];
	if (!r->has_previous)
		OPENSSL_cleanse(&r->key[1], sizeof(r->key[1]));
	r->key[0] = next;
	r->since_s = now_s;
	OPENSSL_cleanse(&next, sizeof(next));
	return 0;
}

int ht_ticket_ring_current(struct ht_ticket_ring *r, uint64_t now_s, struct ht_ticket_key *ret)
{
	int err;

	pthread_mutex_lock(&r->lock);
	err = ring_turn(r, now_s);
	if (!err)
		*ret = r->key[0];
	pthread_mutex_unlock(&r->lock);
	return err;
}

int ht_ticket_ring_find(struct ht_ticket_ring *r, uint64_t now_s, const uint8_t name[16],
			struct ht_ticket_key *ret, bool *ret_current)
{
	int err;

	pthread_mutex_lock(&r->lock);
	err = ring_turn(r, now_s);
	for (size_t i = 0; !err; i++) {
		if (i > r->has_previous) {
			err = -ENOENT;
		} else if (!memcmp(r->key[i].name, name, sizeof(r->key[i].name))) {
			*ret = r->key[i];
			*ret_current = i == 0;
			break;
		}
	}
	pthread_mutex_unlock(&r->lock);
	return err;
}
