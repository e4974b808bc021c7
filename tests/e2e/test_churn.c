/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many connections that come and go, with hits, misses, strips, bodies both ways and both sides
 * breaking off: every request and every byte is accounted for at both ends, and at the end nothing
 * is left over: no socket, slot, map entry or descriptor.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

TestSuite(churn, .timeout = 1800);

#define THREADS 8
#define PER_THREAD 25
#define SQUADS (run_small() ? 2 : THREADS)
#define CONNS (SQUADS * PER_THREAD)
#define ROUNDS_MAX 100
#define REQUESTS (THREADS * PER_THREAD * ROUNDS_MAX)
#define BACKENDS 4
#define PIPES_MAX (2 * 2 * 32 + 2) /* of two workers, and standard output */

/* FULL=1: 200 connections x 100 requests. */
static int rounds(void)
{
	const char *full = getenv("FULL");

	return full && *full ? ROUNDS_MAX : run_small() ? 4 : 8;
}

enum kind {
	HIT,
	MISS,
	FORGED,
	MISSING,
	UP,
	UP_CHUNKED,
	DOWN,
	DOWN_CHUNKED,
	STOP_UP,   /* the client goes in the middle of its body */
	STOP_DOWN, /* the client goes in the middle of the response */
	CUT_DOWN,  /* the backend goes in the middle of the response */
};

static enum kind kind_of(int id)
{
	static const enum kind kinds[20] = {
		HIT,	HIT,	      HIT,	    HIT,     HIT,	 MISS,	     MISS,
		FORGED, MISSING,      UP,	    UP,	     UP_CHUNKED, UP_CHUNKED, DOWN,
		DOWN,	DOWN_CHUNKED, DOWN_CHUNKED, STOP_UP, STOP_DOWN,	 CUT_DOWN,
	};

	return kinds[(id * 7 + id / 20) % 20];
}

static uint64_t size_of(int id)
{
	return id % 50 == 0 ? 300000 : (uint64_t)id * 7919 % 30000 + 1;
}

/* Half of the clients and backends that break off do it with RST. */
static bool resets(int id)
{
	return id / 20 % 2;
}

static bool stripped(int id)
{
	return kind_of(id) == FORGED || kind_of(id) == MISSING;
}

/* The session of a request: one of a few, or one that was never seen before. */
static void value_of(int id, char ret[32])
{
	snprintf(ret, 32, kind_of(id) == MISS ? "new-%d" : "often-%d",
		 kind_of(id) == MISS ? id : id % 97);
}

/* ---- what is counted, by backends and clients ---- */

static struct {
	atomic_uchar seen[REQUESTS];
	atomic_int wrong;
	pthread_mutex_t lock;
	char why[256]; /* the first of them */
} sum = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void __attribute__((format(printf, 2, 3))) wrong(int id, const char *fmt, ...)
{
	size_t len;
	va_list ap;

	if (atomic_fetch_add(&sum.wrong, 1))
		return;
	pthread_mutex_lock(&sum.lock);
	len = (size_t)snprintf(sum.why, sizeof(sum.why), "request %d, kind %d: ", id, kind_of(id));
	va_start(ap, fmt);
	vsnprintf(sum.why + len, sizeof(sum.why) - len, fmt, ap);
	va_end(ap);
	pthread_mutex_unlock(&sum.lock);
}

static bool is_prefix(uint64_t len, uint64_t hash)
{
	return hash == (len ? pattern_hash_of(len) : 0);
}

/* ---- the backends ---- */

static void check_cookies(int id, struct breq *r)
{
	char value[32];
	struct text want = {0}, got = {0};

	value_of(id, value);
	text_addf(&want, stripped(id) ? "n=%d" : "n=%d|sid=%s", id, value);
	head_cookies(r->head, "sid_HMAC", &got);
	if (strcmp(got.p, want.p))
		wrong(id, "cookies are %s", got.p);
	text_free(&want);
	text_free(&got);
}

/* Returns whether to answer. */
static bool check_body(int id, struct bconn *c, struct breq *r)
{
	bool complete = bconn_body(c, r), whole = kind_of(id) == UP || kind_of(id) == UP_CHUNKED;

	if (complete == (kind_of(id) == STOP_UP) || (whole && r->body_len != size_of(id)) ||
	    r->body_len > size_of(id) || !is_prefix(r->body_len, r->body_hash))
		wrong(id, "%llu bytes up, %scomplete", (unsigned long long)r->body_len,
		      complete ? "" : "in");
	free(r->body);
	r->body = NULL;
	return complete;
}

static void handle(struct bconn *c, struct breq *r)
{
	char text[32];
	int id = -1;

	if (sscanf(r->head, "%*s /%d", &id) != 1 || id < 0 || id >= REQUESTS) {
		wrong(0, "a request that nobody sent: %.40s", r->head);
		bconn_close(c, true);
		return;
	}
	atomic_fetch_add(&sum.seen[id], 1);
	check_cookies(id, r);
	if (!check_body(id, c, r))
		return;
	switch (kind_of(id)) {
	case DOWN_CHUNKED:
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
		bconn_send_pattern(c, size_of(id), true);
		break;
	case DOWN:
	case STOP_DOWN:
	case CUT_DOWN:
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n",
			    (unsigned long long)size_of(id) + (kind_of(id) == CUT_DOWN));
		bconn_send_pattern(c, size_of(id), false);
		if (kind_of(id) == CUT_DOWN)
			bconn_close(c, resets(id));
		break;
	default:
		snprintf(text, sizeof(text), "id=%d;", id);
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(text),
			    text);
	}
}

/* ---- the clients ---- */

struct squad {
	pthread_t thread;
	struct gw *gw;
	struct client *c[PER_THREAD];
	int first; /* id of its first connection */
	int reconnects;
};

static void hang_up(struct squad *s, int i, bool reset)
{
	struct linger now = {.l_onoff = 1};

	if (s->c[i] && reset)
		setsockopt(s->c[i]->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	client_close(s->c[i]);
	s->c[i] = NULL;
}

static void send_upload(struct client *c, int id)
{
	char *body = malloc(size_of(id));
	size_t size = size_of(id), half = size / 2;

	pattern_fill(body, size, 0);
	if (kind_of(id) == UP_CHUNKED) {
		client_sendf(c, "Transfer-Encoding: chunked\r\n\r\n");
		for (size_t at = 0, n; at < size; at += n) {
			n = size - at < 7000 ? size - at : 7000;
			client_sendf(c, "%zx\r\n", n);
			client_send(c, body + at, n);
			client_send(c, "\r\n", 2);
		}
		client_sendf(c, "0\r\n\r\n");
	} else {
		client_sendf(c, "Content-Length: %zu\r\n\r\n", size);
		client_send(c, body, kind_of(id) == STOP_UP ? half : size);
	}
	free(body);
}

static void send_one(struct squad *s, int i, int id)
{
	bool up = kind_of(id) == UP || kind_of(id) == UP_CHUNKED || kind_of(id) == STOP_UP;
	char value[32], token[45] = "";
	struct client *c;

	if (!s->c[i]) {
		s->c[i] = client_try(&(struct client_options){
			.port = s->gw->tls, .tls = true, .sni = "gw.test"});
		s->reconnects++;
	}
	c = s->c[i];
	if (!c) {
		wrong(id, "no connection");
		return;
	}
	value_of(id, value);
	if (kind_of(id) == FORGED)
		token_make("something else", 14, "127.0.0.1", token);
	else if (kind_of(id) != MISSING)
		token_make(value, strlen(value), "127.0.0.1", token);
	client_sendf(c, "%s /%d HTTP/1.1\r\nHost: gw.test\r\nCookie: n=%d; sid=%s%s%s\r\n%s",
		     up ? "POST" : "GET", id, id, value, *token ? "; sid_HMAC=" : "", token,
		     up ? "" : "\r\n");
	if (up)
		send_upload(c, id);
	if (kind_of(id) == STOP_UP)
		hang_up(s, i, resets(id));
}

static void check_download(int id, const struct response *r)
{
	bool cut = kind_of(id) == CUT_DOWN;

	/* An RST may overtake what was sent before it. */
	if (cut && resets(id) && r->status == 502)
		return;
	if (r->status != 200 || r->truncated != cut || r->body_len > size_of(id) ||
	    (!(cut && resets(id)) && r->body_len != size_of(id)) ||
	    !is_prefix(r->body_len, r->body_hash))
		wrong(id, "status %d, %llu bytes down%s", r->status,
		      (unsigned long long)r->body_len, r->truncated ? ", cut" : "");
}

static void check_one(struct squad *s, int i, int id)
{
	struct client *c = s->c[i];
	struct response *r;
	char want[32], some[64];

	if (!c)
		return;
	if (kind_of(id) == STOP_DOWN) {
		if (client_recv(c, some, sizeof(some)) <= 0)
			wrong(id, "no response");
		hang_up(s, i, resets(id));
		return;
	}
	r = client_read(c);
	snprintf(want, sizeof(want), "id=%d;", id);
	if (kind_of(id) == DOWN || kind_of(id) == DOWN_CHUNKED || kind_of(id) == CUT_DOWN)
		check_download(id, r);
	else if (r->status != 200 || !r->body || strcmp(r->body, want))
		wrong(id, "status %d, body %.40s", r->status, r->body ? r->body : "none");
	if (kind_of(id) == CUT_DOWN || id % 9 == 4)
		hang_up(s, i, resets(id));
}

static void *squad_main(void *arg)
{
	struct squad *s = arg;

	for (int round = 0; round < rounds() && !atomic_load(&sum.wrong); round++) {
		for (int i = 0; i < PER_THREAD; i++)
			send_one(s, i, round * CONNS + s->first + i);
		for (int i = 0; i < PER_THREAD; i++)
			check_one(s, i, round * CONNS + s->first + i);
	}
	for (int i = 0; i < PER_THREAD; i++)
		hang_up(s, i, i % 2);
	return NULL;
}

/* ---- what is left ---- */

/* Without that of a request for metrics that has just ended. */
static int descriptors_at_rest(struct gw *gw)
{
	int n = gw_descriptors(gw, false), now;

	for (int same = 0; same < 20; same++) {
		run_pause_ms(5);
		now = gw_descriptors(gw, false);
		if (now != n)
			same = 0;
		n = now;
	}
	return n;
}

static int idle_upstream(struct gw *gw)
{
	return (int)gw_metric(gw, "hardtack_connections", "side=\"backend\"", "state=\"idle\"",
			      NULL);
}

/* Sockets of this network that are not closing: with that local port, or that remote one. */
static int sockets_with(int local, int remote)
{
	char *text = text_file("/proc/net/tcp", NULL), *line, *save;
	unsigned l, r, state;
	int n = 0;

	cr_assert(text);
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, " %*d: %*x:%x %*x:%x %x", &l, &r, &state) != 3)
			continue;
		/* established, or closed by one side only; TIME_WAIT is nobody's any more */
		if (state == 1 || state == 4 || state == 5 || state == 8)
			n += local ? (int)l == local : (int)r == remote;
	}
	free(text);
	return n;
}

/* Numbers as reals: they are up to 64 bits wide without a sign. */
static json_t *bpftool(const char *object, const char *verb, const char *how, const char *which)
{
	const char *argv[] = {"bpftool", "-j", object, verb, how, which, NULL};
	struct text out = {0};
	json_t *j = NULL;

	if (!run_command(&out, argv))
		j = json_loads(out.p, JSON_DECODE_INT_AS_REAL, NULL);
	text_free(&out);
	return j;
}

/* Entries of the map `name` that the pinned program uses; -1: no such map. */
static int entries_of(struct gw *gw, const char *prog, const char *name)
{
	char path[256], id[16];
	json_t *p, *m, *dump, *each;
	int n = -1;
	size_t i;

	snprintf(path, sizeof(path), "%s/%s", gw->pin, prog);
	p = bpftool("prog", "show", "pinned", path);
	json_array_foreach (json_object_get(p, "map_ids"), i, each) {
		snprintf(id, sizeof(id), "%.0f", json_real_value(each));
		m = bpftool("map", "show", "id", id);
		if (m && !strcmp(json_string_value(json_object_get(m, "name")), name)) {
			dump = bpftool("map", "dump", "id", id);
			n = (int)json_array_size(dump);
			json_decref(dump);
		}
		json_decref(m);
	}
	json_decref(p);
	return n;
}

static long status_number(struct gw *gw, const char *object, const char *key)
{
	struct text out = {0};
	json_t *j;
	long n;

	cr_assert_eq(gw_ctl(gw, &out, "status", "--json"), 0);
	j = json_loads(out.p, 0, NULL);
	n = (long)json_integer_value(json_object_get(json_object_get(j, object), key));
	json_decref(j);
	text_free(&out);
	return n;
}

/* To all backends; the kernel closes in its own time what the daemon has closed. */
static int backend_sockets(struct backend **be)
{
	int n = 0;

	for (int i = 0; i < BACKENDS; i++)
		n += sockets_with(0, be[i]->port);
	return n;
}

/* Everything that is open belongs to a connection that waits in the pool. */
static void expect_nothing_left(struct gw *gw, struct backend **be, int descriptors)
{
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_connections", "side=\"client\"", NULL) == 0));
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_connections", "side=\"backend\"",
				     "state=\"active\"", NULL) == 0));
	cr_expect(e2e_wait(sockets_with(gw->tls, 0) == 0), "%d client sockets are left",
		  sockets_with(gw->tls, 0));
	cr_expect(e2e_wait(backend_sockets(be) == idle_upstream(gw)),
		  "%d sockets for %d pooled connections", backend_sockets(be), idle_upstream(gw));
	cr_expect(e2e_wait(gw_descriptors(gw, false) - idle_upstream(gw) == descriptors),
		  "%d descriptors, %d of them pooled, without them %d before",
		  gw_descriptors(gw, false), idle_upstream(gw), descriptors);
	cr_expect_leq(gw_descriptors(gw, true), PIPES_MAX, "%d ends of pipes",
		      gw_descriptors(gw, true));
	if (!run_gate_on())
		return;
	cr_expect(e2e_wait(entries_of(gw, "admit", "gated") == idle_upstream(gw)),
		  "%d gated sockets, %d pooled", entries_of(gw, "admit", "gated"),
		  idle_upstream(gw));
	cr_expect(e2e_wait(status_number(gw, "gate", "slots_used") == idle_upstream(gw)),
		  "%ld slots, %d pooled", status_number(gw, "gate", "slots_used"),
		  idle_upstream(gw));
	cr_expect_eq(entries_of(gw, "verdict", "tokens"), status_number(gw, "tokens", "live"),
		     "%d tokens in the map", entries_of(gw, "verdict", "tokens"));
}

/* ---- the test ---- */

static void expect_all_accounted(struct gw *gw)
{
	int n = CONNS * rounds(), strips = 0, unsure = 0, seen;
	double passed = gw_passed(gw);

	for (int id = 0; id < n; id++) {
		seen = atomic_load(&sum.seen[id]);
		strips += stripped(id);
		unsure += kind_of(id) == STOP_UP;
		if (kind_of(id) == STOP_UP) /* may have gone before it was read */
			cr_expect_leq(seen, 1, "%d was sent %d times", id, seen);
		else if (kind_of(id) == CUT_DOWN && resets(id)) /* nothing came: tried again */
			cr_expect(seen == 1 || seen == 2, "%d was sent %d times", id, seen);
		else
			cr_expect_eq(seen, 1, "%d was sent %d times, kind %d", id, seen,
				     kind_of(id));
	}
	cr_expect_eq(gw_metric(gw, "hardtack_verdicts_total", "action=\"strip\"", NULL), strips);
	cr_expect(passed <= n - strips && passed >= n - strips - unsure, "%g of %d passed", passed,
		  n - strips);
	printf("churn: %d requests, %g passed (%g kernel hits), %d stripped\n", n, passed,
	       run_gate_on() ? gw_hits(gw) : 0, strips);
}

Test(churn, everything_is_accounted_for_and_nothing_is_left)
{
	e2e_need_gate();
	static struct squad squads[THREADS];
	struct rlimit files = {4096, 4096};
	struct backend *be[BACKENDS];
	struct text upstreams = {0};
	int descriptors, reconnects = 0;
	struct gw *gw;

	setrlimit(RLIMIT_NOFILE, &files);
	for (int i = 0; i < BACKENDS; i++) {
		be[i] = backend_start(handle);
		be[i]->no_record = true; /* which requests are lost on the way is chance */
		text_addf(&upstreams, "%s127.0.0.1:%d", i ? ", " : "", be[i]->port);
	}
	gw = gw_start(NULL,
		      &(struct gw_spec){.upstreams = upstreams.p,
					.workers = 2,
					.own = true,
					.timeouts = "{ handshake: 600s, head: 600s, idle: 600s }"});
	descriptors = descriptors_at_rest(gw);
	for (int t = 0; t < SQUADS; t++) {
		squads[t].gw = gw;
		squads[t].first = t * PER_THREAD;
		pthread_create(&squads[t].thread, NULL, squad_main, &squads[t]);
	}
	for (int t = 0; t < SQUADS; t++) {
		pthread_join(squads[t].thread, NULL);
		reconnects += squads[t].reconnects;
	}
	cr_assert_eq(sum.wrong, 0, "%d wrong; %s", sum.wrong, sum.why);
	expect_nothing_left(gw, be, descriptors);
	expect_all_accounted(gw);
	printf("churn: %d connections by %d clients\n", reconnects, CONNS);
	gw_stop(gw);
	for (int i = 0; i < BACKENDS; i++)
		backend_stop(be[i]);
}
