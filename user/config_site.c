/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the configuration's schema that describes sites: hosts, upstreams and paths;
 * config_rule.c has the rules for their cookies. Text only, as config.c: nothing is opened or
 * looked up.
 */
#include <arpa/inet.h>
#include <ctype.h>

#include "abi.h"
#include "config_schema.h"

#define HOSTS_MAX 1024 /* of a site */

/* ---- hosts ---- */

static bool is_host_text(const char *s, const char *also)
{
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && *s != '-' && *s != '.' && *s != '_' &&
		    !strchr(also, *s))
			return false;
	return true;
}

/* "[::1]" is kept as "::1", which is what ht_config_site() looks for. */
static bool strip_brackets(char *host)
{
	size_t len = strlen(host);
	struct in6_addr v6;

	if (*host != '[' || host[len - 1] != ']')
		return false;
	host[len - 1] = '\0';
	if (inet_pton(AF_INET6, host + 1, &v6) == 1) {
		memmove(host, host + 1, len - 1);
		return true;
	}
	host[len - 1] = ']';
	return false;
}

static int parse_host(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	char *host;
	int r = ht_yaml_text(y, n, "hosts", &host);

	if (r)
		return r;
	for (char *p = host; *p; p++)
		*p = tolower((unsigned char)*p);
	*(char **)to = host;
	if (!strcmp(host, "*") || strip_brackets(host))
		return 0;
	if (*host != '[' && strchr(host, ':'))
		return ht_yaml_fail(y, n,
				    "host '%.64s' has a port or a colon; write the name alone, "
				    "or [IPv6]",
				    host);
	if (!strncmp(host, "*.", 2) && host[2] && is_host_text(host + 2, ""))
		return 0;
	if (!is_host_text(host, "") || *host == '.' || host[strlen(host) - 1] == '.')
		return ht_yaml_fail(y, n,
				    "'%.64s' is no host; write a name, *.NAME for all below it, "
				    "or \"*\" for any",
				    host);
	return 0;
}

static const struct ht_site_config *site_of_host(const struct ht_config *c, const char *host)
{
	for (size_t i = 0; i < c->nsites; i++)
		for (size_t j = 0; j < c->sites[i].nhosts; j++)
			if (!strcmp(c->sites[i].hosts[j], host))
				return &c->sites[i];
	return NULL;
}

HT_PARSER(parse_hosts)
{
	struct ht_site_config *s = to;
	const struct ht_site_config *other;
	struct ht_yaml_list nodes;
	int r = ht_yaml_structs(y, n, f->name, HOSTS_MAX, sizeof(*s->hosts), parse_host, &s->hosts,
				&s->nhosts);

	if (!r)
		r = ht_yaml_items(y, n, f->name, HOSTS_MAX, false, &nodes);
	for (size_t i = 0; i < s->nhosts && !r; i++) {
		for (size_t j = 0; j < i && !r; j++)
			if (!strcmp(s->hosts[i], s->hosts[j]))
				r = ht_yaml_fail(y, nodes.item[i],
						 "host '%.64s' stands twice in this "
						 "site; once is enough",
						 s->hosts[i]);
		other = site_of_host(y->root, s->hosts[i]);
		if (!r && other)
			r = ht_yaml_fail(y, nodes.item[i],
					 "host '%.64s' belongs to the site in line "
					 "%u already; a host has one site",
					 s->hosts[i], other->line);
	}
	return r;
}

/* What the kernel cannot judge, it cannot be required to judge. */
static int check_gate(struct ht_yaml *y, const yaml_node_t *n, const char *s, const char *why)
{
	const struct ht_config *c = y->root;

	if (c->gate != HT_REQUIRE)
		return 0;
	return ht_yaml_fail(y, n,
			    "'gate: require' can't hold for the upstream '%.64s': %s; write "
			    "gate: auto, or a plain HOST:PORT",
			    s, why);
}

static int parse_unix_upstream(struct ht_yaml *y, const yaml_node_t *n, const char *s,
			       struct ht_upstream_config *u)
{
	int r = check_gate(y, n, s, "the kernel's gate sees TCP only");

	if (!r)
		r = ht_addr_unix_path(y, n, "upstreams", s + 5, &u->unix_path);
	if (!r)
		ht_addr_unix(u->unix_path, s, &u->addr);
	return r;
}

/* The HOST[:PORT] of https://HOST[:PORT] with its port written out; NULL if more stands there. */
static const char *https_authority(const char *s, char *out, size_t cap)
{
	const char *close = strchr(s, ']'), *colon = strchr(close ? close : s, ':');

	if (strchr(s, '/') || !*s)
		return NULL;
	snprintf(out, cap, "%s%s", s, colon ? "" : ":443");
	return out;
}

static int parse_upstream(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	struct ht_upstream_config *u = to;
	const char *why = NULL, *at;
	char *s, host[256], authority[512];
	int r = ht_yaml_text(y, n, "upstreams", &s);

	ht_yaml_place(n, &u->line, &u->col);
	if (r)
		return r;
	if (!strncmp(s, "unix:", 5))
		return parse_unix_upstream(y, n, s, u);
	u->tls = !strncmp(s, "https://", 8);
	if (u->tls && (r = check_gate(y, n, s, "the kernel can't judge what is encrypted")))
		return r;
	at = u->tls ? https_authority(s + 8, authority, sizeof(authority)) : s;
	if (!at)
		return ht_yaml_fail(
			y, n, "upstream '%.64s' has a path; write https://HOST:PORT alone", s);
	if (!u->tls && strstr(s, "://"))
		return ht_yaml_fail(y, n, "upstream '%.64s' is a URL; write HOST:PORT", s);
	why = ht_addr_split(at, host, sizeof(host), &u->port);
	if (!why && !ht_addr_literal(host, *at == '[', u->port, &u->addr) &&
	    (*at == '[' || !is_host_text(host, "")))
		why = "is no host name or address";
	if (why)
		return ht_yaml_fail(y, n,
				    "upstream '%.64s' %s; write HOST:PORT, [IPv6]:PORT, "
				    "https://HOST:PORT or unix:PATH",
				    s, why);
	snprintf(u->addr.text, sizeof(u->addr.text), "%s", s);
	u->host = ht_arena_alloc(y->arena, strlen(host) + 1);
	if (!u->host)
		return ht_yaml_nomem(y);
	strcpy(u->host, host);
	return 0;
}

HT_PARSER(parse_upstreams)
{
	struct ht_site_config *s = to;

	return ht_yaml_structs(y, n, f->name, HT_UPSTREAMS_MAX, sizeof(*s->upstreams),
			       parse_upstream, &s->upstreams, &s->nupstreams);
}

/* ---- which upstream, and whether it is well ---- */

HT_PARSER(parse_balance_cookie)
{
	struct ht_site_config *s = to;
	int r = ht_rule_cookie_name(y, n, f->name, &s->balance_cookie);

	if (!r && s->balance != HT_BALANCE_COOKIE)
		r = ht_yaml_fail(y, n, "'balance-cookie' needs balance: cookie; write both");
	return r;
}

HT_PARSER(parse_upstream_ca)
{
	struct ht_site_config *s = to;

	ht_yaml_place(n, &s->ca_line, &s->ca_col);
	for (size_t i = 0; i < s->nupstreams; i++)
		if (s->upstreams[i].tls)
			return ht_yaml_path(y, f, n, &s->upstream_ca);
	return ht_yaml_fail(y, n,
			    "'upstream-ca' needs an https upstream; write "
			    "upstreams: [\"https://HOST:PORT\"], or leave it out");
}

HT_PARSER(parse_check_path)
{
	struct ht_check_config *c = to;
	int r = ht_yaml_text(y, n, f->name, &c->path);

	if (r)
		return r;
	for (const char *p = c->path; *p; p++)
		if (*c->path != '/' || (unsigned char)*p <= ' ' || (unsigned char)*p > '~')
			return ht_yaml_fail(y, n,
					    "'path: %.64s' is no path; write one that begins with "
					    "'/', without blanks",
					    c->path);
	return 0;
}

static const struct ht_yaml_field check_fields[] = {
	HT_WHOLE("path", parse_check_path,
		 .missing = "'health-check' has no path; write path: /healthz"),
	HT_FIELD("every", ht_yaml_msec, struct ht_check_config, every, HT_RANGE(100, 3600000)),
	HT_FIELD("timeout", ht_yaml_msec, struct ht_check_config, timeout, HT_RANGE(50, 60000)),
	HT_FIELD("rise", ht_yaml_u32, struct ht_check_config, rise, HT_RANGE(1, 100)),
	HT_FIELD("fall", ht_yaml_u32, struct ht_check_config, fall, HT_RANGE(1, 100)),
	HT_FIELD("status", ht_yaml_u32, struct ht_check_config, status, HT_RANGE(200, 599)),
	{0},
};

HT_PARSER(parse_check)
{
	struct ht_site_config *s = to;

	s->check = (struct ht_check_config){
		.every = 5000, .timeout = 2000, .rise = 2, .fall = 3, .status = 200};
	return ht_yaml_map(y, n, f->name, check_fields, &s->check);
}

/* ---- exempt paths ---- */

/* Bytes that mean the same to everybody who reads a path: no '%', no '\\', no ';'. */
static bool is_plain_path_byte(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("-._~!$&'()*+,=:@/", c));
}

/* No two readers may disagree about where it leads. */
static bool is_plain_path(struct ht_str p)
{
	size_t segment = 1; /* where it begins */

	if (!p.len || p.p[0] != '/')
		return false;
	for (size_t i = 1; i <= p.len; i++) {
		struct ht_str s = {p.p + segment, i - segment};

		if (i < p.len && p.p[i] != '/') {
			if (!is_plain_path_byte(p.p[i]))
				return false;
			continue;
		}
		if (ht_str_eq(s, HT_STR(".")) || ht_str_eq(s, HT_STR("..")) ||
		    (!s.len && i < p.len))
			return false;
		segment = i + 1;
	}
	return true;
}

int ht_config_parse_path(struct ht_yaml *y, const yaml_node_t *n, const char *what, char **ret)
{
	size_t len;
	int r = ht_yaml_text(y, n, what, ret);

	if (r)
		return r;
	len = strlen(*ret);
	if (**ret != '/')
		return ht_yaml_fail(y, n,
				    "%s path '%.64s' does not begin with '/'; write \"/PATH\", "
				    "or \"/PATH/*\" for all below it",
				    what, *ret);
	if (memchr(*ret, '*', len - 1))
		return ht_yaml_fail(y, n,
				    "%s path '%.64s' has a '*' before its end; only a last one "
				    "makes a prefix",
				    what, *ret);
	return 0;
}

static int parse_exempt_path(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	char **path = to;
	int r = ht_config_parse_path(y, n, "exempt", path);
	size_t len;

	if (r)
		return r;
	len = strlen(*path);
	if (!is_plain_path((struct ht_str){*path, len}))
		return ht_yaml_fail(y, n,
				    "no request is ever exempt as '%.64s': paths with escapes, "
				    "queries, parameters, empty or dot segments are always judged",
				    *path);
	return 0;
}

HT_PARSER(parse_exempt)
{
	struct ht_site_config *s = to;
	struct ht_yaml_list none;

	if (!ht_yaml_items(y, n, f->name, HT_PATHS_MAX, true, &none) && !none.n)
		return 0;
	return ht_yaml_structs(y, n, f->name, HT_PATHS_MAX, sizeof(*s->exempt), parse_exempt_path,
			       &s->exempt, &s->nexempt);
}

static bool path_fits(const char *pattern, struct ht_str path)
{
	size_t len = strlen(pattern);

	if (pattern[len - 1] != '*')
		return ht_str_eq(HT_STR(pattern), path);
	return path.len >= len - 1 && !memcmp(path.p, pattern, len - 1);
}

bool ht_config_exempts(const struct ht_site_config *s, struct ht_str path)
{
	for (size_t i = 0; i < s->nexempt; i++) {
		if (path_fits(s->exempt[i], path))
			return is_plain_path(path);
	}
	return false;
}

bool ht_config_issues(const struct ht_rule_config *r, struct ht_str path)
{
	for (size_t i = 0; i < r->nissue; i++) {
		if (path_fits(r->issue[i], path))
			return true;
	}
	return !r->nissue;
}

static const struct ht_yaml_field site_fields[] = {
	HT_WHOLE("hosts", parse_hosts,
		 .missing = "a site has no hosts; write hosts: [NAME], or [\"*\"] for any"),
	HT_WHOLE("upstreams", parse_upstreams,
		 .missing = "a site has no upstreams; write upstreams: [HOST:PORT]"),
	HT_FIELD("balance", ht_yaml_word, struct ht_site_config, balance,
		 HT_WORDS({"round-robin", HT_BALANCE_ROUND_ROBIN, 0},
			  {"least-connections", HT_BALANCE_LEAST_CONNECTIONS, 0},
			  {"source", HT_BALANCE_SOURCE, 0}, {"cookie", HT_BALANCE_COOKIE, 0})),
	HT_WHOLE("balance-cookie", parse_balance_cookie),
	HT_FIELD("resolve-every", ht_yaml_msec, struct ht_site_config, resolve_every,
		 HT_RANGE(0, 86400000)),
	HT_WHOLE("upstream-ca", parse_upstream_ca),
	HT_WHOLE("health-check", parse_check),
	HT_WHOLE("exempt", parse_exempt),
	HT_FIELD("hsts", ht_yaml_sec, struct ht_site_config, hsts_s,
		 HT_RANGE(0, 10ull * 365 * 24 * 3600 * 1000)),
	HT_WHOLE("cookies", ht_config_parse_rules),
	{0},
};

/* Our own cookie must not be one that is signed. */
static int check_balance_cookie(struct ht_yaml *y, const yaml_node_t *n, struct ht_site_config *s)
{
	static char ours[] = "ht_backend";

	if (s->balance != HT_BALANCE_COOKIE)
		return 0;
	if (!s->balance_cookie)
		s->balance_cookie = ours;
	for (size_t i = 0; i < s->nrules; i++) {
		const struct ht_rule_config *rule = &s->rules[i];

		if (ht_rule_has_sibling(rule, s->balance_cookie) ||
		    (rule->nnames && rule->covers != HT_COVERS_ALL_BUT &&
		     ht_rule_covers(rule, s->balance_cookie)))
			return ht_yaml_fail(y, ht_yaml_value(y, n, "balance-cookie"),
					    "'%s' is a cookie or a sibling of the rule in line %u; "
					    "write another balance-cookie: NAME",
					    s->balance_cookie, rule->line);
		if (ht_rule_covers(rule, s->balance_cookie))
			return ht_yaml_fail(y, ht_yaml_value(y, n, "cookies"),
					    "the rule in line %u covers the balance-cookie '%s', "
					    "which nobody signs; write all-but: [%s]",
					    rule->line, s->balance_cookie, s->balance_cookie);
	}
	return 0;
}

static int parse_site(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	struct ht_site_config *s = to;
	int r;

	ht_yaml_place(n, &s->line, &s->col);
	s->resolve_every = 30000;
	r = ht_yaml_map(y, n, "a site", site_fields, s);
	return r ? r : check_balance_cookie(y, n, s);
}

int ht_config_parse_sites(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
			  void *to)
{
	struct ht_config *c = to;

	return ht_yaml_structs(y, n, f->name, HT_SITES_MAX, sizeof(*c->sites), parse_site,
			       &c->sites, &c->nsites);
}
