/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes HTTP/1.1 framing for what must hold of any input: in parts it is understood as in one
 * piece, and what we forward is understood by the next reader as we understood it. The first byte
 * chooses what the rest is.
 */
#include "http.h"

#define REQUIRE(x)                                                                                 \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char *exact(const char *p, size_t len)
{
	char *copy = malloc(len ? len : 1);

	REQUIRE(copy);
	if (len)
		memcpy(copy, p, len);
	return copy;
}

/* In parts of `step` bytes; an incomplete head may be refused later than in one piece. */
static void check_request_parts(const char *in, size_t len, size_t step, int whole)
{
	static struct ht_http_request r;
	const char *why = NULL;
	size_t from = 0, at = 0;
	int n = 0;

	while (at < len && !n) {
		char *buf;

		at += HT_MIN(step, len - at);
		buf = exact(in, at);
		n = ht_http_parse_request(buf, at, &from, &r, &why);
		free(buf);
	}
	REQUIRE(n ? n == whole : whole <= 0);
}

static int count(const char *head, size_t len, const char *line)
{
	const char *p = head;
	int n = 0;

	while ((p = memmem(p, (size_t)(head + len - p), line, strlen(line)))) {
		n++;
		p++;
	}
	return n;
}

static void check_same(const struct ht_http_request *a, const struct ht_http_request *b)
{
	REQUIRE(b->minor == 1 && b->keep_alive);
	REQUIRE(ht_str_eq(a->method, b->method));
	REQUIRE(ht_str_eq(a->authority, b->authority) && ht_str_eq(a->host, b->host));
	REQUIRE(a->upgrade == b->upgrade && a->idempotent == b->idempotent && a->ntlm == b->ntlm);
	REQUIRE(a->expect_continue == b->expect_continue);
	if (a->body == HT_BODY_NONE)
		REQUIRE(b->body == HT_BODY_NONE || (b->body == HT_BODY_LENGTH && !b->length));
	else
		REQUIRE(a->body == b->body && a->length == b->length);
}

static void check_forwarded(struct ht_http_request *a)
{
	static const struct ht_http_forward f = {
		.client_ip = {"192.0.2.1", 9}, .proto = "https", .request_id = {"x", 1}};
	static struct ht_http_request b;
	static char out[65536], again[65536];
	const char *why = NULL;
	char *buf;
	int n, m;

	if (!a->authority.len)
		a->host = a->authority = (struct ht_str){"filled-in", 9};
	n = ht_http_write_request(a, &f, out, sizeof(out));
	REQUIRE(n > 0 || n == -431);
	if (n < 0)
		return;
	buf = exact(out, (size_t)n);
	/* Our own fields may be the ones too many: then it is forwarded, but not read by us. */
	m = ht_http_parse_request(buf, (size_t)n, NULL, &b, &why);
	REQUIRE(m == 1 || (m == -431 && a->nfields > 110));
	if (m == 1) {
		REQUIRE(b.head_len == (size_t)n);
		check_same(a, &b);
		REQUIRE(count(out, (size_t)n, "\r\nConnection:") == b.upgrade);
		REQUIRE(count(out, (size_t)n, "\r\nUpgrade:") == b.upgrade);
		REQUIRE(count(out, (size_t)n, "\r\nHost: ") == 1);
		REQUIRE(count(out, (size_t)n, "\r\nX-Forwarded-For: ") == 1);
		m = ht_http_write_request(&b, &f, again, sizeof(again));
		REQUIRE(m == n && !memcmp(out, again, (size_t)n));
	}
	free(buf);
}

static void fuzz_request(const char *in, size_t len)
{
	static struct ht_http_request r;
	const char *why = NULL;
	char *buf = exact(in, len);
	int n = ht_http_parse_request(buf, len, NULL, &r, &why);

	REQUIRE(n >= 0 || why);
	if (len < 512)
		check_request_parts(in, len, 1, n);
	check_request_parts(in, len, 7 + len / 5, n);
	if (n == 1) {
		REQUIRE(r.head_len <= len && r.nfields <= HT_HTTP_FIELDS_MAX);
		check_forwarded(&r);
	}
	free(buf);
}

static void check_reply(struct ht_http_response *a, bool head_request, bool make_private)
{
	const struct ht_http_extra extra = {{"Set-Cookie: x_HMAC=y", 20}, a->nfields / 2};
	struct ht_http_reply reply = {.body = a->body,
				      .client_minor = 1,
				      .keep_alive = true,
				      .make_private = make_private,
				      .extras = &extra,
				      .nextras = 1};
	static struct ht_http_response b;
	static char out[65536], again[65536];
	const char *why = NULL;
	char *buf;
	int n, m;

	n = ht_http_write_response(a, &reply, out, sizeof(out));
	REQUIRE(n > 0 || n == -502);
	if (n < 0 || a->nfields > 120)
		return;
	buf = exact(out, (size_t)n);
	REQUIRE(ht_http_parse_response(buf, (size_t)n, NULL, head_request, &b, &why) == 1);
	REQUIRE(b.head_len == (size_t)n && b.status == a->status && b.body == a->body);
	REQUIRE(b.has_length == a->has_length && (!b.has_length || b.length == a->length));
	reply.nextras = 0;
	m = ht_http_write_response(&b, &reply, again, sizeof(again));
	REQUIRE(m == n && !memcmp(out, again, (size_t)n));
	free(buf);
}

static void fuzz_response(const char *in, size_t len, bool head_request, bool make_private)
{
	static struct ht_http_response r;
	const char *why = NULL;
	char *buf = exact(in, len);
	size_t from = 0, at = 0;
	int n, parts = 0;

	while (at < len && !parts) {
		at += HT_MIN(7 + len / 5, len - at);
		parts = ht_http_parse_response(buf, at, &from, head_request, &r, &why);
	}
	n = ht_http_parse_response(buf, len, NULL, head_request, &r, &why);
	REQUIRE(parts ? n == parts : n <= 0);
	if (n == 1)
		check_reply(&r, head_request, make_private);
	free(buf);
}

/* The body's bytes and how it ends, decoded in steps. */
static int dechunk(const char *in, size_t len, size_t step, char *out, size_t *ret_out,
		   size_t *ret_used)
{
	struct ht_http_chunked c = {0};
	size_t at = 0;
	int r = 0;

	*ret_out = 0;
	while (at < len && !r) {
		size_t take = HT_MIN(step, len - at), used, n;
		char *buf = exact(in + at, take);
		const char *body;

		r = ht_http_dechunk(&c, buf, take, &used, &body, &n);
		REQUIRE(used <= take && (used || r));
		REQUIRE(body >= buf && body + n <= buf + take);
		memcpy(out + *ret_out, body, n);
		*ret_out += n;
		at += used;
		free(buf);
	}
	*ret_used = at;
	return r;
}

static void fuzz_chunked(const char *in, size_t len)
{
	char *a = exact(in, len), *b = exact(in, len);
	size_t a_len, b_len, a_used, b_used;
	int whole = dechunk(in, len, len, a, &a_len, &a_used);

	REQUIRE(dechunk(in, len, 1, b, &b_len, &b_used) == whole);
	REQUIRE(a_len == b_len && !memcmp(a, b, a_len));
	if (whole == 1)
		REQUIRE(a_used == b_used);
	free(a);
	free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *in = (const char *)data + 1;

	if (!len)
		return 0;
	switch (*data) {
	case 'C':
		fuzz_chunked(in, len - 1);
		break;
	case 'R':
	case 'P':
	case 'H':
		fuzz_response(in, len - 1, *data == 'H', *data == 'P');
		break;
	default:
		fuzz_request(in, len - 1);
	}
	return 0;
}
