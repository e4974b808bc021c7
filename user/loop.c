/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop on epoll. A descriptor is registered once and never changed: no system call goes
 * into saying what we want to hear.
 */
#include "loop.h"

#include <sys/epoll.h>
#include <time.h>

#define HT_LOOP_EVENTS 128

static void loop_clock(struct ht_loop *l)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	l->now_us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
	l->now_ms = l->now_us / 1000;
	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	l->now_s = (uint64_t)ts.tv_sec;
}

int ht_loop_open(struct ht_loop *l)
{
	*l = (struct ht_loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	if (l->epoll_fd < 0)
		return -errno;
	for (size_t i = 0; i < HT_TIMER_MAX; i++)
		l->list[i].prev = l->list[i].next = &l->list[i];
	l->again_end = &l->again;
	loop_clock(l);
	return 0;
}

static void loop_bury_dead(struct ht_loop *l)
{
	while (l->dead) {
		struct ht_source *s = l->dead;

		l->dead = s->next;
		s->bury(s);
	}
}

void ht_loop_close(struct ht_loop *l)
{
	if (l->epoll_fd < 0)
		return;
	loop_bury_dead(l);
	close(l->epoll_fd);
	l->epoll_fd = -1;
}

int ht_loop_add(struct ht_loop *l, struct ht_source *s)
{
	struct epoll_event e = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = s,
	};

	return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, s->fd, &e) ? -errno : 0;
}

void ht_loop_remove(struct ht_loop *l, struct ht_source *s)
{
	epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
}

void ht_loop_again(struct ht_loop *l, struct ht_source *s)
{
	if (s->queued || s->dying)
		return;
	s->queued = true;
	s->asked = l->round;
	s->next = NULL;
	*l->again_end = s;
	l->again_end = &s->next;
}

static void loop_unqueue(struct ht_loop *l, struct ht_source *s)
{
	struct ht_source **p = &l->again;

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	if (l->again_end == &s->next)
		l->again_end = p;
	s->queued = false;
}

void ht_loop_bury(struct ht_loop *l, struct ht_source *s)
{
	if (s->dying)
		return;
	if (s->queued)
		loop_unqueue(l, s);
	s->dying = true;
	s->next = l->dead;
	l->dead = s;
}

void ht_timer_cancel(struct ht_timer *t)
{
	if (t->kind == HT_TIMER_NONE)
		return;
	t->prev->next = t->next;
	t->next->prev = t->prev;
	t->kind = HT_TIMER_NONE;
}

void ht_timer_arm(struct ht_loop *l, struct ht_timer *t, enum ht_timer_kind kind)
{
	struct ht_timer *head = &l->list[kind];

	ht_timer_cancel(t);
	t->kind = kind;
	t->deadline_ms = l->now_ms + l->length_ms[kind];
	t->prev = head->prev;
	t->next = head;
	t->prev->next = t;
	head->prev = t;
}

static int loop_patience(const struct ht_loop *l)
{
	uint64_t next = UINT64_MAX;

	if (l->again)
		return 0;
	for (size_t i = 0; i < HT_TIMER_MAX; i++) {
		const struct ht_timer *head = &l->list[i];

		if (head->next != head)
			next = HT_MIN(next, head->next->deadline_ms);
	}
	if (next == UINT64_MAX)
		return -1;
	return next <= l->now_ms ? 0 : (int)HT_MIN(next - l->now_ms, (uint64_t)60000);
}

static void loop_expire(struct ht_loop *l)
{
	for (size_t i = 0; i < HT_TIMER_MAX; i++) {
		struct ht_timer *head = &l->list[i];

		while (head->next != head && head->next->deadline_ms <= l->now_ms) {
			struct ht_timer *t = head->next;

			t->expired = t->kind;
			ht_timer_cancel(t);
			t->fire(t);
		}
	}
}

static void loop_deliver(struct ht_source *s, uint32_t events)
{
	if (s->fd < 0)
		return;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		s->readable = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		s->writable = true;
	if (events & (EPOLLRDHUP | EPOLLHUP))
		s->hup = true;
	if (events & (EPOLLHUP | EPOLLERR))
		s->error = true;
	s->ready(s);
}

/* Those that asked for another turn in an earlier round. */
static void loop_rerun(struct ht_loop *l)
{
	while (l->again && l->again->asked != l->round) {
		struct ht_source *s = l->again;

		l->again = s->next;
		if (!l->again)
			l->again_end = &l->again;
		s->queued = false;
		s->ready(s);
	}
}

void ht_loop_round(struct ht_loop *l)
{
	struct epoll_event events[HT_LOOP_EVENTS];
	int n = epoll_wait(l->epoll_fd, events, HT_LOOP_EVENTS, loop_patience(l));

	loop_clock(l);
	l->round++;
	loop_rerun(l);
	for (int i = 0; i < n; i++)
		loop_deliver(events[i].data.ptr, events[i].events);
	loop_expire(l);
	loop_bury_dead(l);
}
