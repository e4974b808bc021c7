/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies that go from socket to socket through a pipe: exact at every size and framing, however
 * slow or short-lived either end is, at bounded cost. Each test runs over plain HTTP, where this
 * works everywhere, and over TLS, where it works as far as the kernel has the keys.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

TestSuite(splice, .timeout = 600);

#define MB (1ull << 20)
#define HUGE_BODY (run_small() ? 3 * MB : 100 * MB)
#define MIN (64ull << 10) /* what must be left of a body before it goes by a pipe */

/* ---- both ends ---- */

/* GET /FRAMING/SIZE/CHUNK: a body of SIZE bytes by length, chunked in CHUNKs, or until close. */
static void send_body(struct bconn *c, const char *framing, uint64_t size, uint64_t chunk)
{
	bool chunked = !strcmp(framing, "chunked");
	char *buf = malloc(chunk ? chunk : 1);

	if (chunked)
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	else if (!strcmp(framing, "close"))
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
	else
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n",
			    (unsigned long long)size);
	for (uint64_t at = 0; at < size;) {
		size_t n = (size_t)(chunk < size - at ? chunk : size - at);

		pattern_fill(buf, n, at);
		if ((chunked && !bconn_sendf(c, "%zx\r\n", n)) || !bconn_send(c, buf, n) ||
		    (chunked && !bconn_send(c, "\r\n", 2)))
			break;
		at += n;
	}
	free(buf);
	if (chunked)
		bconn_sendf(c, "0\r\n\r\n");
	if (!strcmp(framing, "close"))
		bconn_close(c, false);
}

static void handle(struct bconn *c, struct breq *r)
{
	unsigned long long size, chunk;
	char target[256], framing[16];

	if (!bconn_body(c, r)) {
		bconn_close(c, false);
		return;
	}
	breq_target(r, target, sizeof(target));
	if (sscanf(target, "/%15[a-z]/%llu/%llu", framing, &size, &chunk) == 3)
		send_body(c, framing, size, chunk);
	else
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

static struct client *client_on(struct gw *gw, bool tls)
{
	return tls ? client_tls(gw) : client_plain(gw);
}

static void expect_down(struct client *c, const char *framing, uint64_t size, uint64_t chunk)
{
	char target[128];
	struct response *r;

	snprintf(target, sizeof(target), "/%s/%llu/%llu", framing, (unsigned long long)size,
		 (unsigned long long)chunk);
	r = client_get(c, target, "");
	cr_expect(r->status == 200 && !r->truncated && r->body_len == size &&
			  r->body_hash == pattern_hash_of(size),
		  "%s: status %d, %llu bytes%s", target, r->status, (unsigned long long)r->body_len,
		  r->truncated ? ", truncated" : "");
}

static void send_up(struct client *c, uint64_t size, uint64_t chunk)
{
	char *buf = malloc(chunk ? chunk : 1);

	if (chunk)
		client_sendf(c, "POST /up HTTP/1.1\r\nHost: gw.test\r\n"
				"Transfer-Encoding: chunked\r\n\r\n");
	else
		client_sendf(c,
			     "POST /up HTTP/1.1\r\nHost: gw.test\r\nContent-Length: %llu\r\n\r\n",
			     (unsigned long long)size);
	for (uint64_t at = 0; chunk && at < size; at += chunk) {
		size_t n = (size_t)(chunk < size - at ? chunk : size - at);

		pattern_fill(buf, n, at);
		client_sendf(c, "%zx\r\n", n);
		client_send(c, buf, n);
		client_send(c, "\r\n", 2);
	}
	if (chunk)
		client_send(c, "0\r\n\r\n", 5);
	else
		client_send_pattern(c, size);
	free(buf);
}

/* The newest upload of that size that came whole; else what came last, to say so. */
static struct breq *upload_of(struct backend *be, uint64_t size)
{
	for (int i = backend_count(be); i-- > 0;) {
		struct breq *r = backend_req(be, i);

		if (r->complete && r->body_len == size)
			return r; /* another client's, cut short, may have come since */
	}
	return backend_last(be);
}

static void expect_up(struct client *c, struct backend *be, uint64_t size, uint64_t chunk)
{
	struct breq *r;

	send_up(c, size, chunk);
	cr_expect_eq(client_read(c)->status, 200);
	r = upload_of(be, size);
	cr_expect(r->complete && r->body_len == size && r->body_hash == pattern_hash_of(size),
		  "%llu bytes in chunks of %llu: %llu came", (unsigned long long)size,
		  (unsigned long long)chunk, (unsigned long long)r->body_len);
}

/* ---- what the daemon says and has ---- */

static double spliced(struct gw *gw, const char *direction)
{
	char label[64];

	snprintf(label, sizeof(label), "direction=\"%s\"", direction);
	return gw_metric(gw, "hardtack_spliced_bytes_total", label, NULL);
}

/* Can a body go by a pipe on such a connection, in this direction? */
static bool has_pipes(struct gw *gw, bool tls, const char *ktls)
{
	char label[64];
	struct client *c;

	if (!tls)
		return true;
	c = client_tls(gw);
	cr_assert_eq(client_get(c, "/", "")->status, 200); /* both sides have seen the handshake */
	client_close(c);
	snprintf(label, sizeof(label), "%s=\"on\"", ktls);
	return gw_metric(gw, "hardtack_tls_connections_total", label, NULL) > 0;
}

/* ---- exact at every size ---- */

static const uint64_t sizes[] = {
	1,	4096,	MIN - 1, MIN, MIN + 1, 2 * MIN - 1, 100000,	 262144,
	262145, 300000, MB - 1,	 MB,  MB + 77, 1500000,	    2 * MB + 17,
};

static void downloads(bool tls)
{
	struct backend *be = backend_start(handle);
	struct gw *gw = gw_start(be, NULL);
	bool pipes = has_pipes(gw, tls, "ktls_tx");
	struct client *c = client_on(gw, tls);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(sizes); i++) {
		expect_down(c, "length", sizes[i], 65536);
		expect_down(c, "chunked", sizes[i], MB);
		expect_down(c, "chunked", sizes[i], 100001);
		expect_down(c, "chunked", sizes[i], 3000);
		expect_down(c, "close", sizes[i], 50000);
	}
	expect_down(c, "length", HUGE_BODY, 65536);
	expect_down(c, "chunked", HUGE_BODY, 2 * MB);
	expect_down(c, "close", HUGE_BODY, 65536);
	if (pipes)
		cr_expect_gt(spliced(gw, "response"), (double)HUGE_BODY * 2);
	else
		cr_expect_eq(spliced(gw, "response"), 0);
	cr_expect_eq(spliced(gw, "request"), 0);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(splice, downloads_are_exact_plain)
{
	e2e_need_gate();
	downloads(false);
}

Test(splice, downloads_are_exact_tls)
{
	e2e_need_gate();
	downloads(true);
}

static void uploads(bool tls)
{
	struct backend *be = backend_start(handle);
	struct gw *gw = gw_start(be, NULL);
	bool pipes = has_pipes(gw, tls, "ktls_rx");
	struct client *c = client_on(gw, tls);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(sizes); i++) {
		expect_up(c, be, sizes[i], 0);
		expect_up(c, be, sizes[i], MB);
		expect_up(c, be, sizes[i], 100001);
		expect_up(c, be, sizes[i], 3000);
	}
	expect_up(c, be, HUGE_BODY, 0);
	expect_up(c, be, HUGE_BODY, MB);
	if (pipes)
		cr_expect_gt(spliced(gw, "request"), (double)HUGE_BODY);
	else
		cr_expect_eq(spliced(gw, "request"), 0);
	/* one after the other on one connection: each was counted to its last byte */
	cr_expect_eq(backend_conns(be), 1);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(splice, uploads_are_exact_plain)
{
	e2e_need_gate();
	uploads(false);
}

Test(splice, uploads_are_exact_tls)
{
	e2e_need_gate();
	uploads(true);
}

/* An old client gets what comes in chunks without them. */
Test(splice, chunks_are_taken_apart_for_http_1_0)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);
	struct response *r;

	client_sendf(c, "GET /chunked/2000000/500000 HTTP/1.0\r\nHost: gw.test\r\n\r\n");
	r = client_read(c);
	cr_expect(r->until_close && !r->truncated && r->body_len == 2000000 &&
		  r->body_hash == pattern_hash_of(2000000));
	cr_expect_gt(spliced(gw, "response"), 1000000);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- the backend's connection, after it ---- */

Test(splice, a_backend_that_said_it_all_is_asked_again)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);

	for (uint64_t i = 0; i < 40; i++)
		expect_down(c, "length", 200000 + 10007 * i, 200000 + 10007 * i);
	cr_expect_gt(spliced(gw, "response"), 1000000);
	cr_expect_eq(backend_conns(be), 1);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* What a backend says beyond its answer is nobody's answer. */
Test(splice, a_backend_that_said_too_much_is_not)
{
	e2e_need_gate();
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n";
	static const char evil[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);
	struct text reply = {0};

	text_add(&reply, head, strlen(head));
	for (uint64_t at = 0; at < MB; at += 4096) {
		char piece[4096];

		pattern_fill(piece, sizeof(piece), at);
		text_add(&reply, piece, sizeof(piece));
	}
	text_add(&reply, evil, strlen(evil));
	backend_reply_bytes(be, reply.p, reply.len, false);
	for (int i = 0; i < 10; i++) {
		struct response *r = client_get(c, "/", "");

		cr_expect(r->body_len == MB && r->body_hash == pattern_hash_of(MB), "%d: %llu", i,
			  (unsigned long long)r->body_len);
	}
	cr_expect_gt(spliced(gw, "response"), 1000000);
	text_free(&reply);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- accounts ---- */

/* The largest number of that name in the access log. */
static unsigned long long largest(struct gw *gw, const char *name)
{
	unsigned long long max = 0;
	char key[32], *log = text_file(gw->access_path, NULL);

	snprintf(key, sizeof(key), "\"%s\":", name);
	for (const char *p = log; p && (p = strstr(p, key)); p++) {
		unsigned long long n = strtoull(p + strlen(key), NULL, 10);

		max = n > max ? n : max;
	}
	free(log);
	return max;
}

Test(splice, spliced_bytes_stand_in_every_account)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle);
	struct gw *gw = gw_start(be, &(struct gw_spec){.limits = "{ body: 3000000 }"});
	struct client *c = client_plain(gw);
	double sent, received;

	be->no_record = true; /* how far it had come, and what came first, is chance */
	cr_assert_eq(client_get(c, "/", "")->status, 200);
	cr_assert(e2e_wait((sent = gw_metric(gw, "hardtack_sent_bytes_total", NULL)) > 0));
	received = gw_metric(gw, "hardtack_received_bytes_total", NULL);
	expect_down(c, "length", 2000000, 65536);
	expect_up(c, be, 1000000, 0);
	expect_up(c, be, 1000000, 500000);
	cr_expect_gt(spliced(gw, "response"), 1000000);
	cr_expect_gt(spliced(gw, "request"), 500000);
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_requests_total", NULL) == 4));
	sent = gw_metric(gw, "hardtack_sent_bytes_total", NULL) - sent;
	cr_expect(sent > 2000000 && sent < 2002000, "%g bytes sent", sent);
	received = gw_metric(gw, "hardtack_received_bytes_total", NULL) - received;
	cr_expect(received > 2000000 && received < 2002000, "%g bytes received", received);
	/* the limit counts what is past our memory too */
	client_sendf(c, "POST /up HTTP/1.1\r\nHost: gw.test\r\n"
			"Transfer-Encoding: chunked\r\n\r\n400000\r\n");
	client_send_pattern(c, 4 * MB);
	cr_expect_eq(client_read(c)->status, 413);
	client_close(c);
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_requests_total", NULL) == 5));
	cr_expect(e2e_wait(largest(gw, "bytes_in") > 0));
	cr_expect(largest(gw, "bytes_out") > 2000000 && largest(gw, "bytes_out") < 2002000);
	cr_expect(largest(gw, "bytes_in") > 3000000 && largest(gw, "bytes_in") < 3200000);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- backpressure ---- */

static void slow_reader(bool tls)
{
	struct backend *be = backend_start(handle);
	struct gw *gw = gw_start(be, &(struct gw_spec){.timeouts = "{ body: 600s }"});
	struct client *slow[8], *fast = client_on(gw, tls);
	long before, grown;

	be->no_record = true; /* how far it had come, and what came first, is chance */
	expect_down(fast, "length", MB, 65536);
	before = gw_status_kb(gw, "VmHWM:");
	for (size_t i = 0; i < E2E_ARRAY_SIZE(slow); i++) {
		slow[i] = client_open(&(struct client_options){.port = tls ? gw->tls : gw->plain,
							       .tls = tls,
							       .sni = "gw.test",
							       .rcvbuf = 32768});
		client_sendf(slow[i], "GET /%s/%llu/%llu HTTP/1.1\r\nHost: gw.test\r\n\r\n",
			     i % 2 ? "chunked" : "length", 4 * MB, MB);
	}
	/* while they stand still, others are served */
	for (int i = 0; i < 4; i++)
		expect_down(fast, i % 2 ? "chunked" : "length", MB, 300000);
	for (size_t i = 0; i < E2E_ARRAY_SIZE(slow); i++) {
		struct response *r = client_read(slow[i]);

		cr_expect(!r->truncated && r->body_len == 4 * MB &&
				  r->body_hash == pattern_hash_of(4 * MB),
			  "%zu: %llu bytes", i, (unsigned long long)r->body_len);
	}
	grown = gw_status_kb(gw, "VmHWM:") - before;
	if (!run_sanitized())
		cr_expect_lt(grown, 8192, "%ld KB", grown);
	for (size_t i = 0; i < E2E_ARRAY_SIZE(slow); i++)
		client_close(slow[i]);
	client_close(fast);
	gw_stop(gw);
	backend_stop(be);
}

Test(splice, slow_readers_get_all_of_it_plain)
{
	e2e_need_gate();
	slow_reader(false);
}

Test(splice, slow_readers_get_all_of_it_tls)
{
	e2e_need_gate();
	slow_reader(true);
}

/* A backend that reads late: the gate's verdict stays with what is left of a short write. */
static void handle_late(struct bconn *c, struct breq *r)
{
	int small = 131072;

	setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	backend_until(c->be, 0, 1);
	handle(c, r);
}

static void slow_backend(bool tls)
{
	struct backend *be = backend_start(handle_late);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_on(gw, tls);
	int64_t until;

	for (int chunked = 0; chunked < 2; chunked++) {
		pid_t pid;
		int status;

		backend_set(be, 0, 0);
		pid = fork(); /* somebody must send while the backend does not read */
		if (!pid) {
			send_up(c, 6 * MB, chunked ? 2 * MB : 0);
			_exit(c->error);
		}
		cr_assert(backend_wait_heads(be, chunked + 1));
		/* until nothing moves any more: the queues are full */
		double was = -1, now = 0;

		until = run_now_ms() + run_deadline_ms();
		while (was != now && run_now_ms() < until) {
			was = now;
			run_pause_ms(50);
			now = gw_metric(gw, "hardtack_received_bytes_total", NULL);
		}
		backend_set(be, 0, 1);
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_expect_eq(status, 0);
		cr_assert(backend_wait(be, chunked + 1));
		cr_expect(backend_last(be)->body_len == 6 * MB &&
			  backend_last(be)->body_hash == pattern_hash_of(6 * MB));
		if (tls) /* the child's half of the session is not ours */
			break;
		cr_expect_eq(client_read(c)->status, 200);
	}
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(splice, slow_backends_get_all_of_it_plain)
{
	e2e_need_gate();
	slow_backend(false);
}

Test(splice, slow_backends_get_all_of_it_tls)
{
	e2e_need_gate();
	slow_backend(true);
}

/* ---- ends before the end ---- */

/* Clients that go in the middle of an answer leave nothing behind for others. */
static void clients_that_go(bool tls)
{
	struct backend *be = backend_start(handle);
	struct gw *gw = gw_start(be, NULL);
	struct client *c, *other = client_on(gw, tls);
	struct linger now = {1, 0};
	char buf[65536];

	be->no_record = true; /* how far it had come, and what came first, is chance */
	for (int i = 0; i < (run_small() ? 8 : 24); i++) {
		c = client_on(gw, tls);
		if (i % 2) { /* in the middle of an answer */
			client_sendf(c, "GET /%s/%llu/%llu HTTP/1.1\r\nHost: gw.test\r\n\r\n",
				     i % 3 ? "chunked" : "length", 8 * MB, MB);
			for (int k = 0; k < i * 4; k++)
				client_recv(c, buf, sizeof(buf));
		} else { /* in the middle of a request */
			client_sendf(c, "POST /up HTTP/1.1\r\nHost: gw.test\r\n%s\r\n\r\n%s",
				     i % 4 ? "Transfer-Encoding: chunked"
					   : "Content-Length: 8388608",
				     i % 4 ? "800000\r\n" : "");
			client_send_pattern(c, (uint64_t)i * 70001 + 1);
		}
		if (i % 5 > 2)
			setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		client_close(c);
		expect_down(other, i % 2 ? "length" : "chunked", 300000 + (uint64_t)i, 150000);
		expect_up(other, be, 300000 + (uint64_t)i, i % 2 ? 0 : 150000);
	}
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_connections", "side=\"client\"", NULL) == 1));
	/* what was left in pipes went with them; those that were empty are kept for others */
	cr_expect_leq(gw_descriptors(gw, true), 2 * 2 * 32);
	client_close(other);
	gw_stop(gw);
	backend_stop(be);
}

Test(splice, clients_that_go_leave_nothing_behind_plain)
{
	e2e_need_gate();
	clients_that_go(false);
}

Test(splice, clients_that_go_leave_nothing_behind_tls)
{
	e2e_need_gate();
	clients_that_go(true);
}

/* /FRAMING/RESET: 1 MB of 8, then the end. */
static void handle_cut(struct bconn *c, struct breq *r)
{
	char target[64], framing[16], *buf = malloc(MB);
	int reset;

	breq_target(r, target, sizeof(target));
	if (sscanf(target, "/%15[a-z]/%d", framing, &reset) != 2) {
		free(buf);
		backend_answer(c, r);
		return;
	}
	bconn_sendf(c, "HTTP/1.1 200 OK\r\n%s\r\n\r\n%s",
		    !strcmp(framing, "length")	  ? "Content-Length: 8388608"
		    : !strcmp(framing, "chunked") ? "Transfer-Encoding: chunked"
						  : "Connection: close",
		    !strcmp(framing, "chunked") ? "800000\r\n" : "");
	pattern_fill(buf, MB, 0);
	bconn_send(c, buf, MB);
	free(buf);
	if (reset) /* which overtakes nothing that the client has seen */
		backend_until(c->be, 0, reset);
	bconn_close(c, reset);
}

Test(splice, answers_cut_short_stay_so)
{
	e2e_need_gate();
	static const char *const framings[] = {"length", "chunked", "close"};
	struct backend *be = backend_start(handle_cut);
	struct gw *gw = gw_start(be, NULL);
	char buf[65536];

	for (int i = 0; i < 12; i++) {
		struct client *c = client_on(gw, i % 4 > 1);
		const char *framing = framings[i % 3];
		bool reset = i >= 6;
		uint64_t got = 0;
		struct response *r;

		client_sendf(c, "GET /%s/%d HTTP/1.1\r\nHost: gw.test\r\n\r\n", framing,
			     reset ? i : 0);
		while (reset && got < MB) {
			ssize_t n = client_recv(c, buf, sizeof(buf));

			cr_assert_gt(n, 0);
			got += (uint64_t)n;
		}
		backend_set(be, 0, i);
		if (reset) {
			/* the rest, without the end that a complete answer has */
			struct text rest = {0};
			ssize_t n;

			while ((n = client_recv(c, buf, sizeof(buf))) > 0)
				text_add(&rest, buf, (size_t)n);
			cr_expect(!text_has(rest.p ? rest.p : "", rest.len, "0\r\n\r\n"), "%s",
				  framing);
			text_free(&rest);
		} else {
			r = client_read(c);
			cr_expect_eq(r->body_len, MB, "%s: %llu", framing,
				     (unsigned long long)r->body_len);
			cr_expect_eq(r->body_hash, pattern_hash_of(MB));
			/* only what has no length may end so */
			cr_expect_eq(r->truncated, strcmp(framing, "close") != 0, "%s", framing);
		}
		client_close(c);
	}
	cr_expect_gt(spliced(gw, "response"), 0);
	gw_stop(gw);
	backend_stop(be);
}

/* A backend that answers before it has heard it all: the answer arrives, the rest goes nowhere. */
static void handle_early(struct bconn *c, struct breq *r)
{
	char buf[65536];

	if (strstr(r->head, "/early")) {
		for (int i = 0; i < 4; i++)
			bconn_recv(c, buf, sizeof(buf));
		c->body_read = true;
		bconn_sendf(c, "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
		bconn_close(c, false);
		return;
	}
	handle(c, r);
}

Test(splice, an_early_answer_ends_the_upload)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle_early);
	struct gw *gw = gw_start(be, NULL);
	struct client *other = client_plain(gw);

	be->no_record = true; /* how far it had come, and what came first, is chance */
	for (int i = 0; i < 6; i++) {
		struct client *c = client_on(gw, i % 2);
		pid_t pid;
		int status;

		client_sendf(c, "POST /early HTTP/1.1\r\nHost: gw.test\r\n"
				"Content-Length: 8388608\r\n\r\n");
		pid = fork();
		if (!pid) {
			client_send_pattern(c, 8 * MB);
			_exit(0);
		}
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		if (!c->ssl) /* the child has spoiled the session */
			cr_expect(client_read(c)->status == 403 || c->error);
		client_close(c);
		expect_up(other, be, 500000, 0);
		expect_down(other, "length", 500000, 65536);
	}
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_connections", "side=\"client\"", NULL) == 1));
	client_close(other);
	gw_stop(gw);
	backend_stop(be);
}

/* An alert among the records of an upload: it is the library's to read. */
Test(splice, a_goodbye_in_the_middle_of_an_upload_is_understood)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_tls(gw);

	be->no_record = true; /* how far it had come, and what came first, is chance */
	client_sendf(c, "POST /up HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 8388608\r\n\r\n");
	client_send_pattern(c, MB);
	SSL_shutdown(c->ssl);
	cr_expect_eq(client_read(c)->status, 400);
	client_close(c);
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_connections", "side=\"client\"", NULL) == 0));
	cr_expect(!backend_last(be)->complete);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- what it costs ---- */

Test(splice, idle_connections_hold_no_pipe)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle);
	struct gw *gw = gw_start(be, &gw_own);
	int others = gw_descriptors(gw, true);
	struct client *c[50];

	for (size_t i = 0; i < E2E_ARRAY_SIZE(c); i++) {
		c[i] = client_plain(gw);
		expect_down(c[i], "length", MB, 65536);
		expect_up(c[i], be, MB, 0);
	}
	cr_expect_gt(spliced(gw, "response"), 0);
	cr_expect_gt(spliced(gw, "request"), 0);
	/* one after the other they all had the same two, one for each direction */
	cr_expect_eq(gw_descriptors(gw, true), others + 4);
	for (size_t i = 0; i < E2E_ARRAY_SIZE(c); i++)
		client_close(c[i]);
	gw_stop(gw);
	backend_stop(be);
}

/* From now on the daemon has room for one more descriptor: not for a pipe. */
static void take_descriptors(struct gw *gw, struct rlimit *ret_before)
{
	struct rlimit l;
	char path[64], byte;
	int fd = 0;

	do {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", gw->pid, fd++);
	} while (readlink(path, &byte, 1) >= 0);
	cr_assert_eq(prlimit(gw->pid, RLIMIT_NOFILE, NULL, ret_before), 0);
	l = *ret_before;
	l.rlim_cur = (rlim_t)fd;
	cr_assert_eq(prlimit(gw->pid, RLIMIT_NOFILE, &l, NULL), 0);
}

/* Starts counting the daemon's system calls into FILE, if there is a strace. */
static pid_t count_begin(struct gw *gw, const char *file)
{
	char pid[16], path[64], line[256];
	bool traced = false;
	pid_t child;
	FILE *f;

	snprintf(pid, sizeof(pid), "%d", gw->pid);
	snprintf(path, sizeof(path), "/proc/%d/status", gw->pid);
	child = fork();
	if (!child) {
		execlp("strace", "strace", "-qq", "-f", "-c", "-o", file, "-p", pid, NULL);
		_exit(127);
	}
	while (!traced && !waitpid(child, NULL, WNOHANG)) {
		f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f))
			traced |= !strncmp(line, "TracerPid:", 10) && atoi(line + 10) == child;
		if (f)
			fclose(f);
		run_pause_ms(5);
	}
	return traced ? child : 0;
}

static void count_end(pid_t strace, const char *file, const char *what, int requests)
{
	char *text = NULL, *line;
	size_t len;

	if (!strace) {
		printf("splice: %s: system calls not counted, strace can't be had\n", what);
		return;
	}
	kill(strace, SIGINT);
	waitpid(strace, NULL, 0);
	text = text_file(file, &len);
	line = text ? strstr(text, "total\n") : NULL;
	while (line && line > text && line[-1] != '\n')
		line--;
	if (line) {
		double calls = 0;

		sscanf(line, "%*s %*s %*s %lf", &calls);
		printf("splice: %s: %.1f system calls for a body of 1 MB\n", what,
		       calls / requests);
	}
	free(text);
}

Test(splice, without_descriptors_bodies_are_copied)
{
	e2e_need_gate();
	struct backend *be = backend_start(handle);
	struct gw *gw = gw_start(be, &gw_own);
	struct client *c = client_plain(gw);
	int others = gw_descriptors(gw, true);
	struct rlimit before;
	char file[256];
	double had;
	pid_t strace;

	be->no_record = true; /* how far it had come, and what came first, is chance */
	snprintf(file, sizeof(file), "%s/calls", gw->dir);
	cr_assert_eq(client_get(c, "/", "")->status, 200);
	take_descriptors(gw, &before);
	strace = count_begin(gw, file);
	for (int i = 0; i < 20; i++)
		expect_down(c, "length", MB, 65536);
	count_end(strace, file, "copied", 20);
	expect_down(c, "chunked", MB, 200000);
	expect_up(c, be, MB, 0);
	expect_up(c, be, MB, 200000);
	cr_expect_eq(gw_descriptors(gw, true), others);

	/* before the metrics: they need a descriptor, too */
	cr_assert_eq(prlimit(gw->pid, RLIMIT_NOFILE, &before, NULL), 0);
	cr_expect_eq(spliced(gw, "response"), 0);
	cr_expect_eq(spliced(gw, "request"), 0);
	strace = count_begin(gw, file);
	for (int i = 0; i < 20; i++)
		expect_down(c, "length", MB, 65536);
	count_end(strace, file, "spliced", 20);
	had = spliced(gw, "response");
	cr_expect(had > (double)(10 * MB) && had < (double)(20 * MB), "%g", had);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- from which size on it pays ---- */

/* Answers of one size, read and thrown away: nanoseconds for each. */
static double cost_of(struct client *c, size_t size, int n)
{
	static char buf[65536];
	size_t left, head;
	struct timespec a, b;
	ssize_t got;

	for (int i = -4; i < n; i++) { /* the first ones find their way */
		if (!i)
			clock_gettime(CLOCK_MONOTONIC, &a);
		client_sendf(c, "GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n");
		head = 0;
		for (left = size; left; left -= (size_t)got - head) {
			got = client_recv(c, buf, sizeof(buf));
			cr_assert_gt(got, 0);
			head = 0;
			if (left == size) {
				char *end = memmem(buf, (size_t)got, "\r\n\r\n", 4);

				cr_assert(end);
				head = (size_t)(end + 4 - buf);
			}
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / n;
}

static void answer_of(struct backend *be, size_t size)
{
	struct text t = {0};
	char *body = calloc(1, size);

	text_addf(&t, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", size);
	text_add(&t, body, size);
	backend_reply_bytes(be, t.p, t.len, false);
	text_free(&t);
	free(body);
}

static void costs(bool tls)
{
	static const size_t kbs[] = {4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 1024};
	struct backend *be = backend_start(NULL);
	struct gw *gw[2] = {gw_start(be, NULL), gw_start(be, NULL)};
	struct client *c[2] = {client_on(gw[0], tls), client_on(gw[1], tls)};
	struct rlimit files;

	be->no_record = true;
	for (int copied = 0; copied < 2; copied++)
		cr_assert_eq(client_get(c[copied], "/", "")->status, 200);
	take_descriptors(gw[1], &files);
	for (size_t i = 0; i < E2E_ARRAY_SIZE(kbs); i++) {
		double cost[2];

		answer_of(be, kbs[i] << 10);
		for (int copied = 0; copied < 2; copied++)
			cost[copied] = cost_of(c[copied], kbs[i] << 10, 24);
		printf("splice: %s, %4zu KB: %8.0f spliced, %8.0f copied, %+.1f %%\n",
		       tls ? "TLS" : "plain", kbs[i], cost[0], cost[1],
		       (cost[0] / cost[1] - 1) * 100);
	}
	cr_assert_eq(prlimit(gw[1]->pid, RLIMIT_NOFILE, &files, NULL), 0);
	cr_expect_gt(spliced(gw[0], "response"), 0);
	cr_expect_eq(spliced(gw[1], "response"), 0);
	for (int copied = 0; copied < 2; copied++) {
		client_close(c[copied]);
		gw_stop(gw[copied]);
	}
	backend_stop(be);
}

/*
 * For tests/vm/splice.sh, in a machine whose clock counts instructions, with a daemon that splices
 * whatever its size: what an answer costs this way and the other.
 */
Test(splice, cost_by_size)
{
	if (!getenv("HT_SPLICE_COST"))
		return;
	costs(false);
	costs(true);
}
