/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A site's rules as the gate reads them: which names they cover, where their tokens stand, what
 * their tokens are for. Judges nothing.
 */
#include <openssl/evp.h>

#include "policy_parts.h"

#define HT_GOON HT_PATTERNS_MAX /* ht_pattern.next: decided, no rule covers it */

uint64_t ht_bytes8(const char *p, size_t len)
{
	uint64_t w = 0;

	memcpy(&w, p, HT_MIN(len, sizeof(w)));
	return w;
}

/* ---- names ---- */

/* __Host- and __Secure- stay in front of a sibling's name: 0, 1 or 2, as ht_base_print() has it. */
static unsigned ht_guard(struct ht_str name, size_t *ret_len)
{
	static const struct ht_str guards[] = {{"", 0}, {"__Host-", 7}, {"__Secure-", 9}};

	for (unsigned i = 1; i < HT_ARRAY_SIZE(guards); i++) {
		*ret_len = guards[i].len;
		if (name.len >= guards[i].len && !memcmp(name.p, guards[i].p, guards[i].len))
			return i;
	}
	*ret_len = 0;
	return 0;
}

static uint64_t ht_print_of(struct ht_str name)
{
	uint64_t first = ht_bytes8(name.p, name.len),
		 last = name.len > 8 ? ht_bytes8(name.p + name.len - 8, 8) : first,
		 mid = name.len > 16 ? ht_bytes8(name.p + name.len / 2 - 4, 8) : 0;

	return ht_name_print(first, mid, last, name.len);
}

static uint64_t ht_base_of(struct ht_str name)
{
	size_t guard_len;
	unsigned guard = ht_guard(name, &guard_len);

	return ht_base_print(ht_print_of((struct ht_str){name.p + guard_len, name.len - guard_len}),
			     guard);
}

static bool ht_starts(struct ht_str s, const char *prefix)
{
	size_t len = strlen(prefix);

	return s.len >= len && !memcmp(s.p, prefix, len);
}

static bool ht_rule_lists(const struct ht_rule_config *r, struct ht_str name)
{
	for (size_t i = 0; i < r->nnames; i++) {
		const struct ht_cookie_name *n = &r->names[i];

		if (n->prefix ? ht_starts(name, n->text) : ht_str_eq(name, HT_STR(n->text)))
			return true;
	}
	return false;
}

static bool ht_rule_takes(const struct ht_rule_config *r, struct ht_str name)
{
	switch (r->covers) {
	case HT_COVERS_ALL:
		return true;
	case HT_COVERS_ALL_BUT:
		return !ht_rule_lists(r, name);
	default:
		return ht_rule_lists(r, name);
	}
}

int ht_policy_sibling(const struct ht_sibling *sib, struct ht_str name, char *ret, size_t cap,
		      size_t *ret_len)
{
	size_t guard_len = 0;
	int n;

	if (!sib->prefix) {
		n = snprintf(ret, cap, "%s", sib->text);
	} else {
		ht_guard(name, &guard_len);
		n = snprintf(ret, cap, "%.*s%s%.*s", (int)guard_len, name.p, sib->text,
			     (int)(name.len - guard_len), name.p + guard_len);
	}
	if (n < 0 || (size_t)n >= cap)
		return -E2BIG;
	*ret_len = (size_t)n;
	return 0;
}

/* ---- the table of names that are spelt out ---- */

/* Chains the names by bucket; returns the longest chain. */
static unsigned ht_names_hash(struct ht_policy *p, uint64_t multiplier)
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
static const char *ht_names_spread(struct ht_policy *p)
{
	uint64_t m = 0x9e3779b97f4a7c15ULL, best = m;
	unsigned shortest = UINT8_MAX;

	for (uint32_t i = 0; i < p->nnames; i++) {
		for (uint32_t j = 0; j < i; j++) {
			if (p->name[i].print == p->name[j].print)
				return "two cookie names of this site look alike to the gate: same "
				       "length, beginning, middle and end; rename one";
		}
	}
	for (int i = 0; i < 1000 && shortest > 1; i++) {
		unsigned longest = ht_names_hash(p, m);

		if (longest < shortest) {
			shortest = longest;
			best = m;
		}
		m = (m * 6364136223846793005ULL + 1442695040888963407ULL) | 1;
	}
	ht_names_hash(p, best);
	return shortest <= HT_CHAIN_MAX ? NULL : "too many cookie names that look alike";
}

static const struct ht_name *ht_name_at(const struct ht_policy *p, struct ht_str name)
{
	for (uint32_t i = 0; i < p->nnames; i++) {
		if (p->name[i].len == name.len && !memcmp(p->name[i].bytes, name.p, name.len))
			return &p->name[i];
	}
	return NULL;
}

static const char *ht_name_add(struct ht_policy *p, struct ht_str name, size_t rule, uint8_t form,
			       uint64_t base)
{
	struct ht_name *n = &p->name[p->nnames];

	if (ht_name_at(p, name))
		return form ? "its sibling's name is taken by another cookie of this site" : NULL;
	if (name.len > HT_NAME_MAX)
		return "a cookie's name and its sibling's are 96 bytes at the most";
	if (p->nnames == HT_NAMES_MAX)
		return "a site spells out 64 names of cookies and siblings at the most; use "
		       "prefixes";
	*n = (struct ht_name){.print = ht_print_of(name),
			      .base = base,
			      .len = (uint8_t)name.len,
			      .rule = (uint8_t)rule,
			      .form = form};
	memcpy(n->bytes, name.p, name.len);
	p->nnames++;
	return NULL;
}

/* Could a cookie whose name begins with c concern a rule? */
static bool ht_begins_a_name(const struct ht_policy *p, uint8_t c)
{
	for (uint32_t i = 0; i < p->nnames; i++) {
		if ((uint8_t)p->name[i].bytes[0] == c)
			return true;
	}
	for (uint32_t i = 0; i < p->npatterns; i++) {
		if (!((p->pattern[i].bytes[0] ^ c) & p->pattern[i].mask[0] & 0xff))
			return true;
	}
	for (size_t i = 0; i < HT_ARRAY_SIZE(p->sibling); i++) {
		/* perhaps behind __Host- or __Secure- */
		if (p->sibling[i].len && (c == '_' || c == (uint8_t)p->sibling[i].bytes[0]))
			return true;
	}
	return false;
}

/* What begins with blanks or with what ends a name is not what it seems: the scanner looks closer. */
static void ht_nobodys(struct ht_policy *p)
{
	for (unsigned c = '!'; c <= UINT8_MAX; c++) {
		if (c != '=' && c != ';' && !ht_begins_a_name(p, (uint8_t)c))
			p->nobodys[c / 64] |= 1ULL << c % 64;
	}
}

/* ---- where tokens stand ---- */

/* The index of a prefix among the site's, the longest first; -1 when there are too many. */
static int ht_prefix_index(struct ht_policy *p, const char *text)
{
	struct ht_token_prefix want = {.len = (uint32_t)strlen(text)};

	for (size_t i = 0; i < HT_ARRAY_SIZE(want.bytes) && 8 * i < want.len; i++) {
		want.bytes[i] = ht_bytes8(text + 8 * i, want.len - 8 * i);
		want.mask[i] = HT_LOW(want.len - 8 * i);
	}
	for (int i = 0; i < HT_SIBLINGS_MAX; i++) {
		struct ht_token_prefix *t = &p->sibling[i];

		if (!t->len)
			*t = want;
		if (t->len == want.len && !memcmp(t->bytes, want.bytes, sizeof(t->bytes)))
			return i;
	}
	return -1;
}

/* Collects the prefixes first: a name must meet the longer one before the shorter. */
static const char *ht_prefixes(struct ht_policy_site *p, const struct ht_site_config *s)
{
	struct ht_policy *g = &p->gate;

	for (size_t i = 0; i < s->nrules; i++) {
		const struct ht_rule_config *r = &s->rules[i];

		for (size_t k = 0; k < r->nsiblings && r->mode != HT_MODE_OFF; k++) {
			if (r->siblings[k].prefix && ht_prefix_index(g, r->siblings[k].text) < 0)
				return "a site has two prefixes of siblings at the most";
		}
	}
	if (g->sibling[1].len > g->sibling[0].len) {
		struct ht_token_prefix shorter = g->sibling[0];

		g->sibling[0] = g->sibling[1];
		g->sibling[1] = shorter;
	}
	return NULL;
}

/* Are this sibling's cookies to be kept from the backend? It is what ProxySG does. */
static uint8_t ht_sibling_cut(const struct ht_rule_config *r, const struct ht_sibling *sib)
{
	bool proxysg = sib->accept >> HT_PROFILE_PROXYSG & 1;

	return proxysg && r->mode == HT_MODE_ENFORCE ? HT_FORM_CUT : 0;
}

/* One place of a rule's tokens: its form, or 0 with *ret_wrong. */
static enum ht_form ht_place_add(struct ht_policy_site *p, size_t n, const struct ht_sibling *sib,
				 enum ht_form *named, const char **ret_wrong)
{
	const struct ht_rule_config *r = p->rules[n];
	char text[2 * HT_NAME_MAX];
	struct ht_str name = HT_STR(r->name ? r->name : "");
	size_t len;
	int i;

	if (!sib->prefix || (r->name && !(sib->accept >> HT_PROFILE_PROXYSG & 1) &&
			     !ht_policy_sibling(sib, name, text, HT_NAME_MAX, &len))) {
		/* the name is known: spelt out, it is found at once */
		enum ht_form form = (*named)++;

		if (form > HT_FORM_NAMED_2)
			*ret_wrong = "a rule has two siblings with names of their own at the most";
		else if (ht_policy_sibling(sib, name, text, sizeof(text), &len))
			*ret_wrong = "its sibling's name is too long";
		else
			*ret_wrong = ht_name_add(&p->gate, (struct ht_str){text, len}, n,
						 form | ht_sibling_cut(r, sib), ht_base_of(name));
		return form;
	}
	i = ht_prefix_index(&p->gate, sib->text);
	p->gate.sibling[i].cut |= ht_sibling_cut(r, sib);
	return HT_FORM_PREFIX + i;
}

static const char *ht_places(struct ht_policy_site *p, size_t n)
{
	const struct ht_rule_config *r = p->rules[n];
	struct ht_rule *rule = &p->gate.rule[n];
	enum ht_form named = HT_FORM_NAMED;
	const char *wrong = NULL;

	rule->form = HT_FORM_NAMED; /* without siblings: where none ever stands */
	for (size_t k = 0; k < r->nsiblings && !wrong; k++) {
		enum ht_form form = ht_place_add(p, n, &r->siblings[k], &named, &wrong);

		if (wrong)
			return wrong;
		if (!k)
			rule->form = form;
		rule->forms |= 1U << (form - 1);
		p->accept[n][form - 1] |= r->siblings[k].accept;
	}
	return wrong;
}

/* ---- all other names ---- */

static const char *ht_pattern_add(struct ht_policy *p, const char *prefix, unsigned rule,
				  unsigned next)
{
	struct ht_pattern *t = &p->pattern[p->npatterns];
	size_t len = strlen(prefix);

	if (p->npatterns == HT_PATTERNS_MAX)
		return "a site has 64 prefixes of names and lists at the most";
	memset(t, 0, sizeof(*t));
	for (size_t i = 0; 8 * i < len; i++) {
		t->bytes[i] = ht_bytes8(prefix + 8 * i, len - 8 * i);
		t->mask[i] = HT_LOW(len - 8 * i);
	}
	t->rule = (uint8_t)rule;
	t->next = (uint8_t)next;
	p->npatterns++;
	return NULL;
}

/* Prefixes that a rule covers or leaves to later ones, and the rest. rule: HT_RULE_NONE if off. */
static const char *ht_patterns(struct ht_policy *p, const struct ht_rule_config *r, unsigned rule)
{
	bool all_but = r->covers == HT_COVERS_ALL_BUT;
	const char *wrong = NULL;
	unsigned prefixes = 0;

	for (size_t i = 0; i < r->nnames; i++)
		prefixes += r->names[i].prefix;
	if (all_but)
		prefixes += p->npatterns + 1; /* behind what covers the rest */
	for (size_t i = 0; i < r->nnames && !wrong; i++) {
		if (r->names[i].prefix)
			wrong = ht_pattern_add(p, r->names[i].text, all_but ? HT_RULE_NONE : rule,
					       all_but ? prefixes : HT_GOON);
	}
	if (!wrong && (all_but || r->covers == HT_COVERS_ALL))
		wrong = ht_pattern_add(p, "", rule, HT_GOON);
	return wrong;
}

/* ---- rules ---- */

static void ht_digest_text(EVP_MD_CTX *md, const char *text)
{
	uint32_t len = strlen(text);

	EVP_DigestUpdate(md, &len, sizeof(len));
	EVP_DigestUpdate(md, text, len);
}

/* All that decides which tokens are right and whether no other can be; the same after a restart. */
static int ht_rule_id(const struct ht_site_config *s, const struct ht_rule_config *r, uint64_t *ret)
{
	const uint32_t words[] = {r->profile, r->accept, r->algorithm, r->encoding, r->name_in_mac};
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned char digest[EVP_MAX_MD_SIZE];
	int err = -ENOMEM;

	if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
		goto out;
	ht_digest_text(md, s->nhosts ? s->hosts[0] : "");
	ht_digest_text(md, r->key);
	ht_digest_text(md, r->separator ? r->separator : "");
	for (size_t i = 0; i < r->nsiblings; i++)
		ht_digest_text(md, r->siblings[i].text);
	EVP_DigestUpdate(md, words, sizeof(words));
	if (ht_rule_is_self(r)) /* of an id it is we who say when it ends */
		EVP_DigestUpdate(md, &r->session_s, sizeof(r->session_s));
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

static const char *ht_rule_add(struct ht_policy_site *p, const struct ht_site_config *s,
			       const struct ht_rule_config *r)
{
	size_t n = p->nrules;
	struct ht_rule *rule = &p->gate.rule[n];
	const char *wrong;
	uint64_t id;
	int bind;

	if (n == HT_RULES_MAX)
		return "a site has 16 rules at the most; let some of them cover more cookies";
	bind = ht_policy_bind(p, r);
	if (bind < 0)
		return "a site has 4 different bindings at the most; let some cookies share one";
	if (ht_rule_id(s, r, &id))
		return no_memory;
	rule->id = id;
	rule->bind = bind;
	rule->key = r->key_index;
	rule->flags = r->mode == HT_MODE_REPORT ? HT_RULE_REPORT : 0;
	rule->flags |= ht_rule_is_self(r) || ht_rule_opens(r) ? HT_RULE_SELF : HT_RULE_MISSING_CUTS;
	rule->flags |= ht_rule_opens(r) ? HT_RULE_SEALED : 0;
	p->seals |= ht_rule_opens(r);
	if (r->profile == HT_PROFILE_SESSION_ID && r->mode == HT_MODE_ENFORCE)
		p->issuers |= 1U << n;
	p->rules[p->nrules++] = r;
	wrong = ht_places(p, n);
	if (wrong)
		return wrong;
	if (r->mode == HT_MODE_ENFORCE && r->on_empty == HT_ON_EMPTY_REJECT) {
		p->reject_empty[bind] = true;
		p->needs_subject |= ht_rule_binds_subject(r);
	}
	return NULL;
}

/* The first rule whose list or nature covers the name; HT_RULE_NONE if none, or one that is off. */
static unsigned ht_first_rule(const struct ht_site_config *s, struct ht_str name)
{
	unsigned n = 0;

	for (size_t i = 0; i < s->nrules; i++) {
		bool off = s->rules[i].mode == HT_MODE_OFF;

		if (ht_rule_takes(&s->rules[i], name))
			return off ? HT_RULE_NONE : n;
		n += !off;
	}
	return HT_RULE_NONE;
}

/* Names that rules spell out, as what they cover or as exceptions. */
static const char *ht_spell_out(struct ht_policy_site *p, const struct ht_site_config *s,
				const struct ht_rule_config *r)
{
	const char *wrong = NULL;

	for (size_t i = 0; i < r->nnames && !wrong; i++) {
		struct ht_str name = HT_STR(r->names[i].text);

		if (!r->names[i].prefix)
			wrong = ht_name_add(&p->gate, name, ht_first_rule(s, name), HT_FORM_VALUE,
					    ht_base_of(name));
	}
	return wrong;
}

static const char *ht_policy_add(struct ht_policy_site *p, const struct ht_site_config *s,
				 const struct ht_rule_config *r)
{
	bool off = r->mode == HT_MODE_OFF;
	const char *wrong = ht_spell_out(p, s, r);

	if (!wrong && !off)
		wrong = ht_rule_add(p, s, r);
	if (!wrong)
		wrong = ht_patterns(&p->gate, r, off ? HT_RULE_NONE : p->nrules - 1);
	return wrong;
}

int ht_policy_compile(const struct ht_config *c, const struct ht_site_config *s,
		      struct ht_policy_site *ret, struct ht_diag *diag)
{
	const char *wrong;

	memset(ret, 0, sizeof(*ret));
	ret->config = s;
	wrong = ht_prefixes(ret, s);
	for (size_t i = 0; i < s->nrules && !wrong; i++) {
		wrong = ht_policy_add(ret, s, &s->rules[i]);
		if (wrong)
			ht_diag_at(diag, c, s->rules[i].line, s->rules[i].col, wrong);
	}
	if (wrong)
		return wrong == no_memory ? -ENOMEM : -EINVAL;
	ret->gate.nrules = ret->nrules;
	ret->only_reports = ret->nrules;
	for (size_t i = 0; i < ret->nrules; i++)
		ret->only_reports &= ret->rules[i]->mode == HT_MODE_REPORT;
	ret->gate.max_cookies = c->limits.covered_cookies;
	if (!ret->nrules) /* all are off: nothing to look for */
		ret->gate.nnames = ret->gate.npatterns = 0;
	wrong = ht_names_spread(&ret->gate);
	if (wrong) {
		ht_diag_at(diag, c, s->line, s->col, wrong);
		return -EINVAL;
	}
	ht_nobodys(&ret->gate);
	return 0;
}

void ht_policy_set_time(struct ht_policy_site *s, const struct ht_policy_time *t)
{
	for (size_t i = 0; i < s->nrules; i++) {
		uint64_t after = s->rules[i]->enforce_after_s;

		s->gate.rule[i].grace_until_ns =
			after > t->now_s ? ht_boot_ns(t, after) / 1000000000 * 1000000000 : 0;
	}
}

/* ---- one name ---- */

size_t ht_policy_covers(const struct ht_policy_site *s, struct ht_str name, bool *ret_token)
{
	const struct ht_name *spelt = ht_name_at(&s->gate, name);
	size_t guard_len;
	unsigned rule;

	ht_guard(name, &guard_len);
	*ret_token = spelt && spelt->form;
	for (size_t i = 0; i < HT_SIBLINGS_MAX && !spelt; i++) {
		const struct ht_token_prefix *t = &s->gate.sibling[i];

		*ret_token |= t->len && name.len - guard_len >= t->len &&
			      !memcmp(name.p + guard_len, t->bytes, t->len);
	}
	if (*ret_token || !name.len || !s->nrules)
		return SIZE_MAX;
	rule = ht_first_rule(s->config, name);
	return rule == HT_RULE_NONE ? SIZE_MAX : rule;
}
