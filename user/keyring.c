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
	struct set_key {
		char *name; /* a copy: a snapshot may outlive its configuration. NULL = no key */
		size_t n;
		struct ht_secret *secrets;
	} keys[];
};

/* What a set is made of. */
struct draft {
	const char *name; /* borrowed */
	struct ht_key_source source;
	uint8_t *loose; /* what was read from a file */
	size_t loose_len;
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

void *ht_secret_memory(size_t len)
{
	return secure_map(round_to_pages(len));
}

void ht_secret_memory_free(void *p, size_t len)
{
	secure_unmap(p, round_to_pages(len));
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

static int open_secret(const char *file, int *ret_fd, uint64_t *ret_born_s, struct ht_diag *diag)
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
	*ret_born_s = st.st_mtime > 0 ? (uint64_t)st.st_mtime : 0;
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
	uint64_t unused;

	return ht_secret_read_born(file, ret_bytes, ret_len, &unused, diag);
}

int ht_secret_read_born(const char *file, uint8_t **ret_bytes, size_t *ret_len,
			uint64_t *ret_born_s, struct ht_diag *diag)
{
	_cleanup_close_ int fd = -1;
	uint8_t *bytes;
	size_t len = 0;
	int r = open_secret(file, &fd, ret_born_s, diag);

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

/* A label of its own: no format signs it. */
static void name_keyed(const struct ht_mac_key *keyed, char ret[HT_SECRET_ID_LEN + 1])
{
	static const struct ht_str label = {"hardtack secret id", 18};
	uint8_t mac[SHA256_DIGEST_LENGTH];

	ht_mac_sha256(keyed, &label, 1, mac);
	for (size_t i = 0; i < HT_SECRET_ID_LEN / 2; i++)
		snprintf(ret + 2 * i, 3, "%02x", mac[i]);
}

void ht_secret_name(const uint8_t *bytes, size_t len, char ret[HT_SECRET_ID_LEN + 1])
{
	struct ht_mac_key keyed;

	ht_mac_key_make(bytes, len, &keyed);
	name_keyed(&keyed, ret);
	OPENSSL_cleanse(&keyed, sizeof(keyed));
}

static void set_free(struct secret_set *set)
{
	if (!set)
		return;
	secure_unmap(set->region, set->region_len);
	for (size_t i = 0; i < set->nkeys; i++) {
		free(set->keys[i].name);
		free(set->keys[i].secrets);
	}
	free(set);
}

/* Names and room for secrets. */
static struct secret_set *set_new(const struct draft *drafts, size_t nkeys)
{
	struct secret_set *set = calloc(1, sizeof(*set) + nkeys * sizeof(set->keys[0]));

	if (!set)
		return NULL;
	atomic_init(&set->refs, 1);
	set->nkeys = nkeys;
	for (size_t i = 0; i < nkeys; i++) {
		struct set_key *key = &set->keys[i];

		if (!drafts[i].name)
			continue; /* a place that a reload left empty */
		key->n = drafts[i].source.n;
		key->name = strdup(drafts[i].name);
		key->secrets = calloc(key->n + 1, sizeof(*key->secrets));
		if (!key->name || !key->secrets) {
			set_free(set);
			return NULL;
		}
	}
	return set;
}

static void secret_place(struct ht_secret *ret, const struct ht_secret_source *s,
			 struct ht_mac_key *keyed, uint8_t *at)
{
	memcpy(at, s->bytes, s->len);
	ht_mac_key_make(at, s->len, keyed);
	ht_mac_key_make_id(keyed);
	*ret = (struct ht_secret){
		.bytes = at,
		.len = s->len,
		.keyed = keyed,
		.born_s = s->born_s,
		.retire_s = s->retire_s,
		.early = s->early,
	};
	name_keyed(keyed, ret->id);
}

/* Copies the secrets into one region, behind the state that signing with them begins with. */
static int set_fill(struct secret_set *set, const struct draft *drafts)
{
	struct ht_mac_key *keyed;
	size_t n = 0, bytes = 1;
	uint8_t *at;

	for (size_t i = 0; i < set->nkeys; i++) {
		n += set->keys[i].n;
		for (size_t k = 0; k < set->keys[i].n; k++)
			bytes += drafts[i].source.secret[k].len;
	}
	set->region_len = round_to_pages(n * sizeof(*keyed) + bytes);
	set->region = secure_map(set->region_len);
	if (!set->region)
		return -ENOMEM;
	keyed = (struct ht_mac_key *)set->region;
	at = set->region + n * sizeof(*keyed);
	for (size_t i = 0; i < set->nkeys; i++) {
		for (size_t k = 0; k < set->keys[i].n; k++) {
			const struct ht_secret_source *s = &drafts[i].source.secret[k];

			secret_place(&set->keys[i].secrets[k], s, keyed++, at);
			at += s->len;
		}
	}
	/* A stray write faults instead of changing what is signed. */
	(void)mprotect(set->region, set->region_len, PROT_READ);
	return 0;
}

static int set_make(const struct draft *drafts, size_t nkeys, struct secret_set **ret)
{
	struct secret_set *set = set_new(drafts, nkeys);

	if (!set)
		return -ENOMEM;
	if (set_fill(set, drafts)) {
		set_free(set);
		return -ENOMEM;
	}
	*ret = set;
	return 0;
}

static void set_unref(struct secret_set *set)
{
	if (atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) == 1)
		set_free(set);
}

/* ---- what a key is made of ---- */

static bool same_bytes(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	return a_len == b_len && !CRYPTO_memcmp(a, b, b_len);
}

void ht_key_live(const struct ht_key *key, uint64_t now_s, struct ht_key_source *ret)
{
	ret->given = true;
	ret->n = 0;
	for (size_t i = 0; i < key->nsecrets && ret->n < HT_SECRETS_MAX; i++) {
		const struct ht_secret *s = &key->secrets[i];

		if (s->retire_s && s->retire_s <= now_s)
			continue;
		ret->secret[ret->n++] = (struct ht_secret_source){
			.bytes = s->bytes,
			.len = s->len,
			.born_s = s->born_s,
			.retire_s = s->retire_s,
			.early = s->early,
		};
	}
}

bool ht_key_is(const struct ht_key *key, const struct ht_key_source *source)
{
	if (key->nsecrets != source->n)
		return false;
	for (size_t i = 0; i < source->n; i++) {
		const struct ht_secret *a = &key->secrets[i];
		const struct ht_secret_source *b = &source->secret[i];

		if (!same_bytes(a->bytes, a->len, b->bytes, b->len) || a->early != b->early)
			return false;
	}
	return true;
}

/* Behind what the file holds now: the secrets until now, each until its time is over. */
static void source_carry(struct ht_key_source *s, const struct ht_key *before, uint64_t lifetime_s,
			 uint64_t now_s)
{
	const struct ht_secret_source newest = s->secret[0];
	struct ht_key_source live;

	ht_key_live(before, now_s, &live);
	if (live.n &&
	    same_bytes(live.secret[0].bytes, live.secret[0].len, newest.bytes, newest.len))
		s->secret[0].born_s = live.secret[0].born_s;
	for (size_t i = 0; i < live.n && s->n < HT_SECRETS_MAX; i++) {
		if (same_bytes(live.secret[i].bytes, live.secret[i].len, newest.bytes, newest.len))
			continue;
		if (!live.secret[i].retire_s)
			live.secret[i].retire_s = now_s + lifetime_s;
		s->secret[s->n++] = live.secret[i];
	}
}

static int draft_read(struct draft *d, const struct ht_key_config *key, const struct ht_key *before,
		      uint64_t now_s, struct ht_diag *why)
{
	struct ht_key_source *s = &d->source;
	uint64_t born_s;
	int r = ht_secret_read_born(key->file, &d->loose, &d->loose_len, &born_s, why);

	if (r)
		return r;
	s->n = 1;
	s->secret[0] =
		(struct ht_secret_source){.bytes = d->loose, .len = d->loose_len, .born_s = born_s};
	if (before && key->lifetime_s && before->name && !strcmp(before->name, key->name))
		source_carry(s, before, key->lifetime_s, now_s);
	return 0;
}

static void drafts_free(struct draft *drafts, size_t n)
{
	for (size_t i = 0; drafts && i < n; i++)
		ht_secret_free(drafts[i].loose, drafts[i].loose_len);
	free(drafts);
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
			.name = set->keys[i].name,
			.gen = 1,
			.nsecrets = set->keys[i].n,
			.secrets = set->keys[i].secrets,
		};
	*ret = s;
	return 0;
}

static int snapshot_make(const struct draft *drafts, size_t nkeys, struct snapshot **ret)
{
	struct secret_set *set;
	int r = set_make(drafts, nkeys, &set);

	if (r)
		return r;
	r = snapshot_new(set, ret);
	if (r)
		set_free(set);
	return r;
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

int ht_keyring_load(const struct ht_config *c, struct ht_keyring **ret, struct ht_diag *diag)
{
	return ht_keyring_make(c, NULL, NULL, 0, ret, diag);
}

int ht_keyring_make(const struct ht_config *c, const struct ht_key_source *given,
		    const struct ht_keyring *before, uint64_t now_s, struct ht_keyring **ret,
		    struct ht_diag *diag)
{
	struct draft *drafts = calloc(c->nkeys + 1, sizeof(*drafts));
	struct snapshot *s;
	int r = 0;

	if (!drafts)
		return fail_memory(diag, c);
	for (size_t i = 0; !r && i < c->nkeys; i++) {
		struct ht_diag why;

		drafts[i].name = c->keys[i].name;
		if (given && given[i].given)
			drafts[i].source = given[i];
		else if (c->keys[i].name &&
			 draft_read(&drafts[i], &c->keys[i],
				    before && i < before->nkeys ? &before->keys[i] : NULL, now_s,
				    &why))
			r = fail_key(diag, c, i, &why);
	}
	if (!r && snapshot_make(drafts, c->nkeys, &s))
		r = fail_memory(diag, c);
	if (!r)
		*ret = &s->ring;
	drafts_free(drafts, c->nkeys);
	return r;
}

int ht_keyring_replace(const struct ht_keyring *old, size_t key, const struct ht_key_source *with,
		       struct ht_keyring **ret)
{
	struct draft *drafts = calloc(old->nkeys, sizeof(*drafts));
	struct snapshot *s;
	int r;

	assert(key < old->nkeys);
	if (!drafts)
		return -ENOMEM;
	for (size_t i = 0; i < old->nkeys; i++) {
		drafts[i].name = old->keys[i].name;
		ht_key_live(&old->keys[i], 0, &drafts[i].source);
	}
	drafts[key].source = *with;
	r = snapshot_make(drafts, old->nkeys, &s);
	free(drafts);
	if (r)
		return r;
	s->ring.global_gen = old->global_gen;
	for (size_t i = 0; i < old->nkeys; i++)
		s->keys[i].gen = old->keys[i].gen + (i == key);
	*ret = &s->ring;
	return 0;
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

static bool same_secrets(const struct ht_key *a, const struct ht_key *b)
{
	struct ht_key_source all;

	if (!a->name || !b->name)
		return !a->name && !b->name;
	ht_key_live(b, 0, &all);
	return !strcmp(a->name, b->name) && ht_key_is(a, &all);
}

void ht_keyring_follow(struct ht_keyring *ring, const struct ht_keyring *before)
{
	struct snapshot *s = ht_container_of(ring, struct snapshot, ring);

	s->ring.global_gen = before->global_gen;
	for (size_t i = 0; i < ring->nkeys && i < before->nkeys; i++) {
		const struct ht_key *old = &before->keys[i];

		s->keys[i].gen = old->gen + !same_secrets(&s->keys[i], old);
	}
}

int ht_keyring_print(const struct ht_key *key, const uint8_t salt[HT_PRINT_LEN],
		     uint8_t ret[HT_PRINT_LEN])
{
	struct ht_str parts[2 * HT_SECRETS_MAX];
	uint8_t mac[SHA256_DIGEST_LENGTH];
	struct ht_mac_key keyed;

	memset(ret, 0, HT_PRINT_LEN);
	if (!key->nsecrets)
		return 0;
	assert(key->nsecrets <= HT_SECRETS_MAX);
	for (size_t i = 0; i < key->nsecrets; i++) {
		const struct ht_secret *s = &key->secrets[i];

		parts[2 * i] = (struct ht_str){(const char *)&s->len, sizeof(s->len)};
		parts[2 * i + 1] = (struct ht_str){(const char *)s->bytes, s->len};
	}
	ht_mac_key_make(salt, HT_PRINT_LEN, &keyed);
	ht_mac_sha256(&keyed, parts, 2 * key->nsecrets, mac);
	memcpy(ret, mac, HT_PRINT_LEN);
	OPENSSL_cleanse(mac, sizeof(mac));
	OPENSSL_cleanse(&keyed, sizeof(keyed));
	return 0;
}

int ht_keyring_print_one(const struct ht_key *key, size_t n, const uint8_t salt[HT_PRINT_LEN],
			 uint8_t ret[HT_PRINT_LEN])
{
	const struct ht_key one = {.nsecrets = n < key->nsecrets,
				   .secrets = n < key->nsecrets ? &key->secrets[n] : NULL};

	return ht_keyring_print(&one, salt, ret);
}

static bool same_past(const struct ht_key *key, const struct ht_key_past *past,
		      const uint8_t salt[HT_PRINT_LEN])
{
	uint8_t print[HT_PRINT_LEN];

	if (!key->name || !past->name)
		return !key->name && !past->name;
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
