/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The logs: one line and one write() a call, nothing that a client sent unescaped, and what
 * happens when a reader is too slow. stderr is a pipe of the test's own meanwhile.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <regex.h>
#include <sys/stat.h>

#include "log.h"

static int reader = -1, real_stderr = -1;

static void catch_stderr(void)
{
	int fd[2];

	unsetenv("JOURNAL_STREAM");
	cr_assert_eq(pipe(fd), 0);
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	fcntl(fd[1], F_SETFL, O_NONBLOCK);
	real_stderr = dup(STDERR_FILENO);
	dup2(fd[1], STDERR_FILENO);
	close(fd[1]);
	reader = fd[0];
}

static void give_stderr_back(void)
{
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(reader);
}

TestSuite(log, .init = catch_stderr, .fini = give_stderr_back);

/* All that was written so far. */
static const char *caught(void)
{
	static char buf[1 << 17];
	ssize_t n = read(reader, buf, sizeof(buf) - 1);

	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

Test(log, level_and_text)
{
	ht_log(LOG_INFO, "ready address=%s", "127.0.0.1:80");
	cr_expect_str_eq(caught(), "info ready address=127.0.0.1:80\n");
	ht_log(LOG_WARNING, "x");
	cr_expect_str_eq(caught(), "warning x\n");
	ht_log(LOG_ERR, "x");
	cr_expect_str_eq(caught(), "err x\n");
}

Test(log, lowest_level)
{
	ht_log(LOG_DEBUG, "quiet by default");
	cr_expect_str_eq(caught(), "");
	ht_log_level(LOG_DEBUG);
	ht_log(LOG_DEBUG, "now");
	cr_expect_str_eq(caught(), "debug now\n");
	ht_log_level(LOG_ERR);
	ht_log(LOG_WARNING, "not now");
	ht_log_limited(LOG_WARNING, "nor this");
	cr_expect_str_eq(caught(), "");
}

Test(log, journal_takes_numbers)
{
	struct stat st;
	char env[64];

	fstat(STDERR_FILENO, &st);
	snprintf(env, sizeof(env), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", env, 1);
	ht_log(LOG_WARNING, "x");
	cr_expect_str_eq(caught(), "<4>x\n");
}

Test(log, somebody_elses_journal)
{
	setenv("JOURNAL_STREAM", "1:1", 1);
	ht_log(LOG_WARNING, "x");
	cr_expect_str_eq(caught(), "warning x\n");
}

Test(log, one_line_whatever_comes)
{
	ht_log(LOG_INFO, "a\nb\tc\x1b[31m\n");
	cr_expect_str_eq(caught(), "info a b c [31m\n");
}

Test(log, long_lines_end)
{
	char big[5000];
	const char *line;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	ht_log(LOG_INFO, "%s", big);
	line = caught();
	cr_expect(strlen(line) <= 2200 && strlen(line) > 1900, "%zu", strlen(line));
	cr_expect_eq(line[strlen(line) - 1], '\n');
}

Test(log, errno_survives)
{
	struct ht_log_limit limit = {0};

	close(STDERR_FILENO); /* so that write() sets it */
	errno = ENOENT;
	ht_log(LOG_INFO, "x");
	cr_expect_eq(errno, ENOENT);
	ht_log_limited_at(&limit, LOG_INFO, "x");
	cr_expect_eq(errno, ENOENT);
}

Test(log, full_pipe_drops_and_counts)
{
	char fill[4096] = {0};

	while (write(STDERR_FILENO, fill, sizeof(fill)) > 0)
		;
	ht_log(LOG_INFO, "lost");
	ht_log(LOG_INFO, "lost too");
	caught();
	ht_log(LOG_INFO, "back");
	cr_expect_str_eq(caught(), "info back dropped=2\n");
	ht_log(LOG_INFO, "again");
	cr_expect_str_eq(caught(), "info again\n");
}

static void one_place(int i)
{
	ht_log_limited(LOG_INFO, "i=%d", i);
}

Test(log, limited)
{
	struct ht_log_limit limit = {0};

	for (int i = 0; i < 5; i++)
		one_place(i);
	cr_expect_str_eq(caught(), "info i=0\n");
	ht_log_limited(LOG_INFO, "another place");
	cr_expect_str_eq(caught(), "info another place\n");

	ht_log_limited_at(&limit, LOG_INFO, "a");
	ht_log_limited_at(&limit, LOG_INFO, "b");
	ht_log_limited_at(&limit, LOG_INFO, "c");
	limit.next_ms = 0; /* the second is over */
	ht_log_limited_at(&limit, LOG_INFO, "d");
	cr_expect_str_eq(caught(), "info a\ninfo d suppressed=2\n");
	limit.next_ms = 0;
	ht_log_limited_at(&limit, LOG_INFO, "e");
	cr_expect_str_eq(caught(), "info e\n");
}

/* ---- quotes ---- */

static const struct {
	const char *name;
	struct ht_str in;
	size_t cap;
	const char *out;
} quotes[] = {
	{"plain", {"abc xyz~", 8}, 64, "abc xyz~"},
	{"quote and backslash", {"a\"b\\c", 5}, 64, "a\\x22b\\x5Cc"},
	{"controls", {"\0\n\x1b\x7f", 4}, 64, "\\x00\\x0A\\x1B\\x7F"},
	{"8-bit", {"\xc3\xa9", 2}, 64, "\\xC3\\xA9"},
	{"empty", {NULL, 0}, 64, ""},
	{"just fits", {"abcdefg", 7}, 8, "abcdefg"},
	{"one too many", {"abcdefgh", 8}, 8, "abcd..."},
	{"escape just fits", {"abc\n", 4}, 8, "abc\\x0A"},
	{"escape is never cut", {"abcd\n", 5}, 8, "abcd..."},
	{"dots never cut an escape", {"a\nbcd", 5}, 8, "a..."},
	{"no room for dots", {"abc", 3}, 3, ".."},
	{"room for nothing", {"abc", 3}, 1, ""},
};

Test(log, quote)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(quotes); i++) {
		char out[64];

		memset(out, '#', sizeof(out));
		cr_expect_str_eq(ht_log_quote(quotes[i].in, out, quotes[i].cap), quotes[i].out,
				 "%s: %s", quotes[i].name, out);
		cr_expect(quotes[i].cap == sizeof(out) || out[quotes[i].cap] == '#', "%s",
			  quotes[i].name);
	}
	cr_expect_str_eq(ht_log_quote(HT_STR("abc"), NULL, 0), "");
}

/* ---- the access log ---- */

static struct ht_access example(void)
{
	return (struct ht_access){
		.client = "192.0.2.10",
		.listener = "0.0.0.0:443",
		.upstream = "127.0.0.1:9000",
		.method = HT_STR("GET"),
		.target = HT_STR("/a?b=\"c\""),
		.host = HT_STR("shop.example.com"),
		.user_agent = HT_STR("curl/8 \xff\n"),
		.referer = HT_STR("https://example.com/"),
		.minor = 1,
		.status = 200,
		.bytes_in = 10,
		.bytes_out = 4294967296,
		.duration_us = 1234,
		.request_id = "0123456789abcdef",
		.tls = "TLSv1.3",
		.verdicts = "sid=hit,other=forged",
	};
}

static const char *written(enum ht_log_format format, const struct ht_access *a)
{
	struct ht_access_log *l = NULL;
	char why[128];

	cr_assert_eq(ht_access_log_open(format, "stderr", &l, why, sizeof(why)), 0);
	cr_expect(ht_access_log_on(l));
	ht_access_log_write(l, a);
	ht_access_log_close(l);
	return caught();
}

static json_t *written_json(const struct ht_access *a)
{
	const char *line = written(HT_LOG_JSON, a);
	json_error_t e;
	json_t *j;

	cr_assert_eq(strchr(line, '\n'), line + strlen(line) - 1, "one line: %s", line);
	j = json_loads(line, JSON_REJECT_DUPLICATES, &e);
	cr_assert(j, "%s: %s", e.text, line);
	return j;
}

static const struct {
	const char *key, *value;
} texts[] = {
	{"client", "192.0.2.10"},
	{"listener", "0.0.0.0:443"},
	{"upstream", "127.0.0.1:9000"},
	{"method", "GET"},
	{"target", "/a?b=\"c\""},
	{"host", "shop.example.com"},
	{"protocol", "HTTP/1.1"},
	{"user_agent", "curl/8 \xc3\xbf\n"}, /* byte ff as the character U+00FF */
	{"referer", "https://example.com/"},
	{"request_id", "0123456789abcdef"},
	{"tls", "TLSv1.3"},
	{"verdicts", "sid=hit,other=forged"},
};

Test(log, access_json)
{
	struct ht_access a = example();
	json_t *j = written_json(&a);
	const char *when = json_string_value(json_object_get(j, "time"));
	int ms;

	for (size_t i = 0; i < HT_ARRAY_SIZE(texts); i++)
		cr_expect_str_eq(json_string_value(json_object_get(j, texts[i].key)),
				 texts[i].value);
	cr_expect_eq(json_integer_value(json_object_get(j, "status")), 200);
	cr_expect_eq(json_integer_value(json_object_get(j, "bytes_in")), 10);
	cr_expect_eq(json_integer_value(json_object_get(j, "bytes_out")), 4294967296);
	cr_expect_eq(json_integer_value(json_object_get(j, "duration_us")), 1234);
	cr_expect(strlen(when) == 24 &&
			  sscanf(when, "%*4d-%*2d-%*2dT%*2d:%*2d:%*2d.%3dZ", &ms) == 1,
		  "%s", when);
	json_decref(j);
}

Test(log, access_json_leaves_out_what_is_missing)
{
	struct ht_access a = {.status = 400};
	json_t *j = written_json(&a);

	cr_expect(!json_object_get(j, "upstream") && !json_object_get(j, "tls"));
	cr_expect(!json_object_get(j, "verdicts") && !json_object_get(j, "referer"));
	cr_expect_str_eq(json_string_value(json_object_get(j, "client")), "");
	json_decref(j);
}

/* The worst that a client can do: the line stays whole, valid and below PIPE_BUF. */
Test(log, access_json_at_its_longest)
{
	static char evil[20000];
	struct ht_access a = example();
	struct ht_str s = {evil, sizeof(evil)};
	const char *line;
	json_t *j;

	memset(evil, 0x01, sizeof(evil) - 1);
	a.method = a.target = a.host = a.user_agent = a.referer = s;
	a.client = a.listener = a.upstream = a.request_id = a.tls = a.verdicts = evil;
	a.status = a.minor = INT_MIN;
	a.bytes_in = a.bytes_out = a.duration_us = UINT64_MAX;
	line = written(HT_LOG_JSON, &a);
	cr_expect(strlen(line) < PIPE_BUF && strstr(line, "\"}\n"), "%zu bytes", strlen(line));
	a.bytes_in = a.bytes_out = a.duration_us = INT64_MAX; /* as far as jansson reads */
	j = written_json(&a);
	cr_expect(json_object_get(j, "verdicts"), "the last key is there");
	json_decref(j);
}

static void expect_match(const char *line, const char *pattern)
{
	regex_t re;

	cr_assert_eq(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	cr_expect_eq(regexec(&re, line, 0, NULL, 0), 0, "%s", line);
	regfree(&re);
}

#define TIME "\\[[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2} \\+0000\\]"

Test(log, access_combined)
{
	struct ht_access a = example(), none = {.status = 400, .bytes_out = 7};

	expect_match(written(HT_LOG_COMBINED, &a),
		     "^192\\.0\\.2\\.10 - - " TIME " \"GET /a\\?b=\\\\x22c\\\\x22 HTTP/1\\.1\" 200 "
		     "4294967296 \"https://example\\.com/\" \"curl/8 \\\\xFF\\\\x0A\"\n$");
	expect_match(written(HT_LOG_COMBINED, &none), "^- - - " TIME " \"\" 400 7 \"-\" \"-\"\n$");
}

Test(log, access_off)
{
	struct ht_access_log *l = NULL;
	struct ht_access a = example();
	char why[128];

	cr_assert_eq(ht_access_log_open(HT_LOG_JSON, "off", &l, why, sizeof(why)), 0);
	cr_expect(!ht_access_log_on(l));
	ht_access_log_write(l, &a);
	cr_expect_str_eq(caught(), "");
	ht_access_log_close(l);
	ht_access_log_close(NULL);
}

Test(log, access_to_a_file)
{
	char dir[] = "/tmp/ht-log-XXXXXX", path[64], why[128], line[4096];
	struct ht_access_log *l = NULL;
	struct ht_access a = example();
	struct stat st;
	int lines = 0;
	FILE *f;

	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/access", dir);
	umask(0);
	for (int i = 0; i < 2; i++) { /* appends */
		cr_assert_eq(ht_access_log_open(HT_LOG_JSON, path, &l, why, sizeof(why)), 0);
		ht_access_log_write(l, &a);
		ht_access_log_close(l);
	}
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0640);
	f = fopen(path, "r");
	while (fgets(line, sizeof(line), f))
		lines++;
	fclose(f);
	cr_expect_eq(lines, 2);
	unlink(path);
	rmdir(dir);
}

Test(log, access_to_nowhere)
{
	struct ht_access_log *l = NULL;
	char why[128] = "";

	cr_expect_eq(ht_access_log_open(HT_LOG_JSON, "/nonexistent/a", &l, why, sizeof(why)),
		     -ENOENT);
	cr_expect(!l);
	cr_expect(strstr(why, "/nonexistent/a: No such file"), "%s", why);
}

static void *write_many(void *arg)
{
	for (int i = 0; i < 10; i++)
		ht_log(LOG_INFO, "%0*d", 1000, *(int *)arg);
	return NULL;
}

Test(log, lines_of_two_threads_never_mix)
{
	int id[2] = {1, 2};
	const char *p;
	pthread_t t[2];
	size_t n = 0;

	for (size_t i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&t[i], NULL, write_many, &id[i]), 0);
	for (size_t i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	for (p = caught(); *p; p = strchr(p, '\n') + 1, n++)
		cr_assert(strchr(p, '\n') - p == 1005 && !strncmp(p, "info 0", 6), "%.20s", p);
	cr_expect_eq(n, 20);
}
