/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real memcached under test: started on a port of its own, asked, killed. It dies with the process
 * that started it, however that dies. Fails the running Criterion test when it can't be had.
 */
#ifndef HT_TEST_MEMCACHED_H
#define HT_TEST_MEMCACHED_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "port.h"

struct memcached {
	const char *address; /* NULL = 127.0.0.1 */
	int port;	     /* 0 = one is picked at the first start, and kept */
	pid_t pid;
};

static inline const char *memcached_address(const struct memcached *m)
{
	return m->address ? m->address : "127.0.0.1";
}

/* -1 if it does not listen. */
static inline int memcached_connect(const struct memcached *m)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)m->port),
				.sin_addr.s_addr = inet_addr(memcached_address(m))};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return fd;
	close(fd);
	return -1;
}

static inline void memcached_run(const struct memcached *m, pid_t parent)
{
	char port[16];

	snprintf(port, sizeof(port), "%d", m->port);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	/* it must stay who it is: the kernel forgets what we asked for when it becomes another */
	execlp("memcached", "memcached", "-u", "root", "-l", memcached_address(m), "-p", port, "-t",
	       "1", "-m", "4", "-o", "no_lru_maintainer,no_lru_crawler", (char *)NULL);
	_exit(127);
}

static inline void memcached_start(struct memcached *m)
{
	pid_t parent = getpid();
	int fd = -1;

	if (!m->port)
		m->port = port_pick();
	m->pid = fork();
	cr_assert_geq(m->pid, 0);
	if (!m->pid)
		memcached_run(m, parent);
	for (int i = 0; i < 6000 && fd < 0; i++) {
		fd = memcached_connect(m);
		if (fd < 0)
			nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	}
	cr_assert(fd >= 0, "memcached does not start");
	close(fd);
	cr_assert_eq(waitpid(m->pid, NULL, WNOHANG), 0, "port %d is somebody else's", m->port);
}

static inline void memcached_kill(struct memcached *m)
{
	if (m->pid > 0) {
		kill(m->pid, SIGCONT);
		kill(m->pid, SIGKILL);
		waitpid(m->pid, NULL, 0);
	}
	m->pid = 0;
}

/* One request without its last line's end, and what it says. The thread's, until the next one. */
static inline __attribute__((format(printf, 2, 3))) const char *
memcached_say(const struct memcached *m, const char *fmt, ...)
{
	static __thread char answer[16384];
	char text[1024];
	int fd = memcached_connect(m), len;
	size_t n = 0;
	va_list ap;

	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text) - 8, fmt, ap);
	va_end(ap);
	cr_assert(fd >= 0 && len < (int)sizeof(text) - 8);
	len += snprintf(text + len, 9, "\r\nquit\r\n");
	cr_assert_eq(send(fd, text, (size_t)len, MSG_NOSIGNAL), len);
	for (ssize_t got;
	     n < sizeof(answer) - 1 && (got = recv(fd, answer + n, sizeof(answer) - 1 - n, 0)) > 0;)
		n += (size_t)got;
	answer[n] = 0;
	close(fd);
	return answer;
}

static inline void memcached_put(const struct memcached *m, const char *name, const char *value)
{
	const char *a = memcached_say(m, "set %s 0 0 %zu\r\n%s", name, strlen(value), value);

	cr_assert_eq(strncmp(a, "STORED", 6), 0, "%s", a);
}

/* "" if there is none. The thread's, until the next one. */
static inline const char *memcached_get(const struct memcached *m, const char *name)
{
	static __thread char value[1024];
	const char *a = memcached_say(m, "get %s", name), *line = strstr(a, "\r\n");
	bool found = !strncmp(a, "VALUE ", 6) && line;

	snprintf(value, sizeof(value), "%.*s", found ? (int)strcspn(line + 2, "\r") : 0,
		 found ? line + 2 : "");
	return value;
}

#endif
