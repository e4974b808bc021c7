/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's own log: syslog levels, key=value fields, one line per call, to stderr; and the
 * access log. Client text goes in quoted and escaped. Pure modules don't log.
 */
#ifndef HT_LOG_H
#define HT_LOG_H

#include <syslog.h>

#include "config.h"
#include "util.h"

/*
 * Writes "LEVEL text\n" ("warning text\n", or "<4>text\n" where stderr is the journal) in one
 * write(), control characters as blanks, at most 2 KB. A line that a full non-blocking pipe does
 * not take is dropped, and the next one that gets through ends with "dropped=N". Thread-safe.
 */
void ht_log(int level, const char *fmt, ...) _printf_(2, 3);

/*
 * As ht_log(), but at most one line a second for each place in the code that a client can reach;
 * the next one that gets through says how many were left out ("suppressed=N").
 */
#define ht_log_limited(level, ...)                                                                 \
	do {                                                                                       \
		static struct ht_log_limit _limit;                                                 \
		ht_log_limited_at(&_limit, level, __VA_ARGS__);                                    \
	} while (0)
struct ht_log_limit {
	int64_t next_ms;
	unsigned suppressed;
};
void ht_log_limited_at(struct ht_log_limit *limit, int level, const char *fmt, ...) _printf_(3, 4);

/* Lowest urgency that is written (LOG_INFO by default). */
void ht_log_level(int level);

/* Sends libbpf's own messages through ht_log(), at debug level. */
void ht_log_hook_libbpf(void);

/* Escapes quotes, backslashes, controls and 8-bit bytes as \xHH; NUL-terminates; truncates. */
const char *ht_log_quote(struct ht_str s, char *out, size_t cap);

/* As it stands if it is a word that needs no quotes, else quoted and escaped likewise. */
const char *ht_log_word(struct ht_str s, char *out, size_t cap);

/* One finished exchange. */
struct ht_access {
	const char *client, *listener, *upstream; /* text; upstream may be NULL */
	struct ht_str method, target, host, user_agent, referer;
	int minor, status;
	uint64_t bytes_in, bytes_out, duration_us;
	const char *request_id, *tls; /* tls: "TLSv1.3" or NULL */
	const char *verdicts;	      /* "ASP.NET_SessionId=hit", comma separated; never a value */
};

struct ht_access_log;
/*
 * `to`: "stderr", "off" or a path (opened for appending, 0640; nobody waits for the reader of a
 * FIFO). -errno with diag-like text.
 */
int ht_access_log_open(enum ht_log_format format, const char *to, struct ht_access_log **ret,
		       char *why, size_t why_len);
/*
 * Opens the path again, which somebody else may have moved away or emptied; nothing to do for the
 * others. No line is lost to the change. -errno with text: the old file stays in use. Any one thread.
 */
int ht_access_log_reopen(struct ht_access_log *l, char *why, size_t why_len);
void ht_access_log_close(struct ht_access_log *l); /* NULL-safe */
/* Query strings are written; cookies never are. One write() a line. Thread-safe. */
void ht_access_log_write(struct ht_access_log *l, const struct ht_access *a);
bool ht_access_log_on(const struct ht_access_log *l);

#endif
