/* SPDX-License-Identifier: MIT */
/* The supervisor's side of the fork servers: starting, replacing, asking, poking and dismissing
 * them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <systemd/sd-event.h>

#include "supervisor/fork-server.h"
#include "supervisor/processors.h"
#include "supervisor/server-message.h"
#include "supervisor/slots.h"

struct server_pool;

struct server_pool_callbacks {
    /* Every server has every listener in its epoll set (again). */
    void (*on_ready)(void *userdata);
    /* STARTED, TROUBLE, LIMIT. */
    void (*on_message)(void *userdata, const struct server_message *message);
    /* A server has ended (and, unless dismissed, is being replaced). What it had reserved is free.
     */
    void (*on_death)(void *userdata);
    /* The units as a server that starts now shall see them: read after the fork, in the server. */
    const struct fork_server_unit *(*units)(void *userdata, size_t *ret_n);
    void *userdata;
};

struct server_pool_options {
    uint32_t n_servers;
    const struct processors *processors; /* what hark was given; servers are pinned within it */
    const struct rlimit *open_files;     /* what hark was given, for the handlers */
    int wake_fd;
    uint32_t incarnations; /* there have been before, of an earlier image */
};

int server_pool_new(sd_event *event, struct slots *slots, const struct server_pool_options *options,
                    const struct server_pool_callbacks *callbacks, struct server_pool **ret_pool);
struct server_pool *server_pool_free(struct server_pool *pool);

/* Starts those that are not there. 0, or the negative errno of the first that could not be created,
 * and is tried again. */
int server_pool_start(struct server_pool *pool);
/* Has every server look at its listeners again. */
void server_pool_poke(struct server_pool *pool);
/* New servers for old ones, with what units() says then. Connections wait in the backlog meanwhile.
 */
void server_pool_renew(struct server_pool *pool);
/* Tells all to leave; they are not replaced, until server_pool_start(). */
void server_pool_dismiss(struct server_pool *pool);
/* Other memory; only while there is no server. */
void server_pool_set_slots(struct server_pool *pool, struct slots *slots);
bool server_pool_is_empty(const struct server_pool *pool);

/* Sends a server that message (START), and says which incarnation it is. -EAGAIN: none is ready,
 * try again at on_ready or on_death. */
int server_pool_request_start(struct server_pool *pool, const struct server_message *message,
                              uint32_t *ret_incarnation);
/* Whether it still lives. */
bool server_pool_has_incarnation(const struct server_pool *pool, uint32_t incarnation);

/* Asks all servers for a sign of life. True when all have answered the last time; one that has not
 * is killed, for it owns nothing and a new one serves at once. */
bool server_pool_ping(struct server_pool *pool);

/* Kills servers that somebody stopped (SIGSTOP): one may have been woken for a connection that its
 * siblings do not know of. New ones take their places. */
void server_pool_kill_stopped(struct server_pool *pool);

bool server_pool_has_pid(const struct server_pool *pool, pid_t pid);
/* How many servers there have been. */
uint32_t server_pool_incarnations(const struct server_pool *pool);
pid_t server_pool_pid(const struct server_pool *pool, uint32_t index);
