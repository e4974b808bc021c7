/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the head scanner on raw bytes, against itself without what it passes over at once, and
 * against Debian's http-parser: of a head that both accept, they must see the same end, the same
 * framing and the same cookies at the same places. Then the judgement: done twice it strips nothing
 * more, and the canonical form never grows and is its own canonical form. A byte 1 in the input
 * stands for the one token that is valid.
 */
#include "../scan.h"

#include <http_parser.h>
#include <strings.h>

#include "fuzz_site.h"

static char token[HT_TOKEN_TEXT_MAX];
static size_t token_len;
static struct ht_policy_site site;
static struct ht_binding binding;

#define RULE(n) F5_RULE(n, HT_MODE_ENFORCE, FUZZ_BIND)

static struct ht_rule_config rules[] = {RULE("sid"), RULE("ASP.NET_SessionId")};

static void set_up(void)
{
	const struct ht_client client = fuzz_client("192.0.2.10");
	struct ht_token_params p = {.profile = HT_PROFILE_F5_IRULE, .secret = secret};

	fuzz_site(rules, HT_ARRAY_SIZE(rules), &site);
	ht_binding_make(site.bind[0].binds, site.bind[0].nbinds, &client, &binding);
	p.name = HT_STR("sid");
	p.value = HT_STR("GOOD");
	p.input = (struct ht_str){binding.text, binding.len};
	ENSURE(!ht_token_sign(&p, token, &token_len));
}

/* ---- the other parser ---- */

struct found {
	uint8_t sid, sibling;
	const char *val;
	size_t len;
};

struct other {
	struct ht_str name, value;
	bool in_value, complete;
	bool confused, upgrade; /* see end_field() */
	size_t ncookies;
	struct found cookie[2048];
	unsigned flags;
	uint64_t length;
};

static struct ht_str trim(struct ht_str s)
{
	while (s.len && strchr(" \t", *s.p))
		s = (struct ht_str){s.p + 1, s.len - 1};
	while (s.len && strchr(" \t", s.p[s.len - 1]))
		s.len--;
	return s;
}

static void see_pair(struct other *o, struct ht_str pair)
{
	static const char *const names[] = {"sid", "sid_HMAC", "ASP.NET_SessionId",
					    "ASP.NET_SessionId_HMAC"};
	struct ht_str name, value;
	const char *eq;

	while (pair.len && strchr("= \t", *pair.p))
		pair = (struct ht_str){pair.p + 1, pair.len - 1};
	eq = pair.len ? memchr(pair.p, '=', pair.len) : NULL;
	name = trim((struct ht_str){pair.p, eq ? (size_t)(eq - pair.p) : pair.len});
	value = (struct ht_str){pair.p + pair.len, 0};
	if (eq)
		value = trim((struct ht_str){eq + 1, pair.p + pair.len - eq - 1});
	for (size_t i = 0; i < HT_ARRAY_SIZE(names); i++) {
		if (!ht_str_eq(name, HT_STR(names[i])))
			continue;
		ENSURE(o->ncookies < HT_ARRAY_SIZE(o->cookie));
		o->cookie[o->ncookies++] = (struct found){i < 2, i % 2, value.p, value.len};
	}
}

static void end_field(struct other *o)
{
	struct ht_str v = o->value;

	if (!o->in_value)
		return;
	o->in_value = false;
	/* it takes the beginning of such a name for the whole, and forgets F_CHUNKED */
	if (o->name.len > 17 && !strncasecmp(o->name.p, "transfer-encoding", 17))
		o->confused = true;
	/* and a field without a value is none to F_UPGRADE */
	if (o->name.len == 7 && !strncasecmp(o->name.p, "upgrade", 7))
		o->upgrade = true;
	if (o->name.len != 6 || strncasecmp(o->name.p, "cookie", 6))
		return;
	while (v.len) {
		const char *semi = memchr(v.p, ';', v.len);
		size_t n = semi ? (size_t)(semi - v.p) : v.len;

		see_pair(o, (struct ht_str){v.p, n});
		n += !!semi;
		v = (struct ht_str){v.p + n, v.len - n};
	}
}

static int on_name(http_parser *p, const char *at, size_t len)
{
	struct other *o = p->data;

	end_field(o);
	o->name = (struct ht_str){at, len};
	o->value = (struct ht_str){at + len, 0};
	return 0;
}

static int on_value(http_parser *p, const char *at, size_t len)
{
	struct other *o = p->data;

	ENSURE(!o->in_value); /* no folds: a value comes in one piece */
	o->in_value = true;
	o->value = (struct ht_str){at, len};
	return 0;
}

static int on_complete(http_parser *p)
{
	struct other *o = p->data;

	end_field(o);
	o->complete = true;
	o->flags = p->flags;
	o->length = p->content_length;
	return 1; /* no body, please */
}

static bool other_accepts(const char *head, size_t len, struct other *o)
{
	http_parser_settings settings;
	http_parser parser;

	http_parser_settings_init(&settings);
	settings.on_header_field = on_name;
	settings.on_header_value = on_value;
	settings.on_headers_complete = on_complete;
	http_parser_init(&parser, HTTP_REQUEST);
	parser.data = o;
	o->in_value = o->complete = o->confused = o->upgrade = false;
	o->ncookies = 0;
	http_parser_execute(&parser, &settings, head, len);
	return HTTP_PARSER_ERRNO(&parser) == HPE_OK;
}

/* Both accept: do they mean the same? */
static void compare(const struct ht_head *h, const struct other *o, const char *head)
{
	ENSURE(o->complete);
	ENSURE(o->confused || !!(h->flags & HT_HEAD_CHUNKED) == !!(o->flags & F_CHUNKED));
	ENSURE(!!(h->flags & HT_HEAD_LENGTH) == !!(o->flags & F_CONTENTLENGTH));
	if (h->flags & HT_HEAD_LENGTH)
		ENSURE(h->length == o->length);
	ENSURE(!!(h->flags & HT_HEAD_CONN_UPGRADE) == !!(o->flags & F_CONNECTION_UPGRADE));
	ENSURE(!!(h->flags & HT_HEAD_UPGRADE) == o->upgrade);
	ENSURE(o->upgrade || !(o->flags & F_UPGRADE));
	ENSURE(h->nocc == o->ncookies);
	for (size_t i = 0; i < h->nocc; i++) {
		const struct ht_occ *a = &h->occ[i];
		const struct found *b = &o->cookie[i];

		ENSURE((head[a->name] == 's') == b->sid && !!a->form == b->sibling &&
		       a->val_len == b->len);
		ENSURE(!b->len || head + a->val == b->val);
	}
}

static int scan(const char *head, size_t len, struct ht_head *h)
{
	ENSURE(scan_agrees(&site.gate, head, len, h));
	return h->reason;
}

/* ---- the judgement ---- */

static int judge(char *head, size_t *len)
{
	static struct ht_head scratch;
	static struct ht_judgement judgement;
	const struct ht_policy_client client = {.bind = &binding};

	return ht_policy_judge(&(struct ht_policy_context){&site, &ring, &sip_keys, &client},
			       &scratch, head, len, 0, &judgement);
}

static void judge_twice(char *head, size_t len)
{
	size_t once = len, twice;

	if (judge(head, &once))
		return;
	ENSURE(once <= len);
	twice = once;
	ENSURE(!judge(head, &twice) && twice == once);
}

static void canonical_twice(char *head, size_t len)
{
	static char before[HT_HEAD_MAX];
	size_t once = len, twice;

	ht_policy_canonicalize(head, &once);
	ENSURE(once <= len);
	memcpy(before, head, once);
	twice = once;
	ht_policy_canonicalize(head, &twice);
	ENSURE(twice == once && !memcmp(before, head, once));
	judge_twice(head, once);
}

/* ---- input ---- */

/* A copy of exactly its size, so that a sanitizer sees a byte too far. */
static char *expand(const uint8_t *in, size_t len, size_t *ret_len)
{
	size_t n = 0, at = 0;
	char *out;

	for (size_t i = 0; i < len; i++)
		n += in[i] == 1 ? token_len : 1;
	out = malloc(n ? n : 1);
	ENSURE(out);
	for (size_t i = 0; i < len; i++) {
		if (in[i] == 1) {
			memcpy(out + at, token, token_len);
			at += token_len;
		} else {
			out[at++] = (char)in[i];
		}
	}
	*ret_len = n;
	return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ht_head h;
	static struct other o;
	size_t len;
	char *head;
	int reason;

	if (!token_len)
		set_up();
	head = expand(data, size, &len);
	if (len < 8 || len > HT_HEAD_MAX)
		goto out;
	reason = scan(head, len, &h);
	if (!reason && other_accepts(head, len, &o))
		compare(&h, &o, head);
	if (!reason)
		judge_twice(head, len);
	free(head);
	head = expand(data, size, &len);
	/* it is for heads that a blank or a cookie too many keeps from being judged */
	if (!reason || reason == HT_REASON_BLANKS || reason == HT_REASON_COOKIES)
		canonical_twice(head, len);
out:
	free(head);
	return 0;
}
