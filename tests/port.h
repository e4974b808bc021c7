/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCP port for whoever is to listen on one under test. Nothing else.
 */
#ifndef HT_TEST_PORT_H
#define HT_TEST_PORT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

/* Does nobody listen there? */
static inline bool port_is_free(in_port_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = port};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	bool bound;

	/* Over TIME_WAIT, but not beside a listener: the daemon's SO_REUSEPORT would be. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	bound = !bind(fd, (struct sockaddr *)&a, sizeof(a)) && !listen(fd, 1);
	close(fd);
	return bound;
}

/*
 * The same port of UDP, which nobody here uses, says whose it is until that process ends: it may take
 * long until somebody listens.
 */
static inline bool port_claim(in_port_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = port};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (!bind(fd, (struct sockaddr *)&a, sizeof(a)) && port_is_free(port))
		return true;
	close(fd);
	return false;
}

/*
 * One that nobody listens on and no other test is about to, or -1. Below those that the kernel gives
 * to clients, of which one might be given to somebody else, or to our own connection to it; and every
 * process begins elsewhere.
 */
static inline int port_pick(void)
{
	static int next;

	if (!next)
		next = 10240 + (getpid() * 61) % 20000;
	for (int tries = 0; tries < 2000; tries++) {
		if (++next > 32000)
			next = 10240;
		if (port_claim(htons((uint16_t)next)))
			return next;
	}
	return -1;
}

#endif
