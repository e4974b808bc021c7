/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 framing, the way back: response heads, what becomes of them for the client, our own
 * answers, the chunked coding. Buffers have exactly their size, for the address sanitizer's sake.
 */
#include <criterion/criterion.h>

#include "http.h"

#define CRLF "\r\n"
#define END CRLF CRLF
#define OK "HTTP/1.1 200 OK" CRLF

static char *exact(const char *p, size_t len)
{
	char *copy = malloc(len ? len : 1);

	cr_assert(copy);
	memcpy(copy, p, len);
	return copy;
}

static int parse(const char *head, bool head_request, struct ht_http_response *r, char **ret_buf)
{
	const char *why = NULL;
	int n;

	*ret_buf = exact(head, strlen(head));
	n = ht_http_parse_response(*ret_buf, strlen(head), NULL, head_request, r, &why);
	cr_expect((n < 0) == !!why);
	return n;
}

/* ---- parsing ---- */

static const struct {
	const char *name, *head;
} refused[] = {
	{"empty line first", CRLF OK CRLF},
	{"no HTTP", "ICY 200 OK" END},
	{"HTTP/2.0", "HTTP/2.0 200 OK" END},
	{"HTTP/1.2", "HTTP/1.2 200 OK" END},
	{"two digits", "HTTP/1.1 20 OK" END},
	{"four digits", "HTTP/1.1 2000 OK" END},
	{"status 099", "HTTP/1.1 099 OK" END},
	{"two spaces", "HTTP/1.1  200 OK" END},
	{"control in reason", "HTTP/1.1 200 O\x01K" END},
	{"bare LF after status line", "HTTP/1.1 200 OK\nA: b" END},
	{"bare LF after field", OK "A: b\nB: c" END},
	{"bare LF at the end", OK "A: b" CRLF "\n"},
	{"obs-fold", OK "A: b" CRLF " c" END},
	{"blank before colon", OK "A : b" END},
	{"control in value", OK "A: \x02" END},
	{"bad length", OK "Content-Length: x" END},
	{"differing lengths", OK "Content-Length: 1" CRLF "Content-Length: 2" END},
	{"list of lengths", OK "Content-Length: 1, 1" END},
	{"length and coding", OK "Content-Length: 1" CRLF "Transfer-Encoding: chunked" END},
	{"coding in 1.0", "HTTP/1.0 200 OK" CRLF "Transfer-Encoding: chunked" END},
	{"gzip", OK "Transfer-Encoding: gzip" END},
	{"gzip, chunked", OK "Transfer-Encoding: gzip, chunked" END},
	{"two codings", OK "Transfer-Encoding: chunked" CRLF "Transfer-Encoding: chunked" END},
	{"ambiguous 304",
	 "HTTP/1.1 304 X" CRLF "Content-Length: 1" CRLF "Transfer-Encoding: chunked" END},
};

Test(http_response, refuses)
{
	static struct ht_http_response r;

	for (size_t i = 0; i < HT_ARRAY_SIZE(refused); i++) {
		char *buf;
		int n = parse(refused[i].head, false, &r, &buf);

		cr_expect(n == -502, "%s: %d", refused[i].name, n);
		free(buf);
	}
}

Test(http_response, refuses_too_many_fields)
{
	static struct ht_http_response r;
	char head[2048] = OK, *buf;

	for (int i = 0; i <= HT_HTTP_FIELDS_MAX; i++)
		strcat(head, "A: b" CRLF);
	strcat(head, CRLF);
	cr_expect_eq(parse(head, false, &r, &buf), -502);
	free(buf);
}

static const struct {
	const char *name, *head;
	bool head_request;
	int status;
	enum ht_http_body body;
	uint64_t length;
	const char *flags; /* k keep-alive, l has a length, n ntlm */
} accepted[] = {
	{"length", OK "Content-Length: 5" END, false, 200, HT_BODY_LENGTH, 5, "kl"},
	{"length twice", OK "Content-Length: 5" CRLF "Content-Length: 5" END, false, 200,
	 HT_BODY_LENGTH, 5, "kl"},
	{"chunked", OK "Transfer-Encoding: Chunked" END, false, 200, HT_BODY_CHUNKED, 0, "k"},
	{"until close", OK CRLF, false, 200, HT_BODY_UNTIL_CLOSE, 0, ""},
	{"HEAD", OK "Content-Length: 5" END, true, 200, HT_BODY_NONE, 5, "kl"},
	{"HEAD without length", OK CRLF, true, 200, HT_BODY_NONE, 0, "k"},
	{"HEAD chunked", OK "Transfer-Encoding: chunked" END, true, 200, HT_BODY_NONE, 0, "k"},
	{"100", "HTTP/1.1 100 Continue" END, false, 100, HT_BODY_NONE, 0, "k"},
	{"101", "HTTP/1.1 101 X" CRLF "Connection: upgrade" CRLF "Upgrade: x" END, false, 101,
	 HT_BODY_NONE, 0, "k"},
	{"204", "HTTP/1.1 204 No Content" END, false, 204, HT_BODY_NONE, 0, "k"},
	{"204 with length 0", "HTTP/1.1 204 X" CRLF "Content-Length: 0" END, false, 204,
	 HT_BODY_NONE, 0, "k"},
	{"204 with length", "HTTP/1.1 204 X" CRLF "Content-Length: 5" END, false, 204, HT_BODY_NONE,
	 5, ""},
	{"204 chunked", "HTTP/1.1 204 X" CRLF "Transfer-Encoding: chunked" END, false, 204,
	 HT_BODY_NONE, 0, ""},
	{"304 with length", "HTTP/1.1 304 X" CRLF "Content-Length: 5" END, false, 304, HT_BODY_NONE,
	 5, "kl"},
	{"205", "HTTP/1.1 205 X" CRLF "Content-Length: 0" END, false, 205, HT_BODY_LENGTH, 0, "kl"},
	{"no reason", "HTTP/1.1 200 " CRLF "Content-Length: 0" END, false, 200, HT_BODY_LENGTH, 0,
	 "kl"},
	{"no blank either", "HTTP/1.1 200" CRLF "Content-Length: 0" END, false, 200, HT_BODY_LENGTH,
	 0, "kl"},
	{"8-bit reason", "HTTP/1.1 999 \xff\t" CRLF "Content-Length: 0" END, false, 999,
	 HT_BODY_LENGTH, 0, "kl"},
	{"close", OK "Content-Length: 5" CRLF "Connection: close" END, false, 200, HT_BODY_LENGTH,
	 5, "l"},
	{"1.0", "HTTP/1.0 200 OK" CRLF "Content-Length: 5" END, false, 200, HT_BODY_LENGTH, 5, "l"},
	{"1.0 keep-alive",
	 "HTTP/1.0 200 OK" CRLF "Content-Length: 5" CRLF "Connection: keep-alive" END, false, 200,
	 HT_BODY_LENGTH, 5, "kl"},
	{"NTLM", "HTTP/1.1 401 X" CRLF "Content-Length: 0" CRLF "WWW-Authenticate: NTLM" END, false,
	 401, HT_BODY_LENGTH, 0, "kln"},
	{"Negotiate in a list",
	 "HTTP/1.1 401 X" CRLF "Content-Length: 0" CRLF
	 "WWW-Authenticate: Basic realm=\"x\", Negotiate abc" END,
	 false, 401, HT_BODY_LENGTH, 0, "kln"},
	{"NTLM without 401", OK "Content-Length: 0" CRLF "WWW-Authenticate: NTLM" END, false, 200,
	 HT_BODY_LENGTH, 0, "kl"},
};

static bool flags_are(const struct ht_http_response *r, const char *flags)
{
	return r->keep_alive == !!strchr(flags, 'k') && r->has_length == !!strchr(flags, 'l') &&
	       r->ntlm == !!strchr(flags, 'n');
}

Test(http_response, accepts)
{
	static struct ht_http_response r;

	for (size_t i = 0; i < HT_ARRAY_SIZE(accepted); i++) {
		const char *name = accepted[i].name;
		char *buf;
		int n;

		memset(&r, 0xa5, sizeof(r));
		n = parse(accepted[i].head, accepted[i].head_request, &r, &buf);
		cr_expect(n == 1, "%s: %d", name, n);
		if (n == 1) {
			cr_expect_eq(r.head_len, strlen(accepted[i].head), "%s", name);
			cr_expect_eq(r.status, accepted[i].status, "%s", name);
			cr_expect(r.body == accepted[i].body, "%s: body", name);
			cr_expect_eq(r.length, accepted[i].length, "%s: length", name);
			cr_expect(flags_are(&r, accepted[i].flags), "%s: flags", name);
		}
		free(buf);
	}
}

/* ---- writing ---- */

static int rewrite(const char *in, bool head_request, const struct ht_http_reply *reply, char *out,
		   size_t cap)
{
	static struct ht_http_response r;
	char *buf;
	int n = parse(in, head_request, &r, &buf);

	cr_expect_eq(n, 1);
	if (n == 1)
		n = ht_http_write_response(&r, reply, out, cap);
	free(buf);
	return n;
}

static void expect_rewritten(const char *name, const char *in, bool head_request,
			     const struct ht_http_reply *reply, const char *want)
{
	char out[4096];
	int n = rewrite(in, head_request, reply, out, sizeof(out));

	cr_expect(n == (int)strlen(want) && !memcmp(out, want, (size_t)n), "%s: %d\n%.*s", name, n,
		  n > 0 ? n : 0, out);
}

static const struct {
	const char *name, *in;
	bool head_request;
	struct ht_http_reply reply;
	const char *out;
} rewritten[] = {
	{"length",
	 OK "Content-Length: 05" CRLF "A:1" END,
	 false,
	 {.body = HT_BODY_LENGTH, .client_minor = 1, .keep_alive = true},
	 OK "A: 1" CRLF "Content-Length: 5" END},
	{"chunked",
	 OK "Transfer-Encoding: CHUNKED" CRLF "A: 1" END,
	 false,
	 {.body = HT_BODY_CHUNKED, .client_minor = 1, .keep_alive = true},
	 OK "A: 1" CRLF "Transfer-Encoding: chunked" END},
	{"chunked to 1.0",
	 OK "Transfer-Encoding: chunked" CRLF "A: 1" END,
	 false,
	 {.body = HT_BODY_UNTIL_CLOSE},
	 OK "A: 1" CRLF "Connection: close" END},
	{"1.0 keep-alive",
	 "HTTP/1.0 200 Yes" CRLF "Content-Length: 5" END,
	 false,
	 {.body = HT_BODY_LENGTH, .keep_alive = true},
	 "HTTP/1.1 200 Yes" CRLF "Content-Length: 5" CRLF "Connection: keep-alive" END},
	{"HEAD",
	 OK "Content-Length: 5" END,
	 true,
	 {.body = HT_BODY_NONE, .client_minor = 1, .keep_alive = true},
	 OK "Content-Length: 5" END},
	{"204",
	 "HTTP/1.1 204 X" CRLF "Content-Length: 0" END,
	 false,
	 {.body = HT_BODY_NONE, .client_minor = 1, .keep_alive = true},
	 "HTTP/1.1 204 X" END},
	{"no reason",
	 "HTTP/1.1 204" END,
	 false,
	 {.client_minor = 1, .keep_alive = true},
	 "HTTP/1.1 204 " END},
	{"hop-by-hop",
	 "HTTP/1.1 304 X" CRLF "Connection: close, X-A, Set-Cookie, Cache-Control" CRLF
	 "X-A: 1" CRLF "Keep-Alive: 1" CRLF "Proxy-Connection: 1" CRLF "Trailer: 1" CRLF
	 "Upgrade: 1" CRLF "Set-Cookie: a=b" CRLF "Cache-Control: x" CRLF "Content-Type: y" CRLF
	 "X_A: 2" END,
	 false,
	 {.client_minor = 1, .keep_alive = true},
	 "HTTP/1.1 304 X" CRLF "Set-Cookie: a=b" CRLF "Cache-Control: x" CRLF "Content-Type: y" CRLF
	 "X_A: 2" END},
	{"101",
	 "HTTP/1.1 101 X" CRLF "Upgrade:websocket" CRLF "Connection: Upgrade" CRLF "A: 1" END,
	 false,
	 {.client_minor = 1, .keep_alive = true, .upgrade = true},
	 "HTTP/1.1 101 X" CRLF "A: 1" CRLF "Connection: upgrade" CRLF "Upgrade: websocket" END},
};

Test(http_response, rewrites)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(rewritten); i++)
		expect_rewritten(rewritten[i].name, rewritten[i].in, rewritten[i].head_request,
				 &rewritten[i].reply, rewritten[i].out);
}

#define X "HTTP/1.1 304 X" CRLF

Test(http_response, inserts_extras_in_their_places)
{
	const struct ht_http_extra extras[] = {
		{HT_STR("Set-Cookie: a2=x"), 1},
		{HT_STR("Set-Cookie: a3=x"), 1},
		{HT_STR("Set-Cookie: b2=y"), 3},
		{HT_STR("Last: z"), 99},
	};
	const struct ht_http_reply reply = {
		.client_minor = 1, .keep_alive = true, .extras = extras, .nextras = 4};

	expect_rewritten("extras",
			 X "A: 1" CRLF "Set-Cookie: a=b" CRLF "B: 2" CRLF "Set-Cookie:b=c" CRLF
			   "C: 3" END,
			 false, &reply,
			 X "A: 1" CRLF "Set-Cookie: a=b" CRLF "Set-Cookie: a2=x" CRLF
			   "Set-Cookie: a3=x" CRLF "B: 2" CRLF "Set-Cookie: b=c" CRLF
			   "Set-Cookie: b2=y" CRLF "C: 3" CRLF "Last: z" END);
}

Test(http_response, drops_what_the_caller_names)
{
	static const uint16_t drops[] = {0, 2, 3};
	const struct ht_http_extra extra = {HT_STR("X: y"), 2};
	const struct ht_http_reply reply = {.client_minor = 1,
					    .keep_alive = true,
					    .drops = drops,
					    .ndrops = 3,
					    .extras = &extra,
					    .nextras = 1};

	expect_rewritten("drops", X "A: 1" CRLF "B: 2" CRLF "C: 3" CRLF "D: 4" CRLF "E: 5" END,
			 false, &reply, X "B: 2" CRLF "X: y" CRLF "E: 5" END);
}

Test(http_response, refuses_extras_with_controls)
{
	const struct ht_http_extra extra = {HT_STR("A: b\r\nC: d"), 0};
	const struct ht_http_reply reply = {
		.client_minor = 1, .keep_alive = true, .extras = &extra, .nextras = 1};
	char out[256];

	cr_expect_eq(rewrite(X CRLF, false, &reply, out, sizeof(out)), -502);
}

Test(http_response, that_does_not_fit_is_502)
{
	const struct ht_http_extra extra = {HT_STR("X: y"), 0};
	const struct ht_http_reply reply = {
		.body = HT_BODY_LENGTH, .make_private = true, .extras = &extra, .nextras = 1};
	static const char in[] = OK "A: 1" CRLF "Cache-Control: max-age=1" CRLF
				    "Content-Length: 5" END;
	char big[512];
	int n = rewrite(in, false, &reply, big, sizeof(big));

	cr_assert_gt(n, 0);
	for (int cap = 0; cap <= n; cap++) {
		char *out = exact(big, (size_t)cap);

		cr_expect_eq(rewrite(in, false, &reply, out, (size_t)cap), cap == n ? n : -502,
			     "%d", cap);
		free(out);
	}
}

#define CC "Cache-Control: "
#define NC "no-cache=\"Set-Cookie\""

static const struct {
	const char *name, *in, *out;
} made_private[] = {
	{"nothing there", "A: 1" CRLF, "A: 1" CRLF CC "private, " NC CRLF},
	{"public", CC "public, max-age=60" CRLF "A: 1" CRLF,
	 CC "max-age=60, private, " NC CRLF "A: 1" CRLF},
	{"s-maxage", CC "s-maxage=60" CRLF, CC "private, " NC CRLF},
	{"private", CC "Private, max-age=1" CRLF, CC "Private, max-age=1, " NC CRLF},
	{"private with fields", CC "private=\"a, b\"" CRLF, CC "private, " NC CRLF},
	{"no-store", CC "no-store" CRLF, CC "no-store" CRLF},
	{"no-store and public", CC "no-store, public" CRLF, CC "no-store" CRLF},
	{"no-cache", CC "no-cache" CRLF, CC "no-cache, private" CRLF},
	{"no-cache with fields", CC "no-cache=\"a\"" CRLF,
	 CC "no-cache=\"a, Set-Cookie\", private" CRLF},
	{"no-cache with ours", CC "no-cache=\"a, set-cookie\"" CRLF,
	 CC "no-cache=\"a, set-cookie\", private" CRLF},
	{"no-cache as token", CC "no-cache=a" CRLF, CC "no-cache=\"a, Set-Cookie\", private" CRLF},
	{"no-cache with escapes", CC "no-cache=\"a\\\"\"" CRLF, CC "no-cache, private" CRLF},
	{"two fields", CC "public" CRLF "A: 1" CRLF CC "max-age=1,,immutable " CRLF,
	 CC "max-age=1, immutable, private, " NC CRLF "A: 1" CRLF},
	{"comma in quotes", CC "x=\"a, public\", public" CRLF,
	 CC "x=\"a, public\", private, " NC CRLF},
	{"open quote", CC "no-store=\"x, public" CRLF, CC "no-store" CRLF},
	{"other caches", "CDN-Cache-Control: public" CRLF "Surrogate-Control: x" CRLF,
	 CC "private, " NC CRLF},
};

Test(http_response, makes_private)
{
	const struct ht_http_reply reply = {
		.client_minor = 1, .keep_alive = true, .make_private = true};

	for (size_t i = 0; i < HT_ARRAY_SIZE(made_private); i++) {
		char in[256], out[256];

		snprintf(in, sizeof(in), X "%s" CRLF, made_private[i].in);
		snprintf(out, sizeof(out), X "%s" CRLF, made_private[i].out);
		expect_rewritten(made_private[i].name, in, false, &reply, out);
	}
}

/* ---- our own answers ---- */

static void expect_error(int status, const char *text, bool keep_alive, bool head_request,
			 const char *want)
{
	char out[512];
	int n = ht_http_write_error(status, text, keep_alive, head_request, out, sizeof(out));

	cr_expect(n == (int)strlen(want) && !memcmp(out, want, (size_t)n), "%d\n%.*s", n,
		  n > 0 ? n : 0, out);
}

Test(http_response, writes_an_error)
{
	expect_error(400, "obs-fold", false, false,
		     "HTTP/1.1 400 Bad Request" CRLF "Content-Type: text/plain" CRLF
		     "Content-Length: 9" CRLF "Connection: close" END "obs-fold\n");
}

Test(http_response, writes_an_error_to_head)
{
	expect_error(503, NULL, true, true,
		     "HTTP/1.1 503 Service Unavailable" CRLF "Content-Type: text/plain" CRLF
		     "Content-Length: 20" END);
}

Test(http_response, error_always_fits)
{
	char text[1000], out[512];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	for (int status = 100; status < 1000; status++)
		cr_expect_gt(ht_http_write_error(status, text, false, false, out, sizeof(out)), 0,
			     "%d", status);
}

/* ---- the chunked coding ---- */

/* Decodes in steps of `step` bytes after the first `split`; the body is put into out. */
static int dechunk(struct ht_str in, size_t split, size_t step, char *out, size_t *ret_out,
		   size_t *ret_used)
{
	struct ht_http_chunked c = {0};
	size_t at = 0;
	int r = 0;

	*ret_out = 0;
	for (size_t next = split; at < in.len && !r; next += step) {
		size_t upto = HT_MIN(next, in.len);
		char *buf = exact(in.p + at, upto - at);
		size_t used = 0, n, base = at;

		while (at < upto && !r) {
			const char *data;

			r = ht_http_dechunk(&c, buf + (at - base), upto - at, &used, &data, &n);
			if (r >= 0) {
				cr_assert(data >= buf && data + n <= buf + (upto - base));
				memcpy(out + *ret_out, data, n);
				*ret_out += n;
			}
			cr_assert(used || r);
			at += used;
		}
		free(buf);
	}
	*ret_used = at;
	return r;
}

static const struct {
	const char *name, *in;
	int result;
	const char *body;
	size_t rest; /* bytes that are left */
} chunked[] = {
	{"empty", "0" END, 1, "", 0},
	{"one", "3" CRLF "abc" CRLF "0" END, 1, "abc", 0},
	{"two", "3" CRLF "abc" CRLF "1" CRLF "d" CRLF "0" END, 1, "abcd", 0},
	{"next request", "1" CRLF "a" CRLF "0" END "GET", 1, "a", 3},
	{"hex", "0000A" CRLF "0123456789" CRLF "0" END, 1, "0123456789", 0},
	{"data like a chunk", "5" CRLF "0" CRLF CRLF CRLF "0" END, 1, "0" CRLF CRLF, 0},
	{"extension", "3;a=b;c=\"d \\\" e\";f" CRLF "abc" CRLF "0;x" END, 1, "abc", 0},
	{"trailers", "0" CRLF "A: b\tc" CRLF "Cookie:x" END, 1, "", 0},
	{"incomplete", "3" CRLF "ab", 0, "ab", 0},
	{"no end", "3" CRLF "abc" CRLF "0" CRLF, 0, "abc", 0},
	{"no size", CRLF, -400, "", 0},
	{"no digits", "x" CRLF, -400, "", 0},
	{"0x", "0x3" CRLF "abc" CRLF, -400, "", 0},
	{"sign", "+3" CRLF "abc" CRLF, -400, "", 0},
	{"negative", "-1" CRLF, -400, "", 0},
	{"blank before size", " 3" CRLF "abc" CRLF, -400, "", 0},
	{"blank after size", "3 " CRLF "abc" CRLF, -400, "", 0},
	{"tab after size", "3\t" CRLF "abc" CRLF, -400, "", 0},
	{"blank before extension", "3 ;a" CRLF "abc" CRLF, -400, "", 0},
	{"blank in extension", "3; a" CRLF "abc" CRLF, -400, "", 0},
	{"blank after extension", "3;a " CRLF "abc" CRLF, -400, "", 0},
	{"bare LF after size", "3\nabc" CRLF, -400, "", 0},
	{"bare CR after size", "3\rabc" CRLF, -400, "", 0},
	{"bare LF in extension", "3;a\nabc" CRLF, -400, "", 0},
	{"control in extension", "3;a\x01" CRLF "abc" CRLF, -400, "", 0},
	{"CRLF in quotes", "3;a=\"b" CRLF "abc" CRLF, -400, "", 0},
	{"escaped LF in quotes", "3;a=\"\\\n\"" CRLF "abc" CRLF, -400, "", 0},
	{"bare LF after data", "3" CRLF "abc\n0" END, -400, "abc", 0},
	{"more data than said", "3" CRLF "abcd" CRLF "0" END, -400, "abc", 0},
	{"less data than said", "3" CRLF "ab" CRLF "0" END, -400, "ab\r", 0},
	{"2^63-1", "7fffffffffffffff" CRLF "abc", 0, "abc", 0},
	{"2^63", "8000000000000000" CRLF "abc", -400, "", 0},
	{"2^64+3", "10000000000000003" CRLF "abc", -400, "", 0},
	{"bare LF after last chunk", "0\n" CRLF, -400, "", 0},
	{"bare LF at the end", "0" CRLF "\n", -400, "", 0},
	{"bare CR at the end", "0" CRLF "\rx", -400, "", 0},
	{"trailer without name", "0" CRLF ": x" END, -400, "", 0},
	{"trailer without colon", "0" CRLF "abc" END, -400, "", 0},
	{"trailer with blank before colon", "0" CRLF "a : b" END, -400, "", 0},
	{"folded trailer", "0" CRLF "a: b" CRLF " c" END, -400, "", 0},
	{"control in trailer", "0" CRLF "a: \x01" END, -400, "", 0},
	{"bare LF in trailer", "0" CRLF "a: b\nc: d" END, -400, "", 0},
};

Test(http_chunked, decodes_at_every_split)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(chunked); i++) {
		struct ht_str in = HT_STR(chunked[i].in);
		size_t steps[] = {1, in.len + 1};

		for (size_t split = 0; split <= in.len; split++)
			for (size_t s = 0; s < HT_ARRAY_SIZE(steps); s++) {
				char out[64];
				size_t n, used;
				int r = dechunk(in, split, steps[s], out, &n, &used);

				cr_expect(r == chunked[i].result, "%s: %d", chunked[i].name, r);
				cr_expect(
					ht_str_eq((struct ht_str){out, n}, HT_STR(chunked[i].body)),
					"%s, split at %zu: body '%.*s'", chunked[i].name, split,
					(int)n, out);
				if (r == 1)
					cr_expect_eq(used, in.len - chunked[i].rest, "%s",
						     chunked[i].name);
			}
	}
}

/* Repeats `unit` n times between `before` and `after`. */
static int dechunk_repeated(const char *before, const char *unit, size_t n, const char *after)
{
	size_t len = strlen(unit), out_len, used;
	char *in = malloc(strlen(before) + n * len + strlen(after) + 1), *p, *out;
	int r;

	cr_assert(in);
	p = stpcpy(in, before);
	for (size_t i = 0; i < n; i++)
		p = stpcpy(p, unit);
	p = stpcpy(p, after);
	out = malloc((size_t)(p - in));
	r = dechunk((struct ht_str){in, (size_t)(p - in)}, 0, 64, out, &out_len, &used);
	free(out);
	free(in);
	return r;
}

Test(http_chunked, bounds_an_extension)
{
	cr_expect_eq(dechunk_repeated("1;", "x", 4000, CRLF "a" CRLF "0" END), 1);
	cr_expect_eq(dechunk_repeated("1;", "x", 9000, CRLF "a" CRLF "0" END), -400);
}

Test(http_chunked, bounds_extensions_of_many_chunks)
{
	cr_expect_eq(dechunk_repeated("", "1;xxxxxxxxxxxxxxxxxxxx" CRLF "a" CRLF, 5000, "0" END),
		     -400);
}

Test(http_chunked, takes_many_small_chunks)
{
	cr_expect_eq(dechunk_repeated("", "1" CRLF "a" CRLF, 5000, "0" END), 1);
}

Test(http_chunked, takes_large_chunks_with_extensions)
{
	cr_expect_eq(dechunk_repeated("",
				      "20;xxxxxxxxxxxxxxxxxxxx" CRLF
				      "0123456789abcdef0123456789abcdef" CRLF,
				      5000, "0" END),
		     1);
}

Test(http_chunked, bounds_leading_zeros)
{
	cr_expect_eq(dechunk_repeated("", "0", 9000, END), -400);
}

Test(http_chunked, bounds_trailers)
{
	cr_expect_eq(dechunk_repeated("0" CRLF, "A: b" CRLF, 1000, CRLF), 1);
	cr_expect_eq(dechunk_repeated("0" CRLF, "A: b" CRLF, 2000, CRLF), -400);
}

Test(http_chunked, stays_broken)
{
	struct ht_http_chunked c = {0};
	const char *data;
	size_t used, n;

	cr_expect_eq(ht_http_dechunk(&c, "x", 1, &used, &data, &n), -400);
	cr_expect_eq(ht_http_dechunk(&c, "0\r\n\r\n", 5, &used, &data, &n), -400);
	cr_expect_eq(n, 0);
}

Test(http_chunked, stays_done)
{
	struct ht_http_chunked c = {0};
	const char *data;
	size_t used, n;

	cr_expect_eq(ht_http_dechunk(&c, "0\r\n\r\n", 5, &used, &data, &n), 1);
	cr_expect_eq(ht_http_dechunk(&c, "GET", 3, &used, &data, &n), 1);
	cr_expect_eq(used, 0);
}

static const struct {
	uint64_t n;
	bool first;
	const char *line;
} lines[] = {
	{1, true, "1" CRLF},
	{0x4000, false, CRLF "4000" CRLF},
	{UINT64_MAX, false, CRLF "ffffffffffffffff" CRLF},
	{0, true, "0" END},
	{0, false, CRLF "0" END},
};

Test(http_chunked, writes_size_lines)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(lines); i++) {
		char out[24];
		int n = ht_http_chunk_line(lines[i].n, lines[i].first, out);

		cr_expect(ht_str_eq((struct ht_str){out, (size_t)n}, HT_STR(lines[i].line)), "%zu",
			  i);
	}
}
