/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory on a bpffs where the gate and the guard pin what they have in the kernel, and its
 * lock, by which two daemons tell that they were given the same one.
 */
#ifndef HT_OFFLOAD_PIN_H
#define HT_OFFLOAD_PIN_H

#include "util.h"

/*
 * Makes the directory if it is not there, mounting a bpffs on /sys/fs/bpf where there is none, and
 * takes its lock; waits `wait_ms` for a daemon that drains. Its descriptor, which is the caller's,
 * or -errno with why.
 */
int ht_pin_dir_open(const char *dir, unsigned wait_ms, char *why, size_t why_len);

#endif
