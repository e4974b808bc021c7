/* SPDX-License-Identifier: Apache-2.0 */
/* Reads /proc. What cannot be read counts as nothing. */
#include "meter.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int meter_parse(const char *list, struct meter_group *ret)
{
	char *end;

	memset(ret, 0, sizeof(*ret));
	while (*list) {
		long pid = strtol(list, &end, 10);

		if (end == list || pid <= 0 || ret->n == METER_PIDS || (*end && *end != ','))
			return -1;
		ret->pid[ret->n++] = (int)pid;
		list = *end ? end + 1 : end;
	}
	return 0;
}

static void add_thread(const char *path, struct meter_reading *r)
{
	unsigned long long ran, waited;
	FILE *f = fopen(path, "re");

	if (!f)
		return;
	if (fscanf(f, "%llu %llu", &ran, &waited) == 2) {
		r->ran_ns += ran;
		r->waited_ns += waited;
	}
	fclose(f);
}

static void add_process(int pid, struct meter_reading *r)
{
	char path[512];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return;
	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, d->d_name);
		add_thread(path, r);
	}
	closedir(dir);
}

void meter_read(const struct meter_group *g, struct meter_reading *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < g->n; i++)
		add_process(g->pid[i], ret);
}

void meter_read_machine(struct meter_machine *ret)
{
	unsigned long long user, nice, sys, idle, iowait, irq, softirq, steal;
	uint64_t tick_ns = 1000000000ULL / (uint64_t)sysconf(_SC_CLK_TCK);
	struct timespec ts;
	FILE *f = fopen("/proc/stat", "re");

	memset(ret, 0, sizeof(*ret));
	ret->cpus = sysconf(_SC_NPROCESSORS_ONLN);
	if (f && fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &sys, &idle,
			&iowait, &irq, &softirq, &steal) == 8) {
		ret->idle_ns = (idle + iowait) * tick_ns;
		ret->steal_ns = steal * tick_ns;
	}
	if (f)
		fclose(f);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ret->clock_ns = (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}
