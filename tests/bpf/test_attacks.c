/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every way around the gate that is known. This file is built twice. Against the weakened build
 * (tests/bpf/weak.h) each test leaves one guard out and shows that the attack then works: forged
 * bytes arrive. Against the product the same attack is shown to be closed. Where the kernel
 * itself misbehaves (a latched verdict, a displaced socket) a careless caller stands for the
 * missing guard, using the bare socket instead of offload.h.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <sys/socket.h>

#include "http.h"
#include "rig.h"

#ifdef HT_WEAK
#define ATTACK(name) Test(shown, name)
#define WEAKENED true
#else
#define ATTACK(name) Test(closed, name)
#define WEAKENED false
#endif

static struct rig rig;
static struct pair pair;
static char got[RIG_BUF + 1], mac[64];

static void start(uint32_t weak)
{
	rig_open(&rig, WEAKENED ? weak : 0);
	pair_open(&pair, &rig);
}

static void finish(void)
{
	rig_close(&rig);
}

TestSuite(shown, .fini = finish);
TestSuite(closed, .fini = finish);

/* Did the bytes arrive? */
static bool arrived(const char *what)
{
	size_t n = pair_close(&pair, false, got);

	return memmem(got, n, what, strlen(what));
}

/* The attack works exactly where its guard is left out. */
#define cr_attack(worked)                                                                          \
	cr_assert_eq((worked), WEAKENED, "%s",                                                     \
		     WEAKENED ? "the attack no longer shows anything" : "the attack works")

static int raw(const void *data, size_t len)
{
	return send(pair.gate.fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static const char *evil(void)
{
	return head_with("sid=EVIL");
}

/* A caller that sends again without a new seq has the next head judged by an old slot. */
ATTACK(stale_slot)
{
	const char *next = head_with("other=1; EVIL=1");

	start(HT_WEAK_SEQ);
	pair_head(&pair, head_with(NULL));
	raw(next, strlen(next));
	cr_attack(arrived("EVIL"));
}

ATTACK(surplus_body_bytes)
{
	static const char head[] = "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n";
	struct ht_gate_answer a;
	char body[512];
	int n = snprintf(body, sizeof(body), "ab%s", evil());

	start(HT_WEAK_BODY);
	cr_assert_eq(pair_try(&pair, head, sizeof(head) - 1, true, &a), 0);
	ht_gate_send_body(&pair.gate, body, n, false);
	cr_attack(arrived("EVIL"));
}

ATTACK(surplus_chunk_bytes)
{
	static const char head[] = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
	struct ht_gate_answer a;
	char body[512];
	int n = snprintf(body, sizeof(body), "ab\r\n0\r\n\r\n%s", evil());

	start(HT_WEAK_BODY);
	cr_assert_eq(pair_try(&pair, head, sizeof(head) - 1, true, &a), 0);
	ht_gate_send_chunk_line(&pair.gate, "2\r\n", 3);
	ht_gate_send_body(&pair.gate, body, n, false);
	cr_attack(arrived("EVIL"));
}

/* A Cookie in a trailer is merged into the head by some backends. */
ATTACK(cookie_in_a_trailer)
{
	static const char head[] = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
	static const char end[] = "0\r\nCookie: sid=EVIL\r\n\r\n";
	struct ht_gate_answer a;

	start(HT_WEAK_CHUNK);
	cr_assert_eq(pair_try(&pair, head, sizeof(head) - 1, true, &a), 0);
	ht_gate_send_end(&pair.gate, end, sizeof(end) - 1);
	cr_attack(arrived("EVIL"));
}

/* The head of the next request would be taken for the missing body, and its body for a head. */
ATTACK(pooled_connection_with_an_unfinished_upload)
{
	static const char head[] = "POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n";
	struct ht_gate_answer a;

	start(HT_WEAK_STATE);
	cr_assert_eq(pair_try(&pair, head, sizeof(head) - 1, true, &a), 0);
	ht_gate_send_body(&pair.gate, "half", 4, false);
	pair_try(&pair, head_with("smuggled=1"), strlen(head_with("smuggled=1")), false, &a);
	cr_attack(arrived("smuggled"));
}

/*
 * One send of more than a message is several runs: the first is popped, the second sees the tail,
 * which the attacker has made look like a head of its own.
 */
ATTACK(pop_all_on_a_split_send)
{
	static char big[RIG_BUF];
	static const char tail[] = "HTTP/1.1\r\nX-Smuggled: EVIL\r\n\r\n";
	struct ht_gate_answer a;
	size_t len;

	start(HT_WEAK_SEQ | HT_WEAK_SIZE);
	/* wherever the split falls, the rest reads "xxx HTTP/1.1": try lengths around it */
	for (len = 20000; len < 800000; len += 20000) {
		memset(big, 'x', len);
		memcpy(big, "GET /", 5);
		big[len - sizeof(tail)] = ' ';
		memcpy(big + len - sizeof(tail) + 1, tail, sizeof(tail) - 1);
		if (pair_try(&pair, big, len, false, &a))
			break;
		if (pair.gate.slot->counts[HT_COUNT_RUNS] > 1 && WEAKENED &&
		    recv(pair.peer, got, sizeof(got), MSG_DONTWAIT | MSG_PEEK) > 0)
			break;
	}
	cr_attack(arrived("EVIL"));
}

static const char upgrade[] = "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

ATTACK(tunnel_without_an_upgrade)
{
	start(HT_WEAK_TUNNEL);
	pair_head(&pair, head_with(NULL));
	ht_gate_send_tunnel(&pair.gate, evil(), strlen(evil()));
	cr_attack(arrived("EVIL"));
}

ATTACK(tunnel_after_a_post)
{
	static const char post[] = "POST / HTTP/1.1\r\nConnection: upgrade\r\n"
				   "Upgrade: websocket\r\n\r\n";

	start(HT_WEAK_TUNNEL);
	pair_head(&pair, post);
	ht_gate_send_tunnel(&pair.gate, evil(), strlen(evil()));
	cr_attack(arrived("EVIL"));
}

/* A tunnel stays one: a connection that was one is never pooled. */
ATTACK(head_after_a_tunnel_and_tunnel_again)
{
	struct ht_gate_answer a;

	start(HT_WEAK_STATE);
	pair_head(&pair, upgrade);
	cr_assert_eq(ht_gate_send_tunnel(&pair.gate, "x", 1), 1);
	pair_try(&pair, head_with("reused=1"), strlen(head_with("reused=1")), false, &a);
	cr_attack(arrived("reused"));
}

/* HTTP/2 over this connection would never be judged again. */
ATTACK(upgrade_to_h2c)
{
	static const char h2c[] = "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
				  "HTTP2-Settings: EVIL\r\n\r\n";
	struct ht_gate_answer a;

	start(HT_WEAK_UPGRADE);
	pair_try(&pair, h2c, sizeof(h2c) - 1, false, &a);
	cr_attack(arrived("EVIL"));
}

ATTACK(seventeen_covered_cookies)
{
	char cookies[1024] = "";
	struct ht_gate_answer a;
	const char *head;

	start(HT_WEAK_COOKIES);
	for (int i = 0; i < 16; i++)
		strcat(cookies, "sid=x; ");
	strcat(cookies, "sid=EVIL");
	head = head_with(cookies);
	pair_try(&pair, head, strlen(head), false, &a);
	if (!WEAKENED) {
		cr_assert_eq(a.verdict, HT_VERDICT_REFUSED);
		cr_assert_eq(a.reason, HT_REASON_COOKIES);
	}
	cr_attack(arrived("EVIL"));
}

/* What the gate does not know is popped as a whole. */
ATTACK(failed_pop)
{
	const char *head = head_with("sid=EVIL; sid_HMAC=unknown");
	struct ht_gate_answer a;
	int err;

	start(HT_WEAK_POP | HT_FAIL_POP);
	err = pair_try(&pair, head, strlen(head), false, &a);
	if (!WEAKENED)
		cr_assert_eq(err, 0); /* nothing fails here; see a_failure_is_a_drop */
	cr_attack(arrived("EVIL"));
}

#ifdef HT_WEAK
/* The product's answer to failing helpers, which only the weakened build can make fail. */
Test(shown, a_failure_is_a_drop)
{
	static const struct {
		uint32_t fail;
		enum ht_reason reason;
	} rows[] = {{HT_FAIL_POP, HT_REASON_POP}, {HT_FAIL_PULL, HT_REASON_PULL}};
	struct ht_gate_answer a;

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		if (i)
			rig_close(&rig);
		start(rows[i].fail);
		cr_assert_eq(pair_try(&pair, evil(), strlen(evil()), false, &a), -EACCES);
		cr_assert_eq(a.reason, rows[i].reason);
		pair_expect(&pair, "", 0);
	}
}

/* An unpulled head that straddles fragments is read only in part: what is beyond looks empty. */
Test(shown, a_failed_pull_that_is_ignored_refuses_at_least)
{
	struct ht_gate_answer a;

	start(HT_WEAK_PULL | HT_FAIL_PULL);
	cr_assert_eq(pair_try(&pair, evil(), strlen(evil()), false, &a), 0);
	cr_assert(!arrived("EVIL"));
}
#endif

/* The LRU may give an element to another session while the program holds it. */
ATTACK(entry_recycled_under_the_reader)
{
	struct ht_push push;
	const char *head;
	char cookies[128];

	start(HT_WEAK_RECYCLED);
	/* what a reader sees who found "victim" and reads what was "other" by now */
	push = rig_push_make(&rig, 0, "victim", NULL);
	push.token = rig_push_make(&rig, 0, "other", NULL).token;
	ht_offload_push(rig.offload, &push);
	snprintf(cookies, sizeof(cookies), "sid=victim; sid_HMAC=%s",
		 rig_token(&rig, "victim", mac));
	head = head_with(cookies);
	/* the victim's valid cookie is cut; the product asks the daemon */
	cr_assert_eq(pair_head(&pair, head).verdict, WEAKENED ? HT_VERDICT_PASS : HT_VERDICT_MISS);
	pair_close(&pair, false, got);
	cr_attack(memmem(got, 200, "X: y", 4) && !memmem(got, 200, "sid=victim", 10));
}

/* The same with plaintext: what is copied may be somebody else's by then. */
ATTACK(recycled_plaintext)
{
	char value[64] = "0123456789012345678901234567890123456789";
	struct ht_push push, other;

	start(HT_WEAK_SEALED_TAG);
	rig_seal(&rig, 1);
	push = rig_sealed_make(&rig, 0, "sid", HT_STR(value), HT_STR("mine"));
	other = rig_sealed_make(&rig, 0, "sid", HT_STR("of another"), HT_STR("EVIL"));
	push.token = other.token;
	push.sealed = other.sealed;
	ht_offload_push(rig.offload, &push);
	cr_assert_eq(
		pair_head(&pair, head_with("sid=0123456789012345678901234567890123456789")).verdict,
		WEAKENED ? HT_VERDICT_PASS : HT_VERDICT_MISS);
	cr_attack(arrived("sid=EVIL"));
}

/* The daemon let one client's plaintext through; the next head on that connection is another's. */
ATTACK(plaintext_after_a_head_with_the_same)
{
	const uint64_t digest[2] = {1, 2};
	struct ht_push push;

	start(HT_WEAK_OPENED);
	rig_seal(&rig, 1);
	push = rig_opened_make(&rig, 0, digest, "sid", HT_STR("plain"));
	ht_offload_push(rig.offload, &push);
	pair.opened = digest;
	cr_assert_eq(pair_head(&pair, head_with("sid=plain")).hit, 1);
	pair.opened = NULL;
	pair_head(&pair, head_with("sid=plain; EVIL=1"));
	cr_attack(arrived("EVIL"));
}

/* Half an element: the tag of one session beside the generations of a later one. */
ATTACK(old_tag_beside_new_generations)
{
	struct ht_push old, new;
	char cookies[128];

	start(HT_WEAK_GENERATION);
	old = rig_push_make(&rig, 0, "EVIL", NULL);
	rig.key.gen++;
	ht_offload_generations(rig.offload, &rig.ring);
	new = rig_push_make(&rig, 0, "EVIL", NULL);
	cr_assert_neq(old.token.tag[0], new.token.tag[0], "the generation is part of the tag");
	old.token.check_lo = new.token.check_lo;
	snprintf(cookies, sizeof(cookies), "sid=EVIL; sid_HMAC=%s", rig_token(&rig, "EVIL", mac));
	ht_offload_push(rig.offload, &old);
	pair_head(&pair, head_with(cookies));
	cr_attack(arrived("EVIL"));
}

/* The daemon verified, the key was revoked, and only then the daemon pushes. */
ATTACK(generation_bump_racing_a_push)
{
	struct ht_push late;
	char cookies[128];

	start(HT_WEAK_GENERATION);
	late = rig_push_make(&rig, 0, "EVIL", NULL);
	rig.ring.global_gen++;
	ht_offload_generations(rig.offload, &rig.ring);
	ht_offload_push(rig.offload, &late);
	snprintf(cookies, sizeof(cookies), "sid=EVIL; sid_HMAC=%s", rig_token(&rig, "EVIL", mac));
	pair_head(&pair, head_with(cookies));
	cr_attack(arrived("EVIL"));
}

/* ---- admission: sockets that nobody guards ---- */

/* Two sockets under one key: with BPF_ANY the first is thrown out of the sockhash, ungated. */
ATTACK(displaced_socket)
{
	struct pair second;

	start(HT_FAIL_SAME_KEY | HT_WEAK_DISPLACE);
	pair_open(&second, &rig);
	raw(evil(), strlen(evil()));
	cr_attack(arrived("EVIL"));
	pair_close(&second, true, got);
}

#ifdef HT_WEAK
Test(shown, a_key_that_is_taken_admits_nobody)
{
	struct pair second;

	start(HT_FAIL_SAME_KEY);
	cr_assert(pair.admitted);
	pair_open(&second, &rig);
	cr_assert(!second.admitted);
	/* and the first is still guarded */
	raw(evil(), strlen(evil()));
	cr_assert(!arrived("EVIL"));
	pair_close(&second, true, got);
}

Test(shown, a_full_sockhash_admits_nobody)
{
	struct pair second;

	start(HT_WEAK_FULL);
	cr_assert(pair.admitted);
	pair_open(&second, &rig);
	cr_assert(!second.admitted);
	cr_assert_geq(rig_count(&rig, HT_COUNT_NOT_ADMITTED), 1);
	pair_close(&second, true, got);
}

Test(shown, map_full_if_the_insert_is_not_checked)
{
	struct pair second;

	start(HT_WEAK_FULL | HT_WEAK_ADMIT);
	pair_open(&second, &rig);
	cr_assert(second.admitted, "a lie");
	send(second.gate.fd, evil(), strlen(evil()), 0);
	cr_assert(memmem(got, pair_close(&second, false, got), "EVIL", 4));
}

Test(shown, no_program_attached)
{
	struct ht_gate_answer a;

	start(HT_WEAK_ATTACH);
	cr_assert(pair.admitted, "the sockhash takes sockets without a program");
	/* the caller's own check notices, though too late for this head: attach comes first */
	cr_assert_eq(pair_try(&pair, evil(), strlen(evil()), false, &a), -EPROTO);
	cr_assert(arrived("EVIL"));
}
#else
Test(closed, slots_used_up)
{
	struct pair all[64];
	struct ht_gate g;

	start(0);
	for (int i = 0; i < 63; i++) {
		pair_open(&all[i], &rig);
		cr_assert(all[i].admitted);
	}
	cr_assert_eq(ht_gate_open(&g, rig.offload, socket(AF_INET, SOCK_STREAM, 0)), -ENOSPC);
	for (int i = 0; i < 63; i++)
		pair_close(&all[i], true, got);
	/* and they come back */
	pair_open(&all[0], &rig);
	cr_assert(all[0].admitted);
	pair_close(&all[0], true, got);
}

Test(closed, sockets_without_storage_are_left_alone)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	start(0);
	cr_assert(!getsockname(rig.listener, (struct sockaddr *)&a, &len));
	cr_assert(!connect(fd, (struct sockaddr *)&a, len));
	cr_assert_eq(send(fd, "hello", 5, 0), 5);
	cr_assert_eq(rig_count(&rig, HT_COUNT_RUNS), 0);
	close(fd);
}
#endif

/* ---- short sends: the kernel's own trap, opened by a careless caller ---- */

static void shrink_queue(void)
{
	const int small = 16384;

	setsockopt(pair.gate.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	setsockopt(pair.peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
}

/* Fills the socket's queue with a body until a send comes up short. Returns what is missing. */
static size_t fill_queue(size_t length)
{
	static char zeros[RIG_BUF];
	char head[128];
	struct ht_gate_answer a;
	ssize_t n;

	shrink_queue();
	snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nContent-Length: %zu\r\n\r\n", length);
	cr_assert_eq(pair_try(&pair, head, strlen(head), true, &a), 0);
	while (length) {
		size_t want = length < sizeof(zeros) ? length : sizeof(zeros);

		n = ht_gate_send_body(&pair.gate, zeros, want, false);
		if (n < 0)
			break;
		length -= n;
		if ((size_t)n < want)
			break;
	}
	return length;
}

ATTACK(latched_verdict_after_a_short_send)
{
	uint32_t runs;
	size_t left;
	ssize_t n;

	start(0);
	left = fill_queue(64 << 20);
	cr_assert_gt(left, 0);
	cr_assert_gt(pair.gate.pending, 0, "the send was not short");
	if (!WEAKENED) {
		struct ht_gate_answer a;

		/* our caller knows what it owes, and sends nothing else */
		cr_assert_eq(pair_try(&pair, evil(), strlen(evil()), false, &a), -EINVAL);
		cr_assert_eq(ht_gate_send_body(&pair.gate, evil(), strlen(evil()), false), -EINVAL);
		ht_gate_close(&pair.gate, true);
		close(pair.peer);
		return;
	}
	/* make room, then send something else instead of the rest: nobody looks at it */
	runs = pair.gate.slot->counts[HT_COUNT_RUNS];
	do {
		recv(pair.peer, got, sizeof(got), MSG_DONTWAIT);
		n = raw(evil(), strlen(evil()));
	} while (n < 0 && errno == EAGAIN);
	cr_assert_eq(n, (ssize_t)strlen(evil()));
	cr_assert_eq(pair.gate.slot->counts[HT_COUNT_RUNS], runs, "the program did run");
	cr_assert(arrived("EVIL"));
}

/* A head as offload.h would send it, by a caller who only looks at what send() says. */
static ssize_t careless_head(const char *head, size_t len)
{
	pair.gate.slot->kind = HT_KIND_HEAD;
	pair.gate.slot->seq = ++pair.gate.seq;
	return raw(head, len);
}

/*
 * send() counts the bytes that were cut as sent. When the queue is full, what it calls the rest
 * begins too late by as much, is not looked at, and holds what should have been cut. Closed by:
 * nothing queued, 256 KB of buffer, heads of 16 KB at the most, a connection that is reset when
 * a head comes up short, and a cut that leaves the head in one piece, which leaves as one.
 */
ATTACK(edit_and_short_send)
{
	static const char cookie[] = "\r\nCookie: sid=EVILEVILEVIL\r\n\r\n";
	static char head[HT_HEAD_MAX + 1];
	size_t len = 0;
	struct ht_gate_answer a;
	ssize_t n = 0, rest;
	int err = 0;

	start(HT_WEAK_CUT);
	shrink_queue();
	/* the peer reads too little: sooner or later a head comes up short */
	for (int i = 0; i < 10000 && !err && (!WEAKENED || n == (ssize_t)len); i++) {
		len = HT_HEAD_MAX - i * 977 % 12000;
		memset(head, 'x', len);
		memcpy(head, "GET / HTTP/1.1\r\nX: ", 19);
		memcpy(head + len - sizeof(cookie) + 1, cookie, sizeof(cookie) - 1);
		if (!WEAKENED)
			err = pair_try(&pair, head, len, false, &a);
		while (WEAKENED && (n = careless_head(head, len)) < 0)
			recv(pair.peer, got, 10000, MSG_DONTWAIT);
	}
	while (WEAKENED && n < (ssize_t)len) {
		recv(pair.peer, got, sizeof(got), MSG_DONTWAIT);
		rest = raw(head + n, len - n);
		n += rest > 0 ? rest : 0;
	}
	cr_assert(WEAKENED || err, "no head came up short");
	n = pair_close(&pair, !WEAKENED, got);
	cr_attack(memmem(got, n, "EVIL", 4) != NULL);
}

/* ---- a drop is for ever ---- */

ATTACK(sticky_drop)
{
	struct ht_gate_answer a;
	uint32_t runs;

	start(0);
	cr_assert_eq(ht_gate_send_body(&pair.gate, "x", 1, false), -EACCES);
	runs = pair.gate.slot->counts[HT_COUNT_RUNS];
	cr_assert_eq(pair_try(&pair, head_with(NULL), strlen(head_with(NULL)), false, &a), -EACCES);
	cr_assert_lt(raw("x", 1), 0);
	cr_assert_eq(pair.gate.slot->counts[HT_COUNT_RUNS], runs, "the program ran again");
	pair_expect(&pair, "", 0);
}
