/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key's directory: what is written is read back, what others put there or broke is told from it,
 * and whatever a crash leaves is a ring to start with.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "ring_dir.h"

#define T0 1700000000ull

static char top[64], dir[96];

static void make_top(void)
{
	strcpy(top, "/tmp/ht-ringdir-XXXXXX");
	cr_assert(mkdtemp(top));
	snprintf(dir, sizeof(dir), "%s/key", top);
}

static void remove_top(void)
{
	char path[512];
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		unlink(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
	rmdir(top);
}

TestSuite(ring_dir, .init = make_top, .fini = remove_top);

static void add(struct ht_ring *r, char c, uint64_t born_s)
{
	uint8_t chance[HT_RING_FRESH_BYTES];
	struct ht_ring_secret s;

	memset(chance, c, sizeof(chance));
	ht_ring_fresh(chance, born_s, &s);
	ht_ring_add(r, &s);
}

static struct ht_ring *some_ring(void)
{
	struct ht_ring *r = ht_ring_new();
	uint8_t chance[HT_RING_FRESH_BYTES] = "next";
	struct ht_ring_secret s;

	cr_assert(r);
	add(r, 'a', T0);
	add(r, 'b', T0 + 10);
	ht_ring_fresh(chance, T0 + 10, &s);
	ht_ring_set_next(r, &s);
	return r;
}

static void save(const struct ht_ring *r)
{
	struct ht_diag d = {0};

	cr_assert_eq(ht_ring_dir_make(dir, &d), 0, "%s", d.text);
	cr_assert_eq(ht_ring_dir_save(dir, r, &d), 0, "%s", d.text);
}

static struct ht_ring *load(void)
{
	struct ht_ring *r = ht_ring_new();
	struct ht_diag d = {0};

	cr_assert_eq(ht_ring_dir_load(dir, r, &d), 0, "%s: %s", d.file, d.text);
	return r;
}

static void put(const char *name, const char *text, mode_t mode)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	fchmod(fd, mode);
	close(fd);
}

static size_t files(void)
{
	size_t n = 0;
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));)
		n += e->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

static void expect_refused(const char *says)
{
	struct ht_ring *r = ht_ring_new();
	struct ht_diag d = {0};

	cr_expect_lt(ht_ring_dir_load(dir, r, &d), 0, "%s", says);
	cr_expect(strstr(d.text, says), "'%s', not '%s'", d.text, says);
	cr_expect_eq(r->n, 0, "nothing is loaded by halves");
	ht_ring_free(r);
}

Test(ring_dir, what_is_written_is_read)
{
	struct ht_ring *r = some_ring(), *back;
	struct stat st;

	save(r);
	cr_expect_eq(files(), 3);
	cr_assert_eq(stat(dir, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0700);
	back = load();
	cr_expect(ht_ring_same(r, back));
	ht_ring_void(r, T0 + 5);
	save(r);
	cr_expect_eq(files(), 3, "one secret less, and what is void");
	ht_ring_free(back);
	back = load();
	cr_expect(ht_ring_same(r, back));
	cr_expect_eq(back->void_before_s, T0 + 5);
	ht_ring_free(back);
	ht_ring_free(r);
}

Test(ring_dir, files_are_private)
{
	struct ht_ring *r = some_ring();
	char path[512];
	struct stat st;
	DIR *d;

	save(r);
	d = opendir(dir);
	for (struct dirent *e; (e = readdir(d));) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		cr_assert_eq(stat(path, &st), 0);
		if (S_ISREG(st.st_mode))
			cr_expect_eq(st.st_mode & 07777, 0600, "%s", e->d_name);
	}
	closedir(d);
	ht_ring_free(r);
}

Test(ring_dir, others_may_bring_secrets)
{
	struct ht_ring *r;

	cr_assert_eq(mkdir(dir, 0700), 0);
	put("0-old.key", "the file until now\n", 0600);
	put("17.key", "by hand\n", 0600);
	put("readme.txt", "x", 0644);
	put("x.key", "x", 0644);
	put("1700000000-half.key.tmp", "x", 0644);
	r = load();
	cr_assert_eq(r->n, 2);
	cr_expect_eq(r->secret[0].born_s, 17);
	cr_expect_eq(r->secret[1].len, 18);
	save(r);
	cr_expect_eq(files(), 5, "renamed, and what is none of ours stays");
	ht_ring_free(r);
	r = load();
	cr_expect_eq(r->n, 2);
	ht_ring_free(r);
}

Test(ring_dir, no_directory)
{
	expect_refused("No such file");
}

Test(ring_dir, a_directory_for_everybody)
{
	cr_assert_eq(mkdir(dir, 0700), 0);
	cr_assert_eq(chmod(dir, 0750), 0);
	expect_refused("chmod 700");
}

Test(ring_dir, a_secret_for_everybody)
{
	cr_assert_eq(mkdir(dir, 0700), 0);
	put("1.key", "good", 0600);
	put("2.key", "seen", 0644);
	expect_refused("chmod 600");
}

Test(ring_dir, broken_files)
{
	static const char *const voids[] = {"", "x\n", "12", "12 \n", "-1\n"};
	char long_one[HT_RING_SECRET_MAX + 2];

	cr_assert_eq(mkdir(dir, 0700), 0);
	put("1.key", "", 0600);
	expect_refused("it is empty");
	memset(long_one, 'x', sizeof(long_one) - 1);
	long_one[sizeof(long_one) - 1] = 0;
	put("1.key", long_one, 0600);
	expect_refused("at most 256");
	put("1.key", "good", 0600);
	for (size_t i = 0; i < HT_ARRAY_SIZE(voids); i++) {
		put("void", voids[i], 0600);
		expect_refused("'void' is not");
	}
}

/* Revoking writes what is void first: with the old files still there, they don't count. */
Test(ring_dir, a_crash_after_void)
{
	struct ht_ring *r = some_ring();

	save(r);
	put("void", "1700000010\n", 0600);
	ht_ring_free(r);
	r = load();
	cr_expect_eq(r->n, 1, "only what was born then or later");
	ht_ring_free(r);
	put("void", "1700000011\n", 0600);
	r = load();
	cr_expect_eq(r->n, 0);
	cr_expect_not(r->has_next);
	ht_ring_free(r);
}

Test(ring_dir, a_crash_while_writing)
{
	struct ht_ring *r = some_ring(), *back;

	cr_assert_eq(mkdir(dir, 0700), 0);
	put(".new", "half a sec", 0600);
	save(r);
	back = load();
	cr_expect(ht_ring_same(r, back));
	ht_ring_free(back);
	ht_ring_free(r);
}

Test(ring_dir, what_can_not_be_written_is_said)
{
	struct ht_ring *r = some_ring();
	struct ht_diag d = {0};

	cr_expect_eq(ht_ring_dir_save(dir, r, &d), -ENOENT);
	cr_expect(strstr(d.text, "No such file"), "%s", d.text);
	cr_expect_eq(ht_ring_dir_make("/nowhere/at/all", &d), -ENOENT);
	/* a directory in the place of a secret's file */
	cr_assert_eq(mkdir(dir, 0700), 0);
	char name[512];
	snprintf(name, sizeof(name), "%s/.new", dir);
	cr_assert_eq(mkdir(name, 0700), 0);
	cr_expect_lt(ht_ring_dir_save(dir, r, &d), 0);
	rmdir(name);
	ht_ring_free(r);
}
