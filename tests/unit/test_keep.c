/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What outlives a daemon: the state file, its lock, and how keys keep their places and generations
 * over a reload and a restart.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "config.h"
#include "keep.h"

static char dir[] = "/tmp/ht-keep-XXXXXX";
static char control[64], state[80];

static void set_up(void)
{
	cr_assert(mkdtemp(dir));
	snprintf(control, sizeof(control), "%s/control.sock", dir);
	snprintf(state, sizeof(state), "%s.state", control);
}

static void tear_down(void)
{
	unlink(state);
	rmdir(dir);
}

TestSuite(keep, .init = set_up, .fini = tear_down);

static const struct ht_secret one = {.bytes = (const uint8_t *)"one", .len = 3},
			      two = {.bytes = (const uint8_t *)"two", .len = 3};

static const struct ht_key keys[] = {
	{.name = "a", .gen = 5, .nsecrets = 1, .secrets = &one},
	{.gen = 7},
	{.name = "c", .gen = 9, .nsecrets = 1, .secrets = &two},
};
static const struct ht_keyring ring = {.nkeys = 3, .keys = keys, .global_gen = 4};
static const struct ht_sip_keys sip = {{1, 2}, {3, 4}};

static struct ht_keep *open_it(void)
{
	struct ht_keep *k = NULL;
	char why[256];

	cr_assert_eq(ht_keep_open(control, 0, &k, why, sizeof(why)), 0, "%s", why);
	return k;
}

static void write_it(void)
{
	struct ht_keep *k = open_it();

	cr_assert_eq(ht_keep_write(k, 42, &sip, &ring), 0);
	ht_keep_close(k);
}

Test(keep, what_is_written_is_read)
{
	struct ht_keep *k;
	struct stat st;
	uint8_t print[HT_PRINT_LEN];

	write_it();
	cr_assert_eq(stat(state, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0600);
	k = open_it();
	cr_expect_eq(k->id, 42);
	cr_expect_eq(memcmp(&k->sip, &sip, sizeof(sip)), 0);
	cr_assert_eq(k->npast, 3);
	cr_expect_str_eq(k->past[0].name, "a");
	cr_expect_null(k->past[1].name);
	cr_expect_str_eq(k->past[2].name, "c");
	cr_assert_eq(ht_keyring_print(&keys[0], k->salt, print), 0);
	cr_expect_eq(memcmp(print, k->past[0].print, sizeof(print)), 0);
	cr_expect_neq(memcmp(k->past[0].print, k->past[2].print, sizeof(print)), 0);
	ht_keep_close(k);
}

/* Of the one that signs alone, so that a rotation can be told from a replacement. */
Test(keep, what_signs_is_known_by_itself)
{
	static const uint8_t none[HT_PRINT_LEN];
	const struct ht_secret live[] = {one, two};
	const struct ht_key rotated = {.name = "a", .nsecrets = 2, .secrets = live};
	uint8_t print[HT_PRINT_LEN];
	struct ht_keep *k;

	write_it();
	k = open_it();
	cr_assert_eq(ht_keyring_print_one(&rotated, 0, k->salt, print), 0);
	cr_expect_eq(memcmp(print, k->past[0].signs, sizeof(print)), 0);
	cr_assert_eq(ht_keyring_print_one(&rotated, 1, k->salt, print), 0);
	cr_expect_eq(memcmp(print, k->past[2].signs, sizeof(print)), 0);
	cr_assert_eq(ht_keyring_print_one(&rotated, 2, k->salt, print), 0);
	cr_expect_eq(memcmp(print, none, sizeof(print)), 0, "there is none");
	cr_expect_eq(memcmp(k->past[1].signs, none, sizeof(none)), 0, "no key has this place");
	cr_assert_eq(ht_keep_write(k, 42, &sip, &(struct ht_keyring){.nkeys = 1, .keys = &rotated}),
		     0);
	ht_keep_close(k);
	k = open_it();
	cr_assert_eq(ht_keyring_print_one(&rotated, 0, k->salt, print), 0);
	cr_expect_eq(memcmp(print, k->past[0].signs, sizeof(print)), 0, "the first one alone");
	cr_assert_eq(ht_keyring_print(&rotated, k->salt, print), 0);
	cr_expect_eq(memcmp(print, k->past[0].print, sizeof(print)), 0, "all of them");
	ht_keep_close(k);
}

Test(keep, every_spoilt_byte_spoils_all_of_it)
{
	struct stat st;

	write_it();
	cr_assert_eq(stat(state, &st), 0);
	for (off_t at = 0; at < st.st_size; at += 7) {
		int fd = open(state, O_RDWR | O_CLOEXEC);
		char byte, other;
		struct ht_keep *k;

		cr_assert_eq(pread(fd, &byte, 1, at), 1);
		other = (char)(byte ^ 1);
		cr_assert_eq(pwrite(fd, &other, 1, at), 1);
		k = open_it();
		cr_expect_eq(k->id, 0, "byte %ld", (long)at);
		cr_expect_eq(k->npast, 0);
		ht_keep_close(k);
		cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
		close(fd);
	}
}

/* Well made, but by a version that wrote something else. */
Test(keep, another_format_is_none)
{
	const uint32_t formats[] = {2, 1, 3};
	uint8_t file[4096];
	struct ht_keep *k;
	ssize_t len;
	int fd;

	write_it();
	fd = open(state, O_RDWR | O_CLOEXEC);
	len = pread(fd, file, sizeof(file), 0);
	cr_assert(len > 64 && len < (ssize_t)sizeof(file));
	for (size_t i = 0; i < HT_ARRAY_SIZE(formats); i++) {
		memcpy(file + sizeof(uint64_t), &formats[i], sizeof(formats[i]));
		SHA256(file, (size_t)len - 32, file + len - 32);
		cr_assert_eq(pwrite(fd, file, (size_t)len, 0), len);
		k = open_it();
		cr_expect_eq(k->id, i ? 0 : 42, "format %u", formats[i]);
		cr_expect_eq(k->npast, i ? 0 : 3);
		ht_keep_close(k);
	}
	close(fd);
}

Test(keep, a_file_that_others_can_read_is_replaced)
{
	struct ht_keep *k;
	struct stat st;

	write_it();
	cr_assert_eq(chmod(state, 0644), 0);
	k = open_it();
	cr_expect_eq(k->id, 0);
	cr_assert_eq(stat(state, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0600);
	ht_keep_close(k);
}

Test(keep, a_link_is_not_followed)
{
	char target[80];
	struct ht_keep *k;
	struct stat st;
	int fd;

	snprintf(target, sizeof(target), "%s/victim", dir);
	fd = open(target, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	cr_assert_eq(symlink(target, state), 0);
	k = open_it();
	cr_assert_eq(ht_keep_write(k, 42, &sip, &ring), 0);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_expect_eq(st.st_size, 0);
	ht_keep_close(k);
	close(fd);
	unlink(target);
}

Test(keep, a_serving_daemon_keeps_others_out)
{
	struct ht_keep *k = open_it(), *other = NULL;
	char why[256];

	cr_expect_eq(ht_keep_open(control, 60000, &other, why, sizeof(why)), -EWOULDBLOCK);
	cr_expect(strstr(why, "another hardtackd serves"), "%s", why);
	ht_lock_yield(k->fd);
	cr_expect_eq(ht_keep_open(control, 20, &other, why, sizeof(why)), -ETIMEDOUT);
	ht_keep_close(k);
	cr_expect_eq(ht_keep_open(control, 20, &other, why, sizeof(why)), 0, "%s", why);
	ht_keep_close(other);
}

/* ---- places and generations ---- */

static struct ht_config *config_of(const char *names, struct ht_keyring **ret)
{
	static const char head[] =
		"listeners: [ { address: 127.0.0.1:8080 } ]\n"
		"sites: [ { hosts: [\"*\"], upstreams: [127.0.0.1:9000], cookies: "
		"[ { name: sid, profile: f5-irule, key: c, bind: [client-ip] } ] } ]\n"
		"keys:\n";
	struct ht_config *c = NULL;
	struct ht_diag diag = {0};
	char text[1024], path[80];
	size_t len = (size_t)snprintf(text, sizeof(text), "%s", head);

	for (const char *p = names; *p; p++) {
		int fd;

		snprintf(path, sizeof(path), "%s/%c.key", dir, *p);
		fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
		cr_assert_eq(write(fd, *p == 'a' ? "one" : "two", 3), 3);
		close(fd);
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"  - { name: %c, file: %s }\n", *p, path);
	}
	cr_assert_eq(ht_config_parse("/x.yaml", text, len, &c, &diag), 0, "%s", diag.text);
	if (ret) {
		const char *places[] = {"a", NULL, "c"};

		cr_assert_eq(ht_config_keep_keys(c, places, 3, &diag), 0);
		cr_assert_eq(ht_keyring_load(c, ret, &diag), 0, "%s", diag.text);
	}
	for (const char *p = names; *p; p++) {
		snprintf(path, sizeof(path), "%s/%c.key", dir, *p);
		unlink(path);
	}
	return c;
}

Test(keep, keys_keep_their_places)
{
	struct ht_keyring *r;
	struct ht_config *c = config_of("xacz", &r);

	cr_assert_eq(c->nkeys, 4);
	cr_expect_str_eq(c->keys[0].name, "a");
	cr_expect_str_eq(c->keys[1].name, "x", "the first place that is free");
	cr_expect_str_eq(c->keys[2].name, "c");
	cr_expect_str_eq(c->keys[3].name, "z");
	cr_expect_eq(c->sites[0].rules[0].key_index, 2);
	cr_expect_eq(r->nkeys, 4);
	ht_keyring_unref(r);
	ht_config_free(c);
}

static void expect_generations(const char *names, uint32_t a, uint32_t b, uint32_t c_gen)
{
	struct ht_key_past past[3] = {{.name = "a", .gen = 5}, {.gen = 7}, {.name = "c", .gen = 9}};
	const uint8_t salt[HT_PRINT_LEN] = "salt";
	struct ht_keyring *r;
	struct ht_config *c = config_of(names, &r);

	ht_keyring_follow(r, &ring);
	cr_expect_eq(r->global_gen, 4);
	cr_expect_eq(r->keys[0].gen, a, "%s: %u", names, r->keys[0].gen);
	cr_expect_eq(r->keys[1].gen, b, "%s: %u", names, r->keys[1].gen);
	cr_expect_eq(r->keys[2].gen, c_gen, "%s: %u", names, r->keys[2].gen);
	ht_keyring_unref(r);
	ht_config_free(c);
	/* the same by prints */
	for (size_t i = 0; i < 3; i++)
		ht_keyring_print(&keys[i], salt, past[i].print);
	c = config_of(names, &r);
	ht_keyring_recall(r, past, 3, 4, salt);
	cr_expect_eq(r->global_gen, 4);
	cr_expect_eq(r->keys[0].gen, a, "%s: %u", names, r->keys[0].gen);
	cr_expect_eq(r->keys[1].gen, b, "%s: %u", names, r->keys[1].gen);
	cr_expect_eq(r->keys[2].gen, c_gen, "%s: %u", names, r->keys[2].gen);
	ht_keyring_unref(r);
	ht_config_free(c);
}

Test(keep, unchanged_keys_keep_their_generations)
{
	expect_generations("ac", 5, 7, 9);
	expect_generations("ca", 5, 7, 9);
}

Test(keep, a_key_that_went_takes_its_generation_along)
{
	expect_generations("c", 6, 7, 9);
}

Test(keep, a_new_key_in_an_old_place_has_a_new_generation)
{
	expect_generations("abc", 5, 8, 9);
}
