/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workers' threads: they accept connections and turn the loop. What happens on a connection
 * is conn.c's.
 */
#include "worker.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <semaphore.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#define HT_BACKLOG 4096
#define HT_DOOR_CLOSE_MS 200 /* for handshakes that have begun when a listener goes */
#define HT_ACCEPTS 16	     /* connections in a row before others have their turn */

/* A listening socket of one worker. */
struct ht_door {
	struct ht_source source;
	struct ht_timer pause;
	struct ht_worker *worker;
	struct ht_view *view; /* a reference: the listener's generation */
	const struct ht_listener *listener;
	struct ht_door *next; /* among those that are closing */
	uint64_t closes_ms;
};

/* What the main thread wants a worker to switch to. */
struct ht_switch {
	struct ht_gateway *gateway;
	int *fds;
};

struct ht_worker {
	struct ht_workspace ws;
	unsigned index;
	size_t ndoors;
	struct ht_door **doors; /* one for each listener of the generation */
	struct ht_door *closing;
	struct ht_timer close; /* looks at them */
	struct ht_source wake; /* an eventfd */
	_Atomic bool drain, stop, done;
	struct ht_switch *_Atomic next;
	sem_t switched;
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

static int listen_shared(const struct ht_listener *l)
{
	int fd = fcntl(l->shared_fd, F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
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

	if (l->shared_fd < 0) {
		err = unix_clear(a);
		if (err)
			return err;
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd < 0 || bind(fd, &a->sa, a->len) || chmod(a->un.sun_path, 0666) ||
		    listen(fd, HT_BACKLOG))
			return -errno;
		l->shared_fd = TAKE_FD(fd);
	}
	return listen_shared(l);
}

int ht_listener_open(struct ht_listener *l)
{
	if (l->handed_over)
		return listen_shared(l);
	return l->config->addr.sa.sa_family == AF_UNIX ? listen_unix(l) : listen_tcp(l);
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
			ht_conn_accept(ws, d->view, d->listener, fd, (struct sockaddr *)&peer, len);
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
	struct ht_door *d = ht_container_of(s, struct ht_door, source);

	ht_view_unref(d->view);
	free(d);
}

/* Takes over the fd. */
static int door_open(struct ht_worker *w, const struct ht_listener *l, int fd, struct ht_door **ret)
{
	struct ht_door *d = calloc(1, sizeof(*d));
	int err = -ENOMEM;

	if (d) {
		d->worker = w;
		d->view = ht_view_ref(w->ws.view);
		d->listener = l;
		d->source = (struct ht_source){.fd = fd, .ready = door_ready, .bury = door_bury};
		d->pause.fire = door_resume;
		err = ht_loop_add(&w->ws.loop, &d->source);
	}
	if (err) {
		close(fd);
		if (d)
			door_bury(&d->source);
		return err;
	}
	*ret = d;
	return 0;
}

static void door_close(struct ht_door *d, struct ht_loop *loop)
{
	ht_timer_cancel(&d->pause);
	/* what is shared stays open, and epoll goes by that and not by our descriptor */
	ht_loop_remove(loop, &d->source);
	close(d->source.fd);
	d->source.fd = -1;
	ht_loop_bury(loop, &d->source);
}

/*
 * A listening socket that is closed resets what is queued in it, and what gets into the queue
 * between our last accept() and the close(). So it takes no more SYNs first (a client asks again
 * after a second, and gets whoever listens then), and is closed once handshakes that had begun
 * are over. A socket that is not ours alone is just let go: others listen on.
 */
static void door_refuse(struct ht_door *d)
{
	static struct sock_filter no_syn[] = {
		/* the filter of a TCP socket sees the TCP header */
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x02, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog program = {HT_ARRAY_SIZE(no_syn), no_syn};

	if (setsockopt(d->source.fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)))
		ht_log(LOG_WARNING, "msg=\"can't hold off connections\" error=\"%s\"",
		       strerror(errno));
}

static bool door_is_shared(const struct ht_door *d)
{
	return d->listener->handed_over || d->listener->config->addr.sa.sa_family == AF_UNIX;
}

/* No more connections but those that are in the queue. */
static void door_begin_close(struct ht_worker *w, struct ht_door *d)
{
	if (d->listener->handed_over) {
		door_close(d, &w->ws.loop);
		return;
	}
	if (!door_is_shared(d))
		door_refuse(d);
	d->closes_ms = w->ws.loop.now_ms + (door_is_shared(d) ? 0 : HT_DOOR_CLOSE_MS);
	d->next = w->closing;
	w->closing = d;
}

/* Those whose time has come are emptied and closed. */
static void doors_closing(struct ht_timer *t)
{
	struct ht_worker *w = ht_container_of(t, struct ht_worker, close);
	struct ht_door **p = &w->closing;

	while (*p) {
		struct ht_door *d = *p;

		door_ready(&d->source);
		if (d->closes_ms > w->ws.loop.now_ms || d->source.queued) {
			p = &d->next;
			continue;
		}
		*p = d->next;
		door_close(d, &w->ws.loop);
	}
	if (w->closing)
		ht_timer_arm(&w->ws.loop, &w->close, HT_TIMER_DOOR);
}

/* ---- the thread ---- */

static void worker_drain(struct ht_worker *w)
{
	for (size_t i = 0; i < w->ndoors; i++)
		door_begin_close(w, w->doors[i]);
	w->ndoors = 0;
	ht_workspace_drain(&w->ws);
	doors_closing(&w->close);
}

/* The old doors that go on, and new ones; what is left over is closed. */
static int worker_doors(struct ht_worker *w, struct ht_gateway *g, int *fds)
{
	size_t n = g->config->nlisteners;
	struct ht_door **doors = calloc(n ? n : 1, sizeof(*doors));
	int err = 0;

	if (!doors)
		return -ENOMEM;
	for (size_t i = 0; !err && i < n; i++) {
		if (g->listeners[i].from < 0)
			err = door_open(w, &g->listeners[i], TAKE_FD(fds[i]), &doors[i]);
	}
	if (err) {
		for (size_t i = 0; i < n; i++)
			if (doors[i])
				door_close(doors[i], &w->ws.loop);
		free(doors);
		return err;
	}
	for (size_t i = 0; i < n; i++) {
		if (g->listeners[i].from >= 0)
			doors[i] = TAKE_PTR(w->doors[g->listeners[i].from]);
		ht_view_unref(doors[i]->view);
		doors[i]->view = ht_view_ref(w->ws.view);
		doors[i]->listener = &g->listeners[i];
	}
	/* what is left belongs to the generation before, its last connections too */
	for (size_t i = 0; i < w->ndoors; i++)
		if (w->doors[i])
			door_begin_close(w, w->doors[i]);
	free(w->doors);
	w->doors = doors;
	w->ndoors = n;
	return 0;
}

static void switch_free(struct ht_switch *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->gateway->config->nlisteners; i++)
		ht_closep(&s->fds[i]);
	ht_gateway_unref(s->gateway);
	free(s->fds);
	free(s);
}

static void worker_switch(struct ht_worker *w, struct ht_switch *s)
{
	int err = w->ws.draining ? -ESHUTDOWN : ht_workspace_switch(&w->ws, s->gateway);

	if (!err)
		err = worker_doors(w, s->gateway, s->fds);
	if (err)
		ht_log(LOG_ERR,
		       "msg=\"a worker stays with the old configuration\" worker=%u error=\"%s\"",
		       w->index, strerror(-err));
	if (!w->close.kind)
		doors_closing(&w->close);
	switch_free(s);
	sem_post(&w->switched);
}

static void worker_woken(struct ht_source *s)
{
	struct ht_worker *w = ht_container_of(s, struct ht_worker, wake);
	uint64_t n;

	if (read(s->fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		ht_log(LOG_ERR, "msg=\"eventfd\" error=\"%s\"", strerror(errno));
	struct ht_switch *next = atomic_exchange(&w->next, NULL);

	s->readable = false;
	if (next)
		worker_switch(w, next);
	if (atomic_load(&w->drain) && !w->ws.draining)
		worker_drain(w);
}

static void *worker_run(void *arg)
{
	struct ht_worker *w = arg;

	while (!atomic_load_explicit(&w->stop, memory_order_relaxed) &&
	       !(w->ws.draining && !w->ws.nconns && !w->closing))
		ht_loop_round(&w->ws.loop);
	atomic_store(&w->done, true);
	return NULL;
}

int ht_worker_open(struct ht_gateway *g, unsigned index, struct ht_stats *stats,
		   struct ht_worker **ret, char *why, size_t why_len)
{
	struct ht_worker *w = calloc(1, sizeof(*w));
	int err = -ENOMEM, fd;

	snprintf(why, why_len, "worker %u", index);
	if (!w)
		return err;
	w->index = index;
	w->wake = (struct ht_source){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
				     .ready = worker_woken,
				     .bury = door_bury};
	w->ws.loop.epoll_fd = -1;
	w->close.fire = doors_closing;
	sem_init(&w->switched, 0, 0);
	w->doors = calloc(g->config->nlisteners, sizeof(*w->doors));
	if (w->wake.fd < 0 || !w->doors)
		goto out;
	err = ht_workspace_open(&w->ws, g, stats);
	if (!err)
		err = ht_loop_add(&w->ws.loop, &w->wake);
	for (size_t i = 0; !err && i < g->config->nlisteners; i++) {
		snprintf(why, why_len, "can't listen on %s", g->config->listeners[i].addr.text);
		fd = ht_listener_open(&g->listeners[i]);
		err = fd < 0 ? fd : door_open(w, &g->listeners[i], fd, &w->doors[i]);
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

void ht_worker_switch(struct ht_worker *w, struct ht_gateway *g, int *fds)
{
	struct ht_switch *s = calloc(1, sizeof(*s));

	if (!s) {
		ht_log(LOG_ERR, "msg=\"no memory to tell a worker of the reload\" worker=%u",
		       w->index);
		for (size_t i = 0; i < g->config->nlisteners; i++)
			ht_closep(&fds[i]);
		free(fds);
		sem_post(&w->switched);
		return;
	}
	*s = (struct ht_switch){ht_gateway_ref(g), fds};
	switch_free(atomic_exchange(&w->next, s));
	worker_wake(w);
}

int ht_worker_switched(struct ht_worker *w, unsigned ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	while (sem_timedwait(&w->switched, &until)) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
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
		door_close(w->doors[i], &w->ws.loop);
	for (struct ht_door *d = w->closing; d; d = d->next)
		door_close(d, &w->ws.loop);
	ht_timer_cancel(&w->close);
	switch_free(atomic_load(&w->next));
	if (w->ws.loop.epoll_fd >= 0)
		ht_workspace_close(&w->ws);
	if (w->wake.fd >= 0)
		close(w->wake.fd);
	sem_destroy(&w->switched);
	free(w->doors);
	free(w);
}
