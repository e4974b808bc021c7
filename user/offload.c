/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads and attaches the kernel gate and is the only way bytes take towards a backend. Knows maps,
 * slots and sockets; knows nothing of HTTP, TLS or cookies. What stands in the maps of tokens and
 * plaintext is offload_cache.c's.
 */
#include "offload.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <mntent.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "gate.skel.h"
#include "keep.h"
#include "offload_parts.h"
#include "offload_pin.h"

#define HT_READ(x) (*(const volatile __typeof__(x) *)&(x))
#define HT_WRITE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))

/* What is pinned, by name; the kernel objects of interface.md. The first ones may outlive us. */
static const char *const ht_pins[] = {"tokens", "gens",	    "abi",     "slots", "policy",
				      "sealed", "counters", "verdict", "admit", "admit_link"};
#define HT_PINS_KEPT 3

#ifdef HT_WEAK /* the test suite's weakened build, see tests/bpf/weak.h */
#include "../tests/bpf/weak.h"
uint32_t ht_offload_weak; /* what the next ht_offload_open() leaves out */
#define WEAKENED ht_offload_weak
#else
#define WEAKENED 0
#endif

static int ht_say(char *why, size_t len, int err, const char *what)
{
	snprintf(why, len, "%s: %s", what, strerror(-err));
	return err;
}

/* ---- where to attach and to pin ---- */

/* The cgroup v2 directory that this process is in. */
static int ht_own_cgroup(char *ret, size_t len)
{
	_cleanup_fclose_ FILE *self = fopen("/proc/self/cgroup", "re");
	char line[4096], path[4096] = "";
	struct mntent *m;
	FILE *mounts;
	int err = -ENOENT;

	if (!self)
		return -errno;
	while (fgets(line, sizeof(line), self)) {
		if (strncmp(line, "0::", 3))
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(path, sizeof(path), "%s", line + 3);
	}
	mounts = setmntent("/proc/self/mounts", "re");
	if (!mounts)
		return -errno;
	while ((m = getmntent(mounts))) {
		if (strcmp(m->mnt_type, "cgroup2"))
			continue;
		snprintf(ret, len, "%s%s", m->mnt_dir, path);
		if (access(ret, F_OK))
			continue; /* a mount of another namespace's root */
		err = 0;
		break;
	}
	endmntent(mounts);
	return err;
}

static void ht_unpin(int dir_fd, size_t first)
{
	for (size_t i = first; i < HT_ARRAY_SIZE(ht_pins); i++)
		unlinkat(dir_fd, ht_pins[i], 0);
}

static int ht_pin_all(struct ht_offload *o)
{
	const struct gate *s = o->skel;
	const int fds[] = {bpf_map__fd(s->maps.tokens),	    bpf_map__fd(s->maps.gens),
			   bpf_map__fd(s->maps.abi),	    bpf_map__fd(s->maps.slots),
			   bpf_map__fd(s->maps.policy),	    bpf_map__fd(s->maps.sealed),
			   bpf_map__fd(s->maps.counters),   bpf_program__fd(s->progs.verdict),
			   bpf_program__fd(s->progs.admit), bpf_link__fd(o->link)};
	char path[512];

	_Static_assert(HT_ARRAY_SIZE(fds) == HT_ARRAY_SIZE(ht_pins), "a name for each pin");
	ht_unpin(o->pin_fd, 0); /* what a daemon left behind; what we go on with we hold */
	for (size_t i = 0; i < HT_ARRAY_SIZE(ht_pins); i++) {
		snprintf(path, sizeof(path), "%s/%s", o->pin, ht_pins[i]);
		if (bpf_obj_pin(fds[i], path))
			return -errno;
	}
	return 0;
}

/* ---- the tokens of a daemon before us ---- */

static int ht_pinned(const char *dir, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return bpf_obj_get(path);
}

/* Is the pinned map what we would make? */
static bool ht_map_fits(int fd, const struct bpf_map *map)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &len) && info.type == bpf_map__type(map) &&
	       info.key_size == bpf_map__key_size(map) &&
	       info.value_size == bpf_map__value_size(map) &&
	       info.max_entries == bpf_map__max_entries(map) &&
	       info.map_flags == bpf_map__map_flags(map);
}

static bool ht_record_fits(int fd, uint64_t id)
{
	struct ht_abi_record r = {0};
	uint32_t zero = 0;

	return !bpf_map_lookup_elem(fd, &zero, &r) && r.abi == HT_ABI &&
	       r.token == sizeof(struct ht_token) && r.id == id;
}

/* All three or none: a generation without its tokens would be as wrong as the reverse. */
static void ht_reuse(struct ht_offload *o, const struct ht_offload_params *p)
{
	struct bpf_map *const maps[HT_PINS_KEPT] = {o->skel->maps.tokens, o->skel->maps.gens,
						    o->skel->maps.abi};
	int fds[HT_PINS_KEPT];
	bool good = p->pin && p->keep && p->id && p->sip;

	for (size_t i = 0; i < HT_PINS_KEPT; i++) {
		fds[i] = good ? ht_pinned(p->pin, ht_pins[i]) : -1;
		good = good && fds[i] >= 0 && ht_map_fits(fds[i], maps[i]);
	}
	good = good && ht_record_fits(fds[2], p->id);
	for (size_t i = 0; i < HT_PINS_KEPT; i++) {
		good = good && !bpf_map__reuse_fd(maps[i], fds[i]);
		ht_closep(&fds[i]);
	}
	o->reused = good;
	if (!good)
		return;
	o->id = p->id;
	o->keys = *p->sip;
}

static int ht_record(struct ht_offload *o, char *why, size_t why_len)
{
	const struct ht_abi_record r = {HT_ABI, sizeof(struct ht_token), o->id};
	uint32_t zero = 0;

	if (bpf_map_update_elem(bpf_map__fd(o->skel->maps.abi), &zero, &r, BPF_ANY))
		return ht_say(why, why_len, -errno, "can't write the map abi");
	return 0;
}

bool ht_offload_reused(const struct ht_offload *o)
{
	return o->reused;
}

uint64_t ht_offload_id(const struct ht_offload *o)
{
	return o->id;
}

uint32_t ht_offload_generation(const struct ht_offload *o, uint32_t index)
{
	uint32_t gen = 0;

	if (o->on)
		bpf_map_lookup_elem(bpf_map__fd(o->skel->maps.gens), &index, &gen);
	return gen;
}

uint32_t ht_offload_max_sites(const struct ht_offload *o)
{
	return o->max_sites;
}

void ht_offload_yield(struct ht_offload *o)
{
	ht_lock_yield(o->pin_fd);
}

/* ---- opening ---- */

static int ht_offload_load(struct ht_offload *o, const struct ht_offload_params *p, char *why,
			   size_t why_len)
{
	struct gate *s = gate__open();
	uint32_t own, n;

	if (!s)
		return ht_say(why, why_len, -errno, "can't open the gate's programs");
	o->skel = s;
	bpf_map__set_max_entries(s->maps.tokens, p->max_tokens);
	bpf_map__set_max_entries(s->maps.sealed, HT_MAX(p->max_sealed, 1U));
	bpf_map__set_max_entries(s->maps.slots, p->max_slots);
	bpf_map__set_max_entries(s->maps.gated, p->max_slots);
	/* one more than is ever published: it stays without rules, ht_offload_no_rules() */
	bpf_map__set_max_entries(s->maps.policy, p->max_sites + 1);
	o->max_sites = p->max_sites;
	o->no_rules = p->max_sites;
	ht_reuse(o, p);
#ifdef HT_WEAK
	s->rodata->ht_weak = ht_offload_weak;
	if (ht_offload_weak & HT_WEAK_FULL)
		bpf_map__set_max_entries(s->maps.gated, 1);
#endif
	if (gate__load(s))
		return ht_say(why, why_len, -errno,
			      "can't load the gate's programs (needs CAP_BPF, CAP_NET_ADMIN, "
			      "CAP_PERFMON and Linux 6.1)");
	o->tokens.fd = bpf_map__fd(s->maps.tokens);
	o->sealed.fd = bpf_map__fd(s->maps.sealed);
	o->max_sealed = p->max_sealed;
	if (ht_offload_verdict_insns(o, &own, &n) || (!WEAKENED && !ht_offload_is_whole(own, n)))
		return ht_say(why, why_len, -EINVAL, "the verifier misread the verdict program");
	return 0;
}

/* Verdict first: a socket that entered the sockhash before it would be ungated. */
static int ht_offload_attach(struct ht_offload *o, const struct ht_offload_params *p, char *why,
			     size_t why_len)
{
	_cleanup_close_ int cgroup = -1;
	char own[4096];
	int err = 0;

#ifdef HT_WEAK
	if (!(ht_offload_weak & HT_WEAK_ATTACH))
#endif
		err = bpf_prog_attach(bpf_program__fd(o->skel->progs.verdict),
				      bpf_map__fd(o->skel->maps.gated), BPF_SK_MSG_VERDICT, 0);
	if (err)
		return ht_say(why, why_len, -errno, "can't attach the verdict program");
	if (!p->cgroup) {
		err = ht_own_cgroup(own, sizeof(own));
		if (err)
			return ht_say(why, why_len, err, "no cgroup v2 found; set bpf.cgroup");
	}
	cgroup = open(p->cgroup ? p->cgroup : own, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup < 0)
		return ht_say(why, why_len, -errno, p->cgroup ? p->cgroup : own);
	o->link = bpf_program__attach_cgroup(o->skel->progs.admit, cgroup);
	if (!o->link)
		return ht_say(why, why_len, -errno, "can't attach the admission program");
	return 0;
}

static int ht_offload_share(struct ht_offload *o, const struct ht_offload_params *p, char *why,
			    size_t why_len)
{
	void *m = mmap(NULL, (size_t)p->max_slots * sizeof(struct ht_slot), PROT_READ | PROT_WRITE,
		       MAP_SHARED, bpf_map__fd(o->skel->maps.slots), 0);

	if (m == MAP_FAILED)
		return ht_say(why, why_len, -errno, "can't map the slots");
	o->slots = m;
	o->free = calloc(p->max_slots, sizeof(*o->free));
	if (!o->free)
		return ht_say(why, why_len, -ENOMEM, "slots");
	/* the lowest index is taken first: few pages are touched while few connections are open */
	for (uint32_t i = 0; i < p->max_slots; i++)
		o->free[i] = p->max_slots - 1 - i;
	o->nfree = o->max_slots = p->max_slots;
	return 0;
}

static int ht_offload_pin_at(struct ht_offload *o, const char *dir, char *why, size_t why_len)
{
	int err;

	if (!dir)
		return 0;
	o->pin = strdup(dir);
	if (!o->pin)
		return ht_say(why, why_len, -ENOMEM, dir);
	err = ht_pin_all(o);
	return err ? ht_say(why, why_len, err, "can't pin the gate's maps") : 0;
}

static int ht_offload_start(struct ht_offload *o, const struct ht_offload_params *p, char *why,
			    size_t why_len)
{
	int err;

	if (p->pin) {
		o->pin_fd = ht_pin_dir_open(p->pin, p->wait_ms, why, why_len);
		if (o->pin_fd < 0)
			return o->pin_fd;
	}
	o->cpus = libbpf_num_possible_cpus();
	if (o->cpus < 0)
		return ht_say(why, why_len, o->cpus, "possible CPUs");
	err = ht_offload_load(o, p, why, why_len);
	if (!err)
		err = ht_record(o, why, why_len);
	if (!err)
		err = ht_offload_attach(o, p, why, why_len);
	if (!err)
		err = ht_offload_share(o, p, why, why_len);
	if (!err)
		err = ht_offload_pin_at(o, p->pin, why, why_len);
	return err;
}

/* Gives everything back but the object itself, which is then "off". */
static void ht_offload_stop(struct ht_offload *o)
{
	if (o->pin)
		ht_unpin(o->pin_fd, o->on && o->keep ? HT_PINS_KEPT : 0);
	if (o->pin_fd >= 0) {
		if (o->pin)
			rmdir(o->pin);
		close(o->pin_fd);
	}
	o->pin_fd = -1;
	free(o->pin);
	o->pin = NULL;
	if (o->slots)
		munmap(o->slots, (size_t)o->max_slots * sizeof(struct ht_slot));
	o->slots = NULL;
	free(o->free);
	o->free = NULL;
	bpf_link__destroy(o->link);
	o->link = NULL;
	gate__destroy(o->skel);
	o->skel = NULL;
	o->on = false;
}

int ht_offload_open(const struct ht_offload_params *p, struct ht_offload **ret, char *why,
		    size_t why_len)
{
	struct ht_offload *o = calloc(1, sizeof(*o));
	uint64_t nonce;
	int err;

	if (!o)
		return -ENOMEM;
	o->pin_fd = -1;
	pthread_mutex_init(&o->lock, NULL);
	if (RAND_bytes((unsigned char *)&o->keys, sizeof(o->keys)) != 1 ||
	    RAND_bytes((unsigned char *)&o->id, sizeof(o->id)) != 1 ||
	    RAND_bytes((unsigned char *)&nonce, sizeof(nonce)) != 1) {
		ht_offload_close(o);
		return ht_say(why, why_len, -EIO, "no random numbers");
	}
	o->nonce = nonce | 1;
	if (why_len)
		why[0] = 0;
	if (p->gate == HT_OFF) {
		snprintf(why, why_len, "gate: off is configured");
		*ret = o;
		return 0;
	}
	err = ht_offload_start(o, p, why, why_len);
	if (err) {
		ht_offload_stop(o);
		if (p->gate == HT_REQUIRE) {
			ht_offload_close(o);
			return err;
		}
	} else {
		o->on = true;
		o->keep = p->keep;
		o->tokens.inserted = o->reused ? ht_offload_tokens(o) : 0;
	}
	*ret = o;
	return 0;
}

void ht_offload_close(struct ht_offload *o)
{
	if (!o)
		return;
	ht_offload_stop(o);
	pthread_mutex_destroy(&o->lock);
	OPENSSL_cleanse(&o->keys, sizeof(o->keys));
	free(o);
}

bool ht_offload_on(const struct ht_offload *o)
{
	return o->on;
}

const struct ht_sip_keys *ht_offload_keys(const struct ht_offload *o)
{
	return &o->keys;
}

const char *ht_offload_pin(const struct ht_offload *o)
{
	return o->pin;
}

/* ---- policies, generations, counters ---- */

int ht_offload_policy(struct ht_offload *o, uint32_t index, const struct ht_policy *p)
{
	if (!o->on)
		return 0;
	return bpf_map_update_elem(bpf_map__fd(o->skel->maps.policy), &index, p, BPF_ANY);
}

uint32_t ht_offload_no_rules(const struct ht_offload *o)
{
	return o->no_rules;
}

void ht_offload_generations(struct ht_offload *o, const struct ht_keyring *ring)
{
	int fd;
	uint32_t i;

	if (!o->on)
		return;
	fd = bpf_map__fd(o->skel->maps.gens);
	for (i = 0; i < ring->nkeys && i < HT_KEYS_MAX; i++)
		bpf_map_update_elem(fd, &i, &ring->keys[i].gen, BPF_ANY);
	i = HT_GLOBAL_GEN;
	bpf_map_update_elem(fd, &i, &ring->global_gen, BPF_ANY);
}

void ht_offload_counters(struct ht_offload *o, uint64_t ret[HT_COUNT_MAX])
{
	const uint32_t only = 0;

	memset(ret, 0, HT_COUNT_MAX * sizeof(*ret));
	if (!o->on)
		return;
	uint64_t cpu[o->cpus][HT_COUNT_MAX];

	if (bpf_map_lookup_elem(bpf_map__fd(o->skel->maps.counters), &only, cpu))
		return;
	for (int c = 0; c < o->cpus; c++) {
		for (size_t i = 0; i < HT_COUNT_MAX; i++)
			ret[i] += cpu[c][i];
	}
	for (uint32_t s = 0; s < o->max_slots; s++) {
		for (size_t i = 0; i < HT_SLOT_COUNTS; i++)
			ret[i] += HT_READ(o->slots[s].counts[i]);
	}
}

int ht_offload_verdict_fd(const struct ht_offload *o)
{
	return o->skel ? bpf_program__fd(o->skel->progs.verdict) : -ENOENT;
}

static int ht_verdict_info(const struct ht_offload *o, struct bpf_prog_info *ret)
{
	uint32_t len = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return bpf_obj_get_info_by_fd(ht_offload_verdict_fd(o), ret, &len) ? -errno : 0;
}

int ht_offload_run_stats(const struct ht_offload *o, uint64_t *ret_ns, uint64_t *ret_runs)
{
	struct bpf_prog_info info;
	int err = ht_verdict_info(o, &info);

	if (err)
		return err;
	*ret_ns = info.run_time_ns;
	*ret_runs = info.run_cnt;
	return info.run_cnt ? 0 : -ENODATA;
}

int ht_offload_verdict_insns(const struct ht_offload *o, uint32_t *ret_own, uint32_t *ret)
{
	struct bpf_prog_info info;
	int err = ht_verdict_info(o, &info);

	if (err)
		return err;
	*ret_own = bpf_program__insn_cnt(o->skel->progs.verdict);
	*ret = info.xlated_prog_len / 8;
	return 0;
}

bool ht_offload_is_whole(uint32_t own, uint32_t translated)
{
	return translated >= own - own / 20 && translated <= own + own / 4;
}

/* ---- one backend connection ---- */

static int ht_slot_take(struct ht_offload *o, uint32_t *ret)
{
	int err = -ENOSPC;

	pthread_mutex_lock(&o->lock);
	if (o->nfree) {
		*ret = o->free[--o->nfree];
		err = 0;
	}
	pthread_mutex_unlock(&o->lock);
	return err;
}

uint32_t ht_offload_slots_used(struct ht_offload *o)
{
	uint32_t used;

	pthread_mutex_lock(&o->lock);
	used = o->max_slots - o->nfree;
	pthread_mutex_unlock(&o->lock);
	return used;
}

static void ht_slot_give(struct ht_offload *o, uint32_t index)
{
	pthread_mutex_lock(&o->lock);
	o->free[o->nfree++] = index;
	pthread_mutex_unlock(&o->lock);
}

/* The storage is what makes the admission program take the socket for ours. */
static int ht_gate_mark(struct ht_gate *g)
{
	struct ht_offload *o = g->offload;
	struct ht_sock sock = {.nonce = g->nonce, .slot = g->index, .keys = o->keys};
	int err = 0;

	if (bpf_map_update_elem(bpf_map__fd(o->skel->maps.socks), &g->fd, &sock, BPF_NOEXIST))
		err = -errno;
	OPENSSL_cleanse(&sock.keys, sizeof(sock.keys));
	return err;
}

int ht_gate_open(struct ht_gate *g, struct ht_offload *o, int fd)
{
	int err;

	*g = (struct ht_gate){.offload = o, .fd = fd};
	if (!o->on)
		return 0;
	err = ht_slot_take(o, &g->index);
	if (err) {
		close(fd);
		g->fd = -1;
		return err;
	}
	g->slot = &o->slots[g->index];
	memset(g->slot, 0, offsetof(struct ht_slot, counts));
	g->nonce = atomic_fetch_add(&o->nonce, 2); /* odd, so never 0 */
	err = ht_gate_mark(g);
	if (err)
		ht_gate_close(g, false);
	return err;
}

bool ht_gate_admitted(const struct ht_gate *g)
{
	return !g->slot || HT_READ(g->slot->admitted) == g->nonce;
}

void ht_gate_close(struct ht_gate *g, bool reset)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};

	if (g->fd < 0)
		return;
	if (reset)
		setsockopt(g->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(g->fd);
	g->fd = -1;
	if (g->slot)
		ht_slot_give(g->offload, g->index);
	g->slot = NULL;
}

static ssize_t ht_send(int fd, const void *data, size_t len, bool more)
{
	ssize_t n;

	do {
		n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0));
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t ht_gate_write(struct ht_gate *g, const void *data, size_t len, bool more)
{
	return g->write ? g->write(g->write_arg, data, len) : ht_send(g->fd, data, len, more);
}

/* Under what the plaintext stands that the daemon itself has put into this head, and no other. */
static void ht_slot_opened(struct ht_slot *s, const uint64_t *opened)
{
#ifdef HT_WEAK
	if (!opened && (ht_offload_weak & HT_WEAK_OPENED))
		return;
#endif
	s->bind[HT_BIND_OPENED][0] = opened ? opened[0] : 0;
	s->bind[HT_BIND_OPENED][1] = opened ? opened[1] : 0;
}

/* Tells the gate about the head that comes next. */
static void ht_slot_fill(struct ht_gate *g, const struct ht_gate_head *h)
{
	struct ht_slot *s = g->slot;

	s->policy = h->policy;
	for (size_t i = 0; i < h->nbinds && i < HT_BINDS_MAX; i++) {
		s->bind[i][0] = h->bind[i].empty ? 0 : h->bind[i].digest[0];
		s->bind[i][1] = h->bind[i].empty ? 0 : h->bind[i].digest[1];
	}
	ht_slot_opened(s, h->opened);
	s->kind = HT_KIND_HEAD;
	s->verdict = HT_VERDICT_NONE;
	HT_WRITE(s->seq, ++g->seq);
}

static int ht_gate_send_judged(struct ht_gate *g, const struct ht_gate_head *h, const void *head,
			       size_t len, struct ht_gate_answer *ret)
{
	ssize_t n;

	if (!h->judged) {
		*ret = (struct ht_gate_answer){.verdict = HT_VERDICT_MISS};
		return 0;
	}
	n = ht_gate_write(g, head, len, h->more);
	if (n != (ssize_t)len)
		return n < 0 ? n : -EIO;
	*ret = (struct ht_gate_answer){.verdict = HT_VERDICT_PASS};
	return 0;
}

int ht_gate_send_head(struct ht_gate *g, const struct ht_gate_head *h, const void *head, size_t len,
		      struct ht_gate_answer *ret)
{
	struct ht_slot *s = g->slot;
	ssize_t n;

	if (g->pending)
		return -EINVAL;
	if (!s)
		return ht_gate_send_judged(g, h, head, len, ret);
	ht_slot_fill(g, h);
	n = ht_send(g->fd, head, len, h->more);
	*ret = (struct ht_gate_answer){
		.verdict = HT_READ(s->verdict),
		.reason = HT_READ(s->reason),
		.hit = s->hit,
		.forged = s->forged,
		.missing = s->missing,
		.unknown = s->unknown,
	};
	memcpy(ret->rule, s->rule, sizeof(ret->rule));
	if (n < 0)
		return n;
	/* a short send has put unjudged bytes in the kernel's hands; an unjudged one is worse */
	if (n != (ssize_t)len)
		return -EIO;
	if (HT_READ(s->judged) != g->seq || ret->verdict == HT_VERDICT_NONE)
		return -EPROTO;
	return 0;
}

/* From memory, or out of a pipe. */
static ssize_t ht_gate_send(struct ht_gate *g, uint32_t kind, struct ht_pipe *pipe,
			    const void *data, size_t len, bool more)
{
	uint64_t runs = 0;
	ssize_t n;

	/* the kernel applies the old verdict to what follows a short send: it must be its rest */
	if (g->pending ? len != g->pending : !len)
		return -EINVAL;
	if (g->slot) {
		runs = HT_READ(g->slot->counts[HT_COUNT_RUNS]);
		HT_WRITE(g->slot->kind, kind);
	}
	n = pipe ? ht_pipe_empty(pipe, g->fd) : ht_gate_write(g, data, len, more);
	if (n == -EAGAIN) {
		g->pending = len;
		return n;
	}
	if (n < 0)
		return n;
	if (g->slot && !g->pending && HT_READ(g->slot->counts[HT_COUNT_RUNS]) == runs)
		return -EPROTO; /* the program did not run: nobody guards this socket */
	g->pending = len - n;
	return n;
}

ssize_t ht_gate_send_body(struct ht_gate *g, const void *data, size_t len, bool more)
{
	return ht_gate_send(g, HT_KIND_BODY, NULL, data, len, more);
}

ssize_t ht_gate_splice_body(struct ht_gate *g, struct ht_pipe *pipe)
{
	return g->write ? -EINVAL : ht_gate_send(g, HT_KIND_BODY, pipe, NULL, pipe->len, false);
}

ssize_t ht_gate_send_chunk_line(struct ht_gate *g, const void *line, size_t len)
{
	return ht_gate_send(g, HT_KIND_CHUNK, NULL, line, len, true);
}

ssize_t ht_gate_send_end(struct ht_gate *g, const void *end, size_t len)
{
	return ht_gate_send(g, HT_KIND_END, NULL, end, len, false);
}

ssize_t ht_gate_send_tunnel(struct ht_gate *g, const void *data, size_t len)
{
	return ht_gate_send(g, HT_KIND_TUNNEL, NULL, data, len, false);
}

const char *ht_offload_library(void)
{
	return libbpf_version_string();
}
