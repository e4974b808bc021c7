/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reload: everything is loaded, checked and opened beside what runs; only then does anything
 * change, and from there nothing can fail any more that would leave half of it. What cannot change
 * while the daemon runs is named and stays.
 */
#include "main.h"

#include <stdarg.h>
#include <sys/timerfd.h>
#include <time.h>

#define SWITCH_WAIT_MS 5000 /* workers take a moment; longer than this something is very wrong */

/* ---- what takes a restart ---- */

static bool text_differs(const char *a, const char *b)
{
	return !a != !b || (a && strcmp(a, b));
}

static void name_it(char *list, size_t len, bool differs, const char *name)
{
	size_t at = strlen(list);

	if (differs)
		snprintf(list + at, len - at, "%s%s", at ? ", " : "", name);
}

/* The names of what is different in `c` but stays as it was. */
static void name_unchanged(const struct ht_daemon *d, const struct ht_config *c, char *list,
			   size_t len)
{
	const struct ht_config *was = d->config;
	const char *fixed = ht_guard_fixed(&was->guard, &c->guard);

	list[0] = 0;
	name_it(list, len, was->gate != c->gate, "gate");
	name_it(list, len, was->ktls != c->ktls, "ktls");
	name_it(list, len, text_differs(was->bpf_pin, c->bpf_pin), "bpf.pin");
	name_it(list, len, text_differs(was->bpf_cgroup, c->bpf_cgroup), "bpf.cgroup");
	name_it(list, len, was->tokens.max != c->tokens.max, "tokens.max");
	name_it(list, len, ht_daemon_sealed_max(was) != ht_daemon_sealed_max(c),
		"tokens.sealed-max");
	name_it(list, len, was->workers != c->workers, "workers");
	name_it(list, len, text_differs(was->control, c->control), "control");
	name_it(list, len,
		text_differs(was->admin ? was->admin->text : NULL,
			     c->admin ? c->admin->text : NULL),
		"admin");
	name_it(list, len, text_differs(was->user, c->user), "user");
	name_it(list, len, fixed, fixed);
	name_it(list, len,
		was->access_log.format != c->access_log.format ||
			text_differs(was->access_log.to, c->access_log.to),
		"access-log");
	name_it(list, len, was->limits.connections < c->limits.connections,
		"limits.connections (beyond what it was)");
}

/* ---- sockets ---- */

/* One array for each worker, an entry for each listener. */
struct sockets {
	unsigned nworkers;
	size_t nlisteners;
	int **fds;
};

static void sockets_close(struct sockets *s)
{
	for (unsigned w = 0; s->fds && w < s->nworkers; w++) {
		for (size_t i = 0; s->fds[w] && i < s->nlisteners; i++)
			ht_closep(&s->fds[w][i]);
		free(s->fds[w]);
	}
	free(s->fds);
}

static int sockets_new(struct sockets *s)
{
	s->fds = calloc(s->nworkers, sizeof(*s->fds));
	for (unsigned w = 0; s->fds && w < s->nworkers; w++) {
		s->fds[w] = malloc((s->nlisteners + 1) * sizeof(*s->fds[w]));
		for (size_t i = 0; s->fds[w] && i < s->nlisteners; i++)
			s->fds[w][i] = -1;
		if (!s->fds[w])
			return -ENOMEM;
	}
	return s->fds ? 0 : -ENOMEM;
}

/* Those of listeners that were not there before. */
static int sockets_open(struct sockets *s, struct ht_gateway *g, const char **ret_which)
{
	int err = sockets_new(s);

	*ret_which = "";
	for (size_t i = 0; !err && i < s->nlisteners; i++) {
		*ret_which = g->config->listeners[i].addr.text;
		for (unsigned w = 0; !err && g->listeners[i].from < 0 && w < s->nworkers; w++) {
			s->fds[w][i] = ht_listener_open(&g->listeners[i]);
			err = s->fds[w][i] < 0 ? s->fds[w][i] : 0;
		}
	}
	return err;
}

/* A unix socket that was opened for a generation which is not to be. */
static void sockets_undo(struct ht_gateway *g)
{
	for (size_t i = 0; i < g->config->nlisteners; i++) {
		if (g->listeners[i].from < 0 && g->listeners[i].shared_fd >= 0)
			unlink(g->config->listeners[i].addr.un.sun_path);
	}
}

/* The shared ones go over to the new generation; unix sockets without a listener go. */
static void sockets_move(struct ht_gateway *old, struct ht_gateway *new)
{
	for (size_t i = 0; i < new->config->nlisteners; i++) {
		if (new->listeners[i].from >= 0)
			new->listeners[i].shared_fd =
				TAKE_FD(old->listeners[new->listeners[i].from].shared_fd);
	}
	for (size_t i = 0; i < old->config->nlisteners; i++) {
		struct ht_listener *l = &old->listeners[i];

		if (l->shared_fd >= 0 && !l->handed_over)
			unlink(l->config->addr.un.sun_path);
		ht_closep(&l->shared_fd);
		l->shared_fd = -1;
	}
}

/* ---- the reload ---- */

static _printf_(4, 5) int refuse(int err, char *why, size_t why_len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, why_len, fmt, ap);
	va_end(ap);
	ht_log(LOG_ERR, "msg=\"reload refused; everything stays as it was\" reason=\"%s\"", why);
	return err;
}

static int refuse_diag(const struct ht_daemon *d, const struct ht_diag *diag, char *why,
		       size_t why_len)
{
	const char *file = diag->file[0] ? diag->file : d->file;

	if (!diag->line)
		return refuse(-EINVAL, why, why_len, "%s: %s", file, diag->text);
	return refuse(-EINVAL, why, why_len, "%s:%u:%u: %s", file, diag->line, diag->col,
		      diag->text);
}

static void log_warning(void *arg, const struct ht_diag *diag)
{
	const struct ht_daemon *d = arg;

	ht_log(LOG_WARNING, "msg=\"%s\" file=%s line=%u column=%u", diag->text,
	       diag->file[0] ? diag->file : d->file, diag->line, diag->col);
}

/* Waits for the workers that have not gone over yet. */
static int wait_for_workers(struct ht_daemon *d)
{
	while (d->switching) {
		int err = ht_worker_switched(d->workers[d->switching - 1], SWITCH_WAIT_MS);

		if (err)
			return err;
		d->switching--;
	}
	return 0;
}

static void commit(struct ht_daemon *d, struct ht_gateway *new, struct ht_keyring *ring,
		   struct sockets *s)
{
	struct ht_gateway *old = d->gateway;
	int err;

	d->gateway = new;
	ht_daemon_note_ring(d, d->common.ring, ring, "a reload");
	/* whose tokens will be others is held before anybody judges by the new rules */
	ht_daemon_apply_guard(d, new);
	ht_common_set_ring(&d->common, ring);
	ht_ring_set_commit(d->common.rings);
	ht_daemon_keep_ring(d);
	err = ht_health_start(new->health);
	if (err)
		ht_log(LOG_ERR, "msg=\"backends are not watched\" error=\"%s\"", strerror(-err));
	d->switching = d->nworkers;
	for (unsigned w = 0; w < d->nworkers; w++)
		ht_worker_switch(d->workers[w], new, TAKE_PTR(s->fds[w]));
	if (wait_for_workers(d))
		ht_log(LOG_CRIT, "msg=\"a worker does not answer\"");
	ht_health_stop(old->health);
	sockets_move(old, new);
	ht_daemon_flush_every(d, new->config->tokens.flush_every_s);
	ht_daemon_show(d);
	err = ht_daemon_keys_start(d); /* the first one of memcached may be among them */
	if (err)
		ht_log(LOG_ERR, "msg=\"keys are not minded\" error=\"%s\"", strerror(-err));
	ht_gateway_unref(old);
}

static int prepare(struct ht_daemon *d, struct ht_gateway **ret, struct ht_keyring **ret_ring,
		   struct sockets *s, char *why, size_t why_len)
{
	struct ht_diag diag = {0};
	struct ht_config *config = NULL;
	const char *which;
	int err = ht_config_load(d->file, &config, &diag);

	if (err)
		return refuse_diag(d, &diag, why, why_len);
	ht_config_warnings(config, log_warning, d);
	err = ht_gateway_new(&d->common, config, d->gateway, ret, ret_ring, &diag);
	if (err)
		return refuse_diag(d, &diag, why, why_len);
	*s = (struct sockets){.nworkers = d->nworkers, .nlisteners = config->nlisteners};
	err = sockets_open(s, *ret, &which);
	if (err)
		refuse(err, why, why_len, "%s: can't listen on %s: %s", d->file, which,
		       strerror(-err));
	if (!err)
		err = ht_gateway_place(*ret);
	if (err == -ENOSPC)
		refuse(err, why, why_len,
		       "%s: the gate has room for %u sites with those that requests still use; "
		       "reload again when they are over, or restart",
		       d->file, ht_offload_max_sites(d->common.offload));
	else if (err && !why[0])
		refuse(err, why, why_len, "can't publish the sites' rules: %s", strerror(-err));
	if (!err)
		return 0;
	sockets_undo(*ret);
	sockets_close(s);
	ht_keyring_unref(*ret_ring);
	ht_gateway_unref(*ret);
	return err;
}

static void notify_reloading(void)
{
	struct timespec ts;
	char text[80];

	clock_gettime(CLOCK_MONOTONIC, &ts);
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
		 (unsigned long long)ts.tv_sec * 1000000 + (unsigned long long)ts.tv_nsec / 1000);
	ht_daemon_notify(text);
}

/* Appends to what whoever asked for the reload is told. */
static _printf_(3, 4) void tell(char *why, size_t why_len, const char *fmt, ...)
{
	size_t at = strlen(why);
	va_list ap;

	if (at)
		snprintf(why + at, why_len - at, "; ");
	at = strlen(why);
	va_start(ap, fmt);
	vsnprintf(why + at, why_len - at, fmt, ap);
	va_end(ap);
}

/* For whoever moves it away now and then. A mistake in the configuration is no reason not to. */
static int reopen_access_log(const struct ht_daemon *d, char *reason, size_t len)
{
	int err = ht_access_log_reopen(d->common.access_log, reason, len);

	if (err)
		ht_log(LOG_ERR, "msg=\"the access log stays the old file\" reason=\"%s\"", reason);
	return err;
}

int ht_daemon_reload(void *arg, char *why, size_t why_len)
{
	struct ht_daemon *d = arg;
	struct ht_gateway *new = NULL;
	struct ht_keyring *ring = NULL;
	struct sockets s;
	char unchanged[400], log_why[400];
	int err, log_err;

	why[0] = 0;
	log_err = reopen_access_log(d, log_why, sizeof(log_why));
	if (d->drain_until_ms)
		return refuse(-ESHUTDOWN, why, why_len, "the daemon is draining");
	if (wait_for_workers(d))
		return refuse(-EBUSY, why, why_len, "the last reload is not through yet");
	notify_reloading();
	err = prepare(d, &new, &ring, &s, why, why_len);
	if (!err) {
		name_unchanged(d, new->config, unchanged, sizeof(unchanged));
		commit(d, new, ring, &s);
		sockets_close(&s);
		ht_log(LOG_INFO,
		       "msg=\"reloaded\" generation=%llu sites=%zu listeners=%zu keys=%zu",
		       (unsigned long long)new->serial, new->config->nsites,
		       new->config->nlisteners, new->config->nkeys);
		if (unchanged[0]) {
			tell(why, why_len, "stays as it was until a restart: %s", unchanged);
			ht_log(LOG_WARNING, "msg=\"%s\"", why);
		}
		if (log_err)
			tell(why, why_len, "the access log stays the old file: %s", log_why);
	}
	ht_daemon_notify("READY=1");
	return err;
}
