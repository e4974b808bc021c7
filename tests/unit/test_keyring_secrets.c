/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of several secrets: how they come into a snapshot and out of it, which generations that
 * costs, and what a key file's old secret is worth after a reload.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "keyring.h"
#include "mac.h"

#define T0 1700000000ull

static char dir[64], path_k[128], path_l[128];
static struct ht_key_config keys[2];
static struct ht_config config = {.file = "c.yaml", .keys = keys, .nkeys = 2};

static void write_key(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void set_up(void)
{
	strcpy(dir, "/tmp/ht-secrets-XXXXXX");
	cr_assert(mkdtemp(dir));
	snprintf(path_k, sizeof(path_k), "%s/k", dir);
	snprintf(path_l, sizeof(path_l), "%s/l", dir);
	keys[0] = (struct ht_key_config){.name = "shop", .file = path_k, .line = 1, .col = 1};
	keys[1] = (struct ht_key_config){.name = "other", .file = path_l, .line = 2, .col = 1};
	write_key(path_k, "one");
	write_key(path_l, "alone");
}

static void tear_down(void)
{
	unlink(path_k);
	unlink(path_l);
	rmdir(dir);
}

TestSuite(keyring_secrets, .init = set_up, .fini = tear_down);

static struct ht_keyring *make(const struct ht_key_source *given, const struct ht_keyring *before,
			       uint64_t now_s)
{
	struct ht_keyring *ring = NULL;
	struct ht_diag d = {0};

	cr_assert_eq(ht_keyring_make(&config, given, before, now_s, &ring, &d), 0, "%s", d.text);
	if (before)
		ht_keyring_follow(ring, before);
	return ring;
}

/* "two,one": the secrets of a key in their order. */
static void expect(const struct ht_key *key, const char *want)
{
	char got[256] = "";

	for (size_t i = 0; i < key->nsecrets; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%.*s", i ? "," : "",
			 (int)key->secrets[i].len, (const char *)key->secrets[i].bytes);
	cr_expect_str_eq(got, want);
}

static struct ht_key_source source(const char *const *texts, size_t n)
{
	struct ht_key_source s = {.given = true, .n = n};

	for (size_t i = 0; i < n; i++)
		s.secret[i] = (struct ht_secret_source){.bytes = (const uint8_t *)texts[i],
							.len = strlen(texts[i]),
							.born_s = T0 - i,
							.retire_s = i ? T0 + 100 * i : 0};
	return s;
}

Test(keyring_secrets, given_ones_are_not_read)
{
	static const char *const texts[] = {"new", "old", "older"};
	struct ht_key_source given[2] = {source(texts, 3), {0}};
	struct ht_keyring *ring;

	unlink(path_k);
	ring = make(given, NULL, T0);
	expect(&ring->keys[0], "new,old,older");
	expect(&ring->keys[1], "alone");
	cr_expect_eq(ring->keys[0].secrets[2].retire_s, T0 + 200);
	cr_expect_eq(ring->keys[0].secrets[1].born_s, T0 - 1);
	cr_expect_neq(ring->keys[1].secrets[0].born_s, 0, "of a file: when it was written");
	ht_keyring_unref(ring);
}

Test(keyring_secrets, a_key_may_have_none)
{
	struct ht_key_source given[2] = {{.given = true}, {0}};
	struct ht_keyring *ring = make(given, NULL, T0);

	cr_expect_eq(ring->keys[0].nsecrets, 0);
	cr_expect_str_eq(ring->keys[0].name, "shop");
	ht_keyring_unref(ring);
}

/* The same on every node, and nothing of the secret. */
Test(keyring_secrets, ids)
{
	static const char *const texts[] = {"new", "old"};
	struct ht_key_source given[2] = {source(texts, 2), source(texts + 1, 1)};
	struct ht_keyring *ring = make(given, NULL, T0);
	const struct ht_secret *s = ring->keys[0].secrets;
	char id[HT_SECRET_ID_LEN + 1];

	/* printf 'hardtack secret id' | openssl dgst -sha256 -hmac new | cut -c1-16 */
	cr_expect_str_eq(s[0].id, "b23d64d5939c10ef", "%s", s[0].id);
	cr_expect_str_neq(s[0].id, s[1].id);
	cr_expect_str_eq(s[1].id, ring->keys[1].secrets[0].id);
	ht_secret_name((const uint8_t *)"new", 3, id);
	cr_expect_str_eq(s[0].id, id);
	cr_expect_neq(strncmp(s[0].id, s[0].keyed->id, HT_KEY_ID_LEN), 0, "a label of its own");
	ht_keyring_unref(ring);
}

Test(keyring_secrets, replace_bumps_that_key_only)
{
	static const char *const texts[] = {"two", "one"};
	const struct ht_key_source with = source(texts, 2);
	struct ht_keyring *old = make(NULL, NULL, T0), *new, *flushed;

	cr_assert_eq(ht_keyring_bump(old, -1, &flushed), 0);
	cr_assert_eq(ht_keyring_replace(flushed, 0, &with, &new), 0);
	expect(&new->keys[0], "two,one");
	expect(&new->keys[1], "alone");
	cr_expect_eq(new->keys[0].gen, old->keys[0].gen + 1);
	cr_expect_eq(new->keys[1].gen, old->keys[1].gen);
	cr_expect_eq(new->global_gen, flushed->global_gen);
	ht_keyring_unref(old);
	ht_keyring_unref(flushed);
	expect(&new->keys[1], "alone");
	ht_keyring_unref(new);
}

Test(keyring_secrets, whatever_differs_is_another_generation)
{
	static const char *const ab[] = {"a", "b"}, *const ba[] = {"b", "a"}, *const a[] = {"a"},
				 *const abc[] = {"a", "b", "c"};
	const struct {
		const char *name;
		struct ht_key_source source;
		bool same;
	} rows[] = {
		{"the same", source(ab, 2), true},
		{"another signs", source(ba, 2), false},
		{"one less", source(a, 1), false},
		{"one more", source(abc, 3), false},
	};
	struct ht_key_source given[2] = {source(ab, 2), {0}};
	struct ht_keyring *before = make(given, NULL, T0);

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		struct ht_keyring *ring;

		given[0] = rows[i].source;
		cr_expect_eq(ht_key_is(&before->keys[0], &given[0]), rows[i].same, "%s",
			     rows[i].name);
		ring = make(given, before, T0);
		cr_expect_eq(ring->keys[0].gen == before->keys[0].gen, rows[i].same, "%s",
			     rows[i].name);
		cr_expect_eq(ring->keys[1].gen, before->keys[1].gen, "%s", rows[i].name);
		ht_keyring_unref(ring);
	}
	given[0] = source(ab, 2);
	given[0].secret[1].early = true;
	cr_expect_not(ht_key_is(&before->keys[0], &given[0]), "it is to come");
	ht_keyring_unref(before);
}

/* What a restart knows of them: a print of all, not of the first. */
Test(keyring_secrets, prints)
{
	static const char *const ab[] = {"a", "b"}, *const ba[] = {"b", "a"}, *const a[] = {"a"},
				 *const one[] = {"ab"};
	const struct ht_key_source sources[] = {source(ab, 2), source(ba, 2), source(a, 1),
						source(one, 1)};
	static const uint8_t salt[HT_PRINT_LEN] = "salt";
	uint8_t print[4][HT_PRINT_LEN];

	for (size_t i = 0; i < 4; i++) {
		struct ht_key_source given[2] = {sources[i], {0}};
		struct ht_keyring *ring = make(given, NULL, T0);

		cr_assert_eq(ht_keyring_print(&ring->keys[0], salt, print[i]), 0);
		for (size_t j = 0; j < i; j++)
			cr_expect(memcmp(print[i], print[j], HT_PRINT_LEN), "%zu %zu", i, j);
		ht_keyring_unref(ring);
	}
}

Test(keyring_secrets, live)
{
	static const char *const texts[] = {"new", "old", "older"};
	struct ht_key_source given[2] = {source(texts, 3), {0}}, live;
	struct ht_keyring *ring = make(given, NULL, T0);

	given[0].secret[1].retire_s = T0 + 200;
	ht_key_live(&ring->keys[0], T0 + 99, &live);
	cr_expect_eq(live.n, 3);
	ht_key_live(&ring->keys[0], T0 + 100, &live);
	cr_assert_eq(live.n, 2);
	cr_expect_eq(live.secret[1].retire_s, T0 + 200);
	ht_key_live(&ring->keys[0], T0 + 1000, &live);
	cr_expect_eq(live.n, 1);
	cr_expect(!memcmp(live.secret[0].bytes, "new", 3));
	ht_keyring_unref(ring);
}

/* ---- a file that changes ---- */

Test(keyring_secrets, another_file_without_a_lifetime_is_another_key)
{
	struct ht_keyring *before = make(NULL, NULL, T0), *ring;

	write_key(path_k, "two");
	ring = make(NULL, before, T0);
	expect(&ring->keys[0], "two");
	cr_expect_eq(ring->keys[0].gen, before->keys[0].gen + 1);
	ht_keyring_unref(before);
	ht_keyring_unref(ring);
}

Test(keyring_secrets, another_file_with_a_lifetime)
{
	struct ht_keyring *before = make(NULL, NULL, T0), *ring, *next;

	keys[0].lifetime_s = 100;
	write_key(path_k, "two");
	ring = make(NULL, before, T0);
	expect(&ring->keys[0], "two,one");
	cr_expect_eq(ring->keys[0].secrets[0].retire_s, 0);
	cr_expect_eq(ring->keys[0].secrets[1].retire_s, T0 + 100);

	next = make(NULL, ring, T0 + 50); /* nothing has changed */
	expect(&next->keys[0], "two,one");
	cr_expect_eq(next->keys[0].secrets[1].retire_s, T0 + 100, "a reload does not prolong it");
	cr_expect_eq(next->keys[0].gen, ring->keys[0].gen);
	ht_keyring_unref(next);

	write_key(path_k, "three");
	next = make(NULL, ring, T0 + 60);
	expect(&next->keys[0], "three,two,one");
	cr_expect_eq(next->keys[0].secrets[1].retire_s, T0 + 160);
	cr_expect_eq(next->keys[0].secrets[2].retire_s, T0 + 100);
	ht_keyring_unref(ring);
	ht_keyring_unref(before);

	ring = make(NULL, next, T0 + 100);
	expect(&ring->keys[0], "three,two");
	cr_expect_eq(ring->keys[0].gen, next->keys[0].gen + 1, "what it had signed is void now");
	ht_keyring_unref(next);
	ht_keyring_unref(ring);
}

Test(keyring_secrets, the_old_file_comes_back)
{
	struct ht_keyring *before = make(NULL, NULL, T0), *ring, *next;

	keys[0].lifetime_s = 100;
	write_key(path_k, "two");
	ring = make(NULL, before, T0);
	write_key(path_k, "one");
	next = make(NULL, ring, T0 + 10);
	expect(&next->keys[0], "one,two");
	cr_expect_eq(next->keys[0].secrets[0].retire_s, 0);
	cr_expect_eq(next->keys[0].secrets[1].retire_s, T0 + 110);
	ht_keyring_unref(before);
	ht_keyring_unref(ring);
	ht_keyring_unref(next);
}

Test(keyring_secrets, a_lifetime_taken_out_ends_it)
{
	struct ht_keyring *before = make(NULL, NULL, T0), *ring, *next;

	keys[0].lifetime_s = 100;
	write_key(path_k, "two");
	ring = make(NULL, before, T0);
	keys[0].lifetime_s = 0;
	next = make(NULL, ring, T0 + 10);
	expect(&next->keys[0], "two");
	cr_expect_eq(next->keys[0].gen, ring->keys[0].gen + 1);
	ht_keyring_unref(before);
	ht_keyring_unref(ring);
	ht_keyring_unref(next);
}

Test(keyring_secrets, another_key_in_its_place_inherits_nothing)
{
	struct ht_keyring *before = make(NULL, NULL, T0), *ring;

	keys[0].lifetime_s = 100;
	keys[0].name = (char *)"shop2";
	write_key(path_k, "two");
	ring = make(NULL, before, T0);
	expect(&ring->keys[0], "two");
	ht_keyring_unref(before);
	ht_keyring_unref(ring);
}

Test(keyring_secrets, memory)
{
	uint8_t *p = ht_secret_memory(100);

	cr_assert(p);
	for (size_t i = 0; i < 100; i++)
		cr_assert_eq(p[i], 0);
	memset(p, 'x', 100);
	ht_secret_memory_free(p, 100);
	ht_secret_memory_free(NULL, 100);
}
