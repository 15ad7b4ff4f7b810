/* SPDX-License-Identifier: MIT */
/*
 * Connections of the fork server, and the handles that stand for them: what its clients and its own
 * process have in common. Internal to the fork server.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "libhark/forkserver-protocol.h"
#include "libhark/hark.h"

struct hark_forkserver {
    int fd;      /* the connection */
    int pidfd;   /* the starter's, until the server was waited for; else -1 */
    pid_t pid;   /* the server's */
    pid_t owner; /* who may do more with it than free it */
    uint8_t cookie[FORKSERVER_COOKIE_SIZE];
};

/* Both ends of a new connection: *ret_client blocks and *ret_server does not; both lie above the
 * standard descriptors. A negative errno of socketpair(2), setsockopt(2), fcntl(2). */
int forkserver_connection_pair(int *ret_client, int *ret_server);

/* A handle for a connection. Takes over fd on success. -ENOMEM. */
int forkserver_handle_new(int fd, pid_t server_pid, const uint8_t *cookie,
                          struct hark_forkserver **ret_handle);
/* Closes what it has; the server does not matter. */
void forkserver_handle_free(struct hark_forkserver *handle);
/* The handle is another process's from now on. */
void forkserver_handle_adopt(struct hark_forkserver *handle);
