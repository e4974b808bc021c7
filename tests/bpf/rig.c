/* SPDX-License-Identifier: Apache-2.0 */
/* Sets up what the gate's tests share. Knows no attacks. */
#include "rig.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <sys/socket.h>

#include "../rules.h"
#include "token.h"

#ifdef HT_WEAK
extern uint32_t ht_offload_weak;
#endif

static const char secret[] = "AzaZ5678901234567XYZ34567XYZ";

static struct ht_bind binds[] = {{.kind = HT_BIND_CLIENT_IP, .v4_bits = 32, .v6_bits = 128}};

static struct ht_rule_config rules[RIG_RULES] = {
	F5_RULE("sid", HT_MODE_ENFORCE, .nbinds = 1),
	F5_RULE("cart", HT_MODE_ENFORCE, .nbinds = 1),
	F5_RULE("seen", HT_MODE_REPORT, .nbinds = 1),
};
static char *hosts[] = {"shop.example.com"};
static struct ht_site_config site = {
	.hosts = hosts, .nhosts = 1, .rules = rules, .nrules = RIG_RULES};

static void rig_listen(struct rig *r)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(r->listener >= 0);
	cr_assert(!bind(r->listener, (struct sockaddr *)&a, sizeof(a)));
	cr_assert(!listen(r->listener, 64));
}

void rig_open(struct rig *r, uint32_t weak)
{
	rig_open_sealed(r, weak, RIG_SEALED);
}

void rig_open_sealed(struct rig *r, uint32_t weak, uint32_t max_sealed)
{
	const struct ht_client client = {
		.addr = {.ss_family = AF_INET},
	};
	struct ht_offload_params p = {.gate = HT_REQUIRE,
				      .max_tokens = 2000,
				      .max_sealed = max_sealed,
				      .max_slots = 64,
				      .max_sites = 1};
	struct ht_config config = {.file = "rig", .limits.covered_cookies = HT_RULES_MAX};
	struct ht_client me = client;
	struct ht_diag diag;
	char why[256];
	int err;

	memset(r, 0, sizeof(*r));
#ifdef HT_WEAK
	ht_offload_weak = weak;
#else
	cr_assert_eq(weak, 0, "the product has no weaknesses to switch on");
#endif
	for (size_t i = 0; i < RIG_RULES; i++)
		memcpy(rules[i].binds, binds, sizeof(binds));
	((struct sockaddr_in *)&me.addr)->sin_addr.s_addr = inet_addr("192.0.2.10");
	err = ht_offload_open(&p, &r->offload, why, sizeof(why));
	cr_assert_eq(err, 0, "the gate can't be loaded: %s", why);
	cr_assert_eq(ht_policy_compile(&config, &site, &r->site, &diag), 0, "%s", diag.text);
	cr_assert_eq(r->site.nbinds, 1);
	ht_binding_make(binds, 1, &me, &r->bind);
	r->secret = (struct ht_secret){.bytes = (const uint8_t *)secret, .len = sizeof(secret) - 1};
	r->key = (struct ht_key){.name = "k", .gen = 1, .nsecrets = 1, .secrets = &r->secret};
	r->ring = (struct ht_keyring){.nkeys = 1, .keys = &r->key, .global_gen = 1};
	ht_offload_generations(r->offload, &r->ring);
	cr_assert_eq(ht_offload_policy(r->offload, 0, &r->site.gate), 0);
	rig_listen(r);
}

void rig_site(struct rig *r, const struct ht_site_config *s)
{
	struct ht_config config = {.file = "rig", .limits.covered_cookies = HT_COOKIES_MAX};
	struct ht_diag diag;

	cr_assert_eq(ht_policy_compile(&config, s, &r->site, &diag), 0, "%s", diag.text);
	cr_assert_eq(r->site.nbinds, 1);
	cr_assert_eq(ht_offload_policy(r->offload, 0, &r->site.gate), 0);
}

void rig_close(struct rig *r)
{
	close(r->listener);
	ht_offload_close(r->offload);
}

void pair_open(struct pair *p, struct rig *r)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), size = 1 << 20;

	memset(p, 0, sizeof(*p));
	p->rig = r;
	cr_assert(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	cr_assert_eq(ht_gate_open(&p->gate, r->offload, fd), 0);
	cr_assert(!getsockname(r->listener, (struct sockaddr *)&a, &len));
	cr_assert(!connect(p->gate.fd, (struct sockaddr *)&a, len));
	p->peer = accept(r->listener, NULL, NULL);
	cr_assert(p->peer >= 0);
	p->admitted = ht_gate_admitted(&p->gate);
}

size_t pair_close(struct pair *p, bool reset, char *ret)
{
	size_t n = 0;
	ssize_t got;

	ht_gate_close(&p->gate, reset);
	do {
		got = recv(p->peer, ret + n, RIG_BUF - n, 0);
		if (got > 0)
			n += got;
	} while (got > 0);
	close(p->peer);
	return n;
}

void pair_expect(struct pair *p, const char *want, size_t len)
{
	static char got[RIG_BUF + 1];
	size_t n = pair_close(p, false, got);

	got[n] = 0;
	cr_assert_eq(n, len, "the backend got %zu bytes, not %zu:\n%s", n, len, got);
	cr_assert(!memcmp(got, want, len), "the backend got\n%s\nnot\n%s", got, want);
}

void pair_expect_text(struct pair *p, const char *want)
{
	pair_expect(p, want, strlen(want));
}

int pair_try(struct pair *p, const void *head, size_t len, bool more, struct ht_gate_answer *ret)
{
	const struct ht_gate_head h = {
		.bind = &p->rig->bind,
		.nbinds = 1,
		.opened = p->opened,
		.more = more,
	};

	return ht_gate_send_head(&p->gate, &h, head, len, ret);
}

struct ht_gate_answer pair_head(struct pair *p, const char *head)
{
	struct ht_gate_answer a = {0};

	cr_assert_eq(pair_try(p, head, strlen(head), false, &a), 0, "reason %s",
		     ht_reason_name(a.reason));
	return a;
}

const char *rig_token(struct rig *r, const char *value, char out[64])
{
	const struct ht_token_params p = {
		.profile = HT_PROFILE_F5_IRULE,
		.secret = r->secret,
		.value = HT_STR(value),
		.input = {r->bind.text, r->bind.len},
	};
	char text[HT_TOKEN_TEXT_MAX];
	size_t len;

	cr_assert_eq(ht_token_sign(&p, text, &len), 0);
	memcpy(out, text, len);
	out[len] = 0;
	return out;
}

struct ht_push rig_push_make(struct rig *r, size_t rule, const char *value, const char *token)
{
	const struct ht_policy_client client = {.bind = &r->bind};
	static struct ht_judgement j;
	struct ht_head scratch;
	char head[1024], mac[64];
	size_t len;

	/* the daemon's own way to a push: judge a head that holds the pair */
	len = snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nCookie: %s=%s; %s_HMAC=%s\r\n\r\n",
		       rules[rule].name, value, rules[rule].name,
		       token ? token : rig_token(r, value, mac));
	cr_assert_eq(
		ht_policy_judge(&(struct ht_policy_context){&r->site, &r->ring,
							    ht_offload_keys(r->offload), &client},
				&scratch, head, &len, 0, &j),
		0);
	cr_assert_eq(j.npushes, 1);
	return j.push[0];
}

void rig_push(struct rig *r, size_t rule, const char *value)
{
	struct ht_push push = rig_push_make(r, rule, value, NULL);

	cr_assert_eq(ht_offload_push(r->offload, &push), 0);
}

void rig_seal(struct rig *r, uint32_t rules)
{
	for (size_t i = 0; i < r->site.nrules; i++) {
		if (rules >> i & 1)
			r->site.gate.rule[i].flags |= HT_RULE_SELF | HT_RULE_SEALED;
	}
	cr_assert_eq(ht_offload_policy(r->offload, 0, &r->site.gate), 0);
}

static void sip_padded(struct ht_sip *s, struct ht_str bytes)
{
	for (size_t i = 0; i < bytes.len; i += 8) {
		uint64_t w = 0;

		memcpy(&w, bytes.p + i, HT_MIN(bytes.len - i, 8));
		ht_sip_word(s, w);
	}
}

static struct ht_token_key key_of(struct rig *r, size_t rule, const uint64_t *digest,
				  struct ht_str name, struct ht_str value)
{
	struct ht_token_key key;
	struct ht_sip s;

	ht_sip_init(&s, ht_offload_keys(r->offload)->key, 1);
	ht_sip_word(&s, r->site.gate.rule[rule].id);
	ht_sip_word(&s, digest[0]);
	ht_sip_word(&s, digest[1]);
	ht_sip_word(&s, name.len | value.len << 32);
	sip_padded(&s, name);
	sip_padded(&s, value);
	key.lo = ht_sip_final(&s, 1);
	key.hi = ht_sip_final_hi(&s);
	return key;
}

/* `end`: the time, for plaintext only. */
static uint64_t tag_of(struct rig *r, const struct ht_token_key *key, const uint64_t *end,
		       struct ht_str text)
{
	struct ht_sip s;
	uint64_t tag;

	ht_sip_init(&s, ht_offload_keys(r->offload)->tag, 0);
	ht_sip_word(&s, key->lo);
	ht_sip_word(&s, key->hi);
	ht_sip_word(&s, r->key.gen | (uint64_t)r->ring.global_gen << 32);
	if (end)
		ht_sip_word(&s, *end);
	ht_sip_word(&s, text.len);
	sip_padded(&s, text);
	tag = ht_sip_final(&s, 0);
	return tag ? tag : 1;
}

struct ht_push rig_sealed_make_until(struct rig *r, size_t rule, const char *name,
				     struct ht_str value, struct ht_str text, uint64_t end)
{
	struct ht_push push = {
		.key = key_of(r, rule, r->bind.digest, HT_STR(name), value),
		.token = {.not_after_ns = end, .policy = (uint16_t)rule},
		.sealed = text,
	};

	push.token.tag[0] = tag_of(r, &push.key, &end, text);
	return push;
}

struct ht_push rig_sealed_make(struct rig *r, size_t rule, const char *name, struct ht_str value,
			       struct ht_str text)
{
	return rig_sealed_make_until(r, rule, name, value, text, UINT64_MAX);
}

struct ht_push rig_opened_make(struct rig *r, size_t rule, const uint64_t *digest, const char *name,
			       struct ht_str value)
{
	struct ht_push push = {.key = key_of(r, rule, digest, HT_STR(name), value)};

	push.token = (struct ht_token){.check_lo = push.key.lo,
				       .check_hi = push.key.hi,
				       .key_gen = r->key.gen,
				       .global_gen = r->ring.global_gen,
				       .not_after_ns = UINT64_MAX,
				       .tag = {tag_of(r, &push.key, NULL, value)}};
	return push;
}

uint64_t rig_count(struct rig *r, enum ht_counter what)
{
	uint64_t all[HT_COUNT_MAX];

	ht_offload_counters(r->offload, all);
	return all[what];
}

const char *head_with(const char *cookies)
{
	static char head[HT_HEAD_MAX + 1];

	if (!cookies)
		return "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
	snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: a\r\nCookie: %s\r\nX: y\r\n\r\n",
		 cookies);
	return head;
}
