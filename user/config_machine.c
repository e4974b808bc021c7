/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the text of a configuration can't tell: whether the files that it names can be read and fit
 * together, whether names resolve and the user exists; and what is allowed but probably not meant.
 * It keeps nothing open, and no secret longer than it takes to look.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <pwd.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "config_schema.h"
#include "creds.h"
#include "geoip.h"
#include "keyring.h"
#include "ring_dir.h"

#define PEM_MAX (1 << 20) /* bytes of a certificate, key or CA file */

_printf_(5, 6) static int fail(struct ht_diag *d, const struct ht_config *c, unsigned line,
			       unsigned col, const char *fmt, ...)
{
	va_list ap;

	snprintf(d->file, sizeof(d->file), "%s", c->file);
	d->line = line;
	d->col = col;
	va_start(ap, fmt);
	vsnprintf(d->text, sizeof(d->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- certificates ---- */

static void cleanup_bio(BIO **b)
{
	BIO_free(*b);
}

static void cleanup_x509(X509 **x)
{
	X509_free(*x);
}

static void cleanup_pkey(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}

/*
 * Only plain files: a FIFO or a terminal would let --check wait for ever. Read by descriptor, so
 * that no stdio buffer keeps a private key.
 */
static BIO *open_plain(const char *path, const char **ret_why)
{
	_cleanup_close_ int fd = open(ht_creds_path(path),
				      O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	BIO *b = NULL;

	*ret_why = "out of memory";
	if (fd < 0 || fstat(fd, &st) < 0)
		*ret_why = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		*ret_why = "not a plain file";
	else if (st.st_size > PEM_MAX)
		*ret_why = "larger than 1 MiB";
	else
		b = BIO_new_fd(fd, BIO_CLOSE);
	if (b)
		(void)TAKE_FD(fd);
	return b;
}

/* OpenSSL would ask on the terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *asked)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	*(bool *)asked = true;
	return -1;
}

static int check_cert(const struct ht_config *c, const struct ht_cert_config *cert,
		      struct ht_diag *diag)
{
	_cleanup_(cleanup_bio) BIO *cert_file = NULL;
	_cleanup_(cleanup_bio) BIO *key_file = NULL;
	_cleanup_(cleanup_x509) X509 *x509 = NULL;
	_cleanup_(cleanup_pkey) EVP_PKEY *key = NULL;
	bool encrypted = false;
	const char *why;

	cert_file = open_plain(cert->certificate, &why);
	if (!cert_file)
		return fail(diag, c, cert->line, cert->col, "can't read certificate %s: %s",
			    cert->certificate, why);
	x509 = PEM_read_bio_X509(cert_file, NULL, NULL, NULL);
	if (!x509)
		return fail(diag, c, cert->line, cert->col, "%s holds no certificate in PEM form",
			    cert->certificate);
	key_file = open_plain(cert->key, &why);
	if (!key_file)
		return fail(diag, c, cert->line, cert->col, "can't read key %s: %s", cert->key,
			    why);
	key = PEM_read_bio_PrivateKey(key_file, NULL, no_passphrase, &encrypted);
	if (!key)
		return fail(
			diag, c, cert->line, cert->col,
			encrypted
				? "%s is encrypted and there is nobody to ask; store it without a "
				  "passphrase"
				: "%s holds no private key in PEM form",
			cert->key);
	if (!X509_check_private_key(x509, key))
		return fail(diag, c, cert->line, cert->col,
			    "certificate %s does not match key %s; "
			    "name the key that it was made with",
			    cert->certificate, cert->key);
	return 0;
}

static int check_client_ca(const struct ht_config *c, const struct ht_tls_config *tls,
			   struct ht_diag *diag)
{
	_cleanup_(cleanup_bio) BIO *file = NULL;
	_cleanup_(cleanup_x509) X509 *x509 = NULL;
	const char *why;

	if (!tls->client_ca)
		return 0;
	file = open_plain(tls->client_ca, &why);
	if (!file)
		return fail(diag, c, tls->line, tls->col, "can't read client-ca %s: %s",
			    tls->client_ca, why);
	x509 = PEM_read_bio_X509(file, NULL, NULL, NULL);
	if (!x509)
		return fail(diag, c, tls->line, tls->col,
			    "client-ca %s holds no certificate in PEM "
			    "form",
			    tls->client_ca);
	return 0;
}

static void cleanup_crl(X509_CRL **crl)
{
	X509_CRL_free(*crl);
}

/* Is it one of client-ca's, with its signature? Otherwise nobody's certificate could be verified. */
static bool crl_has_issuer(X509_CRL *crl, const char *client_ca)
{
	const char *why;
	_cleanup_(cleanup_bio) BIO *file = open_plain(client_ca, &why);
	bool found = false;
	X509 *ca;

	while (file && !found && (ca = PEM_read_bio_X509(file, NULL, NULL, NULL))) {
		found = !X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(ca)) &&
			X509_CRL_verify(crl, X509_get0_pubkey(ca)) == 1;
		X509_free(ca);
	}
	return found;
}

static int check_client_crl(const struct ht_config *c, struct ht_tls_config *tls,
			    struct ht_diag *diag)
{
	_cleanup_(cleanup_bio) BIO *file = NULL;
	const char *why;
	size_t n = 0;

	if (!tls->client_crl)
		return 0;
	file = open_plain(tls->client_crl, &why);
	if (!file)
		return fail(diag, c, tls->crl_line, tls->crl_col, "can't read client-crl %s: %s",
			    tls->client_crl, why);
	for (;; n++) {
		_cleanup_(cleanup_crl)
			X509_CRL *crl = PEM_read_bio_X509_CRL(file, NULL, NULL, NULL);
		const ASN1_TIME *next;

		if (!crl)
			break;
		if (!crl_has_issuer(crl, tls->client_ca))
			return fail(diag, c, tls->crl_line, tls->crl_col,
				    "client-crl %s has a list that no certificate of client-ca "
				    "signed; write the one that the CA publishes",
				    tls->client_crl);
		next = X509_CRL_get0_nextUpdate(crl);
		tls->crl_expired |= next && X509_cmp_current_time(next) < 0;
	}
	if (!n)
		return fail(diag, c, tls->crl_line, tls->crl_col,
			    "client-crl %s holds no revocation list in PEM form", tls->client_crl);
	return 0;
}

static int check_listeners(const struct ht_config *c, struct ht_diag *diag)
{
	int r = 0;

	for (size_t i = 0; i < c->nlisteners && !r; i++) {
		struct ht_tls_config *tls = c->listeners[i].tls;

		for (size_t j = 0; tls && j < tls->ncerts && !r; j++)
			r = check_cert(c, &tls->certs[j], diag);
		if (tls && !r)
			r = check_client_ca(c, tls, diag);
		if (tls && !r)
			r = check_client_crl(c, tls, diag);
	}
	/* What OpenSSL thinks of it has been said; nobody else shall find it in the queue. */
	ERR_clear_error();
	return r;
}

/* ---- keys, names and the user ---- */

/* One that is not there yet is made when it is needed; by whom it may be read is seen then. */
static int check_directory(const struct ht_config *c, const struct ht_key_config *key,
			   struct ht_diag *diag)
{
	struct ht_ring *ring = ht_ring_new();
	struct ht_diag why;
	int r = ring ? ht_ring_dir_load(key->directory, ring, &why) : 0;

	ht_ring_free(ring);
	if (!r || r == -ENOENT || r == -EACCES)
		return 0;
	return fail(diag, c, key->line, key->col, "key directory %.200s: %.250s", why.file,
		    why.text);
}

static int check_keys(const struct ht_config *c, struct ht_diag *diag)
{
	struct ht_diag why;

	for (size_t i = 0; i < c->nkeys; i++) {
		uint8_t *bytes;
		size_t len;
		int r;

		if (c->keys[i].directory) {
			r = check_directory(c, &c->keys[i], diag);
			if (r)
				return r;
			continue;
		}
		r = ht_secret_read(c->keys[i].file, &bytes, &len, &why);

		if (r)
			return fail(diag, c, c->keys[i].line, c->keys[i].col, "key file %.200s: %s",
				    why.file, why.text);
		ht_secret_free(bytes, len);
	}
	return 0;
}

static int resolve(const struct ht_config *c, struct ht_upstream_config *u, struct ht_diag *diag)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	int r;

	if (u->addr.len)
		return 0;
	r = getaddrinfo(u->host, NULL, &hints, &found);
	if (r)
		return fail(diag, c, u->line, u->col,
			    "upstream name %.64s does not resolve: %s; write "
			    "an address, or a name that this machine knows",
			    u->host, gai_strerror(r));
	memcpy(&u->addr.sa, found->ai_addr, found->ai_addrlen);
	u->addr.len = found->ai_addrlen;
	if (found->ai_family == AF_INET6)
		u->addr.in6.sin6_port = htons(u->port);
	else
		u->addr.in.sin_port = htons(u->port);
	freeaddrinfo(found);
	return 0;
}

static int resolve_upstreams(struct ht_config *c, struct ht_diag *diag)
{
	int r = 0;

	for (size_t i = 0; i < c->nsites; i++)
		for (size_t j = 0; j < c->sites[i].nupstreams && !r; j++)
			r = resolve(c, &c->sites[i].upstreams[j], diag);
	return r;
}

static int check_user(const struct ht_config *c, struct ht_diag *diag)
{
	if (!c->user || getpwnam(c->user))
		return 0;
	return fail(diag, c, c->user_line, c->user_col,
		    "there is no user '%.64s' on this machine; "
		    "create it, or leave 'user' out to stay who we are",
		    c->user);
}

static int check_geoip(const struct ht_config *c, struct ht_diag *diag)
{
	struct ht_geoip *g;
	char why[256];

	if (!c->geoip)
		return 0;
	if (ht_geoip_open(c->geoip, &g, why, sizeof(why)))
		return fail(diag, c, c->geoip_line, c->geoip_col, "geoip %s: %s", c->geoip, why);
	ht_geoip_close(g);
	return 0;
}

int ht_config_check_machine(struct ht_config *c, struct ht_diag *diag)
{
	int r = check_listeners(c, diag);

	if (!r)
		r = check_keys(c, diag);
	if (!r)
		r = check_geoip(c, diag);
	if (!r)
		r = check_user(c, diag);
	return r ? r : resolve_upstreams(c, diag);
}

/* ---- warnings ---- */

struct warner {
	const struct ht_config *config;
	void (*warn)(void *arg, const struct ht_diag *diag);
	void *arg;
};

_printf_(4, 5) static void warn(const struct warner *w, unsigned line, unsigned col,
				const char *fmt, ...)
{
	struct ht_diag d = {.line = line, .col = col};
	va_list ap;

	snprintf(d.file, sizeof(d.file), "%s", w->config->file);
	va_start(ap, fmt);
	vsnprintf(d.text, sizeof(d.text), fmt, ap);
	va_end(ap);
	w->warn(w->arg, &d);
}

static bool is_unix(const struct ht_addr *a)
{
	return a->sa.sa_family == AF_UNIX;
}

static bool is_loopback(const struct ht_addr *a)
{
	if (a->sa.sa_family == AF_INET)
		return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
	return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

static bool binds_to(const struct ht_rule_config *rule, enum ht_bind_kind kind)
{
	for (size_t i = 0; i < rule->nbinds; i++)
		if (rule->binds[i].kind == kind)
			return true;
	return false;
}

static bool binds_to_client_ip(const struct ht_rule_config *rule)
{
	return binds_to(rule, HT_BIND_CLIENT_IP);
}

static bool binds_to_subject(const struct ht_rule_config *rule)
{
	return binds_to(rule, HT_BIND_X509_SUBJECT);
}

/* The sibling is the seed's exact line, "HttpOnly; Secure; Path=/". */
static bool has_seed_sibling(const struct ht_rule_config *rule)
{
	return !rule->copy_attributes;
}

/* The first rule that is on and has some property. */
static const struct ht_rule_config *find_rule(const struct ht_config *c,
					      bool (*has)(const struct ht_rule_config *rule))
{
	for (size_t i = 0; i < c->nsites; i++)
		for (size_t j = 0; j < c->sites[i].nrules; j++)
			if (c->sites[i].rules[j].mode != HT_MODE_OFF && has(&c->sites[i].rules[j]))
				return &c->sites[i].rules[j];
	return NULL;
}

/* The proxy beside us is believed: what it says of its clients is what they are bound to. */
static bool trusts_loopback(const struct ht_config *c)
{
	const struct sockaddr_in v4 = {.sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
					.sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_storage a = {0}, b = {0};

	memcpy(&a, &v4, sizeof(v4));
	memcpy(&b, &v6, sizeof(v6));
	return ht_prefix_match(c->trusted, c->ntrusted, &a) ||
	       ht_prefix_match(c->trusted, c->ntrusted, &b);
}

static void warn_listener(const struct warner *w, const struct ht_listener_config *l)
{
	const struct ht_rule_config *secure = find_rule(w->config, has_seed_sibling);
	const struct ht_rule_config *ip = find_rule(w->config, binds_to_client_ip);
	const struct ht_rule_config *subject = find_rule(w->config, binds_to_subject);

	if (l->tls && l->tls->crl_expired)
		warn(w, l->tls->crl_line, l->tls->crl_col,
		     "client-crl %s has a list that is past its next update: until there is a "
		     "newer "
		     "one its issuer's certificates are refused",
		     l->tls->client_crl);
	if (l->redirect_https)
		return; /* no cookie is ever judged there */
	if (secure && !l->tls && !is_unix(&l->addr) && !is_loopback(&l->addr))
		warn(w, l->line, l->col,
		     "listener %s has no tls, and browsers never return the Secure "
		     "cookie %s over plain HTTP; add tls, or sibling-attributes: copy to the rule "
		     "in "
		     "line %u",
		     l->addr.text, secure->sibling, secure->line);
	if (ip && is_unix(&l->addr)) /* nor can a unix socket's peers be trusted proxies */
		warn(w, l->line, l->col,
		     "listener %s knows no client addresses, so that no cookie %s "
		     "(line %u, bound to client-ip) is ever valid there",
		     l->addr.text, ip->label, ip->line);
	if (ip && !l->tls && is_loopback(&l->addr) && !trusts_loopback(w->config))
		warn(w, l->line, l->col,
		     "behind another proxy on this machine every client of listener "
		     "%s has the same address: client-ip (line %u) then binds cookie %s to nobody; "
		     "add trusted-proxies: [127.0.0.1, ::1] if that proxy names them",
		     l->addr.text, ip->line, ip->label);
	if (subject && !ht_config_asks_for_certs(l))
		warn(w, l->line, l->col,
		     "listener %s asks for no client certificates, so that no cookie "
		     "%s (line %u, bound to x509-subject) is ever valid there",
		     l->addr.text, subject->label, subject->line);
}

static bool key_is_used(const struct ht_config *c, size_t key)
{
	for (size_t i = 0; i < c->nsites; i++)
		for (size_t j = 0; j < c->sites[i].nrules; j++)
			if (c->sites[i].rules[j].key_index == key)
				return true;
	return false;
}

static void warn_site(const struct warner *w, const struct ht_site_config *s)
{
	bool secured = false;

	for (size_t i = 0; i < s->nexempt; i++)
		if (s->nrules && !strcmp(s->exempt[i], "/*"))
			warn(w, s->line, s->col,
			     "the site of %s exempts every path: its cookies are signed, and never "
			     "judged",
			     s->hosts[0]);
	for (size_t i = 0; i < w->config->nlisteners; i++)
		secured |= w->config->listeners[i].tls != NULL;
	if (s->hsts_s && !secured && !w->config->ntrusted)
		warn(w, s->line, s->col,
		     "hsts of the site of %s is never sent: no listener has tls, and no proxy is "
		     "trusted to say that it has",
		     s->hosts[0]);
}

/* What its tokens are worth less for. */
static void warn_rule(const struct warner *w, const struct ht_rule_config *rule)
{
	if (rule->profile == HT_PROFILE_SESSION_ID)
		warn(w, rule->line, rule->col,
		     "the ids of this rule (%s) are bound to nothing, for which their format has "
		     "no place: one that is stolen is as good as the owner's",
		     rule->label);
	else if (!rule->nbinds)
		warn(w, rule->line, rule->col,
		     "the tokens of this rule (%s) are bound to nothing: a cookie that is stolen, "
		     "or "
		     "slipped to somebody, is as good as the owner's; add bind: [client-ip] or "
		     "another",
		     rule->label);
	if (binds_to(rule, HT_BIND_TLS_EXPORTER))
		warn(w, rule->line, rule->col,
		     "tls-exporter lives for one connection: a browser that opens another one "
		     "loses "
		     "its session (%s)",
		     rule->label);
	if (!(rule->accept & 1u << HT_PROFILE_PROXYSG))
		return;
	if (!*rule->separator && rule->nbinds)
		warn(w, rule->line, rule->col,
		     "without a separator the end of a value can be the beginning of what it is "
		     "bound to (%s); write separator: \"|\" unless other gateways share the key",
		     rule->label);
	if (!rule->name_in_mac && !rule->name)
		warn(w, rule->line, rule->col,
		     "without name-in-mac the token of one cookie is good for another with its "
		     "value (%s); leave it out unless other gateways share the key",
		     rule->label);
}

static void warn_rules(const struct warner *w, const struct ht_site_config *s)
{
	for (size_t i = 0; i < s->nrules; i++) {
		if (s->rules[i].mode != HT_MODE_OFF)
			warn_rule(w, &s->rules[i]);
		if (ht_rule_is_hidden(s, i))
			warn(w, s->rules[i].line, s->rules[i].col,
			     "this rule (%s) never counts: the rules before it are for all of its "
			     "cookies, and the first one decides",
			     s->rules[i].label);
	}
}

static void warn_attributes(const struct warner *w)
{
	const struct ht_rule_config *rule = find_rule(w->config, has_seed_sibling);

	if (rule)
		warn(w, rule->line, rule->col,
		     "the sibling %s has fixed attributes (Secure; Path=/): if "
		     "the backend sets %s with Domain= or Expires= they part ways, and the session "
		     "is "
		     "lost; sibling-attributes: copy keeps them together",
		     rule->sibling, rule->name);
}

/* Collects, because the file may have its parts in any order. */
struct collected {
	struct ht_diag *diag;
	size_t n, cap;
};

static void collect(void *arg, const struct ht_diag *diag)
{
	struct collected *all = arg;

	if (all->n == all->cap) {
		size_t cap = all->cap ? 2 * all->cap : 8;
		struct ht_diag *more = realloc(all->diag, cap * sizeof(*more));

		if (!more)
			return;
		all->diag = more;
		all->cap = cap;
	}
	all->diag[all->n++] = *diag;
}

static int by_place(const void *a, const void *b)
{
	const struct ht_diag *x = a, *y = b;
	int line = (x->line > y->line) - (x->line < y->line);
	int col = (x->col > y->col) - (x->col < y->col);

	return line ? line : col ? col : strcmp(x->text, y->text);
}

/* It may come yet: what is to serve serves without it. */
static void warn_guard(const struct warner *w)
{
	const struct ht_guard_config *g = &w->config->guard;

	for (size_t i = 0; g->mode && i < g->ninterfaces; i++) {
		if (!if_nametoindex(g->interfaces[i]))
			warn(w, g->line, g->col,
			     "there is no network interface '%.32s' now (`ip link` shows their "
			     "names); it is guarded once it is there",
			     g->interfaces[i]);
	}
}

void ht_config_warnings(const struct ht_config *c,
			void (*warn_user)(void *arg, const struct ht_diag *diag), void *arg)
{
	struct collected all = {0};
	const struct warner w = {c, collect, &all};

	for (size_t i = 0; i < c->nlisteners; i++)
		warn_listener(&w, &c->listeners[i]);
	for (size_t i = 0; i < c->nsites; i++) {
		warn_site(&w, &c->sites[i]);
		warn_rules(&w, &c->sites[i]);
	}
	warn_attributes(&w);
	warn_guard(&w);
	for (size_t i = 0; i < c->nkeys; i++)
		if (c->keys[i].name && !key_is_used(c, i))
			warn(&w, c->keys[i].line, c->keys[i].col, "no rule uses key '%.64s'",
			     c->keys[i].name);
	if (all.n)
		qsort(all.diag, all.n, sizeof(*all.diag), by_place);
	for (size_t i = 0; i < all.n; i++)
		warn_user(arg, &all.diag[i]);
	free(all.diag);
}
