/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Countries of addresses, by libmaxminddb. The library maps files, which would let whoever truncates
 * one kill us; so it maps a copy that nobody else can reach. Must not guess: what the database
 * does not plainly say is no country.
 */
#include "geoip.h"

#include <fcntl.h>
#include <maxminddb.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#define HT_GEOIP_MAX (512L << 20) /* bytes of a file; the largest City databases have 130 MB */
#define HT_GEOIP_LOOKS 4096    /* records without a country before we believe that none has one */
#define HT_GEOIP_STEPS 1000000 /* nodes looked at meanwhile: the file may be anybody's */

struct ht_geoip {
	MMDB_s db;
};

static int fail(char *why, size_t why_len, int err, const char *what)
{
	snprintf(why, why_len, "%s", what ? what : strerror(-err));
	return err;
}

/* ---- reading ---- */

/* All of `from` into `to`: bytes, or -errno. What grows meanwhile has an end. */
static int64_t copy_all(int from, int to)
{
	int64_t total = 0;
	ssize_t n;

	while (total <= HT_GEOIP_MAX) {
		n = sendfile(to, from, NULL, 1 << 20);
		if (n == 0)
			return total;
		if (n < 0 && errno != EINTR)
			return -errno;
		total += n > 0 ? n : 0;
	}
	return -EFBIG;
}

/* An unnamed copy of the file. Only of plain ones: a FIFO would let us wait for ever. */
static int copy_file(const char *path, int *ret, char *why, size_t why_len)
{
	_cleanup_close_ int from = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	_cleanup_close_ int to = -1;
	struct stat st;
	int64_t n;

	if (from < 0 || fstat(from, &st) < 0)
		return fail(why, why_len, -errno, NULL);
	if (!S_ISREG(st.st_mode))
		return fail(why, why_len, -EINVAL, "not a plain file");
	to = memfd_create("geoip", MFD_CLOEXEC);
	if (to < 0)
		return fail(why, why_len, -errno, NULL);
	n = copy_all(from, to);
	if (n == -EFBIG)
		return fail(why, why_len, -EINVAL, "larger than 512 MiB");
	if (n < 0)
		return fail(why, why_len, (int)n, NULL);
	*ret = TAKE_FD(to);
	return 0;
}

/* ---- what a record says ---- */

static bool is_letter(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool entry_country(MMDB_entry_s *entry, char ret[HT_COUNTRY_LEN])
{
	static const char *const path[] = {"country", "iso_code", NULL};
	MMDB_entry_data_s data;

	if (MMDB_aget_value(entry, &data, path) != MMDB_SUCCESS || !data.has_data ||
	    data.type != MMDB_DATA_TYPE_UTF8_STRING || data.data_size != HT_COUNTRY_LEN)
		return false;
	if (!is_letter(data.utf8_string[0]) || !is_letter(data.utf8_string[1]))
		return false;
	memcpy(ret, data.utf8_string, HT_COUNTRY_LEN);
	return true;
}

/* ---- does it know countries at all? ---- */

struct search {
	const MMDB_s *db;
	unsigned looks, steps;
	unsigned depth;
	uint64_t todo[130]; /* nodes: a way down has 128, and beside each at most one waits */
	bool found, broken;
};

static void search_record(struct search *s, uint8_t type, uint64_t node, MMDB_entry_s *entry)
{
	char country[HT_COUNTRY_LEN];

	if (type == MMDB_RECORD_TYPE_SEARCH_NODE && s->depth < HT_ARRAY_SIZE(s->todo))
		s->todo[s->depth++] = node;
	else if (type == MMDB_RECORD_TYPE_DATA && ++s->looks)
		s->found |= entry_country(entry, country);
	else if (type != MMDB_RECORD_TYPE_EMPTY)
		s->broken = true;
}

/*
 * Looks at records, from the lowest address on, until one has a country. A tree that is none (it
 * goes in circles) ends by the limits.
 */
static const char *search_countries(const MMDB_s *db)
{
	struct search s = {.db = db, .depth = 1};

	while (s.depth && !s.found && !s.broken && s.looks < HT_GEOIP_LOOKS &&
	       s.steps++ < HT_GEOIP_STEPS) {
		MMDB_search_node_s node;

		if (MMDB_read_node(db, (uint32_t)s.todo[--s.depth], &node) != MMDB_SUCCESS)
			return "its search tree is broken";
		search_record(&s, node.right_record_type, node.right_record,
			      &node.right_record_entry);
		search_record(&s, node.left_record_type, node.left_record, &node.left_record_entry);
	}
	if (s.broken)
		return "its search tree is broken";
	return s.found ? NULL
		       : "no record of it has a country; write a Country, City or Enterprise "
			 "database";
}

/* ---- opening ---- */

int ht_geoip_open(const char *path, struct ht_geoip **ret, char *why, size_t why_len)
{
	_cleanup_close_ int fd = -1;
	struct ht_geoip *g;
	const char *what;
	char copy[32];
	int r = copy_file(path, &fd, why, why_len);

	if (r)
		return r;
	g = calloc(1, sizeof(*g));
	if (!g)
		return fail(why, why_len, -ENOMEM, NULL);
	snprintf(copy, sizeof(copy), "/proc/self/fd/%d", fd);
	r = MMDB_open(copy, MMDB_MODE_MMAP, &g->db);
	if (r != MMDB_SUCCESS) {
		free(g);
		if (r == MMDB_FILE_OPEN_ERROR || r == MMDB_IO_ERROR)
			return fail(why, why_len, -EIO, "can't read the copy in /proc/self/fd");
		return fail(why, why_len, -EINVAL, MMDB_strerror(r));
	}
	what = search_countries(&g->db);
	if (what) {
		ht_geoip_close(g);
		return fail(why, why_len, -EINVAL, what);
	}
	*ret = g;
	return 0;
}

void ht_geoip_close(struct ht_geoip *g)
{
	if (!g)
		return;
	MMDB_close(&g->db);
	free(g);
}

/* ---- looking up ---- */

bool ht_geoip_country(const struct ht_geoip *g, const struct sockaddr *addr,
		      char ret[HT_COUNTRY_LEN])
{
	const struct sockaddr_in6 *six = (const void *)addr;
	struct sockaddr_in four = {.sin_family = AF_INET};
	MMDB_lookup_result_s found;
	int err;

	if (addr->sa_family != AF_INET && addr->sa_family != AF_INET6)
		return false;
	if (addr->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
		memcpy(&four.sin_addr, six->sin6_addr.s6_addr + 12, sizeof(four.sin_addr));
		addr = (const void *)&four;
	}
	found = MMDB_lookup_sockaddr(&g->db, addr, &err);
	return err == MMDB_SUCCESS && found.found_entry && entry_country(&found.entry, ret);
}
