/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard where there is no BPF to be had: the bans are the daemon's own, and everything but the
 * kernel's part works the same. tests/bpf has the rest.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>

#include "gateway.h"
#include "guard.h"
#include "guard_ends.h"
#include "guard_table.h"
#include "log.h"

static struct ht_guard_config config = {
	.mode = HT_GUARD_DROP,
	.forged = 3,
	.per_ms = 600000,
	.ban_ms = 3600000,
	.hold_s = 3600,
	.max = 1024,
	.v4_bits = 32,
	.v6_bits = 64,
};
static struct ht_prefix trusted[1];
static struct ht_guard *guard;

static struct ht_guard_rule rules[] = {
	{.id = 1, .print = 10, .timeless = 1},
	{.id = 2, .print = 20},
};

static void apply(enum ht_guard_mode mode)
{
	const struct ht_guard_settings s = {.config = &config,
					    .trusted = trusted,
					    .ntrusted = 1,
					    .rules = rules,
					    .nrules = HT_ARRAY_SIZE(rules)};

	config.mode = mode;
	cr_assert_eq(ht_guard_apply(guard, &s), 0);
}

/* Nobody without capabilities loads a program. */
static void start(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};
	const struct ht_guard_params p = {.config = &config};
	const char *why;

	ht_log_level(LOG_CRIT);
	ht_log_hook_libbpf();
	cr_assert_eq(syscall(SYS_capset, &head, none), 0);
	cr_assert_eq(ht_prefix_parse(HT_STR("203.0.113.0/24"), &trusted[0], &why), 0);
	rules[0].key = rules[1].key = ht_guard_key_print("shop");
	cr_assert_eq(ht_guard_open(&p, &guard), 0);
	apply(HT_GUARD_DROP);
}

static void finish(void)
{
	ht_guard_close(guard);
}

TestSuite(guard, .init = start, .fini = finish);

static struct sockaddr_storage address(const char *text)
{
	struct sockaddr_storage a = {.ss_family = strchr(text, ':') ? AF_INET6 : AF_INET};
	void *bytes = a.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&a)->sin_addr
					     : (void *)&((struct sockaddr_in6 *)&a)->sin6_addr;

	cr_assert_eq(inet_pton(a.ss_family, text, bytes), 1);
	return a;
}

static enum ht_guard_mode ask(const char *text)
{
	struct sockaddr_storage a = address(text);

	return ht_guard_ask(guard, (struct sockaddr *)&a);
}

static bool forge_by(uint64_t rule, const char *text, uint64_t print)
{
	struct sockaddr_storage a = address(text);

	return ht_guard_forged(guard, (struct sockaddr *)&a, rule, print, 1000);
}

static bool forge(const char *text, uint64_t print)
{
	return forge_by(1, text, print);
}

Test(guard, says_that_there_is_no_kernel_part)
{
	size_t n = 1;

	cr_expect(strstr(ht_guard_why(guard), "CAP_BPF"), "%s", ht_guard_why(guard));
	cr_expect_null(ht_guard_interfaces(guard, &n));
	cr_expect_eq(n, 0);
	cr_expect_eq(ht_guard_program(guard), -ENOENT);
	cr_expect_eq(ht_guard_bytes(guard), 0);
	ht_guard_attach(guard);
}

Test(guard, bans_and_asks)
{
	uint32_t version = ht_guard_version(guard);

	cr_expect_not(forge("192.0.2.1", 1));
	cr_expect_not(forge("192.0.2.1", 2));
	cr_expect_not(forge("192.0.2.1", 2));
	cr_expect_eq(ask("192.0.2.1"), HT_GUARD_OFF);
	cr_expect_eq(ht_guard_version(guard), version);
	cr_expect(forge("192.0.2.1", 3));
	cr_expect_neq(ht_guard_version(guard), version);
	cr_expect_eq(ask("192.0.2.1"), HT_GUARD_DROP);
	cr_expect_eq(ask("::ffff:192.0.2.1"), HT_GUARD_DROP, "the same address");
	cr_expect_eq(ask("192.0.2.2"), HT_GUARD_OFF);
	apply(HT_GUARD_REPORT);
	cr_expect_eq(ask("192.0.2.1"), HT_GUARD_REPORT);
	apply(HT_GUARD_OFF);
	cr_expect_eq(ask("192.0.2.1"), HT_GUARD_OFF);
	cr_expect_not(forge("192.0.2.9", 1) || forge("192.0.2.9", 2) || forge("192.0.2.9", 3));
}

Test(guard, report_never_says_that_he_is_banned)
{
	apply(HT_GUARD_REPORT);
	for (uint64_t i = 0; i < 20; i++)
		cr_expect_not(forge("192.0.2.1", i));
	cr_expect_eq(ask("192.0.2.1"), HT_GUARD_REPORT);
}

static void keep_text(void *arg, const struct ht_guard_entry *e)
{
	snprintf(arg, HT_SOURCE_TEXT, "%s", e->source);
}

Test(guard, a_prefix_is_one_source)
{
	char text[HT_SOURCE_TEXT] = "";

	cr_expect_not(forge("2001:db8:1:2::1", 1));
	cr_expect_not(forge("2001:db8:1:3::1", 2));
	cr_expect_not(forge("2001:db8:1:2:ffff::", 2));
	cr_expect(forge("2001:db8:1:2::2", 3));
	cr_expect_eq(ask("2001:db8:1:2:9::9"), HT_GUARD_DROP);
	cr_expect_eq(ask("2001:db8:1:3::1"), HT_GUARD_OFF);
	cr_expect_eq(ht_guard_walk(guard, 10, keep_text, text), 1);
	cr_expect_str_eq(text, "2001:db8:1:2::/64");
}

Test(guard, trusted_proxies_are_never_banned)
{
	struct sockaddr_storage a = address("203.0.113.1"), none = {.ss_family = AF_UNIX};
	struct ht_guard_counters n;

	for (uint64_t i = 0; i < 20; i++)
		cr_expect_not(forge("203.0.113.1", i));
	cr_expect_eq(ht_guard_ban(guard, &a, 0), -EPERM);
	cr_expect_eq(ht_guard_ban(guard, &none, 0), -EINVAL);
	cr_expect_not(ht_guard_forged(guard, (struct sockaddr *)&none, 1, 1, 1));
	ht_guard_counters(guard, &n);
	cr_expect_eq(n.spared, 20);
	cr_expect_eq(n.bans[HT_GUARD_DROP], 0);
}

Test(guard, by_hand_for_as_long_as_is_said)
{
	struct sockaddr_storage a = address("192.0.2.1");
	const struct timespec pause = {0, 1000000};
	struct ht_guard_counters n;

	cr_expect_eq(ht_guard_pardon(guard, &a), -ENOENT);
	cr_expect_eq(ht_guard_ban(guard, &a, 0), 0);
	cr_expect_eq(ask("192.0.2.1"), HT_GUARD_DROP);
	cr_expect_eq(ht_guard_ban(guard, &a, 20), 0);
	for (int i = 0; i < 30000 && ask("192.0.2.1"); i++)
		nanosleep(&pause, NULL);
	cr_expect_eq(ask("192.0.2.1"), HT_GUARD_OFF, "it goes on");
	cr_expect_eq(ht_guard_walk(guard, 10, NULL, NULL), 0);
	cr_expect_eq(ht_guard_ban(guard, &a, 0), 0);
	cr_expect_eq(ht_guard_pardon(guard, &a), 0);
	cr_expect_eq(ask("192.0.2.1"), HT_GUARD_OFF);
	ht_guard_counters(guard, &n);
	cr_expect_eq(n.by_hand, 3);
	apply(HT_GUARD_OFF);
	cr_expect_eq(ht_guard_ban(guard, &a, 0), -ENODATA);
}

static uint64_t held(void)
{
	struct ht_guard_counters n;

	ht_guard_counters(guard, &n);
	return n.held;
}

Test(guard, a_replaced_key_is_no_offence)
{
	ht_guard_key_replaced(guard, "another");
	cr_expect_eq(ht_guard_held(guard), 0);
	ht_guard_key_replaced(guard, "shop");
	cr_expect_eq(ht_guard_held(guard), 1, "the other rule's tokens say whose they are");
	for (uint64_t i = 0; i < 20; i++)
		cr_expect_not(forge("192.0.2.1", i));
	cr_expect_eq(held(), 20);
	cr_expect_eq(ask("192.0.2.1"), HT_GUARD_OFF);
	/* other rules go on */
	cr_expect_not(forge_by(2, "192.0.2.1", 1));
	cr_expect_not(forge_by(2, "192.0.2.1", 2));
	cr_expect(forge_by(2, "192.0.2.1", 3));
}

static struct ht_keyring *ring_of(const char *secret)
{
	struct ht_key_config key = {.name = (char[]){"shop"}, .directory = (char[]){"/none"}};
	const struct ht_config c = {.file = (char[]){"x.yaml"}, .keys = &key, .nkeys = 1};
	const struct ht_key_source given = {
		.given = true, .n = 1, .secret = {{(const uint8_t *)secret, strlen(secret)}}};
	struct ht_keyring *ring = NULL;
	struct ht_diag diag = {0};

	cr_assert_eq(ht_keyring_make(&c, &given, NULL, 1000, &ring, &diag), 0, "%s", diag.text);
	return ring;
}

static struct ht_common common;

static void *replace_ring(void *ring)
{
	ht_common_set_ring(&common, ring);
	return NULL;
}

/* Nobody judges by the new ring before its key's rules are held: that is known while we forbid it. */
Test(guard, who_has_the_old_key_is_held_before_the_new_one_is_there)
{
	const struct timespec pause = {0, 1000000};
	struct ht_keyring *before = ring_of("the one"), *after = ring_of("the other");
	pthread_t thread;

	cr_assert_eq(ht_common_open(&common), 0);
	common.guard = guard;
	ht_common_set_ring(&common, before);
	cr_expect_eq(ht_guard_held(guard), 0);
	pthread_mutex_lock(&common.ring_lock);
	cr_assert_eq(pthread_create(&thread, NULL, replace_ring, after), 0);
	for (int i = 0; i < 30000 && !ht_guard_held(guard); i++)
		nanosleep(&pause, NULL);
	cr_expect_eq(ht_guard_held(guard), 1);
	cr_expect_eq(common.ring, before);
	pthread_mutex_unlock(&common.ring_lock);
	pthread_join(thread, NULL);
	cr_expect_eq(common.ring, after);
	ht_common_close(&common);
}

Test(guard, nor_is_another_binding)
{
	rules[1].print++;
	apply(HT_GUARD_DROP);
	cr_expect_eq(ht_guard_held(guard), 1);
	for (uint64_t i = 0; i < 20; i++)
		cr_expect_not(forge_by(2, "192.0.2.1", i));
	cr_expect_eq(held(), 20);
	apply(HT_GUARD_DROP);
	cr_expect_eq(ht_guard_held(guard), 1, "once more the same");
	config.hold_s = 0;
	apply(HT_GUARD_DROP);
	cr_expect_eq(ht_guard_held(guard), 0, "nothing is held any more");
	rules[1].print++;
	apply(HT_GUARD_DROP);
	ht_guard_key_replaced(guard, "shop");
	cr_expect_eq(ht_guard_held(guard), 0);
}

Test(guard, counts_the_bans_that_run)
{
	const char *const sources[] = {"192.0.2.1", "192.0.2.2", "192.0.2.3"};
	const struct timespec pause = {0, 1000000};
	struct sockaddr_storage a;

	cr_expect_eq(ht_guard_running(guard), 0);
	for (size_t i = 0; i < HT_ARRAY_SIZE(sources); i++) {
		a = address(sources[i]);
		cr_expect_eq(ht_guard_ban(guard, &a, 0), 0);
	}
	cr_expect_eq(ht_guard_ban(guard, &a, 0), 0, "once more");
	cr_expect_eq(ht_guard_running(guard), 3);
	cr_expect_eq(ht_guard_pardon(guard, &a), 0);
	cr_expect_eq(ht_guard_pardon(guard, &a), -ENOENT);
	cr_expect_eq(ht_guard_running(guard), 2);
	a = address("192.0.2.2");
	cr_expect_eq(ht_guard_ban(guard, &a, 20), 0, "a shorter one in its place");
	for (int i = 0; i < 30000 && ht_guard_running(guard) > 1; i++)
		nanosleep(&pause, NULL);
	cr_expect_eq(ht_guard_running(guard), 1);
	cr_expect_eq(ht_guard_walk(guard, 10, NULL, NULL), 1);
}

/* A lower limit holds from now on, for what comes. */
Test(guard, other_settings_while_it_runs)
{
	cr_expect_not(forge("192.0.2.1", 1));
	config.forged = 2;
	apply(HT_GUARD_DROP);
	cr_expect_not(forge("192.0.2.1", 1));
	cr_expect(forge("192.0.2.1", 2));
	config.forged = 3;
}

Test(guard, what_takes_a_restart)
{
	char *eth0[] = {"eth0"}, *eth1[] = {"eth1"};
	struct ht_guard_config was = {.mode = HT_GUARD_DROP, .max = 64}, is = was;

	is.mode = HT_GUARD_REPORT;
	is.forged = 9;
	is.ban_ms = 1;
	cr_expect_null(ht_guard_fixed(&was, &is));
	is.max = 128;
	cr_expect_str_eq(ht_guard_fixed(&was, &is), "guard.max");
	is.v6_bits = 1;
	is.max = was.max;
	cr_expect_str_eq(ht_guard_fixed(&was, &is), "guard.ipv6-prefix");
	is.interfaces = eth0;
	is.ninterfaces = 1;
	cr_expect_str_eq(ht_guard_fixed(&was, &is), "guard.interface");
	was = is;
	is.interfaces = eth1;
	cr_expect_str_eq(ht_guard_fixed(&was, &is), "guard.interface");
	was.mode = HT_GUARD_OFF;
	cr_expect_str_eq(ht_guard_fixed(&was, &is), "guard.mode (from off)");
	is.mode = HT_GUARD_OFF;
	cr_expect_null(ht_guard_fixed(&was, &is));
}

/* ---- the table ---- */

static struct ht_ban_key key_of(uint32_t n)
{
	struct ht_ban_key k = {{0}};

	memcpy(k.addr + 12, &n, sizeof(n));
	return k;
}

Test(guard_table, is_bounded_and_the_one_that_ends_first_makes_room)
{
	const struct ht_sip_keys keys = {{1, 2}, {3, 4}};
	const struct ht_ban_key *key;
	const struct ht_ban *at;
	struct ht_guard_table *t;
	struct ht_ban ban;
	size_t n = 0;

	cr_assert_eq(ht_guard_table_new(8, &keys, &t), 0);
	for (uint32_t i = 1; i <= 100; i++) {
		const struct ht_ban_key k = key_of(i);

		ban = (struct ht_ban){.until_ns = i == 50 ? 1000000 : i};
		ht_guard_table_put(t, &k, &ban);
		cr_expect_eq(ht_guard_table_get(t, &k, &ban), 0, "the newest is there");
	}
	for (size_t i = 0; ht_guard_table_at(t, i, &key, &at); i++)
		n += at != NULL;
	cr_expect_eq(n, 8);
	for (uint32_t i = 1; i <= 100; i++) {
		const struct ht_ban_key k = key_of(i);

		cr_expect_eq(!ht_guard_table_get(t, &k, &ban), i == 50 || i > 93, "%u", i);
	}
	ht_guard_table_free(t);
}

/* ---- ends ---- */

Test(guard_ends, counts_what_is_not_over)
{
	struct ht_guard_ends e = {.max = 1000};

	/* 1 to 997, each once, in no order */
	for (uint64_t i = 1; i < 998; i++)
		ht_guard_ends_add(&e, i * 541 % 997 + 1);
	for (uint64_t i = 1; i < 998; i += 2)
		ht_guard_ends_remove(&e, i);
	ht_guard_ends_remove(&e, 1);
	ht_guard_ends_remove(&e, 5000);
	cr_expect_eq(ht_guard_ends_count(&e, 0), 498);
	cr_expect_eq(ht_guard_ends_count(&e, 1), 498);
	cr_expect_eq(ht_guard_ends_count(&e, 2), 497);
	cr_expect_eq(ht_guard_ends_count(&e, 500), 248);
	cr_expect_eq(ht_guard_ends_count(&e, 400), 248, "what is over is over");
	cr_expect_eq(ht_guard_ends_count(&e, 996), 0);
	for (uint64_t i = 0; i < 5000; i++)
		ht_guard_ends_add(&e, 1000 + i);
	cr_expect_eq(ht_guard_ends_count(&e, 0), 1000, "never more than there can be");
	ht_guard_ends_clear(&e);
	cr_expect_eq(ht_guard_ends_count(&e, 0), 0);
}
