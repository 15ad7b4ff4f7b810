/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "basic/clock.h"
#include "supervisor/statistics.h"

static struct statistics statistics;

static void begin(void)
{
    statistics = (struct statistics){0};
}

static uint64_t percentile(unsigned of_thousand)
{
    uint64_t usec = 0;

    ASSERT(statistics_percentile(&statistics, of_thousand, &usec));
    return usec;
}

TEST(nothing_yet)
{
    uint64_t usec;

    begin();
    ASSERT(!statistics_percentile(&statistics, 500, &usec));
    ASSERT(statistics_rate(&statistics, 100 * USEC_PER_SEC) == 0);
}

TEST(percentiles_are_within_a_quarter)
{
    for (uint64_t usec = 0; usec < 5000000000; usec = usec * 5 / 4 + 1) {
        begin();
        statistics_count(&statistics, 0, usec, false);
        ASSERT(percentile(500) >= usec && percentile(500) <= usec + usec / 4);
    }
    begin();
    for (uint64_t i = 1; i <= 1000; i++)
        statistics_count(&statistics, 0, i * 1000, false);
    ASSERT(percentile(500) >= 500000 && percentile(500) <= 625000);
    ASSERT(percentile(990) >= 990000 && percentile(990) <= 1250000);
}

TEST(percentiles_forget)
{
    begin();
    for (unsigned i = 0; i < 10000; i++)
        statistics_count(&statistics, 0, 1000000, false);
    for (unsigned i = 0; i < 20000; i++)
        statistics_count(&statistics, 0, 10, false);
    ASSERT(percentile(500) < 20);
    ASSERT_INT(statistics.done, 30000);
}

TEST(the_longest_run_times_have_a_place)
{
    begin();
    statistics_count(&statistics, 0, UINT64_MAX, true);
    ASSERT(percentile(500) > 0);
    ASSERT_INT(statistics.failed, 1);
    for (size_t i = 0; i < STATISTICS_RUN_TIMES; i++)
        ASSERT_INT(statistics.run_times[i], 0); /* beyond all of them */
}

TEST(run_times)
{
    begin();
    statistics_count(&statistics, 0, 100, false);
    statistics_count(&statistics, 0, 101, false);
    ASSERT_INT(statistics.run_times[0], 1);
    ASSERT_INT(statistics.run_times[1], 1);
    ASSERT_INT(statistics.run_time_usec, 201);
    for (size_t i = 1; i < STATISTICS_RUN_TIMES; i++)
        ASSERT(statistics_run_times[i] > statistics_run_times[i - 1]);
}

TEST(rate_of_the_last_ten_seconds)
{
    begin();
    for (uint64_t second = 100; second < 120; second++)
        for (unsigned i = 0; i < 5; i++)
            statistics_count(&statistics, second * USEC_PER_SEC + i, 1, false);
    ASSERT(statistics_rate(&statistics, 120 * USEC_PER_SEC) == 5.0);
    ASSERT(statistics_rate(&statistics, 125 * USEC_PER_SEC) == 2.5);
    ASSERT(statistics_rate(&statistics, 1000 * USEC_PER_SEC) == 0);
}
