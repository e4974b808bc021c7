/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guard's tests stand on: two networks joined by a veth pair, the gateway and its backend
 * in the one, in the other an attacker and his neighbours with addresses of their own. That something
 * is dropped is told by the guard's counter, never by waiting for nothing.
 */
#ifndef HT_E2E_GUARD_NET_H
#define HT_E2E_GUARD_NET_H

#include "netns.h"

#define PORT 8080
#define HERE "10.77.0.1"
#define ATTACKER "10.77.0.66"
#define ALICE "10.77.0.3"
#define HERE6 "fd77::1"
#define ATTACKER6 "fd77:1::66"
#define ACCOMPLICE6 "fd77:1::67" /* of the same /64 */
#define ALICE6 "fd77:2::3"
#define LISTEN                                                                                     \
	"  - address: " HERE ":8080\n"                                                             \
	"  - address: \"[" HERE6 "]:8080\"\n"

#define GUARD(rest) "guard: { interface: ht0, mode: drop, forged: 5, per: 10m, " rest " }\n"

/* ---- networks ---- */

extern int net_here, net_there; /* namespaces */

bool net_open(void);  /* false where the kernel or ip(8) can't; the test is here afterwards */
void net_close(void); /* of each suite: nobody's guard is left in libxdp's care */
void net_must(const char *words); /* of ip(8), separated by blanks */

#define need_net()                                                                                 \
	do {                                                                                       \
		e2e_need_gate();                                                                   \
		if (!run_have_bpf())                                                               \
			e2e_skip("BPF can't be had here");                                         \
		if (!net_open())                                                                   \
			e2e_skip("no veth pairs here");                                            \
	} while (0)

/* ---- people ---- */

struct client *come(const char *from, const char *before);
struct client *come_again(const char *from, const char *before); /* NULL if he is not let in */
const char *forged(unsigned n);					 /* Cookie field */

/* Requests with another forged cookie each, on connections of their own: how many were answered. */
unsigned attack(const char *from, unsigned first, unsigned n);

/* His cookie arrives, whatever happens to others. */
void expect_served(struct client *c, struct backend *be, const char *from);

/* A connection that is being made: its SYN has left, and leaves again every other second. */
int knock(const char *from);
bool is_through(int fd);

/* His packets are seen and dropped. */
void expect_dropped(struct gw *gw, const char *from);

/* ---- the gateway ---- */

struct gw *guard_start(struct backend *be, const char *guard);
double metric(struct gw *gw, const char *name);
double dropped(struct gw *gw);
double bans_made(struct gw *gw);
bool is_up(struct gw *gw, const char *interface); /* guarded */

int guard_ctl(struct gw *gw, struct text *out, const char *const args[]);
#define CTL(gw, out, ...) guard_ctl(gw, out, (const char *const[]){__VA_ARGS__, NULL})

#endif
