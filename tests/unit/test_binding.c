/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bindings: the exact text that goes into a token, when there is none, and that different
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
	ht_binding_make(NULL, 0, &c, &b);
	expect_empty(&b, "no ingredient");
}

Test(binding, kind_that_is_not_built_is_empty)
{
	struct ht_bind user = {HT_BIND_USER, 32, 128};
	struct ht_client c = client_at("192.0.2.10");
	struct ht_binding b;

	ht_binding_make(&user, 1, &c, &b);
	expect_empty(&b, "user");
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
	struct ht_client one = {.x509_subject = {"X\2\0\0\0\0\0\0\0X", 10}};
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
		{"geoip-country", -EOPNOTSUPP, {0}},
		{"x509-spki", -EOPNOTSUPP, {0}},
		{"user", -EOPNOTSUPP, {0}},
		{"tls-exporter", -EOPNOTSUPP, {0}},
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
	static const enum ht_bind_kind built[] = {HT_BIND_CLIENT_IP, HT_BIND_X509_SUBJECT};

	for (size_t i = 0; i < HT_ARRAY_SIZE(built); i++)
		cr_expect_eq(parsed(ht_bind_kind_name(built[i])).kind, built[i]);
	cr_expect_str_eq(ht_bind_kind_name(HT_BIND_TLS_EXPORTER), "tls-exporter");
}
