/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Active health checks: one thread that asks every upstream of the sites with a `health-check` for
 * a path, over sockets of its own that carry no cookies and nobody's request. For health.c only.
 */
#ifndef HT_HEALTH_CHECK_H
#define HT_HEALTH_CHECK_H

#include "health.h"

struct ht_checker;

/* Sets ht_peer.down as the answers have it. *ret stays NULL where no site is checked. -errno. */
int ht_checker_start(struct ht_peers *sites, size_t nsites, struct ht_checker **ret);
void ht_checker_stop(struct ht_checker *k); /* NULL-safe; waits for the thread */

#endif
