/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of the backends, and the thread that looks their names up. Nothing here is on the
 * request's path but a few atomics; the checks are in health_check.c.
 */
#include "health.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <signal.h>
#include <time.h>

#include "health_check.h"
#include "log.h"

#define ADDRESSES_MAX 16 /* of one name */
#define HT_ANSWERED_STEP_MS 1000

/* A name that is looked up again. Owns what it needs: a lookup may outlive the configuration. */
struct lookup {
	struct ht_peers *peers;
	const struct ht_upstream_config *config; /* only compared */
	char host[256], label[192];
	uint16_t port;
	uint64_t every_ms, next_ms;
};

struct ht_health {
	_Atomic unsigned refs; /* the owner, and the thread that looks names up */
	size_t nsites;
	struct ht_peers *site;
	uint8_t secret[32]; /* of the affinity cookies */
	size_t nlookups;
	struct lookup *lookup;
	pthread_mutex_t lock; /* for `stop` */
	pthread_cond_t wake;
	bool stop;
	_Atomic uint64_t lookups_failed;
	struct ht_checker *checker;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- one upstream ---- */

bool ht_peer_ready(const struct ht_peer *p, uint64_t now)
{
	return atomic_load_explicit(&p->gen, memory_order_relaxed) &&
	       !atomic_load_explicit(&p->down, memory_order_relaxed) &&
	       atomic_load_explicit(&p->rests_until_ms, memory_order_relaxed) <= now;
}

bool ht_peer_claim(struct ht_peer *p, uint64_t now, bool *ret_probe)
{
	uint64_t until = atomic_load_explicit(&p->rests_until_ms, memory_order_relaxed);

	*ret_probe = false;
	if (!until)
		return true;
	if (until > now)
		return false;
	*ret_probe = atomic_compare_exchange_strong(&p->rests_until_ms, &until, now + HT_PROBE_MS);
	return *ret_probe;
}

void ht_peer_failed(struct ht_peer *p, uint64_t now, bool probe, const char *text, const char *why)
{
	uint64_t until = atomic_load(&p->rests_until_ms), rest;
	uint32_t failures = atomic_load(&p->failures);

	if (until > now && !probe)
		return; /* one of several that failed at once: they count as one */
	rest = HT_MIN((uint64_t)HT_REST_MIN_MS << HT_MIN(failures, 16U), (uint64_t)HT_REST_MAX_MS);
	if (!atomic_compare_exchange_strong(&p->rests_until_ms, &until, now + rest))
		return;
	atomic_fetch_add(&p->failures, 1);
	ht_log_limited(LOG_WARNING,
		       "msg=\"backend failed\" upstream=%s error=\"%s\" failures=%u rest_ms=%llu",
		       text, why, failures + 1, (unsigned long long)rest);
}

static void peer_well(struct ht_peer *p, const char *text)
{
	if (!atomic_load_explicit(&p->rests_until_ms, memory_order_relaxed))
		return;
	atomic_store(&p->failures, 0);
	if (atomic_exchange(&p->rests_until_ms, 0))
		ht_log(LOG_NOTICE, "msg=\"backend is well again\" upstream=%s", text);
}

void ht_peer_connected(struct ht_peer *p, const char *text)
{
	if (atomic_load_explicit(&p->unanswered, memory_order_relaxed) < HT_UNANSWERED_MAX)
		peer_well(p, text);
}

void ht_peer_unanswered(struct ht_peer *p, uint64_t now, uint64_t since, bool probe,
			const char *text, const char *why)
{
	if (since && atomic_load(&p->answered_ms) + HT_ANSWERED_STEP_MS > since)
		return;
	if (atomic_fetch_add(&p->unanswered, 1) + 1 >= HT_UNANSWERED_MAX)
		ht_peer_failed(p, now, probe, text, why);
}

void ht_peer_answered(struct ht_peer *p, uint64_t now, const char *text)
{
	/* looked at first: one line of memory that all workers would write to with every answer */
	if (atomic_load_explicit(&p->answered_ms, memory_order_relaxed) + HT_ANSWERED_STEP_MS <=
	    now)
		atomic_store_explicit(&p->answered_ms, now, memory_order_relaxed);
	if (atomic_load_explicit(&p->unanswered, memory_order_relaxed) &&
	    atomic_exchange(&p->unanswered, 0) >= HT_UNANSWERED_MAX)
		peer_well(p, text);
}

/* ---- a site's ---- */

/* As the configuration has it, less the scheme. */
static void upstream_label(const struct ht_upstream_config *c, char *ret, size_t len)
{
	if (c->unix_path)
		snprintf(ret, len, "unix:%s", c->unix_path);
	else
		snprintf(ret, len, strchr(c->host, ':') ? "%s[%s]:%u" : "%s%s:%u",
			 c->tls ? "https://" : "", c->host, c->port);
}

static bool is_name(const struct ht_upstream_config *c)
{
	struct in6_addr any;

	return c->host && inet_pton(AF_INET, c->host, &any) != 1 &&
	       inet_pton(AF_INET6, c->host, &any) != 1;
}

static void addr_text(const struct ht_addr *a, char *ret, socklen_t len)
{
	const void *from = a->sa.sa_family == AF_INET ? (const void *)&a->in.sin_addr
						      : (const void *)&a->in6.sin6_addr;

	ret[0] = 0;
	inet_ntop(a->sa.sa_family, from, ret, len);
}

/* Puts something into a free place. Under the lock, or before anybody else knows of it. */
static int peer_fill(struct ht_health *h, struct ht_peer *p, const struct ht_upstream_config *c,
		     const char *label, bool name, const struct ht_addr *addr)
{
	static _Atomic uint32_t generation;
	char ip[INET6_ADDRSTRLEN];
	uint32_t gen = 0;
	int err;

	p->config = c;
	p->addr = *addr;
	if (name) {
		addr_text(addr, ip, sizeof(ip));
		snprintf(p->text, sizeof(p->text), "%s/%s", label, ip);
	} else {
		snprintf(p->text, sizeof(p->text), "%s", label);
	}
	p->id = ht_balance_id(p->text, strlen(p->text));
	err = ht_balance_token(h->secret, sizeof(h->secret), p->text, p->token);
	if (err)
		return err;
	atomic_store(&p->failures, 0);
	atomic_store(&p->unanswered, 0);
	atomic_store(&p->rests_until_ms, 0);
	atomic_store(&p->answered_ms, 0);
	atomic_store(&p->down, false);
	while (!gen)
		gen = atomic_fetch_add(&generation, 1) + 1;
	atomic_store(&p->gen, gen);
	return 0;
}

/* How many places: one for each upstream, and room for the other addresses of names. */
static size_t count_places(const struct ht_site_config *s)
{
	size_t n = s->nupstreams;

	for (size_t i = 0; i < s->nupstreams; i++)
		n += is_name(&s->upstreams[i]) ? ADDRESSES_MAX - 1 : 0;
	return HT_MIN(n, (size_t)HT_UPSTREAMS_MAX);
}

static int peers_tls(struct ht_peers *s, struct ht_diag *diag)
{
	const struct ht_site_config *c = s->site;
	bool needed = false;
	char why[256];
	int err;

	for (size_t i = 0; i < c->nupstreams; i++)
		needed |= c->upstreams[i].tls;
	if (!needed)
		return 0;
	err = ht_tls_client_new(c->upstream_ca, &s->tls, why, sizeof(why));
	if (err) {
		diag->file[0] = 0;
		diag->line = c->upstream_ca ? c->ca_line : c->line;
		diag->col = c->upstream_ca ? c->ca_col : c->col;
		snprintf(diag->text, sizeof(diag->text),
			 "upstream-ca can't be used: %s; write a PEM file of certificates", why);
	}
	return err;
}

static int peers_open(struct ht_health *h, struct ht_peers *s, const struct ht_site_config *c,
		      struct ht_diag *diag)
{
	char label[160];
	int err;

	s->site = c;
	pthread_mutex_init(&s->lock, NULL);
	s->peer = calloc(count_places(c), sizeof(*s->peer));
	if (!s->peer)
		return -ENOMEM;
	s->n = count_places(c);
	err = peers_tls(s, diag);
	for (size_t i = 0; !err && i < HT_MIN(c->nupstreams, s->n); i++) {
		upstream_label(&c->upstreams[i], label, sizeof(label));
		err = peer_fill(h, &s->peer[i], &c->upstreams[i], label, is_name(&c->upstreams[i]),
				&c->upstreams[i].addr);
	}
	atomic_store(&s->version, 1);
	return err;
}

/* ---- looking names up ---- */

static bool same_host(const struct ht_addr *a, const struct ht_addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	return !memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) &&
	       a->in6.sin6_scope_id == b->in6.sin6_scope_id;
}

static bool has_addr(const struct ht_addr *list, size_t n, const struct ht_addr *a)
{
	for (size_t i = 0; i < n; i++) {
		if (same_host(&list[i], a))
			return true;
	}
	return false;
}

/* All addresses of the name, each once. Takes as long as it takes. 0 or an EAI_ code. */
static int lookup_addrs(const struct lookup *l, struct ht_addr *ret, size_t *ret_n)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	size_t n = 0;
	int r = getaddrinfo(l->host, NULL, &hints, &found);

	if (r)
		return r;
	for (const struct addrinfo *a = found; a && n < ADDRESSES_MAX; a = a->ai_next) {
		if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
			continue;
		ret[n] = (struct ht_addr){.len = a->ai_addrlen};
		memcpy(&ret[n].sa, a->ai_addr, a->ai_addrlen);
		if (a->ai_family == AF_INET)
			ret[n].in.sin_port = htons(l->port);
		else
			ret[n].in6.sin6_port = htons(l->port);
		n += !has_addr(ret, n, &ret[n]);
	}
	freeaddrinfo(found);
	*ret_n = n;
	return n ? 0 : EAI_NONAME;
}

/* A place that nothing stands in, nor is still used by a request under way. */
static struct ht_peer *peers_free(struct ht_peers *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (!atomic_load(&s->peer[i].gen) && !atomic_load(&s->peer[i].active))
			return &s->peer[i];
	}
	return NULL;
}

static bool lookup_drop_old(struct lookup *l, const struct ht_addr *addr, size_t n)
{
	bool changed = false;

	for (size_t i = 0; i < l->peers->n; i++) {
		struct ht_peer *p = &l->peers->peer[i];

		if (!atomic_load(&p->gen) || p->config != l->config || has_addr(addr, n, &p->addr))
			continue;
		ht_log(LOG_NOTICE, "msg=\"backend address gone\" upstream=%s", p->text);
		atomic_store(&p->gen, 0);
		changed = true;
	}
	return changed;
}

static bool lookup_has(const struct lookup *l, const struct ht_addr *addr)
{
	for (size_t i = 0; i < l->peers->n; i++) {
		const struct ht_peer *p = &l->peers->peer[i];

		if (atomic_load(&p->gen) && p->config == l->config && same_host(&p->addr, addr))
			return true;
	}
	return false;
}

static bool lookup_add_new(struct ht_health *h, struct lookup *l, const struct ht_addr *addr,
			   size_t n)
{
	bool changed = false;

	for (size_t i = 0; i < n; i++) {
		struct ht_peer *p;

		if (lookup_has(l, &addr[i]))
			continue;
		p = peers_free(l->peers);
		if (!p) {
			ht_log(LOG_WARNING,
			       "msg=\"a site has too many addresses; some are not used\" "
			       "upstream=%s",
			       l->label);
			break;
		}
		if (peer_fill(h, p, l->config, l->label, true, &addr[i]))
			break;
		ht_log(LOG_NOTICE, "msg=\"backend address found\" upstream=%s", p->text);
		changed = true;
	}
	return changed;
}

static void lookup_apply(struct ht_health *h, struct lookup *l, const struct ht_addr *addr,
			 size_t n)
{
	bool changed;

	pthread_mutex_lock(&l->peers->lock);
	changed = lookup_drop_old(l, addr, n);
	changed |= lookup_add_new(h, l, addr, n);
	if (changed)
		atomic_fetch_add(&l->peers->version, 1);
	pthread_mutex_unlock(&l->peers->lock);
}

static bool health_stopped(struct ht_health *h)
{
	bool stop;

	pthread_mutex_lock(&h->lock);
	stop = h->stop;
	pthread_mutex_unlock(&h->lock);
	return stop;
}

static void lookup_run(struct ht_health *h, struct lookup *l)
{
	struct ht_addr addr[ADDRESSES_MAX];
	size_t n = 0;
	int r = lookup_addrs(l, addr, &n);

	l->next_ms = now_ms() + l->every_ms;
	if (health_stopped(h))
		return;
	if (!r) {
		lookup_apply(h, l, addr, n);
		return;
	}
	atomic_fetch_add(&h->lookups_failed, 1);
	ht_log_limited(LOG_WARNING,
		       "msg=\"upstream name does not resolve; its addresses stay\" upstream=%s "
		       "error=\"%s\"",
		       l->label, gai_strerror(r));
}

/* Until the next lookup is due. False when it is all over. */
static bool lookups_wait(struct ht_health *h)
{
	struct timespec ts;
	uint64_t next = UINT64_MAX;
	bool stop;

	for (size_t i = 0; i < h->nlookups; i++)
		next = HT_MIN(next, h->lookup[i].next_ms);
	ts.tv_sec = (time_t)(next / 1000);
	ts.tv_nsec = (long)(next % 1000) * 1000000;
	pthread_mutex_lock(&h->lock);
	while (!h->stop && now_ms() < next)
		pthread_cond_timedwait(&h->wake, &h->lock, &ts);
	stop = h->stop;
	pthread_mutex_unlock(&h->lock);
	return !stop;
}

static void health_unref(struct ht_health *h);

static void *lookups_main(void *arg)
{
	struct ht_health *h = arg;

	pthread_setname_np(pthread_self(), "resolver");
	do {
		for (size_t i = 0; i < h->nlookups && !health_stopped(h); i++) {
			if (h->lookup[i].next_ms <= now_ms())
				lookup_run(h, &h->lookup[i]);
		}
		/* nobody joins this thread: the library must hold nothing for it at exit */
		OPENSSL_thread_stop();
	} while (lookups_wait(h));
	health_unref(h);
	return NULL;
}

static int lookups_open(struct ht_health *h, const struct ht_config *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->nsites; i++)
		for (size_t j = 0; j < c->sites[i].nupstreams; j++)
			n += c->sites[i].resolve_every && is_name(&c->sites[i].upstreams[j]);
	h->lookup = calloc(n ? n : 1, sizeof(*h->lookup));
	if (!h->lookup)
		return -ENOMEM;
	for (size_t i = 0; i < c->nsites; i++) {
		for (size_t j = 0; j < c->sites[i].nupstreams; j++) {
			const struct ht_upstream_config *u = &c->sites[i].upstreams[j];
			struct lookup *l = &h->lookup[h->nlookups];

			if (!c->sites[i].resolve_every || !is_name(u))
				continue;
			*l = (struct lookup){.peers = &h->site[i],
					     .config = u,
					     .port = u->port,
					     .every_ms = c->sites[i].resolve_every};
			snprintf(l->host, sizeof(l->host), "%s", u->host);
			upstream_label(u, l->label, sizeof(l->label));
			h->nlookups++;
		}
	}
	return 0;
}

/* ---- all of it ---- */

/* A secret that all nodes have and that stays: a file's. One that rotates sends everybody elsewhere. */
static const struct ht_secret *lasting_secret(const struct ht_config *c,
					      const struct ht_keyring *ring)
{
	for (size_t i = 0; ring && i < ring->nkeys && i < c->nkeys; i++) {
		if (c->keys[i].file && ring->keys[i].nsecrets)
			return &ring->keys[i].secrets[0];
	}
	return NULL;
}

/* What affinity cookies are made with; without a key in a file it is this process's own. */
static int health_secret(struct ht_health *h, const struct ht_config *c,
			 const struct ht_keyring *ring, const struct ht_health *old)
{
	static const char label[] = "hardtack affinity cookies";
	const struct ht_secret *secret = lasting_secret(c, ring);
	char text[HT_BALANCE_TOKEN + 1];

	if (!secret && old) {
		memcpy(h->secret, old->secret, sizeof(h->secret));
		return 0;
	}
	if (!secret)
		return RAND_bytes(h->secret, sizeof(h->secret)) == 1 ? 0 : -EIO;
	if (ht_balance_token(secret->bytes, secret->len, label, text))
		return -EIO;
	memcpy(h->secret, text, sizeof(h->secret));
	return 0;
}

static void peer_inherit(struct ht_peer *p, const struct ht_peer *from)
{
	atomic_store(&p->failures, atomic_load(&from->failures));
	atomic_store(&p->unanswered, atomic_load(&from->unanswered));
	atomic_store(&p->rests_until_ms, atomic_load(&from->rests_until_ms));
	atomic_store(&p->answered_ms, atomic_load(&from->answered_ms));
	atomic_store(&p->down, atomic_load(&from->down));
}

/* Addresses that the resolver had found come back with its first lookup. */
static void peers_inherit(struct ht_peers *s, struct ht_peers *from)
{
	bool checked = s->site->check.path != NULL;

	pthread_mutex_lock(&from->lock);
	for (size_t i = 0; i < s->n; i++) {
		for (size_t j = 0; j < from->n && atomic_load(&s->peer[i].gen); j++) {
			if (!atomic_load(&from->peer[j].gen) ||
			    strcmp(s->peer[i].text, from->peer[j].text))
				continue;
			peer_inherit(&s->peer[i], &from->peer[j]);
			if (!checked)
				atomic_store(&s->peer[i].down, false);
		}
	}
	pthread_mutex_unlock(&from->lock);
}

static void health_inherit(struct ht_health *h, struct ht_health *from)
{
	for (size_t i = 0; i < h->nsites; i++) {
		for (size_t j = 0; j < from->nsites; j++) {
			if (!strcmp(h->site[i].site->hosts[0], from->site[j].site->hosts[0]))
				peers_inherit(&h->site[i], &from->site[j]);
		}
	}
}

int ht_health_open(const struct ht_config *c, const struct ht_keyring *ring, struct ht_health *old,
		   struct ht_health **ret, struct ht_diag *diag)
{
	struct ht_health *h = calloc(1, sizeof(*h));
	pthread_condattr_t attr;
	int err = -ENOMEM;

	if (!h)
		return err;
	atomic_store(&h->refs, 1);
	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&h->wake, &attr);
	pthread_condattr_destroy(&attr);
	h->site = calloc(c->nsites ? c->nsites : 1, sizeof(*h->site));
	if (h->site)
		err = health_secret(h, c, ring, old);
	for (; !err && h->nsites < c->nsites; h->nsites++)
		err = peers_open(h, &h->site[h->nsites], &c->sites[h->nsites], diag);
	if (!err)
		err = lookups_open(h, c);
	if (!err && old)
		health_inherit(h, old);
	if (!err)
		*ret = TAKE_PTR(h);
	ht_health_close(h);
	return err;
}

static int lookups_start(struct ht_health *h)
{
	pthread_t thread;
	int err;

	if (!h->nlookups)
		return 0;
	atomic_fetch_add(&h->refs, 1);
	err = pthread_create(&thread, NULL, lookups_main, h);
	if (err) {
		atomic_fetch_sub(&h->refs, 1);
		return -err;
	}
	pthread_detach(thread); /* getaddrinfo() can't be interrupted: nobody waits for it */
	return 0;
}

int ht_health_start(struct ht_health *h)
{
	sigset_t all, before;
	int err;

	/* signals are the main thread's */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = ht_checker_start(h->site, h->nsites, &h->checker);
	if (!err)
		err = lookups_start(h);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

void ht_health_stop(struct ht_health *h)
{
	if (!h)
		return;
	ht_checker_stop(TAKE_PTR(h->checker));
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
}

static void health_unref(struct ht_health *h)
{
	if (atomic_fetch_sub(&h->refs, 1) != 1)
		return;
	for (size_t i = 0; h->site && i < h->nsites; i++) {
		pthread_mutex_destroy(&h->site[i].lock);
		free(h->site[i].peer);
	}
	pthread_cond_destroy(&h->wake);
	pthread_mutex_destroy(&h->lock);
	OPENSSL_cleanse(h->secret, sizeof(h->secret));
	free(h->lookup);
	free(h->site);
	free(h);
}

void ht_health_close(struct ht_health *h)
{
	if (!h)
		return;
	ht_health_stop(h);
	/* not by the resolver, who may be the last one: OpenSSL's own locks may be gone by then */
	for (size_t i = 0; h->site && i < h->nsites; i++) {
		ht_tls_ctx_free(h->site[i].tls);
		h->site[i].tls = NULL;
	}
	health_unref(h);
}

struct ht_peers *ht_health_site(struct ht_health *h, size_t index)
{
	return &h->site[index];
}

uint64_t ht_health_lookups_failed(const struct ht_health *h)
{
	return atomic_load(&h->lookups_failed);
}

static bool peer_list(struct ht_peers *s, size_t i, uint64_t now, struct ht_stats_upstream *ret)
{
	const struct ht_peer *p = &s->peer[i];

	if (!atomic_load(&p->gen))
		return false;
	*ret = (struct ht_stats_upstream){
		.site = s->site->hosts[0],
		.up = ht_peer_ready(p, now),
		.down = atomic_load(&p->down),
		.active = atomic_load(&p->active),
		.failures = atomic_load(&p->failures),
	};
	memcpy(ret->upstream, p->text, sizeof(ret->upstream));
	return true;
}

int ht_health_list(struct ht_health *h, struct ht_stats_upstream **ret, size_t *ret_n)
{
	struct ht_stats_upstream *list;
	uint64_t now = now_ms();
	size_t n = 0;

	for (size_t i = 0; i < h->nsites; i++)
		n += h->site[i].n;
	list = calloc(n ? n : 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < h->nsites; i++) {
		pthread_mutex_lock(&h->site[i].lock);
		for (size_t j = 0; j < h->site[i].n; j++)
			n += peer_list(&h->site[i], j, now, &list[n]);
		pthread_mutex_unlock(&h->site[i].lock);
	}
	*ret = list;
	*ret_n = n;
	return 0;
}
