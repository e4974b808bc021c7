/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the configuration's schema share: config.c (the file, listeners), config_key.c,
 * config_site.c (sites), config_rule.c and config_rules.c (a cookie rule, and those of a site),
 * config_addr.c (addresses), config_guard.c and config_machine.c.
 * Nobody else includes it.
 */
#ifndef HT_CONFIG_SCHEMA_H
#define HT_CONFIG_SCHEMA_H

#include "config.h"
#include "config_yaml.h"

/* Splits "HOST:PORT" or "[V6]:PORT" into host[cap] and port. NULL, or what is wrong with it. */
const char *ht_addr_split(const char *s, char *host, size_t cap, uint16_t *ret_port);

/* False if host is no IPv4 address or, with brackets, no IPv6 address. Leaves `text` empty. */
bool ht_addr_literal(const char *host, bool brackets, uint16_t port, struct ht_addr *ret);

/* Resolves a path that has to fit a sockaddr_un. */
int ht_addr_unix_path(struct ht_yaml *y, const yaml_node_t *n, const char *what, const char *path,
		      char **ret);
void ht_addr_unix(const char *path, const char *text, struct ht_addr *ret);

/* "192.0.2.1:80" or "[2001:db8::1]:80"; a mistake is the node's. */
int ht_addr_ip_port(struct ht_yaml *y, const yaml_node_t *n, const char *what, const char *s,
		    struct ht_addr *ret);

/* The key of that name among those read so far, or NULL. */
const struct ht_key_config *ht_config_key(const struct ht_config *c, const char *name);

bool ht_config_asks_for_certs(const struct ht_listener_config *l);

/* The parser of `keys`, into the struct ht_config at `to`; nothing comes before it. */
int ht_config_parse_keys(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
			 void *to);

/* The parser of `sites`, into the struct ht_config at `to`; keys and listeners come first. */
int ht_config_parse_sites(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
			  void *to);

/* The parser of one cookie rule, into the struct ht_rule_config at `to`. */
int ht_config_parse_rule(struct ht_yaml *y, const yaml_node_t *n, void *to);

/* The parser of a site's `cookies`, into the struct ht_site_config at `to`. */
int ht_config_parse_rules(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
			  void *to);

/* A path or, with a trailing '*', how paths begin. `what` it is a path of. */
int ht_config_parse_path(struct ht_yaml *y, const yaml_node_t *n, const char *what, char **ret);
#define HT_PATHS_MAX 256 /* of a list */

/* The parser of `guard`, into the struct ht_config at `to`, and what holds without one. */
int ht_config_parse_guard(struct ht_yaml *y, const struct ht_yaml_field *f, const yaml_node_t *n,
			  void *to);
void ht_config_guard_defaults(struct ht_guard_config *g);

/* A cookie's name, checked. */
int ht_rule_cookie_name(struct ht_yaml *y, const yaml_node_t *n, const char *what, char **ret);

bool ht_bind_same(const struct ht_bind *a, const struct ht_bind *b);

/* Is every cookie that `a` names one of `b`? */
bool ht_name_within(const struct ht_cookie_name *a, const struct ht_cookie_name *b);

/* Is the cookie one that the rule is for? Does it hold a token of such a one? */
bool ht_rule_covers(const struct ht_rule_config *rule, const char *name);
bool ht_rule_has_sibling(const struct ht_rule_config *rule, const char *name);

/* Do the rules before it leave the i-th rule of a site nothing to cover? */
bool ht_rule_is_hidden(const struct ht_site_config *s, size_t i);

#endif
