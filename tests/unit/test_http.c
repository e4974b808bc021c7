/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 framing: what is accepted, what is refused and with which status, what is forwarded.
 * Heads are parsed from buffers of exactly their size, so that the address sanitizer sees any
 * read beyond them.
 */
#include <criterion/criterion.h>

#include "http.h"

#define CRLF "\r\n"
#define GET "GET / HTTP/1.1" CRLF "Host: a" CRLF
#define END CRLF CRLF

static char *exact(const char *p, size_t len)
{
	char *copy = malloc(len ? len : 1);

	cr_assert(copy);
	memcpy(copy, p, len);
	return copy;
}

/* The parsed request points into *ret_buf, which is the caller's. */
static int parse(struct ht_str head, struct ht_http_request *r, char **ret_buf)
{
	const char *why = NULL;
	int n;

	*ret_buf = exact(head.p, head.len);
	n = ht_http_parse_request(*ret_buf, head.len, NULL, r, &why);
	cr_expect((n < 0) == !!why, "status %d, why %s", n, why ? why : "none");
	return n;
}

static int parse_text(const char *head, struct ht_http_request *r, char **ret_buf)
{
	return parse(HT_STR(head), r, ret_buf);
}

static int parse_reply(const char *head, bool head_request, struct ht_http_response *r,
		       char **ret_buf)
{
	const char *why = NULL;

	*ret_buf = exact(head, strlen(head));
	return ht_http_parse_response(*ret_buf, strlen(head), NULL, head_request, r, &why);
}

/* ---- requests that are refused ---- */

static const struct {
	const char *name, *head;
	int status;
} refused[] = {
	/* request line */
	{"garbage", "\x16\x03\x01\x02", 400},
	{"empty method", " / HTTP/1.1" CRLF, 400},
	{"method is no token", "G@T / HTTP/1.1" CRLF "Host: a" END, 400},
	{"two empty lines first", CRLF CRLF GET CRLF, 400},
	{"bare LF first", "\nGET / HTTP/1.1" CRLF "Host: a" END, 400},
	{"two spaces before target", "GET  / HTTP/1.1" CRLF "Host: a" END, 400},
	{"two spaces after target", "GET /  HTTP/1.1" CRLF "Host: a" END, 400},
	{"tab for space", "GET\t/ HTTP/1.1" CRLF "Host: a" END, 400},
	{"space in target", "GET /a b HTTP/1.1" CRLF "Host: a" END, 400},
	{"space at end of line", "GET / HTTP/1.1 " CRLF "Host: a" END, 400},
	{"HTTP/0.9", "GET /" END, 400},
	{"lower-case version", "GET / http/1.1" CRLF "Host: a" END, 400},
	{"version without dot", "GET / HTTP/11" CRLF "Host: a" END, 400},
	{"version with two digits", "GET / HTTP/1.10" CRLF "Host: a" END, 400},
	{"HTTP/1.2", "GET / HTTP/1.2" CRLF "Host: a" END, 505},
	{"HTTP/2.0", "GET / HTTP/2.0" CRLF "Host: a" END, 505},
	{"HTTP/0.9 by name", "GET / HTTP/0.9" CRLF "Host: a" END, 505},
	{"HTTP/2 preface", "PRI * HTTP/2.0" END "SM" END, 400},
	{"bare LF after request line", "GET / HTTP/1.1\nHost: a" END, 400},
	{"bare CR after request line", "GET / HTTP/1.1\rHost: a" END, 400},
	/* target */
	{"fragment", "GET /a#b HTTP/1.1" CRLF "Host: a" END, 400},
	{"8-bit target", "GET /\xc3\xa4 HTTP/1.1" CRLF "Host: a" END, 400},
	{"DEL in target", "GET /a\x7f HTTP/1.1" CRLF "Host: a" END, 400},
	{"control far into the target", "GET /aaaaaaaaaaaaaaaaaaa\x01z HTTP/1.1" END, 400},
	{"relative target", "GET a HTTP/1.1" CRLF "Host: a" END, 400},
	{"asterisk with GET", "GET * HTTP/1.1" CRLF "Host: a" END, 400},
	{"other scheme", "GET ftp://a/ HTTP/1.1" CRLF "Host: a" END, 400},
	{"absolute without authority", "GET http:///x HTTP/1.1" CRLF "Host: a" END, 400},
	{"absolute with userinfo", "GET http://u@a/ HTTP/1.1" CRLF "Host: a" END, 400},
	{"absolute with backslash", "GET http://a\\b/ HTTP/1.1" CRLF "Host: a" END, 400},
	{"absolute with empty port", "GET http://a:/x HTTP/1.1" CRLF "Host: a" END, 400},
	{"absolute without Host", "GET http://a/ HTTP/1.1" END, 400},
	{"CONNECT", "CONNECT a:443 HTTP/1.1" CRLF "Host: a:443" END, 405},
	{"authority-form", "GET a:443 HTTP/1.1" CRLF "Host: a" END, 400},
	/* Host */
	{"no Host", "GET / HTTP/1.1" END, 400},
	{"two Hosts", GET "Host: a" END, 400},
	{"two Hosts in 1.0", "GET / HTTP/1.0" CRLF "Host: a" CRLF "Host: b" END, 400},
	{"empty Host", "GET / HTTP/1.1" CRLF "Host:" END, 400},
	{"Host with userinfo", "GET / HTTP/1.1" CRLF "Host: u@a" END, 400},
	{"Host with comma", "GET / HTTP/1.1" CRLF "Host: a,b" END, 400},
	{"Host with blank", "GET / HTTP/1.1" CRLF "Host: a b" END, 400},
	{"Host with slash", "GET / HTTP/1.1" CRLF "Host: a/b" END, 400},
	{"Host with 8-bit byte", "GET / HTTP/1.1" CRLF "Host: \xe4" END, 400},
	{"Host with bad escape", "GET / HTTP/1.1" CRLF "Host: a%2" END, 400},
	{"Host with big port", "GET / HTTP/1.1" CRLF "Host: a:65536" END, 400},
	{"Host with long port", "GET / HTTP/1.1" CRLF "Host: a:000080" END, 400},
	{"Host with word for port", "GET / HTTP/1.1" CRLF "Host: a:http" END, 400},
	{"Host is only a port", "GET / HTTP/1.1" CRLF "Host: :80" END, 400},
	{"Host with open bracket", "GET / HTTP/1.1" CRLF "Host: [::1" END, 400},
	{"Host with bad IPv6", "GET / HTTP/1.1" CRLF "Host: [::g]" END, 400},
	{"Host with zone", "GET / HTTP/1.1" CRLF "Host: [fe80::1%25eth0]" END, 400},
	{"Host with empty brackets", "GET / HTTP/1.1" CRLF "Host: []" END, 400},
	{"Host with long brackets",
	 "GET / HTTP/1.1" CRLF "Host: [1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa]" END,
	 400},
	{"Host with bytes after bracket", "GET / HTTP/1.1" CRLF "Host: [::1]x" END, 400},
	/* field lines */
	{"empty name", GET ": x" END, 400},
	{"line without colon", GET "abc" END, 400},
	{"blank before colon", GET "A : x" END, 400},
	{"tab before colon", GET "A\t: x" END, 400},
	{"blank before first field", "GET / HTTP/1.1" CRLF " Host: a" END, 400},
	{"obs-fold", GET "A: x" CRLF " y" END, 400},
	{"obs-fold with tab", GET "A: x" CRLF "\ty" END, 400},
	{"bare LF in field", GET "A: x\nB: y" END, 400},
	{"bare LF at the end", GET "A: x" CRLF "\n", 400},
	{"bare CR in value", GET "A: x\ry" END, 400},
	{"bare CR at the end", GET "A: x" CRLF "\rx", 400},
	{"control in value", GET "A: x\x01y" END, 400},
	{"control after tab", GET "A: x\t\x0by" END, 400},
	{"control far into a value", GET "A: 0123456789\x1fyyyyyyyyyy" END, 400},
	{"DEL in value", GET "A: x\x7f" END, 400},
	{"name with blank", GET "A B: x" END, 400},
	{"name with 8-bit byte", GET "\xc3\xa4: x" END, 400},
	{"name with bracket", GET "A[]: x" END, 400},
	/* length and coding */
	{"length with sign", GET "Content-Length: +5" END, 400},
	{"negative length", GET "Content-Length: -1" END, 400},
	{"hex length", GET "Content-Length: 0x5" END, 400},
	{"empty length", GET "Content-Length: " END, 400},
	{"length with blank", GET "Content-Length: 5 5" END, 400},
	{"list of lengths", GET "Content-Length: 5, 5" END, 400},
	{"two equal lengths", GET "Content-Length: 5" CRLF "Content-Length: 5" END, 400},
	{"two lengths", GET "Content-Length: 5" CRLF "content-length: 6" END, 400},
	{"length of 2^63", GET "Content-Length: 9223372036854775808" END, 400},
	{"length of 20 digits", GET "Content-Length: 00000000000000000005" END, 400},
	{"length of 2^64+5", GET "Content-Length: 18446744073709551621" END, 400},
	{"length and coding", GET "Content-Length: 5" CRLF "Transfer-Encoding: chunked" END, 400},
	{"coding and length", GET "Transfer-Encoding: chunked" CRLF "Content-Length: 5" END, 400},
	{"bad coding and length", GET "Transfer-Encoding: x" CRLF "Content-Length: 5" END, 400},
	{"coding in 1.0", "POST / HTTP/1.0" CRLF "Transfer-Encoding: chunked" END, 400},
	{"two codings", GET "Transfer-Encoding: chunked" CRLF "Transfer-Encoding: chunked" END,
	 400},
	{"chunked twice in a list", GET "Transfer-Encoding: chunked, chunked" END, 400},
	{"chunked twice at the end", GET "Transfer-Encoding: gzip, chunked, chunked" END, 400},
	{"chunked is not last", GET "Transfer-Encoding: chunked, gzip" END, 400},
	{"list of one", GET "Transfer-Encoding: , chunked" END, 400},
	{"comma after", GET "Transfer-Encoding: chunked," END, 400},
	{"quoted coding", GET "Transfer-Encoding: \"chunked\"" END, 400},
	{"chunked with parameter", GET "Transfer-Encoding: chunked;q=1" END, 400},
	{"empty coding", GET "Transfer-Encoding:" END, 400},
	{"coding with vertical tab",
	 GET "Transfer-Encoding: \x0b"
	     "chunked" END,
	 400},
	{"gzip", GET "Transfer-Encoding: gzip" END, 501},
	{"gzip, chunked", GET "Transfer-Encoding: gzip, chunked" END, 501},
	{"identity", GET "Transfer-Encoding: identity" END, 501},
	{"xchunked", GET "Transfer-Encoding: xchunked" END, 501},
	/* others */
	{"unknown expectation", GET "Content-Length: 1" CRLF "Expect: 200-ok" END, 417},
	{"Connection is no list", GET "Connection: cl@se" END, 400},
};

Test(http, refuses)
{
	static struct ht_http_request r;

	for (size_t i = 0; i < HT_ARRAY_SIZE(refused); i++) {
		char *buf;
		int n = parse_text(refused[i].head, &r, &buf);

		cr_expect(n == -refused[i].status, "%s: %d", refused[i].name, n);
		free(buf);
	}
}

Test(http, refuses_nul_in_head)
{
	static const char name[] = GET "A\0B: x" END, value[] = GET "A: x\0y" END;
	static const char target[] = "GET /\0 HTTP/1.1" CRLF "Host: a" END;
	const struct ht_str heads[] = {
		{name, sizeof(name) - 1}, {value, sizeof(value) - 1}, {target, sizeof(target) - 1}};
	static struct ht_http_request r;

	for (size_t i = 0; i < HT_ARRAY_SIZE(heads); i++) {
		char *buf;

		cr_expect_eq(parse(heads[i], &r, &buf), -400, "%zu", i);
		free(buf);
	}
}

/* Every byte, at every offset in sixteen and more: what is read together is judged one by one. */
#define LONG "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdef"
#define OFFSETS 35

Test(http, judges_every_byte_of_a_value)
{
	static struct ht_http_request r;

	for (unsigned c = 0; c < 256; c++)
		for (size_t at = 0; at < OFFSETS; at++) {
			char head[] = GET "A: x" LONG END;
			char *value = strstr(head, LONG), *buf;
			bool ok = (c >= 0x20 && c != 0x7f) || c == '\t';

			value[at] = (char)c;
			cr_expect_eq(parse((struct ht_str){head, sizeof(head) - 1}, &r, &buf),
				     ok ? 1 : -400, "byte %02x at %zu", c, at);
			free(buf);
		}
}

Test(http, judges_every_byte_of_a_target)
{
	static struct ht_http_request r;

	for (unsigned c = 0; c < 256; c++)
		for (size_t at = 0; at < OFFSETS; at++) {
			char head[] = "GET /" LONG " HTTP/1.1" CRLF "Host: a" END;
			bool ok = c > 0x20 && c < 0x7f && c != '#';
			char *buf;

			head[5 + at] = (char)c;
			cr_expect_eq(parse((struct ht_str){head, sizeof(head) - 1}, &r, &buf),
				     ok ? 1 : -400, "byte %02x at %zu", c, at);
			free(buf);
		}
}

Test(http, judges_every_byte_of_a_name)
{
	static struct ht_http_request r;

	for (unsigned c = 1; c < 256; c++) {
		bool token = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
			     strchr("!#$%&'*+-.^_`|~", (int)c);

		for (size_t at = 0; at < OFFSETS; at++) {
			char head[] = GET "A" LONG ": x" END;
			char *buf;

			strstr(head, LONG)[at] = (char)c;
			cr_expect_eq(parse_text(head, &r, &buf), token || c == ':' ? 1 : -400,
				     "byte %02x at %zu", c, at);
			free(buf);
		}
	}
}

static char *many_fields(size_t n)
{
	char *head = calloc(1, 64 + n * 8);

	cr_assert(head);
	strcpy(head, GET);
	for (size_t i = 1; i < n; i++)
		strcat(head, "A: b" CRLF);
	return strcat(head, CRLF);
}

Test(http, counts_fields)
{
	static struct ht_http_request r;
	char *most = many_fields(HT_HTTP_FIELDS_MAX), *more = many_fields(HT_HTTP_FIELDS_MAX + 1);
	char *buf;

	cr_expect_eq(parse_text(most, &r, &buf), 1);
	cr_expect_eq(r.nfields, HT_HTTP_FIELDS_MAX);
	free(buf);
	cr_expect_eq(parse_text(more, &r, &buf), -431);
	free(buf);
	free(most);
	free(more);
}

Test(http, bounds_connection_options)
{
	static struct ht_http_request r;
	char head[512] = GET "Connection: close";
	char *buf;

	for (int i = 0; i < 33; i++)
		strcat(head, ",x");
	strcat(head, END);
	cr_expect_eq(parse_text(head, &r, &buf), -400);
	free(buf);
}

/* ---- requests that are accepted ---- */

#define S(text) text, sizeof(text) - 1
#define H "Host: a" CRLF
#define POST "POST / HTTP/1.1" CRLF H
#define WS "Connection: Upgrade" CRLF "Upgrade: "

static const struct {
	const char *name, *head, *host, *authority;
	enum ht_http_body body;
	uint64_t length;
	const char *flags; /* k keep-alive, e expect, u upgrade, i idempotent, n ntlm */
} accepted[] = {
	{"GET", GET CRLF, "a", "a", HT_BODY_NONE, 0, "ki"},
	{"empty line first", CRLF GET CRLF, "a", "a", HT_BODY_NONE, 0, "ki"},
	{"port", "GET / HTTP/1.1" CRLF "host:a.B:80" END, "a.B", "a.B:80", HT_BODY_NONE, 0, "ki"},
	{"empty port", "GET / HTTP/1.1" CRLF "Host: a:" END, "a", "a", HT_BODY_NONE, 0, "ki"},
	{"IPv6", "GET / HTTP/1.1" CRLF "Host: [::1]:8" END, "[::1]", "[::1]:8", HT_BODY_NONE, 0,
	 "ki"},
	{"longest IPv6",
	 "GET / HTTP/1.1" CRLF "Host: [1111:2222:3333:4444:5555:6666:123.123.123.123]" END,
	 "[1111:2222:3333:4444:5555:6666:123.123.123.123]",
	 "[1111:2222:3333:4444:5555:6666:123.123.123.123]", HT_BODY_NONE, 0, "ki"},
	{"escape in Host", "GET / HTTP/1.1" CRLF "Host: a%2fb" END, "a%2fb", "a%2fb", HT_BODY_NONE,
	 0, "ki"},
	{"absolute", "GET http://b:1/x HTTP/1.1" CRLF H CRLF, "b", "b:1", HT_BODY_NONE, 0, "ki"},
	{"absolute https", "GET HTTPS://b?q HTTP/1.1" CRLF H CRLF, "b", "b", HT_BODY_NONE, 0, "ki"},
	{"asterisk", "OPTIONS * HTTP/1.1" CRLF H CRLF, "a", "a", HT_BODY_NONE, 0, "ki"},
	{"1.0", "GET / HTTP/1.0" END, "", "", HT_BODY_NONE, 0, "i"},
	{"1.0 with empty Host", "GET / HTTP/1.0" CRLF "Host:" END, "", "", HT_BODY_NONE, 0, "i"},
	{"1.0 keep-alive", "GET / HTTP/1.0" CRLF "Connection: Keep-Alive" END, "", "", HT_BODY_NONE,
	 0, "ki"},
	{"close", GET "Connection: CLOSE" END, "a", "a", HT_BODY_NONE, 0, "i"},
	{"close wins", GET "Connection: keep-alive" CRLF "Connection: x ,\tclose" END, "a", "a",
	 HT_BODY_NONE, 0, "i"},
	{"length", POST "Content-Length: 5" END, "a", "a", HT_BODY_LENGTH, 5, "k"},
	{"length zero", POST "Content-Length: 0" END, "a", "a", HT_BODY_LENGTH, 0, "k"},
	{"length with zeros", POST "Content-Length:\t007 " END, "a", "a", HT_BODY_LENGTH, 7, "k"},
	{"length of 2^63-1", POST "Content-Length: 9223372036854775807" END, "a", "a",
	 HT_BODY_LENGTH, INT64_MAX, "k"},
	{"chunked", POST "transfer-encoding: Chunked " END, "a", "a", HT_BODY_CHUNKED, 0, "k"},
	{"GET with body", GET "Content-Length: 5" END, "a", "a", HT_BODY_LENGTH, 5, "ki"},
	{"expect", POST "Content-Length: 5" CRLF "Expect: 100-Continue" END, "a", "a",
	 HT_BODY_LENGTH, 5, "ke"},
	{"expect without body", GET "Expect: 100-continue" END, "a", "a", HT_BODY_NONE, 0, "ki"},
	{"expect in 1.0", "POST / HTTP/1.0" CRLF "Expect: x" CRLF "Content-Length: 1" END, "", "",
	 HT_BODY_LENGTH, 1, ""},
	{"DELETE", "DELETE / HTTP/1.1" CRLF H CRLF, "a", "a", HT_BODY_NONE, 0, "ki"},
	{"PATCH", "PATCH / HTTP/1.1" CRLF H CRLF, "a", "a", HT_BODY_NONE, 0, "k"},
	{"NTLM", GET "Authorization: NTLM TlRM" END, "a", "a", HT_BODY_NONE, 0, "kin"},
	{"Negotiate", GET "Authorization: negotiate" END, "a", "a", HT_BODY_NONE, 0, "kin"},
	{"Basic", GET "Authorization: Basic NTLM" END, "a", "a", HT_BODY_NONE, 0, "ki"},
	{"websocket", GET WS "websocket" END, "a", "a", HT_BODY_NONE, 0, "kiu"},
	{"websocket with length 0", GET WS "websocket" CRLF "Content-Length: 0" END, "a", "a",
	 HT_BODY_NONE, 0, "kiu"},
	{"websocket with body", GET WS "websocket" CRLF "Content-Length: 1" END, "a", "a",
	 HT_BODY_LENGTH, 1, "ki"},
	{"websocket by POST", POST WS "websocket" END, "a", "a", HT_BODY_NONE, 0, "k"},
	{"websocket in 1.0", "GET / HTTP/1.0" CRLF WS "websocket" END, "", "", HT_BODY_NONE, 0,
	 "i"},
	{"Upgrade without Connection", GET "Upgrade: websocket" END, "a", "a", HT_BODY_NONE, 0,
	 "ki"},
	{"Connection without Upgrade", GET "Connection: upgrade" END, "a", "a", HT_BODY_NONE, 0,
	 "ki"},
	{"h2c", GET WS "h2c" END, "a", "a", HT_BODY_NONE, 0, "ki"},
	{"H2C and h2", GET WS "H2C, h2" END, "a", "a", HT_BODY_NONE, 0, "ki"},
	{"HTTP/2.0", GET WS "HTTP/2.0" END, "a", "a", HT_BODY_NONE, 0, "ki"},
	{"TLS/1.2", GET WS "TLS/1.2" END, "a", "a", HT_BODY_NONE, 0, "ki"},
	{"no protocol", GET WS "a b, x/, /" END, "a", "a", HT_BODY_NONE, 0, "ki"},
	{"longest protocol", GET WS "01234567890123456789012345678901" END, "a", "a", HT_BODY_NONE,
	 0, "kiu"},
	{"too long a protocol", GET WS "012345678901234567890123456789012" END, "a", "a",
	 HT_BODY_NONE, 0, "ki"},
	{"h2c, websocket", GET WS "h2c, websocket" END, "a", "a", HT_BODY_NONE, 0, "kiu"},
	{"obs-text in value", GET "X: \xff\xfe" END, "a", "a", HT_BODY_NONE, 0, "ki"},
};

static bool flags_are(const struct ht_http_request *r, const char *flags)
{
	return r->keep_alive == !!strchr(flags, 'k') && r->idempotent == !!strchr(flags, 'i') &&
	       r->expect_continue == !!strchr(flags, 'e') && r->upgrade == !!strchr(flags, 'u') &&
	       r->ntlm == !!strchr(flags, 'n');
}

Test(http, accepts)
{
	static struct ht_http_request r;

	for (size_t i = 0; i < HT_ARRAY_SIZE(accepted); i++) {
		const char *name = accepted[i].name;
		char *buf;
		int n;

		memset(&r, 0xa5, sizeof(r)); /* nothing may depend on what was there */
		n = parse_text(accepted[i].head, &r, &buf);
		cr_expect(n == 1, "%s: %d", name, n);
		if (n == 1) {
			cr_expect_eq(r.head_len, strlen(accepted[i].head), "%s", name);
			cr_expect(ht_str_eq(r.host, HT_STR(accepted[i].host)), "%s: host", name);
			cr_expect(ht_str_eq(r.authority, HT_STR(accepted[i].authority)),
				  "%s: authority", name);
			cr_expect(r.body == accepted[i].body, "%s: body", name);
			if (r.body == HT_BODY_LENGTH)
				cr_expect_eq(r.length, accepted[i].length, "%s: length", name);
			cr_expect(flags_are(&r, accepted[i].flags), "%s: flags", name);
		}
		free(buf);
	}
}

Test(http, stops_at_the_end_of_the_head)
{
	static struct ht_http_request r;
	char *buf;

	cr_expect_eq(parse_text(POST "Content-Length: 3" END "abcGET / HTTP/1.1", &r, &buf), 1);
	cr_expect_eq(r.head_len, strlen(POST "Content-Length: 3" END));
	free(buf);
}

Test(http, trims_values)
{
	static struct ht_http_request r;
	char *buf;

	cr_expect_eq(parse_text(GET "X: \t a \t b\t " END, &r, &buf), 1);
	cr_expect(ht_str_eq(r.fields[1].value, HT_STR("a \t b")));
	free(buf);
}

/* ---- incremental delivery ---- */

static const char *const long_heads[] = {
	CRLF GET "Cookie: a=b; c=d" CRLF "X: \t y\t" CRLF "User-Agent: something rather long" END,
	"POST http://example.org:8080/a/b?c=d HTTP/1.1" CRLF "Host: x" CRLF
	"Transfer-Encoding: chunked" CRLF "Connection: keep-alive, X-Y" CRLF "X-Y: 1" END,
	"GET / HTTP/1.0" END,
	GET "X: y" CRLF " folded: z" END,
	GET "X: y\nZ: z" END,
	"GET / HTTP/3.0" CRLF "Host: a" END,
	GET "Content-Length: 1" CRLF "Content-Length: 2" END,
};

/* Feeds head[0..split), then byte by byte. */
static int feed(const char *head, size_t split, size_t step, struct ht_http_request *r,
		size_t *ret_at)
{
	size_t len = strlen(head), from = 0;
	const char *why;
	int n = 0;

	for (size_t at = split; at <= len && !n; at += step) {
		char *buf = exact(head, at);

		n = ht_http_parse_request(buf, at, &from, r, &why);
		free(buf);
		*ret_at = at;
	}
	if (n)
		cr_expect_eq(from, 0);
	return n;
}

Test(http, request_is_the_same_at_every_split)
{
	static struct ht_http_request r;

	for (size_t i = 0; i < HT_ARRAY_SIZE(long_heads); i++) {
		size_t len = strlen(long_heads[i]), at;
		char *buf;
		int whole = parse_text(long_heads[i], &r, &buf);

		for (size_t split = 0; split <= len; split++) {
			int n = feed(long_heads[i], split, 1, &r, &at);

			cr_expect(n == whole, "head %zu split at %zu: %d", i, split, n);
			if (whole == 1)
				cr_expect_eq(at, len);
			n = feed(long_heads[i], split, split == len ? 1 : len - split, &r, &at);
			cr_expect(n == whole, "head %zu in two parts at %zu: %d", i, split, n);
		}
		free(buf);
	}
}

/* A wrong byte early on is noticed long before the head's end. */
Test(http, incremental_refuses_early)
{
	char head[3000] = GET "A B: ";
	static struct ht_http_request r;
	size_t at;

	memset(head + strlen(head), 'x', 2000);
	cr_expect_eq(feed(head, 1, 1, &r, &at), -400);
	cr_expect_lt(at, 130);
}

Test(http, response_is_the_same_at_every_split)
{
	static const char head[] = "HTTP/1.1 200 OK" CRLF "Content-Length: 7" CRLF
				   "Set-Cookie: a=b; Path=/" CRLF "Connection: close" END;
	static struct ht_http_response r;
	const char *why;

	for (size_t split = 0; split < sizeof(head); split++) {
		size_t from = 0;
		int n = 0;

		for (size_t at = split; at < sizeof(head) && !n; at++) {
			char *buf = exact(head, at);

			n = ht_http_parse_response(buf, at, &from, false, &r, &why);
			cr_expect(n == (at == sizeof(head) - 1), "split %zu, at %zu: %d", split, at,
				  n);
			free(buf);
		}
	}
}

/* ---- rewriting of requests ---- */

static const struct ht_http_forward nobody = {.proto = NULL};

#define A11 " HTTP/1.1" CRLF "Host: a" CRLF

static const struct {
	const char *name, *in, *out;
} rewritten[] = {
	{"order is kept", GET "B: 1" CRLF "A: 2" CRLF "B: 3" END,
	 GET "B: 1" CRLF "A: 2" CRLF "B: 3" END},
	{"Host first", "GET / HTTP/1.1" CRLF "A: 1" CRLF "Host: a" END, GET "A: 1" END},
	{"one blank after the colon", GET "A:1" CRLF "B:  2 " CRLF "C: 3" END,
	 GET "A: 1" CRLF "B: 2" CRLF "C: 3" END},
	{"blank at the end", GET "A: 1 " CRLF "B: 2\t" END, GET "A: 1" CRLF "B: 2" END},
	{"two blanks in front", GET "A:  1" CRLF "B: 2" END, GET "A: 1" CRLF "B: 2" END},
	{"tab in front", GET "A:\t1" CRLF "B: 2" END, GET "A: 1" CRLF "B: 2" END},
	{"empty value", GET "A:" CRLF "B: " END, GET "A: " CRLF "B: " END},
	{"Cookie", GET "cOOKIE:a=\"b; \tc=d;;" CRLF "Cookie: \xff=1" END,
	 GET "Cookie: a=\"b; \tc=d;;" CRLF "Cookie: \xff=1" END},
	{"1.0 becomes 1.1", "GET / HTTP/1.0" CRLF "Host: a" END, GET CRLF},
	{"1.0 without Host", "GET / HTTP/1.0" END, "GET / HTTP/1.1" CRLF "Host: " END},
	{"absolute target", "GET http://b:1/x?y HTTP/1.1" CRLF H CRLF,
	 "GET /x?y HTTP/1.1" CRLF "Host: b:1" END},
	{"absolute without path", "GET http://b HTTP/1.1" CRLF H CRLF,
	 "GET / HTTP/1.1" CRLF "Host: b" END},
	{"absolute with query only", "GET http://b?q=/ HTTP/1.1" CRLF H CRLF,
	 "GET /?q=/ HTTP/1.1" CRLF "Host: b" END},
	{"absolute OPTIONS", "OPTIONS http://b HTTP/1.1" CRLF H CRLF,
	 "OPTIONS * HTTP/1.1" CRLF "Host: b" END},
	{"asterisk", "OPTIONS * HTTP/1.1" CRLF H CRLF, "OPTIONS *" A11 CRLF},
	{"two slashes", "GET //b/c HTTP/1.1" CRLF H CRLF, "GET //b/c" A11 CRLF},
	{"hop-by-hop",
	 GET "Connection: keep-alive" CRLF "Keep-Alive: 5" CRLF "Proxy-Connection: x" CRLF
	     "Proxy-Authorization: x" CRLF "Proxy: x" CRLF "TE: trailers" CRLF "Trailer: x" CRLF
	     "Upgrade: x" CRLF "HTTP2-Settings: x" CRLF "A: 1" END,
	 GET "A: 1" END},
	{"no proxy's", GET "Proxied: 1" CRLF "P: 2" END, GET "Proxied: 1" CRLF "P: 2" END},
	{"named by Connection",
	 GET "X-A: 1" CRLF "Connection: x-a, close ,x-b" CRLF "X-B: 2" CRLF "X-C: 3" END,
	 GET "X-C: 3" END},
	{"Connection cannot name these",
	 GET "Connection: Cookie, Authorization, Host, Content-Type, X-Forwarded-For" CRLF
	     "Cookie: a=b" CRLF "Authorization: x" CRLF "Content-Type: y" END,
	 GET "Cookie: a=b" CRLF "Authorization: x" CRLF "Content-Type: y" END},
	{"Connection names the length",
	 POST "Connection: content-length" CRLF "Content-Length: 2" END,
	 POST "Content-Length: 2" END},
	{"Connection names the coding",
	 POST "Connection: transfer-encoding" CRLF "Transfer-Encoding: CHUNKED" END,
	 POST "Transfer-Encoding: chunked" END},
	{"length is canonical", POST "A: 1" CRLF "content-length: 007" END,
	 POST "Content-Length: 7" CRLF "A: 1" END},
	{"POST without length", POST CRLF, POST "Content-Length: 0" END},
	{"PUT without length", "PUT / HTTP/1.1" CRLF H CRLF, "PUT /" A11 "Content-Length: 0" END},
	{"DELETE without length", "DELETE / HTTP/1.1" CRLF H CRLF, "DELETE /" A11 CRLF},
	{"GET with length 0", GET "Content-Length: 0" END, GET "Content-Length: 0" END},
	{"upgrade", GET "A: 1" CRLF WS "websocket" CRLF "Sec-WebSocket-Key: x" END,
	 GET "Connection: upgrade" CRLF "Upgrade: websocket" CRLF "A: 1" CRLF
	     "Sec-WebSocket-Key: x" END},
	{"upgrade from a list", GET WS "h2c, foo/1, websocket" CRLF "HTTP2-Settings: x" END,
	 GET "Connection: upgrade" CRLF "Upgrade: foo/1" END},
	{"upgrade in two fields", GET WS "h2c" CRLF "Upgrade: websocket" END,
	 GET "Connection: upgrade" CRLF "Upgrade: websocket" END},
	{"upgrade to h2c",
	 GET "Connection: Upgrade, HTTP2-Settings" CRLF "Upgrade: h2c" CRLF "HTTP2-Settings: x" END,
	 GET CRLF},
	{"upgrade with length 0", GET WS "websocket" CRLF "Content-Length: 0" END,
	 GET "Connection: upgrade" CRLF "Upgrade: websocket" END},
	{"Expect", POST "Content-Length: 1" CRLF "Expect: 100-continue" END,
	 POST "Content-Length: 1" CRLF "Expect: 100-continue" END},
	{"Expect twice",
	 POST "Content-Length: 1" CRLF "Expect: 100-continue" CRLF "Expect: 100-continue" END,
	 POST "Content-Length: 1" CRLF "Expect: 100-continue" END},
	{"Expect without body", GET "Expect: 100-continue" END, GET CRLF},
	{"Expect in 1.0",
	 "POST / HTTP/1.0" CRLF H "Content-Length: 1" CRLF "Expect: 100-continue" END,
	 POST "Content-Length: 1" END},
	{"ours",
	 GET "X-Forwarded-For: 1" CRLF "x-forwarded-proto: 2" CRLF "X-Forwarded-Host: 3" CRLF
	     "X-Request-Id: 4" CRLF "X-Client-Cert-Subject: 5" CRLF "X-Client-Cert-Verified: 6" CRLF
	     "Forwarded: 7" CRLF "X-Forwarded-Port: 8" END,
	 GET "X-Forwarded-Port: 8" END},
	{"twins of ours",
	 GET "X_Forwarded_For: 1" CRLF "x-forwarded_PROTO: 2" CRLF "X_Forwarded-Host: 3" CRLF
	     "X_Request_ID: 4" CRLF "X-Client_Cert-Subject: 5" CRLF "X-Client-Cert_Verified: 6" CRLF
	     "X.Forwarded~For: 7" CRLF "X_Other: 8" END,
	 GET "X_Other: 8" END},
	{"twins that frame",
	 POST "Content_Length: 5" CRLF "Transfer_Encoding: chunked" CRLF
	      "Proxy_Authorization: x" CRLF "Content_Type: x" CRLF "Content-Length: 1" END,
	 POST "Content-Length: 1" END},
};

/* Takes our last field out again, which would stand in each row of the table above. */
static int without_forwarded_host(char *head, int len)
{
	static const char line[] = CRLF "X-Forwarded-Host: ";
	char *p = len > 0 ? memmem(head, (size_t)len, line, sizeof(line) - 1) : NULL;

	if (!p)
		return len;
	memcpy(p, END, 4);
	return (int)(p + 4 - head);
}

static int rewrite(const char *in, const struct ht_http_forward *f, char *out, size_t cap)
{
	static struct ht_http_request r;
	char *buf;
	int n = parse_text(in, &r, &buf);

	if (n == 1)
		n = ht_http_write_request(&r, f, out, cap);
	free(buf);
	return n;
}

Test(http, rewrites_requests)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(rewritten); i++) {
		char out[4096];
		int n = rewrite(rewritten[i].in, &nobody, out, sizeof(out));

		n = without_forwarded_host(out, n);
		cr_expect(n == (int)strlen(rewritten[i].out) &&
				  !memcmp(out, rewritten[i].out, (size_t)n),
			  "%s: %d\n%.*s", rewritten[i].name, n, n > 0 ? n : 0, out);
	}
}

/* What we forward says the same to whoever reads it next, and is forwarded unchanged. */
Test(http, rewritten_requests_stay_as_they_are)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(accepted); i++) {
		static struct ht_http_request a, b;
		char out[4096], again[4096], *buf, *buf2;
		int n, m;

		cr_assert_eq(parse_text(accepted[i].head, &a, &buf), 1);
		if (!a.authority.len)
			a.authority = HT_STR("filled-in");
		n = ht_http_write_request(&a, &nobody, out, sizeof(out));
		cr_assert_gt(n, 0);
		m = parse((struct ht_str){out, (size_t)n}, &b, &buf2);
		cr_expect(m == 1, "%s: %d", accepted[i].name, m);
		cr_expect(b.upgrade == a.upgrade && b.head_len == (size_t)n, "%s",
			  accepted[i].name);
		cr_expect(b.body == a.body || (b.body == HT_BODY_LENGTH && !b.length), "%s",
			  accepted[i].name);
		cr_expect(a.body != HT_BODY_LENGTH || a.length == b.length, "%s", accepted[i].name);
		m = ht_http_write_request(&b, &nobody, again, sizeof(again));
		cr_expect(m == n && !memcmp(out, again, (size_t)n), "%s", accepted[i].name);
		free(buf);
		free(buf2);
	}
}

static const struct ht_http_forward somebody = {
	.client_ip = {S("192.0.2.1")},
	.proto = "https",
	.request_id = {S("id")},
	.client_cert = true,
	.client_cert_verified = true,
	.client_cert_subject = {S("CN=a\r\nX: y")},
	.expect_answered = true,
};

static void expect_forward(const struct ht_http_forward *f, const char *in, const char *want)
{
	char out[4096];
	int n = rewrite(in, f, out, sizeof(out));

	cr_expect(n == (int)strlen(want) && !memcmp(out, want, (size_t)n), "%d\n%.*s", n,
		  n > 0 ? n : 0, out);
}

#define FORWARDED                                                                                  \
	"X-Forwarded-For: 192.0.2.1" CRLF "X-Forwarded-Proto: https" CRLF                          \
	"X-Forwarded-Host: a" CRLF "X-Request-ID: id" CRLF

Test(http, tells_about_the_client)
{
	expect_forward(&somebody, GET "A: 1" CRLF "X-Forwarded-For: 1" END,
		       GET "A: 1" CRLF FORWARDED "X-Client-Cert-Verified: SUCCESS" CRLF
			   "X-Client-Cert-Subject: CN=a  X: y" END);
}

Test(http, tells_that_there_is_no_certificate)
{
	struct ht_http_forward f = somebody;

	f.client_cert_verified = false;
	expect_forward(&f, GET CRLF, GET FORWARDED "X-Client-Cert-Verified: NONE" END);
}

Test(http, says_nothing_of_certificates_where_none_are_asked_for)
{
	struct ht_http_forward f = somebody;

	f.client_cert = false;
	expect_forward(&f, GET "X-Client-Cert-Verified: SUCCESS" END, GET FORWARDED CRLF);
}

Test(http, keeps_back_an_answered_expect)
{
	struct ht_http_forward f = {.expect_answered = true};

	expect_forward(&f, POST "Content-Length: 1" CRLF "Expect: 100-continue" CRLF "A: 1" END,
		       POST "Content-Length: 1" CRLF "A: 1" CRLF "X-Forwarded-Host: a" END);
}

Test(http, leaves_out_what_the_caller_drops)
{
	static struct ht_http_request r;
	char out[256], *buf;
	int n;

	cr_assert_eq(parse_text(GET "A: 1" CRLF "B: 2" CRLF "C: 3" END, &r, &buf), 1);
	r.fields[2].drop = true;
	n = ht_http_write_request(&r, &nobody, out, sizeof(out));
	cr_expect(n > 0 &&
		  ht_str_eq((struct ht_str){out, (size_t)n},
			    HT_STR(GET "A: 1" CRLF "C: 3" CRLF "X-Forwarded-Host: a" END)));
	free(buf);
}

Test(http, request_that_does_not_fit_is_431)
{
	static const char in[] = POST "Cookie: a" CRLF "B:1" CRLF "Content-Length: 1" END;
	char big[4096];
	int n = rewrite(in, &somebody, big, sizeof(big));

	cr_assert_gt(n, 0);
	for (int cap = 0; cap <= n; cap++) {
		char *out = exact(big, (size_t)cap);

		cr_expect_eq(rewrite(in, &somebody, out, (size_t)cap), cap == n ? n : -431, "%d",
			     cap);
		free(out);
	}
}

/* The table by which known names are found has none missing. */
Test(http, knows_every_name)
{
	static const char *const names[HT_HTTP_ID_MAX] = {
		[HT_HTTP_AUTHORIZATION] = "Authorization",
		[HT_HTTP_CACHE_CONTROL] = "Cache-Control",
		[HT_HTTP_CDN_CACHE_CONTROL] = "CDN-Cache-Control",
		[HT_HTTP_CONNECTION] = "Connection",
		[HT_HTTP_CONTENT_LENGTH] = "Content-Length",
		[HT_HTTP_CONTENT_TYPE] = "Content-Type",
		[HT_HTTP_COOKIE] = "Cookie",
		[HT_HTTP_EXPECT] = "Expect",
		[HT_HTTP_FORWARDED] = "Forwarded",
		[HT_HTTP_HOST] = "Host",
		[HT_HTTP_HTTP2_SETTINGS] = "HTTP2-Settings",
		[HT_HTTP_KEEP_ALIVE] = "Keep-Alive",
		[HT_HTTP_PROXY_CONNECTION] = "Proxy-Connection",
		[HT_HTTP_SET_COOKIE] = "Set-Cookie",
		[HT_HTTP_SURROGATE_CONTROL] = "Surrogate-Control",
		[HT_HTTP_TE] = "TE",
		[HT_HTTP_TRAILER] = "Trailer",
		[HT_HTTP_TRANSFER_ENCODING] = "Transfer-Encoding",
		[HT_HTTP_UPGRADE] = "Upgrade",
		[HT_HTTP_WWW_AUTHENTICATE] = "WWW-Authenticate",
		[HT_HTTP_X_CLIENT_CERT_SUBJECT] = "X-Client-Cert-Subject",
		[HT_HTTP_X_CLIENT_CERT_VERIFIED] = "X-Client-Cert-Verified",
		[HT_HTTP_X_FORWARDED_FOR] = "X-Forwarded-For",
		[HT_HTTP_X_FORWARDED_HOST] = "X-Forwarded-Host",
		[HT_HTTP_X_FORWARDED_PROTO] = "X-Forwarded-Proto",
		[HT_HTTP_X_FORWARDED_USER] = "X-Forwarded-User",
		[HT_HTTP_X_REQUEST_ID] = "X-Request-ID",
	};
	static struct ht_http_response r;

	for (int id = 1; id < HT_HTTP_ID_MAX; id++) {
		bool coding = id == HT_HTTP_TRANSFER_ENCODING;
		char head[256], *buf;

		snprintf(head, sizeof(head), "HTTP/1.1 200 OK" CRLF "%s: %s" END, names[id],
			 coding ? "chunked" : "1");
		cr_expect_eq(parse_reply(head, false, &r, &buf), 1, "%s", names[id]);
		cr_expect_eq(r.fields[0].id, id, "%s", names[id]);
		free(buf);
	}
}
