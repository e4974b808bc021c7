/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The bytes of a message, eight at a time: loads that stay inside of it, and the search for what ends
 * a line, a cookie or its name. Knows nothing of HTTP beyond that, and changes nothing.
 *
 * In 64-bit words, a byte below 0x20 (or a ';', or a '=') is found by the carry that it causes in a
 * subtraction. Bytes beyond the end of the message read as NUL, which is a control character and
 * ends every scan.
 */
#ifndef HT_WORDS_H
#define HT_WORDS_H

#include "abi.h"

#define HT_INLINE static inline __attribute__((always_inline))

#ifdef __bpf__
/* clang drops a mask that it can prove idle, and the verifier then misses the bound. */
#define HT_BOUND(x, mask) asm volatile("%0 &= %1" : "+r"(x) : "i"(mask))
#define HT_OPAQUE(x) asm volatile("" : "+r"(x))
/*
 * Paths meet: what is done to x comes after it, and the verifier looks here whether it knows the state.
 * Otherwise it does so in front of a conditional jump, if it has seen eight instructions and two jumps
 * since it last remembered one. It removes these in the end.
 */
#define HT_MEET(x) asm volatile(".rept 8; goto +0; .endr" : "+r"(x))
/* x stays what it is, and the verifier forgets what it knew of it, if it knows nothing of y. */
#define HT_FORGET(x, y) asm volatile("%0 ^= %1; %0 ^= %1" : "+r"(x) : "r"(y))
typedef __u64 ht_word; /* the kernel allows unaligned loads from a message */
#else
#define HT_BOUND(x, mask) ((x) &= (mask))
#define HT_OPAQUE(x)
#define HT_MEET(x)
#define HT_FORGET(x, y)
typedef __u64 __attribute__((aligned(1), may_alias)) ht_word;
#endif

#define HT_OFF_MASK 0x7fff /* offsets in a message: HT_HEAD_MAX and a little */

#define HT_ONES 0x0101010101010101ULL
#define HT_HIGH 0x8080808080808080ULL
#define HT_FOLD 0x2020202020202020ULL /* or-ed in, makes ASCII letters lower case */

/* Up to eight characters as a little-endian word. */
#define HT_W(a, b, c, d, e, f, g, h)                                                               \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 |   \
	 (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)
#define HT_LOW(n) ((n) >= 8 ? ~0ULL : (1ULL << (8 * (n))) - 1) /* mask of the first n bytes */

enum ht_head_mode { HT_MODE_LINE = 0, HT_MODE_NAME, HT_MODE_MATCH, HT_MODE_VALUE };

/*
 * 1 if x is 0, else 0, without a branch: each would make the verifier look at all that follows twice.
 * clang makes one of what it understands.
 */
HT_INLINE __u64 ht_is_zero(__u64 x)
{
	x |= -x;
	HT_OPAQUE(x);
	return 1 ^ x >> 63;
}

/* How many bits of a word are set. */
HT_INLINE __u32 ht_bits(__u64 x)
{
	x = x - (x >> 1 & 0x5555555555555555ULL);
	x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return (x * HT_ONES) >> 56;
}

/* Bit i of eight: byte i of w is c. */
HT_INLINE __u64 ht_equal_bytes(__u64 w, __u8 c)
{
	w ^= HT_ONES * c;
	w = ~(((w & ~HT_HIGH) + ~HT_HIGH) | w) & HT_HIGH;
	return ((w >> 7) * 0x0102040810204080ULL) >> 56;
}

/* The lowest marked byte of a scan's result. */
HT_INLINE __u32 ht_first(__u64 marks)
{
	marks &= -marks;
	return ((marks >> 7) * 0x0001020304050607ULL) >> 56;
}

/*
 * In the high bits of the bytes that end what `mode` reads: controls end everything, ';' a cookie, '='
 * its name. Above the first of them there may be false ones, and those that are no ASCII may be.
 */
HT_INLINE __u64 ht_hints(__u64 w, int mode)
{
	__u64 t = w - HT_ONES * 0x20;

	if (mode != HT_MODE_LINE)
		t |= (w ^ HT_ONES * ';') - HT_ONES;
	if (mode == HT_MODE_NAME)
		t |= (w ^ HT_ONES * '=') - HT_ONES;
	return t;
}

HT_INLINE int ht_is_blank(__u64 c)
{
	return c == ' ' || c == '\t';
}

/*
 * Eight bytes from `off`, NUL beyond the end. What the scanner loads there is of h->last: to look at
 * the message itself costs the verifier a twentieth of its time, for there are dozens of loads.
 */
HT_INLINE __u64 ht_load(const struct ht_head *h, const __u8 *data, const __u8 *end, __u32 off)
{
	__u64 o = off;

	HT_BOUND(o, HT_OFF_MASK);
	if (data + o + 8 <= end)
		return *(const ht_word *)(data + o);
	o -= h->size - 8;
	return o < 8 ? h->last >> (8 * o) : 0;
}

/*
 * Two words at a time, since a branch costs as much as looking at one. The bounds are idle; they
 * make one state of the verifier's eight, here and below. 6.1 gives up without them.
 */
#define HT_SCAN_PAIR(i)                                                                            \
	v = ((const ht_word *)p)[i];                                                               \
	w = ((const ht_word *)p)[(i) + 1];                                                         \
	t = ht_hints(v, mode);                                                                     \
	u = ht_hints(w, mode);                                                                     \
	if ((t | u) & HT_HIGH) {                                                                   \
		t &= ~v & HT_HIGH;                                                                 \
		u &= ~w & HT_HIGH;                                                                 \
		if (t | u) {                                                                       \
			n = t ? 8 * (i) + ht_first(t) : 8 * (i) + 8 + ht_first(u);                 \
			HT_BOUND(n, 127);                                                          \
			return n;                                                                  \
		}                                                                                  \
	}

/* The distance from p to the next byte that ht_hints() marks and is ASCII, among 64 that may be read, or 64. */
HT_INLINE __u64 ht_scan_words(const __u8 *p, int mode)
{
	__u64 v, w, t, u, n;

	HT_SCAN_PAIR(0)
	HT_SCAN_PAIR(2)
	HT_SCAN_PAIR(4)
	HT_SCAN_PAIR(6)
	return 64;
}

/* The same from `off`, also near the message's end, where NULs follow. */
HT_INLINE __u32 ht_scan(const struct ht_head *h, const __u8 *data, const __u8 *end, __u32 off,
			int mode)
{
	__u64 o = off, n, t, w;
	const __u8 *p;
	__u32 i;

	HT_BOUND(o, HT_OFF_MASK);
	p = data + o;
	if (p + 64 <= end)
		return ht_scan_words(p, mode);
	for (i = 0; i < 8 && p + 8 * i + 8 <= end; i++) {
		w = ((const ht_word *)p)[i];
		t = ht_hints(w, mode) & ~w & HT_HIGH;
		if (t)
			return 8 * i + ht_first(t);
	}
	n = 8 * i;
	HT_BOUND(n, 127); /* idle: where the loop ended is one state, not eight */
	w = ht_load(h, data, end, off + n);
	t = ht_hints(w, mode) & ~w & HT_HIGH;
	return t ? n + ht_first(t) : 64;
}

#endif
