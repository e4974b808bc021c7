/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate's own cost: nanoseconds per verdict by the kernel's BPF statistics, over heads of
 * several sizes, cookies, profiles and token maps, beside an empty sk_msg program and an HMAC in
 * userspace in the same run. Uses the daemon's own modules, no proxy. Prints a table in markdown
 * and, to a file, the same rows as JSON. Needs root.
 *
 * usage: gate [--quick | --instructions] [--json FILE]
 *
 * --instructions is for a virtual machine whose clock counts instructions: each row is two short
 * batches, which must agree; there is nothing to be had from a median there, nor from a larger map
 * (a miss of the processor's cache is no instruction).
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
#define BATCHES_MAX 64
#define SESSIONS_MAX 1000000
#define SEALED_MAX 50000
#define SID_LEN 24
#define TOKEN_LEN 44

struct conn {
	struct ht_gate gate;
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
static int listener, batches = 15, batch = 2000;
static double cycles_per_ns;
static FILE *json;
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

/* On a processor: of a busy machine only our own share counts, as it does for the program. */
static double ran_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
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

/* What one run took, in ns. */
struct cost {
	double ns, least, most;
};

/* The median of batches. */
static struct cost cost_of(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), by_value);
	return (struct cost){(v[(n - 1) / 2] + v[n / 2]) / 2, v[0], v[n - 1]};
}

/* A row of the table; without a head if `bytes` is 0. */
static void row(const char *name, size_t bytes, int cookies, struct cost c)
{
	char head[64] = "- | -", cycles[32] = "-";

	if (bytes)
		snprintf(head, sizeof(head), "%zu | %d", bytes, cookies);
	if (cycles_per_ns > 0)
		snprintf(cycles, sizeof(cycles), "%.0f", c.ns * cycles_per_ns);
	printf("| %s | %s | %.0f | %s |\n", name, head, c.ns, cycles);
	fflush(stdout);
	if (!json)
		return;
	fprintf(json,
		"{\"verdict\": \"%s\", \"bytes\": %zu, \"cookies\": %d, \"ns\": %.1f, "
		"\"least\": %.1f, \"most\": %.1f, \"cycles_per_ns\": %.4f}\n",
		name, bytes, cookies, c.ns, c.least, c.most, cycles_per_ns);
	fflush(json);
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

static void use_rules(const struct ht_site_config *s)
{
	const struct ht_config config = {.file = "bench", .limits.covered_cookies = HT_COOKIES_MAX};
	struct ht_diag diag;

	if (ht_policy_compile(&config, s, &site, &diag))
		die(diag.text, 0);
	if (ht_offload_policy(offload, 0, &site.gate))
		die("the policy", 0);
}

static void open_gate(uint32_t max_tokens)
{
	struct ht_offload_params p = {.gate = HT_REQUIRE,
				      .max_tokens = max_tokens,
				      .max_sealed = SEALED_MAX,
				      .max_slots = 64,
				      .max_sites = 1};
	struct ht_client client = {.addr = {.ss_family = AF_INET}};
	char why[256];
	int err;

	memcpy(rule.binds, binds, sizeof(binds));
	((struct sockaddr_in *)&client.addr)->sin_addr.s_addr = inet_addr("192.0.2.10");
	err = ht_offload_open(&p, &offload, why, sizeof(why));
	if (err)
		die(why, 0);
	ht_binding_make(binds, 1, &client, &binding);
	secret = (struct ht_secret){.bytes = (const uint8_t *)secret_text,
				    .len = sizeof(secret_text) - 1};
	key = (struct ht_key){.name = "k", .gen = 1, .nsecrets = 1, .secrets = &secret};
	ring = (struct ht_keyring){.nkeys = 1, .keys = &key, .global_gen = 1};
	ht_offload_generations(offload, &ring);
	use_rules(&site_config);
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

static struct ht_policy_time time_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (struct ht_policy_time){
		.now_s = (uint64_t)time(NULL),
		.boot_ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec,
	};
}

/* The daemon's own way to a push: judge a head that holds the cookies. */
static void push_head(const char *head, size_t len, size_t npushes)
{
	static uint64_t heads;
	const struct ht_policy_client client = {
		.bind = &binding, .time = time_now(), .opened = {++heads, 1}};
	const struct ht_policy_context by = {&site, &ring, ht_offload_keys(offload), &client};
	static struct ht_judgement j;
	struct ht_head scratch;
	char copy[HT_HEAD_MAX];

	memcpy(copy, head, len);
	if (ht_policy_judge(&by, &scratch, copy, &len, 0, &j) || j.npushes != npushes)
		die("a head could not be judged", 0);
	for (size_t i = 0; i < npushes; i++) {
		if (ht_offload_push(offload, &j.push[i]))
			die("what was judged could not be pushed", 0);
	}
}

static void push(const struct session *s)
{
	char head[512];
	int len = snprintf(head, sizeof(head),
			   "GET / HTTP/1.1\r\nCookie: sid=%s; sid_HMAC=%s\r\n\r\n", s->sid,
			   s->token);

	push_head(head, (size_t)len, 1);
}

static void have_sessions(size_t n)
{
	for (; nsessions < n; nsessions++) {
		session_make(nsessions, &sessions[nsessions]);
		push(&sessions[nsessions]);
	}
}

/* At least `size` bytes with that many other cookies, and then `covered`. */
static size_t head_around(char *out, size_t size, int others, const char *covered)
{
	size_t n = (size_t)sprintf(out, "GET /catalog HTTP/1.1\r\nHost: a.example\r\n"
					"Accept: */*\r\nCookie: ");

	for (int i = 0; i < others; i++)
		n += (size_t)sprintf(out + n, "c%02d=%06d; ", i + 2, (i + 2) * 4711);
	n += (size_t)sprintf(out + n, "%s\r\n", covered);
	while (n + 2 < size) {
		size_t left = size - 2 - n, line = left >= 112 ? 80 : left;

		if (line < 8) /* too short for a field */
			break;
		n += (size_t)sprintf(out + n, "X-P: %0*d\r\n", (int)line - 7, 7);
	}
	return n + (size_t)sprintf(out + n, "\r\n");
}

/* With `cookies` cookies, the session's two among them (but 1 means these two). */
static size_t head_make(char *out, size_t size, int cookies, const struct session *s,
			const char *token)
{
	char covered[SID_LEN + TOKEN_LEN + 32];
	int n = sprintf(covered, "sid=%s", s->sid);

	if (token)
		sprintf(covered + n, "; sid_HMAC=%s", token);
	return head_around(out, size, cookies > 2 ? cookies - 2 : 0, covered);
}

/* ---- measuring ---- */

/* What the program took since the last call, and how often it ran. */
static double spent(int prog, struct bpf_prog_info *before, uint64_t *ret_runs)
{
	struct bpf_prog_info now = {0};
	uint32_t len = sizeof(now);
	double ns;

	if (bpf_obj_get_info_by_fd(prog, &now, &len))
		die("BPF statistics", -errno);
	ns = (double)(now.run_time_ns - before->run_time_ns);
	*ret_runs = now.run_cnt - before->run_cnt;
	*before = now;
	return ns;
}

static double per_run(int prog, struct bpf_prog_info *before)
{
	uint64_t runs;
	double ns = spent(prog, before, &runs);

	return runs ? ns / (double)runs : 0;
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
	/* hot ones in the map are more than a connection remembers */
	size_t hot = s->path == HOT ? (size_t)i % (8 * HT_MEMOS) : 7;
	const struct session *who = &sessions[any ? random_next() % nsessions : hot];
	struct conn *c = &conns[i % s->conns];
	const struct ht_gate_head h = {.bind = &binding, .nbinds = 1};
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
	if (ht_gate_send_head(&c->gate, &h, head, len, &a) || a.verdict != s->verdict)
		die("not the verdict that was expected", 0);
	drain(c->peer);
}

static void measure(const struct shape *s)
{
	int prog = ht_offload_verdict_fd(offload);
	struct bpf_prog_info info = {0};
	double ns[BATCHES_MAX];

	for (int i = 0; i < 100; i++)
		send_one(s, i);
	per_run(prog, &info);
	for (int b = 0; b < batches; b++) {
		for (int i = 0; i < batch; i++)
			send_one(s, i);
		ns[b] = per_run(prog, &info);
	}
	row(s->name, s->size, s->cookies, cost_of(ns, batches));
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
	double ns[BATCHES_MAX];
	size_t len;

	connect_here(fd);
	peer = accept(listener, NULL, NULL);
	if (prog < 0 || map < 0 || peer < 0 || bpf_prog_attach(prog, map, BPF_SK_MSG_VERDICT, 0) ||
	    bpf_map_update_elem(map, &one, &fd, BPF_NOEXIST))
		die("the empty program", -errno);
	len = head_make(head, 800, 6, &sessions[7], sessions[7].token);
	per_run(prog, &info);
	for (int b = 0; b < batches; b++) {
		for (int i = 0; i < batch; i++) {
			if (send(fd, head, len, 0) != (ssize_t)len)
				die("send", -errno);
			drain(peer);
		}
		ns[b] = per_run(prog, &info);
	}
	row("an empty sk_msg program", 800, 6, cost_of(ns, batches));
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
	double shot[BATCHES_MAX], kept[BATCHES_MAX], t;
	unsigned char out[32];
	size_t n;

	if (!ctx ||
	    !EVP_MAC_init(ctx, (const unsigned char *)secret_text, sizeof(secret_text) - 1, params))
		die("EVP_MAC", 0);
	for (int b = 0; b < batches; b++) {
		t = ran_ns();
		for (int i = 0; i < batch; i++)
			hmac_one_shot(text, sizeof(text) - 1);
		shot[b] = (ran_ns() - t) / batch;
		t = ran_ns();
		for (int i = 0; i < batch; i++) {
			EVP_MAC_init(ctx, NULL, 0, NULL);
			EVP_MAC_update(ctx, text, sizeof(text) - 1);
			EVP_MAC_final(ctx, out, &n, sizeof(out));
		}
		kept[b] = (ran_ns() - t) / batch;
	}
	row("userspace: one HMAC()", 0, 0, cost_of(shot, batches));
	row("userspace: HMAC with a kept key", 0, 0, cost_of(kept, batches));
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
static struct cost signed_cost(int cookies)
{
	const struct ht_gate_head h = {.bind = &binding, .nbinds = 1};
	int prog = ht_offload_verdict_fd(offload);
	struct bpf_prog_info info = {0};
	char head[HT_HEAD_MAX];
	size_t len = signed_head(head, cookies);
	struct ht_gate_answer a;
	double ns[BATCHES_MAX];

	push_head(head, len, (size_t)cookies);
	for (int b = -1; b < batches; b++) {
		for (int i = 0; i < batch; i++) {
			if (ht_gate_send_head(&conns[0].gate, &h, head, len, &a) ||
			    a.verdict != HT_VERDICT_PASS || a.hit != (1U << cookies) - 1)
				die("not the verdict that was expected", 0);
			drain(conns[0].peer);
		}
		ns[b < 0 ? 0 : b] = per_run(prog, &info);
	}
	return cost_of(ns, batches);
}

static void measure_signed(void)
{
	static struct ht_rule_config all = PROXYSG_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_ENFORCE,
							.nbinds = 1);
	struct ht_site_config s = {.hosts = hosts, .nhosts = 1, .rules = &all, .nrules = 1};
	struct cost one, six;

	memcpy(all.binds, binds, sizeof(binds));
	use_rules(&s);
	one = signed_cost(1);
	six = signed_cost(SIGNED);
	row("proxysg, all: 1 signed cookie, its token cut", 800, 2, one);
	row("proxysg, all: 6 signed cookies, their tokens cut", 800, 12, six);
	printf("\nSix signed cookies of a site that signs all cost %.2f of one (goal: 2.5).\n",
	       six.ns / one.ns);
}

/* ---- the seed's scenario ---- */

#define PAGES 25
#define OBJECTS 40

/*
 * What compat.md's f5-irule was measured with: a session that nobody has seen, its pages and their
 * objects over four connections. A miss costs the daemon's part as well: judging the head, the HMAC
 * in it, and the push. Average, least and most of single requests, as the iRule's are.
 */
static void measure_seed(void)
{
	static uint64_t unseen = 1ULL << 50;
	int prog = ht_offload_verdict_fd(offload);
	struct cost all = {.least = 1e18};
	struct bpf_prog_info info = {0};
	char head[HT_HEAD_MAX];
	struct session s;
	uint64_t runs;
	size_t len;

	session_make(unseen++, &s);
	len = head_make(head, 800, 6, &s, s.token);
	spent(prog, &info, &runs);
	for (int i = 0; i < PAGES * OBJECTS; i++) {
		struct conn *c = &conns[i % CONNS];
		struct ht_gate_head h = {.bind = &binding, .nbinds = 1};
		struct ht_gate_answer a = {0};
		double ns = 0;

		if (ht_gate_send_head(&c->gate, &h, head, len, &a))
			die("send", 0);
		if (a.verdict == HT_VERDICT_MISS) {
			ns = -now_ns();
			push_head(head, len, 1);
			ns += now_ns();
			h.judged = true;
			if (ht_gate_send_head(&c->gate, &h, head, len, &a))
				die("send", 0);
		}
		if (a.verdict != HT_VERDICT_PASS || (a.hit != 1) || (i && ns > 0))
			die("not the verdict that was expected", 0);
		drain(c->peer);
		ns += spent(prog, &info, &runs);
		all.ns += ns / (PAGES * OBJECTS);
		all.least = ns < all.least ? ns : all.least;
		all.most = ns > all.most ? ns : all.most;
	}
	row("seed's scenario: 1,000 requests of a session, 4 connections", 800, 6, all);
}

/* ---- the other profiles ---- */

#define OTHERS 10000 /* sessions of each */
#define COVERED_MAX 2048

struct profile {
	const char *name;
	struct ht_rule_config rule;
	size_t plain; /* bytes that are sealed; 0: of another profile */
	int others;   /* cookies in front */
};

#define BIND .binds = {{.kind = HT_BIND_CLIENT_IP, .v4_bits = 32, .v6_bits = 128}}, .nbinds = 1
#define SEALED                                                                                     \
	{                                                                                          \
		.covers = HT_COVERS_NAME, .name = sid, .label = sid, .names = sids, .nnames = 1,   \
		.profile = HT_PROFILE_SECURE_COOKIE, .accept = 1U << HT_PROFILE_SECURE_COOKIE,     \
		.key = "k", .reissue = REISSUE, .mode = HT_MODE_ENFORCE, .lifetime_s = 86400,      \
		.copy_attributes = true, BIND                                                      \
	}

static char sid[] = "sid";
static struct ht_cookie_name sids[] = {{sid, false}};
static struct profile profiles[] = {
	{"native", NATIVE_RULE(HT_COVERS_ONLY, sids, 1, HT_MODE_ENFORCE, BIND), 0, 4},
	{"session-id", SESSION_RULE("sid", HT_MODE_ENFORCE, BIND), 0, 5},
	{"secure-cookie, 32 bytes", SEALED, 32, 5},
	{"secure-cookie, 200 bytes", SEALED, 200, 5},
	{"secure-cookie, 1024 bytes", SEALED, 1024, 5},
};

/* The cookie of the profile's session number `n`, with its token if it has one. */
static void covered_make(const struct profile *p, uint64_t n, char out[COVERED_MAX])
{
	const uint64_t now_s = (uint64_t)time(NULL);
	uint8_t nonce[HT_SESSION_DATA] = {0};
	char value[HT_SEALED_MAX + 1], text[HT_COOKIE_MAX];
	struct ht_token_params t = {
		.profile = p->rule.profile,
		.secret = secret,
		.name = HT_STR(sid),
		.bind = binding.sha,
		.issued_s = now_s,
		.expires_s = now_s + 86400,
		.data = nonce,
		.nonce = nonce,
	};
	size_t len = 0;
	int err;

	memcpy(nonce, &n, sizeof(n));
	snprintf(value, sizeof(value), "%0*llu", p->plain ? (int)p->plain : SID_LEN,
		 (unsigned long long)n);
	t.value = HT_STR(value);
	err = p->plain ? ht_sealed_make(&t, text, &len) : ht_token_sign(&t, text, &len);
	if (err)
		die("a token", err);
	if (p->rule.profile == HT_PROFILE_NATIVE)
		snprintf(out, COVERED_MAX, "sid=%s; HTSIG_sid=%.*s", value, (int)len, text);
	else
		snprintf(out, COVERED_MAX, "sid=%.*s", (int)len, text);
}

/* The cost of a verdict on the same session each time, or on any of them. */
static void measure_profile(const struct profile *p, char (*covered)[COVERED_MAX], bool any)
{
	int prog = ht_offload_verdict_fd(offload);
	struct bpf_prog_info info = {0};
	char head[HT_HEAD_MAX], name[96];
	struct conn *c = &conns[0];
	const struct ht_gate_head h = {.bind = &binding, .nbinds = 1};
	struct ht_gate_answer a;
	double ns[BATCHES_MAX];
	size_t len = 0;

	for (int b = -1; b < batches; b++) {
		for (int i = 0; i < batch; i++) {
			size_t who = any ? random_next() % OTHERS : 7;

			len = head_around(head, 800, p->others, covered[who]);
			if (ht_gate_send_head(&c->gate, &h, head, len, &a) ||
			    a.verdict != HT_VERDICT_PASS || a.hit != 1)
				die("not the verdict that was expected", 0);
			drain(c->peer);
		}
		ns[b < 0 ? 0 : b] = per_run(prog, &info);
	}
	snprintf(name, sizeof(name), "%s, %s", p->name, any ? "one of 10,000" : "same session");
	row(name, len, 6, cost_of(ns, batches));
}

static void measure_profiles(void)
{
	char(*covered)[COVERED_MAX] = calloc(OTHERS, sizeof(*covered)), head[HT_HEAD_MAX];

	if (!covered)
		die("out of memory", 0);
	for (size_t k = 0; k < HT_ARRAY_SIZE(profiles); k++) {
		struct profile *p = &profiles[k];
		struct ht_site_config s = {
			.hosts = hosts, .nhosts = 1, .rules = &p->rule, .nrules = 1};

		use_rules(&s);
		for (uint64_t i = 0; i < OTHERS; i++) {
			covered_make(p, (k << 32) + i, covered[i]);
			push_head(head, head_around(head, 0, 0, covered[i]), 1);
		}
		measure_profile(p, covered, false);
		measure_profile(p, covered, true);
	}
	free(covered);
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
	bool quick = false, instructions = false;
	int stats;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick"))
			quick = true;
		else if (!strcmp(argv[i], "--instructions"))
			quick = instructions = true;
		else if (!strcmp(argv[i], "--json") && i + 1 < argc)
			json = fopen(argv[++i], "we");
		else
			die("[--quick | --instructions] [--json FILE]", 0);
		if (!json && !strcmp(argv[i - 1], "--json"))
			die(argv[i], -errno);
	}
	if (quick)
		batches = 3;
	if (instructions)
		batches = 2, batch = 500;
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
	cycles_per_ns = instructions ? 0 : calibrate();
	have_sessions(1000);

	printf("### The gate's own cost\n\n"
	       "Median of %d batches of %d, by the kernel's BPF statistics; cycles of the time "
	       "stamp\n"
	       "counter. 1 cookie: the session and its token; otherwise these are two of them.\n\n"
	       "| verdict | head bytes | cookies | %s | cycles |\n|---|---|---|---|---|\n",
	       batches, batch, instructions ? "instructions" : "ns");
	measure_empty();
	measure_hmac();
	measure_all(by_shape, sizeof(by_shape) / sizeof(*by_shape));
	measure_seed();
	measure_map(1000);
	measure_map(100000);
	measure_all(by_path, sizeof(by_path) / sizeof(*by_path));
	if (!quick)
		measure_map(SESSIONS_MAX);
	measure_empty();
	measure_hmac();
	measure_seed();
	measure_profiles();
	measure_signed();
	ht_offload_close(offload);
	close(stats);
	if (json && fclose(json))
		die("the file for JSON", -errno);
	return 0;
}
