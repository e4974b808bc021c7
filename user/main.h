/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of hardtackd's main thread share: setting up (main.c), sockets handed over by a
 * service manager (main_sockets.c), reloading (main_reload.c). For nobody else.
 */
#ifndef HT_MAIN_H
#define HT_MAIN_H

#include "ctl.h"
#include "keep.h"
#include "worker.h"

struct ht_daemon {
	const char *file;	  /* the configuration's */
	struct ht_config *config; /* as of the start: what takes a restart to change */
	struct ht_common common;
	struct ht_gateway *gateway;	      /* the newest generation */
	struct ht_keyring *ring;	      /* of the first one, until it is published */
	struct ht_keep *keep;		      /* NULL without a control socket */
	struct ht_keep_revoked *keep_revoked; /* likewise */
	struct ht_ctl *ctl;
	struct ht_ctl_daemon ctl_daemon;
	size_t listener_index[HT_LISTENERS_MAX];
	unsigned nworkers;
	struct ht_worker **workers;
	struct ht_stats **stats; /* one per worker */
	char gate_why[512], ktls_why[256];
	int signal_fd, flush_fd, keys_fd, guard_fd;
	uint64_t drain_until_ms; /* 0 = serving */
	struct {
		uint64_t rotations, revocations, failures;
	} key_counts[HT_KEYS_MAX]; /* by the key's place */
	unsigned switching; /* workers that have not gone over to the newest generation yet */
};

/*
 * Takes the sockets that a service manager hands over (LISTEN_FDS, sd_listen_fds(3)) to the
 * listeners of the same address. Logs what does not fit. Before anything else starts.
 */
void ht_daemon_take_sockets(struct ht_gateway *g);

/* The first generation's numbers and configuration for the control socket; again after a reload. */
void ht_daemon_show(struct ht_daemon *d);

/* As ht_ctl_daemon.reload; `arg` is the daemon. Logs what happened. */
int ht_daemon_reload(void *arg, char *why, size_t why_len);

/* What was revoked before us. 0 or -errno; logs what is wrong with the file. */
int ht_daemon_open_revoked(struct ht_daemon *d);
/* As ht_ctl_daemon.revoke and .revoked; `arg` is the daemon. */
int ht_daemon_revoke(void *arg, struct ht_ctl_revocation *r, char *why, size_t why_len);
size_t ht_daemon_revoked(void *arg);

/* Keys that change by themselves (main_keys.c): before privileges go, and when workers run. -errno. */
int ht_daemon_keys_open(struct ht_daemon *d);
int ht_daemon_keys_start(struct ht_daemon *d);
/* When keys_fd, or the set of rings, is readable. */
void ht_daemon_keys_timer(struct ht_daemon *d);
void ht_daemon_keys_told(struct ht_daemon *d);
/* Publishes what has changed, if anything has. -errno if that is not in force then. */
int ht_daemon_keys_follow(struct ht_daemon *d, const char *why);
/* Logs and counts what is different in `is`; remembers the ring that is published for a restart. */
void ht_daemon_note_ring(struct ht_daemon *d, const struct ht_keyring *was,
			 const struct ht_keyring *is, const char *why);
void ht_daemon_keep_ring(const struct ht_daemon *d);
/* As ht_ctl_daemon.rotate, .revoke_key and .keys; `arg` is the daemon. */
int ht_daemon_rotate_key(void *arg, const char *name, char *why, size_t why_len);
int ht_daemon_revoke_key(void *arg, const char *name, char *why, size_t why_len);
size_t ht_daemon_keys(void *arg, struct ht_stats_key *ret);

/* Opens and attaches the guard; needs the listeners' ports and privileges. -errno. */
int ht_daemon_open_guard(struct ht_daemon *d);
/* When guard_fd is readable. */
void ht_daemon_guard_timer(struct ht_daemon *d);
/* Another generation's listeners and settings. Logs. */
void ht_daemon_apply_guard(struct ht_daemon *d, const struct ht_gateway *g);

/* The timer of tokens.flush-every. */
uint32_t
ht_daemon_sealed_max(const struct ht_config *c); /* 0 unless some rule takes sealed cookies */
void ht_daemon_flush_every(const struct ht_daemon *d, uint64_t every_s);

/* Tells the service manager (sd_notify(3)). */
void ht_daemon_notify(const char *text);

#endif
