/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What outlives a daemon beside the pinned maps: a small file, mode 0600, next to the control
 * socket. It holds what makes pinned tokens usable again (the SipHash keys, which stand in no map)
 * and what the signing keys were, as salted prints. The file is also the instance's lock.
 */
#ifndef HT_KEEP_H
#define HT_KEEP_H

#include "abi.h"
#include "keyring.h"
#include "revoked.h"
#include "util.h"

struct ht_keep {
	int fd;
	/* what the file said; id 0 = nothing of use */
	uint64_t id; /* of the tokens, as in the map `abi` */
	struct ht_sip_keys sip;
	uint8_t salt[HT_PRINT_LEN];
	size_t npast;
	struct ht_key_past past[HT_KEYS_MAX];
	char (*names)[256];
};

/*
 * Opens and locks CONTROL.state, reads what is in it. Waits for a daemon that drains, `wait_ms` at
 * the most; -EWOULDBLOCK if one serves. The caller owns *ret. -errno with why.
 */
int ht_keep_open(const char *control, unsigned wait_ms, struct ht_keep **ret, char *why,
		 size_t why_len);

/* Writes it anew: call it once the generations of `ring` are published. Needs no privileges. */
int ht_keep_write(struct ht_keep *k, uint64_t id, const struct ht_sip_keys *sip,
		  const struct ht_keyring *ring);

void ht_keep_close(struct ht_keep *k); /* NULL-safe; the file stays */

/*
 * CONTROL.revoked, beside it and under the same lock: sessions that were revoked, as hashes. Each
 * is written in a place of its own, so that no crash can take those before it.
 */
struct ht_keep_revoked {
	int fd;
	size_t n;
	size_t damaged; /* what the file held of which nothing could be made; all of it counts once */
	struct ht_sip_keys keys;
	struct ht_revoked_entry entry[HT_REVOKED_MAX]; /* by place */
};

/* The file's entries as a set, an empty one where there is none. Both are the caller's. -errno. */
int ht_keep_revoked_open(const char *control, struct ht_keep_revoked **ret,
			 struct ht_revoked **ret_set);

/* On disk when it returns. -ENOSPC, -EIO. Needs no privileges. */
int ht_keep_revoked_add(struct ht_keep_revoked *k, const struct ht_revoked_entry *entry,
			uint64_t now_s);

void ht_keep_revoked_close(struct ht_keep_revoked *k); /* NULL-safe; the file stays */

/* Opens or makes a file of ours, mode 0600, in the place of whatever else has that name. fd, -errno. */
int ht_keep_open_file(const char *path);

/*
 * A lock by flock(): held exclusively while a daemon serves, shared while it drains. So who waits
 * for it can tell. -EWOULDBLOCK: somebody serves (asked for a second); -ETIMEDOUT: he did not end.
 */
int ht_lock_wait(int fd, unsigned draining_ms);
void ht_lock_yield(int fd); /* says that we are draining */

#endif
