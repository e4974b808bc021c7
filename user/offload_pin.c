/* SPDX-License-Identifier: Apache-2.0 */
/* The directory of the pins: made, looked at, locked. Pins nothing itself. */
#include "offload_pin.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "keep.h"

static int ht_say(char *why, size_t len, int err, const char *what)
{
	snprintf(why, len, "%s: %s", what, strerror(-err));
	return err;
}

static int ht_is_bpffs(const char *path)
{
	struct statfs fs;

	if (statfs(path, &fs))
		return -errno;
	return (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

/* Makes the directory below a bpffs and takes its lock. Returns its fd. */
static int ht_pin_dir_once(const char *dir, unsigned wait_ms, char *why, size_t why_len)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int err;

	if (!strncmp(dir, "/sys/fs/bpf", 11) && ht_is_bpffs("/sys/fs/bpf") == 0 &&
	    mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700"))
		return ht_say(why, why_len, -errno, "can't mount a bpffs on /sys/fs/bpf");
	if (mkdir(dir, 0700) && errno != EEXIST)
		return ht_say(why, why_len, -errno, dir);
	if (ht_is_bpffs(dir) != 1)
		return ht_say(why, why_len, -EINVAL, "bpf.pin is not on a bpffs");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return ht_say(why, why_len, -errno, dir);
	err = ht_lock_wait(fd, wait_ms);
	if (err)
		return ht_say(why, why_len, err,
			      "another hardtackd uses this bpf.pin; give each its own");
	if (fstat(fd, &st) || !st.st_nlink) /* whoever had the lock took the directory along */
		return -ESTALE;
	return TAKE_FD(fd);
}

int ht_pin_dir_open(const char *dir, unsigned wait_ms, char *why, size_t why_len)
{
	int fd;

	do
		fd = ht_pin_dir_once(dir, wait_ms, why, why_len);
	while (fd == -ESTALE);
	return fd;
}
