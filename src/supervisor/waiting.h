/* SPDX-License-Identifier: MIT */
/*
 * Waiting for handlers at a cost that does not grow with how many live: no waitid(P_ALL) per exit
 * (it walks all children) and no descriptor in a process that forks.
 *
 * While anything is young, the supervisor is awake: every few milliseconds it looks at the slots
 * for new children and asks each young one by waitid(P_PID). Who has lived for 100 ms gets a pidfd
 * in epoll. When nothing is young it sleeps, and the next server that takes a slot wakes it.
 * SIGCHLD itself only says that something is to be found; signals that coalesce cost nothing, as
 * nobody is asked because of them alone. Children we do not know (orphans of handlers: we are their
 * subreaper) are found by a rare look at all.
 *
 * It also enforces the one-second rule: a child that has not become its program by then is killed,
 * because its creator stands still for it. A second in which we looked: after a machine or a
 * container stood still everybody has all of it still. And not a child that is ready to run.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "supervisor/slots.h"

struct waiting;

struct handler_exit {
    pid_t pid;
    int code;   /* CLD_EXITED, CLD_KILLED, CLD_DUMPED */
    int status; /* exit status or signal */
    uint64_t end_usec;
};

struct waiting_callbacks {
    /* A child has been waited for. Its record is still in its slot, which is freed afterwards. */
    void (*on_exit)(void *userdata, uint32_t slot, const struct handler_exit *end);
    /* Slots of a unit at its limit were freed: the servers want to be poked. */
    void (*on_room)(void *userdata);
    /* A child was killed for standing half-made for a second. */
    void (*on_stuck)(void *userdata, uint32_t slot);
    /* A fork server is killed that has looked at a unit's files for a second. */
    void (*on_stuck_server)(void *userdata, pid_t pid, uint32_t unit);
    /* A look is over: the time to bring up to date what depends on who lives. */
    void (*on_looked)(void *userdata);
    /* Something happened to a child: a good time to see whether a fork server was stopped. */
    void (*on_child_signal)(void *userdata);
    /* Is this child no handler, but waited for elsewhere (fork servers, commands)? */
    bool (*is_waited_for)(void *userdata, pid_t pid);
    /* The pid of the server with that index, 0 when there is none. */
    pid_t (*server_pid)(void *userdata, uint32_t index);
    void *userdata;
};

/* SIGCHLD must be blocked. -ENOMEM, or an errno of epoll_create1(2), signalfd(2), eventfd(2). */
int waiting_new(sd_event *event, struct slots *slots, const struct waiting_callbacks *callbacks,
                struct waiting **ret_waiting);
struct waiting *waiting_free(struct waiting *waiting);

/* Whether a child stands between its creation and its program: it writes to its record still. When
 * there are no servers that is over after some seconds: who does not get on is killed, and who even
 * so does not end will write nothing more. */
bool waiting_has_half_made(const struct waiting *waiting);
/* Whether one has stood there for longer than is usual, so that this may take as long. */
bool waiting_has_stuck(const struct waiting *waiting);
/* The handlers are in other memory now: those of slot i of the old in slot map[i] of the new. The
 * old is taken over, because of children that write there still. 0, or -ENOMEM, and everything is
 * as before. */
int waiting_move(struct waiting *waiting, struct slots *slots, const uint32_t *map);

/* The eventfd that fork servers write to. */
int waiting_wake_fd(const struct waiting *waiting);
/* Looks at everything now, for who must know at once (a server died, hark stops). */
void waiting_look(struct waiting *waiting);
