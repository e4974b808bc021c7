/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed cookies, made and opened here with OpenSSL alone from what hardtack-secure-cookie(7) says.
 * Key is E2E_KEY unless another is given. Knows nothing of the daemon's own code.
 */
#ifndef HT_E2E_SEAL_H
#define HT_E2E_SEAL_H

#include "harness.h"

#define SEAL_LAST 253402300799ULL /* half of a life until then is far away */
#define SEAL_MAX 4096

struct seal {
	const char *name, *value;
	size_t len;		/* of the value; 0 = strlen() */
	const char *ip;		/* bound to client-ip, or NULL */
	const char *spki;	/* bound to x509-spki, 64 digits, or NULL */
	const char *user;	/* bound to it behind those, or NULL */
	const char *attributes; /* in the short form, or NULL */
	const char *key;	/* or NULL */
	uint64_t issued, expires;
};

/* 32 results live at a time. */
const char *seal_make(const struct seal *s);

/* Opens it in this context; what it says of times and attributes comes out. Into ret, NUL-terminated. */
bool seal_open(struct seal *context, const char *sealed, char ret[SEAL_MAX]);

/* 64 digits: of a certificate beside the tests' others. */
const char *seal_spki(const char *cert);

/* ---- to and fro; what they return lives for four calls or more ---- */

#define SEAL_IP "127.0.0.1"

struct backend *seal_backend(void); /* whose bytes are not compared: nonces and times differ */
struct gw *seal_gw(struct backend *be, const char *cookies);
void seal_stop(struct gw *gw, struct backend *be); /* and nothing was refused with 503 */
/* The first `before` in its configuration becomes `after`, at once. */
void seal_reconfigure(struct gw *gw, const char *before, const char *after);

/* What the n-th Set-Cookie of that name says behind the '=', "" if there is none; its value. */
const char *seal_set_by(const struct response *r, const char *name, int n);
const char *seal_value_in(const char *line);

/* The backend sets a cookie, "sid=...": what the client gets, as above. */
const char *seal_login(struct client *c, struct backend *be, const char *field);

/* Sends a Cookie field, the second one "a=1; sid=VALUE; b=2": what the backend sees of it. */
const char *seal_come(struct client *c, struct backend *be, const char *cookies);
const char *seal_come_sid(struct client *c, struct backend *be, const char *value);
const char *
seal_seen(struct backend *be); /* all Cookie fields of the last request, joined by '|' */

#endif
