/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a site does with cookies: the rules compiled for the gate, the daemon's own judgement
 * (misses, and everything when the gate is off) and the signing of Set-Cookie. Pure: no sockets,
 * no clock, no logging. The kernel's verdict and this one come from the same scanner (head.h) and
 * cut the same bytes.
 */
#ifndef HT_POLICY_H
#define HT_POLICY_H

#include "abi.h"
#include "head.h"
#include "binding.h"
#include "config.h"
#include "keyring.h"
#include "revoked.h"
#include "token.h"
#include "util.h"

/* A site's rules, compiled. Immutable. Indices of rules are those of gate.rule. */
struct ht_policy_site {
	struct ht_policy gate; /* what goes into the map `policy` */
	size_t nrules;
	const struct ht_rule_config *rules[HT_RULES_MAX]; /* rules of mode off are left out */
	/* Which profiles' tokens stand where: bits 1 << enum ht_profile by rule and enum ht_form - 1 */
	uint32_t accept[HT_RULES_MAX][HT_FORMS];
	const struct ht_site_config *config;
	bool only_reports; /* no rule enforces anything: nothing may change, or be refused */
	uint32_t issuers;  /* rules whose cookie we issue ourselves, as bits */
	bool seals; /* some rule takes sealed cookies: a head needs ht_policy_client.opened */
	size_t nbinds;
	struct {
		const struct ht_bind *binds;
		size_t nbinds;
	} bind[HT_BINDS_MAX];		 /* compute these once per client connection */
	bool reject_empty[HT_BINDS_MAX]; /* some rule with this binding says on-empty: reject */
	bool needs_subject;		 /* some rule binds to x509-subject with on-empty: reject */
};

/*
 * Compiles one site. Its first host goes into the rules' ids, so that a token of one site is none of
 * another. -EINVAL with diag when it doesn't fit the gate (rules, names, bindings), -ENOMEM.
 */
int ht_policy_compile(const struct ht_config *c, const struct ht_site_config *s,
		      struct ht_policy_site *ret, struct ht_diag *diag);

/*
 * The gate knows no calendar: turns `enforce-after` into its clock. Call it after compiling and
 * whenever the clock was set.
 */
struct ht_policy_time {
	uint64_t now_s;	  /* CLOCK_REALTIME */
	uint64_t boot_ns; /* CLOCK_BOOTTIME of the same moment */
};
void ht_policy_set_time(struct ht_policy_site *s, const struct ht_policy_time *t);

/*
 * What a name is in this site, decided as the gate does: returns the rule that covers it, SIZE_MAX
 * if none does. *ret_token: it is the name of a token, of whatever rule.
 */
size_t ht_policy_covers(const struct ht_policy_site *s, struct ht_str name, bool *ret_token);

/* The name of the cookie where a token for `name` stands; a rule's own is siblings[0]. -E2BIG. */
int ht_policy_sibling(const struct ht_sibling *sib, struct ht_str name, char *ret, size_t cap,
		      size_t *ret_len);

/* What happened to one covered cookie. The names are those of hardtack_verdicts_total. */
enum ht_cookie_verdict {
	HT_COOKIE_HIT, /* only ever the kernel's word */
	HT_COOKIE_VALID,
	HT_COOKIE_FORGED,
	HT_COOKIE_MISSING,
	HT_COOKIE_DUPLICATE,
	HT_COOKIE_EXPIRED,
	HT_COOKIE_REVOKED,
	HT_COOKIE_UNBOUND,
	HT_COOKIE_VERDICT_MAX,
};
enum ht_cookie_action {
	HT_ACTION_PASS,
	HT_ACTION_STRIP,
	HT_ACTION_REPORT,
	HT_ACTION_GRACE,
	HT_ACTION_MAX
};

/* Why a cookie that passes gets another token. */
enum ht_renewal {
	HT_RENEWAL_NONE,
	HT_RENEWAL_UNSIGNED, /* it has none, and it is before enforce-after */
	HT_RENEWAL_PROFILE,  /* its own is of another profile that is accepted */
	HT_RENEWAL_KEY,	     /* of an older secret */
	HT_RENEWAL_PLACE,    /* it stands where another profile's would */
	HT_RENEWAL_AGE,	     /* it is past half its life */
};

/*
 * What to push so that the next request hits: a token, or the plaintext of a sealed cookie, of which
 * tag[0], not_after_ns, key and policy are in `token`, too.
 */
struct ht_push {
	struct ht_token_key key;
	struct ht_token token; /* one tag; the pusher merges it with what is there */
	struct ht_str sealed;  /* p NULL: a token. Borrowed, at most HT_SEALED_MAX bytes */
};

/* A covered cookie whose token is to be signed anew, or who is to be sealed, on this response. */
struct ht_reissue {
	uint8_t rule;
	bool token; /* it is that; else what goes with it: the plain cookie, a token's end */
	struct ht_str name; /* of the covered cookie */
	struct ht_str line; /* "Set-Cookie: SIBLING=...", without CRLF */
};

/* Of each cookie: 4 proofs, its plaintext as the gate's, and what it is issued anew as. */
#define HT_PUSHES_MAX (6 * HT_COOKIES_MAX)

struct ht_judgement {
	size_t ncookies; /* covered cookies seen */
	struct {
		uint8_t rule;
		uint8_t verdict; /* enum ht_cookie_verdict */
		uint8_t action;	 /* enum ht_cookie_action */
		struct ht_str name;
		/* for whoever wants to know why */
		uint64_t occs;		      /* its values and tokens, as bits of scratch->occ */
		bool proven;		      /* a token verifies, and profile and secret are its */
		bool refused;		      /* a guard forbids any token for this value */
		uint8_t profile;	      /* enum ht_profile */
		uint8_t secret;		      /* 0 = the newest */
		uint8_t renewal;	      /* enum ht_renewal */
		uint64_t issued_s, expires_s; /* of tokens with times that verify or are expired */
		/* of a forged one, with its tokens: the same one again has the same (client.prints) */
		uint64_t print;
		size_t opened; /* bytes of the plaintext that the backend gets in its place; 0 = none */
	} cookie[HT_COOKIES_MAX];
	size_t npushes;
	struct ht_push push[HT_PUSHES_MAX];
	size_t nreissues;
	struct ht_reissue reissue[2 * HT_COOKIES_MAX];
	size_t too_long; /* cookies that were to be sealed, and no browser would take */
	bool opened;	 /* plaintext stands in the head: judge it again only as it was before */
	size_t used;	 /* of `text`, where names, lines and plaintext stand */
	char text[4 * HT_HEAD_MAX];
};

/* The request's side of a judgement. */
struct ht_policy_client {
	const struct ht_binding *bind; /* nbinds of the site: once per client connection and site */
	struct ht_policy_time time;
	bool plain;			  /* without TLS at the client: nothing new is `Secure` */
	const struct ht_revoked *revoked; /* published before the key ring was, or NULL */
	const struct ht_sip_keys *prints; /* .tag, for prints of forged cookies; NULL = none */
	/* Random, of this head alone and not 0,0: ht_slot.bind[HT_BIND_OPENED]; see there. */
	uint64_t opened[2];
	bool opens; /* everything sealed is opened here: the gate did not, though it was told how */
	bool exempt; /* nothing is judged; what is sealed is opened */
};

/* What a cookie is judged by, or signed with. */
struct ht_policy_context {
	const struct ht_policy_site *site;
	const struct ht_keyring *ring;
	const struct ht_sip_keys *keys; /* of the gate behind us; NULL = there is none */
	const struct ht_policy_client *client;
};

/*
 * Judges every covered cookie of the head at head[*len] and removes what must not pass, in place
 * (*len shrinks). With `only` != 0 just these (bits as in ht_slot), and nothing is removed: for
 * what the gate let through and left `unknown`. Returns 0, or a positive enum ht_reason when the
 * scanner refuses the head: write it canonically and try once more. `scratch` is the caller's
 * scanner state; afterwards its occurrences and cuts are those of the head as it was.
 *
 * Where a gate comes behind us, what is valid is pushed, and tokens that the backend must not see
 * stay beside their cookies, for the gate to judge by and to cut.
 *
 * A token that verifies but is not what would be issued now (an older secret, another profile that
 * is accepted, a native one past half its life), and an unsigned cookie before `enforce-after`,
 * pass and are in ret->reissue; what is pushed for them is good for HT_REISSUE_S only, so that
 * they come here again should the client not get the new one. A session id is never changed in the
 * head: its successor, of the same session, is in ret->reissue; and what is no session id and
 * passes before `enforce-after` is pushed for HT_GRACE_S, which is for this head alone.
 *
 * Sealed cookies are opened here or, where the gate comes behind us and can, left for it: their
 * plaintext is pushed. Other plaintext that is to pass a gate is pushed under client->opened.
 */
#define HT_REISSUE_S 60
#define HT_GRACE_S 2
int ht_policy_judge(const struct ht_policy_context *by, struct ht_head *scratch, char *head,
		    size_t *len, uint32_t only, struct ht_judgement *ret);

/*
 * Names the cookies that the gate has judged: `bits` as in ht_slot, of the head as it was sent.
 * Fills ret->cookie with rules, names and, unless `prints` is NULL, prints only.
 */
void ht_policy_name(const struct ht_policy_site *s, struct ht_head *scratch, const char *head,
		    size_t len, uint32_t bits, const struct ht_sip_keys *prints,
		    struct ht_judgement *ret);

/*
 * Rewrites every Cookie field as "Cookie: a=1; b=2": no blanks around names and values, nameless
 * leftovers and identical duplicates gone, fields merged into one. In place, never longer
 * (*len shrinks). What follows a refusal for HT_REASON_BLANKS or HT_REASON_COOKIES.
 */
void ht_policy_canonicalize(char *head, size_t *len);

/* What a Set-Cookie field asks for (RFC 6265bis 5.6): borrowed from its value. */
struct ht_set_cookie {
	struct ht_str name, value;
	struct ht_str attributes; /* from the first ';' on, verbatim; may be empty */
	bool deletion;		  /* empty value, Max-Age <= 0 or Expires before now */
	bool persistent;	  /* it has an end of its own ... */
	uint64_t expires_s;	  /* ... then, Unix time */
};
void ht_set_cookie_parse(struct ht_str field, uint64_t now_s, struct ht_set_cookie *ret);

enum ht_sign_result {
	HT_SIGN_UNCOVERED, /* no rule names it: nothing to add */
	HT_SIGN_SIGNED,	   /* line and push are filled */
	HT_SIGN_DELETED,   /* line deletes the sibling */
	HT_SIGN_SIBLING,   /* the backend itself sets a sibling's name: the field must be dropped */
	HT_SIGN_REFUSED,   /* a guard forbids it: the cookie goes unsigned and will not come back */
	HT_SIGN_UNBOUND,   /* the connection cannot give the binding */
	HT_SIGN_REVOKED,   /* a backend that sets it again does not give it back */
	HT_SIGN_ISSUER,	   /* it is ours to issue: the field must be dropped */
	HT_SIGN_SEALED, /* line takes the field's place; push is filled if push.sealed.p is not NULL */
	HT_SIGN_TOO_LONG, /* sealed, no browser would take it: see ht_policy_withholds() */
};

/*
 * Must a field with this answer be left out? Its plaintext is not for browsers; but before
 * enforce-after what can't be sealed passes as it always did. `rule`: NULL if none covers it.
 */
bool ht_policy_withholds(const struct ht_rule_config *rule, enum ht_sign_result result,
			 uint64_t now_s);

/*
 * The sibling for one Set-Cookie field of a response. line[cap] gets "Set-Cookie: NAME=..." without
 * CRLF. f5-irule: "; HttpOnly; Secure; Path=/" or, with sibling-attributes: copy, the original's.
 */
enum ht_sign_result ht_policy_sign(const struct ht_policy_context *by,
				   const struct ht_set_cookie *cookie, char *line, size_t cap,
				   size_t *ret_len, struct ht_push *ret_push, size_t *ret_rule);

/* ---- session ids, which we issue ourselves ---- */

/* The rules that issue where a request for this path has no cookie of theirs, as bits. */
uint32_t ht_policy_issues(const struct ht_policy_site *s, struct ht_str path);

/* Is there a cookie of this name in the head? By the scanner's reading, be it of no worth. */
bool ht_policy_has_cookie(const char *head, size_t len, struct ht_str name);

/*
 * Gives the client a session: adds a cookie of the rule to the head in its canonical form, and writes
 * "Set-Cookie: ..." into line[line_cap]. `data` is random, and nobody else's. *ret_push is filled
 * where there is a gate. -ENOSPC when the head would be longer than `cap`, else -errno.
 */
int ht_policy_issue(const struct ht_policy_context *by, size_t rule,
		    const uint8_t data[HT_SESSION_DATA], char *head, size_t *len, size_t cap,
		    char *line, size_t line_cap, size_t *ret_line_len, struct ht_push *ret_push);

/*
 * What a revocation of this value must name: the value or, if it is a session id to a rule that
 * accepts such, the part of it that stays when it is issued anew.
 */
struct ht_str ht_policy_session(const struct ht_rule_config *r, struct ht_str value);

/* "Set-Cookie: NAME=..." without CRLF that makes the client forget the cookie. -E2BIG. */
int ht_policy_expire(struct ht_str name, bool plain, char *line, size_t cap, size_t *ret_len);

const char *ht_cookie_verdict_name(enum ht_cookie_verdict v);
const char *ht_cookie_action_name(enum ht_cookie_action a);
const char *ht_reason_name(enum ht_reason r);

#endif
