/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the configuration's schema that describes sites: hosts, upstreams and the rules for
 * their cookies. Text only, as config.c: nothing is opened or looked up.
 */
#include <arpa/inet.h>
#include <ctype.h>

#include "abi.h"
#include "binding.h"
#include "config_schema.h"
#include "token.h"

#define HOSTS_MAX 1024 /* of a site */
#define EXEMPT_MAX 256 /* paths of a site */

/* ---- cookie rules ---- */

static bool is_token(const char *s)
{
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("!#$%&'*+-.^_`|~", *s))
			return false;
	return true;
}

static int parse_cookie_name(struct ht_yaml *y, const yaml_node_t *n, const char *what, char **ret)
{
	int r = ht_yaml_text(y, n, what, ret);

	if (r)
		return r;
	if (!is_token(*ret))
		return ht_yaml_fail(y, n,
				    "'%s: %.64s' is no cookie name; letters, digits and "
				    "!#$%%&'*+-.^_`|~ are allowed",
				    what, *ret);
	if (strlen(*ret) > HT_NAME_MAX)
		return ht_yaml_fail(y, n, "'%s' has %zu bytes; cookie names have at most %d", what,
				    strlen(*ret), HT_NAME_MAX);
	return 0;
}

HT_PARSER(parse_rule_name)
{
	struct ht_rule_config *rule = to;
	int r = parse_cookie_name(y, n, f->name, &rule->name);

	if (r)
		return r;
	if (rule->name[strlen(rule->name) - 1] == '*')
		return ht_yaml_fail(y, n,
				    "'%s' is a prefix, and cookie names by prefix are not built "
				    "yet; write one rule for each name",
				    rule->name);
	return 0;
}

HT_PARSER(parse_profile)
{
	struct ht_rule_config *rule = to;
	char *s;
	int r = ht_yaml_text(y, n, f->name, &s);

	if (r)
		return r;
	if (ht_profile_parse(s, &rule->profile))
		return ht_yaml_fail(y, n, "'profile' can't be '%.64s'; write f5-irule", s);
	if (!ht_profile_built(rule->profile))
		return ht_yaml_fail(y, n, "profile %s is not built yet; write profile: f5-irule",
				    s);
	return 0;
}

HT_PARSER(parse_accept)
{
	struct ht_rule_config *rule = to;
	struct ht_yaml_list list;
	int r = ht_yaml_items(y, n, f->name, SIZE_MAX, false, &list);

	for (size_t i = 0; i < list.n && !r; i++) {
		enum ht_profile p;
		char *s;

		r = ht_yaml_text(y, list.item[i], f->name, &s);
		if (!r && ht_profile_parse(s, &p))
			r = ht_yaml_fail(y, list.item[i],
					 "'accept' names no profile with '%.64s'; "
					 "write accept: [%s]",
					 s, ht_profile_name(rule->profile));
		else if (!r && p != rule->profile)
			r = ht_yaml_fail(y, list.item[i],
					 "accepting another profile (%s) than the "
					 "rule's own is not built yet; write accept: [%s]",
					 s, ht_profile_name(rule->profile));
	}
	return r;
}

HT_PARSER(parse_rule_key)
{
	const struct ht_config *c = y->root;
	struct ht_rule_config *rule = to;
	const char *names[HT_KEYS_MAX + 1] = {NULL}, *near;
	const struct ht_key_config *key;
	int r = ht_yaml_text(y, n, f->name, &rule->key);

	if (r)
		return r;
	key = ht_config_key(c, rule->key);
	if (key) {
		rule->key_index = key - c->keys;
		return 0;
	}
	for (size_t i = 0; i < c->nkeys; i++)
		names[i] = c->keys[i].name;
	near = ht_yaml_nearest(rule->key, names);
	if (near)
		return ht_yaml_fail(y, n, "no key is named '%.64s'; did you mean '%.64s'?",
				    rule->key, near);
	return ht_yaml_fail(y, n,
			    "no key is named '%.64s'; add { name: %.64s, file: FILE } to 'keys'",
			    rule->key, rule->key);
}

static bool any_asks_for_certs(const struct ht_config *c)
{
	for (size_t i = 0; i < c->nlisteners; i++)
		if (ht_config_asks_for_certs(&c->listeners[i]))
			return true;
	return false;
}

static bool same_bind(const struct ht_bind *a, const struct ht_bind *b)
{
	return a->kind == b->kind && a->v4_bits == b->v4_bits && a->v6_bits == b->v6_bits;
}

static int check_bind(struct ht_yaml *y, const yaml_node_t *n, const struct ht_rule_config *rule,
		      const struct ht_bind *b, const char *text)
{
	for (size_t i = 0; i < rule->nbinds; i++)
		if (same_bind(&rule->binds[i], b))
			return ht_yaml_fail(y, n, "'%.64s' stands twice in 'bind'; once is enough",
					    text);
	/* Otherwise nobody could ever log in, and that would look like a fault of the site. */
	if (b->kind == HT_BIND_X509_SUBJECT && !any_asks_for_certs(y->root))
		return ht_yaml_fail(y, n,
				    "x509-subject needs client certificates, and no listener asks "
				    "for them; add client-ca: FILE.pem to a listener's tls");
	return 0;
}

static bool all_digits(const char *s)
{
	return *s && s[strspn(s, "0123456789")] == '\0';
}

/* To YAML, [client-ip/24,64] is two items: a number after client-ip/N belongs to it. */
static int join_bind(struct ht_yaml *y, const struct ht_yaml_list *list, size_t *i, char **ret)
{
	char *first, *second = NULL, *joined;
	size_t cap;
	int r = ht_yaml_text(y, list->item[(*i)++], "bind", &first);

	if (r)
		return r;
	*ret = first;
	if (strncmp(first, "client-ip/", 10) || strchr(first, ',') || *i == list->n)
		return 0;
	r = ht_yaml_text(y, list->item[*i], "bind", &second);
	if (r || !all_digits(second))
		return r;
	(*i)++;
	cap = strlen(first) + strlen(second) + 2;
	joined = ht_arena_alloc(y->arena, cap);
	if (!joined)
		return ht_yaml_nomem(y);
	snprintf(joined, cap, "%s,%s", first, second);
	*ret = joined;
	return 0;
}

static int add_bind(struct ht_yaml *y, const yaml_node_t *n, const char *text,
		    struct ht_rule_config *rule)
{
	struct ht_bind b = {0};
	int r = ht_bind_parse(text, &b);

	if (r == -EOPNOTSUPP)
		return ht_yaml_fail(y, n,
				    "binding '%.64s' is not built yet; write client-ip or "
				    "x509-subject",
				    text);
	if (r)
		return ht_yaml_fail(y, n,
				    "'%.64s' is no binding; write client-ip, client-ip/24, "
				    "client-ip/24,64 or x509-subject",
				    text);
	r = check_bind(y, n, rule, &b, text);
	if (r)
		return r;
	if (rule->nbinds == HT_BINDS_PER_RULE)
		return ht_yaml_fail(y, n, "'bind' has more than %d bindings; leave some out",
				    HT_BINDS_PER_RULE);
	rule->binds[rule->nbinds++] = b;
	return 0;
}

HT_PARSER(parse_bind)
{
	struct ht_rule_config *rule = to;
	struct ht_yaml_list list;
	int r = ht_yaml_items(y, n, f->name, SIZE_MAX, false, &list);

	for (size_t i = 0; !r && i < list.n;) {
		const yaml_node_t *item = list.item[i];
		char *text;

		r = join_bind(y, &list, &i, &text);
		if (!r)
			r = add_bind(y, item, text, rule);
	}
	/* A connection that cannot give its subject is refused, as the iRule does. */
	for (size_t i = 0; i < rule->nbinds; i++)
		if (rule->binds[i].kind == HT_BIND_X509_SUBJECT)
			rule->on_empty = HT_ON_EMPTY_REJECT;
	return r;
}

HT_PARSER(parse_sibling)
{
	return parse_cookie_name(y, n, f->name, to);
}

HT_PARSER(parse_copy)
{
	struct ht_rule_config *rule = to;
	unsigned v = 0;
	int r = ht_yaml_word(y, f, n, &v);

	rule->copy_attributes = v;
	return r;
}

HT_PARSER(parse_expire)
{
	struct ht_rule_config *rule = to;
	unsigned v = 0;
	int r = ht_yaml_word(y, f, n, &v);

	rule->expire_stripped = v;
	return r;
}

#define PROXYSG_ONLY "it belongs to profile proxysg, which is not built either; leave it out"

static const struct ht_yaml_field rule_fields[] = {
	HT_UNBUILT("all", "write one rule for each cookie, with name: COOKIE"),
	HT_UNBUILT("all-but", "write one rule for each cookie, with name: COOKIE"),
	HT_UNBUILT("only", "write one rule for each cookie, with name: COOKIE"),
	HT_WHOLE("name", parse_rule_name, .missing = "a rule names no cookie; write name: COOKIE"),
	HT_WHOLE("profile", parse_profile,
		 .missing =
			 "profile native (the default) is not built yet; write profile: f5-irule"),
	HT_WHOLE("accept", parse_accept),
	HT_WHOLE("key", parse_rule_key,
		 .missing = "a rule has no key; write key: NAME of one of 'keys'"),
	HT_WHOLE("bind", parse_bind,
		 .missing =
			 "a rule has no binding, and f5-irule needs one; write bind: [client-ip]"),
	HT_FIELD("on-empty", ht_yaml_word, struct ht_rule_config, on_empty,
		 HT_WORDS({"strip", HT_ON_EMPTY_STRIP, 0}, {"reject", HT_ON_EMPTY_REJECT, 0})),
	HT_FIELD("mode", ht_yaml_word, struct ht_rule_config, mode,
		 HT_WORDS({"enforce", HT_MODE_ENFORCE, 0}, {"report", HT_MODE_REPORT, 0},
			  {"off", HT_MODE_OFF, 0})),
	HT_UNBUILT("enforce-after", "leave it out, or begin with mode: report"),
	HT_FIELD("sibling", parse_sibling, struct ht_rule_config, sibling),
	HT_WHOLE("sibling-attributes", parse_copy, HT_WORDS({"seed", false, 0}, {"copy", true, 0})),
	HT_UNBUILT("algorithm", PROXYSG_ONLY),
	HT_UNBUILT("encoding", PROXYSG_ONLY),
	HT_UNBUILT("name-in-mac", PROXYSG_ONLY),
	HT_UNBUILT("separator", PROXYSG_ONLY),
	HT_WHOLE("expire-stripped", parse_expire, HT_WORDS({"false", false, 0}, {"true", true, 0})),
	{0},
};

static int default_sibling(struct ht_yaml *y, const yaml_node_t *n, struct ht_rule_config *rule)
{
	size_t len = strlen(rule->name) + sizeof("_HMAC");

	if (rule->sibling)
		return 0;
	if (len - 1 > HT_NAME_MAX)
		return ht_yaml_fail(y, ht_yaml_value(y, n, "name"),
				    "with _HMAC this cookie's name has more "
				    "than %d bytes; give it a shorter one with sibling: NAME",
				    HT_NAME_MAX);
	rule->sibling = ht_arena_alloc(y->arena, len);
	if (!rule->sibling)
		return ht_yaml_nomem(y);
	snprintf(rule->sibling, len, "%s_HMAC", rule->name);
	return 0;
}

static int parse_rule(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	struct ht_rule_config *rule = to;
	int r;

	rule->mode = HT_MODE_ENFORCE;
	ht_yaml_place(n, &rule->line, &rule->col);
	r = ht_yaml_map(y, n, "a cookie rule", rule_fields, rule);
	return r ? r : default_sibling(y, n, rule);
}

/* ---- sites ---- */

static bool name_taken(const struct ht_rule_config *rule, const char *name)
{
	return !strcmp(rule->name, name) || !strcmp(rule->sibling, name);
}

/* Every name of a site means one thing to the gate. */
static int check_names(struct ht_yaml *y, const struct ht_site_config *s,
		       const struct ht_yaml_list *nodes)
{
	for (size_t i = 0; i < s->nrules; i++) {
		const struct ht_rule_config *rule = &s->rules[i];

		if (!strcmp(rule->sibling, rule->name))
			return ht_yaml_fail(y, ht_yaml_value(y, nodes->item[i], "sibling"),
					    "the sibling has "
					    "the cookie's own name; write another, or leave it out "
					    "for %.64s_HMAC",
					    rule->name);
		for (size_t j = 0; j < i; j++) {
			if (name_taken(&s->rules[j], rule->name))
				return ht_yaml_fail(
					y, ht_yaml_value(y, nodes->item[i], "name"),
					"'%s' is "
					"already a cookie or a sibling of the rule in line "
					"%u; each name may stand once in a site",
					rule->name, s->rules[j].line);
			if (name_taken(&s->rules[j], rule->sibling))
				return ht_yaml_fail(
					y, ht_yaml_value(y, nodes->item[i], "sibling"),
					"the sibling '%s' is already a cookie or a sibling "
					"of the rule in line %u; write another sibling: NAME",
					rule->sibling, s->rules[j].line);
		}
	}
	return 0;
}

static bool same_binding(const struct ht_rule_config *a, const struct ht_rule_config *b)
{
	if (a->nbinds != b->nbinds)
		return false;
	for (size_t i = 0; i < a->nbinds; i++)
		if (!same_bind(&a->binds[i], &b->binds[i]))
			return false;
	return true;
}

static int check_bindings(struct ht_yaml *y, const struct ht_site_config *s,
			  const struct ht_yaml_list *nodes)
{
	size_t different = 0;

	for (size_t i = 0, j; i < s->nrules; i++) {
		for (j = 0; j < i && !same_binding(&s->rules[i], &s->rules[j]); j++)
			;
		different += j == i;
		if (different > HT_BINDS_MAX)
			return ht_yaml_fail(
				y, ht_yaml_value(y, nodes->item[i], "bind"),
				"the rules of a site "
				"can have %d different bindings, and this is one more; use "
				"one of those above",
				HT_BINDS_MAX);
	}
	return 0;
}

HT_PARSER(parse_rules)
{
	struct ht_site_config *s = to;
	struct ht_yaml_list nodes;
	int r = ht_yaml_structs(y, n, f->name, HT_RULES_MAX, sizeof(*s->rules), parse_rule,
				&s->rules, &s->nrules);

	if (!r)
		r = ht_yaml_items(y, n, f->name, HT_RULES_MAX, false, &nodes);
	if (!r)
		r = check_names(y, s, &nodes);
	return r ? r : check_bindings(y, s, &nodes);
}

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
	int r = parse_cookie_name(y, n, f->name, &s->balance_cookie);

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

static int parse_exempt_path(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	char **path = to;
	size_t len;
	int r = ht_yaml_text(y, n, "exempt", path);

	if (r)
		return r;
	len = strlen(*path);
	if (**path != '/')
		return ht_yaml_fail(y, n,
				    "exempt path '%.64s' does not begin with '/'; write \"/PATH\", "
				    "or \"/PATH/*\" for all below it",
				    *path);
	if (memchr(*path, '*', len - 1))
		return ht_yaml_fail(y, n,
				    "exempt path '%.64s' has a '*' before its end; only a last one "
				    "makes a prefix",
				    *path);
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

	if (!ht_yaml_items(y, n, f->name, EXEMPT_MAX, true, &none) && !none.n)
		return 0;
	return ht_yaml_structs(y, n, f->name, EXEMPT_MAX, sizeof(*s->exempt), parse_exempt_path,
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
	HT_WHOLE("cookies", parse_rules),
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
	for (size_t i = 0; i < s->nrules; i++)
		if (name_taken(&s->rules[i], s->balance_cookie))
			return ht_yaml_fail(y, ht_yaml_value(y, n, "balance-cookie"),
					    "'%s' is a cookie or a sibling of the rule in line %u; "
					    "write another balance-cookie: NAME",
					    s->balance_cookie, s->rules[i].line);
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
