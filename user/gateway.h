/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A generation: one configuration made ready to serve with, immutable and counted, and beside it
 * what all generations share. A reload makes a new one, a request keeps the one that it began
 * with, and the last user frees it. Opens no sockets and starts nothing.
 */
#ifndef HT_GATEWAY_H
#define HT_GATEWAY_H

#include <pthread.h>
#include <stdatomic.h>

#include "config.h"
#include "geoip.h"
#include "guard.h"
#include "health.h"
#include "keyring.h"
#include "log.h"
#include "offload.h"
#include "policy.h"
#include "ring_set.h"
#include "tls.h"
#include "util.h"

#define HT_GATEWAY_SITES_SPARE 64 /* places in the map `policy` for what a reload changes */

/* What all generations share, for the daemon's life. */
struct ht_common {
	struct ht_offload *offload;
	struct ht_offload *plain; /* always off */
	struct ht_guard *guard;	  /* or NULL */
	struct ht_access_log *access_log;
	bool access_log_on;
	bool ktls;		    /* offer kernel TLS */
	_Atomic size_t connections; /* of clients */
	/* The key ring, replaced under the lock; a new version says that it was. */
	pthread_mutex_t ring_lock;
	struct ht_ring_set *rings; /* who makes its keys; NULL: whoever only looks */
	struct ht_keyring *ring;
	struct ht_revoked *revoked; /* replaced with it; or NULL */
	_Atomic uint32_t ring_version;
	/* Who uses which entry of the map `policy`: equal rules share one. */
	pthread_mutex_t places_lock;
	struct ht_place *places;
	size_t nplaces;
	uint64_t serial; /* of the newest generation */
	/* The places of keys in a daemon before us, for the first generation. */
	const struct ht_key_past *past;
	size_t npast;
};

struct ht_listener {
	const struct ht_listener_config *config;
	size_t index;		/* of its counters; the same address keeps it over reloads */
	ssize_t from;		/* the listener before this one at the same address, or -1 */
	struct ht_tls_ctx *tls; /* NULL = plain */
	int shared_fd;		/* one socket for all workers: unix, or handed over; else -1 */
	bool handed_over;	/* it is somebody else's who goes on listening when we don't */
	uint16_t port;		/* chosen by the kernel where the configuration says 0 */
};

/* Immutable once it serves, but for the shared_fd that the main thread moves on. */
struct ht_gateway {
	atomic_uint refs;
	uint64_t serial;
	struct ht_common *common;
	const struct ht_config *config;
	bool config_kept;		 /* somebody else frees it */
	struct ht_policy_site *policies; /* one per site */
	uint32_t *places;		 /* likewise: where its rules stand in the map `policy` */
	size_t nplaced;
	struct ht_listener *listeners;
	struct ht_geoip *geoip;	  /* or NULL; its own copy of the database */
	struct ht_health *health; /* of its upstreams; ht_health_start() when it begins to serve */
	/* for short: those of `common` */
	struct ht_offload *offload, *plain;
	struct ht_access_log *access_log;
	bool access_log_on;
};

/* The gate need not be there yet. -ENOMEM. */
int ht_common_open(struct ht_common *c);
/* Generations must be gone. Wipes the ring; offload and log are the caller's. */
void ht_common_close(struct ht_common *c);

/*
 * Makes a generation of a configuration that was loaded, which it takes over even if it fails:
 * policies compiled, certificates and keys loaded. `old` is the one before it or NULL. Its listeners
 * have no sockets yet, its policies no places. The caller owns *ret. *ret_ring has the keys, which
 * keep their generations where they are the same as in the common ring. -EINVAL with diag.
 */
int ht_gateway_new(struct ht_common *common, struct ht_config *config, const struct ht_gateway *old,
		   struct ht_gateway **ret, struct ht_keyring **ret_ring, struct ht_diag *diag);

/* Publishes the policies. -ENOSPC when too much of older generations is still in use. */
int ht_gateway_place(struct ht_gateway *g);

struct ht_gateway *ht_gateway_ref(struct ht_gateway *g);
void ht_gateway_unref(struct ht_gateway *g); /* any thread; NULL-safe */

/*
 * Puts a new snapshot in the place of the old one and publishes its generations, as one step for
 * whoever holds the lock; rules of a key that is replaced are held by the guard before that. Takes
 * over the caller's reference. The main thread: only it replaces the ring.
 */
void ht_common_set_ring(struct ht_common *c, struct ht_keyring *ring);
/* The same with other revoked sessions: whoever has the new ring has these. Takes over both. */
void ht_common_set_revoked(struct ht_common *c, struct ht_keyring *ring,
			   struct ht_revoked *revoked);

#endif
