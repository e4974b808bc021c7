/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing of HTTP/1.1 heads: the request as a backend gets it, the response as a client gets it,
 * and answers of our own. Forwards only what http.c has parsed and found unambiguous; framing
 * fields are always written anew, never copied. The result is what the kernel gate's scanner
 * understands: framing first, nothing twice.
 */

#include "http_lines.h"

/* ---- output ---- */

struct out {
	char *start, *p, *end;
	bool full;
	const char *run, *run_end; /* lines of a parsed head that are still to be copied */
};

static struct out out_make(char *buf, size_t cap)
{
	return (struct out){.start = buf, .p = buf, .end = buf + cap};
}

static void put(struct out *o, const char *p, size_t len)
{
	if (o->full || (size_t)(o->end - o->p) < len) {
		o->full = true;
		return;
	}
	memcpy(o->p, p, len);
	o->p += len;
}

static void put_str(struct out *o, struct ht_str s)
{
	if (s.len)
		put(o, s.p, s.len);
}

#define put_lit(o, text) put(o, text, sizeof(text) - 1)

static void put_number(struct out *o, uint64_t n)
{
	char digits[20];
	size_t i = sizeof(digits);

	do
		digits[--i] = (char)('0' + n % 10);
	while (n /= 10);
	put(o, digits + i, sizeof(digits) - i);
}

/* What comes from elsewhere than a parsed head. */
static void put_clean(struct out *o, struct ht_str s)
{
	char *p = o->p;

	put_str(o, s);
	while ((p = (char *)ht_http_find_control(p, o->p)) < o->p)
		*p = ' ';
}

#define put_clean_field(o, name, value)                                                            \
	({                                                                                         \
		put_lit(o, name ": ");                                                             \
		put_clean(o, value);                                                               \
		put_lit(o, "\r\n");                                                                \
	})

static void put_length(struct out *o, uint64_t n)
{
	put_lit(o, "Content-Length: ");
	put_number(o, n);
	put_lit(o, "\r\n");
}

static void flush_run(struct out *o)
{
	if (o->run_end > o->run)
		put(o, o->run, (size_t)(o->run_end - o->run));
	o->run = o->run_end = NULL;
}

/* A field as it was sent. Neighbours that need no change are copied together. */
static void put_field(struct out *o, const struct ht_http_field *f)
{
	if (f->verbatim) {
		if (f->name.p != o->run_end) {
			flush_run(o);
			o->run = f->name.p;
		}
		o->run_end = f->value.p + f->value.len + 2;
		return;
	}
	flush_run(o);
	put_str(o, f->id == HT_HTTP_COOKIE ? HT_STR("Cookie") : f->name);
	put_lit(o, ": ");
	put_str(o, f->value);
	put_lit(o, "\r\n");
}

/* ---- requests ---- */

/* What of the target belongs into its origin-form: empty or from '?' on where the path is "/". */
static struct ht_str origin_of(const struct ht_http_request *r)
{
	struct ht_str t = r->target;
	const char *p;

	if (!t.len || *t.p == '/' || *t.p == '*')
		return t;
	p = memchr(t.p, ':', t.len);
	p = p && t.p + t.len - p >= 3 ? p + 3 : t.p + t.len;
	while (p < t.p + t.len && *p != '/' && *p != '?')
		p++;
	return (struct ht_str){p, (size_t)(t.p + t.len - p)};
}

/* Origin-form, or "*" as sent or as "OPTIONS http://host" means it. */
static void put_target(struct out *o, const struct ht_http_request *r)
{
	struct ht_str t = origin_of(r);

	if (!t.len && ht_str_eq(r->method, HT_STR("OPTIONS")))
		put_lit(o, "*");
	else if (!t.len || *t.p == '?')
		put_lit(o, "/");
	put_str(o, t);
}

struct ht_str ht_http_path(const struct ht_http_request *r)
{
	struct ht_str t = origin_of(r);
	const char *query = t.len ? memchr(t.p, '?', t.len) : NULL;

	if (query)
		t.len = (size_t)(query - t.p);
	if (t.len)
		return t;
	return HT_STR(!query && ht_str_eq(r->method, HT_STR("OPTIONS")) ? "*" : "/");
}

static bool wants_body(struct ht_str method)
{
	return ht_str_eq(method, HT_STR("POST")) || ht_str_eq(method, HT_STR("PUT")) ||
	       ht_str_eq(method, HT_STR("PATCH"));
}

static void put_request_framing(struct out *o, const struct ht_http_request *r)
{
	if (r->body == HT_BODY_CHUNKED)
		put_lit(o, "Transfer-Encoding: chunked\r\n");
	else if (r->body == HT_BODY_LENGTH)
		put_length(o, r->length);
	else if (wants_body(r->method))
		put_length(o, 0);
	if (r->upgrade) {
		put_lit(o, "Connection: upgrade\r\nUpgrade: ");
		put_str(o, r->upgrade_to);
		put_lit(o, "\r\n");
	}
}

/* All fields of one kind as one list, open at its end. False if there are none. */
static bool put_list(struct out *o, const struct ht_http_request *r, uint8_t id, const char *name)
{
	bool any = false;

	for (size_t i = 0; i < r->nfields; i++) {
		if (r->fields[i].id != id || !r->fields[i].value.len)
			continue;
		if (any) {
			put_lit(o, ", ");
		} else {
			put_str(o, HT_STR(name));
			put_lit(o, ": ");
		}
		put_str(o, r->fields[i].value);
		any = true;
	}
	return any;
}

/* RFC 7239, section 4: the proxy as the one that we had it from. Only where there was one before. */
static void put_forwarded(struct out *o, const struct ht_http_request *r,
			  const struct ht_http_forward *f)
{
	bool v6 = memchr(f->proxy_ip.p, ':', f->proxy_ip.len);

	if (!put_list(o, r, HT_HTTP_FORWARDED, "Forwarded"))
		return;
	put_str(o, HT_STR(v6 ? ", for=\"[" : ", for="));
	put_clean(o, f->proxy_ip);
	put_str(o, HT_STR(v6 ? "]\"\r\n" : "\r\n"));
}

static void put_forward_for(struct out *o, const struct ht_http_request *r,
			    const struct ht_http_forward *f)
{
	if (!f->proxy_ip.len) {
		if (f->client_ip.len)
			put_clean_field(o, "X-Forwarded-For", f->client_ip);
		return;
	}
	if (put_list(o, r, HT_HTTP_X_FORWARDED_FOR, "X-Forwarded-For")) {
		put_lit(o, ", ");
		put_clean(o, f->proxy_ip);
		put_lit(o, "\r\n");
	} else {
		put_clean_field(o, "X-Forwarded-For", f->client_ip);
	}
	put_forwarded(o, r, f);
}

static void put_forward(struct out *o, const struct ht_http_request *r,
			const struct ht_http_forward *f)
{
	struct ht_str host = f->host.len ? f->host : r->authority;

	put_forward_for(o, r, f);
	if (f->proto)
		put_clean_field(o, "X-Forwarded-Proto", HT_STR(f->proto));
	if (host.len)
		put_clean_field(o, "X-Forwarded-Host", host);
	if (f->user.len)
		put_clean_field(o, "X-Forwarded-User", f->user);
	if (f->request_id.len)
		put_clean_field(o, "X-Request-ID", f->request_id);
	if (!f->client_cert)
		return;
	put_clean_field(o, "X-Client-Cert-Verified",
			HT_STR(f->client_cert_verified ? "SUCCESS" : "NONE"));
	if (f->client_cert_verified && f->client_cert_subject.len)
		put_clean_field(o, "X-Client-Cert-Subject", f->client_cert_subject);
}

int ht_http_write_request(const struct ht_http_request *r, const struct ht_http_forward *f,
			  char *out, size_t cap)
{
	struct out o = out_make(out, cap);

	put_str(&o, r->method);
	put_lit(&o, " ");
	put_target(&o, r);
	put_lit(&o, " HTTP/1.1\r\nHost: ");
	put_str(&o, r->authority);
	put_lit(&o, "\r\n");
	put_request_framing(&o, r);
	for (size_t i = 0; i < r->nfields; i++) {
		const struct ht_http_field *field = &r->fields[i];

		if (field->drop || (field->id == HT_HTTP_EXPECT && f->expect_answered))
			continue;
		put_field(&o, field);
	}
	flush_run(&o);
	put_forward(&o, r, f);
	put_lit(&o, "\r\n");
	return o.full ? -431 : (int)(o.p - o.start);
}

/* ---- Cache-Control ---- */

/* Directives of all Cache-Control fields together, as far as they matter. */
struct cache_control {
	bool no_store, private, no_cache; /* without a list of fields */
	bool malformed;
};

struct directive {
	struct ht_str text, name, arg; /* arg without its quotes; p is NULL if there is none */
};

/* False at the end, or (*malformed) where a quote is not closed. */
static bool next_directive(struct ht_str *list, struct directive *ret, bool *malformed)
{
	const char *p = list->p, *end = p + list->len, *start, *eq = NULL;
	bool quoted = false;

	while (p < end && (*p == ',' || *p == ' ' || *p == '\t'))
		p++;
	for (start = p; p < end && (quoted || *p != ','); p++) {
		if (quoted && *p == '\\' && p + 1 < end)
			p++;
		else if (*p == '"')
			quoted = !quoted;
		else if (*p == '=' && !eq)
			eq = p;
	}
	*list = (struct ht_str){p, (size_t)(end - p)};
	*malformed |= quoted;
	while (p > start && (p[-1] == ' ' || p[-1] == '\t'))
		p--;
	if (p == start || quoted)
		return false;
	ret->text = (struct ht_str){start, (size_t)(p - start)};
	ret->name = (struct ht_str){start, (size_t)((eq ? eq : p) - start)};
	ret->arg = (struct ht_str){NULL, 0};
	if (eq) {
		eq++;
		if (p - eq >= 2 && *eq == '"' && p[-1] == '"') {
			eq++;
			p--;
		}
		ret->arg = (struct ht_str){eq, (size_t)(p - eq)};
	}
	return true;
}

static void read_cache_control(struct ht_str list, struct cache_control *cc)
{
	struct directive d;

	while (next_directive(&list, &d, &cc->malformed)) {
		if (ht_http_name_eq(d.name, "no-store"))
			cc->no_store = true;
		else if (ht_http_name_eq(d.text, "private"))
			cc->private = true;
		else if (ht_http_name_eq(d.text, "no-cache"))
			cc->no_cache = true;
	}
}

/* A no-cache with a list of fields, to which Set-Cookie is added. */
static void put_no_cache(struct out *o, const struct directive *d)
{
	struct ht_str list = d->arg, e;

	if (memchr(list.p, '"', list.len) || memchr(list.p, '\\', list.len)) {
		put_lit(o, "no-cache"); /* stricter than what we can't read */
		return;
	}
	while (ht_http_list_next(&list, &e))
		if (ht_http_name_eq(e, "Set-Cookie")) {
			put_str(o, d->text);
			return;
		}
	put_lit(o, "no-cache=\"");
	put_str(o, d->arg);
	if (d->arg.len)
		put_lit(o, ", ");
	put_lit(o, "Set-Cookie\"");
}

static void put_separator(struct out *o, bool *first)
{
	if (!*first)
		put_lit(o, ", ");
	*first = false;
}

/* Keeps the directives of one field that go with `private`. */
static void put_directives(struct out *o, struct ht_str list, struct cache_control *cc, bool *first)
{
	struct directive d;

	while (next_directive(&list, &d, &cc->malformed)) {
		bool qualified = d.arg.p;

		if (ht_http_name_eq(d.name, "public") || ht_http_name_eq(d.name, "s-maxage") ||
		    (qualified && ht_http_name_eq(d.name, "private")))
			continue;
		put_separator(o, first);
		if (qualified && ht_http_name_eq(d.name, "no-cache")) {
			put_no_cache(o, &d);
			cc->no_cache = true;
		} else {
			put_str(o, d.text);
		}
	}
}

static bool is_dropped(const struct ht_http_response *r, const struct ht_http_reply *reply,
		       size_t i, size_t *next_drop)
{
	while (*next_drop < reply->ndrops && reply->drops[*next_drop] < i)
		++*next_drop;
	return r->fields[i].drop || (*next_drop < reply->ndrops && reply->drops[*next_drop] == i);
}

/*
 * The one Cache-Control of a response that is for one client only. no-cache="Set-Cookie" is for
 * caches that store it none the less.
 */
static void put_private(struct out *o, const struct ht_http_response *r,
			const struct ht_http_reply *reply)
{
	struct cache_control cc = {0};
	bool first = true;
	size_t drop = 0;

	for (size_t i = 0; i < r->nfields; i++)
		if (r->fields[i].id == HT_HTTP_CACHE_CONTROL && !is_dropped(r, reply, i, &drop))
			read_cache_control(r->fields[i].value, &cc);
	flush_run(o);
	if (cc.malformed) {
		put_lit(o, "Cache-Control: no-store\r\n");
		return;
	}
	put_lit(o, "Cache-Control: ");
	drop = 0;
	for (size_t i = 0; i < r->nfields; i++)
		if (r->fields[i].id == HT_HTTP_CACHE_CONTROL && !is_dropped(r, reply, i, &drop))
			put_directives(o, r->fields[i].value, &cc, &first);
	if (!cc.no_store && !cc.private) {
		put_separator(o, &first);
		put_lit(o, "private");
	}
	if (!cc.no_store && !cc.no_cache) {
		put_separator(o, &first);
		put_lit(o, "no-cache=\"Set-Cookie\"");
	}
	put_lit(o, "\r\n");
}

/* ---- responses ---- */

static bool put_extra(struct out *o, struct ht_str line)
{
	const char *end = line.p + line.len;

	if (ht_http_find_value_end(line.p, end) < end)
		return false;
	flush_run(o);
	put_str(o, line);
	put_lit(o, "\r\n");
	return true;
}

/* Fields that would let a shared cache keep what Cache-Control: private forbids. */
static bool is_cache_field(uint8_t id)
{
	return id == HT_HTTP_CACHE_CONTROL || id == HT_HTTP_CDN_CACHE_CONTROL ||
	       id == HT_HTTP_SURROGATE_CONTROL;
}

static bool put_response_fields(struct out *o, const struct ht_http_response *r,
				const struct ht_http_reply *reply)
{
	bool private_done = !reply->make_private;
	size_t drop = 0, x = 0;

	for (size_t i = 0; i < r->nfields; i++) {
		const struct ht_http_field *f = &r->fields[i];

		if (!is_dropped(r, reply, i, &drop)) {
			if (!reply->make_private || !is_cache_field(f->id)) {
				put_field(o, f);
			} else if (!private_done && f->id == HT_HTTP_CACHE_CONTROL) {
				put_private(o, r, reply);
				private_done = true;
			}
		}
		for (; x < reply->nextras && reply->extras[x].after <= i; x++)
			if (!put_extra(o, reply->extras[x].line))
				return false;
	}
	for (; x < reply->nextras; x++)
		if (!put_extra(o, reply->extras[x].line))
			return false;
	flush_run(o);
	if (!private_done)
		put_private(o, r, reply);
	return true;
}

static void put_upgrade(struct out *o, const struct ht_http_response *r)
{
	put_lit(o, "Connection: upgrade\r\n");
	for (size_t i = 0; i < r->nfields; i++) {
		if (r->fields[i].id != HT_HTTP_UPGRADE)
			continue;
		put_lit(o, "Upgrade: ");
		put_str(o, r->fields[i].value);
		put_lit(o, "\r\n");
		return;
	}
}

static void put_response_framing(struct out *o, const struct ht_http_response *r,
				 const struct ht_http_reply *reply)
{
	if (reply->body == HT_BODY_CHUNKED)
		put_lit(o, "Transfer-Encoding: chunked\r\n");
	else if (reply->body == HT_BODY_LENGTH || (reply->body == HT_BODY_NONE && r->has_length))
		put_length(o, r->length);
	if (reply->upgrade)
		put_upgrade(o, r);
	else if (!reply->keep_alive)
		put_lit(o, "Connection: close\r\n");
	else if (!reply->client_minor)
		put_lit(o, "Connection: keep-alive\r\n");
}

int ht_http_write_response(const struct ht_http_response *r, const struct ht_http_reply *reply,
			   char *out, size_t cap)
{
	struct out o = out_make(out, cap);

	put_lit(&o, "HTTP/1.1 ");
	put_number(&o, (uint64_t)r->status);
	put_lit(&o, " ");
	put_str(&o, r->reason);
	put_lit(&o, "\r\n");
	if (!put_response_fields(&o, r, reply))
		return -502;
	put_response_framing(&o, r, reply);
	put_lit(&o, "\r\n");
	return o.full ? -502 : (int)(o.p - o.start);
}

/* ---- our own answers ---- */

static const struct {
	int status;
	const char *text;
} reasons[] = {
	{100, "Continue"},
	{101, "Switching Protocols"},
	{103, "Early Hints"},
	{200, "OK"},
	{204, "No Content"},
	{206, "Partial Content"},
	{301, "Moved Permanently"},
	{302, "Found"},
	{303, "See Other"},
	{304, "Not Modified"},
	{307, "Temporary Redirect"},
	{308, "Permanent Redirect"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{408, "Request Timeout"},
	{411, "Length Required"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{417, "Expectation Failed"},
	{421, "Misdirected Request"},
	{426, "Upgrade Required"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
};

const char *ht_http_reason(int status)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Unknown";
}

#define ERROR_TEXT_MAX 200

int ht_http_write_error(int status, const char *text, bool keep_alive, bool head_request, char *out,
			size_t cap)
{
	struct out o = out_make(out, cap);
	struct ht_str body = HT_STR(text ? text : ht_http_reason(status));

	body.len = HT_MIN(body.len, (size_t)ERROR_TEXT_MAX);
	put_lit(&o, "HTTP/1.1 ");
	put_number(&o, (uint64_t)status);
	put_lit(&o, " ");
	put_str(&o, HT_STR(ht_http_reason(status)));
	put_lit(&o, "\r\nContent-Type: text/plain\r\n");
	put_length(&o, body.len + 1);
	if (status == 405)
		put_lit(&o, "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
	if (!keep_alive)
		put_lit(&o, "Connection: close\r\n");
	put_lit(&o, "\r\n");
	if (!head_request) {
		put_clean(&o, body);
		put_lit(&o, "\n");
	}
	return o.full ? -ENOSPC : (int)(o.p - o.start);
}

/* What a Location may be made of, though RFC 3986 allows more in a host. */
static bool is_plain_host(struct ht_str host)
{
	bool brackets = host.len && host.p[0] == '[';

	for (size_t i = 0; i < host.len; i++) {
		char c = host.p[i];

		if (!((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
		      c == '-' || c == '.' || c == '_' ||
		      (brackets && (c == ':' || c == '[' || c == ']'))))
			return false;
	}
	return host.len;
}

int ht_http_write_redirect(const struct ht_http_request *r, bool keep_alive, char *out, size_t cap)
{
	struct out o = out_make(out, cap);
	struct ht_str path = ht_http_path(r);

	if (!is_plain_host(r->host))
		return -EINVAL;
	put_lit(&o, "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://");
	put_str(&o, r->host);
	if (ht_str_eq(path, HT_STR("*")))
		put_lit(&o, "/");
	else
		put_target(&o, r);
	put_lit(&o, "\r\n");
	put_length(&o, 0);
	if (!keep_alive)
		put_lit(&o, "Connection: close\r\n");
	put_lit(&o, "\r\n");
	return o.full ? -ENOSPC : (int)(o.p - o.start);
}
