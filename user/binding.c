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

static const struct {
	const char *name;
	bool built;
} kinds[] = {
	[HT_BIND_CLIENT_IP] = {"client-ip", true},
	[HT_BIND_GEOIP_COUNTRY] = {"geoip-country", false},
	[HT_BIND_X509_SUBJECT] = {"x509-subject", true},
	[HT_BIND_X509_SPKI] = {"x509-spki", false},
	[HT_BIND_USER] = {"user", false},
	[HT_BIND_TLS_EXPORTER] = {"tls-exporter", false},
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

static struct ht_str ingredient(const struct ht_client *client, const struct ht_bind *b,
				char scratch[INET6_ADDRSTRLEN])
{
	switch (b->kind) {
	case HT_BIND_CLIENT_IP:
		return client_ip(&client->addr, b, scratch);
	case HT_BIND_X509_SUBJECT:
		return client->x509_subject;
	default:
		return (struct ht_str){"", 0};
	}
}

/*
 * What the digest is made of: every ingredient with what it is and how long it is, so that neither
 * "a" "bc" and "ab" "c" nor the same text from two kinds or prefixes are one binding.
 */
struct transcript {
	uint8_t bytes[HT_BINDING_MAX + HT_BINDS_PER_RULE * 8];
	size_t len;
};

static void transcript_add(struct transcript *t, const struct ht_bind *b, struct ht_str text)
{
	bool ip = b->kind == HT_BIND_CLIENT_IP;
	const uint8_t header[8] = {
		(uint8_t)b->kind,  ip ? b->v4_bits : 0,	     ip ? b->v6_bits : 0, 0,
		(uint8_t)text.len, (uint8_t)(text.len >> 8),
	};

	_Static_assert(HT_BINDING_MAX <= UINT16_MAX, "a length fits its two bytes");
	assert(t->len + sizeof(header) + text.len <= sizeof(t->bytes));
	memcpy(t->bytes + t->len, header, sizeof(header));
	memcpy(t->bytes + t->len + sizeof(header), text.p, text.len);
	t->len += sizeof(header) + text.len;
}

static bool transcript_digest(const struct transcript *t, uint64_t ret[2])
{
	uint8_t sha[32];

	if (!EVP_Digest(t->bytes, t->len, sha, NULL, EVP_sha256(), NULL))
		return false;
	memcpy(ret, sha, 2 * sizeof(*ret));
	if (!ret[0] && !ret[1])
		ret[0] = 1; /* 0,0 says that there is no binding */
	return true;
}

/* All ingredients or nothing. */
static bool binding_fill(const struct ht_bind *binds, size_t nbinds, const struct ht_client *client,
			 struct ht_binding *b)
{
	struct transcript t;

	t.len = 0;
	for (size_t i = 0; i < nbinds; i++) {
		char scratch[INET6_ADDRSTRLEN];
		struct ht_str text = ingredient(client, &binds[i], scratch);

		if (!text.len || text.len > sizeof(b->text) - b->len)
			return false;
		memcpy(b->text + b->len, text.p, text.len);
		b->len += text.len;
		transcript_add(&t, &binds[i], text);
	}
	return b->len && transcript_digest(&t, b->digest);
}

void ht_binding_make(const struct ht_bind *binds, size_t nbinds, const struct ht_client *client,
		     struct ht_binding *ret)
{
	assert(nbinds <= HT_BINDS_PER_RULE);
	ret->len = 0;
	ret->digest[0] = ret->digest[1] = 0;
	ret->empty = !binding_fill(binds, nbinds, client, ret);
	if (ret->empty)
		ret->len = 0;
	ret->colon = ret->len && memchr(ret->text, ':', ret->len);
}

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

		if (strlen(kinds[i].name) != len || memcmp(kinds[i].name, text, len))
			continue;
		if (b.kind == HT_BIND_CLIENT_IP ? parse_prefixes(text + len, &b) < 0 : text[len])
			return -EINVAL;
		if (!kinds[i].built)
			return -EOPNOTSUPP;
		*ret = b;
		return 0;
	}
	return -EINVAL;
}

const char *ht_bind_kind_name(enum ht_bind_kind kind)
{
	return (size_t)kind < HT_ARRAY_SIZE(kinds) ? kinds[kind].name : "unknown";
}
