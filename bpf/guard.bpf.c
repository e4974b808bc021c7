// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The guard: an XDP program that takes away the packets of banned sources before the stack sees
 * them, and nothing else: only TCP, only to where the daemon listens, only until the ban ends by
 * the kernel's clock, so that nobody stays locked out if the daemon dies. It bans nobody itself,
 * and what this machine would only forward is not its business.
 *
 * What it can't read (truncated, tunnelled, encrypted, too many headers) and later fragments pass:
 * behind it the daemon refuses the same sources at accept.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "guard_abi.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define TAGS_MAX 2    /* 802.1Q and 802.1ad, where the driver has not taken them off */
#define HEADERS_MAX 8 /* IPv6 extension headers */
#define FAMILY_V4 2   /* AF_INET, which is in no header that BPF can have */
#define FAMILY_V6 10

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024); /* set at load */
	__type(key, struct ht_ban_key);
	__type(value, struct ht_ban);
} bans SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HT_GUARD_DOORS_MAX);
	__type(key, struct ht_guard_door);
	__type(value, __u32);
} ban_doors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, HT_GUARD_ALLOW_MAX);
	__type(key, struct ht_guard_allow);
	__type(value, __u32);
} ban_allow SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ht_guard_conf);
} ban_conf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ht_guard_count);
} ban_count SEC(".maps");

/* Where reading has got to. */
struct cursor {
	void *at, *end;
};

/* What is asked of a packet. */
struct flow {
	struct ht_guard_allow from; /* the whole address */
	struct ht_guard_door to;
};

struct tag {
	__be16 tci, proto;
};

/* The next `len` bytes, or NULL where the packet ends before. */
static __always_inline void *take(struct cursor *c, __u32 len)
{
	void *p = c->at;

	if (p + len > c->end)
		return NULL;
	c->at = p + len;
	return p;
}

static __always_inline void set_mapped(__u8 *addr, __be32 v4)
{
	__u32 *word = (__u32 *)addr;

	word[0] = 0;
	word[1] = 0;
	word[2] = bpf_htonl(0xffff);
	word[3] = v4;
}

/* Ethernet and its tags: the protocol of what follows, 0 = can't tell. */
static __always_inline __be16 link_layer(struct cursor *c)
{
	struct ethhdr *eth = take(c, sizeof(*eth));
	__be16 proto;

	if (!eth)
		return 0;
	proto = eth->h_proto;
	for (int i = 0; i < TAGS_MAX; i++) {
		struct tag *tag;

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		tag = take(c, sizeof(*tag));
		if (!tag)
			return 0;
		proto = tag->proto;
	}
	return proto;
}

/* The ports stand in any first fragment, however small. */
static __always_inline int take_ports(struct cursor *c, struct flow *f)
{
	__be16 *ports = take(c, 4);

	if (!ports)
		return 0;
	f->to.port = ports[1];
	return 1;
}

/* True if it is TCP, and where from and to is known. */
static __always_inline int ipv4(struct cursor *c, struct flow *f)
{
	struct iphdr *ip = take(c, sizeof(*ip));
	__u32 options;

	if (!ip || ip->version != 4 || ip->ihl < 5 || ip->protocol != IPPROTO_TCP)
		return 0;
	/* a later fragment: without the first one, which has the ports, nothing comes of it */
	if (ip->frag_off & bpf_htons(0x1fff))
		return 0;
	options = (ip->ihl - 5) * 4;
	if (options && !take(c, options & 63))
		return 0;
	set_mapped(f->from.addr, ip->saddr);
	set_mapped(f->to.addr, ip->daddr);
	return take_ports(c, f);
}

static __always_inline int is_extension(__u32 type)
{
	return type == IPPROTO_HOPOPTS || type == IPPROTO_ROUTING || type == IPPROTO_FRAGMENT ||
	       type == IPPROTO_AH || type == IPPROTO_DSTOPTS;
}

/*
 * One extension header `off` bytes into the packet: where the next one begins and its type, as
 * offset << 8 | type; 0 = can't tell. Global, so that the verifier goes through it once instead of
 * once for every way through all headers before, which is too much for that of 7.x.
 */
__noinline __u64 extension(struct xdp_md *ctx, __u32 off, __u32 type)
{
	__u8 h[8];

	if (!ctx || bpf_xdp_load_bytes(ctx, off, h, sizeof(h)))
		return 0;
	if (type == IPPROTO_FRAGMENT && ((h[2] << 8 | h[3]) & 0xfff8))
		return 0; /* a later one: as for IPv4 */
	if (type == IPPROTO_FRAGMENT)
		off += 8;
	else if (type == IPPROTO_AH) /* counts otherwise */
		off += (h[1] + 2) * 4;
	else
		off += (h[1] + 1) * 8;
	return (__u64)off << 8 | h[0];
}

/* The same where TCP is behind extension headers, which are rare. */
static __always_inline int behind_extensions(struct xdp_md *ctx, struct flow *f, __u64 at)
{
	__be16 ports[2];

	for (int i = 0; i < HEADERS_MAX && is_extension(at & 255); i++)
		at = extension(ctx, at >> 8, at & 255);
	if ((at & 255) != IPPROTO_TCP || bpf_xdp_load_bytes(ctx, at >> 8, ports, sizeof(ports)))
		return 0;
	f->to.port = ports[1];
	return 1;
}

static __always_inline int ipv6(struct xdp_md *ctx, struct cursor *c, struct flow *f)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));

	if (!ip || ip->version != 6)
		return 0;
	__builtin_memcpy(f->from.addr, &ip->saddr, sizeof(f->from.addr));
	__builtin_memcpy(f->to.addr, &ip->daddr, sizeof(f->to.addr));
	f->from.v6 = 1;
	if (ip->nexthdr == IPPROTO_TCP)
		return take_ports(c, f);
	return is_extension(ip->nexthdr) &&
	       behind_extensions(ctx, f,
				 (__u64)(c->at - (void *)(long)ctx->data) << 8 | ip->nexthdr);
}

/* Who to where, if it is TCP. */
static __always_inline int read_flow(struct xdp_md *ctx, struct flow *f)
{
	struct cursor c = {(void *)(long)ctx->data, (void *)(long)ctx->data_end};

	f->from.bits = 32 + 128;
	switch (link_layer(&c)) {
	case bpf_htons(ETH_P_IP):
		return ipv4(&c, f);
	case bpf_htons(ETH_P_IPV6):
		return ipv6(ctx, &c, f);
	default:
		return 0;
	}
}

static __always_inline struct ht_ban *find_ban(const struct flow *f,
					       const struct ht_guard_conf *conf)
{
	const __u32 *mask = (const __u32 *)conf->mask[f->from.v6 ? 1 : 0];
	const __u32 *from = (const __u32 *)f->from.addr;
	struct ht_ban_key key;
	__u32 *word = (__u32 *)key.addr;

	for (int i = 0; i < 4; i++)
		word[i] = from[i] & mask[i];
	return bpf_map_lookup_elem(&bans, &key);
}

/* True if this machine is not where it goes: a router, and somebody else's port behind it. */
static __always_inline int is_passing_by(struct xdp_md *ctx, const struct flow *f)
{
	struct bpf_fib_lookup fib = {
		.family = f->from.v6 ? FAMILY_V6 : FAMILY_V4,
		.l4_protocol = IPPROTO_TCP,
		.dport = f->to.port,
		.ifindex = ctx->ingress_ifindex,
	};

	if (f->from.v6) {
		__builtin_memcpy(fib.ipv6_src, f->from.addr, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, f->to.addr, sizeof(fib.ipv6_dst));
	} else {
		fib.ipv4_src = ((const __be32 *)f->from.addr)[3];
		fib.ipv4_dst = ((const __be32 *)f->to.addr)[3];
	}
	switch (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
		return 1;
	/*
	 * Ours, or nobody forwards it. With forwarding off it is FWD_DISABLED before any route is
	 * looked at, so that a bridge's port or a promiscuous interface needs a door with an address.
	 */
	default:
		return 0;
	}
}

/* At this address, or at any of its family: then, at any that is ours. */
static __always_inline int is_door(struct xdp_md *ctx, const struct flow *f)
{
	struct ht_guard_door any = {.port = f->to.port};

	if (bpf_map_lookup_elem(&ban_doors, &f->to))
		return 1;
	if (!f->from.v6)
		set_mapped(any.addr, 0);
	return bpf_map_lookup_elem(&ban_doors, &any) && !is_passing_by(ctx, f);
}

SEC("xdp.frags")
int guard(struct xdp_md *ctx)
{
	const struct ht_guard_conf *conf;
	struct ht_guard_count *count;
	struct flow f = {};
	struct ht_ban *ban;
	__u32 only = 0;

	conf = bpf_map_lookup_elem(&ban_conf, &only);
	count = bpf_map_lookup_elem(&ban_count, &only);
	if (!conf || !count || !conf->mode || !read_flow(ctx, &f))
		return XDP_PASS;
	/* an entry that is given to somebody else meanwhile costs him or us a packet, no more */
	ban = find_ban(&f, conf);
	if (!ban || ban->until_ns <= bpf_ktime_get_boot_ns() || !is_door(ctx, &f))
		return XDP_PASS;
	if (bpf_map_lookup_elem(&ban_allow, &f.from)) {
		count->spared++;
		return XDP_PASS;
	}
	__sync_fetch_and_add(&ban->dropped, 1);
	if (conf->mode != HT_GUARD_DROP) {
		count->reported++;
		return XDP_PASS;
	}
	count->dropped++;
	return XDP_DROP;
}
