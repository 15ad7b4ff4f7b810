/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "basic/clock.h"
#include "supervisor/rate-window.h"

static const struct rate_limit three_a_second = {.interval = USEC_PER_SEC, .burst = 3};

TEST(a_window_begins_with_the_first_event)
{
    struct rate_window window = {0};
    uint64_t now = 77 * USEC_PER_SEC;

    for (int i = 0; i < 3; i++)
        ASSERT_INT(rate_window_count(&window, &three_a_second, now + (uint64_t)i), 0);
    ASSERT_INT(rate_window_count(&window, &three_a_second, now + 10), now + USEC_PER_SEC);
    ASSERT_INT(rate_window_count(&window, &three_a_second, now + USEC_PER_SEC), now + USEC_PER_SEC);
    now += USEC_PER_SEC + 1;
    for (int i = 0; i < 3; i++)
        ASSERT_INT(rate_window_count(&window, &three_a_second, now), 0);
    ASSERT_INT(rate_window_count(&window, &three_a_second, now), now + USEC_PER_SEC);
}

TEST(a_sibling_may_be_a_little_ahead)
{
    struct rate_window window = {0};

    ASSERT_INT(rate_window_count(&window, &three_a_second, 5000), 0);
    ASSERT_INT(rate_window_count(&window, &three_a_second, 4000), 0);
    ASSERT_INT(rate_window_count(&window, &three_a_second, 4000), 0);
    ASSERT_INT(rate_window_count(&window, &three_a_second, 4000), 5000 + USEC_PER_SEC);
}

TEST(what_was_counted_can_be_taken_back)
{
    struct rate_window window = {0};

    rate_window_uncount(&window);
    for (int i = 0; i < 10; i++) {
        for (int j = 0; j < 3; j++)
            ASSERT_INT(rate_window_count(&window, &three_a_second, 7), 0);
        ASSERT(rate_window_count(&window, &three_a_second, 7) != 0);
        for (int j = 0; j < 4; j++)
            rate_window_uncount(&window);
    }
}

TEST(either_zero_means_without_limit)
{
    const struct rate_limit no_burst = {.interval = USEC_PER_SEC}, no_interval = {.burst = 1};
    struct rate_window window = {0};

    for (uint64_t i = 1; i < 100; i++) {
        ASSERT_INT(rate_window_count(&window, &no_burst, i), 0);
        ASSERT_INT(rate_window_count(&window, &no_interval, i), 0);
    }
}

TEST(for_ever)
{
    const struct rate_limit limit = {.interval = UINT64_MAX, .burst = 1};
    struct rate_window window = {0};

    ASSERT_INT(rate_window_count(&window, &limit, 10), 0);
    ASSERT(rate_window_count(&window, &limit, UINT64_MAX - 1) == UINT64_MAX);
}
