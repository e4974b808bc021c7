/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a Set-Cookie field as a browser does (RFC 6265bis 5.6): name, value, and whether it
 * deletes the cookie. Signs nothing, changes nothing.
 */
#include <strings.h>
#include <time.h>

#include "policy.h"

/* Up to the first `c`; the rest behind it. Without one, everything and an empty rest. */
static struct ht_str ht_cut_at(struct ht_str s, char c, struct ht_str *ret_rest)
{
	const char *p = s.len ? memchr(s.p, c, s.len) : NULL;
	size_t n = p ? (size_t)(p - s.p) : s.len;

	*ret_rest = p ? (struct ht_str){p + 1, s.len - n - 1} : (struct ht_str){s.p + s.len, 0};
	return (struct ht_str){s.p, n};
}

static bool ht_is_named(struct ht_str s, const char *name)
{
	return s.len == strlen(name) && !strncasecmp(s.p, name, s.len);
}

/* A number of min..max digits at the start of s, then no digit; -1 otherwise. */
static int ht_digits(struct ht_str s, size_t min, size_t max, size_t *ret_len)
{
	size_t n = 0;
	int value = 0;

	while (n < s.len && s.p[n] >= '0' && s.p[n] <= '9') {
		if (n == max)
			return -1;
		value = value * 10 + s.p[n++] - '0';
	}
	*ret_len = n;
	return n >= min ? value : -1;
}

static bool ht_date_time(struct ht_str token, struct tm *tm)
{
	int *const parts[] = {&tm->tm_hour, &tm->tm_min, &tm->tm_sec};
	size_t n;

	for (size_t i = 0; i < 3; i++) {
		int value = ht_digits(token, 1, 2, &n);

		if (value < 0)
			return false;
		*parts[i] = value;
		token.p += n;
		token.len -= n;
		if (i == 2)
			return true;
		if (!token.len || token.p[0] != ':')
			return false;
		token.p++;
		token.len--;
	}
	return false;
}

static int ht_date_month(struct ht_str token)
{
	static const char months[] = "janfebmaraprmayjunjulaugsepoctnovdec";

	if (token.len < 3)
		return -1;
	for (int i = 0; i < 12; i++) {
		if (!strncasecmp(token.p, months + 3 * i, 3))
			return i;
	}
	return -1;
}

static bool ht_is_date_delimiter(uint8_t c)
{
	return c == '\t' || (c >= 0x20 && c <= 0x2f) || (c >= 0x3b && c <= 0x40) ||
	       (c >= 0x5b && c <= 0x60) || (c >= 0x7b && c <= 0x7e);
}

/* RFC 6265bis 5.1.1: whatever browsers take for a date. */
static bool ht_cookie_date(struct ht_str s, int64_t *ret_s)
{
	struct tm tm = {.tm_mday = 0, .tm_mon = -1, .tm_year = -1, .tm_hour = -1};
	size_t i = 0, digits;

	while (i < s.len) {
		struct ht_str token = {s.p + i, 0};
		struct tm clock = tm;
		int value;

		if (ht_is_date_delimiter(s.p[i])) {
			i++;
			continue;
		}
		while (i < s.len && !ht_is_date_delimiter(s.p[i]))
			i++, token.len++;
		if (tm.tm_hour < 0 && ht_date_time(token, &clock))
			tm = clock;
		else if (!tm.tm_mday && (value = ht_digits(token, 1, 2, &digits)) > 0)
			tm.tm_mday = value;
		else if (tm.tm_mon < 0 && (value = ht_date_month(token)) >= 0)
			tm.tm_mon = value;
		else if (tm.tm_year < 0 && (value = ht_digits(token, 2, 4, &digits)) >= 0)
			tm.tm_year = value < 70 ? value + 100 : value < 100 ? value : value - 1900;
	}
	if (tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_mon < 0 || tm.tm_year < -299 ||
	    tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 59)
		return false;
	*ret_s = timegm(&tm);
	return true;
}

#define HT_AGE_MAX (400 * 86400) /* RFC 6265bis 5.6.2: a cookie lives for 400 days at the most */

/* An empty or non-numeric Max-Age is ignored; *ret_s is 0 for one that deletes. */
static bool ht_max_age(struct ht_str value, uint64_t *ret_s)
{
	size_t i = value.len && value.p[0] == '-';
	uint64_t n = 0;

	if (i == value.len)
		return false;
	for (size_t k = i; k < value.len; k++) {
		if (value.p[k] < '0' || value.p[k] > '9')
			return false;
		n = HT_MIN(n * 10 + (uint64_t)(value.p[k] - '0'), (uint64_t)HT_AGE_MAX);
	}
	*ret_s = i ? 0 : n;
	return true;
}

void ht_set_cookie_parse(struct ht_str field, uint64_t now_s, struct ht_set_cookie *ret)
{
	struct ht_str rest, attributes, pair = ht_cut_at(field, ';', &rest);
	bool aged = false, dated = false;
	uint64_t age = 0;
	int64_t date = 0;

	*ret = (struct ht_set_cookie){.attributes = {pair.p + pair.len, field.len - pair.len}};
	ret->name = ht_str_trim(ht_cut_at(pair, '=', &ret->value));
	ret->value = ht_str_trim(ret->value);
	if (ret->name.len && !memchr(pair.p, '=', pair.len)) {
		ret->value = ret->name; /* no '=': a nameless cookie */
		ret->name.len = 0;
	}
	/* of several attributes of one name the last counts, and Max-Age before Expires */
	for (attributes = rest; attributes.len; attributes = rest) {
		struct ht_str value, name;

		name = ht_str_trim(ht_cut_at(ht_cut_at(attributes, ';', &rest), '=', &value));
		value = ht_str_trim(value);
		if (ht_is_named(name, "max-age"))
			aged |= ht_max_age(value, &age);
		else if (ht_is_named(name, "expires"))
			dated |= ht_cookie_date(value, &date);
	}
	ret->persistent = aged || dated;
	if (aged)
		ret->expires_s = now_s + age;
	else if (dated)
		ret->expires_s = date < 0 ? 0 : HT_MIN((uint64_t)date, now_s + HT_AGE_MAX);
	ret->deletion = !ret->value.len || (ret->persistent && ret->expires_s <= now_s);
}
