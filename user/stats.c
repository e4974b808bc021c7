/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the counters: adding the workers' blocks up and writing them as Prometheus text, by the
 * names of the metrics' contract. Runs in the main thread; takes no lock and stops no worker, so
 * two counters of one scrape may be a request apart.
 */
#include "stats.h"

#include <inttypes.h>

#include "offload.h"
#include "stats_keys.h"
#include "token.h"

#define NPROFILES (HT_PROFILE_SECURE_COOKIE + 1)

static const char *const where_names[HT_WHERE_MAX] = {"kernel", "user"};
static const char *const side_names[HT_SIDE_MAX] = {"client", "backend"};
static const char *const state_names[HT_CONN_STATE_MAX] = {"active", "idle"};
static const char *const tls_versions[2] = {"1.2", "1.3"};
static const char *const off_on[2] = {"off", "on"};
static const char *const tls_refusals[HT_TLS_REFUSED_MAX] = {
	"record", "alert", "key-update", "flood", "renegotiation", "early-data",
};

/* Counters without labels. */
static const struct {
	const char *name, *help;
	size_t offset;
} plain[] = {
#define PLAIN(field, name, help)                                                                   \
	{                                                                                          \
		"hardtack_" name "_total", help, offsetof(struct ht_stats, field)                  \
	}
	PLAIN(accepted, "connections_accepted", "Client connections accepted."),
	PLAIN(connections_refused, "connections_refused",
	      "Client connections closed at once because of limits.connections."),
	PLAIN(tls_failed, "tls_failed", "TLS handshakes that failed."),
	PLAIN(rejected_unbound, "rejected_unbound",
	      "Connections and requests rejected because they cannot give a binding."),
	PLAIN(malformed, "malformed", "Requests answered 400: they never reached a backend."),
	PLAIN(exempt, "exempt_requests", "Requests whose path is exempt: no cookie was judged."),
	PLAIN(timeouts, "timeouts", "Connections ended by one of the timeouts."),
	PLAIN(backend_connects, "backend_connects", "Connections made to backends."),
	PLAIN(backend_failures, "backend_failures", "Backend connections that failed."),
	PLAIN(backend_unanswered, "backend_unanswered",
	      "Requests that a backend took and gave no valid answer to."),
	PLAIN(backend_retries, "backend_retries", "Requests sent again on another connection."),
	PLAIN(bytes_in, "received_bytes", "Bytes received from clients, after TLS."),
	PLAIN(bytes_out, "sent_bytes", "Bytes sent to clients, before TLS."),
#undef PLAIN
};

/* The gate's own counters without labels. */
static const struct {
	const char *name, *help;
	enum ht_counter index;
} gate_plain[] = {
	{"hardtack_gate_messages_total", "Messages towards backends that the kernel looked at.",
	 HT_COUNT_RUNS},
	{"hardtack_gate_heads_total", "Request heads that the kernel judged.", HT_COUNT_HEADS},
	{"hardtack_gate_misses_total", "Request heads that the kernel left to the daemon.",
	 HT_COUNT_MISS},
	{"hardtack_gate_memo_hits_total", "Hits that needed no map lookup.", HT_COUNT_MEMO},
	{"hardtack_gate_opened_total", "Sealed cookies that the kernel opened.", HT_COUNT_OPENED},
	{"hardtack_gate_torn_total",
	 "Sealed cookies whose plaintext was recycled meanwhile, or of before a flush: misses.",
	 HT_COUNT_TORN},
};

static const struct {
	const char *label;
	enum ht_counter index;
} gate_cookies[] =
	{
		{"hit", HT_COUNT_HIT},
		{"forged", HT_COUNT_FORGED},
		{"missing", HT_COUNT_MISSING},
		{"report", HT_COUNT_REPORT},
},
  gate_sockets[] = {
	  {"admitted", HT_COUNT_ADMITTED},
	  {"refused", HT_COUNT_NOT_ADMITTED},
};

void ht_stats_sum(const struct ht_stats *const *workers, size_t nworkers, struct ht_stats *ret)
{
	/* The block is nothing but 64-bit counters: it adds up as an array of them. */
	_Static_assert(sizeof(*ret) % sizeof(uint64_t) == 0, "only 64-bit members");
	_Static_assert(sizeof(_Atomic uint64_t) == sizeof(uint64_t), "no lock inside");
	_Atomic uint64_t *to = (_Atomic uint64_t *)ret;

	memset(ret, 0, sizeof(*ret));
	for (size_t w = 0; w < nworkers; w++) {
		const _Atomic uint64_t *from = (const _Atomic uint64_t *)workers[w];

		for (size_t i = 0; i < sizeof(*ret) / sizeof(*from); i++)
			ht_stats_inc(to[i], atomic_load_explicit(&from[i], memory_order_relaxed));
	}
}

static uint64_t value_of(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void write_header(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value: backslash, quote and line feed are escaped, as the format has it. */
static void write_label(FILE *f, const char *value)
{
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			fputc('\\', f);
		if (*value == '\n')
			fputs("\\n", f);
		else
			fputc(*value, f);
	}
}

static void write_requests(FILE *f, const struct ht_stats *s, const struct ht_stats_global *g)
{
	write_header(f, "hardtack_requests_total", "counter", "Requests answered.");
	for (size_t l = 0; l < HT_MIN(g->nlisteners, (size_t)HT_STATS_LISTENERS); l++) {
		if (!g->listeners[l])
			continue; /* nobody has this number */
		for (size_t code = 0; code < HT_STATS_CODES; code++) {
			uint64_t n = value_of(&s->requests[l][code]);

			if (!n)
				continue;
			fputs("hardtack_requests_total{listener=\"", f);
			write_label(f, g->listeners[l]);
			fprintf(f, "\",code=\"%03zu\"} %" PRIu64 "\n", code, n);
		}
	}
}

static void write_verdicts(FILE *f, const struct ht_stats *s)
{
	write_header(f, "hardtack_verdicts_total", "counter",
		     "Covered cookies of requests, by who judged them and what became of them.");
	for (int w = 0; w < HT_WHERE_MAX; w++)
		for (int v = 0; v < HT_COOKIE_VERDICT_MAX; v++)
			for (int a = 0; a < HT_ACTION_MAX; a++)
				fprintf(f,
					"hardtack_verdicts_total{where=\"%s\",verdict=\"%s\","
					"action=\"%s\"} %" PRIu64 "\n",
					where_names[w],
					ht_cookie_verdict_name((enum ht_cookie_verdict)v),
					ht_cookie_action_name((enum ht_cookie_action)a),
					value_of(&s->verdicts[w][v][a]));
}

static void write_signed(FILE *f, const struct ht_stats *s)
{
	const struct {
		const char *why;
		const _Atomic uint64_t *n;
	} not_signed[] = {
		{"refused", &s->sign_refused}, {"unbound", &s->sign_unbound},
		{"sibling", &s->sign_sibling}, {"revoked", &s->sign_revoked},
		{"issuer", &s->sign_issuer},   {"too-long", &s->sign_too_long},
	};

	write_header(f, "hardtack_cookies_signed_total", "counter",
		     "Cookies of backends signed, and session ids issued.");
	for (int p = 0; p < NPROFILES; p++)
		fprintf(f, "hardtack_cookies_signed_total{profile=\"%s\"} %" PRIu64 "\n",
			ht_profile_name((enum ht_profile)p), value_of(&s->signed_cookies[p]));

	write_header(f, "hardtack_cookies_unsigned_total", "counter",
		     "Covered cookies of backends not signed: a guard refused the value, the "
		     "connection has no binding, a sibling's name was set and dropped, the "
		     "session was revoked, or a session id was set and dropped.");
	for (size_t i = 0; i < HT_ARRAY_SIZE(not_signed); i++)
		fprintf(f, "hardtack_cookies_unsigned_total{reason=\"%s\"} %" PRIu64 "\n",
			not_signed[i].why, value_of(not_signed[i].n));
}

static void write_tokens(FILE *f, const struct ht_stats_global *g)
{
	write_header(f, "hardtack_tokens", "gauge",
		     "Tokens in the kernel's map now, and so far evicted and flushed from it.");
	fprintf(f, "hardtack_tokens{state=\"live\"} %" PRIu64 "\n", g->tokens_live);
	fprintf(f, "hardtack_tokens{state=\"evicted\"} %" PRIu64 "\n", g->tokens_evicted);
	fprintf(f, "hardtack_tokens{state=\"flushed\"} %" PRIu64 "\n", g->tokens_flushed);
}

static void write_sealed(FILE *f, const struct ht_stats_global *g)
{
	write_header(f, "hardtack_sealed", "gauge",
		     "Sealed cookies whose plaintext the kernel has now, and so far evicted and "
		     "flushed from it.");
	fprintf(f, "hardtack_sealed{state=\"live\"} %" PRIu64 "\n", g->sealed_live);
	fprintf(f, "hardtack_sealed{state=\"evicted\"} %" PRIu64 "\n", g->sealed_evicted);
	fprintf(f, "hardtack_sealed{state=\"flushed\"} %" PRIu64 "\n", g->sealed_flushed);
}

static void write_revoked(FILE *f, const struct ht_stats_global *g)
{
	write_header(f, "hardtack_revoked_sessions", "gauge",
		     "Sessions revoked by hand whose time has not come yet.");
	fprintf(f, "hardtack_revoked_sessions %" PRIu64 "\n", g->revoked_sessions);
}

static void write_refused(FILE *f, const struct ht_stats *s)
{
	write_header(f, "hardtack_gate_refused_total", "counter",
		     "Request heads refused and messages dropped on their way to a backend.");
	for (int r = HT_REASON_NONE + 1; r < HT_REASON_MAX; r++)
		fprintf(f, "hardtack_gate_refused_total{reason=\"%s\"} %" PRIu64 "\n",
			ht_reason_name((enum ht_reason)r), value_of(&s->refused[r]));
}

static void write_connections(FILE *f, const struct ht_stats *s)
{
	write_header(f, "hardtack_connections", "gauge", "Open connections.");
	for (int side = 0; side < HT_SIDE_MAX; side++)
		for (int state = 0; state < HT_CONN_STATE_MAX; state++)
			fprintf(f, "hardtack_connections{side=\"%s\",state=\"%s\"} %" PRId64 "\n",
				side_names[side], state_names[state],
				atomic_load_explicit(&s->connections[side][state],
						     memory_order_relaxed));
}

static void write_tls(FILE *f, const struct ht_stats *s)
{
	write_header(f, "hardtack_tls_connections_total", "counter",
		     "TLS handshakes completed, by what the kernel took over.");
	for (int v = 0; v < 2; v++)
		for (int tx = 0; tx < 2; tx++)
			for (int rx = 0; rx < 2; rx++)
				fprintf(f,
					"hardtack_tls_connections_total{version=\"%s\",ktls_tx=\"%"
					"s\","
					"ktls_rx=\"%s\"} %" PRIu64 "\n",
					tls_versions[v], off_on[tx], off_on[rx],
					value_of(&s->tls[v][tx][rx]));

	write_header(f, "hardtack_tls_refused_total", "counter",
		     "What clients were refused once TLS was established; all but renegotiation "
		     "and early data ended the connection.");
	for (int r = 0; r < HT_TLS_REFUSED_MAX; r++)
		fprintf(f, "hardtack_tls_refused_total{reason=\"%s\"} %" PRIu64 "\n",
			tls_refusals[r], value_of(&s->tls_refused[r]));
}

static void write_proxy(FILE *f, const struct ht_stats *s)
{
	write_header(
		f, "hardtack_proxy_refused_total", "counter",
		"Connections closed because their PROXY header is not from a trusted proxy, or "
		"is none.");
	fprintf(f, "hardtack_proxy_refused_total{reason=\"untrusted\"} %" PRIu64 "\n",
		value_of(&s->proxy_untrusted));
	fprintf(f, "hardtack_proxy_refused_total{reason=\"malformed\"} %" PRIu64 "\n",
		value_of(&s->proxy_malformed));
}

static void write_upstreams(FILE *f, const struct ht_stats_global *g)
{
	const char *const names[] = {"hardtack_upstream_up", "hardtack_upstream_active"};
	const char *const helps[] = {
		"1 if the upstream is given requests: neither found down nor resting.",
		"Requests under way to the upstream.",
	};

	for (size_t n = 0; n < HT_ARRAY_SIZE(names); n++) {
		write_header(f, names[n], "gauge", helps[n]);
		for (size_t i = 0; i < g->nupstreams; i++) {
			fprintf(f, "%s{site=\"", names[n]);
			write_label(f, g->upstreams[i].site);
			fputs("\",upstream=\"", f);
			write_label(f, g->upstreams[i].upstream);
			fprintf(f, "\"} %u\n",
				n ? g->upstreams[i].active : (uint32_t)g->upstreams[i].up);
		}
	}
	write_header(f, "hardtack_upstream_lookups_failed_total", "counter",
		     "Lookups of upstreams' names that failed; the addresses before stay in use.");
	fprintf(f, "hardtack_upstream_lookups_failed_total %" PRIu64 "\n", g->lookups_failed);
}

static void write_spliced(FILE *f, const struct ht_stats *s)
{
	write_header(f, "hardtack_spliced_bytes_total", "counter",
		     "Bytes of bodies that went from socket to socket without being copied.");
	fprintf(f, "hardtack_spliced_bytes_total{direction=\"request\"} %" PRIu64 "\n",
		value_of(&s->spliced_in));
	fprintf(f, "hardtack_spliced_bytes_total{direction=\"response\"} %" PRIu64 "\n",
		value_of(&s->spliced_out));
}

static void write_plain(FILE *f, const struct ht_stats *s)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(plain); i++) {
		write_header(f, plain[i].name, "counter", plain[i].help);
		fprintf(f, "%s %" PRIu64 "\n", plain[i].name,
			value_of((const _Atomic uint64_t *)((const char *)s + plain[i].offset)));
	}
}

/* What the kernel counted itself; absent while the gate is off. */
static void write_gate(FILE *f, const struct ht_stats_global *g)
{
	const uint64_t *n = g->gate_counters;

	write_header(f, "hardtack_gate_on", "gauge", "1 if the kernel gives the verdicts.");
	fprintf(f, "hardtack_gate_on %d\n", g->gate_on);
	if (!g->gate_on)
		return;

	for (size_t i = 0; i < HT_ARRAY_SIZE(gate_plain); i++) {
		write_header(f, gate_plain[i].name, "counter", gate_plain[i].help);
		fprintf(f, "%s %" PRIu64 "\n", gate_plain[i].name, n[gate_plain[i].index]);
	}
	write_header(
		f, "hardtack_gate_cookies_total", "counter",
		"Covered cookies that the kernel judged, or left to be judged for the report.");
	for (size_t i = 0; i < HT_ARRAY_SIZE(gate_cookies); i++)
		fprintf(f, "hardtack_gate_cookies_total{result=\"%s\"} %" PRIu64 "\n",
			gate_cookies[i].label, n[gate_cookies[i].index]);
	write_header(f, "hardtack_gate_sockets_total", "counter",
		     "Backend sockets taken, or not taken, into the gate.");
	for (size_t i = 0; i < HT_ARRAY_SIZE(gate_sockets); i++)
		fprintf(f, "hardtack_gate_sockets_total{result=\"%s\"} %" PRIu64 "\n",
			gate_sockets[i].label, n[gate_sockets[i].index]);
	write_header(f, "hardtack_gate_kernel_refused_total", "counter",
		     "As hardtack_gate_refused_total, counted by the kernel itself.");
	for (int r = HT_REASON_NONE + 1; r < HT_REASON_MAX; r++)
		fprintf(f, "hardtack_gate_kernel_refused_total{reason=\"%s\"} %" PRIu64 "\n",
			ht_reason_name((enum ht_reason)r), n[HT_COUNT_REASON + r]);
}

/* Only where kernel.bpf_stats_enabled is on: a zero would be a lie. */
static void write_bpf_stats(FILE *f, const struct ht_stats_global *g)
{
	if (!g->bpf_stats)
		return;
	write_header(f, "hardtack_gate_run_seconds_total", "counter",
		     "Time spent in the gate's program, by the kernel's BPF statistics.");
	fprintf(f, "hardtack_gate_run_seconds_total %.9f\n", g->gate_run_seconds);
	write_header(f, "hardtack_gate_runs_total", "counter",
		     "Runs of the gate's program, by the kernel's BPF statistics.");
	fprintf(f, "hardtack_gate_runs_total %" PRIu64 "\n", g->gate_runs);
}

static void write_number(FILE *f, const char *name, const char *type, const char *help, uint64_t n)
{
	write_header(f, name, type, help);
	fprintf(f, "%s %" PRIu64 "\n", name, n);
}

static void write_guard(FILE *f, const struct ht_stats *s, const struct ht_stats_global *g)
{
	write_number(f, "hardtack_guard_dropped_total", "counter",
		     "Packets of banned sources that the guard dropped.", g->guard.packets.dropped);
	write_number(f, "hardtack_guard_would_drop_total", "counter",
		     "Packets that it would have dropped in mode drop.", g->guard.packets.reported);
	write_number(f, "hardtack_guard_spared_packets_total", "counter",
		     "Packets from a banned prefix that passed: their address is allowed.",
		     g->guard.packets.spared);
	write_header(f, "hardtack_guard_refused_total", "counter",
		     "Connections and requests of banned clients that the daemon refused, or would "
		     "have in mode drop.");
	for (int m = HT_GUARD_REPORT; m <= HT_GUARD_DROP; m++)
		fprintf(f, "hardtack_guard_refused_total{mode=\"%s\"} %" PRIu64 "\n",
			ht_guard_mode_name((enum ht_guard_mode)m), value_of(&s->guard_refused[m]));
	write_number(f, "hardtack_guard_bans", "gauge", "Bans that are running.", g->guard_bans);
	write_header(f, "hardtack_guard_bans_total", "counter",
		     "Bans made; those of mode report changed nothing.");
	for (int m = HT_GUARD_REPORT; m <= HT_GUARD_DROP; m++)
		fprintf(f, "hardtack_guard_bans_total{mode=\"%s\"} %" PRIu64 "\n",
			ht_guard_mode_name((enum ht_guard_mode)m), g->guard.bans[m]);
	write_number(f, "hardtack_guard_bans_failed_total", "counter",
		     "Bans that the kernel's map did not take.", g->guard.failed);
	write_number(f, "hardtack_guard_forged_total", "counter",
		     "Requests with forged cookies that were scored, of whomever.",
		     value_of(&s->guard_forged));
	write_number(f, "hardtack_guard_spared_total", "counter",
		     "Of them those of clients that are never banned.", g->guard.spared);
	write_number(f, "hardtack_guard_held_total", "counter",
		     "Of them those of rules whose key or tokens were replaced lately.",
		     g->guard.held);
	write_number(f, "hardtack_guard_held_rules", "gauge", "Such rules.", g->guard_held);
	write_header(f, "hardtack_guard_interface_up", "gauge",
		     "Whether the guard's program is on the interface, and how.");
	for (size_t i = 0; i < g->nguard_interfaces; i++)
		fprintf(f, "hardtack_guard_interface_up{interface=\"%s\",xdp=\"%s\"} %d\n",
			g->guard_interfaces[i].name, g->guard_interfaces[i].state,
			strcmp(g->guard_interfaces[i].state, "none") != 0);
	write_number(f, "hardtack_guard_forgotten_total", "counter",
		     "Sources that scoring forgot for want of room.", g->guard.evicted);
}

char *ht_stats_prometheus(const struct ht_stats *const *workers, size_t nworkers,
			  const struct ht_stats_global *g, size_t *ret_len)
{
	_cleanup_free_ struct ht_stats *sum = malloc(sizeof(*sum));
	_cleanup_free_ char *text = NULL;
	bool failed;
	size_t len;
	FILE *f;

	if (!sum)
		return NULL;
	f = open_memstream(&text, &len);
	if (!f)
		return NULL;

	ht_stats_sum(workers, nworkers, sum);
	errno = 0;
	write_requests(f, sum, g);
	write_verdicts(f, sum);
	write_signed(f, sum);
	write_tokens(f, g);
	write_sealed(f, g);
	write_revoked(f, g);
	ht_stats_write_keys(f, g);
	write_refused(f, sum);
	write_connections(f, sum);
	write_tls(f, sum);
	write_guard(f, sum, g);
	write_proxy(f, sum);
	write_plain(f, sum);
	write_spliced(f, sum);
	write_upstreams(f, g);
	write_gate(f, g);
	write_bpf_stats(f, g);

	/* glibc forgets what a stream in memory could not take once, but not why */
	failed = ferror(f) || errno == ENOMEM;
	if (fclose(f) || failed)
		return NULL;
	*ret_len = len;
	return TAKE_PTR(text);
}
