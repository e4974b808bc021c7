/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that change while people are logged in: nobody notices a rotation, however it comes about,
 * and everybody notices a revocation, with the very next request and for good.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <linux/capability.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "visitor.h"

TestSuite(rotation, .timeout = E2E_TIMEOUT);

#define DIRECTORY "  - { name: ring, directory: keys/ring }\n"

static const struct gw_spec by_directory = {.cookies = VISITOR_RULES, .keys = DIRECTORY};
static const struct gw_spec to_restart = {.cookies = VISITOR_RULES, .keys = DIRECTORY, .own = true};

struct scene {
	struct backend *be;
	struct gw *gw;
	struct client *c;
	struct visitor v;
};

static struct scene scene_open(const struct gw_spec *spec)
{
	struct scene s = {.be = backend_start(visitor_backend)};

	s.be->no_record = true;
	s.gw = gw_start(s.be, spec);
	s.c = client_plain(s.gw);
	cr_assert(visitor_login(&s.v, s.c, "alice"));
	cr_assert(visitor_is_in(&s.v, s.c));
	return s;
}

static void scene_close(struct scene *s)
{
	client_close(s->c);
	gw_stop(s->gw);
	backend_stop(s->be);
}

static void ctl_ok(struct gw *gw, const char *command, const char *key)
{
	struct text out = {0};

	cr_assert_eq(gw_ctl(gw, &out, command, key), 0, "%s %s: %s", command, key, out.p);
	text_free(&out);
}

static double secrets(struct gw *gw)
{
	return gw_metric(gw, "hardtack_key_secrets", "key=\"ring\"", NULL);
}

static double rotations(struct gw *gw)
{
	return gw_metric(gw, "hardtack_key_rotations_total", "key=\"ring\"", NULL);
}

static void restart(struct scene *s)
{
	client_close(s->c);
	cr_assert(gw_restart(s->gw));
	s->c = client_plain(s->gw);
}

/* ---- directories ---- */

Test(rotation, a_directory_is_made_and_outlives_the_daemon)
{
	e2e_need_gate();
	struct scene s = scene_open(&to_restart);
	char path[300];
	struct stat st;

	snprintf(path, sizeof(path), "%s/keys/ring", s.gw->dir);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0700);
	cr_expect(gw_logged(s.gw, "first secret made"));
	restart(&s);
	cr_expect(visitor_is_in(&s.v, s.c), "the secret is another one");
	cr_expect_eq(s.v.renewed, 0);
	cr_expect_eq(secrets(s.gw), 1);
	scene_close(&s);
}

Test(rotation, by_hand_nobody_notices)
{
	e2e_need_gate();
	struct scene s = scene_open(&to_restart);
	struct visitor before = s.v;

	for (int i = 0; i < 3; i++)
		cr_assert(visitor_is_in(&s.v, s.c));
	ctl_ok(s.gw, "rotate", "ring");
	cr_expect(visitor_is_in(&s.v, s.c), "with a token of the old secret");
	cr_expect_eq(s.v.renewed, 3, "a new token under each profile, not %d", s.v.renewed);
	cr_expect(visitor_is_in(&s.v, s.c));
	cr_expect_eq(s.v.renewed, 0, "once is enough");
	for (size_t i = 0; i < s.v.n; i++)
		cr_expect_eq(!strcmp(s.v.cookie[i].value, before.cookie[i].value),
			     !strcmp(s.v.cookie[i].value, "alice"), "%s", s.v.cookie[i].name);
	cr_expect(visitor_is_in(&before, s.c), "somebody who did not get the new ones");
	cr_expect_eq(secrets(s.gw), 2);
	cr_expect_eq(rotations(s.gw), 1);
	cr_expect(gw_logged(s.gw, "key rotated"));
	restart(&s);
	cr_expect(visitor_is_in(&s.v, s.c));
	cr_expect_eq(s.v.renewed, 0, "the new secret signs after a restart");
	cr_expect_eq(secrets(s.gw), 2);
	scene_close(&s);
}

Test(rotation, by_the_clock_nobody_notices)
{
	e2e_need_gate();
	struct gw_spec spec = by_directory;
	struct scene s;
	long visits = 0, in = 0;

	spec.keys = "  - { name: ring, directory: keys/ring, rotate-every: 2s, lifetime: 20s }\n";
	s = scene_open(&spec);
	/* he comes all the time; each time with what he was given the last time */
	cr_expect(e2e_wait((visits++, in += visitor_is_in(&s.v, s.c), rotations(s.gw) >= 3)));
	cr_expect_eq(in, visits, "in %ld of %ld times", in, visits);
	cr_expect_geq(secrets(s.gw), 3);
	scene_close(&s);
}

Test(rotation, what_has_ended_is_void)
{
	e2e_need_gate();
	struct gw_spec spec = by_directory;
	struct scene s;
	struct visitor old;

	spec.keys = "  - { name: ring, directory: keys/ring, lifetime: 1s }\n";
	s = scene_open(&spec);
	old = s.v;
	for (int i = 0; i < 3; i++)
		cr_assert(visitor_is_in(&old, s.c));
	ctl_ok(s.gw, "rotate", "ring");
	cr_assert(e2e_wait(secrets(s.gw) == 1), "the old secret has no end");
	cr_expect(visitor_is_out(&old, s.c));
	cr_expect(gw_logged(s.gw, "its lifetime is over"));
	cr_assert(visitor_login(&s.v, s.c, "alice"));
	cr_expect(visitor_is_in(&s.v, s.c));
	scene_close(&s);
}

Test(rotation, a_secret_that_was_put_there_counts_after_a_reload)
{
	e2e_need_gate();
	struct scene s = scene_open(&by_directory);

	gw_write(s.gw, "keys/ring/4000000000-mine.key", "a secret of our own\n", 0600);
	ctl_ok(s.gw, "reload", NULL);
	cr_expect_eq(secrets(s.gw), 2);
	cr_expect(visitor_is_in(&s.v, s.c));
	cr_expect_eq(s.v.renewed, 3, "the one of ours is newer");
	/* what can't be used refuses the reload, and nothing changes */
	gw_write(s.gw, "keys/ring/4000000001-mine.key", "everybody's\n", 0644);
	cr_expect_neq(gw_ctl(s.gw, NULL, "reload", NULL), 0);
	cr_expect_eq(secrets(s.gw), 2);
	cr_expect(visitor_is_in(&s.v, s.c));
	scene_close(&s);
}

/* Removes what is in it and, unless it is to stay, the directory itself. */
static void empty(struct gw *gw, const char *name, bool stays)
{
	char dir[300], path[600];
	struct dirent *e;
	DIR *d;

	snprintf(dir, sizeof(dir), "%s/%s", gw->dir, name);
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		unlink(path);
	}
	if (d)
		closedir(d);
	if (!stays)
		cr_assert_eq(rmdir(dir), 0);
}

Test(rotation, what_can_not_be_written_changes_nothing)
{
	e2e_need_gate();
	struct scene s = scene_open(&by_directory);
	struct text out = {0};

	empty(s.gw, "keys/ring", false);
	cr_expect_eq(gw_ctl(s.gw, &out, "rotate", "ring"), 1);
	cr_expect(text_has(out.p, out.len, "No such file"), "%s", out.p);
	cr_expect(visitor_is_in(&s.v, s.c));
	cr_expect_eq(s.v.renewed, 0);
	cr_expect_geq(gw_metric(s.gw, "hardtack_key_failures_total", "key=\"ring\"", NULL), 1);
	cr_expect_eq(rotations(s.gw), 0);
	/* an empty one, to begin with, would log everybody out */
	text_clear(&out);
	cr_expect_eq(gw_ctl(s.gw, &out, "reload", NULL), 1);
	cr_expect(text_has(out.p, out.len, "no secret in"), "%s", out.p);
	cr_expect(visitor_is_in(&s.v, s.c));
	text_free(&out);
	scene_close(&s);
}

/* ---- revocation ---- */

Test(rotation, revoked_is_revoked)
{
	e2e_need_gate();
	struct scene s = scene_open(&to_restart);
	struct visitor old = s.v;

	ctl_ok(s.gw, "rotate", "ring");
	cr_assert(visitor_is_in(&s.v, s.c));
	for (int i = 0; i < 3; i++)
		cr_assert(visitor_is_in(&s.v, s.c));
	ctl_ok(s.gw, "revoke", "ring");
	cr_expect(visitor_is_out(&s.v, s.c), "a hit a moment ago");
	cr_expect(visitor_is_out(&old, s.c));
	cr_expect_eq(secrets(s.gw), 1);
	cr_expect_eq(gw_metric(s.gw, "hardtack_key_revocations_total", "key=\"ring\"", NULL), 1);
	restart(&s);
	cr_expect(visitor_is_out(&s.v, s.c), "a restart brings them back");
	cr_assert(visitor_login(&s.v, s.c, "bob"));
	cr_expect(visitor_is_in(&s.v, s.c));
	scene_close(&s);
}

/* Other keys have nothing to do with it. */
Test(rotation, of_one_key_only)
{
	e2e_need_gate();
	struct scene s = scene_open(&(struct gw_spec){
		.cookies = "[ { name: sid, profile: f5-irule, key: ring, bind: [client-ip] },"
			   " { name: nat, key: shop, bind: [client-ip] },"
			   " { name: bc, profile: proxysg, key: two, bind: [client-ip] } ]",
		.keys = DIRECTORY "  - { name: two, directory: keys/two }\n"});

	ctl_ok(s.gw, "revoke", "ring");
	cr_expect_eq(visitor_sessions(&s.v, s.c), 2);
	ctl_ok(s.gw, "revoke", "two");
	cr_expect_eq(visitor_sessions(&s.v, s.c), 1);
	scene_close(&s);
}

static const struct {
	const char *command, *key;
	int status;
	const char *says;
} said[] = {
	{"rotate", "nokey", 1, "no key is named 'nokey'"},
	{"revoke", "nokey", 1, "no key is named 'nokey'"},
	{"rotate", "shop", 1, "shop.key and reload"},
	{"revoke", "shop", 1, "shop.key and reload"},
	{"rotate", NULL, 2, "the name of one key"},
	{"revoke", NULL, 2, "the name of a key, or --cookie"},
};

Test(rotation, what_can_not_be_is_said)
{
	e2e_need_gate();
	struct scene s = scene_open(&by_directory);
	struct text out = {0};

	for (size_t i = 0; i < E2E_ARRAY_SIZE(said); i++) {
		text_clear(&out);
		cr_expect_eq(gw_ctl(s.gw, &out, said[i].command, said[i].key), said[i].status,
			     "%s %s", said[i].command, said[i].key);
		cr_expect(text_has(out.p, out.len, said[i].says), "%s", out.p);
	}
	text_free(&out);
	scene_close(&s);
}

/* Somebody who comes all the time, on a thread of his own. */
struct regular {
	struct gw *gw;
	struct visitor v;
	atomic_bool stop;
	atomic_long visits;
	long refused; /* that were neither in nor out */
	long back;    /* that were in again, once out */
	pthread_t thread;
};

static void *regular_run(void *arg)
{
	struct regular *r = arg;
	struct client *c = client_plain(r->gw);
	bool out = false;

	while (!atomic_load(&r->stop)) {
		struct visitor v =
			r->v; /* with the token that he was given, not with a later one */
		int sessions = visitor_sessions(&v, c);

		r->refused += sessions != 0 && sessions != 3;
		r->back += out && sessions > 0;
		out |= sessions == 0;
		atomic_fetch_add(&r->visits, 1);
	}
	client_close(c);
	return NULL;
}

/*
 * Whoever verified a cookie before the revocation pushes it into the kernel after: with the
 * generation of what it verified with, so that it is worth nothing. Several workers at it.
 */
Test(rotation, no_push_outruns_a_revocation)
{
	e2e_need_gate();
	struct gw_spec spec = by_directory;
	struct regular r[6];
	struct scene s;

	spec.workers = 2;
	s = scene_open(&spec);
	for (int round = 0; round < (run_small() ? 5 : 40); round++) {
		cr_assert(visitor_login(&s.v, s.c, "carol"));
		for (size_t i = 0; i < E2E_ARRAY_SIZE(r); i++) {
			r[i] = (struct regular){.gw = s.gw, .v = s.v};
			cr_assert_eq(pthread_create(&r[i].thread, NULL, regular_run, &r[i]), 0);
		}
		for (size_t i = 0; i < E2E_ARRAY_SIZE(r); i++)
			cr_assert(e2e_wait(atomic_load(&r[i].visits) > 2));
		/* a flush makes everybody a miss: all of them are being verified and pushed */
		ctl_ok(s.gw, "flush", NULL);
		ctl_ok(s.gw, "revoke", "ring");
		for (int i = 0; i < 20; i++) {
			struct visitor v = s.v;

			cr_expect(visitor_is_out(&v, s.c), "round %d, %d", round, i);
		}
		for (size_t i = 0; i < E2E_ARRAY_SIZE(r); i++)
			atomic_store(&r[i].stop, true);
		for (size_t i = 0; i < E2E_ARRAY_SIZE(r); i++) {
			pthread_join(r[i].thread, NULL);
			cr_expect_eq(r[i].refused, 0, "round %d: %ld", round, r[i].refused);
			cr_expect_eq(r[i].back, 0, "round %d: %ld", round, r[i].back);
		}
		for (int i = 0; i < 5; i++) {
			struct visitor v = s.v;

			cr_expect(visitor_is_out(&v, s.c), "round %d, afterwards", round);
		}
	}
	scene_close(&s);
}

/* ---- files ---- */

Test(rotation, another_file_with_a_lifetime)
{
	e2e_need_gate();
	struct scene s = scene_open(
		&(struct gw_spec){.cookies = VISITOR_RULES,
				  .keys = "  - { name: ring, file: shop.key, lifetime: 1h }\n"});
	struct visitor before = s.v, other = s.v; /* who keep what they were given first */

	gw_write(s.gw, "shop.key", "another one\n", 0600);
	ctl_ok(s.gw, "reload", NULL);
	cr_expect_eq(secrets(s.gw), 2);
	cr_expect(visitor_is_in(&s.v, s.c));
	cr_expect_eq(s.v.renewed, 3);
	cr_expect(visitor_is_in(&other, s.c));
	cr_expect_eq(rotations(s.gw), 1);
	ctl_ok(s.gw, "reload", NULL);
	cr_expect_eq(secrets(s.gw), 2);
	cr_expect_eq(rotations(s.gw), 1, "the same file");
	/* as the refusal to revoke says */
	gw_edit(s.gw, "lifetime: 1h", "lifetime: 1s");
	ctl_ok(s.gw, "reload", NULL);
	gw_edit(s.gw, ", lifetime: 1s", "");
	ctl_ok(s.gw, "reload", NULL);
	cr_expect_eq(secrets(s.gw), 1);
	cr_expect(visitor_is_out(&before, s.c));
	cr_expect(visitor_is_in(&s.v, s.c));
	scene_close(&s);
}

Test(rotation, another_file_without_one)
{
	e2e_need_gate();
	struct scene s = scene_open(&(struct gw_spec){
		.cookies = VISITOR_RULES, .keys = "  - { name: ring, file: shop.key }\n"});

	gw_write(s.gw, "shop.key", "another one\n", 0600);
	ctl_ok(s.gw, "reload", NULL);
	cr_expect_eq(secrets(s.gw), 1);
	cr_expect(visitor_is_out(&s.v, s.c));
	scene_close(&s);
}

/* ---- where it shows ---- */

static void expect_unseen(const char *where, const char *p, size_t len, const struct gw *gw)
{
	char dir[300], path[600];
	struct dirent *e;
	int seen = 0;
	DIR *d;

	snprintf(dir, sizeof(dir), "%s/keys/ring", gw->dir);
	d = opendir(dir);
	cr_assert(d);
	while ((e = readdir(d))) {
		char *text;

		if (!strstr(e->d_name, ".key"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		text = text_file(path, NULL);
		cr_assert_eq(strlen(text), 89);
		text[20] = 0; /* a part of it is too much */
		cr_expect_not(p && text_has(p, len, text), "%s shows a secret", where);
		free(text);
		seen++;
	}
	closedir(d);
	cr_expect_eq(seen, 2);
}

Test(rotation, what_shows_are_ids)
{
	e2e_need_gate();
	struct scene s = scene_open(&by_directory);
	const char *argv[] = {run_ctl(), "-s", s.gw->control, "status", "--json", NULL};
	struct text out = {0};
	char *log;
	size_t len;

	ctl_ok(s.gw, "rotate", "ring");
	cr_assert_eq(run_command(&out, argv), 0);
	cr_expect(text_has(out.p, out.len, "\"source\": \"directory\""), "%s", out.p);
	cr_expect(text_has(out.p, out.len, "\"state\": \"signs\""));
	cr_expect(text_has(out.p, out.len, "\"state\": \"verifies\""));
	cr_expect(text_has(out.p, out.len, "\"until\""));
	expect_unseen("status", out.p, out.len, s.gw);
	text_clear(&out);
	cr_assert_eq(gw_admin(s.gw, "/metrics", &out), 200);
	cr_expect(text_has(out.p, out.len, "hardtack_key_age_seconds{key=\"ring\"}"));
	expect_unseen("/metrics", out.p, out.len, s.gw);
	text_clear(&out);
	cr_assert_eq(gw_admin(s.gw, "/", &out), 200);
	expect_unseen("the status page", out.p, out.len, s.gw);
	log = text_file(s.gw->stderr_path, &len);
	expect_unseen("the log", log, len, s.gw);
	free(log);
	text_free(&out);
	scene_close(&s);
}

/* ---- without privileges ---- */

#define BIT(cap) (1ULL << (cap))
#define CAPS                                                                                       \
	(BIT(CAP_BPF) | BIT(CAP_NET_ADMIN) | BIT(CAP_PERFMON) | BIT(CAP_SETUID) |                  \
	 BIT(CAP_SETGID) | BIT(CAP_CHOWN))

/* The directory is whose who rotates it, though it is made while the daemon is still root. */
Test(rotation, as_another_user)
{
	e2e_need_gate();
	e2e_gate_only();
	struct scene s = scene_open(&(struct gw_spec){.cookies = VISITOR_RULES,
						      .keys = DIRECTORY,
						      .caps = CAPS,
						      .top = "user: nobody\n"});
	char path[300];
	struct stat st;

	snprintf(path, sizeof(path), "%s/keys/ring", s.gw->dir);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_uid, 65534);
	cr_expect_eq(st.st_mode & 07777, 0700);
	ctl_ok(s.gw, "rotate", "ring");
	cr_expect(visitor_is_in(&s.v, s.c));
	cr_expect_eq(s.v.renewed, 3);
	restart(&s);
	cr_expect(visitor_is_in(&s.v, s.c));
	cr_expect_eq(s.v.renewed, 0);
	ctl_ok(s.gw, "revoke", "ring");
	cr_expect(visitor_is_out(&s.v, s.c));
	scene_close(&s);
}
