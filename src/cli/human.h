/* SPDX-License-Identifier: MIT */
/* Numbers as people read them, each in a few characters. */
#pragma once

#include <stdint.h>

#define HUMAN_MAX 32

/* "9999", "12.3k", "123k", "1.23M". Never more than five characters; rounded down, so that what is
 * not there yet is not shown. */
const char *human_count(uint64_t count, char text[HUMAN_MAX]);
/* "0.3/s", "42/s", "12.3k/s"; "-" for nothing. */
const char *human_rate(double per_second, char text[HUMAN_MAX]);
/* "850 µs", "4.2 ms", "18 s", "2.5 min", "31 h", "12 d". */
const char *human_duration(uint64_t usec, char text[HUMAN_MAX]);
/* How old something is: "42 s", "2 min 5 s", "3 d 4 h". */
const char *human_age(uint64_t usec, char text[HUMAN_MAX]);
