/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generations of the gateway: made from a configuration, published, freed with their last user.
 * What changes between two of them is found here; how workers come to use the new one is not.
 */
#include "gateway.h"

#include <openssl/crypto.h>
#include <time.h>

/* An entry of the map `policy`. */
struct ht_place {
	size_t users; /* sites of living generations */
	struct ht_policy policy;
};

/* ---- what is shared ---- */

int ht_common_open(struct ht_common *c)
{
	pthread_mutex_init(&c->ring_lock, NULL);
	pthread_mutex_init(&c->places_lock, NULL);
	return 0;
}

void ht_common_close(struct ht_common *c)
{
	ht_keyring_unref(c->ring);
	c->ring = NULL;
	ht_revoked_unref(c->revoked);
	c->revoked = NULL;
	free(c->places);
	c->places = NULL;
	pthread_mutex_destroy(&c->ring_lock);
	pthread_mutex_destroy(&c->places_lock);
}

void ht_common_set_ring(struct ht_common *c, struct ht_keyring *ring)
{
	ht_common_set_revoked(c, ring, ht_revoked_ref(c->revoked));
}

/* Does a cookie that was signed until now not verify any more? */
static bool is_replaced(const struct ht_key *old, const struct ht_key *new)
{
	const struct ht_secret *was = old->nsecrets ? &old->secrets[0] : NULL;

	for (size_t i = 0; was && i < new->nsecrets; i++) {
		if (new->secrets[i].len == was->len &&
		    !CRYPTO_memcmp(new->secrets[i].bytes, was->bytes, was->len))
			return false;
	}
	return was;
}

static void note_replaced(struct ht_guard *guard, const struct ht_keyring *old,
			  const struct ht_keyring *new)
{
	for (size_t i = 0; i < old->nkeys && i < new->nkeys; i++) {
		if (new->keys[i].name && is_replaced(&old->keys[i], &new->keys[i]))
			ht_guard_key_replaced(guard, new->keys[i].name);
	}
}

void ht_common_set_revoked(struct ht_common *c, struct ht_keyring *ring, struct ht_revoked *revoked)
{
	struct ht_revoked *old_revoked;
	struct ht_keyring *old;

	/* before anybody judges by the new one */
	if (c->guard && c->ring)
		note_replaced(c->guard, c->ring, ring);
	/*
	 * The version goes up first: a worker whose cookies miss because of the new generations
	 * sees it, and waits at the lock until all of them are published.
	 */
	pthread_mutex_lock(&c->ring_lock);
	old = c->ring;
	old_revoked = c->revoked;
	c->ring = ring;
	c->revoked = revoked;
	atomic_fetch_add(&c->ring_version, 1);
	if (c->offload)
		ht_offload_generations(c->offload, ring);
	pthread_mutex_unlock(&c->ring_lock);
	ht_keyring_unref(old);
	ht_revoked_unref(old_revoked);
}

/* ---- places in the map `policy` ---- */

/* The place of equal rules, else an unused one; -ENOSPC. */
static ssize_t place_find(const struct ht_common *c, const struct ht_policy *p)
{
	ssize_t unused = -ENOSPC;

	for (size_t i = 0; i < c->nplaces; i++) {
		if (c->places[i].users && !memcmp(&c->places[i].policy, p, sizeof(*p)))
			return (ssize_t)i;
		if (!c->places[i].users && unused < 0)
			unused = (ssize_t)i;
	}
	return unused;
}

/*
 * A request is judged by the rules that it was routed with even if a reload comes in between: an
 * entry is never overwritten while a generation uses it.
 */
static int place_take(struct ht_gateway *g, const struct ht_policy *p, uint32_t *ret)
{
	struct ht_common *c = g->common;
	ssize_t at = place_find(c, p);
	int err = 0;

	if (at < 0)
		return (int)at;
	if (!c->places[at].users) {
		err = ht_offload_policy(c->offload, (uint32_t)at, p);
		if (err)
			return err;
		c->places[at].policy = *p;
	}
	c->places[at].users++;
	*ret = (uint32_t)at;
	return 0;
}

int ht_gateway_place(struct ht_gateway *g)
{
	struct ht_common *c = g->common;
	int err = 0;

	g->offload = c->offload;
	g->plain = c->plain;
	g->access_log = c->access_log;
	g->access_log_on = c->access_log_on;
	pthread_mutex_lock(&c->places_lock);
	if (!c->places) {
		c->nplaces = ht_offload_max_sites(c->offload);
		c->places = calloc(c->nplaces ? c->nplaces : 1, sizeof(*c->places));
		if (!c->places)
			err = -ENOMEM;
	}
	/* without a gate nobody looks there */
	for (; !err && ht_offload_on(c->offload) && g->nplaced < g->config->nsites;
	     g->nplaced += !err)
		err = place_take(g, &g->policies[g->nplaced].gate, &g->places[g->nplaced]);
	pthread_mutex_unlock(&c->places_lock);
	return err;
}

static void gateway_leave_places(struct ht_gateway *g)
{
	struct ht_common *c = g->common;

	if (!g->nplaced)
		return;
	pthread_mutex_lock(&c->places_lock);
	for (size_t i = 0; i < g->nplaced; i++)
		c->places[g->places[i]].users--;
	pthread_mutex_unlock(&c->places_lock);
	g->nplaced = 0;
}

/* ---- loading ---- */

/* Does the site that a client asks for by name want a certificate? Any thread. */
static bool site_needs_subject(void *arg, struct ht_str sni)
{
	const struct ht_gateway *g = arg;
	const struct ht_site_config *site = ht_config_site(g->config, sni);

	return site && g->policies[site - g->config->sites].needs_subject;
}

static int load_policies(struct ht_gateway *g, struct ht_diag *diag)
{
	const struct ht_config *c = g->config;
	struct ht_policy_time now;
	struct timespec boot;
	int err = 0;

	g->policies = calloc(c->nsites ? c->nsites : 1, sizeof(*g->policies));
	g->places = calloc(c->nsites ? c->nsites : 1, sizeof(*g->places));
	if (!g->policies || !g->places)
		return -ENOMEM;
	clock_gettime(CLOCK_BOOTTIME, &boot);
	now = (struct ht_policy_time){(uint64_t)time(NULL), (uint64_t)boot.tv_sec * 1000000000};
	for (size_t i = 0; !err && i < c->nsites; i++) {
		err = ht_policy_compile(c, &c->sites[i], &g->policies[i], diag);
		ht_policy_set_time(&g->policies[i], &now);
	}
	return err;
}

static ssize_t listener_before(const struct ht_gateway *old, const char *address)
{
	for (size_t i = 0; old && i < old->config->nlisteners; i++) {
		if (!strcmp(old->listeners[i].config->addr.text, address))
			return (ssize_t)i;
	}
	return -1;
}

/* The lowest number that no listener has, now or then: counters keep their labels. */
static size_t listener_number(const struct ht_gateway *g, const struct ht_gateway *old)
{
	for (size_t n = 0;; n++) {
		bool used = false;

		for (size_t i = 0; i < g->config->nlisteners; i++)
			used |= g->listeners[i].index == n;
		for (size_t i = 0; old && i < old->config->nlisteners; i++)
			used |= old->listeners[i].index == n;
		if (!used)
			return n;
	}
}

static void listener_identify(struct ht_gateway *g, struct ht_listener *l,
			      const struct ht_gateway *old)
{
	l->from = listener_before(old, l->config->addr.text);
	if (l->from < 0)
		return;
	l->index = old->listeners[l->from].index;
	l->port = old->listeners[l->from].port;
	l->handed_over = old->listeners[l->from].handed_over;
	(void)g;
}

static int load_listeners(struct ht_gateway *g, const struct ht_gateway *old, struct ht_diag *diag)
{
	const struct ht_config *c = g->config;
	int err = 0;

	g->listeners = calloc(c->nlisteners ? c->nlisteners : 1, sizeof(*g->listeners));
	if (!g->listeners)
		return -ENOMEM;
	for (size_t i = 0; i < c->nlisteners; i++) {
		g->listeners[i] = (struct ht_listener){
			.config = &c->listeners[i], .index = SIZE_MAX, .from = -1, .shared_fd = -1};
		listener_identify(g, &g->listeners[i], old);
	}
	for (size_t i = 0; !err && i < c->nlisteners; i++) {
		struct ht_listener *l = &g->listeners[i];
		const struct ht_tls_params p = {
			.listener = l->config,
			.ktls = g->common->ktls,
			.needs_subject = site_needs_subject,
			.arg = g,
		};

		if (l->index == SIZE_MAX)
			l->index = listener_number(g, old);
		if (l->config->tls)
			err = ht_tls_ctx_new(&p, &l->tls, diag);
	}
	return err;
}

/* Keys keep their places, so that a request of the generation before means the same ones. */
static int load_keys(struct ht_gateway *g, struct ht_config *config, struct ht_keyring **ret,
		     struct ht_diag *diag)
{
	const struct ht_keyring *now = g->common->ring;
	size_t n = now ? now->nkeys : g->common->npast;
	const char *names[HT_KEYS_MAX];
	int err = 0;

	for (size_t i = 0; i < n; i++)
		names[i] = now ? now->keys[i].name : g->common->past[i].name;
	if (n)
		err = ht_config_keep_keys(config, names, n, diag);
	if (!err)
		err = g->common->rings ? ht_ring_set_load(g->common->rings, config, now,
							  (uint64_t)time(NULL), ret, diag)
				       : ht_ring_set_look(config, (uint64_t)time(NULL), ret, diag);
	if (!err && now)
		ht_keyring_follow(*ret, now);
	return err;
}

static int load_geoip(struct ht_gateway *g, struct ht_diag *diag)
{
	const struct ht_config *c = g->config;
	char why[256];
	int err = c->geoip ? ht_geoip_open(c->geoip, &g->geoip, why, sizeof(why)) : 0;

	if (!err)
		return 0;
	snprintf(diag->file, sizeof(diag->file), "%s", c->file);
	diag->line = c->geoip_line;
	diag->col = c->geoip_col;
	snprintf(diag->text, sizeof(diag->text), "geoip %s: %s", c->geoip, why);
	return err;
}

int ht_gateway_new(struct ht_common *common, struct ht_config *config, const struct ht_gateway *old,
		   struct ht_gateway **ret, struct ht_keyring **ret_ring, struct ht_diag *diag)
{
	struct ht_gateway *g = calloc(1, sizeof(*g));
	struct ht_keyring *ring = NULL;
	int err;

	if (!g) {
		ht_config_free(config);
		return -ENOMEM;
	}
	atomic_init(&g->refs, 1);
	g->common = common;
	g->config = config;
	g->serial = ++common->serial;
	g->offload = common->offload;
	g->plain = common->plain;
	g->access_log = common->access_log;
	g->access_log_on = common->access_log_on;
	err = load_keys(g, config, &ring, diag);
	if (!err)
		err = load_geoip(g, diag);
	if (!err)
		err = load_policies(g, diag);
	if (!err)
		err = load_listeners(g, old, diag);
	if (!err)
		err = ht_health_open(config, ring, old ? old->health : NULL, &g->health, diag);
	if (err) {
		if (!diag->text[0])
			snprintf(diag->text, sizeof(diag->text), "%s", strerror(-err));
		ht_keyring_unref(ring);
		ht_gateway_unref(g);
		return err;
	}
	*ret = g;
	*ret_ring = ring;
	return 0;
}

/* ---- counting ---- */

struct ht_gateway *ht_gateway_ref(struct ht_gateway *g)
{
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	return g;
}

void ht_gateway_unref(struct ht_gateway *g)
{
	if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
		return;
	gateway_leave_places(g);
	for (size_t i = 0; g->listeners && i < g->config->nlisteners; i++) {
		ht_tls_ctx_free(g->listeners[i].tls);
		if (g->listeners[i].shared_fd >= 0)
			close(g->listeners[i].shared_fd);
	}
	ht_geoip_close(g->geoip);
	ht_health_close(g->health);
	free(g->listeners);
	free(g->policies);
	free(g->places);
	if (!g->config_kept)
		ht_config_free((struct ht_config *)g->config);
	free(g);
}
