/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a client's connection: accepted, handshaken, one exchange after the other, closed. What
 * an exchange does is in conn_request.c and conn_response.c; here is when it begins and ends, and
 * what happens when it takes too long or goes wrong.
 */
#include "conn.h"

#include <openssl/rand.h>

#define HT_CONN_TURNS 32 /* steps of one connection before the others have theirs */

/* ---- the gateway and a worker's workspace ---- */

const struct ht_keyring *ht_workspace_ring(struct ht_workspace *ws)
{
	struct ht_common *common = ws->gateway->common;

	if (atomic_load_explicit(&common->ring_version, memory_order_acquire) == ws->ring_version)
		return ws->ring;
	ht_keyring_unref(ws->ring);
	ht_revoked_unref(ws->revoked);
	pthread_mutex_lock(&common->ring_lock);
	ws->ring = ht_keyring_ref(common->ring);
	ws->revoked = ht_revoked_ref(common->revoked);
	ws->ring_version = atomic_load(&common->ring_version);
	pthread_mutex_unlock(&common->ring_lock);
	return ws->ring;
}

/*
 * Timers that run when a reload changes their length keep their deadlines: for as long as the old
 * length, some of the shorter ones behind them may fire late.
 */
static void workspace_timers(struct ht_workspace *ws)
{
	const struct ht_config *c = ws->gateway->config;
	uint64_t *ms = ws->loop.length_ms;

	ms[HT_TIMER_HANDSHAKE] = c->timeouts.handshake;
	ms[HT_TIMER_HEAD] = c->timeouts.head;
	ms[HT_TIMER_BODY] = c->timeouts.body;
	ms[HT_TIMER_IDLE] = c->timeouts.idle;
	ms[HT_TIMER_CONNECT] = c->timeouts.connect;
	ms[HT_TIMER_RESPONSE] = c->timeouts.response;
	ms[HT_TIMER_LINGER] = 5000;
	ms[HT_TIMER_POOL] = HT_MIN(c->timeouts.idle, (uint64_t)30000);
	ms[HT_TIMER_PAUSE] = 100;
	ms[HT_TIMER_DOOR] = 20;
}

struct ht_view *ht_view_ref(struct ht_view *v)
{
	v->refs++;
	return v;
}

void ht_view_unref(struct ht_view *v)
{
	if (!v || --v->refs)
		return;
	for (size_t i = 0; v->upstreams && i < v->gateway->config->nsites; i++)
		ht_upstreams_close(&v->upstreams[i]);
	free(v->upstreams);
	ht_gateway_unref(v->gateway);
	free(v);
}

static int view_new(struct ht_workspace *ws, struct ht_gateway *g, struct ht_view **ret)
{
	struct ht_view *v = calloc(1, sizeof(*v));
	int err = 0;

	if (!v)
		return -ENOMEM;
	v->refs = 1;
	v->gateway = ht_gateway_ref(g);
	v->upstreams = calloc(g->config->nsites ? g->config->nsites : 1, sizeof(*v->upstreams));
	if (!v->upstreams)
		err = -ENOMEM;
	for (size_t i = 0; !err && i < g->config->nsites; i++)
		err = ht_upstreams_open(&v->upstreams[i], ht_health_site(g->health, i), &ws->loop,
					&ws->bufs, g->offload, g->plain, ws->stats);
	if (err)
		ht_view_unref(v);
	else
		*ret = v;
	return err;
}

/* Idle backend connections go over to the site of the same name; what is left of them is closed. */
static void view_inherit(struct ht_view *v, struct ht_view *from)
{
	const struct ht_config *new = v->gateway->config, *old = from->gateway->config;

	for (size_t i = 0; i < new->nsites; i++) {
		for (size_t j = 0; j < old->nsites; j++) {
			if (!strcmp(new->sites[i].hosts[0], old->sites[j].hosts[0]))
				ht_upstreams_inherit(&v->upstreams[i], &from->upstreams[j]);
		}
	}
	for (size_t j = 0; j < old->nsites; j++)
		ht_upstreams_retire(&from->upstreams[j]);
}

int ht_workspace_switch(struct ht_workspace *ws, struct ht_gateway *g)
{
	struct ht_view *old = ws->view, *v;
	int err = view_new(ws, g, &v);

	if (err)
		return err;
	if (old)
		view_inherit(v, old);
	ws->view = v;
	ws->gateway = g;
	workspace_timers(ws);
	ht_view_unref(old);
	return 0;
}

int ht_workspace_open(struct ht_workspace *ws, struct ht_gateway *g, struct ht_stats *stats)
{
	unsigned char prefix[8];
	int err = ht_loop_open(&ws->loop);

	if (err)
		return err;
	ws->stats = stats;
	ws->down_pipes.size = HT_SPLICE_MAX;
	if (RAND_bytes(prefix, sizeof(prefix)) != 1)
		return -EIO;
	for (size_t i = 0; i < sizeof(prefix); i++)
		snprintf(ws->id_prefix + 2 * i, 3, "%02x", prefix[i]);
	return ht_workspace_switch(ws, g);
}

void ht_workspace_close(struct ht_workspace *ws)
{
	while (ws->conns)
		ht_conn_close(ws->conns, true);
	ht_view_unref(ws->view);
	ws->view = NULL;
	ht_loop_close(&ws->loop);
	ht_bufs_free(&ws->bufs);
	ht_pipes_close(&ws->up_pipes);
	ht_pipes_close(&ws->down_pipes);
	ht_keyring_unref(ws->ring);
	ht_revoked_unref(ws->revoked);
	ws->ring = NULL;
	ws->revoked = NULL;
}

void ht_workspace_drain(struct ht_workspace *ws)
{
	struct ht_conn *next;

	ws->draining = true;
	for (struct ht_conn *c = ws->conns; c; c = next) {
		next = c->next;
		if (c->phase == HT_PHASE_HEAD)
			ht_conn_run(c);
	}
}

/* ---- beginning ---- */

static void conn_ready(struct ht_source *s)
{
	ht_conn_run(ht_container_of(s, struct ht_conn, source));
}

/* What is left in them belongs to nobody any more. */
static void conn_give_pipes(struct ht_conn *c)
{
	ht_pipe_give(&c->ws->up_pipes, &c->up);
	ht_pipe_give(&c->ws->down_pipes, &c->down);
}

static void conn_bury(struct ht_source *s)
{
	struct ht_conn *c = ht_container_of(s, struct ht_conn, source);
	struct ht_bufs *bufs = &c->ws->bufs;

	ht_buf_give(bufs, &c->in);
	ht_buf_give(bufs, &c->out);
	ht_buf_give(bufs, &c->head);
	ht_buf_give(bufs, &c->before);
	ht_buf_give(bufs, &c->log);
	conn_give_pipes(c);
	ht_owed_free(&c->x.owed);
	free(c->subject);
	free(c->user);
	free(c->identity);
	free(c);
}

static void conn_count(struct ht_conn *c, enum ht_conn_state state, int n)
{
	ht_stats_inc(c->ws->stats->connections[HT_SIDE_CLIENT][state], n);
}

static bool is_active(enum ht_phase phase)
{
	return phase == HT_PHASE_EXCHANGE || phase == HT_PHASE_TUNNEL;
}

void ht_conn_enter(struct ht_conn *c, enum ht_phase phase)
{
	if (is_active(c->phase) != is_active(phase)) {
		conn_count(c, HT_CONN_ACTIVE, is_active(phase) ? 1 : -1);
		conn_count(c, HT_CONN_IDLE, is_active(phase) ? -1 : 1);
	}
	c->phase = phase;
}

/* What is closed now is reset. */
static void conn_abort(int fd)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

/* Too many connections: whoever speaks plain HTTP is told so, as far as that goes. */
static void conn_turn_away(struct ht_workspace *ws, const struct ht_listener *l, int fd)
{
	char text[512];
	int n;

	ht_stats_inc(ws->stats->connections_refused, 1);
	ht_log_limited(LOG_WARNING, "msg=\"too many connections\" listener=%s",
		       l->config->addr.text);
	if (!l->tls) {
		n = ht_http_write_error(503, "too many connections", false, false, text,
					sizeof(text));
		if (send(fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == n)
			shutdown(fd, SHUT_WR);
	}
	close(fd);
}

static void conn_expired(struct ht_timer *t);
static void conn_linger(struct ht_conn *c);

static struct ht_conn *conn_new(struct ht_workspace *ws, struct ht_view *origin,
				const struct ht_listener *l, int fd)
{
	struct ht_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->source = (struct ht_source){.fd = fd, .ready = conn_ready, .bury = conn_bury};
	c->timer.fire = conn_expired;
	c->ws = ws;
	c->origin = ht_view_ref(origin);
	c->listener = l;
	c->id = ++ws->next_id;
	c->phase = l->config->proxy_protocol ? HT_PHASE_PROXY
		   : l->tls		     ? HT_PHASE_HANDSHAKE
					     : HT_PHASE_HEAD;
	if ((l->tls && ht_tls_open(&c->tls, l->tls, &c->source, &ws->bufs)) ||
	    ht_loop_add(&ws->loop, &c->source)) {
		ht_tls_close(&c->tls);
		ht_view_unref(c->origin);
		free(c);
		return NULL;
	}
	c->next = ws->conns;
	if (c->next)
		c->next->prev = c;
	ws->conns = c;
	ws->nconns++;
	return c;
}

void ht_conn_accept(struct ht_workspace *ws, struct ht_view *origin, const struct ht_listener *l,
		    int fd, const struct sockaddr *peer, socklen_t len)
{
	struct ht_common *common = ws->gateway->common;
	struct ht_conn *c;

	ht_stats_inc(ws->stats->accepted, 1);
	if (!ht_edge_admits(ws->gateway->config, l->config, peer, len)) {
		ht_stats_inc(ws->stats->proxy_untrusted, 1);
		ht_log_limited(LOG_WARNING, "msg=\"not a trusted proxy\" listener=%s",
			       l->config->addr.text);
		close(fd);
		return;
	}
	if (ht_conn_refuses(ws, peer, len)) {
		conn_abort(fd);
		close(fd);
		return;
	}
	if (atomic_fetch_add(&common->connections, 1) >= ws->gateway->config->limits.connections) {
		atomic_fetch_sub(&common->connections, 1);
		conn_turn_away(ws, l, fd);
		return;
	}
	c = conn_new(ws, origin, l, fd);
	if (!c) {
		atomic_fetch_sub(&common->connections, 1);
		ht_stats_inc(ws->stats->connections_refused, 1);
		close(fd);
		return;
	}
	ht_conn_set_peer(c, peer, len);
	conn_count(c, HT_CONN_IDLE, 1);
	ht_timer_arm(&ws->loop, &c->timer,
		     c->phase == HT_PHASE_HEAD ? HT_TIMER_HEAD : HT_TIMER_HANDSHAKE);
}

/* What was refused since the last call. */
static void conn_count_refusals(struct ht_conn *c)
{
	for (int r = 0; c->tls.refused; c->tls.refused >>= 1, r++) {
		if (c->tls.refused & 1)
			ht_stats_inc(c->ws->stats->tls_refused[r], 1);
	}
}

static void conn_secured(struct ht_conn *c)
{
	struct ht_tls_info info;

	ht_tls_info(&c->tls, &info);
	ht_stats_inc(c->ws->stats->tls[info.tls13][info.ktls_tx][info.ktls_rx], 1);
	c->tls_version = info.version;
	c->verified = info.verified;
	if (info.verified)
		c->subject = ht_tls_subject(&c->tls);
	conn_count_refusals(c);
	ht_conn_enter(c, HT_PHASE_HEAD);
}

static bool conn_handshake(struct ht_conn *c)
{
	const char *why;
	int err;

	if (!c->source.readable && !c->source.writable)
		return false;
	err = ht_tls_handshake(&c->tls, &why);
	if (err == -EAGAIN)
		return false;
	if (!err) {
		conn_secured(c);
		return true;
	}
	ht_stats_inc(c->ws->stats->tls_failed, 1);
	ht_log_limited(LOG_INFO, "msg=\"TLS handshake failed\" client=%s listener=%s reason=\"%s\"",
		       c->ip, c->listener->config->addr.text, why);
	if (err == -EPROTONOSUPPORT) {
		ht_tls_close(&c->tls); /* a plain answer is what he understands */
		ht_conn_error(c, 400, "plain HTTP sent to a TLS port");
	} else {
		conn_linger(c); /* so that he gets the alert */
	}
	return true;
}

/* ---- the client's socket ---- */

static bool conn_can_read(const struct ht_conn *c)
{
	return c->source.readable || (c->tls.ssl && ht_tls_pending(&c->tls));
}

static ssize_t conn_recv(struct ht_conn *c, char *to, size_t room)
{
	ssize_t n;

	if (c->tls.ssl) {
		n = ht_tls_read(&c->tls, to, room);
		conn_count_refusals(c);
		return n;
	}
	do {
		n = recv(c->source.fd, to, room, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		c->source.readable = false;
	else if (n > 0 && (size_t)n < room && !c->source.hup)
		c->source.readable = false; /* drained: no need to ask again */
	return n < 0 ? -errno : n;
}

ssize_t ht_conn_read(struct ht_conn *c)
{
	struct ht_buf *in = &c->in;
	ssize_t n;

	if (c->eof)
		return 0;
	if (!conn_can_read(c))
		return -EAGAIN;
	if (!in->data && ht_buf_take(&c->ws->bufs, in, HT_BUF_SMALL))
		return -ENOMEM;
	if (ht_buf_room(in) < in->cap / 2)
		ht_buf_pack(in);
	n = conn_recv(c, in->data + in->end, ht_buf_room(in));
	if (n > 0) {
		in->end += (uint32_t)n;
		ht_stats_inc(c->ws->stats->bytes_in, (uint64_t)n);
	} else if (n == 0) {
		c->eof = true;
	}
	if (!ht_buf_len(in))
		ht_buf_give(&c->ws->bufs, in);
	return n;
}

ssize_t ht_conn_read_pipe(struct ht_conn *c, size_t want)
{
	ssize_t n;

	if (c->eof || !c->source.readable || (c->tls.ssl && !ht_tls_gives_plain(&c->tls)))
		return 0;
	n = ht_pipe_fill(&c->ws->up_pipes, &c->up, c->source.fd, want, c->tls.ssl);
	if (n > 0) {
		ht_stats_inc(c->ws->stats->bytes_in, (uint64_t)n);
		ht_stats_inc(c->ws->stats->spliced_in, (uint64_t)n);
	} else if (n == -EAGAIN) {
		c->source.readable = false;
	}
	return n;
}

bool ht_conn_takes_pipe(const struct ht_conn *c)
{
	return !c->tls.ssl || ht_tls_takes_plain(&c->tls);
}

/* What stands in front of a pipe goes the same way, or it would be a TLS record of its own. */
static ssize_t conn_send(struct ht_conn *c, const char *data, size_t len)
{
	int more = c->down.len ? MSG_MORE : 0;
	ssize_t n;

	if (c->tls.ssl && !more)
		return ht_tls_write(&c->tls, data, len);
	do {
		n = send(c->source.fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT | more);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		n = -errno;
	if (n < (ssize_t)len)
		c->source.writable = false;
	return n;
}

size_t ht_conn_unsent(const struct ht_conn *c)
{
	return ht_buf_len(&c->out) + c->down.len;
}

static void conn_sent(struct ht_conn *c, size_t n)
{
	c->x.bytes_out += n;
	ht_stats_inc(c->ws->stats->bytes_out, n);
}

static bool conn_flush_pipe(struct ht_conn *c)
{
	while (c->down.len) {
		ssize_t n;

		if (!c->source.writable)
			return false;
		n = ht_pipe_empty(&c->down, c->source.fd);
		if (n == -EAGAIN) {
			c->source.writable = false;
			return false;
		}
		if (n < 0) {
			ht_conn_close(c, true);
			return false;
		}
		conn_sent(c, (size_t)n);
		ht_stats_inc(c->ws->stats->spliced_out, (uint64_t)n);
	}
	ht_pipe_give(&c->ws->down_pipes, &c->down);
	return true;
}

bool ht_conn_flush(struct ht_conn *c)
{
	struct ht_buf *out = &c->out;

	while (ht_buf_len(out)) {
		ssize_t n;

		if (!c->source.writable)
			return false;
		n = conn_send(c, ht_buf_at(out), ht_buf_len(out));
		if (n == -EAGAIN)
			return false;
		if (n < 0) {
			ht_conn_close(c, true);
			return false;
		}
		out->start += (uint32_t)n;
		conn_sent(c, (size_t)n);
	}
	if (c->x.raw == c->x.raw_end)
		ht_buf_give(&c->ws->bufs, out);
	return conn_flush_pipe(c);
}

/* ---- accounts ---- */

static const char *conn_verdicts(struct ht_conn *c, char *text, size_t cap)
{
	const struct ht_exchange *x = &c->x;
	size_t len = 0;

	text[0] = 0;
	for (size_t i = 0; i < x->nseen && len < cap; i++)
		len += (size_t)snprintf(text + len, cap - len, "%s%s=%s", i ? "," : "",
					x->policy->rules[x->seen[i].rule]->label,
					ht_cookie_verdict_name(x->seen[i].verdict));
	return text;
}

static void conn_write_access(struct ht_conn *c)
{
	static const struct ht_log_copy nothing;
	const struct ht_log_copy *copy = c->copy ? c->copy : &nothing;
	const struct ht_exchange *x = &c->x;
	char verdicts[1024];
	struct ht_access a = {
		.client = c->ip[0] ? c->ip : "unix",
		.listener = c->listener->config->addr.text,
		.upstream = x->upstream,
		.method = copy->method,
		.target = copy->target,
		.host = copy->host,
		.user_agent = copy->user_agent,
		.referer = copy->referer,
		.minor = x->minor,
		.status = x->status,
		.bytes_in = x->bytes_in,
		.bytes_out = x->bytes_out,
		.duration_us = c->ws->loop.now_us - x->started_us,
		.request_id = x->request_id,
		.tls = c->tls_version,
		.verdicts = conn_verdicts(c, verdicts, sizeof(verdicts)),
	};

	ht_access_log_write(c->ws->gateway->access_log, &a);
}

/* Once per exchange, at its end, if an answer has begun. */
static void conn_account(struct ht_conn *c)
{
	const struct ht_exchange *x = &c->x;

	if (!x->status)
		return;
	if (c->listener->index < HT_STATS_LISTENERS && x->status < HT_STATS_CODES)
		ht_stats_inc(c->ws->stats->requests[c->listener->index][x->status], 1);
	if (c->ws->gateway->access_log_on)
		conn_write_access(c);
	c->x.status = 0;
}

/* ---- ending ---- */

static void conn_leave_view(struct ht_conn *c)
{
	ht_view_unref(TAKE_PTR(c->view));
}

void ht_conn_take_view(struct ht_conn *c)
{
	struct ht_view *v = c->ws->view;

	if (c->view == v)
		return;
	v->refs++;
	/* a pinned backend connection is kept if its upstream is still one of the site's */
	if (c->backend && !ht_backend_adopt(c->backend, v->upstreams, v->gateway->config->nsites)) {
		c->pinned = false;
		ht_conn_leave_backend(c, false);
	}
	conn_leave_view(c);
	c->view = v;
}

void ht_conn_leave_backend(struct ht_conn *c, bool reusable)
{
	struct ht_backend *b = c->backend;

	if (!b)
		return;
	if (reusable && c->pinned && !b->source.hup && !b->source.error)
		return; /* it stays with its client */
	c->backend = NULL;
	if (reusable && !c->pinned)
		ht_backend_release(b);
	else /* what is in the middle of something is reset */
		ht_backend_close(b, c->x.upload != HT_UPLOAD_DONE || c->x.answer != HT_ANSWER_DONE);
	c->pinned = false;
}

void ht_conn_close(struct ht_conn *c, bool reset)
{
	struct ht_workspace *ws = c->ws;

	if (c->phase == HT_PHASE_CLOSED)
		return;
	conn_account(c);
	if (c->tls.ssl && c->source.error)
		ht_tls_lost(&c->tls);
	conn_count_refusals(c);
	conn_count(c, is_active(c->phase) ? HT_CONN_ACTIVE : HT_CONN_IDLE, -1);
	c->phase = HT_PHASE_CLOSED;
	ht_timer_cancel(&c->timer);
	c->pinned = false;
	ht_conn_leave_backend(c, false);
	if (reset)
		conn_abort(c->source.fd);
	else if (c->tls.ssl && !c->cut)
		ht_tls_shutdown(&c->tls);
	ht_tls_close(&c->tls);
	close(c->source.fd);
	c->source.fd = -1;
	if (c->prev)
		c->prev->next = c->next;
	else
		ws->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	ws->nconns--;
	atomic_fetch_sub(&ws->gateway->common->connections, 1);
	conn_leave_view(c);
	ht_view_unref(TAKE_PTR(c->origin));
	ht_loop_bury(&ws->loop, &c->source);
}

void ht_conn_cut(struct ht_conn *c)
{
	/* an answer without a length ends with the connection: only a reset tells the client */
	c->cut = true;
	ht_conn_close(c, c->x.reply_body == HT_BODY_UNTIL_CLOSE);
}

/* And closes our side. False if it did not go out yet: the client must read first. */
static bool conn_say_goodbye(struct ht_conn *c)
{
	if (c->tls.ssl && (!c->source.writable || ht_tls_shutdown(&c->tls)))
		return false;
	shutdown(c->source.fd, SHUT_WR);
	c->shut = true;
	return true;
}

/*
 * close() while the client is still sending would reset the connection and may destroy the
 * answer on its way: close our side, and read until the client has closed its own.
 */
static void conn_linger(struct ht_conn *c)
{
	ht_conn_leave_backend(c, false);
	ht_buf_give(&c->ws->bufs, &c->in);
	ht_conn_enter(c, HT_PHASE_LINGER);
	c->source.readable = true;
	conn_say_goodbye(c);
}

static bool conn_discard(struct ht_conn *c)
{
	struct iovec to = {c->ws->reply, sizeof(c->ws->reply)};
	char control[64]; /* for a record's type: without it kTLS stops at what is no data */
	struct msghdr m = {
		.msg_iov = &to,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	if (!c->shut)
		conn_say_goodbye(c);
	if (!c->source.readable)
		return false;
	n = recvmsg(c->source.fd, &m, MSG_DONTWAIT);
	if ((n < 0 && errno == EAGAIN) || (!n && !c->shut))
		c->source.readable = false;
	else if (n <= 0)
		ht_conn_close(c, false);
	return n > 0;
}

void ht_conn_finish(struct ht_conn *c)
{
	struct ht_bufs *bufs = &c->ws->bufs;

	conn_account(c);
	ht_conn_leave_backend(c, c->pinned);
	ht_buf_give(bufs, &c->head);
	ht_buf_give(bufs, &c->before);
	ht_buf_give(bufs, &c->out);
	ht_buf_give(bufs, &c->log);
	conn_give_pipes(c);
	if (!ht_buf_len(&c->in))
		ht_buf_give(bufs, &c->in);
	c->copy = NULL;
	c->served = true;
	if (!c->backend)
		conn_leave_view(c);
	if (c->x.keep_alive)
		ht_conn_enter(c, HT_PHASE_HEAD);
	else if (c->x.linger || ht_buf_len(&c->in) || conn_can_read(c) || !conn_say_goodbye(c))
		conn_linger(c);
	else
		ht_conn_close(c, false);
}

/* Errors after which the client may go on, provided that it has sent its whole request. */
static bool is_survivable(int status)
{
	return status == 404 || status == 421 || (status >= 502 && status <= 504);
}

void ht_conn_error(struct ht_conn *c, int status, const char *why)
{
	struct ht_exchange *x = &c->x;
	struct ht_buf *out = &c->out;
	bool keep = c->phase == HT_PHASE_EXCHANGE && x->body_complete && x->keep_alive &&
		    is_survivable(status) && !c->ws->draining;

	c->pinned = false;
	ht_conn_leave_backend(c, false);
	ht_log_limited(status < 500 ? LOG_DEBUG : LOG_NOTICE,
		       "msg=\"request failed\" client=%s status=%d reason=\"%s\"", c->ip, status,
		       why);
	if (x->answer != HT_ANSWER_HEAD) {
		ht_conn_cut(c);
		return;
	}
	if (c->phase != HT_PHASE_EXCHANGE) {
		ht_owed_free(&x->owed);
		*x = (struct ht_exchange){.started_us = c->ws->loop.now_us};
		ht_conn_enter(c, HT_PHASE_EXCHANGE);
	}
	if (!out->data && ht_buf_take(&c->ws->bufs, out, HT_BUF_LARGE)) {
		ht_conn_close(c, true);
		return;
	}
	ht_buf_pack(out); /* an interim answer may still be on its way */
	out->end += (uint32_t)ht_http_write_error(status, why, keep, x->head, out->data + out->end,
						  ht_buf_room(out));
	x->raw = x->raw_end = out->end;
	x->status = status;
	x->answer = HT_ANSWER_DONE;
	x->keep_alive = keep;
	x->linger = !keep;
}

/* ---- timeouts ---- */

/* It has the whole request, and has said nothing for so long. */
static void conn_blame_silence(struct ht_conn *c)
{
	const struct ht_loop *l = &c->ws->loop;

	if (c->backend && c->x.answer == HT_ANSWER_HEAD && c->x.upload == HT_UPLOAD_DONE)
		ht_backend_unanswered(c->backend, l->now_ms - l->length_ms[HT_TIMER_RESPONSE],
				      "response timed out");
}

static void conn_expired_waiting(struct ht_conn *c, enum ht_timer_kind kind)
{
	if (kind == HT_TIMER_CONNECT) {
		c->x.timed_out = true;
		ht_request_lost(c, -ETIMEDOUT);
	} else if (ht_conn_unsent(c)) {
		ht_conn_close(c, true); /* the client doesn't read */
	} else if (kind == HT_TIMER_BODY) {
		ht_conn_error(c, 408, "request body timed out");
	} else {
		conn_blame_silence(c);
		ht_conn_error(c, 504, "backend timed out");
	}
}

static void conn_expired(struct ht_timer *t)
{
	struct ht_conn *c = ht_container_of(t, struct ht_conn, timer);
	enum ht_timer_kind kind = t->expired;

	if (c->phase == HT_PHASE_HEAD && ht_buf_len(&c->in)) {
		ht_stats_inc(c->ws->stats->timeouts, 1);
		ht_conn_error(c, 408, "request head timed out");
	} else if (c->phase == HT_PHASE_EXCHANGE) {
		ht_stats_inc(c->ws->stats->timeouts, 1);
		conn_expired_waiting(c, kind);
	} else {
		if (c->phase == HT_PHASE_HANDSHAKE || c->phase == HT_PHASE_PROXY)
			ht_stats_inc(c->ws->stats->timeouts, 1);
		ht_conn_close(c, false);
		return;
	}
	ht_conn_run(c);
}

/* Which timeout applies now, and whether it starts anew whenever something moves. */
static enum ht_timer_kind conn_timeout(const struct ht_conn *c, bool *ret_renews)
{
	const struct ht_exchange *x = &c->x;

	*ret_renews = false;
	switch (c->phase) {
	case HT_PHASE_PROXY:
	case HT_PHASE_HANDSHAKE:
		return HT_TIMER_HANDSHAKE;
	case HT_PHASE_HEAD: /* a head has its time as a whole, however slowly it trickles in */
		return ht_buf_len(&c->in) || !c->served ? HT_TIMER_HEAD : HT_TIMER_IDLE;
	case HT_PHASE_EXCHANGE:
		*ret_renews = true;
		if (ht_conn_unsent(c))
			return HT_TIMER_BODY;
		if (x->upload == HT_UPLOAD_CONNECT)
			return HT_TIMER_CONNECT;
		if (x->upload == HT_UPLOAD_BODY && !x->piece.kind && !x->expecting)
			return HT_TIMER_BODY;
		return HT_TIMER_RESPONSE;
	case HT_PHASE_TUNNEL:
		*ret_renews = true;
		return HT_TIMER_IDLE;
	case HT_PHASE_LINGER:
		return HT_TIMER_LINGER;
	default:
		return HT_TIMER_NONE;
	}
}

static void conn_arm(struct ht_conn *c, bool progressed)
{
	bool renews;
	enum ht_timer_kind kind = conn_timeout(c, &renews);

	if (c->timer.kind != kind || (renews && progressed))
		ht_timer_arm(&c->ws->loop, &c->timer, kind);
}

/* ---- the walk ---- */

/* Both directions at once: an answer may begin while the request is still being sent. */
static bool conn_exchange(struct ht_conn *c)
{
	bool progressed;

	if (c->source.error) {
		ht_conn_close(c, true);
		return true;
	}
	progressed = ht_request_pump(c);
	if (c->phase == HT_PHASE_EXCHANGE)
		progressed |= ht_response_pump(c);
	return progressed;
}

static bool conn_step(struct ht_conn *c)
{
	switch (c->phase) {
	case HT_PHASE_PROXY:
		return ht_edge_header(c);
	case HT_PHASE_HANDSHAKE:
		return conn_handshake(c);
	case HT_PHASE_HEAD:
		return ht_request_read(c);
	case HT_PHASE_EXCHANGE:
		return conn_exchange(c);
	case HT_PHASE_TUNNEL:
		return ht_tunnel_pump(c);
	case HT_PHASE_LINGER:
		return conn_discard(c);
	default:
		return false;
	}
}

void ht_conn_run(struct ht_conn *c)
{
	bool progressed = false, more = true;

	for (unsigned turn = 0; more && turn < HT_CONN_TURNS; turn++) {
		more = conn_step(c);
		progressed |= more;
	}
	if (c->phase == HT_PHASE_CLOSED)
		return;
	if (more)
		ht_loop_again(&c->ws->loop, &c->source);
	conn_arm(c, progressed);
}
