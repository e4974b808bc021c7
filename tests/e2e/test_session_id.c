/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session ids that the gateway itself issues: who comes without one gets one, the backend sees it at
 * once and the kernel knows it; wrong ones never arrive; a session outlives its secret. Ids are
 * computed here with OpenSSL alone.
 */
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "nodes.h"
#include "tables.h"

TestSuite(session_id, .timeout = E2E_TIMEOUT);

#define RULE(more) "[ { name: sid, profile: session-id, key: shop" more " } ]"
#define LATER 9000000000ull /* the time of an id that is good whenever this runs */
#define ID_LEN 64
#define HANDLE_LEN 24 /* what names the session */

/* ---- ids ---- */

static size_t put_base64(const uint8_t *p, size_t len, char *out)
{
	size_t n = (size_t)EVP_EncodeBlock((uint8_t *)out, p, (int)len);

	for (size_t i = 0; i < n; i++)
		out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i] == '=' ? '*' : out[i];
	return n;
}

static void make_id(const uint8_t data[16], unsigned long long time_s, const char *secret,
		    char ret[ID_LEN + 1])
{
	uint8_t text[16 + 10], mac[20];
	char time_text[24];
	unsigned mac_len;
	size_t n;

	snprintf(time_text, sizeof(time_text), "%llu", time_s);
	cr_assert_eq(strlen(time_text), 10);
	memcpy(text, data, 16);
	memcpy(text + 16, time_text, 10);
	cr_assert(HMAC(EVP_sha1(), secret, (int)strlen(secret), text, sizeof(text), mac, &mac_len));
	n = put_base64(data, 16, ret);
	n += (size_t)sprintf(ret + n, ":%s:", time_text);
	n += put_base64(mac, sizeof(mac), ret + n);
	cr_assert_eq(n, ID_LEN);
}

/* The session of this letter; 16 at a time. */
static const char *id_by(char letter, unsigned long long time_s, const char *secret)
{
	static char ids[16][ID_LEN + 1];
	static unsigned next;
	char *ret = ids[next++ % 16];
	uint8_t data[16];

	make_id(memset(data, letter, sizeof(data)), time_s, secret, ret);
	return ret;
}

static const char *id_of(char letter)
{
	return id_by(letter, LATER, E2E_KEY);
}

/* Is it an id by that secret, not older than a minute? */
static bool is_fresh(const char *id, const char *secret)
{
	char again[ID_LEN + 1], data_text[HANDLE_LEN + 1] = "";
	uint8_t data[18];
	unsigned long long t;

	if (!id || strlen(id) != ID_LEN || sscanf(id + HANDLE_LEN + 1, "%10llu", &t) != 1)
		return false;
	memcpy(data_text, id, HANDLE_LEN);
	for (char *p = data_text; *p; p++)
		*p = *p == '-' ? '+' : *p == '_' ? '/' : *p == '*' ? '=' : *p;
	if (EVP_DecodeBlock(data, (uint8_t *)data_text, HANDLE_LEN) != 18)
		return false;
	make_id(data, t, secret, again);
	return !strcmp(id, again) && t <= (uint64_t)time(NULL) && t + 60 > (uint64_t)time(NULL);
}

/* ---- what goes to and fro ---- */

static struct response *come_with(struct client *c, const char *target, const char *id)
{
	char fields[200] = "";

	if (id)
		snprintf(fields, sizeof(fields), "Cookie: a=1; sid=%s\r\n", id);
	return client_get(c, target, fields);
}

/* The id that the backend saw last, "" if none; two live at a time. */
static const char *seen(struct backend *be)
{
	static char ids[2][200];
	static unsigned next;
	char *ret = ids[next++ % 2];
	struct text got = {0};
	const char *at;

	head_cookies(backend_last(be)->head, NULL, &got);
	at = got.p ? strstr(got.p, "sid=") : NULL;
	snprintf(ret, sizeof(ids[0]), "%.*s", at ? (int)strcspn(at + 4, "|") : 0, at ? at + 4 : "");
	text_free(&got);
	return ret;
}

static bool same_session(const char *a, const char *b)
{
	return !strncmp(a, b, HANDLE_LEN);
}

/* Random ids are in them: no two runs see the same bytes. */
static struct backend *new_backend(void)
{
	struct backend *be = backend_start(NULL);

	be->no_record = true;
	return be;
}

static struct gw *start(struct backend *be, const char *cookies)
{
	return gw_start(be, &(struct gw_spec){.cookies = cookies});
}

static void stop(struct gw *gw, struct backend *be)
{
	cr_expect_eq(gw_metric(gw, "hardtack_requests_total", "code=\"503\"", NULL), 0);
	gw_stop(gw);
	backend_stop(be);
}

static double issued(struct gw *gw)
{
	return gw_metric(gw, "hardtack_cookies_signed_total", "profile=\"session-id\"", NULL);
}

/* ---- issuing ---- */

Test(session_id, who_has_none_gets_one)
{
	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw = start(be, RULE(""));
	struct client *c = client_plain(gw);
	struct response *r = client_get(c, "/", "Cookie: a=1; b=2\r\n");
	char id[200];

	cr_assert_eq(r->status, 200);
	cr_assert(is_fresh(set_cookie_value(r, "sid"), E2E_KEY), "%s", r->head);
	snprintf(id, sizeof(id), "%s", set_cookie_value(r, "sid"));
	cr_expect_str_eq(set_cookie_attributes(r, "sid"), "; Path=/; HttpOnly");
	cr_expect(strcasestr(response_field(r, "Cache-Control", 0), "private"), "%s", r->head);
	cr_expect_str_eq(seen(be), id, "the backend sees another one");
	cr_expect(text_has(backend_last(be)->head, backend_last(be)->head_len,
			   "Cookie: a=1; b=2; sid="));
	/* and it is a hit from now on, on whatever connection */
	for (int i = 0; i < 4; i++) {
		struct client *other = client_plain(gw);

		r = come_with(other, "/", id);
		cr_expect_eq(r->status, 200);
		cr_expect_null(set_cookie_value(r, "sid"));
		cr_expect_str_eq(seen(be), id);
		client_close(other);
	}
	cr_expect(e2e_wait(gw_hits(gw) == 5), "%g", gw_hits(gw));
	if (run_gate_on())
		cr_expect_eq(kernel_count(gw, "hit"), 5, "%g", kernel_count(gw, "hit"));
	cr_expect_eq(issued(gw), 1);
	client_close(c);
	stop(gw, be);
}

Test(session_id, over_tls_it_is_secure_and_without_cookies_it_has_its_own_field)
{
	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw = start(be, RULE(", reissue-attributes: \"Path=/x; Secure; SameSite=Lax\""));
	struct client *c = client_tls(gw);
	struct response *r = client_get(c, "/", "");

	cr_assert(is_fresh(set_cookie_value(r, "sid"), E2E_KEY), "%s", r->head);
	cr_expect_str_eq(set_cookie_attributes(r, "sid"), "; Path=/x; Secure; SameSite=Lax");
	cr_expect_str_eq(seen(be), set_cookie_value(r, "sid"));
	cr_expect_eq(head_count(backend_last(be)->head, "Cookie"), 1);
	client_close(c);
	stop(gw, be);
}

/* Everybody his own, with a body or without. */
Test(session_id, no_two_are_given_the_same)
{
	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw = start(be, RULE(""));
	struct client *c = client_plain(gw);
	char ids[40][200];

	for (int i = 0; i < 40; i++) {
		cr_assert(client_sendf(c, "POST /p HTTP/1.1\r\nHost: gw.test\r\n"
					  "Content-Length: 5\r\n\r\nabcde"));
		cr_assert_eq(client_read(c)->status, 200);
		cr_expect_eq(backend_last(be)->body_len, 5);
		snprintf(ids[i], sizeof(ids[i]), "%s", seen(be));
		cr_expect(is_fresh(ids[i], E2E_KEY), "%s", ids[i]);
		for (int k = 0; k < i; k++)
			cr_assert_not(same_session(ids[i], ids[k]));
	}
	client_close(c);
	stop(gw, be);
}

Test(session_id, only_on_the_paths_that_are_named)
{
	static const struct {
		const char *target;
		bool issues;
	} rows[] = {
		{"/login", true},   {"/login?next=/", true}, {"/app/x", true},	  {"/", false},
		{"/login/", false}, {"/%6cogin", false},     {"/healthz", false}, {"/app", false},
	};

	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw = gw_start(
		be, &(struct gw_spec){.cookies = RULE(", issue: [/login, \"/app/*\", /healthz]"),
				      .site_extra = "    exempt: [/healthz]\n"});
	struct client *c = client_plain(gw);

	for (int with = 0; with < 2; with++) {
		for (size_t i = 0; i < E2E_ARRAY_SIZE(rows); i++) {
			bool exempt = !strcmp(rows[i].target, "/healthz");
			struct response *r = come_with(c, rows[i].target, with ? "nonsense" : NULL);

			cr_assert_eq(r->status, 200);
			cr_expect_eq(is_fresh(set_cookie_value(r, "sid"), E2E_KEY), rows[i].issues,
				     "%s: %s", rows[i].target, r->head);
			cr_expect_eq(is_fresh(seen(be), E2E_KEY), rows[i].issues, "%s",
				     rows[i].target);
			if (!rows[i].issues)
				cr_expect_str_eq(seen(be), with && exempt ? "nonsense" : "");
		}
	}
	client_close(c);
	stop(gw, be);
}

/* ---- judging ---- */

/* Fixed ids, on paths where none is issued: both runs of the suite see the same bytes. */
Test(session_id, requests)
{
	char good[4][300], wrong[300];
	struct row rows[] = {
		{"good", good[0], good[1], NULL},
		{"good, from elsewhere", good[0], good[1], "127.0.0.9"},
		{"its MAC is another's", wrong, "a=1", NULL},
		{"twice", good[2], good[1], NULL},
		{"beside a wrong one", good[3], good[1], NULL},
		{"nonsense", "Cookie: a=1; sid=x; b=2\r\n", "a=1|b=2", NULL},
		{"two of nonsense", "Cookie: a=1; sid=x; sid=y\r\n", "a=1", NULL},
		{"empty", "Cookie: a=1; sid=\r\n", "a=1", NULL},
		{"without a name", "Cookie: a=1; =sid=x\r\n", "a=1", NULL},
		{"expired",
		 "Cookie: a=1; sid=AAECAwQFBgcICQoLDA0ODw**:1000000000:"
		 "AAAAAAAAAAAAAAAAAAAAAAAAAAA*\r\n",
		 "a=1", NULL},
		{"of another case", "Cookie: SID=x; a=1\r\n", "SID=x|a=1", NULL},
		{"none", "Cookie: a=1\r\n", "a=1", NULL},
		{"with siblings of nobody", "Cookie: a=1; sid_HMAC=x; HTSIG_sid=y\r\n",
		 "a=1|sid_HMAC=x|HTSIG_sid=y", NULL},
	};

	e2e_need_gate();
	struct backend *be = backend_start(NULL);
	struct gw *gw = start(be, RULE(", issue: [/login]"));

	snprintf(good[0], sizeof(good[0]), "Cookie: a=1; sid=%s\r\n", id_of('s'));
	snprintf(good[1], sizeof(good[1]), "a=1|sid=%s", id_of('s'));
	snprintf(good[2], sizeof(good[2]), "Cookie: a=1; sid=%s\r\nCookie: sid=%s\r\n", id_of('s'),
		 id_of('s'));
	snprintf(good[3], sizeof(good[3]), "Cookie: a=1; sid=x; sid=%s; sid=y\r\n", id_of('s'));
	snprintf(wrong, sizeof(wrong), "Cookie: a=1; sid=%.36s%s\r\n", id_of('s'), id_of('t') + 36);
	expect_rows(gw, be, rows, E2E_ARRAY_SIZE(rows), NULL);
	cr_expect_eq(gw_verdicts(gw, "expired", "strip"), 2);
	cr_expect_eq(gw_verdicts(gw, "forged", "strip"), 6, "%g",
		     gw_verdicts(gw, "forged", "strip"));
	cr_expect_eq(gw_verdicts(gw, "missing", "strip"), 2);
	cr_expect(gw_logged(gw, "cookie=sid reason=forged"));
	cr_expect_not(gw_logged(gw, id_of('s')), "an id is in the log");
	cr_expect_eq(issued(gw), 0);
	stop(gw, be);
}

/* What is wrong goes, and is replaced in the same request. */
Test(session_id, a_wrong_one_is_replaced)
{
	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw = start(be, RULE(", expire-stripped: true"));
	const char *const wrong[] = {"x", "", id_by('s', (uint64_t)time(NULL) - 200000, E2E_KEY),
				     id_by('s', LATER, "another secret")};
	struct client *c = client_plain(gw);

	for (size_t i = 0; i < E2E_ARRAY_SIZE(wrong); i++) {
		struct response *r = come_with(c, "/", wrong[i]);
		char id[200];

		cr_assert_eq(r->status, 200);
		cr_expect_eq(response_count(r, "Set-Cookie"), 1, "%s", r->head);
		cr_assert(is_fresh(set_cookie_value(r, "sid"), E2E_KEY), "%zu: %s", i, r->head);
		snprintf(id, sizeof(id), "%s", set_cookie_value(r, "sid"));
		cr_expect_str_eq(seen(be), id);
		cr_expect_not(same_session(id, wrong[i]), "%zu", i);
		r = come_with(c, "/", id);
		cr_expect_null(set_cookie_value(r, "sid"));
		cr_expect_str_eq(seen(be), id);
	}
	cr_expect_eq(gw_verdicts(gw, "expired", "strip"), 1);
	cr_expect_eq(gw_verdicts(gw, "forged", "strip"), 2);
	cr_expect_eq(gw_verdicts(gw, "missing", "strip"), 1);
	cr_expect_eq(issued(gw), 4);
	client_close(c);
	stop(gw, be);
}

/* By the kernel's clock, too: a hit until then, and not one request longer. */
Test(session_id, it_ends)
{
	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw = start(be, RULE(", lifetime: 3s"));
	struct client *c = client_plain(gw);
	int64_t end = run_now_ms() + run_deadline_ms();
	struct response *r = client_get(c, "/", "");
	int rounds = 0, ended = 0;
	char id[200];

	cr_assert(set_cookie_value(r, "sid"));
	/* one that was over before we came back says nothing; the one in its place is as good */
	while (!rounds) {
		snprintf(id, sizeof(id), "%s", set_cookie_value(r, "sid"));
		for (;; rounds++) {
			cr_assert_lt(run_now_ms(), end, "no end");
			r = come_with(c, "/", id);
			if (set_cookie_value(r, "sid"))
				break;
			cr_expect_str_eq(seen(be), id);
			run_pause();
		}
		ended++;
		cr_expect_not(same_session(set_cookie_value(r, "sid"), id));
	}
	cr_expect_eq(gw_verdicts(gw, "expired", "strip"), ended);
	client_close(c);
	stop(gw, be);
}

/* ---- the backend's part ---- */

Test(session_id, a_backend_can_end_it_but_not_make_one)
{
	const char *const own[4] = {"sid=mine; Path=/", "other=1"};
	const char *const gone[4] = {"sid=; Path=/; Max-Age=0"};

	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw = start(be, RULE(""));
	struct client *c = client_plain(gw);
	struct response *r = answer_with(c, be, own, "");
	char fields[200];

	cr_expect_eq(response_count(r, "Set-Cookie"), 2, "%s", r->head);
	cr_expect(is_fresh(set_cookie_value(r, "sid"), E2E_KEY), "%s", r->head);
	cr_expect_str_eq(set_cookie_value(r, "other"), "1");
	snprintf(fields, sizeof(fields), "Cookie: sid=%s\r\n", id_of('s'));
	r = answer_with(c, be, own, fields);
	cr_expect_eq(response_count(r, "Set-Cookie"), 1, "%s", r->head);
	cr_expect_null(set_cookie_value(r, "sid"));
	cr_expect_eq(gw_metric(gw, "hardtack_cookies_unsigned_total", "reason=\"issuer\"", NULL),
		     2);
	cr_expect(gw_logged(gw, "issued by the gateway alone"));
	for (int with = 0; with < 2; with++) { /* nor is he given another one with it */
		r = answer_with(c, be, gone, with ? fields : "");
		cr_expect_eq(response_count(r, "Set-Cookie"), 1, "%s", r->head);
		cr_expect_str_empty(set_cookie_value(r, "sid"));
	}
	client_close(c);
	stop(gw, be);
}

/* ---- secrets and time ---- */

/* Before enforce-after, cookies that never were an id go on; who has none gets one already. */
Test(session_id, rollout)
{
	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw = start(be, RULE(", enforce-after: 2199-01-01"));
	struct client *c = client_plain(gw);
	struct response *r;

	for (int i = 0; i < 3; i++) {
		r = come_with(c, "/", "of-the-application");
		cr_assert_eq(r->status, 200);
		cr_expect_null(set_cookie_value(r, "sid"));
		cr_expect_str_eq(seen(be), "of-the-application");
	}
	cr_expect_gt(gw_verdicts(gw, "missing", "grace"), 0);
	r = come_with(c, "/", id_by('s', LATER, "another secret"));
	cr_expect(is_fresh(seen(be), E2E_KEY), "a wrong id is none of before");
	r = client_get(c, "/", "");
	cr_expect(is_fresh(set_cookie_value(r, "sid"), E2E_KEY));
	client_close(c);
	stop(gw, be);
}

Test(session_id, report_changes_nothing)
{
	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw = start(be, RULE(", mode: report"));
	struct client *c = client_plain(gw);
	const char *const own[4] = {"sid=mine; Path=/"};
	struct response *r = client_get(c, "/", "");

	cr_expect_null(set_cookie_value(r, "sid"));
	cr_expect_str_empty(seen(be));
	r = come_with(c, "/", "wrong");
	cr_expect_null(set_cookie_value(r, "sid"));
	cr_expect_str_eq(seen(be), "wrong");
	for (int i = 0; i < 2; i++) {
		come_with(c, "/", id_of('s'));
		cr_expect_str_eq(seen(be), id_of('s'));
	}
	r = answer_with(c, be, own, "");
	cr_expect_str_eq(set_cookie_value(r, "sid"), "mine");
	cr_expect(e2e_wait(gw_verdicts(gw, "forged", "report") == 1));
	cr_expect(e2e_wait(gw_passed(gw) == 2), "%g", gw_passed(gw));
	cr_expect_eq(issued(gw), 0);
	client_close(c);
	stop(gw, be);
}

static void replace_key(struct gw *gw, const char *secret)
{
	struct text out = {0};

	gw_write(gw, "shop.key", secret, 0600);
	cr_assert_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	text_free(&out);
}

/*
 * The key rotates: whoever comes with an id of the secret before keeps his session and leaves with
 * another id of it. The request that brings the old one shows it to the backend, too; the next one
 * shows the new one, and is a hit.
 */
Test(session_id, a_session_outlives_its_secret)
{
	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw = start(be, RULE(""));
	struct client *c = client_plain(gw);
	const char *const sets[4] = {"other=1"};
	char first[200], second[200];
	struct response *r;
	double hits;

	gw_edit(gw, "file: shop.key", "file: shop.key, lifetime: 1h");
	replace_key(gw, E2E_KEY);
	r = client_get(c, "/", "");
	snprintf(first, sizeof(first), "%s", set_cookie_value(r, "sid"));
	cr_assert(is_fresh(first, E2E_KEY), "%s", r->head);
	for (int i = 0; i < 3; i++) {
		r = come_with(c, "/", first);
		cr_expect_null(set_cookie_value(r, "sid"));
	}
	replace_key(gw, "the next secret");
	r = come_with(c, "/", first);
	cr_expect_str_eq(seen(be), first, "this request is still of the old one");
	cr_assert(set_cookie_value(r, "sid"), "not issued anew");
	snprintf(second, sizeof(second), "%s", set_cookie_value(r, "sid"));
	cr_expect(is_fresh(second, "the next secret"), "%s", second);
	cr_expect(same_session(first, second), "%s is another session than %s", second, first);
	cr_expect_str_eq(set_cookie_attributes(r, "sid"), "; Path=/; HttpOnly");
	cr_expect_str_neq(first, second);
	/* and everything else of the answer stays */
	char fields[200];

	snprintf(fields, sizeof(fields), "Cookie: sid=%s\r\n", first);
	r = answer_with(c, be, sets, fields);
	cr_expect_str_eq(set_cookie_value(r, "other"), "1");
	hits = gw_hits(gw);
	for (int i = 0; i < 3; i++) {
		r = come_with(c, "/", second);
		cr_expect_null(set_cookie_value(r, "sid"));
		cr_expect_str_eq(seen(be), second);
	}
	cr_expect_eq(gw_hits(gw) - hits, 3, "the kernel was not told of it");
	/* who has both, by another Path, has one session */
	snprintf(fields, sizeof(fields), "Cookie: sid=%s; sid=%s\r\n", first, second);
	r = client_get(c, "/", fields);
	cr_expect_null(set_cookie_value(r, "sid"));
	cr_expect_str_eq(seen(be), second);
	cr_expect_eq(gw_verdicts(gw, "forged", "strip"), 0);
	cr_expect_eq(gw_verdicts(gw, "expired", "strip"), 0);
	client_close(c);
	stop(gw, be);
}

/* Without a `lifetime` the old secret is gone with its file: its sessions are over. */
Test(session_id, a_secret_that_is_gone)
{
	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw = start(be, RULE(""));
	struct client *c = client_plain(gw);
	char id[200];

	for (int i = 0; i < 2; i++)
		come_with(c, "/", id_of('s'));
	cr_expect_str_eq(seen(be), id_of('s'));
	replace_key(gw, "the next secret");
	come_with(c, "/", id_of('s'));
	snprintf(id, sizeof(id), "%s", seen(be));
	cr_expect(is_fresh(id, "the next secret"), "%s", id);
	cr_expect_not(same_session(id, id_of('s')));
	cr_expect_eq(gw_verdicts(gw, "forged", "strip"), 1);
	client_close(c);
	stop(gw, be);
}

/* Whatever the session's ids were called since: all of them are over. */
Test(session_id, revoked_is_the_session)
{
	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw = start(be, RULE(""));
	struct client *c = client_plain(gw);
	struct text out = {0}, cookie = {0};

	for (int i = 0; i < 2; i++) {
		come_with(c, "/", id_of('s'));
		cr_expect_str_eq(seen(be), id_of('s'));
	}
	text_addf(&cookie, "sid=%s", id_by('s', LATER - 5, E2E_KEY));
	cr_assert_eq(run_command(&out, (const char *const[]){run_ctl(), "-s", gw->control, "revoke",
							     "--cookie", cookie.p, NULL}),
		     0, "%s", out.p);
	come_with(c, "/", id_of('s'));
	cr_expect(is_fresh(seen(be), E2E_KEY), "he was a hit a moment ago");
	cr_expect_not(same_session(seen(be), id_of('s')));
	come_with(c, "/", id_of('t'));
	cr_expect_str_eq(seen(be), id_of('t'));
	cr_expect(e2e_wait(gw_verdicts(gw, "revoked", "strip") == 1));
	text_free(&out);
	text_free(&cookie);
	client_close(c);
	stop(gw, be);
}

/* The application takes the cookie over: ids still count, and are signed like any other value. */
Test(session_id, from_ids_to_native)
{
	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw = start(be, "[ { name: sid, key: shop, accept: [session-id] } ]");
	struct client *c = client_plain(gw);
	struct response *r;
	char fields[800];
	struct native n;

	for (int i = 0; i < 3; i++) {
		r = come_with(c, "/", id_of('s'));
		cr_assert_eq(r->status, 200);
		cr_expect_str_eq(seen(be), id_of('s'));
	}
	r = come_with(c, "/", id_of('u'));
	cr_assert(sign_is_native(set_cookie_value(r, "HTSIG_sid"), "sid", id_of('u'), NULL, &n),
		  "%s", r->head);
	snprintf(fields, sizeof(fields), "Cookie: sid=%s; HTSIG_sid=%s\r\n", id_of('u'),
		 set_cookie_value(r, "HTSIG_sid"));
	for (int i = 0; i < 2; i++) {
		r = client_get(c, "/", fields);
		cr_expect_null(set_cookie_value(r, "HTSIG_sid"));
		cr_expect_str_eq(seen(be), id_of('u'));
	}
	snprintf(fields, sizeof(fields), "Cookie: sid=%s; HTSIG_sid=wrong\r\n", id_of('v'));
	client_get(c, "/", fields);
	cr_expect_str_eq(seen(be), id_of('v'));
	client_get(c, "/", "Cookie: sid=anything\r\n");
	cr_expect_str_empty(seen(be));
	cr_expect_null(set_cookie_value(client_get(c, "/", ""), "sid"), "nobody issues here");
	client_close(c);
	stop(gw, be);
}

/* A head that has no room for an id is refused as any other that our fields make too long. */
Test(session_id, no_room)
{
	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw =
		gw_start(be, &(struct gw_spec){.cookies = RULE(""), .limits = "{ head: 2048 }"});
	int passed = 0, refused = 0;

	for (int n = 1600; n < 2000; n += 20) {
		struct client *c = client_plain(gw);
		struct text fields = {0};
		struct response *r;

		text_addf(&fields, "X-Long: ");
		for (int i = 0; i < n; i++)
			text_add(&fields, "x", 1);
		text_addf(&fields, "\r\n");
		r = client_get(c, "/", fields.p);
		passed += r->status == 200;
		refused += r->status == 431;
		if (r->status == 200) {
			cr_expect(is_fresh(seen(be), E2E_KEY));
			cr_expect_leq(backend_last(be)->head_len, 2048);
		}
		cr_expect_eq(passed + refused, (n - 1600) / 20 + 1, "%d: %d", n, r->status);
		text_free(&fields);
		client_close(c);
	}
	cr_expect(passed && refused, "%d passed, %d refused", passed, refused);
	stop(gw, be);
}

Test(session_id, websocket)
{
	e2e_need_gate();
	struct backend *be = new_backend();
	struct gw *gw = start(be, RULE(""));
	struct client *c = client_plain(gw);
	struct response *r;

	backend_reply(be, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
			  "Upgrade: websocket\r\n\r\n");
	r = client_get(c, "/", "Connection: upgrade\r\nUpgrade: websocket\r\n");
	cr_assert_eq(r->status, 101);
	cr_expect(is_fresh(set_cookie_value(r, "sid"), E2E_KEY), "%s", r->head);
	cr_expect_str_eq(seen(be), set_cookie_value(r, "sid"));
	client_close(c);
	stop(gw, be);
}

/* ---- a pool shared with gateways of the old kind ---- */

/* As they make one: 88 characters, and since when. */
static void old_secret(uint8_t letter, long long born_s, char secret[89], char value[128])
{
	uint8_t chance[64];

	memset(chance, letter, sizeof(chance));
	EVP_EncodeBlock((uint8_t *)secret, chance, sizeof(chance));
	snprintf(value, 128, "%s:%lld", secret, born_s);
}

/* What memcached says is enough to make an id that the other kind takes, both ways. */
Test(session_id, a_pool_shared_with_old_gateways)
{
	e2e_need_gate();
	long long now_s = (long long)time(NULL);
	char current[89], previous[89], value[128], keys[200], id[ID_LEN + 1];
	struct memcached store = {0};
	struct backend *be = new_backend();
	struct response *r;
	struct client *c;
	struct gw *gw;

	memcached_start(&store);
	old_secret('a', now_s - 1000, current, value);
	memcached_put(&store, "BPS1", value);
	old_secret('b', now_s - 90000, previous, value);
	memcached_put(&store, "BPS2", value);
	snprintf(keys, sizeof(keys),
		 "  - { name: ring, memcached: [127.0.0.1:%d], directory: copy, poll-every: 100ms, "
		 "rotate-every: 0s }\n",
		 store.port);
	gw = gw_start(be, &(struct gw_spec){
				  .cookies = "[ { name: sid, profile: session-id, key: ring } ]",
				  .keys = keys});
	c = client_plain(gw);
	/* ours is good for them ... */
	r = client_get(c, "/", "");
	cr_expect(is_fresh(set_cookie_value(r, "sid"), current), "%s", r->head);
	/* ... and theirs for us: by the current one as it is, by the previous one made anew */
	snprintf(id, sizeof(id), "%s", id_by('x', (unsigned long long)now_s - 100, current));
	r = come_with(c, "/", id);
	cr_expect_null(set_cookie_value(r, "sid"));
	cr_expect_str_eq(seen(be), id);
	snprintf(id, sizeof(id), "%s", id_by('y', (unsigned long long)now_s - 100000, previous));
	r = come_with(c, "/", id);
	cr_expect_str_eq(seen(be), id);
	cr_assert(set_cookie_value(r, "sid"), "not issued anew");
	cr_expect(same_session(set_cookie_value(r, "sid"), id));
	cr_expect(is_fresh(set_cookie_value(r, "sid"), current));
	/* when we rotate they find what they need: who signs, and who signed */
	cr_expect(ring_rotates(gw));
	snprintf(value, sizeof(value), "%.88s", memcached_get(&store, "BPS1"));
	cr_expect_str_neq(value, current);
	r = client_get(c, "/", "");
	cr_expect(is_fresh(set_cookie_value(r, "sid"), value), "%s", r->head);
	cr_expect_eq(strncmp(memcached_get(&store, "BPS2"), current, 88), 0);
	client_close(c);
	stop(gw, be);
	memcached_kill(&store);
}
