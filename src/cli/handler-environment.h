/* SPDX-License-Identifier: MIT */
/* The environment of the program of hark activate, by the rules of systemd-socket-activate(1):
 * TERM, PATH, USER and HOME of hark's own, what --setenv says, and LISTEN_FDS and LISTEN_FDNAMES.
 */
#pragma once

#include <stddef.h>

struct handler_environment {
    size_t n_listen_fds;       /* 0: do not set LISTEN_FDS (--inetd) */
    const char *fd_names;      /* of LISTEN_FDNAMES, or NULL */
    const char *const *setenv; /* NAME=VALUE, or NAME for the value hark has itself */
    size_t n_setenv;
};

/* A NULL-terminated list, to be freed by handler_environment_free(). -ENOMEM. */
int handler_environment_build(const struct handler_environment *environment, char ***ret_list);
char **handler_environment_free(char **list);
