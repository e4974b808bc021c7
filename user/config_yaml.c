/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A YAML document as typed values with their places: libyaml's node tree walked by tables of
 * fields. It knows YAML, units and how to complain, and no key of the configuration; it opens no
 * files and logs nothing.
 */
#include "config_yaml.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>

#define SHOWN "%.64s" /* what is quoted of the user's text, so that the advice still fits */

struct ht_arena_chunk {
	struct ht_arena_chunk *next;
	max_align_t bytes[];
};

void *ht_arena_alloc(struct ht_arena *a, size_t size)
{
	struct ht_arena_chunk *c = calloc(1, sizeof(*c) + size);

	if (!c)
		return NULL;
	c->next = a->first;
	a->first = c;
	return c->bytes;
}

void ht_arena_free(struct ht_arena *a)
{
	while (a->first) {
		struct ht_arena_chunk *c = a->first;

		a->first = c->next;
		free(c);
	}
}

/* ---- mistakes ---- */

/* A double-quoted scalar can hold any character; the terminal shall not interpret it. */
static void strip_controls(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

static int fail_at(struct ht_yaml *y, size_t line, size_t col, const char *fmt, va_list ap)
{
	struct ht_diag *d = y->diag;

	snprintf(d->file, sizeof(d->file), "%s", y->file);
	d->line = line;
	d->col = col;
	vsnprintf(d->text, sizeof(d->text), fmt, ap);
	strip_controls(d->text);
	return -EINVAL;
}

_printf_(4, 5) static int fail_mark(struct ht_yaml *y, size_t line, size_t col, const char *fmt,
				    ...)
{
	va_list ap;

	va_start(ap, fmt);
	fail_at(y, line, col, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int ht_yaml_fail(struct ht_yaml *y, const yaml_node_t *n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fail_at(y, n->start_mark.line + 1, n->start_mark.column + 1, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int ht_yaml_nomem(struct ht_yaml *y)
{
	fail_mark(y, 0, 0, "out of memory");
	return -ENOMEM;
}

void ht_yaml_place(const yaml_node_t *n, unsigned *ret_line, unsigned *ret_col)
{
	*ret_line = n->start_mark.line + 1;
	*ret_col = n->start_mark.column + 1;
}

/* ---- the document ---- */

static int fail_reader(struct ht_yaml *y, const yaml_parser_t *p, const char *text, size_t len)
{
	size_t line = 1, col = 1;

	for (size_t i = 0; i < p->problem_offset && i < len; i++) {
		col = text[i] == '\n' ? 1 : col + 1;
		line += text[i] == '\n';
	}
	return fail_mark(y, line, col, "this is not UTF-8 text: %s",
			 p->problem ? p->problem : "unreadable");
}

static int fail_parser(struct ht_yaml *y, const yaml_parser_t *p, const char *text, size_t len)
{
	/* libyaml's loader fails without an error when it has no memory */
	if (p->error == YAML_MEMORY_ERROR || p->error == YAML_NO_ERROR)
		return ht_yaml_nomem(y);
	if (p->error == YAML_READER_ERROR)
		return fail_reader(y, p, text, len);
	return fail_mark(y, p->problem_mark.line + 1, p->problem_mark.column + 1,
			 "this is not YAML: %s%s%s", p->problem ? p->problem : "syntax error",
			 p->context ? " " : "", p->context ? p->context : "");
}

#define DEPTH_MAX 32 /* the schema needs 8; libyaml is quadratic in it */

_printf_(3, 4) static int fail_event(struct ht_yaml *y, const yaml_event_t *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fail_at(y, e->start_mark.line + 1, e->start_mark.column + 1, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int check_tag(struct ht_yaml *y, const yaml_event_t *e, const yaml_char_t *tag)
{
	if (!tag)
		return 0;
	return fail_event(y, e, "the tag " SHOWN " is not understood; write the plain value",
			  (const char *)tag);
}

static int check_event(struct ht_yaml *y, const yaml_event_t *e, unsigned *documents,
		       unsigned *depth)
{
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		if ((*documents)++)
			return fail_event(
				y, e, "a second document begins here; one file is one document");
		return 0;
	case YAML_ALIAS_EVENT:
		return fail_event(y, e, "aliases are not understood; write the value out here");
	case YAML_SCALAR_EVENT:
		return check_tag(y, e, e->data.scalar.tag);
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		if (++*depth > DEPTH_MAX)
			return fail_event(y, e, "lists and mappings are nested too deeply here");
		return check_tag(y, e,
				 e->type == YAML_SEQUENCE_START_EVENT ? e->data.sequence_start.tag
								      : e->data.mapping_start.tag);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		--*depth;
		return 0;
	default:
		return 0;
	}
}

static int start_parser(struct ht_yaml *y, yaml_parser_t *p, const char *text, size_t len)
{
	if (!yaml_parser_initialize(p))
		return ht_yaml_nomem(y);
	yaml_parser_set_encoding(p, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(p, (const unsigned char *)text, len);
	return 0;
}

/* What the tree no longer shows, or is not to be built of: aliases, tags, depth, a second one. */
static int check_events(struct ht_yaml *y, const char *text, size_t len)
{
	unsigned documents = 0, depth = 0;
	bool end = false;
	yaml_parser_t p;
	int r = start_parser(y, &p, text, len);

	if (r)
		return r;
	while (!r && !end) {
		yaml_event_t e;

		if (!yaml_parser_parse(&p, &e)) {
			r = fail_parser(y, &p, text, len);
			break;
		}
		r = check_event(y, &e, &documents, &depth);
		end = e.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&p);
	return r;
}

static int check_root(struct ht_yaml *y)
{
	const yaml_node_t *root = ht_yaml_root(y);

	if (!root)
		return fail_mark(y, 0, 0,
				 "the file is empty; it needs at least listeners and sites");
	if (root->type != YAML_MAPPING_NODE)
		return ht_yaml_fail(y, root,
				    "the file is not a mapping; it begins with a key such as "
				    "listeners:");
	return 0;
}

int ht_yaml_open(struct ht_yaml *y, const char *text, size_t len)
{
	yaml_parser_t p;
	int r = check_events(y, text, len);

	if (!r)
		r = start_parser(y, &p, text, len);
	if (r)
		return r;
	if (!yaml_parser_load(&p, &y->doc)) {
		r = fail_parser(y, &p, text, len);
		goto out;
	}
	r = check_root(y);
	if (r)
		yaml_document_delete(&y->doc);
out:
	yaml_parser_delete(&p);
	return r;
}

void ht_yaml_close(struct ht_yaml *y)
{
	yaml_document_delete(&y->doc);
}

const yaml_node_t *ht_yaml_root(struct ht_yaml *y)
{
	return yaml_document_get_root_node(&y->doc);
}

static const yaml_node_t *node(struct ht_yaml *y, int id)
{
	return yaml_document_get_node(&y->doc, id);
}

/* ---- mappings and lists ---- */

/* Edit distance with swaps of neighbours, of words up to 31 bytes; larger ones are far. */
static size_t distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b), d[33][33];

	if (la > 32 || lb > 32)
		return SIZE_MAX;
	for (size_t i = 0; i <= la; i++) {
		for (size_t j = 0; j <= lb; j++) {
			if (!i || !j) {
				d[i][j] = i + j;
				continue;
			}
			d[i][j] = HT_MIN(HT_MIN(d[i - 1][j], d[i][j - 1]) + 1,
					 d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = HT_MIN(d[i][j], d[i - 2][j - 2] + 1);
		}
	}
	return d[la][lb];
}

const char *ht_yaml_nearest(const char *typed, const char *const *names)
{
	size_t best = HT_MIN(3, strlen(typed) / 2) + 1;
	const char *near = NULL;

	for (; *names; names++) {
		size_t d = distance(typed, *names);

		if (d < best) {
			best = d;
			near = *names;
		}
	}
	return near;
}

#define FIELDS_MAX 32

static int fail_unknown(struct ht_yaml *y, const yaml_node_t *key, const char *what,
			const struct ht_yaml_field *fields)
{
	const char *typed = (const char *)key->data.scalar.value, *names[FIELDS_MAX + 1], *near;
	char all[320] = "";
	size_t n = 0, len = 0;

	for (; fields->name && n < FIELDS_MAX; fields++) {
		names[n++] = fields->name;
		len += snprintf(all + len, sizeof(all) - len, "%s%s", len ? ", " : "",
				fields->name);
		len = HT_MIN(len, sizeof(all) - 1);
	}
	names[n] = NULL;
	near = ht_yaml_nearest(typed, names);
	if (near)
		return ht_yaml_fail(y, key, "unknown key '" SHOWN "' in %s; did you mean '%s'?",
				    typed, what, near);
	return ht_yaml_fail(y, key, "unknown key '" SHOWN "' in %s; known here: %s", typed, what,
			    all);
}

static ssize_t field_index(const struct ht_yaml_field *fields, const yaml_node_t *key)
{
	for (ssize_t i = 0; fields[i].name; i++)
		if (strlen(fields[i].name) == key->data.scalar.length &&
		    !memcmp(fields[i].name, key->data.scalar.value, key->data.scalar.length))
			return i;
	return -1;
}

/* values[i]: the node of fields[i] or NULL. */
static int sort_pairs(struct ht_yaml *y, const yaml_node_t *n, const char *what,
		      const struct ht_yaml_field *fields, const yaml_node_t **values)
{
	const yaml_node_pair_t *p = n->data.mapping.pairs.start;

	for (; p < n->data.mapping.pairs.top; p++) {
		const yaml_node_t *key = node(y, p->key);
		ssize_t i;

		if (key->type != YAML_SCALAR_NODE)
			return ht_yaml_fail(y, key, "a key of %s is not a word", what);
		i = field_index(fields, key);
		if (i < 0)
			return fail_unknown(y, key, what, fields);
		if (values[i])
			return ht_yaml_fail(y, key,
					    "'%s' stands twice in %s; the first is in line "
					    "%zu, keep one of them",
					    fields[i].name, what, values[i]->start_mark.line + 1);
		values[i] = node(y, p->value);
	}
	return 0;
}

int ht_yaml_map(struct ht_yaml *y, const yaml_node_t *n, const char *what,
		const struct ht_yaml_field *fields, void *to)
{
	const yaml_node_t *values[FIELDS_MAX] = {NULL};
	int r;

	if (n->type != YAML_MAPPING_NODE)
		return ht_yaml_fail(y, n, "%s is not a mapping; it takes keys such as '%s:'", what,
				    fields->name);
	r = sort_pairs(y, n, what, fields, values);
	for (size_t i = 0; fields[i].name && !r; i++) {
		if (values[i])
			r = fields[i].parse(y, &fields[i], values[i],
					    (char *)to + fields[i].offset);
		else if (fields[i].missing)
			r = ht_yaml_fail(y, n, "%s", fields[i].missing);
	}
	return r;
}

int ht_yaml_items(struct ht_yaml *y, const yaml_node_t *n, const char *what, size_t max,
		  bool may_be_empty, struct ht_yaml_list *ret)
{
	const yaml_node_item_t *it;
	size_t count, i = 0;

	if (n->type != YAML_SEQUENCE_NODE)
		return ht_yaml_fail(y, n,
				    "'%s' is not a list; write [a, b] or one '- ' line for "
				    "each",
				    what);
	it = n->data.sequence.items.start;
	count = n->data.sequence.items.top - it;
	if (!count && !may_be_empty)
		return ht_yaml_fail(y, n, "'%s' is an empty list; it needs at least one item",
				    what);
	if (count > max)
		return ht_yaml_fail(y, node(y, it[max]),
				    "'%s' has %zu items; at most %zu are "
				    "possible",
				    what, count, max);
	ret->item = ht_arena_alloc(y->arena, count * sizeof(*ret->item));
	if (!ret->item)
		return ht_yaml_nomem(y);
	for (; i < count; i++)
		ret->item[i] = node(y, it[i]);
	ret->n = count;
	return 0;
}

int ht_yaml_structs(struct ht_yaml *y, const yaml_node_t *n, const char *what, size_t max,
		    size_t size, int (*item)(struct ht_yaml *y, const yaml_node_t *n, void *to),
		    void *ret_array, size_t *ret_n)
{
	struct ht_yaml_list list;
	int r = ht_yaml_items(y, n, what, max, false, &list);
	char *array;

	if (r)
		return r;
	array = ht_arena_alloc(y->arena, list.n * size);
	if (!array)
		return ht_yaml_nomem(y);
	*(void **)ret_array = array;
	for (size_t i = 0; i < list.n; i++) {
		r = item(y, list.item[i], array + i * size);
		if (r)
			return r;
		*ret_n = i + 1; /* an item sees those before it, not itself */
	}
	return 0;
}

const yaml_node_t *ht_yaml_value(struct ht_yaml *y, const yaml_node_t *map, const char *key)
{
	const yaml_node_pair_t *p = map->data.mapping.pairs.start;

	for (; p < map->data.mapping.pairs.top; p++) {
		const yaml_node_t *k = node(y, p->key);

		if (!strcmp((const char *)k->data.scalar.value, key))
			return node(y, p->value);
	}
	return map;
}

/* ---- values ---- */

static bool is_null(const yaml_node_t *n)
{
	const char *v = (const char *)n->data.scalar.value;

	return n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (!*v || !strcmp(v, "~") || !strcmp(v, "null"));
}

/* The bytes of a scalar, checked. They live as long as the document. */
static int scalar(struct ht_yaml *y, const yaml_node_t *n, const char *what, const char **ret)
{
	if (n->type != YAML_SCALAR_NODE)
		return ht_yaml_fail(y, n, "'%s' is a %s; it takes a single value", what,
				    n->type == YAML_SEQUENCE_NODE ? "list" : "mapping");
	if (is_null(n) || !n->data.scalar.length)
		return ht_yaml_fail(y, n, "'%s' has no value", what);
	for (size_t i = 0; i < n->data.scalar.length; i++)
		if (n->data.scalar.value[i] < 0x20 || n->data.scalar.value[i] == 0x7f)
			return ht_yaml_fail(y, n,
					    "'%s' has a control character in it; write the "
					    "value on one line",
					    what);
	*ret = (const char *)n->data.scalar.value;
	return 0;
}

static char *copy(struct ht_yaml *y, const char *s)
{
	size_t len = strlen(s);
	char *p = ht_arena_alloc(y->arena, len + 1);

	return p ? memcpy(p, s, len + 1) : NULL;
}

int ht_yaml_text(struct ht_yaml *y, const yaml_node_t *n, const char *what, char **ret)
{
	const char *s;
	int r = scalar(y, n, what, &s);

	if (r)
		return r;
	*ret = copy(y, s);
	return *ret ? 0 : ht_yaml_nomem(y);
}

int ht_yaml_resolve(struct ht_yaml *y, const char *path, char **ret)
{
	const char *slash = strrchr(y->file, '/');
	size_t dir = *path != '/' && slash ? slash - y->file + 1 : 0, len = strlen(path);
	char *p = ht_arena_alloc(y->arena, dir + len + 1);

	if (!p)
		return ht_yaml_nomem(y);
	memcpy(p, y->file, dir);
	memcpy(p + dir, path, len + 1);
	*ret = p;
	return 0;
}

int ht_yaml_string(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n, void *to)
{
	return ht_yaml_text(y, n, f->name, to);
}

int ht_yaml_path(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n, void *to)
{
	const char *s;
	int r = scalar(y, n, f->name, &s);

	if (r)
		return r;
	if (strlen(s) >= PATH_MAX)
		return ht_yaml_fail(y, n, "'%s' is longer than a path can be (%d bytes)", f->name,
				    PATH_MAX - 1);
	return ht_yaml_resolve(y, s, to);
}

/* "a, b or c", of the words that are built. */
static void list_words(const struct ht_yaml_word *w, char *out, size_t cap)
{
	const char *last = NULL;
	size_t len = 0;

	*out = '\0';
	for (;; w++) {
		if (w->text && w->unbuilt)
			continue;
		if (last) {
			const char *join = !len ? "" : w->text ? ", " : " or ";

			len += snprintf(out + len, cap - len, "%s%s", join, last);
			len = HT_MIN(len, cap - 1);
		}
		if (!w->text)
			return;
		last = w->text;
	}
}

int ht_yaml_word(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n, void *to)
{
	const struct ht_yaml_word *w = f->arg;
	char known[128];
	const char *s;
	int r = scalar(y, n, f->name, &s);

	if (r)
		return r;
	list_words(w, known, sizeof(known));
	for (; w->text; w++) {
		if (strcmp(w->text, s))
			continue;
		if (w->unbuilt)
			return ht_yaml_fail(y, n, "'%s: %s' is not built yet; write %s", f->name, s,
					    known);
		*(unsigned *)to = w->value;
		return 0;
	}
	return ht_yaml_fail(y, n, "'%s' can't be '" SHOWN "'; write %s", f->name, s, known);
}

/* Decimal digits only; *end is what follows them. False if there are none or too many. */
static bool digits(const char *s, uint64_t *ret, const char **end)
{
	uint64_t v = 0;
	const char *p = s;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p - '0', &v))
			return false;
	*ret = v;
	*end = p;
	return p > s;
}

static bool power(const char *suffix, unsigned *ret_shift)
{
	static const struct ht_yaml_word powers[] = {
		{"", 0, 0}, {"K", 10, 0}, {"M", 20, 0}, {"G", 30, 0}};

	for (size_t i = 0; i < HT_ARRAY_SIZE(powers); i++)
		if (!strcmp(suffix, powers[i].text)) {
			*ret_shift = powers[i].value;
			return true;
		}
	return false;
}

int ht_yaml_u64(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n, void *to)
{
	const struct ht_yaml_range *range = f->arg;
	const char *s, *suffix;
	unsigned shift;
	uint64_t v;
	int r = scalar(y, n, f->name, &s);

	if (r)
		return r;
	if (!digits(s, &v, &suffix) || !power(suffix, &shift) || v > UINT64_MAX >> shift)
		return ht_yaml_fail(y, n,
				    "'%s' can't be '" SHOWN "'; write a number such as 4096, "
				    "or 64K, 10M, 1G",
				    f->name, s);
	v <<= shift;
	if (v < range->min || v > range->max)
		return ht_yaml_fail(
			y, n, "'%s' can't be " SHOWN "; it is between %" PRIu64 " and %" PRIu64,
			f->name, s, range->min, range->max);
	memcpy(to, &v, sizeof(v));
	return 0;
}

int ht_yaml_size(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n, void *to)
{
	uint64_t v;
	int r = ht_yaml_u64(y, f, n, &v);

	if (!r)
		*(size_t *)to = v;
	return r;
}

int ht_yaml_u32(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n, void *to)
{
	uint64_t v;
	int r = ht_yaml_u64(y, f, n, &v);

	if (!r)
		*(uint32_t *)to = v;
	return r;
}

static uint64_t unit_ms(const char *unit)
{
	static const struct ht_yaml_word units[] = {{"ms", 1, 0},
						    {"s", 1000, 0},
						    {"m", 60000, 0},
						    {"h", 3600000, 0},
						    {"d", 86400000, 0}};

	for (size_t i = 0; i < HT_ARRAY_SIZE(units); i++)
		if (!strcmp(unit, units[i].text))
			return units[i].value;
	return 0;
}

/* The largest unit that gives a whole number. */
static const char *show_ms(uint64_t ms, char *out, size_t cap)
{
	static const struct ht_yaml_word units[] = {{"d", 86400000, 0},
						    {"h", 3600000, 0},
						    {"m", 60000, 0},
						    {"s", 1000, 0},
						    {"ms", 1, 0}};
	size_t i = 0;

	while (ms % units[i].value)
		i++;
	snprintf(out, cap, "%" PRIu64 "%s", ms / units[i].value, ms ? units[i].text : "");
	return out;
}

int ht_yaml_msec(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n, void *to)
{
	const struct ht_yaml_range *range = f->arg;
	char min[32], max[32];
	const char *s, *unit;
	uint64_t v, ms;
	int r = scalar(y, n, f->name, &s);

	if (r)
		return r;
	if (!digits(s, &v, &unit))
		return ht_yaml_fail(y, n,
				    "'%s' can't be '" SHOWN "'; write a duration such as 500ms, "
				    "10s, 5m, 24h or 1d",
				    f->name, s);
	ms = unit_ms(unit);
	if (!*unit && v)
		return ht_yaml_fail(y, n,
				    "'%s: " SHOWN "' has no unit; write " SHOWN "s if seconds "
				    "are meant (ms, s, m, h, d)",
				    f->name, s, s);
	if (!ms && *unit)
		return ht_yaml_fail(y, n,
				    "'%s' can't be '" SHOWN "'; the units are ms, s, m, h and d",
				    f->name, s);
	if (__builtin_mul_overflow(v, ms, &v) || v < range->min || v > range->max)
		return ht_yaml_fail(y, n, "'%s' can't be " SHOWN "; it is between %s and %s",
				    f->name, s, show_ms(range->min, min, sizeof(min)),
				    show_ms(range->max, max, sizeof(max)));
	memcpy(to, &v, sizeof(v));
	return 0;
}

int ht_yaml_sec(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n, void *to)
{
	uint64_t ms;
	int r = ht_yaml_msec(y, f, n, &ms);

	if (r)
		return r;
	if (ms % 1000)
		return ht_yaml_fail(y, n, "'%s' is no whole number of seconds", f->name);
	*(uint64_t *)to = ms / 1000;
	return 0;
}

int ht_yaml_unbuilt(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
		    void *to)
{
	const char *instead = f->arg;

	(void)to;
	return ht_yaml_fail(y, n, "'%s' is not built yet; %s", f->name,
			    instead ? instead : "leave it out");
}
