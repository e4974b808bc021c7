/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard in the daemon's life: opened while there are privileges, told where we listen, told
 * again at a reload. What it does to whom is guard.c's.
 */
#include <openssl/crypto.h>

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

void ht_daemon_apply_guard(struct ht_daemon *d, const struct ht_gateway *g)
{
	struct sockaddr_storage doors[HT_GUARD_DOORS_MAX];
	const struct ht_guard_settings s = {
		.config = &g->config->guard,
		.trusted = g->config->trusted,
		.ntrusted = g->config->ntrusted,
		.doors = doors,
		.ndoors = find_doors(g, doors),
	};
	int err = ht_guard_apply(d->common.guard, &s);

	if (err)
		ht_log(LOG_ERR, "msg=\"the guard stays as it was\" error=\"%s\"", strerror(-err));
}

/* Are the keys those of the daemon before us? Nothing is known of them: then they are. */
static bool keys_are_others(const struct ht_daemon *d)
{
	const struct ht_keyring *ring = d->common.ring;
	uint8_t print[HT_PRINT_LEN];

	for (size_t i = 0; d->keep && i < d->keep->npast && i < ring->nkeys; i++) {
		if (d->keep->past[i].name && ring->keys[i].name &&
		    !ht_keyring_print(&ring->keys[i], d->keep->salt, print) &&
		    CRYPTO_memcmp(print, d->keep->past[i].print, sizeof(print)))
			return true;
	}
	return false;
}

int ht_daemon_open_guard(struct ht_daemon *d)
{
	const struct ht_config *c = d->config;
	const struct ht_guard_params p = {
		.config = &c->guard,
		.pin = c->bpf_pin,
		.locked = ht_offload_pin(d->common.offload),
		.wait_ms = (unsigned)HT_MIN(c->timeouts.drain, (uint64_t)600000) + 1000,
	};
	int err = ht_guard_open(&p, &d->common.guard);

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
	if (keys_are_others(d))
		ht_guard_hold(d->common.guard);
	return 0;
}
