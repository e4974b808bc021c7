/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket (what hardtackctl talks to) and the admin HTTP listener (/metrics, /healthz,
 * /). Runs in the main thread's loop, never in a worker; an answer that a client
 * takes slowly is kept and sent as it goes, for five seconds.
 */
#ifndef HT_CTL_H
#define HT_CTL_H

#include <time.h>

#include "config.h"
#include "health.h"
#include "offload.h"
#include "stats.h"
#include "util.h"

/* One session to be ended. */
struct ht_ctl_revocation {
	struct ht_str name, value; /* of its cookie */
	struct ht_str site;	   /* a host of it; empty = wherever the cookie is */
	uint64_t for_s;		   /* 0 = as long as is usual; says for how long afterwards */
};

/* The daemon as ctl sees it. Pointers are borrowed and outlive the ctl. */
struct ht_ctl_daemon {
	const struct ht_config *config;
	const size_t *listener_index; /* whose counters are whose; NULL = as in config */
	struct ht_offload *offload;
	struct ht_guard *guard;		     /* or NULL */
	struct ht_health *health;	     /* of the upstreams of `config`, or NULL */
	const struct ht_stats *const *stats; /* one per worker */
	size_t nstats;
	const char *gate_why; /* why the gate is off, "" when it is on */
	const char *ktls_why; /* likewise; "" when both directions are offered */
	time_t started;
	volatile bool draining;
	/* Bumps the global generation, empties the map; returns how many went. */
	size_t (*flush)(void *arg);
	/*
	 * Reads the configuration again. -errno with why, and everything is as it was; else `why`
	 * says what of it needs a restart, or "". It changes `config` and `listener_index`.
	 */
	int (*reload)(void *arg, char *why, size_t why_len);
	/* -errno with why; else `why` says what of it is not as wished, or "". */
	int (*revoke)(void *arg, struct ht_ctl_revocation *r, char *why, size_t why_len);
	size_t (*revoked)(void *arg); /* sessions that are; NULL = 0 */
	/* A key by its name, both as `revoke`; or NULL. */
	int (*rotate)(void *arg, const char *name, char *why, size_t why_len);
	int (*revoke_key)(void *arg, const char *name, char *why, size_t why_len);
	size_t (*keys)(void *arg, struct ht_stats_key *ret); /* ret[HT_KEYS_MAX]; NULL = none */
	void *arg;
};

struct ht_ctl;

/*
 * Opens the control socket (mode 0600, a stale one is replaced, a live one is -EADDRINUSE) and the
 * admin listener. Either may be missing from the configuration. -errno with text. Call it before
 * the workers start: it sets the process's umask for a moment.
 */
int ht_ctl_open(struct ht_ctl_daemon *d, struct ht_ctl **ret, char *why, size_t why_len);
void ht_ctl_close(struct ht_ctl *c); /* NULL-safe; unlinks the control socket */

/* An epoll fd that becomes readable when ht_ctl_dispatch() has something to do. Never blocks. */
int ht_ctl_fd(const struct ht_ctl *c);
void ht_ctl_dispatch(struct ht_ctl *c);

/*
 * Protocol of the control socket (SOCK_STREAM): the client sends one line "COMMAND [json]\n", json
 * being {"json": true} for an answer in JSON and {"limit": N} for at most N tokens (100), and reads the answer until EOF; it starts with "ok\n" or "error: TEXT\n". Commands: status, tokens,
 * flush, reload, metrics, rotate with {"key": "NAME"}, and revoke with the same or with
 * {"cookie": "NAME=VALUE", "site": "HOST", "for": SECONDS}, of which the last two may be missing; and
 * bans with {"action": "list"}, {"action": "add", "address": "IP", "for": SECONDS} (which may be
 * missing) or {"action": "del", "address": "IP"}.
 */

#endif
