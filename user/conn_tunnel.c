/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows a 101: bytes both ways until both sides have closed. Nothing is looked at, but all of it
 * goes through the gate, which lets no request follow.
 */
#include "conn.h"

#define HT_TUNNEL_PIECE 65536

void ht_tunnel_begin(struct ht_conn *c)
{
	c->x.status = 101;
	c->x.keep_alive = false;
	c->x.piece.kind = HT_KIND_NONE;
	ht_buf_give(&c->ws->bufs, &c->head);
	ht_buf_give(&c->ws->bufs, &c->before);
	ht_conn_enter(c, HT_PHASE_TUNNEL);
}

static bool tunnel_send(struct ht_conn *c)
{
	struct ht_piece *p = &c->x.piece;
	ssize_t n;

	if (!c->backend->source.writable)
		return false;
	n = ht_gate_send_tunnel(&c->backend->gate, p->at, p->len);
	if (n == -EAGAIN) {
		c->backend->source.writable = false;
		return false;
	}
	if (n < 0) {
		ht_conn_close(c, true);
		return true;
	}
	p->at += n;
	p->len -= (size_t)n;
	if (p->len) {
		c->backend->source.writable = false;
	} else {
		p->kind = HT_KIND_NONE;
		if (!ht_buf_len(&c->in))
			ht_buf_give(&c->ws->bufs, &c->in);
	}
	return true;
}

static void tunnel_take(struct ht_conn *c)
{
	size_t n = HT_MIN(ht_buf_len(&c->in), (size_t)HT_TUNNEL_PIECE);

	c->x.piece = (struct ht_piece){HT_KIND_TUNNEL, ht_buf_at(&c->in), n};
	c->in.start += (uint32_t)n;
	c->x.bytes_in += n;
}

/* From the client to the backend. */
static bool tunnel_up(struct ht_conn *c)
{
	ssize_t n;

	if (c->x.piece.kind)
		return tunnel_send(c);
	if (ht_buf_len(&c->in)) {
		tunnel_take(c);
		return true;
	}
	if (c->shut_backend)
		return false;
	n = ht_conn_read(c);
	if (n == -EAGAIN)
		return false;
	if (n == 0) { /* the client is done; the backend may not be */
		ht_backend_shutdown(c->backend);
		c->shut_backend = true;
	} else if (n < 0) {
		ht_conn_close(c, true);
	}
	return true;
}

static ssize_t tunnel_receive(struct ht_conn *c)
{
	struct ht_buf *out = &c->out;
	ssize_t n;

	if (!ht_backend_readable(c->backend))
		return -EAGAIN;
	if (!out->data && ht_buf_take(&c->ws->bufs, out, HT_BUF_LARGE))
		return -ENOMEM;
	n = ht_backend_recv(c->backend, out->data, out->cap);
	out->start = 0;
	out->end = n > 0 ? (uint32_t)n : 0;
	if (n <= 0)
		ht_buf_give(&c->ws->bufs, out);
	return n;
}

/* The backend is done; the client may not be. */
static void tunnel_shut_client(struct ht_conn *c)
{
	if (c->tls.ssl)
		ht_tls_shutdown(&c->tls);
	shutdown(c->source.fd, SHUT_WR);
	c->shut = true;
}

/* From the backend to the client. */
static bool tunnel_down(struct ht_conn *c)
{
	size_t before = ht_buf_len(&c->out);
	ssize_t n;

	if (before && !ht_conn_flush(c))
		return c->phase == HT_PHASE_CLOSED || ht_buf_len(&c->out) < before;
	if (c->shut)
		return before > 0;
	n = tunnel_receive(c);
	if (n == -EAGAIN)
		return before > 0;
	if (n == 0)
		tunnel_shut_client(c);
	else if (n < 0)
		ht_conn_close(c, true);
	return true;
}

bool ht_tunnel_pump(struct ht_conn *c)
{
	bool moved = tunnel_up(c);

	if (c->phase == HT_PHASE_TUNNEL)
		moved |= tunnel_down(c);
	if (c->phase == HT_PHASE_TUNNEL && c->shut && c->shut_backend && !c->x.piece.kind) {
		ht_conn_close(c, false);
		moved = true;
	}
	return moved;
}
