/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backend connections: made through the gate, pooled, thrown away. Never writes to one.
 */
#include "upstream.h"

#include <netinet/tcp.h>

#include "log.h"

#define HT_BACKEND_SNDBUF (256 * 1024) /* a head must always fit as a whole: offload.h */

static void upstream_name(const struct ht_upstream_config *c, char *ret, size_t len)
{
	if (c->unix_path)
		snprintf(ret, len, "unix:%s", c->unix_path);
	else
		snprintf(ret, len, strchr(c->host, ':') ? "[%s]:%u" : "%s:%u", c->host, c->port);
}

int ht_upstreams_open(struct ht_upstreams *set, const struct ht_site_config *site,
		      struct ht_loop *loop, struct ht_offload *offload, struct ht_offload *plain,
		      struct ht_stats *stats)
{
	*set = (struct ht_upstreams){
		.loop = loop,
		.offload = offload,
		.plain = plain,
		.stats = stats,
		.n = HT_MIN(site->nupstreams, (size_t)HT_UPSTREAMS_MAX),
	};
	set->upstream = calloc(set->n ? set->n : 1, sizeof(*set->upstream));
	if (!set->upstream)
		return -ENOMEM;
	for (size_t i = 0; i < set->n; i++) {
		set->upstream[i].config = &site->upstreams[i];
		upstream_name(&site->upstreams[i], set->upstream[i].text,
			      sizeof(set->upstream[i].text));
	}
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
	count_backend(b->set, HT_CONN_ACTIVE, 1);
	return b;
}

void ht_backend_release(struct ht_backend *b)
{
	struct ht_upstream *u = b->upstream;

	if (b->source.hup || b->source.error || u->nidle >= HT_UPSTREAM_IDLE_MAX ||
	    (b->source.readable && !ht_backend_alive(b))) {
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
	count_backend(b->set, HT_CONN_ACTIVE, -1);
	count_backend(b->set, HT_CONN_IDLE, 1);
	ht_timer_arm(b->set->loop, &b->timer, HT_TIMER_POOL);
}

bool ht_backend_alive(struct ht_backend *b)
{
	char byte;

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
		count_backend(b->set, HT_CONN_ACTIVE, -1);
	else
		pool_remove(b);
	ht_timer_cancel(&b->timer);
	ht_gate_close(&b->gate, reset);
	b->source.fd = -1;
	b->owner = NULL;
	ht_loop_bury(b->set->loop, &b->source);
}

/* ---- events ---- */

/* Whatever an idle backend has to say, it is not an answer: it goes. */
static void backend_ready(struct ht_source *s)
{
	struct ht_backend *b = ht_container_of(s, struct ht_backend, source);

	if (b->owner)
		b->notify(b->owner);
	else if (s->readable || s->hup || s->error)
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

static int backend_connect(struct ht_upstreams *set, struct ht_upstream *u, struct ht_backend *b)
{
	const struct ht_addr *a = &u->config->addr;
	int fd = backend_socket(a), err;

	if (fd < 0)
		return fd;
	err = ht_gate_open(&b->gate, a->sa.sa_family == AF_UNIX ? set->plain : set->offload, fd);
	if (err)
		return err;
	b->source.fd = fd;
	if (connect(fd, &a->sa, a->len) && errno != EINPROGRESS)
		err = -errno;
	if (!err)
		err = ht_loop_add(set->loop, &b->source);
	if (err)
		ht_gate_close(&b->gate, false);
	return err;
}

static int backend_new(struct ht_upstreams *set, struct ht_upstream *u, void *owner,
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
	b->owner = owner;
	b->notify = notify;
	ht_stats_inc(set->stats->backend_connects, 1);
	err = backend_connect(set, u, b);
	if (err) {
		free(b);
		return err;
	}
	count_backend(set, HT_CONN_ACTIVE, 1);
	*ret = b;
	return 0;
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
	return 0;
}

static void upstream_rest(struct ht_upstreams *set, struct ht_upstream *u, int err)
{
	ht_stats_inc(set->stats->backend_failures, 1);
	if (u->rests_until_ms <= set->loop->now_ms)
		ht_log_limited(LOG_WARNING, "msg=\"backend failed\" upstream=%s error=\"%s\"",
			       u->text, strerror(-err));
	u->rests_until_ms = set->loop->now_ms + HT_UPSTREAM_REST_MS;
}

void ht_backend_blame(struct ht_backend *b, int err)
{
	upstream_rest(b->set, b->upstream, err);
}

/* ---- choosing ---- */

static struct ht_upstream *upstreams_choose(struct ht_upstreams *set, uint64_t tried)
{
	struct ht_upstream *rested = NULL;
	size_t first = set->turn++;

	for (size_t i = 0; i < set->n; i++) {
		size_t at = (first + i) % set->n;
		struct ht_upstream *u = &set->upstream[at];

		if (tried >> at & 1)
			continue;
		if (u->rests_until_ms <= set->loop->now_ms) {
			set->turn = at + 1;
			return u;
		}
		if (!rested || u->rests_until_ms < rested->rests_until_ms)
			rested = u;
	}
	return rested;
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

int ht_upstreams_get(struct ht_upstreams *set, uint64_t *tried, bool fresh, void *owner,
		     void (*notify)(void *owner), struct ht_backend **ret)
{
	struct ht_upstream *u;
	int err;

	while ((u = upstreams_choose(set, *tried))) {
		*ret = fresh ? NULL : pool_take(u, owner, notify);
		if (*ret)
			return 0;
		err = backend_new(set, u, owner, notify, ret);
		if (err == -ENOSPC && upstreams_make_room(set))
			err = backend_new(set, u, owner, notify, ret);
		if (!err || err == -ENOSPC || err == -ENOMEM || err == -EMFILE || err == -ENFILE)
			return err;
		*tried |= 1ULL << (u - set->upstream);
		upstream_rest(set, u, err);
	}
	return -ECONNREFUSED;
}
