/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nginx as the backend: one process, its own directory, a log of the cookies that it saw. Knows
 * nothing of the gateway.
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

static const char *nginx_path(void)
{
	return !access("/usr/sbin/nginx", X_OK) ? "/usr/sbin/nginx" : NULL;
}

bool nginx_have(void)
{
	return nginx_path();
}

static void static_file(const char *dir, const char *name, size_t len)
{
	char path[512], *body = malloc(len);
	FILE *f;

	snprintf(path, sizeof(path), "%s/www/%s", dir, name);
	pattern_fill(body, len, 0);
	f = fopen(path, "we");
	fwrite(body, 1, len, f);
	fclose(f);
	free(body);
}

static void config(struct nginx *n)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/nginx.conf", n->dir);
	f = fopen(path, "we");
	fprintf(f,
		"daemon off; master_process off; worker_processes 1; user root;\n"
		"pid %s/pid; error_log %s/error.log warn;\n"
		"events { worker_connections 2048; }\n"
		"http {\n"
		"  client_body_temp_path %s/body; proxy_temp_path %s/proxy;\n"
		"  fastcgi_temp_path %s/f; uwsgi_temp_path %s/u; scgi_temp_path %s/s;\n"
		"  log_format cookies '$arg_id $status $http_cookie';\n"
		"  access_log %s/cookies.log cookies;\n"
		"  keepalive_requests 10000000; keepalive_timeout 600s; client_max_body_size 0;\n"
		"  server {\n"
		"    listen 127.0.0.1:%d backlog=1024;\n"
		"    location /login { add_header Set-Cookie \"ASP.NET_SessionId=$arg_s; path=/; "
		"HttpOnly\"; return 200 \"welcome\\n\"; }\n"
		"    location /echo { add_header X-Id $arg_id; return 200 \"id=$arg_id;\\n\"; }\n"
		"    location /www/ { root %s; }\n"
		"    location /put/ { root %s; dav_methods PUT; }\n"
		"    location / { return 200 \"cookies: $http_cookie\\n\"; }\n"
		"  }\n"
		"}\n",
		n->dir, n->dir, n->dir, n->dir, n->dir, n->dir, n->dir, n->dir, n->port, n->dir,
		n->dir);
	fclose(f);
}

static bool answers(struct nginx *n)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)n->port),
				.sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = !connect(fd, (struct sockaddr *)&a, sizeof(a));

	close(fd);
	return ok;
}

struct nginx *nginx_start(void)
{
	static int count;
	struct nginx *n = calloc(1, sizeof(*n));
	pid_t parent = getpid();
	char path[512];
	int fd;

	snprintf(n->dir, sizeof(n->dir), "%s/nginx-%d-%d", run_dir(), getpid(), ++count);
	cr_assert_eq(mkdir(n->dir, 0755), 0);
	snprintf(path, sizeof(path), "%s/www", n->dir);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/put", n->dir);
	mkdir(path, 0755);
	static_file(n->dir, "200", 200);
	static_file(n->dir, "16k", 16384);
	static_file(n->dir, "100k", 102400);
	n->port = port_free();
	config(n);
	n->pid = fork();
	if (!n->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(126);
		snprintf(path, sizeof(path), "%s/stderr", n->dir);
		fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
		dup2(fd, 1);
		dup2(fd, 2);
		snprintf(path, sizeof(path), "%s/nginx.conf", n->dir);
		execl(nginx_path(), "nginx", "-p", n->dir, "-c", path, (char *)NULL);
		_exit(127);
	}
	cr_assert(e2e_wait(answers(n)), "nginx doesn't start");
	return n;
}

void nginx_stop(struct nginx *n)
{
	int status;

	if (!n->pid)
		return;
	kill(n->pid, SIGTERM);
	cr_assert(e2e_wait(waitpid(n->pid, &status, WNOHANG) == n->pid), "nginx doesn't stop");
	n->pid = 0;
}

char *nginx_cookie_log(struct nginx *n, size_t *ret_len)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/cookies.log", n->dir);
	return text_file(path, ret_len);
}
