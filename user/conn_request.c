/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request's way: framed, routed, rewritten, judged at the gate, sent; then its body. Nothing
 * leaves that was not framed here and passed there.
 */
#include "conn.h"

#define HT_SENDS_MAX 3	  /* of one head on one connection, before we give up */
#define HT_ATTEMPTS_MAX 8 /* connections tried for one request */
#define HT_PIECE_MAX 65536

static void request_connect(struct ht_conn *c);
static void request_find_affinity(struct ht_conn *c);

/* ---- routing ---- */

static void request_id(struct ht_workspace *ws, char *ret)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t n = ++ws->request_count;

	memcpy(ret, ws->id_prefix, 16);
	for (size_t i = 32; i > 16; n >>= 4)
		ret[--i] = digits[n & 15];
	ret[32] = 0;
}

static struct ht_str log_keep(struct ht_buf *b, struct ht_str s)
{
	size_t n = HT_MIN(s.len, ht_buf_room(b));
	char *p = b->data + b->end;

	if (n)
		memcpy(p, s.p, n);
	b->end += (uint32_t)n;
	return (struct ht_str){p, n};
}

static struct ht_str request_field(const struct ht_http_request *r, const char *name)
{
	for (size_t i = 0; i < r->nfields; i++) {
		if (ht_http_name_eq(r->fields[i].name, name))
			return r->fields[i].value;
	}
	return HT_STR("");
}

/* The request's memory is used again before its line is written. */
static void request_copy_for_log(struct ht_conn *c)
{
	const struct ht_http_request *r = &c->ws->request;
	struct ht_buf *b = &c->log;

	if (!c->ws->gateway->access_log_on || ht_buf_take(&c->ws->bufs, b, HT_BUF_SMALL))
		return;
	c->copy = (struct ht_log_copy *)b->data;
	b->end = sizeof(*c->copy);
	c->copy->method = log_keep(b, r->method);
	c->copy->host = log_keep(b, r->host);
	c->copy->user_agent = log_keep(b, request_field(r, "User-Agent"));
	c->copy->referer = log_keep(b, request_field(r, "Referer"));
	c->copy->target = log_keep(b, r->target);
}

static bool has_body(const struct ht_http_request *r)
{
	return r->body == HT_BODY_CHUNKED || (r->body == HT_BODY_LENGTH && r->length);
}

static void request_note(struct ht_conn *c)
{
	const struct ht_http_request *r = &c->ws->request;
	struct ht_exchange *x = &c->x;

	ht_owed_free(&x->owed);
	ht_buf_give(&c->ws->bufs, &c->before);
	*x = (struct ht_exchange){
		.started_us = c->ws->loop.now_us,
		.bytes_in = r->head_len,
		.body = has_body(r) ? r->body : HT_BODY_NONE,
		.body_left = r->length,
		.body_complete = !has_body(r),
		.minor = r->minor,
		.head = ht_str_eq(r->method, HT_STR("HEAD")),
		.idempotent = r->idempotent,
		.upgrade = r->upgrade,
		.ntlm = r->ntlm,
		.expecting = r->expect_continue,
		.keep_alive = r->keep_alive,
	};
	request_id(c->ws, x->request_id);
}

/* A site may refuse clients that cannot give what it binds to. */
static bool request_is_unbound(const struct ht_conn *c)
{
	const struct ht_policy_site *p = c->x.policy;

	for (size_t i = 0; i < p->nbinds; i++) {
		if (p->reject_empty[i] && c->identity->bind[i].empty)
			return true;
	}
	return p->needs_subject && !c->subject;
}

/* Finds the site and what it thinks of the client. False if that was the end of it. */
static bool request_route(struct ht_conn *c)
{
	const struct ht_gateway *g = c->view->gateway;
	const struct ht_http_request *r = &c->ws->request;
	const struct ht_site_config *site = ht_config_site(g->config, r->host);
	struct ht_exchange *x = &c->x;

	if (!site) {
		ht_conn_error(c, c->tls.ssl ? 421 : 404, "no such site here");
		return false;
	}
	x->site = site;
	x->site_index = (uint32_t)(site - g->config->sites);
	x->policy = &g->policies[x->site_index];
	if (c->listener->config->redirect_https && !x->https) {
		ht_edge_redirect(c);
		return false;
	}
	if (ht_conn_identify(c)) {
		ht_conn_error(c, 503, "out of memory");
		return false;
	}
	x->exempt = ht_edge_exempts(site, r);
	if (x->exempt)
		ht_stats_inc(c->ws->stats->exempt, 1);
	if (!x->exempt && request_is_unbound(c)) {
		ht_stats_inc(c->ws->stats->rejected_unbound, 1);
		ht_conn_error(c, 403, "this site needs to know the client better");
		return false;
	}
	if (g->config->limits.body && r->body == HT_BODY_LENGTH &&
	    r->length > g->config->limits.body) {
		ht_conn_error(c, 413, "request body too large");
		return false;
	}
	return true;
}

/* The head as it goes to the backend, into c->head. */
static bool request_write(struct ht_conn *c, const struct ht_hop *hop)
{
	const struct ht_listener_config *l = c->listener->config;
	const struct ht_http_forward f = {
		.client_ip = HT_STR(c->ip),
		.proxy_ip = HT_STR(hop->append ? c->peer_ip : ""),
		.host = hop->host,
		.user = hop->user,
		.proto = c->x.https ? "https" : "http",
		.request_id = HT_STR(c->x.request_id),
		.client_cert = l->tls && l->tls->client_cert != HT_CLIENT_CERT_NONE,
		.client_cert_verified = c->verified,
		.client_cert_subject = HT_STR(c->subject ? c->subject : ""),
	};
	size_t limit = HT_MIN(c->view->gateway->config->limits.head, (size_t)HT_BUF_SMALL);
	int n;

	if (!c->head.data && ht_buf_take(&c->ws->bufs, &c->head, HT_BUF_SMALL)) {
		ht_conn_error(c, 503, "out of memory");
		return false;
	}
	n = ht_http_write_request(&c->ws->request, &f, c->head.data, limit);
	if (n < 0) {
		ht_conn_error(c, -n, "request head too large");
		return false;
	}
	c->head.start = 0;
	c->head.end = (uint32_t)n;
	return true;
}

static void request_begin(struct ht_conn *c)
{
	struct ht_hop hop;

	request_note(c);
	ht_conn_take_view(c);
	ht_edge_believe(c, &hop);
	ht_conn_enter(c, HT_PHASE_EXCHANGE);
	request_copy_for_log(c);
	/* the parsed request points into the input, which stays as it is until we are done here */
	c->in.start += (uint32_t)c->ws->request.head_len;
	if (ht_conn_refused(c) || !request_route(c) || !request_write(c, &hop))
		return;
	request_find_affinity(c);
	if (c->x.policy->issuers && !c->x.exempt)
		c->x.issues = ht_policy_issues(c->x.policy, ht_http_path(&c->ws->request));
	if (!ht_buf_len(&c->in))
		ht_buf_give(&c->ws->bufs, &c->in);
	request_connect(c);
}

/* A pinned backend connection may go while its client is idle. */
static void request_mind_pinned(struct ht_conn *c)
{
	if (c->backend && ht_backend_unquiet(c->backend)) {
		c->pinned = false;
		ht_conn_leave_backend(c, false);
	}
}

/* Nothing more comes from the client, in the middle of a head or between two. */
static void request_none(struct ht_conn *c, ssize_t n)
{
	if (n < 0 || !ht_buf_len(&c->in))
		ht_conn_close(c, n < 0);
	else
		ht_conn_error(c, 400, "request head incomplete");
}

bool ht_request_read(struct ht_conn *c)
{
	struct ht_workspace *ws = c->ws;
	const char *why = NULL;
	ssize_t n;
	int r;

	request_mind_pinned(c);
	for (;;) {
		size_t len = ht_buf_len(&c->in);

		r = len ? ht_http_parse_request(ht_buf_at(&c->in), len, &c->scanned, &ws->request,
						&why)
			: 0;
		if (!r && len >= HT_HEAD_MAX) {
			why = "request head too large";
			r = -431;
		}
		if (r)
			break;
		n = ht_conn_read(c);
		if (n == -EAGAIN) {
			/* who has just come is still answered: his request may be on its way */
			if (ws->draining && !len && c->served)
				ht_conn_close(c, false);
			return false;
		}
		if (n <= 0) {
			request_none(c, n);
			return true;
		}
	}
	c->scanned = 0;
	if (r > 0) {
		request_begin(c);
	} else {
		ht_stats_inc(ws->stats->malformed, 1);
		ht_conn_error(c, -r, why);
	}
	return true;
}

/* ---- the backend connection ---- */

static void request_notified(void *owner)
{
	ht_conn_run(owner);
}

/* A pinned one if it belongs to this site. */
static bool request_has_backend(struct ht_conn *c)
{
	struct ht_backend *b = c->backend;

	if (!b)
		return false;
	if (b->set == &c->view->upstreams[c->x.site_index] && ht_backend_alive(b)) {
		b->reused = true;
		return true;
	}
	c->pinned = false;
	ht_conn_leave_backend(c, false);
	return false;
}

/* The same for all connections of a client. */
static uint64_t client_id(const struct ht_conn *c)
{
	if (c->client.sa.sa_family == AF_INET6)
		return ht_balance_id(&c->client.in6.sin6_addr, sizeof(c->client.in6.sin6_addr));
	if (c->client.sa.sa_family == AF_INET)
		return ht_balance_id(&c->client.in.sin_addr, sizeof(c->client.in.sin_addr));
	return 0;
}

/* The upstream that the client's affinity cookie names. It passes on to the backend like any other. */
static void request_find_affinity(struct ht_conn *c)
{
	const struct ht_http_request *r = &c->ws->request;
	struct ht_exchange *x = &c->x;
	struct ht_str rest, token;

	if (x->site->balance != HT_BALANCE_COOKIE)
		return;
	for (size_t i = 0; i < r->nfields && !x->affinity; i++) {
		if (r->fields[i].id != HT_HTTP_COOKIE)
			continue;
		rest = r->fields[i].value;
		while (!x->affinity && ht_balance_cookie(&rest, x->site->balance_cookie, &token))
			x->affinity = ht_upstreams_by_token(&c->view->upstreams[x->site_index],
							    token);
	}
}

/*
 * What may not be sent twice is not tried on a pooled connection that is dead already; the others
 * find out when they use it.
 */
static int request_get_backend(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;
	const struct ht_wish wish = {
		.fresh = x->fresh,
		.source = x->site->balance == HT_BALANCE_SOURCE ? client_id(c) : 0,
		.gen = x->affinity,
	};
	int err;

	for (;;) {
		err = ht_upstreams_get(&c->view->upstreams[x->site_index], &wish, &x->tried, c,
				       request_notified, &c->backend);
		if (err || !c->backend->reused || x->idempotent || ht_backend_alive(c->backend))
			return err;
		ht_conn_leave_backend(c, false);
	}
}

static void request_connect(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;
	int err = request_has_backend(c) ? 0 : request_get_backend(c);

	if (!err) {
		x->upstream = c->backend->upstream->text;
		x->upload = c->backend->reused ? HT_UPLOAD_HEAD : HT_UPLOAD_CONNECT;
	} else if (err == -ECONNREFUSED) {
		ht_conn_error(c, x->timed_out ? 504 : 502, "no backend answers");
	} else if (err == -EHOSTDOWN) {
		ht_conn_error(c, 503, "no backend is up");
	} else {
		ht_log_limited(LOG_ERR, "msg=\"no backend connection\" error=\"%s\"",
			       strerror(-err));
		ht_conn_error(c, 503, "no backend connection to be had");
	}
}

/*
 * Another connection is tried if the backend cannot have begun to work on the request: its head never
 * left as a whole; or a pooled connection ended without a word, and doing it twice is harmless.
 */
void ht_request_lost(struct ht_conn *c, int err)
{
	struct ht_exchange *x = &c->x;
	struct ht_backend *b = c->backend;
	bool sent = x->upload > HT_UPLOAD_HEAD;
	bool again = !sent || (b->reused && x->idempotent && !x->body_sent && !x->interim);

	if (!b->reused && !sent) {
		ht_backend_blame(b, err);
		x->tried |= 1ULL << (b->upstream - b->set->upstream);
	} else if (!b->reused && x->upload == HT_UPLOAD_DONE) {
		ht_backend_unanswered(b, 0, strerror(-err));
	}
	x->fresh |= b->reused;
	x->backend_eof = false;
	c->pinned = false;
	ht_conn_leave_backend(c, false);
	if (!again || ++x->attempts >= HT_ATTEMPTS_MAX) {
		ht_conn_error(c, 502, "backend connection lost");
		return;
	}
	ht_stats_inc(c->ws->stats->backend_retries, 1);
	request_connect(c);
}

/* ---- the head ---- */

static int request_send_once(struct ht_conn *c, struct ht_gate_answer *ret)
{
	const struct ht_exchange *x = &c->x;
	const struct ht_gate_head h = {
		.policy = x->exempt ? ht_offload_no_rules(c->view->gateway->offload)
				    : c->view->gateway->places[x->site_index],
		.bind = c->identity->bind,
		.nbinds = c->identity->nbinds,
		/* without a body at hand there is nothing to wait for (Expect, slow clients) */
		.more = !x->body_complete && ht_buf_len(&c->in) >= 32,
		.opened = x->opened[0] | x->opened[1] ? x->opened : NULL,
		.judged = x->judged,
	};

	return ht_gate_send_head(&c->backend->gate, &h, c->head.data, ht_buf_len(&c->head), ret);
}

static void request_head_sent(struct ht_conn *c, const struct ht_gate_answer *a)
{
	if (!c->x.counted)
		ht_conn_count_answer(c, a);
	c->x.counted = true;
	c->x.upload = c->x.body == HT_BODY_NONE ? HT_UPLOAD_DONE : HT_UPLOAD_BODY;
}

static void request_send_head(struct ht_conn *c)
{
	struct ht_gate_answer a;
	int err;

	if (ht_backend_unquiet(c->backend)) {
		ht_request_lost(c, -EPROTO); /* it speaks before it is spoken to, or has gone */
		return;
	}
	ht_conn_open_exempt(c);
	err = ht_conn_gate_is_lenient(c) ? ht_conn_judge(c) : 0;
	if (err) {
		ht_conn_error(c, -err, "request refused");
		return;
	}
	for (unsigned i = 0; i < HT_SENDS_MAX; i++) {
		err = c->x.issues ? ht_owe_sessions(c) : 0;
		if (err) {
			ht_conn_error(c, -err, "no room for a session id");
			return;
		}
		err = request_send_once(c, &a);
		if (err) {
			ht_request_lost(c, err);
			return;
		}
		if (a.verdict == HT_VERDICT_PASS) {
			request_head_sent(c, &a);
			return;
		}
		if (a.verdict == HT_VERDICT_REFUSED)
			err = ht_conn_canonicalize(c, a.reason);
		if (!err)
			err = ht_conn_judge(c);
		if (err) {
			ht_conn_error(c, -err, "request refused");
			return;
		}
	}
	ht_log_limited(LOG_ERR, "msg=\"the gate refuses what we found valid\" reason=%s",
		       ht_reason_name(a.reason));
	ht_conn_error(c, 503, "no verdict");
}

/* ---- the body ---- */

/* More of the body into an empty input. False if there is none now, or ever. */
static bool request_read_body(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;
	ssize_t n;

	if (!c->in.data && (x->body == HT_BODY_CHUNKED || x->body_left > HT_BUF_SMALL) &&
	    ht_buf_take(&c->ws->bufs, &c->in, HT_BUF_LARGE))
		return false;
	n = ht_conn_read(c);
	if (n > 0)
		return true;
	if (!ht_buf_len(&c->in))
		ht_buf_give(&c->ws->bufs, &c->in);
	if (n == 0)
		ht_conn_error(c, 400, "request body incomplete");
	else if (n != -EAGAIN)
		ht_conn_close(c, true);
	return false;
}

/* `at`: as piece.at. */
static void piece_of_length(struct ht_conn *c, const char *at, size_t n)
{
	struct ht_exchange *x = &c->x;

	x->piece = (struct ht_piece){HT_KIND_BODY, at, n};
	x->body_left -= n;
	x->bytes_in += n;
	x->body_complete = !x->body_left;
}

static void piece_line(struct ht_exchange *x, size_t n)
{
	int len = ht_http_chunk_line(n, !x->chunked_once, x->line);

	x->piece = (struct ht_piece){n ? HT_KIND_CHUNK : HT_KIND_END, x->line, (size_t)len};
	x->chunked_once = true;
}

/* Takes chunks apart in place: their data moves together, to go out as one chunk. */
static int decode_chunks(struct ht_conn *c, const char **ret_data, size_t *ret_len)
{
	struct ht_exchange *x = &c->x;
	size_t left = HT_MIN(ht_buf_len(&c->in), (size_t)HT_PIECE_MAX), used, n;
	char *start = ht_buf_at(&c->in), *end = start;
	const char *data;
	int r = 0;

	while (left && !r) {
		r = ht_http_dechunk(&x->chunked, ht_buf_at(&c->in), left, &used, &data, &n);
		if (r < 0)
			return r;
		if (!r && !used)
			return -EIO;
		if (n)
			memmove(end, data, n);
		end += n;
		c->in.start += (uint32_t)used;
		left -= used;
	}
	x->body_complete = r > 0;
	*ret_data = start;
	*ret_len = (size_t)(end - start);
	return 0;
}

/* The line of a chunk of ours, whose data is at `at` (as piece.at) and goes next. */
static void piece_of_chunk(struct ht_conn *c, const char *at, size_t n)
{
	uint64_t limit = c->view->gateway->config->limits.body;
	struct ht_exchange *x = &c->x;

	x->data = at;
	x->data_len = n;
	x->body_size += n;
	x->bytes_in += n;
	if (limit && x->body_size > limit)
		ht_conn_error(c, 413, "request body too large");
	else if (n || x->body_complete)
		piece_line(x, n);
}

/* What is in the input. */
static void piece_of_input(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;
	const char *at = ht_buf_at(&c->in);
	size_t n = HT_MIN(ht_buf_len(&c->in), (size_t)HT_PIECE_MAX);

	if (x->body == HT_BODY_LENGTH) {
		n = (size_t)HT_MIN((uint64_t)n, x->body_left);
		c->in.start += (uint32_t)n;
		piece_of_length(c, at, n);
	} else if (!decode_chunks(c, &at, &n)) {
		piece_of_chunk(c, at, n);
	} else {
		ht_stats_inc(c->ws->stats->malformed, 1);
		ht_conn_error(c, 400, "bad chunked body");
	}
}

/*
 * Past our memory where much of the body is still to come. False: that is not so, or nothing comes
 * this way; then the ordinary one tells why.
 */
static bool piece_of_pipe(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;
	bool chunked = x->body == HT_BODY_CHUNKED;
	uint64_t left = chunked ? ht_http_chunk_left(&x->chunked) : x->body_left;
	ssize_t n;

	if (left < HT_SPLICE_MIN || c->backend->tls.ssl)
		return false;
	n = ht_conn_read_pipe(c, (size_t)HT_MIN(left, (uint64_t)HT_PIECE_MAX));
	if (n < 0 && n != -EAGAIN) {
		ht_conn_close(c, true);
		return true;
	}
	if (n <= 0)
		return false;
	x->expecting = false;
	if (chunked) {
		ht_http_chunk_took(&x->chunked, (uint64_t)n);
		piece_of_chunk(c, NULL, (size_t)n);
	} else {
		piece_of_length(c, NULL, (size_t)n);
	}
	return true;
}

/* Prepares the next message of the body. True if something happened. */
static bool request_next_piece(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;

	if (x->body_complete) { /* its last data has gone */
		piece_line(x, 0);
		return true;
	}
	if (!ht_buf_len(&c->in)) {
		if (piece_of_pipe(c))
			return true;
		if (!request_read_body(c))
			return c->phase != HT_PHASE_EXCHANGE || x->answer == HT_ANSWER_DONE;
	}
	x->expecting = false; /* it did not wait, or not any longer */
	piece_of_input(c);
	return true;
}

static ssize_t piece_send(struct ht_conn *c)
{
	const struct ht_piece *p = &c->x.piece;
	struct ht_gate *gate = &c->backend->gate;

	switch (p->kind) {
	case HT_KIND_CHUNK:
		return ht_gate_send_chunk_line(gate, p->at, p->len);
	case HT_KIND_END:
		return ht_gate_send_end(gate, p->at, p->len);
	default:
		if (!p->at)
			return ht_gate_splice_body(gate, &c->up);
		return ht_gate_send_body(gate, p->at, p->len,
					 ht_buf_len(&c->in) > 0 && !c->x.body_complete);
	}
}

static void piece_sent(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;
	enum ht_kind kind = x->piece.kind;

	x->piece.kind = HT_KIND_NONE;
	if (kind == HT_KIND_CHUNK)
		x->piece = (struct ht_piece){HT_KIND_BODY, x->data, x->data_len};
	else if (kind == HT_KIND_END || (x->body == HT_BODY_LENGTH && x->body_complete))
		x->upload = HT_UPLOAD_DONE;
	if (x->piece.kind != HT_KIND_NONE)
		return;
	ht_pipe_give(&c->ws->up_pipes, &c->up);
	if (!ht_buf_len(&c->in))
		ht_buf_give(&c->ws->bufs, &c->in);
}

/*
 * A backend that closes while it is being sent to may have answered first: what it said is read
 * before anything is decided.
 */
static void request_broken(struct ht_conn *c, int err)
{
	if (err != -EPIPE && err != -ECONNRESET) {
		ht_log_limited(LOG_ERR,
			       "msg=\"sending to a backend failed\" upstream=%s error=\"%s\"",
			       c->x.upstream, strerror(-err));
		ht_conn_error(c, 502, "backend connection lost");
		return;
	}
	c->x.upload = HT_UPLOAD_BROKEN;
	c->backend->source.readable = true;
}

static bool request_send_piece(struct ht_conn *c)
{
	struct ht_piece *p = &c->x.piece;
	ssize_t n;

	if (!c->backend->source.writable)
		return false;
	n = piece_send(c);
	if (n == -EAGAIN) {
		c->backend->source.writable = false;
		return false;
	}
	if (n < 0) {
		request_broken(c, (int)n);
		return true;
	}
	c->x.body_sent = true;
	if (p->at)
		p->at += n;
	p->len -= (size_t)n;
	if (p->len)
		c->backend->source.writable = false;
	else
		piece_sent(c);
	return true;
}

static bool request_body(struct ht_conn *c)
{
	if (c->x.piece.kind == HT_KIND_NONE)
		return request_next_piece(c);
	return request_send_piece(c);
}

static bool request_connected(struct ht_conn *c)
{
	int err = ht_backend_connected(c->backend);

	if (err == -EAGAIN)
		return false;
	if (err)
		ht_request_lost(c, err);
	else
		c->x.upload = HT_UPLOAD_HEAD;
	return true;
}

bool ht_request_pump(struct ht_conn *c)
{
	if (c->x.answer == HT_ANSWER_DONE)
		return false;
	switch (c->x.upload) {
	case HT_UPLOAD_CONNECT:
		return request_connected(c);
	case HT_UPLOAD_HEAD:
		request_send_head(c);
		return true;
	case HT_UPLOAD_BODY:
		return request_body(c);
	default:
		return false;
	}
}
