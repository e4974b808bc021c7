/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What operators hold on to: commands, metrics, health, logs, start and its refusals; and that no
 * secret shows in any of it.
 */
#include <ctype.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

TestSuite(ops, .timeout = E2E_TIMEOUT);

static json_t *ctl_json(struct gw *gw, const char *command)
{
	struct text out = {0};
	json_error_t err;
	json_t *j;

	cr_assert_eq(gw_ctl(gw, &out, command, "--json"), 0, "%s: %s", command, out.p);
	j = json_loads(out.p, 0, &err);
	cr_assert(j, "%s --json: %s in %s", command, err.text, out.p);
	text_free(&out);
	return j;
}

Test(ops, status_json)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	json_t *j = ctl_json(gw, "status"), *gate = json_object_get(j, "gate");
	struct text out = {0};

	cr_expect_eq(json_integer_value(json_object_get(j, "pid")), gw->pid);
	cr_expect_str_eq(json_string_value(json_object_get(j, "state")), "serving");
	cr_expect_eq(json_is_true(json_object_get(gate, "on")), run_gate_on());
	if (!run_gate_on())
		cr_expect_gt(strlen(json_string_value(json_object_get(gate, "why"))), 0);
	cr_expect_eq(json_array_size(json_object_get(j, "listeners")), 2);
	cr_expect(json_object_get(j, "ktls"));
	json_decref(j);
	cr_expect_eq(gw_ctl(gw, &out, "status", NULL), 0);
	cr_expect_gt(out.len, 0);
	gw_stop(gw);
	backend_stop(be);
}

/* A failure is JSON too, and no less a failure. */
Test(ops, what_fails_says_so_in_json)
{
	e2e_need_gate();
	static const char *const commands[][2] = {
		{"rotate nokey", "no key is named"},
		{"reload", "workres"},
	};
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);

	gw_edit(gw, "workers: 1", "workres: 1");
	for (size_t i = 0; i < E2E_ARRAY_SIZE(commands); i++) {
		const char *argv[] = {
			"sh",	   "-c",	"\"$0\" -s \"$1\" $2 --json 2>/dev/null",
			run_ctl(), gw->control, commands[i][0],
			NULL};
		struct text out = {0};
		const char *why;
		json_t *j;

		cr_expect_eq(run_command(&out, argv), 1, "%s", commands[i][0]);
		j = json_loads(out.p ? out.p : "", 0, NULL);
		why = json_string_value(json_object_get(j, "error"));
		cr_expect(why && strstr(why, commands[i][1]), "%s: %s", commands[i][0], out.p);
		json_decref(j);
		text_free(&out);
	}
	gw_stop(gw);
	backend_stop(be);
}

static size_t live_tokens(struct gw *gw)
{
	json_t *j = ctl_json(gw, "status");
	size_t n =
		(size_t)json_integer_value(json_object_get(json_object_get(j, "tokens"), "live"));

	json_decref(j);
	return n;
}

Test(ops, tokens_json)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text line = {0}, out = {0};
	json_t *j;

	token_expand(&line, "Cookie: sid=secretvalue; sid_HMAC={secretvalue}\r\n");
	cr_expect_eq(client_once(gw, NULL, line.p), 200);
	j = ctl_json(gw, "tokens");
	cr_expect_eq(json_array_size(json_object_get(j, "entries")), run_gate_on() ? 1 : 0);
	cr_expect_eq(live_tokens(gw), run_gate_on() ? 1 : 0);
	json_decref(j);
	gw_ctl(gw, &out, "tokens", NULL);
	cr_expect_not(text_has(out.p, out.len, "secretvalue"));
	cr_expect_not(text_has(out.p, out.len, token_for("secretvalue", "127.0.0.1")));
	gw_stop(gw);
	backend_stop(be);
}

Test(ops, unbuilt_and_wrong_commands_fail_plainly)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text out = {0};
	const char *nobody[] = {run_ctl(), "-s", "/nonexistent/sock", "status", NULL};

	cr_expect_eq(gw_ctl(gw, &out, "nonsense", NULL), 2);
	cr_expect_eq(run_command(&out, nobody), 1);
	gw_stop(gw);
	backend_stop(be);
}

static bool name_ok(const char *line)
{
	const char *p = line;

	while (isalnum((unsigned char)*p) || *p == '_' || *p == ':')
		p++;
	return p > line && (*p == '{' || *p == ' ');
}

/* The text format, line by line: comments, or NAME{LABELS} NUMBER with a TYPE before it. */
Test(ops, metrics_parse)
{
	static const char *const families[] = {
		"hardtack_requests_total",	  "hardtack_verdicts_total",
		"hardtack_cookies_signed_total",  "hardtack_tokens",
		"hardtack_gate_refused_total",	  "hardtack_connections",
		"hardtack_tls_connections_total",
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text body = {0};
	char *line, *save, type[128];

	client_once(gw, NULL, "");
	cr_assert_eq(gw_admin(gw, "/metrics", &body), 200);
	for (size_t i = 0; i < E2E_ARRAY_SIZE(families); i++) {
		snprintf(type, sizeof(type), "# TYPE %s ", families[i]);
		cr_expect(text_has(body.p, body.len, type), "no %s", families[i]);
	}
	cr_expect_eq(body.p[body.len - 1], '\n');
	for (line = strtok_r(body.p, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value, *end;

		if (*line == '#') {
			cr_expect(!strncmp(line, "# HELP ", 7) || !strncmp(line, "# TYPE ", 7),
				  "%s", line);
			continue;
		}
		value = strrchr(line, ' ');
		cr_assert(name_ok(line) && value, "%s", line);
		strtod(value + 1, &end);
		cr_expect(end > value + 1 && !*end, "%s", line);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(ops, counters_move)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c;

	for (int i = 0; i < 3; i++)
		client_once(gw, NULL, "");
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_requests_total", "code=\"200\"", NULL) == 3));
	backend_reply(be, "HTTP/1.1 404 No\r\nSet-Cookie: sid=a\r\nContent-Length: 0\r\n\r\n");
	client_once(gw, NULL, "");
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_requests_total", "code=\"404\"", NULL) == 1));
	cr_expect_eq(gw_metric(gw, "hardtack_cookies_signed_total", "profile=\"f5-irule\"", NULL),
		     1);
	c = client_plain(gw);
	client_sendf(c, "nonsense\r\n\r\n");
	client_read(c);
	client_close(c);
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_requests_total", "code=\"400\"", NULL) == 1));
	c = client_plain(gw);
	client_get(c, "/", "");
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_connections", "side=\"client\"", NULL) >= 1));
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_connections", "side=\"backend\"", NULL) >= 1));
	client_close(c);
	cr_expect(e2e_wait(gw_metric(gw, "hardtack_connections", "side=\"client\"", NULL) == 0));
	gw_stop(gw);
	backend_stop(be);
}

Test(ops, health_and_status_page)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text body = {0};

	cr_expect_eq(gw_admin(gw, "/healthz", &body), 200);
	cr_expect_eq(gw_admin(gw, "/", &body), 200);
	cr_expect_eq(gw_admin(gw, "/nothing", &body), 404);
	gw_stop(gw);
	backend_stop(be);
}

Test(ops, flush_forgets_and_the_daemon_verifies_again)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);
	struct text line = {0}, out = {0};
	double computed, hits;

	token_expand(&line, "Cookie: sid=f; sid_HMAC={f}\r\n");
	for (int i = 0; i < 3; i++)
		client_get(c, "/", line.p);
	cr_expect(e2e_wait(gw_passed(gw) == 3));
	computed = gw_verdicts(gw, "valid", "pass");
	cr_expect_eq(gw_ctl(gw, &out, "flush", NULL), 0, "%s", out.p);
	cr_expect_eq(live_tokens(gw), 0);
	hits = gw_hits(gw);
	/* On the same connection: its memo must not outlive the flush either. */
	client_get(c, "/", line.p);
	cr_expect(text_has(backend_last(be)->head, backend_last(be)->head_len, line.p));
	cr_expect(e2e_wait(gw_verdicts(gw, "valid", "pass") == computed + 1), "it still hits");
	client_get(c, "/", line.p);
	cr_expect(text_has(backend_last(be)->head, backend_last(be)->head_len, line.p));
	if (run_gate_on()) {
		cr_expect(e2e_wait(gw_hits(gw) == hits + 1));
		cr_expect_eq(gw_verdicts(gw, "valid", "pass"), computed + 1);
	}
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(ops, periodic_flush_logs_how_many_went)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.tokens = "{ flush-every: 1s }"});
	struct text line = {0};

	if (run_gate_on()) {
		token_expand(&line, "Cookie: sid=f; sid_HMAC={f}\r\n");
		cr_expect(
			e2e_wait(client_once(gw, NULL, line.p) == 200 &&
				 gw_metric(gw, "hardtack_tokens", "state=\"flushed\"", NULL) >= 1));
		cr_expect(e2e_wait(gw_logged(gw, "flush")), "no log line");
	}
	cr_expect_eq(client_once(gw, NULL, line.p ? line.p : ""), 200);
	be->no_record = true;
	gw_stop(gw);
	backend_stop(be);
}

/* ---- secrets ---- */

static void expect_no_secret(const char *where, const char *p, size_t len,
			     const char *const *secrets)
{
	for (; *secrets; secrets++)
		cr_expect_not(p && text_has(p, len, *secrets), "%s shows %s", where, *secrets);
}

/* bpftool prints bytes as hex pairs or as numbers: look for the raw bytes in every form. */
static void expect_map_clean(const char *dir, const char *name, const char *const *secrets)
{
	char path[512], needle[512];
	struct text out = {0};
	const char *argv[] = {"bpftool", "map", "dump", "pinned", path, NULL};
	const char *json[] = {"bpftool", "-j", "map", "dump", "pinned", path, NULL};

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	run_command(&out, argv);
	run_command(&out, json);
	expect_no_secret(path, out.p, out.len, secrets);
	for (; *secrets; secrets++) {
		uint64_t words[2];
		size_t at = 0;

		for (int i = 0; i < 8; i++)
			at += (size_t)sprintf(needle + at, i ? " %02x" : "%02x",
					      (unsigned char)(*secrets)[i]);
		cr_expect_not(text_has(out.p, out.len, needle), "%s shows %s as bytes", path,
			      *secrets);
		at = 0;
		for (int i = 0; i < 8; i++)
			at += (size_t)sprintf(needle + at, i ? ",\"0x%02x\"" : "\"0x%02x\"",
					      (unsigned char)(*secrets)[i]);
		cr_expect_not(text_has(out.p, out.len, needle), "%s shows %s as JSON", path,
			      *secrets);
		memcpy(words, *secrets, 16);
		for (int i = 0; i < 2; i++) {
			sprintf(needle, "%llu", (unsigned long long)words[i]);
			cr_expect_not(text_has(out.p, out.len, needle), "%s shows %s", path,
				      *secrets);
		}
	}
	text_free(&out);
}

Test(ops, secrets_show_nowhere)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	/* few slots: all of them are dumped, as text, again and again */
	struct gw *gw = gw_start(be,
				 &(struct gw_spec){.limits = "{ connections: 100 }", .own = true});
	const char *value = "sessionvalue0123456789";
	const char *secrets[] = {E2E_KEY, value, token_for(value, "127.0.0.1"), NULL};
	struct text line = {0}, out = {0};
	size_t len;
	char *log;

	backend_reply(be, "HTTP/1.1 200 OK\r\nSet-Cookie: sid=sessionvalue0123456789\r\n"
			  "Content-Length: 0\r\n\r\n");
	client_once(gw, NULL, "");
	text_addf(&line, "Cookie: sid=%s; sid_HMAC=%s\r\n", value, secrets[2]);
	for (int i = 0; i < 3; i++)
		client_once(gw, NULL, line.p);
	text_clear(&line);
	text_addf(&line, "Cookie: sid=%s; sid_HMAC=forged; sid=x\r\n", value);
	client_once(gw, "127.0.0.2", line.p);
	gw_admin(gw, "/metrics", &out);
	expect_no_secret("/metrics", out.p, out.len, secrets);
	gw_admin(gw, "/", &out);
	expect_no_secret("the status page", out.p, out.len, secrets);
	text_clear(&out);
	gw_ctl(gw, &out, "status", "--json");
	gw_ctl(gw, &out, "tokens", "--json");
	expect_no_secret("hardtackctl", out.p, out.len, secrets);
	if (run_gate_on()) {
		DIR *d = opendir(gw->pin);
		struct dirent *e;
		int n = 0;

		cr_assert(d, "%s: nothing is pinned", gw->pin);
		while ((e = readdir(d)))
			if (*e->d_name != '.') {
				expect_map_clean(gw->pin, e->d_name, secrets);
				n++;
			}
		closedir(d);
		cr_expect_geq(n, 3, "%d objects are pinned", n);
	}
	log = text_file(gw->stderr_path, &len);
	expect_no_secret("the log", log, len, secrets);
	cr_assert(e2e_wait((log = text_file(gw->access_path, &len)) && len > 0));
	expect_no_secret("the access log", log, len, secrets);
	gw_stop(gw);
	backend_stop(be);
}

Test(ops, access_log_is_json_and_names_verdicts)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	char *log = NULL, *line, *save;
	size_t len;
	int n = 0;

	client_once(gw, NULL, "Cookie: sid=forged; sid_HMAC=x\r\nUser-Agent: a\"b\\c\r\n");
	client_once(gw, NULL, "");
	cr_assert(e2e_wait((log = text_file(gw->access_path, &len)) && strchr(log, '\n') &&
			   strchr(strchr(log, '\n') + 1, '\n')));
	cr_expect(text_has(log, len, "forged"));
	for (line = strtok_r(log, "\n", &save); line; line = strtok_r(NULL, "\n", &save), n++) {
		json_t *j = json_loads(line, 0, NULL);

		cr_expect(j, "%s", line);
		cr_expect_eq(json_integer_value(json_object_get(j, "status")), 200, "%s", line);
	}
	cr_expect_eq(n, 2);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- start ---- */

static void write_config(char *path, size_t cap, const char *text)
{
	FILE *f;

	snprintf(path, cap, "%s/check-%d.yaml", run_dir(), getpid());
	f = fopen(path, "we");
	fputs(text, f);
	fclose(f);
}

Test(ops, check_names_the_place)
{
	static const struct {
		const char *config, *place, *word;
	} bad[] = {
		{"listeners:\n  - address: 127.0.0.1:1\nnonsense: 1\n", ":3:1: ", "nonsense"},
		{"listeners: [\n", ":", ""},
		{"gate: require\ngate: off\n", ":2:", "gate"},
		{"listeners:\n  - address: 127.0.0.1:99999\n", ":2:", ""},
		{"", "", ""},
	};
	char path[512];

	for (size_t i = 0; i < E2E_ARRAY_SIZE(bad); i++) {
		const char *argv[] = {run_daemon(), "--check", "-c", path, NULL};
		struct text out = {0};

		write_config(path, sizeof(path), bad[i].config);
		cr_expect_eq(run_command(&out, argv), 2, "%s", bad[i].config);
		cr_expect(text_has(out.p, out.len, path) && strstr(out.p, bad[i].place) &&
				  strstr(out.p, bad[i].word),
			  "%s -> %s", bad[i].config, out.p);
	}
	unlink(path);
}

Test(ops, check_accepts_what_runs)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	const char *argv[] = {run_daemon(), "--check", "-c", gw->config, NULL};
	struct text out = {0};

	cr_expect_eq(run_command(&out, argv), 0, "%s", out.p);
	gw_stop(gw);
	backend_stop(be);
}

Test(ops, version_names_the_parts)
{
	const char *argv[] = {run_daemon(), "--version", NULL};
	struct text out = {0};

	cr_expect_eq(run_command(&out, argv), 0);
	cr_expect(strcasestr(out.p, "hardtack") && strcasestr(out.p, "libbpf") &&
			  strcasestr(out.p, "OpenSSL"),
		  "%s", out.p);
}

Test(ops, usage_errors)
{
	const char *none[] = {run_daemon(), NULL};
	const char *missing[] = {run_daemon(), "-c", "/nonexistent.yaml", NULL};

	cr_expect_neq(run_command(NULL, none), 0);
	cr_expect_neq(run_command(NULL, missing), 0);
}

Test(ops, second_daemon_on_the_same_pin_is_refused)
{
	e2e_need_gate();
	e2e_gate_only();
	struct backend *be = backend_start(NULL);
	struct gw *a = gw_start(be, NULL), *b;

	b = gw_start(be,
		     &(struct gw_spec){.pin = a->pin, .gate = "require", .expect_failure = true});
	be->no_record = true; /* there is no such run without the gate */
	cr_expect_neq(b->exit_status, 0);
	/* And it took nothing away from the first. */
	cr_expect_eq(client_once(a, NULL, "Cookie: sid=x\r\n"), 200);
	cr_expect_not(text_has(backend_last(be)->head, backend_last(be)->head_len, "sid="));
	gw_stop(a);
	backend_stop(be);
}

Test(ops, two_daemons_with_two_pins)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *a = gw_start(be, NULL), *b = gw_start(be, NULL);
	struct text line = {0};

	token_expand(&line, "Cookie: sid=two; sid_HMAC={two}\r\n");
	for (int i = 0; i < 6; i++) {
		cr_expect_eq(client_once(i % 2 ? a : b, NULL, line.p), 200);
		cr_expect(text_has(backend_last(be)->head, backend_last(be)->head_len, line.p));
		cr_expect_eq(client_once(i % 2 ? a : b, "127.0.0.2", line.p), 200);
		cr_expect_not(text_has(backend_last(be)->head, backend_last(be)->head_len, "sid="));
	}
	gw_stop(a);
	cr_expect_eq(client_once(b, NULL, line.p), 200);
	gw_stop(b);
	backend_stop(be);
}

Test(ops, control_socket_is_for_its_owner)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &gw_own);
	struct stat st;
	char path[160];

	cr_assert_eq(stat(gw->control, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600);
	snprintf(path, sizeof(path), "%s", gw->control);
	gw_terminate(gw);
	cr_expect_eq(gw_end(gw), 0);
	cr_expect_neq(access(path, F_OK), 0, "the control socket stays behind");
	gw_stop(gw);
	backend_stop(be);
}

Test(ops, killed_daemon_starts_again_on_its_pin)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *a = gw_start(be, &gw_own), *b;
	struct text line = {0};

	token_expand(&line, "Cookie: sid=k; sid_HMAC={k}\r\n");
	cr_expect_eq(client_once(a, NULL, line.p), 200);
	kill(a->pid, SIGKILL);
	cr_expect_eq(gw_end(a), -SIGKILL);
	b = gw_start(be, &(struct gw_spec){.pin = a->pin});
	cr_expect_eq(client_once(b, NULL, line.p), 200);
	cr_expect(text_has(backend_last(be)->head, backend_last(be)->head_len, line.p));
	cr_expect_eq(client_once(b, NULL, "Cookie: sid=k\r\n"), 200);
	cr_expect_not(text_has(backend_last(be)->head, backend_last(be)->head_len, "sid="));
	gw_stop(b);
	backend_stop(be);
}

Test(ops, several_workers)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.workers = 4});
	struct text line = {0};

	token_expand(&line, "Cookie: sid=w; sid_HMAC={w}\r\n");
	for (int i = 0; i < 40; i++) {
		cr_expect_eq(client_once(gw, i % 4 ? NULL : "127.0.0.2", line.p), 200);
		cr_expect_eq(text_has(backend_last(be)->head, backend_last(be)->head_len, "sid="),
			     i % 4 != 0);
	}
	cr_expect(e2e_wait(gw_passed(gw) == 30));
	cr_expect_eq(gw_verdicts(gw, "forged", "strip"), 10);
	gw_stop(gw);
	backend_stop(be);
}
