/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon tells the gate: map keys and tags as abi.h defines them, for tokens and for the
 * plaintext of sealed cookies. Pushes nothing itself, and decides nothing.
 */
#include "policy_parts.h"

void ht_sip_bytes(struct ht_sip *s, struct ht_str bytes)
{
	for (size_t i = 0; i < bytes.len; i += 8)
		ht_sip_word(s, ht_bytes8(bytes.p + i, bytes.len - i));
}

static struct ht_token_key ht_session_key(const struct ht_policy_context *by, size_t rule,
					  const uint64_t digest[2], struct ht_str name,
					  struct ht_str value)
{
	struct ht_token_key key;
	struct ht_sip s;

	ht_sip_init(&s, by->keys->key, 1);
	ht_sip_word(&s, by->site->gate.rule[rule].id);
	ht_sip_word(&s, digest[0]);
	ht_sip_word(&s, digest[1]);
	ht_sip_word(&s, (uint32_t)name.len | (uint64_t)value.len << 32);
	ht_sip_bytes(&s, name);
	ht_sip_bytes(&s, value);
	key.lo = ht_sip_final(&s, 1);
	key.hi = ht_sip_final_hi(&s);
	return key;
}

/* What every tag begins with. */
static void ht_tag_begin(struct ht_sip *s, const struct ht_sip_keys *keys,
			 const struct ht_push *push)
{
	ht_sip_init(s, keys->tag, 0);
	ht_sip_word(s, push->key.lo);
	ht_sip_word(s, push->key.hi);
	ht_sip_word(s, push->token.key_gen | (uint64_t)push->token.global_gen << 32);
}

static uint64_t ht_tag_end(struct ht_sip *s)
{
	uint64_t tag = ht_sip_final(s, 0);

	return tag ? tag : 1;
}

static uint64_t ht_token_tag(const struct ht_sip_keys *keys, const struct ht_push *push,
			     struct ht_str token)
{
	struct ht_sip s;

	ht_tag_begin(&s, keys, push);
	ht_sip_word(&s, token.len);
	ht_sip_bytes(&s, token);
	return ht_tag_end(&s);
}

static uint64_t ht_sealed_tag(const struct ht_sip_keys *keys, const struct ht_push *push,
			      struct ht_str plain)
{
	struct ht_sip s;

	ht_tag_begin(&s, keys, push);
	ht_sip_word(&s, push->token.not_after_ns);
	ht_sip_word(&s, plain.len);
	ht_sip_bytes(&s, plain);
	return ht_tag_end(&s);
}

uint64_t ht_boot_ns(const struct ht_policy_time *t, uint64_t s)
{
	if (!s)
		return 0;
	if (s <= t->now_s)
		return 1; /* long ago */
	return t->boot_ns + (s - t->now_s) * 1000000000;
}

/* f5-irule and proxysg know no time and no key id: with one secret, one token is right, no other. */
static bool ht_one_token(const struct ht_rule_config *r, const struct ht_key *key)
{
	return key->nsecrets == 1 && r->accept == 1U << r->profile &&
	       (r->profile == HT_PROFILE_F5_IRULE || r->profile == HT_PROFILE_PROXYSG);
}

/* All but the tag, for a value that stands under this digest. */
static void ht_push_begin(const struct ht_policy_context *by, size_t r, const uint64_t digest[2],
			  struct ht_str name, struct ht_str value, uint64_t until_s,
			  struct ht_push *ret)
{
	const struct ht_rule *rule = &by->site->gate.rule[r];
	const struct ht_key *key = &by->ring->keys[rule->key];

	ret->key = ht_session_key(by, r, digest, name, value);
	ret->token = (struct ht_token){
		.check_lo = ret->key.lo,
		.check_hi = ret->key.hi,
		.key_gen = key->gen,
		.global_gen = by->ring->global_gen,
		.key = rule->key,
		.flags = ht_one_token(by->site->rules[r], key) ? HT_TOKEN_CLOSED : 0,
		.policy = r,
		.not_after_ns = ht_boot_ns(&by->client->time, until_s),
	};
	ret->sealed = (struct ht_str){NULL, 0};
}

static const uint64_t *ht_rule_digest(const struct ht_policy_context *by, size_t r)
{
	return by->client->bind[by->site->gate.rule[r].bind].digest;
}

void ht_push_make(const struct ht_policy_context *by, size_t r, struct ht_str name,
		  struct ht_str value, struct ht_str token, uint64_t until_s, struct ht_push *ret)
{
	ht_push_begin(by, r, ht_rule_digest(by, r), name, value, until_s, ret);
	ret->token.tag[0] = ht_token_tag(by->keys, ret, token);
}

void ht_push_opened(const struct ht_policy_context *by, size_t r, struct ht_str name,
		    struct ht_str plain, struct ht_push *ret)
{
	ht_push_begin(by, r, by->client->opened, name, plain, by->client->time.now_s + HT_OPENED_S,
		      ret);
	ret->token.tag[0] = ht_token_tag(by->keys, ret, plain);
}

void ht_push_sealed(const struct ht_policy_context *by, size_t r, struct ht_str name,
		    struct ht_str sealed, struct ht_str plain, uint64_t until_s,
		    struct ht_push *ret)
{
	ht_push_begin(by, r, ht_rule_digest(by, r), name, sealed, until_s, ret);
	ret->sealed = plain;
	ret->token.tag[0] = ht_sealed_tag(by->keys, ret, plain);
}
