/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that checks backends: a connection for every check, one GET, the first line of the
 * answer. It never blocks but in poll(), and tells nobody anything but "down" and "up".
 */
#include "health_check.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include "log.h"

enum check_phase { CHECK_NONE, CHECK_CONNECT, CHECK_HANDSHAKE, CHECK_SEND, CHECK_RECEIVE };

/* The check of one place. What stands there may change between two checks. */
struct check {
	struct ht_peers *site;
	struct ht_peer *peer;
	uint32_t gen;	    /* of the peer that the counts are about */
	unsigned good, bad; /* in a row */
	uint64_t next_ms, deadline_ms;
	enum check_phase phase;
	struct ht_source source;
	struct ht_tls tls;
	char text[192]; /* of the peer */
	char out[1024];
	size_t out_len, sent;
	char in[12]; /* "HTTP/1.1 200" */
	size_t in_len;
};

struct ht_checker {
	pthread_t thread;
	int wake; /* eventfd */
	size_t n;
	struct check *check;
	struct pollfd *fds; /* n + 1 */
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- what comes of a check ---- */

static void check_close(struct check *c)
{
	ht_tls_close(&c->tls);
	if (c->source.fd >= 0)
		close(c->source.fd);
	c->source.fd = -1;
	c->phase = CHECK_NONE;
}

static void check_good(struct check *c)
{
	check_close(c);
	c->bad = 0;
	c->good++;
	if (!atomic_load(&c->peer->down) || c->good < c->site->site->check.rise)
		return;
	atomic_store(&c->peer->down, false);
	ht_log(LOG_NOTICE, "msg=\"backend is up\" upstream=%s", c->text);
}

static void check_bad(struct check *c, const char *why)
{
	check_close(c);
	c->good = 0;
	c->bad++;
	if (atomic_load(&c->peer->down) || c->bad < c->site->site->check.fall)
		return;
	atomic_store(&c->peer->down, true);
	ht_log(LOG_WARNING, "msg=\"backend is down\" upstream=%s reason=\"%s\"", c->text, why);
}

/* ---- one check ---- */

/* The name to ask for: the site's first, unless that stands for many. */
static const char *check_host(const struct check *c)
{
	const char *host = c->site->site->hosts[0];

	if (*host != '*')
		return host;
	return c->peer->config->host ? c->peer->config->host : "localhost";
}

static int check_socket(struct check *c, const struct ht_addr *a)
{
	int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	c->source = (struct ht_source){.fd = fd};
	if (fd < 0)
		return -errno;
	return connect(fd, &a->sa, a->len) && errno != EINPROGRESS ? -errno : 0;
}

static void check_begin(struct check *c, uint64_t now)
{
	const struct ht_check_config *config = &c->site->site->check;
	const struct ht_upstream_config *u;
	struct ht_addr addr;
	uint32_t gen;
	const char *host;
	int err;

	c->next_ms = now + config->every;
	pthread_mutex_lock(&c->site->lock);
	gen = atomic_load(&c->peer->gen);
	addr = c->peer->addr;
	u = c->peer->config;
	memcpy(c->text, c->peer->text, sizeof(c->text));
	host = gen ? check_host(c) : "";
	pthread_mutex_unlock(&c->site->lock);
	if (!gen)
		return;
	if (gen != c->gen)
		c->good = c->bad = 0;
	c->gen = gen;
	c->deadline_ms = now + config->timeout;
	c->sent = c->in_len = 0;
	c->out_len = (size_t)snprintf(c->out, sizeof(c->out),
				      strchr(host, ':') ? "GET %s HTTP/1.1\r\nHost: [%s]\r\n%s"
							: "GET %s HTTP/1.1\r\nHost: %s\r\n%s",
				      config->path, host,
				      "User-Agent: hardtack-health-check\r\n"
				      "Accept: */*\r\nConnection: close\r\n\r\n");
	if (c->out_len >= sizeof(c->out)) {
		check_bad(c, "the path is too long");
		return;
	}
	err = check_socket(c, &addr);
	if (!err && u->tls)
		err = ht_tls_connect(&c->tls, c->site->tls, &c->source, NULL, u->host);
	if (err)
		check_bad(c, strerror(-err));
	else
		c->phase = CHECK_CONNECT;
}

static void check_connected(struct check *c)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(c->source.fd, SOL_SOCKET, SO_ERROR, &err, &len))
		err = errno;
	if (err)
		check_bad(c, strerror(err));
	else
		c->phase = c->tls.ssl ? CHECK_HANDSHAKE : CHECK_SEND;
}

static bool check_handshake(struct check *c)
{
	const char *why;
	int err = ht_tls_handshake(&c->tls, &why);

	if (err == -EAGAIN)
		return false;
	if (err)
		check_bad(c, why);
	else
		c->phase = CHECK_SEND;
	return true;
}

static bool check_send(struct check *c)
{
	const char *at = c->out + c->sent;
	size_t len = c->out_len - c->sent;
	ssize_t n;

	if (c->tls.ssl) {
		n = ht_tls_write(&c->tls, at, len);
	} else {
		n = send(c->source.fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0)
			n = -errno;
	}
	if (n == -EAGAIN) {
		c->source.writable = false;
		return false;
	}
	if (n < 0) {
		check_bad(c, strerror((int)-n));
		return true;
	}
	c->sent += (size_t)n;
	if (c->sent == c->out_len)
		c->phase = CHECK_RECEIVE;
	return true;
}

/* "HTTP/1.1 200" */
static void check_status(struct check *c)
{
	uint32_t want = c->site->site->check.status, status = 0;
	char why[64];

	for (size_t i = 9; i < sizeof(c->in); i++)
		status = c->in[i] >= '0' && c->in[i] <= '9'
				 ? status * 10 + (uint32_t)(c->in[i] - '0')
				 : 0;
	if (memcmp(c->in, "HTTP/1.", 7) || c->in[8] != ' ')
		status = 0;
	if (status == want) {
		check_good(c);
		return;
	}
	snprintf(why, sizeof(why), status ? "status %u" : "no HTTP", status);
	check_bad(c, why);
}

static bool check_receive(struct check *c)
{
	char *to = c->in + c->in_len;
	size_t room = sizeof(c->in) - c->in_len;
	ssize_t n;

	if (c->tls.ssl) {
		n = ht_tls_read(&c->tls, to, room);
	} else {
		n = recv(c->source.fd, to, room, MSG_DONTWAIT);
		if (n < 0)
			n = -errno;
	}
	if (n == -EAGAIN) {
		c->source.readable = false;
		return false;
	}
	if (n <= 0) {
		check_bad(c, n ? strerror((int)-n) : "no answer");
		return true;
	}
	c->in_len += (size_t)n;
	if (c->in_len == sizeof(c->in))
		check_status(c);
	return true;
}

/* True if there may be more to do at once. */
static bool check_step(struct check *c)
{
	switch (c->phase) {
	case CHECK_CONNECT:
		if (!c->source.writable)
			return false;
		check_connected(c);
		return true;
	case CHECK_HANDSHAKE:
		return check_handshake(c);
	case CHECK_SEND:
		return c->source.writable && check_send(c);
	case CHECK_RECEIVE:
		return check_receive(c);
	default:
		return false;
	}
}

/* ---- all of them ---- */

/* What poll() is to wait for. Level-triggered: only what is missing. */
static short check_events(const struct check *c)
{
	switch (c->phase) {
	case CHECK_CONNECT:
	case CHECK_SEND:
		return POLLOUT;
	case CHECK_HANDSHAKE: /* the library says which by what it clears */
		return c->source.writable ? POLLIN : POLLOUT;
	default:
		return POLLIN;
	}
}

static int checker_patience(const struct ht_checker *k, uint64_t now)
{
	uint64_t next = now + 60000;

	for (size_t i = 0; i < k->n; i++)
		next = HT_MIN(next,
			      k->check[i].phase ? k->check[i].deadline_ms : k->check[i].next_ms);
	return next <= now ? 0 : (int)(next - now);
}

static void checker_round(struct ht_checker *k)
{
	uint64_t now = now_ms();

	for (size_t i = 0; i < k->n; i++) {
		struct check *c = &k->check[i];
		short events = k->fds[i].revents;

		if (c->phase && events) {
			c->source.readable |= !!(events & (POLLIN | POLLERR | POLLHUP));
			c->source.writable |= !!(events & (POLLOUT | POLLERR | POLLHUP));
			c->source.hup |= !!(events & POLLHUP);
			while (check_step(c))
				;
		}
		if (c->phase && c->deadline_ms <= now)
			check_bad(c, "timed out");
		if (!c->phase && c->next_ms <= now)
			check_begin(c, now);
		k->fds[i] = (struct pollfd){.fd = c->phase ? c->source.fd : -1,
					    .events = check_events(c)};
	}
}

static void *checker_main(void *arg)
{
	struct ht_checker *k = arg;

	pthread_setname_np(pthread_self(), "checker");
	k->fds[k->n] = (struct pollfd){.fd = k->wake, .events = POLLIN};
	while (!k->fds[k->n].revents) {
		checker_round(k);
		if (poll(k->fds, k->n + 1, checker_patience(k, now_ms())) < 0)
			k->fds[k->n].revents = 0;
	}
	for (size_t i = 0; i < k->n; i++)
		check_close(&k->check[i]);
	return NULL;
}

static void checker_free(struct ht_checker *k)
{
	if (k->wake >= 0)
		close(k->wake);
	free(k->check);
	free(k->fds);
	free(k);
}

static size_t count_checks(const struct ht_peers *sites, size_t nsites)
{
	size_t n = 0;

	for (size_t i = 0; i < nsites; i++)
		n += sites[i].site->check.path ? sites[i].n : 0;
	return n;
}

static void checker_fill(struct ht_checker *k, struct ht_peers *sites, size_t nsites)
{
	for (size_t i = 0; i < nsites; i++) {
		for (size_t j = 0; sites[i].site->check.path && j < sites[i].n; j++)
			k->check[k->n++] = (struct check){
				.site = &sites[i], .peer = &sites[i].peer[j], .source.fd = -1};
	}
}

int ht_checker_start(struct ht_peers *sites, size_t nsites, struct ht_checker **ret)
{
	size_t n = count_checks(sites, nsites);
	struct ht_checker *k;
	int err = ENOMEM;

	if (!n)
		return 0;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	k->check = calloc(n, sizeof(*k->check));
	k->fds = calloc(n + 1, sizeof(*k->fds));
	if (k->wake >= 0 && k->check && k->fds) {
		checker_fill(k, sites, nsites);
		err = pthread_create(&k->thread, NULL, checker_main, k);
	}
	if (err)
		checker_free(k);
	else
		*ret = k;
	return -err;
}

void ht_checker_stop(struct ht_checker *k)
{
	uint64_t one = 1;

	if (!k)
		return;
	if (write(k->wake, &one, sizeof(one)) < 0)
		ht_log(LOG_ERR, "msg=\"eventfd\" error=\"%s\"", strerror(errno));
	pthread_join(k->thread, NULL);
	checker_free(k);
}
