/* SPDX-License-Identifier: MIT */
/*
 * A socket unit as the supervisor runs it: its listeners and the commands around them, in the order
 * of systemd.socket(5):
 *
 *   DEAD --start--> START_PRE --> (listens) --> START_POST --> LISTENING
 *   LISTENING --stop--> STOP_PRE --> (closes) --> STOP_POST --> STOPPED
 *
 * A failing ExecStartPre= leads to STOPPED at once, a failure to listen and a failing
 * ExecStartPost= through STOP_PRE and so on. A stop while a command of the start runs ends that
 * command first (INTERRUPTED), and goes on with closing and STOP_POST.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <systemd/sd-event.h>

#include "listener/listener.h"
#include "supervisor/commands.h"
#include "supervisor/fork-server.h"
#include "supervisor/supervisor.h"
#include "supervisor/watch.h"

#define DRAINING_MAX 4 /* old sockets of replaced names, whose backlog is still served */

enum unit_socket_state {
    UNIT_SOCKET_DEAD,
    UNIT_SOCKET_START_PRE,
    UNIT_SOCKET_START_POST,
    UNIT_SOCKET_LISTENING,
    UNIT_SOCKET_INTERRUPTED,
    UNIT_SOCKET_STOP_PRE,
    UNIT_SOCKET_STOP_POST,
    UNIT_SOCKET_STOPPED,
};

/* A listener of it. */
struct unit_listener {
    struct listener *listener;     /* NULL when it does not listen (yet, or any more) */
    bool is_promised;              /* to an heir, while a reload is under way */
    struct unit_listener *heir_of; /* of the socket of before a reload, whose listener it will get;
                                      NULL */
    struct watch *watch;           /* NULL for those without a path */
    struct spawn_socket_option *options; /* of its connections */
    size_t n_options;
};

struct unit_socket {
    sd_event *event;
    enum unit_socket_state state;
    int error; /* why it failed, negative; 0 */
    char *name;
    const struct socket_unit *unit; /* NULL: without a unit */
    uid_t owner;
    gid_t group;
    const struct plan_source *commands[SOCKET_N_COMMANDS];
    size_t n_commands[SOCKET_N_COMMANDS];
    bool is_up;                /* as struct supervisor_socket has it */
    bool has_links;            /* Symlinks= were made */
    bool made;                 /* a listener, instead of all being passed or taken over */
    bool goes_on;              /* its unit serves already, with some of these listeners */
    bool is_next;              /* of a reload, and does not serve yet: it makes no links */
    bool took_over, continues; /* something from its unit of before; in its unit of next */
    const struct rlimit *open_files;
    struct unit_listener *listeners;
    size_t n_listeners;
    struct {
        int fd;
        size_t listener; /* which it was once */
    } draining[DRAINING_MAX];
    size_t n_draining;
    struct commands *running;
    int *fds; /* for commands */
    /* LISTENING or STOPPED was reached. */
    void (*changed)(struct unit_socket *socket, void *userdata);
    void *userdata;
};

int unit_socket_new(const struct supervisor_socket *config, struct unit_socket **ret_socket);
/* Also frees the listeners. */
struct unit_socket *unit_socket_free(struct unit_socket *socket);

/* Set event, open_files, changed and userdata first. changed may be called before these return. */
void unit_socket_start(struct unit_socket *socket);
void unit_socket_stop(struct unit_socket *socket);

/* Takes promises back, when a reload has failed. */
void unit_socket_forget_heirs(struct unit_socket *before);
/* At a reload, before the start: has the socket take over those listeners of one that serves which
 * it would make the same. */
void unit_socket_inherit(struct unit_socket *heir, struct unit_socket *before);
/* Whether it will take over any. */
bool unit_socket_is_heir(const struct unit_socket *socket);
/* … and after it: whether what it wants is still there; and they change hands now. */
bool unit_socket_can_take_over(const struct unit_socket *heir);
void unit_socket_take_over(struct unit_socket *heir, struct unit_socket *before);
/* Now it serves: what could not be taken back is done. After all have taken over. */
void unit_socket_serve(struct unit_socket *socket);
/* The unit goes on in its heir, which has taken over what it wanted: links to its node, too. What
 * is left of it stops without commands then. */
void unit_socket_continue(struct unit_socket *before, struct unit_socket *heir);

/* Writes down what a fork server that starts now shall know: how many. */
size_t unit_socket_list(const struct unit_socket *socket, bool with_draining,
                        struct fork_server_listener *list);

/* Keeps an old socket until its backlog is empty. Consumes fd. */
void unit_socket_drain(struct unit_socket *socket, size_t listener, int fd);
/* Closes the old sockets that nobody waits in any more; true when there were such. */
bool unit_socket_close_drained(struct unit_socket *socket);
