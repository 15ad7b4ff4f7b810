/* SPDX-License-Identifier: MIT */
#include "cli/human.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "basic/clock.h"

#define USEC_PER_MIN  (60 * USEC_PER_SEC)
#define USEC_PER_HOUR (60 * USEC_PER_MIN)
#define USEC_PER_DAY  (24 * USEC_PER_HOUR)

const char *human_count(uint64_t count, char text[HUMAN_MAX])
{
    static const char letters[] = "kMGTPE";
    uint64_t unit = 1000;
    size_t i = 0;

    if (count < 10000) {
        (void)snprintf(text, HUMAN_MAX, "%" PRIu64, count);
        return text;
    }
    for (; count / unit >= 1000; i++)
        unit *= 1000;
    uint64_t whole = count / unit, hundredths = count % unit / (unit / 100);
    if (whole >= 100)
        (void)snprintf(text, HUMAN_MAX, "%" PRIu64 "%c", whole, letters[i]);
    else if (whole >= 10)
        (void)snprintf(text, HUMAN_MAX, "%" PRIu64 ".%" PRIu64 "%c", whole, hundredths / 10,
                       letters[i]);
    else
        (void)snprintf(text, HUMAN_MAX, "%" PRIu64 ".%02" PRIu64 "%c", whole, hundredths,
                       letters[i]);
    return text;
}

const char *human_rate(double per_second, char text[HUMAN_MAX])
{
    char count[HUMAN_MAX];

    if (!(per_second > 0))
        (void)snprintf(text, HUMAN_MAX, "-");
    else if (per_second < 0.1)
        (void)snprintf(text, HUMAN_MAX, "<0.1/s");
    else if (per_second < 9.95)
        (void)snprintf(text, HUMAN_MAX, "%.1f/s", per_second);
    else
        (void)snprintf(text, HUMAN_MAX, "%s/s",
                       human_count(per_second < 1e18 ? (uint64_t)(per_second + 0.5)
                                                     : (uint64_t)1000000000000000000,
                                   count));
    return text;
}

const char *human_duration(uint64_t usec, char text[HUMAN_MAX])
{
    static const struct {
        uint64_t unit, limit; /* shown in this unit up to there */
        const char *name;
    } units[] = {
        {USEC_PER_MSEC, USEC_PER_SEC, "ms"},      {USEC_PER_SEC, 2 * USEC_PER_MIN, "s"},
        {USEC_PER_MIN, 2 * USEC_PER_HOUR, "min"}, {USEC_PER_HOUR, 2 * USEC_PER_DAY, "h"},
        {USEC_PER_DAY, UINT64_MAX, "d"},
    };
    size_t i = 0;

    if (usec < USEC_PER_MSEC) {
        (void)snprintf(text, HUMAN_MAX, "%" PRIu64 " µs", usec);
        return text;
    }
    while (usec >= units[i].limit && units[i].limit != UINT64_MAX)
        i++;
    uint64_t whole = usec / units[i].unit, tenths = usec % units[i].unit / (units[i].unit / 10);
    if (whole < 10)
        (void)snprintf(text, HUMAN_MAX, "%" PRIu64 ".%" PRIu64 " %s", whole, tenths, units[i].name);
    else
        (void)snprintf(text, HUMAN_MAX, "%" PRIu64 " %s", whole, units[i].name);
    return text;
}

const char *human_age(uint64_t usec, char text[HUMAN_MAX])
{
    uint64_t seconds = usec / USEC_PER_SEC;

    if (seconds < 60)
        (void)snprintf(text, HUMAN_MAX, "%" PRIu64 " s", seconds);
    else if (seconds < 3600)
        (void)snprintf(text, HUMAN_MAX, "%" PRIu64 " min %" PRIu64 " s", seconds / 60,
                       seconds % 60);
    else if (seconds < 86400)
        (void)snprintf(text, HUMAN_MAX, "%" PRIu64 " h %" PRIu64 " min", seconds / 3600,
                       seconds % 3600 / 60);
    else
        (void)snprintf(text, HUMAN_MAX, "%" PRIu64 " d %" PRIu64 " h", seconds / 86400,
                       seconds % 86400 / 3600);
    return text;
}
