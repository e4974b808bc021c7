/* SPDX-License-Identifier: Apache-2.0 */
/* Cookie rules as the configuration's parser would make them, for tests that don't parse one. */
#ifndef HT_TEST_RULES_H
#define HT_TEST_RULES_H

#include "config.h"

#define REISSUE "; Path=/; Secure; HttpOnly"

/* A rule of profile f5-irule for one cookie, `n` a literal. What follows may add members. */
#define F5_RULE(n, m, ...)                                                                         \
	{                                                                                          \
		.covers = HT_COVERS_NAME, .name = n, .label = n, .sibling = n "_HMAC",             \
		.names = (struct ht_cookie_name[]){{n, false}}, .nnames = 1,                       \
		.siblings = {{n "_HMAC", false, 1U << HT_PROFILE_F5_IRULE}}, .nsiblings = 1,       \
		.profile = HT_PROFILE_F5_IRULE, .accept = 1U << HT_PROFILE_F5_IRULE, .key = "k",   \
		.reissue = REISSUE, .mode = m, __VA_ARGS__                                         \
	}

/* For cookies by list or all of them; the list is an array of struct ht_cookie_name. */
#define PREFIX_RULE(c, list, n, p, prefix, m, ...)                                                 \
	{                                                                                          \
		.covers = c, .names = list, .nnames = n, .label = "list", .sibling = prefix,       \
		.sibling_prefix = true, .siblings = {{prefix, true, 1U << (p)}}, .nsiblings = 1,   \
		.profile = p, .accept = 1U << (p), .key = "k", .reissue = REISSUE, .mode = m,      \
		.name_in_mac = true, .separator = "|", .lifetime_s = 86400,                        \
		.copy_attributes = true, __VA_ARGS__                                               \
	}
#define PROXYSG_RULE(c, list, n, m, ...)                                                           \
	PREFIX_RULE(c, list, n, HT_PROFILE_PROXYSG, "BCSIG_", m, __VA_ARGS__)
#define NATIVE_RULE(c, list, n, m, ...)                                                            \
	PREFIX_RULE(c, list, n, HT_PROFILE_NATIVE, "HTSIG_", m, __VA_ARGS__)

/* Profile session-id for one cookie: the value is its own token. */
#define SESSION_RULE(n, m, ...)                                                                    \
	{                                                                                          \
		.covers = HT_COVERS_NAME, .name = n, .label = n,                                   \
		.names = (struct ht_cookie_name[]){{n, false}}, .nnames = 1,                       \
		.profile = HT_PROFILE_SESSION_ID, .accept = 1U << HT_PROFILE_SESSION_ID,           \
		.key = "k", .reissue = REISSUE, .mode = m, .session_s = 172800,                    \
		.copy_attributes = true, __VA_ARGS__                                               \
	}

#endif
