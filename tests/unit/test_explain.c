/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a Cookie header, as a table: the same words as an operator reads. */
#include <arpa/inet.h>
#include <criterion/criterion.h>

#include "config.h"
#include "explain.h"
#include "token.h"

#define NOW 1700000000
#define DAY 86400

static const char yaml[] =
	"listeners:\n"
	"  - address: 127.0.0.1:8080\n"
	"sites:\n"
	"  - hosts: [shop.test]\n"
	"    upstreams: [127.0.0.1:9000]\n"
	"    cookies:\n"
	"      - { name: sid, profile: f5-irule, key: shop, bind: [client-ip] }\n"
	"      - { name: cart, key: shop, bind: [client-ip/24], accept: [f5-irule] }\n"
	"      - { name: seen, key: shop, mode: report }\n"
	"      - { name: new, key: shop, enforce-after: 2030-01-01 }\n"
	"      - { only: [\"a*\"], profile: proxysg, key: shop }\n"
	"      - { name: idle, key: shop, mode: off }\n"
	"      - { name: id, profile: session-id, key: shop, issue: [/login] }\n"
	"      - { name: box, profile: secure-cookie, key: shop, bind: [client-ip] }\n"
	"      - { name: old, profile: secure-cookie, key: shop, accept: [native] }\n"
	"  - hosts: [strict.test]\n"
	"    upstreams: [127.0.0.1:9000]\n"
	"    cookies:\n"
	"      - { name: sid, key: shop, bind: [client-ip], on-empty: reject }\n"
	"keys:\n"
	"  - { name: shop, file: /nonexistent }\n";

static const struct ht_secret secrets[] = {
	{.bytes = (const uint8_t *)"a new secret", .len = 12},
	{.bytes = (const uint8_t *)"an older one", .len = 12},
};
static const struct ht_key key = {.name = "shop", .gen = 1, .nsecrets = 2, .secrets = secrets};
static const struct ht_keyring ring = {.nkeys = 1, .keys = &key, .global_gen = 1};

static struct ht_config *config;
static struct ht_policy_site *site;
static struct ht_client client;

static void set_up(void)
{
	struct ht_diag diag = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&client.addr;

	cr_assert_eq(ht_config_parse("t.yaml", yaml, sizeof(yaml) - 1, &config, &diag), 0, "%u: %s",
		     diag.line, diag.text);
	site = malloc(sizeof(*site));
	cr_assert_eq(ht_policy_compile(config, &config->sites[0], site, &diag), 0, "%s", diag.text);
	in->sin_family = AF_INET;
	inet_pton(AF_INET, "192.0.2.10", &in->sin_addr);
}

static void tear_down(void)
{
	free(site);
	ht_config_free(config);
}

TestSuite(explain, .init = set_up, .fini = tear_down);

/* How each token of the table is made. */
static const struct {
	const char *mark;
	enum ht_profile profile;
	const char *name, *value, *bind;
	size_t secret;
	uint64_t issued_s;
} tokens[] = {
	{"{sid}", HT_PROFILE_F5_IRULE, "sid", "s1", "client-ip", 0, 0},
	{"{sid-old}", HT_PROFILE_F5_IRULE, "sid", "s1", "client-ip", 1, 0},
	{"{cart}", HT_PROFILE_NATIVE, "cart", "c1", "client-ip/24", 0, NOW},
	{"{cart-aged}", HT_PROFILE_NATIVE, "cart", "c1", "client-ip/24", 0, NOW - DAY + 60},
	{"{cart-ended}", HT_PROFILE_NATIVE, "cart", "c1", "client-ip/24", 0, NOW - DAY},
	{"{cart-f5}", HT_PROFILE_F5_IRULE, "cart", "c1", "client-ip/24", 0, 0},
	{"{a1}", HT_PROFILE_PROXYSG, "a1", "x", NULL, 0, 0},
	{"{id}", HT_PROFILE_SESSION_ID, "id", "", NULL, 0, NOW},
	{"{id-old}", HT_PROFILE_SESSION_ID, "id", "", NULL, 1, NOW},
	{"{id-ended}", HT_PROFILE_SESSION_ID, "id", "", NULL, 0, NOW - 3 * DAY},
	{"{box}", HT_PROFILE_SECURE_COOKIE, "box", "in it", "client-ip", 0, NOW},
	{"{box-old}", HT_PROFILE_SECURE_COOKIE, "box", "in it", "client-ip", 1, NOW},
	{"{box-aged}", HT_PROFILE_SECURE_COOKIE, "box", "in it", "client-ip", 0, NOW - DAY + 60},
	{"{box-ended}", HT_PROFILE_SECURE_COOKIE, "box", "in it", "client-ip", 0, NOW - DAY},
	{"{box-other}", HT_PROFILE_SECURE_COOKIE, "box", "in it", NULL, 0, NOW},
	{"{old}", HT_PROFILE_NATIVE, "old", "o1", NULL, 0, NOW},
};

static void token_make(size_t i, struct ht_str *ret)
{
	static char text[HT_COOKIE_MAX];
	struct ht_bind bind;
	struct ht_binding binding;

	cr_assert(!tokens[i].bind || !ht_bind_parse(tokens[i].bind, &bind));
	ht_binding_make(&bind, tokens[i].bind ? 1 : 0, &client, &binding);
	const struct ht_token_params p = {
		.profile = tokens[i].profile,
		.secret = secrets[tokens[i].secret],
		.name = HT_STR(tokens[i].name),
		.value = HT_STR(tokens[i].value),
		.input = {binding.text, binding.len},
		.bind = binding.sha,
		.name_in_mac = true,
		.separator = HT_STR("|"),
		.issued_s = tokens[i].issued_s,
		.expires_s = tokens[i].issued_s + DAY,
		.data = (const uint8_t *)"0123456789abcde",
		.nonce = (const uint8_t *)"0123456789a",
	};

	cr_assert_eq(p.profile == HT_PROFILE_SECURE_COOKIE ? ht_sealed_make(&p, text, &ret->len)
							   : ht_token_sign(&p, text, &ret->len),
		     0);
	ret->p = text;
}

static void expand(const char *from, char *to)
{
	while (*from) {
		size_t n = 0;

		for (size_t i = 0; *from == '{' && i < HT_ARRAY_SIZE(tokens) && !n; i++) {
			struct ht_str t;

			if (strncmp(from, tokens[i].mark, strlen(tokens[i].mark)))
				continue;
			n = strlen(tokens[i].mark);
			token_make(i, &t);
			memcpy(to, t.p, t.len);
			to += t.len;
		}
		if (!n) {
			*to++ = *from;
			n = 1;
		}
		from += n;
	}
	*to = '\0';
}

#define SID " (rule sid, t.yaml:7)\n"
#define CART " (rule cart, t.yaml:8)\n"
#define ONLY " (rule only a*, t.yaml:11)\n"
#define ID " (rule id, t.yaml:13)\n"
#define BOX " (rule box, t.yaml:14)\n"
#define OLD " (rule old, t.yaml:15)\n"
#define NONE "the backend gets no Cookie field\n"
#define GETS "the backend gets\nCookie: "
#define LATER "2023-11-15T22:13:20Z"

static const struct {
	const char *name, *header, *says;
	bool all_pass;
} rows[] = {
	{"nothing", "b c; =b",
	 "b c: pass; no rule covers it\n(no name): pass; no rule covers it\n" GETS "b c; =b\n",
	 true},
	{"behind an empty name", "=sid=s1; b=1",
	 "sid: strip; missing: no token, which would be sid_HMAC" SID
	 "b: pass; no rule covers it\n" GETS "b=1\n",
	 false},

	{"f5-irule", "theme=dark; sid=s1; sid_HMAC={sid}",
	 "theme: pass; no rule covers it\n"
	 "sid: pass; valid: f5-irule with key shop" SID "sid_HMAC: pass; token of sid\n" GETS
	 "theme=dark; sid=s1; sid_HMAC={sid}\n",
	 true},
	{"f5-irule, an older secret", "sid=s1; sid_HMAC={sid-old}",
	 "sid: pass; valid: f5-irule with key shop (an older secret); gets a new token: its own is "
	 "of "
	 "an older secret" SID "sid_HMAC: pass; token of sid\n" GETS "sid=s1; sid_HMAC={sid-old}\n",
	 true},
	{"f5-irule, forged", "sid=s2; sid_HMAC={sid}",
	 "sid: strip; forged: its token is not what f5-irule gives with key shop for this name, "
	 "value and client (client-ip)" SID "sid_HMAC: pass; token of sid\n" GETS
	 "sid_HMAC={sid}\n",
	 false},
	{"f5-irule, missing", "sid=s1; b=2",
	 "sid: strip; missing: no token, which would be sid_HMAC" SID
	 "b: pass; no rule covers it\n" GETS "b=2\n",
	 false},
	{"f5-irule, empty", "sid=", "sid: strip; missing: an empty value has no token" SID NONE,
	 false},
	{"f5-irule, a token alone", "sid_HMAC={sid}",
	 "sid_HMAC: pass; token of no cookie that is judged here\n" GETS "sid_HMAC={sid}\n", true},
	{"duplicates, one verifies", "sid=s2; sid=s1; sid_HMAC={sid}",
	 "sid: strip; duplicate: another one of this name stays" SID
	 "sid: pass; duplicate: f5-irule with key shop" SID "sid_HMAC: pass; token of sid\n" GETS
	 "sid=s1; sid_HMAC={sid}\n",
	 false},
	{"duplicates, none verifies", "sid=s2; sid=s3; sid_HMAC={sid}",
	 "sid: strip; duplicate: values or tokens differ, and not exactly one verifies" SID
	 "sid: strip; duplicate: values or tokens differ, and not exactly one verifies" SID
	 "sid_HMAC: remove; token of sid\n" NONE,
	 false},
	{"native", "cart=c1; HTSIG_cart={cart}",
	 "cart: pass; valid: native with key shop, until " LATER CART
	 "HTSIG_cart: pass; token of cart\n" GETS "cart=c1; HTSIG_cart={cart}\n",
	 true},
	{"native, past half its life", "cart=c1; HTSIG_cart={cart-aged}",
	 "cart: pass; valid: native with key shop, until 2023-11-14T22:14:20Z; gets a new token: "
	 "its "
	 "own is past half its life" CART "HTSIG_cart: pass; token of cart\n" GETS
	 "cart=c1; HTSIG_cart={cart-aged}\n",
	 true},
	{"native, expired", "cart=c1; HTSIG_cart={cart-ended}",
	 "cart: strip; expired: its token was good until 2023-11-14T22:13:20Z" CART
	 "HTSIG_cart: pass; token of cart\n" GETS "HTSIG_cart={cart-ended}\n",
	 false},
	{"native, of a secret that is gone",
	 "cart=c1; HTSIG_cart=1.00c0ffee.1600000000.1900000000.s."
	 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	 "cart: strip; expired: its token is of a secret that key shop does not have (any "
	 "more)" CART "HTSIG_cart: pass; token of cart\n" GETS
	 "HTSIG_cart=1.00c0ffee.1600000000.1900000000.s."
	 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
	 false},
	{"native, another profile", "cart=c1; cart_HMAC={cart-f5}",
	 "cart: pass; valid: f5-irule with key shop; gets a new token: its own is of another "
	 "profile" CART "cart_HMAC: pass; token of cart\n" GETS "cart=c1; cart_HMAC={cart-f5}\n",
	 true},
	{"native, missing", "cart=c1",
	 "cart: strip; missing: no token, which would be HTSIG_cart or cart_HMAC" CART NONE, false},
	{"native, of another cookie", "cart=s1; cart_HMAC={sid}",
	 "cart: strip; forged: its token is not what native or f5-irule gives with key shop for "
	 "this "
	 "name, value and client (client-ip)" CART "cart_HMAC: pass; token of cart\n" GETS
	 "cart_HMAC={sid}\n",
	 false},
	{"reported", "seen=1",
	 "seen: report; missing: no token, which would be HTSIG_seen (rule seen, t.yaml:9)\n" GETS
	 "seen=1\n",
	 true},
	{"before enforce-after", "new=1",
	 "new: grace; missing: no token, which would be HTSIG_new; it is before enforce-after "
	 "2030-01-01T00:00:00Z; gets a new token: it has none yet (rule new, t.yaml:10)\n" GETS
	 "new=1\n",
	 true},
	{"off", "idle=1", "idle: pass; no rule covers it\n" GETS "idle=1\n", true},
	{"proxysg", "a1=x; BCSIG_a1={a1}; b=1",
	 "a1: pass; valid: proxysg with key shop" ONLY
	 "BCSIG_a1: remove; token of a1\nb: pass; no rule covers it\n" GETS "a1=x; b=1\n",
	 true},
	{"proxysg, swapped", "a2=x; BCSIG_a2={a1}; BCSIG_b=1",
	 "a2: strip; forged: its token is not what proxysg gives with key shop for this name, "
	 "value" ONLY "BCSIG_a2: remove; token of a2\nBCSIG_b: remove; token of no cookie that is "
	 "judged here\n" NONE,
	 false},
	{"session-id", "id={id}; b=1",
	 "id: pass; valid: session-id with key shop, until 2023-11-16T22:13:21Z" ID
	 "b: pass; no rule covers it\n" GETS "id={id}; b=1\n",
	 true},
	{"session-id, an older secret", "id={id-old}",
	 "id: pass; valid: session-id with key shop (an older secret), until 2023-11-16T22:13:21Z; "
	 "the session goes on under a new id: this one is of an older secret" ID GETS
	 "id={id-old}\n",
	 true},
	{"session-id, expired", "id={id-ended}",
	 "id: strip; expired: its token was good until 2023-11-13T22:13:21Z; a new one is issued "
	 "on "
	 "the rule's paths" ID NONE,
	 false},
	{"session-id, forged", "id=x",
	 "id: strip; forged: it is no session id that key shop gives; a new one is issued on the "
	 "rule's paths" ID NONE,
	 false},
	{"session-id, empty", "id=",
	 "id: strip; missing: an empty value is no session id; a new one is issued on the rule's "
	 "paths" ID NONE,
	 false},
	{"sealed", "box={box}; b=1",
	 "box: pass; valid: secure-cookie with key shop, until 2023-11-15T22:13:20Z; the backend "
	 "gets the 5 bytes that are sealed in it" BOX "b: pass; no rule covers it\n" GETS
	 "box=in it; b=1\n",
	 true},
	{"sealed, an older secret", "box={box-old}",
	 "box: pass; valid: secure-cookie with key shop (an older secret), until "
	 "2023-11-15T22:13:20Z; the backend gets the 5 bytes that are sealed in it; is sealed "
	 "anew: it is sealed with an older secret" BOX GETS "box=in it\n",
	 true},
	{"sealed, half its life", "box={box-aged}",
	 "box: pass; valid: secure-cookie with key shop, until 2023-11-14T22:14:20Z; the backend "
	 "gets the 5 bytes that are sealed in it; is sealed anew: it is past half its life" BOX GETS
	 "box=in it\n",
	 true},
	{"sealed, expired", "box={box-ended}",
	 "box: strip; expired: it was good until 2023-11-14T22:13:20Z" BOX NONE, false},
	{"sealed for another", "box={box-other}",
	 "box: strip; forged: it does not open with key shop for this name and client "
	 "(client-ip)" BOX NONE,
	 false},
	{"not sealed", "box=in it", "box: strip; missing: it is not sealed" BOX NONE, false},
	{"sealed, empty", "box=", "box: strip; missing: an empty value is not sealed" BOX NONE,
	 false},
	{"sealed, twice", "box=x; box={box}; b=1",
	 "box: strip; duplicate: another one of this name stays" BOX
	 "box: pass; duplicate: secure-cookie with key shop, until 2023-11-15T22:13:20Z; the "
	 "backend gets the 5 bytes that are sealed in it" BOX "b: pass; no rule covers it\n" GETS
	 "box=in it; b=1\n",
	 false},
	{"native that is to be sealed", "old=o1; HTSIG_old={old}",
	 "old: pass; valid: native with key shop, until 2023-11-15T22:13:20Z; is sealed anew: it "
	 "has a token of another profile" OLD "HTSIG_old: pass; token of old\n" GETS
	 "old=o1; HTSIG_old={old}\n",
	 true},
	{"neither sealed nor signed", "old=o1",
	 "old: strip; missing: it is not sealed, nor is there a token, which would be "
	 "HTSIG_old" OLD NONE,
	 false},
	{"blanks", " sid =s1 ;;\tsid_HMAC = {sid};",
	 "sid: pass; valid: f5-irule with key shop" SID "sid_HMAC: pass; token of sid\n" GETS
	 " sid =s1 ;;\tsid_HMAC = {sid};\n",
	 true},
};

static struct ht_explain ask_of(const char *header)
{
	return (struct ht_explain){
		.file = "t.yaml",
		.site = site,
		.ring = &ring,
		.client = &client,
		.time = {.now_s = NOW, .boot_ns = 1},
		.header = HT_STR(header),
	};
}

static char *text_of(const json_t *tree)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	ht_explain_write(tree, f);
	fclose(f);
	return text;
}

Test(explain, cookie_by_cookie)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		char header[2048], want[4096] = "site shop.test (t.yaml:4)\n";
		const char *why;
		json_t *tree;
		char *text;

		expand(rows[i].header, header);
		expand(rows[i].says, want + strlen(want));
		const struct ht_explain e = ask_of(header);

		cr_assert_eq(ht_explain(&e, &tree, &why), 0, "%s: %s", rows[i].name, why);
		text = text_of(tree);
		cr_expect_str_eq(text, want, "%s:\n%swanted\n%s", rows[i].name, text, want);
		cr_expect_eq(json_is_true(json_object_get(tree, "all_pass")), rows[i].all_pass,
			     "%s", rows[i].name);
		free(text);
		json_decref(tree);
	}
}

/* It says what it was given, and nothing of the keys or of what would be signed. */
Test(explain, as_json)
{
	const struct ht_explain e = ask_of("new=\xff; a=b");
	json_t *tree, *row;
	const char *why;

	cr_assert_eq(ht_explain(&e, &tree, &why), 0);
	row = json_array_get(json_object_get(tree, "cookies"), 0);
	cr_expect_str_eq(json_string_value(json_object_get(row, "action")), "grace");
	cr_expect(json_is_true(json_object_get(row, "new_token")));
	cr_expect_eq(json_integer_value(json_object_get(row, "line")), 10);
	cr_expect_null(json_object_get(row, "profile"));
	cr_expect_str_eq(json_string_value(json_object_get(tree, "backend")), "new=\xc3\xbf");
	char *text = json_dumps(tree, 0);

	cr_expect_null(strstr(text, "secret\":"));
	cr_expect_null(strstr(text, "HTSIG_new="));
	free(text);
	json_decref(tree);
}

Test(explain, a_client_that_can_not_be_bound)
{
	struct ht_explain e = ask_of("sid=s1; sid_HMAC=x");
	struct ht_diag diag;
	const char *why;
	json_t *tree;
	char *text;

	client = (struct ht_client){0};
	cr_assert_eq(ht_explain(&e, &tree, &why), 0);
	text = text_of(tree);
	cr_expect(strstr(text, "sid: strip; unbound: the client does not have what the rule binds "
			       "to: client-ip"),
		  "%s", text);
	free(text);
	json_decref(tree);

	cr_assert_eq(ht_policy_compile(config, &config->sites[1], site, &diag), 0);
	cr_assert_eq(ht_explain(&e, &tree, &why), 0);
	text = text_of(tree);
	cr_expect(strstr(text, "the request is refused with 403"), "%s", text);
	cr_expect_not(json_is_true(json_object_get(tree, "all_pass")));
	free(text);
	json_decref(tree);
}

Test(explain, what_no_request_can_have)
{
	static char many[HT_HEAD_MAX + 1];
	static const char *const headers[] = {"a=b\r\nX: y", "a=\n", "a=\x01", many};
	const char *why;
	json_t *tree;

	memset(many, 'a', sizeof(many) - 1);
	for (size_t i = 0; i < HT_ARRAY_SIZE(headers); i++) {
		const struct ht_explain e = ask_of(headers[i]);

		cr_expect_eq(ht_explain(&e, &tree, &why), -EINVAL, "%zu", i);
		cr_expect(*why);
	}
}

/* More covered cookies than a request may have. */
Test(explain, what_the_daemon_refuses)
{
	char header[2048] = "";
	struct ht_explain ask;
	const char *why;
	json_t *tree;

	for (int i = 0; i < 40; i++)
		sprintf(header + strlen(header), "a%d=x; ", i);
	ask = ask_of(header);
	cr_assert_eq(ht_explain(&ask, &tree, &why), 0);
	cr_expect_str_eq(json_string_value(json_object_get(tree, "refused")), "with 431: cookies");
	json_decref(tree);
}
