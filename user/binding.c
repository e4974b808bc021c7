/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bindings: which client a token is for, as text for the MAC and as a digest for the gate. Must
 * stay pure, and must never make a binding out of less than the configuration asks for.
 */
#include "binding.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <openssl/evp.h>

static const char *const kinds[] = {
	[HT_BIND_CLIENT_IP] = "client-ip",
	[HT_BIND_GEOIP_COUNTRY] = "geoip-country",
	[HT_BIND_X509_SUBJECT] = "x509-subject",
	[HT_BIND_X509_SPKI] = "x509-spki",
	[HT_BIND_USER] = "user",
	[HT_BIND_TLS_EXPORTER] = "tls-exporter",
};

static void mask_address(uint8_t *bytes, size_t n, unsigned bits)
{
	assert(bits >= 1 && bits <= n * 8);
	for (size_t i = 0; i < n; i++) {
		unsigned keep = bits > 8 * i ? HT_MIN(bits - 8 * i, 8) : 0;

		bytes[i] &= (uint8_t)(0xff00 >> keep);
	}
}

static struct ht_str mask_v4(const void *addr, unsigned bits, char *out)
{
	uint8_t bytes[4];

	memcpy(bytes, addr, sizeof(bytes));
	mask_address(bytes, sizeof(bytes), bits);
	inet_ntop(AF_INET, bytes, out, INET_ADDRSTRLEN);
	return HT_STR(out);
}

static struct ht_str mask_v6(const void *addr, unsigned bits, char *out)
{
	uint8_t bytes[16];

	memcpy(bytes, addr, sizeof(bytes));
	mask_address(bytes, sizeof(bytes), bits);
	inet_ntop(AF_INET6, bytes, out, INET6_ADDRSTRLEN);
	return HT_STR(out);
}

/* The address as the iRule's `IP::addr ADDRESS mask MASK` writes it: no "/24" behind it. */
static struct ht_str client_ip(const struct sockaddr_storage *addr, const struct ht_bind *b,
			       char out[INET6_ADDRSTRLEN])
{
	const struct sockaddr_in *in = (const void *)addr;
	const struct sockaddr_in6 *in6 = (const void *)addr;

	if (addr->ss_family == AF_INET)
		return mask_v4(&in->sin_addr, b->v4_bits, out);
	if (addr->ss_family != AF_INET6)
		return (struct ht_str){"", 0};
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return mask_v4(in6->sin6_addr.s6_addr + 12, b->v4_bits, out);
	return mask_v6(&in6->sin6_addr, b->v6_bits, out);
}

/* Digests and keys have one length; what has another is none. */
static struct ht_str exactly(struct ht_str s, size_t len)
{
	return s.len == len ? s : (struct ht_str){"", 0};
}

/* An ingredient's bytes; `scratch` is where an address is printed. Empty = it can't be had. */
static struct ht_str ingredient(const struct ht_client *client, const struct ht_bind *b,
				char scratch[INET6_ADDRSTRLEN])
{
	switch (b->kind) {
	case HT_BIND_CLIENT_IP:
		return client_ip(&client->addr, b, scratch);
	case HT_BIND_GEOIP_COUNTRY:
		return exactly(client->country, 2);
	case HT_BIND_X509_SUBJECT:
		return client->x509_subject;
	case HT_BIND_X509_SPKI:
		return exactly(client->x509_spki, 32);
	case HT_BIND_USER:
		return client->user.len <= HT_USER_MAX ? client->user : (struct ht_str){"", 0};
	case HT_BIND_TLS_EXPORTER:
		return exactly(client->exporter, 32);
	}
	return (struct ht_str){"", 0};
}

/* ---- the transcript ---- */

#define HT_BIND_NAME_MAX 32 /* of the longest, "client-ip/32,128", and what may come */

/*
 * What the digest is made of: every ingredient with what it is and how long it is, so that neither
 * "a" "bc" and "ab" "c" nor the same text from two kinds or prefixes are one binding. It is part of
 * a token's format: hardtack-native(7) specifies it.
 */
struct transcript {
	uint8_t bytes[HT_BINDING_MAX + HT_BINDS_PER_RULE * (8 + HT_BIND_NAME_MAX)];
	size_t len;
};

static void transcript_add(struct transcript *t, struct ht_str s)
{
	const uint8_t len[4] = {(uint8_t)(s.len >> 24), (uint8_t)(s.len >> 16),
				(uint8_t)(s.len >> 8), (uint8_t)s.len};

	assert(s.len <= sizeof(t->bytes) - sizeof(len) - t->len);
	memcpy(t->bytes + t->len, len, sizeof(len));
	memcpy(t->bytes + t->len + sizeof(len), s.p, s.len);
	t->len += sizeof(len) + s.len;
}

static void transcript_add_kind(struct transcript *t, const struct ht_bind *b)
{
	char name[HT_BIND_NAME_MAX + 1];

	if (b->kind == HT_BIND_CLIENT_IP)
		snprintf(name, sizeof(name), "client-ip/%u,%u", b->v4_bits, b->v6_bits);
	else
		snprintf(name, sizeof(name), "%s", ht_bind_kind_name(b->kind));
	transcript_add(t, HT_STR(name));
}

static bool transcript_digest(const struct transcript *t, struct ht_binding *b)
{
	if (!EVP_Digest(t->bytes, t->len, b->sha, NULL, EVP_sha256(), NULL))
		return false;
	memcpy(b->digest, b->sha, sizeof(b->digest));
	if (!b->digest[0] && !b->digest[1])
		b->digest[0] = 1; /* 0,0 says that there is no binding */
	return true;
}

/* ---- bindings ---- */

static bool text_add(struct ht_binding *b, const void *bytes, size_t n)
{
	if (n > sizeof(b->text) - b->len)
		return false;
	memcpy(b->text + b->len, bytes, n);
	b->len += n;
	return true;
}

static bool text_add_hex(struct ht_binding *b, struct ht_str s)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < s.len; i++) {
		uint8_t byte = (uint8_t)s.p[i];

		if (!text_add(b, &digits[byte >> 4], 1) || !text_add(b, &digits[byte & 15], 1))
			return false;
	}
	return true;
}

static bool is_binary(enum ht_bind_kind kind)
{
	return kind == HT_BIND_X509_SPKI || kind == HT_BIND_TLS_EXPORTER;
}

/* All ingredients or nothing. */
static bool binding_fill(const struct ht_bind *binds, size_t nbinds, const struct ht_client *client,
			 struct ht_binding *b)
{
	struct transcript t;

	t.len = 0;
	for (size_t i = 0; i < nbinds; i++) {
		char scratch[INET6_ADDRSTRLEN];
		struct ht_str s = ingredient(client, &binds[i], scratch);

		if (!s.len)
			return false;
		if (binds[i].kind == HT_BIND_USER) {
			b->user_at = (uint16_t)b->len;
			b->user_len = (uint16_t)s.len;
		}
		if (!(is_binary(binds[i].kind) ? text_add_hex(b, s) : text_add(b, s.p, s.len)))
			return false;
		transcript_add_kind(&t, &binds[i]);
		transcript_add(&t, s);
	}
	return transcript_digest(&t, b);
}

void ht_binding_make(const struct ht_bind *binds, size_t nbinds, const struct ht_client *client,
		     struct ht_binding *ret)
{
	assert(nbinds <= HT_BINDS_PER_RULE);
	ret->len = ret->user_at = ret->user_len = 0;
	ret->empty = !binding_fill(binds, nbinds, client, ret);
	if (ret->empty) {
		ret->len = ret->user_at = ret->user_len = 0;
		memset(ret->sha, 0, sizeof(ret->sha));
		memset(ret->digest, 0, sizeof(ret->digest));
	}
	ret->colon = ret->len && memchr(ret->text, ':', ret->len);
}

bool ht_bind_has(const struct ht_bind *binds, size_t nbinds, enum ht_bind_kind kind)
{
	for (size_t i = 0; i < nbinds; i++) {
		if (binds[i].kind == kind)
			return true;
	}
	return false;
}

/* ---- their names ---- */

/* Decimal 1..max without sign, blanks or leading zeros; *text moves behind it. */
static int parse_bits(const char **text, unsigned max, uint8_t *ret)
{
	const char *p = *text;
	unsigned n = 0;

	if (*p < '1' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		n = n * 10 + (unsigned)(*p - '0');
		if (n > max)
			return -EINVAL;
	}
	*text = p;
	*ret = (uint8_t)n;
	return 0;
}

/* "", "/V4" or "/V4,V6" */
static int parse_prefixes(const char *text, struct ht_bind *b)
{
	if (!*text)
		return 0;
	if (*text++ != '/' || parse_bits(&text, 32, &b->v4_bits) < 0)
		return -EINVAL;
	if (!*text)
		return 0;
	if (*text++ != ',' || parse_bits(&text, 128, &b->v6_bits) < 0 || *text)
		return -EINVAL;
	return 0;
}

int ht_bind_parse(const char *text, struct ht_bind *ret)
{
	size_t len = strcspn(text, "/");

	for (size_t i = 0; i < HT_ARRAY_SIZE(kinds); i++) {
		struct ht_bind b = {(enum ht_bind_kind)i, 32, 128};

		if (strlen(kinds[i]) != len || memcmp(kinds[i], text, len))
			continue;
		if (b.kind == HT_BIND_CLIENT_IP ? parse_prefixes(text + len, &b) < 0 : text[len])
			return -EINVAL;
		*ret = b;
		return 0;
	}
	return -EINVAL;
}

const char *ht_bind_kind_name(enum ht_bind_kind kind)
{
	return (size_t)kind < HT_ARRAY_SIZE(kinds) ? kinds[kind] : "unknown";
}
