/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backends as all workers see them: the addresses of each site's upstreams, looked up again and
 * again, and which of them are well, as requests find out and as checks do. Two threads at most do
 * the looking; workers read atomics, and take a lock only after an address has changed.
 */
#ifndef HT_HEALTH_H
#define HT_HEALTH_H

#include <pthread.h>
#include <stdatomic.h>

#include "balance.h"
#include "config.h"
#include "keyring.h"
#include "stats.h"
#include "tls.h"
#include "util.h"

#define HT_REST_MIN_MS 1000 /* after the first failure; doubled by each that follows */
#define HT_REST_MAX_MS 60000
#define HT_PROBE_MS 5000    /* how long one request has to show that it is over */
#define HT_UNANSWERED_MAX 3 /* requests in a row without a valid answer, before it rests */

/* One address of an upstream. Its place in the array never changes, what stands there may. */
struct ht_peer {
	/* Under the lock of its ht_peers; a worker keeps a copy. */
	const struct ht_upstream_config *config;
	struct ht_addr addr;
	char text[192]; /* for logs and metrics: "127.0.0.1:9000", "app:9000/192.0.2.1" */
	uint64_t id;
	char token[HT_BALANCE_TOKEN + 1];
	/* Anybody's. */
	_Atomic uint32_t gen;	 /* another one whenever something else stands here; 0 = nothing */
	_Atomic uint32_t active; /* requests under way */
	_Atomic uint32_t failures;   /* that made it rest, in a row */
	_Atomic uint32_t unanswered; /* requests, in a row */
	_Atomic uint64_t rests_until_ms;
	_Atomic uint64_t answered_ms; /* the last time, to a second or so */
	_Atomic bool down;	      /* by its health checks */
};

/* The upstreams of a site. */
struct ht_peers {
	const struct ht_site_config *site;
	struct ht_tls_ctx *tls; /* for https upstreams, else NULL */
	pthread_mutex_t lock;
	_Atomic uint32_t version; /* another one after every change of address */
	size_t n;
	struct ht_peer *peer;
};

struct ht_health;

/*
 * Makes the state of all upstreams, by the addresses in the configuration, which must live until
 * ht_health_close(). What `old`, of the generation before or NULL, knows of the same upstreams is
 * taken over. The first key that is a file, or chance without one, makes the affinity cookies.
 * Starts nothing. -EINVAL with diag for an upstream-ca that can't be used, -ENOMEM.
 */
int ht_health_open(const struct ht_config *c, const struct ht_keyring *ring, struct ht_health *old,
		   struct ht_health **ret, struct ht_diag *diag);

/*
 * Starts looking names up and checking, where the configuration asks for it; stops it, for a
 * generation that only ends what it has begun. Main thread, each once. -errno.
 */
int ht_health_start(struct ht_health *h);
void ht_health_stop(struct ht_health *h); /* NULL-safe */

/* NULL-safe. Its ht_upstreams must be closed. A lookup that hangs is left behind and ends alone. */
void ht_health_close(struct ht_health *h);

struct ht_peers *ht_health_site(struct ht_health *h, size_t index);

/* Lookups that failed so far; the addresses known before stay in use. */
uint64_t ht_health_lookups_failed(const struct ht_health *h);

/* All of them as they are now; free() it. -ENOMEM. */
int ht_health_list(struct ht_health *h, struct ht_stats_upstream **ret, size_t *ret_n);

/* ---- one of them, any thread; now_ms by CLOCK_MONOTONIC ---- */

/* Would it be given a request? */
bool ht_peer_ready(const struct ht_peer *p, uint64_t now_ms);

/*
 * Takes one that is ready. False if it has failed before and somebody else is finding out whether
 * it is well again. *ret_probe: now it is us, and until then nobody else comes.
 */
bool ht_peer_claim(struct ht_peer *p, uint64_t now_ms, bool *ret_probe);

/* It took no connection. Says so once, and lets it rest for longer each time. */
void ht_peer_failed(struct ht_peer *p, uint64_t now_ms, bool probe, const char *text,
		    const char *why);
/* It took one: well again, unless what it lacked was answers. */
void ht_peer_connected(struct ht_peer *p, const char *text);

/*
 * It took a request and gave no valid answer: HT_UNANSWERED_MAX of these in a row, or one that was
 * to find out whether it is well, and it rests as above. `since_ms`: when the request began, for one
 * that was waited for too long; it does not count if others were answered meanwhile: one slow page
 * is no slow backend. 0 for what counts anyway.
 */
void ht_peer_unanswered(struct ht_peer *p, uint64_t now_ms, uint64_t since_ms, bool probe,
			const char *text, const char *why);
void ht_peer_answered(struct ht_peer *p, uint64_t now_ms, const char *text);

#endif
