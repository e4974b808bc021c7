/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ticket keys: how long one seals, how long it opens, and that no two are alike.
 */
#include <criterion/criterion.h>

#include "ticket.h"

TestSuite(ticket);

#define START 1000000ull

static struct ht_ticket_ring *ring_new(void)
{
	struct ht_ticket_ring *r = NULL;

	cr_assert_eq(ht_ticket_ring_new(START, &r), 0);
	return r;
}

static struct ht_ticket_key key_at(struct ht_ticket_ring *r, uint64_t now_s)
{
	struct ht_ticket_key k;

	cr_assert_eq(ht_ticket_ring_current(r, now_s, &k), 0);
	return k;
}

Test(ticket, a_key_seals_for_one_period_and_opens_for_two)
{
	struct ht_ticket_ring *r = ring_new();
	struct ht_ticket_key first = key_at(r, START), found, second, third;
	uint64_t turn = START + HT_TICKET_PERIOD_S;
	bool current = false;

	found = key_at(r, turn - 1);
	cr_expect_eq(memcmp(&first, &found, sizeof(first)), 0);
	cr_expect_eq(ht_ticket_ring_find(r, turn - 1, first.name, &found, &current), 0);
	cr_expect(current);

	/* finding turns the ring, too */
	cr_expect_eq(ht_ticket_ring_find(r, turn, first.name, &found, &current), 0);
	cr_expect_not(current, "the old key must be renewed");
	cr_expect_eq(memcmp(&first, &found, sizeof(first)), 0);
	second = key_at(r, turn);
	cr_expect_neq(memcmp(&first, &second, sizeof(first)), 0);

	third = key_at(r, turn + HT_TICKET_PERIOD_S);
	cr_expect_eq(
		ht_ticket_ring_find(r, turn + HT_TICKET_PERIOD_S, first.name, &found, &current),
		-ENOENT);
	cr_expect_eq(
		ht_ticket_ring_find(r, turn + HT_TICKET_PERIOD_S, second.name, &found, &current),
		0);
	cr_expect_not(current);
	cr_expect_neq(memcmp(&third, &second, sizeof(second)), 0);
	ht_ticket_ring_free(r);
}

Test(ticket, a_key_that_slept_too_long_opens_nothing)
{
	struct ht_ticket_ring *r = ring_new();
	struct ht_ticket_key first = key_at(r, START), found;
	bool current;

	cr_expect_eq(ht_ticket_ring_find(r, START + 2 * HT_TICKET_PERIOD_S, first.name, &found,
					 &current),
		     -ENOENT);
	ht_ticket_ring_free(r);
}

Test(ticket, before_the_first_turn_there_is_no_previous_key)
{
	static const uint8_t zero[16];
	struct ht_ticket_ring *r = ring_new();
	struct ht_ticket_key found;
	bool current;

	/* an empty slot must not be a key that everybody knows */
	cr_expect_eq(ht_ticket_ring_find(r, START, zero, &found, &current), -ENOENT);
	cr_expect_eq(ht_ticket_ring_find(r, START + 3 * HT_TICKET_PERIOD_S, zero, &found, &current),
		     -ENOENT);
	ht_ticket_ring_free(r);
	ht_ticket_ring_free(NULL);
}

Test(ticket, all_parts_of_a_key_are_random_and_its_own)
{
	struct ht_ticket_ring *a = ring_new(), *b = ring_new();
	struct ht_ticket_key x = key_at(a, START), y = key_at(b, START);

	cr_expect_neq(memcmp(x.name, y.name, sizeof(x.name)), 0);
	cr_expect_neq(memcmp(x.aes, y.aes, sizeof(x.aes)), 0);
	cr_expect_neq(memcmp(x.hmac, y.hmac, sizeof(x.hmac)), 0);
	cr_expect_neq(memcmp(x.aes, x.hmac, sizeof(x.aes)), 0);
	ht_ticket_ring_free(a);
	ht_ticket_ring_free(b);
}
