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
