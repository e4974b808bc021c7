/* SPDX-License-Identifier: Apache-2.0 */
/* Networks, people and gateways of the guard's tests. */
#include "guard_net.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xdp/libxdp.h>

/* ---- networks ---- */

int net_here = -1, net_there = -1;

/* Words of ip(8). */
static bool ip(const char *words)
{
	struct text out = {0};
	bool done = netns_shell(&out, "ip %s", words);

	if (!done)
		fprintf(stderr, "ip %s: %s\n", words, out.p);
	text_free(&out);
	return done;
}

void net_must(const char *words)
{
	cr_assert(ip(words), "ip %s", words);
}

/* One process for all of these lines. */
static void net_must_all(const char *lines)
{
	struct text out = {0};

	cr_assert(netns_shell(&out, "ip -batch - <<.\n%s.\n", lines), "%s%s", lines, out.p);
	text_free(&out);
}

/* False where the kernel or ip(8) can't. The test is here afterwards. */
bool net_open(void)
{
	char pair[128];

	net_there = netns_new();
	net_here = netns_new();
	cr_assert(net_there >= 0 && net_here >= 0, "%s", strerror(errno));
	snprintf(pair, sizeof(pair), "link add ht0 type veth peer name ht1 netns /proc/%d/fd/%d",
		 getpid(), net_there);
	if (!ip(pair))
		return false;
	net_must_all("link set ht0 up\n"
		     "addr add " HERE "/24 dev ht0\n"
		     "addr add " HERE6 "/64 dev ht0 nodad\n"
		     "route add fd77:1::/64 dev ht0\n"
		     "route add fd77:2::/64 dev ht0\n");
	netns_enter(net_there);
	net_must_all("link set ht1 up\n"
		     "addr add " ATTACKER "/24 dev ht1\n"
		     "addr add " ALICE "/24 dev ht1\n"
		     "addr add " ATTACKER6 "/64 dev ht1 nodad\n"
		     "addr add " ACCOMPLICE6 "/64 dev ht1 nodad\n"
		     "addr add " ALICE6 "/64 dev ht1 nodad\n"
		     "route add fd77::/64 dev ht1\n");
	netns_enter(net_here);
	return true;
}

/*
 * A guard stays on its interface when its daemon stops. With the interface goes what is attached to it,
 * but not what libxdp has pinned where programs share it.
 */
void net_close(void)
{
	struct xdp_multiprog *all;

	if (net_here < 0)
		return;
	netns_enter(net_here);
	all = xdp_multiprog__get_from_ifindex((int)if_nametoindex("ht0"));
	if (!libxdp_get_error(all) && !xdp_multiprog__is_legacy(all))
		cr_expect_eq(xdp_multiprog__detach(all), 0);
	xdp_multiprog__close(all);
}

static bool is_v6(const char *address)
{
	return strchr(address, ':');
}

static const char *here_for(const char *from)
{
	return is_v6(from) ? HERE6 : HERE;
}

/* ---- people ---- */

struct client *come(const char *from, const char *before)
{
	struct client *c;

	netns_enter(net_there);
	c = client_open(&(struct client_options){
		.from = from, .to = here_for(from), .port = PORT, .before = before});
	netns_enter(net_here);
	return c;
}

struct client *come_again(const char *from, const char *before)
{
	struct client *c;

	netns_enter(net_there);
	c = client_try(&(struct client_options){
		.from = from, .to = here_for(from), .port = PORT, .before = before});
	netns_enter(net_here);
	return c;
}

const char *forged(unsigned n)
{
	static char line[160];

	snprintf(line, sizeof(line),
		 "Cookie: sid=forged%u; sid_HMAC=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n",
		 n);
	return line;
}

static const char *signed_for(const char *from)
{
	static char line[160];

	snprintf(line, sizeof(line), "Cookie: sid=mine; sid_HMAC=%s\r\n", token_for("mine", from));
	return line;
}

/* Requests with another forged cookie each, on connections of their own: how many were answered. */
unsigned attack(const char *from, unsigned first, unsigned n)
{
	unsigned answered = 0;

	for (unsigned i = 0; i < n; i++) {
		struct client *c = come(from, NULL);

		answered += client_get(c, "/attack", forged(first + i))->status == 200;
		client_close(c);
	}
	return answered;
}

/* His cookie arrives, whatever happens to others. */
void expect_served(struct client *c, struct backend *be, const char *from)
{
	cr_expect_eq(client_get(c, "/", signed_for(from))->status, 200);
	cr_expect(text_has(backend_last(be)->head, backend_last(be)->head_len, "sid=mine"));
}

/* A connection that is being made: its SYN has left, and leaves again every other second. */
int knock(const char *from)
{
	struct sockaddr_storage a[2] = {0};
	socklen_t len = 0;
	int fd;

	for (int i = 0; i < 2; i++) {
		struct sockaddr_in *in = (struct sockaddr_in *)&a[i];
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a[i];
		const char *text = i ? here_for(from) : from;
		in_port_t port = i ? htons(PORT) : 0;

		if (is_v6(from)) {
			*in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
			cr_assert_eq(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
			len = sizeof(*in6);
		} else {
			*in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
			cr_assert_eq(inet_pton(AF_INET, text, &in->sin_addr), 1);
			len = sizeof(*in);
		}
	}
	netns_enter(net_there);
	fd = socket(a[0].ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	netns_enter(net_here);
	cr_assert_geq(fd, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&a[0], len), 0, "%s", strerror(errno));
	cr_assert(connect(fd, (struct sockaddr *)&a[1], len) && errno == EINPROGRESS, "%s",
		  strerror(errno));
	return fd;
}

bool is_through(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && !(p.revents & (POLLERR | POLLHUP));
}

double dropped(struct gw *gw)
{
	return gw_metric(gw, "hardtack_guard_dropped_total", NULL);
}

/* His packets are seen and dropped. */
void expect_dropped(struct gw *gw, const char *from)
{
	double before = dropped(gw);
	int fd = knock(from);

	cr_expect(e2e_wait(dropped(gw) > before), "nothing of %s is dropped", from);
	cr_expect_not(is_through(fd), "%s came through", from);
	close(fd);
}

/* ---- the gateway ---- */

struct gw *guard_start(struct backend *be, const char *guard)
{
	be->no_record = true;
	return gw_start(be, &(struct gw_spec){.plain_extra = LISTEN, .top = guard});
}

double metric(struct gw *gw, const char *name)
{
	return gw_metric(gw, name, NULL);
}

double bans_made(struct gw *gw)
{
	return gw_metric(gw, "hardtack_guard_bans_total", NULL);
}

bool is_up(struct gw *gw, const char *interface)
{
	char label[64];

	snprintf(label, sizeof(label), "interface=\"%s\"", interface);
	return gw_metric(gw, "hardtack_guard_interface_up", label, NULL) == 1;
}

int guard_ctl(struct gw *gw, struct text *out, const char *const args[])
{
	const char *argv[12] = {run_ctl(), "-s", gw->control, "bans"};
	size_t n = 4;

	for (; *args; args++)
		argv[n++] = *args;
	text_clear(out);
	return run_command(out, argv);
}
