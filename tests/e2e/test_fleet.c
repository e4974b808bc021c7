/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes that share a key through a real memcached: a session of one is one of all, and stays it
 * whatever happens to memcached. Crowds come to all of them all the time; not one session may be
 * lost. Gateways of the old kind are played by the test, as the seed's code does it.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "visitor.h"

TestSuite(fleet, .timeout = E2E_TIMEOUT);

/* ---- memcached ---- */

struct store {
	int port;
	pid_t pid;
};

static int store_connect(const struct store *s)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)s->port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return fd;
	close(fd);
	return -1;
}

static bool store_is_up(const struct store *s)
{
	int fd = store_connect(s);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void store_start(struct store *s)
{
	pid_t parent = getpid();
	char port[16];

	if (!s->port)
		s->port = port_free();
	snprintf(port, sizeof(port), "%d", s->port);
	s->pid = fork();
	cr_assert_geq(s->pid, 0);
	if (!s->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(126);
		execlp("memcached", "memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", port,
		       "-t", "1", "-m", "4", (char *)NULL);
		_exit(127);
	}
	cr_assert(e2e_wait(store_is_up(s)), "memcached does not start");
	cr_assert_eq(waitpid(s->pid, NULL, WNOHANG), 0, "port %d is somebody else's", s->port);
}

static void store_kill(struct store *s)
{
	if (s->pid <= 0)
		return;
	kill(s->pid, SIGCONT);
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	s->pid = 0;
}

/* What it answers to one request, which the test itself makes. */
static void store_say(const struct store *s, struct text *out, const char *fmt, ...)
{
	struct text line = {0};
	int fd = store_connect(s);
	char buf[1024];
	char word[1024];
	ssize_t n;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(word, sizeof(word), fmt, ap);
	va_end(ap);
	cr_assert(fd >= 0);
	text_addf(&line, "%s\r\nquit\r\n", word);
	cr_assert_eq(send(fd, line.p, line.len, MSG_NOSIGNAL), (ssize_t)line.len);
	text_clear(out);
	text_add(out, "", 0);
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		text_add(out, buf, (size_t)n);
	close(fd);
	text_free(&line);
}

static void store_put(const struct store *s, const char *name, const char *value)
{
	struct text out = {0};

	store_say(s, &out, "set %s 0 0 %zu\r\n%s", name, strlen(value), value);
	cr_assert(text_has(out.p, out.len, "STORED"), "%s", out.p);
	text_free(&out);
}

/* The value into ret[cap]; "" if there is none. */
static void store_get(const struct store *s, const char *name, char *ret, size_t cap)
{
	struct text out = {0};
	char *line;

	store_say(s, &out, "get %s", name);
	line = strncmp(out.p, "VALUE ", 6) ? NULL : strstr(out.p, "\r\n");
	snprintf(ret, cap, "%.*s", line ? (int)strcspn(line + 2, "\r") : 0, line ? line + 2 : "");
	text_free(&out);
}

/* ---- nodes ---- */

#define NODES 3

struct fleet {
	struct backend *be;
	struct store store;
	struct gw *gw[NODES];
	size_t n;
	char keys[256];
	struct gw_spec spec;
};

static void fleet_spec(struct fleet *f)
{
	snprintf(f->keys, sizeof(f->keys),
		 "  - { name: ring, memcached: [127.0.0.1:%d], directory: copy, poll-every: 100ms, "
		 "rotate-every: 0s }\n",
		 f->store.port);
	f->spec = (struct gw_spec){.cookies = VISITOR_RULES, .keys = f->keys};
}

static void fleet_open(struct fleet *f, size_t nodes)
{
	memset(f, 0, sizeof(*f));
	f->be = backend_start(visitor_backend);
	f->be->no_record = true;
	store_start(&f->store);
	fleet_spec(f);
	for (; f->n < nodes; f->n++)
		f->gw[f->n] = gw_start(f->be, &f->spec);
}

/* No secret that was ever in the store may be in a log. */
static void expect_clean_log(struct fleet *f, struct gw *gw)
{
	static const char *const names[] = {"BPS0", "BPS1", "BPS2"};
	size_t len;
	char *log = text_file(gw->stderr_path, &len), value[256];

	for (size_t i = 0; f->store.pid && i < E2E_ARRAY_SIZE(names); i++) {
		store_get(&f->store, names[i], value, sizeof(value));
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
	store_kill(&f->store);
}

static double of_ring(struct gw *gw, const char *metric)
{
	return gw_metric(gw, metric, "key=\"ring\"", NULL);
}

static double unreachable(struct gw *gw)
{
	return gw_metric(gw, "hardtack_key_store_failures_total", "key=\"ring\"",
			 "reason=\"unreachable\"", NULL);
}

static bool ctl(struct gw *gw, const char *command, struct text *out)
{
	text_clear(out);
	return !gw_ctl(gw, out, command, "ring");
}

/* Refused until every node has the secret that comes next. */
static bool rotates(struct gw *gw)
{
	struct text out = {0};
	bool done = e2e_wait(ctl(gw, "rotate", &out));

	cr_expect(done, "%s", out.p);
	text_free(&out);
	return done;
}

static bool all_rotated(struct fleet *f, double n)
{
	for (size_t i = 0; i < f->n; i++) {
		if (of_ring(f->gw[i], "hardtack_key_rotations_total") < n)
			return false;
	}
	return true;
}

/* The secret that a node signs with, by what it says of itself. */
static void signing_id(struct gw *gw, char ret[32])
{
	struct text out = {0};
	char *at;

	cr_assert_eq(gw_ctl(gw, &out, "status", NULL), 0);
	at = strstr(out.p, "keys.1.secrets.0.id");
	cr_assert(at, "%s", out.p);
	cr_assert_eq(sscanf(at, "keys.1.secrets.0.id %31s", ret), 1);
	text_free(&out);
}

/* There is one secret that all sign with, and it is not `before`. */
static bool all_sign_alike(struct fleet *f, const char *before)
{
	char first[32], id[32];

	signing_id(f->gw[0], first);
	if (!strcmp(first, before))
		return false;
	for (size_t i = 1; i < f->n; i++) {
		signing_id(f->gw[i], id);
		if (strcmp(id, first))
			return false;
	}
	return true;
}

static bool all_polled(struct fleet *f)
{
	double polls[NODES];

	for (size_t i = 0; i < f->n; i++)
		polls[i] = of_ring(f->gw[i], "hardtack_key_store_polls_total");
	for (size_t i = 0; i < f->n; i++) {
		if (!e2e_wait(of_ring(f->gw[i], "hardtack_key_store_polls_total") > polls[i] + 1))
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

	fleet_open(&f, NODES);
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
	cr_assert(rotates(f.gw[1]));
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

	fleet_open(&f, NODES);
	c = client_plain(f.gw[0]);
	cr_assert(visitor_login(&v, c, "alice"));
	client_close(c);
	gw_terminate(f.gw[2]);
	cr_assert_eq(gw_end(f.gw[2]), 0);
	cr_assert(ctl(f.gw[1], "revoke", &out), "%s", out.p);
	for (size_t i = 0; i < 2; i++) {
		c = client_plain(f.gw[i]);
		if (!i) /* it need not have heard of it at once */
			cr_expect(e2e_wait(of_ring(f.gw[i], "hardtack_key_rotations_total") == 1));
		one = v;
		cr_expect(visitor_is_out(&one, c), "node %zu", i);
		client_close(c);
	}
	/* memcached forgets all of it, and the one that was away starts with its copy */
	store_kill(&f.store);
	store_start(&f.store);
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

	fleet_open(&f, 2);
	for (size_t i = 0; i < 2; i++)
		c[i] = client_plain(f.gw[i]);
	cr_assert(visitor_login(&v, c[0], "alice"));
	store_kill(&f.store);
	cr_assert(ctl(f.gw[0], "revoke", &out), "%s", out.p);
	cr_expect(text_has(out.p, out.len, "does not answer"), "%s", out.p);
	one = v;
	cr_expect(visitor_is_out(&one, c[0]), "here it holds at once");
	one = v;
	cr_expect(visitor_is_in(&one, c[1]), "the other one can't know");
	store_start(&f.store);
	cr_expect(e2e_wait(of_ring(f.gw[1], "hardtack_key_rotations_total") == 1));
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

	fleet_open(&f, 1);
	c = client_plain(f.gw[0]);
	cr_assert(visitor_login(&v, c, "alice"));
	client_close(c);
	store_kill(&f.store);
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
	store_start(&f.store);
	gw->exit_status = 0;
	cr_expect(gw_restart(gw));
	c = client_plain(gw);
	cr_assert(e2e_wait(of_ring(f.gw[0], "hardtack_key_store_polls_total") > 1));
	cr_assert(e2e_wait(visitor_is_in(&v, c)));
	client_close(c);
	gw_stop(gw);
	fleet_close(&f);
}

/* ---- whatever happens, nobody is logged out ---- */

#define PEOPLE (run_small() ? 200 : 2000)

static void kill_and_back(struct fleet *f)
{
	store_kill(&f->store);
	cr_expect(e2e_wait(unreachable(f->gw[0]) > 0));
	store_start(&f->store);
}

static void stop_and_go_on(struct fleet *f)
{
	double before = unreachable(f->gw[0]);

	kill(f->store.pid, SIGSTOP);
	cr_expect(e2e_wait(unreachable(f->gw[0]) > before));
	kill(f->store.pid, SIGCONT);
}

static void nonsense(struct fleet *f)
{
	store_put(&f->store, "BPS1", "<html>no</html>");
	store_put(&f->store, "BPS0", ":::");
	cr_expect(all_polled(f));
	store_put(&f->store, "BPS2", "");
	store_put(&f->store, "BP_VOID", "yesterday");
}

static void flush(struct fleet *f)
{
	struct text out = {0};

	store_say(&f->store, &out, "flush_all");
	text_free(&out);
}

static void restart_a_node(struct fleet *f)
{
	struct text out = {0};

	cr_expect_eq(gw_ctl(f->gw[1], &out, "reload", NULL), 0, "%s", out.p);
	text_free(&out);
}

static void lease_of_a_dead_one(struct fleet *f)
{
	struct text out = {0};

	store_say(&f->store, &out, "set BP_LEASE 0 2 4\r\ndead");
	flush(f);
	store_say(&f->store, &out, "set BP_LEASE 0 2 4\r\ndead");
	text_free(&out);
}

static const struct {
	const char *name;
	void (*happens)(struct fleet *f);
} faults[] = {
	{"killed, and back empty", kill_and_back},
	{"stopped", stop_and_go_on},
	{"garbage", nonsense},
	{"emptied", flush},
	{"a node reloads", restart_a_node},
	{"the lease's holder is dead", lease_of_a_dead_one},
};

Test(fleet, nobody_is_lost_whatever_happens)
{
	e2e_need_gate();
	struct crowd_count count;
	struct crowd *crowd;
	struct fleet f;

	fleet_open(&f, NODES);
	crowd = crowd_start(f.gw, NODES, (size_t)PEOPLE);
	cr_expect(crowd_rounds(crowd, 1));
	for (size_t i = 0; i < E2E_ARRAY_SIZE(faults); i++) {
		char before[32];

		signing_id(f.gw[i % NODES], before);
		cr_expect(rotates(f.gw[i % NODES]), "before: %s", faults[i].name);
		faults[i].happens(&f);
		cr_expect(crowd_rounds(crowd, 1));
		cr_expect(rotates(f.gw[(i + 1) % NODES]), "after: %s", faults[i].name);
		cr_expect(e2e_wait(all_sign_alike(&f, before)), "%s", faults[i].name);
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

	fleet_open(&f, 1);
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
	struct text out = {0};

	store_get(&f->store, "BPS1", old, sizeof(old));
	seed_secret(new, sizeof(new), now_s);
	store_put(&f->store, "BPS1", new);
	cr_expect(all_polled(f), "between the two writes");
	store_put(&f->store, "BPS2", old);
	store_say(&f->store, &out, "delete BP_LEASE");
	text_free(&out);
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
	store_start(&f.store);
	seed_secret(value, sizeof(value), now_s - 100);
	store_put(&f.store, "BPS1", value);
	fleet_spec(&f);
	for (; f.n < NODES; f.n++)
		f.gw[f.n] = gw_start(f.be, &f.spec);
	crowd = crowd_start(f.gw, NODES, 200);
	for (int i = 0; i < 3; i++) {
		seed_rotates(&f, now_s + i);
		cr_expect(e2e_wait(all_rotated(&f, i + 1)));
		cr_expect(crowd_rounds(crowd, 1));
	}
	store_get(&f.store, "BPS1", value, sizeof(value));
	cr_expect_eq(strtoll(value + 89, NULL, 10), now_s + 2, "nobody wrote over it: %s", value);
	count = crowd_stop(crowd);
	cr_expect_eq(count.lost, 0, "%ld of %ld", count.lost, count.visits * 3);
	fleet_close(&f);
}
