/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the parts of the gate have in common: one run of the sk_msg program, and how memory is shared. */
#ifndef HT_RUN_BPF_H
#define HT_RUN_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "head.h"
#include "maps.bpf.h"

/*
 * The test suite builds the gate a second time with HT_WEAK, where guards can be left out and
 * failures pretended, to show the attacks that they close. In the product both are constantly 0.
 */
#ifdef HT_WEAK
#include "../tests/bpf/weak.h"
const volatile __u32 ht_weak;
#define WEAK(guard) (ht_weak & HT_WEAK_##guard)
#define FAIL(call) (ht_weak & HT_FAIL_##call)
#else
#define WEAK(guard) 0
#define FAIL(call) 0
#endif

#define barrier() asm volatile("" ::: "memory")
#define READ(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))

/* Pointers only: a scanner state on the stack is refused by 6.12 and misread by 6.1. */
struct run {
	struct sk_msg_md *msg;
	struct ht_sock *st;
	struct ht_slot *slot;
	struct ht_policy *pol;
	struct ht_counters *counters;
};

#endif
