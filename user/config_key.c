/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema of `keys`: where the secrets of each come from, and what goes with what. Looks at no
 * file and asks nobody.
 */
#include "abi.h"
#include "config_schema.h"

#define MSEC 1
#define SEC (1000 * MSEC)
#define HOUR (3600ull * SEC)
#define DAY (24 * HOUR)

HT_PARSER(parse_servers)
{
	struct ht_key_config *key = to;
	struct ht_yaml_list list;
	int r = ht_yaml_items(y, n, f->name, HT_KEY_SERVERS_MAX, false, &list);

	if (r)
		return r;
	key->servers = ht_arena_alloc(y->arena, list.n * sizeof(*key->servers));
	if (!key->servers)
		return ht_yaml_nomem(y);
	for (; !r && key->nservers < list.n; key->nservers++) {
		char **server = &key->servers[key->nservers], host[256];
		const char *wrong;
		uint16_t port;

		r = ht_yaml_text(y, list.item[key->nservers], "a memcached server", server);
		wrong = r ? NULL : ht_addr_split(*server, host, sizeof(host), &port);
		if (wrong)
			return ht_yaml_fail(y, list.item[key->nservers],
					    "memcached server '%.64s': %s", *server, wrong);
	}
	return r;
}

/* memcached takes names of 250 bytes without blanks. */
HT_PARSER(parse_prefix)
{
	struct ht_key_config *key = to;
	int r = ht_yaml_text(y, n, f->name, &key->prefix);

	if (!r && (strlen(key->prefix) > 128 || strchr(key->prefix, ' ')))
		r = ht_yaml_fail(y, n, "prefix is at most 128 characters without blanks");
	return r;
}

static const struct ht_yaml_field key_fields[] = {
	HT_FIELD(
		"name", ht_yaml_string, struct ht_key_config, name,
		.missing = "this key has no name; write name: WORD and refer to it with key: WORD"),
	HT_FIELD("file", ht_yaml_path, struct ht_key_config, file),
	HT_FIELD("directory", ht_yaml_path, struct ht_key_config, directory),
	HT_WHOLE("memcached", parse_servers),
	HT_WHOLE("prefix", parse_prefix),
	HT_FIELD("rotate-every", ht_yaml_sec, struct ht_key_config, rotate_every_s,
		 HT_RANGE(0, 3650 * DAY)),
	HT_FIELD("lifetime", ht_yaml_sec, struct ht_key_config, lifetime_s,
		 HT_RANGE(SEC, 3650 * DAY)),
	HT_FIELD("poll-every", ht_yaml_msec, struct ht_key_config, poll_every_ms,
		 HT_RANGE(100, HOUR)),
	{0},
};

const struct ht_key_config *ht_config_key(const struct ht_config *c, const char *name)
{
	for (size_t i = 0; i < c->nkeys; i++)
		if (!strcmp(c->keys[i].name, name))
			return &c->keys[i];
	return NULL;
}

static bool shares_server(const struct ht_key_config *a, const struct ht_key_config *b)
{
	for (size_t i = 0; i < a->nservers; i++)
		for (size_t j = 0; j < b->nservers; j++)
			if (!strcmp(a->servers[i], b->servers[j]))
				return true;
	return false;
}

/* Two keys in one place would take each other's secrets for their own. */
static int check_key_place(struct ht_yaml *y, const yaml_node_t *n, const struct ht_key_config *key)
{
	const struct ht_config *c = y->root;

	for (size_t i = 0; key->directory && i < c->nkeys; i++) {
		const struct ht_key_config *other = &c->keys[i];

		if (!other->directory)
			continue;
		if (!strcmp(other->directory, key->directory))
			return ht_yaml_fail(
				y, n,
				"key '%.64s' has this directory already (line %u); give "
				"each its own",
				other->name, other->line);
		if (shares_server(key, other) && !strcmp(key->prefix, other->prefix))
			return ht_yaml_fail(y, n,
					    "key '%.64s' is in this memcached already (line %u); "
					    "give one of them a prefix: WORD",
					    other->name, other->line);
	}
	return 0;
}

/* Where secrets are made and kept if nothing else is said. */
static int default_directory(struct ht_yaml *y, const yaml_node_t *n, struct ht_key_config *key)
{
	const char *p = key->name;
	size_t len = sizeof(HT_STATE_DIR) + 1 + strlen(key->name);

	while (*p == '-' || *p == '_' || *p == '.' || (*p >= '0' && *p <= '9') ||
	       (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z'))
		p++;
	if (*p || key->name[0] == '.')
		return ht_yaml_fail(y, n,
				    "the name '%.64s' makes no directory's name; write directory: "
				    "PATH, or file: PATH of the file whose bytes are the key",
				    key->name);
	key->directory = ht_arena_alloc(y->arena, len);
	if (!key->directory)
		return ht_yaml_nomem(y);
	snprintf(key->directory, len, HT_STATE_DIR "/%s", key->name);
	return 0;
}

/* What of a mapping goes with a source of secrets, and what does not. */
static int check_key_source(struct ht_yaml *y, const yaml_node_t *n,
			    const struct ht_key_config *key)
{
	static const char *const with_file[] = {"directory", "memcached",  "rotate-every",
						"prefix",    "poll-every", NULL};
	static const char *const with_store[] = {"prefix", "poll-every", NULL};
	const char *const *wrong = key->file ? with_file : key->nservers ? NULL : with_store;
	const yaml_node_t *value;

	for (; wrong && *wrong; wrong++) {
		value = ht_yaml_value(y, n, *wrong);
		if (value == n)
			continue;
		if (!strcmp(*wrong, "rotate-every"))
			return ht_yaml_fail(y, value,
					    "a file rotates when somebody replaces it and has the "
					    "daemon reload; write directory: PATH in the place of "
					    "file for secrets that we make");
		return ht_yaml_fail(y, value,
				    key->file ? "%s does not go with file; write one of them"
					      : "%s goes with memcached only",
				    *wrong);
	}
	return 0;
}

static int finish_key(struct ht_yaml *y, const yaml_node_t *n, struct ht_key_config *key)
{
	const char *source = key->file	      ? "file"
			     : key->nservers  ? "memcached"
			     : key->directory ? "directory"
					      : "name";
	uint64_t live;
	int r = check_key_source(y, n, key);

	if (r)
		return r;
	ht_yaml_place(ht_yaml_value(y, n, source), &key->line, &key->col);
	if (key->file)
		return 0;
	if (!key->prefix)
		key->prefix = (char *)"";
	if (!key->directory)
		r = default_directory(y, ht_yaml_value(y, n, source), key);
	if (!key->lifetime_s)
		key->lifetime_s = 2 * DAY / SEC;
	if (!key->poll_every_ms)
		key->poll_every_ms = 5 * SEC;
	if (key->nservers && ht_yaml_value(y, n, "rotate-every") == n)
		key->rotate_every_s = DAY / SEC;
	live = key->rotate_every_s ? key->lifetime_s / key->rotate_every_s + 2 : 0;
	if (!r && live > HT_KEY_LIVE_MAX)
		r = ht_yaml_fail(y, n,
				 "with this lifetime %llu secrets would verify at a time; rotate "
				 "less often or shorten it, for %d at the most",
				 (unsigned long long)live, HT_KEY_LIVE_MAX);
	return r ? r : check_key_place(y, ht_yaml_value(y, n, source), key);
}

static int parse_key(struct ht_yaml *y, const yaml_node_t *n, void *to)
{
	const struct ht_config *c = y->root;
	struct ht_key_config *key = to;
	const struct ht_key_config *other;
	int r = ht_yaml_map(y, n, "a key", key_fields, key);

	if (r)
		return r;
	other = ht_config_key(c, key->name);
	if (other)
		return ht_yaml_fail(y, ht_yaml_value(y, n, "name"),
				    "two keys are named '%.64s' (the "
				    "first in line %u); give each its own name",
				    key->name, other->line);
	return finish_key(y, n, key);
}

int ht_config_parse_keys(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
			 void *to)
{
	struct ht_config *c = to;

	return ht_yaml_structs(y, n, f->name, HT_KEYS_MAX, sizeof(*c->keys), parse_key, &c->keys,
			       &c->nkeys);
}
