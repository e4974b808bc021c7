/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes of a fleet, by their metrics and their control sockets.
 */
#include "nodes.h"

double ring_metric(struct gw *gw, const char *metric)
{
	return gw_metric(gw, metric, "key=\"ring\"", NULL);
}

double ring_unreachable(struct gw *gw)
{
	return gw_metric(gw, "hardtack_key_store_failures_total", "key=\"ring\"",
			 "reason=\"unreachable\"", NULL);
}

double ring_polls(struct gw *gw)
{
	return ring_metric(gw, "hardtack_key_store_polls_total");
}

double ring_rotations(struct gw *gw)
{
	return ring_metric(gw, "hardtack_key_rotations_total");
}

bool ring_ctl(struct gw *gw, const char *command, struct text *out)
{
	char line[64];

	snprintf(line, sizeof(line), "%s {\"key\": \"ring\"}\n", command);
	return gw_ask(gw, out, line);
}

bool ring_rotates(struct gw *gw)
{
	struct text out = {0};
	bool done = e2e_wait(ring_ctl(gw, "rotate", &out));

	cr_expect(done, "%s", out.p);
	text_free(&out);
	return done;
}

void ring_signs(struct gw *gw, char ret[32])
{
	struct text out = {0};
	char *at;

	cr_assert(gw_ask(gw, &out, "status\n"), "%s", out.p);
	at = strstr(out.p, "keys.1.secrets.0.id");
	cr_assert(at, "%s", out.p);
	cr_assert_eq(sscanf(at, "keys.1.secrets.0.id %31s", ret), 1);
	text_free(&out);
}

bool ring_all_sign_alike(struct gw *const *gw, size_t n, const char *before)
{
	char first[32], id[32];

	ring_signs(gw[0], first);
	if (!strcmp(first, before))
		return false;
	for (size_t i = 1; i < n; i++) {
		ring_signs(gw[i], id);
		if (strcmp(id, first))
			return false;
	}
	return true;
}

void node_reload(struct gw *gw)
{
	struct text out = {0};

	cr_assert_eq(gw_ctl(gw, &out, "reload", NULL), 0, "%s", out.p);
	text_free(&out);
}
