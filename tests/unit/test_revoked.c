/* SPDX-License-Identifier: Apache-2.0 */
/* The set of revoked sessions, what the policy makes of it, and the file that keeps it. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "../rules.h"
#include "keep.h"
#include "policy.h"
#include "revoked.h"
#include "token.h"

static const struct ht_sip_keys keys = {{1, 2}, {3, 4}};

static struct ht_revoked_entry entry_of(const char *site, const char *name, const char *value,
					uint64_t until_s)
{
	struct ht_revoked_entry e;

	ht_revoked_hash(&keys, HT_STR(site), HT_STR(name), HT_STR(value), &e);
	e.until_s = until_s;
	return e;
}

static bool has(const struct ht_revoked *r, const char *site, const char *name, const char *value,
		uint64_t now_s)
{
	return ht_revoked_has(r, HT_STR(site), HT_STR(name), HT_STR(value), now_s);
}

static struct ht_revoked *set_of(const struct ht_revoked_entry *e, size_t n)
{
	struct ht_revoked *r = NULL;

	cr_assert_eq(ht_revoked_new(&keys, e, n, &r), 0);
	return r;
}

/* Adds to the set, which is replaced. */
static int add(struct ht_revoked **r, struct ht_revoked_entry e, uint64_t now_s)
{
	struct ht_revoked *more;
	int err = ht_revoked_add(*r, &e, now_s, &more);

	if (err)
		return err;
	ht_revoked_unref(*r);
	*r = more;
	return 0;
}

/* ---- the set ---- */

Test(revoked, nothing_is_in_an_empty_set)
{
	struct ht_revoked *r = set_of(NULL, 0);

	cr_expect_not(has(NULL, "a", "sid", "1", 0));
	cr_expect_not(has(r, "a", "sid", "1", 0));
	cr_expect_eq(ht_revoked_count(NULL, 0), 0);
	ht_revoked_unref(r);
	ht_revoked_unref(NULL);
}

Test(revoked, by_site_name_and_value_until_its_end)
{
	struct ht_revoked *r = set_of(NULL, 0);

	cr_assert_eq(add(&r, entry_of("one.test", "sid", "1", 100), 50), 0);
	cr_assert_eq(add(&r, entry_of("", "sid", "2", 100), 50), 0);
	cr_expect(has(r, "one.test", "sid", "1", 99));
	cr_expect_not(has(r, "one.test", "sid", "1", 100));
	cr_expect_not(has(r, "two.test", "sid", "1", 99));
	cr_expect_not(has(r, "one.test", "sid", "11", 99));
	cr_expect_not(has(r, "one.test", "sid1", "", 99));
	cr_expect_not(has(r, "one.test", "si", "d1", 99));
	cr_expect_not(has(r, "one.testsid", "", "1", 99));
	cr_expect(has(r, "one.test", "sid", "2", 99));
	cr_expect(has(r, "two.test", "sid", "2", 99));
	cr_expect_eq(ht_revoked_count(r, 99), 2);
	cr_expect_eq(ht_revoked_count(r, 100), 0);
	ht_revoked_unref(r);
}

Test(revoked, once_more_only_moves_the_end)
{
	struct ht_revoked *r = set_of(NULL, 0);

	for (int i = 0; i < 3; i++)
		cr_assert_eq(add(&r, entry_of("", "sid", "1", 100 - 10 * i), 50), 0);
	cr_expect_eq(r->n, 1);
	cr_expect(has(r, "", "sid", "1", 79));
	cr_expect_not(has(r, "", "sid", "1", 80));
	ht_revoked_unref(r);
}

Test(revoked, many_stay_in_order_and_those_that_are_over_go)
{
	struct ht_revoked *r = set_of(NULL, 0);
	char value[16];

	for (int i = 0; i < 500; i++) {
		snprintf(value, sizeof(value), "v%d", i);
		cr_assert_eq(add(&r, entry_of("", "sid", value, i % 2 ? 100 : 60), 50), 0);
	}
	for (int i = 0; i < 500; i++) {
		snprintf(value, sizeof(value), "v%d", i);
		cr_expect(has(r, "x", "sid", value, 59), "%s", value);
		cr_expect_eq(has(r, "x", "sid", value, 60), i % 2, "%s", value);
	}
	cr_assert_eq(add(&r, entry_of("", "sid", "last", 100), 60), 0);
	cr_expect_eq(r->n, 251);
	ht_revoked_unref(r);
}

Test(revoked, a_full_set_says_so_and_stays)
{
	struct ht_revoked_entry *e = calloc(HT_REVOKED_MAX, sizeof(*e));
	struct ht_revoked *r;

	for (size_t i = 0; i < HT_REVOKED_MAX; i++)
		e[i] = (struct ht_revoked_entry){.lo = i, .until_s = i ? 100 : 60};
	r = set_of(e, HT_REVOKED_MAX);
	cr_expect_eq(add(&r, entry_of("", "sid", "1", 100), 50), -ENOSPC);
	cr_expect_eq(r->n, HT_REVOKED_MAX);
	/* one is over: there is room */
	cr_expect_eq(add(&r, entry_of("", "sid", "1", 100), 60), 0);
	cr_expect_eq(r->n, HT_REVOKED_MAX);
	cr_expect(has(r, "", "sid", "1", 60));
	ht_revoked_unref(r);
	free(e);
}

/* ---- what the policy makes of it ---- */

static const struct ht_secret secret = {.bytes = (const uint8_t *)"key", .len = 3};
static struct ht_key key = {.name = "k", .gen = 1, .nsecrets = 1, .secrets = &secret};
static struct ht_keyring ring = {.nkeys = 1, .keys = &key, .global_gen = 1};
static struct ht_rule_config rules[] = {
	F5_RULE("sid", HT_MODE_ENFORCE),
	F5_RULE("seen", HT_MODE_REPORT),
	F5_RULE("new", HT_MODE_ENFORCE, .enforce_after_s = 1000),
};
static char *hosts[] = {"one.test"};
static struct ht_site_config site_config = {
	.hosts = hosts, .nhosts = 1, .rules = rules, .nrules = HT_ARRAY_SIZE(rules)};
static struct ht_config config = {.limits.covered_cookies = 16};
static struct ht_binding binding[1];
static struct ht_policy_site site;

static const char *token(const char *value)
{
	static char text[4][HT_TOKEN_TEXT_MAX];
	static unsigned next;
	char *ret = text[next++ % 4];
	const struct ht_token_params p = {
		.profile = HT_PROFILE_F5_IRULE,
		.secret = secret,
		.value = HT_STR(value),
		.input = {binding->text, binding->len},
	};
	size_t len;

	cr_assert_eq(ht_token_sign(&p, ret, &len), 0);
	ret[len] = '\0';
	return ret;
}

static struct ht_policy_client compile(const struct ht_revoked *r)
{
	struct ht_client nobody = {0};
	struct ht_diag diag;

	cr_assert_eq(ht_policy_compile(&config, &site_config, &site, &diag), 0);
	ht_binding_make(NULL, 0, &nobody, binding);
	return (struct ht_policy_client){.bind = binding, .time = {50, 1}, .revoked = r};
}

static const struct {
	const char *name, *cookies; /* {VALUE}: its token */
	int verdict, action;
	const char *after;
} judged[] = {
	{"signed", "sid=gone; sid_HMAC={gone}", HT_COOKIE_REVOKED, HT_ACTION_STRIP,
	 "sid_HMAC={gone}"},
	{"somebody else", "sid=here; sid_HMAC={here}", HT_COOKIE_VALID, HT_ACTION_PASS, NULL},
	{"of another rule", "new=gone; new_HMAC={gone}", HT_COOKIE_VALID, HT_ACTION_PASS, NULL},
	{"beside a good one", "sid=gone; sid=here; sid_HMAC={here}", HT_COOKIE_DUPLICATE,
	 HT_ACTION_PASS, "sid=here; sid_HMAC={here}"},
	{"reported", "seen=gone; seen_HMAC={gone}", HT_COOKIE_REVOKED, HT_ACTION_REPORT, NULL},
	{"unsigned in grace", "new=late", HT_COOKIE_REVOKED, HT_ACTION_STRIP, ""},
	{"unsigned in grace, another", "new=here", HT_COOKIE_MISSING, HT_ACTION_GRACE, NULL},
	{"unsigned", "sid=gone", HT_COOKIE_MISSING, HT_ACTION_STRIP, ""},
};

static size_t expand(const char *cookies, char *out)
{
	char *to = out;

	to += sprintf(to, "GET / HTTP/1.1\r\n");
	if (*cookies)
		to += sprintf(to, "Cookie: ");
	for (const char *p = cookies; *p; p++) {
		char value[16];

		if (*p != '{') {
			*to++ = *p;
			continue;
		}
		snprintf(value, sizeof(value), "%.*s", (int)strcspn(p + 1, "}"), p + 1);
		to += sprintf(to, "%s", token(value));
		p += strlen(value) + 1;
	}
	return (size_t)(to + sprintf(to, *cookies ? "\r\n\r\n" : "\r\n") - out);
}

static struct ht_revoked *some(void)
{
	return set_of((struct ht_revoked_entry[]){entry_of("one.test", "sid", "gone", 100),
						  entry_of("", "seen", "gone", 100),
						  entry_of("", "new", "late", 100),
						  entry_of("two.test", "sid", "here", 100),
						  entry_of("", "sid", "past", 50)},
		      5);
}

Test(revoked, a_revoked_value_is_stripped_whatever_its_token)
{
	struct ht_revoked *r = some();
	struct ht_policy_client client = compile(r);

	for (size_t i = 0; i < HT_ARRAY_SIZE(judged); i++) {
		static struct ht_judgement j;
		static struct ht_head scratch;
		char head[2048], want[2048];
		size_t len = expand(judged[i].cookies, head),
		       want_len = expand(judged[i].after ? judged[i].after : judged[i].cookies,
					 want);

		cr_assert_eq(
			ht_policy_judge(&(struct ht_policy_context){&site, &ring, &keys, &client},
					&scratch, head, &len, 0, &j),
			0);
		cr_expect_eq(j.ncookies, 1);
		cr_expect_eq(j.cookie[0].verdict, judged[i].verdict, "%s: %d", judged[i].name,
			     j.cookie[0].verdict);
		cr_expect_eq(j.cookie[0].action, judged[i].action, "%s", judged[i].name);
		cr_expect(len == want_len && !memcmp(head, want, len), "%s: %.*s", judged[i].name,
			  (int)len, head);
		/* nothing that the kernel could take it by */
		if (judged[i].verdict == HT_COOKIE_REVOKED)
			cr_expect_eq(j.npushes + j.nreissues, 0, "%s", judged[i].name);
	}
	ht_revoked_unref(r);
}

Test(revoked, it_is_not_signed_again_but_deleted)
{
	static const struct {
		const char *field;
		enum ht_sign_result result;
	} rows[] = {
		{"sid=gone; Path=/", HT_SIGN_REVOKED},
		{"sid=here; Path=/", HT_SIGN_SIGNED},
		{"sid=past; Path=/", HT_SIGN_SIGNED},
		{"sid=gone; Max-Age=0", HT_SIGN_DELETED},
	};
	struct ht_revoked *r = some();
	struct ht_policy_client client = compile(r);

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_set_cookie cookie;
		struct ht_push push;
		char line[1024];
		size_t len, rule;

		ht_set_cookie_parse(HT_STR(rows[i].field), 50, &cookie);
		cr_expect_eq(
			ht_policy_sign(&(struct ht_policy_context){&site, &ring, &keys, &client},
				       &cookie, line, sizeof(line), &len, &push, &rule),
			rows[i].result, "%s", rows[i].field);
	}
	ht_revoked_unref(r);
}

/* ---- the file ---- */

static char dir[] = "/tmp/ht-revoked-XXXXXX";
static char control[64], path[80];

static void set_up(void)
{
	cr_assert(mkdtemp(dir));
	snprintf(control, sizeof(control), "%s/control.sock", dir);
	snprintf(path, sizeof(path), "%s.revoked", control);
}

static void tear_down(void)
{
	unlink(path);
	rmdir(dir);
}

TestSuite(keep_revoked, .init = set_up, .fini = tear_down);

static struct ht_keep_revoked *open_file(struct ht_revoked **ret)
{
	struct ht_keep_revoked *k = NULL;

	cr_assert_eq(ht_keep_revoked_open(control, &k, ret), 0);
	return k;
}

static void write_three(void)
{
	struct ht_revoked *r;
	struct ht_keep_revoked *k = open_file(&r);

	cr_expect_eq(r->n + k->damaged, 0);
	for (uint64_t i = 1; i <= 3; i++)
		cr_assert_eq(ht_keep_revoked_add(k, &(struct ht_revoked_entry){i, i, 100 * i}, 50),
			     0);
	ht_keep_revoked_close(k);
	ht_revoked_unref(r);
}

static off_t file_size(void)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	return st.st_size;
}

Test(keep_revoked, what_is_written_is_read_by_the_same_keys)
{
	struct ht_revoked *r;
	struct ht_keep_revoked *k;
	struct ht_sip_keys first;
	struct stat st;

	write_three();
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0600);
	k = open_file(&r);
	first = k->keys;
	cr_expect_eq(k->damaged, 0);
	cr_assert_eq(r->n, 3);
	cr_expect_eq(r->entry[2].until_s, 300);
	cr_expect_eq(memcmp(&r->keys, &first, sizeof(first)), 0);
	ht_keep_revoked_close(k);
	ht_revoked_unref(r);
	k = open_file(&r);
	cr_expect_eq(memcmp(&k->keys, &first, sizeof(first)), 0);
	cr_expect(first.key[0] != 0 && first.key[0] != first.key[1]);
	ht_keep_revoked_close(k);
	ht_revoked_unref(r);
}

Test(keep_revoked, places_are_used_again)
{
	struct ht_revoked *r;
	struct ht_keep_revoked *k;
	off_t size;

	write_three();
	size = file_size();
	k = open_file(&r);
	ht_revoked_unref(r);
	/* the second one again, and a new one when the first is over */
	cr_assert_eq(ht_keep_revoked_add(k, &(struct ht_revoked_entry){2, 2, 900}, 50), 0);
	cr_assert_eq(ht_keep_revoked_add(k, &(struct ht_revoked_entry){9, 9, 900}, 100), 0);
	cr_expect_eq(file_size(), size);
	ht_keep_revoked_close(k);
	k = open_file(&r);
	cr_assert_eq(r->n, 3);
	cr_expect_eq(r->entry[0].lo, 2);
	cr_expect_eq(r->entry[0].until_s, 900);
	cr_expect_eq(r->entry[2].lo, 9);
	ht_keep_revoked_close(k);
	ht_revoked_unref(r);
}

/* Every byte: what stood there is told to be lost, and everything else stays. */
Test(keep_revoked, damage_costs_what_is_damaged)
{
	struct ht_revoked *r;
	struct ht_keep_revoked *k;
	size_t size, head;
	char byte;

	write_three();
	size = (size_t)file_size();
	head = size - 3 * (sizeof(struct ht_revoked_entry) + 8);
	for (size_t i = head; i < size; i++) {
		int fd = open(path, O_RDWR);

		cr_assert_eq(pread(fd, &byte, 1, (off_t)i), 1);
		byte ^= 1;
		cr_assert_eq(pwrite(fd, &byte, 1, (off_t)i), 1);
		k = open_file(&r);
		cr_expect_eq(k->damaged, 1, "byte %zu", i);
		cr_expect_eq(r->n, 2, "byte %zu: %zu", i, r->n);
		ht_keep_revoked_close(k);
		ht_revoked_unref(r);
		byte ^= 1;
		cr_assert_eq(pwrite(fd, &byte, 1, (off_t)i), 1);
		close(fd);
	}
	/* a record that was not written to its end */
	cr_assert_eq(truncate(path, (off_t)size - 5), 0);
	k = open_file(&r);
	cr_expect_eq(k->damaged, 1);
	cr_expect_eq(r->n, 2);
	cr_assert_eq(ht_keep_revoked_add(k, &(struct ht_revoked_entry){7, 7, 900}, 50), 0);
	ht_keep_revoked_close(k);
	ht_revoked_unref(r);
	k = open_file(&r);
	cr_expect_eq(k->damaged, 0);
	cr_expect_eq(r->n, 3);
	ht_keep_revoked_close(k);
	ht_revoked_unref(r);
	/* without its head nothing is known */
	cr_assert_eq(truncate(path, 9), 0);
	k = open_file(&r);
	cr_expect_eq(k->damaged, 1);
	cr_expect_eq(r->n, 0);
	ht_keep_revoked_close(k);
	ht_revoked_unref(r);
}
