/* SPDX-License-Identifier: Apache-2.0 */
/* Network namespaces of a test. */
#include "netns.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* The loopback interface of the namespace that we are in: as ip(8) does it, without two processes. */
static bool lo_up(void)
{
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = fd >= 0 && !ioctl(fd, SIOCSIFFLAGS, &r);

	close(fd);
	return up;
}

int netns_new(void)
{
	if (unshare(CLONE_NEWNET) || !lo_up())
		return -1;
	return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
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
