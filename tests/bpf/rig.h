/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gate without a proxy: the programs loaded, one site with three covered cookies, and loopback
 * TCP pairs whose sending side goes through the gate. What a peer received is only ever compared
 * after the sender has closed, so that "nothing came" is a fact and not a race.
 */
#ifndef HT_RIG_H
#define HT_RIG_H

#include "offload.h"
#include "policy.h"
#include "weak.h"

#define RIG_RULES 3 /* sid and cart are enforced, seen is report-only */
#define RIG_BUF (2 << 20)
#define RIG_SEALED 2048 /* entries of the map of plaintext: no test but that of it fills it */

struct rig {
	struct ht_offload *offload;
	struct ht_policy_site site;
	struct ht_binding bind;
	struct ht_secret secret;
	struct ht_key key;
	struct ht_keyring ring;
	int listener;
};

struct pair {
	struct rig *rig;
	struct ht_gate gate;
	const uint64_t *opened; /* for heads to come, see struct ht_gate_head */
	int peer;
	bool admitted;
};

/* Everything asserts: without BPF rights the suite fails, it never passes by not running. */
void rig_open(struct rig *r, uint32_t weak);
void rig_close(struct rig *r);
/* The same with a map of plaintext of another size. */
void rig_open_sealed(struct rig *r, uint32_t weak, uint32_t max_sealed);
/* Other rules, with key "k" and any binding of one kind, for what follows. */
void rig_site(struct rig *r, const struct ht_site_config *s);

void pair_open(struct pair *p, struct rig *r);
/* FIN (or RST), then reads the peer to its end: ret[RIG_BUF]. Returns the bytes received. */
size_t pair_close(struct pair *p, bool reset, char *ret);
/* As pair_close(), and compares. */
void pair_expect(struct pair *p, const char *want, size_t len);
void pair_expect_text(struct pair *p, const char *want);

/* Sends one head; asserts that the connection lives. */
struct ht_gate_answer pair_head(struct pair *p, const char *head);
/* The same, returning 0 or -errno. */
int pair_try(struct pair *p, const void *head, size_t len, bool more, struct ht_gate_answer *ret);

/* The token of `value` for the rig's client; static buffer per call site. */
const char *rig_token(struct rig *r, const char *value, char out[64]);
/* Pushes it under rule `rule`, in the current generations. */
void rig_push(struct rig *r, size_t rule, const char *value);
/* Makes the rules of these bits take sealed cookies. */
void rig_seal(struct rig *r, uint32_t rules);
/* A cookie's plaintext, by abi.h's own words; `value` is what the client sends. Borrows `text`. */
struct ht_push rig_sealed_make(struct rig *r, size_t rule, const char *name, struct ht_str value,
			       struct ht_str text);
struct ht_push rig_sealed_make_until(struct rig *r, size_t rule, const char *name,
				     struct ht_str value, struct ht_str text, uint64_t end);
/* A token for a value itself, under a one-time digest, as the daemon lets plaintext through. */
struct ht_push rig_opened_make(struct rig *r, size_t rule, const uint64_t *digest, const char *name,
			       struct ht_str value);
/* What rig_push() would push, to be spoilt first. */
struct ht_push rig_push_make(struct rig *r, size_t rule, const char *value, const char *token);

uint64_t rig_count(struct rig *r, enum ht_counter what);

/* A head with this Cookie field (NULL = none); static buffer. */
const char *head_with(const char *cookies);

#endif
