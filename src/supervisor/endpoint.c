/* SPDX-License-Identifier: MIT */
#include "supervisor/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "basic/cleanup.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START of sd_listen_fds(3) */

static int build_plan(const struct plan_source *source, struct spawn_plan *plan)
{
    if (source->fixed == NULL)
        return source->build(source->userdata, plan);
    *plan = *source->fixed;
    return 0;
}

static void add_accepting(const struct endpoint *endpoint, const struct fork_server_setup *setup,
                          struct spawn_plan *plan)
{
    const struct fork_server_unit *unit = &setup->units[endpoint->unit];
    const struct slots_unit *slots = &setup->slots->units[endpoint->unit];

    plan->listener = endpoint->fd;
    plan->fds = NULL;
    plan->n_fds = 0;
    plan->flags |= SPAWN_WITH_ACCEPT | (endpoint->is_shared ? SPAWN_MAY_BLOCK : 0);
    plan->connection_options = endpoint->listener->options;
    plan->n_connection_options = endpoint->listener->n_options;
    plan->max_per_source = unit->max_per_source;
    plan->records = (struct spawn_records){
        .list = setup->slots->records + slots->first,
        .sources = setup->slots->sources + slots->first,
        .n = slots->n,
    };
}

const cpu_set_t *endpoint_affinity(const struct endpoint *endpoint,
                                   const struct fork_server_setup *setup)
{
    return setup->units[endpoint->unit].stay_on_cpu ? NULL : setup->affinity;
}

int endpoint_prepare(struct endpoint *endpoint, const struct fork_server_setup *setup)
{
    const struct plan_source *source = endpoint->source;
    struct spawn_plan plan = {.listener = -1};

    if (endpoint->plan != NULL && (source->fixed != NULL || source->is_fresh(source->userdata)))
        return 0;
    endpoint->plan = spawn_plan_free(endpoint->plan);
    int r = build_plan(source, &plan);
    if (r < 0)
        return r;
    plan.flags |= SPAWN_SIBLING;
    atomic_store(&setup->slots->units[endpoint->unit].unhurried,
                 (plan.flags & SPAWN_OWN_MEMORY) != 0);
    plan.affinity = endpoint_affinity(endpoint, setup);
    plan.counter = &setup->slots->units[endpoint->unit].instance;
    if (endpoint->accept) {
        add_accepting(endpoint, setup, &plan);
    } else {
        /* It holds the listeners: when hark is killed the next one must not be locked out. */
        plan.flags |= SPAWN_DEATH_SIGNAL_TERM;
        plan.fds = endpoint->fds;
        plan.n_fds = endpoint->n_fds;
    }
    return spawn_plan_prepare(&plan, &endpoint->plan);
}

/* They are handed over as FIRST_FD and on: copies are out of the way of each other. The originals
 * stay, as they may be another unit's, too. */
static int copy_descriptors(const struct fork_server_unit *unit, struct endpoint *endpoint)
{
    int lowest = FIRST_FD + (int)unit->n_listeners;

    endpoint->fds = calloc(unit->n_listeners + 1, sizeof(*endpoint->fds));
    if (endpoint->fds == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < unit->n_listeners; i++) {
        int fd = unit->listeners[i].fd;
        endpoint->fds[i] = fd < lowest ? fcntl(fd, F_DUPFD_CLOEXEC, lowest) : fd;
        if (endpoint->fds[i] < 0)
            return -errno;
    }
    endpoint->n_fds = unit->n_listeners;
    return 0;
}

static void add_listeners(const struct fork_server_setup *setup, uint32_t number,
                          struct endpoint *endpoints, size_t *n)
{
    const struct fork_server_unit *unit = &setup->units[number];
    const struct slots_unit *slots = &setup->slots->units[number];

    for (size_t i = 0; i < unit->n_listeners; i++)
        endpoints[(*n)++] = (struct endpoint){
            .unit = number,
            .accept = true,
            .fd = unit->listeners[i].fd,
            .is_shared = unit->listeners[i].is_shared,
            .polls = i < slots->n_polls ? &setup->slots->polls[slots->first_poll + i] : NULL,
            .source = &unit->programs[0],
            .listener = &unit->listeners[i],
        };
}

static int add_programs(const struct fork_server_setup *setup, uint32_t number,
                        struct endpoint *endpoints, size_t *n)
{
    struct fork_server_unit unit = setup->units[number];
    int r = 0;

    for (uint32_t i = 0; i < unit.n_programs && r >= 0; i++) {
        struct endpoint *endpoint = &endpoints[(*n)++];

        *endpoint =
            (struct endpoint){.unit = number, .program = i, .fd = -1, .source = &unit.programs[i]};
        if (i > 0) { /* all have the same ones */
            endpoint->fds = endpoint[-1].fds;
            endpoint->n_fds = endpoint[-1].n_fds;
        } else {
            r = copy_descriptors(&unit, endpoint);
        }
    }
    return r;
}

int endpoints_new(const struct fork_server_setup *setup, struct endpoint **ret_endpoints,
                  size_t *ret_n)
{
    size_t most = 0, n = 0;
    int r = 0;

    for (size_t i = 0; i < setup->n_units; i++)
        most += setup->units[i].n_listeners + setup->units[i].n_programs;
    cleanup_free struct endpoint *endpoints = calloc(most + 1, sizeof(*endpoints));
    if (endpoints == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < setup->n_units && r >= 0; i++) {
        if (setup->units[i].accept)
            add_listeners(setup, i, endpoints, &n);
        else
            r = add_programs(setup, i, endpoints, &n);
    }
    if (r < 0)
        return r;
    *ret_endpoints = take_pointer(&endpoints);
    *ret_n = n;
    return 0;
}
