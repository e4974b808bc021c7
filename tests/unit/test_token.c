/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token formats against fixed bytes: compat.md's table, and vectors of two independent
 * implementations for what it leaves out.
 */
#include <criterion/criterion.h>

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
	return (struct ht_secret){letters, n};
}

static struct ht_secret text_key(const char *s)
{
	return (struct ht_secret){(const uint8_t *)s, strlen(s)};
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
	p.secret = (struct ht_secret){key, sizeof(key)};
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

Test(token, profiles_not_built_do_nothing)
{
	static const enum ht_profile rows[] = {HT_PROFILE_NATIVE, HT_PROFILE_PROXYSG,
					       HT_PROFILE_SESSION_ID, HT_PROFILE_SECURE_COOKIE};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_token_params p = f5_params(F5_SESSION, F5_IP);
		char text[HT_TOKEN_TEXT_MAX];
		size_t len;

		p.profile = rows[i];
		cr_expect_eq(ht_token_sign(&p, text, &len), -EOPNOTSUPP, "%zu", i);
		cr_expect_eq(ht_token_verify(&p, HT_STR(F5_TOKEN)), HT_TOKEN_REFUSED, "%zu", i);
		cr_expect_not(ht_profile_built(rows[i]), "%zu", i);
	}
	cr_expect(ht_profile_built(HT_PROFILE_F5_IRULE));
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
