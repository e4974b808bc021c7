/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rings of all keys: opened beside what is in force, put into force, changed. What is made is on
 * disk before it signs anything; what is revoked is void at once, on disk or not.
 */
#include <grp.h>
#include <inttypes.h>
#include <libgen.h>
#include <openssl/crypto.h>
#include <pwd.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <time.h>

#include "log.h"
#include "ring_dir.h"
#include "ring_parts.h"

#define FIRST_TRIES 40 /* while another node has the lease at its first start, or none answers */
#define FIRST_PAUSE_MS 200
#define FIRST_WAIT_MS 8000   /* for the very first secret */
#define BY_HAND_MS 5000	     /* for a rotation by hand: hardtackctl waits for ten seconds */
#define REVOKED_TELL_MS 2500 /* for a revocation, which is in force here already */
#define SKEW_S 60	     /* by so much the clocks of nodes may differ */

static _printf_(4, 5) int refuse(int err, struct ht_diag *diag, const struct ht_ring_settings *k,
				 const char *fmt, ...)
{
	va_list ap;

	diag->file[0] = 0;
	diag->line = k->line;
	diag->col = k->col;
	va_start(ap, fmt);
	vsnprintf(diag->text, sizeof(diag->text), fmt, ap);
	va_end(ap);
	return err;
}

/* ---- settings ---- */

void ht_ring_settings_unref(struct ht_ring_settings *s)
{
	if (!s || --s->refs)
		return;
	for (size_t i = 0; s->servers && i < s->nservers; i++)
		free(s->servers[i]);
	free(s->servers);
	free(s->name);
	free(s->dir);
	free(s->prefix);
	free(s);
}

static struct ht_ring_settings *settings_new(const struct ht_key_config *k)
{
	struct ht_ring_settings *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->refs = 1;
	s->line = k->line;
	s->col = k->col;
	s->times = (struct ht_ring_times){k->rotate_every_s, k->lifetime_s};
	s->poll_every_ms = k->poll_every_ms;
	s->name = strdup(k->name);
	s->dir = strdup(k->directory);
	s->prefix = strdup(k->prefix ? k->prefix : "");
	s->servers = calloc(k->nservers + 1, sizeof(*s->servers));
	for (; s->servers && s->nservers < k->nservers; s->nservers++) {
		s->servers[s->nservers] = strdup(k->servers[s->nservers]);
		if (!s->servers[s->nservers])
			break;
	}
	if (s->name && s->dir && s->prefix && s->servers && s->nservers == k->nservers)
		return s;
	ht_ring_settings_unref(s);
	return NULL;
}

/* ---- entries ---- */

static struct ht_ring_entry *entry_find(const struct ht_ring_set *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct ht_ring_settings *k = s->entry[i]->settings;

		if (k && !strcmp(k->name, name))
			return s->entry[i];
	}
	return NULL;
}

static void entry_free(struct ht_ring_entry *e)
{
	if (!e)
		return;
	ht_ring_settings_unref(e->settings);
	ht_ring_settings_unref(e->pending);
	ht_ring_free(e->ring);
	ht_ring_free(e->pending_ring);
	free(e);
}

/* What a configuration that came to nothing left behind. */
static void drop_pending(struct ht_ring_set *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++) {
		struct ht_ring_entry *e = s->entry[i];

		ht_ring_settings_unref(TAKE_PTR(e->pending));
		ht_ring_free(TAKE_PTR(e->pending_ring));
		if (e->settings)
			s->entry[n++] = e;
		else
			entry_free(e);
	}
	s->n = n;
}

/* ---- opening ---- */

/* The directory above it is made too, for whom we are going to be. */
static void make_parent(const char *dir, const struct passwd *pw)
{
	char path[512];
	const char *parent;

	snprintf(path, sizeof(path), "%s", dir);
	parent = dirname(path);
	if (!mkdir(parent, 0755) && pw && chown(parent, pw->pw_uid, pw->pw_gid))
		ht_log(LOG_WARNING, "msg=\"can't give a directory away\" directory=%s error=\"%s\"",
		       parent, strerror(errno));
}

static int read_or_make(const char *dir, const struct passwd *pw, struct ht_ring *ring,
			struct ht_diag *diag)
{
	int err = ht_ring_dir_load(dir, ring, diag);

	if (err != -ENOENT)
		return err;
	if (pw) {
		setfsuid(0);
		setfsgid(getegid());
	}
	make_parent(dir, pw);
	if (pw) {
		setfsgid(pw->pw_gid);
		setfsuid(pw->pw_uid);
	}
	return ht_ring_dir_make(dir, diag);
}

/* The first secret of a directory, or what has come due while nobody was there. */
static int open_directory(const struct ht_ring_settings *k, struct ht_ring *ring, uint64_t now_s,
			  struct ht_diag *diag)
{
	struct ht_ring_secret new;
	int err = 0;

	ht_ring_retire(ring, &k->times, now_s);
	if (ring->n)
		return 0;
	err = ht_fleet_fresh(now_s, &new);
	ht_ring_rotate(ring, now_s, false, &new);
	ht_ring_secret_wipe(&new);
	if (!err)
		err = ht_ring_dir_save(k->dir, ring, diag);
	if (!err)
		ht_log(LOG_NOTICE, "msg=\"first secret made\" key=%s directory=%s secret=%s",
		       k->name, k->dir, ring->secret[0].id);
	return err;
}

/* With a copy one look will do; without one there is no key. */
static int open_store(const struct ht_ring_settings *k, struct ht_ring_entry *e,
		      struct ht_ring *ring, struct ht_diag *diag)
{
	const uint64_t until_ms = ht_ring_now_ms() + FIRST_WAIT_MS;
	struct ht_fleet_answer a = {0};
	bool had_copy = ring->n;
	int err;

	for (int i = 0;; i++) {
		err = ht_ring_exchange(k, false, "", ring, &a);
		if (!e->settings) /* else it is a thread's */
			ht_ring_entry_note(e, k->name, err, &a, ht_ring_now_ms());
		if (ring->n || i == FIRST_TRIES || ht_ring_now_ms() >= until_ms)
			break;
		nanosleep(&(struct timespec){.tv_nsec = FIRST_PAUSE_MS * 1000000L}, NULL);
	}
	if (!ring->n)
		return refuse(
			-EINVAL, diag, k,
			"key '%.64s' has no secret: memcached does not give one (%.200s), and "
			"there is no copy in %.128s; start memcached, or bring that directory "
			"from another node",
			k->name, a.why, k->dir);
	if (err && had_copy)
		ht_log(LOG_WARNING, "msg=\"starting with the copy of a key\" key=%s directory=%s",
		       k->name, k->dir);
	err = ht_ring_dir_save(k->dir, ring, diag);
	if (!err || !had_copy)
		return err;
	ht_log(LOG_ERR, "msg=\"can't write the copy of a key\" key=%s directory=%s error=\"%s\"",
	       k->name, k->dir, diag->text);
	return 0;
}

static int open_ring(struct ht_ring_entry *e, const struct passwd *pw, uint64_t now_s,
		     struct ht_ring *ring, struct ht_diag *diag)
{
	const struct ht_ring_settings *k = e->pending;
	struct ht_diag why = {0};
	int err;

	err = read_or_make(k->dir, pw, ring, &why);
	if (!err && k->nservers)
		err = open_store(k, e, ring, &why);
	else if (!err && e->settings && !ring->n)
		return refuse(-EINVAL, diag, k,
			      "there is no secret in %.200s any more; put one there, or restart to "
			      "begin anew",
			      k->dir);
	else if (!err)
		err = open_directory(k, ring, now_s, &why);
	if (!err)
		return 0;
	if (why.line) {
		*diag = why;
		return err;
	}
	return refuse(-EINVAL, diag, k, "key directory %.200s: %.200s%s", why.file, why.text,
		      err == -EACCES || err == -ENOENT
			      ? "; make it for the user that the daemon becomes, chmod 700"
			      : "");
}

/* As whom we are going to be: it is he who rotates later on. */
static int open_ring_as(struct ht_ring_entry *e, const struct ht_config *c, uint64_t now_s,
			struct ht_ring *ring, struct ht_diag *diag)
{
	const struct passwd *pw = c->user && !geteuid() ? getpwnam(c->user) : NULL;
	int err;

	if (pw) {
		setfsgid(pw->pw_gid);
		setfsuid(pw->pw_uid);
	}
	err = open_ring(e, pw, now_s, ring, diag);
	if (pw) {
		setfsuid(0);
		setfsgid(getegid());
	}
	return err;
}

/* A store that we mind already has told us all; a directory is read again. */
static bool must_open(const struct ht_ring_entry *e)
{
	return !e->settings || !e->pending->nservers || !e->settings->nservers ||
	       strcmp(e->settings->dir, e->pending->dir) ||
	       strcmp(e->settings->prefix, e->pending->prefix);
}

/* Where it was is where it is: what was revoked there is revoked. Elsewhere are other secrets. */
static bool is_same_source(const struct ht_ring_entry *e)
{
	return e->settings && !e->settings->nservers == !e->pending->nservers &&
	       !strcmp(e->settings->dir, e->pending->dir) &&
	       !strcmp(e->settings->prefix, e->pending->prefix);
}

/* A revocation that the directory could not be told of, or that came while it was read. */
static void keep_revoked(struct ht_ring_entry *e)
{
	if (e->pending && e->pending_ring && is_same_source(e) &&
	    e->pending_ring->void_before_s < e->ring->void_before_s)
		ht_ring_join(e->pending_ring, e->ring);
}

/*
 * Others may not have what signs for so short a time, whether we knew that before a restart or have
 * only now come: it verifies here, and signs when they have had the time to hear of it.
 */
static void hold_what_is_new(struct ht_ring_entry *e, uint64_t now_s)
{
	const struct ht_ring *r = e->pending_ring;
	uint64_t settle_s = ht_ring_settle_ms(e->pending) / 1000 + SKEW_S;
	bool is_new = e->pending->nservers && r->n > 1 && now_s < r->secret[0].born_s + settle_s;

	snprintf(e->pending_held, sizeof(e->pending_held), "%s", is_new ? r->secret[0].id : "");
}

static int entry_open(struct ht_ring_set *s, const struct ht_config *c,
		      const struct ht_key_config *k, uint64_t now_s, struct ht_diag *diag)
{
	struct ht_ring_entry *e = entry_find(s, k->name);
	struct ht_ring *ring;
	int err;

	if (!e) {
		e = calloc(1, sizeof(*e));
		if (!e)
			return -ENOMEM;
		s->entry[s->n++] = e;
	}
	e->pending = settings_new(k);
	if (!e->pending)
		return -ENOMEM;
	if (!must_open(e))
		return 0;
	ring = ht_ring_new();
	if (!ring)
		return -ENOMEM;
	e->pending_ring = ring;
	/* nothing but pending entries and counters are touched: the thread may go on meanwhile */
	pthread_mutex_unlock(&s->lock);
	err = open_ring_as(e, c, now_s, ring, diag);
	pthread_mutex_lock(&s->lock);
	if (!err)
		hold_what_is_new(e, now_s);
	return err;
}

static int open_all(struct ht_ring_set *s, const struct ht_config *c, uint64_t now_s,
		    struct ht_diag *diag)
{
	int err = 0;

	drop_pending(s);
	for (size_t i = 0; !err && i < c->nkeys; i++) {
		if (c->keys[i].name && c->keys[i].directory)
			err = entry_open(s, c, &c->keys[i], now_s, diag);
	}
	if (err == -ENOMEM && !diag->text[0])
		snprintf(diag->text, sizeof(diag->text), "out of memory for its keys");
	if (err && !diag->file[0])
		snprintf(diag->file, sizeof(diag->file), "%s", c->file);
	return err;
}

static const struct ht_ring *ring_of(const struct ht_ring_set *s, const char *name,
				     struct ht_ring_times *ret_times, const char **ret_held)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct ht_ring_entry *e = s->entry[i];

		if (!e->pending || strcmp(e->pending->name, name))
			continue;
		*ret_times = e->pending->times;
		*ret_held = e->pending_ring ? e->pending_held : e->held;
		return e->pending_ring ? e->pending_ring : e->ring;
	}
	return NULL;
}

static int make_keyring(const struct ht_ring_set *s, const struct ht_config *c,
			const struct ht_keyring *before, uint64_t now_s, struct ht_keyring **ret,
			struct ht_diag *diag)
{
	_cleanup_free_ struct ht_key_source *given = calloc(c->nkeys + 1, sizeof(*given));

	for (size_t i = 0; given && i < c->nkeys; i++) {
		struct ht_ring_times times;
		const char *held;
		const struct ht_ring *r = c->keys[i].name && c->keys[i].directory
						  ? ring_of(s, c->keys[i].name, &times, &held)
						  : NULL;

		if (r)
			ht_ring_source(r, &times, held, &given[i]);
	}
	if (!given)
		return -ENOMEM;
	return ht_keyring_make(c, given, before, now_s, ret, diag);
}

int ht_ring_set_load(struct ht_ring_set *s, const struct ht_config *c,
		     const struct ht_keyring *before, uint64_t now_s, struct ht_keyring **ret,
		     struct ht_diag *diag)
{
	int err;

	pthread_mutex_lock(&s->lock);
	err = open_all(s, c, now_s, diag);
	for (size_t i = 0; !err && i < s->n; i++)
		keep_revoked(s->entry[i]);
	if (!err)
		err = make_keyring(s, c, before, now_s, ret, diag);
	if (err)
		drop_pending(s);
	pthread_mutex_unlock(&s->lock);
	return err;
}

static void entry_commit(struct ht_ring_entry *e)
{
	keep_revoked(e);
	ht_ring_settings_unref(e->settings);
	e->settings = TAKE_PTR(e->pending);
	e->poll_ms = 0;
	if (!e->pending_ring)
		return;
	ht_ring_free(e->ring);
	e->ring = TAKE_PTR(e->pending_ring);
	memcpy(e->held, e->pending_held, sizeof(e->held));
	e->held_until_ms = ht_ring_now_ms() + ht_ring_settle_ms(e->settings);
}

void ht_ring_set_commit(struct ht_ring_set *s)
{
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->n; i++) {
		struct ht_ring_entry *e = s->entry[i];

		if (e->pending) {
			entry_commit(e);
			s->entry[n++] = e;
		} else {
			entry_free(e); /* its key is no longer configured */
		}
	}
	s->n = n;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

int ht_ring_set_look(const struct ht_config *c, uint64_t now_s, struct ht_keyring **ret,
		     struct ht_diag *diag)
{
	struct ht_ring_set *s = ht_ring_set_new();
	int err = s ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < c->nkeys; i++) {
		struct ht_ring_entry *e;

		if (!c->keys[i].name || !c->keys[i].directory)
			continue;
		e = s->entry[s->n] = calloc(1, sizeof(*e));
		s->n += e != NULL;
		err = !e || !(e->pending = settings_new(&c->keys[i])) ||
				      !(e->pending_ring = ht_ring_new())
			      ? -ENOMEM
			      : ht_ring_dir_load(c->keys[i].directory, e->pending_ring, diag);
		if (err == -ENOENT)
			err = 0;
		else if (!err)
			ht_ring_retire(e->pending_ring, &e->pending->times, now_s);
	}
	if (!err)
		err = make_keyring(s, c, NULL, now_s, ret, diag);
	ht_ring_set_free(s);
	return err;
}

/* ---- changing ---- */

void ht_ring_entry_save(struct ht_ring_entry *e)
{
	struct ht_diag why;

	if (!ht_ring_dir_save(e->settings->dir, e->ring, &why)) {
		e->copy_fails = false;
		return;
	}
	e->counts.failures++;
	if (!e->copy_fails)
		ht_log(LOG_ERR,
		       "msg=\"can't write a key's directory; a restart will not know its new "
		       "secrets\" key=%s directory=%s error=\"%s: %s\"",
		       e->settings->name, e->settings->dir, why.file, why.text);
	e->copy_fails = true;
}

/* With what was put into the directory meanwhile. It is written before anything is signed with it. */
static int rotate_directory(struct ht_ring_entry *e, uint64_t now_s, char *why, size_t why_len)
{
	_cleanup_(ht_ring_freep) struct ht_ring *work = ht_ring_new();
	struct ht_ring_secret new;
	struct ht_diag diag = {0};
	int err = work ? ht_fleet_fresh(now_s, &new) : -ENOMEM;

	if (!err && !ht_ring_dir_load(e->settings->dir, work, &diag))
		ht_ring_join(work, e->ring);
	else if (!err)
		*work = *e->ring;
	if (!err) {
		ht_ring_retire(work, &e->settings->times, now_s);
		ht_ring_rotate(work, now_s, false, &new);
		ht_ring_secret_wipe(&new);
		err = ht_ring_dir_save(e->settings->dir, work, &diag);
	}
	if (err) {
		e->counts.failures++;
		snprintf(why, why_len, "%s: %s", diag.file[0] ? diag.file : e->settings->dir,
			 diag.text[0] ? diag.text : strerror(-err));
		return err;
	}
	*e->ring = *work;
	return 0;
}

/*
 * What was put into the directory and not read yet is not removed. If it can't be read nothing is,
 * but for what was revoked.
 */
static void save_with_directory(struct ht_ring_entry *e, uint64_t now_s)
{
	_cleanup_(ht_ring_freep) struct ht_ring *work = ht_ring_new();
	struct ht_diag diag = {0};
	int err = work ? ht_ring_dir_load(e->settings->dir, work, &diag) : -ENOMEM;

	if (!err) {
		ht_ring_join(work, e->ring);
		ht_ring_retire(work, &e->settings->times, now_s);
		*e->ring = *work;
	}
	if (!err || e->copy_fails) {
		ht_ring_entry_save(e);
		return;
	}
	e->counts.failures++;
	ht_log_limited(LOG_ERR,
		       "msg=\"can't read a key's directory; what has ended stays in it\" key=%s "
		       "directory=%s error=\"%s: %s\"",
		       e->settings->name, e->settings->dir, diag.file, diag.text);
}

static void tick_entry(struct ht_ring_entry *e, uint64_t now_s)
{
	const struct ht_ring_times *t = &e->settings->times;
	size_t n = e->ring->n;
	char why[512];

	if (!e->settings->nservers && ht_ring_due(e->ring, t, now_s)) {
		if (rotate_directory(e, now_s, why, sizeof(why)))
			ht_log_limited(LOG_ERR,
				       "msg=\"a key is due and can't be rotated\" key=%s "
				       "error=\"%s\"",
				       e->settings->name, why);
	}
	ht_ring_retire(e->ring, t, now_s);
	if (e->ring->n < n || e->copy_fails)
		save_with_directory(e, now_s);
}

void ht_ring_set_tick(struct ht_ring_set *s, uint64_t now_s)
{
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->n; i++) {
		if (s->entry[i]->settings)
			tick_entry(s->entry[i], now_s);
	}
	pthread_mutex_unlock(&s->lock);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a && b ? HT_MIN(a, b) : HT_MAX(a, b);
}

/* What is overdue and can't be done is tried again in a while. */
#define RETRY_S 10

uint64_t ht_ring_set_event_s(struct ht_ring_set *s, const struct ht_keyring *ring, uint64_t now_s)
{
	uint64_t event_s = 0;

	for (size_t i = 0; i < ring->nkeys; i++)
		for (size_t k = 0; k < ring->keys[i].nsecrets; k++)
			event_s = sooner(event_s, ring->keys[i].secrets[k].retire_s);
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->n; i++) {
		const struct ht_ring_entry *e = s->entry[i];

		if (e->settings && !e->settings->nservers)
			event_s = sooner(event_s, ht_ring_event_s(e->ring, &e->settings->times));
		if (e->settings && e->copy_fails)
			event_s = sooner(event_s, now_s + RETRY_S);
	}
	pthread_mutex_unlock(&s->lock);
	return event_s && event_s <= now_s ? now_s + RETRY_S : event_s;
}

/* What the key has to be by now: as its ring has it, else itself less what has ended. */
static void source_now(const struct ht_ring_set *s, const struct ht_key *key, uint64_t now_s,
		       struct ht_key_source *ret)
{
	const struct ht_ring_entry *e = entry_find(s, key->name);

	if (e)
		ht_ring_source(e->ring, &e->settings->times, e->held, ret);
	else
		ht_key_live(key, now_s, ret);
}

int ht_ring_set_refresh(struct ht_ring_set *s, const struct ht_keyring *ring, uint64_t now_s,
			struct ht_keyring **ret)
{
	struct ht_keyring *now = NULL;
	int err = 0;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; !err && i < ring->nkeys; i++) {
		const struct ht_keyring *from = now ? now : ring;
		struct ht_keyring *next;
		struct ht_key_source source;

		if (!from->keys[i].name)
			continue;
		source_now(s, &from->keys[i], now_s, &source);
		if (ht_key_is(&from->keys[i], &source))
			continue;
		err = ht_keyring_replace(from, i, &source, &next);
		if (err)
			break;
		ht_keyring_unref(now);
		now = next;
	}
	pthread_mutex_unlock(&s->lock);
	if (err) {
		ht_keyring_unref(now);
		return err;
	}
	*ret = now;
	return now != NULL;
}

/* ---- by hand ---- */

static int rotate_store(struct ht_ring_set *s, struct ht_ring_entry *e, char *why, size_t why_len)
{
	int err;

	e->rotate = true;
	memcpy(e->rotate_from, e->ring->secret[0].id, sizeof(e->rotate_from));
	err = ht_ring_entry_ask(s, e, BY_HAND_MS);
	if (err)
		e->rotate = false;
	if (err == -ETIMEDOUT)
		snprintf(why, why_len,
			 "the key's store has not done it in time; what it was asked for already "
			 "may still happen");
	else if (err == -EBUSY)
		snprintf(why, why_len,
			 "not every node has the secret that comes next yet; it takes %u times "
			 "poll-every: try again then",
			 HT_RING_SETTLE_POLLS);
	else if (err)
		snprintf(why, why_len, "the key's store does not do it: %s; nothing has changed",
			 e->done_why[0] ? e->done_why : strerror(-err));
	return err;
}

int ht_ring_set_rotate(struct ht_ring_set *s, const char *name, uint64_t now_s, char *why,
		       size_t why_len)
{
	struct ht_ring_entry *e;
	int err = -ENOENT;

	why[0] = 0;
	pthread_mutex_lock(&s->lock);
	e = entry_find(s, name);
	if (e && e->ring->n == HT_RING_MAX) {
		err = -EBUSY;
		snprintf(why, why_len,
			 "%d secrets verify already, and the first of them until its lifetime is "
			 "over; to end what they signed, revoke the key",
			 HT_RING_MAX);
	} else if (e && e->settings->nservers) {
		err = rotate_store(s, e, why, why_len);
	} else if (e) {
		err = rotate_directory(e, now_s, why, why_len);
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

static int revoke_entry(struct ht_ring_entry *e, uint64_t now_s, char *why, size_t why_len)
{
	struct ht_ring_secret new[2];
	uint64_t failures = e->counts.failures;
	int err = ht_fleet_fresh(now_s, &new[0]);

	if (!err)
		err = ht_fleet_fresh(now_s, &new[1]);
	if (!err)
		ht_ring_revoke(e->ring, now_s, &new[0], e->settings->nservers ? &new[1] : NULL);
	OPENSSL_cleanse(new, sizeof(new));
	if (err) {
		snprintf(why, why_len, "no random numbers");
		return err;
	}
	ht_ring_entry_save(e);
	if (e->counts.failures > failures)
		snprintf(why, why_len,
			 "a restart brings the old secrets back: %s can't be written; remove the "
			 "files in it",
			 e->settings->dir);
	return 0;
}

int ht_ring_set_revoke(struct ht_ring_set *s, const char *name, uint64_t now_s, char *why,
		       size_t why_len)
{
	struct ht_ring_entry *e;
	int err = -ENOENT;

	why[0] = 0;
	pthread_mutex_lock(&s->lock);
	e = entry_find(s, name);
	if (e)
		err = revoke_entry(e, now_s, why, why_len);
	pthread_mutex_unlock(&s->lock);
	return err;
}

int ht_ring_set_tell_store(struct ht_ring_set *s, const char *name)
{
	struct ht_ring_entry *e;
	int err = 0;

	pthread_mutex_lock(&s->lock);
	e = entry_find(s, name);
	if (e && e->settings->nservers)
		err = ht_ring_entry_ask(s, e, REVOKED_TELL_MS);
	pthread_mutex_unlock(&s->lock);
	return err;
}

void ht_ring_set_counts(struct ht_ring_set *s, const char *name, struct ht_ring_counts *ret)
{
	const struct ht_ring_entry *e;

	memset(ret, 0, sizeof(*ret));
	pthread_mutex_lock(&s->lock);
	e = entry_find(s, name);
	if (e) {
		*ret = e->counts;
		ret->void_before_s = e->ring->void_before_s;
	}
	pthread_mutex_unlock(&s->lock);
}

/* ---- the set ---- */

struct ht_ring_set *ht_ring_set_new(void)
{
	struct ht_ring_set *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;

	if (!s)
		return NULL;
	s->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (s->event_fd < 0) {
		free(s);
		return NULL;
	}
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, &attr);
	pthread_cond_init(&s->done, &attr);
	pthread_condattr_destroy(&attr);
	return s;
}

void ht_ring_set_free(struct ht_ring_set *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < s->nthreads; i++)
		pthread_join(s->thread[i], NULL);
	for (size_t i = 0; i < s->n; i++)
		entry_free(s->entry[i]);
	pthread_cond_destroy(&s->wake);
	pthread_cond_destroy(&s->done);
	pthread_mutex_destroy(&s->lock);
	close(s->event_fd);
	free(s);
}

int ht_ring_set_fd(const struct ht_ring_set *s)
{
	return s->event_fd;
}
