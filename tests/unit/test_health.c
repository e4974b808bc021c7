/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of backends: rests that grow, one probe at a time, what a reload takes over, names
 * that are looked up again, and checks of real listeners. No request is made here.
 */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <time.h>

#include "health.h"
#include "log.h"

#define FILE_NAME "/etc/hardtack/hardtack.yaml"

static struct ht_config *parse(const char *site)
{
	struct ht_config *c = NULL;
	struct ht_diag diag = {0};
	char text[2048];

	ht_log_level(LOG_EMERG);
	snprintf(text, sizeof(text),
		 "listeners: [{ address: 127.0.0.1:8080 }]\nsites: [{ hosts: [a.test], %s }]\n",
		 site);
	cr_assert_eq(ht_config_parse(FILE_NAME, text, strlen(text), &c, &diag), 0, "%s", diag.text);
	return c;
}

static struct ht_health *open_health(const struct ht_config *c, struct ht_health *old)
{
	struct ht_health *h = NULL;
	struct ht_diag diag = {0};

	cr_assert_eq(ht_health_open(c, NULL, old, &h, &diag), 0, "%s", diag.text);
	return h;
}

Test(health, rests_grow_up_to_a_cap)
{
	struct ht_peer p = {.gen = 1};
	uint64_t now = 1000, rest = HT_REST_MIN_MS;
	bool probe;

	for (int i = 0; i < 12; i++) {
		cr_assert(ht_peer_ready(&p, now));
		cr_assert(ht_peer_claim(&p, now, &probe));
		cr_assert_eq(probe, i > 0);
		ht_peer_failed(&p, now, probe, "x", "y");
		cr_assert_not(ht_peer_ready(&p, now + rest - 1), "%d", i);
		now += rest;
		cr_assert(ht_peer_ready(&p, now), "%d", i);
		rest = HT_MIN(2 * rest, (uint64_t)HT_REST_MAX_MS);
	}
	cr_expect_eq(rest, HT_REST_MAX_MS);
	cr_expect_eq(p.failures, 12);
	ht_peer_connected(&p, "x");
	cr_expect_eq(p.failures, 0);
	cr_expect_eq(p.rests_until_ms, 0);
}

Test(health, failures_at_once_are_one)
{
	struct ht_peer p = {.gen = 1};

	for (int i = 0; i < 10; i++)
		ht_peer_failed(&p, 1000, false, "x", "y");
	cr_expect_eq(p.failures, 1);
	cr_expect_eq(p.rests_until_ms, 1000 + HT_REST_MIN_MS);
}

Test(health, one_probe_at_a_time)
{
	struct ht_peer p = {.gen = 1, .failures = 1, .rests_until_ms = 1000};
	bool probe;

	cr_assert(ht_peer_claim(&p, 2000, &probe));
	cr_expect(probe);
	cr_expect_not(ht_peer_claim(&p, 2000, &probe));
	cr_expect_not(ht_peer_ready(&p, 2000 + HT_PROBE_MS - 1));
	/* nobody came back to say: another one */
	cr_expect(ht_peer_claim(&p, 2000 + HT_PROBE_MS, &probe));
	ht_peer_connected(&p, "x");
	cr_expect(ht_peer_claim(&p, 8000, &probe));
	cr_expect_not(probe);
}

Test(health, some_requests_in_a_row_without_an_answer_are_a_failure)
{
	struct ht_peer p = {.gen = 1};
	bool probe;

	for (int i = 0; i < 5; i++) { /* never in a row */
		for (int j = 1; j < HT_UNANSWERED_MAX; j++)
			ht_peer_unanswered(&p, 1000, 0, false, "x", "y");
		ht_peer_answered(&p, 1000, "x");
	}
	cr_expect(ht_peer_ready(&p, 1000));
	for (int j = 0; j < HT_UNANSWERED_MAX; j++) {
		cr_expect(ht_peer_ready(&p, 1000));
		ht_peer_unanswered(&p, 1000, 0, false, "x", "y");
	}
	cr_expect_not(ht_peer_ready(&p, 1000));
	/* that it takes connections is not what was in doubt */
	cr_expect(ht_peer_claim(&p, 2000, &probe));
	cr_expect(probe);
	ht_peer_connected(&p, "x");
	cr_expect_not(ht_peer_ready(&p, 2000));
	ht_peer_unanswered(&p, 2000, 0, true, "x", "y");
	cr_expect_eq(p.rests_until_ms, 2000 + 2 * HT_REST_MIN_MS);
	cr_expect(ht_peer_claim(&p, 4000, &probe));
	ht_peer_answered(&p, 4000, "x");
	cr_expect(ht_peer_ready(&p, 4000));
	cr_expect_eq(p.failures, 0);
	cr_expect_eq(p.unanswered, 0);
}

/* An answer to a request from before says nothing about why it takes no connections now. */
Test(health, an_answer_does_not_end_a_rest_from_connecting)
{
	struct ht_peer p = {.gen = 1};

	ht_peer_unanswered(&p, 1000, 0, false, "x", "y");
	ht_peer_failed(&p, 1000, false, "x", "y");
	ht_peer_answered(&p, 1100, "x");
	cr_expect_not(ht_peer_ready(&p, 1100));
}

Test(health, one_slow_page_is_no_slow_backend)
{
	struct ht_peer p = {.gen = 1};

	ht_peer_answered(&p, 50000, "x"); /* others, while they waited */
	for (int i = 0; i < 10; i++)
		ht_peer_unanswered(&p, 61000, 1000, false, "x", "y");
	cr_expect(ht_peer_ready(&p, 61000));
	for (int i = 0; i < HT_UNANSWERED_MAX; i++)
		ht_peer_unanswered(&p, 120000, 60000, false, "x", "y");
	cr_expect_not(ht_peer_ready(&p, 120000));
}

Test(health, down_or_gone_is_not_ready)
{
	struct ht_peer p = {.gen = 1};

	p.down = true;
	cr_expect_not(ht_peer_ready(&p, 1));
	p.down = false;
	cr_expect(ht_peer_ready(&p, 1));
	p.gen = 0;
	cr_expect_not(ht_peer_ready(&p, 1));
}

Test(health, a_reload_takes_over_what_is_known)
{
	struct ht_config *a = parse("upstreams: [127.0.0.1:1, 127.0.0.1:2]");
	struct ht_config *b = parse("upstreams: [127.0.0.1:3, 127.0.0.1:2]");
	struct ht_health *old = open_health(a, NULL), *new;

	ht_peer_failed(&ht_health_site(old, 0)->peer[0], 1000, false, "x", "y");
	ht_peer_failed(&ht_health_site(old, 0)->peer[1], 2000, false, "x", "y");
	ht_peer_unanswered(&ht_health_site(old, 0)->peer[1], 2000, 0, false, "x", "y");
	new = open_health(b, old);
	cr_expect_eq(ht_health_site(new, 0)->peer[0].failures, 0);
	cr_expect_eq(ht_health_site(new, 0)->peer[1].failures, 1);
	cr_expect_eq(ht_health_site(new, 0)->peer[1].unanswered, 1);
	cr_expect_eq(ht_health_site(new, 0)->peer[1].rests_until_ms, 2000 + HT_REST_MIN_MS);
	ht_health_close(old);
	ht_health_close(new);
	ht_config_free(a);
	ht_config_free(b);
}

static struct ht_stats_upstream *list_of(struct ht_health *h, size_t *n)
{
	struct ht_stats_upstream *u;

	cr_assert_eq(ht_health_list(h, &u, n), 0);
	return u;
}

static bool wait_for(bool (*holds)(struct ht_health *h), struct ht_health *h)
{
	const struct timespec step = {.tv_nsec = 5000000};

	for (int i = 0; i < 2000; i++) {
		if (holds(h))
			return true;
		nanosleep(&step, NULL);
	}
	return false;
}

static bool changed(struct ht_health *h)
{
	return ht_health_site(h, 0)->version > 1;
}

/* What stands in the configuration is not what the name has now. */
Test(health, names_are_looked_up_again)
{
	struct ht_config *c = parse("upstreams: [localhost:9000, 192.0.2.2:9000]");
	struct ht_upstream_config *u = &c->sites[0].upstreams[0];
	struct ht_stats_upstream *list;
	struct ht_health *h;
	bool found = false;
	size_t n;

	u->addr.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(9000)};
	inet_pton(AF_INET, "192.0.2.1", &u->addr.in.sin_addr);
	u->addr.len = sizeof(u->addr.in);
	h = open_health(c, NULL);
	list = list_of(h, &n);
	cr_assert_eq(n, 2);
	cr_expect_str_eq(list[0].upstream, "localhost:9000/192.0.2.1");
	cr_expect_str_eq(list[1].upstream, "192.0.2.2:9000");
	cr_expect_str_eq(list[1].site, "a.test");
	free(list);
	cr_assert_eq(ht_health_start(h), 0);
	cr_assert(wait_for(changed, h));
	list = list_of(h, &n);
	for (size_t i = 0; i < n; i++) {
		cr_expect_str_neq(list[i].upstream, "localhost:9000/192.0.2.1");
		found |= !strncmp(list[i].upstream, "localhost:9000/", 15);
	}
	cr_expect(found);
	free(list);
	ht_health_close(h);
	ht_config_free(c);
}

static bool lookup_failed(struct ht_health *h)
{
	return ht_health_lookups_failed(h) > 0;
}

Test(health, a_failed_lookup_keeps_the_addresses)
{
	struct ht_config *c = parse("upstreams: [no-such-host.invalid:9000]");
	struct ht_upstream_config *u = &c->sites[0].upstreams[0];
	struct ht_stats_upstream *list;
	struct ht_health *h;
	size_t n;

	u->addr.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(9000)};
	inet_pton(AF_INET, "192.0.2.1", &u->addr.in.sin_addr);
	u->addr.len = sizeof(u->addr.in);
	h = open_health(c, NULL);
	cr_assert_eq(ht_health_start(h), 0);
	cr_assert(wait_for(lookup_failed, h));
	list = list_of(h, &n);
	cr_assert_eq(n, 1);
	cr_expect_str_eq(list[0].upstream, "no-such-host.invalid:9000/192.0.2.1");
	free(list);
	ht_health_close(h);
	ht_config_free(c);
}

/* A listener that answers each connection with what `answer` says at the time. */
static const char *_Atomic answer;
static int listener;

static void *listener_main(void *arg)
{
	char buf[2048];
	int fd;

	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		const char *text = answer;

		if (recv(fd, buf, sizeof(buf), 0) > 0)
			send(fd, text, strlen(text), MSG_NOSIGNAL);
		shutdown(fd, SHUT_WR);
		while (recv(fd, buf, sizeof(buf), 0) > 0)
			;
		close(fd);
	}
	return arg;
}

static int listener_open(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);
	pthread_t thread;

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(listener, (struct sockaddr *)&a, len), 0);
	cr_assert_eq(listen(listener, 16), 0);
	getsockname(listener, (struct sockaddr *)&a, &len);
	cr_assert_eq(pthread_create(&thread, NULL, listener_main, NULL), 0);
	pthread_detach(thread);
	return ntohs(a.sin_port);
}

static bool is_down(struct ht_health *h)
{
	return ht_health_site(h, 0)->peer[0].down;
}

static bool is_up(struct ht_health *h)
{
	return !is_down(h);
}

static const struct {
	const char *name, *answer;
} bad_answers[] = {
	{"another status", "HTTP/1.1 500 No\r\n\r\n"},
	{"another version", "HTTP/2.0 200 OK\r\n\r\n"},
	{"no HTTP", "SSH-2.0-OpenSSH 200\r\n"},
	{"too short", "HTTP/1.1 20"},
	{"nothing", ""},
};

Test(health, checks_see_down_and_up)
{
	struct ht_config *c;
	struct ht_health *h;
	char site[256];

	answer = "HTTP/1.1 200 OK\r\n\r\n";
	snprintf(site, sizeof(site),
		 "upstreams: [127.0.0.1:%d], health-check: { path: /up, every: 100ms, timeout: 1s, "
		 "rise: 2, fall: 2 }",
		 listener_open());
	c = parse(site);
	h = open_health(c, NULL);
	cr_assert_eq(ht_health_start(h), 0);
	for (size_t i = 0; i < HT_ARRAY_SIZE(bad_answers); i++) {
		answer = bad_answers[i].answer;
		cr_assert(wait_for(is_down, h), "%s", bad_answers[i].name);
		answer = "HTTP/1.0 200\r\n\r\n";
		cr_assert(wait_for(is_up, h), "after %s", bad_answers[i].name);
	}
	ht_health_stop(h);
	ht_health_close(h);
	ht_config_free(c);
}
