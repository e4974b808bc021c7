/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several backends: how they take turns, how clients come back to theirs, what happens when they
 * are down, how names are followed, what is tried again and what never is.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

TestSuite(balance, .timeout = E2E_TIMEOUT);
TestSuite(health, .timeout = E2E_TIMEOUT);
TestSuite(names, .timeout = E2E_TIMEOUT);
TestSuite(retry, .timeout = E2E_TIMEOUT);

static const char *two(int a, int b)
{
	static char buf[128];

	snprintf(buf, sizeof(buf), "127.0.0.1:%d, 127.0.0.1:%d", a, b);
	return buf;
}

/* Which upstreams take what is timing's business: their records are not compared. */
static struct backend *quiet(struct backend *be)
{
	be->no_record = true;
	return be;
}

static struct gw *gw_with(struct backend *a, struct backend *b, const char *extra, int workers)
{
	return gw_start(a, &(struct gw_spec){.upstreams = two(a->port, b->port),
					     .site_extra = extra,
					     .workers = workers});
}

/* ---- balance ---- */

static void answer_held(struct bconn *c, struct breq *r)
{
	if (!strncmp(r->head, "GET /held ", 10))
		backend_until(c->be, 0, 1);
	backend_answer(c, r);
}

static void least_connections(int workers)
{
	struct backend *a = quiet(backend_start(answer_held)),
		       *b = quiet(backend_start(answer_held));
	struct gw *gw = gw_with(a, b, "    balance: least-connections\n", workers);
	struct client *held[3];
	int busy;

	held[0] = client_plain(gw);
	client_sendf(held[0], "GET /held HTTP/1.1\r\nHost: gw.test\r\n\r\n");
	cr_assert(e2e_wait(backend_count(a) + backend_count(b) == 1));
	busy = backend_count(a);
	for (int i = 0; i < 8; i++)
		cr_expect_eq(client_once(gw, NULL, ""), 200);
	cr_expect_eq(backend_count(busy ? a : b), 1, "the busy one got more");
	cr_expect_eq(backend_count(busy ? b : a), 8);
	/* now the other one is the busier of the two */
	for (int i = 1; i < 3; i++) {
		held[i] = client_plain(gw);
		client_sendf(held[i], "GET /held HTTP/1.1\r\nHost: gw.test\r\n\r\n");
		cr_assert(e2e_wait(backend_count(a) + backend_count(b) == 9 + i));
	}
	cr_expect_eq(gw_metric(gw, "hardtack_upstream_active", NULL), 3);
	backend_set(a, 0, 1);
	backend_set(b, 0, 1);
	for (int i = 0; i < 3; i++) {
		cr_expect_eq(client_read(held[i])->status, 200);
		client_close(held[i]);
	}
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_upstream_active", NULL) == 0));
	gw_stop(gw);
	backend_stop(a);
	backend_stop(b);
}

Test(balance, least_connections_of_one_worker)
{
	e2e_need_gate();
	least_connections(1);
}

Test(balance, least_connections_of_all_workers)
{
	e2e_need_gate();
	least_connections(3);
}

Test(balance, source_keeps_its_backend)
{
	e2e_need_gate();
	struct backend *a = quiet(backend_start(NULL)), *b = quiet(backend_start(NULL));
	struct gw *gw = gw_with(a, b, "    balance: source\n", 2);
	int used_a = 0;

	for (int i = 1; i <= 24; i++) {
		int before_a = backend_count(a), before_b = backend_count(b);
		char from[32];

		snprintf(from, sizeof(from), "127.0.1.%d", i);
		for (int j = 0; j < 4; j++)
			cr_assert_eq(client_once(gw, from, ""), 200);
		cr_expect(backend_count(a) - before_a == 4 || backend_count(b) - before_b == 4,
			  "%s was sent to both", from);
		used_a += backend_count(a) > before_a;
	}
	cr_expect(used_a > 3 && used_a < 21, "%d of 24 clients on one of two", used_a);
	gw_stop(gw);
	backend_stop(a);
	backend_stop(b);
}

/* "ht_backend=VALUE" of the response, or NULL. */
static const char *affinity(struct response *r, const char *name)
{
	static char ring[4][256];
	static unsigned next;
	size_t len = strlen(name);

	for (int i = 0; i < response_count(r, "Set-Cookie"); i++) {
		const char *v = response_field(r, "Set-Cookie", i);

		if (!strncmp(v, name, len) && v[len] == '=') {
			char *out = ring[next++ % 4];

			snprintf(out, sizeof(ring[0]), "%s", v);
			return out;
		}
	}
	return NULL;
}

static const char *cookie_line(const char *set_cookie)
{
	static char line[300];

	snprintf(line, sizeof(line), "Cookie: other=1; %.*s; x=y\r\n",
		 (int)strcspn(set_cookie, ";"), set_cookie);
	return line;
}

static void comes_back(bool tls)
{
	struct backend *a = quiet(backend_start(NULL)), *b = quiet(backend_start(NULL));
	struct gw *gw = gw_with(a, b, "    balance: cookie\n", 2);
	struct client *c = tls ? client_tls(gw) : client_plain(gw);
	struct backend *mine, *other;
	const char *set, *again;
	char port[16];

	set = affinity(client_get(c, "/", ""), "ht_backend");
	cr_assert(set, "no affinity cookie");
	mine = backend_count(a) ? a : b;
	other = mine == a ? b : a;
	cr_expect(strstr(set, "; Path=/") && strstr(set, "; HttpOnly") &&
			  strstr(set, "; SameSite=Lax"),
		  "%s", set);
	cr_expect_eq(!!strstr(set, "; Secure"), tls, "%s", set);
	snprintf(port, sizeof(port), "%d", mine->port);
	cr_expect_not(strstr(set, "127.0.0.1"));
	for (int i = 0; i < 6; i++) {
		struct response *r = client_get(c, "/", cookie_line(set));

		cr_expect_eq(r->status, 200);
		cr_expect_null(affinity(r, "ht_backend"), "it is set again");
	}
	cr_expect_eq(backend_count(mine), 7);
	cr_expect_eq(backend_count(other), 0);
	/* it passes on to the backend, like any other */
	cr_expect(strstr(backend_last(mine)->head, "ht_backend="));
	/* what stands for no backend is no reason to refuse, and replaced */
	set = affinity(
		client_get(c, "/", "Cookie: ht_backend=00112233445566778899aabbccddeeff\r\n"),
		"ht_backend");
	cr_expect(set);
	/* his backend has gone: another one, and from now on that */
	mine = backend_count(other) ? other : mine;
	other = mine == a ? b : a;
	backend_stop(mine);
	again = affinity(client_get(c, "/", cookie_line(set)), "ht_backend");
	cr_assert(again, "no new cookie");
	cr_expect_str_neq(again, set);
	cr_expect_null(affinity(client_get(c, "/", cookie_line(again)), "ht_backend"));
	client_close(c);
	gw_stop(gw);
	backend_stop(other);
}

Test(balance, cookie_plain)
{
	e2e_need_gate();
	comes_back(false);
}

Test(balance, cookie_tls)
{
	e2e_need_gate();
	comes_back(true);
}

/* The same cookie means the same backend to the next daemon: it comes from the key. */
Test(balance, cookie_outlives_the_daemon_and_signing_goes_on)
{
	e2e_need_gate();
	struct backend *a = quiet(backend_start(NULL)), *b = quiet(backend_start(NULL));
	struct gw_spec spec = {.upstreams = two(a->port, b->port),
			       .site_extra = "    balance: cookie\n    balance-cookie: where\n",
			       .own = true};
	struct gw *gw = gw_start(a, &spec);
	struct client *c = client_plain(gw);
	struct response *r;
	char line[600], set[256];
	int on_a;

	backend_reply(a, "HTTP/1.1 200 OK\r\nSet-Cookie: sid=s1\r\nContent-Length: 0\r\n\r\n");
	backend_reply(b, "HTTP/1.1 200 OK\r\nSet-Cookie: sid=s1\r\nContent-Length: 0\r\n\r\n");
	r = client_get(c, "/", "");
	cr_assert(affinity(r, "where"));
	cr_expect(affinity(r, "sid_HMAC"), "not signed");
	snprintf(set, sizeof(set), "%s", affinity(r, "where"));
	on_a = backend_count(a);
	client_close(c);
	gw_stop(gw);
	spec.upstreams = two(b->port, a->port); /* in another order, too */
	gw = gw_start(b, &spec);
	snprintf(line, sizeof(line), "Cookie: sid=s1; sid_HMAC=%s; %.*s\r\n",
		 token_for("s1", "127.0.0.1"), (int)strcspn(set, ";"), set);
	for (int i = 0; i < 4; i++)
		cr_expect_eq(client_once(gw, NULL, line), 200);
	cr_expect_eq(backend_count(on_a ? a : b), 5);
	cr_expect_eq(backend_count(on_a ? b : a), 0);
	cr_expect(strstr(backend_last(on_a ? a : b)->head, "sid=s1"));
	cr_expect_eq(gw_passed(gw), 4);
	gw_stop(gw);
	backend_stop(a);
	backend_stop(b);
}

/* ---- health ---- */

static double is_up(struct gw *gw, int port)
{
	char label[64];

	snprintf(label, sizeof(label), "upstream=\"127.0.0.1:%d\"", port);
	return gw_metric(gw, "hardtack_upstream_up", "site=\"*\"", label, NULL);
}

Test(health, one_that_refuses_is_left_alone_and_tried_by_one)
{
	e2e_need_gate();
	int port = port_free();
	struct backend *a = quiet(backend_start(NULL)), *b;
	struct gw *gw = gw_start(a, &(struct gw_spec){.upstreams = two(a->port, port)});
	double failures;

	for (int i = 0; i < 20; i++)
		cr_expect_eq(client_once(gw, NULL, ""), 200);
	failures = gw_metric(gw, "hardtack_backend_failures_total", NULL);
	cr_expect(failures >= 1 && failures <= 3, "%f tries", failures);
	cr_expect_eq(is_up(gw, a->port), 1);
	cr_expect_eq(is_up(gw, port), 0);
	cr_expect(gw_logged(gw, "backend failed"));
	b = quiet(backend_start_on(port, NULL));
	cr_expect(e2e_wait(client_once(gw, NULL, "") == 200 && backend_count(b) > 0),
		  "it is never tried again");
	cr_expect(e2e_wait(is_up(gw, port) == 1));
	cr_expect(gw_logged(gw, "backend is well again"));
	gw_stop(gw);
	backend_stop(a);
	backend_stop(b);
}

/* Flag 0: the status that its health check gets instead of 200. */
static void answer_checked(struct bconn *c, struct breq *r)
{
	int status;

	if (strncmp(r->head, "GET /healthz ", 13)) {
		backend_answer(c, r);
		return;
	}
	pthread_mutex_lock(&c->be->lock);
	status = c->be->flags[0];
	pthread_mutex_unlock(&c->be->lock);
	c->body_read = true;
	bconn_sendf(c, "HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		    status ? status : 200);
	bconn_close(c, false);
}

#define CHECKS "    health-check: { path: /healthz, every: 100ms, timeout: 2s, rise: 2, fall: 2 }\n"

static int count_requests(struct backend *be, const char *start)
{
	int n = 0;

	pthread_mutex_lock(&be->lock);
	for (int i = 0; i < be->nreqs; i++)
		n += !strncmp(be->reqs[i]->head, start, strlen(start));
	pthread_mutex_unlock(&be->lock);
	return n;
}

static void checked(struct backend *a, struct backend *b, struct gw *gw)
{
	struct text status = {0};
	int before;

	cr_assert(e2e_wait(count_requests(b, "GET /healthz ") > 2));
	cr_expect_eq(head_count(backend_req(b, 0)->head, "Cookie"), 0);
	backend_set(b, 0, 500);
	cr_assert(e2e_wait(gw_logged(gw, "backend is down")));
	before = count_requests(b, "GET / ");
	for (int i = 0; i < 6; i++)
		cr_expect_eq(client_once(gw, NULL, ""), 200);
	cr_expect_eq(count_requests(b, "GET / "), before, "a request for what is down");
	cr_expect_eq(gw_ctl(gw, &status, "status", "--json"), 0);
	cr_expect(strstr(status.p, "down_by_check"), "%s", status.p);
	cr_expect_eq(gw_metric(gw, "hardtack_upstream_up", NULL), 1);
	/* all of them */
	backend_set(a, 0, 503);
	cr_assert(e2e_wait(gw_metric(gw, "hardtack_upstream_up", NULL) == 0));
	cr_expect_eq(client_once(gw, NULL, ""), 503);
	/* and back */
	backend_set(a, 0, 200);
	backend_set(b, 0, 200);
	cr_assert(e2e_wait(gw_metric(gw, "hardtack_upstream_up", NULL) == 2));
	for (int i = 0; i < 4; i++)
		cr_expect_eq(client_once(gw, NULL, ""), 200);
	cr_expect_gt(count_requests(b, "GET / "), before);
	cr_expect(gw_logged(gw, "backend is up"));
	text_free(&status);
}

Test(health, checks_take_a_backend_out_and_back)
{
	e2e_need_gate();
	struct backend *a = quiet(backend_start(answer_checked)),
		       *b = quiet(backend_start(answer_checked));
	struct gw *gw = gw_with(a, b, CHECKS, 2);

	checked(a, b, gw);
	gw_stop(gw);
	backend_stop(a);
	backend_stop(b);
}

Test(health, checks_over_tls)
{
	struct backend *a = quiet(backend_start_tls("edge", 0, answer_checked)),
		       *b = quiet(backend_start_tls("edge", 0, answer_checked));
	char upstreams[200], extra[400];
	struct gw *gw;

	snprintf(upstreams, sizeof(upstreams), "\"https://127.0.0.1:%d\", \"https://localhost:%d\"",
		 a->port, b->port);
	snprintf(extra, sizeof(extra), CHECKS "    upstream-ca: %s/edge.pem\n", run_dir());
	gw = gw_start(
		a, &(struct gw_spec){.upstreams = upstreams, .site_extra = extra, .gate = "off"});
	checked(a, b, gw);
	gw_stop(gw);
	backend_stop(a);
	backend_stop(b);
}

/* What a backend does with requests beside answering them; by its flag 0. */
enum { ANSWERS, HANGS_UP, HANGS_UP_IN_THE_HEAD, TALKS_NONSENSE, TALKS_TOO_MUCH, SAYS_NOTHING };

static void answer_badly(struct bconn *c, struct breq *r)
{
	char field[2000];
	int how;

	pthread_mutex_lock(&c->be->lock);
	how = c->be->flags[0];
	pthread_mutex_unlock(&c->be->lock);
	if (how == ANSWERS || !strncmp(r->head, "GET /well ", 10)) {
		backend_answer(c, r);
		return;
	}
	c->body_read = true;
	memset(field, 'f', sizeof(field));
	if (how == HANGS_UP_IN_THE_HEAD)
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Le");
	else if (how == TALKS_NONSENSE)
		bconn_sendf(c, "220 mail.test ESMTP\r\n\r\n");
	for (int i = 0; how == TALKS_TOO_MUCH && i < 100; i++)
		bconn_sendf(c, "%sX-%d: %.*s\r\n", i ? "" : "HTTP/1.1 200 OK\r\n", i,
			    (int)sizeof(field), field);
	if (how == SAYS_NOTHING)
		backend_until(c->be, 1, 1);
	bconn_close(c, how == HANGS_UP_IN_THE_HEAD);
}

static const struct {
	const char *name;
	int how, status;
} no_answers[] = {
	{"no byte", HANGS_UP, 502},	   {"a reset within the head", HANGS_UP_IN_THE_HEAD, 502},
	{"nonsense", TALKS_NONSENSE, 502}, {"a head without end", TALKS_TOO_MUCH, 502},
	{"silence", SAYS_NOTHING, 504},
};

static void without_answers(const char *name, int how, int status)
{
	struct backend *good = quiet(backend_start(NULL)),
		       *bad = quiet(backend_start(answer_badly));
	struct gw *gw = gw_start(good,
				 &(struct gw_spec){.upstreams = two(good->port, bad->port),
						   .timeouts = "{ response: 1s, drain: 20s }"});
	int failed = 0, before;

	backend_set(bad, 0, how);
	for (int i = 0; i < 40 && is_up(gw, bad->port) == 1; i++) {
		int got = client_once(gw, NULL, "");

		cr_expect(got == 200 || got == status, "%s: %d", name, got);
		failed += got == status;
	}
	cr_expect_eq(failed, 3, "%s: %d requests until it rests", name, failed);
	cr_expect_eq(is_up(gw, bad->port), 0, "%s", name);
	cr_expect_eq(is_up(gw, good->port), 1, "%s", name);
	cr_expect_eq(gw_metric(gw, "hardtack_backend_unanswered_total", NULL), 3, "%s", name);
	cr_expect(gw_logged(gw, "backend failed"), "%s", name);
	/* tried by one request now and then, and left alone again as long as it is no better */
	before = backend_count(bad);
	cr_expect(e2e_wait(client_once(gw, NULL, "") && backend_count(bad) > before), "%s", name);
	cr_expect_eq(is_up(gw, bad->port), 0, "%s: it took a connection, no more", name);
	backend_set(bad, 0, ANSWERS);
	backend_set(bad, 1, 1);
	cr_expect(e2e_wait(client_once(gw, NULL, "") && gw_logged(gw, "backend is well again")),
		  "%s", name);
	cr_expect_eq(is_up(gw, bad->port), 1, "%s", name);
	gw_stop(gw);
	backend_stop(good);
	backend_stop(bad);
}

Test(health, one_that_gives_no_answers_is_left_alone)
{
	e2e_need_gate();
	for (size_t i = 0; i < E2E_ARRAY_SIZE(no_answers); i++)
		without_answers(no_answers[i].name, no_answers[i].how, no_answers[i].status);
}

/* One page that kills its process is the application's fault; others are answered between. */
Test(health, one_bad_page_takes_no_backend_out)
{
	e2e_need_gate();
	struct backend *be = quiet(backend_start(answer_badly));
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);

	backend_set(be, 0, HANGS_UP);
	for (int i = 0; i < 8; i++) {
		cr_expect_eq(client_once(gw, NULL, ""), 502);
		if (i % 2)
			cr_expect_eq(client_get(c, "/well", "")->status, 200);
		cr_expect_eq(is_up(gw, be->port), 1);
	}
	cr_expect_eq(gw_metric(gw, "hardtack_backend_unanswered_total", NULL), 8);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* Nor do clients who don't wait for the answer. */
Test(health, clients_who_leave_take_no_backend_out)
{
	e2e_need_gate();
	const struct linger reset = {.l_onoff = 1};
	struct backend *be = quiet(backend_start(answer_held));
	struct gw *gw = gw_start(be, NULL);

	for (int i = 0; i < 6; i++) {
		struct client *c = client_plain(gw);

		client_sendf(c, "%s /held HTTP/1.1\r\nHost: gw.test\r\n%s\r\n%s",
			     i % 2 ? "POST" : "GET", i % 2 ? "Content-Length: 10\r\n" : "",
			     i % 2 ? "half" : "");
		cr_assert(backend_wait_heads(be, i + 1));
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		client_close(c);
	}
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_upstream_active", NULL) == 0));
	backend_set(be, 0, 1);
	cr_expect_eq(is_up(gw, be->port), 1);
	cr_expect_eq(gw_metric(gw, "hardtack_backend_unanswered_total", NULL), 0);
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- names ---- */

/* A hosts file of our own, for us and the daemon alone. False where that can't be had. */
static bool hosts_private(void)
{
	char path[200];
	FILE *f;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return false;
	snprintf(path, sizeof(path), "%s/hosts.%d", run_dir(), getpid());
	f = fopen(path, "we");
	if (!f)
		return false;
	fclose(f);
	return !mount(path, "/etc/hosts", NULL, MS_BIND, NULL);
}

static void hosts_write(const char *text)
{
	FILE *f = fopen("/etc/hosts", "we");

	cr_assert(f, "%s", strerror(errno));
	fputs(text, f);
	fclose(f);
}

Test(names, all_addresses_are_used_and_followed)
{
	e2e_need_gate();
	struct backend *a, *b;
	struct gw *gw;
	char upstream[64];
	int before;

	if (!hosts_private())
		e2e_skip("no mount namespace of our own here");
	a = quiet(backend_start(NULL));
	b = quiet(backend_start_at("127.0.0.2", a->port, NULL));
	hosts_write("127.0.0.1 app.test\n127.0.0.2 app.test\n");
	snprintf(upstream, sizeof(upstream), "app.test:%d", a->port);
	gw = gw_start(a, &(struct gw_spec){.upstreams = upstream,
					   .site_extra = "    resolve-every: 100ms\n",
					   .workers = 2});
	cr_assert(e2e_wait(gw_metric(gw, "hardtack_upstream_up", NULL) == 2));
	for (int i = 0; i < 8; i++)
		cr_expect_eq(client_once(gw, NULL, ""), 200);
	cr_expect_gt(backend_count(a), 1);
	cr_expect_gt(backend_count(b), 1);
	/* one goes */
	hosts_write("127.0.0.2 app.test\n");
	cr_assert(e2e_wait(gw_logged(gw, "backend address gone")));
	before = backend_count(a);
	for (int i = 0; i < 6; i++)
		cr_expect_eq(client_once(gw, NULL, ""), 200);
	cr_expect_eq(backend_count(a), before);
	/* the name is gone: what was known stays */
	hosts_write("");
	cr_assert(e2e_wait(gw_metric(gw, "hardtack_upstream_lookups_failed_total", NULL) > 0));
	cr_expect(gw_logged(gw, "does not resolve"));
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	/* and back to the first */
	hosts_write("127.0.0.1 app.test\n");
	cr_assert(e2e_wait(gw_logged(gw, "backend address found") &&
			   client_once(gw, NULL, "") == 200 && backend_count(a) > before));
	gw_stop(gw);
	backend_stop(a);
	backend_stop(b);
}

/* ---- what is tried again ---- */

static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "PATCH"};

Test(retry, no_connection_means_the_next_upstream_for_every_method)
{
	e2e_need_gate();
	for (size_t i = 0; i < E2E_ARRAY_SIZE(methods); i++) {
		struct backend *be = backend_start(NULL);
		struct gw *gw =
			gw_start(be, &(struct gw_spec){.upstreams = two(port_free(), be->port)});
		struct client *c = client_plain(gw);

		client_sendf(c, "%s / HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 4\r\n\r\nbody",
			     methods[i]);
		cr_expect_eq(client_read(c)->status, 200, "%s", methods[i]);
		cr_expect_eq(backend_count(be), 1);
		cr_expect_eq(backend_last(be)->body_len, 4);
		client_close(c);
		gw_stop(gw);
		backend_stop(be);
	}
}

/* Answers its first request of a connection; the second one, it swallows with so much body. */
static void answer_once(struct bconn *c, struct breq *r)
{
	char buf[64];

	if (!strncmp(r->head, "GET / ", 6)) {
		backend_answer(c, r);
		return;
	}
	if (strstr(r->head, "Content-Length: 4") || strstr(r->head, "chunked"))
		bconn_recv(c, buf, sizeof(buf));
	c->body_read = true;
	bconn_close(c, false);
}

static const struct {
	const char *name, *request;
	int seen; /* by the backends together, beside the one that made the pool */
} deaths[] = {
	{"GET", "GET /die HTTP/1.1\r\nHost: a\r\n\r\n", 2},
	{"DELETE", "DELETE /die HTTP/1.1\r\nHost: a\r\n\r\n", 2},
	{"POST", "POST /die HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 1},
	{"PUT with a body", "PUT /die HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", 1},
	{"PUT in chunks",
	 "PUT /die HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
	 1},
};

Test(retry, a_pooled_connection_that_dies_unanswered)
{
	e2e_need_gate();
	for (size_t i = 0; i < E2E_ARRAY_SIZE(deaths); i++) {
		struct backend *be = backend_start(answer_once);
		struct gw *gw = gw_start(be, NULL);
		struct client *c = client_plain(gw);

		cr_expect_eq(client_get(c, "/", "")->status, 200);
		client_sendf(c, "%s", deaths[i].request);
		cr_expect_eq(client_read(c)->status, 502, "%s", deaths[i].name);
		cr_expect_eq(backend_count(be), 1 + deaths[i].seen, "%s", deaths[i].name);
		client_close(c);
		gw_stop(gw);
		backend_stop(be);
	}
}

/* A new connection that dies with the request on it is no reason to do it again elsewhere. */
Test(retry, a_new_connection_that_dies_is_not_tried_again)
{
	e2e_need_gate();
	struct backend *a = backend_start(answer_once), *b = backend_start(answer_once);
	struct gw *gw = gw_with(a, b, "", 1);
	struct client *c = client_plain(gw);

	cr_expect_eq(client_get(c, "/die", "")->status, 502);
	cr_expect_eq(backend_count(a) + backend_count(b), 1);
	client_close(c);
	gw_stop(gw);
	backend_stop(a);
	backend_stop(b);
}
