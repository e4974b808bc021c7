/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ctl answers, apart from how it gets to whom: the commands of the control socket and the
 * pages of the admin listener.
 */
#ifndef HT_CTL_ANSWER_H
#define HT_CTL_ANSWER_H

#include "ctl.h"

/* Runs "COMMAND [json]" (no line feed; changed while it is read) and writes the whole answer. */
void ht_ctl_command(const struct ht_ctl_daemon *d, char *line, FILE *out);

/*
 * Writes the whole response to an HTTP/1.x request head. `head` is NUL-terminated, begins with the
 * request line and ends with the empty line.
 */
void ht_ctl_http(const struct ht_ctl_daemon *d, const char *head, FILE *out);

/* A complete response without a body worth mentioning, also for what is no request. */
void ht_ctl_http_error(int status, FILE *out);

#endif
