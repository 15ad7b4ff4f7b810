/* SPDX-License-Identifier: MIT */
/* A fork server's state, and what its parts ask of each other. For files of the fork server only:
 *
 *   fork-server.c   sets the process up, and is its loop
 *   accepting.c     listeners: watched, paused, accepted from, refused
 *   endpoint.c      what children are made for
 */
#pragma once

#include "supervisor/endpoint.h"
#include "supervisor/fork-server.h"
#include "supervisor/log.h"
#include "supervisor/server-message.h"

struct fork_server {
    const struct fork_server_setup *setup;
    struct spawner *spawner;
    struct endpoint *endpoints;
    size_t n_endpoints;
    uint32_t *hints; /* per unit: where to look for a free slot first */
    uint64_t sequence;
    int epoll_fd;
    uint64_t back_off_usec; /* nothing is accepted until then; 0 */
    struct log_limit faults;
};

/* accepting.c */
int fork_server_watch(struct fork_server *server, int fd, uint32_t events, uint32_t number);
void fork_server_watch_all(struct fork_server *server);
void fork_server_stop_watching_all(struct fork_server *server);
/* All servers, this one too: they look at their listeners anew. */
void fork_server_poke_all(const struct fork_server *server);
/* There is news from the supervisor: a slot was freed, or a sibling has gone. */
void fork_server_on_poke(struct fork_server *server);
/* Ends the pauses that are over: how many milliseconds until the next one is, or -1. */
int fork_server_end_pauses(struct fork_server *server);
/* Somebody waits at this endpoint. */
void fork_server_serve(struct fork_server *server, struct endpoint *endpoint);
/* Starts a program without accept: 0 or a negative errno; -ECANCELED: a condition is not met,
 * -ENOEXEC: its plan cannot be made, which has been said. */
int fork_server_start(struct fork_server *server, struct endpoint *endpoint, uint32_t *ret_slot);
