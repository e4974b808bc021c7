/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request-smuggling corpus: what is sent, and which requests there are in it. Data only; what
 * is done with it is in test_smuggling.c.
 */
#ifndef HT_E2E_SMUGGLING_H
#define HT_E2E_SMUGGLING_H

#include <stddef.h>

/* How a case ends. */
enum {
	SMUGGLE_OPEN = 0, /* the innocent request behind it is answered too */
	SMUGGLE_CLOSES,	  /* its last request says that it is the last one */
	SMUGGLE_STARVES,  /* a body ends too soon: nothing comes behind it */
	SMUGGLE_BROKEN,	  /* a body is malformed: the connection ends there */
	SMUGGLE_HOW = 7,
	SMUGGLE_ODD = 8, /* may be too odd for a backend: then it refuses and closes */
};

/*
 * In `raw` and `want` every "###" becomes the case's number, so that each request seen anywhere can
 * be told apart. `want` are the requests that are in it, as "METHOD TARGET LENGTH" between '|', and
 * LENGTH "!" for a body that is malformed or cut: nobody may take such a request for complete.
 * NULL: none, it is refused and the connection closed. {*N} become N letters,
 * {#N} N fields, other {values} their tokens, unless `len` says that the bytes go as they stand.
 */
struct smuggling_case {
	const char *name, *raw;
	size_t len; /* 0 = up to the NUL */
	const char *want;
	int end;
};

extern const struct smuggling_case smuggling_cases[];
extern const size_t smuggling_count;

#endif
