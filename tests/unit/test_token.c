/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token formats against fixed bytes: compat.md's table, and vectors of two independent
 * implementations for what it leaves out.
 */
#include <criterion/criterion.h>

#include "mac.h"
#include "token.h"

#define F5_KEY "AzaZ5678901234567XYZ34567XYZ"
#define F5_SESSION "0a1b2c3d4e5f6g7h8i9j0k1l"
#define F5_IP "192.0.2.10"
#define F5_TOKEN "t2XKmsBp+4ESEdq8ZScrjjyQBq+E812UoiPFXGoR/7A="

/* The first n letters of an endless alphabet, for keys of a given length. */
static struct ht_secret alphabet_key(size_t n)
{
	static uint8_t letters[256];

	cr_assert(n <= sizeof(letters));
	for (size_t i = 0; i < n; i++)
		letters[i] = (uint8_t)('a' + i % 26);
	return (struct ht_secret){.bytes = letters, .len = n};
}

static struct ht_secret text_key(const char *s)
{
	return (struct ht_secret){.bytes = (const uint8_t *)s, .len = strlen(s)};
}

static struct ht_token_params f5_params(const char *value, const char *input)
{
	return (struct ht_token_params){
		.profile = HT_PROFILE_F5_IRULE,
		.secret = text_key(F5_KEY),
		.name = HT_STR("sid"),
		.value = HT_STR(value),
		.input = HT_STR(input),
	};
}

static void expect_token(const struct ht_token_params *p, const char *name, const char *token)
{
	char text[HT_TOKEN_TEXT_MAX];
	size_t len = 0;

	cr_expect_eq(ht_token_sign(p, text, &len), 0, "%s", name);
	cr_expect(ht_str_eq((struct ht_str){text, len}, HT_STR(token)), "%s: %.*s is not %s", name,
		  (int)len, text, token);
	cr_expect_eq(ht_token_verify(p, HT_STR(token)), HT_TOKEN_VALID, "%s", name);
}

Test(token, f5_irule_vectors)
{
	static const struct {
		const char *name, *input, *token;
	} rows[] = {
		{"IPv4", F5_IP, F5_TOKEN},
		{"country", "DE", "6Y2BBhGZhysaSWo/oJVtMn93j27YeVGYA8cdNYYJJkQ="},
		{"subject", "CN=Alice Example,OU=Staff,O=Example Corp,C=US",
		 "NSgs3cldF9RIykLa8Q5eShbD5gI1nlxo7jZgwWNz8bI="},
		{"IPv6", "2001:db8::1", "mSiWVPeDrVA6caJwyOsTJEFHvhVcPNXKoySNK64RK50="},
		{"empty input", "", "e5NTg6ZJb9iWv1XRtRNLmK9tUUm+Lk9RWv1CyHUPbRs="},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_token_params p = f5_params(F5_SESSION, rows[i].input);

		expect_token(&p, rows[i].name, rows[i].token);
	}
}

/* Around the block size of SHA-256, from which on a key is hashed first. */
Test(token, f5_irule_key_lengths)
{
	static const struct {
		const char *name, *token;
		size_t len;
	} rows[] = {
		{"63 bytes", "1Au4Ys2+2Lz+5gU4QqcacXnaskZInD3m6GlARqDNxW0=", 63},
		{"64 bytes", "xTCgNjzgs4+UcWIQn43FFZnShuUbCuiQmtzC2PqiHZk=", 64},
		{"65 bytes", "syMllxrrR696GNODaX66ztPJQ9Puwc9Q95f+TSvfy1c=", 65},
		{"200 bytes", "2JYYubgXcsYqJTXXTI42NIbKq0Wg21NI6eJLJlbRVa8=", 200},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_token_params p = f5_params(F5_SESSION, F5_IP);

		p.secret = alphabet_key(rows[i].len);
		expect_token(&p, rows[i].name, rows[i].token);
	}
}

Test(token, binary_key_with_zero_bytes)
{
	struct ht_token_params p = f5_params(F5_SESSION, F5_IP);
	uint8_t key[256];

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)(255 - i);
	p.secret = (struct ht_secret){.bytes = key, .len = sizeof(key)};
	expect_token(&p, "255..0", "9hO7Lp3O2IiuZJepG9iYnBsVPGKKUaODCCqY0xAkrkc=");
}

Test(token, binary_value_with_zero_byte)
{
	struct ht_token_params p = f5_params("", F5_IP);

	p.value = (struct ht_str){"\x80\0\xff=", 4};
	expect_token(&p, "8-bit value", "cz168ASpR844HgfEdylUUznWZnJOBR1WXEdCufwGYws=");
}

Test(token, long_value)
{
	struct ht_token_params p = f5_params("", F5_IP);
	char value[5000];

	memset(value, 'v', sizeof(value));
	p.value = (struct ht_str){value, sizeof(value)};
	expect_token(&p, "5000 bytes", "aoJQz6KAoMfFhDjV6MAveIH8Mw0tcvyi/g50RJ6YFI4=");
}

Test(token, altered_tokens_are_forged)
{
	static const struct {
		const char *name, *token;
	} rows[] = {
		{"empty", ""},
		{"first bit", "u2XKmsBp+4ESEdq8ZScrjjyQBq+E812UoiPFXGoR/7A="},
		{"last character", "t2XKmsBp+4ESEdq8ZScrjjyQBq+E812UoiPFXGoR/7B="},
		{"no padding", "t2XKmsBp+4ESEdq8ZScrjjyQBq+E812UoiPFXGoR/7A"},
		{"surplus", F5_TOKEN "="},
		{"base64url", "t2XKmsBp-4ESEdq8ZScrjjyQBq-E812UoiPFXGoR_7A="},
		{"other case", "T2XKmsBp+4ESEdq8ZScrjjyQBq+E812UoiPFXGoR/7A="},
		{"of another input", "6Y2BBhGZhysaSWo/oJVtMn93j27YeVGYA8cdNYYJJkQ="},
	};
	struct ht_token_params p = f5_params(F5_SESSION, F5_IP);

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++)
		cr_expect_eq(ht_token_verify(&p, HT_STR(rows[i].token)), HT_TOKEN_FORGED, "%s",
			     rows[i].name);
}

Test(token, nothing_else_verifies_it)
{
	struct ht_token_params p = f5_params("0a1b2c3d4e5f6g7h8i9j0k1L", F5_IP);

	cr_expect_eq(ht_token_verify(&p, HT_STR(F5_TOKEN)), HT_TOKEN_FORGED, "another value");
	p = f5_params(F5_SESSION, "192.0.2.11");
	cr_expect_eq(ht_token_verify(&p, HT_STR(F5_TOKEN)), HT_TOKEN_FORGED, "another input");
	p = f5_params(F5_SESSION, F5_IP);
	p.secret = text_key("AzaZ5678901234567XYZ34567XYz");
	cr_expect_eq(ht_token_verify(&p, HT_STR(F5_TOKEN)), HT_TOKEN_FORGED, "another key");
}

/* f5-irule's MAC has no name; this pins that down for byte compatibility. */
Test(token, f5_irule_ignores_the_name)
{
	struct ht_token_params p = f5_params(F5_SESSION, F5_IP);

	p.name = HT_STR("another");
	expect_token(&p, "another name", F5_TOKEN);
}

static void expect_refused(const struct ht_token_params *p, const char *name)
{
	char text[HT_TOKEN_TEXT_MAX];
	size_t len = 12345;

	cr_expect_eq(ht_token_sign(p, text, &len), -EPERM, "%s", name);
	cr_expect_eq(len, 12345, "%s: written on failure", name);
	cr_expect_eq(ht_token_verify(p, HT_STR(F5_TOKEN)), HT_TOKEN_REFUSED, "%s", name);
}

Test(token, colon_guard)
{
	struct ht_token_params p = f5_params("abc:2001", "db8::1");
	char text[2][HT_TOKEN_TEXT_MAX];
	size_t len[2];

	/* Without the guard these two share a token: that is what it is for. */
	cr_assert_eq(ht_token_sign(&p, text[0], &len[0]), 0);
	p = f5_params("abc", "2001:db8::1");
	cr_assert_eq(ht_token_sign(&p, text[1], &len[1]), 0);
	cr_assert(len[0] == len[1] && !memcmp(text[0], text[1], len[0]));

	p.input_colon = true;
	cr_expect_eq(ht_token_sign(&p, text[1], &len[1]), 0, "a value without colon is fine");
	p = f5_params("abc:2001", "db8::1");
	p.input_colon = true;
	expect_refused(&p, "colon");
}

Test(token, empty_value_is_refused)
{
	struct ht_token_params p = f5_params("", F5_IP);

	expect_refused(&p, "empty value");
}

Test(token, empty_secret_is_refused)
{
	struct ht_token_params p = f5_params(F5_SESSION, F5_IP);

	p.secret.len = 0;
	expect_refused(&p, "empty secret");
}

/* ---- proxysg ---- */

static struct ht_token_params proxysg_params(const char *separator, bool name_in_mac,
					     const char *input)
{
	struct ht_token_params p = f5_params(F5_SESSION, input);

	p.profile = HT_PROFILE_PROXYSG;
	p.separator = HT_STR(separator);
	p.name_in_mac = name_in_mac;
	return p;
}

Test(token, proxysg_algorithms_and_encodings)
{
	static const struct {
		const char *name, *token;
		enum ht_algorithm algorithm;
		enum ht_encoding encoding;
	} rows[] = {
		{"sha256 base64", "bd4I7yrOtDkNiF+Z/ZKSi4XCuJEeathfGmF8VsfF6w4=", HT_SHA256,
		 HT_BASE64},
		{"sha256 base64url", "bd4I7yrOtDkNiF-Z_ZKSi4XCuJEeathfGmF8VsfF6w4", HT_SHA256,
		 HT_BASE64URL},
		{"sha256 hex", "6dde08ef2aceb4390d885f99fd92928b85c2b8911e6ad85f1a617c56c7c5eb0e",
		 HT_SHA256, HT_HEX},
		{"sha1 base64", "AhzCabAyC8jl3rR36IxukXw6l80=", HT_SHA1, HT_BASE64},
		{"sha1 base64url", "AhzCabAyC8jl3rR36IxukXw6l80", HT_SHA1, HT_BASE64URL},
		{"sha1 hex", "021cc269b0320bc8e5deb477e88c6e917c3a97cd", HT_SHA1, HT_HEX},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_token_params p = proxysg_params("|", true, F5_IP);

		p.algorithm = rows[i].algorithm;
		p.encoding = rows[i].encoding;
		expect_token(&p, rows[i].name, rows[i].token);
	}
}

Test(token, proxysg_messages)
{
	static const struct {
		const char *name, *separator, *input, *token;
		bool name_in_mac;
	} rows[] = {
		{"no binding", "|", "", "TtmZod3elLwaCsSJtTvh5GoKDQOONMK9mbvzNQVTiFU=", true},
		{"no name", "|", F5_IP, "+5+NTgWlXPJdjqTryKMMIxmE4i2Vf3ambLcuJgvXj48=", false},
		{"no name, no binding", "|", "",
		 "yOeC39m1Td2MbbLyA6jp5DFt+fgQP9AzwtU0jH6vsHo=", false},
		{"as the seed", "", F5_IP, "/Ayo748J85ycO28eHjK1rffB2n/xSByHNpy0hrDXCts=", false},
		{"as the seed, no binding", "", "",
		 "yOeC39m1Td2MbbLyA6jp5DFt+fgQP9AzwtU0jH6vsHo=", false},
		{"longer separator", "::", "alice",
		 "/bfdIntlU3i8jC3gQkdxvEWpL9CBdVG+4c2DykYlA1o=", true},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_token_params p = proxysg_params(rows[i].separator, rows[i].name_in_mac,
							  rows[i].input);

		expect_token(&p, rows[i].name, rows[i].token);
	}
}

Test(token, proxysg_sha1_key_lengths)
{
	struct ht_token_params p = proxysg_params("", false, "alice");

	p.algorithm = HT_SHA1;
	p.encoding = HT_HEX;
	expect_token(&p, "short", "3b15e6c1c4431ab7b4bcfd08d44d249843e26612");
	p.secret = alphabet_key(65);
	p.encoding = HT_BASE64;
	expect_token(&p, "hashed first", "aSR/+J2daVc3vsQhNimX36i5JgM=");
}

Test(token, proxysg_alters_nothing_and_verifies_nothing_else)
{
	static const char *const rows[] = {
		"",
		"cd4I7yrOtDkNiF+Z/ZKSi4XCuJEeathfGmF8VsfF6w4=",
		"bd4I7yrOtDkNiF+Z/ZKSi4XCuJEeathfGmF8VsfF6w5=",
		"bd4I7yrOtDkNiF+Z/ZKSi4XCuJEeathfGmF8VsfF6w4",
		"bd4I7yrOtDkNiF-Z_ZKSi4XCuJEeathfGmF8VsfF6w4=",
		"6dde08ef2aceb4390d885f99fd92928b85c2b8911e6ad85f1a617c56c7c5eb0e",
		"AhzCabAyC8jl3rR36IxukXw6l80=",
	};
	static const char right[] = "bd4I7yrOtDkNiF+Z/ZKSi4XCuJEeathfGmF8VsfF6w4=";
	struct ht_token_params p = proxysg_params("|", true, F5_IP);

	cr_expect_eq(ht_token_verify(&p, HT_STR(right)), HT_TOKEN_VALID);
	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++)
		cr_expect_eq(ht_token_verify(&p, HT_STR(rows[i])), HT_TOKEN_FORGED, "%s", rows[i]);
	p.name = HT_STR("sie");
	cr_expect_eq(ht_token_verify(&p, HT_STR(right)), HT_TOKEN_FORGED, "another name");
	p = proxysg_params("|", true, "192.0.2.1");
	cr_expect_eq(ht_token_verify(&p, HT_STR(right)), HT_TOKEN_FORGED, "another input");
	p = proxysg_params("|", true, F5_IP);
	p.value.len--;
	cr_expect_eq(ht_token_verify(&p, HT_STR(right)), HT_TOKEN_FORGED, "another value");
}

/* With these the bytes of one part could be those of another. */
Test(token, proxysg_guards)
{
	static const struct {
		const char *name, *cookie, *value, *separator, *input;
		bool name_in_mac, refused;
	} rows[] = {
		{"separator in the name", "a|b", "v", "|", "i", true, true},
		{"separator in a name outside the MAC", "a|b", "v", "|", "i", false, false},
		{"separator in the input", "a", "v", "|", "i|j", true, true},
		{"separator in the input, no name", "a", "v", "|", "i|j", false, true},
		{"separator in the value", "a", "v|w", "|", "i", true, false},
		{"part of a separator ends the name", "a:", "v", "::", "i", true, true},
		{"part of a separator begins the input", "a", "v", "::", ":i", true, true},
		{"name without separator", "a", "v", "", "i", true, true},
		{"no name in the MAC", "", "v", "|", "i", true, true},
		{"IPv6 behind a colon", "a", "v", ":", "2001:db8::1", false, true},
		{"the seed's own", "a", "v", "", "2001:db8::1", false, false},
		{"empty value", "a", "", "|", "i", true, true},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_token_params p = proxysg_params(rows[i].separator, rows[i].name_in_mac,
							  rows[i].input);
		char text[HT_TOKEN_TEXT_MAX];
		size_t len;

		p.name = HT_STR(rows[i].cookie);
		p.value = HT_STR(rows[i].value);
		if (rows[i].refused)
			expect_refused(&p, rows[i].name);
		else
			cr_expect_eq(ht_token_sign(&p, text, &len), 0, "%s", rows[i].name);
	}
}

/* ---- all of them ---- */

/* The state that a key ring keeps is that of the secret's bytes, however long they are. */
Test(token, a_kept_key_signs_the_same)
{
	static const size_t lengths[] = {1, 63, 64, 65, 200};

	for (size_t i = 0; i < HT_ARRAY_SIZE(lengths); i++) {
		struct ht_token_params p = f5_params(F5_SESSION, F5_IP);
		char text[2][HT_TOKEN_TEXT_MAX];
		struct ht_mac_key keyed;
		size_t len[2];

		p.secret = alphabet_key(lengths[i]);
		cr_assert_eq(ht_token_sign(&p, text[0], &len[0]), 0);
		ht_mac_key_make(p.secret.bytes, p.secret.len, &keyed);
		p.secret.keyed = &keyed;
		cr_assert_eq(ht_token_sign(&p, text[1], &len[1]), 0);
		cr_expect(len[0] == len[1] && !memcmp(text[0], text[1], len[0]), "%zu bytes",
			  lengths[i]);
	}
}

Test(token, formats_without_times_say_nothing_of_themselves)
{
	struct ht_token_params p = f5_params(F5_SESSION, F5_IP);
	struct ht_token_info info;

	memset(&info, 0xff, sizeof(info));
	cr_expect_eq(ht_token_check(&p, HT_STR(F5_TOKEN), 5, &info), HT_TOKEN_VALID);
	cr_expect(!info.issued_s && !info.expires_s && !info.persistent && !info.attributes[0]);
}

Test(token, every_profile_is_built)
{
	for (enum ht_profile p = 0; p <= HT_PROFILE_SECURE_COOKIE; p++)
		cr_expect(ht_profile_built(p), "%d", p);
	cr_expect_not(ht_profile_built(HT_PROFILE_SECURE_COOKIE + 1));
}

Test(token, profile_names)
{
	static const struct {
		const char *name;
		enum ht_profile profile;
	} rows[] = {
		{"native", HT_PROFILE_NATIVE},
		{"f5-irule", HT_PROFILE_F5_IRULE},
		{"proxysg", HT_PROFILE_PROXYSG},
		{"session-id", HT_PROFILE_SESSION_ID},
		{"secure-cookie", HT_PROFILE_SECURE_COOKIE},
	};
	enum ht_profile p;

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		cr_expect_eq(ht_profile_parse(rows[i].name, &p), 0, "%s", rows[i].name);
		cr_expect_eq(p, rows[i].profile, "%s", rows[i].name);
		cr_expect_str_eq(ht_profile_name(rows[i].profile), rows[i].name);
	}
	cr_expect_eq(ht_profile_parse("f5", &p), -EINVAL);
	cr_expect_eq(ht_profile_parse("f5-irule ", &p), -EINVAL);
	cr_expect_eq(ht_profile_parse("", &p), -EINVAL);
}
