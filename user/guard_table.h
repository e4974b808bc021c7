/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bans of a daemon that has no BPF map to keep them in. A fixed table; when it is full, the one
 * that ends first makes room. No lock, no clock: both are the caller's. For guard.c alone.
 */
#ifndef HT_GUARD_TABLE_H
#define HT_GUARD_TABLE_H

#include "abi.h"
#include "guard_abi.h"
#include "util.h"

struct ht_guard_table;

int ht_guard_table_new(size_t max, const struct ht_sip_keys *keys, struct ht_guard_table **ret);
void ht_guard_table_free(struct ht_guard_table *t); /* NULL-safe */

int ht_guard_table_get(const struct ht_guard_table *t, const struct ht_ban_key *key,
		       struct ht_ban *ret); /* -ENOENT */
void ht_guard_table_put(struct ht_guard_table *t, const struct ht_ban_key *key,
			const struct ht_ban *ban);
int ht_guard_table_delete(struct ht_guard_table *t, const struct ht_ban_key *key); /* -ENOENT */

/* The i-th place; false when there are no more, *ret_ban NULL where it is empty. */
bool ht_guard_table_at(const struct ht_guard_table *t, size_t i, const struct ht_ban_key **ret_key,
		       const struct ht_ban **ret_ban);

#endif
