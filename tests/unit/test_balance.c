/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which upstream comes next: fairness, ties, how few clients move when one comes or goes, and the
 * cookie that brings them back.
 */
#include <criterion/criterion.h>

#include "balance.h"

#define PEERS 8
#define CLIENTS 8000

static struct ht_balance_peer peers[PEERS + 1];

static void fill(void)
{
	char name[32];

	for (size_t i = 0; i < HT_ARRAY_SIZE(peers); i++) {
		snprintf(name, sizeof(name), "10.0.0.%zu:9000", i + 1);
		peers[i] = (struct ht_balance_peer){.id = ht_balance_id(name, strlen(name))};
	}
}

static uint64_t client(uint32_t n)
{
	return ht_balance_id(&n, sizeof(n));
}

Test(balance, round_robin_goes_round)
{
	size_t seen[PEERS] = {0}, turn = 5, at;

	for (size_t i = 0; i < 4 * PEERS; i++) {
		at = ht_balance_pick(HT_BALANCE_ROUND_ROBIN, NULL, PEERS, 0xff, turn, 0);
		cr_assert_eq(at, turn % PEERS);
		seen[at]++;
		turn = at + 1;
	}
	for (size_t i = 0; i < PEERS; i++)
		cr_expect_eq(seen[i], 4, "%zu: %zu", i, seen[i]);
}

Test(balance, round_robin_skips_who_is_not_ready)
{
	cr_expect_eq(ht_balance_pick(HT_BALANCE_ROUND_ROBIN, NULL, 4, 0x5, 1, 0), 2);
	cr_expect_eq(ht_balance_pick(HT_BALANCE_ROUND_ROBIN, NULL, 4, 0x5, 3, 0), 0);
	cr_expect_eq(ht_balance_pick(HT_BALANCE_COOKIE, NULL, 4, 0x8, 0, 0), 3);
	/* the last of as many as there may be */
	cr_expect_eq(ht_balance_pick(HT_BALANCE_ROUND_ROBIN, NULL, 64, 1ULL << 63, 9, 0), 63);
}

Test(balance, least_connections_takes_the_least)
{
	fill();
	for (uint32_t i = 0; i < 4; i++)
		peers[i].active = 10 - i;
	cr_expect_eq(ht_balance_pick(HT_BALANCE_LEAST_CONNECTIONS, peers, 4, 0xf, 0, 0), 3);
	cr_expect_eq(ht_balance_pick(HT_BALANCE_LEAST_CONNECTIONS, peers, 4, 0x7, 0, 0), 2);
	cr_expect_eq(ht_balance_pick(HT_BALANCE_LEAST_CONNECTIONS, peers, 4, 0x1, 2, 0), 0);
}

Test(balance, least_connections_takes_turns_among_equals)
{
	fill();
	peers[1].active = 1;
	cr_expect_eq(ht_balance_pick(HT_BALANCE_LEAST_CONNECTIONS, peers, 4, 0xf, 0, 0), 0);
	cr_expect_eq(ht_balance_pick(HT_BALANCE_LEAST_CONNECTIONS, peers, 4, 0xf, 1, 0), 2);
	cr_expect_eq(ht_balance_pick(HT_BALANCE_LEAST_CONNECTIONS, peers, 4, 0xf, 3, 0), 3);
}

Test(balance, source_stays_and_spreads)
{
	size_t seen[PEERS] = {0};

	fill();
	for (uint32_t i = 0; i < CLIENTS; i++) {
		size_t at = ht_balance_pick(HT_BALANCE_SOURCE, peers, PEERS, 0xff, i, client(i));

		cr_assert_eq(at,
			     ht_balance_pick(HT_BALANCE_SOURCE, peers, PEERS, 0xff, 0, client(i)));
		seen[at]++;
	}
	for (size_t i = 0; i < PEERS; i++)
		cr_expect(seen[i] > CLIENTS / PEERS * 8 / 10 && seen[i] < CLIENTS / PEERS * 12 / 10,
			  "%zu: %zu", i, seen[i]);
}

Test(balance, one_less_moves_only_its_own)
{
	fill();
	for (uint32_t i = 0; i < CLIENTS; i++) {
		size_t before = ht_balance_pick(HT_BALANCE_SOURCE, peers, PEERS, 0xff, 0,
						client(i));
		size_t after = ht_balance_pick(HT_BALANCE_SOURCE, peers, PEERS, 0xfb, 0, client(i));

		cr_assert_neq(after, 2);
		cr_assert(before == 2 || before == after, "client %u moved", i);
	}
}

Test(balance, one_more_takes_only_its_share)
{
	size_t moved = 0;

	fill();
	for (uint32_t i = 0; i < CLIENTS; i++) {
		size_t before = ht_balance_pick(HT_BALANCE_SOURCE, peers, PEERS, 0xff, 0,
						client(i));
		size_t after = ht_balance_pick(HT_BALANCE_SOURCE, peers, PEERS + 1, 0x1ff, 0,
					       client(i));

		cr_assert(after == before || after == PEERS, "client %u moved elsewhere", i);
		moved += after != before;
	}
	cr_expect(moved > CLIENTS / (PEERS + 1) / 2 && moved < 2 * CLIENTS / (PEERS + 1), "%zu",
		  moved);
}

Test(balance, token_is_keyed_and_says_nothing)
{
	char a[HT_BALANCE_TOKEN + 1], b[HT_BALANCE_TOKEN + 1];

	cr_assert_eq(ht_balance_token((const uint8_t *)"k1", 2, "10.0.0.1:9000", a), 0);
	/* printf '\0backend:10.0.0.1:9000' | openssl dgst -sha256 -hmac k1, its first half */
	cr_expect_str_eq(a, "4fe5f87afb7a750c39a8f44ecaceca28");
	cr_assert_eq(ht_balance_token((const uint8_t *)"k2", 2, "10.0.0.1:9000", b), 0);
	cr_expect_str_neq(a, b);
	cr_assert_eq(ht_balance_token((const uint8_t *)"k1", 2, "10.0.0.2:9000", b), 0);
	cr_expect_str_neq(a, b);
}

static const struct {
	const char *field, *values; /* separated by blanks */
} cookies[] = {
	{"b=1", "1 "},
	{"a=0; b=1; c=2", "1 "},
	{"b=1; b=2", "1 2 "},
	{"  b=1  ;b=2", "1 2 "},
	{"ab=1; bb=2; b", ""},
	{"b =1", ""},
	{"B=1", ""},
	{"b=", " "},
	{"b=x=y", "x=y "},
	{";;; b=1;", "1 "},
	{"", ""},
};

Test(balance, cookie_is_found)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(cookies); i++) {
		struct ht_str rest = HT_STR(cookies[i].field), value;
		char all[64] = "";

		while (ht_balance_cookie(&rest, "b", &value))
			snprintf(all + strlen(all), sizeof(all) - strlen(all), HT_STR_FMT " ",
				 HT_STR_ARG(value));
		cr_expect_str_eq(all, cookies[i].values, "%s", cookies[i].field);
	}
}
