/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters. Each worker has its own block that only it writes; readers add them up. No locks on
 * the request path.
 */
#ifndef HT_STATS_H
#define HT_STATS_H

#include <stdatomic.h>

#include "abi.h"
#include "config.h"
#include "guard.h"
#include "policy.h"
#include "util.h"

#define HT_STATS_LISTENERS 32
#define HT_STATS_CODES 600 /* status codes 0..599 */

enum ht_where { HT_WHERE_KERNEL, HT_WHERE_USER, HT_WHERE_MAX };
enum ht_side { HT_SIDE_CLIENT, HT_SIDE_BACKEND, HT_SIDE_MAX };
enum ht_conn_state { HT_CONN_ACTIVE, HT_CONN_IDLE, HT_CONN_STATE_MAX };

/* What clients are refused once TLS is established. */
enum ht_tls_refusal {
	HT_TLS_REFUSED_RECORD,	      /* forged, malformed or out of place */
	HT_TLS_REFUSED_ALERT,	      /* the client's own, a fatal one */
	HT_TLS_REFUSED_KEY_UPDATE,    /* the kernel has the keys and can't change them */
	HT_TLS_REFUSED_FLOOD,	      /* messages without end and no data between them */
	HT_TLS_REFUSED_RENEGOTIATION, /* the connection goes on */
	HT_TLS_REFUSED_EARLY_DATA,    /* likewise */
	HT_TLS_REFUSED_MAX,
};

/* One per worker; 64-bit, written with relaxed stores by its owner only. */
struct ht_stats {
	_Atomic uint64_t requests[HT_STATS_LISTENERS][HT_STATS_CODES];
	_Atomic uint64_t verdicts[HT_WHERE_MAX][HT_COOKIE_VERDICT_MAX][HT_ACTION_MAX];
	_Atomic uint64_t signed_cookies[8]; /* by enum ht_profile */
	_Atomic uint64_t sign_refused, sign_unbound, sign_sibling, sign_revoked, sign_issuer,
		sign_too_long;
	_Atomic uint64_t refused[HT_REASON_MAX]; /* as seen by the daemon, gate on or off */
	_Atomic int64_t connections[HT_SIDE_MAX][HT_CONN_STATE_MAX]; /* gauges */
	_Atomic uint64_t accepted, connections_refused, tls_failed;
	_Atomic uint64_t tls[2][2][2]; /* [TLS 1.3][ktls_tx][ktls_rx] */
	_Atomic uint64_t tls_refused[HT_TLS_REFUSED_MAX];
	_Atomic uint64_t backend_connects, backend_failures, backend_retries;
	_Atomic uint64_t backend_unanswered;
	_Atomic uint64_t timeouts, malformed, rejected_unbound;
	_Atomic uint64_t bytes_in, bytes_out;
	_Atomic uint64_t spliced_in, spliced_out; /* of those, bytes of bodies */
	_Atomic uint64_t proxy_untrusted, proxy_malformed;
	_Atomic uint64_t exempt;			   /* requests */
	_Atomic uint64_t guard_forged;			   /* requests that were scored */
	_Atomic uint64_t guard_refused[HT_GUARD_DROP + 1]; /* connections and requests, by mode */
};

/* Only the owner calls it. */
#define ht_stats_inc(field, n)                                                                     \
	atomic_store_explicit(&(field),                                                            \
			      atomic_load_explicit(&(field), memory_order_relaxed) + (n),          \
			      memory_order_relaxed)

/* One address of an upstream; see health.h. */
struct ht_stats_upstream {
	const char *site;   /* its first host */
	char upstream[192]; /* as in the log */
	bool up;	    /* it is given requests */
	bool down;	    /* by its health checks */
	uint32_t active, failures;
};

/* One signing key. What follows `failures` is of its store, if it has one. */
struct ht_stats_key {
	const struct ht_key *key;
	const char *source; /* "file", "directory", "memcached" */
	uint64_t rotations, revocations, failures;
	bool store;
	uint64_t polls, polls_failed, garbage, lease_busy, last_poll_s, void_before_s;
};

/* What is not the workers': the gate's, the token map's and the upstreams'. */
struct ht_stats_global {
	const struct ht_stats_upstream *upstreams;
	size_t nupstreams;
	uint64_t lookups_failed;
	uint64_t gate_counters[HT_COUNT_MAX];
	bool gate_on;
	uint64_t tokens_live, tokens_flushed, tokens_evicted;
	uint64_t sealed_live, sealed_flushed, sealed_evicted;
	uint64_t revoked_sessions;
	const struct ht_stats_key *keys;
	size_t nkeys;
	uint64_t now_s; /* Unix time */
	struct ht_guard_counters guard;
	uint64_t guard_bans; /* now */
	uint64_t guard_held; /* rules */
	const struct ht_guard_interface *guard_interfaces;
	size_t nguard_interfaces;
	bool bpf_stats; /* gate_run_seconds and gate_runs are valid */
	double gate_run_seconds;
	uint64_t gate_runs;
	size_t nlisteners;
	const char *listeners[HT_STATS_LISTENERS]; /* label values */
};

/* Adds up the workers' blocks, counter by counter, into *ret (150 KB: not for the stack). */
void ht_stats_sum(const struct ht_stats *const *workers, size_t nworkers, struct ht_stats *ret);

/*
 * Adds up the workers' blocks and writes Prometheus text (exposition format 0.0.4): # HELP and
 * # TYPE for each name of interface.md, zero samples included for verdicts and refusals. Returns
 * malloc'ed text of *ret_len bytes, or NULL.
 */
char *ht_stats_prometheus(const struct ht_stats *const *workers, size_t nworkers,
			  const struct ht_stats_global *g, size_t *ret_len);

#endif
