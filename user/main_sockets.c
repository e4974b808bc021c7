/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets that were there before us: a service manager keeps them open over a restart, so
 * that no connection is refused or lost in between. They are shared by the workers and never
 * closed to new connections by us.
 */
#include "main.h"

#include <fcntl.h>

#define LISTEN_FDS_START 3

/* How many there are for this process; the variables are not for our children. */
static int count_handed_over(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	int n = 0;

	if (pid && fds && strtol(pid, NULL, 10) == getpid())
		n = atoi(fds);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return n;
}

static bool addr_equal(const struct ht_addr *a, const struct ht_addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	switch (a->sa.sa_family) {
	case AF_INET:
		return a->in.sin_port == b->in.sin_port &&
		       a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	case AF_INET6:
		return a->in6.sin6_port == b->in6.sin6_port &&
		       !memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr));
	case AF_UNIX:
		return !strcmp(a->un.sun_path, b->un.sun_path);
	default:
		return false;
	}
}

static int is_listening(int fd)
{
	int type = 0, listening = 0;
	socklen_t len = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len))
		return 0;
	return type == SOCK_STREAM && listening;
}

static struct ht_listener *find_listener(struct ht_gateway *g, int fd)
{
	struct ht_addr a = {.len = sizeof(a.un)};

	/* a union of addresses: the longest of them is a unix one */
	if (!is_listening(fd) || getsockname(fd, &a.sa, &a.len))
		return NULL;
	for (size_t i = 0; i < g->config->nlisteners; i++) {
		struct ht_listener *l = &g->listeners[i];

		if (l->shared_fd < 0 && addr_equal(&l->config->addr, &a))
			return l;
	}
	return NULL;
}

static void take_one(struct ht_gateway *g, int fd)
{
	struct ht_listener *l = find_listener(g, fd);

	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (!l) {
		ht_log(LOG_WARNING,
		       "msg=\"a socket was handed over that no listener is for\" fd=%d", fd);
		close(fd);
		return;
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	l->shared_fd = fd;
	l->handed_over = true;
	if (l->config->addr.sa.sa_family == AF_INET)
		l->port = ntohs(l->config->addr.in.sin_port);
	else if (l->config->addr.sa.sa_family == AF_INET6)
		l->port = ntohs(l->config->addr.in6.sin6_port);
}

void ht_daemon_take_sockets(struct ht_gateway *g)
{
	int n = count_handed_over();

	for (int i = 0; i < n; i++)
		take_one(g, LISTEN_FDS_START + i);
	for (size_t i = 0; n > 0 && i < g->config->nlisteners; i++) {
		if (!g->listeners[i].handed_over)
			ht_log(LOG_WARNING,
			       "msg=\"no socket was handed over for a listener; it opens its own\" "
			       "listener=%s",
			       g->config->listeners[i].addr.text);
	}
}
