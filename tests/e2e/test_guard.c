/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who keeps forging is dropped and nobody else is: two networks joined by a veth pair, the gateway
 * and its backend in the one, in the other an attacker and his neighbours with addresses of their
 * own. That something is dropped is told by the guard's counter, never by waiting for nothing.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

TestSuite(guard, .timeout = E2E_TIMEOUT);

#define PORT 8080
#define HERE "10.77.0.1"
#define ATTACKER "10.77.0.66"
#define ALICE "10.77.0.3"
#define HERE6 "fd77::1"
#define ATTACKER6 "fd77:1::66"
#define ACCOMPLICE6 "fd77:1::67" /* of the same /64 */
#define ALICE6 "fd77:2::3"
#define LISTEN                                                                                     \
	"  - address: " HERE ":8080\n"                                                             \
	"  - address: \"[" HERE6 "]:8080\"\n"

/* ---- networks ---- */

static int here = -1, there = -1; /* namespaces */

static void go(int ns)
{
	cr_assert_eq(setns(ns, CLONE_NEWNET), 0, "%s", strerror(errno));
}

static int own_namespace(void)
{
	const char *const up[] = {"ip", "link", "set", "lo", "up", NULL};
	int fd;

	cr_assert_eq(unshare(CLONE_NEWNET), 0, "%s", strerror(errno));
	cr_assert_eq(run_command(NULL, up), 0);
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	return fd;
}

/* Words separated by blanks. */
static int ip(const char *words)
{
	const char *argv[24] = {"ip"};
	char copy[256], *save, *word;
	struct text out = {0};
	size_t n = 1;
	int code;

	snprintf(copy, sizeof(copy), "%s", words);
	for (word = strtok_r(copy, " ", &save); word && n < 23; word = strtok_r(NULL, " ", &save))
		argv[n++] = word;
	code = run_command(&out, argv);
	if (code)
		fprintf(stderr, "ip %s: %s\n", words, out.p);
	text_free(&out);
	return code;
}

static void must(const char *words)
{
	cr_assert_eq(ip(words), 0, "ip %s", words);
}

/* False where the kernel or ip(8) can't. The test is here afterwards. */
static bool net_open(void)
{
	char move[128];

	there = own_namespace();
	here = own_namespace();
	if (ip("link add ht0 type veth peer name ht1"))
		return false;
	snprintf(move, sizeof(move), "link set ht1 netns /proc/%d/fd/%d", getpid(), there);
	if (ip(move))
		return false;
	must("addr add " HERE "/24 dev ht0");
	must("addr add " HERE6 "/64 dev ht0 nodad");
	must("link set ht0 up");
	go(there);
	must("addr add " ATTACKER "/24 dev ht1");
	must("addr add " ALICE "/24 dev ht1");
	must("addr add " ATTACKER6 "/64 dev ht1 nodad");
	must("addr add " ACCOMPLICE6 "/64 dev ht1 nodad");
	must("addr add " ALICE6 "/64 dev ht1 nodad");
	must("link set ht1 up");
	must("-6 route add fd77::/64 dev ht1");
	go(here);
	must("-6 route add fd77:1::/64 dev ht0");
	must("-6 route add fd77:2::/64 dev ht0");
	return true;
}

#define need_net()                                                                                 \
	do {                                                                                       \
		e2e_need_gate();                                                                   \
		if (!run_have_bpf())                                                               \
			e2e_skip("BPF can't be had here");                                         \
		if (!net_open())                                                                   \
			e2e_skip("no veth pairs here");                                            \
	} while (0)

static bool is_v6(const char *address)
{
	return strchr(address, ':');
}

static const char *here_for(const char *from)
{
	return is_v6(from) ? HERE6 : HERE;
}

/* ---- people ---- */

static struct client *come(const char *from, const char *before)
{
	struct client *c;

	go(there);
	c = client_open(&(struct client_options){
		.from = from, .to = here_for(from), .port = PORT, .before = before});
	go(here);
	return c;
}

static struct client *come_again(const char *from, const char *before)
{
	struct client *c;

	go(there);
	c = client_try(&(struct client_options){
		.from = from, .to = here_for(from), .port = PORT, .before = before});
	go(here);
	return c;
}

static const char *forged(unsigned n)
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
static unsigned attack(const char *from, unsigned first, unsigned n)
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
static void expect_served(struct client *c, struct backend *be, const char *from)
{
	cr_expect_eq(client_get(c, "/", signed_for(from))->status, 200);
	cr_expect(text_has(backend_last(be)->head, backend_last(be)->head_len, "sid=mine"));
}

/* A connection that is being made: its SYN has left, and leaves again every other second. */
static int knock(const char *from)
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
	go(there);
	fd = socket(a[0].ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	go(here);
	cr_assert_geq(fd, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&a[0], len), 0, "%s", strerror(errno));
	cr_assert(connect(fd, (struct sockaddr *)&a[1], len) && errno == EINPROGRESS, "%s",
		  strerror(errno));
	return fd;
}

static bool is_through(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && !(p.revents & (POLLERR | POLLHUP));
}

static double dropped(struct gw *gw)
{
	return gw_metric(gw, "hardtack_guard_dropped_total", NULL);
}

/* His packets are seen and dropped. */
static void expect_dropped(struct gw *gw, const char *from)
{
	double before = dropped(gw);
	int fd = knock(from);

	cr_expect(e2e_wait(dropped(gw) > before), "nothing of %s is dropped", from);
	cr_expect_not(is_through(fd), "%s came through", from);
	close(fd);
}

/* ---- the gateway ---- */

#define GUARD(rest) "guard: { interface: ht0, mode: drop, forged: 5, per: 10m, " rest " }\n"

static struct gw *start(struct backend *be, const char *guard)
{
	be->no_record = true;
	return gw_start(be, &(struct gw_spec){.plain_extra = LISTEN, .top = guard});
}

static double metric(struct gw *gw, const char *name)
{
	return gw_metric(gw, name, NULL);
}

static double bans_made(struct gw *gw)
{
	return gw_metric(gw, "hardtack_guard_bans_total", NULL);
}

static int ctl(struct gw *gw, struct text *out, const char *const args[])
{
	const char *argv[12] = {run_ctl(), "-s", gw->control, "bans"};
	size_t n = 4;

	for (; *args; args++)
		argv[n++] = *args;
	text_clear(out);
	return run_command(out, argv);
}

#define CTL(gw, out, ...) ctl(gw, out, (const char *const[]){__VA_ARGS__, NULL})

/* ---- tests ---- */

static void one_attacker(const char *attacker, const char *alice)
{
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, GUARD("ban: 1h"));
	struct client *open = come(alice, NULL);

	for (int i = 0; i < 20; i++)
		expect_served(open, be, alice);
	cr_expect_eq(attack(attacker, 0, 5), 5, "whoever is not banned yet is answered");
	cr_expect_eq(bans_made(gw), 1);
	expect_dropped(gw, attacker);
	for (int i = 0; i < 100; i++) {
		struct client *fresh = i % 10 ? NULL : come(alice, NULL);

		expect_served(open, be, alice);
		if (fresh)
			expect_served(fresh, be, alice);
		client_close(fresh);
	}
	client_close(open);
	cr_expect_eq(metric(gw, "hardtack_guard_forged_total"), 5);
	cr_expect_eq(metric(gw, "hardtack_guard_bans"), 1);
	cr_expect(gw_logged(gw, "msg=\"source banned\""));
	cr_expect(gw_logged(gw, "interface=ht0 xdp=native"));
	gw_stop(gw);
	backend_stop(be);
}

Test(guard, an_attacker_is_dropped_and_his_neighbour_loses_nothing)
{
	need_net();
	one_attacker(ATTACKER, ALICE);
}

Test(guard, over_ipv6_too)
{
	need_net();
	one_attacker(ATTACKER6, ALICE6);
}

Test(guard, an_ipv6_prefix_is_one_source)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, GUARD("ban: 1h"));
	struct client *c;

	attack(ATTACKER6, 0, 3);
	attack(ACCOMPLICE6, 3, 2);
	expect_dropped(gw, ATTACKER6);
	expect_dropped(gw, ACCOMPLICE6);
	c = come(ALICE6, NULL);
	expect_served(c, be, ALICE6);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* One connection that he keeps: it is told to close, and its packets go nowhere. */
Test(guard, on_one_connection_too)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, GUARD("ban: 1h"));
	struct client *c = come(ATTACKER, NULL);
	struct response *r = NULL;

	for (unsigned i = 0; i < 5; i++) {
		r = client_get(c, "/", forged(i));
		cr_assert_eq(r->status, 200);
	}
	cr_expect_str_eq(response_field(r, "Connection", 0), "close");
	expect_dropped(gw, ATTACKER);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(guard, report_drops_nothing)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, "guard: { interface: [ht0], ban: 1h }\n"); /* report by default */

	cr_expect_eq(attack(ATTACKER, 0, 40), 40);
	cr_expect_eq(gw_metric(gw, "hardtack_guard_bans_total", "mode=\"report\"", NULL), 1);
	cr_expect_eq(gw_metric(gw, "hardtack_guard_bans_total", "mode=\"drop\"", NULL), 0);
	cr_expect_gt(metric(gw, "hardtack_guard_would_drop_total"), 35);
	cr_expect_gt(gw_metric(gw, "hardtack_guard_refused_total", "mode=\"report\"", NULL), 35);
	cr_expect_eq(gw_metric(gw, "hardtack_guard_refused_total", "mode=\"drop\"", NULL), 0);
	cr_expect_eq(dropped(gw), 0);
	cr_expect(gw_logged(gw, "msg=\"source would be banned\""));
	gw_stop(gw);
	backend_stop(be);
}

/* A browser with a stale cookie: six connections, sixty objects. */
Test(guard, a_page_of_sixty_objects_with_one_stale_cookie_is_no_attack)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, GUARD("ban: 1h"));
	struct client *c[6];

	for (int i = 0; i < 6; i++)
		c[i] = come(ALICE, NULL);
	for (int i = 0; i < 60; i++)
		cr_expect_eq(client_get(c[i % 6], "/object", forged(1))->status, 200);
	for (int i = 0; i < 6; i++)
		client_close(c[i]);
	cr_expect_eq(metric(gw, "hardtack_guard_forged_total"), 60);
	cr_expect_eq(bans_made(gw), 0);
	c[0] = come(ALICE, NULL);
	expect_served(c[0], be, ALICE);
	client_close(c[0]);
	gw_stop(gw);
	backend_stop(be);
}

/* A phone that has moved to another address, and all cookies of a site with it. */
Test(guard, many_stale_cookies_of_one_request_are_one)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct text fields = {0};
	struct client *c;
	struct gw *gw = gw_start(be,
				 &(struct gw_spec){.plain_extra = LISTEN,
						   .cookies = "[ { all: true, profile: proxysg, "
							      "key: shop, bind: [client-ip] } ]",
						   .top = GUARD("ban: 1h")});

	text_addf(&fields, "Cookie: a=1; BCSIG_a=x");
	for (int i = 0; i < 7; i++)
		text_addf(&fields, "; b%d=1; BCSIG_b%d=x", i, i);
	text_addf(&fields, "\r\n");
	c = come(ALICE, NULL);
	for (int i = 0; i < 10; i++)
		cr_expect_eq(client_get(c, "/object", fields.p)->status, 200);
	cr_expect_eq(gw_verdicts(gw, "forged", "strip"), 80);
	cr_expect_eq(metric(gw, "hardtack_guard_forged_total"), 10);
	cr_expect_eq(bans_made(gw), 0);
	client_close(c);
	text_free(&fields);
	gw_stop(gw);
	backend_stop(be);
}

Test(guard, only_forged_ones_of_rules_that_enforce_are_scored)
{
	need_net();
	struct backend *be = backend_start(NULL);
	char future[64], line[512];
	struct client *c;
	struct gw *gw;

	be->no_record = true;
	snprintf(future, sizeof(future), "%d-01-01", 2100);
	snprintf(line, sizeof(line),
		 "[ { name: sid, profile: f5-irule, key: shop, bind: [client-ip] }, "
		 "{ name: seen, profile: f5-irule, key: shop, bind: [client-ip], mode: report }, "
		 "{ name: soon, profile: f5-irule, key: shop, bind: [client-ip], enforce-after: %s "
		 "} "
		 "]",
		 future);
	gw = gw_start(be, &(struct gw_spec){
				  .plain_extra = LISTEN, .cookies = line, .top = GUARD("ban: 1h")});
	c = come(ALICE, NULL);
	for (int i = 0; i < 20; i++) {
		const char *const fields[] = {"Cookie: sid=missing%d\r\n",
					      "Cookie: seen=report%d; seen_HMAC=x\r\n",
					      "Cookie: soon=early%d; soon_HMAC=x\r\n",
					      "Cookie: sid=twice%d; sid=other; sid_HMAC=x\r\n"};

		for (size_t k = 0; k < E2E_ARRAY_SIZE(fields); k++) {
			snprintf(line, sizeof(line), fields[k], i);
			cr_expect_eq(client_get(c, "/", line)->status, 200);
		}
	}
	cr_expect_eq(gw_verdicts(gw, "forged", "report"), 20);
	cr_expect_eq(gw_verdicts(gw, "forged", "strip"), 20, "what comes before enforce-after");
	cr_expect_eq(gw_verdicts(gw, "duplicate", "strip"), 20);
	cr_expect_eq(metric(gw, "hardtack_guard_forged_total"), 0);
	cr_expect_eq(bans_made(gw), 0);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* The kernel knows the session and one token of it: what it cuts by itself counts as well. */
Test(guard, what_the_kernel_cuts_counts)
{
	e2e_gate_only();
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, GUARD("ban: 1h"));
	struct client *c = come(ATTACKER, NULL);
	char line[160];

	for (int i = 0; i < 2; i++)
		expect_served(c, be, ATTACKER);
	for (int i = 0; i < 5; i++) {
		snprintf(line, sizeof(line),
			 "Cookie: sid=mine; "
			 "sid_HMAC=AAAA%dAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n",
			 i);
		cr_expect_eq(client_get(c, "/", line)->status, 200);
	}
	cr_expect_eq(gw_metric(gw, "hardtack_verdicts_total", "where=\"kernel\"",
			       "verdict=\"forged\"", NULL),
		     5);
	cr_expect_eq(metric(gw, "hardtack_guard_forged_total"), 5);
	expect_dropped(gw, ATTACKER);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(guard, a_ban_ends)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, GUARD("ban: 2s"));
	struct client *c;
	int fd;

	attack(ATTACKER, 0, 5);
	fd = knock(ATTACKER);
	cr_expect(e2e_wait(dropped(gw) > 0));
	cr_expect(e2e_wait(is_through(fd)), "he knocks, and is let in at last");
	close(fd);
	c = come(ATTACKER, NULL);
	expect_served(c, be, ATTACKER);
	client_close(c);
	cr_expect_eq(metric(gw, "hardtack_guard_bans"), 0);
	cr_expect_eq(bans_made(gw), 1);
	gw_stop(gw);
	backend_stop(be);
}

Test(guard, a_restart_keeps_them)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, GUARD("ban: 1h"));
	struct text out = {0};
	struct client *c;

	attack(ATTACKER, 0, 5);
	expect_dropped(gw, ATTACKER);
	cr_assert(gw_restart(gw));
	cr_expect(gw_logged(gw, "reused=yes"));
	cr_expect_eq(metric(gw, "hardtack_guard_bans"), 1);
	expect_dropped(gw, ATTACKER);
	/* of another size: they are taken along */
	gw_edit(gw, "per: 10m", "per: 10m, max: 1000");
	cr_assert(gw_restart(gw));
	expect_dropped(gw, ATTACKER);
	/* mode off lets everybody in, and leaves nothing attached */
	gw_edit(gw, "mode: drop", "mode: off");
	cr_assert(gw_restart(gw));
	c = come(ATTACKER, NULL);
	expect_served(c, be, ATTACKER);
	client_close(c);
	text_clear(&out);
	run_command(&out, (const char *const[]){"ip", "link", "show", "dev", "ht0", NULL});
	cr_expect_not(text_has(out.p, out.len, "xdp"), "%s", out.p);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

static int listen_in_its_place(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	cr_assert_eq(inet_pton(AF_INET, HERE, &a.sin_addr), 1);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0, "%s", strerror(errno));
	cr_assert_eq(listen(fd, 8), 0);
	return fd;
}

/* The program goes on without the daemon, and so does the clock. */
Test(guard, a_crash_locks_nobody_out_for_longer_than_the_ban)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, GUARD("ban: 4s"));
	int listener, banned, alice, status;
	struct text out = {0};
	int64_t began_ms;

	began_ms = run_now_ms();
	attack(ATTACKER, 0, 5);
	kill(gw->pid, SIGKILL);
	cr_assert_eq(waitpid(gw->pid, &status, 0), gw->pid);
	gw->pid = 0;
	listener = listen_in_its_place();
	run_command(&out, (const char *const[]){"ip", "link", "show", "dev", "ht0", NULL});
	cr_expect(text_has(out.p, out.len, "xdp"), "%s", out.p);
	banned = knock(ATTACKER);
	alice = knock(ALICE);
	cr_expect(e2e_wait(is_through(alice)));
	/* the ban began before the kill: on a machine that stood still it may be over */
	cr_expect(!is_through(banned) || run_now_ms() > began_ms + 4000, "he is still banned");
	cr_expect(e2e_wait(is_through(banned)), "and is not any more");
	close(banned);
	close(alice);
	close(listener);
	text_free(&out);
	cr_assert(gw_restart(gw), "over what the dead one left");
	cr_expect_eq(attack(ATTACKER, 100, 5), 5);
	expect_dropped(gw, ATTACKER);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- whom it does not touch ---- */

Test(guard, the_allow_list_is_neither_scored_nor_dropped)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, GUARD("ban: 1h, allow: [" ATTACKER ", \"" ACCOMPLICE6 "\"]"));
	struct text out = {0};
	struct client *c;

	cr_expect_eq(attack(ATTACKER, 0, 30), 30);
	cr_expect_eq(attack(ACCOMPLICE6, 0, 30), 30);
	cr_expect_eq(metric(gw, "hardtack_guard_spared_total"), 60);
	cr_expect_eq(bans_made(gw), 0);
	cr_expect_eq(CTL(gw, &out, "add", ATTACKER), 1);
	cr_expect(text_has(out.p, out.len, "never banned"), "%s", out.p);
	/* his prefix is banned, he is not */
	cr_expect_eq(CTL(gw, &out, "add", ATTACKER6), 0, "%s", out.p);
	expect_dropped(gw, ATTACKER6);
	c = come(ACCOMPLICE6, NULL);
	expect_served(c, be, ACCOMPLICE6);
	client_close(c);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

/* Another service of this machine is none of the guard's business. */
Test(guard, only_our_ports_are_closed_to_him)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, GUARD("ban: 1h"));
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(9999)};
	int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct client *c;

	cr_assert_eq(bind(other, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(listen(other, 8), 0);
	attack(ATTACKER, 0, 5);
	expect_dropped(gw, ATTACKER);
	go(there);
	c = client_open(&(struct client_options){.from = ATTACKER, .to = HERE, .port = 9999});
	go(here);
	client_close(c);
	close(other);
	gw_stop(gw);
	backend_stop(be);
}

/* With another key the cookies of all who share an address are forged at once: an office, say. */
Test(guard, a_replaced_key_bans_nobody)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, GUARD("ban: 1h"));
	struct text out = {0};

	gw_write(gw, "shop.key", "another key, from now on\n", 0600);
	cr_assert_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	cr_expect_eq(attack(ALICE, 0, 30), 30);
	cr_expect_eq(metric(gw, "hardtack_guard_held_total"), 30);
	/* nor if it is replaced while there is no daemon */
	gw_write(gw, "shop.key", "and yet another one\n", 0600);
	cr_assert(gw_restart(gw));
	cr_expect_eq(attack(ALICE, 100, 30), 30);
	cr_expect_eq(metric(gw, "hardtack_guard_held_total"), 30);
	/* with the same one as before it counts */
	cr_assert(gw_restart(gw));
	attack(ATTACKER, 0, 5);
	expect_dropped(gw, ATTACKER);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- where the kernel can't drop him ---- */

/* Without an interface the daemon turns him away, also on connections that he has already. */
Test(guard, without_an_interface_he_is_refused_at_accept)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, "guard: { mode: drop, forged: 5, ban: 1h }\n");
	struct client *open = come(ATTACKER, NULL), *alice = come(ALICE, NULL), *c;

	cr_expect_eq(client_get(open, "/", "")->status, 200);
	cr_expect_eq(attack(ATTACKER, 0, 5), 5);
	client_sendf(open, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	cr_expect_eq(client_read(open)->status, 0, "the connection that he has");
	cr_expect_eq(gw_metric(gw, "hardtack_guard_refused_total", "mode=\"drop\"", NULL), 1);
	c = come_again(ATTACKER, NULL);
	cr_expect(!c || !client_get(c, "/", "")->status, "and a new one");
	client_close(c);
	cr_expect_eq(gw_metric(gw, "hardtack_guard_refused_total", "mode=\"drop\"", NULL), 2);
	cr_expect_eq(dropped(gw), 0);
	expect_served(alice, be, ALICE);
	client_close(alice);
	client_close(open);
	gw_stop(gw);
	backend_stop(be);
}

static const char *header_of(const char *client)
{
	static char line[128];

	snprintf(line, sizeof(line), "PROXY TCP4 %s 192.0.2.1 40000 443\r\n", client);
	return line;
}

/* The balancer's packets must come through: its clients are refused once it has said who they are. */
Test(guard, behind_the_proxy_protocol_he_is_refused_before_tls)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw;
	struct client *c;

	be->no_record = true;
	gw = gw_start(be,
		      &(struct gw_spec){.plain_extra = "  - address: " HERE ":8080\n"
						       "    proxy-protocol: accept\n",
					.top = GUARD("ban: 1h") "trusted-proxies: [" ALICE "]\n"});
	for (unsigned i = 0; i < 5; i++) {
		c = come(ALICE, header_of("203.0.113.66"));
		cr_expect_eq(client_get(c, "/", forged(i))->status, 200);
		client_close(c);
	}
	cr_expect_eq(bans_made(gw), 1);
	c = come(ALICE, header_of("203.0.113.66"));
	client_sendf(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	cr_expect_eq(client_read(c)->status, 0);
	client_close(c);
	cr_expect_eq(gw_metric(gw, "hardtack_guard_refused_total", "mode=\"drop\"", NULL), 1);
	c = come(ALICE, header_of("203.0.113.67"));
	expect_served(c, be, "203.0.113.67");
	client_close(c);
	cr_expect_eq(dropped(gw), 0);
	gw_stop(gw);
	backend_stop(be);
}

static int relay(struct client *c, const char *client, const char *cookies)
{
	char fields[512];

	snprintf(fields, sizeof(fields), "X-Forwarded-For: %s\r\n%s", client, cookies);
	return client_get(c, "/", fields)->status;
}

/* A trusted proxy's connection is not cut off for what one of its clients has done. */
Test(guard, behind_a_trusted_proxy_his_requests_are_refused)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, GUARD("ban: 1h") "trusted-proxies: [" ALICE "]\n");
	struct client *c = come(ALICE, NULL);

	for (unsigned i = 0; i < 5; i++)
		cr_expect_eq(relay(c, "203.0.113.66", forged(i)), 200);
	cr_expect_eq(relay(c, "203.0.113.67", ""), 200);
	cr_expect_eq(relay(c, "203.0.113.66", ""), 403);
	client_close(c);
	c = come(ALICE, NULL);
	cr_expect_eq(relay(c, "203.0.113.67", ""), 200);
	cr_expect_eq(client_get(c, "/", "")->status, 200, "the proxy itself");
	client_close(c);
	cr_expect_eq(dropped(gw), 0);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- somebody else's program ---- */

/* XDP_PASS, on a link of ours. */
static int foreign_program(void)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 2},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr load = {.prog_type = BPF_PROG_TYPE_XDP,
			       .insn_cnt = 2,
			       .insns = (uintptr_t)insns,
			       .license = (uintptr_t) "GPL",
			       .expected_attach_type = BPF_XDP,
			       .prog_name = "foreign"},
		       attach = {0};
	int prog = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load)), fd;

	cr_assert_geq(prog, 0, "%s", strerror(errno));
	attach.link_create.prog_fd = (uint32_t)prog;
	attach.link_create.target_ifindex = if_nametoindex("ht0");
	attach.link_create.attach_type = BPF_XDP;
	fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &attach, sizeof(attach));
	cr_assert_geq(fd, 0, "%s", strerror(errno));
	close(prog);
	return fd;
}

static uint32_t program_of(int link)
{
	struct bpf_link_info info = {0};
	union bpf_attr a = {.info = {.bpf_fd = (uint32_t)link,
				     .info_len = sizeof(info),
				     .info = (uintptr_t)&info}};

	cr_assert_eq(syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &a, sizeof(a)), 0);
	return info.prog_id;
}

Test(guard, a_foreign_program_is_never_replaced)
{
	need_net();
	struct backend *be = backend_start(NULL);
	int foreign = foreign_program();
	uint32_t id = program_of(foreign);
	struct gw *gw = start(be, GUARD("ban: 1h"));
	struct text out = {0};
	struct client *c;

	cr_expect(gw_logged(gw, "msg=\"no guard on this interface\" interface=ht0"));
	cr_expect(gw_logged(gw, "another XDP program is attached"));
	cr_expect_eq(gw_ctl(gw, &out, "status", NULL), 0);
	cr_expect(text_has(out.p, out.len, "guard.interfaces.ht0.xdp     none"), "%s", out.p);
	cr_expect_eq(program_of(foreign), id);
	/* what is left is the daemon itself */
	attack(ATTACKER, 0, 5);
	c = come_again(ATTACKER, NULL);
	cr_expect(!c || !client_get(c, "/", "")->status);
	client_close(c);
	/* once it is gone, a restart is enough */
	close(foreign);
	cr_assert(gw_restart(gw));
	expect_dropped(gw, ATTACKER);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- operators ---- */

Test(guard, bans_by_hand)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, GUARD("ban: 1h"));
	struct text out = {0};
	struct client *c;

	cr_expect_eq(CTL(gw, &out, "add", ATTACKER, "--for", "10m"), 0, "%s", out.p);
	expect_dropped(gw, ATTACKER);
	cr_expect_eq(CTL(gw, &out, "list", "--json"), 0);
	cr_expect(text_has(out.p, out.len, "\"source\": \"" ATTACKER "\""), "%s", out.p);
	cr_expect(text_has(out.p, out.len, "\"for_s\": 600"), "%s", out.p);
	cr_expect(text_has(out.p, out.len, "\"by\": \"hand\""), "%s", out.p);
	cr_expect_eq(gw_ctl(gw, &out, "bans", NULL), 0);
	cr_expect(text_has(out.p, out.len, ATTACKER), "%s", out.p);
	cr_expect_eq(CTL(gw, &out, "del", ATTACKER), 0, "%s", out.p);
	c = come(ATTACKER, NULL);
	expect_served(c, be, ATTACKER);
	client_close(c);
	cr_expect_eq(CTL(gw, &out, "del", ATTACKER), 1);
	cr_expect(text_has(out.p, out.len, "not banned"), "%s", out.p);
	cr_expect_eq(CTL(gw, &out, "add", "example.com"), 1);
	cr_expect(text_has(out.p, out.len, "192.0.2.7"), "%s", out.p);
	cr_expect_eq(CTL(gw, &out, "add"), 2);
	cr_expect_eq(CTL(gw, &out, "drop", ATTACKER), 2);
	cr_expect_eq(CTL(gw, &out, "del", ATTACKER, "--for", "1m"), 2);
	cr_expect_eq(CTL(gw, &out, "add", ATTACKER, "--for", "soon"), 2);
	cr_expect(gw_logged(gw, "msg=\"source banned by hand\" source=" ATTACKER));
	cr_expect(gw_logged(gw, "msg=\"ban lifted\" source=" ATTACKER));
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

Test(guard, a_reload_changes_it)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, "guard: { interface: ht0, mode: report, ban: 1h }\n");
	struct text out = {0};
	struct client *c;

	cr_expect_eq(CTL(gw, &out, "add", ATTACKER), 0);
	cr_expect(text_has(out.p, out.len, "mode: report"), "%s", out.p);
	c = come(ATTACKER, NULL);
	expect_served(c, be, ATTACKER);
	client_close(c);
	gw_edit(gw, "mode: report", "mode: drop");
	cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	expect_dropped(gw, ATTACKER);
	gw_edit(gw, "ban: 1h", "ban: 1h, allow: [" ATTACKER "]");
	cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	c = come(ATTACKER, NULL);
	expect_served(c, be, ATTACKER);
	client_close(c);
	gw_edit(gw, "interface: ht0", "interface: lo");
	text_clear(&out);
	cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	cr_expect(text_has(out.p, out.len, "guard.interface"), "%s", out.p);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

/* What cannot be done in the driver is done in the stack. */
Test(guard, generic_where_the_driver_can_not)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, "guard: { interface: [ht0, lo], mode: drop, ban: 1h }\n");
	struct text out = {0};

	cr_expect_eq(gw_ctl(gw, &out, "status", NULL), 0);
	cr_expect(text_has(out.p, out.len, "guard.interfaces.ht0.xdp     native"), "%s", out.p);
	cr_expect(text_has(out.p, out.len, "guard.interfaces.lo.xdp      generic"), "%s", out.p);
	cr_expect_eq(gw_admin(gw, "/", &out), 200);
	cr_expect(text_has(out.p, out.len, "guard.interfaces.lo.xdp"), "%s", out.p);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

#define BIT(cap) (1ULL << (cap))

/* Bans are made, lifted and listed by whom the daemon has become. */
Test(guard, a_user_without_capabilities_bans)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.plain_extra = LISTEN,
						       .caps = BIT(CAP_BPF) | BIT(CAP_NET_ADMIN) |
							       BIT(CAP_PERFMON) | BIT(CAP_SETUID) |
							       BIT(CAP_SETGID) | BIT(CAP_CHOWN),
						       .top = "user: nobody\n" GUARD("ban: 1h")});
	struct text out = {0};
	struct client *c;

	be->no_record = true;
	attack(ATTACKER, 0, 5);
	expect_dropped(gw, ATTACKER);
	cr_expect_eq(CTL(gw, &out, "del", ATTACKER), 0, "%s", out.p);
	c = come(ATTACKER, NULL);
	expect_served(c, be, ATTACKER);
	client_close(c);
	cr_expect_eq(CTL(gw, &out, "list"), 0, "%s", out.p);
	cr_assert(gw_restart(gw));
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}
