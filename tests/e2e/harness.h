/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the end-to-end tests stand on: a real hardtackd under test (struct gw), scripted and real
 * backends, raw clients. Knows nothing of the daemon's insides: everything goes through its
 * configuration, its sockets and its commands. Functions fail the running Criterion test when
 * something that must work does not, so call them from the test's own thread only.
 */
#ifndef HT_E2E_HARNESS_H
#define HT_E2E_HARNESS_H

#include <errno.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define E2E_KEY "AzaZ5678901234567XYZ34567XYZ" /* compat.md's vectors use it too */
#define E2E_ALICE "CN=Alice Example,OU=Staff,O=Example Corp,C=US"
#define E2E_BOB "CN=Bob Example,OU=Staff,O=Example Corp,C=US"
#define E2E_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define E2E_TIMEOUT 600 /* seconds before Criterion gives a test up */

/* ---- the run: what main() prepares once and every test (a process of its own) finds ---- */

const char *run_dir(void);	 /* certificates live here: edge, other, ca, alice, ... */
int run_deadline_ms(void);	 /* how long to wait for what must come */
bool run_gate_on(void);		 /* GATE asks for the kernel and BPF can be had */
bool run_slow(void);		 /* HT_SLOW: a request may take seconds */
bool run_sanitized(void);	 /* hardtackd was built with a sanitizer */
bool run_small(void);		 /* HT_SCALE=small: fewer requests, smaller bodies, same checks */
const char *run_test_name(void); /* suite.test */
bool run_have_bpf(void);
void run_make_certificates(void);    /* main() only */
void run_sweep(void);		     /* main() only: what crashed tests left */
void run_note_skip(const char *why); /* counted in the last line of the run */
void run_note_start(void); /* of a daemon: each tries kTLS once, which the kernel counts */
int64_t run_now_ms(void);
void run_pause_ms(int ms);		/* between two looks at a condition, never instead of one */
void run_pause(void);			/* the same; longer where looking takes long */
void run_pause_since(int64_t began_ms); /* and the longer the longer one has looked already */

/* Ends the test early and visibly; in CI (env CI) it is a failure. */
#define e2e_skip(why)                                                                              \
	do {                                                                                       \
		run_note_skip(why);                                                                \
		return;                                                                            \
	} while (0)

/*
 * A call on a socket with a deadline ends with EINTR when the process is stopped and goes on (a
 * debugger, a freezer): nothing has happened then, and it is made again.
 */
#define e2e_again(call)                                                                            \
	({                                                                                         \
		ssize_t again_;                                                                    \
		do {                                                                               \
			errno = 0;                                                                 \
			again_ = (call);                                                           \
		} while (again_ < 0 && errno == EINTR);                                            \
		again_;                                                                            \
	})

/* First line of every test that starts a gateway: GATE=require without BPF is a skip. */
#define e2e_need_gate()                                                                            \
	do {                                                                                       \
		if (getenv("HT_GATE") && !strcmp(getenv("HT_GATE"), "require") && !run_have_bpf()) \
			e2e_skip("HT_GATE=require, but BPF can't be had here");                    \
	} while (0)

/* For what only a gate can do. Without one by choice (HT_GATE=off) there is nothing to test. */
#define e2e_gate_only()                                                                            \
	do {                                                                                       \
		if (getenv("HT_GATE") && !strcmp(getenv("HT_GATE"), "off"))                        \
			return;                                                                    \
		if (!run_have_bpf())                                                               \
			e2e_skip("BPF can't be had here");                                         \
	} while (0)

/* Waits until `cond` holds; a false result means that the deadline passed. */
#define e2e_wait(cond)                                                                             \
	({                                                                                         \
		int64_t _began = run_now_ms();                                                     \
		bool _ok;                                                                          \
		while (!(_ok = (cond)) && run_now_ms() < _began + run_deadline_ms())               \
			run_pause_since(_began);                                                   \
		_ok;                                                                               \
	})

/* ---- text ---- */

struct text {
	char *p; /* always NUL-terminated once something was added */
	size_t len, cap;
};
void text_add(struct text *t, const void *p, size_t len);
void text_addf(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_clear(struct text *t);
void text_free(struct text *t);
char *text_file(const char *path, size_t *ret_len); /* NULL if it can't be read */
bool text_has(const void *hay, size_t len, const char *needle);

/* base64(HMAC-SHA256(key, value ":" input)), computed here with OpenSSL alone. */
const char *token_for(const char *value, const char *input); /* 16 results live at a time */
void token_make(const char *value, size_t len, const char *input, char ret[45]);

/*
 * Expands {value} and {value@input} into tokens (input 127.0.0.1 where none is given) and
 * {*N} into N letters; appends to `out`.
 */
void token_expand(struct text *out, const char *pattern);

uint64_t pattern_hash(uint64_t h, const void *p, size_t len); /* CRC-32; start with 0 */
void pattern_fill(char *p, size_t len, uint64_t offset);      /* body bytes, by their offset */
uint64_t pattern_hash_of(uint64_t len);

/* Runs a command to its end; stdout and stderr into `out` (may be NULL). Returns its exit code. */
int run_command(struct text *out, const char *const argv[]);
const char *run_ctl(void); /* path of hardtackctl */
const char *run_daemon(void);

/* ---- the gateway ---- */

struct gw_spec {
	const char *cookies;	/* YAML flow list; NULL = one rule: sid by client-ip */
	const char *sites;	/* the whole sites block instead; %P is the first upstream's port */
	const char *upstreams;	/* instead of "127.0.0.1:PORT" of `backend` */
	const char *tls_extra;	/* further lines of the TLS block, six blanks deep */
	const char *tls2_extra; /* a second TLS listener with these lines */
	const char *address;	/* of the plain listener; 127.0.0.1 */
	const char *plain_extra; /* further lines of the plain listener, four blanks deep */
	const char *site_extra;	 /* further lines of the one site, four blanks deep */
	const char *timeouts, *limits, *tokens; /* YAML flow maps; tokens: 2000 */
	const char *keys;			/* further lines of `keys` */
	const char *top;			/* further lines at top level */
	const char *gate;			/* instead of what HT_GATE says */
	bool ipv6;				/* a plain listener on [::1] too */
	int workers;				/* 0 = 1 */
	const char *pin;			/* instead of its own */
	bool handed_over;    /* its plain and TLS sockets are ours (LISTEN_FDS) */
	uint64_t caps;	     /* capabilities that it has, as bits; 0 = all that we have */
	bool expect_failure; /* gw_start() returns NULL when it ends before it is ready */
	bool own; /* where gateways are shared, not one of those: its start or its end matters */
};
extern const struct gw_spec gw_own;

struct backend;

struct gw {
	char dir[128], pin[128], control[160], config[160], stderr_path[160], access_path[160];
	pid_t pid;
	int plain, tls, tls2, ipv6, admin; /* ports */
	int exit_status;		   /* after gw_end() */
	bool draining;
	int fds[2]; /* listening sockets that it is handed, 0 = none */
	uint64_t caps;
	/* of one that is shared (pool.c) */
	bool pooled;
	int lock;
	struct text before; /* /metrics when this test began */
};

/* `be` may be NULL where spec says which upstreams. Waits until it is ready. */
struct gw *gw_start(struct backend *be, const struct gw_spec *spec);
void gw_stop(struct gw *gw);	  /* SIGTERM, exit 0, no sanitizer report, no secret in its logs */
void gw_terminate(struct gw *gw); /* SIGTERM only */
int gw_end(struct gw *gw);	  /* waits for its end; exit code, or -signal */
bool gw_logged(struct gw *gw, const char *word);
/* The same daemon once more, after its end; or at once, while the one before drains. */
bool gw_restart(struct gw *gw);
bool gw_restart_over(struct gw *gw);
/* Changes its configuration file: the first `old` becomes `new`. */
void gw_edit(struct gw *gw, const char *old, const char *new);
void gw_write(struct gw *gw, const char *name, const char *text, mode_t mode); /* in its dir */
long gw_status_kb(struct gw *gw, const char *field); /* VmRSS, VmHWM ... */
/* How many descriptors the daemon holds: ends of pipes, or all others. */
int gw_descriptors(const struct gw *gw, bool pipes);
int gw_ctl(struct gw *gw, struct text *out, const char *command, const char *arg);
/* What hardtackctl would ask, LINE, without a process: for who asks until something has happened. */
bool gw_ask(struct gw *gw, struct text *out, const char *line);

int port_free(void); /* a port nobody listens on, outside the ephemeral range */

/* Sum of the samples of `name` that carry every given label ("where=\"kernel\""), NULL-ended. */
double gw_metric(struct gw *gw, const char *name, ...) __attribute__((sentinel));
/* GET on the admin listener. Returns the status. */
int gw_admin(struct gw *gw, const char *path, struct text *body);

/* Covered cookies that passed because their token is right, by kernel or daemon. */
double gw_passed(struct gw *gw);
double gw_hits(struct gw *gw); /* kernel hits; with the gate off, what was computed */
double gw_verdicts(struct gw *gw, const char *verdict, const char *action);

/* ---- the scripted backend ---- */

#define BODY_KEEP (4u << 20)

struct breq {
	char *head;
	size_t head_len;
	char *body; /* decoded, its first BODY_KEEP bytes */
	size_t body_kept;
	uint64_t body_len, body_hash;
	bool chunked, complete, broken; /* broken: ended or malformed before its end */
	int conn;			/* which connection, from 0 */
};

struct bconn {
	struct backend *be;
	int fd, id;
	char *buf;
	size_t len;
	bool closed, body_read;
	SSL *ssl; /* of a TLS backend */
	pthread_t thread;
};

typedef void (*backend_fn)(struct bconn *c, struct breq *r);

struct backend {
	int fd, port;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	backend_fn handler; /* NULL = backend_answer */
	char *reply; /* raw bytes that backend_answer sends; NULL = 200, the target as body */
	size_t reply_len;
	bool reply_close; /* close after it */
	struct breq *reqs[16384];
	int nreqs, nconns, nclosed;
	struct bconn *conns[4096];
	bool stopping, no_record, keep_raw;
	struct text raw;  /* with keep_raw: all that came, all connections */
	int flags[8];	  /* for backend_flag() */
	uint64_t counter; /* for handlers */
	SSL_CTX *ctx;	  /* NULL = plain */
	int nhandshakes;  /* that failed */
	void *arg;
};

struct backend *backend_start(backend_fn handler);
struct backend *backend_start_on(int port, backend_fn handler);
struct backend *backend_start_at(const char *address, int port, backend_fn handler);
/* Speaks TLS; cert: a name in run_dir(). max_version: TLS1_2_VERSION; 0 = any. */
struct backend *backend_start_tls(const char *cert, int max_version, backend_fn handler);
void backend_stop(struct backend *be);			 /* records, unless no_record */
void backend_reply(struct backend *be, const char *raw); /* for the requests from now on */
void backend_reply_bytes(struct backend *be, const void *raw, size_t len, bool close_after);
bool backend_wait(struct backend *be, int nreqs); /* that many complete requests */
bool backend_wait_heads(struct backend *be, int nreqs);
int backend_count(struct backend *be);
int backend_conns(struct backend *be);
struct breq *backend_req(struct backend *be, int i); /* fails the test if there is none */
struct breq *backend_last(struct backend *be);
/* Conditions between a test and its handlers. */
void backend_set(struct backend *be, int flag, int value);
bool backend_until(struct backend *be, int flag, int value); /* >= value; handlers may call it */

/* For handlers, on their own threads: */
void backend_answer(struct bconn *c, struct breq *r); /* the body, then the reply */
bool bconn_body(struct bconn *c, struct breq *r);     /* reads the rest of the request */
bool bconn_send(struct bconn *c, const void *p, size_t len);
bool bconn_sendf(struct bconn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool bconn_send_pattern(struct bconn *c, uint64_t len, bool chunked);
ssize_t bconn_recv(struct bconn *c, void *p, size_t len); /* raw, buffered bytes first */
void bconn_close(struct bconn *c, bool reset);

/* Value of the n-th field of that name (any case) in a head, or NULL; 8 results live at a time. */
const char *head_field(const char *head, const char *name, int n);
int head_count(const char *head, const char *name);
/* All cookie pairs, trimmed, in order, as "a=1|b=2". `but`: a name to leave out, or NULL. */
void head_cookies(const char *head, const char *but, struct text *out);
void breq_target(const struct breq *r, char *out, size_t cap);

/* ---- nginx as a backend ---- */

struct nginx {
	char dir[128];
	int port;
	pid_t pid;
};
bool nginx_have(void);
struct nginx *nginx_start(void);
void nginx_stop(struct nginx *n);			  /* the cookie log is complete after it */
char *nginx_cookie_log(struct nginx *n, size_t *ret_len); /* "ID STATUS COOKIES" lines */

/* ---- clients ---- */

struct response {
	int status; /* 0: no response came */
	char *head;
	size_t head_len;
	char *body; /* decoded, first BODY_KEEP bytes */
	size_t body_kept;
	uint64_t body_len, body_hash;
	bool chunked, until_close, truncated, has_length;
	uint64_t length; /* Content-Length, also where no body comes */
};

struct client_options {
	const char *from, *to; /* addresses; 127.0.0.1 */
	int port;
	bool tls;
	const char *sni, *cert, *alpn; /* cert: a name in run_dir() */
	int version;		       /* TLS1_2_VERSION; 0 = any */
	uint64_t ssl_options;	       /* SSL_OP_... */
	SSL_SESSION *session;	       /* to resume */
	const char *before; /* sent before everything else, in one segment with what follows */
	size_t before_len;  /* 0 = strlen() */
	int rcvbuf;
};

struct client {
	int fd;
	SSL *ssl;
	char *buf;
	size_t len, cap;
	bool eof, error;
	struct response r;
};

struct client *client_open(const struct client_options *o); /* must work */
struct client *client_try(const struct client_options *o);  /* NULL: refused or no handshake */
struct client *client_plain(struct gw *gw);
struct client *client_tls(struct gw *gw);
struct client *client_from(struct gw *gw, const char *from);
void client_close(struct client *c);
bool client_send(struct client *c, const void *p, size_t len);
bool client_sendf(struct client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool client_send_pattern(struct client *c, uint64_t len);
ssize_t client_recv(struct client *c, void *p, size_t len); /* raw, buffered bytes first */
/* Reads one response (1xx included). It is the client's, until the next one. */
struct response *client_read(struct client *c);
struct response *client_read_head_only(struct client *c); /* the response to a HEAD */
bool client_at_eof(struct client *c);			  /* waits for the end; no byte may come */
bool client_open_now(struct client *c);			  /* no end in sight: nothing to read */
/* One GET on an open connection; `fields` are complete lines or "". */
struct response *client_get(struct client *c, const char *target, const char *fields);
/* GET / on a new plain connection; only the status. */
int client_once(struct gw *gw, const char *from, const char *fields);

const char *response_field(const struct response *r, const char *name, int n);
int response_count(const struct response *r, const char *name);

#endif
