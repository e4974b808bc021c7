/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes sealed cookies. The text: whatever stands in a cookie, only the one that was sealed opens,
 * and to what was sealed. The request: a Cookie field of the input, in which a byte 1 stands for the
 * sealed value, is judged without a gate, before one that opens what it is told and before one that
 * did not: the same bytes must come of it each time, with plaintext where the sealed value was or not
 * at all.
 */
#include "fuzz_site.h"

#define NOW 1700000000
#define PLAIN "the plaintext of it"

static const uint8_t nonce[HT_SEALED_NONCE];
static struct ht_policy_site site;
static struct ht_binding binding;
static char sealed[HT_COOKIE_MAX];
static size_t sealed_len;

static struct ht_token_params params_of(struct ht_str value)
{
	return (struct ht_token_params){
		.profile = HT_PROFILE_SECURE_COOKIE,
		.secret = secret,
		.name = HT_STR("sid"),
		.value = value,
		.bind = binding.sha,
		.issued_s = NOW,
		.expires_s = NOW + 86400,
		.nonce = nonce,
	};
}

static void set_up(void)
{
	static struct ht_cookie_name names[] = {{"sid", false}};
	static struct ht_rule_config rule = {
		.covers = HT_COVERS_NAME,
		.name = "sid",
		.label = "sid",
		.names = names,
		.nnames = 1,
		.profile = HT_PROFILE_SECURE_COOKIE,
		.accept = 1u << HT_PROFILE_SECURE_COOKIE,
		.key = "shop",
		.reissue = "; Path=/",
		.copy_attributes = true,
		.mode = HT_MODE_ENFORCE,
		.lifetime_s = 86400,
	};
	const struct ht_client nobody = {0};
	struct ht_token_params p;

	fuzz_site(&rule, 1, &site);
	ht_binding_make(NULL, 0, &nobody, &binding);
	p = params_of(HT_STR(PLAIN));
	ENSURE(!ht_sealed_make(&p, sealed, &sealed_len));
}

/* ---- the text ---- */

static void check_text(struct ht_str input)
{
	struct ht_token_params p = params_of(input);
	char text[HT_COOKIE_MAX], plain[HT_SEALED_DATA_MAX];
	struct ht_token_info info;
	size_t len, n;

	/* nobody here has the key */
	ENSURE(ht_sealed_open(&p, input, NOW, plain, &n, &info) == HT_TOKEN_FORGED ||
	       ht_str_eq(input, (struct ht_str){sealed, sealed_len}));
	if (ht_sealed_make(&p, text, &len))
		return;
	ENSURE(len <= HT_COOKIE_MAX - 3 && ht_sealed_like((struct ht_str){text, len}));
	ENSURE(ht_sealed_open(&p, (struct ht_str){text, len}, NOW, plain, &n, &info) ==
	       HT_TOKEN_VALID);
	ENSURE(ht_str_eq(input, (struct ht_str){plain, n}));
	ENSURE(info.issued_s == NOW && info.expires_s == NOW + 86400 && !*info.attributes);
	ENSURE(ht_sealed_open(&p, (struct ht_str){text, len}, NOW + 86400, plain, &n, &info) ==
	       HT_TOKEN_EXPIRED);
	text[((uint8_t)input.p[0] * 256u + input.len) % len] ^= 1;
	ENSURE(ht_sealed_open(&p, (struct ht_str){text, len}, NOW, plain, &n, &info) ==
	       HT_TOKEN_FORGED);
	ENSURE(!n && !info.expires_s);
}

/* ---- the request ---- */

/* False if no daemon would write such a head. */
static bool make_head(const uint8_t *data, size_t size, char *ret, size_t *ret_len)
{
	size_t n = (size_t)sprintf(ret, "GET / HTTP/1.1\r\nHost: a\r\nCookie: ");

	for (size_t i = 0; i < size; i++) {
		if (n + sealed_len + 8 > HT_HEAD_MAX)
			return false;
		if (data[i] == 1) {
			memcpy(ret + n, sealed, sealed_len);
			n += sealed_len;
		} else {
			ret[n++] = (char)(data[i] < ' ' ? ';' : data[i]);
		}
	}
	n += (size_t)sprintf(ret + n, "\r\n\r\n");
	*ret_len = n;
	return true;
}

struct outcome {
	int reason;
	char head[HT_HEAD_MAX];
	size_t len;
	struct ht_judgement judgement;
};

static void judge(const char *head, size_t len, const struct ht_sip_keys *keys, bool opens,
		  struct outcome *ret)
{
	static struct ht_head scratch;
	const struct ht_policy_client client = {
		.bind = &binding, .time = {NOW + 1, 5}, .opened = {7, 8}, .opens = opens};

	memcpy(ret->head, head, len);
	ret->len = len;
	ret->reason = ht_policy_judge(&(struct ht_policy_context){&site, &ring, keys, &client},
				      &scratch, ret->head, &ret->len, 0, &ret->judgement);
}

static bool has(const struct outcome *o, const char *text, size_t len)
{
	return memmem(o->head, o->len, text, len);
}

static void ensure_same(const struct outcome *a, const struct outcome *b)
{
	ENSURE(a->reason == b->reason);
	ENSURE(a->reason || (a->len == b->len && !memcmp(a->head, b->head, a->len)));
}

static void check_head(const uint8_t *data, size_t size)
{
	static struct outcome off, told, opened, gate;
	char head[HT_HEAD_MAX + 16];
	size_t len;

	if (!make_head(data, size, head, &len))
		return;
	judge(head, len, NULL, false, &off);
	judge(head, len, &sip_keys, true, &opened);
	ensure_same(&off, &opened);
	judge(head, len, &sip_keys, false, &told);
	ENSURE(told.reason == off.reason);
	if (off.reason)
		return;
	/* the gate opens as we do */
	ENSURE(!told.judgement.opened);
	judge(told.head, told.len, NULL, false, &gate);
	ensure_same(&off, &gate);
	for (size_t i = 0; i < off.judgement.ncookies; i++) {
		if (off.judgement.cookie[i].action == HT_ACTION_PASS)
			ENSURE(has(&off, PLAIN, strlen(PLAIN)) && memchr(data, 1, size));
	}
	if (!memchr(data, 1, size))
		ENSURE(!off.judgement.opened && !told.judgement.npushes);
	/* whatever passed and was sealed is pushed, once as a value and once as what it stands for */
	ENSURE(opened.judgement.npushes == 2 * told.judgement.npushes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!sealed_len)
		set_up();
	check_text((struct ht_str){(const char *)data, size});
	check_head(data, size);
	return 0;
}
