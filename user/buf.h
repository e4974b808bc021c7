/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buffers of a few sizes, lent out by a worker to its connections and given back as soon as they
 * are empty: an idle connection holds none. Not thread-safe; each worker has its own.
 */
#ifndef HT_BUF_H
#define HT_BUF_H

#include "abi.h"
#include "util.h"

#define HT_BUF_SMALL HT_HEAD_MAX /* a request head, or a TLS record's worth of a body */
#define HT_BUF_LARGE (80 * 1024) /* a response, or a body on its way */
#define HT_BUF_RECORDS (HT_BUF_LARGE + 4 * 1024) /* a large one's bytes as TLS records */
#define HT_BUF_KEPT_SMALL 256			 /* free ones that are kept */
#define HT_BUF_KEPT_LARGE 64
#define HT_BUF_KEPT_RECORDS 16

/* A buffer with something in [start, end). All zero = none is held. */
struct ht_buf {
	char *data;
	uint32_t cap, start, end;
};

struct ht_bufs {
	struct ht_bufs_free {
		void *first;
		size_t n;
	} small, large, records;
};

/* Takes one of HT_BUF_SMALL, HT_BUF_LARGE or HT_BUF_RECORDS bytes, empty. -ENOMEM. */
int ht_buf_take(struct ht_bufs *pool, struct ht_buf *b, size_t size);
void ht_buf_give(struct ht_bufs *pool, struct ht_buf *b); /* nothing if none is held */
void ht_bufs_free(struct ht_bufs *pool);

static inline size_t ht_buf_len(const struct ht_buf *b)
{
	return b->end - b->start;
}

static inline char *ht_buf_at(const struct ht_buf *b)
{
	return b->data + b->start;
}

/* Room behind what is there. */
static inline size_t ht_buf_room(const struct ht_buf *b)
{
	return b->cap - b->end;
}

/* Moves what is there to the front. */
static inline void ht_buf_pack(struct ht_buf *b)
{
	if (!b->start)
		return;
	memmove(b->data, b->data + b->start, b->end - b->start);
	b->end -= b->start;
	b->start = 0;
}

#endif
