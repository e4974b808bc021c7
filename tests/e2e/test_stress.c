/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many connections, many requests, big bodies, and what they cost in memory. Bytes and answers are
 * counted, never time.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness.h"

TestSuite(stress, .timeout = 600);

#define THREADS 8
#define PER_THREAD 25
#define SQUADS (run_small() ? 2 : THREADS)
#define CONNS (SQUADS * PER_THREAD)
#define ROUNDS (run_small() ? 2 : 50) /* CONNS * ROUNDS = 10,000 requests */

enum kind { VALID, FORGED, MISSING, STOLEN, KINDS };

static void fds_allow(rlim_t n)
{
	struct rlimit l;

	getrlimit(RLIMIT_NOFILE, &l);
	if (l.rlim_cur < n) {
		l.rlim_cur = l.rlim_max < n ? l.rlim_max : n;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

struct squad {
	pthread_t thread;
	struct client *c[PER_THREAD];
	int first;	   /* id of its first connection */
	int bad, answered; /* read after join */
	char why[256];
};

static enum kind kind_of(int id)
{
	return (enum kind)((id ^ (id >> 3)) % KINDS);
}

static void send_one(struct client *c, int id)
{
	char value[32], token[45] = "", wrong[45];

	snprintf(value, sizeof(value), kind_of(id) == VALID ? "good-%d" : "EVIL-%d", id % 97);
	switch (kind_of(id)) {
	case VALID:
		token_make(value, strlen(value), "127.0.0.1", token);
		break;
	case FORGED:
		token_make("something else", 14, "127.0.0.1", token);
		break;
	case STOLEN:
		token_make(value, strlen(value), "127.0.0.2", token);
		break;
	default:
		break;
	}
	snprintf(wrong, sizeof(wrong), "%s", token);
	client_sendf(c,
		     "GET /echo?id=%d HTTP/1.1\r\nHost: gw.test\r\nUser-Agent: stress\r\n"
		     "Cookie: n=%d; sid=%s%s%s; last=x\r\n\r\n",
		     id, id, value, *wrong ? "; sid_HMAC=" : "", wrong);
}

static void check_one(struct squad *s, struct client *c, int id)
{
	struct response *r = client_read(c);
	char want[32];

	snprintf(want, sizeof(want), "id=%d;\n", id);
	if (r->status == 200 && r->body && !strcmp(r->body, want)) {
		s->answered++;
		return;
	}
	if (!s->bad++)
		snprintf(s->why, sizeof(s->why), "request %d: status %d, body %.40s", id, r->status,
			 r->body ? r->body : "none");
}

static void *squad_main(void *arg)
{
	struct squad *s = arg;

	for (int round = 0; round < ROUNDS && !s->bad; round++) {
		for (int i = 0; i < PER_THREAD; i++)
			send_one(s->c[i], round * CONNS + s->first + i);
		for (int i = 0; i < PER_THREAD; i++)
			check_one(s, s->c[i], round * CONNS + s->first + i);
	}
	return NULL;
}

/* Every line that nginx logged, against what was sent: none missing, none with a wrong session. */
static void check_log(const char *log)
{
	char *seen = calloc(1, CONNS * ROUNDS);
	int n = 0, evil = 0, lost = 0, twice = 0;
	const char *line = log;

	for (const char *end; (end = strchr(line, '\n')); line = end + 1) {
		int id = atoi(line);
		bool has = text_has(line, (size_t)(end - line), "sid=");

		if (id < 0 || id >= CONNS * ROUNDS)
			continue;
		twice += seen[id];
		seen[id] = 1;
		n++;
		evil += text_has(line, (size_t)(end - line), "EVIL");
		evil += has && kind_of(id) != VALID;
		lost += !has && kind_of(id) == VALID;
		lost += !text_has(line, (size_t)(end - line), "; last=x");
	}
	cr_expect_eq(n, CONNS * ROUNDS, "%d requests at nginx", n);
	cr_expect_eq(twice, 0);
	cr_expect_eq(evil, 0, "%d forged sessions at nginx", evil);
	cr_expect_eq(lost, 0, "%d cookies lost", lost);
	free(seen);
}

#define MANY 8

/* A request with MANY covered cookies; its status. */
static int ask_with_many(struct client *c, int session)
{
	struct text line = {0};
	char value[16];
	int status;

	snprintf(value, sizeof(value), "s%d", session);
	text_addf(&line, "Cookie: x=1");
	for (int i = 0; i < MANY; i++)
		text_addf(&line, "; c%d=%s; c%d_HMAC=%s", i, value, i,
			  token_for(value, "127.0.0.1"));
	text_addf(&line, "\r\n");
	status = client_get(c, "/", line.p)->status;
	text_free(&line);
	return status;
}

/* The gate's map of tokens; -1 without a gate. */
static int tokens_open(struct gw *gw, struct bpf_map_info *ret_info)
{
	unsigned len = sizeof(*ret_info);
	char path[200];
	int fd;

	if (!run_gate_on())
		return -1;
	snprintf(path, sizeof(path), "%s/tokens", gw->pin);
	fd = bpf_obj_get(path);
	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(bpf_obj_get_info_by_fd(fd, ret_info, &len), 0);
	return fd;
}

/* Other people's entries, as many as there is room for, and each one has been used since. */
static void tokens_all_in_use(int fd, const struct bpf_map_info *info)
{
	size_t cpus = (size_t)libbpf_num_possible_cpus();
	char *value, *keys, *key, *last = NULL;
	uint32_t n = 0;

	if (fd < 0)
		return;
	value = calloc(cpus, (info->value_size + 7) & ~7U);
	keys = calloc(2 * info->max_entries, info->key_size);
	key = calloc(1, info->key_size);
	for (uint32_t i = 0; i < 2 * info->max_entries; i++) {
		memcpy(key, &i, sizeof(i));
		bpf_map_update_elem(fd, key, value, BPF_NOEXIST);
	}
	while (n < 2 * info->max_entries && !bpf_map_get_next_key(fd, last, key)) {
		last = keys + (size_t)n++ * info->key_size;
		memcpy(last, key, info->key_size);
	}
	cr_expect_gt(n, info->max_entries / 2);
	while (n-- > 0)
		bpf_map_update_elem(fd, keys + (size_t)n * info->key_size, value, BPF_EXIST);
	free(value);
	free(keys);
	free(key);
}

/* What is in use keeps its place in a full map, and what has just been put there is what goes. */
Test(stress, a_map_full_of_what_is_in_use_refuses_nobody)
{
	e2e_need_gate();
	struct text rules = {0};
	struct backend *be = backend_start(NULL);
	struct bpf_map_info info = {0};
	struct client *c;
	struct gw *gw;
	int fd;

	be->no_record = true;
	for (int i = 0; i < MANY; i++)
		text_addf(&rules,
			  "%s { name: c%d, profile: f5-irule, key: shop, bind: [client-ip] }",
			  i ? "," : "[", i);
	text_addf(&rules, " ]");
	gw = gw_start(be, &(struct gw_spec){.cookies = rules.p});
	fd = tokens_open(gw, &info);
	c = client_plain(gw);
	for (int i = 0; i < 20; i++) {
		tokens_all_in_use(fd, &info);
		cr_expect_eq(ask_with_many(c, i), 200, "%d", i);
	}
	cr_expect_eq(gw_passed(gw), 20 * MANY);
	client_close(c);
	if (fd >= 0)
		close(fd);
	gw_stop(gw);
	backend_stop(be);
	text_free(&rules);
}

Test(stress, ten_thousand_mixed_requests_over_200_connections)
{
	e2e_need_gate();
	if (!nginx_have())
		e2e_skip("needs nginx");
	static struct squad squads[THREADS];
	struct nginx *n = nginx_start();
	struct backend be = {.port = n->port};
	struct gw *gw;
	int answered = 0;
	char *log;
	size_t len;

	fds_allow(2048);
	/* slow machines take long to connect them all */
	gw = gw_start(&be,
		      &(struct gw_spec){.workers = 2,
					.timeouts = "{ handshake: 600s, head: 600s, idle: 600s }"});
	for (int t = 0; t < SQUADS; t++) {
		squads[t].first = t * PER_THREAD;
		for (int i = 0; i < PER_THREAD; i++)
			squads[t].c[i] = client_tls(gw);
	}
	for (int t = 0; t < SQUADS; t++)
		pthread_create(&squads[t].thread, NULL, squad_main, &squads[t]);
	for (int t = 0; t < SQUADS; t++) {
		pthread_join(squads[t].thread, NULL);
		cr_expect_eq(squads[t].bad, 0, "%s", squads[t].why);
		answered += squads[t].answered;
	}
	cr_expect_eq(answered, CONNS * ROUNDS, "%d answered", answered);
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_requests_total", "code=\"200\"", NULL) ==
			   CONNS * ROUNDS));
	/* One verdict a covered cookie, whoever gave it. */
	cr_expect_eq(gw_metric(gw, "hardtack_verdicts_total", NULL), CONNS * ROUNDS);
	cr_expect_eq(gw_passed(gw) +
			     gw_metric(gw, "hardtack_verdicts_total", "action=\"strip\"", NULL),
		     CONNS * ROUNDS);
	printf("stress: %d answered, %g passed (%g kernel hits), %g stripped\n", answered,
	       gw_passed(gw), run_gate_on() ? gw_hits(gw) : 0,
	       gw_metric(gw, "hardtack_verdicts_total", "action=\"strip\"", NULL));
	for (int t = 0; t < SQUADS; t++)
		for (int i = 0; i < PER_THREAD; i++)
			client_close(squads[t].c[i]);
	gw_stop(gw);
	nginx_stop(n);
	log = nginx_cookie_log(n, &len);
	cr_assert(log);
	check_log(log);
}

/* ---- big bodies at flat memory ---- */

#define BIG ((run_small() ? 3ull : 100ull) << 20)

static void handle_big(struct bconn *c, struct breq *r)
{
	bool chunked = strstr(r->head, "/chunked") != NULL;

	if (!bconn_body(c, r))
		return;
	if (chunked)
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	else
		bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n",
			    strncmp(r->head, "GET ", 4) ? 0 : BIG);
	bconn_send_pattern(c, strncmp(r->head, "GET ", 4) ? 0 : BIG, chunked);
}

static void upload_chunked(struct client *c)
{
	char buf[65536];

	for (uint64_t at = 0; at < BIG; at += sizeof(buf)) {
		pattern_fill(buf, sizeof(buf), at);
		client_sendf(c, "%zx\r\n", sizeof(buf));
		client_send(c, buf, sizeof(buf));
		client_send(c, "\r\n", 2);
	}
	client_sendf(c, "0\r\n\r\n");
}

static void big_bodies(bool tls)
{
	struct backend *be = backend_start(handle_big);
	struct gw *gw = gw_start(be, NULL);
	uint64_t want = pattern_hash_of(BIG);
	struct client *c;
	long before, grown;
	struct response *r;

	client_close(client_tls(gw)); /* OpenSSL's own start-up is not the body's cost */
	c = tls ? client_tls(gw) : client_plain(gw);
	cr_assert_eq(client_once(gw, NULL, "X: y\r\n"), 200);
	before = gw_status_kb(gw, "VmHWM:");
	r = client_get(c, "/length", "");
	cr_expect(r->body_len == BIG && r->body_hash == want, "%llu bytes down",
		  (unsigned long long)r->body_len);
	r = client_get(c, "/chunked", "");
	cr_expect(r->body_len == BIG && r->body_hash == want, "%llu bytes down, chunked",
		  (unsigned long long)r->body_len);
	client_sendf(c, "POST /up HTTP/1.1\r\nHost: gw.test\r\nContent-Length: %llu\r\n\r\n", BIG);
	cr_expect(client_send_pattern(c, BIG));
	cr_expect_eq(client_read(c)->status, 200);
	cr_expect(backend_last(be)->body_len == BIG && backend_last(be)->body_hash == want);
	client_sendf(c, "POST /up HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n");
	upload_chunked(c);
	cr_expect_eq(client_read(c)->status, 200);
	cr_expect(backend_last(be)->body_len == BIG && backend_last(be)->body_hash == want);
	grown = gw_status_kb(gw, "VmHWM:") - before;
	printf("memory: %ld KB more after 4 bodies of %llu MB (%s)\n", grown, BIG >> 20,
	       tls ? "TLS" : "plain");
	if (!run_sanitized())
		cr_expect_lt(grown, 8192, "%ld KB", grown);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(stress, hundred_megabytes_both_ways_plain)
{
	e2e_need_gate();
	big_bodies(false);
}

Test(stress, hundred_megabytes_both_ways_tls)
{
	e2e_need_gate();
	big_bodies(true);
}

/* ---- memory at rest ---- */

#define IDLE 500 /* at most */

Test(stress, idle_tls_connection_takes_at_most_40_kb)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw;
	static struct client *c[IDLE];
	int n = run_small() ? 100 : IDLE;
	long before, grown;

	fds_allow(4096);
	gw = gw_start(be, &(struct gw_spec){.timeouts = "{ idle: 600s }"});
	be->no_record = true;
	for (int i = 0; i < 4; i++) {
		struct client *warm = client_tls(gw);

		cr_assert_eq(client_get(warm, "/", "Cookie: a=b\r\n")->status, 200);
		client_close(warm);
	}
	cr_assert(e2e_wait(gw_metric(gw, "hardtack_connections", "side=\"client\"", NULL) == 0));
	before = gw_status_kb(gw, "VmRSS:");
	for (int i = 0; i < n; i++) {
		c[i] = client_tls(gw);
		cr_assert_eq(client_get(c[i], "/", "Cookie: a=b\r\n")->status, 200);
	}
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_connections", "side=\"client\"",
				     "state=\"idle\"", NULL) == n));
	grown = gw_status_kb(gw, "VmRSS:") - before;
	printf("memory: %.1f KB for an idle TLS connection (%d of them)\n", (double)grown / n, n);
	if (!run_sanitized())
		cr_expect_leq(grown, 40L * n, "%ld KB for %d", grown, n);
	for (int i = 0; i < n; i++)
		client_close(c[i]);
	gw_stop(gw);
	backend_stop(be);
}

static double memlock_of(const char *pin)
{
	char path[256];
	const char *argv[] = {"bpftool", "-j", "map", "show", "pinned", path, NULL};
	struct text out = {0};
	json_t *j;
	double bytes;

	snprintf(path, sizeof(path), "%s/tokens", pin);
	if (run_command(&out, argv))
		return -1;
	j = json_loads(out.p, 0, NULL);
	bytes = (double)json_integer_value(json_object_get(j, "bytes_memlock"));
	json_decref(j);
	return bytes;
}

Test(stress, hundred_thousand_tokens_take_at_most_15_mb_per_cpu)
{
	e2e_need_gate();
	e2e_gate_only();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.tokens = "{ max: 100000 }"});
	struct text out = {0};
	json_t *j, *tokens;
	double cpus, bytes, kernel = memlock_of(gw->pin);

	be->no_record = true; /* there is no such run without the gate */
	cr_assert_eq(gw_ctl(gw, &out, "status", "--json"), 0);
	j = json_loads(out.p, 0, NULL);
	tokens = json_object_get(j, "tokens");
	cpus = (double)json_integer_value(json_object_get(tokens, "possible_cpus"));
	bytes = (double)json_integer_value(json_object_get(tokens, "map_bytes_full"));
	cr_assert_geq(cpus, 1);
	printf("memory: 100,000 tokens take %.1f MB per CPU (%g CPUs; the kernel says %.1f MB)\n",
	       bytes / cpus / 1e6, cpus, kernel / 1e6);
	cr_expect_gt(bytes, 0);
	cr_expect_leq(bytes / cpus, 15e6);
	if (kernel > 0)
		cr_expect_leq(kernel / cpus, 15e6);
	gw_stop(gw);
	backend_stop(be);
}

Test(stress, more_sessions_than_the_map_holds)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.tokens = "{ max: 500 }"});
	struct client *c = client_plain(gw);
	struct text all = {0};
	int n = run_small() ? 1500 : 4000, live;
	json_t *j;

	for (int i = 0; i < n; i++) {
		char fields[256], value[16];

		snprintf(value, sizeof(value), "s%d", i);
		snprintf(fields, sizeof(fields), "Cookie: sid=%s; sid_HMAC=%s\r\n", value,
			 token_for(value, "127.0.0.1"));
		cr_assert_eq(client_get(c, "/", fields)->status, 200);
	}
	for (int i = 0; i < n; i++)
		cr_assert(text_has(backend_req(be, i)->head, be->reqs[i]->head_len, "sid=s"), "%d",
			  i);
	cr_expect(e2e_wait(gw_passed(gw) == n));
	cr_assert_eq(gw_ctl(gw, &all, "status", "--json"), 0);
	j = json_loads(all.p, 0, NULL);
	live = (int)json_integer_value(json_object_get(json_object_get(j, "tokens"), "live"));
	if (run_gate_on())
		cr_expect(live > 100 && live <= 1500, "%d live of 500", live);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}
