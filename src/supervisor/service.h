/* SPDX-License-Identifier: MIT */
/*
 * A unit without accept: its program is started at the first traffic on any listener, has all of
 * them, and is started again at the next traffic after it ended. Several programs run one after
 * another, as long as none fails.
 *
 *   WATCHING --traffic--> REQUESTED --a server started it--> RUNNING --it ended--> WATCHING
 *                             |                                 |
 *                             +---- failed, or too often -------+--> SUSPENDED --time--> WATCHING
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "listener/listener.h"
#include "supervisor/server-message.h"
#include "supervisor/server-pool.h"

struct service;

/* One of its listeners, and the socket unit it belongs to: NULL without one. */
struct service_listener {
    const struct listener *listener;
    const struct socket_unit *unit;
};

struct service_options {
    sd_event *event;
    struct server_pool *pool;
    struct slots *slots;
    const char *name; /* for messages */
    uint32_t unit;    /* in slots */
    uint32_t n_programs;
};

int service_new(const struct service_options *options, struct service **ret_service);
struct service *service_free(struct service *service);

/* The same unit after a reload: at another place, or with other programs. Its name must be the new
 * one's. service_set_listeners() next. */
void service_change(struct service *service, const struct service_options *options);

/* The program of that number is running already: an earlier image had it started. Before
 * service_set_listeners(). */
void service_resume(struct service *service, uint32_t program);

/* Watches none, until service_set_listeners(). */
void service_forget_listeners(struct service *service);

/* Watches these listeners from now on, instead of any before. They stay the caller's. */
int service_set_listeners(struct service *service, const struct service_listener *listeners,
                          size_t n);

/* A server answered. */
void service_on_started(struct service *service, const struct server_message *message);
/* The pool of servers changed: a request may have been lost, or can be made now. */
void service_on_servers(struct service *service);
/* A slot became free: the next of several programs can be started. */
void service_on_room(struct service *service);
/* Its program was waited for; whether that was a success. */
void service_on_exit(struct service *service, bool success);
/* Which of its programs is the one that runs. */
uint32_t service_program(const struct service *service);
/* Never start it again. */
void service_stop(struct service *service);
bool service_is_running(const struct service *service);
