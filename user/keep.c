/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file that outlives the daemon, and the lock that tells a draining daemon from a serving one. A
 * file that is not exactly what we wrote is as good as none: tokens start anew, nothing fails.
 */
#include "keep.h"

#include <fcntl.h>
#include <libgen.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define KEEP_MAGIC 0x6b63617464726168ULL /* "hardtack" */
#define KEEP_FORMAT 2
#define LOCK_LOOK_MS 5
#define LOCK_SERVING_MS 1000 /* a signal to drain may be on its way */

struct keep_key {
	char name[256];		     /* "" = no key has this place */
	uint8_t print[HT_PRINT_LEN]; /* of all its secrets */
	uint8_t signs[HT_PRINT_LEN]; /* of the one that signs, alone */
};

/* The file: this, its keys, a SHA-256 of both. Read by the machine that wrote it. */
struct keep_head {
	uint64_t magic;
	uint32_t format, nkeys;
	uint64_t id;
	struct ht_sip_keys sip;
	uint8_t salt[HT_PRINT_LEN];
};

struct keep_image {
	struct keep_head head;
	struct keep_key key[HT_KEYS_MAX];
	uint8_t room[32]; /* for the digest behind the last key */
};

/* ---- the lock ---- */

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
}

int ht_lock_wait(int fd, unsigned draining_ms)
{
	unsigned serving = 0, draining = 0;

	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (!flock(fd, LOCK_SH | LOCK_NB)) {
			flock(fd, LOCK_UN);
			draining += LOCK_LOOK_MS;
		} else {
			serving += LOCK_LOOK_MS;
		}
		if (serving > LOCK_SERVING_MS)
			return -EWOULDBLOCK;
		if (draining > draining_ms)
			return -ETIMEDOUT;
		pause_ms(LOCK_LOOK_MS);
	}
	return 0;
}

void ht_lock_yield(int fd)
{
	if (fd >= 0)
		flock(fd, LOCK_SH | LOCK_NB);
}

/* ---- the file ---- */

static size_t image_len(const struct keep_image *m)
{
	return sizeof(m->head) + m->head.nkeys * sizeof(m->key[0]);
}

static int image_digest(const struct keep_image *m, uint8_t ret[32])
{
	return EVP_Digest(m, image_len(m), ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : -EIO;
}

static bool image_good(const struct keep_image *m, size_t len)
{
	uint8_t digest[32];

	return len >= sizeof(m->head) && m->head.magic == KEEP_MAGIC &&
	       m->head.format == KEEP_FORMAT && m->head.nkeys <= HT_KEYS_MAX &&
	       len == image_len(m) + sizeof(digest) && !image_digest(m, digest) &&
	       !memcmp((const char *)m + image_len(m), digest, sizeof(digest));
}

static int keep_recall(struct ht_keep *k, const struct keep_image *m)
{
	k->names = calloc(m->head.nkeys + 1, sizeof(*k->names));
	if (!k->names)
		return -ENOMEM;
	k->id = m->head.id;
	k->sip = m->head.sip;
	memcpy(k->salt, m->head.salt, sizeof(k->salt));
	k->npast = m->head.nkeys;
	for (size_t i = 0; i < k->npast; i++) {
		memcpy(k->names[i], m->key[i].name, sizeof(k->names[i]) - 1);
		k->past[i].name = k->names[i][0] ? k->names[i] : NULL;
		memcpy(k->past[i].print, m->key[i].print, HT_PRINT_LEN);
		memcpy(k->past[i].signs, m->key[i].signs, HT_PRINT_LEN);
	}
	return 0;
}

static int keep_read(struct ht_keep *k)
{
	struct keep_image *m = calloc(1, sizeof(*m));
	ssize_t len;
	int err = 0;

	if (!m)
		return -ENOMEM;
	len = pread(k->fd, m, sizeof(*m), 0);
	if (len > 0 && image_good(m, (size_t)len))
		err = keep_recall(k, m);
	OPENSSL_cleanse(m, sizeof(*m));
	free(m);
	return err;
}

/* Ours, and nobody else's in any way: else it is replaced. */
static bool keep_is_private(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	       !(st.st_mode & 077) && st.st_nlink == 1;
}

int ht_keep_open_file(const char *path)
{
	const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	int fd = open(path, flags, 0600);

	if (fd >= 0 && !keep_is_private(fd)) {
		close(fd);
		fd = -1;
		errno = ELOOP;
	}
	if (fd < 0 && errno == ELOOP && !unlink(path))
		fd = open(path, flags | O_EXCL, 0600);
	return fd < 0 ? -errno : fd;
}

/* The lock of a file that somebody removed meanwhile is worth nothing. */
static int keep_lock(struct ht_keep *k, const char *path, unsigned wait_ms)
{
	struct stat st;
	int err;

	do {
		ht_closep(&k->fd);
		k->fd = ht_keep_open_file(path);
		if (k->fd < 0)
			return k->fd;
		err = ht_lock_wait(k->fd, wait_ms);
	} while (!err && !fstat(k->fd, &st) && !st.st_nlink);
	return err;
}

int ht_keep_open(const char *control, unsigned wait_ms, struct ht_keep **ret, char *why,
		 size_t why_len)
{
	struct ht_keep *k = calloc(1, sizeof(*k));
	char path[512], dir[512];
	int err = -ENOMEM;

	snprintf(path, sizeof(path), "%s.state", control);
	snprintf(dir, sizeof(dir), "%s", path);
	snprintf(why, why_len, "%s", path);
	if (!k)
		return err;
	k->fd = -1;
	mkdir(dirname(dir), 0755); /* as for the control socket */
	err = keep_lock(k, path, wait_ms);
	if (!err)
		err = keep_read(k);
	if (err == -EWOULDBLOCK)
		snprintf(why, why_len, "another hardtackd serves %s", control);
	else if (err == -ETIMEDOUT)
		snprintf(why, why_len, "another hardtackd at %s drains and does not end", control);
	else if (err)
		snprintf(why, why_len, "%s: %s", path, strerror(-err));
	if (err)
		ht_keep_close(k);
	else
		*ret = k;
	return err;
}

static int image_make(struct keep_image *m, const struct ht_keyring *ring)
{
	if (RAND_bytes(m->head.salt, sizeof(m->head.salt)) != 1)
		return -EIO;
	m->head.nkeys = (uint32_t)ring->nkeys;
	for (size_t i = 0; i < ring->nkeys; i++) {
		const struct ht_key *key = &ring->keys[i];
		int err = ht_keyring_print(key, m->head.salt, m->key[i].print);

		if (!err)
			err = ht_keyring_print_one(key, 0, m->head.salt, m->key[i].signs);
		if (err)
			return err;
		/* what doesn't fit is another key the next time: its tokens are verified anew */
		if (key->name)
			snprintf(m->key[i].name, sizeof(m->key[i].name) - 1, "%s", key->name);
	}
	return image_digest(m, (uint8_t *)m + image_len(m));
}

int ht_keep_write(struct ht_keep *k, uint64_t id, const struct ht_sip_keys *sip,
		  const struct ht_keyring *ring)
{
	struct keep_image *m = calloc(1, sizeof(*m));
	size_t len;
	int err;

	if (!m)
		return -ENOMEM;
	m->head = (struct keep_head){
		.magic = KEEP_MAGIC, .format = KEEP_FORMAT, .id = id, .sip = *sip};
	err = image_make(m, ring);
	len = image_len(m) + 32;
	if (!err && ftruncate(k->fd, 0))
		err = -errno;
	if (!err && pwrite(k->fd, m, len, 0) != (ssize_t)len)
		err = -EIO;
	OPENSSL_cleanse(m, sizeof(*m));
	free(m);
	return err;
}

void ht_keep_close(struct ht_keep *k)
{
	if (!k)
		return;
	ht_closep(&k->fd);
	free(k->names);
	OPENSSL_cleanse(k, sizeof(*k));
	free(k);
}
