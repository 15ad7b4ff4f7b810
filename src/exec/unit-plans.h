/* SPDX-License-Identifier: MIT */
/*
 * The plans of all processes that a set of units can ask for: what has to be looked up before a
 * socket is touched, so that nothing fails later that could have been known. `hark check` makes
 * them for the problems alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "exec/exec-plan.h"
#include "unit/problem.h"
#include "unit/unit-set.h"

enum socket_command_list {
    COMMANDS_START_PRE,
    COMMANDS_START_POST,
    COMMANDS_STOP_PRE,
    COMMANDS_STOP_POST,
    N_COMMAND_LISTS,
};

struct exec_plan_list {
    struct exec_plan **items;
    size_t n;
};

struct socket_plans {
    const char **fd_names; /* of all its listeners, for commands that get them */
    struct exec_plan_list commands[N_COMMAND_LISTS];
};

struct service_plans {
    struct exec_plan_list programs;
    const char **fd_names; /* of all listeners of all its sockets, in their order */
    size_t n_fds;
};

struct unit_plans {
    struct socket_plans *sockets; /* as in the set */
    size_t n_sockets;
    struct service_plans *services;
    size_t n_services;
};

/* The set must outlive the plans. skip: of each socket, whether it is not there; NULL: all are.
 * What is wrong is in problems, and 0 then, too; -ENOMEM. */
int unit_plans_new(const struct unit_set *set, const bool *skip, struct problems *problems,
                   struct unit_plans **ret_plans);
struct unit_plans *unit_plans_free(struct unit_plans *plans);
