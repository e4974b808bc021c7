/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A site's cookie rules applied: to requests where the gate misses or is off, and to what a cookie
 * is pushed as. Drives the scanner of head.h, verifies with token.h and cuts what must not pass. No
 * sockets, no clock, no logging.
 */
#include "cut.h"
#include "policy_parts.h"

#define HT_TRIES 4 /* values and tokens of one name that are tried against each other */

struct ht_token_params ht_rule_params(const struct ht_rule_config *r, enum ht_profile profile,
				      const struct ht_binding *bind, struct ht_str name,
				      struct ht_str value)
{
	return (struct ht_token_params){
		.profile = profile,
		.name = name,
		.value = value,
		.input = {bind->text, bind->len},
		.input_colon = bind->colon,
		.bind = bind->sha,
		.algorithm = r->algorithm,
		.encoding = r->encoding,
		.name_in_mac = r->name_in_mac,
		.separator = HT_STR(r->separator ? r->separator : ""),
		.lifetime_s = r->session_s,
		.user = {bind->text + bind->user_at, bind->user_len},
	};
}

/* ---- judging ---- */

/* Plaintext that is to be written in the places of values, once everything is judged. */
struct ht_openings {
	size_t n;
	struct {
		uint8_t occ;
		struct ht_str plain;
	} at[HT_OCC_MAX];
};

struct ht_judge {
	const struct ht_policy_context *by;
	const struct ht_head *head;
	const char *bytes;
	struct ht_judgement *ret;
	uint64_t *spared; /* occurrences of tokens that the gate is to see */
	struct ht_openings *openings;
	bool passed; /* the gate has let these cookies through, by its own clock */
};

/* A token that verifies for a value. */
struct ht_proof {
	uint8_t value, token; /* occurrences */
	bool current;	      /* it is what would be issued now */
	uint8_t profile, secret;
	enum ht_renewal renewal;
	uint64_t until_s;	   /* 0 = without end */
	struct ht_token_info info; /* what it says of itself */
	struct ht_str plain; /* what the backend is to see: the value or, sealed, what is in it */
};

/* What the values and tokens of one covered cookie in this head are, and which belong together. */
struct ht_case {
	size_t rule;
	struct ht_str name;
	uint64_t occs; /* all of them, as bits */
	size_t nvalues, ntokens, nproofs;
	bool several;		       /* values, or tokens at one place */
	bool any_expired;	       /* a token verified, but its time or secret has passed */
	bool any_revoked, any_refused; /* values */
	struct ht_token_info ended;    /* of the expired one */
	const struct ht_proof *best;
	enum ht_renewal renewal;
	uint8_t value[HT_TRIES], token[HT_TRIES]; /* the first different ones */
	struct ht_proof proof[HT_TRIES];
};

static struct ht_str ht_occ_value(const struct ht_judge *j, size_t i)
{
	const struct ht_occ *o = &j->head->occ[i];

	return (struct ht_str){j->bytes + o->val, o->val_len};
}

static struct ht_str ht_occ_name(const struct ht_judge *j, size_t i)
{
	const struct ht_occ *o = &j->head->occ[i];

	return (struct ht_str){j->bytes + o->name, o->name_len};
}

static void ht_case_add(const struct ht_judge *j, uint8_t *list, size_t *n, size_t occ)
{
	for (size_t i = 0; i < *n; i++) {
		if (j->head->occ[list[i]].form == j->head->occ[occ].form &&
		    ht_str_eq(ht_occ_value(j, list[i]), ht_occ_value(j, occ)))
			return;
	}
	if (*n < HT_TRIES)
		list[(*n)++] = occ;
}

/* Is the token of occurrence i one for this cookie? */
static bool ht_is_token_of(const struct ht_judge *j, const struct ht_case *c, size_t i)
{
	const struct ht_rule_config *r = j->by->site->rules[c->rule];
	unsigned form = j->head->occ[i].form;
	char text[HT_HEAD_MAX];

	if (!j->by->site->accept[c->rule][form - 1])
		return false;
	for (size_t k = 0; k < r->nsiblings; k++) {
		size_t len;

		if (!ht_policy_sibling(&r->siblings[k], c->name, text, sizeof(text), &len) &&
		    ht_str_eq((struct ht_str){text, len}, ht_occ_name(j, i)))
			return true;
	}
	return false;
}

static void ht_case_find(const struct ht_judge *j, size_t seen, size_t value, struct ht_case *ret)
{
	uint32_t forms = 0;
	size_t values = 0;

	memset(ret, 0, offsetof(struct ht_case, value));
	ret->rule = j->head->seen[seen].rule;
	ret->name = ht_occ_name(j, value);
	for (size_t i = 0; i < j->head->nocc; i++) {
		const struct ht_occ *o = &j->head->occ[i];

		if (o->seen != seen)
			continue;
		if (!o->form && ht_str_eq(ht_occ_name(j, i), ret->name)) {
			ret->several |= values++ > 0;
			ht_case_add(j, ret->value, &ret->nvalues, i);
		} else if (o->form && ht_is_token_of(j, ret, i)) {
			ret->several |= forms >> o->form & 1;
			forms |= 1U << o->form;
			ht_case_add(j, ret->token, &ret->ntokens, i);
		} else {
			continue;
		}
		ret->occs |= 1ULL << i;
	}
}

uint64_t ht_renewal_s(const struct ht_token_info *info)
{
	if (info->persistent)
		return info->expires_s;
	return info->issued_s + (info->expires_s - info->issued_s) / 2;
}

bool ht_policy_revoked(const struct ht_policy_context *by, size_t rule, struct ht_str name,
		       struct ht_str value)
{
	const struct ht_site_config *c = by->site->config;

	return ht_revoked_has(by->client->revoked, HT_STR(c->nhosts ? c->hosts[0] : ""), name,
			      ht_policy_session(by->site->rules[rule], value),
			      by->client->time.now_s);
}

/* Copies a text that must outlive the cutting. Empty when there is no room. */
static struct ht_str ht_keep_text(struct ht_judgement *ret, struct ht_str s)
{
	char *to = ret->text + ret->used;

	if (s.len > sizeof(ret->text) - ret->used)
		return (struct ht_str){"", 0};
	memcpy(to, s.p, s.len);
	ret->used += s.len;
	return (struct ht_str){to, s.len};
}

/* What of a token that verifies is not as it would be issued now. */
static enum ht_renewal ht_proof_renewal(const struct ht_rule_config *r, const struct ht_proof *p,
					bool own_place, uint64_t now_s)
{
	if (p->profile != r->profile)
		return HT_RENEWAL_PROFILE;
	if (p->secret)
		return HT_RENEWAL_KEY;
	if (!own_place)
		return HT_RENEWAL_PLACE;
	if (p->until_s && !p->info.persistent && now_s >= p->until_s)
		return HT_RENEWAL_AGE; /* of an id that verifies it never is: until_s is its end */
	return HT_RENEWAL_NONE;
}

/* Which profiles' tokens may stand in this occurrence? In the value itself what is its own proof. */
static uint32_t ht_accepted(const struct ht_judge *j, const struct ht_case *c, uint8_t t)
{
	unsigned form = j->head->occ[t].form;

	return form ? j->by->site->accept[c->rule][form - 1]
		    : j->by->site->rules[c->rule]->accept &
			       (1U << HT_PROFILE_SESSION_ID | 1U << HT_PROFILE_SECURE_COOKIE);
}

/* A sealed value: whose plaintext was revoked is none. */
static enum ht_token_verdict ht_case_unseal(const struct ht_judge *j, struct ht_case *c,
					    const struct ht_token_params *params,
					    struct ht_token_info *ret_info,
					    struct ht_str *ret_plain)
{
	char data[HT_SEALED_DATA_MAX];
	struct ht_str plain = {data, 0};
	enum ht_token_verdict verdict = ht_sealed_open(
		params, params->value, j->by->client->time.now_s, data, &plain.len, ret_info);

	if (verdict != HT_TOKEN_VALID)
		return verdict;
	if (ht_policy_revoked(j->by, c->rule, c->name, plain)) {
		c->any_revoked = true;
		return HT_TOKEN_FORGED;
	}
	*ret_plain = ht_keep_text(j->ret, plain);
	return ret_plain->len ? HT_TOKEN_VALID : HT_TOKEN_FORGED; /* a head has room for its own */
}

static enum ht_token_verdict ht_case_check(const struct ht_judge *j, struct ht_case *c,
					   const struct ht_token_params *params,
					   struct ht_str token, struct ht_token_info *ret_info,
					   struct ht_str *ret_plain)
{
	if (params->profile == HT_PROFILE_SECURE_COOKIE)
		return ht_case_unseal(j, c, params, ret_info, ret_plain);
	*ret_plain = params->value;
	return ht_token_check(params, token, j->by->client->time.now_s, ret_info);
}

/* Tries one token with every profile that may stand there and every live secret. */
static bool ht_proves(const struct ht_judge *j, struct ht_case *c, uint8_t v, uint8_t t,
		      struct ht_proof *ret)
{
	const struct ht_rule *rule = &j->by->site->gate.rule[c->rule];
	const struct ht_rule_config *r = j->by->site->rules[c->rule];
	const struct ht_key *key = &j->by->ring->keys[rule->key];
	unsigned form = j->head->occ[t].form;
	uint32_t accept = ht_accepted(j, c, t);
	const uint64_t now = j->by->client->time.now_s;
	bool valid = false;

	for (enum ht_profile p = 0; accept >> p; p++) {
		struct ht_token_params params;

		if (!(accept >> p & 1))
			continue;
		if ((p == HT_PROFILE_NATIVE && ht_native_outlived(ht_occ_value(j, t), key, now)) ||
		    (p == HT_PROFILE_SECURE_COOKIE &&
		     ht_sealed_outlived(ht_occ_value(j, t), key, now))) {
			c->any_expired = true;
			continue;
		}
		params = ht_rule_params(r, p, &j->by->client->bind[rule->bind], c->name,
					ht_occ_value(j, v));
		for (size_t i = 0; i < key->nsecrets; i++) {
			struct ht_token_info info;
			enum ht_token_verdict verdict;
			struct ht_str plain;

			if (key->secrets[i].retire_s && key->secrets[i].retire_s <= now)
				continue;
			params.secret = key->secrets[i];
			verdict = ht_case_check(j, c, &params, ht_occ_value(j, t), &info, &plain);
			c->any_refused |= verdict == HT_TOKEN_REFUSED;
			if (verdict == HT_TOKEN_EXPIRED) {
				c->any_expired = true;
				c->ended = info;
			}
			if (verdict != HT_TOKEN_VALID || valid)
				continue;
			valid = true;
			*ret = (struct ht_proof){.value = v,
						 .token = t,
						 .profile = p,
						 .secret = key->secrets[i].early ? 0 : (uint8_t)i,
						 .info = info,
						 .plain = plain};
			if (p == HT_PROFILE_NATIVE || p == HT_PROFILE_SECURE_COOKIE)
				ret->until_s = ht_renewal_s(&info);
			if (p == HT_PROFILE_SESSION_ID)
				ret->until_s = info.expires_s;
			ret->renewal = ht_proof_renewal(r, ret, !form || form == rule->form, now);
			ret->current = !ret->renewal;
		}
	}
	return valid;
}

/* Can its value be its token? */
static bool ht_case_is_self(const struct ht_judge *j, const struct ht_case *c)
{
	return ht_rule_is_self(j->by->site->rules[c->rule]);
}

/* Can it be sealed? */
static bool ht_case_opens(const struct ht_judge *j, const struct ht_case *c)
{
	return ht_rule_opens(j->by->site->rules[c->rule]);
}

static bool ht_is_sealed(const struct ht_proof *p)
{
	return p->profile == HT_PROFILE_SECURE_COOKIE;
}

static void ht_case_prove(const struct ht_judge *j, struct ht_case *c)
{
	for (size_t v = 0; v < c->nvalues; v++) {
		struct ht_str value = ht_occ_value(j, c->value[v]);

		if (ht_policy_revoked(j->by, c->rule, c->name, value)) {
			c->any_revoked = true;
			continue;
		}
		if ((ht_case_is_self(j, c) || ht_case_opens(j, c)) && c->nproofs < HT_TRIES &&
		    ht_proves(j, c, c->value[v], c->value[v], &c->proof[c->nproofs]))
			c->nproofs++;
		for (size_t t = 0; t < c->ntokens && c->nproofs < HT_TRIES; t++) {
			if (ht_proves(j, c, c->value[v], c->token[t], &c->proof[c->nproofs]))
				c->nproofs++;
		}
	}
}

/* Which session a proof is of: ids that were issued one after the other are of the same. */
static struct ht_str ht_proof_session(const struct ht_judge *j, const struct ht_case *c,
				      const struct ht_proof *p)
{
	return ht_policy_session(j->by->site->rules[c->rule], p->plain);
}

/* Of two of one session that are made anew from time to time the later one counts. */
static bool ht_proof_is_later(const struct ht_proof *p, const struct ht_proof *than)
{
	return (p->profile == HT_PROFILE_SESSION_ID || ht_is_sealed(p)) &&
	       p->info.issued_s > than->info.issued_s;
}

/* The best proof, if all are of one session; NULL if there is none or two sessions verify. */
static const struct ht_proof *ht_case_settle(const struct ht_judge *j, const struct ht_case *c)
{
	const struct ht_proof *best = NULL;

	for (size_t i = 0; i < c->nproofs; i++) {
		const struct ht_proof *p = &c->proof[i];

		if (!ht_str_eq(ht_proof_session(j, c, p), ht_proof_session(j, c, c->proof)))
			return NULL;
		if (!best || (p->current && !best->current) ||
		    (p->current == best->current && ht_proof_is_later(p, best)))
			best = p;
	}
	return best;
}

static struct ht_push *ht_judge_new_push(const struct ht_judge *j)
{
	struct ht_judgement *ret = j->ret;

	return j->by->keys && ret->npushes < HT_PUSHES_MAX ? &ret->push[ret->npushes++] : NULL;
}

static void ht_judge_push(const struct ht_judge *j, const struct ht_case *c, struct ht_str value,
			  struct ht_str token, uint64_t until_s)
{
	struct ht_push *push = ht_judge_new_push(j);

	if (push)
		ht_push_make(j->by, c->rule, c->name, value, token, until_s, push);
}

/* Plaintext that leaves here as it is: the gate takes it from us alone. */
static void ht_judge_push_opened(const struct ht_judge *j, const struct ht_case *c,
				 struct ht_str plain)
{
	struct ht_push *push = ht_judge_new_push(j);

	if (push)
		ht_push_opened(j->by, c->rule, c->name, plain, push);
}

static void ht_judge_push_sealed(const struct ht_judge *j, const struct ht_case *c,
				 struct ht_str sealed, struct ht_str plain, uint64_t until_s)
{
	struct ht_push *push = plain.len && plain.len <= HT_SEALED_MAX ? ht_judge_new_push(j)
								       : NULL;

	if (push)
		ht_push_sealed(j->by, c->rule, c->name, sealed, plain, until_s, push);
}

static bool ht_reports(const struct ht_judge *j, const struct ht_case *c)
{
	return j->by->client->exempt || j->by->site->rules[c->rule]->mode == HT_MODE_REPORT;
}

/* Where the next line is written: what of the text is left beside the head's own names and values. */
static struct ht_str ht_judge_room(const struct ht_judge *j)
{
	const size_t end = sizeof(j->ret->text) - 2 * HT_HEAD_MAX;

	return (struct ht_str){j->ret->text + j->ret->used, end - HT_MIN(end, j->ret->used)};
}

/* A line of the answer, which stands in the text at its end. */
static bool ht_judge_answer(const struct ht_judge *j, const struct ht_case *c, bool token,
			    struct ht_str line)
{
	struct ht_judgement *ret = j->ret;

	if (ret->nreissues == HT_ARRAY_SIZE(ret->reissue))
		return false;
	ret->used += line.len;
	ret->reissue[ret->nreissues++] = (struct ht_reissue){.rule = (uint8_t)c->rule,
							     .token = token,
							     .line = line,
							     .name = ht_keep_text(ret, c->name)};
	return true;
}

/* Sets a cookie once more, with the attributes that it had; or, without a value, deletes it. */
static void ht_judge_set(const struct ht_judge *j, const struct ht_case *c, struct ht_str name,
			 struct ht_str value, const struct ht_token_info *info)
{
	struct ht_str room = ht_judge_room(j), line = room;

	if (!ht_policy_set_again(name, value, info, j->by->client->time.now_s, (char *)room.p,
				 room.len, &line.len))
		ht_judge_answer(j, c, false, line);
}

/* The client is to get a token as it would be issued now. False: it keeps what it has. */
static bool ht_judge_reissue(const struct ht_judge *j, const struct ht_case *c, struct ht_str value,
			     const struct ht_token_info *old)
{
	const struct ht_rule_config *r = j->by->site->rules[c->rule];
	struct ht_str token, room = ht_judge_room(j), line = room;
	uint64_t until_s;
	int err;

	if (r->profile == HT_PROFILE_SECURE_COOKIE && ht_reports(j, c))
		return false;
	err = ht_policy_resign(j->by, c->rule, c->name, value, old, (char *)room.p, room.len,
			       &line.len, &token, &until_s);
	j->ret->too_long += err == -E2BIG && r->profile == HT_PROFILE_SECURE_COOKIE;
	if (err || !ht_judge_answer(j, c, true, line))
		return false;
	/* a copy: the head, where the value may stand, is yet to be cut */
	if (r->profile == HT_PROFILE_SECURE_COOKIE)
		ht_judge_push_sealed(j, c, token, ht_keep_text(j->ret, value), until_s);
	else if (r->profile == HT_PROFILE_SESSION_ID)
		ht_judge_push(j, c, token, token, until_s); /* the next one, and its own token */
	else
		ht_judge_push(j, c, value, token, until_s);
	return true;
}

/* Until when the gate may take this token without asking here. */
static uint64_t ht_proof_until(const struct ht_judge *j, const struct ht_case *c,
			       const struct ht_proof *p)
{
	const uint64_t soon = j->by->client->time.now_s + HT_REISSUE_S, end = p->info.expires_s;

	if (p->current)
		return p->until_s;
	if (ht_reports(j, c))
		return end;
	return end ? HT_MIN(end, soon) : soon;
}

/* Plaintext takes the place of a sealed value, once all is judged. */
static void ht_judge_open(const struct ht_judge *j, uint8_t occ, struct ht_str plain)
{
	struct ht_openings *o = j->openings;

	o->at[o->n].occ = occ;
	o->at[o->n++].plain = plain;
}

/* Every copy of a sealed value where nothing is removed: all stand for the same. */
static void ht_case_open_all(const struct ht_judge *j, const struct ht_case *c,
			     const struct ht_proof *p)
{
	for (size_t i = 0; i < j->head->nocc; i++) {
		if (c->occs >> i & 1 && !j->head->occ[i].form &&
		    ht_str_eq(ht_occ_value(j, i), ht_occ_value(j, p->value)))
			ht_judge_open(j, (uint8_t)i, p->plain);
	}
}

/*
 * A sealed value. The gate opens what it has been told, if it is the only one and has no token beside
 * it: so it is where we remove the rest. It passes what we open under a report, too.
 */
static void ht_case_open(const struct ht_judge *j, const struct ht_case *c,
			 const struct ht_proof *p)
{
	const bool told = p->plain.len <= HT_SEALED_MAX && !j->by->client->opens;

	ht_judge_push_sealed(j, c, ht_occ_value(j, p->value), p->plain, ht_proof_until(j, c, p));
	if (ht_reports(j, c)) {
		ht_case_open_all(j, c, p);
	} else if (!j->by->keys || !told) {
		ht_judge_push_opened(j, c, p->plain);
		ht_judge_open(j, p->value, p->plain);
	}
}

/*
 * What proves nothing beside a sealed cookie, and would make the gate ask each time. Where its own
 * attributes are not known the sealed cookie says them, when that comes back.
 */
static void ht_case_forget_tokens(const struct ht_judge *j, const struct ht_case *c,
				  const struct ht_proof *best)
{
	const struct ht_rule_config *r = j->by->site->rules[c->rule];

	if (r->profile != HT_PROFILE_SECURE_COOKIE || !best->info.expires_s)
		return;
	for (size_t i = 0; i < c->ntokens; i++) {
		if (!ht_reports(j, c))
			ht_judge_set(j, c, ht_occ_name(j, c->token[i]), (struct ht_str){"", 0},
				     &best->info);
	}
}

/* A value with its tokens: what is good is pushed, what is not of today is issued anew. */
static void ht_case_pass(const struct ht_judge *j, const struct ht_case *c,
			 const struct ht_proof *best)
{
	const struct ht_rule_config *r = j->by->site->rules[c->rule];
	const bool knows = best->profile == HT_PROFILE_NATIVE || ht_is_sealed(best);
	struct ht_str value = ht_occ_value(j, best->value);
	bool anew = false;

	for (size_t i = 0; i < c->nproofs; i++) {
		const struct ht_proof *p = &c->proof[i];

		if (ht_is_sealed(p) && (p == best || ht_reports(j, c)))
			ht_case_open(j, c, p);
		else if (!ht_is_sealed(p) && !ht_is_sealed(best) &&
			 ht_str_eq(ht_occ_value(j, p->value), value))
			ht_judge_push(j, c, value, ht_occ_value(j, p->token),
				      ht_proof_until(j, c, p));
	}
	if (!best->current && !ht_reports(j, c))
		anew = ht_judge_reissue(j, c, best->plain, knows ? &best->info : NULL);
	if (anew && ht_is_sealed(best) && r->profile != HT_PROFILE_SECURE_COOKIE)
		ht_judge_set(j, c, c->name, best->plain, &best->info);
	if (anew || ht_is_sealed(best))
		ht_case_forget_tokens(j, c, best);
}

/*
 * The one token that the gate will judge by: the rule's own if it is there, else the first form,
 * else the value itself.
 */
static uint8_t ht_case_chosen(const struct ht_judge *j, const struct ht_case *c)
{
	unsigned own = j->by->site->gate.rule[c->rule].form;
	uint8_t chosen = c->ntokens ? c->token[0] : c->value[0];

	for (size_t i = 0; i < c->ntokens; i++) {
		unsigned form = j->head->occ[c->token[i]].form;

		if (form == own)
			return c->token[i];
		if (form < j->head->occ[chosen].form)
			chosen = c->token[i];
	}
	return chosen;
}

/*
 * What of the case must go when `best` stays: other values, and tokens that prove nothing where the
 * gate would judge by one of them. Else it does not look at them, and they stay.
 */
static uint64_t ht_case_rest(const struct ht_judge *j, const struct ht_case *c,
			     const struct ht_proof *best)
{
	uint64_t keep = 1ULL << best->value;

	if (c->several || ht_is_sealed(best))
		return c->occs & ~keep & ~(1ULL << best->token);
	for (size_t i = 0; i < c->nproofs; i++) {
		if (c->proof[i].token == ht_case_chosen(j, c))
			return 0;
	}
	for (size_t i = 0; i < c->nproofs; i++)
		keep |= 1ULL << c->proof[i].token;
	return c->occs & ~keep;
}

/* Is there nothing that could prove the cookie: no token, nor a value that looks like its own? */
static bool ht_case_is_bare(const struct ht_judge *j, const struct ht_case *c)
{
	bool bare = !c->ntokens;

	for (size_t i = 0; i < c->nvalues && ht_case_is_self(j, c); i++)
		bare &= !ht_session_id_like(ht_occ_value(j, c->value[i]));
	for (size_t i = 0; i < c->nvalues && ht_case_opens(j, c); i++)
		bare &= !ht_sealed_like(ht_occ_value(j, c->value[i]));
	return bare;
}

/* An unsigned cookie of before the rollout. */
static bool ht_case_grace(const struct ht_judge *j, const struct ht_case *c)
{
	if (j->passed && !ht_reports(j, c))
		return true;
	return j->by->client->time.now_s < j->by->site->rules[c->rule]->enforce_after_s &&
	       !c->several && ht_occ_value(j, c->value[0]).len && ht_case_is_bare(j, c);
}

/* It passes this once. What the gate would look up in the map is put there, for just as long. */
static void ht_case_excuse(const struct ht_judge *j, struct ht_case *c)
{
	struct ht_str value = ht_occ_value(j, c->value[0]);

	if (ht_case_is_self(j, c))
		ht_judge_push(j, c, value, value, j->by->client->time.now_s + HT_GRACE_S);
	if (j->by->site->rules[c->rule]->profile == HT_PROFILE_SESSION_ID)
		return; /* another session's id is none of this one */
	c->renewal = HT_RENEWAL_UNSIGNED;
	ht_judge_reissue(j, c, value, NULL);
}

/* A cookie without a token; returns the occurrences that must go. */
static uint64_t ht_case_judge_bare(const struct ht_judge *j, struct ht_case *c, uint64_t values,
				   enum ht_cookie_verdict *ret_verdict,
				   enum ht_cookie_action *ret_action)
{
	*ret_verdict = HT_COOKIE_MISSING;
	if (!ht_case_grace(j, c))
		return values;
	if (ht_policy_revoked(j->by, c->rule, c->name, ht_occ_value(j, c->value[0]))) {
		*ret_verdict = HT_COOKIE_REVOKED;
		return values;
	}
	*ret_action = HT_ACTION_GRACE;
	if (ht_case_opens(j, c))
		ht_judge_push_opened(j, c, ht_occ_value(j, c->value[0]));
	/* without a binding he keeps what he has: there is nothing to sign it for */
	if (!j->by->client->bind[j->by->site->gate.rule[c->rule].bind].empty)
		ht_case_excuse(j, c);
	return 0;
}

/* Is the cookie judged as one without a token? To a rule that issues it, it is a wrong one. */
static bool ht_case_lacks_token(const struct ht_judge *j, const struct ht_case *c)
{
	if (!c->several && !ht_occ_value(j, c->value[0]).len)
		return true;
	if (j->by->site->rules[c->rule]->profile == HT_PROFILE_SESSION_ID)
		return ht_case_grace(j, c);
	return ht_case_is_bare(j, c);
}

/* Judges one covered cookie; returns the occurrences that must go. */
static uint64_t ht_case_judge(const struct ht_judge *j, struct ht_case *c,
			      enum ht_cookie_verdict *ret_verdict,
			      enum ht_cookie_action *ret_action)
{
	uint64_t values = c->several ? c->occs : 1ULL << c->value[0], rest;
	const bool unbound = j->by->client->bind[j->by->site->gate.rule[c->rule].bind].empty;
	const struct ht_proof *best;

	*ret_action = ht_reports(j, c) ? HT_ACTION_REPORT : HT_ACTION_STRIP;
	/* where a value can be its token, the gate looks for it, which takes a binding */
	if (unbound && (ht_case_is_self(j, c) || !ht_case_grace(j, c))) {
		*ret_verdict = HT_COOKIE_UNBOUND;
		return values;
	}
	if (ht_case_lacks_token(j, c))
		return ht_case_judge_bare(j, c, values, ret_verdict, ret_action);
	ht_case_prove(j, c);
	best = c->best = ht_case_settle(j, c);
	*ret_verdict = !best && c->any_revoked ? HT_COOKIE_REVOKED
		       : c->several	       ? HT_COOKIE_DUPLICATE
		       : best		       ? HT_COOKIE_VALID
		       : c->any_expired	       ? HT_COOKIE_EXPIRED
					       : HT_COOKIE_FORGED;
	if (!best)
		return values;
	c->renewal = best->renewal;
	*ret_action = HT_ACTION_PASS;
	ht_case_pass(j, c, best);
	rest = ht_case_rest(j, c, best);
	*j->spared |= c->occs & ~rest;
	return rest;
}

/* Which forged cookie it is: its name, values and tokens. */
static uint64_t ht_forged_print(const struct ht_judge *j, const struct ht_sip_keys *keys,
				struct ht_str name, uint64_t occs)
{
	struct ht_sip s;

	if (!keys)
		return 0;
	ht_sip_init(&s, keys->tag, 0);
	ht_sip_word(&s, name.len);
	ht_sip_bytes(&s, name);
	for (size_t i = 0; i < j->head->nocc; i++) {
		struct ht_str value = ht_occ_value(j, i);

		if (!(occs >> i & 1))
			continue;
		ht_sip_word(&s, j->head->occ[i].form | (uint64_t)value.len << 32);
		ht_sip_bytes(&s, value);
	}
	return ht_sip_final(&s, 0);
}

/* Why the n-th cookie is judged as it is. */
static void ht_case_tell(const struct ht_judge *j, const struct ht_case *c, size_t n)
{
	const struct ht_token_info *info = c->best ? &c->best->info : &c->ended;
	bool told = c->best || c->any_expired;

	j->ret->cookie[n].occs = c->occs;
	j->ret->cookie[n].proven = c->best;
	j->ret->cookie[n].refused = c->any_refused;
	j->ret->cookie[n].profile = c->best ? c->best->profile : 0;
	j->ret->cookie[n].secret = c->best ? c->best->secret : 0;
	j->ret->cookie[n].renewal = ht_reports(j, c) ? HT_RENEWAL_NONE : c->renewal;
	j->ret->cookie[n].issued_s = told ? info->issued_s : 0;
	j->ret->cookie[n].expires_s = told ? info->expires_s : 0;
	j->ret->cookie[n].opened = c->best && ht_is_sealed(c->best) ? c->best->plain.len : 0;
}

/* One covered cookie into the result. Returns what is to be cut. */
static uint64_t ht_case_note(const struct ht_judge *j, struct ht_case *c)
{
	struct ht_judgement *ret = j->ret;
	size_t n = ret->ncookies++;
	enum ht_cookie_verdict verdict;
	enum ht_cookie_action action;
	uint64_t doomed = ht_case_judge(j, c, &verdict, &action);

	ret->cookie[n].rule = c->rule;
	ret->cookie[n].verdict = verdict;
	ret->cookie[n].action = action;
	ret->cookie[n].name = ht_keep_text(ret, c->name);
	ret->cookie[n].print = 0;
	if (verdict == HT_COOKIE_FORGED)
		ret->cookie[n].print = ht_forged_print(j, j->by->client->prints, c->name, c->occs);
	ht_case_tell(j, c, n);
	return ht_reports(j, c) ? 0 : doomed;
}

static int ht_scan_head(const struct ht_policy_site *s, struct ht_head *h, const char *head,
			size_t len)
{
	struct ht_text text = {(const uint8_t *)head, (const uint8_t *)head + len};
	size_t steps = 0;

	if (len < 8)
		return HT_REASON_INCOMPLETE;
	if (len > HT_HEAD_MAX)
		return HT_REASON_TOO_LONG;
	ht_head_init(h, &text, (uint32_t)len);
	while (!ht_head_step(&text, h, &s->gate)) {
		if (++steps > HT_STEPS_MAX)
			return HT_REASON_STEPS;
	}
	return h->reason;
}

/* Plaintext is shorter than what it was sealed in; the rest of that is cut with what is doomed. */
static void ht_open_values(const struct ht_openings *openings, struct ht_head *h, char *head)
{
	for (size_t i = 0; i < openings->n; i++) {
		struct ht_occ *o = &h->occ[openings->at[i].occ];
		struct ht_str plain = openings->at[i].plain;

		memcpy(head + o->val, plain.p, plain.len);
		o->kept = (uint16_t)plain.len;
		h->opened |= 1ULL << openings->at[i].occ;
	}
}

static void ht_cut_bytes(struct ht_head *h, char *head, size_t *len)
{
	ht_cut_init(h);
	for (uint32_t k = 0; k <= h->nocc; k++)
		ht_cut_step(h, k);
	for (size_t i = 0; i < h->ncuts; i++) {
		memmove(head + h->cut[i].lo, head + h->cut[i].hi, *len - h->cut[i].hi);
		*len -= h->cut[i].hi - h->cut[i].lo;
	}
}

static bool ht_case_stays(const struct ht_case *c, uint64_t doomed)
{
	for (size_t i = 0; i < c->nvalues; i++) {
		if (!(doomed >> c->value[i] & 1))
			return true;
	}
	return false;
}

/* Tokens at names that only look like a token's: no cookie's, but the gate would take them for one. */
static uint64_t ht_strays(const struct ht_judge *j, size_t seen, uint64_t claimed)
{
	const uint32_t *accept = j->by->site->accept[j->head->seen[seen].rule];
	uint64_t strays = 0;

	for (size_t i = 0; i < j->head->nocc; i++) {
		const struct ht_occ *o = &j->head->occ[i];

		if (o->seen == seen && o->form && accept[o->form - 1])
			strays |= 1ULL << i;
	}
	return strays & ~claimed;
}

/*
 * Calls for each covered cookie, in the order of the head. The gate sees look-alikes as one: if
 * several stay it will never pass them (*ret_crowded).
 */
static uint64_t ht_judge_seen(const struct ht_judge *j, size_t seen, bool *ret_crowded)
{
	uint64_t doomed = 0, done = 0;
	size_t staying = 0;

	for (size_t i = 0; i < j->head->nocc; i++) {
		const struct ht_occ *o = &j->head->occ[i];
		struct ht_case c;

		if (o->seen != seen || o->form || done >> i & 1)
			continue;
		ht_case_find(j, seen, i, &c);
		done |= c.occs;
		if (j->ret->ncookies == HT_COOKIES_MAX)
			continue;
		doomed |= ht_case_note(j, &c);
		staying += !ht_reports(j, &c) && ht_case_stays(&c, doomed);
	}
	if (staying)
		doomed |= ht_strays(j, seen, done);
	*ret_crowded |= staying > 1;
	return doomed;
}

static void ht_judgement_clear(struct ht_judgement *ret)
{
	ret->ncookies = ret->npushes = ret->nreissues = ret->used = ret->too_long = 0;
	ret->opened = false;
}

int ht_policy_judge(const struct ht_policy_context *by, struct ht_head *scratch, char *head,
		    size_t *len, uint32_t only, struct ht_judgement *ret)
{
	uint64_t spared = 0, doomed = 0;
	struct ht_openings openings;
	const struct ht_judge j = {by, scratch, head, ret, &spared, &openings, only != 0};
	int reason = ht_scan_head(by->site, scratch, head, *len);
	bool crowded = false;

	openings.n = 0;
	ht_judgement_clear(ret);
	if (reason)
		return reason;
	for (size_t i = 0; i < scratch->nseen; i++) {
		if (scratch->seen[i].value && (!only || only >> i & 1))
			doomed |= ht_judge_seen(&j, i, &crowded);
	}
	if (crowded && !only)
		return HT_REASON_COOKIES;
	if (by->keys)
		scratch->doomed &= ~spared;
	if (by->client->exempt)
		scratch->doomed = 0;
	scratch->doomed |= doomed;
	if (only)
		return 0;
	ht_open_values(&openings, scratch, head);
	ret->opened = scratch->opened;
	if (scratch->doomed | scratch->opened)
		ht_cut_bytes(scratch, head, len);
	return 0;
}

static uint64_t ht_occs_of(const struct ht_head *h, size_t seen)
{
	uint64_t occs = 0;

	for (size_t i = 0; i < h->nocc; i++)
		occs |= (uint64_t)(h->occ[i].seen == seen) << i;
	return occs;
}

void ht_policy_name(const struct ht_policy_site *s, struct ht_head *scratch, const char *head,
		    size_t len, uint32_t bits, const struct ht_sip_keys *prints,
		    struct ht_judgement *ret)
{
	const struct ht_judge j = {.head = scratch, .bytes = head};

	ht_judgement_clear(ret);
	if (ht_scan_head(s, scratch, head, len))
		return;
	for (size_t i = 0; i < scratch->nseen && ret->ncookies < HT_COOKIES_MAX; i++) {
		const struct ht_seen *seen = &scratch->seen[i];

		if (!(bits >> i & 1) || !seen->value)
			continue;
		ret->cookie[ret->ncookies].rule = seen->rule;
		ret->cookie[ret->ncookies].print = ht_forged_print(
			&j, prints, ht_occ_name(&j, seen->value - 1), ht_occs_of(scratch, i));
		ret->cookie[ret->ncookies++].name = ht_keep_text(ret,
								 ht_occ_name(&j, seen->value - 1));
	}
}

const char *ht_cookie_verdict_name(enum ht_cookie_verdict v)
{
	static const char *const names[HT_COOKIE_VERDICT_MAX] = {
		"hit", "valid", "forged", "missing", "duplicate", "expired", "revoked", "unbound",
	};

	return names[v];
}

const char *ht_cookie_action_name(enum ht_cookie_action a)
{
	static const char *const names[HT_ACTION_MAX] = {"pass", "strip", "report", "grace"};

	return names[a];
}
