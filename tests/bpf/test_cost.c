/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gate costs: the size of the verdict program, within a band, on every kernel (a scanner
 * state on the stack loads on 6.1 and misbehaves, and shows here), and the time of a verdict,
 * printed beside an empty sk_msg program and a userspace HMAC in the same run.
 */
#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <linux/bpf.h>
#include <openssl/hmac.h>
#include <stdlib.h>
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
}

static void finish(void)
{
	rig_close(&rig);
}

TestSuite(cost, .init = start, .fini = finish);

#define VERIFIED_MAX 65000 /* kernels differ: 41k on 6.18, 44k on 6.1, 43k on 7.3 */

Test(cost, instructions_within_the_band)
{
	struct bpf_prog_info info = {0};
	uint32_t own = 0, n = 0, len = sizeof(info);

	cr_assert_eq(ht_offload_verdict_insns(rig.offload, &own, &n), 0);
	cr_assert_eq(bpf_obj_get_info_by_fd(ht_offload_verdict_fd(rig.offload), &info, &len), 0);
	printf("cost: verdict program, %u translated instructions of %u, %u verified\n", n, own,
	       info.verified_insns);
	cr_assert(ht_offload_is_whole(own, n), "%u instructions of %u are out of the band", n, own);
	/* each start of a daemon takes as long as the verifier, which gives up at a million */
	cr_expect_lt(info.verified_insns, VERIFIED_MAX);
}

/* A browser's head of about 820 bytes, six cookies, the session last. */
static size_t browser_head(char *out, size_t cap, const char *cookies)
{
	return snprintf(
		out, cap,
		"GET /catalog/item/4711?ref=front&sort=price HTTP/1.1\r\nHost: shop.example.com\r\n"
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 "
		"Firefox/128.0\r\n"
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
		"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
		"Referer: https://shop.example.com/catalog/\r\n"
		"Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: "
		"same-origin\r\n"
		"Cookie: _ga=GA1.2.1234567890.1700000000; _gid=GA1.2.987654321.1700000000; "
		"theme=dark; consent=v2-yes; %s\r\n"
		"X-Forwarded-For: 192.0.2.10\r\nX-Forwarded-Proto: https\r\n"
		"X-Forwarded-Host: shop.example.com\r\n"
		"X-Request-ID: 00112233445566778899aabbccddeeff\r\n\r\n",
		cookies);
}

static size_t signed_head(char *out, size_t cap, const char *value)
{
	char mac[64], cookies[256];

	snprintf(cookies, sizeof(cookies), "sid=%s; sid_HMAC=%s", value,
		 rig_token(&rig, value, mac));
	return browser_head(out, cap, cookies);
}

static double per_run(int prog_fd, struct bpf_prog_info *before)
{
	struct bpf_prog_info now = {0};
	uint32_t len = sizeof(now);
	double ns;

	cr_assert_eq(bpf_obj_get_info_by_fd(prog_fd, &now, &len), 0);
	ns = now.run_cnt > before->run_cnt ? (double)(now.run_time_ns - before->run_time_ns) /
						     (now.run_cnt - before->run_cnt)
					   : 0;
	*before = now;
	return ns;
}

/* An sk_msg program that returns SK_PASS, on a sockmap of its own. */
static int empty_program(int fd)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = SK_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int prog = bpf_prog_load(BPF_PROG_TYPE_SK_MSG, "empty", "GPL", insns, 2, NULL);
	int map = bpf_map_create(BPF_MAP_TYPE_SOCKHASH, "empty", 4, 4, 1, NULL), key = 1;

	cr_assert(prog >= 0 && map >= 0);
	cr_assert_eq(bpf_prog_attach(prog, map, BPF_SK_MSG_VERDICT, 0), 0);
	cr_assert_eq(bpf_map_update_elem(map, &key, &fd, BPF_NOEXIST), 0);
	return prog;
}

static void drain(int fd)
{
	static char sink[1 << 16];

	while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

/* HT_SCALE=small: in a virtual machine times say nothing, but it must work. */
#define ROUNDS (getenv("HT_SCALE") ? 1000 : 20000)

#define HEAD_MAX 2800

static double cost_of_heads(int prog, const char *kind, char (*heads)[HEAD_MAX], const size_t *lens,
			    int n)
{
	struct bpf_prog_info info = {0};
	struct ht_gate_answer a;
	double ns;

	per_run(prog, &info);
	for (int i = 0; i < ROUNDS; i++) {
		cr_assert_eq(pair_try(&pair, heads[i % n], lens[i % n], false, &a), 0);
		drain(pair.peer);
	}
	ns = per_run(prog, &info);
	printf("cost: %-28s %6.0f ns a verdict\n", kind, ns);
	return ns;
}

static double cost_of_hmac(void)
{
	static const char key[] = "AzaZ5678901234567XYZ34567XYZ";
	unsigned char mac[32];
	struct timespec t0, t1;
	unsigned len;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	for (int i = 0; i < ROUNDS; i++)
		HMAC(EVP_sha256(), key, sizeof(key) - 1,
		     (const unsigned char *)"0a1b2c3d4e5f6g7h8i9j0k1l:192.0.2.10", 35, mac, &len);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	return ((t1.tv_sec - t0.tv_sec) * 1e9 + t1.tv_nsec - t0.tv_nsec) / ROUNDS;
}

Test(cost, verdict_beside_an_empty_program)
{
	static char heads[1000][HEAD_MAX];
	static size_t lens[1000];
	struct bpf_prog_info info = {0};
	int stats = bpf_enable_stats(BPF_STATS_RUN_TIME), plain[2], prog;
	struct sockaddr_storage a;
	socklen_t alen = sizeof(a);
	uint64_t ns, runs;
	char value[32];

	cr_assert(stats >= 0);
	for (int i = 0; i < 1000; i++) {
		snprintf(value, sizeof(value), "%024d", i);
		rig_push(&rig, 0, value);
		lens[i] = signed_head(heads[i], sizeof(heads[i]), value);
	}
	prog = ht_offload_verdict_fd(rig.offload);
	printf("cost: heads of %zu bytes, 6 cookies\n", lens[0]);
	cost_of_heads(prog, "same session (memo)", heads, lens, 1);
	cost_of_heads(prog, "1000 sessions (map)", heads, lens, 1000);
	cr_assert_geq(rig_count(&rig, HT_COUNT_HIT), 2 * ROUNDS - 100);

	plain[0] = socket(AF_INET, SOCK_STREAM, 0);
	getsockname(rig.listener, (struct sockaddr *)&a, &alen);
	cr_assert_eq(connect(plain[0], (struct sockaddr *)&a, alen), 0);
	plain[1] = accept(rig.listener, NULL, NULL);
	prog = empty_program(plain[0]);
	per_run(prog, &info);
	for (int i = 0; i < ROUNDS; i++) {
		cr_assert_eq(send(plain[0], heads[0], lens[0], 0), (ssize_t)lens[0]);
		drain(plain[1]);
	}
	printf("cost: %-28s %6.0f ns a run\n", "empty sk_msg program", per_run(prog, &info));
	printf("cost: %-28s %6.0f ns\n", "one HMAC() in userspace", cost_of_hmac());
	cr_assert_eq(ht_offload_run_stats(rig.offload, &ns, &runs), 0);
	cr_assert_geq(runs, 2 * ROUNDS);
	close(stats);
}

#define SEALED_SESSIONS 100

/* Cookies of `len` bytes, sealed, pushed, and the heads with them. */
static void seal_heads(size_t len, char (*heads)[HEAD_MAX], size_t *lens)
{
	static char text[HT_SEALED_MAX], value[2048], cookies[2048 + 8];
	struct ht_push push;

	for (int i = 0; i < SEALED_SESSIONS; i++) {
		size_t n = (len + 56) * 4 / 3;

		memset(text, 'p', len);
		memset(value, 'v', n);
		snprintf(value, sizeof(value), "%04d", i);
		value[4] = 'v';
		value[n] = 0;
		push = rig_sealed_make(&rig, 0, "sid", HT_STR(value), (struct ht_str){text, len});
		cr_assert_eq(ht_offload_push(rig.offload, &push), 0);
		snprintf(cookies, sizeof(cookies), "sid=%s", value);
		lens[i] = browser_head(heads[i], HEAD_MAX, cookies);
	}
}

/* What opening adds: the key is made of the longer value, and the plaintext copied and hashed. */
Test(cost, sealed_beside_signed)
{
	static const size_t lengths[] = {32, 200, 1024};
	static char heads[SEALED_SESSIONS][HEAD_MAX];
	static size_t lens[SEALED_SESSIONS];
	int stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	int prog = ht_offload_verdict_fd(rig.offload);
	char value[32], kind[64];

	cr_assert_geq(stats, 0);
	for (int i = 0; i < SEALED_SESSIONS; i++) {
		snprintf(value, sizeof(value), "%024d", i);
		rig_push(&rig, 0, value);
		lens[i] = signed_head(heads[i], HEAD_MAX, value);
	}
	cost_of_heads(prog, "signed, 100 sessions", heads, lens, SEALED_SESSIONS);
	rig_seal(&rig, 1);
	for (size_t k = 0; k < HT_ARRAY_SIZE(lengths); k++) {
		ht_offload_flush(rig.offload);
		seal_heads(lengths[k], heads, lens);
		snprintf(kind, sizeof(kind), "sealed, %zu bytes", lengths[k]);
		cost_of_heads(prog, kind, heads, lens, SEALED_SESSIONS);
	}
	cr_assert_geq(rig_count(&rig, HT_COUNT_OPENED), 3 * ROUNDS - 100);
	close(stats);
}

#endif
