/* SPDX-License-Identifier: MIT */
/* A request while the fork server serves it, and the program that it asks for. Internal to the fork
 * server. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "libhark/forkserver-protocol.h"
#include "libhark/forkserver-rights.h"
#include "libhark/pass-fds.h"
#include "libhark/spawn.h"

/* Where a connection came from, which decides what may be asked on it. */
enum client_kind {
    CLIENT_STARTER,
    CLIENT_FUNCTION,
    CLIENT_PROGRAM, /* another image, whose functions are not the server's */
};

/* Whatever channel is still here at the end is closed. */
struct incoming {
    const struct forkserver_request *request;
    const char *body;
    struct ancillary ancillary;
    enum client_kind from;
    struct forkserver_claims claims;    /* FORKSERVER_WITH_IDENTITY */
    int *reply, *socket, *exit, *memfd; /* into ancillary.fds; NULL: not there */
    int *program_fds;
    int *connection; /* made for the program, close-on-exec; or NULL */
    bool malformed;  /* found out while it was served */
};

/* Fetches the body when it lies in a memfd; *ret_memory, to be freed, holds it then. */
int incoming_take_body(struct incoming *incoming, char **ret_memory);

/* The pid, or the errno of whatever failed, in the child too; that one is reaped then. */
pid_t forkserver_program_start(struct spawner *spawner, struct incoming *incoming);
