/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed cookies by the book, and how they come and go. See seal.h.
 */
#include "seal.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tables.h"

#define KID_LEN 8
#define TAG_LEN 16

/* ---- bytes ---- */

struct bytes {
	uint8_t p[8192];
	size_t len;
};

static void add(struct bytes *b, const void *p, size_t len)
{
	cr_assert_leq(len, sizeof(b->p) - b->len);
	memcpy(b->p + b->len, p, len);
	b->len += len;
}

static void add_be(struct bytes *b, uint64_t n, size_t width)
{
	for (size_t i = width; i-- > 0;) {
		uint8_t byte = (uint8_t)(n >> 8 * i);

		add(b, &byte, 1);
	}
}

static void add_counted(struct bytes *b, const void *p, size_t len)
{
	add_be(b, len, 4);
	add(b, p, len);
}

static uint64_t be(const uint8_t *p, size_t width)
{
	uint64_t n = 0;

	while (width--)
		n = n << 8 | *p++;
	return n;
}

static size_t to_text(const struct bytes *b, char *out)
{
	size_t n = (size_t)EVP_EncodeBlock((uint8_t *)out, b->p, (int)b->len);

	while (n && out[n - 1] == '=')
		n--;
	out[n] = '\0';
	for (char *p = out; *p; p++)
		*p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
	return n;
}

static bool from_text(const char *text, struct bytes *ret)
{
	char padded[SEAL_MAX + 4];
	size_t len = strlen(text), n = len;
	int got;

	if (len > SEAL_MAX || len % 4 == 1)
		return false;
	for (size_t i = 0; i < len; i++)
		padded[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
	while (n % 4)
		padded[n++] = '=';
	got = EVP_DecodeBlock(ret->p, (uint8_t *)padded, (int)n);
	if (got < 0)
		return false;
	ret->len = (size_t)got - (n - len);
	return true;
}

/* ---- what goes into it ---- */

static const char *key_of(const struct seal *s)
{
	return s->key ? s->key : E2E_KEY;
}

static void key_id(const struct seal *s, char ret[KID_LEN + 1])
{
	uint8_t mac[32];
	unsigned n;

	HMAC(EVP_sha256(), key_of(s), (int)strlen(key_of(s)), (const uint8_t *)"hardtack key id",
	     15, mac, &n);
	snprintf(ret, KID_LEN + 1, "%02x%02x%02x%02x", mac[0], mac[1], mac[2], mac[3]);
}

static void derive(const struct seal *s, uint8_t ret[32])
{
	const char *user = s->user ? s->user : "";
	struct bytes b = {.len = 0};
	unsigned n;

	add_counted(&b, "hardtack secure-cookie 1", 24);
	add_counted(&b, user, strlen(user));
	add_be(&b, 8, 4);
	add_be(&b, s->expires, 8);
	cr_assert(HMAC(EVP_sha256(), key_of(s), (int)strlen(key_of(s)), b.p, b.len, ret, &n));
}

static void add_digest(struct bytes *b, const struct seal *s)
{
	struct bytes t = {.len = 0};
	uint8_t sha[32];

	if (s->ip) {
		add_counted(&t, "client-ip/32,128", 16);
		add_counted(&t, s->ip, strlen(s->ip));
	}
	if (s->spki) {
		uint8_t raw[32];

		for (size_t i = 0; i < sizeof(raw); i++)
			sscanf(s->spki + 2 * i, "%2hhx", &raw[i]);
		add_counted(&t, "x509-spki", 9);
		add_counted(&t, raw, sizeof(raw));
	}
	if (s->user) {
		add_counted(&t, "user", 4);
		add_counted(&t, s->user, strlen(s->user));
	}
	SHA256(t.p, t.len, sha);
	add(b, sha, sizeof(sha));
}

/* `head`: what stands in front of the ciphertext. */
static void context(const struct seal *s, const struct bytes *head, struct bytes *ret)
{
	ret->len = 0;
	add(ret, head->p, head->len);
	add_counted(ret, s->name, strlen(s->name));
	add_digest(ret, s);
}

/* ---- both ways ---- */

const char *seal_make(const struct seal *s)
{
	static char texts[32][SEAL_MAX + 4];
	static unsigned next;
	const char *user = s->user ? s->user : "", *attributes = s->attributes ? s->attributes : "";
	char *ret = texts[next++ % 32], kid[KID_LEN + 1];
	struct bytes all = {.len = 0}, inner = {.len = 0}, aad;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t k[32], nonce[12] = {7}, tag[TAG_LEN];
	int n;

	key_id(s, kid);
	derive(s, k);
	add_be(&all, 1, 1);
	add(&all, kid, KID_LEN);
	add_be(&all, s->expires, 8);
	add_be(&all, strlen(user), 1);
	add(&all, user, strlen(user));
	add(&all, nonce, sizeof(nonce));
	context(s, &all, &aad);
	add_be(&inner, s->issued, 8);
	add_be(&inner, strlen(attributes), 2);
	add(&inner, attributes, strlen(attributes));
	add(&inner, s->value, s->len ? s->len : strlen(s->value));
	cr_assert(EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, k, nonce) == 1);
	cr_assert(EVP_EncryptUpdate(ctx, NULL, &n, aad.p, (int)aad.len) == 1);
	cr_assert(EVP_EncryptUpdate(ctx, inner.p, &n, inner.p, (int)inner.len) == 1);
	cr_assert(EVP_EncryptFinal_ex(ctx, inner.p + n, &n) == 1);
	cr_assert(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_LEN, tag) == 1);
	EVP_CIPHER_CTX_free(ctx);
	add(&all, inner.p, inner.len);
	add(&all, tag, TAG_LEN);
	cr_assert_leq(to_text(&all, ret), SEAL_MAX);
	return ret;
}

static bool decrypt(const struct seal *s, const struct bytes *all, size_t head_len,
		    struct bytes *ret)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	struct bytes head = {.len = 0}, aad;
	uint8_t k[32], tag[TAG_LEN];
	bool right;
	int n;

	derive(s, k);
	add(&head, all->p, head_len);
	context(s, &head, &aad);
	ret->len = all->len - head_len - TAG_LEN;
	memcpy(tag, all->p + all->len - TAG_LEN, TAG_LEN);
	right = EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, k, all->p + head_len - 12) == 1 &&
		EVP_DecryptUpdate(ctx, NULL, &n, aad.p, (int)aad.len) == 1 &&
		EVP_DecryptUpdate(ctx, ret->p, &n, all->p + head_len, (int)ret->len) == 1 &&
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_LEN, tag) == 1 &&
		EVP_DecryptFinal_ex(ctx, ret->p + n, &n) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return right;
}

bool seal_open(struct seal *s, const char *sealed, char ret[SEAL_MAX])
{
	static char attributes[600];
	char kid[KID_LEN + 1];
	struct bytes all, inner;
	size_t user_len, head_len, n;

	key_id(s, kid);
	if (!sealed || !from_text(sealed, &all) || all.len < 18 + 12 + 11 + TAG_LEN ||
	    all.p[0] != 1 || memcmp(all.p + 1, kid, KID_LEN))
		return false;
	s->expires = be(all.p + 9, 8);
	user_len = all.p[17];
	head_len = 18 + user_len + 12;
	if (user_len != (s->user ? strlen(s->user) : 0) || all.len < head_len + 11 + TAG_LEN ||
	    !decrypt(s, &all, head_len, &inner))
		return false;
	s->issued = be(inner.p, 8);
	n = (size_t)be(inner.p + 8, 2);
	if (n > inner.len - 10 || n >= sizeof(attributes))
		return false;
	snprintf(attributes, sizeof(attributes), "%.*s", (int)n, inner.p + 10);
	s->attributes = attributes;
	s->len = inner.len - 10 - n;
	memcpy(ret, inner.p + 10 + n, s->len);
	ret[s->len] = '\0';
	return true;
}

const char *seal_spki(const char *cert)
{
	static char hex[8][65];
	static unsigned next;
	char path[400], *ret = hex[next++ % 8];
	unsigned char *der = NULL;
	uint8_t sha[32];
	FILE *f;
	X509 *x;
	int len;

	snprintf(path, sizeof(path), "%s/%s.pem", run_dir(), cert);
	f = fopen(path, "re");
	cr_assert(f, "%s", path);
	x = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	cr_assert(x);
	len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
	cr_assert_gt(len, 0);
	SHA256(der, (size_t)len, sha);
	for (size_t i = 0; i < sizeof(sha); i++)
		snprintf(ret + 2 * i, 3, "%02x", sha[i]);
	OPENSSL_free(der);
	X509_free(x);
	return ret;
}

/* ---- to and fro ---- */

/* What the n-th Set-Cookie of that name says, with its attributes; "" if there is none. */
const char *seal_set_by(const struct response *r, const char *name, int n)
{
	static char lines[8][8192];
	static unsigned next;
	char *ret = lines[next++ % 8], prefix[160];
	size_t len = (size_t)snprintf(prefix, sizeof(prefix), "\r\nSet-Cookie: %s=", name);

	*ret = '\0';
	for (const char *at = strcasestr(r->head, prefix); at; at = strcasestr(at + 2, prefix)) {
		if (n--)
			continue;
		snprintf(ret, sizeof(lines[0]), "%.*s", (int)strcspn(at + len, "\r"), at + len);
		break;
	}
	return ret;
}

/* The value of such a line. */
const char *seal_value_in(const char *line)
{
	static char values[8][8192];
	static unsigned next;
	char *ret = values[next++ % 8];

	snprintf(ret, sizeof(values[0]), "%.*s", (int)strcspn(line, ";"), line);
	return ret;
}

/* All Cookie fields that the backend got, as they are, joined by '|'. */
const char *seal_seen(struct backend *be)
{
	static char fields[4][20000];
	static unsigned next;
	char *ret = fields[next++ % 4];
	const char *head = backend_last(be)->head;
	size_t n = 0;

	*ret = '\0';
	for (const char *at = strcasestr(head, "\r\nCookie: "); at;
	     at = strcasestr(at + 2, "\r\nCookie: "))
		n += (size_t)snprintf(ret + n, sizeof(fields[0]) - n, "%s%.*s", n ? "|" : "",
				      (int)strcspn(at + 10, "\r"), at + 10);
	return ret;
}

const char *seal_come(struct client *c, struct backend *be, const char *cookies)
{
	static char line[20000];

	snprintf(line, sizeof(line), "Cookie: %s\r\n", cookies);
	cr_assert_eq(client_get(c, "/", line)->status, 200, "%d for %s", c->r.status, line);
	return seal_seen(be);
}

const char *seal_come_sid(struct client *c, struct backend *be, const char *value)
{
	static char text[20000];

	snprintf(text, sizeof(text), "a=1; sid=%s; b=2", value);
	return seal_come(c, be, text);
}

/* The backend sets sid; what the client gets. */
const char *seal_login(struct client *c, struct backend *be, const char *field)
{
	const char *const set[4] = {field};

	return seal_set_by(answer_with(c, be, set, ""), "sid", 0);
}

struct backend *seal_backend(void)
{
	struct backend *be = backend_start(NULL);

	be->no_record = true; /* nonces and times differ */
	return be;
}

struct gw *seal_gw(struct backend *be, const char *cookies)
{
	return gw_start(be, &(struct gw_spec){.cookies = cookies});
}

void seal_stop(struct gw *gw, struct backend *be)
{
	cr_expect_eq(gw_metric(gw, "hardtack_requests_total", "code=\"503\"", NULL), 0);
	gw_stop(gw);
	backend_stop(be);
}

void seal_reconfigure(struct gw *gw, const char *before, const char *after)
{
	struct text out = {0};

	gw_edit(gw, before, after);
	cr_assert_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	text_free(&out);
}
