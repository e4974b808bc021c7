/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With how little the daemon makes do: the capabilities that it needs to start, each of which is
 * shown to be needed, and that it needs none at all once it serves.
 */
#include <criterion/criterion.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

TestSuite(privileges, .timeout = E2E_TIMEOUT);

#define BIT(cap) (1ULL << (cap))
#define GATE_CAPS (BIT(CAP_BPF) | BIT(CAP_NET_ADMIN) | BIT(CAP_PERFMON))
#define USER_CAPS (BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_CHOWN))
#define NOBODY 65534

static const struct gw_spec as_root = {.caps = GATE_CAPS, .gate = "require"};

Test(privileges, three_capabilities_are_enough_for_the_gate)
{
	e2e_need_gate();
	e2e_gate_only();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &as_root);
	struct text line = {0};

	be->no_record = true;
	token_expand(&line, "Cookie: sid=p; sid_HMAC={p}\r\n");
	for (int i = 0; i < 2; i++)
		cr_expect_eq(client_once(gw, NULL, line.p), 200);
	cr_expect_eq(gw_metric(gw, "hardtack_verdicts_total", "where=\"kernel\"", "verdict=\"hit\"",
			       NULL),
		     1);
	cr_expect_eq(client_once(gw, NULL, "Cookie: sid=p\r\n"), 200);
	cr_expect_not(text_has(backend_last(be)->head, backend_last(be)->head_len, "sid="));
	text_free(&line);
	gw_stop(gw);
	backend_stop(be);
}

static void expect_refusal(struct backend *be, int cap)
{
	struct gw_spec s = as_root;
	struct gw *gw;

	s.caps &= ~BIT(cap);
	s.expect_failure = true;
	gw = gw_start(be, &s);
	cr_expect_eq(gw->exit_status, 1, "without capability %d", cap);
	cr_expect(gw_logged(gw, "gate: require, but the gate can't be had"));
	cr_expect(gw_logged(gw, "CAP_BPF, CAP_NET_ADMIN"), "without capability %d", cap);
}

Test(privileges, without_any_one_of_them_the_daemon_says_which_it_needs)
{
	e2e_need_gate();
	e2e_gate_only();
	struct backend *be = backend_start(NULL);

	be->no_record = true;
	expect_refusal(be, CAP_BPF);
	expect_refusal(be, CAP_NET_ADMIN);
	expect_refusal(be, CAP_PERFMON);
	backend_stop(be);
}

/* What the daemon reads again at a reload must be readable by whom it became. */
static void share(const char *path, mode_t mode)
{
	cr_assert_eq(chown(path, 0, NOBODY), 0, "%s", path);
	cr_assert_eq(chmod(path, mode), 0, "%s", path);
}

static void share_files(struct gw *gw)
{
	static const char *const keys[] = {"edge", "other"};
	char path[512];

	share(run_dir(), 0750);
	share(gw->dir, 0750);
	share(gw->config, 0640);
	snprintf(path, sizeof(path), "%s/shop.key", gw->dir);
	share(path, 0640);
	for (size_t i = 0; i < E2E_ARRAY_SIZE(keys); i++) {
		snprintf(path, sizeof(path), "%s/%s.key", run_dir(), keys[i]);
		share(path, 0640);
	}
}

static long status_bits(struct gw *gw, const char *field)
{
	char path[64], *text, *at;
	long bits;

	snprintf(path, sizeof(path), "/proc/%d/status", gw->pid);
	text = text_file(path, NULL);
	at = strstr(text, field);
	cr_assert(at);
	bits = strtol(at + strlen(field), NULL, 16);
	free(text);
	return bits;
}

Test(privileges, a_user_without_any_serves_flushes_and_reloads)
{
	e2e_need_gate();
	e2e_gate_only();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.caps = GATE_CAPS | USER_CAPS,
						       .gate = "require",
						       .top = "user: nobody\n"});
	struct text line = {0}, out = {0};

	be->no_record = true;
	cr_expect_eq(status_bits(gw, "Uid:"), 0x65534);
	cr_expect_eq(status_bits(gw, "CapEff:"), 0);
	cr_expect_eq(status_bits(gw, "CapPrm:"), 0);
	share_files(gw);
	token_expand(&line, "Cookie: sid=p; sid_HMAC={p}\r\n");
	for (int i = 0; i < 2; i++)
		cr_expect_eq(client_once(gw, NULL, line.p), 200);
	cr_expect_eq(gw_hits(gw), 1, "a push without capabilities");
	cr_expect_eq(gw_ctl(gw, &out, "flush", NULL), 0, "%s", out.p);
	cr_expect(text_has(out.p, out.len, "1"), "%s", out.p);
	for (int i = 0; i < 2; i++)
		cr_expect_eq(client_once(gw, NULL, line.p), 200);
	cr_expect_eq(gw_hits(gw), 2);
	/* New rules at the gate, new sockets, a new generation of a key. */
	gw_edit(gw, "name: sid,", "name: sid2,");
	share(gw->config, 0640);
	text_clear(&out);
	cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	cr_expect_eq(client_once(gw, NULL, "Cookie: sid2=p\r\n"), 200);
	cr_expect_not(text_has(backend_last(be)->head, backend_last(be)->head_len, "sid2="));
	/* What it may not read any more is a mistake with a place, not the end. */
	cr_assert_eq(chmod(gw->config, 0600), 0);
	text_clear(&out);
	cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 1);
	cr_expect(text_has(out.p, out.len, "hardtack.yaml"), "%s", out.p);
	cr_expect(text_has(out.p, out.len, "Permission denied"), "%s", out.p);
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	/* And once more, with as little as the first time: it finds its tokens. */
	cr_assert(gw_restart(gw));
	cr_expect(gw_logged(gw, "reused=yes"));
	text_free(&line);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

/* A reload needs the log to be writable by whom the daemon became, and so does the start. */
Test(privileges, a_user_opens_the_access_log_again)
{
	e2e_need_gate();
	e2e_gate_only();
	struct backend *be = backend_start(NULL);
	struct gw_spec s = {
		.caps = GATE_CAPS | USER_CAPS, .gate = "require", .top = "user: nobody\n"};
	struct gw *gw = gw_start(be, &s);
	struct text out = {0};
	char from[160], to[160];
	struct stat st;

	be->no_record = true;
	/* the directory is root's: opened this once */
	cr_expect(gw_logged(gw, "will not open the access log again"));
	cr_assert_eq(stat(gw->access_path, &st), 0);
	cr_expect_eq(st.st_uid, 0);
	share_files(gw);
	cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	cr_expect(text_has(out.p, out.len, "stays the old file"), "%s", out.p);
	/* in a directory of its group it makes its own, without a capability for that */
	snprintf(to, sizeof(to), "%s/log", gw->dir);
	cr_assert_eq(mkdir(to, 0770), 0);
	share(to, 0770);
	snprintf(from, sizeof(from), "%s/log/access.log", gw->dir);
	gw_edit(gw, "to: access.log", "to: log/access.log");
	share(gw->config, 0640);
	snprintf(gw->access_path, sizeof(gw->access_path), "%s", from);
	cr_assert(gw_restart(gw));
	cr_assert_eq(stat(from, &st), 0);
	cr_expect_eq(st.st_uid, NOBODY);
	snprintf(to, sizeof(to), "%s/log/access.log.1", gw->dir);
	cr_assert_eq(rename(from, to), 0);
	text_clear(&out);
	cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	cr_expect_not(text_has(out.p, out.len, "stays the old file"), "%s", out.p);
	cr_assert_eq(stat(from, &st), 0);
	cr_expect_eq(st.st_uid, NOBODY);
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	cr_assert(gw_restart(gw), "over a file that is not root's");
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- credentials ---- */

static void copy_file(const char *from, const char *dir, const char *name, mode_t mode)
{
	char path[300];
	size_t len;
	char *text = text_file(from, &len);
	FILE *f;

	cr_assert(text, "%s", from);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	cr_assert(f && fwrite(text, 1, len, f) == len && !fclose(f));
	cr_assert_eq(chmod(path, mode), 0);
	free(text);
}

/*
 * As systemd.exec(5) has them: a directory that only the unit's user may look into. That is root,
 * who is somebody else by the time that he is told to reload.
 */
Test(privileges, credentials_are_still_there_at_a_reload)
{
	e2e_need_gate();
	e2e_gate_only();
	struct backend *be = backend_start(NULL);
	struct gw_spec s = {
		.caps = GATE_CAPS | USER_CAPS, .gate = "require", .top = "user: nobody\n"};
	struct gw *gw = gw_start(be, &s);
	struct text line = {0}, out = {0};
	char dir[200], path[300], was[300], is[300];

	be->no_record = true;
	token_expand(&line, "Cookie: sid=p; sid_HMAC={p}\r\n");
	snprintf(dir, sizeof(dir), "%s/credentials", gw->dir);
	cr_assert_eq(mkdir(dir, 0700), 0);
	snprintf(path, sizeof(path), "%s/shop.key", gw->dir);
	copy_file(path, dir, "shop.key", 0400);
	for (int i = 0; i < 2; i++) {
		const char *end = i ? "key" : "pem";

		snprintf(path, sizeof(path), "%s/edge.%s", run_dir(), end);
		snprintf(is, sizeof(is), "edge.%s", end);
		copy_file(path, dir, is, 0400);
		snprintf(was, sizeof(was), "%s: %s/edge.%s", i ? "key" : "certificate", run_dir(),
			 end);
		snprintf(is, sizeof(is), "%s: %s/edge.%s", i ? "key" : "certificate", dir, end);
		gw_edit(gw, was, is);
	}
	snprintf(is, sizeof(is), "file: %s/shop.key", dir);
	gw_edit(gw, "file: shop.key", is);
	share_files(gw);
	cr_assert_eq(chmod(dir, 0500), 0);
	/* not without having been handed over as such */
	cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 1);
	cr_expect(text_has(out.p, out.len, "Permission denied"), "%s", out.p);
	setenv("CREDENTIALS_DIRECTORY", dir, 1);
	cr_assert(gw_restart(gw));
	cr_expect_eq(status_bits(gw, "CapEff:"), 0);
	for (int i = 0; i < 3; i++) {
		struct client *c = client_tls(gw);

		text_clear(&out);
		cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
		cr_expect_eq(client_get(c, "/", line.p)->status, 200);
		cr_expect(strstr(backend_last(be)->head, "sid=p"));
		client_close(c);
		c = client_tls(gw);
		cr_expect_eq(client_get(c, "/", "")->status, 200, "after a reload");
		client_close(c);
	}
	/* a new name is not among what was handed over */
	gw_edit(gw, "/shop.key", "/other.key");
	share(gw->config, 0640);
	text_clear(&out);
	cr_expect_eq(gw_ctl(gw, &out, "reload", NULL), 1);
	cr_expect(text_has(out.p, out.len, "other.key"), "%s", out.p);
	cr_expect_eq(client_once(gw, NULL, ""), 200);
	unsetenv("CREDENTIALS_DIRECTORY");
	text_free(&line);
	text_free(&out);
	gw_stop(gw);
	backend_stop(be);
}
