/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the configuration's schema that describes one rule for cookies: what it covers, how
 * that is signed and what to. config_rules.c has what the rules of a site must hold among
 * themselves. Text only, as config.c: nothing is opened or looked up.
 */
#include <ctype.h>
#include <time.h>

#include "abi.h"
#include "binding.h"
#include "config_schema.h"
#include "token.h"

#define SEPARATOR_MAX 8 /* bytes */
#define DAY_S 86400
#define SESSION_S (2 * DAY_S) /* the seed's */
#define PROFILES "native, f5-irule, proxysg, session-id or secure-cookie"

static bool accepts(const struct ht_rule_config *rule, enum ht_profile profile)
{
	return rule->accept & 1u << profile;
}

/* ---- which cookies ---- */

static bool is_token(const char *s)
{
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("!#$%&'*+-.^_`|~", *s))
			return false;
	return true;
}

int ht_rule_cookie_name(struct ht_yaml *y, const yaml_node_t *n, const char *what, char **ret)
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

/* A rule says once which cookies it is for; its label says meanwhile with which key. */
static int claim(struct ht_yaml *y, const yaml_node_t *n, const char *key, enum ht_covers covers,
		 struct ht_rule_config *rule)
{
	if (rule->label)
		return ht_yaml_fail(y, n,
				    "'%s' and '%s' both say which cookies the rule is for; keep "
				    "one of them",
				    rule->label, key);
	rule->label = (char *)key;
	rule->covers = covers;
	return 0;
}

/* "sid" or "sess*" */
static int parse_name(struct ht_yaml *y, const yaml_node_t *n, const char *what,
		      struct ht_cookie_name *ret)
{
	int r = ht_rule_cookie_name(y, n, what, &ret->text);
	size_t len;

	if (r)
		return r;
	len = strlen(ret->text);
	ret->prefix = ret->text[len - 1] == '*';
	if (!ret->prefix)
		return 0;
	ret->text[--len] = '\0';
	if (!len)
		return ht_yaml_fail(y, n, "'*' is every cookie; write all: true instead of '%s'",
				    what);
	if (len > HT_PREFIX_MAX)
		return ht_yaml_fail(y, n,
				    "the prefix '%.64s' has %zu bytes; prefixes have at most %d",
				    ret->text, len, HT_PREFIX_MAX);
	return 0;
}

HT_PARSER(parse_rule_name)
{
	struct ht_rule_config *rule = to;
	int r = claim(y, n, f->name, HT_COVERS_NAME, rule);

	if (r)
		return r;
	rule->names = ht_arena_alloc(y->arena, sizeof(*rule->names));
	if (!rule->names)
		return ht_yaml_nomem(y);
	rule->nnames = 1;
	r = parse_name(y, n, f->name, rule->names);
	if (!r && rule->names->prefix)
		rule->covers = HT_COVERS_ONLY;
	else if (!r)
		rule->name = rule->names->text;
	return r;
}

HT_PARSER(parse_all)
{
	struct ht_rule_config *rule = to;
	char *s;
	int r = claim(y, n, f->name, HT_COVERS_ALL, rule);

	if (!r)
		r = ht_yaml_text(y, n, f->name, &s);
	if (!r && strcmp(s, "true"))
		r = ht_yaml_fail(y, n,
				 "'all' can't be '%.64s'; write all: true, or name: COOKIE, "
				 "all-but: [COOKIE] or only: [COOKIE]",
				 s);
	return r;
}

static int parse_listed(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	return parse_name(y, n, "a cookie", to);
}

static int parse_list(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
		      enum ht_covers covers, struct ht_rule_config *rule)
{
	struct ht_yaml_list nodes;
	int r = claim(y, n, f->name, covers, rule);

	if (!r)
		r = ht_yaml_structs(y, n, f->name, 2 * HT_SITE_NAMES_MAX, sizeof(*rule->names),
				    parse_listed, &rule->names, &rule->nnames);
	if (!r)
		r = ht_yaml_items(y, n, f->name, 2 * HT_SITE_NAMES_MAX, false, &nodes);
	for (size_t i = 0; i < rule->nnames && !r; i++)
		for (size_t j = 0; j < i && !r; j++)
			if (ht_name_within(&rule->names[i], &rule->names[j]) ||
			    ht_name_within(&rule->names[j], &rule->names[i]))
				r = ht_yaml_fail(
					y, nodes.item[i],
					"'%s%s' and '%s%s' of this list overlap; the "
					"shorter one is enough",
					rule->names[j].text, rule->names[j].prefix ? "*" : "",
					rule->names[i].text, rule->names[i].prefix ? "*" : "");
	return r;
}

HT_PARSER(parse_all_but)
{
	return parse_list(y, f, n, HT_COVERS_ALL_BUT, to);
}

HT_PARSER(parse_only)
{
	return parse_list(y, f, n, HT_COVERS_ONLY, to);
}

/* ---- profiles and keys ---- */

static int parse_one_profile(struct ht_yaml *y, const yaml_node_t *n, const char *what,
			     enum ht_profile *ret)
{
	char *s;
	int r = ht_yaml_text(y, n, what, &s);

	if (r)
		return r;
	if (ht_profile_parse(s, ret))
		return ht_yaml_fail(y, n, "'%s' names no profile with '%.64s'; write " PROFILES,
				    what, s);
	if (!ht_profile_built(*ret))
		return ht_yaml_fail(y, n, "profile %s is not built yet; write " PROFILES, s);
	return 0;
}

HT_PARSER(parse_profile)
{
	struct ht_rule_config *rule = to;
	int r = parse_one_profile(y, n, f->name, &rule->profile);

	rule->accept = 1u << rule->profile;
	rule->copy_attributes = rule->profile != HT_PROFILE_F5_IRULE;
	return r;
}

HT_PARSER(parse_accept)
{
	struct ht_rule_config *rule = to;
	struct ht_yaml_list list;
	int r = ht_yaml_items(y, n, f->name, SIZE_MAX, false, &list);

	for (size_t i = 0; !r && i < list.n; i++) {
		enum ht_profile p;

		r = parse_one_profile(y, list.item[i], f->name, &p);
		if (!r)
			rule->accept |= 1u << p;
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
		if (key->lifetime_s)
			rule->session_s = key->lifetime_s;
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

/* ---- bindings ---- */

static bool any_listener(const struct ht_config *c, bool (*has)(const struct ht_listener_config *l))
{
	for (size_t i = 0; i < c->nlisteners; i++)
		if (has(&c->listeners[i]))
			return true;
	return false;
}

static bool has_tls(const struct ht_listener_config *l)
{
	return l->tls;
}

bool ht_bind_same(const struct ht_bind *a, const struct ht_bind *b)
{
	return a->kind == b->kind && a->v4_bits == b->v4_bits && a->v6_bits == b->v6_bits;
}

/* What nobody could ever give, so that nobody could log in: that would look like the site's fault.
 * NULL, or what is missing. */
static const char *lacks(const struct ht_config *c, enum ht_bind_kind kind)
{
	bool certs = any_listener(c, ht_config_asks_for_certs);

	switch (kind) {
	case HT_BIND_X509_SUBJECT:
	case HT_BIND_X509_SPKI:
		return certs ? NULL
			     : "needs client certificates, and no listener asks for them; add "
			       "client-ca: FILE.pem to a listener's tls";
	case HT_BIND_USER:
		return certs || c->ntrusted
			       ? NULL
			       : "needs client certificates, or a proxy that is believed, and "
				 "there "
				 "is neither; add client-ca: FILE.pem to a listener's tls, or "
				 "trusted-proxies: [ADDRESS]";
	case HT_BIND_GEOIP_COUNTRY:
		return c->geoip ? NULL : "needs a database of countries; add geoip: FILE.mmdb";
	case HT_BIND_TLS_EXPORTER:
		return any_listener(c, has_tls) ? NULL
						: "needs TLS, and no listener has it; add tls to "
						  "a listener";
	case HT_BIND_CLIENT_IP:
		break;
	}
	return NULL;
}

static int check_bind(struct ht_yaml *y, const yaml_node_t *n, const struct ht_rule_config *rule,
		      const struct ht_bind *b, const char *text)
{
	const char *why = lacks(y->root, b->kind);

	for (size_t i = 0; i < rule->nbinds; i++)
		if (ht_bind_same(&rule->binds[i], b))
			return ht_yaml_fail(y, n, "'%.64s' stands twice in 'bind'; once is enough",
					    text);
	return why ? ht_yaml_fail(y, n, "%.64s %s", text, why) : 0;
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

	if (r)
		return ht_yaml_fail(y, n,
				    "'%.64s' is no binding; write client-ip, client-ip/24, "
				    "client-ip/24,64, geoip-country, x509-subject, x509-spki, user "
				    "or tls-exporter",
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
		if (rule->binds[i].kind == HT_BIND_X509_SUBJECT &&
		    rule->profile == HT_PROFILE_F5_IRULE)
			rule->on_empty = HT_ON_EMPTY_REJECT;
	return r;
}

/* ---- the rest of a rule ---- */

HT_PARSER(parse_enforce_after)
{
	struct ht_rule_config *rule = to;
	struct tm tm = {0}, again;
	const char *end;
	time_t t;
	char *s;
	int r = ht_yaml_text(y, n, f->name, &s);

	if (r)
		return r;
	end = strptime(s, "%Y-%m-%d", &tm);
	if (end && *end)
		end = strptime(end, "T%H:%M:%SZ", &tm);
	again = tm;
	t = end ? timegm(&again) : 0;
	/* strptime() takes a day 31 of any month, a second 60, blanks and single digits. */
	if (!end || *end || (strlen(s) != 10 && strlen(s) != 20) || again.tm_mday != tm.tm_mday ||
	    again.tm_sec != tm.tm_sec || strchr(s, ' ') || t <= 0)
		return ht_yaml_fail(y, n,
				    "'%s: %.64s' is no date; write such as 2026-12-01, or "
				    "2026-12-01T08:30:00Z, in UTC",
				    f->name, s);
	rule->enforce_after_s = (uint64_t)t;
	return 0;
}

static bool is_browsers_prefix(const char *s)
{
	return !strncasecmp(s, "__Host-", 7) || !strncasecmp(s, "__Secure-", 9);
}

static int check_sibling_prefix(struct ht_yaml *y, const yaml_node_t *n,
				const struct ht_rule_config *rule)
{
	if (rule->profile == HT_PROFILE_F5_IRULE)
		return ht_yaml_fail(y, n,
				    "the sibling of f5-irule is one cookie; write its whole name");
	if (strlen(rule->sibling) > HT_SIBLING_PREFIX_MAX)
		return ht_yaml_fail(y, n,
				    "the sibling's prefix '%.64s' has %zu bytes; write at most %d",
				    rule->sibling, strlen(rule->sibling), HT_SIBLING_PREFIX_MAX);
	if (is_browsers_prefix(rule->sibling))
		return ht_yaml_fail(y, n,
				    "'%.64s' is kept before the sibling's name where the cookie "
				    "has it; write what comes behind it",
				    rule->sibling);
	return 0;
}

HT_PARSER(parse_sibling)
{
	struct ht_rule_config *rule = to;
	struct ht_cookie_name name;
	int r = ht_rule_cookie_name(y, n, f->name, &name.text);
	size_t len;

	if (r)
		return r;
	rule->sibling = name.text;
	len = strlen(name.text);
	if (name.text[len - 1] == '*') {
		name.text[len - 1] = '\0';
		rule->sibling_prefix = true;
		if (len == 1)
			return ht_yaml_fail(y, n,
					    "the sibling can't have the cookie's own name; write "
					    "a prefix such as HTSIG_*");
		return check_sibling_prefix(y, n, rule);
	}
	if (rule->covers != HT_COVERS_NAME)
		return ht_yaml_fail(y, n,
				    "the rule is for more than one cookie, and each needs a "
				    "sibling of its own; write a prefix such as HTSIG_*");
	return 0;
}

HT_PARSER(parse_copy)
{
	struct ht_rule_config *rule = to;
	unsigned v = 0;
	int r = ht_yaml_word(y, f, n, &v);

	if (!r && !v && rule->profile != HT_PROFILE_F5_IRULE)
		r = ht_yaml_fail(y, n,
				 "the fixed attributes are those of f5-irule, and profile %s has "
				 "none; write sibling-attributes: copy, or leave it out",
				 ht_profile_name(rule->profile));
	rule->copy_attributes = v;
	return r;
}

/* Session cookies' attributes: what ends by itself has its end from the token that it renews. */
static bool is_attribute(const char *s, size_t len)
{
	static const struct {
		const char *text;
		bool open; /* more may follow */
	} known[] = {
		{"Path=/", true},	  {"Domain=", true},	   {"Secure", false},
		{"HttpOnly", false},	  {"SameSite=Lax", false}, {"SameSite=Strict", false},
		{"SameSite=None", false}, {"Partitioned", false},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(known); i++) {
		size_t n = strlen(known[i].text);

		if (len >= n && !strncasecmp(s, known[i].text, n) && (known[i].open || len == n))
			return true;
	}
	return false;
}

/* "Path=/; Secure" is kept as "; Path=/; Secure". */
HT_PARSER(parse_reissue)
{
	struct ht_rule_config *rule = to;
	size_t len;
	char *s;
	int r = ht_yaml_text(y, n, f->name, &s);

	if (r)
		return r;
	if (!rule->copy_attributes)
		return ht_yaml_fail(y, n,
				    "a sibling with fixed attributes is always signed anew with "
				    "these; write sibling-attributes: copy, or leave it out");
	s += strspn(s, "; ");
	len = strlen(s);
	if (len > HT_LABEL_MAX)
		return ht_yaml_fail(y, n, "'%s' is longer than %d bytes", f->name, HT_LABEL_MAX);
	for (char *p = s; *p; p += strspn(p, "; ")) {
		size_t end = strcspn(p, ";"), n_attribute = end;

		while (n_attribute && p[n_attribute - 1] == ' ')
			n_attribute--;
		if (!is_attribute(p, n_attribute))
			return ht_yaml_fail(y, n,
					    "'%.*s' in '%s' is no attribute that can be given; "
					    "write such as \"Path=/; Secure; HttpOnly; "
					    "SameSite=Lax\"",
					    (int)HT_MIN(n_attribute, 64), p, f->name);
		p += end;
	}
	rule->reissue = ht_arena_alloc(y->arena, len + 3);
	if (!rule->reissue)
		return ht_yaml_nomem(y);
	snprintf(rule->reissue, len + 3, "%s%s", len ? "; " : "", s);
	return 0;
}

/* Keys that only some profile has. They are read for tokens that are merely accepted, too. */
static int belongs_to(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
		      const struct ht_rule_config *rule, enum ht_profile profile)
{
	if (accepts(rule, profile))
		return 0;
	return ht_yaml_fail(y, n,
			    "'%s' belongs to profile %s, and the rule has profile %s; leave "
			    "it out",
			    f->name, ht_profile_name(profile), ht_profile_name(rule->profile));
}

HT_PARSER(parse_algorithm)
{
	struct ht_rule_config *rule = to;
	unsigned v = 0;
	int r = belongs_to(y, f, n, rule, HT_PROFILE_PROXYSG);

	if (!r)
		r = ht_yaml_word(y, f, n, &v);
	rule->algorithm = v;
	return r;
}

HT_PARSER(parse_encoding)
{
	struct ht_rule_config *rule = to;
	unsigned v = 0;
	int r = belongs_to(y, f, n, rule, HT_PROFILE_PROXYSG);

	if (!r)
		r = ht_yaml_word(y, f, n, &v);
	rule->encoding = v;
	return r;
}

HT_PARSER(parse_name_in_mac)
{
	struct ht_rule_config *rule = to;
	unsigned v = 0;
	int r = belongs_to(y, f, n, rule, HT_PROFILE_PROXYSG);

	if (!r)
		r = ht_yaml_word(y, f, n, &v);
	rule->name_in_mac = v;
	return r;
}

HT_PARSER(parse_separator)
{
	static char nothing[] = "";
	struct ht_rule_config *rule = to;
	int r = belongs_to(y, f, n, rule, HT_PROFILE_PROXYSG);

	if (r)
		return r;
	rule->separator = nothing;
	if (n->type != YAML_SCALAR_NODE || n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ||
	    n->data.scalar.length)
		r = ht_yaml_text(y, n, f->name, &rule->separator);
	if (!r && strlen(rule->separator) > SEPARATOR_MAX)
		r = ht_yaml_fail(y, n, "'%s' has %zu bytes; write at most %d", f->name,
				 strlen(rule->separator), SEPARATOR_MAX);
	return r;
}

HT_PARSER(parse_lifetime)
{
	struct ht_rule_config *rule = to;
	if (rule->profile == HT_PROFILE_SESSION_ID)
		return ht_yaml_sec(y, f, n, &rule->session_s);
	if (accepts(rule, HT_PROFILE_NATIVE) || accepts(rule, HT_PROFILE_SECURE_COOKIE))
		return ht_yaml_sec(y, f, n, &rule->lifetime_s);
	return ht_yaml_fail(y, n,
			    "'lifetime' belongs to profiles native, session-id and secure-cookie, "
			    "and the rule has profile %s; leave it out",
			    ht_profile_name(rule->profile));
}

static int parse_issue_path(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	return ht_config_parse_path(y, n, "issue", to);
}

HT_PARSER(parse_issue)
{
	struct ht_rule_config *rule = to;

	if (rule->profile != HT_PROFILE_SESSION_ID)
		return ht_yaml_fail(y, n,
				    "'issue' belongs to profile session-id, and the rule has "
				    "profile %s; leave it out",
				    ht_profile_name(rule->profile));
	return ht_yaml_structs(y, n, f->name, HT_PATHS_MAX, sizeof(*rule->issue), parse_issue_path,
			       &rule->issue, &rule->nissue);
}

HT_PARSER(parse_expire)
{
	struct ht_rule_config *rule = to;
	unsigned v = 0;
	int r = ht_yaml_word(y, f, n, &v);

	rule->expire_stripped = v;
	return r;
}

static const struct ht_yaml_field rule_fields[] = {
	HT_WHOLE("name", parse_rule_name),
	HT_WHOLE("all", parse_all),
	HT_WHOLE("all-but", parse_all_but),
	HT_WHOLE("only", parse_only),
	HT_WHOLE("profile", parse_profile),
	HT_WHOLE("accept", parse_accept),
	HT_WHOLE("key", parse_rule_key,
		 .missing = "a rule has no key; write key: NAME of one of 'keys'"),
	HT_WHOLE("bind", parse_bind),
	HT_FIELD("on-empty", ht_yaml_word, struct ht_rule_config, on_empty,
		 HT_WORDS({"strip", HT_ON_EMPTY_STRIP, 0}, {"reject", HT_ON_EMPTY_REJECT, 0})),
	HT_FIELD("mode", ht_yaml_word, struct ht_rule_config, mode,
		 HT_WORDS({"enforce", HT_MODE_ENFORCE, 0}, {"report", HT_MODE_REPORT, 0},
			  {"off", HT_MODE_OFF, 0})),
	HT_WHOLE("enforce-after", parse_enforce_after),
	HT_WHOLE("sibling", parse_sibling),
	HT_WHOLE("sibling-attributes", parse_copy, HT_WORDS({"seed", false, 0}, {"copy", true, 0})),
	HT_WHOLE("reissue-attributes", parse_reissue),
	HT_WHOLE("algorithm", parse_algorithm,
		 HT_WORDS({"sha256", HT_SHA256, 0}, {"sha1", HT_SHA1, 0})),
	HT_WHOLE("encoding", parse_encoding,
		 HT_WORDS({"base64", HT_BASE64, 0}, {"base64url", HT_BASE64URL, 0},
			  {"hex", HT_HEX, 0})),
	HT_WHOLE("name-in-mac", parse_name_in_mac,
		 HT_WORDS({"true", true, 0}, {"false", false, 0})),
	HT_WHOLE("separator", parse_separator),
	HT_WHOLE("lifetime", parse_lifetime, HT_RANGE(1000, 3650ull * DAY_S * 1000)),
	HT_WHOLE("issue", parse_issue),
	HT_WHOLE("expire-stripped", parse_expire, HT_WORDS({"false", false, 0}, {"true", true, 0})),
	{0},
};

/* ---- what its keys must hold among themselves ---- */

static int check_f5_irule(struct ht_yaml *y, const yaml_node_t *n,
			  const struct ht_rule_config *rule)
{
	bool own = rule->profile == HT_PROFILE_F5_IRULE;

	if (!accepts(rule, HT_PROFILE_F5_IRULE))
		return 0;
	if (rule->covers != HT_COVERS_NAME)
		return ht_yaml_fail(y, ht_yaml_value(y, n, own ? "profile" : "accept"),
				    "f5-irule signs one cookie, and this rule is for '%.64s'; "
				    "write name: COOKIE, or profile: native without it",
				    rule->label);
	if (!rule->nbinds)
		return ht_yaml_fail(y, n,
				    "a rule has no binding, and f5-irule needs one; write "
				    "bind: [client-ip]");
	return 0;
}

/* What would refuse every token of a rule is no guard any more. */
static int check_proxysg(struct ht_yaml *y, const yaml_node_t *n, const struct ht_rule_config *rule)
{
	const char *sep = rule->separator;
	char last = *sep ? sep[strlen(sep) - 1] : '\0';

	if (!accepts(rule, HT_PROFILE_PROXYSG))
		return 0;
	if (rule->name_in_mac && !*sep)
		return ht_yaml_fail(y, ht_yaml_value(y, n, "separator"),
				    "without a separator nothing tells a name from its value; add "
				    "name-in-mac: false, or write separator: \"|\"");
	if (!*sep)
		return 0;
	for (size_t i = 0; i < rule->nnames && rule->covers != HT_COVERS_ALL_BUT; i++)
		if (rule->name_in_mac && strchr(rule->names[i].text, *sep))
			return ht_yaml_fail(
				y, ht_yaml_value(y, n, "separator"),
				"the separator's '%c' stands in the name '%.64s', which "
				"it must end; write another",
				*sep, rule->names[i].text);
	for (size_t i = 0; i < rule->nbinds; i++)
		if (rule->binds[i].kind == HT_BIND_CLIENT_IP && strchr("0123456789abcdef.:", last))
			return ht_yaml_fail(y, ht_yaml_value(y, n, "separator"),
					    "the separator's '%c' stands in addresses, which it "
					    "must begin; write separator: \"|\"",
					    last);
	return 0;
}

/* An id is issued here, as one cookie's whole value, and has room for nothing else. */
static int check_session_id(struct ht_yaml *y, const yaml_node_t *n,
			    const struct ht_rule_config *rule)
{
	bool own = rule->profile == HT_PROFILE_SESSION_ID;

	if (!accepts(rule, HT_PROFILE_SESSION_ID))
		return 0;
	if (!rule->name)
		return ht_yaml_fail(y, ht_yaml_value(y, n, own ? "profile" : "accept"),
				    "a session-id is one cookie, and this rule is for '%.64s'; "
				    "write name: COOKIE",
				    rule->label);
	if (own && rule->accept != 1u << HT_PROFILE_SESSION_ID)
		return ht_yaml_fail(y, ht_yaml_value(y, n, "accept"),
				    "what another profile signed can't become a session-id, which "
				    "is issued here; leave accept out, or write enforce-after: "
				    "DATE to let other cookies through until then");
	if (own && rule->nbinds)
		return ht_yaml_fail(y, ht_yaml_value(y, n, "bind"),
				    "a session-id has no place for a binding; leave bind out, or "
				    "let the application set the cookie and write profile: native");
	if (own && rule->sibling)
		return ht_yaml_fail(y, ht_yaml_value(y, n, "sibling"),
				    "a session-id is its own token and has no sibling; leave it "
				    "out");
	return 0;
}

/* A sealed value is its own proof, as an id is: a value without a token can't be both. */
static int check_secure_cookie(struct ht_yaml *y, const yaml_node_t *n,
			       const struct ht_rule_config *rule)
{
	bool own = rule->profile == HT_PROFILE_SECURE_COOKIE;

	if (!accepts(rule, HT_PROFILE_SECURE_COOKIE))
		return 0;
	if (accepts(rule, HT_PROFILE_SESSION_ID))
		return ht_yaml_fail(y, ht_yaml_value(y, n, "accept"),
				    "a rule takes session ids or sealed cookies, not both; leave "
				    "one of them out");
	if (own && rule->sibling && rule->accept == 1u << HT_PROFILE_SECURE_COOKIE)
		return ht_yaml_fail(y, ht_yaml_value(y, n, "sibling"),
				    "a sealed cookie is its own proof and has no sibling; leave it "
				    "out");
	return 0;
}

/* ---- siblings ---- */

static const struct {
	const char *text; /* behind the cookie's name, or before it */
	bool prefix;
} default_siblings[] = {
	[HT_PROFILE_NATIVE] = {"HTSIG_", true},
	[HT_PROFILE_F5_IRULE] = {"_HMAC", false},
	[HT_PROFILE_PROXYSG] = {"BCSIG_", true},
};

static char *default_sibling(struct ht_yaml *y, const struct ht_rule_config *rule,
			     enum ht_profile profile)
{
	const char *before = default_siblings[profile].prefix ? "" : rule->name;
	size_t len = strlen(before) + strlen(default_siblings[profile].text) + 1;
	char *s = ht_arena_alloc(y->arena, len);

	if (s)
		snprintf(s, len, "%s%s", before, default_siblings[profile].text);
	return s;
}

/* Two profiles may share a place: whoever of them verifies what stands there is right. */
static void add_sibling(struct ht_rule_config *rule, char *text, bool prefix,
			enum ht_profile profile)
{
	struct ht_sibling *s = rule->siblings;

	for (; s < rule->siblings + rule->nsiblings; s++)
		if (s->prefix == prefix && !strcmp(s->text, text))
			break;
	if (s == rule->siblings + rule->nsiblings)
		*s = (struct ht_sibling){.text = text, .prefix = prefix};
	rule->nsiblings = HT_MAX(rule->nsiblings, (size_t)(s - rule->siblings) + 1);
	s->accept |= 1u << profile;
}

/* The profile whose tokens stand where `sibling` says: the rule's own or, of a sealed cookie that has
 * none, the first that it accepts. */
static enum ht_profile sibling_profile(const struct ht_rule_config *rule)
{
	enum ht_profile p = rule->profile;

	if (p != HT_PROFILE_SECURE_COOKIE)
		return p;
	for (p = 0; p < HT_ARRAY_SIZE(default_siblings) && !accepts(rule, p);)
		p++;
	return p;
}

static int add_siblings(struct ht_yaml *y, struct ht_rule_config *rule)
{
	enum ht_profile own = sibling_profile(rule);

	_Static_assert(HT_ARRAY_SIZE(default_siblings) == HT_SIBLINGS_PER_RULE,
		       "one for each profile that has siblings");

	if (own >= HT_ARRAY_SIZE(default_siblings))
		return 0;
	if (!rule->sibling) {
		rule->sibling = default_sibling(y, rule, own);
		rule->sibling_prefix = default_siblings[own].prefix;
	}
	if (!rule->sibling)
		return ht_yaml_nomem(y);
	add_sibling(rule, rule->sibling, rule->sibling_prefix, own);
	for (size_t i = 0; i < HT_ARRAY_SIZE(default_siblings); i++) {
		char *text;

		if (i == own || !accepts(rule, i))
			continue;
		text = default_sibling(y, rule, i);
		if (!text)
			return ht_yaml_nomem(y);
		add_sibling(rule, text, default_siblings[i].prefix, i);
	}
	return 0;
}

/* The names that are known now; of others the gate learns when they come. */
static int check_lengths(struct ht_yaml *y, const yaml_node_t *n, const struct ht_rule_config *rule)
{
	for (size_t i = 0; i < rule->nsiblings; i++) {
		const struct ht_sibling *s = &rule->siblings[i];

		for (size_t j = 0; s->prefix && j < rule->nnames; j++)
			if (rule->covers != HT_COVERS_ALL_BUT && !rule->names[j].prefix &&
			    strlen(rule->names[j].text) + strlen(s->text) > HT_NAME_MAX)
				return ht_yaml_fail(
					y, ht_yaml_value(y, n, rule->name ? "name" : "only"),
					"with %s '%.64s' has more than %d bytes; give it a shorter "
					"one with sibling: NAME%s",
					s->text, rule->names[j].text, HT_NAME_MAX,
					rule->name ? "" : " in a rule of its own");
		if (!s->prefix && strlen(s->text) > HT_NAME_MAX)
			return ht_yaml_fail(y, ht_yaml_value(y, n, "name"),
					    "with _HMAC this cookie's name has more than %d bytes; "
					    "give it a shorter one with sibling: NAME",
					    HT_NAME_MAX);
	}
	return 0;
}

/* "only sess*, sid", cut where it is too long. */
static int make_label(struct ht_yaml *y, struct ht_rule_config *rule)
{
	static const char *const words[] = {
		[HT_COVERS_NAME] = "",
		[HT_COVERS_ALL] = "all",
		[HT_COVERS_ALL_BUT] = "all-but ",
		[HT_COVERS_ONLY] = "only ",
	};
	char text[HT_LABEL_MAX + 1];
	size_t len = (size_t)snprintf(text, sizeof(text), "%s", words[rule->covers]);

	for (size_t i = 0; i < rule->nnames && len < sizeof(text); i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s%s", i ? ", " : "",
					rule->names[i].text, rule->names[i].prefix ? "*" : "");
	if (len >= sizeof(text))
		memcpy(text + sizeof(text) - 4, "...", 4);
	rule->label = ht_arena_alloc(y->arena, strlen(text) + 1);
	if (!rule->label)
		return ht_yaml_nomem(y);
	strcpy(rule->label, text);
	return 0;
}

int ht_config_parse_rule(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	static char lone[] = "; Path=/; Secure; HttpOnly", seed[] = "; HttpOnly; Secure; Path=/",
		    bar[] = "|";
	struct ht_rule_config *rule = to;
	int r;

	rule->profile = HT_PROFILE_NATIVE;
	rule->accept = 1u << HT_PROFILE_NATIVE;
	rule->mode = HT_MODE_ENFORCE;
	rule->copy_attributes = true;
	rule->reissue = lone;
	rule->name_in_mac = true;
	rule->separator = bar;
	rule->lifetime_s = DAY_S;
	rule->session_s = SESSION_S;
	ht_yaml_place(n, &rule->line, &rule->col);
	r = ht_yaml_map(y, n, "a cookie rule", rule_fields, rule);
	if (!r && !rule->label)
		r = ht_yaml_fail(y, n,
				 "a rule names no cookie; write name: COOKIE, all: true, "
				 "all-but: [COOKIE] or only: [COOKIE]");
	if (!r)
		r = make_label(y, rule);
	if (!r)
		r = check_f5_irule(y, n, rule);
	if (!r)
		r = check_proxysg(y, n, rule);
	if (!r)
		r = check_session_id(y, n, rule);
	if (!r)
		r = check_secure_cookie(y, n, rule);
	if (!r)
		r = add_siblings(y, rule);
	if (!rule->copy_attributes)
		rule->reissue = seed;
	return r ? r : check_lengths(y, n, rule);
}
