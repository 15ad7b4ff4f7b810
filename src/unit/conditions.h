/* SPDX-License-Identifier: MIT */
/*
 * Condition…= and Assert…= of [Unit], as systemd 252 evaluates them: whether a unit is to be
 * started here and now.
 *
 *     r = conditions_read(file, &problems, &conditions);
 *     ...
 *     r = conditions_evaluate(&conditions, CONDITIONS, &failure);
 *     if (r == 0)
 *         ... "%s=%s was not met", failure.condition->key, failure.condition->value ...
 *     conditions_done(&conditions);
 *
 * All plain ones of a group must be met and, where there are any with "|", at least one of these.
 * "!" negates. The world is looked at each time; users, groups, capabilities, CPUs and environment
 * are those of the calling process, as with systemd they are the manager's.
 *
 * What cannot be found out (no permission, an error in reading) is not met, also with "!" in front.
 * systemd does the same, except that it takes paths that it may not look at for missing ones, and
 * such directories and file systems for filled and writable ones.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "unit/problem.h"
#include "unit/unit-file.h"

enum condition_group {
    CONDITIONS, /* when not met, the unit is not started, and nothing is wrong */
    ASSERTIONS, /* when not met, starting the unit has failed */
    N_CONDITION_GROUPS,
};

struct condition {
    enum condition_group group;
    unsigned kind;      /* of conditions.c */
    bool is_triggering; /* "|" */
    bool is_negated;    /* "!" */
    char *parameter;    /* behind the signs, with its specifiers resolved; a path is tidied */

    /* As written, for messages; these belong to the unit_file. */
    const char *key;   /* "ConditionPathExists" */
    const char *value; /* "|!/etc/x" */
    const char *file;
    unsigned line;
};

/* Empty is {0}: met. */
struct condition_list {
    struct condition *items; /* in the order of reading, both groups */
    size_t n;
};

/*
 * The conditions of a unit, which must outlive the list. Those before an empty assignment to any of
 * their group are gone, and those that the operator runs without are not in the list. 0 also when
 * there are errors, which are then in problems: a unit with errors must not be used. -ENOMEM.
 */
int conditions_read(const struct unit_file *unit, struct problems *problems,
                    struct condition_list *ret_list);

struct condition_failure {
    const struct condition *condition; /* of the list. The first plain one that is not met; when
                                          none of those with "|" is, the first of these */
    int error; /* 0: it is not met; a negative errno: that is why it cannot be found out */
};

/* 1: the group is met, or empty. 0: it is not, and *ret_failure says why. -ENOMEM. */
int conditions_evaluate(const struct condition_list *list, enum condition_group group,
                        struct condition_failure *ret_failure);

/* Frees everything and leaves an empty list. */
void conditions_done(struct condition_list *list);
