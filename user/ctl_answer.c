/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answers of ctl: the daemon's state as one JSON tree, from which the status in text, in JSON
 * and as a page are all made, the token map's entries, and the metrics. Reads counters; changes
 * nothing but by `flush`. Shows no secret, tag, token or cookie.
 */
#include "ctl_answer.h"

#include <inttypes.h>

#include "ctl_parts.h"
#include "token.h"

#define TOKENS_SHOWN 100
#define TOKENS_SHOWN_MAX 1000000
#define REVOKED_FOR_MAX_S (3650LL * 86400)

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static uint64_t value_of(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static int64_t gauge_of(const _Atomic int64_t *gauge)
{
	return atomic_load_explicit(gauge, memory_order_relaxed);
}

/* ---- the state as a tree; jansson's *_new functions pass a NULL on to the end ---- */

static const char *state_name(const struct ht_ctl_daemon *d)
{
	return d->draining ? "draining" : "serving";
}

static json_t *gate_tree(const struct ht_ctl_daemon *d, const uint64_t n[HT_COUNT_MAX])
{
	bool on = ht_offload_on(d->offload);
	const char *pin = on ? ht_offload_pin(d->offload) : NULL;
	json_t *gate = json_object();

	json_object_set_new(gate, "on", json_boolean(on));
	if (!on) {
		json_object_set_new(gate, "why", json_string(d->gate_why));
		return gate;
	}
	if (pin)
		json_object_set_new(gate, "pin", json_string(pin));
	json_object_set_new(gate, "messages", number(n[HT_COUNT_RUNS]));
	json_object_set_new(gate, "heads", number(n[HT_COUNT_HEADS]));
	json_object_set_new(gate, "hits", number(n[HT_COUNT_HIT]));
	json_object_set_new(gate, "memo_hits", number(n[HT_COUNT_MEMO]));
	json_object_set_new(gate, "opened", number(n[HT_COUNT_OPENED]));
	json_object_set_new(gate, "torn", number(n[HT_COUNT_TORN]));
	json_object_set_new(gate, "forged", number(n[HT_COUNT_FORGED]));
	json_object_set_new(gate, "missing", number(n[HT_COUNT_MISSING]));
	json_object_set_new(gate, "report", number(n[HT_COUNT_REPORT]));
	json_object_set_new(gate, "misses", number(n[HT_COUNT_MISS]));
	json_object_set_new(gate, "admitted", number(n[HT_COUNT_ADMITTED]));
	json_object_set_new(gate, "not_admitted", number(n[HT_COUNT_NOT_ADMITTED]));
	json_object_set_new(gate, "slots_used", number(ht_offload_slots_used(d->offload)));
	return gate;
}

/* The reasons that occurred. */
static json_t *refused_tree(const struct ht_stats *s)
{
	json_t *refused = json_object();

	for (int r = HT_REASON_NONE + 1; r < HT_REASON_MAX; r++)
		if (value_of(&s->refused[r]))
			json_object_set_new(refused, ht_reason_name((enum ht_reason)r),
					    number(value_of(&s->refused[r])));
	return refused;
}

static json_t *listeners_tree(const struct ht_ctl_daemon *d, const struct ht_stats *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < d->config->nlisteners; i++) {
		const struct ht_listener_config *l = &d->config->listeners[i];
		uint64_t requests = 0;

		size_t at = d->listener_index ? d->listener_index[i] : i;

		for (size_t code = 0; at < HT_STATS_LISTENERS && code < HT_STATS_CODES; code++)
			requests += value_of(&s->requests[at][code]);
		json_array_append_new(list,
				      json_pack("{s:s, s:b, s:I}", "address", l->addr.text, "tls",
						l->tls != NULL, "requests", (json_int_t)requests));
	}
	return list;
}

static json_t *side_tree(const struct ht_stats *s, enum ht_side side)
{
	return json_pack("{s:I, s:I}", "active",
			 (json_int_t)gauge_of(&s->connections[side][HT_CONN_ACTIVE]), "idle",
			 (json_int_t)gauge_of(&s->connections[side][HT_CONN_IDLE]));
}

static json_t *tokens_tree(const struct ht_ctl_daemon *d)
{
	unsigned cpus = 0;
	size_t bytes = ht_offload_token_bytes(d->offload, &cpus),
	       live = ht_offload_tokens(d->offload);

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "live", (json_int_t)live, "max_per_cpu",
			 (json_int_t)d->config->tokens.max, "possible_cpus", (json_int_t)cpus,
			 "map_bytes_full", (json_int_t)bytes, "evicted",
			 (json_int_t)ht_offload_evicted(d->offload, live), "flushed",
			 (json_int_t)ht_offload_flushed(d->offload));
}

/* Plaintext of sealed cookies, where the kernel opens them. */
static json_t *sealed_tree(const struct ht_ctl_daemon *d)
{
	struct ht_sealed_use sealed;

	ht_offload_sealed(d->offload, &sealed);
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "live", (json_int_t)sealed.live, "max",
			 (json_int_t)sealed.max, "map_bytes", (json_int_t)sealed.bytes, "evicted",
			 (json_int_t)sealed.evicted, "flushed", (json_int_t)sealed.flushed);
}

/* Covered cookies by verdict and action, those that occurred. */
static json_t *verdicts_tree(const struct ht_stats *s)
{
	json_t *verdicts = json_object();

	for (int v = 0; v < HT_COOKIE_VERDICT_MAX; v++) {
		for (int a = 0; a < HT_ACTION_MAX; a++) {
			uint64_t n = 0;
			char name[64];

			for (int w = 0; w < HT_WHERE_MAX; w++)
				n += value_of(&s->verdicts[w][v][a]);
			if (!n)
				continue;
			snprintf(name, sizeof(name), "%s_%s",
				 ht_cookie_verdict_name((enum ht_cookie_verdict)v),
				 ht_cookie_action_name((enum ht_cookie_action)a));
			json_object_set_new(verdicts, name, number(n));
		}
	}
	return verdicts;
}

static uint64_t signed_cookies(const struct ht_stats *s)
{
	uint64_t n = 0;

	for (size_t p = 0; p < HT_ARRAY_SIZE(s->signed_cookies); p++)
		n += value_of(&s->signed_cookies[p]);
	return n;
}

static json_t *counters_tree(const struct ht_stats *s)
{
	const struct {
		const char *name;
		const _Atomic uint64_t *n;
	} rows[] = {
		{"accepted", &s->accepted},
		{"connections_refused", &s->connections_refused},
		{"tls_failed", &s->tls_failed},
		{"rejected_unbound", &s->rejected_unbound},
		{"malformed", &s->malformed},
		{"timeouts", &s->timeouts},
		{"sign_refused", &s->sign_refused},
		{"sign_unbound", &s->sign_unbound},
		{"sign_sibling", &s->sign_sibling},
		{"sign_revoked", &s->sign_revoked},
		{"sign_issuer", &s->sign_issuer},
		{"sign_too_long", &s->sign_too_long},
		{"backend_connects", &s->backend_connects},
		{"backend_failures", &s->backend_failures},
		{"backend_unanswered", &s->backend_unanswered},
		{"backend_retries", &s->backend_retries},
		{"bytes_in", &s->bytes_in},
		{"bytes_out", &s->bytes_out},
		{"spliced_in", &s->spliced_in},
		{"spliced_out", &s->spliced_out},
	};
	json_t *counters = json_object();

	json_object_set_new(counters, "signed", number(signed_cookies(s)));
	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++)
		json_object_set_new(counters, rows[i].name, number(value_of(rows[i].n)));
	return counters;
}

static json_t *upstreams_tree(const struct ht_ctl_daemon *d)
{
	_cleanup_free_ struct ht_stats_upstream *u = NULL;
	json_t *list = json_array();
	size_t n = 0;

	if (d->health && ht_health_list(d->health, &u, &n))
		n = 0;
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:b, s:I, s:I}", "site",
						      u[i].site, "upstream", u[i].upstream, "up",
						      u[i].up, "down_by_check", u[i].down, "active",
						      (json_int_t)u[i].active, "failures",
						      (json_int_t)u[i].failures));
	return list;
}

static size_t revoked_sessions(const struct ht_ctl_daemon *d)
{
	return d->revoked ? d->revoked(d->arg) : 0;
}

static size_t list_keys(const struct ht_ctl_daemon *d, struct ht_stats_key *ret)
{
	return d->keys && ret ? d->keys(d->arg, ret) : 0;
}

static json_t *secrets_tree(const struct ht_key *key)
{
	json_t *list = json_array();

	for (size_t i = 0; i < key->nsecrets; i++) {
		const struct ht_secret *s = &key->secrets[i];
		json_t *one = json_pack("{s:s, s:s}", "id", s->id, "state",
					!i	   ? "signs"
					: s->early ? "comes next"
						   : "verifies");

		if (s->born_s)
			json_object_set_new(one, "born", number(s->born_s));
		if (s->retire_s)
			json_object_set_new(one, "until", number(s->retire_s));
		json_array_append_new(list, one);
	}
	return list;
}

static json_t *key_tree(const struct ht_stats_key *k)
{
	const struct ht_key *key = k->key;
	uint64_t now_s = (uint64_t)time(NULL), born_s = key->nsecrets ? key->secrets[0].born_s : 0;
	json_t *tree = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:o}", "name", key->name, "source",
				 k->source, "generation", (json_int_t)key->gen, "rotations",
				 (json_int_t)k->rotations, "revocations",
				 (json_int_t)k->revocations, "failures", (json_int_t)k->failures,
				 "secrets", secrets_tree(key));

	if (born_s)
		json_object_set_new(tree, "age_s", number(now_s > born_s ? now_s - born_s : 0));
	if (k->store)
		json_object_set_new(tree, "store",
				    json_pack("{s:I, s:I, s:I, s:I}", "polls", (json_int_t)k->polls,
					      "failed", (json_int_t)k->polls_failed, "garbage",
					      (json_int_t)k->garbage, "last_answer",
					      (json_int_t)k->last_poll_s));
	if (k->void_before_s)
		json_object_set_new(tree, "void_before", number(k->void_before_s));
	return tree;
}

static json_t *keys_tree(const struct ht_ctl_daemon *d)
{
	_cleanup_free_ struct ht_stats_key *keys = calloc(HT_KEYS_MAX, sizeof(*keys));
	size_t n = list_keys(d, keys);
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, key_tree(&keys[i]));
	return list;
}

/* NULL = out of memory. */
static json_t *status_tree(const struct ht_ctl_daemon *d)
{
	_cleanup_free_ struct ht_stats *s = malloc(sizeof(*s));
	uint64_t n[HT_COUNT_MAX] = {0};
	json_t *tree;

	if (!s)
		return NULL;
	ht_stats_sum(d->stats, d->nstats, s);
	ht_offload_counters(d->offload, n);
	tree = json_pack("{s:s, s:I, s:I, s:s, s:I, s:o, s:{s:b, s:s}, s:o, s:{s:o, s:o}, s:o, s:o,"
			 " s:o, s:o}",
			 "version", HT_VERSION, "pid", (json_int_t)getpid(), "uptime_s",
			 (json_int_t)(time(NULL) - d->started), "state", state_name(d), "workers",
			 (json_int_t)d->nstats, "gate", gate_tree(d, n), "ktls", "on",
			 !d->ktls_why[0], "why", d->ktls_why, "listeners", listeners_tree(d, s),
			 "connections", "client", side_tree(s, HT_SIDE_CLIENT), "backend",
			 side_tree(s, HT_SIDE_BACKEND), "tokens", tokens_tree(d), "verdicts",
			 verdicts_tree(s), "refused", refused_tree(s), "counters",
			 counters_tree(s));
	json_object_set_new(tree, "sealed", sealed_tree(d));
	json_object_set_new(tree, "revoked_sessions", number(revoked_sessions(d)));
	json_object_set_new(tree, "keys", keys_tree(d));
	json_object_set_new(tree, "upstreams", upstreams_tree(d));
	json_object_set_new(tree, "guard", ht_ctl_guard_tree(d, s));
	return tree;
}

/* ---- the tree as rows "a.b.c", for people and their scripts ---- */

typedef void row_writer(FILE *out, const char *path, const char *value);

static void write_rows(FILE *out, json_t *j, const char *path, row_writer *row)
{
	char below[256], text[32];
	const char *key;
	json_t *child;
	size_t i;

	switch (json_typeof(j)) {
	case JSON_OBJECT:
		json_object_foreach (j, key, child) {
			snprintf(below, sizeof(below), "%s%s%s", path, *path ? "." : "", key);
			write_rows(out, child, below, row);
		}
		break;
	case JSON_ARRAY:
		json_array_foreach (j, i, child) {
			snprintf(below, sizeof(below), "%s.%zu", path, i);
			write_rows(out, child, below, row);
		}
		break;
	case JSON_INTEGER:
		snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(j));
		row(out, path, text);
		break;
	case JSON_STRING:
		if (*json_string_value(j))
			row(out, path, json_string_value(j));
		break;
	default:
		row(out, path, json_is_true(j) ? "yes" : "no");
	}
}

static void text_row(FILE *out, const char *path, const char *value)
{
	fprintf(out, "%-28s %s\n", path, value);
}

static void write_escaped(FILE *out, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		case '\'':
			fputs("&#39;", out);
			break;
		default:
			fputc(*s, out);
		}
	}
}

static void html_row(FILE *out, const char *path, const char *value)
{
	fputs("<tr><th>", out);
	write_escaped(out, path);
	fputs("<td>", out);
	write_escaped(out, value);
	fputc('\n', out);
}

/* ---- the metrics ---- */

static char *metrics_text(const struct ht_ctl_daemon *d, size_t *ret_len)
{
	_cleanup_free_ struct ht_stats_upstream *upstreams = NULL;
	_cleanup_free_ struct ht_stats_key *keys = calloc(HT_KEYS_MAX, sizeof(*keys));
	struct ht_stats_global g = {
		.keys = keys,
		.nkeys = list_keys(d, keys),
		.now_s = (uint64_t)time(NULL),
		.gate_on = ht_offload_on(d->offload),
		.tokens_live = ht_offload_tokens(d->offload),
		.tokens_flushed = ht_offload_flushed(d->offload),
		.revoked_sessions = revoked_sessions(d),
		.nlisteners = HT_STATS_LISTENERS,
		.guard_bans = ht_ctl_bans_now(d),
	};
	struct ht_sealed_use sealed;
	uint64_t run_ns;

	g.tokens_evicted = ht_offload_evicted(d->offload, g.tokens_live);
	ht_offload_sealed(d->offload, &sealed);
	g.sealed_live = sealed.live;
	g.sealed_flushed = sealed.flushed;
	g.sealed_evicted = sealed.evicted;
	ht_offload_counters(d->offload, g.gate_counters);
	if (d->guard) {
		ht_guard_counters(d->guard, &g.guard);
		g.guard_interfaces = ht_guard_interfaces(d->guard, &g.nguard_interfaces);
		g.guard_held = ht_guard_held(d->guard);
	}
	g.bpf_stats = !ht_offload_run_stats(d->offload, &run_ns, &g.gate_runs);
	if (g.bpf_stats)
		g.gate_run_seconds = run_ns / 1e9;
	if (d->health && !ht_health_list(d->health, &upstreams, &g.nupstreams)) {
		g.upstreams = upstreams;
		g.lookups_failed = ht_health_lookups_failed(d->health);
	}
	for (size_t i = 0; i < d->config->nlisteners; i++) {
		size_t at = d->listener_index ? d->listener_index[i] : i;

		if (at < HT_STATS_LISTENERS)
			g.listeners[at] = d->config->listeners[i].addr.text;
	}
	return ht_stats_prometheus(d->stats, d->nstats, &g, ret_len);
}

/* {"name{labels}": value, ...} */
static json_t *metrics_tree(char *text)
{
	json_t *tree = json_object();
	char *line, *save;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value = strrchr(line, ' ');

		if (line[0] == '#' || !value)
			continue;
		*value++ = '\0';
		json_object_set_new(tree, line,
				    strchr(value, '.') ? json_real(strtod(value, NULL))
						       : number(strtoull(value, NULL, 10)));
	}
	return tree;
}

/* ---- commands ---- */

struct arguments {
	bool json;
	size_t limit;
	/* revoke; they live as long as the tree */
	struct ht_str cookie, site;
	const char *key; /* also of rotate; or NULL */
	uint64_t for_s;
	struct ht_str action, address; /* bans */
	json_t *tree;
};

void ht_ctl_write_json(FILE *out, json_t *tree)
{
	_cleanup_free_ char *text = tree ? json_dumps(tree, JSON_INDENT(2)) : NULL;

	json_decref(tree);
	if (text)
		fprintf(out, "ok\n%s\n", text);
	else
		fputs("error: out of memory\n", out);
}

static void command_status(const struct ht_ctl_daemon *d, const struct arguments *a, FILE *out)
{
	json_auto_t *tree = status_tree(d);

	if (a->json || !tree) {
		ht_ctl_write_json(out, TAKE_PTR(tree));
		return;
	}
	fputs("ok\n", out);
	write_rows(out, tree, "", text_row);
}

struct token_walk {
	const struct ht_config *config;
	json_t *list;
};

static void add_token(void *arg, const struct ht_token_key *key, const struct ht_token *token,
		      uint64_t hits)
{
	struct token_walk *w = arg;
	bool known = token->key < w->config->nkeys && w->config->keys[token->key].name;
	char hex[33];
	int tags = 0;

	for (size_t i = 0; i < HT_TAGS_MAX; i++)
		tags += token->tag[i] != 0;
	snprintf(hex, sizeof(hex), "%016" PRIx64 "%016" PRIx64, (uint64_t)key->hi,
		 (uint64_t)key->lo);
	json_array_append_new(
		w->list,
		json_pack("{s:s, s:s, s:I, s:I, s:i, s:i, s:b, s:I}", "key", hex, "signing_key",
			  known ? w->config->keys[token->key].name : "?", "key_generation",
			  (json_int_t)token->key_gen, "global_generation",
			  (json_int_t)token->global_gen, "policy", (int)token->policy, "tags", tags,
			  "closed", !!(token->flags & HT_TOKEN_CLOSED), "hits", (json_int_t)hits));
}

static json_int_t integer_of(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static void write_token_table(FILE *out, json_t *tokens)
{
	const json_t *list = json_object_get(tokens, "entries");
	json_t *e;
	size_t i;

	fputs("ok\n", out);
	write_rows(out, json_object_get(tokens, "tokens"), "", text_row);
	if (!json_array_size(list))
		return;
	fprintf(out, "\n%-32s %-16s %7s %7s %6s %4s %6s %10s\n", "ENTRY", "SIGNED WITH", "KEY GEN",
		"GEN", "POLICY", "TAGS", "CLOSED", "HITS");
	json_array_foreach (list, i, e)
		fprintf(out, "%-32s %-16s %7lld %7lld %6lld %4lld %6s %10lld\n",
			json_string_value(json_object_get(e, "key")),
			json_string_value(json_object_get(e, "signing_key")),
			integer_of(e, "key_generation"), integer_of(e, "global_generation"),
			integer_of(e, "policy"), integer_of(e, "tags"),
			json_is_true(json_object_get(e, "closed")) ? "yes" : "no",
			integer_of(e, "hits"));
}

static void command_tokens(const struct ht_ctl_daemon *d, const struct arguments *a, FILE *out)
{
	struct token_walk w = {d->config, json_array()};
	json_auto_t *tree = NULL;
	int r = w.list ? ht_offload_walk(d->offload, a->limit, add_token, &w) : -ENOMEM;

	if (r < 0) {
		json_decref(w.list);
		fprintf(out, "error: reading the token map: %s\n", strerror(-r));
		return;
	}
	tree = json_pack("{s:o, s:o}", "tokens", tokens_tree(d), "entries", w.list);
	if (a->json || !tree)
		ht_ctl_write_json(out, TAKE_PTR(tree));
	else
		write_token_table(out, tree);
}

static void command_flush(const struct ht_ctl_daemon *d, const struct arguments *a, FILE *out)
{
	size_t n = d->flush(d->arg);

	if (a->json)
		ht_ctl_write_json(out, json_pack("{s:I}", "flushed", (json_int_t)n));
	else
		fprintf(out, "ok\n%zu tokens flushed\n", n);
}

static void command_metrics(const struct ht_ctl_daemon *d, const struct arguments *a, FILE *out)
{
	size_t len = 0;
	_cleanup_free_ char *text = metrics_text(d, &len);

	if (!text || a->json)
		ht_ctl_write_json(out, text ? metrics_tree(text) : NULL);
	else
		fprintf(out, "ok\n%s", text);
}

static void command_reload(const struct ht_ctl_daemon *d, const struct arguments *a, FILE *out)
{
	char why[1024] = "";

	if (!d->reload)
		fputs("error: reload is not possible here\n", out);
	else if (d->reload(d->arg, why, sizeof(why)))
		fprintf(out, "error: %s\n", why);
	else if (a->json)
		ht_ctl_write_json(out, json_pack("{s:b, s:s}", "reloaded", 1, "warnings", why));
	else
		fprintf(out, "ok\n%s%s", why, *why ? "\n" : "");
}

static void command_rotate(const struct ht_ctl_daemon *d, const struct arguments *a, FILE *out)
{
	char why[512] = "";

	if (!a->key || !d->rotate)
		fputs("error: rotate takes the name of a key\n", out);
	else if (d->rotate(d->arg, a->key, why, sizeof(why)))
		fprintf(out, "error: %s\n", why);
	else if (a->json)
		ht_ctl_write_json(out, json_pack("{s:b, s:s, s:s}", "rotated", 1, "key", a->key,
						 "warnings", why));
	else
		fprintf(out, "ok\n%s: another secret signs now; the one until now verifies%s%s\n",
			a->key, *why ? "\n" : "", why);
}

static void revoke_key(const struct ht_ctl_daemon *d, const struct arguments *a, FILE *out)
{
	char why[512] = "";

	if (!d->revoke_key)
		fputs("error: there is no key here\n", out);
	else if (d->revoke_key(d->arg, a->key, why, sizeof(why)))
		fprintf(out, "error: %s\n", why);
	else if (a->json)
		ht_ctl_write_json(out, json_pack("{s:b, s:s, s:s}", "revoked", 1, "key", a->key,
						 "warnings", why));
	else
		fprintf(out, "ok\n%s: nothing that it has signed is valid any more\n%s%s", a->key,
			why, *why ? "\n" : "");
}

static void command_revoke(const struct ht_ctl_daemon *d, const struct arguments *a, FILE *out)
{
	struct ht_ctl_revocation r = {.site = a->site, .for_s = a->for_s};
	const char *equals = a->cookie.len ? memchr(a->cookie.p, '=', a->cookie.len) : NULL;
	char why[512] = "";

	if (a->key && !a->cookie.len) {
		revoke_key(d, a, out);
		return;
	}
	if (!a->cookie.len || a->key) {
		fputs("error: revoke takes a key or a cookie\n", out);
		return;
	}
	if (!equals || !d->revoke) {
		fputs(equals ? "error: there is nothing to revoke here\n"
			     : "error: a cookie is NAME=VALUE\n",
		      out);
		return;
	}
	r.name = ht_str_trim((struct ht_str){a->cookie.p, (size_t)(equals - a->cookie.p)});
	r.value = ht_str_trim(
		(struct ht_str){equals + 1, a->cookie.len - (size_t)(equals + 1 - a->cookie.p)});
	if (d->revoke(d->arg, &r, why, sizeof(why)))
		fprintf(out, "error: %s\n", why);
	else if (a->json)
		ht_ctl_write_json(out, json_pack("{s:b, s:I, s:s}", "revoked", 1, "for_s",
						 (json_int_t)r.for_s, "warnings", why));
	else
		fprintf(out, "ok\nrevoked for %" PRIu64 " s\n%s%s", r.for_s, why, *why ? "\n" : "");
}

static void command_bans(const struct ht_ctl_daemon *d, const struct arguments *a, FILE *out)
{
	const struct ht_ctl_bans b = {a->json, a->limit, a->action, a->address, a->for_s};

	ht_ctl_bans(d, &b, out);
}

static const struct {
	const char *name;
	void (*run)(const struct ht_ctl_daemon *d, const struct arguments *a, FILE *out);
} commands[] = {
	{"status", command_status},   {"tokens", command_tokens}, {"flush", command_flush},
	{"metrics", command_metrics}, {"bans", command_bans},	  {"reload", command_reload},
	{"rotate", command_rotate},   {"revoke", command_revoke},
};

static bool parse_text(const json_t *value, struct ht_str *ret)
{
	if (!json_is_string(value))
		return false;
	*ret = (struct ht_str){json_string_value(value), json_string_length(value)};
	return ret->len;
}

static bool parse_seconds(const json_t *value, uint64_t *ret)
{
	if (json_integer_value(value) <= 0 || json_integer_value(value) > REVOKED_FOR_MAX_S)
		return false;
	*ret = (uint64_t)json_integer_value(value);
	return true;
}

/* NULL, or what is wrong. The caller releases ret->tree. */
static const char *parse_arguments(const char *text, struct arguments *ret)
{
	const char *key;
	struct ht_str name = {NULL, 0};
	json_t *value;

	*ret = (struct arguments){.limit = TOKENS_SHOWN,
				  .site = HT_STR(""),
				  .action = HT_STR(""),
				  .address = HT_STR("")};
	if (!text)
		return NULL;
	ret->tree = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(ret->tree))
		return "what follows the command must be a JSON object";
	json_object_foreach (ret->tree, key, value) {
		if (!strcmp(key, "json") && json_is_boolean(value)) {
			ret->json = json_is_true(value);
		} else if (!strcmp(key, "limit") && json_integer_value(value) > 0 &&
			   json_integer_value(value) <= TOKENS_SHOWN_MAX) {
			ret->limit = (size_t)json_integer_value(value);
		} else if (!strcmp(key, "key") && parse_text(value, &name) &&
			   strlen(name.p) == name.len) {
			ret->key = name.p;
		} else if (!(!strcmp(key, "cookie") && parse_text(value, &ret->cookie)) &&
			   !(!strcmp(key, "site") && parse_text(value, &ret->site)) &&
			   !(!strcmp(key, "action") && parse_text(value, &ret->action)) &&
			   !(!strcmp(key, "address") && parse_text(value, &ret->address)) &&
			   !(!strcmp(key, "for") && parse_seconds(value, &ret->for_s))) {
			return "arguments are \"json\": true or false, \"limit\": 1..1000000, "
			       "\"key\"; "
			       "\"cookie\", \"site\" and \"for\" seconds, ten years at the most";
		}
	}
	return NULL;
}

void ht_ctl_command(const struct ht_ctl_daemon *d, char *line, FILE *out)
{
	char *space = strchr(line, ' ');
	struct arguments a;
	const char *wrong;

	if (space)
		*space++ = '\0';
	for (size_t i = 0; i < HT_ARRAY_SIZE(commands); i++) {
		if (strcmp(line, commands[i].name))
			continue;
		wrong = parse_arguments(space, &a);
		if (wrong)
			fprintf(out, "error: %s\n", wrong);
		else
			commands[i].run(d, &a, out);
		json_decref(a.tree);
		return;
	}
	fputs("error: no such command\n", out);
}

/* ---- HTTP ---- */

static const struct {
	int status;
	const char *reason;
} statuses[] = {
	{200, "OK"},
	{400, "Bad Request"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{431, "Request Header Fields Too Large"},
	{500, "Internal Server Error"},
	{503, "Service Unavailable"},
};

static const char *reason_of(int status)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(statuses); i++)
		if (statuses[i].status == status)
			return statuses[i].reason;
	return "Error";
}

struct page {
	int status;
	const char *type;
	char *text; /* malloc'ed */
	size_t len;
};

static void write_page(FILE *out, const struct page *p, bool head_only)
{
	fprintf(out,
		"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s"
		"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
		"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
		"Connection: close\r\n\r\n",
		p->status, reason_of(p->status), p->type, p->len,
		p->status == 405 ? "Allow: GET, HEAD\r\n" : "");
	if (!head_only)
		fwrite(p->text, 1, p->len, out);
}

static void write_short_page(FILE *out, int status, const char *text, bool head_only)
{
	const struct page p = {status, "text/plain; charset=utf-8", (char *)text, strlen(text)};

	write_page(out, &p, head_only);
}

void ht_ctl_http_error(int status, FILE *out)
{
	char text[64];

	snprintf(text, sizeof(text), "%d %s\n", status, reason_of(status));
	write_short_page(out, status, text, false);
}

static void page_healthz(const struct ht_ctl_daemon *d, bool head_only, FILE *out)
{
	if (d->draining)
		write_short_page(out, 503, "draining\n", head_only);
	else
		write_short_page(out, 200, "ok\n", head_only);
}

static void page_metrics(const struct ht_ctl_daemon *d, bool head_only, FILE *out)
{
	struct page p = {200, "text/plain; version=0.0.4; charset=utf-8", NULL, 0};
	_cleanup_free_ char *text = metrics_text(d, &p.len);

	p.text = text;
	if (text)
		write_page(out, &p, head_only);
	else
		ht_ctl_http_error(500, out);
}

static const char status_page_head[] =
	"<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>hardtack</title>\n"
	"<style>body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:44em;padding:0 "
	"1em}"
	"table{border-collapse:collapse;width:100%}th{text-align:left;font-weight:normal}"
	"td{text-align:right;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}"
	"tr{border-bottom:1px solid #ddd}</style>\n"
	"<h1>hardtack</h1>\n<p><a href=\"/metrics\">metrics</a> &middot; "
	"<a href=\"/healthz\">health</a>\n<table>\n";

static void page_status(const struct ht_ctl_daemon *d, bool head_only, FILE *out)
{
	json_auto_t *tree = status_tree(d);
	_cleanup_free_ char *text = NULL;
	struct page p = {200, "text/html; charset=utf-8", NULL, 0};
	FILE *f = tree ? open_memstream(&text, &p.len) : NULL;

	if (f) {
		fputs(status_page_head, f);
		write_rows(f, tree, "", html_row);
		fputs("</table></html>\n", f);
	}
	if (!f || fclose(f)) {
		ht_ctl_http_error(500, out);
		return;
	}
	p.text = text;
	write_page(out, &p, head_only);
}

static const struct {
	const char *path;
	void (*write)(const struct ht_ctl_daemon *d, bool head_only, FILE *out);
} pages[] = {
	{"/", page_status},
	{"/metrics", page_metrics},
	{"/healthz", page_healthz},
};

/* A method, a path without its query, and the 1 or 0 of HTTP/1.x; all point into the head. */
struct request_line {
	struct ht_str method, path;
	char minor;
};

static bool request_line_parse(const char *head, struct request_line *ret)
{
	size_t method = strspn(head, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
	const char *target = head + method + 1, *version;

	if (!method || head[method] != ' ' || *target != '/')
		return false;
	version = target + strcspn(target, " \t\r\n");
	if (strncmp(version, " HTTP/1.", 8) || !version[8] || strncmp(version + 9, "\r\n", 2))
		return false;
	ret->method = (struct ht_str){head, method};
	ret->path = (struct ht_str){target, strcspn(target, "? ")};
	ret->minor = version[8];
	return ret->minor == '0' || ret->minor == '1';
}

void ht_ctl_http(const struct ht_ctl_daemon *d, const char *head, FILE *out)
{
	struct request_line r;
	bool head_only;

	/* RFC 9112, 3.2: a 1.1 request without Host is malformed. */
	if (!request_line_parse(head, &r) || (r.minor == '1' && !strcasestr(head, "\r\nhost:"))) {
		ht_ctl_http_error(400, out);
		return;
	}
	head_only = ht_str_eq(r.method, HT_STR("HEAD"));
	for (size_t i = 0; i < HT_ARRAY_SIZE(pages); i++) {
		if (!ht_str_eq(r.path, HT_STR(pages[i].path)))
			continue;
		if (head_only || ht_str_eq(r.method, HT_STR("GET")))
			pages[i].write(d, head_only, out);
		else
			ht_ctl_http_error(405, out);
		return;
	}
	write_short_page(out, 404, "404 Not Found\n", head_only);
}
