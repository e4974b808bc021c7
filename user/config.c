/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema of the configuration file: one table of fields for each mapping of interface.md, and
 * what its values must hold among themselves. Only text is looked at here (config_machine.c looks
 * at files and names); nothing is opened, started or logged.
 */
#include "config.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "abi.h"
#include "config_schema.h"

#define FILE_MAX (1 << 20) /* bytes of a configuration file */
#define CERTS_MAX 1024	   /* of a listener */
#define TRUSTED_MAX 1024   /* prefixes */
#define TLS1_2 0x0303
#define TLS1_3 0x0304

struct owned {
	struct ht_config config;
	struct ht_arena arena;
};

#define MSEC 1
#define SEC (1000 * MSEC)
#define HOUR (3600ull * SEC)
#define DAY (24 * HOUR)

/* ---- listeners ---- */

HT_PARSER(parse_address)
{
	char *s, *path;
	int r = ht_yaml_text(y, n, f->name, &s);

	if (r)
		return r;
	if (strncmp(s, "unix:", 5))
		return ht_addr_ip_port(y, n, f->name, s, to);
	r = ht_addr_unix_path(y, n, f->name, s + 5, &path);
	if (!r)
		ht_addr_unix(path, s, to);
	return r;
}

static bool same_addr(const struct ht_addr *a, const struct ht_addr *b)
{
	return a->len == b->len && !memcmp(&a->sa, &b->sa, a->len);
}

static const struct ht_yaml_field cert_fields[] = {
	HT_FIELD("certificate", ht_yaml_path, struct ht_cert_config, certificate,
		 .missing = "a certificate's file is missing; write { certificate: FILE.pem, key: "
			    "FILE.key }"),
	HT_FIELD("key", ht_yaml_path, struct ht_cert_config, key,
		 .missing = "the certificate's key is missing; write { certificate: FILE.pem, key: "
			    "FILE.key }"),
	{0},
};

static int parse_cert(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	struct ht_cert_config *cert = to;

	ht_yaml_place(n, &cert->line, &cert->col);
	return ht_yaml_map(y, n, "a certificate", cert_fields, cert);
}

HT_PARSER(parse_certs)
{
	struct ht_tls_config *tls = to;

	return ht_yaml_structs(y, n, f->name, CERTS_MAX, sizeof(*tls->certs), parse_cert,
			       &tls->certs, &tls->ncerts);
}

/* Comes after client-ca in the table, which decides what is possible. */
HT_PARSER(parse_client_cert)
{
	struct ht_tls_config *tls = to;
	unsigned v = 0;
	int r = ht_yaml_word(y, f, n, &v);

	if (r)
		return r;
	if (v != HT_CLIENT_CERT_NONE && !tls->client_ca)
		return ht_yaml_fail(y, n,
				    "client certificates are asked for, but nothing says whose "
				    "to believe; add client-ca: FILE.pem");
	tls->client_cert = v;
	return 0;
}

HT_PARSER(parse_client_ca)
{
	struct ht_tls_config *tls = to;

	tls->client_cert = HT_CLIENT_CERT_OPTIONAL;
	return ht_yaml_path(y, f, n, &tls->client_ca);
}

/* Likewise: without a CA there is nobody whose revocations would count. */
HT_PARSER(parse_client_crl)
{
	struct ht_tls_config *tls = to;

	if (!tls->client_ca)
		return ht_yaml_fail(y, n,
				    "'client-crl' says which of client-ca's certificates are "
				    "revoked, and there is no client-ca; add client-ca: FILE.pem");
	ht_yaml_place(n, &tls->crl_line, &tls->crl_col);
	return ht_yaml_path(y, f, n, &tls->client_crl);
}

static const struct ht_yaml_field tls_fields[] = {
	HT_WHOLE("certificates", parse_certs,
		 .missing = "tls has no certificates; write certificates: [{ certificate: "
			    "FILE.pem, key: FILE.key }]"),
	HT_FIELD("min-version", ht_yaml_word, struct ht_tls_config, min_version,
		 HT_WORDS({"1.2", TLS1_2, 0}, {"1.3", TLS1_3, 0})),
	HT_WHOLE("client-ca", parse_client_ca),
	HT_WHOLE("client-crl", parse_client_crl),
	HT_WHOLE("client-certificate", parse_client_cert,
		 HT_WORDS({"none", HT_CLIENT_CERT_NONE, 0},
			  {"optional", HT_CLIENT_CERT_OPTIONAL, 0},
			  {"required", HT_CLIENT_CERT_REQUIRED, 0})),
	{0},
};

HT_PARSER(parse_tls)
{
	struct ht_listener_config *l = to;

	(void)f;
	l->tls = ht_arena_alloc(y->arena, sizeof(*l->tls));
	if (!l->tls)
		return ht_yaml_nomem(y);
	l->tls->min_version = TLS1_2;
	ht_yaml_place(n, &l->tls->line, &l->tls->col);
	return ht_yaml_map(y, n, "tls", tls_fields, l->tls);
}

/* Comes after the address and trusted-proxies, which decide whose header there can be. */
HT_PARSER(parse_proxy_protocol)
{
	const struct ht_config *c = y->root;
	struct ht_listener_config *l = to;
	unsigned v = 0;
	int r = ht_yaml_word(y, f, n, &v);

	if (r || !v)
		return r;
	if (l->addr.sa.sa_family == AF_UNIX)
		return ht_yaml_fail(y, n,
				    "'proxy-protocol: accept' needs a peer that can be trusted by "
				    "its address, and peers of a unix socket have none; write an "
				    "IP address, or proxy-protocol: off");
	if (!c->ntrusted)
		return ht_yaml_fail(
			y, n,
			"'proxy-protocol: accept' takes headers from trusted proxies "
			"only, and there are none; add trusted-proxies: [ADDRESS/BITS]");
	l->proxy_protocol = true;
	return 0;
}

HT_PARSER(parse_redirect)
{
	struct ht_listener_config *l = to;
	unsigned v = 0;
	int r = ht_yaml_word(y, f, n, &v);

	if (!r && v && l->tls)
		return ht_yaml_fail(y, n,
				    "'redirect-https' is for plain listeners, and this one has "
				    "tls; leave it out here");
	l->redirect_https = v;
	return r;
}

static const struct ht_yaml_field listener_fields[] = {
	HT_FIELD("address", parse_address, struct ht_listener_config, addr,
		 .missing = "a listener has no address; write address: 0.0.0.0:443"),
	HT_WHOLE("tls", parse_tls),
	HT_WHOLE("proxy-protocol", parse_proxy_protocol,
		 HT_WORDS({"off", false, 0}, {"accept", true, 0})),
	HT_WHOLE("redirect-https", parse_redirect,
		 HT_WORDS({"false", false, 0}, {"true", true, 0})),
	{0},
};

static int parse_listener(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	const struct ht_config *c = y->root;
	struct ht_listener_config *l = to;
	int r;

	ht_yaml_place(n, &l->line, &l->col);
	r = ht_yaml_map(y, n, "a listener", listener_fields, l);
	for (size_t i = 0; i < c->nlisteners && !r; i++)
		if (same_addr(&c->listeners[i].addr, &l->addr))
			r = ht_yaml_fail(y, ht_yaml_value(y, n, "address"),
					 "two listeners have the address "
					 "%s (the first in line %u); each needs its own, with or "
					 "without tls",
					 l->addr.text, c->listeners[i].line);
	return r;
}

HT_PARSER(parse_listeners)
{
	struct ht_config *c = to;

	return ht_yaml_structs(y, n, f->name, HT_LISTENERS_MAX, sizeof(*c->listeners),
			       parse_listener, &c->listeners, &c->nlisteners);
}

bool ht_config_asks_for_certs(const struct ht_listener_config *l)
{
	return l->tls && l->tls->client_cert != HT_CLIENT_CERT_NONE;
}

/* ---- the rest ---- */

static int parse_trusted_proxy(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	const char *why;
	char *s;
	int r = ht_yaml_text(y, n, "trusted-proxies", &s);

	if (!r && ht_prefix_parse(HT_STR(s), to, &why))
		r = ht_yaml_fail(y, n, "trusted proxy '%.64s' %s", s, why);
	return r;
}

HT_PARSER(parse_trusted_proxies)
{
	struct ht_config *c = to;
	struct ht_yaml_list none;

	if (!ht_yaml_items(y, n, f->name, TRUSTED_MAX, true, &none) && !none.n)
		return 0;
	return ht_yaml_structs(y, n, f->name, TRUSTED_MAX, sizeof(*c->trusted), parse_trusted_proxy,
			       &c->trusted, &c->ntrusted);
}

static const struct ht_yaml_field limit_fields[] = {
	HT_FIELD("head", ht_yaml_size, struct ht_config, limits.head, HT_RANGE(1024, HT_HEAD_MAX)),
	HT_FIELD("body", ht_yaml_u64, struct ht_config, limits.body, HT_RANGE(0, INT64_MAX)),
	HT_FIELD("connections", ht_yaml_size, struct ht_config, limits.connections,
		 HT_RANGE(1, 10000000)),
	HT_FIELD("covered-cookies", ht_yaml_size, struct ht_config, limits.covered_cookies,
		 HT_RANGE(1, HT_RULES_MAX)),
	{0},
};

HT_PARSER(parse_limits)
{
	return ht_yaml_map(y, n, f->name, limit_fields, to);
}

#define TIMEOUT(word)                                                                              \
	HT_FIELD(#word, ht_yaml_msec, struct ht_config, timeouts.word, HT_RANGE(1 * MSEC, 7 * DAY))

static const struct ht_yaml_field timeout_fields[] = {
	TIMEOUT(handshake), TIMEOUT(head),     TIMEOUT(body),  TIMEOUT(idle),
	TIMEOUT(connect),   TIMEOUT(response), TIMEOUT(drain), {0},
};

HT_PARSER(parse_timeouts)
{
	return ht_yaml_map(y, n, f->name, timeout_fields, to);
}

static const struct ht_yaml_field token_fields[] = {
	HT_FIELD("max", ht_yaml_u32, struct ht_config, tokens.max, HT_RANGE(16, 100000000)),
	HT_FIELD("sealed-max", ht_yaml_u32, struct ht_config, tokens.sealed_max,
		 HT_RANGE(0, 10000000)),
	HT_FIELD("flush-every", ht_yaml_sec, struct ht_config, tokens.flush_every_s,
		 HT_RANGE(0, 365 * DAY)),
	{0},
};

HT_PARSER(parse_tokens)
{
	return ht_yaml_map(y, n, f->name, token_fields, to);
}

/* A path, or the word that stands for none. */
static int path_unless(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
		       const char *none, char **to)
{
	char *s;
	int r = ht_yaml_text(y, n, f->name, &s);

	if (r)
		return r;
	*to = NULL;
	return strcmp(s, none) ? ht_yaml_path(y, f, n, to) : 0;
}

HT_PARSER(parse_cgroup)
{
	return path_unless(y, f, n, "auto", to);
}

static const struct ht_yaml_field bpf_fields[] = {
	HT_FIELD("pin", ht_yaml_path, struct ht_config, bpf_pin),
	HT_FIELD("cgroup", parse_cgroup, struct ht_config, bpf_cgroup),
	{0},
};

HT_PARSER(parse_bpf)
{
	return ht_yaml_map(y, n, f->name, bpf_fields, to);
}

HT_PARSER(parse_workers)
{
	uint64_t v = 0;
	char *s;
	int r = ht_yaml_text(y, n, f->name, &s);

	if (!r && strcmp(s, "auto"))
		r = ht_yaml_u64(y, f, n, &v);
	if (!r)
		*(unsigned *)to = v;
	return r;
}

/* "stderr" and "off" are words; "./off" is a file. */
HT_PARSER(parse_log_to)
{
	char *s;
	int r = ht_yaml_text(y, n, f->name, &s);

	if (r)
		return r;
	if (strcmp(s, "stderr") && strcmp(s, "off"))
		return ht_yaml_path(y, f, n, to);
	*(char **)to = s;
	return 0;
}

static const struct ht_yaml_field access_log_fields[] = {
	HT_FIELD("format", ht_yaml_word, struct ht_config, access_log.format,
		 HT_WORDS({"json", HT_LOG_JSON, 0}, {"combined", HT_LOG_COMBINED, 0})),
	HT_FIELD("to", parse_log_to, struct ht_config, access_log.to),
	{0},
};

HT_PARSER(parse_access_log)
{
	return ht_yaml_map(y, n, f->name, access_log_fields, to);
}

HT_PARSER(parse_control)
{
	char **path = to, *s;
	int r = path_unless(y, f, n, "off", path);

	return r || !*path ? r : ht_addr_unix_path(y, n, f->name, *path, &s);
}

HT_PARSER(parse_admin)
{
	struct ht_config *c = to;
	char *s;
	int r = ht_yaml_text(y, n, f->name, &s);

	if (r || !strcmp(s, "off"))
		return r;
	c->admin = ht_arena_alloc(y->arena, sizeof(*c->admin));
	if (!c->admin)
		return ht_yaml_nomem(y);
	if (!strncmp(s, "unix:", 5))
		return ht_yaml_fail(y, n,
				    "'admin' is an IP address and a port, such as 127.0.0.1:9144");
	r = ht_addr_ip_port(y, n, f->name, s, c->admin);
	for (size_t i = 0; i < c->nlisteners && !r; i++)
		if (same_addr(&c->listeners[i].addr, c->admin))
			r = ht_yaml_fail(y, n,
					 "'admin' has the address of the listener in line %u; it "
					 "needs its own",
					 c->listeners[i].line);
	return r;
}

HT_PARSER(parse_geoip)
{
	struct ht_config *c = to;

	ht_yaml_place(n, &c->geoip_line, &c->geoip_col);
	return ht_yaml_path(y, f, n, &c->geoip);
}

HT_PARSER(parse_user)
{
	struct ht_config *c = to;

	ht_yaml_place(n, &c->user_line, &c->user_col);
	return ht_yaml_text(y, n, f->name, &c->user);
}

#define TRISTATE HT_WORDS({"auto", HT_AUTO, 0}, {"require", HT_REQUIRE, 0}, {"off", HT_OFF, 0})

/* In the order in which they depend on each other: sites refer to keys, listeners and geoip, listeners
 * to trusted proxies. */
static const struct ht_yaml_field config_fields[] = {
	HT_WHOLE("keys", ht_config_parse_keys),
	HT_WHOLE("trusted-proxies", parse_trusted_proxies),
	HT_WHOLE("listeners", parse_listeners,
		 .missing =
			 "there are no listeners; write listeners: [{ address: 127.0.0.1:8080 }]"),
	HT_FIELD("gate", ht_yaml_word, struct ht_config, gate, TRISTATE),
	HT_FIELD("ktls", ht_yaml_word, struct ht_config, ktls, TRISTATE),
	HT_WHOLE("geoip", parse_geoip),
	HT_WHOLE("limits", parse_limits),
	HT_WHOLE("sites", ht_config_parse_sites,
		 .missing = "there are no sites; write sites: [{ hosts: [\"*\"], upstreams: "
			    "[HOST:PORT] }]"),
	HT_WHOLE("timeouts", parse_timeouts),
	HT_WHOLE("tokens", parse_tokens),
	HT_WHOLE("bpf", parse_bpf),
	HT_FIELD("workers", parse_workers, struct ht_config, workers, HT_RANGE(1, 1024)),
	HT_WHOLE("guard", ht_config_parse_guard),
	HT_WHOLE("access-log", parse_access_log),
	HT_FIELD("control", parse_control, struct ht_config, control),
	HT_WHOLE("admin", parse_admin),
	HT_WHOLE("user", parse_user),
	{0},
};

static void set_defaults(struct ht_config *c)
{
	c->limits.head = HT_HEAD_MAX;
	c->limits.connections = 20000;
	c->limits.covered_cookies = HT_RULES_MAX;
	c->timeouts.handshake = 10 * SEC;
	c->timeouts.head = 10 * SEC;
	c->timeouts.body = 60 * SEC;
	c->timeouts.idle = 75 * SEC;
	c->timeouts.connect = 3 * SEC;
	c->timeouts.response = 60 * SEC;
	c->timeouts.drain = 30 * SEC;
	c->tokens.max = 100000;
	c->tokens.sealed_max = 10000;
	c->tokens.flush_every_s = 86400;
	c->gate = HT_AUTO;
	c->ktls = HT_AUTO;
	ht_config_guard_defaults(&c->guard);
	c->bpf_pin = (char *)"/sys/fs/bpf/hardtack";
	c->access_log.format = HT_LOG_JSON;
	c->access_log.to = (char *)"stderr";
}

static int fail_file(struct ht_diag *diag, const char *file, int err, const char *why)
{
	memset(diag, 0, sizeof(*diag));
	snprintf(diag->file, sizeof(diag->file), "%s", file);
	snprintf(diag->text, sizeof(diag->text), "can't read it: %s", why ? why : strerror(-err));
	return err;
}

int ht_config_parse(const char *file, const char *text, size_t len, struct ht_config **ret,
		    struct ht_diag *diag)
{
	struct owned *o = calloc(1, sizeof(*o));
	struct ht_yaml y = {.file = file, .diag = diag};
	int r;

	if (!o)
		return fail_file(diag, file, -ENOMEM, NULL);
	y.arena = &o->arena;
	y.root = &o->config;
	set_defaults(&o->config);
	r = ht_yaml_open(&y, text, len);
	if (r)
		goto out;
	/* Not by the path resolver: a file in the working directory has no directory to add. */
	o->config.file = ht_arena_alloc(&o->arena, strlen(file) + 1);
	r = o->config.file ? 0 : ht_yaml_nomem(&y);
	if (!r) {
		strcpy(o->config.file, file);
		r = ht_yaml_map(&y, ht_yaml_root(&y), "the file", config_fields, &o->config);
	}
	ht_yaml_close(&y);
out:
	if (r)
		ht_config_free(&o->config);
	else
		*ret = &o->config;
	return r;
}

static int read_all(const char *file, char *buf, size_t cap, size_t *ret_len, struct ht_diag *diag)
{
	_cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return fail_file(diag, file, -errno, NULL);
	while (len < cap && (n = read(fd, buf + len, cap - len)) != 0) {
		if (n < 0 && errno != EINTR)
			return fail_file(diag, file, -errno, NULL);
		len += n > 0 ? n : 0;
	}
	if (len == cap)
		return fail_file(diag, file, -EINVAL, "it is larger than 1 MiB");
	*ret_len = len;
	return 0;
}

int ht_config_load(const char *file, struct ht_config **ret, struct ht_diag *diag)
{
	_cleanup_free_ char *text = malloc(FILE_MAX);
	struct ht_config *c;
	size_t len = 0;
	int r;

	if (!text)
		return fail_file(diag, file, -ENOMEM, NULL);
	r = read_all(file, text, FILE_MAX, &len, diag);
	if (!r)
		r = ht_config_parse(file, text, len, &c, diag);
	if (r)
		return r;
	r = ht_config_check_machine(c, diag);
	if (r)
		ht_config_free(c);
	else
		*ret = c;
	return r;
}

/* The place of a name among `names`, or the next one from *spare on that no name has. */
static size_t key_place(const char *name, const char *const *names, size_t n, size_t *spare)
{
	for (size_t i = 0; i < n; i++) {
		if (names[i] && !strcmp(names[i], name))
			return i;
	}
	while (*spare < n && names[*spare])
		++*spare;
	return (*spare)++;
}

static void rules_keep_keys(struct ht_config *c, const size_t *place)
{
	for (size_t i = 0; i < c->nsites; i++) {
		for (size_t j = 0; j < c->sites[i].nrules; j++)
			c->sites[i].rules[j].key_index = place[c->sites[i].rules[j].key_index];
	}
}

int ht_config_keep_keys(struct ht_config *c, const char *const *names, size_t n,
			struct ht_diag *diag)
{
	struct owned *o = ht_container_of(c, struct owned, config);
	struct ht_key_config *keys = ht_arena_alloc(&o->arena, (n + c->nkeys) * sizeof(*keys) + 1);
	size_t *place = ht_arena_alloc(&o->arena, c->nkeys * sizeof(*place) + 1);
	size_t spare = 0, last = n;

	if (!keys || !place)
		return -ENOMEM;
	for (size_t i = 0; i < c->nkeys; i++) {
		place[i] = key_place(c->keys[i].name, names, n, &spare);
		keys[place[i]] = c->keys[i];
		last = HT_MAX(last, place[i] + 1);
		if (last > HT_KEYS_MAX) {
			snprintf(diag->file, sizeof(diag->file), "%s", c->file);
			diag->line = c->keys[i].line;
			diag->col = c->keys[i].col;
			snprintf(diag->text, sizeof(diag->text),
				 "more than %d keys, with those that earlier reloads removed; "
				 "restart instead",
				 HT_KEYS_MAX);
			return -EINVAL;
		}
	}
	rules_keep_keys(c, place);
	c->keys = keys;
	c->nkeys = last;
	return 0;
}

void ht_config_free(struct ht_config *c)
{
	struct owned *o;

	if (!c)
		return;
	o = ht_container_of(c, struct owned, config);
	ht_arena_free(&o->arena);
	free(o);
}

/* ---- which site ---- */

/* How well a host of the configuration fits: 0 not at all, more is better. */
static size_t host_rank(const char *pattern, struct ht_str host)
{
	size_t len = strlen(pattern);

	if (len == host.len && !strncasecmp(pattern, host.p, len))
		return SIZE_MAX;
	if (*pattern != '*')
		return 0;
	pattern++; /* ".example.com", or "" of "*" */
	len--;
	if (!len)
		return 1;
	if (host.len <= len || strncasecmp(host.p + host.len - len, pattern, len))
		return 0;
	return 1 + len;
}

const struct ht_site_config *ht_config_site(const struct ht_config *c, struct ht_str host)
{
	const struct ht_site_config *best = NULL;
	size_t best_rank = 0;

	if (host.len && host.p[host.len - 1] == '.')
		host.len--;
	if (host.len > 1 && host.p[0] == '[' && host.p[host.len - 1] == ']') {
		host.p++;
		host.len -= 2;
	}
	for (size_t i = 0; i < c->nsites; i++) {
		for (size_t j = 0; j < c->sites[i].nhosts; j++) {
			size_t rank = host_rank(c->sites[i].hosts[j], host);

			if (rank > best_rank) {
				best_rank = rank;
				best = &c->sites[i];
			}
		}
	}
	return best;
}
