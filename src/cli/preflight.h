/* SPDX-License-Identifier: MIT */
/* Everything that can be known before a socket is touched: the same for check, which only says it,
 * and for run, which then does not start. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "exec/unit-plans.h"
#include "unit/problem.h"
#include "unit/unit-set.h"

/* Of units that were loaded, with or without errors: adds what this machine and this user lack for
 * them. The plans are good when there are no errors. 0 or -ENOMEM, or what unit_plans_new() failed
 * with. */
int preflight(const struct unit_set *set, struct problems *problems, struct unit_plans **ret_plans);

/* SocketUser= and SocketGroup= (of the user, where only that is set) as numbers, (uid_t)-1 and
 * (gid_t)-1 where the unit says nothing. False when one of them is unknown; *ret_unknown says
 * which. */
struct socket_owner {
    uid_t user;
    gid_t group;
};
bool socket_owner_find(const struct socket_unit *unit, struct socket_owner *ret_owner,
                       const char **ret_unknown);
