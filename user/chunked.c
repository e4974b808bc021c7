/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunked coding: a strict decoder, and the size lines of the chunks that we write.
 * Extensions and trailers are checked and dropped, never forwarded: a Cookie in a trailer would
 * get past the gate.
 */
#include "http_lines.h"

#include <assert.h>

/* What lines may take up without data to show for it; as much again for trailers. */
#define OVERHEAD_MAX 8192
#define OVERHEAD_PER_CHUNK 16

enum chunked_state {
	SIZE_FIRST = 0, /* the first digit of a size */
	SIZE,
	EXTENSION,
	EXTENSION_QUOTED,
	EXTENSION_ESCAPED, /* after a backslash in quotes */
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	TRAILER_FIRST, /* the first byte of a trailer line, or the end */
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	END_LF,
	DONE,
	BROKEN,
};

static int hex_value(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	ch |= 0x20;
	return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static enum chunked_state step_size(struct ht_http_chunked *c, char ch)
{
	int digit = hex_value(ch);

	if (digit >= 0) {
		if (c->left > (uint64_t)INT64_MAX >> 4)
			return BROKEN;
		c->left = c->left << 4 | (uint64_t)digit;
		return SIZE;
	}
	if (c->state == SIZE_FIRST)
		return BROKEN;
	return ch == '\r' ? SIZE_LF : ch == ';' ? EXTENSION : BROKEN;
}

/* Blanks only in quotes: before CRLF or a ';' they are what smuggling is made of. */
static enum chunked_state step_extension(char ch)
{
	if (ch == '\r')
		return SIZE_LF;
	if (ch == '"')
		return EXTENSION_QUOTED;
	return ht_http_is_tchar(ch) || ch == ';' || ch == '=' ? EXTENSION : BROKEN;
}

static enum chunked_state step_quoted(char ch)
{
	if (ht_http_is_control(ch))
		return BROKEN;
	return ch == '"' ? EXTENSION : ch == '\\' ? EXTENSION_ESCAPED : EXTENSION_QUOTED;
}

/* The size line is complete. Data excuses lines: small chunks are not an attack. */
static enum chunked_state end_size_line(struct ht_http_chunked *c)
{
	uint64_t excused = OVERHEAD_PER_CHUNK + c->left;

	c->overhead = c->left && c->overhead > excused ? c->overhead - (uint32_t)excused : 0;
	return c->left ? DATA : TRAILER_FIRST;
}

static enum chunked_state step_trailer(struct ht_http_chunked *c, char ch)
{
	switch (c->state) {
	case TRAILER_FIRST:
		return ch == '\r' ? END_LF : ht_http_is_tchar(ch) ? TRAILER_NAME : BROKEN;
	case TRAILER_NAME:
		return ch == ':' ? TRAILER_VALUE : ht_http_is_tchar(ch) ? TRAILER_NAME : BROKEN;
	case TRAILER_VALUE:
		if (ch == '\r')
			return TRAILER_LF;
		return ht_http_is_control(ch) && ch != '\t' ? BROKEN : TRAILER_VALUE;
	case TRAILER_LF:
		return ch == '\n' ? TRAILER_FIRST : BROKEN;
	}
	return ch == '\n' ? DONE : BROKEN; /* END_LF */
}

/* One byte that is not data. */
static enum chunked_state step(struct ht_http_chunked *c, char ch)
{
	if (++c->overhead > OVERHEAD_MAX)
		return BROKEN;
	switch (c->state) {
	case SIZE_FIRST:
	case SIZE:
		return step_size(c, ch);
	case EXTENSION:
		return step_extension(ch);
	case EXTENSION_QUOTED:
		return step_quoted(ch);
	case EXTENSION_ESCAPED:
		return ht_http_is_control(ch) ? BROKEN : EXTENSION_QUOTED;
	case SIZE_LF:
		return ch == '\n' ? end_size_line(c) : BROKEN;
	case DATA_CR:
		return ch == '\r' ? DATA_LF : BROKEN;
	case DATA_LF:
		return ch == '\n' ? SIZE_FIRST : BROKEN;
	case TRAILER_FIRST:
	case TRAILER_NAME:
	case TRAILER_VALUE:
	case TRAILER_LF:
	case END_LF:
		return step_trailer(c, ch);
	}
	return BROKEN;
}

uint64_t ht_http_chunk_left(const struct ht_http_chunked *c)
{
	return c->state == DATA ? c->left : 0;
}

void ht_http_chunk_took(struct ht_http_chunked *c, uint64_t n)
{
	assert(c->state == DATA && n <= c->left);
	c->left -= n;
	if (!c->left)
		c->state = DATA_CR;
}

int ht_http_dechunk(struct ht_http_chunked *c, const char *in, size_t len, size_t *ret_used,
		    const char **ret_data, size_t *ret_data_len)
{
	size_t i = 0, n = 0;

	while (i < len && c->state != DATA && c->state != DONE && c->state != BROKEN)
		c->state = (int)step(c, in[i++]);
	*ret_data = in + i;
	if (c->state == DATA) {
		n = HT_MIN(c->left, len - i);
		ht_http_chunk_took(c, n);
	}
	*ret_data_len = n;
	*ret_used = i + n;
	if (c->state == BROKEN)
		return -400;
	return c->state == DONE;
}

int ht_http_chunk_line(uint64_t n, bool first, char *out)
{
	return snprintf(out, 24, "%s%llx\r\n%s", first ? "" : "\r\n", (unsigned long long)n,
			n ? "" : "\r\n");
}
