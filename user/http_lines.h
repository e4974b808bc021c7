/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the HTTP/1.1 parser: shared by http.c, http_lines.c, http_write.c and chunked.c, for
 * nobody else.
 */
#ifndef HT_HTTP_LINES_H
#define HT_HTTP_LINES_H

#include "http.h"

static inline bool ht_http_is_tchar(char c)
{
	return ht_http_class[(uint8_t)c] & HT_HTTP_TOKEN;
}

static inline bool ht_http_is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static inline bool ht_http_is_control(char c)
{
	return (uint8_t)c < 0x20 || c == 0x7f;
}

/* Where the parser stands. Every step answers 1 (done), 0 (more bytes are needed) or -STATUS. */
struct ht_http_cursor {
	const char *p, *end;
	const char *why; /* static text, with -STATUS */
};

int ht_http_refuse(struct ht_http_cursor *c, int status, const char *why);
int ht_http_take_crlf(struct ht_http_cursor *c);

/* "HTTP/" DIGIT "." DIGIT; *ret is ten times major plus minor. */
int ht_http_take_version(struct ht_http_cursor *c, int *ret);

/* All field lines and the empty one. -400 or -431; fields[HT_HTTP_FIELDS_MAX]. */
int ht_http_take_fields(struct ht_http_cursor *c, bool request, struct ht_http_field *fields,
			size_t *ret);

/* The first control byte, a tab included, or end. */
const char *ht_http_find_control(const char *p, const char *end);

/* The first byte that cannot stand in a field value (or reason phrase), or end. */
const char *ht_http_find_value_end(const char *p, const char *end);

/* The first byte that cannot stand in a request target, or end. */
const char *ht_http_find_target_end(const char *p, const char *end);

/*
 * Whether the bytes from `from` on may have ended the head. A bare LF counts: the parser is to
 * refuse it. Also true when the head has grown to another power of two, so that a malformed one
 * is not hoarded, and all parsing together is still linear.
 */
bool ht_http_is_worth_parsing(const char *buf, size_t from, size_t len);

bool ht_http_is_token(struct ht_str s);

/* 1*19DIGIT, at most 2^63-1. */
bool ht_http_parse_length(struct ht_str v, uint64_t *ret);

/* Credentials or a challenge that authenticate a connection, not a request. */
bool ht_http_is_ntlm(struct ht_str v);

struct ht_http_connection_options {
	bool close, keep_alive, upgrade, malformed;
	unsigned others;
};

/* Adds one Connection field's options. */
void ht_http_read_connection(struct ht_str list, struct ht_http_connection_options *o);

/* Drops the fields that Connection names. Costs others x n: bound `others` first. */
void ht_http_drop_named(struct ht_http_field *fields, size_t n);

#endif
