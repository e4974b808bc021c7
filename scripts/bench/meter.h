/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU time of processes and of the whole machine, read from /proc: what the load generator puts
 * beside its latencies. Knows nothing of requests.
 */
#ifndef BENCH_METER_H
#define BENCH_METER_H

#include <stddef.h>
#include <stdint.h>

#define METER_PIDS 64

/* The processes of one party: the proxy, the backend, ourselves. */
struct meter_group {
	size_t n;
	int pid[METER_PIDS];
};

struct meter_reading {
	uint64_t ran_ns, waited_ns; /* all threads: on a CPU, and runnable without one */
};

struct meter_machine {
	uint64_t clock_ns, idle_ns, steal_ns; /* all CPUs together */
	long cpus;
};

/* "12,13,14" -> pids. Returns 0, or -1 if it isn't such a list. */
int meter_parse(const char *list, struct meter_group *ret);

/* From /proc/PID/task/TID/schedstat. Threads that ended are not in it. */
void meter_read(const struct meter_group *g, struct meter_reading *ret);

/* From /proc/stat; its unit is 10 ms, summed up from exact times. */
void meter_read_machine(struct meter_machine *ret);

#endif
