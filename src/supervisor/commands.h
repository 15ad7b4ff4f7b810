/* SPDX-License-Identifier: MIT */
/*
 * The commands of a socket unit (ExecStartPre= and its kin), one after another, each with a
 * timeout. Run by the supervisor itself, in children that have a copy of its memory: it never
 * stands still for one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "supervisor/plan-source.h"

struct commands;

/* All have ended; failed: one did, its timeout among the reasons, and the rest was left out. May
 * free the commands. */
typedef void (*commands_done_t)(void *userdata, bool failed);

struct commands_request {
    const char *unit, *key; /* for messages: "foo.socket", "ExecStartPre" */
    const struct plan_source *list;
    size_t n;
    uint64_t timeout_usec; /* of each; TIME_INFINITY. Then SIGTERM, and SIGKILL after it again */
    const int *fds;        /* given to each as 3 and on */
    size_t n_fds;
    const struct rlimit *open_files; /* unless the plan has a limit of its own */
    commands_done_t done;
    void *userdata;
};

/* Everything in the request must live as long. done may be called before this returns, when there
 * is nothing to run. -ENOMEM, or what sd-event failed with. */
int commands_run(sd_event *event, const struct commands_request *request,
                 struct commands **ret_commands);
/* Ends what runs, as its timeout would, and leaves out the rest: done comes with failed, perhaps
 * before this returns. */
void commands_stop(struct commands *commands);
/* What runs is sent SIGKILL. */
void commands_kill(const struct commands *commands);
/* What runs is sent SIGKILL, and left to whoever waits for orphans. */
struct commands *commands_free(struct commands *commands);
/* Of what runs now, or 0. */
pid_t commands_pid(const struct commands *commands);
