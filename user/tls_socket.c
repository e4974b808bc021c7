/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket as OpenSSL sees it, where the kernel does not do TLS. It reads ahead, and gathers several
 * records for one send(); what does not leave at once is held and leaves before anything else. Knows
 * nothing of what is in a record.
 */
#include "tls_socket.h"

#include <pthread.h>
#include <sys/socket.h>

_Static_assert(HT_BUF_RECORDS >= HT_TLS_RECORDS * (16384 + 320),
	       "a record and what is added to it");

/*
 * OpenSSL reads a record's header and its body apart, and once more to see that nothing is left.
 * Here it reads ahead, and that a short read has emptied the socket is remembered: it saves two
 * system calls a request.
 */
static int socket_read(BIO *b, char *out, int len)
{
	struct ht_source *s = ((struct ht_tls_socket *)BIO_get_data(b))->source;
	ssize_t n;

	BIO_clear_retry_flags(b);
	if (!s->readable) {
		BIO_set_retry_read(b);
		return -1;
	}
	do {
		n = recv(s->fd, out, (size_t)len, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN) {
		s->readable = false;
		BIO_set_retry_read(b);
	} else if (n > 0 && n < len && !s->hup) {
		s->readable = false;
	}
	return (int)n;
}

/* ---- writing ---- */

static ssize_t socket_send(struct ht_tls_socket *s, const void *data, size_t len)
{
	ssize_t n;

	do {
		n = send(s->source->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		n = -errno;
	if (n < (ssize_t)len)
		s->source->writable = false;
	return n;
}

/* Also what has left meanwhile, before an alert, until its owner knows. */
bool ht_tls_socket_holds(const struct ht_tls_socket *s)
{
	return s->nrecords || ht_buf_len(&s->held);
}

void ht_tls_socket_drop(struct ht_tls_socket *s)
{
	if (s->bufs)
		ht_buf_give(s->bufs, &s->held);
	s->nrecords = 0;
	s->gathering = false;
}

/* Sends what is held. 0 once there is nothing. */
static int socket_flush(struct ht_tls_socket *s)
{
	ssize_t n;

	if (!ht_buf_len(&s->held))
		return 0;
	if (!s->source->writable)
		return -EAGAIN;
	n = socket_send(s, ht_buf_at(&s->held), ht_buf_len(&s->held));
	if (n < 0)
		return (int)n;
	s->held.start += (uint32_t)n;
	return ht_buf_len(&s->held) ? -EAGAIN : 0;
}

static int socket_keep(struct ht_tls_socket *s, const char *data, size_t len)
{
	if (ht_buf_room(&s->held) < len)
		return -EAGAIN;
	memcpy(s->held.data + s->held.end, data, len);
	s->held.end += (uint32_t)len;
	return (int)len;
}

static int socket_write(BIO *b, const char *data, int len)
{
	struct ht_tls_socket *s = BIO_get_data(b);
	ssize_t n;

	BIO_clear_retry_flags(b);
	if (s->gathering) {
		n = socket_keep(s, data, (size_t)len);
	} else {
		n = socket_flush(s); /* an alert, too, waits its turn */
		if (!n)
			n = socket_send(s, data, (size_t)len);
	}
	if (n >= 0)
		return (int)n;
	if (n == -EAGAIN)
		BIO_set_retry_write(b);
	errno = (int)-n;
	return -1;
}

bool ht_tls_socket_gather(struct ht_tls_socket *s)
{
	if (!s->bufs || ht_buf_take(s->bufs, &s->held, HT_BUF_RECORDS))
		return false;
	s->gathering = true;
	return true;
}

bool ht_tls_socket_has_room(const struct ht_tls_socket *s)
{
	return s->nrecords < HT_TLS_RECORDS;
}

void ht_tls_socket_sealed(struct ht_tls_socket *s, size_t plain)
{
	s->records[s->nrecords].end = s->held.end;
	s->records[s->nrecords].plain = (uint32_t)plain;
	s->nrecords++;
}

/* Forgets the records that have left: their owner's bytes. */
static ssize_t socket_left(struct ht_tls_socket *s)
{
	ssize_t plain = 0;
	uint32_t n = 0;

	while (n < s->nrecords && s->records[n].end <= s->held.start)
		plain += s->records[n++].plain;
	s->nrecords -= n;
	memmove(s->records, s->records + n, s->nrecords * sizeof(s->records[0]));
	return plain;
}

ssize_t ht_tls_socket_push(struct ht_tls_socket *s)
{
	ssize_t left;
	int err;

	s->gathering = false;
	err = socket_flush(s);
	if (err && err != -EAGAIN)
		return err;
	left = socket_left(s);
	if (!err)
		ht_tls_socket_drop(s);
	return left ? left : err;
}

/* ---- the BIO ---- */

/* All that is ours leaves when it is written, or when its owner says. */
static long socket_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	(void)b, (void)num, (void)ptr;
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static BIO_METHOD *method;

static void make_method(void)
{
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
	if (!method)
		return;
	BIO_meth_set_read(method, socket_read);
	BIO_meth_set_write(method, socket_write);
	BIO_meth_set_ctrl(method, socket_ctrl);
}

BIO *ht_tls_socket_bio(struct ht_tls_socket *s)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BIO *b;

	pthread_once(&once, make_method);
	b = method ? BIO_new(method) : NULL;
	if (!b)
		return NULL;
	BIO_set_data(b, s);
	BIO_set_init(b, 1);
	return b;
}
