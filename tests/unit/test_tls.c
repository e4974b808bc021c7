/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS in user space over a pair of sockets, with OpenSSL at the other end: in how many pieces an
 * answer leaves, and that it is exact however slowly it is taken, whatever else must go in between.
 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buf.h"
#include "tls.h"

TestSuite(tls, .timeout = 60);

#define LARGE (1024 * 1024)

/* ---- the two ends ---- */

static struct {
	char dir[32], cert[64], key[64];
	int ours, theirs;
	struct ht_tls_ctx *ctx;
	struct ht_source source;
	struct ht_bufs bufs;
	struct ht_tls tls;
	SSL_CTX *peer_ctx;
	SSL *peer;
	BIO *to_peer, *from_peer;
	unsigned messages;    /* that came from us; only a SOCK_SEQPACKET has such */
	unsigned char *got;   /* what the peer has decrypted */
	size_t len, reported; /* of it, and of what we were told has left */
} e;

static void make_certificate(void)
{
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	FILE *f;

	strcpy(e.dir, "/tmp/ht-tls-XXXXXX");
	cr_assert(mkdtemp(e.dir) && pkey && x);
	snprintf(e.cert, sizeof(e.cert), "%s/pem", e.dir);
	snprintf(e.key, sizeof(e.key), "%s/key", e.dir);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, pkey);
	cr_assert(X509_sign(x, pkey, EVP_sha256()) > 0);
	f = fopen(e.cert, "w");
	cr_assert(f && PEM_write_X509(f, x));
	fclose(f);
	f = fopen(e.key, "w");
	cr_assert(f && PEM_write_PrivateKey(f, pkey, NULL, NULL, 0, NULL, NULL));
	fclose(f);
	X509_free(x);
	EVP_PKEY_free(pkey);
}

static void open_ours(int version)
{
	struct ht_cert_config cert = {.certificate = e.cert, .key = e.key};
	struct ht_tls_config tls = {.certs = &cert, .ncerts = 1, .min_version = version};
	struct ht_listener_config listener = {.tls = &tls};
	struct ht_tls_params params = {.listener = &listener};
	struct ht_diag diag;

	cr_assert_eq(ht_tls_ctx_new(&params, &e.ctx, &diag), 0, "%s", diag.text);
	e.source = (struct ht_source){.fd = e.ours, .readable = true, .writable = true};
	cr_assert_eq(ht_tls_open(&e.tls, e.ctx, &e.source, &e.bufs), 0);
}

static void open_theirs(int version)
{
	e.peer_ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_max_proto_version(e.peer_ctx, version);
	e.peer = SSL_new(e.peer_ctx);
	e.to_peer = BIO_new(BIO_s_mem());
	e.from_peer = BIO_new(BIO_s_mem());
	cr_assert(e.peer && e.to_peer && e.from_peer);
	SSL_set_bio(e.peer, e.to_peer, e.from_peer);
	SSL_set_connect_state(e.peer);
	e.got = malloc(LARGE + 1);
	cr_assert(e.got);
}

/* Takes up to `most` bytes off the socket. False if there are none. */
static bool peer_takes(size_t most)
{
	static char buf[256 * 1024];
	ssize_t n = recv(e.theirs, buf, HT_MIN(most, sizeof(buf)), MSG_DONTWAIT);

	if (n <= 0)
		return false;
	e.messages++;
	e.source.writable = true;
	cr_assert_eq(BIO_write(e.to_peer, buf, (int)n), n);
	return true;
}

static void peer_sends(void)
{
	char buf[20000];
	int n;

	while ((n = BIO_read(e.from_peer, buf, sizeof(buf))) > 0) {
		cr_assert_eq(send(e.theirs, buf, (size_t)n, 0), n);
		e.source.readable = true;
	}
}

/* Decrypts what has come, and checks it. */
static void peer_reads(void)
{
	int n;

	while ((n = SSL_read(e.peer, e.got + e.len, (int)(LARGE + 1 - e.len))) > 0) {
		for (int i = 0; i < n; i++, e.len++)
			cr_assert_eq(e.got[e.len], (e.len * 31 + e.len / 251) % 256, "byte %zu",
				     e.len);
	}
}

static unsigned char *pattern(void)
{
	unsigned char *p = malloc(LARGE);

	cr_assert(p);
	for (size_t i = 0; i < LARGE; i++)
		p[i] = (unsigned char)((i * 31 + i / 251) % 256);
	return p;
}

/* Connected, by sockets of this type that keep so many bytes under way (0: as many as usual). */
static void begin(int version, int type, int kept)
{
	const char *why;
	int fd[2], err;

	make_certificate();
	cr_assert_eq(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fd), 0);
	e.ours = fd[0], e.theirs = fd[1];
	open_ours(TLS1_2_VERSION);
	open_theirs(version);
	for (int i = 0; i < 100 && !(e.tls.established && SSL_is_init_finished(e.peer)); i++) {
		SSL_do_handshake(e.peer);
		peer_sends();
		e.source.readable = e.source.writable = true;
		err = e.tls.established ? 0 : ht_tls_handshake(&e.tls, &why);
		cr_assert(!err || err == -EAGAIN, "%s", why);
		while (peer_takes(SIZE_MAX))
			;
	}
	cr_assert(e.tls.established);
	cr_assert_eq(SSL_version(e.peer), version);
	peer_reads(); /* tickets */
	if (kept)
		setsockopt(e.ours, SOL_SOCKET, SO_SNDBUF, &kept, sizeof(kept));
	e.messages = 0;
}

static void end(void)
{
	ht_tls_close(&e.tls);
	ht_tls_ctx_free(e.ctx);
	ht_bufs_free(&e.bufs);
	SSL_free(e.peer);
	SSL_CTX_free(e.peer_ctx);
	free(e.got);
	close(e.ours);
	close(e.theirs);
	unlink(e.cert);
	unlink(e.key);
	rmdir(e.dir);
	memset(&e, 0, sizeof(e));
}

/* As a connection does: from a buffer of 80 KB, until it is told to wait. False: it is. */
static bool write_on(const unsigned char *data, size_t len)
{
	while (e.reported < len && e.source.writable) {
		size_t n = HT_MIN(len - e.reported, (size_t)HT_BUF_LARGE);
		ssize_t sent = ht_tls_write(&e.tls, data + e.reported, n);

		cr_assert(sent > 0 || sent == -EAGAIN, "%zd", sent);
		cr_assert(sent <= (ssize_t)n);
		e.reported += sent > 0 ? (size_t)sent : 0;
	}
	return e.reported == len;
}

static bool holds(void)
{
	return ht_buf_len(&e.tls.socket.held) != 0;
}

/* ---- how many pieces ---- */

static const struct {
	const char *name;
	size_t len;
	unsigned messages;
} pieces[] = {
	{"one byte", 1, 1},	   {"a small answer", 500, 1},	  {"a whole record", 16384, 1},
	{"a byte more", 16385, 1}, {"a buffer", HT_BUF_LARGE, 1}, {"100 KB", 102400, 2},
	{"1 MB", LARGE, 13},
};

Test(tls, answers_leave_in_few_pieces)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	unsigned char *data = pattern();

	for (size_t i = 0; i < HT_ARRAY_SIZE(pieces) * 2; i++) {
		begin(versions[i % 2], SOCK_SEQPACKET, 4 << 20);
		do {
			e.source.writable = true;
			write_on(data, pieces[i / 2].len);
			while (peer_takes(SIZE_MAX))
				;
			peer_reads();
		} while (e.reported < pieces[i / 2].len);
		cr_expect_eq(e.len, pieces[i / 2].len, "%s: %zu bytes", pieces[i / 2].name, e.len);
		cr_expect_eq(e.messages, pieces[i / 2].messages, "%s: %u pieces",
			     pieces[i / 2].name, e.messages);
		cr_expect(!e.tls.socket.held.data, "%s: a buffer is kept", pieces[i / 2].name);
		end();
	}
	free(data);
}

/* ---- slow readers ---- */

/* What we are told has left is on the socket or behind it, however little is taken at a time. */
Test(tls, slow_readers_get_every_byte)
{
	static const size_t most[] = {1, 77, 4096, 16405, 16406, 50000, SIZE_MAX};
	unsigned char *data = pattern();
	bool held = false;

	for (size_t i = 0; i < HT_ARRAY_SIZE(most); i++) {
		size_t len = most[i] == 1 ? 100000 : LARGE;

		begin(i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION, SOCK_STREAM, 4096);
		while (!write_on(data, len)) {
			held |= holds();
			if (most[i] > 4096 && i % 2) {
				while (peer_takes(most[i]))
					;
				peer_reads();
				cr_assert_geq(e.len, e.reported);
			} else {
				cr_assert(peer_takes(most[i]));
				peer_reads();
			}
		}
		while (peer_takes(most[i]))
			peer_reads();
		cr_expect_eq(e.len, len, "%zu at a time: %zu bytes", most[i], e.len);
		cr_expect(!e.tls.socket.held.data, "%zu at a time: a buffer is kept", most[i]);
		end();
	}
	cr_expect(held, "nothing was ever held");
	free(data);
}

/* Without a buffer to be had, each record goes by itself. */
Test(tls, works_without_buffers)
{
	unsigned char *data = pattern();

	begin(TLS1_3_VERSION, SOCK_SEQPACKET, 4 << 20);
	e.tls.socket.bufs = NULL;
	cr_expect(write_on(data, 102400));
	while (peer_takes(SIZE_MAX))
		peer_reads();
	cr_expect_eq(e.len, 102400);
	cr_expect_eq(e.messages, 7);
	end();
	free(data);
}

/* A connection that ends while something is held gives its buffer back. */
Test(tls, what_is_held_is_lost_with_its_connection)
{
	unsigned char *data = pattern();

	begin(TLS1_3_VERSION, SOCK_STREAM, 4096);
	cr_assert_not(write_on(data, LARGE));
	cr_assert(holds());
	ht_tls_close(&e.tls);
	cr_expect_eq(e.bufs.records.n, 1);
	end();
	free(data);
}

/* ---- what else is to go out ---- */

Test(tls, goodbye_waits_for_what_is_held)
{
	unsigned char *data = pattern();

	begin(TLS1_3_VERSION, SOCK_STREAM, 4096);
	cr_assert_not(write_on(data, 80000));
	cr_assert(holds());
	while (ht_tls_shutdown(&e.tls) == -EAGAIN) {
		cr_assert(peer_takes(10000));
		peer_reads();
		cr_expect(e.len >= 80000 || !SSL_get_shutdown(e.peer), "goodbye came first");
	}
	while (peer_takes(SIZE_MAX))
		peer_reads();
	cr_expect_eq(e.len, 80000);
	cr_expect_eq(SSL_get_shutdown(e.peer), SSL_RECEIVED_SHUTDOWN);
	/* and its owner, who has not heard of it yet, does not send it again */
	cr_expect(write_on(data, 80000));
	cr_expect_not(peer_takes(SIZE_MAX));
	cr_expect(!e.tls.socket.held.data);
	end();
	free(data);
}

/* The answer to a KeyUpdate stands between records that were sealed before and after it. */
Test(tls, new_keys_in_the_middle_of_an_answer)
{
	unsigned char *data = pattern();
	char in[16];

	begin(TLS1_3_VERSION, SOCK_STREAM, 4096);
	for (int turn = 0; !write_on(data, LARGE); turn++) {
		if (turn % 20 == 5) {
			cr_assert(SSL_key_update(e.peer, SSL_KEY_UPDATE_REQUESTED));
			cr_assert_eq(SSL_write(e.peer, "hello", 5), 5);
			peer_sends();
			cr_assert_eq(ht_tls_read(&e.tls, in, sizeof(in)), 5);
		}
		cr_assert(peer_takes(30000));
		peer_reads();
	}
	while (peer_takes(SIZE_MAX))
		peer_reads();
	cr_expect_eq(e.len, LARGE);
	cr_expect_eq(e.tls.refused, 0);
	end();
	free(data);
}
