/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choosing among upstreams. Pure: whoever calls knows which of them may be had.
 */
#include "balance.h"

#include <openssl/hmac.h>

/* Spreads the bits of a number over all of it (the finalizer of splitmix64). */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

uint64_t ht_balance_id(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a */

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3ULL;
	return mix(h);
}

static size_t pick_in_turn(uint64_t ready, size_t n, size_t turn)
{
	for (size_t i = 0; i < n; i++) {
		if (ready >> (turn + i) % n & 1)
			return (turn + i) % n;
	}
	return 0;
}

static size_t pick_least(const struct ht_balance_peer *peers, size_t n, uint64_t ready, size_t turn)
{
	size_t best = pick_in_turn(ready, n, turn);

	for (size_t i = 1; i < n; i++) {
		size_t at = (turn + i) % n;

		if (ready >> at & 1 && peers[at].active < peers[best].active)
			best = at;
	}
	return best;
}

static size_t pick_by_key(const struct ht_balance_peer *peers, size_t n, uint64_t ready,
			  uint64_t key)
{
	uint64_t score, highest = 0;
	size_t best = pick_in_turn(ready, n, 0);

	for (size_t i = 0; i < n; i++) {
		score = mix(key ^ peers[i].id);
		if (ready >> i & 1 && score >= highest) {
			best = i;
			highest = score;
		}
	}
	return best;
}

size_t ht_balance_pick(enum ht_balance how, const struct ht_balance_peer *peers, size_t n,
		       uint64_t ready, size_t turn, uint64_t key)
{
	switch (how) {
	case HT_BALANCE_LEAST_CONNECTIONS:
		return pick_least(peers, n, ready, turn);
	case HT_BALANCE_SOURCE:
		return pick_by_key(peers, n, ready, key);
	default:
		return pick_in_turn(ready, n, turn);
	}
}

int ht_balance_token(const uint8_t *secret, size_t secret_len, const char *name,
		     char ret[HT_BALANCE_TOKEN + 1])
{
	uint8_t mac[EVP_MAX_MD_SIZE];
	unsigned mac_len;
	char text[512];
	/* a NUL stands in no cookie: under the same key this can't be taken for a token */
	int len = snprintf(text, sizeof(text), "%cbackend:%s", 0, name);

	if (len >= (int)sizeof(text) || !HMAC(EVP_sha256(), secret, (int)secret_len,
					      (const uint8_t *)text, (size_t)len, mac, &mac_len))
		return -EIO;
	for (size_t i = 0; i < HT_BALANCE_TOKEN / 2; i++)
		snprintf(ret + 2 * i, 3, "%02x", mac[i]);
	return 0;
}

bool ht_balance_cookie(struct ht_str *rest, const char *name, struct ht_str *ret)
{
	size_t name_len = strlen(name);

	while (rest->len) {
		const char *end = memchr(rest->p, ';', rest->len);
		size_t used = end ? (size_t)(end - rest->p) : rest->len;
		struct ht_str pair = ht_str_trim((struct ht_str){rest->p, used});

		used += end != NULL;
		rest->p += used;
		rest->len -= used;
		if (pair.len > name_len && pair.p[name_len] == '=' &&
		    !memcmp(pair.p, name, name_len)) {
			*ret = (struct ht_str){pair.p + name_len + 1, pair.len - name_len - 1};
			return true;
		}
	}
	return false;
}
