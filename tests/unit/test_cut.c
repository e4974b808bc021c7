/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cut.h takes out of a head: doomed cookies and the rest behind plaintext, in any mixture. In
 * the heads of these tests a value that begins with X is doomed, and of one with '#' in it only
 * what stands before the first '#' is plaintext.
 */
#include <criterion/criterion.h>

#include "cut.h"
#include "util.h"

static struct ht_policy pol;

static void cover(char c)
{
	struct ht_name *n = &pol.name[pol.nnames++];
	__u32 bucket;

	n->len = 1;
	n->bytes[0] = (unsigned char)c;
	n->print = ht_name_print(n->bytes[0], 0, n->bytes[0], 1);
	n->base = ht_base_print(n->print, 0);
	bucket = ht_name_bucket(&pol, n->print);
	n->next = pol.bucket[bucket];
	pol.bucket[bucket] = pol.nnames;
}

static void setup(void)
{
	memset(&pol, 0, sizeof(pol));
	pol.multiplier = 0x9e3779b97f4a7c15ULL;
	pol.nrules = 1;
	pol.max_cookies = HT_COOKIES_MAX;
	for (const char *c = "stuvw"; *c; c++)
		cover(*c);
}

TestSuite(cut, .init = setup);

/* Scans, marks as above, cuts: the length that is left. */
static size_t cut(char *head, size_t len)
{
	struct ht_text t = {(const __u8 *)head, (const __u8 *)head + len};
	struct ht_head h;

	memset(&h, 0xaa, sizeof(h));
	ht_head_init(&h, &t, len);
	while (!ht_head_step(&t, &h, &pol))
		;
	cr_assert_eq(h.reason, 0, "%.*s", (int)len, head);
	for (size_t i = 0; i < h.nocc; i++) {
		const char *value = head + h.occ[i].val, *hash;

		hash = memchr(value, '#', h.occ[i].val_len);
		if (hash) {
			h.opened |= 1ULL << i;
			h.occ[i].kept = hash - value;
		}
		if (h.occ[i].val_len && *value == 'X')
			h.doomed |= 1ULL << i;
	}
	ht_cut_init(&h);
	for (__u32 k = 0; k <= h.nocc; k++)
		ht_cut_step(&h, k);
	for (size_t i = 0; i < h.ncuts; i++) {
		cr_assert_lt(h.cut[i].lo, h.cut[i].hi);
		cr_assert(!i || h.cut[i].hi <= h.cut[i - 1].lo, "cuts overlap: %.*s", (int)len,
			  head);
		memmove(head + h.cut[i].lo, head + h.cut[i].hi, len - h.cut[i].hi);
		len -= h.cut[i].hi - h.cut[i].lo;
	}
	return len;
}

#define BEGIN "GET / HTTP/1.1\r\n"
#define END "X: y\r\n\r\n"

struct row {
	const char *name, *before, *after; /* fields; '|' ends one */
};
static const struct row rows[] = {
	{"nothing", "Cookie: a=1; s=2|", "Cookie: a=1; s=2|"},
	{"only", "Cookie: s=ab###|", "Cookie: s=ab|"},
	{"first", "Cookie: s=ab###; a=1|", "Cookie: s=ab; a=1|"},
	{"middle", "Cookie: a=1; s=ab###; b=2|", "Cookie: a=1; s=ab; b=2|"},
	{"last", "Cookie: a=1; s=ab###|", "Cookie: a=1; s=ab|"},
	{"empty plaintext", "Cookie: a=1; s=####; b=2|", "Cookie: a=1; s=; b=2|"},
	{"blanks around", "Cookie: s =  ab## ; a=1|", "Cookie: s =  ab ; a=1|"},
	{"tabs, no blank", "Cookie: a=1;s\t=\tab##\t;b=2|", "Cookie: a=1;s\t=\tab\t;b=2|"},
	{"two neighbours", "Cookie: s=ab##; t=cd##|", "Cookie: s=ab; t=cd|"},
	{"two fields", "Cookie: s=ab##|Cookie: t=cd##|", "Cookie: s=ab|Cookie: t=cd|"},
	{"behind a doomed one", "Cookie: s=X; t=cd##; a=1|", "Cookie: t=cd; a=1|"},
	{"before a doomed one", "Cookie: t=cd##; s=X; a=1|", "Cookie: t=cd; a=1|"},
	{"before a doomed last one", "Cookie: t=cd##; s=X|", "Cookie: t=cd|"},
	{"before a doomed last one, touching", "Cookie: t=cd##;s=X|", "Cookie: t=cd|"},
	{"between doomed ones", "Cookie: s=X; t=cd##; u=X|", "Cookie: t=cd|"},
	{"between runs", "Cookie: s=X; u=X; t=cd##; v=X; w=X; a=1|", "Cookie: t=cd; a=1|"},
	{"doomed between two", "Cookie: s=ab##; u=X; t=cd##|", "Cookie: s=ab; t=cd|"},
	{"doomed field before", "Cookie: u=X|Cookie: t=cd##|", "Cookie: t=cd|"},
	{"doomed field behind", "Cookie: t=cd##|Cookie: u=X|", "Cookie: t=cd|"},
	{"doomed field between", "Cookie: s=ab##|Cookie: u=X|Cookie: t=cd##|",
	 "Cookie: s=ab|Cookie: t=cd|"},
	{"doomed and opened is doomed", "Cookie: a=1; s=Xb##; b=2|", "Cookie: a=1; b=2|"},
	{"a semicolon at the end", "Cookie: s=ab##;|", "Cookie: s=ab;|"},
};

static size_t head_of(const char *fields, char *out)
{
	size_t n = sprintf(out, BEGIN);

	for (; *fields; fields++) {
		if (*fields == '|')
			n += sprintf(out + n, "\r\n");
		else
			out[n++] = *fields;
	}
	return n + sprintf(out + n, END);
}

Test(cut, rows)
{
	char head[1024], want[1024];

	for (size_t i = 0; i < HT_ARRAY_SIZE(rows); i++) {
		size_t n = cut(head, head_of(rows[i].before, head));
		size_t m = head_of(rows[i].after, want);

		cr_expect(n == m && !memcmp(head, want, m), "%s:\n%.*s", rows[i].name, (int)n,
			  head);
	}
}

/* ---- any mixture ---- */

static uint32_t state;

static uint32_t pick(uint32_t n)
{
	state = state * 1664525 + 1013904223;
	return (state >> 8) % n;
}

struct pieces {
	char sep[16], name[16], before[32], after[32];
	bool doomed;
};

static void make_piece(struct pieces *p, bool first)
{
	static const char *const seps[] = {"; ", ";", ";\t", ";  ", "; ; "};
	int rest = 1 + pick(12), plain = pick(12);
	const char *text = "abcdefghijkl";

	memset(p, 0, sizeof(*p));
	sprintf(p->sep, "%s", first ? pick(2) ? " " : "" : seps[pick(4)]);
	if (!pick(3)) { /* covered by nothing */
		sprintf(p->name, "%c", "abcd"[pick(4)]);
		sprintf(p->before, "%.*s", plain, text);
		sprintf(p->after, "%.*s", plain, text);
		return;
	}
	sprintf(p->name, "%c", "stuvw"[pick(5)]);
	p->doomed = !pick(3);
	sprintf(p->before, "%s%.*s%.*s", p->doomed ? "X" : "", plain, text, pick(2) ? rest : 0,
		"############");
	sprintf(p->after, "%.*s", plain, text);
}

/* A kept pair stands where the doomed ones right before it began. */
static size_t write_field(const struct pieces *p, int n, bool cut_already, char *out)
{
	const char *sep = NULL;
	size_t len = sprintf(out, "Cookie:");
	bool any = false;

	for (int i = 0; i < n; i++) {
		if (!sep || !cut_already)
			sep = p[i].sep;
		if (cut_already && p[i].doomed)
			continue;
		len += sprintf(out + len, "%s%s=%s", sep, p[i].name,
			       cut_already ? p[i].after : p[i].before);
		sep = NULL;
		any = true;
	}
	return any ? len + sprintf(out + len, "\r\n") : 0;
}

Test(cut, any_mixture)
{
	static char head[8192], want[8192];

	for (state = 1; state < 200000; state += 97) {
		size_t n = sprintf(head, BEGIN), m = sprintf(want, BEGIN), got;
		uint32_t was = state;

		for (int fields = 1 + pick(3); fields; fields--) {
			int count = 1 + pick(5);
			struct pieces p[5];

			for (int i = 0; i < count; i++)
				make_piece(&p[i], !i);
			n += write_field(p, count, false, head + n);
			m += write_field(p, count, true, want + m);
		}
		n += sprintf(head + n, END);
		m += sprintf(want + m, END);
		char was_head[8192];

		memcpy(was_head, head, n);
		got = cut(head, n);
		cr_assert(got == m && !memcmp(head, want, m), "from\n%.*s\ncame\n%.*s\nnot\n%s",
			  (int)n, was_head, (int)got, head, want);
		state = was;
	}
}
