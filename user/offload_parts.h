/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the offload share: the object itself. Nobody else includes it. */
#ifndef HT_OFFLOAD_PARTS_H
#define HT_OFFLOAD_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "offload.h"

/* A map that the daemon fills and the kernel empties when it is full. */
struct ht_cached {
	int fd;				    /* borrowed */
	_Atomic uint64_t inserted, flushed; /* entries */
};

struct ht_offload {
	bool on;
	struct ht_sip_keys keys;
	struct gate *skel;
	struct bpf_link *link;
	int cpus;
	uint32_t max_slots;
	struct ht_slot *slots; /* shared with the kernel */
	uint32_t no_rules;     /* the last policy, empty for good */
	pthread_mutex_t lock;  /* of the free list */
	uint32_t *free;
	uint32_t nfree;
	_Atomic uint64_t nonce;
	struct ht_cached tokens, sealed;
	uint32_t max_sealed; /* 0: there is room for nothing */
	char *pin;
	int pin_fd; /* the pinned directory, locked */
	bool keep, reused;
	uint64_t id; /* of the tokens */
	uint32_t max_sites;
};

#endif
