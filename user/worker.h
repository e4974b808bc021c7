/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: one thread with its own listening sockets, event loop, pools and counters. A connection
 * stays with the worker that accepted it.
 */
#ifndef HT_WORKER_H
#define HT_WORKER_H

#include "conn.h"

struct ht_worker;

/*
 * Opens one listening socket for a worker: SO_REUSEPORT, or another descriptor of the one that all
 * share. The descriptor or -errno.
 */
int ht_listener_open(struct ht_listener *l);

/*
 * Opens the listening sockets (SO_REUSEPORT; unix sockets are shared) and everything that needs
 * privileges, but starts nothing. -errno with text. The stats are the caller's and outlive it.
 */
int ht_worker_open(struct ht_gateway *g, unsigned index, struct ht_stats *stats,
		   struct ht_worker **ret, char *why, size_t why_len);

int ht_worker_start(struct ht_worker *w); /* -errno */

/*
 * A reload, from the main thread: the worker goes over to `g`, whose listeners say which of the
 * present ones they continue. fds[i] is a new socket (taken over) for each that continues none. Then
 * ht_worker_switched() waits, `ms` at the most: 0 or -ETIMEDOUT; not twice at a time.
 */
void ht_worker_switch(struct ht_worker *w, struct ht_gateway *g, int *fds);
int ht_worker_switched(struct ht_worker *w, unsigned ms);

/* Any thread. No more connections; those that there are end after their exchange. */
void ht_worker_drain(struct ht_worker *w);
/* Any thread. Ends now, whatever is going on. */
void ht_worker_stop(struct ht_worker *w);
/* Has it ended (after drain or stop)? */
bool ht_worker_done(const struct ht_worker *w);

/* Joins the thread, closes everything. NULL-safe. */
void ht_worker_close(struct ht_worker *w);

#endif
