/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What TLS connections have in common: certificates and who may connect, tickets and sessions. Whatever
 * is not plainly right ends the handshake; no early data, no renegotiation, no compression. Session
 * tickets are OpenSSL's own, under our keys (ticket.h). Does nothing to a connection's data.
 */
#include "tls_ctx.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <time.h>

#include "creds.h"
#include "ticket.h"

#define HT_TLS_CIPHERS                                                                             \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE+CHACHA20:ECDHE+AESGCM"
#define HT_TLS_SUITES "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
#define HT_TLS_SESSIONS 10240 /* TLS 1.2 without tickets; the others carry their own state */

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

/* One name that stands in a certificate. What has a '*' in its first label is good for others. */
static bool may_be_name(const ASN1_IA5STRING *name, struct ht_str host)
{
	struct ht_str n = {(const char *)name->data, (size_t)name->length};
	const char *dot = memchr(n.p, '.', n.len), *host_dot = memchr(host.p, '.', host.len);

	if (dot && memchr(n.p, '*', (size_t)(dot - n.p))) {
		if (!host_dot)
			return false;
		n = (struct ht_str){dot, (size_t)(n.p + n.len - dot)};
		host = (struct ht_str){host_dot, (size_t)(host.p + host.len - host_dot)};
	}
	return n.len == host.len && !strncasecmp(n.p, host.p, n.len);
}

/* Might it be the host's certificate? True, too, where that is not plain from its names. */
static bool may_be_hosts(const GENERAL_NAMES *names, struct ht_str host)
{
	bool unnamed = true; /* then its subject's common name counts */

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type != GEN_DNS)
			continue;
		if (may_be_name(name->d.dNSName, host))
			return true;
		unnamed = false;
	}
	return unnamed || host.p[0] == '.';
}

/* X509_check_host() decides, but decodes a certificate's names each time: 5,000 instructions. */
static SSL_CTX *ctx_for_name(const struct ht_tls_ctx *x, struct ht_str sni)
{
	for (size_t i = 0; sni.len && x->ncerts > 1 && i < x->ncerts; i++) {
		X509 *cert = SSL_CTX_get0_certificate(x->certs[i]);

		if (may_be_hosts(x->names[i], sni) &&
		    X509_check_host(cert, sni.p, sni.len, 0, NULL) == 1)
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

bool ht_tls_wants_subject(const SSL *ssl)
{
	return SSL_get_verify_callback(ssl) == verify_subject;
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

bool ht_tls_has_expired(const X509 *cert)
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
		if (cert && (ht_tls_has_expired(cert) || lists_expired(x)))
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
		     EVP_EncryptInit_ex(cipher, x->ticket_cipher, NULL, key.aes, iv);
	} else {
		ok = EVP_DecryptInit_ex(cipher, x->ticket_cipher, NULL, key.aes, iv);
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
		memcpy(x->session_id[i], digest, sizeof(x->session_id[i]));
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

/* What can't be decoded is as good as none: X509_check_host() sees it like that, too. */
static void load_names(struct ht_tls_ctx *x)
{
	for (size_t i = 0; i < x->ncerts; i++)
		x->names[i] = X509_get_ext_d2i(SSL_CTX_get0_certificate(x->certs[i]),
					       NID_subject_alt_name, NULL, NULL);
	ERR_clear_error();
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
	x->names = calloc(c->ncerts, sizeof(*x->names));
	x->ticket_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	if (!x->certs || !x->names || !x->ticket_cipher)
		goto out;
	err = session_ids(x);
	if (!err)
		err = tickets_take(&x->tickets);
	if (!err)
		err = load_crls(x, diag);
	for (; !err && x->ncerts < c->ncerts; x->ncerts += !err)
		err = ctx_one(x, &c->certs[x->ncerts], &x->certs[x->ncerts], diag);
	if (!err)
		load_names(x);
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
	for (size_t i = 0; i < x->ncerts; i++) {
		SSL_CTX_free(x->certs[i]);
		if (x->names)
			GENERAL_NAMES_free(x->names[i]);
	}
	sk_X509_CRL_pop_free(x->crls, X509_CRL_free);
	EVP_CIPHER_free(x->ticket_cipher);
	tickets_give(x->tickets);
	free(x->certs);
	free(x->names);
	free(x);
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
	if (x->certs) {
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
