/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bans: scored, kept, asked for, listed. The map in the kernel is where they are if there is one,
 * so that program and daemon can't disagree; guard_xdp.c loads and attaches it. Knows addresses;
 * knows nothing of HTTP, cookies or connections.
 */
#include "guard.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "guard_ends.h"
#include "guard_hold.h"
#include "guard_table.h"
#include "guard_xdp.h"
#include "log.h"
#include "score.h"

#define SCORED_SOURCES 16384 /* at a time */
#define TABLE_MAX 65536	     /* bans without BPF */

struct ht_guard {
	_Atomic int mode; /* enum ht_guard_mode */
	atomic_uint version;
	_Atomic bool any;	   /* was there ever a ban? */
	struct ht_sip_keys keys;   /* .key for tables, .tag for prints */
	struct ht_guard_conf conf; /* the masks */
	struct ht_guard_xdp *xdp;  /* NULL = no BPF, or off for good */
	char why[256];
	/* settings: read by workers, replaced by the main thread */
	pthread_rwlock_t settings_lock;
	struct ht_prefix *never; /* banned */
	size_t nnever;
	/* what a forged cookie changes */
	pthread_mutex_t score_lock;
	struct ht_score *score;
	uint32_t forged;
	uint64_t per_ms, ban_ms;
	struct ht_guard_table *table; /* instead of the kernel's map */
	uint64_t evicted;	      /* by score tables of before */
	struct ht_guard_ends ends;    /* of bans */
	struct ht_holds *holds;
	uint64_t hold_s;
	struct ht_guard_counters count;
};

/* ---- sources ---- */

/* 16 bytes, IPv4 as IPv4-mapped. False for what has no address. */
static bool address_of(const struct sockaddr *a, uint8_t ret[16])
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	if (a->sa_family == AF_INET) {
		memcpy(ret, mapped, sizeof(mapped));
		memcpy(ret + 12, &((const struct sockaddr_in *)a)->sin_addr, 4);
		return true;
	}
	if (a->sa_family != AF_INET6)
		return false;
	memcpy(ret, &((const struct sockaddr_in6 *)a)->sin6_addr, 16);
	return true;
}

static bool is_v4(const uint8_t addr[16])
{
	return IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)addr);
}

static bool source_of(const struct ht_guard *g, const struct sockaddr *a, struct ht_ban_key *ret)
{
	const uint8_t *mask;

	if (!address_of(a, ret->addr))
		return false;
	mask = g->conf.mask[!is_v4(ret->addr)];
	for (size_t i = 0; i < sizeof(ret->addr); i++)
		ret->addr[i] &= mask[i];
	return true;
}

/* The mask of a prefix that begins at bit `from`. */
static void set_mask(uint8_t mask[16], unsigned from, unsigned bits)
{
	for (unsigned i = 0; i < from + bits; i++)
		mask[i / 8] |= 0x80 >> i % 8;
}

static unsigned mask_bits(const uint8_t mask[16])
{
	unsigned n = 0;

	for (size_t i = 0; i < 16; i++)
		n += (unsigned)__builtin_popcount(mask[i]);
	return n;
}

static void source_text(const struct ht_guard *g, const struct ht_ban_key *key,
			char ret[HT_SOURCE_TEXT])
{
	bool v4 = is_v4(key->addr);
	unsigned bits = mask_bits(g->conf.mask[!v4]) - (v4 ? 96 : 0), all = v4 ? 32 : 128;
	size_t len;

	inet_ntop(v4 ? AF_INET : AF_INET6, key->addr + (v4 ? 12 : 0), ret, INET6_ADDRSTRLEN);
	len = strlen(ret);
	if (bits < all)
		snprintf(ret + len, HT_SOURCE_TEXT - len, "/%u", bits);
}

static bool is_never_banned(struct ht_guard *g, const struct sockaddr *a)
{
	struct sockaddr_storage addr = {0};
	bool never;

	memcpy(&addr, a,
	       a->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
	pthread_rwlock_rdlock(&g->settings_lock);
	never = ht_prefix_match(g->never, g->nnever, &addr);
	pthread_rwlock_unlock(&g->settings_lock);
	return never;
}

/* ---- bans, wherever they are ---- */

static uint64_t boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t unix_s(void)
{
	return (uint64_t)time(NULL);
}

/* The table's callers hold the lock. */
static int get(const struct ht_guard *g, const struct ht_ban_key *key, struct ht_ban *ret)
{
	return g->xdp ? ht_guard_xdp_get(g->xdp, key, ret) : ht_guard_table_get(g->table, key, ret);
}

/* When the ban ends that is there now; 0 = there is none, or it is over. */
static uint64_t end_of(const struct ht_guard *g, const struct ht_ban_key *key)
{
	struct ht_ban ban;

	return !get(g, key, &ban) && ban.until_ns > boot_ns() ? ban.until_ns : 0;
}

/*
 * One that ended then is lifted, or another is in its place. What is over isn't looked for: it goes
 * by itself, and the search is a long one, under the lock.
 */
static void count_out(struct ht_guard *g, uint64_t until_ns)
{
	if (until_ns)
		ht_guard_ends_remove(&g->ends, until_ns);
}

static int put(struct ht_guard *g, const struct ht_ban_key *key, uint64_t for_ms, uint32_t forged)
{
	const uint64_t now = boot_ns();
	const struct ht_ban ban = {
		.until_ns = now + for_ms * 1000000,
		.since_ns = now,
		.forged = forged,
		.by_hand = !forged,
	};
	const uint64_t until_ns = end_of(g, key);
	int err = 0;

	if (g->xdp)
		err = ht_guard_xdp_put(g->xdp, key, &ban);
	else
		ht_guard_table_put(g->table, key, &ban);
	if (err) {
		g->count.failed++;
		return err;
	}
	g->count.bans[atomic_load(&g->mode)]++;
	g->count.by_hand += !forged;
	count_out(g, until_ns);
	ht_guard_ends_add(&g->ends, ban.until_ns);
	atomic_store(&g->any, true);
	atomic_fetch_add(&g->version, 1);
	return 0;
}

uint32_t ht_guard_version(const struct ht_guard *g)
{
	return atomic_load_explicit(&g->version, memory_order_acquire);
}

enum ht_guard_mode ht_guard_ask(struct ht_guard *g, const struct sockaddr *client)
{
	enum ht_guard_mode mode = (enum ht_guard_mode)atomic_load(&g->mode);
	struct ht_ban_key key;
	bool banned;

	if (!mode || !atomic_load_explicit(&g->any, memory_order_relaxed) ||
	    !source_of(g, client, &key))
		return HT_GUARD_OFF;
	if (g->table)
		pthread_mutex_lock(&g->score_lock);
	banned = end_of(g, &key);
	if (g->table)
		pthread_mutex_unlock(&g->score_lock);
	return banned && !is_never_banned(g, client) ? mode : HT_GUARD_OFF;
}

/* ---- scoring ---- */

/* Has this one made a ban? While a source is banned it can't be banned again. */
static bool score(struct ht_guard *g, const struct ht_ban_key *key, uint64_t print, uint64_t now_ms,
		  uint32_t *ret_forged)
{
	struct ht_source_key source;
	int err;

	if (end_of(g, key))
		return false;
	memcpy(source.addr, key->addr, sizeof(source.addr));
	*ret_forged = ht_score_add(g->score, &source, print, now_ms);
	if (*ret_forged < g->forged)
		return false;
	err = put(g, key, g->ban_ms, *ret_forged);
	if (err)
		ht_log_limited(LOG_ERR, "msg=\"a source can't be banned\" error=\"%s\"",
			       strerror(-err));
	return !err;
}

bool ht_guard_forged(struct ht_guard *g, const struct sockaddr *client, uint64_t rule,
		     uint64_t print, uint64_t now_ms)
{
	enum ht_guard_mode mode = (enum ht_guard_mode)atomic_load(&g->mode);
	uint64_t per_ms, ban_ms;
	char text[HT_SOURCE_TEXT];
	struct ht_ban_key key;
	uint32_t forged = 0;
	bool never, held, banned;

	if (!mode || !source_of(g, client, &key))
		return false;
	never = is_never_banned(g, client);
	pthread_mutex_lock(&g->score_lock);
	held = ht_holds_has(g->holds, rule, unix_s());
	g->count.spared += never;
	g->count.held += held && !never;
	banned = !never && !held && score(g, &key, print, now_ms, &forged);
	per_ms = g->per_ms;
	ban_ms = g->ban_ms;
	pthread_mutex_unlock(&g->score_lock);
	if (!banned)
		return false;
	source_text(g, &key, text);
	ht_log(LOG_NOTICE, "msg=\"source %s\" source=%s forged=%u per_ms=%llu ban_ms=%llu mode=%s",
	       mode == HT_GUARD_DROP ? "banned" : "would be banned", text, forged,
	       (unsigned long long)per_ms, (unsigned long long)ban_ms, ht_guard_mode_name(mode));
	return mode == HT_GUARD_DROP;
}

const struct ht_sip_keys *ht_guard_keys(const struct ht_guard *g)
{
	return &g->keys;
}

void ht_guard_key_replaced(struct ht_guard *g, const char *key)
{
	uint64_t hold_s;
	int held;

	if (!g->holds)
		return;
	pthread_mutex_lock(&g->score_lock);
	hold_s = g->hold_s;
	held = ht_holds_key(g->holds, key, hold_s ? unix_s() + hold_s : 0);
	pthread_mutex_unlock(&g->score_lock);
	if (held)
		ht_log(LOG_NOTICE,
		       "msg=\"a key was replaced: forged cookies of its rules are not scored\" "
		       "key=%s rules=%d for_s=%llu",
		       key, held, (unsigned long long)hold_s);
}

size_t ht_guard_held(struct ht_guard *g)
{
	size_t n;

	pthread_mutex_lock(&g->score_lock);
	n = g->holds ? ht_holds_count(g->holds, unix_s()) : 0;
	pthread_mutex_unlock(&g->score_lock);
	return n;
}

/* ---- by hand ---- */

int ht_guard_ban(struct ht_guard *g, const struct sockaddr_storage *client, uint64_t for_ms)
{
	const struct sockaddr *a = (const struct sockaddr *)client;
	char text[HT_SOURCE_TEXT];
	struct ht_ban_key key;
	int err;

	if (!source_of(g, a, &key))
		return -EINVAL;
	if (!atomic_load(&g->mode))
		return -ENODATA;
	if (is_never_banned(g, a))
		return -EPERM;
	pthread_mutex_lock(&g->score_lock);
	if (!for_ms)
		for_ms = g->ban_ms;
	err = put(g, &key, for_ms, 0);
	pthread_mutex_unlock(&g->score_lock);
	source_text(g, &key, text);
	if (!err)
		ht_log(LOG_NOTICE, "msg=\"source banned by hand\" source=%s ban_ms=%llu mode=%s",
		       text, (unsigned long long)for_ms, ht_guard_mode_name(ht_guard_mode(g)));
	return err;
}

int ht_guard_pardon(struct ht_guard *g, const struct sockaddr_storage *client)
{
	char text[HT_SOURCE_TEXT];
	struct ht_ban_key key;
	uint64_t until_ns = 0;
	int err = -ENOENT;

	if (!source_of(g, (const struct sockaddr *)client, &key))
		return -EINVAL;
	pthread_mutex_lock(&g->score_lock);
	if (g->xdp || g->table) {
		until_ns = end_of(g, &key);
		err = g->xdp ? ht_guard_xdp_delete(g->xdp, &key)
			     : ht_guard_table_delete(g->table, &key);
	}
	if (!err)
		count_out(g, until_ns);
	pthread_mutex_unlock(&g->score_lock);
	source_text(g, &key, text);
	if (!err)
		ht_log(LOG_NOTICE, "msg=\"ban lifted\" source=%s", text);
	return err;
}

/* ---- telling ---- */

struct walk {
	const struct ht_guard *guard;
	uint64_t now_ns;
	size_t n, limit;
	void (*fn)(void *arg, const struct ht_guard_entry *e);
	void *arg;
};

static void visit(void *arg, const struct ht_ban_key *key, const struct ht_ban *ban)
{
	struct walk *w = arg;
	struct ht_guard_entry e;

	if (ban->until_ns <= w->now_ns || w->n == w->limit)
		return;
	w->n++;
	if (!w->fn)
		return;
	source_text(w->guard, key, e.source);
	e.ban = *ban;
	e.left_ms = (ban->until_ns - w->now_ns + 999999) / 1000000;
	w->fn(w->arg, &e);
}

static void walk_table(struct ht_guard *g, struct walk *w)
{
	const struct ht_ban_key *key;
	const struct ht_ban *ban;

	pthread_mutex_lock(&g->score_lock);
	for (size_t i = 0; ht_guard_table_at(g->table, i, &key, &ban); i++) {
		if (ban)
			visit(w, key, ban);
	}
	pthread_mutex_unlock(&g->score_lock);
}

ssize_t ht_guard_walk(struct ht_guard *g, size_t limit,
		      void (*fn)(void *arg, const struct ht_guard_entry *e), void *arg)
{
	struct walk w = {g, boot_ns(), 0, limit, fn, arg};
	int err = 0;

	if (g->xdp)
		err = ht_guard_xdp_each(g->xdp, visit, &w);
	else if (g->table)
		walk_table(g, &w);
	return err ? err : (ssize_t)w.n;
}

size_t ht_guard_running(struct ht_guard *g)
{
	size_t n;

	pthread_mutex_lock(&g->score_lock);
	n = ht_guard_ends_count(&g->ends, boot_ns());
	pthread_mutex_unlock(&g->score_lock);
	return n;
}

enum ht_guard_mode ht_guard_mode(const struct ht_guard *g)
{
	return (enum ht_guard_mode)atomic_load(&g->mode);
}

const char *ht_guard_mode_name(enum ht_guard_mode mode)
{
	static const char *const names[] = {"off", "report", "drop"};

	return names[mode];
}

const char *ht_guard_why(const struct ht_guard *g)
{
	return g->why;
}

bool ht_guard_reused(const struct ht_guard *g)
{
	return g->xdp && ht_guard_xdp_reused(g->xdp);
}

const struct ht_guard_interface *ht_guard_interfaces(const struct ht_guard *g, size_t *ret_n)
{
	*ret_n = 0;
	return g->xdp ? ht_guard_xdp_interfaces(g->xdp, ret_n) : NULL;
}

void ht_guard_counters(struct ht_guard *g, struct ht_guard_counters *ret)
{
	pthread_mutex_lock(&g->score_lock);
	*ret = g->count;
	ret->evicted = g->evicted + (g->score ? ht_score_evicted(g->score) : 0);
	pthread_mutex_unlock(&g->score_lock);
	if (g->xdp)
		ht_guard_xdp_count(g->xdp, &ret->packets);
}

size_t ht_guard_bytes(const struct ht_guard *g)
{
	return g->xdp ? ht_guard_xdp_bytes(g->xdp) : 0;
}

int ht_guard_program(const struct ht_guard *g)
{
	return g->xdp ? ht_guard_xdp_program(g->xdp) : -ENOENT;
}

/* ---- settings ---- */

const char *ht_guard_fixed(const struct ht_guard_config *was, const struct ht_guard_config *is)
{
	bool same = was->ninterfaces == is->ninterfaces;

	if (!was->mode)
		return is->mode ? "guard.mode (from off)" : NULL;
	for (size_t i = 0; same && i < is->ninterfaces; i++)
		same = !strcmp(was->interfaces[i], is->interfaces[i]);
	if (!same)
		return "guard.interface";
	if (was->max != is->max)
		return "guard.max";
	if (was->v4_bits != is->v4_bits)
		return "guard.ipv4-prefix";
	return was->v6_bits != is->v6_bits ? "guard.ipv6-prefix" : NULL;
}

static int new_score(const struct ht_guard *g, const struct ht_guard_config *c,
		     struct ht_score **ret)
{
	const struct ht_score_params p = {
		.sources = SCORED_SOURCES,
		.forged = c->forged,
		.per_ms = c->per_ms,
		.keys = g->keys,
	};

	return ht_score_new(&p, ret);
}

/* Another threshold or window is another table: what was counted is forgotten. */
static int apply_score(struct ht_guard *g, const struct ht_guard_config *c)
{
	struct ht_score *new = NULL, *old = NULL;
	int err = 0;

	if (!g->score || g->forged != c->forged || g->per_ms != c->per_ms)
		err = new_score(g, c, &new);
	if (err)
		return err;
	pthread_mutex_lock(&g->score_lock);
	if (new) {
		old = g->score;
		g->evicted += old ? ht_score_evicted(old) : 0;
		g->score = new;
	}
	g->forged = c->forged;
	g->per_ms = c->per_ms;
	g->ban_ms = c->ban_ms;
	pthread_mutex_unlock(&g->score_lock);
	ht_score_free(old);
	return 0;
}

static int apply_never(struct ht_guard *g, const struct ht_guard_settings *s)
{
	size_t n = s->config->nallow + s->ntrusted;
	struct ht_prefix *list = calloc(n + 1, sizeof(*list)), *old;

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		list[i] = i < s->ntrusted ? s->trusted[i] : s->config->allow[i - s->ntrusted];
	pthread_rwlock_wrlock(&g->settings_lock);
	old = g->never;
	g->never = list;
	g->nnever = n;
	pthread_rwlock_unlock(&g->settings_lock);
	free(old);
	return 0;
}

static int apply_rules(struct ht_guard *g, const struct ht_guard_settings *s)
{
	const uint64_t hold_s = s->config->hold_s;
	int held;

	pthread_mutex_lock(&g->score_lock);
	g->hold_s = hold_s;
	held = ht_holds_follow(g->holds, s->rules, s->nrules, hold_s ? unix_s() + hold_s : 0);
	pthread_mutex_unlock(&g->score_lock);
	if (held > 0)
		ht_log(LOG_NOTICE,
		       "msg=\"rules make other tokens than before: forged cookies of theirs are "
		       "not scored\" rules=%d for_s=%llu",
		       held, (unsigned long long)hold_s);
	return HT_MIN(held, 0);
}

int ht_guard_apply(struct ht_guard *g, const struct ht_guard_settings *s)
{
	int err = 0;

	if (!g->xdp && !g->table)
		return 0; /* off from the start */
	err = apply_never(g, s);
	if (!err)
		err = apply_score(g, s->config);
	if (!err)
		err = apply_rules(g, s);
	if (!err && g->xdp) {
		g->conf.mode = s->config->mode;
		err = ht_guard_xdp_apply(g->xdp, g->never, g->nnever, s->doors, s->ndoors,
					 &g->conf);
	}
	if (!err)
		atomic_store(&g->mode, s->config->mode);
	atomic_fetch_add(&g->version, 1);
	return err;
}

void ht_guard_attach(struct ht_guard *g)
{
	if (g->xdp)
		ht_guard_xdp_attach(g->xdp);
}

/* ---- opening ---- */

/* What a daemon before us has banned. */
static void count_in(void *arg, const struct ht_ban_key *key, const struct ht_ban *ban)
{
	struct ht_guard *g = arg;

	(void)key;
	if (ban->until_ns > boot_ns())
		ht_guard_ends_add(&g->ends, ban->until_ns);
}

static int open_bans(struct ht_guard *g, const struct ht_guard_params *p)
{
	const struct ht_guard_config *c = p->config;
	int err = ht_holds_open(p->hold, &g->holds);

	if (err)
		return err;
	g->ends.max = c->max;
	set_mask(g->conf.mask[0], 96, c->v4_bits);
	set_mask(g->conf.mask[1], 0, c->v6_bits);
	if (!ht_guard_xdp_open(p, &g->conf, &g->xdp, g->why, sizeof(g->why))) {
		atomic_store(&g->any, ht_guard_xdp_reused(g->xdp));
		if (ht_guard_xdp_reused(g->xdp))
			ht_guard_xdp_each(g->xdp, count_in, g);
		return 0;
	}
	/* what a daemon before us left would drop by bans that nobody can lift */
	ht_guard_xdp_clear(p);
	g->ends.max = HT_MIN(c->max, TABLE_MAX);
	return ht_guard_table_new(HT_MIN(c->max, TABLE_MAX), &g->keys, &g->table);
}

int ht_guard_open(const struct ht_guard_params *p, struct ht_guard **ret)
{
	struct ht_guard *g = calloc(1, sizeof(*g));
	int err = 0;

	if (!g)
		return -ENOMEM;
	pthread_rwlock_init(&g->settings_lock, NULL);
	pthread_mutex_init(&g->score_lock, NULL);
	if (RAND_bytes((unsigned char *)&g->keys, sizeof(g->keys)) != 1)
		err = -EIO;
	else if (p->config->mode)
		err = open_bans(g, p);
	else
		ht_guard_xdp_clear(p);
	if (err)
		ht_guard_close(g);
	else
		*ret = g;
	return err;
}

void ht_guard_close(struct ht_guard *g)
{
	if (!g)
		return;
	ht_guard_xdp_close(g->xdp);
	ht_guard_table_free(g->table);
	ht_score_free(g->score);
	ht_holds_close(g->holds);
	ht_guard_ends_clear(&g->ends);
	free(g->never);
	pthread_rwlock_destroy(&g->settings_lock);
	pthread_mutex_destroy(&g->score_lock);
	OPENSSL_cleanse(&g->keys, sizeof(g->keys));
	free(g);
}
