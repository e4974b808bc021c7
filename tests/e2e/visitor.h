/* SPDX-License-Identifier: Apache-2.0 */
/*
 * People with browsers: each has a session under a cookie of every profile, keeps whatever
 * Set-Cookie brings, and comes back with it. Their backend says which sessions it sees, so that a
 * session that is lost is seen at once, by whatever thread and at whatever node.
 */
#ifndef HT_E2E_VISITOR_H
#define HT_E2E_VISITOR_H

#include "harness.h"

#define VISITOR_COOKIES 6 /* three and their tokens */

/* The rules that their sessions are signed by; the key is `ring`. */
#define VISITOR_RULES                                                                              \
	"[ { name: sid, profile: f5-irule, key: ring, bind: [client-ip] },"                        \
	" { name: nat, profile: native, key: ring, bind: [client-ip] },"                           \
	" { name: bc, profile: proxysg, key: ring, bind: [client-ip] } ]"

struct visitor {
	char id[24];
	size_t n;
	struct {
		char name[24], value[256];
	} cookie[VISITOR_COOKIES];
	int renewed; /* tokens that the last visit brought */
};

void visitor_backend(struct bconn *c, struct breq *r);

/* Comes with these cookies to a path; takes what it is given. False without an answer. */
bool visitor_go(struct visitor *v, struct client *c, const char *path);

bool visitor_login(struct visitor *v, struct client *c, const char *id);
/* Comes back: how many of its three sessions the backend sees; -1 without an answer. */
int visitor_sessions(struct visitor *v, struct client *c);
#define visitor_is_in(v, c) (visitor_sessions(v, c) == 3)
#define visitor_is_out(v, c) (visitor_sessions(v, c) == 0)

/* A crowd of them on their own threads, coming to these gateways in turn until told to stop. */
struct crowd;
struct crowd *crowd_start(struct gw *const *gw, size_t ngw, size_t people);
/* Waits until everybody has come so many times more. False: they don't. */
bool crowd_rounds(struct crowd *c, int n);
/* Ends it. Visits, sessions that were not there, visits without an answer. */
struct crowd_count {
	long visits, lost, unanswered;
};
struct crowd_count crowd_stop(struct crowd *c);

#endif
