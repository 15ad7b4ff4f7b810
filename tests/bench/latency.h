/* SPDX-License-Identifier: MIT */
/* Latencies of connections, counted as they come. */
#pragma once

#include <stdint.h>

/* Latencies in microseconds: exact below 2 × 64, then 64 steps to each power of two (1.6 %). */
#define STEP_BITS 6
#define STEPS     (1U << STEP_BITS)
#define BUCKETS   ((32 - STEP_BITS) * STEPS)

struct histogram {
    uint64_t count, maximum;
    uint64_t buckets[BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t usec)
{
    unsigned exponent;

    if (usec < STEPS)
        return (unsigned)usec;
    if (usec > UINT32_MAX)
        usec = UINT32_MAX;
    exponent = 31 - (unsigned)__builtin_clz((unsigned)usec);
    return (exponent - STEP_BITS) * STEPS + (unsigned)(usec >> (exponent - STEP_BITS));
}

/* The lowest latency that is counted in this bucket. */
static inline uint64_t histogram_floor(unsigned bucket)
{
    unsigned shift = bucket / STEPS;

    if (shift <= 1)
        return bucket;
    return (uint64_t)(bucket % STEPS + STEPS) << (shift - 1);
}

static inline void histogram_add(struct histogram *histogram, uint64_t usec)
{
    histogram->count++;
    histogram->buckets[histogram_bucket(usec)]++;
    if (usec > histogram->maximum)
        histogram->maximum = usec;
}

static inline uint64_t histogram_percentile(const struct histogram *histogram, unsigned percent)
{
    uint64_t rank = histogram->count * percent / 100, seen = 0;

    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > rank)
            return histogram_floor(i);
    }
    return histogram->maximum;
}
