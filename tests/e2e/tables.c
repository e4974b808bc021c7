/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of requests and responses, and what must come of them. See tables.h.
 */
#include "tables.h"

#include <criterion/criterion.h>
#include <string.h>

static void expect_row(struct gw *gw, struct backend *be, const struct row *r,
		       const struct style *style)
{
	struct text line = {0}, want = {0}, got = {0};
	int before = backend_count(be);

	sign_expand(&line, r->fields, style);
	sign_expand(&want, r->want, style);
	cr_expect_eq(client_once(gw, r->from, line.p), 200, "%s: refused", r->name);
	if (backend_count(be) > before) {
		head_cookies(backend_last(be)->head, NULL, &got);
		cr_expect_str_eq(got.p, want.p, "%s: got %s, want %s", r->name, got.p, want.p);
	}
	text_free(&line);
	text_free(&want);
	text_free(&got);
}

void expect_rows(struct gw *gw, struct backend *be, const struct row *rows, size_t n,
		 const struct style *style)
{
	for (size_t i = 0; i < 2 * n; i++)
		expect_row(gw, be, &rows[i % n], style);
}

struct response *answer_with(struct client *c, struct backend *be, const char *const set[4],
			     const char *fields)
{
	struct text reply = {0};
	struct response *r;

	text_addf(&reply, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
	for (int i = 0; i < 4 && set[i]; i++)
		text_addf(&reply, "Set-Cookie: %s\r\n", set[i]);
	text_addf(&reply, "\r\n");
	backend_reply(be, reply.p);
	r = client_get(c, "/", fields);
	backend_reply(be, NULL);
	text_free(&reply);
	cr_assert_eq(r->status, 200);
	return r;
}

static bool has_set_cookie(const struct response *r, const char *line)
{
	for (int i = 0; i < response_count(r, "Set-Cookie"); i++)
		if (!strcmp(response_field(r, "Set-Cookie", i), line))
			return true;
	return false;
}

void expect_set_row(struct gw *gw, struct backend *be, const struct set_row *row,
		    const struct style *style)
{
	struct client *c = client_plain(gw);
	struct response *r = answer_with(c, be, row->set, "");
	int n = 0;

	for (int i = 0; i < 4; i++) {
		struct text want = {0};

		n += (row->set[i] != NULL) + (row->want[i] != NULL);
		if (row->set[i])
			cr_expect(has_set_cookie(r, row->set[i]), "%s: %s is gone", row->name,
				  row->set[i]);
		if (!row->want[i])
			continue;
		sign_expand(&want, row->want[i], style);
		cr_expect(has_set_cookie(r, want.p), "%s: no %s in\n%s", row->name, want.p,
			  r->head);
		text_free(&want);
	}
	cr_expect_eq(response_count(r, "Set-Cookie"), n, "%s:\n%s", row->name, r->head);
	client_close(c);
}

double kernel_count(struct gw *gw, const char *verdict)
{
	char label[64];

	snprintf(label, sizeof(label), "verdict=\"%s\"", verdict);
	return gw_metric(gw, "hardtack_verdicts_total", "where=\"kernel\"", label, NULL);
}
