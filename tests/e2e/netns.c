/* SPDX-License-Identifier: Apache-2.0 */
/* Network namespaces of a test. */
#include "netns.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>

int netns_new(void)
{
	struct text out = {0};
	bool up;

	if (unshare(CLONE_NEWNET))
		return -1;
	up = netns_shell(&out, "ip link set lo up");
	text_free(&out);
	return up ? open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC) : -1;
}

void netns_enter(int ns)
{
	cr_assert_eq(setns(ns, CLONE_NEWNET), 0, "%s", strerror(errno));
}

bool netns_shell(struct text *out, const char *fmt, ...)
{
	const char *argv[] = {"sh", "-ec", NULL, NULL};
	struct text script = {0};
	char lines[1024];
	va_list ap;
	int code;

	va_start(ap, fmt);
	vsnprintf(lines, sizeof(lines), fmt, ap);
	va_end(ap);
	text_addf(&script, "PATH=$PATH:/usr/sbin:/sbin\n%s\n", lines);
	argv[2] = script.p;
	text_clear(out);
	code = run_command(out, argv);
	text_free(&script);
	return !code;
}
