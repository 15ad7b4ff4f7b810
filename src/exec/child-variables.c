/* SPDX-License-Identifier: MIT */
#include "exec/child-variables.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const struct {
    const char *name;
    unsigned flag;
    enum spawn_text text;
} variables[] = {
    [CHILD_LISTEN_PID] = {"LISTEN_PID", SPAWN_LISTEN_VARIABLES, SPAWN_TEXT_PID},
    [CHILD_REMOTE_ADDRESS] = {"REMOTE_ADDR", SPAWN_REMOTE_VARIABLES, SPAWN_TEXT_REMOTE_ADDRESS},
    [CHILD_REMOTE_PORT] = {"REMOTE_PORT", SPAWN_REMOTE_VARIABLES, SPAWN_TEXT_REMOTE_PORT},
    [CHILD_INVOCATION_ID] = {"INVOCATION_ID", SPAWN_INVOCATION_ID, SPAWN_TEXT_INVOCATION_ID},
    [CHILD_EXEC_PID] = {"SYSTEMD_EXEC_PID", SPAWN_EXEC_PID, SPAWN_TEXT_PID},
};

const char *child_variable_name(enum child_variable variable)
{
    return variables[variable].name;
}

enum spawn_text child_variable_text(enum child_variable variable)
{
    return variables[variable].text;
}

int child_placeholders_init(struct child_placeholders *placeholders)
{
    uint64_t random[2];

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -errno;
    for (size_t i = 0; i < N_CHILD_VARIABLES; i++) {
        struct child_placeholder *of = &placeholders->of[i];
        char word[CHILD_WORD_MAX];
        (void)snprintf(word, sizeof(word), "%016jx%016jx%zu", (uintmax_t)random[0],
                       (uintmax_t)random[1], i);
        (void)snprintf(of->first, sizeof(of->first), "%.36sx", word);
        (void)snprintf(of->second, sizeof(of->second), "%.36sy", word);
        (void)snprintf(of->argument, sizeof(of->argument), "%.36sz", word);
        (void)snprintf(of->value, sizeof(of->value), "%s %s", of->first, of->second);
    }
    return 0;
}

int child_variable_add(const struct child_placeholders *placeholders, enum child_variable variable,
                       struct string_list *environment)
{
    return string_list_add_format(environment, "%s=%s", variables[variable].name,
                                  placeholders->of[variable].value);
}

static bool is_unset(const struct child_placeholders *placeholders, size_t variable,
                     const char *assignment)
{
    size_t length = strlen(variables[variable].name);

    return strncmp(assignment, variables[variable].name, length) == 0 &&
           assignment[length] == '=' &&
           strcmp(assignment + length + 1, placeholders->of[variable].value) == 0;
}

/* Of which flags all variables are still to be set by the child. */
static unsigned find_whole_flags(const struct child_placeholders *placeholders,
                                 const struct string_list *environment)
{
    unsigned wanted = 0, missing = 0;

    for (size_t i = 0; i < N_CHILD_VARIABLES; i++) {
        bool is_there = false;
        for (size_t k = 0; k < environment->n && !is_there; k++)
            is_there = is_unset(placeholders, i, environment->items[k]);
        if (is_there)
            wanted |= variables[i].flag;
        else
            missing |= variables[i].flag;
    }
    return wanted & ~missing;
}

unsigned child_variables_take(const struct child_placeholders *placeholders,
                              struct string_list *environment)
{
    unsigned flags = find_whole_flags(placeholders, environment);
    size_t n = 0;

    for (size_t k = 0; k < environment->n; k++) {
        bool is_taken = false;
        for (size_t i = 0; i < N_CHILD_VARIABLES && !is_taken; i++)
            is_taken =
                variables[i].flag & flags && is_unset(placeholders, i, environment->items[k]);
        if (is_taken)
            free(environment->items[k]);
        else
            environment->items[n++] = environment->items[k];
    }
    if (environment->items)
        environment->items[n] = NULL;
    environment->n = n;
    return flags;
}

void child_arguments_join(const struct child_placeholders *placeholders,
                          struct string_list *arguments)
{
    size_t n = 0;

    for (size_t k = 0; k < arguments->n; k++) {
        bool is_second = false;
        for (size_t i = 0; i < N_CHILD_VARIABLES; i++) {
            const struct child_placeholder *of = &placeholders->of[i];
            /* All of them have the same length. */
            if (strcmp(arguments->items[k], of->first) == 0)
                memcpy(arguments->items[k], of->argument, strlen(of->first));
            else if (strcmp(arguments->items[k], of->second) == 0)
                is_second = true;
        }
        if (is_second)
            free(arguments->items[k]);
        else
            arguments->items[n++] = arguments->items[k];
    }
    if (arguments->items)
        arguments->items[n] = NULL;
    arguments->n = n;
}
