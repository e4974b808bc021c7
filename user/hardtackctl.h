/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of hardtackctl share: how it complains, answers and ends.
 */
#ifndef HT_HARDTACKCTL_H
#define HT_HARDTACKCTL_H

#include <jansson.h>

#include "util.h"

enum { EXIT_YES, EXIT_NO, EXIT_USAGE };

struct command {
	const char *name;
	int (*run)(const struct command *self, const char *socket_path, int argc, char **argv);
	const char *arguments, *help;
};

/* Each prints and returns what to exit with. */
_printf_(1, 2) int usage(const char *fmt, ...); /* a line that says what is wrong, then the usage */
int bad_option(void);				/* getopt_long() has said which */
int show_help(void);
_printf_(2, 3) int fail(int status, const char *fmt, ...);
int finish(int status); /* output that could not be written is no success */
int print_json(json_t *tree, int status);

/* `sign` and `verify`: no daemon, the daemon's own code. */
int run_offline(const struct command *self, const char *socket_path, int argc, char **argv);
void write_offline_usage(FILE *out);

/* What KIND=VALUE of --bind says of the client; changes `value`. False if it is none. */
struct ht_client;
bool describe_client(struct ht_client *client, unsigned kind, char *value);

/* `explain`: likewise. */
int run_explain(const struct command *self, const char *socket_path, int argc, char **argv);
void write_explain_usage(FILE *out);

#endif
