/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of sources: rows of a few places each, a source's row chosen by a keyed hash. A place
 * holds as many prints as it takes to make an offender.
 */
#include "score.h"

#define WAYS 8 /* places that a source may be in */

struct print {
	uint64_t hash;
	uint64_t last_ms;
};

struct place {
	struct ht_source_key source;
	uint64_t last_ms;
	uint32_t n;
	struct print print[]; /* as many as make an offender */
};

struct ht_score {
	struct ht_score_params p;
	size_t rows, place_size, bytes;
	uint64_t evicted;
	char places[] __attribute__((aligned(8)));
};

int ht_score_new(const struct ht_score_params *p, struct ht_score **ret)
{
	size_t rows = 1, place_size = sizeof(struct place) + p->forged * sizeof(struct print);
	struct ht_score *s;

	if (!p->sources || p->sources > UINT32_MAX || !p->forged || !p->per_ms ||
	    p->forged > HT_SCORE_FORGED_MAX)
		return -EINVAL;
	while (rows * WAYS < p->sources)
		rows *= 2;
	/* zeroed by the kernel page by page, as places come into use */
	s = calloc(1, sizeof(*s) + rows * WAYS * place_size);
	if (!s)
		return -ENOMEM;
	s->p = *p;
	s->rows = rows;
	s->place_size = place_size;
	s->bytes = sizeof(*s) + rows * WAYS * place_size;
	*ret = s;
	return 0;
}

void ht_score_free(struct ht_score *s)
{
	free(s);
}

static struct place *place_at(struct ht_score *s, size_t row, size_t way)
{
	return (struct place *)(s->places + (row * WAYS + way) * s->place_size);
}

static size_t row_of(const struct ht_score *s, const struct ht_source_key *source)
{
	struct ht_sip h;
	uint64_t half[2];

	memcpy(half, source->addr, sizeof(half));
	ht_sip_init(&h, s->p.keys.key, 0);
	ht_sip_word(&h, half[0]);
	ht_sip_word(&h, half[1]);
	return ht_sip_final(&h, 0) & (s->rows - 1);
}

static bool is_over(const struct ht_score *s, uint64_t last_ms, uint64_t now_ms)
{
	return now_ms >= last_ms && now_ms - last_ms >= s->p.per_ms;
}

/* The source's place, or that of the one that has been quiet for longest. */
static struct place *find(struct ht_score *s, const struct ht_source_key *source, uint64_t now_ms)
{
	size_t row = row_of(s, source);
	struct place *oldest = place_at(s, row, 0);

	for (size_t i = 0; i < WAYS; i++) {
		struct place *p = place_at(s, row, i);

		if (p->n && !memcmp(&p->source, source, sizeof(*source)))
			return p;
		if (oldest->n && (!p->n || p->last_ms < oldest->last_ms))
			oldest = p;
	}
	s->evicted += oldest->n && !is_over(s, oldest->last_ms, now_ms);
	oldest->source = *source;
	oldest->n = 0;
	return oldest;
}

/* What came last so long ago that it does not count any more goes. */
static void forget(const struct ht_score *s, struct place *p, uint64_t now_ms)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < p->n; i++) {
		if (!is_over(s, p->print[i].last_ms, now_ms))
			p->print[kept++] = p->print[i];
	}
	p->n = kept;
}

uint32_t ht_score_add(struct ht_score *s, const struct ht_source_key *source, uint64_t print,
		      uint64_t now_ms)
{
	struct place *p = find(s, source, now_ms);
	uint32_t i = 0, n;

	forget(s, p, now_ms);
	while (i < p->n && p->print[i].hash != print)
		i++;
	p->print[i] = (struct print){print, now_ms};
	p->n = HT_MAX(p->n, i + 1);
	p->last_ms = now_ms;
	n = p->n;
	if (n == s->p.forged)
		p->n = 0;
	return n;
}

uint64_t ht_score_evicted(const struct ht_score *s)
{
	return s->evicted;
}

size_t ht_score_bytes(const struct ht_score *s)
{
	return s->bytes;
}
