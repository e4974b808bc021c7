/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel remembers of the daemon's judgements: the maps of tokens and of plaintext, filled,
 * emptied and counted. Loads and attaches nothing, and does not know what a token or a cookie is.
 */
#include <bpf/bpf.h>
#include <openssl/crypto.h>
#include <time.h>

#include "offload_parts.h"

#define HT_BATCH 1024 /* entries per call when the token map is walked */

static uint64_t ht_boot_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/*
 * Puts the new tag beside those of the same session and generations; the oldest makes room. What is
 * over takes nothing new with it: the gate would never find it.
 */
static void ht_token_merge(struct ht_token *new, const struct ht_token *old)
{
	size_t n = 1;

	if (old->check_lo != new->check_lo || old->check_hi != new->check_hi ||
	    old->key_gen != new->key_gen || old->global_gen != new->global_gen ||
	    old->key != new->key || (old->not_after_ns && old->not_after_ns <= ht_boot_now_ns()))
		return;
	for (size_t i = 0; i < HT_TAGS_MAX && n < HT_TAGS_MAX; i++) {
		if (old->tag[i] && old->tag[i] != new->tag[0])
			new->tag[n++] = old->tag[i];
	}
	if (old->not_after_ns && (!new->not_after_ns || old->not_after_ns < new->not_after_ns))
		new->not_after_ns = old->not_after_ns;
}

/*
 * Tells what is new in the map from what takes the place of its like; and asks for that first, since for
 * all else the kernel makes room before it looks, and may give up an entry of the same head.
 */
static int ht_cached_put(struct ht_cached *c, const struct ht_token_key *key, const void *value)
{
	if (!bpf_map_update_elem(c->fd, key, value, BPF_EXIST))
		return 0;
	if (errno != ENOENT)
		return -errno;
	if (!bpf_map_update_elem(c->fd, key, value, BPF_NOEXIST)) {
		atomic_fetch_add_explicit(&c->inserted, 1, memory_order_relaxed);
		return 0;
	}
	/* another worker was faster; and what he has put may have gone again */
	return errno == EEXIST && !bpf_map_update_elem(c->fd, key, value, BPF_ANY) ? 0 : -errno;
}

static uint64_t ht_cached_evicted(const struct ht_cached *c, size_t live)
{
	uint64_t in = atomic_load(&c->inserted), out = atomic_load(&c->flushed) + live;

	return in > out ? in - out : 0;
}

static int ht_push_token(struct ht_offload *o, const struct ht_push *push)
{
	struct ht_token token = push->token, values[o->cpus];

	/* a closed entry has one tag only: nothing to merge with */
	if (!(token.flags & HT_TOKEN_CLOSED) &&
	    !bpf_map_lookup_elem(o->tokens.fd, &push->key, values))
		ht_token_merge(&token, &values[0]);
	for (int i = 0; i < o->cpus; i++)
		values[i] = token;
	return ht_cached_put(&o->tokens, &push->key, values);
}

static int ht_push_sealed(struct ht_offload *o, const struct ht_push *push)
{
	struct ht_sealed value = {
		.tag = push->token.tag[0],
		.not_after_ns = push->token.not_after_ns,
		.len = (uint32_t)push->sealed.len,
		.key = push->token.key,
		.policy = push->token.policy,
	};
	int err;

	if (push->sealed.len > HT_SEALED_MAX)
		return -E2BIG;
	if (!o->max_sealed)
		return -ENOSPC;
	memcpy(value.text, push->sealed.p, push->sealed.len);
	err = ht_cached_put(&o->sealed, &push->key, &value);
	OPENSSL_cleanse(&value, sizeof(value));
	return err;
}

int ht_offload_push(struct ht_offload *o, const struct ht_push *push)
{
	if (!o->on)
		return 0;
	return push->sealed.p ? ht_push_sealed(o, push) : ht_push_token(o, push);
}

/* Calls fn for every entry, or takes each out of the map, HT_BATCH at a time. */
static int ht_offload_each(struct ht_offload *o, bool take, size_t limit,
			   void (*fn)(void *arg, const struct ht_token_key *key,
				      const struct ht_token *values, int cpus),
			   void *arg)
{
	_cleanup_free_ struct ht_token_key *keys = calloc(HT_BATCH, sizeof(*keys));
	_cleanup_free_ struct ht_token *values =
		calloc((size_t)HT_BATCH * (o->cpus > 0 ? o->cpus : 1), sizeof(*values));
	uint32_t in = 0, out = 0, n;
	bool more = true, first = true;
	size_t done = 0;
	int fd, err;

	if (!keys || !values)
		return -ENOMEM;
	fd = o->tokens.fd;
	while (more && done < limit) {
		n = HT_BATCH;
		err = take ? bpf_map_lookup_and_delete_batch(fd, first ? NULL : &in, &out, keys,
							     values, &n, NULL)
			   : bpf_map_lookup_batch(fd, first ? NULL : &in, &out, keys, values, &n,
						  NULL);
		if (err && errno != ENOENT)
			return -errno; /* ENOSPC: a bucket of more than HT_BATCH entries */
		more = !err;
		first = false;
		in = out;
		for (uint32_t i = 0; i < n && done < limit; i++, done++)
			fn(arg, &keys[i], &values[(size_t)i * o->cpus], o->cpus);
	}
	return 0;
}

static void ht_count_one(void *arg, const struct ht_token_key *key, const struct ht_token *values,
			 int cpus)
{
	(void)key, (void)values, (void)cpus;
	++*(size_t *)arg;
}

/*
 * Counts the entries of `sealed`, or takes them out, by their keys alone: the texts stay where they
 * are. A key that goes meanwhile makes the kernel begin again, hence the limit.
 */
static size_t ht_sealed_walk(struct ht_offload *o, bool take)
{
	struct ht_token_key key, next;
	size_t n = 0, left = 2 * (size_t)o->max_sealed + 1;
	bool more = !bpf_map_get_next_key(o->sealed.fd, NULL, &key);

	while (more && left--) {
		more = !bpf_map_get_next_key(o->sealed.fd, &key, &next);
		n += take ? !bpf_map_delete_elem(o->sealed.fd, &key) : 1;
		key = next;
	}
	return take ? n : HT_MIN(n, (size_t)o->max_sealed);
}

size_t ht_offload_flush(struct ht_offload *o)
{
	size_t n = 0;

	if (!o->on)
		return 0;
	ht_offload_each(o, true, SIZE_MAX, ht_count_one, &n);
	atomic_fetch_add(&o->tokens.flushed, n);
	atomic_fetch_add(&o->sealed.flushed, ht_sealed_walk(o, true));
	return n;
}

size_t ht_offload_tokens(struct ht_offload *o)
{
	size_t n = 0;

	if (o->on)
		ht_offload_each(o, false, SIZE_MAX, ht_count_one, &n);
	return n;
}

uint64_t ht_offload_evicted(struct ht_offload *o, size_t live)
{
	return ht_cached_evicted(&o->tokens, live);
}

uint64_t ht_offload_flushed(const struct ht_offload *o)
{
	return atomic_load(&o->tokens.flushed);
}

struct ht_walk {
	void (*fn)(void *arg, const struct ht_token_key *key, const struct ht_token *token,
		   uint64_t hits);
	void *arg;
};

static void ht_walk_one(void *arg, const struct ht_token_key *key, const struct ht_token *values,
			int cpus)
{
	const struct ht_walk *w = arg;
	uint64_t hits = 0;

	for (int i = 0; i < cpus; i++)
		hits += values[i].hits;
	w->fn(w->arg, key, &values[0], hits);
}

int ht_offload_walk(struct ht_offload *o, size_t limit,
		    void (*fn)(void *arg, const struct ht_token_key *key,
			       const struct ht_token *token, uint64_t hits),
		    void *arg)
{
	struct ht_walk w = {fn, arg};

	return o->on ? ht_offload_each(o, false, limit, ht_walk_one, &w) : 0;
}

/* The kernel's own account of a map. */
static size_t ht_map_bytes(int fd)
{
	char path[64], line[256];
	size_t bytes = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "memlock: %zu", &bytes) == 1)
			break;
	}
	fclose(f);
	return bytes;
}

size_t ht_offload_token_bytes(const struct ht_offload *o, unsigned *ret_cpus)
{
	*ret_cpus = o->on ? o->cpus : 0;
	return o->on ? ht_map_bytes(o->tokens.fd) : 0;
}

void ht_offload_sealed(struct ht_offload *o, struct ht_sealed_use *ret)
{
	*ret = (struct ht_sealed_use){0};
	if (!o->on)
		return;
	ret->max = o->max_sealed;
	ret->bytes = ht_map_bytes(o->sealed.fd);
	ret->live = ht_sealed_walk(o, false);
	ret->evicted = ht_cached_evicted(&o->sealed, ret->live);
	ret->flushed = atomic_load(&o->sealed.flushed);
}
