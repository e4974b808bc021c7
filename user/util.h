/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small helpers that every file may use: cleanup attributes, ownership transfer, array sizes.
 * Nothing here allocates, logs or knows about hardtack.
 */
#ifndef HT_UTIL_H
#define HT_UTIL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HT_VERSION "0.1.0"

#define HT_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define HT_MIN(a, b) ((a) < (b) ? (a) : (b))
#define HT_MAX(a, b) ((a) > (b) ? (a) : (b))
#define ht_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(f, a) __attribute__((format(printf, f, a)))

static inline void ht_freep(void *p)
{
	free(*(void **)p);
}

static inline void ht_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void ht_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_free_ _cleanup_(ht_freep)
#define _cleanup_close_ _cleanup_(ht_closep)
#define _cleanup_fclose_ _cleanup_(ht_fclosep)

#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) *_pp = &(p), _v = *_pp;                                              \
		*_pp = NULL;                                                                       \
		_v;                                                                                \
	})
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int *_fp = &(fd), _v = *_fp;                                                       \
		*_fp = -1;                                                                         \
		_v;                                                                                \
	})

/* A run of bytes that somebody else owns; not NUL-terminated. */
struct ht_str {
	const char *p;
	size_t len;
};

#define HT_STR(s) ((struct ht_str){(s), strlen(s)})
#define HT_STR_FMT "%.*s"
#define HT_STR_ARG(s) (int)(s).len, (s).p

/* An empty one may be NULL, which memcmp() may not be given. */
static inline bool ht_str_eq(struct ht_str a, struct ht_str b)
{
	return a.len == b.len && (!a.len || !memcmp(a.p, b.p, a.len));
}

/* Without the spaces and tabs around it (OWS of RFC 9110, 5.6.3). */
static inline struct ht_str ht_str_trim(struct ht_str s)
{
	while (s.len && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.len--;
	}
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* The user's own mistake: where it is and what would be right. Filled by whoever finds it. */
struct ht_diag {
	char file[256];
	unsigned line, col; /* 1-based; 0 = the file as a whole */
	char text[512];
};

#endif
