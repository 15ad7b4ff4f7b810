/* SPDX-License-Identifier: MIT */
/* What is no Unix, internet or vsock socket: made, recognised and removed. Part of listener. */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "listener/listener.h"

/* Each gives a new descriptor, close-on-exec and non-blocking. Errors as listener_new(). */
int fifo_open(const struct listener_request *request, int *ret_fd);
int special_open(const struct listener_request *request, int *ret_fd);
int netlink_open(const struct listener_request *request, int *ret_fd);
int queue_open(const struct listener_request *request, int *ret_fd);

bool netlink_fits(const char *address, int fd);
bool queue_fits(const char *name, int fd);

/* Removes the name if it still leads to what the descriptor is of. */
void fifo_remove(const char *path, int fd);
void queue_remove(const char *name, int fd);

/* Whose a new node is. */
uid_t wanted_owner(const struct listener_request *request);
gid_t wanted_group(const struct listener_request *request);

static inline const struct socket_listener *wanted_listener(const struct listener_request *request)
{
    return &request->unit->listeners.items[request->index];
}

/* SOCK_STREAM, …; 0 for what is no Unix, internet or vsock socket. */
static inline int socket_type_of(enum listener_kind kind)
{
    return kind == LISTENER_STREAM      ? SOCK_STREAM
           : kind == LISTENER_DATAGRAM  ? SOCK_DGRAM
           : kind == LISTENER_SEQPACKET ? SOCK_SEQPACKET
                                        : 0;
}
