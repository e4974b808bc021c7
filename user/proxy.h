/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who stands in front of us: the PROXY protocol's header, the list of proxies that are trusted, and
 * the client that they name in X-Forwarded-For or Forwarded. Pure: bytes in, addresses out; no
 * sockets, no clock, no logging, no allocation. Whether a peer may say such things is the caller's
 * question to ht_prefix_match().
 */
#ifndef HT_PROXY_H
#define HT_PROXY_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "util.h"

#define HT_PROXY_V1_MAX 107 /* bytes of a version 1 line, CRLF included */
#define HT_PROXY_V2_MAX                                                                            \
	4096 /* bytes of a version 2 header, TLVs included; longer ones are refused */
#define HT_PROXY_HOPS_MAX 32 /* proxies that a request is followed back through */

/* ---- the PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt) ---- */

enum ht_proxy_kind {
	HT_PROXY_ADDRESSES, /* source and destination are filled */
	HT_PROXY_LOCAL,	    /* the proxy's own connection, such as a health check */
	HT_PROXY_UNKNOWN,   /* relayed, but the proxy can't say for whom (or a unix socket) */
};

struct ht_proxy {
	enum ht_proxy_kind kind;
	int version; /* 1 or 2 */
	size_t len;  /* bytes of the header; what follows belongs to the connection */
	/* sockaddr_in or sockaddr_in6, both alike; AF_UNSPEC unless HT_PROXY_ADDRESSES */
	struct sockaddr_storage source, destination;
};

/*
 * Reads the header at the start of buf. Returns 1 and fills *ret when it is complete, 0 when more
 * bytes are needed (never more than HT_PROXY_V2_MAX), or -EPROTO with *ret_why, static text fit for
 * a log; a wrong first byte is told from the first byte on. A listener that expects a header must
 * not go on without one. TLVs are walked for their lengths and skipped; a CRC32C among them must be
 * right. Of LOCAL and UNKNOWN headers nothing but the length is believed, as the protocol demands:
 * there the connection's own address counts.
 */
int ht_proxy_parse(const void *buf, size_t len, struct ht_proxy *ret, const char **ret_why);

/* ---- trusted-proxies ---- */

struct ht_prefix {
	uint8_t family; /* AF_INET or AF_INET6 */
	uint8_t bits;
	uint8_t addr[16];
};

/*
 * "10.0.0.0/8", "2001:db8::/32", or an address alone. IPv4-mapped IPv6 becomes IPv4. -EINVAL with
 * *ret_why ("has bits beyond its prefix; ..."), static text to follow the prefix in a message.
 */
int ht_prefix_parse(struct ht_str text, struct ht_prefix *ret, const char **ret_why);

/*
 * Is the address within one of the prefixes? IPv4-mapped IPv6 counts as IPv4, and IPv4 is never
 * within an IPv6 prefix, not even ::/0. False for any other family.
 */
bool ht_prefix_match(const struct ht_prefix *list, size_t n, const struct sockaddr_storage *addr);

/* ---- X-Forwarded-For and Forwarded (RFC 7239) ---- */

/* The values of all fields of one name, in the order of the head. */
struct ht_forwarded {
	const struct ht_str *values;
	size_t n;
};

/*
 * The client of a request that came from `peer`: *ret is the peer unless it is trusted, else what
 * the fields say, read from the right for as long as the address is trusted itself: the first one
 * that isn't is the client, the leftmost if all are. What is no address ("unknown", "_hidden",
 * garbage, an unbalanced quote, more than HT_PROXY_HOPS_MAX hops) ends the walk at the address
 * before it. Where both kinds of fields stand and name different clients, one of them is the
 * client's own invention: then it is the peer. False when the walk ended so, or in such a
 * disagreement. *ret is a sockaddr_in or sockaddr_in6 with port 0, or the peer as it was given.
 */
bool ht_proxy_client(const struct sockaddr_storage *peer, const struct ht_prefix *trusted,
		     size_t ntrusted, const struct ht_forwarded *x_forwarded_for,
		     const struct ht_forwarded *forwarded, struct sockaddr_storage *ret);

#endif
