/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing of HTTP/1.1 heads: the first line and the few fields that frame, route or may not be
 * forwarded. What is not plainly right is refused: a head that two parsers could read differently
 * must never leave here.
 */
#include <arpa/inet.h>
#include <strings.h>

#include "http_lines.h"

#define OPTIONS_MAX 32 /* names in Connection that we don't know; each is looked for */
#define UPGRADE_MAX 32 /* bytes of a protocol's name: as many as the gate looks at */

/* ---- requests ---- */

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* Length of the uri-host at the start of a; 0 = there is none. */
static size_t uri_host_len(struct ht_str a)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr addr;
	size_t n = 0;

	if (a.len && a.p[0] == '[') {
		const char *close = memchr(a.p, ']', a.len);

		if (!close || close - a.p > (ptrdiff_t)sizeof(text))
			return 0;
		n = (size_t)(close - a.p) - 1;
		memcpy(text, a.p + 1, n);
		text[n] = 0;
		return !memchr(text, 0, n) && inet_pton(AF_INET6, text, &addr) == 1 ? n + 2 : 0;
	}
	while (n < a.len) {
		if (ht_http_class[(uint8_t)a.p[n]] & HT_HTTP_HOSTCH)
			n++;
		else if (a.p[n] == '%' && a.len - n >= 3 && is_hex(a.p[n + 1]) &&
			 is_hex(a.p[n + 2]))
			n += 3;
		else
			break;
	}
	return n;
}

/* uri-host [ ":" port ]. An empty port goes, its colon too. */
static bool parse_authority(struct ht_str a, struct ht_str *ret_host, struct ht_str *ret_authority)
{
	size_t n = uri_host_len(a), i;
	unsigned port = 0;

	if (!n)
		return false;
	*ret_host = *ret_authority = (struct ht_str){a.p, n};
	if (n == a.len)
		return true;
	if (a.p[n] != ':' || a.len - n > 6)
		return false;
	for (i = n + 1; i < a.len; i++) {
		if (a.p[i] < '0' || a.p[i] > '9')
			return false;
		port = port * 10 + (unsigned)(a.p[i] - '0');
	}
	if (i > n + 1)
		ret_authority->len = a.len;
	return port <= 65535;
}

/* Origin-form, absolute-form or, for OPTIONS, asterisk-form. */
static bool parse_target(struct ht_http_request *r)
{
	struct ht_str t = r->target, a;
	size_t scheme;

	if (t.p[0] == '/')
		return true;
	if (t.len == 1 && t.p[0] == '*')
		return ht_str_eq(r->method, HT_STR("OPTIONS"));
	if (t.len > 7 && !strncasecmp(t.p, "http://", 7))
		scheme = 7;
	else if (t.len > 8 && !strncasecmp(t.p, "https://", 8))
		scheme = 8;
	else
		return false;
	a = (struct ht_str){t.p + scheme, 0};
	while (scheme + a.len < t.len && a.p[a.len] != '/' && a.p[a.len] != '?')
		a.len++;
	/* An empty port would leave a colon in front of the path. */
	return parse_authority(a, &r->host, &r->authority) && a.p[a.len - 1] != ':';
}

static int take_request_line(struct ht_http_cursor *c, struct ht_http_request *r)
{
	const char *p = c->p;
	int n, version;

	for (; c->p < c->end && ht_http_is_tchar(*c->p); c->p++)
		;
	if (c->p == c->end)
		return 0;
	r->method = (struct ht_str){p, (size_t)(c->p - p)};
	if (!r->method.len || *c->p != ' ')
		return ht_http_refuse(c, 400, "bad method");
	if (ht_str_eq(r->method, HT_STR("CONNECT")))
		return ht_http_refuse(c, 405, "CONNECT");
	p = ++c->p;
	c->p = ht_http_find_target_end(p, c->end);
	if (c->p == c->end)
		return 0;
	r->target = (struct ht_str){p, (size_t)(c->p - p)};
	r->host = r->authority = (struct ht_str){p, 0};
	if (!r->target.len || *c->p != ' ' || !parse_target(r))
		return ht_http_refuse(c, 400, "bad target");
	c->p++;
	n = ht_http_take_version(c, &version);
	if (n > 0)
		n = ht_http_take_crlf(c);
	if (n <= 0)
		return n;
	if (version != 10 && version != 11)
		return ht_http_refuse(c, 505, "unsupported version");
	r->minor = version - 10;
	return 1;
}

/* What a lone Transfer-Encoding field is answered with: 0 = it is served. */
static int judge_coding(struct ht_str v)
{
	struct ht_str list = v, e;
	unsigned chunked = 0, n = 0;

	if (ht_http_name_eq(v, "chunked"))
		return 0;
	for (; ht_http_list_next(&list, &e); n++) {
		if (!ht_http_is_token(e))
			return 400;
		chunked += ht_http_name_eq(e, "chunked");
	}
	/* "gzip" and "gzip, chunked" are understood and not served; the rest is a trick. */
	if (!n || chunked > 1 || (chunked && !ht_http_name_eq(e, "chunked")) || chunked == n)
		return 400;
	return 501;
}

/* The fields that frame and route, each NULL or the first one. */
struct request_facts {
	const struct ht_http_field *host, *length, *coding;
	unsigned hosts, lengths, codings, upgrades, expects;
	struct ht_http_connection_options connection;
};

static void read_request_fields(struct ht_http_request *r, struct request_facts *x)
{
	for (size_t i = 0; i < r->nfields; i++) {
		const struct ht_http_field *f = &r->fields[i];

		switch (f->id) {
		case HT_HTTP_HOST:
			x->hosts++;
			x->host = f;
			break;
		case HT_HTTP_CONTENT_LENGTH:
			x->lengths++;
			x->length = f;
			break;
		case HT_HTTP_TRANSFER_ENCODING:
			x->codings++;
			x->coding = f;
			break;
		case HT_HTTP_CONNECTION:
			ht_http_read_connection(f->value, &x->connection);
			break;
		case HT_HTTP_UPGRADE:
			x->upgrades++;
			break;
		case HT_HTTP_EXPECT:
			x->expects++;
			break;
		case HT_HTTP_AUTHORIZATION:
			r->ntlm |= ht_http_is_ntlm(f->value);
			break;
		}
	}
}

static int judge_host(struct ht_http_cursor *c, struct ht_http_request *r,
		      const struct request_facts *x)
{
	struct ht_str host, authority;

	if (x->hosts > 1)
		return ht_http_refuse(c, 400, "several Hosts");
	if (!x->hosts)
		return r->minor ? ht_http_refuse(c, 400, "no Host") : 1;
	if (!r->minor && !x->host->value.len)
		return 1;
	if (!parse_authority(x->host->value, &host, &authority))
		return ht_http_refuse(c, 400, "bad Host");
	if (!r->authority.len) { /* an absolute target overrides Host */
		r->host = host;
		r->authority = authority;
	}
	return 1;
}

static int judge_request_body(struct ht_http_cursor *c, struct ht_http_request *r,
			      const struct request_facts *x)
{
	r->body = HT_BODY_NONE;
	r->length = 0;
	if (x->codings) {
		int status;

		if (x->lengths)
			return ht_http_refuse(c, 400, "length and coding");
		if (x->codings > 1)
			return ht_http_refuse(c, 400, "several codings");
		if (!r->minor)
			return ht_http_refuse(c, 400, "coding in 1.0");
		status = judge_coding(x->coding->value);
		if (status)
			return ht_http_refuse(c, status, "unknown coding");
		r->body = HT_BODY_CHUNKED;
	} else if (x->lengths) {
		if (x->lengths > 1)
			return ht_http_refuse(c, 400, "several lengths");
		if (!ht_http_parse_length(x->length->value, &r->length))
			return ht_http_refuse(c, 400, "bad length");
		r->body = HT_BODY_LENGTH;
	}
	return 1;
}

static bool has_body(const struct ht_http_request *r)
{
	return r->body == HT_BODY_CHUNKED || (r->body == HT_BODY_LENGTH && r->length);
}

static int judge_expect(struct ht_http_cursor *c, struct ht_http_request *r)
{
	for (size_t i = 0; i < r->nfields; i++) {
		struct ht_http_field *f = &r->fields[i];

		if (f->id != HT_HTTP_EXPECT)
			continue;
		if (r->minor && !ht_http_name_eq(f->value, "100-continue"))
			return ht_http_refuse(c, 417, "unknown expectation");
		/* One of them is enough, and without a body or in 1.0 it means nothing. */
		if (!r->minor || !has_body(r) || r->expect_continue)
			f->drop = true;
		else
			r->expect_continue = true;
	}
	return 1;
}

/*
 * A protocol that we let a client switch to. Not HTTP/2, which would carry requests past the gate,
 * nor anything else that calls itself HTTP, nor TLS, in which nobody could look.
 */
static bool is_protocol_ok(struct ht_str e)
{
	static const char *const refused[] = {"h2", "http", "tls"};
	const char *slash = memchr(e.p, '/', e.len);
	struct ht_str name = {e.p, slash ? (size_t)(slash - e.p) : e.len};

	if (e.len > UPGRADE_MAX || !ht_http_is_token(name))
		return false;
	if (slash && !ht_http_is_token((struct ht_str){slash + 1, e.len - name.len - 1}))
		return false;
	for (size_t i = 0; i < HT_ARRAY_SIZE(refused); i++) {
		size_t n = strlen(refused[i]);

		if (e.len >= n && !strncasecmp(e.p, refused[i], n))
			return false;
	}
	return true;
}

/* What cannot be upgraded goes on as an ordinary request. */
static void choose_upgrade(struct ht_http_request *r,
			   const struct ht_http_connection_options *connection)
{
	if (!connection->upgrade || !r->minor || has_body(r) ||
	    !ht_str_eq(r->method, HT_STR("GET")))
		return;
	for (size_t i = 0; i < r->nfields; i++) {
		struct ht_str list = r->fields[i].value, e;

		if (r->fields[i].id != HT_HTTP_UPGRADE)
			continue;
		while (ht_http_list_next(&list, &e)) {
			if (!is_protocol_ok(e))
				continue;
			r->upgrade = true;
			r->upgrade_to = e;
			r->body = HT_BODY_NONE; /* it was at most Content-Length: 0 */
			return;
		}
	}
}

static bool is_idempotent(struct ht_str method)
{
	static const char *const methods[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};

	for (size_t i = 0; i < HT_ARRAY_SIZE(methods); i++)
		if (ht_str_eq(method, HT_STR(methods[i])))
			return true;
	return false;
}

static int judge_request(struct ht_http_cursor *c, struct ht_http_request *r)
{
	struct request_facts x = {0};
	int n;

	r->ntlm = r->upgrade = r->expect_continue = false;
	r->upgrade_to = (struct ht_str){r->target.p, 0};
	read_request_fields(r, &x);
	if (x.connection.malformed || x.connection.others > OPTIONS_MAX)
		return ht_http_refuse(c, 400, "bad Connection");
	n = judge_host(c, r, &x);
	if (n > 0)
		n = judge_request_body(c, r, &x);
	if (n > 0 && x.expects)
		n = judge_expect(c, r);
	if (n <= 0)
		return n;
	if (x.upgrades)
		choose_upgrade(r, &x.connection);
	if (x.connection.others)
		ht_http_drop_named(r->fields, r->nfields);
	r->keep_alive = !x.connection.close && (r->minor || x.connection.keep_alive);
	r->idempotent = is_idempotent(r->method);
	return 1;
}

/* A client may send one empty line too many after a body (RFC 9112 2.2). */
static int skip_empty_line(struct ht_http_cursor *c)
{
	return c->p < c->end && *c->p == '\r' ? ht_http_take_crlf(c) : 1;
}

static int parse_request(struct ht_http_cursor *c, struct ht_http_request *r)
{
	int n = skip_empty_line(c);

	if (n > 0)
		n = take_request_line(c, r);
	if (n > 0)
		n = ht_http_take_fields(c, true, r->fields, &r->nfields);
	return n > 0 ? judge_request(c, r) : n;
}

int ht_http_parse_request(const char *buf, size_t len, size_t *from, struct ht_http_request *ret,
			  const char **ret_why)
{
	struct ht_http_cursor c = {buf, buf + len, NULL};
	int r = 0;

	if (!from || ht_http_is_worth_parsing(buf, *from, len))
		r = parse_request(&c, ret);
	if (from)
		*from = r ? 0 : len;
	if (r > 0)
		ret->head_len = (size_t)(c.p - buf);
	if (r < 0)
		*ret_why = c.why;
	return r;
}

/* ---- responses ---- */

static int take_status_line(struct ht_http_cursor *c, struct ht_http_response *r)
{
	int n, version;

	n = ht_http_take_version(c, &version);
	if (n <= 0)
		return n;
	if (version != 10 && version != 11)
		return ht_http_refuse(c, 502, "unsupported version");
	r->minor = version - 10;
	r->status = 0;
	for (size_t i = 0; i < 4; i++, c->p++) {
		if (c->p == c->end)
			return 0;
		if (i ? *c->p < '0' || *c->p > '9' : *c->p != ' ')
			return ht_http_refuse(c, 502, "bad status");
		if (i)
			r->status = r->status * 10 + (*c->p - '0');
	}
	if (r->status < 100)
		return ht_http_refuse(c, 502, "bad status");
	if (c->p == c->end)
		return 0;
	r->reason = (struct ht_str){c->p, 0};
	if (*c->p == ' ') { /* some leave it out where there is no reason phrase */
		const char *p = ++c->p;

		c->p = ht_http_find_value_end(p, c->end);
		r->reason = (struct ht_str){p, (size_t)(c->p - p)};
	}
	return ht_http_take_crlf(c);
}

struct response_facts {
	unsigned lengths, codings;
	uint64_t length;
	bool coding_bad, length_bad;
	struct ht_http_connection_options connection;
};

static void read_response_length(struct ht_str v, struct response_facts *x)
{
	uint64_t n;

	if (!ht_http_parse_length(v, &n) || (x->lengths && n != x->length))
		x->length_bad = true;
	else
		x->length = n;
	x->lengths++;
}

static void read_challenges(struct ht_http_response *r, struct ht_str list)
{
	struct ht_str e;

	while (r->status == 401 && ht_http_list_next(&list, &e))
		r->ntlm |= ht_http_is_ntlm(e);
}

static void read_response_fields(struct ht_http_response *r, struct response_facts *x)
{
	for (size_t i = 0; i < r->nfields; i++) {
		const struct ht_http_field *f = &r->fields[i];

		switch (f->id) {
		case HT_HTTP_CONTENT_LENGTH:
			read_response_length(f->value, x);
			break;
		case HT_HTTP_TRANSFER_ENCODING:
			x->codings++;
			x->coding_bad |= !ht_http_name_eq(f->value, "chunked");
			break;
		case HT_HTTP_CONNECTION:
			ht_http_read_connection(f->value, &x->connection);
			break;
		case HT_HTTP_WWW_AUTHENTICATE:
			read_challenges(r, f->value);
			break;
		}
	}
}

static int judge_response_body(struct ht_http_cursor *c, struct ht_http_response *r,
			       bool head_request, const struct response_facts *x)
{
	bool never = r->status < 200 || r->status == 204; /* not even a length */

	if (x->length_bad)
		return ht_http_refuse(c, 502, "bad length");
	if (x->codings && x->lengths)
		return ht_http_refuse(c, 502, "length and coding");
	if (x->codings && !r->minor)
		return ht_http_refuse(c, 502, "coding in 1.0");
	if (x->codings > 1 || x->coding_bad)
		return ht_http_refuse(c, 502, "unknown coding");
	r->length = x->length;
	r->has_length = x->lengths && !never;
	if (never || r->status == 304 || head_request)
		r->body = HT_BODY_NONE;
	else if (x->codings)
		r->body = HT_BODY_CHUNKED;
	else if (x->lengths)
		r->body = HT_BODY_LENGTH;
	else
		r->body = HT_BODY_UNTIL_CLOSE;
	/* Where there must be no body but one is announced, what follows cannot be trusted. */
	if (r->body == HT_BODY_UNTIL_CLOSE || (never && (x->codings || x->length)))
		r->keep_alive = false;
	return 1;
}

static int judge_response(struct ht_http_cursor *c, struct ht_http_response *r, bool head_request)
{
	struct response_facts x = {0};

	r->ntlm = false;
	read_response_fields(r, &x);
	if (x.connection.others > OPTIONS_MAX)
		return ht_http_refuse(c, 502, "bad Connection");
	if (x.connection.others)
		ht_http_drop_named(r->fields, r->nfields);
	r->keep_alive = !x.connection.close && !x.connection.malformed &&
			(r->minor || x.connection.keep_alive);
	return judge_response_body(c, r, head_request, &x);
}

static int parse_response(struct ht_http_cursor *c, bool head_request, struct ht_http_response *r)
{
	int n = take_status_line(c, r);

	if (n > 0)
		n = ht_http_take_fields(c, false, r->fields, &r->nfields);
	return n > 0 ? judge_response(c, r, head_request) : n;
}

int ht_http_parse_response(const char *buf, size_t len, size_t *from, bool head_request,
			   struct ht_http_response *ret, const char **ret_why)
{
	struct ht_http_cursor c = {buf, buf + len, NULL};
	int r = 0;

	if (!from || ht_http_is_worth_parsing(buf, *from, len))
		r = parse_response(&c, head_request, ret);
	if (from)
		*from = r ? 0 : len;
	if (r > 0)
		ret->head_len = (size_t)(c.p - buf);
	if (r < 0) {
		*ret_why = c.why;
		r = -502;
	}
	return r;
}
