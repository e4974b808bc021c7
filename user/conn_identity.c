/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client is to a site: its bindings, out of what its connection and its proxy say. Must not
 * take a proxy for its client: what the connection proves of the one in front of us is nothing that
 * we know of those behind.
 */
#include <time.h>

#include "conn.h"
#include "geoip.h"

/* What the strings of `client` point to. */
struct who {
	struct ht_client client;
	char country[HT_COUNTRY_LEN], name[HT_USER_MAX];
	uint8_t spki[32], exporter[32];
};

static bool site_binds(const struct ht_policy_site *p, enum ht_bind_kind kind)
{
	for (size_t i = 0; i < p->nbinds; i++) {
		if (ht_bind_has(p->bind[i].binds, p->bind[i].nbinds, kind))
			return true;
	}
	return false;
}

static void ask_database(const struct ht_conn *c, struct who *who)
{
	const struct ht_geoip *g = c->view->gateway->geoip;

	if (g && ht_geoip_country(g, &c->client.sa, who->country))
		who->client.country = (struct ht_str){who->country, HT_COUNTRY_LEN};
}

/* Only what the site binds to: some of it costs as much as a handshake's smaller steps. */
static void ask_tls(const struct ht_conn *c, struct who *who)
{
	const struct ht_policy_site *p = c->x.policy;
	struct ht_client *client = &who->client;

	client->x509_subject = HT_STR(c->subject ? c->subject : "");
	if (site_binds(p, HT_BIND_X509_SPKI) && ht_tls_spki(&c->tls, who->spki))
		client->x509_spki = (struct ht_str){(const char *)who->spki, sizeof(who->spki)};
	if (site_binds(p, HT_BIND_TLS_EXPORTER) && ht_tls_exporter(&c->tls, who->exporter))
		client->exporter = (struct ht_str){(const char *)who->exporter,
						   sizeof(who->exporter)};
	if (site_binds(p, HT_BIND_USER))
		client->user = (struct ht_str){
			who->name, ht_tls_common_name(&c->tls, who->name, sizeof(who->name))};
}

static void identify(const struct ht_conn *c, struct who *who)
{
	who->client = (struct ht_client){0};
	memcpy(&who->client.addr, &c->client, sizeof(c->client));
	if (site_binds(c->x.policy, HT_BIND_GEOIP_COUNTRY))
		ask_database(c, who);
	if (c->relayed)
		who->client.user = HT_STR(c->user ? c->user : "");
	else if (c->tls.ssl)
		ask_tls(c, who);
}

int ht_conn_identify(struct ht_conn *c)
{
	const struct ht_policy_site *p = c->x.policy;
	struct ht_identity *id = c->identity;
	struct who who;

	if (id && id->serial == c->view->gateway->serial && id->site == c->x.site_index)
		return 0;
	free(id);
	c->identity = NULL;
	id = calloc(1, sizeof(*id) + p->nbinds * sizeof(*id->bind));
	if (!id)
		return -ENOMEM;
	id->serial = c->view->gateway->serial;
	id->site = c->x.site_index;
	id->nbinds = p->nbinds;
	id->bind = (struct ht_binding *)(id + 1);
	identify(c, &who);
	for (size_t i = 0; i < p->nbinds; i++)
		ht_binding_make(p->bind[i].binds, p->bind[i].nbinds, &who.client, &id->bind[i]);
	c->identity = id;
	return 0;
}

struct ht_policy_client ht_conn_policy_client(const struct ht_conn *c)
{
	struct timespec boot;

	clock_gettime(CLOCK_BOOTTIME, &boot);
	return (struct ht_policy_client){
		.bind = c->identity->bind,
		.time = {c->ws->loop.now_s,
			 (uint64_t)boot.tv_sec * 1000000000 + (uint64_t)boot.tv_nsec},
		.plain = !c->x.https,
		.revoked = c->ws->revoked,
		.prints = ht_conn_prints(c),
		.opened = {c->x.opened[0], c->x.opened[1]},
		.opens = c->x.opens,
		.exempt = c->x.exempt,
	};
}
