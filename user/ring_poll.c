/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads that mind memcached: they ask for each key every now and then, at times of their own so
 * that nodes don't ask all at once, and at once when there is something to tell. Whoever is free takes
 * what is due first, so that no store waits for another one. Only they wait for a server, and never
 * with the lock.
 */
#include <openssl/rand.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>

#include "log.h"
#include "ring_parts.h"

#define TIMEOUT_MS 1000 /* for each step with one server */
#define AGAIN_MS 300	/* somebody else has the lease */

uint64_t ht_ring_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void ht_ring_set_tell(struct ht_ring_set *s)
{
	if (eventfd_write(s->event_fd, 1))
		ht_log(LOG_ERR, "msg=\"eventfd\" error=\"%s\"", strerror(errno));
}

int ht_ring_exchange(const struct ht_ring_settings *s, bool rotate, const char *settled,
		     struct ht_ring *ring, struct ht_fleet_answer *ret)
{
	const struct ht_fleet_params p = {
		.servers = (const char *const *)s->servers,
		.nservers = s->nservers,
		.prefix = s->prefix,
		.times = s->times,
		.timeout_ms = TIMEOUT_MS,
	};
	struct ht_fleet_request q = {.now_s = (uint64_t)time(NULL), .rotate = rotate};

	snprintf(q.settled, sizeof(q.settled), "%s", settled);
	return ht_fleet_sync(&p, &q, ring, ret);
}

/* ---- booking ---- */

static void note_trouble(struct ht_ring_entry *e, const char *name, const struct ht_fleet_answer *a)
{
	if (!e->troubled)
		ht_log(LOG_WARNING,
		       "msg=\"the key's store does not answer; its secrets stay as they are\" "
		       "key=%s reason=\"%s\"",
		       name, a->why);
	e->troubled = true;
}

static void note_answer(struct ht_ring_entry *e, const char *name, const struct ht_fleet_answer *a)
{
	e->counts.polls++;
	e->counts.last_poll_s = (uint64_t)time(NULL);
	e->counts.garbage += a->garbage;
	if (a->garbage)
		ht_log_limited(LOG_ERR,
			       "msg=\"the key's store holds what is no secret\" key=%s server=%s "
			       "values=%u",
			       name, a->server, a->garbage);
	if (e->troubled)
		ht_log(LOG_NOTICE, "msg=\"the key's store answers again\" key=%s server=%s", name,
		       a->server);
	e->troubled = false;
}

static bool is_silence(const struct ht_ring_entry *e, uint64_t now_ms)
{
	return now_ms - e->answered_ms > HT_RING_SILENCE_POLLS * e->settings->poll_every_ms;
}

/*
 * Who had no answer for longer than usual was not the only one: what the others were to have heard of
 * meanwhile, they may hear of only now.
 */
static void note_silence(struct ht_ring_entry *e, uint64_t now_ms)
{
	if (e->settings && is_silence(e, now_ms)) {
		e->next_since_ms = now_ms;
		e->held_until_ms = now_ms + ht_ring_settle_ms(e->settings);
	}
	e->answered_ms = now_ms;
}

void ht_ring_entry_note(struct ht_ring_entry *e, const char *name, int err,
			const struct ht_fleet_answer *a, uint64_t now_ms)
{
	if (a->reached) {
		note_answer(e, name, a);
		note_silence(e, now_ms);
	}
	if (err == -EAGAIN) {
		e->counts.lease_busy++;
	} else if (err) {
		e->counts.polls_failed++;
		note_trouble(e, name, a);
		return;
	}
	if (strcmp(e->next_id, a->next_id))
		e->next_since_ms = now_ms;
	memcpy(e->next_id, a->next_id, sizeof(e->next_id));
}

/* ---- the threads ---- */

uint64_t ht_ring_pause_ms(uint64_t every_ms, uint16_t chance)
{
	return every_ms * 6 / 10 + every_ms * 4 / 10 * chance / UINT16_MAX;
}

static uint64_t next_poll_ms(const struct ht_ring_entry *e, uint64_t now_ms, int err)
{
	uint64_t every_ms = e->settings->poll_every_ms;
	uint16_t chance = 0;

	if (err == -EAGAIN)
		return now_ms + HT_MIN(every_ms, (uint64_t)AGAIN_MS);
	RAND_bytes((unsigned char *)&chance, sizeof(chance));
	return now_ms + ht_ring_pause_ms(every_ms, chance);
}

uint64_t ht_ring_settle_ms(const struct ht_ring_settings *s)
{
	return HT_RING_SETTLE_POLLS * s->poll_every_ms;
}

const char *ht_ring_settled_id(const struct ht_ring_entry *e, uint64_t now_ms)
{
	bool settled = now_ms - e->next_since_ms >= ht_ring_settle_ms(e->settings);

	return settled && !is_silence(e, now_ms) ? e->next_id : "";
}

/* The entry that still has these settings. */
static struct ht_ring_entry *entry_of(const struct ht_ring_set *s,
				      const struct ht_ring_settings *settings)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->entry[i]->settings == settings)
			return s->entry[i];
	}
	return NULL;
}

/*
 * A gateway of the old kind signs with a new secret at once, and so do we only when every node has
 * had the time to hear of it. Whoever knew it as the next one knows that all do.
 */
static void hold(struct ht_ring_entry *e, const struct ht_ring *was)
{
	const struct ht_ring *is = e->ring;

	if (!was->n || is->n < 2 || !strcmp(is->secret[0].id, was->secret[0].id) ||
	    (was->has_next && !strcmp(is->secret[0].id, was->next.id)))
		return;
	memcpy(e->held, is->secret[0].id, sizeof(e->held));
	e->held_until_ms = ht_ring_now_ms() + ht_ring_settle_ms(e->settings);
}

static void let_go(struct ht_ring_set *s, struct ht_ring_entry *e)
{
	if (!e->held[0] || ht_ring_now_ms() < e->held_until_ms)
		return;
	e->held[0] = 0;
	ht_ring_set_tell(s);
}

/* What was learned goes into the ring as it is by now: a revocation in between stays one. */
static void take_over(struct ht_ring_set *s, struct ht_ring_entry *e, const struct ht_ring *learned,
		      struct ht_ring *scratch)
{
	*scratch = *e->ring;
	ht_ring_learn(e->ring, learned);
	ht_ring_retire(e->ring, &e->settings->times, (uint64_t)time(NULL));
	let_go(s, e);
	if (ht_ring_same(e->ring, scratch))
		return;
	hold(e, scratch);
	ht_ring_entry_save(e);
	ht_ring_set_tell(s);
}

static void answered(struct ht_ring_set *s, struct ht_ring_entry *e, int err,
		     const struct ht_fleet_answer *a, uint64_t asked)
{
	uint64_t now_ms = ht_ring_now_ms();

	ht_ring_entry_note(e, e->settings->name, err, a, now_ms);
	e->poll_ms = next_poll_ms(e, now_ms, err);
	e->done = asked;
	e->done_err = err ? err : a->not_settled ? -EBUSY : 0;
	snprintf(e->done_why, sizeof(e->done_why), "%s", a->why);
	pthread_cond_broadcast(&s->done);
}

/* Nothing more will come of a rotation that this exchange was to make. */
static bool is_over(int err, const struct ht_fleet_answer *a)
{
	return a->rotated || a->not_settled || (err && err != -EAGAIN);
}

static void poll_one(struct ht_ring_set *s, struct ht_ring_entry *e)
{
	struct ht_ring *copy = ht_ring_new(), *scratch = ht_ring_new();
	struct ht_ring_settings *settings = e->settings;
	struct ht_fleet_answer a = {.why = "out of memory"};
	char settled[HT_SECRET_ID_LEN + 1];
	uint64_t asked = ++e->asked;
	int err = -ENOMEM;
	bool rotate;

	/* somebody else's rotation will do */
	e->rotate = e->rotate && !strcmp(e->ring->secret[0].id, e->rotate_from);
	rotate = e->rotate;
	snprintf(settled, sizeof(settled), "%s", ht_ring_settled_id(e, ht_ring_now_ms()));
	if (copy && scratch) {
		*copy = *e->ring;
		settings->refs++;
		settings->busy = true;
		pthread_mutex_unlock(&s->lock);
		err = ht_ring_exchange(settings, rotate, settled, copy, &a);
		pthread_mutex_lock(&s->lock);
		settings->busy = false;
		e = entry_of(s, settings);
		ht_ring_settings_unref(settings);
	}
	if (e && copy && scratch)
		take_over(s, e, copy, scratch);
	if (e && rotate && is_over(err, &a))
		e->rotate = false;
	if (e)
		answered(s, e, err, &a, asked);
	ht_ring_free(copy);
	ht_ring_free(scratch);
}

static struct ht_ring_entry *first_due(const struct ht_ring_set *s, uint64_t *ret_ms)
{
	struct ht_ring_entry *first = NULL;

	for (size_t i = 0; i < s->n; i++) {
		struct ht_ring_entry *e = s->entry[i];

		if (e->settings && e->settings->nservers && !e->settings->busy &&
		    (!first || e->poll_ms < first->poll_ms))
			first = e;
	}
	*ret_ms = first ? first->poll_ms : ht_ring_now_ms() + 60000;
	return first;
}

static void wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ms)
{
	const struct timespec until = {.tv_sec = (time_t)(ms / 1000),
				       .tv_nsec = (long)(ms % 1000) * 1000000};

	pthread_cond_timedwait(cond, lock, &until);
}

static void *poll_run(void *arg)
{
	struct ht_ring_set *s = arg;

	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		uint64_t due_ms;
		struct ht_ring_entry *e = first_due(s, &due_ms);

		if (e && due_ms <= ht_ring_now_ms())
			poll_one(s, e);
		else
			wait_until(&s->wake, &s->lock, due_ms);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

int ht_ring_entry_ask(struct ht_ring_set *s, struct ht_ring_entry *e, unsigned ms)
{
	const struct ht_ring_settings *settings = e->settings;
	uint64_t until_ms = ht_ring_now_ms() + ms, after = e->asked;

	/* the one that may be under way began without what we want */
	while (s->nthreads && entry_of(s, settings) == e && ht_ring_now_ms() < until_ms) {
		if (e->done <= after) /* else it takes its time until the next try */
			e->poll_ms = 0;
		pthread_cond_signal(&s->wake);
		wait_until(&s->done, &s->lock, until_ms);
		if (e->done > after && e->done_err != -EAGAIN)
			return e->done_err;
	}
	return -ETIMEDOUT;
}

static int thread_add(struct ht_ring_set *s)
{
	pthread_t *thread = &s->thread[s->nthreads];
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(thread, NULL, poll_run, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	pthread_setname_np(*thread, "fleet");
	s->nthreads++;
	return 0;
}

int ht_ring_set_start(struct ht_ring_set *s)
{
	size_t stores = 0;
	int err = 0;

	for (size_t i = 0; i < s->n; i++)
		stores += s->entry[i]->settings && s->entry[i]->settings->nservers;
	while (!err && s->nthreads < HT_MIN(stores, (size_t)HT_RING_POLLERS_MAX))
		err = thread_add(s);
	return s->nthreads ? 0 : err; /* fewer are slower, and no more than that */
}
