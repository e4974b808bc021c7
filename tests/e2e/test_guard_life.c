/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard over time: bans that end, restarts and crashes, keys and bindings that are replaced,
 * interfaces that come and go, privileges that are gone.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guard_net.h"

TestSuite(guard_life, .fini = net_close, .timeout = E2E_TIMEOUT);

Test(guard_life, a_ban_ends)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 2s"));
	struct client *c;
	int fd;

	attack(ATTACKER, 0, 5);
	fd = knock(ATTACKER);
	cr_expect(e2e_wait(dropped(gw) > 0));
	cr_expect(e2e_wait(is_through(fd)), "he knocks, and is let in at last");
	close(fd);
	c = come(ATTACKER, NULL);
	expect_served(c, be, ATTACKER);
	client_close(c);
	cr_expect_eq(metric(gw, "hardtack_guard_bans"), 0);
	cr_expect_eq(bans_made(gw), 1);
	gw_stop(gw);
	backend_stop(be);
}

Test(guard_life, a_restart_keeps_them)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	struct text out = {0};
	struct client *c;

	attack(ATTACKER, 0, 5);
	expect_dropped(gw, ATTACKER);
	cr_assert(gw_restart(gw));
	cr_expect(gw_logged(gw, "reused=yes"));
	cr_expect_eq(metric(gw, "hardtack_guard_bans"), 1);
	expect_dropped(gw, ATTACKER);
	/* of another size: they are taken along */
	gw_edit(gw, "per: 10m", "per: 10m, max: 1000");
	cr_assert(gw_restart(gw));
	expect_dropped(gw, ATTACKER);
	/* mode off lets everybody in, and leaves nothing attached */
	gw_edit(gw, "mode: drop", "mode: off");
	cr_assert(gw_restart(gw));
	c = come(ATTACKER, NULL);
	expect_served(c, be, ATTACKER);
	client_close(c);
	text_clear(&out);
	run_command(&out, (const char *const[]){"ip", "link", "show", "dev", "ht0", NULL});
	cr_expect_not(text_has(out.p, out.len, "xdp"), "%s", out.p);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

static int listen_in_its_place(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	cr_assert_eq(inet_pton(AF_INET, HERE, &a.sin_addr), 1);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0, "%s", strerror(errno));
	cr_assert_eq(listen(fd, 8), 0);
	return fd;
}

/* The program goes on without the daemon, and so does the clock. */
Test(guard_life, a_crash_locks_nobody_out_for_longer_than_the_ban)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 4s"));
	int listener, banned, alice, status;
	struct text out = {0};
	int64_t began_ms;

	began_ms = run_now_ms();
	attack(ATTACKER, 0, 5);
	kill(gw->pid, SIGKILL);
	cr_assert_eq(waitpid(gw->pid, &status, 0), gw->pid);
	gw->pid = 0;
	listener = listen_in_its_place();
	run_command(&out, (const char *const[]){"ip", "link", "show", "dev", "ht0", NULL});
	cr_expect(text_has(out.p, out.len, "xdp"), "%s", out.p);
	banned = knock(ATTACKER);
	alice = knock(ALICE);
	cr_expect(e2e_wait(is_through(alice)));
	/* the ban began before the kill: on a machine that stood still it may be over */
	cr_expect(!is_through(banned) || run_now_ms() > began_ms + 4000, "he is still banned");
	cr_expect(e2e_wait(is_through(banned)), "and is not any more");
	close(banned);
	close(alice);
	close(listener);
	text_free(&out);
	cr_assert(gw_restart(gw), "over what the dead one left");
	cr_expect_eq(attack(ATTACKER, 100, 5), 5);
	expect_dropped(gw, ATTACKER);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- keys and bindings that are replaced ---- */

/* With another key the cookies of all who share an address are forged at once: an office, say. */
Test(guard_life, a_replaced_key_bans_nobody)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	struct text out = {0};

	gw_write(gw, "shop.key", "another key, from now on\n", 0600);
	cr_assert_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	cr_expect_eq(attack(ALICE, 0, 30), 30);
	cr_expect_eq(metric(gw, "hardtack_guard_held_total"), 30);
	cr_expect_eq(metric(gw, "hardtack_guard_held_rules"), 1);
	/* a restart makes no difference */
	cr_assert(gw_restart(gw));
	cr_expect_eq(attack(ALICE, 100, 30), 30);
	cr_expect_eq(metric(gw, "hardtack_guard_held_total"), 30);
	/* until it is over, or the operator says so */
	gw_edit(gw, "per: 10m", "per: 10m, hold: 0s");
	cr_assert_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	attack(ATTACKER, 0, 5);
	expect_dropped(gw, ATTACKER);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

Test(guard_life, nor_does_one_that_is_replaced_without_a_daemon)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));

	gw_write(gw, "shop.key", "another key, from now on\n", 0600);
	cr_assert(gw_restart(gw));
	cr_expect_eq(attack(ALICE, 100, 30), 30);
	cr_expect_eq(metric(gw, "hardtack_guard_held_total"), 30);
	gw_stop(gw);
	backend_stop(be);
}

/* Without a daemon from here on. */
static void end_daemon(struct gw *gw)
{
	int status;

	kill(gw->pid, SIGTERM);
	cr_assert_eq(waitpid(gw->pid, &status, 0), gw->pid);
	cr_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	gw->pid = 0;
}

/* One secret of the key's directory, of which there is one. */
static void the_secret(struct gw *gw, char *path, size_t len)
{
	char dir[300];
	struct dirent *e;
	DIR *d;

	snprintf(dir, sizeof(dir), "%s/keys/ring", gw->dir);
	d = opendir(dir);
	cr_assert(d);
	path[0] = 0;
	while ((e = readdir(d))) {
		if (strstr(e->d_name, ".key"))
			snprintf(path, len, "%s/%s", dir, e->d_name);
	}
	closedir(d);
	cr_assert(path[0], "no secret in %s", dir);
}

/* A secret made at that time is put into the directory. */
static void put_secret(struct gw *gw, time_t born, const char *bytes)
{
	char name[100];

	snprintf(name, sizeof(name), "keys/ring/%lld-put.key", (long long)born);
	gw_write(gw, name, bytes, 0600);
}

/* What signed before goes on verifying, as when it happens under the daemon's eyes. */
Test(guard_life, a_rotation_without_a_daemon_holds_nobody)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw =
		gw_start(be, &(struct gw_spec){.plain_extra = LISTEN,
					       .cookies = "[ { name: sid, profile: f5-irule, "
							  "key: ring, bind: [client-ip] } ]",
					       .keys = "  - { name: ring, directory: keys/ring, "
						       "lifetime: 12h }\n",
					       .top = GUARD("ban: 1h")});
	char first[600], earlier[600];
	time_t now = time(NULL);

	be->no_record = true;
	end_daemon(gw);
	the_secret(gw, first, sizeof(first));
	snprintf(earlier, sizeof(earlier), "%s/keys/ring/%lld-first.key", gw->dir,
		 (long long)now - 1000);
	cr_assert_eq(rename(first, earlier), 0, "%s", strerror(errno));
	put_secret(gw, now - 500, "a new secret that signs from now on");
	cr_assert(gw_restart(gw));
	cr_expect_eq(gw_metric(gw, "hardtack_key_secrets", "key=\"ring\"", NULL), 2);
	cr_expect_eq(metric(gw, "hardtack_guard_held_rules"), 0, "rotated");
	end_daemon(gw);
	cr_assert_eq(unlink(earlier), 0);
	cr_assert(gw_restart(gw));
	cr_expect_eq(gw_metric(gw, "hardtack_key_secrets", "key=\"ring\"", NULL), 1);
	cr_expect_eq(metric(gw, "hardtack_guard_held_rules"), 0, "its lifetime was over");
	/* the guard is at it all the time */
	attack(ATTACKER, 0, 5);
	expect_dropped(gw, ATTACKER);
	end_daemon(gw);
	the_secret(gw, first, sizeof(first));
	cr_assert_eq(unlink(first), 0);
	put_secret(gw, now - 400, "another, and nobody knows the one before");
	cr_assert(gw_restart(gw));
	cr_expect_eq(metric(gw, "hardtack_guard_held_rules"), 1, "replaced");
	gw_stop(gw);
	backend_stop(be);
}

/* Whoever was away for longer than a secret lives; of a native token that much is known. */
Test(guard_life, native_tokens_of_a_secret_that_has_ended_are_no_offence)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.plain_extra = LISTEN,
						       .cookies = "[ { name: sid, key: shop } ]",
						       .top = GUARD("ban: 1h")});
	struct client *c = come(ALICE, NULL);
	char line[200];

	be->no_record = true;
	for (int i = 0; i < 30; i++) {
		snprintf(line, sizeof(line),
			 "Cookie: sid=s%d; HTSIG_sid=1.00c0ffee.1700000000.4102444800.s."
			 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n",
			 i);
		cr_expect_eq(client_get(c, "/", line)->status, 200);
	}
	client_close(c);
	cr_expect_eq(gw_verdicts(gw, "expired", "strip"), 30);
	cr_expect_eq(metric(gw, "hardtack_guard_forged_total"), 0);
	/* what is no token is another matter */
	c = come(ATTACKER, NULL);
	for (int i = 0; i < 5; i++) {
		snprintf(line, sizeof(line), "Cookie: sid=s%d; HTSIG_sid=1.00c0ffee.x\r\n", i);
		cr_expect_eq(client_get(c, "/", line)->status, 200);
	}
	client_close(c);
	expect_dropped(gw, ATTACKER);
	gw_stop(gw);
	backend_stop(be);
}

/* With the same key and other bindings they are forged just the same. */
Test(guard_life, another_binding_bans_nobody)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	struct text out = {0};

	gw_edit(gw, "[client-ip]", "[client-ip/24]");
	cr_assert_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	cr_expect_eq(attack(ALICE, 0, 30), 30);
	cr_expect_eq(metric(gw, "hardtack_guard_held_total"), 30);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

/* Whose tokens become others is held before any ring or rule of the new ones is in use. */
Test(guard_life, the_hold_is_there_before_the_new_rules_are)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	struct text out = {0};
	char *log, *rules, *key;

	gw_edit(gw, "[client-ip]", "[client-ip/24]");
	gw_write(gw, "shop.key", "another key, from now on\n", 0600);
	cr_assert_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	log = text_file(gw->stderr_path, NULL);
	cr_assert(log);
	rules = strstr(log, "msg=\"rules make other tokens than before");
	key = strstr(log, "msg=\"a key was replaced");
	cr_expect(rules && key && rules < key, "%s", log);
	cr_expect_eq(metric(gw, "hardtack_guard_held_rules"), 1);
	free(log);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

Test(guard_life, nor_does_one_that_comes_with_a_restart)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));

	gw_edit(gw, "[client-ip]", "[client-ip/24]");
	cr_assert(gw_restart(gw));
	cr_expect_eq(attack(ALICE, 0, 30), 30);
	cr_expect_eq(metric(gw, "hardtack_guard_held_total"), 30);
	/* with everything as before it counts, once the time is over */
	gw_edit(gw, "per: 10m", "per: 10m, hold: 0s");
	cr_assert(gw_restart(gw));
	attack(ATTACKER, 0, 5);
	expect_dropped(gw, ATTACKER);
	gw_stop(gw);
	backend_stop(be);
}

/* Bans of other prefixes are of nobody whom anybody could ask for. */
Test(guard_life, other_prefixes_lift_the_bans_of_before)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	struct client *c;

	attack(ATTACKER, 0, 5);
	expect_dropped(gw, ATTACKER);
	gw_edit(gw, "per: 10m", "per: 10m, ipv4-prefix: 24");
	cr_assert(gw_restart(gw));
	cr_expect(gw_logged(gw, "msg=\"the bans until now are lifted"));
	cr_expect_eq(metric(gw, "hardtack_guard_bans"), 0);
	c = come(ATTACKER, NULL);
	expect_served(c, be, ATTACKER);
	client_close(c);
	/* now all of them are one */
	attack(ATTACKER, 0, 5);
	expect_dropped(gw, ALICE);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- interfaces that come and go ---- */

static void make_pair(void)
{
	net_must("link add ht8 type veth peer name ht9");
	net_must("link set ht8 up");
	net_must("link set ht9 up");
}

static void come_and_go(uint64_t caps, const char *top)
{
	struct backend *be = backend_start(NULL);
	struct gw *gw =
		gw_start(be, &(struct gw_spec){.plain_extra = LISTEN, .caps = caps, .top = top});
	struct text out = {0};

	be->no_record = true;
	cr_expect(gw_logged(gw, "msg=\"no guard on this interface\" interface=ht9"));
	cr_expect(is_up(gw, "ht0"));
	cr_expect_not(is_up(gw, "ht9"));
	cr_expect_eq(gw_ctl(gw, &out, "status", NULL), 0);
	cr_expect(text_has(out.p, out.len, "there is no such interface"), "%s", out.p);
	for (int i = 0; i < 2; i++) {
		make_pair();
		cr_expect(e2e_wait(is_up(gw, "ht9")), "it has come");
		net_must("link del ht8");
		cr_expect(e2e_wait(!is_up(gw, "ht9")), "it has gone");
		cr_expect(gw_logged(gw, "msg=\"a guarded interface is gone\" interface=ht9"));
	}
	attack(ATTACKER, 0, 5);
	expect_dropped(gw, ATTACKER);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

Test(guard_life, an_interface_may_come_later_and_go)
{
	need_net();
	come_and_go(0, "guard: { interface: [ht0, ht9], mode: drop, ban: 1h }\n");
}

#define BIT(cap) (1ULL << (cap))
#define CAPS_OF_A_START                                                                            \
	(BIT(CAP_BPF) | BIT(CAP_NET_ADMIN) | BIT(CAP_PERFMON) | BIT(CAP_SETUID) |                  \
	 BIT(CAP_SETGID) | BIT(CAP_CHOWN))

/* What is attached later is attached by whom the daemon has become, too: by a link of its own. */
Test(guard_life, an_interface_may_come_when_privileges_are_gone)
{
	need_net();
	come_and_go(CAPS_OF_A_START,
		    "user: nobody\nguard: { interface: [ht0, ht9], mode: drop, ban: 1h }\n");
}

/* Bans are made, lifted and listed by whom the daemon has become. */
Test(guard_life, a_user_without_capabilities_bans)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.plain_extra = LISTEN,
						       .caps = CAPS_OF_A_START,
						       .top = "user: nobody\n" GUARD("ban: 1h")});
	struct text out = {0};
	struct client *c;

	be->no_record = true;
	attack(ATTACKER, 0, 5);
	expect_dropped(gw, ATTACKER);
	cr_expect_eq(CTL(gw, &out, "del", ATTACKER), 0, "%s", out.p);
	c = come(ATTACKER, NULL);
	expect_served(c, be, ATTACKER);
	client_close(c);
	cr_expect_eq(CTL(gw, &out, "list"), 0, "%s", out.p);
	cr_assert(gw_restart(gw));
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}
