/* SPDX-License-Identifier: MIT */
/*
 * The supervisor: the main process. It owns listeners and their names, the fork servers, and the
 * waiting for every handler; it never sits in the path of a connection.
 *
 * Calling order: supervisor_block_signals() first thing in the process, supervisor_new(),
 * supervisor_add_socket() for each socket, supervisor_add_unit() for each unit, supervisor_own(),
 * supervisor_run(), supervisor_free().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "listener/listener.h"
#include "supervisor/fork-server.h"
#include "supervisor/plan-source.h"
#include "supervisor/report.h"

struct supervisor;

struct supervisor_options {
    uint32_t n_servers;         /* 0: processors_count_servers() */
    uint64_t stop_timeout_usec; /* from SIGTERM to SIGKILL; TIME_INFINITY: never */
    enum report_level to_manager, to_log;
    bool ignore_hangup; /* started by nohup(1) or the like */
    bool once; /* end with the status of the first program (a unit without accept) that ends */

    const char *name;    /* of the control socket; NULL: there shall be none */
    const char *control; /* its path; NULL: as control_new() has it */

    /* SIGHUP: adds what is to be served from now on, by supervisor_add_socket() and _add_unit(),
     * and says whose it is, also when it fails (then it has said why). NULL: SIGHUP stops. */
    int (*reload)(void *userdata, struct supervisor *supervisor, void **ret_owner);
    /* SIGUSR2: another image of the program, from this path and with these arguments, takes over.
     * NULL: SIGUSR2 is for the programs. */
    const char *program;
    char *const *arguments;
    const char *directory;               /* where hark was started */
    const struct succession *succession; /* what an earlier image has left, until supervisor_run()
                                            has begun; NULL */
    struct stored_list *stored; /* what the service manager keeps of hark's listeners: the caller's,
                                   and brought up to date here; NULL: nothing shall be kept */

    /* Nothing of that owner is used any more. */
    void (*release)(void *userdata, void *owner);
    void *userdata;
};

enum socket_commands {
    SOCKET_START_PRE,
    SOCKET_START_POST,
    SOCKET_STOP_PRE,
    SOCKET_STOP_POST,
    SOCKET_N_COMMANDS,
};

/* What is listened on. */
struct supervisor_socket {
    const char *name;                  /* for messages: "foo.socket" */
    const struct socket_unit *unit;    /* NULL: all listeners are there, and stay as they are */
    struct listener *const *listeners; /* those that are NULL are made from the unit; NULL: all */
    size_t n_listeners;
    bool is_up;  /* the listeners are an earlier image's: nothing of the start is left to do */
    uid_t owner; /* of what is made: SocketUser=; (uid_t)-1 */
    gid_t group;
    const struct plan_source *commands[SOCKET_N_COMMANDS];
    size_t n_commands[SOCKET_N_COMMANDS];
};

/* A socket whose descriptors a unit gets. */
struct supervisor_unit_socket {
    uint32_t index; /* in the order of supervisor_add_socket() */
    bool starts;    /* traffic there starts the unit; else it is another one's, too */
};

/* What is started for it. Everything that is pointed to, but for the lists of sockets and programs,
 * must live until its owner is released, or as long as the supervisor. */
struct supervisor_unit {
    const char *name;         /* for reports */
    bool accept;              /* one handler per connection */
    uint32_t max_connections; /* with accept: how many handlers at once */
    uint32_t max_per_source;  /* … from one address or user; 0: without limit */
    enum overflow overflow;
    bool stay_on_cpu; /* with accept: handlers keep the affinity of their fork server */
    struct rate_limit trigger_limit, poll_limit; /* with accept; without, the units' own count */
    const struct plan_source *programs;          /* with accept one, else one after another */
    size_t n_programs;
    const struct supervisor_unit_socket *sockets; /* with accept one */
    size_t n_sockets;
};

/* Exit statuses of supervisor_run() beside the program's own with `once`. */
#define SUPERVISOR_EXIT_DISPLACED                                                                  \
    69 /* another server has an address, or took over a path: EX_UNAVAILABLE of sysexits(3) */
#define SUPERVISOR_EXIT_CANNOT_LISTEN 73 /* EX_CANTCREAT */
#define SUPERVISOR_EXIT_COMMAND       1  /* a command of a socket failed */

/* Blocks what the supervisor handles, resets what the starter may have ignored; says whether that
 * was true of SIGHUP, which is a wish to be respected (nohup(1)). Before threads. */
int supervisor_block_signals(bool *ret_ignore_hangup);

int supervisor_new(const struct supervisor_options *options, struct supervisor **ret_supervisor);
/* The listeners are the supervisor's on success. -ENOMEM. */
int supervisor_add_socket(struct supervisor *supervisor, const struct supervisor_socket *socket);
/* -EINVAL for a socket that is not there; -ENOMEM. */
int supervisor_add_unit(struct supervisor *supervisor, const struct supervisor_unit *unit);
/* Whose all is that was added: given to release() when it is not used any more. */
void supervisor_own(struct supervisor *supervisor, void *owner);
struct supervisor *supervisor_free(struct supervisor *supervisor);

/* Whether it listens for a socket of that name. */
bool supervisor_serves(const struct supervisor *supervisor, const char *socket);

/* Serves until it is told to stop: an exit status, or a negative errno when it could not begin (it
 * has said why). */
int supervisor_run(struct supervisor *supervisor);
