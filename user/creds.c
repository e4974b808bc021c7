/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of a service manager's credentials, each in a sealed memfd that is locked into memory and
 * is opened again by its name in /proc. Secrets leave it for nowhere else.
 */
#include "creds.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "log.h"

#define CREDS_MAX 64
#define CRED_SIZE_MAX (1 << 20) /* as systemd has it */

struct cred {
	char name[256]; /* in the directory */
	char copy[40];	/* "/proc/self/fd/7" */
};

static struct {
	const char *dir;
	size_t n;
	struct cred cred[CREDS_MAX];
} creds;

/* Whoever becomes `uid` may open it, nobody may change it, no swap shall have it. */
static int memory_close_up(int fd, size_t size, uid_t uid)
{
	void *p;

	if (fchmod(fd, 0400) || fchown(fd, uid, (gid_t)-1) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
		return -errno;
	/* never unmapped; without the limit for it, it is as good as any other memory */
	p = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
	if (p != MAP_FAILED && mlock(p, size))
		munmap(p, size);
	return 0;
}

static int memory_fill(int to, int from, size_t *ret_size)
{
	ssize_t n;

	/* no buffer of ours that would have to be wiped */
	*ret_size = 0;
	while ((n = sendfile(to, from, NULL, CRED_SIZE_MAX + 1)) > 0) {
		*ret_size += (size_t)n;
		if (*ret_size > CRED_SIZE_MAX)
			return -EFBIG;
	}
	return n < 0 ? -errno : 0;
}

/* 0 too for what is no plain file. */
static int cred_copy(int dir, const char *name, uid_t uid)
{
	_cleanup_close_ int from = openat(dir, name,
					  O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	_cleanup_close_ int to = -1;
	struct cred *c = &creds.cred[creds.n];
	struct stat st;
	size_t size;
	int err;

	if (from < 0 || fstat(from, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
	if (creds.n == CREDS_MAX)
		return -E2BIG;
	to = memfd_create("credential", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (to < 0)
		return -errno;
	err = memory_fill(to, from, &size);
	if (!err)
		err = memory_close_up(to, size, uid);
	if (err)
		return err;
	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->copy, sizeof(c->copy), "/proc/self/fd/%d", TAKE_FD(to));
	creds.n++;
	return 0;
}

int ht_creds_keep(uid_t uid)
{
	const char *path = getenv("CREDENTIALS_DIRECTORY");
	const struct dirent *e;
	int err = 0;
	DIR *dir;

	if (!path || path[0] != '/')
		return 0;
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (!err && (e = readdir(dir))) {
		if (e->d_name[0] != '.')
			err = cred_copy(dirfd(dir), e->d_name, uid);
		if (err)
			ht_log(LOG_ERR, "msg=\"can't keep a credential\" name=\"%s\" error=\"%s\"",
			       e->d_name, strerror(-err));
	}
	closedir(dir);
	if (!err)
		creds.dir = path;
	return err;
}

const char *ht_creds_path(const char *path)
{
	size_t len = creds.dir ? strlen(creds.dir) : 0;

	while (len && creds.dir[len - 1] == '/')
		len--;
	if (!len || strncmp(path, creds.dir, len) || path[len] != '/' || !access(path, R_OK))
		return path;
	for (size_t i = 0; i < creds.n; i++) {
		if (!strcmp(path + len + 1, creds.cred[i].name))
			return creds.cred[i].copy;
	}
	return path;
}
