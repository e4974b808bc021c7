/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backend connections: made through the gate, pooled, thrown away. Never writes to one.
 */
#include "upstream.h"

#include <netinet/tcp.h>

#include "log.h"

#define HT_BACKEND_SNDBUF (256 * 1024) /* a head must always fit as a whole: offload.h */

/* ---- addresses ---- */

static void upstream_copy(struct ht_upstream *u, struct ht_peer *p, uint32_t gen)
{
	while (u->idle)
		ht_backend_close(u->idle, false);
	u->gen = gen;
	u->config = p->config;
	u->addr = p->addr;
	u->id = p->id;
	memcpy(u->text, p->text, sizeof(u->text));
	memcpy(u->token, p->token, sizeof(u->token));
}

/* Takes over what the resolver has found. No lock as long as that is nothing new. */
static void upstreams_refresh(struct ht_upstreams *set)
{
	struct ht_peers *s = set->peers;

	if (atomic_load_explicit(&s->version, memory_order_acquire) == set->version)
		return;
	pthread_mutex_lock(&s->lock);
	set->version = atomic_load(&s->version);
	for (size_t i = 0; i < set->n; i++) {
		uint32_t gen = atomic_load(&s->peer[i].gen);

		if (gen != set->upstream[i].gen)
			upstream_copy(&set->upstream[i], &s->peer[i], gen);
	}
	pthread_mutex_unlock(&s->lock);
}

int ht_upstreams_open(struct ht_upstreams *set, struct ht_peers *peers, struct ht_loop *loop,
		      struct ht_bufs *bufs, struct ht_offload *offload, struct ht_offload *plain,
		      struct ht_stats *stats)
{
	*set = (struct ht_upstreams){
		.loop = loop,
		.bufs = bufs,
		.offload = offload,
		.plain = plain,
		.stats = stats,
		.peers = peers,
		.n = peers->n,
	};
	set->upstream = calloc(set->n ? set->n : 1, sizeof(*set->upstream));
	if (!set->upstream)
		return -ENOMEM;
	for (size_t i = 0; i < set->n; i++)
		set->upstream[i].peer = &peers->peer[i];
	upstreams_refresh(set);
	return 0;
}

void ht_upstreams_close(struct ht_upstreams *set)
{
	for (size_t i = 0; i < set->n; i++) {
		while (set->upstream[i].idle)
			ht_backend_close(set->upstream[i].idle, false);
	}
	free(set->upstream);
	set->upstream = NULL;
	set->n = 0;
}

/* ---- the pool ---- */

static void count_backend(struct ht_upstreams *set, enum ht_conn_state state, int n)
{
	ht_stats_inc(set->stats->connections[HT_SIDE_BACKEND][state], n);
}

/* A connection at work, by every account. */
static void count_active(struct ht_backend *b, int n)
{
	count_backend(b->set, HT_CONN_ACTIVE, n);
	atomic_fetch_add_explicit(&b->upstream->peer->active, (uint32_t)n, memory_order_relaxed);
}

static void pool_remove(struct ht_backend *b)
{
	struct ht_upstream *u = b->upstream;

	if (b->prev)
		b->prev->next = b->next;
	else
		u->idle = b->next;
	if (b->next)
		b->next->prev = b->prev;
	b->prev = b->next = NULL;
	u->nidle--;
	ht_timer_cancel(&b->timer);
	count_backend(b->set, HT_CONN_IDLE, -1);
}

static struct ht_backend *pool_take(struct ht_upstream *u, void *owner, void (*notify)(void *owner))
{
	struct ht_backend *b = u->idle;

	if (!b)
		return NULL;
	pool_remove(b);
	b->owner = owner;
	b->notify = notify;
	b->reused = true;
	count_active(b, 1);
	return b;
}

void ht_backend_release(struct ht_backend *b)
{
	struct ht_upstream *u = b->upstream;

	if (b->set->retired || b->gen != u->gen || u->nidle >= HT_UPSTREAM_IDLE_MAX ||
	    ht_backend_unquiet(b)) {
		ht_backend_close(b, false);
		return;
	}
	b->owner = NULL;
	b->prev = NULL;
	b->next = u->idle;
	if (b->next)
		b->next->prev = b;
	u->idle = b;
	u->nidle++;
	count_active(b, -1);
	count_backend(b->set, HT_CONN_IDLE, 1);
	ht_timer_arm(b->set->loop, &b->timer, HT_TIMER_POOL);
}

bool ht_backend_alive(struct ht_backend *b)
{
	char byte;

	if (b->tls.ssl)
		return ht_tls_peek(&b->tls) == -EAGAIN;
	if (recv(b->source.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN)
		return false;
	b->source.readable = false;
	return true;
}

static void backend_bury(struct ht_source *s)
{
	free(ht_container_of(s, struct ht_backend, source));
}

void ht_backend_close(struct ht_backend *b, bool reset)
{
	if (b->source.fd < 0)
		return;
	if (b->owner)
		count_active(b, -1);
	else
		pool_remove(b);
	ht_timer_cancel(&b->timer);
	if (b->tls.ssl && !reset)
		ht_tls_shutdown(&b->tls);
	ht_tls_close(&b->tls);
	ht_gate_close(&b->gate, reset);
	b->source.fd = -1;
	b->owner = NULL;
	ht_loop_bury(b->set->loop, &b->source);
}

/* ---- a reload ---- */

/* The same backend, asked in the same way. What TLS was verified by may have changed. */
static bool upstream_same(const struct ht_upstream *a, const struct ht_upstream *b)
{
	return a->gen && b->gen && !strcmp(a->text, b->text) && !a->config->tls &&
	       !b->config->tls && a->addr.len == b->addr.len &&
	       !memcmp(&a->addr.sa, &b->addr.sa, a->addr.len);
}

static struct ht_upstream *upstreams_find(struct ht_upstreams *set, const struct ht_upstream *u)
{
	for (size_t i = 0; i < set->n; i++) {
		if (upstream_same(&set->upstream[i], u))
			return &set->upstream[i];
	}
	return NULL;
}

static void upstream_inherit(struct ht_upstreams *set, struct ht_upstream *u,
			     struct ht_upstream *from)
{
	if (u->idle || !from->idle)
		return;
	for (struct ht_backend *b = from->idle; b; b = b->next) {
		b->set = set;
		b->upstream = u;
		b->gen = u->gen;
	}
	u->idle = TAKE_PTR(from->idle);
	u->nidle = from->nidle;
	from->nidle = 0;
}

void ht_upstreams_inherit(struct ht_upstreams *set, struct ht_upstreams *from)
{
	for (size_t i = 0; i < from->n; i++) {
		struct ht_upstream *u = upstreams_find(set, &from->upstream[i]);

		if (u)
			upstream_inherit(set, u, &from->upstream[i]);
	}
}

void ht_upstreams_retire(struct ht_upstreams *set)
{
	set->retired = true;
	for (size_t i = 0; i < set->n; i++) {
		while (set->upstream[i].idle)
			ht_backend_close(set->upstream[i].idle, false);
	}
}

bool ht_backend_adopt(struct ht_backend *b, struct ht_upstreams *sets, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct ht_upstream *u = upstreams_find(&sets[i], b->upstream);

		if (!u)
			continue;
		count_active(b, -1);
		b->set = &sets[i];
		b->upstream = u;
		b->gen = u->gen;
		count_active(b, 1);
		return true;
	}
	return false;
}

/* ---- events ---- */

/* Whatever an idle backend has to say, it is not an answer: it goes. */
static void backend_ready(struct ht_source *s)
{
	struct ht_backend *b = ht_container_of(s, struct ht_backend, source);

	if (b->owner)
		b->notify(b->owner);
	else if (ht_backend_unquiet(b))
		ht_backend_close(b, false);
}

static void backend_expired(struct ht_timer *t)
{
	ht_backend_close(ht_container_of(t, struct ht_backend, timer), false);
}

/* ---- connecting ---- */

static int backend_socket(const struct ht_addr *a)
{
	int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int size = HT_BACKEND_SNDBUF, on = 1;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (a->sa.sa_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static ssize_t backend_write(void *arg, const void *data, size_t len)
{
	struct ht_backend *b = arg;
	size_t done = 0;
	ssize_t n = 0;

	/* fewer than all means that the socket is full, as with send() */
	while (done < len) {
		n = ht_tls_write(&b->tls, (const char *)data + done, len - done);
		if (n < 0)
			break;
		done += (size_t)n;
	}
	return done ? (ssize_t)done : n;
}

/* What is encrypted, the kernel's gate can't judge: it is judged here, as when the gate is off. */
static int backend_secure(struct ht_backend *b)
{
	int err = ht_tls_connect(&b->tls, b->set->peers->tls, &b->source, b->set->bufs,
				 b->upstream->config->host);

	if (err)
		return err;
	b->gate.write = backend_write;
	b->gate.write_arg = b;
	return 0;
}

static int backend_connect(struct ht_upstreams *set, struct ht_upstream *u, struct ht_backend *b)
{
	const struct ht_addr *a = &u->addr;
	bool ungated = a->sa.sa_family == AF_UNIX || u->config->tls;
	int fd = backend_socket(a), err;

	if (fd < 0)
		return fd;
	err = ht_gate_open(&b->gate, ungated ? set->plain : set->offload, fd);
	if (err)
		return err;
	b->source.fd = fd;
	if (connect(fd, &a->sa, a->len) && errno != EINPROGRESS)
		err = -errno;
	if (!err && u->config->tls)
		err = backend_secure(b);
	if (!err)
		err = ht_loop_add(set->loop, &b->source);
	if (err) {
		ht_tls_close(&b->tls);
		ht_gate_close(&b->gate, false);
	}
	return err;
}

static int backend_new(struct ht_upstreams *set, struct ht_upstream *u, bool probe, void *owner,
		       void (*notify)(void *owner), struct ht_backend **ret)
{
	struct ht_backend *b = calloc(1, sizeof(*b));
	int err;

	if (!b)
		return -ENOMEM;
	b->source.ready = backend_ready;
	b->source.bury = backend_bury;
	b->timer.fire = backend_expired;
	b->set = set;
	b->upstream = u;
	b->gen = u->gen;
	b->probe = probe;
	b->owner = owner;
	b->notify = notify;
	ht_stats_inc(set->stats->backend_connects, 1);
	err = backend_connect(set, u, b);
	if (err) {
		free(b);
		return err;
	}
	count_active(b, 1);
	*ret = b;
	return 0;
}

static int backend_handshake(struct ht_backend *b)
{
	const char *why = NULL;
	int err;

	if (b->secured)
		return 0;
	err = ht_tls_handshake(&b->tls, &why);
	b->secured = !err;
	if (err && err != -EAGAIN)
		ht_log_limited(LOG_ERR,
			       "msg=\"TLS to a backend failed\" upstream=%s host=\"%s\" "
			       "reason=\"%s\"",
			       b->upstream->text, b->upstream->config->host, why);
	return err;
}

int ht_backend_connected(struct ht_backend *b)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (!b->source.writable)
		return -EAGAIN;
	if (getsockopt(b->source.fd, SOL_SOCKET, SO_ERROR, &err, &len))
		return -errno;
	if (err)
		return -err;
	if (b->source.error)
		return -ECONNRESET;
	if (!ht_gate_admitted(&b->gate)) {
		ht_log_limited(LOG_ERR,
			       "msg=\"the gate did not admit a backend connection\" "
			       "upstream=%s",
			       b->upstream->text);
		return -EACCES;
	}
	err = b->tls.ssl ? backend_handshake(b) : 0;
	if (!err)
		ht_peer_connected(b->upstream->peer, b->upstream->text);
	return err;
}

static void upstream_blame(struct ht_upstreams *set, struct ht_upstream *u, bool probe, int err)
{
	ht_stats_inc(set->stats->backend_failures, 1);
	if (atomic_load(&u->peer->gen) == u->gen)
		ht_peer_failed(u->peer, set->loop->now_ms, probe, u->text, strerror(-err));
}

void ht_backend_blame(struct ht_backend *b, int err)
{
	upstream_blame(b->set, b->upstream, b->probe, err);
}

void ht_backend_unanswered(struct ht_backend *b, uint64_t since_ms, const char *why)
{
	const struct ht_upstream *u = b->upstream;

	ht_stats_inc(b->set->stats->backend_unanswered, 1);
	if (atomic_load(&u->peer->gen) == b->gen)
		ht_peer_unanswered(u->peer, b->set->loop->now_ms, since_ms, b->probe, u->text, why);
}

void ht_backend_answered(struct ht_backend *b)
{
	const struct ht_upstream *u = b->upstream;

	if (atomic_load_explicit(&u->peer->gen, memory_order_relaxed) == b->gen)
		ht_peer_answered(u->peer, b->set->loop->now_ms, u->text);
	b->probe = false;
}

/* ---- reading ---- */

bool ht_backend_readable(const struct ht_backend *b)
{
	return b->source.readable || (b->tls.ssl && ht_tls_pending(&b->tls));
}

bool ht_backend_unquiet(struct ht_backend *b)
{
	if (b->source.hup || b->source.error)
		return true;
	/* TLS speaks for itself now and then: tickets, new keys */
	return ht_backend_readable(b) && (!b->tls.ssl || !ht_backend_alive(b));
}

ssize_t ht_backend_recv(struct ht_backend *b, void *buf, size_t len)
{
	struct ht_source *s = &b->source;
	ssize_t n;

	if (b->tls.ssl)
		return ht_tls_read(&b->tls, buf, len);
	do {
		n = recv(s->fd, buf, len, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		n = -errno;
	if (n == -EAGAIN || (n > 0 && (size_t)n < len && !s->hup))
		s->readable = false; /* drained: no need to ask again */
	return n;
}

void ht_backend_shutdown(struct ht_backend *b)
{
	if (b->tls.ssl)
		ht_tls_shutdown(&b->tls);
	shutdown(b->source.fd, SHUT_WR);
}

/* ---- choosing ---- */

uint32_t ht_upstreams_by_token(const struct ht_upstreams *set, struct ht_str token)
{
	for (size_t i = 0; token.len == HT_BALANCE_TOKEN && i < set->n; i++) {
		if (set->upstream[i].gen &&
		    !memcmp(set->upstream[i].token, token.p, HT_BALANCE_TOKEN))
			return set->upstream[i].gen;
	}
	return 0;
}

/* Those that a request may be given, as bits. */
static uint64_t upstreams_ready(const struct ht_upstreams *set, uint64_t tried)
{
	uint64_t ready = 0;

	for (size_t i = 0; i < set->n; i++) {
		if (!(tried >> i & 1) && set->upstream[i].gen &&
		    ht_peer_ready(set->upstream[i].peer, set->loop->now_ms))
			ready |= 1ULL << i;
	}
	return ready;
}

static size_t upstreams_pick(const struct ht_upstreams *set, uint64_t ready,
			     const struct ht_wish *wish)
{
	enum ht_balance how = set->peers->site->balance;
	struct ht_balance_peer peers[HT_UPSTREAMS_MAX];

	if (how == HT_BALANCE_ROUND_ROBIN)
		return ht_balance_pick(how, NULL, set->n, ready, set->turn, 0);
	for (size_t i = 0; i < set->n; i++) {
		const struct ht_upstream *u = &set->upstream[i];

		if (how == HT_BALANCE_COOKIE && wish->gen && u->gen == wish->gen && ready >> i & 1)
			return i;
		peers[i].id = u->id;
		peers[i].active = atomic_load_explicit(&u->peer->active, memory_order_relaxed);
	}
	return ht_balance_pick(how, peers, set->n, ready, set->turn, wish->source);
}

/* The one that has rested longest, where there is no other. */
static struct ht_upstream *upstreams_last_resort(struct ht_upstreams *set, uint64_t tried)
{
	uint64_t until, earliest = UINT64_MAX;
	struct ht_upstream *ret = NULL;

	for (size_t i = 0; i < set->n; i++) {
		struct ht_upstream *u = &set->upstream[i];

		if (tried >> i & 1 || !u->gen || !atomic_load(&u->peer->gen) ||
		    atomic_load(&u->peer->down))
			continue;
		until = atomic_load(&u->peer->rests_until_ms);
		if (until < earliest) {
			earliest = until;
			ret = u;
		}
	}
	return ret;
}

static struct ht_upstream *upstreams_choose(struct ht_upstreams *set, const struct ht_wish *wish,
					    uint64_t tried, bool *ret_probe)
{
	uint64_t ready = upstreams_ready(set, tried);

	while (ready) {
		size_t at = upstreams_pick(set, ready, wish);

		if (ht_peer_claim(set->upstream[at].peer, set->loop->now_ms, ret_probe)) {
			set->turn = at + 1;
			return &set->upstream[at];
		}
		ready &= ~(1ULL << at);
	}
	*ret_probe = false;
	return upstreams_last_resort(set, tried);
}

/* Slots are used up: an idle connection of ours gives way. */
static bool upstreams_make_room(struct ht_upstreams *set)
{
	for (size_t i = 0; i < set->n; i++) {
		if (set->upstream[i].idle) {
			ht_backend_close(set->upstream[i].idle, false);
			return true;
		}
	}
	return false;
}

int ht_upstreams_get(struct ht_upstreams *set, const struct ht_wish *wish, uint64_t *tried,
		     void *owner, void (*notify)(void *owner), struct ht_backend **ret)
{
	struct ht_upstream *u;
	bool probe;
	int err;

	upstreams_refresh(set);
	while ((u = upstreams_choose(set, wish, *tried, &probe))) {
		/* whether it is well again, only a new connection can tell */
		*ret = wish->fresh || probe ? NULL : pool_take(u, owner, notify);
		if (*ret)
			return 0;
		err = backend_new(set, u, probe, owner, notify, ret);
		if (err == -ENOSPC && upstreams_make_room(set))
			err = backend_new(set, u, probe, owner, notify, ret);
		if (!err || err == -ENOSPC || err == -ENOMEM || err == -EMFILE || err == -ENFILE)
			return err;
		*tried |= 1ULL << (u - set->upstream);
		upstream_blame(set, u, probe, err);
	}
	return *tried ? -ECONNREFUSED : -EHOSTDOWN;
}
