/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard in the daemon's life: opened while there are privileges, told where we listen, told
 * again at a reload. What it does to whom is guard.c's.
 */
#include <openssl/crypto.h>
#include <sys/timerfd.h>

#include "main.h"

/* TCP listeners, at the ports that they have by now. */
static size_t find_doors(const struct ht_gateway *g, struct sockaddr_storage doors[])
{
	size_t n = 0;

	for (size_t i = 0; i < g->config->nlisteners && n < HT_GUARD_DOORS_MAX; i++) {
		const struct ht_addr *a = &g->config->listeners[i].addr;
		uint16_t port = htons(g->listeners[i].port);

		if (a->sa.sa_family != AF_INET && a->sa.sa_family != AF_INET6)
			continue;
		doors[n] = (struct sockaddr_storage){0};
		memcpy(&doors[n], &a->sa, a->len);
		if (port && a->sa.sa_family == AF_INET)
			((struct sockaddr_in *)&doors[n])->sin_port = port;
		else if (port)
			((struct sockaddr_in6 *)&doors[n])->sin6_port = port;
		n++;
	}
	return n;
}

/* Of all sites. NULL without memory. */
static struct ht_guard_rule *find_rules(const struct ht_config *c, size_t *ret_n)
{
	struct ht_guard_rule *rules;
	size_t n = 0;

	for (size_t i = 0; i < c->nsites; i++)
		n += c->sites[i].nrules;
	rules = calloc(n + 1, sizeof(*rules));
	*ret_n = 0;
	for (size_t i = 0; rules && i < c->nsites; i++) {
		for (size_t k = 0; k < c->sites[i].nrules; k++)
			ht_guard_rule_of(&c->sites[i], &c->sites[i].rules[k], &rules[(*ret_n)++]);
	}
	return rules;
}

void ht_daemon_apply_guard(struct ht_daemon *d, const struct ht_gateway *g)
{
	struct sockaddr_storage doors[HT_GUARD_DOORS_MAX];
	size_t nrules;
	_cleanup_free_ struct ht_guard_rule *rules = find_rules(g->config, &nrules);
	const struct ht_guard_settings s = {
		.config = &g->config->guard,
		.trusted = g->config->trusted,
		.ntrusted = g->config->ntrusted,
		.doors = doors,
		.ndoors = find_doors(g, doors),
		.rules = rules,
		.nrules = nrules,
	};
	int err = rules ? ht_guard_apply(d->common.guard, &s) : -ENOMEM;

	if (err)
		ht_log(LOG_ERR, "msg=\"the guard stays as it was\" error=\"%s\"", strerror(-err));
}

/*
 * Does a cookie that the daemon before us signed last still verify? As at a reload (gateway.c): a
 * rotation replaces nothing. Where it is not known what signed, it does.
 */
static bool still_verifies(const struct ht_key_past *past, const struct ht_key *key,
			   const uint8_t salt[HT_PRINT_LEN])
{
	static const uint8_t not_known[HT_PRINT_LEN];
	uint8_t print[HT_PRINT_LEN];

	if (!CRYPTO_memcmp(past->signs, not_known, sizeof(not_known)))
		return true;
	for (size_t i = 0; i < key->nsecrets; i++) {
		if (ht_keyring_print_one(key, i, salt, print) ||
		    !CRYPTO_memcmp(print, past->signs, sizeof(print)))
			return true;
	}
	return false;
}

static void note_replaced_keys(const struct ht_daemon *d)
{
	const struct ht_keyring *ring = d->common.ring;

	for (size_t i = 0; d->keep && i < d->keep->npast && i < ring->nkeys; i++) {
		const struct ht_key_past *past = &d->keep->past[i];
		const struct ht_key *key = &ring->keys[i];

		if (past->name && key->name && !strcmp(past->name, key->name) &&
		    !still_verifies(past, key, d->keep->salt))
			ht_guard_key_replaced(d->common.guard, key->name);
	}
}

/* Interfaces come and go. */
static int watch_interfaces(struct ht_daemon *d)
{
	const struct itimerspec every = {.it_value.tv_sec = HT_GUARD_LOOK_S,
					 .it_interval.tv_sec = HT_GUARD_LOOK_S};

	d->guard_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	return d->guard_fd < 0 || timerfd_settime(d->guard_fd, 0, &every, NULL) ? -errno : 0;
}

void ht_daemon_guard_timer(struct ht_daemon *d)
{
	uint64_t times;

	/* whoever comes after us may be at it already */
	if (read(d->guard_fd, &times, sizeof(times)) == sizeof(times) && !d->drain_until_ms)
		ht_guard_attach(d->common.guard);
}

int ht_daemon_open_guard(struct ht_daemon *d)
{
	const struct ht_config *c = d->config;
	char hold[512];
	const struct ht_guard_params p = {
		.config = &c->guard,
		.pin = c->bpf_pin,
		.hold = c->control ? hold : NULL,
		.locked = ht_offload_pin(d->common.offload),
		.wait_ms = (unsigned)HT_MIN(c->timeouts.drain, (uint64_t)600000) + 1000,
	};
	int err;

	snprintf(hold, sizeof(hold), "%s.guard", c->control ? c->control : "");
	err = ht_guard_open(&p, &d->common.guard);
	if (err || !c->guard.mode)
		return err;
	ht_daemon_apply_guard(d, d->gateway);
	if (ht_guard_why(d->common.guard)[0])
		ht_log(LOG_WARNING,
		       "msg=\"guard\" mode=%s kernel=no reason=\"%s\"; banned sources are refused "
		       "at accept only",
		       ht_guard_mode_name(c->guard.mode), ht_guard_why(d->common.guard));
	else
		ht_log(LOG_INFO, "msg=\"guard\" mode=%s kernel=yes bans=%u map_bytes=%zu reused=%s",
		       ht_guard_mode_name(c->guard.mode), c->guard.max,
		       ht_guard_bytes(d->common.guard),
		       ht_guard_reused(d->common.guard) ? "yes" : "no");
	ht_guard_attach(d->common.guard);
	note_replaced_keys(d);
	return watch_interfaces(d);
}
