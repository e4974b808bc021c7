/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node of a fleet says of the key `ring`, which it shares through memcached, and what it is
 * told to do with it. Starts nothing.
 */
#ifndef HT_E2E_NODES_H
#define HT_E2E_NODES_H

#include "../memcached.h"
#include "visitor.h"

double ring_metric(struct gw *gw, const char *metric);
/* Times that no server has answered. */
double ring_unreachable(struct gw *gw);
double ring_polls(struct gw *gw);
double ring_rotations(struct gw *gw);

/* hardtackctl COMMAND ring. What it says is in `out`. */
bool ring_ctl(struct gw *gw, const char *command, struct text *out);

/* Rotates it; waits until that is no longer refused, as every node has the secret that comes next. */
bool ring_rotates(struct gw *gw);

/* The id of the secret that it signs with, by what it says of itself. */
void ring_signs(struct gw *gw, char ret[32]);

/* Do they all sign with one and the same, and is that another one than `before`? */
bool ring_all_sign_alike(struct gw *const *gw, size_t n, const char *before);

/* hardtackctl reload: after it the store is asked at once. */
void node_reload(struct gw *gw);

#endif
