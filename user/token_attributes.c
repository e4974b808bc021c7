/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a token, or a sealed cookie, carries of its Set-Cookie's attributes, so that one that is made
 * anew has them, too: the text of hardtack-native(7). There is one way to write it. Must not believe
 * that it is anybody's: that is for who carries it to prove.
 */
#include <strings.h>

#include "token_native.h"

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

struct ht_str ht_str_cut(struct ht_str *rest, char at)
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
		struct ht_str value = ht_str_cut(&text, ';');
		struct ht_str name = ht_str_trim(ht_str_cut(&value, '='));

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

static int encode_attributes(const struct attributes *a, char ret[HT_ATTRIBUTES_TEXT_MAX],
			     size_t *ret_len)
{
	/* flags, and twice a '~', a letter and what base64 adds to its text */
	size_t longest = 5 + 2 * 2 + (4 * a->path.len + 2) / 3 + (4 * a->domain.len + 2) / 3;
	size_t n = 0;

	if (a->path.len > HT_TOKEN_TEXT_MAX || a->domain.len > HT_TOKEN_TEXT_MAX ||
	    longest > HT_ATTRIBUTES_TEXT_MAX || !is_attribute_value(a->path) ||
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

int ht_attributes_encode(struct ht_str attributes, bool persistent,
			 char ret[HT_ATTRIBUTES_TEXT_MAX], size_t *ret_len)
{
	struct attributes a;

	read_attributes(attributes, &a);
	a.persistent = persistent;
	return encode_attributes(&a, ret, ret_len);
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
	_Static_assert(HT_ATTRIBUTES_TEXT_MAX / 4 * 3 + 66 < HT_TOKEN_ATTRIBUTES_MAX, "they fit");
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

bool ht_attributes_decode(struct ht_str text, struct ht_token_info *ret)
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
