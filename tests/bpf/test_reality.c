/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of cookie_cases.h through the gate: on a miss the daemon judges, pushes what is valid
 * and sends again, as it does for a client. The second time the kernel knows what is valid.
 */
#include <criterion/criterion.h>
#include <time.h>

#include "../cookie_rules.h"
#include "rig.h"

static struct rig rig;
static char head[COOKIE_TEXT_MAX], want[COOKIE_TEXT_MAX], got[RIG_BUF + 1];
static struct ht_gate_answer first; /* to the head as the client sent it */

static void setup(void)
{
	rig_open(&rig, 0);
}

static void finish(void)
{
	rig_close(&rig);
}

TestSuite(reality, .init = setup, .fini = finish);

static int judge(size_t *len)
{
	static struct ht_judgement j;
	static struct ht_head scratch;
	struct timespec t;
	struct ht_policy_client client = {.bind = &rig.bind};
	int reason;

	clock_gettime(CLOCK_BOOTTIME, &t);
	client.time = (struct ht_policy_time){COOKIE_NOW, (uint64_t)t.tv_sec * 1000000000 +
								  (uint64_t)t.tv_nsec};
	reason = ht_policy_judge(&(struct ht_policy_context){&rig.site, &rig.ring,
							     ht_offload_keys(rig.offload), &client},
				 &scratch, head, len, 0, &j);
	if (reason)
		return reason;
	for (size_t i = 0; i < j.npushes; i++)
		cr_assert_eq(ht_offload_push(rig.offload, &j.push[i]), 0);
	return 0;
}

/* The way of a request, as conn_request.c goes it. Returns why it got no further. */
static int send_head(struct pair *pair, size_t len)
{
	struct ht_gate_answer a;
	int reason;

	cr_assert_eq(pair_try(pair, head, len, false, &a), 0);
	first = a;
	if (a.verdict == HT_VERDICT_REFUSED) {
		ht_policy_canonicalize(head, &len);
		cr_assert_eq(pair_try(pair, head, len, false, &a), 0);
	}
	if (a.verdict == HT_VERDICT_REFUSED)
		return a.reason;
	if (a.verdict != HT_VERDICT_MISS)
		return 0;
	reason = judge(&len);
	if (reason)
		return reason;
	cr_assert_eq(pair_try(pair, head, len, false, &a), 0);
	cr_assert_eq(a.verdict, HT_VERDICT_PASS, "missed again after the daemon's judgement:\n%.*s",
		     (int)len, head);
	return 0;
}

static void expect_case(enum cookie_site which, const struct cookie_case *c, bool again)
{
	const char *pattern = cookie_want(c, which), *where = cookie_site_names[which];
	bool refused = !strcmp(pattern, COOKIE_REFUSED);
	size_t len = cookie_head(which, c->before, head), want_len, n;
	struct pair pair;
	int reason;

	pair_open(&pair, &rig);
	reason = send_head(&pair, len);
	n = pair_close(&pair, false, got);
	got[n] = 0;
	cr_expect_eq(reason, refused ? HT_REASON_COOKIES : 0, "%s, %s: %s", where, c->name,
		     ht_reason_name(reason));
	want_len = refused || reason ? 0 : cookie_head(which, pattern, want);
	cr_expect(n == want_len && !memcmp(got, want, n), "%s, %s, %s time: sent\n%sand not\n%s",
		  where, c->name, again ? "second" : "first", got, want);
	if (!c->verdict || which == COOKIE_ALL)
		return;
	/* what the daemon found valid is a hit from then on, unless there was a choice to make */
	if (again && !strcmp(c->verdict, "valid pass") && !c->named)
		cr_expect_neq(first.verdict, HT_VERDICT_MISS, "%s, %s: forgotten", where, c->name);
	if (!again && !strcmp(c->verdict, "valid pass"))
		cr_expect_neq(first.verdict, HT_VERDICT_PASS, "%s, %s: known before", where,
			      c->name);
}

static void expect_table(enum cookie_site which)
{
	struct ht_site_config config = cookie_site_rules(which);

	cookie_signer.secret = rig.secret;
	cookie_signer.bind = &rig.bind;
	rig_site(&rig, &config);
	for (size_t i = 0; i < COOKIE_CASES; i++) {
		/* nothing that a case before has left is known */
		rig.key.gen++;
		ht_offload_generations(rig.offload, &rig.ring);
		expect_case(which, &cookie_cases[i], false);
		expect_case(which, &cookie_cases[i], true);
	}
}

Test(reality, f5_irule)
{
	expect_table(COOKIE_F5);
}

Test(reality, native)
{
	expect_table(COOKIE_NATIVE);
}

Test(reality, proxysg)
{
	expect_table(COOKIE_PROXYSG);
}

Test(reality, proxysg_all)
{
	expect_table(COOKIE_ALL);
}
