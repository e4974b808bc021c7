/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Countries: what a database says of an address and what it doesn't, and files that are none. The
 * databases are made here.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "../mmdb.h"
#include "geoip.h"

static const struct mmdb_row world[] = {
	{"192.0.2.0/24", "DE", "US"},	   {"198.51.100.0/25", "FR", NULL},
	{"198.51.100.128/25", "US", NULL}, {"203.0.113.0/26", NULL, "SE"},
	{"203.0.113.64/26", "de", NULL},   {"203.0.113.128/26", "DEU", NULL},
	{"203.0.113.192/26", "D1", NULL},  {"2001:db8::/32", "NL", NULL},
	{"2001:db9::/33", "SE", NULL},
};

static char dir[64];

static const char *file_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void make_dir(void)
{
	snprintf(dir, sizeof(dir), "/tmp/ht-geoip-XXXXXX");
	cr_assert(mkdtemp(dir));
}

static void remove_dir(void)
{
	static const char *const names[] = {"world.mmdb", "v4.mmdb", "other", "fifo"};

	for (size_t i = 0; i < HT_ARRAY_SIZE(names); i++)
		unlink(file_of(names[i]));
	rmdir(dir);
}

TestSuite(geoip, .init = make_dir, .fini = remove_dir);

static struct ht_geoip *opened(const char *path)
{
	struct ht_geoip *g = NULL;
	char why[256] = "";

	cr_assert_eq(ht_geoip_open(path, &g, why, sizeof(why)), 0, "%s", why);
	return g;
}

static struct ht_geoip *opened_world(void)
{
	cr_assert(mmdb_write(file_of("world.mmdb"), false, world, HT_ARRAY_SIZE(world)));
	return opened(file_of("world.mmdb"));
}

/* "" = there is none. Two results live at a time. */
static const char *country(const struct ht_geoip *g, const char *address)
{
	static __thread char text[2][HT_COUNTRY_LEN + 1];
	static __thread unsigned next;
	char *ret = text[next++ % 2];
	struct sockaddr_storage a = {.ss_family = AF_INET};

	if (inet_pton(AF_INET, address, &((struct sockaddr_in *)&a)->sin_addr) != 1) {
		a.ss_family = AF_INET6;
		cr_assert_eq(inet_pton(AF_INET6, address, &((struct sockaddr_in6 *)&a)->sin6_addr),
			     1, "%s", address);
	}
	memset(ret, 0, HT_COUNTRY_LEN + 1);
	if (!ht_geoip_country(g, (struct sockaddr *)&a, ret))
		ret[0] = 0;
	return ret;
}

Test(geoip, countries)
{
	static const struct {
		const char *name, *address, *country;
	} rows[] = {
		{"where it is, not where it is registered", "192.0.2.1", "DE"},
		{"the end of a network", "192.0.2.255", "DE"},
		{"half a network", "198.51.100.127", "FR"},
		{"the other half", "198.51.100.128", "US"},
		{"not in the database", "192.0.3.1", ""},
		{"unspecified", "0.0.0.0", ""},
		{"only registered somewhere", "203.0.113.1", ""},
		{"a code in small letters", "203.0.113.65", ""},
		{"a code of three letters", "203.0.113.129", ""},
		{"a code with a digit", "203.0.113.193", ""},
		{"IPv6", "2001:db8::1", "NL"},
		{"IPv6, longer prefix", "2001:db9:7fff::1", "SE"},
		{"IPv6, beside it", "2001:db9:8000::1", ""},
		{"IPv6, not there", "2001:dba::1", ""},
		{"IPv4-mapped", "::ffff:192.0.2.1", "DE"},
		{"IPv4-mapped, not there", "::ffff:192.0.3.1", ""},
	};
	struct ht_geoip *g = opened_world();

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++)
		cr_expect_str_eq(country(g, rows[i].address), rows[i].country, "%s", rows[i].name);
	ht_geoip_close(g);
}

Test(geoip, no_ip_address_has_no_country)
{
	struct ht_geoip *g = opened_world();
	struct sockaddr_storage a = {.ss_family = AF_UNSPEC};
	char ret[HT_COUNTRY_LEN];

	cr_expect_not(ht_geoip_country(g, (struct sockaddr *)&a, ret));
	a.ss_family = AF_UNIX;
	cr_expect_not(ht_geoip_country(g, (struct sockaddr *)&a, ret));
	ht_geoip_close(g);
}

Test(geoip, database_of_ipv4_only)
{
	static const struct mmdb_row rows[] = {{"192.0.2.0/24", "DE", NULL}};
	struct ht_geoip *g;

	cr_assert(mmdb_write(file_of("v4.mmdb"), true, rows, 1));
	g = opened(file_of("v4.mmdb"));
	cr_expect_str_eq(country(g, "192.0.2.1"), "DE");
	cr_expect_str_eq(country(g, "::ffff:192.0.2.1"), "DE");
	cr_expect_str_eq(country(g, "2001:db8::1"), "");
	cr_expect_str_eq(country(g, "192.0.3.1"), "");
	ht_geoip_close(g);
}

/* An operator copies a new one over it, or an old one is cut off: neither is seen before a reload. */
Test(geoip, database_does_not_change_with_its_file)
{
	static const struct mmdb_row moved[] = {{"192.0.2.0/24", "FR", NULL}};
	struct ht_geoip *g = opened_world();

	cr_assert(mmdb_write(file_of("world.mmdb"), false, moved, 1));
	cr_expect_str_eq(country(g, "192.0.2.1"), "DE");
	cr_assert_eq(truncate(file_of("world.mmdb"), 0), 0);
	cr_expect_str_eq(country(g, "2001:db8::1"), "NL");
	ht_geoip_close(g);
}

static void expect_refused(const char *name, const char *path, const char *word)
{
	struct ht_geoip *g = (void *)dir;
	char why[256] = "";

	cr_expect_lt(ht_geoip_open(path, &g, why, sizeof(why)), 0, "%s", name);
	cr_expect_eq((void *)g, (void *)dir, "%s: written on failure", name);
	cr_expect(strstr(why, word), "%s: \"%s\" does not say \"%s\"", name, why, word);
}

Test(geoip, what_is_no_country_database_is_refused)
{
	static const struct mmdb_row numbers[] = {{"192.0.2.0/24", NULL, "DE"},
						  {"2001:db8::/32", NULL, NULL}};
	struct stat st;
	FILE *f;

	expect_refused("no file", file_of("other"), "No such file");
	expect_refused("a directory", dir, "not a plain file");
	cr_assert_eq(mkfifo(file_of("fifo"), 0600), 0);
	expect_refused("a FIFO", file_of("fifo"), "not a plain file");
	f = fopen(file_of("other"), "we");
	cr_assert(f);
	expect_refused("an empty file", file_of("other"), "");
	fputs("192.0.2.0/24,DE\n", f);
	fclose(f);
	expect_refused("text", file_of("other"), "metadata");
	cr_assert(mmdb_write(file_of("other"), false, numbers, 2));
	expect_refused("an ASN database", file_of("other"), "no record of it has a country");
	cr_assert(mmdb_write(file_of("other"), false, numbers, 0));
	expect_refused("an empty database", file_of("other"), "country");
	cr_assert(mmdb_write(file_of("other"), false, world, HT_ARRAY_SIZE(world)));
	cr_assert_eq(stat(file_of("other"), &st), 0);
	cr_assert_eq(truncate(file_of("other"), st.st_size - 60), 0);
	expect_refused("cut off", file_of("other"), "");
}

/* A tree that leads back to its beginning: the search for a country has an end. */
Test(geoip, tree_in_circles_is_refused)
{
	static const struct mmdb_row rows[] = {{"8000::/1", NULL, NULL}};
	int fd;

	cr_assert(mmdb_write(file_of("other"), false, rows, 1));
	fd = open(file_of("other"), O_WRONLY | O_CLOEXEC);
	cr_assert_eq(write(fd, "\0\0\0\0\0\0", 6), 6); /* both sides of node 0 are node 0 */
	close(fd);
	expect_refused("circles", file_of("other"), "");
}

static void *look_up(void *arg)
{
	size_t wrong = 0;

	for (int i = 0; i < 2000; i++)
		wrong += strcmp(country(arg, "192.0.2.7"), "DE") ||
			 strcmp(country(arg, "2001:db8::7"), "NL");
	return (void *)wrong;
}

Test(geoip, any_thread_may_look)
{
	struct ht_geoip *g = opened_world();
	pthread_t thread[4];
	void *wrong;

	for (size_t i = 0; i < HT_ARRAY_SIZE(thread); i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, look_up, g), 0);
	for (size_t i = 0; i < HT_ARRAY_SIZE(thread); i++) {
		pthread_join(thread[i], &wrong);
		cr_expect_eq((size_t)wrong, 0);
	}
	ht_geoip_close(g);
}
