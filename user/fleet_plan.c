/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node makes of what it finds in the store. Half of a pair, an old one, none at all or
 * nonsense: whatever is there, it takes what is good, keeps what it has, and says what to write.
 * Pure: no clock, no network.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "fleet.h"

#define DIGITS_MAX 12

static bool parse_digits(const char *text, size_t len, uint64_t *ret)
{
	uint64_t n = 0;

	if (!len || len > DIGITS_MAX || (len > 1 && *text == '0'))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(text[i] - '0');
	}
	*ret = n;
	return true;
}

/* Base64 of so many bytes as we write it ourselves: one text for one secret. */
static bool is_base64(const char *text)
{
	unsigned char bytes[HT_RING_FRESH_LEN], again[HT_RING_FRESH_LEN + 1];
	bool good = EVP_DecodeBlock(bytes, (const unsigned char *)text, HT_RING_FRESH_LEN) > 0;

	EVP_EncodeBlock(again, bytes, HT_RING_FRESH_BYTES);
	good = good && !CRYPTO_memcmp(again, text, HT_RING_FRESH_LEN);
	OPENSSL_cleanse(bytes, sizeof(bytes));
	OPENSSL_cleanse(again, sizeof(again));
	return good;
}

bool ht_fleet_parse_secret(const char *text, size_t len, struct ht_ring_secret *ret)
{
	const size_t digits = HT_RING_FRESH_LEN + 1;
	uint64_t born_s;

	return len > digits && text[digits - 1] == ':' &&
	       parse_digits(text + digits, len - digits, &born_s) && is_base64(text) &&
	       !ht_ring_secret_make(text, HT_RING_FRESH_LEN, born_s, ret);
}

bool ht_fleet_parse_void(const char *text, size_t len, uint64_t *ret_before_s)
{
	return parse_digits(text, len, ret_before_s);
}

/* What the store knows to be void. */
static uint64_t told_s(const struct ht_fleet_view *v)
{
	return v->item[HT_FLEET_VOID].good ? v->void_before_s : 0;
}

/*
 * Whoever has not heard of a revocation may give what it ended a new birth, and who revoked earlier has
 * put something in its place himself: as long as the store does not know of it, what we don't know
 * may be that.
 */
static bool may_take(const struct ht_fleet_view *v, const struct ht_ring *r, enum ht_fleet_item i,
		     bool untold)
{
	return v->item[i].good && (!untold || ht_ring_knows(r, &v->item[i].secret));
}

void ht_fleet_take(const struct ht_fleet_view *v, struct ht_ring *r)
{
	const bool untold = r->n && r->void_before_s > told_s(v);

	if (told_s(v) > r->void_before_s)
		ht_ring_begin_anew(r, told_s(v));
	if (may_take(v, r, HT_FLEET_PREVIOUS, untold))
		ht_ring_add(r, &v->item[HT_FLEET_PREVIOUS].secret);
	if (may_take(v, r, HT_FLEET_CURRENT, untold))
		ht_ring_add(r, &v->item[HT_FLEET_CURRENT].secret);
	if (may_take(v, r, HT_FLEET_NEXT, untold))
		ht_ring_set_next(r, &v->item[HT_FLEET_NEXT].secret);
}

static bool says(const struct ht_fleet_view *v, enum ht_fleet_item i, const char *id)
{
	return v->item[i].good && !strcmp(v->item[i].secret.id, id);
}

/* What came from a file of somebody's own making can't be told to others. */
static bool can_be_told(const struct ht_ring_secret *s)
{
	return s->len == HT_RING_FRESH_LEN && is_base64((const char *)s->bytes);
}

/*
 * One before that is void must not stay, and until the store has heard of a revocation nothing tells
 * whether it is: it may have been given a new birth. That it has merely ended is nobody's worry.
 */
static bool previous_differs(const struct ht_fleet_view *v, const struct ht_ring *r)
{
	if (r->n > 1 && can_be_told(&r->secret[1]))
		return !says(v, HT_FLEET_PREVIOUS, r->secret[1].id);
	return v->item[HT_FLEET_PREVIOUS].there &&
	       (!v->item[HT_FLEET_PREVIOUS].good || r->void_before_s > told_s(v) ||
		v->item[HT_FLEET_PREVIOUS].secret.born_s < r->void_before_s);
}

/* Would the next one be a surprise to anybody? Where nobody signs yet there is nobody to surprise. */
static bool may_rotate(const struct ht_fleet_view *v, const struct ht_ring *r, const char *settled)
{
	return !r->n ||
	       (r->has_next && says(v, HT_FLEET_NEXT, r->next.id) && !strcmp(settled, r->next.id));
}

unsigned ht_fleet_plan(const struct ht_fleet_view *v, const struct ht_ring *r,
		       const struct ht_ring_times *t, uint64_t now_s, const char *settled,
		       bool rotate)
{
	unsigned plan = 0;

	if (r->void_before_s > told_s(v))
		plan |= 1U << HT_FLEET_VOID;
	if ((rotate || ht_ring_due(r, t, now_s) || !can_be_told(&r->secret[0])) &&
	    may_rotate(v, r, settled))
		return plan | HT_FLEET_ROTATE | 1U << HT_FLEET_CURRENT | 1U << HT_FLEET_PREVIOUS |
		       1U << HT_FLEET_NEXT;
	if (r->n && can_be_told(&r->secret[0]) && !says(v, HT_FLEET_CURRENT, r->secret[0].id))
		plan |= 1U << HT_FLEET_CURRENT;
	if (previous_differs(v, r))
		plan |= 1U << HT_FLEET_PREVIOUS;
	if (!r->has_next || !says(v, HT_FLEET_NEXT, r->next.id))
		plan |= 1U << HT_FLEET_NEXT;
	return plan;
}
