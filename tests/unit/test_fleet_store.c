/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes and a real memcached: the first start of all, rotation with everybody at it, revocation, a
 * store that is down, slow, empty or full of nonsense, and gateways of the old kind beside us. Time
 * is the test's own; only the lease's five seconds are memcached's.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>

#include "../memcached.h"
#include "fleet.h"

#define HOURS 3600ull
#define T0 1700000000ull
#define OLD                                                                                        \
	"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
#define OLDER                                                                                      \
	"AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="

/* ---- memcached ---- */

static struct memcached store;
static char server[32];

#define tell(...) memcached_say(&store, __VA_ARGS__)
#define put(name, value) memcached_put(&store, name, value)
#define get(name) memcached_get(&store, name)

static void set_up(void)
{
	memcached_start(&store);
	snprintf(server, sizeof(server), "127.0.0.1:%d", store.port);
}

static void tear_down(void)
{
	memcached_kill(&store);
}

TestSuite(fleet_store, .init = set_up, .fini = tear_down, .timeout = 240);

/* ---- nodes ---- */

struct node {
	struct ht_ring *ring;
	struct ht_fleet_answer a;
	char next[HT_SECRET_ID_LEN + 1]; /* what it has seen in the store */
	uint64_t skew_s;
	unsigned timeout_ms;
	const char *servers[2];
};

static struct node *node_new(void)
{
	struct node *n = calloc(1, sizeof(*n));

	n->ring = ht_ring_new();
	n->servers[0] = server;
	n->timeout_ms = 1000;
	return n;
}

static void node_free(struct node *n)
{
	ht_ring_free(n->ring);
	free(n);
}

/* With what it saw the last time as known to all. */
static int node_sync_as(struct node *n, uint64_t now_s, bool rotate)
{
	const struct ht_fleet_params p = {
		.servers = n->servers,
		.nservers = n->servers[1] ? 2 : 1,
		.prefix = "",
		.times = {24 * HOURS, 48 * HOURS},
		.timeout_ms = n->timeout_ms,
	};
	struct ht_fleet_request q = {.now_s = now_s + n->skew_s, .rotate = rotate};
	int err;

	memcpy(q.settled, n->next, sizeof(q.settled));
	err = ht_fleet_sync(&p, &q, n->ring, &n->a);
	if (n->a.reached)
		memcpy(n->next, n->a.next_id, sizeof(n->next));
	return err;
}

static int node_sync(struct node *n, uint64_t now_s)
{
	return node_sync_as(n, now_s, false);
}

static const char *signs(const struct node *n)
{
	return n->ring->n ? n->ring->secret[0].id : "nothing";
}

static bool verifies(const struct node *n, const char *id)
{
	for (size_t i = 0; i < n->ring->n; i++) {
		if (!strcmp(n->ring->secret[i].id, id))
			return true;
	}
	return n->ring->has_next && !strcmp(n->ring->next.id, id);
}

/* ---- tests ---- */

Test(fleet_store, first_start_of_all)
{
	struct node *one = node_new(), *two = node_new();

	cr_assert_eq(node_sync(one, T0), 0, "%s", one->a.why);
	cr_expect(one->a.rotated && one->a.published);
	cr_expect_eq(one->ring->n, 1);
	cr_expect(one->ring->has_next);
	cr_expect_str_eq(get("BP_LEASE"), "", "the lease is given back");
	cr_expect_eq(strlen(get("BPS1")), 99);
	cr_expect_str_eq(get("BPS1") + 88, ":1700000000");
	cr_expect_str_eq(get("BPS2"), "");
	cr_assert_eq(node_sync(two, T0 + 1), 0);
	cr_expect(ht_ring_same(one->ring, two->ring));
	cr_expect_not(two->a.published);
	node_free(one);
	node_free(two);
}

Test(fleet_store, rotation)
{
	struct node *one = node_new(), *two = node_new();
	char first[17], next[17];

	node_sync(one, T0);
	node_sync(two, T0);
	strcpy(first, signs(one));
	strcpy(next, one->ring->next.id);
	cr_assert_eq(node_sync(one, T0 + 24 * HOURS), 0, "%s", one->a.why);
	cr_expect(one->a.rotated);
	cr_expect_str_eq(signs(one), next, "the one that all know already");
	cr_expect(verifies(two, signs(one)), "before it has heard of the rotation");
	cr_expect_str_eq(get("BPS1") + 88, ":1700086400");
	cr_expect_str_eq(get("BPS2") + 88, ":1700000000");
	cr_expect_str_eq(signs(two), first);
	cr_assert_eq(node_sync(two, T0 + 24 * HOURS), 0);
	cr_expect_not(two->a.rotated, "once is enough");
	cr_expect(ht_ring_same(one->ring, two->ring));
	cr_expect(verifies(two, first));
	node_free(one);
	node_free(two);
}

/* Nobody signs with what somebody may not have: the next one is made first. */
Test(fleet_store, no_rotation_to_what_is_not_known_yet)
{
	struct node *one = node_new();
	const char *old = OLD ":1700000000";

	put("BPS1", old);
	cr_assert_eq(node_sync(one, T0 + 30 * HOURS), 0, "%s", one->a.why);
	cr_expect(one->a.not_settled && !one->a.rotated);
	cr_expect(one->a.published, "a next one");
	cr_expect_str_eq(get("BPS1"), old);
	cr_assert_eq(node_sync(one, T0 + 30 * HOURS), 0);
	cr_expect(one->a.rotated, "now all have it");
	cr_expect_str_eq(get("BPS2"), old);
	node_free(one);
}

/* ---- the lease ---- */

struct racer {
	struct node *node;
	pthread_barrier_t *start;
	uint64_t now_s;
	int rotated, err;
};

static time_t seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* Until it has got through, however busy the machine is. */
static void race_sync(struct racer *r)
{
	const time_t end = seconds() + 60;

	do {
		r->err = node_sync(r->node, r->now_s);
		r->rotated += r->node->a.rotated;
		if (r->err != -EAGAIN && r->err != -EIO)
			return;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	} while (seconds() < end);
}

static void *race_run(void *arg)
{
	struct racer *r = arg;

	pthread_barrier_wait(r->start);
	race_sync(r);
	return NULL;
}

static void race(int nodes, int rounds)
{
	struct racer r[5];
	pthread_barrier_t start;
	uint64_t now_s = T0;

	pthread_barrier_init(&start, NULL, (unsigned)nodes);
	for (int i = 0; i < nodes; i++) {
		r[i] = (struct racer){.node = node_new(), .start = &start};
		r[i].node->timeout_ms = 10000;
	}
	for (int round = 0; round < rounds; round++, now_s += 24 * HOURS) {
		char before[17], next[17];
		pthread_t t[5];
		int rotated = 0;

		snprintf(before, sizeof(before), "%s", signs(r[0].node));
		snprintf(next, sizeof(next), "%s", r[0].node->ring->next.id);
		for (int i = 0; i < nodes; i++) {
			r[i].now_s = now_s + (uint64_t)i; /* no two clocks agree */
			r[i].rotated = 0;
			cr_assert_eq(pthread_create(&t[i], NULL, race_run, &r[i]), 0);
		}
		for (int i = 0; i < nodes; i++) {
			pthread_join(t[i], NULL);
			cr_assert_eq(r[i].err, 0, "round %d, node %d: %s", round, i,
				     r[i].node->a.why);
		}
		/* who was first did not see what those after him wrote, if that was anything */
		for (int i = 0; i < nodes; i++) {
			r[i].now_s = now_s;
			race_sync(&r[i]);
			cr_assert_eq(r[i].err, 0, "round %d: %s", round, r[i].node->a.why);
			rotated += r[i].rotated;
			cr_assert_str_eq(signs(r[i].node), signs(r[0].node), "round %d", round);
			cr_assert_str_eq(r[i].node->ring->next.id, r[0].node->ring->next.id);
			cr_assert(!round || verifies(r[i].node, before), "round %d", round);
		}
		cr_assert_eq(rotated, 1, "%d rotations in round %d", rotated, round);
		cr_assert_str_neq(signs(r[0].node), before);
		if (round)
			cr_assert_str_eq(signs(r[0].node), next);
	}
	for (int i = 0; i < nodes; i++)
		node_free(r[i].node);
	pthread_barrier_destroy(&start);
}

Test(fleet_store, two_race_for_the_lease)
{
	race(2, 200);
}

Test(fleet_store, five_race_for_the_lease)
{
	race(5, 200);
}

Test(fleet_store, somebody_elses_lease_is_respected_and_left)
{
	struct node *one = node_new();

	tell("set BP_LEASE 0 5 1\r\n1");
	cr_expect_eq(node_sync(one, T0), -EAGAIN);
	cr_expect(one->a.reached);
	cr_expect_eq(one->ring->n, 0);
	cr_expect_str_eq(get("BPS1"), "");
	cr_expect_str_eq(get("BP_LEASE"), "1");
	tell("delete BP_LEASE");
	cr_expect_eq(node_sync(one, T0), 0);
	node_free(one);
}

/*
 * Between a node and the store: when a request begins with `on`, somebody else does `what` first, or
 * once it is done.
 */
struct proxy {
	int fd;
	const char *on, *what;
	bool afterwards;
	int times;
	int cut; /* the how manieth request is not passed on; with `afterwards`, its answer is not */
	int requests;
	pthread_t thread;
};

static void proxy_carry(struct proxy *p, int client, int server_fd)
{
	struct pollfd fds[2] = {{.fd = client, .events = POLLIN},
				{.fd = server_fd, .events = POLLIN}};
	bool matched = false;
	char buf[8192];
	ssize_t n;

	while (poll(fds, 2, -1) > 0) {
		if (fds[0].revents) {
			n = recv(client, buf, sizeof(buf), 0);
			if (n <= 0 || (++p->requests == p->cut && !p->afterwards))
				return;
			matched = p->on && !strncmp(buf, p->on, strlen(p->on));
			if (matched && !p->afterwards && ++p->times)
				tell("%s", p->what);
			send(server_fd, buf, (size_t)n, MSG_NOSIGNAL);
		}
		if (fds[1].revents) {
			n = recv(server_fd, buf, sizeof(buf), 0);
			if (n <= 0 || (p->requests == p->cut && p->afterwards))
				return;
			if (matched && p->afterwards && ++p->times)
				tell("%s", p->what);
			matched = false;
			send(client, buf, (size_t)n, MSG_NOSIGNAL);
		}
	}
}

static void *proxy_run(void *arg)
{
	struct proxy *p = arg;
	int fd;

	while ((fd = accept(p->fd, NULL, NULL)) >= 0) {
		int server_fd = memcached_connect(&store);

		proxy_carry(p, fd, server_fd);
		close(server_fd);
		close(fd);
	}
	return NULL;
}

static int node_sync_through(struct node *n, uint64_t now_s, struct proxy *p)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	char name[32];
	int err;

	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(!bind(p->fd, (struct sockaddr *)&a, len) && !listen(p->fd, 8) &&
		  !getsockname(p->fd, (struct sockaddr *)&a, &len));
	snprintf(name, sizeof(name), "127.0.0.1:%d", ntohs(a.sin_port));
	cr_assert_eq(pthread_create(&p->thread, NULL, proxy_run, p), 0);
	n->servers[0] = name;
	err = node_sync(n, now_s);
	n->servers[0] = server;
	shutdown(p->fd, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	close(p->fd);
	return err;
}

/* Ours ran out while we were at it, and the next one has it: it is not ours to give back. */
Test(fleet_store, a_lease_that_is_no_longer_ours_is_left)
{
	struct proxy p = {
		.on = "add BP_LEASE", .what = "set BP_LEASE 0 60 5\r\nother", .afterwards = true};
	struct node *one = node_new();

	node_sync_through(one, T0, &p);
	cr_assert_eq(p.times, 1);
	cr_expect_str_eq(get("BP_LEASE"), "other");
	node_free(one);
}

/* And what they have written in between stays. */
Test(fleet_store, who_was_faster_has_it)
{
	static const char *const written = OLD ":1700086400";
	struct proxy p = {.on = "cas BPS1", .what = "set BPS1 0 0 99\r\n" OLD ":1700086400"};
	struct node *one = node_new();
	char first[17];

	node_sync(one, T0);
	strcpy(first, signs(one));
	cr_expect_eq(node_sync_through(one, T0 + 24 * HOURS, &p), -EAGAIN, "%s", one->a.why);
	cr_assert_eq(p.times, 1);
	cr_expect_str_eq(get("BPS1"), written);
	cr_expect_str_eq(signs(one), first, "it signs with what it did not get to write");
	cr_expect_str_eq(get("BP_LEASE"), "");
	cr_expect_eq(node_sync(one, T0 + 24 * HOURS), 0);
	cr_expect_str_neq(signs(one), first);
	cr_expect_not(one->a.rotated);
	node_free(one);
}

/*
 * Two nodes, one of which rotates and loses the store at every moment of it: both go on verifying what
 * the other one signs, and agree once it is back.
 */
static bool rotation_cut_short(int cut, bool afterwards)
{
	struct proxy p = {.cut = cut, .afterwards = afterwards};
	struct node *one = node_new(), *two = node_new();
	char first[17];
	bool was_cut;

	tell("flush_all");
	cr_assert_eq(node_sync(one, T0), 0);
	cr_assert_eq(node_sync(two, T0), 0);
	strcpy(first, signs(one));
	node_sync_through(one, T0 + 24 * HOURS, &p);
	was_cut = p.requests >= cut;
	cr_expect(verifies(two, signs(one)), "request %d: before it has heard of it", cut);
	tell("delete BP_LEASE"); /* its five seconds are over */
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(node_sync(two, T0 + 24 * HOURS), 0, "%d: %s", cut, two->a.why);
		cr_expect(verifies(one, signs(two)) && verifies(two, signs(one)), "request %d",
			  cut);
		cr_assert_eq(node_sync(one, T0 + 24 * HOURS), 0, "%d: %s", cut, one->a.why);
		cr_expect(verifies(one, signs(two)) && verifies(two, signs(one)), "request %d",
			  cut);
	}
	cr_expect(ht_ring_same(one->ring, two->ring), "request %d", cut);
	cr_expect_eq(one->ring->n, 2, "request %d: one rotation, and not %zu", cut,
		     one->ring->n - 1);
	cr_expect(verifies(one, first), "request %d", cut);
	node_free(one);
	node_free(two);
	return was_cut;
}

Test(fleet_store, a_rotation_that_is_cut_short_anywhere)
{
	for (int afterwards = 0; afterwards < 2; afterwards++) {
		int cut = 1;

		while (rotation_cut_short(cut, afterwards))
			cut++;
		cr_expect_gt(cut, 8, "%d requests", cut);
	}
}

/* Each half has one of two servers. */
Test(fleet_store, a_fleet_that_is_cut_in_two)
{
	struct memcached other = {0};
	struct node *n[2] = {node_new(), node_new()};
	char last[2][17], name[32];

	node_sync(n[0], T0);
	node_sync(n[1], T0);
	memcached_start(&other);
	snprintf(name, sizeof(name), "127.0.0.1:%d", other.port);
	n[1]->servers[0] = name;
	for (uint64_t h = 24; h <= 48; h += 24) {
		for (int i = 0; i < 2; i++) {
			/* the second half's store is empty, and told first */
			for (int k = 0; k < 3; k++)
				cr_assert_eq(node_sync(n[i], T0 + h * HOURS + (uint64_t)i), 0);
			snprintf(last[i], sizeof(last[i]), "%s", signs(n[i]));
		}
		cr_expect_eq(verifies(n[0], last[1]) && verifies(n[1], last[0]), h == 24,
			     "the first one is the same, the second is not");
	}
	n[1]->servers[0] = server;
	for (int i = 0; i < 4; i++)
		cr_assert_eq(node_sync(n[!(i % 2)], T0 + 49 * HOURS), 0);
	for (int i = 0; i < 2; i++)
		cr_expect(verifies(n[i], last[0]) && verifies(n[i], last[1]), "node %d", i);
	cr_expect_str_eq(signs(n[0]), last[1], "the newest of both");
	cr_expect_str_eq(signs(n[1]), last[1]);
	memcached_kill(&other);
	for (int i = 0; i < 2; i++)
		node_free(n[i]);
}

/* ---- revocation ---- */

static void node_revoke(struct node *n, uint64_t now_s)
{
	uint8_t chance[2][HT_RING_FRESH_BYTES];
	struct ht_ring_secret s[2];

	for (int i = 0; i < 2; i++) {
		memset(chance[i], (int)(now_s + (uint64_t)i * 7), sizeof(chance[i]));
		ht_ring_fresh(chance[i], now_s, &s[i]);
	}
	ht_ring_revoke(n->ring, now_s, &s[0], &s[1]);
}

Test(fleet_store, a_revocation_holds_everywhere)
{
	struct node *one = node_new(), *two = node_new(), *away = node_new();
	char first[17];

	node_sync(one, T0);
	node_sync(one, T0 + 24 * HOURS);
	node_sync(two, T0 + 24 * HOURS);
	node_sync(away, T0 + 24 * HOURS);
	strcpy(first, signs(one));
	node_revoke(one, T0 + 25 * HOURS);
	cr_assert_eq(node_sync(one, T0 + 25 * HOURS), 0, "%s", one->a.why);
	cr_expect_str_eq(get("BPS2"), "", "gateways of the old kind lose it too");
	cr_assert_eq(node_sync(two, T0 + 25 * HOURS), 0);
	cr_expect_not(verifies(two, first));
	cr_expect(ht_ring_same(one->ring, two->ring));

	/* the store forgets, and who was away tells it what he knows */
	tell("flush_all");
	cr_assert_eq(node_sync(away, T0 + 25 * HOURS), 0);
	cr_expect(verifies(away, first), "it can't know");
	cr_assert_eq(node_sync(two, T0 + 25 * HOURS), 0);
	cr_expect_not(verifies(two, first), "it does not come back");
	cr_assert_eq(node_sync(away, T0 + 25 * HOURS), 0);
	cr_expect_not(verifies(away, first));
	cr_expect_str_eq(signs(away), signs(one));
	node_free(one);
	node_free(two);
	node_free(away);
}

/*
 * Who has not heard of it makes the one that was next sign, and gives it a birth after it; then it is
 * the one before.
 */
Test(fleet_store, what_was_revoked_does_not_come_back_by_a_rotation)
{
	for (uint64_t rotations = 1; rotations <= 2; rotations++) {
		struct node *one = node_new(), *two = node_new();
		char first[17], next[17], ours[17];

		tell("flush_all");
		node_sync(one, T0);
		node_sync(two, T0);
		strcpy(first, signs(one));
		strcpy(next, one->ring->next.id);
		node_revoke(one, T0 + 1 * HOURS);
		strcpy(ours, signs(one));
		for (uint64_t day = 1; day <= rotations; day++) {
			cr_assert_eq(node_sync(two, T0 + day * 24 * HOURS), 0, "%s", two->a.why);
			cr_assert_eq(node_sync(two, T0 + day * 24 * HOURS), 0, "%s", two->a.why);
		}
		cr_assert(verifies(two, next));
		cr_assert_eq(strcmp(signs(two), next) == 0, rotations == 1);
		for (int i = 0; i < 2; i++) {
			cr_assert_eq(node_sync(one, T0 + 49 * HOURS), 0, "%s", one->a.why);
			cr_assert_eq(node_sync(two, T0 + 49 * HOURS), 0, "%s", two->a.why);
		}
		cr_expect(!verifies(one, next) && !verifies(one, first), "%d", (int)rotations);
		cr_expect(!verifies(two, next) && !verifies(two, first), "%d", (int)rotations);
		cr_expect(verifies(one, ours), "what was signed since then stays good");
		cr_expect(ht_ring_same(one->ring, two->ring));
		cr_assert_eq(node_sync(one, T0 + 49 * HOURS), 0);
		cr_expect_not(one->a.published, "it is settled");
		node_free(one);
		node_free(two);
	}
}

Test(fleet_store, two_revoke_and_a_third_rotates)
{
	for (int order = 0; order < 2; order++) {
		struct node *n[3] = {node_new(), node_new(), node_new()};
		char next[17], earlier[17], later[17];

		tell("flush_all");
		for (int i = 0; i < 3; i++)
			node_sync(n[i], T0);
		strcpy(next, n[0]->ring->next.id);
		node_revoke(n[0], T0 + 1 * HOURS);
		node_revoke(n[1], T0 + 2 * HOURS);
		strcpy(earlier, signs(n[0]));
		strcpy(later, signs(n[1]));
		cr_assert_eq(node_sync(n[2], T0 + 24 * HOURS), 0, "%s", n[2]->a.why);
		cr_assert_str_eq(signs(n[2]), next);
		for (int i = 0; i < 4; i++)
			cr_assert_eq(node_sync(n[(order + i) % 2], T0 + 25 * HOURS), 0);
		cr_assert_eq(node_sync(n[2], T0 + 25 * HOURS), 0);
		for (int i = 0; i < 3; i++) {
			cr_expect_not(verifies(n[i], next), "order %d, node %d", order, i);
			cr_expect_not(verifies(n[i], earlier),
				      "order %d, node %d: it was revoked too", order, i);
			cr_expect_str_eq(signs(n[i]), later, "order %d, node %d", order, i);
			cr_expect(ht_ring_same(n[i]->ring, n[0]->ring), "order %d, node %d", order,
				  i);
		}
		for (int i = 0; i < 3; i++)
			node_free(n[i]);
	}
}

/* ---- faults ---- */

Test(fleet_store, down)
{
	struct node *one = node_new();
	char first[17];

	node_sync(one, T0);
	strcpy(first, signs(one));
	memcached_kill(&store);
	cr_expect_eq(node_sync(one, T0 + 24 * HOURS), -EIO);
	cr_expect_not(one->a.reached);
	cr_expect(strstr(one->a.why, server), "%s", one->a.why);
	cr_expect_str_eq(signs(one), first);
	memcached_start(&store);
	cr_assert_eq(node_sync(one, T0 + 24 * HOURS), 0, "%s", one->a.why);
	cr_expect_str_eq(signs(one), first, "an empty store is told first");
	cr_expect_neq(strcmp(get("BPS1"), ""), 0);
	cr_assert_eq(node_sync(one, T0 + 24 * HOURS), 0);
	cr_expect(one->a.rotated);
	node_free(one);
}

Test(fleet_store, restarted_empty_changes_nothing)
{
	struct node *one = node_new(), *two = node_new();
	struct ht_ring *before = ht_ring_new();
	char pair[2][128];

	node_sync(one, T0);
	node_sync(one, T0 + 24 * HOURS);
	node_sync(two, T0 + 24 * HOURS);
	*before = *one->ring;
	strcpy(pair[0], get("BPS1"));
	strcpy(pair[1], get("BPS2"));
	memcached_kill(&store);
	memcached_start(&store);
	cr_assert_eq(node_sync(two, T0 + 25 * HOURS), 0, "%s", two->a.why);
	cr_assert_eq(node_sync(one, T0 + 25 * HOURS), 0);
	cr_expect(ht_ring_same(one->ring, before));
	cr_expect(ht_ring_same(two->ring, before));
	cr_expect_str_eq(get("BPS1"), pair[0]);
	cr_expect_str_eq(get("BPS2"), pair[1]);
	ht_ring_free(before);
	node_free(one);
	node_free(two);
}

Test(fleet_store, stopped)
{
	struct node *one = node_new();
	char first[17];

	node_sync(one, T0);
	strcpy(first, signs(one));
	one->timeout_ms = 100;
	kill(store.pid, SIGSTOP);
	cr_expect_eq(node_sync(one, T0 + 24 * HOURS), -EIO);
	cr_expect_str_eq(signs(one), first);
	kill(store.pid, SIGCONT);
	one->timeout_ms = 2000;
	for (int i = 0; i < 3 && !one->a.rotated; i++)
		node_sync(one, T0 + 24 * HOURS);
	cr_expect(one->a.rotated, "%s", one->a.why);
	node_free(one);
}

static const struct {
	const char *name, *bps0, *bps1, *bps2;
} nonsense[] = {
	{"who signs", NULL, "<html>", NULL},
	{"all three", "x", "y", ""},
	{"another length", NULL, "c2hvcnQ=:1700000000", NULL},
	{"no time", NULL, OLD, OLDER},
};

Test(fleet_store, garbage_is_replaced_by_what_we_know)
{
	struct node *one = node_new();
	char first[17];

	node_sync(one, T0);
	strcpy(first, signs(one));
	for (size_t i = 0; i < HT_ARRAY_SIZE(nonsense); i++) {
		if (nonsense[i].bps0)
			put("BPS0", nonsense[i].bps0);
		if (nonsense[i].bps1)
			put("BPS1", nonsense[i].bps1);
		if (nonsense[i].bps2)
			put("BPS2", nonsense[i].bps2);
		cr_assert_eq(node_sync(one, T0 + 1), 0, "%s: %s", nonsense[i].name, one->a.why);
		cr_expect_gt(one->a.garbage, 0, "%s", nonsense[i].name);
		cr_expect_str_eq(signs(one), first, "%s", nonsense[i].name);
		cr_assert_eq(node_sync(one, T0 + 1), 0);
		cr_expect_eq(one->a.garbage, 0, "%s is still there", nonsense[i].name);
		cr_expect_str_eq(get("BPS1") + 88, ":1700000000", "%s", nonsense[i].name);
	}
	node_free(one);
}

/* A server that answers what no memcached does, slowly or not at all. */
struct fake {
	int fd, mode;
	pthread_t thread;
};

static void *fake_run(void *arg)
{
	static const char *const says[] = {
		"HTTP/1.1 400 Bad Request\r\n\r\n", "",
		"VALUE BPS1 0 1000000000 1\r\n",    "VALUE BPS1 0 99 7\r\nshort\r\nEND\r\n",
		"\xff\xfe\0\0\r\n\r\n\r\n",	    "SERVER_ERROR out of memory\r\n"};
	struct fake *f = arg;
	char in[512];
	int fd;

	while ((fd = accept(f->fd, NULL, NULL)) >= 0) {
		if (recv(fd, in, sizeof(in), 0) > 0)
			send(fd, says[f->mode], strlen(says[f->mode]), MSG_NOSIGNAL);
		while (recv(fd, in, sizeof(in), 0) > 0)
			;
		close(fd);
	}
	return NULL;
}

static int fake_start(struct fake *f, char *name, size_t cap)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(!bind(f->fd, (struct sockaddr *)&a, len) && !listen(f->fd, 8) &&
		  !getsockname(f->fd, (struct sockaddr *)&a, &len));
	snprintf(name, cap, "127.0.0.1:%d", ntohs(a.sin_port));
	return pthread_create(&f->thread, NULL, fake_run, f);
}

Test(fleet_store, what_is_no_memcached)
{
	for (int mode = 0; mode < 6; mode++) {
		struct node *one = node_new();
		struct fake f = {.mode = mode};
		char name[32], first[17];

		node_sync(one, T0);
		strcpy(first, signs(one));
		cr_assert_eq(fake_start(&f, name, sizeof(name)), 0);
		one->servers[0] = name;
		one->timeout_ms = 200;
		cr_expect_eq(node_sync(one, T0 + 24 * HOURS), -EIO, "mode %d: %s", mode,
			     one->a.why);
		cr_expect_str_eq(signs(one), first, "mode %d", mode);
		/* the second one in the list is asked then */
		one->servers[1] = server;
		cr_expect_eq(node_sync(one, T0 + 1), 0, "mode %d: %s", mode, one->a.why);
		cr_expect_str_eq(one->a.server, server);
		shutdown(f.fd, SHUT_RDWR);
		pthread_join(f.thread, NULL);
		close(f.fd);
		node_free(one);
	}
}

Test(fleet_store, away_for_two_rotations)
{
	struct node *one = node_new(), *away = node_new();
	char first[17];

	node_sync(one, T0);
	node_sync(away, T0);
	strcpy(first, signs(away));
	for (uint64_t h = 24; h <= 48; h += 24)
		for (int i = 0; i < 2; i++)
			cr_assert_eq(node_sync(one, T0 + h * HOURS), 0);
	cr_assert_eq(node_sync(away, T0 + 49 * HOURS), 0);
	cr_expect_str_eq(signs(away), signs(one));
	cr_expect(verifies(away, first), "what it signed when it left");
	cr_expect(ht_ring_same(one->ring, away->ring));
	node_free(one);
	node_free(away);
}

Test(fleet_store, clocks_that_differ)
{
	struct node *ahead = node_new(), *behind = node_new();

	ahead->skew_s = 60;
	node_sync(behind, T0);
	for (uint64_t h = 0; h < 24 * 20; h += 12) {
		struct node *first = h / 12 % 3 ? ahead : behind,
			    *second = first == ahead ? behind : ahead;

		cr_assert_eq(node_sync(first, T0 + h * HOURS - 30), 0);
		cr_assert(verifies(second, signs(first)) || !h, "hour %u", (unsigned)h);
		cr_assert_eq(node_sync(second, T0 + h * HOURS - 30), 0);
		cr_assert(verifies(first, signs(second)), "hour %u", (unsigned)h);
	}
	cr_expect_geq(ahead->ring->n, 3);
	node_free(ahead);
	node_free(behind);
}

/* As the seed's save_secrets(): one after the other, and the lease deleted whoever has it. */
Test(fleet_store, gateways_of_the_old_kind)
{
	struct node *one = node_new();
	char first[17];

	put("BPS1", OLDER ":1700000000");
	put("BPS2", "");
	tell("delete BPS2");
	cr_assert_eq(node_sync(one, T0 + 1), 0, "%s", one->a.why);
	strcpy(first, signs(one));
	put("BPS1", OLD ":1700086400");
	cr_assert_eq(node_sync(one, T0 + 24 * HOURS), 0, "between the two writes");
	cr_expect(verifies(one, first));
	cr_expect_str_neq(signs(one), first);
	cr_expect_str_eq(get("BPS2"), OLDER ":1700000000", "what it had not written yet");
	put("BPS2", OLDER ":1700000000");
	tell("delete BP_LEASE");
	cr_assert_eq(node_sync(one, T0 + 25 * HOURS), 0);
	cr_expect_not(one->a.published, "there is nothing to add");
	node_free(one);
}
