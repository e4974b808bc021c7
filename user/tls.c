/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS connections, towards clients and towards backends. Whatever is not plainly right ends the
 * connection. What was agreed on before there are any is in tls_ctx.c.
 */
#include "tls.h"

#include <linux/tls.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tls_ctx.h"
#include "tls_socket.h"

#define HT_TLS_DATALESS 32 /* as many empty records does the library take in a row */

#define HT_TLS_REKEYING 0x30200000L /* OpenSSL from 3.2 on gives the kernel further keys */

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif

/* The kernel takes further keys (6.14). Set by the probe, before there are threads. */
static bool kernel_rekeys;

/* ---- what is no data, once the handshake is done ---- */

static void refuse(struct ht_tls *t, enum ht_tls_refusal why)
{
	t->refused |= 1U << why;
	if (why == HT_TLS_REFUSED_RENEGOTIATION || why == HT_TLS_REFUSED_EARLY_DATA)
		return;
	/* the library reads on until there is data: this makes it stop at the next record */
	SSL_set_shutdown(t->ssl, SSL_get_shutdown(t->ssl) | SSL_RECEIVED_SHUTDOWN);
	t->doomed = true;
}

/* Keys that the kernel has stay as they are, unless both it and the library can change them. */
static bool can_rekey(const struct ht_tls *t, bool ours_too)
{
	if (kernel_rekeys && OpenSSL_version_num() >= HT_TLS_REKEYING)
		return true;
	return !BIO_get_ktls_recv(SSL_get_rbio(t->ssl)) &&
	       !(ours_too && BIO_get_ktls_send(SSL_get_wbio(t->ssl)));
}

static void saw_key_update(struct ht_tls *t, bool requested)
{
	if (!can_rekey(t, requested))
		refuse(t, HT_TLS_REFUSED_KEY_UPDATE);
	else if (++t->dataless > HT_TLS_DATALESS)
		refuse(t, HT_TLS_REFUSED_FLOOD);
}

static void saw_alert(struct ht_tls *t, bool sent, unsigned level, unsigned what)
{
	if (sent && what == SSL_AD_NO_RENEGOTIATION) {
		refuse(t, HT_TLS_REFUSED_RENEGOTIATION);
		if (++t->dataless > HT_TLS_DATALESS)
			refuse(t, HT_TLS_REFUSED_FLOOD);
	} else if (level == SSL3_AL_FATAL) {
		refuse(t, sent ? HT_TLS_REFUSED_RECORD : HT_TLS_REFUSED_ALERT);
	}
}

/* SSL_set_msg_callback(3): every message, as it comes and as it is sent. */
static void on_message(int sent, int version, int type, const void *data, size_t len, SSL *ssl,
		       void *arg)
{
	const unsigned char *p = data;
	struct ht_tls *t = arg;

	(void)version, (void)ssl;
	if (!t->established)
		return;
	if (type == SSL3_RT_HANDSHAKE && !sent && len > SSL3_HM_HEADER_LENGTH &&
	    p[0] == SSL3_MT_KEY_UPDATE)
		saw_key_update(t, p[SSL3_HM_HEADER_LENGTH] == SSL_KEY_UPDATE_REQUESTED);
	else if (type == SSL3_RT_ALERT && len == 2)
		saw_alert(t, sent, p[0], p[1]);
}

/* ---- kernel TLS ---- */

/* A connected pair of loopback TCP sockets. */
static int tcp_pair(int *ret_a, int *ret_b)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	_cleanup_close_ int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int b;

	if (l < 0 || a < 0 || bind(l, (struct sockaddr *)&addr, len) || listen(l, 1) ||
	    getsockname(l, (struct sockaddr *)&addr, &len) ||
	    connect(a, (struct sockaddr *)&addr, len))
		return -errno;
	b = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	if (b < 0)
		return -errno;
	*ret_a = TAKE_FD(a);
	*ret_b = b;
	return 0;
}

/* Does a connection with keys take others? */
static bool probe_rekey(int fd)
{
	const struct tls12_crypto_info_aes_gcm_128 keys = {
		.info = {.version = TLS_1_3_VERSION, .cipher_type = TLS_CIPHER_AES_GCM_128}};

	for (int i = 0; i < 2; i++) {
		if (setsockopt(fd, SOL_TLS, TLS_TX, &keys, sizeof(keys)) ||
		    setsockopt(fd, SOL_TLS, TLS_RX, &keys, sizeof(keys)))
			return false;
	}
	return true;
}

int ht_tls_ktls_probe(char *why, size_t why_len)
{
#ifdef OPENSSL_NO_KTLS
	snprintf(why, why_len, "OpenSSL was built without kernel TLS");
	return -EOPNOTSUPP;
#else
	_cleanup_close_ int a = -1, b = -1;
	int err = tcp_pair(&a, &b);

	if (err) {
		snprintf(why, why_len, "no loopback connection to try it on: %s", strerror(-err));
		return err;
	}
	if (setsockopt(a, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls"))) {
		err = -errno;
		snprintf(why, why_len, "the kernel has no TLS (module tls): %s", strerror(-err));
		return err;
	}
	kernel_rekeys = probe_rekey(a);
	if (why_len)
		why[0] = 0;
	return 0;
#endif
}

/* ---- connections ---- */

/* In directions that the kernel has, the BIO is OpenSSL's own: it asks that one for it. */
static int own_socket(struct ht_tls *t)
{
	BIO *reader = NULL, *writer = NULL;

	if (!BIO_get_ktls_recv(SSL_get_rbio(t->ssl))) {
		reader = ht_tls_socket_bio(&t->socket);
		if (!reader)
			return -ENOMEM;
		SSL_set0_rbio(t->ssl, reader);
		SSL_set_read_ahead(t->ssl, 1);
	}
	if (!BIO_get_ktls_send(SSL_get_wbio(t->ssl))) {
		writer = ht_tls_socket_bio(&t->socket);
		if (!writer)
			return -ENOMEM;
		SSL_set0_wbio(t->ssl, writer);
		t->gathers = true;
	}
	return 0;
}

static int tls_start(struct ht_tls *t, struct ht_tls_ctx *x, struct ht_source *source,
		     struct ht_bufs *bufs)
{
	SSL *ssl = SSL_new(x->certs[0]);

	if (!ssl)
		return -ENOMEM;
	*t = (struct ht_tls){
		.ssl = ssl,
		.source = source,
		.socket = {.source = source, .bufs = bufs},
	};
	if (SSL_set_app_data(ssl, (char *)x) &&
	    (x->params.ktls ? SSL_set_fd(ssl, source->fd) : !own_socket(t)))
		return 0;
	ht_tls_close(t);
	ERR_clear_error();
	return -ENOMEM;
}

int ht_tls_open(struct ht_tls *t, struct ht_tls_ctx *x, struct ht_source *source,
		struct ht_bufs *bufs)
{
	int err = tls_start(t, x, source, bufs);

	if (err)
		return err;
	SSL_set_msg_callback(t->ssl, on_message);
	SSL_set_msg_callback_arg(t->ssl, t);
	SSL_set_accept_state(t->ssl);
	return 0;
}

/* ---- connections to backends ---- */

/* The name that the certificate must have. Only names are sent as SNI (RFC 6066, section 3). */
static bool expect_host(SSL *ssl, const char *host)
{
	if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host))
		return true;
	ERR_clear_error();
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, host) && SSL_set_tlsext_host_name(ssl, host);
}

int ht_tls_connect(struct ht_tls *t, struct ht_tls_ctx *x, struct ht_source *source,
		   struct ht_bufs *bufs, const char *host)
{
	int err = tls_start(t, x, source, bufs);

	if (err)
		return err;
	if (!expect_host(t->ssl, host)) {
		ht_tls_close(t);
		ERR_clear_error();
		return -ENOMEM;
	}
	SSL_set_connect_state(t->ssl);
	return 0;
}

/* ---- what its calls mean ---- */

/*
 * What a call that returned <= 0 meant. The library's error queue, which all connections of a thread
 * share, is empty before every call: whoever finds something in it clears it here.
 */
static int tls_result(struct ht_tls *t, int n, const char **ret_why)
{
	int saved = errno, err = SSL_get_error(t->ssl, n);
	unsigned long code;

	switch (err) {
	case SSL_ERROR_WANT_READ:
		t->source->readable = false;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		t->source->writable = false;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		*ret_why = "closed";
		return 0;
	}
	code = ERR_peek_error();
	*ret_why = code ? ERR_reason_error_string(code) : saved ? strerrordesc_np(saved) : NULL;
	if (!*ret_why)
		*ret_why = "connection lost";
	ERR_clear_error();
	/* a client that just goes is common; a backend that does may have cut its answer short */
	if (err == SSL_ERROR_SSL && ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		return SSL_is_server(t->ssl) ? 0 : -ECONNRESET;
	if (err == SSL_ERROR_SYSCALL && !saved)
		return SSL_is_server(t->ssl) ? 0 : -ECONNRESET;
	if (err == SSL_ERROR_SSL && ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST)
		return -EPROTONOSUPPORT;
	return err == SSL_ERROR_SYSCALL ? -saved : -EPROTO;
}

/* What ends a connection without anybody having sent what he should not. */
static bool is_networks(int err)
{
	return err == ECONNRESET || err == EPIPE || err == ETIMEDOUT || err == EHOSTUNREACH ||
	       err == ENETUNREACH || err == ECONNABORTED;
}

/* As tls_result(), after the handshake: what the library or the kernel could not make sense of. */
static int tls_read_result(struct ht_tls *t, int n)
{
	const char *why;
	int err = tls_result(t, n, &why);

	if (t->doomed)
		return -EPROTO;
	if (err && err != -EAGAIN && !is_networks(-err))
		t->refused |= 1U << HT_TLS_REFUSED_RECORD;
	return err;
}

void ht_tls_lost(struct ht_tls *t)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (!getsockopt(t->source->fd, SOL_SOCKET, SO_ERROR, &err, &len) && err &&
	    !is_networks(err))
		t->refused |= 1U << HT_TLS_REFUSED_RECORD;
}

/* What is wrong with the client's certificate; also where a session was resumed, long after. */
static const char *peer_problem(const struct ht_tls *t)
{
	const struct ht_tls_ctx *x = SSL_get_app_data(t->ssl);
	X509 *cert = SSL_get0_peer_certificate(t->ssl);
	bool needed = SSL_get_verify_mode(t->ssl) & SSL_VERIFY_FAIL_IF_NO_PEER_CERT;

	if (!cert)
		return needed ? "no client certificate" : NULL;
	if (SSL_get_verify_result(t->ssl) != X509_V_OK)
		return "client certificate not verified";
	if (ht_tls_has_expired(cert)) {
		SSL_CTX_remove_session(x->certs[0], SSL_get_session(t->ssl));
		return "client certificate has expired";
	}
	if (needed && ht_tls_wants_subject(t->ssl) &&
	    !X509_NAME_entry_count(X509_get_subject_name(cert)))
		return "client certificate without a subject";
	return NULL;
}

/* A backend's certificate that does not verify says more than "verify failed". */
static const char *backend_problem(const struct ht_tls *t, const char *why)
{
	long r = SSL_get_verify_result(t->ssl);

	return r == X509_V_OK ? why : X509_verify_cert_error_string(r);
}

int ht_tls_handshake(struct ht_tls *t, const char **ret_why)
{
	const struct ht_tls_ctx *x = SSL_get_app_data(t->ssl);
	int n, err;

	errno = 0;
	n = SSL_do_handshake(t->ssl);
	if (n != 1) {
		err = tls_result(t, n, ret_why);
		if (err != -EAGAIN && !SSL_is_server(t->ssl))
			*ret_why = backend_problem(t, *ret_why);
		return err == -EAGAIN || err == -EPROTONOSUPPORT ? err : -EPROTO;
	}
	*ret_why = SSL_is_server(t->ssl) ? peer_problem(t) : NULL;
	ERR_clear_error(); /* success may leave something behind */
	if (*ret_why)
		return -EPROTO;
	t->established = true;
	if (SSL_get_early_data_status(t->ssl) == SSL_EARLY_DATA_REJECTED)
		refuse(t, HT_TLS_REFUSED_EARLY_DATA);
	return x->params.ktls ? own_socket(t) : 0;
}

ssize_t ht_tls_read(struct ht_tls *t, void *buf, size_t len)
{
	int n;

	errno = 0;
	n = SSL_read(t->ssl, buf, (int)HT_MIN(len, (size_t)INT32_MAX));
	if (n <= 0 || t->doomed)
		return tls_read_result(t, n);
	t->dataless = 0;
	return n;
}

ssize_t ht_tls_peek(struct ht_tls *t)
{
	const char *why;
	char byte;
	int n;

	errno = 0;
	n = SSL_peek(t->ssl, &byte, 1);
	return n > 0 ? n : tls_result(t, n, &why);
}

/*
 * Several records with one send(). What does not leave of them is held, sealed; its bytes count as
 * not written, and must come again, until it has.
 */
static ssize_t write_records(struct ht_tls *t, const char *data, size_t len)
{
	const char *why;
	int n, err = 0;
	ssize_t left;

	while (len && !err && ht_tls_socket_has_room(&t->socket)) {
		errno = 0;
		n = SSL_write(t->ssl, data, (int)HT_MIN(len, (size_t)INT32_MAX));
		if (n <= 0) {
			err = tls_result(t, n, &why);
			err = err ? err : -EPIPE;
			continue;
		}
		ht_tls_socket_sealed(&t->socket, (size_t)n);
		data += n;
		len -= (size_t)n;
	}
	if (ht_tls_socket_holds(&t->socket))
		t->source->writable = true; /* nobody has asked the socket yet */
	left = ht_tls_socket_push(&t->socket);
	return left ? left : err;
}

ssize_t ht_tls_write(struct ht_tls *t, const void *buf, size_t len)
{
	ssize_t left = ht_tls_socket_holds(&t->socket) ? ht_tls_socket_push(&t->socket) : 0;
	const char *why;
	int n, err;

	if (left)
		return left;
	if (t->gathers && len > SSL3_RT_MAX_PLAIN_LENGTH && ht_tls_socket_gather(&t->socket))
		return write_records(t, buf, len);

	errno = 0;
	n = SSL_write(t->ssl, buf, (int)HT_MIN(len, (size_t)INT32_MAX));
	if (n > 0)
		return n;
	err = tls_result(t, n, &why);
	return err ? err : -EPIPE;
}

bool ht_tls_pending(const struct ht_tls *t)
{
	return SSL_has_pending(t->ssl);
}

bool ht_tls_takes_plain(const struct ht_tls *t)
{
	return BIO_get_ktls_send(SSL_get_wbio(t->ssl)) && !SSL_want_write(t->ssl) &&
	       SSL_get_key_update_type(t->ssl) == SSL_KEY_UPDATE_NONE &&
	       SSL_is_init_finished(t->ssl);
}

bool ht_tls_gives_plain(const struct ht_tls *t)
{
	return BIO_get_ktls_recv(SSL_get_rbio(t->ssl)) && !SSL_has_pending(t->ssl) &&
	       SSL_is_init_finished(t->ssl);
}

int ht_tls_shutdown(struct ht_tls *t)
{
	int n;

	if (!SSL_is_init_finished(t->ssl) || t->said_goodbye)
		return 0;
	errno = 0;
	n = SSL_shutdown(t->ssl);
	t->said_goodbye = n >= 0 || SSL_get_error(t->ssl, n) != SSL_ERROR_WANT_WRITE;
	ERR_clear_error();
	if (!t->said_goodbye)
		t->source->writable = false;
	return t->said_goodbye ? 0 : -EAGAIN;
}

void ht_tls_close(struct ht_tls *t)
{
	if (!t->ssl)
		return;
	/* a session is good for resumption however the connection ended (RFC 8446, 4.6.1) */
	SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(t->ssl);
	t->ssl = NULL;
	ht_tls_socket_drop(&t->socket);
}

void ht_tls_info(const struct ht_tls *t, struct ht_tls_info *ret)
{
	*ret = (struct ht_tls_info){
		.version = SSL_get_version(t->ssl),
		.tls13 = SSL_version(t->ssl) == TLS1_3_VERSION,
		.ktls_tx = BIO_get_ktls_send(SSL_get_wbio(t->ssl)),
		.ktls_rx = BIO_get_ktls_recv(SSL_get_rbio(t->ssl)),
		.resumed = SSL_session_reused(t->ssl),
		.verified = SSL_get0_peer_certificate(t->ssl) != NULL,
	};
}
