/* SPDX-License-Identifier: MIT */
/*
 * What [Service] says, as far as this version of hark serves it, checked and with its defaults. To
 * be used as socket-unit.
 */
#pragma once

#include <stdbool.h>

#include "unit/command-line.h"
#include "unit/exec-context.h"
#include "unit/problem.h"
#include "unit/string-list.h"
#include "unit/unit-file.h"

enum service_type {
    SERVICE_SIMPLE,  /* started when its process is */
    SERVICE_EXEC,    /* when the program runs */
    SERVICE_ONESHOT, /* when it has ended; may have several commands */
};

struct service_unit {
    const struct unit_file *file;

    enum service_type type;
    struct command_list exec_start; /* exactly one, unless oneshot: at least one */
    bool non_blocking;
    struct string_list sockets; /* the names in Sockets= */
    struct exec_context exec;
    bool stay_in_session, stay_on_cpu; /* StayInSession=, StayOnCPU= of [X-Hark] */
};

/* The unit of a file, which must outlive it. 0 also when there are errors, which are then in
 * problems; -EINVAL for what is not a .service; -ENOMEM. */
int service_unit_new(const struct unit_file *file, struct problems *problems,
                     struct service_unit **ret_unit);
struct service_unit *service_unit_free(struct service_unit *unit);
