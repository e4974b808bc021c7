/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The maps of the gate. Sizes marked "set at load" come from the configuration. Names are what
 * `bpftool map` shows: 15 characters at the most.
 */
#ifndef HT_MAPS_BPF_H
#define HT_MAPS_BPF_H

#include "abi.h"

/* Tokens that the daemon verified or made. Digests only: no session value, no token. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 1024); /* set at load */
	__type(key, struct ht_token_key);
	__type(value, struct ht_token);
} tokens SEC(".maps");

/* The plaintext of sealed cookies. It ends with the daemon, and is emptied by a flush. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024); /* set at load */
	__type(key, struct ht_token_key);
	__type(value, struct ht_sealed);
} sealed SEC(".maps");

/* One per backend connection, shared memory with the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 64); /* set at load */
	__type(key, __u32);
	__type(value, struct ht_slot);
} slots SEC(".maps");

/* What each site covers. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, struct ht_policy);
} policy SEC(".maps");

/* Current generation of each signing key; the last one is the global one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HT_KEYS_MAX + 1);
	__type(key, __u32);
	__type(value, __u32);
} gens SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ht_counters);
} counters SEC(".maps");

/* For the next daemon; no program looks at it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ht_abi_record);
} abi SEC(".maps");

/* The state of each backend socket; not dumpable, and it holds the SipHash keys. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ht_sock);
} socks SEC(".maps");

/* The backend sockets that are gated, by socket cookie. The verdict program hangs on it. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 64); /* set at load */
	__type(key, __u64);
	__type(value, __u64);
} gated SEC(".maps");

#endif
