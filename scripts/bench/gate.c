/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate's own cost: nanoseconds per verdict by the kernel's BPF statistics, over heads of
 * several sizes, cookies and token maps, beside an empty sk_msg program and an HMAC in userspace in
 * the same run. Uses the daemon's own modules, no proxy. Prints a table in markdown. Needs root.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../tests/rules.h"
#include "offload.h"
#include "policy.h"
#include "token.h"

#define CONNS 4
#define BATCH 2000
#define SESSIONS_MAX 1000000
#define SID_LEN 24
#define TOKEN_LEN 44

struct conn {
	struct ht_gate gate;
	struct ht_memo memo[HT_RULES_MAX];
	int peer;
};

struct session {
	char sid[SID_LEN + 1], token[TOKEN_LEN + 1];
};

static const char secret_text[] = "AzaZ5678901234567XYZ34567XYZ";
static struct ht_bind binds[] = {{.kind = HT_BIND_CLIENT_IP, .v4_bits = 32, .v6_bits = 128}};
static struct ht_rule_config rule = F5_RULE("sid", HT_MODE_ENFORCE, .nbinds = 1);
static char *hosts[] = {"*"};
static struct ht_site_config site_config = {
	.hosts = hosts, .nhosts = 1, .rules = &rule, .nrules = 1};

static struct ht_offload *offload;
static struct ht_policy_site site;
static struct ht_binding binding;
static struct ht_secret secret;
static struct ht_key key;
static struct ht_keyring ring;
static struct conn conns[CONNS];
static struct session *sessions;
static size_t nsessions;
static int listener, batches = 15;
static double cycles_per_ns;
static uint64_t prng = 88172645463325252ULL;

__attribute__((noreturn)) static void die(const char *what, int err)
{
	fprintf(stderr, "gate: %s%s%s\n", what, err ? ": " : "", err ? strerror(-err) : "");
	exit(1);
}

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static uint64_t random_next(void)
{
	prng ^= prng << 13;
	prng ^= prng >> 7;
	prng ^= prng << 17;
	return prng;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), by_value);
	return v[n / 2];
}

/* What one nanosecond is in cycles of the time stamp counter; 0 where there is none. */
static double calibrate(void)
{
#ifdef __x86_64__
	double t = now_ns();
	uint64_t c = __builtin_ia32_rdtsc();

	while (now_ns() - t < 5e7)
		;
	return (double)(__builtin_ia32_rdtsc() - c) / (now_ns() - t);
#else
	return 0;
#endif
}

/* ---- set-up ---- */

static void open_gate(uint32_t max_tokens)
{
	struct ht_offload_params p = {
		.gate = HT_REQUIRE, .max_tokens = max_tokens, .max_slots = 64, .max_sites = 1};
	struct ht_config config = {.file = "bench", .limits.covered_cookies = HT_RULES_MAX};
	struct ht_client client = {.addr = {.ss_family = AF_INET}};
	struct ht_diag diag;
	char why[256];
	int err;

	memcpy(rule.binds, binds, sizeof(binds));
	((struct sockaddr_in *)&client.addr)->sin_addr.s_addr = inet_addr("192.0.2.10");
	err = ht_offload_open(&p, &offload, why, sizeof(why));
	if (err)
		die(why, 0);
	if (ht_policy_compile(&config, &site_config, &site, &diag))
		die(diag.text, 0);
	ht_binding_make(binds, 1, &client, &binding);
	secret = (struct ht_secret){.bytes = (const uint8_t *)secret_text,
				    .len = sizeof(secret_text) - 1};
	key = (struct ht_key){.name = "k", .gen = 1, .nsecrets = 1, .secrets = &secret};
	ring = (struct ht_keyring){.nkeys = 1, .keys = &key, .global_gen = 1};
	ht_offload_generations(offload, &ring);
	if (ht_offload_policy(offload, 0, &site.gate))
		die("the policy", 0);
}

static void open_listener(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) ||
	    listen(listener, 64))
		die("listen", -errno);
}

static void connect_here(int fd)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);

	if (getsockname(listener, (struct sockaddr *)&a, &len) ||
	    connect(fd, (struct sockaddr *)&a, len))
		die("connect", -errno);
}

static void open_conn(struct conn *c)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), size = 1 << 20;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (ht_gate_open(&c->gate, offload, fd))
		die("ht_gate_open", 0);
	connect_here(c->gate.fd);
	c->peer = accept(listener, NULL, NULL);
	if (c->peer < 0 || !ht_gate_admitted(&c->gate))
		die("a connection was not admitted", 0);
}

static void drain(int fd)
{
	static char sink[1 << 16];

	while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

/* ---- sessions and heads ---- */

static void session_make(uint64_t n, struct session *ret)
{
	unsigned char mac[32];
	char text[64];
	unsigned len;
	int n_text;

	snprintf(ret->sid, sizeof(ret->sid), "%08x%016llx", (unsigned)(n * 2654435761U),
		 (unsigned long long)(n * 0x9e3779b97f4a7c15ULL));
	n_text = snprintf(text, sizeof(text), "%s:192.0.2.10", ret->sid);
	HMAC(EVP_sha256(), secret_text, sizeof(secret_text) - 1, (unsigned char *)text,
	     (size_t)n_text, mac, &len);
	EVP_EncodeBlock((unsigned char *)ret->token, mac, 32);
}

/* The daemon's own way to a push: judge a head that holds the pair. */
static void push(const struct session *s)
{
	const struct ht_policy_client client = {.bind = &binding};
	static struct ht_judgement j;
	struct ht_head scratch;
	char head[512];
	size_t len = (size_t)snprintf(head, sizeof(head),
				      "GET / HTTP/1.1\r\nCookie: sid=%s; sid_HMAC=%s\r\n\r\n",
				      s->sid, s->token);

	if (ht_policy_judge(
		    &(struct ht_policy_context){&site, &ring, ht_offload_keys(offload), &client},
		    &scratch, head, &len, 0, &j) ||
	    j.npushes != 1 || ht_offload_push(offload, &j.push[0]))
		die("a token could not be pushed", 0);
}

static void have_sessions(size_t n)
{
	for (; nsessions < n; nsessions++) {
		session_make(nsessions, &sessions[nsessions]);
		push(&sessions[nsessions]);
	}
}

/* `size` bytes with `cookies` cookies, the session's two among them (but 1 means these two). */
static size_t head_make(char *out, size_t size, int cookies, const struct session *s,
			const char *token)
{
	size_t n = (size_t)sprintf(out, "GET /catalog HTTP/1.1\r\nHost: a.example\r\n"
					"Accept: */*\r\nCookie: ");

	for (int i = 2; i < cookies; i++)
		n += (size_t)sprintf(out + n, "c%02d=%06d; ", i, i * 4711);
	n += (size_t)sprintf(out + n, "sid=%s", s->sid);
	if (token)
		n += (size_t)sprintf(out + n, "; sid_HMAC=%s", token);
	n += (size_t)sprintf(out + n, "\r\n");
	while (n + 2 < size) {
		size_t left = size - 2 - n, line = left >= 112 ? 80 : left;

		if (line < 8) /* too short for a field */
			break;
		n += (size_t)sprintf(out + n, "X-P: %0*d\r\n", (int)line - 7, 7);
	}
	return n + (size_t)sprintf(out + n, "\r\n");
}

/* ---- measuring ---- */

static double per_run(int prog, struct bpf_prog_info *before)
{
	struct bpf_prog_info now = {0};
	uint32_t len = sizeof(now);
	double ns = 0;

	if (bpf_obj_get_info_by_fd(prog, &now, &len))
		die("BPF statistics", -errno);
	if (now.run_cnt > before->run_cnt)
		ns = (double)(now.run_time_ns - before->run_time_ns) /
		     (double)(now.run_cnt - before->run_cnt);
	*before = now;
	return ns;
}

enum path { MEMO, HOT, RANDOM, FORGED, MISSING, MISS };

struct shape {
	const char *name;
	size_t size;
	int cookies;
	enum path path;
	int conns;
	enum ht_verdict verdict;
};

static void send_one(const struct shape *s, int i)
{
	static char head[HT_HEAD_MAX];
	static uint64_t unseen = 1ULL << 40;
	bool any = s->path == RANDOM || s->path == FORGED || s->path == MISSING;
	const struct session *who = &sessions[any ? random_next() % nsessions : 7];
	struct conn *c = &conns[i % s->conns];
	/* to another client the memos mean nothing */
	const void *client = s->path == MEMO ? (void *)c : (void *)&head[i & 1];
	const struct ht_gate_head h = {
		.bind = &binding, .nbinds = 1, .nmemos = 1, .memo = c->memo, .client = client};
	struct ht_gate_answer a = {0};
	struct session fresh;
	const char *token = who->token;
	size_t len;

	if (s->path == MISS) {
		session_make(unseen++, &fresh);
		who = &fresh;
		token = fresh.token;
	}
	if (s->path == FORGED)
		token = sessions[(size_t)(who - sessions + 1) % nsessions].token;
	len = head_make(head, s->size, s->cookies, who, s->path == MISSING ? NULL : token);
	if (s->path != MEMO)
		memset(c->memo, 0, sizeof(c->memo));
	if (ht_gate_send_head(&c->gate, &h, head, len, &a) || a.verdict != s->verdict)
		die("not the verdict that was expected", 0);
	drain(c->peer);
}

static void line(const char *name, const char *size, const char *cookies, double ns)
{
	printf("| %s | %s | %s | %.0f | ", name, size, cookies, ns);
	if (cycles_per_ns > 0)
		printf("%.0f |\n", ns * cycles_per_ns);
	else
		printf("- |\n");
	fflush(stdout);
}

static void measure(const struct shape *s)
{
	int prog = ht_offload_verdict_fd(offload);
	struct bpf_prog_info info = {0};
	char size[32], cookies[32];
	double *ns = calloc((size_t)batches, sizeof(*ns));

	if (!ns)
		die("out of memory", 0);
	for (int i = 0; i < 100; i++)
		send_one(s, i);
	per_run(prog, &info);
	for (int b = 0; b < batches; b++) {
		for (int i = 0; i < BATCH; i++)
			send_one(s, i);
		ns[b] = per_run(prog, &info);
	}
	snprintf(size, sizeof(size), "%zu", s->size);
	snprintf(cookies, sizeof(cookies), "%d", s->cookies);
	line(s->name, size, cookies, median(ns, batches));
	free(ns);
}

/* An sk_msg program that returns SK_PASS, on a sockmap of its own. */
static void measure_empty(void)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = SK_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int prog = bpf_prog_load(BPF_PROG_TYPE_SK_MSG, "empty", "GPL", insns, 2, NULL);
	int map = bpf_map_create(BPF_MAP_TYPE_SOCKHASH, "empty", 4, 4, 1, NULL), one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), peer;
	struct bpf_prog_info info = {0};
	char head[HT_HEAD_MAX];
	double ns[64];
	size_t len;

	connect_here(fd);
	peer = accept(listener, NULL, NULL);
	if (prog < 0 || map < 0 || peer < 0 || bpf_prog_attach(prog, map, BPF_SK_MSG_VERDICT, 0) ||
	    bpf_map_update_elem(map, &one, &fd, BPF_NOEXIST))
		die("the empty program", -errno);
	len = head_make(head, 800, 6, &sessions[7], sessions[7].token);
	per_run(prog, &info);
	for (int b = 0; b < batches; b++) {
		for (int i = 0; i < BATCH; i++) {
			if (send(fd, head, len, 0) != (ssize_t)len)
				die("send", -errno);
			drain(peer);
		}
		ns[b] = per_run(prog, &info);
	}
	line("an empty sk_msg program", "800", "6", median(ns, batches));
	close(fd);
	close(peer);
	close(map);
	close(prog);
}

static void hmac_one_shot(const unsigned char *text, size_t len)
{
	unsigned char mac[32];
	unsigned n;

	HMAC(EVP_sha256(), secret_text, sizeof(secret_text) - 1, text, len, mac, &n);
}

static void measure_hmac(void)
{
	static const unsigned char text[] = "0a1b2c3d4e5f6g7h8i9j0k1l:192.0.2.10";
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", (char *)"SHA256", 0),
			       OSSL_PARAM_construct_end()};
	double shot[64], kept[64], t;
	unsigned char out[32];
	size_t n;

	if (!ctx ||
	    !EVP_MAC_init(ctx, (const unsigned char *)secret_text, sizeof(secret_text) - 1, params))
		die("EVP_MAC", 0);
	for (int b = 0; b < batches; b++) {
		t = now_ns();
		for (int i = 0; i < BATCH; i++)
			hmac_one_shot(text, sizeof(text) - 1);
		shot[b] = (now_ns() - t) / BATCH;
		t = now_ns();
		for (int i = 0; i < BATCH; i++) {
			EVP_MAC_init(ctx, NULL, 0, NULL);
			EVP_MAC_update(ctx, text, sizeof(text) - 1);
			EVP_MAC_final(ctx, out, &n, sizeof(out));
		}
		kept[b] = (now_ns() - t) / BATCH;
	}
	line("userspace: one HMAC()", "-", "-", median(shot, batches));
	line("userspace: HMAC with a kept key", "-", "-", median(kept, batches));
	EVP_MAC_CTX_free(ctx);
	EVP_MAC_free(mac);
}

/* ---- all cookies of a site ---- */

#define SIGNED 6

/* A head of 800 bytes with that many cookies and the tokens that ProxySG would write beside them. */
static size_t signed_head(char *out, int cookies)
{
	size_t n = (size_t)sprintf(out, "GET /catalog HTTP/1.1\r\nHost: a.example\r\n"
					"Accept: */*\r\nCookie: ");

	for (int i = 0; i < cookies; i++) {
		struct ht_token_params p = {
			.profile = HT_PROFILE_PROXYSG,
			.secret = secret,
			.input = {binding.text, binding.len},
			.name_in_mac = true,
			.separator = HT_STR("|"),
		};
		char name[16], value[16], token[HT_TOKEN_TEXT_MAX];
		size_t len;

		snprintf(name, sizeof(name), "c%02d", i);
		snprintf(value, sizeof(value), "%08d", i * 4711);
		p.name = HT_STR(name);
		p.value = HT_STR(value);
		if (ht_token_sign(&p, token, &len))
			die("a token", 0);
		n += (size_t)sprintf(out + n, "%s%s=%s; BCSIG_%s=%.*s", i ? "; " : "", name, value,
				     name, (int)len, token);
	}
	n += (size_t)sprintf(out + n, "\r\n");
	while (n + 90 < 800)
		n += (size_t)sprintf(out + n, "X-P: %073d\r\n", 7);
	return n + (size_t)sprintf(out + n, "\r\n");
}

/* The median cost of a verdict on it, all of them known. */
static double signed_cost(int cookies)
{
	const struct ht_policy_client client = {.bind = &binding};
	const struct ht_gate_head h = {.bind = &binding,
				       .nbinds = 1,
				       .nmemos = HT_MEMOS,
				       .memo = (struct ht_memo[HT_MEMOS]){{0}},
				       .client = &site};
	int prog = ht_offload_verdict_fd(offload);
	static struct ht_judgement j;
	struct bpf_prog_info info = {0};
	char head[HT_HEAD_MAX], copy[HT_HEAD_MAX];
	size_t len = signed_head(head, cookies), n = len;
	struct ht_gate_answer a;
	struct ht_head scratch;
	double ns[64];

	memcpy(copy, head, len);
	if (ht_policy_judge(
		    &(struct ht_policy_context){&site, &ring, ht_offload_keys(offload), &client},
		    &scratch, copy, &n, 0, &j) ||
	    j.npushes != (size_t)cookies)
		die("the cookies of all could not be judged", 0);
	for (size_t i = 0; i < j.npushes; i++) {
		if (ht_offload_push(offload, &j.push[i]))
			die("a token could not be pushed", 0);
	}
	for (int b = -1; b < batches; b++) {
		for (int i = 0; i < BATCH; i++) {
			if (ht_gate_send_head(&conns[0].gate, &h, head, len, &a) ||
			    a.verdict != HT_VERDICT_PASS || a.hit != (1U << cookies) - 1)
				die("not the verdict that was expected", 0);
			drain(conns[0].peer);
		}
		n = (size_t)(b < 0 ? 0 : b);
		ns[n] = per_run(prog, &info);
	}
	return median(ns, batches);
}

static void measure_signed(void)
{
	static struct ht_rule_config all = PROXYSG_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_ENFORCE,
							.nbinds = 1);
	struct ht_site_config s = {.hosts = hosts, .nhosts = 1, .rules = &all, .nrules = 1};
	struct ht_config config = {.file = "bench", .limits.covered_cookies = HT_COOKIES_MAX};
	struct ht_diag diag;
	double one, six;

	memcpy(all.binds, binds, sizeof(binds));
	if (ht_policy_compile(&config, &s, &site, &diag) ||
	    ht_offload_policy(offload, 0, &site.gate))
		die("the policy of all cookies", 0);
	one = signed_cost(1);
	six = signed_cost(SIGNED);
	line("proxysg, all: 1 signed cookie, its token cut", "800", "2", one);
	line("proxysg, all: 6 signed cookies, their tokens cut", "800", "12", six);
	printf("\nSix signed cookies of a site that signs all cost %.2f of one (goal: 2.5).\n",
	       six / one);
}

/* ---- what is measured ---- */

#define PASS HT_VERDICT_PASS

static const struct shape by_shape[] = {
	{"same session (memo), 1 connection", 300, 6, MEMO, 1, PASS},
	{"same session (memo), 1 connection", 800, 6, MEMO, 1, PASS},
	{"same session (memo), 1 connection", 2000, 6, MEMO, 1, PASS},
	{"same session (memo), 1 connection", 8000, 6, MEMO, 1, PASS},
	{"same session (memo), 1 connection", 800, 1, MEMO, 1, PASS},
	{"same session (memo), 1 connection", 800, 16, MEMO, 1, PASS},
	{"seed's scenario: one session, 4 connections", 800, 6, MEMO, 4, PASS},
};
static const struct shape by_map[] = {
	{"map, hot entry", 800, 6, HOT, 1, PASS},
	{"map, random entry", 800, 6, RANDOM, 1, PASS},
};
static const struct shape by_path[] = {
	{"forged token, cut (100k sessions)", 800, 6, FORGED, 1, PASS},
	{"no token, cut (100k sessions)", 800, 6, MISSING, 1, PASS},
	{"miss, handed to the daemon (100k sessions)", 800, 6, MISS, 1, HT_VERDICT_MISS},
};

static void measure_all(const struct shape *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		measure(&s[i]);
}

static void measure_map(size_t n)
{
	char name[64];

	have_sessions(n);
	for (size_t i = 0; i < 2; i++) {
		struct shape s = by_map[i];

		snprintf(name, sizeof(name), "%s of %zu", by_map[i].name, n);
		s.name = name;
		measure(&s);
	}
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && !strcmp(argv[1], "--quick");
	int stats;

	if (quick)
		batches = 3;
	sessions = calloc(SESSIONS_MAX, sizeof(*sessions));
	if (!sessions)
		die("out of memory", 0);
	stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (stats < 0)
		die("BPF statistics (needs root)", stats);
	open_gate(quick ? 150000 : 1250000);
	open_listener();
	for (int i = 0; i < CONNS; i++)
		open_conn(&conns[i]);
	cycles_per_ns = calibrate();
	have_sessions(1000);

	printf("### The gate's own cost\n\n"
	       "Median of %d batches of %d, by the kernel's BPF statistics; cycles of the time "
	       "stamp\n"
	       "counter. 1 cookie: the session and its token; otherwise these are two of them.\n\n"
	       "| verdict | head bytes | cookies | ns | cycles |\n|---|---|---|---|---|\n",
	       batches, BATCH);
	measure_empty();
	measure_hmac();
	measure_all(by_shape, sizeof(by_shape) / sizeof(*by_shape));
	measure_map(1000);
	measure_map(100000);
	measure_all(by_path, sizeof(by_path) / sizeof(*by_path));
	if (!quick)
		measure_map(SESSIONS_MAX);
	measure_empty();
	measure_hmac();
	measure_signed();
	printf("\nThe iRule that the seed's scenario was published for took 67,600 cycles a "
	       "request on\n"
	       "average (HTTP_REQUEST, tokens cached), 27,200 at least and 189,400 at most.\n");
	ht_offload_close(offload);
	close(stats);
	return 0;
}
