/* SPDX-License-Identifier: MIT */
#include "supervisor/unit.h"

#include <errno.h>
#include <poll.h>
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

int unit_new(const struct supervisor_unit *config, uint32_t index, struct unit **ret_unit)
{
    cleanup(unit_cleanup) struct unit *unit = calloc(1, sizeof(*unit));
    size_t n = config->n_listeners;

    if (unit == NULL)
        return -ENOMEM;
    unit->name = copy_name(config->name);
    unit->index = index;
    unit->accept = config->accept;
    unit->max_connections = config->accept ? config->max_connections : 1;
    unit->plan = config->plan;
    unit->listeners = calloc(n, sizeof(*unit->listeners));
    unit->watches = calloc(n, sizeof(*unit->watches));
    unit->fds = calloc(n + UNIT_DRAINING_MAX, sizeof(*unit->fds));
    if (unit->name == NULL || unit->listeners == NULL || unit->watches == NULL || unit->fds == NULL)
        return -ENOMEM;
    memcpy(unit->listeners, config->listeners, n * sizeof(*unit->listeners));
    unit->n_listeners = n;
    *ret_unit = take_pointer(&unit);
    return 0;
}

void unit_close_listeners(struct unit *unit)
{
    for (size_t i = 0; i < unit->n_listeners; i++) {
        unit->watches[i] = watch_free(unit->watches[i]);
        unit->listeners[i] = hark_listener_free(unit->listeners[i]);
    }
    for (size_t i = 0; i < unit->n_draining; i++)
        fd_close(unit->draining[i]);
    unit->n_listeners = unit->n_draining = 0;
}

struct unit *unit_free(struct unit *unit)
{
    if (unit == NULL)
        return NULL;
    service_free(unit->service);
    unit_close_listeners(unit);
    free(unit->listeners);
    free(unit->watches);
    free(unit->fds);
    free(unit->name);
    free(unit);
    return NULL;
}

struct fork_server_unit unit_for_fork_server(struct unit *unit)
{
    struct fork_server_unit result = {
        .accept = unit->accept, .plan = &unit->plan, .listeners = unit->fds};

    for (size_t i = 0; i < unit->n_listeners; i++) {
        unit->fds[result.n_listeners++] = hark_listener_fd(unit->listeners[i]);
        result.listeners_shared |= hark_listener_was_passed(unit->listeners[i]);
    }
    for (size_t i = 0; unit->accept && i < unit->n_draining; i++)
        unit->fds[result.n_listeners++] = unit->draining[i];
    return result;
}

void unit_drain(struct unit *unit, int fd)
{
    /* A program without accept that runs keeps the old socket itself; one that does not run would
     * have been started if anybody waited there. */
    if (!unit->accept || unit->n_draining == UNIT_DRAINING_MAX)
        fd_close(fd);
    else
        unit->draining[unit->n_draining++] = fd;
}

bool unit_close_drained(struct unit *unit)
{
    size_t kept = 0, n = unit->n_draining;

    for (size_t i = 0; i < n; i++) {
        struct pollfd ready = {.fd = unit->draining[i], .events = POLLIN};

        if (poll(&ready, 1, 0) > 0)
            unit->draining[kept++] = unit->draining[i];
        else
            fd_close(unit->draining[i]);
    }
    unit->n_draining = kept;
    return kept < n;
}
