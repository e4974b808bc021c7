/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One key over time, by clocks of the test's own: who signs, who still verifies, what is void, and
 * that nodes which hear the same things in another order hold the same ring.
 */
#include <criterion/criterion.h>

#include "ring.h"

#define HOURS 3600ull
#define T0 1700000000ull

static const struct ht_ring_times day = {24 * HOURS, 48 * HOURS};

static struct ht_ring_secret secret(char c, uint64_t born_s)
{
	uint8_t chance[HT_RING_FRESH_BYTES];
	struct ht_ring_secret s;

	memset(chance, c, sizeof(chance));
	ht_ring_fresh(chance, born_s, &s);
	return s;
}

static void add(struct ht_ring *r, char c, uint64_t born_s)
{
	struct ht_ring_secret s = secret(c, born_s);

	ht_ring_add(r, &s);
}

static void set_next(struct ht_ring *r, char c, uint64_t born_s)
{
	struct ht_ring_secret s = secret(c, born_s);

	ht_ring_set_next(r, &s);
}

static bool rotate(struct ht_ring *r, uint64_t now_s, bool ahead, char c)
{
	struct ht_ring_secret s = secret(c, now_s);

	return ht_ring_rotate(r, now_s, ahead, &s);
}

static char letter(const struct ht_ring_secret *s)
{
	for (char c = 'a'; c <= 'z'; c++) {
		struct ht_ring_secret other = secret(c, 0);

		if (!strcmp(other.id, s->id))
			return c;
	}
	return '?';
}

/* "cba+d": newest first, and the next one. */
static void expect(const struct ht_ring *r, const char *want, const char *what)
{
	char got[HT_RING_MAX + 3] = "";
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		got[n++] = letter(&r->secret[i]);
	if (r->has_next) {
		got[n++] = '+';
		got[n++] = letter(&r->next);
	}
	got[n] = 0;
	cr_expect_str_eq(got, want, "%s: %s, not %s", what, got, want);
}

static struct ht_ring *ring(void)
{
	struct ht_ring *r = ht_ring_new();

	cr_assert(r);
	return r;
}

Test(ring, a_fresh_secret_is_the_seeds)
{
	struct ht_ring_secret s;
	uint8_t chance[HT_RING_FRESH_BYTES];

	for (size_t i = 0; i < sizeof(chance); i++)
		chance[i] = (uint8_t)i;
	ht_ring_fresh(chance, T0, &s);
	cr_assert_eq(s.len, 88);
	cr_expect(!memcmp(s.bytes,
			  "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKiss"
			  "LS4vMDEyMzQ1Njc4OTo7PD0+Pw==",
			  88));
	cr_expect_eq(strlen(s.id), HT_SECRET_ID_LEN);
	cr_expect_eq(s.born_s, T0);
}

Test(ring, lengths)
{
	struct ht_ring_secret s;
	char long_one[HT_RING_SECRET_MAX + 1] = "";

	cr_expect_eq(ht_ring_secret_make("", 0, 1, &s), -EINVAL);
	cr_expect_eq(ht_ring_secret_make(long_one, sizeof(long_one), 1, &s), -EINVAL);
	cr_expect_eq(ht_ring_secret_make(long_one, sizeof(long_one) - 1, 1, &s), 0);
}

Test(ring, newest_first_in_whatever_order_they_come)
{
	static const char *const orders[] = {"abc", "acb", "bac", "bca", "cab", "cba", "cabcabc"};

	for (size_t i = 0; i < HT_ARRAY_SIZE(orders); i++) {
		struct ht_ring *r = ring();

		for (const char *c = orders[i]; *c; c++)
			add(r, *c, T0 + (uint64_t)(*c - 'a') * 10);
		expect(r, "cba", orders[i]);
		ht_ring_free(r);
	}
}

/* Two nodes that rotate in the same second must not disagree for ever. */
Test(ring, born_in_the_same_second)
{
	struct ht_ring *one = ring(), *two = ring();

	add(one, 'a', T0);
	add(one, 'b', T0);
	add(two, 'b', T0);
	add(two, 'a', T0);
	cr_expect(ht_ring_same(one, two));
	ht_ring_free(one);
	ht_ring_free(two);
}

Test(ring, a_later_birth_counts_an_earlier_one_does_not)
{
	struct ht_ring *r = ring();

	add(r, 'a', T0);
	add(r, 'b', T0 + 10);
	add(r, 'a', T0 + 20);
	expect(r, "ab", "it began to sign again");
	add(r, 'a', T0 + 5);
	expect(r, "ab", "an old tale");
	ht_ring_free(r);
}

Test(ring, the_oldest_makes_room)
{
	struct ht_ring *r = ring();

	for (int i = 0; i < HT_RING_MAX + 2; i++)
		add(r, (char)('a' + i), T0 + (uint64_t)i);
	cr_expect_eq(r->n, HT_RING_MAX);
	cr_expect_eq(letter(&r->secret[0]), 'a' + HT_RING_MAX + 1);
	cr_expect_eq(letter(&r->secret[HT_RING_MAX - 1]), 'c');
	add(r, 'a', T0);
	cr_expect_eq(letter(&r->secret[HT_RING_MAX - 1]), 'c', "older than all");
	ht_ring_free(r);
}

Test(ring, retires_a_lifetime_after_the_next_began)
{
	struct ht_ring *r = ring();

	add(r, 'a', T0);
	add(r, 'b', T0 + 24 * HOURS);
	add(r, 'c', T0 + 48 * HOURS);
	cr_expect_eq(ht_ring_retires_s(r, 0, &day), 0, "who signs has no end");
	cr_expect_eq(ht_ring_retires_s(r, 1, &day), T0 + 96 * HOURS);
	cr_expect_eq(ht_ring_retires_s(r, 2, &day), T0 + 72 * HOURS);
	ht_ring_retire(r, &day, T0 + 72 * HOURS - 1);
	expect(r, "cba", "a second early");
	ht_ring_retire(r, &day, T0 + 72 * HOURS);
	expect(r, "cb", "at its time");
	ht_ring_retire(r, &day, T0 + 10000 * HOURS);
	expect(r, "c", "who signs stays");
	ht_ring_free(r);
}

Test(ring, due_when_its_time_has_come)
{
	static const struct ht_ring_times by_hand = {0, 48 * HOURS};
	struct ht_ring *r = ring();

	cr_expect(ht_ring_due(r, &by_hand, T0), "there is none");
	add(r, 'a', T0);
	cr_expect_not(ht_ring_due(r, &day, T0 + 24 * HOURS - 1));
	cr_expect(ht_ring_due(r, &day, T0 + 24 * HOURS));
	cr_expect_not(ht_ring_due(r, &by_hand, T0 + 9000 * HOURS));
	cr_expect_not(ht_ring_due(r, &day, T0 - 9000 * HOURS), "the clock went back");
	cr_expect_eq(ht_ring_event_s(r, &day), T0 + 24 * HOURS);
	cr_expect_eq(ht_ring_event_s(r, &by_hand), 0);
	add(r, 'b', T0 + 30 * HOURS);
	cr_expect_eq(ht_ring_event_s(r, &by_hand), T0 + 78 * HOURS);
	cr_expect_eq(ht_ring_event_s(r, &day), T0 + 54 * HOURS);
	ht_ring_free(r);
}

Test(ring, rotation_without_a_next_one)
{
	struct ht_ring *r = ring();

	cr_expect(rotate(r, T0, false, 'a'));
	cr_expect(rotate(r, T0, false, 'b'));
	expect(r, "ba", "in the same second");
	cr_expect_eq(r->secret[0].born_s, T0 + 1);
	rotate(r, T0 - 50 * HOURS, false, 'c');
	expect(r, "cba", "the clock went back: the newest still signs");
	ht_ring_free(r);
}

Test(ring, rotation_ahead)
{
	struct ht_ring *r = ring();

	cr_expect(rotate(r, T0, true, 'a'));
	expect(r, "a", "nothing was next");
	set_next(r, 'b', T0);
	cr_expect(rotate(r, T0 + 24 * HOURS, true, 'c'));
	expect(r, "ba+c", "the next one signs, a fresh one is next");
	cr_expect_eq(r->secret[0].born_s, T0 + 24 * HOURS, "it is born when it begins to sign");
	cr_expect_not(rotate(r, T0 + 48 * HOURS, false, 'd'));
	expect(r, "cba", "the fresh one was not needed");
	ht_ring_free(r);
}

Test(ring, who_signs_is_no_longer_next)
{
	struct ht_ring *r = ring();

	add(r, 'a', T0);
	set_next(r, 'b', T0);
	expect(r, "a+b", "");
	add(r, 'b', T0 + 24 * HOURS);
	expect(r, "ba", "another node rotated");
	set_next(r, 'b', T0);
	set_next(r, 'a', T0);
	expect(r, "ba", "neither is next any more");
	ht_ring_free(r);
}

Test(ring, revoked_is_all_and_for_good)
{
	struct ht_ring *r = ring(), *old = ring();
	struct ht_ring_secret fresh = secret('x', 0), next = secret('y', 0);

	add(r, 'a', T0);
	add(r, 'b', T0 + 30); /* by a clock that is ahead */
	set_next(r, 'c', T0 + 40);
	ht_ring_join(old, r);
	ht_ring_revoke(r, T0 + 10, &fresh, &next);
	expect(r, "x+y", "revoked");
	cr_expect_eq(r->void_before_s, T0 + 41);
	ht_ring_join(r, old);
	add(r, 'a', T0);
	set_next(r, 'c', T0 + 40);
	expect(r, "x+y", "who was away brings them back in vain");
	ht_ring_join(old, r);
	expect(old, "x+y", "and loses them himself");
	cr_expect(ht_ring_same(old, r));
	ht_ring_revoke(r, T0, &(struct ht_ring_secret){.len = 1, .bytes = "z", .id = "z"}, NULL);
	cr_expect_eq(r->n, 1);
	cr_expect_not(r->has_next);
	ht_ring_free(r);
	ht_ring_free(old);
}

/* What an exchange brings that began before a revocation, or that heard of one. */
Test(ring, what_a_copy_has_learned)
{
	struct ht_ring *r = ring(), *copy = ring();
	struct ht_ring_secret x = secret('x', 0), y = secret('y', 0);

	add(r, 'a', T0);
	*copy = *r;
	add(copy, 'b', T0 + 10);
	ht_ring_learn(r, copy);
	expect(r, "ba", "nobody revoked anything");
	*copy = *r;
	ht_ring_revoke(r, T0 + 20, &x, NULL);
	add(copy, 'c', T0 + 30);
	ht_ring_learn(r, copy);
	expect(r, "x", "whoever had c does not know of it");
	*copy = *r;
	add(r, 'd', T0 + 40);
	ht_ring_revoke(copy, T0 + 25, &y, NULL);
	ht_ring_learn(r, copy);
	expect(r, "y", "the copy knows better");
	cr_expect(ht_ring_same(r, copy));
	ht_ring_free(r);
	ht_ring_free(copy);
}

/* Whatever is heard in whatever order: the same in the end. */
Test(ring, joining_is_the_same_both_ways)
{
	for (unsigned seed = 0; seed < 200; seed++) {
		struct ht_ring *one = ring(), *two = ring(), *both = ring(), *back = ring();

		srand(seed);
		for (int i = 0; i < 8; i++)
			add(rand() % 2 ? one : two, (char)('a' + rand() % 10),
			    T0 + (uint64_t)(rand() % 20));
		if (rand() % 3 == 0)
			ht_ring_void(one, T0 + (uint64_t)(rand() % 20));
		ht_ring_join(both, one);
		ht_ring_join(both, two);
		ht_ring_join(back, two);
		ht_ring_join(back, one);
		cr_expect(ht_ring_same(both, back), "seed %u", seed);
		ht_ring_free(one);
		ht_ring_free(two);
		ht_ring_free(both);
		ht_ring_free(back);
	}
}

Test(ring, source)
{
	struct ht_ring *r = ring();
	struct ht_key_source s = {0};

	ht_ring_source(r, &day, "", &s);
	cr_expect(s.given && !s.n, "no file is to be read for it");
	add(r, 'a', T0);
	add(r, 'b', T0 + 10);
	set_next(r, 'c', T0 + 10);
	ht_ring_source(r, &day, "", &s);
	cr_assert_eq(s.n, 3);
	cr_expect_eq(s.secret[0].bytes, r->secret[0].bytes);
	cr_expect_eq(s.secret[0].born_s, T0 + 10);
	cr_expect_eq(s.secret[0].retire_s, 0);
	cr_expect_eq(s.secret[1].retire_s, T0 + 10 + 48 * HOURS);
	cr_expect(!s.secret[0].early && !s.secret[1].early && s.secret[2].early);

	ht_ring_source(r, &day, r->secret[0].id, &s);
	cr_assert_eq(s.n, 3);
	cr_expect_eq(s.secret[0].bytes, r->secret[1].bytes, "who is held does not sign");
	cr_expect_eq(s.secret[1].bytes, r->secret[0].bytes);
	cr_expect(!s.secret[0].early && s.secret[1].early && s.secret[2].early);
	cr_expect_eq(s.secret[0].retire_s, T0 + 10 + 48 * HOURS);
	ht_ring_source(r, &day, r->secret[1].id, &s);
	cr_expect_eq(s.secret[0].bytes, r->secret[0].bytes, "that was another time");
	ht_ring_retire(r, &day, T0 + 9000 * HOURS);
	ht_ring_source(r, &day, r->secret[0].id, &s);
	cr_expect_eq(s.secret[0].bytes, r->secret[0].bytes, "there is nobody else");
	ht_ring_free(r);
}
