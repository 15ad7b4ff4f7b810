/* SPDX-License-Identifier: MIT */
/* Where the plan of a program comes from: it is always the same, or it is built anew when what it
 * is made of has changed. The functions are called in the process that spawns: a fork server, or
 * the supervisor for the commands of a socket. */
#pragma once

#include <stdbool.h>

#include "libhark/spawn.h"

struct plan_source {
    const struct spawn_plan *fixed; /* or NULL, and the functions below */
    /* Fills in all but what is about listeners and reports. 0 or a negative errno; what the plan
     * points to is good until the next call. */
    int (*build)(void *userdata, struct spawn_plan *ret_plan);
    /* Why build failed: "cannot read \"/etc/x\": …"; NULL when nobody knows. */
    const char *(*fault)(void *userdata);
    /* Asked before each start: must be cheap. */
    bool (*is_fresh)(void *userdata);
    /* May the program be started now (Condition…=)? NULL: always. */
    bool (*may_start)(void *userdata);
    void *userdata;
    bool ignore_failure; /* however it ends, it is a success */
};
