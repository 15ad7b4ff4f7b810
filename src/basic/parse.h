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
 * units may be joined ("1min 30s", "500ms"); "infinity" is TIME_INFINITY. */
int parse_time_span(const char *text, uint64_t *ret_usec);
