/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three servers that people really have behind a gateway, each writing down how it frames what it
 * gets: nginx, Apache and Node. Each answer has "X-Seen: METHOD TARGET".
 */
#ifndef HT_E2E_ORIGIN_H
#define HT_E2E_ORIGIN_H

#include <stdbool.h>
#include <sys/types.h>

enum origin_kind { ORIGIN_NGINX, ORIGIN_APACHE, ORIGIN_NODE };

struct origin {
	enum origin_kind kind;
	char dir[128], frames[160];
	int port;
	pid_t pid;
};

/* One request as the server took it. */
struct origin_frame {
	char *id, *method, *target, *cookies; /* "-" where it saw none */
	long length;			      /* of its body; -1: it doesn't say */
	bool complete;			      /* it got and served all of it */
};

bool origin_have(enum origin_kind kind);
struct origin *origin_start(enum origin_kind kind);
void origin_stop(struct origin *o); /* what it wrote down is complete after it */
struct origin_frame *origin_frames(struct origin *o, size_t *ret_n);

#endif
