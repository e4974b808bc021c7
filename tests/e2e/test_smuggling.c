/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request smuggling: the corpus of smuggling_cases.c through the gateway to nginx, Apache and Node.
 * What the gateway framed (its access log), what the server behind it framed (its own log) and what
 * really is in the bytes (the corpus) must be one and the same, request by request; nobody gets
 * somebody else's answer; no forged cookie gets through.
 */
#include <criterion/criterion.h>
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "harness.h"
#include "origin.h"
#include "smuggling.h"

TestSuite(request_smuggling, .timeout = E2E_TIMEOUT);

enum { MAX_WANTS = 8, BROKEN_BODY = -2 };

/* A request that is in a case's bytes, or that the gateway says it has forwarded. */
struct request {
	char *id, *method, *target;
	long length;
	int status, seen; /* seen: how often the server behind has it */
};

struct run {
	enum origin_kind kind;
	struct origin *origin;
	struct gw *gw;
	struct client *victim; /* another client, on the same pooled connections */
	struct text sent[512];
	struct request *forwarded;
	struct origin_frame *frames;
	size_t nforwarded, nframes;
	int refused_on_sight, odd;
};

/* ---- what is sent ---- */

static void number_put(char *p, size_t len, size_t number)
{
	char digits[8];

	snprintf(digits, sizeof(digits), "%03zu", number);
	for (size_t i = 0; i + 3 <= len; i++)
		if (!memcmp(p + i, "###", 3))
			memcpy(p + i, digits, 3);
}

static void fields_expand(struct text *out, const char *pattern)
{
	const char *at = strstr(pattern, "{#");
	struct text t = {0};

	if (!at) {
		token_expand(out, pattern);
		return;
	}
	text_add(&t, pattern, (size_t)(at - pattern));
	for (int i = 0, n = atoi(at + 2); i < n; i++)
		text_addf(&t, "X-%d: y\r\n", i);
	text_addf(&t, "%s", strchr(at, '}') + 1);
	token_expand(out, t.p);
	text_free(&t);
}

static void case_bytes(const struct smuggling_case *c, size_t number, struct text *out)
{
	static const char innocent[] = "GET /###i HTTP/1.1\r\nHost: gw.test\r\n"
				       "Connection: close\r\n\r\n";

	if (c->len)
		text_add(out, c->raw, c->len);
	else
		fields_expand(out, c->raw);
	if ((c->end & SMUGGLE_HOW) != SMUGGLE_STARVES)
		text_add(out, innocent, sizeof(innocent) - 1);
	number_put(out->p, out->len, number);
}

static size_t case_wants(const struct smuggling_case *c, size_t number, struct request *wants)
{
	struct text t = {0};
	char *list, *one;
	size_t n = 0;

	if (c->want) {
		token_expand(&t, c->want);
		if (!(c->end & SMUGGLE_HOW))
			text_addf(&t, "|GET /###i 0");
		text_addf(&t, "|");
	}
	text_addf(&t, "GET /###v 0");
	number_put(t.p, t.len, number);
	for (list = t.p; (one = strsep(&list, "|")); n++) {
		cr_assert_lt(n, (size_t)MAX_WANTS);
		wants[n] = (struct request){.method = strsep(&one, " "),
					    .target = strsep(&one, " "),
					    .length = *one == '!' ? BROKEN_BODY : atol(one)};
	}
	return n;
}

/* ---- the clients ---- */

static void read_all(struct client *c, struct text *out)
{
	char buf[16384];
	ssize_t n;

	text_add(out, "", 0);
	while ((n = client_recv(c, buf, sizeof(buf))) > 0)
		text_add(out, buf, (size_t)n);
}

/* Every answer from behind is to a request of this very client, in the order of its requests. */
static void answers_check(const struct smuggling_case *c, const struct request *wants, size_t n,
			  const struct text *got)
{
	const char *at = got->p;
	char line[8192], want[8192];
	size_t i = 0;

	/* A backend's refusal has no X-Seen. */
	snprintf(want, sizeof(want), "\nX-Seen: %s", n ? wants[0].method : "");
	if (c->end & SMUGGLE_ODD && !strstr(at, want))
		i++;
	if (!c->want)
		cr_expect(!strncmp(got->p, "HTTP/1.1 4", 10) || !strncmp(got->p, "HTTP/1.1 5", 10),
			  "%s: not refused: %.200s", c->name, got->p);
	while ((at = strcasestr(at, "\nX-Seen: "))) {
		at += 9;
		snprintf(line, sizeof(line), "%.*s", (int)strcspn(at, "\r\n"), at);
		if (strstr(line, " HTTP/1."))
			*strstr(line, " HTTP/1.") = 0;
		snprintf(want, sizeof(want), "%s %s", i < n ? wants[i].method : "nothing",
			 i < n ? wants[i].target : "");
		cr_expect_str_eq(line, want, "%s: answer %zu is to %s, not %s", c->name, i, line,
				 want);
		i++;
	}
	if (c->want && wants[0].length != BROKEN_BODY)
		cr_expect_eq(i, n, "%s: %zu answers to %zu requests: %.400s", c->name, i, n,
			     got->p);
	if (n && wants[n - 1].length == BROKEN_BODY)
		cr_expect_eq(i, 0, "%s: an answer to what never ended", c->name);
}

static void victim_check(struct run *run, const struct smuggling_case *c, const struct request *w)
{
	struct response *r = client_get(run->victim, w->target, "");
	const char *seen = response_field(r, "X-Seen", 0);
	char want[64];

	snprintf(want, sizeof(want), "GET %s", w->target);
	cr_expect(seen && !strncmp(seen, want, strlen(want)), "%s: the next client got %d, %s",
		  c->name, r->status, seen ? seen : "nothing");
	if (!run->victim->eof && r->status)
		return;
	client_close(run->victim);
	run->victim = client_plain(run->gw);
}

static void case_send(struct run *run, size_t number)
{
	const struct smuggling_case *c = &smuggling_cases[number];
	struct client *attacker = client_plain(run->gw);
	struct request wants[MAX_WANTS];
	struct text got = {0};
	size_t n = case_wants(c, number, wants);
	int how = c->end & SMUGGLE_HOW;

	case_bytes(c, number, &run->sent[number]);
	client_send(attacker, run->sent[number].p, run->sent[number].len);
	if (how == SMUGGLE_STARVES || how == SMUGGLE_BROKEN)
		shutdown(attacker->fd, SHUT_WR);
	read_all(attacker, &got);
	cr_expect(attacker->eof, "%s: the connection stays open", c->name);
	answers_check(c, wants, n - 1, &got);
	client_close(attacker);
	victim_check(run, c, &wants[n - 1]);
	text_free(&got);
}

/* ---- what was framed ---- */

/* "/123" somewhere in a target says to which case it belongs. */
static size_t case_of(const char *target)
{
	for (const char *p = target; (p = strchr(p, '/')); p++)
		if (isdigit((unsigned char)p[1]) && isdigit((unsigned char)p[2]) &&
		    isdigit((unsigned char)p[3]))
			return (size_t)atoi(p + 1);
	return SIZE_MAX;
}

/* An empty line in front of a request counts as part of its head. */
static size_t empty_line_before(const char *start, const char *at)
{
	if (at - start == 2 || (at - start >= 6 && !memcmp(at - 6, "\r\n\r\n\r\n", 6)))
		return memcmp(at - 2, "\r\n", 2) ? 0 : 2;
	return 0;
}

/* Bytes of the head in what was sent, or 0: it is not in there. */
static size_t head_len(const struct text *sent, const char *method, const char *target)
{
	struct text line = {0};
	const char *at, *end;
	size_t len = 0;

	text_addf(&line, "%s HTTP/1.", target);
	at = memmem(sent->p, sent->len, line.p, line.len);
	end = at ? memmem(at, sent->len - (size_t)(at - sent->p), "\r\n\r\n", 4) : NULL;
	while (end && at >= sent->p && strncmp(at, method, strlen(method)))
		at--;
	if (end && at >= sent->p)
		len = (size_t)(end + 4 - at) + empty_line_before(sent->p, at);
	text_free(&line);
	return len;
}

static bool forwarded_parse(struct run *run, const char *line, struct request *f)
{
	json_t *o = json_loads(line, 0, NULL);
	size_t number, head;

	cr_assert(o, "what line is this: %s", line);
	if (!json_object_get(o, "upstream"))
		return false;
	f->id = strdup(json_string_value(json_object_get(o, "request_id")));
	f->method = strdup(json_string_value(json_object_get(o, "method")));
	f->target = strdup(json_string_value(json_object_get(o, "target")));
	f->status = (int)json_integer_value(json_object_get(o, "status"));
	f->length = (long)json_integer_value(json_object_get(o, "bytes_in"));
	number = case_of(f->target);
	cr_assert_lt(number, smuggling_count, "whose is %s?", f->target);
	head = head_len(&run->sent[number], f->method, f->target);
	/* The victim's is not in there; it has no body. A very long target is logged cut short. */
	f->length = head ? f->length - (long)head : 0;
	json_decref(o);
	return true;
}

static void forwarded_read(struct run *run)
{
	char *text = text_file(run->gw->access_path, NULL), *line;

	while (text && (line = strsep(&text, "\n"))) {
		if (!*line)
			continue;
		run->forwarded = realloc(run->forwarded,
					 (run->nforwarded + 1) * sizeof(*run->forwarded));
		memset(&run->forwarded[run->nforwarded], 0, sizeof(*run->forwarded));
		if (forwarded_parse(run, line, &run->forwarded[run->nforwarded]))
			run->nforwarded++;
	}
}

/* Targets are compared without the scheme and host of an absolute one. */
static const char *path_of(const char *target)
{
	const char *p = strstr(target, "://");

	return p && p != target && isalpha((unsigned char)*target) ? strchr(p + 3, '/') : target;
}

static bool same_target(const char *logged, const char *target)
{
	size_t len = strlen(logged);

	logged = path_of(logged);
	len = strlen(logged);
	if (len > 1000 && !strcmp(logged + len - 3, "..."))
		return !strncmp(logged, target, len - 3);
	return !strcmp(logged, target);
}

static void corpus_against_forwarded(struct run *run, size_t number)
{
	const struct smuggling_case *c = &smuggling_cases[number];
	struct request wants[MAX_WANTS];
	size_t n = case_wants(c, number, wants);

	for (size_t i = 0; i < run->nforwarded; i++) {
		struct request *f = &run->forwarded[i];
		size_t w;

		if (case_of(f->target) != number)
			continue;
		for (w = 0; w < n; w++)
			if (!wants[w].seen && !strcmp(f->method, wants[w].method) &&
			    same_target(f->target, wants[w].target))
				break;
		cr_expect_lt(w, n, "%s: %s %s was never sent", c->name, f->method, f->target);
		if (w == n)
			continue;
		wants[w].seen++;
		if (wants[w].length == BROKEN_BODY)
			cr_expect_geq(f->status, 400, "%s: %d for half a request", c->name,
				      f->status);
		else
			cr_expect_eq(f->length, wants[w].length, "%s: %s %s: a body of %ld",
				     c->name, f->method, f->target, f->length);
		if (wants[w].length == BROKEN_BODY)
			f->length = BROKEN_BODY;
	}
	for (size_t w = 0; w < n; w++)
		cr_expect(wants[w].seen || wants[w].length == BROKEN_BODY,
			  "%s: %s %s is not in the access log", c->name, wants[w].method,
			  wants[w].target);
}

static struct request *forwarded_by_id(struct run *run, const char *id)
{
	for (size_t i = 0; i < run->nforwarded; i++)
		if (!strcmp(run->forwarded[i].id, id))
			return &run->forwarded[i];
	return NULL;
}

static void frame_against_forwarded(struct run *run, const struct origin_frame *o)
{
	struct request *f = forwarded_by_id(run, o->id);

	cr_expect_not(strstr(o->cookies, "EVIL"), "%s %s: %s", o->method, o->target, o->cookies);
	if (!f && !strcmp(o->id, "-") && !o->complete) {
		run->refused_on_sight++;
		return;
	}
	cr_expect(f, "nobody forwarded this: %s %s %s", o->id, o->method, o->target);
	if (!f)
		return;
	f->seen++;
	cr_expect_str_eq(o->method, f->method, "%s %s", o->method, o->target);
	cr_expect(same_target(f->target, o->target), "%s is %s", f->target, o->target);
	if (f->length == BROKEN_BODY)
		cr_expect_not(o->complete, "%s %s is complete", o->method, o->target);
	else if (o->length >= 0)
		cr_expect_eq(o->length, f->length, "%s %s: bodies of %ld and %ld", o->method,
			     o->target, f->length, o->length);
}

static void run_compare(struct run *run)
{
	size_t number;

	for (number = 0; number < smuggling_count; number++)
		corpus_against_forwarded(run, number);
	for (size_t i = 0; i < run->nframes; i++)
		frame_against_forwarded(run, &run->frames[i]);
	for (size_t i = 0; i < run->nforwarded; i++) {
		struct request *f = &run->forwarded[i];
		bool odd = smuggling_cases[case_of(f->target)].end & SMUGGLE_ODD;

		run->odd += !f->seen && odd;
		cr_expect(f->seen == 1 || (!f->seen && (odd || f->length == BROKEN_BODY)),
			  "%s %s was seen %d times", f->method, f->target, f->seen);
	}
	cr_expect_leq(run->refused_on_sight, run->odd,
		      "the server refused %d heads that it should understand",
		      run->refused_on_sight - run->odd);
	fprintf(stderr,
		"smuggling: %s: %zu cases, %zu requests forwarded, %zu seen behind, "
		"%d refused there on sight\n",
		run_test_name(), smuggling_count, run->nforwarded, run->nframes,
		run->refused_on_sight);
}

static void run_corpus(enum origin_kind kind)
{
	struct run *run = calloc(1, sizeof(*run));
	char upstream[32];

	run->kind = kind;
	run->origin = origin_start(kind);
	snprintf(upstream, sizeof(upstream), "127.0.0.1:%d", run->origin->port);
	run->gw = gw_start(NULL, &(struct gw_spec){.upstreams = upstream, .own = true});
	run->victim = client_plain(run->gw);
	cr_assert_lt(smuggling_count, E2E_ARRAY_SIZE(run->sent));
	for (size_t number = 0; number < smuggling_count; number++)
		case_send(run, number);
	client_close(run->victim);
	gw_terminate(run->gw);
	gw_end(run->gw);
	origin_stop(run->origin);
	forwarded_read(run);
	run->frames = origin_frames(run->origin, &run->nframes);
	run_compare(run);
	gw_stop(run->gw);
}

#define NEED_ORIGIN(kind, name)                                                                    \
	do {                                                                                       \
		e2e_need_gate();                                                                   \
		if (!origin_have(kind))                                                            \
			e2e_skip("there is no " name);                                             \
	} while (0)

Test(request_smuggling, nginx)
{
	NEED_ORIGIN(ORIGIN_NGINX, "nginx");
	run_corpus(ORIGIN_NGINX);
}

Test(request_smuggling, apache)
{
	NEED_ORIGIN(ORIGIN_APACHE, "apache");
	run_corpus(ORIGIN_APACHE);
}

Test(request_smuggling, node)
{
	NEED_ORIGIN(ORIGIN_NODE, "node");
	run_corpus(ORIGIN_NODE);
}
