/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The whole contract between the kernel programs and the daemon: map keys and values, message
 * kinds, verdicts, counters, limits, and how a token's map key and tag are computed. Everything
 * here has fixed-width members and explicit padding; change a layout and HT_ABI goes up.
 */
#ifndef HT_ABI_H
#define HT_ABI_H

#include <linux/types.h>

#define HT_ABI 1

#define HT_HEAD_MAX 16384 /* bytes of a request head as it leaves, our own fields included */
#define HT_RULES_MAX 16	  /* covered cookies of a site, and of one request */
#define HT_NAMES_MAX 32	  /* every rule has a cookie and a sibling */
#define HT_NAME_MAX 96	  /* bytes of a cookie name, a multiple of 8 */
#define HT_BINDS_MAX 4	  /* different bindings among the rules of a site */
#define HT_TAGS_MAX 4	  /* tokens that are valid for one session at the same time */
#define HT_KEYS_MAX 255	  /* named signing keys */
#define HT_GLOBAL_GEN HT_KEYS_MAX /* index in `gens` of the generation that a flush bumps */

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
	HT_REASON_COOKIES,	/* more than HT_RULES_MAX covered cookies */
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
	HT_REASON_PUSH,	    /* bpf_msg_push_data failed (nothing pushes yet) */
	HT_REASON_MAX,
};
#define HT_REASON_FIRST_DROP HT_REASON_TOO_LONG

/* Map `counters` (PERCPU_ARRAY of one). Never reset. */
struct ht_counters {
	__u64 runs; /* of the verdict program */
	__u64 heads;
	__u64 hit;	/* covered cookies whose token was found */
	__u64 memo;	/* those of them that needed no map */
	__u64 forged;	/* cut: the entry is closed and no tag matches */
	__u64 missing;	/* cut: no token beside the cookie */
	__u64 miss;	/* heads handed to the daemon */
	__u64 report;	/* covered cookies of report-only rules left for the daemon to judge */
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

/* What a client's connection hit last, one per rule: while it repeats, no map is touched. */
struct ht_memo {
	__u64 key_lo, key_hi; /* 0, 0 = none */
	__u64 tag;
	__u64 not_after_ns;
};

/*
 * Map `slots` (mmapable ARRAY), one per backend connection. The daemon writes the first part,
 * then `seq`, then sends; the gate reads each field once and answers in the second part.
 */
struct ht_slot {
	/* daemon -> gate */
	__u64 seq;    /* a HEAD is judged only if newer than the last one that was consumed */
	__u32 kind;   /* enum ht_kind */
	__u32 policy; /* index in `policy` */
	__u64 bind[HT_BINDS_MAX][2]; /* digests of the client's bindings; 0,0 = it has none */
	/* gate -> daemon */
	__u64 admitted; /* the socket's nonce once it is in the sockhash */
	__u64 judged;	/* seq of the last head that was consumed */
	__u32 verdict;	/* enum ht_verdict of the last run */
	__u32 reason;	/* enum ht_reason of the last run */
	__u16 hit;	/* rules, as bits: token found */
	__u16 forged;	/* cut or, with report, would-be cut */
	__u16 missing;	/* likewise */
	__u16 unknown;	/* report-only rules that the daemon should judge for the record */
	__u32 runs;
	__u32 cut; /* bytes */
	__u32 pad;
	/* both ways */
	struct ht_memo memo[HT_RULES_MAX];
};
_Static_assert(sizeof(struct ht_slot) == 640, "slot layout");

/* A cookie name the gate looks for. Bytes beyond len are zero. */
struct ht_name {
	__u64 print; /* ht_name_print(), compared before the bytes are */
	__u8 len;
	__u8 rule;
	__u8 sibling; /* 1 = the token's cookie, 0 = the covered cookie itself */
	__u8 next;    /* next name + 1 in this bucket, 0 = end */
	__u32 pad;
	__u64 bytes[HT_NAME_MAX / 8];
};

struct ht_rule {
	__u64 id;    /* what the token is for: site, cookie, profile, key, binding */
	__u32 flags; /* HT_RULE_* */
	__u8 bind;   /* index in ht_slot.bind */
	__u8 key;    /* index in `gens` */
	__u16 pad;
};
#define HT_RULE_MISSING_CUTS 1 /* a cookie without its sibling is cut without asking the daemon */
#define HT_RULE_REPORT 2       /* judge, count, change nothing */

/* Map `policy` (ARRAY), one per site. Names are found by a hash of HT_BUCKETS chains. */
#define HT_BUCKETS 64
#define HT_CHAIN_MAX 8
struct ht_policy {
	__u32 nrules, nnames;
	__u32 max_cookies; /* covered cookies that a request may have, at most HT_RULES_MAX */
	__u32 pad;
	__u64 multiplier;	 /* odd; spreads the names over the buckets */
	__u8 bucket[HT_BUCKETS]; /* first name + 1, 0 = empty */
	struct ht_rule rule[HT_RULES_MAX];
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

/* One covered cookie or sibling in a head. Offsets count from the head's first byte. */
struct ht_occ {
	__u16 line;	    /* the field's first byte */
	__u16 sep;	    /* the ';' before it, 0 = first in its field */
	__u16 start;	    /* first byte that isn't blank after that */
	__u16 end;	    /* the ';' or CR behind it */
	__u16 next;	    /* start of the following pair, 0 = last in its field */
	__u16 val, val_len; /* the value, less blanks around it */
	__u8 rule;
	__u8 sibling; /* 1 = the token's cookie */
};
_Static_assert(sizeof(struct ht_occ) == 16, "occurrence layout");

#define HT_OCC_MAX (2 * HT_RULES_MAX)

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
	__u32 size; /* bytes of the message */
	__u32 pos;  /* next byte to look at */
	__u32 line; /* first byte of the current line */
	__u32 lines;
	__u32 name;	  /* cookie modes: first byte of the name */
	__u32 val;	  /* cookie modes: first byte after '=' */
	__u32 start, sep; /* as in ht_occ */
	__u64 length;	  /* Content-Length */
	__u8 mode, field, flags, reason;
	__u8 nocc, nval, ncuts, cur; /* cur: the name just found + 1, 0 = not covered */
	__u8 open;		     /* the occurrence + 1 whose `next` is not known yet */
	__u8 pad[3];
	__u16 present;		   /* rules, as bits: a value was seen */
	__u16 twice;		   /* rules with more than one value or more than one token */
	__u8 val_of[HT_RULES_MAX]; /* rule -> its first value + 1 */
	__u8 tok_of[HT_RULES_MAX]; /* rule -> its first token + 1 */
	__u32 doomed;		   /* occurrences to cut, as bits */
	__u32 pad2;
	struct ht_cut_run run;
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
	__u16 hit, forged, missing, unknown, miss, memo;
	__u32 pad2;
	struct ht_head head;
};

/* ---- SipHash (Aumasson, Bernstein 2012), inline for both worlds ---- */

#define HT_ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

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
	ht_sip_round(s);
	ht_sip_round(s);
	ht_sip_round(s);
	ht_sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* The high half of the 128-bit result, after ht_sip_final(s, 1). */
static inline __attribute__((always_inline)) __u64 ht_sip_final_hi(struct ht_sip *s)
{
	s->v1 ^= 0xdd;
	ht_sip_round(s);
	ht_sip_round(s);
	ht_sip_round(s);
	ht_sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/*
 * A token's map key is SipHash-2-4-128(keys.key, rule.id || binding digest || value) and its tag
 * SipHash-2-4-64(keys.tag, map key || key generation || global generation || token); integers are
 * little-endian. The generations are part of the tag, so a torn read of a recycled entry can
 * never marry an old token to a new generation.
 */

#endif
