/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hardtackd: reads the configuration, sets up whatever needs privileges, gives them up, starts the
 * workers, and then minds signals, the control socket and the token cache's flush. Nothing on the
 * request path happens here.
 */
#include <getopt.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>

#include <openssl/crypto.h>

#include "creds.h"
#include "main.h"

#define HT_DRAIN_LOOK_MS 20 /* how often a draining daemon looks whether it is done */
#define HT_FILES_EXTRA 256  /* descriptors beside two for every client */

enum { EXIT_STARTUP = 1, EXIT_CONFIG = 2 };

/* ---- what the user is told before there is a daemon ---- */

static void print_diag(const char *kind, const char *config, const struct ht_diag *d)
{
	const char *file = d->file[0] ? d->file : config;

	if (d->line)
		fprintf(stderr, "%s:%u:%u: %s%s\n", file, d->line, d->col, kind, d->text);
	else
		fprintf(stderr, "%s: %s%s\n", file, kind, d->text);
}

static void print_warning(void *arg, const struct ht_diag *d)
{
	print_diag("warning: ", arg, d);
}

static int usage(FILE *out)
{
	fputs("usage: hardtackd [--check] -c FILE\n"
	      "       hardtackd --version\n"
	      "  -c FILE     the configuration\n"
	      "  --check     only say whether it is good\n"
	      "  --version   print versions and what this machine offers\n",
	      out);
	return out == stdout ? 0 : EXIT_CONFIG;
}

static int print_version(void)
{
	const struct ht_offload_params p = {
		.gate = HT_AUTO,
		.max_tokens = 16,
		.max_slots = 16,
		.max_sites = 1,
	};
	struct ht_offload *o = NULL;
	char why[512] = "";

	printf("hardtackd %s\n%s\n", HT_VERSION, OpenSSL_version(OPENSSL_VERSION));
	printf("libbpf %s\n", ht_offload_library());
	ht_log_level(LOG_CRIT);
	if (!ht_offload_open(&p, &o, why, sizeof(why)) && ht_offload_on(o))
		printf("gate: available\n");
	else
		printf("gate: not available: %s\n", why);
	ht_offload_close(o);
	if (ht_tls_ktls_probe(why, sizeof(why)))
		printf("kernel TLS: not available: %s\n", why);
	else
		printf("kernel TLS: available\n");
	return 0;
}

/* ---- the configuration ---- */

/* What outlives daemons, and the lock that keeps a second one out. */
static int open_keep(struct ht_daemon *d)
{
	const struct ht_config *c = d->config;
	char why[512];

	if (!c->control)
		return 0;
	if (ht_keep_open(c->control, (unsigned)HT_MIN(c->timeouts.drain, (uint64_t)600000) + 1000,
			 &d->keep, why, sizeof(why))) {
		ht_log(LOG_ERR, "msg=\"can't start\" error=\"%s\"", why);
		return EXIT_STARTUP;
	}
	d->common.past = d->keep->past;
	d->common.npast = d->keep->npast;
	return ht_daemon_open_revoked(d) ? EXIT_STARTUP : 0;
}

/* Everything that --check checks. 0 or the exit code. */
static int load(struct ht_daemon *d, bool check)
{
	struct ht_diag diag = {0};
	int err;

	err = ht_config_load(d->file, &d->config, &diag);
	if (err) {
		print_diag("", d->file, &diag);
		return EXIT_CONFIG;
	}
	ht_config_warnings(d->config, print_warning, (void *)d->file);
	if (!check && open_keep(d))
		return EXIT_STARTUP;
	d->common.ktls = d->config->ktls != HT_OFF &&
			 !ht_tls_ktls_probe(d->ktls_why, sizeof(d->ktls_why));
	if (d->config->ktls == HT_OFF)
		snprintf(d->ktls_why, sizeof(d->ktls_why), "ktls: off is configured");
	if (!check)
		d->common.rings = ht_ring_set_new();
	if (!check && !d->common.rings)
		return EXIT_STARTUP;
	err = ht_gateway_new(&d->common, d->config, NULL, &d->gateway, &d->ring, &diag);
	if (!err) {
		d->gateway->config_kept = true;
		return 0;
	}
	d->config = NULL;
	print_diag("", d->file, &diag);
	return EXIT_CONFIG;
}

/* ---- setting up ---- */

static int fail(const char *what, const char *why)
{
	ht_log(LOG_ERR, "msg=\"%s\" error=\"%s\"", what, why);
	return EXIT_STARTUP;
}

static unsigned count_cpus(void)
{
	cpu_set_t set;

	/* those that we may run on, not those that there are */
	return sched_getaffinity(0, sizeof(set), &set) ? 1 : (unsigned)CPU_COUNT(&set);
}

/* No core dumps, no ptrace by the same user: there are keys in here. Enough descriptors. */
static void set_limits(const struct ht_config *c)
{
	const struct rlimit none = {0, 0};
	rlim_t want = 2 * c->limits.connections + HT_FILES_EXTRA;
	struct rlimit files;

	prctl(PR_SET_DUMPABLE, 0);
	setrlimit(RLIMIT_CORE, &none);
	if (getrlimit(RLIMIT_NOFILE, &files))
		return;
	if (files.rlim_cur >= want)
		return;
	files.rlim_cur = want;
	if (files.rlim_max < want)
		files.rlim_max = want;
	if (!setrlimit(RLIMIT_NOFILE, &files))
		return;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	ht_log(LOG_WARNING,
	       "msg=\"limits.connections needs more open files than we may have\" "
	       "needed=%llu limit=%llu",
	       (unsigned long long)want, (unsigned long long)files.rlim_max);
}

uint32_t ht_daemon_sealed_max(const struct ht_config *c)
{
	for (size_t s = 0; s < c->nsites; s++) {
		const struct ht_site_config *site = &c->sites[s];

		for (size_t i = 0; i < site->nrules; i++) {
			if (site->rules[i].mode != HT_MODE_OFF &&
			    site->rules[i].accept >> HT_PROFILE_SECURE_COOKIE & 1)
				return c->tokens.sealed_max;
		}
	}
	return 0;
}

static int open_gate(struct ht_daemon *d)
{
	const struct ht_config *c = d->config;
	const struct ht_offload_params p = {
		.gate = c->gate,
		.pin = c->bpf_pin,
		.cgroup = c->bpf_cgroup,
		.max_tokens = c->tokens.max,
		.max_sealed = ht_daemon_sealed_max(c),
		.max_slots = (uint32_t)HT_MIN(c->limits.connections + 64, (size_t)65536),
		/* a reload's new rules stand beside the old ones for a while */
		.max_sites = 2 * (uint32_t)c->nsites + HT_GATEWAY_SITES_SPARE,
		.keep = d->keep != NULL,
		.id = d->keep ? d->keep->id : 0,
		.sip = d->keep ? &d->keep->sip : NULL,
		.wait_ms = (unsigned)HT_MIN(c->timeouts.drain, (uint64_t)600000) + 1000,
	};
	const struct ht_offload_params off = {.gate = HT_OFF};
	struct ht_common *g = &d->common;
	struct ht_sealed_use sealed;
	char why[64];
	unsigned cpus;
	size_t bytes;

	ht_log_hook_libbpf();
	if (ht_offload_open(&off, &g->plain, why, sizeof(why)))
		return fail("no memory for the gate", why);
	if (ht_offload_open(&p, &g->offload, d->gate_why, sizeof(d->gate_why)))
		return fail("gate: require, but the gate can't be had", d->gate_why);
	if (!ht_offload_on(g->offload)) {
		ht_log(c->gate == HT_OFF ? LOG_INFO : LOG_WARNING,
		       "msg=\"gate\" state=off reason=\"%s\"", d->gate_why);
		return 0;
	}
	bytes = ht_offload_token_bytes(g->offload, &cpus);
	ht_offload_sealed(g->offload, &sealed);
	ht_log(LOG_INFO,
	       "msg=\"gate\" state=on pin=%s tokens=%u token_map_bytes=%zu possible_cpus=%u "
	       "sealed=%u sealed_map_bytes=%zu reused=%s",
	       c->bpf_pin ? c->bpf_pin : "none", c->tokens.max, bytes, cpus, sealed.max,
	       sealed.bytes, ht_offload_reused(g->offload) ? "yes" : "no");
	return 0;
}

/* Tokens of a daemon before us stay good if their keys are what they were. */
static void recall_generations(struct ht_daemon *d)
{
	struct ht_keep *k = d->keep;

	if (!ht_offload_reused(d->common.offload))
		return;
	for (size_t i = 0; i < k->npast; i++)
		k->past[i].gen = ht_offload_generation(d->common.offload, (uint32_t)i);
	ht_keyring_recall(d->ring, k->past, k->npast,
			  ht_offload_generation(d->common.offload, HT_GLOBAL_GEN), k->salt);
}

static int publish(struct ht_daemon *d)
{
	int err = ht_gateway_place(d->gateway);

	if (err)
		return fail("can't publish a site's rules to the gate", strerror(-err));
	recall_generations(d);
	ht_common_set_ring(&d->common, TAKE_PTR(d->ring));
	ht_ring_set_commit(d->common.rings);
	/* after the generations: what the file calls unchanged must never be more than they say */
	err = d->keep ? ht_keep_write(d->keep, ht_offload_id(d->common.offload),
				      ht_offload_keys(d->common.offload), d->common.ring)
		      : 0;
	if (err)
		ht_log(LOG_WARNING, "msg=\"tokens will not survive a restart\" error=\"%s\"",
		       strerror(-err));
	return 0;
}

static int open_ktls(const struct ht_daemon *d)
{
	if (d->common.ktls) {
		ht_log(LOG_INFO, "msg=\"kernel TLS\" state=on");
		return 0;
	}
	if (d->config->ktls == HT_REQUIRE)
		return fail("ktls: require, but kernel TLS can't be had", d->ktls_why);
	ht_log(LOG_INFO, "msg=\"kernel TLS\" state=off reason=\"%s\"", d->ktls_why);
	return 0;
}

/*
 * The access log is opened by whom we are going to be: he it is who opens it again at a reload.
 * Where he may not it is opened all the same, this once.
 */
static int open_access_log(struct ht_daemon *d)
{
	const struct ht_config *c = d->config;
	const struct passwd *pw = c->user && !geteuid() ? getpwnam(c->user) : NULL;
	struct ht_common *g = &d->common;
	char why[512];
	int err;

	if (pw) {
		setfsgid(pw->pw_gid);
		setfsuid(pw->pw_uid);
	}
	err = ht_access_log_open(c->access_log.format, c->access_log.to, &g->access_log, why,
				 sizeof(why));
	if (pw) {
		setfsuid(0);
		setfsgid(getegid());
	}
	if (err && pw) {
		ht_log(LOG_WARNING,
		       "msg=\"a reload will not open the access log again\" user=%s reason=\"%s\"",
		       c->user, why);
		err = ht_access_log_open(c->access_log.format, c->access_log.to, &g->access_log,
					 why, sizeof(why));
	}
	if (err)
		return fail("can't open the access log", why);
	g->access_log_on = ht_access_log_on(g->access_log);
	return 0;
}

static int open_workers(struct ht_daemon *d)
{
	unsigned n = d->config->workers ? d->config->workers : count_cpus();
	char why[256];

	d->workers = calloc(n, sizeof(*d->workers));
	d->stats = calloc(n, sizeof(*d->stats));
	if (!d->workers || !d->stats)
		return fail("can't make workers", strerror(ENOMEM));
	for (; d->nworkers < n; d->nworkers++) {
		int err = -ENOMEM;

		d->stats[d->nworkers] = calloc(1, sizeof(**d->stats));
		if (d->stats[d->nworkers])
			err = ht_worker_open(d->gateway, d->nworkers, d->stats[d->nworkers],
					     &d->workers[d->nworkers], why, sizeof(why));
		if (err) {
			free(d->stats[d->nworkers]);
			return fail(why, strerror(-err));
		}
	}
	for (size_t i = 0; i < d->config->nlisteners; i++)
		ht_log(LOG_INFO, "msg=\"listening\" address=%s port=%u tls=%s",
		       d->config->listeners[i].addr.text, d->gateway->listeners[i].port,
		       d->config->listeners[i].tls ? "yes" : "no");
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* After it every token is a miss and is verified anew. Main thread only. */
static size_t flush_tokens(void *arg)
{
	struct ht_daemon *d = arg;
	struct ht_keyring *ring;
	size_t n;
	int err = ht_keyring_bump(d->common.ring, -1, &ring);

	if (err) {
		ht_log(LOG_ERR, "msg=\"token cache not flushed\" error=\"%s\"", strerror(-err));
		return 0;
	}
	ht_common_set_ring(&d->common, ring);
	n = ht_offload_flush(d->common.offload);
	ht_log(LOG_INFO, "msg=\"token cache flushed\" entries=%zu", n);
	return n;
}

void ht_daemon_show(struct ht_daemon *d)
{
	for (size_t i = 0; i < d->gateway->config->nlisteners; i++)
		d->listener_index[i] = d->gateway->listeners[i].index;
	d->ctl_daemon.config = d->gateway->config;
	d->ctl_daemon.health = d->gateway->health;
	d->ctl_daemon.listener_index = d->listener_index;
}

static int open_ctl(struct ht_daemon *d)
{
	char why[512];

	d->ctl_daemon = (struct ht_ctl_daemon){
		.offload = d->common.offload,
		.guard = d->common.guard,
		.stats = (const struct ht_stats *const *)d->stats,
		.nstats = d->nworkers,
		.gate_why = d->gate_why,
		.ktls_why = d->ktls_why,
		.started = time(NULL),
		.flush = flush_tokens,
		.reload = ht_daemon_reload,
		.revoke = ht_daemon_revoke,
		.revoked = ht_daemon_revoked,
		.rotate = ht_daemon_rotate_key,
		.revoke_key = ht_daemon_revoke_key,
		.keys = ht_daemon_keys,
		.arg = d,
	};
	ht_daemon_show(d);
	if (ht_ctl_open(&d->ctl_daemon, &d->ctl, why, sizeof(why)))
		return fail("can't open the control socket or the admin listener", why);
	return 0;
}

void ht_daemon_flush_every(const struct ht_daemon *d, uint64_t every_s)
{
	struct itimerspec every = {0}, now;

	every.it_value.tv_sec = every.it_interval.tv_sec = (time_t)every_s;
	/* a timer that is set again starts anew: not because of a reload that has nothing to say */
	if (!timerfd_gettime(d->flush_fd, &now) &&
	    now.it_interval.tv_sec == every.it_interval.tv_sec)
		return;
	timerfd_settime(d->flush_fd, 0, &every, NULL);
}

/* Signals come through a descriptor; threads inherit the mask. */
static int open_events(struct ht_daemon *d)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	d->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	d->flush_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (d->signal_fd < 0 || d->flush_fd < 0 || ht_daemon_keys_open(d))
		return fail("can't watch for signals", strerror(errno));
	ht_daemon_flush_every(d, d->config->tokens.flush_every_s);
	return 0;
}

/* The descriptors that are open by now go on working without privileges. */
static int become_user(const struct ht_daemon *d)
{
	const struct ht_config *c = d->config;
	const char *pin = ht_offload_pin(d->common.offload);
	const struct passwd *pw;

	if (!c->user || geteuid())
		return 0;
	pw = getpwnam(c->user);
	if (!pw)
		return fail("no such user", c->user);
	/* what is pinned can be taken away at the end, and root need not ask at the next start */
	if (pin && (chown(pin, (uid_t)-1, pw->pw_gid) || chmod(pin, 0770)))
		return fail("can't share bpf.pin with the configured user", strerror(errno));
	if (ht_creds_keep(pw->pw_uid))
		return fail("can't keep the credentials for reloads", "see above");
	if (setgroups(0, NULL) || setgid(pw->pw_gid) || setuid(pw->pw_uid))
		return fail("can't become the configured user", strerror(errno));
	prctl(PR_SET_DUMPABLE, 0); /* changing user may have set it again */
	return 0;
}

static int set_up(struct ht_daemon *d)
{
	int err;

	set_limits(d->config);
	ht_daemon_take_sockets(d->gateway);
	err = open_gate(d);
	if (!err)
		err = open_ktls(d);
	if (!err)
		err = open_access_log(d);
	if (!err)
		err = publish(d);
	if (!err)
		err = open_events(d);
	if (!err)
		err = open_workers(d);
	if (!err && ht_daemon_open_guard(d))
		err = fail("can't open the guard", strerror(ENOMEM));
	if (!err)
		err = open_ctl(d);
	if (!err)
		err = become_user(d);
	if (!err && ht_health_start(d->gateway->health))
		err = fail("can't watch the backends", strerror(ENOMEM));
	for (unsigned i = 0; !err && i < d->nworkers; i++) {
		int r = ht_worker_start(d->workers[i]);

		if (r)
			err = fail("can't start a worker", strerror(-r));
	}
	if (!err && ht_daemon_keys_start(d))
		err = fail("can't mind the keys", strerror(ENOMEM));
	return err;
}

/* ---- serving ---- */

/* sd_notify(3), without the library. */
void ht_daemon_notify(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;
	size_t len;

	if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(a.sun_path))
		return;
	len = strlen(path);
	memcpy(a.sun_path, path, len);
	if (a.sun_path[0] == '@')
		a.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&a,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		ht_log(LOG_WARNING, "msg=\"can't notify the service manager\" error=\"%s\"",
		       strerror(errno));
}

static void drain(struct ht_daemon *d, uint32_t signo)
{
	ht_log(LOG_INFO, "msg=\"draining\" signal=%s", sigabbrev_np((int)signo));
	ht_daemon_notify("STOPPING=1");
	/* whoever is to take over may wait for us now */
	ht_offload_yield(d->common.offload);
	if (d->keep)
		ht_lock_yield(d->keep->fd);
	d->ctl_daemon.draining = true;
	d->drain_until_ms = now_ms() + d->gateway->config->timeouts.drain;
	for (unsigned i = 0; i < d->nworkers; i++)
		ht_worker_drain(d->workers[i]);
}

/* False for the signal that ends it all at once. */
static bool handle_signal(struct ht_daemon *d)
{
	struct signalfd_siginfo info;
	char why[1024];

	while (read(d->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			ht_daemon_reload(d, why, sizeof(why));
		else if (d->drain_until_ms)
			return false;
		else
			drain(d, info.ssi_signo);
	}
	return true;
}

static bool is_drained(const struct ht_daemon *d)
{
	unsigned done = 0;

	if (!d->drain_until_ms)
		return false;
	for (unsigned i = 0; i < d->nworkers; i++)
		done += ht_worker_done(d->workers[i]);
	if (done < d->nworkers && now_ms() < d->drain_until_ms)
		return false;
	if (done < d->nworkers)
		ht_log(LOG_WARNING, "msg=\"drain timed out; connections are cut off\"");
	return true;
}

static void serve(struct ht_daemon *d)
{
	struct pollfd fds[] = {
		{.fd = d->signal_fd, .events = POLLIN},
		{.fd = d->flush_fd, .events = POLLIN},
		{.fd = ht_ctl_fd(d->ctl), .events = POLLIN},
		{.fd = d->keys_fd, .events = POLLIN},
		{.fd = ht_ring_set_fd(d->common.rings), .events = POLLIN},
		{.fd = d->guard_fd, .events = POLLIN},
	};
	uint64_t times;

	while (!is_drained(d)) {
		if (poll(fds, HT_ARRAY_SIZE(fds), d->drain_until_ms ? HT_DRAIN_LOOK_MS : -1) < 0 &&
		    errno != EINTR)
			break;
		if (fds[0].revents && !handle_signal(d))
			break;
		if (fds[1].revents && read(d->flush_fd, &times, sizeof(times)) == sizeof(times))
			flush_tokens(d);
		if (fds[2].revents)
			ht_ctl_dispatch(d->ctl);
		if (fds[3].revents)
			ht_daemon_keys_timer(d);
		if (fds[4].revents)
			ht_daemon_keys_told(d);
		if (fds[5].revents)
			ht_daemon_guard_timer(d);
	}
}

static void tear_down(struct ht_daemon *d)
{
	struct ht_gateway *g = d->gateway;

	for (unsigned i = 0; i < d->nworkers; i++)
		ht_worker_stop(d->workers[i]);
	for (unsigned i = 0; i < d->nworkers; i++)
		ht_worker_close(d->workers[i]);
	ht_ctl_close(d->ctl);
	for (unsigned i = 0; i < d->nworkers; i++)
		free(d->stats[i]);
	free(d->workers);
	free(d->stats);
	for (size_t i = 0; g && i < g->config->nlisteners; i++) {
		if (g->listeners[i].shared_fd >= 0 && !g->listeners[i].handed_over)
			unlink(g->listeners[i].config->addr.un.sun_path);
	}
	ht_gateway_unref(g);
	ht_access_log_close(d->common.access_log);
	ht_guard_close(d->common.guard);
	ht_offload_close(d->common.offload);
	ht_offload_close(d->common.plain);
	ht_keyring_unref(d->ring);
	ht_ring_set_free(d->common.rings);
	ht_common_close(&d->common);
	ht_config_free(d->config);
	ht_keep_revoked_close(d->keep_revoked);
	ht_keep_close(d->keep); /* last: whoever waits for the lock finds nothing of us */
	if (d->signal_fd >= 0)
		close(d->signal_fd);
	if (d->flush_fd >= 0)
		close(d->flush_fd);
	if (d->keys_fd >= 0)
		close(d->keys_fd);
	if (d->guard_fd >= 0)
		close(d->guard_fd);
}

static int run(struct ht_daemon *d)
{
	int err = set_up(d);

	if (err)
		return err;
	ht_log(LOG_INFO, "msg=\"ready\" version=%s workers=%u", HT_VERSION, d->nworkers);
	ht_daemon_notify("READY=1");
	serve(d);
	ht_log(LOG_INFO, "msg=\"stopped\"");
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"check", no_argument, NULL, 'k'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	static struct ht_daemon daemon = {
		.signal_fd = -1, .flush_fd = -1, .keys_fd = -1, .guard_fd = -1};
	bool check = false;
	int opt, code;

	while ((opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			daemon.file = optarg;
			break;
		case 'k':
			check = true;
			break;
		case 'v':
			return print_version();
		case 'h':
			return usage(stdout);
		default:
			return usage(stderr);
		}
	}
	if (!daemon.file || optind < argc)
		return usage(stderr);
	tzset(); /* or strftime() looks for the time zone's file, once, in the middle of a request */
	ht_common_open(&daemon.common);
	code = load(&daemon, check);
	if (!code && !check)
		code = run(&daemon);
	tear_down(&daemon);
	return code;
}
