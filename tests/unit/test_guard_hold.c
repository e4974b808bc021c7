/* SPDX-License-Identifier: Apache-2.0 */
/* Which rules are held, for how long, what of it outlives a daemon, and what makes a rule another. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guard_hold.h"
#include "log.h"

static char dir[] = "/tmp/ht-hold-XXXXXX", path[64];

static void start(void)
{
	ht_log_level(LOG_CRIT);
	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/file", dir);
}

static void finish(void)
{
	unlink(path);
	rmdir(dir);
}

TestSuite(guard_hold, .init = start, .fini = finish);

static struct ht_guard_rule rules[] = {{1, 10, 100, 1}, {2, 20, 100, 0}, {3, 30, 300, 1}};

static struct ht_holds *open_holds(void)
{
	struct ht_holds *h;

	cr_assert_eq(ht_holds_open(path, &h), 0);
	return h;
}

static struct ht_holds *restart(struct ht_holds *h)
{
	ht_holds_close(h);
	return open_holds();
}

Test(guard_hold, a_rule_whose_tokens_are_others_for_a_while)
{
	struct ht_holds *h = open_holds();

	cr_expect_eq(ht_holds_follow(h, rules, 3, 1000), 0, "nothing is known of before");
	cr_expect_eq(ht_holds_follow(h, rules, 3, 1000), 0);
	rules[2].print++;
	cr_expect_eq(ht_holds_follow(h, rules, 3, 1000), 1);
	cr_expect(ht_holds_has(h, 3, 999));
	cr_expect_not(ht_holds_has(h, 3, 1000));
	cr_expect_not(ht_holds_has(h, 2, 0));
	cr_expect_not(ht_holds_has(h, 4, 0));
	cr_expect_eq(ht_holds_follow(h, rules, 3, 2000), 0);
	cr_expect(ht_holds_has(h, 3, 999));
	cr_expect_not(ht_holds_has(h, 3, 1000), "it does not begin anew");
	cr_expect_eq(ht_holds_follow(h, rules + 1, 2, 2000), 0);
	cr_expect_eq(ht_holds_follow(h, rules, 3, 2000), 0, "a rule that is new");
	cr_expect_eq(ht_holds_count(h, 999), 1);
	ht_holds_close(h);
}

Test(guard_hold, outlives_the_daemon)
{
	struct ht_holds *h = open_holds();
	struct stat st;

	ht_holds_follow(h, rules, 3, 1000);
	h = restart(h);
	cr_expect_eq(ht_holds_follow(h, rules, 3, 1000), 0);
	h = restart(h);
	rules[0].print++; /* while there is none */
	cr_expect_eq(ht_holds_follow(h, rules, 3, 1000), 1);
	h = restart(h);
	cr_expect(ht_holds_has(h, 1, 999));
	cr_expect_eq(ht_holds_follow(h, rules, 3, 5000), 0);
	cr_expect(ht_holds_has(h, 1, 999));
	cr_expect_not(ht_holds_has(h, 1, 1000));
	h = restart(h);
	cr_expect_eq(ht_holds_count(h, 999), 1);
	cr_expect(!stat(path, &st) && (st.st_mode & 0777) == 0600);
	ht_holds_close(h);
}

Test(guard_hold, a_replaced_key_holds_the_rules_that_can_not_tell)
{
	const char *const shop = "shop";
	struct ht_holds *h = open_holds();

	rules[0].key = rules[1].key = ht_guard_key_print(shop);
	ht_holds_follow(h, rules, 3, 1000);
	cr_expect_eq(ht_holds_key(h, "other", 1000), 0);
	cr_expect_eq(ht_holds_key(h, shop, 0), 0);
	cr_expect_eq(ht_holds_key(h, shop, 1000), 1);
	cr_expect(ht_holds_has(h, 1, 999));
	cr_expect_not(ht_holds_has(h, 2, 0));
	h = restart(h);
	cr_expect(ht_holds_has(h, 1, 999));
	ht_holds_close(h);
}

static void write_at(off_t at, char byte)
{
	int fd = open(path, O_RDWR);

	cr_assert(fd >= 0 && pwrite(fd, &byte, 1, at) == 1);
	close(fd);
}

Test(guard_hold, a_file_that_is_not_ours_says_nothing)
{
	struct ht_holds *h = open_holds();

	ht_holds_follow(h, rules, 3, 1000);
	ht_holds_key(h, "none", 1000);
	rules[0].print++;
	ht_holds_follow(h, rules, 3, 1000);
	ht_holds_close(h);
	for (off_t at = 0; at < 100; at += 7) {
		write_at(at, '?');
		h = open_holds();
		cr_expect_eq(ht_holds_count(h, 0), 0, "byte %d", (int)at);
		rules[0].print++;
		cr_expect_eq(ht_holds_follow(h, rules, 3, 1000), 0);
		rules[0].print++;
		ht_holds_follow(h, rules, 3, 1000);
		ht_holds_close(h);
	}
	h = open_holds();
	cr_expect_eq(ht_holds_count(h, 0), 1, "and is replaced");
	ht_holds_close(h);
	chmod(path, 0644);
	h = open_holds();
	cr_expect_eq(ht_holds_count(h, 0), 0, "readable for others");
	ht_holds_close(h);
	cr_assert_eq(ht_holds_open(NULL, &h), 0);
	rules[0].print++;
	ht_holds_follow(h, rules, 3, 1000);
	cr_expect_eq(ht_holds_count(h, 0), 0, "nothing was known");
	rules[0].print++;
	ht_holds_follow(h, rules, 3, 1000);
	cr_expect_eq(ht_holds_count(h, 0), 1, "without a file, for as long as we live");
	ht_holds_close(h);
}

static off_t file_size(void)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	return st.st_size;
}

/* A crash may leave what was there before behind what is there now. */
Test(guard_hold, what_is_behind_its_end_does_not_matter)
{
	struct ht_holds *h = open_holds();
	off_t before;

	ht_holds_follow(h, rules, 3, 1000);
	rules[0].print++;
	ht_holds_follow(h, rules, 3, 1000);
	before = file_size();
	write_at(before + 40, '?');
	h = restart(h);
	cr_expect_eq(ht_holds_count(h, 999), 1);
	ht_holds_follow(h, rules, 3, 1000);
	cr_expect_eq(file_size(), before, "it is cut off");
	ht_holds_follow(h, rules, 2, 1000);
	cr_expect_lt(file_size(), before);
	h = restart(h);
	cr_expect_eq(ht_holds_count(h, 999), 1);
	ht_holds_close(h);
}

/* Where it can't be written it says what it said. */
Test(guard_hold, a_full_disk_takes_nothing_away)
{
	struct rlimit limit, none;
	struct ht_holds *h = open_holds();

	ht_holds_follow(h, rules, 3, 1000);
	rules[0].print++;
	ht_holds_follow(h, rules, 3, 1000);
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
	rules[2].print++;
	cr_expect_eq(ht_holds_follow(h, rules, 3, 1000), 1);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	h = restart(h);
	cr_expect(ht_holds_has(h, 1, 999));
	cr_expect_not(ht_holds_has(h, 3, 999));
	ht_holds_close(h);
}

/* ---- what makes a rule another ---- */

Test(guard_hold, whatever_a_token_is_made_of)
{
	char *hosts[] = {"shop.example.com"}, *others[] = {"example.net"};
	const struct ht_site_config site = {.hosts = hosts, .nhosts = 1},
				    elsewhere = {.hosts = others, .nhosts = 1};
	struct ht_rule_config base = {.name = "sid",
				      .key = "shop",
				      .profile = HT_PROFILE_NATIVE,
				      .accept = 1U << HT_PROFILE_NATIVE,
				      .binds = {{HT_BIND_CLIENT_IP, 32, 128}},
				      .nbinds = 1,
				      .separator = "|"};
	struct ht_rule_config r[9];
	struct ht_guard_rule was, is;

	ht_guard_rule_of(&site, &base, &was);
	cr_expect_eq(was.timeless, 0);
	cr_expect_eq(was.key, ht_guard_key_print("shop"));
	for (size_t i = 0; i < HT_ARRAY_SIZE(r); i++)
		r[i] = base;
	r[0].key = "other";
	r[1].binds[0].v4_bits = 24;
	r[2].nbinds = 0;
	r[3].binds[0].kind = HT_BIND_USER;
	r[4].separator = "";
	r[5].name_in_mac = true;
	r[6].accept |= 1U << HT_PROFILE_F5_IRULE;
	r[7].profile = HT_PROFILE_PROXYSG;
	r[8].accept |= 1U << HT_PROFILE_SECURE_COOKIE;
	for (size_t i = 0; i < HT_ARRAY_SIZE(r); i++) {
		ht_guard_rule_of(&site, &r[i], &is);
		cr_expect_eq(is.id, was.id, "%zu", i);
		cr_expect_neq(is.print, was.print, "%zu", i);
		cr_expect_eq(is.timeless != 0, i == 6, "%zu", i);
	}
	base.mode = HT_MODE_REPORT;
	base.line = 99;
	ht_guard_rule_of(&site, &base, &is);
	cr_expect(!memcmp(&is, &was, sizeof(is)), "the same tokens");
	base.name = "sid2";
	cr_expect_neq(ht_guard_rule_id(&site, &base), was.id);
	base.name = "sid";
	cr_expect_neq(ht_guard_rule_id(&elsewhere, &base), was.id);
}
