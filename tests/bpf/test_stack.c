/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gate that the verifier misreads must not go unnoticed: the real one with its scanner's state
 * on the stack (stack.bpf.c) is refused by the kernel, or shrinks so much that the daemon's own
 * check at load sees it.
 */
#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <stdio.h>

#include "offload.h"

#ifndef HT_WEAK
#include "weak/stack.skel.h"

Test(load, state_on_the_stack_is_caught)
{
	struct stack *s = stack__open();
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info), own, got;

	cr_assert(s);
	bpf_program__set_log_level(s->progs.verdict, 4); /* a summary, and no second try */
	if (stack__load(s)) {
		printf("stack: refused by the verifier\n");
		stack__destroy(s);
		return;
	}
	cr_assert_eq(bpf_obj_get_info_by_fd(bpf_program__fd(s->progs.verdict), &info, &len), 0);
	own = bpf_program__insn_cnt(s->progs.verdict);
	got = info.xlated_prog_len / 8;
	printf("stack: loaded with %u of %u instructions\n", got, own);
	cr_expect(!ht_offload_is_whole(own, got), "%u of %u instructions go unnoticed", got, own);
	stack__destroy(s);
}

#endif
