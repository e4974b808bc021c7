/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket and the admin listener as servers inside the main thread: who may connect,
 * how much may be asked, and for how long. Never blocks, is never on the way of a request, and
 * knows nothing of what is answered (ctl_answer.c).
 */
#include "ctl.h"

#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#include "ctl_answer.h"

#define REQUEST_MAX 8192 /* bytes of a command line or of an HTTP request head */
#define CONTROL_PEERS 8	 /* apart, so that slow scrapers never lock the operator out */
#define ADMIN_PEERS 24
#define DEADLINE_MS 5000 /* from accept to close */
#define EVENTS 16

enum source_kind { SOURCE_TICK, SOURCE_LISTENER, SOURCE_PEER };

/* What an epoll event points to. */
struct source {
	enum source_kind kind;
	int fd; /* -1 = not in use */
};

struct peer;

struct listener {
	struct source source;
	size_t npeers, max_peers;
	bool paused; /* out of peers or of file descriptors: tried again with the next tick */
	/* Writes the answer once in[in_len] holds a complete request; false = not yet. */
	bool (*answer)(const struct ht_ctl_daemon *d, struct peer *p, FILE *out);
};

enum peer_state {
	PEER_READING,
	PEER_WRITING,
	PEER_LINGERING, /* answered; a close() with bytes unread would reset and lose the answer */
};

struct peer {
	struct source source;
	struct listener *listener;
	enum peer_state state;
	int64_t deadline_ms;
	size_t in_len;
	char in[REQUEST_MAX + 1]; /* NUL-terminated */
	char *out;
	size_t out_len, out_off;
};

struct ht_ctl {
	const struct ht_ctl_daemon *daemon;
	int epoll;
	struct source tick; /* a timer that runs while there is anything to time out */
	bool ticking;
	struct listener control, admin;
	char *control_path; /* set once the socket there is ours */
	struct peer peers[CONTROL_PEERS + ADMIN_PEERS];
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Removing is left to close(). */
static int watch(struct ht_ctl *c, int op, struct source *s, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = s};

	return epoll_ctl(c->epoll, op, s->fd, &e) < 0 ? -errno : 0;
}

/* Setting a timer that runs would put it off, for ever where clients keep coming. */
static void tick_run(struct ht_ctl *c, bool on)
{
	const struct itimerspec second = {{1, 0}, {1, 0}}, never = {{0, 0}, {0, 0}};

	if (c->ticking == on)
		return;
	c->ticking = on;
	timerfd_settime(c->tick.fd, 0, on ? &second : &never, NULL);
}

/* ---- listeners ---- */

static void listener_pause(struct ht_ctl *c, struct listener *l)
{
	l->paused = true;
	watch(c, EPOLL_CTL_MOD, &l->source, 0);
	tick_run(c, true);
}

static void listener_resume(struct ht_ctl *c, struct listener *l)
{
	if (!l->paused || l->npeers == l->max_peers)
		return;
	l->paused = false;
	watch(c, EPOLL_CTL_MOD, &l->source, EPOLLIN);
}

static struct peer *peer_unused(struct ht_ctl *c)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(c->peers); i++)
		if (c->peers[i].source.fd < 0)
			return &c->peers[i];
	return NULL;
}

static void listener_accept(struct ht_ctl *c, struct listener *l)
{
	_cleanup_close_ int fd = -1;
	struct peer *p;

	if (l->npeers == l->max_peers || !(p = peer_unused(c))) {
		listener_pause(c, l);
		return;
	}
	fd = accept4(l->source.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		/* Out of file descriptors: the event would come again and again. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			listener_pause(c, l);
		return;
	}
	p->source.fd = fd;
	if (watch(c, EPOLL_CTL_ADD, &p->source, EPOLLIN) < 0) {
		p->source.fd = -1;
		return;
	}
	TAKE_FD(fd);
	p->listener = l;
	p->state = PEER_READING;
	p->deadline_ms = now_ms() + DEADLINE_MS;
	p->in_len = p->out_len = p->out_off = 0;
	l->npeers++;
	tick_run(c, true);
}

/* ---- peers ---- */

static void peer_close(struct ht_ctl *c, struct peer *p)
{
	close(p->source.fd);
	p->source.fd = -1;
	free(p->out);
	p->out = NULL;
	p->listener->npeers--;
	listener_resume(c, p->listener);
}

static void peer_linger(struct ht_ctl *c, struct peer *p)
{
	char waste[4096];
	ssize_t n;

	do
		n = recv(p->source.fd, waste, sizeof(waste), 0);
	while (n > 0);
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		peer_close(c, p);
}

static void peer_write(struct ht_ctl *c, struct peer *p)
{
	while (p->out_off < p->out_len) {
		ssize_t n = send(p->source.fd, p->out + p->out_off, p->out_len - p->out_off,
				 MSG_NOSIGNAL);

		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				peer_close(c, p);
			return;
		}
		p->out_off += (size_t)n;
	}
	p->state = PEER_LINGERING;
	shutdown(p->source.fd, SHUT_WR);
	if (watch(c, EPOLL_CTL_MOD, &p->source, EPOLLIN) < 0)
		peer_close(c, p);
	else
		peer_linger(c, p);
}

/* Lets the listener answer; true if that ended the reading. */
static bool peer_answer(struct ht_ctl *c, struct peer *p)
{
	FILE *f = open_memstream(&p->out, &p->out_len);
	bool answered;

	if (!f) {
		peer_close(c, p);
		return true;
	}
	answered = p->listener->answer(c->daemon, p, f);
	if (fclose(f) || (answered && watch(c, EPOLL_CTL_MOD, &p->source, EPOLLOUT) < 0)) {
		peer_close(c, p);
		return true;
	}
	if (!answered) {
		free(TAKE_PTR(p->out));
		return false;
	}
	p->state = PEER_WRITING;
	peer_write(c, p);
	return true;
}

static void peer_read(struct ht_ctl *c, struct peer *p)
{
	for (;;) {
		ssize_t n = recv(p->source.fd, p->in + p->in_len, REQUEST_MAX - p->in_len, 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			peer_close(c, p);
			return;
		}
		p->in_len += (size_t)n;
		p->in[p->in_len] = '\0';
		if (peer_answer(c, p))
			return;
	}
}

static void peer_dispatch(struct ht_ctl *c, struct peer *p)
{
	switch (p->state) {
	case PEER_READING:
		peer_read(c, p);
		break;
	case PEER_WRITING:
		peer_write(c, p);
		break;
	case PEER_LINGERING:
		peer_linger(c, p);
		break;
	}
}

/* A line. A command that does not fit is none of ours. */
static bool control_answer(const struct ht_ctl_daemon *d, struct peer *p, FILE *out)
{
	char *end = memchr(p->in, '\n', p->in_len);

	if (end) {
		*end = '\0';
		ht_ctl_command(d, p->in, out);
	} else if (p->in_len == REQUEST_MAX) {
		fputs("error: the command is too long\n", out);
	}
	return end || p->in_len == REQUEST_MAX;
}

static bool admin_answer(const struct ht_ctl_daemon *d, struct peer *p, FILE *out)
{
	bool complete = memmem(p->in, p->in_len, "\r\n\r\n", 4);

	if (memchr(p->in, '\0', p->in_len))
		ht_ctl_http_error(400, out);
	else if (complete)
		ht_ctl_http(d, p->in, out);
	else if (p->in_len == REQUEST_MAX)
		ht_ctl_http_error(431, out);
	else
		return false;
	return true;
}

static void tick(struct ht_ctl *c)
{
	int64_t now = now_ms();
	uint64_t expirations;
	bool busy;

	if (read(c->tick.fd, &expirations, sizeof(expirations)) < 0)
		return;
	for (size_t i = 0; i < HT_ARRAY_SIZE(c->peers); i++)
		if (c->peers[i].source.fd >= 0 && now >= c->peers[i].deadline_ms)
			peer_close(c, &c->peers[i]);
	listener_resume(c, &c->control);
	listener_resume(c, &c->admin);
	busy = c->control.npeers || c->admin.npeers || c->control.paused || c->admin.paused;
	if (!busy)
		tick_run(c, false);
}

int ht_ctl_fd(const struct ht_ctl *c)
{
	return c->epoll;
}

void ht_ctl_dispatch(struct ht_ctl *c)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(c->epoll, events, EVENTS, 0);

	for (int i = 0; i < n; i++) {
		struct source *s = events[i].data.ptr;

		if (s->fd < 0)
			continue; /* closed by an event before it */
		switch (s->kind) {
		case SOURCE_TICK:
			tick(c);
			break;
		case SOURCE_LISTENER:
			listener_accept(c, ht_container_of(s, struct listener, source));
			break;
		case SOURCE_PEER:
			peer_dispatch(c, ht_container_of(s, struct peer, source));
			break;
		}
	}
}

/* ---- opening and closing ---- */

static _printf_(4, 5) int fail(int r, char *why, size_t why_len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, why_len, fmt, ap);
	va_end(ap);
	return r;
}

/* 0 if the socket at the path is a dead daemon's: it may go. */
static int control_stale(const struct sockaddr_un *un)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (lstat(un->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (!connect(fd, (const void *)un, sizeof(*un)) || errno == EAGAIN)
		return -EADDRINUSE;
	return errno == ECONNREFUSED || errno == ENOENT ? 0 : -errno;
}

/* Nobody else can ever connect: the mode is there from the start. */
static int bind_private(int fd, const struct sockaddr_un *un)
{
	mode_t old = umask(0177);
	int r = bind(fd, (const void *)un, sizeof(*un)) < 0 ? -errno : 0;

	umask(old);
	return r;
}

/* The directory is made if only that is missing, for daemons that no service manager started. */
static int control_bind(int fd, const struct sockaddr_un *un)
{
	int r = bind_private(fd, un);

	if (r == -ENOENT) {
		_cleanup_free_ char *dir = strdup(un->sun_path);
		char *slash = dir ? strrchr(dir, '/') : NULL;

		if (!slash)
			return r;
		*slash = '\0';
		return mkdir(dir, 0755) < 0 ? -errno : bind_private(fd, un);
	}
	if (r != -EADDRINUSE)
		return r;
	r = control_stale(un);
	if (r < 0)
		return r;
	unlink(un->sun_path);
	return bind_private(fd, un);
}

static int listener_start(struct ht_ctl *c, struct listener *l, int fd)
{
	int r;

	if (listen(fd, 64) < 0)
		return -errno;
	l->source.fd = fd;
	r = watch(c, EPOLL_CTL_ADD, &l->source, EPOLLIN);
	if (r < 0)
		l->source.fd = -1;
	return r;
}

static int control_open(struct ht_ctl *c, const char *path, char *why, size_t why_len)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int r;

	if (fd < 0)
		return fail(-errno, why, why_len, "control socket: %s", strerror(errno));
	if (strlen(path) >= sizeof(un.sun_path))
		return fail(-ENAMETOOLONG, why, why_len, "control socket %s: at most %zu bytes",
			    path, sizeof(un.sun_path) - 1);
	strcpy(un.sun_path, path);

	r = control_bind(fd, &un);
	if (r == -EADDRINUSE)
		return fail(r, why, why_len, "control socket %s: another hardtackd serves it",
			    path);
	if (r == -EEXIST)
		return fail(r, why, why_len, "control socket %s: what is there is no socket", path);
	if (r < 0)
		return fail(r, why, why_len, "control socket %s: %s", path, strerror(-r));
	c->control_path = strdup(path);
	if (!c->control_path) {
		unlink(path);
		return -ENOMEM;
	}
	r = listener_start(c, &c->control, fd);
	if (r < 0)
		return fail(r, why, why_len, "control socket %s: %s", path, strerror(-r));
	TAKE_FD(fd);
	return 0;
}

static int admin_open(struct ht_ctl *c, const struct ht_addr *a, char *why, size_t why_len)
{
	_cleanup_close_ int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
					0);
	const int on = 1;
	int r;

	if (fd < 0)
		return fail(-errno, why, why_len, "admin %s: %s", a->text, strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	r = bind(fd, &a->sa, a->len) < 0 ? -errno : listener_start(c, &c->admin, fd);
	if (r < 0)
		return fail(r, why, why_len, "admin %s: %s", a->text, strerror(-r));
	TAKE_FD(fd);
	return 0;
}

static struct ht_ctl *ctl_new(const struct ht_ctl_daemon *d)
{
	struct ht_ctl *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->daemon = d;
	c->control = (struct listener){
		{SOURCE_LISTENER, -1}, .max_peers = CONTROL_PEERS, .answer = control_answer};
	c->admin = (struct listener){
		{SOURCE_LISTENER, -1}, .max_peers = ADMIN_PEERS, .answer = admin_answer};
	for (size_t i = 0; i < HT_ARRAY_SIZE(c->peers); i++)
		c->peers[i].source = (struct source){SOURCE_PEER, -1};
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	c->tick = (struct source){SOURCE_TICK,
				  timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)};
	return c;
}

int ht_ctl_open(struct ht_ctl_daemon *d, struct ht_ctl **ret, char *why, size_t why_len)
{
	struct ht_ctl *c = ctl_new(d);
	int r;

	if (!c)
		return fail(-ENOMEM, why, why_len, "control: out of memory");
	r = c->epoll < 0 || c->tick.fd < 0 ? -errno : watch(c, EPOLL_CTL_ADD, &c->tick, EPOLLIN);
	if (r < 0)
		fail(r, why, why_len, "control: %s", strerror(-r));
	if (r == 0 && d->config->control)
		r = control_open(c, d->config->control, why, why_len);
	if (r == 0 && d->config->admin)
		r = admin_open(c, d->config->admin, why, why_len);
	if (r < 0) {
		ht_ctl_close(c);
		return r;
	}
	*ret = c;
	return 0;
}

void ht_ctl_close(struct ht_ctl *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < HT_ARRAY_SIZE(c->peers); i++)
		if (c->peers[i].source.fd >= 0)
			peer_close(c, &c->peers[i]);
	if (c->control_path)
		unlink(c->control_path);
	free(c->control_path);
	ht_closep(&c->control.source.fd);
	ht_closep(&c->admin.source.fd);
	ht_closep(&c->tick.fd);
	ht_closep(&c->epoll);
	free(c);
}
