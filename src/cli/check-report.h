/* SPDX-License-Identifier: MIT */
/* What hark check has to say, for both of its forms. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "unit/conditions.h"
#include "unit/problem.h"
#include "unit/unit-set.h"

struct check_report {
    const struct unit_set *set;
    const struct problems *problems; /* sorted */
};

/* One unit of the set; everything belongs to that. */
struct check_unit {
    const char *name; /* as problem.unit has it */
    const struct unit_files *files;
    const struct unit_file *file;
    const struct condition_list *conditions;
};

/* How many there are: each socket is followed by its service, which comes once. */
size_t check_unit_count(const struct check_report *report);
struct check_unit check_unit_get(const struct check_report *report, size_t i);

/* What hark does about a use: verdict_name(), or "invalid" when it would be honoured but for an
 * error at that line, "unclear" when not all errors are known. */
const char *check_verdict(const struct check_report *report, const struct check_unit *unit,
                          const struct directive_use *use);

/* The names of the keys a unit is run without, each once. 0 or -ENOMEM. */
int check_run_without(const struct check_unit *unit, struct string_list *ret_keys);

enum check_state {
    CHECK_MET,
    CHECK_NOT_MET,
    CHECK_UNKNOWN,        /* cannot be found out, which counts as not met */
    CHECK_PER_CONNECTION, /* names %i or %I */
};

/* Whether a condition is met by itself, here and now; *ret_error is a negative errno for
 * CHECK_UNKNOWN. 0 or -ENOMEM. */
int check_condition(const struct check_report *report, const struct condition *condition,
                    enum check_state *ret_state, int *ret_error);

/* The condition of a use, or NULL. *cursor is 0 at first and goes along with the uses of a unit. */
const struct condition *check_find_condition(const struct check_unit *unit,
                                             const struct directive_use *use, size_t *cursor);

/* A socket and its service. */
struct check_pair {
    const char *socket, *service; /* names; NULL when there is no service */
    bool accept;
    size_t n_errors;  /* of both units */
    bool is_runnable; /* by itself: without errors, and no assertion of the socket is unmet */
    const struct condition *unmet; /* why it would not be started now, or NULL */
};

/* 0 or -ENOMEM. */
int check_pair_get(const struct check_report *report, size_t i, struct check_pair *ret_pair);

/* Whether run would start all of it: 1, 0, -ENOMEM. */
int check_is_runnable(const struct check_report *report);

/* The whole report on standard output: 0 or -ENOMEM. */
int check_print_text(const struct check_report *report);
int check_print_json(const struct check_report *report);
