/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel gate as the daemon sees it: loading and attaching, one ht_gate per backend
 * connection through which every byte towards a backend goes, and the token map. Where BPF is
 * missing or not wanted the same calls work without it, so that nobody else needs to know. The
 * only module that includes <bpf/...>.
 */
#ifndef HT_OFFLOAD_H
#define HT_OFFLOAD_H

#include <sys/types.h>

#include "abi.h"
#include "config.h"
#include "policy.h"
#include "splice.h"
#include "util.h"

struct ht_offload;

struct ht_offload_params {
	enum ht_tristate gate;
	const char *pin;     /* directory on bpffs; NULL = nothing is pinned */
	const char *cgroup;  /* cgroup v2 directory; NULL = the process's own */
	uint32_t max_tokens; /* per CPU */
	uint32_t max_sealed; /* sealed cookies that the kernel can open; 0 = none, and no memory */
	uint32_t max_slots;  /* backend connections, all workers together */
	uint32_t max_sites;
	/*
	 * For a restart: `keep` leaves tokens, gens and abi pinned at the end (`rm -r` of the
	 * directory removes them). Tokens found under `pin` are used again if their ABI and sizes
	 * agree and `id` is theirs; then `sip` are their keys.
	 */
	bool keep;
	uint64_t id; /* 0 = none */
	const struct ht_sip_keys *sip;
	unsigned wait_ms; /* for a daemon on the same pin that drains */
};

/*
 * Loads the programs, attaches verdict before sockops, pins. HT_OFF never touches BPF. HT_AUTO
 * returns an object that is off where BPF can't be had, and *why says why; HT_REQUIRE fails
 * with -errno instead. Generates the SipHash keys. The caller owns *ret.
 */
int ht_offload_open(const struct ht_offload_params *p, struct ht_offload **ret, char *why,
		    size_t why_len);
void ht_offload_close(struct ht_offload *o); /* NULL-safe; unpins what is not to be kept */

bool ht_offload_on(const struct ht_offload *o);

bool ht_offload_reused(const struct ht_offload *o); /* the tokens of a daemon before us */
uint64_t ht_offload_id(const struct ht_offload *o); /* to be kept beside the keys */
uint32_t ht_offload_generation(const struct ht_offload *o, uint32_t index); /* as in `gens` */
uint32_t ht_offload_max_sites(const struct ht_offload *o);
void ht_offload_yield(struct ht_offload *o); /* we drain: who waits for the pin may go on waiting */
const struct ht_sip_keys *ht_offload_keys(const struct ht_offload *o);
const char *ht_offload_pin(const struct ht_offload *o); /* directory or NULL */

/* Publishes a site's rules under an index < max_sites. */
int ht_offload_policy(struct ht_offload *o, uint32_t index, const struct ht_policy *p);

/* The index of a site without rules, for requests that are not judged. */
uint32_t ht_offload_no_rules(const struct ht_offload *o);

/* Publishes the generations of a key-ring snapshot: after it every older token is a miss. */
void ht_offload_generations(struct ht_offload *o, const struct ht_keyring *ring);

/*
 * Puts a verified token into the map under the generations that it carries, beside the other
 * tags of the same session if their generations are the same; or the plaintext of a sealed cookie
 * into its own map: -E2BIG if that is too long, -ENOSPC where there is no room for any. Thread-safe.
 * Nothing when off.
 */
int ht_offload_push(struct ht_offload *o, const struct ht_push *push);

/*
 * Empties the token map and returns how many entries went (approximate while others push), and that
 * of plaintext. Goes with a bump of the global generation, which is what makes it safe.
 */
size_t ht_offload_flush(struct ht_offload *o);
size_t ht_offload_tokens(struct ht_offload *o); /* live entries, counted by walking the map */

/* Entries that the LRU has pushed out since the start, given how many live now. */
uint64_t ht_offload_evicted(struct ht_offload *o, size_t live);
uint64_t ht_offload_flushed(const struct ht_offload *o); /* entries, since the start */

/* The map of plaintext. Counted by walking its keys: 0.3 us each. All zero when off. */
struct ht_sealed_use {
	size_t live, bytes; /* bytes: what the kernel accounts to it, full or not */
	uint64_t evicted, flushed;
	uint32_t max;
};
void ht_offload_sealed(struct ht_offload *o, struct ht_sealed_use *ret);

/* Calls `fn` for each entry of the token map with the sum of its hits over the CPUs, at most `limit` entries. */
int ht_offload_walk(struct ht_offload *o, size_t limit,
		    void (*fn)(void *arg, const struct ht_token_key *key,
			       const struct ht_token *token, uint64_t hits),
		    void *arg);

/* Sums of the per-CPU counters; all zero when off. */
void ht_offload_counters(struct ht_offload *o, uint64_t ret[HT_COUNT_MAX]);

/* Time and runs of the verdict program; -ENODATA while kernel.bpf_stats_enabled is 0. */
int ht_offload_run_stats(const struct ht_offload *o, uint64_t *ret_ns, uint64_t *ret_runs);

/* Instructions of the verdict program: as it was compiled, and as the kernel translated it. */
int ht_offload_verdict_insns(const struct ht_offload *o, uint32_t *ret_own, uint32_t *ret);

/*
 * Is that all of the program? A kernel adds some and removes what it takes for dead; a verifier that
 * misreads a program (6.1, where bpf_loop() changes the stack) takes most of it for dead.
 */
bool ht_offload_is_whole(uint32_t own, uint32_t translated);

/* Slots that a backend connection holds. Any thread. */
uint32_t ht_offload_slots_used(struct ht_offload *o);

int ht_offload_verdict_fd(const struct ht_offload *o); /* borrowed; -ENOENT when off */

/* For the log line at start: bytes that the kernel accounts to the token map, possible CPUs. */
size_t ht_offload_token_bytes(const struct ht_offload *o, unsigned *ret_cpus);

/* ---- one backend connection ---- */

struct ht_gate {
	struct ht_offload *offload;
	int fd;		      /* owned; -1 = closed */
	uint32_t index;	      /* of its slot */
	struct ht_slot *slot; /* shared with the kernel; NULL when off */
	uint64_t nonce, seq;
	size_t pending; /* bytes of a short send: exactly these must be sent next */
	/* Instead of send(), for what the kernel can't judge (TLS): bytes taken, -EAGAIN, -errno. */
	ssize_t (*write)(void *arg, const void *data, size_t len);
	void *write_arg;
};

/*
 * Takes over `fd`, a new socket that is not connected yet; call connect() after it. -ENOSPC when
 * the slots are used up, -errno; the fd is closed on failure.
 */
int ht_gate_open(struct ht_gate *g, struct ht_offload *o, int fd);

/* After the socket became writable: may it send? Always true when off. Once false, close. */
bool ht_gate_admitted(const struct ht_gate *g);

/* close() and give the slot back; the only way out of a drop. `reset`: RST instead of FIN. */
void ht_gate_close(struct ht_gate *g, bool reset);

struct ht_gate_head {
	uint32_t policy;	       /* index of the site */
	const struct ht_binding *bind; /* nbinds of them */
	size_t nbinds;
	const uint64_t *opened; /* ht_policy_client.opened once judged, or NULL */
	bool more;		/* a body follows */
	bool judged;		/* the daemon has judged it: sent as is when off */
};

struct ht_gate_answer {
	enum ht_verdict verdict;
	enum ht_reason reason;
	uint32_t hit, forged, missing, unknown; /* covered cookies as bits, as in ht_slot */
	uint8_t rule[HT_COOKIES_MAX];		/* likewise */
};

/*
 * Sends exactly one complete head in one sendmsg. PASS: it left (less what was cut). MISS or
 * REFUSED: nothing left, judge it, then call again with judged = true. When off, the first
 * call always answers MISS. `judged` overrides nothing when the gate is on. Returns 0, or -errno
 * when the connection is dead: a failed, short or dropped send; close it with reset. Only while
 * nothing is queued on the socket.
 */
int ht_gate_send_head(struct ht_gate *g, const struct ht_gate_head *h, const void *head, size_t len,
		      struct ht_gate_answer *ret);

/*
 * Body bytes; returns how many were taken (maybe fewer), -EAGAIN, or -errno when dead. After a
 * short send or -EAGAIN the next call must offer exactly the rest of the same bytes: less or
 * more is -EINVAL, and nothing is sent.
 */
ssize_t ht_gate_send_body(struct ht_gate *g, const void *data, size_t len, bool more);

/* As send_body, with all that is in the pipe; not where `write` is set. */
ssize_t ht_gate_splice_body(struct ht_gate *g, struct ht_pipe *pipe);

/* A chunk-size line made by ht_http_chunk_line(), or the end ([CRLF]0CRLFCRLF); as send_body. */
ssize_t ht_gate_send_chunk_line(struct ht_gate *g, const void *line, size_t len);
ssize_t ht_gate_send_end(struct ht_gate *g, const void *end, size_t len);

/* Bytes after a 101; as send_body. */
ssize_t ht_gate_send_tunnel(struct ht_gate *g, const void *data, size_t len);

/* The version of libbpf, "v1.1". */
const char *ht_offload_library(void);

#endif
