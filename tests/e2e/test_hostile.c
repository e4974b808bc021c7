/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that mean harm or are merely dying: slow ones, silent ones, ten thousand idle ones, more
 * than there are file descriptors, a backend that dies at every byte of its answer. Requests of
 * everybody else keep working and nothing spins.
 */
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

TestSuite(hostile, .timeout = E2E_TIMEOUT);

static double clients_of(struct gw *gw)
{
	return gw_metric(gw, "hardtack_connections", "side=\"client\"", NULL);
}

/* ---- slow ones ---- */

#define SLOW 100

/* The first bytes of a request, a different cut for each. */
static const char slow_request[] = "POST /slow HTTP/1.1\r\nHost: gw.test\r\nCookie: sid=EVIL\r\n"
				   "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

Test(hostile, slow_writers_hold_nobody_up)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.timeouts = "{ head: 600s, idle: 600s, drain: 20s }"});
	static struct client *slow[SLOW];
	struct client *c = client_plain(gw);

	be->no_record = true; /* in which order they come depends on time */
	for (size_t i = 0; i < SLOW; i++) {
		slow[i] = i % 2 ? client_tls(gw) : client_plain(gw);
		client_send(slow[i], slow_request, 1 + i % (sizeof(slow_request) - 2));
	}
	for (int i = 0; i < 50; i++)
		cr_assert_eq(client_get(c, "/fast", "")->status, 200);
	for (size_t i = 0; i < SLOW; i++) {
		size_t at = 1 + i % (sizeof(slow_request) - 2);

		for (; at < sizeof(slow_request) - 1; at++)
			client_send(slow[i], slow_request + at, 1);
		cr_expect_eq(client_read(slow[i])->status, 200, "%zu", i);
		cr_expect_str_eq(slow[i]->r.body, "/slow");
		client_close(slow[i]);
	}
	for (int i = 0; i < backend_count(be); i++)
		cr_expect_not(text_has(be->reqs[i]->head, be->reqs[i]->head_len, "EVIL"));
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

#define READERS 20
#define LOAD (4ULL << 20)

static void handle_load(struct bconn *c, struct breq *r)
{
	char target[64];

	breq_target(r, target, sizeof(target));
	if (strcmp(target, "/load")) {
		backend_answer(c, r);
		return;
	}
	bconn_body(c, r);
	bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", LOAD);
	bconn_send_pattern(c, LOAD, false);
}

/* Answers that nobody reads stay where they are: at the backend. */
Test(hostile, slow_readers_cost_no_memory)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_load);
	struct gw *gw = gw_start(be, NULL);
	static struct client *slow[READERS];
	uint64_t want = pattern_hash_of(LOAD);
	struct client *c = client_plain(gw);
	long before, grown;

	be->no_record = true;
	cr_assert_eq(client_get(c, "/warm", "")->status, 200);
	before = gw_status_kb(gw, "VmRSS:");
	for (int i = 0; i < READERS; i++) {
		slow[i] = client_open(&(struct client_options){.port = i % 2 ? gw->tls : gw->plain,
							       .tls = i % 2,
							       .sni = "gw.test",
							       .rcvbuf = 32768});
		client_sendf(slow[i], "GET /load HTTP/1.1\r\nHost: gw.test\r\n\r\n");
	}
	cr_assert(backend_wait(be, READERS + 1));
	for (int i = 0; i < 50; i++)
		cr_assert_eq(client_get(c, "/fast", "")->status, 200);
	grown = gw_status_kb(gw, "VmRSS:") - before;
	printf("memory: %ld KB for %d readers that don't read\n", grown, READERS);
	if (!run_sanitized())
		cr_expect_lt(grown, READERS * 400, "%ld KB", grown);
	for (int i = 0; i < READERS; i++) {
		struct response *r = client_read(slow[i]);

		cr_expect(r->status == 200 && !r->truncated && r->body_hash == want, "%d", i);
		client_close(slow[i]);
	}
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- half-open ones ---- */

/* Takes the connection away without a word to the other side. False: this machine can't. */
static bool vanish(struct client *c)
{
	int on = 1;

	if (setsockopt(c->fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)))
		return false;
	close(c->fd);
	c->fd = -1;
	return true;
}

Test(hostile, half_open_connections_are_reaped)
{
	static const char *const starts[] = {
		"",
		"G",
		"GET / HTTP/1.1\r\nHost: gw.test\r\n",
		"GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 10\r\n\r\nhalf",
		"POST / HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be, &(struct gw_spec){
			    .timeouts = "{ head: 500ms, body: 500ms, idle: 500ms, drain: 20s }"});

	be->no_record = true;
	for (int tls = 0; tls < 2; tls++) {
		for (size_t i = 0; i < E2E_ARRAY_SIZE(starts) * 4; i++) {
			struct client *c = tls ? client_tls(gw) : client_plain(gw);

			client_send(c, starts[i / 4], strlen(starts[i / 4]));
			/* Vanished, only half closed, reset, or still there and silent. */
			if (i % 4 == 0 && !vanish(c))
				e2e_skip("TCP_REPAIR is not allowed here");
			if (i % 4 == 1)
				shutdown(c->fd, SHUT_WR);
			if (i % 4 == 2) {
				setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
					   sizeof(struct linger));
				close(c->fd);
				c->fd = -1;
			}
		}
	}
	cr_expect(e2e_wait(clients_of(gw) == 0), "%g clients are left", clients_of(gw));
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	gw_stop(gw);
	backend_stop(be);
}

/* Whoever has nothing more to say may still listen. */
Test(hostile, half_closed_clients_get_their_answer)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	for (int i = 0; i < 2; i++) {
		struct client *c = client_plain(gw);

		client_sendf(c, i ? "POST /a HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 5\r\n\r\n"
				    "helloGET /b HTTP/1.1\r\nHost: gw.test\r\n\r\n"
				  : "GET /a HTTP/1.1\r\nHost: gw.test\r\n\r\n"
				    "GET /b HTTP/1.1\r\nHost: gw.test\r\n\r\n");
		shutdown(c->fd, SHUT_WR);
		cr_expect_str_eq(client_read(c)->body ? c->r.body : "nothing", "/a");
		cr_expect_str_eq(client_read(c)->body ? c->r.body : "nothing", "/b");
		cr_expect(client_at_eof(c));
		client_close(c);
	}
	gw_stop(gw);
	backend_stop(be);
}

/* ---- very many ---- */

#define IDLE 10000

static int idle_count(void)
{
	struct rlimit l;

	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	if (run_small() || run_sanitized())
		return 1000;
	return l.rlim_cur > IDLE + 500 ? IDLE : (int)l.rlim_cur - 500;
}

/* One in ten with TLS; several source addresses, so that ports do not run out. */
static struct client *idle_open(struct gw *gw, int i)
{
	char from[32];

	snprintf(from, sizeof(from), "127.0.1.%d", 1 + i % 50);
	return client_open(&(struct client_options){.from = from,
						    .port = i % 10 ? gw->plain : gw->tls,
						    .tls = i % 10 == 0,
						    .sni = "gw.test"});
}

Test(hostile, ten_thousand_idle_connections)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct client **c = calloc(IDLE, sizeof(*c));
	int n = idle_count();
	struct gw *gw = gw_start(be, &(struct gw_spec){.timeouts = "{ handshake: 600s, head: 600s, "
								   "idle: 600s, drain: 20s }"});
	long before = gw_status_kb(gw, "VmRSS:"), grown;

	be->no_record = true;
	for (int i = 0; i < n; i++) {
		c[i] = idle_open(gw, i);
		/* Some are between two requests, the others have never said anything. */
		if (i % 4 == 0)
			cr_assert_eq(client_get(c[i], "/first", "")->status, 200, "%d", i);
	}
	cr_expect(e2e_wait(clients_of(gw) == n), "%g of %d", clients_of(gw), n);
	grown = gw_status_kb(gw, "VmRSS:") - before;
	printf("memory: %ld KB for %d idle connections, %d of them TLS: %.1f KB each\n", grown, n,
	       n / 10, (double)grown / n);
	if (!run_sanitized())
		cr_expect_lt(grown, 10L * n, "%ld KB", grown);
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	for (int i = 0; i < n; i += 97)
		cr_expect_eq(client_get(c[i], "/again", "")->status, 200, "%d", i);
	for (int i = 0; i < n; i++)
		client_close(c[i]);
	cr_expect(e2e_wait(clients_of(gw) == 0), "%g are left", clients_of(gw));
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- out of descriptors ---- */

/* Only what is opened from now on counts. The hard limit stays, so it can be raised again. */
static void files_limit(struct gw *gw, bool none)
{
	struct rlimit l;

	cr_assert_eq(prlimit(gw->pid, RLIMIT_NOFILE, NULL, &l), 0);
	l.rlim_cur = none ? 0 : l.rlim_max;
	cr_assert_eq(prlimit(gw->pid, RLIMIT_NOFILE, &l, NULL), 0);
}

/* CPU time of the daemon so far. */
static long cpu_ms(struct gw *gw)
{
	unsigned long user = 0, system = 0;
	char path[64], *text;

	snprintf(path, sizeof(path), "/proc/%d/stat", gw->pid);
	text = text_file(path, NULL);
	cr_assert(text);
	cr_assert_eq(sscanf(strrchr(text, ')') + 2,
			    "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system),
		     2);
	free(text);
	return (long)(user + system) * 1000 / sysconf(_SC_CLK_TCK);
}

static int logged_times(struct gw *gw, const char *word)
{
	char *log = text_file(gw->stderr_path, NULL), *at = log;
	int n = 0;

	while (at && (at = strstr(at, word))) {
		at++;
		n++;
	}
	free(log);
	return n;
}

#define WAITING 50

Test(hostile, out_of_descriptors)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_load);
	struct gw *gw = gw_start(be, &gw_own);
	struct client *known = client_plain(gw), *known_tls = client_tls(gw), *w[WAITING];
	struct client *busy =
		client_open(&(struct client_options){.port = gw->plain, .rcvbuf = 4096});
	int64_t end;
	long before;

	be->no_record = true;
	cr_assert_eq(client_get(known_tls, "/", "")->status, 200);
	cr_assert_eq(client_get(known, "/", "")->status, 200);
	before = cpu_ms(gw);
	files_limit(gw, true);
	for (int i = 0; i < WAITING; i++) {
		w[i] = client_open(&(struct client_options){.port = gw->plain});
		client_sendf(w[i], "GET /waited HTTP/1.1\r\nHost: gw.test\r\n\r\n");
	}
	end = run_now_ms() + 2000;
	while (run_now_ms() < end) {
		cr_assert_eq(client_get(known, "/known", "")->status, 200);
		cr_assert_eq(client_get(known_tls, "/known", "")->status, 200);
		run_pause_ms(50);
	}
	/* The only pooled connection is taken: a second one can't be had, and that is said. */
	client_sendf(busy, "GET /load HTTP/1.1\r\nHost: gw.test\r\n\r\n");
	cr_assert(e2e_wait(backend_count(be) && strstr(backend_last(be)->head, "/load")));
	client_get(known, "/one-too-many", "");
	cr_expect(known->r.status == 503 || known->r.status == 502, "%d", known->r.status);
	printf("out of descriptors: %ld ms of CPU in 2 s, %d lines in the log\n",
	       cpu_ms(gw) - before, logged_times(gw, "can't accept"));
	cr_expect_lt(cpu_ms(gw) - before, 1000, "it spins: %ld ms", cpu_ms(gw) - before);
	cr_expect(logged_times(gw, "can't accept") >= 1);
	cr_expect_leq(logged_times(gw, "can't accept"), 12);

	files_limit(gw, false);
	for (int i = 0; i < WAITING; i++) {
		cr_expect_eq(client_read(w[i])->status, 200, "%d: %d", i, w[i]->r.status);
		client_close(w[i]);
	}
	cr_expect_geq(gw_metric(gw, "hardtack_connections_refused_total", NULL), 1);
	cr_expect_eq(client_read(busy)->body_len, LOAD);
	cr_expect_eq(client_get(known_tls, "/known", "")->status, 200);
	client_close(busy);
	client_close(known);
	client_close(known_tls);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- a backend that dies ---- */

static const char by_length[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
				"Content-Length: 20\r\n\r\n01234567890123456789";
static const char by_chunks[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
				"Set-Cookie: sid=x\r\n\r\n5\r\n01234\r\na;x=y\r\n5678901234\r\n"
				"5\r\n56789\r\n0\r\nT: 1\r\n\r\n";
static const char early_hints[] = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
				  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/* GET /N/RESET: so many bytes of the answer, then the end. */
static void handle_death(struct bconn *c, struct breq *r)
{
	unsigned n = 0;
	int reset = 0;
	char target[64];

	bconn_body(c, r);
	breq_target(r, target, sizeof(target));
	if (sscanf(target, "/%u/%d", &n, &reset) != 2) {
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nalive");
		return;
	}
	bconn_send(c, c->be->arg, n);
	bconn_close(c, reset);
}

/* How often the backend was asked for it. */
static int asked_for(struct backend *be, const char *target)
{
	char line[80];
	int n = 0;

	snprintf(line, sizeof(line), "GET %s ", target);
	for (int i = backend_count(be) - 1; i >= 0; i--)
		n += !strncmp(be->reqs[i]->head, line, strlen(line));
	return n;
}

static void die_once(struct backend *be, struct gw *gw, size_t n, bool reset, bool tls)
{
	struct client *c = tls ? client_tls(gw) : client_plain(gw);
	char target[64];
	struct response *r;
	bool interim;

	snprintf(target, sizeof(target), "/%zu/%d", n, reset);
	r = client_get(c, target, "");
	interim = r->status == 103;
	if (interim)
		r = client_read(c);
	cr_expect(r->status == 502 || (interim && !r->status && c->eof) ||
			  (r->status == 200 && r->truncated && c->eof),
		  "%zu bytes%s%s: %d, %llu bytes look complete", n, reset ? ", reset" : "",
		  tls ? ", TLS" : "", r->status, (unsigned long long)r->body_len);
	if (n)
		cr_expect_eq(asked_for(be, target), 1, "%zu bytes%s: asked %d times", n,
			     reset ? ", reset" : "", asked_for(be, target));
	client_close(c);
	c = client_plain(gw);
	r = client_get(c, "/next", "");
	cr_expect(r->status == 200 && r->body && !strcmp(r->body, "alive"),
		  "%zu bytes: the next one got %d", n, r->status);
	client_close(c);
}

static void die_at_every_byte(const char *reply)
{
	struct backend *be = backend_start(handle_death);
	struct gw *gw = gw_start(be, NULL);
	size_t len = strlen(reply);

	be->arg = (void *)(uintptr_t)reply;
	be->no_record = true; /* what was not answered is tried once more, or not */
	for (size_t n = 0; n < len; n += run_small() ? 5 : 1) {
		die_once(be, gw, n, n % 2, n / 2 % 2);
		die_once(be, gw, n, !(n % 2), n / 2 % 2);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(hostile, death_at_every_byte_by_length)
{
	e2e_need_gate();
	die_at_every_byte(by_length);
}

Test(hostile, death_at_every_byte_by_chunks)
{
	e2e_need_gate();
	die_at_every_byte(by_chunks);
}

Test(hostile, death_at_every_byte_behind_an_interim_answer)
{
	e2e_need_gate();
	die_at_every_byte(early_hints);
}
