/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the metrics that is about signing keys. For stats.c.
 */
#ifndef HT_STATS_KEYS_H
#define HT_STATS_KEYS_H

#include "stats.h"

void ht_stats_write_keys(FILE *f, const struct ht_stats_global *g);

#endif
