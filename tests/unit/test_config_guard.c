/* SPDX-License-Identifier: Apache-2.0 */
/* What the configuration says of the guard, and the place and text of each mistake. */
#include <criterion/criterion.h>

#include "config_text.h"

#define BASE                                                                                       \
	"listeners: [{ address: 127.0.0.1:8080 }]\n"                                               \
	"sites: [{ hosts: [a], upstreams: [127.0.0.1:1] }]\n"
#define GUARD(text) BASE "guard: " text "\n"

static void expect_usual(const struct ht_guard_config *g)
{
	cr_expect_eq(g->ninterfaces, 0);
	cr_expect_eq(g->nallow, 0);
	cr_expect_eq(g->forged, 5);
	cr_expect_eq(g->per_ms, 600000);
	cr_expect_eq(g->ban_ms, 60000);
	cr_expect_eq(g->hold_s, 345600);
	cr_expect_eq(g->max, 65536);
	cr_expect_eq(g->v4_bits, 32);
	cr_expect_eq(g->v6_bits, 64);
}

Test(config_guard, off_without_one_and_report_by_default)
{
	struct ht_config *none = parse_ok(BASE), *some = parse_ok(GUARD("{ }"));

	cr_expect_eq(none->guard.mode, HT_GUARD_OFF);
	cr_expect_eq(some->guard.mode, HT_GUARD_REPORT);
	expect_usual(&none->guard);
	expect_usual(&some->guard);
	ht_config_free(none);
	ht_config_free(some);
}

Test(config_guard, everything)
{
	struct ht_config *c = parse_ok(
		GUARD("{ interface: [eth0, eth1.100], mode: drop, allow: [192.0.2.0/24, \"2001:"
		      "db8::1\"], forged: 9, per: 1m, ban: 2h, hold: 0s, max: 1K, ipv4-prefix: 24, "
		      "ipv6-prefix: 56 }"));
	const struct ht_guard_config *g = &c->guard;

	cr_expect_eq(g->mode, HT_GUARD_DROP);
	cr_assert_eq(g->ninterfaces, 2);
	cr_expect_str_eq(g->interfaces[0], "eth0");
	cr_expect_str_eq(g->interfaces[1], "eth1.100");
	cr_expect_eq(g->line, 3);
	cr_expect_eq(g->col, 21);
	cr_assert_eq(g->nallow, 2);
	cr_expect_eq(g->allow[0].bits, 24);
	cr_expect_eq(g->allow[1].bits, 128);
	cr_expect_eq(g->forged, 9);
	cr_expect_eq(g->per_ms, 60000);
	cr_expect_eq(g->ban_ms, 7200000);
	cr_expect_eq(g->hold_s, 0);
	cr_expect_eq(g->max, 1024);
	cr_expect_eq(g->v4_bits, 24);
	cr_expect_eq(g->v6_bits, 56);
	ht_config_free(c);
}

Test(config_guard, one_interface_and_empty_lists)
{
	struct ht_config *one = parse_ok(GUARD("{ interface: eth0, allow: [] }")),
			 *none = parse_ok(GUARD("{ interface: [] }"));

	cr_assert_eq(one->guard.ninterfaces, 1);
	cr_expect_str_eq(one->guard.interfaces[0], "eth0");
	cr_expect_eq(one->guard.nallow, 0);
	cr_expect_eq(none->guard.ninterfaces, 0);
	ht_config_free(one);
	ht_config_free(none);
}

static const struct mistake mistakes[] = {
	{"mode", GUARD("{ mode: on }"), 3, 16, "write off, report or drop"},
	{"unknown", GUARD("{ interfaces: eth0 }"), 3, 10, "did you mean 'interface'?"},
	{"twice", GUARD("{ forged: 5, forged: 6 }"), 3, 21, "stands twice"},
	{"no number", GUARD("{ forged: many }"), 3, 18, "write a number"},
	{"too few", GUARD("{ forged: 0 }"), 3, 18, "between 1 and 64"},
	{"too many", GUARD("{ forged: 65 }"), 3, 18, "between 1 and 64"},
	{"no unit", GUARD("{ per: 10 }"), 3, 15, "has no unit"},
	{"too short", GUARD("{ ban: 10ms }"), 3, 15, "between"},
	{"max", GUARD("{ max: 1 }"), 3, 15, "between 64 and"},
	{"prefix", GUARD("{ ipv4-prefix: 33 }"), 3, 23, "between 8 and 32"},
	{"IPv6 prefix", GUARD("{ ipv6-prefix: 8 }"), 3, 23, "between 16 and 128"},
	{"no address", GUARD("{ allow: [here] }"), 3, 18, "'here' is no address"},
	{"bits beyond", GUARD("{ allow: [192.0.2.1/24] }"), 3, 18, "bits set beyond"},
	{"not a list", GUARD("{ allow: 192.0.2.1 }"), 3, 17, "not a list"},
	{"no interface", GUARD("{ interface: [a/b] }"), 3, 22, "no name of a network interface"},
	{"long interface", GUARD("{ interface: abcdefghijklmnop }"), 3, 21,
	 "no name of a network interface"},
	{"interface twice", GUARD("{ interface: [eth0, lo, eth0] }"), 3, 32, "named twice"},
	{"nine interfaces", GUARD("{ interface: [a, b, c, d, e, f, g, h, i] }"), 3, 46,
	 "at most 8"},
	{"a word", GUARD("drop"), 3, 8, "not a mapping"},
};

Test(config_guard, mistakes_have_their_place)
{
	CHECK_MISTAKES(mistakes);
}

static void note(void *arg, const struct ht_diag *d)
{
	if (strstr(d->text, "network interface"))
		*(struct ht_diag *)arg = *d;
}

/* It may come after us: a gateway that does not start protects nobody. */
Test(config_guard, an_interface_that_is_not_there_is_a_warning)
{
	struct ht_config *c = parse_ok(GUARD("{ interface: [lo, nosuchif0] }")),
			 *off = parse_ok(GUARD("{ interface: nosuchif0, mode: off }"));
	struct ht_diag d = {0};

	cr_expect_eq(ht_config_check_machine(c, &d), 0, "%s", d.text);
	ht_config_warnings(off, note, &d);
	cr_expect_str_eq(d.text, "");
	ht_config_warnings(c, note, &d);
	cr_expect(strstr(d.text, "no network interface 'nosuchif0'"), "%s", d.text);
	cr_expect_eq(d.line, 3);
	cr_expect_eq(d.col, 21);
	ht_config_free(c);
	ht_config_free(off);
}
