/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS towards clients, on OpenSSL: contexts for listeners, and one small handle per connection
 * that reads and writes as recv() and send() do. Records go through the kernel (kTLS) wherever
 * OpenSSL and the kernel offer it, each direction on its own. Knows nothing of HTTP.
 */
#ifndef HT_TLS_H
#define HT_TLS_H

#include <sys/types.h>

#include "buf.h"
#include "config.h"
#include "loop.h"
#include "stats.h"
#include "util.h"

struct ht_tls_ctx;

struct ht_tls_params {
	const struct ht_listener_config *listener; /* with a tls block */
	bool ktls;				   /* offer kernel TLS; see ht_tls_ktls_probe() */
	/* Must a client that asks for this name show a certificate with a subject? */
	bool (*needs_subject)(void *arg, struct ht_str sni);
	void *arg;
};

/*
 * Loads certificates and the client CA. -EINVAL with diag for what the user can mend; the caller
 * owns *ret. Immutable and shared by all threads.
 */
int ht_tls_ctx_new(const struct ht_tls_params *p, struct ht_tls_ctx **ret, struct ht_diag *diag);
void ht_tls_ctx_free(struct ht_tls_ctx *x); /* NULL-safe; connections must be gone */

/*
 * Whether the kernel takes TLS keys: tries it on a loopback connection. 0, or -errno and why not,
 * fit for a log.
 */
int ht_tls_ktls_probe(char *why, size_t why_len);

struct ssl_st;

#define HT_TLS_RECORDS 5 /* sealed ones that wait for one send(): a large buffer's worth */

/* Where the kernel does not do TLS: records between OpenSSL and the socket. The inside of ht_tls. */
struct ht_tls_socket {
	struct ht_source *source;
	struct ht_bufs *bufs;
	struct ht_buf held; /* none is lent where nothing waits */
	bool gathering;
	uint32_t nrecords;
	struct {
		uint32_t end; /* in held */
		uint32_t plain;
	} records[HT_TLS_RECORDS];
};

/*
 * One connection. Zeroed = none. The source is borrowed: its readiness is used and kept. OpenSSL
 * knows a server's by its address: it must not move.
 */
struct ht_tls {
	struct ssl_st *ssl;
	struct ht_source *source;
	uint32_t refused; /* bits by enum ht_tls_refusal; for the owner to count and to clear */
	bool established; /* the handshake is behind it */
	bool doomed;	  /* what was refused ends it */
	bool said_goodbye;
	bool gathers;	   /* writes go through `socket` */
	unsigned dataless; /* messages in a row that are no data */
	struct ht_tls_socket socket;
};

/*
 * A server's side of a connection over source->fd. The buffers are borrowed, to send several records
 * at once; NULL: each by itself. -ENOMEM.
 */
int ht_tls_open(struct ht_tls *t, struct ht_tls_ctx *x, struct ht_source *source,
		struct ht_bufs *bufs);

/*
 * The context of our own connections to backends: TLS 1.2 and up, certificates verified against
 * those in the PEM file `ca`, or what the system trusts if it is NULL. -EINVAL with why.
 */
int ht_tls_client_new(const char *ca, struct ht_tls_ctx **ret, char *why, size_t why_len);

/*
 * The client's side over source->fd. The certificate must be `host`'s, a name (which is also sent
 * as SNI) or an IP address. An end without close_notify reads as -ECONNRESET. -ENOMEM.
 */
int ht_tls_connect(struct ht_tls *t, struct ht_tls_ctx *x, struct ht_source *source,
		   struct ht_bufs *bufs, const char *host);

/* As ht_tls_read() of one byte that stays where it is. */
ssize_t ht_tls_peek(struct ht_tls *t);

/*
 * 0 when it is done, -EAGAIN, -EPROTONOSUPPORT if the client speaks plain HTTP, or -EPROTO: *ret_why
 * is static or the library's text.
 */
int ht_tls_handshake(struct ht_tls *t, const char **ret_why);

/* As recv(): bytes, 0 at the end, -EAGAIN or -errno. */
ssize_t ht_tls_read(struct ht_tls *t, void *buf, size_t len);

/*
 * As send(): after -EAGAIN, or fewer than all, those that did not leave must come again, no fewer of
 * them; more may follow. They may be sealed already.
 */
ssize_t ht_tls_write(struct ht_tls *t, const void *buf, size_t len);

/* The socket has an error that nobody has read: a record that the kernel could not open? */
void ht_tls_lost(struct ht_tls *t);

/* Decrypted or undecrypted bytes wait inside: a read may succeed without the socket. */
bool ht_tls_pending(const struct ht_tls *t);

/*
 * May application data be written to, or read from, the socket itself? Only where the kernel has
 * that direction, and nothing of the library's own must go first: ask before each piece.
 */
bool ht_tls_takes_plain(const struct ht_tls *t);
bool ht_tls_gives_plain(const struct ht_tls *t);

/*
 * Says goodbye (close_notify), once. 0, also where it can't be said at all; -EAGAIN if it didn't go
 * out: call again when the socket is writable.
 */
int ht_tls_shutdown(struct ht_tls *t);
void ht_tls_close(struct ht_tls *t); /* frees; the fd stays the caller's */

struct ht_tls_info {
	const char *version; /* "TLSv1.3", static */
	bool tls13, ktls_tx, ktls_rx, resumed;
	bool verified; /* a client certificate was shown and verified */
};
void ht_tls_info(const struct ht_tls *t, struct ht_tls_info *ret);

/* The client certificate's subject by RFC 2253, malloc'ed; NULL without one or if it is empty. */
char *ht_tls_subject(const struct ht_tls *t);

/*
 * Its common name in UTF-8 into ret[cap], without a NUL behind it: the length, 0 without one. Of
 * several the last of the sequence counts, which is the most specific: in a directory's "DC=com,
 * DC=example, CN=Users, CN=Alice" that is Alice. Likewise 0 if it is longer than cap, or has a
 * NUL in it: a part of a name is another's.
 */
size_t ht_tls_common_name(const struct ht_tls *t, char *ret, size_t cap);

/* The SHA-256 of the client certificate's SubjectPublicKeyInfo in DER. False without one. */
bool ht_tls_spki(const struct ht_tls *t, uint8_t ret[32]);

/*
 * What only the two ends of this connection know: its exporter by RFC 9266. False where that is not
 * unique to it: in TLS 1.2 without the extended master secret (RFC 7627).
 */
bool ht_tls_exporter(const struct ht_tls *t, uint8_t ret[32]);

#endif
