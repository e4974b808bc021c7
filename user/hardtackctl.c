/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hardtackctl: asks a running daemon over its control socket (hardtackctl_tokens.c signs and verifies
 * tokens offline). Exit status: 0 yes, 1 no (or the daemon can't), 2 usage.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "hardtackctl.h"

#define DEFAULT_SOCKET "/run/hardtack/control.sock"
#define ANSWER_TIMEOUT_S 60 /* a reload takes long on a machine that has no time for it */

static int run_online(const struct command *self, const char *socket_path, int argc, char **argv);
static int run_revoke(const struct command *self, const char *socket_path, int argc, char **argv);
static int run_rotate(const struct command *self, const char *socket_path, int argc, char **argv);
static int run_bans(const struct command *self, const char *socket_path, int argc, char **argv);

static const struct command commands[] = {
	{"status", run_online, "[--json]", "what the daemon is, does and has counted"},
	{"tokens", run_online, "[--limit N] [--json]",
	 "the kernel's token map, at most 100 entries"},
	{"flush", run_online, "[--json]", "forget all tokens: the daemon verifies each again"},
	{"reload", run_online, "[--json]", "read the configuration, certificates and keys again"},
	{"metrics", run_online, "[--json]", "what GET /metrics answers"},
	{"sign", run_offline,
	 "--profile P --key-file F --name N --value V [--bind INPUT...] [--json]",
	 "print a token (needs no daemon)"},
	{"verify", run_offline,
	 "--profile P --key-file F --name N --value V [--bind INPUT...] --token T [--json]",
	 "print valid, forged, expired or refused (needs no daemon)"},
	{"explain", run_explain,
	 "-c FILE --site HOST --cookie HEADER [--bind KIND=VALUE...] [--plain] [--json]",
	 "say what happens to each cookie of a request, and why (needs no daemon)"},
	{"rotate", run_rotate, "KEY [--json]", "let another secret of a key sign from now on"},
	{"revoke", run_revoke, "KEY [--json]", "end everything that a key has signed, at once"},
	{"revoke", run_revoke, "--cookie NAME=VALUE [--site HOST] [--for DURATION] [--json]",
	 "end one session at once"},
	{"bans", run_bans,
	 "[list] [--limit N] | add ADDRESS [--for DURATION] | del ADDRESS [--json]",
	 "who is banned for forging cookies"},
};

static bool as_json; /* --json was asked for */

/* ---- messages ---- */

static void write_usage(FILE *out)
{
	fputs("usage: hardtackctl [-s SOCKET] COMMAND [--json]\n"
	      "       hardtackctl --help | --version\n\ncommands:\n",
	      out);
	for (size_t i = 0; i < HT_ARRAY_SIZE(commands); i++)
		fprintf(out, "  %s%s%s\n           %s\n", commands[i].name,
			*commands[i].arguments ? " " : "", commands[i].arguments, commands[i].help);
	write_offline_usage(out);
	write_explain_usage(out);
	fputs("\nsocket: -s, else " DEFAULT_SOCKET "\n"
	      "exit status: 0 done or valid, 1 failed or not valid, 2 usage\n",
	      out);
}

int usage(const char *fmt, ...)
{
	va_list ap;

	fputs("hardtackctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("\n\n", stderr);
	write_usage(stderr);
	return EXIT_USAGE;
}

int bad_option(void)
{
	fputc('\n', stderr);
	write_usage(stderr);
	return EXIT_USAGE;
}

int show_help(void)
{
	write_usage(stdout);
	return finish(EXIT_YES);
}

int fail(int status, const char *fmt, ...)
{
	json_auto_t *tree = NULL;
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "hardtackctl: %s\n", text);
	/* for scripts that read nothing else */
	if (as_json)
		tree = json_pack("{s:s}", "error", text);
	if (tree && json_dumpf(tree, stdout, 0) >= 0)
		putchar('\n');
	return status;
}

int finish(int status)
{
	if (fflush(stdout) || ferror(stdout))
		return fail(EXIT_NO, "standard output: %s", strerror(errno));
	return status;
}

int print_json(json_t *tree, int status)
{
	json_auto_t *owned = tree;

	if (!owned || json_dumpf(owned, stdout, 0) < 0)
		return fail(EXIT_NO, "the answer can't be written as JSON");
	putchar('\n');
	return finish(status);
}

/* ---- asking the daemon ---- */

/* A connected socket, or -errno. */
static int connect_to(const char *path)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	strcpy(un.sun_path, path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (const void *)&un, sizeof(un)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int connect_failed(const char *path, int r)
{
	if (r == -ENOENT || r == -ECONNREFUSED)
		return fail(EXIT_NO, "no daemon answers at %s: is hardtackd running? (-s SOCKET)",
			    path);
	if (r == -EACCES)
		return fail(EXIT_NO, "%s: permission denied; root may ask", path);
	return fail(EXIT_NO, "%s: %s", path, strerror(-r));
}

/* Everything until the daemon closes, NUL-terminated. */
static int read_answer(int fd, char **ret)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0, cap = 0;

	for (;;) {
		ssize_t n;

		if (cap - len < 4096) {
			char *more = realloc(text, cap = cap * 2 + 8192);

			if (!more)
				return -ENOMEM;
			text = more;
		}
		n = recv(fd, text + len, cap - len - 1, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		len += (size_t)n;
	}
	text[len] = '\0';
	*ret = TAKE_PTR(text);
	return 0;
}

static int ask(const char *path, const char *line)
{
	_cleanup_close_ int fd = connect_to(path);
	_cleanup_free_ char *answer = NULL;
	size_t len = strlen(line);
	int r;

	if (fd < 0)
		return connect_failed(path, fd);
	if (send(fd, line, len, MSG_NOSIGNAL) != (ssize_t)len)
		return fail(EXIT_NO, "%s: %s", path, strerror(errno));
	r = read_answer(fd, &answer);
	if (r == -EAGAIN)
		return fail(EXIT_NO, "%s: no answer within %d s", path, ANSWER_TIMEOUT_S);
	if (r < 0)
		return fail(EXIT_NO, "%s: %s", path, strerror(-r));
	if (!strncmp(answer, "error: ", 7))
		return fail(EXIT_NO, "%.*s", (int)strcspn(answer + 7, "\n"), answer + 7);
	if (strncmp(answer, "ok\n", 3))
		return fail(EXIT_NO, "%s: this is no hardtackd", path);
	fputs(answer + 3, stdout);
	return finish(EXIT_YES);
}

static int parse_limit(const char *text, unsigned long *ret)
{
	char *end;

	errno = 0;
	*ret = strtoul(text, &end, 10);
	return *text < '0' || *text > '9' || *end || errno || !*ret || *ret > 1000000 ? -EINVAL : 0;
}

static int run_online(const struct command *self, const char *socket_path, int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"limit", required_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	bool json = false, limits = !strcmp(self->name, "tokens");
	unsigned long limit = 100;
	char line[128];
	int o;

	while ((o = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (o) {
		case 'j':
			json = true;
			break;
		case 'l':
			if (!limits || parse_limit(optarg, &limit) < 0)
				return usage("--limit N is for tokens, from 1 to 1000000");
			break;
		case 'h':
			return show_help();
		default:
			return bad_option();
		}
	}
	if (optind < argc)
		return usage("%s takes no '%s'", self->name, argv[optind]);
	snprintf(line, sizeof(line), "%s {\"json\":%s,\"limit\":%lu}\n", self->name,
		 json ? "true" : "false", limit);
	return ask(socket_path, line);
}

/* "90", "30m", "48h", "7d" */
static bool parse_duration(const char *text, json_int_t *ret)
{
	static const struct {
		const char *unit;
		unsigned long s;
	} units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || errno || n > 3650UL * 86400)
		return false;
	for (size_t i = 0; i < HT_ARRAY_SIZE(units); i++) {
		if (!strcmp(end, units[i].unit))
			*ret = (json_int_t)(n * units[i].s);
		if (!strcmp(end, units[i].unit))
			return *ret > 0 && *ret <= 3650LL * 86400;
	}
	return false;
}

static int ask_revoke(const char *socket_path, const char *cookie, const char *site,
		      json_int_t for_s)
{
	json_auto_t *tree = json_pack("{s:b, s:s}", "json", as_json, "cookie", cookie);
	_cleanup_free_ char *text = NULL, *line = NULL;

	if (!tree)
		return usage("a cookie that is no UTF-8 can't be revoked from here");
	if (site)
		json_object_set_new(tree, "site", json_string(site));
	if (for_s)
		json_object_set_new(tree, "for", json_integer(for_s));
	text = json_dumps(tree, JSON_COMPACT);
	if (!text || asprintf(&line, "revoke %s\n", text) < 0)
		return fail(EXIT_NO, "out of memory");
	return ask(socket_path, line);
}

static int ask_key(const char *command, const char *socket_path, const char *key)
{
	json_auto_t *tree = json_pack("{s:b, s:s}", "json", as_json, "key", key);
	_cleanup_free_ char *text = tree ? json_dumps(tree, JSON_COMPACT) : NULL, *line = NULL;

	if (!tree)
		return usage("no key has a name that is no UTF-8");
	if (!text || asprintf(&line, "%s %s\n", command, text) < 0)
		return fail(EXIT_NO, "out of memory");
	return ask(socket_path, line);
}

static int run_rotate(const struct command *self, const char *socket_path, int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int o;

	while ((o = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (o == 'h')
			return show_help();
		if (o == '?')
			return bad_option();
	}
	if (optind != argc - 1 || !*argv[optind])
		return usage("rotate takes the name of one key");
	return ask_key(self->name, socket_path, argv[optind]);
}

static int run_revoke(const struct command *self, const char *socket_path, int argc, char **argv)
{
	static const struct option options[] = {
		{"cookie", required_argument, NULL, 'c'}, {"site", required_argument, NULL, 's'},
		{"for", required_argument, NULL, 'f'},	  {"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},	  {0},
	};
	const char *cookie = NULL, *site = NULL;
	json_int_t for_s = 0;
	int o;

	while ((o = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (o == 'c')
			cookie = optarg;
		else if (o == 's')
			site = optarg;
		else if (o == 'f' && !parse_duration(optarg, &for_s))
			return usage("--for is a time such as 30m, 48h or 7d, ten years at the "
				     "most, not '%s'",
				     optarg);
		else if (o == 'h')
			return show_help();
		else if (o == '?')
			return bad_option();
	}
	if (optind == argc - 1 && *argv[optind] && !cookie && !site && !for_s)
		return ask_key(self->name, socket_path, argv[optind]);
	if (optind < argc)
		return usage(
			"revoke takes the name of one key, or --cookie NAME=VALUE and what goes "
			"with that");
	if (!cookie || *cookie == '=' || !strchr(cookie, '=') || !strchr(cookie, '=')[1])
		return usage("revoke takes the name of a key, or --cookie NAME=VALUE");
	return ask_revoke(socket_path, cookie, site, for_s);
}

static int ask_bans(const char *socket_path, const char *action, const char *address,
		    json_int_t for_s, json_int_t limit)
{
	json_auto_t *tree = json_pack("{s:b, s:s, s:I}", "json", as_json, "action", action, "limit",
				      limit);
	_cleanup_free_ char *text = NULL, *line = NULL;

	if (!tree)
		return fail(EXIT_NO, "out of memory");
	if (address)
		json_object_set_new(tree, "address", json_string(address));
	if (for_s)
		json_object_set_new(tree, "for", json_integer(for_s));
	text = json_dumps(tree, JSON_COMPACT);
	if (!text || asprintf(&line, "bans %s\n", text) < 0)
		return fail(EXIT_NO, "out of memory");
	return ask(socket_path, line);
}

static int run_bans(const struct command *self, const char *socket_path, int argc, char **argv)
{
	static const struct option options[] = {
		{"for", required_argument, NULL, 'f'},
		{"limit", required_argument, NULL, 'l'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *action = "list", *address = NULL;
	unsigned long limit = 100;
	json_int_t for_s = 0;
	int o;

	(void)self;
	while ((o = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (o == 'f' && !parse_duration(optarg, &for_s))
			return usage("--for is a time such as 90, 10m or 24h, ten years at the "
				     "most, not '%s'",
				     optarg);
		else if (o == 'l' && parse_limit(optarg, &limit) < 0)
			return usage("--limit N is from 1 to 1000000");
		else if (o == 'h')
			return show_help();
		else if (o == '?')
			return bad_option();
	}
	if (optind < argc)
		action = argv[optind++];
	if (optind < argc)
		address = argv[optind++];
	if (optind < argc)
		return usage("bans takes no '%s'", argv[optind]);
	if (strcmp(action, "list") && strcmp(action, "add") && strcmp(action, "del"))
		return usage("bans is followed by list, add ADDRESS or del ADDRESS, not '%s'",
			     action);
	if (!address != !strcmp(action, "list"))
		return usage("bans add and bans del need an address, bans list takes none");
	if (for_s && strcmp(action, "add"))
		return usage("--for is for bans add");
	return ask_bans(socket_path, action, address, for_s, (json_int_t)limit);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	const char *socket_path = DEFAULT_SOCKET;
	char **rest;
	int o;

	while ((o = getopt_long(argc, argv, "+s:h", options, NULL)) != -1) {
		switch (o) {
		case 's':
			socket_path = optarg;
			break;
		case 'h':
			return show_help();
		case 'V':
			puts("hardtackctl " HT_VERSION);
			return finish(EXIT_YES);
		default:
			return bad_option();
		}
	}
	for (int i = optind; i < argc; i++)
		as_json |= !strcmp(argv[i], "--json");
	if (optind == argc)
		return usage("a command is missing");

	rest = argv + optind;
	argc -= optind;
	for (size_t i = 0; i < HT_ARRAY_SIZE(commands); i++) {
		if (strcmp(rest[0], commands[i].name))
			continue;
		optind = 0;	   /* start over, with the command's own options */
		rest[0] = argv[0]; /* whom getopt_long() speaks for */
		return commands[i].run(&commands[i], socket_path, argc, rest);
	}
	return usage("there is no command '%s'", rest[0]);
}
