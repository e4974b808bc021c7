/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fleet as it stands in a data centre: three nodes and memcached, each in a network namespace of its
 * own on one bridge, behind a real HAProxy that gives every request to another node and tells them
 * the client's address. The namespaces have no names: they are gone with the test's process.
 */
#include <stdlib.h>

#include "netns.h"
#include "nodes.h"

TestSuite(fleet_net, .timeout = E2E_TIMEOUT);

#define NODES 3
#define STORE NODES /* the namespace of memcached, behind those of the nodes */
#define HUB "10.77.0.254"
#define STORE_ADDRESS "10.77.0.4"
#define NODE_ADDRESS "10.77.0.%zu" /* from 1 on */

struct net {
	int hub, node[NODES + 1]; /* namespaces */
	struct backend *be;
	struct memcached store;
	struct gw *gw[NODES];
	struct gw balancer; /* only its port */
	pid_t haproxy;
	char keys[256], address[NODES][16];
};

/* ---- namespaces ---- */

/* What a node says is asked where it is. */
#define at_node(n, i, expr)                                                                        \
	({                                                                                         \
		__typeof__(expr) value_;                                                           \
		netns_enter((n)->node[i]);                                                         \
		value_ = (expr);                                                                   \
		netns_enter((n)->hub);                                                             \
		value_;                                                                            \
	})

/* One more namespace, linked to the bridge; we are in the bridge's before and after. */
static bool namespace_add(struct net *n, size_t i, struct text *out)
{
	n->node[i] = netns_new();
	if (n->node[i] < 0)
		return false;
	netns_enter(n->hub);
	if (!netns_shell(out,
			 "ip link add n%zu type veth peer name eth0 netns /proc/%d/fd/%d\n"
			 "ip link set n%zu master hub up",
			 i, getpid(), n->node[i], i))
		return false;
	netns_enter(n->node[i]);
	return at_node(n, i,
		       netns_shell(out,
				   "ip link set eth0 up\n"
				   "ip addr add " NODE_ADDRESS "/24 dev eth0",
				   i + 1));
}

/* False with why: this machine can't. */
static bool net_make(struct net *n, struct text *why)
{
	text_add(why, "", 0);
	n->hub = netns_new();
	if (n->hub < 0)
		return false;
	if (!netns_shell(why, "ip link add hub type bridge\nip link set hub up\n"
			      "ip addr add " HUB "/24 dev hub"))
		return false;
	for (size_t i = 0; i < NODES + 1; i++) {
		if (!namespace_add(n, i, why))
			return false;
	}
	return true;
}

/* ---- who is in them ---- */

static void haproxy_run(const char *config, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	execlp("haproxy", "haproxy", "-db", "-q", "-f", config, (char *)NULL);
	_exit(127);
}

static void haproxy_start(struct net *n)
{
	pid_t parent = getpid();
	struct text c = {0};
	struct client *client;
	char path[256];

	n->balancer.plain = port_free();
	text_addf(&c,
		  "global\n  nbthread 1\n  maxconn 1000\n"
		  "defaults\n  mode http\n  timeout connect 30s\n  timeout client 120s\n"
		  "  timeout server 120s\n"
		  "listen edge\n  bind 127.0.0.1:%d\n  balance roundrobin\n",
		  n->balancer.plain);
	for (size_t i = 0; i < NODES; i++)
		text_addf(&c, "  server n%zu %s:%d send-proxy-v2\n", i, n->address[i],
			  n->gw[i]->plain);
	gw_write(n->gw[0], "haproxy.cfg", c.p, 0600);
	snprintf(path, sizeof(path), "%s/haproxy.cfg", n->gw[0]->dir);
	n->haproxy = fork();
	cr_assert_geq(n->haproxy, 0);
	if (!n->haproxy)
		haproxy_run(path, parent);
	cr_assert(e2e_wait((client = client_try(
				    &(struct client_options){.port = n->balancer.plain}))),
		  "haproxy does not start");
	client_close(client);
	text_free(&c);
}

static void node_start(struct net *n, size_t i)
{
	char upstream[64];
	struct gw_spec spec = {
		.cookies = VISITOR_RULES,
		.keys = n->keys,
		.address = n->address[i],
		.plain_extra = "    proxy-protocol: accept\n",
		.top = "trusted-proxies: [10.77.0.0/24]\n",
		.upstreams = upstream,
	};

	snprintf(n->address[i], sizeof(n->address[i]), NODE_ADDRESS, i + 1);
	snprintf(upstream, sizeof(upstream), HUB ":%d", n->be->port);
	n->gw[i] = at_node(n, i, gw_start(n->be, &spec));
}

/* With this for `poll-every`. False, and noted, where there can be no such net. */
static bool net_open(struct net *n, const char *poll_every)
{
	struct text out = {0};
	char why[256];
	bool good;

	*n = (struct net){.store.address = STORE_ADDRESS};
	if (!netns_shell(&out, "command -v haproxy && command -v memcached && command -v ip")) {
		run_note_skip("haproxy, memcached or ip is not installed");
		return false;
	}
	good = net_make(n, &out);
	if (!good) {
		snprintf(why, sizeof(why),
			 "network namespaces on a bridge can't be made here: %.*s",
			 (int)strcspn(out.p, "\n"), out.p);
		run_note_skip(why);
	}
	text_free(&out);
	if (!good)
		return false;
	n->be = backend_start_at(HUB, 0, visitor_backend);
	n->be->no_record = true;
	netns_enter(n->node[STORE]);
	memcached_start(&n->store);
	netns_enter(n->hub);
	snprintf(n->keys, sizeof(n->keys),
		 "  - { name: ring, memcached: [" STORE_ADDRESS ":%d], directory: copy, "
		 "poll-every: %s, rotate-every: 0s }\n",
		 n->store.port, poll_every);
	for (size_t i = 0; i < NODES; i++)
		node_start(n, i);
	haproxy_start(n);
	return true;
}

static void net_close(struct net *n)
{
	kill(n->haproxy, SIGKILL);
	waitpid(n->haproxy, NULL, 0);
	for (size_t i = 0; i < NODES; i++)
		gw_stop(n->gw[i]);
	backend_stop(n->be);
	memcached_kill(&n->store);
}

#define net_need(n, poll_every)                                                                    \
	do {                                                                                       \
		e2e_need_gate();                                                                   \
		if (!net_open(n, poll_every))                                                      \
			return;                                                                    \
	} while (0)

/* ---- tests ---- */

/* One client, and every request goes to the node after the one before. */
Test(fleet_net, a_session_of_one_is_a_miss_and_then_a_hit_elsewhere)
{
	size_t signer = NODES;
	struct visitor v, thief;
	struct client *c;
	struct net n;

	net_need(&n, "1h");
	c = client_plain(&n.balancer);
	cr_assert(visitor_login(&v, c, "alice"));
	for (size_t i = 0; i < NODES; i++) {
		if (at_node(&n, i, gw_metric(n.gw[i], "hardtack_cookies_signed_total", NULL)) > 0)
			signer = i;
	}
	cr_assert_lt(signer, NODES);
	for (size_t i = 0; i < 2 * NODES; i++) {
		cr_expect(visitor_is_in(&v, c));
		cr_expect_eq(v.renewed, 0);
	}
	for (size_t i = 0; i < NODES; i++) {
		int hits = run_gate_on() && i != signer ? 3 : 6;

		cr_expect(e2e_wait(at_node(&n, i, gw_passed(n.gw[i])) == 6), "node %zu: two visits",
			  i);
		cr_expect_eq(at_node(&n, i, gw_hits(n.gw[i])), hits,
			     "node %zu: a miss, then a hit; but both where it was signed", i);
	}
	client_close(c);
	/* what they are bound to is the client, and not the balancer */
	c = client_from(&n.balancer, "127.0.0.2");
	thief = v;
	cr_expect(visitor_is_out(&thief, c));
	client_close(c);
	net_close(&n);
}

/* Of as many visits as there are nodes: how many were let in. */
static int nodes_that_let_in(struct net *n, const struct visitor *v)
{
	struct client *c = client_plain(&n->balancer);
	int in = 0;

	for (size_t i = 0; i < NODES; i++) {
		struct visitor one = *v; /* who keeps what he was given first */
		int sessions = visitor_sessions(&one, c);

		cr_expect(sessions == 0 || sessions == 3, "%d sessions", sessions);
		in += sessions == 3;
	}
	client_close(c);
	return in;
}

struct store_stats {
	long connections, gets, sets;
};

static long stat_of(const char *stats, const char *name)
{
	const char *at = strstr(stats, name);

	cr_assert(at, "no %s in %s", name, stats);
	return strtol(at + strlen(name), NULL, 10);
}

static struct store_stats store_stats(const struct net *n)
{
	const char *text = memcached_say(&n->store, "stats");

	return (struct store_stats){stat_of(text, "STAT total_connections "),
				    stat_of(text, "STAT cmd_get "), stat_of(text, "STAT cmd_set ")};
}

/* Nobody asks by himself for half an hour: each poll is one that the test has asked for. */
Test(fleet_net, a_revocation_is_one_poll_away)
{
	struct store_stats before, after;
	struct text out = {0};
	struct visitor v;
	struct client *c;
	struct net n;

	net_need(&n, "1h");
	/* the start itself, and the thread's first one */
	for (size_t i = 0; i < NODES; i++)
		cr_assert(e2e_wait(at_node(&n, i, ring_polls(n.gw[i])) == 2), "node %zu", i);
	c = client_plain(&n.balancer);
	cr_assert(visitor_login(&v, c, "alice"));
	client_close(c);
	cr_assert_eq(nodes_that_let_in(&n, &v), NODES);
	cr_assert(ring_ctl(n.gw[0], "revoke", &out), "%s", out.p);
	cr_expect_eq(nodes_that_let_in(&n, &v), NODES - 1, "nobody has told the others yet");
	before = store_stats(&n);
	for (size_t i = 1; i < NODES; i++) {
		node_reload(n.gw[i]);
		cr_expect(e2e_wait(at_node(&n, i, ring_rotations(n.gw[i])) == 1), "node %zu", i);
		cr_expect_eq(at_node(&n, i, ring_polls(n.gw[i])), 3, "node %zu: one poll", i);
		cr_expect_eq(nodes_that_let_in(&n, &v), (int)(NODES - 1 - i));
	}
	after = store_stats(&n);
	/* what hardtack-fleet(7) counts with; each look of ours is a connection too */
	cr_expect_eq(after.connections - before.connections, NODES - 1 + 1);
	cr_expect_eq(after.gets - before.gets, 4 * (NODES - 1));
	cr_expect_eq(after.sets, before.sets, "there is nothing to tell");
	text_free(&out);
	net_close(&n);
}

/* One of them does, and it is seen at all. */
static void rotate_at(struct net *n, size_t i)
{
	char before[32];

	ring_signs(n->gw[i], before);
	cr_expect(ring_rotates(n->gw[i]));
	cr_expect(e2e_wait(ring_all_sign_alike(n->gw, NODES, before)), "node %zu rotated", i);
}

/* Packets to memcached vanish, which is not the same as a port where nobody listens. */
static void store_cut_off(bool cut)
{
	struct text out = {0};

	cr_assert(netns_shell(&out, "ip link set n%d %s", STORE, cut ? "down" : "up"), "%s", out.p);
	text_free(&out);
}

#define PEOPLE (run_small() ? 16 : 240)

Test(fleet_net, rotations_in_mid_traffic_lose_nobody)
{
	struct gw *balancer[1];
	struct crowd_count count;
	struct crowd *crowd;
	struct net n;
	double before;

	net_need(&n, "100ms");
	balancer[0] = &n.balancer;
	crowd = crowd_start(balancer, 1, (size_t)PEOPLE);
	cr_expect(crowd_rounds(crowd, 1));
	for (size_t i = 0; i < NODES; i++) {
		rotate_at(&n, i);
		cr_expect(crowd_rounds(crowd, 1));
	}
	before = at_node(&n, 0, ring_unreachable(n.gw[0]));
	store_cut_off(true);
	cr_expect(crowd_rounds(crowd, 1));
	cr_expect(e2e_wait(at_node(&n, 0, ring_unreachable(n.gw[0])) > before));
	store_cut_off(false);
	rotate_at(&n, 0);
	cr_expect(crowd_rounds(crowd, 1));
	count = crowd_stop(crowd);
	cr_expect_gt(count.visits, PEOPLE * 5);
	cr_expect_eq(count.lost, 0, "%ld of %ld", count.lost, count.visits * 3);
	cr_expect_eq(count.unanswered, 0);
	net_close(&n);
}
