/* SPDX-License-Identifier: MIT */
/* So many in so long (TriggerLimitBurst=, PollLimitBurst= of systemd.socket(5)): a window that
 * begins with the first event after the last window was over. May lie in shared memory. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "unit/socket-unit.h"

/* Starts as all zero. */
struct rate_window {
    _Atomic uint64_t begin_usec;
    _Atomic uint32_t count;
};

/* Counts an event at now (CLOCK_MONOTONIC): 0 when it is within the limit, else when the window is
 * over. Processes that count at the same instant as a window begins may count a few too few. */
uint64_t rate_window_count(struct rate_window *window, const struct rate_limit *limit,
                           uint64_t now_usec);

/* Takes an event back that was counted in this window. */
void rate_window_uncount(struct rate_window *window);
