/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More cookies of one name than anybody counts, more rules than one, report and off. What clients
 * and backends write in general is in test_reality.c.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

TestSuite(cookies, .timeout = E2E_TIMEOUT);
TestSuite(mode, .timeout = E2E_TIMEOUT);

static const char *send_cookies(struct gw *gw, struct backend *be, const char *line, int *status)
{
	static struct text got;
	int before = backend_count(be);

	*status = client_once(gw, NULL, line);
	text_clear(&got);
	text_add(&got, "", 0);
	if (backend_count(be) > before)
		head_cookies(backend_last(be)->head, "sid_HMAC", &got);
	return got.p;
}

Test(cookies, identical_ones_leave_one_valid)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text line = {0};
	static const int repeats[] = {2, 3, 16, 17, 40};
	const char *got;
	int status;

	for (size_t i = 0; i < E2E_ARRAY_SIZE(repeats); i++) {
		text_clear(&line);
		token_expand(&line, "Cookie: sid_HMAC={good}");
		for (int n = 0; n < repeats[i]; n++)
			text_addf(&line, "; sid=good");
		text_addf(&line, "; last=1\r\n");
		got = send_cookies(gw, be, line.p, &status);
		cr_expect_eq(status, 200, "%d repeats: %d", repeats[i], status);
		cr_expect(!strncmp(got, "sid=good|", 9) && strstr(got, "last=1"), "%d repeats: %s",
			  repeats[i], got);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(cookies, many_different_ones_let_no_evil_in)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	static const int counts[] = {4, 5, 15, 16, 17, 40, 200};
	struct text line = {0};
	const char *got;
	int status;

	for (size_t i = 0; i < E2E_ARRAY_SIZE(counts); i++) {
		text_clear(&line);
		token_expand(&line, "Cookie: a=1");
		for (int n = 0; n < counts[i]; n++)
			text_addf(&line, "; sid=EVIL%d", n);
		token_expand(&line, "; sid_HMAC={good}\r\n");
		got = send_cookies(gw, be, line.p, &status);
		cr_expect_not(strstr(got, "EVIL"), "%d: %s", counts[i], got);
		cr_expect(status == 200 || (counts[i] > 16 && (status == 400 || status == 431)),
			  "%d different: %d", counts[i], status);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(cookies, sixteen_rules_at_once)
{
	e2e_need_gate();
	struct text rules = {0}, line = {0}, got = {0};
	struct backend *be = backend_start(NULL);
	struct gw *gw;

	for (int i = 0; i < 16; i++)
		text_addf(&rules,
			  "%s{ name: c%d, profile: f5-irule, key: shop, bind: [client-ip] }",
			  i ? ", " : "[ ", i);
	text_addf(&rules, " ]");
	gw = gw_start(be, &(struct gw_spec){.cookies = rules.p});
	for (int round = 0; round < 3; round++) {
		text_clear(&line);
		text_addf(&line, "Cookie: z=1");
		for (int i = 0; i < 16; i++)
			text_addf(&line, "; c%d=v; c%d_HMAC=%s", i, i,
				  token_for("v", i % 2 && round == 2 ? "127.0.0.9" : "127.0.0.1"));
		text_addf(&line, "\r\n");
		cr_assert_eq(client_once(gw, NULL, line.p), 200);
		head_cookies(backend_last(be)->head, NULL, &got);
		for (int i = 0; i < 16; i++) {
			char pair[32];

			snprintf(pair, sizeof(pair), "|c%d=v", i);
			cr_expect_eq(strstr(got.p, pair) != NULL, !(i % 2 && round == 2),
				     "round %d: c%d", round, i);
		}
	}
	gw_stop(gw);
	backend_stop(be);
}

/* ---- report and off ---- */

#define MODE(m) "[ { name: sid, profile: f5-irule, key: shop, bind: [client-ip], mode: " m " } ]"

static const char *const mode_lines[] = {
	"Cookie: a=1; sid=good; sid_HMAC={good}; b=2\r\n",
	"Cookie: a=1; sid=good; b=2\r\n",
	"Cookie: a=1; sid=good; sid_HMAC={evil}; b=2\r\n",
	"Cookie: sid=one; sid=two; sid_HMAC={one}\r\n",
	"Cookie: sid =x;a=1\r\n",
	"Cookie: a=1; =sid=x\r\nCookie: sid=y\r\n",
};

static void heads_without_id(struct backend *be, struct text *out)
{
	for (int i = 0; i < be->nreqs; i++) {
		const char *line = be->reqs[i]->head, *end;

		for (; (end = strstr(line, "\r\n")); line = end + 2)
			if (strncasecmp(line, "X-Request-ID:", 13))
				text_add(out, line, (size_t)(end + 2 - line));
	}
}

static void run_mode(const char *cookies, struct text *out, double *reports)
{
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = cookies});
	struct text line = {0};

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < E2E_ARRAY_SIZE(mode_lines); i++) {
			text_clear(&line);
			token_expand(&line, mode_lines[i]);
			cr_expect_eq(client_once(gw, NULL, line.p), 200);
		}
	}
	/* A conflict of which one cookie stays counts as duplicate/pass, with enforce as well. */
	*reports = gw_metric(gw, "hardtack_verdicts_total", "action=\"report\"", NULL) +
		   gw_verdicts(gw, "duplicate", "pass");
	cr_expect_eq(gw_metric(gw, "hardtack_verdicts_total", "action=\"strip\"", NULL), 0);
	heads_without_id(be, out);
	gw_stop(gw);
	backend_stop(be);
}

Test(mode, report_changes_nothing_and_counts)
{
	e2e_need_gate();
	struct text report = {0}, off = {0};
	double reports, none;

	run_mode(MODE("report"), &report, &reports);
	run_mode(MODE("off"), &off, &none);
	cr_expect_str_eq(report.p, off.p);
	/* Two rounds of five lines that are not simply valid, one covered name in each. */
	cr_expect_eq(reports, 10, "%g reports", reports);
	cr_expect_eq(none, 0);
}

Test(mode, off_signs_nothing)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = MODE("off")});
	struct client *c = client_plain(gw);

	backend_reply(be, "HTTP/1.1 200 OK\r\nSet-Cookie: sid=a\r\nContent-Length: 0\r\n\r\n");
	cr_expect_eq(response_count(client_get(c, "/", ""), "Set-Cookie"), 1);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(mode, report_beside_enforce)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be,
		&(struct gw_spec){
			.cookies =
				"[ { name: sid, profile: f5-irule, key: shop, bind: [client-ip] }, "
				"{ name: aux, profile: f5-irule, key: shop, bind: [client-ip], "
				"mode: report } ]"});
	struct text got = {0};

	client_once(gw, NULL, "Cookie: aux=1; sid=2; c=3\r\n");
	head_cookies(backend_last(be)->head, NULL, &got);
	cr_expect_str_eq(got.p, "aux=1|c=3");
	cr_expect(e2e_wait(gw_verdicts(gw, "missing", "report") == 1));
	cr_expect_eq(gw_verdicts(gw, "missing", "strip"), 1);
	gw_stop(gw);
	backend_stop(be);
}
