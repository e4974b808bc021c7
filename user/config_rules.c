/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the cookie rules of a site must hold among themselves: no cookie is signed and the sibling
 * of another, and what the gate has room for. The first rule that is for a cookie is the one that
 * counts, be it off. Text only, as config.c.
 */
#include "abi.h"
#include "config_schema.h"

/* ---- who covers what ---- */

static bool begins_with(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

bool ht_name_within(const struct ht_cookie_name *a, const struct ht_cookie_name *b)
{
	return b->prefix ? begins_with(a->text, b->text) : !a->prefix && !strcmp(a->text, b->text);
}

static bool overlap(const struct ht_cookie_name *a, const struct ht_cookie_name *b)
{
	return ht_name_within(a, b) || ht_name_within(b, a);
}

static bool listed(const struct ht_rule_config *rule, const struct ht_cookie_name *name)
{
	for (size_t i = 0; i < rule->nnames; i++)
		if (ht_name_within(name, &rule->names[i]))
			return true;
	return false;
}

/* Is the rule for every cookie that `name` names? */
static bool covers_whole(const struct ht_rule_config *rule, const struct ht_cookie_name *name)
{
	switch (rule->covers) {
	case HT_COVERS_ALL:
		return true;
	case HT_COVERS_ALL_BUT:
		for (size_t i = 0; i < rule->nnames; i++)
			if (overlap(&rule->names[i], name))
				return false;
		return true;
	case HT_COVERS_NAME:
	case HT_COVERS_ONLY:
		break;
	}
	return listed(rule, name);
}

bool ht_rule_covers(const struct ht_rule_config *rule, const char *name)
{
	const struct ht_cookie_name exact = {(char *)name, false};

	return covers_whole(rule, &exact);
}

static bool covered_before(const struct ht_site_config *s, size_t i,
			   const struct ht_cookie_name *name)
{
	for (size_t j = 0; j < i; j++)
		if (covers_whole(&s->rules[j], name))
			return true;
	return false;
}

/* Is all that the rule `all` leaves out left out by `rule`, too, or taken by one before it? */
static bool hides(const struct ht_site_config *s, const struct ht_rule_config *all, size_t i)
{
	const struct ht_rule_config *rule = &s->rules[i];

	if (all->covers != HT_COVERS_ALL && all->covers != HT_COVERS_ALL_BUT)
		return false;
	for (size_t k = 0; k < all->nnames; k++)
		if (!(rule->covers == HT_COVERS_ALL_BUT && listed(rule, &all->names[k])) &&
		    !covered_before(s, i, &all->names[k]))
			return false;
	return true;
}

bool ht_rule_is_hidden(const struct ht_site_config *s, size_t i)
{
	const struct ht_rule_config *rule = &s->rules[i];

	if (rule->covers == HT_COVERS_ALL || rule->covers == HT_COVERS_ALL_BUT) {
		for (size_t j = 0; j < i; j++)
			if (hides(s, &s->rules[j], i))
				return true;
		return false;
	}
	for (size_t k = 0; k < rule->nnames; k++)
		if (!covered_before(s, i, &rule->names[k]))
			return false;
	return true;
}

/* ---- siblings and cookies ---- */

/* Without the part that browsers give a meaning, which a sibling has before its own prefix. */
static const char *base_name(const char *name)
{
	if (begins_with(name, "__Host-"))
		return name + strlen("__Host-");
	return begins_with(name, "__Secure-") ? name + strlen("__Secure-") : name;
}

/* Does the sibling stand where some cookie of that name would? */
static bool is_sibling(const struct ht_sibling *s, const char *name)
{
	return s->prefix ? begins_with(base_name(name), s->text) : !strcmp(s->text, name);
}

bool ht_rule_has_sibling(const struct ht_rule_config *rule, const char *name)
{
	for (size_t i = 0; i < rule->nsiblings; i++)
		if (is_sibling(&rule->siblings[i], name))
			return true;
	return false;
}

/* Can one cookie be both? A prefix that several rules have is no mistake. */
static bool siblings_clash(const struct ht_sibling *a, const struct ht_sibling *b)
{
	if (a->prefix && b->prefix)
		return strcmp(a->text, b->text) &&
		       (begins_with(a->text, b->text) || begins_with(b->text, a->text));
	return is_sibling(a, b->text) || is_sibling(b, a->text);
}

/* What the rule covers by name and is a sibling of `other`. NULL: nothing. */
static const struct ht_cookie_name *covered_sibling(const struct ht_rule_config *rule,
						    const struct ht_sibling *sibling)
{
	if (rule->covers == HT_COVERS_ALL_BUT)
		return NULL;
	for (size_t k = 0; k < rule->nnames; k++)
		if (is_sibling(sibling, rule->names[k].text) &&
		    (sibling->prefix || !rule->names[k].prefix))
			return &rule->names[k];
	return NULL;
}

static const char *star(bool prefix)
{
	return prefix ? "*" : "";
}

/* The rule by itself. */
static int check_own(struct ht_yaml *y, const yaml_node_t *n, const struct ht_rule_config *rule)
{
	for (size_t i = 0; i < rule->nsiblings; i++) {
		const struct ht_sibling *s = &rule->siblings[i];
		const struct ht_cookie_name *name = covered_sibling(rule, s);

		if (name && !s->prefix)
			return ht_yaml_fail(y, ht_yaml_value(y, n, "sibling"),
					    "the sibling has the cookie's own name; write another, "
					    "or leave it out");
		if (name)
			return ht_yaml_fail(y, n,
					    "'%.64s%s' begins as the siblings of this rule do "
					    "(%s*); write another sibling: PREFIX*",
					    name->text, star(name->prefix), s->text);
		for (size_t k = 0; k < i; k++)
			if (siblings_clash(s, &rule->siblings[k]))
				return ht_yaml_fail(
					y, ht_yaml_value(y, n, "sibling"),
					"the sibling '%s%s' of one profile that the rule "
					"accepts could be '%s%s' of another; write "
					"another sibling",
					rule->siblings[k].text, star(rule->siblings[k].prefix),
					s->text, star(s->prefix));
	}
	return 0;
}

static int check_pair(struct ht_yaml *y, const yaml_node_t *n, const struct ht_rule_config *rule,
		      const struct ht_rule_config *before)
{
	const yaml_node_t *name_node = ht_yaml_value(y, n, "name");
	const struct ht_cookie_name *name;

	if (name_node == n)
		name_node = ht_yaml_value(y, n, "only");
	if (rule->name && before->name && !strcmp(rule->name, before->name))
		return ht_yaml_fail(y, name_node,
				    "'%s' is already a cookie or a sibling of the rule in line %u; "
				    "each name may stand once in a site",
				    rule->name, before->line);
	for (size_t i = 0; i < before->nsiblings; i++) {
		name = covered_sibling(rule, &before->siblings[i]);
		if (name)
			return ht_yaml_fail(
				y, name_node,
				"'%s%s' is already a cookie or a sibling of the rule in "
				"line %u; each name may stand once in a site",
				name->text, star(name->prefix), before->line);
	}
	for (size_t i = 0; i < rule->nsiblings; i++) {
		const struct ht_sibling *s = &rule->siblings[i];
		bool clash = covered_sibling(before, s) != NULL;

		for (size_t k = 0; k < before->nsiblings && !clash; k++)
			clash = siblings_clash(s, &before->siblings[k]);
		if (clash)
			return ht_yaml_fail(
				y, ht_yaml_value(y, n, "sibling"),
				"the sibling '%s%s' is already a cookie or a sibling of "
				"the rule in line %u; write another sibling: NAME",
				s->text, star(s->prefix), before->line);
	}
	return 0;
}

/* Every name of a site means one thing to the gate. */
static int check_names(struct ht_yaml *y, const struct ht_site_config *s,
		       const struct ht_yaml_list *nodes)
{
	for (size_t i = 0; i < s->nrules; i++) {
		int r = check_own(y, nodes->item[i], &s->rules[i]);

		for (size_t j = 0; j < i && !r; j++)
			r = check_pair(y, nodes->item[i], &s->rules[i], &s->rules[j]);
		if (r)
			return r;
	}
	return 0;
}

/* ---- what the gate has room for ---- */

static int check_room(struct ht_yaml *y, const struct ht_site_config *s,
		      const struct ht_yaml_list *nodes)
{
	size_t names = 0, prefixes = 0;

	for (size_t i = 0; i < s->nrules; i++) {
		for (size_t k = 0; k < s->rules[i].nnames; k++)
			*(s->rules[i].names[k].prefix ? &prefixes : &names) += 1;
		if (names > HT_SITE_NAMES_MAX || prefixes > HT_SITE_NAMES_MAX)
			return ht_yaml_fail(y, nodes->item[i],
					    "the rules of a site can name %d cookies and %d "
					    "prefixes of cookies; with this one they are %zu and "
					    "%zu",
					    HT_SITE_NAMES_MAX, HT_SITE_NAMES_MAX, names, prefixes);
	}
	return 0;
}

static int check_prefixes(struct ht_yaml *y, const struct ht_site_config *s,
			  const struct ht_yaml_list *nodes)
{
	const char *seen[HT_SIBLING_PREFIXES_MAX];
	size_t nseen = 0, k;

	for (size_t i = 0; i < s->nrules; i++) {
		for (size_t j = 0; j < s->rules[i].nsiblings; j++) {
			const struct ht_sibling *sibling = &s->rules[i].siblings[j];

			for (k = 0; k < nseen && strcmp(seen[k], sibling->text); k++)
				;
			if (!sibling->prefix || k < nseen)
				continue;
			if (nseen == HT_SIBLING_PREFIXES_MAX)
				return ht_yaml_fail(
					y, ht_yaml_value(y, nodes->item[i], "sibling"),
					"the siblings of a site can have %d different "
					"prefixes, and after %s* and %s* this one (%s*) "
					"is one more; use one of those",
					HT_SIBLING_PREFIXES_MAX, seen[0], seen[1], sibling->text);
			seen[nseen++] = sibling->text;
		}
	}
	return 0;
}

static bool same_binding(const struct ht_rule_config *a, const struct ht_rule_config *b)
{
	if (a->nbinds != b->nbinds)
		return false;
	for (size_t i = 0; i < a->nbinds; i++)
		if (!ht_bind_same(&a->binds[i], &b->binds[i]))
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
			return ht_yaml_fail(y, ht_yaml_value(y, nodes->item[i], "bind"),
					    "the rules of a site can have %d different bindings, "
					    "and this is one more; use one of those above",
					    HT_BINDS_MAX);
	}
	return 0;
}

int ht_config_parse_rules(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
			  void *to)
{
	struct ht_site_config *s = to;
	struct ht_yaml_list nodes;
	int r = ht_yaml_structs(y, n, f->name, HT_RULES_MAX, sizeof(*s->rules),
				ht_config_parse_rule, &s->rules, &s->nrules);

	if (!r)
		r = ht_yaml_items(y, n, f->name, HT_RULES_MAX, false, &nodes);
	if (!r)
		r = check_names(y, s, &nodes);
	if (!r)
		r = check_room(y, s, &nodes);
	if (!r)
		r = check_prefixes(y, s, &nodes);
	return r ? r : check_bindings(y, s, &nodes);
}
