/* SPDX-License-Identifier: MIT */
/*
 * The fork server's own process: one thread, one epoll loop. Internal to the fork server.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "libhark/forkserver-protocol.h"
#include "libhark/hark.h"

/* Everything the process does after clone(2): all signals must be blocked. connection is its end of
 * the starter's connection, above the standard descriptors, non-blocking, with SO_PASSCRED. */
_Noreturn void forkserver_process_run(int connection, const uint8_t *cookie);

/* Both ends of a new connection: *ret_client blocks and *ret_server does not; both lie above the
 * standard descriptors. A negative errno of socketpair(2), setsockopt(2), fcntl(2). */
int forkserver_connection_pair(int *ret_client, int *ret_server);

/* A handle for a connection. Takes over fd on success. -ENOMEM. */
int forkserver_handle_new(int fd, pid_t server_pid, const uint8_t *cookie,
                          struct hark_forkserver **ret_handle);
/* The handle is another process's from now on. */
void forkserver_handle_adopt(struct hark_forkserver *handle);
