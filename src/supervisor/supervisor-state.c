/* SPDX-License-Identifier: MIT */
#include "supervisor/supervisor-state.h"

#include <errno.h>
#include <stdlib.h>

#include "basic/cleanup.h"

unsigned supervisor_count_running(const struct supervisor *supervisor)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < supervisor->now.n_units; i++)
        n += slots_used(supervisor->slots, i);
    return n;
}

bool supervisor_sockets_are_stopped(const struct supervisor *supervisor)
{
    for (const struct serving *gone = supervisor->gone; gone != NULL; gone = gone->next)
        if (!serving_is_stopped(gone))
            return false;
    return serving_is_stopped(&supervisor->now);
}

int supervisor_divide_slots(const struct supervisor *supervisor, const struct serving *serving,
                            const uint32_t *living, struct slots **ret_slots)
{
    cleanup_free struct slots_request *requests = calloc(serving->n_units, sizeof(*requests));

    if (requests == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < serving->n_units; i++)
        requests[i] = (struct slots_request){
            .n_slots = serving->units[i]->is_leaving ? 0 : serving->units[i]->max_connections,
            .n_living = living != NULL ? living[i] : 0,
            .n_listeners = (uint32_t)unit_count_listeners(serving->units[i]),
        };
    return slots_new(requests, serving->n_units, supervisor->options.n_servers, ret_slots);
}

int supervisor_prepare_service(struct supervisor *supervisor, struct unit *unit)
{
    const struct service_options options = {
        .event = supervisor->event,
        .pool = supervisor->pool,
        .slots = supervisor->slots,
        .name = unit->name,
        .unit = unit->index,
        .n_programs = (uint32_t)unit->config.n_programs,
    };

    if (unit->config.accept)
        return 0;
    if (unit->service == NULL)
        return service_new(&options, &unit->service);
    service_change(unit->service, &options);
    return 0;
}

void supervisor_report_state(struct supervisor *supervisor)
{
    unsigned n_listeners = 0;

    for (uint32_t i = 0; i < supervisor->now.n_sockets; i++)
        n_listeners += (unsigned)supervisor->now.sockets[i]->n_listeners;
    report_status(&supervisor->report,
                  supervisor->state == SUPERVISOR_DRAINING   ? "draining: "
                  : supervisor->state == SUPERVISOR_STOPPING ? "stopping: "
                                                             : "",
                  n_listeners, supervisor_count_running(supervisor));
}
