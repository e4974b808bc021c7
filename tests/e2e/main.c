/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the end-to-end suite: makes what all tests share, lets Criterion run them, cleans up
 * after crashed ones, and ends with one line "N passed, N failed, N skipped" (Criterion 2.4.1
 * doesn't show what was skipped).
 */
#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "netns.h"
#include "pool.h"

static size_t passed, failed;

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
	passed = stats->tests_passed;
	failed = stats->tests_failed;
}

/* The lines of a file of the run's folder, each shown after `what` if that is one. */
static size_t lines(const char *file, const char *what)
{
	char path[512], *line;
	size_t n = 0, len;
	char *text;

	snprintf(path, sizeof(path), "%s/%s", run_dir(), file);
	text = text_file(path, &len);
	if (!text)
		return 0;
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), n++)
		if (what)
			printf("%s: %s\n", what, line);
	free(text);
	return n;
}

/*
 * A network of our own, where nobody else's listeners are: ports are shared with SO_REUSEPORT, and
 * two runs side by side would answer each other's clients.
 */
static bool own_network(void)
{
	int ns = netns_new();

	if (ns >= 0)
		close(ns);
	return ns >= 0;
}

/*
 * How much the kernel takes in for somebody who does not read: 6 MB, as it was for many years. 6.18
 * lets it grow to 32 MB, and then backpressure shows only after most of a test's body.
 */
static void small_buffers(void)
{
	static const char limits[] = "4096 131072 6291456";
	int fd = open("/proc/sys/net/ipv4/tcp_rmem", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, limits, strlen(limits)) < 0)
		perror("tcp_rmem");
	close(fd);
}

/*
 * A test waits most of the time: for the kernel to make and free the daemon's maps, for a timeout
 * that it is about. As many at once as keep the processors busy, unless -j says otherwise.
 */
static size_t jobs(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus < 1 ? 3 : cpus > 4 ? 12 : (size_t)cpus * 3;
}

int main(int argc, char **argv)
{
	char dir[] = "/tmp/ht-e2e-XXXXXX", pid[16];
	struct criterion_test_set *tests;
	size_t skipped;

	if (access(run_daemon(), X_OK)) {
		fprintf(stderr, "%s: no daemon to test; HARDTACKD says which\n", run_daemon());
		return 1;
	}
	if (!getenv("HT_NETWORK") && !own_network()) /* a virtual machine counts in its own */
		perror("no network namespace; running in the machine's own");
	else
		small_buffers();
	if (!mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	setenv("HT_E2E_RUN", dir, 1);
	snprintf(pid, sizeof(pid), "%d", getpid());
	setenv("HT_E2E_PID", pid, 1);
	signal(SIGPIPE, SIG_IGN);
	run_make_certificates();
	if (pool_on() && pool_open())
		return 1;

	tests = criterion_initialize();
	criterion_options.jobs = jobs();
	if (criterion_handle_args(argc, argv, true))
		criterion_run_all_tests(tests);
	criterion_finalize(tests);
	failed += (size_t)pool_close();

	skipped = lines("skipped", "skipped");
	printf("starts: %zu\n", lines("starts", NULL));
	run_sweep();
	/* A skipped test returns early, which Criterion takes for a pass, or fails in CI. */
	if (!getenv("CI"))
		passed -= skipped < passed ? skipped : passed;
	else
		skipped = 0;
	printf("%zu passed, %zu failed, %zu skipped\n", passed, failed, skipped);
	return failed ? 1 : 0;
}
