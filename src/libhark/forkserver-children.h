/* SPDX-License-Identifier: MIT */
/*
 * The living children of a fork server, and waiting for them at a cost that does not grow with
 * their number.
 *
 * A pidfd for each would slow down every later clone, and waitid(P_ALL) walks all the living. So on
 * SIGCHLD the pid that came with it is asked for; then, because signals coalesce, the young (most
 * children that end, end young), and everything, but that rarely once there are many. What is found
 * that is not in the table (an orphan that came to us as PID 1) is reaped and forgotten.
 *
 * Order: children_init(), child_new() before and child_add() or child_free() after creating a
 * process, children_on_signal() per SIGCHLD, children_sweep() when children_next_sweep() says so.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct child {
    struct child *next_in_bucket;
    struct child *older, *newer;
    uint64_t start_usec;
    uint64_t exit_cookie; /* its name beside the pid, which can come again; 0: none */
    pid_t pid;
    int exit_fd; /* where its end is reported, owned; or -1 */
};

struct children {
    struct child **buckets;
    size_t n_buckets; /* a power of two */
    struct child *newest, *oldest;
    size_t n, n_owed;              /* all; those with an exit_fd */
    uint64_t last_young, last_all; /* when they were swept last, CLOCK_MONOTONIC */
    uint64_t next_young, next_all; /* when they are to be, UINT64_MAX: not */
    size_t n_young;                /* how many the last sweep asked for */
};

int children_init(struct children *children); /* -ENOMEM */

/* Memory for one child, before it is created: what comes after cannot fail. NULL: none left. */
struct child *child_new(void);
void child_free(struct child *child);

/* Takes over child and, when it is not -1, exit_fd. */
void children_add(struct children *children, struct child *child, pid_t pid, int exit_fd,
                  uint64_t exit_cookie);

void children_on_signal(struct children *children, pid_t pid);
void children_sweep(struct children *children);
uint64_t children_next_sweep(const struct children *children); /* UINT64_MAX: never */

/* Signals every child but one. Only processes that are not reaped yet, so never a stranger with the
 * same pid. The number of those that could be signalled. */
int children_kill(const struct children *children, int signal_number, pid_t except);

/* Signals the child with that pid and, unless it is 0, that cookie. -ESRCH: there is none (any
 * more); an errno of kill(2). */
int children_kill_one(const struct children *children, int signal_number, pid_t pid,
                      uint64_t exit_cookie);
