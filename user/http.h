/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 framing by RFC 9112: request and response heads, body lengths, the chunked coding,
 * and the rewriting of both heads. Pure: bytes in, bytes out; no sockets, no clock, no logging,
 * no allocation. It frames; it does not judge cookies (policy.c, and the kernel, do).
 */
#ifndef HT_HTTP_H
#define HT_HTTP_H

#include "util.h"

#define HT_HTTP_FIELDS_MAX 128 /* fields of a head; more is 431 (requests) or 502 (responses) */

enum ht_http_body { HT_BODY_NONE, HT_BODY_LENGTH, HT_BODY_CHUNKED, HT_BODY_UNTIL_CLOSE };

/* Fields that we know by name, in any case. */
enum ht_http_id {
	HT_HTTP_OTHER = 0,
	HT_HTTP_AUTHORIZATION,
	HT_HTTP_CACHE_CONTROL,
	HT_HTTP_CDN_CACHE_CONTROL,
	HT_HTTP_CONNECTION,
	HT_HTTP_CONTENT_LENGTH,
	HT_HTTP_CONTENT_TYPE,
	HT_HTTP_COOKIE,
	HT_HTTP_EXPECT,
	HT_HTTP_FORWARDED,
	HT_HTTP_HOST,
	HT_HTTP_HTTP2_SETTINGS,
	HT_HTTP_KEEP_ALIVE,
	HT_HTTP_PROXY_CONNECTION,
	HT_HTTP_SET_COOKIE,
	HT_HTTP_SURROGATE_CONTROL,
	HT_HTTP_TE,
	HT_HTTP_TRAILER,
	HT_HTTP_TRANSFER_ENCODING,
	HT_HTTP_UPGRADE,
	HT_HTTP_WWW_AUTHENTICATE,
	HT_HTTP_X_CLIENT_CERT_SUBJECT,
	HT_HTTP_X_CLIENT_CERT_VERIFIED,
	HT_HTTP_X_FORWARDED_FOR,
	HT_HTTP_X_FORWARDED_HOST,
	HT_HTTP_X_FORWARDED_PROTO,
	HT_HTTP_X_FORWARDED_USER,
	HT_HTTP_X_REQUEST_ID,
	HT_HTTP_ID_MAX,
};

struct ht_http_field {
	struct ht_str name, value; /* value without surrounding blanks; both point into the head */
	uint8_t id;		   /* enum ht_http_id */
	bool drop;     /* not forwarded: hop-by-hop, rewritten by us, or a twin of such a field */
	bool verbatim; /* stands in the head as "name: value" CRLF; clear it to change either */
};

struct ht_http_request {
	struct ht_str method, target;
	/*
	 * From Host or the absolute-form target, without port, IPv6 in its brackets; empty for 1.0
	 * without Host. `authority` is the same with its port, as it is to be forwarded.
	 */
	struct ht_str host, authority;
	struct ht_str upgrade_to; /* the one protocol that is asked for, if `upgrade` */
	int minor;		  /* HTTP/1.minor: 0 or 1 */
	enum ht_http_body body;
	uint64_t length;      /* of HT_BODY_LENGTH */
	bool keep_alive;      /* what the client wants, by version and Connection */
	bool expect_continue; /* HTTP/1.1 with a body to come; otherwise Expect is ignored */
	bool upgrade;	      /* 1.1 GET without body, Connection: upgrade, neither HTTP nor TLS */
	bool idempotent;      /* RFC 9110 9.2.2 */
	bool ntlm; /* Authorization: NTLM or Negotiate: the backend connection is not pooled */
	size_t head_len; /* bytes, the empty line included */
	size_t nfields;
	struct ht_http_field fields[HT_HTTP_FIELDS_MAX];
};

struct ht_http_response {
	int status, minor;
	struct ht_str reason;
	enum ht_http_body body; /* by the request's method as well: HEAD, 1xx, 204, 304 */
	uint64_t length;
	bool has_length; /* a Content-Length to forward, also where there is no body (HEAD) */
	bool keep_alive; /* the backend will take another request on this connection */
	bool ntlm;	 /* 401 with WWW-Authenticate: NTLM or Negotiate */
	size_t head_len;
	size_t nfields;
	struct ht_http_field fields[HT_HTTP_FIELDS_MAX];
};

/*
 * Frames one request head at the start of buf. Returns 1 and fills *ret when it is complete, 0
 * when more bytes are needed, or -STATUS (-400, -405 for CONNECT, -417 for an unknown Expect,
 * -431, -501 for a transfer coding other than chunked, -505): *ret_why then names the cause in
 * static text fit for a log and a metric. *ret is undefined unless 1. Everything that RFC 9112
 * calls malformed or ambiguous is -400: both Content-Length and Transfer-Encoding, repeated
 * lengths, obs-fold, bare CR, bare LF, NUL and other controls, blank before the colon, empty names,
 * no or two Hosts in 1.1, Transfer-Encoding in 1.0, bad targets. One empty line before the request
 * line is skipped. `from`, if not NULL, remembers how much was scanned in earlier calls for the
 * same head (start with 0; it is 0 again after any result but 0) so that a slow client costs
 * linear time. A head that is incomplete *and* malformed may then be refused some bytes later than
 * without it.
 */
int ht_http_parse_request(const char *buf, size_t len, size_t *from, struct ht_http_request *ret,
			  const char **ret_why);

/*
 * Frames a response head. Returns 1, 0 or -502. `head_request`: the request was HEAD.
 * A response with both Content-Length and Transfer-Encoding, differing lengths, a coding other
 * than chunked, obs-fold or controls is -502: it never reaches a client.
 */
int ht_http_parse_response(const char *buf, size_t len, size_t *from, bool head_request,
			   struct ht_http_response *ret, const char **ret_why);

/* What the daemon tells the backend about the client (interface.md, "Towards the backend"). */
struct ht_http_forward {
	struct ht_str client_ip; /* text */
	/*
	 * Not empty: the request came from a trusted proxy of this address. Its X-Forwarded-For and
	 * Forwarded stay, and the address is added to them.
	 */
	struct ht_str proxy_ip;
	struct ht_str host;	  /* for X-Forwarded-Host; empty = the request's own authority */
	struct ht_str user;	  /* for X-Forwarded-User, by a trusted proxy; empty = none */
	const char *proto;	  /* "http" or "https" */
	struct ht_str request_id; /* X-Request-ID */
	bool client_cert;	  /* the listener asks for client certificates */
	bool client_cert_verified;
	struct ht_str client_cert_subject;
	bool expect_answered; /* we sent 100 Continue ourselves: don't forward Expect */
};

/*
 * Writes the head that goes to the backend into out[cap]: METHOD SP target SP HTTP/1.1, Host,
 * the client's fields in their order less hop-by-hop ones (Connection and what it names,
 * Keep-Alive, Proxy-*, TE, Trailer, Transfer-Encoding, Upgrade) and less any that equals one of
 * ours once '_' is '-' and case is folded, then ours. Cookie fields pass byte for byte. An absolute
 * target becomes origin-form. Content-Length or "Transfer-Encoding: chunked" as `body` says;
 * "Connection: upgrade" and "Upgrade: X" only for an upgrade; no other Connection field.
 * Never "Upgrade: h2c", never a list. Every field is written as NAME ": " VALUE; a Cookie field's
 * name always as "Cookie". Fields with `drop` set are left out, so a caller may set it on more. An
 * empty authority (HTTP/1.0 without Host) makes an empty Host; the caller may fill it in before.
 * Returns the length or -431 if it does not fit.
 */
int ht_http_write_request(const struct ht_http_request *r, const struct ht_http_forward *f,
			  char *out, size_t cap);

/*
 * The path of the request as the backend will read it: of the target in origin-form, up to its
 * query. "*" of an OPTIONS, "/" where an absolute target has none.
 */
struct ht_str ht_http_path(const struct ht_http_request *r);

/* An extra response field, without CRLF: "Set-Cookie: sid_HMAC=...; Path=/". */
struct ht_http_extra {
	struct ht_str line;
	size_t after; /* written right after this field of the response (its index) */
};

/*
 * Writes the head that goes to the client: HTTP/1.1, status and reason, fields in order less
 * hop-by-hop ones, extras in their places, then framing as `body` says (HT_BODY_LENGTH with
 * r->length, HT_BODY_CHUNKED, or none) and "Connection: close" or, for 1.0 clients,
 * "Connection: keep-alive" where needed. With `upgrade` (a 101) Connection and Upgrade stay. With
 * `private`, a response that a shared cache could store gets Cache-Control: private,
 * no-cache="Set-Cookie" merged into what stands there. Returns the length or -502.
 */
struct ht_http_reply {
	enum ht_http_body body;
	int client_minor;
	bool keep_alive, upgrade, make_private;
	const struct ht_http_extra *extras; /* ordered by `after`; no controls in them, else -502 */
	size_t nextras;
	const uint16_t *drops; /* indices of fields to leave out, ascending */
	size_t ndrops;
};
int ht_http_write_response(const struct ht_http_response *r, const struct ht_http_reply *reply,
			   char *out, size_t cap);

/*
 * Writes a complete response of our own (4xx, 5xx): status line, Content-Length, Content-Type
 * text/plain, a one-line body (left out for HEAD), Connection: close unless keep_alive.
 * Returns the length; `cap` of 512 is always enough.
 */
int ht_http_write_error(int status, const char *text, bool keep_alive, bool head_request, char *out,
			size_t cap);

/*
 * Likewise, a 308 to the same target under https://HOST. -EINVAL unless the request's host is a
 * plain name or address: what else a Host may hold has no place in a Location. -ENOSPC.
 */
int ht_http_write_redirect(const struct ht_http_request *r, bool keep_alive, char *out, size_t cap);

const char *ht_http_reason(int status);

/* Decoder of the chunked coding; zero it before use. */
struct ht_http_chunked {
	uint64_t left; /* bytes of the current chunk not yet handed out */
	int state;
	uint32_t overhead; /* bytes of lines beyond what the data excuses: no endless extensions */
};

/*
 * Decodes from in[len]. *ret_used bytes were consumed; *ret_data (*ret_data_len bytes) is a run of
 * body bytes inside `in` (possibly empty). Returns 1 when the last chunk and its trailers have been
 * consumed (trailers are dropped, at most 8 KB of them), 0 for more, -400 when it is no chunked
 * coding (bare LF, blanks before CRLF, sizes over 2^63-1, controls in extensions, ...). Call
 * again with the rest until used == len.
 */
int ht_http_dechunk(struct ht_http_chunked *c, const char *in, size_t len, size_t *ret_used,
		    const char **ret_data, size_t *ret_data_len);

/*
 * What is left of the chunk that the decoder stands in, 0 between chunks; and that n bytes of it
 * were taken without the decoder seeing them.
 */
uint64_t ht_http_chunk_left(const struct ht_http_chunked *c);
void ht_http_chunk_took(struct ht_http_chunked *c, uint64_t n);

/*
 * The size line of a chunk of n bytes as the gate wants it: [CRLF] HEX CRLF, or with n = 0 the end:
 * [CRLF] "0" CRLF CRLF. The CRLF in front is left out of the `first` one. out[24]; returns the
 * length.
 */
int ht_http_chunk_line(uint64_t n, bool first, char *out);

/* Compares names or tokens, ASCII case folded. */
bool ht_http_name_eq(struct ht_str a, const char *b);

/* Likewise, `lower` in lower case, and '-' for whatever a CGI-like backend may fold into it. */
bool ht_http_name_folds_to(struct ht_str a, const char *lower);

/*
 * Takes the next element off a comma-separated list, blanks around it and empty ones skipped.
 * False at the end. Does not know quoted strings.
 */
bool ht_http_list_next(struct ht_str *list, struct ht_str *ret);

/* What a byte may be part of. */
#define HT_HTTP_TOKEN 1	 /* tchar of RFC 9110 */
#define HT_HTTP_ODD 2	 /* a tchar that CGI-like backends may take for '-' */
#define HT_HTTP_HOSTCH 4 /* reg-name of RFC 3986 less ',' and '%' */
extern const uint8_t ht_http_class[256];

#endif
