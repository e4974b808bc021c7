/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a connection remembers of its hits: that it needs no map while a cookie repeats, and that
 * nothing which a hit depended on can change without ending that. Each test empties the map first, so
 * that a hit can only come from the memory.
 */
#include <criterion/criterion.h>
#include <sys/socket.h>
#include <time.h>

#include "rig.h"

#ifndef HT_WEAK

static struct rig rig;
static struct pair pair;

static void start(void)
{
	rig_open(&rig, 0);
	pair_open(&pair, &rig);
	cr_assert(pair.admitted);
}

static void finish(void)
{
	rig_close(&rig);
}

TestSuite(memo, .init = start, .fini = finish);

/* Nothing is remembered within 144 bytes of the message's end: there are always fields behind. */
static struct ht_gate_answer send_cookies(const char *cookies)
{
	static char head[4096];

	snprintf(head, sizeof(head),
		 "GET / HTTP/1.1\r\nHost: a\r\nCookie: %s\r\nX-Filler: %0200d\r\n\r\n", cookies, 0);
	return pair_head(&pair, head);
}

static struct ht_gate_answer send_pair(const char *name, const char *value, const char *token)
{
	char cookies[512];

	snprintf(cookies, sizeof(cookies), "theme=dark; %s=%s; %s_HMAC=%s; x=y", name, value, name,
		 token);
	return send_cookies(cookies);
}

/* A session that hit, on a connection that remembers it: without a map it hits still. */
static const char *remember(const char *value)
{
	static char mac[64];
	uint64_t before;

	rig_token(&rig, value, mac);
	rig_push(&rig, 0, value);
	cr_assert_eq(send_pair("sid", value, mac).hit, 1);
	before = rig_count(&rig, HT_COUNT_MEMO);
	ht_offload_flush(rig.offload);
	cr_assert_eq(send_pair("sid", value, mac).hit, 1);
	cr_assert_eq(rig_count(&rig, HT_COUNT_MEMO), before + 1);
	return mac;
}

Test(memo, what_repeats_needs_no_map)
{
	const char *mac = remember("0a1b2c3d4e5f6g7h8i9j0k1l");

	for (int i = 0; i < 5; i++)
		cr_assert_eq(send_pair("sid", "0a1b2c3d4e5f6g7h8i9j0k1l", mac).hit, 1);
	cr_assert_eq(rig_count(&rig, HT_COUNT_MEMO), 6);
	cr_assert_eq(rig_count(&rig, HT_COUNT_HIT), 7);
}

Test(memo, is_of_one_connection)
{
	const char *mac = remember("abcdef");

	pair_open(&pair, &rig);
	cr_assert_eq(send_pair("sid", "abcdef", mac).verdict, HT_VERDICT_MISS);
}

/* Every byte and every length of name, value and token counts. */
Test(memo, other_bytes_are_no_hit)
{
	static const char value[] = "0a1b2c3d4e5f6g7h8i9j0k1l";
	char other[64], mac[64];

	for (size_t i = 0; i < sizeof(value) - 1; i++) {
		memcpy(mac, remember(value), sizeof(mac));
		strcpy(other, value);
		other[i] ^= 1;
		cr_assert_eq(send_pair("sid", other, mac).verdict, HT_VERDICT_MISS, "value, %zu",
			     i);
	}
	for (size_t i = 0; i < 44; i++) {
		strcpy(other, remember(value));
		other[i] ^= 1;
		cr_assert_eq(send_pair("sid", value, other).verdict, HT_VERDICT_MISS, "token, %zu",
			     i);
	}
	/* the end of a token chooses the place: some of these share it */
	for (size_t i = 0; i < 60; i++) {
		strcpy(other, remember(value));
		other[41 + i % 2] = other[41 + i % 2] == 'A' + (char)(i / 2) ? '-'
									     : 'A' + (char)(i / 2);
		cr_assert_eq(send_pair("sid", value, other).verdict, HT_VERDICT_MISS, "end, %zu",
			     i);
	}
	for (size_t i = 36; i < 44; i++) {
		strcpy(other, remember(value));
		other[i] = 0;
		cr_assert_eq(send_pair("sid", value, other).verdict, HT_VERDICT_MISS, "%zu", i);
	}
	for (size_t i = 1; i < sizeof(value) - 1; i++) {
		memcpy(mac, remember(value), sizeof(mac));
		strcpy(other, value);
		other[i] = 0;
		cr_assert_eq(send_pair("sid", other, mac).verdict, HT_VERDICT_MISS, "%zu", i);
	}
	memcpy(mac, remember(value), sizeof(mac));
	cr_assert_eq(send_pair("cart", value, mac).verdict, HT_VERDICT_MISS, "another cookie's");
}

static void bump_key(void)
{
	rig.key.gen++;
	ht_offload_generations(rig.offload, &rig.ring);
}

static void bump_all(void)
{
	rig.ring.global_gen++;
	ht_offload_generations(rig.offload, &rig.ring);
}

static void another_client(void)
{
	rig.bind.digest[0] ^= 1;
}

static void another_half(void)
{
	rig.bind.digest[1] ^= 1ULL << 63;
}

static void nobody(void)
{
	rig.bind.empty = true;
}

static void another_rule(void)
{
	rig.site.gate.rule[0].id ^= 1ULL << 40;
	cr_assert_eq(ht_offload_policy(rig.offload, 0, &rig.site.gate), 0);
}

static void another_key(void)
{
	rig.site.gate.rule[0].key = 1; /* its generation is 0 */
	cr_assert_eq(ht_offload_policy(rig.offload, 0, &rig.site.gate), 0);
}

static void another_binding(void)
{
	rig.site.gate.rule[0].bind = 1; /* the client has none there */
	cr_assert_eq(ht_offload_policy(rig.offload, 0, &rig.site.gate), 0);
}

/* By a revocation, a flush, a key that goes, a new policy, another client on a shared connection. */
Test(memo, ends_with_what_it_depends_on)
{
	static const struct {
		const char *name;
		void (*change)(void);
	} rows[] = {
		{"the key's generation", bump_key},
		{"the global one", bump_all},
		{"the client", another_client},
		{"the client, high half", another_half},
		{"no binding", nobody},
		{"the rule", another_rule},
		{"the rule's key", another_key},
		{"the rule's binding", another_binding},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		const char *mac = remember("abcdef");

		rows[i].change();
		cr_expect_eq(send_pair("sid", "abcdef", mac).verdict, HT_VERDICT_MISS, "%s",
			     rows[i].name);
		finish();
		start();
	}
}

static uint64_t boot_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

Test(memo, expires)
{
	struct ht_push push = rig_push_make(&rig, 0, "abcdef", NULL);
	char mac[64];

	rig_token(&rig, "abcdef", mac);
	/* long enough to be remembered on a machine that is busy */
	for (uint64_t ns = 500000000; !rig_count(&rig, HT_COUNT_MEMO); ns *= 2) {
		push.token.not_after_ns = boot_ns() + ns;
		cr_assert_eq(ht_offload_push(rig.offload, &push), 0);
		send_pair("sid", "abcdef", mac);
		send_pair("sid", "abcdef", mac);
	}
	while (boot_ns() < push.token.not_after_ns)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	cr_assert_eq(send_pair("sid", "abcdef", mac).verdict, HT_VERDICT_MISS);
}

/* What was compared in passing is none of it: a forged token sent twice is forged twice. */
Test(memo, forged_twice)
{
	char forged[64];

	strcpy(forged, remember("abcdef"));
	rig_push(&rig, 0, "abcdef");
	for (int i = 0; i < 3; i++) {
		forged[3] = forged[3] == 'a' ? 'b' : 'a';
		forged[10 + i] = '-';
		cr_assert_eq(send_pair("sid", "abcdef", forged).forged, 1);
		cr_assert_eq(send_pair("sid", "abcdef", forged).forged, 1);
	}
	for (int i = 0; i < 2; i++)
		cr_assert_eq(send_pair("sid", "unheard-of", forged).verdict, HT_VERDICT_MISS);
	/* nor was the session's own lost for good */
	cr_assert_eq(send_pair("sid", "abcdef", rig_token(&rig, "abcdef", forged)).hit, 1);
}

/* Two cookies in one head, in any order, are two. */
Test(memo, of_several_cookies)
{
	char sid[64], cart[64], cookies[512];

	rig_push(&rig, 0, "abcdef");
	rig_push(&rig, 1, "c-1");
	rig_token(&rig, "abcdef", sid);
	rig_token(&rig, "c-1", cart);
	snprintf(cookies, sizeof(cookies), "sid_HMAC=%s; sid=abcdef; cart=c-1; cart_HMAC=%s", sid,
		 cart);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(send_cookies(cookies).hit, 3);
	snprintf(cookies, sizeof(cookies), "sid_HMAC=%s; sid=abcdef; cart=c-1; cart_HMAC=%s", cart,
		 sid);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(send_cookies(cookies).forged, 3);
}

/* More sessions than are remembered, in turns, half of them with a token of another one. */
Test(memo, of_many_sessions)
{
	static char value[20][8], mac[20][64];
	uint64_t prng = 88172645463325252ULL;

	for (size_t i = 0; i < 20; i++) {
		snprintf(value[i], sizeof(value[i]), "v%zu", i);
		rig_token(&rig, value[i], mac[i]);
		rig_push(&rig, 0, value[i]);
	}
	for (int n = 0; n < 4000; n++) {
		size_t who = prng >> 33 & 1 ? (size_t)n / 50 % 20 : (prng >> 40) % 20;
		size_t whose = prng >> 34 & 1 ? who : (prng >> 50) % 20;
		struct ht_gate_answer a = send_pair("sid", value[who], mac[whose]);

		cr_assert_eq(a.hit, who == whose, "%zu with the token of %zu", who, whose);
		cr_assert_eq(a.forged, who != whose, "%zu with the token of %zu", who, whose);
		if (n % 100 == 99)
			while (recv(pair.peer, (char[65536]){0}, 65536, MSG_DONTWAIT) > 0)
				;
		prng ^= prng << 13;
		prng ^= prng >> 7;
		prng ^= prng << 17;
	}
	cr_assert_gt(rig_count(&rig, HT_COUNT_MEMO), 100);
}

#endif
