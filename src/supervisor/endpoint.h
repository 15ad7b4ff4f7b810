/* SPDX-License-Identifier: MIT */
/* What a fork server makes children for: a listener whose connections it accepts, or a program that
 * it may be told to start. Part of fork-server. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "supervisor/fork-server.h"

struct endpoint {
    uint32_t unit;
    uint32_t program;
    bool accept;
    int fd; /* the listener, or -1 */
    bool is_shared, watched;
    bool is_full;         /* somebody waits for a slot */
    uint64_t paused_usec; /* not watched until then: a limit was reached; 0 */
    uint64_t waited_usec; /* how long it has been so, as far as this process has seen … */
    uint64_t seen_usec;   /* … until then */
    uint64_t seen_look;   /* the supervisor's look that had begun then */
    struct rate_window *polls;
    const struct plan_source *source;
    const struct fork_server_listener *listener;
    int *fds; /* of a program */
    size_t n_fds;
    struct prepared_plan *plan; /* NULL: it has to be built first */
};

/* All endpoints of a server: of each unit one per listener, or one per program. 0, -ENOMEM, or
 * -EMFILE. */
int endpoints_new(const struct fork_server_setup *setup, struct endpoint **ret_endpoints,
                  size_t *ret_n);

/* The affinity that its children are given; NULL: they have their server's. */
const cpu_set_t *endpoint_affinity(const struct endpoint *endpoint,
                                   const struct fork_server_setup *setup);

/* Sees to it that the plan is up to date: 0, or why it cannot be. */
int endpoint_prepare(struct endpoint *endpoint, const struct fork_server_setup *setup);
