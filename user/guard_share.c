/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talks to libxdp, whose dispatcher lets several XDP programs have one interface: each is a function
 * that replaces one of the dispatcher's (BPF_PROG_TYPE_EXT), a new dispatcher takes the old one's
 * place in one step whenever a program comes or goes, and all of it is pinned in /sys/fs/bpf/xdp.
 *
 * Must never attach without a dispatcher, which libxdp does without a word where the kernel takes no
 * such programs: what it attaches then stays for ever and is in everybody's way. So that is asked
 * before, and looked at afterwards.
 */
#include "guard_share.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <xdp/libxdp.h>

#include "guard.skel.h"
#include "util.h"

#define PINS "/sys/fs/bpf/xdp" /* libxdp's: dispatch-INTERFACE-DISPATCHER/progN-{prog,link} */
#define CHAIN_MAX 10	       /* programs in a dispatcher */

/* ---- what libxdp says ---- */

static char said[160]; /* its last complaint */

_printf_(2, 0) static int listen_to(enum libxdp_print_level level, const char *fmt, va_list ap)
{
	if (level == LIBXDP_DEBUG)
		return 0;
	vsnprintf(said, sizeof(said), fmt, ap); /* with "libxdp: " in front */
	said[strcspn(said, "\n")] = 0;
	return 0;
}

static void begin_to_listen(void)
{
	libxdp_set_print(listen_to);
	said[0] = 0;
}

/* ---- whether ---- */

static bool may_look_up_programs(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	return !syscall(SYS_capget, &header, data) && data[0].effective >> CAP_SYS_ADMIN & 1;
}

static bool has_bpffs(void)
{
	struct statfs fs;

	return !statfs("/sys/fs/bpf", &fs) && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

bool ht_guard_share_can(char *why, size_t why_len)
{
	if (!may_look_up_programs()) {
		snprintf(why, why_len, "libxdp needs CAP_SYS_ADMIN for it");
		return false;
	}
	if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_EXT, NULL) != 1) {
		snprintf(why, why_len, "the kernel takes no programs of type EXT");
		return false;
	}
	if (!has_bpffs()) {
		snprintf(why, why_len, "no bpffs on /sys/fs/bpf");
		return false;
	}
	return true;
}

/* ---- attaching ---- */

/* The same maps, but another program: of a type that can't be attached by itself. */
static struct guard *open_with(const struct bpf_object *maps)
{
	struct guard *g = guard__open();
	struct bpf_map *map;

	if (!g)
		return NULL;
	bpf_object__for_each_map (map, g->obj) {
		const struct bpf_map *same = bpf_object__find_map_by_name(maps, bpf_map__name(map));

		if (!same || bpf_map__reuse_fd(map, bpf_map__fd(same))) {
			guard__destroy(g);
			return NULL;
		}
	}
	return g;
}

/* 1 if it is, 0 if not, -errno if that can't be told. */
static int is_in_dispatcher(const struct xdp_program *p, int ifindex)
{
	struct xdp_multiprog *all = xdp_multiprog__get_from_ifindex(ifindex);
	const struct xdp_program *one = NULL;
	int err = (int)libxdp_get_error(all);
	bool found = false;

	if (err)
		return err == -ENOENT || err == -ENODEV ? 0 : err;
	while (!xdp_multiprog__is_legacy(all) && !found &&
	       (one = xdp_multiprog__next_prog(one, all)))
		found = xdp_program__id(one) == xdp_program__id(p);
	xdp_multiprog__close(all);
	return found;
}

static int attach_program(struct xdp_program *p, int ifindex, enum xdp_attach_mode mode)
{
	int err = xdp_program__set_run_prio(p, HT_GUARD_PRIORITY);

	/* libbpf knows it by its section's name, libxdp does not */
	if (!err)
		err = xdp_program__set_xdp_frags_support(p, true);
	if (!err)
		err = xdp_program__attach(p, ifindex, mode, 0);
	if (err || is_in_dispatcher(p, ifindex) > 0)
		return err;
	/* the way that must not be */
	xdp_program__detach(p, ifindex, mode, 0);
	return -EOPNOTSUPP;
}

static int attach_as(const struct bpf_object *maps, int ifindex, enum xdp_attach_mode mode,
		     int *ret)
{
	struct guard *g = open_with(maps);
	struct xdp_program *p = NULL;
	int err, fd = -1;

	if (!g)
		return -ENOMEM;
	p = xdp_program__from_bpf_obj(g->obj, bpf_program__section_name(g->progs.guard));
	err = (int)libxdp_get_error(p);
	if (err) {
		guard__destroy(g);
		return err;
	}
	err = attach_program(p, ifindex, mode);
	if (!err) {
		fd = fcntl(xdp_program__fd(p), F_DUPFD_CLOEXEC, 3);
		err = fd < 0 ? -errno : 0;
	}
	if (!err)
		*ret = fd;
	xdp_program__close(p);
	guard__destroy(g);
	return err;
}

/* How whatever is on the interface is attached; UNSPEC = nothing is. */
static enum xdp_attach_mode mode_of(int ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);

	if (bpf_xdp_query(ifindex, 0, &q) || !q.prog_id)
		return XDP_MODE_UNSPEC;
	return q.attach_mode == XDP_ATTACHED_SKB ? XDP_MODE_SKB : XDP_MODE_NATIVE;
}

int ht_guard_share_attach(const struct bpf_object *maps, int ifindex, int *ret, char *why,
			  size_t why_len)
{
	enum xdp_attach_mode mode = mode_of(ifindex);
	int err;

	begin_to_listen();
	err = attach_as(maps, ifindex, mode ? mode : XDP_MODE_NATIVE, ret);
	if (err && !mode && err != -EBUSY && err != -EEXIST)
		err = attach_as(maps, ifindex, XDP_MODE_SKB, ret);
	if (err)
		snprintf(why, why_len, "%s%s(%s)", said[0] ? said : "libxdp", said[0] ? " " : ": ",
			 strerror(-err));
	return err;
}

/* ---- afterwards ---- */

static struct xdp_program *known(int program)
{
	struct xdp_program *p;

	begin_to_listen();
	p = xdp_program__from_fd(program);
	if (libxdp_get_error(p))
		return NULL;
	if (xdp_program__id(p))
		return p;
	xdp_program__close(p); /* it failed, but did not say so (1.3.1) */
	return NULL;
}

bool ht_guard_share_has(int program, int ifindex)
{
	struct xdp_program *p = known(program);
	bool has = p && is_in_dispatcher(p, ifindex) > 0;

	xdp_program__close(p);
	return has;
}

/* Where `dir` has that program pinned, its two pins go, and the directory if nobody else is in it. */
static void unpin_from(const char *dir, uint32_t id)
{
	char program[400], link[400];

	for (int i = 0; i < CHAIN_MAX; i++) {
		struct bpf_prog_info info = {0};
		uint32_t len = sizeof(info);
		int fd;

		snprintf(program, sizeof(program), "%s/prog%d-prog", dir, i);
		snprintf(link, sizeof(link), "%s/prog%d-link", dir, i);
		fd = bpf_obj_get(program);
		if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) && info.id == id) {
			unlink(link);
			unlink(program);
		}
		ht_closep(&fd);
	}
	rmdir(dir);
}

/* With an interface its chain goes, but not the chain's pins, which keep our maps. */
static void forget(uint32_t id, int ifindex)
{
	_cleanup_close_ int lock = open(PINS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = opendir(PINS);
	const struct dirent *e;
	unsigned dispatcher;
	char path[300];
	int of;

	if (lock >= 0)
		flock(lock, LOCK_EX); /* libxdp's own */
	while (dir && (e = readdir(dir))) {
		if (sscanf(e->d_name, "dispatch-%d-%u", &of, &dispatcher) != 2 || of != ifindex)
			continue;
		snprintf(path, sizeof(path), PINS "/%s", e->d_name);
		unpin_from(path, id);
	}
	if (dir)
		closedir(dir);
}

int ht_guard_share_detach(int program, int ifindex)
{
	struct xdp_program *p = known(program);
	char name[IF_NAMESIZE];
	int err = p ? is_in_dispatcher(p, ifindex) : -EPERM;

	if (err > 0)
		err = xdp_program__detach(p, ifindex, mode_of(ifindex), 0);
	else if (!err && !if_indextoname((unsigned)ifindex, name))
		forget(xdp_program__id(p), ifindex);
	xdp_program__close(p);
	return err;
}
