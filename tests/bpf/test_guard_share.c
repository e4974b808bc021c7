/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard beside another XDP program on one interface: who comes first, who goes, what happens at
 * restarts and crashes, and what of each packet gets where. The packets are sent through a veth pair.
 *
 * Where the kernel takes no programs of type EXT (a locked-down one) nothing can be shared, and each
 * test looks at what happens instead: a link of our own, said to be so, and whoever is first stays.
 * With HT_SHARE=require, as in the virtual machines, that is a failure.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <glob.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include "guard.h"
#include "log.h"

#ifndef HT_WEAK

#include "counter.skel.h"

#define DOOR 443
#define BANNED 7 /* 198.51.100.7 */
#define ALICE 8
#define LOOKS_MAX 1000 /* of 10 ms, at what must happen, before it is given up */

static struct ht_guard_config config;
static struct ht_guard *guard;
static char pin[64];
static int wire = -1; /* packets go in here and come out at ht0 */
static bool shares;   /* can anything be, on this kernel? */

/* ---- packets ---- */

static void send_from(uint8_t who)
{
	struct {
		struct ethhdr eth;
		struct iphdr ip;
		__be16 port[2];
		uint8_t rest[16];
	} __attribute__((packed)) p = {
		.eth.h_proto = htons(ETH_P_IP),
		.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP},
		.port = {htons(50000), htons(DOOR)},
	};

	p.ip.tot_len = htons(sizeof(p) - sizeof(p.eth));
	p.ip.saddr = htonl(0xc6336400 | who); /* 198.51.100.0 */
	p.ip.daddr = htonl(0xc0000201);	      /* 192.0.2.1 */
	cr_assert_eq(send(wire, &p, sizeof(p), 0), (ssize_t)sizeof(p), "%s", strerror(errno));
}

/* Not the shell's own: that of busybox knows no pairs. */
static void make_pair(void)
{
	cr_assert_eq(system("/bin/ip link add ht0 type veth peer name ht1 && "
			    "/bin/ip link set ht0 up && /bin/ip link set ht1 up"),
		     0);
}

static void make_wire(void)
{
	struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};

	cr_assert_eq(unshare(CLONE_NEWNET), 0);
	make_pair();
	wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	a.sll_ifindex = (int)if_nametoindex("ht1");
	cr_assert(wire >= 0 && !bind(wire, (struct sockaddr *)&a, sizeof(a)), "%s",
		  strerror(errno));
}

static int here(void)
{
	return (int)if_nametoindex("ht0");
}

/* ---- the guard ---- */

static struct sockaddr_storage address(uint8_t who)
{
	struct sockaddr_storage a = {.ss_family = AF_INET};

	((struct sockaddr_in *)&a)->sin_addr.s_addr = htonl(0xc6336400 | who);
	return a;
}

static void open_guard(enum ht_guard_mode mode)
{
	const struct ht_guard_params p = {.config = &config, .pin = pin};
	struct sockaddr_storage door = {.ss_family = AF_INET};
	const struct ht_guard_settings s = {.config = &config, .doors = &door, .ndoors = 1};

	((struct sockaddr_in *)&door)->sin_addr.s_addr = htonl(0xc0000201);
	((struct sockaddr_in *)&door)->sin_port = htons(DOOR);
	config.mode = mode;
	cr_assert_eq(ht_guard_open(&p, &guard), 0);
	cr_assert_str_eq(ht_guard_why(guard), "", "%s", ht_guard_why(guard));
	cr_assert_eq(ht_guard_apply(guard, &s), 0);
	ht_guard_attach(guard);
}

static void close_guard(void)
{
	ht_guard_close(guard);
	guard = NULL;
}

static void restart(enum ht_guard_mode mode)
{
	close_guard();
	open_guard(mode);
}

static void ban(uint8_t who)
{
	struct sockaddr_storage a = address(who);

	cr_assert_eq(ht_guard_ban(guard, &a, 0), 0);
}

static struct ht_guard_interface interface(void)
{
	size_t n;
	const struct ht_guard_interface *i = ht_guard_interfaces(guard, &n);

	cr_assert_eq(n, 1);
	return *i;
}

static uint64_t dropped(void)
{
	struct ht_guard_counters n = {0};

	ht_guard_counters(guard, &n);
	return n.packets.dropped;
}

static void expect_dropped_more(void)
{
	uint64_t before = dropped();

	for (int i = 0; i < LOOKS_MAX && dropped() == before; i++)
		usleep(10000);
	cr_expect_gt(dropped(), before);
}

/* He is heard no more. */
static void expect_dropped(uint8_t who)
{
	uint64_t before = dropped();

	send_from(who);
	for (int i = 0; i < LOOKS_MAX && dropped() == before; i++)
		usleep(10000);
	cr_expect_eq(dropped(), before + 1);
}

/* ---- the other one ---- */

struct other {
	struct counter *skel;
	struct xdp_program *program;
	int attached; /* 0 or -errno */
};

static void join(struct other *o, unsigned priority)
{
	o->skel = counter__open();
	cr_assert(o->skel);
	o->program = xdp_program__from_bpf_obj(o->skel->obj, "xdp");
	cr_assert_eq(libxdp_get_error(o->program), 0);
	cr_assert_eq(xdp_program__set_run_prio(o->program, priority), 0);
	o->attached = xdp_program__attach(o->program, here(), XDP_MODE_NATIVE, 0);
}

static void leave(struct other *o)
{
	if (!o->attached)
		cr_expect_eq(xdp_program__detach(o->program, here(), XDP_MODE_NATIVE, 0), 0);
	xdp_program__close(o->program);
	counter__destroy(o->skel);
}

static uint64_t seen(const struct other *o, uint32_t who)
{
	uint64_t n = 0;

	cr_assert_eq(bpf_map_lookup_elem(bpf_map__fd(o->skel->maps.seen), &who, &n), 0);
	return n;
}

static void expect_seen(const struct other *o, uint8_t who)
{
	uint64_t before = seen(o, who);

	send_from(who);
	for (int i = 0; i < LOOKS_MAX && seen(o, who) == before; i++)
		usleep(10000);
	cr_expect_eq(seen(o, who), before + 1);
}

/* ---- the interface ---- */

static uint32_t program_here(void)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);

	cr_assert_eq(bpf_xdp_query(here(), 0, &q), 0);
	return q.prog_id;
}

static uint32_t guard_id; /* that chain() found last */

/* The programs by name, in their order: "guard counter"; "-" in front: without a dispatcher. */
static const char *chain(void)
{
	struct xdp_multiprog *all = xdp_multiprog__get_from_ifindex(here());
	const struct xdp_program *p = NULL;
	static char names[200];
	size_t n = 0;

	names[0] = 0;
	if (libxdp_get_error(all))
		return "";
	if (xdp_multiprog__is_legacy(all))
		snprintf(names, sizeof(names), "-%s",
			 xdp_program__name(xdp_multiprog__main_prog(all)));
	while (!xdp_multiprog__is_legacy(all) && (p = xdp_multiprog__next_prog(p, all))) {
		n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", n ? " " : "",
				      xdp_program__name(p));
		if (!strcmp(xdp_program__name(p), "guard"))
			guard_id = xdp_program__id(p);
	}
	xdp_multiprog__close(all);
	return names;
}

/* One or the other, as this kernel can. A link whose last pin is gone goes a moment later. */
static void expect_chain(const char *shared, const char *alone)
{
	const char *wanted = shares ? shared : alone;

	for (int i = 0; i < LOOKS_MAX && strcmp(chain(), wanted); i++)
		usleep(10000);
	cr_expect_str_eq(chain(), wanted, "%s, not %s", chain(), wanted);
}

static void expect_guarded(void)
{
	const struct ht_guard_interface i = interface();

	cr_expect_str_eq(i.state, "native", "%s: %s", i.state, i.why);
	cr_expect_eq(i.shared, shares, "%s", i.why);
	cr_expect_eq(!i.why[0], shares, "%s", i.why);
}

/* Left to whoever is there. */
static void expect_left_alone(const char *why)
{
	const struct ht_guard_interface i = interface();

	cr_expect_str_eq(i.state, "none");
	cr_expect_not(i.shared);
	cr_expect(strstr(i.why, "another XDP program is attached"), "%s", i.why);
	cr_expect(strstr(i.why, why), "%s", i.why);
}

static int quiet(enum libxdp_print_level level, const char *fmt, va_list ap)
{
	(void)level, (void)fmt, (void)ap;
	return 0;
}

static void start(void)
{
	static char *interfaces[] = {(char *)"ht0"};
	const char *share = getenv("HT_SHARE");

	ht_log_level(LOG_CRIT);
	ht_log_hook_libbpf();
	libxdp_set_print(quiet);
	make_wire();
	snprintf(pin, sizeof(pin), "/sys/fs/bpf/ht-share-%d", getpid());
	config = (struct ht_guard_config){
		.interfaces = interfaces,
		.ninterfaces = 1,
		.forged = 5,
		.per_ms = 600000,
		.ban_ms = 3600000,
		.max = 1024,
		.v4_bits = 32,
		.v6_bits = 64,
	};
	shares = libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_EXT, NULL) == 1;
	cr_assert(shares || !share || strcmp(share, "require"), "this kernel can't share");
}

/* Nothing may be left behind, in the kernel or as a pin. */
static void finish(void)
{
	if (guard)
		close_guard();
	config.mode = HT_GUARD_OFF;
	cr_expect_eq(
		ht_guard_open(&(struct ht_guard_params){.config = &config, .pin = pin}, &guard), 0);
	close_guard();
	expect_chain("", "");
	cr_expect_neq(access(pin, F_OK), 0);
	close(wire);
}

TestSuite(guard_share, .init = start, .fini = finish, .timeout = 120);

/* ---- tests ---- */

/* What is dropped is nobody's business any more, what is not goes on to everybody. */
static void expect_both_work(const struct other *o)
{
	expect_dropped(BANNED);
	expect_seen(o, ALICE);
	cr_expect_eq(seen(o, BANNED), 0);
}

Test(guard_share, joins_whoever_is_there_first)
{
	struct other o;

	join(&o, 50);
	cr_assert_eq(o.attached, 0);
	expect_seen(&o, BANNED);
	open_guard(HT_GUARD_DROP);
	expect_chain("guard counter", "-counter");
	if (shares) {
		uint64_t before = seen(&o, BANNED);

		expect_guarded();
		ban(BANNED);
		expect_dropped(BANNED);
		expect_seen(&o, ALICE);
		cr_expect_eq(seen(&o, BANNED), before);
	} else {
		expect_left_alone("type EXT");
		expect_seen(&o, BANNED);
	}
	leave(&o);
	/* and now it is the only one */
	ht_guard_attach(guard);
	expect_chain("guard", "-guard");
	expect_guarded();
	ban(BANNED);
	expect_dropped(BANNED);
}

Test(guard_share, lets_another_join)
{
	struct other o;

	open_guard(HT_GUARD_DROP);
	expect_guarded();
	ban(BANNED);
	join(&o, 50);
	cr_expect_eq(!o.attached, shares, "%d", o.attached);
	ht_guard_attach(guard);
	expect_chain("guard counter", "-guard");
	expect_guarded();
	if (shares)
		expect_both_work(&o);
	else
		expect_dropped(BANNED);
	leave(&o);
	ht_guard_attach(guard);
	expect_chain("guard", "-guard");
	expect_guarded();
	expect_dropped(BANNED);
}

/* Somebody who wants to see everything has a number of his own. */
Test(guard_share, has_its_place_in_the_order)
{
	struct other o, early;

	open_guard(HT_GUARD_DROP);
	ban(BANNED);
	join(&o, 50);
	join(&early, 5);
	expect_chain("counter guard counter", "-guard");
	expect_dropped(BANNED);
	if (shares) {
		expect_seen(&early, ALICE);
		cr_expect_eq(seen(&early, BANNED), 1);
		cr_expect_eq(seen(&o, BANNED), 0);
		cr_expect_eq(seen(&o, ALICE), 1);
	}
	leave(&early);
	leave(&o);
}

Test(guard_share, goes_when_it_is_off_and_nobody_else_does)
{
	struct other o;

	open_guard(HT_GUARD_DROP);
	ban(BANNED);
	join(&o, 50);
	/* a daemon that ends leaves it */
	close_guard();
	expect_chain("guard counter", "-guard");
	open_guard(HT_GUARD_OFF);
	expect_chain("counter", "");
	if (shares)
		expect_seen(&o, BANNED);
	leave(&o);
}

/* As after `interface:` was changed. */
Test(guard_share, goes_from_an_interface_that_is_not_ours_any_more)
{
	static char *elsewhere[] = {(char *)"ht1"};
	char **before = config.interfaces;
	struct other o;

	open_guard(HT_GUARD_DROP);
	join(&o, 50);
	close_guard();
	config.interfaces = elsewhere;
	open_guard(HT_GUARD_DROP);
	expect_chain("counter", "");
	expect_guarded();
	leave(&o);
	restart(HT_GUARD_OFF);
	config.interfaces = before;
}

Test(guard_share, is_there_once_after_restarts)
{
	struct other o;
	uint32_t first;

	open_guard(HT_GUARD_DROP);
	ban(BANNED);
	join(&o, 50);
	expect_chain("guard counter", "-guard");
	first = guard_id;
	for (int i = 0; i < 2; i++) {
		restart(HT_GUARD_DROP);
		expect_chain("guard counter", "-guard");
		cr_expect(ht_guard_reused(guard));
		expect_dropped(BANNED);
	}
	if (shares) {
		cr_expect_neq(guard_id, first, "the program of the new daemon");
		expect_both_work(&o);
	}
	leave(&o);
}

static void wait_for_end(pid_t child, int signal_no)
{
	int status;

	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == signal_no, "%x", status);
}

Test(guard_share, is_there_once_after_a_crash)
{
	struct other o;
	pid_t child;

	join(&o, 50);
	if (!shares)
		leave(&o);
	child = fork();
	if (!child) {
		open_guard(HT_GUARD_DROP);
		ban(BANNED);
		kill(getpid(), SIGKILL);
	}
	wait_for_end(child, SIGKILL);
	expect_chain("guard counter", "-guard");
	if (shares) {
		/* whoever comes later is behind the banned one's packet */
		send_from(BANNED);
		expect_seen(&o, ALICE);
		cr_expect_eq(seen(&o, BANNED), 0, "it goes on without a daemon");
	}
	open_guard(HT_GUARD_DROP);
	expect_chain("guard counter", "-guard");
	expect_guarded();
	expect_dropped(BANNED);
	if (shares)
		leave(&o);
}

/* There is no moment in which a banned packet gets through to those behind. */
Test(guard_share, a_restart_leaves_no_gap)
{
	int go[2];
	struct other o;
	pid_t attacker;

	/* before there is a lock of the pins that a child would hold, too */
	cr_assert_eq(pipe(go), 0);
	attacker = fork();
	if (!attacker) {
		cr_assert_eq(read(go[0], &o, 1), 1);
		for (;; usleep(1000))
			send_from(BANNED);
	}
	open_guard(HT_GUARD_DROP);
	ban(BANNED);
	join(&o, 50);
	cr_assert_eq(write(go[1], "", 1), 1);
	expect_dropped_more();
	for (int i = 0; i < 3; i++)
		restart(HT_GUARD_DROP);
	expect_dropped_more();
	kill(attacker, SIGKILL);
	wait_for_end(attacker, SIGKILL);
	if (shares) {
		expect_seen(&o, ALICE);
		cr_expect_eq(seen(&o, BANNED), 0);
	}
	leave(&o);
}

/* ---- privileges ---- */

/* CAP_SYS_ADMIN, in force or put aside, as it is gone where the daemon becomes another user. */
static void be_admin(bool on)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	cr_assert_eq(syscall(SYS_capget, &header, data), 0);
	data[0].effective &= ~(1U << CAP_SYS_ADMIN);
	data[0].effective |= (uint32_t)on << CAP_SYS_ADMIN;
	cr_assert_eq(syscall(SYS_capset, &header, data), 0, "%s", strerror(errno));
}

/* Somebody else is still root. */
static void look_as_a_user(void)
{
	be_admin(false);
	ht_guard_attach(guard);
	be_admin(true);
}

Test(guard_share, is_looked_after_without_privileges)
{
	struct other o;

	open_guard(HT_GUARD_DROP);
	ban(BANNED);
	look_as_a_user();
	expect_guarded();
	join(&o, 50);
	look_as_a_user();
	expect_guarded();
	expect_chain("guard counter", "-guard");
	expect_dropped(BANNED);
	leave(&o);
	/* all of it is taken off: what an unprivileged daemon can put there is a link */
	if (shares) {
		struct xdp_multiprog *all = xdp_multiprog__get_from_ifindex(here());

		cr_assert_eq(xdp_multiprog__detach(all), 0);
		xdp_multiprog__close(all);
		look_as_a_user();
		cr_expect_str_eq(interface().state, "native");
		cr_expect_not(interface().shared);
		cr_expect(strstr(interface().why, "CAP_SYS_ADMIN"), "%s", interface().why);
		expect_dropped(BANNED);
	}
}

/* It is there, nobody can take it out, and what it is told was told by the daemon before. */
Test(guard_share, without_privileges_what_was_shared_drops_nothing)
{
	struct other o;

	open_guard(HT_GUARD_DROP);
	ban(BANNED);
	join(&o, 50);
	close_guard();
	be_admin(false);
	open_guard(HT_GUARD_DROP);
	if (shares) {
		expect_left_alone("CAP_SYS_ADMIN");
		expect_seen(&o, BANNED);
	} else {
		expect_dropped(BANNED);
	}
	close_guard();
	be_admin(true);
	open_guard(HT_GUARD_DROP);
	expect_chain("guard counter", "-guard");
	expect_guarded();
	expect_dropped(BANNED);
	leave(&o);
}

/* ---- what must not be ---- */

/* libxdp attaches without one when it is told to, and where it can't have one. */
Test(guard_share, never_attaches_without_a_dispatcher_but_by_a_link)
{
	setenv("LIBXDP_SKIP_DISPATCHER", "1", 1);
	open_guard(HT_GUARD_DROP);
	unsetenv("LIBXDP_SKIP_DISPATCHER");
	cr_expect_str_eq(interface().state, "native");
	cr_expect_not(interface().shared);
	cr_expect(strstr(interface().why, shares ? "not supported" : "type EXT"), "%s",
		  interface().why);
	/* a link ends with its pin, anything else would stay: see finish() */
	cr_expect_neq(bpf_xdp_detach(here(), XDP_FLAGS_DRV_MODE, NULL), 0);
	ban(BANNED);
	expect_dropped(BANNED);
}

/* Neither pins nor maps of an interface that is no more. */
Test(guard_share, goes_with_its_interface)
{
	char pattern[64];
	glob_t found;

	open_guard(HT_GUARD_DROP);
	snprintf(pattern, sizeof(pattern), "/sys/fs/bpf/xdp/dispatch-%d-%u", here(),
		 program_here());
	cr_expect_eq(!glob(pattern, 0, NULL, &found), shares);
	cr_assert_eq(system("/bin/ip link del ht0"), 0);
	ht_guard_attach(guard);
	cr_expect_str_eq(interface().state, "none");
	cr_expect_eq(glob(pattern, 0, NULL, &found), GLOB_NOMATCH);
	make_pair();
	ht_guard_attach(guard);
	expect_guarded();
	expect_chain("guard", "-guard");
}

/* In the driver, with packets that are longer than a page. */
Test(guard_share, takes_a_large_mtu)
{
	struct other o;

	cr_assert_eq(system("/bin/ip link set ht0 mtu 9000 && /bin/ip link set ht1 mtu 9000"), 0);
	open_guard(HT_GUARD_DROP);
	expect_chain("guard", "-guard");
	expect_guarded();
	/* who can't have such packets does not come in, and takes nobody else out */
	join(&o, 50);
	cr_expect_neq(o.attached, 0);
	leave(&o);
	expect_chain("guard", "-guard");
	ban(BANNED);
	expect_dropped(BANNED);
}

/* Programs that know no dispatcher, by both ways to attach one. */
Test(guard_share, leaves_alone_what_is_attached_without_a_dispatcher)
{
	struct counter *foreign = counter__open_and_load();
	int program, link;
	uint32_t id;

	cr_assert(foreign);
	program = bpf_program__fd(foreign->progs.counter);
	link = bpf_link_create(program, here(), BPF_XDP, NULL);
	cr_assert_geq(link, 0);
	id = program_here();
	open_guard(HT_GUARD_DROP);
	ht_guard_attach(guard);
	cr_expect_eq(program_here(), id);
	expect_left_alone(shares ? "not using a dispatcher" : "type EXT");
	close(link);
	cr_assert_eq(bpf_xdp_attach(here(), program, XDP_FLAGS_DRV_MODE, NULL), 0);
	ht_guard_attach(guard);
	ht_guard_attach(guard);
	cr_expect_eq(program_here(), id);
	expect_left_alone(shares ? "not using a dispatcher" : "type EXT");
	/* once it is gone nobody needs to do anything */
	cr_assert_eq(bpf_xdp_detach(here(), XDP_FLAGS_DRV_MODE, NULL), 0);
	ht_guard_attach(guard);
	expect_guarded();
	counter__destroy(foreign);
}

#endif
