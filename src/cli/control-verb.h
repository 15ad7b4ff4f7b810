/* SPDX-License-Identifier: MIT */
/* What the verbs have in common that ask a running hark for something. */
#pragma once

#include <stdint.h>

#include "basic/clock.h"

#define CONTROL_TIMEOUT (5 * USEC_PER_SEC)

/* One that tells hark to do something, and expects no more than that it does. */
struct control_verb {
    const char *name, *method;
    const char *help; /* up to the options */
    uint64_t timeout_usec;
};

/* The verb: its exit status. */
int control_verb_run(const struct control_verb *verb, int argc, char *argv[]);

/* What getopt_long(3) has left: one argument or none. 0, or -EINVAL after it has said what is
 * wrong.
 */
int control_take_argument(const char *verb, int argc, char *argv[], const char **ret_argument);
