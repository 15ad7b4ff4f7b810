/* SPDX-License-Identifier: MIT */
/* What there is to know of a unit before it is given to hark, or back. What is wrong is said where
 * it is found; functions return an exit status. */
#pragma once

#include <stdbool.h>

#include "cli/handover.h"
#include "unit/problem.h"
#include "unit/unit-set.h"

struct adoption {
    struct problems problems;
    struct unit_set *set;
    const struct socket_unit *unit; /* the one socket of the set */
    char *drop_in;                  /* what is to stand in it */
    struct rate_limit own_limit;    /* systemd's, when it has the socket; either 0: none */
    bool limits_by_itself;          /* the unit sets it */
};

/* Reads the unit as hark does. Call adoption_done() in every case. */
int adoption_load(const struct handover *handover, struct adoption *ret_adoption);
void adoption_done(struct adoption *adoption);

/* Whether "hark check" finds nothing wrong; with as_nobody also when asked by a user without any
 * rights, as hark-sandboxed@.service has. */
int adoption_check(struct adoption *adoption, const struct handover *handover, bool as_nobody);
