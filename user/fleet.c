/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to memcached. Every exchange has a connection of its own, so that thousands of nodes hold
 * none, and its first server that answers is the store: the order is that of failing over, the items
 * are not spread. What the library allocates is memory for secrets. Decides nothing.
 */
#include "fleet.h"

#include <inttypes.h>
#include <libmemcached/memcached.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#define NAME_MAX_LEN 200 /* of the prefix and a name; memcached takes 250 */
#define VALUE_MAX_LEN 128
#define LONG_OVER_S (60 * 60 * 24 * 30 + 1) /* an absolute time, for memcached, and in 1970 */

static const char *const item_names[HT_FLEET_ITEMS] = {"BPS0", "BPS1", "BPS2", "BP_VOID"};

struct session {
	const struct ht_fleet_params *p;
	struct ht_fleet_answer *answer;
	memcached_st *mc;
	uint8_t *room; /* ROOM bytes, the library's */
	size_t room_used;
	char holder[33]; /* our name as the lease's holder, random */
};

/* ---- the library's memory ---- */

/*
 * All of it in locked memory that no core dump shows, as values pass through it: pieces one after the
 * other, each behind its length. Only the last one is ever used again; one exchange needs few. It is
 * zero where it is not in use.
 */
#define ROOM (128 * 1024)
#define ROOM_ALIGN 16

static size_t piece_size(size_t size)
{
	return ROOM_ALIGN + (size + ROOM_ALIGN - 1) / ROOM_ALIGN * ROOM_ALIGN;
}

static size_t piece_len(const void *p)
{
	return *(const size_t *)((const uint8_t *)p - ROOM_ALIGN);
}

static void *room_malloc(const memcached_st *mc, const size_t size, void *context)
{
	struct session *s = context;
	uint8_t *piece = s->room + s->room_used;

	(void)mc;
	if (size > ROOM || piece_size(size) > ROOM - s->room_used)
		return NULL;
	s->room_used += piece_size(size);
	*(size_t *)piece = size;
	return piece + ROOM_ALIGN;
}

static void room_free(const memcached_st *mc, void *p, void *context)
{
	struct session *s = context;
	uint8_t *piece;
	size_t size;

	(void)mc;
	if ((uint8_t *)p < s->room || (uint8_t *)p >= s->room + ROOM) {
		free(p); /* what it had before it knew of the room */
		return;
	}
	piece = (uint8_t *)p - ROOM_ALIGN;
	size = piece_size(piece_len(p));
	OPENSSL_cleanse(piece, size);
	if (piece + size == s->room + s->room_used)
		s->room_used -= size;
}

static void *room_realloc(const memcached_st *mc, void *p, const size_t size, void *context)
{
	void *more = room_malloc(mc, size, context);

	if (more && p) {
		memcpy(more, p, HT_MIN(piece_len(p), size));
		room_free(mc, p, context);
	}
	return more;
}

static void *room_calloc(const memcached_st *mc, size_t n, const size_t size, void *context)
{
	return size && n > ROOM / size ? NULL : room_malloc(mc, n * size, context);
}

/* ---- a connection ---- */

static int fail(struct session *s, const char *what, memcached_return_t rc)
{
	snprintf(s->answer->why, sizeof(s->answer->why), "%s: %s: %s", s->answer->server, what,
		 memcached_strerror(s->mc, rc));
	return -EIO;
}

/* "192.0.2.1:11211", "[2001:db8::1]:11211" or "name:11211". */
static bool split_server(const char *text, char *host, size_t cap, in_port_t *ret_port)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;

	if (len > 1 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (!len || len >= cap)
		return false;
	memcpy(host, text, len);
	host[len] = 0;
	*ret_port = (in_port_t)atoi(colon + 1);
	return true;
}

static memcached_st *session_client(struct session *s, const char *server)
{
	memcached_st *mc = memcached_create(NULL);
	const uint64_t ms = s->p->timeout_ms;
	in_port_t port;
	char host[256];

	if (!mc)
		return NULL;
	memcached_set_memory_allocators(mc, room_malloc, room_free, room_realloc, room_calloc, s);
	memcached_behavior_set(mc, MEMCACHED_BEHAVIOR_SUPPORT_CAS, 1);
	memcached_behavior_set(mc, MEMCACHED_BEHAVIOR_TCP_NODELAY, 1);
	memcached_behavior_set(mc, MEMCACHED_BEHAVIOR_CONNECT_TIMEOUT, ms);
	memcached_behavior_set(mc, MEMCACHED_BEHAVIOR_POLL_TIMEOUT, ms);
	memcached_behavior_set(mc, MEMCACHED_BEHAVIOR_SND_TIMEOUT, ms * 1000);
	memcached_behavior_set(mc, MEMCACHED_BEHAVIOR_RCV_TIMEOUT, ms * 1000);
	if (split_server(server, host, sizeof(host), &port) &&
	    memcached_server_add(mc, host, port) == MEMCACHED_SUCCESS)
		return mc;
	memcached_free(mc);
	return NULL;
}

static size_t item_name(const struct session *s, const char *name, char ret[NAME_MAX_LEN + 1])
{
	return (size_t)snprintf(ret, NAME_MAX_LEN + 1, "%s%s", s->p->prefix, name);
}

/* ---- reading ---- */

static void view_item(struct ht_fleet_view *v, size_t i, const char *text, size_t len, uint64_t cas)
{
	v->item[i].there = true;
	v->item[i].cas = cas;
	v->item[i].good = i == HT_FLEET_VOID ? ht_fleet_parse_void(text, len, &v->void_before_s)
					     : ht_fleet_parse_secret(text, len, &v->item[i].secret);
}

static void view_result(const struct session *s, struct ht_fleet_view *v,
			const memcached_result_st *result)
{
	const char *key = memcached_result_key_value(result);
	size_t key_len = memcached_result_key_length(result);
	char name[NAME_MAX_LEN + 1];

	for (size_t i = 0; i < HT_FLEET_ITEMS; i++) {
		if (item_name(s, item_names[i], name) == key_len && !memcmp(name, key, key_len))
			view_item(v, i, memcached_result_value(result),
				  memcached_result_length(result), memcached_result_cas(result));
	}
}

static int read_view(struct session *s, struct ht_fleet_view *v)
{
	char name[HT_FLEET_ITEMS][NAME_MAX_LEN + 1];
	const char *keys[HT_FLEET_ITEMS];
	size_t len[HT_FLEET_ITEMS];
	memcached_result_st result;
	memcached_return_t rc;

	memset(v, 0, sizeof(*v));
	/* whatever else is at that port the library takes for a store with nothing in it */
	rc = memcached_version(s->mc);
	if (rc != MEMCACHED_SUCCESS)
		return fail(s, "asking who it is", rc);
	for (size_t i = 0; i < HT_FLEET_ITEMS; i++) {
		len[i] = item_name(s, item_names[i], name[i]);
		keys[i] = name[i];
	}
	rc = memcached_mget(s->mc, keys, len, HT_FLEET_ITEMS);
	if (rc != MEMCACHED_SUCCESS)
		return fail(s, "asking", rc);
	memcached_result_create(s->mc, &result);
	while (memcached_fetch_result(s->mc, &result, &rc) && rc == MEMCACHED_SUCCESS)
		view_result(s, v, &result);
	memcached_result_free(&result);
	if (rc != MEMCACHED_END && rc != MEMCACHED_NOTFOUND && rc != MEMCACHED_SUCCESS)
		return fail(s, "reading", rc);
	s->answer->garbage = 0;
	for (size_t i = 0; i < HT_FLEET_ITEMS; i++)
		s->answer->garbage += v->item[i].there && !v->item[i].good;
	return 0;
}

/* ---- the lease ---- */

static int lease_take(struct session *s)
{
	char name[NAME_MAX_LEN + 1];
	uint8_t chance[16];
	memcached_return_t rc;

	if (RAND_bytes(chance, sizeof(chance)) != 1)
		return -EIO;
	for (size_t i = 0; i < sizeof(chance); i++)
		snprintf(s->holder + 2 * i, 3, "%02x", chance[i]);
	rc = memcached_add(s->mc, name, item_name(s, "BP_LEASE", name), s->holder,
			   strlen(s->holder), HT_FLEET_LEASE_S, 0);
	if (rc == MEMCACHED_SUCCESS)
		return 0;
	if (rc != MEMCACHED_NOTSTORED && rc != MEMCACHED_DATA_EXISTS)
		return fail(s, "taking the lease", rc);
	snprintf(s->answer->why, sizeof(s->answer->why), "%s: another node has the lease",
		 s->answer->server);
	return -EAGAIN;
}

/*
 * Given back only if it is still ours. The protocol deletes without comparing; so what is compared
 * and swapped is an item that is over as soon as it is there.
 */
static void lease_give_back(struct session *s)
{
	char name[NAME_MAX_LEN + 1];
	const char *key = name;
	size_t len = item_name(s, "BP_LEASE", name);
	memcached_result_st result;
	memcached_return_t rc;
	uint64_t cas = 0;
	bool ours = false;

	if (memcached_mget(s->mc, &key, &len, 1) != MEMCACHED_SUCCESS)
		return;
	memcached_result_create(s->mc, &result);
	while (memcached_fetch_result(s->mc, &result, &rc) && rc == MEMCACHED_SUCCESS) {
		ours = memcached_result_length(&result) == strlen(s->holder) &&
		       !memcmp(memcached_result_value(&result), s->holder, strlen(s->holder));
		cas = memcached_result_cas(&result);
	}
	memcached_result_free(&result);
	if (ours)
		memcached_cas(s->mc, name, len, "", 0, LONG_OVER_S, 0, cas);
}

/* ---- writing ---- */

static memcached_return_t put(struct session *s, const struct ht_fleet_view *v,
			      enum ht_fleet_item i, const char *value, size_t len)
{
	char name[NAME_MAX_LEN + 1];
	size_t n = item_name(s, item_names[i], name);

	/* which secret signs is decided by one write that nobody else's comes between */
	if (i == HT_FLEET_CURRENT && v->item[i].there)
		return memcached_cas(s->mc, name, n, value, len, 0, 0, v->item[i].cas);
	if (i == HT_FLEET_CURRENT)
		return memcached_add(s->mc, name, n, value, len, 0, 0);
	return memcached_set(s->mc, name, n, value, len, 0, 0);
}

static int put_secret(struct session *s, const struct ht_fleet_view *v, enum ht_fleet_item i,
		      const struct ht_ring_secret *secret)
{
	char value[VALUE_MAX_LEN];
	memcached_return_t rc;
	int len = snprintf(value, sizeof(value), "%.*s:%" PRIu64, (int)secret->len,
			   (const char *)secret->bytes, secret->born_s);

	rc = put(s, v, i, value, (size_t)len);
	OPENSSL_cleanse(value, sizeof(value));
	if (rc == MEMCACHED_SUCCESS)
		return 0;
	if (rc != MEMCACHED_NOTSTORED && rc != MEMCACHED_DATA_EXISTS && rc != MEMCACHED_NOTFOUND)
		return fail(s, "writing", rc);
	snprintf(s->answer->why, sizeof(s->answer->why), "%s: another node was faster",
		 s->answer->server);
	return -EAGAIN;
}

static int put_void(struct session *s, const struct ht_fleet_view *v, uint64_t before_s)
{
	char value[32];
	int len = snprintf(value, sizeof(value), "%" PRIu64, before_s);
	memcached_return_t rc = put(s, v, HT_FLEET_VOID, value, (size_t)len);

	return rc == MEMCACHED_SUCCESS ? 0 : fail(s, "writing", rc);
}

static int take_away(struct session *s, enum ht_fleet_item i)
{
	char name[NAME_MAX_LEN + 1];
	memcached_return_t rc = memcached_delete(s->mc, name, item_name(s, item_names[i], name), 0);

	return rc == MEMCACHED_SUCCESS || rc == MEMCACHED_NOTFOUND ? 0 : fail(s, "removing", rc);
}

/* What stands beside the one that signs. Half of it is better than none: others tolerate that. */
static int write_rest(struct session *s, const struct ht_fleet_view *v, const struct ht_ring *r,
		      unsigned plan)
{
	int err = 0;

	if (plan >> HT_FLEET_PREVIOUS & 1)
		err = r->n > 1 && r->secret[1].len == HT_RING_FRESH_LEN
			      ? put_secret(s, v, HT_FLEET_PREVIOUS, &r->secret[1])
			      : take_away(s, HT_FLEET_PREVIOUS);
	if (!err && plan >> HT_FLEET_NEXT & 1)
		err = put_secret(s, v, HT_FLEET_NEXT, &r->next);
	if (!err && plan >> HT_FLEET_VOID & 1)
		err = put_void(s, v, r->void_before_s);
	return err;
}

/* ---- one exchange ---- */

int ht_fleet_fresh(uint64_t born_s, struct ht_ring_secret *ret)
{
	uint8_t chance[HT_RING_FRESH_BYTES];
	int ok = RAND_priv_bytes(chance, sizeof(chance));

	ht_ring_fresh(chance, born_s, ret);
	OPENSSL_cleanse(chance, sizeof(chance));
	return ok == 1 ? 0 : -EIO;
}

/* What the ring will be once it is written. */
static int prepare(struct ht_ring *work, unsigned plan, uint64_t now_s)
{
	struct ht_ring_secret new[2];
	int err = ht_fleet_fresh(HT_MAX(now_s, work->void_before_s), &new[0]);

	if (!err)
		err = ht_fleet_fresh(HT_MAX(now_s, work->void_before_s), &new[1]);
	if (!err && plan & HT_FLEET_ROTATE)
		ht_ring_rotate(work, now_s, true, &new[0]);
	if (!err && !work->has_next)
		ht_ring_set_next(work, &new[1]);
	OPENSSL_cleanse(new, sizeof(new));
	return err;
}

/* Nothing that `work` has beyond `ring` is in use until the store has which one signs. */
static int write_all(struct session *s, const struct ht_fleet_view *v, struct ht_ring *work,
		     unsigned plan, struct ht_ring *ring)
{
	int err = 0;

	if (plan >> HT_FLEET_CURRENT & 1)
		err = put_secret(s, v, HT_FLEET_CURRENT, &work->secret[0]);
	if (err)
		return err;
	s->answer->rotated = plan & HT_FLEET_ROTATE;
	s->answer->published = true;
	ht_ring_join(ring, work);
	err = write_rest(s, v, work, plan);
	if (!err)
		memcpy(s->answer->next_id, ring->next.id, sizeof(s->answer->next_id));
	return err;
}

static unsigned look(struct session *s, const struct ht_fleet_request *q, bool rotate,
		     const struct ht_fleet_view *v, struct ht_ring *ring)
{
	const struct ht_ring_times *t = &s->p->times;
	unsigned plan;

	ht_fleet_take(v, ring);
	ht_ring_retire(ring, t, q->now_s);
	plan = ht_fleet_plan(v, ring, t, q->now_s, q->settled, rotate);
	s->answer->not_settled = (rotate || ht_ring_due(ring, t, q->now_s)) &&
				 !(plan & HT_FLEET_ROTATE);
	s->answer->next_id[0] = 0;
	if (v->item[HT_FLEET_NEXT].good && ring->has_next &&
	    !strcmp(v->item[HT_FLEET_NEXT].secret.id, ring->next.id))
		memcpy(s->answer->next_id, ring->next.id, sizeof(s->answer->next_id));
	return plan;
}

/* With the lease; what was found before it may be no longer so. */
static int write_under_lease(struct session *s, const struct ht_fleet_request *q,
			     struct ht_fleet_view *v, struct ht_ring *ring)
{
	_cleanup_(ht_ring_freep) struct ht_ring *work = ht_ring_new();
	char before[HT_SECRET_ID_LEN + 1];
	unsigned plan;
	int err;

	if (!work)
		return -ENOMEM;
	memcpy(before, ring->secret[0].id, sizeof(before));
	err = read_view(s, v);
	if (err)
		return err;
	ht_fleet_take(v, ring);
	plan = look(s, q, q->rotate && !strcmp(before, ring->secret[0].id), v, ring);
	if (!plan)
		return 0;
	*work = *ring;
	err = prepare(work, plan, q->now_s);
	return err ? err : write_all(s, v, work, plan, ring);
}

static int exchange(struct session *s, const struct ht_fleet_request *q, struct ht_ring *ring)
{
	struct ht_fleet_view *v = ht_secret_memory(sizeof(*v));
	int err = v ? read_view(s, v) : -ENOMEM;

	s->answer->reached = !err;
	if (!err && look(s, q, q->rotate, v, ring)) {
		err = lease_take(s);
		if (!err) {
			err = write_under_lease(s, q, v, ring);
			lease_give_back(s);
		}
	}
	ht_secret_memory_free(v, sizeof(*v));
	return err;
}

static int ask_servers(struct session *s, const struct ht_fleet_request *q, struct ht_ring *ring)
{
	const struct ht_fleet_params *p = s->p;
	int err = -EIO;

	for (size_t i = 0; i < p->nservers && !s->answer->reached; i++) {
		s->answer->server = p->servers[i];
		s->mc = session_client(s, p->servers[i]);
		if (!s->mc) {
			snprintf(s->answer->why, sizeof(s->answer->why), "%s: out of memory",
				 s->answer->server);
			return -ENOMEM;
		}
		err = exchange(s, q, ring);
		memcached_free(s->mc);
		OPENSSL_cleanse(s->room, s->room_used);
		s->room_used = 0;
	}
	return err;
}

int ht_fleet_sync(const struct ht_fleet_params *p, const struct ht_fleet_request *q,
		  struct ht_ring *ring, struct ht_fleet_answer *ret)
{
	struct session s = {.p = p, .answer = ret, .room = ht_secret_memory(ROOM)};
	int err;

	memset(ret, 0, sizeof(*ret));
	if (!s.room) {
		snprintf(ret->why, sizeof(ret->why), "out of memory");
		return -ENOMEM;
	}
	err = ask_servers(&s, q, ring);
	ht_secret_memory_free(s.room, ROOM);
	return err;
}
