/* SPDX-License-Identifier: MIT */
/*
 * A unit without accept: its program is started at the first traffic on any listener, has all of
 * them, and is started again at the next traffic after it ended.
 *
 *   WATCHING --traffic--> REQUESTED --a server started it--> RUNNING --it ended--> WATCHING
 *                             |                                 |
 *                             +---- failed, or too often -------+--> SUSPENDED --time--> WATCHING
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "supervisor/server-message.h"
#include "supervisor/server-pool.h"

struct service;

int service_new(sd_event *event, struct server_pool *pool, struct slots *slots, uint32_t unit,
                struct service **ret_service);
struct service *service_free(struct service *service);

/* Watches these listeners from now on, instead of any before. The descriptors stay the caller's. */
int service_set_listeners(struct service *service, const int *fds, size_t n);

/* A server answered. */
void service_on_started(struct service *service, const struct server_message *message);
/* The pool of servers changed: a request may have been lost, or can be made now. */
void service_on_servers(struct service *service);
/* Its program was waited for. */
void service_on_exit(struct service *service);
/* Never start it again. */
void service_stop(struct service *service);
bool service_is_running(const struct service *service);
