/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed cookies in the gate: plaintext comes to the backend exactly where the sealed value stood,
 * and only if the daemon has put it into the map for this very cookie. The entries are made here, by
 * the words of abi.h; how a cookie is sealed does not matter to the gate.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdlib.h>

#include "../rules.h"
#include "cut.h"
#include "rig.h"

#ifndef HT_WEAK

#define BIND .binds = {{HT_BIND_CLIENT_IP, 32, 128}}, .nbinds = 1

/* s, t, u and v are sealed, w too but report-only; p and q are signed; all else is nobody's */
static struct ht_rule_config rules[] = {
	SESSION_RULE("s", HT_MODE_ENFORCE, BIND), SESSION_RULE("t", HT_MODE_ENFORCE, BIND),
	SESSION_RULE("u", HT_MODE_ENFORCE, BIND), SESSION_RULE("v", HT_MODE_ENFORCE, BIND),
	SESSION_RULE("w", HT_MODE_REPORT, BIND),  F5_RULE("p", HT_MODE_ENFORCE, BIND),
	F5_RULE("q", HT_MODE_ENFORCE, BIND),
};
enum { S, T, U, V, W, P, Q };
#define SEALED (1 << S | 1 << T | 1 << U | 1 << V | 1 << W)
static const char names[] = "stuvwpq";

static struct rig rig;
static struct pair pair;

static void open_one(void)
{
	static char *hosts[] = {(char *)"shop.example.com"};
	static const struct ht_site_config site = {
		.hosts = hosts, .nhosts = 1, .rules = rules, .nrules = HT_ARRAY_SIZE(rules)};

	rig_open(&rig, 0);
	rig_site(&rig, &site);
	rig_seal(&rig, SEALED);
	pair_open(&pair, &rig);
}

static void close_one(void)
{
	rig_close(&rig);
}

TestSuite(sealed, .init = open_one, .fini = close_one);

/* Text that says whose it is: no two of a name and length agree in eight bytes. */
static struct ht_str text_of(char name, size_t len, bool sealed, char *out)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t x = (uint32_t)(unsigned char)name << 16 | (uint32_t)len << 1 | sealed;
	size_t n = sealed ? (len + 56) * 4 / 3 : len;

	for (size_t i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		out[i] = letters[x >> 26];
	}
	out[n] = 0;
	return (struct ht_str){out, n};
}

static struct ht_push push_of(char name, size_t len)
{
	static char value[2048], text[HT_SEALED_MAX + 1];
	const char as_text[] = {name, 0};

	return rig_sealed_make(&rig, strchr(names, name) - names, as_text,
			       text_of(name, len, true, value), text_of(name, len, false, text));
}

static void push(const struct ht_push *p)
{
	cr_assert_eq(ht_offload_push(rig.offload, p), 0);
}

/*
 * A head from a pattern: <s12> is the cookie s, sealed, of 12 bytes of plaintext; <p> the signed
 * cookie p with its token; '|' ends a field. `opened`: as the backend is to see it.
 */
static size_t write_pattern(const char *pattern, bool opened, char *out)
{
	size_t n = sprintf(out, "GET / HTTP/1.1\r\nHost: a\r\n");

	for (; *pattern; pattern++) {
		char value[2048], mac[64];

		if (*pattern == '|') {
			n += sprintf(out + n, "\r\n");
			continue;
		}
		if (*pattern != '<') {
			out[n++] = *pattern;
			continue;
		}
		if (pattern[2] == '>') {
			text_of(pattern[1], 10, false, value);
			n += sprintf(out + n, "%c=%s; %c_HMAC=%s", pattern[1], value, pattern[1],
				     rig_token(&rig, value, mac));
			pattern += 2;
			continue;
		}
		text_of(pattern[1], atoi(pattern + 2), !opened, value);
		n += sprintf(out + n, "%c=%s", pattern[1], value);
		pattern = strchr(pattern, '>');
	}
	return n + sprintf(out + n, "\r\n");
}

/* A session's token as the daemon pushes it, for a rule of this site. */
static void push_signed(char name)
{
	const struct ht_policy_client client = {.bind = &rig.bind};
	static struct ht_judgement j;
	static struct ht_head scratch;
	char head[512], value[32], mac[64];
	size_t len;

	text_of(name, 10, false, value);
	len = sprintf(head, "GET / HTTP/1.1\r\nCookie: %c=%s; %c_HMAC=%s\r\n\r\n", name, value,
		      name, rig_token(&rig, value, mac));
	cr_assert_eq(
		ht_policy_judge(&(struct ht_policy_context){&rig.site, &rig.ring,
							    ht_offload_keys(rig.offload), &client},
				&scratch, head, &len, 0, &j),
		0);
	cr_assert_eq(j.npushes, 1);
	push(&j.push[0]);
}

static void push_pattern(const char *pattern)
{
	for (; (pattern = strchr(pattern, '<')); pattern++) {
		struct ht_push p;

		if (pattern[2] == '>') {
			push_signed(pattern[1]);
			continue;
		}
		p = push_of(pattern[1], atoi(pattern + 2));
		push(&p);
	}
}

struct row {
	const char *name, *sent, *want; /* want NULL: as sent, opened */
};
static const struct row rows[] = {
	{"only", "Cookie: <s12>|", NULL},
	{"first", "Cookie: <s12>; a=1|", NULL},
	{"middle", "Cookie: a=1; <s12>; b=2|", NULL},
	{"last", "Cookie: a=1; <s12>|", NULL},
	{"one byte", "Cookie: a=1; <s1>; b=2|", NULL},
	{"the longest", "Cookie: a=1; <s1024>; b=2|", NULL},
	{"fields behind", "Cookie: a=1; <s12>|X: y|Y: z|", NULL},
	{"blanks around", "Cookie: a=1;  <s12>  ;b=2|", NULL},
	{"tabs around", "Cookie:\t<s12>\t;\tb=2|", NULL},
	{"no blanks", "Cookie:<s12>;b=2|", NULL},
	{"a semicolon at the end", "Cookie: <s12>;|", NULL},
	{"growing", "Cookie: <s5>; <t50>; <u500>; <v900>|", NULL},
	{"shrinking", "Cookie: <s900>; <t500>; <u50>; <v5>|", NULL},
	{"several fields", "Cookie: a=1; <s31>|X: y|Cookie: <t32>|cookie: <u33>; b=2|", NULL},
	{"behind a signed one", "Cookie: <p>; <s12>|", NULL},
	{"before a signed one", "Cookie: <s12>; <p>|", NULL},
	{"between", "Cookie: <p>; <s12>; a=1; <t200>; <q>; b=2; <u7>|", NULL},
	{"report-only", "Cookie: a=1; <w12>; <s12>|", NULL},
	{"behind a forged one", "Cookie: p=EVIL; <s12>|", "Cookie: <s12>|"},
	{"before a forged one", "Cookie: <s12>; p=EVIL|", "Cookie: <s12>|"},
	{"touching a forged one", "Cookie: <s12>;p=EVIL|", "Cookie: <s12>|"},
	{"between forged ones", "Cookie: p=EVIL; <s12>; q=EVIL|", "Cookie: <s12>|"},
	{"forged between", "Cookie: <s12>; p=EVIL; q=EVIL; <t99>; a=1|",
	 "Cookie: <s12>; <t99>; a=1|"},
	{"a forged field before", "Cookie: p=EVIL|Cookie: <s12>|X: y|", "Cookie: <s12>|X: y|"},
	{"a forged field behind", "Cookie: <s12>|Cookie: p=EVIL|X: y|", "Cookie: <s12>|X: y|"},
	{"everything", "A: b|Cookie: <u600>; p=EVIL; a=1|C: d|Cookie: x=y; <s3>;<q>; <v64>|E: f|",
	 "A: b|Cookie: <u600>; a=1|C: d|Cookie: x=y; <s3>;<q>; <v64>|E: f|"},
};

Test(sealed, rows)
{
	static char sent[HT_HEAD_MAX], want[HT_HEAD_MAX];

	pair_close(&pair, false, sent);
	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		const char *after = rows[i].want ? rows[i].want : rows[i].sent;
		struct ht_gate_answer a;
		size_t len;

		/* nothing that a row before has left is known */
		rig.key.gen++;
		ht_offload_generations(rig.offload, &rig.ring);
		pair_open(&pair, &rig);
		len = write_pattern(rows[i].sent, false, sent);
		cr_assert_eq(pair_try(&pair, sent, len, false, &a), 0);
		cr_assert_eq(a.verdict, HT_VERDICT_MISS, "%s: known before", rows[i].name);
		push_pattern(rows[i].sent);
		cr_assert_eq(pair_try(&pair, sent, len, false, &a), 0);
		cr_assert_eq(a.verdict, HT_VERDICT_PASS, "%s", rows[i].name);
		pair_expect(&pair, want, write_pattern(after, true, want));
	}
}

/* Every length, at every place in a word, also as the last bytes of the message. */
Test(sealed, every_length)
{
	static char sent[HT_HEAD_MAX], want[RIG_BUF];
	size_t n = 0;

	for (int len = 1; len <= HT_SEALED_MAX; len++) {
		char pattern[128];
		struct ht_gate_answer a;
		size_t size;

		snprintf(pattern, sizeof(pattern), "Cookie: %.*s=1; <s%d>%s|", 1 + len % 17,
			 "xxxxxxxxxxxxxxxxx", len, len % 3 ? "" : "; b=2");
		push_pattern(pattern);
		size = write_pattern(pattern, false, sent);
		cr_assert_eq(pair_try(&pair, sent, size, false, &a), 0);
		cr_assert_eq(a.verdict, HT_VERDICT_PASS, "length %d", len);
		n += write_pattern(pattern, true, want + n);
		if (len % 128)
			continue;
		pair_expect(&pair, want, n);
		pair_open(&pair, &rig);
		n = 0;
	}
	cr_assert_eq(rig_count(&rig, HT_COUNT_OPENED), HT_SEALED_MAX);
	cr_assert_eq(rig_count(&rig, HT_COUNT_TORN), 0);
}

/* The gate's own bytes beside those that cut.h and a plain copy make of the same head. */
static size_t expected(char *head, size_t len, const char *sealed_names)
{
	struct ht_text t = {(const uint8_t *)head, (const uint8_t *)head + len};
	static struct ht_head h;

	ht_head_init(&h, &t, len);
	while (!ht_head_step(&t, &h, &rig.site.gate))
		;
	cr_assert_eq(h.reason, 0);
	for (size_t i = 0; i < h.nocc; i++) {
		char name = head[h.occ[i].name], text[HT_SEALED_MAX + 1];
		size_t plain = h.occ[i].val_len * 3 / 4;

		if (!memcmp(head + h.occ[i].val, "EVIL", 4)) {
			h.doomed |= 1ULL << i;
		} else if (strchr(sealed_names, name)) {
			plain = h.occ[i].val_len * 3 / 4 - 56;
			while ((plain + 56) * 4 / 3 < h.occ[i].val_len)
				plain++;
			h.occ[i].kept = text_of(name, plain, false, text).len;
			memcpy(head + h.occ[i].val, text, plain);
			h.opened |= 1ULL << i;
		}
	}
	ht_cut_init(&h);
	for (uint32_t k = 0; k <= h.nocc; k++)
		ht_cut_step(&h, k);
	for (size_t i = 0; i < h.ncuts; i++) {
		memmove(head + h.cut[i].lo, head + h.cut[i].hi, len - h.cut[i].hi);
		len -= h.cut[i].hi - h.cut[i].lo;
	}
	return len;
}

/* Up to seven covered cookies in any order, any of them sealed, signed, forged. */
Test(sealed, any_mixture)
{
	static char sent[HT_HEAD_MAX], want[RIG_BUF];
	uint32_t x = 1;
	size_t n = 0;

	for (int round = 1; round <= 300; round++) {
		char pattern[512] = "Cookie: a=1", order[] = "stuvpq";
		struct ht_gate_answer a;
		size_t size;

		for (size_t i = sizeof(order) - 2; i; i--) { /* any order */
			size_t k = (x = x * 1664525 + 1013904223) >> 8;
			char c = order[i];

			order[i] = order[k % (i + 1)];
			order[k % (i + 1)] = c;
		}
		for (size_t i = 0; i < 6; i++) {
			char *end = pattern + strlen(pattern);
			uint32_t y = (x = x * 1664525 + 1013904223) >> 8;

			end += sprintf(end, "%s", y & 1 ? "; " : y & 2 ? ";" : "|Cookie: ");
			if (order[i] == 'p' || order[i] == 'q')
				sprintf(end, y & 4 ? "<%c>" : "%c=EVIL", order[i]);
			else
				sprintf(end, "<%c%u>", order[i], 1 + y / 8 % 400);
		}
		strcat(pattern, "|X: y|");
		push_pattern(pattern);
		size = write_pattern(pattern, false, sent);
		cr_assert_eq(pair_try(&pair, sent, size, false, &a), 0);
		cr_assert_eq(a.verdict, HT_VERDICT_PASS, "%s", pattern);
		memcpy(want + n, sent, size);
		n += expected(want + n, size, "stuv");
		if (round % 100)
			continue;
		pair_expect(&pair, want, n);
		pair_open(&pair, &rig);
		n = 0;
	}
}

/* ---- what is no hit ---- */

static const char *with(const char *pattern)
{
	static char head[HT_HEAD_MAX];

	head[write_pattern(pattern, false, head)] = 0;
	return head;
}

/* A miss, of which nothing leaves; then the same again is a hit if it is pushed as it should be. */
static void expect_miss(const char *pattern)
{
	char want[HT_HEAD_MAX];

	cr_assert_eq(pair_head(&pair, with(pattern)).verdict, HT_VERDICT_MISS);
	push_pattern(pattern);
	cr_assert_eq(pair_head(&pair, with(pattern)).hit, 1);
	pair_expect(&pair, want, write_pattern(pattern, true, want));
}

Test(sealed, wrong_tag_is_a_miss)
{
	struct ht_push p = push_of('s', 100);

	p.token.tag[0] ^= 1;
	push(&p);
	expect_miss("Cookie: <s100>|");
	cr_assert_eq(rig_count(&rig, HT_COUNT_TORN), 1);
}

Test(sealed, wrong_text_is_a_miss)
{
	struct ht_push p = push_of('s', 100);
	char other[HT_SEALED_MAX + 1];

	for (size_t at = 0; at < 100; at++) {
		text_of('s', 100, false, other);
		other[at] ^= 1;
		p.sealed.p = other;
		push(&p);
		cr_assert_eq(pair_head(&pair, with("Cookie: <s100>|")).verdict, HT_VERDICT_MISS);
	}
	expect_miss("Cookie: <s100>|");
}

/* What a reader sees whose element was given to another session meanwhile. */
Test(sealed, recycled_entry_is_a_miss)
{
	struct ht_push p = push_of('s', 100), other = push_of('s', 96);

	p.token = other.token;
	p.sealed = other.sealed;
	push(&p);
	expect_miss("Cookie: <s100>|");
	cr_assert_eq(rig_count(&rig, HT_COUNT_TORN), 1);
}

Test(sealed, wrong_time_is_a_miss)
{
	struct ht_push p = push_of('s', 100);

	p.token.not_after_ns--;
	push(&p);
	expect_miss("Cookie: <s100>|");
}

Test(sealed, expired_is_a_miss)
{
	static const uint64_t ends[] = {1, 1000};
	const char *head = with("Cookie: <s100>|");
	struct ht_push p;
	char value[512];

	for (size_t i = 0; i < HT_ARRAY_SIZE(ends); i++) {
		p = rig_sealed_make_until(&rig, S, "s", text_of('s', 100, true, value),
					  push_of('s', 100).sealed, ends[i]);
		push(&p);
		cr_assert_eq(pair_head(&pair, head).verdict, HT_VERDICT_MISS);
	}
	/* without an end */
	p = rig_sealed_make_until(&rig, S, "s", text_of('s', 100, true, value),
				  push_of('s', 100).sealed, 0);
	push(&p);
	cr_assert_eq(pair_head(&pair, head).hit, 1);
}

Test(sealed, another_binding_is_a_miss)
{
	push_pattern("Cookie: <s100>|");
	rig.bind.digest[1] ^= 1;
	cr_assert_eq(pair_head(&pair, with("Cookie: <s100>|")).verdict, HT_VERDICT_MISS);
	rig.bind.empty = true;
	cr_assert_eq(pair_head(&pair, with("Cookie: <s100>|")).verdict, HT_VERDICT_MISS);
	pair_expect(&pair, "", 0);
}

Test(sealed, of_one_cookie_is_none_of_another)
{
	char value[512];
	struct ht_push p = rig_sealed_make(&rig, S, "s", text_of('t', 100, true, value),
					   push_of('s', 100).sealed);

	push(&p);
	cr_assert_eq(pair_head(&pair, with("Cookie: <t100>|")).verdict, HT_VERDICT_MISS);
	pair_expect(&pair, "", 0);
}

Test(sealed, generations_end_it)
{
	push_pattern("Cookie: <s100>|");
	cr_assert_eq(pair_head(&pair, with("Cookie: <s100>|")).hit, 1);
	rig.key.gen++;
	ht_offload_generations(rig.offload, &rig.ring);
	cr_assert_eq(pair_head(&pair, with("Cookie: <s100>|")).verdict, HT_VERDICT_MISS);
	push_pattern("Cookie: <s100>|");
	cr_assert_eq(pair_head(&pair, with("Cookie: <s100>|")).hit, 1);
	rig.ring.global_gen++;
	ht_offload_generations(rig.offload, &rig.ring);
	cr_assert_eq(pair_head(&pair, with("Cookie: <s100>|")).verdict, HT_VERDICT_MISS);
}

/* Plaintext that would not fit is never written, whatever its tag. */
Test(sealed, longer_than_its_value_is_a_miss)
{
	static const char *const values[] = {"x", "abcdefgh", "abcdefghijklmno"};
	char text[HT_SEALED_MAX + 1], cookies[64];

	for (size_t i = 0; i < HT_ARRAY_SIZE(values); i++) {
		size_t room = strlen(values[i]);

		/* whole words are written */
		for (size_t len = room < 8 ? 0 : room - 7; len <= room + 9; len++) {
			struct ht_push p = rig_sealed_make(&rig, S, "s", HT_STR(values[i]),
							   text_of('s', len, false, text));

			push(&p);
			snprintf(cookies, sizeof(cookies), "s=%s; a=1", values[i]);
			cr_assert_eq(pair_head(&pair, head_with(cookies)).verdict, HT_VERDICT_MISS,
				     "%zu bytes for %zu", len, room);
		}
	}
	pair_expect(&pair, "", 0);
}

Test(sealed, too_long_for_the_map_is_refused)
{
	static char text[HT_SEALED_MAX + 2];
	struct ht_push p = push_of('s', 100);

	p.sealed = (struct ht_str){text, HT_SEALED_MAX + 1};
	cr_assert_eq(ht_offload_push(rig.offload, &p), -E2BIG);
}

Test(sealed, unsealed_is_a_miss)
{
	cr_assert_eq(pair_head(&pair, head_with("s=plain")).verdict, HT_VERDICT_MISS);
	cr_assert_eq(pair_head(&pair, head_with("w=plain")).verdict, HT_VERDICT_MISS);
	pair_expect(&pair, "", 0);
}

Test(sealed, several_are_the_daemons)
{
	push_pattern("Cookie: <s100>; <s50>|");
	cr_assert_eq(pair_head(&pair, with("Cookie: <s100>; <s50>|")).verdict, HT_VERDICT_MISS);
	cr_assert_eq(pair_head(&pair, with("Cookie: <s100>; s=x|")).verdict, HT_VERDICT_MISS);
	pair_expect(&pair, "", 0);
}

/* With a miss beside it nothing leaves, opened or not; then everything does. */
Test(sealed, one_miss_withholds_all)
{
	char want[HT_HEAD_MAX];

	push_pattern("Cookie: <s100>|");
	cr_assert_eq(pair_head(&pair, with("Cookie: <s100>; <t50>|")).verdict, HT_VERDICT_MISS);
	push_pattern("Cookie: <t50>|");
	cr_assert_eq(pair_head(&pair, with("Cookie: <s100>; <t50>|")).hit, 3);
	pair_expect(&pair, want, write_pattern("Cookie: <s100>; <t50>|", true, want));
}

/* There is no memo of plaintext: what is gone from the map is gone. */
Test(sealed, flush_forgets)
{
	struct ht_sealed_use use;

	push_pattern("Cookie: <s100>; <t50>|");
	cr_assert_eq(pair_head(&pair, with("Cookie: <s100>|")).hit, 1);
	ht_offload_sealed(rig.offload, &use);
	cr_assert_eq(use.live, 2);
	ht_offload_flush(rig.offload);
	cr_assert_eq(pair_head(&pair, with("Cookie: <s100>|")).verdict, HT_VERDICT_MISS);
	ht_offload_sealed(rig.offload, &use);
	cr_assert_eq(use.live, 0);
	cr_assert_eq(use.flushed, 2);
	cr_assert_eq(use.evicted, 0);
}

Test(sealed, full_map_evicts_and_goes_on)
{
	struct ht_sealed_use use;

	for (int i = 0; i < 4 * HT_SEALED_MAX; i++) {
		struct ht_push p = push_of(names[i % 4], (size_t)i / 4 + 1);

		push(&p);
	}
	ht_offload_sealed(rig.offload, &use);
	cr_assert_leq(use.live, RIG_SEALED);
	cr_assert_gt(use.live, 0);
	cr_assert_eq(use.evicted, 4 * HT_SEALED_MAX - use.live);
	cr_assert_eq(use.max, RIG_SEALED);
	cr_assert_geq(use.bytes, RIG_SEALED * sizeof(struct ht_sealed));
	cr_assert_eq(pair_head(&pair, with("Cookie: <s1024>|")).hit, 1);
}

Test(sealed, a_body_follows)
{
	static const char pattern[] = "Content-Length: 5|Cookie: <s100>|";
	char head[HT_HEAD_MAX], want[HT_HEAD_MAX];
	struct ht_gate_answer a;
	size_t n;

	push_pattern(pattern);
	n = write_pattern(pattern, false, head);
	cr_assert_eq(pair_try(&pair, head, n, true, &a), 0);
	cr_assert_eq(ht_gate_send_body(&pair.gate, "hello", 5, false), 5);
	cr_assert_eq(pair_head(&pair, head_with(NULL)).verdict, HT_VERDICT_PASS);
	n = write_pattern(pattern, true, want);
	n += sprintf(want + n, "hello%s", head_with(NULL));
	pair_expect(&pair, want, n);
}

/* ---- tokens of another profile, report-only rules ---- */

Test(sealed, a_token_beside_it_is_judged_as_one)
{
	rig_seal(&rig, 1 << P);
	push_signed('p');
	cr_assert_eq(pair_head(&pair, with("Cookie: <p>; a=1|")).hit, 1);
	/* and without it, it is a sealed one */
	cr_assert_eq(pair_head(&pair, with("Cookie: <p100>; a=1|")).verdict, HT_VERDICT_MISS);
	push_pattern("Cookie: <p100>|");
	cr_assert_eq(pair_head(&pair, with("Cookie: <p100>; a=1|")).hit, 1);
}

Test(sealed, report_opens_what_it_knows)
{
	char want[HT_HEAD_MAX];

	cr_assert_eq(pair_head(&pair, with("Cookie: <w100>|")).verdict, HT_VERDICT_MISS);
	push_pattern("Cookie: <w100>|");
	cr_assert_eq(pair_head(&pair, with("Cookie: <w100>|")).hit, 1 << 0);
	pair_expect(&pair, want, write_pattern("Cookie: <w100>|", true, want));
}

/* The daemon has seen it and could not help it: nothing is enforced. */
Test(sealed, report_passes_what_the_daemon_has_seen)
{
	const uint64_t digest[2] = {7, 9};
	struct ht_gate_answer a;

	pair.opened = digest;
	a = pair_head(&pair, head_with("w=one; w=two"));
	cr_assert_eq(a.verdict, HT_VERDICT_PASS);
	cr_assert_eq(a.unknown, 1);
	a = pair_head(&pair, head_with("s=one"));
	cr_assert_eq(a.verdict, HT_VERDICT_MISS);
	pair_expect_text(&pair, head_with("w=one; w=two"));
}

/* But what was scribbled over stays here even then. */
Test(sealed, report_never_passes_what_is_torn)
{
	struct ht_push p = push_of('w', 100);
	const uint64_t digest[2] = {7, 9};

	p.token.tag[0] ^= 1;
	push(&p);
	pair.opened = digest;
	cr_assert_eq(pair_head(&pair, with("Cookie: <w100>|")).verdict, HT_VERDICT_MISS);
	pair_expect(&pair, "", 0);
}

/* ---- plaintext from the daemon itself ---- */

Test(sealed, plaintext_passes_under_its_digest_alone)
{
	static const char *const values[] = {"x", "plain-text", "a value=with; "};
	const uint64_t digest[2] = {0x1234, 0x5678}, other[2] = {0x1234, 0x5679};
	char want[4096] = "";

	for (size_t i = 0; i < 2; i++) {
		struct ht_push p = rig_opened_make(&rig, S, digest, "s", HT_STR(values[i]));
		char cookies[64];

		snprintf(cookies, sizeof(cookies), "a=1; s=%s", values[i]);
		push(&p);
		pair.opened = NULL;
		cr_assert_eq(pair_head(&pair, head_with(cookies)).verdict, HT_VERDICT_MISS);
		pair.opened = other;
		cr_assert_eq(pair_head(&pair, head_with(cookies)).verdict, HT_VERDICT_MISS);
		pair.opened = digest;
		cr_assert_eq(pair_head(&pair, head_with(cookies)).hit, 1);
		strcat(want, head_with(cookies));
	}
	/* the one head, not the next on this connection */
	pair.opened = NULL;
	cr_assert_eq(pair_head(&pair, head_with("a=1; s=x")).verdict, HT_VERDICT_MISS);
	pair_expect_text(&pair, want);
}

/* Other kinds of cookies know no such digest, and a session id's token is not plaintext's. */
Test(sealed, plaintext_is_only_for_sealed_rules)
{
	const uint64_t digest[2] = {0x1234, 0x5678};
	struct ht_push p = rig_opened_make(&rig, P, digest, "p", HT_STR("x")),
		       bound = rig_opened_make(&rig, S, rig.bind.digest, "s", HT_STR("x"));

	push(&p);
	push(&bound);
	pair.opened = digest;
	cr_assert_eq(pair_head(&pair, head_with("p=x; p_HMAC=x")).verdict, HT_VERDICT_MISS);
	cr_assert_eq(pair_head(&pair, head_with("s=x")).verdict, HT_VERDICT_MISS);
	pair_expect(&pair, "", 0);
}

/* ---- the map ---- */

static bool is_pinned(const char *dir, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return !access(path, F_OK);
}

/* Tokens may outlive the daemon; plaintext never does. */
Test(sealed, is_gone_with_the_daemon)
{
	struct ht_offload_params p = {.gate = HT_REQUIRE,
				      .max_tokens = 64,
				      .max_sealed = 64,
				      .max_slots = 4,
				      .max_sites = 1,
				      .keep = true};
	struct ht_push entry = push_of('s', 100);
	struct ht_sealed_use use;
	struct ht_offload *o;
	char dir[64], why[256];

	snprintf(dir, sizeof(dir), "/sys/fs/bpf/ht-bpf-%d", getpid());
	p.pin = dir;
	cr_assert_eq(ht_offload_open(&p, &o, why, sizeof(why)), 0, "%s", why);
	cr_assert(is_pinned(dir, "sealed") && is_pinned(dir, "tokens"));
	cr_assert_eq(ht_offload_push(o, &entry), 0);
	p.id = ht_offload_id(o);
	struct ht_sip_keys keys = *ht_offload_keys(o);

	ht_offload_close(o);
	cr_assert(!is_pinned(dir, "sealed") && is_pinned(dir, "tokens"));
	p.sip = &keys;
	p.keep = false;
	cr_assert_eq(ht_offload_open(&p, &o, why, sizeof(why)), 0, "%s", why);
	ht_offload_sealed(o, &use);
	cr_assert_eq(use.live, 0);
	ht_offload_close(o);
	cr_assert(access(dir, F_OK));
}

Test(sealed, no_room_for_any)
{
	struct ht_push p = push_of('s', 100);

	rig_close(&rig);
	rig_open_sealed(&rig, 0, 0);
	cr_assert_eq(ht_offload_push(rig.offload, &p), -ENOSPC);
}

#endif
