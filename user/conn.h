/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's connection and the exchanges on it, one after the other. conn.c is the walk from
 * accept to close; conn_request.c carries a request to the backend, conn_response.c its answer back,
 * conn_tunnel.c what follows a 101. All of it runs on the worker that accepted the
 * connection.
 */
#ifndef HT_CONN_H
#define HT_CONN_H

#include <pthread.h>
#include <stdatomic.h>

#include "binding.h"
#include "buf.h"
#include "config.h"
#include "gateway.h"
#include "http.h"
#include "keyring.h"
#include "log.h"
#include "loop.h"
#include "offload.h"
#include "policy.h"
#include "splice.h"
#include "stats.h"
#include "tls.h"
#include "upstream.h"
#include "util.h"

/* ---- what connections share ---- */

/*
 * A generation as one worker uses it: with its own connections to the upstreams. A client's
 * connection holds one for its listener and one for its exchange. The worker's thread only.
 */
struct ht_view {
	struct ht_gateway *gateway;	/* a reference */
	struct ht_upstreams *upstreams; /* one set per site */
	size_t refs;
};

#define HT_EXTRAS_MAX HT_HTTP_FIELDS_MAX
/* Bytes of lines that we may add to one response, or put in a field's place. */
#define HT_ARENA 65536

/* What a worker lends to its connections: pools, counters and room to work in. */
struct ht_workspace {
	struct ht_gateway *gateway; /* the newest generation: that of `view` */
	struct ht_view *view;	    /* what new connections and new requests get */
	struct ht_loop loop;
	struct ht_bufs bufs;
	struct ht_pipes up_pipes, down_pipes;
	struct ht_stats *stats;
	struct ht_keyring *ring;
	struct ht_revoked *revoked; /* of the same moment; or NULL */
	uint32_t ring_version;
	bool draining; /* no more requests: connections end after the one that they serve */
	struct ht_conn *conns;
	size_t nconns;
	uint64_t next_id;
	char id_prefix[17]; /* X-Request-ID: half of it is random, half of it counts */
	uint64_t request_count;
	/* scratch, good for one call */
	struct ht_http_request request;
	struct ht_http_response response;
	struct ht_head head;
	struct ht_judgement judgement;
	struct ht_http_extra extras[HT_EXTRAS_MAX];
	uint16_t drops[HT_HTTP_FIELDS_MAX];
	char before[HT_HEAD_MAX]; /* a request head that is being judged */
	char arena[HT_ARENA];
	char reply[HT_BUF_LARGE]; /* a response head as it leaves */
};

/* Opens pools and upstreams; takes a reference on the key ring. -errno. */
int ht_workspace_open(struct ht_workspace *ws, struct ht_gateway *g, struct ht_stats *stats);
/* Closes what is left of connections and gives everything back. */
void ht_workspace_close(struct ht_workspace *ws);

struct ht_view *ht_view_ref(struct ht_view *v);
void ht_view_unref(struct ht_view *v); /* NULL-safe */

/* New requests are served by this generation, the others go on as they began. -errno: they all do. */
int ht_workspace_switch(struct ht_workspace *ws, struct ht_gateway *g);

/* No more requests: idle connections are closed, the others end after their exchange. */
void ht_workspace_drain(struct ht_workspace *ws);

/* ---- one connection ---- */

enum ht_phase {
	HT_PHASE_PROXY, /* the PROXY header is to come */
	HT_PHASE_HANDSHAKE,
	HT_PHASE_HEAD,	   /* between requests, or in the middle of a head */
	HT_PHASE_EXCHANGE, /* a request and its answer, both ways at once */
	HT_PHASE_TUNNEL,
	HT_PHASE_LINGER, /* answered and shut; what the client still sends is thrown away */
	HT_PHASE_CLOSED,
};

enum ht_upload {
	HT_UPLOAD_CONNECT, /* the backend connection is on its way */
	HT_UPLOAD_HEAD,	   /* ready to send the head */
	HT_UPLOAD_BODY,
	HT_UPLOAD_BROKEN, /* the backend takes no more; it may have said why */
	HT_UPLOAD_DONE,
};

enum ht_answer {
	HT_ANSWER_HEAD, /* nothing of the final answer has been seen */
	HT_ANSWER_BODY,
	HT_ANSWER_DONE,
};

/* A message on its way to the backend; after a short send exactly its rest must follow. */
struct ht_piece {
	enum ht_kind kind; /* HT_KIND_NONE = none is on its way */
	const char *at;	   /* NULL = what is in conn.up */
	size_t len;
};

/* One request and its answer. All zero at its beginning. */
struct ht_exchange {
	const struct ht_site_config *site;
	const struct ht_policy_site *policy;
	uint32_t site_index;
	uint64_t started_us, bytes_in, bytes_out;
	char request_id[65]; /* ours, or a trusted proxy's */

	/* the request */
	enum ht_upload upload;
	enum ht_http_body body;
	uint64_t body_left; /* of HT_BODY_LENGTH, not yet taken from the input */
	uint64_t body_size; /* of HT_BODY_CHUNKED, so far: there is a limit */
	struct ht_http_chunked chunked;
	struct ht_piece piece;
	const char *data; /* of the chunk whose size line is on its way: it is next; as piece.at */
	size_t data_len;
	char line[24];
	uint64_t tried;	   /* upstreams that failed, as bits */
	uint32_t affinity; /* gen of the upstream that the client's cookie names; 0 = none */
	unsigned attempts;
	int minor;
	bool head, idempotent, upgrade, ntlm;
	bool interim;	    /* a 1xx came from the backend: it has begun to answer */
	bool expecting;	    /* the client waits for a 100 before it sends its body */
	bool body_sent;	    /* bytes of the body are with the backend: too late to try another */
	bool body_complete; /* the client has sent all of it */
	bool chunked_once;  /* a size line has been sent */
	bool fresh;	    /* a pooled connection died under us: no other pooled one */
	bool judged;	    /* by us alone: what stands in conn.head is what may pass */
	bool opens;	    /* it was judged here: what the gate could not open then it can't now */
	bool canonical;	    /* rewritten after a refusal; there is no second time */
	bool counted;	    /* its cookies are in the metrics */
	bool timed_out;	    /* an upstream took too long to connect */
	bool https;	    /* by our listener, or by the word of a trusted proxy */
	bool exempt;	    /* no cookie of it is judged */
	bool scored;	 /* the guard knows of a forged cookie of it; more of them count as one */
	uint32_t issues; /* rules that issue a session id to a request without one, as bits */
	uint32_t issued; /* those whose id stands in the head now, and in `owed` */
	uint64_t opened[2];   /* ht_policy_client.opened; 0,0 = not needed so far */
	struct ht_owed *owed; /* what the answer is to carry; ht_owed_free() */

	/* the answer */
	enum ht_answer answer;
	enum ht_http_body reply_body, answer_body;
	uint64_t answer_left;
	struct ht_http_chunked answer_chunked;
	size_t scanned;
	uint32_t raw, raw_end; /* not yet processed bytes of the backend's, in conn.out */
	bool partial;	       /* they are an incomplete head */
	bool broken;	       /* its chunks made no sense: what was good of it still leaves */
	bool owes_crlf;	       /* the last chunk that the client got lacks the CRLF behind it */
	int status;
	bool keep_alive;	 /* the client connection survives */
	bool backend_keep_alive; /* the backend connection survives */
	bool linger;		 /* the client may still be sending */
	bool backend_eof;

	/* for the access log */
	const char *upstream;
	size_t nseen;
	struct {
		uint8_t rule, verdict;
	} seen[HT_COOKIES_MAX];
};

/* A Set-Cookie of ours, unless the backend sets that cookie itself. */
struct ht_owed {
	struct ht_owed *next;
	uint8_t rule;
	bool token;	      /* a token signed anew, or an id; else it makes the client forget */
	struct ht_str cookie; /* its name */
	struct ht_str line;   /* both in this allocation */
};

/* Who the client is to one site; made when the first request for the site comes. */
struct ht_identity {
	uint64_t serial; /* of the generation */
	uint32_t site;
	size_t nbinds;
	struct ht_binding *bind;
};

/* The log's copy of what the request said, in a buffer of its own. */
struct ht_log_copy {
	struct ht_str method, target, host, user_agent, referer;
};

struct ht_conn {
	struct ht_source source;
	struct ht_timer timer;
	struct ht_workspace *ws;
	struct ht_view *origin; /* the generation that accepted it: its listener's */
	const struct ht_listener *listener;
	struct ht_view *view; /* the exchange's; kept after it while the backend is pinned */
	struct ht_conn *prev, *next;
	struct ht_tls tls;
	enum ht_phase phase;
	bool served;	   /* at least one exchange is behind it */
	bool pinned;	   /* the backend connection is this client's alone (NTLM) */
	bool shut;	   /* our side towards the client is closed */
	bool shut_backend; /* tunnel: and towards the backend */
	bool cut;	   /* TLS: no goodbye, so that the client can tell */
	bool verified;	   /* a client certificate was shown and verified */
	bool eof;	   /* the client's side is */
	uint64_t id;
	/* who is at the other end: of the socket, or by its PROXY header; AF_UNSPEC = a unix socket */
	union ht_sockaddr {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} peer;
	/* whose request it is: the peer or, behind a trusted one, whom the last request named */
	union ht_sockaddr client;
	char peer_ip[INET6_ADDRSTRLEN], ip[INET6_ADDRSTRLEN];
	char *subject; /* of the client certificate, or NULL */
	/*
	 * A trusted proxy passed the last request on: the connection and its certificate are the
	 * proxy's, not the client's, and only its word says who the user is (NULL = it doesn't).
	 */
	bool relayed;
	char *user;
	const char *tls_version;
	struct ht_identity *identity;
	uint32_t guard_version; /* as of which the client is known not to be banned; 0 = ask */
	struct ht_backend *backend;
	struct ht_buf in;     /* from the client */
	struct ht_buf out;    /* to the client; behind it what the backend sent, unprocessed */
	struct ht_buf head;   /* the request head as it goes to the backend */
	struct ht_buf before; /* as it was before plaintext stood in it, if any does */
	struct ht_pipe up;    /* of a body, to the backend */
	struct ht_pipe down;  /* to the client, when `out` has left */
	struct ht_buf log;
	struct ht_log_copy *copy; /* in `log` */
	size_t scanned;
	struct ht_exchange x;
};

/* A new client on `fd`, which it takes over. `origin` is the generation of the listener. */
void ht_conn_accept(struct ht_workspace *ws, struct ht_view *origin, const struct ht_listener *l,
		    int fd, const struct sockaddr *peer, socklen_t len);

/* ---- conn.c, for its other halves ---- */

/* Whatever can be done now is done. The owner's side of ht_backend.notify. */
void ht_conn_run(struct ht_conn *c);

/* Reads into c->in, which is taken if need be: bytes, 0 at the end, -EAGAIN, -errno. */
ssize_t ht_conn_read(struct ht_conn *c);

/* The same into c->up, which is empty: as ht_pipe_fill(). */
ssize_t ht_conn_read_pipe(struct ht_conn *c, size_t want);

/* Does the client's socket take a body from a pipe now? */
bool ht_conn_takes_pipe(const struct ht_conn *c);

/* What is still to leave towards the client. */
size_t ht_conn_unsent(const struct ht_conn *c);

/* Writes it. True when nothing is left of it; false also when c is gone. */
bool ht_conn_flush(struct ht_conn *c);

/* The only way from one phase to another. */
void ht_conn_enter(struct ht_conn *c, enum ht_phase phase);

/* Answers with an error of our own, or cuts the connection if an answer has begun. */
void ht_conn_error(struct ht_conn *c, int status, const char *why);

/* The exchange is over and all of its answer has been written. */
void ht_conn_finish(struct ht_conn *c);

/* Ends the connection at once. `reset`: so that the client can tell that it was cut off. */
void ht_conn_close(struct ht_conn *c, bool reset);

/* Ends it in the middle of an answer, so that the client can tell that it is incomplete. */
void ht_conn_cut(struct ht_conn *c);

/* Takes the newest generation for the exchange that begins. */
void ht_conn_take_view(struct ht_conn *c);

/* Gives the backend connection back, to the pool if it may be used again. */
void ht_conn_leave_backend(struct ht_conn *c, bool reusable);

/* ---- conn_edge.c ---- */

/* May this peer open a connection here at all? Only trusted ones where a PROXY header comes first. */
bool ht_edge_admits(const struct ht_config *config, const struct ht_listener_config *l,
		    const struct sockaddr *peer, socklen_t len);
/* The PROXY header; after it comes the handshake, or the first request. True if something happened. */
bool ht_edge_header(struct ht_conn *c);
/* The peer is another one from now on, and the client too. */
void ht_conn_set_peer(struct ht_conn *c, const struct sockaddr *peer, socklen_t len);

/* What goes on to the backend of what a trusted proxy said. Points into the request. */
struct ht_hop {
	bool append; /* its X-Forwarded-For and Forwarded stay */
	struct ht_str host, user;
};
/* Sets the request's client, its user, its id and x.https, as far as the peer is trusted to say. */
void ht_edge_believe(struct ht_conn *c, struct ht_hop *ret);

/* Is the request exempt from judgement? */
bool ht_edge_exempts(const struct ht_site_config *s, const struct ht_http_request *r);
/* Answers with a 308 to the same under https. */
void ht_edge_redirect(struct ht_conn *c);

/* ---- conn_guard.c ---- */

/* Is this peer banned, before there is a connection to speak of? */
bool ht_conn_refuses(struct ht_workspace *ws, const struct sockaddr *peer, socklen_t len);
/*
 * Is the client, of whom the PROXY header or the request has told? Then the connection has been
 * closed, or the request answered where the connection is a trusted proxy's.
 */
bool ht_conn_refused(struct ht_conn *c);
/*
 * One of this client's cookies is forged: scores him, if the rule enforces. Once a request: a phone
 * that has moved comes with all the cookies of a site, each of them good where it was.
 */
void ht_conn_forged(struct ht_conn *c, size_t rule, uint64_t print);
/* Keys for the prints of forged cookies, or NULL where nobody is scored. */
const struct ht_sip_keys *ht_conn_prints(const struct ht_conn *c);

/* ---- conn_identity.c ---- */

/*
 * What the client is to the site of the request, in c->identity: made again when a request for another
 * site, by another client or user, or of another generation comes. -ENOMEM.
 */
int ht_conn_identify(struct ht_conn *c);

/* That client to the policy, now. */
struct ht_policy_client ht_conn_policy_client(const struct ht_conn *c);

/*
 * Tells the gate; false, and logged unless plaintext just has no room there, if that failed. `again`: for
 * a head that was judged before, and whose entries may have gone before the gate saw them. A full map
 * gives up first what nobody has looked up yet, and where all else was, one entry of a head drives out
 * the one before. Put twice it counts as looked up.
 */
bool ht_conn_push(struct ht_workspace *ws, const struct ht_push *push, bool again);

/* Has the kernel the last word on this backend connection? */
static inline bool ht_conn_is_gated(const struct ht_conn *c)
{
	return c->backend && c->backend->gate.slot;
}

/* ---- conn_request.c ---- */

/* Frames the next request of c->in, reading more where needed. True if something happened. */
bool ht_request_read(struct ht_conn *c);
/* Moves the request on towards the backend. True if something happened. */
bool ht_request_pump(struct ht_conn *c);
/* The backend connection is of no more use and nothing was answered: another one, or an error. */
void ht_request_lost(struct ht_conn *c, int err);
/* The snapshot to verify and sign with; good until the next call. */
const struct ht_keyring *ht_workspace_ring(struct ht_workspace *ws);

/* ---- conn_judge.c ---- */

/*
 * Cuts out of c->head what is invalid, tells the gate what is valid, opens what is sealed and the gate
 * can't open. Counts and logs once a request. 0 or -STATUS.
 */
int ht_conn_judge(struct ht_conn *c);
/* The head was refused: it gets the canonical form, once. 0 or -STATUS. */
int ht_conn_canonicalize(struct ht_conn *c, int reason);
/* The gate has let the head pass: counts what it found, and judges what it left open. */
void ht_conn_count_answer(struct ht_conn *c, const struct ht_gate_answer *a);
/* Sealed cookies of an exempt request are opened, once. */
void ht_conn_open_exempt(struct ht_conn *c);
/*
 * Must we judge first? The gate lets unsigned cookies through before `enforce-after`, and does not know
 * who was revoked.
 */
bool ht_conn_gate_is_lenient(const struct ht_conn *c);

/* ---- conn_owe.c ---- */

/* The tokens that the judgement has signed anew. */
void ht_owe_tokens(struct ht_conn *c);
/* expire-stripped: the client forgets what it sent in vain, the token with the cookie. */
void ht_owe_expiry(struct ht_conn *c, size_t rule, struct ht_str cookie);
/* Session ids for what x.issues says and the head has not; they are in it then. 0 or -STATUS. */
int ht_owe_sessions(struct ht_conn *c);
/* The head is as it was before: they are not in it, and nobody is to get them. */
void ht_owe_no_sessions(struct ht_conn *c);
void ht_owed_free(struct ht_owed **list);

/* ---- conn_response.c ---- */

/* Moves the answer on towards the client. True if something happened. */
bool ht_response_pump(struct ht_conn *c);

/* ---- conn_tunnel.c ---- */

/* The backend has agreed to another protocol; what it has said of it stands in c->out. */
void ht_tunnel_begin(struct ht_conn *c);
/* Moves bytes in both directions. True if something happened. */
bool ht_tunnel_pump(struct ht_conn *c);

#endif
