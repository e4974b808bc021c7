/* SPDX-License-Identifier: Apache-2.0 */
/* The scanner of head.h as the daemon drives it: what it finds, refuses and cuts. */
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "head.h"
#include "util.h"

static struct ht_policy pol;

static __u64 print_of(const char *name)
{
	size_t len = strlen(name);
	__u64 first = 0, mid = 0, last = 0;

	memcpy(&first, name, HT_MIN(len, 8));
	memcpy(&last, len > 8 ? name + len - 8 : name, HT_MIN(len, 8));
	if (len > 16)
		memcpy(&mid, name + len / 2 - 4, 8);
	return ht_name_print(first, mid, last, len);
}

static void cover(const char *name, int rule, int form, const char *of)
{
	struct ht_name *n = &pol.name[pol.nnames++];
	size_t len = strlen(name);

	n->len = len;
	n->rule = rule;
	n->form = form;
	memcpy(n->bytes, name, len);
	n->print = print_of(name);
	n->base = ht_base_print(print_of(of), 0);
	pol.multiplier = 0x9e3779b97f4a7c15ULL;
	__u32 b = ht_name_bucket(&pol, n->print);

	n->next = pol.bucket[b];
	pol.bucket[b] = pol.nnames;
}

static void setup(void)
{
	memset(&pol, 0, sizeof(pol));
	cover("sid", 0, HT_FORM_VALUE, "sid");
	cover("sid_HMAC", 0, HT_FORM_NAMED, "sid");
	cover("ASP.NET_SessionId", 1, HT_FORM_VALUE, "ASP.NET_SessionId");
	cover("ASP.NET_SessionId_HMAC", 1, HT_FORM_NAMED, "ASP.NET_SessionId");
	pol.nrules = 2;
	pol.max_cookies = HT_RULES_MAX;
}

TestSuite(head, .init = setup);

/* In memory of exactly that size, so that the sanitizer sees every read beyond. */
static int scan(const char *text, size_t len, struct ht_head *h)
{
	__u8 *data = malloc(len);
	struct ht_text t = {data, data + len};
	int steps = 0;

	memcpy(data, text, len);
	memset(h, 0xaa, sizeof(*h));
	ht_head_init(h, &t, len);
	while (!ht_head_step(&t, h, &pol))
		cr_assert_lt(++steps, HT_STEPS_MAX);
	free(data);
	return h->reason;
}

struct row {
	const char *cookies; /* of one Cookie field; '|' starts another */
	const char *found;   /* "sid=x" values, "*x" tokens, comma separated */
};
static const struct row rows[] = {
	{"", ""},
	{"a=1", ""},
	{"sid=x", "sid=x"},
	{"sid=x; sid_HMAC=t", "sid=x,sid*t"},
	{"sid_HMAC=t; sid=x", "sid*t,sid=x"},
	{"a=1; sid=x; b=2", "sid=x"},
	{"a=1;sid=x;b=2", "sid=x"},
	{"a=1;\tsid\t=\tx\t;b=2", "sid=x"},
	{"sid =x", "sid=x"},
	{"sid= x ", "sid=x"},
	{"sid=", "sid="},
	{"sid", "sid="},
	{"sid;", "sid="},
	{"SID=x; Sid=y", ""},
	{"xsid=1; sidx=2; sid_=3; sid_HMACx=4", ""},
	{"sid=a=b==", "sid=a=b=="},
	{"sid=\"q\"", "sid=\"q\""},
	{"x=\"1; sid=EVIL; y=2\"", "sid=EVIL"},
	{"$Version=1; sid=x; $Path=/", "sid=x"},
	{"=sid=x", "sid=x"},
	{"==  =sid=x", "sid=x"},
	{"=; sid=x", "sid=x"},
	{";;; ;sid=x;;", "sid=x"},
	{"sid=x; sid=y", "sid=x,sid=y"},
	{"sid=x|sid=y", "sid=x,sid=y"},
	{"a=1|b=2|sid=z", "sid=z"},
	{"ASP.NET_SessionId=0a1b; ASP.NET_SessionId_HMAC=abc", "asp=0a1b,asp*abc"},
	{"ASP.NET_SessionIe=0a1b", ""},
	{"\xe4=1; sid=\xff\x80", "sid=\xff\x80"},
	{"sid=x\ty", "sid=x\ty"},
	{"sid,cart=x", ""},
};

static size_t head_of(const char *cookies, const char *pad, char *out)
{
	size_t n = sprintf(out, "GET /%s HTTP/1.1\r\nCookie: ", pad);

	for (; *cookies; cookies++) {
		if (*cookies == '|')
			n += sprintf(out + n, "\r\ncookie: ");
		else
			out[n++] = *cookies;
	}
	return n + sprintf(out + n, "\r\nX: y\r\n\r\n");
}

static void describe(const struct ht_head *h, const char *text, char *out)
{
	*out = 0;
	for (int i = 0; i < h->nocc; i++) {
		const struct ht_occ *o = &h->occ[i];

		out += sprintf(out, "%s%s%c%.*s", i ? "," : "",
			       text[o->name] == 'A' ? "asp" : "sid", o->form ? '*' : '=',
			       o->val_len, text + o->val);
	}
}

Test(head, finds_cookies_at_every_offset)
{
	char text[1024], found[1024], pad[80] = "";
	struct ht_head h;

	/* the padding moves every byte over each place in a word and in a step */
	for (size_t p = 0; p < 72; p++) {
		for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
			size_t len = head_of(rows[i].cookies, pad, text);

			cr_assert_eq(scan(text, len, &h), 0, "%s: reason %d", rows[i].cookies,
				     h.reason);
			describe(&h, text, found);
			cr_assert_str_eq(found, rows[i].found, "%s", rows[i].cookies);
		}
		strcat(pad, "x");
	}
}

/* Every prefix of a head is incomplete, not misread and not overread. */
Test(head, every_split_point_is_incomplete)
{
	char text[1024];
	struct ht_head h;
	size_t len = head_of("a=1; sid=x; sid_HMAC=t; b=2|c=3; ASP.NET_SessionId=4", "", text);

	for (size_t i = 8; i < len; i++) {
		int reason = scan(text, i, &h);

		/* a cut between CR and LF looks like a bare CR */
		cr_assert(reason == HT_REASON_INCOMPLETE ||
				  (reason == HT_REASON_CONTROL && text[i - 1] == '\r'),
			  "prefix of %zu bytes: %d", i, reason);
	}
	cr_assert_eq(scan(text, len, &h), 0);
	cr_assert(h.flags & HT_HEAD_DONE);
}

Test(head, every_control_character_is_refused)
{
	char text[128];
	struct ht_head h;

	for (int c = 1; c < 0x20; c++) {
		size_t len = sprintf(text, "GET / HTTP/1.1\r\nCookie: a=%c1\r\nX: %cy\r\n\r\n", c,
				     c);

		cr_assert_eq(scan(text, len, &h), c == '\t' ? 0 : HT_REASON_CONTROL, "%#x", c);
	}
	for (int c = 0x20; c < 0x100; c++) {
		size_t len = sprintf(text, "GET / HTTP/1.1\r\nX: a%cb\r\n\r\n", c);

		cr_assert_eq(scan(text, len, &h), 0, "%#x", c);
	}
	memcpy(text, "GET / HTTP/1.1\r\nX: \0y\r\n\r\n", 26);
	cr_assert_eq(scan(text, 26, &h), HT_REASON_CONTROL);
}

static const struct {
	const char *fields;
	int flags;
	__u64 length;
} framing[] = {
	{"", 0, 0},
	{"Content-Length: 0\r\n", HT_HEAD_LENGTH, 0},
	{"content-length: 42\r\n", HT_HEAD_LENGTH, 42},
	{"CONTENT-LENGTH:42\r\n", HT_HEAD_LENGTH, 42},
	{"Content-Length: 999999999999999999\r\n", HT_HEAD_LENGTH, 999999999999999999},
	{"Content-Lengthy: x\r\n", 0, 0},
	{"Content-Type: x\r\n", 0, 0},
	{"Transfer-Encoding: chunked\r\n", HT_HEAD_CHUNKED, 0},
	{"transfer-encoding: Chunked\r\n", HT_HEAD_CHUNKED, 0},
	{"Transfer-Encodings: x\r\n", 0, 0},
	{"Connection: upgrade\r\nUpgrade: websocket\r\n", HT_HEAD_CONN_UPGRADE | HT_HEAD_UPGRADE,
	 0},
	{"Connections: close\r\n", 0, 0},
};

Test(head, framing_fields)
{
	char text[256];
	struct ht_head h;

	for (size_t i = 0; i < HT_ARRAY_SIZE(framing); i++) {
		size_t len = sprintf(text, "PUT / HTTP/1.1\r\n%s\r\n", framing[i].fields);

		cr_assert_eq(scan(text, len, &h), 0, "%s", framing[i].fields);
		cr_assert_eq(h.flags, framing[i].flags | HT_HEAD_DONE, "%s", framing[i].fields);
		cr_assert_eq(h.length, framing[i].length, "%s", framing[i].fields);
	}
	cr_assert_eq(scan("GET / HTTP/1.1\r\n\r\n", 18, &h), 0);
	cr_assert(h.flags & HT_HEAD_GET);
}

static const struct {
	const char *fields;
	enum ht_reason reason;
} refused[] = {
	{"Content-Length: 1\r\nContent-Length: 1\r\n", HT_REASON_LENGTH},
	{"Content-Length: +1\r\n", HT_REASON_LENGTH},
	{"Content-Length: 1 \r\n", HT_REASON_LENGTH},
	{"Content-Length: 1,1\r\n", HT_REASON_LENGTH},
	{"Content-Length: 9223372036854775808\r\n", HT_REASON_LENGTH},
	{"Transfer-Encoding: chunked, gzip\r\n", HT_REASON_CODING},
	{"Transfer-Encoding: xchunked\r\n", HT_REASON_CODING},
	{"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", HT_REASON_CODING},
	{"Transfer-Encoding : chunked\r\n", HT_REASON_FIELD_NAME},
	{"Connection : upgrade\r\n", HT_REASON_FIELD_NAME},
	{"Connection\t: upgrade\r\n", HT_REASON_FIELD_NAME},
	{"Upgrade : websocket\r\n", HT_REASON_FIELD_NAME},
	{"Upgrade\t: websocket\r\n", HT_REASON_FIELD_NAME},
	{"Cookie : sid=x\r\n", HT_REASON_FIELD_NAME},
	{"Cookie\t: sid=x\r\n", HT_REASON_FIELD_NAME},
	{"A: b\r\n c\r\n", HT_REASON_FOLD},
	{"Connection: close\r\n", HT_REASON_CONNECTION},
	{"Upgrade: h2c\r\n", HT_REASON_UPGRADE},
	{"Upgrade: H2\r\n", HT_REASON_UPGRADE},
	{"Upgrade: websocket, h2c\r\n", HT_REASON_UPGRADE},
};

Test(head, refuses_what_a_backend_could_read_otherwise)
{
	char text[256];
	struct ht_head h;

	for (size_t i = 0; i < HT_ARRAY_SIZE(refused); i++) {
		size_t len = sprintf(text, "GET / HTTP/1.1\r\n%s\r\n", refused[i].fields);

		cr_assert_eq(scan(text, len, &h), refused[i].reason, "%s: %d", refused[i].fields,
			     h.reason);
	}
}

Test(head, sixteen_covered_cookies_and_no_more)
{
	char cookies[1024] = "", text[2048];
	struct ht_head h;

	for (int i = 1; i <= 17; i++) {
		strcat(cookies, "sid=x; ");
		cr_assert_eq(scan(text, head_of(cookies, "", text), &h),
			     i <= HT_RULES_MAX ? 0 : HT_REASON_COOKIES, "%d", i);
	}
}

Test(head, fifty_uncovered_cookies)
{
	char cookies[2048] = "", text[4096];
	struct ht_head h;

	for (int i = 0; i < 50; i++)
		sprintf(cookies + strlen(cookies), "cookie%d=value%d; ", i, i);
	strcat(cookies, "sid=x");
	cr_assert_eq(scan(text, head_of(cookies, "", text), &h), 0);
	cr_assert_eq(h.nocc, 1);
}

/* SipHash as abi.h has it against OpenSSL's, both sizes, every length of a word and more. */
Test(head, siphash_agrees_with_openssl)
{
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
	unsigned char key[16], in[64], out[16];

	for (int i = 0; i < 16; i++)
		key[i] = 0x10 + i;
	for (int i = 0; i < 64; i++)
		in[i] = 3 * i;
	for (size_t wide = 0; wide < 2; wide++) {
		for (size_t len = 0; len < sizeof(in); len++) {
			size_t size = wide ? 16 : 8, n = 0, i = 0;
			const OSSL_PARAM params[] = {
				OSSL_PARAM_construct_size_t("size", &size),
				OSSL_PARAM_construct_end(),
			};
			EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
			__u64 k[2], w, lo, hi = 0;
			struct ht_sip s;

			cr_assert_eq(EVP_MAC_init(ctx, key, 16, params), 1);
			EVP_MAC_update(ctx, in, len);
			cr_assert_eq(EVP_MAC_final(ctx, out, &n, sizeof(out)), 1);
			EVP_MAC_CTX_free(ctx);
			memcpy(k, key, 16);
			ht_sip_init(&s, k, wide);
			for (; len - i >= 8; i += 8) {
				memcpy(&w, in + i, 8);
				ht_sip_word(&s, w);
			}
			w = 0;
			memcpy(&w, in + i, len - i);
			ht_sip_word(&s, w | (__u64)len << 56);
			lo = ht_sip_final(&s, wide);
			if (wide)
				hi = ht_sip_final_hi(&s);
			cr_assert(!memcmp(out, &lo, 8), "%zu bytes", len);
			cr_assert(!wide || !memcmp(out + 8, &hi, 8), "%zu bytes", len);
		}
	}
	EVP_MAC_free(mac);
}
