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

#include "supervisor/plan-source.h"
#include "supervisor/slots.h"

/* What becomes of a connection beyond the limit of a unit. */
enum overflow {
    OVERFLOW_WAIT,  /* it stays in the backlog */
    OVERFLOW_CLOSE, /* it is accepted and closed, as systemd does */
};

struct fork_server_listener {
    int fd;
    bool is_shared; /* a passed one: the description may be blocking (SPAWN_MAY_BLOCK) */
    const struct spawn_socket_option *options; /* set on each connection */
    size_t n_options;
};

struct fork_server_unit {
    const char *name; /* for messages */
    bool accept;      /* else its programs are started only when the supervisor says so */
    enum overflow overflow;
    uint32_t max_per_source;                     /* 0: without limit */
    bool stay_on_cpu;                            /* with accept: handlers keep our affinity */
    struct rate_limit trigger_limit, poll_limit; /* with accept */
    const struct plan_source *programs;          /* with accept just one */
    size_t n_programs;
    const struct fork_server_listener *listeners;
    size_t n_listeners;
};

struct fork_server_setup {
    struct slots *slots;
    uint32_t index;       /* which of the servers */
    uint32_t incarnation; /* of all servers there have been */
    uint32_t n_servers;
    int control_fd;
    int wake_fd; /* eventfd: wakes the supervisor */
    int poke_fd; /* eventfd: a write wakes all servers, none of which reads it (EPOLLET): one for
                    each would be one more descriptor per CPU for every child to copy and close */
    int cpu;     /* to be pinned to, or -1 */
    const cpu_set_t *affinity; /* what handlers, and an unpinned server, shall have; or NULL */
    const struct rlimit *open_files; /* … and this, too */
    const struct fork_server_unit *units;
    size_t n_units;
    pid_t supervisor;
};

/* Never returns. The process exits with 0 when told to leave or when the supervisor is gone, else
 * with 1 after it could not set itself up. */
_Noreturn void fork_server_run(const struct fork_server_setup *setup);
