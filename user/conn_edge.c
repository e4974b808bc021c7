/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is at the other end: the PROXY header in front of a connection, what a trusted proxy says of
 * a request's way here, and what a site asks of either before cookies come into it. Whoever is
 * not trusted is never believed, and nothing is read here that belongs to TLS or HTTP.
 */
#include "conn.h"

#include <arpa/inet.h>

/* ---- the PROXY protocol ---- */

static void header_refused(struct ht_conn *c, const char *why)
{
	ht_stats_inc(c->ws->stats->proxy_malformed, 1);
	ht_log_limited(LOG_WARNING, "msg=\"no PROXY header\" peer=%s listener=%s reason=\"%s\"",
		       c->ip, c->listener->config->addr.text, why);
	ht_conn_close(c, true);
}

/* The header alone is taken off the socket: what follows is somebody else's to read. */
static bool header_take(struct ht_conn *c, size_t len)
{
	ssize_t n = 0;

	for (; len; len -= (size_t)n) {
		do {
			n = recv(c->source.fd, c->ws->reply, len, MSG_DONTWAIT);
		} while (n < 0 && errno == EINTR);
		if (n <= 0)
			return false;
	}
	return true;
}

bool ht_edge_header(struct ht_conn *c)
{
	_Static_assert(HT_PROXY_V2_MAX <= sizeof(c->ws->reply), "a header fits the scratch");
	const char *why = "header incomplete";
	struct ht_proxy header;
	ssize_t n;
	int r;

	if (!c->source.readable)
		return false;
	do {
		n = recv(c->source.fd, c->ws->reply, HT_PROXY_V2_MAX, MSG_PEEK | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN) {
		c->source.readable = false;
		return false;
	}
	if (n <= 0) { /* whoever only looks whether we are there has done no wrong */
		ht_conn_close(c, n < 0);
		return true;
	}
	r = ht_proxy_parse(c->ws->reply, (size_t)n, &header, &why);
	if (!r && !c->source.hup) { /* what was looked at stays; the next bytes wake us */
		c->source.readable = false;
		return false;
	}
	if (r <= 0 || !header_take(c, header.len)) {
		header_refused(c, why);
		return true;
	}
	if (header.kind == HT_PROXY_ADDRESSES)
		ht_conn_set_peer(c, (const struct sockaddr *)&header.source, sizeof(header.source));
	if (ht_conn_refused(c))
		return true;
	ht_conn_enter(c, c->tls.ssl ? HT_PHASE_HANDSHAKE : HT_PHASE_HEAD);
	return true;
}

bool ht_edge_admits(const struct ht_config *config, const struct ht_listener_config *l,
		    const struct sockaddr *peer, socklen_t len)
{
	struct sockaddr_storage a = {0};

	if (!l->proxy_protocol)
		return true;
	memcpy(&a, peer, HT_MIN((size_t)len, sizeof(a)));
	return ht_prefix_match(config->trusted, config->ntrusted, &a);
}

/* ---- what a trusted proxy says of a request ---- */

/* The value of the only field of its kind, or empty. */
static struct ht_str only_field(const struct ht_http_request *r, uint8_t id)
{
	struct ht_str value = HT_STR("");
	size_t n = 0;

	for (size_t i = 0; i < r->nfields; i++) {
		if (r->fields[i].id != id)
			continue;
		value = r->fields[i].value;
		n++;
	}
	return n == 1 ? value : HT_STR("");
}

static size_t all_fields(const struct ht_http_request *r, uint8_t id, struct ht_str *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < r->nfields; i++) {
		if (r->fields[i].id == id)
			ret[n++] = r->fields[i].value;
	}
	return n;
}

static bool has_field(const struct ht_http_request *r, uint8_t id)
{
	for (size_t i = 0; i < r->nfields; i++) {
		if (r->fields[i].id == id)
			return true;
	}
	return false;
}

/* Did a proxy pass it on? By what it says of whom it had the request from. */
static bool is_relayed(const struct ht_http_request *r)
{
	return has_field(r, HT_HTTP_X_FORWARDED_FOR) || has_field(r, HT_HTTP_FORWARDED) ||
	       has_field(r, HT_HTTP_X_FORWARDED_USER);
}

static bool is_made_of(struct ht_str s, const char *also)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.p[i];

		if (!((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
		      (c && strchr(also, c))))
			return false;
	}
	return s.len;
}

static void address_text(const struct sockaddr *a, char *ret)
{
	const struct in6_addr *six = &((const struct sockaddr_in6 *)a)->sin6_addr;

	if (a->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, ret,
			  INET6_ADDRSTRLEN);
	else if (IN6_IS_ADDR_V4MAPPED(six))
		inet_ntop(AF_INET, &six->s6_addr[12], ret, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, six, ret, INET6_ADDRSTRLEN);
}

/* Somebody else speaks on this connection from now on. */
static void edge_forget(struct ht_conn *c)
{
	/* nor is a backend that knows its client by the connection (NTLM) for the next one */
	if (c->pinned) {
		c->pinned = false;
		ht_conn_leave_backend(c, false);
	}
	/* bindings and what the gate remembers of this connection are another client's */
	free(c->identity);
	c->identity = NULL;
	c->guard_version = 0;
	c->id = ++c->ws->next_id;
}

static void edge_set_client(struct ht_conn *c, const struct sockaddr *a, const char *ip)
{
	edge_forget(c);
	memcpy(&c->client, a, sizeof(c->client));
	memcpy(c->ip, ip, sizeof(c->ip));
}

/* A name that can't be kept is none: such a request has no user. */
static void edge_set_user(struct ht_conn *c, bool relayed, struct ht_str user)
{
	if (c->relayed == relayed && ht_str_eq(HT_STR(c->user ? c->user : ""), user))
		return;
	edge_forget(c);
	c->relayed = relayed;
	free(c->user);
	c->user = user.len ? strndup(user.p, user.len) : NULL;
}

void ht_conn_set_peer(struct ht_conn *c, const struct sockaddr *peer, socklen_t len)
{
	struct sockaddr_storage a = {0};

	memcpy(&a, peer, HT_MIN((size_t)len, sizeof(a)));
	c->peer_ip[0] = 0;
	if (a.ss_family != AF_INET && a.ss_family != AF_INET6)
		a.ss_family = AF_UNSPEC;
	else
		address_text((const struct sockaddr *)&a, c->peer_ip);
	memcpy(&c->peer, &a, sizeof(c->peer));
	edge_set_client(c, (const struct sockaddr *)&a, c->peer_ip);
}

/* The client by X-Forwarded-For and Forwarded. False if those can't be passed on as they are. */
static bool edge_client(struct ht_conn *c, const struct ht_config *config,
			const struct sockaddr_storage *peer)
{
	const struct ht_http_request *r = &c->ws->request;
	struct ht_str x[HT_HTTP_FIELDS_MAX], f[HT_HTTP_FIELDS_MAX];
	const struct ht_forwarded x_forwarded_for = {x, all_fields(r, HT_HTTP_X_FORWARDED_FOR, x)};
	const struct ht_forwarded forwarded = {f, all_fields(r, HT_HTTP_FORWARDED, f)};
	struct sockaddr_storage client;
	char ip[INET6_ADDRSTRLEN] = "";
	bool clean;

	clean = ht_proxy_client(peer, config->trusted, config->ntrusted, &x_forwarded_for,
				&forwarded, &client);
	address_text((const struct sockaddr *)&client, ip);
	if (strcmp(ip, c->ip))
		edge_set_client(c, (const struct sockaddr *)&client, ip);
	return clean;
}

void ht_edge_believe(struct ht_conn *c, struct ht_hop *ret)
{
	const struct ht_config *config = c->view->gateway->config;
	const struct ht_http_request *r = &c->ws->request;
	struct ht_exchange *x = &c->x;
	struct sockaddr_storage peer = {0};
	struct ht_str proto, id;

	*ret = (struct ht_hop){0};
	x->https = c->tls.ssl;
	memcpy(&peer, &c->peer, sizeof(c->peer));
	if (!config->ntrusted || !ht_prefix_match(config->trusted, config->ntrusted, &peer)) {
		if (strcmp(c->ip, c->peer_ip)) /* it was, before a reload */
			edge_set_client(c, &c->peer.sa, c->peer_ip);
		edge_set_user(c, false, HT_STR(""));
		return;
	}
	ret->append = edge_client(c, config, &peer);
	ret->user = only_field(r, HT_HTTP_X_FORWARDED_USER);
	if (ret->user.len > HT_USER_MAX)
		ret->user = HT_STR("");
	edge_set_user(c, is_relayed(r), ret->user);
	proto = only_field(r, HT_HTTP_X_FORWARDED_PROTO);
	if (ht_http_name_eq(proto, "https"))
		x->https = true;
	else if (ht_http_name_eq(proto, "http"))
		x->https = false;
	ret->host = only_field(r, HT_HTTP_X_FORWARDED_HOST);
	if (!is_made_of(ret->host, "-._:[]"))
		ret->host = HT_STR("");
	id = only_field(r, HT_HTTP_X_REQUEST_ID);
	if (id.len < sizeof(x->request_id) && is_made_of(id, "-._:+/=")) {
		memcpy(x->request_id, id.p, id.len);
		x->request_id[id.len] = 0;
	}
}

/* ---- before cookies come into it ---- */

/* Fields by which some frameworks let a request name another path than its target. */
static bool names_another_path(const struct ht_http_request *r)
{
	for (size_t i = 0; i < r->nfields; i++) {
		if (ht_http_name_folds_to(r->fields[i].name, "x-original-url") ||
		    ht_http_name_folds_to(r->fields[i].name, "x-rewrite-url"))
			return true;
	}
	return false;
}

bool ht_edge_exempts(const struct ht_site_config *s, const struct ht_http_request *r)
{
	return s->nexempt && ht_config_exempts(s, ht_http_path(r)) && !names_another_path(r);
}

void ht_edge_redirect(struct ht_conn *c)
{
	struct ht_exchange *x = &c->x;
	struct ht_buf *out = &c->out;
	bool keep = x->body_complete && x->keep_alive && !c->ws->draining;
	int n;

	if (!out->data && ht_buf_take(&c->ws->bufs, out, HT_BUF_LARGE)) {
		ht_conn_close(c, true);
		return;
	}
	n = ht_http_write_redirect(&c->ws->request, keep, out->data + out->end, ht_buf_room(out));
	if (n < 0) {
		ht_conn_error(c, 400, "no host to redirect to");
		return;
	}
	out->end += (uint32_t)n;
	x->raw = x->raw_end = out->end;
	x->status = 308;
	x->answer = HT_ANSWER_DONE;
	x->keep_alive = keep;
	x->linger = !keep;
}
