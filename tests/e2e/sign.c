/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The formats of proxysg and native once more, in the plainest way. See sign.h.
 */
#include "sign.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

const struct style sign_default = {"sha256", "base64", true, "|"};

static size_t hmac(const EVP_MD *md, const void *p, size_t len, uint8_t mac[64])
{
	unsigned n;

	cr_assert(HMAC(md, E2E_KEY, strlen(E2E_KEY), p, len, mac, &n));
	return n;
}

static void to_hex(const uint8_t *p, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++)
		snprintf(out + 2 * i, 3, "%02x", p[i]);
}

static void to_base64(const uint8_t *p, size_t len, bool url, char *out)
{
	EVP_EncodeBlock((uint8_t *)out, p, (int)len);
	for (char *c = out; url && *c; c++) {
		if (*c == '=')
			*c-- = 0;
		else if (*c == '+' || *c == '/')
			*c = *c == '+' ? '-' : '_';
	}
}

const char *sign_proxysg(const struct style *s, const char *name, const char *value,
			 const char *input)
{
	static char ring[32][100];
	static unsigned next;
	char *ret = ring[next++ % 32];
	struct text t = {0};
	uint8_t mac[64];
	size_t n;

	if (s->name_in_mac)
		text_addf(&t, "%s%s", name, s->separator);
	text_addf(&t, "%s", value);
	if (*input)
		text_addf(&t, "%s%s", s->separator, input);
	n = hmac(strcmp(s->algorithm, "sha1") ? EVP_sha256() : EVP_sha1(), t.p, t.len, mac);
	if (!strcmp(s->encoding, "hex"))
		to_hex(mac, n, ret);
	else
		to_base64(mac, n, !strcmp(s->encoding, "base64url"), ret);
	text_free(&t);
	return ret;
}

/* ---- native ---- */

static void put(struct text *t, const void *p, size_t len)
{
	uint32_t be = htonl((uint32_t)len);

	text_add(t, &be, 4);
	text_add(t, p, len);
}

static void digest_of(const char *ip, uint8_t ret[32])
{
	struct text t = {0};

	text_add(&t, "", 0);
	if (ip) {
		put(&t, "client-ip/32,128", 16);
		put(&t, ip, strlen(ip));
	}
	cr_assert(EVP_Digest(t.p, t.len, ret, NULL, EVP_sha256(), NULL));
	text_free(&t);
}

const char *sign_native(const struct native *n)
{
	static char ring[32][600];
	static unsigned next;
	char *ret = ring[next++ % 32], kid[9], times[2][24], mac64[64];
	const char *attributes = n->attributes ? n->attributes : "";
	uint8_t mac[64], bind[32];
	struct text t = {0};

	hmac(EVP_sha256(), "hardtack key id", 15, mac);
	to_hex(mac, 4, kid);
	snprintf(times[0], sizeof(times[0]), "%llu", (unsigned long long)n->issued);
	snprintf(times[1], sizeof(times[1]), "%llu", (unsigned long long)n->expires);
	digest_of(n->ip, bind);
	put(&t, "hardtack native 1", 17);
	put(&t, kid, 8);
	put(&t, times[0], strlen(times[0]));
	put(&t, times[1], strlen(times[1]));
	put(&t, attributes, strlen(attributes));
	put(&t, n->name, strlen(n->name));
	put(&t, n->value, strlen(n->value));
	put(&t, bind, sizeof(bind));
	hmac(EVP_sha256(), t.p, t.len, mac);
	to_base64(mac, 32, true, mac64);
	snprintf(ret, sizeof(ring[0]), "1.%s.%s.%s.%s.%s", kid, times[0], times[1], attributes,
		 mac64);
	text_free(&t);
	return ret;
}

bool sign_is_native(const char *token, const char *name, const char *value, const char *ip,
		    struct native *ret)
{
	static char attributes[600];
	unsigned long long issued, expires;
	const char *p = token, *end;

	if (!token || sscanf(token, "1.%*8[0-9a-f].%llu.%llu.", &issued, &expires) != 2)
		return false;
	for (int dots = 0; dots < 4; p++) {
		if (!*p)
			return false;
		dots += *p == '.';
	}
	end = strchr(p, '.');
	if (!end)
		return false;
	snprintf(attributes, sizeof(attributes), "%.*s", (int)(end - p), p);
	*ret = (struct native){name, value, ip, attributes, issued, expires};
	return !strcmp(sign_native(ret), token);
}

/* ---- patterns ---- */

static void expand_one(struct text *out, const char *at, char *inside, const struct style *style)
{
	char *value = strchr(inside, '='), *input = strchr(inside, '@');

	*value++ = 0;
	if (input)
		*input++ = 0;
	if (*at == '<')
		text_addf(out, "%s",
			  sign_native(&(struct native){inside, value, input, "", SIGN_FIRST,
						       SIGN_LAST}));
	else
		text_addf(out, "%s", sign_proxysg(style, inside, value, input ? input : ""));
}

void sign_expand(struct text *out, const char *pattern, const struct style *style)
{
	const char *p = pattern, *at;
	char inside[4200], *before;

	for (; *(at = p + strcspn(p, "{<")); p = at + strcspn(at, "}>") + 1) {
		size_t n = strcspn(at, "}>") - 1;

		snprintf(inside, sizeof(inside), "%.*s", (int)n, at + 1);
		before = strndup(p, (size_t)(at - p) + (strchr(inside, '=') ? 0 : n + 2));
		token_expand(out, before); /* its own patterns have no '=' */
		free(before);
		if (strchr(inside, '='))
			expand_one(out, at, inside, style ? style : &sign_default);
	}
	token_expand(out, p);
}

/* ---- responses ---- */

static const char *set_cookie(const struct response *r, const char *name)
{
	size_t len = strlen(name);

	for (int i = 0; i < response_count(r, "Set-Cookie"); i++) {
		const char *field = response_field(r, "Set-Cookie", i);

		if (!strncmp(field, name, len) && field[len] == '=')
			return field + len + 1;
	}
	return NULL;
}

const char *set_cookie_value(const struct response *r, const char *name)
{
	static char ring[16][1024];
	static unsigned next;
	const char *s = set_cookie(r, name);
	char *ret = ring[next++ % 16];

	if (!s)
		return NULL;
	snprintf(ret, sizeof(ring[0]), "%.*s", (int)strcspn(s, ";"), s);
	return ret;
}

const char *set_cookie_attributes(const struct response *r, const char *name)
{
	static char ring[16][1024];
	static unsigned next;
	const char *s = set_cookie(r, name);
	char *ret = ring[next++ % 16];

	if (!s)
		return NULL;
	snprintf(ret, sizeof(ring[0]), "%s", s + strcspn(s, ";"));
	return ret;
}
