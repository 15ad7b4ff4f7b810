/* SPDX-License-Identifier: MIT */
/* What became of each handler: one record per exit, counted, sent to the service manager, and
 * written for people; and the one line that says how it goes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "basic/signals.h"
#include "libhark/spawn.h"
#include "supervisor/log.h"
#include "supervisor/notify.h"
#include "supervisor/waiting.h"

enum report_level {
    REPORT_NONE = 0, /* nothing per exit */
    REPORT_FAILURES, /* failed handlers only */
    REPORT_EXITS,    /* every exit */
};

struct report {
    struct notify *notify;
    enum report_level to_manager, to_log;
    uint64_t done, failed;
    char last_failure[160];
    struct log_limit failures, exits;
};

void report_init(struct report *report, struct notify *notify);

/* How long it ran, in microseconds. */
uint64_t report_run_time(const struct spawn_record *record, const struct handler_exit *end);

/* Children that found no connection to accept, or did not come that far, are nothing to report; one
 * that was killed while it accepted may have had one. */
bool report_was_handler(const struct spawn_record *record, const struct handler_exit *end);

/* A handler ended; ignore_failure: however it did, it is a success. True when it was a handler. */
bool report_exit(struct report *report, const char *unit, const struct spawn_record *record,
                 const struct handler_exit *end, bool ignore_failure);

/* The sentence behind "echo@17 (pid 42)": "exited with status 1", "was killed by SEGV". */
void report_describe_end(const struct handler_exit *end, char *text, size_t size);

/* The same for programs: "exited" and a number, "killed" or "dumped" and a signal's name. */
const char *report_describe_code(const struct handler_exit *end, char status[SIGNAL_NAME_MAX]);

/* systemd's idea of a failure: a status other than 0, or a signal other than HUP, INT, TERM, PIPE.
 */
bool report_is_failure(const struct handler_exit *end);

/* "2 sockets, 14 running, 10233 done, 2 failed; last failure: …" behind an optional prefix. */
void report_status(struct report *report, const char *prefix, unsigned n_listeners,
                   unsigned n_running);
