/* SPDX-License-Identifier: Apache-2.0 */
/* What the gate does with heads and bodies when everybody plays by the rules. */
#include <criterion/criterion.h>

#include "http.h"
#include "rig.h"

#ifndef HT_WEAK

static struct rig rig;
static struct pair pair;
static char mac[64], text[HT_HEAD_MAX + 64];

static void open_one(void)
{
	rig_open(&rig, 0);
	pair_open(&pair, &rig);
	cr_assert(pair.admitted);
}

static void close_one(void)
{
	rig_close(&rig);
}

TestSuite(gate, .init = open_one, .fini = close_one);

/* "sid=V; sid_HMAC=T" with the right token */
static const char *signed_cookie(const char *name, const char *value)
{
	static char out[8][512];
	static int i;
	char *p = out[i++ & 7];

	snprintf(p, 512, "%s=%s; %s_HMAC=%s", name, value, name, rig_token(&rig, value, mac));
	return p;
}

Test(gate, no_cookie_passes_untouched)
{
	cr_assert_eq(pair_head(&pair, head_with(NULL)).verdict, HT_VERDICT_PASS);
	pair_expect_text(&pair, head_with(NULL));
}

Test(gate, uncovered_cookies_pass_untouched)
{
	cr_assert_eq(pair_head(&pair, head_with("a=1; sidx=2; SID=3; x_sid=4")).verdict,
		     HT_VERDICT_PASS);
	pair_expect_text(&pair, head_with("a=1; sidx=2; SID=3; x_sid=4"));
}

Test(gate, unknown_token_is_a_miss_and_nothing_leaves)
{
	const char *head = head_with(signed_cookie("sid", "abcdef"));

	cr_assert_eq(pair_head(&pair, head).verdict, HT_VERDICT_MISS);
	rig_push(&rig, 0, "abcdef");
	cr_assert_eq(pair_head(&pair, head).verdict, HT_VERDICT_PASS);
	pair_expect_text(&pair, head); /* once, not twice */
}

Test(gate, known_token_is_a_hit)
{
	const char *head = head_with(signed_cookie("sid", "0a1b2c3d4e5f6g7h8i9j0k1l"));
	struct ht_gate_answer a;

	rig_push(&rig, 0, "0a1b2c3d4e5f6g7h8i9j0k1l");
	a = pair_head(&pair, head);
	cr_assert_eq(a.verdict, HT_VERDICT_PASS);
	cr_assert_eq(a.hit, 1);
	cr_assert_eq(rig_count(&rig, HT_COUNT_HIT), 1);
	pair_expect_text(&pair, head);
}

Test(gate, wrong_token_of_a_known_session_is_cut)
{
	struct ht_gate_answer a;

	rig_push(&rig, 0, "abcdef");
	a = pair_head(&pair, head_with("a=1; sid=abcdef; sid_HMAC=forged; b=2"));
	cr_assert_eq(a.verdict, HT_VERDICT_PASS);
	cr_assert_eq(a.forged, 1);
	pair_expect_text(&pair, head_with("a=1; sid_HMAC=forged; b=2"));
}

Test(gate, session_without_token_is_cut)
{
	cr_assert_eq(pair_head(&pair, head_with("a=1; sid=abcdef; b=2")).missing, 1);
	pair_expect_text(&pair, head_with("a=1; b=2"));
}

Test(gate, empty_session_is_cut)
{
	snprintf(text, sizeof(text), "sid=; sid_HMAC=%s", "x");
	cr_assert_eq(pair_head(&pair, head_with(text)).missing, 1);
	pair_expect_text(&pair, head_with("sid_HMAC=x"));
}

Test(gate, another_binding_is_a_miss)
{
	const char *head = head_with(signed_cookie("sid", "abcdef"));

	rig_push(&rig, 0, "abcdef");
	rig.bind.digest[1] ^= 1;
	cr_assert_eq(pair_head(&pair, head).verdict, HT_VERDICT_MISS);
	rig.bind.empty = true;
	cr_assert_eq(pair_head(&pair, head).verdict, HT_VERDICT_MISS);
	pair_expect(&pair, "", 0);
}

Test(gate, token_of_one_cookie_is_none_of_another)
{
	rig_push(&rig, 0, "abcdef");
	cr_assert_eq(pair_head(&pair, head_with(signed_cookie("cart", "abcdef"))).verdict,
		     HT_VERDICT_MISS);
}

Test(gate, duplicates_are_the_daemons)
{
	rig_push(&rig, 0, "abcdef");
	snprintf(text, sizeof(text), "%s; sid=evil", signed_cookie("sid", "abcdef"));
	cr_assert_eq(pair_head(&pair, head_with(text)).verdict, HT_VERDICT_MISS);
	snprintf(text, sizeof(text), "%s; sid_HMAC=evil", signed_cookie("sid", "abcdef"));
	cr_assert_eq(pair_head(&pair, head_with(text)).verdict, HT_VERDICT_MISS);
	pair_expect(&pair, "", 0);
}

Test(gate, report_only_rules_change_nothing)
{
	struct ht_gate_answer a;

	a = pair_head(&pair, head_with("seen=1"));
	cr_assert_eq(a.verdict, HT_VERDICT_PASS);
	cr_assert_eq(a.missing, 1);
	a = pair_head(&pair, head_with("seen=1; seen_HMAC=x"));
	cr_assert_eq(a.unknown, 1);
	rig_push(&rig, 2, "1");
	a = pair_head(&pair, head_with("seen=1; seen_HMAC=x"));
	cr_assert_eq(a.forged, 1);
	cr_assert_eq(a.verdict, HT_VERDICT_PASS);
	snprintf(text, sizeof(text), "%s", head_with("seen=1"));
	strcat(text, head_with("seen=1; seen_HMAC=x"));
	strcat(text, head_with("seen=1; seen_HMAC=x"));
	pair_expect_text(&pair, text);
}

/* The same bytes as the daemon cuts, whatever stands where. */
struct cut_row {
	const char *name, *cookies;
};
static const struct cut_row cuts[] = {
	{"first", "sid=x; a=1"},
	{"middle", "a=1; sid=x; b=2"},
	{"last", "a=1; sid=x"},
	{"only", "sid=x"},
	{"two", "sid=x; cart=y"},
	{"two of three", "sid=x; a=1; cart=y"},
	{"neighbours first", "sid=x; cart=y; a=1"},
	{"neighbours last", "a=1; sid=x; cart=y"},
	{"no blank", "a=1;sid=x;b=2"},
	{"tabs", "a=1;\tsid\t=\tx\t;b=2"},
	{"trailing semicolon", "a=1; sid=x;"},
	{"empty pairs", ";; sid=x;; ;a=1"},
	{"empty name", "a=1; =sid=x; b=2"},
	{"quotes hide nothing", "x=\"1; sid=EVIL; y=2\""},
	{"no equals", "a; sid; b"},
	{"two fields", "a=1; sid=x\r\nCookie: cart=z; b=2"},
	{"whole field of two", "sid=x\r\nCookie: b=2"},
	{"lower-case field", "a=1\r\ncookie: sid=x"},
	{"8-bit bytes", "a=\xe4\xff; sid=\xc3\xa4; b=\x80"},
	{"equals in the value", "sid=a=b=c; x=="},
};

Test(gate, cuts_what_the_daemon_cuts)
{
	const struct ht_policy_client client = {.bind = &rig.bind};
	char want[HT_HEAD_MAX * 2] = "";
	size_t n = 0;

	for (size_t i = 0; i < HT_ARRAY_SIZE(cuts); i++) {
		const char *head = head_with(cuts[i].cookies);
		size_t len = strlen(head);
		struct ht_judgement j;
		struct ht_head scratch;

		memcpy(want + n, head, len);
		cr_assert_eq(pair_head(&pair, head).verdict, HT_VERDICT_PASS, "%s", cuts[i].name);
		cr_assert_eq(ht_policy_judge(&(struct ht_policy_context){&rig.site, &rig.ring, NULL,
									 &client},
					     &scratch, want + n, &len, 0, &j),
			     0);
		cr_assert(!memmem(want + n, len, "sid=", 4), "%s", cuts[i].name);
		n += len;
	}
	pair_expect(&pair, want, n);
}

Test(gate, long_values_hit)
{
	static const size_t lengths[] = {1, 7, 8, 9, 63, 64, 65, 127, 500, 4096, 15000};
	static char value[15001], head[HT_HEAD_MAX + 1];
	struct ht_push push;

	for (size_t i = 0; i < HT_ARRAY_SIZE(lengths); i++) {
		static struct ht_judgement j;
		const struct ht_policy_client client = {.bind = &rig.bind};
		struct ht_head scratch;
		size_t len;

		memset(value, 'a' + i, lengths[i]);
		value[lengths[i]] = 0;
		len = snprintf(head, sizeof(head),
			       "GET / HTTP/1.1\r\nCookie: sid=%s; sid_HMAC=%s\r\n\r\n", value,
			       rig_token(&rig, value, mac));
		cr_assert_eq(pair_head(&pair, head).verdict, HT_VERDICT_MISS);
		cr_assert_eq(
			ht_policy_judge(&(struct ht_policy_context){&rig.site, &rig.ring,
								    ht_offload_keys(rig.offload),
								    &client},
					&scratch, head, &len, 0, &j),
			0);
		cr_assert_eq(j.npushes, 1);
		push = j.push[0];
		ht_offload_push(rig.offload, &push);
		cr_assert_eq(pair_head(&pair, head).hit, 1, "length %zu", lengths[i]);
	}
}

/* Heads of every size around the pull and the scanner's steps, the cookie at every offset. */
Test(gate, every_offset)
{
	const char *pair_text = signed_cookie("sid", "abcdef");
	static char want[RIG_BUF];
	size_t n = 0;

	rig_push(&rig, 0, "abcdef");
	for (int pad = 0; pad < 200; pad++) {
		int len = snprintf(
			text, sizeof(text),
			"GET /%.*s HTTP/1.1\r\nHost: a\r\nCookie: %.*s=1; %s; cart=2\r\n\r\n", pad,
			"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
			"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
			"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
			"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
			pad % 70 + 1,
			"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
			"yyyyyyyyyyyyyyyyyyyy",
			pair_text);
		struct ht_gate_answer a = pair_head(&pair, text);

		cr_assert_eq(a.verdict, HT_VERDICT_PASS);
		cr_assert_eq(a.hit, 1, "padding %d", pad);
		cr_assert_eq(a.missing, 2, "padding %d", pad);
		memcpy(want + n, text, len - 12);
		memcpy(want + n + len - 12, "\r\n\r\n", 4);
		n += len - 8;
	}
	pair_expect(&pair, want, n);
}

struct refusal {
	const char *head;
	enum ht_reason reason;
};
static const struct refusal refusals[] = {
	{"GET / HTTP/1.0\r\n\r\n", HT_REASON_REQUEST_LINE},
	{"GET /\r\nHost: a\r\n\r\n", HT_REASON_REQUEST_LINE},
	{"CONNECT a:1 HTTP/1.1\r\n\r\n", HT_REASON_REQUEST_LINE},
	{"GET / HTTP/1.1\r\n folded: 1\r\n\r\n", HT_REASON_FOLD},
	{"GET / HTTP/1.1\r\nA: 1\r\n\tfolded\r\n\r\n", HT_REASON_FOLD},
	{"GET / HTTP/1.1\r\nCookie : sid=x\r\n\r\n", HT_REASON_FIELD_NAME},
	{"GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n", HT_REASON_FIELD_NAME},
	{"GET / HTTP/1.1\r\nTransfer-Encoding\t: chunked\r\n\r\n", HT_REASON_FIELD_NAME},
	{"GET / HTTP/1.1\r\nConnection : upgrade\r\n\r\n", HT_REASON_FIELD_NAME},
	{"GET / HTTP/1.1\r\nUpgrade : websocket\r\n\r\n", HT_REASON_FIELD_NAME},
	{"GET / HTTP/1.1\r\nA: 1\rB: 2\r\n\r\n", HT_REASON_CONTROL},
	{"GET / HTTP/1.1\r\nA: 1\nB: 2\r\n\r\n", HT_REASON_CONTROL},
	{"GET / HTTP/1.1\nA: 1\n\n", HT_REASON_CONTROL},
	{"GET / HTTP/1.1\r\nA: \x01\r\n\r\n", HT_REASON_CONTROL},
	{"GET / HTTP/1.1\r\nCookie: a=\x02\r\n\r\n", HT_REASON_CONTROL},
	{"POST / HTTP/1.1\r\nContent-Length: 5x\r\n\r\n", HT_REASON_LENGTH},
	{"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", HT_REASON_LENGTH},
	{"POST / HTTP/1.1\r\nContent-Length: \r\n\r\n", HT_REASON_LENGTH},
	{"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", HT_REASON_LENGTH},
	{"POST / HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n", HT_REASON_LENGTH},
	{"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", HT_REASON_CODING},
	{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
	 HT_REASON_CODING},
	{"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
	 HT_REASON_CODING},
	{"GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", HT_REASON_CONNECTION},
	{"GET / HTTP/1.1\r\nUpgrade: a, b\r\n\r\n", HT_REASON_UPGRADE},
	{"GET / HTTP/1.1\r\nHost: a\r\n", HT_REASON_INCOMPLETE},
	{"GET / HTTP/1.1", HT_REASON_INCOMPLETE},
	{"GET", HT_REASON_INCOMPLETE},
	{"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", HT_REASON_SURPLUS},
	{"GET / HTTP/1.1\r\n\r\nx", HT_REASON_SURPLUS},
	{"GET / HTTP/1.1\r\nCookie: sid=          x\r\n\r\n", HT_REASON_BLANKS},
	{"GET / HTTP/1.1\r\nCookie:           sid=x\r\n\r\n", HT_REASON_BLANKS},
};

Test(gate, refuses_what_it_does_not_understand)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(refusals); i++) {
		struct ht_gate_answer a = pair_head(&pair, refusals[i].head);

		cr_assert_eq(a.verdict, HT_VERDICT_REFUSED, "%s", refusals[i].head);
		cr_assert_eq(a.reason, refusals[i].reason, "%s: %s", refusals[i].head,
			     ht_reason_name(a.reason));
		cr_assert_geq(rig_count(&rig, HT_COUNT_REASON + refusals[i].reason), 1);
	}
	/* the connection is as good as new */
	cr_assert_eq(pair_head(&pair, head_with(NULL)).verdict, HT_VERDICT_PASS);
	pair_expect_text(&pair, head_with(NULL));
}

static void head_of(size_t size, bool good)
{
	size_t n = snprintf(text, sizeof(text),
			    "GET / HTTP/1.1\r\nCookie: %s%s\r\nX: ", signed_cookie("sid", "abcdef"),
			    good ? "" : "; cart=1");

	memset(text + n, 'x', size - n - 4);
	memcpy(text + size - 4, "\r\n\r\n", 5);
}

Test(gate, heads_of_16_KB)
{
	struct ht_gate_answer a;

	rig_push(&rig, 0, "abcdef");
	head_of(HT_HEAD_MAX, true);
	a = pair_head(&pair, text);
	cr_assert_eq(a.hit, 1);
	pair_expect(&pair, text, HT_HEAD_MAX);
	pair_open(&pair, &rig);
	head_of(HT_HEAD_MAX + 1, true);
	cr_assert_eq(pair_try(&pair, text, HT_HEAD_MAX + 1, false, &a), -EACCES);
	cr_assert_eq(a.reason, HT_REASON_TOO_LONG);
	pair_expect(&pair, "", 0);
}

Test(gate, bodies_by_length)
{
	static const char head[] = "POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n";
	struct ht_gate_answer a;

	for (int i = 0; i < 2; i++) {
		cr_assert_eq(pair_try(&pair, head, sizeof(head) - 1, true, &a), 0);
		cr_assert_eq(ht_gate_send_body(&pair.gate, "hello ", 6, true), 6);
		cr_assert_eq(ht_gate_send_body(&pair.gate, "world", 5, false), 5);
	}
	pair_expect_text(&pair, "POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello world"
				"POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello world");
}

Test(gate, chunked_bodies_and_data_that_looks_like_a_head)
{
	static const char head[] = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
	const char *evil = head_with("sid=evil");
	struct ht_gate_answer a;
	char line[24], want[4096];
	int n;

	cr_assert_eq(pair_try(&pair, head, sizeof(head) - 1, true, &a), 0);
	n = ht_http_chunk_line(strlen(evil), true, line);
	cr_assert_eq(ht_gate_send_chunk_line(&pair.gate, line, n), n);
	cr_assert_eq(ht_gate_send_body(&pair.gate, evil, strlen(evil), true), strlen(evil));
	n = snprintf(want, sizeof(want), "%s%.*s%s", head, n, line, evil);
	snprintf(want + n, sizeof(want) - n, "\r\n3\r\nabc\r\n0\r\n\r\n%s", head_with(NULL));
	n = ht_http_chunk_line(3, false, line);
	cr_assert_eq(ht_gate_send_chunk_line(&pair.gate, line, n), n);
	cr_assert_eq(ht_gate_send_body(&pair.gate, "abc", 3, true), 3);
	cr_assert_eq(ht_gate_send_end(&pair.gate, "\r\n0\r\n\r\n", 7), 7);
	cr_assert_eq(pair_head(&pair, head_with(NULL)).verdict, HT_VERDICT_PASS);
	pair_expect_text(&pair, want);
}

Test(gate, empty_chunked_body)
{
	static const char head[] = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
	struct ht_gate_answer a;

	cr_assert_eq(pair_try(&pair, head, sizeof(head) - 1, true, &a), 0);
	cr_assert_eq(ht_gate_send_end(&pair.gate, "0\r\n\r\n", 5), 5);
	cr_assert_eq(pair_head(&pair, head_with(NULL)).verdict, HT_VERDICT_PASS);
}

static const char upgrade[] = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
			      "Upgrade: websocket\r\n\r\n";

Test(gate, tunnel_after_an_upgrade)
{
	cr_assert_eq(pair_head(&pair, upgrade).verdict, HT_VERDICT_PASS);
	cr_assert_eq(ht_gate_send_tunnel(&pair.gate, "\x81\x02hi", 4), 4);
	cr_assert_eq(ht_gate_send_tunnel(&pair.gate, "\0\r\n\r\n", 5), 5);
	char want[sizeof(upgrade) + 9];

	memcpy(want, upgrade, sizeof(upgrade) - 1);
	memcpy(want + sizeof(upgrade) - 1, "\x81\x02hi\0\r\n\r\n", 9);
	pair_expect(&pair, want, sizeof(upgrade) - 1 + 9);
}

Test(gate, unused_upgrade_is_forgotten)
{
	cr_assert_eq(pair_head(&pair, upgrade).verdict, HT_VERDICT_PASS);
	cr_assert_eq(pair_head(&pair, head_with(NULL)).verdict, HT_VERDICT_PASS);
	cr_assert_eq(ht_gate_send_tunnel(&pair.gate, "x", 1), -EACCES);
}

Test(gate, tags_of_a_session_merge_up_to_four)
{
	char token[64];

	/* not closed: as during a rotation, several tokens are right at once */
	for (int i = 0; i < 6; i++) {
		struct ht_push push = rig_push_make(&rig, 0, "abcdef", NULL);

		push.token.flags = 0;
		push.token.tag[0] += i;
		cr_assert_eq(ht_offload_push(rig.offload, &push), 0);
	}
	struct ht_push good = rig_push_make(&rig, 0, "abcdef", NULL);

	good.token.flags = 0;
	cr_assert_eq(ht_offload_push(rig.offload, &good), 0);
	for (int i = 10; i < 13; i++) {
		struct ht_push push = good;

		push.token.tag[0] += i;
		cr_assert_eq(ht_offload_push(rig.offload, &push), 0);
	}
	snprintf(text, sizeof(text), "sid=abcdef; sid_HMAC=%s", rig_token(&rig, "abcdef", token));
	cr_assert_eq(pair_head(&pair, head_with(text)).hit, 1);
	/* open entries never cut */
	cr_assert_eq(pair_head(&pair, head_with("sid=abcdef; sid_HMAC=x")).verdict,
		     HT_VERDICT_MISS);
	cr_assert_eq(ht_offload_tokens(rig.offload), 1);
}

Test(gate, expired_entries_miss)
{
	struct ht_push push = rig_push_make(&rig, 0, "abcdef", NULL);
	const char *head = head_with(signed_cookie("sid", "abcdef"));

	push.token.not_after_ns = 1;
	cr_assert_eq(ht_offload_push(rig.offload, &push), 0);
	cr_assert_eq(pair_head(&pair, head).verdict, HT_VERDICT_MISS);
	push.token.not_after_ns = UINT64_MAX;
	cr_assert_eq(ht_offload_push(rig.offload, &push), 0);
	cr_assert_eq(pair_head(&pair, head).hit, 1);
}

Test(gate, flush_counts_and_empties)
{
	char value[16];

	for (int i = 0; i < 100; i++) {
		snprintf(value, sizeof(value), "v%d", i);
		rig_push(&rig, 0, value);
	}
	cr_assert_eq(ht_offload_tokens(rig.offload), 100);
	cr_assert_eq(ht_offload_flush(rig.offload), 100);
	cr_assert_eq(ht_offload_tokens(rig.offload), 0);
	cr_assert_eq(ht_offload_evicted(rig.offload, 0), 0);
}

Test(gate, full_map_evicts_and_goes_on)
{
	char value[16];
	size_t live;

	for (int i = 0; i < 5000; i++) {
		snprintf(value, sizeof(value), "v%d", i);
		rig_push(&rig, 0, value);
	}
	live = ht_offload_tokens(rig.offload);
	cr_assert_leq(live, 2000);
	cr_assert_geq(live, 1500, "only %zu of 2000 are kept", live);
	cr_assert_eq(ht_offload_evicted(rig.offload, live), 5000 - live);
	cr_assert_eq(pair_head(&pair, head_with(signed_cookie("sid", "v4999"))).hit, 1);
}

Test(gate, off_is_a_plain_socket)
{
	const struct ht_offload_params p = {.gate = HT_OFF};
	struct ht_gate_head h = {0};
	struct ht_gate_answer a;
	struct ht_offload *off;
	struct rig plain = rig;
	struct pair q;
	char why[128];

	cr_assert_eq(ht_offload_open(&p, &off, why, sizeof(why)), 0);
	cr_assert(!ht_offload_on(off));
	plain.offload = off;
	pair_open(&q, &plain);
	cr_assert(q.admitted);
	cr_assert_eq(ht_gate_send_head(&q.gate, &h, "x", 1, &a), 0);
	cr_assert_eq(a.verdict, HT_VERDICT_MISS);
	h.judged = true;
	cr_assert_eq(ht_gate_send_head(&q.gate, &h, "x", 1, &a), 0);
	cr_assert_eq(a.verdict, HT_VERDICT_PASS);
	pair_expect_text(&q, "x");
	ht_offload_close(off);
}

#endif
