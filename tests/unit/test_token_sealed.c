/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed cookies against fixed bytes, which an implementation of the manual page in another language
 * and with another library made; what must not open; and the seed's own construction.
 */
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "mac.h"
#include "token.h"

#define KEY "AzaZ5678901234567XYZ34567XYZ"
#define NOW 1700000000ull
#define DAY 86400ull
#define FOREVER 253402300799ull

static const uint8_t nonce[HT_SEALED_NONCE] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
/* SHA-256 of the transcripts: nothing; x509-spki 00..1f; that and user alice; tls-exporter 00..1f */
static const uint8_t unbound[] = {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4,
				  0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b,
				  0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55};
static const uint8_t by_spki[] = {0x5a, 0x7d, 0x36, 0xb3, 0x9d, 0x92, 0x94, 0xbf, 0x1b, 0x00, 0xfe,
				  0x0d, 0x91, 0x9a, 0x25, 0x79, 0x9e, 0x05, 0xe1, 0x2c, 0xc6, 0x47,
				  0x67, 0x3a, 0xb3, 0x09, 0x44, 0x95, 0xee, 0xb4, 0x34, 0xad};
static const uint8_t by_user[] = {0x0b, 0x7a, 0x06, 0xba, 0x16, 0xa2, 0xa8, 0xe7, 0xcb, 0x0b, 0xdf,
				  0x32, 0x7a, 0x32, 0xff, 0xda, 0x74, 0x06, 0x64, 0xd6, 0x21, 0x26,
				  0x95, 0xdb, 0xc9, 0xf7, 0xce, 0xda, 0xba, 0xf2, 0x98, 0xd2};
static const uint8_t by_exporter[] = {0x29, 0xa9, 0x53, 0x5b, 0x6b, 0x1d, 0x2f, 0x2b,
				      0xa8, 0x2e, 0x50, 0x95, 0xa4, 0xea, 0xa0, 0xf5,
				      0x24, 0x11, 0xe9, 0x99, 0xc6, 0xcb, 0x50, 0x02,
				      0x5c, 0xca, 0xcd, 0xc5, 0xbe, 0xe4, 0x50, 0x72};

#define V100                                                                                       \
	"vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv"   \
	"vvvvvvvvvvvvvv"

static const struct vector {
	const char *title, *name, *value, *user;
	const uint8_t *bind;
	uint64_t issued_s, expires_s;
	const char *attributes;
	bool persistent;
	const char *sealed, *says; /* attributes as they come back */
} vectors[] = {
	{"bound to nothing", "sid", "abc", "", unbound, NOW, NOW + DAY, "", false,
	 "ATFiOGRjZmE4AAAAAGVVQoAAAAECAwQFBgcICQoL1qC_BlBNNFqr1pV8CHW96x_sTPgqHwZUhMdt5J8", ""},
	{"by certificate", "sid", "0a1b2c3d4e5f6g7h8i9j0k1l", "", by_spki, NOW, NOW + DAY,
	 "; Path=/; Secure; HttpOnly", false,
	 "ATFiOGRjZmE4AAAAAGVVQoAAAAECAwQFBgcICQoL1qC_BlBNNFqr0Id2FS5SR_zGWuY_3kJQ7UICwkjItYUAMR-"
	 "WqvIS6kvWj8mY71hzR44kvMH7qYQ",
	 "; Path=/; Secure; HttpOnly"},
	{"by certificate and user", "__Host-sid", "x", "alice", by_user, NOW, FOREVER,
	 "; Path=/shop/; Domain=example.com; Secure; HttpOnly; Partitioned; SameSite=None", true,
	 "ATFiOGRjZmE4AAAAOv_0QX8FYWxpY2UAAQIDBAUGBwgJCguZn7gFn0FAvaV-V4nSWrlw2xZC3pyq_"
	 "bmZg6zRltejK-"
	 "yXNAF3Gw62W2kpt0ayDWLd78y6Q4FXNnOMOw",
	 "; Path=/shop/; Domain=example.com; Secure; HttpOnly; SameSite=None; Partitioned"},
	{"by exporter", "a", V100, "", by_exporter, 1, 2, "", false,
	 "ATFiOGRjZmE4AAAAAAAAAAIAAAECAwQFBgcICQoL9CLCwdTSuQ6fW-c6d-C-X5F6hRerB3BTPfKDyO2ueynVwD_"
	 "fgLIRy1Fnx8E1EmFMtv_7IZnPpX-F8do4ocpjNLTASESJRlITLGB3FvBGvJVQ_"
	 "zKzWq9lJ7vCC6Hgv6CxlLEzwum94cg2Kq5ZKLnMHFR0O0Czp3AqRTD_QdqP",
	 ""},
};

static struct ht_token_params params_of(const struct vector *v)
{
	return (struct ht_token_params){
		.profile = HT_PROFILE_SECURE_COOKIE,
		.secret = {.bytes = (const uint8_t *)KEY, .len = sizeof(KEY) - 1},
		.name = HT_STR(v->name),
		.value = HT_STR(v->value),
		.user = HT_STR(v->user),
		.bind = v->bind,
		.issued_s = v->issued_s,
		.expires_s = v->expires_s,
		.attributes = HT_STR(v->attributes),
		.persistent = v->persistent,
		.nonce = nonce,
	};
}

/* NULL or what it stands for, NUL-terminated. */
static const char *opened(const struct ht_token_params *p, struct ht_str sealed, uint64_t now_s,
			  enum ht_token_verdict *ret_verdict, struct ht_token_info *ret)
{
	static char data[HT_SEALED_DATA_MAX + 1];
	size_t len = 1;

	memset(data, 0x55, sizeof(data));
	*ret_verdict = ht_sealed_open(p, sealed, now_s, data, &len, ret);
	if (*ret_verdict != HT_TOKEN_VALID && *ret_verdict != HT_TOKEN_EXPIRED) {
		cr_expect_eq(len, 0);
		cr_expect(!ret->issued_s && !ret->expires_s && !*ret->attributes);
		for (size_t i = 0; i < sizeof(data); i++)
			cr_assert_eq(data[i], 0x55, "something of it was shown");
		return NULL;
	}
	data[len] = '\0';
	return data;
}

static enum ht_token_verdict verdict_of(const struct ht_token_params *p, struct ht_str sealed)
{
	enum ht_token_verdict verdict;
	struct ht_token_info info;

	opened(p, sealed, NOW, &verdict, &info);
	return verdict;
}

Test(token_sealed, vectors)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct ht_token_params p = params_of(v);
		struct ht_str want = HT_STR(v->sealed);
		char text[HT_COOKIE_MAX];
		enum ht_token_verdict verdict;
		struct ht_token_info info;
		const char *data;
		size_t len = 0;

		cr_expect_eq(ht_sealed_make(&p, text, &len), 0, "%s", v->title);
		cr_expect(ht_str_eq((struct ht_str){text, len}, want), "%s: %.*s", v->title,
			  (int)len, text);
		cr_expect(ht_sealed_like(want), "%s", v->title);
		data = opened(&p, want, v->expires_s - 1, &verdict, &info);
		cr_expect_eq(verdict, HT_TOKEN_VALID, "%s", v->title);
		cr_assert(data, "%s", v->title);
		cr_expect_str_eq(data, v->value, "%s", v->title);
		cr_expect_eq(info.issued_s, v->issued_s, "%s", v->title);
		cr_expect_eq(info.expires_s, v->expires_s, "%s", v->title);
		cr_expect_eq(info.persistent, v->persistent, "%s", v->title);
		cr_expect_str_eq(info.attributes, v->says, "%s", v->title);
		opened(&p, want, v->expires_s, &verdict, &info);
		cr_expect_eq(verdict, HT_TOKEN_EXPIRED, "%s", v->title);
	}
}

/* A kept state of the key makes the same bytes. */
Test(token_sealed, kept_keys)
{
	struct ht_token_params p = params_of(&vectors[1]);
	struct ht_mac_key key;
	char text[HT_COOKIE_MAX];
	size_t len = 0;

	ht_mac_key_make(p.secret.bytes, p.secret.len, &key);
	ht_mac_key_make_id(&key);
	p.secret.keyed = &key;
	cr_expect_eq(ht_sealed_make(&p, text, &len), 0);
	cr_expect(ht_str_eq((struct ht_str){text, len}, HT_STR(vectors[1].sealed)));
	cr_expect_eq(verdict_of(&p, HT_STR(vectors[1].sealed)), HT_TOKEN_VALID);
}

Test(token_sealed, two_of_one_value_are_different)
{
	struct ht_token_params p = params_of(&vectors[0]);
	char text[2][HT_COOKIE_MAX];
	size_t len[2];

	p.nonce = NULL;
	for (size_t i = 0; i < 2; i++) {
		cr_assert_eq(ht_sealed_make(&p, text[i], &len[i]), 0);
		cr_expect_eq(verdict_of(&p, (struct ht_str){text[i], len[i]}), HT_TOKEN_VALID);
	}
	cr_assert_eq(len[0], len[1]);
	cr_expect(memcmp(text[0], text[1], len[0]));
}

/* What is in the context: change any of it, and nothing opens. */
Test(token_sealed, another_context)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct ht_str sealed = HT_STR(v->sealed);
		struct ht_token_params p = params_of(v);

		p.name = HT_STR("other");
		cr_expect_eq(verdict_of(&p, sealed), HT_TOKEN_FORGED, "%s: name", v->title);
		p = params_of(v);
		p.bind = v->bind == by_spki ? unbound : by_spki;
		cr_expect_eq(verdict_of(&p, sealed), HT_TOKEN_FORGED, "%s: binding", v->title);
		p = params_of(v);
		p.user = HT_STR(*v->user ? "alicf" : "alice");
		cr_expect_eq(verdict_of(&p, sealed), HT_TOKEN_FORGED, "%s: user", v->title);
		p.user = HT_STR(*v->user ? "" : "a");
		cr_expect_eq(verdict_of(&p, sealed), HT_TOKEN_FORGED, "%s: user", v->title);
		p = params_of(v);
		p.secret.len--;
		cr_expect_eq(verdict_of(&p, sealed), HT_TOKEN_FORGED, "%s: key", v->title);
	}
}

/* The name and what stands behind it in the context have their own places. */
Test(token_sealed, the_name_ends_where_it_ends)
{
	struct ht_token_params p = params_of(&vectors[0]);
	uint8_t bind[HT_BINDING_DIGEST + 1] = "d";
	char text[HT_COOKIE_MAX];
	size_t len;

	memcpy(bind + 1, unbound, HT_BINDING_DIGEST);
	p.name = HT_STR("si");
	p.bind = bind;
	cr_assert_eq(ht_sealed_make(&p, text, &len), 0);
	p.name = HT_STR("sid");
	p.bind = bind + 1;
	cr_expect_eq(verdict_of(&p, (struct ht_str){text, len}), HT_TOKEN_FORGED);
}

/* One way to write it: every single character counts, and how many there are. */
Test(token_sealed, another_text)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. ";

	for (size_t i = 0; i < HT_ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct ht_token_params p = params_of(v);
		size_t len = strlen(v->sealed);
		char text[HT_COOKIE_MAX];

		for (size_t at = 0; at < len; at++) {
			for (const char *d = digits; *d; d++) {
				memcpy(text, v->sealed, len);
				if (text[at] == *d)
					continue;
				text[at] = *d;
				cr_assert_eq(verdict_of(&p, (struct ht_str){text, len}),
					     HT_TOKEN_FORGED, "%s: %c at %zu", v->title, *d, at);
			}
		}
		memcpy(text, v->sealed, len);
		for (size_t n = 0; n < len; n++)
			cr_assert_eq(verdict_of(&p, (struct ht_str){text, n}), HT_TOKEN_FORGED);
		for (const char *more = "A=.\t "; *more; more++) {
			text[len] = *more;
			cr_assert_eq(verdict_of(&p, (struct ht_str){text, len + 1}),
				     HT_TOKEN_FORGED, "'%c' behind it", *more);
		}
	}
}

/* What was sealed for one cookie, time or user is nothing in the place of another's. */
Test(token_sealed, parts_of_two)
{
	struct ht_token_params p = params_of(&vectors[0]);
	char a[HT_COOKIE_MAX], b[HT_COOKIE_MAX];
	size_t len;

	cr_assert_eq(ht_sealed_make(&p, a, &len), 0);
	p.expires_s++;
	cr_assert_eq(ht_sealed_make(&p, b, &len), 0);
	/* up to the user's length the first one's, from the nonce on the other's */
	memcpy(b, a, 24);
	cr_expect_eq(verdict_of(&p, (struct ht_str){b, len}), HT_TOKEN_FORGED);
}

Test(token_sealed, lengths)
{
	static const size_t lens[] = {1, 2, 3, 1023, 1024, 1025, 2900};
	struct ht_token_params p = params_of(&vectors[1]);
	char value[HT_SEALED_DATA_MAX + 10], text[HT_COOKIE_MAX];
	enum ht_token_verdict verdict;
	struct ht_token_info info;
	size_t len = 0, longest = 0;

	memset(value, 'v', sizeof(value));
	for (size_t i = 0; i < HT_ARRAY_SIZE(lens); i++) {
		const char *data;

		p.value = (struct ht_str){value, lens[i]};
		cr_assert_eq(ht_sealed_make(&p, text, &len), 0, "%zu", lens[i]);
		cr_expect_gt(len, lens[i] + 64);
		data = opened(&p, (struct ht_str){text, len}, NOW, &verdict, &info);
		cr_assert(data, "%zu", lens[i]);
		cr_expect(ht_str_eq(HT_STR(data), p.value), "%zu", lens[i]);
	}
	for (size_t n = 2900; n < sizeof(value); n++) {
		p.value = (struct ht_str){value, n};
		if (!ht_sealed_make(&p, text, &len))
			longest = n;
		else
			cr_expect_eq(ht_sealed_make(&p, text, &len), -E2BIG, "%zu", n);
	}
	/* 56 bytes beside the value, and 6 of attributes */
	cr_expect_leq((4 * (longest + 62) + 2) / 3 + p.name.len, HT_COOKIE_MAX, "%zu", longest);
	cr_expect_gt((4 * (longest + 63) + 2) / 3 + p.name.len, HT_COOKIE_MAX, "%zu", longest);
}

Test(token_sealed, what_is_not_sealed)
{
	static const char *const values[] = {"", "a;b", "a\r", "a\nb", " a", "a ", "\ta", "a\1"};
	static const char *const fine[] = {"a b", "a\tb", "\"a\"", "a=b", "a,b", "\xff", "a\x7f"};
	struct ht_token_params p;
	char text[HT_COOKIE_MAX], user[300];
	size_t len;

	for (size_t i = 0; i < HT_ARRAY_SIZE(values); i++) {
		p = params_of(&vectors[0]);
		p.value = HT_STR(values[i]);
		cr_expect_eq(ht_sealed_make(&p, text, &len), -EPERM, "%zu", i);
	}
	for (size_t i = 0; i < HT_ARRAY_SIZE(fine); i++) {
		p = params_of(&vectors[0]);
		p.value = HT_STR(fine[i]);
		cr_expect_eq(ht_sealed_make(&p, text, &len), 0, "%zu", i);
		cr_expect_eq(verdict_of(&p, (struct ht_str){text, len}), HT_TOKEN_VALID, "%zu", i);
	}
	p = params_of(&vectors[0]);
	p.name = HT_STR("");
	cr_expect_eq(ht_sealed_make(&p, text, &len), -EPERM);
	cr_expect_eq(verdict_of(&p, HT_STR(vectors[0].sealed)), HT_TOKEN_REFUSED);
	p = params_of(&vectors[0]);
	p.secret.len = 0;
	cr_expect_eq(ht_sealed_make(&p, text, &len), -EPERM);
	cr_expect_eq(verdict_of(&p, HT_STR(vectors[0].sealed)), HT_TOKEN_REFUSED);
	p = params_of(&vectors[0]);
	p.bind = NULL;
	cr_expect_eq(ht_sealed_make(&p, text, &len), -EPERM);
	cr_expect_eq(verdict_of(&p, HT_STR(vectors[0].sealed)), HT_TOKEN_REFUSED);
	p = params_of(&vectors[0]);
	p.issued_s = p.expires_s;
	cr_expect_eq(ht_sealed_make(&p, text, &len), -EPERM);
	p = params_of(&vectors[0]);
	p.expires_s = FOREVER + 1;
	cr_expect_eq(ht_sealed_make(&p, text, &len), -EPERM);
	p = params_of(&vectors[0]);
	memset(user, 'u', sizeof(user));
	p.user = (struct ht_str){user, 255};
	cr_expect_eq(ht_sealed_make(&p, text, &len), 0);
	cr_expect_eq(verdict_of(&p, (struct ht_str){text, len}), HT_TOKEN_VALID);
	p.user.len = 256;
	cr_expect_eq(ht_sealed_make(&p, text, &len), -EPERM);
}

Test(token_sealed, it_is_no_token)
{
	struct ht_token_params p = params_of(&vectors[0]);
	char text[HT_TOKEN_TEXT_MAX];
	size_t len;

	cr_expect_eq(ht_token_sign(&p, text, &len), -EOPNOTSUPP);
	cr_expect_eq(ht_token_verify(&p, HT_STR(vectors[0].sealed)), HT_TOKEN_REFUSED);
}

Test(token_sealed, what_looks_like_one)
{
	static const char *const rows[] = {
		"",
		"abc",
		"ATFiOGRjZmE4AAAAAGVVQoAA",
		/* version 2; a key id that is none; a time after the last one */
		"AjFiOGRjZmE4AAAAAGVVQoAAAAECAwQFBgcICQoL1qC_BlBNNFqr1pV8CHW96x_sTPgqHwZUhMdt5J8",
		"ATFiOGRjZmF4AAAAAGVVQoAAAAECAwQFBgcICQoL1qC_BlBNNFqr1pV8CHW96x_sTPgqHwZUhMdt5J8",
		"ATFiOGRjZmE4AAAAOv_0QYAAAAECAwQFBgcICQoL1qC_BlBNNFqr1pV8CHW96x_sTPgqHwZUhMdt5J8",
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++)
		cr_expect_not(ht_sealed_like(HT_STR(rows[i])), "%zu", i);
	/* what is sealed in it does not matter */
	cr_expect(ht_sealed_like(HT_STR(
		"ATFiOGRjZmE4AAAAAGVVQoAAAAECAwQFBgcICQoLAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")));
}

/* ---- the seed's own construction, which nothing on our wires depends on ---- */

static void hmac(const EVP_MD *md, const void *key, size_t key_len, const void *text, size_t len,
		 char *ret_hex)
{
	uint8_t mac[EVP_MAX_MD_SIZE];
	unsigned n;

	cr_assert(HMAC(md, key, (int)key_len, text, len, mac, &n));
	for (unsigned i = 0; i < n; i++)
		sprintf(ret_hex + 2 * i, "%02x", mac[i]);
}

Test(token_sealed, the_seed_is_understood)
{
	static const char who[] = "rolphin1212559656", server_key[] = "serverkey",
			  session_key[] = "3ID409a0sd09", data[] = "stream/128693",
			  iv[] = "3985928509201031";
	uint8_t padded[64] = {0, sizeof(data) - 1}, k[EVP_MAX_MD_SIZE], text[200], *at = text;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	char hex[2 * EVP_MAX_MD_SIZE + 1];
	unsigned k_len;
	int n, end;

	/* the key of its HMAC is the message, and its message the key */
	hmac(EVP_md5(), who, strlen(who), server_key, strlen(server_key), hex);
	cr_expect_str_eq(hex, "b9a92e2666762ddf793d805a9a81e0bd");
	HMAC(EVP_md5(), who, (int)strlen(who), (const uint8_t *)server_key, strlen(server_key), k,
	     &k_len);
	cr_assert_eq(k_len, 16);
	/* encrypted under a fixed IV; then a MAC over the ciphertext, swapped in the same way */
	memcpy(padded + 2, data, strlen(data));
	at = (uint8_t *)stpcpy((char *)text, who);
	cr_assert(EVP_EncryptInit_ex(ctx, EVP_aes_128_cbc(), NULL, k, (const uint8_t *)iv) == 1);
	EVP_CIPHER_CTX_set_padding(ctx, 0);
	cr_assert(EVP_EncryptUpdate(ctx, at, &n, padded, sizeof(padded)) == 1);
	cr_assert(EVP_EncryptFinal_ex(ctx, at + n, &end) == 1);
	EVP_CIPHER_CTX_free(ctx);
	cr_assert_eq(n + end, 64);
	at = (uint8_t *)stpcpy((char *)at + 64, session_key);
	hmac(EVP_sha1(), text, (size_t)(at - text), k, k_len, hex);
	cr_expect_str_eq(hex, "b4ae7ae3e3774ad57b196472a9363fb5969c7d66");
	/* as the paper has it */
	hmac(EVP_md5(), server_key, strlen(server_key), who, strlen(who), hex);
	cr_expect_str_eq(hex, "d309d5e08f89c3d09731f0750c055543");
}
