/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pools of buffers: free lists, last in, first out, so that the memory in use stays in
 * the cache. A burst's surplus goes back to the C library.
 */
#include "buf.h"

static void *bufs_pop(struct ht_bufs_free *f)
{
	void *p = f->first;

	if (!p)
		return NULL;
	memcpy(&f->first, p, sizeof(f->first));
	f->n--;
	return p;
}

static void bufs_push(struct ht_bufs_free *f, void *p, size_t kept)
{
	if (f->n >= kept) {
		free(p);
		return;
	}
	memcpy(p, &f->first, sizeof(f->first));
	f->first = p;
	f->n++;
}

static struct ht_bufs_free *bufs_of(struct ht_bufs *pool, size_t size)
{
	switch (size) {
	case HT_BUF_SMALL:
		return &pool->small;
	case HT_BUF_RECORDS:
		return &pool->records;
	default:
		return &pool->large;
	}
}

int ht_buf_take(struct ht_bufs *pool, struct ht_buf *b, size_t size)
{
	void *p = bufs_pop(bufs_of(pool, size));

	if (!p)
		p = malloc(size);
	if (!p)
		return -ENOMEM;
	*b = (struct ht_buf){.data = p, .cap = (uint32_t)size};
	return 0;
}

void ht_buf_give(struct ht_bufs *pool, struct ht_buf *b)
{
	size_t kept = HT_BUF_KEPT_LARGE;

	if (!b->data)
		return;
	if (b->cap == HT_BUF_SMALL)
		kept = HT_BUF_KEPT_SMALL;
	else if (b->cap == HT_BUF_RECORDS)
		kept = HT_BUF_KEPT_RECORDS;
	bufs_push(bufs_of(pool, b->cap), b->data, kept);
	*b = (struct ht_buf){0};
}

void ht_bufs_free(struct ht_bufs *pool)
{
	void *p;

	while ((p = bufs_pop(&pool->small)))
		free(p);
	while ((p = bufs_pop(&pool->large)))
		free(p);
	while ((p = bufs_pop(&pool->records)))
		free(p);
}
