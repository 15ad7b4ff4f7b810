/* SPDX-License-Identifier: MIT */
/* The command line of hark run. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cli/unit-options.h"
#include "supervisor/supervisor.h"

struct run_options {
    struct unit_options units;
    struct supervisor_options supervisor;
    bool no_control;          /* --control=none */
    char *name;               /* of this hark, for its control socket */
    const char *const *names; /* of units, in argv */
    size_t n_names;
    struct string_list own_names; /* names, after run_options_make_absolute() */
};

/* 1 to go on, 0 when there is nothing more to do (--help), negative after it has said what is
 * wrong. Call run_options_done() in every case. */
int run_options_parse(struct run_options *options, int argc, char *argv[]);
/* Names that are paths, and --unit-path=, are good from anywhere then. -ENOMEM. */
int run_options_make_absolute(struct run_options *options, const char *directory);
void run_options_done(struct run_options *options);
