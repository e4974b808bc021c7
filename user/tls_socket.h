/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is between OpenSSL and a socket where the kernel does not do TLS: reads as few times and
 * writes as few times as will do. For the files of tls only.
 */
#ifndef HT_TLS_SOCKET_H
#define HT_TLS_SOCKET_H

#include <openssl/bio.h>

#include "tls.h"

/*
 * A BIO over s->source, of which the caller has the only reference; s must outlive it. NULL without
 * memory.
 */
BIO *ht_tls_socket_bio(struct ht_tls_socket *s);

/*
 * From now on what is written is kept, to leave with one send(). False: each record by itself, as
 * there is no buffer to be had. Only where nothing is held.
 */
bool ht_tls_socket_gather(struct ht_tls_socket *s);

/* Is there room for one more record? */
bool ht_tls_socket_has_room(const struct ht_tls_socket *s);

/* The last record that was written carries `plain` bytes of its owner's. */
void ht_tls_socket_sealed(struct ht_tls_socket *s, size_t plain);

/* Something that was kept has not left yet, or its owner has not heard that it has. */
bool ht_tls_socket_holds(const struct ht_tls_socket *s);

/*
 * Ends the gathering and sends what is held. How many of the owner's bytes have left with it, in
 * whole records: 0 if all that is held was nobody's; -EAGAIN if none and there is more; -errno.
 */
ssize_t ht_tls_socket_push(struct ht_tls_socket *s);

/* What is held is lost. */
void ht_tls_socket_drop(struct ht_tls_socket *s);

#endif
