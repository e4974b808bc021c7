/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the scanner of head.h passes over at once, without looking closer, is what nothing would have
 * been found in: random heads of pieces that mean something, scanned with and without that.
 */
#include "../scan.h"

#include <criterion/criterion.h>

#include "../rules.h"
#include "policy.h"

#define HEADS 200000

static struct ht_rule_config named[] = {
	F5_RULE("sid", HT_MODE_ENFORCE, .nbinds = 1),
	F5_RULE("__Host-c", HT_MODE_ENFORCE, .nbinds = 1),
};
static struct ht_cookie_name list[] = {{(char *)"a", false}, {(char *)"lang", true}};
static struct ht_rule_config only[] = {PROXYSG_RULE(HT_COVERS_ONLY, list, 2, HT_MODE_ENFORCE)};
static struct ht_rule_config all[] = {PROXYSG_RULE(HT_COVERS_ALL, NULL, 0, HT_MODE_ENFORCE)};
static struct ht_site_config sites[] = {
	{.rules = named, .nrules = 2}, {.rules = only, .nrules = 1}, {.rules = all, .nrules = 1}};

static const char *const pieces[] = {
	"\r\n",
	"\r\n",
	"\r\nCookie: ",
	"\r\nCookie: ",
	"\r\ncookie:",
	"\r\nCookie : ",
	"\r\nHost: a",
	"\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
	"\r\nContent-Length: 12",
	"\r\nContent-Length : 1",
	"\r\nTransfer-Encoding: chunked",
	"\r\nConnection: upgrade",
	"\r\nUpgrade: websocket",
	"\r\nUpgrade-Insecure-Requests: 1",
	"\r\nTE: trailers",
	"\r\n folded",
	"\r\n\tfolded",
	"\r\nX: ",
	"\r",
	"\n",
	"\t",
	"\t",
	" ",
	" ",
	"       ",
	"        ",
	"=",
	"=",
	";",
	"; ",
	"; ",
	"; ",
	"; ",
	"; \t",
	";  ",
	"sid=",
	"sid_HMAC=",
	"__Host-c=",
	"__Host-c_HMAC=",
	"__Host-BCSIG_a=",
	"BCSIG_a=",
	"a=",
	"lang=",
	"language=de",
	"theme=dark",
	"theme=dark",
	"_ga=GA1.2.1234567890.1700000000",
	"consent=v2-yes",
	"v0123456789",
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789",
	"\xc3\xa4",
	"\x80",
	"\xff\xff\xff",
	"\x9f\x20",
	"\"",
	"$Version=1",
	"\x7f",
};

static uint64_t prng = 88172645463325252ULL;

static size_t below(size_t n)
{
	prng ^= prng << 13;
	prng ^= prng >> 7;
	prng ^= prng << 17;
	return (prng >> 20) % n;
}

static size_t add(char *head, size_t n, const char *text)
{
	memcpy(head + n, text, strlen(text));
	return n + strlen(text);
}

static size_t random_head(char *head)
{
	size_t n = add(head, 0, "GET / HTTP/1.1"), pieces_n = below(40);

	if (below(4))
		n = add(head, n, "\r\nHost: a\r\nCookie: ");
	for (size_t i = 0; i < pieces_n; i++) {
		/* one in eight anything, else what is no error most times */
		const char *piece = pieces[below(HT_ARRAY_SIZE(pieces))];

		if (piece[0] < ' ' && below(8) && strncmp(piece, "\r\nCookie: ", 10))
			piece = "; ";
		n = add(head, n, piece);
	}
	if (below(2)) /* or all is near the end */
		n = add(head, n,
			"\r\nX-Forwarded-For: 192.0.2.10\r\nX-Forwarded-Proto: https\r\n"
			"X-Forwarded-Host: shop.example.com\r\nX-Request-ID: 0011223344");
	n = add(head, n, "\r\n\r\n");
	return below(50) ? n : below(n) + 1;
}

Test(skip, what_is_passed_over_is_nothing)
{
	static struct ht_policy_site site[HT_ARRAY_SIZE(sites)];
	static char head[HT_HEAD_MAX];
	struct ht_config c = {.limits.covered_cookies = HT_COOKIES_MAX};
	size_t accepted = 0, found = 0, len;
	struct ht_diag diag;
	struct ht_head h;

	for (size_t i = 0; i < HT_ARRAY_SIZE(sites); i++)
		cr_assert_eq(ht_policy_compile(&c, &sites[i], &site[i], &diag), 0, "%s", diag.text);
	for (size_t i = 0; i < HEADS; i++) {
		const struct ht_policy *p = &site[below(HT_ARRAY_SIZE(sites))].gate;

		len = random_head(head);
		if (len < 8)
			continue;
		cr_assert(scan_agrees(p, head, len, &h), "head %zu, reason %u:\n%.*s", i, h.reason,
			  (int)len, head);
		accepted += !h.reason;
		found += !h.reason && h.nval && h.nocc > h.nval;
	}
	cr_assert_gt(accepted, HEADS / 10);
	cr_assert_gt(found, HEADS / 50);
}

/* No byte that a name of a rule or of a token can begin with, nor one that is none of a name's. */
Test(skip, what_nobodys_names_begin_with)
{
	static const char *const begin[] = {"s_", "aBl_", NULL};
	static struct ht_policy_site site;
	struct ht_config c = {.limits.covered_cookies = HT_COOKIES_MAX};
	struct ht_diag diag;

	for (size_t i = 0; i < HT_ARRAY_SIZE(sites); i++) {
		cr_assert_eq(ht_policy_compile(&c, &sites[i], &site, &diag), 0);
		for (unsigned b = 0; b < 256; b++) {
			bool ours = b <= ' ' || b == '=' || b == ';' || !begin[i] ||
				    strchr(begin[i], (int)b);

			cr_expect_eq(ht_is_nobodys(&site.gate, b), !ours, "site %zu, byte %u", i,
				     b);
		}
	}
}
