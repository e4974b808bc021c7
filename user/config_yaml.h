/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A YAML document as typed values with their places: the walk that config.c's tables drive. It
 * knows YAML, units and how to complain; it must not know any key of the configuration. Every
 * function here returns 0, or -EINVAL (-ENOMEM) with the diag of the ht_yaml filled.
 */
#ifndef HT_CONFIG_YAML_H
#define HT_CONFIG_YAML_H

#include <yaml.h>

#include "util.h"

/* Allocations that are freed together. Zero it before use. */
struct ht_arena {
	struct ht_arena_chunk *first;
};
void *ht_arena_alloc(struct ht_arena *a, size_t size); /* zeroed; NULL when out of memory */
void ht_arena_free(struct ht_arena *a);

struct ht_yaml {
	const char *file;
	struct ht_arena *arena; /* where all values go */
	struct ht_diag *diag;
	void *root; /* what is being filled, for parsers that look across */
	yaml_document_t doc;
};

/*
 * Parses one document. Aliases, tags, a second document, deep nesting and anything but a mapping
 * at the top are mistakes. On success the caller calls ht_yaml_close().
 */
int ht_yaml_open(struct ht_yaml *y, const char *text, size_t len);
void ht_yaml_close(struct ht_yaml *y);
const yaml_node_t *ht_yaml_root(struct ht_yaml *y);

/* Fills the diag with the node's place. Always -EINVAL. */
int ht_yaml_fail(struct ht_yaml *y, const yaml_node_t *n, const char *fmt, ...) _printf_(3, 4);
int ht_yaml_nomem(struct ht_yaml *y); /* always -ENOMEM */
void ht_yaml_place(const yaml_node_t *n, unsigned *ret_line, unsigned *ret_col);

/*
 * One key of a mapping. `parse` gets the address of the target plus `offset`. Fields are parsed
 * in the order of the table, not of the file, so that one may look at what stands above it.
 */
struct ht_yaml_field {
	const char *name;
	int (*parse)(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
		     void *to);
	size_t offset;
	const void *arg;     /* whatever `parse` needs */
	const char *missing; /* not NULL: the key must be there; what to say when it isn't */
};

/* `fields` ends with a NULL name. Unknown and duplicate keys are mistakes. */
int ht_yaml_map(struct ht_yaml *y, const yaml_node_t *n, const char *what,
		const struct ht_yaml_field *fields, void *to);

/* *ret_nodes: the items of a sequence of 1 to `max` ones (0 too if `may_be_empty`). */
struct ht_yaml_list {
	const yaml_node_t **item;
	size_t n;
};
int ht_yaml_items(struct ht_yaml *y, const yaml_node_t *n, const char *what, size_t max,
		  bool may_be_empty, struct ht_yaml_list *ret);

/* Fills an array of structs: `item` gets each zeroed element, and sees those before it. */
int ht_yaml_structs(struct ht_yaml *y, const yaml_node_t *n, const char *what, size_t max,
		    size_t size, int (*item)(struct ht_yaml *y, const yaml_node_t *n, void *to),
		    void *ret_array, size_t *ret_n);

/* The value of a key of a mapping that ht_yaml_map() found good, or the mapping itself. */
const yaml_node_t *ht_yaml_value(struct ht_yaml *y, const yaml_node_t *map, const char *key);

/* A scalar that is not empty and has no control characters, copied. */
int ht_yaml_text(struct ht_yaml *y, const yaml_node_t *n, const char *what, char **ret);

/* A path, relative ones made relative to the directory of y->file. */
int ht_yaml_resolve(struct ht_yaml *y, const char *path, char **ret);

/* The nearest of `names` to a mistyped one, or NULL if none is near. Ends with NULL. */
const char *ht_yaml_nearest(const char *typed, const char *const *names);

/* Ready-made parsers for fields. */
struct ht_yaml_word {
	const char *text;
	unsigned value;
	bool unbuilt; /* known, but not built yet */
};
struct ht_yaml_range {
	uint64_t min, max;
};

int ht_yaml_string(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
		   void *to); /* char * */
int ht_yaml_path(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
		 void *to); /* char * */
int ht_yaml_word(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
		 void *to); /* unsigned; arg: table of words, ends with a NULL text */
int ht_yaml_u64(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
		void *to); /* uint64_t; arg: range; suffixes K, M and G are powers of 1024 */
int ht_yaml_size(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
		 void *to); /* size_t; arg: range */
int ht_yaml_u32(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
		void *to); /* uint32_t; arg: range */
int ht_yaml_msec(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
		 void *to); /* uint64_t; arg: range in milliseconds */
int ht_yaml_sec(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
		void *to); /* uint64_t; arg: range in milliseconds */
int ht_yaml_unbuilt(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
		    void *to); /* always a mistake; arg: what to do instead, or NULL */

/* For the tables and the parsers that are particular to one key. */
#define HT_FIELD(key, parser, type, member, ...)                                                   \
	{                                                                                          \
		.name = key, .parse = parser, .offset = offsetof(type, member), __VA_ARGS__        \
	}
/* A parser that fills several members, or none: it gets the whole struct. */
#define HT_WHOLE(key, parser, ...)                                                                 \
	{                                                                                          \
		.name = key, .parse = parser, __VA_ARGS__                                          \
	}
#define HT_UNBUILT(key, instead)                                                                   \
	{                                                                                          \
		.name = key, .parse = ht_yaml_unbuilt, .arg = instead                              \
	}
#define HT_RANGE(lo, hi)                                                                           \
	.arg = &(const struct ht_yaml_range)                                                       \
	{                                                                                          \
		lo, hi                                                                             \
	}
#define HT_WORDS(...)                                                                              \
	.arg = (const struct ht_yaml_word[])                                                       \
	{                                                                                          \
		__VA_ARGS__,                                                                       \
		{                                                                                  \
			0                                                                          \
		}                                                                                  \
	}
#define HT_PARSER(name)                                                                            \
	static int name(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,    \
			void *to)

#endif
