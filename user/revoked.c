/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The set of revoked sessions: hashing, looking up, and the copy that has one more. Decides nothing
 * about requests.
 */
#include "revoked.h"

static void hash_text(struct ht_sip *s, struct ht_str text)
{
	ht_sip_word(s, text.len);
	for (size_t i = 0; i < text.len; i += 8) {
		uint64_t w = 0;

		memcpy(&w, text.p + i, HT_MIN(text.len - i, sizeof(w)));
		ht_sip_word(s, w);
	}
}

void ht_revoked_hash(const struct ht_sip_keys *keys, struct ht_str site, struct ht_str name,
		     struct ht_str value, struct ht_revoked_entry *ret)
{
	struct ht_sip s;

	ht_sip_init(&s, keys->key, 1);
	hash_text(&s, site);
	hash_text(&s, name);
	hash_text(&s, value);
	ret->lo = ht_sip_final(&s, 1);
	ret->hi = ht_sip_final_hi(&s);
}

static int compare(const void *a, const void *b)
{
	const struct ht_revoked_entry *x = a, *y = b;

	if (x->hi != y->hi)
		return x->hi < y->hi ? -1 : 1;
	return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static struct ht_revoked *set_new(const struct ht_sip_keys *keys, size_t room)
{
	struct ht_revoked *r = malloc(sizeof(*r) + room * sizeof(r->entry[0]));

	if (!r)
		return NULL;
	atomic_init(&r->refs, 1);
	r->keys = *keys;
	r->n = 0;
	return r;
}

int ht_revoked_new(const struct ht_sip_keys *keys, const struct ht_revoked_entry *entries, size_t n,
		   struct ht_revoked **ret)
{
	struct ht_revoked *r = set_new(keys, n);

	if (!r)
		return -ENOMEM;
	if (n)
		memcpy(r->entry, entries, n * sizeof(*entries));
	r->n = n;
	qsort(r->entry, n, sizeof(r->entry[0]), compare);
	*ret = r;
	return 0;
}

int ht_revoked_add(const struct ht_revoked *old, const struct ht_revoked_entry *entry,
		   uint64_t now_s, struct ht_revoked **ret)
{
	struct ht_revoked *r = set_new(&old->keys, old->n + 1);
	bool placed = false;

	if (!r)
		return -ENOMEM;
	for (size_t i = 0; i < old->n; i++) {
		int order = compare(&old->entry[i], entry);

		if (order >= 0 && !placed) {
			r->entry[r->n++] = *entry;
			placed = true;
		}
		if (order && old->entry[i].until_s > now_s)
			r->entry[r->n++] = old->entry[i];
	}
	if (!placed)
		r->entry[r->n++] = *entry;
	if (r->n > HT_REVOKED_MAX) {
		ht_revoked_unref(r);
		return -ENOSPC;
	}
	*ret = r;
	return 0;
}

static bool has_exactly(const struct ht_revoked *r, struct ht_str site, struct ht_str name,
			struct ht_str value, uint64_t now_s)
{
	struct ht_revoked_entry want;
	const struct ht_revoked_entry *found;

	ht_revoked_hash(&r->keys, site, name, value, &want);
	found = bsearch(&want, r->entry, r->n, sizeof(want), compare);
	return found && now_s < found->until_s;
}

bool ht_revoked_has(const struct ht_revoked *r, struct ht_str site, struct ht_str name,
		    struct ht_str value, uint64_t now_s)
{
	if (!r || !r->n)
		return false;
	return has_exactly(r, HT_STR(""), name, value, now_s) ||
	       has_exactly(r, site, name, value, now_s);
}

size_t ht_revoked_count(const struct ht_revoked *r, uint64_t now_s)
{
	size_t n = 0;

	for (size_t i = 0; r && i < r->n; i++)
		n += now_s < r->entry[i].until_s;
	return n;
}

struct ht_revoked *ht_revoked_ref(struct ht_revoked *r)
{
	if (r)
		atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void ht_revoked_unref(struct ht_revoked *r)
{
	if (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1)
		free(r);
}
