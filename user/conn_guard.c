/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where connections and the guard meet: forged cookies are told to it, and whom it has banned is
 * turned away here if his packets came through, be it that no interface is guarded or that he
 * comes through a proxy. Decides nothing about cookies.
 */
#include "conn.h"

static struct ht_guard *guard_of(const struct ht_workspace *ws)
{
	struct ht_guard *g = ws->gateway->common->guard;

	return g && ht_guard_mode(g) ? g : NULL;
}

/* Asks and counts. */
static bool is_banned(struct ht_workspace *ws, struct ht_guard *g, const struct sockaddr *client)
{
	enum ht_guard_mode mode = ht_guard_ask(g, client);

	if (mode)
		ht_stats_inc(ws->stats->guard_refused[mode], 1);
	return mode == HT_GUARD_DROP;
}

bool ht_conn_refuses(struct ht_workspace *ws, const struct sockaddr *peer, socklen_t len)
{
	struct ht_guard *g = guard_of(ws);
	struct sockaddr_storage a = {0};

	if (!g)
		return false;
	memcpy(&a, peer, HT_MIN((size_t)len, sizeof(a)));
	return is_banned(ws, g, (const struct sockaddr *)&a);
}

/* One proxy's connection carries the requests of many clients: it must not suffer for one. */
static bool is_somebody_elses(const struct ht_conn *c)
{
	return c->phase == HT_PHASE_EXCHANGE && strcmp(c->ip, c->peer_ip);
}

bool ht_conn_refused(struct ht_conn *c)
{
	struct ht_guard *g = guard_of(c->ws);
	uint32_t version = g ? ht_guard_version(g) : 0;

	if (!g || version == c->guard_version)
		return false;
	if (!is_banned(c->ws, g, &c->client.sa)) {
		c->guard_version = version;
		return false;
	}
	if (is_somebody_elses(c))
		ht_conn_error(c, 403, "banned for a while");
	else
		ht_conn_close(c, true);
	return true;
}

const struct ht_sip_keys *ht_conn_prints(const struct ht_conn *c)
{
	const struct ht_guard *g = guard_of(c->ws);

	return g ? ht_guard_keys(g) : NULL;
}

void ht_conn_forged(struct ht_conn *c, size_t rule, uint64_t print)
{
	const struct ht_rule_config *r = c->x.policy->rules[rule];
	struct ht_guard *g = guard_of(c->ws);

	if (!g || c->x.scored || r->mode != HT_MODE_ENFORCE ||
	    c->ws->loop.now_s < r->enforce_after_s)
		return;
	c->x.scored = true;
	ht_stats_inc(c->ws->stats->guard_forged, 1);
	/* the answer that is on its way is his last one */
	if (ht_guard_forged(g, &c->client.sa, ht_guard_rule_id(c->x.site, r), print,
			    c->ws->loop.now_ms) &&
	    !is_somebody_elses(c))
		c->x.keep_alive = false;
}
