/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the reading and signing of Set-Cookie: what is signed is what a browser will send back, so
 * that cookie and token, put into a request, are judged valid and left alone; and whatever stands
 * in the field, our own line stays one line.
 */
#include "fuzz_site.h"

#define NOW_S 1700000000

static struct ht_policy_site site;
static struct ht_binding binding;

static struct ht_cookie_name native[] = {{(char *)"n", true}, {(char *)"__Host-", true}};
static struct ht_rule_config rules[] = {
	F5_RULE("sid", HT_MODE_ENFORCE, FUZZ_BIND),
	F5_RULE("s", HT_MODE_ENFORCE, FUZZ_BIND, .copy_attributes = true),
	NATIVE_RULE(HT_COVERS_ONLY, native, 2, HT_MODE_ENFORCE, FUZZ_BIND),
};

static void set_up(void)
{
	const struct ht_client client = fuzz_client("2001:db8::1");

	fuzz_site(rules, HT_ARRAY_SIZE(rules), &site);
	ht_binding_make(site.bind[0].binds, site.bind[0].nbinds, &client, &binding);
}

static bool within(struct ht_str part, struct ht_str whole)
{
	return !part.len || (part.p >= whole.p && part.p + part.len <= whole.p + whole.len);
}

/* The browser's next request: the head must pass as it is. */
static void check_return(const struct ht_set_cookie *c, struct ht_str line)
{
	static struct ht_head scratch;
	static struct ht_judgement judgement;
	static char head[2 * HT_HEAD_MAX];
	const struct ht_policy_client client = {.bind = &binding, .time = {NOW_S, 1}};
	const char *token = line.p + strlen("Set-Cookie: ");
	const char *end = memchr(token, ';', line.len - strlen("Set-Cookie: "));
	size_t len, was;

	if (!end)
		end = line.p + line.len;
	len = was = snprintf(head, sizeof(head),
			     "GET / HTTP/1.1\r\nCookie: a=1; %.*s=%.*s; %.*s\r\nHost: x\r\n\r\n",
			     HT_STR_ARG(c->name), HT_STR_ARG(c->value), (int)(end - token), token);
	if (len > HT_HEAD_MAX)
		return;
	ENSURE(!ht_policy_judge(&(struct ht_policy_context){&site, &ring, &sip_keys, &client},
				&scratch, head, &len, 0, &judgement));
	ENSURE(len == was && judgement.ncookies == 1);
	ENSURE(judgement.cookie[0].verdict == HT_COOKIE_VALID);
}

static void check_sign(struct ht_str field, const struct ht_set_cookie *c)
{
	static char line[HT_HEAD_MAX];
	const struct ht_policy_client client = {.bind = &binding, .time = {NOW_S, 1}};
	struct ht_push push;
	size_t len = 0, rule = 0;
	enum ht_sign_result r =
		ht_policy_sign(&(struct ht_policy_context){&site, &ring, &sip_keys, &client}, c,
			       line, sizeof(line), &len, &push, &rule);

	if (r != HT_SIGN_SIGNED && r != HT_SIGN_DELETED)
		return;
	ENSURE(len > 12 && len <= sizeof(line) && !memcmp(line, "Set-Cookie: ", 12));
	ENSURE(rule < site.nrules && len <= 256 + HT_TOKEN_TEXT_MAX + field.len);
	for (size_t i = 0; i < len; i++)
		ENSURE((uint8_t)line[i] >= ' ' || line[i] == '\t');
	if (r == HT_SIGN_SIGNED) {
		ENSURE(c->value.len && !c->deletion);
		check_return(c, (struct ht_str){line, len});
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ht_set_cookie c;
	struct ht_str field;
	char *exact;

	if (!site.nrules)
		set_up();
	exact = malloc(size ? size : 1);
	ENSURE(exact);
	if (size)
		memcpy(exact, data, size);
	field = (struct ht_str){exact, size};
	ht_set_cookie_parse(field, NOW_S, &c);
	ENSURE(within(c.name, field) && within(c.value, field) && within(c.attributes, field));
	ENSURE(!c.attributes.len || c.attributes.p[0] == ';');
	ENSURE(!c.name.len ||
	       (!memchr(c.name.p, '=', c.name.len) && !memchr(c.name.p, ';', c.name.len)));
	ENSURE(!c.value.len || !memchr(c.value.p, ';', c.value.len));
	for (size_t i = 0; i < size; i++) {
		if ((data[i] < ' ' && data[i] != '\t') || data[i] == 0x7f)
			goto out; /* framing has refused such a response */
	}
	check_sign(field, &c);
out:
	free(exact);
	return 0;
}
