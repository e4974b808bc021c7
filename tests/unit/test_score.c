/* SPDX-License-Identifier: Apache-2.0 */
/* Scoring of sources, with a clock that is passed in. */
#include <criterion/criterion.h>

#include "score.h"

#define PER 600000 /* ms */
#define T0 1000000

static const struct ht_score_params usual = {
	.sources = 1024, .forged = 5, .per_ms = PER, .keys = {{11, 22}, {0}}};

static struct ht_score *make(const struct ht_score_params *p)
{
	struct ht_score *s = NULL;

	cr_assert_eq(ht_score_new(p, &s), 0);
	return s;
}

static struct ht_source_key source(uint32_t n)
{
	struct ht_source_key k = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}};

	memcpy(k.addr + 12, &n, sizeof(n));
	return k;
}

/* One forged cookie after the other: {print, time} and what the count is then. */
static const struct step {
	uint64_t print, at_ms;
	uint32_t want;
} same_cookie[] = {{7, T0, 1}, {7, T0 + 1, 1}, {7, T0 + PER - 1, 1}, {7, T0 + 3 * PER, 1}, {0}},
  distinct[] = {{1, T0, 1}, {2, T0, 2}, {3, T0, 3}, {4, T0, 4}, {5, T0, 5}, {0}},
  anew_after[] = {{1, T0, 1}, {2, T0, 2}, {3, T0, 3}, {4, T0, 4}, {5, T0, 5}, {6, T0, 1}, {0}},
  mixed[] = {{1, T0, 1}, {2, T0, 2}, {1, T0, 2}, {2, T0, 2}, {3, T0, 3}, {1, T0, 3}, {0}},
  window[] = {{1, T0, 1},
	      {2, T0 + 10, 2},
	      {3, T0 + PER - 1, 3},
	      {4, T0 + PER, 3}, /* the first one is over */
	      {5, T0 + PER + 10, 3},
	      {0}},
  seen_again[] = {{1, T0, 1}, {1, T0 + PER - 1, 1}, {2, T0 + PER, 2}, {0}},
  clock_back[] = {{1, T0, 1}, {2, T0 - 50, 2}, {3, 0, 3}, {0}}, zero_print[] = {{0, T0, 1}, {0}};

static const struct {
	const char *name;
	const struct step *steps;
} runs[] = {
	{"one cookie is one, however often it comes", same_cookie},
	{"different ones add up", distinct},
	{"an offender begins anew", anew_after},
	{"coming again adds nothing", mixed},
	{"what is older than the window does not count", window},
	{"coming again keeps it in the window", seen_again},
	{"a clock that goes back forgets nothing", clock_back},
};

Test(score, counts_different_cookies_in_a_window)
{
	for (size_t r = 0; r < HT_ARRAY_SIZE(runs); r++) {
		struct ht_score *s = make(&usual);
		const struct ht_source_key k = source(1);

		for (size_t i = 0; runs[r].steps[i].want; i++) {
			const struct step *step = &runs[r].steps[i];
			uint32_t n = ht_score_add(s, &k, step->print, step->at_ms);

			cr_expect_eq(n, step->want, "%s, step %zu: %u", runs[r].name, i, n);
		}
		ht_score_free(s);
	}
}

/* No value of the hash is special. */
Test(score, a_print_of_zero_counts)
{
	struct ht_score *s = make(&usual);
	const struct ht_source_key k = source(1);

	cr_expect_eq(ht_score_add(s, &k, zero_print[0].print, T0), 1);
	cr_expect_eq(ht_score_add(s, &k, 0, T0), 1);
	cr_expect_eq(ht_score_add(s, &k, 1, T0), 2);
	ht_score_free(s);
}

Test(score, sources_do_not_share)
{
	struct ht_score *s = make(&usual);

	for (uint32_t i = 1; i <= 300; i++) {
		const struct ht_source_key k = source(i);

		cr_expect_eq(ht_score_add(s, &k, 1, T0), 1, "source %u", i);
		cr_expect_eq(ht_score_add(s, &k, 2, T0), 2, "source %u", i);
	}
	cr_expect_eq(ht_score_evicted(s), 0);
	ht_score_free(s);
}

Test(score, memory_is_bounded_and_what_is_forgotten_is_counted)
{
	const struct ht_score_params small = {
		.sources = 8, .forged = 3, .per_ms = PER, .keys = {{1, 2}, {0}}};
	struct ht_score *s = make(&small);
	const size_t bytes = ht_score_bytes(s);
	const struct ht_source_key busy = source(9999);

	for (uint32_t i = 0; i < 10000; i++) {
		const struct ht_source_key k = source(i);

		/* whoever goes on is not the one that is forgotten */
		cr_expect_leq(ht_score_add(s, &busy, 1, T0 + i), 1);
		ht_score_add(s, &k, 1, T0 + i);
	}
	cr_expect_eq(ht_score_bytes(s), bytes);
	cr_expect_eq(ht_score_evicted(s), 10000 - 8);
	cr_expect_eq(ht_score_add(s, &busy, 2, T0 + 10000), 2);
	ht_score_free(s);
}

/* Forgetting whom nothing counts against any more is no loss. */
Test(score, old_places_go_without_being_counted)
{
	const struct ht_score_params small = {
		.sources = 8, .forged = 3, .per_ms = PER, .keys = {{1, 2}, {0}}};
	struct ht_score *s = make(&small);

	for (uint32_t i = 0; i < 8; i++) {
		const struct ht_source_key k = source(i);

		ht_score_add(s, &k, 1, T0);
	}
	for (uint32_t i = 100; i < 108; i++) {
		const struct ht_source_key k = source(i);

		ht_score_add(s, &k, 1, T0 + PER);
	}
	cr_expect_eq(ht_score_evicted(s), 0);
	ht_score_free(s);
}

Test(score, one_is_enough_if_one_is_configured)
{
	const struct ht_score_params strict = {
		.sources = 8, .forged = 1, .per_ms = 1, .keys = {{1, 2}, {0}}};
	struct ht_score *s = make(&strict);
	const struct ht_source_key k = source(1);

	cr_expect_eq(ht_score_add(s, &k, 5, T0), 1);
	cr_expect_eq(ht_score_add(s, &k, 5, T0), 1);
	ht_score_free(s);
}

Test(score, parameters_that_make_no_sense)
{
	struct ht_score *s = NULL;
	struct ht_score_params p = usual;

	p.forged = 0;
	cr_expect_eq(ht_score_new(&p, &s), -EINVAL);
	p.forged = HT_SCORE_FORGED_MAX + 1;
	cr_expect_eq(ht_score_new(&p, &s), -EINVAL);
	p = usual;
	p.per_ms = 0;
	cr_expect_eq(ht_score_new(&p, &s), -EINVAL);
	p = usual;
	p.sources = 0;
	cr_expect_eq(ht_score_new(&p, &s), -EINVAL);
	cr_expect_null(s);
}
