/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PROXY protocol's header, versions 1 and 2, as a receiver reads it: strictly, since whatever is
 * taken for a header here decides who a client is. Addresses only; whom to believe is not decided
 * here.
 */
#include "proxy.h"

#include <arpa/inet.h>

#define V1_SIGNATURE "PROXY "
#define V2_SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V2_SIGNATURE_LEN 12
#define V2_FIXED 16 /* signature, version and command, family, length */
#define TLV_CRC32C 3

/* ---- version 1 ---- */

/* The next word of a line whose words are parted by exactly one space; false at the end. */
static bool next_word(struct ht_str *line, struct ht_str *ret)
{
	const char *space;

	if (!line->p)
		return false;
	space = memchr(line->p, ' ', line->len);
	*ret = (struct ht_str){line->p, space ? (size_t)(space - line->p) : line->len};
	line->len -= ret->len + !!space;
	line->p = space ? space + 1 : NULL;
	return true;
}

static int parse_port(struct ht_str word, in_port_t *ret)
{
	unsigned port = 0;

	if (!word.len || word.len > 5 || (word.len > 1 && word.p[0] == '0'))
		return -EPROTO;
	for (size_t i = 0; i < word.len; i++) {
		if (word.p[i] < '0' || word.p[i] > '9')
			return -EPROTO;
		port = port * 10 + (unsigned)(word.p[i] - '0');
	}
	if (port > UINT16_MAX)
		return -EPROTO;
	*ret = htons((uint16_t)port);
	return 0;
}

static int parse_endpoint(int family, struct ht_str host, struct ht_str port,
			  struct sockaddr_storage *ret)
{
	struct sockaddr_in6 *in6 = (void *)ret;
	struct sockaddr_in *in = (void *)ret;
	char text[INET6_ADDRSTRLEN];

	if (host.len >= sizeof(text))
		return -EPROTO;
	memcpy(text, host.p, host.len);
	text[host.len] = '\0';
	memset(ret, 0, sizeof(*ret));
	ret->ss_family = (sa_family_t)family;
	if (inet_pton(family, text, family == AF_INET ? (void *)&in->sin_addr : &in6->sin6_addr) !=
	    1)
		return -EPROTO;
	return parse_port(port, family == AF_INET ? &in->sin_port : &in6->sin6_port);
}

/* What stands between "PROXY " and CRLF. */
static int parse_v1_line(struct ht_str line, struct ht_proxy *ret, const char **ret_why)
{
	struct ht_str protocol, from, to, from_port, to_port;
	int family;

	next_word(&line, &protocol);
	if (ht_str_eq(protocol, HT_STR("UNKNOWN"))) {
		ret->kind = HT_PROXY_UNKNOWN; /* and whatever follows means nothing */
		return 1;
	}
	*ret_why = "protocol is not TCP4, TCP6 or UNKNOWN";
	if (protocol.len != 4 || memcmp(protocol.p, "TCP", 3) ||
	    (protocol.p[3] != '4' && protocol.p[3] != '6'))
		return -EPROTO;
	family = protocol.p[3] == '4' ? AF_INET : AF_INET6;
	*ret_why = "not two addresses and two ports";
	if (!next_word(&line, &from) || !next_word(&line, &to) || !next_word(&line, &from_port) ||
	    !next_word(&line, &to_port) || line.p)
		return -EPROTO;
	*ret_why = "bad address or port";
	if (parse_endpoint(family, from, from_port, &ret->source) ||
	    parse_endpoint(family, to, to_port, &ret->destination))
		return -EPROTO;
	ret->kind = HT_PROXY_ADDRESSES;
	return 1;
}

static int parse_v1(const char *buf, size_t len, struct ht_proxy *ret, const char **ret_why)
{
	const size_t start = sizeof(V1_SIGNATURE) - 1;
	size_t i = start;

	while (i < len && i < HT_PROXY_V1_MAX && buf[i] >= ' ' && buf[i] <= '~')
		i++;
	*ret_why = "line is longer than 107 bytes";
	if (i + 1 >= HT_PROXY_V1_MAX)
		return -EPROTO;
	*ret_why = "line does not end with CRLF";
	if (i < len && buf[i] != '\r')
		return -EPROTO;
	if (i + 1 < len && buf[i + 1] != '\n')
		return -EPROTO;
	if (i + 1 >= len)
		return 0;
	ret->version = 1;
	ret->len = i + 2;
	return parse_v1_line((struct ht_str){buf + start, i - start}, ret, ret_why);
}

/* ---- version 2 ---- */

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)be16(p) << 16 | be16(p + 2);
}

/* CRC-32C (Castagnoli) of the header with the four bytes at `hole` taken for zero. */
static uint32_t crc32c(const uint8_t *p, size_t len, size_t hole)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= i >= hole && i < hole + 4 ? 0 : p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static int check_tlvs(const uint8_t *header, size_t at, size_t len, const char **ret_why)
{
	bool summed = false;

	while (at < len) {
		size_t value = at + 3, n;

		*ret_why = "TLV beyond the header's end";
		if (value > len)
			return -EPROTO;
		n = be16(header + at + 1);
		if (n > len - value)
			return -EPROTO;
		if (header[at] == TLV_CRC32C) {
			*ret_why = "CRC32C twice or not of four bytes";
			if (n != 4 || summed)
				return -EPROTO;
			*ret_why = "CRC32C is wrong";
			if (crc32c(header, len, value) != be32(header + value))
				return -EPROTO;
			summed = true;
		}
		at = value + n;
	}
	return 0;
}

static void fill_v4(struct sockaddr_storage *ret, const uint8_t *addr, const uint8_t *port)
{
	struct sockaddr_in *in = (void *)ret;

	in->sin_family = AF_INET;
	memcpy(&in->sin_addr, addr, 4);
	memcpy(&in->sin_port, port, 2);
}

static void fill_v6(struct sockaddr_storage *ret, const uint8_t *addr, const uint8_t *port)
{
	struct sockaddr_in6 *in6 = (void *)ret;

	in6->sin6_family = AF_INET6;
	memcpy(&in6->sin6_addr, addr, 16);
	memcpy(&in6->sin6_port, port, 2);
}

/* The size of the address block of a family and transport; -EPROTO if there is no such. */
static int block_size(uint8_t family)
{
	switch (family) {
	case 0x00:
		return 0;
	case 0x11:
	case 0x12:
		return 12;
	case 0x21:
	case 0x22:
		return 36;
	case 0x31:
	case 0x32:
		return 216;
	}
	return -EPROTO;
}

/* A complete header with the command PROXY. */
static int parse_v2_proxy(const uint8_t *p, size_t len, struct ht_proxy *ret, const char **ret_why)
{
	const uint8_t *block = p + V2_FIXED;
	int size = block_size(p[13]);

	ret->kind = HT_PROXY_UNKNOWN;
	if (!size)
		return 1; /* what follows is of an unknown layout */
	*ret_why = "too short for its addresses";
	if (len - V2_FIXED < (size_t)size)
		return -EPROTO;
	if (check_tlvs(p, V2_FIXED + (size_t)size, len, ret_why))
		return -EPROTO;
	if (p[13] >> 4 == 3)
		return 1; /* a unix socket's paths say nothing about a client */
	ret->kind = HT_PROXY_ADDRESSES;
	if (size == 12) {
		fill_v4(&ret->source, block, block + 8);
		fill_v4(&ret->destination, block + 4, block + 10);
	} else {
		fill_v6(&ret->source, block, block + 32);
		fill_v6(&ret->destination, block + 16, block + 34);
	}
	return 1;
}

static int parse_v2(const uint8_t *p, size_t len, struct ht_proxy *ret, const char **ret_why)
{
	size_t total;

	*ret_why = "version or command is unknown";
	if (len > 12 && p[12] != 0x20 && p[12] != 0x21)
		return -EPROTO;
	*ret_why = "address family is unknown";
	if (len > 13 && p[12] == 0x21 && block_size(p[13]) < 0)
		return -EPROTO;
	if (len < V2_FIXED)
		return 0;
	total = V2_FIXED + (size_t)be16(p + 14);
	*ret_why = "header is longer than we take";
	if (total > HT_PROXY_V2_MAX)
		return -EPROTO;
	if (len < total)
		return 0;
	ret->version = 2;
	ret->len = total;
	if (p[12] == 0x21)
		return parse_v2_proxy(p, total, ret, ret_why);
	ret->kind = HT_PROXY_LOCAL;
	return 1;
}

/* ---- either ---- */

int ht_proxy_parse(const void *buf, size_t len, struct ht_proxy *ret, const char **ret_why)
{
	const size_t v1 = sizeof(V1_SIGNATURE) - 1, v2 = V2_SIGNATURE_LEN;

	memset(ret, 0, sizeof(*ret));
	if (!len)
		return 0;
	if (!memcmp(buf, V1_SIGNATURE, HT_MIN(len, v1)))
		return len < v1 ? 0 : parse_v1(buf, len, ret, ret_why);
	if (!memcmp(buf, V2_SIGNATURE, HT_MIN(len, v2)))
		return len < v2 ? 0 : parse_v2(buf, len, ret, ret_why);
	*ret_why = "no PROXY header";
	return -EPROTO;
}
