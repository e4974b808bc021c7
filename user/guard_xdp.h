/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard's program and maps in the kernel: loaded, pinned, attached, filled, read. For guard.c
 * alone; beside offload.c the only file that includes <bpf/...>.
 */
#ifndef HT_GUARD_XDP_H
#define HT_GUARD_XDP_H

#include "guard.h"

struct ht_guard_xdp;

/*
 * -errno with why when there can be none. What can't be pinned is a log line, no error. Bans of a
 * daemon before us are taken over if its masks were those of `conf`.
 */
int ht_guard_xdp_open(const struct ht_guard_params *p, const struct ht_guard_conf *conf,
		      struct ht_guard_xdp **ret, char *why, size_t why_len);
void ht_guard_xdp_close(struct ht_guard_xdp *x);	  /* NULL-safe; what is pinned stays */
void ht_guard_xdp_clear(const struct ht_guard_params *p); /* unpins, and so detaches */

int ht_guard_xdp_apply(struct ht_guard_xdp *x, const struct ht_prefix *never, size_t nnever,
		       const struct sockaddr_storage *doors, size_t ndoors,
		       const struct ht_guard_conf *conf);
void ht_guard_xdp_attach(struct ht_guard_xdp *x); /* and again: what has come, gone or failed */

bool ht_guard_xdp_reused(const struct ht_guard_xdp *x);
const struct ht_guard_interface *ht_guard_xdp_interfaces(const struct ht_guard_xdp *x,
							 size_t *ret_n);

/* 0 or -errno; any thread */
int ht_guard_xdp_get(const struct ht_guard_xdp *x, const struct ht_ban_key *key,
		     struct ht_ban *ret);
int ht_guard_xdp_put(const struct ht_guard_xdp *x, const struct ht_ban_key *key,
		     const struct ht_ban *ban);
int ht_guard_xdp_delete(const struct ht_guard_xdp *x, const struct ht_ban_key *key);

int ht_guard_xdp_each(const struct ht_guard_xdp *x,
		      void (*fn)(void *arg, const struct ht_ban_key *key, const struct ht_ban *ban),
		      void *arg);
void ht_guard_xdp_count(const struct ht_guard_xdp *x, struct ht_guard_count *ret);
size_t ht_guard_xdp_bytes(const struct ht_guard_xdp *x);
int ht_guard_xdp_program(const struct ht_guard_xdp *x);

#endif
