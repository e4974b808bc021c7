/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads and attaches the guard's program. Must never take an interface from another program.
 *
 * Shared where it can be: as one of the programs in libxdp's dispatcher (guard_share.c), even if it
 * is the only one, for a link can't be joined by whoever comes later. A new daemon puts its program
 * into the chain before it takes out the old one, which is pinned with its interface's number, so
 * that there is always one, and at the end just one.
 *
 * Where sharing is impossible (a locked-down kernel, no CAP_SYS_ADMIN, no bpf.pin), or becomes so as
 * privileges are dropped and an interface comes later, by a link of its own: pinned too, taken over
 * by the next daemon, which exchanges the program in one step. It stays with that as long as the
 * link is there.
 *
 * Either way a dead daemon leaves a program that goes on until the last ban has ended.
 */
#include "guard_xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <linux/if_link.h>

#include "guard.skel.h"
#include "guard_share.h"
#include "log.h"
#include "offload_pin.h"

#define BATCH 1024				 /* entries per call when the bans are walked */
#define SHARES_MAX (4 * HT_GUARD_INTERFACES_MAX) /* more than one crash could leave */

/* What is pinned, by name, but for links and programs in a dispatcher. */
static const char *const pins[] = {"bans",     "ban_doors", "ban_allow",
				   "ban_conf", "ban_count", "guard"};
#define LINK_PIN "ban_link_%zu"	    /* numbered */
#define SHARE_PIN "ban_share_%d_%u" /* programs in a dispatcher: interface, program */

struct link {
	int fd; /* -1 = none */
	int ifindex;
	bool attached;	     /* by us; until then it is of the daemon before us */
	int share;	     /* instead of fd: the program in the dispatcher, -1 = none */
	uint32_t dispatcher; /* that it was in when we last looked */
	uint32_t refused_by; /* program that sharing failed with: no use in trying again */
	char no_share[160];  /* then */
};

struct ht_guard_xdp {
	struct guard *skel;
	char *pin;  /* directory, or NULL */
	int pin_fd; /* its lock, if it is ours */
	bool reused;
	bool ended; /* what the daemon before us had shared is out of its chains */
	int cpus;
	size_t n;
	struct ht_guard_interface interface[HT_GUARD_INTERFACES_MAX];
	struct link link[HT_GUARD_INTERFACES_MAX];
};

/* ---- pins ---- */

static void pin_path(const char *dir, const char *name, char ret[512])
{
	snprintf(ret, 512, "%s/%s", dir, name);
}

static int pinned(const char *dir, const char *name)
{
	char path[512];

	pin_path(dir, name, path);
	return bpf_obj_get(path);
}

static void unpin(const char *dir, const char *name)
{
	char path[512];

	pin_path(dir, name, path);
	unlink(path);
}

static int pin(const char *dir, const char *name, int fd)
{
	char path[512];

	pin_path(dir, name, path);
	unlink(path);
	return bpf_obj_pin(fd, path) ? -errno : 0;
}

static const char *link_name(size_t i, char ret[32])
{
	snprintf(ret, 32, LINK_PIN, i);
	return ret;
}

static void unpin_all(const char *dir)
{
	char name[32];

	for (size_t i = 0; i < HT_ARRAY_SIZE(pins); i++)
		unpin(dir, pins[i]);
	for (size_t i = 0; i < HT_GUARD_INTERFACES_MAX; i++)
		unpin(dir, link_name(i, name));
}

static int pin_maps(struct ht_guard_xdp *x)
{
	const int fds[] = {
		bpf_map__fd(x->skel->maps.bans),      bpf_map__fd(x->skel->maps.ban_doors),
		bpf_map__fd(x->skel->maps.ban_allow), bpf_map__fd(x->skel->maps.ban_conf),
		bpf_map__fd(x->skel->maps.ban_count), bpf_program__fd(x->skel->progs.guard),
	};
	int err = 0;

	_Static_assert(HT_ARRAY_SIZE(fds) == HT_ARRAY_SIZE(pins), "a name for each pin");
	for (size_t i = 0; !err && i < HT_ARRAY_SIZE(pins); i++)
		err = pin(x->pin, pins[i], fds[i]);
	return err;
}

static void not_pinned(struct ht_guard_xdp *x, const char *why)
{
	ht_log(LOG_WARNING, "msg=\"bans will not survive a restart\" reason=\"%s\"", why);
	free(x->pin);
	x->pin = NULL;
}

/* ---- programs in a dispatcher ---- */

static void pin_share(const struct ht_guard_xdp *x, const struct link *l)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);
	char name[64];
	int err = bpf_obj_get_info_by_fd(l->share, &info, &len) ? -errno : 0;

	snprintf(name, sizeof(name), SHARE_PIN, l->ifindex, info.id);
	if (!err)
		err = pin(x->pin, name, l->share);
	if (err)
		ht_log(LOG_WARNING,
		       "msg=\"the next daemon will not find this guard's program\" program=%u "
		       "error=\"%s\"",
		       info.id, strerror(-err));
}

static bool is_current(const struct ht_guard_xdp *x, uint32_t program)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	for (size_t i = 0; x && i < x->n; i++) {
		if (x->link[i].share >= 0 &&
		    !bpf_obj_get_info_by_fd(x->link[i].share, &info, &len) && info.id == program)
			return true;
	}
	return false;
}

static void end_share(const char *dir, const char *name, int ifindex)
{
	_cleanup_close_ int program = pinned(dir, name);
	int err = program < 0 ? -errno : ht_guard_share_detach(program, ifindex);

	if (err)
		ht_log(LOG_WARNING,
		       "msg=\"the guard of a daemon before us stays among the XDP programs\" "
		       "ifindex=%d pin=%s error=\"%s\"",
		       ifindex, name, strerror(-err));
	else
		unpin(dir, name);
}

struct share {
	int ifindex;
	char pin[64];
};

/* Those that are pinned, less those of `x`, which may be NULL. */
static size_t find_shares(const char *path, const struct ht_guard_xdp *x,
			  struct share ret[SHARES_MAX])
{
	const struct dirent *e;
	DIR *dir = opendir(path);
	unsigned program;
	size_t n = 0;

	while (dir && n < SHARES_MAX && (e = readdir(dir))) {
		if (sscanf(e->d_name, SHARE_PIN, &ret[n].ifindex, &program) != 2 ||
		    is_current(x, program))
			continue;
		snprintf(ret[n].pin, sizeof(ret[n].pin), SHARE_PIN, ret[n].ifindex, program);
		n++;
	}
	if (dir)
		closedir(dir);
	return n;
}

static void end_shares(const char *path, const struct ht_guard_xdp *x)
{
	struct share old[SHARES_MAX];
	size_t n = find_shares(path, x, old);

	for (size_t i = 0; i < n; i++)
		end_share(path, old[i].pin, old[i].ifindex);
}

/*
 * What is in a chain and can't be taken out shall at least do nothing: nobody will tell it any more
 * what is allowed.
 */
static void silence_shares(const char *path)
{
	_cleanup_close_ int fd = pinned(path, "ban_conf");
	const struct ht_guard_conf off = {.mode = HT_GUARD_OFF};
	struct share old[SHARES_MAX];
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info), only = 0;

	/* who the daemon becomes may put another map there */
	if (fd >= 0 && find_shares(path, NULL, old) && !bpf_obj_get_info_by_fd(fd, &info, &len) &&
	    info.key_size == sizeof(only) && info.value_size == sizeof(off))
		bpf_map_update_elem(fd, &only, &off, BPF_EXIST);
}

/* ---- what a daemon before us left ---- */

/* The pinned map, if it is one of bans as we know them; its size may be another. */
static int old_bans(const char *dir, struct bpf_map_info *info)
{
	uint32_t len = sizeof(*info);
	int fd = pinned(dir, "bans");

	memset(info, 0, sizeof(*info));
	if (fd < 0)
		return -1;
	if (!bpf_obj_get_info_by_fd(fd, info, &len) && info->type == BPF_MAP_TYPE_LRU_HASH &&
	    info->key_size == sizeof(struct ht_ban_key) &&
	    info->value_size == sizeof(struct ht_ban))
		return fd;
	close(fd);
	return -1;
}

/* Were sources cut off where they are now? Else its bans are of nobody, and nobody could lift them. */
static bool same_masks(const char *dir, const struct ht_guard_conf *conf)
{
	_cleanup_close_ int fd = pinned(dir, "ban_conf");
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info), only = 0;
	struct ht_guard_conf old;

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) &&
	       info.value_size == sizeof(old) && !bpf_map_lookup_elem(fd, &only, &old) &&
	       !memcmp(old.mask, conf->mask, sizeof(old.mask));
}

/* Links that are pinned, to the interfaces that are ours; the others are let go. */
static void find_links(struct ht_guard_xdp *x)
{
	char name[32];

	for (size_t i = 0; i < HT_GUARD_INTERFACES_MAX; i++) {
		struct bpf_link_info info = {0};
		uint32_t len = sizeof(info);
		int fd = pinned(x->pin, link_name(i, name));

		if (fd < 0)
			continue;
		if (!bpf_obj_get_info_by_fd(fd, &info, &len) && info.type == BPF_LINK_TYPE_XDP) {
			for (size_t k = 0; fd >= 0 && k < x->n; k++) {
				if (x->link[k].fd < 0 && x->link[k].ifindex &&
				    x->link[k].ifindex == (int)info.xdp.ifindex)
					x->link[k].fd = TAKE_FD(fd);
			}
		}
		if (fd >= 0)
			close(fd);
		unpin(x->pin, name);
	}
}

static int each_of(int fd, void (*fn)(void *arg, const struct ht_ban_key *, const struct ht_ban *),
		   void *arg)
{
	_cleanup_free_ struct ht_ban_key *keys = calloc(BATCH, sizeof(*keys));
	_cleanup_free_ struct ht_ban *bans = calloc(BATCH, sizeof(*bans));
	uint32_t in = 0, out = 0, n;
	bool first = true, more = true;

	if (!keys || !bans)
		return -ENOMEM;
	while (more) {
		n = BATCH;
		more = !bpf_map_lookup_batch(fd, first ? NULL : &in, &out, keys, bans, &n, NULL);
		if (!more && errno != ENOENT)
			return -errno;
		first = false;
		in = out;
		for (uint32_t i = 0; i < n; i++)
			fn(arg, &keys[i], &bans[i]);
	}
	return 0;
}

static void import_one(void *arg, const struct ht_ban_key *key, const struct ht_ban *ban)
{
	bpf_map_update_elem(*(int *)arg, key, ban, BPF_ANY);
}

/* ---- opening ---- */

static int say(char *why, size_t len, int err, const char *what)
{
	snprintf(why, len, "%s: %s", what, strerror(-err));
	return err;
}

static int load(struct ht_guard_xdp *x, uint32_t max, const struct ht_guard_conf *conf, char *why,
		size_t why_len)
{
	struct bpf_map_info old = {0};
	_cleanup_close_ int bans = x->pin ? old_bans(x->pin, &old) : -1;
	int new;

	if (bans >= 0 && !same_masks(x->pin, conf)) {
		ht_log(LOG_NOTICE, "msg=\"the bans until now are lifted: guard.ipv4-prefix or "
				   "guard.ipv6-prefix is another one\"");
		ht_closep(&bans);
		bans = -1;
	}
	x->cpus = libbpf_num_possible_cpus();
	if (x->cpus < 0)
		return say(why, why_len, x->cpus, "possible CPUs");
	x->skel = guard__open();
	if (!x->skel)
		return say(why, why_len, -errno, "can't open the guard's program");
	bpf_map__set_max_entries(x->skel->maps.bans, max);
	if (bans >= 0 && old.max_entries == max)
		x->reused = !bpf_map__reuse_fd(x->skel->maps.bans, bans);
	if (guard__load(x->skel))
		return say(why, why_len, -errno,
			   "can't load the guard's program (needs CAP_BPF, CAP_NET_ADMIN and "
			   "Linux 6.1)");
	if (bans < 0 || x->reused)
		return 0;
	new = bpf_map__fd(x->skel->maps.bans);
	x->reused = !each_of(bans, import_one, &new);
	return 0;
}

static int own_pin(struct ht_guard_xdp *x, const struct ht_guard_params *p)
{
	char why[512];

	if (!p->pin)
		return 0;
	x->pin = strdup(p->pin);
	if (!x->pin)
		return -ENOMEM;
	if (!p->locked)
		x->pin_fd = ht_pin_dir_open(x->pin, p->wait_ms, why, sizeof(why));
	if (x->pin_fd < 0 && !p->locked)
		not_pinned(x, why);
	return 0;
}

int ht_guard_xdp_open(const struct ht_guard_params *p, const struct ht_guard_conf *conf,
		      struct ht_guard_xdp **ret, char *why, size_t why_len)
{
	struct ht_guard_xdp *x = calloc(1, sizeof(*x));
	const struct ht_guard_config *c = p->config;
	char no_share[100];
	int err;

	if (!x)
		return say(why, why_len, -ENOMEM, "guard");
	x->pin_fd = -1;
	for (; x->n < c->ninterfaces; x->n++) {
		struct ht_guard_interface *i = &x->interface[x->n];

		snprintf(i->name, sizeof(i->name), "%s", c->interfaces[x->n]);
		i->state = "none";
		x->link[x->n] = (struct link){
			.fd = -1, .share = -1, .ifindex = (int)if_nametoindex(i->name)};
	}
	err = own_pin(x, p) ? say(why, why_len, -ENOMEM, "guard") : 0;
	if (!err)
		err = load(x, c->max, conf, why, why_len);
	if (!err && x->pin) {
		if (!ht_guard_share_can(no_share, sizeof(no_share)))
			silence_shares(x->pin);
		find_links(x);
		if (pin_maps(x))
			not_pinned(x, strerror(errno));
	}
	if (err)
		ht_guard_xdp_close(x);
	else
		*ret = x;
	return err;
}

void ht_guard_xdp_close(struct ht_guard_xdp *x)
{
	if (!x)
		return;
	for (size_t i = 0; i < x->n; i++) {
		ht_closep(&x->link[i].fd);
		ht_closep(&x->link[i].share);
	}
	guard__destroy(x->skel);
	if (x->pin_fd >= 0)
		close(x->pin_fd);
	free(x->pin);
	free(x);
}

void ht_guard_xdp_clear(const struct ht_guard_params *p)
{
	_cleanup_close_ int fd = -1;
	struct share shares[SHARES_MAX];
	char path[512];

	if (!p->pin)
		return;
	pin_path(p->pin, pins[0], path);
	if (access(path, F_OK) && !find_shares(p->pin, NULL, shares))
		return;
	if (!p->locked) {
		fd = ht_pin_dir_open(p->pin, p->wait_ms, path, sizeof(path));
		if (fd < 0) {
			ht_log(LOG_WARNING, "msg=\"a guard before us stays\" reason=\"%s\"", path);
			return;
		}
	}
	silence_shares(p->pin);
	end_shares(p->pin, NULL);
	unpin_all(p->pin);
	if (!p->locked)
		rmdir(p->pin);
	ht_log(LOG_INFO, "msg=\"guard\" mode=off pinned=removed");
}

/* ---- interfaces ---- */

/* Who is there, for people. */
static void explain(const struct link *l, int err, const char *no_share, char why[200])
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);

	if (!l->ifindex)
		snprintf(why, 200, "there is no such interface; it is looked for every %d s",
			 HT_GUARD_LOOK_S);
	else if (bpf_xdp_query(l->ifindex, 0, &q) || !q.prog_id)
		snprintf(why, 200, "%s", strerror(-err));
	else
		snprintf(why, 200,
			 "another XDP program is attached (id %u) and is left alone, not shared: "
			 "%.90s",
			 q.prog_id, no_share);
}

/* Once for each reason. */
static void note_failure(struct ht_guard_interface *i, const struct link *l, int err,
			 const char *no_share)
{
	char why[sizeof(i->why)];

	explain(l, err, no_share, why);
	if (!strcmp(why, i->why))
		return;
	memcpy(i->why, why, sizeof(i->why));
	ht_log(LOG_ERR,
	       "msg=\"no guard on this interface\" interface=%s reason=\"%s\"; banned sources are "
	       "refused at accept only",
	       i->name, i->why);
}

static int attach_as(struct ht_guard_xdp *x, struct link *l, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
	int fd = bpf_link_create(bpf_program__fd(x->skel->progs.guard), l->ifindex, BPF_XDP, &opts);

	if (fd < 0)
		return -errno;
	l->fd = fd;
	return 0;
}

/* Of the program that the interface has, whosever it is; 0 = none. */
static uint32_t program_on(int ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);

	return bpf_xdp_query(ifindex, 0, &q) ? 0 : q.prog_id;
}

/* Into the dispatcher, with why if not. */
static bool share(struct ht_guard_xdp *x, struct link *l, char *why, size_t why_len)
{
	uint32_t there = program_on(l->ifindex);

	if (!x->pin) {
		snprintf(why, why_len, "nothing is pinned (bpf.pin)");
		return false;
	}
	if (!ht_guard_share_can(why, why_len))
		return false;
	if (there && there == l->refused_by) {
		snprintf(why, why_len, "%s", l->no_share);
		return false;
	}
	if (!ht_guard_share_attach(x->skel->obj, l->ifindex, &l->share, why, why_len)) {
		l->dispatcher = program_on(l->ifindex);
		pin_share(x, l);
		return true;
	}
	l->refused_by = there;
	snprintf(l->no_share, sizeof(l->no_share), "%s", why);
	return false;
}

/* The link of the daemon before us, with the program exchanged. */
static bool take_over(struct ht_guard_xdp *x, struct link *l)
{
	if (l->fd >= 0 && !bpf_link_update(l->fd, bpf_program__fd(x->skel->progs.guard), NULL))
		return true;
	ht_closep(&l->fd);
	l->fd = -1;
	return false;
}

/* In the driver, else in the stack. `no_share` becomes the reason if it is not shared. */
static int attach(struct ht_guard_xdp *x, struct link *l, char *no_share, size_t len)
{
	int err;

	if (take_over(x, l)) {
		snprintf(no_share, len, "the link of the daemon before is still there");
		return 0;
	}
	if (share(x, l, no_share, len))
		return 0;
	err = attach_as(x, l, XDP_FLAGS_DRV_MODE);
	if (err && err != -EBUSY && err != -EEXIST)
		err = attach_as(x, l, XDP_FLAGS_SKB_MODE);
	return err;
}

static const char *attached_state(const struct link *l)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);

	if (bpf_xdp_query(l->ifindex, 0, &q))
		return "native";
	return q.attach_mode == XDP_ATTACHED_SKB  ? "generic"
	       : q.attach_mode == XDP_ATTACHED_HW ? "offloaded"
						  : "native";
}

static void attach_one(struct ht_guard_xdp *x, size_t n)
{
	struct ht_guard_interface *i = &x->interface[n];
	struct link *l = &x->link[n];
	char name[32], no_share[160] = "";
	int err;

	if (l->fd < 0)
		l->ifindex = (int)if_nametoindex(i->name);
	err = l->ifindex ? attach(x, l, no_share, sizeof(no_share)) : -ENODEV;
	if (err) {
		note_failure(i, l, err, no_share);
		return;
	}
	l->attached = true;
	i->shared = l->share >= 0;
	i->state = attached_state(l);
	snprintf(i->why, sizeof(i->why), "%s%s",
		 i->shared ? "" : "not shared: ", i->shared ? "" : no_share);
	/* as the user that we have become the directory may be closed to us */
	err = x->pin && l->fd >= 0 ? pin(x->pin, link_name(n, name), l->fd) : 0;
	if (err)
		ht_log(LOG_WARNING,
		       "msg=\"a guard's link is not pinned: it ends with the daemon\" "
		       "interface=%s error=\"%s\"",
		       i->name, strerror(-err));
	ht_log(LOG_INFO, "msg=\"guard\" interface=%s xdp=%s shared=%s%s%s%s", i->name, i->state,
	       i->shared ? "yes" : "no", i->shared ? "" : " reason=\"", i->shared ? "" : no_share,
	       i->shared ? "" : "\"");
}

static bool is_linked(const struct link *l)
{
	struct bpf_link_info info = {0};
	uint32_t len = sizeof(info);

	return !bpf_obj_get_info_by_fd(l->fd, &info, &len) &&
	       info.xdp.ifindex == (uint32_t)l->ifindex;
}

/*
 * Who comes and goes has another dispatcher made, with the rest in it. Without privileges that can't
 * be looked into: it is believed.
 */
static bool is_shared(struct link *l)
{
	uint32_t there = program_on(l->ifindex);
	char why[100];

	if (!there || there == l->dispatcher)
		return there;
	if (ht_guard_share_can(why, sizeof(why)) && !ht_guard_share_has(l->share, l->ifindex))
		return false;
	l->dispatcher = there;
	return true;
}

/* An interface that goes takes the link's place on it along; another of its name has none. */
static bool is_attached(struct ht_guard_xdp *x, size_t n)
{
	struct link *l = &x->link[n];

	return l->attached && if_nametoindex(x->interface[n].name) == (unsigned)l->ifindex &&
	       (l->share >= 0 ? is_shared(l) : is_linked(l));
}

static void let_go(struct ht_guard_xdp *x, size_t n)
{
	const bool gone = if_nametoindex(x->interface[n].name) != (unsigned)x->link[n].ifindex;
	const bool shared = x->interface[n].shared;
	struct link *l = &x->link[n];
	char name[100];

	ht_log(LOG_WARNING, "msg=\"%s\" interface=%s",
	       gone ? "a guarded interface is gone" : "the guard was taken off an interface",
	       x->interface[n].name);
	if (x->pin)
		unpin(x->pin, link_name(n, name));
	ht_closep(&l->fd);
	ht_closep(&l->share);
	*l = (struct link){.fd = -1, .share = -1};
	x->interface[n].state = "none";
	x->interface[n].shared = false;
	/* without privileges the next daemon does it */
	if (shared && x->pin && ht_guard_share_can(name, sizeof(name)))
		end_shares(x->pin, x);
}

void ht_guard_xdp_attach(struct ht_guard_xdp *x)
{
	for (size_t i = 0; i < x->n; i++) {
		if (is_attached(x, i))
			continue;
		if (x->link[i].attached)
			let_go(x, i);
		attach_one(x, i);
	}
	/* the new ones are in their places: the old ones can go, those of other interfaces too */
	if (x->pin && !x->ended)
		end_shares(x->pin, x);
	x->ended = true;
}

const struct ht_guard_interface *ht_guard_xdp_interfaces(const struct ht_guard_xdp *x,
							 size_t *ret_n)
{
	*ret_n = x->n;
	return x->interface;
}

bool ht_guard_xdp_reused(const struct ht_guard_xdp *x)
{
	return x->reused;
}

/* ---- settings ---- */

static bool listed(const void *list, size_t n, const void *key, size_t size)
{
	for (size_t i = 0; i < n; i++) {
		if (!memcmp((const char *)list + i * size, key, size))
			return true;
	}
	return false;
}

/* A set: what is new goes in before what is over goes out. */
static int set_keys(int fd, const void *list, size_t n, size_t size)
{
	const uint32_t one = 1;
	char key[32], next[32];
	bool more;

	for (size_t i = 0; i < n; i++) {
		if (bpf_map_update_elem(fd, (const char *)list + i * size, &one, BPF_ANY))
			return -errno;
	}
	more = !bpf_map_get_next_key(fd, NULL, key);
	while (more) {
		more = !bpf_map_get_next_key(fd, key, next);
		if (!listed(list, n, key, size) && bpf_map_delete_elem(fd, key))
			return -errno;
		memcpy(key, next, sizeof(key));
	}
	return 0;
}

static void map_v4(uint8_t addr[16], const void *v4)
{
	memset(addr, 0, 10);
	memset(addr + 10, 0xff, 2);
	memcpy(addr + 12, v4, 4);
}

static int apply_never(struct ht_guard_xdp *x, const struct ht_prefix *never, size_t n)
{
	_cleanup_free_ struct ht_guard_allow *list = calloc(n + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		list[i].v6 = never[i].family == AF_INET6;
		list[i].bits = 32 + never[i].bits + (list[i].v6 ? 0 : 96);
		if (list[i].v6)
			memcpy(list[i].addr, never[i].addr, 16);
		else
			map_v4(list[i].addr, never[i].addr);
	}
	return set_keys(bpf_map__fd(x->skel->maps.ban_allow), list, n, sizeof(*list));
}

static int apply_doors(struct ht_guard_xdp *x, const struct sockaddr_storage *doors, size_t n)
{
	struct ht_guard_door list[HT_GUARD_DOORS_MAX] = {0};
	size_t used = 0;

	for (size_t i = 0; i < n && used < HT_GUARD_DOORS_MAX; i++) {
		struct ht_guard_door *d = &list[used];

		if (doors[i].ss_family == AF_INET) {
			const struct sockaddr_in *in = (const struct sockaddr_in *)&doors[i];

			map_v4(d->addr, &in->sin_addr);
			d->port = in->sin_port;
			used++;
		} else if (doors[i].ss_family == AF_INET6) {
			const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&doors[i];

			memcpy(d->addr, &in6->sin6_addr, 16);
			d->port = in6->sin6_port;
			used++;
		}
	}
	return set_keys(bpf_map__fd(x->skel->maps.ban_doors), list, used, sizeof(list[0]));
}

int ht_guard_xdp_apply(struct ht_guard_xdp *x, const struct ht_prefix *never, size_t nnever,
		       const struct sockaddr_storage *doors, size_t ndoors,
		       const struct ht_guard_conf *conf)
{
	uint32_t only = 0;
	int err = apply_never(x, never, nnever);

	if (!err)
		err = apply_doors(x, doors, ndoors);
	if (!err && bpf_map_update_elem(bpf_map__fd(x->skel->maps.ban_conf), &only, conf, BPF_ANY))
		err = -errno;
	return err;
}

/* ---- bans ---- */

int ht_guard_xdp_get(const struct ht_guard_xdp *x, const struct ht_ban_key *key, struct ht_ban *ret)
{
	return bpf_map_lookup_elem(bpf_map__fd(x->skel->maps.bans), key, ret) ? -errno : 0;
}

int ht_guard_xdp_put(const struct ht_guard_xdp *x, const struct ht_ban_key *key,
		     const struct ht_ban *ban)
{
	return bpf_map_update_elem(bpf_map__fd(x->skel->maps.bans), key, ban, BPF_ANY) ? -errno : 0;
}

int ht_guard_xdp_delete(const struct ht_guard_xdp *x, const struct ht_ban_key *key)
{
	return bpf_map_delete_elem(bpf_map__fd(x->skel->maps.bans), key) ? -errno : 0;
}

int ht_guard_xdp_each(const struct ht_guard_xdp *x,
		      void (*fn)(void *arg, const struct ht_ban_key *key, const struct ht_ban *ban),
		      void *arg)
{
	return each_of(bpf_map__fd(x->skel->maps.bans), fn, arg);
}

void ht_guard_xdp_count(const struct ht_guard_xdp *x, struct ht_guard_count *ret)
{
	struct ht_guard_count values[x->cpus];
	uint32_t only = 0;

	memset(ret, 0, sizeof(*ret));
	if (bpf_map_lookup_elem(bpf_map__fd(x->skel->maps.ban_count), &only, values))
		return;
	for (int i = 0; i < x->cpus; i++) {
		ret->dropped += values[i].dropped;
		ret->reported += values[i].reported;
		ret->spared += values[i].spared;
	}
}

size_t ht_guard_xdp_bytes(const struct ht_guard_xdp *x)
{
	char path[64], line[256];
	size_t bytes = 0;
	FILE *f;

	/* the kernel's own account of the map */
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", bpf_map__fd(x->skel->maps.bans));
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "memlock: %zu", &bytes) == 1)
			break;
	}
	if (f)
		fclose(f);
	return bytes;
}

int ht_guard_xdp_program(const struct ht_guard_xdp *x)
{
	return bpf_program__fd(x->skel->progs.guard);
}
