/* SPDX-License-Identifier: MIT */
/*
 * What is wrong with units. Everything that reads units adds to one list and goes on as far as it
 * can, so that a person sees all faults at once; printing and exit statuses are the caller's.
 *
 *     struct problems problems = {0};
 *     ...
 *     problems.unit = "foo.service";   from here on they are this unit's
 *     problems_add(&problems, PROBLEM_ERROR, file, line, "unknown key \"%s\"", key);
 *     ...
 *     problems_sort(&problems);
 *     if (problems.n_errors > 0)
 *         ...
 *     problems_done(&problems);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* So many are kept; more are only counted. */
#define PROBLEMS_MAX 1000

enum problem_severity {
    PROBLEM_WARNING, /* worth saying, the unit can be used */
    PROBLEM_ERROR,   /* the unit must not be used */
};

struct problem {
    enum problem_severity severity;
    char *unit;    /* what problems.unit was; NULL: of none */
    char *file;    /* NULL: of no file */
    unsigned line; /* 0: of the whole file */
    char *text;    /* in the style of all messages: lower case, no full stop */
    size_t order;  /* in which they were found */
};

/* A text that messages must not show, and what they show in its place. */
struct problem_alias {
    char *text, *shown;
};

struct problems {
    struct problem *list;
    size_t n;         /* in list, in the order found until they are sorted */
    size_t n_errors;  /* of that severity, also those not in the list */
    size_t n_dropped; /* not in the list: too many, or no memory */
    const char *unit; /* whose problems the next ones are: copied by each; set by who adds */
    struct problem_alias *aliases;
    size_t n_aliases;
};

/* file may be NULL, line 0. Cannot fail: without memory the problem is still counted, so that an
 * error is never taken for success. */
void problems_add(struct problems *problems, enum problem_severity severity, const char *file,
                  unsigned line, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* From now on problems are added with shown in the place of text, also where a message was cut
 * ("…") within it. The first alias that fits counts. 0 or -ENOMEM. */
int problems_hide(struct problems *problems, const char *text, const char *shown);

/* A copy of any text as messages would show it; NULL when there is no memory. */
char *problems_show(const struct problems *problems, const char *text);

/* By file and line, those without a file first; else in the order found. */
void problems_sort(struct problems *problems);

/* Of sorted ones: whether there is an error of that unit at the line. */
bool problems_has_error(const struct problems *problems, const char *unit, const char *file,
                        unsigned line);

/* Of sorted ones: whether an earlier one says the same of the same line. It is so when two units
 * have a drop-in in common, or two commands of a unit the same fault. */
bool problems_is_repeated(const struct problems *problems, size_t i);

/* Of sorted ones: errors of that unit, as far as they are in the list, repeated ones once. */
size_t problems_count_errors(const struct problems *problems, const char *unit);

/* Frees the list and leaves an empty one, without aliases. */
void problems_done(struct problems *problems);
