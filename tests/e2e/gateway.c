/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hardtackd under test: its configuration, its start, what it says about itself, its end.
 * Ended by pid only, and by the kernel when the test's process dies first.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../port.h"
#include "pool.h"

/* A test that does not ask how long the daemon waits must not find out on a busy machine. */
#define PATIENT                                                                                    \
	"{ handshake: 120s, head: 120s, connect: 30s, drain: 20s, body: 300s, response: 300s, "    \
	"idle: 300s }"
/* The kernel makes room for all of them at every start: 10,000 take a fifth of what the verifier takes. */
#define FEW_TOKENS "{ max: 2000 }"
#define NOTIFY_LEN sizeof(((struct sockaddr_un *)0)->sun_path)

int port_free(void)
{
	int port = port_pick();

	cr_assert_gt(port, 0, "no free port");
	return port;
}

static void file_write(const char *dir, const char *name, const char *text, mode_t mode)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	cr_assert(f, "%s: %s", path, strerror(errno));
	fchmod(fileno(f), mode);
	fputs(text, f);
	fclose(f);
}

static void config_tls(struct text *c, int port, const char *extra)
{
	text_addf(c,
		  "  - address: 127.0.0.1:%d\n"
		  "    tls:\n"
		  "      certificates:\n"
		  "        - { certificate: %s/edge.pem, key: %s/edge.key }\n"
		  "        - { certificate: %s/other.pem, key: %s/other.key }\n",
		  port, run_dir(), run_dir(), run_dir(), run_dir());
	if (extra)
		text_addf(c, "%s", extra);
}

static void config_sites(struct text *c, struct backend *be, const struct gw_spec *s)
{
	const char *at;

	if (s->sites) {
		at = strstr(s->sites, "%P");
		text_addf(c, "%.*s", at ? (int)(at - s->sites) : (int)strlen(s->sites), s->sites);
		if (at)
			text_addf(c, "%d%s", be->port, at + 2);
		return;
	}
	text_addf(c, "sites:\n  - hosts: [\"*\"]\n");
	if (s->upstreams)
		text_addf(c, "    upstreams: [%s]\n", s->upstreams);
	else
		text_addf(c, "    upstreams: [127.0.0.1:%d]\n", be->port);
	text_addf(c, "    cookies: %s\n",
		  s->cookies
			  ? s->cookies
			  : "[ { name: sid, profile: f5-irule, key: shop, bind: [client-ip] } ]");
	if (s->site_extra)
		text_addf(c, "%s", s->site_extra);
}

void gw_configure(struct gw *gw, struct backend *be, const struct gw_spec *s)
{
	const char *gate = s->gate ? s->gate : getenv("HT_GATE"), *ktls = getenv("HT_KTLS");
	struct text c = {0};

	text_addf(&c, "listeners:\n  - address: %s:%d\n", s->address ? s->address : "127.0.0.1",
		  gw->plain);
	if (s->plain_extra)
		text_addf(&c, "%s", s->plain_extra);
	if (s->ipv6)
		text_addf(&c, "  - address: \"[::1]:%d\"\n", gw->ipv6);
	config_tls(&c, gw->tls, s->tls_extra);
	if (s->tls2_extra)
		config_tls(&c, gw->tls2, s->tls2_extra);
	config_sites(&c, be, s);
	text_addf(&c, "keys:\n  - { name: shop, file: shop.key }\n%s", s->keys ? s->keys : "");
	if (s->limits)
		text_addf(&c, "limits: %s\n", s->limits);
	text_addf(&c, "timeouts: %s\n", s->timeouts ? s->timeouts : PATIENT);
	text_addf(&c, "tokens: %s\n", s->tokens ? s->tokens : FEW_TOKENS);
	if (s->top)
		text_addf(&c, "%s", s->top);
	text_addf(&c, "gate: %s\n", gate && *gate ? gate : "auto");
	if (ktls)
		text_addf(&c, "ktls: %s\n", ktls);
	text_addf(&c, "bpf: { pin: %s }\n", gw->pin);
	text_addf(&c, "workers: %d\n", s->workers ? s->workers : 1);
	text_addf(&c, "access-log: { format: json, to: access.log }\n");
	text_addf(&c, "control: %s\nadmin: 127.0.0.1:%d\n", gw->control, gw->admin);
	file_write(gw->dir, "hardtack.yaml", c.p, 0600);
	file_write(gw->dir, "shop.key", E2E_KEY "\n", 0600);
	text_free(&c);
}

void gw_name(struct gw *gw, const char *name)
{
	snprintf(gw->dir, sizeof(gw->dir), "%s/" GW_DIR "%s", run_dir(), name);
	snprintf(gw->pin, sizeof(gw->pin), "/sys/fs/bpf/ht-e2e-%s-%s", getenv("HT_E2E_PID"), name);
	snprintf(gw->control, sizeof(gw->control), "%s/control.sock", gw->dir);
	snprintf(gw->config, sizeof(gw->config), "%s/hardtack.yaml", gw->dir);
	snprintf(gw->stderr_path, sizeof(gw->stderr_path), "%s/stderr.log", gw->dir);
	snprintf(gw->access_path, sizeof(gw->access_path), "%s/access.log", gw->dir);
}

void gw_new_ports(struct gw *gw)
{
	gw->plain = port_free();
	gw->tls = port_free();
	gw->tls2 = port_free();
	gw->ipv6 = port_free();
	gw->admin = port_free();
}

static void notify_path(const struct gw *gw, char ret[NOTIFY_LEN])
{
	snprintf(ret, NOTIFY_LEN, "%s/notify", gw->dir);
}

int gw_notify_open(const struct gw *gw)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	notify_path(gw, a.sun_path);
	unlink(a.sun_path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0, "%s", a.sun_path);
	if (gw->caps) { /* it may be somebody else by the time that it is ready */
		chmod(run_dir(), 0711);
		chmod(gw->dir, 0711);
		chmod(a.sun_path, 0666);
	}
	return fd;
}

/* A listening socket of our own, as a service manager has it. */
static int listen_on(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0, "%s", strerror(errno));
	cr_assert_eq(listen(fd, 1024), 0);
	return fd;
}

/* From descriptor 3 on, as sd_listen_fds(3) has it. */
static void hand_over(struct gw *gw)
{
	char pid[16];
	int high[2];

	if (!gw->fds[0])
		return;
	for (int i = 0; i < 2; i++)
		high[i] = fcntl(gw->fds[i], F_DUPFD, 100);
	for (int i = 0; i < 2; i++) {
		dup2(high[i], 3 + i);
		close(high[i]);
	}
	snprintf(pid, sizeof(pid), "%d", getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "2", 1);
}

/* Root has what the bounding set leaves when it executes something. */
static void limit_capabilities(uint64_t keep)
{
	for (int cap = 0; keep && cap < 64; cap++) {
		if (!(keep >> cap & 1))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	}
}

static void daemon_exec(struct gw *gw, pid_t parent)
{
	char notify[NOTIFY_LEN];
	int fd = open(gw->stderr_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	hand_over(gw);
	limit_capabilities(gw->caps);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	dup2(fd, 2);
	dup2(fd, 1);
	notify_path(gw, notify);
	setenv("NOTIFY_SOCKET", notify, 1);
	signal(SIGPIPE, SIG_DFL);
	execl(run_daemon(), run_daemon(), "-c", gw->config, (char *)NULL);
	dprintf(2, "%s: %s\n", run_daemon(), strerror(errno));
	_exit(127);
}

pid_t gw_fork(struct gw *gw)
{
	pid_t parent = getpid(), pid = fork();

	if (!pid)
		daemon_exec(gw, parent);
	return pid;
}

/* The main thread waits for what happens next: the socket of its notification is closed. */
static bool main_sleeps(const struct gw *gw)
{
	char path[64], state = 0, *text, *at;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", gw->pid, gw->pid);
	text = text_file(path, NULL);
	at = text ? strrchr(text, ')') : NULL;
	if (at)
		state = at[2];
	free(text);
	return state != 'R';
}

static int gw_ready(struct gw *gw, int fd)
{
	int64_t end = run_now_ms() + run_deadline_ms();
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char buf[256];
	int status;
	ssize_t n;

	while (run_now_ms() < end) {
		if (poll(&p, 1, 50) > 0) {
			n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
			if (n > 0 && text_has(buf, (size_t)n, "READY=1"))
				return e2e_wait(main_sleeps(gw)) ? 1 : -1;
		}
		if (waitpid(gw->pid, &status, WNOHANG) == gw->pid) {
			gw->exit_status = WIFEXITED(status) ? WEXITSTATUS(status)
							    : -WTERMSIG(status);
			gw->pid = 0;
			return 0;
		}
	}
	return -1;
}

void gw_show_log(const struct gw *gw, const char *what)
{
	char *log = text_file(gw->stderr_path, NULL), *config = text_file(gw->config, NULL);

	fprintf(stderr, "---- %s: %s\n%s\n---- its configuration\n%s----\n", run_test_name(), what,
		log ? log : "", config ? config : "");
	free(log);
	free(config);
}

int gw_launch(struct gw *gw)
{
	int fd = gw_notify_open(gw), ready;

	gw->draining = false;
	run_note_start();
	gw->pid = gw->pooled ? pool_start(gw) : gw_fork(gw);
	cr_assert_gt(gw->pid, 0);
	ready = gw_ready(gw, fd);
	close(fd);
	return ready;
}

bool gw_restart(struct gw *gw)
{
	gw_terminate(gw);
	cr_assert_eq(gw_end(gw), 0, "hardtackd's exit is %d", gw->exit_status);
	return gw_launch(gw) == 1;
}

bool gw_restart_over(struct gw *gw)
{
	pid_t old = gw->pid;
	int status = 0;
	bool ready, ended;

	gw_terminate(gw);
	ready = gw_launch(gw) == 1;
	ended = e2e_wait(waitpid(old, &status, WNOHANG) == old);
	if (!ready)
		gw_show_log(gw, "did not start over the one before");
	return ready && ended && WIFEXITED(status) && !WEXITSTATUS(status);
}

void gw_write(struct gw *gw, const char *name, const char *text, mode_t mode)
{
	file_write(gw->dir, name, text, mode);
}

void gw_edit(struct gw *gw, const char *old, const char *new)
{
	char *text = text_file(gw->config, NULL), *at = strstr(text, old);
	struct text out = {0};

	cr_assert(at, "no '%s' in the configuration", old);
	text_add(&out, text, (size_t)(at - text));
	text_addf(&out, "%s%s", new, at + strlen(old));
	file_write(gw->dir, "hardtack.yaml", out.p, 0600);
	text_free(&out);
	free(text);
}

const struct gw_spec gw_own = {.own = true};

/* What is about its start, or its end. */
static bool is_own(const struct gw_spec *s)
{
	return s->own || s->expect_failure || s->handed_over || s->caps || s->pin || s->gate;
}

static void gw_prepare(struct gw *gw, struct backend *be, const struct gw_spec *s)
{
	static int count;
	char name[32];

	snprintf(name, sizeof(name), "%d-%d", getpid(), ++count);
	gw_name(gw, name);
	cr_assert_eq(mkdir(gw->dir, 0700), 0, "%s", strerror(errno));
	if (s->pin)
		snprintf(gw->pin, sizeof(gw->pin), "%s", s->pin);
	gw_new_ports(gw);
	gw_configure(gw, be, s);
	gw->caps = s->caps;
	if (s->handed_over) {
		gw->fds[0] = listen_on(gw->plain);
		gw->fds[1] = listen_on(gw->tls);
	}
}

struct gw *gw_start(struct backend *be, const struct gw_spec *spec)
{
	static const struct gw_spec usual;
	const struct gw_spec *s = spec ? spec : &usual;
	struct gw *gw = calloc(1, sizeof(*gw));
	int ready;

	if (!is_own(s) && pool_take(gw, be, s))
		return gw;
	gw_prepare(gw, be, s);
	ready = gw_launch(gw);
	if (ready == 1 || (ready == 0 && s->expect_failure))
		return gw;
	gw_show_log(gw, "did not become ready");
	cr_assert_fail("hardtackd did not become ready (exit %d)", gw->exit_status);
	return NULL;
}

void gw_terminate(struct gw *gw)
{
	cr_assert_not(gw->pooled, "a shared gateway: ask for one of your own (gw_own)");
	if (gw->pid && !gw->draining)
		kill(gw->pid, SIGTERM);
	gw->draining = true;
}

int gw_end(struct gw *gw)
{
	int status = 0;
	bool ended;

	if (!gw->pid)
		return gw->exit_status;
	ended = e2e_wait(waitpid(gw->pid, &status, WNOHANG) == gw->pid);
	if (!ended) {
		gw_show_log(gw, "did not end on SIGTERM");
		kill(gw->pid, SIGKILL);
		waitpid(gw->pid, &status, 0);
	}
	gw->pid = 0;
	gw->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
	return gw->exit_status;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	remove(path);
	return 0;
}

static bool file_has(const char *path, const char *word)
{
	size_t len = 0;
	char *text = text_file(path, &len);
	bool has = text && text_has(text, len, word);

	free(text);
	return has;
}

bool gw_logged(struct gw *gw, const char *word)
{
	return file_has(gw->stderr_path, word);
}

bool gw_log_is_bad(const struct gw *gw)
{
	return file_has(gw->stderr_path, "Sanitizer") ||
	       file_has(gw->stderr_path, "runtime error:");
}

void gw_remove_folders(const struct gw *gw)
{
	DIR *d = opendir(gw->dir);
	char path[600];
	struct dirent *e;

	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", gw->dir, e->d_name);
		if (e->d_type == DT_DIR && *e->d_name != '.')
			nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	}
	if (d)
		closedir(d);
}

void gw_remove(const struct gw *gw)
{
	if (run_gate_on() || !access(gw->pin, F_OK))
		nftw(gw->pin, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	if (!getenv("HT_E2E_KEEP"))
		nftw(gw->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void gw_stop(struct gw *gw)
{
	int code = 0;
	bool bad;

	if (!gw->pooled) {
		gw_terminate(gw);
		code = gw_end(gw);
	}
	bad = gw_log_is_bad(gw);
	if (code || bad)
		gw_show_log(gw, "ended badly");
	cr_assert_eq(code, 0, "hardtackd's exit is %d", code);
	cr_assert_not(bad, "a sanitizer report");
	cr_assert_not(file_has(gw->stderr_path, E2E_KEY), "the key is in the log");
	cr_assert_not(file_has(gw->access_path, E2E_KEY));
	if (gw->pooled)
		pool_give_back(gw);
	else
		gw_remove(gw);
	for (int i = 0; i < 2 && gw->fds[0]; i++)
		close(gw->fds[i]);
	text_free(&gw->before);
	free(gw);
}

long gw_status_kb(struct gw *gw, const char *field)
{
	char path[64], *text, *at;
	long kb = -1;

	snprintf(path, sizeof(path), "/proc/%d/status", gw->pid);
	text = text_file(path, NULL);
	at = text ? strstr(text, field) : NULL;
	if (at)
		kb = strtol(at + strlen(field) + 1, NULL, 10);
	free(text);
	cr_assert_gt(kb, 0, "no %s of the daemon", field);
	return kb;
}

int gw_descriptors(const struct gw *gw, bool pipes)
{
	char path[64], to[32];
	struct dirent *e;
	ssize_t len;
	DIR *d;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", gw->pid);
	d = opendir(path);
	cr_assert(d, "%s", path);
	while ((e = readdir(d))) {
		len = readlinkat(dirfd(d), e->d_name, to, sizeof(to));
		n += e->d_name[0] != '.' && pipes == (len > 5 && !strncmp(to, "pipe:", 5));
	}
	closedir(d);
	return n;
}

int gw_ctl(struct gw *gw, struct text *out, const char *command, const char *arg)
{
	const char *argv[] = {run_ctl(), "-s", gw->control, command, arg, NULL};

	return run_command(out, argv);
}

bool gw_ask(struct gw *gw, struct text *out, const char *line)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char buf[4096];
	ssize_t n;

	text_clear(out);
	cr_assert_gt(fd, 0);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", gw->control);
	if (!connect(fd, (struct sockaddr *)&un, sizeof(un)) &&
	    send(fd, line, strlen(line), MSG_NOSIGNAL) > 0) {
		while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
			text_add(out, buf, (size_t)n);
	}
	close(fd);
	return out->len > 3 && !strncmp(out->p, "ok\n", 3);
}

int gw_admin(struct gw *gw, const char *path, struct text *body)
{
	struct client_options o = {.port = gw->admin};
	struct client *c = client_open(&o);
	struct response *r;
	int status;

	client_sendf(c, "GET %s HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n", path);
	r = client_read(c);
	status = r->status;
	if (body) {
		text_clear(body);
		text_add(body, r->body ? r->body : "", r->body_kept);
	}
	client_close(c);
	return status;
}

static bool sample_matches(const char *line, const char *name, const char *const *labels, int n)
{
	size_t len = strlen(name);

	if (strncmp(line, name, len) || (line[len] != '{' && line[len] != ' '))
		return false;
	for (int i = 0; i < n; i++)
		if (!strstr(line, labels[i]))
			return false;
	return true;
}

static double sample_sum(char *text, const char *name, const char *const *labels, int n)
{
	double sum = 0;
	char *line, *save;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (sample_matches(line, name, labels, n))
			sum += strtod(strrchr(line, ' ') + 1, NULL);
	return sum;
}

/* What a test before has counted: counters only grow. */
static double sample_before(const struct gw *gw, const char *name, const char *const *labels, int n)
{
	static const char *const counters[] = {"_total", "_count", "_sum", "_bucket"};
	struct text t = {0};
	double sum = 0;

	for (size_t i = 0; gw->before.p && i < E2E_ARRAY_SIZE(counters); i++) {
		if (strlen(name) < strlen(counters[i]) ||
		    strcmp(name + strlen(name) - strlen(counters[i]), counters[i]))
			continue;
		text_addf(&t, "%s", gw->before.p);
		sum = sample_sum(t.p, name, labels, n);
		text_free(&t);
	}
	return sum;
}

double gw_metric(struct gw *gw, const char *name, ...)
{
	const char *labels[8];
	struct text body = {0};
	double sum;
	int n = 0;
	va_list ap;

	va_start(ap, name);
	while (n < 8 && (labels[n] = va_arg(ap, const char *)))
		n++;
	va_end(ap);
	cr_assert_eq(gw_admin(gw, "/metrics", &body), 200);
	sum = sample_sum(body.p, name, labels, n) - sample_before(gw, name, labels, n);
	text_free(&body);
	return sum;
}

double gw_verdicts(struct gw *gw, const char *verdict, const char *action)
{
	char v[64], a[64];

	snprintf(v, sizeof(v), "verdict=\"%s\"", verdict);
	snprintf(a, sizeof(a), "action=\"%s\"", action);
	return gw_metric(gw, "hardtack_verdicts_total", v, a, NULL);
}

double gw_hits(struct gw *gw)
{
	return run_gate_on() ? gw_metric(gw, "hardtack_verdicts_total", "where=\"kernel\"",
					 "verdict=\"hit\"", "action=\"pass\"", NULL)
			     : gw_verdicts(gw, "valid", "pass");
}

double gw_passed(struct gw *gw)
{
	return gw_verdicts(gw, "hit", "pass") + gw_verdicts(gw, "valid", "pass");
}
