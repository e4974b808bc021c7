/* SPDX-License-Identifier: Apache-2.0 */
/* The list of rules, and its file: a head, the list, a SHA-256 of both. */
#include "guard_hold.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "log.h"

#define MAGIC 0x646c6f6864726168ULL /* "hardhold" */
#define RULES_MAX 65536
#define DIGEST_LEN 32

struct row {
	struct ht_guard_rule rule;
	uint64_t until_s;
};

struct image {
	uint64_t magic;
	uint32_t row_size, n;
	struct row row[]; /* and the digest */
};

struct ht_holds {
	int fd;
	uint64_t last_s; /* until when anything is held */
	size_t n;
	struct row *row;
};

static void note_last(struct ht_holds *h)
{
	h->last_s = 0;
	for (size_t i = 0; i < h->n; i++)
		h->last_s = HT_MAX(h->last_s, h->row[i].until_s);
}

/* ---- the file ---- */

static size_t image_len(size_t n)
{
	return sizeof(struct image) + n * sizeof(struct row);
}

static bool digest(const struct image *m, uint8_t ret[DIGEST_LEN])
{
	return EVP_Digest(m, image_len(m->n), ret, NULL, EVP_sha256(), NULL) == 1;
}

/* Behind it may be what was there before, if a crash came before it was cut off. */
static bool is_good(const struct image *m, size_t len)
{
	uint8_t is[DIGEST_LEN];

	return len >= sizeof(*m) && m->magic == MAGIC && m->row_size == sizeof(m->row[0]) &&
	       m->n <= RULES_MAX && len >= image_len(m->n) + DIGEST_LEN && digest(m, is) &&
	       !memcmp((const char *)m + image_len(m->n), is, sizeof(is));
}

static int read_file(struct ht_holds *h)
{
	_cleanup_free_ struct image *m = NULL;
	struct stat st;
	ssize_t len;

	if (fstat(h->fd, &st) || (size_t)st.st_size > image_len(RULES_MAX) + DIGEST_LEN)
		return 0;
	m = malloc((size_t)st.st_size + 1);
	if (!m)
		return -ENOMEM;
	len = pread(h->fd, m, (size_t)st.st_size, 0);
	if (len <= 0 || !is_good(m, (size_t)len))
		return 0;
	h->row = malloc((m->n + 1) * sizeof(*h->row));
	if (!h->row)
		return -ENOMEM;
	memcpy(h->row, m->row, m->n * sizeof(*h->row));
	h->n = m->n;
	note_last(h);
	return 0;
}

static void write_file(const struct ht_holds *h)
{
	const size_t len = image_len(h->n) + DIGEST_LEN;
	_cleanup_free_ struct image *m = h->fd < 0 ? NULL : calloc(1, len);

	if (!m)
		return;
	m->magic = MAGIC;
	m->row_size = sizeof(m->row[0]);
	m->n = (uint32_t)h->n;
	memcpy(m->row, h->row, h->n * sizeof(*h->row));
	/* in place: whoever dies in between leaves one that its digest tells */
	if (!digest(m, (uint8_t *)m + image_len(m->n)) ||
	    pwrite(h->fd, m, len, 0) != (ssize_t)len || ftruncate(h->fd, (off_t)len))
		ht_log_limited(LOG_WARNING,
			       "msg=\"the guard will not know after a restart whom to hold\" "
			       "error=\"%s\"",
			       strerror(errno));
}

/* A regular file of ours alone, or none. */
static int open_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	struct stat st;

	if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	    !(st.st_mode & 077) && st.st_nlink == 1)
		return fd;
	ht_log(LOG_WARNING, "msg=\"the guard can't keep whom to hold\" file=%s error=\"%s\"", path,
	       fd < 0 ? strerror(errno) : "not a file of ours alone");
	ht_closep(&fd);
	return -1;
}

int ht_holds_open(const char *path, struct ht_holds **ret)
{
	struct ht_holds *h = calloc(1, sizeof(*h));
	int err = 0;

	if (!h)
		return -ENOMEM;
	h->fd = path ? open_file(path) : -1;
	if (h->fd >= 0)
		err = read_file(h);
	if (err)
		ht_holds_close(h);
	else
		*ret = h;
	return err;
}

void ht_holds_close(struct ht_holds *h)
{
	if (!h)
		return;
	ht_closep(&h->fd);
	free(h->row);
	free(h);
}

/* ---- the list ---- */

static struct row *find(const struct ht_holds *h, uint64_t rule)
{
	for (size_t i = 0; i < h->n; i++) {
		if (h->row[i].rule.id == rule)
			return &h->row[i];
	}
	return NULL;
}

int ht_holds_follow(struct ht_holds *h, const struct ht_guard_rule *rules, size_t n,
		    uint64_t until_s)
{
	struct row *rows;
	int held = 0;

	if (n > RULES_MAX)
		n = RULES_MAX;
	rows = calloc(n + 1, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct row *was = find(h, rules[i].id);
		bool differs = was && was->rule.print != rules[i].print;

		rows[i].rule = rules[i];
		rows[i].until_s = differs ? until_s : was && until_s ? was->until_s : 0;
		held += differs && until_s;
	}
	free(h->row);
	h->row = rows;
	h->n = n;
	note_last(h);
	write_file(h);
	return held;
}

int ht_holds_key(struct ht_holds *h, const char *key, uint64_t until_s)
{
	const uint64_t print = ht_guard_key_print(key);
	int held = 0;

	for (size_t i = 0; i < h->n; i++) {
		if (h->row[i].rule.key != print || !h->row[i].rule.timeless || !until_s)
			continue;
		h->row[i].until_s = until_s;
		held++;
	}
	note_last(h);
	if (held)
		write_file(h);
	return held;
}

bool ht_holds_has(const struct ht_holds *h, uint64_t rule, uint64_t now_s)
{
	const struct row *r = h->last_s > now_s ? find(h, rule) : NULL;

	return r && r->until_s > now_s;
}

size_t ht_holds_count(const struct ht_holds *h, uint64_t now_s)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n; i++)
		n += h->row[i].until_s > now_s;
	return n;
}
