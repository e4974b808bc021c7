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

#define HT_SECRET_MAX 4096  /* bytes of a secret; longer key files are refused */
#define HT_SECRET_ID_LEN 16 /* characters */
#define HT_SECRETS_MAX 16   /* live ones of a key */

struct ht_mac_key;

/* One live secret of a named key. */
struct ht_secret {
	const uint8_t *bytes;
	size_t len;
	const struct ht_mac_key *keyed; /* kept HMAC state, in the same memory; or NULL */
	uint64_t born_s, retire_s;	/* Unix time; 0 = not known, never */
	char id[HT_SECRET_ID_LEN + 1];	/* a print of it, the same on every node; no secret */
	bool early; /* newer than [0]: others may sign with it already, and that is no renewal */
};

struct ht_key {
	const char *name;
	uint32_t gen; /* what a push must carry */
	size_t nsecrets;
	/* newest first, an early one last: sign with [0], verify with each that is not retired */
	const struct ht_secret *secrets;
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

/* Secrets of a key that don't come out of its file, in the order of ht_key.secrets. */
struct ht_secret_source {
	const uint8_t *bytes;
	size_t len;
	uint64_t born_s, retire_s;
	bool early;
};
struct ht_key_source {
	bool given; /* else the file is read */
	size_t n;   /* may be 0: then nothing of this key is signed, and nothing verifies */
	struct ht_secret_source secret[HT_SECRETS_MAX];
};

/*
 * The same with other sources: given[nkeys], or NULL. `before` is the ring until now, or NULL: where
 * a key's file has changed and the key has a lifetime, its secrets until now verify for as long.
 */
int ht_keyring_make(const struct ht_config *c, const struct ht_key_source *given,
		    const struct ht_keyring *before, uint64_t now_s, struct ht_keyring **ret,
		    struct ht_diag *diag);

/*
 * A new snapshot where `key` has these secrets and a new generation, everything else is as it was.
 * -ENOMEM.
 */
int ht_keyring_replace(const struct ht_keyring *old, size_t key, const struct ht_key_source *with,
		       struct ht_keyring **ret);

/* The secrets that the key has, less those that are retired by now. They are borrowed from it. */
void ht_key_live(const struct ht_key *key, uint64_t now_s, struct ht_key_source *ret);

/* Does the key have exactly these secrets in this order? */
bool ht_key_is(const struct ht_key *key, const struct ht_key_source *source);

/* The id of a secret. */
void ht_secret_name(const uint8_t *bytes, size_t len, char ret[HT_SECRET_ID_LEN + 1]);

/* Memory for secrets: zeroed, locked, in no dump, not in children; wiped when freed. NULL-safe. */
void *ht_secret_memory(size_t len);
void ht_secret_memory_free(void *p, size_t len);

/* One secret from a file, by the same rules, for the offline tools. *ret_bytes: ht_secret_free() */
int ht_secret_read(const char *file, uint8_t **ret_bytes, size_t *ret_len, struct ht_diag *diag);
/* The same, and when the file was last changed. */
int ht_secret_read_born(const char *file, uint8_t **ret_bytes, size_t *ret_len,
			uint64_t *ret_born_s, struct ht_diag *diag);
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
	uint8_t print[HT_PRINT_LEN]; /* of all its secrets */
	uint8_t signs[HT_PRINT_LEN]; /* of the one that signed, alone; zeros = not known */
};
void ht_keyring_recall(struct ht_keyring *ring, const struct ht_key_past *past, size_t npast,
		       uint32_t global_gen, const uint8_t salt[HT_PRINT_LEN]);
/* -EIO. Places without a key get zeros. */
int ht_keyring_print(const struct ht_key *key, const uint8_t salt[HT_PRINT_LEN],
		     uint8_t ret[HT_PRINT_LEN]);
/* The same of its n-th secret alone; zeros where there is none. */
int ht_keyring_print_one(const struct ht_key *key, size_t n, const uint8_t salt[HT_PRINT_LEN],
			 uint8_t ret[HT_PRINT_LEN]);

/* Thread-safe reference counts; unref is NULL-safe and wipes with the last one. */
struct ht_keyring *ht_keyring_ref(struct ht_keyring *k);
void ht_keyring_unref(struct ht_keyring *k);

#endif
