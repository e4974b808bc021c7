/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes what the kernel gate and the daemon share: a request is framed and written as towards a
 * backend, then judged. Another, simpler cookie parser looks at the result: no covered cookie may
 * be left without its token, and nothing else may be missing. A byte 1 in the input stands for
 * the one token that is valid, a byte 2 for the one session id.
 */
#include <strings.h>

#include "http.h"
#include "fuzz_site.h"

#define SESSION "GOOD"

static char token[HT_TOKEN_TEXT_MAX];
static size_t token_len;
static char id[HT_TOKEN_TEXT_MAX];
static size_t id_len;
static struct ht_policy_site site;
static struct ht_binding bindings[2]; /* client-ip; none, of the id */

#define RULE(n) F5_RULE(n, HT_MODE_ENFORCE, FUZZ_BIND)

static struct ht_rule_config rules[] = {RULE("sid"), RULE("ASP.NET_SessionId"),
					SESSION_RULE("id", HT_MODE_ENFORCE)};

#define NOW 1700000000
static const uint8_t session[HT_SESSION_DATA] = "a session";

static void set_up(void)
{
	const struct ht_client client = fuzz_client("192.0.2.10");
	struct ht_token_params p = {.profile = HT_PROFILE_F5_IRULE, .secret = secret};

	fuzz_site(rules, HT_ARRAY_SIZE(rules), &site);
	ht_binding_make(site.bind[0].binds, site.bind[0].nbinds, &client, &bindings[0]);
	p.name = HT_STR("sid");
	p.value = HT_STR(SESSION);
	p.input = (struct ht_str){bindings[0].text, bindings[0].len};
	ENSURE(!ht_token_sign(&p, token, &token_len));
	ht_binding_make(NULL, 0, &client, &bindings[1]);
	p = (struct ht_token_params){.profile = HT_PROFILE_SESSION_ID,
				     .secret = secret,
				     .data = session,
				     .issued_s = NOW};
	ENSURE(!ht_token_sign(&p, id, &id_len));
}

static struct ht_str trim(struct ht_str s)
{
	while (s.len && strchr(" \t", *s.p))
		s = (struct ht_str){s.p + 1, s.len - 1};
	while (s.len && strchr(" \t", s.p[s.len - 1]))
		s.len--;
	return s;
}

/* What a head says, by the simple parser: covered pairs, and a hash of everything else. */
struct seen {
	size_t sessions, tokens, wrong, ids;
	uint64_t rest;
};

static void mix(struct seen *s, struct ht_str t)
{
	for (size_t i = 0; i < t.len; i++)
		s->rest = s->rest * 31 + (uint8_t)t.p[i];
	s->rest = s->rest * 31 + 1;
}

static void see_pair(struct seen *s, struct ht_str pair)
{
	struct ht_str name, value = {"", 0};
	const char *eq;

	/* An empty name hides nothing: "=sid=x" is taken for "sid=x". */
	while (pair.len && strchr("= \t", *pair.p))
		pair = (struct ht_str){pair.p + 1, pair.len - 1};
	name = pair;
	eq = memchr(pair.p, '=', pair.len);
	if (eq) {
		name.len = eq - pair.p;
		value = trim((struct ht_str){eq + 1, pair.p + pair.len - eq - 1});
	}
	name = trim(name);
	if (ht_str_eq(name, HT_STR("sid")) || ht_str_eq(name, HT_STR("ASP.NET_SessionId"))) {
		s->sessions++;
		s->wrong += !ht_str_eq(value, HT_STR(SESSION));
	} else if (ht_str_eq(name, HT_STR("id"))) {
		s->ids++;
		s->wrong += !ht_str_eq(value, (struct ht_str){id, id_len});
	} else if (ht_str_eq(name, HT_STR("sid_HMAC")) ||
		   ht_str_eq(name, HT_STR("ASP.NET_SessionId_HMAC"))) {
		s->tokens += ht_str_eq(value, (struct ht_str){token, token_len});
	} else if (trim(pair).len) {
		mix(s, trim(pair));
	}
}

static void see(const char *head, size_t len, struct seen *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (const char *p = head, *end = head + len, *nl; p < end; p = nl + 2) {
		nl = memmem(p, end - p, "\r\n", 2);
		ENSURE(nl);
		if (nl - p < 7 || strncasecmp(p, "cookie:", 7)) {
			mix(ret, (struct ht_str){p, nl - p});
			continue;
		}
		for (p += 7; p <= nl;) {
			const char *semi = memchr(p, ';', nl - p);
			size_t n = (semi ? semi : nl) - p;

			see_pair(ret, (struct ht_str){p, n});
			p += n + 1;
		}
	}
}

/* The request as it would leave for the backend, or 0. */
static size_t make_head(const char *in, size_t len, char *out)
{
	static struct ht_http_request r;
	static const struct ht_http_forward forward = {
		.client_ip = {"192.0.2.10", 10},
		.proto = "https",
		.request_id = {"0123456789abcdef", 16},
	};
	static char text[2 * HT_HEAD_MAX];
	const char *why;
	size_t n = 0;
	int got;

	for (size_t i = 0; i < len && n + HT_MAX(token_len, id_len) < sizeof(text); i++) {
		if (in[i] == 1) {
			memcpy(text + n, token, token_len);
			n += token_len;
		} else if (in[i] == 2) {
			memcpy(text + n, id, id_len);
			n += id_len;
		} else {
			text[n++] = in[i];
		}
	}
	if (ht_http_parse_request(text, n, NULL, &r, &why) != 1)
		return 0;
	if (!r.authority.len)
		r.authority = HT_STR("backend");
	got = ht_http_write_request(&r, &forward, out, HT_HEAD_MAX);
	return got < 0 ? 0 : got;
}

/* A head without an id is given the one, which then passes, and nothing else changes. */
static void check_issue(const struct ht_policy_client *client, char *head, size_t len)
{
	static struct ht_head scratch;
	static struct ht_judgement judgement;
	struct seen before, after;
	struct ht_push push;
	char line[1024];
	size_t line_len, was = len;

	see(head, len, &before);
	ENSURE(ht_policy_has_cookie(head, len, HT_STR("id")) == (before.ids > 0));
	if (before.ids ||
	    ht_policy_issue(&(struct ht_policy_context){&site, &ring, &sip_keys, client}, 2,
			    session, head, &len, HT_HEAD_MAX, line, sizeof(line), &line_len, &push))
		return;
	ENSURE(len > was && len <= HT_HEAD_MAX);
	see(head, len, &after);
	ENSURE(after.ids == 1 && after.wrong == before.wrong && after.rest == before.rest);
	if (ht_policy_judge(&(struct ht_policy_context){&site, &ring, &sip_keys, client}, &scratch,
			    head, &len, 0, &judgement))
		return; /* one cookie more than may be */
	see(head, len, &after);
	ENSURE(after.ids == 1 && after.rest == before.rest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char head[HT_HEAD_MAX];
	static struct ht_head scratch;
	static struct ht_judgement judgement;
	const struct ht_policy_client client = {.bind = bindings, .time = {NOW, 1}};
	struct seen before, after;
	size_t len, was;
	int reason;

	if (!token_len)
		set_up();
	len = was = make_head((const char *)data, size, head);
	if (!len)
		return 0;
	see(head, len, &before);
	reason = ht_policy_judge(&(struct ht_policy_context){&site, &ring, &sip_keys, &client},
				 &scratch, head, &len, 0, &judgement);
	if (reason) {
		if (reason == HT_REASON_UPGRADE)
			return 0; /* to a protocol with a very long name */
		/* Nothing but this may be refused of what we write ourselves. */
		ENSURE(reason == HT_REASON_BLANKS || reason == HT_REASON_COOKIES);
		ht_policy_canonicalize(head, &len);
		ENSURE(len <= was);
		was = len;
		see(head, len, &before);
		reason = ht_policy_judge(
			&(struct ht_policy_context){&site, &ring, &sip_keys, &client}, &scratch,
			head, &len, 0, &judgement);
		ENSURE(!reason || reason == HT_REASON_COOKIES);
		if (reason)
			return 0;
	}
	ENSURE(len <= was);
	see(head, len, &after);
	ENSURE(!after.wrong && (!after.sessions || after.tokens));
	ENSURE(after.rest == before.rest);
	/* One valid pair and no other of that name is left alone. */
	if (before.sessions == 1 && !before.wrong && !before.tokens)
		ENSURE(!after.sessions);
	if (before.ids && !before.wrong)
		ENSURE(after.ids == 1);
	check_issue(&client, head, len);
	return 0;
}
