/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that sends what it is told, byte for byte, over plain TCP or TLS, and reads responses
 * with a deadline that no working gateway comes near. It asserts nothing about time.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

static bool address(const char *text, int port, struct sockaddr_storage *a, socklen_t *len)
{
	struct sockaddr_in *in = (void *)a;
	struct sockaddr_in6 *in6 = (void *)a;

	memset(a, 0, sizeof(*a));
	if (strchr(text, ':')) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		*len = sizeof(*in6);
		return inet_pton(AF_INET6, text, &in6->sin6_addr) == 1;
	}
	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)port);
	*len = sizeof(*in);
	return inet_pton(AF_INET, text, &in->sin_addr) == 1;
}

static int tcp_open(const struct client_options *o)
{
	struct timeval tv = {run_deadline_ms() / 1000, 0};
	struct sockaddr_storage to, from;
	socklen_t to_len, from_len;
	int fd, one = 1;

	cr_assert(address(o->to ? o->to : "127.0.0.1", o->port, &to, &to_len));
	fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_geq(fd, 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (o->rcvbuf)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &o->rcvbuf, sizeof(o->rcvbuf));
	if (o->from) {
		cr_assert(address(o->from, 0, &from, &from_len));
		cr_assert_eq(bind(fd, (struct sockaddr *)&from, from_len), 0, "bind %s: %s",
			     o->from, strerror(errno));
	}
	if (connect(fd, (struct sockaddr *)&to, to_len)) {
		close(fd);
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	return fd;
}

/* What tests that don't care use; HT_TLS=1.2 or 1.3 says. 0 = any. */
static int tls_version(void)
{
	const char *v = getenv("HT_TLS");

	return !v ? 0 : !strcmp(v, "1.2") ? TLS1_2_VERSION : TLS1_3_VERSION;
}

/* One for all connections: it takes as long to make as a handshake does. */
static SSL_CTX *tls_context;

static void make_tls_context(void)
{
	tls_context = SSL_CTX_new(TLS_client_method());
}

static bool tls_open(struct client *c, const struct client_options *o)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int version = o->version ? o->version : tls_version();
	char path[512];
	unsigned char alpn[64];
	size_t len;

	pthread_once(&once, make_tls_context);
	c->ssl = SSL_new(tls_context);
	SSL_set_options(c->ssl, o->ssl_options);
	if (version) {
		SSL_set_min_proto_version(c->ssl, version);
		SSL_set_max_proto_version(c->ssl, version);
	}
	if (o->cert) {
		snprintf(path, sizeof(path), "%s/%s.pem", run_dir(), o->cert);
		cr_assert_eq(SSL_use_certificate_chain_file(c->ssl, path), 1);
		snprintf(path, sizeof(path), "%s/%s.key", run_dir(), o->cert);
		cr_assert_eq(SSL_use_PrivateKey_file(c->ssl, path, SSL_FILETYPE_PEM), 1);
	}
	SSL_set_fd(c->ssl, c->fd);
	if (o->sni)
		SSL_set_tlsext_host_name(c->ssl, o->sni);
	if (o->alpn) {
		len = strlen(o->alpn);
		alpn[0] = (unsigned char)len;
		memcpy(alpn + 1, o->alpn, len);
		SSL_set_alpn_protos(c->ssl, alpn, (unsigned)len + 1);
	}
	if (o->session)
		SSL_set_session(c->ssl, o->session);
	return e2e_again(SSL_connect(c->ssl)) == 1;
}

struct client *client_try(const struct client_options *o)
{
	struct client *c = calloc(1, sizeof(*c));

	c->fd = tcp_open(o);
	if (c->fd >= 0 && o->before)
		send(c->fd, o->before, o->before_len ? o->before_len : strlen(o->before),
		     MSG_MORE | MSG_NOSIGNAL);
	if (c->fd < 0 || (o->tls && !tls_open(c, o))) {
		client_close(c);
		return NULL;
	}
	return c;
}

struct client *client_open(const struct client_options *o)
{
	struct client *c = client_try(o);

	cr_assert(c, "no connection to port %d: %s", o->port,
		  ERR_error_string(ERR_peek_last_error(), NULL));
	return c;
}

struct client *client_plain(struct gw *gw)
{
	return client_open(&(struct client_options){.port = gw->plain});
}

struct client *client_tls(struct gw *gw)
{
	return client_open(
		&(struct client_options){.port = gw->tls, .tls = true, .sni = "gw.test"});
}

struct client *client_from(struct gw *gw, const char *from)
{
	if (from && strchr(from, ':'))
		return client_open(&(struct client_options){.port = gw->ipv6, .to = from});
	return client_open(&(struct client_options){.port = gw->plain, .from = from});
}

void client_close(struct client *c)
{
	if (!c)
		return;
	if (c->ssl)
		SSL_free(c->ssl);
	if (c->fd >= 0)
		close(c->fd);
	free(c->buf);
	free(c->r.head);
	free(c->r.body);
	free(c);
}

bool client_send(struct client *c, const void *p, size_t len)
{
	const char *s = p;

	while (len) {
		ssize_t n = e2e_again(c->ssl ? SSL_write(c->ssl, s, len > 16384 ? 16384 : (int)len)
					     : send(c->fd, s, len, MSG_NOSIGNAL));

		if (n <= 0) {
			c->error = true;
			return false;
		}
		s += n;
		len -= (size_t)n;
	}
	return true;
}

bool client_sendf(struct client *c, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;
	bool ok;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	ok = client_send(c, s, (size_t)n);
	free(s);
	return ok;
}

bool client_send_pattern(struct client *c, uint64_t len)
{
	char buf[16384];
	uint64_t at = 0;

	while (at < len) {
		size_t n = len - at < sizeof(buf) ? (size_t)(len - at) : sizeof(buf);

		pattern_fill(buf, n, at);
		if (!client_send(c, buf, n))
			return false;
		at += n;
	}
	return true;
}

static ssize_t receive(struct client *c, void *p, size_t len)
{
	ssize_t n = e2e_again(c->ssl ? SSL_read(c->ssl, p, (int)len) : recv(c->fd, p, len, 0));

	if (n > 0)
		return n;
	if (!n || (c->ssl && SSL_get_error(c->ssl, (int)n) == SSL_ERROR_ZERO_RETURN))
		c->eof = true;
	/* A reset, or TCP's end without close_notify, is an end too: who cares looks at `error`. */
	else if (c->ssl || errno == ECONNRESET || errno == EPIPE)
		c->eof = c->error = errno != EAGAIN;
	return -1;
}

static bool fill(struct client *c)
{
	ssize_t n;

	if (c->cap - c->len < 65536) {
		c->cap = c->cap ? c->cap * 2 : 131072;
		c->buf = realloc(c->buf, c->cap);
	}
	n = receive(c, c->buf + c->len, 65536);
	if (n > 0)
		c->len += (size_t)n;
	return n > 0;
}

static void drop(struct client *c, size_t n)
{
	memmove(c->buf, c->buf + n, c->len - n);
	c->len -= n;
}

ssize_t client_recv(struct client *c, void *p, size_t len)
{
	if (!c->len)
		return receive(c, p, len);
	if (len > c->len)
		len = c->len;
	memcpy(p, c->buf, len);
	drop(c, len);
	return (ssize_t)len;
}

/* ---- responses ---- */

const char *response_field(const struct response *r, const char *name, int n)
{
	return r->head ? head_field(r->head, name, n) : NULL;
}

int response_count(const struct response *r, const char *name)
{
	return r->head ? head_count(r->head, name) : 0;
}

static void body_take(struct response *r, const char *p, size_t len)
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

static bool body_run(struct client *c, uint64_t len)
{
	while (len) {
		size_t n;

		if (!c->len && !fill(c))
			return false;
		n = c->len < len ? c->len : (size_t)len;
		body_take(&c->r, c->buf, n);
		drop(c, n);
		len -= n;
	}
	return true;
}

static bool take_line(struct client *c, char *out, size_t cap)
{
	char *end;

	while (!c->len || !(end = memmem(c->buf, c->len, "\r\n", 2)))
		if (!fill(c))
			return false;
	snprintf(out, cap, "%.*s", (int)(end - c->buf), c->buf);
	drop(c, (size_t)(end - c->buf) + 2);
	return true;
}

static bool body_chunks(struct client *c)
{
	char line[256];
	uint64_t n;

	for (;;) {
		if (!take_line(c, line, sizeof(line)) || !isxdigit((unsigned char)line[0]))
			return false;
		n = strtoull(line, NULL, 16);
		if (!n)
			break;
		if (!body_run(c, n) || !take_line(c, line, sizeof(line)) || line[0])
			return false;
	}
	do {
		if (!take_line(c, line, sizeof(line)))
			return false;
	} while (line[0]);
	return true;
}

static struct response *response_read(struct client *c, bool head_only)
{
	struct response *r = &c->r;
	const char *length;
	char *end;
	size_t len;

	free(r->head);
	free(r->body);
	memset(r, 0, sizeof(*r));
	while (!c->len || !(end = memmem(c->buf, c->len, "\r\n\r\n", 4)))
		if (!fill(c))
			return r;
	len = (size_t)(end - c->buf) + 4;
	r->head = malloc(len + 1);
	memcpy(r->head, c->buf, len);
	r->head[len] = 0;
	r->head_len = len;
	drop(c, len);
	if (sscanf(r->head, "HTTP/1.%*1[01] %3d", &r->status) != 1)
		return r;
	length = response_field(r, "Content-Length", 0);
	r->has_length = length;
	r->length = length ? strtoull(length, NULL, 10) : 0;
	if (head_only || r->status < 200 || r->status == 204 || r->status == 304)
		return r;
	if (response_field(r, "Transfer-Encoding", 0)) {
		r->chunked = true;
		r->truncated = !body_chunks(c);
	} else if (length) {
		r->truncated = !body_run(c, r->length);
	} else {
		r->until_close = true;
		body_run(c, UINT64_MAX);
		r->truncated = c->error;
	}
	return r;
}

struct response *client_read(struct client *c)
{
	return response_read(c, false);
}

struct response *client_read_head_only(struct client *c)
{
	return response_read(c, true);
}

bool client_at_eof(struct client *c)
{
	return !c->len && (c->eof || (!fill(c) && c->eof));
}

bool client_open_now(struct client *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN | POLLRDHUP};
	char byte;

	if (c->len || c->eof)
		return false;
	if (poll(&p, 1, 0) <= 0)
		return true;
	/* TLS 1.3 tickets may stand there: only an end counts. */
	return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0 && c->ssl;
}

struct response *client_get(struct client *c, const char *target, const char *fields)
{
	client_sendf(c, "GET %s HTTP/1.1\r\nHost: gw.test\r\n%s\r\n", target, fields ? fields : "");
	return client_read(c);
}

int client_once(struct gw *gw, const char *from, const char *fields)
{
	struct client *c = client_from(gw, from);
	int status = client_get(c, "/", fields)->status;

	client_close(c);
	return status;
}
