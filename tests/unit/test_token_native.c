/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native format against the vectors of hardtack-native(7), which another implementation
 * computed, and what of a token must not verify.
 */
#include <criterion/criterion.h>
#include <openssl/evp.h>

#include "mac.h"
#include "token.h"

#define SECRET "AzaZ5678901234567XYZ34567XYZ"
#define VALUE "0a1b2c3d4e5f6g7h8i9j0k1l"
#define ISSUED 1700000000
#define EXPIRES 1700086400
#define TOKEN "1.1b8dcfa8.1700000000.1700086400.sh~pLw.WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"

/* SHA-256 of the transcripts: of nothing; client-ip/32,128 192.0.2.10; client-ip/24,64 192.0.2.0 and user
 * alice. */
static const uint8_t nobody[] = {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4,
				 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b,
				 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55};
static const uint8_t address[] = {0xdd, 0xb4, 0x12, 0x59, 0xaa, 0xf0, 0xe2, 0x89, 0x8a, 0x4d, 0xcb,
				  0xf3, 0xe5, 0xfa, 0x38, 0xa1, 0xbb, 0x77, 0x6b, 0xc0, 0xe0, 0x2d,
				  0x10, 0x70, 0x61, 0x5f, 0x7f, 0xbe, 0xc3, 0x33, 0x58, 0xa6};
static const uint8_t alice[] = {0x09, 0xc2, 0x3b, 0xb5, 0x50, 0x17, 0x00, 0x90, 0x99, 0x4d, 0xdc,
				0xb0, 0xf9, 0xee, 0x05, 0x03, 0xb5, 0xea, 0xcd, 0x25, 0x41, 0x32,
				0x01, 0xb5, 0x32, 0x8f, 0x3c, 0x1d, 0xbe, 0x04, 0x1d, 0x27};

_Static_assert(sizeof(nobody) == HT_BINDING_DIGEST && sizeof(address) == HT_BINDING_DIGEST &&
		       sizeof(alice) == HT_BINDING_DIGEST,
	       "whole digests");

static struct ht_token_params params(void)
{
	return (struct ht_token_params){
		.profile = HT_PROFILE_NATIVE,
		.secret = {.bytes = (const uint8_t *)SECRET, .len = sizeof(SECRET) - 1},
		.name = HT_STR("sid"),
		.value = HT_STR(VALUE),
		.bind = address,
		.issued_s = ISSUED,
		.expires_s = EXPIRES,
		.attributes = HT_STR("; Path=/; Secure; HttpOnly"),
	};
}

static enum ht_token_verdict check(const struct ht_token_params *p, const char *token,
				   uint64_t now_s)
{
	struct ht_token_info info;

	return ht_token_check(p, HT_STR(token), now_s, &info);
}

static void expect_token(const struct ht_token_params *p, const char *name, const char *token)
{
	char text[HT_TOKEN_TEXT_MAX];
	struct ht_token_info info;
	size_t len = 0;

	cr_expect_eq(ht_token_sign(p, text, &len), 0, "%s", name);
	cr_expect(ht_str_eq((struct ht_str){text, len}, HT_STR(token)), "%s: %.*s is not %s", name,
		  (int)len, text, token);
	cr_expect_eq(ht_token_check(p, HT_STR(token), p->issued_s, &info), HT_TOKEN_VALID, "%s",
		     name);
	cr_expect_eq(info.issued_s, p->issued_s, "%s", name);
	cr_expect_eq(info.expires_s, p->expires_s, "%s", name);
}

static const struct {
	const char *name, *cookie, *attributes;
	struct ht_str value;
	const uint8_t *bind;
	uint64_t issued, expires;
	const char *token;
} vectors[] = {
	{"plain",
	 "sid",
	 "; Path=/; Secure; HttpOnly",
	 {VALUE, 24},
	 address,
	 ISSUED,
	 EXPIRES,
	 TOKEN},
	{"nothing but the value",
	 "sid",
	 "",
	 {VALUE, 24},
	 nobody,
	 ISSUED,
	 EXPIRES,
	 "1.1b8dcfa8.1700000000.1700086400..Wi3-rLZDptIlIUgRbB6VHLfmCoosYSlf6UWVdlRF4nc"},
	{"all attributes",
	 "__Host-sid",
	 ";path=/shop/;DOMAIN=example.com ; partitioned;SameSite=none;HTTPONLY; secure;max-age=60",
	 {VALUE, 24},
	 address,
	 ISSUED,
	 EXPIRES,
	 "1.1b8dcfa8.1700000000.1700086400.shpen~pL3Nob3Av~dZXhhbXBsZS5jb20."
	 "Rc9fumWFZl-HU1pARvgjvifHO05S-3_9vB_Lw2dqXbc"},
	{"smallest times, any bytes",
	 "sid",
	 "; SameSite=Lax",
	 {"a=b; \x80", 6},
	 nobody,
	 0,
	 1,
	 "1.1b8dcfa8.0.1.l.DP2RWI8ozFgzufuLbBDqi3htcZPbEdIrBOyrRzvhNso"},
	{"last of times, two ingredients",
	 "sid",
	 "; Domain=.example.com; SameSite=STRICT",
	 {VALUE, 24},
	 alice,
	 ISSUED,
	 253402300799,
	 "1.1b8dcfa8.1700000000.253402300799.t~dLmV4YW1wbGUuY29t."
	 "CpVsO0hMGiNGY_dy9jEGpGAdUPwArJlioPTkkhUgdeo"},
};

Test(token_native, vectors)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(vectors); i++) {
		struct ht_token_params p = params();

		p.name = HT_STR(vectors[i].cookie);
		p.attributes = HT_STR(vectors[i].attributes);
		p.value = vectors[i].value;
		p.bind = vectors[i].bind;
		p.persistent = strstr(vectors[i].attributes, "max-age");
		p.issued_s = vectors[i].issued;
		p.expires_s = vectors[i].expires;
		expect_token(&p, vectors[i].name, vectors[i].token);
	}
}

Test(token_native, a_key_over_one_block_is_hashed_first)
{
	struct ht_token_params p = params();
	uint8_t letters[65];

	for (size_t i = 0; i < sizeof(letters); i++)
		letters[i] = (uint8_t)('a' + i % 26);
	p.secret = (struct ht_secret){.bytes = letters, .len = sizeof(letters)};
	expect_token(&p, "65 bytes",
		     "1.320000b6.1700000000.1700086400.sh~pLw."
		     "KAx0ixsUs4PJkAKBWc2cJPUcQ85ejIXAHi6c3PwiBDI");
}

/* As a key ring has it. */
Test(token_native, a_kept_key_signs_the_same)
{
	struct ht_token_params p = params();
	struct ht_mac_key keyed;

	ht_mac_key_make(p.secret.bytes, p.secret.len, &keyed);
	ht_mac_key_make_id(&keyed);
	p.secret.keyed = &keyed;
	expect_token(&p, "kept", TOKEN);
}

Test(token_native, time_passes)
{
	struct ht_token_params p = params();

	cr_expect_eq(check(&p, TOKEN, 0), HT_TOKEN_VALID, "a clock that is behind harms nobody");
	cr_expect_eq(check(&p, TOKEN, EXPIRES - 1), HT_TOKEN_VALID);
	cr_expect_eq(check(&p, TOKEN, EXPIRES), HT_TOKEN_EXPIRED);
	cr_expect_eq(check(&p, TOKEN, UINT64_MAX), HT_TOKEN_EXPIRED);
	cr_expect_eq(ht_token_verify(&p, HT_STR(TOKEN)), HT_TOKEN_EXPIRED,
		     "who does not say what time it is gets no session");
}

/* Only who holds the key learns that a token is old. */
Test(token_native, a_forged_token_is_never_merely_expired)
{
	struct ht_token_params p = params();

	p.value = HT_STR("another");
	cr_expect_eq(check(&p, TOKEN, UINT64_MAX), HT_TOKEN_FORGED);
}

static const struct {
	const char *name, *token;
} altered[] = {
	{"empty", ""},
	{"dots", "....."},
	{"version", "2.1b8dcfa8.1700000000.1700086400.sh~pLw."
		    "WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"},
	{"version with a zero", "01.1b8dcfa8.1700000000.1700086400.sh~pLw."
				"WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"},
	{"no version", "1b8dcfa8.1700000000.1700086400.sh~pLw."
		       "WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"},
	{"key id", "1.1b8dcfa9.1700000000.1700086400.sh~pLw."
		   "WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"},
	{"key id in capitals", "1.1B8DCFA8.1700000000.1700086400.sh~pLw."
			       "WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"},
	{"issue time", "1.1b8dcfa8.1700000001.1700086400.sh~pLw."
		       "WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"},
	{"end", "1.1b8dcfa8.1700000000.1800086400.sh~pLw."
		"WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"},
	{"zero before a time", "1.1b8dcfa8.01700000000.1700086400.sh~pLw."
			       "WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"},
	{"sign before a time", "1.1b8dcfa8.+1700000000.1700086400.sh~pLw."
			       "WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"},
	{"blank before a time", "1.1b8dcfa8. 1700000000.1700086400.sh~pLw."
				"WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"},
	{"a time that overflows", "1.1b8dcfa8.1700000000.18446744075409638016.sh~pLw."
				  "WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"},
	{"attributes", "1.1b8dcfa8.1700000000.1700086400.s~pLw."
		       "WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"},
	{"attributes in another order", "1.1b8dcfa8.1700000000.1700086400.hs~pLw."
					"WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"},
	{"a bit of the MAC", "1.1b8dcfa8.1700000000.1700086400.sh~pLw."
			     "XF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"},
	{"a bit that base64 ignores", "1.1b8dcfa8.1700000000.1700086400.sh~pLw."
				      "WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkR"},
	{"padding", TOKEN "="},
	{"no MAC", "1.1b8dcfa8.1700000000.1700086400.sh~pLw."},
	{"MAC too short", "1.1b8dcfa8.1700000000.1700086400.sh~pLw."
			  "WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzk"},
	{"one more field", TOKEN "."},
	{"blank behind", TOKEN " "},
	{"quotes", "\"" TOKEN "\""},
	{"an f5-irule token", "t2XKmsBp+4ESEdq8ZScrjjyQBq+E812UoiPFXGoR/7A="},
};

Test(token_native, altered_tokens_are_forged)
{
	struct ht_token_params p = params();

	for (size_t i = 0; i < HT_ARRAY_SIZE(altered); i++)
		cr_expect_eq(check(&p, altered[i].token, ISSUED), HT_TOKEN_FORGED, "%s",
			     altered[i].name);
}

/* Every character counts, whatever it is changed into. */
Test(token_native, no_character_can_change)
{
	struct ht_token_params p = params();

	for (size_t i = 0; i < sizeof(TOKEN) - 1; i++) {
		for (int c = 0; c < 256; c++) {
			char token[] = TOKEN;
			struct ht_token_info info;

			token[i] = (char)c;
			if (token[i] == TOKEN[i])
				continue;
			cr_expect_eq(ht_token_check(&p, (struct ht_str){token, sizeof(token) - 1},
						    ISSUED, &info),
				     HT_TOKEN_FORGED, "character %zu as %#x", i, c);
			cr_expect(!info.issued_s && !info.expires_s && !info.attributes[0],
				  "it is believed before it verifies");
		}
	}
}

/* The token of somebody who has the key and writes its fields in a form of his own. */
static size_t sign_fields(const struct ht_token_params *p, const char *const fields[4], char *ret)
{
	const struct ht_str in[] = {
		HT_STR("hardtack native 1"),
		HT_STR(fields[0]),
		HT_STR(fields[1]),
		HT_STR(fields[2]),
		HT_STR(fields[3]),
		p->name,
		p->value,
		{(const char *)p->bind, HT_BINDING_DIGEST},
	};
	uint8_t message[1024], mac[32];
	struct ht_mac_key key;
	struct ht_str whole = {(const char *)message, 0};
	char base64[64];

	for (size_t i = 0; i < HT_ARRAY_SIZE(in); i++) {
		uint8_t *to = message + whole.len;

		to[0] = to[1] = 0;
		to[2] = (uint8_t)(in[i].len >> 8);
		to[3] = (uint8_t)in[i].len;
		memcpy(to + 4, in[i].p, in[i].len);
		whole.len += 4 + in[i].len;
	}
	ht_mac_key_make(p->secret.bytes, p->secret.len, &key);
	ht_mac_sha256(&key, &whole, 1, mac);
	EVP_EncodeBlock((unsigned char *)base64, mac, sizeof(mac));
	base64[43] = '\0';
	for (char *c = base64; *c; c++)
		*c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
	return (size_t)sprintf(ret, "1.%s.%s.%s.%s.%s", fields[0], fields[1], fields[2], fields[3],
			       base64);
}

static const struct {
	const char *name, *fields[4];
	enum ht_token_verdict verdict;
} forms[] = {
	{"as it should be", {"1b8dcfa8", "1700000000", "1700086400", "sh~pLw"}, HT_TOKEN_VALID},
	{"another key's id", {"1b8dcfa9", "1700000000", "1700086400", "sh~pLw"}, HT_TOKEN_FORGED},
	{"id in capitals", {"1B8DCFA8", "1700000000", "1700086400", ""}, HT_TOKEN_FORGED},
	{"zero before a time", {"1b8dcfa8", "01700000000", "1700086400", ""}, HT_TOKEN_FORGED},
	{"zero before the end", {"1b8dcfa8", "1700000000", "01700086400", ""}, HT_TOKEN_FORGED},
	{"no issue time", {"1b8dcfa8", "", "1700086400", ""}, HT_TOKEN_FORGED},
	{"a sign", {"1b8dcfa8", "+1700000000", "1700086400", ""}, HT_TOKEN_FORGED},
	{"hexadecimal", {"1b8dcfa8", "0x6553f100", "1700086400", ""}, HT_TOKEN_FORGED},
	{"after the year 9999", {"1b8dcfa8", "0", "253402300800", ""}, HT_TOKEN_FORGED},
	{"13 digits", {"1b8dcfa8", "0", "1000000000000", ""}, HT_TOKEN_FORGED},
	{"64 bits and more", {"1b8dcfa8", "0", "18446744075409638016", ""}, HT_TOKEN_FORGED},
	{"ends as it begins", {"1b8dcfa8", "1700000000", "1700000000", ""}, HT_TOKEN_FORGED},
	{"the first second", {"1b8dcfa8", "0", "1700086400", ""}, HT_TOKEN_VALID},
	{"flags in another order", {"1b8dcfa8", "0", "1700086400", "hs"}, HT_TOKEN_FORGED},
	{"a flag twice", {"1b8dcfa8", "0", "1700086400", "ss"}, HT_TOKEN_FORGED},
	{"two SameSites", {"1b8dcfa8", "0", "1700086400", "lt"}, HT_TOKEN_FORGED},
	{"an unknown flag", {"1b8dcfa8", "0", "1700086400", "x"}, HT_TOKEN_FORGED},
	{"domain before path", {"1b8dcfa8", "0", "1700086400", "~dYQ~pLw"}, HT_TOKEN_FORGED},
	{"path before domain", {"1b8dcfa8", "0", "1700086400", "~pLw~dYQ"}, HT_TOKEN_VALID},
	{"path twice", {"1b8dcfa8", "0", "1700086400", "~pLw~pLw"}, HT_TOKEN_FORGED},
	{"an empty path", {"1b8dcfa8", "0", "1700086400", "~p"}, HT_TOKEN_FORGED},
	{"a path that is none", {"1b8dcfa8", "0", "1700086400", "~pYQ"}, HT_TOKEN_FORGED},
	{"a bit that base64 ignores", {"1b8dcfa8", "0", "1700086400", "~pLx"}, HT_TOKEN_FORGED},
	{"one character too few", {"1b8dcfa8", "0", "1700086400", "~pL"}, HT_TOKEN_FORGED},
	{"padding", {"1b8dcfa8", "0", "1700086400", "~pLw=="}, HT_TOKEN_FORGED},
	{"plain base64", {"1b8dcfa8", "0", "1700086400", "~pL/8"}, HT_TOKEN_FORGED},
	{"a line end in a path", {"1b8dcfa8", "0", "1700086400", "~pLwoK"}, HT_TOKEN_FORGED},
	{"a semicolon in a domain", {"1b8dcfa8", "0", "1700086400", "~dYTti"}, HT_TOKEN_FORGED},
	{"a blank behind a domain", {"1b8dcfa8", "0", "1700086400", "~dYSA"}, HT_TOKEN_FORGED},
	{"a tilde alone", {"1b8dcfa8", "0", "1700086400", "~"}, HT_TOKEN_FORGED},
};

Test(token_native, there_is_one_way_to_write_it)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(forms); i++) {
		struct ht_token_params p = params();
		struct ht_token_info info;
		char text[1024];
		size_t len = sign_fields(&p, forms[i].fields, text);

		cr_expect_eq(ht_token_check(&p, (struct ht_str){text, len}, ISSUED, &info),
			     forms[i].verdict, "%s", forms[i].name);
	}
}

Test(token_native, nothing_else_verifies_it)
{
	struct ht_token_params p = params();

	p.value = HT_STR("0a1b2c3d4e5f6g7h8i9j0k1L");
	cr_expect_eq(check(&p, TOKEN, ISSUED), HT_TOKEN_FORGED, "value");
	p = params();
	p.name = HT_STR("Sid");
	cr_expect_eq(check(&p, TOKEN, ISSUED), HT_TOKEN_FORGED, "name");
	p = params();
	p.bind = nobody;
	cr_expect_eq(check(&p, TOKEN, ISSUED), HT_TOKEN_FORGED, "binding");
	p = params();
	p.secret.len--;
	cr_expect_eq(check(&p, TOKEN, ISSUED), HT_TOKEN_FORGED, "key");
}

/* Lengths stand in the MAC: a byte can't move from the name to the value. */
Test(token_native, names_and_values_do_not_run_together)
{
	struct ht_token_params p = params();
	char text[2][HT_TOKEN_TEXT_MAX];
	size_t len[2];

	p.name = HT_STR("ab");
	p.value = HT_STR("c");
	cr_assert_eq(ht_token_sign(&p, text[0], &len[0]), 0);
	p.name = HT_STR("a");
	p.value = HT_STR("bc");
	cr_assert_eq(ht_token_sign(&p, text[1], &len[1]), 0);
	cr_expect(len[0] != len[1] || memcmp(text[0], text[1], len[0]));
}

static const struct {
	const char *name, *in, *out;
	bool persistent;
} attributes[] = {
	{"none", "", "", false},
	{"semicolons", ";;; ;", "", false},
	{"order and case", ";HTTPONLY;secure;PATH=/a", "; Path=/a; Secure; HttpOnly", false},
	{"blanks", "; Path = /a b ;\tSecure ", "; Path=/a b; Secure", false},
	{"the last counts", "; Path=/a; Path=/b", "; Path=/b", false},
	{"a path that is none", "; Path=a", "", false},
	{"the last counts, though it is none", "; Path=/a; Path", "", false},
	{"a domain with a dot", "; Domain=.Example.com", "; Domain=.Example.com", false},
	{"an empty domain", "; Domain=", "", false},
	{"Lax", "; SameSite=lax", "; SameSite=Lax", false},
	{"Strict", "; samesite=Strict", "; SameSite=Strict", false},
	{"None", "; SameSite=NONE; Secure", "; Secure; SameSite=None", false},
	{"SameSite unknown", "; SameSite=Odd", "", false},
	{"Partitioned", "; Partitioned; Secure", "; Secure; Partitioned", false},
	{"Max-Age", "; Max-Age=60; Path=/", "; Path=/", true},
	{"Expires", "; Expires=Wed, 21 Oct 2037 07:28:00 GMT", "", true},
	{"an end that is none", "; Max-Age=soon", "", false},
	{"unknown ones", "; Priority=High; Path=/", "; Path=/", false},
	{"8-bit path", "; Path=/\xc3\xa9", "; Path=/\xc3\xa9", false},
};

Test(token_native, attributes_come_back)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(attributes); i++) {
		struct ht_token_params p = params();
		char text[HT_TOKEN_TEXT_MAX];
		struct ht_token_info info;
		size_t len;

		p.attributes = HT_STR(attributes[i].in);
		p.persistent = attributes[i].persistent;
		cr_assert_eq(ht_token_sign(&p, text, &len), 0, "%s", attributes[i].name);
		cr_assert_eq(ht_token_check(&p, (struct ht_str){text, len}, ISSUED, &info),
			     HT_TOKEN_VALID, "%s", attributes[i].name);
		cr_expect_str_eq(info.attributes, attributes[i].out, "%s", attributes[i].name);
		cr_expect_eq(info.persistent, attributes[i].persistent, "%s", attributes[i].name);
	}
}

/* Signed anew from what the old token says, which has no Max-Age any more. */
Test(token_native, a_renewed_token_stays_persistent)
{
	struct ht_token_params p = params();
	char text[2][HT_TOKEN_TEXT_MAX];
	struct ht_token_info info;
	size_t len[2];

	p.attributes = HT_STR("; Max-Age=60; Secure; Path=/");
	p.persistent = true;
	cr_assert_eq(ht_token_sign(&p, text[0], &len[0]), 0);
	cr_assert_eq(ht_token_check(&p, (struct ht_str){text[0], len[0]}, ISSUED, &info),
		     HT_TOKEN_VALID);
	p.attributes = HT_STR(info.attributes);
	p.persistent = info.persistent;
	cr_assert_eq(ht_token_sign(&p, text[1], &len[1]), 0);
	cr_expect(len[0] == len[1] && !memcmp(text[0], text[1], len[0]));
}

Test(token_native, cookie_octets_only)
{
	struct ht_token_params p = params();
	char text[HT_TOKEN_TEXT_MAX];
	size_t len;

	p.attributes = HT_STR("; Path=/ \"\\,\x01;Domain=\xff\xff");
	cr_expect_eq(ht_token_sign(&p, text, &len), -EPERM, "a control character");
	p.attributes = HT_STR("; Path=/ \"\\,;Domain=\xff\xff");
	cr_assert_eq(ht_token_sign(&p, text, &len), 0);
	for (size_t i = 0; i < len; i++)
		cr_expect(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
				 "-_.~",
				 text[i]),
			  "%c", text[i]);
}

/* A path of n bytes. -EPERM from where on? */
static int sign_path(size_t n, size_t *ret_len, struct ht_token_info *info)
{
	struct ht_token_params p = params();
	char attributes[1024] = "; Path=/", text[HT_TOKEN_TEXT_MAX + 1];
	int r;

	memset(attributes + 8, 'x', n - 1);
	p.attributes = (struct ht_str){attributes, 7 + n};
	p.issued_s = 100000000000;
	p.expires_s = 100000000001;
	text[HT_TOKEN_TEXT_MAX] = 'U'; /* nothing is written behind */
	r = ht_token_sign(&p, text, ret_len);
	cr_expect_eq(text[HT_TOKEN_TEXT_MAX], 'U');
	if (!r)
		cr_expect_eq(ht_token_check(&p, (struct ht_str){text, *ret_len}, p.issued_s, info),
			     HT_TOKEN_VALID);
	return r;
}

Test(token_native, attributes_fit_or_are_refused)
{
	struct ht_token_info info;
	size_t n, len = 0, longest = 0;

	for (n = 1; n < 600 && !sign_path(n, &len, &info); n++) {
		cr_expect_eq(strlen(info.attributes), 7 + n);
		longest = len;
	}
	cr_expect(n > 300 && n < 400, "refused from %zu on", n);
	cr_expect(longest <= HT_TOKEN_TEXT_MAX && longest > HT_TOKEN_TEXT_MAX - 16, "%zu", longest);
	for (; n < 600; n++)
		cr_expect_eq(sign_path(n, &len, &info), -EPERM, "%zu", n);
}

Test(token_native, what_is_refused)
{
	static const struct {
		const char *name, *cookie, *value;
		bool bound;
	} rows[] = {
		{"empty value", "sid", "", true},
		{"empty name", "", "v", true},
		{"no binding", "sid", "v", false},
	};
	struct ht_token_params p = params();
	char text[HT_TOKEN_TEXT_MAX];
	size_t len = 12345;

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		p = params();
		p.name = HT_STR(rows[i].cookie);
		p.value = HT_STR(rows[i].value);
		p.bind = rows[i].bound ? address : NULL;
		cr_expect_eq(ht_token_sign(&p, text, &len), -EPERM, "%s", rows[i].name);
		cr_expect_eq(check(&p, TOKEN, ISSUED), HT_TOKEN_REFUSED, "%s", rows[i].name);
	}
	p = params();
	p.secret.len = 0;
	cr_expect_eq(ht_token_sign(&p, text, &len), -EPERM, "no secret");
	cr_expect_eq(check(&p, TOKEN, ISSUED), HT_TOKEN_REFUSED, "no secret");
	p = params();
	p.expires_s = p.issued_s;
	cr_expect_eq(ht_token_sign(&p, text, &len), -EPERM, "expired at birth");
	p.expires_s = 253402300800;
	cr_expect_eq(ht_token_sign(&p, text, &len), -EPERM, "after the year 9999");
	cr_expect_eq(len, 12345, "written on failure");
}

/* Of a secret that is not there (any more): that much is known without computing anything. */
Test(token_native, outlives_its_secret)
{
	struct ht_secret secrets[] = {
		{.bytes = (const uint8_t *)"another", .len = 7},
		{.bytes = (const uint8_t *)SECRET, .len = sizeof(SECRET) - 1, .retire_s = 1000},
	};
	const struct ht_key both = {"shop", 1, 2, secrets}, one = {"shop", 1, 1, secrets},
			    none = {"shop", 1, 0, secrets};

	cr_expect_not(ht_native_outlived(HT_STR(TOKEN), &both, 999));
	cr_expect(ht_native_outlived(HT_STR(TOKEN), &both, 1000), "it is retired");
	cr_expect(ht_native_outlived(HT_STR(TOKEN), &one, 0));
	cr_expect(ht_native_outlived(HT_STR(TOKEN), &none, 0));
	cr_expect_not(ht_native_outlived(HT_STR("no token"), &one, 0));
	cr_expect_not(ht_native_outlived(HT_STR("2" TOKEN), &one, 0));
	cr_expect_not(ht_native_outlived(HT_STR(""), &one, 0));
}
