/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of ctl's answers share: ctl_answer.c and ctl_bans.c. For nobody else. */
#ifndef HT_CTL_PARTS_H
#define HT_CTL_PARTS_H

#include <jansson.h>

#include "ctl_answer.h"

/* "ok", then the tree, which is consumed; an error if it is NULL. */
void ht_ctl_write_json(FILE *out, json_t *tree);

/* What is asked of `bans`. */
struct ht_ctl_bans {
	bool json;
	size_t limit;
	struct ht_str action, address; /* "" = list */
	uint64_t for_s;		       /* 0 = as configured */
};
void ht_ctl_bans(const struct ht_ctl_daemon *d, const struct ht_ctl_bans *b, FILE *out);

json_t *ht_ctl_guard_tree(const struct ht_ctl_daemon *d, const struct ht_stats *s);
uint64_t ht_ctl_bans_now(const struct ht_ctl_daemon *d);

#endif
