/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gateways that outlive a test: with HT_GATEWAYS=shared, a test that asks for a gateway takes over
 * one that is running, by a reload of what this test wants. Each kernel's verifier is asked a
 * few hundred times less, and each gateway lives through dozens of configurations.
 *
 * main() has a keeper, a process that starts them and, at the end, stops them and looks how they
 * ended. A test has the one whose lock it holds; one whose test did not give it back is replaced.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pool.h"

#define POOL_MAX 16  /* of a kind; the kernel attaches 64 programs to a cgroup, of all kinds */
#define KEPT_MAX 256 /* of all kinds */
#define NAME_LEN 32
#define REST_MS 1100 /* a little longer than ht_log_limited() is silent */
#define SEALED_RULE "[ { name: sid, profile: secure-cookie, key: shop, bind: [client-ip] } ]"

static pid_t keeper;

bool pool_on(void)
{
	const char *wish = getenv("HT_GATEWAYS");

	return wish && !strcmp(wish, "shared");
}

/* A test with a network of its own has gateways of its own. */
static bool same_network(void)
{
	struct stat ours, theirs;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/ns/net", getenv("HT_E2E_PID"));
	return !stat("/proc/self/ns/net", &ours) && !stat(path, &theirs) &&
	       ours.st_ino == theirs.st_ino;
}

static struct sockaddr_un keeper_address(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/keeper", run_dir());
	return a;
}

/* ---- the keeper ---- */

struct kept {
	char name[NAME_LEN]; /* a request for "" is the end */
	pid_t pid;
};

/* Not 0 where it ended badly. */
static int keeper_stop(const struct kept *k)
{
	struct gw gw;
	int status;

	gw_name(&gw, k->name);
	kill(k->pid, SIGTERM);
	while (waitpid(k->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && !WEXITSTATUS(status) && !gw_log_is_bad(&gw))
		return 0;
	gw_show_log(&gw, "a shared gateway ended badly");
	return 1;
}

static void keeper_start(struct kept *k)
{
	struct gw gw = {0};

	if (k->pid) { /* its test has failed or died, and nobody knows what it is up to */
		kill(k->pid, SIGKILL);
		waitpid(k->pid, NULL, 0);
	}
	gw_name(&gw, k->name);
	k->pid = gw_fork(&gw);
}

/* Starts the gateways whose names it reads, and answers their processes. */
static int keeper_run(int listening)
{
	static struct kept kept[KEPT_MAX];
	struct kept *k;
	char name[NAME_LEN];
	int fd, bad = 0;

	for (;;) {
		fd = accept(listening, NULL, NULL);
		if (fd < 0 || read(fd, name, sizeof(name)) != sizeof(name))
			return 1;
		if (!*name)
			break;
		for (k = kept; *k->name && strcmp(k->name, name); k++)
			;
		memcpy(k->name, name, sizeof(name));
		keeper_start(k);
		if (k + 1 == kept + KEPT_MAX || write(fd, &k->pid, sizeof(k->pid)) < 0)
			return 1;
		close(fd);
	}
	for (k = kept; *k->name; k++)
		bad += keeper_stop(k);
	return bad;
}

static int keeper_ask(const char *what, pid_t *ret)
{
	struct sockaddr_un a = keeper_address();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char name[NAME_LEN] = "";
	bool ok;

	snprintf(name, sizeof(name), "%s", what);
	ok = !connect(fd, (struct sockaddr *)&a, sizeof(a)) &&
	     write(fd, name, sizeof(name)) == sizeof(name) &&
	     (!ret || read(fd, ret, sizeof(*ret)) == sizeof(*ret));
	close(fd);
	return ok ? 0 : -1;
}

pid_t pool_start(struct gw *gw)
{
	pid_t pid = 0;

	cr_assert_eq(keeper_ask(strrchr(gw->dir, '/') + 1 + strlen(GW_DIR), &pid), 0,
		     "the keeper is gone");
	return pid;
}

int pool_open(void)
{
	struct sockaddr_un a = keeper_address();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t parent = getpid();

	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 64))
		return -errno;
	keeper = fork();
	if (!keeper) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(getppid() == parent ? keeper_run(fd) : 1);
	}
	close(fd);
	return keeper < 0 ? -errno : 0;
}

int pool_close(void)
{
	int status;

	if (!keeper)
		return 0;
	if (keeper_ask("", NULL))
		kill(keeper, SIGKILL);
	waitpid(keeper, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* ---- a test has one ---- */

/* What it warns of is said once a second: one whose last word is younger may keep a line to itself. */
static bool is_rested(const struct gw *gw)
{
	struct timespec now;
	struct stat st;

	if (stat(gw->stderr_path, &st))
		return true;
	clock_gettime(CLOCK_REALTIME, &now);
	return (now.tv_sec - st.st_mtim.tv_sec) * 1000 +
		       (now.tv_nsec - st.st_mtim.tv_nsec) / 1000000 >
	       REST_MS;
}

static bool is_sealed(const struct gw_spec *s)
{
	return (s->cookies && strstr(s->cookies, "secure-cookie")) ||
	       (s->sites && strstr(s->sites, "secure-cookie"));
}

/* What of a configuration no reload changes: only gateways of one kind take each other's place. */
static uint64_t kind_of(const struct gw_spec *s)
{
	char text[256];
	int n = snprintf(text, sizeof(text), "%d %d %s", s->workers ? s->workers : 1, is_sealed(s),
			 s->tokens ? s->tokens : "");

	return pattern_hash(0, text, (size_t)n);
}

/* What the lock's file says is true of a gateway that was given back, and of no other. */
static bool pool_recall(struct gw *gw)
{
	char text[64] = "";

	if (pread(gw->lock, text, sizeof(text) - 1, 0) <= 0 || ftruncate(gw->lock, 0))
		return false;
	return sscanf(text, "%d %d", &gw->pid, &gw->admin) == 2 && !kill(gw->pid, 0);
}

void pool_give_back(struct gw *gw)
{
	cr_assert_gt(dprintf(gw->lock, "%d %d", gw->pid, gw->admin), 0);
	close(gw->lock);
}

/* The first of that kind that nobody has, and that has been silent for a while. */
static bool pool_lock(struct gw *gw, uint64_t kind)
{
	char name[NAME_LEN], path[256];

	for (int i = 0; i < POOL_MAX; i++) {
		snprintf(name, sizeof(name), "%08x-%d", (unsigned)kind, i);
		gw_name(gw, name);
		snprintf(path, sizeof(path), "%s.lock", gw->dir);
		gw->lock = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		cr_assert_geq(gw->lock, 0, "%s: %s", path, strerror(errno));
		if (!flock(gw->lock, LOCK_EX | LOCK_NB) && is_rested(gw))
			return true;
		close(gw->lock);
	}
	return false;
}

/* Its first line is "ok" or the error. */
static void ask(struct gw *gw, const char *command, struct text *out)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char buf[4096];
	ssize_t n;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", gw->control);
	cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0, "%s: %s", gw->control,
		     strerror(errno));
	cr_assert_gt(write(fd, command, strlen(command)), 0);
	text_clear(out);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		text_add(out, buf, (size_t)n);
	close(fd);
	cr_assert(out->len, "no answer to %s", command);
}

static bool is_quiet(struct gw *gw)
{
	return gw_metric(gw, "hardtack_connections", "side=\"client\"", NULL) <= 0;
}

/* Reads the configuration that is there now; what it says of that is in `out`. */
static void reload(struct gw *gw, struct text *out)
{
	int notify = gw_notify_open(gw);

	ask(gw, "reload\n", out);
	close(notify);
}

/* Apart from its kind it is the usual one: whoever is next wants no restart. */
static void configure_usual(struct gw *gw, const struct gw_spec *s)
{
	gw_configure(gw, NULL,
		     &(struct gw_spec){
			     .upstreams = "127.0.0.1:9",
			     .workers = s->workers,
			     .tokens = s->tokens,
			     .cookies = is_sealed(s) ? SEALED_RULE : NULL,
		     });
}

/* What a test before has rotated and revoked outlives a reload, unless that key is no longer there. */
static void forget_keys(struct gw *gw, const struct gw_spec *s)
{
	struct text out = {0};

	configure_usual(gw, s);
	reload(gw, &out);
	cr_assert(text_has(out.p, 2, "ok"), "%s", out.p);
	gw_remove_folders(gw);
	text_free(&out);
}

/* The one that runs, as if it were new; false where it can't be, because that takes a restart. */
static bool take_over(struct gw *gw, struct backend *be, const struct gw_spec *s)
{
	struct text out = {0};
	bool can;

	cr_assert(e2e_wait(is_quiet(gw)), "connections of a test before");
	if (s->keys)
		forget_keys(gw, s);
	gw_configure(gw, be, s);
	cr_assert_eq(truncate(gw->stderr_path, 0), 0);
	cr_assert_eq(truncate(gw->access_path, 0), 0);
	reload(gw, &out);
	can = text_has(out.p, 2, "ok") && !strstr(out.p, "until a restart");
	if (can) {
		ask(gw, "flush\n", &out);
		cr_assert_eq(gw_admin(gw, "/metrics", &gw->before), 200);
	}
	text_free(&out);
	return can;
}

/* For the first that has it. */
static void start_anew(struct gw *gw, const struct gw_spec *s)
{
	gw_remove(gw);
	cr_assert_eq(mkdir(gw->dir, 0700), 0, "%s", strerror(errno));
	gw_new_ports(gw);
	configure_usual(gw, s);
	if (gw_launch(gw) == 1)
		return;
	gw_show_log(gw, "did not become ready");
	cr_assert_fail("a shared gateway did not become ready");
}

bool pool_take(struct gw *gw, struct backend *be, const struct gw_spec *s)
{
	int admin;

	if (!pool_on() || !same_network())
		return false;
	cr_assert(e2e_wait(pool_lock(gw, kind_of(s))), "more than %d gateways at once", POOL_MAX);
	gw->pooled = true;
	if (!pool_recall(gw))
		start_anew(gw, s);
	admin = gw->admin;
	gw_new_ports(gw);
	gw->admin = admin;
	if (take_over(gw, be, s))
		return true;
	pool_give_back(gw);
	*gw = (struct gw){0};
	return false;
}
