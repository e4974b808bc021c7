/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys while the daemon runs: secrets that come, go and are voided, by the clock, by hand, by other
 * nodes. Whatever changes is published as a new snapshot of the ring, so that nothing that was
 * verified before counts after it. Logs every change; knows no secret but by its id.
 */
#include <stdarg.h>
#include <sys/timerfd.h>
#include <time.h>

#include "main.h"

static uint64_t now_s(void)
{
	return (uint64_t)time(NULL);
}

/* ---- what has changed ---- */

static bool has_secret(const struct ht_key *key, const char *id)
{
	for (size_t i = 0; i < key->nsecrets; i++) {
		if (!strcmp(key->secrets[i].id, id))
			return true;
	}
	return false;
}

/* Of the key in that place. */
static const char *source_of(const struct ht_daemon *d, size_t i)
{
	const struct ht_key_config *k = &d->gateway->config->keys[i];

	return k->file ? "file" : k->nservers ? "memcached" : "directory";
}

static void note_key(struct ht_daemon *d, size_t i, const struct ht_key *was,
		     const struct ht_key *is, const char *why)
{
	if (!was->nsecrets || !is->nsecrets || strcmp(was->name, is->name))
		return;
	for (size_t k = 0; k < was->nsecrets; k++) {
		if (!has_secret(is, was->secrets[k].id))
			ht_log(LOG_NOTICE, "msg=\"secret ended\" key=%s secret=%s reason=\"%s\"",
			       is->name, was->secrets[k].id,
			       k && was->secrets[k].retire_s && was->secrets[k].retire_s <= now_s()
				       ? "its lifetime is over"
				       : why);
	}
	if (!strcmp(was->secrets[0].id, is->secrets[0].id))
		return;
	d->key_counts[i].rotations++;
	ht_log(LOG_NOTICE,
	       "msg=\"key rotated\" key=%s source=%s secret=%s before=%s live=%zu reason=\"%s\"",
	       is->name, source_of(d, i), is->secrets[0].id, was->secrets[0].id, is->nsecrets, why);
}

void ht_daemon_note_ring(struct ht_daemon *d, const struct ht_keyring *was,
			 const struct ht_keyring *is, const char *why)
{
	for (size_t i = 0; was && i < was->nkeys && i < is->nkeys; i++) {
		if (was->keys[i].name && is->keys[i].name)
			note_key(d, i, &was->keys[i], &is->keys[i], why);
	}
}

void ht_daemon_keep_ring(const struct ht_daemon *d)
{
	int err = d->keep ? ht_keep_write(d->keep, ht_offload_id(d->common.offload),
					  ht_offload_keys(d->common.offload), d->common.ring)
			  : 0;

	if (err)
		ht_log(LOG_WARNING, "msg=\"tokens may not survive a restart\" error=\"%s\"",
		       strerror(-err));
}

/* The clock's time, so that setting it is as good as waiting. */
static void arm(const struct ht_daemon *d)
{
	struct itimerspec when = {0};
	uint64_t event_s = ht_ring_set_event_s(d->common.rings, d->common.ring, now_s());

	when.it_value.tv_sec = (time_t)event_s;
	timerfd_settime(d->keys_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &when, NULL);
}

int ht_daemon_keys_follow(struct ht_daemon *d, const char *why)
{
	struct ht_keyring *ring;
	int changed = ht_ring_set_refresh(d->common.rings, d->common.ring, now_s(), &ring);

	if (changed < 0)
		ht_log(LOG_ERR, "msg=\"can't change a key\" error=\"%s\"", strerror(-changed));
	if (changed > 0) {
		ht_daemon_note_ring(d, d->common.ring, ring, why);
		ht_common_set_ring(&d->common, ring);
		ht_daemon_keep_ring(d);
	}
	arm(d);
	return HT_MIN(changed, 0);
}

/* ---- events ---- */

int ht_daemon_keys_open(struct ht_daemon *d)
{
	d->keys_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	return d->keys_fd < 0 ? -errno : 0;
}

int ht_daemon_keys_start(struct ht_daemon *d)
{
	int err = ht_ring_set_start(d->common.rings);

	if (!err)
		ht_daemon_keys_timer(d);
	return err;
}

void ht_daemon_keys_timer(struct ht_daemon *d)
{
	uint64_t times;

	/* -ECANCELED: the clock was set */
	if (read(d->keys_fd, &times, sizeof(times)) < 0 && errno != EAGAIN && errno != ECANCELED)
		ht_log(LOG_ERR, "msg=\"timer\" error=\"%s\"", strerror(errno));
	ht_ring_set_tick(d->common.rings, now_s());
	ht_daemon_keys_follow(d, "it was due");
}

void ht_daemon_keys_told(struct ht_daemon *d)
{
	uint64_t times;

	if (read(ht_ring_set_fd(d->common.rings), &times, sizeof(times)) < 0 && errno != EAGAIN)
		ht_log(LOG_ERR, "msg=\"eventfd\" error=\"%s\"", strerror(errno));
	ht_daemon_keys_follow(d, "the key's store");
}

/* ---- by hand ---- */

/* Its place, or -errno with why. */
static ssize_t find_key(const struct ht_daemon *d, const char *name, const char *verb, char *why,
			size_t why_len)
{
	const struct ht_config *c = d->gateway->config;

	for (size_t i = 0; i < c->nkeys; i++) {
		if (!c->keys[i].name || strcmp(c->keys[i].name, name))
			continue;
		if (!c->keys[i].file)
			return (ssize_t)i;
		snprintf(
			why, why_len,
			"key %.64s is what its file holds, so it can't be %s from here: replace %s "
			"and reload%s",
			name, verb, c->keys[i].file,
			!c->keys[i].lifetime_s	   ? ""
			: !strcmp(verb, "revoked") ? "; as the key has a lifetime the secret until "
						     "now verifies for as "
						     "long: take that out first"
						   : "");
		return -EOPNOTSUPP;
	}
	snprintf(why, why_len, "no key is named '%.64s'", name);
	return -ENOENT;
}

static void _printf_(3, 4) add_why(char *why, size_t why_len, const char *fmt, ...)
{
	size_t n = strlen(why);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why + n, why_len - n, fmt, ap);
	va_end(ap);
}

/* What has changed and is not in force is no success. */
static int follow_by_hand(struct ht_daemon *d, const char *reason, char *why, size_t why_len)
{
	int err = ht_daemon_keys_follow(d, reason);

	if (err)
		add_why(why, why_len, "%sit is not in force here yet: %s; reload, or try again",
			why[0] ? "; and " : "", strerror(-err));
	return err;
}

int ht_daemon_rotate_key(void *arg, const char *name, char *why, size_t why_len)
{
	struct ht_daemon *d = arg;
	ssize_t i = find_key(d, name, "rotated", why, why_len);
	int err = i < 0 ? (int)i : ht_ring_set_rotate(d->common.rings, name, now_s(), why, why_len);

	if (i >= 0 && err) {
		d->key_counts[i].failures++;
		ht_log(LOG_ERR, "msg=\"key not rotated\" key=%s reason=\"%s\"", name, why);
	}
	return err ? err : follow_by_hand(d, "by hand", why, why_len);
}

int ht_daemon_revoke_key(void *arg, const char *name, char *why, size_t why_len)
{
	struct ht_daemon *d = arg;
	ssize_t i = find_key(d, name, "revoked", why, why_len);
	int err = i < 0 ? (int)i : ht_ring_set_revoke(d->common.rings, name, now_s(), why, why_len);

	if (err)
		return err;
	d->key_counts[i].revocations++;
	if (!ht_daemon_keys_follow(d, "revoked by hand"))
		ht_log(LOG_NOTICE, "msg=\"key revoked\" key=%s secret=%s", name,
		       d->common.ring->keys[i].secrets[0].id);
	/* it is in force here; only then are others waited for */
	if (ht_ring_set_tell_store(d->common.rings, name))
		add_why(why, why_len,
			"%sthe key's store does not answer: other nodes go on with the old "
			"secrets until it does",
			why[0] ? "; and " : "");
	if (why[0])
		ht_log(LOG_ERR, "msg=\"%s\" key=%s", why, name);
	return follow_by_hand(d, "the key's store", why, why_len);
}

/* ---- showing ---- */

size_t ht_daemon_keys(void *arg, struct ht_stats_key *ret)
{
	struct ht_daemon *d = arg;
	const struct ht_keyring *ring = d->common.ring;
	size_t n = 0;

	for (size_t i = 0; i < ring->nkeys; i++) {
		struct ht_ring_counts c;

		if (!ring->keys[i].name)
			continue;
		ht_ring_set_counts(d->common.rings, ring->keys[i].name, &c);
		ret[n] = (struct ht_stats_key){
			.key = &ring->keys[i],
			.source = source_of(d, i),
			.rotations = d->key_counts[i].rotations,
			.revocations = d->key_counts[i].revocations,
			.failures = d->key_counts[i].failures + c.failures,
			.polls = c.polls,
			.polls_failed = c.polls_failed,
			.garbage = c.garbage,
			.lease_busy = c.lease_busy,
			.last_poll_s = c.last_poll_s,
			.void_before_s = c.void_before_s,
		};
		ret[n].store = d->gateway->config->keys[i].nservers;
		n++;
	}
	return n;
}
