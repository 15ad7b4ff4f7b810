/* SPDX-License-Identifier: MIT */
/* A unit as the supervisor runs it: what to start, and the listeners it is started for. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "libhark/hark.h"
#include "supervisor/fork-server.h"
#include "supervisor/service.h"
#include "supervisor/supervisor.h"
#include "supervisor/watch.h"

#define UNIT_DRAINING_MAX 4 /* old sockets of replaced names, whose backlog is still served */

struct unit {
    char *name;
    uint32_t index;
    bool accept;
    uint32_t max_connections;
    struct spawn_plan plan; /* strings belong to the caller of supervisor_add_unit() */
    struct hark_listener **listeners;
    struct watch **watches; /* one per listener, NULL for those without a path */
    size_t n_listeners;
    int draining[UNIT_DRAINING_MAX];
    size_t n_draining;
    struct service *service; /* without accept */
    int *fds;                /* of all of them, as the fork servers get them */
};

int unit_new(const struct supervisor_unit *config, uint32_t index, struct unit **ret_unit);
/* Also frees the listeners: names are removed. */
struct unit *unit_free(struct unit *unit);
/* Closes all listeners and removes their names. */
void unit_close_listeners(struct unit *unit);

/* What a fork server that starts now shall know; valid until the listeners change. */
struct fork_server_unit unit_for_fork_server(struct unit *unit);

/* Keeps an old socket until its backlog is empty. Consumes fd. */
void unit_drain(struct unit *unit, int fd);
/* Closes the old sockets that nobody waits in any more; true when there were such. */
bool unit_close_drained(struct unit *unit);
