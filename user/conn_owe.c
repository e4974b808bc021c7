/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request's answer owes the client beside what the backend sets: tokens signed anew, session
 * ids, and the deletion of what was stripped. Only notes it; conn_response.c pays.
 */
#include "conn.h"

#include <openssl/rand.h>

void ht_owed_free(struct ht_owed **list)
{
	while (*list) {
		struct ht_owed *o = *list;

		*list = o->next;
		free(o);
	}
}

/* Without memory the client keeps what it has. */
static void owe(struct ht_conn *c, size_t rule, bool token, struct ht_str cookie,
		struct ht_str line)
{
	struct ht_owed *o = malloc(sizeof(*o) + cookie.len + line.len);
	char *text = (char *)(o + 1);

	if (!o)
		return;
	memcpy(text, cookie.p, cookie.len);
	memcpy(text + cookie.len, line.p, line.len);
	*o = (struct ht_owed){
		.next = c->x.owed,
		.rule = (uint8_t)rule,
		.token = token,
		.cookie = {text, cookie.len},
		.line = {text + cookie.len, line.len},
	};
	c->x.owed = o;
}

void ht_owe_tokens(struct ht_conn *c)
{
	const struct ht_judgement *j = &c->ws->judgement;

	for (size_t i = 0; i < j->nreissues; i++)
		owe(c, j->reissue[i].rule, j->reissue[i].token, j->reissue[i].name,
		    j->reissue[i].line);
}

void ht_owe_expiry(struct ht_conn *c, size_t rule, struct ht_str cookie)
{
	const struct ht_rule_config *r = c->x.policy->rules[rule];
	struct ht_str names[2] = {cookie, {NULL, 0}};
	char sibling[512], line[1024];
	size_t n = 1;

	if (!r->expire_stripped || c->x.issues >> rule & 1) /* what is issued takes its place */
		return;
	if (r->nsiblings) {
		names[n].p = sibling;
		if (ht_policy_sibling(&r->siblings[0], cookie, sibling, sizeof(sibling),
				      &names[n++].len))
			return;
	}
	while (n-- > 0) {
		struct ht_str l = {line, 0};

		if (!ht_policy_expire(names[n], !c->x.https, line, sizeof(line), &l.len))
			owe(c, rule, false, cookie, l);
	}
}

/* One id of the rule: the backend sees it, the gate knows it, the client gets it. 0 or -STATUS. */
static int owe_session(struct ht_conn *c, size_t rule)
{
	struct ht_workspace *ws = c->ws;
	const struct ht_keyring *ring = ht_workspace_ring(ws); /* before what was revoked */
	const struct ht_policy_client client = ht_conn_policy_client(c);
	const bool gated = ht_conn_is_gated(c);
	const struct ht_policy_context by = {
		c->x.policy, ring, gated ? ht_offload_keys(ws->gateway->offload) : NULL, &client};
	const size_t cap = HT_MIN(c->view->gateway->config->limits.head, (size_t)c->head.cap);
	size_t len = ht_buf_len(&c->head);
	uint8_t data[HT_SESSION_DATA];
	struct ht_push push;
	char line[1024];
	struct ht_str l = {line, 0};
	int err = RAND_bytes(data, sizeof(data)) == 1 ? 0 : -EIO;

	if (!err)
		err = ht_policy_issue(&by, rule, data, ht_buf_at(&c->head), &len, cap, line,
				      sizeof(line), &l.len, &push);
	if (err == -ENOSPC)
		return -431;
	if (err) {
		ht_log_limited(LOG_ERR, "msg=\"no session id\" cookie=%s error=\"%s\"",
			       c->x.policy->rules[rule]->label, strerror(-err));
		return -503;
	}
	c->head.end = c->head.start + (uint32_t)len;
	if (gated)
		ht_conn_push(ws, &push, c->x.counted);
	owe(c, rule, true, HT_STR(c->x.policy->rules[rule]->name), l);
	c->x.issued |= 1u << rule;
	return 0;
}

void ht_owe_no_sessions(struct ht_conn *c)
{
	struct ht_owed **at = &c->x.owed;

	while (c->x.issued && *at) {
		struct ht_owed *o = *at;

		if (!(o->token && c->x.issued >> o->rule & 1)) {
			at = &o->next;
			continue;
		}
		*at = o->next;
		free(o);
	}
	c->x.issued = 0;
}

int ht_owe_sessions(struct ht_conn *c)
{
	const struct ht_policy_site *p = c->x.policy;
	int err = 0;

	for (size_t i = 0; i < p->nrules && !err; i++) {
		if (c->x.issues >> i & 1 &&
		    !ht_policy_has_cookie(ht_buf_at(&c->head), ht_buf_len(&c->head),
					  HT_STR(p->rules[i]->name)))
			err = owe_session(c, i);
	}
	return err;
}
