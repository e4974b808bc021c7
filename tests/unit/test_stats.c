/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics' text: names, labels and sums by the contract, and a small checker of the exposition
 * format 0.0.4 over everything that is written.
 */
#include <criterion/criterion.h>

#include <ctype.h>

#include "stats.h"

struct fixture {
	struct ht_stats *workers[3];
	struct ht_stats_global global;
	char *text;
	size_t len;
};

static void setup(struct fixture *f, size_t nworkers)
{
	memset(f, 0, sizeof(*f));
	for (size_t i = 0; i < nworkers; i++)
		cr_assert(f->workers[i] = calloc(1, sizeof(*f->workers[i])));
	f->global.nlisteners = 2;
	f->global.listeners[0] = "0.0.0.0:443";
	f->global.listeners[1] = "a\\b\"c\nd";
}

static void write_text(struct fixture *f, size_t nworkers)
{
	free(f->text);
	f->text = ht_stats_prometheus((const struct ht_stats *const *)f->workers, nworkers,
				      &f->global, &f->len);
	cr_assert_not_null(f->text);
	cr_assert_eq(strlen(f->text), f->len);
}

static void teardown(struct fixture *f)
{
	free(f->text);
	for (size_t i = 0; i < HT_ARRAY_SIZE(f->workers); i++)
		free(f->workers[i]);
}

/* The line is there as a whole. */
static bool has_line(const struct fixture *f, const char *line)
{
	size_t len = strlen(line);

	for (const char *p = f->text; (p = strstr(p, line)); p += len)
		if ((p == f->text || p[-1] == '\n') && p[len] == '\n')
			return true;
	return false;
}

#define expect_line(f, line) cr_expect(has_line(f, line), "no line \"%s\"", line)
#define expect_none(f, part) cr_expect_null(strstr((f)->text, part), "there is \"%s\"", part)

/* ---- the checker ---- */

static bool name_char(char c, bool first)
{
	return isalpha((unsigned char)c) || c == '_' || (!first && isdigit((unsigned char)c));
}

static const char *skip_name(const char *p)
{
	const char *start = p;

	while (name_char(*p, p == start))
		p++;
	return p == start ? NULL : p;
}

/* {name="value",...}; returns what follows, or NULL. */
static const char *skip_labels(const char *p)
{
	if (*p != '{')
		return p;
	do {
		p = skip_name(p + 1);
		if (!p || p[0] != '=' || p[1] != '"')
			return NULL;
		for (p += 2; *p != '"'; p++) {
			if (*p == '\\' && *++p != '\\' && *p != '"' && *p != 'n')
				return NULL;
			if (!*p || *p == '\n')
				return NULL;
		}
		p++;
	} while (*p == ',');
	return *p == '}' ? p + 1 : NULL;
}

static bool ends_with(const char *s, const char *end)
{
	size_t a = strlen(s), b = strlen(end);

	return a >= b && !strcmp(s + a - b, end);
}

struct checker {
	char name[128], type[16]; /* of the family that we are in */
	char families[64][128];
	size_t nfamilies, nsamples;
};

/* # HELP NAME TEXT, then # TYPE NAME TYPE, once for each family. */
static const char *check_comment(struct checker *c, const char *line)
{
	char name[128], type[16];

	if (sscanf(line, "# HELP %127[a-z_] %*[^\n]", name) == 1) {
		for (size_t i = 0; i < c->nfamilies; i++)
			if (!strcmp(c->families[i], name))
				return "a family twice";
		if (c->nfamilies == HT_ARRAY_SIZE(c->families))
			return "too many families for this checker";
		strcpy(c->families[c->nfamilies++], name);
		strcpy(c->name, name);
		c->type[0] = '\0';
		return NULL;
	}
	if (sscanf(line, "# TYPE %127[a-z_] %15[a-z]", name, type) != 2 || strcmp(name, c->name))
		return "a TYPE without its HELP";
	if (strcmp(type, "counter") && strcmp(type, "gauge"))
		return "a TYPE that we don't use";
	if (ends_with(name, "_total") != !strcmp(type, "counter"))
		return "counters end in _total, gauges don't";
	strcpy(c->type, type);
	return NULL;
}

static const char *check_sample(struct checker *c, const char *line)
{
	const char *p = skip_name(line);
	char *end;

	if (!p || (size_t)(p - line) != strlen(c->name) ||
	    memcmp(line, c->name, (size_t)(p - line)))
		return "a sample outside its family";
	if (!c->type[0])
		return "a sample without a TYPE";
	if (strncmp(c->name, "hardtack_", 9))
		return "a name that isn't ours";
	p = skip_labels(p);
	if (!p || *p != ' ')
		return "malformed labels";
	strtod(p + 1, &end);
	if (end == p + 1 || *end)
		return "a malformed value";
	c->nsamples++;
	return NULL;
}

/* What is wrong with the text, or NULL; *ret_line is the line. */
static const char *check_text(const char *text, struct checker *c, char *ret_line, size_t cap)
{
	const char *lines[8192];
	const char *wrong = NULL;
	char *copy = strdup(text), *p = copy;
	size_t n = 0;

	memset(c, 0, sizeof(*c));
	ret_line[0] = '\0';
	if (!*text || text[strlen(text) - 1] != '\n')
		wrong = "no line feed at the end";
	for (char *line; !wrong && (line = strsep(&p, "\n")) && p;) {
		wrong = line[0] == '#' ? check_comment(c, line) : check_sample(c, line);
		snprintf(ret_line, cap, "%s", line);
		/* One series must not come twice. */
		for (size_t i = 0; !wrong && line[0] != '#' && i < n; i++)
			if (!strncmp(lines[i], line, strcspn(line, " ") + 1))
				wrong = "a series twice";
		if (n < HT_ARRAY_SIZE(lines))
			lines[n++] = line;
	}
	free(copy);
	return wrong;
}

Test(stats, the_checker_finds_mistakes)
{
	static const struct {
		const char *name, *text;
	} rows[] = {
		{"no end", "# HELP hardtack_a A.\n# TYPE hardtack_a gauge\nhardtack_a 1"},
		{"no type", "# HELP hardtack_a A.\nhardtack_a 1\n"},
		{"another family", "# HELP hardtack_a A.\n# TYPE hardtack_a gauge\nhardtack_b 1\n"},
		{"suffix", "# HELP hardtack_a A.\n# TYPE hardtack_a counter\nhardtack_a 1\n"},
		{"twice", "# HELP hardtack_a A.\n# TYPE hardtack_a gauge\n"
			  "hardtack_a{b=\"c\"} 1\nhardtack_a{b=\"c\"} 1\n"},
		{"label", "# HELP hardtack_a A.\n# TYPE hardtack_a gauge\nhardtack_a{b=\"c} 1\n"},
		{"escape",
		 "# HELP hardtack_a A.\n# TYPE hardtack_a gauge\nhardtack_a{b=\"\\x\"} 1\n"},
		{"value", "# HELP hardtack_a A.\n# TYPE hardtack_a gauge\nhardtack_a one\n"},
	};
	struct checker c;
	char line[256];

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++)
		cr_expect_not_null(check_text(rows[i].text, &c, line, sizeof(line)), "%s",
				   rows[i].name);
	cr_expect_null(check_text("# HELP hardtack_a A.\n# TYPE hardtack_a gauge\n"
				  "hardtack_a{b=\"\\\\\\\"\\n\",c=\"\"} 1.5\n",
				  &c, line, sizeof(line)),
		       "a right one");
}

/* ---- the text ---- */

Test(stats, text_is_well_formed)
{
	struct checker c;
	struct fixture f;
	char line[256];
	const char *wrong;

	setup(&f, 3);
	/* Everything that can be written, in every worker. */
	for (size_t w = 0; w < 3; w++) {
		_Atomic uint64_t *words = (_Atomic uint64_t *)f.workers[w];

		for (size_t i = 0; i < sizeof(struct ht_stats) / sizeof(*words); i++)
			words[i] = i;
	}
	f.global.gate_on = f.global.bpf_stats = true;
	write_text(&f, 3);
	wrong = check_text(f.text, &c, line, sizeof(line));
	cr_expect_null(wrong, "%s: %s", wrong, line);
	cr_expect_gt(c.nsamples, 2 * (HT_STATS_CODES - 1), "%zu samples", c.nsamples);
	teardown(&f);
}

Test(stats, without_workers_zeros_are_well_formed)
{
	struct checker c;
	struct fixture f;
	char line[256];
	const char *wrong;

	setup(&f, 0);
	write_text(&f, 0);
	wrong = check_text(f.text, &c, line, sizeof(line));
	cr_expect_null(wrong, "%s: %s", wrong, line);
	expect_none(&f, "hardtack_requests_total{");
	expect_line(&f,
		    "hardtack_verdicts_total{where=\"kernel\",verdict=\"hit\",action=\"pass\"} 0");
	expect_line(
		&f,
		"hardtack_verdicts_total{where=\"user\",verdict=\"unbound\",action=\"grace\"} 0");
	expect_line(&f, "hardtack_guard_dropped_total 0");
	teardown(&f);
}

Test(stats, workers_add_up)
{
	struct fixture f;

	setup(&f, 3);
	for (size_t w = 0; w < 3; w++) {
		struct ht_stats *s = f.workers[w];

		ht_stats_inc(s->requests[0][200], 5);
		ht_stats_inc(s->verdicts[HT_WHERE_KERNEL][HT_COOKIE_HIT][HT_ACTION_PASS], 1);
		ht_stats_inc(s->verdicts[HT_WHERE_USER][HT_COOKIE_FORGED][HT_ACTION_STRIP], 2);
		ht_stats_inc(s->signed_cookies[HT_PROFILE_F5_IRULE], 3);
		ht_stats_inc(s->tls[1][0][1], 4);
		ht_stats_inc(s->bytes_out, 1ull << 40);
	}
	/* A gauge may be negative in one worker, never in their sum. */
	ht_stats_inc(f.workers[0]->connections[HT_SIDE_BACKEND][HT_CONN_IDLE], 7);
	ht_stats_inc(f.workers[1]->connections[HT_SIDE_BACKEND][HT_CONN_IDLE], -2);
	ht_stats_inc(f.workers[2]->requests[0][404], 1);
	write_text(&f, 3);

	expect_line(&f, "hardtack_requests_total{listener=\"0.0.0.0:443\",code=\"200\"} 15");
	expect_line(&f, "hardtack_requests_total{listener=\"0.0.0.0:443\",code=\"404\"} 1");
	expect_line(&f,
		    "hardtack_verdicts_total{where=\"kernel\",verdict=\"hit\",action=\"pass\"} 3");
	expect_line(
		&f,
		"hardtack_verdicts_total{where=\"user\",verdict=\"forged\",action=\"strip\"} 6");
	expect_line(&f, "hardtack_cookies_signed_total{profile=\"f5-irule\"} 9");
	expect_line(&f, "hardtack_cookies_signed_total{profile=\"native\"} 0");
	expect_line(&f, "hardtack_tls_connections_total{version=\"1.3\",ktls_tx=\"off\",ktls_rx="
			"\"on\"} 12");
	expect_line(&f, "hardtack_connections{side=\"backend\",state=\"idle\"} 5");
	expect_line(&f, "hardtack_connections{side=\"client\",state=\"active\"} 0");
	expect_line(&f, "hardtack_sent_bytes_total 3298534883328");
	teardown(&f);
}

Test(stats, who_was_turned_away_at_the_edge)
{
	struct fixture f;

	setup(&f, 1);
	ht_stats_inc(f.workers[0]->proxy_untrusted, 2);
	ht_stats_inc(f.workers[0]->proxy_malformed, 3);
	ht_stats_inc(f.workers[0]->exempt, 4);
	write_text(&f, 1);
	expect_line(&f, "hardtack_proxy_refused_total{reason=\"untrusted\"} 2");
	expect_line(&f, "hardtack_proxy_refused_total{reason=\"malformed\"} 3");
	expect_line(&f, "hardtack_exempt_requests_total 4");
	teardown(&f);
}

Test(stats, codes_that_never_came_are_left_out)
{
	struct fixture f;

	setup(&f, 1);
	ht_stats_inc(f.workers[0]->requests[0][200], 1);
	write_text(&f, 1);
	expect_none(&f, "code=\"201\"");
	expect_none(&f, "code=\"000\"");
	teardown(&f);
}

Test(stats, label_values_are_escaped)
{
	struct fixture f;

	setup(&f, 1);
	ht_stats_inc(f.workers[0]->requests[1][200], 1);
	write_text(&f, 1);
	expect_line(&f, "hardtack_requests_total{listener=\"a\\\\b\\\"c\\nd\",code=\"200\"} 1");
	teardown(&f);
}

Test(stats, every_reason_of_a_refusal_has_its_series)
{
	struct fixture f;
	size_t n = 0;

	setup(&f, 1);
	ht_stats_inc(f.workers[0]->refused[HT_REASON_COOKIES], 3);
	write_text(&f, 1);
	for (const char *p = f.text; (p = strstr(p, "\nhardtack_gate_refused_total{")); p++)
		n++;
	cr_expect_eq(n, HT_REASON_MAX - 1, "%zu", n);
	cr_expect_not_null(strstr(f.text, "\"} 3\n"));
	teardown(&f);
}

Test(stats, tokens)
{
	struct fixture f;

	setup(&f, 0);
	f.global.tokens_live = 1;
	f.global.tokens_evicted = 2;
	f.global.tokens_flushed = 3;
	f.global.sealed_live = 4;
	f.global.sealed_evicted = 5;
	f.global.sealed_flushed = 6;
	write_text(&f, 0);
	expect_line(&f, "hardtack_tokens{state=\"live\"} 1");
	expect_line(&f, "hardtack_tokens{state=\"evicted\"} 2");
	expect_line(&f, "hardtack_tokens{state=\"flushed\"} 3");
	expect_line(&f, "hardtack_sealed{state=\"live\"} 4");
	expect_line(&f, "hardtack_sealed{state=\"evicted\"} 5");
	expect_line(&f, "hardtack_sealed{state=\"flushed\"} 6");
	teardown(&f);
}

Test(stats, the_gates_own_counters_only_while_it_is_on)
{
	struct fixture f;

	setup(&f, 0);
	f.global.gate_counters[HT_COUNT_HIT] = 11;
	f.global.gate_counters[HT_COUNT_MEMO] = 12;
	write_text(&f, 0);
	expect_line(&f, "hardtack_gate_on 0");
	expect_none(&f, "hardtack_gate_cookies_total");
	f.global.gate_on = true;
	write_text(&f, 0);
	expect_line(&f, "hardtack_gate_on 1");
	expect_line(&f, "hardtack_gate_cookies_total{result=\"hit\"} 11");
	expect_line(&f, "hardtack_gate_memo_hits_total 12");
	teardown(&f);
}

Test(stats, run_time_only_with_the_kernels_statistics)
{
	struct fixture f;

	setup(&f, 0);
	f.global.gate_on = true;
	f.global.gate_run_seconds = 1.25;
	f.global.gate_runs = 1000;
	write_text(&f, 0);
	expect_none(&f, "hardtack_gate_run");
	f.global.bpf_stats = true;
	write_text(&f, 0);
	expect_line(&f, "hardtack_gate_run_seconds_total 1.250000000");
	expect_line(&f, "hardtack_gate_runs_total 1000");
	teardown(&f);
}

Test(stats, keys)
{
	static const struct ht_secret secrets[2] = {{.born_s = 1000}, {.born_s = 500}};
	static const struct ht_key shop = {.name = "sh\"op", .nsecrets = 2, .secrets = secrets},
				   unborn = {.name = "b", .nsecrets = 1, .secrets = secrets};
	const struct ht_stats_key keys[] = {
		{.key = &shop, .source = "file", .rotations = 4, .revocations = 1, .failures = 2},
		{.key = &unborn,
		 .source = "memcached",
		 .store = true,
		 .polls = 7,
		 .polls_failed = 3,
		 .garbage = 2,
		 .lease_busy = 1,
		 .last_poll_s = 1234},
	};
	static const char *const lines[] = {
		"hardtack_key_secrets{key=\"sh\\\"op\"} 2\n",
		"hardtack_key_age_seconds{key=\"sh\\\"op\"} 100\n",
		"hardtack_key_rotations_total{key=\"sh\\\"op\"} 4\n",
		"hardtack_key_revocations_total{key=\"sh\\\"op\"} 1\n",
		"hardtack_key_failures_total{key=\"sh\\\"op\"} 2\n",
		"hardtack_key_store_polls_total{key=\"b\"} 7\n",
		"hardtack_key_store_failures_total{key=\"b\",reason=\"unreachable\"} 3\n",
		"hardtack_key_store_failures_total{key=\"b\",reason=\"garbage\"} 2\n",
		"hardtack_key_store_failures_total{key=\"b\",reason=\"lease\"} 1\n",
		"hardtack_key_store_last_answer_seconds{key=\"b\"} 1234\n",
	};
	struct ht_stats_global g = {.keys = keys, .nkeys = 2, .now_s = 1100};
	size_t len;
	char *text = ht_stats_prometheus(NULL, 0, &g, &len);

	cr_assert(text);
	for (size_t i = 0; i < HT_ARRAY_SIZE(lines); i++)
		cr_expect(strstr(text, lines[i]), "%s", lines[i]);
	cr_expect_not(strstr(text, "store_polls_total{key=\"sh"));
	free(text);
	g.now_s = 900; /* a clock that went back */
	text = ht_stats_prometheus(NULL, 0, &g, &len);
	cr_expect(strstr(text, "hardtack_key_age_seconds{key=\"b\"} 0\n"));
	free(text);
	g.nkeys = 1;
	text = ht_stats_prometheus(NULL, 0, &g, &len);
	cr_expect_not(strstr(text, "hardtack_key_store"));
	free(text);
}
