/* SPDX-License-Identifier: MIT */
#include "supervisor/serving.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void serving_done(struct serving *serving)
{
    for (uint32_t i = 0; i < serving->n_units; i++)
        unit_free(serving->units[i]);
    for (uint32_t i = 0; i < serving->n_sockets; i++)
        unit_socket_free(serving->sockets[i]);
    free(serving->units);
    free(serving->sockets);
    free(serving->server_units);
    *serving = (struct serving){0};
}

int serving_add_socket(struct serving *serving, const struct supervisor_socket *config,
                       struct unit_socket **ret_socket)
{
    struct unit_socket **sockets =
        realloc(serving->sockets, (serving->n_sockets + 1) * sizeof(*serving->sockets));

    if (sockets == NULL)
        return -ENOMEM;
    serving->sockets = sockets;
    int r = unit_socket_new(config, &sockets[serving->n_sockets]);
    if (r < 0)
        return r;
    *ret_socket = sockets[serving->n_sockets++];
    return 0;
}

static int make_room_for_unit(struct serving *serving)
{
    struct unit **units = realloc(serving->units, (serving->n_units + 1) * sizeof(*serving->units));

    if (units == NULL)
        return -ENOMEM;
    serving->units = units;
    struct fork_server_unit *server_units =
        realloc(serving->server_units, (serving->n_units + 1) * sizeof(*serving->server_units));
    if (server_units == NULL)
        return -ENOMEM;
    serving->server_units = server_units;
    return 0;
}

static void append_unit(struct serving *serving, struct unit *unit)
{
    unit->index = serving->n_units;
    serving->units[serving->n_units++] = unit;
}

int serving_add_unit(struct serving *serving, const struct supervisor_unit *config)
{
    struct unit *unit;
    int r = make_room_for_unit(serving);

    if (r >= 0)
        r = unit_new(config, serving->sockets, serving->n_sockets, &unit);
    if (r >= 0)
        append_unit(serving, unit);
    return r;
}

int serving_keep_unit(struct serving *serving, struct unit *unit)
{
    int r = make_room_for_unit(serving);

    if (r < 0)
        return r;
    append_unit(serving, unit);
    unit->is_leaving = true;
    serving->n_leaving++;
    return 0;
}

struct unit_socket *serving_find_socket(const struct serving *serving, const char *name)
{
    for (uint32_t i = 0; i < serving->n_sockets; i++)
        if (strcmp(serving->sockets[i]->name, name) == 0)
            return serving->sockets[i];
    return NULL;
}

bool serving_is_stopped(const struct serving *serving)
{
    for (uint32_t i = 0; i < serving->n_sockets; i++)
        if (serving->sockets[i]->state != UNIT_SOCKET_STOPPED)
            return false;
    return true;
}

const struct fork_server_unit *serving_for_fork_server(struct serving *serving)
{
    for (uint32_t i = 0; i < serving->n_units; i++)
        serving->server_units[i] = unit_for_fork_server(serving->units[i]);
    return serving->server_units;
}
