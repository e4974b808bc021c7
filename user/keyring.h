/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signing keys and their generations. Secrets live in locked memory that no core dump shows
 * and are wiped when the last snapshot that holds them is gone. A snapshot is immutable: who
 * verifies with it pushes tokens under the generations that it carries, so that a revocation
 * can't be outrun.
 */
#ifndef HT_KEYRING_H
#define HT_KEYRING_H

#include "config.h"
#include "util.h"

#define HT_SECRET_MAX 4096 /* bytes of a secret; longer key files are refused */

struct ht_mac_key;

/* One live secret of a named key. */
struct ht_secret {
	const uint8_t *bytes;
	size_t len;
	const struct ht_mac_key *keyed; /* kept HMAC state, in the same memory; or NULL */
};

struct ht_key {
	const char *name;
	uint32_t gen; /* what a push must carry */
	size_t nsecrets;
	const struct ht_secret *secrets; /* newest first: sign with [0], verify with each */
};

struct ht_keyring {
	size_t nkeys;
	const struct ht_key *keys; /* indexed as ht_config.keys */
	uint32_t global_gen;
};

/*
 * Loads every key of the configuration: the file's bytes less one trailing newline. An empty,
 * missing, unreadable, over-long or world-readable file is the user's mistake (-EINVAL with
 * diag). The caller owns *ret: ht_keyring_unref().
 */
int ht_keyring_load(const struct ht_config *c, struct ht_keyring **ret, struct ht_diag *diag);

/* One secret from a file, by the same rules, for the offline tools. *ret_bytes: ht_secret_free() */
int ht_secret_read(const char *file, uint8_t **ret_bytes, size_t *ret_len, struct ht_diag *diag);
void ht_secret_free(uint8_t *bytes, size_t len);

/*
 * A new snapshot with the same secrets and other generations; key < 0 bumps the global one.
 * The old one stays valid until its last user is gone. -ENOMEM.
 */
int ht_keyring_bump(const struct ht_keyring *old, int key, struct ht_keyring **ret);

/*
 * For a snapshot that nobody uses yet: keys whose secrets are those of `before` keep their
 * generations, all others get new ones. Its keys are in the same places (ht_config_keep_keys()),
 * and a place without a key has no secrets.
 */
void ht_keyring_follow(struct ht_keyring *ring, const struct ht_keyring *before);

/*
 * The same where only what a file kept of the secrets is known, after a restart. The prints of a
 * ring's keys are made by ht_keyring_prints() under a random salt.
 */
#define HT_PRINT_LEN 16
struct ht_key_past {
	const char *name; /* NULL = no key had this place */
	uint32_t gen;
	uint8_t print[HT_PRINT_LEN];
};
void ht_keyring_recall(struct ht_keyring *ring, const struct ht_key_past *past, size_t npast,
		       uint32_t global_gen, const uint8_t salt[HT_PRINT_LEN]);
/* -EIO. Places without a key get zeros. */
int ht_keyring_print(const struct ht_key *key, const uint8_t salt[HT_PRINT_LEN],
		     uint8_t ret[HT_PRINT_LEN]);

/* Thread-safe reference counts; unref is NULL-safe and wipes with the last one. */
struct ht_keyring *ht_keyring_ref(struct ht_keyring *k);
void ht_keyring_unref(struct ht_keyring *k);

#endif
