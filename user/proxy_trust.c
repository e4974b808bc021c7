/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which proxies are trusted, and the client that they name: prefixes, and the walk back through
 * X-Forwarded-For and Forwarded. Believes a field only as far as a trusted proxy wrote it.
 */
#include <arpa/inet.h>
#include <strings.h>

#include "proxy.h"

/* ---- prefixes ---- */

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* An address as family and bytes, IPv4-mapped IPv6 as IPv4. */
static bool set_bytes(int family, const void *bytes, struct ht_prefix *ret)
{
	bool v4 = family == AF_INET;

	if (!v4 && family != AF_INET6)
		return false;
	memset(ret, 0, sizeof(*ret));
	if (!v4 && !memcmp(bytes, mapped, sizeof(mapped))) {
		bytes = (const uint8_t *)bytes + sizeof(mapped);
		v4 = true;
	}
	ret->family = v4 ? AF_INET : AF_INET6;
	ret->bits = v4 ? 32 : 128;
	memcpy(ret->addr, bytes, v4 ? 4 : 16);
	return true;
}

static bool parse_address(struct ht_str text, struct ht_prefix *ret, bool *ret_mapped)
{
	char copy[INET6_ADDRSTRLEN];
	uint8_t bytes[16];
	int family = AF_INET;

	if (text.len >= sizeof(copy))
		return false;
	memcpy(copy, text.p, text.len);
	copy[text.len] = '\0';
	if (strlen(copy) != text.len)
		return false;
	if (inet_pton(AF_INET, copy, bytes) != 1) {
		family = AF_INET6;
		if (inet_pton(AF_INET6, copy, bytes) != 1)
			return false;
	}
	set_bytes(family, bytes, ret);
	*ret_mapped = family == AF_INET6 && ret->family == AF_INET;
	return true;
}

/* Are all bits of the address from `bits` on zero? */
static bool clear_from(const struct ht_prefix *p, unsigned bits)
{
	for (unsigned i = bits; i < 8 * sizeof(p->addr); i++) {
		if (p->addr[i / 8] >> (7 - i % 8) & 1)
			return false;
	}
	return true;
}

/* A decimal number of at most three digits, without leading zeros. */
static bool parse_bits(struct ht_str text, unsigned *ret)
{
	if (!text.len || text.len > 3 || (text.len > 1 && text.p[0] == '0'))
		return false;
	*ret = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		*ret = *ret * 10 + (unsigned)(text.p[i] - '0');
	}
	return true;
}

int ht_prefix_parse(struct ht_str text, struct ht_prefix *ret, const char **ret_why)
{
	const char *slash = text.len ? memchr(text.p, '/', text.len) : NULL;
	struct ht_str host = {text.p, slash ? (size_t)(slash - text.p) : text.len};
	struct ht_prefix p;
	bool was_mapped;
	unsigned bits;

	*ret_why = "is no address; write one such as 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32";
	if (!parse_address(host, &p, &was_mapped))
		return -EINVAL;
	if (!slash) {
		*ret = p;
		return 0;
	}
	*ret_why = "has no prefix length from 0 to 32 (IPv4) or 128 (IPv6) behind the '/'";
	if (!parse_bits((struct ht_str){slash + 1, text.len - host.len - 1}, &bits))
		return -EINVAL;
	if (was_mapped && bits < 96)
		return -EINVAL;
	if (was_mapped)
		bits -= 96;
	if (bits > p.bits)
		return -EINVAL;
	*ret_why = "has bits set beyond its prefix length; clear them, or write a longer prefix";
	if (!clear_from(&p, bits))
		return -EINVAL;
	p.bits = (uint8_t)bits;
	*ret = p;
	return 0;
}

static bool covers(const struct ht_prefix *p, const struct ht_prefix *addr)
{
	unsigned whole = p->bits / 8, rest = p->bits % 8;

	if (p->family != addr->family || memcmp(p->addr, addr->addr, whole))
		return false;
	return !rest || !((p->addr[whole] ^ addr->addr[whole]) >> (8 - rest));
}

static bool is_trusted(const struct ht_prefix *list, size_t n, const struct ht_prefix *addr)
{
	for (size_t i = 0; i < n; i++) {
		if (covers(&list[i], addr))
			return true;
	}
	return false;
}

static bool from_sockaddr(const struct sockaddr_storage *addr, struct ht_prefix *ret)
{
	if (addr->ss_family == AF_INET)
		return set_bytes(AF_INET, &((const struct sockaddr_in *)addr)->sin_addr, ret);
	if (addr->ss_family == AF_INET6)
		return set_bytes(AF_INET6, &((const struct sockaddr_in6 *)addr)->sin6_addr, ret);
	return false;
}

bool ht_prefix_match(const struct ht_prefix *list, size_t n, const struct sockaddr_storage *addr)
{
	struct ht_prefix a;

	return from_sockaddr(addr, &a) && is_trusted(list, n, &a);
}

/* ---- one hop ---- */

/* Nothing, or ':' and a port; Forwarded may obfuscate it ("_x7"). */
static bool is_port(struct ht_str s)
{
	size_t digits = 0;

	if (!s.len)
		return true;
	if (s.p[0] != ':' || s.len < 2)
		return false;
	if (s.p[1] == '_')
		return s.len > 2;
	for (size_t i = 1; i < s.len; i++)
		digits += s.p[i] >= '0' && s.p[i] <= '9';
	return digits == s.len - 1 && digits <= 5;
}

/* V4, V4:PORT, [V6], [V6]:PORT and, if `bare`, V6. Anything else names no address. */
static bool parse_node(struct ht_str node, bool bare, struct ht_prefix *ret)
{
	struct ht_str host = node, port;
	bool brackets = node.len && node.p[0] == '[', was_mapped;
	const char *end;

	if (!node.len)
		return false;
	if (brackets) {
		host.p++;
		host.len--;
		end = memchr(host.p, ']', host.len);
	} else {
		end = memchr(node.p, ':', node.len);
		if (end && bare && memchr(end + 1, ':', (size_t)(node.p + node.len - end - 1)))
			return parse_address(node, ret, &was_mapped);
	}
	if (brackets && !end)
		return false;
	if (end)
		host.len = (size_t)(end - host.p);
	port.p = host.p + host.len + brackets;
	port.len = (size_t)(node.p + node.len - port.p);
	if (!is_port(port) || !parse_address(host, ret, &was_mapped))
		return false;
	/* brackets are for IPv6 and IPv6 needs them */
	return brackets == !!memchr(host.p, ':', host.len);
}

/* A quoted-string less quotes and backslashes, or a token as it is. */
static bool unquote(struct ht_str value, char *out, size_t cap, struct ht_str *ret)
{
	size_t n = 0;

	*ret = value;
	if (!value.len || value.p[0] != '"')
		return true;
	if (value.len < 2 || value.p[value.len - 1] != '"')
		return false;
	for (size_t i = 1; i + 1 < value.len; i++) {
		if (value.p[i] == '"')
			return false;
		if (value.p[i] == '\\' && ++i + 1 == value.len)
			return false;
		if (n == cap)
			return false;
		out[n++] = value.p[i];
	}
	*ret = (struct ht_str){out, n};
	return true;
}

/* The end of what goes up to `c`, outside of quotes if they count; false when one stays open. */
static bool find_end(struct ht_str s, char c, bool quotes, size_t *ret)
{
	bool quoted = false;
	size_t i;

	for (i = 0; i < s.len && (quoted || s.p[i] != c); i++) {
		if (quotes && s.p[i] == '"')
			quoted = !quoted;
		else if (quoted && s.p[i] == '\\')
			i++;
	}
	*ret = HT_MIN(i, s.len);
	return !quoted;
}

/* The address of "for=..." in one element of Forwarded: exactly one, and one that says it. */
static bool parse_element(struct ht_str element, struct ht_prefix *ret)
{
	size_t found = 0, n;

	for (;; element.p += n + 1, element.len -= n + 1) {
		char plain[64];
		struct ht_str pair, node;

		if (!find_end(element, ';', true, &n))
			return false;
		pair = ht_str_trim((struct ht_str){element.p, n});
		if (pair.len >= 4 && !strncasecmp(pair.p, "for=", 4)) {
			pair = (struct ht_str){pair.p + 4, pair.len - 4};
			if (found++ || !unquote(pair, plain, sizeof(plain), &node) ||
			    !parse_node(node, false, ret))
				return false;
		}
		if (n == element.len)
			return found == 1;
	}
}

/* ---- the walk ---- */

struct walk {
	const struct ht_prefix *trusted;
	size_t ntrusted;
	bool rfc7239;
	size_t hops;
	struct ht_prefix client; /* as far as we came */
};

enum step { STEP_ON, STEP_CLIENT, STEP_GARBAGE };

static enum step take_hop(struct walk *w, struct ht_str element)
{
	struct ht_prefix hop;

	if (w->hops++ == HT_PROXY_HOPS_MAX)
		return STEP_GARBAGE;
	if (!(w->rfc7239 ? parse_element(element, &hop) : parse_node(element, true, &hop)))
		return STEP_GARBAGE;
	w->client = hop;
	return is_trusted(w->trusted, w->ntrusted, &hop) ? STEP_ON : STEP_CLIENT;
}

/*
 * One field, from its last element to its first. Quotes can only be read from the left, so the
 * last elements are remembered on the way; one more than there may be hops.
 */
static enum step walk_field(struct walk *w, struct ht_str value)
{
	struct ht_str last[HT_PROXY_HOPS_MAX + 1];
	size_t count = 0, n;
	enum step step = STEP_ON;

	for (;; value.p += n + 1, value.len -= n + 1) {
		struct ht_str element;

		if (!find_end(value, ',', w->rfc7239, &n))
			return STEP_GARBAGE;
		element = ht_str_trim((struct ht_str){value.p, n});
		if (element.len) /* RFC 9110 5.6.1: empty ones mean nothing */
			last[count++ % HT_ARRAY_SIZE(last)] = element;
		if (n == value.len)
			break;
	}
	for (size_t i = 0; i < HT_MIN(count, HT_ARRAY_SIZE(last)) && step == STEP_ON; i++)
		step = take_hop(w, last[(count - 1 - i) % HT_ARRAY_SIZE(last)]);
	return step;
}

static bool walk_fields(struct walk *w, const struct ht_forwarded *fields)
{
	enum step step = STEP_ON;

	for (size_t i = fields->n; i && step == STEP_ON; i--)
		step = walk_field(w, fields->values[i - 1]);
	return step != STEP_GARBAGE;
}

static void to_sockaddr(const struct ht_prefix *addr, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->ss_family = addr->family;
	if (addr->family == AF_INET)
		memcpy(&((struct sockaddr_in *)ret)->sin_addr, addr->addr, 4);
	else
		memcpy(&((struct sockaddr_in6 *)ret)->sin6_addr, addr->addr, 16);
}

bool ht_proxy_client(const struct sockaddr_storage *peer, const struct ht_prefix *trusted,
		     size_t ntrusted, const struct ht_forwarded *x_forwarded_for,
		     const struct ht_forwarded *forwarded, struct sockaddr_storage *ret)
{
	struct walk x = {.trusted = trusted, .ntrusted = ntrusted};
	struct walk f = {.trusted = trusted, .ntrusted = ntrusted, .rfc7239 = true};
	bool clean;

	*ret = *peer;
	if (!from_sockaddr(peer, &x.client) || !is_trusted(trusted, ntrusted, &x.client))
		return true;
	if (!x_forwarded_for->n && !forwarded->n)
		return true;
	f.client = x.client;
	clean = walk_fields(&x, x_forwarded_for);
	clean = walk_fields(&f, forwarded) && clean;
	if (x_forwarded_for->n && forwarded->n && memcmp(&x.client, &f.client, sizeof(x.client)))
		return false;
	to_sockaddr(x_forwarded_for->n ? &x.client : &f.client, ret);
	return clean;
}
