/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the configuration: any text is either a configuration whose sites compile, or a mistake
 * with its place and a reason. Nothing but the text is looked at.
 */
#include "config.h"
#include "policy.h"

#define ENSURE(cond)                                                                               \
	do {                                                                                       \
		if (!(cond))                                                                       \
			__builtin_trap();                                                          \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_diag(const struct ht_diag *d)
{
	ENSURE(d->text[0] && memchr(d->text, '\0', sizeof(d->text)));
	ENSURE(!strcmp(d->file, "dir/fuzz.yaml"));
	ENSURE(!d->line == !d->col);
	for (const char *p = d->text; *p; p++)
		ENSURE((uint8_t)*p >= ' ' && *p != 0x7f);
}

static void warn(void *arg, const struct ht_diag *diag)
{
	(void)arg;
	ENSURE(diag->text[0] && diag->line);
}

static void check_site(const struct ht_config *c, const struct ht_site_config *s)
{
	static struct ht_policy_site compiled;
	struct ht_diag diag;

	ENSURE(s->nhosts && s->nupstreams);
	for (size_t i = 0; i < s->nrules; i++)
		ENSURE(s->rules[i].name && s->rules[i].sibling && s->rules[i].nbinds &&
		       s->rules[i].key_index < c->nkeys);
	for (size_t i = 0; i < s->nhosts; i++) {
		if (s->hosts[i][0] != '*')
			ENSURE(ht_config_site(c, HT_STR(s->hosts[i])) == s);
	}
	ENSURE(!ht_policy_compile(c, s, &compiled, &diag));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ht_config *c = NULL;
	struct ht_diag diag = {0};

	if (ht_config_parse("dir/fuzz.yaml", (const char *)data, size, &c, &diag)) {
		ENSURE(!c);
		check_diag(&diag);
		return 0;
	}
	ENSURE(c->nlisteners && c->nsites);
	ht_config_warnings(c, warn, NULL);
	for (size_t i = 0; i < c->nsites; i++)
		check_site(c, &c->sites[i]);
	ht_config_free(c);
	return 0;
}
