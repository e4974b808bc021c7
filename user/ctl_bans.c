/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard's part of ctl's answers: its state as a tree, and the bans, listed, made and lifted.
 */
#include <arpa/inet.h>
#include <inttypes.h>

#include "ctl_parts.h"

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

/* ---- state ---- */

static json_t *interfaces_tree(const struct ht_guard *g)
{
	size_t n;
	const struct ht_guard_interface *i = ht_guard_interfaces(g, &n);
	json_t *tree = json_object();

	for (size_t k = 0; k < n; k++)
		json_object_set_new(tree, i[k].name,
				    json_pack("{s:s, s:b, s:s}", "xdp", i[k].state, "shared",
					      i[k].shared, "why", i[k].why));
	return tree;
}

uint64_t ht_ctl_bans_now(const struct ht_ctl_daemon *d)
{
	return d->guard ? ht_guard_running(d->guard) : 0;
}

json_t *ht_ctl_guard_tree(const struct ht_ctl_daemon *d, const struct ht_stats *s)
{
	const enum ht_guard_mode mode = d->guard ? ht_guard_mode(d->guard) : HT_GUARD_OFF;
	struct ht_guard_counters n = {0};
	json_t *tree = json_object();

	json_object_set_new(tree, "mode", json_string(ht_guard_mode_name(mode)));
	if (!d->guard || !d->config->guard.mode)
		return tree;
	ht_guard_counters(d->guard, &n);
	json_object_set_new(tree, "kernel", json_boolean(!ht_guard_why(d->guard)[0]));
	json_object_set_new(tree, "why", json_string(ht_guard_why(d->guard)));
	json_object_set_new(tree, "interfaces", interfaces_tree(d->guard));
	json_object_set_new(tree, "bans", number(ht_ctl_bans_now(d)));
	json_object_set_new(tree, "max", number(d->config->guard.max));
	json_object_set_new(tree, "map_bytes", number(ht_guard_bytes(d->guard)));
	json_object_set_new(tree, "banned",
			    number(n.bans[HT_GUARD_REPORT] + n.bans[HT_GUARD_DROP]));
	json_object_set_new(tree, "banned_by_hand", number(n.by_hand));
	json_object_set_new(tree, "not_banned_for_an_error", number(n.failed));
	json_object_set_new(tree, "dropped", number(n.packets.dropped));
	json_object_set_new(tree, "would_drop", number(n.packets.reported));
	json_object_set_new(tree, "refused", number(atomic_load(&s->guard_refused[HT_GUARD_DROP])));
	json_object_set_new(tree, "would_refuse",
			    number(atomic_load(&s->guard_refused[HT_GUARD_REPORT])));
	json_object_set_new(tree, "forged", number(atomic_load(&s->guard_forged)));
	json_object_set_new(tree, "spared", number(n.spared));
	json_object_set_new(tree, "held", number(n.held));
	json_object_set_new(tree, "held_rules", number(ht_guard_held(d->guard)));
	json_object_set_new(tree, "forgotten", number(n.evicted));
	return tree;
}

/* ---- bans ---- */

struct list {
	FILE *out; /* rows, or ... */
	json_t *entries;
};

static void list_one(void *arg, const struct ht_guard_entry *e)
{
	const uint64_t for_s = (e->ban.until_ns - e->ban.since_ns) / 1000000000,
		       left_s = (e->left_ms + 999) / 1000;
	struct list *l = arg;

	if (l->out)
		fprintf(l->out, "%-43s %8" PRIu64 " %8" PRIu64 " %6u %10" PRIu64 " %s\n", e->source,
			left_s, for_s, e->ban.forged, (uint64_t)e->ban.dropped,
			e->ban.by_hand ? "hand" : "score");
	else
		json_array_append_new(
			l->entries,
			json_pack("{s:s, s:I, s:I, s:I, s:I, s:s}", "source", e->source, "left_s",
				  (json_int_t)left_s, "for_s", (json_int_t)for_s, "forged",
				  (json_int_t)e->ban.forged, "packets", (json_int_t)e->ban.dropped,
				  "by", e->ban.by_hand ? "hand" : "score"));
}

static void list_rows(struct ht_guard *g, size_t limit, FILE *out)
{
	struct list l = {.out = out};
	ssize_t n;

	fprintf(out, "ok\n%-43s %8s %8s %6s %10s %s\n", "SOURCE", "LEFT S", "FOR S", "FORGED",
		"PACKETS", "BY");
	n = ht_guard_walk(g, limit, list_one, &l);
	if (n < 0)
		fprintf(out, "the list ends here: %s\n", strerror((int)-n));
}

static void list_json(struct ht_guard *g, size_t limit, FILE *out)
{
	struct list l = {.entries = json_array()};
	ssize_t n = l.entries ? ht_guard_walk(g, limit, list_one, &l) : -ENOMEM;

	if (n < 0) {
		json_decref(l.entries);
		fprintf(out, "error: reading the bans: %s\n", strerror((int)-n));
		return;
	}
	ht_ctl_write_json(out, json_pack("{s:s, s:o}", "mode", ht_guard_mode_name(ht_guard_mode(g)),
					 "bans", l.entries));
}

static bool parse_source(struct ht_str text, struct sockaddr_storage *ret)
{
	char copy[INET6_ADDRSTRLEN];

	if (text.len >= sizeof(copy))
		return false;
	memcpy(copy, text.p, text.len);
	copy[text.len] = 0;
	*ret = (struct sockaddr_storage){.ss_family = AF_INET};
	if (inet_pton(AF_INET, copy, &((struct sockaddr_in *)ret)->sin_addr) == 1)
		return true;
	ret->ss_family = AF_INET6;
	return inet_pton(AF_INET6, copy, &((struct sockaddr_in6 *)ret)->sin6_addr) == 1;
}

static const char *failure(int err)
{
	switch (err) {
	case -EPERM:
		return "this address is a trusted proxy or allowed: it is never banned";
	case -ENODATA:
		return "guard: { mode: off }; nobody can be banned";
	case -ENOENT:
		return "this address is not banned";
	default:
		return strerror(-err);
	}
}

static void change(struct ht_guard *g, const struct ht_ctl_bans *b, FILE *out)
{
	const bool add = ht_str_eq(b->action, HT_STR("add"));
	const char *note = "";
	struct sockaddr_storage source;
	int err;

	if (!parse_source(b->address, &source)) {
		fputs("error: an address is what is banned, such as 192.0.2.7 or 2001:db8::1\n",
		      out);
		return;
	}
	err = add ? ht_guard_ban(g, &source, b->for_s * 1000) : ht_guard_pardon(g, &source);
	if (err) {
		fprintf(out, "error: %s\n", failure(err));
		return;
	}
	if (add && ht_guard_mode(g) == HT_GUARD_REPORT)
		note = "nothing is dropped: mode: report";
	if (b->json)
		ht_ctl_write_json(out, json_pack("{s:b, s:s}", add ? "banned" : "lifted", 1,
						 "warnings", note));
	else
		fprintf(out, "ok\n%s\n%s%s", add ? "banned" : "lifted", note, *note ? "\n" : "");
}

void ht_ctl_bans(const struct ht_ctl_daemon *d, const struct ht_ctl_bans *b, FILE *out)
{
	if (!d->guard)
		fputs("error: there is no guard here\n", out);
	else if (ht_str_eq(b->action, HT_STR("add")) || ht_str_eq(b->action, HT_STR("del")))
		change(d->guard, b, out);
	else if (b->action.len && !ht_str_eq(b->action, HT_STR("list")))
		fputs("error: bans list, bans add ADDRESS and bans del ADDRESS are what there is\n",
		      out);
	else if (b->json)
		list_json(d->guard, b->limit, out);
	else
		list_rows(d->guard, b->limit, out);
}
