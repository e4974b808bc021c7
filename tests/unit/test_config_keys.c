/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `keys` of the configuration: where secrets come from, what is meant where nothing is said, what
 * does not go together, and what of it this machine can't give.
 */
#include <criterion/criterion.h>
#include <sys/stat.h>

#include "config.h"

#define REST                                                                                       \
	"\nlisteners: [{ address: 127.0.0.1:80 }]\n"                                               \
	"sites: [{ hosts: [\"*\"], upstreams: [127.0.0.1:9000] }]\n"

static struct ht_config *parse(const char *keys)
{
	struct ht_config *c = NULL;
	struct ht_diag d = {0};
	char text[1024];
	int len = snprintf(text, sizeof(text), "keys: [%s]" REST, keys);

	cr_assert_eq(ht_config_parse("/etc/hardtack/test.yaml", text, (size_t)len, &c, &d), 0,
		     "%u:%u: %s\n%s", d.line, d.col, d.text, text);
	return c;
}

Test(config_keys, file)
{
	struct ht_config *c = parse("{ name: shop, file: shop.key, lifetime: 1h }");
	const struct ht_key_config *k = c->keys;

	cr_expect_str_eq(k->file, "/etc/hardtack/shop.key");
	cr_expect(!k->directory && !k->nservers && !k->rotate_every_s);
	cr_expect_eq(k->lifetime_s, 3600);
	ht_config_free(c);
	c = parse("{ name: shop, file: shop.key }");
	cr_expect_eq(c->keys->lifetime_s, 0, "gone at once, unless it is said");
	ht_config_free(c);
}

Test(config_keys, nothing_but_a_name)
{
	struct ht_config *c = parse("{ name: shop-2.x_Y }");
	const struct ht_key_config *k = c->keys;

	cr_expect_str_eq(k->directory, "/var/lib/hardtack/shop-2.x_Y");
	cr_expect(!k->file && !k->nservers);
	cr_expect_eq(k->rotate_every_s, 0, "not by itself");
	cr_expect_eq(k->lifetime_s, 48 * 3600);
	ht_config_free(c);
}

Test(config_keys, directory)
{
	struct ht_config *c =
		parse("{ name: a, directory: keys, rotate-every: 12h, lifetime: 3d }");
	const struct ht_key_config *k = c->keys;

	cr_expect_str_eq(k->directory, "/etc/hardtack/keys");
	cr_expect_eq(k->rotate_every_s, 12 * 3600);
	cr_expect_eq(k->lifetime_s, 72 * 3600);
	ht_config_free(c);
}

Test(config_keys, memcached)
{
	struct ht_config *c = parse("{ name: fleet, memcached: [127.0.0.1:11211, \"[::1]:1\", "
				    "mc.example.com:11211] }");
	const struct ht_key_config *k = c->keys;

	cr_assert_eq(k->nservers, 3);
	cr_expect_str_eq(k->servers[1], "[::1]:1");
	cr_expect_str_eq(k->directory, "/var/lib/hardtack/fleet");
	cr_expect_str_eq(k->prefix, "");
	cr_expect_eq(k->rotate_every_s, 24 * 3600, "as the gateways that it shares a pool with");
	cr_expect_eq(k->lifetime_s, 48 * 3600);
	cr_expect_eq(k->poll_every_ms, 5000);
	ht_config_free(c);
	c = parse("{ name: fleet, memcached: [a:1], directory: copy, rotate-every: 0s, poll-every: "
		  "250ms, prefix: x- }");
	cr_expect_eq(c->keys->rotate_every_s, 0);
	cr_expect_eq(c->keys->poll_every_ms, 250);
	cr_expect_str_eq(c->keys->prefix, "x-");
	cr_expect_str_eq(c->keys->directory, "/etc/hardtack/copy");
	ht_config_free(c);
}

static const struct {
	const char *keys;
	unsigned col;
	const char *says;
} mistakes[] = {
	{"{ name: a, file: b, directory: c }", 39, "directory does not go with file"},
	{"{ name: a, file: b, memcached: [c:1] }", 39, "memcached does not go with file"},
	{"{ name: a, file: b, rotate-every: 1d }", 42, "write directory: PATH"},
	{"{ name: a, file: b, prefix: x }", 36, "prefix does not go with file"},
	{"{ name: a, directory: b, prefix: x }", 41, "goes with memcached only"},
	{"{ name: a, directory: b, poll-every: 1s }", 45, "goes with memcached only"},
	{"{ name: a, poll-every: 1s }", 31, "goes with memcached only"},
	{"{ name: a/b }", 16, "makes no directory's name"},
	{"{ name: .. }", 16, "makes no directory's name"},
	{"{ name: a/b, memcached: [c:1] }", 32, "makes no directory's name"},
	{"{ name: a, memcached: [] }", 30, "memcached"},
	{"{ name: a, memcached: [c] }", 31, "memcached server 'c'"},
	{"{ name: a, memcached: [c:0] }", 31, "memcached server 'c:0'"},
	{"{ name: a, memcached: [c:1], prefix: \"x y\" }", 45, "without blanks"},
	{"{ name: a, memcached: [c:1], poll-every: 10ms }", 49, "poll-every"},
	{"{ name: a, rotate-every: 1h, lifetime: 20h }", 8, "22 secrets"},
	{"{ name: a, directory: x }, { name: b, directory: x }", 57, "has this directory already"},
	{"{ name: a }, { name: b, directory: /var/lib/hardtack/a }", 43, "has this directory"},
	{"{ name: a, memcached: [c:1] }, { name: b, memcached: [d:1, c:1] }", 61,
	 "give one of them a prefix"},
	{"{ name: a, file: b, file: c }", 28, "file"},
	{"{ name: a, lifetime: 0s, file: b }", 29, "lifetime"},
};

Test(config_keys, mistakes)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(mistakes); i++) {
		struct ht_config *c = NULL;
		struct ht_diag d = {0};
		char text[1024];
		int len = snprintf(text, sizeof(text), "keys: [%s]" REST, mistakes[i].keys);
		int err = ht_config_parse("t.yaml", text, (size_t)len, &c, &d);

		cr_expect_eq(err, -EINVAL, "%s", mistakes[i].keys);
		cr_expect(strstr(d.text, mistakes[i].says), "%s: '%s', not '%s'", mistakes[i].keys,
			  d.text, mistakes[i].says);
		cr_expect(d.line == 1 && d.col == mistakes[i].col, "%s: at %u:%u, not %u",
			  mistakes[i].keys, d.line, d.col, mistakes[i].col);
		ht_config_free(c);
	}
}

/* ---- the machine ---- */

static void check(const char *keys, const char *says)
{
	struct ht_config *c = parse(keys);
	struct ht_diag d = {0};
	int err = ht_config_check_machine(c, &d);

	cr_expect_eq(err, says ? -EINVAL : 0, "%s: %s", keys, d.text);
	if (says)
		cr_expect(strstr(d.text, says) && d.line == 1, "%s: %s", keys, d.text);
	ht_config_free(c);
}

Test(config_keys, directories_of_this_machine)
{
	char dir[] = "/tmp/ht-keys-XXXXXX", keys[256], path[128];

	cr_assert(mkdtemp(dir));
	snprintf(keys, sizeof(keys), "{ name: a, directory: %s/none }", dir);
	check(keys, NULL); /* it is made when it is needed, and not by a check */
	snprintf(path, sizeof(path), "%s/none", dir);
	cr_expect_neq(access(path, F_OK), 0);
	snprintf(keys, sizeof(keys), "{ name: a, directory: %s }", dir);
	check(keys, NULL);
	cr_assert_eq(chmod(dir, 0755), 0);
	check(keys, "chmod 700");
	rmdir(dir);
}
