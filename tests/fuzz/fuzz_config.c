/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the configuration: any text is either a configuration whose sites compile, or a mistake
 * with its place and a reason. Nothing but the text is looked at.
 */
#include "abi.h"
#include "config.h"
#include "policy.h"
#include "fuzz.h"

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

/* What policy.c relies on, whatever the file says. */
static void check_rule(const struct ht_config *c, const struct ht_rule_config *rule)
{
	ENSURE(rule->key_index < c->nkeys);
	ENSURE(rule->label && *rule->label && strlen(rule->label) <= HT_LABEL_MAX);
	ENSURE(!rule->name == (rule->covers != HT_COVERS_NAME));
	ENSURE(!rule->nnames == (rule->covers == HT_COVERS_ALL));
	for (size_t i = 0; i < rule->nnames; i++)
		ENSURE(*rule->names[i].text &&
		       strlen(rule->names[i].text) <=
			       (rule->names[i].prefix ? HT_PREFIX_MAX : HT_NAME_MAX));
	ENSURE(rule->accept & 1u << rule->profile);
	ENSURE(rule->nsiblings && rule->nsiblings <= HT_SIBLINGS_PER_RULE);
	ENSURE(rule->sibling == rule->siblings->text &&
	       rule->sibling_prefix == rule->siblings->prefix);
	for (size_t i = 0; i < rule->nsiblings; i++)
		ENSURE(*rule->siblings[i].text && rule->siblings[i].accept &&
		       (rule->siblings[i].prefix || rule->name));
	ENSURE(!(rule->accept & 1u << HT_PROFILE_F5_IRULE) || (rule->name && rule->nbinds));
	ENSURE(rule->separator && rule->lifetime_s);
	ENSURE(!*rule->reissue || !strncmp(rule->reissue, "; ", 2));
}

static void check_site(const struct ht_config *c, const struct ht_site_config *s)
{
	static struct ht_policy_site compiled;
	struct ht_diag diag;

	ENSURE(s->nhosts && s->nupstreams);
	for (size_t i = 0; i < s->nrules; i++)
		check_rule(c, &s->rules[i]);
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
