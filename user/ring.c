/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the secrets of one key follow each other. Everything here is a function of what was there,
 * what came and what time it is, so that it can be tested with any clock.
 */
#include "ring.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "mac.h"

struct ht_ring *ht_ring_new(void)
{
	return ht_secret_memory(sizeof(struct ht_ring));
}

void ht_ring_free(struct ht_ring *r)
{
	ht_secret_memory_free(r, sizeof(*r));
}

int ht_ring_secret_make(const void *bytes, size_t len, uint64_t born_s, struct ht_ring_secret *ret)
{
	if (!len || len > HT_RING_SECRET_MAX)
		return -EINVAL;
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->bytes, bytes, len);
	ret->len = len;
	ret->born_s = born_s;
	ht_secret_name(bytes, len, ret->id);
	return 0;
}

void ht_ring_secret_wipe(struct ht_ring_secret *s)
{
	OPENSSL_cleanse(s, sizeof(*s));
}

void ht_ring_fresh(const uint8_t chance[HT_RING_FRESH_BYTES], uint64_t born_s,
		   struct ht_ring_secret *ret)
{
	unsigned char text[HT_RING_FRESH_LEN + 1];

	_Static_assert((HT_RING_FRESH_BYTES + 2) / 3 * 4 == HT_RING_FRESH_LEN, "base64");
	EVP_EncodeBlock(text, chance, HT_RING_FRESH_BYTES);
	ht_ring_secret_make(text, HT_RING_FRESH_LEN, born_s, ret);
	OPENSSL_cleanse(text, sizeof(text));
}

/* ---- what is in it ---- */

static bool same(const struct ht_ring_secret *a, const struct ht_ring_secret *b)
{
	return a->len == b->len && !CRYPTO_memcmp(a->bytes, b->bytes, a->len);
}

static struct ht_ring_secret *find(struct ht_ring *r, const struct ht_ring_secret *s)
{
	for (size_t i = 0; i < r->n; i++) {
		if (same(&r->secret[i], s))
			return &r->secret[i];
	}
	return NULL;
}

/* Of two that were born in the same second every node puts the same one first. */
static bool is_newer(const struct ht_ring_secret *a, const struct ht_ring_secret *b)
{
	return a->born_s != b->born_s ? a->born_s > b->born_s : strcmp(a->id, b->id) > 0;
}

static void cut(struct ht_ring *r, size_t n)
{
	if (n >= r->n)
		return;
	OPENSSL_cleanse(&r->secret[n], (r->n - n) * sizeof(r->secret[0]));
	r->n = n;
}

static void take_out(struct ht_ring *r, size_t i)
{
	memmove(&r->secret[i], &r->secret[i + 1], (r->n - i - 1) * sizeof(r->secret[0]));
	cut(r, r->n - 1);
}

static void drop_next(struct ht_ring *r)
{
	r->has_next = false;
	ht_ring_secret_wipe(&r->next);
}

static void put(struct ht_ring *r, const struct ht_ring_secret *s)
{
	size_t at = 0;

	while (at < r->n && !is_newer(s, &r->secret[at]))
		at++;
	if (at == HT_RING_MAX)
		return;
	cut(r, HT_RING_MAX - 1);
	memmove(&r->secret[at + 1], &r->secret[at], (r->n - at) * sizeof(r->secret[0]));
	r->secret[at] = *s;
	r->n++;
}

void ht_ring_add(struct ht_ring *r, const struct ht_ring_secret *s)
{
	struct ht_ring_secret *known = find(r, s);

	if (s->born_s < r->void_before_s || (known && known->born_s >= s->born_s))
		return;
	if (known)
		take_out(r, (size_t)(known - r->secret));
	put(r, s);
	if (r->has_next && same(&r->next, s))
		drop_next(r);
}

void ht_ring_set_next(struct ht_ring *r, const struct ht_ring_secret *s)
{
	if (s->born_s < r->void_before_s || find(r, s) || (r->has_next && same(&r->next, s)))
		return;
	r->next = *s;
	r->has_next = true;
}

void ht_ring_void(struct ht_ring *r, uint64_t before_s)
{
	if (before_s <= r->void_before_s)
		return;
	r->void_before_s = before_s;
	while (r->n && r->secret[r->n - 1].born_s < before_s)
		cut(r, r->n - 1);
	if (r->has_next && r->next.born_s < before_s)
		drop_next(r);
}

void ht_ring_join(struct ht_ring *r, const struct ht_ring *other)
{
	ht_ring_void(r, other->void_before_s);
	for (size_t i = 0; i < other->n; i++)
		ht_ring_add(r, &other->secret[i]);
	if (other->has_next)
		ht_ring_set_next(r, &other->next);
}

void ht_ring_begin_anew(struct ht_ring *r, uint64_t void_before_s)
{
	cut(r, 0);
	drop_next(r);
	r->void_before_s = void_before_s;
}

void ht_ring_learn(struct ht_ring *r, const struct ht_ring *copy)
{
	if (copy->void_before_s > r->void_before_s)
		*r = *copy;
	else if (copy->void_before_s == r->void_before_s)
		ht_ring_join(r, copy);
}

bool ht_ring_knows(const struct ht_ring *r, const struct ht_ring_secret *s)
{
	for (size_t i = 0; i < r->n; i++) {
		if (same(&r->secret[i], s))
			return true;
	}
	return r->has_next && same(&r->next, s);
}

bool ht_ring_same(const struct ht_ring *a, const struct ht_ring *b)
{
	if (a->n != b->n || a->has_next != b->has_next || a->void_before_s != b->void_before_s ||
	    (a->has_next && (!same(&a->next, &b->next) || a->next.born_s != b->next.born_s)))
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (!same(&a->secret[i], &b->secret[i]) ||
		    a->secret[i].born_s != b->secret[i].born_s)
			return false;
	}
	return true;
}

/* ---- time ---- */

uint64_t ht_ring_retires_s(const struct ht_ring *r, size_t i, const struct ht_ring_times *t)
{
	return i ? r->secret[i - 1].born_s + t->lifetime_s : 0;
}

void ht_ring_retire(struct ht_ring *r, const struct ht_ring_times *t, uint64_t now_s)
{
	while (r->n > 1 && ht_ring_retires_s(r, r->n - 1, t) <= now_s)
		cut(r, r->n - 1);
}

/* A birth in the future, by a clock that was wrong, waits for that time to come. */
bool ht_ring_due(const struct ht_ring *r, const struct ht_ring_times *t, uint64_t now_s)
{
	return !r->n || (t->rotate_every_s && now_s >= r->secret[0].born_s + t->rotate_every_s);
}

uint64_t ht_ring_event_s(const struct ht_ring *r, const struct ht_ring_times *t)
{
	uint64_t due = r->n && t->rotate_every_s ? r->secret[0].born_s + t->rotate_every_s : 0;
	uint64_t end = r->n > 1 ? ht_ring_retires_s(r, r->n - 1, t) : 0;

	return due && end ? HT_MIN(due, end) : HT_MAX(due, end);
}

/* ---- change ---- */

/* Births go up, whatever the clock does: it is they that tell which one signs. */
static uint64_t birth_now(const struct ht_ring *r, uint64_t now_s)
{
	uint64_t born_s = HT_MAX(now_s, r->void_before_s);

	return r->n ? HT_MAX(born_s, r->secret[0].born_s + 1) : born_s;
}

static void put_born(struct ht_ring *r, const struct ht_ring_secret *s, uint64_t born_s)
{
	struct ht_ring_secret born = *s;

	born.born_s = born_s;
	ht_ring_add(r, &born);
	ht_ring_secret_wipe(&born);
}

bool ht_ring_rotate(struct ht_ring *r, uint64_t now_s, bool ahead,
		    const struct ht_ring_secret *fresh)
{
	const uint64_t born_s = birth_now(r, now_s);
	bool had_next = r->has_next;

	put_born(r, had_next ? &r->next : fresh, born_s);
	if (!had_next || !ahead)
		return !had_next;
	r->next = *fresh;
	r->next.born_s = born_s;
	r->has_next = true;
	return true;
}

void ht_ring_revoke(struct ht_ring *r, uint64_t now_s, const struct ht_ring_secret *fresh,
		    const struct ht_ring_secret *next)
{
	uint64_t born_s = birth_now(r, now_s);

	if (r->has_next)
		born_s = HT_MAX(born_s, r->next.born_s + 1);
	ht_ring_void(r, born_s);
	put_born(r, fresh, born_s);
	if (!next)
		return;
	r->next = *next;
	r->next.born_s = born_s;
	r->has_next = true;
}

static void source_add(struct ht_key_source *to, const struct ht_ring_secret *s, uint64_t retire_s,
		       bool early)
{
	to->secret[to->n++] = (struct ht_secret_source){
		.bytes = s->bytes,
		.len = s->len,
		.born_s = s->born_s,
		.retire_s = retire_s,
		.early = early,
	};
}

void ht_ring_source(const struct ht_ring *r, const struct ht_ring_times *t, const char *held,
		    struct ht_key_source *ret)
{
	bool is_held = r->n > 1 && !strcmp(r->secret[0].id, held);

	_Static_assert(HT_RING_MAX + 1 <= HT_SECRETS_MAX, "they fit");
	ret->n = 0;
	ret->given = true;
	for (size_t i = is_held; i < r->n; i++)
		source_add(ret, &r->secret[i], ht_ring_retires_s(r, i, t), false);
	if (is_held)
		source_add(ret, &r->secret[0], 0, true);
	if (r->n && r->has_next)
		source_add(ret, &r->next, 0, true);
}
