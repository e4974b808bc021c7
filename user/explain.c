/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Cookie header before ht_policy_judge(), and its judgement in words. Offline: of tokens that the
 * kernel keeps and sessions that were revoked it knows nothing.
 */
#include "explain.h"

#include <time.h>

#include "http.h"
#include "token.h"

#define HEAD_BEGIN "GET / HTTP/1.1\r\nHost: explain\r\nCookie: "

struct work {
	const struct ht_explain *ask;
	struct ht_binding bind[HT_BINDS_MAX];
	struct ht_policy_client client;
	struct ht_head scan;
	struct ht_judgement judgement;
	char before[HT_HEAD_MAX], after[HT_HEAD_MAX];
	size_t before_len, after_len;
	char text[2048]; /* of a sentence */
	json_t *cookies;
	bool all_pass;
};

/* ---- words ---- */

static _printf_(2, 3) void say(struct work *w, const char *fmt, ...)
{
	size_t at = strlen(w->text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->text + at, sizeof(w->text) - at, fmt, ap);
	va_end(ap);
}

static void say_time(struct work *w, uint64_t s)
{
	time_t t = (time_t)s;
	char text[32];
	struct tm tm;

	if (gmtime_r(&t, &tm) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		say(w, "%s", text);
}

/* "native", "f5-irule or native" */
static void say_accepted(struct work *w, const struct ht_rule_config *r)
{
	const char *between = "";

	for (enum ht_profile p = 0; r->accept >> p; p++) {
		if (!(r->accept >> p & 1))
			continue;
		say(w, "%s%s", between, ht_profile_name(p));
		between = " or ";
	}
}

static void say_bindings(struct work *w, const struct ht_rule_config *r)
{
	for (size_t i = 0; i < r->nbinds; i++)
		say(w, "%s%s", i ? ", " : "", ht_bind_kind_name(r->binds[i].kind));
}

/* Where tokens are looked for. */
static void say_places(struct work *w, const struct ht_rule_config *r, struct ht_str name)
{
	for (size_t i = 0; i < r->nsiblings; i++) {
		char text[HT_HEAD_MAX];
		size_t len;

		if (!ht_policy_sibling(&r->siblings[i], name, text, sizeof(text), &len))
			say(w, "%s%.*s", i ? " or " : "", (int)len, text);
	}
}

static void say_renewal(struct work *w, const struct ht_rule_config *r, enum ht_renewal why)
{
	static const char *const words[] = {
		[HT_RENEWAL_UNSIGNED] = "it has none yet",
		[HT_RENEWAL_PROFILE] = "its own is of another profile",
		[HT_RENEWAL_KEY] = "its own is of an older secret",
		[HT_RENEWAL_PLACE] = "its own stands at another name",
		[HT_RENEWAL_AGE] = "its own is past half its life",
	};
	static const char *const sealed[] = {
		[HT_RENEWAL_UNSIGNED] = "it is not sealed yet",
		[HT_RENEWAL_PROFILE] = "it has a token of another profile",
		[HT_RENEWAL_KEY] = "it is sealed with an older secret",
		[HT_RENEWAL_PLACE] = "",
		[HT_RENEWAL_AGE] = "it is past half its life",
	};

	if (why && r->profile == HT_PROFILE_SESSION_ID)
		say(w, "; the session goes on under a new id: this one is of an older secret");
	else if (why && r->profile == HT_PROFILE_SECURE_COOKIE)
		say(w, "; is sealed anew: %s", sealed[why]);
	else if (why)
		say(w, "; gets a new token: %s", words[why]);
}

static const char *guard_of(const struct ht_rule_config *r)
{
	if (r->accept >> HT_PROFILE_F5_IRULE & 1)
		return "a value with ':' has no token, as what it is bound to can contain one";
	return "a separator in the name or in what it is bound to: there is no token";
}

static void say_forged(struct work *w, size_t n)
{
	const struct ht_rule_config *r = w->ask->site->rules[w->judgement.cookie[n].rule];

	if (w->judgement.cookie[n].refused) {
		say(w, "forged: %s", guard_of(r));
		return;
	}
	if (r->profile == HT_PROFILE_SESSION_ID) {
		say(w, "forged: it is no session id that key %s gives", r->key);
		return;
	}
	if (r->profile == HT_PROFILE_SECURE_COOKIE && r->accept == 1u << r->profile) {
		say(w, "forged: it does not open with key %s for this name", r->key);
		say(w, r->nbinds ? " and client (" : "");
		say_bindings(w, r);
		say(w, r->nbinds ? ")" : "");
		return;
	}
	say(w, "forged: its token is not what ");
	say_accepted(w, r);
	say(w, " gives with key %s for this name, value", r->key);
	if (r->nbinds)
		say(w, " and client (");
	say_bindings(w, r);
	say(w, r->nbinds ? ")" : "");
}

static void say_proof(struct work *w, size_t n)
{
	const struct ht_rule_config *r = w->ask->site->rules[w->judgement.cookie[n].rule];

	say(w, "%s: %s with key %s",
	    ht_cookie_verdict_name((enum ht_cookie_verdict)w->judgement.cookie[n].verdict),
	    ht_profile_name((enum ht_profile)w->judgement.cookie[n].profile), r->key);
	if (w->judgement.cookie[n].secret)
		say(w, " (an older secret)");
	if (w->judgement.cookie[n].expires_s) {
		say(w, ", until ");
		say_time(w, w->judgement.cookie[n].expires_s);
	}
	if (w->judgement.cookie[n].opened)
		say(w, "; the backend gets the %zu bytes that are sealed in it",
		    w->judgement.cookie[n].opened);
}

static const char *no_token(const struct ht_rule_config *r)
{
	return r->profile == HT_PROFILE_SECURE_COOKIE ? "is not sealed" : "is no session id";
}

static void say_missing(struct work *w, size_t n, bool empty)
{
	const struct ht_rule_config *r = w->ask->site->rules[w->judgement.cookie[n].rule];

	if (empty) {
		say(w, "missing: an empty value %s", r->nsiblings ? "has no token" : no_token(r));
		return;
	}
	if (r->profile == HT_PROFILE_SECURE_COOKIE && r->nsiblings)
		say(w, "missing: it is not sealed, nor is there a token, which would be ");
	else if (r->nsiblings)
		say(w, "missing: no token, which would be ");
	else
		say(w, "missing: it %s", no_token(r));
	say_places(w, r, w->judgement.cookie[n].name);
	if (w->judgement.cookie[n].action == HT_ACTION_GRACE) {
		say(w, "; it is before enforce-after ");
		say_time(w, r->enforce_after_s);
	}
}

/* Why the n-th judged cookie fares as it does. */
static void say_verdict(struct work *w, size_t n, bool empty)
{
	const struct ht_rule_config *r = w->ask->site->rules[w->judgement.cookie[n].rule];

	switch ((enum ht_cookie_verdict)w->judgement.cookie[n].verdict) {
	case HT_COOKIE_MISSING:
		say_missing(w, n, empty);
		break;
	case HT_COOKIE_FORGED:
		say_forged(w, n);
		break;
	case HT_COOKIE_EXPIRED:
		if (!w->judgement.cookie[n].expires_s) {
			say(w,
			    "expired: its token is of a secret that key %s does not have (any "
			    "more)",
			    r->key);
			break;
		}
		say(w, "expired: %s good until ",
		    r->nsiblings || r->profile != HT_PROFILE_SECURE_COOKIE ? "its token was"
									   : "it was");
		say_time(w, w->judgement.cookie[n].expires_s);
		break;
	case HT_COOKIE_UNBOUND:
		say(w, "unbound: the client does not have what the rule binds to: ");
		say_bindings(w, r);
		break;
	case HT_COOKIE_DUPLICATE:
		if (!w->judgement.cookie[n].proven) {
			say(w, "duplicate: values or tokens differ, and not exactly one verifies");
			break;
		}
		say_proof(w, n);
		break;
	default:
		say_proof(w, n);
	}
	say_renewal(w, r, (enum ht_renewal)w->judgement.cookie[n].renewal);
	if (w->judgement.cookie[n].action == HT_ACTION_STRIP && r->profile == HT_PROFILE_SESSION_ID)
		say(w, "; a new one is issued%s", r->nissue ? " on the rule's paths" : "");
}

/* ---- one pair of the header ---- */

struct pair {
	struct ht_str name, value;
	size_t start; /* in the head */
	ssize_t occ;  /* what the scanner has of it, or -1 */
	ssize_t n;    /* the judged cookie that it belongs to, or -1 */
	bool removed;
};

/* Text that may not be UTF-8, as if it were Latin-1 then. */
static json_t *json_text(struct ht_str s)
{
	json_t *j = json_stringn(s.p, s.len);
	_cleanup_free_ char *wide = j ? NULL : malloc(2 * s.len + 1);
	size_t n = 0;

	if (j || !wide)
		return j;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = (uint8_t)s.p[i];

		if (c >= 0x80)
			wide[n++] = (char)(0xc0 | c >> 6);
		wide[n++] = (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c);
	}
	return json_stringn(wide, n);
}

/* What is covered or a token the scanner has read: its word is what counts. */
static void pair_find(const struct work *w, struct pair *p)
{
	const struct ht_occ *o;

	p->occ = p->n = -1;
	for (size_t i = 0; i < w->scan.nocc; i++) {
		if (w->scan.occ[i].start == p->start)
			p->occ = (ssize_t)i;
	}
	if (p->occ < 0)
		return;
	o = &w->scan.occ[p->occ];
	p->name = (struct ht_str){w->before + o->name, o->name_len};
	p->value = (struct ht_str){w->before + o->val, o->val_len};
	p->removed = w->scan.doomed >> p->occ & 1;
	for (size_t i = 0; i < w->judgement.ncookies; i++) {
		if (w->judgement.cookie[i].occs >> p->occ & 1)
			p->n = (ssize_t)i;
	}
}

static void add_number(json_t *row, const char *name, uint64_t n)
{
	if (n)
		json_object_set_new(row, name, json_integer((json_int_t)n));
}

static void row_rule(const struct work *w, json_t *row, size_t n)
{
	const struct ht_rule_config *r = w->ask->site->rules[w->judgement.cookie[n].rule];
	enum ht_cookie_verdict verdict = (enum ht_cookie_verdict)w->judgement.cookie[n].verdict;

	json_object_set_new(row, "verdict", json_string(ht_cookie_verdict_name(verdict)));
	json_object_set_new(row, "rule", json_string(r->label));
	json_object_set_new(row, "file", json_string(w->ask->file));
	json_object_set_new(row, "line", json_integer(r->line));
	if (!w->judgement.cookie[n].proven)
		return;
	json_object_set_new(
		row, "profile",
		json_string(ht_profile_name((enum ht_profile)w->judgement.cookie[n].profile)));
	json_object_set_new(row, "key", json_string(r->key));
	json_object_set_new(row, "older_secret", json_boolean(w->judgement.cookie[n].secret));
	add_number(row, "issued", w->judgement.cookie[n].issued_s);
	add_number(row, "expires", w->judgement.cookie[n].expires_s);
}

/* A covered cookie. What the judgement says holds for the value that stays. */
static const char *row_value(struct work *w, json_t *row, const struct pair *p)
{
	size_t n = (size_t)p->n;
	enum ht_cookie_action action = (enum ht_cookie_action)w->judgement.cookie[n].action;

	row_rule(w, row, n);
	if (p->removed && action == HT_ACTION_PASS) {
		say(w, "duplicate: another one of this name stays");
		w->all_pass = false;
		return "strip";
	}
	say_verdict(w, n, !p->value.len);
	json_object_set_new(row, "new_token", json_boolean(w->judgement.cookie[n].renewal));
	w->all_pass &= action != HT_ACTION_STRIP;
	return ht_cookie_action_name(action);
}

static const char *row_token(struct work *w, const struct pair *p)
{
	if (p->n >= 0)
		say(w, "token of " HT_STR_FMT, HT_STR_ARG(w->judgement.cookie[p->n].name));
	else
		say(w, "token of no cookie that is judged here");
	return p->removed ? "remove" : "pass";
}

static const char *row_other(struct work *w, const struct pair *p)
{
	bool token;

	ht_policy_covers(w->ask->site, p->name, &token);
	say(w, token ? "token of no cookie that is judged here" : "no rule covers it");
	return "pass";
}

static void explain_pair(struct work *w, struct pair *p)
{
	json_t *row = json_object();
	const char *action;

	pair_find(w, p);
	w->text[0] = '\0';
	json_object_set_new(row, "name", json_text(p->name));
	if (p->occ < 0)
		action = row_other(w, p);
	else if (w->scan.occ[p->occ].form || p->n < 0)
		action = row_token(w, p);
	else
		action = row_value(w, row, p);
	json_object_set_new(row, "action", json_string(action));
	json_object_set_new(row, "why", json_text(HT_STR(w->text)));
	json_array_append_new(w->cookies, row);
}

/* ---- the header ---- */

/* The value of the head's Cookie field; empty if there is none. */
static struct ht_str cookies_of(const char *head, size_t len, size_t *ret_at)
{
	static const char field[] = "\r\nCookie: ";
	const char *at = memmem(head, len, field, sizeof(field) - 1), *end;

	*ret_at = 0;
	if (!at)
		return HT_STR("");
	at += sizeof(field) - 1;
	end = memmem(at, len - (size_t)(at - head), "\r\n", 2);
	*ret_at = (size_t)(at - head);
	return (struct ht_str){at, end ? (size_t)(end - at) : 0};
}

/* What the scanner calls a pair: up to the next ';', its name up to the first '='. */
static void explain_pairs(struct work *w)
{
	size_t at;
	struct ht_str rest = cookies_of(w->before, w->before_len, &at);

	while (rest.len) {
		const char *semicolon = memchr(rest.p, ';', rest.len), *equals;
		size_t len = semicolon ? (size_t)(semicolon - rest.p) : rest.len;
		struct ht_str text = ht_str_trim((struct ht_str){rest.p, len});
		struct pair p = {.value = HT_STR(""), .start = (size_t)(text.p - w->before)};

		equals = text.len ? memchr(text.p, '=', text.len) : NULL;
		p.name = ht_str_trim(
			(struct ht_str){text.p, equals ? (size_t)(equals - text.p) : text.len});
		if (equals)
			p.value = ht_str_trim((struct ht_str){
				equals + 1, text.len - (size_t)(equals + 1 - text.p)});
		if (text.len)
			explain_pair(w, &p);
		rest.p += HT_MIN(len + 1, rest.len);
		rest.len -= HT_MIN(len + 1, rest.len);
	}
}

static void make_client(struct work *w)
{
	const struct ht_explain *e = w->ask;

	for (size_t i = 0; i < e->site->nbinds; i++)
		ht_binding_make(e->site->bind[i].binds, e->site->bind[i].nbinds, e->client,
				&w->bind[i]);
	w->client = (struct ht_policy_client){.bind = w->bind, .time = e->time, .plain = e->plain};
}

/* NULL, or why the whole request is refused before its cookies matter. */
static const char *refused_unbound(const struct work *w)
{
	const struct ht_policy_site *s = w->ask->site;
	bool unbound = s->needs_subject && !w->ask->client->x509_subject.len;

	for (size_t i = 0; i < s->nbinds; i++)
		unbound |= s->reject_empty[i] && w->bind[i].empty;
	return unbound ? "with 403: the client does not have what a rule with on-empty: reject "
			 "binds to"
		       : NULL;
}

/* As a request is judged: what the scanner refuses is written canonically, once. */
static int judge(struct work *w)
{
	const struct ht_explain *e = w->ask;
	const struct ht_policy_context by = {e->site, e->ring, NULL, &w->client};
	int reason = 0;

	for (int i = 0; i < 2; i++) {
		memcpy(w->after, w->before, w->before_len);
		w->after_len = w->before_len;
		reason = ht_policy_judge(&by, &w->scan, w->after, &w->after_len, 0, &w->judgement);
		if (!reason)
			break;
		ht_policy_canonicalize(w->before, &w->before_len);
	}
	return reason;
}

static int make_head(struct work *w, const char **ret_why)
{
	const struct ht_str h = w->ask->header;
	struct ht_http_request *r = malloc(sizeof(*r));
	int n = snprintf(w->before, sizeof(w->before), HEAD_BEGIN HT_STR_FMT "\r\n\r\n",
			 HT_STR_ARG(h));
	int err = -ENOMEM;

	*ret_why = "out of memory";
	if (!r)
		return err;
	err = 0;
	if (n < 0 || (size_t)n >= sizeof(w->before)) {
		*ret_why = "it is longer than a request can be";
		err = -EINVAL;
	} else if (memchr(h.p, '\r', h.len) || memchr(h.p, '\n', h.len)) {
		*ret_why = "a field has one line";
		err = -EINVAL;
	} else if (ht_http_parse_request(w->before, (size_t)n, NULL, r, ret_why) != 1) {
		err = -EINVAL;
	}
	w->before_len = (size_t)n;
	free(r);
	return err;
}

static json_t *make_tree(struct work *w, const char *refused)
{
	const struct ht_site_config *c = w->ask->site->config;
	json_t *tree = json_object();
	struct ht_str left;
	size_t at;

	json_object_set_new(tree, "site", json_string(c->nhosts ? c->hosts[0] : ""));
	json_object_set_new(tree, "file", json_string(w->ask->file));
	json_object_set_new(tree, "line", json_integer(c->line));
	json_object_set_new(tree, "all_pass", json_boolean(w->all_pass && !refused));
	json_object_set_new(tree, "cookies", TAKE_PTR(w->cookies));
	if (refused) {
		json_object_set_new(tree, "refused", json_string(refused));
		return tree;
	}
	left = cookies_of(w->after, w->after_len, &at);
	json_object_set_new(tree, "backend", at ? json_text(left) : json_null());
	return tree;
}

int ht_explain(const struct ht_explain *e, json_t **ret, const char **ret_why)
{
	struct work *w = calloc(1, sizeof(*w));
	const char *refused;
	char scanner[80];
	int err = -ENOMEM, reason;

	*ret_why = "out of memory";
	if (!w)
		return err;
	w->ask = e;
	w->all_pass = true;
	w->cookies = json_array();
	if (!w->cookies)
		goto out;
	err = make_head(w, ret_why);
	if (err)
		goto out;
	make_client(w);
	refused = refused_unbound(w);
	reason = refused ? 0 : judge(w);
	if (reason) {
		snprintf(scanner, sizeof(scanner), "with %d: %s",
			 reason == HT_REASON_COOKIES ? 431 : 400,
			 ht_reason_name((enum ht_reason)reason));
		refused = scanner;
	}
	if (!refused)
		explain_pairs(w);
	*ret = make_tree(w, refused);
	err = *ret ? 0 : -ENOMEM;
out:
	json_decref(w->cookies);
	free(w);
	return err;
}

/* ---- as text ---- */

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static void write_place(const json_t *object, FILE *out)
{
	fprintf(out, "%s:%lld", text_of(object, "file"),
		json_integer_value(json_object_get(object, "line")));
}

void ht_explain_write(const json_t *tree, FILE *out)
{
	const json_t *cookies = json_object_get(tree, "cookies"),
		     *backend = json_object_get(tree, "backend");
	json_t *row;
	size_t i;

	fprintf(out, "site %s (", text_of(tree, "site"));
	write_place(tree, out);
	fputs(")\n", out);
	json_array_foreach (cookies, i, row) {
		const char *name = text_of(row, "name");

		fprintf(out, "%s: %s; %s", *name ? name : "(no name)", text_of(row, "action"),
			text_of(row, "why"));
		if (json_object_get(row, "rule")) {
			fprintf(out, " (rule %s, ", text_of(row, "rule"));
			write_place(row, out);
			fputc(')', out);
		}
		fputc('\n', out);
	}
	if (json_object_get(tree, "refused"))
		fprintf(out, "the request is refused %s\n", text_of(tree, "refused"));
	else if (json_is_string(backend))
		fprintf(out, "the backend gets\nCookie: %s\n", json_string_value(backend));
	else
		fputs("the backend gets no Cookie field\n", out);
}
