/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hardtackctl: asks a running daemon over its control socket, and signs and verifies tokens
 * offline with the daemon's own code. Exit status: 0 yes, 1 no (or the daemon can't), 2 usage.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "binding.h"
#include "keyring.h"
#include "token.h"
#include "util.h"

#define DEFAULT_SOCKET "/run/hardtack/control.sock"
#define ANSWER_TIMEOUT_S 10

enum { EXIT_YES, EXIT_NO, EXIT_USAGE };

struct command {
	const char *name;
	int (*run)(const struct command *self, const char *socket_path, int argc, char **argv);
	const char *arguments, *help;
};

static int run_online(const struct command *self, const char *socket_path, int argc, char **argv);
static int run_offline(const struct command *self, const char *socket_path, int argc, char **argv);
static int run_not_built(const struct command *self, const char *socket_path, int argc,
			 char **argv);

static const struct command commands[] = {
	{"status", run_online, "[--json]", "what the daemon is, does and has counted"},
	{"tokens", run_online, "[--limit N] [--json]",
	 "the kernel's token map, at most 100 entries"},
	{"flush", run_online, "[--json]", "forget all tokens: the daemon verifies each again"},
	{"reload", run_online, "[--json]", "read the configuration, certificates and keys again"},
	{"metrics", run_online, "[--json]", "what GET /metrics answers"},
	{"sign", run_offline,
	 "--profile P --key-file F --name N --value V --bind INPUT... [--json]",
	 "print a token (needs no daemon)"},
	{"verify", run_offline,
	 "--profile P --key-file F --name N --value V --bind INPUT... --token T [--json]",
	 "print valid, forged or refused (needs no daemon)"},
	{"bans", run_not_built, "", "not built yet"},
	{"rotate", run_not_built, "KEY", "not built yet"},
	{"revoke", run_not_built, "KEY | --cookie NAME=VALUE", "not built yet"},
};

/* ---- messages ---- */

static void write_usage(FILE *out)
{
	fputs("usage: hardtackctl [-s SOCKET] COMMAND [--json]\n"
	      "       hardtackctl --help | --version\n\ncommands:\n",
	      out);
	for (size_t i = 0; i < HT_ARRAY_SIZE(commands); i++)
		fprintf(out, "  %s%s%s\n           %s\n", commands[i].name,
			*commands[i].arguments ? " " : "", commands[i].arguments, commands[i].help);
	fputs("\nsign and verify take:\n"
	      "  --profile P    f5-irule\n"
	      "  --key-file F   the key is the file's bytes, less one trailing newline\n"
	      "  --name N       the covered cookie (not part of f5-irule's token)\n"
	      "  --value V      its value\n"
	      "  --bind INPUT   what the token is bound to, e.g. 192.0.2.10; again for several, "
	      "in\n"
	      "                 the order of the configuration\n"
	      "  --token T      verify: the token to check\n"
	      "  --time T       for profiles that have one (f5-irule has none)\n"
	      "\nsocket: -s, else " DEFAULT_SOCKET "\n"
	      "exit status: 0 done or valid, 1 failed or not valid, 2 usage\n",
	      out);
}

/* A line that says what is wrong, then the usage. */
static _printf_(1, 2) int usage(const char *fmt, ...)
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

/* getopt_long() has said which. */
static int bad_option(void)
{
	fputc('\n', stderr);
	write_usage(stderr);
	return EXIT_USAGE;
}

static _printf_(2, 3) int fail(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("hardtackctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

/* Output that could not be written is no success. */
static int finish(int status)
{
	if (fflush(stdout) || ferror(stdout))
		return fail(EXIT_NO, "standard output: %s", strerror(errno));
	return status;
}

static int print_json(json_t *tree, int status)
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
			write_usage(stdout);
			return finish(EXIT_YES);
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

static int run_not_built(const struct command *self, const char *socket_path, int argc, char **argv)
{
	(void)socket_path;
	(void)argc;
	(void)argv;
	return fail(EXIT_NO, "%s is not built yet", self->name);
}

/* ---- tokens, offline ---- */

struct offline {
	const char *profile, *key_file, *name, *value, *token, *time;
	char input[HT_BINDING_MAX];
	size_t input_len;
	bool bound, colon, json, help;
};

/* Appended without a separator, as ht_binding_make() does. */
static bool add_input(struct offline *o, const char *text)
{
	size_t len = strlen(text);

	if (len > sizeof(o->input) - o->input_len)
		return false;
	memcpy(o->input + o->input_len, text, len);
	o->input_len += len;
	o->bound = true;
	o->colon = o->colon || strchr(text, ':');
	return true;
}

/* 0, or what to exit with. */
static int parse_offline(int argc, char **argv, struct offline *ret)
{
	static const struct option options[] = {
		{"profile", required_argument, NULL, 'p'},
		{"key-file", required_argument, NULL, 'k'},
		{"name", required_argument, NULL, 'n'},
		{"value", required_argument, NULL, 'v'},
		{"bind", required_argument, NULL, 'b'},
		{"token", required_argument, NULL, 't'},
		{"time", required_argument, NULL, 'T'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int o, last = 0;

	memset(ret, 0, sizeof(*ret));
	/* '-': words come in their order, so that `--bind A B` is `--bind A --bind B`. */
	for (; (o = getopt_long(argc, argv, "-h", options, NULL)) != -1; last = o == 1 ? last : o) {
		switch (o) {
		case 'p':
			ret->profile = optarg;
			break;
		case 'k':
			ret->key_file = optarg;
			break;
		case 'n':
			ret->name = optarg;
			break;
		case 'v':
			ret->value = optarg;
			break;
		case 't':
			ret->token = optarg;
			break;
		case 'T':
			ret->time = optarg;
			break;
		case 'j':
			ret->json = true;
			break;
		case 'h':
			ret->help = true;
			break;
		case 1:
			if (last != 'b')
				return usage("'%s' belongs to no option", optarg);
			/* fall through */
		case 'b':
			if (!add_input(ret, optarg))
				return usage("the inputs of --bind are longer than %d bytes",
					     HT_BINDING_MAX);
			break;
		default:
			return bad_option();
		}
	}
	if (optind < argc)
		return usage("'%s' belongs to no option", argv[optind]);
	return 0;
}

/* 0, or what to exit with. An empty input must be asked for: --bind "". */
static int check_offline(const struct offline *o, enum ht_profile *ret)
{
	if (!o->profile || !o->key_file || !o->value || !o->bound)
		return usage("--profile, --key-file, --value and --bind are needed");
	if (ht_profile_parse(o->profile, ret) < 0)
		return usage("there is no profile '%s'", o->profile);
	if (!ht_profile_built(*ret))
		return fail(EXIT_USAGE, "profile %s is not built yet", o->profile);
	if (o->time)
		return usage("profile %s has no time", o->profile);
	return 0;
}

static int sign(const struct ht_token_params *p, const struct offline *o)
{
	char token[HT_TOKEN_TEXT_MAX];
	size_t len;
	int r = ht_token_sign(p, token, &len);

	if (r == -EPERM)
		return fail(EXIT_NO, "refused: %s",
			    p->value.len ? "the value contains ':' and so does the input"
					 : "an empty value is a deletion, it has no token");
	if (r < 0)
		return fail(EXIT_NO, "signing failed: %s", strerror(-r));
	if (o->json)
		return print_json(
			json_pack("{s:s, s:s%}", "profile", o->profile, "token", token, len),
			EXIT_YES);
	printf("%.*s\n", (int)len, token);
	return finish(EXIT_YES);
}

static int verify(const struct ht_token_params *p, const struct offline *o)
{
	static const char *const names[] = {
		[HT_TOKEN_VALID] = "valid",
		[HT_TOKEN_FORGED] = "forged",
		[HT_TOKEN_REFUSED] = "refused",
	};
	enum ht_token_verdict verdict = ht_token_verify(p, HT_STR(o->token));
	int status = verdict == HT_TOKEN_VALID ? EXIT_YES : EXIT_NO;

	if (o->json)
		return print_json(
			json_pack("{s:s, s:s}", "profile", o->profile, "verdict", names[verdict]),
			status);
	puts(names[verdict]);
	return finish(status);
}

static int run_offline(const struct command *self, const char *socket_path, int argc, char **argv)
{
	bool verifies = !strcmp(self->name, "verify");
	struct ht_token_params p = {0};
	struct ht_diag diag = {0};
	struct offline o;
	uint8_t *secret;
	size_t secret_len;
	int status;

	(void)socket_path;
	status = parse_offline(argc, argv, &o);
	if (status)
		return status;
	if (o.help) {
		write_usage(stdout);
		return finish(EXIT_YES);
	}
	status = check_offline(&o, &p.profile);
	if (status)
		return status;
	if (verifies != !!o.token)
		return usage("--token is what verify needs, and sign makes");
	if (ht_secret_read(o.key_file, &secret, &secret_len, &diag) < 0)
		return fail(EXIT_USAGE, "%s: %s", o.key_file, diag.text);

	p.secret = (struct ht_secret){secret, secret_len};
	p.name = HT_STR(o.name ? o.name : "");
	p.value = HT_STR(o.value);
	p.input = (struct ht_str){o.input, o.input_len};
	p.input_colon = o.colon;
	status = verifies ? verify(&p, &o) : sign(&p, &o);
	ht_secret_free(secret, secret_len);
	return status;
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
			write_usage(stdout);
			return finish(EXIT_YES);
		case 'V':
			puts("hardtackctl " HT_VERSION);
			return finish(EXIT_YES);
		default:
			return bad_option();
		}
	}
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
