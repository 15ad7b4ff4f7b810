/* SPDX-License-Identifier: MIT */
#include "supervisor/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"

static void unit_cleanup(struct unit **unit)
{
    unit_free(*unit);
}

/* It becomes part of lines that others read: one line, one word. */
static char *copy_name(const char *name)
{
    char *copy = strdup(name);

    for (char *p = copy; p != NULL && *p != '\0'; p++)
        if ((unsigned char)*p <= ' ' || *p == 127)
            *p = '_';
    return copy;
}

size_t unit_count_listeners(const struct unit *unit)
{
    size_t n = 0;

    for (size_t i = 0; !unit->is_leaving && i < unit->n_sockets; i++)
        n += unit->sockets[i]->n_listeners;
    return n;
}

static int copy_programs(const struct supervisor_unit *config, struct unit *unit)
{
    unit->programs = calloc(config->n_programs, sizeof(*unit->programs));
    if (unit->programs == NULL)
        return -ENOMEM;
    memcpy(unit->programs, config->programs, config->n_programs * sizeof(*unit->programs));
    unit->config.programs = unit->programs;
    unit->config.n_programs = config->n_programs;
    return 0;
}

static int find_sockets(const struct supervisor_unit *config, struct unit_socket *const *sockets,
                        size_t n_sockets, struct unit *unit)
{
    unit->sockets = calloc(config->n_sockets + 1, sizeof(struct unit_socket *));
    unit->starts = calloc(config->n_sockets + 1, sizeof(*unit->starts));
    if (unit->sockets == NULL || unit->starts == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < config->n_sockets; i++) {
        if (config->sockets[i].index >= n_sockets)
            return -EINVAL;
        unit->sockets[i] = sockets[config->sockets[i].index];
        unit->starts[i] = config->sockets[i].starts;
    }
    unit->n_sockets = config->n_sockets;
    unit->listeners = calloc(unit_count_listeners(unit) + unit->n_sockets * DRAINING_MAX + 1,
                             sizeof(*unit->listeners));
    return unit->listeners != NULL ? 0 : -ENOMEM;
}

bool unit_ignores_failure(const struct unit *unit)
{
    uint32_t program = unit->service != NULL ? service_program(unit->service) : 0;

    return program < unit->config.n_programs && unit->programs[program].ignore_failure;
}

bool unit_has_socket(const struct unit *unit, const struct unit_socket *socket)
{
    for (size_t i = 0; !unit->is_leaving && i < unit->n_sockets; i++)
        if (unit->sockets[i] == socket)
            return true;
    return false;
}

int unit_new(const struct supervisor_unit *config, struct unit_socket *const *sockets,
             size_t n_sockets, struct unit **ret_unit)
{
    cleanup(unit_cleanup) struct unit *unit = calloc(1, sizeof(*unit));

    if (unit == NULL)
        return -ENOMEM;
    unit->max_connections = config->accept ? config->max_connections : 1;
    unit->config = (struct fork_server_unit){
        .accept = config->accept,
        .overflow = config->overflow,
        .max_per_source = config->max_per_source,
        .stay_on_cpu = config->accept && config->stay_on_cpu,
        .trigger_limit = config->trigger_limit,
        .poll_limit = config->poll_limit,
    };
    unit->config.name = unit->name = copy_name(config->name);
    int r = unit->name != NULL ? copy_programs(config, unit) : -ENOMEM;
    if (r >= 0)
        r = find_sockets(config, sockets, n_sockets, unit);
    if (r < 0)
        return r;
    *ret_unit = take_pointer(&unit);
    return 0;
}

int unit_new_leaving(const char *name, bool accept, struct unit **ret_unit)
{
    static const struct plan_source nothing;
    const struct supervisor_unit config = {
        .name = name, .accept = accept, .programs = &nothing, .n_programs = 1};
    int r = unit_new(&config, NULL, 0, ret_unit);

    if (r >= 0)
        (*ret_unit)->is_leaving = true;
    return r;
}

struct unit *unit_free(struct unit *unit)
{
    if (unit == NULL)
        return NULL;
    service_free(unit->service);
    free(unit->sockets);
    free(unit->starts);
    free(unit->listeners);
    free(unit->programs);
    free(unit->name);
    free(unit);
    return NULL;
}

struct fork_server_unit unit_for_fork_server(struct unit *unit)
{
    struct fork_server_unit result = unit->config;

    result.listeners = unit->listeners;
    if (unit->is_leaving) {
        result.n_programs = 0;
        return result;
    }
    /* Without accept the program that runs keeps an old socket itself; one that does not run would
     * have been started if anybody waited there. */
    for (size_t i = 0; i < unit->n_sockets; i++)
        result.n_listeners += unit_socket_list(unit->sockets[i], unit->config.accept,
                                               unit->listeners + result.n_listeners);
    return result;
}
