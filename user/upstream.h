/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to backends: which of a site's upstreams is next, those that failed are left alone for
 * a while, and idle connections wait here for their next request. Per worker, not thread-safe.
 * Everything that is sent goes through the connection's gate; nothing is sent here.
 */
#ifndef HT_UPSTREAM_H
#define HT_UPSTREAM_H

#include "config.h"
#include "loop.h"
#include "offload.h"
#include "stats.h"
#include "util.h"

#define HT_UPSTREAMS_MAX 64	  /* of a site: one bit each in `tried` */
#define HT_UPSTREAM_REST_MS 10000 /* how long a failed one is left alone */
#define HT_UPSTREAM_IDLE_MAX 256  /* idle connections kept per worker and upstream */

struct ht_backend;

struct ht_upstream {
	const struct ht_upstream_config *config;
	char text[160];		 /* for logs: "127.0.0.1:9000" */
	struct ht_backend *idle; /* last in, first out */
	size_t nidle;
	uint64_t rests_until_ms;
};

/* A site's upstreams, as one worker sees them. */
struct ht_upstreams {
	struct ht_loop *loop;
	struct ht_offload *offload;
	struct ht_offload *plain; /* off: for unix sockets, which no sockops program ever sees */
	struct ht_stats *stats;
	size_t n, turn;
	struct ht_upstream *upstream;
};

/* One connection, idle in its upstream's pool or lent to an owner. */
struct ht_backend {
	struct ht_source source;
	struct ht_timer timer;
	struct ht_gate gate;
	struct ht_upstreams *set;
	struct ht_upstream *upstream;
	struct ht_backend *prev, *next; /* in the pool */
	void *owner;			/* NULL = idle */
	void (*notify)(void *owner);	/* something became ready */
	bool reused;			/* it has carried an exchange before */
};

/* `offload` and `plain` are borrowed. -ENOMEM. */
int ht_upstreams_open(struct ht_upstreams *set, const struct ht_site_config *site,
		      struct ht_loop *loop, struct ht_offload *offload, struct ht_offload *plain,
		      struct ht_stats *stats);
void ht_upstreams_close(struct ht_upstreams *set); /* closes what is idle */

/*
 * A connection for `owner`: idle or, if `fresh` or none is idle, a new one on its way (see
 * ht_backend_connected()). Upstreams with their bit in `tried` are not taken. Those at rest are
 * taken only when there is no other. -ENOSPC without a slot for the gate, -ECONNREFUSED if no
 * upstream is left, -errno.
 */
int ht_upstreams_get(struct ht_upstreams *set, uint64_t *tried, bool fresh, void *owner,
		     void (*notify)(void *owner), struct ht_backend **ret);

/* 0 when it may be sent to, -EAGAIN while it connects, -errno when it failed. */
int ht_backend_connected(struct ht_backend *b);

/* Is it alive, as far as a look at the socket can tell? Costs a system call. */
bool ht_backend_alive(struct ht_backend *b);

/* The connection failed before it could be used: its upstream rests. */
void ht_backend_blame(struct ht_backend *b, int err);

/* Back to the pool; closed instead if anything unread is left in it. */
void ht_backend_release(struct ht_backend *b);

void ht_backend_close(struct ht_backend *b, bool reset);

#endif
