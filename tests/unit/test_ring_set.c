/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rings of a configuration, with the test's own clock and no thread: opened and put into force,
 * rotated when it is due, revoked; and that what was verified with a snapshot of before is told from
 * what is verified after.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <sys/stat.h>

#include "ring_parts.h"

#define T0 1700000000ull

static char top[64], dir[96], file[96];
static struct ht_key_config keys[2];
static struct ht_config config = {.file = "c.yaml", .keys = keys, .nkeys = 2};
static struct ht_ring_set *set;
static struct ht_keyring *ring;

static void set_up(void)
{
	FILE *f;

	strcpy(top, "/tmp/ht-ringset-XXXXXX");
	cr_assert(mkdtemp(top));
	snprintf(dir, sizeof(dir), "%s/a", top);
	snprintf(file, sizeof(file), "%s/b", top);
	f = fopen(file, "w");
	fputs("a file\n", f);
	fchmod(fileno(f), 0600);
	fclose(f);
	keys[0] = (struct ht_key_config){.name = "made",
					 .directory = dir,
					 .prefix = (char *)"",
					 .rotate_every_s = 100,
					 .lifetime_s = 250,
					 .line = 1,
					 .col = 1};
	keys[1] = (struct ht_key_config){.name = "file", .file = file, .line = 2, .col = 1};
	set = ht_ring_set_new();
	cr_assert(set);
}

static void tear_down(void)
{
	char path[512];
	struct dirent *e;
	DIR *d = opendir(dir);

	ht_keyring_unref(ring);
	ht_ring_set_free(set);
	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		unlink(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
	unlink(file);
	rmdir(top);
}

TestSuite(ring_set, .init = set_up, .fini = tear_down);

static void load(uint64_t now_s)
{
	struct ht_keyring *now = NULL;
	struct ht_diag d = {0};

	cr_assert_eq(ht_ring_set_load(set, &config, ring, now_s, &now, &d), 0, "%s", d.text);
	if (ring)
		ht_keyring_follow(now, ring);
	ht_keyring_unref(ring);
	ring = now;
	ht_ring_set_commit(set);
}

/* 1 if something has changed. */
static int tick(uint64_t now_s)
{
	struct ht_keyring *now;
	int changed;

	ht_ring_set_tick(set, now_s);
	changed = ht_ring_set_refresh(set, ring, now_s, &now);
	if (changed != 1)
		return changed;
	ht_keyring_unref(ring);
	ring = now;
	return 1;
}

Test(ring_set, by_the_clock)
{
	char first[HT_SECRET_ID_LEN + 1];

	load(T0);
	cr_assert_eq(ring->keys[0].nsecrets, 1);
	strcpy(first, ring->keys[0].secrets[0].id);
	cr_expect_eq(ht_ring_set_event_s(set, ring, T0), T0 + 100);
	cr_expect_eq(tick(T0 + 99), 0);
	cr_assert_eq(tick(T0 + 100), 1);
	cr_assert_eq(ring->keys[0].nsecrets, 2);
	cr_expect_str_eq(ring->keys[0].secrets[1].id, first);
	cr_expect_eq(ring->keys[0].secrets[1].retire_s, T0 + 350);
	cr_expect_eq(ring->keys[0].gen, 2);
	cr_expect_eq(ring->keys[1].gen, 1, "the other one has nothing to do with it");
	cr_expect_eq(tick(T0 + 100), 0, "once");
	tick(T0 + 200);
	tick(T0 + 300);
	cr_assert_eq(ring->keys[0].nsecrets, 4);
	cr_expect_eq(ht_ring_set_event_s(set, ring, T0 + 300), T0 + 350);
	cr_expect_eq(tick(T0 + 350), 1);
	cr_expect_eq(ring->keys[0].nsecrets, 3, "the first one has ended");
	load(T0 + 351);
	cr_expect_eq(ring->keys[0].nsecrets, 3, "a reload reads the same");
}

Test(ring_set, a_snapshot_of_before_is_told_from_one_of_after)
{
	struct ht_keyring *before;
	char why[256];

	load(T0);
	tick(T0 + 100);
	before = ht_keyring_ref(ring); /* somebody is verifying with it */
	cr_assert_eq(ht_ring_set_revoke(set, "made", T0 + 110, why, sizeof(why)), 0, "%s", why);
	cr_assert_eq(tick(T0 + 110), 1);
	cr_expect_eq(ring->keys[0].nsecrets, 1);
	cr_expect_eq(before->keys[0].nsecrets, 2, "it stays what it was");
	cr_expect_lt(before->keys[0].gen, ring->keys[0].gen, "what it pushes is of yesterday");
	for (size_t i = 0; i < 2; i++)
		cr_expect_str_neq(before->keys[0].secrets[i].id, ring->keys[0].secrets[0].id);
	ht_keyring_unref(before);
	load(T0 + 120);
	cr_expect_eq(ring->keys[0].nsecrets, 1, "the files are gone");
}

Test(ring_set, a_load_without_commit_changes_nothing)
{
	struct ht_keyring *now;
	struct ht_diag d = {0};
	char first[HT_SECRET_ID_LEN + 1];

	load(T0);
	strcpy(first, ring->keys[0].secrets[0].id);
	keys[0].lifetime_s = 1;
	keys[1].file = dir; /* a mistake */
	cr_expect_neq(ht_ring_set_load(set, &config, ring, T0 + 1, &now, &d), 0);
	cr_assert_eq(tick(T0 + 100), 1);
	cr_expect_eq(ring->keys[0].secrets[1].retire_s, T0 + 350, "as it was configured before");
	cr_expect_str_eq(ring->keys[0].secrets[1].id, first);
}

/* So long as it is configured and never longer, and not all nodes at once. */
Test(ring_set, pauses)
{
	cr_expect_eq(ht_ring_pause_ms(5000, 0), 3000);
	cr_expect_eq(ht_ring_pause_ms(5000, UINT16_MAX / 2), 3999);
	cr_expect_eq(ht_ring_pause_ms(5000, UINT16_MAX), 5000);
	cr_expect_eq(ht_ring_pause_ms(100, UINT16_MAX), 100);
	cr_expect_eq(ht_ring_pause_ms(3600000, UINT16_MAX), 3600000);
}

/* What every node knows by now is a matter of time in which the store was there for them. */
Test(ring_set, nothing_settles_while_the_store_is_silent)
{
	struct ht_ring_settings settings = {.poll_every_ms = 100};
	struct ht_ring_entry e = {.settings = &settings};
	const struct ht_fleet_answer next = {.reached = true, .next_id = "next"};
	static const struct {
		unsigned at_ms;
		int err;
		bool reached;
		unsigned since_ms;
	} polls[] = {
		{1000, 0, true, 1000},	   {1100, 0, true, 1000},     {1300, -EAGAIN, true, 1000},
		{1400, -EIO, false, 1000}, {1450, 0, true, 1000},     {1651, 0, true, 1651},
		{1750, 0, true, 1651},	   {1850, -EIO, false, 1651}, {2850, -EIO, false, 1651},
		{2851, 0, true, 2851},
	};

	for (size_t i = 0; i < sizeof(polls) / sizeof(*polls); i++) {
		struct ht_fleet_answer a = next;

		a.reached = polls[i].reached;
		ht_ring_entry_note(&e, "k", polls[i].err, &a, polls[i].at_ms);
		cr_expect_eq(e.next_since_ms, polls[i].since_ms, "at %u", polls[i].at_ms);
	}
	cr_expect_eq(e.held_until_ms, 3151, "nor is what is held let go");
	cr_expect_str_eq(ht_ring_settled_id(&e, 3000), "");
	for (unsigned ms = 2951; ms <= 3151; ms += 100)
		ht_ring_entry_note(&e, "k", 0, &next, ms);
	cr_expect_str_eq(ht_ring_settled_id(&e, 3150), "");
	cr_expect_str_eq(ht_ring_settled_id(&e, 3151), "next");
	cr_expect_str_eq(ht_ring_settled_id(&e, 3352), "", "silence goes on");
}

Test(ring_set, whoever_only_looks_makes_nothing)
{
	struct ht_keyring *now = NULL;
	struct ht_diag d = {0};

	cr_assert_eq(ht_ring_set_look(&config, T0, &now, &d), 0, "%s", d.text);
	cr_expect_eq(now->keys[0].nsecrets, 0);
	cr_expect_eq(now->keys[1].nsecrets, 1);
	cr_expect_neq(access(dir, F_OK), 0);
	ht_keyring_unref(now);
	load(T0);
	cr_assert_eq(ht_ring_set_look(&config, T0, &now, &d), 0, "%s", d.text);
	cr_expect_str_eq(now->keys[0].secrets[0].id, ring->keys[0].secrets[0].id);
	ht_keyring_unref(now);
}

Test(ring_set, by_hand)
{
	char why[256];

	load(T0);
	cr_expect_eq(ht_ring_set_rotate(set, "none", T0, why, sizeof(why)), -ENOENT);
	cr_expect_eq(ht_ring_set_revoke(set, "file", T0, why, sizeof(why)), -ENOENT);
	for (unsigned i = 1; i < 15; i++)
		cr_assert_eq(ht_ring_set_rotate(set, "made", T0 + i, why, sizeof(why)), 0, "%s",
			     why);
	cr_expect_eq(ht_ring_set_rotate(set, "made", T0 + 20, why, sizeof(why)), -EBUSY);
	cr_expect(strstr(why, "revoke the key"), "%s", why);
	cr_assert_eq(tick(T0 + 20), 1);
	cr_expect_eq(ring->keys[0].nsecrets, 15);
}

static bool has(const char *id)
{
	for (size_t i = 0; i < ring->keys[0].nsecrets; i++) {
		if (!strcmp(ring->keys[0].secrets[i].id, id))
			return true;
	}
	return false;
}

/* Where nothing can be removed or renamed, whoever we are. */
static void block_void(bool block)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/.new", dir);
	cr_assert_eq(block ? mkdir(path, 0700) : rmdir(path), 0, "%s", strerror(errno));
}

/* The directory still has what was revoked: reading it again does not bring it back. */
Test(ring_set, a_revocation_that_could_not_be_saved_outlives_a_reload)
{
	char first[HT_SECRET_ID_LEN + 1], fresh[HT_SECRET_ID_LEN + 1], why[256];
	uint64_t event_s;

	load(T0);
	strcpy(first, ring->keys[0].secrets[0].id);
	block_void(true);
	cr_assert_eq(ht_ring_set_revoke(set, "made", T0 + 1, why, sizeof(why)), 0);
	cr_expect(strstr(why, "a restart brings"), "%s", why);
	cr_assert_eq(tick(T0 + 1), 1);
	strcpy(fresh, ring->keys[0].secrets[0].id);
	load(T0 + 2);
	cr_expect_not(has(first));
	cr_expect_str_eq(ring->keys[0].secrets[0].id, fresh);
	cr_expect_eq(tick(T0 + 3), 0);
	event_s = ht_ring_set_event_s(set, ring, T0 + 3);
	cr_expect(event_s > T0 + 3 && event_s <= T0 + 30, "it is tried again");
	block_void(false);
	tick(event_s);
	cr_expect_eq(ht_ring_set_event_s(set, ring, event_s), T0 + 101, "and saved");
	ht_ring_set_free(set);
	ht_keyring_unref(ring);
	ring = NULL;
	set = ht_ring_set_new();
	load(T0 + 30); /* a restart */
	cr_expect_not(has(first));
	cr_expect(has(fresh));
}

Test(ring_set, a_revocation_while_a_configuration_is_loaded)
{
	char first[HT_SECRET_ID_LEN + 1], why[256];
	struct ht_keyring *now = NULL;
	struct ht_diag d = {0};

	load(T0);
	strcpy(first, ring->keys[0].secrets[0].id);
	cr_assert_eq(ht_ring_set_load(set, &config, ring, T0 + 1, &now, &d), 0, "%s", d.text);
	cr_assert_eq(ht_ring_set_revoke(set, "made", T0 + 1, why, sizeof(why)), 0, "%s", why);
	ht_ring_set_commit(set);
	ht_keyring_unref(ring);
	ring = now;
	cr_expect(has(first), "it was loaded before");
	cr_assert_eq(tick(T0 + 1), 1);
	cr_expect_not(has(first));
}

/* Another directory is another key, whatever was revoked in the one before. */
Test(ring_set, a_revocation_stays_with_its_directory)
{
	char first[HT_SECRET_ID_LEN + 1], other[96], why[256];
	struct ht_ring_set *of_other = ht_ring_set_new();
	struct ht_keyring *now = NULL;
	struct ht_diag d = {0};
	char path[512];

	snprintf(other, sizeof(other), "%s/other", top);
	keys[0].directory = other;
	cr_assert_eq(ht_ring_set_load(of_other, &config, NULL, T0, &now, &d), 0, "%s", d.text);
	strcpy(first, now->keys[0].secrets[0].id);
	ht_keyring_unref(now);
	ht_ring_set_free(of_other);
	keys[0].directory = dir;
	load(T0);
	cr_assert_eq(ht_ring_set_revoke(set, "made", T0 + 10, why, sizeof(why)), 0, "%s", why);
	tick(T0 + 10);
	keys[0].directory = other;
	load(T0 + 20);
	cr_expect(has(first));
	cr_expect_eq(tick(T0 + 20), 0);
	cr_expect(has(first), "in the ring as well as in what was made of it");
	snprintf(path, sizeof(path), "rm -r %s", other);
	cr_expect_eq(system(path), 0);
}

/* What somebody put there between two reloads is not swept away with what has ended. */
Test(ring_set, what_was_put_there_outlives_what_has_ended)
{
	char path[160], why[256];
	FILE *f;

	keys[0].rotate_every_s = 0;
	load(T0);
	cr_assert_eq(ht_ring_set_rotate(set, "made", T0 + 10, why, sizeof(why)), 0, "%s", why);
	tick(T0 + 10);
	snprintf(path, sizeof(path), "%s/%llu-mine.key", dir, T0 + 200);
	f = fopen(path, "w");
	cr_assert(f);
	fputs("brought from elsewhere\n", f);
	fchmod(fileno(f), 0600);
	fclose(f);
	cr_expect_eq(tick(T0 + 260), 1);
	load(T0 + 261);
	cr_expect_eq(ring->keys[0].nsecrets, 2);
	cr_expect_eq(ring->keys[0].secrets[0].born_s, T0 + 200);
}
