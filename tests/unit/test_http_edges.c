/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is told to a backend on the word of a trusted proxy, redirects, and the path that a backend
 * will read.
 */
#include <criterion/criterion.h>

#include "http.h"

TestSuite(http_edges);

#define CRLF "\r\n"
#define END "\r\n\r\n"
#define GET "GET / HTTP/1.1" CRLF "Host: a" CRLF

static void parse(const char *in, struct ht_http_request *r)
{
	const char *why = "";

	cr_assert_eq(ht_http_parse_request(in, strlen(in), NULL, r, &why), 1, "%s: %s", in, why);
}

static const struct {
	const char *name, *in, *proxy, *host, *out;
} forwards[] = {
	{"not believed", GET "X-Forwarded-For: 1.1.1.1" CRLF "Forwarded: for=1.1.1.1" END, "", "",
	 "X-Forwarded-For: 192.0.2.1" CRLF "X-Forwarded-Host: a" CRLF},
	{"appended", GET "X-Forwarded-For: 192.0.2.1" END, "10.0.0.1", "",
	 "X-Forwarded-For: 192.0.2.1, 10.0.0.1" CRLF "X-Forwarded-Host: a" CRLF},
	{"several become one",
	 GET "X-Forwarded-For: 192.0.2.1" CRLF "A: b" CRLF "x-forwarded-for: 10.0.0.2,10.0.0.3" END,
	 "10.0.0.1", "",
	 "A: b" CRLF "X-Forwarded-For: 192.0.2.1, 10.0.0.2,10.0.0.3, 10.0.0.1" CRLF
	 "X-Forwarded-Host: a" CRLF},
	{"twins never count", GET "X_Forwarded_For: 6.6.6.6" CRLF "X-Forwarded_For: 6.6.6.6" END,
	 "10.0.0.1", "", "X-Forwarded-For: 192.0.2.1" CRLF "X-Forwarded-Host: a" CRLF},
	{"empty ones neither", GET "X-Forwarded-For:" END, "10.0.0.1", "",
	 "X-Forwarded-For: 192.0.2.1" CRLF "X-Forwarded-Host: a" CRLF},
	{"Forwarded", GET "Forwarded: for=192.0.2.1;proto=https" CRLF "Forwarded: for=10.0.0.9" END,
	 "10.0.0.1", "",
	 "X-Forwarded-For: 192.0.2.1" CRLF
	 "Forwarded: for=192.0.2.1;proto=https, for=10.0.0.9, for=10.0.0.1" CRLF
	 "X-Forwarded-Host: a" CRLF},
	{"Forwarded of IPv6", GET "Forwarded: for=192.0.2.1" END, "2001:db8::1", "",
	 "X-Forwarded-For: 192.0.2.1" CRLF "Forwarded: for=192.0.2.1, for=\"[2001:db8::1]\"" CRLF
	 "X-Forwarded-Host: a" CRLF},
	{"another host", GET "X-Forwarded-Host: b" END, "", "b.example",
	 "X-Forwarded-For: 192.0.2.1" CRLF "X-Forwarded-Host: b.example" CRLF},
};

Test(http_edges, forwards)
{
	static struct ht_http_request r;

	for (size_t i = 0; i < HT_ARRAY_SIZE(forwards); i++) {
		const struct ht_http_forward f = {
			.client_ip = HT_STR("192.0.2.1"),
			.proxy_ip = HT_STR(forwards[i].proxy),
			.host = HT_STR(forwards[i].host),
		};
		char out[1024], want[1024];
		int n;

		parse(forwards[i].in, &r);
		n = ht_http_write_request(&r, &f, out, sizeof(out));
		snprintf(want, sizeof(want), GET "%s" CRLF, forwards[i].out);
		cr_expect(n == (int)strlen(want) && !memcmp(out, want, strlen(want)), "%s:\n%.*s",
			  forwards[i].name, n > 0 ? n : 0, out);
	}
}

Test(http_edges, what_is_appended_is_bounded)
{
	const struct ht_http_forward f = {.client_ip = HT_STR("192.0.2.1"),
					  .proxy_ip = HT_STR("10.0.0.1")};
	static struct ht_http_request r;
	char out[1024];
	int n;

	parse(GET "X-Forwarded-For: 192.0.2.1" CRLF "Forwarded: for=192.0.2.1" END, &r);
	n = ht_http_write_request(&r, &f, out, sizeof(out));
	cr_assert_gt(n, 0);
	for (int cap = 0; cap < n; cap++)
		cr_expect_eq(ht_http_write_request(&r, &f, out, (size_t)cap), -431);
}

static const struct {
	const char *line, *path;
} paths[] = {
	{"GET /a/b", "/a/b"},	       {"GET /a?b=/c", "/a"},	   {"GET /?", "/"},
	{"GET http://a/b?c", "/b"},    {"GET http://a", "/"},	   {"GET http://a?b", "/"},
	{"GET HTTPS://a:1/b/", "/b/"}, {"OPTIONS *", "*"},	   {"OPTIONS http://a", "*"},
	{"OPTIONS http://a?b", "/"},   {"OPTIONS http://a/", "/"},
};

/* The same that the backend gets. */
Test(http_edges, path)
{
	static const struct ht_http_forward f;
	static struct ht_http_request r;

	for (size_t i = 0; i < HT_ARRAY_SIZE(paths); i++) {
		size_t len = strlen(paths[i].path);
		char in[256], out[256], *target;
		struct ht_str path;

		snprintf(in, sizeof(in), "%s HTTP/1.1" CRLF "Host: a" END, paths[i].line);
		parse(in, &r);
		path = ht_http_path(&r);
		cr_expect(ht_str_eq(path, HT_STR(paths[i].path)), "%s: '%.*s'", paths[i].line,
			  HT_STR_ARG(path));
		cr_assert_gt(ht_http_write_request(&r, &f, out, sizeof(out)), 0);
		target = strchr(out, ' ') + 1;
		cr_expect(!memcmp(target, paths[i].path, len) && strchr(" ?", target[len]), "%s",
			  paths[i].line);
	}
}

static const struct {
	const char *target, *host, *location; /* NULL = refused */
} redirects[] = {
	{"/", "shop.example.com", "https://shop.example.com/"},
	{"/a?b=c", "shop.example.com:8080", "https://shop.example.com/a?b=c"},
	{"//evil.example/", "a", "https://a//evil.example/"},
	{"http://b/c", "a", "https://b/c"},
	{"http://b?c", "a", "https://b/?c"},
	{"/", "[2001:db8::1]:80", "https://[2001:db8::1]/"},
	{"/", "a%2f", NULL},
	{"/", "a'b", NULL},
	{"/", "(a)", NULL},
	{"/", "a;b", NULL},
	{"/", "a,b", NULL},
};

Test(http_edges, redirects)
{
	static struct ht_http_request r;

	for (size_t i = 0; i < HT_ARRAY_SIZE(redirects); i++) {
		char in[256], out[512], want[512];
		const char *why;
		int n;

		snprintf(in, sizeof(in), "GET %s HTTP/1.1" CRLF "Host: %s" END, redirects[i].target,
			 redirects[i].host);
		if (ht_http_parse_request(in, strlen(in), NULL, &r, &why) != 1) {
			cr_expect(!redirects[i].location, "%s: %s", redirects[i].host, why);
			continue;
		}
		n = ht_http_write_redirect(&r, false, out, sizeof(out));
		if (!redirects[i].location) {
			cr_expect_eq(n, -EINVAL, "%s", redirects[i].host);
			continue;
		}
		snprintf(want, sizeof(want),
			 "HTTP/1.1 308 Permanent Redirect" CRLF "Location: %s" CRLF
			 "Content-Length: 0" CRLF "Connection: close" END,
			 redirects[i].location);
		cr_expect(n == (int)strlen(want) && !memcmp(out, want, strlen(want)), "%s:\n%.*s",
			  redirects[i].host, n > 0 ? n : 0, out);
		for (int cap = 0; cap < n; cap++)
			cr_expect_eq(ht_http_write_redirect(&r, false, out, (size_t)cap), -ENOSPC);
	}
}

Test(http_edges, redirects_keep_the_connection)
{
	static struct ht_http_request r;
	char out[512];
	int n;

	parse("OPTIONS * HTTP/1.1" CRLF "Host: a" END, &r);
	n = ht_http_write_redirect(&r, true, out, sizeof(out));
	cr_assert_gt(n, 0);
	cr_expect(memmem(out, (size_t)n, "Location: https://a/" CRLF, 22) != NULL);
	cr_expect(!memmem(out, (size_t)n, "Connection", 10));
	parse("GET / HTTP/1.0" END, &r);
	cr_expect_eq(ht_http_write_redirect(&r, true, out, sizeof(out)), -EINVAL, "no host");
}

Test(http_edges, names_fold)
{
	cr_expect(ht_http_name_folds_to(HT_STR("X-Original_URL"), "x-original-url"));
	cr_expect(ht_http_name_folds_to(HT_STR("x.original!url"), "x-original-url"));
	cr_expect_not(ht_http_name_folds_to(HT_STR("X-Original-URLs"), "x-original-url"));
	cr_expect_not(ht_http_name_folds_to(HT_STR("X-Original-UR"), "x-original-url"));
}
