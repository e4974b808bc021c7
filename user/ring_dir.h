/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key's ring as a directory: one file for each secret, whose name says when it was born, and one
 * that says what is void. Only the owner may look into it. Knows files; decides nothing.
 */
#ifndef HT_RING_DIR_H
#define HT_RING_DIR_H

#include "ring.h"

/*
 * Reads BORN[-ANYTHING].key and next-BORN[-ANYTHING].key: the secrets, as key files have them, and
 * `void`. What a crash left half done does not count. -ENOENT without such a directory, -EINVAL, ...
 * with diag (its `file` is the directory or a file in it). *ret stays what it was on failure.
 */
int ht_ring_dir_load(const char *dir, struct ht_ring *ret, struct ht_diag *diag);

/* Makes the directory, mode 0700. -errno with diag. */
int ht_ring_dir_make(const char *dir, struct ht_diag *diag);

/*
 * Makes the directory hold this ring and no other secrets: what voids first, what is new next, what
 * goes last; all of it is on disk when it returns. -errno with diag.
 */
int ht_ring_dir_save(const char *dir, const struct ht_ring *r, struct ht_diag *diag);

#endif
