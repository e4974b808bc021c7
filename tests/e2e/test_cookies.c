/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cookies as clients and backends really write them: duplicates, odd spellings, long and many
 * ones on the way in; Set-Cookie in every shape on the way out; report and off.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

TestSuite(cookies, .timeout = E2E_TIMEOUT);
TestSuite(setcookie, .timeout = E2E_TIMEOUT);
TestSuite(mode, .timeout = E2E_TIMEOUT);

/*
 * `fields` are complete lines with {tokens}. `want` are the pairs at the backend in their order,
 * siblings left out; where it is NULL, only this counts: EVIL never gets through.
 */
struct row {
	const char *name, *fields, *want;
};

static const struct row rows[] = {
	{"good before evil", "Cookie: sid=good; sid_HMAC={good}; sid=EVIL\r\n", "sid=good"},
	{"evil before good", "Cookie: sid=EVIL; sid=good; sid_HMAC={good}\r\n", "sid=good"},
	{"evil on both sides", "Cookie: sid=EVIL; sid=good; sid=EVIL2; sid_HMAC={good}; a=1\r\n",
	 "sid=good|a=1"},
	{"identical ones collapse", "Cookie: sid=good; a=1; sid=good; sid_HMAC={good}\r\n", NULL},
	{"none verifies", "Cookie: sid=EVIL; sid=EVIL2; sid_HMAC={good}; a=1\r\n", "a=1"},
	{"two without a token", "Cookie: sid=EVIL; sid=EVIL2; a=1\r\n", "a=1"},
	{"two verify", "Cookie: sid=EVIL1; sid=EVIL2; sid_HMAC={EVIL1}; sid_HMAC={EVIL2}; a=1\r\n",
	 "a=1"},
	{"two tokens, first right", "Cookie: sid=good; sid_HMAC={good}; sid_HMAC={x}; a=1\r\n",
	 "sid=good|a=1"},
	{"two tokens, second right", "Cookie: sid=good; sid_HMAC={x}; sid_HMAC={good}; a=1\r\n",
	 "sid=good|a=1"},
	{"two tokens, none right", "Cookie: sid=EVIL; sid_HMAC={x}; sid_HMAC={y}; a=1\r\n", "a=1"},
	{"token twice", "Cookie: sid=good; sid_HMAC={good}; sid_HMAC={good}\r\n", "sid=good"},
	{"over two fields", "Cookie: sid=EVIL\r\nCookie: sid=good; sid_HMAC={good}\r\n",
	 "sid=good"},
	{"over two fields, turned", "Cookie: sid=good; sid_HMAC={good}\r\nCookie: sid=EVIL\r\n",
	 "sid=good"},
	{"token in another field", "Cookie: sid=good; a=1\r\nX-A: b\r\nCookie: sid_HMAC={good}\r\n",
	 "sid=good|a=1"},
	{"field name in another case", "cOOKIE: a=1; sid=EVIL; b=2\r\n", "a=1|b=2"},
	{"hidden in quotes", "Cookie: x=\"1; sid=EVIL; y=2\"\r\n", "x=\"1|y=2\""},
	{"other case first", "Cookie: SID=GOOD; sid=EVIL\r\n", "SID=GOOD"},
	{"other case last", "Cookie: sid=EVIL; Sid=GOOD\r\n", "Sid=GOOD"},
	{"blank before =", "Cookie: a=1; sid =EVIL; b=2\r\n", "a=1|b=2"},
	{"blanks before =", "Cookie: a=1; sid   =EVIL; b=2\r\n", "a=1|b=2"},
	{"tab before =", "Cookie: a=1; sid\t=EVIL; b=2\r\n", "a=1|b=2"},
	{"tab before the name", "Cookie: a=1;\tsid=EVIL;\tb=2\r\n", "a=1|b=2"},
	{"no blank after ;", "Cookie: a=1;sid=EVIL;b=2\r\n", "a=1|b=2"},
	{"no blank after ;, valid", "Cookie: a=1;sid=good;sid_HMAC={good};b=2\r\n",
	 "a=1|sid=good|b=2"},
	{"blanks around, valid", "Cookie: a=1; sid = good ; sid_HMAC = {good} ; b=2\r\n",
	 "a=1|sid=good|b=2"},
	{"tabs around, valid", "Cookie: sid\t=\tgood\t;\tsid_HMAC={good}\t\r\n", "sid=good"},
	{"forty blanks", "Cookie: a=1; sid                                        =EVIL; b=2\r\n",
	 "a=1|b=2"},
	{"first in the field", "Cookie: sid=EVIL; a=1\r\n", "a=1"},
	{"last in the field", "Cookie: a=1; sid=EVIL\r\n", "a=1"},
	{"; at the end", "Cookie: a=1; sid=EVIL;\r\n", "a=1"},
	{"; at the start", "Cookie: ; sid=EVIL; a=1\r\n", "a=1"},
	{";;;", "Cookie: a=1;;; ;sid=EVIL;; ;b=2\r\n", "a=1|b=2"},
	{"empty name before it", "Cookie: =x; sid=EVIL; a=1\r\n", NULL},
	{"empty name hides nothing", "Cookie: a=1; =sid=EVIL; b=2\r\n", NULL},
	{"two =", "Cookie: a=1; ==sid=EVIL\r\n", NULL},
	{"name alone", "Cookie: a=1; sid; b=2\r\n", NULL},
	{"$Version", "Cookie: $Version=1; sid=EVIL; $Path=/\r\n", "$Version=1|$Path=/"},
	{"8-bit bytes beside", "Cookie: a=\xc3\xa4; sid=EVIL; b=\xff\r\n", "a=\xc3\xa4|b=\xff"},
	{"8-bit value, forged", "Cookie: a=1; sid=EVIL\xff; sid_HMAC={good}\r\n", "a=1"},
	{"8-bit value, valid", "Cookie: sid=\xc3\xa4; sid_HMAC={\xc3\xa4}\r\n", "sid=\xc3\xa4"},
	{"8-bit in the name", "Cookie: sid\xff=1; a=1\r\n", "sid\xff=1|a=1"},
	{"= in the value, valid", "Cookie: sid=a=b==; sid_HMAC={a=b==}\r\n", "sid=a=b=="},
	{"= in the value, forged", "Cookie: sid=EVIL=good; sid_HMAC={good}\r\n", ""},
	{"comma is no separator", "Cookie: a=1, sid=EVIL; sid_HMAC={x}\r\n", "a=1, sid=EVIL"},
	{"4 KB value, valid", "Cookie: a=1; sid={*4096}; sid_HMAC={4096}; b=2\r\n", NULL},
	{"4 KB beside", "Cookie: a={*4096}; sid=EVIL; b={*4000}\r\n", NULL},
	{"sid as a value", "Cookie: a=sid; b=sid=1; c=1\r\n", "a=sid|b=sid=1|c=1"},
	{"in other fields", "X-Cookie: sid=1\r\nCookie2: sid=1\r\nCookie: a=1\r\n", "a=1"},
};

static void expand_line(struct text *line, const char *pattern)
{
	struct text value = {0};
	const char *at = strstr(pattern, "{4096}");

	if (!at) {
		token_expand(line, pattern);
		return;
	}
	/* The token of the 4 KB value. */
	char token[45], *head = strndup(pattern, (size_t)(at - pattern));

	token_expand(&value, "{*4096}");
	token_make(value.p, value.len, "127.0.0.1", token);
	token_expand(line, head);
	text_addf(line, "%s", token);
	token_expand(line, at + 6);
	free(head);
	text_free(&value);
}

static void run_table(bool warm)
{
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text line = {0}, got = {0};

	for (size_t i = 0; i < E2E_ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];

		if (warm && strstr(r->fields, "{good}")) {
			text_clear(&line);
			token_expand(&line, "Cookie: sid=good; sid_HMAC={good}\r\n");
			client_once(gw, NULL, line.p);
		}
		text_clear(&line);
		expand_line(&line, r->fields);
		cr_expect_eq(client_once(gw, NULL, line.p), 200, "%s", r->name);
		struct breq *b = backend_last(be);

		head_cookies(b->head, "sid_HMAC", &got);
		if (r->want)
			cr_expect_str_eq(got.p, r->want, "%s: got %s, want %s", r->name, got.p,
					 r->want);
		cr_expect(!strstr(got.p, "EVIL") || (r->want && strstr(r->want, "EVIL")),
			  "%s: EVIL got through: %s", r->name, got.p);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(cookies, table_cold)
{
	e2e_need_gate();
	run_table(false);
}

Test(cookies, table_warm)
{
	e2e_need_gate();
	run_table(true);
}

static const char *send_cookies(struct gw *gw, struct backend *be, const char *line, int *status)
{
	static struct text got;
	int before = backend_count(be);

	*status = client_once(gw, NULL, line);
	text_clear(&got);
	text_add(&got, "", 0);
	if (backend_count(be) > before)
		head_cookies(backend_last(be)->head, "sid_HMAC", &got);
	return got.p;
}

Test(cookies, identical_ones_leave_one_valid)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text line = {0};
	static const int repeats[] = {2, 3, 16, 17, 40};
	const char *got;
	int status;

	for (size_t i = 0; i < E2E_ARRAY_SIZE(repeats); i++) {
		text_clear(&line);
		token_expand(&line, "Cookie: sid_HMAC={good}");
		for (int n = 0; n < repeats[i]; n++)
			text_addf(&line, "; sid=good");
		text_addf(&line, "; last=1\r\n");
		got = send_cookies(gw, be, line.p, &status);
		cr_expect_eq(status, 200, "%d repeats: %d", repeats[i], status);
		cr_expect(!strncmp(got, "sid=good|", 9) && strstr(got, "last=1"), "%d repeats: %s",
			  repeats[i], got);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(cookies, many_different_ones_let_no_evil_in)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	static const int counts[] = {4, 5, 15, 16, 17, 40, 200};
	struct text line = {0};
	const char *got;
	int status;

	for (size_t i = 0; i < E2E_ARRAY_SIZE(counts); i++) {
		text_clear(&line);
		token_expand(&line, "Cookie: a=1");
		for (int n = 0; n < counts[i]; n++)
			text_addf(&line, "; sid=EVIL%d", n);
		token_expand(&line, "; sid_HMAC={good}\r\n");
		got = send_cookies(gw, be, line.p, &status);
		cr_expect_not(strstr(got, "EVIL"), "%d: %s", counts[i], got);
		cr_expect(status == 200 || (counts[i] > 16 && (status == 400 || status == 431)),
			  "%d different: %d", counts[i], status);
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(cookies, fifty_and_one_of_them_covered)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text line = {0}, want = {0};
	const char *got;
	int status;

	for (int good = 0; good < 2; good++) {
		for (int at = 0; at < 50; at += 7) {
			text_clear(&line);
			text_clear(&want);
			token_expand(&line, "Cookie: x=y");
			text_addf(&want, "x=y");
			for (int n = 0; n < 50; n++) {
				text_addf(&line, "; c%d=value-%d", n, n);
				text_addf(&want, "|c%d=value-%d", n, n);
				if (n != at)
					continue;
				token_expand(&line, good ? "; sid=ok; sid_HMAC={ok}"
							 : "; sid=ok; sid_HMAC={x}");
				if (good)
					text_addf(&want, "|sid=ok");
			}
			text_addf(&line, "\r\n");
			got = send_cookies(gw, be, line.p, &status);
			cr_expect_eq(status, 200);
			cr_expect_str_eq(got, want.p, "at %d: %s", at, got);
		}
	}
	gw_stop(gw);
	backend_stop(be);
}

Test(cookies, sixteen_rules_at_once)
{
	e2e_need_gate();
	struct text rules = {0}, line = {0}, got = {0};
	struct backend *be = backend_start(NULL);
	struct gw *gw;

	for (int i = 0; i < 16; i++)
		text_addf(&rules,
			  "%s{ name: c%d, profile: f5-irule, key: shop, bind: [client-ip] }",
			  i ? ", " : "[ ", i);
	text_addf(&rules, " ]");
	gw = gw_start(be, &(struct gw_spec){.cookies = rules.p});
	for (int round = 0; round < 3; round++) {
		text_clear(&line);
		text_addf(&line, "Cookie: z=1");
		for (int i = 0; i < 16; i++)
			text_addf(&line, "; c%d=v; c%d_HMAC=%s", i, i,
				  token_for("v", i % 2 && round == 2 ? "127.0.0.9" : "127.0.0.1"));
		text_addf(&line, "\r\n");
		cr_assert_eq(client_once(gw, NULL, line.p), 200);
		head_cookies(backend_last(be)->head, NULL, &got);
		for (int i = 0; i < 16; i++) {
			char pair[32];

			snprintf(pair, sizeof(pair), "|c%d=v", i);
			cr_expect_eq(strstr(got.p, pair) != NULL, !(i % 2 && round == 2),
				     "round %d: c%d", round, i);
		}
	}
	gw_stop(gw);
	backend_stop(be);
}

/* ---- Set-Cookie ---- */

struct set_row {
	const char *name, *status; /* status line's end */
	const char *fields;	   /* of the backend's response */
	const char *want[8];	   /* Set-Cookie values at the client, in order; {tokens}; "~x" =
				      deletes the cookie x */
};

#define SEED "; HttpOnly; Secure; Path=/"
static const struct set_row set_rows[] = {
	{"plain", "200 OK", "Set-Cookie: sid=a\r\n", {"sid=a", "sid_HMAC={a}" SEED}},
	{"attributes",
	 "200 OK",
	 "Set-Cookie: sid=a; Domain=x.test; Max-Age=60; SameSite=Lax\r\n",
	 {"sid=a; Domain=x.test; Max-Age=60; SameSite=Lax", "sid_HMAC={a}" SEED}},
	{"lower-case field", "200 OK", "set-cookie: sid=a\r\n", {"sid=a", "sid_HMAC={a}" SEED}},
	{"blanks",
	 "200 OK",
	 "Set-Cookie:  sid = a ; Path=/\r\n",
	 {"sid = a ; Path=/", "sid_HMAC={a}" SEED}},
	{"302",
	 "302 Found",
	 "Location: /in\r\nSet-Cookie: sid=a\r\n",
	 {"sid=a", "sid_HMAC={a}" SEED}},
	{"304", "304 Not Modified", "Set-Cookie: sid=a\r\n", {"sid=a", "sid_HMAC={a}" SEED}},
	{"404", "404 Not Found", "Set-Cookie: sid=a\r\n", {"sid=a", "sid_HMAC={a}" SEED}},
	{"500", "500 Oops", "Set-Cookie: sid=a\r\n", {"sid=a", "sid_HMAC={a}" SEED}},
	{"204", "204 No Content", "Set-Cookie: sid=a\r\n", {"sid=a", "sid_HMAC={a}" SEED}},
	{"uncovered", "200 OK", "Set-Cookie: theme=dark\r\n", {"theme=dark"}},
	{"another case", "200 OK", "Set-Cookie: SID=a\r\n", {"SID=a"}},
	{"quoted value",
	 "200 OK",
	 "Set-Cookie: sid=\"a b\"\r\n",
	 {"sid=\"a b\"", "sid_HMAC={\"a b\"}" SEED}},
	{"= in the value",
	 "200 OK",
	 "Set-Cookie: sid=a=b=\r\n",
	 {"sid=a=b=", "sid_HMAC={a=b=}" SEED}},
	{"uncovered around",
	 "200 OK",
	 "Set-Cookie: a=1\r\nSet-Cookie: sid=x\r\nSet-Cookie: b=2\r\n",
	 {"a=1", "sid=x", "sid_HMAC={x}" SEED, "b=2"}},
	{"two covered",
	 "200 OK",
	 "Set-Cookie: sid=x\r\nSet-Cookie: aux=y\r\n",
	 {"sid=x", "sid_HMAC={x}" SEED, "aux=y", "aux_HMAC={y}"}},
	{"same name twice",
	 "200 OK",
	 "Set-Cookie: sid=x\r\nSet-Cookie: sid=y; Path=/y\r\n",
	 {"sid=x", "sid_HMAC={x}" SEED, "sid=y; Path=/y", "sid_HMAC={y}" SEED}},
	{"backend sets the sibling",
	 "200 OK",
	 "Set-Cookie: sid_HMAC=mine\r\nSet-Cookie: sid=x\r\n",
	 {"sid=x", "sid_HMAC={x}" SEED}},
	{"empty value", "200 OK", "Set-Cookie: sid=; Path=/\r\n", {"sid=; Path=/", "~sid_HMAC"}},
	{"Max-Age=0",
	 "200 OK",
	 "Set-Cookie: sid=x; Max-Age=0\r\n",
	 {"sid=x; Max-Age=0", "~sid_HMAC"}},
	{"Max-Age=-1",
	 "200 OK",
	 "Set-Cookie: sid=x; max-age=-1\r\n",
	 {"sid=x; max-age=-1", "~sid_HMAC"}},
	{"past Expires",
	 "200 OK",
	 "Set-Cookie: sid=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT\r\n",
	 {"sid=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "~sid_HMAC"}},
	{"future Expires",
	 "200 OK",
	 "Set-Cookie: sid=x; Expires=Fri, 01 Jan 2038 00:00:00 GMT\r\n",
	 {"sid=x; Expires=Fri, 01 Jan 2038 00:00:00 GMT", "sid_HMAC={x}" SEED}},
	{"Max-Age wins over Expires",
	 "200 OK",
	 "Set-Cookie: sid=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60\r\n",
	 {"sid=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60", "sid_HMAC={x}" SEED}},
};

#define SET_RULES                                                                                  \
	"[ { name: sid, profile: f5-irule, key: shop, bind: [client-ip] }, "                       \
	"{ name: aux, profile: f5-irule, key: shop, bind: [client-ip], sibling-attributes: copy "  \
	"} ]"

static bool set_cookie_fits(const char *got, const char *want)
{
	struct text t = {0};
	bool ok;

	if (want[0] == '~') {
		size_t len = strlen(want + 1);

		return !strncmp(got, want + 1, len) && got[len] == '=' &&
		       (strcasestr(got, "Max-Age=0") || strcasestr(got, "Expires="));
	}
	token_expand(&t, want);
	ok = !strcmp(got, t.p);
	text_free(&t);
	return ok;
}

static void run_set_row(struct gw *gw, struct backend *be, const struct set_row *row)
{
	struct client *c = client_plain(gw);
	struct text reply = {0};
	struct response *r;
	int n = 0;

	text_addf(&reply, "HTTP/1.1 %s\r\n%s", row->status, row->fields);
	text_addf(&reply, strncmp(row->status, "204", 3) && strncmp(row->status, "304", 3)
				  ? "Content-Length: 2\r\n\r\nhi"
				  : "\r\n");
	backend_reply(be, reply.p);
	r = client_get(c, "/", "");
	cr_expect_eq(r->status, atoi(row->status), "%s", row->name);
	while (n < 8 && row->want[n])
		n++;
	cr_expect_eq(response_count(r, "Set-Cookie"), n, "%s:\n%s", row->name, r->head);
	for (int i = 0; i < n && i < response_count(r, "Set-Cookie"); i++)
		cr_expect(set_cookie_fits(response_field(r, "Set-Cookie", i), row->want[i]),
			  "%s: got %s, want %s", row->name, response_field(r, "Set-Cookie", i),
			  row->want[i]);
	client_close(c);
	text_free(&reply);
}

Test(setcookie, table)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = SET_RULES});

	for (size_t i = 0; i < E2E_ARRAY_SIZE(set_rows); i++)
		run_set_row(gw, be, &set_rows[i]);
	gw_stop(gw);
	backend_stop(be);
}

Test(setcookie, copied_attributes)
{
	static const struct set_row copied[] = {
		{"session", "200 OK", "Set-Cookie: aux=y\r\n", {"aux=y", "aux_HMAC={y}"}},
		{"all of them",
		 "200 OK",
		 "Set-Cookie: aux=y; Path=/app; Domain=x.test; HttpOnly; SameSite=Strict\r\n",
		 {"aux=y; Path=/app; Domain=x.test; HttpOnly; SameSite=Strict",
		  "aux_HMAC={y}; Path=/app; Domain=x.test; HttpOnly; SameSite=Strict"}},
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = SET_RULES});

	for (size_t i = 0; i < E2E_ARRAY_SIZE(copied); i++)
		run_set_row(gw, be, &copied[i]);
	gw_stop(gw);
	backend_stop(be);
}

Test(setcookie, each_of_two_of_one_name_verifies_afterwards)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct text line = {0};
	struct client *c = client_plain(gw);

	backend_reply(be, "HTTP/1.1 200 OK\r\nSet-Cookie: sid=x\r\nSet-Cookie: sid=y\r\n"
			  "Content-Length: 0\r\n\r\n");
	cr_assert_eq(client_get(c, "/", "")->status, 200);
	for (int i = 0; i < 2; i++) {
		text_clear(&line);
		token_expand(&line, i ? "Cookie: sid=y; sid_HMAC={y}\r\n"
				      : "Cookie: sid=x; sid_HMAC={x}\r\n");
		cr_assert_eq(client_get(c, "/", line.p)->status, 200);
		cr_expect(text_has(backend_last(be)->head, backend_last(be)->head_len, line.p));
	}
	cr_expect(e2e_wait(gw_hits(gw) == 2), "%g hits", gw_hits(gw));
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

static bool private_enough(const char *cc)
{
	return cc && (strcasestr(cc, "no-store") ||
		      (strcasestr(cc, "private") && !strcasestr(cc, "public")));
}

Test(setcookie, signed_responses_are_private)
{
	static const struct {
		const char *status, *fields;
	} in[] = {
		{"200 OK", "Cache-Control: public, max-age=60\r\n"},
		{"200 OK", ""},
		{"200 OK", "Expires: Fri, 01 Jan 2038 00:00:00 GMT\r\n"},
		{"200 OK", "Cache-Control: max-age=60\r\nCache-Control: public\r\n"},
		{"301 Moved Permanently", "Location: /\r\n"},
		{"404 Not Found", "Cache-Control: s-maxage=5\r\n"},
		{"200 OK", "Cache-Control: no-store\r\n"},
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);
	struct text reply = {0};
	struct response *r;

	for (size_t i = 0; i < E2E_ARRAY_SIZE(in); i++) {
		struct text all = {0};

		text_clear(&reply);
		text_addf(&reply, "HTTP/1.1 %s\r\n%sSet-Cookie: sid=a\r\nContent-Length: 0\r\n\r\n",
			  in[i].status, in[i].fields);
		backend_reply(be, reply.p);
		r = client_get(c, "/", "");
		for (int n = 0; n < response_count(r, "Cache-Control"); n++)
			text_addf(&all, "%s, ", response_field(r, "Cache-Control", n));
		cr_expect(all.p && private_enough(all.p), "%s -> %s", in[i].fields, r->head);
		if (all.p && !strstr(all.p, "no-store"))
			cr_expect(strcasestr(all.p, "no-cache=\"Set-Cookie\""), "%s", r->head);
		text_free(&all);
	}
	/* What is not signed stays as cacheable as it was. */
	backend_reply(be, "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\n"
			  "Set-Cookie: theme=dark\r\nContent-Length: 0\r\n\r\n");
	r = client_get(c, "/", "");
	cr_expect_str_eq(response_field(r, "Cache-Control", 0), "public, max-age=60");
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(setcookie, early_hints_are_not_signed_twice)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, NULL);
	struct client *c = client_plain(gw);
	struct response *r;

	backend_reply(be, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
			  "HTTP/1.1 200 OK\r\nSet-Cookie: sid=a\r\nContent-Length: 0\r\n\r\n");
	r = client_get(c, "/", "");
	if (r->status == 103)
		r = client_read(c);
	cr_expect_eq(r->status, 200);
	cr_expect_eq(response_count(r, "Set-Cookie"), 2);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

/* ---- report and off ---- */

#define MODE(m) "[ { name: sid, profile: f5-irule, key: shop, bind: [client-ip], mode: " m " } ]"

static const char *const mode_lines[] = {
	"Cookie: a=1; sid=good; sid_HMAC={good}; b=2\r\n",
	"Cookie: a=1; sid=good; b=2\r\n",
	"Cookie: a=1; sid=good; sid_HMAC={evil}; b=2\r\n",
	"Cookie: sid=one; sid=two; sid_HMAC={one}\r\n",
	"Cookie: sid =x;a=1\r\n",
	"Cookie: a=1; =sid=x\r\nCookie: sid=y\r\n",
};

static void heads_without_id(struct backend *be, struct text *out)
{
	for (int i = 0; i < be->nreqs; i++) {
		const char *line = be->reqs[i]->head, *end;

		for (; (end = strstr(line, "\r\n")); line = end + 2)
			if (strncasecmp(line, "X-Request-ID:", 13))
				text_add(out, line, (size_t)(end + 2 - line));
	}
}

static void run_mode(const char *cookies, struct text *out, double *reports)
{
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = cookies});
	struct text line = {0};

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < E2E_ARRAY_SIZE(mode_lines); i++) {
			text_clear(&line);
			token_expand(&line, mode_lines[i]);
			cr_expect_eq(client_once(gw, NULL, line.p), 200);
		}
	}
	/* A conflict of which one cookie stays counts as duplicate/pass, with enforce as well. */
	*reports = gw_metric(gw, "hardtack_verdicts_total", "action=\"report\"", NULL) +
		   gw_verdicts(gw, "duplicate", "pass");
	cr_expect_eq(gw_metric(gw, "hardtack_verdicts_total", "action=\"strip\"", NULL), 0);
	heads_without_id(be, out);
	gw_stop(gw);
	backend_stop(be);
}

Test(mode, report_changes_nothing_and_counts)
{
	e2e_need_gate();
	struct text report = {0}, off = {0};
	double reports, none;

	run_mode(MODE("report"), &report, &reports);
	run_mode(MODE("off"), &off, &none);
	cr_expect_str_eq(report.p, off.p);
	/* Two rounds of five lines that are not simply valid, one covered name in each. */
	cr_expect_eq(reports, 10, "%g reports", reports);
	cr_expect_eq(none, 0);
}

Test(mode, off_signs_nothing)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(be, &(struct gw_spec){.cookies = MODE("off")});
	struct client *c = client_plain(gw);

	backend_reply(be, "HTTP/1.1 200 OK\r\nSet-Cookie: sid=a\r\nContent-Length: 0\r\n\r\n");
	cr_expect_eq(response_count(client_get(c, "/", ""), "Set-Cookie"), 1);
	client_close(c);
	gw_stop(gw);
	backend_stop(be);
}

Test(mode, report_beside_enforce)
{
	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = gw_start(
		be,
		&(struct gw_spec){
			.cookies =
				"[ { name: sid, profile: f5-irule, key: shop, bind: [client-ip] }, "
				"{ name: aux, profile: f5-irule, key: shop, bind: [client-ip], "
				"mode: report } ]"});
	struct text got = {0};

	client_once(gw, NULL, "Cookie: aux=1; sid=2; c=3\r\n");
	head_cookies(backend_last(be)->head, NULL, &got);
	cr_expect_str_eq(got.p, "aux=1|c=3");
	cr_expect(e2e_wait(gw_verdicts(gw, "missing", "report") == 1));
	cr_expect_eq(gw_verdicts(gw, "missing", "strip"), 1);
	gw_stop(gw);
	backend_stop(be);
}
