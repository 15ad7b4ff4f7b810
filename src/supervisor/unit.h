/* SPDX-License-Identifier: MIT */
/* A unit as the supervisor runs it: what to start, and the sockets it is started for. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "supervisor/fork-server.h"
#include "supervisor/service.h"
#include "supervisor/statistics.h"
#include "supervisor/supervisor.h"
#include "supervisor/unit-socket.h"

struct unit {
    char *name;
    uint32_t index;
    struct fork_server_unit config; /* without listeners, but with room for them */
    struct fork_server_listener *listeners;
    struct plan_source *programs;
    uint32_t max_connections;
    struct unit_socket **sockets; /* the supervisor's */
    bool *starts;                 /* of each: its traffic starts the unit */
    size_t n_sockets;
    struct service *service; /* without accept */
    struct statistics statistics;
    bool is_leaving; /* since a reload: only its handlers are left, it has no sockets any more */
};

/* sockets are all of the supervisor's, and outlive the unit. */
int unit_new(const struct supervisor_unit *config, struct unit_socket *const *sockets,
             size_t n_sockets, struct unit **ret_unit);
/* One that only its handlers are left of, which an earlier image knew. */
int unit_new_leaving(const char *name, bool accept, struct unit **ret_unit);
struct unit *unit_free(struct unit *unit);

/* However the program ends that runs, it is a success ("-" of ExecStart=). After a reload with
 * fewer programs it is none of them. */
bool unit_ignores_failure(const struct unit *unit);

bool unit_has_socket(const struct unit *unit, const struct unit_socket *socket);

/* Of all its sockets. */
size_t unit_count_listeners(const struct unit *unit);

/* What a fork server that starts now shall know; valid until the listeners change. */
struct fork_server_unit unit_for_fork_server(struct unit *unit);
