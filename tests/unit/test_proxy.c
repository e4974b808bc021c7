/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PROXY protocol's receiver, prefixes, and the client that trusted proxies name. Every header is
 * also offered cut at each of its bytes: what is not there yet must be waited for, never guessed.
 */
#include <criterion/criterion.h>

#include <arpa/inet.h>

#include "proxy.h"

/* ---- headers ---- */

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(s) s, sizeof(s) - 1
#define V4_BLOCK "\xc0\x00\x02\x0a\xc6\x33\x64\x01\x12\x67\x01\xbb"
#define V6_BLOCK                                                                                   \
	"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0a"                         \
	"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"                         \
	"\x12\x67\x01\xbb"
#define V4_SRC "192.0.2.10 4711"
#define V4_DST "198.51.100.1 443"
#define V6_SRC "2001:db8::a 4711"
#define V6_DST "2001:db8::1 443"
#define PATH_12 "/run/a\0\0\0\0\0\0"
#define PATH_108 PATH_12 PATH_12 PATH_12 PATH_12 PATH_12 PATH_12 PATH_12 PATH_12 PATH_12
#define UNIX_BLOCK PATH_108 PATH_108

/* "ADDRESS PORT", or "" for none. */
static const char *text_of(const struct sockaddr_storage *a, char *out, size_t cap)
{
	const struct sockaddr_in6 *in6 = (const void *)a;
	const struct sockaddr_in *in = (const void *)a;
	char host[INET6_ADDRSTRLEN];

	out[0] = '\0';
	if (a->ss_family == AF_INET)
		snprintf(out, cap, "%s %u", inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host)),
			 ntohs(in->sin_port));
	if (a->ss_family == AF_INET6)
		snprintf(out, cap, "%s %u",
			 inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host)),
			 ntohs(in6->sin6_port));
	return out;
}

static int parse(const char *bytes, size_t len, struct ht_proxy *ret, const char **ret_why)
{
	char *exact = malloc(len ? len : 1);
	int r;

	cr_assert_not_null(exact);
	memcpy(exact, bytes, len); /* so that reading beyond its end is seen */
	r = ht_proxy_parse(exact, len, ret, ret_why);
	free(exact);
	return r;
}

static const struct good {
	const char *name, *bytes;
	size_t len;
	enum ht_proxy_kind kind;
	const char *source, *destination;
} good[] = {
	{"v1 TCP4", BYTES("PROXY TCP4 192.0.2.10 198.51.100.1 4711 443\r\n"), HT_PROXY_ADDRESSES,
	 V4_SRC, V4_DST},
	{"v1 TCP6", BYTES("PROXY TCP6 2001:db8::a 2001:db8::1 4711 443\r\n"), HT_PROXY_ADDRESSES,
	 V6_SRC, V6_DST},
	{"v1 port 0", BYTES("PROXY TCP4 192.0.2.10 198.51.100.1 0 65535\r\n"), HT_PROXY_ADDRESSES,
	 "192.0.2.10 0", "198.51.100.1 65535"},
	{"v1 unknown", BYTES("PROXY UNKNOWN\r\n"), HT_PROXY_UNKNOWN, "", ""},
	{"v1 unknown with more", BYTES("PROXY UNKNOWN 192.0.2.10 x\r\n"), HT_PROXY_UNKNOWN, "", ""},
	{"v1 the longest",
	 BYTES("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535 0123456789 0123456789 "
	       "0123456789 012345678 1234\r\n"),
	 HT_PROXY_UNKNOWN, "", ""},
	{"v2 TCP4", BYTES(V2 "\x21\x11\x00\x0c" V4_BLOCK), HT_PROXY_ADDRESSES, V4_SRC, V4_DST},
	{"v2 UDP4", BYTES(V2 "\x21\x12\x00\x0c" V4_BLOCK), HT_PROXY_ADDRESSES, V4_SRC, V4_DST},
	{"v2 TCP6", BYTES(V2 "\x21\x21\x00\x24" V6_BLOCK), HT_PROXY_ADDRESSES, V6_SRC, V6_DST},
	{"v2 TLVs", BYTES(V2 "\x21\x11\x00\x13" V4_BLOCK "\x04\x00\x00\x01\x00\x01h"),
	 HT_PROXY_ADDRESSES, V4_SRC, V4_DST},
	{"v2 CRC32C", BYTES(V2 "\x21\x11\x00\x13" V4_BLOCK "\x03\x00\x04\xd7\x20\x78\x2e"),
	 HT_PROXY_ADDRESSES, V4_SRC, V4_DST},
	{"v2 CRC32C and more",
	 BYTES(V2 "\x21\x11\x00\x17" V4_BLOCK "\x03\x00\x04\xca\x25\x32\x84\x04\x00\x01x"),
	 HT_PROXY_ADDRESSES, V4_SRC, V4_DST},
	{"v2 unix", BYTES(V2 "\x21\x31\x00\xd8" UNIX_BLOCK), HT_PROXY_UNKNOWN, "", ""},
	{"v2 unspecified", BYTES(V2 "\x21\x00\x00\x00"), HT_PROXY_UNKNOWN, "", ""},
	{"v2 unspecified with bytes", BYTES(V2 "\x21\x00\x00\x03\xff\xff\xff"), HT_PROXY_UNKNOWN,
	 "", ""},
	{"v2 local", BYTES(V2 "\x20\x00\x00\x00"), HT_PROXY_LOCAL, "", ""},
	{"v2 local, any family", BYTES(V2 "\x20\xff\x00\x02\x01\x02"), HT_PROXY_LOCAL, "", ""},
	{"v2 local with addresses", BYTES(V2 "\x20\x11\x00\x0c" V4_BLOCK), HT_PROXY_LOCAL, "", ""},
};

Test(proxy, reads_headers)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(good); i++) {
		const struct good *g = &good[i];
		const char *why = "";
		struct ht_proxy p;
		char text[64];

		cr_assert_eq(parse(g->bytes, g->len, &p, &why), 1, "%s: %s", g->name, why);
		cr_expect_eq(p.kind, g->kind, "%s", g->name);
		cr_expect_eq(p.version, g->name[1] - '0', "%s", g->name);
		cr_expect_eq(p.len, g->len, "%s", g->name);
		cr_expect(p.version == 2 || g->len <= HT_PROXY_V1_MAX, "%s", g->name);
		cr_expect_str_eq(text_of(&p.source, text, sizeof(text)), g->source, "%s", g->name);
		cr_expect_str_eq(text_of(&p.destination, text, sizeof(text)), g->destination, "%s",
				 g->name);
	}
}

Test(proxy, waits_for_every_byte)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(good); i++) {
		for (size_t n = 0; n < good[i].len; n++) {
			const char *why = "";
			struct ht_proxy p;

			cr_expect_eq(parse(good[i].bytes, n, &p, &why), 0, "%s cut at %zu: %s",
				     good[i].name, n, why);
		}
	}
}

Test(proxy, leaves_what_follows)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(good); i++) {
		char bytes[512];
		const char *why = "";
		struct ht_proxy p;

		memcpy(bytes, good[i].bytes, good[i].len);
		memcpy(bytes + good[i].len, "\r\n\r\nPROXY ", 10);
		cr_expect_eq(parse(bytes, good[i].len + 10, &p, &why), 1, "%s: %s", good[i].name,
			     why);
		cr_expect_eq(p.len, good[i].len, "%s", good[i].name);
	}
}

/* `at`: how many bytes it takes to see what is wrong. */
static const struct bad {
	const char *name, *bytes;
	size_t len, at;
} bad[] = {
	{"a request", BYTES("GET / HTTP/1.1\r\n"), 1},
	{"a TLS hello", BYTES("\x16\x03\x01"), 1},
	{"a POST begins as PROXY does", BYTES("POST / HTTP/1.1\r\n"), 2},
	{"an empty line, then a request", BYTES("\r\nGET / HTTP/1.1\r\n"), 3},
	{"lower case", BYTES("proxy TCP4 192.0.2.10 198.51.100.1 4711 443\r\n"), 1},
	{"v1 no protocol", BYTES("PROXY \r\n"), 8},
	{"v1 other protocol", BYTES("PROXY TCP5 192.0.2.10 198.51.100.1 4711 443\r\n"), 45},
	{"v1 UNKNOWN and a letter", BYTES("PROXY UNKNOWNS\r\n"), 16},
	{"v1 two spaces", BYTES("PROXY TCP4  192.0.2.10 198.51.100.1 4711 443\r\n"), 46},
	{"v1 space at the end", BYTES("PROXY TCP4 192.0.2.10 198.51.100.1 4711 443 \r\n"), 46},
	{"v1 no second port", BYTES("PROXY TCP4 192.0.2.10 198.51.100.1 4711\r\n"), 41},
	{"v1 wrong family", BYTES("PROXY TCP4 2001:db8::a 2001:db8::1 4711 443\r\n"), 45},
	{"v1 mixed family", BYTES("PROXY TCP6 2001:db8::a 192.0.2.1 4711 443\r\n"), 43},
	{"v1 octal address", BYTES("PROXY TCP4 192.0.2.010 198.51.100.1 4711 443\r\n"), 46},
	{"v1 short address", BYTES("PROXY TCP4 192.0.2 198.51.100.1 4711 443\r\n"), 42},
	{"v1 zone", BYTES("PROXY TCP6 fe80::1%1 2001:db8::1 4711 443\r\n"), 43},
	{"v1 port 65536", BYTES("PROXY TCP4 192.0.2.10 198.51.100.1 65536 443\r\n"), 46},
	{"v1 port with zero", BYTES("PROXY TCP4 192.0.2.10 198.51.100.1 04711 443\r\n"), 46},
	{"v1 port with sign", BYTES("PROXY TCP4 192.0.2.10 198.51.100.1 +4711 443\r\n"), 46},
	{"v1 bare LF", BYTES("PROXY TCP4 192.0.2.10 198.51.100.1 4711 443\n"), 44},
	{"v1 bare CR", BYTES("PROXY UNKNOWN\rGET"), 15},
	{"v1 NUL", BYTES("PROXY UNKNOWN \0\r\n"), 15},
	{"v1 8-bit", BYTES("PROXY UNKNOWN \xc3\xa4\r\n"), 15},
	{"v1 of 108 bytes",
	 BYTES("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535 0123456789 0123456789 "
	       "0123456789 0123456789 1234\r\n"),
	 106},
	{"v2 version 1", BYTES(V2 "\x11\x11\x00\x0c" V4_BLOCK), 13},
	{"v2 command 2", BYTES(V2 "\x22\x11\x00\x0c" V4_BLOCK), 13},
	{"v2 family 4", BYTES(V2 "\x21\x41\x00\x0c" V4_BLOCK), 14},
	{"v2 transport 0", BYTES(V2 "\x21\x10\x00\x0c" V4_BLOCK), 14},
	{"v2 transport 3", BYTES(V2 "\x21\x13\x00\x0c" V4_BLOCK), 14},
	{"v2 unspecified stream", BYTES(V2 "\x21\x01\x00\x0c" V4_BLOCK), 14},
	{"v2 one byte short", BYTES(V2 "\x21\x11\x00\x0b" V4_BLOCK), 27},
	{"v2 six for four", BYTES(V2 "\x21\x21\x00\x0c" V4_BLOCK), 28},
	{"v2 too long", BYTES(V2 "\x21\x11\x0f\xf1"), 16},
	{"v2 TLV cut off", BYTES(V2 "\x21\x11\x00\x0e" V4_BLOCK "\x04\x00"), 30},
	{"v2 TLV too long", BYTES(V2 "\x21\x11\x00\x10" V4_BLOCK "\x04\x00\x02x"), 32},
	{"v2 wrong CRC32C", BYTES(V2 "\x21\x11\x00\x13" V4_BLOCK "\x03\x00\x04\xd7\x20\x78\x2f"),
	 35},
	{"v2 short CRC32C", BYTES(V2 "\x21\x11\x00\x12" V4_BLOCK "\x03\x00\x03\xd7\x20\x78"), 34},
	{"v2 unix one byte short", BYTES(V2 "\x21\x31\x00\xd7" UNIX_BLOCK), 231},
};

Test(proxy, refuses_what_is_no_header)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(bad); i++) {
		const struct bad *b = &bad[i];

		for (size_t n = 0; n <= b->len; n++) {
			const char *why = NULL;
			struct ht_proxy p;
			int r = parse(b->bytes, n, &p, &why);

			cr_expect_eq(r, n < b->at ? 0 : -EPROTO, "%s: %d at %zu", b->name, r, n);
			cr_expect(r != -EPROTO || why, "%s", b->name);
		}
	}
}

Test(proxy, a_second_crc32c_is_refused)
{
	/* both would be right, each with the other in its sum: nobody writes that */
	static const char twice[] = V2 "\x21\x11\x00\x1a" V4_BLOCK "\x03\x00\x04\x2a\xc8\x61\x6e"
				       "\x03\x00\x04\x6c\xa3\x4f\xab";
	const char *why = NULL;
	struct ht_proxy p;

	cr_expect_eq(parse(twice, sizeof(twice) - 1, &p, &why), -EPROTO);
}

/* ---- prefixes ---- */

static struct sockaddr_storage addr_of(const char *text)
{
	struct sockaddr_storage a = {0};

	if (inet_pton(AF_INET, text, &((struct sockaddr_in *)&a)->sin_addr) == 1)
		a.ss_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&a)->sin6_addr) == 1)
		a.ss_family = AF_INET6;
	return a;
}

static struct ht_prefix prefix_of(const char *text)
{
	const char *why = "";
	struct ht_prefix p;

	cr_assert_eq(ht_prefix_parse(HT_STR(text), &p, &why), 0, "%s %s", text, why);
	return p;
}

Test(proxy, prefixes_match)
{
	static const struct {
		const char *prefix, *addr;
		bool match;
	} rows[] = {
		{"10.0.0.0/8", "10.255.0.1", true},
		{"10.0.0.0/8", "11.0.0.0", false},
		{"10.0.0.0/8", "::ffff:10.1.2.3", true},
		{"192.0.2.7", "192.0.2.7", true},
		{"192.0.2.7", "192.0.2.6", false},
		{"192.0.2.8/30", "192.0.2.11", true},
		{"192.0.2.8/30", "192.0.2.12", false},
		{"192.0.2.8/31", "192.0.2.10", false},
		{"0.0.0.0/0", "255.1.2.3", true},
		{"0.0.0.0/0", "::", false},
		{"2001:db8::/32", "2001:db8:ffff::1", true},
		{"2001:db8::/32", "2001:db9::", false},
		{"2001:db8::/33", "2001:db8:8000::", false},
		{"2001:db8::1", "2001:db8::1", true},
		{"2001:db8::1", "2001:db8::2", false},
		{"::/0", "2001:db8::1", true},
		{"::/0", "192.0.2.1", false},
		{"::/0", "::ffff:192.0.2.1", false},
		{"::ffff:10.0.0.0/104", "10.9.9.9", true},
		{"::ffff:10.0.0.0/104", "11.9.9.9", false},
		{"::ffff:192.0.2.1", "192.0.2.1", true},
		{"a00::/8", "10.0.0.1", false},
		{"0.0.0.0/0", "no address", false},
		{"::/0", "no address", false},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_prefix p = prefix_of(rows[i].prefix);
		struct sockaddr_storage a = addr_of(rows[i].addr);

		cr_expect_eq(ht_prefix_match(&p, 1, &a), rows[i].match, "%s in %s", rows[i].addr,
			     rows[i].prefix);
	}
}

Test(proxy, any_prefix_of_a_list_will_do)
{
	const struct ht_prefix list[] = {prefix_of("10.0.0.0/8"), prefix_of("192.0.2.1")};
	struct sockaddr_storage a = addr_of("192.0.2.1"), b = addr_of("192.0.2.2");

	cr_expect(ht_prefix_match(list, 2, &a));
	cr_expect_not(ht_prefix_match(list, 1, &a));
	cr_expect_not(ht_prefix_match(list, 2, &b));
	cr_expect_not(ht_prefix_match(NULL, 0, &a));
}

Test(proxy, prefixes_that_are_none)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{"", "no address"},
		{"/8", "no address"},
		{"proxy.example", "no address"},
		{"10.0.0", "no address"},
		{"10.0.0.0.0", "no address"},
		{"[::1]", "no address"},
		{"10.0.0.0 /8", "no address"},
		{"fe80::1%eth0", "no address"},
		{"10.0.0.1:80", "no address"},
		{"10.0.0.0/", "prefix length"},
		{"10.0.0.0/33", "prefix length"},
		{"10.0.0.0/08", "prefix length"},
		{"10.0.0.0/-1", "prefix length"},
		{"10.0.0.0/8/8", "prefix length"},
		{"10.0.0.0/255.0.0.0", "prefix length"},
		{"::/129", "prefix length"},
		{"::/1000", "prefix length"},
		{"::ffff:10.0.0.0/8", "prefix length"},
		{"10.0.0.1/8", "bits set"},
		{"2001:db8::1/64", "bits set"},
		{"128.0.0.0/0", "bits set"},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		const char *why = "";
		struct ht_prefix p;

		cr_expect_eq(ht_prefix_parse(HT_STR(rows[i].text), &p, &why), -EINVAL, "'%s'",
			     rows[i].text);
		cr_expect(strstr(why, rows[i].why), "'%s': %s", rows[i].text, why);
	}
	cr_expect_eq(ht_prefix_parse((struct ht_str){"10.0.0.1\0x", 10}, &(struct ht_prefix){0},
				     &(const char *){0}),
		     -EINVAL);
}

/* ---- the client ---- */

#define FIELDS(f)                                                                                  \
	(struct ht_forwarded)                                                                      \
	{                                                                                          \
		f, (f)[0].p ? (f)[1].p ? 2 : 1 : 0                                                 \
	}

/* Peer 10.0.0.1 unless the row says otherwise; 10.0.0.0/8 and 2001:db8:10::/48 are trusted. */
static const struct client_row {
	const char *name, *x[2], *f[2], *client;
	bool doubtful;
	const char *peer;
} client_rows[] = {
	{"nothing said", {0}, {0}, "10.0.0.1 0", false, NULL},
	{"a stranger says nothing to us", {"1.2.3.4"}, {0}, "192.0.2.9 0", false, "192.0.2.9"},
	{"one hop", {"1.2.3.4"}, {0}, "1.2.3.4 0", false, NULL},
	{"a mapped peer", {"1.2.3.4"}, {0}, "1.2.3.4 0", false, "::ffff:10.0.0.1"},
	{"a peer without address", {"1.2.3.4"}, {0}, "", false, "unix"},
	{"the first stranger counts",
	 {"6.6.6.6, 1.2.3.4, 10.9.9.9"},
	 {0},
	 "1.2.3.4 0",
	 false,
	 NULL},
	{"all trusted", {"10.3.3.3, 10.2.2.2"}, {0}, "10.3.3.3 0", false, NULL},
	{"two fields", {"6.6.6.6", "1.2.3.4, 10.2.2.2"}, {0}, "1.2.3.4 0", false, NULL},
	{"on into the field before",
	 {"6.6.6.6, 1.2.3.4", "10.2.2.2"},
	 {0},
	 "1.2.3.4 0",
	 false,
	 NULL},
	{"empty elements", {" ,1.2.3.4,\t, "}, {0}, "1.2.3.4 0", false, NULL},
	{"an empty field", {"", "1.2.3.4"}, {0}, "1.2.3.4 0", false, NULL},
	{"a port", {"1.2.3.4:5678"}, {0}, "1.2.3.4 0", false, NULL},
	{"IPv6", {"2001:db8::7, 2001:db8:10::1"}, {0}, "2001:db8::7 0", false, NULL},
	{"IPv6 in brackets", {"[2001:db8::7]"}, {0}, "2001:db8::7 0", false, NULL},
	{"IPv6 with port", {"[2001:db8::7]:443"}, {0}, "2001:db8::7 0", false, NULL},
	{"mapped IPv6", {"::ffff:1.2.3.4"}, {0}, "1.2.3.4 0", false, NULL},
	{"garbage beyond the client", {"<x>, 1.2.3.4"}, {0}, "1.2.3.4 0", false, NULL},
	{"garbage", {"1.2.3.4, x"}, {0}, "10.0.0.1 0", true, NULL},
	{"garbage behind a trusted one", {"1.2.3.4, x, 10.2.2.2"}, {0}, "10.2.2.2 0", true, NULL},
	{"unknown", {"unknown"}, {0}, "10.0.0.1 0", true, NULL},
	{"quotes are none", {"\"1.2.3.4\""}, {0}, "10.0.0.1 0", true, NULL},
	{"IPv4 in brackets", {"[1.2.3.4]"}, {0}, "10.0.0.1 0", true, NULL},
	{"an open bracket", {"[2001:db8::7"}, {0}, "10.0.0.1 0", true, NULL},
	{"junk behind a bracket", {"[2001:db8::7]x"}, {0}, "10.0.0.1 0", true, NULL},
	{"a bad port", {"1.2.3.4:x"}, {0}, "10.0.0.1 0", true, NULL},
	{"an empty port", {"1.2.3.4:"}, {0}, "10.0.0.1 0", true, NULL},
	{"octal", {"1.2.3.04"}, {0}, "10.0.0.1 0", true, NULL},
	{"blank inside", {"1.2.3.4 5"}, {0}, "10.0.0.1 0", true, NULL},

	{"for", {0}, {"for=1.2.3.4"}, "1.2.3.4 0", false, NULL},
	{"any case, other parameters",
	 {0},
	 {"proto=https; FOR=1.2.3.4;by=_x"},
	 "1.2.3.4 0",
	 false,
	 NULL},
	{"quoted", {0}, {"for=\"1.2.3.4\""}, "1.2.3.4 0", false, NULL},
	{"quoted with port", {0}, {"for=\"1.2.3.4:80\""}, "1.2.3.4 0", false, NULL},
	{"obfuscated port", {0}, {"for=\"1.2.3.4:_x\""}, "1.2.3.4 0", false, NULL},
	{"quoted IPv6", {0}, {"for=\"[2001:db8::7]\""}, "2001:db8::7 0", false, NULL},
	{"quoted IPv6 with port",
	 {0},
	 {"For=\"[2001:db8::7]:4711\""},
	 "2001:db8::7 0",
	 false,
	 NULL},
	{"backslashes", {0}, {"for=\"1\\.2.3.4\""}, "1.2.3.4 0", false, NULL},
	{"commas and quotes in quotes",
	 {0},
	 {"for=1.2.3.4;host=\"a,\\\"b;for=6.6.6.6\""},
	 "1.2.3.4 0",
	 false,
	 NULL},
	{"hops",
	 {0},
	 {"for=6.6.6.6, for=1.2.3.4;proto=http, for=10.2.2.2"},
	 "1.2.3.4 0",
	 false,
	 NULL},
	{"fields", {0}, {"for=1.2.3.4", "for=\"[2001:db8:10::1]\""}, "1.2.3.4 0", false, NULL},
	{"an open quote swallows nothing",
	 {0},
	 {"for=\"6.6.6.6, for=1.2.3.4"},
	 "10.0.0.1 0",
	 true,
	 NULL},
	{"an open quote in another field",
	 {0},
	 {"for=\"6.6.6.6", "for=1.2.3.4"},
	 "1.2.3.4 0",
	 false,
	 NULL},
	{"bare IPv6", {0}, {"for=\"2001:db8::7\""}, "10.0.0.1 0", true, NULL},
	{"hidden", {0}, {"for=_secret"}, "10.0.0.1 0", true, NULL},
	{"unknown, RFC 7239", {0}, {"for=unknown"}, "10.0.0.1 0", true, NULL},
	{"no for", {0}, {"proto=https"}, "10.0.0.1 0", true, NULL},
	{"for twice", {0}, {"for=1.2.3.4;for=6.6.6.6"}, "10.0.0.1 0", true, NULL},
	{"an empty for", {0}, {"for="}, "10.0.0.1 0", true, NULL},
	{"half a quote", {0}, {"for=1.2.3.4\""}, "10.0.0.1 0", true, NULL},
	{"a name that ends in for", {0}, {"xfor=1.2.3.4"}, "10.0.0.1 0", true, NULL},

	{"both agree", {"1.2.3.4"}, {"for=1.2.3.4"}, "1.2.3.4 0", false, NULL},
	{"both disagree", {"1.2.3.4"}, {"for=6.6.6.6"}, "10.0.0.1 0", true, NULL},
	{"one is garbage", {"1.2.3.4"}, {"x"}, "10.0.0.1 0", true, NULL},
};

static void check_client(const struct client_row *row)
{
	const struct ht_prefix trusted[] = {prefix_of("10.0.0.0/8"), prefix_of("2001:db8:10::/48")};
	const struct sockaddr_storage peer = addr_of(row->peer ? row->peer : "10.0.0.1");
	struct sockaddr_storage client;
	struct ht_str x[2], f[2];
	char text[64];
	bool clean;

	for (int i = 0; i < 2; i++) {
		x[i] = row->x[i] ? HT_STR(row->x[i]) : (struct ht_str){0};
		f[i] = row->f[i] ? HT_STR(row->f[i]) : (struct ht_str){0};
	}
	clean = ht_proxy_client(&peer, trusted, 2, &FIELDS(x), &FIELDS(f), &client);
	cr_expect_str_eq(text_of(&client, text, sizeof(text)), row->client, "%s: %s", row->name,
			 text);
	cr_expect_eq(clean, !row->doubtful, "%s", row->name);
}

Test(proxy, finds_the_client)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(client_rows); i++)
		check_client(&client_rows[i]);
}

/* n trusted hops before the client. */
static bool hops(size_t n, char *ret, size_t cap)
{
	const struct ht_prefix trusted = prefix_of("10.0.0.0/8");
	const struct sockaddr_storage peer = addr_of("10.0.0.1");
	struct ht_forwarded none = {0}, x;
	struct sockaddr_storage client;
	struct ht_str value;
	char text[2048] = "1.2.3.4";
	bool clean;

	for (size_t i = 0; i < n; i++)
		strcat(text, ", 10.0.0.2");
	value = HT_STR(text);
	x = (struct ht_forwarded){&value, 1};
	clean = ht_proxy_client(&peer, &trusted, 1, &x, &none, &client);
	text_of(&client, ret, cap);
	return clean;
}

Test(proxy, a_long_way_back_ends)
{
	char text[64];

	cr_expect(hops(HT_PROXY_HOPS_MAX - 1, text, sizeof(text)));
	cr_expect_str_eq(text, "1.2.3.4 0");
	cr_expect_not(hops(HT_PROXY_HOPS_MAX, text, sizeof(text)));
	cr_expect_str_eq(text, "10.0.0.2 0");
	cr_expect_not(hops(100, text, sizeof(text)));
	cr_expect_str_eq(text, "10.0.0.2 0");
}
