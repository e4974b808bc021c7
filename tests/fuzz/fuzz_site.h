/* SPDX-License-Identifier: Apache-2.0 */
/* For the fuzzers that judge: one key with one secret, and a site of some rules before one client. */
#ifndef HT_FUZZ_SITE_H
#define HT_FUZZ_SITE_H

#include <arpa/inet.h>

#include "../rules.h"
#include "fuzz.h"
#include "policy.h"
#include "token.h"

static const struct ht_secret secret = {.bytes = (const uint8_t *)"0123456789abcdef", .len = 16};
static const struct ht_key key = {"shop", 1, 1, &secret};
static const struct ht_keyring ring = {1, &key, 1};
static const struct ht_sip_keys sip_keys = {{1, 2}, {3, 4}};

#define FUZZ_BIND .binds = {{HT_BIND_CLIENT_IP, 32, 128}}, .nbinds = 1

static inline struct ht_client fuzz_client(const char *address)
{
	struct ht_client ret = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&ret.addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret.addr;

	if (inet_pton(AF_INET, address, &in->sin_addr) == 1)
		in->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, address, &in6->sin6_addr) == 1)
		in6->sin6_family = AF_INET6;
	return ret;
}

/* The site lasts as long as the process. */
static inline void fuzz_site(struct ht_rule_config *rules, size_t n, struct ht_policy_site *ret)
{
	struct ht_site_config *s = calloc(1, sizeof(*s));
	struct ht_key_config keys[] = {{.name = (char *)"shop"}};
	struct ht_config c = {
		.sites = s, .nsites = 1, .keys = keys, .nkeys = 1, .limits.covered_cookies = 16};
	struct ht_diag diag;

	ENSURE(s);
	s->rules = rules;
	s->nrules = n;
	ENSURE(!ht_policy_compile(&c, s, ret, &diag));
}

#endif
