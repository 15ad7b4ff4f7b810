/* SPDX-License-Identifier: MIT */
/*
 * What is served together: sockets, and the units that are started for them. The supervisor has one
 * at a time; at a reload a second one is made ready, takes over what it shares with the first, and
 * the rest of that one stops.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "supervisor/unit-socket.h"
#include "supervisor/unit.h"

struct serving {
    struct unit_socket **sockets;
    uint32_t n_sockets, n_started; /* they start one after another */
    struct unit **units;
    uint32_t n_units, n_leaving;           /* the last n_leaving are gone but for their handlers */
    struct fork_server_unit *server_units; /* room for as many as units */
    void *owner;                           /* of what they point to; or NULL */
    struct serving *next;                  /* in a list */
};

/* Frees sockets and units, with all listeners that are theirs still. */
void serving_done(struct serving *serving);

/* -ENOMEM, -EINVAL as unit_new(). */
int serving_add_socket(struct serving *serving, const struct supervisor_socket *config,
                       struct unit_socket **ret_socket);
int serving_add_unit(struct serving *serving, const struct supervisor_unit *config);

/* Adds a unit of another reading that only its handlers are left of. -ENOMEM. */
int serving_keep_unit(struct serving *serving, struct unit *unit);

struct unit_socket *serving_find_socket(const struct serving *serving, const char *name);
bool serving_is_stopped(const struct serving *serving);

/* What a fork server that starts now shall know: one per unit. */
const struct fork_server_unit *serving_for_fork_server(struct serving *serving);
