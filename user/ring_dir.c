/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing the directory of a key. Each file appears whole or not at all, and at every
 * moment the directory as it stands is a ring that is good to start with. No secret gets into a
 * message.
 */
#include "ring_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <sys/stat.h>

#define VOID_NAME "void"
#define NEW_NAME ".new"
#define FILES_MAX 4096 /* looked at; so many that we did not make are a mistake */

static int refuse(struct ht_diag *diag, const char *path, int err, const char *why)
{
	memset(diag, 0, sizeof(*diag));
	snprintf(diag->file, sizeof(diag->file), "%s", path);
	snprintf(diag->text, sizeof(diag->text), "%s", why);
	return err;
}

static int refuse_errno(struct ht_diag *diag, const char *path)
{
	int err = errno ? errno : EIO;

	return refuse(diag, path, -err, strerror(err));
}

/* ---- names ---- */

/* "BORN.key", "BORN-WHATEVER.key", either after "next-". */
static bool name_parse(const char *name, uint64_t *ret_born_s, bool *ret_next)
{
	size_t len = strlen(name);
	char *end;

	*ret_next = !strncmp(name, "next-", 5);
	name += *ret_next ? 5 : 0;
	len -= *ret_next ? 5 : 0;
	if (*name < '0' || *name > '9' || len < 5 || strcmp(name + len - 4, ".key"))
		return false;
	errno = 0;
	*ret_born_s = strtoull(name, &end, 10);
	return !errno && (*end == '-' || end == name + len - 4);
}

static void name_make(const struct ht_ring_secret *s, bool next, char *ret, size_t cap)
{
	snprintf(ret, cap, "%s%" PRIu64 "-%s.key", next ? "next-" : "", s->born_s, s->id);
}

static bool is_expected(const struct ht_ring *r, const char *name)
{
	char want[64];

	for (size_t i = 0; i < r->n; i++) {
		name_make(&r->secret[i], false, want, sizeof(want));
		if (!strcmp(name, want))
			return true;
	}
	name_make(&r->next, true, want, sizeof(want));
	return r->has_next && !strcmp(name, want);
}

/* ---- reading ---- */

static int open_dir(const char *dir, struct ht_diag *diag)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return refuse_errno(diag, dir);
	if (st.st_mode & 077)
		return refuse(diag, dir, -EINVAL,
			      "others than its owner may look into it; chmod 700 it");
	return TAKE_FD(fd);
}

static int read_secret(const char *dir, const char *name, uint64_t born_s, bool next,
		       struct ht_ring *r, struct ht_diag *diag)
{
	struct ht_ring_secret s;
	char path[512];
	uint8_t *bytes;
	size_t len;
	int err;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	err = ht_secret_read(path, &bytes, &len, diag);
	if (err)
		return err;
	err = ht_ring_secret_make(bytes, len, born_s, &s);
	ht_secret_free(bytes, len);
	if (err)
		return refuse(diag, path, err, "a secret in a directory has at most 256 bytes");
	_Static_assert(HT_RING_SECRET_MAX == 256, "the text above says so");
	if (next)
		ht_ring_set_next(r, &s);
	else
		ht_ring_add(r, &s);
	ht_ring_secret_wipe(&s);
	return 0;
}

static int read_void(int fd, const char *dir, struct ht_ring *r, struct ht_diag *diag)
{
	_cleanup_close_ int file = openat(fd, VOID_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[32], *end;
	uint64_t before_s;
	ssize_t n;

	if (file < 0)
		return errno == ENOENT ? 0 : refuse_errno(diag, dir);
	n = read(file, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	errno = 0;
	before_s = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || errno || strcmp(end, "\n"))
		return refuse(diag, dir, -EINVAL,
			      "its file 'void' is not what was written there: nothing tells which "
			      "secrets were revoked; remove them, or 'void' if none was");
	ht_ring_void(r, before_s);
	return 0;
}

static DIR *list_dir(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);

	if (!d && copy >= 0)
		close(copy);
	if (d)
		rewinddir(d); /* the position is shared with whoever read it before */
	return d;
}

static int read_all(int fd, const char *dir, struct ht_ring *r, struct ht_diag *diag)
{
	DIR *d = list_dir(fd);
	const struct dirent *e;
	size_t files = 0;
	int err = 0;

	if (!d)
		return refuse_errno(diag, dir);
	while (!err && (e = readdir(d))) {
		uint64_t born_s;
		bool next;

		if (!name_parse(e->d_name, &born_s, &next))
			continue;
		err = ++files > FILES_MAX
			      ? refuse(diag, dir, -EINVAL, "it has thousands of secrets")
			      : read_secret(dir, e->d_name, born_s, next, r, diag);
	}
	closedir(d);
	return err;
}

int ht_ring_dir_load(const char *dir, struct ht_ring *ret, struct ht_diag *diag)
{
	_cleanup_(ht_ring_freep) struct ht_ring *r = ht_ring_new();
	_cleanup_close_ int fd = -1;
	int err;

	if (!r)
		return refuse(diag, dir, -ENOMEM, "out of memory");
	fd = open_dir(dir, diag);
	if (fd < 0)
		return fd;
	err = read_void(fd, dir, r, diag);
	if (!err)
		err = read_all(fd, dir, r, diag);
	if (!err)
		*ret = *r;
	return err;
}

/* ---- writing ---- */

/* What is in a directory is there after a power cut only if the directory is. */
static int sync_parent(const char *dir)
{
	_cleanup_close_ int fd = -1;
	char path[512];

	snprintf(path, sizeof(path), "%s", dir);
	fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* one that we may not read is its owner's to care for */
	return fd >= 0 && fsync(fd) && errno == EIO ? -EIO : 0;
}

int ht_ring_dir_make(const char *dir, struct ht_diag *diag)
{
	if (mkdir(dir, 0700))
		return errno == EEXIST ? 0 : refuse_errno(diag, dir);
	return sync_parent(dir) ? refuse_errno(diag, dir) : 0;
}

/* Whole or not at all. */
static int write_file(int dir, const char *name, const void *bytes, size_t len)
{
	_cleanup_close_ int fd = -1;

	if (unlinkat(dir, NEW_NAME, 0) && errno != ENOENT)
		return -errno;
	fd = openat(dir, NEW_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	errno = EIO;
	if (write(fd, bytes, len) != (ssize_t)len || write(fd, "\n", 1) != 1 || fsync(fd) ||
	    renameat(dir, NEW_NAME, dir, name)) {
		int err = errno;

		unlinkat(dir, NEW_NAME, 0);
		return -err;
	}
	return 0;
}

static int write_secret(int dir, const struct ht_ring_secret *s, bool next)
{
	char name[64];

	name_make(s, next, name, sizeof(name));
	return faccessat(dir, name, F_OK, 0) ? write_file(dir, name, s->bytes, s->len) : 0;
}

static int write_new(int dir, const struct ht_ring *r)
{
	char text[32];
	int err = 0, len;

	len = snprintf(text, sizeof(text), "%" PRIu64, r->void_before_s);
	if (r->void_before_s)
		err = write_file(dir, VOID_NAME, text, (size_t)len);
	for (size_t i = 0; !err && i < r->n; i++)
		err = write_secret(dir, &r->secret[i], false);
	if (!err && r->has_next)
		err = write_secret(dir, &r->next, true);
	return err ? err : fsync(dir) ? -errno : 0;
}

static int remove_old(int fd, const struct ht_ring *r)
{
	DIR *d = list_dir(fd);
	const struct dirent *e;
	int err = 0;

	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		uint64_t born_s;
		bool next;

		if (name_parse(e->d_name, &born_s, &next) && !is_expected(r, e->d_name) &&
		    unlinkat(fd, e->d_name, 0))
			err = -errno;
	}
	closedir(d);
	return err ? err : fsync(fd) ? -errno : 0;
}

int ht_ring_dir_save(const char *dir, const struct ht_ring *r, struct ht_diag *diag)
{
	_cleanup_close_ int fd = open_dir(dir, diag);
	int err;

	if (fd < 0)
		return fd;
	err = write_new(fd, r);
	if (!err)
		err = remove_old(fd, r);
	return err ? refuse(diag, dir, err, strerror(-err)) : 0;
}
