/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What request and response heads are made of: bytes, names, field lines, lists. One pass over
 * the bytes, sixteen at a time; nothing is copied, allocated, unquoted or decoded. Says what
 * stands in a head and refuses what no head may contain; what a head means is http.c's.
 */
#include <endian.h>
#include <strings.h>

#include "http_lines.h"

/* ---- bytes ---- */

#define TOKEN HT_HTTP_TOKEN
#define ODD (HT_HTTP_TOKEN | HT_HTTP_ODD)
#define HOSTCH HT_HTTP_HOSTCH

const uint8_t ht_http_class[256] = {
	['a' ... 'z'] = TOKEN | HOSTCH,
	['A' ... 'Z'] = TOKEN | HOSTCH,
	['0' ... '9'] = TOKEN | HOSTCH,
	['-'] = TOKEN | HOSTCH,
	['_'] = ODD | HOSTCH,
	['.'] = ODD | HOSTCH,
	['~'] = ODD | HOSTCH,
	['!'] = ODD | HOSTCH,
	['$'] = ODD | HOSTCH,
	['&'] = ODD | HOSTCH,
	['\''] = ODD | HOSTCH,
	['*'] = ODD | HOSTCH,
	['+'] = ODD | HOSTCH,
	['#'] = ODD,
	['%'] = ODD,
	['^'] = ODD,
	['`'] = ODD,
	['|'] = ODD,
	['('] = HOSTCH,
	[')'] = HOSTCH,
	[';'] = HOSTCH,
	['='] = HOSTCH,
};

/* Sixteen bytes, by the compiler's own vectors: SSE2, NEON or what else there is. */
typedef uint8_t bytes16 __attribute__((vector_size(16)));

static inline bytes16 load16(const char *p)
{
	bytes16 x;

	memcpy(&x, p, sizeof(x));
	return x;
}

/* Where the first byte is that is marked (not 0), or 16. */
static inline size_t first_mark(bytes16 marks)
{
	uint64_t half[2];

	memcpy(half, &marks, sizeof(half));
	if (half[0])
		return (size_t)__builtin_ctzll(le64toh(half[0])) / 8;
	return half[1] ? 8 + (size_t)__builtin_ctzll(le64toh(half[1])) / 8 : 16;
}

/* Not letters, digits or '-'. */
static inline bytes16 mark_not_plain(bytes16 x)
{
	bytes16 letter = (bytes16)((x | 0x20) - 'a' < 26), digit = (bytes16)(x - '0' < 10);

	return ~(letter | digit | (bytes16)(x == '-'));
}

static inline bytes16 mark_control(bytes16 x)
{
	return (bytes16)((x < 0x20) | (x == 0x7f));
}

static inline bytes16 mark_not_target(bytes16 x)
{
	return (bytes16)((x < 0x21) | (x > 0x7e) | (x == '#'));
}

static inline bool is_plain(char c)
{
	return (ht_http_class[(uint8_t)c] & ODD) == TOKEN;
}

/* The first byte that is no letter, digit or '-': mostly the end of a name. */
static inline const char *find_plain_end(const char *p, const char *end)
{
	for (; end - p >= 16; p += 16) {
		size_t n = first_mark(mark_not_plain(load16(p)));

		if (n < 16)
			return p + n;
	}
	while (p < end && is_plain(*p))
		p++;
	return p;
}

static inline const char *find_control(const char *p, const char *end)
{
	for (; end - p >= 16; p += 16) {
		size_t n = first_mark(mark_control(load16(p)));

		if (n < 16)
			return p + n;
	}
	while (p < end && !ht_http_is_control(*p))
		p++;
	return p;
}

const char *ht_http_find_control(const char *p, const char *end)
{
	return find_control(p, end);
}

static inline const char *find_value_end(const char *p, const char *end)
{
	while ((p = find_control(p, end)) < end && *p == '\t')
		p++;
	return p;
}

const char *ht_http_find_value_end(const char *p, const char *end)
{
	return find_value_end(p, end);
}

const char *ht_http_find_target_end(const char *p, const char *end)
{
	for (; end - p >= 16; p += 16) {
		size_t n = first_mark(mark_not_target(load16(p)));

		if (n < 16)
			return p + n;
	}
	while (p < end && (uint8_t)*p > 0x20 && (uint8_t)*p < 0x7f && *p != '#')
		p++;
	return p;
}

/* ---- names ---- */

enum name_flag {
	DROP_REQUEST = 1, /* hop-by-hop, or ours to write */
	DROP_RESPONSE = 2,
	KEEP = 4, /* Connection must not talk us out of forwarding it */
};
#define DROP_BOTH (DROP_REQUEST | DROP_RESPONSE)

static const struct {
	const char *text; /* lower case */
	unsigned flags;
} names[HT_HTTP_ID_MAX] = {
	[HT_HTTP_OTHER] = {"", 0},
	[HT_HTTP_AUTHORIZATION] = {"authorization", KEEP},
	[HT_HTTP_CACHE_CONTROL] = {"cache-control", KEEP},
	[HT_HTTP_CDN_CACHE_CONTROL] = {"cdn-cache-control", KEEP},
	[HT_HTTP_CONNECTION] = {"connection", DROP_BOTH},
	[HT_HTTP_CONTENT_LENGTH] = {"content-length", DROP_BOTH},
	[HT_HTTP_CONTENT_TYPE] = {"content-type", KEEP},
	[HT_HTTP_COOKIE] = {"cookie", KEEP},
	[HT_HTTP_EXPECT] = {"expect", KEEP},
	[HT_HTTP_FORWARDED] = {"forwarded", DROP_REQUEST},
	[HT_HTTP_HOST] = {"host", DROP_REQUEST},
	[HT_HTTP_HTTP2_SETTINGS] = {"http2-settings", DROP_REQUEST},
	[HT_HTTP_KEEP_ALIVE] = {"keep-alive", DROP_BOTH},
	[HT_HTTP_PROXY_CONNECTION] = {"proxy-connection", DROP_BOTH},
	[HT_HTTP_SET_COOKIE] = {"set-cookie", KEEP},
	[HT_HTTP_SURROGATE_CONTROL] = {"surrogate-control", KEEP},
	[HT_HTTP_TE] = {"te", DROP_REQUEST},
	[HT_HTTP_TRAILER] = {"trailer", DROP_BOTH},
	[HT_HTTP_TRANSFER_ENCODING] = {"transfer-encoding", DROP_BOTH},
	[HT_HTTP_UPGRADE] = {"upgrade", DROP_BOTH},
	[HT_HTTP_WWW_AUTHENTICATE] = {"www-authenticate", KEEP},
	[HT_HTTP_X_CLIENT_CERT_SUBJECT] = {"x-client-cert-subject", DROP_REQUEST},
	[HT_HTTP_X_CLIENT_CERT_VERIFIED] = {"x-client-cert-verified", DROP_REQUEST},
	[HT_HTTP_X_FORWARDED_FOR] = {"x-forwarded-for", DROP_REQUEST},
	[HT_HTTP_X_FORWARDED_HOST] = {"x-forwarded-host", DROP_REQUEST},
	[HT_HTTP_X_FORWARDED_PROTO] = {"x-forwarded-proto", DROP_REQUEST},
	[HT_HTTP_X_FORWARDED_USER] = {"x-forwarded-user", DROP_REQUEST},
	[HT_HTTP_X_REQUEST_ID] = {"x-request-id", DROP_REQUEST},
};

/* Lower case, and '-' for whatever a CGI-like backend may fold into the same variable name. */
static inline char fold(char c)
{
	if (ht_http_class[(uint8_t)c] & HT_HTTP_ODD)
		return '-';
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

#define NAME_LEN_MAX 22
#define AT(len, first) [len][(first) - 'a']

/* Length and first letter leave one candidate, but for X-Forwarded-Host and -User. */
static const uint8_t candidates[NAME_LEN_MAX + 1][26] = {
	AT(2, 't') = HT_HTTP_TE,
	AT(4, 'h') = HT_HTTP_HOST,
	AT(6, 'c') = HT_HTTP_COOKIE,
	AT(6, 'e') = HT_HTTP_EXPECT,
	AT(7, 't') = HT_HTTP_TRAILER,
	AT(7, 'u') = HT_HTTP_UPGRADE,
	AT(9, 'f') = HT_HTTP_FORWARDED,
	AT(10, 'c') = HT_HTTP_CONNECTION,
	AT(10, 'k') = HT_HTTP_KEEP_ALIVE,
	AT(10, 's') = HT_HTTP_SET_COOKIE,
	AT(12, 'c') = HT_HTTP_CONTENT_TYPE,
	AT(12, 'x') = HT_HTTP_X_REQUEST_ID,
	AT(13, 'a') = HT_HTTP_AUTHORIZATION,
	AT(13, 'c') = HT_HTTP_CACHE_CONTROL,
	AT(14, 'c') = HT_HTTP_CONTENT_LENGTH,
	AT(14, 'h') = HT_HTTP_HTTP2_SETTINGS,
	AT(15, 'x') = HT_HTTP_X_FORWARDED_FOR,
	AT(16, 'p') = HT_HTTP_PROXY_CONNECTION,
	AT(16, 'w') = HT_HTTP_WWW_AUTHENTICATE,
	AT(16, 'x') = HT_HTTP_X_FORWARDED_HOST,
	AT(17, 'c') = HT_HTTP_CDN_CACHE_CONTROL,
	AT(17, 's') = HT_HTTP_SURROGATE_CONTROL,
	AT(17, 't') = HT_HTTP_TRANSFER_ENCODING,
	AT(17, 'x') = HT_HTTP_X_FORWARDED_PROTO,
	AT(21, 'x') = HT_HTTP_X_CLIENT_CERT_SUBJECT,
	AT(22, 'x') = HT_HTTP_X_CLIENT_CERT_VERIFIED,
};

static enum ht_http_id candidate(const char *p, size_t len)
{
	unsigned first = (unsigned)(*p | 0x20) - 'a';

	if (len > NAME_LEN_MAX || first >= 26)
		return HT_HTTP_OTHER;
	if (candidates[len][first] == HT_HTTP_X_FORWARDED_HOST && (p[15] | 0x20) == 'r')
		return HT_HTTP_X_FORWARDED_USER;
	return candidates[len][first];
}

static bool folds_to(const char *p, size_t len, const char *text)
{
	size_t i = 0;

	while (i < len && fold(p[i]) == text[i])
		i++;
	return i == len;
}

/* The known name that this one is, or would be once folded. Only an odd one need be. */
static enum ht_http_id name_id(const char *p, size_t len, bool odd)
{
	enum ht_http_id id = candidate(p, len);

	if (id && (odd ? folds_to(p, len, names[id].text) : !strncasecmp(p, names[id].text, len)))
		return id;
	return HT_HTTP_OTHER;
}

/* "Proxy-Anything" is for a proxy, and "Proxy" is the environment variable HTTP_PROXY. */
static bool is_for_proxies(const char *p, size_t len)
{
	return (*p | 0x20) == 'p' && len >= 5 && folds_to(p, 5, "proxy") &&
	       (len == 5 || fold(p[5]) == '-');
}

static void classify(struct ht_http_field *f, bool odd, bool request)
{
	f->id = name_id(f->name.p, f->name.len, odd);
	f->drop = names[f->id].flags & (request ? DROP_REQUEST : DROP_RESPONSE);
	if (odd && f->id) {
		f->id = HT_HTTP_OTHER;
		f->drop = request; /* a twin */
	} else if (request && is_for_proxies(f->name.p, f->name.len)) {
		f->drop = true;
	}
	if (f->id == HT_HTTP_COOKIE && memcmp(f->name.p, "Cookie", 6))
		f->verbatim = false; /* the writer spells it */
}

bool ht_http_name_eq(struct ht_str a, const char *b)
{
	return a.len == strlen(b) && !strncasecmp(a.p, b, a.len);
}

bool ht_http_name_folds_to(struct ht_str a, const char *lower)
{
	return a.len == strlen(lower) && folds_to(a.p, a.len, lower);
}

bool ht_http_list_next(struct ht_str *list, struct ht_str *ret)
{
	while (list->len) {
		const char *comma = memchr(list->p, ',', list->len);
		struct ht_str e = {list->p, comma ? (size_t)(comma - list->p) : list->len};
		size_t used = e.len + !!comma;

		list->p += used;
		list->len -= used;
		for (; e.len && ht_http_is_blank(*e.p); e.len--)
			e.p++;
		while (e.len && ht_http_is_blank(e.p[e.len - 1]))
			e.len--;
		if (e.len) {
			*ret = e;
			return true;
		}
	}
	return false;
}

bool ht_http_is_token(struct ht_str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!ht_http_is_tchar(s.p[i]))
			return false;
	return s.len;
}

/* ---- lines ---- */

int ht_http_refuse(struct ht_http_cursor *c, int status, const char *why)
{
	c->why = why;
	return -status;
}

static int judge_line_end(struct ht_http_cursor *c)
{
	if (c->p == c->end)
		return 0;
	if (*c->p != '\r')
		return ht_http_refuse(c, 400,
				      *c->p == '\n'		  ? "bare LF"
				      : ht_http_is_control(*c->p) ? "control character"
								  : "bytes before CRLF");
	return c->end - c->p < 2 ? 0 : ht_http_refuse(c, 400, "bare CR");
}

static inline int take_crlf(struct ht_http_cursor *c)
{
	if (c->end - c->p < 2 || c->p[0] != '\r' || c->p[1] != '\n')
		return judge_line_end(c);
	c->p += 2;
	return 1;
}

int ht_http_take_crlf(struct ht_http_cursor *c)
{
	return take_crlf(c);
}

int ht_http_take_version(struct ht_http_cursor *c, int *ret)
{
	static const char shape[] = "HTTP/0.0", usual[] = "HTTP/1.1";

	if (c->end - c->p >= 8 && !memcmp(c->p, usual, 8)) {
		c->p += 8;
		*ret = 11;
		return 1;
	}
	for (size_t i = 0; i < sizeof(shape) - 1; i++) {
		if (c->p + i == c->end)
			return 0;
		if (shape[i] == '0' ? c->p[i] < '0' || c->p[i] > '9' : c->p[i] != shape[i])
			return ht_http_refuse(c, 400, "bad version");
	}
	*ret = (c->p[5] - '0') * 10 + (c->p[7] - '0');
	c->p += sizeof(shape) - 1;
	return 1;
}

static int take_field(struct ht_http_cursor *c, bool request, struct ht_http_field *f)
{
	const char *name = c->p, *p = find_plain_end(name, c->end), *value, *value_end;
	uint8_t seen = 0;
	int r;

	for (; p < c->end && ht_http_is_tchar(*p); p++)
		seen |= ht_http_class[(uint8_t)*p];
	if (p == c->end)
		return 0;
	if (*p != ':' || p == name) {
		if (ht_http_is_blank(*p))
			return ht_http_refuse(c, 400,
					      p == name ? "obs-fold" : "blank before colon");
		return ht_http_refuse(c, 400, "bad field name");
	}
	f->name = (struct ht_str){name, (size_t)(p - name)};
	value = p + 1;
	c->p = value_end = find_value_end(value, c->end);
	r = take_crlf(c);
	if (r <= 0)
		return r;
	while (ht_http_is_blank(*value)) /* there is a CR behind them */
		value++;
	while (value_end > value && ht_http_is_blank(value_end[-1]))
		value_end--;
	f->value = (struct ht_str){value, (size_t)(value_end - value)};
	f->verbatim = value == p + 2 && p[1] == ' ' && value_end + 2 == c->p;
	classify(f, seen & HT_HTTP_ODD, request);
	return 1;
}

int ht_http_take_fields(struct ht_http_cursor *c, bool request, struct ht_http_field *fields,
			size_t *ret)
{
	size_t n = 0;

	for (;;) {
		int r;

		if (c->p == c->end)
			return 0;
		if (*c->p == '\r') {
			r = ht_http_take_crlf(c);
			if (r > 0)
				*ret = n;
			return r;
		}
		if (n == HT_HTTP_FIELDS_MAX)
			return ht_http_refuse(c, 431, "too many fields");
		r = take_field(c, request, &fields[n]);
		if (r <= 0)
			return r;
		n++;
	}
}

bool ht_http_is_worth_parsing(const char *buf, size_t from, size_t len)
{
	if (!from || from > len || (from ^ len) > from)
		return true;
	for (const char *p = buf + from; (p = memchr(p, '\n', (size_t)(buf + len - p))); p++) {
		if (p == buf || p[-1] != '\r')
			return true;
		if (p - buf >= 2 && p[-2] == '\n')
			return true;
	}
	return false;
}

/* ---- what the fields of either head say ---- */

void ht_http_read_connection(struct ht_str list, struct ht_http_connection_options *o)
{
	struct ht_str e;

	while (ht_http_list_next(&list, &e)) {
		if (!ht_http_is_token(e))
			o->malformed = true;
		else if (ht_http_name_eq(e, "close"))
			o->close = true;
		else if (ht_http_name_eq(e, "keep-alive"))
			o->keep_alive = true;
		else if (ht_http_name_eq(e, "upgrade"))
			o->upgrade = true;
		else
			o->others++;
	}
}

/*
 * Drops what Connection names, but no field that somebody behind us relies on: "Connection:
 * Cookie" must not log a user out, nor "Connection: Authorization" make him somebody else.
 */
static void drop_one_list(struct ht_str list, struct ht_http_field *fields, size_t n)
{
	struct ht_str e;

	while (ht_http_list_next(&list, &e))
		for (size_t i = 0; i < n; i++)
			if (fields[i].name.len == e.len && !(names[fields[i].id].flags & KEEP) &&
			    !strncasecmp(fields[i].name.p, e.p, e.len))
				fields[i].drop = true;
}

void ht_http_drop_named(struct ht_http_field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fields[i].id == HT_HTTP_CONNECTION)
			drop_one_list(fields[i].value, fields, n);
}

bool ht_http_parse_length(struct ht_str v, uint64_t *ret)
{
	uint64_t n = 0;

	if (!v.len || v.len > 19)
		return false;
	for (size_t i = 0; i < v.len; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(v.p[i] - '0');
	}
	if (n > INT64_MAX)
		return false;
	*ret = n;
	return true;
}

bool ht_http_is_ntlm(struct ht_str v)
{
	size_t len = 0;

	while (len < v.len && !ht_http_is_blank(v.p[len]))
		len++;
	v.len = len;
	return ht_http_name_eq(v, "NTLM") || ht_http_name_eq(v, "Negotiate");
}
