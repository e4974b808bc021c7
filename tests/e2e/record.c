/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records sealed by hand (RFC 5246, section 6.2.3.3 with RFC 5288; RFC 8446, section 5.2) and a TCP
 * connection to send them over. See record.h.
 */
#include "record.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TAG 16

/* ---- keys ---- */

static void derive(const char *kdf, OSSL_PARAM *params, uint8_t *out, size_t len)
{
	EVP_KDF *k = EVP_KDF_fetch(NULL, kdf, NULL);
	EVP_KDF_CTX *c = EVP_KDF_CTX_new(k);

	cr_assert_eq(EVP_KDF_derive(c, out, len, params), 1, "%s", kdf);
	EVP_KDF_CTX_free(c);
	EVP_KDF_free(k);
}

/* HKDF-Expand-Label(secret, label, "", len) of RFC 8446, section 7.1. */
static void expand(const uint8_t secret[32], const char *label, uint8_t *out, size_t len)
{
	uint8_t info[64];
	size_t n = strlen(label);
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	OSSL_PARAM params[] = {
		OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, "SHA256", 6),
		OSSL_PARAM_int(OSSL_KDF_PARAM_MODE, &mode),
		OSSL_PARAM_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, 32),
		OSSL_PARAM_octet_string(OSSL_KDF_PARAM_INFO, info, 10 + n),
		OSSL_PARAM_END,
	};

	info[0] = 0;
	info[1] = (uint8_t)len;
	info[2] = (uint8_t)(6 + n);
	memcpy(info + 3, "tls13 ", 6);
	memcpy(info + 9, label, n);
	info[9 + n] = 0;
	derive("HKDF", params, out, len);
}

static void keys_13(struct rec *r)
{
	expand(r->secret, "key", r->key, sizeof(r->key));
	expand(r->secret, "iv", r->iv, sizeof(r->iv));
	r->seq = 0;
}

/* The key block: keys of both sides, then their fixed IVs. Finished was record 0. */
static void keys_12(struct rec *r)
{
	uint8_t master[48], seed[13 + 64], block[40];
	OSSL_PARAM params[] = {
		OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, "SHA256", 6),
		OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SECRET, master, sizeof(master)),
		OSSL_PARAM_octet_string(OSSL_KDF_PARAM_SEED, seed, sizeof(seed)),
		OSSL_PARAM_END,
	};

	cr_assert_eq(SSL_SESSION_get_master_key(SSL_get_session(r->ssl), master, sizeof(master)),
		     sizeof(master));
	memcpy(seed, "key expansion", 13);
	SSL_get_server_random(r->ssl, seed + 13, 32);
	SSL_get_client_random(r->ssl, seed + 45, 32);
	derive("TLS1-PRF", params, block, sizeof(block));
	memcpy(r->key, block, 16);
	memcpy(r->iv, block + 32, 4);
	r->seq = 1;
}

static void on_keylog(const SSL *ssl, const char *line)
{
	struct rec *r = SSL_get_app_data(ssl);
	const char *hex = strrchr(line, ' ') + 1;
	unsigned byte;

	if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) || strlen(hex) != 64)
		return;
	for (int i = 0; i < 32 && sscanf(hex + 2 * i, "%2x", &byte) == 1; i++)
		r->secret[i] = (uint8_t)byte;
}

/* ---- sealing ---- */

static void gcm(const struct rec *r, const uint8_t nonce[12], const uint8_t *aad, int aad_len,
		const uint8_t *in, size_t len, uint8_t *out)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n;

	EVP_EncryptInit_ex(c, EVP_aes_128_gcm(), NULL, r->key, nonce);
	EVP_EncryptUpdate(c, NULL, &n, aad, aad_len);
	if (len)
		EVP_EncryptUpdate(c, out, &n, in, (int)len);
	EVP_EncryptFinal_ex(c, out + len, &n);
	cr_assert_eq(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, out + len), 1);
	EVP_CIPHER_CTX_free(c);
}

static void put16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put_seq(uint8_t *p, uint64_t seq)
{
	for (int i = 7; i >= 0; i--, seq >>= 8)
		p[i] = (uint8_t)seq;
}

static void seal_13(struct rec *r, int type, const void *data, size_t len, size_t padding)
{
	size_t inner = len + 1 + padding;
	uint8_t *plain = calloc(1, inner), *out = malloc(5 + inner + TAG);
	uint8_t nonce[12] = {0};

	if (len)
		memcpy(plain, data, len);
	plain[len] = (uint8_t)type;
	put_seq(nonce + 4, r->seq++);
	for (int i = 0; i < 12; i++)
		nonce[i] ^= r->iv[i];
	memcpy(out, "\x17\x03\x03", 3);
	put16(out + 3, inner + TAG);
	gcm(r, nonce, out, 5, plain, inner, out + 5);
	text_add(&r->packet, out, 5 + inner + TAG);
	free(plain);
	free(out);
}

static void seal_12(struct rec *r, int type, const void *data, size_t len)
{
	uint8_t *out = malloc(13 + len + TAG), nonce[12], aad[13];

	put_seq(aad, r->seq);
	aad[8] = (uint8_t)type;
	memcpy(aad + 9, "\x03\x03", 2);
	put16(aad + 11, len);
	memcpy(nonce, r->iv, 4);
	put_seq(nonce + 4, r->seq++);
	memcpy(out, aad + 8, 3);
	put16(out + 3, 8 + len + TAG);
	memcpy(out + 5, nonce + 4, 8);
	gcm(r, nonce, aad, 13, data, len, out + 13);
	text_add(&r->packet, out, 13 + len + TAG);
	free(out);
}

void rec_add(struct rec *r, int type, const void *data, size_t len, size_t padding)
{
	if (r->version == TLS1_3_VERSION)
		seal_13(r, type, data, len, padding);
	else
		seal_12(r, type, data, len);
}

void rec_addf(struct rec *r, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	rec_add(r, REC_DATA, s, (size_t)n, 0);
	free(s);
}

void rec_add_alert(struct rec *r, int level, int what)
{
	const uint8_t alert[2] = {(uint8_t)level, (uint8_t)what};

	rec_add(r, REC_ALERT, alert, sizeof(alert), 0);
}

void rec_add_key_update(struct rec *r, bool requested)
{
	const uint8_t message[] = {SSL3_MT_KEY_UPDATE, 0, 0, 1, requested};
	uint8_t next[32];

	rec_add(r, REC_HANDSHAKE, message, sizeof(message), 0);
	expand(r->secret, "traffic upd", next, sizeof(next));
	memcpy(r->secret, next, sizeof(next));
	keys_13(r);
}

/* ---- the wire ---- */

bool rec_send_raw(struct rec *r, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = e2e_again(send(r->fd, p, len, MSG_NOSIGNAL));

		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool rec_flush(struct rec *r, size_t cut)
{
	bool ok = true;

	for (size_t at = 0; ok && at < r->packet.len;) {
		size_t n = r->packet.len - at;

		if (cut && n > cut)
			n = cut;
		ok = rec_send_raw(r, r->packet.p + at, n);
		at += n;
	}
	text_clear(&r->packet);
	return ok;
}

void rec_fin(struct rec *r)
{
	shutdown(r->fd, SHUT_WR);
}

/* What OpenSSL has to say waits in the packet. */
static void gather(struct rec *r)
{
	char buf[4096];
	int n;

	while ((n = BIO_read(r->out, buf, sizeof(buf))) > 0)
		text_add(&r->packet, buf, (size_t)n);
}

/* More bytes for OpenSSL. False at the end of the connection, or if nothing comes in time. */
static bool more(struct rec *r)
{
	char buf[16384];
	ssize_t n;

	if (r->fin || r->reset)
		return false;
	n = e2e_again(recv(r->fd, buf, sizeof(buf), 0));
	if (n > 0)
		BIO_write(r->in, buf, (int)n);
	else if (!n)
		r->fin = true;
	else
		r->reset = errno == ECONNRESET || errno == EPIPE;
	return n > 0;
}

static void on_info(const SSL *ssl, int where, int value)
{
	struct rec *r = SSL_get_app_data(ssl);

	if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && (value & 0xff) != 0)
		r->alert = value & 0xff;
}

/* Opens what is there. False if that was the end of it. */
static bool open_records(struct rec *r)
{
	char buf[16384];
	int n, err;

	while ((n = SSL_read(r->ssl, buf, sizeof(buf))) > 0)
		text_add(&r->plain, buf, (size_t)n);
	err = SSL_get_error(r->ssl, n);
	ERR_clear_error();
	if (SSL_get_shutdown(r->ssl) & SSL_RECEIVED_SHUTDOWN && r->alert < 0)
		r->goodbye = true;
	else if (err == SSL_ERROR_SSL && r->alert < 0)
		r->broken = true;
	return err == SSL_ERROR_WANT_READ;
}

/* ---- connections ---- */

struct rec *rec_connect(int port, int version)
{
	struct client_options o = {.port = port};
	struct client *c = client_open(&o);
	struct rec *r = calloc(1, sizeof(*r));

	r->fd = dup(c->fd);
	client_close(c);
	r->version = version;
	r->alert = -1;
	r->ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_min_proto_version(r->ctx, version);
	SSL_CTX_set_max_proto_version(r->ctx, version);
	SSL_CTX_set_ciphersuites(r->ctx, "TLS_AES_128_GCM_SHA256");
	SSL_CTX_set_cipher_list(r->ctx,
				"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256");
	SSL_CTX_set_keylog_callback(r->ctx, on_keylog);
	SSL_CTX_set_info_callback(r->ctx, on_info);
	/* a FIN alone is told from close_notify by r->fin and r->goodbye */
	r->ssl = SSL_new(r->ctx);
	r->in = BIO_new(BIO_s_mem());
	r->out = BIO_new(BIO_s_mem());
	SSL_set_app_data(r->ssl, (char *)r);
	SSL_set_bio(r->ssl, r->in, r->out);
	SSL_set_tlsext_host_name(r->ssl, "gw.test");
	SSL_set_connect_state(r->ssl);
	return r;
}

void rec_resume(struct rec *r, SSL_SESSION *session)
{
	cr_assert_eq(SSL_set_session(r->ssl, session), 1);
}

void rec_hello(struct rec *r, size_t len)
{
	SSL_do_handshake(r->ssl);
	ERR_clear_error();
	gather(r);
	if (len)
		r->packet.len = len;
	cr_assert(rec_flush(r, 0));
	if (!len)
		cr_assert(more(r));
}

bool rec_handshake(struct rec *r, size_t cut)
{
	int n;

	while ((n = SSL_do_handshake(r->ssl)) != 1) {
		gather(r);
		if (SSL_get_error(r->ssl, n) != SSL_ERROR_WANT_READ || !rec_flush(r, cut) ||
		    !more(r)) {
			ERR_clear_error();
			return false;
		}
	}
	gather(r);
	if (r->version == TLS1_3_VERSION)
		keys_13(r);
	else
		keys_12(r);
	r->established = true;
	return true;
}

struct rec *rec_open(int port, int version)
{
	struct rec *r = rec_connect(port, version);

	cr_assert(rec_handshake(r, 0), "no handshake, version %x", version);
	cr_assert(rec_flush(r, 0));
	return r;
}

void rec_close(struct rec *r, bool reset)
{
	const struct linger now = {1, 0};

	if (reset)
		setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(r->fd);
	/* else its session is not good any more */
	SSL_set_shutdown(r->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(r->ssl);
	SSL_CTX_free(r->ctx);
	text_free(&r->packet);
	text_free(&r->plain);
	free(r);
}

/* ---- reading ---- */

bool rec_plain(struct rec *r, size_t len)
{
	open_records(r);
	while (r->plain.len < len && r->alert < 0 && !r->broken && more(r))
		open_records(r);
	return r->plain.len >= len;
}

static void take(struct text *t, size_t n)
{
	memmove(t->p, t->p + n, t->len - n + 1);
	t->len -= n;
}

int rec_response(struct rec *r, struct text *body)
{
	const char *end, *length;
	int status = 0;
	size_t n, head;

	open_records(r);
	while (!r->plain.len || !(end = strstr(r->plain.p, "\r\n\r\n"))) {
		if (!more(r))
			return 0;
		open_records(r);
	}
	head = (size_t)(end - r->plain.p) + 4;
	sscanf(r->plain.p, "HTTP/1.1 %d", &status);
	length = head_field(r->plain.p, "Content-Length", 0);
	n = length ? strtoul(length, NULL, 10) : 0;
	if (!rec_plain(r, head + n))
		return 0;
	if (body) {
		text_clear(body);
		text_add(body, r->plain.p + head, n);
	}
	take(&r->plain, head + n);
	return status;
}

bool rec_end(struct rec *r)
{
	open_records(r);
	while (more(r))
		open_records(r);
	return r->fin || r->reset;
}

/* ---- a gateway, its backend, and what must hold when it is all over ---- */

struct place place_open(backend_fn handler, const struct gw_spec *spec)
{
	struct place p = {.be = backend_start(handler)};

	p.gw = gw_start(p.be, spec);
	p.fds = gw_descriptors(p.gw, false); /* pipes that bodies went through are kept */
	return p;
}

/* No client is left, and no descriptor but those of pooled backend connections. */
bool place_is_quiet(struct place *p)
{
	double pooled = gw_metric(p->gw, "hardtack_connections", "side=\"backend\"", NULL);

	return gw_metric(p->gw, "hardtack_connections", "side=\"client\"", NULL) <= 0 &&
	       gw_descriptors(p->gw, false) <= p->fds + (int)pooled;
}

void place_close(struct place *p)
{
	p->be->handler = NULL;
	backend_reply(p->be, NULL);
	cr_expect_eq(client_once(p->gw, NULL, ""), 200, "it serves no more");
	cr_expect(e2e_wait(place_is_quiet(p)), "%d descriptors, %d at the start",
		  gw_descriptors(p->gw, false), p->fds);
	gw_stop(p->gw);
	backend_stop(p->be);
}

/* Those to test: one if the run is for one. */
const int *rec_versions(void)
{
	static const int both[] = {TLS1_2_VERSION, TLS1_3_VERSION, 0};
	static const int old[] = {TLS1_2_VERSION, 0}, new[] = {TLS1_3_VERSION, 0};
	const char *v = getenv("HT_TLS");

	return !v || !*v ? both : !strcmp(v, "1.2") ? old : new;
}

/* Does the kernel have the keys of this version's connections? */
bool place_offloaded(struct gw *gw, int version, const char *direction)
{
	return gw_metric(gw, "hardtack_tls_connections_total",
			 version == TLS1_3_VERSION ? "\"1.3\"" : "\"1.2\"", direction, NULL) > 0;
}

double place_refused(struct gw *gw, const char *reason)
{
	char label[64];

	snprintf(label, sizeof(label), "reason=\"%s\"", reason);
	return gw_metric(gw, "hardtack_tls_refused_total", label, NULL);
}

int place_complete(struct backend *be)
{
	int n = 0;

	for (int i = 0; i < backend_count(be); i++)
		n += be->reqs[i]->complete;
	return n;
}

void rec_add_get(struct rec *r, const char *target)
{
	rec_addf(r, "GET %s HTTP/1.1\r\nHost: gw.test\r\n\r\n", target);
}

void rec_expect_answer(struct rec *r, const char *target)
{
	struct text body = {0};

	cr_expect_eq(rec_response(r, &body), 200, "version %x, %s", r->version, target);
	cr_expect(body.len == strlen(target) && !memcmp(body.p, target, body.len),
		  "version %x: %.*s", r->version, (int)body.len, body.p ? body.p : "");
	text_free(&body);
}

void place_expect_target(struct backend *be, const char *target)
{
	char seen[256];

	breq_target(backend_last(be), seen, sizeof(seen));
	cr_expect_str_eq(seen, target);
}
