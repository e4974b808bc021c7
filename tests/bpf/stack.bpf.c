// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The gate with one thing wrong: the scanner's state is on the BPF stack while bpf_loop() changes
 * it. Linux 6.1 verifies the step once, with the state as it was before the first one, takes what
 * never happens then for dead, and removes it: most of the scanner. Later kernels refuse it. Never
 * part of the product; test_stack.c shows that either way nobody would run it unnoticed.
 *
 * Everything but that is bpf/gate.bpf.c itself. Its state is larger than a stack, so the Makefile
 * builds this with an abi.h that has room for fewer cookies.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "cut.h"

struct run;

static __always_inline long loop_on_the_stack(__u32 n, struct run *r);

/* Only the scan is driven differently: by its callback's name. */
#define DRIVE_scan_step(n, fn, ctx) loop_on_the_stack(n, ctx)
#define DRIVE_sip_step(n, fn, ctx) (bpf_loop)(n, fn, ctx, 0)
#define DRIVE_judge_step(n, fn, ctx) (bpf_loop)(n, fn, ctx, 0)
#define DRIVE_cut_step(n, fn, ctx) (bpf_loop)(n, fn, ctx, 0)
#define DRIVE_move_step(n, fn, ctx) (bpf_loop)(n, fn, ctx, 0)
#define bpf_loop(n, fn, ctx, flags) DRIVE_##fn(n, fn, ctx)

#include "../../bpf/gate.bpf.c"

#undef bpf_loop

struct scan {
	struct run *run;
	struct ht_head head;
};

static long step_on_the_stack(__u32 i, struct scan *s)
{
	struct run *r = s->run;

	return ht_head_step(r->msg, &s->head, r->pol);
}

static __always_inline long loop_on_the_stack(__u32 n, struct run *r)
{
	struct scan s = {.run = r};
	long steps;

	ht_head_init(&s.head, r->msg, r->msg->size);
	steps = bpf_loop(n, step_on_the_stack, &s, 0);
	r->st->head = s.head;
	return steps;
}
