/* SPDX-License-Identifier: MIT */
/*
 * What is wrong with units. Everything that reads units adds to one list and goes on as far as it
 * can, so that a person sees all faults at once; printing and exit statuses are the caller's.
 *
 *     struct problems problems = {0};
 *     ...
 *     problems_add(&problems, PROBLEM_ERROR, file, line, "unknown key \"%s\"", key);
 *     if (problems.n_errors > 0)
 *         ...
 *     problems_done(&problems);
 */
#pragma once

#include <stddef.h>

/* So many are kept; more are only counted. */
#define PROBLEMS_MAX 1000

enum problem_severity {
    PROBLEM_WARNING, /* worth saying, the unit can be used */
    PROBLEM_ERROR,   /* the unit must not be used */
};

struct problem {
    enum problem_severity severity;
    char *file;    /* NULL: of no file */
    unsigned line; /* 0: of the whole file */
    char *text;    /* in the style of all messages: lower case, no full stop */
};

struct problems {
    struct problem *list;
    size_t n;         /* in list, in the order found */
    size_t n_errors;  /* of that severity, also those not in the list */
    size_t n_dropped; /* not in the list: too many, or no memory */
};

/* file may be NULL, line 0. Cannot fail: without memory the problem is still counted, so that an
 * error is never taken for success. */
void problems_add(struct problems *problems, enum problem_severity severity, const char *file,
                  unsigned line, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Frees the list and leaves an empty one. */
void problems_done(struct problems *problems);
