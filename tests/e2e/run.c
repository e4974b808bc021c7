/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run as a whole: where it lives, its certificates, what is skipped, what crashed tests left,
 * and small text tools. Criterion runs every test in a process of its own, so what tests share is
 * in the environment and in files.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/bpf.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "harness.h"

/* Tests don't free what their process's end frees. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

const char *run_dir(void)
{
	return getenv("HT_E2E_RUN");
}

const char *run_daemon(void)
{
	const char *path = getenv("HARDTACKD");

	return path && *path ? path : "build/hardtackd";
}

const char *run_ctl(void)
{
	static char path[512];
	const char *env = getenv("HARDTACKCTL"), *slash;

	if (env && *env)
		return env;
	slash = strrchr(run_daemon(), '/');
	snprintf(path, sizeof(path), "%.*shardtackctl", slash ? (int)(slash + 1 - run_daemon()) : 0,
		 run_daemon());
	return path;
}

const char *run_test_name(void)
{
	static char name[256];

	if (!criterion_current_test) /* main(), or the keeper */
		return "no test";
	snprintf(name, sizeof(name), "%s.%s", criterion_current_test->category,
		 criterion_current_test->name);
	return name;
}

int64_t run_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

void run_pause_ms(int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};

	nanosleep(&ts, NULL);
}

void run_pause(void)
{
	run_pause_ms(run_slow() ? 50 : 5);
}

void run_pause_since(int64_t began_ms)
{
	int64_t ms = (run_now_ms() - began_ms) / 2;

	run_pause_ms(!run_slow() ? 5 : ms < 20 ? 20 : ms > 200 ? 200 : (int)ms);
}

bool run_sanitized(void)
{
	static int known = -1;

	if (known < 0) {
		size_t len;
		char *bin = text_file(run_daemon(), &len);

		known = bin &&
			(text_has(bin, len, "__asan_init") || text_has(bin, len, "__tsan_init"));
		free(bin);
	}
	return known;
}

bool run_slow(void)
{
	return getenv("HT_SLOW");
}

int run_deadline_ms(void)
{
	return run_slow() ? 240000 : run_sanitized() ? 60000 : 30000;
}

bool run_small(void)
{
	const char *scale = getenv("HT_SCALE");

	return scale && !strcmp(scale, "small");
}

/* A sockhash and cgroup v2: without either there is no gate on this machine. */
bool run_have_bpf(void)
{
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_SOCKHASH,
			       .key_size = 8,
			       .value_size = 8,
			       .max_entries = 1};
	int fd = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));

	if (fd < 0)
		return false;
	close(fd);
	return !access("/sys/fs/cgroup/cgroup.procs", F_OK) ||
	       !access("/sys/fs/cgroup/unified/cgroup.procs", F_OK);
}

bool run_gate_on(void)
{
	const char *gate = getenv("HT_GATE");

	return (!gate || strcmp(gate, "off")) && run_have_bpf();
}

/* Adds to what main() finds at the end; tests are processes of their own, several at once. */
static void note(const char *file, const char *line)
{
	char path[512];
	ssize_t len = (ssize_t)strlen(line);
	int fd;

	snprintf(path, sizeof(path), "%s/%s", run_dir(), file);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, line, (size_t)len) != len)
		cr_assert_fail("%s can't be written: %s", path, strerror(errno));
	close(fd);
}

void run_note_skip(const char *why)
{
	char line[512];

	snprintf(line, sizeof(line), "%s: %s\n", run_test_name(), why);
	note("skipped", line);
	if (getenv("CI"))
		cr_assert_fail("skipped in CI: %s", why);
}

void run_note_start(void)
{
	note("starts", "1\n");
}

static int sweep_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	remove(path); /* what can't be removed hurts nobody */
	return 0;
}

/* Pins of this run, and of runs that were killed before they could sweep. */
static bool pin_is_ours(const char *name)
{
	pid_t pid;

	if (strncmp(name, "ht-e2e-", 7))
		return false;
	pid = (pid_t)strtol(name + 7, NULL, 10);
	return pid == getpid() || (pid > 0 && kill(pid, 0) && errno == ESRCH);
}

void run_sweep(void)
{
	char path[512];
	struct dirent *e;
	DIR *d;

	d = opendir("/sys/fs/bpf");
	while (d && (e = readdir(d))) {
		if (!pin_is_ours(e->d_name))
			continue;
		snprintf(path, sizeof(path), "/sys/fs/bpf/%s", e->d_name);
		nftw(path, sweep_one, 16, FTW_DEPTH | FTW_PHYS);
	}
	if (d)
		closedir(d);
	if (!getenv("HT_E2E_KEEP"))
		nftw(run_dir(), sweep_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- certificates ---- */

struct person {
	const char *name, *c, *o, *ou, *cn, *san, *issuer;
};

static const struct person people[] = {
	{"edge", NULL, NULL, NULL, "gw.test", "DNS:gw.test,DNS:localhost,IP:127.0.0.1", NULL},
	{"other", NULL, NULL, NULL, "other.test", "DNS:other.test,DNS:*.other.test", NULL},
	{"ca", NULL, "Example Corp", NULL, "Client CA", NULL, NULL},
	{"ca2", NULL, "Example Corp", NULL, "Another client CA", NULL, NULL},
	{"alice", "US", "Example Corp", "Staff", "Alice Example", NULL, "ca"},
	{"bob", "US", "Example Corp", "Staff", "Bob Example", NULL, "ca"},
	{"nobody", NULL, NULL, NULL, NULL, NULL, "ca"},
	{"stranger", "US", "Example Corp", "Staff", "Alice Example", NULL, "ca2"},
};
static X509 *made[E2E_ARRAY_SIZE(people)];
static EVP_PKEY *keys[E2E_ARRAY_SIZE(people)];

static void name_add(X509_NAME *n, const char *field, const char *text)
{
	if (text)
		X509_NAME_add_entry_by_txt(n, field, MBSTRING_UTF8, (const unsigned char *)text, -1,
					   -1, 0);
}

static void certificate_extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	X509_add_ext(x, ext, -1);
	X509_EXTENSION_free(ext);
}

static void certificate_write(const struct person *p, X509 *x, EVP_PKEY *key)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.pem", run_dir(), p->name);
	f = fopen(path, "we");
	PEM_write_X509(f, x);
	fclose(f);
	snprintf(path, sizeof(path), "%s/%s.key", run_dir(), p->name);
	f = fopen(path, "we");
	fchmod(fileno(f), 0600);
	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
}

void run_make_certificates(void)
{
	for (size_t i = 0; i < E2E_ARRAY_SIZE(people); i++) {
		const struct person *p = &people[i];
		size_t by = i;
		X509 *x = X509_new();
		X509_NAME *n = X509_get_subject_name(x);

		for (size_t j = 0; p->issuer && j < i; j++)
			if (!strcmp(people[j].name, p->issuer))
				by = j;
		keys[i] = EVP_EC_gen("P-256");
		made[i] = x;
		X509_set_version(x, 2);
		ASN1_INTEGER_set(X509_get_serialNumber(x), (long)i + 100);
		X509_gmtime_adj(X509_getm_notBefore(x), -86400);
		X509_gmtime_adj(X509_getm_notAfter(x), 86400);
		X509_set_pubkey(x, keys[i]);
		name_add(n, "C", p->c);
		name_add(n, "O", p->o);
		name_add(n, "OU", p->ou);
		name_add(n, "CN", p->cn);
		X509_set_issuer_name(x, X509_get_subject_name(made[by]));
		certificate_extend(x, made[by], NID_basic_constraints,
				   p->issuer ? "critical,CA:FALSE" : "critical,CA:TRUE");
		if (p->san)
			certificate_extend(x, made[by], NID_subject_alt_name, p->san);
		X509_sign(x, keys[by], EVP_sha256());
		certificate_write(p, x, keys[i]);
	}
}

/* ---- text ---- */

void text_add(struct text *t, const void *p, size_t len)
{
	if (t->len + len + 1 > t->cap) {
		t->cap = (t->len + len + 1) * 2;
		t->p = realloc(t->p, t->cap);
		if (!t->p)
			abort();
	}
	memcpy(t->p + t->len, p, len);
	t->len += len;
	t->p[t->len] = 0;
}

void text_addf(struct text *t, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();
	text_add(t, s, (size_t)n);
	free(s);
}

void text_clear(struct text *t)
{
	t->len = 0;
	if (t->p)
		t->p[0] = 0;
}

void text_free(struct text *t)
{
	free(t->p);
	*t = (struct text){0};
}

char *text_file(const char *path, size_t *ret_len)
{
	struct text t = {0};
	char buf[65536];
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	text_add(&t, "", 0);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		text_add(&t, buf, (size_t)n);
	close(fd);
	if (ret_len)
		*ret_len = t.len;
	return t.p;
}

bool text_has(const void *hay, size_t len, const char *needle)
{
	return memmem(hay, len, needle, strlen(needle));
}

void token_make(const char *value, size_t len, const char *input, char ret[45])
{
	struct text msg = {0};
	unsigned char mac[32];
	unsigned int mac_len;

	text_add(&msg, value, len);
	text_addf(&msg, ":%s", input);
	HMAC(EVP_sha256(), E2E_KEY, strlen(E2E_KEY), (unsigned char *)msg.p, msg.len, mac,
	     &mac_len);
	EVP_EncodeBlock((unsigned char *)ret, mac, 32);
	text_free(&msg);
}

const char *token_for(const char *value, const char *input)
{
	static char ring[16][45];
	static unsigned next;
	char *t = ring[next++ % 16];

	token_make(value, strlen(value), input, t);
	return t;
}

void token_expand(struct text *out, const char *pattern)
{
	const char *p = pattern, *open, *close, *at;
	char input[512], token[45];

	while ((open = strchr(p, '{'))) {
		text_add(out, p, (size_t)(open - p));
		close = strchr(open, '}');
		if (open[1] == '*') {
			for (int i = 0, n = atoi(open + 2); i < n; i++)
				text_addf(out, "%c", 'a' + i % 26);
			p = close + 1;
			continue;
		}
		at = memchr(open, '@', (size_t)(close - open));
		snprintf(input, sizeof(input), "%.*s", at ? (int)(close - at - 1) : 9,
			 at ? at + 1 : "127.0.0.1");
		token_make(open + 1, (size_t)((at ? at : close) - open - 1), input, token);
		text_add(out, token, 44);
		p = close + 1;
	}
	text_add(out, p, strlen(p));
}

uint64_t pattern_hash(uint64_t h, const void *p, size_t len)
{
	return crc32_z(h, p, len);
}

/*
 * Byte n of a body is 'A' + (7n + c) % 57, where c is of the 256 bytes that it is in: every 64 KB
 * differs from every other, so that lost or doubled blocks show. As 7 * 49 is 1 modulo 57, that is the
 * same wheel for all of them, turned by 49c.
 */
#define WHEEL 57

static char wheel[WHEEL + 256];

__attribute__((constructor)) static void wheel_make(void)
{
	for (unsigned i = 0; i < sizeof(wheel); i++)
		wheel[i] = (char)('A' + i * 7 % WHEEL);
}

void pattern_fill(char *p, size_t len, uint64_t offset)
{
	uint64_t at = offset, end = offset + len;

	while (at < end) {
		uint64_t c = (at >> 16) * 31 + (at >> 8);
		size_t n = 256 - at % 256;

		if (n > end - at)
			n = (size_t)(end - at);
		memcpy(p + (at - offset), wheel + (at + 49 * c) % WHEEL, n);
		at += n;
	}
}

uint64_t pattern_hash_of(uint64_t len)
{
	/* large ones are asked for again and again */
	static _Thread_local uint64_t known_len, known;
	char buf[16384];
	uint64_t h = 0, at = 0;

	if (len && len == known_len)
		return known;
	while (at < len) {
		size_t n = len - at < sizeof(buf) ? (size_t)(len - at) : sizeof(buf);

		pattern_fill(buf, n, at);
		h = pattern_hash(h, buf, n);
		at += n;
	}
	known_len = len;
	known = h;
	return h;
}

int run_command(struct text *out, const char *const argv[])
{
	char buf[4096];
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(fds[1]);
	while ((n = read(fds[0], buf, sizeof(buf))) > 0)
		if (out)
			text_add(out, buf, (size_t)n);
	close(fds[0]);
	if (out)
		text_add(out, "", 0);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
