/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules whose cookies of before look forged for a while, because their key was replaced or they bind
 * to something else: whoever comes back with one is no attacker. Which rules, and until when, is kept
 * in a small file, as the daemon may be started anew meanwhile, or for that very change. Knows no
 * secret. No lock, no clock: both are the caller's. For guard.c alone.
 */
#ifndef HT_GUARD_HOLD_H
#define HT_GUARD_HOLD_H

#include "guard.h"

struct ht_holds;

/*
 * What the file says, which is kept open and written anew with every change; NULL = no file. One that
 * is not exactly what we wrote, or is somebody else's, says nothing. -ENOMEM; what can't be opened or
 * written is a log line.
 */
int ht_holds_open(const char *path, struct ht_holds **ret);
void ht_holds_close(struct ht_holds *h); /* NULL-safe; the file stays */

/*
 * The rules as they are from now on. Those that were there before and make other tokens now are held
 * until `until_s` (Unix time; 0 = nothing is held any more). Returns how many. -ENOMEM.
 */
int ht_holds_follow(struct ht_holds *h, const struct ht_guard_rule *rules, size_t n,
		    uint64_t until_s);

/* The key of this name has been replaced: the same for its rules. */
int ht_holds_key(struct ht_holds *h, const char *key, uint64_t until_s);

/* Is this rule held at `now_s`? */
bool ht_holds_has(const struct ht_holds *h, uint64_t rule, uint64_t now_s);
size_t ht_holds_count(const struct ht_holds *h, uint64_t now_s);

#endif
