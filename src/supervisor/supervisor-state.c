/* SPDX-License-Identifier: MIT */
#include "supervisor/supervisor-state.h"

unsigned supervisor_count_running(const struct supervisor *supervisor)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < supervisor->n_units; i++)
        n += slots_used(supervisor->slots, i);
    return n;
}

bool supervisor_sockets_are_stopped(const struct supervisor *supervisor)
{
    for (uint32_t i = 0; i < supervisor->n_sockets; i++)
        if (supervisor->sockets[i]->state != UNIT_SOCKET_STOPPED)
            return false;
    return true;
}

void supervisor_report_state(struct supervisor *supervisor)
{
    unsigned n_listeners = 0;

    for (uint32_t i = 0; i < supervisor->n_sockets; i++)
        n_listeners += (unsigned)supervisor->sockets[i]->n_listeners;
    report_status(&supervisor->report,
                  supervisor->state == SUPERVISOR_DRAINING   ? "draining: "
                  : supervisor->state == SUPERVISOR_STOPPING ? "stopping: "
                                                             : "",
                  n_listeners, supervisor_count_running(supervisor));
}
