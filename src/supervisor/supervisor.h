/* SPDX-License-Identifier: MIT */
/*
 * The supervisor: the main process. It owns listeners and their names, the fork servers, and the
 * waiting for every handler; it never sits in the path of a connection.
 *
 * Calling order: supervisor_block_signals() first thing in the process, supervisor_new(),
 * supervisor_add_unit() for each unit, supervisor_run(), supervisor_free().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libhark/hark.h"
#include "libhark/spawn.h"
#include "supervisor/report.h"

struct supervisor;

struct supervisor_options {
    uint32_t n_servers;         /* 0: one per CPU */
    uint64_t stop_timeout_usec; /* from SIGTERM to SIGKILL; TIME_INFINITY: never */
    enum report_level to_manager, to_log;
    bool ignore_hangup; /* started by nohup(1) or the like */
    bool once; /* end with the status of the first program (a unit without accept) that ends */
};

struct supervisor_unit {
    const char *name;                 /* for reports */
    bool accept;                      /* one handler per connection */
    uint32_t max_connections;         /* with accept: how many handlers at once */
    struct spawn_plan plan;           /* program, arguments, environment, flags, first_fd */
    struct hark_listener **listeners; /* become the supervisor's on success */
    size_t n_listeners;
};

/* Exit statuses of supervisor_run() beside the program's own with `once`. */
#define SUPERVISOR_EXIT_DISPLACED                                                                  \
    69 /* another server took over a path: EX_UNAVAILABLE of sysexits(3) */

/* Blocks what the supervisor handles, resets what the starter may have ignored; says whether that
 * was true of SIGHUP, which is a wish to be respected (nohup(1)). Before threads. */
int supervisor_block_signals(bool *ret_ignore_hangup);

int supervisor_new(const struct supervisor_options *options, struct supervisor **ret_supervisor);
int supervisor_add_unit(struct supervisor *supervisor, const struct supervisor_unit *unit);
struct supervisor *supervisor_free(struct supervisor *supervisor);

/* Serves until it is told to stop: an exit status, or a negative errno when it could not begin (it
 * has said why). */
int supervisor_run(struct supervisor *supervisor);
