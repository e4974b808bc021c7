/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TLS client that makes its records itself: OpenSSL does the handshake and opens what the server
 * sends, over memory BIOs; every record towards the server after that is sealed here, under keys
 * from the key log, so that a test decides what is in it, how it is broken and how its bytes are cut
 * into packets. AES-128-GCM only. It asserts that connections and handshakes that must work do.
 */
#ifndef HT_E2E_RECORD_H
#define HT_E2E_RECORD_H

#include "harness.h"

#define REC_DATA SSL3_RT_APPLICATION_DATA
#define REC_ALERT SSL3_RT_ALERT
#define REC_HANDSHAKE SSL3_RT_HANDSHAKE
#define REC_CCS SSL3_RT_CHANGE_CIPHER_SPEC

struct rec {
	int fd, version;
	SSL_CTX *ctx;
	SSL *ssl;
	BIO *in, *out;
	uint8_t secret[32]; /* TLS 1.3: of our application data, for key updates */
	uint8_t key[16], iv[12];
	uint64_t seq;	    /* of our next record */
	struct text packet; /* records that wait for rec_flush() */
	struct text plain;  /* what the server has sent and nobody has taken */
	bool established;
	bool fin, reset; /* TCP's end */
	bool goodbye;	 /* close_notify came */
	bool broken;	 /* the server sent what can't be opened */
	int alert;	 /* the last one but close_notify that came, or -1 */
	bool early;	 /* the server took early data */
};

struct rec *rec_connect(int port, int version); /* TCP only */
/* A resumption: to be called before rec_handshake(). */
void rec_resume(struct rec *r, SSL_SESSION *session);
/* The first `len` bytes of the client hello; 0 = all of it, and waits until something comes back. */
void rec_hello(struct rec *r, size_t len);
/* To its end, packets of `cut` bytes (0 = whole flights). The last flight waits for rec_flush(). */
bool rec_handshake(struct rec *r, size_t cut);
struct rec *rec_open(int port, int version); /* all of it; must work */
void rec_close(struct rec *r, bool reset);

/* Adds one record to the packet. `padding` zeros behind it under TLS 1.3. */
void rec_add(struct rec *r, int type, const void *data, size_t len, size_t padding);
void rec_addf(struct rec *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rec_add_alert(struct rec *r, int level, int what);
/* TLS 1.3: and changes the keys. */
void rec_add_key_update(struct rec *r, bool requested);
/* Sends the packet in pieces of `cut` bytes, 0 = in one. False if the connection is gone. */
bool rec_flush(struct rec *r, size_t cut);
bool rec_send_raw(struct rec *r, const void *data, size_t len);
void rec_fin(struct rec *r); /* half-close, without a word */

/* One response whose body has a length, or none; it is taken. Status 0: none came. */
int rec_response(struct rec *r, struct text *body);
/* Reads to the end of the connection, whichever way it comes. False: it doesn't. */
bool rec_end(struct rec *r);
/* Until that much plaintext has come, or an alert, or the end. */
bool rec_plain(struct rec *r, size_t len);

/* ---- a gateway, its backend, and what must hold when it is all over ---- */

struct place {
	struct backend *be;
	struct gw *gw;
	int fds;
};

struct place place_open(backend_fn handler, const struct gw_spec *spec);
/* No client is left, and no descriptor but those of pooled backend connections. */
bool place_is_quiet(struct place *p);
/* It still serves, and gets quiet. Ends both. */
void place_close(struct place *p);
int place_complete(struct backend *be); /* requests that came as a whole */
void place_expect_target(struct backend *be, const char *target); /* of the last request */
double place_refused(struct gw *gw, const char *reason);
/* Does the kernel have the keys of this version's connections? "ktls_rx=\"on\"" */
bool place_offloaded(struct gw *gw, int version, const char *direction);

/* Those to test: one if the run is for one. */
const int *rec_versions(void);
#define each_version(v) for (const int *v = rec_versions(); *v; v++)
/* Waits: what is refused is counted by another thread than the one that says so. */
#define expect_refused(gw, reason, n)                                                              \
	cr_expect(e2e_wait(place_refused(gw, reason) >= (n)), "%s: %g refused", reason,            \
		  place_refused(gw, reason))

void rec_add_get(struct rec *r, const char *target);
/* A 200 whose body is the target, as backends answer without a handler. */
void rec_expect_answer(struct rec *r, const char *target);

#endif
