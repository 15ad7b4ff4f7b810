/* SPDX-License-Identifier: MIT */
/*
 * From what a unit says about its processes (systemd.exec(5)) to what spawn.h runs: who they are
 * (users and groups are looked up), what they see (environment, standard descriptors, journal),
 * and the program.
 *
 *     r = exec_plan_new(&request, &problems, &plan);      when units are loaded
 *     ...
 *     if (!exec_plan_is_fresh(plan))                      in the process that spawns
 *         r = exec_plan_build(plan, &spawn_plan);
 *     exec_plan_free(plan);
 *
 * New finds everything that can be wrong before anything is started, and looks up the users; it may
 * take its time. Build reads what may change between two starts (environment files), opens what the
 * standard descriptors need, and fills in a spawn_plan, whose strings and descriptors belong to the
 * exec_plan and are good until the next build or free. Fresh asks only whether those files are as
 * they were, one stat(2) each, and whether the journal still listens.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "libhark/spawn.h"
#include "unit/command-line.h"
#include "unit/exec-context.h"
#include "unit/problem.h"
#include "unit/unit-file.h"

/* Which sockets the process gets. */
enum exec_sockets {
    EXEC_SOCKETS_NONE,       /* commands of socket units */
    EXEC_SOCKETS_CONNECTION, /* Accept=yes */
    EXEC_SOCKETS_LISTENERS,  /* Accept=no */
};

/* Stand for the text of each connection in whatever was expanded for a template: names of instances
 * that no real one has. NULL when the unit is not such a template. */
struct exec_instance {
    const char *escaped;   /* what %i came out as */
    const char *unescaped; /* %I */
};

struct exec_request {
    const struct unit_file *unit; /* what messages are about; outlives the plan, as all here */
    const struct exec_context *context;
    const struct command *command;
    enum exec_sockets sockets;
    const char *const *fd_names; /* EXEC_SOCKETS_LISTENERS: of each, in their order */
    size_t n_fds;
    bool non_blocking;    /* NonBlocking= */
    bool stay_in_session; /* StayInSession= of [X-Hark] */
    struct exec_instance instance;
    /* "NAME=VALUE", ending with NULL, below what the unit sets; or NULL. An INVOCATION_ID= here is
     * the one of the processes, which get one each otherwise. */
    const char *const *extra_environment;
    const char *journal_socket; /* of journald's streams; NULL: the usual one */
};

struct exec_plan;

/* Errors and warnings go to problems: unknown users and groups, ids that may not be taken, a
 * program that is not there, a descriptor name that no socket has, … 0 also then, and the plan must
 * not be used after an error; -ENOMEM, an errno of getgroups(2) or getrandom(2). */
int exec_plan_new(const struct exec_request *request, struct problems *problems,
                  struct exec_plan **ret_plan);
struct exec_plan *exec_plan_free(struct exec_plan *plan);

/* False before the first build, when an environment file is another one now, and when journald has
 * gone away since. */
bool exec_plan_is_fresh(const struct exec_plan *plan);

/*
 * Sets the whole *ret_plan. What is about the listeners and the supervisor's wishes is nothing, for
 * the caller to fill in then: listener (-1), fds, n_fds, counter, affinity, connection_options,
 * records, SPAWN_WITH_ACCEPT, SPAWN_MAY_BLOCK, SPAWN_SIBLING, SPAWN_DEATH_SIGNAL_TERM. With
 * SPAWN_OWN_MEMORY when opening a standard descriptor may take any time.
 * -ENOENT and other errnos of reading an environment file that is not optional; -ENOMEM; of
 * memfd_create(2), open(2). *ret_plan is untouched then, what was built before is still good, and
 * exec_plan_fault() says what it was.
 */
int exec_plan_build(struct exec_plan *plan, struct spawn_plan *ret_plan);

/* Why the last build failed, in the style of all messages; NULL when it did not. */
const char *exec_plan_fault(const struct exec_plan *plan);

/* "-" in front of the program: its failure is a success. */
bool exec_plan_ignores_failure(const struct exec_plan *plan);
