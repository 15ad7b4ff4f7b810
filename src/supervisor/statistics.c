/* SPDX-License-Identifier: MIT */
#include "supervisor/statistics.h"

#include "basic/clock.h"

#define RECENT_MAX 8192

const uint64_t statistics_run_times[STATISTICS_RUN_TIMES] = {
    100,     250,      500,      1000,      2500,       5000,        10000,
    25000,   50000,    100000,   250000,    500000,     1000000,     2500000,
    5000000, 10000000, 60000000, 600000000, 3600000000, 86400000000,
};

/* Four for each power of two; below four one for each number. */
static unsigned bucket_of(uint64_t usec)
{
    if (usec < 4)
        return (unsigned)usec;
    unsigned power = 63 - (unsigned)__builtin_clzll(usec);
    unsigned bucket = (power - 1) * 4 + (unsigned)(usec >> (power - 2) & 3);
    return bucket < STATISTICS_RECENT ? bucket : STATISTICS_RECENT - 1;
}

/* The greatest that is in it. */
static uint64_t end_of(unsigned bucket)
{
    if (bucket < 4)
        return bucket;
    unsigned power = bucket / 4 + 1;
    return ((uint64_t)(bucket % 4 + 5) << (power - 2)) - 1;
}

static void halve(struct statistics *statistics)
{
    statistics->n_recent = 0;
    for (size_t i = 0; i < STATISTICS_RECENT; i++) {
        statistics->recent[i] /= 2;
        statistics->n_recent += statistics->recent[i];
    }
}

void statistics_count(struct statistics *statistics, uint64_t now_usec, uint64_t run_time_usec,
                      bool failed)
{
    uint64_t second = now_usec / USEC_PER_SEC;
    size_t at = second % (STATISTICS_SECONDS + 1);

    statistics->done++;
    statistics->failed += failed;
    statistics->run_time_usec += run_time_usec;
    for (size_t i = 0; i < STATISTICS_RUN_TIMES; i++)
        if (run_time_usec <= statistics_run_times[i]) {
            statistics->run_times[i]++;
            break;
        }
    statistics->recent[bucket_of(run_time_usec)]++;
    if (++statistics->n_recent == RECENT_MAX)
        halve(statistics);
    if (statistics->seconds[at].second != second) {
        statistics->seconds[at].second = second;
        statistics->seconds[at].n = 0;
    }
    statistics->seconds[at].n++;
}

double statistics_rate(const struct statistics *statistics, uint64_t now_usec)
{
    uint64_t second = now_usec / USEC_PER_SEC;
    uint64_t n = 0;

    for (size_t i = 0; i <= STATISTICS_SECONDS; i++)
        if (statistics->seconds[i].second < second &&
            statistics->seconds[i].second + STATISTICS_SECONDS >= second)
            n += statistics->seconds[i].n;
    return (double)n / STATISTICS_SECONDS;
}

bool statistics_percentile(const struct statistics *statistics, unsigned of_thousand,
                           uint64_t *ret_usec)
{
    uint64_t wanted = ((uint64_t)statistics->n_recent * of_thousand + 999) / 1000, n = 0;

    for (unsigned i = 0; i < STATISTICS_RECENT; i++) {
        n += statistics->recent[i];
        if (n > 0 && n >= wanted) {
            *ret_usec = end_of(i);
            return true;
        }
    }
    return false;
}
