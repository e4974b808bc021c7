/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions that an operator has ended before their time: an immutable set, replaced whole. It
 * holds keyed hashes of what was revoked, never a cookie's value. Pure: no clock, no files.
 */
#ifndef HT_REVOKED_H
#define HT_REVOKED_H

#include <stdatomic.h>

#include "abi.h"
#include "util.h"

#define HT_REVOKED_MAX 65536 /* sessions at a time */

struct ht_revoked_entry {
	uint64_t lo, hi;  /* SipHash-2-4-128 of site, name and value */
	uint64_t until_s; /* Unix time; afterwards it is as good as gone */
};

struct ht_revoked {
	atomic_uint refs;
	struct ht_sip_keys keys; /* random; the first is for the hashes */
	size_t n;
	struct ht_revoked_entry entry[]; /* sorted */
};

/* `site` is the site's first host, or empty: the cookie is revoked in all sites. */
void ht_revoked_hash(const struct ht_sip_keys *keys, struct ht_str site, struct ht_str name,
		     struct ht_str value, struct ht_revoked_entry *ret);

/* A set of these entries, which may be in any order, each once. The caller owns *ret. -ENOMEM. */
int ht_revoked_new(const struct ht_sip_keys *keys, const struct ht_revoked_entry *entries, size_t n,
		   struct ht_revoked **ret);

/*
 * Another set with this entry, its end replaced if it was there, and without those that are over.
 * -ENOSPC when it would be more than HT_REVOKED_MAX, -ENOMEM.
 */
int ht_revoked_add(const struct ht_revoked *old, const struct ht_revoked_entry *entry,
		   uint64_t now_s, struct ht_revoked **ret);

/* Is this cookie of that site revoked, there or everywhere? NULL is the empty set. Any thread. */
bool ht_revoked_has(const struct ht_revoked *r, struct ht_str site, struct ht_str name,
		    struct ht_str value, uint64_t now_s);

/* How many are not over yet. NULL-safe. */
size_t ht_revoked_count(const struct ht_revoked *r, uint64_t now_s);

/* Thread-safe, NULL-safe. */
struct ht_revoked *ht_revoked_ref(struct ht_revoked *r);
void ht_revoked_unref(struct ht_revoked *r);

#endif
