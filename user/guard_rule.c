/* SPDX-License-Identifier: Apache-2.0 */
/* Prints by FNV-1a: they must tell an operator's rules apart, and nobody attacks them. */
#include "guard.h"

#define FNV_BASE 0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL

static void add(uint64_t *print, const void *bytes, size_t len)
{
	const uint8_t *b = bytes;

	for (size_t i = 0; i < len; i++)
		*print = (*print ^ b[i]) * FNV_PRIME;
}

/* With the byte that ends it: no byte can move from one text to another. */
static void add_text(uint64_t *print, const char *text)
{
	add(print, text ? text : "", text ? strlen(text) + 1 : 1);
}

static void add_number(uint64_t *print, uint64_t n)
{
	add(print, &n, sizeof(n));
}

uint64_t ht_guard_key_print(const char *name)
{
	uint64_t print = FNV_BASE;

	add_text(&print, name);
	return print;
}

uint64_t ht_guard_rule_id(const struct ht_site_config *site, const struct ht_rule_config *r)
{
	uint64_t print = FNV_BASE;

	add_text(&print, site->nhosts ? site->hosts[0] : "");
	add_number(&print, r->covers);
	add_text(&print, r->name);
	for (size_t i = 0; i < r->nnames; i++) {
		add_text(&print, r->names[i].text);
		add_number(&print, r->names[i].prefix);
	}
	return print;
}

/* What a token is made of, and where it stands: with any other a token of before is none. */
static uint64_t print_of(const struct ht_rule_config *r)
{
	uint64_t print = FNV_BASE;

	add_text(&print, r->key);
	add_number(&print, r->profile);
	add_number(&print, r->accept);
	for (size_t i = 0; i < r->nbinds; i++) {
		add_number(&print, r->binds[i].kind);
		add_number(&print, r->binds[i].v4_bits);
		add_number(&print, r->binds[i].v6_bits);
	}
	for (size_t i = 0; i < r->nsiblings; i++) {
		add_text(&print, r->siblings[i].text);
		add_number(&print, r->siblings[i].prefix);
	}
	add_number(&print, r->algorithm);
	add_number(&print, r->encoding);
	add_number(&print, r->name_in_mac);
	add_text(&print, r->separator);
	return print;
}

void ht_guard_rule_of(const struct ht_site_config *site, const struct ht_rule_config *r,
		      struct ht_guard_rule *ret)
{
	*ret = (struct ht_guard_rule){
		.id = ht_guard_rule_id(site, r),
		.print = print_of(r),
		.key = ht_guard_key_print(r->key),
		.timeless = r->accept & ~(1U << HT_PROFILE_NATIVE | 1U << HT_PROFILE_SECURE_COOKIE),
	};
}
