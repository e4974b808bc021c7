/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signing keys in memory that is locked, left out of core dumps, unreadable to children and wiped
 * when its last user is gone. Snapshots of the ring share one set of secrets and differ in their
 * generations. It logs nothing, and no secret ever becomes part of a message.
 */
#include "keyring.h"

#include <assert.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "creds.h"
#include "mac.h"

/* The secrets of one load. Immutable, read-only memory, shared by all its snapshots. */
struct secret_set {
	atomic_uint refs;
	uint8_t *region;
	size_t region_len;
	size_t nkeys;
	char **names; /* copies: a snapshot may outlive its configuration */
	struct ht_secret secrets[];
};

struct snapshot {
	atomic_uint refs;
	struct secret_set *set;
	struct ht_keyring ring;
	struct ht_key keys[];
};

/* ---- memory for secrets ---- */

static size_t round_to_pages(size_t len)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (len + page - 1) / page * page;
}

static uint8_t *secure_map(size_t len)
{
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* Best effort: RLIMIT_MEMLOCK may be smaller, and a daemon that does not start is worse. */
	(void)mlock(p, len);
	(void)madvise(p, len, MADV_DONTDUMP);
	(void)madvise(p, len, MADV_WIPEONFORK);
	return p;
}

static void secure_unmap(uint8_t *p, size_t len)
{
	if (!p)
		return;
	/* Sealed memory is read-only; a page that can't be written again is gone with munmap(). */
	if (!mprotect(p, len, PROT_READ | PROT_WRITE))
		OPENSSL_cleanse(p, len);
	munmap(p, len);
}

/* ---- one secret from a file ---- */

#define READ_MAX (HT_SECRET_MAX + 2) /* one newline, and one byte to see that it is too long */

static int refuse(struct ht_diag *diag, const char *file, const char *why)
{
	memset(diag, 0, sizeof(*diag));
	snprintf(diag->file, sizeof(diag->file), "%s", file);
	snprintf(diag->text, sizeof(diag->text), "%s", why);
	return -EINVAL;
}

static int open_secret(const char *file, int *ret_fd, struct ht_diag *diag)
{
	/* Non-blocking, so that a FIFO is refused instead of waited for. */
	_cleanup_close_ int fd = open(ht_creds_path(file),
				      O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return refuse(diag, file, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return refuse(diag, file, "it is not a plain file");
	if (st.st_mode & S_IRWXO)
		return refuse(diag, file,
			      "everybody on this machine may use it; chmod 600 it, or 640");
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int read_up_to(int fd, uint8_t *bytes, size_t cap, size_t *ret_len)
{
	size_t len = 0;
	ssize_t n;

	while (len < cap && (n = read(fd, bytes + len, cap - len)) != 0) {
		if (n < 0 && errno != EINTR)
			return -errno;
		len += n > 0 ? n : 0;
	}
	*ret_len = len;
	return 0;
}

int ht_secret_read(const char *file, uint8_t **ret_bytes, size_t *ret_len, struct ht_diag *diag)
{
	_cleanup_close_ int fd = -1;
	uint8_t *bytes;
	size_t len = 0;
	int r = open_secret(file, &fd, diag);

	if (r)
		return r;
	bytes = secure_map(round_to_pages(READ_MAX));
	if (!bytes)
		return refuse(diag, file, "out of memory");
	r = read_up_to(fd, bytes, READ_MAX, &len);
	if (r)
		r = refuse(diag, file, strerror(-r));
	else if (len && bytes[len - 1] == '\n')
		len--;
	if (!r && !len)
		r = refuse(diag, file, "it is empty; a key is at least one byte, and better 32");
	if (!r && len > HT_SECRET_MAX)
		r = refuse(diag, file, "it is longer than a key can be (4096 bytes)");
	if (r) {
		secure_unmap(bytes, round_to_pages(READ_MAX));
		return r;
	}
	*ret_bytes = bytes;
	*ret_len = len;
	return 0;
}
_Static_assert(HT_SECRET_MAX == 4096, "the text above says so");

void ht_secret_free(uint8_t *bytes, size_t len)
{
	(void)len; /* what follows the secret may have held its newline: wipe the whole mapping */
	secure_unmap(bytes, round_to_pages(READ_MAX));
}

/* ---- sets ---- */

static void set_free(struct secret_set *set)
{
	if (!set)
		return;
	secure_unmap(set->region, set->region_len);
	for (size_t i = 0; i < set->nkeys && set->names; i++)
		free(set->names[i]);
	free(set->names);
	free(set);
}

static struct secret_set *set_new(size_t nkeys)
{
	struct secret_set *set = calloc(1, sizeof(*set) + nkeys * sizeof(set->secrets[0]));

	if (!set)
		return NULL;
	atomic_init(&set->refs, 1);
	set->nkeys = nkeys;
	set->names = calloc(nkeys + 1, sizeof(*set->names));
	if (set->names)
		return set;
	free(set);
	return NULL;
}

/* Until set_seal() each secret has a mapping of its own. */
static void drop_loose(struct secret_set *set)
{
	for (size_t i = 0; i < set->nkeys; i++) {
		ht_secret_free((uint8_t *)set->secrets[i].bytes, set->secrets[i].len);
		set->secrets[i].bytes = NULL;
	}
}

/* Moves the secrets into one region, behind the state that signing with them begins with. */
static int set_seal(struct secret_set *set)
{
	size_t total = 1 + set->nkeys * sizeof(struct ht_mac_key);
	struct ht_mac_key *keyed;
	uint8_t *p;

	for (size_t i = 0; i < set->nkeys; i++)
		total += set->secrets[i].len;
	set->region_len = round_to_pages(total);
	set->region = secure_map(set->region_len);
	if (!set->region)
		return -ENOMEM;
	keyed = (struct ht_mac_key *)set->region;
	p = set->region + set->nkeys * sizeof(*keyed);
	for (size_t i = 0; i < set->nkeys; i++) {
		uint8_t *loose = (uint8_t *)set->secrets[i].bytes;

		if (!loose)
			continue;
		memcpy(p, loose, set->secrets[i].len);
		set->secrets[i].bytes = p;
		ht_mac_key_make(p, set->secrets[i].len, &keyed[i]);
		ht_mac_key_make_id(&keyed[i]);
		set->secrets[i].keyed = &keyed[i];
		p += set->secrets[i].len;
		ht_secret_free(loose, set->secrets[i].len);
	}
	return 0;
}

static void set_unref(struct secret_set *set)
{
	if (atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) == 1)
		set_free(set);
}

/* ---- snapshots ---- */

/* Takes the reference to `set` over if it succeeds. */
static int snapshot_new(struct secret_set *set, struct snapshot **ret)
{
	struct snapshot *s = calloc(1, sizeof(*s) + set->nkeys * sizeof(s->keys[0]));

	if (!s)
		return -ENOMEM;
	atomic_init(&s->refs, 1);
	s->set = set;
	s->ring.nkeys = set->nkeys;
	s->ring.keys = s->keys;
	s->ring.global_gen = 1;
	for (size_t i = 0; i < set->nkeys; i++)
		s->keys[i] = (struct ht_key){
			.name = set->names[i],
			.gen = 1,
			.nsecrets = set->names[i] ? 1 : 0,
			.secrets = &set->secrets[i],
		};
	*ret = s;
	return 0;
}

static int fail_key(struct ht_diag *diag, const struct ht_config *c, size_t key,
		    const struct ht_diag *why)
{
	snprintf(diag->file, sizeof(diag->file), "%s", c->file);
	diag->line = c->keys[key].line;
	diag->col = c->keys[key].col;
	snprintf(diag->text, sizeof(diag->text), "key file %.200s: %.200s", why->file, why->text);
	return -EINVAL;
}

static int fail_memory(struct ht_diag *diag, const struct ht_config *c)
{
	refuse(diag, c->file, "out of memory for its keys");
	return -ENOMEM;
}

static int load_loose(const struct ht_config *c, struct secret_set *set, struct ht_diag *diag)
{
	for (size_t i = 0; i < c->nkeys; i++) {
		struct ht_diag why;
		uint8_t *bytes;
		size_t len;

		if (!c->keys[i].name)
			continue; /* a place that a reload left empty */
		if (ht_secret_read(c->keys[i].file, &bytes, &len, &why))
			return fail_key(diag, c, i, &why);
		set->secrets[i] = (struct ht_secret){.bytes = bytes, .len = len};
		set->names[i] = strdup(c->keys[i].name);
		if (!set->names[i])
			return fail_memory(diag, c);
	}
	return 0;
}

int ht_keyring_load(const struct ht_config *c, struct ht_keyring **ret, struct ht_diag *diag)
{
	struct secret_set *set = set_new(c->nkeys);
	struct snapshot *s;
	int r;

	if (!set)
		return fail_memory(diag, c);
	r = load_loose(c, set, diag);
	if (!r && set_seal(set))
		r = fail_memory(diag, c);
	if (r) {
		drop_loose(set);
		goto out;
	}
	/* A stray write faults instead of changing what is signed. */
	(void)mprotect(set->region, set->region_len, PROT_READ);
	r = snapshot_new(set, &s);
	if (r) {
		fail_memory(diag, c);
		goto out;
	}
	*ret = &s->ring;
	return 0;
out:
	set_free(set);
	return r;
}

int ht_keyring_bump(const struct ht_keyring *old, int key, struct ht_keyring **ret)
{
	const struct snapshot *from = ht_container_of(old, struct snapshot, ring);
	struct snapshot *s;
	int r;

	assert(key < (int)old->nkeys);
	r = snapshot_new(from->set, &s);
	if (r)
		return r;
	atomic_fetch_add_explicit(&from->set->refs, 1, memory_order_relaxed);
	s->ring.global_gen = old->global_gen;
	for (size_t i = 0; i < old->nkeys; i++)
		s->keys[i].gen = old->keys[i].gen;
	if (key < 0)
		s->ring.global_gen++;
	else
		s->keys[key].gen++;
	*ret = &s->ring;
	return 0;
}

static bool same_secret(const struct ht_key *a, const struct ht_key *b)
{
	return a->nsecrets == 1 && b->nsecrets == 1 && !strcmp(a->name, b->name) &&
	       a->secrets->len == b->secrets->len &&
	       !CRYPTO_memcmp(a->secrets->bytes, b->secrets->bytes, a->secrets->len);
}

void ht_keyring_follow(struct ht_keyring *ring, const struct ht_keyring *before)
{
	struct snapshot *s = ht_container_of(ring, struct snapshot, ring);

	s->ring.global_gen = before->global_gen;
	for (size_t i = 0; i < ring->nkeys && i < before->nkeys; i++) {
		const struct ht_key *old = &before->keys[i];
		bool same = same_secret(&s->keys[i], old) ||
			    (!s->keys[i].nsecrets && !old->nsecrets);

		s->keys[i].gen = old->gen + !same;
	}
}

int ht_keyring_print(const struct ht_key *key, const uint8_t salt[HT_PRINT_LEN],
		     uint8_t ret[HT_PRINT_LEN])
{
	unsigned char mac[EVP_MAX_MD_SIZE];

	memset(ret, 0, HT_PRINT_LEN);
	if (!key->nsecrets)
		return 0;
	if (!HMAC(EVP_sha256(), salt, HT_PRINT_LEN, key->secrets->bytes, key->secrets->len, mac,
		  NULL))
		return -EIO;
	memcpy(ret, mac, HT_PRINT_LEN);
	OPENSSL_cleanse(mac, sizeof(mac));
	return 0;
}

static bool same_past(const struct ht_key *key, const struct ht_key_past *past,
		      const uint8_t salt[HT_PRINT_LEN])
{
	uint8_t print[HT_PRINT_LEN];

	if (!key->nsecrets || !past->name)
		return !key->nsecrets && !past->name;
	return !strcmp(key->name, past->name) && !ht_keyring_print(key, salt, print) &&
	       !CRYPTO_memcmp(print, past->print, sizeof(print));
}

void ht_keyring_recall(struct ht_keyring *ring, const struct ht_key_past *past, size_t npast,
		       uint32_t global_gen, const uint8_t salt[HT_PRINT_LEN])
{
	struct snapshot *s = ht_container_of(ring, struct snapshot, ring);

	s->ring.global_gen = global_gen;
	for (size_t i = 0; i < ring->nkeys && i < npast; i++)
		s->keys[i].gen = past[i].gen + !same_past(&s->keys[i], &past[i], salt);
}

struct ht_keyring *ht_keyring_ref(struct ht_keyring *k)
{
	struct snapshot *s = ht_container_of(k, struct snapshot, ring);

	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return k;
}

void ht_keyring_unref(struct ht_keyring *k)
{
	struct snapshot *s;

	if (!k)
		return;
	s = ht_container_of(k, struct snapshot, ring);
	if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	set_unref(s->set);
	free(s);
}
