/* SPDX-License-Identifier: MIT */
/* Options of the programs that make load. */
#pragma once

#include <err.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "basic/clock.h"
#include "basic/parse.h"

#define EXIT_UNMEASURED 2 /* nothing could be measured */

static inline uint64_t number_option(int option, const char *text, uint64_t maximum)
{
    uint64_t value;
    int r = parse_unsigned(text, maximum, &value);

    if (r < 0)
        errx(EXIT_UNMEASURED, "-%c \"%s\": %s", option, text, strerror(-r));
    return value;
}

static inline uint64_t time_option(int option, const char *text)
{
    uint64_t value;
    int r = parse_time_span(text, &value);

    if (r < 0 || value > 3600 * USEC_PER_SEC)
        errx(EXIT_UNMEASURED, "-%c \"%s\": %s", option, text, strerror(r < 0 ? -r : ERANGE));
    return value;
}
