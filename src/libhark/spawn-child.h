/* SPDX-License-Identifier: MIT */
/* The child of spawn_run(). */
#pragma once

#include "libhark/spawn-plan.h"

/* The sanitizers' stack bookkeeping does not know the child's stack. */
#define CHILD_CODE __attribute__((no_sanitize("address", "undefined", "thread")))

/* One child on its way; lies on the stack of its creator, who stands still meanwhile. */
struct spawn_run {
    struct prepared_plan *prepared;
    struct spawn_record *record;
    pid_t parent;
    int connection; /* -1 */
    /* Read by the creator afterwards: the record may have been given to another child by then. */
    enum spawn_step failed_step;
    int error; /* 0: no step failed */
};

/* For clone(2); argument is the struct spawn_run. Execs, or exits with the failed step's status. */
int spawn_child(void *argument);
