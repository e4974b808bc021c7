/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes that share a key through a real memcached: a session of one is one of all, and stays it
 * whatever happens to memcached. Crowds come to all of them all the time; not one session may be
 * lost. Gateways of the old kind are played by the test, as the seed's code does it.
 */
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "nodes.h"

TestSuite(fleet, .timeout = E2E_TIMEOUT);

/* ---- nodes ---- */

#define NODES 3
/* Often, but who asks later than twice that takes it for silence, and who asks late loses people. */
#define POLL_EVERY (run_slow() ? "poll-every: 500ms" : "poll-every: 200ms")

struct fleet {
	struct backend *be;
	struct memcached store;
	struct gw *gw[NODES];
	size_t n;
	char keys[256];
	struct gw_spec spec;
};

static void fleet_spec(struct fleet *f)
{
	snprintf(f->keys, sizeof(f->keys),
		 "  - { name: ring, memcached: [127.0.0.1:%d], directory: copy, %s, "
		 "rotate-every: 0s }\n",
		 f->store.port, POLL_EVERY);
	f->spec = (struct gw_spec){.cookies = VISITOR_RULES, .keys = f->keys};
}

/* The last `own` of them are there to be restarted. */
static void fleet_open(struct fleet *f, size_t nodes, size_t own)
{
	memset(f, 0, sizeof(*f));
	f->be = backend_start(visitor_backend);
	f->be->no_record = true;
	memcached_start(&f->store);
	fleet_spec(f);
	for (; f->n < nodes; f->n++) {
		f->spec.own = f->n + own >= nodes;
		f->gw[f->n] = gw_start(f->be, &f->spec);
	}
}

/* No secret that was ever in the store may be in a log. */
static void expect_clean_log(struct fleet *f, struct gw *gw)
{
	static const char *const names[] = {"BPS0", "BPS1", "BPS2"};
	size_t len;
	char *log = text_file(gw->stderr_path, &len), value[256];

	for (size_t i = 0; f->store.pid && i < E2E_ARRAY_SIZE(names); i++) {
		snprintf(value, sizeof(value), "%s", memcached_get(&f->store, names[i]));
		if (strlen(value) < 88)
			continue;
		value[20] = 0;
		cr_expect_not(text_has(log, len, value), "the log shows %s", names[i]);
	}
	free(log);
}

static void fleet_close(struct fleet *f)
{
	for (size_t i = 0; i < f->n; i++) {
		expect_clean_log(f, f->gw[i]);
		gw_stop(f->gw[i]);
	}
	backend_stop(f->be);
	memcached_kill(&f->store);
}

static bool all_rotated(struct fleet *f, double n)
{
	for (size_t i = 0; i < f->n; i++) {
		if (ring_rotations(f->gw[i]) < n)
			return false;
	}
	return true;
}

static bool all_polled(struct fleet *f)
{
	double polls[NODES];

	for (size_t i = 0; i < f->n; i++)
		polls[i] = ring_polls(f->gw[i]);
	for (size_t i = 0; i < f->n; i++) {
		if (!e2e_wait(ring_polls(f->gw[i]) > polls[i] + 1))
			return false;
	}
	return true;
}

/* ---- as one ---- */

Test(fleet, a_session_of_one_is_one_of_all)
{
	e2e_need_gate();
	struct client *c[NODES];
	struct visitor v;
	struct fleet f;

	fleet_open(&f, NODES, 0);
	for (size_t i = 0; i < NODES; i++)
		c[i] = client_plain(f.gw[i]);
	cr_assert(visitor_login(&v, c[0], "alice"));
	for (size_t i = 0; i < NODES; i++) {
		double hits = gw_hits(f.gw[i]), passed = gw_passed(f.gw[i]);

		cr_expect(visitor_is_in(&v, c[i]), "at node %zu", i);
		cr_expect_eq(v.renewed, 0);
		cr_expect(visitor_is_in(&v, c[i]), "at node %zu", i);
		cr_expect(e2e_wait(gw_passed(f.gw[i]) == passed + 6));
		if (run_gate_on())
			cr_expect_eq(gw_hits(f.gw[i]) - hits, i ? 3 : 6, "a miss, then a hit");
	}
	cr_assert(ring_rotates(f.gw[1]));
	cr_assert(visitor_is_in(&v, c[1]));
	cr_expect_eq(v.renewed, 3, "a new token");
	for (size_t i = 0; i < NODES; i++)
		cr_expect(visitor_is_in(&v, c[i]), "node %zu may not have heard of it", i);
	cr_expect(e2e_wait(all_rotated(&f, 1)));
	for (size_t i = 0; i < NODES; i++) {
		cr_expect(visitor_is_in(&v, c[i]));
		cr_expect_eq(v.renewed, 0);
		client_close(c[i]);
	}
	fleet_close(&f);
}

/* Within one interval, and nobody who was away brings it back. */
Test(fleet, a_revocation_holds_everywhere)
{
	e2e_need_gate();
	struct text out = {0};
	struct visitor v, one;
	struct client *c;
	struct fleet f;

	fleet_open(&f, NODES, 1);
	c = client_plain(f.gw[0]);
	cr_assert(visitor_login(&v, c, "alice"));
	client_close(c);
	gw_terminate(f.gw[2]);
	cr_assert_eq(gw_end(f.gw[2]), 0);
	cr_assert(ring_ctl(f.gw[1], "revoke", &out), "%s", out.p);
	for (size_t i = 0; i < 2; i++) {
		c = client_plain(f.gw[i]);
		if (!i) /* it need not have heard of it at once */
			cr_expect(e2e_wait(ring_rotations(f.gw[i]) == 1));
		one = v;
		cr_expect(visitor_is_out(&one, c), "node %zu", i);
		client_close(c);
	}
	/* memcached forgets all of it, and the one that was away starts with its copy */
	memcached_kill(&f.store);
	memcached_start(&f.store);
	cr_assert(gw_restart(f.gw[2]));
	cr_assert(all_polled(&f));
	cr_assert(all_polled(&f));
	for (size_t i = 0; i < NODES; i++) {
		c = client_plain(f.gw[i]);
		one = v;
		cr_expect(visitor_is_out(&one, c), "node %zu", i);
		client_close(c);
	}
	text_free(&out);
	fleet_close(&f);
}

Test(fleet, revoked_while_memcached_is_away)
{
	e2e_need_gate();
	struct text out = {0};
	struct visitor v, one;
	struct client *c[2];
	struct fleet f;

	fleet_open(&f, 2, 0);
	for (size_t i = 0; i < 2; i++)
		c[i] = client_plain(f.gw[i]);
	cr_assert(visitor_login(&v, c[0], "alice"));
	memcached_kill(&f.store);
	cr_assert(ring_ctl(f.gw[0], "revoke", &out), "%s", out.p);
	cr_expect(text_has(out.p, out.len, "does not answer"), "%s", out.p);
	one = v;
	cr_expect(visitor_is_out(&one, c[0]), "here it holds at once");
	one = v;
	cr_expect(visitor_is_in(&one, c[1]), "the other one can't know");
	memcached_start(&f.store);
	cr_expect(e2e_wait(ring_rotations(f.gw[1]) == 1));
	one = v;
	cr_expect(visitor_is_out(&one, c[1]));
	for (size_t i = 0; i < 2; i++)
		client_close(c[i]);
	text_free(&out);
	fleet_close(&f);
}

/* ---- starting ---- */

Test(fleet, a_start_without_memcached)
{
	e2e_need_gate();
	struct gw_spec spec;
	struct client *c;
	struct visitor v;
	struct fleet f;
	struct gw *gw;

	fleet_open(&f, 1, 1);
	c = client_plain(f.gw[0]);
	cr_assert(visitor_login(&v, c, "alice"));
	client_close(c);
	memcached_kill(&f.store);
	cr_assert(gw_restart(f.gw[0]), "it has a copy");
	c = client_plain(f.gw[0]);
	cr_expect(visitor_is_in(&v, c));
	cr_expect_eq(v.renewed, 0);
	cr_expect(gw_logged(f.gw[0], "starting with the copy of a key"));
	client_close(c);
	/* the very first start of another node */
	spec = f.spec;
	spec.expect_failure = true;
	gw = gw_start(f.be, &spec);
	cr_expect_eq(gw->exit_status, 2);
	cr_expect(gw_logged(gw, "key 'ring' has no secret"));
	cr_expect(gw_logged(gw, "start memcached"));
	memcached_start(&f.store);
	gw->exit_status = 0;
	cr_expect(gw_restart(gw));
	c = client_plain(gw);
	cr_assert(e2e_wait(ring_polls(f.gw[0]) > 1));
	cr_assert(e2e_wait(visitor_is_in(&v, c)));
	client_close(c);
	gw_stop(gw);
	fleet_close(&f);
}

/* ---- whatever happens, nobody is logged out ---- */

#define PEOPLE (run_small() ? 16 : 2000)
#define FEW (run_small() ? 16 : 200)

static void kill_and_back(struct fleet *f)
{
	memcached_kill(&f->store);
	cr_expect(e2e_wait(ring_unreachable(f->gw[0]) > 0));
	memcached_start(&f->store);
}

static void stop_and_go_on(struct fleet *f)
{
	double before = ring_unreachable(f->gw[0]);

	kill(f->store.pid, SIGSTOP);
	cr_expect(e2e_wait(ring_unreachable(f->gw[0]) > before));
	kill(f->store.pid, SIGCONT);
}

/* Answers, but for a moment and then not for a while. */
static void slowly(struct fleet *f)
{
	char before[32];

	ring_signs(f->gw[0], before);
	for (int i = 0; i < 15; i++) {
		struct text out = {0};

		kill(f->store.pid, SIGSTOP);
		run_pause_ms(100);
		kill(f->store.pid, SIGCONT);
		if (i == 5) /* it may well be refused */
			ring_ctl(f->gw[0], "rotate", &out);
		run_pause_ms(10);
		text_free(&out);
	}
	cr_expect(all_polled(f));
}

static void nonsense(struct fleet *f)
{
	memcached_put(&f->store, "BPS1", "<html>no</html>");
	memcached_put(&f->store, "BPS0", ":::");
	cr_expect(all_polled(f));
	memcached_put(&f->store, "BPS2", "");
	memcached_put(&f->store, "BP_VOID", "yesterday");
}

static void flush(struct fleet *f)
{
	memcached_say(&f->store, "flush_all");
}

static void lease_of_a_dead_one(struct fleet *f)
{
	memcached_say(&f->store, "set BP_LEASE 0 2 4\r\ndead");
	flush(f);
	memcached_say(&f->store, "set BP_LEASE 0 2 4\r\ndead");
}

static const struct {
	const char *name;
	void (*happens)(struct fleet *f);
} faults[] = {
	{"killed, and back empty", kill_and_back},
	{"stopped", stop_and_go_on},
	{"slow", slowly},
	{"garbage", nonsense},
	{"the lease's holder is dead", lease_of_a_dead_one},
};

Test(fleet, nobody_is_lost_whatever_happens)
{
	e2e_need_gate();
	struct crowd_count count;
	struct crowd *crowd;
	struct fleet f;

	fleet_open(&f, NODES, 0);
	crowd = crowd_start(f.gw, NODES, (size_t)PEOPLE);
	cr_expect(crowd_rounds(crowd, 1));
	for (size_t i = 0; i < E2E_ARRAY_SIZE(faults); i++) {
		char before[32];

		ring_signs(f.gw[i % NODES], before);
		cr_expect(ring_rotates(f.gw[i % NODES]), "before: %s", faults[i].name);
		faults[i].happens(&f);
		cr_expect(crowd_rounds(crowd, 1));
		cr_expect(ring_rotates(f.gw[(i + 1) % NODES]), "after: %s", faults[i].name);
		cr_expect(e2e_wait(ring_all_sign_alike(f.gw, f.n, before)), "%s", faults[i].name);
		cr_expect(crowd_rounds(crowd, 1));
	}
	count = crowd_stop(crowd);
	cr_expect_eq(count.lost, 0, "%ld of %ld", count.lost, count.visits * 3);
	cr_expect_eq(count.unanswered, 0);
	fleet_close(&f);
}

/* A request that waited for memcached would wait for ever. */
Test(fleet, requests_do_not_wait_for_it)
{
	e2e_need_gate();
	struct client *c;
	struct visitor v;
	struct fleet f;

	fleet_open(&f, 1, 0);
	kill(f.store.pid, SIGSTOP);
	c = client_plain(f.gw[0]);
	for (int i = 0; i < 50; i++) {
		char id[16];

		snprintf(id, sizeof(id), "p%d", i);
		cr_assert(visitor_login(&v, c, id));
		cr_assert(visitor_is_in(&v, c));
	}
	client_close(c);
	kill(f.store.pid, SIGCONT);
	fleet_close(&f);
}

/* Five answers of the one between two of the other: nobody was waiting. */
static bool polls_on(struct gw *gw)
{
	double failed = gw_metric(gw, "hardtack_key_store_failures_total", "key=\"stuck\"", NULL);
	double polls = ring_polls(gw);

	return e2e_wait(ring_polls(gw) >= polls + 5) &&
	       gw_metric(gw, "hardtack_key_store_failures_total", "key=\"stuck\"", NULL) == failed;
}

Test(fleet, a_store_that_does_not_answer_delays_no_other)
{
	e2e_need_gate();
	struct memcached stuck = {0};
	struct fleet f = {0};
	struct text keys = {0};

	f.be = backend_start(visitor_backend);
	f.be->no_record = true;
	memcached_start(&f.store);
	memcached_start(&stuck);
	fleet_spec(&f);
	text_addf(&keys,
		  "  - { name: ring, memcached: [127.0.0.1:%d], directory: copy, poll-every: 100ms "
		  "}\n"
		  "  - { name: stuck, memcached: [127.0.0.1:%d], directory: other, poll-every: "
		  "100ms }\n",
		  f.store.port, stuck.port);
	f.spec.keys = keys.p;
	f.gw[f.n++] = gw_start(f.be, &f.spec);
	kill(stuck.pid, SIGSTOP);
	cr_assert(e2e_wait(gw_metric(f.gw[0], "hardtack_key_store_failures_total", "key=\"stuck\"",
				     "reason=\"unreachable\"", NULL) > 0));
	cr_expect(e2e_wait(polls_on(f.gw[0])));
	memcached_kill(&stuck);
	text_free(&keys);
	fleet_close(&f);
}

/* A lease that nobody gives back: it is asked for again after a while, not at once and all the time. */
Test(fleet, who_waits_for_the_lease_waits)
{
	e2e_need_gate();
	struct text out = {0};
	struct fleet f;
	double polls;

	fleet_open(&f, 1, 0);
	gw_edit(f.gw[0], POLL_EVERY, "poll-every: 1h");
	node_reload(f.gw[0]);
	memcached_say(&f.store, "set BP_LEASE 0 60 4\r\ndead");
	polls = ring_polls(f.gw[0]);
	cr_assert(ring_ctl(f.gw[0], "revoke", &out), "%s", out.p);
	cr_expect(text_has(out.p, out.len, "does not answer"), "%s", out.p);
	cr_expect_gt(
		gw_metric(f.gw[0], "hardtack_key_store_failures_total", "reason=\"lease\"", NULL),
		0);
	cr_expect_lt(ring_polls(f.gw[0]) - polls, 30);
	memcached_say(&f.store, "delete BP_LEASE");
	text_free(&out);
	fleet_close(&f);
}

Test(fleet, a_rotation_that_was_refused_does_not_come_later)
{
	e2e_need_gate();
	struct text out = {0};
	struct fleet f;

	fleet_open(&f, 1, 0);
	cr_expect(ring_rotates(f.gw[0]), "it could");
	cr_expect(e2e_wait(ring_rotations(f.gw[0]) == 1));
	memcached_say(&f.store, "set BP_LEASE 0 600 4\r\ndead");
	/* until it could again there is another reason */
	cr_expect(e2e_wait(!ring_ctl(f.gw[0], "rotate", &out) &&
			   text_has(out.p, out.len, "not done it in time")),
		  "%s", out.p);
	cr_assert(all_polled(&f));
	memcached_say(&f.store, "delete BP_LEASE");
	for (int i = 0; i < 2; i++)
		cr_assert(all_polled(&f));
	cr_expect_eq(ring_rotations(f.gw[0]), 1);
	text_free(&out);
	fleet_close(&f);
}

struct by_hand {
	struct gw *gw;
	bool done;
	pthread_t thread;
};

static void *rotate_run(void *arg)
{
	struct by_hand *h = arg;
	struct text out = {0};

	h->done = ring_ctl(h->gw, "rotate", &out);
	text_free(&out);
	return NULL;
}

/* A poll that was under way without it fails, and the next one does not: what is said is true. */
Test(fleet, a_rotation_that_was_made_was_made)
{
	e2e_need_gate();
	struct by_hand hand = {0};
	struct fleet f;

	fleet_open(&f, 1, 0);
	cr_expect(ring_rotates(f.gw[0]), "it could");
	gw_edit(f.gw[0], POLL_EVERY, "poll-every: 2s"); /* or one that fails is a silence */
	node_reload(f.gw[0]);
	for (int i = 0; i < 8 && !hand.done; i++) {
		char before[32];
		double failed = ring_unreachable(f.gw[0]);

		for (int k = 0; k < 3; k++) /* until it could again */
			cr_assert(all_polled(&f));
		ring_signs(f.gw[0], before);
		hand.gw = f.gw[0];
		kill(f.store.pid, SIGSTOP);
		cr_expect(e2e_wait(ring_unreachable(f.gw[0]) > failed));
		run_pause_ms(300);
		cr_assert_eq(pthread_create(&hand.thread, NULL, rotate_run, &hand), 0);
		run_pause_ms(1000); /* the first poll has come to nothing; it may be refused then */
		kill(f.store.pid, SIGCONT);
		pthread_join(hand.thread, NULL);
		if (hand.done)
			cr_expect(e2e_wait(ring_all_sign_alike(f.gw, f.n, before)));
	}
	cr_expect(hand.done, "never");
	fleet_close(&f);
}

/* One node is stopped as it stands, one ended: both come back into a fleet that rotated twice. */
Test(fleet, away_for_two_rotations)
{
	e2e_need_gate();
	struct visitor v[NODES];
	struct client *c[NODES];
	struct fleet f;
	char before[32];

	fleet_open(&f, NODES, 1);
	for (size_t i = 0; i < NODES; i++) {
		c[i] = client_plain(f.gw[i]);
		cr_assert(visitor_login(&v[i], c[i], "alice"));
	}
	ring_signs(f.gw[0], before);
	kill(f.gw[1]->pid, SIGSTOP);
	client_close(c[2]);
	gw_terminate(f.gw[2]);
	cr_assert_eq(gw_end(f.gw[2]), 0);
	for (int i = 1; i <= 2; i++) {
		cr_expect(ring_rotates(f.gw[0]));
		cr_expect(e2e_wait(ring_rotations(f.gw[0]) == i));
	}
	cr_assert(visitor_login(&v[0], c[0], "alice"));
	kill(f.gw[1]->pid, SIGCONT);
	cr_assert(gw_restart(f.gw[2]));
	c[2] = client_plain(f.gw[2]);
	cr_expect(e2e_wait(ring_all_sign_alike(f.gw, f.n, before)));
	for (size_t node = 0; node < NODES; node++) {
		for (size_t i = 0; i < NODES; i++) {
			struct visitor one = v[i];

			cr_expect(visitor_is_in(&one, c[node]), "of node %zu, at node %zu", i,
				  node);
		}
	}
	for (size_t i = 0; i < NODES; i++)
		client_close(c[i]);
	fleet_close(&f);
}

/* ---- what a core dump would show ---- */

/* Does it stand in that part of the daemon's memory? */
static bool mapping_has(int mem, unsigned long from, unsigned long to, const char *secret)
{
	static char buf[1 << 20];
	const unsigned long overlap = 64; /* what is looked for may lie across two pieces */

	for (unsigned long at = from; at < to; at += sizeof(buf) - overlap) {
		size_t want = to - at < sizeof(buf) ? to - at : sizeof(buf);
		ssize_t n = pread(mem, buf, want, (off_t)at);

		if (n > 0 && memmem(buf, (size_t)n, secret, strlen(secret)))
			return true;
	}
	return false;
}

/* Mappings that hold it: those that are left out of core dumps, and the others. */
static void where_in_memory(struct gw *gw, const char *secret, int *ret_guarded, int *ret_dumped)
{
	unsigned long from = 0, to = 0, a, b;
	char path[64], line[512];
	FILE *maps;
	int mem;

	*ret_guarded = *ret_dumped = 0;
	snprintf(path, sizeof(path), "/proc/%d/mem", gw->pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/smaps", gw->pid);
	maps = fopen(path, "re");
	cr_assert(mem >= 0 && maps, "%s", strerror(errno));
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2) {
			from = a;
			to = b;
		}
		/* the last line of a mapping */
		if (strncmp(line, "VmFlags:", 8) || !mapping_has(mem, from, to, secret))
			continue;
		if (strstr(line, " dd") && strstr(line, " lo"))
			++*ret_guarded;
		else
			++*ret_dumped;
	}
	fclose(maps);
	close(mem);
}

Test(fleet, a_core_dump_has_no_secret)
{
	e2e_need_gate();
	static const char *const names[] = {"BPS0", "BPS1", "BPS2"};
	struct visitor v;
	struct client *c;
	struct fleet f;

	if (run_sanitized())
		return; /* its memory is made otherwise, and there is too much of it */
	fleet_open(&f, 1, 1);
	c = client_plain(f.gw[0]);
	cr_assert(visitor_login(&v, c, "alice"));
	cr_expect(ring_rotates(f.gw[0]));
	cr_assert(visitor_is_in(&v, c));
	cr_assert(all_polled(&f));
	for (size_t i = 0; i < E2E_ARRAY_SIZE(names); i++) {
		char secret[48];
		int guarded, dumped;

		snprintf(secret, sizeof(secret), "%s", memcached_get(&f.store, names[i]));
		cr_assert_eq(strlen(secret), 47);
		where_in_memory(f.gw[0], secret, &guarded, &dumped);
		cr_expect_gt(guarded, 0, "%s is nowhere", names[i]);
		cr_expect_eq(dumped, 0, "%s", names[i]);
	}
	client_close(c);
	fleet_close(&f);
}

/* ---- gateways of the old kind ---- */

static void seed_secret(char *ret, size_t cap, long long now_s)
{
	unsigned char chance[64], text[89];

	RAND_bytes(chance, sizeof(chance));
	EVP_EncodeBlock(text, chance, sizeof(chance));
	snprintf(ret, cap, "%s:%lld", text, now_s);
}

/* save_secrets(): one after the other; then the lease goes, whosever it is. */
static void seed_rotates(struct fleet *f, long long now_s)
{
	char old[256], new[256];

	snprintf(old, sizeof(old), "%s", memcached_get(&f->store, "BPS1"));
	seed_secret(new, sizeof(new), now_s);
	memcached_put(&f->store, "BPS1", new);
	cr_expect(all_polled(f), "between the two writes");
	memcached_put(&f->store, "BPS2", old);
	memcached_say(&f->store, "delete BP_LEASE");
}

Test(fleet, an_old_gateway_in_the_pool)
{
	e2e_need_gate();
	long long now_s = (long long)time(NULL);
	struct crowd_count count;
	char value[256];
	struct crowd *crowd;
	struct fleet f;

	/* the pool is there before us */
	memset(&f, 0, sizeof(f));
	f.be = backend_start(visitor_backend);
	f.be->no_record = true;
	memcached_start(&f.store);
	seed_secret(value, sizeof(value), now_s - 100);
	memcached_put(&f.store, "BPS1", value);
	fleet_spec(&f);
	for (; f.n < NODES; f.n++)
		f.gw[f.n] = gw_start(f.be, &f.spec);
	crowd = crowd_start(f.gw, NODES, FEW);
	for (int i = 0; i < 3; i++) {
		seed_rotates(&f, now_s + i);
		cr_expect(e2e_wait(all_rotated(&f, i + 1)));
		cr_expect(crowd_rounds(crowd, 1));
	}
	snprintf(value, sizeof(value), "%s", memcached_get(&f.store, "BPS1"));
	cr_expect_eq(strtoll(value + 89, NULL, 10), now_s + 2, "nobody wrote over it: %s", value);
	count = crowd_stop(crowd);
	cr_expect_eq(count.lost, 0, "%ld of %ld", count.lost, count.visits * 3);
	fleet_close(&f);
}

/* One whose clock is 30 s ahead rotates, then one of ours: who signs is still the last one who rotated. */
Test(fleet, a_clock_that_is_ahead)
{
	e2e_need_gate();
	long long now_s = (long long)time(NULL), born_s;
	struct crowd_count count;
	struct crowd *crowd;
	char before[32], value[256];
	struct fleet f;

	fleet_open(&f, NODES, 0);
	crowd = crowd_start(f.gw, NODES, FEW);
	seed_rotates(&f, now_s + 30);
	cr_expect(e2e_wait(all_rotated(&f, 1)));
	cr_expect(crowd_rounds(crowd, 1));
	ring_signs(f.gw[1], before);
	cr_expect(ring_rotates(f.gw[1]));
	cr_expect(e2e_wait(ring_all_sign_alike(f.gw, f.n, before)));
	snprintf(value, sizeof(value), "%s", memcached_get(&f.store, "BPS1"));
	cr_assert_gt(strlen(value), 89);
	born_s = strtoll(value + 89, NULL, 10);
	cr_expect_geq(born_s, now_s + 31, "births go up, whatever the clock says");
	cr_expect(crowd_rounds(crowd, 1));
	count = crowd_stop(crowd);
	cr_expect_eq(count.lost, 0, "%ld of %ld", count.lost, count.visits * 3);
	fleet_close(&f);
}

/* What an old gateway has just begun to sign with does not sign here at once, restarts or not. */
Test(fleet, a_surprise_is_held_over_a_restart)
{
	e2e_need_gate();
	long long now_s = (long long)time(NULL);
	char old[256], value[256], first[32], id[32];
	struct fleet f = {0};

	f.be = backend_start(visitor_backend);
	f.be->no_record = true;
	memcached_start(&f.store);
	seed_secret(old, sizeof(old), now_s - 1000);
	memcached_put(&f.store, "BPS1", old);
	fleet_spec(&f);
	f.spec.own = true;
	snprintf(f.keys, sizeof(f.keys),
		 "  - { name: ring, memcached: [127.0.0.1:%d], directory: copy, poll-every: 1h }\n",
		 f.store.port);
	f.gw[f.n++] = gw_start(f.be, &f.spec);
	cr_assert(e2e_wait(ring_polls(f.gw[0]) == 2));
	ring_signs(f.gw[0], first);
	seed_secret(value, sizeof(value), now_s);
	memcached_put(&f.store, "BPS1", value);
	memcached_put(&f.store, "BPS2", old);
	node_reload(f.gw[0]);
	cr_assert(e2e_wait(ring_metric(f.gw[0], "hardtack_key_secrets") == 3), "and a next one");
	ring_signs(f.gw[0], id);
	cr_expect_str_eq(id, first);
	cr_assert(gw_restart(f.gw[0]));
	cr_expect_eq(ring_metric(f.gw[0], "hardtack_key_secrets"), 3);
	ring_signs(f.gw[0], id);
	cr_expect_str_eq(id, first);
	fleet_close(&f);
}
