/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of each cookie of a request and why, for people: the words for what
 * ht_policy_judge() decides. It must not decide anything itself, and shows no key and no token but
 * those that it was given.
 */
#ifndef HT_EXPLAIN_H
#define HT_EXPLAIN_H

#include <jansson.h>

#include "binding.h"
#include "keyring.h"
#include "policy.h"
#include "util.h"

struct ht_explain {
	const char *file; /* the configuration's, for places in it */
	const struct ht_policy_site *site;
	const struct ht_keyring *ring;
	const struct ht_client *client; /* what it can be bound to */
	struct ht_policy_time time;
	bool plain;	      /* it came without TLS */
	struct ht_str header; /* the value of its Cookie field */
};

/*
 * *ret is the caller's: {"site", "cookies": [{"name", "action", "why", ...}], "backend": the Cookie
 * field as the backend gets it or null, "all_pass"}, or "refused" instead of the last but one when
 * the whole request would be. -EINVAL with why when no request can have this header, -ENOMEM.
 */
int ht_explain(const struct ht_explain *e, json_t **ret, const char **ret_why);

/* The same as text, a line for each cookie. */
void ht_explain_write(const json_t *tree, FILE *out);

#endif
