/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scripted HTTP/1.1 backend: one thread a connection, every request kept as it came, answers by
 * a canned reply or a handler. Its threads never assert; they note what they saw and the test
 * looks at it. What it saw goes into HT_RECORD, so that a run with the gate can be compared with
 * one without.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#define BUF_SIZE 131072

/* ---- reading heads ---- */

static const char *line_next(const char *line)
{
	const char *end = strstr(line, "\r\n");

	return end && end[2] != '\r' && end[2] ? end + 2 : NULL;
}

static bool line_is(const char *line, const char *name)
{
	size_t len = strlen(name);

	return !strncasecmp(line, name, len) && line[len] == ':';
}

const char *head_field(const char *head, const char *name, int n)
{
	static __thread char ring[8][8192];
	static __thread unsigned next;
	char *out = ring[next++ % 8];
	const char *line, *v, *end;

	for (line = line_next(head); line; line = line_next(line)) {
		if (!line_is(line, name) || n-- > 0)
			continue;
		v = line + strlen(name) + 1;
		end = strstr(v, "\r\n");
		while (*v == ' ' || *v == '\t')
			v++;
		while (end > v && (end[-1] == ' ' || end[-1] == '\t'))
			end--;
		snprintf(out, sizeof(ring[0]), "%.*s", (int)(end - v), v);
		return out;
	}
	return NULL;
}

int head_count(const char *head, const char *name)
{
	int n = 0;

	for (const char *line = line_next(head); line; line = line_next(line))
		n += line_is(line, name);
	return n;
}

static void cookie_add(const char *p, const char *end, const char *but, struct text *out)
{
	const char *eq, *name_end;

	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	if (p == end)
		return;
	eq = memchr(p, '=', (size_t)(end - p));
	name_end = eq ? eq : end;
	while (name_end > p && (name_end[-1] == ' ' || name_end[-1] == '\t'))
		name_end--;
	if (but && (size_t)(name_end - p) == strlen(but) && !memcmp(p, but, strlen(but)))
		return;
	if (out->len)
		text_add(out, "|", 1);
	text_add(out, p, (size_t)(name_end - p));
	if (!eq)
		return;
	text_add(out, "=", 1);
	for (eq++; eq < end && (*eq == ' ' || *eq == '\t'); eq++)
		;
	text_add(out, eq, (size_t)(end - eq));
}

void head_cookies(const char *head, const char *but, struct text *out)
{
	text_clear(out);
	text_add(out, "", 0);
	for (const char *line = line_next(head); line; line = line_next(line)) {
		const char *p = line + 7, *end, *semi;

		if (!line_is(line, "Cookie"))
			continue;
		end = strstr(line, "\r\n");
		for (; p <= end; p = semi + 1) {
			semi = memchr(p, ';', (size_t)(end - p));
			if (!semi)
				semi = end;
			cookie_add(p, semi, but, out);
		}
	}
}

void breq_target(const struct breq *r, char *out, size_t cap)
{
	const char *p = strchr(r->head, ' ');
	size_t n = 0;

	for (p = p ? p + 1 : ""; *p && *p != ' ' && n + 1 < cap; p++)
		out[n++] = *p;
	out[n] = 0;
}

/* ---- a connection's thread ---- */

static void be_lock(struct backend *be)
{
	pthread_mutex_lock(&be->lock);
}

static void be_unlock(struct backend *be)
{
	pthread_cond_broadcast(&be->changed);
	pthread_mutex_unlock(&be->lock);
}

static ssize_t fill(struct bconn *c)
{
	ssize_t n;

	if (c->closed || c->len == BUF_SIZE)
		return -1;
	if (c->ssl)
		n = SSL_read(c->ssl, c->buf + c->len, (int)(BUF_SIZE - c->len));
	else
		n = recv(c->fd, c->buf + c->len, BUF_SIZE - c->len, 0);
	if (n <= 0)
		return n;
	if (c->be->keep_raw) {
		be_lock(c->be);
		text_add(&c->be->raw, c->buf + c->len, (size_t)n);
		be_unlock(c->be);
	}
	c->len += (size_t)n;
	return n;
}

static void drop(struct bconn *c, size_t n)
{
	memmove(c->buf, c->buf + n, c->len - n);
	c->len -= n;
}

ssize_t bconn_recv(struct bconn *c, void *p, size_t len)
{
	if (!c->len) {
		ssize_t n = fill(c);

		if (n <= 0)
			return n;
	}
	if (len > c->len)
		len = c->len;
	memcpy(p, c->buf, len);
	drop(c, len);
	return (ssize_t)len;
}

bool bconn_send(struct bconn *c, const void *p, size_t len)
{
	const char *s = p;

	while (len) {
		ssize_t n = -1;

		if (c->ssl && !c->closed)
			n = SSL_write(c->ssl, s, (int)len);
		else if (!c->closed)
			n = send(c->fd, s, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		s += n;
		len -= (size_t)n;
	}
	return true;
}

bool bconn_sendf(struct bconn *c, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;
	bool ok;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	ok = bconn_send(c, s, (size_t)n);
	free(s);
	return ok;
}

bool bconn_send_pattern(struct bconn *c, uint64_t len, bool chunked)
{
	static const size_t steps[] = {16384, 1, 4095, 8192, 16000};
	char buf[16384];
	uint64_t at = 0;

	for (unsigned i = 0; at < len; i++) {
		size_t n = chunked ? steps[i % E2E_ARRAY_SIZE(steps)] : sizeof(buf);

		if (n > len - at)
			n = (size_t)(len - at);
		pattern_fill(buf, n, at);
		if (chunked && !bconn_sendf(c, "%zx\r\n", n))
			return false;
		if (!bconn_send(c, buf, n) || (chunked && !bconn_send(c, "\r\n", 2)))
			return false;
		at += n;
	}
	return !chunked || bconn_send(c, "0\r\n\r\n", 5);
}

void bconn_close(struct bconn *c, bool reset)
{
	struct linger l = {1, 0};

	if (c->closed)
		return;
	c->closed = true;
	if (reset)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	if (c->ssl && !reset)
		SSL_shutdown(c->ssl);
	SSL_free(c->ssl);
	c->ssl = NULL;
	be_lock(c->be);
	close(c->fd);
	c->fd = -1;
	c->be->nclosed++;
	be_unlock(c->be);
}

static void body_take(struct breq *r, const char *p, size_t len)
{
	size_t room = BODY_KEEP - r->body_kept;

	r->body_hash = pattern_hash(r->body_hash, p, len);
	r->body_len += len;
	if (len > room)
		len = room;
	if (!len)
		return;
	r->body = realloc(r->body, r->body_kept + len + 1);
	memcpy(r->body + r->body_kept, p, len);
	r->body_kept += len;
	r->body[r->body_kept] = 0;
}

static bool body_run(struct bconn *c, struct breq *r, uint64_t len)
{
	while (len) {
		size_t n;

		if (!c->len && fill(c) <= 0)
			return false;
		n = c->len < len ? c->len : (size_t)len;
		body_take(r, c->buf, n);
		drop(c, n);
		len -= n;
		be_lock(c->be);
		be_unlock(c->be);
	}
	return true;
}

/* One CRLF-ended line out of the buffer. */
static bool take_line(struct bconn *c, char *out, size_t cap)
{
	char *end;

	while (!(end = memmem(c->buf, c->len, "\r\n", 2)))
		if (fill(c) <= 0)
			return false;
	snprintf(out, cap, "%.*s", (int)(end - c->buf), c->buf);
	drop(c, (size_t)(end - c->buf) + 2);
	return true;
}

static bool body_chunks(struct bconn *c, struct breq *r)
{
	char line[256];
	uint64_t n;

	for (;;) {
		if (!take_line(c, line, sizeof(line)) || !isxdigit((unsigned char)line[0]))
			return false;
		n = strtoull(line, NULL, 16);
		if (!n)
			break;
		if (!body_run(c, r, n) || !take_line(c, line, sizeof(line)) || line[0])
			return false;
	}
	/* What follows the last chunk must be the empty line: trailers never get here. */
	return take_line(c, line, sizeof(line)) && !line[0];
}

bool bconn_body(struct bconn *c, struct breq *r)
{
	const char *length = head_field(r->head, "Content-Length", 0);
	const char *coding = head_field(r->head, "Transfer-Encoding", 0);
	bool ok = true;

	if (c->body_read)
		return r->complete;
	c->body_read = true;
	r->chunked = coding != NULL;
	if (coding)
		ok = body_chunks(c, r);
	else if (length)
		ok = body_run(c, r, strtoull(length, NULL, 10));
	be_lock(c->be);
	r->complete = ok;
	r->broken = !ok;
	be_unlock(c->be);
	return ok;
}

static struct breq *take_head(struct bconn *c)
{
	struct breq *r;
	char *end;
	size_t len;

	while (!(end = memmem(c->buf, c->len, "\r\n\r\n", 4)))
		if (fill(c) <= 0)
			return NULL;
	len = (size_t)(end - c->buf) + 4;
	r = calloc(1, sizeof(*r));
	r->head = malloc(len + 1);
	memcpy(r->head, c->buf, len);
	r->head[len] = 0;
	r->head_len = len;
	r->conn = c->id;
	drop(c, len);
	be_lock(c->be);
	if (c->be->nreqs < (int)E2E_ARRAY_SIZE(c->be->reqs))
		c->be->reqs[c->be->nreqs++] = r;
	be_unlock(c->be);
	return r;
}

void backend_answer(struct bconn *c, struct breq *r)
{
	struct backend *be = c->be;
	bool head = !strncmp(r->head, "HEAD ", 5), close_after;
	char *reply = NULL, target[4096];
	size_t len;

	if (!bconn_body(c, r)) {
		bconn_close(c, false);
		return;
	}
	be_lock(be);
	len = be->reply_len;
	close_after = be->reply_close;
	if (be->reply) {
		reply = malloc(len + 1);
		memcpy(reply, be->reply, len);
	}
	be_unlock(be);
	if (reply) {
		bconn_send(c, reply, len);
		free(reply);
		if (close_after)
			bconn_close(c, false);
		return;
	}
	breq_target(r, target, sizeof(target));
	bconn_sendf(c,
		    "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nContent-Type: text/plain\r\n\r\n%s",
		    strlen(target), head ? "" : target);
}

/* The TLS handshake, where there is one. */
static bool bconn_secure(struct bconn *c)
{
	bool ok;

	if (!c->be->ctx)
		return true;
	c->ssl = SSL_new(c->be->ctx);
	SSL_set_fd(c->ssl, c->fd);
	ok = SSL_accept(c->ssl) == 1;
	be_lock(c->be);
	c->be->nhandshakes += !ok;
	be_unlock(c->be);
	return ok;
}

static void *bconn_main(void *arg)
{
	struct bconn *c = arg;
	struct breq *r;

	if (!bconn_secure(c))
		bconn_close(c, false);
	while (!c->closed && (r = take_head(c))) {
		c->body_read = false;
		(c->be->handler ? c->be->handler : backend_answer)(c, r);
		if (!c->closed && !bconn_body(c, r))
			break;
	}
	bconn_close(c, false);
	return NULL;
}

static void *backend_main(void *arg)
{
	struct backend *be = arg;

	for (;;) {
		int fd = accept4(be->fd, NULL, NULL, SOCK_CLOEXEC), one = 1;
		struct bconn *c;

		if (fd < 0)
			return NULL;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		c = calloc(1, sizeof(*c));
		c->be = be;
		c->fd = fd;
		c->buf = malloc(BUF_SIZE);
		be_lock(be);
		if (be->stopping || be->nconns == (int)E2E_ARRAY_SIZE(be->conns)) {
			be_unlock(be);
			close(fd);
			free(c->buf);
			free(c);
			continue;
		}
		c->id = be->nconns;
		be->conns[be->nconns++] = c;
		pthread_create(&c->thread, NULL, bconn_main, c);
		be_unlock(be);
	}
}

/* ---- for tests ---- */

struct backend *backend_start(backend_fn handler)
{
	return backend_start_on(0, handler);
}

struct backend *backend_start_on(int port, backend_fn handler)
{
	return backend_start_at("127.0.0.1", port, handler);
}

static struct backend *backend_open(const char *address, int port, SSL_CTX *ctx, backend_fn handler)
{
	struct backend *be = calloc(1, sizeof(*be));
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)port),
				.sin_addr = {inet_addr(address)}};
	socklen_t len = sizeof(a);
	int one = 1;

	be->handler = handler;
	be->ctx = ctx;
	pthread_mutex_init(&be->lock, NULL);
	pthread_cond_init(&be->changed, NULL);
	be->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(be->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	cr_assert_eq(bind(be->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(listen(be->fd, 1024), 0);
	getsockname(be->fd, (struct sockaddr *)&a, &len);
	be->port = ntohs(a.sin_port);
	cr_assert_eq(pthread_create(&be->thread, NULL, backend_main, be), 0);
	return be;
}

struct backend *backend_start_at(const char *address, int port, backend_fn handler)
{
	return backend_open(address, port, NULL, handler);
}

struct backend *backend_start_tls(const char *cert, int max_version, backend_fn handler)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	char path[512];

	signal(SIGPIPE, SIG_IGN); /* SSL_write() knows no MSG_NOSIGNAL */
	SSL_CTX_set_max_proto_version(ctx, max_version);
	SSL_CTX_set_min_proto_version(
		ctx, max_version && max_version < TLS1_2_VERSION ? max_version : TLS1_2_VERSION);
	if (max_version && max_version < TLS1_2_VERSION)
		SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0");
	snprintf(path, sizeof(path), "%s/%s.pem", run_dir(), cert);
	cr_assert_eq(SSL_CTX_use_certificate_file(ctx, path, SSL_FILETYPE_PEM), 1, "%s", path);
	snprintf(path, sizeof(path), "%s/%s.key", run_dir(), cert);
	cr_assert_eq(SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM), 1, "%s", path);
	return backend_open("127.0.0.1", 0, ctx, handler);
}

static void record_head(struct text *out, const struct breq *r)
{
	const char *line = r->head, *end;

	for (; (end = strstr(line, "\r\n")); line = end + 2) {
		if (line_is(line, "X-Request-ID"))
			text_addf(out, "X-Request-ID: *\r\n");
		else
			text_add(out, line, (size_t)(end + 2 - line));
	}
}

static void record_write(struct backend *be)
{
	const char *dir = getenv("HT_RECORD");
	struct text out = {0};
	char path[600];
	FILE *f;

	if (!dir || !*dir || be->no_record)
		return;
	for (int i = 0; i < be->nreqs; i++) {
		struct breq *r = be->reqs[i];

		text_addf(&out, "---- request %d\n", i);
		record_head(&out, r);
		text_addf(&out, "---- body %llu bytes, hash %016llx%s%s\n",
			  (unsigned long long)r->body_len, (unsigned long long)r->body_hash,
			  r->chunked ? ", chunked" : "", r->complete ? "" : ", incomplete");
	}
	mkdir(dir, 0755);
	snprintf(path, sizeof(path), "%s/%s", dir, run_test_name());
	f = fopen(path, "ae");
	cr_assert(f, "%s: %s", path, strerror(errno));
	fwrite(out.p, 1, out.len, f);
	fclose(f);
	text_free(&out);
}

void backend_stop(struct backend *be)
{
	be_lock(be);
	be->stopping = true;
	for (int i = 0; i < 8; i++)
		be->flags[i] = 1 << 20;
	for (int i = 0; i < be->nconns; i++)
		if (be->conns[i]->fd >= 0)
			shutdown(be->conns[i]->fd, SHUT_RDWR);
	be_unlock(be);
	shutdown(be->fd, SHUT_RDWR);
	pthread_join(be->thread, NULL);
	close(be->fd);
	for (int i = 0; i < be->nconns; i++)
		pthread_join(be->conns[i]->thread, NULL);
	record_write(be);
	/* Requests stay: tests hold pointers to them, and the process is about to end. */
}

void backend_reply_bytes(struct backend *be, const void *raw, size_t len, bool close_after)
{
	be_lock(be);
	be->reply = NULL; /* the one before stays: a handler may not be back from send() yet */
	if (raw) {
		be->reply = malloc(len + 1);
		memcpy(be->reply, raw, len);
	}
	be->reply_len = len;
	be->reply_close = close_after;
	be_unlock(be);
}

void backend_reply(struct backend *be, const char *raw)
{
	backend_reply_bytes(be, raw, raw ? strlen(raw) : 0, false);
}

int backend_count(struct backend *be)
{
	int n;

	be_lock(be);
	n = be->nreqs;
	be_unlock(be);
	return n;
}

int backend_conns(struct backend *be)
{
	int n;

	be_lock(be);
	n = be->nconns;
	be_unlock(be);
	return n;
}

static bool enough(struct backend *be, int nreqs, bool heads)
{
	int done = 0;

	be_lock(be);
	for (int i = 0; i < be->nreqs; i++)
		done += heads || be->reqs[i]->complete;
	be_unlock(be);
	return done >= nreqs;
}

bool backend_wait(struct backend *be, int nreqs)
{
	return e2e_wait(enough(be, nreqs, false));
}

bool backend_wait_heads(struct backend *be, int nreqs)
{
	return e2e_wait(enough(be, nreqs, true));
}

struct breq *backend_req(struct backend *be, int i)
{
	cr_assert(backend_wait_heads(be, i + 1), "the backend has no request %d", i);
	return be->reqs[i];
}

struct breq *backend_last(struct backend *be)
{
	int n = backend_count(be);

	cr_assert_gt(n, 0, "the backend has no request");
	return be->reqs[n - 1];
}

void backend_set(struct backend *be, int flag, int value)
{
	be_lock(be);
	be->flags[flag] = value;
	be_unlock(be);
}

bool backend_until(struct backend *be, int flag, int value)
{
	int64_t end = run_now_ms() + run_deadline_ms();
	bool ok;

	pthread_mutex_lock(&be->lock);
	while (!(ok = be->flags[flag] >= value) && run_now_ms() < end) {
		struct timespec ts;

		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_sec += 1;
		pthread_cond_timedwait(&be->changed, &be->lock, &ts);
	}
	pthread_mutex_unlock(&be->lock);
	return ok;
}
