// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Somebody else's XDP program, for test_guard_share.c: counts TCP packets by the last byte of their
 * IPv4 source, and passes them all on.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

SEC("xdp")
int counter(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	__u32 from;
	__u64 *n;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) ||
	    ip->protocol != IPPROTO_TCP)
		return XDP_PASS;
	from = bpf_ntohl(ip->saddr) & 255;
	n = bpf_map_lookup_elem(&seen, &from);
	if (n)
		__sync_fetch_and_add(n, 1);
	return XDP_PASS;
}
