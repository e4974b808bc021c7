/* SPDX-License-Identifier: Apache-2.0 */
/* Who keeps forging is dropped, and nobody else is. test_guard_life.c has what time changes. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guard_net.h"

TestSuite(guard, .fini = net_close, .timeout = E2E_TIMEOUT);

static void one_attacker(const char *attacker, const char *alice)
{
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	struct client *open = come(alice, NULL);
	int64_t began_ms;

	for (int i = 0; i < 20; i++)
		expect_served(open, be, alice);
	began_ms = run_now_ms();
	cr_expect_eq(attack(attacker, 0, 5), 5, "whoever is not banned yet is answered");
	cr_expect_eq(bans_made(gw), 1);
	expect_dropped(gw, attacker);
	/* a number for people: it says as much about the machine */
	printf("guard: dropped %lld ms after the first forged cookie, the fifth being the last one "
	       "that was looked at\n",
	       (long long)(run_now_ms() - began_ms));
	for (int i = 0; i < 100; i++) {
		struct client *fresh = i % 10 ? NULL : come(alice, NULL);

		expect_served(open, be, alice);
		if (fresh)
			expect_served(fresh, be, alice);
		client_close(fresh);
	}
	client_close(open);
	cr_expect_eq(metric(gw, "hardtack_guard_forged_total"), 5);
	cr_expect_eq(metric(gw, "hardtack_guard_bans"), 1);
	cr_expect(gw_logged(gw, "msg=\"source banned\""));
	cr_expect(gw_logged(gw, "interface=ht0 xdp=native"));
	gw_stop(gw);
	backend_stop(be);
}

Test(guard, an_attacker_is_dropped_and_his_neighbour_loses_nothing)
{
	need_net();
	one_attacker(ATTACKER, ALICE);
}

Test(guard, over_ipv6_too)
{
	need_net();
	one_attacker(ATTACKER6, ALICE6);
}

Test(guard, an_ipv6_prefix_is_one_source)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	struct client *c;

	attack(ATTACKER6, 0, 3);
	attack(ACCOMPLICE6, 3, 2);
	expect_dropped(gw, ATTACKER6);
	expect_dropped(gw, ACCOMPLICE6);
	c = come(ALICE6, NULL);
	expect_served(c, be, ALICE6);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* One connection that he keeps: it is told to close, and its packets go nowhere. */
Test(guard, on_one_connection_too)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	struct client *c = come(ATTACKER, NULL);
	struct response *r = NULL;

	for (unsigned i = 0; i < 5; i++) {
		r = client_get(c, "/", forged(i));
		cr_assert_eq(r->status, 200);
	}
	cr_expect_str_eq(response_field(r, "Connection", 0), "close");
	expect_dropped(gw, ATTACKER);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(guard, report_drops_nothing)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw =
		guard_start(be, "guard: { interface: [ht0], ban: 1h }\n"); /* report by default */

	cr_expect_eq(attack(ATTACKER, 0, 40), 40);
	cr_expect_eq(gw_metric(gw, "hardtack_guard_bans_total", "mode=\"report\"", NULL), 1);
	cr_expect_eq(gw_metric(gw, "hardtack_guard_bans_total", "mode=\"drop\"", NULL), 0);
	cr_expect_gt(metric(gw, "hardtack_guard_would_drop_total"), 35);
	cr_expect_gt(gw_metric(gw, "hardtack_guard_refused_total", "mode=\"report\"", NULL), 35);
	cr_expect_eq(gw_metric(gw, "hardtack_guard_refused_total", "mode=\"drop\"", NULL), 0);
	cr_expect_eq(dropped(gw), 0);
	cr_expect(gw_logged(gw, "msg=\"source would be banned\""));
	gw_stop(gw);
	backend_stop(be);
}

/* A browser with a stale cookie: six connections, sixty objects. */
Test(guard, a_page_of_sixty_objects_with_one_stale_cookie_is_no_attack)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	struct client *c[6];

	for (int i = 0; i < 6; i++)
		c[i] = come(ALICE, NULL);
	for (int i = 0; i < 60; i++)
		cr_expect_eq(client_get(c[i % 6], "/object", forged(1))->status, 200);
	for (int i = 0; i < 6; i++)
		client_close(c[i]);
	cr_expect_eq(metric(gw, "hardtack_guard_forged_total"), 60);
	cr_expect_eq(bans_made(gw), 0);
	c[0] = come(ALICE, NULL);
	expect_served(c[0], be, ALICE);
	client_close(c[0]);
	gw_stop(gw);
	backend_stop(be);
}

/* A phone that has moved to another address, and all cookies of a site with it. */
Test(guard, many_stale_cookies_of_one_request_are_one)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct text fields = {0};
	struct client *c;
	struct gw *gw = gw_start(be,
				 &(struct gw_spec){.plain_extra = LISTEN,
						   .cookies = "[ { all: true, profile: proxysg, "
							      "key: shop, bind: [client-ip] } ]",
						   .top = GUARD("ban: 1h")});

	text_addf(&fields, "Cookie: a=1; BCSIG_a=x");
	for (int i = 0; i < 7; i++)
		text_addf(&fields, "; b%d=1; BCSIG_b%d=x", i, i);
	text_addf(&fields, "\r\n");
	c = come(ALICE, NULL);
	for (int i = 0; i < 10; i++)
		cr_expect_eq(client_get(c, "/object", fields.p)->status, 200);
	cr_expect_eq(gw_verdicts(gw, "forged", "strip"), 80);
	cr_expect_eq(metric(gw, "hardtack_guard_forged_total"), 10);
	cr_expect_eq(bans_made(gw), 0);
	client_close(c);
	text_free(&fields);
	gw_stop(gw);
	backend_stop(be);
}

Test(guard, only_forged_ones_of_rules_that_enforce_are_scored)
{
	need_net();
	struct backend *be = backend_start(NULL);
	char future[64], line[512];
	struct client *c;
	struct gw *gw;

	be->no_record = true;
	snprintf(future, sizeof(future), "%d-01-01", 2100);
	snprintf(line, sizeof(line),
		 "[ { name: sid, profile: f5-irule, key: shop, bind: [client-ip] }, "
		 "{ name: seen, profile: f5-irule, key: shop, bind: [client-ip], mode: report }, "
		 "{ name: soon, profile: f5-irule, key: shop, bind: [client-ip], enforce-after: %s "
		 "} "
		 "]",
		 future);
	gw = gw_start(be, &(struct gw_spec){
				  .plain_extra = LISTEN, .cookies = line, .top = GUARD("ban: 1h")});
	c = come(ALICE, NULL);
	for (int i = 0; i < 20; i++) {
		const char *const fields[] = {"Cookie: sid=missing%d\r\n",
					      "Cookie: seen=report%d; seen_HMAC=x\r\n",
					      "Cookie: soon=early%d; soon_HMAC=x\r\n",
					      "Cookie: sid=twice%d; sid=other; sid_HMAC=x\r\n"};

		for (size_t k = 0; k < E2E_ARRAY_SIZE(fields); k++) {
			snprintf(line, sizeof(line), fields[k], i);
			cr_expect_eq(client_get(c, "/", line)->status, 200);
		}
	}
	cr_expect_eq(gw_verdicts(gw, "forged", "report"), 20);
	cr_expect_eq(gw_verdicts(gw, "forged", "strip"), 20, "what comes before enforce-after");
	cr_expect_eq(gw_verdicts(gw, "duplicate", "strip"), 20);
	cr_expect_eq(metric(gw, "hardtack_guard_forged_total"), 0);
	cr_expect_eq(bans_made(gw), 0);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* The kernel knows the session and one token of it: what it cuts by itself counts as well. */
Test(guard, what_the_kernel_cuts_counts)
{
	e2e_gate_only();
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	struct client *c = come(ATTACKER, NULL);
	char line[160];

	for (int i = 0; i < 2; i++)
		expect_served(c, be, ATTACKER);
	for (int i = 0; i < 5; i++) {
		snprintf(line, sizeof(line),
			 "Cookie: sid=mine; "
			 "sid_HMAC=AAAA%dAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n",
			 i);
		cr_expect_eq(client_get(c, "/", line)->status, 200);
	}
	cr_expect_eq(gw_metric(gw, "hardtack_verdicts_total", "where=\"kernel\"",
			       "verdict=\"forged\"", NULL),
		     5);
	cr_expect_eq(metric(gw, "hardtack_guard_forged_total"), 5);
	expect_dropped(gw, ATTACKER);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- whom it does not touch ---- */

Test(guard, the_allow_list_is_neither_scored_nor_dropped)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be,
				    GUARD("ban: 1h, allow: [" ATTACKER ", \"" ACCOMPLICE6 "\"]"));
	struct text out = {0};
	struct client *c;

	cr_expect_eq(attack(ATTACKER, 0, 30), 30);
	cr_expect_eq(attack(ACCOMPLICE6, 0, 30), 30);
	cr_expect_eq(metric(gw, "hardtack_guard_spared_total"), 60);
	cr_expect_eq(bans_made(gw), 0);
	cr_expect_eq(CTL(gw, &out, "add", ATTACKER), 1);
	cr_expect(text_has(out.p, out.len, "never banned"), "%s", out.p);
	/* his prefix is banned, he is not */
	cr_expect_eq(CTL(gw, &out, "add", ATTACKER6), 0, "%s", out.p);
	expect_dropped(gw, ATTACKER6);
	c = come(ACCOMPLICE6, NULL);
	expect_served(c, be, ACCOMPLICE6);
	client_close(c);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

/* Another service of this machine is none of the guard's business. */
Test(guard, only_our_ports_are_closed_to_him)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(9999)};
	int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct client *c;

	cr_assert_eq(bind(other, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(listen(other, 8), 0);
	attack(ATTACKER, 0, 5);
	expect_dropped(gw, ATTACKER);
	netns_enter(net_there);
	c = client_open(&(struct client_options){.from = ATTACKER, .to = HERE, .port = 9999});
	netns_enter(net_here);
	client_close(c);
	close(other);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- where the kernel can't drop him ---- */

/* Without an interface the daemon turns him away, also on connections that he has already. */
Test(guard, without_an_interface_he_is_refused_at_accept)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, "guard: { mode: drop, forged: 5, ban: 1h }\n");
	struct client *open = come(ATTACKER, NULL), *alice = come(ALICE, NULL), *c;

	cr_expect_eq(client_get(open, "/", "")->status, 200);
	cr_expect_eq(attack(ATTACKER, 0, 5), 5);
	client_sendf(open, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	cr_expect_eq(client_read(open)->status, 0, "the connection that he has");
	cr_expect_eq(gw_metric(gw, "hardtack_guard_refused_total", "mode=\"drop\"", NULL), 1);
	c = come_again(ATTACKER, NULL);
	cr_expect(!c || !client_get(c, "/", "")->status, "and a new one");
	client_close(c);
	cr_expect_eq(gw_metric(gw, "hardtack_guard_refused_total", "mode=\"drop\"", NULL), 2);
	cr_expect_eq(dropped(gw), 0);
	expect_served(alice, be, ALICE);
	client_close(alice);
	client_close(open);
	gw_stop(gw);
	backend_stop(be);
}

static const char *header_of(const char *client)
{
	static char line[128];

	snprintf(line, sizeof(line), "PROXY TCP4 %s 192.0.2.1 40000 443\r\n", client);
	return line;
}

/* The balancer's packets must come through: its clients are refused once it has said who they are. */
Test(guard, behind_the_proxy_protocol_he_is_refused_before_tls)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw;
	struct client *c;

	be->no_record = true;
	gw = gw_start(be,
		      &(struct gw_spec){.plain_extra = "  - address: " HERE ":8080\n"
						       "    proxy-protocol: accept\n",
					.top = GUARD("ban: 1h") "trusted-proxies: [" ALICE "]\n"});
	for (unsigned i = 0; i < 5; i++) {
		c = come(ALICE, header_of("203.0.113.66"));
		cr_expect_eq(client_get(c, "/", forged(i))->status, 200);
		client_close(c);
	}
	cr_expect_eq(bans_made(gw), 1);
	c = come(ALICE, header_of("203.0.113.66"));
	client_sendf(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	cr_expect_eq(client_read(c)->status, 0);
	client_close(c);
	cr_expect_eq(gw_metric(gw, "hardtack_guard_refused_total", "mode=\"drop\"", NULL), 1);
	c = come(ALICE, header_of("203.0.113.67"));
	expect_served(c, be, "203.0.113.67");
	client_close(c);
	cr_expect_eq(dropped(gw), 0);
	gw_stop(gw);
	backend_stop(be);
}

static int relay(struct client *c, const char *client, const char *cookies)
{
	char fields[512];

	snprintf(fields, sizeof(fields), "X-Forwarded-For: %s\r\n%s", client, cookies);
	return client_get(c, "/", fields)->status;
}

/* A trusted proxy's connection is not cut off for what one of its clients has done. */
Test(guard, behind_a_trusted_proxy_his_requests_are_refused)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h") "trusted-proxies: [" ALICE "]\n");
	struct client *c = come(ALICE, NULL);

	for (unsigned i = 0; i < 5; i++)
		cr_expect_eq(relay(c, "203.0.113.66", forged(i)), 200);
	cr_expect_eq(relay(c, "203.0.113.67", ""), 200);
	cr_expect_eq(relay(c, "203.0.113.66", ""), 403);
	client_close(c);
	c = come(ALICE, NULL);
	cr_expect_eq(relay(c, "203.0.113.67", ""), 200);
	cr_expect_eq(client_get(c, "/", "")->status, 200, "the proxy itself");
	client_close(c);
	cr_expect_eq(dropped(gw), 0);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- somebody else's program ---- */

/* XDP_PASS, on a link of ours. */
static int foreign_program(void)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 2},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr load = {.prog_type = BPF_PROG_TYPE_XDP,
			       .insn_cnt = 2,
			       .insns = (uintptr_t)insns,
			       .license = (uintptr_t) "GPL",
			       .expected_attach_type = BPF_XDP,
			       .prog_name = "foreign"},
		       attach = {0};
	int prog = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load)), fd;

	cr_assert_geq(prog, 0, "%s", strerror(errno));
	attach.link_create.prog_fd = (uint32_t)prog;
	attach.link_create.target_ifindex = if_nametoindex("ht0");
	attach.link_create.attach_type = BPF_XDP;
	fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &attach, sizeof(attach));
	cr_assert_geq(fd, 0, "%s", strerror(errno));
	close(prog);
	return fd;
}

static uint32_t program_of(int link)
{
	struct bpf_link_info info = {0};
	union bpf_attr a = {.info = {.bpf_fd = (uint32_t)link,
				     .info_len = sizeof(info),
				     .info = (uintptr_t)&info}};

	cr_assert_eq(syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &a, sizeof(a)), 0);
	return info.prog_id;
}

Test(guard, a_foreign_program_is_never_replaced)
{
	need_net();
	struct backend *be = backend_start(NULL);
	int foreign = foreign_program();
	uint32_t id = program_of(foreign);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	struct text out = {0};
	struct client *c;

	cr_expect(gw_logged(gw, "msg=\"no guard on this interface\" interface=ht0"));
	cr_expect(gw_logged(gw, "another XDP program is attached"));
	cr_expect_eq(gw_ctl(gw, &out, "status", NULL), 0);
	cr_expect(text_has(out.p, out.len, "guard.interfaces.ht0.xdp     none"), "%s", out.p);
	cr_expect_eq(program_of(foreign), id);
	/* what is left is the daemon itself */
	attack(ATTACKER, 0, 5);
	c = come_again(ATTACKER, NULL);
	cr_expect(!c || !client_get(c, "/", "")->status);
	client_close(c);
	/* once it is gone nobody needs to do anything */
	close(foreign);
	cr_expect(e2e_wait(is_up(gw, "ht0")));
	expect_dropped(gw, ATTACKER);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

/* Which of both it is depends on the kernel; tests/bpf has what follows from it. */
Test(guard, says_whether_it_is_shared)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	const char *require = getenv("HT_SHARE");
	struct text out = {0};
	bool shared;

	cr_expect(is_up(gw, "ht0"));
	shared = gw_logged(gw, "interface=ht0 xdp=native shared=yes");
	cr_expect(shared || !require || strcmp(require, "require"));
	cr_expect_neq(shared,
		      gw_logged(gw, "interface=ht0 xdp=native shared=no reason=\"the kernel "
				    "takes no programs of type EXT\""));
	cr_expect_eq(gw_ctl(gw, &out, "status", "--json"), 0);
	cr_expect(text_has(out.p, out.len, shared ? "\"shared\": true" : "\"shared\": false"), "%s",
		  out.p);
	cr_expect_neq(text_has(out.p, out.len, "not shared: the kernel takes no programs of type"),
		      shared, "%s", out.p);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- operators ---- */

Test(guard, bans_by_hand)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	struct text out = {0};
	struct client *c;

	cr_expect_eq(CTL(gw, &out, "add", ATTACKER, "--for", "10m"), 0, "%s", out.p);
	expect_dropped(gw, ATTACKER);
	cr_expect_eq(CTL(gw, &out, "list", "--json"), 0);
	cr_expect(text_has(out.p, out.len, "\"source\": \"" ATTACKER "\""), "%s", out.p);
	cr_expect(text_has(out.p, out.len, "\"for_s\": 600"), "%s", out.p);
	cr_expect(text_has(out.p, out.len, "\"by\": \"hand\""), "%s", out.p);
	cr_expect_eq(gw_ctl(gw, &out, "bans", NULL), 0);
	cr_expect(text_has(out.p, out.len, ATTACKER), "%s", out.p);
	cr_expect_eq(CTL(gw, &out, "del", ATTACKER), 0, "%s", out.p);
	c = come(ATTACKER, NULL);
	expect_served(c, be, ATTACKER);
	client_close(c);
	cr_expect_eq(CTL(gw, &out, "del", ATTACKER), 1);
	cr_expect(text_has(out.p, out.len, "not banned"), "%s", out.p);
	cr_expect_eq(CTL(gw, &out, "add", "example.com"), 1);
	cr_expect(text_has(out.p, out.len, "192.0.2.7"), "%s", out.p);
	cr_expect_eq(CTL(gw, &out, "add"), 2);
	cr_expect_eq(CTL(gw, &out, "drop", ATTACKER), 2);
	cr_expect_eq(CTL(gw, &out, "del", ATTACKER, "--for", "1m"), 2);
	cr_expect_eq(CTL(gw, &out, "add", ATTACKER, "--for", "soon"), 2);
	cr_expect(gw_logged(gw, "msg=\"source banned by hand\" source=" ATTACKER));
	cr_expect(gw_logged(gw, "msg=\"ban lifted\" source=" ATTACKER));
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

/* For whoever has no hardtackctl at hand: names and numbers, not bytes. */
Test(guard, bpftool_reads_the_bans)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, GUARD("ban: 1h"));
	const char *const words[] = {"\"until_ns\"", "\"dropped\"", "\"forged\": 5",
				     "\"by_hand\": 0"};
	struct text out = {0};
	char path[300];

	attack(ATTACKER, 0, 5);
	expect_dropped(gw, ATTACKER);
	snprintf(path, sizeof(path), "%s/bans", gw->pin);
	cr_assert_eq(run_command(&out, (const char *const[]){"bpftool", "map", "dump", "pinned",
							     path, NULL}),
		     0, "%s", out.p);
	for (size_t i = 0; i < E2E_ARRAY_SIZE(words); i++)
		cr_expect(text_has(out.p, out.len, words[i]), "%s in %s", words[i], out.p);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

Test(guard, a_reload_changes_it)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, "guard: { interface: ht0, mode: report, ban: 1h }\n");
	struct text out = {0};
	struct client *c;

	cr_expect_eq(CTL(gw, &out, "add", ATTACKER), 0);
	cr_expect(text_has(out.p, out.len, "mode: report"), "%s", out.p);
	c = come(ATTACKER, NULL);
	expect_served(c, be, ATTACKER);
	client_close(c);
	gw_edit(gw, "mode: report", "mode: drop");
	cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	expect_dropped(gw, ATTACKER);
	gw_edit(gw, "ban: 1h", "ban: 1h, allow: [" ATTACKER "]");
	cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	c = come(ATTACKER, NULL);
	expect_served(c, be, ATTACKER);
	client_close(c);
	gw_edit(gw, "interface: ht0", "interface: lo");
	text_clear(&out);
	cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	cr_expect(text_has(out.p, out.len, "guard.interface"), "%s", out.p);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

/* What cannot be done in the driver is done in the stack. */
Test(guard, generic_where_the_driver_can_not)
{
	need_net();
	struct backend *be = backend_start(NULL);
	struct gw *gw = guard_start(be, "guard: { interface: [ht0, lo], mode: drop, ban: 1h }\n");
	struct text out = {0};

	cr_expect_eq(gw_ctl(gw, &out, "status", NULL), 0);
	cr_expect(text_has(out.p, out.len, "guard.interfaces.ht0.xdp     native"), "%s", out.p);
	cr_expect(text_has(out.p, out.len, "guard.interfaces.lo.xdp      generic"), "%s", out.p);
	cr_expect_eq(gw_admin(gw, "/", &out), 200);
	cr_expect(text_has(out.p, out.len, "guard.interfaces.lo.xdp"), "%s", out.p);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}
