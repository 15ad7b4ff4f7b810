/* SPDX-License-Identifier: MIT */
/* Problems with units as lines for people. */
#pragma once

#include <stddef.h>

#include "unit/problem.h"

/* "FILE:LINE: error: TEXT", safe to print. NULL when there is no memory. */
char *problem_line(const struct problem *problem);

/* Calls write with each line, sorted ones once each, and with a last line about those that are not
 * in the list. 0 or -ENOMEM. */
struct problem_counts {
    size_t n_errors, n_warnings; /* as written */
};
int problem_lines(const struct problems *problems,
                  void (*write)(enum problem_severity severity, const char *line),
                  struct problem_counts *ret_counts);
