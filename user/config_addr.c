/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses as the configuration writes them: HOST:PORT, [IPv6]:PORT and unix:PATH. Text only: no
 * name is looked up here.
 */
#include <arpa/inet.h>
#include <ctype.h>

#include "config_schema.h"

const char *ht_addr_split(const char *s, char *host, size_t cap, uint16_t *ret_port)
{
	const char *colon = strrchr(s, ':'), *end = colon;
	unsigned long port = 0;

	if (!colon || colon == s)
		return "has no port";
	for (const char *p = colon + 1; *p; p++) {
		if (!isdigit((unsigned char)*p) || (port = port * 10 + (*p - '0')) > 65535)
			return "has a port that is no number from 1 to 65535";
	}
	if (!port)
		return "has a port that is no number from 1 to 65535";
	if (*s == '[') {
		s++;
		end--;
		if (*end != ']' || end <= s)
			return "has no ']' before its port";
	} else if (memchr(s, ':', colon - s)) {
		return "is IPv6 without brackets";
	}
	if ((size_t)(end - s) >= cap)
		return "is too long";
	memcpy(host, s, end - s);
	host[end - s] = '\0';
	*ret_port = port;
	return NULL;
}

bool ht_addr_literal(const char *host, bool brackets, uint16_t port, struct ht_addr *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (!brackets && inet_pton(AF_INET, host, &ret->in.sin_addr) == 1) {
		ret->in.sin_family = AF_INET;
		ret->in.sin_port = htons(port);
		ret->len = sizeof(ret->in);
		return true;
	}
	if (brackets && inet_pton(AF_INET6, host, &ret->in6.sin6_addr) == 1) {
		ret->in6.sin6_family = AF_INET6;
		ret->in6.sin6_port = htons(port);
		ret->len = sizeof(ret->in6);
		return true;
	}
	return false;
}

int ht_addr_unix_path(struct ht_yaml *y, const yaml_node_t *n, const char *what, const char *path,
		      char **ret)
{
	struct sockaddr_un un;
	int r;

	if (!*path)
		return ht_yaml_fail(y, n, "'%s' has no path after 'unix:'", what);
	r = ht_yaml_resolve(y, path, ret);
	if (r)
		return r;
	if (strlen(*ret) >= sizeof(un.sun_path))
		return ht_yaml_fail(y, n,
				    "'%s': the path of a unix socket has at most %zu bytes, "
				    "its directory included; this has %zu",
				    what, sizeof(un.sun_path) - 1, strlen(*ret));
	return 0;
}

void ht_addr_unix(const char *path, const char *text, struct ht_addr *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->un.sun_family = AF_UNIX;
	memcpy(ret->un.sun_path, path, strlen(path) + 1);
	ret->len = offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1;
	snprintf(ret->text, sizeof(ret->text), "%s", text);
}

int ht_addr_ip_port(struct ht_yaml *y, const yaml_node_t *n, const char *what, const char *s,
		    struct ht_addr *ret)
{
	char host[64];
	uint16_t port;
	const char *why = ht_addr_split(s, host, sizeof(host), &port);

	if (why)
		return ht_yaml_fail(y, n,
				    "'%s: %.64s' %s; write an address such as 0.0.0.0:443, "
				    "[::]:443 or unix:PATH",
				    what, s, why);
	if (!ht_addr_literal(host, *s == '[', port, ret))
		return ht_yaml_fail(y, n,
				    "'%s: %.64s' is no IP address; write one such as "
				    "0.0.0.0:443, [::]:443 or unix:PATH",
				    what, s);
	snprintf(ret->text, sizeof(ret->text), "%s", s);
	return 0;
}
