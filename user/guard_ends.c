/* SPDX-License-Identifier: Apache-2.0 */
/* A binary heap of times. */
#include "guard_ends.h"

#include <stdlib.h>

static void swap(struct ht_guard_ends *e, size_t a, size_t b)
{
	const uint64_t at = e->at[a];

	e->at[a] = e->at[b];
	e->at[b] = at;
}

static void rise(struct ht_guard_ends *e, size_t i)
{
	for (; i && e->at[i] < e->at[(i - 1) / 2]; i = (i - 1) / 2)
		swap(e, i, (i - 1) / 2);
}

static void sink(struct ht_guard_ends *e, size_t i)
{
	size_t least = i;

	do {
		i = least;
		for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < e->n; child++) {
			if (e->at[child] < e->at[least])
				least = child;
		}
		swap(e, i, least);
	} while (least != i);
}

static void take_out(struct ht_guard_ends *e, size_t i)
{
	e->at[i] = e->at[--e->n];
	if (i == e->n)
		return;
	rise(e, i);
	sink(e, i);
}

static bool grow(struct ht_guard_ends *e)
{
	size_t cap = e->cap ? 2 * e->cap : 64;
	uint64_t *at = e->n < e->cap ? e->at : realloc(e->at, cap * sizeof(*at));

	if (!at)
		return false;
	if (e->n == e->cap)
		e->cap = cap;
	e->at = at;
	return true;
}

void ht_guard_ends_add(struct ht_guard_ends *e, uint64_t until_ns)
{
	if (e->max && e->n == e->max)
		take_out(e, 0);
	if (!grow(e))
		return;
	e->at[e->n++] = until_ns;
	rise(e, e->n - 1);
}

void ht_guard_ends_remove(struct ht_guard_ends *e, uint64_t until_ns)
{
	for (size_t i = 0; i < e->n; i++) {
		if (e->at[i] == until_ns) {
			take_out(e, i);
			return;
		}
	}
}

size_t ht_guard_ends_count(struct ht_guard_ends *e, uint64_t now_ns)
{
	while (e->n && e->at[0] <= now_ns)
		take_out(e, 0);
	return e->n;
}

void ht_guard_ends_clear(struct ht_guard_ends *e)
{
	free(e->at);
	*e = (struct ht_guard_ends){.max = e->max};
}
