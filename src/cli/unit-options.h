/* SPDX-License-Identifier: MIT */
/* The options that say which units, and from where: the same for every verb that reads units. */
#pragma once

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

#include "unit/problem.h"
#include "unit/string-list.h"
#include "unit/unit-set.h"

struct unit_options {
    struct string_list directories; /* --unit-path= */
    struct string_list ignore;      /* --ignore= */
    bool user;                      /* --user */
};

/* For the table of getopt_long(3), and for --help. */
enum unit_option {
    UNIT_OPTION_PATH = 512,
    UNIT_OPTION_IGNORE,
    UNIT_OPTION_USER,
};
/* clang-format off */
#define UNIT_OPTIONS                                                                               \
    {"unit-path", required_argument, NULL, UNIT_OPTION_PATH},                                      \
    {"ignore", required_argument, NULL, UNIT_OPTION_IGNORE},                                       \
    {"user", no_argument, NULL, UNIT_OPTION_USER}
/* clang-format on */
#define UNIT_OPTIONS_HELP                                                                          \
    "      --unit-path=DIR  look for units here first; repeatable\n"                               \
    "      --ignore=KEYS    run without these keys (commas between them); \"sandbox\":\n"          \
    "                       all that confine a service\n"                                          \
    "      --user           units of a user's manager\n"

/* 1 when it was one of these options, 0 when it is not, -EINVAL after it has said what is wrong,
 * -ENOMEM. */
int unit_options_take(struct unit_options *options, int option, const char *value);

/* Loads what they say, and $SYSTEMD_UNIT_PATH: 0 or -ENOMEM, as unit_set_load(). */
int unit_options_load(const struct unit_options *options, const char *const *names, size_t n_names,
                      struct problems *problems, struct unit_set **ret_set);

void unit_options_done(struct unit_options *options);
