/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a TLS context, for the files of tls only: everybody else has tls.h.
 */
#ifndef HT_TLS_CTX_H
#define HT_TLS_CTX_H

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "tls.h"

/* Immutable once it is made: connections on all threads share it. */
struct ht_tls_ctx {
	struct ht_tls_params params;
	SSL_CTX **certs;       /* one for each certificate; the first is the default */
	GENERAL_NAMES **names; /* theirs, NULL for one that has none; a server's only */
	size_t ncerts;
	STACK_OF(X509_CRL) * crls; /* of client-crl, or NULL */
	struct ht_ticket_ring *tickets;
	EVP_CIPHER *ticket_cipher; /* looked up once: by its name it costs as much as to use it */
	/*
	 * [a subject is needed]; the first half of a SHA-256: it goes into every ticket, which comes
	 * back in a ClientHello that is hashed several times over
	 */
	uint8_t session_id[2][16];
};

/* By the clock of this moment. */
bool ht_tls_has_expired(const X509 *cert);

/* Has the name that the client asked for made its certificate's subject a must? */
bool ht_tls_wants_subject(const SSL *ssl);

#endif
