/* SPDX-License-Identifier: Apache-2.0 */
/* The table of bans without BPF: rows of a few places, as in score.c. */
#include "guard_table.h"

#define WAYS 8

struct place {
	struct ht_ban_key key;
	struct ht_ban ban; /* until_ns 0 = empty */
};

struct ht_guard_table {
	struct ht_sip_keys keys;
	size_t rows;
	struct place place[];
};

int ht_guard_table_new(size_t max, const struct ht_sip_keys *keys, struct ht_guard_table **ret)
{
	struct ht_guard_table *t;
	size_t rows = 1;

	while (rows * WAYS < max)
		rows *= 2;
	t = calloc(1, sizeof(*t) + rows * WAYS * sizeof(t->place[0]));
	if (!t)
		return -ENOMEM;
	t->keys = *keys;
	t->rows = rows;
	*ret = t;
	return 0;
}

void ht_guard_table_free(struct ht_guard_table *t)
{
	free(t);
}

static size_t first_place(const struct ht_guard_table *t, const struct ht_ban_key *key)
{
	uint64_t half[2];
	struct ht_sip h;

	memcpy(half, key->addr, sizeof(half));
	ht_sip_init(&h, t->keys.key, 0);
	ht_sip_word(&h, half[0]);
	ht_sip_word(&h, half[1]);
	return (ht_sip_final(&h, 0) & (t->rows - 1)) * WAYS;
}

static struct place *find(const struct ht_guard_table *t, const struct ht_ban_key *key)
{
	size_t first = first_place(t, key);

	for (size_t i = first; i < first + WAYS; i++) {
		const struct place *p = &t->place[i];

		if (p->ban.until_ns && !memcmp(&p->key, key, sizeof(*key)))
			return (struct place *)p;
	}
	return NULL;
}

int ht_guard_table_get(const struct ht_guard_table *t, const struct ht_ban_key *key,
		       struct ht_ban *ret)
{
	const struct place *p = find(t, key);

	if (!p)
		return -ENOENT;
	*ret = p->ban;
	return 0;
}

void ht_guard_table_put(struct ht_guard_table *t, const struct ht_ban_key *key,
			const struct ht_ban *ban)
{
	struct place *p = find(t, key);
	size_t first = first_place(t, key);

	for (size_t i = first; !p && i < first + WAYS; i++) {
		if (!t->place[i].ban.until_ns)
			p = &t->place[i];
	}
	if (!p) {
		p = &t->place[first];
		for (size_t i = first; i < first + WAYS; i++) {
			if (t->place[i].ban.until_ns < p->ban.until_ns)
				p = &t->place[i];
		}
	}
	p->key = *key;
	p->ban = *ban;
}

int ht_guard_table_delete(struct ht_guard_table *t, const struct ht_ban_key *key)
{
	struct place *p = find(t, key);

	if (!p)
		return -ENOENT;
	p->ban = (struct ht_ban){0};
	return 0;
}

bool ht_guard_table_at(const struct ht_guard_table *t, size_t i, const struct ht_ban_key **ret_key,
		       const struct ht_ban **ret_ban)
{
	if (i >= t->rows * WAYS)
		return false;
	*ret_key = &t->place[i].key;
	*ret_ban = t->place[i].ban.until_ns ? &t->place[i].ban : NULL;
	return true;
}
