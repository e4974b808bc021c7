/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard as the daemon sees it: who forges is scored, who keeps forging is banned, and whoever
 * is banned is dropped by an XDP program on the configured interfaces and refused by the daemon
 * behind it. Where BPF is missing the bans are the daemon's alone.
 */
#ifndef HT_GUARD_H
#define HT_GUARD_H

#include <net/if.h>

#include "abi.h"
#include "config.h"
#include "guard_abi.h"
#include "util.h"

struct ht_guard;

struct ht_guard_params {
	const struct ht_guard_config *config;
	const char *pin; /* directory on bpffs; NULL = nothing is pinned */
	const char
		*hold; /* file of the rules that are held; NULL = they are forgotten at the end */
	bool locked;   /* the gate holds that directory's lock already */
	unsigned wait_ms; /* as in ht_offload_params */
};

/*
 * Loads the program and takes over what is pinned: bans that are still running, and interfaces,
 * whose program is then exchanged without a gap. In mode off there is nothing afterwards, neither
 * pinned nor attached. Attaches nothing yet: ht_guard_attach(). Without BPF the bans are kept in
 * memory, and ht_guard_why() says why. -ENOMEM, -EIO. The caller owns *ret.
 */
int ht_guard_open(const struct ht_guard_params *p, struct ht_guard **ret);
/* NULL-safe. What is pinned stays, in force by itself until each ban ends. */
void ht_guard_close(struct ht_guard *g);

/* A rule, as far as it matters here. */
struct ht_guard_rule {
	uint64_t id;	/* of its site and of what it covers */
	uint64_t print; /* of what its tokens are made of, but for the key's secrets */
	uint64_t key;	/* ht_guard_key_print() of its name */
	uint64_t
		timeless; /* not 0: a token of a secret that is gone can't be told from a forged one */
};
uint64_t ht_guard_key_print(const char *name);
uint64_t ht_guard_rule_id(const struct ht_site_config *site, const struct ht_rule_config *r);
void ht_guard_rule_of(const struct ht_site_config *site, const struct ht_rule_config *r,
		      struct ht_guard_rule *ret);

/* What can change while the daemon runs, as one: where it listens, and all that is not fixed. */
struct ht_guard_settings {
	const struct ht_guard_config *config;
	const struct ht_prefix *trusted; /* never banned, as those of config->allow */
	size_t ntrusted;
	const struct sockaddr_storage *doors; /* TCP listeners */
	size_t ndoors;
	const struct ht_guard_rule *rules;
	size_t nrules;
};
/* Whose rules make other tokens than before is held, see ht_guard_key_replaced(). */
int ht_guard_apply(struct ht_guard *g, const struct ht_guard_settings *s); /* -errno */

/*
 * The program onto the interfaces where it is not yet, in the driver where it can, else in the
 * stack (generic): beside others in libxdp's dispatcher if there is CAP_SYS_ADMIN, else by a link of
 * its own, which needs no privileges. A foreign program is never replaced: if it can't be joined that
 * interface stays without, and so does one that is not there. After ht_guard_apply(), and then every
 * HT_GUARD_LOOK_S seconds: interfaces come and go. Logs what has changed.
 */
#define HT_GUARD_LOOK_S 2
void ht_guard_attach(struct ht_guard *g);

/* What differs and is fixed while the daemon runs: its name in the configuration, or NULL. */
const char *ht_guard_fixed(const struct ht_guard_config *was, const struct ht_guard_config *is);

/* ---- any thread ---- */

/* Goes up with every ban: as long as it is the same, an answer of before is still right. */
uint32_t ht_guard_version(const struct ht_guard *g);

/* Is this client banned? HT_GUARD_OFF = no; HT_GUARD_REPORT = it is, and nothing is to happen. */
enum ht_guard_mode ht_guard_ask(struct ht_guard *g, const struct sockaddr *client);

/*
 * A forged cookie of this client, by the rule with this id; `print` is its hash by
 * ht_guard_keys()->tag, `now_ms` any clock that does not go back. True when it is to be treated as banned from now on. Logs a new ban.
 */
bool ht_guard_forged(struct ht_guard *g, const struct sockaddr *client, uint64_t rule,
		     uint64_t print, uint64_t now_ms);
const struct ht_sip_keys *ht_guard_keys(const struct ht_guard *g);

/*
 * The key is another one from now on: what it had signed looks forged, and everybody comes with it,
 * all of an office from one address, after a long weekend. Its rules are held for config->hold_s:
 * nobody is scored by them. Tokens that tell themselves that they are of no live secret need none.
 */
void ht_guard_key_replaced(struct ht_guard *g, const char *key);

/* ---- the main thread ---- */

enum ht_guard_mode ht_guard_mode(const struct ht_guard *g);
const char *ht_guard_mode_name(enum ht_guard_mode mode); /* "off", "report", "drop" */
const char *ht_guard_why(const struct ht_guard *g);	 /* no kernel guard, "" if there is */
bool ht_guard_reused(const struct ht_guard *g);		 /* the bans of a daemon before us */

/* By hand; for_ms 0 = as configured. -EPERM: never banned; -ENODATA: mode off; -errno. */
int ht_guard_ban(struct ht_guard *g, const struct sockaddr_storage *client, uint64_t for_ms);
int ht_guard_pardon(struct ht_guard *g, const struct sockaddr_storage *client); /* -ENOENT */

#define HT_SOURCE_TEXT (INET6_ADDRSTRLEN + 4) /* bytes of an address with its prefix length */

struct ht_guard_entry {
	char source[HT_SOURCE_TEXT];
	struct ht_ban ban;
	uint64_t left_ms;
};

/* Calls fn for bans that are running, at most `limit`; `fn` may be NULL. Returns how many, -errno. */
ssize_t ht_guard_walk(struct ht_guard *g, size_t limit,
		      void (*fn)(void *arg, const struct ht_guard_entry *e), void *arg);

size_t ht_guard_running(struct ht_guard *g); /* how many there are; approximate as the map is */
size_t ht_guard_held(struct ht_guard *g);    /* rules */

struct ht_guard_interface {
	char name[IF_NAMESIZE];
	const char *state; /* "native", "generic", "offloaded", or "none" */
	bool shared;	   /* in libxdp's dispatcher, which others can join */
	char why[200];	   /* if none, or not shared */
};
const struct ht_guard_interface *ht_guard_interfaces(const struct ht_guard *g, size_t *ret_n);

struct ht_guard_counters {
	struct ht_guard_count packets;
	uint64_t bans[HT_GUARD_DROP + 1]; /* made so far, by the mode of the moment */
	uint64_t by_hand;		  /* of them */
	uint64_t failed;		  /* that could not be put into the kernel's map */
	uint64_t spared;		  /* forged cookies of clients that are never banned */
	uint64_t held;			  /* forged cookies of rules that are held */
	uint64_t evicted;		  /* sources that scoring forgot for want of room */
};
void ht_guard_counters(struct ht_guard *g, struct ht_guard_counters *ret);

size_t ht_guard_bytes(const struct ht_guard *g); /* of the map `bans` when it is full */
int ht_guard_program(const struct ht_guard *g);	 /* borrowed descriptor; -ENOENT */

#endif
