/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which country an address is in, by a MaxMind DB file (GeoLite2-Country and what is written like
 * it). A database is read into memory when it is opened: whoever writes over the file afterwards
 * changes nothing and breaks nothing. Immutable, so that lookups need no lock.
 */
#ifndef HT_GEOIP_H
#define HT_GEOIP_H

#include <sys/socket.h>

#include "util.h"

#define HT_COUNTRY_LEN 2

struct ht_geoip;

/*
 * Reads the file; the caller owns *ret. -EINVAL or another -errno with why: it can't be read, is no
 * MaxMind DB, or says nothing of countries (an ASN database).
 */
int ht_geoip_open(const char *path, struct ht_geoip **ret, char *why, size_t why_len);
void ht_geoip_close(struct ht_geoip *g); /* NULL-safe; no lookup may be on its way */

/*
 * The ISO 3166-1 code of the country that the address is *in*: the database's country.iso_code, as
 * `whereis ADDRESS country` of an iRule and the usual web server modules say it. Never the country where
 * its network is registered, which is one and the same for all clients of a satellite or
 * a relay. IPv4-mapped IPv6 counts as IPv4. False where there is none: an unknown address, no IP
 * address, an IPv6 address in a database of IPv4, a code that isn't two letters. Any thread.
 */
bool ht_geoip_country(const struct ht_geoip *g, const struct sockaddr *addr,
		      char ret[HT_COUNTRY_LEN]);

#endif
