/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key ring: what counts as the secret in a file, which files are refused, what the kernel is
 * told about the memory, and how snapshots share it.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "keyring.h"
#include "mac.h"

static char dir[64];

static const char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void make_dir(void)
{
	strcpy(dir, "/tmp/ht-keyring-XXXXXX");
	cr_assert(mkdtemp(dir));
}

static void remove_dir(void)
{
	unlink(in_dir("k"));
	unlink(in_dir("l"));
	rmdir(dir);
}

TestSuite(keyring, .init = make_dir, .fini = remove_dir);

static void write_file(const char *name, const char *bytes, size_t len, mode_t mode)
{
	int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	cr_assert_eq(fchmod(fd, mode), 0);
	close(fd);
}

/* ---- one secret ---- */

static const struct {
	const char *name;
	struct ht_str file, secret;
} secrets[] = {
	{"no newline", {"abc", 3}, {"abc", 3}},
	{"one newline goes", {"abc\n", 4}, {"abc", 3}},
	{"only one newline goes", {"abc\n\n", 5}, {"abc\n", 4}},
	{"CR stays", {"abc\r\n", 5}, {"abc\r", 4}},
	{"blanks stay", {" abc \n", 6}, {" abc ", 5}},
	{"newline inside stays", {"a\nc", 3}, {"a\nc", 3}},
	{"any byte", {"\0\xff\0", 3}, {"\0\xff\0", 3}},
	{"two newlines are a key", {"\n\n", 2}, {"\n", 1}},
};

Test(keyring, secret_bytes)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(secrets); i++) {
		struct ht_diag d = {0};
		uint8_t *bytes = NULL;
		size_t len = 0;

		write_file("k", secrets[i].file.p, secrets[i].file.len, 0600);
		cr_assert_eq(ht_secret_read(in_dir("k"), &bytes, &len, &d), 0, "%s: %s",
			     secrets[i].name, d.text);
		cr_expect(ht_str_eq((struct ht_str){(char *)bytes, len}, secrets[i].secret), "%s",
			  secrets[i].name);
		ht_secret_free(bytes, len);
	}
}

static void expect_refused(const char *path, const char *says)
{
	struct ht_diag d = {0};
	uint8_t *bytes = NULL;
	size_t len = 0;

	cr_expect_eq(ht_secret_read(path, &bytes, &len, &d), -EINVAL, "%s", says);
	cr_expect(!bytes, "%s", says);
	cr_expect(strstr(d.text, says), "'%s', not '%s'", d.text, says);
	cr_expect_str_eq(d.file, path);
	if (bytes)
		ht_secret_free(bytes, len);
}

Test(keyring, empty_file)
{
	write_file("k", "", 0, 0600);
	expect_refused(in_dir("k"), "it is empty");
	write_file("k", "\n", 1, 0600);
	expect_refused(in_dir("k"), "it is empty");
}

Test(keyring, missing_file)
{
	expect_refused(in_dir("k"), "No such file");
}

Test(keyring, not_a_file)
{
	expect_refused(dir, "not a plain file");
	cr_assert_eq(mkfifo(in_dir("k"), 0600), 0);
	expect_refused(in_dir("k"), "not a plain file");
}

static const struct {
	mode_t mode;
	bool fine;
} modes[] = {
	{0400, true},  {0600, true},  {0640, true},  {0660, true},
	{0604, false}, {0602, false}, {0601, false}, {0644, false},
};

Test(keyring, modes)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(modes); i++) {
		struct ht_diag d = {0};
		uint8_t *bytes;
		size_t len;

		write_file("k", "abc", 3, modes[i].mode);
		if (!modes[i].fine) {
			expect_refused(in_dir("k"), "chmod 600");
		} else {
			cr_assert_eq(ht_secret_read(in_dir("k"), &bytes, &len, &d), 0, "%o: %s",
				     modes[i].mode, d.text);
			ht_secret_free(bytes, len);
		}
	}
}

Test(keyring, lengths)
{
	char big[HT_SECRET_MAX + 2];
	struct ht_diag d = {0};
	uint8_t *bytes;
	size_t len;

	memset(big, 'x', sizeof(big));
	big[HT_SECRET_MAX] = '\n';
	write_file("k", big, HT_SECRET_MAX + 1, 0600);
	cr_assert_eq(ht_secret_read(in_dir("k"), &bytes, &len, &d), 0, "%s", d.text);
	cr_expect_eq(len, HT_SECRET_MAX);
	ht_secret_free(bytes, len);

	big[HT_SECRET_MAX] = 'x';
	write_file("k", big, HT_SECRET_MAX + 1, 0600);
	expect_refused(in_dir("k"), "longer than a key can be");
	write_file("k", big, HT_SECRET_MAX + 2, 0600);
	expect_refused(in_dir("k"), "longer than a key can be");
}

Test(keyring, free_nothing)
{
	ht_secret_free(NULL, 0);
	ht_keyring_unref(NULL);
}

/* ---- the ring ---- */

/* Criterion's children end without asking the leak checker, if there is one. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static void expect_no_leaks(void)
{
	if (__lsan_do_recoverable_leak_check)
		cr_expect_eq(__lsan_do_recoverable_leak_check(), 0, "memory leaks");
}

static char path_k[128], path_l[128];
static struct ht_key_config keys[] = {{.name = "shop", .file = path_k, .line = 3, .col = 7},
				      {.name = "other", .file = path_l, .line = 4, .col = 8}};
static struct ht_config config = {.file = "c.yaml", .keys = keys, .nkeys = 2};

static struct ht_keyring *load(void)
{
	struct ht_keyring *ring = NULL;
	struct ht_diag d = {0};

	write_file("k", "AzaZ5678901234567XYZ34567XYZ\n", 29, 0600);
	write_file("l", "second", 6, 0600);
	strcpy(path_k, in_dir("k"));
	strcpy(path_l, in_dir("l"));
	cr_assert_eq(ht_keyring_load(&config, &ring, &d), 0, "%s", d.text);
	return ring;
}

Test(keyring, load)
{
	struct ht_keyring *ring = load();

	cr_assert_eq(ring->nkeys, 2);
	cr_expect_str_eq(ring->keys[0].name, "shop");
	cr_expect(ring->keys[0].name != keys[0].name, "a snapshot may outlive its configuration");
	cr_assert_eq(ring->keys[0].nsecrets, 1);
	cr_assert_eq(ring->keys[0].secrets[0].len, 28);
	cr_expect(!memcmp(ring->keys[0].secrets[0].bytes, "AzaZ5678901234567XYZ34567XYZ", 28));
	cr_assert_eq(ring->keys[1].secrets[0].len, 6);
	cr_expect(!memcmp(ring->keys[1].secrets[0].bytes, "second", 6));
	ht_keyring_unref(ring);
}

Test(keyring, no_keys_at_all)
{
	struct ht_config none = {.file = "c.yaml"};
	struct ht_keyring *ring = NULL;
	struct ht_diag d;

	cr_assert_eq(ht_keyring_load(&none, &ring, &d), 0);
	cr_expect_eq(ring->nkeys, 0);
	ht_keyring_unref(ring);
}

Test(keyring, mistake_has_its_place)
{
	struct ht_keyring *ring = NULL;
	struct ht_diag d = {0};

	strcpy(path_k, in_dir("k"));
	strcpy(path_l, in_dir("l"));
	write_file("k", "abc", 3, 0600);
	write_file("l", "abc", 3, 0604);
	cr_expect_eq(ht_keyring_load(&config, &ring, &d), -EINVAL);
	cr_expect(!ring);
	cr_expect_str_eq(d.file, "c.yaml");
	cr_expect_eq(d.line, 4);
	cr_expect_eq(d.col, 8);
	cr_expect(strstr(d.text, path_l) && strstr(d.text, "chmod 600"), "%s", d.text);
	cr_expect(!strstr(d.text, "abc"));
	expect_no_leaks();
}

Test(keyring, bump_one_key)
{
	struct ht_keyring *old = load(), *new = NULL;

	cr_assert_eq(ht_keyring_bump(old, 1, &new), 0);
	cr_expect_eq(new->keys[0].gen, old->keys[0].gen);
	cr_expect_eq(new->keys[1].gen, old->keys[1].gen + 1);
	cr_expect_eq(new->global_gen, old->global_gen);
	ht_keyring_unref(new);
	ht_keyring_unref(old);
}

Test(keyring, bump_all)
{
	struct ht_keyring *old = load(), *one = NULL, *two = NULL;

	cr_assert_eq(ht_keyring_bump(old, 0, &one), 0);
	cr_assert_eq(ht_keyring_bump(one, -1, &two), 0);
	cr_expect_eq(two->global_gen, old->global_gen + 1);
	cr_expect_eq(two->keys[0].gen, old->keys[0].gen + 1, "bumps add up");
	cr_expect_eq(two->keys[1].gen, old->keys[1].gen);
	ht_keyring_unref(old);
	ht_keyring_unref(one);
	ht_keyring_unref(two);
	expect_no_leaks();
}

Test(keyring, bump_shares_the_secrets)
{
	struct ht_keyring *old = load(), *new = NULL;
	const uint8_t *bytes = old->keys[0].secrets[0].bytes;

	cr_assert_eq(ht_keyring_bump(old, -1, &new), 0);
	cr_expect_eq(new->keys[0].secrets[0].bytes, bytes);
	ht_keyring_unref(old);
	cr_expect(!memcmp(new->keys[0].secrets[0].bytes, "AzaZ", 4), "outlives the old one");
	cr_expect_str_eq(new->keys[1].name, "other");
	ht_keyring_unref(new);
	expect_no_leaks();
}

/* ---- the memory ---- */

/* The VmFlags of the mapping that holds p, or "" if there is none. */
static const char *mapping_flags(const void *p, char *perms, char *flags, size_t cap)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];
	bool inside = false;

	*flags = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx %4s", &from, &to, perms) == 3)
			inside = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			return snprintf(flags, cap, "%s", line + 8), flags;
		if (!inside)
			*perms = '\0';
	}
	return flags;
}

Test(keyring, memory_is_guarded)
{
	struct ht_keyring *ring = load();
	const uint8_t *bytes = ring->keys[0].secrets[0].bytes;
	char flags[256], perms[8];

	mapping_flags(bytes, perms, flags, sizeof(flags));
	cr_expect(strstr(flags, " dd "), "not in core dumps: %s", flags);
	cr_expect(strstr(flags, " wf "), "wiped in children: %s", flags);
	cr_expect_str_eq(perms, "r--p");
	ht_keyring_unref(ring);
}

/* What signing begins with is as good as the secret. */
Test(keyring, kept_state_is_the_secrets_and_as_guarded)
{
	static const struct ht_str message = {"message", 7};
	struct ht_keyring *ring = load(), *more;

	cr_assert_eq(ht_keyring_bump(ring, -1, &more), 0);
	for (size_t i = 0; i < ring->nkeys; i++) {
		const struct ht_secret *s = ring->keys[i].secrets;
		struct ht_mac_key fresh;
		uint8_t want[32], got[32];
		char flags[256], perms[8];

		cr_assert(s->keyed);
		ht_mac_key_make(s->bytes, s->len, &fresh);
		ht_mac_key_make_id(&fresh);
		ht_mac_sha256(&fresh, &message, 1, want);
		ht_mac_sha256(s->keyed, &message, 1, got);
		cr_expect(!memcmp(want, got, sizeof(got)), "key %zu", i);
		cr_expect(!memcmp(fresh.id, s->keyed->id, sizeof(fresh.id)), "key %zu", i);
		mapping_flags(s->keyed, perms, flags, sizeof(flags));
		cr_expect(strstr(flags, " dd ") && strstr(flags, " wf "), "%s", flags);
		cr_expect_str_eq(perms, "r--p");
		cr_expect_eq(more->keys[i].secrets->keyed, s->keyed, "snapshots share it");
	}
	ht_keyring_unref(more);
	ht_keyring_unref(ring);
}

Test(keyring, children_see_nothing)
{
	struct ht_keyring *ring = load();
	const uint8_t *bytes = ring->keys[0].secrets[0].bytes;
	int status = -1;
	pid_t pid = fork();

	cr_assert(pid >= 0);
	if (!pid)
		_exit(bytes[0] == 0 && bytes[27] == 0 ? 0 : 1);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
	cr_expect_eq(bytes[0], 'A');
	ht_keyring_unref(ring);
}

/* The memory is gone with the last reference, not before. */
Test(keyring, last_one_unmaps)
{
	struct ht_keyring *ring = load(), *more = NULL;
	const uint8_t *bytes = ring->keys[0].secrets[0].bytes;
	char flags[256], perms[8];

	cr_assert_eq(ht_keyring_bump(ring, -1, &more), 0);
	cr_expect_eq(ht_keyring_ref(ring), ring);
	ht_keyring_unref(ring);
	ht_keyring_unref(more);
	cr_expect(*mapping_flags(bytes, perms, flags, sizeof(flags)));
	cr_expect_eq(bytes[0], 'A');
	ht_keyring_unref(ring);
	cr_expect(!strstr(mapping_flags(bytes, perms, flags, sizeof(flags)), " dd "));
}

static void *ref_and_unref(void *arg)
{
	for (int i = 0; i < 20000; i++)
		ht_keyring_unref(ht_keyring_ref(arg));
	return NULL;
}

Test(keyring, references_from_two_threads)
{
	struct ht_keyring *ring = load();
	const uint8_t *bytes = ring->keys[0].secrets[0].bytes;
	char flags[256], perms[8];
	pthread_t t[2];

	for (size_t i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&t[i], NULL, ref_and_unref, ring), 0);
	for (size_t i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	cr_expect_eq(bytes[0], 'A');
	ht_keyring_unref(ring);
	cr_expect(!strstr(mapping_flags(bytes, perms, flags, sizeof(flags)), " dd "));
}
