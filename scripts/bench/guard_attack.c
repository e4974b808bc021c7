/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The attacker of `make bench-guard`: requests with a forged cookie each, no two the same, on
 * connections that he keeps as long as he is let and makes anew when he is not; or, with --flood,
 * nothing but SYNs. As fast as he gets CPU. Prints one JSON object. One thread, bounded in time;
 * talks to private addresses only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ULL
#define CONNS_MAX 4096
#define BATCH 64
#define KNOCK_NS (SECOND / 1000) /* a SYN that was not answered by now is not going to be */
#define WAIT_NS (SECOND / 2)	 /* nor a request */

static struct {
	struct sockaddr_in from, to;
	size_t conns, keep; /* keep: those that are used while he is let in */
	double seconds;
	bool flood;
} opt = {.conns = 512, .keep = 64, .seconds = 5};

enum state { CLOSED, CONNECTING, BUSY };

struct conn {
	int fd;
	enum state state;
	uint64_t since_ns;
	size_t head_len;
	uint64_t left; /* of the body; 0 = the head is not there yet */
	char head[1024];
};

static struct conn *conns;
static int ep;
static volatile sig_atomic_t stop;
static struct {
	uint64_t connects, opened, requests, answered, refused, given_up, packets;
} out;

static void die(const char *what)
{
	fprintf(stderr, "guard_attack: %s\n", what);
	exit(2);
}

static void on_signal(int signo)
{
	(void)signo;
	stop = 1;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

/* ---- requests ---- */

static void conn_close(struct conn *c)
{
	if (c->state != CLOSED)
		close(c->fd);
	c->state = CLOSED;
}

static void conn_open(struct conn *c)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket: too few file descriptors?");
	c->state = CONNECTING;
	c->since_ns = now_ns();
	out.connects++;
	if ((connect(c->fd, (struct sockaddr *)&opt.to, sizeof(opt.to)) && errno != EINPROGRESS) ||
	    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e))
		conn_close(c);
}

/* Another session and another token each time. */
static void conn_send(struct conn *c)
{
	static uint64_t salt;
	char text[512];
	int len;

	if (!salt)
		salt = now_ns();
	out.requests++;
	len = snprintf(text, sizeof(text),
		       "GET /200 HTTP/1.1\r\nHost: shop.example.com\r\n"
		       "Cookie: sid=%024llu; sid_HMAC=%043llu=\r\n\r\n",
		       (unsigned long long)(salt + out.requests),
		       (unsigned long long)(out.requests * 2654435761ULL));
	c->state = BUSY;
	c->since_ns = now_ns();
	c->head_len = 0;
	c->left = 0;
	if (send(c->fd, text, (size_t)len, MSG_NOSIGNAL) != len) {
		out.refused++;
		conn_close(c);
	}
}

/* True once the answer is complete; false with the connection closed if it never will be. */
static bool conn_take(struct conn *c, const char *data, size_t n)
{
	size_t room = sizeof(c->head) - 1 - c->head_len, part = n < room ? n : room;
	char *end, *length;

	if (c->left) {
		c->left -= n < c->left ? n : c->left;
		return !c->left;
	}
	memcpy(c->head + c->head_len, data, part);
	c->head_len += part;
	c->head[c->head_len] = 0;
	end = strstr(c->head, "\r\n\r\n");
	length = end ? strcasestr(c->head, "\r\ncontent-length:") : NULL;
	if (!end)
		return false;
	c->left = length ? strtoull(length + 17, NULL, 10) : 0;
	n = c->head_len - (size_t)(end + 4 - c->head);
	c->left -= n < c->left ? n : c->left;
	return !c->left;
}

static void conn_read(struct conn *c)
{
	char buf[4096];
	ssize_t n;

	while (c->state == BUSY) {
		n = recv(c->fd, buf, sizeof(buf), 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			out.refused++;
			conn_close(c);
			return;
		}
		if (conn_take(c, buf, (size_t)n)) {
			out.answered++;
			conn_send(c);
		}
	}
}

static void on_event(struct conn *c, uint32_t events)
{
	if (c->state == CONNECTING && events & (EPOLLERR | EPOLLHUP)) {
		out.refused++;
		conn_close(c);
	} else if (c->state == CONNECTING && events & EPOLLOUT) {
		out.opened++;
		conn_send(c);
	}
	if (c->state == BUSY && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		conn_read(c);
}

/* Whoever is not answered tries anew; whoever is let in does not need more connections. */
static void renew(void)
{
	const uint64_t now = now_ns();
	size_t used = 0;

	for (size_t i = 0; i < opt.conns && used < opt.keep; i++) {
		struct conn *c = &conns[i];
		uint64_t patience = c->state == BUSY ? WAIT_NS : KNOCK_NS;

		if (c->state != CLOSED && now - c->since_ns > patience) {
			out.given_up++;
			conn_close(c);
		}
		if (c->state == CLOSED)
			conn_open(c);
		used += c->state == BUSY;
	}
}

static void attack(uint64_t end_ns)
{
	struct epoll_event ev[256];

	ep = epoll_create1(EPOLL_CLOEXEC);
	conns = calloc(opt.conns, sizeof(*conns));
	if (ep < 0 || !conns)
		die("out of memory");
	while (!stop && now_ns() < end_ns) {
		int n = epoll_wait(ep, ev, 256, 0);

		for (int i = 0; i < n; i++)
			on_event(ev[i].data.ptr, ev[i].events);
		renew();
	}
}

/* ---- packets ---- */

static uint16_t checksum(const void *bytes, size_t len, uint32_t sum)
{
	const uint16_t *word = bytes;

	for (size_t i = 0; i < len / 2; i++)
		sum += word[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void flood(uint64_t end_ns)
{
	const struct {
		struct in_addr from, to;
		uint16_t proto, len;
	} pseudo = {opt.from.sin_addr, opt.to.sin_addr, htons(IPPROTO_TCP),
		    htons(sizeof(struct tcphdr))};
	struct tcphdr syn = {.source = htons(40000),
			     .dest = opt.to.sin_port,
			     .doff = 5,
			     .syn = 1,
			     .window = htons(64240)};
	struct iovec iov = {&syn, sizeof(syn)};
	struct mmsghdr batch[BATCH] = {0};
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP);

	syn.check = checksum(&syn, sizeof(syn), (uint16_t)~checksum(&pseudo, sizeof(pseudo), 0));
	if (fd < 0 || bind(fd, (struct sockaddr *)&opt.from, sizeof(opt.from)))
		die(strerror(errno));
	for (size_t i = 0; i < BATCH; i++)
		batch[i].msg_hdr = (struct msghdr){.msg_name = &opt.to,
						   .msg_namelen = sizeof(opt.to),
						   .msg_iov = &iov,
						   .msg_iovlen = 1};
	while (!stop && now_ns() < end_ns) {
		int n = sendmmsg(fd, batch, BATCH, 0);

		out.packets += n > 0 ? (uint64_t)n : 0;
	}
	close(fd);
}

/* ---- options ---- */

static void usage(void)
{
	die("guard_attack --from A --to A:PORT [--seconds S] [--connections N] [--flood]");
}

/* Of 10.0.0.0/8, or loopback. */
static void parse(char *text, struct sockaddr_in *ret)
{
	char *colon = strrchr(text, ':');
	unsigned net;

	if (colon)
		*colon = 0;
	ret->sin_family = AF_INET;
	ret->sin_port = htons((uint16_t)(colon ? atoi(colon + 1) : 0));
	if (inet_pton(AF_INET, text, &ret->sin_addr) != 1)
		usage();
	net = ntohl(ret->sin_addr.s_addr) >> 24;
	if (net != 10 && net != IN_LOOPBACKNET)
		die("an address of 10.0.0.0/8");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"from", 1, NULL, 'f'},	       {"to", 1, NULL, 't'},	{"seconds", 1, NULL, 's'},
		{"connections", 1, NULL, 'c'}, {"flood", 0, NULL, 'F'}, {NULL, 0, NULL, 0},
	};
	uint64_t start_ns, took_ns;
	struct rusage use;
	double cpu_s;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 'f')
			parse(optarg, &opt.from);
		else if (o == 't')
			parse(optarg, &opt.to);
		else if (o == 's')
			opt.seconds = atof(optarg);
		else if (o == 'c')
			opt.conns = strtoul(optarg, NULL, 10);
		else if (o == 'F')
			opt.flood = true;
		else
			usage();
	}
	if (!opt.to.sin_port || !opt.from.sin_family || optind < argc || !opt.conns ||
	    opt.conns > CONNS_MAX || opt.seconds > 600)
		usage();
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	start_ns = now_ns();
	(opt.flood ? flood : attack)(start_ns + (uint64_t)(opt.seconds * 1e9));
	took_ns = now_ns() - start_ns;
	getrusage(RUSAGE_SELF, &use);
	cpu_s = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
		(double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
	printf("{\"seconds\": %.3f, \"cpu_s\": %.3f, \"connects\": %llu, \"opened\": %llu, "
	       "\"requests\": %llu, \"answered\": %llu, \"refused\": %llu, \"given_up\": %llu, "
	       "\"packets\": %llu}\n",
	       (double)took_ns / 1e9, cpu_s, (unsigned long long)out.connects,
	       (unsigned long long)out.opened, (unsigned long long)out.requests,
	       (unsigned long long)out.answered, (unsigned long long)out.refused,
	       (unsigned long long)out.given_up, (unsigned long long)out.packets);
	return 0;
}
