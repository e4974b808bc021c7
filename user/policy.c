/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A site's cookie rules: compiled for the gate, and applied here where the gate misses or is off.
 * Drives the scanner of head.h, verifies with token.h and cuts what must not pass. No sockets, no
 * clock, no logging.
 */
#include "policy.h"

#include <openssl/evp.h>
#include <strings.h>

#include "token.h"

#define HT_TRIES 4 /* values and tokens of one name that are tried against each other */

/* ---- compiling ---- */

static uint64_t ht_bytes8(const char *p, size_t len)
{
	uint64_t w = 0;

	memcpy(&w, p, len < 8 ? len : 8);
	return w;
}

static void ht_name_set(struct ht_name *n, const char *name, size_t rule, bool sibling)
{
	size_t len = strlen(name);
	uint64_t first = ht_bytes8(name, len),
		 last = len > 8 ? ht_bytes8(name + len - 8, 8) : first;

	*n = (struct ht_name){.len = len, .rule = rule, .sibling = sibling};
	memcpy(n->bytes, name, len);
	n->print = ht_name_print(first, last, len);
}

/* Chains the names by bucket; returns the longest chain. */
static unsigned ht_policy_hash(struct ht_policy *p, uint64_t multiplier)
{
	uint8_t length[HT_BUCKETS] = {0};
	unsigned longest = 0;

	p->multiplier = multiplier;
	memset(p->bucket, 0, sizeof(p->bucket));
	for (uint32_t i = 0; i < p->nnames; i++) {
		uint32_t b = ht_name_bucket(p, p->name[i].print);

		p->name[i].next = p->bucket[b];
		p->bucket[b] = i + 1;
		longest = HT_MAX(longest, ++length[b]);
	}
	return longest;
}

/* Looks for a multiplier without collisions; short chains will do. */
static int ht_policy_spread(struct ht_policy *p)
{
	uint64_t m = 0x9e3779b97f4a7c15ULL, best = m;
	unsigned shortest = UINT8_MAX;

	for (int i = 0; i < 1000 && shortest > 1; i++) {
		unsigned longest = ht_policy_hash(p, m);

		if (longest < shortest) {
			shortest = longest;
			best = m;
		}
		m = (m * 6364136223846793005ULL + 1442695040888963407ULL) | 1;
	}
	ht_policy_hash(p, best);
	return shortest <= HT_CHAIN_MAX ? 0 : -EINVAL;
}

static void ht_digest_text(EVP_MD_CTX *md, const char *text)
{
	uint32_t len = strlen(text);

	EVP_DigestUpdate(md, &len, sizeof(len));
	EVP_DigestUpdate(md, text, len);
}

/* What a token is for, the same after a restart: site, cookie, sibling, profile, key, binding. */
static int ht_rule_id(const struct ht_site_config *s, const struct ht_rule_config *r, uint64_t *ret)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned char digest[EVP_MAX_MD_SIZE];
	int err = -ENOMEM;

	if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
		goto out;
	ht_digest_text(md, s->nhosts ? s->hosts[0] : "");
	ht_digest_text(md, r->name);
	ht_digest_text(md, r->sibling);
	ht_digest_text(md, r->key);
	EVP_DigestUpdate(md, &r->profile, sizeof(r->profile));
	for (size_t i = 0; i < r->nbinds; i++) {
		const uint8_t bind[] = {r->binds[i].kind, r->binds[i].v4_bits, r->binds[i].v6_bits};

		EVP_DigestUpdate(md, bind, sizeof(bind));
	}
	if (EVP_DigestFinal_ex(md, digest, NULL) != 1)
		goto out;
	memcpy(ret, digest, sizeof(*ret));
	err = 0;
out:
	EVP_MD_CTX_free(md);
	return err;
}

static bool ht_binds_equal(const struct ht_bind *a, size_t na, const struct ht_bind *b, size_t nb)
{
	if (na != nb)
		return false;
	for (size_t i = 0; i < na; i++) {
		if (a[i].kind != b[i].kind || a[i].v4_bits != b[i].v4_bits ||
		    a[i].v6_bits != b[i].v6_bits)
			return false;
	}
	return true;
}

/* The index of this binding among the site's, added if it is new; -EINVAL if there are too many. */
static int ht_policy_bind(struct ht_policy_site *p, const struct ht_rule_config *r)
{
	for (size_t i = 0; i < p->nbinds; i++) {
		if (ht_binds_equal(p->bind[i].binds, p->bind[i].nbinds, r->binds, r->nbinds))
			return i;
	}
	if (p->nbinds == HT_BINDS_MAX)
		return -EINVAL;
	p->bind[p->nbinds].binds = r->binds;
	p->bind[p->nbinds].nbinds = r->nbinds;
	return p->nbinds++;
}

static void ht_diag_at(struct ht_diag *diag, const struct ht_config *c, unsigned line, unsigned col,
		       const char *text)
{
	snprintf(diag->file, sizeof(diag->file), "%s", c->file ? c->file : "");
	diag->line = line;
	diag->col = col;
	snprintf(diag->text, sizeof(diag->text), "%s", text);
}

static bool ht_rule_binds_subject(const struct ht_rule_config *r)
{
	for (size_t i = 0; i < r->nbinds; i++) {
		if (r->binds[i].kind == HT_BIND_X509_SUBJECT)
			return true;
	}
	return false;
}

static const char no_memory[] = "out of memory";

static const char *ht_policy_add(struct ht_policy_site *p, const struct ht_site_config *s,
				 const struct ht_rule_config *r)
{
	size_t n = p->nrules;
	struct ht_rule *rule = &p->gate.rule[n];
	uint64_t id;
	int bind;

	if (n == HT_RULES_MAX)
		return "a site covers 16 cookies at the most; leave some out";
	if (strlen(r->name) > HT_NAME_MAX || strlen(r->sibling) > HT_NAME_MAX)
		return "a cookie's name and its sibling's are 96 bytes at the most";
	bind = ht_policy_bind(p, r);
	if (bind < 0)
		return "a site has 4 different bindings at the most; let some cookies share one";
	if (ht_rule_id(s, r, &id))
		return no_memory;
	rule->id = id;
	rule->bind = bind;
	rule->key = r->key_index;
	rule->flags = HT_RULE_MISSING_CUTS | (r->mode == HT_MODE_REPORT ? HT_RULE_REPORT : 0);
	ht_name_set(&p->gate.name[p->gate.nnames++], r->name, n, false);
	ht_name_set(&p->gate.name[p->gate.nnames++], r->sibling, n, true);
	p->rules[p->nrules++] = r;
	if (r->mode == HT_MODE_ENFORCE && r->on_empty == HT_ON_EMPTY_REJECT) {
		p->reject_empty[bind] = true;
		p->needs_subject |= ht_rule_binds_subject(r);
	}
	return NULL;
}

int ht_policy_compile(const struct ht_config *c, const struct ht_site_config *s,
		      struct ht_policy_site *ret, struct ht_diag *diag)
{
	const char *wrong = NULL;

	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < s->nrules; i++) {
		if (s->rules[i].mode == HT_MODE_OFF)
			continue;
		wrong = ht_policy_add(ret, s, &s->rules[i]);
		if (wrong) {
			ht_diag_at(diag, c, s->rules[i].line, s->rules[i].col, wrong);
			return wrong == no_memory ? -ENOMEM : -EINVAL;
		}
	}
	ret->gate.nrules = ret->nrules;
	ret->gate.max_cookies = c->limits.covered_cookies;
	if (ht_policy_spread(&ret->gate)) {
		ht_diag_at(diag, c, s->line, s->col, "too many cookie names that look alike");
		return -EINVAL;
	}
	return 0;
}

/* ---- map keys and tags, as abi.h defines them ---- */

static void ht_sip_bytes(struct ht_sip *s, struct ht_str bytes, size_t before)
{
	size_t i = 0;

	for (; bytes.len - i >= 8; i += 8)
		ht_sip_word(s, ht_bytes8(bytes.p + i, 8));
	ht_sip_word(s, ht_bytes8(bytes.p + i, bytes.len - i) | (uint64_t)(before + bytes.len)
								       << 56);
}

static struct ht_token_key ht_session_key(const struct ht_sip_keys *keys,
					  const struct ht_rule *rule, const struct ht_binding *bind,
					  struct ht_str value)
{
	struct ht_token_key key;
	struct ht_sip s;

	ht_sip_init(&s, keys->key, 1);
	ht_sip_word(&s, rule->id);
	ht_sip_word(&s, bind->digest[0]);
	ht_sip_word(&s, bind->digest[1]);
	ht_sip_bytes(&s, value, 24);
	key.lo = ht_sip_final(&s, 1);
	key.hi = ht_sip_final_hi(&s);
	return key;
}

static uint64_t ht_token_tag(const struct ht_sip_keys *keys, const struct ht_token_key *key,
			     uint32_t key_gen, uint32_t global_gen, struct ht_str token)
{
	struct ht_sip s;
	uint64_t tag;

	ht_sip_init(&s, keys->tag, 0);
	ht_sip_word(&s, key->lo);
	ht_sip_word(&s, key->hi);
	ht_sip_word(&s, key_gen | (uint64_t)global_gen << 32);
	ht_sip_bytes(&s, token, 24);
	tag = ht_sip_final(&s, 0);
	return tag ? tag : 1;
}

static void ht_push_make(const struct ht_policy_site *s, const struct ht_keyring *ring,
			 const struct ht_sip_keys *keys, const struct ht_policy_client *client,
			 size_t r, struct ht_str value, struct ht_str token, struct ht_push *ret)
{
	const struct ht_rule *rule = &s->gate.rule[r];
	const struct ht_key *key = &ring->keys[rule->key];
	/* f5-irule knows no time and no key id: with one secret, one token is right and no other */
	bool closed = s->rules[r]->profile == HT_PROFILE_F5_IRULE && key->nsecrets == 1;

	ret->key = ht_session_key(keys, rule, &client->bind[rule->bind], value);
	ret->token = (struct ht_token){
		.check_lo = ret->key.lo,
		.check_hi = ret->key.hi,
		.key_gen = key->gen,
		.global_gen = ring->global_gen,
		.key = rule->key,
		.flags = closed ? HT_TOKEN_CLOSED : 0,
		.policy = r,
		.tag = {ht_token_tag(keys, &ret->key, key->gen, ring->global_gen, token)},
	};
}

/* ---- judging ---- */

struct ht_judge {
	const struct ht_policy_site *site;
	const struct ht_keyring *ring;
	const struct ht_sip_keys *keys;
	const struct ht_policy_client *client;
	const struct ht_head *head;
	const char *bytes;
	struct ht_judgement *ret;
};

/* What the values and tokens of one rule in this head are. */
struct ht_candidates {
	uint32_t occs; /* all of them, as bits */
	size_t nvalues, ntokens;
	uint8_t value[HT_TRIES], token[HT_TRIES]; /* the first different ones */
};

static struct ht_str ht_occ_value(const struct ht_judge *j, size_t i)
{
	const struct ht_occ *o = &j->head->occ[i];

	return (struct ht_str){j->bytes + o->val, o->val_len};
}

static void ht_candidates_add(const struct ht_judge *j, uint8_t *list, size_t *n, size_t occ)
{
	for (size_t i = 0; i < *n; i++) {
		if (ht_str_eq(ht_occ_value(j, list[i]), ht_occ_value(j, occ)))
			return;
	}
	if (*n < HT_TRIES)
		list[(*n)++] = occ;
}

static void ht_candidates_find(const struct ht_judge *j, size_t rule, struct ht_candidates *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < j->head->nocc; i++) {
		const struct ht_occ *o = &j->head->occ[i];

		if (o->rule != rule)
			continue;
		ret->occs |= 1U << i;
		if (o->sibling)
			ht_candidates_add(j, ret->token, &ret->ntokens, i);
		else
			ht_candidates_add(j, ret->value, &ret->nvalues, i);
	}
}

static bool ht_pair_verifies(const struct ht_judge *j, size_t r, struct ht_str value,
			     struct ht_str token)
{
	const struct ht_rule *rule = &j->site->gate.rule[r];
	const struct ht_key *key = &j->ring->keys[rule->key];
	const struct ht_binding *bind = &j->client->bind[rule->bind];
	struct ht_token_params p = {
		.profile = j->site->rules[r]->profile,
		.name = HT_STR(j->site->rules[r]->name),
		.value = value,
		.input = {bind->text, bind->len},
		.input_colon = bind->colon,
	};
	bool valid = false;

	for (size_t i = 0; i < key->nsecrets; i++) {
		p.secret = key->secrets[i];
		valid |= ht_token_verify(&p, token) == HT_TOKEN_VALID;
	}
	return valid;
}

/* How many pairs verify (2 = several); the one that does is *ret_v, *ret_t. */
static int ht_pairs_that_verify(const struct ht_judge *j, size_t rule,
				const struct ht_candidates *c, uint8_t *ret_v, uint8_t *ret_t)
{
	int n = 0;

	for (size_t v = 0; v < c->nvalues; v++) {
		for (size_t t = 0; t < c->ntokens; t++) {
			if (!ht_pair_verifies(j, rule, ht_occ_value(j, c->value[v]),
					      ht_occ_value(j, c->token[t])))
				continue;
			*ret_v = c->value[v];
			*ret_t = c->token[t];
			if (++n == 2)
				return n;
		}
	}
	return n;
}

static void ht_judge_push(const struct ht_judge *j, size_t rule, uint8_t v, uint8_t t)
{
	if (!j->keys)
		return;
	ht_push_make(j->site, j->ring, j->keys, j->client, rule, ht_occ_value(j, v),
		     ht_occ_value(j, t), &j->ret->push[j->ret->npushes++]);
}

/* Judges one rule's cookies; returns the occurrences that must go, and if the session stays. */
static uint32_t ht_judge_rule(const struct ht_judge *j, size_t rule,
			      enum ht_cookie_verdict *ret_verdict, bool *ret_stays)
{
	const struct ht_head *h = j->head;
	bool twice = h->twice >> rule & 1;
	struct ht_candidates c;
	uint32_t doomed;
	uint8_t v, t;

	ht_candidates_find(j, rule, &c);
	doomed = twice ? c.occs : 1U << (h->val_of[rule] - 1);
	*ret_stays = false;
	if (j->client->bind[j->site->gate.rule[rule].bind].empty) {
		*ret_verdict = HT_COOKIE_UNBOUND;
		return doomed;
	}
	if (!c.ntokens || (!twice && !ht_occ_value(j, c.value[0]).len)) {
		*ret_verdict = HT_COOKIE_MISSING;
		return doomed;
	}
	*ret_verdict = twice ? HT_COOKIE_DUPLICATE : HT_COOKIE_FORGED;
	if (ht_pairs_that_verify(j, rule, &c, &v, &t) != 1)
		return doomed;
	ht_judge_push(j, rule, v, t);
	*ret_stays = true;
	if (!twice)
		*ret_verdict = HT_COOKIE_VALID;
	return twice ? doomed & ~(1U << v) & ~(1U << t) : 0;
}

/* One covered cookie into the result. Returns what is to be cut. */
static uint32_t ht_judge_note(const struct ht_judge *j, size_t rule)
{
	struct ht_judgement *ret = j->ret;
	bool report = j->site->rules[rule]->mode == HT_MODE_REPORT;
	enum ht_cookie_verdict verdict;
	bool stays;
	uint32_t doomed = ht_judge_rule(j, rule, &verdict, &stays);

	ret->cookie[ret->ncookies].rule = rule;
	ret->cookie[ret->ncookies].verdict = verdict;
	ret->cookie[ret->ncookies].action = stays    ? HT_ACTION_PASS
					    : report ? HT_ACTION_REPORT
						     : HT_ACTION_STRIP;
	ret->ncookies++;
	return report ? 0 : doomed;
}

static int ht_scan_head(const struct ht_policy_site *s, struct ht_head *h, const char *head,
			size_t len)
{
	const uint8_t *data = (const uint8_t *)head;
	size_t steps = 0;

	if (len < 8)
		return HT_REASON_INCOMPLETE;
	if (len > HT_HEAD_MAX)
		return HT_REASON_TOO_LONG;
	ht_head_init(h, len);
	while (!ht_head_step(h, &s->gate, data, data + len)) {
		if (++steps > HT_STEPS_MAX)
			return HT_REASON_STEPS;
	}
	return h->reason;
}

static void ht_cut_bytes(struct ht_head *h, uint32_t doomed, char *head, size_t *len)
{
	ht_cut_init(h, doomed);
	for (uint32_t k = 0; k <= HT_OCC_MAX; k++)
		ht_cut_step(h, k);
	for (size_t i = 0; i < h->ncuts; i++) {
		memmove(head + h->cut[i].lo, head + h->cut[i].hi, *len - h->cut[i].hi);
		*len -= h->cut[i].hi - h->cut[i].lo;
	}
}

int ht_policy_judge(const struct ht_policy_site *s, const struct ht_keyring *ring,
		    const struct ht_sip_keys *keys, const struct ht_policy_client *client,
		    struct ht_head *scratch, char *head, size_t *len, uint16_t only,
		    struct ht_judgement *ret)
{
	const struct ht_judge j = {s, ring, keys, client, scratch, head, ret};
	int reason = ht_scan_head(s, scratch, head, *len);
	uint32_t doomed = 0;

	ret->ncookies = ret->npushes = 0;
	if (reason)
		return reason;
	for (size_t rule = 0; rule < s->nrules; rule++) {
		if (!(scratch->present >> rule & 1) || (only && !(only >> rule & 1)))
			continue;
		doomed |= ht_judge_note(&j, rule);
	}
	if (doomed && !only)
		ht_cut_bytes(scratch, doomed, head, len);
	return 0;
}

/* ---- the canonical form ---- */

#define HT_SEEN 256 /* pairs that are remembered while duplicates are dropped */

struct ht_canon {
	char *out;
	size_t n;
	bool any; /* it has a pair */
	struct ht_str seen[HT_SEEN];
};

static bool ht_is_cookie_line(const char *p, size_t len)
{
	return len >= 7 && !strncasecmp(p, "cookie:", 7);
}

/* Was this very pair written before? Forgetful, but linear in the number of pairs. */
static bool ht_canon_seen(struct ht_canon *c, struct ht_str pair)
{
	uint64_t hash = pair.len;
	struct ht_str *slot;

	for (size_t i = 0; i < pair.len; i++)
		hash = (hash ^ (uint8_t)pair.p[i]) * 0x100000001b3ULL;
	slot = &c->seen[(hash ^ hash >> 40) % HT_SEEN];
	if (slot->p && ht_str_eq(*slot, pair))
		return true;
	*slot = pair;
	return false;
}

static void ht_canon_put(struct ht_canon *c, const char *p, size_t len)
{
	memmove(c->out + c->n, p, len);
	c->n += len;
}

/* One pair, trimmed inside and out; `blank`: a blank parted it from the one before. */
static void ht_canon_pair(struct ht_canon *c, struct ht_str pair, bool blank)
{
	struct ht_str name, value = {NULL, 0};
	const char *eq, *start;

	pair = ht_str_trim(pair);
	while (pair.len && (pair.p[0] == '=' || ht_is_blank((uint8_t)pair.p[0]))) {
		pair.p++;
		pair.len--;
	}
	if (!pair.len)
		return;
	eq = memchr(pair.p, '=', pair.len);
	name = pair;
	if (eq) {
		name = ht_str_trim((struct ht_str){pair.p, eq - pair.p});
		value = ht_str_trim((struct ht_str){eq + 1, pair.p + pair.len - eq - 1});
	}
	if (c->any)
		ht_canon_put(c, ";", 1);
	if (blank)
		ht_canon_put(c, " ", 1);
	start = c->out + c->n;
	ht_canon_put(c, name.p, name.len);
	if (eq) {
		ht_canon_put(c, "=", 1);
		ht_canon_put(c, value.p, value.len);
	}
	if (ht_canon_seen(c, (struct ht_str){start, c->out + c->n - start})) {
		c->n = start - c->out - c->any - blank;
		return;
	}
	c->any = true;
}

static void ht_canon_field(struct ht_canon *c, const char *p, size_t len)
{
	/* never longer than it was: a blank only where there was one, or a field's own name */
	const bool lead = c->any || (len && ht_is_blank((uint8_t)p[0]));
	bool blank = lead;

	while (len) {
		const char *semi = memchr(p, ';', len);
		size_t n = semi ? (size_t)(semi - p) : len;

		ht_canon_pair(c, (struct ht_str){p, n}, blank);
		if (!semi)
			return;
		p += n + 1;
		len -= n + 1;
		blank = (len && ht_is_blank((uint8_t)p[0])) || (lead && !c->any);
	}
}

/* The head is written over itself, never ahead of the reading; the cookies come last in it. */
void ht_policy_canonicalize(char *head, size_t *len)
{
	char pairs[HT_HEAD_MAX];
	struct ht_canon c = {.out = pairs};
	size_t in = 0, out = 0;

	if (*len > HT_HEAD_MAX)
		return;
	while (in < *len) {
		char *crlf = memmem(head + in, *len - in, "\r\n", 2);
		size_t n = crlf ? (size_t)(crlf - head) + 2 - in : *len - in;
		size_t eol = crlf ? 2 : 0;

		if (ht_is_cookie_line(head + in, n)) {
			ht_canon_field(&c, head + in + 7, n - 7 - eol);
		} else if (n == eol && in) {
			/* the end of the head: the cookies go before it */
			if (c.any) {
				memcpy(head + out, "Cookie:", 7);
				memcpy(head + out + 7, pairs, c.n);
				memcpy(head + out + 7 + c.n, "\r\n", 2);
				out += 7 + c.n + 2;
			}
			n = *len - in;
			memmove(head + out, head + in, n);
			out += n;
		} else {
			memmove(head + out, head + in, n);
			out += n;
		}
		in += n;
	}
	*len = out;
}

/* ---- signing ---- */

static size_t ht_rule_by_name(const struct ht_policy_site *s, struct ht_str name, bool *ret_sibling)
{
	for (size_t i = 0; i < s->nrules; i++) {
		*ret_sibling = ht_str_eq(name, HT_STR(s->rules[i]->sibling));
		if (*ret_sibling || ht_str_eq(name, HT_STR(s->rules[i]->name)))
			return i;
	}
	return SIZE_MAX;
}

/* Set-Cookie: SIBLING=token, then what the rule says about attributes. */
static int ht_sibling_line(const struct ht_rule_config *r, const struct ht_set_cookie *c,
			   struct ht_str token, char *line, size_t cap, size_t *ret_len)
{
	const char *gone = "";
	int n;

	/* a copied Max-Age or Expires deletes by itself, but an empty value alone does not */
	if (c->deletion)
		gone = "; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0";
	if (r->copy_attributes)
		n = snprintf(line, cap, "Set-Cookie: %s=" HT_STR_FMT HT_STR_FMT "%s", r->sibling,
			     HT_STR_ARG(token), HT_STR_ARG(c->attributes), gone);
	else
		n = snprintf(line, cap, "Set-Cookie: %s=" HT_STR_FMT "%s; HttpOnly; Secure; Path=/",
			     r->sibling, HT_STR_ARG(token), gone);
	if (n < 0 || (size_t)n >= cap)
		return -E2BIG;
	*ret_len = n;
	return 0;
}

enum ht_sign_result ht_policy_sign(const struct ht_policy_site *s, const struct ht_keyring *ring,
				   const struct ht_sip_keys *keys,
				   const struct ht_policy_client *client,
				   const struct ht_set_cookie *cookie, char *line, size_t cap,
				   size_t *ret_len, struct ht_push *ret_push, size_t *ret_rule)
{
	const struct ht_binding *bind;
	const struct ht_rule_config *r;
	const struct ht_key *key;
	char text[HT_TOKEN_TEXT_MAX];
	struct ht_str token = {text, 0};
	struct ht_token_params p;
	bool sibling;
	size_t i = ht_rule_by_name(s, cookie->name, &sibling);

	if (i == SIZE_MAX)
		return HT_SIGN_UNCOVERED;
	*ret_rule = i;
	if (sibling)
		return HT_SIGN_SIBLING;
	r = s->rules[i];
	if (cookie->deletion)
		return ht_sibling_line(r, cookie, token, line, cap, ret_len) ? HT_SIGN_REFUSED
									     : HT_SIGN_DELETED;
	bind = &client->bind[s->gate.rule[i].bind];
	if (bind->empty)
		return HT_SIGN_UNBOUND;
	key = &ring->keys[s->gate.rule[i].key];
	if (!key->nsecrets)
		return HT_SIGN_REFUSED; /* a reload has just taken the key away */
	p = (struct ht_token_params){
		.profile = r->profile,
		.secret = key->secrets[0],
		.name = cookie->name,
		.value = cookie->value,
		.input = {bind->text, bind->len},
		.input_colon = bind->colon,
	};
	if (ht_token_sign(&p, text, &token.len) ||
	    ht_sibling_line(r, cookie, token, line, cap, ret_len))
		return HT_SIGN_REFUSED;
	ht_push_make(s, ring, keys, client, i, cookie->value, token, ret_push);
	return HT_SIGN_SIGNED;
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
