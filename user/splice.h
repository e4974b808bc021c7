/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies from one socket to another through a pipe, by splice(2), without passing through our
 * memory. A worker lends pipes to its connections for as long as something is in them: an idle
 * connection holds none. Which bytes may go this way is for the caller to know. Not thread-safe;
 * each worker has its own.
 */
#ifndef HT_SPLICE_H
#define HT_SPLICE_H

#include <sys/types.h>

#include "util.h"

/*
 * What must be left of a body to make it worth the while. Instructions of the whole machine for an
 * answer, spliced against copied, on 6.12 (tests/vm/splice.sh), plain and with kTLS: 32 KB +0.7 %,
 * +0.3 %; 48 KB -2.3 %, +0.9 %; 64 KB -4.4 %, -1.5 %; 128 KB -4.9 %, -3.2 %; 1 MB -26 %, -5.9 %.
 */
#ifndef HT_SPLICE_MIN /* a measurement has another */
#define HT_SPLICE_MIN (64 * 1024)
#endif
#define HT_SPLICE_MAX (128 * 1024) /* at a time */
#define HT_PIPES_MAX 256	   /* of one pool: connections beyond it copy */
#define HT_PIPES_KEPT 32	   /* free ones */

/* A pipe with `len` bytes in it. All zero = none is held. */
struct ht_pipe {
	bool held;
	int in, out; /* written to and read from */
	size_t len;
};

/* `size`: bytes that its pipes should have room for, where the kernel lets us; 0 = as they are. */
struct ht_pipes {
	size_t size;
	struct ht_pipe kept[HT_PIPES_KEPT];
	size_t nkept, nopen;
};

/*
 * Takes up to `want` bytes off the socket `fd` into a pipe; none is held before. Bytes, -EAGAIN, or
 * -errno when the connection broke. 0: nothing goes this way now, an ordinary read will tell why
 * (the end, a TLS record that is not data, no pipe to be had). Unless bytes came, none is held
 * afterwards either. `records`: the kernel hands out one TLS record at a time, so that it is worth
 * asking again.
 */
ssize_t ht_pipe_fill(struct ht_pipes *pool, struct ht_pipe *p, int fd, size_t want, bool records);

/* Moves what is there to the socket `fd`, as far as it goes: bytes, -EAGAIN or -errno. */
ssize_t ht_pipe_empty(struct ht_pipe *p, int fd);

/* Back to the pool; a pipe with something left in it is closed. Nothing if none is held. */
void ht_pipe_give(struct ht_pipes *pool, struct ht_pipe *p);
void ht_pipes_close(struct ht_pipes *pool);

#endif
