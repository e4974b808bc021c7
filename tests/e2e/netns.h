/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network namespaces without names: they are gone with the test's process. Must not know what anybody
 * puts into them.
 */
#ifndef HT_E2E_NETNS_H
#define HT_E2E_NETNS_H

#include "harness.h"

/* One more, which we are in afterwards, with `lo` up: a file descriptor, or -1 with errno. */
int netns_new(void);

void netns_enter(int ns);

/* Runs lines of shell where we are. False if one failed; *out is what was printed. */
bool netns_shell(struct text *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
