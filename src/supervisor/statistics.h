/* SPDX-License-Identifier: MIT */
/* What is counted about the handlers of a unit: how many ended, how fast, after how long. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATISTICS_SECONDS   10  /* that the rate is of */
#define STATISTICS_RECENT    168 /* buckets: four for each power of two */
#define STATISTICS_RUN_TIMES 20

/* Starts as all zero. */
struct statistics {
    uint64_t done, failed;
    uint64_t run_time_usec; /* of all together */
    /* How many ran no longer than statistics_run_times[i], and not within one before. */
    uint64_t run_times[STATISTICS_RUN_TIMES];
    /* The last few thousand, for percentiles: all are halved when they become too many. */
    uint32_t recent[STATISTICS_RECENT], n_recent;
    struct {
        uint64_t second; /* of CLOCK_MONOTONIC */
        uint32_t n;
    } seconds[STATISTICS_SECONDS + 1];
    char last_failure[160];
};

/* Microseconds, growing. */
extern const uint64_t statistics_run_times[STATISTICS_RUN_TIMES];

/* A handler ended now, after so long. */
void statistics_count(struct statistics *statistics, uint64_t now_usec, uint64_t run_time_usec,
                      bool failed);
/* Per second, of the last ten whole ones. */
double statistics_rate(const struct statistics *statistics, uint64_t now_usec);
/* Not longer than this ran so many of a thousand of the last few thousand, within a quarter. False
 * when there were none. */
bool statistics_percentile(const struct statistics *statistics, unsigned of_thousand,
                           uint64_t *ret_usec);
