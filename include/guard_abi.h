/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The contract between the guard's program and the daemon: who is banned, where, and what was
 * dropped. Apart from abi.h, so that neither changes the other's layout. Addresses are 16 bytes,
 * IPv4 as IPv4-mapped IPv6; whatever has another size of struct ht_ban is not taken over.
 */
#ifndef HT_GUARD_ABI_H
#define HT_GUARD_ABI_H

#include <linux/types.h>

#define HT_GUARD_DOORS_MAX 64
#define HT_GUARD_ALLOW_MAX 4096

enum ht_guard_mode {
	HT_GUARD_OFF = 0,
	HT_GUARD_REPORT, /* count, and let pass */
	HT_GUARD_DROP,
};

/* Key of the map `bans` (LRU_HASH): a source, less the bits beyond the configured prefix. */
struct ht_ban_key {
	__u8 addr[16];
};

struct ht_ban {
	__u64 until_ns; /* CLOCK_BOOTTIME; from then on it is none any more */
	__u64 since_ns; /* likewise */
	__u64 dropped;	/* packets; in mode report those that would have been */
	__u32 forged;	/* distinct cookies that it is for */
	__u32 by_hand;	/* 0 or 1 */
};
_Static_assert(sizeof(struct ht_ban) == 32, "ban layout");

/* Key of the map `ban_doors` (HASH): where we listen. The address is 0 (or ::ffff:0) for any. */
struct ht_guard_door {
	__u8 addr[16];
	__be16 port;
	__u8 pad[2];
};
_Static_assert(sizeof(struct ht_guard_door) == 20, "door layout");

/* Key of the map `ban_allow` (LPM_TRIE): who is never dropped. */
struct ht_guard_allow {
	__u32 bits; /* of the rest, from its first one */
	__u32 v6;   /* 0 or 1: no IPv4 address is within an IPv6 prefix, not even ::/0 */
	__u8 addr[16];
};
_Static_assert(sizeof(struct ht_guard_allow) == 24, "allow layout");

/* Map `ban_conf` (ARRAY of one). */
struct ht_guard_conf {
	__u32 mode; /* enum ht_guard_mode */
	__u32 pad;
	__u8 mask[2][16]; /* of sources: IPv4 (in its last four bytes), IPv6 */
};
_Static_assert(sizeof(struct ht_guard_conf) == 40, "conf layout");

/* Map `ban_count` (PERCPU_ARRAY of one). Never reset. Packets of banned sources to our doors. */
struct ht_guard_count {
	__u64 dropped;
	__u64 reported; /* would have been, in mode drop */
	__u64 spared;	/* on the allow list */
};

#endif
