/* SPDX-License-Identifier: MIT */
/* Lines for people, on standard error: "hark: …", or with the level as "<N>" (sd-daemon(3)) when
 * that is the journal. A reader that does not read never stops hark: what does not fit is dropped
 * and counted. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

__attribute__((format(printf, 2, 3))) void log_line(int level, const char *format, ...);

#define log_error(...)   log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)

/* At most `burst` lines of one cause in each interval; the first one after it says how many were
 * left out. Zero-initialise, then set the first two. */
struct log_limit {
    uint64_t interval_usec;
    unsigned burst;
    uint64_t begin_usec;
    unsigned n, suppressed;
};

/* True when the line may be written. */
bool log_limit_pass(struct log_limit *limit, const char *what);
