/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cookies as clients really send them, and what a backend may see of them: one table that the
 * policy's unit tests, the gate's tests and the end-to-end suite all go through, each with its own
 * way of making tokens. Knows nothing of the code under test.
 */
#ifndef HT_TEST_COOKIE_CASES_H
#define HT_TEST_COOKIE_CASES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the cases are sent to. All but the last cover just the cookies `sid` and `cart`. */
enum cookie_site {
	COOKIE_F5,	/* f5-irule: tokens stand in NAME_HMAC, and backends see them */
	COOKIE_NATIVE,	/* in HTSIG_NAME, likewise */
	COOKIE_PROXYSG, /* in BCSIG_NAME, which no backend sees */
	COOKIE_ALL,	/* proxysg, every cookie is covered */
	COOKIE_SITES,
};
static const char *const cookie_site_names[COOKIE_SITES] = {"f5-irule", "native", "proxysg",
							    "proxysg, all"};

#define COOKIE_TEXT_MAX 32768 /* of a case once written */
#define COOKIE_REFUSED "431"  /* too many covered cookies: the request gets no further */

/*
 * Complete fields. In them
 *   {NAME=VALUE}   is a cookie with the token for this name and value
 *   {:NAME=VALUE}  that token alone
 *   {@NAME}        the name of the cookie where it stands
 *   {*N}           N letters; =*N as a VALUE likewise
 *   {#N}           "c0=v0; c1=v1; ...", N of them; {#+N} with their tokens behind each
 */
struct cookie_case {
	const char *name, *before;
	const char *f5;	       /* what comes out */
	const char *bare;      /* from proxysg; NULL: as f5 */
	const char *all;       /* and where it covers all cookies; NULL: as bare */
	const char *native;    /* NULL: as f5 */
	const char *canonical; /* what is judged where that is not `before`: the head is too odd */
	const char *verdict;   /* on the first of sid and cart: "valid pass"; NULL: there is none */
	const char *named;     /* the same where a token is for one name; NULL: as verdict */
};

#define C(pairs) "Cookie: " pairs "\r\n"
#define SAME(before) before, before
#define SEVEN "       "

static const struct cookie_case cookie_cases[] = {
	/* nothing special */
	{"no Cookie field", SAME(""), "", "", .verdict = NULL},
	{"an empty Cookie field", SAME(C("")), C(""), C(""), .verdict = NULL},
	{"others only", SAME(C("a=1; b=2")), NULL, "", .verdict = NULL},
	{"valid", SAME(C("sid=good; {sid=good}")), C("sid=good"), NULL, .verdict = "valid pass"},
	{"token first", SAME(C("{sid=good}; a=1; sid=good")), C("a=1; sid=good"), C("sid=good"),
	 .verdict = "valid pass"},
	{"forged", C("a=1; sid=good; {sid=evil}; b=2"), C("a=1; {sid=evil}; b=2"), C("a=1; b=2"),
	 "", .verdict = "forged strip"},
	{"a token that is none", C("a=1; sid=good; {@sid}=x; b=2"), C("a=1; {@sid}=x; b=2"),
	 C("a=1; b=2"), "", .verdict = "forged strip"},
	{"an empty token", C("a=1; sid=good; {@sid}="), C("a=1; {@sid}="), C("a=1"), "",
	 .verdict = "forged strip"},
	{"missing", C("a=1; sid=evil; b=2"), C("a=1; b=2"), NULL, "", .verdict = "missing strip"},
	{"missing, alone", C("sid=evil"), "", NULL, NULL, .verdict = "missing strip"},
	{"missing, first", C("sid=evil; a=1"), C("a=1"), NULL, "", .verdict = "missing strip"},
	{"missing, last", C("a=1; sid=evil"), C("a=1"), NULL, "", .verdict = "missing strip"},
	{"a token without its cookie", SAME(C("a=1; {sid=good}; b=2")), C("a=1; b=2"), "",
	 .verdict = NULL},
	/* f5-irule's MAC does not know the name */
	{"another cookie's token", SAME(C("sid=good; {@sid}={:cart=good}")), "", NULL,
	 .verdict = "valid pass", .native = C("{@sid}={:cart=good}"), .named = "forged strip"},
	{"two covered", SAME(C("sid=good; cart=high; {cart=high}; {sid=good}; a=1")),
	 C("sid=good; cart=high; a=1"), C("sid=good; cart=high"), .verdict = "valid pass"},
	{"two covered, one wrong", C("sid=evil; cart=good; {cart=good}"),
	 C("cart=good; {cart=good}"), C("cart=good"), NULL, .verdict = "missing strip"},
	{"two covered, tokens swapped", C("sid=good; cart=high; {@sid}={:cart=high}; {@cart}=x"),
	 C("{@sid}={:cart=high}; {@cart}=x"), "", NULL, .verdict = "forged strip"},
	{"with a guard", SAME(C("__Host-sid=1; {__Host-sid=1}; __Secure-sid=evil")),
	 C("__Host-sid=1; __Secure-sid=evil"), C("__Host-sid=1"), .verdict = NULL},
	{"names that are like it", SAME(C("sid2=1; xsid=2; si=3; sid_=4")), NULL, "",
	 .verdict = NULL},
	{"its name as a value", SAME(C("a=sid; b=sid=1; c=1")), NULL, "", .verdict = NULL},
	{"in other fields", SAME("X-Cookie: sid=1\r\nCookie2: sid=1\r\n" C("a=1")), NULL,
	 "X-Cookie: sid=1\r\nCookie2: sid=1\r\n", .verdict = NULL},

	/* identical duplicates collapse */
	{"twice the same", C("sid=good; sid=good; {sid=good}"), C("sid=good; {sid=good}"),
	 C("sid=good"), NULL, .verdict = "duplicate pass"},
	{"twice the same, apart", C("sid=good; a=1; sid=good; {sid=good}"),
	 C("sid=good; a=1; {sid=good}"), C("sid=good; a=1"), C("sid=good"),
	 .verdict = "duplicate pass"},
	{"six times the same",
	 C("sid=good; sid=good; sid=good; {sid=good}; sid=good; sid=good; sid=good"),
	 C("sid=good; {sid=good}"), C("sid=good"), NULL, .verdict = "duplicate pass"},
	{"twice the same, token twice", C("sid=good; {sid=good}; sid=good; {sid=good}"),
	 C("sid=good; {sid=good}"), C("sid=good"), NULL, .verdict = "duplicate pass"},
	{"token twice", C("sid=good; {sid=good}; {sid=good}"), C("sid=good; {sid=good}"),
	 C("sid=good"), NULL, .verdict = "duplicate pass"},
	{"twice the same, no token", C("sid=evil; sid=evil; a=1"), C("a=1"), NULL, "",
	 .verdict = "missing strip"},
	{"twice the same, forged", C("sid=evil; sid=evil; {sid=good}; a=1"), C("a=1"), NULL, "",
	 .verdict = "duplicate strip"},
	/* of conflicting ones the single pair that verifies stays */
	{"good before evil", C("sid=good; sid=evil; {sid=good}"), C("sid=good; {sid=good}"),
	 C("sid=good"), NULL, .verdict = "duplicate pass"},
	{"evil before good", C("sid=evil; sid=good; {sid=good}"), C("sid=good; {sid=good}"),
	 C("sid=good"), NULL, .verdict = "duplicate pass"},
	{"evil on both sides", C("sid=evil; sid=good; sid=worse; {sid=good}; a=1"),
	 C("sid=good; {sid=good}; a=1"), C("sid=good; a=1"), C("sid=good"),
	 .verdict = "duplicate pass"},
	{"two tokens, first right", C("sid=good; {sid=good}; {sid=x}; a=1"),
	 C("sid=good; {sid=good}; a=1"), C("sid=good; a=1"), C("sid=good"),
	 .verdict = "duplicate pass"},
	{"two tokens, second right", C("sid=good; {sid=x}; {sid=good}; a=1"),
	 C("sid=good; {sid=good}; a=1"), C("sid=good; a=1"), C("sid=good"),
	 .verdict = "duplicate pass"},
	{"an empty one beside", C("sid=; sid=good; {sid=good}"), C("sid=good; {sid=good}"),
	 C("sid=good"), NULL, .verdict = "duplicate pass"},
	{"quoted beside unquoted", C("sid=\"good\"; sid=good; {sid=good}"),
	 C("sid=good; {sid=good}"), C("sid=good"), NULL, .verdict = "duplicate pass"},
	/* none or two that verify: all go */
	{"two, no token", C("sid=evil; sid=worse; a=1"), C("a=1"), NULL, "",
	 .verdict = "missing strip"},
	{"two, none verifies", C("sid=evil; sid=worse; {sid=good}; a=1"), C("a=1"), NULL, "",
	 .verdict = "duplicate strip"},
	{"two tokens, none right", C("sid=evil; {sid=x}; {sid=y}; a=1"), C("a=1"), NULL, "",
	 .verdict = "duplicate strip"},
	{"two verify", C("sid=good; sid=high; {sid=good}; {sid=high}; a=1"), C("a=1"), NULL, "",
	 .verdict = "duplicate strip"},
	{"two verify, turned", C("{sid=high}; sid=good; {sid=good}; a=1; sid=high"), C("a=1"), NULL,
	 "", .verdict = "duplicate strip"},
	/* four different ones are tried, not more */
	{"the fourth is good", C("sid=1; sid=2; sid=3; sid=good; {sid=good}"),
	 C("sid=good; {sid=good}"), C("sid=good"), NULL, .verdict = "duplicate pass"},
	{"the fifth is good", C("sid=1; sid=2; sid=3; sid=4; sid=good; {sid=good}; a=1"), C("a=1"),
	 NULL, "", .verdict = "duplicate strip"},

	/* several fields */
	{"over two fields", C("sid=evil") C("sid=good; {sid=good}"), C("sid=good; {sid=good}"),
	 C("sid=good"), NULL, .verdict = "duplicate pass"},
	{"over two fields, turned", C("sid=good; {sid=good}") C("sid=evil"),
	 C("sid=good; {sid=good}"), C("sid=good"), NULL, .verdict = "duplicate pass"},
	{"token in another field", SAME(C("sid=good; a=1") "X-A: b\r\n" C("{sid=good}")),
	 C("sid=good; a=1") "X-A: b\r\n", C("sid=good") "X-A: b\r\n", .verdict = "valid pass"},
	{"a field for each", SAME(C("a=1") C("{sid=good}") C("b=2") C("sid=good")),
	 C("a=1") C("b=2") C("sid=good"), C("sid=good"), .verdict = "valid pass"},
	{"a field that is left empty", C("a=1") C("sid=evil") C("b=2"), C("a=1") C("b=2"), NULL, "",
	 .verdict = "missing strip"},
	{"conflicting over three", C("sid=evil; {@sid}=x") C("a=1") C("sid=good; b=2; {sid=good}"),
	 C("a=1") C("sid=good; b=2; {sid=good}"), C("a=1") C("sid=good; b=2"), C("sid=good"),
	 .verdict = "duplicate pass"},
	{"field name in another case", "cOOKIE: a=1; sid=evil; b=2\r\n", "cOOKIE: a=1; b=2\r\n",
	 NULL, "", .verdict = "missing strip"},
	{"no blank after the colon", "Cookie:sid=evil;a=1\r\n", "Cookie:a=1\r\n", NULL, "",
	 .verdict = "missing strip"},
	{"blanks after the colon", "Cookie: \t sid=evil; a=1\r\n", "Cookie: \t a=1\r\n", NULL, "",
	 .verdict = "missing strip"},

	/* quotes: nothing is unquoted, and nothing hides in them */
	{"hidden in quotes", C("x=\"1; sid=evil; y=2\""), C("x=\"1; y=2\""), NULL, "",
	 .verdict = "missing strip"},
	{"quoted, valid", SAME(C("sid=\"good\"; {sid=\"good\"}")), C("sid=\"good\""), NULL,
	 .verdict = "valid pass"},
	{"quoted, signed without", C("sid=\"good\"; {sid=good}; a=1"), C("{sid=good}; a=1"),
	 C("a=1"), "", .verdict = "forged strip"},
	{"signed with, sent without", C("sid=good; {sid=\"good\"}; a=1"), C("{sid=\"good\"}; a=1"),
	 C("a=1"), "", .verdict = "forged strip"},
	{"a blank in quotes", SAME(C("sid=\"a b\"; {sid=\"a b\"}")), C("sid=\"a b\""), NULL,
	 .verdict = "valid pass"},
	{"one quote", SAME(C("sid=\"good; {sid=\"good}; a=1")), C("sid=\"good; a=1"),
	 C("sid=\"good"), .verdict = "valid pass"},
	{"a quoted token", C("sid=good; {@sid}=\"{:sid=good}\"; a=1"),
	 C("{@sid}=\"{:sid=good}\"; a=1"), C("a=1"), "", .verdict = "forged strip"},
	{"a quoted name", SAME(C("\"sid\"=good; a=1")), NULL, "", .verdict = NULL},
	{"a backslash", SAME(C("sid=\"a\\\"b\"; {sid=\"a\\\"b\"}")), C("sid=\"a\\\"b\""), NULL,
	 .verdict = "valid pass"},
	{"a comma is no separator", SAME(C("a=1, sid=evil; {sid=x}")), C("a=1, sid=evil"), "",
	 .verdict = NULL},
	{"nothing is decoded", C("s%69d=evil; sid=g%6fod; {sid=good}; a=1"),
	 C("s%69d=evil; {sid=good}; a=1"), C("s%69d=evil; a=1"), "", .verdict = "forged strip"},

	/* RFC 2965's; they are cookies like others */
	{"$Version", C("$Version=1; sid=evil; $Path=/"), C("$Version=1; $Path=/"), NULL, "",
	 .verdict = "missing strip"},
	{"$Version, valid", SAME(C("$Version=\"1\"; sid=good; $Path=\"/\"; {sid=good}")),
	 C("$Version=\"1\"; sid=good; $Path=\"/\""), C("sid=good"), .verdict = "valid pass"},
	{"$sid", SAME(C("$sid=1; sid$=2")), NULL, "", .verdict = NULL},

	/* empty names hide no signed one */
	{"an empty name before it", C("=x; sid=evil; a=1"), C("=x; a=1"), NULL, "",
	 .verdict = "missing strip"},
	{"behind an empty name", C("a=1; =sid=evil; b=2"), C("a=1; b=2"), NULL, "",
	 .verdict = "missing strip"},
	{"behind two", C("a=1; ==sid=evil"), C("a=1"), NULL, "", .verdict = "missing strip"},
	{"behind one and a blank", C("a=1; = sid=evil; b=2"), C("a=1; b=2"), NULL, "",
	 .verdict = "missing strip"},
	{"behind eight", C("a=1; ========sid=evil; b=2"), C("a=1; b=2"), NULL, "",
	 .canonical = C("a=1; sid=evil; b=2"), .verdict = "missing strip"},
	{"signed and behind one", SAME(C("=sid=good; {sid=good}; a=1")), C("=sid=good; a=1"),
	 C("=sid=good"), .verdict = "valid pass"},
	{"a duplicate behind one", C("sid=good; =sid=evil; {sid=good}"), C("sid=good; {sid=good}"),
	 C("sid=good"), NULL, .verdict = "duplicate pass"},
	/* neither name nor value: nothing that a rule could be about */
	{"= alone", SAME(C("=; sid=good; {sid=good}; a=1")), C("=; sid=good; a=1"),
	 C("=; sid=good"), .verdict = "valid pass"},

	/* without '=': a name without a value */
	{"no =", C("a=1; sid; b=2"), C("a=1; b=2"), NULL, "", .verdict = "missing strip"},
	{"no =, with a token", C("sid; {sid=good}; a=1"), C("{sid=good}; a=1"), C("a=1"), "",
	 .verdict = "missing strip"},
	{"no =, alone", C("sid"), "", NULL, NULL, .verdict = "missing strip"},
	{"others without =", SAME(C("foo; sid=good; {sid=good}; bar")), C("foo; sid=good; bar"),
	 C("sid=good"), .verdict = "valid pass"},
	{"a token's name without =", SAME(C("a=1; {@sid}")), C("a=1"), "", .verdict = NULL},
	{"no = and a valid one", C("sid; sid=good; {sid=good}"), C("sid=good; {sid=good}"),
	 C("sid=good"), NULL, .verdict = "duplicate pass"},

	/* empty values are never signed */
	{"an empty value", C("sid=; {sid=good}; a=1"), C("{sid=good}; a=1"), C("a=1"), "",
	 .verdict = "missing strip"},
	{"an empty value and its token", C("sid=; {sid=}; a=1"), C("{sid=}; a=1"), C("a=1"), "",
	 .verdict = "missing strip"},
	{"a blank as a value", C("sid= ; {sid=good}; a=1"), C("{sid=good}; a=1"), C("a=1"), "",
	 .verdict = "missing strip"},
	{"others' empty values", SAME(C("a=; sid=good; {sid=good}; b=")), C("a=; sid=good; b="),
	 C("sid=good"), .verdict = "valid pass"},

	/* 8-bit bytes */
	{"8-bit beside", C("a=\xc3\xa4; sid=evil; b=\xff"), C("a=\xc3\xa4; b=\xff"), NULL, "",
	 .verdict = "missing strip"},
	{"8-bit value, valid", SAME(C("sid=\xc3\xa4\xff\x80; {sid=\xc3\xa4\xff\x80}")),
	 C("sid=\xc3\xa4\xff\x80"), NULL, .verdict = "valid pass"},
	{"8-bit value, forged", C("sid=good\xff; {sid=good}; a=1"), C("{sid=good}; a=1"), C("a=1"),
	 "", .verdict = "forged strip"},
	{"8-bit in the name", SAME(C("sid\xff=1; \xffsid=2; a=3")), NULL, "", .verdict = NULL},
	{"a no-break space is no blank", SAME(C("sid\xa0=1; sid=\xa0; {sid=\xa0}")),
	 C("sid\xa0=1; sid=\xa0"), C("sid=\xa0"), .verdict = "valid pass"},
	{"8-bit ; and = are none",
	 SAME(C("a=\xbbsid=1; sid\xbd"
		"1; b=2")),
	 NULL, "", .verdict = NULL},

	/* '=' in values */
	{"= in the value", SAME(C("sid=a=b==; {sid=a=b==}")), C("sid=a=b=="), NULL,
	 .verdict = "valid pass"},
	{"= first in the value", SAME(C("sid==good; {sid==good}")), C("sid==good"), NULL,
	 .verdict = "valid pass"},
	{"= as the value", SAME(C("sid==; {sid==}")), C("sid=="), NULL, .verdict = "valid pass"},
	{"= behind evil", C("sid=evil=good; {sid=good}"), C("{sid=good}"), "", NULL,
	 .verdict = "forged strip"},
	{"| in the value", SAME(C("sid=a|b; {sid=a|b}")), C("sid=a|b"), NULL,
	 .verdict = "valid pass"},
	{": in the value", SAME(C("sid=a:b; {sid=a:b}")), C("sid=a:b"), NULL,
	 .verdict = "valid pass"},
	/* proxysg: a name with the MAC's separator in it is never signed */
	{"| in a name", SAME(C("a|b=1; {a|b=1}")), C("a|b=1"), "", .verdict = NULL},

	/* ';' without a blank, too many of them */
	{"no blank after ;", C("a=1;sid=evil;b=2"), C("a=1;b=2"), NULL, "",
	 .verdict = "missing strip"},
	{"no blank after ;, valid", SAME(C("a=1;sid=good;{sid=good};b=2")), C("a=1;sid=good;b=2"),
	 C("sid=good"), .verdict = "valid pass"},
	{"; at the end", C("a=1; sid=evil;"), C("a=1; "), NULL, C(""), .verdict = "missing strip"},
	{"; at the end, valid", SAME(C("sid=good; {sid=good};")), C("sid=good; "), NULL,
	 .verdict = "valid pass"},
	{"; and a blank at the end", SAME(C("sid=good; {sid=good}; ")), C("sid=good; "), NULL,
	 .verdict = "valid pass"},
	{"; at the start", C("; sid=evil; a=1"), C("; a=1"), NULL, C(""),
	 .verdict = "missing strip"},
	{";;;", C("a=1;;; ;sid=evil;; ;b=2"), C("a=1;;; ;; ;b=2"), NULL, C(";; ;; "),
	 .verdict = "missing strip"},
	{"; alone", SAME(C(";")), NULL, NULL, .verdict = NULL},

	/* blanks and tabs around names and values */
	{"a blank before =", C("a=1; sid =evil; b=2"), C("a=1; b=2"), NULL, "",
	 .verdict = "missing strip"},
	{"a tab before =", C("a=1; sid\t=evil; b=2"), C("a=1; b=2"), NULL, "",
	 .verdict = "missing strip"},
	{"a tab before the name", C("a=1;\tsid=evil;\tb=2"), C("a=1;\tb=2"), NULL, "",
	 .verdict = "missing strip"},
	{"a blank before ;", C("a=1 ; sid=evil ; b=2"), C("a=1 ; b=2"), NULL, "",
	 .verdict = "missing strip"},
	{"blanks around, valid", SAME(C("a=1; sid = good ; {@sid} = {:sid=good} ; b=2")),
	 C("a=1; sid = good ; b=2"), C("sid = good "), .verdict = "valid pass"},
	{"tabs around, valid", SAME(C("sid\t=\tgood\t;\t{sid=good}\t")), C("sid\t=\tgood\t"), NULL,
	 .verdict = "valid pass"},
	{"blanks and tabs, valid", SAME(C("sid \t = \t good; {sid=good}")), C("sid \t = \t good"),
	 NULL, .verdict = "valid pass"},
	{"blanks make no difference", C("sid=good; sid = good ; {sid=good}"),
	 C("sid=good; {sid=good}"), C("sid=good"), NULL, .verdict = "duplicate pass"},
	{"blanks inside, valid", SAME(C("sid=go  od; {sid=go  od}")), C("sid=go  od"), NULL,
	 .verdict = "valid pass"},
	{"blanks inside, forged", C("sid=go od; {sid=good}; a=1"), C("{sid=good}; a=1"), C("a=1"),
	 "", .verdict = "forged strip"},
	{"blanks inside the name", SAME(C("s id=1; a=1")), NULL, "", .verdict = NULL},
	{"seven blanks", SAME(C("a=1;" SEVEN "sid" SEVEN "=" SEVEN "good" SEVEN "; {sid=good}")),
	 C("a=1;" SEVEN "sid" SEVEN "=" SEVEN "good" SEVEN), C("sid" SEVEN "=" SEVEN "good" SEVEN),
	 .verdict = "valid pass"},
	/* more of them: the head is written anew, without any */
	{"eight blanks", C("a=1; sid" SEVEN " =good; {sid=good}"), C("a=1; sid=good; {sid=good}"),
	 C("a=1; sid=good"), C("sid=good"), .canonical = C("a=1; sid=good; {sid=good}"),
	 .verdict = "valid pass"},
	{"forty blanks", C("a = 1; sid" SEVEN SEVEN SEVEN SEVEN SEVEN "=evil; b=2") C("c=3"),
	 C("a=1; b=2; c=3"), NULL, "", .canonical = C("a=1; sid=evil; b=2; c=3"),
	 .verdict = "missing strip"},
	{"eight tabs", C("a=1;\t\t\t\t\t\t\t\tsid=good;{sid=good}; b=2;;=;"),
	 C("a=1; sid=good;{sid=good}; b=2"), C("a=1; sid=good;b=2"), C("sid=good"),
	 .canonical = C("a=1; sid=good;{sid=good}; b=2"), .verdict = "valid pass"},

	/* names are compared with their case */
	{"another case first", C("SID=good; sid=evil"), C("SID=good"), NULL, "",
	 .verdict = "missing strip"},
	{"another case last", C("sid=evil; Sid=good"), C("Sid=good"), NULL, "",
	 .verdict = "missing strip"},
	{"another case is no duplicate", SAME(C("SID=evil; sid=good; {sid=good}")),
	 C("SID=evil; sid=good"), C("sid=good"), .verdict = "valid pass"},
	{"a token of another case", C("sid=good; {SID=good}; a=1"), C("{SID=good}; a=1"), C("a=1"),
	 "", .verdict = "missing strip"},
	{"a value in another case", C("sid=GOOD; {sid=good}; a=1"), C("{sid=good}; a=1"), C("a=1"),
	 "", .verdict = "forged strip"},

	/* long and many */
	{"4 KB, valid", SAME(C("a=1; sid={*4096}; {sid=*4096}; b=2")), C("a=1; sid={*4096}; b=2"),
	 C("sid={*4096}"), .verdict = "valid pass"},
	{"4 KB, another end", C("a=1; sid={*4095}.; {sid=*4096}; b=2"), C("a=1; {sid=*4096}; b=2"),
	 C("a=1; b=2"), "", .verdict = "forged strip"},
	{"4 KB beside", C("a={*4096}; sid=evil; b={*4000}"), C("a={*4096}; b={*4000}"), NULL, "",
	 .verdict = "missing strip"},
	{"4 KB as a name", SAME(C("sid{*4096}=1; sid=good; {sid=good}")),
	 C("sid{*4096}=1; sid=good"), C("sid=good"), .verdict = "valid pass"},
	/* sixteen covered ones are judged */
	{"fifty, the first covered", SAME(C("sid=good; {sid=good}; {#50}")), C("sid=good; {#50}"),
	 COOKIE_REFUSED, .verdict = "valid pass"},
	{"fifty, the last covered", SAME(C("{#50}; {sid=good}; sid=good")), C("{#50}; sid=good"),
	 COOKIE_REFUSED, .verdict = "valid pass"},
	{"fifty, the covered one forged", C("{#50}; sid=good; {sid=x}; z=1"),
	 C("{#50}; {sid=x}; z=1"), C("{#50}; z=1"), COOKIE_REFUSED, .verdict = "forged strip"},
	{"sixteen signed", SAME(C("{#+16}")), C("{#16}"), NULL, .verdict = NULL},
	{"fifteen signed, one not", SAME(C("{#+15}; z=1")), C("{#15}; z=1"), C("{#15}"),
	 .verdict = NULL},
	{"seventeen signed", SAME(C("{#+17}")), C("{#17}"), COOKIE_REFUSED, .verdict = NULL},
	/* and the tokens of 32 names are looked at, whether anything covers them or not */
	{"fifty signed", SAME(C("{#+50}")), COOKIE_REFUSED, COOKIE_REFUSED,
	 .native = COOKIE_REFUSED, .verdict = NULL},
};
#undef C
#undef SAME
#undef SEVEN

#define COOKIE_CASES (sizeof(cookie_cases) / sizeof(cookie_cases[0]))

static inline const char *cookie_want(const struct cookie_case *c, enum cookie_site site)
{
	if (site == COOKIE_ALL && c->all)
		return c->all;
	if (site == COOKIE_NATIVE && c->native)
		return c->native;
	return site >= COOKIE_PROXYSG && c->bare ? c->bare : c->f5;
}

/* ---- writing them out ---- */

/* The token that a site issues for a cookie; static text. Where a guard forbids one: any text. */
typedef const char *cookie_token_fn(enum cookie_site site, const char *name, const char *value);

static inline size_t cookie_letters(char *out, int n)
{
	for (int i = 0; i < n; i++)
		out[i] = (char)('a' + i % 26);
	return (size_t)n;
}

static inline size_t cookie_sibling(enum cookie_site site, const char *name, char *out)
{
	int guard = strncmp(name, "__Host-", 7) ? strncmp(name, "__Secure-", 9) ? 0 : 9 : 7;

	if (site == COOKIE_F5)
		return (size_t)sprintf(out, "%s_HMAC", name);
	return (size_t)sprintf(out, "%.*s%s%s", guard, name,
			       site == COOKIE_NATIVE ? "HTSIG_" : "BCSIG_", name + guard);
}

static inline size_t cookie_signed(enum cookie_site site, cookie_token_fn *token, char *pair,
				   char *out)
{
	static char letters[COOKIE_TEXT_MAX];
	char *value = strchr(pair, '=');
	size_t n = 0;
	int only_token = pair[0] == ':';

	*value++ = 0;
	if (value[0] == '*') {
		letters[cookie_letters(letters, atoi(value + 1))] = 0;
		value = letters;
	}
	if (!only_token) {
		n = cookie_sibling(site, pair, out);
		out[n++] = '=';
	}
	return n + (size_t)sprintf(out + n, "%s", token(site, pair + only_token, value));
}

static inline size_t cookie_many(enum cookie_site site, cookie_token_fn *token, const char *p,
				 char *out)
{
	int with = *p == '+', count = atoi(p + with);
	size_t n = 0;

	for (int i = 0; i < count; i++) {
		char pair[32];

		n += (size_t)sprintf(out + n, "%sc%d=v%d", i ? "; " : "", i, i);
		if (!with)
			continue;
		n += (size_t)sprintf(out + n, "; ");
		sprintf(pair, "c%d=v%d", i, i);
		n += cookie_signed(site, token, pair, out + n);
	}
	return n;
}

/* The fields of a pattern as this site's client sends them: out[COOKIE_TEXT_MAX], ends with NUL. */
static inline size_t cookie_write(enum cookie_site site, cookie_token_fn *token,
				  const char *pattern, char *out)
{
	const char *p = pattern;
	size_t n = 0;

	while (*p) {
		size_t len = strcspn(p, "{");
		char inside[256];

		memcpy(out + n, p, len);
		n += len;
		p += len;
		if (!*p)
			break;
		len = strcspn(p, "}");
		snprintf(inside, sizeof(inside), "%.*s", (int)len - 1, p + 1);
		p += len + 1;
		if (inside[0] == '*')
			n += cookie_letters(out + n, atoi(inside + 1));
		else if (inside[0] == '#')
			n += cookie_many(site, token, inside + 1, out + n);
		else if (inside[0] == '@')
			n += cookie_sibling(site, inside + 1, out + n);
		else
			n += cookie_signed(site, token, inside, out + n);
	}
	out[n] = 0;
	return n;
}

#endif
