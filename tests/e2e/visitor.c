/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Visitors, their backend, and crowds of them. A crowd asserts nothing on its threads; it counts.
 */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "visitor.h"

#define CROWD_THREADS 4
#define CROWD_NODES 4

static const char *const names[] = {"sid", "nat", "bc"};

/* ---- the backend ---- */

/* "/login/ID" sets the three; everything else is answered with the Cookie field that came. */
void visitor_backend(struct bconn *c, struct breq *r)
{
	const char *cookies = head_field(r->head, "Cookie", 0);
	char target[128];
	const char *id;

	breq_target(r, target, sizeof(target));
	id = target + 7;
	if (!strncmp(target, "/login/", 7)) {
		bconn_sendf(c,
			    "HTTP/1.1 200 OK\r\nSet-Cookie: sid=%s\r\nSet-Cookie: nat=%s\r\n"
			    "Set-Cookie: bc=%s\r\nContent-Length: 2\r\n\r\nin",
			    id, id, id);
		return;
	}
	if (!cookies)
		cookies = "";
	bconn_sendf(c, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(cookies),
		    cookies);
}

/* ---- a visitor ---- */

static void keep(struct visitor *v, const char *field)
{
	size_t name = strcspn(field, "="), value = strcspn(field + name, ";"), i = 0;

	while (i < v->n &&
	       (strlen(v->cookie[i].name) != name || memcmp(v->cookie[i].name, field, name)))
		i++;
	if (i == VISITOR_COOKIES)
		return;
	v->n += i == v->n;
	snprintf(v->cookie[i].name, sizeof(v->cookie[i].name), "%.*s", (int)name, field);
	snprintf(v->cookie[i].value, sizeof(v->cookie[i].value), "%.*s", (int)(value - 1),
		 field + name + 1);
}

bool visitor_go(struct visitor *v, struct client *c, const char *path)
{
	struct text line = {0};
	struct response *r;
	bool sent;

	text_addf(&line, "GET %s HTTP/1.1\r\nHost: shop.test\r\n%s", path, v->n ? "Cookie: " : "");
	for (size_t i = 0; i < v->n; i++)
		text_addf(&line, "%s%s=%s", i ? "; " : "", v->cookie[i].name, v->cookie[i].value);
	text_addf(&line, "%s\r\n", v->n ? "\r\n" : "");
	sent = client_send(c, line.p, line.len);
	text_free(&line);
	if (!sent)
		return false;
	r = client_read(c);
	if (r->status != 200)
		return false;
	v->renewed = response_count(r, "Set-Cookie");
	for (int i = 0; i < v->renewed; i++)
		keep(v, response_field(r, "Set-Cookie", i));
	return true;
}

bool visitor_login(struct visitor *v, struct client *c, const char *id)
{
	char path[64];

	memset(v, 0, sizeof(*v));
	snprintf(v->id, sizeof(v->id), "%s", id);
	snprintf(path, sizeof(path), "/login/%s", id);
	return visitor_go(v, c, path) && v->n == VISITOR_COOKIES;
}

int visitor_sessions(struct visitor *v, struct client *c)
{
	char want[64];
	int n = 0;

	if (!visitor_go(v, c, "/"))
		return -1;
	for (size_t i = 0; i < E2E_ARRAY_SIZE(names); i++) {
		snprintf(want, sizeof(want), "%s=%s", names[i], v->id);
		n += c->r.body && text_has(c->r.body, c->r.body_kept, want);
	}
	return n;
}

/* ---- a crowd ---- */

struct group {
	struct crowd *crowd;
	pthread_t thread;
	struct visitor *visitor;
	size_t n;
	unsigned number;
	struct client *c[CROWD_NODES];
	atomic_int rounds;
	struct crowd_count count;
};

struct crowd {
	struct gw *gw[CROWD_NODES];
	size_t ngw;
	atomic_bool stop;
	struct group group[CROWD_THREADS];
};

static void visit(struct group *g, size_t i, size_t node)
{
	int sessions = visitor_sessions(&g->visitor[i], g->c[node]);

	g->count.visits++;
	if (sessions < 0) {
		g->count.unanswered++;
		client_close(g->c[node]);
		g->c[node] = client_plain(g->crowd->gw[node]);
	} else {
		g->count.lost += 3 - sessions;
	}
}

static void *group_run(void *arg)
{
	struct group *g = arg;
	size_t ngw = g->crowd->ngw;

	for (int round = 0; !atomic_load(&g->crowd->stop); round++) {
		for (size_t i = 0; i < g->n && !atomic_load(&g->crowd->stop); i++) {
			visit(g, i, (i + (size_t)round) % ngw);
			if (run_slow()) /* or they take all that others need */
				run_pause_ms(100);
		}
		atomic_store(&g->rounds, round + 1);
	}
	return NULL;
}

static void group_enter(struct group *g)
{
	for (size_t i = 0; i < g->crowd->ngw; i++)
		g->c[i] = client_plain(g->crowd->gw[i]);
	for (size_t i = 0; i < g->n; i++) {
		char id[24];

		snprintf(id, sizeof(id), "p%ux%zux", g->number, i);
		cr_assert(visitor_login(&g->visitor[i], g->c[i % g->crowd->ngw], id));
	}
}

struct crowd *crowd_start(struct gw *const *gw, size_t ngw, size_t people)
{
	struct crowd *c = calloc(1, sizeof(*c));

	cr_assert(c && ngw <= CROWD_NODES);
	memcpy(c->gw, gw, ngw * sizeof(*gw));
	c->ngw = ngw;
	for (unsigned i = 0; i < CROWD_THREADS; i++) {
		struct group *g = &c->group[i];

		g->crowd = c;
		g->number = i;
		g->n = people / CROWD_THREADS;
		g->visitor = calloc(g->n, sizeof(*g->visitor));
		cr_assert(g->visitor);
		group_enter(g);
	}
	for (unsigned i = 0; i < CROWD_THREADS; i++)
		cr_assert_eq(pthread_create(&c->group[i].thread, NULL, group_run, &c->group[i]), 0);
	return c;
}

static bool all_at(struct crowd *c, const int *want)
{
	for (unsigned i = 0; i < CROWD_THREADS; i++) {
		if (atomic_load(&c->group[i].rounds) < want[i])
			return false;
	}
	return true;
}

bool crowd_rounds(struct crowd *c, int n)
{
	int want[CROWD_THREADS];

	/* the round that they are in may have begun before what is waited for */
	for (unsigned i = 0; i < CROWD_THREADS; i++)
		want[i] = atomic_load(&c->group[i].rounds) + n + 1;
	return e2e_wait(all_at(c, want));
}

struct crowd_count crowd_stop(struct crowd *c)
{
	struct crowd_count sum = {0};

	atomic_store(&c->stop, true);
	for (unsigned i = 0; i < CROWD_THREADS; i++) {
		struct group *g = &c->group[i];

		pthread_join(g->thread, NULL);
		sum.visits += g->count.visits;
		sum.lost += g->count.lost;
		sum.unanswered += g->count.unanswered;
		for (size_t n = 0; n < c->ngw; n++)
			client_close(g->c[n]);
		free(g->visitor);
	}
	free(c);
	return sum;
}
