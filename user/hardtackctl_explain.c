/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hardtackctl explain: the command line, the configuration and its keys, and what explain.c says of
 * a Cookie header. Offline.
 */
#include <getopt.h>
#include <time.h>

#include "explain.h"
#include "geoip.h"
#include "hardtackctl.h"
#include "ring_set.h"

struct ask {
	const char *file, *host, *cookie, *time;
	bool plain, json, help;
	struct ht_client client;
	char country[HT_COUNTRY_LEN];
};

void write_explain_usage(FILE *out)
{
	fputs("\nexplain takes:\n"
	      "  -c FILE        the configuration; its keys are read, too\n"
	      "  --site HOST    whom the request is for\n"
	      "  --cookie H     the value of the request's Cookie field\n"
	      "  --bind KIND=VALUE\n"
	      "                 what the client is, as in client-ip=192.0.2.10; again for several\n"
	      "  --plain        the client came without TLS\n"
	      "  --time T       when, in seconds since 1970; now unless given\n",
	      out);
}

/* 0, or what to exit with. */
static int add_bind(struct ask *a, char *text)
{
	char *value = strchr(text, '=');
	struct ht_bind bind;

	if (value)
		*value++ = '\0';
	if (!value || ht_bind_parse(text, &bind))
		return usage("--bind %s is no KIND=VALUE, such as client-ip=192.0.2.10", text);
	if (!describe_client(&a->client, bind.kind, value))
		return usage("'%s' is no value for --bind %s", value, text);
	return 0;
}

static int parse(int argc, char **argv, struct ask *a)
{
	static const struct option options[] = {
		{"site", required_argument, NULL, 's'}, {"cookie", required_argument, NULL, 'k'},
		{"bind", required_argument, NULL, 'b'}, {"plain", no_argument, NULL, 'p'},
		{"time", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},	{0},
	};
	int o, status = 0;

	while (!status && (o = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (o) {
		case 'c':
			a->file = optarg;
			break;
		case 's':
			a->host = optarg;
			break;
		case 'k':
			a->cookie = optarg;
			break;
		case 'b':
			status = add_bind(a, optarg);
			break;
		case 't':
			a->time = optarg;
			break;
		case 'p':
			a->plain = true;
			break;
		case 'j':
			a->json = true;
			break;
		case 'h':
			a->help = true;
			break;
		default:
			status = bad_option();
		}
	}
	if (status || a->help)
		return status;
	if (optind < argc)
		return usage("explain takes no '%s'", argv[optind]);
	if (!a->file || !a->host || !a->cookie)
		return usage("-c, --site and --cookie are needed");
	return 0;
}

static int set_time(const struct ask *a, struct ht_policy_time *ret)
{
	char *end;

	*ret = (struct ht_policy_time){.now_s = (uint64_t)time(NULL)};
	if (!a->time)
		return 0;
	errno = 0;
	ret->now_s = strtoull(a->time, &end, 10);
	if (*a->time < '0' || *a->time > '9' || *end || errno)
		return usage("--time is a number of seconds since 1970, not '%s'", a->time);
	return 0;
}

static int fail_diag(const struct ask *a, const struct ht_diag *d)
{
	const char *file = d->file[0] ? d->file : a->file;

	if (d->line)
		return fail(EXIT_USAGE, "%s:%u:%u: %s", file, d->line, d->col, d->text);
	return fail(EXIT_USAGE, "%s: %s", file, d->text);
}

/* As the daemon finds it out of the address. */
static void look_up_country(const struct ht_config *c, struct ask *a)
{
	struct ht_geoip *g;
	char why[256];

	if (a->client.country.len || !a->client.addr.ss_family || !c->geoip ||
	    ht_geoip_open(c->geoip, &g, why, sizeof(why)))
		return;
	if (ht_geoip_country(g, (const struct sockaddr *)&a->client.addr, a->country))
		a->client.country = (struct ht_str){a->country, HT_COUNTRY_LEN};
	ht_geoip_close(g);
}

static int answer(const struct ask *a, const struct ht_explain *e)
{
	const char *why;
	json_t *tree;
	int status, err = ht_explain(e, &tree, &why);

	if (err)
		return fail(err == -EINVAL ? EXIT_USAGE : EXIT_NO,
			    "no request can have this Cookie field: %s", why);
	status = json_is_true(json_object_get(tree, "all_pass")) ? EXIT_YES : EXIT_NO;
	if (a->json)
		return print_json(tree, status);
	ht_explain_write(tree, stdout);
	json_decref(tree);
	return finish(status);
}

static int explain_site(struct ask *a, const struct ht_config *c, const struct ht_keyring *ring,
			const struct ht_policy_time *now)
{
	const struct ht_site_config *site = ht_config_site(c, HT_STR(a->host));
	struct ht_policy_site *policy;
	struct ht_diag diag = {0};
	int status;

	if (!site)
		return fail(EXIT_USAGE, "%s: no site serves '%s'", a->file, a->host);
	policy = malloc(sizeof(*policy));
	if (!policy)
		return fail(EXIT_NO, "out of memory");
	if (ht_policy_compile(c, site, policy, &diag)) {
		status = fail_diag(a, &diag);
	} else {
		ht_policy_set_time(policy, now);
		look_up_country(c, a);
		status = answer(a, &(struct ht_explain){
					   .file = c->file,
					   .site = policy,
					   .ring = ring,
					   .client = &a->client,
					   .time = *now,
					   .plain = a->plain,
					   .header = HT_STR(a->cookie),
				   });
	}
	free(policy);
	return status;
}

/* No daemon has run with this configuration: there is nothing that could verify. */
static bool lacks_secrets(const struct ht_config *c, const struct ht_keyring *ring,
			  struct ht_diag *diag)
{
	for (size_t i = 0; i < ring->nkeys; i++) {
		if (!ring->keys[i].name || ring->keys[i].nsecrets)
			continue;
		diag->line = c->keys[i].line;
		diag->col = c->keys[i].col;
		snprintf(diag->text, sizeof(diag->text),
			 "key '%.64s' has no secrets yet: hardtackd makes them in %.200s when it "
			 "starts",
			 c->keys[i].name, c->keys[i].directory);
		return true;
	}
	return false;
}

int run_explain(const struct command *self, const char *socket_path, int argc, char **argv)
{
	struct ht_keyring *ring = NULL;
	struct ht_config *c = NULL;
	struct ht_diag diag = {0};
	struct ht_policy_time now;
	struct ask a = {0};
	int status;

	(void)self;
	(void)socket_path;
	status = parse(argc, argv, &a);
	if (!status && a.help)
		return show_help();
	if (!status)
		status = set_time(&a, &now);
	if (status)
		return status;
	if (ht_config_load(a.file, &c, &diag) || ht_ring_set_look(c, now.now_s, &ring, &diag) ||
	    lacks_secrets(c, ring, &diag))
		status = fail_diag(&a, &diag);
	else
		status = explain_site(&a, c, ring, &now);
	ht_keyring_unref(ring);
	ht_config_free(c);
	return status;
}
