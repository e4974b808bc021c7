/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load generator of `make bench`: keep-alive connections, plain or TLS, that carry signed
 * sessions at a fixed rate, as fast as they are answered, as handshakes, or idle. A request's time
 * counts from when it was due, so that a slow answer delays nobody's clock. Checks each answer's
 * status, length and sibling cookie. Prints one JSON object. One thread; bounded in time and
 * count; talks to loopback addresses only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "meter.h"

#define SID_LEN 24
#define TOKEN_LEN 44
#define CONNS_MAX 20000
#define SECONDS_MAX 300
#define REQUESTS_MAX 8000000
#define UPLOAD_MAX (16 << 20)
#define SECOND 1000000000ULL

enum mode { MODE_RATE, MODE_SATURATE, MODE_HANDSHAKE, MODE_IDLE };
enum scenario { S_VALID, S_STICKY, S_MISS, S_FORGED, S_INVENTED, S_LOGIN, S_NONE };

static const char *const modes[] = {"rate", "saturate", "handshake", "idle", NULL};
static const char *const scenarios[] = {"valid",    "sticky", "miss", "forged",
					"invented", "login",  "none", NULL};

static struct {
	struct sockaddr_in to;
	bool tls, tls12, resume, sequential;
	int mode, scenario;
	size_t conns, sessions;
	uint64_t first; /* number of the first session */
	uint64_t rate, requests;
	double warm_s, seconds;
	const char *path, *client;
	char key[256];
	size_t key_len;
	long length;   /* of the answer's body; -1 = any */
	size_t upload; /* bytes of the request's; 0: a GET */
	struct meter_group proxy, backend;
} opt = {
	.conns = 64,
	.sessions = 100000,
	.rate = 15000,
	.requests = REQUESTS_MAX,
	.warm_s = 0.3,
	.seconds = 1,
	.path = "/200",
	.client = "127.0.0.1",
	.length = -1,
};

struct session {
	char sid[SID_LEN], token[TOKEN_LEN];
};

enum state { CLOSED, CONNECTING, HANDSHAKE, TICKET, FREE, BUSY };

struct conn {
	int fd;
	SSL *ssl;
	enum state state;
	bool want_out, measured, got_ticket;
	uint64_t due_ns;
	size_t out_at; /* of the request, while it is being sent */
	uint32_t session;
	size_t head_len; /* bytes of the answer's head so far */
	bool in_body;
	uint64_t left; /* bytes of the body to come */
	char head[2048];
};

static struct conn *conns;
static struct session *sessions;
static size_t *free_ring, free_first, nfree;
static SSL_CTX *ctx;
static SSL_SESSION *ticket;
static int ep;
static uint64_t prng = 0x9e3779b97f4a7c15ULL;

static char request[4096];
static size_t request_len, sid_at, token_at;
static char zeros[16 << 10]; /* what a request's body is made of */

/* What is reported. */
static struct {
	uint64_t sent, ok, errors, reconnects, resumed, measured, late;
	uint32_t *latency_ns;
	size_t nlatency, cap;
	char error[200];
} out;

static void die(const char *what)
{
	fprintf(stderr, "load: %s\n", what);
	exit(2);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static uint64_t random_next(void)
{
	return mix(prng++);
}

/* ---- sessions and the request ---- */

/* Session number `n`: 24 characters that look drawn, the same in every run. */
static void session_make(uint64_t n, struct session *ret)
{
	static const char alphabet[] = "0123456789abcdefghijklmnopqrstuv";
	unsigned char mac[32], b64[64];
	char text[64];
	unsigned len;
	int n_text;

	for (int i = 0; i < SID_LEN; i++)
		ret->sid[i] = alphabet[mix(n * 2 + (i >= 12)) >> (5 * (i % 12)) & 31];
	n_text = snprintf(text, sizeof(text), "%.*s:%s", SID_LEN, ret->sid, opt.client);
	if (opt.scenario == S_FORGED || opt.scenario == S_INVENTED)
		text[0] ^= 1;
	HMAC(EVP_sha256(), opt.key, (int)opt.key_len, (unsigned char *)text, (size_t)n_text, mac,
	     &len);
	EVP_EncodeBlock(b64, mac, 32);
	memcpy(ret->token, b64, TOKEN_LEN);
}

static void sessions_make(void)
{
	sessions = calloc(opt.sessions, sizeof(*sessions));
	if (!sessions)
		die("out of memory");
	for (size_t i = 0; i < opt.sessions; i++)
		session_make(opt.first + i, &sessions[i]);
}

/* As a browser sends it: 820 bytes, six cookies, the session's last. */
static void request_make(void)
{
	bool has_session = opt.scenario != S_LOGIN && opt.scenario != S_NONE;
	char *p, body[64] = "";

	if (opt.upload)
		snprintf(body, sizeof(body), "Content-Length: %zu\r\n", opt.upload);

	request_len = (size_t)snprintf(
		request, sizeof(request),
		"%s %s HTTP/1.1\r\n"
		"Host: shop.example.com\r\n%s"
		"Connection: keep-alive\r\n"
		"sec-ch-ua: \"Chromium\";v=\"126\", \"Not/A)Brand\";v=\"8\"\r\n"
		"sec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Windows\"\r\n"
		"User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 "
		"(KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n"
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,"
		"image/webp,*/*;q=0.8\r\n"
		"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n"
		"Accept-Encoding: gzip, deflate, br, zstd\r\n"
		"Referer: https://shop.example.com/catalog/\r\n"
		"Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n"
		"Sec-Fetch-Site: same-origin\r\nUpgrade-Insecure-Requests: 1\r\n"
		"Cookie: _ga=GA1.2.1234567890.1700000000; _gid=GA1.2.987654321.1700000000; "
		"theme=dark; consent=v2-yes; %s=%024d; %s=%044d\r\n\r\n",
		opt.upload ? "POST" : "GET", opt.path, body, has_session ? "sid" : "foo", 0,
		has_session ? "sid_HMAC" : "foo_TRACE", 0);
	if (request_len >= sizeof(request))
		die("--path is too long");
	if (!has_session)
		return;
	p = strstr(request, "; sid=");
	sid_at = (size_t)(p - request) + 6;
	token_at = (size_t)(strstr(request, "sid_HMAC=") - request) + 9;
}

/* Which session the connection sends next. */
static uint32_t pick(const struct conn *c)
{
	if (opt.scenario == S_STICKY)
		return (uint32_t)((size_t)(c - conns) % opt.sessions);
	if (opt.sequential || opt.scenario == S_MISS || opt.scenario == S_INVENTED)
		return (uint32_t)(out.sent % opt.sessions);
	return (uint32_t)(random_next() % opt.sessions);
}

/* ---- connections ---- */

static void conn_open(struct conn *c);
static void conn_read(struct conn *c);
static void conn_request(struct conn *c, uint64_t due_ns);

static void fail(struct conn *c, const char *what)
{
	out.errors++;
	if (!out.error[0])
		snprintf(out.error, sizeof(out.error), "%s", what);
	if (out.errors > 2000)
		die(out.error);
	if (c->state == CONNECTING || c->state == HANDSHAKE)
		poll(NULL, 0, 1); /* nothing there: don't spin */
}

static void conn_close(struct conn *c)
{
	if (c->ssl)
		SSL_free(c->ssl);
	if (c->fd >= 0)
		close(c->fd);
	c->ssl = NULL;
	c->fd = -1;
	c->state = CLOSED;
}

static void conn_again(struct conn *c)
{
	conn_close(c);
	conn_open(c);
}

static void conn_watch(struct conn *c, int op, bool want_out)
{
	struct epoll_event e = {.events = EPOLLIN | (want_out ? EPOLLOUT : 0), .data.ptr = c};

	c->want_out = want_out;
	if (epoll_ctl(ep, op, c->fd, &e))
		die("epoll_ctl");
}

static void conn_want_out(struct conn *c, bool want)
{
	if (c->want_out != want)
		conn_watch(c, EPOLL_CTL_MOD, want);
}

static void conn_is_free(struct conn *c)
{
	c->state = FREE;
	free_ring[(free_first + nfree++) % opt.conns] = (size_t)(c - conns);
}

static void conn_is_open(struct conn *c)
{
	if (opt.mode == MODE_IDLE)
		conn_request(c, now_ns());
	else
		conn_is_free(c);
}

static struct conn *take_free(void)
{
	while (nfree) {
		struct conn *c = &conns[free_ring[free_first]];

		free_first = (free_first + 1) % opt.conns;
		nfree--;
		if (c->state == FREE)
			return c;
	}
	return NULL;
}

static int on_ticket(SSL *ssl, SSL_SESSION *s)
{
	struct conn *c = SSL_get_app_data(ssl);

	c->got_ticket = true;
	/* OpenSSL spoils a session once it was used: each connection gets a copy */
	if (opt.resume && !ticket)
		ticket = SSL_SESSION_dup(s);
	return 0;
}

static void conn_open(struct conn *c)
{
	int one = 1;

	memset(c, 0, offsetof(struct conn, head));
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket: too few file descriptors?");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->state = CONNECTING;
	if (connect(c->fd, (struct sockaddr *)&opt.to, sizeof(opt.to)) && errno != EINPROGRESS)
		fail(c, "connect");
	conn_watch(c, EPOLL_CTL_ADD, true);
	if (!opt.tls)
		return;
	c->ssl = SSL_new(ctx);
	if (!c->ssl)
		die("SSL_new");
	SSL_set_fd(c->ssl, c->fd);
	SSL_set_app_data(c->ssl, c);
	SSL_set_tlsext_host_name(c->ssl, "shop.example.com");
	if (ticket) {
		SSL_SESSION *copy = SSL_SESSION_dup(ticket);

		SSL_set_session(c->ssl, copy);
		SSL_SESSION_free(copy);
	}
	SSL_set_connect_state(c->ssl);
}

/* One handshake of MODE_HANDSHAKE is complete, its ticket included: the next one. */
static void handshake_done(struct conn *c, bool measured)
{
	out.ok++;
	out.measured += measured;
	out.resumed += SSL_session_reused(c->ssl);
	SSL_shutdown(c->ssl);
	conn_again(c);
}

static bool measuring;

static void conn_handshake(struct conn *c)
{
	int r = SSL_do_handshake(c->ssl);

	if (r == 1) {
		conn_want_out(c, false);
		if (opt.mode != MODE_HANDSHAKE) {
			conn_is_open(c);
			return;
		}
		if (opt.tls12) { /* its ticket, if there is a new one, came within */
			handshake_done(c, measuring);
			return;
		}
		c->state = TICKET;
		conn_read(c);
		return;
	}
	switch (SSL_get_error(c->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		conn_want_out(c, false);
		return;
	case SSL_ERROR_WANT_WRITE:
		conn_want_out(c, true);
		return;
	default:
		fail(c, "TLS handshake failed");
		ERR_clear_error();
		conn_again(c);
	}
}

static void conn_connected(struct conn *c)
{
	socklen_t len = sizeof(int);
	int err = 0;

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err) {
		fail(c, strerror(err));
		conn_again(c);
		return;
	}
	if (c->ssl) {
		c->state = HANDSHAKE;
		conn_handshake(c);
		return;
	}
	conn_want_out(c, false);
	conn_is_open(c);
}

/* ---- requests and answers ---- */

/* Bytes taken, 0 = later, -1 = lost. */
static ssize_t conn_send(struct conn *c, const char *data, size_t len)
{
	ssize_t n;

	if (!c->ssl) {
		n = send(c->fd, data, len, MSG_NOSIGNAL);
		return n < 0 && errno == EAGAIN ? 0 : n;
	}
	n = SSL_write(c->ssl, data, (int)len);
	if (n <= 0)
		n = SSL_get_error(c->ssl, (int)n) == SSL_ERROR_WANT_WRITE ? 0 : -1;
	return n;
}

/* The head is one buffer for all connections: it goes at once. A body goes as it can. */
static void conn_write(struct conn *c)
{
	size_t all = request_len + opt.upload;

	while (c->out_at < all) {
		bool head = c->out_at < request_len;
		size_t left = head ? request_len - c->out_at : all - c->out_at;
		ssize_t n = conn_send(c, head ? request + c->out_at : zeros,
				      head || left < sizeof(zeros) ? left : sizeof(zeros));

		if (n < 0 || (!n && head)) {
			fail(c, "short send");
			conn_again(c);
			return;
		}
		if (!n)
			break;
		c->out_at += (size_t)n;
	}
	conn_want_out(c, c->out_at < all);
}

static void conn_request(struct conn *c, uint64_t due_ns)
{
	c->state = BUSY;
	c->due_ns = due_ns;
	c->measured = measuring;
	c->out_at = 0;
	c->head_len = 0;
	c->in_body = false;
	if (sid_at) {
		const struct session *s;

		c->session = pick(c);
		s = &sessions[c->session];
		memcpy(request + sid_at, s->sid, SID_LEN);
		memcpy(request + token_at, s->token, TOKEN_LEN);
	}
	out.sent++;
	conn_write(c);
}

static void answered(struct conn *c)
{
	uint64_t took = now_ns() - c->due_ns;

	out.ok++;
	out.measured += measuring;
	if (c->measured && out.nlatency < out.cap)
		out.latency_ns[out.nlatency++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
	conn_is_free(c);
}

/* The head is complete: status, length and, after a login, the sibling. Returns false if wrong. */
static bool head_is_right(struct conn *c)
{
	const char *length;

	c->head[c->head_len] = 0;
	if (strncmp(c->head, "HTTP/1.1 200", 12)) {
		snprintf(out.error, sizeof(out.error), "answer: %.40s", c->head);
		return false;
	}
	length = strcasestr(c->head, "\r\ncontent-length:");
	if (!length) {
		snprintf(out.error, sizeof(out.error), "answer without Content-Length");
		return false;
	}
	c->left = strtoull(length + 17, NULL, 10);
	if (opt.length >= 0 && c->left != (uint64_t)opt.length) {
		snprintf(out.error, sizeof(out.error), "a body of %llu bytes",
			 (unsigned long long)c->left);
		return false;
	}
	if (opt.scenario == S_LOGIN && !strcasestr(c->head, "\r\nset-cookie: sid_HMAC=")) {
		snprintf(out.error, sizeof(out.error), "a login without sid_HMAC");
		return false;
	}
	return true;
}

/* Returns false when the connection is to be given up. */
static bool take(struct conn *c, const char *data, size_t n)
{
	if (c->state != BUSY)
		return false;
	if (!c->in_body) {
		size_t room = sizeof(c->head) - 1 - c->head_len, old = c->head_len;
		size_t part = n < room ? n : room;
		char *end;

		memcpy(c->head + old, data, part);
		c->head_len += part;
		end = memmem(c->head, c->head_len, "\r\n\r\n", 4);
		if (!end)
			return c->head_len < sizeof(c->head) - 1;
		c->head_len = (size_t)(end + 4 - c->head);
		data += c->head_len - old;
		n -= c->head_len - old;
		if (!head_is_right(c))
			return false;
		c->in_body = true;
	}
	if (n > c->left)
		return false;
	c->left -= n;
	if (!c->left && c->out_at < request_len + opt.upload)
		return false; /* an answer to half a request */
	if (!c->left)
		answered(c);
	return true;
}

static void conn_lost(struct conn *c)
{
	ERR_clear_error();
	if (c->state == BUSY || c->state == TICKET)
		fail(c, "connection lost, or a wrong answer");
	out.reconnects++;
	conn_again(c);
}

static void conn_read(struct conn *c)
{
	static char buf[128 << 10];

	for (;;) {
		ssize_t n = c->ssl ? SSL_read(c->ssl, buf, sizeof(buf))
				   : recv(c->fd, buf, sizeof(buf), 0);

		if (c->state == TICKET && c->got_ticket) {
			handshake_done(c, measuring);
			return;
		}
		if (n <= 0) {
			bool later = c->ssl ? SSL_get_error(c->ssl, (int)n) == SSL_ERROR_WANT_READ
					    : n < 0 && errno == EAGAIN;

			if (!later)
				conn_lost(c);
			return;
		}
		if (!take(c, buf, (size_t)n)) {
			conn_lost(c);
			return;
		}
		if (c->state == FREE || (!c->ssl && (size_t)n < sizeof(buf)))
			return;
	}
}

static void on_event(struct conn *c)
{
	switch (c->state) {
	case CLOSED:
		break;
	case CONNECTING:
		conn_connected(c);
		break;
	case HANDSHAKE:
		conn_handshake(c);
		break;
	case BUSY:
		if (c->want_out)
			conn_write(c);
		if (c->state == BUSY)
			conn_read(c);
		break;
	case TICKET:
	case FREE:
		conn_read(c);
		break;
	}
}

static void wait_events(uint64_t timeout_ns)
{
	struct timespec ts = {(time_t)(timeout_ns / SECOND), (long)(timeout_ns % SECOND)};
	struct epoll_event ev[128];
	int n = epoll_pwait2(ep, ev, 128, &ts, NULL);

	for (int i = 0; i < n; i++)
		on_event(ev[i].data.ptr);
}

/* ---- the phases of a run ---- */

/* Opens the connections in batches, so that no backlog overflows. */
static void open_all(void)
{
	uint64_t give_up = now_ns() + 30 * SECOND;

	for (size_t i = 0; i < opt.conns; i++) {
		conn_open(&conns[i]);
		while (nfree + 128 <= i + 1 && now_ns() < give_up)
			wait_events(SECOND / 100);
	}
	while (nfree < opt.conns && now_ns() < give_up)
		wait_events(SECOND / 100);
	if (nfree < opt.conns)
		die(out.error[0] ? out.error : "not all connections could be opened");
}

struct reading {
	struct meter_reading proxy, backend, self;
	struct meter_machine machine;
	uint64_t answered;
};

static void take_reading(struct reading *r)
{
	struct meter_group self = {.n = 1, .pid = {getpid()}};

	meter_read(&opt.proxy, &r->proxy);
	meter_read(&opt.backend, &r->backend);
	meter_read(&self, &r->self);
	meter_read_machine(&r->machine);
	r->answered = out.measured;
}

/* Sends what is due. Returns how long there is nothing to do. */
static uint64_t dispatch(uint64_t start_ns, uint64_t *sent)
{
	uint64_t now = now_ns(), due;
	struct conn *c;

	while (out.sent < opt.requests) {
		due = opt.mode == MODE_RATE ? start_ns + *sent * SECOND / opt.rate : now;
		if (due > now)
			return due - now;
		c = take_free();
		if (!c)
			break;
		++*sent;
		conn_request(c, due);
	}
	return SECOND / 100;
}

static void run(struct reading *before, struct reading *after)
{
	uint64_t start = now_ns(), sent = 0, pause = SECOND / 100;
	uint64_t from = start + (uint64_t)(opt.warm_s * 1e9);
	uint64_t to = from + (uint64_t)(opt.seconds * 1e9);
	bool over = false;

	while (!over) {
		uint64_t now = now_ns();

		if (!measuring && now >= from) {
			measuring = true;
			take_reading(before);
		}
		over = now >= to || out.ok + out.errors >= opt.requests;
		if (over)
			break;
		if (opt.mode != MODE_HANDSHAKE)
			pause = dispatch(start, &sent);
		wait_events(pause);
	}
	take_reading(after);
	measuring = false;
	if (opt.mode == MODE_RATE && start + sent * SECOND / opt.rate < to)
		out.late = (to - start - sent * SECOND / opt.rate) * opt.rate / SECOND;
	/* what is under way still counts for the latencies */
	for (uint64_t end = now_ns() + SECOND / 2;
	     opt.mode == MODE_RATE && nfree < opt.conns && now_ns() < end;)
		wait_events(SECOND / 100);
}

/*
 * Each connection asks once, then all stay open until stdin ends. In batches: a proxy may close a
 * connection that says nothing for some seconds.
 */
static void idle(void)
{
	uint64_t give_up = now_ns() + 50 * SECOND;
	struct pollfd in = {.fd = 0, .events = POLLIN};
	size_t opened = 0;

	while (out.ok + out.errors < opt.conns && now_ns() < give_up) {
		while (opened < opt.conns && opened < out.ok + out.errors + 64)
			conn_open(&conns[opened++]);
		wait_events(SECOND / 100);
	}
	printf("{\"idle\": %zu, \"errors\": %llu, \"error\": \"%s\"}\n", opt.conns,
	       (unsigned long long)out.errors, out.error);
	fflush(stdout);
	poll(&in, 1, (int)(opt.seconds * 1000));
}

/* ---- what comes out ---- */

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double percentile_us(double p)
{
	if (!out.nlatency)
		return 0;
	return out.latency_ns[(size_t)(p * (double)(out.nlatency - 1))] / 1e3;
}

static double us_each(uint64_t after, uint64_t before, double requests)
{
	return requests > 0 && after > before ? (double)(after - before) / 1e3 / requests : 0;
}

static void print(const struct reading *b, const struct reading *a)
{
	double n = (double)(a->answered - b->answered);
	uint64_t wall = a->machine.clock_ns - b->machine.clock_ns;
	uint64_t all = wall * (uint64_t)a->machine.cpus;
	uint64_t unused = a->machine.idle_ns - b->machine.idle_ns + a->machine.steal_ns -
			  b->machine.steal_ns;

	qsort(out.latency_ns, out.nlatency, sizeof(*out.latency_ns), by_value);
	printf("{\"mode\": \"%s\", \"scenario\": \"%s\", \"tls\": %s, \"head_bytes\": %zu, "
	       "\"sent\": %llu, \"ok\": %llu, \"errors\": %llu, \"reconnects\": %llu, "
	       "\"resumed\": %llu, \"late\": %llu, \"seconds\": %.3f, \"rps\": %.1f, ",
	       modes[opt.mode], scenarios[opt.scenario], opt.tls ? "true" : "false", request_len,
	       (unsigned long long)out.sent, (unsigned long long)out.ok,
	       (unsigned long long)out.errors, (unsigned long long)out.reconnects,
	       (unsigned long long)out.resumed, (unsigned long long)out.late, (double)wall / 1e9,
	       wall ? n * 1e9 / (double)wall : 0);
	printf("\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, ", percentile_us(0.5),
	       percentile_us(0.99), percentile_us(1));
	printf("\"cpu_us\": %.3f, \"wait_us\": %.3f, \"backend_us\": %.3f, \"load_us\": %.3f, "
	       "\"busy_us\": %.3f, \"error\": \"%s\"}\n",
	       us_each(a->proxy.ran_ns, b->proxy.ran_ns, n),
	       us_each(a->proxy.waited_ns, b->proxy.waited_ns, n),
	       us_each(a->backend.ran_ns, b->backend.ran_ns, n),
	       us_each(a->self.ran_ns, b->self.ran_ns, n),
	       all > unused ? us_each(all, unused, n) : 0, out.error);
}

/* ---- options ---- */

static int find(const char *const *names, const char *word)
{
	for (int i = 0; names[i]; i++) {
		if (!strcmp(names[i], word))
			return i;
	}
	die("no such mode or scenario");
	return -1;
}

static void read_key(const char *path)
{
	FILE *f = fopen(path, "re");

	if (!f)
		die("--key cannot be read");
	opt.key_len = fread(opt.key, 1, sizeof(opt.key), f);
	if (opt.key_len && opt.key[opt.key_len - 1] == '\n')
		opt.key_len--;
	fclose(f);
}

static void set_target(char *text)
{
	char *colon = strrchr(text, ':');
	unsigned net;

	if (!colon)
		die("--to ADDRESS:PORT");
	*colon = 0;
	opt.to.sin_family = AF_INET;
	opt.to.sin_port = htons((uint16_t)atoi(colon + 1));
	if (inet_pton(AF_INET, text, &opt.to.sin_addr) != 1)
		die("--to: no IPv4 address");
	net = ntohl(opt.to.sin_addr.s_addr) >> 24;
	if (net != IN_LOOPBACKNET && net != 10)
		die("--to: an address of loopback, or of 10.0.0.0/8");
}

static void usage(void)
{
	die("load --to 127.0.0.1:PORT [--tls | --tls12] [--mode rate|saturate|handshake|idle]\n"
	    "  [--scenario valid|sticky|miss|forged|invented|login|none] [--key FILE] [--path P]\n"
	    "  [--length BYTES] [--upload BYTES] [--connections N] [--rate N] [--warm S] "
	    "[--seconds S]\n"
	    "  [--requests N] [--sessions N] [--first N] [--sequential] [--resume]\n"
	    "  [--client-ip A] [--proxy PID,PID] [--backend PID,PID]");
}

static const struct option longopts[] = {
	{"to", 1, NULL, 't'},	     {"tls", 0, NULL, 'T'},	    {"mode", 1, NULL, 'm'},
	{"scenario", 1, NULL, 's'},  {"key", 1, NULL, 'k'},	    {"path", 1, NULL, 'p'},
	{"length", 1, NULL, 'l'},    {"connections", 1, NULL, 'c'}, {"rate", 1, NULL, 'r'},
	{"warm", 1, NULL, 'w'},	     {"seconds", 1, NULL, 'S'},	    {"requests", 1, NULL, 'n'},
	{"sessions", 1, NULL, 'N'},  {"first", 1, NULL, 'f'},	    {"upload", 1, NULL, 'u'},
	{"tls12", 0, NULL, '2'},     {"sequential", 0, NULL, 'q'},  {"resume", 0, NULL, 'R'},
	{"client-ip", 1, NULL, 'i'}, {"proxy", 1, NULL, 'P'},	    {"backend", 1, NULL, 'B'},
	{NULL, 0, NULL, 0},
};

static void parse_pids(const char *list, struct meter_group *ret)
{
	if (meter_parse(list, ret))
		die("a list of pids: 12,13");
}

static void set_option(int o, char *arg)
{
	switch (o) {
	case 't':
		set_target(arg);
		break;
	case 'T':
		opt.tls = true;
		break;
	case '2':
		opt.tls = opt.tls12 = true;
		break;
	case 'm':
		opt.mode = find(modes, arg);
		break;
	case 's':
		opt.scenario = find(scenarios, arg);
		break;
	case 'k':
		read_key(arg);
		break;
	case 'p':
		opt.path = arg;
		break;
	case 'l':
		opt.length = atol(arg);
		break;
	case 'c':
		opt.conns = strtoul(arg, NULL, 10);
		break;
	case 'r':
		opt.rate = strtoull(arg, NULL, 10);
		break;
	case 'w':
		opt.warm_s = atof(arg);
		break;
	case 'S':
		opt.seconds = atof(arg);
		break;
	case 'n':
		opt.requests = strtoull(arg, NULL, 10);
		break;
	case 'N':
		opt.sessions = strtoul(arg, NULL, 10);
		break;
	case 'f':
		opt.first = strtoull(arg, NULL, 10);
		break;
	case 'q':
		opt.sequential = true;
		break;
	case 'u':
		opt.upload = strtoul(arg, NULL, 10);
		break;
	case 'R':
		opt.resume = true;
		break;
	case 'i':
		opt.client = arg;
		break;
	case 'P':
		parse_pids(arg, &opt.proxy);
		break;
	case 'B':
		parse_pids(arg, &opt.backend);
		break;
	default:
		usage();
	}
}

static void options(int argc, char **argv)
{
	int o;

	while ((o = getopt_long(argc, argv, "", longopts, NULL)) != -1)
		set_option(o, optarg);
	if (!opt.to.sin_port || optind < argc)
		usage();
	if (!opt.conns || opt.conns > CONNS_MAX || !opt.rate || !opt.sessions ||
	    opt.requests > REQUESTS_MAX || opt.upload > UPLOAD_MAX ||
	    opt.seconds + opt.warm_s > SECONDS_MAX)
		die("out of bounds");
	if (opt.mode == MODE_HANDSHAKE && !opt.tls)
		die("handshakes are for --tls");
}

/* ---- set-up ---- */

static void open_tls(void)
{
	int version = opt.tls12 ? TLS1_2_VERSION : TLS1_3_VERSION;

	ctx = SSL_CTX_new(TLS_client_method());
	if (!ctx || !SSL_CTX_set_min_proto_version(ctx, version) ||
	    !SSL_CTX_set_max_proto_version(ctx, version) ||
	    !SSL_CTX_set_cipher_list(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256") ||
	    !SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") ||
	    !SSL_CTX_set1_groups_list(ctx, opt.tls12 ? "X25519:P-256" : "X25519"))
		die("OpenSSL");
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_ticket);
}

static void prepare(void)
{
	struct rlimit files;

	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_TIMERSLACK, 1UL);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	prng = now_ns();
	request_make();
	if (sid_at && opt.mode != MODE_HANDSHAKE)
		sessions_make();
	if (opt.tls)
		open_tls();
	out.cap = (size_t)(opt.mode == MODE_RATE ? (double)opt.rate * opt.seconds * 1.2 : 2e6);
	out.latency_ns = malloc(out.cap * sizeof(*out.latency_ns) + 4);
	conns = calloc(opt.conns, sizeof(*conns));
	free_ring = calloc(opt.conns, sizeof(*free_ring));
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (!out.latency_ns || !conns || !free_ring || ep < 0)
		die("out of memory");
}

int main(int argc, char **argv)
{
	struct reading before = {0}, after = {0};

	options(argc, argv);
	prepare();
	if (opt.mode == MODE_HANDSHAKE) {
		for (size_t i = 0; i < opt.conns; i++)
			conn_open(&conns[i]);
	} else if (opt.mode == MODE_IDLE) {
		idle();
		return 0;
	} else {
		open_all();
	}
	run(&before, &after);
	print(&before, &after);
	return out.ok ? 0 : 1;
}
