/* SPDX-License-Identifier: MIT */
/* The command line of hark activate. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "supervisor/supervisor.h"

struct activate_options {
    const char **listen; /* addresses; the array is owned, the texts are argv's */
    size_t n_listen;
    const char **setenv; /* NAME or NAME=VALUE */
    size_t n_setenv;
    char **fd_names; /* owned, each of its texts too */
    size_t n_fd_names;
    int type; /* SOCK_STREAM, … */
    bool accept, inetd, once;
    bool stay_on_cpu, stay_in_session;
    mode_t mode;
    uid_t owner;
    gid_t group;
    int lock_timeout_ms;
    uint32_t max_connections;
    struct supervisor_options supervisor;
    char **program; /* NULL-terminated: the program and its arguments */
};

/* Like systemd's parsers: 1 to go on, 0 when there is nothing more to do (--help), -EINVAL after it
 * has said what is wrong. Call activate_options_done() in every case. */
int activate_options_parse(struct activate_options *options, int argc, char *argv[]);
void activate_options_done(struct activate_options *options);
