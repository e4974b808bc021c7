/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes databases in the MaxMind DB format (version 2.0 of its specification) for tests: a search
 * tree, records, metadata. As little of it as a few networks need; not for real data.
 */
#ifndef HT_TEST_MMDB_H
#define HT_TEST_MMDB_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A network and what the database says of it. */
struct mmdb_row {
	const char *network;	/* 192.0.2.0/24, or IPv6 */
	const char *country;	/* its iso_code; NULL = the record has no country */
	const char *registered; /* registered_country's, or NULL */
};

#define MMDB_NODES 4096
#define MMDB_DATA 65536
#define MMDB_ROWS 64

struct mmdb {
	bool v4;		      /* ip_version 4 */
	uint32_t node[MMDB_NODES][2]; /* 0 = empty, 1.. = a node, MMDB_NODES + i = row i */
	uint32_t nnodes;
	uint8_t data[MMDB_DATA];
	size_t len;
	size_t at[MMDB_ROWS]; /* of each row's record, from the start of the data section */
};

/* ---- the data section ---- */

static void mmdb_control(struct mmdb *m, unsigned type, unsigned size)
{
	m->data[m->len++] = (uint8_t)((type > 7 ? 0 : type << 5) | size);
	if (type > 7)
		m->data[m->len++] = (uint8_t)(type - 7);
}

static void mmdb_text(struct mmdb *m, const char *s)
{
	size_t n = strlen(s); /* at most 28: no longer sizes here */

	mmdb_control(m, 2, (unsigned)n);
	memcpy(m->data + m->len, s, n);
	m->len += n;
}

static void mmdb_number(struct mmdb *m, unsigned type, unsigned size, uint64_t n)
{
	mmdb_control(m, type, size);
	while (size--)
		m->data[m->len++] = (uint8_t)(n >> (8 * size));
}

static void mmdb_map(struct mmdb *m, unsigned entries)
{
	mmdb_control(m, 7, entries);
}

static void mmdb_country(struct mmdb *m, const char *key, const char *code)
{
	if (!code)
		return;
	mmdb_text(m, key);
	mmdb_map(m, 2);
	mmdb_text(m, "geoname_id");
	mmdb_number(m, 6, 4, 2921044);
	mmdb_text(m, "iso_code");
	mmdb_text(m, code);
}

static void mmdb_record(struct mmdb *m, const struct mmdb_row *row)
{
	mmdb_map(m, 1 + !!row->country + !!row->registered);
	mmdb_text(m, "autonomous_system_number");
	mmdb_number(m, 6, 4, 64496);
	mmdb_country(m, "country", row->country);
	mmdb_country(m, "registered_country", row->registered);
}

/* ---- the search tree ---- */

/* Bits of the address as the tree has them: IPv4 stands under ::/96. */
static unsigned mmdb_bits(const struct mmdb *m, const char *network, uint8_t ret[16])
{
	char copy[64], *slash;
	unsigned bits;

	snprintf(copy, sizeof(copy), "%s", network);
	slash = strchr(copy, '/');
	bits = (unsigned)atoi(slash + 1);
	*slash = 0;
	memset(ret, 0, 16);
	if (inet_pton(AF_INET6, copy, ret) == 1)
		return bits;
	inet_pton(AF_INET, copy, m->v4 ? ret : ret + 12);
	return m->v4 ? bits : bits + 96;
}

static void mmdb_insert(struct mmdb *m, const char *network, uint32_t row)
{
	uint8_t addr[16];
	unsigned bits = mmdb_bits(m, network, addr);
	uint32_t at = 0;

	for (unsigned i = 0; i < bits; i++) {
		uint32_t *next = &m->node[at][addr[i / 8] >> (7 - i % 8) & 1];

		if (i + 1 == bits)
			*next = MMDB_NODES + row;
		else if (!*next)
			*next = m->nnodes++;
		at = *next;
	}
}

static void mmdb_put_node(const struct mmdb *m, const uint32_t node[2], FILE *f)
{
	for (int side = 0; side < 2; side++) {
		uint32_t v = node[side];

		if (!v)
			v = m->nnodes;
		else if (v >= MMDB_NODES)
			v = m->nnodes + 16 + (uint32_t)m->at[v - MMDB_NODES];
		fputc((int)(v >> 16 & 255), f);
		fputc((int)(v >> 8 & 255), f);
		fputc((int)(v & 255), f);
	}
}

/* ---- the file ---- */

static void mmdb_metadata(struct mmdb *m, const char *type)
{
	mmdb_map(m, 9);
	mmdb_text(m, "binary_format_major_version");
	mmdb_number(m, 5, 2, 2);
	mmdb_text(m, "binary_format_minor_version");
	mmdb_number(m, 5, 2, 0);
	mmdb_text(m, "build_epoch");
	mmdb_number(m, 9, 8, 1700000000);
	mmdb_text(m, "database_type");
	mmdb_text(m, type);
	mmdb_text(m, "description");
	mmdb_map(m, 1);
	mmdb_text(m, "en");
	mmdb_text(m, "Made for a test");
	mmdb_text(m, "ip_version");
	mmdb_number(m, 5, 2, m->v4 ? 4 : 6);
	mmdb_text(m, "languages");
	mmdb_control(m, 11, 1);
	mmdb_text(m, "en");
	mmdb_text(m, "node_count");
	mmdb_number(m, 6, 4, m->nnodes);
	mmdb_text(m, "record_size");
	mmdb_number(m, 5, 2, 24);
}

/* False if the file can't be written. At most MMDB_ROWS rows, none inside another. */
static bool mmdb_write(const char *path, bool v4, const struct mmdb_row *rows, size_t nrows)
{
	struct mmdb *m = calloc(1, sizeof(*m));
	FILE *f = fopen(path, "wbe");
	static const char separator[16];
	size_t records;

	if (!m || !f) {
		free(m);
		if (f)
			fclose(f);
		return false;
	}
	m->v4 = v4;
	m->nnodes = 1;
	for (size_t i = 0; i < nrows; i++) {
		m->at[i] = m->len;
		mmdb_record(m, &rows[i]);
		mmdb_insert(m, rows[i].network, (uint32_t)i);
	}
	for (uint32_t i = 0; i < m->nnodes; i++)
		mmdb_put_node(m, m->node[i], f);
	fwrite(separator, 1, sizeof(separator), f);
	records = m->len;
	mmdb_metadata(m, "Test-Country");
	fwrite(m->data, 1, records, f);
	fputs("\xab\xcd\xefMaxMind.com", f);
	fwrite(m->data + records, 1, m->len - records, f);
	free(m);
	return !fclose(f);
}

#endif
