/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>
#include <time.h>

#define USEC_PER_MSEC ((uint64_t)1000)
#define USEC_PER_SEC  ((uint64_t)1000000)

/* Microseconds of CLOCK_MONOTONIC: what every deadline in hark is measured in. */
static inline uint64_t monotonic_usec(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}
