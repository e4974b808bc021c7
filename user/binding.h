/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who the client is, as bytes that go into a token. Computed once per client connection, never
 * per request. Pure: no sockets, no clock, no logging.
 */
#ifndef HT_BINDING_H
#define HT_BINDING_H

#include "config.h"
#include "util.h"

#define HT_BINDING_MAX 2048 /* bytes of a binding's input text */

/* What a connection can say about its client. Strings are borrowed. */
struct ht_client {
	struct sockaddr_storage addr; /* ss_family AF_UNSPEC = unknown (a unix socket's peer) */
	struct ht_str x509_subject;   /* RFC 2253 form, empty = no client certificate */
};

struct ht_binding {
	char text[HT_BINDING_MAX]; /* not NUL-terminated */
	size_t len;
	uint64_t digest[2]; /* for ht_slot.bind; never 0,0 for a binding that exists */
	bool empty;	    /* some ingredient is missing: nothing may be signed or verified */
	bool colon;	    /* the text contains ':' */
};

/*
 * Concatenates the ingredients in order, without a separator, as the iRule's `append` does
 * (compat.md, f5-irule): client-ip as inet_ntop prints it, IPv4-mapped IPv6 as IPv4, masked to
 * the prefix; x509-subject as is. Never fails: what cannot be had (or doesn't fit) makes it empty.
 */
void ht_binding_make(const struct ht_bind *binds, size_t nbinds, const struct ht_client *client,
		     struct ht_binding *ret);

/*
 * Parses "client-ip", "client-ip/24", "client-ip/24,64", "x509-subject", ... -EINVAL if it is
 * no binding at all, -EOPNOTSUPP if it is one that is not built yet.
 */
int ht_bind_parse(const char *text, struct ht_bind *ret);

/* The name of a kind as the configuration writes it. */
const char *ht_bind_kind_name(enum ht_bind_kind kind);

#endif
