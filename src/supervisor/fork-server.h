/* SPDX-License-Identifier: MIT */
/*
 * The fork server process: one thread in a loop that waits for a listener, takes a slot, and
 * creates a child, which accepts the connection itself and becomes the handler. It owns nothing: no
 * connection, no child (handlers are the supervisor's children), no count. Killed at any instant,
 * it loses nothing.
 *
 * Functions here run in that process only.
 */
#pragma once

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "supervisor/slots.h"

struct fork_server_unit {
    bool accept;           /* else its program is started only when the supervisor says so */
    bool listeners_shared; /* passed ones: the description may be blocking (SPAWN_MAY_BLOCK) */
    const struct spawn_plan *plan;
    const int *listeners;
    size_t n_listeners;
};

struct fork_server_setup {
    struct slots *slots;
    uint32_t index;       /* which of the servers */
    uint32_t incarnation; /* of all servers there have been */
    uint32_t n_servers;
    int control_fd;
    int wake_fd;                     /* eventfd: wakes the supervisor */
    const int *poke_fds;             /* eventfd of each server */
    int cpu;                         /* to be pinned to, or -1 */
    const struct rlimit *open_files; /* what handlers shall have */
    const struct fork_server_unit *units;
    size_t n_units;
    pid_t supervisor;
};

/* Never returns. The process exits with 0 when told to leave or when the supervisor is gone, else
 * with 1 after it could not set itself up. */
_Noreturn void fork_server_run(const struct fork_server_setup *setup);
