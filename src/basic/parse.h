/* SPDX-License-Identifier: MIT */
/* The one strict parser of each kind of value. All return 0, -EINVAL for what is no such value,
 * -ERANGE for one out of range, and leave the output alone on failure. No white space, no sign is
 * skipped. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* Decimal digits only, at most maximum. */
int parse_unsigned(const char *text, uint64_t maximum, uint64_t *ret_value);

/* An octal file mode of up to 07777, with or without leading zeros. */
int parse_mode(const char *text, mode_t *ret_mode);

#define TIME_INFINITY UINT64_MAX

/* A time span as systemd.time(7) writes it, in microseconds: a number means seconds ("5", "1.5"),
 * units may be joined ("1min 30s", "500ms"); "infinity" is TIME_INFINITY. For the command line:
 * strict, as everything here. */
int parse_time_span(const char *text, uint64_t *ret_usec);

/* The same as systemd reads it from a unit file, exactly: blanks around everything, "5 weeks",
 * ".5", "+5". A bare number counts in units of bare_usec, not 0. A negative number is -ERANGE. */
int parse_loose_time_span(const char *text, uint64_t bare_usec, uint64_t *ret_usec);

/* That in nanoseconds, which is also the unit of a bare number; "ns" and "nsec" exist here only. */
int parse_loose_time_span_nsec(const char *text, uint64_t *ret_nsec);
