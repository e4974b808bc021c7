/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions that an operator ends before their time. A revocation is on disk and published before
 * the generation goes up which makes the kernel ask again, so nothing that was judged without it
 * counts afterwards. Never logs a value.
 */
#include <time.h>

#include "main.h"

#define USUALLY_S (48 * 3600)

int ht_daemon_open_revoked(struct ht_daemon *d)
{
	const char *control = d->config->control;
	int err = ht_keep_revoked_open(control, &d->keep_revoked, &d->common.revoked);

	if (err)
		ht_log(LOG_ERR, "msg=\"can't start\" error=\"%s.revoked: %s\"", control,
		       strerror(-err));
	else if (d->keep_revoked->damaged)
		ht_log(LOG_ERR,
		       "msg=\"revoked sessions were lost; revoke them again\" file=%s.revoked "
		       "damaged=%zu",
		       control, d->keep_revoked->damaged);
	else if (d->common.revoked->n)
		ht_log(LOG_INFO, "msg=\"revoked sessions\" count=%zu", ht_daemon_revoked(d));
	return err;
}

size_t ht_daemon_revoked(void *arg)
{
	const struct ht_daemon *d = arg;

	return ht_revoked_count(d->common.revoked, (uint64_t)time(NULL));
}

/* What the rules of one site make of the cookie. */
struct standing {
	bool covered, enforced;
	bool whole, session; /* it goes by its whole value; by the session that an id names */
	uint64_t lifetime_s; /* of its tokens; 0 = they have no end */
};

static void look_at_site(const struct ht_policy_site *p, struct ht_str name, struct ht_str value,
			 struct standing *s)
{
	bool token;
	size_t i = ht_policy_covers(p, name, &token);

	if (i == SIZE_MAX)
		return;
	s->covered = true;
	s->enforced |= p->rules[i]->mode == HT_MODE_ENFORCE;
	if (ht_policy_session(p->rules[i], value).len < value.len)
		s->session = true;
	else
		s->whole = true;
	if (p->rules[i]->accept >> HT_PROFILE_SESSION_ID & 1)
		s->lifetime_s = HT_MAX(s->lifetime_s, p->rules[i]->session_s);
	if (p->rules[i]->accept >> HT_PROFILE_NATIVE & 1 ||
	    p->rules[i]->accept >> HT_PROFILE_SECURE_COOKIE & 1)
		s->lifetime_s = HT_MAX(s->lifetime_s, p->rules[i]->lifetime_s);
}

/* Where it would be revoked: `site` becomes the name of that site. */
static int find(const struct ht_daemon *d, struct ht_ctl_revocation *r, struct standing *ret,
		char *why, size_t why_len)
{
	const struct ht_gateway *g = d->gateway;
	const struct ht_site_config *site = r->site.len ? ht_config_site(g->config, r->site) : NULL;

	if (r->site.len && !site) {
		snprintf(why, why_len, "no site serves this host");
		return -ENOENT;
	}
	for (size_t i = 0; i < g->config->nsites; i++) {
		if (!site || site == &g->config->sites[i])
			look_at_site(&g->policies[i], r->name, r->value, ret);
	}
	if (site)
		r->site = HT_STR(site->hosts[0]);
	if (ret->covered)
		return 0;
	snprintf(why, why_len, "no rule of %s covers a cookie of this name",
		 site ? "this site" : "any site");
	return -ENOENT;
}

static int publish(struct ht_daemon *d, const struct ht_revoked_entry *e, uint64_t now_s, char *why,
		   size_t why_len)
{
	struct ht_keyring *ring;
	struct ht_revoked *set;
	int err = ht_revoked_add(d->common.revoked, e, now_s, &set);

	if (err == -ENOSPC)
		snprintf(why, why_len,
			 "%d sessions are revoked, there is no room for more; flush their "
			 "application's sessions, or rotate its key",
			 HT_REVOKED_MAX);
	else if (err)
		snprintf(why, why_len, "%s", strerror(-err));
	if (err)
		return err;
	err = ht_keyring_bump(d->common.ring, -1, &ring);
	if (err) {
		snprintf(why, why_len, "%s", strerror(-err));
		ht_revoked_unref(set);
		return err;
	}
	/* on disk first: what is in force must not be lost with us */
	if (ht_keep_revoked_add(d->keep_revoked, e, now_s)) {
		snprintf(why, why_len, "it will not survive a restart: the file can't be written");
		ht_log(LOG_ERR, "msg=\"%s\"", why);
	}
	ht_common_set_revoked(&d->common, ring, set);
	return 0;
}

static int revoke_value(struct ht_daemon *d, const struct ht_ctl_revocation *r, struct ht_str value,
			uint64_t now_s, char *why, size_t why_len)
{
	struct ht_revoked_entry e;

	ht_revoked_hash(&d->keep_revoked->keys, r->site, r->name, value, &e);
	e.until_s = now_s + r->for_s;
	return publish(d, &e, now_s, why, why_len);
}

int ht_daemon_revoke(void *arg, struct ht_ctl_revocation *r, char *why, size_t why_len)
{
	struct ht_daemon *d = arg;
	const uint64_t now_s = (uint64_t)time(NULL);
	struct standing standing = {0};
	struct ht_str session = r->value;
	char name[HT_NAME_MAX + 1];
	int err;

	if (!r->name.len || !r->value.len) {
		snprintf(why, why_len, "a cookie is NAME=VALUE");
		return -EINVAL;
	}
	err = find(d, r, &standing, why, why_len);
	if (err)
		return err;
	if (!r->for_s)
		r->for_s = HT_MAX(standing.lifetime_s, (uint64_t)USUALLY_S);
	err = standing.whole ? revoke_value(d, r, r->value, now_s, why, why_len) : 0;
	if (!err && standing.session) {
		session.len = HT_SESSION_HANDLE_LEN;
		err = revoke_value(d, r, session, now_s, why, why_len);
	}
	if (err)
		return err;
	if (!standing.enforced)
		snprintf(why, why_len, "nothing is stripped yet: mode: report");
	ht_log(LOG_NOTICE, "msg=\"session revoked\" site=%.*s cookie=%s for_s=%llu",
	       r->site.len ? (int)r->site.len : 1, r->site.len ? r->site.p : "*",
	       ht_log_word(r->name, name, sizeof(name)), (unsigned long long)r->for_s);
	return 0;
}
