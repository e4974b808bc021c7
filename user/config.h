/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration file as a tree of structs. Reads YAML and files that it names (to say early
 * that they can't be read); opens no sockets, starts nothing, logs nothing. Immutable once
 * loaded: a reload makes a new one.
 */
#ifndef HT_CONFIG_H
#define HT_CONFIG_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "guard_abi.h"
#include "proxy.h"
#include "util.h"

enum ht_tristate { HT_OFF, HT_AUTO, HT_REQUIRE };

enum ht_client_cert { HT_CLIENT_CERT_NONE, HT_CLIENT_CERT_OPTIONAL, HT_CLIENT_CERT_REQUIRED };

enum ht_mode { HT_MODE_OFF, HT_MODE_REPORT, HT_MODE_ENFORCE };

enum ht_profile {
	HT_PROFILE_NATIVE,
	HT_PROFILE_F5_IRULE,
	HT_PROFILE_PROXYSG,
	HT_PROFILE_SESSION_ID,
	HT_PROFILE_SECURE_COOKIE
};

enum ht_on_empty { HT_ON_EMPTY_STRIP, HT_ON_EMPTY_REJECT };

/* Which cookies a rule is for: one of a name, all, all but those of a list, those of a list. */
enum ht_covers { HT_COVERS_NAME, HT_COVERS_ALL, HT_COVERS_ALL_BUT, HT_COVERS_ONLY };

enum ht_algorithm { HT_SHA256, HT_SHA1 };
enum ht_encoding { HT_BASE64, HT_BASE64URL, HT_HEX };

enum ht_balance {
	HT_BALANCE_ROUND_ROBIN,
	HT_BALANCE_LEAST_CONNECTIONS,
	HT_BALANCE_SOURCE,
	HT_BALANCE_COOKIE
};

enum ht_log_format { HT_LOG_JSON, HT_LOG_COMBINED };

/* One ingredient of a binding, in the order of the configuration. */
enum ht_bind_kind {
	HT_BIND_CLIENT_IP,
	HT_BIND_GEOIP_COUNTRY,
	HT_BIND_X509_SUBJECT,
	HT_BIND_X509_SPKI,
	HT_BIND_USER,
	HT_BIND_TLS_EXPORTER
};

struct ht_bind {
	enum ht_bind_kind kind;
	uint8_t v4_bits; /* client-ip: prefix lengths, 32 and 128 = the whole address */
	uint8_t v6_bits;
};

#define HT_BINDS_PER_RULE 6
#define HT_PREFIX_MAX 32	  /* bytes of a prefix of cookie names */
#define HT_SIBLING_PREFIX_MAX 16  /* bytes of what stands before a covered name in its sibling's */
#define HT_SIBLING_PREFIXES_MAX 2 /* different ones of a site */
#define HT_SITE_NAMES_MAX 32	  /* names in the lists of a site, and as many prefixes */
#define HT_LABEL_MAX 96
#define HT_SIBLINGS_PER_RULE 3 /* one of each profile that is built */
#define HT_LISTENERS_MAX 32    /* as many as the metrics have labels for */
#define HT_UPSTREAMS_MAX 64    /* of a site, the addresses of names counted one by one */
#define HT_SITES_MAX 4096      /* each takes a ht_policy in the kernel's map */
#define HT_GUARD_INTERFACES_MAX 8

struct ht_addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
	socklen_t len;
	char text[128]; /* as configured, for logs and metrics */
};

struct ht_cert_config {
	char *certificate, *key; /* paths, resolved against the file's directory */
	unsigned line, col;	 /* where it stands, for errors found when it is loaded */
};

struct ht_tls_config {
	struct ht_cert_config *certs; /* the first is the default */
	size_t ncerts;
	int min_version;  /* TLS1_2_VERSION or TLS1_3_VERSION as numbers: 0x0303, 0x0304 */
	char *client_ca;  /* path or NULL */
	char *client_crl; /* path or NULL; only with client-ca */
	unsigned crl_line, crl_col;
	bool crl_expired; /* seen at load: nobody's certificate is good until there is a new one */
	enum ht_client_cert client_cert; /* default: optional with client-ca, else none */
	unsigned line, col;
};

struct ht_listener_config {
	struct ht_addr addr;
	struct ht_tls_config *tls; /* NULL = plain HTTP */
	bool proxy_protocol;	   /* a PROXY header must come first, from a trusted proxy */
	bool redirect_https;	   /* nothing but 308 to the same under https */
	unsigned line, col;
};

/* A cookie's name or, from "sess*", the prefix "sess" of names. Never empty. */
struct ht_cookie_name {
	char *text;
	bool prefix;
};

/*
 * Where tokens of a rule are looked for: the cookie `text` or, with `prefix`, the covered cookie's
 * name with `text` before it, behind its __Host- or __Secure- if it has one.
 */
struct ht_sibling {
	char *text;
	bool prefix;
	uint32_t accept; /* bits 1 << enum ht_profile: whose place this is */
};

struct ht_rule_config {
	enum ht_covers covers;
	char *name;		      /* HT_COVERS_NAME: the covered cookie, else NULL */
	struct ht_cookie_name *names; /* ALL_BUT: exceptions; ONLY: what is covered; NAME: that */
	size_t nnames;
	char *label;   /* what logs call it: the cookie's name, "all", "only a, b*"; cut if long */
	char *sibling; /* siblings[0].text, where the emitted token goes */
	bool sibling_prefix; /* siblings[0].prefix */
	struct ht_sibling
		siblings[HT_SIBLINGS_PER_RULE]; /* the emitted one, and those of `accept` */
	size_t nsiblings;
	enum ht_profile profile;
	uint32_t accept;  /* bits 1 << enum ht_profile of what verifies; always with `profile` */
	char *key;	  /* name of a key */
	size_t key_index; /* in ht_config.keys */
	struct ht_bind binds[HT_BINDS_PER_RULE];
	size_t nbinds;
	enum ht_on_empty on_empty; /* default: reject for f5-irule with x509-subject, else strip */
	enum ht_mode mode;
	bool copy_attributes; /* sibling-attributes: copy; false (seed) for f5-irule only */
	char *reissue; /* "; NAME=VALUE...": attributes of a sibling that is signed anew where
				 those of the cookie are not known */
	uint64_t enforce_after_s;    /* Unix time before which unsigned cookies pass; 0 = none */
	enum ht_algorithm algorithm; /* proxysg, as the three below */
	enum ht_encoding encoding;
	bool name_in_mac;
	char *separator;     /* may be "" */
	uint64_t lifetime_s; /* native: of the token of a cookie without an end of its own */
	uint64_t session_s;  /* session-id: of an id, from the time that it says */
	char **issue;	     /* session-id: paths where one is issued; none = all of them */
	size_t nissue;
	bool expire_stripped; /* what was stripped is deleted at the client, too */
	unsigned line, col;
};

struct ht_upstream_config {
	char *host; /* as configured: a name or an address, without brackets; NULL with unix */
	uint16_t port;
	char *unix_path;     /* unix:PATH, or NULL */
	struct ht_addr addr; /* resolved at load; the first address of a name */
	bool tls;	     /* https://HOST[:PORT] */
	unsigned line, col;
};

/* How a site's upstreams are asked whether they are well. */
struct ht_check_config {
	char *path;		 /* NULL = they are not asked */
	uint64_t every, timeout; /* milliseconds */
	uint32_t rise, fall;	 /* answers in a row that change our mind */
	uint32_t status;	 /* what a good answer says */
};

struct ht_site_config {
	char **hosts; /* lower case; "*" = any; "*.example.com" = below it */
	size_t nhosts;
	struct ht_upstream_config *upstreams;
	size_t nupstreams;
	enum ht_balance balance;
	char *balance_cookie; /* its name, with balance: cookie; never NULL then */
	char *upstream_ca;    /* path, or NULL = what the system trusts; for https upstreams */
	unsigned ca_line, ca_col;
	uint64_t
		resolve_every; /* ms between two lookups of the upstreams' names; 0 = never again */
	struct ht_check_config check;
	struct ht_rule_config *rules;
	size_t nrules;
	char **exempt; /* paths whose cookies are not judged; a trailing '*' = all that begin so */
	size_t nexempt;
	uint64_t hsts_s; /* Strict-Transport-Security: max-age; 0 = none of ours */
	unsigned line, col;
};

/* Exactly one of the first two; `servers` beside a directory. */
struct ht_key_config {
	char *name;
	char *file;	    /* path, or NULL */
	unsigned line, col; /* of where its secrets come from */
	char *directory;    /* path of the secrets that we make or keep, or NULL */
	char **servers;	    /* of memcached, "HOST:PORT", in the order in which they are asked */
	size_t nservers;
	char *prefix;		 /* of what is kept there, "" usually */
	uint64_t rotate_every_s; /* 0 = not by itself */
	uint64_t lifetime_s;	 /* of a secret that signs no more; 0 = gone at once (file) */
	uint64_t poll_every_ms;
};
#define HT_STATE_DIR "/var/lib/hardtack" /* where keys without a place of their own have it */
#define HT_KEY_SERVERS_MAX 8
#define HT_KEY_LIVE_MAX                                                                            \
	12 /* secrets of a key at a time, by its lifetime and how often it rotates */

/* Who keeps sending forged cookies, and what becomes of him. */
struct ht_guard_config {
	enum ht_guard_mode mode; /* default: off without a guard, else report */
	char **interfaces;	 /* where the kernel drops; may be none */
	size_t ninterfaces;
	unsigned line, col;	 /* of them */
	struct ht_prefix *allow; /* never scored, never dropped; nor are trusted proxies */
	size_t nallow;
	uint32_t forged; /* different ones within `per`; at most HT_SCORE_FORGED_MAX */
	uint64_t per_ms, ban_ms;
	uint64_t
		hold_s; /* for so long nobody is scored by rules whose tokens are others; 0 = not */
	uint32_t max;	/* bans at a time, approximate (LRU) */
	uint32_t v4_bits, v6_bits; /* prefix of an address that is one source */
};

struct ht_config {
	char *file; /* the path given */
	struct ht_listener_config *listeners;
	size_t nlisteners;
	struct ht_site_config *sites;
	size_t nsites;
	struct ht_key_config *keys;
	size_t nkeys;
	struct ht_prefix *trusted; /* proxies that are believed */
	size_t ntrusted;
	struct {
		size_t head;	    /* bytes of a request head as it leaves; at most HT_HEAD_MAX */
		uint64_t body;	    /* bytes; 0 = no limit */
		size_t connections; /* of clients, all workers together */
		size_t covered_cookies; /* of one request; at most HT_RULES_MAX */
	} limits;
	struct {
		/* milliseconds */
		uint64_t handshake, head, body, idle, connect, response, drain;
	} timeouts;
	struct {
		uint32_t max; /* per CPU, approximate */
		uint32_t
			sealed_max; /* sealed cookies that the kernel can open, likewise; 0 = none */
		uint64_t flush_every_s; /* 0 = never */
	} tokens;
	enum ht_tristate gate, ktls;
	struct ht_guard_config guard;
	char *bpf_pin;	  /* directory */
	char *bpf_cgroup; /* directory, or NULL = auto */
	unsigned workers; /* 0 = auto: one per CPU */
	struct {
		enum ht_log_format format;
		char *to; /* "stderr", "off" or a path */
	} access_log;
	char *control;	       /* path of the control socket, or NULL */
	struct ht_addr *admin; /* or NULL */
	char *user;	       /* or NULL = stay who we are */
	unsigned user_line, user_col;
	char *geoip; /* path of a country database, or NULL; what geoip-country looks into */
	unsigned geoip_line, geoip_col;
};

/*
 * Reads and checks FILE. On success *ret is the caller's, to be freed with ht_config_free().
 * On a mistake of the user's returns -EINVAL (-ENOENT, -EACCES... if FILE can't be read) with
 * diag filled; only the first mistake is reported.
 */
int ht_config_load(const char *file, struct ht_config **ret, struct ht_diag *diag);

/*
 * The two halves of ht_config_load(). The first checks all that the text alone can tell and
 * touches nothing but memory, so that it can be fuzzed; `file` only names the place and gives
 * relative paths their directory. The second looks at the machine: opens the files that the
 * configuration names, sees whether certificates match their keys, resolves upstream names (into
 * ht_upstream_config.addr) and looks the user up.
 */
int ht_config_parse(const char *file, const char *text, size_t len, struct ht_config **ret,
		    struct ht_diag *diag);
int ht_config_check_machine(struct ht_config *c, struct ht_diag *diag);

/*
 * Things that are allowed but probably not meant (a `Secure` sibling on a plain listener, ...).
 * Calls `warn` once for each, in the order of the file.
 */
void ht_config_warnings(const struct ht_config *c,
			void (*warn)(void *arg, const struct ht_diag *diag), void *arg);

/*
 * Moves keys so that those whose names stand in names[n] have the same index there; what is new
 * takes the empty places. Places without a key have the name NULL. Before anything else uses the
 * configuration. -ENOMEM, -EINVAL with diag when it would take more than HT_KEYS_MAX places.
 */
int ht_config_keep_keys(struct ht_config *c, const char *const *names, size_t n,
			struct ht_diag *diag);

/* NULL-safe. */
void ht_config_free(struct ht_config *c);

/*
 * The site that serves `host` (without port, any case), or NULL. Exact names win over wildcards,
 * longer wildcards over shorter ones, "*" comes last.
 */
const struct ht_site_config *ht_config_site(const struct ht_config *c, struct ht_str host);

/*
 * Is the path exempt from judgement? It is compared as it stands, and only if nobody could read
 * another one out of it: with escapes, empty or dot segments, backslashes, parameters (';') or
 * anything unusual in it a path never is.
 */
bool ht_config_exempts(const struct ht_site_config *s, struct ht_str path);

/* Does a rule of profile session-id issue ids on this path? It is compared as it stands. */
bool ht_config_issues(const struct ht_rule_config *r, struct ht_str path);

#endif
