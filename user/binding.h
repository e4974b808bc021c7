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
#define HT_USER_MAX 256	    /* bytes of a user's name */

/* What a connection can say about its client. Strings are borrowed, empty = it can't say. */
struct ht_client {
	struct sockaddr_storage addr; /* ss_family AF_UNSPEC = unknown (a unix socket's peer) */
	struct ht_str country;	      /* ISO 3166-1, two letters */
	struct ht_str x509_subject;   /* RFC 2253 form */
	struct ht_str x509_spki;      /* SHA-256 of the SubjectPublicKeyInfo, 32 bytes */
	struct ht_str user;	      /* at most HT_USER_MAX bytes */
	struct ht_str exporter;	      /* RFC 9266, 32 bytes */
};

struct ht_binding {
	char text[HT_BINDING_MAX]; /* not NUL-terminated */
	size_t len;
	uint8_t sha[32];    /* SHA-256 of the transcript: hardtack-native(7), BINDING */
	uint64_t digest[2]; /* its first half, for ht_slot.bind; never 0,0 if the binding exists */
	bool empty;	    /* some ingredient is missing: nothing may be signed or verified */
	bool colon;	    /* the text contains ':' */
	uint16_t user_at,
		user_len; /* where the user stands in the text; 0 bytes: not bound to one */
};

/*
 * Concatenates the ingredients in order, without a separator, as the iRule's `append` does
 * (compat.md, f5-irule): client-ip as inet_ntop prints it, IPv4-mapped IPv6 as IPv4, masked to
 * the prefix; x509-spki and tls-exporter as lower-case hex; the others as they are. No ingredient at
 * all is a binding too, with an empty text. Never fails: an ingredient that cannot be had, has
 * not the length that it must have, or doesn't fit makes the whole of it empty.
 */
void ht_binding_make(const struct ht_bind *binds, size_t nbinds, const struct ht_client *client,
		     struct ht_binding *ret);

/*
 * Parses "client-ip", "client-ip/24", "client-ip/24,64", "x509-subject", ... -EINVAL if it is
 * no binding at all.
 */
int ht_bind_parse(const char *text, struct ht_bind *ret);

/* Does one of them need what only this kind tells? */
bool ht_bind_has(const struct ht_bind *binds, size_t nbinds, enum ht_bind_kind kind);

/* The name of a kind as the configuration writes it. */
const char *ht_bind_kind_name(enum ht_bind_kind kind);

#endif
