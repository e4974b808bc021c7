/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema of `guard`. Text only: whether an interface is there config_machine.c finds out.
 */
#include <ctype.h>
#include <net/if.h>

#include "config_schema.h"
#include "score.h"

#define ALLOW_MAX 1024 /* prefixes */
#define SEC 1000
#define YEAR (365 * 24 * 3600ull * SEC)

void ht_config_guard_defaults(struct ht_guard_config *g)
{
	g->forged = 5;
	g->per_ms = 600 * SEC;
	g->ban_ms = 60 * SEC;
	g->hold_s = 4 * 24 * 3600; /* a long weekend, and the evening before */
	g->max = 65536;
	g->v4_bits = 32;
	g->v6_bits = 64;
}

static int parse_interface_name(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	const struct ht_config *c = y->root;
	char **name = to;
	int r = ht_yaml_text(y, n, "interface", name);

	if (r)
		return r;
	for (const char *s = *name; *s; s++) {
		if (isspace((unsigned char)*s) || *s == '/' || strlen(*name) >= IF_NAMESIZE)
			return ht_yaml_fail(y, n,
					    "'%.64s' is no name of a network interface; write one "
					    "such as eth0, as `ip link` shows it",
					    *name);
	}
	/* those before it, in the array that is being filled */
	for (char **before = name; before > c->guard.interfaces; before--) {
		if (c->guard.interfaces && !strcmp(before[-1], *name))
			return ht_yaml_fail(y, n, "interface '%s' is named twice", *name);
	}
	return 0;
}

/* One name, or a list of them. */
HT_PARSER(parse_interfaces)
{
	struct ht_guard_config *g = to;
	struct ht_yaml_list list = {.n = 1};
	int r = 0;

	ht_yaml_place(n, &g->line, &g->col);
	if (n->type == YAML_SEQUENCE_NODE)
		r = ht_yaml_items(y, n, f->name, HT_GUARD_INTERFACES_MAX, true, &list);
	if (r)
		return r;
	g->interfaces = ht_arena_alloc(y->arena, (list.n + 1) * sizeof(*g->interfaces));
	if (!g->interfaces)
		return ht_yaml_nomem(y);
	for (size_t i = 0; !r && i < list.n; i++) {
		r = parse_interface_name(y, list.item ? list.item[i] : n, &g->interfaces[i]);
		g->ninterfaces += !r;
	}
	return r;
}

static int parse_allowed(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	const char *why;
	char *s;
	int r = ht_yaml_text(y, n, "allow", &s);

	if (!r && ht_prefix_parse(HT_STR(s), to, &why))
		r = ht_yaml_fail(y, n, "'%.64s' %s", s, why);
	return r;
}

HT_PARSER(parse_allow)
{
	struct ht_guard_config *g = to;
	struct ht_yaml_list list;
	int r = ht_yaml_items(y, n, f->name, ALLOW_MAX, true, &list);

	if (r || !list.n)
		return r;
	return ht_yaml_structs(y, n, f->name, ALLOW_MAX, sizeof(*g->allow), parse_allowed,
			       &g->allow, &g->nallow);
}

static const struct ht_yaml_field guard_fields[] = {
	HT_FIELD("mode", ht_yaml_word, struct ht_guard_config, mode,
		 HT_WORDS({"off", HT_GUARD_OFF, 0}, {"report", HT_GUARD_REPORT, 0},
			  {"drop", HT_GUARD_DROP, 0})),
	HT_WHOLE("interface", parse_interfaces),
	HT_WHOLE("allow", parse_allow),
	HT_FIELD("forged", ht_yaml_u32, struct ht_guard_config, forged,
		 HT_RANGE(1, HT_SCORE_FORGED_MAX)),
	HT_FIELD("per", ht_yaml_msec, struct ht_guard_config, per_ms, HT_RANGE(SEC, YEAR)),
	HT_FIELD("ban", ht_yaml_msec, struct ht_guard_config, ban_ms, HT_RANGE(SEC, YEAR)),
	HT_FIELD("hold", ht_yaml_sec, struct ht_guard_config, hold_s, HT_RANGE(0, YEAR)),
	HT_FIELD("max", ht_yaml_u32, struct ht_guard_config, max, HT_RANGE(64, 1 << 24)),
	HT_FIELD("ipv4-prefix", ht_yaml_u32, struct ht_guard_config, v4_bits, HT_RANGE(8, 32)),
	HT_FIELD("ipv6-prefix", ht_yaml_u32, struct ht_guard_config, v6_bits, HT_RANGE(16, 128)),
	{0},
};

int ht_config_parse_guard(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
			  void *to)
{
	struct ht_config *c = to;

	c->guard.mode = HT_GUARD_REPORT;
	return ht_yaml_map(y, n, f->name, guard_fields, &c->guard);
}
