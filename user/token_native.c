/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native token of hardtack-native(7): "1.kid.issued.expires.attributes.mac". There is one way
 * to write each of them, and whatever is written in another does not verify. Must believe nothing
 * of a token before its MAC is found right.
 */
#include "token_native.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <strings.h>

#define LABEL "hardtack native 1"
#define VERSION "1"
#define MAC_LEN 43		 /* base64url of 32 bytes */
#define TIME_MAX 253402300799ull /* the last second of the year 9999 */
#define TIME_DIGITS 12
#define FIELDS 6

/* version, kid, two times, MAC and the dots between them */
#define ATTRIBUTES_TEXT_MAX                                                                        \
	(HT_TOKEN_TEXT_MAX - (1 + HT_KEY_ID_LEN + 2 * TIME_DIGITS + MAC_LEN + FIELDS - 1))

const struct ht_mac_key *ht_token_key(const struct ht_secret *secret, struct ht_mac_key *scratch)
{
	if (secret->keyed)
		return secret->keyed;
	ht_mac_key_make(secret->bytes, secret->len, scratch);
	return scratch;
}

void ht_token_key_done(const struct ht_secret *secret, struct ht_mac_key *scratch)
{
	if (!secret->keyed)
		OPENSSL_cleanse(scratch, sizeof(*scratch));
}

static const struct ht_mac_key *native_key(const struct ht_secret *secret,
					   struct ht_mac_key *scratch)
{
	const struct ht_mac_key *key = ht_token_key(secret, scratch);

	if (key == scratch)
		ht_mac_key_make_id(scratch);
	return key;
}

/* ---- base64url ---- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t ht_base64url_encode(const uint8_t *bytes, size_t len, char *ret)
{
	uint32_t bits = 0;
	unsigned nbits = 0;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		bits = bits << 8 | bytes[i];
		for (nbits += 8; nbits >= 6; nbits -= 6)
			ret[n++] = alphabet[bits >> (nbits - 6) & 63];
	}
	if (nbits)
		ret[n++] = alphabet[bits << (6 - nbits) & 63];
	return n;
}

static int digit_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool ht_base64url_decode(struct ht_str text, char *ret, size_t *ret_len)
{
	uint32_t bits = 0;
	unsigned nbits = 0;
	size_t n = 0;

	if (text.len % 4 == 1)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		int digit = digit_of(text.p[i]);

		if (digit < 0)
			return false;
		bits = bits << 6 | (uint32_t)digit;
		nbits += 6;
		if (nbits >= 8) {
			nbits -= 8;
			ret[n++] = (char)(bits >> nbits);
		}
	}
	*ret_len = n;
	return !(bits & ((1u << nbits) - 1));
}

/* ---- attributes ---- */

enum { SAME_SITE_NONE_SET, SAME_SITE_LAX, SAME_SITE_STRICT, SAME_SITE_NONE };

/* What a token carries of a Set-Cookie. Path and domain are empty if there is none. */
struct attributes {
	struct ht_str path, domain;
	bool secure, http_only, partitioned, persistent;
	int same_site;
};

static const struct {
	char letter;
	const char *text;
} same_sites[] = {
	[SAME_SITE_LAX] = {'l', "Lax"},
	[SAME_SITE_STRICT] = {'t', "Strict"},
	[SAME_SITE_NONE] = {'n', "None"},
};

static bool is_named(struct ht_str s, const char *name)
{
	return s.len == strlen(name) && !strncasecmp(s.p, name, s.len);
}

/* Cuts what stands before the first `at` off *rest, which moves behind it. */
static struct ht_str cut(struct ht_str *rest, char at)
{
	const char *end = rest->len ? memchr(rest->p, at, rest->len) : NULL;
	struct ht_str head = {rest->p, end ? (size_t)(end - rest->p) : rest->len};
	size_t skip = end ? head.len + 1 : head.len;

	rest->p += skip;
	rest->len -= skip;
	return head;
}

/* As browsers read it (RFC 6265bis, 5.7): what they ignore is not there, the last of a name counts. */
static void read_attribute(struct attributes *a, struct ht_str name, struct ht_str value)
{
	if (is_named(name, "path")) {
		a->path = value.len && value.p[0] == '/' ? value : (struct ht_str){"", 0};
	} else if (is_named(name, "domain")) {
		a->domain = value;
	} else if (is_named(name, "secure")) {
		a->secure = true;
	} else if (is_named(name, "httponly")) {
		a->http_only = true;
	} else if (is_named(name, "partitioned")) {
		a->partitioned = true;
	} else if (is_named(name, "samesite")) {
		a->same_site = SAME_SITE_NONE_SET;
		for (size_t i = 1; i < HT_ARRAY_SIZE(same_sites); i++)
			if (is_named(value, same_sites[i].text))
				a->same_site = (int)i;
	}
}

/* From "; Path=/; Secure", or what stands behind the value of a Set-Cookie. */
static void read_attributes(struct ht_str text, struct attributes *ret)
{
	memset(ret, 0, sizeof(*ret));
	while (text.len) {
		struct ht_str value = cut(&text, ';');
		struct ht_str name = ht_str_trim(cut(&value, '='));

		read_attribute(ret, name, ht_str_trim(value));
	}
}

/* Nothing that could end the attribute or the field that it is written into. */
static bool is_attribute_value(struct ht_str s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f || s.p[i] == ';')
			return false;
	return true;
}

static size_t put_text(char letter, struct ht_str text, char *ret)
{
	if (!text.len)
		return 0;
	ret[0] = '~';
	ret[1] = letter;
	return 2 + ht_base64url_encode((const uint8_t *)text.p, text.len, ret + 2);
}

/* The one form of what a token carries. -EPERM if it has none. */
static int encode_attributes(const struct attributes *a, char ret[ATTRIBUTES_TEXT_MAX],
			     size_t *ret_len)
{
	/* flags, and twice a '~', a letter and what base64 adds to its text */
	size_t longest = 5 + 2 * 2 + (4 * a->path.len + 2) / 3 + (4 * a->domain.len + 2) / 3;
	size_t n = 0;

	if (a->path.len > HT_TOKEN_TEXT_MAX || a->domain.len > HT_TOKEN_TEXT_MAX ||
	    longest > ATTRIBUTES_TEXT_MAX || !is_attribute_value(a->path) ||
	    !is_attribute_value(a->domain))
		return -EPERM;
	if (a->secure)
		ret[n++] = 's';
	if (a->http_only)
		ret[n++] = 'h';
	if (a->partitioned)
		ret[n++] = 'p';
	if (a->persistent)
		ret[n++] = 'e';
	if (a->same_site)
		ret[n++] = same_sites[a->same_site].letter;
	n += put_text('p', a->path, ret + n);
	n += put_text('d', a->domain, ret + n);
	*ret_len = n;
	return 0;
}

static bool take(struct ht_str *text, char letter)
{
	if (!text->len || text->p[0] != letter)
		return false;
	text->p++;
	text->len--;
	return true;
}

/* An optional "~" letter base64url, into bytes[HT_TOKEN_TEXT_MAX]. */
static bool take_text(struct ht_str *text, char letter, char *bytes, struct ht_str *ret)
{
	struct ht_str encoded;

	*ret = (struct ht_str){"", 0};
	if (text->len < 2 || text->p[0] != '~' || text->p[1] != letter)
		return true;
	text->p += 2;
	text->len -= 2;
	encoded.p = text->p;
	for (encoded.len = 0; encoded.len < text->len && encoded.p[encoded.len] != '~';)
		encoded.len++;
	text->p += encoded.len;
	text->len -= encoded.len;
	ret->p = bytes;
	return ht_base64url_decode(encoded, bytes, &ret->len) && ret->len &&
	       ht_str_eq(*ret, ht_str_trim(*ret)) && is_attribute_value(*ret);
}

static char *append(char *to, const char *text, size_t len)
{
	memcpy(to, text, len);
	return to + len;
}

static char *append_named(char *to, const char *name, struct ht_str value)
{
	return value.len ? append(append(to, name, strlen(name)), value.p, value.len) : to;
}

static char *append_if(char *to, bool there, const char *text)
{
	return there ? append(to, text, strlen(text)) : to;
}

static void print_attributes(const struct attributes *a, char ret[HT_TOKEN_ATTRIBUTES_MAX])
{
	/* The texts of a token are shorter than it, and what stands around them is 66 bytes. */
	_Static_assert(ATTRIBUTES_TEXT_MAX / 4 * 3 + 66 < HT_TOKEN_ATTRIBUTES_MAX, "they fit");
	char *to = ret;

	to = append_named(to, "; Path=", a->path);
	to = append_named(to, "; Domain=", a->domain);
	to = append_if(to, a->secure, "; Secure");
	to = append_if(to, a->http_only, "; HttpOnly");
	if (a->same_site)
		to = append_named(to, "; SameSite=", HT_STR(same_sites[a->same_site].text));
	to = append_if(to, a->partitioned, "; Partitioned");
	*to = '\0';
}

static bool decode_attributes(struct ht_str text, struct ht_token_info *ret)
{
	char path[HT_TOKEN_TEXT_MAX], domain[HT_TOKEN_TEXT_MAX];
	struct attributes a = {0};

	a.secure = take(&text, 's');
	a.http_only = take(&text, 'h');
	a.partitioned = take(&text, 'p');
	a.persistent = take(&text, 'e');
	for (size_t i = 1; i < HT_ARRAY_SIZE(same_sites) && !a.same_site; i++)
		if (take(&text, same_sites[i].letter))
			a.same_site = (int)i;
	if (!take_text(&text, 'p', path, &a.path) || !take_text(&text, 'd', domain, &a.domain) ||
	    text.len || (a.path.len && a.path.p[0] != '/'))
		return false;
	ret->persistent = a.persistent;
	print_attributes(&a, ret->attributes);
	return true;
}

/* ---- the token ---- */

/* The texts that are MACed, as they stand in the token. */
struct fields {
	struct ht_str kid, issued, expires, attributes, mac;
};

/* Every part with its length before it: no byte can move from one to another. */
static void mac_of(const struct ht_token_params *p, const struct ht_mac_key *key,
		   const struct fields *f, char ret[MAC_LEN])
{
	const struct ht_str in[] = {
		{LABEL, sizeof(LABEL) - 1},
		f->kid,
		f->issued,
		f->expires,
		f->attributes,
		p->name,
		p->value,
		{(const char *)p->bind, HT_BINDING_DIGEST},
	};
	uint8_t lengths[HT_ARRAY_SIZE(in)][4], mac[SHA256_DIGEST_LENGTH];
	struct ht_str parts[2 * HT_ARRAY_SIZE(in)];

	for (size_t i = 0; i < HT_ARRAY_SIZE(in); i++) {
		lengths[i][0] = (uint8_t)(in[i].len >> 24);
		lengths[i][1] = (uint8_t)(in[i].len >> 16);
		lengths[i][2] = (uint8_t)(in[i].len >> 8);
		lengths[i][3] = (uint8_t)in[i].len;
		parts[2 * i] = (struct ht_str){(const char *)lengths[i], 4};
		parts[2 * i + 1] = in[i];
	}
	ht_mac_sha256(key, parts, HT_ARRAY_SIZE(parts), mac);
	ht_base64url_encode(mac, sizeof(mac), ret);
	OPENSSL_cleanse(mac, sizeof(mac));
}

static bool refuses(const struct ht_token_params *p)
{
	return !p->name.len || !p->bind || p->name.len > UINT32_MAX || p->value.len > UINT32_MAX;
}

/* Six fields and the dots between them; no NUL, for which a longest token has no room. */
static size_t put_token(const struct fields *f, char *ret)
{
	const struct ht_str fields[FIELDS] = {HT_STR(VERSION), f->kid,	      f->issued,
					      f->expires,      f->attributes, f->mac};
	size_t n = 0;

	for (size_t i = 0; i < FIELDS; i++) {
		if (i)
			ret[n++] = '.';
		memcpy(ret + n, fields[i].p, fields[i].len);
		n += fields[i].len;
	}
	return n;
}

int ht_native_sign(const struct ht_token_params *p, char *ret, size_t *ret_len)
{
	char issued[TIME_DIGITS + 1], expires[TIME_DIGITS + 1], text[ATTRIBUTES_TEXT_MAX];
	char mac[MAC_LEN];
	struct fields f = {.attributes = {text, 0}, .mac = {mac, sizeof(mac)}};
	const struct ht_mac_key *key;
	struct ht_mac_key scratch;
	struct attributes a;
	int r;

	if (refuses(p) || p->expires_s > TIME_MAX || p->issued_s >= p->expires_s)
		return -EPERM;
	read_attributes(p->attributes, &a);
	a.persistent = p->persistent;
	r = encode_attributes(&a, text, &f.attributes.len);
	if (r)
		return r;
	snprintf(issued, sizeof(issued), "%" PRIu64, p->issued_s);
	snprintf(expires, sizeof(expires), "%" PRIu64, p->expires_s);
	f.issued = HT_STR(issued);
	f.expires = HT_STR(expires);
	key = native_key(&p->secret, &scratch);
	f.kid = (struct ht_str){key->id, sizeof(key->id)};
	mac_of(p, key, &f, mac);
	*ret_len = put_token(&f, ret);
	ht_token_key_done(&p->secret, &scratch);
	OPENSSL_cleanse(mac, sizeof(mac));
	return 0;
}

/* Decimal without sign or leading zeros. */
static bool parse_time(struct ht_str text, uint64_t *ret)
{
	uint64_t t = 0;

	if (!text.len || text.len > TIME_DIGITS || (text.p[0] == '0' && text.len > 1))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		t = t * 10 + (uint64_t)(text.p[i] - '0');
	}
	*ret = t;
	return t <= TIME_MAX;
}

/* The shape only. A dot too many ends up in the MAC, which then has the wrong length. */
static bool split_token(struct ht_str token, struct fields *ret)
{
	struct ht_str version;

	if (token.len > HT_TOKEN_TEXT_MAX)
		return false;
	version = cut(&token, '.');
	ret->kid = cut(&token, '.');
	ret->issued = cut(&token, '.');
	ret->expires = cut(&token, '.');
	ret->attributes = cut(&token, '.');
	ret->mac = token;
	return ht_str_eq(version, HT_STR(VERSION)) && ret->kid.len == HT_KEY_ID_LEN &&
	       ret->attributes.len <= ATTRIBUTES_TEXT_MAX && ret->mac.len == MAC_LEN;
}

static bool mac_is_right(const struct ht_token_params *p, const struct fields *f)
{
	struct ht_mac_key scratch;
	const struct ht_mac_key *key = native_key(&p->secret, &scratch);
	char mac[MAC_LEN];
	bool right = false;

	if (!memcmp(f->kid.p, key->id, sizeof(key->id))) {
		mac_of(p, key, f, mac);
		right = !CRYPTO_memcmp(f->mac.p, mac, sizeof(mac));
		OPENSSL_cleanse(mac, sizeof(mac)); /* what a forger lacks */
	}
	ht_token_key_done(&p->secret, &scratch);
	return right;
}

enum ht_token_verdict ht_native_check(const struct ht_token_params *p, struct ht_str token,
				      uint64_t now_s, struct ht_token_info *ret)
{
	struct ht_token_info info;
	struct fields f;

	if (refuses(p))
		return HT_TOKEN_REFUSED;
	if (!split_token(token, &f) || !parse_time(f.issued, &info.issued_s) ||
	    !parse_time(f.expires, &info.expires_s) || info.issued_s >= info.expires_s ||
	    !mac_is_right(p, &f) || !decode_attributes(f.attributes, &info))
		return HT_TOKEN_FORGED;
	ret->issued_s = info.issued_s;
	ret->expires_s = info.expires_s;
	ret->persistent = info.persistent;
	strcpy(ret->attributes, info.attributes);
	return now_s < ret->expires_s ? HT_TOKEN_VALID : HT_TOKEN_EXPIRED;
}
