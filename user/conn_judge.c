/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's own judgement of a request head, where the gate asks for it or there is none: what is
 * told the gate, what is counted and logged of each cookie, and which form of the head is judged.
 * Sends nothing.
 */
#include "conn.h"

#include <openssl/rand.h>

bool ht_conn_push(struct ht_workspace *ws, const struct ht_push *push, bool again)
{
	int err = ht_offload_push(ws->gateway->offload, push);

	if (!err && again)
		err = ht_offload_push(ws->gateway->offload, push);
	if (err && !(push->sealed.p && err == -ENOSPC))
		ht_log_limited(LOG_ERR, "msg=\"%s not cached\" error=\"%s\"",
			       push->sealed.p ? "plaintext" : "token", strerror(-err));
	return !err;
}

/* False if the gate was not told of some plaintext. `again`: as ht_conn_push(). */
static bool judge_push(struct ht_workspace *ws, bool again)
{
	bool told = true;

	for (size_t i = 0; i < ws->judgement.npushes; i++) {
		const struct ht_push *push = &ws->judgement.push[i];

		told &= ht_conn_push(ws, push, again) || !push->sealed.p;
	}
	return told;
}

/*
 * Why was this user logged out? One line for each cookie that went, and not one left out: whoever
 * sends forged cookies in masses fills the log with his address. Never a value.
 */
static void judge_audit(struct ht_conn *c, enum ht_where where, size_t rule, struct ht_str cookie,
			enum ht_cookie_verdict verdict, enum ht_cookie_action action)
{
	const struct ht_rule_config *r = c->x.policy->rules[rule];
	bool twin = action == HT_ACTION_PASS && verdict == HT_COOKIE_DUPLICATE;
	char name[HT_NAME_MAX + 1];

	if (action == HT_ACTION_PASS && !twin)
		return;
	ht_log(LOG_INFO,
	       "msg=\"cookie %s\" request_id=%s site=%s cookie=%s reason=%s source=%s client=%s%s",
	       action == HT_ACTION_GRACE   ? "let through unsigned"
	       : r->mode == HT_MODE_REPORT ? "would be stripped"
					   : "stripped",
	       c->x.request_id, c->x.site->hosts[0], ht_log_word(cookie, name, sizeof(name)),
	       ht_cookie_verdict_name(verdict), where == HT_WHERE_KERNEL ? "kernel" : "user",
	       c->ip[0] ? c->ip : "unix", twin ? " session=kept" : "");
}

static void judge_saw(struct ht_conn *c, enum ht_where where, size_t rule, struct ht_str cookie,
		      enum ht_cookie_verdict verdict, enum ht_cookie_action action)
{
	struct ht_exchange *x = &c->x;

	judge_audit(c, where, rule, cookie, verdict, action);
	if (action == HT_ACTION_STRIP)
		ht_owe_expiry(c, rule, cookie);
	ht_stats_inc(c->ws->stats->verdicts[where][verdict][action], 1);
	if (x->nseen < HT_ARRAY_SIZE(x->seen)) {
		x->seen[x->nseen].rule = (uint8_t)rule;
		x->seen[x->nseen++].verdict = (uint8_t)verdict;
	}
}

static void judge_count_judgement(struct ht_conn *c)
{
	const struct ht_judgement *j = &c->ws->judgement;

	for (size_t i = 0; i < j->ncookies; i++) {
		judge_saw(c, HT_WHERE_USER, j->cookie[i].rule, j->cookie[i].name,
			  j->cookie[i].verdict, j->cookie[i].action);
		if (j->cookie[i].verdict == HT_COOKIE_FORGED)
			ht_conn_forged(c, j->cookie[i].rule, j->cookie[i].print);
	}
	if (j->too_long) {
		ht_stats_inc(c->ws->stats->sign_too_long, j->too_long);
		ht_log_limited(
			LOG_WARNING,
			"msg=\"cookies not sealed: with its name, a sealed one would be longer "
			"than a browser takes\" site=%s count=%zu limit=%d",
			c->x.site->hosts[0], j->too_long, HT_COOKIE_MAX);
	}
	ht_owe_tokens(c);
}

static const struct ht_policy_site *judge_policy(const struct ht_conn *c)
{
	static const struct ht_policy_site no_rules; /* for what is exempt */

	return c->x.exempt ? &no_rules : c->x.policy;
}

/* What only we and the gate know, for plaintext that we put into this head. */
static void judge_make_opened(struct ht_conn *c)
{
	uint64_t *opened = c->x.opened;

	if (opened[0] | opened[1])
		return;
	if (RAND_bytes((uint8_t *)opened, sizeof(c->x.opened)) != 1) {
		opened[0] = opened[1] = 0; /* then no such plaintext passes */
		ht_log_limited(LOG_ERR, "msg=\"no random bytes are to be had\"");
	}
}

/* The head was as `text` is before we opened what is sealed in it: it may have to be so again. */
static int judge_keep_before(struct ht_conn *c, const char *text, size_t len)
{
	if (!c->before.data && ht_buf_take(&c->ws->bufs, &c->before, HT_BUF_SMALL))
		return -ENOMEM;
	memcpy(c->before.data, text, len);
	c->before.start = 0;
	c->before.end = (uint32_t)len;
	return 0;
}

static void judge_restore(struct ht_conn *c)
{
	size_t len = ht_buf_len(&c->before);

	if (!c->before.data)
		return;
	memcpy(c->head.data, ht_buf_at(&c->before), len);
	c->head.start = 0;
	c->head.end = (uint32_t)len;
	ht_buf_give(&c->ws->bufs, &c->before);
	ht_owe_no_sessions(c);
}

/* 0, an enum ht_reason, or -STATUS. */
static int judge_head(struct ht_conn *c, uint32_t only)
{
	struct ht_workspace *ws = c->ws;
	struct ht_policy_client client;
	const struct ht_policy_context by = {
		judge_policy(c), ht_workspace_ring(ws),
		ht_conn_is_gated(c) ? ht_offload_keys(ws->gateway->offload) : NULL, &client};
	size_t len = ht_buf_len(&c->head), before = len;
	int reason;

	if (by.site->seals && !only) {
		judge_make_opened(c);
		memcpy(ws->before, c->head.data, len);
	}
	client = ht_conn_policy_client(c);
	reason = ht_policy_judge(&by, &ws->head, c->head.data, &len, only, &ws->judgement);
	c->head.end = (uint32_t)len;
	if (!reason && ws->judgement.opened && judge_keep_before(c, ws->before, before))
		return -503;
	return reason;
}

void ht_conn_open_exempt(struct ht_conn *c)
{
	struct ht_workspace *ws = c->ws;
	const struct ht_keyring *ring = ht_workspace_ring(ws);
	const struct ht_policy_client client = ht_conn_policy_client(c);
	const struct ht_policy_context by = {c->x.policy, ring, NULL, &client};
	size_t len = ht_buf_len(&c->head);

	if (!c->x.exempt || !c->x.policy->seals || c->x.opens)
		return;
	c->x.opens = true;
	/* what the scanner does not read passes as it is, or is refused where it is sent */
	ht_policy_judge(&by, &ws->head, c->head.data, &len, 0, &ws->judgement);
	c->head.end = (uint32_t)len;
}

int ht_conn_canonicalize(struct ht_conn *c, int reason)
{
	size_t len = ht_buf_len(&c->head);

	ht_stats_inc(c->ws->stats->refused[reason], 1);
	if (c->x.policy->only_reports && !c->x.exempt) {
		c->x.exempt = true; /* what can't be read can't be reported, and passes as it is */
		return 0;
	}
	if (c->x.canonical) {
		ht_log_limited(LOG_WARNING,
			       "msg=\"request refused\" request_id=%s site=%s reason=%s client=%s",
			       c->x.request_id, c->x.site->hosts[0],
			       ht_reason_name((enum ht_reason)reason), c->ip[0] ? c->ip : "unix");
		return reason == HT_REASON_COOKIES ? -431 : -400;
	}
	c->x.canonical = true;
	ht_policy_canonicalize(c->head.data, &len);
	c->head.end = (uint32_t)len;
	return 0;
}

/*
 * Our own verdict, as often as the head must be rewritten for it. A head that holds plaintext is
 * judged as it came: what stands in it is no client's. 0 or -STATUS.
 */
static int judge_once(struct ht_conn *c)
{
	int reason, err;

	if (!c->x.exempt)
		judge_restore(c);
	while ((reason = judge_head(c, 0))) {
		err = reason < 0 ? reason : ht_conn_canonicalize(c, reason);
		if (err)
			return err;
	}
	return 0;
}

int ht_conn_judge(struct ht_conn *c)
{
	const bool opens = c->x.opens, again = c->x.counted;
	int err = judge_once(c);

	if (err)
		return err;
	if (!c->x.counted)
		judge_count_judgement(c);
	c->x.counted = true;
	c->x.opens = true;
	if (!judge_push(c->ws, again) && !opens) {
		err = judge_once(c);
		if (err)
			return err;
		judge_push(c->ws, again);
	}
	c->x.judged = !ht_conn_is_gated(c); /* else what stands there is for the gate to finish */
	return 0;
}

/* Their names are not worth looking for: nothing happens to them. */
static void judge_count_hits(struct ht_conn *c, const struct ht_gate_answer *a)
{
	for (uint32_t i = 0, bits = a->hit; bits; i++, bits >>= 1) {
		if (bits & 1)
			judge_saw(c, HT_WHERE_KERNEL, a->rule[i % HT_COOKIES_MAX],
				  (struct ht_str){"", 0}, HT_COOKIE_HIT, HT_ACTION_PASS);
	}
}

/* What was cut or would be: the head as it was sent tells the names. */
static void judge_count_cut(struct ht_conn *c, uint32_t bits, enum ht_cookie_verdict verdict)
{
	const struct ht_policy_site *p = c->x.policy;
	const struct ht_judgement *j = &c->ws->judgement;

	if (!bits)
		return;
	ht_policy_name(p, &c->ws->head, c->head.data, ht_buf_len(&c->head), bits, ht_conn_prints(c),
		       &c->ws->judgement);
	for (size_t i = 0; i < j->ncookies; i++) {
		size_t rule = j->cookie[i].rule;

		judge_saw(c, HT_WHERE_KERNEL, rule, j->cookie[i].name, verdict,
			  p->rules[rule]->mode == HT_MODE_REPORT ? HT_ACTION_REPORT
								 : HT_ACTION_STRIP);
		if (verdict == HT_COOKIE_FORGED)
			ht_conn_forged(c, rule, j->cookie[i].print);
	}
}

void ht_conn_count_answer(struct ht_conn *c, const struct ht_gate_answer *a)
{
	judge_count_hits(c, a);
	judge_count_cut(c, a->forged, HT_COOKIE_FORGED);
	judge_count_cut(c, a->missing, HT_COOKIE_MISSING);
	if (!a->unknown || judge_head(c, a->unknown))
		return;
	judge_count_judgement(c);
	judge_push(c->ws, false);
}

bool ht_conn_gate_is_lenient(const struct ht_conn *c)
{
	const struct ht_policy_site *p = judge_policy(c);

	ht_workspace_ring(c->ws);
	if (c->x.judged || !c->ws->revoked || !c->ws->revoked->n)
		return false;
	for (size_t i = 0; i < p->nrules; i++) {
		if (c->ws->loop.now_s < p->rules[i]->enforce_after_s)
			return true;
	}
	return false;
}
