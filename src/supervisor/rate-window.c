/* SPDX-License-Identifier: MIT */
#include "supervisor/rate-window.h"

uint64_t rate_window_count(struct rate_window *window, const struct rate_limit *limit,
                           uint64_t now_usec)
{
    uint64_t begin = atomic_load(&window->begin_usec);

    if (limit->interval == 0 || limit->burst == 0)
        return 0;
    /* A sibling's now may be a little later than ours. */
    if ((begin == 0 || (now_usec > begin && now_usec - begin > limit->interval)) &&
        atomic_compare_exchange_strong(&window->begin_usec, &begin, now_usec)) {
        atomic_store(&window->count, 0);
        begin = now_usec;
    }
    if (atomic_fetch_add(&window->count, 1) < limit->burst)
        return 0;
    return limit->interval > UINT64_MAX - begin ? UINT64_MAX : begin + limit->interval;
}

void rate_window_uncount(struct rate_window *window)
{
    uint32_t count = atomic_load(&window->count);

    /* A new window may have begun meanwhile. */
    while (count > 0 && !atomic_compare_exchange_weak(&window->count, &count, count - 1))
        continue;
}
