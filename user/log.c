/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's own log and the access log: one line, one write(), no allocation. Lines stay below
 * PIPE_BUF, so that those of several threads never mix in a pipe. It never blocks the caller for
 * long and never writes a cookie's value.
 */
#include "log.h"

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

#define LINE_MAX_LOG 2048

static atomic_int max_level = LOG_INFO;
static atomic_uint dropped;
static bool to_journal;
static pthread_once_t journal_once = PTHREAD_ONCE_INIT;

/* ---- a line being built ---- */

struct line {
	char *p;
	size_t len, cap; /* len < cap, room for the newline is kept by the owner */
};

static void put(struct line *l, const char *s, size_t n)
{
	n = HT_MIN(n, l->cap - l->len);
	memcpy(l->p + l->len, s, n);
	l->len += n;
}

static void put_text(struct line *l, const char *s)
{
	put(l, s, strlen(s));
}

_printf_(2, 3) static void put_fmt(struct line *l, const char *fmt, ...)
{
	char buf[128];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	put(l, buf, HT_MIN((size_t)HT_MAX(n, 0), sizeof(buf) - 1));
}

/* True if the whole line went out. */
static bool write_line(int fd, const char *p, size_t len)
{
	ssize_t n;

	do
		n = write(fd, p, len);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)len;
}

/* ---- the daemon's log ---- */

/* As sd-daemon(3) has it: JOURNAL_STREAM names the device and inode of the journal's socket. */
static void find_journal(void)
{
	const char *env = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	to_journal = env && sscanf(env, "%llu:%llu", &dev, &ino) == 2 &&
		     !fstat(STDERR_FILENO, &st) && st.st_dev == dev && st.st_ino == ino;
}

static void put_level(struct line *l, int level)
{
	static const char *const names[] = {"emerg",   "alert",	 "crit", "err",
					    "warning", "notice", "info", "debug"};

	if (to_journal)
		put_fmt(l, "<%d>", level);
	else
		put_fmt(l, "%s ", names[level]);
}

static void one_line(char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			p[i] = ' ';
}

static void put_vfmt(struct line *l, const char *fmt, va_list ap)
{
	char buf[LINE_MAX_LOG];
	int n = vsnprintf(buf, sizeof(buf), fmt, ap);
	size_t len = HT_MIN((size_t)HT_MAX(n, 0), sizeof(buf) - 1);

	while (len && buf[len - 1] == '\n')
		len--;
	one_line(buf, len);
	put(l, buf, len);
}

static void emit(int level, unsigned suppressed, const char *fmt, va_list ap)
{
	char buf[LINE_MAX_LOG + 64]; /* the counts at the end always fit */
	struct line l = {buf, 0, LINE_MAX_LOG};
	unsigned lost;

	pthread_once(&journal_once, find_journal);
	put_level(&l, level & 7);
	put_vfmt(&l, fmt, ap);
	l.cap = sizeof(buf) - 1;
	if (suppressed)
		put_fmt(&l, " suppressed=%u", suppressed);
	lost = atomic_exchange_explicit(&dropped, 0, memory_order_relaxed);
	if (lost)
		put_fmt(&l, " dropped=%u", lost);
	buf[l.len++] = '\n';
	if (!write_line(STDERR_FILENO, buf, l.len))
		atomic_fetch_add_explicit(&dropped, lost + 1, memory_order_relaxed);
}

static bool wanted(int level)
{
	return level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

void ht_log(int level, const char *fmt, ...)
{
	int saved = errno; /* callers log first and return -errno after */
	va_list ap;

	if (!wanted(level))
		return;
	va_start(ap, fmt);
	emit(level, 0, fmt, ap);
	va_end(ap);
	errno = saved;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void ht_log_limited_at(struct ht_log_limit *limit, int level, const char *fmt, ...)
{
	int64_t next = __atomic_load_n(&limit->next_ms, __ATOMIC_RELAXED), now;
	int saved = errno;
	va_list ap;

	if (!wanted(level))
		return;
	now = now_ms();
	/* Of several threads that find the second over, one wins. */
	if (now < next || !__atomic_compare_exchange_n(&limit->next_ms, &next, now + 1000, false,
						       __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
		__atomic_fetch_add(&limit->suppressed, 1, __ATOMIC_RELAXED);
		return;
	}
	va_start(ap, fmt);
	emit(level, __atomic_exchange_n(&limit->suppressed, 0, __ATOMIC_RELAXED), fmt, ap);
	va_end(ap);
	errno = saved;
}

void ht_log_level(int level)
{
	atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

_printf_(2, 0) static int log_libbpf(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	(void)level;
	if (wanted(LOG_DEBUG)) {
		char text[LINE_MAX_LOG];

		vsnprintf(text, sizeof(text), fmt, ap);
		ht_log(LOG_DEBUG, "%s", text);
	}
	return 0;
}

void ht_log_hook_libbpf(void)
{
	libbpf_set_print(log_libbpf);
}

/* ---- escapes ---- */

static bool is_safe(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/*
 * Appends s with unsafe bytes as PREFIX and two hexadecimal digits, at most `max` bytes; what
 * doesn't fit ends in "...". Never cuts an escape in two.
 */
static void put_escaped(struct line *l, struct ht_str s, size_t max, const char *prefix)
{
	size_t room = HT_MIN(max, l->cap - l->len), escape = strlen(prefix) + 2;
	size_t end = l->len + room, dots = HT_MIN(room, 3), mark = l->len;

	for (size_t i = 0; i < s.len; i++) {
		size_t need = is_safe(s.p[i]) ? 1 : escape;

		if (l->len + need > end) {
			l->len = mark;
			put(l, "...", dots);
			return;
		}
		if (need == 1)
			put(l, &s.p[i], 1);
		else
			put_fmt(l, "%s%02X", prefix, (unsigned char)s.p[i]);
		if (l->len + dots <= end)
			mark = l->len; /* as far as may stay if the dots are needed */
	}
}

const char *ht_log_quote(struct ht_str s, char *out, size_t cap)
{
	struct line l = {out, 0, cap ? cap - 1 : 0};

	if (!cap)
		return "";
	put_escaped(&l, s, SIZE_MAX, "\\x");
	out[l.len] = '\0';
	return out;
}

static bool is_word(struct ht_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!is_safe(s.p[i]) || strchr(" =", s.p[i]))
			return false;
	}
	return s.len;
}

const char *ht_log_word(struct ht_str s, char *out, size_t cap)
{
	struct line l = {out, 0, cap ? cap - 1 : 0};

	if (cap < 3)
		return "";
	if (is_word(s))
		return ht_log_quote(s, out, cap);
	put(&l, "\"", 1);
	l.cap--;
	put_escaped(&l, s, SIZE_MAX, "\\x");
	l.cap++;
	put(&l, "\"", 1);
	out[l.len] = '\0';
	return out;
}

/* ---- the access log ---- */

/*
 * What a client, a configuration or a certificate can make long gets a share of the line; the
 * shares and all that is fixed stay below PIPE_BUF.
 */
enum {
	MAX_TARGET = 1200,
	MAX_REFERER = 500,
	MAX_AGENT = 300,
	MAX_HOST = 255,
	MAX_VERDICTS = 600,
	MAX_NAME = 130, /* of a listener or an upstream: ht_addr.text */
	MAX_WORD = 64,
};

struct ht_access_log {
	enum ht_log_format format;
	int fd;	    /* -1 = off; its number never changes, what is behind it may */
	char *path; /* NULL for stderr, which isn't ours */
};

static int open_path(const char *path, char *why, size_t why_len)
{
	int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int fd = open(path, flags, 0640), err = errno;

	if (fd >= 0)
		return fd;
	snprintf(why, why_len, "can't open access log %s: %s", path, strerror(err));
	return -err;
}

int ht_access_log_open(enum ht_log_format format, const char *to, struct ht_access_log **ret,
		       char *why, size_t why_len)
{
	_cleanup_free_ struct ht_access_log *l = calloc(1, sizeof(*l));

	if (!l) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	l->format = format;
	l->fd = -1;
	if (!strcmp(to, "stderr")) {
		l->fd = STDERR_FILENO;
	} else if (strcmp(to, "off")) {
		_cleanup_free_ char *path = strdup(to);

		snprintf(why, why_len, "out of memory");
		l->fd = path ? open_path(path, why, why_len) : -ENOMEM;
		if (l->fd < 0)
			return l->fd;
		l->path = TAKE_PTR(path);
	}
	*ret = TAKE_PTR(l);
	return 0;
}

int ht_access_log_reopen(struct ht_access_log *l, char *why, size_t why_len)
{
	_cleanup_close_ int fd = -1;

	if (!l || !l->path)
		return 0;
	fd = open_path(l->path, why, why_len);
	if (fd < 0)
		return fd;
	/* in one step for those who are writing */
	if (dup3(fd, l->fd, O_CLOEXEC) >= 0)
		return 0;
	snprintf(why, why_len, "can't change to the new access log: %s", strerror(errno));
	return -errno;
}

void ht_access_log_close(struct ht_access_log *l)
{
	if (!l)
		return;
	if (l->path)
		close(l->fd);
	free(l->path);
	free(l);
}

bool ht_access_log_on(const struct ht_access_log *l)
{
	return l && l->fd >= 0;
}

/* strftime() takes a lock: once a second and thread is enough. */
static const char *time_text(time_t now, const char *fmt)
{
	static __thread struct {
		time_t at;
		const char *fmt;
		char text[40];
	} last;
	struct tm tm;

	if (last.at != now || last.fmt != fmt) {
		gmtime_r(&now, &tm);
		strftime(last.text, sizeof(last.text), fmt, &tm);
		last.at = now;
		last.fmt = fmt;
	}
	return last.text;
}

static struct ht_str text_or(const char *s, const char *otherwise)
{
	return HT_STR(s ? s : otherwise);
}

/* JSON knows no bytes: those from 0x80 on are written as the characters U+0080 to U+00FF. */
static void json_text(struct line *l, const char *key, struct ht_str s, size_t max)
{
	put_fmt(l, ",\"%s\":\"", key);
	put_escaped(l, s, max, "\\u00");
	put(l, "\"", 1);
}

/* Fields that may be missing are left out. */
static void json_maybe(struct line *l, const char *key, struct ht_str s, size_t max)
{
	if (s.len)
		json_text(l, key, s, max);
}

static void put_json(struct line *l, const struct ht_access *a, const struct timespec *now)
{
	static const char fmt[] = "%Y-%m-%dT%H:%M:%S";

	put_fmt(l, "{\"time\":\"%s.%03ldZ\"", time_text(now->tv_sec, fmt), now->tv_nsec / 1000000);
	json_text(l, "client", text_or(a->client, ""), MAX_WORD);
	json_text(l, "listener", text_or(a->listener, ""), MAX_NAME);
	json_text(l, "method", a->method, MAX_WORD);
	json_text(l, "host", a->host, MAX_HOST);
	json_text(l, "target", a->target, MAX_TARGET);
	put_fmt(l, ",\"protocol\":\"HTTP/1.%d\",\"status\":%d", a->minor, a->status);
	put_fmt(l, ",\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 ",\"duration_us\":%" PRIu64,
		a->bytes_in, a->bytes_out, a->duration_us);
	json_maybe(l, "upstream", text_or(a->upstream, ""), MAX_NAME);
	json_maybe(l, "request_id", text_or(a->request_id, ""), MAX_WORD);
	json_maybe(l, "tls", text_or(a->tls, ""), MAX_WORD);
	json_maybe(l, "user_agent", a->user_agent, MAX_AGENT);
	json_maybe(l, "referer", a->referer, MAX_REFERER);
	json_maybe(l, "verdicts", text_or(a->verdicts, ""), MAX_VERDICTS);
	put_text(l, "}");
}

static void combined_text(struct line *l, struct ht_str s, size_t max)
{
	if (s.len)
		put_escaped(l, s, max, "\\x");
	else
		put_text(l, "-");
}

/* As nginx writes it: client - - [time] "request" status bytes "referer" "user agent" */
static void put_combined(struct line *l, const struct ht_access *a, const struct timespec *now)
{
	combined_text(l, text_or(a->client, ""), MAX_WORD);
	put_fmt(l, " - - [%s] \"", time_text(now->tv_sec, "%d/%b/%Y:%H:%M:%S +0000"));
	if (a->method.len) {
		combined_text(l, a->method, MAX_WORD);
		put_text(l, " ");
		combined_text(l, a->target, MAX_TARGET);
		put_fmt(l, " HTTP/1.%d", a->minor);
	}
	put_fmt(l, "\" %d %" PRIu64 " \"", a->status, a->bytes_out);
	combined_text(l, a->referer, MAX_REFERER);
	put_text(l, "\" \"");
	combined_text(l, a->user_agent, MAX_AGENT);
	put_text(l, "\"");
}

void ht_access_log_write(struct ht_access_log *log, const struct ht_access *a)
{
	char buf[PIPE_BUF];
	struct line l = {buf, 0, sizeof(buf) - 1};
	struct timespec now;

	if (!ht_access_log_on(log))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	if (log->format == HT_LOG_COMBINED)
		put_combined(&l, a, &now);
	else
		put_json(&l, a, &now);
	buf[l.len++] = '\n';
	/* What is lost here is told by the daemon's log. */
	if (!write_line(log->fd, buf, l.len))
		atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
}
