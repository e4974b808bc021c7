/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics of signing keys: what they are, how old, and how their stores do. Labels are names of
 * keys; no secret and no id of one is among them.
 */
#include <inttypes.h>

#include "stats_keys.h"

static void header(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void label(FILE *f, const char *value)
{
	fputs("{key=\"", f);
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			fputc('\\', f);
		fputc(*value, f);
	}
	fputs("\"", f);
}

static void sample(FILE *f, const char *name, const struct ht_stats_key *k, const char *reason,
		   uint64_t value)
{
	fputs(name, f);
	label(f, k->key->name);
	if (reason)
		fprintf(f, ",reason=\"%s\"", reason);
	fprintf(f, "} %" PRIu64 "\n", value);
}

static void write_ages(FILE *f, const struct ht_stats_global *g)
{
	const char *name = "hardtack_key_age_seconds";

	header(f, name, "gauge", "Since the secret that signs was born.");
	for (size_t i = 0; i < g->nkeys; i++) {
		const struct ht_key *key = g->keys[i].key;
		uint64_t born_s = key->nsecrets ? key->secrets[0].born_s : 0;

		if (born_s)
			sample(f, name, &g->keys[i], NULL,
			       g->now_s > born_s ? g->now_s - born_s : 0);
	}
}

static void write_store(FILE *f, const struct ht_stats_global *g)
{
	static const struct {
		const char *reason;
		size_t offset;
	} troubles[] = {
		{"unreachable", offsetof(struct ht_stats_key, polls_failed)},
		{"garbage", offsetof(struct ht_stats_key, garbage)},
		{"lease", offsetof(struct ht_stats_key, lease_busy)},
	};

	size_t stores = 0;

	for (size_t i = 0; i < g->nkeys; i++)
		stores += g->keys[i].store;
	if (!stores)
		return;
	header(f, "hardtack_key_store_polls_total", "counter",
	       "Times that the key's store has answered.");
	for (size_t i = 0; i < g->nkeys; i++)
		if (g->keys[i].store)
			sample(f, "hardtack_key_store_polls_total", &g->keys[i], NULL,
			       g->keys[i].polls);
	header(f, "hardtack_key_store_failures_total", "counter",
	       "Times that it has not, values in it that nobody understands, and times that "
	       "another node was writing.");
	for (size_t i = 0; i < g->nkeys; i++)
		for (size_t t = 0; g->keys[i].store && t < HT_ARRAY_SIZE(troubles); t++)
			sample(f, "hardtack_key_store_failures_total", &g->keys[i],
			       troubles[t].reason,
			       *(const uint64_t *)((const char *)&g->keys[i] + troubles[t].offset));
	header(f, "hardtack_key_store_last_answer_seconds", "gauge",
	       "Unix time of the last answer of the key's store, 0 if there was none.");
	for (size_t i = 0; i < g->nkeys; i++)
		if (g->keys[i].store)
			sample(f, "hardtack_key_store_last_answer_seconds", &g->keys[i], NULL,
			       g->keys[i].last_poll_s);
}

void ht_stats_write_keys(FILE *f, const struct ht_stats_global *g)
{
	static const struct {
		const char *name, *help;
		size_t offset;
	} counters[] = {
		{"hardtack_key_rotations_total", "Times that another secret began to sign.",
		 offsetof(struct ht_stats_key, rotations)},
		{"hardtack_key_revocations_total", "Times that the key was revoked here.",
		 offsetof(struct ht_stats_key, revocations)},
		{"hardtack_key_failures_total",
		 "Rotations that failed, and secrets that could not be written.",
		 offsetof(struct ht_stats_key, failures)},
	};

	if (!g->nkeys)
		return;
	header(f, "hardtack_key_secrets", "gauge", "Secrets of the key that verify.");
	for (size_t i = 0; i < g->nkeys; i++)
		sample(f, "hardtack_key_secrets", &g->keys[i], NULL, g->keys[i].key->nsecrets);
	write_ages(f, g);
	for (size_t c = 0; c < HT_ARRAY_SIZE(counters); c++) {
		header(f, counters[c].name, "counter", counters[c].help);
		for (size_t i = 0; i < g->nkeys; i++)
			sample(f, counters[c].name, &g->keys[i], NULL,
			       *(const uint64_t *)((const char *)&g->keys[i] + counters[c].offset));
	}
	write_store(f, g);
}
