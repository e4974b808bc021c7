/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to backends: which of a site's upstreams is next, those that failed are left alone for
 * a while, and idle connections wait here for their next request. Per worker, not thread-safe.
 * Everything that is sent goes through the connection's gate; nothing is sent here.
 */
#ifndef HT_UPSTREAM_H
#define HT_UPSTREAM_H

#include "config.h"
#include "health.h"
#include "loop.h"
#include "offload.h"
#include "stats.h"
#include "util.h"

#define HT_UPSTREAM_IDLE_MAX 256 /* idle connections kept per worker and upstream */

struct ht_backend;

/* A worker's copy of a ht_peer, and its connections there. */
struct ht_upstream {
	struct ht_peer *peer; /* what all workers know of it */
	uint32_t gen;	      /* of the peer when it was copied; 0 = nothing stands here */
	const struct ht_upstream_config *config;
	struct ht_addr addr;
	char text[192]; /* for logs: "127.0.0.1:9000" */
	uint64_t id;
	char token[HT_BALANCE_TOKEN + 1]; /* its affinity cookie */
	struct ht_backend *idle;	  /* last in, first out */
	size_t nidle;
};

/* A site's upstreams, as one worker sees them. */
struct ht_upstreams {
	struct ht_loop *loop;
	struct ht_bufs *bufs;
	struct ht_offload *offload;
	struct ht_offload *plain; /* off: for unix sockets and TLS, which no program can judge */
	struct ht_stats *stats;
	struct ht_peers *peers;
	uint32_t version; /* of the peers' addresses, as copied */
	size_t n, turn;
	bool retired; /* of an older generation: nothing is kept here any more */
	struct ht_upstream *upstream;
};

/* One connection, idle in its upstream's pool or lent to an owner. */
struct ht_backend {
	struct ht_source source;
	struct ht_timer timer;
	struct ht_gate gate;
	struct ht_upstreams *set;
	struct ht_upstream *upstream;
	uint32_t gen; /* of the upstream when it was made: another one's connection is not kept */
	struct ht_tls tls;		/* its fd is the gate's */
	struct ht_backend *prev, *next; /* in the pool */
	void *owner;			/* NULL = idle */
	void (*notify)(void *owner);	/* something became ready */
	bool reused;			/* it has carried an exchange before */
	bool probe;			/* it finds out whether its upstream is well again */
	bool secured;			/* the TLS handshake is over */
};

/* All are borrowed. -ENOMEM. */
int ht_upstreams_open(struct ht_upstreams *set, struct ht_peers *peers, struct ht_loop *loop,
		      struct ht_bufs *bufs, struct ht_offload *offload, struct ht_offload *plain,
		      struct ht_stats *stats);
void ht_upstreams_close(struct ht_upstreams *set); /* closes what is idle */

/*
 * A reload, in this order. The site's new set takes over what it can use of the old one's: idle
 * connections to the same upstreams, but for TLS, which was verified by the old rules. Then the old
 * one keeps nothing: what is idle is closed, what is in use will be.
 */
void ht_upstreams_inherit(struct ht_upstreams *set, struct ht_upstreams *from);
void ht_upstreams_retire(struct ht_upstreams *set);

/*
 * A connection that stays with its client goes over to that one of `n` sets which has its upstream.
 * False if none has.
 */
bool ht_backend_adopt(struct ht_backend *b, struct ht_upstreams *sets, size_t n);

/* What a request wants of its upstream. */
struct ht_wish {
	bool fresh;	 /* no pooled connection */
	uint64_t source; /* the client's address, by ht_balance_id() */
	uint32_t gen;	 /* of the one that its cookie names, or 0: ht_upstreams_by_token() */
};

/* The one that an affinity cookie names, by its gen; 0 = none. */
uint32_t ht_upstreams_by_token(const struct ht_upstreams *set, struct ht_str token);

/*
 * A connection for `owner`: idle or, if there is none, a new one on its way (see
 * ht_backend_connected()). Upstreams with their bit in `tried` are not taken. Those at rest are
 * taken only when there is no other, those that their checks found down never. -ENOSPC without a
 * slot for the gate, -ECONNREFUSED if no upstream is left, -EHOSTDOWN if all are down, -errno.
 */
int ht_upstreams_get(struct ht_upstreams *set, const struct ht_wish *wish, uint64_t *tried,
		     void *owner, void (*notify)(void *owner), struct ht_backend **ret);

/* 0 when it may be sent to, -EAGAIN while it connects, -errno when it failed. */
int ht_backend_connected(struct ht_backend *b);

/* Is it alive, as far as a look at the socket can tell? Costs a system call. */
bool ht_backend_alive(struct ht_backend *b);

/* It has said or done something that it was not asked for. */
bool ht_backend_unquiet(struct ht_backend *b);

/* Something may be read, from the socket or inside TLS. */
bool ht_backend_readable(const struct ht_backend *b);
/* As recv(): bytes, 0 at the end, -EAGAIN or -errno. */
ssize_t ht_backend_recv(struct ht_backend *b, void *buf, size_t len);

/* Nothing more is sent; it may still answer. */
void ht_backend_shutdown(struct ht_backend *b);

/* The connection failed before it could be used: its upstream rests. */
void ht_backend_blame(struct ht_backend *b, int err);

/*
 * It took a request and gave no valid answer to it, or did: after some of the former in a row its
 * upstream rests. since_ms as ht_peer_unanswered() has it.
 */
void ht_backend_unanswered(struct ht_backend *b, uint64_t since_ms, const char *why);
void ht_backend_answered(struct ht_backend *b);

/* Back to the pool; closed instead if anything unread is left in it. */
void ht_backend_release(struct ht_backend *b);

void ht_backend_close(struct ht_backend *b, bool reset);

#endif
