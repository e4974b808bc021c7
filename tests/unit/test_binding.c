/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bindings: the exact text and digest that go into a token, when there are none, and that different
 * bindings never share a digest.
 */
#include <criterion/criterion.h>

#include <arpa/inet.h>

#include "binding.h"

#define SUBJECT "CN=Alice Example,OU=Staff,O=Example Corp,C=US"

static struct ht_client client_at(const char *address)
{
	struct ht_client c = {.x509_subject = {"", 0}};
	struct sockaddr_in *in = (void *)&c.addr;
	struct sockaddr_in6 *in6 = (void *)&c.addr;

	if (inet_pton(AF_INET, address, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(4711);
	} else {
		cr_assert_eq(inet_pton(AF_INET6, address, &in6->sin6_addr), 1, "%s", address);
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(4711);
	}
	return c;
}

/* Bytes a0 to bf, and 00 to 1f. */
#define SPKI                                                                                       \
	((struct ht_str){"\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab\xac\xad\xae\xaf"        \
			 "\xb0\xb1\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xbb\xbc\xbd\xbe\xbf",       \
			 32})
#define SPKI_HEX "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
#define EXPORTER                                                                                   \
	((struct ht_str){"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"        \
			 "\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f",       \
			 32})
#define EXPORTER_HEX "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

/* Who can say everything of himself. */
static struct ht_client somebody(void)
{
	struct ht_client c = client_at("192.0.2.10");

	c.country = HT_STR("DE");
	c.x509_subject = HT_STR(SUBJECT);
	c.x509_spki = SPKI;
	c.user = HT_STR("alice");
	c.exporter = EXPORTER;
	return c;
}

static struct ht_bind parsed(const char *text)
{
	struct ht_bind b;

	cr_assert_eq(ht_bind_parse(text, &b), 0, "%s", text);
	return b;
}

static struct ht_binding made(const char *spec, const struct ht_client *client)
{
	struct ht_bind b = parsed(spec);
	struct ht_binding ret;

	ht_binding_make(&b, 1, client, &ret);
	return ret;
}

/* By ingredients with blanks between them. */
static struct ht_binding made_of(const char *specs, const struct ht_client *client)
{
	struct ht_bind binds[HT_BINDS_PER_RULE];
	struct ht_binding ret;
	char copy[256], *save, *spec;
	size_t n = 0;

	snprintf(copy, sizeof(copy), "%s", specs);
	for (spec = strtok_r(copy, " ", &save); spec; spec = strtok_r(NULL, " ", &save))
		binds[n++] = parsed(spec);
	ht_binding_make(binds, n, client, &ret);
	return ret;
}

static void expect_text(const struct ht_binding *b, const char *name, const char *text)
{
	cr_expect_not(b->empty, "%s", name);
	cr_expect(ht_str_eq((struct ht_str){b->text, b->len}, HT_STR(text)),
		  "%s: \"%.*s\" is not \"%s\"", name, (int)b->len, b->text, text);
	cr_expect_eq(b->colon, !!strchr(text, ':'), "%s", name);
	cr_expect(b->digest[0] || b->digest[1], "%s", name);
}

static void expect_empty(const struct ht_binding *b, const char *name)
{
	cr_expect(b->empty, "%s", name);
	cr_expect_eq(b->len, 0, "%s", name);
	cr_expect_not(b->colon, "%s", name);
	cr_expect(!b->digest[0] && !b->digest[1], "%s: it has a digest", name);
	for (size_t i = 0; i < sizeof(b->sha); i++)
		cr_expect_eq(b->sha[i], 0, "%s: it has a digest", name);
}

Test(binding, client_ip_text)
{
	static const struct {
		const char *bind, *address, *text;
	} rows[] = {
		{"client-ip", "192.0.2.10", "192.0.2.10"},
		{"client-ip/32", "255.255.255.255", "255.255.255.255"},
		{"client-ip/24", "192.0.2.10", "192.0.2.0"},
		{"client-ip/25", "192.0.2.255", "192.0.2.128"},
		{"client-ip/23", "192.0.3.10", "192.0.2.0"},
		{"client-ip/1", "192.0.2.10", "128.0.0.0"},
		{"client-ip", "2001:db8::1", "2001:db8::1"},
		{"client-ip", "2001:0DB8:0:0:0:0:0:1", "2001:db8::1"},
		{"client-ip/24,64", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
		{"client-ip/24,64", "192.0.2.10", "192.0.2.0"},
		{"client-ip/24", "2001:db8::1", "2001:db8::1"},
		{"client-ip/32,49", "2001:db8:1:ffff::1", "2001:db8:1:8000::"},
		{"client-ip/32,1", "2001:db8::1", "::"},
		{"client-ip", "::ffff:192.0.2.10", "192.0.2.10"},
		{"client-ip/24,64", "::ffff:192.0.2.10", "192.0.2.0"},
		{"client-ip", "::1", "::1"},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_client c = client_at(rows[i].address);
		struct ht_binding b = made(rows[i].bind, &c);

		expect_text(&b, rows[i].bind, rows[i].text);
	}
}

Test(binding, mapped_address_is_the_same_client)
{
	struct ht_client v4 = client_at("192.0.2.10"), mapped = client_at("::ffff:192.0.2.10");
	struct ht_binding a = made("client-ip/24,64", &v4), b = made("client-ip/24,64", &mapped);

	cr_expect_arr_eq(a.digest, b.digest, sizeof(a.digest));
}

Test(binding, ports_and_scopes_do_not_matter)
{
	struct ht_client c = client_at("fe80::1");
	struct ht_binding a = made("client-ip", &c), b;

	((struct sockaddr_in6 *)&c.addr)->sin6_port = htons(1);
	((struct sockaddr_in6 *)&c.addr)->sin6_scope_id = 7;
	b = made("client-ip", &c);
	expect_text(&b, "scoped", "fe80::1");
	cr_expect_arr_eq(a.digest, b.digest, sizeof(a.digest));
}

Test(binding, subject_is_taken_as_it_is)
{
	struct ht_client c = client_at("192.0.2.10");
	struct ht_binding b;

	c.x509_subject = HT_STR(SUBJECT);
	b = made("x509-subject", &c);
	expect_text(&b, "subject", SUBJECT);
}

Test(binding, ingredients_are_appended_in_order)
{
	const struct ht_bind ip = parsed("client-ip"), subject = parsed("x509-subject");
	struct ht_client c = client_at("192.0.2.10");
	struct ht_binding a, b;

	c.x509_subject = HT_STR("CN=a");
	ht_binding_make((const struct ht_bind[]){ip, subject}, 2, &c, &a);
	expect_text(&a, "ip subject", "192.0.2.10CN=a");
	ht_binding_make((const struct ht_bind[]){subject, ip}, 2, &c, &b);
	expect_text(&b, "subject ip", "CN=a192.0.2.10");
}

Test(binding, what_is_missing_makes_it_empty)
{
	const struct ht_bind ip = parsed("client-ip"), subject = parsed("x509-subject");
	struct ht_client c = client_at("192.0.2.10");
	struct ht_client nobody = {.x509_subject = {NULL, 0}};
	struct ht_binding b;

	b = made("x509-subject", &c);
	expect_empty(&b, "no certificate");
	b = made("client-ip", &nobody);
	expect_empty(&b, "no address");
	ht_binding_make((const struct ht_bind[]){ip, subject}, 2, &c, &b);
	expect_empty(&b, "one of two");
}

/* Each alone is missing, whatever else the client can say; and with it what it is combined with. */
Test(binding, every_ingredient_can_be_missing)
{
	static const struct {
		const char *bind;
		size_t offset;
	} rows[] = {
		{"geoip-country", offsetof(struct ht_client, country)},
		{"x509-subject", offsetof(struct ht_client, x509_subject)},
		{"x509-spki", offsetof(struct ht_client, x509_spki)},
		{"user", offsetof(struct ht_client, user)},
		{"tls-exporter", offsetof(struct ht_client, exporter)},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_client c = somebody();
		struct ht_binding b;
		char both[64];

		*(struct ht_str *)((char *)&c + rows[i].offset) = HT_STR("");
		b = made_of(rows[i].bind, &c);
		expect_empty(&b, rows[i].bind);
		snprintf(both, sizeof(both), "client-ip %s", rows[i].bind);
		b = made_of(both, &c);
		expect_empty(&b, both);
		snprintf(both, sizeof(both), "%s client-ip", rows[i].bind);
		b = made_of(both, &c);
		expect_empty(&b, both);
		b = made_of("client-ip", &c);
		expect_text(&b, rows[i].bind, "192.0.2.10");
	}
}

Test(binding, what_has_the_wrong_length_is_missing)
{
	struct ht_client c = somebody();
	char name[HT_USER_MAX + 1];
	struct ht_binding b;

	memset(name, 'x', sizeof(name));
	c.country = HT_STR("DEU");
	c.x509_spki.len = 31;
	c.exporter.len = 20;
	c.user = (struct ht_str){name, HT_USER_MAX + 1};
	b = made("geoip-country", &c);
	expect_empty(&b, "country");
	b = made("x509-spki", &c);
	expect_empty(&b, "key");
	b = made("tls-exporter", &c);
	expect_empty(&b, "exporter");
	b = made("user", &c);
	expect_empty(&b, "user");
	c.user.len = HT_USER_MAX;
	b = made("user", &c);
	cr_expect(!b.empty && b.len == HT_USER_MAX, "the longest user");
}

Test(binding, text_of_every_kind)
{
	static const struct {
		const char *binds, *text;
	} rows[] = {
		{"geoip-country", "DE"},
		{"x509-subject", SUBJECT},
		{"x509-spki", SPKI_HEX},
		{"user", "alice"},
		{"tls-exporter", EXPORTER_HEX},
		{"client-ip/24 geoip-country", "192.0.2.0DE"},
		{"geoip-country client-ip", "DE192.0.2.10"},
		{"user x509-spki geoip-country client-ip", "alice" SPKI_HEX "DE192.0.2.10"},
	};
	struct ht_client c = somebody();

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_binding b = made_of(rows[i].binds, &c);

		expect_text(&b, rows[i].binds, rows[i].text);
	}
}

/* hardtack-native(7), BINDING: computed by other means. */
Test(binding, digest_is_that_of_the_specified_transcript)
{
	static const struct {
		const char *binds, *address, *sha;
	} rows[] = {
		{"", "192.0.2.10",
		 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"client-ip", "192.0.2.10",
		 "ddb41259aaf0e2898a4dcbf3e5fa38a1bb776bc0e02d1070615f7fbec33358a6"},
		{"client-ip/24", "192.0.2.10",
		 "a00c19e535c7f106886c83d5c44a4b518879641180907abc0cef9580f7363c60"},
		{"client-ip/24,64", "192.0.2.10",
		 "ce7cc9abc169afd1f4a8055a5cdbfd2820de8673c76139dfb575b8d57b41d34d"},
		{"client-ip/24,64", "2001:db8:1:2:3:4:5:6",
		 "b7f20ba72c80a3e7663e6c2f89c59f520d441b0bd5022f05939dddd85b661390"},
		{"geoip-country", "192.0.2.10",
		 "af340a48dc5f1dc4b012d7c68f32b97b04b3f701b003fc1dc51a8615b86cc062"},
		{"x509-subject", "192.0.2.10",
		 "d169eeccae9f8f574dde3d4f40e39bbddeeda389fff9d418c4828390c93a3de9"},
		{"x509-spki", "192.0.2.10",
		 "ef91c25b1c504ee3ec54f588e032ba3bd48563b26e07ed6a90a51f964fb12de8"},
		{"user", "192.0.2.10",
		 "ef6843a16f1374480b6508ed754e4d77440e4462a96d1ba279b0238ef1fc311c"},
		{"tls-exporter", "192.0.2.10",
		 "29a9535b6b1d2f2ba82e5095a4eaa0f52411e999c6cb50025ccacdc5bee45072"},
		{"user x509-spki geoip-country client-ip", "192.0.2.10",
		 "b99196cbd1ffd1b2c3f824bac2bea50a02e740316159a4699b11c5552e4f4636"},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_client c = somebody();
		struct ht_binding b;
		char hex[65];

		c.addr = client_at(rows[i].address).addr;
		b = made_of(rows[i].binds, &c);
		for (size_t j = 0; j < sizeof(b.sha); j++)
			snprintf(hex + 2 * j, 3, "%02x", b.sha[j]);
		cr_expect_str_eq(hex, rows[i].sha, "%s", rows[i].binds);
		cr_expect_arr_eq(b.digest, b.sha, sizeof(b.digest), "%s", rows[i].binds);
	}
}

Test(binding, none_is_a_binding_too)
{
	struct ht_client nobody = {0};
	struct ht_binding b;

	memset(&b, 0xff, sizeof(b));
	ht_binding_make(NULL, 0, &nobody, &b);
	cr_expect_not(b.empty);
	cr_expect_not(b.colon);
	cr_expect_eq(b.len, 0);
	cr_expect(b.digest[0] && b.digest[1]);
}

Test(binding, too_long_is_empty_not_cut)
{
	const struct ht_bind subject = parsed("x509-subject"), ip = parsed("client-ip");
	struct ht_client c = client_at("192.0.2.10");
	char text[HT_BINDING_MAX + 1];
	struct ht_binding b;

	memset(text, 'x', sizeof(text));
	c.x509_subject = (struct ht_str){text, HT_BINDING_MAX};
	ht_binding_make(&subject, 1, &c, &b);
	cr_expect(!b.empty && b.len == HT_BINDING_MAX, "the longest fits");
	ht_binding_make((const struct ht_bind[]){subject, ip}, 2, &c, &b);
	expect_empty(&b, "no room for the address");
	c.x509_subject.len = HT_BINDING_MAX + 1;
	ht_binding_make(&subject, 1, &c, &b);
	expect_empty(&b, "one byte too long");
}

/* Each pair has the same text, or could be taken for it; no two may have the same digest. */
Test(binding, digests_differ)
{
	static const struct {
		const char *name;
		struct ht_bind binds[2];
		size_t nbinds;
		const char *subject;
	} rows[] = {
		{"ip", {{HT_BIND_CLIENT_IP, 32, 128}}, 1, ""},
		{"another v4 prefix", {{HT_BIND_CLIENT_IP, 31, 128}}, 1, ""},
		{"another v6 prefix", {{HT_BIND_CLIENT_IP, 32, 127}}, 1, ""},
		{"subject", {{HT_BIND_X509_SUBJECT, 32, 128}}, 1, "192.0.2.10"},
		{"subject moved on",
		 {{HT_BIND_CLIENT_IP, 32, 128}, {HT_BIND_X509_SUBJECT, 32, 128}},
		 2,
		 "1"},
		{"as one subject", {{HT_BIND_X509_SUBJECT, 32, 128}}, 1, "192.0.2.101"},
		{"twice the subject",
		 {{HT_BIND_X509_SUBJECT, 32, 128}, {HT_BIND_X509_SUBJECT, 32, 128}},
		 2,
		 "192.0.2.10"},
		{"the subject doubled",
		 {{HT_BIND_X509_SUBJECT, 32, 128}},
		 1,
		 "192.0.2.10192.0.2.10"},
		{"other order",
		 {{HT_BIND_X509_SUBJECT, 32, 128}, {HT_BIND_CLIENT_IP, 32, 128}},
		 2,
		 "192.0.2.10"},
	};
	struct ht_binding b[HT_ARRAY_SIZE(rows)];

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_client c = client_at("192.0.2.10");

		c.x509_subject = HT_STR(rows[i].subject);
		ht_binding_make(rows[i].binds, rows[i].nbinds, &c, &b[i]);
		cr_expect_not(b[i].empty, "%s", rows[i].name);
		for (size_t j = 0; j < i; j++)
			cr_expect(memcmp(b[i].digest, b[j].digest, sizeof(b[i].digest)),
				  "\"%s\" is \"%s\"", rows[i].name, rows[j].name);
	}
}

/* One subject that contains what stands between two in the digest's input, but for the lengths. */
Test(binding, lengths_are_part_of_the_digest)
{
	const struct ht_bind subject = parsed("x509-subject");
	struct ht_client one = {.x509_subject = {"X\0\0\0\x0cx509-subject\0\0\0\1X", 22}};
	struct ht_client two = {.x509_subject = {"X", 1}};
	struct ht_binding a, b;

	ht_binding_make(&subject, 1, &one, &a);
	ht_binding_make((const struct ht_bind[]){subject, subject}, 2, &two, &b);
	cr_expect(memcmp(a.digest, b.digest, sizeof(a.digest)));
}

Test(binding, digest_is_that_of_the_network)
{
	struct ht_client a = client_at("192.0.2.10"), b = client_at("192.0.2.200"),
			 c = client_at("192.0.3.10");
	struct ht_binding in_a = made("client-ip/24", &a), in_b = made("client-ip/24", &b),
			  in_c = made("client-ip/24", &c);

	cr_expect_arr_eq(in_a.digest, in_b.digest, sizeof(in_a.digest));
	cr_expect(memcmp(in_a.digest, in_c.digest, sizeof(in_a.digest)));
}

Test(binding, parse)
{
	static const struct {
		const char *text;
		int result;
		struct ht_bind bind;
	} rows[] = {
		{"client-ip", 0, {HT_BIND_CLIENT_IP, 32, 128}},
		{"client-ip/24", 0, {HT_BIND_CLIENT_IP, 24, 128}},
		{"client-ip/24,64", 0, {HT_BIND_CLIENT_IP, 24, 64}},
		{"client-ip/32,128", 0, {HT_BIND_CLIENT_IP, 32, 128}},
		{"client-ip/1,1", 0, {HT_BIND_CLIENT_IP, 1, 1}},
		{"x509-subject", 0, {HT_BIND_X509_SUBJECT, 32, 128}},
		{"geoip-country", 0, {HT_BIND_GEOIP_COUNTRY, 32, 128}},
		{"x509-spki", 0, {HT_BIND_X509_SPKI, 32, 128}},
		{"user", 0, {HT_BIND_USER, 32, 128}},
		{"tls-exporter", 0, {HT_BIND_TLS_EXPORTER, 32, 128}},
		{"", -EINVAL, {0}},
		{"client", -EINVAL, {0}},
		{"client-ip ", -EINVAL, {0}},
		{"Client-IP", -EINVAL, {0}},
		{"client-ip/", -EINVAL, {0}},
		{"client-ip/0", -EINVAL, {0}},
		{"client-ip/33", -EINVAL, {0}},
		{"client-ip/024", -EINVAL, {0}},
		{"client-ip/+24", -EINVAL, {0}},
		{"client-ip/ 24", -EINVAL, {0}},
		{"client-ip/24 ", -EINVAL, {0}},
		{"client-ip/-1", -EINVAL, {0}},
		{"client-ip/4294967320", -EINVAL, {0}},
		{"client-ip/24,", -EINVAL, {0}},
		{"client-ip/,64", -EINVAL, {0}},
		{"client-ip/24,0", -EINVAL, {0}},
		{"client-ip/24,129", -EINVAL, {0}},
		{"client-ip/24,64,", -EINVAL, {0}},
		{"client-ip/24/64", -EINVAL, {0}},
		{"client-ip/255.255.255.0", -EINVAL, {0}},
		{"x509-subject/24", -EINVAL, {0}},
		{"user/24", -EINVAL, {0}},
	};

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_bind b = {HT_BIND_TLS_EXPORTER, 99, 99};

		cr_expect_eq(ht_bind_parse(rows[i].text, &b), rows[i].result, "%s", rows[i].text);
		if (rows[i].result) {
			cr_expect(b.kind == HT_BIND_TLS_EXPORTER && b.v4_bits == 99,
				  "%s: written on failure", rows[i].text);
			continue;
		}
		cr_expect_eq(b.kind, rows[i].bind.kind, "%s", rows[i].text);
		cr_expect_eq(b.v4_bits, rows[i].bind.v4_bits, "%s", rows[i].text);
		cr_expect_eq(b.v6_bits, rows[i].bind.v6_bits, "%s", rows[i].text);
	}
}

Test(binding, kind_names_parse_back)
{
	for (unsigned kind = HT_BIND_CLIENT_IP; kind <= HT_BIND_TLS_EXPORTER; kind++)
		cr_expect_eq(parsed(ht_bind_kind_name(kind)).kind, kind);
	cr_expect_str_eq(ht_bind_kind_name(HT_BIND_TLS_EXPORTER), "tls-exporter");
}

Test(binding, has)
{
	const struct ht_bind binds[] = {parsed("client-ip"), parsed("user")};

	cr_expect(ht_bind_has(binds, 2, HT_BIND_USER));
	cr_expect(ht_bind_has(binds, 2, HT_BIND_CLIENT_IP));
	cr_expect_not(ht_bind_has(binds, 1, HT_BIND_USER));
	cr_expect_not(ht_bind_has(NULL, 0, HT_BIND_USER));
}
