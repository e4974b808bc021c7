/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pipes and splice(2). A pipe is filled when it is empty and emptied before it is filled again:
 * after a short write the gate's verdict covers exactly what is left of it, and nothing else may
 * follow before that. For the same reason a pipe towards a gated socket keeps the size that it is
 * born with: its 16 fragments are one message there, which is judged once.
 */
#include "splice.h"

#include <fcntl.h>

static int pipe_take(struct ht_pipes *pool, struct ht_pipe *p)
{
	int fd[2];

	if (pool->nkept) {
		*p = pool->kept[--pool->nkept];
		return 0;
	}
	if (pool->nopen >= HT_PIPES_MAX)
		return -EMFILE;
	if (pipe2(fd, O_NONBLOCK | O_CLOEXEC))
		return -errno;
	if (pool->size) /* the fragments of a network card are small, and a pipe counts fragments */
		fcntl(fd[0], F_SETPIPE_SZ, (int)pool->size);
	pool->nopen++;
	*p = (struct ht_pipe){.held = true, .in = fd[1], .out = fd[0]};
	return 0;
}

static void pipe_close(struct ht_pipes *pool, const struct ht_pipe *p)
{
	close(p->in);
	close(p->out);
	pool->nopen--;
}

/* No SPLICE_F_MORE: what follows may take its time, and a TLS record would stay open until then. */
static ssize_t splice_some(int from, int to, size_t len)
{
	ssize_t n;

	do {
		n = splice(from, NULL, to, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t ht_pipe_fill(struct ht_pipes *pool, struct ht_pipe *p, int fd, size_t want, bool records)
{
	ssize_t n;

	if (pipe_take(pool, p))
		return 0;
	do {
		n = splice_some(fd, p->in, want - p->len);
		if (n > 0)
			p->len += (size_t)n;
	} while (n > 0 && records && p->len < want);
	if (p->len) /* what stopped it shows again the next time */
		return (ssize_t)p->len;
	ht_pipe_give(pool, p);
	return n == -EINVAL ? 0 : n;
}

ssize_t ht_pipe_empty(struct ht_pipe *p, int fd)
{
	ssize_t n = splice_some(p->out, fd, p->len);

	if (!n)
		return -EPIPE; /* it is empty, and should not be */
	if (n > 0)
		p->len -= (size_t)n;
	return n;
}

void ht_pipe_give(struct ht_pipes *pool, struct ht_pipe *p)
{
	if (!p->held)
		return;
	if (!p->len && pool->nkept < HT_PIPES_KEPT)
		pool->kept[pool->nkept++] = *p;
	else
		pipe_close(pool, p);
	*p = (struct ht_pipe){0};
}

void ht_pipes_close(struct ht_pipes *pool)
{
	while (pool->nkept)
		pipe_close(pool, &pool->kept[--pool->nkept]);
}
