/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The whole contract between the kernel programs and the daemon: map keys and values, message
 * kinds, verdicts, counters, limits, and how a token's map key and tag are computed. Everything
 * here has fixed-width members and explicit padding; change a layout and HT_ABI goes up.
 */
#ifndef HT_ABI_H
#define HT_ABI_H

#include <linux/types.h>

#define HT_ABI 6

#define HT_HEAD_MAX 16384  /* bytes of a request head as it leaves, our own fields included */
#define HT_RULES_MAX 16	   /* of a site */
#define HT_COOKIES_MAX 16  /* covered cookies of one request */
#define HT_SEEN_MAX 32	   /* of one request: names that are covered or that tokens are for */
#define HT_OCC_MAX 64	   /* of one request: covered cookies and tokens, each time they come */
#define HT_NAMES_MAX 64	   /* cookie names of a site that its rules spell out */
#define HT_NAME_MAX 96	   /* bytes of such a name, a multiple of 8 */
#define HT_PATTERNS_MAX 64 /* steps of a site's decision for all other names */
#define HT_PREFIX_MAX 32   /* bytes of a prefix of names, a multiple of 8 */
#define HT_SIBLINGS_MAX 2  /* prefixes of a site's tokens */
#define HT_SIBLING_MAX 16  /* bytes of such a prefix, a multiple of 8 */
#define HT_BINDS_MAX 4	   /* different bindings among the rules of a site */
#define HT_BIND_OPENED HT_BINDS_MAX /* index in ht_slot.bind: of what the daemon opened itself */
#define HT_TAGS_MAX 4		    /* tokens that are valid for one session at the same time */
#define HT_SEALED_MAX 1024	    /* bytes of plaintext that the gate puts in a cookie's place */
#define HT_KEYS_MAX 255		    /* named signing keys */
#define HT_GLOBAL_GEN HT_KEYS_MAX   /* index in `gens` of the generation that a flush bumps */

/* What the daemon says its next message is. The gate's own framing state must agree. */
enum ht_kind {
	HT_KIND_NONE = 0,
	HT_KIND_HEAD,	/* exactly one complete request head */
	HT_KIND_BODY,	/* bytes of a Content-Length body or of a chunk */
	HT_KIND_CHUNK,	/* a chunk-size line: [CRLF] HEX CRLF, the first one without its CRLF */
	HT_KIND_END,	/* [CRLF] "0" CRLF CRLF */
	HT_KIND_TUNNEL, /* bytes after a 101 */
};

enum ht_verdict {
	HT_VERDICT_NONE = 0, /* the program has not run for this message */
	HT_VERDICT_PASS,     /* sent, less what was cut */
	HT_VERDICT_MISS,     /* nothing was sent: the daemon decides and sends again */
	HT_VERDICT_REFUSED,  /* nothing was sent: the daemon rewrites to canonical form, once */
	HT_VERDICT_DROP,     /* the socket is dead; the only exit is close() */
};

/* Why a head was refused or a message dropped. Each has its counter. */
enum ht_reason {
	HT_REASON_NONE = 0,
	/* refusals: what the scanner of head.h does not accept */
	HT_REASON_CONTROL,	/* a control character, bare CR, bare LF or NUL in the head */
	HT_REASON_REQUEST_LINE, /* not METHOD SP TARGET SP HTTP/1.1, or CONNECT */
	HT_REASON_FOLD,		/* obs-fold: a line that begins with blank */
	HT_REASON_FIELD_NAME,	/* blank before the colon of a field that we judge by */
	HT_REASON_LENGTH,	/* Content-Length that is no number, or twice */
	HT_REASON_CODING,	/* Transfer-Encoding other than chunked, twice, or with a length */
	HT_REASON_CONNECTION,	/* Connection other than what the daemon writes */
	HT_REASON_UPGRADE,	/* h2c, or a list of protocols */
	HT_REASON_INCOMPLETE,	/* no empty line at the end */
	HT_REASON_SURPLUS,	/* bytes after the empty line */
	HT_REASON_BLANKS,	/* more blanks around a cookie's name or value than we look at */
	HT_REASON_COOKIES,	/* more covered cookies or tokens than we look at */
	HT_REASON_STEPS,	/* the scanner ran out of steps */
	/* drops: the daemon and the gate disagree, or the kernel failed us */
	HT_REASON_TOO_LONG, /* a head over HT_HEAD_MAX */
	HT_REASON_STALE,    /* the slot's seq was consumed before */
	HT_REASON_KIND,	    /* a kind that does not fit the framing state */
	HT_REASON_BODY,	    /* more body than Content-Length or the chunk size said */
	HT_REASON_CHUNK,    /* not a chunk-size line as we write it */
	HT_REASON_END,	    /* not the last chunk as we write it */
	HT_REASON_TUNNEL,   /* no upgrade was passed on this socket, or a second tunnel */
	HT_REASON_SLOT,	    /* no such slot */
	HT_REASON_POLICY,   /* no such policy */
	HT_REASON_PULL,	    /* bpf_msg_pull_data failed */
	HT_REASON_POP,	    /* bpf_msg_pop_data failed */
	HT_REASON_PUSH,	    /* bpf_msg_push_data failed (nothing pushes: plaintext is shorter) */
	HT_REASON_MAX,
};
#define HT_REASON_FIRST_DROP HT_REASON_TOO_LONG

/* Map `counters` (PERCPU_ARRAY of one). Never reset. */
struct ht_counters {
	__u64 runs; /* of the verdict program */
	__u64 heads;
	__u64 hit;     /* covered cookies whose token was found */
	__u64 memo;    /* those of them that needed no map */
	__u64 opened;  /* those of them that were sealed, and left as plaintext */
	__u64 torn;    /* misses: their plaintext was recycled meanwhile, or of older generations */
	__u64 forged;  /* cut: the entry is closed and no tag matches */
	__u64 missing; /* cut: no token beside the cookie */
	__u64 miss;    /* heads handed to the daemon */
	__u64 report;  /* covered cookies of report-only rules left for the daemon to judge */
	__u64 admitted; /* sockets taken into the sockhash */
	__u64 not_admitted;
	__u64 reason[HT_REASON_MAX]; /* refusals and drops, by enum ht_reason */
};

/* The same as indices, for who adds up or prints them all. */
enum ht_counter {
	HT_COUNT_RUNS = 0,
	HT_COUNT_HEADS,
	HT_COUNT_HIT,
	HT_COUNT_MEMO,
	HT_COUNT_OPENED,
	HT_COUNT_TORN,
	HT_COUNT_FORGED,
	HT_COUNT_MISSING,
	HT_COUNT_MISS,
	HT_COUNT_REPORT,
	HT_COUNT_ADMITTED,
	HT_COUNT_NOT_ADMITTED,
	HT_COUNT_REASON, /* the first of HT_REASON_MAX */
	HT_COUNT_MAX = HT_COUNT_REASON + HT_REASON_MAX,
};
_Static_assert(sizeof(struct ht_counters) == 8 * HT_COUNT_MAX, "counters, twice");

#define HT_SLOT_COUNTS (HT_COUNT_MEMO + 1) /* of these most are in ht_slot.counts */

/* Map `tokens` (LRU_PERCPU_HASH). The key is SipHash-2-4-128, see ht_token_key(). */
struct ht_token_key {
	__u64 lo, hi;
};

/*
 * The value is 64 bytes, one cache line. A tag that matches proves cookie, value, binding, token
 * and both generations, whatever was recycled under the reader. `check_lo` and `check_hi` frame
 * the rest: only an entry that shows both, with current generations, before and after its tags
 * were read may cut a cookie.
 */
struct ht_token {
	__u32 check_lo; /* low half of key.lo */
	__u32 key_gen;	/* of the signing key, when this was verified */
	__u32 global_gen;
	__u8 key;		/* index of the signing key in `gens` */
	__u8 flags;		/* HT_TOKEN_* */
	__u16 policy;		/* who pushed it: for people who read the dump */
	__u64 not_after_ns;	/* CLOCK_BOOTTIME; 0 = the format has no expiry */
	__u64 tag[HT_TAGS_MAX]; /* 0 = unused */
	__u32 hits;		/* on this CPU, looked up in the map (memo hits are not seen) */
	__u32 check_hi;		/* low half of key.hi */
};
#define HT_TOKEN_CLOSED 1 /* deterministic profile, one live key: every other token is wrong */
_Static_assert(sizeof(struct ht_token) == 64, "token value is one cache line");

/*
 * Map `sealed` (LRU_HASH, the same keys): the plaintext of a sealed cookie. The gate copies it over
 * the cookie's value, then computes the tag of what it copied: only one that matches proves it whole
 * and this cookie's, since an LRU recycles elements in place.
 */
struct ht_sealed {
	__u64 tag;	    /* see the end of this file */
	__u64 not_after_ns; /* CLOCK_BOOTTIME; 0 = the format has no expiry */
	__u32 len;	    /* bytes of text, less than the cookie's value has */
	__u8 key;	    /* index of the secret's key in `gens` ... */
	__u8 pad;
	__u16 policy;		       /* ... and the rule: for people who read the dump */
	__u64 text[HT_SEALED_MAX / 8]; /* the last word filled with zeros */
};
_Static_assert(sizeof(struct ht_sealed) == 24 + HT_SEALED_MAX, "sealed layout");

/*
 * Map `slots` (mmapable ARRAY), one per backend connection. The daemon writes the first part,
 * then `seq`, then sends; the gate reads each field once and answers in the second part.
 */
struct ht_slot {
	/* daemon -> gate */
	__u64 seq;    /* a HEAD is judged only if newer than the last one that was consumed */
	__u32 kind;   /* enum ht_kind */
	__u32 policy; /* index in `policy` */
	/*
	 * Digests of the client's bindings; 0,0 = it has none. The last one, HT_BIND_OPENED, is random
	 * and of this head alone: under it stand the tokens of plaintext that the daemon put in a sealed
	 * cookie's place, or lets through unsealed. A client can't know it, so nobody sends such himself.
	 */
	__u64 bind[HT_BINDS_MAX + 1][2];
	/* gate -> daemon */
	__u64 admitted; /* the socket's nonce once it is in the sockhash */
	__u64 judged;	/* seq of the last head that was consumed */
	__u32 verdict;	/* enum ht_verdict of the last run */
	__u32 reason;	/* enum ht_reason of the last run */
	__u32 hit;	/* covered cookies as bits, indices of ht_head.seen: token found */
	__u32 forged;	/* cut or, with report, would-be cut */
	__u32 missing;	/* likewise */
	__u32 unknown;	/* of report-only rules: the daemon should judge them for the record */
	__u32 cut;	/* bytes */
	__u32 pad;
	__u8 rule[HT_COOKIES_MAX]; /* whose they are, by the lower bits of those indices */
	/*
	 * The first of struct ht_counters, of all sockets that ever had this slot: what counts each head
	 * is counted here, where a socket is alone and no addition needs to be atomic.
	 */
	__u64 counts[HT_SLOT_COUNTS];
};
_Static_assert(sizeof(struct ht_slot) == 192, "slot layout");

/*
 * Where a token may stand: in a cookie of a name of its own (two for a rule that accepts two
 * profiles), or in one named like the covered cookie with a prefix (two in a site).
 */
enum ht_form {
	HT_FORM_VALUE = 0, /* the covered cookie itself */
	HT_FORM_NAMED,
	HT_FORM_NAMED_2,
	HT_FORM_PREFIX,
	HT_FORM_PREFIX_2,
	HT_FORM_CUT = 0x80, /* or-ed in: the backend never sees it */
};
#define HT_FORMS 4 /* of tokens */

#define HT_RULE_NONE 0xff

/* A cookie name that the rules spell out. Bytes beyond len are zero. */
struct ht_name {
	__u64 print; /* ht_name_print(), compared before the bytes are */
	__u64 base;  /* ht_base_print() of the covered cookie */
	__u8 len;
	__u8 rule; /* HT_RULE_NONE: covered by none */
	__u8 form; /* enum ht_form, perhaps with HT_FORM_CUT */
	__u8 next; /* next name + 1 in this bucket, 0 = end */
	__u32 pad;
	__u64 bytes[HT_NAME_MAX / 8];
};

/* One step of the decision which rule covers a name that is not spelt out. Tried in order. */
struct ht_pattern {
	__u64 bytes[HT_PREFIX_MAX / 8], mask[HT_PREFIX_MAX / 8]; /* all zero: every name */
	__u8 rule;						 /* HT_RULE_NONE: ... */
	__u8 next;						 /* ... go on there */
	__u16 pad;
	__u32 pad2;
};

/* A prefix of token names, behind a __Host- or __Secure- of the covered cookie. */
struct ht_token_prefix {
	__u64 bytes[HT_SIBLING_MAX / 8], mask[HT_SIBLING_MAX / 8];
	__u32 len; /* 0 = unused */
	__u32 cut; /* 0 or HT_FORM_CUT */
};

struct ht_rule {
	__u64 id;	      /* what the token is for: site, rule, profiles, key, binding */
	__u32 flags;	      /* HT_RULE_* */
	__u8 bind;	      /* index in ht_slot.bind */
	__u8 key;	      /* index in `gens` */
	__u8 form;	      /* where its own tokens stand, enum ht_form */
	__u8 forms;	      /* where tokens that it accepts stand, bit 0 = HT_FORM_NAMED */
	__u64 grace_until_ns; /* CLOCK_BOOTTIME; before it an unsigned cookie passes; 0 = none */
};
#define HT_RULE_MISSING_CUTS 1 /* a cookie without its sibling is cut without asking the daemon */
#define HT_RULE_REPORT 2       /* judge, count, change nothing */
#define HT_RULE_SELF 4	       /* a cookie without a token is its own: its value is pushed as one */
/*
 * A cookie without a token is sealed: the map `sealed` has what it stands for; else it is a token of
 * its own under HT_BIND_OPENED; else it is a miss. With HT_RULE_REPORT too, since only the daemon can
 * open it: what has HT_BIND_OPENED set comes from there, and stays `unknown`. Always with HT_RULE_SELF.
 */
#define HT_RULE_SEALED 8

/* Map `policy` (ARRAY), one per site. Names are found by a hash of HT_BUCKETS chains. */
#define HT_BUCKETS 64
#define HT_CHAIN_MAX 8
struct ht_policy {
	__u32 nrules, nnames, npatterns;
	__u32 max_cookies; /* covered cookies that a request may have, at most HT_COOKIES_MAX */
	__u64 multiplier;  /* odd; spreads the names over the buckets */
	/* Bytes as bits: a name that begins with such a one is covered by no rule and no token's. */
	__u64 nobodys[4];
	__u8 bucket[HT_BUCKETS]; /* first name + 1, 0 = empty */
	struct ht_token_prefix sibling[HT_SIBLINGS_MAX];
	struct ht_rule rule[HT_RULES_MAX];
	struct ht_pattern pattern[HT_PATTERNS_MAX];
	struct ht_name name[HT_NAMES_MAX];
};

/* Map `abi` (ARRAY, one entry): whether a daemon may go on with the tokens of the one before it. */
struct ht_abi_record {
	__u32 abi;   /* HT_ABI */
	__u32 token; /* sizeof(struct ht_token) */
	__u64 id;    /* random; the file with the SipHash keys has the same one */
};
_Static_assert(sizeof(struct ht_abi_record) == 16, "record layout");

/* The two SipHash keys, random per boot. They live in sk_storage, which no map dump shows. */
struct ht_sip_keys {
	__u64 key[2]; /* for map keys */
	__u64 tag[2]; /* for tags */
};

/* ---- the state of a backend socket, which is also the value of the sk_storage map `socks` ---- */

/* One covered cookie or token in a head. Offsets count from the head's first byte. */
struct ht_occ {
	__u16 line;	    /* the field's first byte */
	__u16 sep;	    /* the ';' before it, 0 = first in its field */
	__u16 start;	    /* first byte that isn't blank after that */
	__u16 end;	    /* the ';' or CR behind it */
	__u16 next;	    /* start of the following pair, 0 = last in its field */
	__u16 val, val_len; /* the value, less blanks around it */
	__u16 name, name_len;
	__u8 seen;  /* index in ht_head.seen: which cookie it is, or is for */
	__u8 form;  /* enum ht_form */
	__u16 kept; /* of a value in ht_head.opened: its first bytes, which are the plaintext */
	__u16 pad;
};
_Static_assert(sizeof(struct ht_occ) == 24, "occurrence layout");

/* A name in a head: the covered cookie and its tokens. Occurrences + 1, the first ones, 0 = none. */
struct ht_seen {
	__u64 base; /* ht_base_print() of the name */
	__u8 value;
	__u8 token[HT_FORMS];
	__u8 rule;  /* once there is a value */
	__u8 twice; /* several values (1), or tokens of a form (2 << (form - 1)) */
	__u8 pad;
};
_Static_assert(sizeof(struct ht_seen) == 16, "seen layout");

struct ht_cut {
	__u16 lo, hi; /* [lo, hi) */
};

/* A run of neighbouring pairs that goes, while ht_cut_step() walks them backwards. */
struct ht_cut_run {
	__u16 lo, hi, sep, line;
	__u8 open, last; /* last: the run ends its field */
	__u8 pad[6];
};

/* The scanner's state, see head.h. */
struct ht_head {
	__u64 last;	      /* eight bytes of the message */
	__u32 size;	      /* all of them, in bytes */
	__u32 pos;	      /* next byte to look at */
	__u32 line;	      /* first byte of the current line */
	__u32 name, name_len; /* cookie modes */
	__u32 val;	      /* cookie modes: first byte after '=' */
	__u32 start, sep;     /* as in ht_occ */
	__u64 length;	      /* Content-Length */
	__u8 mode, field, flags, reason;
	__u8 nocc, nval, ncuts, nseen;
	__u8 cur;     /* the pair that is being read is covered (rule + 1) or a token (any) */
	__u8 form;    /* of that pair, enum ht_form */
	__u8 pattern; /* where its decision has got to */
	__u8 open;    /* the occurrence + 1 whose `next` is not known yet */
	__u64 base;   /* of that pair */
	__u64 doomed; /* occurrences to cut, as bits */
	__u64 opened; /* values that hold their plaintext now, and more behind it: that is cut */
	struct ht_cut_run run;
	__u64 print[HT_SEEN_MAX / 8]; /* a byte of each seen[].base, to find it by */
	struct ht_seen seen[HT_SEEN_MAX];
	struct ht_occ occ[HT_OCC_MAX];
	struct ht_cut cut[HT_OCC_MAX]; /* last one first */
};

/* The gate's own framing of what it let through. */
enum ht_sock_state {
	HT_SOCK_HEAD = 0,   /* between requests */
	HT_SOCK_BODY,	    /* `left` bytes of a Content-Length body to come */
	HT_SOCK_CHUNK_LINE, /* a size line, or the end */
	HT_SOCK_CHUNK,	    /* `left` bytes of a chunk to come */
	HT_SOCK_TUNNEL,
	HT_SOCK_DEAD,
};

struct ht_sip {
	__u64 v0, v1, v2, v3;
};

/*
 * A cookie and its token that hit on this connection, as they stood in the head, with all that the
 * hit depended on: while they come again under the same binding and generations, nothing is hashed
 * and no map is touched. It is compared as a whole, and in a time that does not depend on the texts.
 */
#define HT_MEMOS 6	 /* with these an element of the map still fits into 4 KB */
#define HT_MEMO_TEXT 144 /* bytes from the first of the two to the end of the other, at most */
struct ht_memo {
	__u64 shape; /* where name, value and token are in the text; 0 = nothing is remembered */
	__u64 rule;  /* ht_rule.id */
	__u64 bind[2];
	__u64 gens; /* the key's generation and the global one */
	__u64 not_after_ns;
	__u64 text[HT_MEMO_TEXT / 8]; /* whole words of it ... */
	__u64 last;		      /* ... and its last eight bytes */
};
_Static_assert(sizeof(struct ht_memo) == 56 + HT_MEMO_TEXT, "memo layout");

/* Written once by the daemon (nonce, slot, keys) before connect(), then the gate's own. */
struct ht_sock {
	__u64 nonce;
	__u32 slot;
	__u8 state;	  /* enum ht_sock_state */
	__u8 upgrade;	  /* the last head that passed may become a tunnel */
	__u8 first_chunk; /* no size line was passed yet: it has no CRLF before it */
	__u8 pad;
	__u64 left;
	__u64 seq; /* last one consumed */
	struct ht_sip_keys keys;
	/* scratch of one run */
	struct ht_sip sip;
	__u32 sip_off, sip_len;
	struct ht_token_key key;
	__u64 tag;
	__u64 bind[2]; /* of the cookie that is judged */
	__u32 key_gen, global_gen;
	__u64 memo_shape; /* what memo[memo_at] will be if that is a hit; 0 = nothing */
	__u32 memo_at;
	__u32 hit, forged, missing, unknown, miss; /* as in ht_slot */
	__u32 memo_hits;
	__u32 move_from, move_to, move_len; /* bytes on their way */
	__u32 cut;			    /* the next one */
	struct ht_head head;
	struct ht_memo memo[HT_MEMOS];
};

/* ---- SipHash (Aumasson, Bernstein 2012), inline for both worlds ---- */

#define HT_ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#ifdef __bpf__
#define HT_NO_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define HT_NO_UNROLL
#endif

static inline __attribute__((always_inline)) void ht_sip_round(struct ht_sip *s)
{
	s->v0 += s->v1;
	s->v1 = HT_ROTL(s->v1, 13) ^ s->v0;
	s->v0 = HT_ROTL(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = HT_ROTL(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = HT_ROTL(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = HT_ROTL(s->v1, 17) ^ s->v2;
	s->v2 = HT_ROTL(s->v2, 32);
}

static inline __attribute__((always_inline)) void ht_sip_init(struct ht_sip *s, const __u64 *k,
							      int wide)
{
	s->v0 = 0x736f6d6570736575ULL ^ k[0];
	s->v1 = 0x646f72616e646f6dULL ^ k[1] ^ (wide ? 0xee : 0);
	s->v2 = 0x6c7967656e657261ULL ^ k[0];
	s->v3 = 0x7465646279746573ULL ^ k[1];
}

static inline __attribute__((always_inline)) void ht_sip_word(struct ht_sip *s, __u64 m)
{
	s->v3 ^= m;
	ht_sip_round(s);
	ht_sip_round(s);
	s->v0 ^= m;
}

/* The 64-bit result, or the low half of the 128-bit one. */
static inline __attribute__((always_inline)) __u64 ht_sip_final(struct ht_sip *s, int wide)
{
	s->v2 ^= wide ? 0xee : 0xff;
	HT_NO_UNROLL
	for (int i = 0; i < 4; i++)
		ht_sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* The high half of the 128-bit result, after ht_sip_final(s, 1). */
static inline __attribute__((always_inline)) __u64 ht_sip_final_hi(struct ht_sip *s)
{
	s->v1 ^= 0xdd;
	HT_NO_UNROLL
	for (int i = 0; i < 4; i++)
		ht_sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/*
 * A token's map key is SipHash-2-4-128(keys.key, rule id || binding digest || lengths || name ||
 * value) and its tag SipHash-2-4-64(keys.tag, map key || generations || length || token). Integers
 * are little-endian, a text is as many 8-byte words as it takes, the last one filled with zeros;
 * lengths are the name's and the value's in one word, generations the key's and the global one.
 * The generations are part of the tag, so a torn read of a recycled entry can never marry an old
 * token to a new generation.
 *
 * A sealed cookie has the same map key, of its value as the browser sends it. Its tag, in the map
 * `sealed`, is SipHash-2-4-64(keys.tag, map key || generations || not_after_ns || length || plaintext).
 * A tag is never 0: 1 stands for it.
 */

#endif
