/* SPDX-License-Identifier: MIT */
/* hark run as the image that takes over from another (SIGUSR2): what it was left, and how. */
#pragma once

#include <stdbool.h>

#include "cli/claim.h"
#include "supervisor/succession.h"
#include "unit/unit-set.h"

struct inheritance {
    struct succession *succession; /* NULL: there was nobody before */
    bool only_check;               /* a child of the one before asks whether this one could */
};

/* From the environment, which does not have it afterwards; goes to the directory where the first
 * hark was started. Names in argv are good again then. An exit status; says what is wrong. */
int inheritance_take(struct inheritance *ret_inheritance);
void inheritance_done(struct inheritance *inheritance);

/* The listeners that are left for these units become theirs; others are closed. What cannot be
 * taken over is said, and closed, too. Adds what the service manager keeps of them to *stored. */
void inheritance_claim(const struct inheritance *inheritance, const struct unit_set *set,
                       struct stored_list *stored, struct claimed_socket *claimed);
