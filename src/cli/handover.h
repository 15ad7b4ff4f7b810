/* SPDX-License-Identifier: MIT */
/*
 * Who accepts the connections of a socket unit of a running systemd: the services the unit was
 * written for, or hark. adopt and release are the two directions.
 *
 * Over is easy: a drop-in and a reload while the socket is listening. Back is not: only a socket in
 * the state "listening" survives the change, and one whose clients do not stop is in "running" as
 * soon as hark has gone, for good. So hark's service is kept down by a drop-in of its own meanwhile
 * (the guard): systemd then tries to start it, is told that a condition is not met, and goes back
 * to listening, over and over. A reload that meets the other state is undone, and starting the
 * service, which the condition stops again, heals the socket. Clients wait in the backlog.
 * The condition is that this process lives, so when it is killed hark serves again.
 *
 * What is wrong is said where it is found. Functions return an exit status.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/systemd-manager.h"
#include "libhark/hark.h"

struct handover_options {
    bool user;      /* units of the user's manager */
    bool runtime;   /* the drop-in is gone with the next boot */
    bool sandboxed; /* hark-sandboxed@.service */
};

struct handover {
    bool user;
    struct systemd_manager *manager;
    char *socket;  /* its name, not an alias */
    char *hark;    /* the service of hark that has it, or is to have it */
    char *drop_in; /* a path; whether it is there or not */
    char *guard;
    struct hark_lockfile *lock; /* one at a time, of adopt and release */
    int guard_fd;               /* of this process alone: what the guard asks for */
};

/* Which side has it, as systemd sees it now. */
struct handover_state {
    bool accept;         /* systemd accepts */
    bool is_harks;       /* traffic starts hark */
    bool needs_reload;   /* the files are not what systemd has read */
    bool is_listening;   /* waits for traffic */
    bool is_running;     /* has given its traffic to a service */
    bool is_active;      /* listening, or its service runs */
    bool hark_is_active; /* or on its way */
};

/* Connects, finds the unit and what there is of hark about it. Call handover_done() in every case.
 */
int handover_open(const struct handover_options *options, const char *name,
                  struct handover *ret_handover);
void handover_done(struct handover *handover);

int handover_look(const struct handover *handover, struct handover_state *ret_state);

/* Waits for another adopt or release of the same unit to end. */
int handover_lock(struct handover *handover);

/* Writes the drop-in, makes systemd read it, and starts hark if the socket is active; when any of
 * that goes wrong, everything is as before. */
int handover_give(struct handover *handover, const char *text);

/* The way back, with so much time for it: EXIT_STATUS_TOO_BUSY when hark still has it. The text is
 * that of the drop-in, which may have to be written again. What hark runs goes on. */
int handover_take_back(struct handover *handover, const char *text, uint64_t timeout_usec);

/* The same, if need be by restarting the socket, which closes it for a moment. */
int handover_take_back_now(struct handover *handover);
