/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node makes of what it finds in the store: parsed to the letter, taken as far as it is good,
 * and repaired where it is not. No store is asked here.
 */
#include <criterion/criterion.h>

#include "fleet.h"

#define HOURS 3600ull
#define T0 1700000000ull
#define SECRET                                                                                     \
	"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="

static const struct ht_ring_times day = {24 * HOURS, 48 * HOURS};

/* ---- values ---- */

static const struct {
	const char *name, *text;
	bool good;
	uint64_t born_s;
} values[] = {
	{"the seed's", SECRET ":1700000000", true, 1700000000},
	{"long ago", SECRET ":0", true, 0},
	{"twelve digits", SECRET ":999999999999", true, 999999999999},
	{"empty", "", false, 0},
	{"no time", SECRET, false, 0},
	{"no digits", SECRET ":", false, 0},
	{"blank before", SECRET ": 1700000000", false, 0},
	{"blank after", SECRET ":1700000000 ", false, 0},
	{"newline after", SECRET ":1700000000\n", false, 0},
	{"leading zero", SECRET ":01700000000", false, 0},
	{"hexadecimal", SECRET ":0x65a0", false, 0},
	{"exponent", SECRET ":17e8", false, 0},
	{"sign", SECRET ":+1700000000", false, 0},
	{"thirteen digits", SECRET ":1000000000000", false, 0},
	{"a fraction", SECRET ":1700000000.5", false, 0},
	{"two colons", SECRET "::1700000000", false, 0},
	{"too short", "AAEC:1700000000", false, 0},
	{"another alphabet",
	 "-AECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==:"
	 "1",
	 false, 0},
	{"bits that say nothing",
	 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Px==:"
	 "1",
	 false, 0},
	{"no padding",
	 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+PwAA:"
	 "1",
	 false, 0},
	{"a page", "<html><body>502 Bad Gateway</body></html>", false, 0},
};

Test(fleet, values)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(values); i++) {
		struct ht_ring_secret s;
		size_t len = strlen(values[i].text);
		bool good = ht_fleet_parse_secret(values[i].text, len, &s);

		cr_expect_eq(good, values[i].good, "%s", values[i].name);
		if (good)
			cr_expect(s.born_s == values[i].born_s && s.len == 88 &&
					  !memcmp(s.bytes, SECRET, 88),
				  "%s", values[i].name);
	}
}

Test(fleet, nul_bytes_are_no_end)
{
	char text[] = SECRET ":17\0"
			     "0";
	struct ht_ring_secret s;

	cr_expect_not(ht_fleet_parse_secret(text, sizeof(text) - 1, &s));
	text[3] = 0;
	cr_expect_not(ht_fleet_parse_secret(text, 91, &s));
}

Test(fleet, void_times)
{
	uint64_t before_s = 7;

	cr_expect(ht_fleet_parse_void("1700000000", 10, &before_s));
	cr_expect_eq(before_s, 1700000000);
	cr_expect_not(ht_fleet_parse_void("", 0, &before_s));
	cr_expect_not(ht_fleet_parse_void("1x", 2, &before_s));
	cr_expect_not(ht_fleet_parse_void("-1", 2, &before_s));
}

/* ---- what is to be done ---- */

#define C (1U << HT_FLEET_CURRENT)
#define P (1U << HT_FLEET_PREVIOUS)
#define N (1U << HT_FLEET_NEXT)
#define V (1U << HT_FLEET_VOID)
#define R (HT_FLEET_ROTATE | C | P | N)

static struct ht_ring_secret secret(char c, uint64_t born_s)
{
	uint8_t chance[HT_RING_FRESH_BYTES];
	struct ht_ring_secret s;

	memset(chance, c, sizeof(chance));
	ht_ring_fresh(chance, born_s, &s);
	return s;
}

/* "b30 a0+c0 v5": secrets with their births after T0 in hours, the next one, what is void. */
static void fill(struct ht_ring *r, const char *text)
{
	while (*text) {
		bool next = *text == '+', is_void;
		struct ht_ring_secret s;
		char *end;
		char c = text[next];

		is_void = c == 'V';
		s = secret(c, T0 + strtoull(text + next + 1, &end, 10) * HOURS);
		if (is_void)
			ht_ring_void(r, s.born_s);
		else if (next)
			ht_ring_set_next(r, &s);
		else
			ht_ring_add(r, &s);
		text = end + (*end == ' ');
	}
}

static void item(struct ht_fleet_view *v, enum ht_fleet_item i, const char *text)
{
	if (!*text)
		return;
	v->item[i].there = true;
	if (*text == '?')
		return;
	v->item[i].good = true;
	v->item[i].secret = secret(*text, T0 + strtoull(text + 1, NULL, 10) * HOURS);
	if (i == HT_FLEET_VOID)
		v->void_before_s = v->item[i].secret.born_s;
}

static const struct {
	const char *name, *ring;
	struct {
		const char *next, *current, *previous, *is_void;
	} store;
	uint64_t now_h;
	const char *settled; /* the letter of the next one that all know */
	bool by_hand;
	unsigned plan;
	const char *after; /* who signs, then */
} plans[] = {
	{"all is well", "b1 a0 +c1", {"c1", "b1", "a0", ""}, 2, "c", false, 0, "b"},
	{"the first start of all", "", {"", "", "", ""}, 0, "", false, R, ""},
	{"a new node in a fleet", "", {"c1", "b1", "a0", ""}, 2, "", false, 0, "b"},
	{"a new node among seeds", "", {"", "b1", "a0", ""}, 2, "", false, N, "b"},
	{"restarted empty", "b1 a0 +c1", {"", "", "", ""}, 2, "c", false, C | P | N, "b"},
	{"restarted empty, one secret", "b1", {"", "", "", ""}, 2, "", false, C | N, "b"},
	{"half a pair: no previous", "b1 a0 +c1", {"c1", "b1", "", ""}, 2, "c", false, P, "b"},
	{"half a pair: twice the same", "b1 a0 +c1", {"c1", "b1", "b1", ""}, 2, "c", false, P, "b"},
	{"half a pair: no next", "b1 a0 +c1", {"", "b1", "a0", ""}, 2, "c", false, N, "b"},
	{"the next one signs already, and is next",
	 "b1 a0 +c1",
	 {"c1", "c2", "b1", ""},
	 2,
	 "",
	 false,
	 N,
	 "c"},
	{"garbage for who signs", "b1 a0 +c1", {"c1", "?", "a0", ""}, 2, "c", false, C, "b"},
	{"garbage before and next", "b1 a0 +c1", {"?", "b1", "?", ""}, 2, "c", false, P | N, "b"},
	{"garbage everywhere", "b1 a0 +c1", {"?", "?", "?", "?"}, 2, "c", false, C | P | N, "b"},
	{"garbage before one secret", "b1 +c1", {"c1", "b1", "?", ""}, 2, "c", false, P, "b"},
	{"another rotated", "b1 a0 +c1", {"d25", "c25", "b1", ""}, 26, "", false, 0, "c"},
	{"a seed rotated", "b1 a0 +c1", {"c1", "s25", "b1", ""}, 26, "c", false, 0, "s"},
	{"away for two rotations", "b1 a0 +c1", {"e49", "d49", "c25", ""}, 50, "", false, 0, "d"},
	{"the store is of yesterday",
	 "c25 b1 +d25",
	 {"c1", "b1", "a0", ""},
	 26,
	 "",
	 false,
	 C | P | N,
	 "c"},
	{"due", "b1 a0 +c1", {"c1", "b1", "a0", ""}, 25, "c", false, R, "b"},
	{"due, and not all know the next one",
	 "b1 a0 +c1",
	 {"c1", "b1", "a0", ""},
	 25,
	 "",
	 false,
	 0,
	 "b"},
	{"due, and the store does not know it",
	 "b1 a0 +c1",
	 {"", "b1", "a0", ""},
	 25,
	 "c",
	 false,
	 N,
	 "b"},
	{"due, and another one is next",
	 "b1 a0 +c1",
	 {"x1", "b1", "a0", ""},
	 25,
	 "c",
	 false,
	 0,
	 "b"},
	{"by hand", "b1 a0 +c1", {"c1", "b1", "a0", ""}, 2, "c", true, R, "b"},
	{"by hand, too soon", "b1 a0 +c1", {"c1", "b1", "a0", ""}, 2, "", true, 0, "b"},
	{"revoked here", "V5 x5 +y5", {"c1", "b1", "a0", ""}, 6, "", false, C | P | N | V, "x"},
	{"revoked here, half told", "V5 x5 +y5", {"c1", "x5", "", ""}, 6, "", false, N | V, "x"},
	{"revoked elsewhere", "b1 a0 +c1", {"y5", "x5", "", "V5"}, 6, "", false, 0, "x"},
	{"revoked elsewhere, old one still there",
	 "b1 a0 +c1",
	 {"y5", "x5", "b1", "V5"},
	 6,
	 "",
	 false,
	 P,
	 "x"},
	{"revoked, and an old store came back",
	 "V5 x5 +y5",
	 {"c1", "b1", "a0", "V3"},
	 6,
	 "",
	 false,
	 C | P | N | V,
	 "x"},
	{"all that there is is void", "b1 a0 +c1", {"c1", "b1", "a0", "V9"}, 10, "", false, R, ""},
	{"the one before has ended", "b1 +c1", {"c1", "b1", "a0", ""}, 60, "", false, 0, "b"},
	{"a clock 30 s behind", "b1 a0 +c1", {"c1", "b1", "a0", ""}, 0, "c", false, 0, "b"},
};

Test(fleet, plans)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(plans); i++) {
		struct ht_ring *r = ht_ring_new();
		struct ht_fleet_view *v = calloc(1, sizeof(*v));
		struct ht_ring_secret settled = secret(plans[i].settled[0], 0);
		uint64_t now_s = T0 + plans[i].now_h * HOURS;
		unsigned plan;

		fill(r, plans[i].ring);
		item(v, HT_FLEET_NEXT, plans[i].store.next);
		item(v, HT_FLEET_CURRENT, plans[i].store.current);
		item(v, HT_FLEET_PREVIOUS, plans[i].store.previous);
		item(v, HT_FLEET_VOID, plans[i].store.is_void);
		ht_fleet_take(v, r);
		ht_ring_retire(r, &day, now_s);
		plan = ht_fleet_plan(v, r, &day, now_s, *plans[i].settled ? settled.id : "",
				     plans[i].by_hand);
		cr_expect_eq(plan, plans[i].plan, "%s: %#x, not %#x", plans[i].name, plan,
			     plans[i].plan);
		cr_expect_eq(!r->n, !*plans[i].after, "%s", plans[i].name);
		if (*plans[i].after)
			cr_expect_str_eq(r->secret[0].id, secret(*plans[i].after, 0).id, "%s",
					 plans[i].name);
		free(v);
		ht_ring_free(r);
	}
}

/*
 * What another one promoted without having heard of a revocation does not come back by that, nor what
 * was put in its place by somebody who revoked earlier.
 */
static const struct {
	const char *name, *ring;
	struct {
		const char *next, *current, *previous, *is_void;
	} store;
	uint64_t void_h; /* of the ring after it */
	const char *after, *next;
} untold[] = {
	{"never revoked", "b1 a0 +c1", {"d25", "c25", "b1", ""}, 0, "cba", "d"},
	{"promoted later", "V5 x5 +y5", {"d24", "c24", "b1", ""}, 5, "x", "y"},
	{"told of an older one", "V5 x5 +y5", {"d24", "c24", "b1", "V3"}, 5, "x", "y"},
	{"told of one that was later", "V5 x5 +y5", {"w6", "v6", "", "V6"}, 6, "v", "w"},
	{"and promoted meanwhile", "V5 x5 c24 +d24", {"w6", "v6", "", "V6"}, 6, "v", "w"},
	{"and had taken some of it", "V5 v6 x5 +y5", {"w6", "v6", "", "V6"}, 6, "v", "w"},
	{"not promoted", "V5 x5 +y5", {"c1", "b1", "a0", ""}, 5, "x", "y"},
	{"it is what we know", "V5 z9 x5 +y9", {"", "z9", "x5", ""}, 5, "zx", "y"},
	{"our next one signs elsewhere", "V5 x5 +y5", {"", "y9", "x5", ""}, 5, "yx", ""},
	{"told", "V5 x5 +y5", {"z9", "y9", "x5", "V5"}, 5, "yx", "z"},
	{"nothing of ours", "V5", {"c9", "b9", "a7", ""}, 5, "ba", "c"},
};

Test(fleet, what_was_revoked_is_not_born_again)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(untold); i++) {
		struct ht_ring *r = ht_ring_new();
		struct ht_fleet_view *v = calloc(1, sizeof(*v));

		fill(r, untold[i].ring);
		item(v, HT_FLEET_NEXT, untold[i].store.next);
		item(v, HT_FLEET_CURRENT, untold[i].store.current);
		item(v, HT_FLEET_PREVIOUS, untold[i].store.previous);
		item(v, HT_FLEET_VOID, untold[i].store.is_void);
		ht_fleet_take(v, r);
		cr_expect_eq(r->void_before_s, untold[i].void_h ? T0 + untold[i].void_h * HOURS : 0,
			     "%s", untold[i].name);
		cr_assert_eq(r->n, strlen(untold[i].after), "%s", untold[i].name);
		for (size_t k = 0; k < r->n; k++)
			cr_expect_str_eq(r->secret[k].id, secret(untold[i].after[k], 0).id, "%s",
					 untold[i].name);
		cr_expect_eq(r->has_next, *untold[i].next != 0, "%s", untold[i].name);
		if (*untold[i].next)
			cr_expect_str_eq(r->next.id, secret(*untold[i].next, 0).id, "%s",
					 untold[i].name);
		free(v);
		ht_ring_free(r);
	}
}

/* Clocks that differ by 30 s: nobody loses what another one signs with, whoever rotates. */
Test(fleet, thirty_seconds_of_skew)
{
	for (int rotator = 0; rotator < 2; rotator++) {
		struct ht_ring *node[2] = {ht_ring_new(), ht_ring_new()};
		uint64_t now_s = T0 + 25 * HOURS, clock_s[2] = {now_s + 30, now_s - 30};
		struct ht_ring_secret fresh = secret('d', 0);

		for (int i = 0; i < 2; i++)
			fill(node[i], "b1 a0 +c1");
		ht_ring_rotate(node[rotator], clock_s[rotator], true, &fresh);
		/* the other one still verifies what is signed by now, and does before it hears of it */
		cr_expect_str_eq(node[!rotator]->next.id, node[rotator]->secret[0].id);
		ht_ring_join(node[!rotator], node[rotator]);
		for (int i = 0; i < 2; i++)
			ht_ring_retire(node[i], &day, clock_s[i]);
		cr_expect(ht_ring_same(node[0], node[1]));
		cr_expect_eq(node[0]->n, 3, "nothing has ended for either");
		cr_expect_not(ht_ring_due(node[!rotator], &day, clock_s[!rotator]));
		ht_ring_free(node[0]);
		ht_ring_free(node[1]);
	}
}

/* A file that somebody put into the directory has no place in the store: the next one takes over. */
Test(fleet, what_can_not_be_told_is_followed_by_what_can)
{
	struct ht_ring *r = ht_ring_new();
	struct ht_fleet_view *v = calloc(1, sizeof(*v));
	struct ht_ring_secret s, next = secret('c', T0);

	cr_assert_eq(ht_ring_secret_make("by hand", 7, T0, &s), 0);
	ht_ring_add(r, &s);
	ht_ring_set_next(r, &next);
	cr_expect_eq(ht_fleet_plan(v, r, &day, T0, "", false), N);
	v->item[HT_FLEET_NEXT].good = v->item[HT_FLEET_NEXT].there = true;
	v->item[HT_FLEET_NEXT].secret = next;
	cr_expect_eq(ht_fleet_plan(v, r, &day, T0, next.id, false), R);
	free(v);
	ht_ring_free(r);
}
