/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of revoked sessions: a head with the hashes' keys, then records in places of their own,
 * each with a check of its own. Places of those that are over are used again; nothing else is ever
 * rewritten, so that whatever happens in the middle costs one record at the most.
 */
#include <fcntl.h>
#include <openssl/rand.h>

#include "keep.h"

#define REVOKED_MAGIC 0x656b6f7665726874ULL /* "threvoke" */
#define REVOKED_FORMAT 1

struct revoked_head {
	uint64_t magic, format;
	struct ht_sip_keys keys;
	uint64_t check;
};

struct revoked_record {
	struct ht_revoked_entry entry;
	uint64_t check;
};

/* Whether the words are what we wrote. Records are bound to their place. */
static uint64_t check_of(const struct ht_sip_keys *keys, size_t place, const uint64_t *words,
			 size_t n)
{
	struct ht_sip s;

	ht_sip_init(&s, keys->tag, 0);
	ht_sip_word(&s, place);
	for (size_t i = 0; i < n; i++)
		ht_sip_word(&s, words[i]);
	return ht_sip_final(&s, 0);
}

static uint64_t check_of_record(const struct ht_keep_revoked *k, size_t place,
				const struct ht_revoked_entry *e)
{
	return check_of(&k->keys, place, (const uint64_t[]){e->lo, e->hi, e->until_s}, 3);
}

static uint64_t check_of_head(const struct revoked_head *h)
{
	return check_of(&h->keys, SIZE_MAX, (const uint64_t[]){h->magic, h->format}, 2);
}

static off_t offset_of(size_t place)
{
	return (off_t)(sizeof(struct revoked_head) + place * sizeof(struct revoked_record));
}

/* ---- reading ---- */

/* A file without a head of ours begins anew. */
static int head_new(struct ht_keep_revoked *k)
{
	struct revoked_head h = {.magic = REVOKED_MAGIC, .format = REVOKED_FORMAT};

	if (RAND_bytes((unsigned char *)&h.keys, sizeof(h.keys)) != 1)
		return -EIO;
	h.check = check_of_head(&h);
	k->keys = h.keys;
	if (ftruncate(k->fd, 0))
		return -errno;
	return pwrite(k->fd, &h, sizeof(h), 0) == sizeof(h) && !fdatasync(k->fd) ? 0 : -EIO;
}

static void records_read(struct ht_keep_revoked *k)
{
	for (; k->n < HT_REVOKED_MAX; k->n++) {
		struct revoked_record r;
		ssize_t len = pread(k->fd, &r, sizeof(r), offset_of(k->n));

		if (len <= 0)
			return;
		if (len != sizeof(r) || r.check != check_of_record(k, k->n, &r.entry)) {
			k->damaged++;
			r.entry = (struct ht_revoked_entry){0}; /* long over: a place to use */
		}
		k->entry[k->n] = r.entry;
	}
}

static int file_read(struct ht_keep_revoked *k)
{
	struct revoked_head h = {0};
	ssize_t len = pread(k->fd, &h, sizeof(h), 0);

	if (len < 0)
		return -errno;
	if (len != sizeof(h) || h.magic != REVOKED_MAGIC || h.format != REVOKED_FORMAT ||
	    h.check != check_of_head(&h)) {
		k->damaged = len > 0;
		return head_new(k);
	}
	k->keys = h.keys;
	records_read(k);
	return 0;
}

/* Places that are not used are left out. */
static int set_of(const struct ht_keep_revoked *k, struct ht_revoked **ret)
{
	_cleanup_free_ struct ht_revoked_entry *used = calloc(k->n + 1, sizeof(*used));
	size_t n = 0;

	if (!used)
		return -ENOMEM;
	for (size_t i = 0; i < k->n; i++) {
		if (k->entry[i].until_s)
			used[n++] = k->entry[i];
	}
	return ht_revoked_new(&k->keys, used, n, ret);
}

int ht_keep_revoked_open(const char *control, struct ht_keep_revoked **ret,
			 struct ht_revoked **ret_set)
{
	struct ht_keep_revoked *k = calloc(1, sizeof(*k));
	char path[512];
	int err = 0;

	if (!k)
		return -ENOMEM;
	snprintf(path, sizeof(path), "%s.revoked", control);
	k->fd = ht_keep_open_file(path);
	if (k->fd < 0)
		err = k->fd;
	if (!err)
		err = file_read(k);
	if (!err)
		err = set_of(k, ret_set);
	if (err)
		ht_keep_revoked_close(k);
	else
		*ret = k;
	return err;
}

/* ---- writing ---- */

/* Where this session stands, else the first place that nothing needs; HT_REVOKED_MAX if none. */
static size_t place_for(const struct ht_keep_revoked *k, const struct ht_revoked_entry *e,
			uint64_t now_s)
{
	size_t unused = k->n;

	for (size_t i = k->n; i-- > 0;) {
		if (k->entry[i].lo == e->lo && k->entry[i].hi == e->hi)
			return i;
		if (k->entry[i].until_s <= now_s)
			unused = i;
	}
	return unused;
}

int ht_keep_revoked_add(struct ht_keep_revoked *k, const struct ht_revoked_entry *entry,
			uint64_t now_s)
{
	size_t at = place_for(k, entry, now_s);
	struct revoked_record r = {.entry = *entry};

	if (at == HT_REVOKED_MAX)
		return -ENOSPC;
	r.check = check_of_record(k, at, entry);
	if (pwrite(k->fd, &r, sizeof(r), offset_of(at)) != sizeof(r) || fdatasync(k->fd))
		return -EIO;
	k->entry[at] = *entry;
	k->n = HT_MAX(k->n, at + 1);
	return 0;
}

void ht_keep_revoked_close(struct ht_keep_revoked *k)
{
	if (!k)
		return;
	ht_closep(&k->fd);
	free(k);
}
