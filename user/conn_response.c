/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer's way: framed, its Set-Cookie fields signed, written to the client; then its body. An
 * answer that the backend cuts short is cut short for the client too, never made complete.
 *
 * One buffer does it all. What the backend sent lies at [raw, raw_end); it is rewritten where it
 * lies, with the new head or chunk line put in front of it, and then is what leaves: [start, end).
 * Nothing more is read before that has left, which is the backpressure.
 */
#include "conn.h"

#include <stdarg.h>

#define HT_FRONT 4096 /* room in front: a rewritten head may be longer than the original */
#define HT_GROWTH (16384 + 256) /* room behind, for what doesn't fit in front */
#define HT_TAIL 16		/* CRLF and the last chunk */
/* No line of ours for a Set-Cookie field of n bytes is longer, sealed or a sibling's. */
#define HT_LINE_MAX(n) (2048 + 2 * (size_t)(n))

/* ---- signing ---- */

static void signing_failed(struct ht_conn *c, const struct ht_set_cookie *cookie, bool dropped,
			   const char *why)
{
	char name[128];

	ht_log_limited(LOG_WARNING, "msg=\"cookie %s: %s\" cookie=\"%s\" host=\"%s\"",
		       dropped ? "dropped" : "not signed", why,
		       ht_log_quote(cookie->name, name, sizeof(name)), c->x.site->hosts[0]);
}

/* Lines that are added to a response, and fields that are left out. */
struct additions {
	size_t nextras, ndrops, used;
	bool private;
};

static void sign_add(struct ht_workspace *ws, struct additions *a, size_t index, size_t len)
{
	char *line = ws->arena + a->used;

	ws->extras[a->nextras++] = (struct ht_http_extra){.line = {line, len}, .after = index};
	a->used += len;
}

static void sign_count(struct ht_conn *c, struct additions *a, size_t rule)
{
	ht_stats_inc(c->ws->stats->signed_cookies[c->x.policy->rules[rule]->profile], 1);
	a->private = true;
}

/* What no browser takes does not come back either: the site looks broken, and this says why. */
static void sign_too_long(struct ht_conn *c, const struct ht_set_cookie *cookie, bool dropped)
{
	char name[128];

	ht_stats_inc(c->ws->stats->sign_too_long, 1);
	ht_log_limited(LOG_WARNING,
		       "msg=\"cookie %s: with its name, a sealed one would be longer than a "
		       "browser takes\" cookie=\"%s\" host=\"%s\" plaintext=%zu limit=%d",
		       dropped ? "dropped" : "let through unsealed",
		       ht_log_quote(cookie->name, name, sizeof(name)), c->x.site->hosts[0],
		       cookie->value.len, HT_COOKIE_MAX);
}

static void sign_field(struct ht_conn *c, size_t index, struct additions *a)
{
	struct ht_workspace *ws = c->ws;
	const struct ht_keyring *ring = ht_workspace_ring(ws);
	const struct ht_policy_client client = ht_conn_policy_client(c);
	const struct ht_policy_context by = {c->x.policy, ring,
					     ht_offload_keys(ws->gateway->offload), &client};
	struct ht_set_cookie cookie;
	struct ht_push push;
	char *line = ws->arena + a->used;
	enum ht_sign_result result;
	size_t len, rule = 0;
	bool dropped;

	ht_set_cookie_parse(ws->response.fields[index].value, ws->loop.now_s, &cookie);
	result = ht_policy_sign(&by, &cookie, line, sizeof(ws->arena) - a->used, &len, &push,
				&rule);
	dropped = ht_policy_withholds(c->x.policy->rules[rule], result, ws->loop.now_s);
	if (dropped)
		ws->drops[a->ndrops++] = (uint16_t)index;
	switch (result) {
	case HT_SIGN_UNCOVERED:
		return;
	case HT_SIGN_SIGNED:
		ht_conn_push(ws, &push, false);
		sign_count(c, a, rule);
		sign_add(ws, a, index, len);
		return;
	case HT_SIGN_SEALED:
		if (push.sealed.p && ht_conn_is_gated(c)) /* else nobody looks for it */
			ht_conn_push(ws, &push, false);
		sign_count(c, a, rule);
		sign_add(ws, a, index, len);
		return;
	case HT_SIGN_TOO_LONG:
		sign_too_long(c, &cookie, dropped);
		return;
	case HT_SIGN_DELETED:
		sign_add(ws, a, index, len);
		return;
	case HT_SIGN_SIBLING:
		ht_stats_inc(ws->stats->sign_sibling, 1);
		signing_failed(c, &cookie, dropped, "a backend may not set a token");
		return;
	case HT_SIGN_ISSUER:
		ht_stats_inc(ws->stats->sign_issuer, 1);
		signing_failed(c, &cookie, dropped, "a session id is issued by the gateway alone");
		return;
	case HT_SIGN_REFUSED:
		ht_stats_inc(ws->stats->sign_refused, 1);
		signing_failed(c, &cookie, dropped, "its value can't be");
		return;
	case HT_SIGN_REVOKED:
		ht_stats_inc(ws->stats->sign_revoked, 1);
		signing_failed(c, &cookie, dropped, "the session was revoked");
		return;
	case HT_SIGN_UNBOUND:
		ht_stats_inc(ws->stats->sign_unbound, 1);
		signing_failed(c, &cookie, dropped, "the client can't be bound");
		return;
	}
}

/* Has a line of ours taken the field's place? */
static bool response_replaces(const struct ht_workspace *ws, const struct additions *a,
			      size_t index)
{
	for (size_t i = 0; i < a->nextras; i++) {
		if (ws->extras[i].after == index)
			return true;
	}
	return false;
}

/* A further field, behind all of the response's. */
_printf_(3, 4) static void response_add(struct ht_workspace *ws, struct additions *a,
					const char *fmt, ...)
{
	size_t room = sizeof(ws->arena) - a->used;
	char *line = ws->arena + a->used;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room || a->nextras == HT_EXTRAS_MAX)
		return;
	ws->extras[a->nextras++] = (struct ht_http_extra){.line = {line, (size_t)n},
							  .after = ws->response.nfields};
	a->used += (size_t)n;
}

static bool response_sets(const struct ht_workspace *ws, const struct additions *a,
			  struct ht_str cookie)
{
	struct ht_set_cookie set;
	size_t drop = 0;

	for (size_t i = 0; i < ws->response.nfields; i++) {
		if (ws->response.fields[i].id != HT_HTTP_SET_COOKIE)
			continue;
		while (drop < a->ndrops && ws->drops[drop] < i)
			drop++;
		if (drop < a->ndrops && ws->drops[drop] == i && !response_replaces(ws, a, i))
			continue;
		ht_set_cookie_parse(ws->response.fields[i].value, ws->loop.now_s, &set);
		if (ht_str_eq(set.name, cookie))
			return true;
	}
	return false;
}

/* What the request's judgement left for the client, unless the backend gives it something new. */
static void response_pay(struct ht_conn *c, struct additions *a)
{
	struct ht_workspace *ws = c->ws;

	if (ws->response.status < 200 && ws->response.status != 101)
		return;
	for (const struct ht_owed *o = c->x.owed; o; o = o->next) {
		if (response_sets(ws, a, o->cookie))
			continue;
		response_add(ws, a, HT_STR_FMT, HT_STR_ARG(o->line));
		a->private = true;
		if (o->token)
			ht_stats_inc(
				ws->stats->signed_cookies[c->x.policy->rules[o->rule]->profile], 1);
	}
	ht_owed_free(&c->x.owed);
}

static void response_hsts(struct ht_conn *c, struct additions *a)
{
	const struct ht_http_response *r = &c->ws->response;
	uint64_t max_age = c->x.site->hsts_s;

	if (!max_age || !c->x.https || r->status < 200)
		return;
	for (size_t i = 0; i < r->nfields; i++) {
		if (ht_http_name_eq(r->fields[i].name, "Strict-Transport-Security"))
			return;
	}
	response_add(c->ws, a, "Strict-Transport-Security: max-age=%llu",
		     (unsigned long long)max_age);
}

/* balance: cookie: brings the client back to the backend that has just answered him. */
static void response_affinity(struct ht_conn *c, struct additions *a)
{
	const struct ht_upstream *u = c->backend ? c->backend->upstream : NULL;

	if (!u || c->x.site->balance != HT_BALANCE_COOKIE || c->x.affinity == u->gen ||
	    c->ws->response.status < 200)
		return;
	response_add(c->ws, a, "Set-Cookie: %s=%s; Path=/; HttpOnly; SameSite=Lax%s",
		     c->x.site->balance_cookie, u->token, c->x.https ? "; Secure" : "");
	a->private = true;
}

/* Signs what the site covers. 0, or -502 for more Set-Cookie fields than anybody means. */
static int response_sign(struct ht_conn *c, struct ht_http_reply *reply)
{
	struct ht_workspace *ws = c->ws;
	struct additions a = {0};

	for (size_t i = 0; c->x.policy->nrules && i < ws->response.nfields; i++) {
		if (ws->response.fields[i].id != HT_HTTP_SET_COOKIE)
			continue;
		if (sizeof(ws->arena) - a.used < HT_LINE_MAX(ws->response.fields[i].value.len))
			return -502;
		sign_field(c, i, &a);
	}
	response_pay(c, &a);
	response_hsts(c, &a);
	response_affinity(c, &a);
	reply->extras = ws->extras;
	reply->nextras = a.nextras;
	reply->drops = ws->drops;
	reply->ndrops = a.ndrops;
	reply->make_private = a.private;
	return 0;
}

/* ---- rewriting in place ---- */

/* What leaves next: a head in front of [from, to). 0 or -502 if it doesn't fit. */
static int response_put_head(struct ht_conn *c, size_t head_len, uint32_t from, uint32_t to)
{
	struct ht_exchange *x = &c->x;
	struct ht_buf *out = &c->out;
	uint32_t end = HT_MAX(to, x->raw_end), shift;

	if (head_len > from) {
		shift = (uint32_t)head_len - from;
		if (shift > out->cap - end)
			return -502;
		memmove(out->data + from + shift, out->data + from, end - from);
		from += shift;
		to += shift;
		x->raw += shift;
		x->raw_end += shift;
	}
	out->start = from - (uint32_t)head_len;
	out->end = to;
	memcpy(out->data + out->start, c->ws->reply, head_len);
	return 0;
}

/* Takes chunks apart in place, their data moving together at the front. */
static uint32_t response_decode(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;
	char *end = c->out.data + x->raw;
	uint32_t from = x->raw;
	const char *data;
	size_t used, n;
	int r = 0;

	while (x->raw < x->raw_end && !r) {
		r = ht_http_dechunk(&x->answer_chunked, c->out.data + x->raw, x->raw_end - x->raw,
				    &used, &data, &n);
		if (r < 0 || (!r && !used)) { /* what was good before it still leaves */
			x->broken = true;
			x->raw = x->raw_end;
			break;
		}
		if (n)
			memmove(end, data, n);
		end += n;
		x->raw += (uint32_t)used;
	}
	if (r > 0)
		x->answer = HT_ANSWER_DONE;
	return (uint32_t)(end - c->out.data) - from;
}

/* Takes what there is of the body off the raw bytes: how much of it, from where they began. */
static uint32_t response_take_body(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;
	uint32_t n = x->raw_end - x->raw;

	switch (x->answer_body) {
	case HT_BODY_CHUNKED:
		return response_decode(c);
	case HT_BODY_LENGTH:
		n = (uint32_t)HT_MIN((uint64_t)n, x->answer_left);
		x->answer_left -= n;
		if (!x->answer_left)
			x->answer = HT_ANSWER_DONE;
		break;
	case HT_BODY_NONE:
		n = 0;
		x->answer = HT_ANSWER_DONE;
		break;
	case HT_BODY_UNTIL_CLOSE:
		break;
	}
	x->raw += n;
	return n;
}

/* Makes one chunk of [*from, *to), and the last one if the body is over. */
static void response_chunk(struct ht_conn *c, uint32_t *from, uint32_t *to)
{
	char *data = c->out.data, line[24];
	uint32_t n = *to - *from;
	int len;

	if (n) {
		len = ht_http_chunk_line(n, !c->x.owes_crlf, line);
		*from -= (uint32_t)len;
		memcpy(data + *from, line, (size_t)len);
		memcpy(data + *to, "\r\n", 2);
		*to += 2;
		c->x.owes_crlf = false;
	}
	if (c->x.answer == HT_ANSWER_DONE) {
		len = ht_http_chunk_line(0, !c->x.owes_crlf, line);
		memcpy(data + *to, line, (size_t)len);
		*to += (uint32_t)len;
	}
}

/* The answer is complete: the backend is free, unless it has said too much. */
static void response_done(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;
	bool surplus = x->raw != x->raw_end;

	x->raw = x->raw_end;
	if (x->upload != HT_UPLOAD_DONE) {
		x->keep_alive = false;
		x->linger = true;
	}
	ht_conn_leave_backend(c, x->backend_keep_alive && x->upload == HT_UPLOAD_DONE && !surplus &&
					 !x->backend_eof);
}

/* The body's bytes that are there, framed for the client: [*ret_from, *ret_to). */
static void response_frame(struct ht_conn *c, uint32_t *ret_from, uint32_t *ret_to)
{
	struct ht_exchange *x = &c->x;

	*ret_from = x->raw;
	*ret_to = *ret_from + response_take_body(c);
	if (x->reply_body == HT_BODY_CHUNKED) {
		if (x->answer == HT_ANSWER_DONE)
			response_done(c); /* before its surplus is written over */
		response_chunk(c, ret_from, ret_to);
	} else if (x->answer == HT_ANSWER_DONE) {
		response_done(c);
	}
}

/* ---- the head ---- */

static void response_log_bad(struct ht_conn *c, const char *why)
{
	ht_log_limited(LOG_WARNING, "msg=\"bad response\" upstream=%s reason=\"%s\"", c->x.upstream,
		       why);
}

/* What came is no answer at all. */
static void response_invalid(struct ht_conn *c, const char *why)
{
	ht_backend_unanswered(c->backend, 0, why);
	response_log_bad(c, why);
	ht_conn_error(c, 502, "bad response");
}

/* How the body goes to the client, given how it comes. */
static enum ht_http_body reply_body(const struct ht_exchange *x)
{
	if (x->answer_body != HT_BODY_CHUNKED && x->answer_body != HT_BODY_UNTIL_CLOSE)
		return x->answer_body;
	return x->minor ? HT_BODY_CHUNKED : HT_BODY_UNTIL_CLOSE;
}

/* 100, 102, 103: passed on to those who know them. */
static int response_interim(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;
	struct ht_http_reply reply = {.client_minor = x->minor, .keep_alive = true};
	int n;

	x->expecting = false;
	x->interim = true;
	if (!x->minor)
		return 0;
	n = response_sign(c, &reply);
	if (!n)
		n = ht_http_write_response(&c->ws->response, &reply, c->ws->reply,
					   sizeof(c->ws->reply));
	return n < 0 ? n : response_put_head(c, (size_t)n, x->raw, x->raw);
}

/* 101: the bytes that follow belong to another protocol. */
static int response_switch(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;
	struct ht_http_reply reply = {
		.client_minor = x->minor, .keep_alive = true, .upgrade = true};
	uint32_t from = x->raw, to = x->raw_end;
	int n;

	if (!x->upgrade || x->upload != HT_UPLOAD_DONE)
		return -502;
	n = response_sign(c, &reply);
	if (!n)
		n = ht_http_write_response(&c->ws->response, &reply, c->ws->reply,
					   sizeof(c->ws->reply));
	if (n >= 0)
		n = response_put_head(c, (size_t)n, from, to);
	if (n < 0)
		return n;
	x->raw = x->raw_end;
	ht_tunnel_begin(c);
	return 0;
}

static void response_note(struct ht_conn *c)
{
	const struct ht_http_response *r = &c->ws->response;
	struct ht_exchange *x = &c->x;

	x->expecting = false;
	x->answer_body = r->body;
	x->answer_left = r->length;
	x->reply_body = reply_body(x);
	x->backend_keep_alive = r->keep_alive;
	if (x->upload != HT_UPLOAD_DONE) { /* it answers before it has heard all of the request */
		x->backend_keep_alive = x->keep_alive = false;
		x->linger = true;
	}
	if (x->reply_body == HT_BODY_UNTIL_CLOSE || c->ws->draining)
		x->keep_alive = false;
	/* who has authenticated a connection keeps it (NTLM, Negotiate) */
	c->pinned |= r->ntlm || x->ntlm;
}

static int response_final(struct ht_conn *c)
{
	struct ht_workspace *ws = c->ws;
	struct ht_exchange *x = &c->x;
	struct ht_http_reply reply;
	uint32_t from, to;
	int n;

	response_note(c);
	reply = (struct ht_http_reply){
		.body = x->reply_body,
		.client_minor = x->minor,
		.keep_alive = x->keep_alive,
	};
	n = response_sign(c, &reply);
	if (!n)
		n = ht_http_write_response(&ws->response, &reply, ws->reply, sizeof(ws->reply));
	if (n < 0)
		return n;
	/* the parsed response is in the bytes that are now written over: no more of it below */
	x->status = ws->response.status;
	x->answer = HT_ANSWER_BODY;
	ht_buf_give(&ws->bufs, &c->head);
	ht_buf_give(&ws->bufs, &c->before);
	response_frame(c, &from, &to);
	if (!response_put_head(c, (size_t)n, from, to))
		return 0;
	x->answer = HT_ANSWER_HEAD; /* nothing of it has left */
	return -502;
}

/* One head off the raw bytes. False if it is not complete. */
static bool response_head(struct ht_conn *c)
{
	struct ht_workspace *ws = c->ws;
	struct ht_exchange *x = &c->x;
	const char *why = "can't be passed on";
	int err, r = ht_http_parse_response(c->out.data + x->raw, x->raw_end - x->raw, &x->scanned,
					    x->head, &ws->response, &why);

	if (!r)
		return false;
	if (r < 0) {
		response_invalid(c, why);
		return true;
	}
	ht_backend_answered(c->backend);
	x->scanned = 0;
	x->raw += (uint32_t)ws->response.head_len;
	if (ws->response.status == 101)
		err = response_switch(c);
	else if (ws->response.status < 200)
		err = response_interim(c);
	else
		err = response_final(c);
	if (err) {
		response_log_bad(c, why);
		ht_conn_error(c, 502, "bad response");
	}
	return true;
}

/* ---- receiving ---- */

static void response_body(struct ht_conn *c)
{
	uint32_t from, to;

	response_frame(c, &from, &to);
	c->out.start = from;
	c->out.end = to;
}

/* Rewrites what has come until something is ready to leave, or more must come. */
static void response_process(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;

	while (c->phase == HT_PHASE_EXCHANGE && x->answer != HT_ANSWER_DONE &&
	       x->raw < x->raw_end && !ht_buf_len(&c->out)) {
		if (x->answer == HT_ANSWER_BODY) {
			response_body(c);
			continue;
		}
		x->partial = !response_head(c);
		if (x->partial)
			return;
	}
}

/* The backend has closed, or its connection broke (err). */
static void response_ended(struct ht_conn *c, int err)
{
	struct ht_exchange *x = &c->x;
	uint32_t from = HT_FRONT, to = HT_FRONT;

	x->backend_eof = true;
	if (x->answer == HT_ANSWER_HEAD) {
		if (x->raw == x->raw_end) {
			ht_request_lost(c, err ? err : -ECONNRESET);
		} else {
			response_invalid(c, "head incomplete");
		}
		return;
	}
	if (err || x->answer_body != HT_BODY_UNTIL_CLOSE) {
		response_log_bad(c, "body incomplete");
		ht_conn_cut(c);
		return;
	}
	x->answer = HT_ANSWER_DONE;
	response_done(c);
	if (x->reply_body == HT_BODY_CHUNKED) {
		response_chunk(c, &from, &to);
		c->out.start = from;
		c->out.end = to;
	}
}

static int response_room(struct ht_conn *c, uint32_t *ret)
{
	struct ht_exchange *x = &c->x;
	struct ht_buf *out = &c->out;
	uint32_t kept = x->answer == HT_ANSWER_HEAD ? HT_GROWTH : HT_TAIL;

	if (!out->data && ht_buf_take(&c->ws->bufs, out, HT_BUF_LARGE))
		return -ENOMEM;
	if (x->raw == x->raw_end)
		x->raw = x->raw_end = HT_FRONT;
	out->start = out->end = x->raw;
	*ret = x->raw_end + kept < out->cap ? out->cap - kept - x->raw_end : 0;
	return 0;
}

/* ---- past our memory ---- */

/* What may go by a pipe: bytes of the body that certainly come next, if they are many. */
static size_t response_to_splice(const struct ht_conn *c)
{
	const struct ht_exchange *x = &c->x;
	uint64_t left = 0;

	if (x->answer != HT_ANSWER_BODY || x->raw != x->raw_end || c->backend->tls.ssl)
		return 0;
	if (x->answer_body == HT_BODY_LENGTH)
		left = x->answer_left;
	else if (x->answer_body == HT_BODY_CHUNKED)
		left = ht_http_chunk_left(&x->answer_chunked);
	else if (x->bytes_out >= HT_SPLICE_MIN) /* who has sent much may send more */
		left = HT_SPLICE_MAX;
	if (left < HT_SPLICE_MIN || !ht_conn_takes_pipe(c))
		return 0;
	return (size_t)HT_MIN(left, (uint64_t)HT_SPLICE_MAX);
}

/* The line in front of what is in the pipe. The CRLF behind it goes with the next line. */
static void response_chunk_line(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;
	struct ht_buf *out = &c->out;

	out->start = out->end = HT_FRONT;
	out->end += (uint32_t)ht_http_chunk_line(c->down.len, !x->owes_crlf, out->data + HT_FRONT);
	x->owes_crlf = true;
}

/* Fills the pipe with what comes next of the body. As ht_pipe_fill(). */
static ssize_t response_splice(struct ht_conn *c, size_t want)
{
	struct ht_exchange *x = &c->x;
	struct ht_source *s = &c->backend->source;
	ssize_t n;

	n = ht_pipe_fill(&c->ws->down_pipes, &c->down, s->fd, want, false);
	if (n == -EAGAIN)
		s->readable = false;
	if (n <= 0)
		return n;
	if (x->reply_body == HT_BODY_CHUNKED)
		response_chunk_line(c);
	if (x->answer_body == HT_BODY_CHUNKED)
		ht_http_chunk_took(&x->answer_chunked, (uint64_t)n);
	else if (x->answer_body == HT_BODY_LENGTH)
		x->answer_left -= (uint64_t)n;
	if (x->answer_body == HT_BODY_LENGTH && !x->answer_left) {
		/* nothing tells whether that was all there is, and who says too much is not pooled */
		ht_backend_alive(c->backend);
		x->answer = HT_ANSWER_DONE;
		response_done(c);
	}
	return n;
}

/* ---- receiving, continued ---- */

/* Reads from the backend. True if something happened. */
static bool response_receive(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;
	uint32_t room;
	size_t want;
	ssize_t n;

	if (!c->backend || x->upload < HT_UPLOAD_BODY || !ht_backend_readable(c->backend))
		return false;
	if (response_room(c, &room)) {
		ht_conn_error(c, 503, "out of memory");
		return true;
	}
	if (!room) {
		response_invalid(c, "head too large");
		return true;
	}
	want = response_to_splice(c);
	n = want ? response_splice(c, want) : 0;
	if (n > 0)
		return true;
	/* what does not go by a pipe goes this way, or tells why it doesn't */
	if (!n)
		n = ht_backend_recv(c->backend, c->out.data + x->raw_end, room);
	if (n == -EAGAIN) {
		if (x->raw == x->raw_end)
			ht_buf_give(&c->ws->bufs, &c->out);
		return false;
	}
	if (n <= 0) {
		response_ended(c, (int)n);
		return true;
	}
	x->raw_end += (uint32_t)n;
	return true;
}

bool ht_response_pump(struct ht_conn *c)
{
	size_t before = ht_conn_unsent(c);
	struct ht_exchange *x = &c->x;

	if (before && !ht_conn_flush(c))
		return c->phase == HT_PHASE_CLOSED || ht_conn_unsent(c) < before;
	if (x->answer == HT_ANSWER_DONE) {
		ht_conn_finish(c);
		return true;
	}
	if (x->broken) {
		response_log_bad(c, "bad chunked body");
		ht_conn_cut(c);
		return true;
	}
	/* behind an interim answer there may be more already */
	if ((x->raw == x->raw_end || x->partial) && !response_receive(c))
		return before > 0;
	response_process(c);
	return true;
}
