/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workers' threads: they accept connections and turn the loop. What happens on a connection
 * is conn.c's.
 */
#include "worker.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#define HT_BACKLOG 4096
#define HT_ACCEPTS 16 /* connections in a row before others have their turn */

/* A listening socket of one worker. */
struct ht_door {
	struct ht_source source;
	struct ht_timer pause;
	struct ht_worker *worker;
	const struct ht_listener *listener;
};

struct ht_worker {
	struct ht_workspace ws;
	unsigned index;
	size_t ndoors;
	struct ht_door *doors;
	struct ht_source wake; /* an eventfd */
	_Atomic bool drain, stop, done;
	pthread_t thread;
	bool started;
};

/* ---- listening ---- */

static int listen_options(int fd, int family)
{
	int on = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) ||
	    /* what is accepted inherits it */
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		return -errno;
	if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)))
		return -errno;
	return 0;
}

/* The port that the kernel chose for the first worker is everybody's. */
static void set_port(struct ht_addr *a, uint16_t port)
{
	if (a->sa.sa_family == AF_INET)
		a->in.sin_port = htons(port);
	else
		a->in6.sin6_port = htons(port);
}

static uint16_t get_port(const struct ht_addr *a)
{
	return ntohs(a->sa.sa_family == AF_INET ? a->in.sin_port : a->in6.sin6_port);
}

static int listen_tcp(struct ht_listener *l)
{
	struct ht_addr addr = l->config->addr;
	_cleanup_close_ int fd = socket(addr.sa.sa_family,
					SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = listen_options(fd, addr.sa.sa_family);
	if (err)
		return err;
	if (l->port)
		set_port(&addr, l->port);
	if (bind(fd, &addr.sa, addr.len) || listen(fd, HT_BACKLOG) ||
	    getsockname(fd, &addr.sa, &addr.len))
		return -errno;
	l->port = get_port(&addr);
	return TAKE_FD(fd);
}

/* A socket file that nobody listens on is left over; one that somebody does is his. */
static int unix_clear(const struct ht_addr *a)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (!connect(fd, &a->sa, a->len))
		return -EADDRINUSE;
	if (errno == ECONNREFUSED && unlink(a->un.sun_path))
		return -errno;
	return 0;
}

static int listen_unix(struct ht_listener *l)
{
	const struct ht_addr *a = &l->config->addr;
	_cleanup_close_ int fd = -1;
	int err;

	if (l->unix_fd < 0) {
		err = unix_clear(a);
		if (err)
			return err;
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd < 0 || bind(fd, &a->sa, a->len) || chmod(a->un.sun_path, 0666) ||
		    listen(fd, HT_BACKLOG))
			return -errno;
		l->unix_fd = TAKE_FD(fd);
	}
	fd = fcntl(l->unix_fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : TAKE_FD(fd);
}

/* ---- accepting ---- */

static void door_ready(struct ht_source *s)
{
	struct ht_door *d = ht_container_of(s, struct ht_door, source);
	struct ht_workspace *ws = &d->worker->ws;
	struct sockaddr_storage peer;
	socklen_t len;
	int fd;

	for (unsigned i = 0; i < HT_ACCEPTS && s->fd >= 0; i++) {
		len = sizeof(peer);
		fd = accept4(s->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			ht_conn_accept(ws, d->listener, fd, (struct sockaddr *)&peer, len);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			ht_stats_inc(ws->stats->connections_refused, 1);
			ht_log_limited(LOG_ERR, "msg=\"can't accept\" listener=%s error=\"%s\"",
				       d->listener->config->addr.text, strerror(errno));
			ht_timer_arm(&ws->loop, &d->pause, HT_TIMER_PAUSE);
			return;
		}
	}
	ht_loop_again(&ws->loop, s);
}

static void door_resume(struct ht_timer *t)
{
	struct ht_door *d = ht_container_of(t, struct ht_door, pause);

	door_ready(&d->source);
}

static void door_bury(struct ht_source *s)
{
	(void)s; /* lives as long as the worker */
}

static int door_open(struct ht_door *d, struct ht_worker *w, struct ht_listener *l)
{
	int fd = l->config->addr.sa.sa_family == AF_UNIX ? listen_unix(l) : listen_tcp(l);

	if (fd < 0)
		return fd;
	d->worker = w;
	d->listener = l;
	d->source = (struct ht_source){.fd = fd, .ready = door_ready, .bury = door_bury};
	d->pause.fire = door_resume;
	return ht_loop_add(&w->ws.loop, &d->source);
}

static void door_close(struct ht_door *d, struct ht_loop *loop)
{
	if (d->source.fd < 0)
		return;
	ht_timer_cancel(&d->pause);
	close(d->source.fd);
	d->source.fd = -1;
	ht_loop_bury(loop, &d->source);
}

/* ---- the thread ---- */

static void worker_drain(struct ht_worker *w)
{
	for (size_t i = 0; i < w->ndoors; i++)
		door_close(&w->doors[i], &w->ws.loop);
	ht_workspace_drain(&w->ws);
}

static void worker_woken(struct ht_source *s)
{
	struct ht_worker *w = ht_container_of(s, struct ht_worker, wake);
	uint64_t n;

	if (read(s->fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		ht_log(LOG_ERR, "msg=\"eventfd\" error=\"%s\"", strerror(errno));
	s->readable = false;
	if (atomic_load(&w->drain) && !w->ws.draining)
		worker_drain(w);
}

static void *worker_run(void *arg)
{
	struct ht_worker *w = arg;

	while (!atomic_load_explicit(&w->stop, memory_order_relaxed) &&
	       !(w->ws.draining && !w->ws.nconns))
		ht_loop_round(&w->ws.loop);
	atomic_store(&w->done, true);
	return NULL;
}

int ht_worker_open(struct ht_gateway *g, unsigned index, struct ht_stats *stats,
		   struct ht_worker **ret, char *why, size_t why_len)
{
	struct ht_worker *w = calloc(1, sizeof(*w));
	int err = -ENOMEM;

	snprintf(why, why_len, "worker %u", index);
	if (!w)
		return err;
	w->index = index;
	w->wake = (struct ht_source){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
				     .ready = worker_woken,
				     .bury = door_bury};
	w->ws.loop.epoll_fd = -1;
	w->doors = calloc(g->config->nlisteners, sizeof(*w->doors));
	if (w->wake.fd < 0 || !w->doors)
		goto out;
	err = ht_workspace_open(&w->ws, g, stats);
	if (!err)
		err = ht_loop_add(&w->ws.loop, &w->wake);
	for (size_t i = 0; !err && i < g->config->nlisteners; i++) {
		snprintf(why, why_len, "can't listen on %s", g->config->listeners[i].addr.text);
		err = door_open(&w->doors[i], w, &g->listeners[i]);
		w->ndoors += !err;
	}
	if (!err)
		*ret = TAKE_PTR(w);
out:
	ht_worker_close(w);
	return err;
}

int ht_worker_start(struct ht_worker *w)
{
	char name[16];
	int err = pthread_create(&w->thread, NULL, worker_run, w);

	if (err)
		return -err;
	w->started = true;
	snprintf(name, sizeof(name), "worker-%u", w->index);
	pthread_setname_np(w->thread, name);
	return 0;
}

static void worker_wake(struct ht_worker *w)
{
	uint64_t one = 1;

	if (write(w->wake.fd, &one, sizeof(one)) < 0)
		ht_log(LOG_ERR, "msg=\"eventfd\" error=\"%s\"", strerror(errno));
}

void ht_worker_drain(struct ht_worker *w)
{
	atomic_store(&w->drain, true);
	worker_wake(w);
}

void ht_worker_stop(struct ht_worker *w)
{
	atomic_store(&w->stop, true);
	worker_wake(w);
}

bool ht_worker_done(const struct ht_worker *w)
{
	return atomic_load(&w->done);
}

void ht_worker_close(struct ht_worker *w)
{
	if (!w)
		return;
	if (w->started)
		pthread_join(w->thread, NULL);
	for (size_t i = 0; i < w->ndoors; i++)
		door_close(&w->doors[i], &w->ws.loop);
	if (w->ws.gateway)
		ht_workspace_close(&w->ws);
	if (w->wake.fd >= 0)
		close(w->wake.fd);
	free(w->doors);
	free(w);
}
