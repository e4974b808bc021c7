/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard's program by BPF_PROG_TEST_RUN: a table of packets in all the forms that their headers
 * can take, each cut off at every byte; who is dropped, where, for how long; and what a million
 * bans cost. Attaches nothing.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "guard.h"
#include "log.h"

#ifndef HT_WEAK

#define DOOR 443
#define LOOKS_MAX 30000 /* at what must happen, before it is given up */

/* ---- packets ---- */

/* One packet; zero is plain: no tags, IPv4, no options, TCP to 192.0.2.1:443 or [2001:db8::1]:443. */
struct form {
	const char *name;
	const char *tags;    /* 'q' 802.1Q, 'a' 802.1ad */
	const char *headers; /* IPv6 extensions, see add_extension(); not NULL makes it IPv6 */
	const char *from, *to;
	unsigned options;	    /* bytes, of IPv4 */
	unsigned frag;		    /* the IPv4 field */
	int version, ihl, protocol; /* instead of what is right */
	unsigned port, ethertype;
	bool passes; /* although its source is banned */
};

struct packet {
	uint8_t bytes[4096];
	size_t len, needed; /* bytes by which the ports are there */
};

static void add(struct packet *p, const void *bytes, size_t len)
{
	cr_assert_leq(p->len + len, sizeof(p->bytes));
	memcpy(p->bytes + p->len, bytes, len);
	p->len += len;
}

static void add_u16(struct packet *p, unsigned n)
{
	const uint16_t be = htons((uint16_t)n);

	add(p, &be, sizeof(be));
}

static void add_zeros(struct packet *p, size_t len)
{
	static const uint8_t zeros[2048];

	add(p, zeros, len);
}

static int type_of(char header)
{
	switch (header) {
	case 'h':
		return IPPROTO_HOPOPTS;
	case 'r':
	case 'R':
		return IPPROTO_ROUTING;
	case 'd':
	case 'D':
		return IPPROTO_DSTOPTS;
	case 'a':
	case 'A':
		return IPPROTO_AH;
	case 'f':
	case 'F':
		return IPPROTO_FRAGMENT;
	case 'e':
		return IPPROTO_ESP;
	case 'n':
		return IPPROTO_NONE;
	default:
		return IPPROTO_TCP;
	}
}

/* Small letters the shortest form, capitals: D the longest, R 40 bytes, A 24, F a later fragment. */
static void add_extension(struct packet *p, char header, int next)
{
	const size_t len = header == 'D' ? 2048 : header == 'R' ? 40 : header == 'A' ? 24 : 8;
	uint8_t h[8] = {(uint8_t)next};

	if (header == 'a' || header == 'A')
		h[1] = (uint8_t)(len / 4 - 2);
	else if (header != 'f' && header != 'F')
		h[1] = (uint8_t)(len / 8 - 1);
	if (header == 'f')
		h[3] = 1; /* more to come */
	if (header == 'F')
		h[2] = 1;
	add(p, h, sizeof(h));
	add_zeros(p, len - sizeof(h));
}

static void add_ipv4(struct packet *p, const struct form *f)
{
	struct iphdr ip = {
		.version = f->version ? (unsigned)f->version & 15 : 4,
		.ihl = f->ihl ? (unsigned)f->ihl & 15 : 5 + f->options / 4,
		.frag_off = htons((uint16_t)f->frag),
		.ttl = 64,
		.protocol = f->protocol ? (uint8_t)f->protocol : IPPROTO_TCP,
	};

	cr_assert_eq(inet_pton(AF_INET, f->from ? f->from : "198.51.100.7", &ip.saddr), 1);
	cr_assert_eq(inet_pton(AF_INET, f->to ? f->to : "192.0.2.1", &ip.daddr), 1);
	add(p, &ip, sizeof(ip));
	add_zeros(p, f->options);
}

static void add_ipv6(struct packet *p, const struct form *f)
{
	struct ipv6hdr ip = {.version = f->version ? (unsigned)f->version & 15 : 6,
			     .hop_limit = 64};

	cr_assert_eq(inet_pton(AF_INET6, f->from ? f->from : "2001:db8:bad::7", &ip.saddr), 1);
	cr_assert_eq(inet_pton(AF_INET6, f->to ? f->to : "2001:db8::1", &ip.daddr), 1);
	ip.nexthdr = (uint8_t)(!*f->headers && f->protocol ? f->protocol : type_of(*f->headers));
	add(p, &ip, sizeof(ip));
	for (const char *h = f->headers; *h; h++)
		add_extension(p, *h, h[1] || !f->protocol ? type_of(h[1]) : f->protocol);
}

static void make(const struct form *f, struct packet *p)
{
	p->len = 0;
	add_zeros(p, 12);
	for (const char *t = f->tags ? f->tags : ""; *t; t++) {
		add_u16(p, *t == 'q' ? ETH_P_8021Q : ETH_P_8021AD);
		add_u16(p, 7);
	}
	add_u16(p, f->ethertype ? f->ethertype : f->headers ? ETH_P_IPV6 : ETH_P_IP);
	if (f->headers)
		add_ipv6(p, f);
	else
		add_ipv4(p, f);
	add_u16(p, 50000);
	add_u16(p, f->port ? f->port : DOOR);
	p->needed = p->len;
	add_zeros(p, 16);
}

static const struct form forms[] = {
	{.name = "IPv4"},
	{"IPv4, options", .options = 4},
	{"IPv4, as many options as there can be", .options = 40},
	{"IPv4, one tag", .tags = "q"},
	{"IPv4, two tags", .tags = "aq"},
	{"IPv4, two tags of a kind", .tags = "qq"},
	{"IPv4, three tags", .tags = "aqq", .passes = true},
	{"IPv4, tag and options", .tags = "q", .options = 12},
	{"IPv4, don't fragment", .frag = 0x4000},
	{"IPv4, first fragment", .frag = 0x2000},
	{"IPv4, later fragment", .frag = 0x2001, .passes = true},
	{"IPv4, last fragment", .frag = 0x1fff, .passes = true},
	{"IPv4 that says 6", .version = 6, .passes = true},
	{"IPv4 with too short a header", .ihl = 4, .passes = true},
	{"IPv4, UDP", .protocol = IPPROTO_UDP, .passes = true},
	{"IPv4, ICMP", .protocol = IPPROTO_ICMP, .passes = true},
	{"IPv4, IPv6 inside", .protocol = IPPROTO_IPV6, .passes = true},
	{"ARP", .ethertype = ETH_P_ARP, .passes = true},
	{"IPv4 with the ethertype of IPv6", .ethertype = ETH_P_IPV6, .passes = true},
	{"length instead of an ethertype", .ethertype = 100, .passes = true},
	{"IPv6", .headers = ""},
	{"IPv6, one tag", .headers = "", .tags = "a"},
	{"IPv6, two tags", .headers = "", .tags = "aq"},
	{"IPv6 that says 4", .headers = "", .version = 4, .passes = true},
	{"IPv6 with the ethertype of IPv4", .headers = "", .ethertype = ETH_P_IP, .passes = true},
	{"IPv6, UDP", .headers = "", .protocol = IPPROTO_UDP, .passes = true},
	{"IPv6, ICMP", .headers = "", .protocol = IPPROTO_ICMPV6, .passes = true},
	{"IPv6, hop by hop", .headers = "h"},
	{"IPv6, routing", .headers = "r"},
	{"IPv6, long routing", .headers = "R"},
	{"IPv6, destination options", .headers = "d"},
	{"IPv6, the longest destination options", .headers = "D"},
	{"IPv6, authentication", .headers = "a"},
	{"IPv6, long authentication", .headers = "A"},
	{"IPv6, first fragment", .headers = "f"},
	{"IPv6, later fragment", .headers = "F", .passes = true},
	{"IPv6, all of them", .headers = "hdrfAd"},
	{"IPv6, all of them behind tags", .headers = "hdrfAd", .tags = "aq"},
	{"IPv6, options behind a later fragment", .headers = "hF", .passes = true},
	{"IPv6, UDP behind options", .headers = "hd", .protocol = IPPROTO_UDP, .passes = true},
	{"IPv6, eight headers", .headers = "dddddddd"},
	{"IPv6, nine headers", .headers = "ddddddddd", .passes = true},
	{"IPv6, encrypted", .headers = "e", .passes = true},
	{"IPv6, nothing behind", .headers = "n", .passes = true},
	/* whom and where */
	{"its neighbour", .from = "198.51.100.8", .passes = true},
	{"its neighbour within the prefix", .headers = "", .from = "2001:db8:bad::99:1"},
	{"another prefix", .headers = "", .from = "2001:db8:bad:1::7", .passes = true},
	{"on the allow list", .from = "203.0.113.5", .passes = true},
	{"on the allow list, within a banned prefix", .headers = "", .from = "2001:db8:bad::a:1",
	 .passes = true},
	{"its neighbour, not on it", .headers = "", .from = "2001:db8:bad::b:1"},
	{"a trusted proxy", .from = "203.0.113.9", .passes = true},
	{"another port", .port = DOOR + 1, .passes = true},
	{"the port of another address", .to = "192.0.2.2", .passes = true},
	{"any address of a port", .to = "192.0.2.200", .port = 8443},
	{"any address, but of the other family", .headers = "", .port = 8443, .passes = true},
	{"any IPv6 address of a port", .headers = "", .to = "2001:db8:5::5", .port = 9443},
	{"any IPv6 address, but IPv4", .port = 9443, .passes = true},
	{"the port of another IPv6 address", .headers = "", .to = "2001:db8::2", .passes = true},
};

/* ---- the guard ---- */

static struct ht_guard_config config;
static struct ht_guard *guard;
static struct ht_prefix allow[3], trusted[1];
static struct sockaddr_storage doors[4];

static struct sockaddr_storage address(const char *text, unsigned port)
{
	struct sockaddr_storage a = {.ss_family = AF_INET};

	if (inet_pton(AF_INET, text, &((struct sockaddr_in *)&a)->sin_addr) == 1) {
		((struct sockaddr_in *)&a)->sin_port = htons((uint16_t)port);
		return a;
	}
	a.ss_family = AF_INET6;
	cr_assert_eq(inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&a)->sin6_addr), 1);
	((struct sockaddr_in6 *)&a)->sin6_port = htons((uint16_t)port);
	return a;
}

static void apply(enum ht_guard_mode mode)
{
	const struct ht_guard_settings s = {
		.config = &config,
		.trusted = trusted,
		.ntrusted = HT_ARRAY_SIZE(trusted),
		.doors = doors,
		.ndoors = HT_ARRAY_SIZE(doors),
	};

	config.mode = mode;
	cr_assert_eq(ht_guard_apply(guard, &s), 0);
}

static void set_sysctl(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	cr_assert(fd >= 0 && write(fd, value, strlen(value)) > 0, "%s", path);
	close(fd);
}

/* A network of our own, where packets come in by `lo`. */
static void set_forwarding(const char *on)
{
	set_sysctl("/proc/sys/net/ipv4/conf/all/forwarding", on);
	set_sysctl("/proc/sys/net/ipv6/conf/all/forwarding", on);
}

static void open_guard(uint32_t max)
{
	const struct ht_guard_params p = {.config = &config};
	const char *why;

	ht_log_level(LOG_ERR);
	cr_assert_eq(unshare(CLONE_NEWNET), 0);
	set_forwarding("0");
	config = (struct ht_guard_config){
		.mode = HT_GUARD_DROP,
		.allow = allow,
		.nallow = HT_ARRAY_SIZE(allow),
		.forged = 5,
		.per_ms = 600000,
		.ban_ms = 3600000,
		.max = max,
		.v4_bits = 32,
		.v6_bits = 64,
	};
	cr_assert_eq(ht_prefix_parse(HT_STR("203.0.113.0/29"), &allow[0], &why), 0);
	cr_assert_eq(ht_prefix_parse(HT_STR("2001:db8:bad::a:0/112"), &allow[1], &why), 0);
	/* none of IPv4 is within it */
	cr_assert_eq(ht_prefix_parse(HT_STR("::/1"), &allow[2], &why), 0);
	allow[2].bits = 3; /* 0000:: to 1fff::, IPv4-mapped addresses among them */
	cr_assert_eq(ht_prefix_parse(HT_STR("203.0.113.9"), &trusted[0], &why), 0);
	doors[0] = address("192.0.2.1", DOOR);
	doors[1] = address("2001:db8::1", DOOR);
	doors[2] = address("0.0.0.0", 8443);
	doors[3] = address("::", 9443);
	cr_assert_eq(ht_guard_open(&p, &guard), 0);
	cr_assert_str_eq(ht_guard_why(guard), "", "%s", ht_guard_why(guard));
	apply(HT_GUARD_DROP);
}

static int bans_fd(void)
{
	struct bpf_prog_info info = {0};
	uint32_t ids[16], len = sizeof(info);

	info.map_ids = (uintptr_t)ids;
	info.nr_map_ids = HT_ARRAY_SIZE(ids);
	cr_assert_eq(bpf_obj_get_info_by_fd(ht_guard_program(guard), &info, &len), 0);
	for (uint32_t i = 0; i < info.nr_map_ids; i++) {
		struct bpf_map_info map = {0};
		int fd = bpf_map_get_fd_by_id(ids[i]);

		len = sizeof(map);
		cr_assert(fd >= 0 && !bpf_obj_get_info_by_fd(fd, &map, &len));
		if (!strcmp(map.name, "bans"))
			return fd;
		close(fd);
	}
	cr_assert_fail("no map bans");
	return -1;
}

/* Past the list of those who are never banned, to see whether the program looks at it. */
static void force_ban(const char *text)
{
	const struct ht_ban ban = {.until_ns = UINT64_MAX};
	struct sockaddr_storage a = address(text, 0);
	struct ht_ban_key key = {{0}};
	int fd = bans_fd();

	if (a.ss_family == AF_INET) {
		key.addr[10] = key.addr[11] = 0xff;
		memcpy(key.addr + 12, &((struct sockaddr_in *)&a)->sin_addr, 4);
	} else {
		memcpy(key.addr, &((struct sockaddr_in6 *)&a)->sin6_addr, 8);
	}
	cr_assert_eq(bpf_map_update_elem(fd, &key, &ban, BPF_ANY), 0);
	close(fd);
}

static int ban(const char *text, uint64_t for_ms)
{
	struct sockaddr_storage a = address(text, 0);

	return ht_guard_ban(guard, &a, for_ms);
}

static void start(void)
{
	open_guard(1024);
	cr_assert_eq(ban("198.51.100.7", 0), 0);
	cr_assert_eq(ban("2001:db8:bad::7", 0), 0);
	force_ban("203.0.113.5");
	force_ban("203.0.113.9");
}

static void finish(void)
{
	ht_guard_close(guard);
}

TestSuite(guard, .init = start, .fini = finish);

/* What the program says; -errno when the kernel takes no such packet. */
static int run(const void *bytes, size_t len, int repeat, uint32_t *ret_ns)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = bytes, .data_size_in = (uint32_t)len,
		    .repeat = repeat);
	int err = bpf_prog_test_run_opts(ht_guard_program(guard), &o);

	if (ret_ns)
		*ret_ns = o.duration;
	return err ? -errno : (int)o.retval;
}

static bool drops(const struct form *f)
{
	struct packet p;
	int verdict;

	make(f, &p);
	verdict = run(p.bytes, p.len, 1, NULL);
	cr_assert(verdict == XDP_DROP || verdict == XDP_PASS, "%s: %d", f->name, verdict);
	return verdict == XDP_DROP;
}

/* For what the kernel does in its own time. */
static bool comes_to(const struct form *f, bool dropped)
{
	const struct timespec pause = {0, 1000000};
	int looks = 0;

	while (drops(f) != dropped && looks++ < LOOKS_MAX)
		nanosleep(&pause, NULL);
	return looks < LOOKS_MAX;
}

Test(guard, every_form_of_packet)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(forms); i++)
		cr_expect_eq(drops(&forms[i]), !forms[i].passes, "%s", forms[i].name);
}

Test(guard, cut_off_at_every_byte)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(forms); i++) {
		struct packet p;

		make(&forms[i], &p);
		for (size_t len = ETH_HLEN; len <= p.len; len++) {
			bool drop = !forms[i].passes && len >= p.needed;
			int verdict = run(p.bytes, len, 1, NULL);

			cr_expect_eq(verdict, drop ? XDP_DROP : XDP_PASS, "%s, %zu bytes: %d",
				     forms[i].name, len, verdict);
		}
	}
}

/* 0.0.0.0:8443 and [::]:9443 are doors of this machine, not of those that it forwards to. */
Test(guard, a_router_lets_through_what_is_not_for_itself)
{
	const struct form v4 = {"IPv4", .to = "192.0.2.200", .port = 8443},
			  v6 = {"IPv6", .headers = "", .to = "2001:db8:5::5", .port = 9443},
			  named = {.name = "a door by its address"};
	/* where it would be forwarded to does not matter */
	const char *const set_up = "ip link set lo up && ip route add default dev lo && "
				   "ip -6 route add default dev lo";

	cr_assert_eq(system(set_up), 0);
	cr_expect(drops(&v4) && drops(&v6), "nothing is forwarded yet");
	set_forwarding("1");
	cr_expect_not(drops(&v4));
	cr_expect_not(drops(&v6));
	cr_expect(drops(&named), "whatever the routes are");
	cr_assert_eq(system("ip addr add 192.0.2.200/32 dev lo && "
			    "ip -6 addr add 2001:db8:5::5/128 dev lo"),
		     0);
	cr_expect(drops(&v4), "its own address");
	/* an address of IPv6 is the machine's own when a worker of the kernel's gets to it */
	cr_expect(comes_to(&v6, true), "its own address");
}

/* ---- bans ---- */

struct found {
	size_t n;
	struct ht_guard_entry e[8];
};

static void find(void *arg, const struct ht_guard_entry *e)
{
	struct found *f = arg;

	if (f->n < HT_ARRAY_SIZE(f->e))
		f->e[f->n++] = *e;
}

static struct ht_guard_entry entry(const char *source)
{
	struct found f = {0};

	cr_assert_geq(ht_guard_walk(guard, SIZE_MAX, find, &f), 0);
	for (size_t i = 0; i < f.n; i++) {
		if (!strcmp(f.e[i].source, source))
			return f.e[i];
	}
	cr_assert_fail("%s is not listed", source);
	return (struct ht_guard_entry){0};
}

Test(guard, packets_are_counted_for_each_ban_and_together)
{
	struct ht_guard_counters n;

	for (int i = 0; i < 7; i++)
		cr_assert(drops(&(struct form){.name = "IPv4"}));
	for (int i = 0; i < 3; i++)
		cr_assert(drops(&(struct form){"IPv6", .headers = ""}));
	cr_assert_not(drops(&(struct form){"allowed", .from = "203.0.113.5"}));
	ht_guard_counters(guard, &n);
	cr_expect_eq(n.packets.dropped, 10);
	cr_expect_eq(n.packets.reported, 0);
	cr_expect_eq(n.packets.spared, 1);
	cr_expect_eq(entry("198.51.100.7").ban.dropped, 7);
	cr_expect_eq(entry("2001:db8:bad::/64").ban.dropped, 3);
	cr_expect_eq(n.bans[HT_GUARD_DROP], 2);
	cr_expect_eq(n.by_hand, 2);
}

Test(guard, report_drops_nothing_and_counts)
{
	struct ht_guard_counters n;

	apply(HT_GUARD_REPORT);
	for (size_t i = 0; i < HT_ARRAY_SIZE(forms); i++)
		cr_expect_not(drops(&forms[i]), "%s", forms[i].name);
	ht_guard_counters(guard, &n);
	cr_expect_eq(n.packets.dropped, 0);
	cr_expect_gt(n.packets.reported, 20);
	apply(HT_GUARD_OFF);
	cr_expect_not(drops(&(struct form){.name = "IPv4"}));
	apply(HT_GUARD_DROP);
	cr_expect(drops(&(struct form){.name = "IPv4"}));
}

/* By the kernel's clock alone: nobody takes a ban away here. */
Test(guard, a_ban_ends)
{
	const struct form f = {"IPv4", .from = "198.51.100.99"};

	cr_expect_not(drops(&f));
	cr_assert_eq(ban("198.51.100.99", 3600000), 0);
	cr_expect(drops(&f));
	cr_assert_eq(ban("198.51.100.99", 50), 0);
	cr_expect(comes_to(&f, false), "it goes on");
	cr_expect(drops(&(struct form){.name = "the other one"}));
	cr_expect_eq(ht_guard_walk(guard, SIZE_MAX, NULL, NULL), 4, "the forced ones and two");
}

Test(guard, a_ban_is_lifted)
{
	struct sockaddr_storage a = address("198.51.100.7", 0), v6 = address("2001:db8:bad::1", 0);

	cr_expect_eq(ht_guard_pardon(guard, &a), 0);
	cr_expect_eq(ht_guard_pardon(guard, &a), -ENOENT);
	cr_expect_not(drops(&(struct form){.name = "IPv4"}));
	cr_expect_eq(ht_guard_pardon(guard, &v6), 0, "any address of the prefix");
	cr_expect_not(drops(&(struct form){"IPv6", .headers = ""}));
}

/* What can't be written is still what it was, and is counted so. */
Test(guard, a_failure_changes_no_count)
{
	struct sockaddr_storage a = address("198.51.100.7", 0);
	struct ht_guard_counters n;
	int fd = bans_fd();

	cr_assert_eq(ht_guard_running(guard), 2, "those of every test");
	cr_assert_eq(bpf_map_freeze(fd), 0);
	cr_expect_lt(ht_guard_ban(guard, &a, 0), 0);
	cr_expect_lt(ht_guard_pardon(guard, &a), 0);
	cr_expect_eq(ht_guard_running(guard), 2);
	ht_guard_counters(guard, &n);
	cr_expect_eq(n.failed, 1);
	close(fd);
}

Test(guard, who_is_allowed_can_not_be_banned)
{
	cr_expect_eq(ban("203.0.113.1", 0), -EPERM);
	cr_expect_eq(ban("203.0.113.9", 0), -EPERM, "a trusted proxy");
	cr_expect_eq(ban("203.0.113.10", 0), 0);
}

/* Scored, asked for and dropped: the program and the daemon say the same. */
Test(guard, five_different_forged_cookies_are_a_ban)
{
	const struct form f = {"IPv4", .from = "198.51.100.50"};
	struct sockaddr_storage a = address("198.51.100.50", 0);
	const struct sockaddr *client = (const struct sockaddr *)&a;

	for (int i = 0; i < 100; i++)
		cr_expect_not(ht_guard_forged(guard, client, 1, 4711, 1000));
	for (uint64_t i = 1; i <= 3; i++)
		cr_expect_not(ht_guard_forged(guard, client, 1, i, 1000));
	cr_expect_not(drops(&f));
	cr_expect_eq(ht_guard_ask(guard, client), HT_GUARD_OFF);
	cr_expect(ht_guard_forged(guard, client, 1, 4, 1000));
	cr_expect(drops(&f));
	cr_expect_eq(ht_guard_ask(guard, client), HT_GUARD_DROP);
	cr_expect_eq(entry("198.51.100.50").ban.forged, 5);
	cr_expect_eq(entry("198.51.100.50").ban.by_hand, 0);
}

Test(guard, whoever_is_allowed_is_not_scored)
{
	struct sockaddr_storage a = address("203.0.113.5", 0), b = address("203.0.113.9", 0);
	struct ht_guard_counters n;

	for (uint64_t i = 0; i < 50; i++) {
		cr_expect_not(ht_guard_forged(guard, (struct sockaddr *)&a, 1, i, 1000));
		cr_expect_not(ht_guard_forged(guard, (struct sockaddr *)&b, 1, i, 1000));
	}
	ht_guard_counters(guard, &n);
	cr_expect_eq(n.spared, 100);
	cr_expect_eq(n.bans[HT_GUARD_DROP], 2, "those of the start");
}

/* Not before the ban is over, or mode report would count what mode drop never sees. */
Test(guard, a_banned_source_is_not_banned_again)
{
	struct sockaddr_storage a = address("198.51.100.60", 0);
	struct ht_guard_counters n;

	apply(HT_GUARD_REPORT);
	for (uint64_t i = 0; i < 50; i++)
		cr_expect_not(ht_guard_forged(guard, (struct sockaddr *)&a, 1, i, 1000));
	ht_guard_counters(guard, &n);
	cr_expect_eq(n.bans[HT_GUARD_REPORT], 1);
	cr_expect_eq(ht_guard_ask(guard, (struct sockaddr *)&a), HT_GUARD_REPORT);
}

/* ---- many ---- */

static void random_bans(int fd, uint32_t first, uint32_t n)
{
	struct ht_ban_key *keys = calloc(n, sizeof(*keys));
	struct ht_ban *values = calloc(n, sizeof(*values));
	uint32_t done = n;

	for (uint32_t i = 0; i < n; i++) {
		const uint32_t spread = (first + i) * 2654435761u;

		keys[i].addr[10] = keys[i].addr[11] = 0xff;
		memcpy(keys[i].addr + 12, &spread, 4);
		values[i].until_ns = UINT64_MAX;
	}
	cr_assert_eq(bpf_map_update_batch(fd, keys, values, &done, NULL), 0, "%s", strerror(errno));
	free(keys);
	free(values);
}

Test(guard, bans_are_bounded, .init = NULL)
{
	struct sockaddr_storage last = address("198.51.100.7", 0);
	int fd;

	open_guard(4096);
	fd = bans_fd();
	for (uint32_t i = 0; i < 100; i++)
		random_bans(fd, i * 1000, 1000);
	cr_expect_leq(ht_guard_walk(guard, SIZE_MAX, NULL, NULL), 4096);
	cr_expect_gt(ht_guard_walk(guard, SIZE_MAX, NULL, NULL), 1024);
	cr_expect_eq(ht_guard_ban(guard, &last, 0), 0, "the newest always finds a place");
	cr_expect(drops(&(struct form){.name = "IPv4"}));
	close(fd);
}

/* ns of one run with each of `n` sources: `banned` those of random_bans(), else others. */
static double cost(uint32_t n, bool banned)
{
	struct form f = {.name = "cost"};
	struct packet p;
	uint64_t sum = 0;

	make(&f, &p);
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t spread = (i * 97u + (banned ? 0 : 1u << 31)) * 2654435761u;
		uint32_t ns;

		memcpy(p.bytes + ETH_HLEN + offsetof(struct iphdr, saddr), &spread, 4);
		cr_assert_eq(run(p.bytes, p.len, 1, &ns), banned ? XDP_DROP : XDP_PASS);
		sum += ns;
	}
	return (double)sum / n;
}

/* HT_SCALE=small: in a virtual machine times say nothing, but it must work. */
Test(guard, cost_of_a_million_bans, .init = NULL)
{
	const uint32_t bans = getenv("HT_SCALE") ? 20000 : 1000000, rounds = bans / 100;
	uint32_t hot_pass, hot_drop;
	struct packet p;
	double empty;
	int fd;

	/* an LRU map gives up some of what it could hold to be fast */
	open_guard(bans + bans / 16);
	fd = bans_fd();
	make(&(struct form){.name = "not banned"}, &p);
	empty = cost(rounds, false);
	for (uint32_t i = 0; i < bans / 1000; i++)
		random_bans(fd, i * 1000, 1000);
	cr_assert_geq(run(p.bytes, p.len, 1000000, &hot_pass), 0);
	force_ban("198.51.100.7");
	cr_assert_eq(run(p.bytes, p.len, 1000000, &hot_drop), XDP_DROP);
	printf("cost: %zd bans take %zu bytes of kernel memory, %.0f each\n",
	       ht_guard_walk(guard, SIZE_MAX, NULL, NULL), ht_guard_bytes(guard),
	       (double)ht_guard_bytes(guard) / (bans + bans / 16));
	printf("cost: a packet, %u ns passed and %u ns dropped when it is always the same; of "
	       "random "
	       "sources %.0f ns without bans, %.0f passed, %.0f dropped (each with the cost of "
	       "taking "
	       "the time)\n",
	       hot_pass, hot_drop, empty, cost(rounds, false), cost(rounds, true));
	close(fd);
}

#endif
