/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hardtackctl sign and verify: tokens of every profile, offline and with the daemon's own code. It
 * knows the command line; what a token is, is token.c's and binding.c's business.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <time.h>

#include "binding.h"
#include "hardtackctl.h"
#include "keyring.h"
#include "policy.h"
#include "token.h"

#define NATIVE_LIFETIME_S 86400	  /* native, secure-cookie: as `lifetime` is unless configured */
#define SESSION_LIFETIME_S 172800 /* likewise */

struct offline {
	const char *profile, *key_file, *name, *value, *token;
	const char *time, *expires, *attributes;		    /* native, secure-cookie */
	const char *data, *lifetime;				    /* session-id */
	const char *nonce_hex;					    /* secure-cookie */
	const char *algorithm, *encoding, *name_in_mac, *separator; /* proxysg */
	const char **input;					    /* what stands behind --bind */
	size_t ninputs;
	bool json, help;

	/* made of them */
	char text[HT_BINDING_MAX];
	struct ht_binding binding;
	struct ht_token_params params;
	uint8_t session[HT_SESSION_DATA], nonce[HT_SEALED_NONCE];
	uint64_t now_s;
};

void write_offline_usage(FILE *out)
{
	fputs("\nsign and verify take:\n"
	      "  --profile P    native, f5-irule, proxysg, session-id or secure-cookie\n"
	      "  --key-file F   the key is the file's bytes, less one trailing newline\n"
	      "  --name N       the covered cookie (not part of f5-irule's token)\n"
	      "  --value V      its value; sign makes that of a session-id, and seals that of a\n"
	      "                 secure-cookie; verify takes a sealed one\n"
	      "  --bind INPUT   what the token is bound to, e.g. 192.0.2.10; again for several, "
	      "in\n"
	      "                 the order of the configuration. native, secure-cookie:\n"
	      "                 KIND=VALUE, as in client-ip/24=192.0.2.10; x509-spki and\n"
	      "                 tls-exporter in hex\n"
	      "  --token T      verify: the token to check; a session-id and a secure-cookie are\n"
	      "                 their own\n"
	      "  --time T       native, session-id, secure-cookie: when it is signed or verified,\n"
	      "                 in seconds since 1970\n"
	      "  --expires T    native, secure-cookie, sign: its end; unless given that of\n"
	      "                 --attributes, or a day later\n"
	      "  --attributes A native, secure-cookie, sign: the cookie's, e.g. "
	      "\"; Path=/; Secure\"\n"
	      "  --nonce HEX    secure-cookie, sign: its 12 bytes, never twice; random unless "
	      "given\n"
	      "  --algorithm sha256|sha1, --encoding base64|base64url|hex,\n"
	      "  --name-in-mac true|false, --separator S\n"
	      "                 proxysg: as in the configuration\n"
	      "  --data HEX     session-id, sign: its 16 bytes; random unless given\n"
	      "  --lifetime S   session-id, verify: seconds that it is good for; 48 hours unless\n"
	      "                 given\n",
	      out);
}

/* ---- the command line ---- */

enum option_id {
	OPT_WORD = 1, /* what getopt_long() says of a word */
	OPT_HELP = 'h',
	OPT_JSON = 256,
	OPT_BIND,
	OPT_TEXT, /* and those behind it: texts[] */
};

#define ONLY(p) (1u << HT_PROFILE_##p)
#define ANY (~0u)
#define TIMED (ONLY(NATIVE) | ONLY(SECURE_COOKIE))
#define ITSELF (ONLY(SESSION_ID) | ONLY(SECURE_COOKIE)) /* the value is the token */

static const struct {
	const char *name;
	size_t offset;
	unsigned profiles; /* that have it */
	bool sign_only, verify_only;
} texts[] = {
	{"profile", offsetof(struct offline, profile), ANY, false, false},
	{"key-file", offsetof(struct offline, key_file), ANY, false, false},
	{"name", offsetof(struct offline, name), ANY, false, false},
	{"value", offsetof(struct offline, value), ANY, false, false},
	{"token", offsetof(struct offline, token), ANY & ~ITSELF, false, true},
	{"time", offsetof(struct offline, time), TIMED | ONLY(SESSION_ID), false, false},
	{"expires", offsetof(struct offline, expires), TIMED, true, false},
	{"attributes", offsetof(struct offline, attributes), TIMED, true, false},
	{"nonce", offsetof(struct offline, nonce_hex), ONLY(SECURE_COOKIE), true, false},
	{"algorithm", offsetof(struct offline, algorithm), ONLY(PROXYSG), false, false},
	{"encoding", offsetof(struct offline, encoding), ONLY(PROXYSG), false, false},
	{"name-in-mac", offsetof(struct offline, name_in_mac), ONLY(PROXYSG), false, false},
	{"separator", offsetof(struct offline, separator), ONLY(PROXYSG), false, false},
	{"data", offsetof(struct offline, data), ONLY(SESSION_ID), true, false},
	{"lifetime", offsetof(struct offline, lifetime), ONLY(SESSION_ID), false, true},
};

#define NOPTIONS (HT_ARRAY_SIZE(texts) + 4)

static const char **text_of(struct offline *o, size_t i)
{
	return (const char **)((char *)o + texts[i].offset);
}

static void make_options(struct option options[NOPTIONS])
{
	size_t n = 0;

	for (; n < HT_ARRAY_SIZE(texts); n++)
		options[n] = (struct option){texts[n].name, required_argument, NULL,
					     OPT_TEXT + (int)n};
	options[n++] = (struct option){"bind", required_argument, NULL, OPT_BIND};
	options[n++] = (struct option){"json", no_argument, NULL, OPT_JSON};
	options[n++] = (struct option){"help", no_argument, NULL, OPT_HELP};
	options[n] = (struct option){0};
}

/* 0, or what to exit with. o->input has room for every word of the line. */
static int parse_offline(int argc, char **argv, struct offline *o)
{
	struct option options[NOPTIONS];
	int c, last = 0;

	make_options(options);
	/* '-': words come in their order, so that `--bind A B` is `--bind A --bind B`. */
	while ((c = getopt_long(argc, argv, "-h", options, NULL)) != -1) {
		if (c == OPT_BIND || (c == OPT_WORD && last == OPT_BIND))
			o->input[o->ninputs++] = optarg;
		else if (c == OPT_WORD)
			return usage("'%s' belongs to no option", optarg);
		else if (c == OPT_JSON)
			o->json = true;
		else if (c == OPT_HELP)
			o->help = true;
		else if (c >= OPT_TEXT)
			*text_of(o, (size_t)(c - OPT_TEXT)) = optarg;
		else
			return bad_option();
		last = c == OPT_WORD ? last : c;
	}
	if (optind < argc)
		return usage("'%s' belongs to no option", argv[optind]);
	return 0;
}

/* ---- what it means ---- */

static int check_texts(struct offline *o, bool verifies)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(texts); i++) {
		if (!*text_of(o, i))
			continue;
		if (!(texts[i].profiles >> o->params.profile & 1))
			return usage("profile %s has no --%s", o->profile, texts[i].name);
		if (texts[i].sign_only && verifies)
			return usage("--%s is what a token says itself; only sign takes it",
				     texts[i].name);
		if (texts[i].verify_only && !verifies)
			return usage("--%s is for verify alone", texts[i].name);
	}
	return 0;
}

static int check_offline(struct offline *o, bool verifies)
{
	enum ht_profile *profile = &o->params.profile;
	int status;

	if (!o->profile || !o->key_file)
		return usage("--profile, --key-file and --value are needed");
	if (ht_profile_parse(o->profile, profile) < 0)
		return usage("there is no profile '%s'", o->profile);
	if (!ht_profile_built(*profile))
		return fail(EXIT_USAGE, "profile %s is not built yet", o->profile);
	status = check_texts(o, verifies);
	if (status)
		return status;
	if (*profile == HT_PROFILE_SESSION_ID && !verifies)
		return o->value ? usage("the value is what sign makes of a session-id") : 0;
	if (!o->value)
		return usage("--profile, --key-file and --value are needed");
	if (!(ITSELF >> *profile & 1) && verifies && !o->token)
		return usage("--token is what verify needs");
	return 0;
}

/* The words of an option, and what each means. */
static int parse_word(const char *option, const char *text, const char *const *words, unsigned *ret)
{
	for (unsigned i = 0; words[i]; i++) {
		if (!strcmp(text, words[i])) {
			*ret = i;
			return 0;
		}
	}
	return usage("--%s can't be '%s'", option, text);
}

static int set_proxysg(struct offline *o)
{
	static const char *const algorithms[] = {[HT_SHA256] = "sha256", [HT_SHA1] = "sha1", NULL};
	static const char *const encodings[] = {
		[HT_BASE64] = "base64", [HT_BASE64URL] = "base64url", [HT_HEX] = "hex", NULL};
	static const char *const truths[] = {"false", "true", NULL};
	unsigned algorithm = HT_SHA256, encoding = HT_BASE64, named = true;
	int status = 0;

	if (o->algorithm)
		status = parse_word("algorithm", o->algorithm, algorithms, &algorithm);
	if (!status && o->encoding)
		status = parse_word("encoding", o->encoding, encodings, &encoding);
	if (!status && o->name_in_mac)
		status = parse_word("name-in-mac", o->name_in_mac, truths, &named);
	if (!status && named && !o->name)
		status = usage("--name is needed, or --name-in-mac false");
	o->params.algorithm = algorithm;
	o->params.encoding = encoding;
	o->params.name_in_mac = named;
	o->params.separator = HT_STR(o->separator ? o->separator : "|");
	if (!status && named && !o->params.separator.len)
		status = usage("without a separator only --name-in-mac false is possible");
	return status;
}

static uint8_t digit_of(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* As many bytes of lower-case hex, nothing more. In place, too. */
static bool parse_hex(const char *text, uint8_t *ret, size_t n)
{
	if (strlen(text) != 2 * n || strspn(text, "0123456789abcdef") != 2 * n)
		return false;
	for (size_t i = 0; i < n; i++)
		ret[i] = (uint8_t)(digit_of(text[2 * i]) << 4 | digit_of(text[2 * i + 1]));
	return true;
}

static int parse_seconds(const char *option, const char *text, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno)
		return usage("--%s is a number of seconds since 1970, not '%s'", option, text);
	return 0;
}

/* 0, or what to exit with: now unless --time says when. */
static int set_time(struct offline *o)
{
	o->now_s = (uint64_t)time(NULL);
	return o->time ? parse_seconds("time", o->time, &o->now_s) : 0;
}

/* As of a Set-Cookie: an end among them is the token's, too. */
static void read_attributes(struct offline *o)
{
	struct ht_token_params *p = &o->params;
	struct ht_set_cookie cookie;

	ht_set_cookie_parse(HT_STR(o->attributes ? o->attributes : ""), o->now_s, &cookie);
	p->attributes = cookie.attributes;
	p->persistent = cookie.persistent;
	p->expires_s = cookie.persistent ? cookie.expires_s : o->now_s + NATIVE_LIFETIME_S;
}

static int set_times(struct offline *o)
{
	struct ht_token_params *p = &o->params;
	int status;

	if (!o->name)
		return usage("--name is needed: it is part of the token");
	status = set_time(o);
	p->issued_s = o->now_s;
	read_attributes(o);
	if (!status && o->expires)
		status = parse_seconds("expires", o->expires, &p->expires_s);
	if (!status && p->expires_s <= p->issued_s)
		status =
			usage("the end of a token must be after --time, which is now unless given");
	if (!status && o->nonce_hex && !parse_hex(o->nonce_hex, o->nonce, sizeof(o->nonce)))
		status = usage("--nonce is %d digits in hex", 2 * HT_SEALED_NONCE);
	if (o->nonce_hex)
		p->nonce = o->nonce;
	return status;
}

/* ---- what it is bound to ---- */

/* Appended without a separator, as ht_binding_make() does. */
static int set_input(struct offline *o)
{
	size_t len = 0;

	/* An empty input must be asked for: --bind "". */
	if (o->params.profile == HT_PROFILE_F5_IRULE && !o->ninputs)
		return usage("--bind is needed; --bind \"\" is an empty input");
	for (size_t i = 0; i < o->ninputs; i++) {
		size_t n = strlen(o->input[i]);

		if (n > sizeof(o->text) - len)
			return usage("the inputs of --bind are longer than %d bytes",
				     HT_BINDING_MAX);
		memcpy(o->text + len, o->input[i], n);
		len += n;
	}
	o->params.input = (struct ht_str){o->text, len};
	o->params.input_colon = len && memchr(o->text, ':', len);
	return 0;
}

static int set_session(struct offline *o)
{
	struct ht_token_params *p = &o->params;
	int status = set_time(o);

	if (!status && o->ninputs)
		status = usage("profile session-id has no place for a binding");
	p->issued_s = o->now_s;
	p->data = o->session;
	p->lifetime_s = SESSION_LIFETIME_S;
	if (!status && o->lifetime)
		status = parse_seconds("lifetime", o->lifetime, &p->lifetime_s);
	if (!status && o->data && !parse_hex(o->data, o->session, sizeof(o->session)))
		status = usage("--data is %d digits in hex", 2 * HT_SESSION_DATA);
	if (!status && !o->data && RAND_bytes(o->session, sizeof(o->session)) != 1)
		status = fail(EXIT_NO, "no random bytes are to be had");
	return status;
}

static bool parse_address(const char *text, struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	ret->ss_family = AF_INET;
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1)
		return true;
	ret->ss_family = AF_INET6;
	return inet_pton(AF_INET6, text, &in6->sin6_addr) == 1;
}

/* 64 digits, turned into bytes in place. */
static bool parse_digest(char *text, struct ht_str *ret)
{
	if (!parse_hex(text, (uint8_t *)text, HT_BINDING_DIGEST))
		return false;
	*ret = (struct ht_str){text, HT_BINDING_DIGEST};
	return true;
}

/* What one KIND=VALUE says about the client. */
bool describe_client(struct ht_client *client, unsigned kind, char *value)
{
	struct sockaddr_storage addr;

	switch ((enum ht_bind_kind)kind) {
	case HT_BIND_CLIENT_IP:
		if (!parse_address(value, &addr))
			return false;
		/* one client, whatever is taken of its address */
		if (client->addr.ss_family && memcmp(&client->addr, &addr, sizeof(addr)))
			return false;
		client->addr = addr;
		return true;
	case HT_BIND_GEOIP_COUNTRY:
		client->country = HT_STR(value);
		return *value;
	case HT_BIND_X509_SUBJECT:
		client->x509_subject = HT_STR(value);
		return *value;
	case HT_BIND_X509_SPKI:
		return parse_digest(value, &client->x509_spki);
	case HT_BIND_USER:
		client->user = HT_STR(value);
		return *value;
	case HT_BIND_TLS_EXPORTER:
		return parse_digest(value, &client->exporter);
	}
	return false;
}

static int set_binding(struct offline *o)
{
	struct ht_bind binds[HT_BINDS_PER_RULE];
	struct ht_client client = {0};

	if (o->ninputs > HT_ARRAY_SIZE(binds))
		return usage("--bind takes at most %d bindings", HT_BINDS_PER_RULE);
	for (size_t i = 0; i < o->ninputs; i++) {
		char *kind = (char *)o->input[i], *value = strchr(kind, '=');

		if (value)
			*value++ = '\0';
		if (!value || ht_bind_parse(kind, &binds[i]))
			return usage("--bind %s is no KIND=VALUE, such as client-ip=192.0.2.10",
				     kind);
		if (!describe_client(&client, binds[i].kind, value))
			return usage("'%s' is no value for --bind %s", value, kind);
	}
	ht_binding_make(binds, o->ninputs, &client, &o->binding);
	if (o->binding.empty)
		return usage("the bindings have a value that no connection has");
	o->params.bind = o->binding.sha;
	o->params.user = (struct ht_str){o->binding.text + o->binding.user_at, o->binding.user_len};
	return 0;
}

/* ---- answers ---- */

static const char *why_refused(const struct ht_token_params *p)
{
	if (p->profile == HT_PROFILE_SESSION_ID)
		return p->secret.len ? "--time has not ten digits" : "the key is empty";
	if (!p->value.len)
		return "an empty value is a deletion, it has no token";
	if (p->profile == HT_PROFILE_F5_IRULE)
		return "the value contains ':' and so does the input";
	if (p->profile == HT_PROFILE_PROXYSG)
		return "the separator, or a part of it, stands in the name or in the input";
	if (p->profile == HT_PROFILE_SECURE_COOKIE)
		return "it is no cookie's value, its user has more than 255 bytes, or its times "
		       "or attributes have no room";
	return "its times or attributes have no room in a token";
}

static int sign(const struct offline *o)
{
	const bool seals = o->params.profile == HT_PROFILE_SECURE_COOKIE;
	char token[HT_COOKIE_MAX];
	size_t len;
	int r = seals ? ht_sealed_make(&o->params, token, &len)
		      : ht_token_sign(&o->params, token, &len);

	if (r == -E2BIG)
		return fail(EXIT_NO,
			    "refused: with its name the sealed value is longer than %d "
			    "bytes, and no browser would take it",
			    HT_COOKIE_MAX);
	if (r == -EPERM)
		return fail(EXIT_NO, "refused: %s", why_refused(&o->params));
	if (r < 0)
		return fail(EXIT_NO, "signing failed: %s", strerror(-r));
	if (o->json)
		return print_json(json_pack("{s:s, s:s%}", "profile", o->profile,
					    seals ? "value" : "token", token, len),
				  EXIT_YES);
	printf("%.*s\n", (int)len, token);
	return finish(EXIT_YES);
}

/* What a token with times that verifies says of itself. */
static void add_info(json_t *j, const struct ht_token_info *info)
{
	json_object_set_new(j, "issued", json_integer((json_int_t)info->issued_s));
	json_object_set_new(j, "expires", json_integer((json_int_t)info->expires_s));
	json_object_set_new(j, "persistent", json_boolean(info->persistent));
	json_object_set_new(j, "attributes", json_string(info->attributes));
}

/* The daemon's own plaintext, for whoever has the key. It need not be UTF-8: then it stays out. */
static void add_plaintext(json_t *j, const char *text, size_t len)
{
	json_t *plain = json_stringn(text, len);

	if (plain)
		json_object_set_new(j, "plaintext", plain);
}

static int verify(const struct offline *o)
{
	static const char *const names[] = {
		[HT_TOKEN_VALID] = "valid",
		[HT_TOKEN_FORGED] = "forged",
		[HT_TOKEN_REFUSED] = "refused",
		[HT_TOKEN_EXPIRED] = "expired",
	};
	const bool sealed = o->params.profile == HT_PROFILE_SECURE_COOKIE;
	struct ht_str token = HT_STR(o->token ? o->token : o->value);
	char plain[HT_SEALED_DATA_MAX];
	size_t len = 0;
	struct ht_token_info info;
	enum ht_token_verdict verdict = sealed ? ht_sealed_open(&o->params, token, o->now_s, plain,
								&len, &info)
					       : ht_token_check(&o->params, token, o->now_s, &info);
	int status = verdict == HT_TOKEN_VALID ? EXIT_YES : EXIT_NO;
	json_t *j;

	if (!o->json) {
		puts(names[verdict]);
		return finish(status);
	}
	j = json_pack("{s:s, s:s}", "profile", o->profile, "verdict", names[verdict]);
	if (j && info.expires_s)
		add_info(j, &info);
	if (j && len)
		add_plaintext(j, plain, len);
	return print_json(j, status);
}

static int run_with_key(struct offline *o, bool verifies)
{
	struct ht_token_params *p = &o->params;
	struct ht_diag diag = {0};
	uint8_t *secret;
	size_t len;
	int status;

	if (ht_secret_read(o->key_file, &secret, &len, &diag) < 0)
		return fail(EXIT_USAGE, "%s: %s", o->key_file, diag.text);
	p->secret = (struct ht_secret){.bytes = secret, .len = len};
	p->name = HT_STR(o->name ? o->name : "");
	p->value = HT_STR(o->value ? o->value : "");
	status = verifies ? verify(o) : sign(o);
	ht_secret_free(secret, len);
	return status;
}

int run_offline(const struct command *self, const char *socket_path, int argc, char **argv)
{
	_cleanup_free_ const char **input = calloc((size_t)argc, sizeof(*input));
	bool verifies = !strcmp(self->name, "verify");
	struct offline o = {.input = input};
	int status;

	(void)socket_path;
	if (!input)
		return fail(EXIT_NO, "out of memory");
	status = parse_offline(argc, argv, &o);
	if (!status && o.help)
		return show_help();
	if (!status)
		status = check_offline(&o, verifies);
	if (!status && o.params.profile == HT_PROFILE_PROXYSG)
		status = set_proxysg(&o);
	if (!status && TIMED >> o.params.profile & 1)
		status = set_times(&o);
	if (!status && o.params.profile == HT_PROFILE_SESSION_ID)
		status = set_session(&o);
	else if (!status)
		status = TIMED >> o.params.profile & 1 ? set_binding(&o) : set_input(&o);
	return status ? status : run_with_key(&o, verifies);
}
