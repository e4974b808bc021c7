/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard's program as one of several on an interface, in the dispatcher of libxdp. For
 * guard_xdp.c alone, on the main thread, and only while there is CAP_SYS_ADMIN: libxdp looks
 * programs and their types up by number.
 */
#ifndef HT_GUARD_SHARE_H
#define HT_GUARD_SHARE_H

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Where in the chain: before what has no priority of its own (50), as a filter should be, so that
 * what is dropped costs nobody else anything. Those behind see what passes.
 */
#define HT_GUARD_PRIORITY 10

/* Can anything be shared, by this process on this kernel? If not, why. Attaches nothing. */
bool ht_guard_share_can(char *why, size_t why_len);

/*
 * Loads the program once more, on the maps of `maps`, and puts it into the interface's chain; where
 * there is none yet it begins one. In the driver if it can, in the stack if not or if that is where
 * the chain is. -EBUSY: another program has the interface without a dispatcher, and keeps it.
 * *ret is the program, the caller's; it stays in the chain until it is taken out, even if nobody
 * holds it any more.
 */
int ht_guard_share_attach(const struct bpf_object *maps, int ifindex, int *ret, char *why,
			  size_t why_len);

bool ht_guard_share_has(int program, int ifindex);
/* Out of the chain, in which the others stay. 0 too where it was not in it, or it is gone; -errno. */
int ht_guard_share_detach(int program, int ifindex);

#endif
