/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread's event loop: sockets whose readiness is remembered, timers of a few fixed lengths,
 * and a clock that is read once a round. It knows nothing of what the sockets are for.
 */
#ifndef HT_LOOP_H
#define HT_LOOP_H

#include "util.h"

/*
 * A socket in the loop, registered once and edge-triggered. `readable` and `writable` stay set
 * until somebody's call on the socket says otherwise and clears them. Embed it; the memory
 * must live until bury() is called.
 */
struct ht_source {
	int fd; /* -1 = closed: what is left of the round's events is ignored */
	bool readable, writable;
	bool hup;   /* the peer has sent its FIN: a short read is not the end, read until 0 */
	bool error; /* reset, or closed in both directions */
	bool queued, dying;
	uint32_t asked; /* the round in which it was queued */
	void (*ready)(struct ht_source *s);
	void (*bury)(struct ht_source *s); /* frees it, at the end of a round */
	struct ht_source *next;
};

/* Every timeout has one length for good, so each kind is a FIFO: O(1) to arm and to expire. */
enum ht_timer_kind {
	HT_TIMER_NONE,
	HT_TIMER_HANDSHAKE,
	HT_TIMER_HEAD,
	HT_TIMER_BODY,
	HT_TIMER_IDLE,
	HT_TIMER_CONNECT,
	HT_TIMER_RESPONSE,
	HT_TIMER_LINGER, /* a closed connection's last words from the client are thrown away */
	HT_TIMER_POOL,	 /* an idle backend connection */
	HT_TIMER_PAUSE,	 /* a listener that ran out of descriptors */
	HT_TIMER_DOOR,	 /* a listener that is being closed */
	HT_TIMER_MAX,
};

struct ht_timer {
	struct ht_timer *prev, *next;
	uint64_t deadline_ms;
	enum ht_timer_kind kind;    /* HT_TIMER_NONE = not armed */
	enum ht_timer_kind expired; /* for fire(): which one it was */
	void (*fire)(struct ht_timer *t);
};

struct ht_loop {
	int epoll_fd;
	uint64_t now_ms, now_us; /* CLOCK_MONOTONIC, as of this round */
	uint64_t now_s;		 /* CLOCK_REALTIME, likewise */
	uint32_t round;
	uint64_t length_ms[HT_TIMER_MAX];
	struct ht_timer list[HT_TIMER_MAX]; /* heads */
	struct ht_source *again, **again_end;
	struct ht_source *dead;
};

/* length_ms is the caller's to fill before the first timer is armed. -errno. */
int ht_loop_open(struct ht_loop *l);
void ht_loop_close(struct ht_loop *l);

/* Waits for events and runs what is ready, then what has expired, then buries the dead. */
void ht_loop_round(struct ht_loop *l);

/* Registers s->fd for everything, edge-triggered. -errno. */
int ht_loop_add(struct ht_loop *l, struct ht_source *s);

/* Hears no more of s->fd. Needed before a close() that is not the last one of what is open there. */
void ht_loop_remove(struct ht_loop *l, struct ht_source *s);

/* Runs s->ready() again in the next round: it has had its share of this one. */
void ht_loop_again(struct ht_loop *l, struct ht_source *s);

/* Calls s->bury() at the end of the round. The fd is the caller's to close before. */
void ht_loop_bury(struct ht_loop *l, struct ht_source *s);

/* Arms (again) from now on. */
void ht_timer_arm(struct ht_loop *l, struct ht_timer *t, enum ht_timer_kind kind);
void ht_timer_cancel(struct ht_timer *t);

#endif
