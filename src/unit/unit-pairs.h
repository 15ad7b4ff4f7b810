/* SPDX-License-Identifier: MIT */
/* What can be wrong between units that are right by themselves. Part of unit-set. */
#pragma once

#include "unit/problem.h"
#include "unit/unit-set.h"

/* Finds which sockets each service has descriptors from. 0 or -ENOMEM. */
int unit_pairs_connect(struct unit_set *set);

/* Of a whole set: Sockets= that cannot be, and listeners that are in each other's way. What a
 * process is given of them (StandardInput=socket, fd:NAME) is looked at with its plan. 0 or
 * -ENOMEM.
 */
int unit_pairs_check(const struct unit_set *set, struct problems *problems);

/* The latter alone. */
int listener_conflicts_check(const struct unit_set *set, struct problems *problems);
