/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS towards clients. Whatever is not plainly right ends the connection; no early data, no
 * renegotiation, no compression. Session tickets are OpenSSL's own, under our keys (ticket.h).
 */
#include "tls.h"

#include <linux/tls.h>
#include <netinet/tcp.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <time.h>

#include "creds.h"
#include "ticket.h"

#define HT_TLS_CIPHERS                                                                             \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE+CHACHA20:ECDHE+AESGCM"
#define HT_TLS_SUITES "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
#define HT_TLS_DATALESS 32    /* as many empty records does the library take in a row */
#define HT_TLS_SESSIONS 10240 /* TLS 1.2 without tickets; the others carry their own state */

#define HT_TLS_REKEYING 0x30200000L /* OpenSSL from 3.2 on gives the kernel further keys */

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif

/* The kernel takes further keys (6.14). Set by the probe, before there are threads. */
static bool kernel_rekeys;

struct ht_tls_ctx {
	struct ht_tls_params params;
	SSL_CTX **certs; /* one for each certificate; the first is the default */
	size_t ncerts;
	STACK_OF(X509_CRL) * crls; /* of client-crl, or NULL */
	struct ht_ticket_ring *tickets;
	BIO_METHOD *reader;
	uint8_t session_id[2][32]; /* [a subject is needed]; SHA-256 */
};

static int tls_say(struct ht_diag *diag, const struct ht_listener_config *l, unsigned line,
		   unsigned col, const char *what)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());

	(void)l;
	diag->file[0] = 0;
	diag->line = line;
	diag->col = col;
	snprintf(diag->text, sizeof(diag->text), "%s: %s", what, why ? why : "unknown error");
	ERR_clear_error();
	return -EINVAL;
}

/* ---- reading the socket ourselves ---- */

/*
 * OpenSSL reads a record's header and its body apart, and once more to see that nothing is left.
 * Our reader lets it read ahead and remembers that a short read has emptied the socket, which
 * saves two system calls a request. Not for kTLS on the receiving side.
 */
static int reader_read(BIO *b, char *out, int len)
{
	struct ht_source *s = BIO_get_data(b);
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

static long reader_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	(void)b, (void)num, (void)ptr;
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static BIO_METHOD *reader_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket reader");

	if (!m)
		return NULL;
	BIO_meth_set_read(m, reader_read);
	BIO_meth_set_ctrl(m, reader_ctrl);
	return m;
}

static int reader_install(struct ht_tls *t, const struct ht_tls_ctx *x)
{
	BIO *b = BIO_new(x->reader);

	if (!b)
		return -ENOMEM;
	BIO_set_data(b, t->source);
	BIO_set_init(b, 1);
	SSL_set0_rbio(t->ssl, b);
	SSL_set_read_ahead(t->ssl, 1);
	return 0;
}

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

/* ---- what the client hello decides ---- */

/* The host name of the server_name extension (RFC 6066, section 3), or empty. */
static struct ht_str hello_name(SSL *ssl)
{
	const unsigned char *p;
	size_t len, n;

	if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &len) || len < 5)
		return HT_STR("");
	n = (size_t)p[3] << 8 | p[4];
	if (((size_t)p[0] << 8 | p[1]) != len - 2 || p[2] != TLSEXT_NAMETYPE_host_name || !n ||
	    n != len - 5 || n > TLSEXT_MAXLEN_host_name || memchr(p + 5, 0, n))
		return HT_STR("");
	return (struct ht_str){(const char *)p + 5, n};
}

static SSL_CTX *ctx_for_name(const struct ht_tls_ctx *x, struct ht_str sni)
{
	for (size_t i = 0; sni.len && i < x->ncerts; i++) {
		X509 *cert = SSL_CTX_get0_certificate(x->certs[i]);

		if (X509_check_host(cert, sni.p, sni.len, 0, NULL) == 1)
			return x->certs[i];
	}
	return x->certs[0];
}

/* Whoever publishes no list (that we are given) has revoked no authority; of clients, nobody knows. */
static int verify_lists(int ok, X509_STORE_CTX *store)
{
	if (ok || X509_STORE_CTX_get_error(store) != X509_V_ERR_UNABLE_TO_GET_CRL ||
	    !X509_STORE_CTX_get_error_depth(store))
		return ok;
	X509_STORE_CTX_set_error(store, X509_V_OK);
	return 1;
}

/* A site that binds to the subject takes no certificate without one. */
static int verify_subject(int ok, X509_STORE_CTX *store)
{
	X509 *cert = X509_STORE_CTX_get_current_cert(store);

	ok = verify_lists(ok, store);
	if (!ok || X509_STORE_CTX_get_error_depth(store) || !cert ||
	    X509_NAME_entry_count(X509_get_subject_name(cert)))
		return ok;
	X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}

/*
 * Before sessions are looked up: a session that was made without a certificate must not be
 * resumed where one is needed, so those have a session id context of their own.
 */
static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
	const struct ht_tls_ctx *x = arg;
	struct ht_str sni = hello_name(ssl);
	bool needed = x->params.needs_subject && x->params.needs_subject(x->params.arg, sni);
	SSL_CTX *ctx = ctx_for_name(x, sni);

	if (ctx != x->certs[0] && !SSL_set_SSL_CTX(ssl, ctx))
		goto failed;
	if (!SSL_set_session_id_context(ssl, x->session_id[needed], sizeof(x->session_id[0])))
		goto failed;
	if (needed)
		SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
			       verify_subject);
	return SSL_CLIENT_HELLO_SUCCESS;
failed:
	*alert = SSL_AD_INTERNAL_ERROR;
	return SSL_CLIENT_HELLO_ERROR;
}

/* on_client_hello() has chosen already; this one only says that the name was understood. */
static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	(void)ssl, (void)alert, (void)arg;
	return SSL_TLSEXT_ERR_OK;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		   const unsigned char *in, unsigned in_len, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1\x08http/1.0";

	(void)ssl, (void)arg;
	if (SSL_select_next_proto((unsigned char **)out, out_len, ours, sizeof(ours) - 1, in,
				  in_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	return SSL_TLSEXT_ERR_OK;
}

static bool has_expired(const X509 *cert)
{
	return X509_cmp_current_time(X509_get0_notAfter(cert)) <= 0;
}

/*
 * Sessions are granted under the very lists that there are (session_ids()), so nobody in them can
 * have been revoked since. But a list may have come of age, and then a whole handshake must tell.
 */
static bool lists_expired(const struct ht_tls_ctx *x)
{
	for (int i = 0; i < sk_X509_CRL_num(x->crls); i++) {
		const ASN1_TIME *next = X509_CRL_get0_nextUpdate(sk_X509_CRL_value(x->crls, i));

		if (next && X509_cmp_current_time(next) <= 0)
			return true;
	}
	return false;
}

/*
 * A ticket brings its certificate along. If that has expired since, the client must show another; he
 * must show it again if the lists of who was revoked are too old.
 */
static SSL_TICKET_RETURN on_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *key_name,
				   size_t key_name_len, SSL_TICKET_STATUS status, void *arg)
{
	const struct ht_tls_ctx *x = SSL_get_app_data(ssl);
	X509 *cert;

	(void)key_name, (void)key_name_len, (void)arg;
	switch (status) {
	case SSL_TICKET_SUCCESS:
	case SSL_TICKET_SUCCESS_RENEW:
		cert = SSL_SESSION_get0_peer(session);
		if (cert && (has_expired(cert) || lists_expired(x)))
			return SSL_TICKET_RETURN_IGNORE_RENEW;
		return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE
						    : SSL_TICKET_RETURN_USE_RENEW;
	case SSL_TICKET_EMPTY:
	case SSL_TICKET_NO_DECRYPT:
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	default:
		return SSL_TICKET_RETURN_ABORT;
	}
}

/* ---- ticket keys ---- */

/* One ring for all listeners and, across a reload, for the contexts before and after it. */
static struct {
	pthread_mutex_t lock;
	struct ht_ticket_ring *ring;
	size_t users;
} tickets = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t ticket_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec;
}

static int tickets_take(struct ht_ticket_ring **ret)
{
	int err = 0;

	pthread_mutex_lock(&tickets.lock);
	if (!tickets.users)
		err = ht_ticket_ring_new(ticket_clock(), &tickets.ring);
	if (!err) {
		tickets.users++;
		*ret = tickets.ring;
	}
	pthread_mutex_unlock(&tickets.lock);
	return err;
}

static void tickets_give(struct ht_ticket_ring *ring)
{
	if (!ring)
		return;
	pthread_mutex_lock(&tickets.lock);
	if (!--tickets.users)
		ht_ticket_ring_free(TAKE_PTR(tickets.ring));
	pthread_mutex_unlock(&tickets.lock);
}

static bool ticket_mac(EVP_MAC_CTX *mac, struct ht_ticket_key *key)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof(key->hmac)),
		OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 6),
		OSSL_PARAM_END,
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/*
 * Seals (1) or opens (0) a ticket, SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 done, 2 done and the
 * client is to get a new one, 0 no such key, -1 failed. TLS 1.3 gets a new one always, so that
 * nobody can tell two of its connections by their ticket.
 */
static int on_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
			 EVP_MAC_CTX *mac, int seal)
{
	const struct ht_tls_ctx *x = SSL_get_app_data(ssl);
	struct ht_ticket_key key;
	bool current = true, ok;
	int err;

	if (seal)
		err = ht_ticket_ring_current(x->tickets, ticket_clock(), &key);
	else
		err = ht_ticket_ring_find(x->tickets, ticket_clock(), name, &key, &current);
	if (err)
		return err == -ENOENT ? 0 : -1;
	if (seal) {
		memcpy(name, key.name, sizeof(key.name));
		ok = RAND_bytes(iv, EVP_MAX_IV_LENGTH) == 1 &&
		     EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.aes, iv);
	} else {
		ok = EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.aes, iv);
	}
	ok = ok && ticket_mac(mac, &key);
	OPENSSL_cleanse(&key, sizeof(key));
	if (!ok)
		return -1;
	return seal || (current && SSL_version(ssl) != TLS1_3_VERSION) ? 1 : 2;
}

static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf, (void)size, (void)rwflag, (void)arg;
	return -1;
}

/* ---- contexts ---- */

static bool digest_file(EVP_MD_CTX *md, const char *path)
{
	_cleanup_fclose_ FILE *f = path ? fopen(ht_creds_path(path), "re") : NULL;
	bool ok = EVP_DigestUpdate(md, path ? "+" : "-", 1);
	char block[4096];
	size_t n;

	while (ok && f && (n = fread(block, 1, sizeof(block), f)) > 0)
		ok = EVP_DigestUpdate(md, block, n);
	return ok;
}

/*
 * A digest of what a session was granted under: the listener, whose certificates it takes and whose
 * it does not take any more.
 */
static int session_ids(struct ht_tls_ctx *x)
{
	const struct ht_listener_config *l = x->params.listener;
	char head[256];
	unsigned char digest[32];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL);

	snprintf(head, sizeof(head), "%s %d", l->addr.text, l->tls->client_cert);
	ok = ok && EVP_DigestUpdate(md, head, strlen(head));
	ok = ok && digest_file(md, l->tls->client_ca) && digest_file(md, l->tls->client_crl);
	ok = ok && EVP_DigestFinal_ex(md, digest, NULL);
	EVP_MD_CTX_free(md);
	for (size_t i = 0; i < 2; i++) {
		memcpy(x->session_id[i], digest, sizeof(digest));
		x->session_id[i][0] ^= (uint8_t)i;
	}
	return ok ? 0 : -EIO;
}

static void ctx_options(struct ht_tls_ctx *x, SSL_CTX *ctx)
{
	/* an end without close_notify is one all the same: what came is whole by its own framing */
	uint64_t options = SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
			   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
			   SSL_OP_IGNORE_UNEXPECTED_EOF;

	if (x->params.ktls)
		options |= SSL_OP_ENABLE_KTLS;
	SSL_CTX_set_options(ctx, options);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* on_ticket() looks whether the lists are too old; whatever comes from the cache, nobody */
	SSL_CTX_set_session_cache_mode(ctx, x->crls ? SSL_SESS_CACHE_OFF : SSL_SESS_CACHE_SERVER);
	SSL_CTX_sess_set_cache_size(ctx, HT_TLS_SESSIONS);
	SSL_CTX_set_session_id_context(ctx, x->session_id[0], sizeof(x->session_id[0]));
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_session_ticket_cb(ctx, NULL, on_ticket, NULL);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket_key);
	SSL_CTX_set_client_hello_cb(ctx, on_client_hello, x);
	SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
}

/* All lists of the file; the configuration has seen to it that there are some. */
static int load_crls(struct ht_tls_ctx *x, struct ht_diag *diag)
{
	const struct ht_tls_config *c = x->params.listener->tls;
	BIO *file;
	X509_CRL *crl;

	if (!c->client_crl)
		return 0;
	x->crls = sk_X509_CRL_new_null();
	file = BIO_new_file(ht_creds_path(c->client_crl), "re");
	while (file && x->crls && (crl = PEM_read_bio_X509_CRL(file, NULL, NULL, NULL))) {
		if (!sk_X509_CRL_push(x->crls, crl))
			X509_CRL_free(crl);
	}
	BIO_free(file);
	if (sk_X509_CRL_num(x->crls) <= 0)
		return tls_say(diag, x->params.listener, c->crl_line, c->crl_col,
			       "client-crl can't be used");
	ERR_clear_error(); /* the end of the file */
	return 0;
}

/*
 * No certificate of a chain may be on a list of its issuer, and lists must be current. There must be
 * one for the client's own certificate, see verify_lists().
 */
static int ctx_client_crl(struct ht_tls_ctx *x, SSL_CTX *ctx, struct ht_diag *diag)
{
	const struct ht_tls_config *c = x->params.listener->tls;
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	bool ok = true;

	for (int i = 0; i < sk_X509_CRL_num(x->crls); i++)
		ok = ok && X509_STORE_add_crl(store, sk_X509_CRL_value(x->crls, i));
	if (x->crls)
		ok = ok &&
		     X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	if (ok)
		return 0;
	return tls_say(diag, x->params.listener, c->crl_line, c->crl_col,
		       "client-crl can't be used");
}

static int ctx_client_ca(struct ht_tls_ctx *x, SSL_CTX *ctx, struct ht_diag *diag)
{
	const struct ht_tls_config *c = x->params.listener->tls;
	STACK_OF(X509_NAME) * names;
	int mode = SSL_VERIFY_NONE;

	if (c->client_cert == HT_CLIENT_CERT_OPTIONAL)
		mode = SSL_VERIFY_PEER;
	if (c->client_cert == HT_CLIENT_CERT_REQUIRED)
		mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	SSL_CTX_set_verify(ctx, mode, verify_lists);
	if (!c->client_ca)
		return 0;
	names = SSL_load_client_CA_file(ht_creds_path(c->client_ca));
	if (!names || !SSL_CTX_load_verify_file(ctx, ht_creds_path(c->client_ca))) {
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		return tls_say(diag, x->params.listener, c->line, c->col,
			       "client-ca can't be used");
	}
	SSL_CTX_set_client_CA_list(ctx, names);
	return ctx_client_crl(x, ctx, diag);
}

static int ctx_certificate(struct ht_tls_ctx *x, SSL_CTX *ctx, const struct ht_cert_config *c,
			   struct ht_diag *diag)
{
	const struct ht_listener_config *l = x->params.listener;

	if (SSL_CTX_use_certificate_chain_file(ctx, ht_creds_path(c->certificate)) != 1)
		return tls_say(diag, l, c->line, c->col, "the certificate can't be used");
	if (SSL_CTX_use_PrivateKey_file(ctx, ht_creds_path(c->key), SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(ctx) != 1)
		return tls_say(diag, l, c->line, c->col,
			       "the key can't be used with this certificate");
	return 0;
}

static int ctx_one(struct ht_tls_ctx *x, const struct ht_cert_config *c, SSL_CTX **ret,
		   struct ht_diag *diag)
{
	const struct ht_listener_config *l = x->params.listener;
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	int err = 0;

	if (!ctx)
		return tls_say(diag, l, c->line, c->col, "no TLS context");
	ctx_options(x, ctx);
	if (!SSL_CTX_set_min_proto_version(ctx, l->tls->min_version) ||
	    !SSL_CTX_set_cipher_list(ctx, HT_TLS_CIPHERS) ||
	    !SSL_CTX_set_ciphersuites(ctx, HT_TLS_SUITES))
		err = tls_say(diag, l, c->line, c->col, "the library refuses our TLS settings");
	if (!err)
		err = ctx_certificate(x, ctx, c, diag);
	if (!err)
		err = ctx_client_ca(x, ctx, diag);
	if (err) {
		SSL_CTX_free(ctx);
		return err;
	}
	*ret = ctx;
	return 0;
}

int ht_tls_ctx_new(const struct ht_tls_params *p, struct ht_tls_ctx **ret, struct ht_diag *diag)
{
	const struct ht_tls_config *c = p->listener->tls;
	struct ht_tls_ctx *x = calloc(1, sizeof(*x));
	int err = -ENOMEM;

	if (!x)
		goto out;
	x->params = *p;
	x->certs = calloc(c->ncerts, sizeof(*x->certs));
	x->reader = reader_method();
	if (!x->certs || !x->reader)
		goto out;
	err = session_ids(x);
	if (!err)
		err = tickets_take(&x->tickets);
	if (!err)
		err = load_crls(x, diag);
	for (; !err && x->ncerts < c->ncerts; x->ncerts += !err)
		err = ctx_one(x, &c->certs[x->ncerts], &x->certs[x->ncerts], diag);
	if (!err)
		*ret = TAKE_PTR(x);
out:
	if (err && err != -EINVAL)
		tls_say(diag, p->listener, c->line, c->col, "no TLS context");
	ht_tls_ctx_free(x);
	return err;
}

void ht_tls_ctx_free(struct ht_tls_ctx *x)
{
	if (!x)
		return;
	for (size_t i = 0; i < x->ncerts; i++)
		SSL_CTX_free(x->certs[i]);
	sk_X509_CRL_pop_free(x->crls, X509_CRL_free);
	tickets_give(x->tickets);
	BIO_meth_free(x->reader);
	free(x->certs);
	free(x);
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

int ht_tls_open(struct ht_tls *t, struct ht_tls_ctx *x, struct ht_source *source)
{
	SSL *ssl = SSL_new(x->certs[0]);

	if (!ssl)
		return -ENOMEM;
	*t = (struct ht_tls){.ssl = ssl, .source = source};
	SSL_set_msg_callback(ssl, on_message);
	SSL_set_msg_callback_arg(ssl, t);
	if (!SSL_set_fd(ssl, source->fd) || !SSL_set_app_data(ssl, (char *)x))
		goto failed;
	if (!x->params.ktls && reader_install(t, x))
		goto failed;
	SSL_set_accept_state(ssl);
	return 0;
failed:
	ht_tls_close(t);
	ERR_clear_error();
	return -ENOMEM;
}

/* ---- connections to backends ---- */

static int client_ctx(struct ht_tls_ctx *x, const char *ca)
{
	static const unsigned char ours[] = "\x08http/1.1";
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx)
		return -EINVAL;
	x->certs[x->ncerts++] = ctx;
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (!SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) ||
	    !SSL_CTX_set_cipher_list(ctx, HT_TLS_CIPHERS) ||
	    !SSL_CTX_set_ciphersuites(ctx, HT_TLS_SUITES) ||
	    SSL_CTX_set_alpn_protos(ctx, ours, sizeof(ours) - 1))
		return -EINVAL;
	if (!(ca ? SSL_CTX_load_verify_file(ctx, ht_creds_path(ca))
		 : SSL_CTX_set_default_verify_paths(ctx)))
		return -EINVAL;
	return 0;
}

int ht_tls_client_new(const char *ca, struct ht_tls_ctx **ret, char *why, size_t why_len)
{
	struct ht_tls_ctx *x = calloc(1, sizeof(*x));
	const char *reason;
	int err = -ENOMEM;

	snprintf(why, why_len, "out of memory");
	if (!x)
		return err;
	x->certs = calloc(1, sizeof(*x->certs));
	x->reader = reader_method();
	if (x->certs && x->reader) {
		err = client_ctx(x, ca);
		reason = ERR_reason_error_string(ERR_peek_last_error());
		if (err)
			snprintf(why, why_len, "%s", reason ? reason : "it can't be read");
		ERR_clear_error();
	}
	if (!err)
		*ret = TAKE_PTR(x);
	ht_tls_ctx_free(x);
	return err;
}

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
		   const char *host)
{
	SSL *ssl = SSL_new(x->certs[0]);

	if (!ssl)
		return -ENOMEM;
	*t = (struct ht_tls){.ssl = ssl, .source = source};
	if (!SSL_set_fd(ssl, source->fd) || !SSL_set_app_data(ssl, (char *)x) ||
	    !expect_host(ssl, host) || reader_install(t, x)) {
		ht_tls_close(t);
		ERR_clear_error();
		return -ENOMEM;
	}
	SSL_set_connect_state(ssl);
	return 0;
}

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
	if (has_expired(cert)) {
		SSL_CTX_remove_session(x->certs[0], SSL_get_session(t->ssl));
		return "client certificate has expired";
	}
	if (needed && SSL_get_verify_callback(t->ssl) == verify_subject &&
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
	if (x->params.ktls && !BIO_get_ktls_recv(SSL_get_rbio(t->ssl)))
		return reader_install(t, x);
	return 0;
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

ssize_t ht_tls_write(struct ht_tls *t, const void *buf, size_t len)
{
	const char *why;
	int n, err;

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
