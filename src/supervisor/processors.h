/* SPDX-License-Identifier: MIT */
/*
 * What processors hark was given: an affinity, and perhaps a quota of its control group. How many
 * fork servers suit that, where each is pinned, and what affinity handlers have.
 *
 * Order: processors_read() once, before anything changes the affinity of this process.
 */
#pragma once

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct processors {
    cpu_set_t affinity; /* when hark was started */
    /* Nobody chose among the processors of the cpuset: the affinity follows when that changes. */
    bool is_whole;
    bool is_fixed;  /* a filter forbids to change affinities: servers and handlers keep this one */
    uint32_t quota; /* so many processors' time at most, rounded up; 0: no quota */
};

/* Of this process. 0, or an errno of sched_getaffinity(2). */
int processors_read(struct processors *ret_processors);

/* The quota of this process's control groups, all the way up, rounded up to whole processors; 0
 * when there is none, or none can be read. Version 2: cpu.max; version 1: cpu.cfs_quota_us. root
 * stands for "/" ("" outside of tests). cgroups(7). */
uint32_t processors_quota(const char *root);

/* How many fork servers suit: one per processor, but no more than the quota feeds. */
uint32_t processors_count_servers(const struct processors *processors);

/* Which processor a server of so many is pinned to; -1: none. Only where every processor has a
 * server: a pinned one cannot move to a processor that nobody uses. */
int processors_choose(const struct processors *processors, uint32_t n_servers, uint32_t index);

/* What handlers have to be given, because their server is pinned or stays where it is while it
 * creates them (server-processor.h). NULL: it can do neither, and they have all that there is. */
const cpu_set_t *processors_of_handlers(const struct processors *processors);
