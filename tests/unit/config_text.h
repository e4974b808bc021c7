/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configurations as texts, for the tests of what one becomes and of what is said about it: tables of
 * mistakes with their place, and of warnings.
 */
#ifndef HT_TEST_CONFIG_TEXT_H
#define HT_TEST_CONFIG_TEXT_H

#include <criterion/criterion.h>

#include "config.h"

#define CONFIG_TEXT_FILE "/etc/hardtack/test.yaml"

static inline struct ht_config *parse_ok(const char *text)
{
	struct ht_config *c = NULL;
	struct ht_diag d = {0};
	int r = ht_config_parse(CONFIG_TEXT_FILE, text, strlen(text), &c, &d);

	cr_assert(r == 0, "%u:%u: %s\n%s", d.line, d.col, d.text, text);
	return c;
}

struct mistake {
	const char *name, *text;
	unsigned line, col;
	const char *says;
};

static inline void check_mistake(const struct mistake *m)
{
	struct ht_config *c = NULL;
	struct ht_diag d = {0};
	int r = ht_config_parse(CONFIG_TEXT_FILE, m->text, strlen(m->text), &c, &d);

	cr_expect(r == -EINVAL, "%s: accepted", m->name);
	cr_expect(!c, "%s: *ret written", m->name);
	cr_expect(d.line == m->line && d.col == m->col, "%s: at %u:%u, not %u:%u (%s)", m->name,
		  d.line, d.col, m->line, m->col, d.text);
	cr_expect(strstr(d.text, m->says), "%s: says '%s', not '%s'", m->name, d.text, m->says);
	cr_expect(!strcmp(d.file, CONFIG_TEXT_FILE), "%s: in file '%s'", m->name, d.file);
	ht_config_free(c);
}

#define CHECK_MISTAKES(table)                                                                      \
	do {                                                                                       \
		for (size_t i = 0; i < HT_ARRAY_SIZE(table); i++)                                  \
			check_mistake(&(table)[i]);                                                \
	} while (0)

/* `says` and `silent_about` are found in lines "LINE: TEXT"; `says` is "" where nothing is said. */
struct warning {
	const char *name, *text, *says, *silent_about;
};

struct warnings_said {
	char text[4096];
	unsigned line;
	bool ordered;
};

static inline void warning_note(void *arg, const struct ht_diag *d)
{
	struct warnings_said *s = arg;
	size_t len = strlen(s->text);

	s->ordered = s->ordered && d->line >= s->line;
	s->line = d->line;
	snprintf(s->text + len, sizeof(s->text) - len, "%u: %s\n", d->line, d->text);
}

static inline void check_warning(const struct warning *w)
{
	struct ht_config *c = parse_ok(w->text);
	struct warnings_said s = {.ordered = true};

	ht_config_warnings(c, warning_note, &s);
	if (w->says)
		cr_expect(*w->says ? strstr(s.text, w->says) != NULL : !*s.text, "%s: '%s'",
			  w->name, s.text);
	if (w->silent_about)
		cr_expect(!strstr(s.text, w->silent_about), "%s: '%s'", w->name, s.text);
	cr_expect(s.ordered, "%s: '%s'", w->name, s.text);
	ht_config_free(c);
}

#define CHECK_WARNINGS(table)                                                                      \
	do {                                                                                       \
		for (size_t i = 0; i < HT_ARRAY_SIZE(table); i++)                                  \
			check_warning(&(table)[i]);                                                \
	} while (0)

#endif
