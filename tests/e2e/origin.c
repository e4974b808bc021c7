/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nginx, Apache and Node as servers that log every request as they framed it: their own
 * configuration, port and directory, no service of the machine's. They know nothing of the gateway.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "origin.h"

/* A line of a log: id, method, target, length, status, cookies, with tabs between. */
enum { COLUMNS = 6 };

static const struct {
	const char *program, *config;
} kinds[] = {
	[ORIGIN_NGINX] = {"/usr/sbin/nginx", "nginx.conf"},
	[ORIGIN_APACHE] = {"/usr/sbin/apache2", "apache.conf"},
	[ORIGIN_NODE] = {"/usr/bin/node", "server.js"},
};

/* It proxies to itself: only so does it read a body and know what is in it. */
static const char nginx_config[] =
	"daemon off; master_process off; worker_processes 1; user root;\n"
	"pid %D/pid; error_log %D/error.log warn;\n"
	"events { worker_connections 512; }\n"
	"http {\n"
	"  client_body_temp_path %D/body; proxy_temp_path %D/proxy;\n"
	"  fastcgi_temp_path %D/f; uwsgi_temp_path %D/u; scgi_temp_path %D/s;\n"
	"  log_format frames '$http_x_request_id\\t$request_method\\t$request_uri\\t=$request_body"
	"\\t$status\\t$http_cookie';\n"
	"  keepalive_requests 1000000; keepalive_timeout 600s; access_log off;\n"
	"  client_body_buffer_size 256k; client_body_in_single_buffer on;\n"
	"  server { listen 127.0.0.1:%P; access_log %D/frames frames;\n"
	"    location / { proxy_pass http://unix:%D/inner; proxy_http_version 1.1; } }\n"
	"  server { listen unix:%D/inner;\n"
	"    location / { add_header X-Seen \"$request_method $request_uri\"; return 200; } }\n"
	"}\n";

/* mod_reflector answers a POST with its body, so the answer's length is the body's. */
static const char apache_config[] =
	"ServerName gw.test\nListen 127.0.0.1:%P\nPidFile %D/pid\nErrorLog %D/error.log\n"
	"DefaultRuntimeDir %D\nMutex pthread\nUser nobody\nGroup nogroup\n"
	"LoadModule mpm_prefork_module %M/mod_mpm_prefork.so\n"
	"LoadModule authz_core_module %M/mod_authz_core.so\n"
	"LoadModule headers_module %M/mod_headers.so\n"
	"LoadModule reflector_module %M/mod_reflector.so\n"
	"StartServers 4\nMinSpareServers 2\nMaxSpareServers 8\nMaxRequestWorkers 32\n"
	"KeepAlive On\nMaxKeepAliveRequests 0\nKeepAliveTimeout 600\nTimeout 60\n"
	"LimitRequestFields 300\nAllowEncodedSlashes NoDecode\n"
	"LogFormat \"%{X-Request-ID}i\\t%m\\t%r\\t%B\\t%>s\\t%{Cookie}i\" frames\n"
	"CustomLog %D/frames frames\n"
	"DocumentRoot /\nServerSignature Off\n<Directory />\n  Require all granted\n</Directory>\n"
	"<Location \"/\">\n  SetHandler reflector\n"
	"  Header always set X-Seen \"expr=%{THE_REQUEST}\"\n</Location>\n";

static const char node_script[] =
	"const http = require('http'), fs = require('fs');\n"
	"const log = fs.openSync('%D/frames', 'a');\n"
	"const line = (...columns) => fs.writeSync(log, columns.join('\\t') + '\\n');\n"
	"const server = http.createServer((req, res) => {\n"
	"  let length = 0, ended = false;\n"
	"  const fields = req.headers;\n"
	"  const done = (status) => line(fields['x-request-id'] || '-', req.method, req.url,\n"
	"    length, status, JSON.stringify(req.rawHeaders));\n"
	"  req.on('data', (data) => { length += data.length; });\n"
	"  req.on('end', () => { ended = true; done(200);\n"
	"    res.writeHead(200, { 'X-Seen': req.method + ' ' + req.url, 'Content-Length': 5 });\n"
	"    res.end('seen\\n'); });\n"
	"  req.on('close', () => { if (!ended) done(400); });\n"
	"  req.on('error', () => {});\n"
	"});\n"
	/* The end of a connection in the middle of a body has its line above. */
	"server.on('clientError', (err, socket) => {\n"
	"  if (err.code.startsWith('HPE_') && err.code != 'HPE_INVALID_EOF_STATE')\n"
	"    line('-', '-', '-', 0, 400, err.code);\n"
	"  socket.end('HTTP/1.1 400 Bad Request\\r\\nConnection: close\\r\\n\\r\\n'); });\n"
	"server.keepAliveTimeout = 600000; server.timeout = 0; server.requestTimeout = 0;\n"
	"process.on('SIGTERM', () => { server.close(() => process.exit(0));\n"
	"  server.closeAllConnections(); });\n"
	"server.listen(%P, '127.0.0.1');\n";

bool origin_have(enum origin_kind kind)
{
	return !access(kinds[kind].program, X_OK) &&
	       (kind != ORIGIN_APACHE ||
		!access("/usr/lib/apache2/modules/mod_reflector.so", R_OK));
}

/* %D the directory, %P the port, %M where Apache's modules are; other % stay. */
static void config_write(const struct origin *o, const char *path, const char *pattern)
{
	FILE *f = fopen(path, "we");

	cr_assert(f, "%s: %s", path, strerror(errno));
	for (const char *p = pattern; *p; p++) {
		if (*p == '%' && p[1] == 'D')
			fputs(o->dir, f);
		else if (*p == '%' && p[1] == 'P')
			fprintf(f, "%d", o->port);
		else if (*p == '%' && p[1] == 'M')
			fputs("/usr/lib/apache2/modules", f);
		else {
			fputc(*p, f);
			continue;
		}
		p++;
	}
	fclose(f);
}

static bool answers(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)port),
				.sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = !connect(fd, (struct sockaddr *)&a, sizeof(a));

	close(fd);
	return ok;
}

static void origin_exec(const struct origin *o, const char *config, pid_t parent)
{
	const char *program = kinds[o->kind].program;
	char path[256];
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	setpgid(0, 0); /* Apache ends its whole group */
	snprintf(path, sizeof(path), "%s/stderr", o->dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(fd, 1);
	dup2(fd, 2);
	if (o->kind == ORIGIN_NGINX)
		execl(program, "nginx", "-p", o->dir, "-c", config, (char *)NULL);
	else if (o->kind == ORIGIN_APACHE)
		execl(program, "apache2", "-d", o->dir, "-f", config, "-D", "FOREGROUND",
		      (char *)NULL);
	else
		execl(program, "node", config, (char *)NULL);
	_exit(127);
}

struct origin *origin_start(enum origin_kind kind)
{
	static const char *const patterns[] = {[ORIGIN_NGINX] = nginx_config,
					       [ORIGIN_APACHE] = apache_config,
					       [ORIGIN_NODE] = node_script};
	static int count;
	struct origin *o = calloc(1, sizeof(*o));
	pid_t parent = getpid();
	char config[256];

	o->kind = kind;
	snprintf(o->dir, sizeof(o->dir), "%s/origin-%d-%d", run_dir(), getpid(), ++count);
	cr_assert_eq(mkdir(o->dir, 0755), 0);
	snprintf(o->frames, sizeof(o->frames), "%s/frames", o->dir);
	o->port = port_free();
	snprintf(config, sizeof(config), "%s/%s", o->dir, kinds[kind].config);
	config_write(o, config, patterns[kind]);
	o->pid = fork();
	cr_assert_geq(o->pid, 0);
	if (!o->pid)
		origin_exec(o, config, parent);
	cr_assert(e2e_wait(answers(o->port)), "%s doesn't start", kinds[kind].program);
	return o;
}

void origin_stop(struct origin *o)
{
	int status;

	if (!o->pid)
		return;
	kill(o->pid, SIGTERM);
	cr_assert(e2e_wait(waitpid(o->pid, &status, WNOHANG) == o->pid), "%s doesn't stop",
		  kinds[o->kind].program);
	o->pid = 0;
}

/* How long a text was before a server escaped it: \xHH and \\ and \" are one byte. */
static long escaped_len(const char *p)
{
	long n = 0;

	for (; *p; n++) {
		if (*p != '\\')
			p++;
		else
			p += p[1] == 'x' ? 4 : 2;
	}
	return n;
}

static bool frame_parse(enum origin_kind kind, char *line, struct origin_frame *f)
{
	char *column[COLUMNS], *blank;
	int n = 0;

	while (n < COLUMNS && (column[n] = strsep(&line, "\t")))
		n++;
	if (n < COLUMNS)
		return false;
	f->id = column[0];
	f->method = column[1];
	f->target = column[2];
	f->cookies = column[5];
	f->complete = column[4][0] == '2' || !strcmp(column[4], "405");
	f->length = strtol(column[3], NULL, 10);
	if (kind == ORIGIN_NGINX)
		f->length = strcmp(column[3], "=-") ? escaped_len(column[3] + 1) : 0;
	if (kind != ORIGIN_APACHE)
		return true;
	/* Its own page says nothing of what was in the request, which it read and threw away. */
	if (strcmp(f->method, "POST") || column[4][0] != '2')
		f->length = -1;
	blank = strchr(column[2], ' ');
	f->target = blank ? blank + 1 : column[2];
	blank = strchr(f->target, ' ');
	if (blank)
		*blank = 0;
	return true;
}

struct origin_frame *origin_frames(struct origin *o, size_t *ret_n)
{
	char *text = text_file(o->frames, NULL), *line;
	struct origin_frame *frames = NULL;
	size_t n = 0;

	while (text && (line = strsep(&text, "\n"))) {
		if (!*line)
			continue;
		frames = realloc(frames, (n + 1) * sizeof(*frames));
		cr_assert(frame_parse(o->kind, line, &frames[n]), "what line is this: %s", line);
		n++;
	}
	*ret_n = n;
	return frames;
}
