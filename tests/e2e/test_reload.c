/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reloads and restarts while requests run: nothing may fail, a bad configuration changes nothing,
 * tokens survive where their keys do. HT_RELOAD_SECONDS makes the load last that long.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

TestSuite(reload, .timeout = 600);

static const char valid[] = "Cookie: sid=r; sid_HMAC={r}\r\n";

static int reload_now(struct gw *gw, struct text *out)
{
	text_clear(out);
	return gw_ctl(gw, out, "reload", NULL);
}

static void reload_well(struct gw *gw)
{
	struct text out = {0};

	cr_assert_eq(reload_now(gw, &out), 0, "%s", out.p);
	text_free(&out);
}

/* ---- what a reload changes ---- */

Test(reload, a_bad_configuration_changes_nothing_and_says_why)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text out = {0};

	gw_edit(gw, "workers: 1", "workres: 1");
	cr_expect_eq(reload_now(gw, &out), 1);
	cr_expect(text_has(out.p, out.len, "hardtack.yaml:"), "%s", out.p);
	cr_expect(text_has(out.p, out.len, "workres"), "%s", out.p);
	cr_expect(gw_logged(gw, "reload refused"));
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	gw_edit(gw, "workres: 1", "workers: 1");
	gw_edit(gw, "/edge.pem", "/other.pem");
	cr_expect_eq(reload_now(gw, &out), 1, "a key that is not the certificate's");
	gw_edit(gw, "/other.pem", "/edge.pem");
	gw_write(gw, "shop.key", "", 0600);
	cr_expect_eq(reload_now(gw, &out), 1, "an empty key");
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	gw_write(gw, "shop.key", E2E_KEY "\n", 0600);
	cr_expect_eq(reload_now(gw, &out), 0, "%s", out.p);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

/* Has the log a line of this request? */
static bool log_has(const char *path, const char *target)
{
	char *log = text_file(path, NULL);
	bool found = log && strstr(log, target);

	free(log);
	return found;
}

/* As logrotate does it: moved away, and then everything goes to a new file. */
Test(reload, the_access_log_is_opened_again)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);
	struct text out = {0};
	char old[200];

	snprintf(old, sizeof(old), "%s/access.log.1", gw->dir);
	cr_expect_eq(client_get(c, "/before", "")->status, 200);
	cr_assert_eq(rename(gw->access_path, old), 0);
	cr_expect_eq(client_get(c, "/moved", "")->status, 200);
	cr_expect(e2e_wait(log_has(old, "/moved")));
	reload_well(gw);
	cr_expect_eq(client_get(c, "/after", "")->status, 200);
	cr_expect(e2e_wait(log_has(gw->access_path, "/after")));
	cr_expect_not(log_has(gw->access_path, "/moved"));
	cr_expect_not(log_has(old, "/after"));
	/* by the signal too, and although the configuration is wrong */
	gw_edit(gw, "workers: 1", "workres: 1");
	cr_assert_eq(rename(gw->access_path, old), 0);
	kill(gw->pid, SIGHUP);
	cr_expect(e2e_wait(gw_logged(gw, "reload refused")));
	cr_expect_eq(client_get(c, "/signal", "")->status, 200);
	cr_expect(e2e_wait(log_has(gw->access_path, "/signal")));
	gw_edit(gw, "workres: 1", "workers: 1");
	/* where it can't be opened the old one goes on */
	cr_assert_eq(rename(gw->access_path, old), 0);
	cr_assert_eq(mkdir(gw->access_path, 0700), 0);
	cr_expect_eq(reload_now(gw, &out), 0, "%s", out.p);
	cr_expect(text_has(out.p, out.len, "stays the old file"), "%s", out.p);
	cr_expect(text_has(out.p, out.len, "Is a directory"), "%s", out.p);
	cr_expect(gw_logged(gw, "stays the old file"));
	cr_expect_eq(client_get(c, "/kept", "")->status, 200);
	cr_expect(e2e_wait(log_has(old, "/kept")));
	cr_assert_eq(rmdir(gw->access_path), 0);
	reload_well(gw);
	cr_expect_eq(client_get(c, "/again", "")->status, 200);
	cr_expect(e2e_wait(log_has(gw->access_path, "/again")));
	text_free(&out);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(reload, sites_come_and_go)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_tls(gw);

	cr_expect_eq(client_once(gw, NULL, ""), 200);
	cr_expect_eq(client_get(c, "/", "")->status, 200);
	gw_edit(gw, "hosts: [\"*\"]", "hosts: [elsewhere.test]");
	reload_well(gw);
	cr_expect_eq(client_once(gw, NULL, ""), 404);
	cr_expect_eq(client_get(c, "/", "")->status, 421, "a connection from before");
	gw_edit(gw, "hosts: [elsewhere.test]", "hosts: [\"*\"]");
	reload_well(gw);
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	cr_expect_eq(client_get(c, "/", "")->status, 200, "it is still the same connection");
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(reload, listeners_come_and_go)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.workers = 2});
	int port = port_free();
	struct client_options o = {.port = port};
	struct client *c;
	char old[64], new[160];

	snprintf(old, sizeof(old), "listeners:\n");
	snprintf(new, sizeof(new), "listeners:\n  - address: 127.0.0.1:%d\n", port);
	gw_edit(gw, old, new);
	reload_well(gw);
	c = client_open(&o);
	cr_expect_eq(client_get(c, "/", "")->status, 200);
	gw_edit(gw, new, old);
	reload_well(gw);
	cr_expect_eq(client_get(c, "/", "")->status, 200, "its connections stay");
	client_close(c);
	cr_expect(e2e_wait(!(c = client_try(&o)) || (client_close(c), false)));
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	gw_stop(gw);
	backend_stop(be);
}

static void expect_certificate(struct gw *gw, const char *host)
{
	struct client *c = client_tls(gw);
	X509 *x = SSL_get1_peer_certificate(c->ssl);

	cr_assert(x);
	cr_expect_eq(X509_check_host(x, host, 0, 0, NULL), 1, "not the certificate of %s", host);
	X509_free(x);
	client_close(c);
}

Test(reload, certificates_are_read_again)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *before = client_tls(gw);
	char old[400], new[400];

	expect_certificate(gw, "gw.test");
	snprintf(old, sizeof(old), "certificate: %s/edge.pem, key: %s/edge.key", run_dir(),
		 run_dir());
	snprintf(new, sizeof(new), "certificate: %s/other.pem, key: %s/other.key", run_dir(),
		 run_dir());
	gw_edit(gw, old, new);
	reload_well(gw);
	expect_certificate(gw, "other.test");
	cr_expect_eq(client_get(before, "/", "")->status, 200);
	client_close(before);
	gw_stop(gw);
	backend_stop(be);
}

static SSL_SESSION *session_of(struct gw *gw, SSL_SESSION *from, bool *ret_resumed)
{
	struct client_options o = {.port = gw->tls, .tls = true, .sni = "gw.test", .session = from};
	struct client *c = client_open(&o);
	SSL_SESSION *s;

	client_get(c, "/", "");
	*ret_resumed = SSL_session_reused(c->ssl);
	s = SSL_get1_session(c->ssl);
	SSL_shutdown(c->ssl); /* else the library calls it not resumable */
	client_close(c);
	return s;
}

Test(reload, tls_sessions_are_resumed_after_it)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	SSL_SESSION *a, *b;
	bool resumed;

	a = session_of(gw, NULL, &resumed);
	cr_expect_not(resumed);
	reload_well(gw);
	b = session_of(gw, a, &resumed);
	cr_expect(resumed, "the ticket is no good after a reload");
	SSL_SESSION_free(a);
	SSL_SESSION_free(b);
	gw_stop(gw);
	backend_stop(be);
}

static bool passes(struct gw *gw, struct backend *be, const char *pattern)
{
	struct text line = {0};
	bool has;

	token_expand(&line, pattern);
	cr_expect_eq(client_once(gw, NULL, line.p), 200);
	has = text_has(backend_last(be)->head, backend_last(be)->head_len, line.p);
	text_free(&line);
	return has;
}

Test(reload, a_changed_key_logs_out_and_an_unchanged_one_does_not)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	double hits;

	cr_expect(passes(gw, be, valid));
	cr_expect(passes(gw, be, valid));
	hits = gw_hits(gw);
	reload_well(gw);
	cr_expect(passes(gw, be, valid));
	cr_expect_eq(gw_hits(gw), hits + 1, "the token is still in the map");
	gw_write(gw, "shop.key", "another key altogether\n", 0600);
	reload_well(gw);
	cr_expect_not(passes(gw, be, valid));
	gw_write(gw, "shop.key", E2E_KEY "\n", 0600);
	reload_well(gw);
	cr_expect(passes(gw, be, valid), "the old key again");
	gw_stop(gw);
	backend_stop(be);
}

/* Keys trade places in the file, and each keeps its own tokens. */
Test(reload, keys_may_change_their_order)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	double hits;

	cr_expect(passes(gw, be, valid));
	gw_write(gw, "first.key", "some other secret\n", 0600);
	gw_edit(gw, "keys:\n", "keys:\n  - { name: first, file: first.key }\n");
	hits = gw_hits(gw);
	reload_well(gw);
	cr_expect(passes(gw, be, valid));
	cr_expect_eq(gw_hits(gw), hits + 1);
	gw_edit(gw, "key: shop", "key: first");
	reload_well(gw);
	cr_expect_not(passes(gw, be, valid));
	gw_edit(gw, "key: first", "key: shop");
	gw_edit(gw, "  - { name: first, file: first.key }\n", "");
	reload_well(gw);
	cr_expect(passes(gw, be, valid));
	gw_stop(gw);
	backend_stop(be);
}

Test(reload, what_takes_a_restart_is_named)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text out = {0};

	gw_edit(gw, "workers: 1", "workers: 3");
	cr_expect_eq(reload_now(gw, &out), 0);
	cr_expect(text_has(out.p, out.len, "workers"), "%s", out.p);
	cr_expect(gw_logged(gw, "stays as it was until a restart: workers"));
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

Test(reload, sighup_reloads)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &gw_own);

	gw_edit(gw, "hosts: [\"*\"]", "hosts: [elsewhere.test]");
	kill(gw->pid, SIGHUP);
	cr_expect(e2e_wait(gw_logged(gw, "msg=\"reloaded\"")));
	cr_expect_eq(client_once(gw, NULL, ""), 404);
	gw_stop(gw);
	backend_stop(be);
}

/* The backend waits with its answer until the rules of the request are those of long ago. */
static void answer_when_told(struct bconn *c, struct breq *r)
{
	backend_set(c->be, 0, 1);
	backend_until(c->be, 1, 1);
	backend_answer(c, r);
}

Test(reload, a_request_ends_as_it_began)
{
	e2e_need_gate();
	struct backend *be = backend_start(answer_when_told);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);

	client_sendf(c, "GET /slow HTTP/1.1\r\nHost: gw.test\r\n\r\n");
	cr_assert(backend_until(be, 0, 1));
	for (int i = 0; i < 3; i++) {
		gw_edit(gw, i % 2 ? "name: sid2," : "name: sid,",
			i % 2 ? "name: sid," : "name: sid2,");
		gw_edit(gw, i % 2 ? "[elsewhere.test]" : "[\"*\"]",
			i % 2 ? "[\"*\"]" : "[elsewhere.test]");
		reload_well(gw);
	}
	backend_set(be, 1, 1);
	cr_expect_eq(client_read(c)->status, 200);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- restarts ---- */

Test(reload, tokens_survive_a_restart)
{
	e2e_need_gate();
	e2e_gate_only();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &gw_own);

	be->no_record = true;
	cr_expect(passes(gw, be, valid));
	cr_assert(gw_restart(gw));
	cr_expect(gw_logged(gw, "reused=yes"));
	cr_expect(passes(gw, be, valid));
	cr_expect_eq(gw_hits(gw), 1, "the first request after it is a kernel hit");
	/* A flush before a restart is one after it. */
	cr_expect_eq(gw_ctl(gw, NULL, "flush", NULL), 0);
	cr_assert(gw_restart(gw));
	cr_expect(passes(gw, be, valid));
	cr_expect_eq(gw_hits(gw), 0);
	cr_expect(passes(gw, be, valid));
	cr_expect_eq(gw_hits(gw), 1);
	/* Another key: its tokens are as good as gone. */
	gw_write(gw, "shop.key", "another key altogether\n", 0600);
	cr_assert(gw_restart(gw));
	cr_expect_not(passes(gw, be, valid));
	gw_stop(gw);
	backend_stop(be);
}

Test(reload, a_spoilt_state_file_costs_the_tokens_and_nothing_else)
{
	e2e_need_gate();
	e2e_gate_only();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &gw_own);
	char path[200];
	struct stat st;

	be->no_record = true;
	snprintf(path, sizeof(path), "%s.state", gw->control);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0600);
	cr_expect(passes(gw, be, valid));
	gw_terminate(gw);
	cr_assert_eq(gw_end(gw), 0);
	cr_assert_eq(truncate(path, st.st_size - 1), 0);
	cr_assert(gw_restart(gw));
	cr_expect(passes(gw, be, valid));
	cr_expect_eq(gw_hits(gw), 0);
	/* Other sizes: a map of its own. */
	gw_edit(gw, "tokens: { max: 2000 }", "tokens: { max: 4096 }");
	cr_assert(gw_restart(gw));
	cr_expect(passes(gw, be, valid));
	cr_expect_eq(gw_hits(gw), 0);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- under load ---- */

enum manner { KEEP_ALIVE, FRESH, TLS_FRESH, TLS_KEEP_ALIVE, MANNERS };

struct runner {
	pthread_t thread;
	struct gw *gw;
	enum manner manner;
	atomic_bool *stop;
	atomic_int answered;
	int id, failed, again; /* read after join */
	char why[200];
};

static struct client *runner_connect(struct runner *r)
{
	bool tls = r->manner == TLS_FRESH || r->manner == TLS_KEEP_ALIVE;
	struct client_options o = {
		.port = tls ? r->gw->tls : r->gw->plain, .tls = tls, .sni = tls ? "gw.test" : NULL};

	return client_try(&o);
}

static int runner_ask(struct client *c, int n, const char *token)
{
	struct response *a;
	char want[64];

	client_sendf(c,
		     "GET /echo?id=%d HTTP/1.1\r\nHost: gw.test\r\n"
		     "Cookie: sid=load; sid_HMAC=%s\r\n\r\n",
		     n, token);
	a = client_read(c);
	snprintf(want, sizeof(want), "id=%d;\n", n);
	if (a->status == 200 && (!a->body || strcmp(a->body, want)))
		return -1;
	return a->status;
}

static void runner_failed(struct runner *r, const char *what, int status)
{
	if (!r->failed++)
		snprintf(r->why, sizeof(r->why), "runner %d, request %d: %s, status %d, %s", r->id,
			 r->answered, what, status, strerror(errno));
}

static void *runner_run(void *arg)
{
	struct runner *r = arg;
	struct client *c = NULL;
	bool used = false;
	char token[45];

	token_make("load", 4, "127.0.0.1", token);
	while (!atomic_load(r->stop)) {
		int status;

		if (!c) {
			c = runner_connect(r);
			used = false;
		}
		if (!c) {
			runner_failed(r, "no connection", 0);
			run_pause_ms(20);
			continue;
		}
		status = runner_ask(c, r->answered, token);
		if (status == 200) {
			r->answered++;
			used = true;
		} else if (status == 0 && used && !c->len) {
			r->again++; /* closed while idle: a client asks again (RFC 9110, 9.2.2) */
		} else {
			runner_failed(r, used ? "used connection" : "new connection", status);
		}
		if (status != 200 || r->manner == FRESH || r->manner == TLS_FRESH ||
		    response_field(&c->r, "Connection", 0)) {
			client_close(c);
			c = NULL;
		}
		run_pause_ms(run_slow() ? 20 : 2);
	}
	client_close(c);
	return NULL;
}

#define RUNNERS 8
#define EACH 20 /* requests that make a runner's part of the load */
#define RELOADS (run_small() ? 7 : 20)
#define RESTARTS (run_small() ? 1 : 3)

static void change_something(struct gw *gw, int i)
{
	if (i % 4 == 1)
		gw_edit(gw, "name: sid,", "mode: enforce, name: sid,");
	else if (i % 4 == 2)
		gw_edit(gw, "connect: 30s", "connect: 29s");
	else if (i % 4 == 3)
		gw_edit(gw, "connect: 29s", "connect: 30s");
	else if (i)
		gw_edit(gw, "mode: enforce, ", "");
}

/* On a slow machine the reloads are over before everybody's first handshakes. */
static bool all_ran(struct runner *r)
{
	for (int i = 0; i < RUNNERS; i++) {
		if (atomic_load(&r[i].answered) <= EACH)
			return false;
	}
	return true;
}

static void run_load(struct gw *gw, int seconds)
{
	struct runner r[RUNNERS] = {0};
	atomic_bool stop = false;
	int answered = 0, failed = 0, again = 0, restarts = 0;
	int64_t pause = seconds ? seconds * 1000 / (RELOADS + RESTARTS) : 100;

	for (int i = 0; i < RUNNERS; i++) {
		r[i] = (struct runner){
			.gw = gw, .manner = (enum manner)(i % MANNERS), .stop = &stop, .id = i};
		pthread_create(&r[i].thread, NULL, runner_run, &r[i]);
	}
	for (int i = 0; i < RELOADS; i++) {
		change_something(gw, i);
		reload_well(gw);
		run_pause_ms((int)pause);
		if (i % 6 != 5 || restarts == RESTARTS)
			continue;
		cr_expect(restarts++ % 2 ? gw_restart(gw) : gw_restart_over(gw));
		run_pause_ms((int)pause);
	}
	(void)e2e_wait(all_ran(r));
	atomic_store(&stop, true);
	for (int i = 0; i < RUNNERS; i++) {
		pthread_join(r[i].thread, NULL);
		answered += r[i].answered;
		failed += r[i].failed;
		again += r[i].again;
		cr_expect_eq(r[i].failed, 0, "%s", r[i].why);
		cr_expect_gt(r[i].answered, EACH, "runner %d", i);
	}
	cr_expect_eq(restarts, RESTARTS);
	fprintf(stderr, "reload: %d requests, %d failed, %d asked again, %d reloads, %d restarts\n",
		answered, failed, again, RELOADS, RESTARTS);
}

static int load_seconds(void)
{
	const char *s = getenv("HT_RELOAD_SECONDS");

	return s ? atoi(s) : 0;
}

Test(reload, no_request_fails_behind_sockets_handed_over)
{
	e2e_need_gate();
	struct nginx *n = nginx_start();
	char upstream[32];
	struct gw *gw;

	snprintf(upstream, sizeof(upstream), "127.0.0.1:%d", n->port);
	gw = gw_start(NULL,
		      &(struct gw_spec){.upstreams = upstream, .handed_over = true, .workers = 2});
	run_load(gw, load_seconds());
	gw_stop(gw);
	nginx_stop(n);
}

/* Two daemons on one address (SO_REUSEPORT): the one that goes loses nothing that it was given. */
Test(reload, no_request_fails_where_a_new_daemon_listens_beside_the_old_one)
{
	e2e_need_gate();
	struct nginx *n = nginx_start();
	struct runner r[RUNNERS] = {0};
	atomic_bool stop = false;
	char upstream[32], from[64], to[64];
	struct gw *a, *b;

	snprintf(upstream, sizeof(upstream), "127.0.0.1:%d", n->port);
	a = gw_start(NULL, &(struct gw_spec){.upstreams = upstream, .workers = 2, .own = true});
	b = gw_start(NULL, &(struct gw_spec){.upstreams = upstream, .workers = 2, .own = true});
	/* b goes where a is */
	snprintf(from, sizeof(from), "127.0.0.1:%d\n", b->plain);
	snprintf(to, sizeof(to), "127.0.0.1:%d\n", a->plain);
	gw_edit(b, from, to);
	snprintf(from, sizeof(from), "127.0.0.1:%d\n", b->tls);
	snprintf(to, sizeof(to), "127.0.0.1:%d\n", a->tls);
	gw_edit(b, from, to);
	reload_well(b);
	for (int i = 0; i < RUNNERS; i++) {
		r[i] = (struct runner){
			.gw = a, .manner = (enum manner)(i % MANNERS), .stop = &stop, .id = i};
		pthread_create(&r[i].thread, NULL, runner_run, &r[i]);
	}
	for (int i = 0; i < 3; i++) {
		run_pause_ms(200);
		cr_expect(gw_restart(i % 2 ? b : a));
		run_pause_ms(200);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < RUNNERS; i++) {
		pthread_join(r[i].thread, NULL);
		cr_expect_eq(r[i].failed, 0, "%s", r[i].why);
		cr_expect_gt(r[i].answered, 0);
	}
	gw_stop(a);
	gw_stop(b);
	nginx_stop(n);
}
