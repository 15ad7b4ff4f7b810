/* SPDX-License-Identifier: MIT */
/*
 * The variables whose value only the child knows. While an environment is put together, and the
 * command expanded with it, each has a value that stands for the real one: two random words. Thus
 * "${NAME}" becomes the two with a blank between them, and "$NAME", which systemd splits at blanks,
 * becomes two arguments: that tells one from the other, which matters where the variable is not
 * set, and the argument has to go. spawn.h puts the real values in.
 */
#pragma once

#include <stddef.h>

#include "libhark/spawn.h"
#include "unit/string-list.h"

enum child_variable {
    CHILD_LISTEN_PID,
    CHILD_REMOTE_ADDRESS,
    CHILD_REMOTE_PORT,
    CHILD_INVOCATION_ID,
    CHILD_EXEC_PID,
};

#define N_CHILD_VARIABLES (CHILD_EXEC_PID + 1)

/* 32 digits, and what tells those of one plan apart. */
#define CHILD_WORD_MAX 40

struct child_placeholder {
    char first[CHILD_WORD_MAX], second[CHILD_WORD_MAX];
    char value[2 * CHILD_WORD_MAX]; /* first, a blank, second */
    char argument[CHILD_WORD_MAX];  /* in the place of the two arguments */
};

struct child_placeholders {
    struct child_placeholder of[N_CHILD_VARIABLES];
};

/* 0, or an errno of getrandom(2). */
int child_placeholders_init(struct child_placeholders *placeholders);

const char *child_variable_name(enum child_variable variable);
enum spawn_text child_variable_text(enum child_variable variable);

/* Adds NAME=VALUE with the value that stands for the real one. 0, or -ENOMEM. */
int child_variable_add(const struct child_placeholders *placeholders, enum child_variable variable,
                       struct string_list *environment);

/* Takes those out of the environment that spawn.h can set by itself, and gives the flags for that:
 * less work than to put values in. */
unsigned child_variables_take(const struct child_placeholders *placeholders,
                              struct string_list *environment);

/* Makes one argument of two that came from one variable. */
void child_arguments_join(const struct child_placeholders *placeholders,
                          struct string_list *arguments);
