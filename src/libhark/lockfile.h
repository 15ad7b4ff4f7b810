/* SPDX-License-Identifier: MIT */
/* What the library itself asks of a lock file beyond hark.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "libhark/hark.h"

/* The name of the lock still leads to it; false also when that cannot be found out. The name is
 * looked up anew, so a parent directory that was renamed or replaced counts too. */
bool lockfile_in_place(const struct hark_lockfile *lock);

/* The back-off of everything that waits for another process: quadratic from 1 ms to 1 s, each step
 * ± 25 % so that waiters spread, the last one clipped to the deadline. */
struct backoff {
    uint64_t deadline; /* CLOCK_MONOTONIC, microseconds; UINT64_MAX: none */
    unsigned step;
};

void backoff_init(struct backoff *backoff, int timeout_ms);

/* Sleeps until the next try. 0; -ETIMEDOUT when the deadline has passed already (so with a timeout
 * of 0 at the first call); -EINTR when a signal handler ran. */
int backoff_wait(struct backoff *backoff);
