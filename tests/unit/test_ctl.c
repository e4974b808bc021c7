/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket and the admin listener through real sockets: what they answer, whom they let
 * in, and that no client can hold them up. The gate is off here; its numbers are the gate suite's.
 */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <sys/stat.h>

#include "ctl.h"

#define LISTENERS 20
#define HOST "Host: x\r\n\r\n"

struct server {
	char dir[32], path[64];
	struct ht_addr admin;
	struct ht_listener_config listeners[LISTENERS];
	struct ht_key_config key;
	struct ht_config config;
	struct ht_stats *stats;
	struct ht_ctl_daemon daemon;
	struct ht_ctl *ctl;
	size_t flushes;
	char *answer;
	size_t len;
};

static size_t count_flush(void *arg)
{
	struct server *s = arg;

	s->flushes++;
	return 7;
}

/* A port of ours that nobody listens on: reserved by being bound a moment ago. */
static uint16_t free_port(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(in);

	cr_assert_eq(bind(fd, (void *)&in, sizeof(in)), 0);
	cr_assert_eq(getsockname(fd, (void *)&in, &len), 0);
	return in.sin_port;
}

static int open_ctl(struct server *s, char why[256])
{
	why[0] = '\0';
	return ht_ctl_open(&s->daemon, &s->ctl, why, 256);
}

static void prepare(struct server *s)
{
	const struct ht_offload_params off = {.gate = HT_OFF};
	char why[256] = "";

	memset(s, 0, sizeof(*s));
	strcpy(s->dir, "/tmp/ht-ctl-XXXXXX");
	cr_assert_not_null(mkdtemp(s->dir));
	snprintf(s->path, sizeof(s->path), "%s/control.sock", s->dir);
	s->admin.in = (struct sockaddr_in){.sin_family = AF_INET,
					   .sin_port = free_port(),
					   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	s->admin.len = sizeof(s->admin.in);
	strcpy(s->admin.text, "admin");
	for (size_t i = 0; i < LISTENERS; i++)
		snprintf(s->listeners[i].addr.text, sizeof(s->listeners[i].addr.text),
			 "192.0.2.%zu:443", i);
	s->config.listeners = s->listeners;
	s->config.nlisteners = 1;
	s->config.control = s->path;
	s->config.admin = &s->admin;
	s->config.tokens.max = 1000;
	s->stats = calloc(1, sizeof(*s->stats));
	s->daemon = (struct ht_ctl_daemon){
		.config = &s->config,
		.stats = (const struct ht_stats *const *)&s->stats,
		.nstats = 1,
		.gate_why = "<gate: off> & \"so\"",
		.ktls_why = "",
		.started = time(NULL) - 100,
		.flush = count_flush,
		.arg = s,
	};
	cr_assert_eq(ht_offload_open(&off, &s->daemon.offload, why, sizeof(why)), 0, "%s", why);
}

static void start(struct server *s)
{
	char why[256];

	prepare(s);
	cr_assert_eq(open_ctl(s, why), 0, "%s", why);
}

static void stop(struct server *s)
{
	ht_ctl_close(s->ctl);
	ht_offload_close(s->daemon.offload);
	free(s->stats);
	free(s->answer);
	unlink(s->path);
	rmdir(s->dir);
}

static int connect_control(const struct server *s)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(un.sun_path, s->path);
	cr_assert_eq(connect(fd, (void *)&un, sizeof(un)), 0, "%s", strerror(errno));
	return fd;
}

static int connect_admin(const struct server *s)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert_eq(connect(fd, (const void *)&s->admin.in, sizeof(s->admin.in)), 0, "%s",
		     strerror(errno));
	return fd;
}

/* Lets the server work until it has nothing to do for a moment. */
static void settle(struct server *s)
{
	struct pollfd p = {.fd = ht_ctl_fd(s->ctl), .events = POLLIN};

	while (poll(&p, 1, 20) > 0)
		ht_ctl_dispatch(s->ctl);
}

/* Reads until the server closes; what came is s->answer. Closes fd. */
static void read_answer(struct server *s, int fd)
{
	struct pollfd p[2] = {{.fd = fd, .events = POLLIN},
			      {.fd = ht_ctl_fd(s->ctl), .events = POLLIN}};
	ssize_t n = 1;

	free(s->answer);
	s->answer = calloc(1, 4 << 20);
	s->len = 0;
	while (n) {
		cr_assert_gt(poll(p, 2, 8000), 0, "no answer");
		if (p[1].revents)
			ht_ctl_dispatch(s->ctl);
		if (!p[0].revents)
			continue;
		n = recv(fd, s->answer + s->len, (4 << 20) - 1 - s->len, 0);
		cr_assert_geq(n, 0, "%s", strerror(errno));
		s->len += (size_t)n;
	}
	close(fd);
}

static void ask(struct server *s, const char *line)
{
	int fd = connect_control(s);

	cr_assert_eq(send(fd, line, strlen(line), 0), (ssize_t)strlen(line));
	read_answer(s, fd);
}

static void get_bytes(struct server *s, const char *request, size_t len)
{
	int fd = connect_admin(s);

	cr_assert_eq(send(fd, request, len, 0), (ssize_t)len);
	read_answer(s, fd);
}

static void get(struct server *s, const char *request)
{
	get_bytes(s, request, strlen(request));
}

static int status_of(const struct server *s)
{
	int status = 0;

	sscanf(s->answer, "HTTP/1.1 %d ", &status);
	return status;
}

static const char *body_of(const struct server *s)
{
	const char *end = strstr(s->answer, "\r\n\r\n");

	return end ? end + 4 : "";
}

static json_t *answer_tree(const struct server *s)
{
	json_t *tree = json_loads(s->answer + 3, 0, NULL);

	cr_assert_eq(strncmp(s->answer, "ok\n", 3), 0, "%s", s->answer);
	cr_assert_not_null(tree, "%s", s->answer);
	return tree;
}

#define expect_part(s, part)                                                                       \
	cr_expect_not_null(strstr((s)->answer, part), "no \"%s\" in \"%s\"", part, (s)->answer)

/* ---- the control socket ---- */

Test(ctl, status_as_text)
{
	struct server s;
	char pid[64];

	start(&s);
	ht_stats_inc(s.stats->requests[0][200], 3);
	ht_stats_inc(s.stats->verdicts[HT_WHERE_KERNEL][HT_COOKIE_HIT][HT_ACTION_PASS], 2);
	ht_stats_inc(s.stats->verdicts[HT_WHERE_USER][HT_COOKIE_FORGED][HT_ACTION_STRIP], 5);
	ask(&s, "status\n");
	snprintf(pid, sizeof(pid), "\n%-28s %d\n", "pid", getpid());
	cr_expect_eq(strncmp(s.answer, "ok\n", 3), 0);
	expect_part(&s, pid);
	expect_part(&s, "version                      " HT_VERSION "\n");
	expect_part(&s, "state                        serving\n");
	expect_part(&s, "gate.on                      no\n");
	expect_part(&s, "gate.why                     <gate: off> & \"so\"\n");
	expect_part(&s, "ktls.on                      yes\n");
	expect_part(&s, "listeners.0.requests         3\n");
	expect_part(&s, "verdicts.hit_pass            2\n");
	expect_part(&s, "verdicts.forged_strip        5\n");
	stop(&s);
}

Test(ctl, status_as_json)
{
	struct server s;
	json_t *tree;

	start(&s);
	ht_stats_inc(s.stats->connections[HT_SIDE_CLIENT][HT_CONN_IDLE], 4);
	ask(&s, "status {\"json\":true}\n");
	tree = answer_tree(&s);
	cr_expect_eq(json_integer_value(json_object_get(tree, "pid")), getpid());
	cr_expect_geq(json_integer_value(json_object_get(tree, "uptime_s")), 100);
	cr_expect(json_is_false(json_object_get(json_object_get(tree, "gate"), "on")));
	cr_expect_eq(
		json_integer_value(json_object_get(
			json_object_get(json_object_get(tree, "connections"), "client"), "idle")),
		4);
	cr_expect_eq(
		json_integer_value(json_object_get(json_object_get(tree, "tokens"), "flushed")), 0);
	cr_expect_eq(json_integer_value(json_object_get(json_object_get(tree, "sealed"), "live")),
		     0);
	json_decref(tree);
	stop(&s);
}

Test(ctl, draining_shows)
{
	struct server s;

	start(&s);
	s.daemon.draining = true;
	ask(&s, "status\n");
	expect_part(&s, "draining\n");
	stop(&s);
}

Test(ctl, tokens_of_an_empty_map)
{
	struct server s;
	json_t *tree;

	start(&s);
	ask(&s, "tokens\n");
	expect_part(&s, "ok\nlive                         0\n");
	expect_part(&s, "max_per_cpu                  1000\n");
	ask(&s, "tokens {\"json\":true,\"limit\":5}\n");
	tree = answer_tree(&s);
	cr_expect_eq(json_array_size(json_object_get(tree, "entries")), 0);
	cr_expect(json_is_array(json_object_get(tree, "entries")));
	json_decref(tree);
	stop(&s);
}

Test(ctl, flush)
{
	struct server s;

	start(&s);
	ask(&s, "flush\n");
	cr_expect_str_eq(s.answer, "ok\n7 tokens flushed\n");
	ask(&s, "flush {\"json\":true}\n");
	cr_expect_str_eq(s.answer, "ok\n{\n  \"flushed\": 7\n}\n");
	cr_expect_eq(s.flushes, 2);
	stop(&s);
}

Test(ctl, metrics)
{
	struct server s;
	json_t *tree;

	start(&s);
	ht_stats_inc(s.stats->requests[0][204], 3);
	ask(&s, "metrics\n");
	expect_part(&s, "\nhardtack_requests_total{listener=\"192.0.2.0:443\",code=\"204\"} 3\n");
	ask(&s, "metrics {\"json\":true}\n");
	tree = answer_tree(&s);
	cr_expect_eq(
		json_integer_value(json_object_get(
			tree, "hardtack_requests_total{listener=\"192.0.2.0:443\",code=\"204\"}")),
		3);
	json_decref(tree);
	stop(&s);
}

Test(ctl, what_is_wrong_is_said_and_nothing_done)
{
	static const struct {
		const char *line, *answer;
	} rows[] = {
		{"\n", "error: no such command\n"},
		{"nope\n", "error: no such command\n"},
		{"status2\n", "error: no such command\n"},
		{"bans\n", "error: there is no guard here\n"},
		{"reload\n", "error: reload is not possible here\n"},
		{"rotate {\"key\":\"shop\"}\n", "error: rotate takes the name of a key\n"},
		{"revoke\n", "error: revoke takes a key or a cookie\n"},
		{"revoke {\"cookie\":\"sid\"}\n", "error: a cookie is NAME=VALUE\n"},
		{"revoke {\"cookie\":\"sid=1\"}\n", "error: there is nothing to revoke here\n"},
		{"revoke {\"cookie\":\"\"}\n",
		 "error: arguments are \"json\": true or false, \"limit\": 1..1000000, \"key\"; "
		 "\"cookie\", "
		 "\"site\" and \"for\" seconds, ten years at the most\n"},
		{"revoke {\"cookie\":\"sid=1\",\"for\":0}\n",
		 "error: arguments are \"json\": true or false, \"limit\": 1..1000000, \"key\"; "
		 "\"cookie\", "
		 "\"site\" and \"for\" seconds, ten years at the most\n"},
		{"flush {\n", "error: what follows the command must be a JSON object\n"},
		{"flush {\"limit\":1,\"limit\":2}\n",
		 "error: what follows the command must be a JSON object\n"},
		{"flush []\n", "error: what follows the command must be a JSON object\n"},
	};
	static const char *const arguments[] = {"{\"limit\":0}",       "{\"limit\":-1}",
						"{\"limit\":1000001}", "{\"limit\":\"1\"}",
						"{\"json\":1}",	       "{\"other\":true}"};
	struct server s;
	char line[128];

	start(&s);
	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		ask(&s, rows[i].line);
		cr_expect_str_eq(s.answer, rows[i].answer, "%s", rows[i].line);
	}
	for (size_t i = 0; i < HT_ARRAY_SIZE(arguments); i++) {
		snprintf(line, sizeof(line), "flush %s\n", arguments[i]);
		ask(&s, line);
		cr_expect_eq(strncmp(s.answer, "error: arguments are", 20), 0, "%s", line);
	}
	cr_expect_eq(s.flushes, 0);
	stop(&s);
}

Test(ctl, too_long_a_command)
{
	struct server s;
	char line[12000];

	start(&s);
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	ask(&s, line);
	cr_expect_str_eq(s.answer, "error: the command is too long\n");
	stop(&s);
}

Test(ctl, the_socket_is_private)
{
	struct server s;
	struct stat st;

	start(&s);
	cr_assert_eq(stat(s.path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600, "%o", st.st_mode);
	ht_ctl_close(s.ctl);
	s.ctl = NULL;
	cr_expect_neq(stat(s.path, &st), 0, "it stays behind");
	stop(&s);
}

Test(ctl, a_stale_socket_is_replaced)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct server s;
	char why[256];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	prepare(&s);
	strcpy(un.sun_path, s.path);
	cr_assert_eq(bind(fd, (void *)&un, sizeof(un)), 0);
	close(fd);
	cr_assert_eq(open_ctl(&s, why), 0, "%s", why);
	ask(&s, "flush\n");
	stop(&s);
}

Test(ctl, a_live_socket_is_left_alone)
{
	struct ht_ctl *second = NULL;
	struct server s;
	char why[256] = "";

	start(&s);
	cr_expect_eq(ht_ctl_open(&s.daemon, &second, why, sizeof(why)), -EADDRINUSE);
	cr_expect_not_null(strstr(why, "another hardtackd"), "%s", why);
	cr_expect_null(second);
	settle(&s);
	ask(&s, "flush\n");
	cr_expect_eq(s.flushes, 1);
	stop(&s);
}

Test(ctl, a_file_in_the_way_is_left_alone)
{
	struct server s;
	char why[256];

	prepare(&s);
	close(open(s.path, O_CREAT | O_WRONLY, 0600));
	cr_expect_eq(open_ctl(&s, why), -EEXIST, "%s", why);
	cr_expect_eq(access(s.path, F_OK), 0);
	stop(&s);
}

Test(ctl, either_may_be_missing)
{
	struct server s;
	char why[256];

	prepare(&s);
	s.config.control = NULL;
	s.config.admin = NULL;
	cr_expect_eq(open_ctl(&s, why), 0, "%s", why);
	ht_ctl_dispatch(s.ctl);
	stop(&s);
}

/* ---- the admin listener ---- */

Test(ctl, http_statuses)
{
	static const struct {
		const char *request;
		int status;
	} rows[] = {
		{"GET /metrics HTTP/1.1\r\n" HOST, 200},
		{"GET /healthz HTTP/1.1\r\n" HOST, 200},
		{"GET / HTTP/1.1\r\n" HOST, 200},
		{"GET / HTTP/1.0\r\n\r\n", 200},
		{"GET /metrics?x=y HTTP/1.1\r\n" HOST, 200},
		{"GET /metricsx HTTP/1.1\r\n" HOST, 404},
		{"GET /metrics/ HTTP/1.1\r\n" HOST, 404},
		{"POST /nope HTTP/1.1\r\n" HOST, 404},
		{"POST /metrics HTTP/1.1\r\nContent-Length: 4\r\n" HOST "body", 405},
		{"DELETE / HTTP/1.1\r\n" HOST, 405},
		{"GET / HTTP/1.1\r\n\r\n", 400},
		{"GET / HTTP/2.0\r\n" HOST, 400},
		{"GET / HTTP/1.2\r\n" HOST, 400},
		{"GET / HTTP/1.1x\r\n" HOST, 400},
		{"GET /\r\n" HOST, 400},
		{"get / HTTP/1.1\r\n" HOST, 400},
		{"GET http://x/ HTTP/1.1\r\n" HOST, 400},
		{"GET  / HTTP/1.1\r\n" HOST, 400},
		{" / HTTP/1.1\r\n" HOST, 400},
		{"\r\n\r\n", 400},
	};
	struct server s;

	start(&s);
	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		get(&s, rows[i].request);
		cr_expect_eq(status_of(&s), rows[i].status, "%s: %.40s", rows[i].request, s.answer);
		expect_part(&s, "\r\nConnection: close\r\n");
	}
	stop(&s);
}

Test(ctl, nul_byte_and_long_head)
{
	static const char nul[] = "GET / HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n";
	struct server s;
	char head[12000];

	start(&s);
	get_bytes(&s, nul, sizeof(nul) - 1);
	cr_expect_eq(status_of(&s), 400, "%.40s", s.answer);
	memset(head, 'x', sizeof(head));
	memcpy(head, "GET / HTTP/1.1\r\nX: ", 19);
	get_bytes(&s, head, sizeof(head));
	cr_expect_eq(status_of(&s), 431, "%.40s", s.answer);
	stop(&s);
}

Test(ctl, head_has_the_length_but_no_body)
{
	char length[64];
	struct server s;

	start(&s);
	get(&s, "GET /healthz HTTP/1.1\r\n" HOST);
	cr_expect_str_eq(body_of(&s), "ok\n");
	get(&s, "HEAD /healthz HTTP/1.1\r\n" HOST);
	cr_expect_eq(status_of(&s), 200);
	cr_expect_str_eq(body_of(&s), "");
	snprintf(length, sizeof(length), "\r\nContent-Length: %d\r\n", 3);
	expect_part(&s, length);
	stop(&s);
}

Test(ctl, healthz_while_draining)
{
	struct server s;

	start(&s);
	s.daemon.draining = true;
	get(&s, "GET /healthz HTTP/1.1\r\n" HOST);
	cr_expect_eq(status_of(&s), 503);
	cr_expect_str_eq(body_of(&s), "draining\n");
	stop(&s);
}

Test(ctl, metrics_over_http)
{
	struct server s;

	start(&s);
	ht_stats_inc(s.stats->requests[0][200], 3);
	get(&s, "GET /metrics HTTP/1.1\r\n" HOST);
	expect_part(&s, "\r\nContent-Type: text/plain; version=0.0.4");
	cr_expect_eq(strncmp(body_of(&s), "# HELP ", 7), 0);
	expect_part(&s, "\nhardtack_requests_total{listener=\"192.0.2.0:443\",code=\"200\"} 3\n");
	stop(&s);
}

Test(ctl, the_page_is_escaped_and_whole)
{
	struct server s;

	start(&s);
	get(&s, "GET / HTTP/1.1\r\n" HOST);
	expect_part(&s, "\r\nContent-Type: text/html; charset=utf-8\r\n");
	expect_part(&s, "&lt;gate: off&gt; &amp; &quot;so&quot;");
	cr_expect_null(strstr(s.answer, "<gate"));
	cr_expect_null(strstr(s.answer, "http://"), "a resource from elsewhere");
	expect_part(&s, "</html>\n");
	stop(&s);
}

Test(ctl, a_request_in_pieces)
{
	static const char request[] = "GET /healthz HTTP/1.1\r\n" HOST;
	struct server s;
	int fd;

	start(&s);
	fd = connect_admin(&s);
	for (size_t i = 0; i < sizeof(request) - 1; i++) {
		cr_assert_eq(send(fd, request + i, 1, 0), 1);
		if (i % 8 == 0)
			settle(&s);
	}
	read_answer(&s, fd);
	cr_expect_str_eq(body_of(&s), "ok\n");
	stop(&s);
}

/* ---- clients that hold it up ---- */

/* About 700 KB, more than a socket takes at once. */
Test(ctl, a_slow_reader_gets_everything)
{
	struct server s;
	int fd;

	start(&s);
	s.config.nlisteners = LISTENERS;
	for (size_t l = 0; l < LISTENERS; l++)
		for (size_t code = 0; code < HT_STATS_CODES; code++)
			ht_stats_inc(s.stats->requests[l][code], 1);
	fd = connect_control(&s);
	cr_assert_eq(send(fd, "metrics\n", 8, 0), 8);
	settle(&s); /* the socket is full now, and the server has gone on */
	read_answer(&s, fd);
	cr_expect_gt(s.len, 600000, "%zu", s.len);
	expect_part(&s, "listener=\"192.0.2.19:443\",code=\"599\"} 1\n");
	cr_expect_eq(s.answer[s.len - 1], '\n');
	stop(&s);
}

Test(ctl, scrapers_do_not_lock_the_operator_out)
{
	struct server s;
	int fds[40];

	start(&s);
	for (size_t i = 0; i < HT_ARRAY_SIZE(fds); i++)
		fds[i] = connect_admin(&s);
	settle(&s);
	ask(&s, "flush\n");
	cr_expect_eq(s.flushes, 1);
	for (size_t i = 0; i < HT_ARRAY_SIZE(fds); i++)
		close(fds[i]);
	get(&s, "GET /healthz HTTP/1.1\r\n" HOST);
	cr_expect_eq(status_of(&s), 200, "it accepts again once they are gone");
	stop(&s);
}

Test(ctl, a_silent_client_is_closed_in_time)
{
	struct timespec a, b;
	struct server s;
	int fd;

	start(&s);
	fd = connect_control(&s);
	clock_gettime(CLOCK_MONOTONIC, &a);
	read_answer(&s, fd);
	clock_gettime(CLOCK_MONOTONIC, &b);
	cr_expect_eq(s.len, 0);
	cr_expect_leq(b.tv_sec - a.tv_sec, 7);
	cr_expect_geq(b.tv_sec - a.tv_sec, 4);
	stop(&s);
}

Test(ctl, clients_that_leave_early)
{
	struct server s;

	start(&s);
	for (int i = 0; i < 20; i++) {
		int fd = connect_control(&s);

		cr_assert_eq(send(fd, "metrics\n", i % 9, 0), i % 9);
		if (i % 2)
			settle(&s);
		close(fd);
	}
	ask(&s, "flush\n");
	cr_expect_eq(s.flushes, 1);
	stop(&s);
}

/* ---- keys ---- */

static char asked_for[64];

static int fake_key(void *arg, const char *name, char *why, size_t why_len)
{
	struct server *s = arg;

	s->flushes++;
	snprintf(asked_for, sizeof(asked_for), "%s", name);
	if (!strcmp(name, "shop"))
		return 0;
	snprintf(why, why_len, "%s", strcmp(name, "odd") ? "no such key" : "only half of it");
	return strcmp(name, "odd") ? -ENOENT : 0;
}

Test(ctl, keys_rotate_and_are_revoked_by_name)
{
	static const struct {
		const char *line, *answer;
	} rows[] = {
		{"rotate {\"key\":\"shop\"}\n",
		 "ok\nshop: another secret signs now; the one until now verifies\n"},
		{"revoke {\"key\":\"shop\"}\n",
		 "ok\nshop: nothing that it has signed is valid any more\n"},
		{"revoke {\"key\":\"odd\"}\n",
		 "ok\nodd: nothing that it has signed is valid any more\nonly half of it\n"},
		{"rotate {\"key\":\"none\"}\n", "error: no such key\n"},
		{"revoke {\"key\":\"none\"}\n", "error: no such key\n"},
		{"rotate\n", "error: rotate takes the name of a key\n"},
		{"revoke {\"key\":\"shop\",\"cookie\":\"a=b\"}\n",
		 "error: revoke takes a key or a cookie\n"},
	};
	struct server s;

	start(&s);
	s.daemon.rotate = fake_key;
	s.daemon.revoke_key = fake_key;
	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		ask(&s, rows[i].line);
		cr_expect_str_eq(s.answer, rows[i].answer, "%s", rows[i].line);
	}
	cr_expect_eq(s.flushes, 5);
	ask(&s, "rotate {\"key\":\"odd\",\"json\":true}\n");
	cr_expect_str_eq(s.answer, "ok\n{\n  \"rotated\": true,\n  \"key\": \"odd\",\n  "
				   "\"warnings\": \"only half of it\"\n}\n");
	ask(&s, "rotate {\"key\":\"a\\u0000b\"}\n");
	cr_expect_eq(strncmp(s.answer, "error: ", 7), 0, "%s", s.answer);
	stop(&s);
}

static const struct ht_secret some_secrets[] = {
	{.id = "00112233445566aa", .born_s = 1700000000},
	{.id = "00112233445566bb", .born_s = 1600000000, .retire_s = 1800000000},
	{.id = "00112233445566cc", .born_s = 1700000000, .early = true},
};
static const struct ht_key some_key = {
	.name = "shop", .gen = 9, .nsecrets = 3, .secrets = some_secrets};

static size_t fake_keys(void *arg, struct ht_stats_key *ret)
{
	(void)arg;
	*ret = (struct ht_stats_key){.key = &some_key,
				     .source = "memcached",
				     .rotations = 3,
				     .store = true,
				     .polls = 77,
				     .void_before_s = 1500000000};
	return 1;
}

Test(ctl, status_names_secrets_by_their_ids)
{
	static const char *const says[] = {
		"keys.0.name                  shop\n",
		"keys.0.source                memcached\n",
		"keys.0.generation            9\n",
		"keys.0.rotations             3\n",
		"keys.0.secrets.0.id          00112233445566aa\n",
		"keys.0.secrets.0.state       signs\n",
		"keys.0.secrets.1.state       verifies\n",
		"keys.0.secrets.1.until       1800000000\n",
		"keys.0.secrets.2.state       comes next\n",
		"keys.0.store.polls           77\n",
		"keys.0.void_before           1500000000\n",
	};
	struct server s;

	start(&s);
	s.daemon.keys = fake_keys;
	ask(&s, "status\n");
	for (size_t i = 0; i < HT_ARRAY_SIZE(says); i++)
		cr_expect(strstr(s.answer, says[i]), "%s in %s", says[i], s.answer);
	cr_expect_not(strstr(s.answer, "keys.0.secrets.0.until"));
	stop(&s);
}
