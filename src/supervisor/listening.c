/* SPDX-License-Identifier: MIT */
/* Listeners that lose their names while they serve: bound anew when nobody has the name, given up
 * when a living server has it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "basic/clock.h"
#include "supervisor/supervisor-state.h"

#define BACKLOG_LOOK_USEC (500 * USEC_PER_MSEC)

static int on_backlog_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct supervisor *supervisor = userdata;
    bool closed = false, left = false;

    (void)usec;
    for (uint32_t i = 0; i < supervisor->n_units; i++) {
        closed |= unit_close_drained(supervisor->units[i]);
        left |= supervisor->units[i]->n_draining > 0;
    }
    if (closed)
        server_pool_renew(supervisor->pool);
    if (!left)
        return 0;
    (void)sd_event_source_set_time_relative(source, BACKLOG_LOOK_USEC);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int watch_traffic(struct unit *unit)
{
    struct fork_server_unit now = unit_for_fork_server(unit);

    return unit->service == NULL
               ? 0
               : service_set_listeners(unit->service, now.listeners, now.n_listeners);
}

static void listener_is_back(struct supervisor *supervisor, struct unit *unit,
                             const struct hark_listener *listener, int old_fd)
{
    bool running = unit->service != NULL && service_is_running(unit->service);

    log_notice("\"%s\" was removed; bound it anew%s", hark_listener_address(listener),
               running ? ", for the next program: the one that runs keeps the old socket" : "");
    unit_drain(unit, old_fd);
    (void)watch_traffic(unit);
    server_pool_renew(supervisor->pool);
    supervisor->backlog_timer = sd_event_source_disable_unref(supervisor->backlog_timer);
    if (unit->n_draining > 0)
        (void)sd_event_add_time_relative(supervisor->event, &supervisor->backlog_timer,
                                         CLOCK_MONOTONIC, BACKLOG_LOOK_USEC, 0, on_backlog_timer,
                                         supervisor);
}

static void listener_is_displaced(struct supervisor *supervisor,
                                  const struct hark_listener *listener)
{
    const char *address = hark_listener_address(listener);
    struct hark_holder holder;
    char error[24];

    if (hark_address_holder(address, hark_listener_type(listener), &holder) >= 0 && holder.pid > 0)
        log_error("\"%s\" was taken over by \"%s\" (pid %d): draining", address, holder.command,
                  holder.pid);
    else
        log_error("\"%s\" was taken over by another server: draining", address);
    supervisor->exit_status = SUPERVISOR_EXIT_DISPLACED;
    (void)snprintf(error, sizeof(error), "ERRNO=%d", EADDRINUSE);
    notify_state(supervisor->notify, error);
    supervisor_drain(supervisor);
}

static void on_listener_lost(struct hark_listener *listener, void *userdata)
{
    struct supervisor *supervisor = userdata;
    int old_fd;
    int r = hark_listener_rebind(listener, &old_fd);

    if (r == -EADDRINUSE) {
        listener_is_displaced(supervisor, listener); /* frees it, and its watch */
        return;
    }
    for (uint32_t i = 0; i < supervisor->n_units; i++)
        for (size_t j = 0; j < supervisor->units[i]->n_listeners; j++) {
            struct unit *unit = supervisor->units[i];

            if (unit->listeners[j] != listener)
                continue;
            if (r < 0) {
                log_warning("\"%s\" was removed and cannot be bound anew: %s; trying again",
                            hark_listener_address(listener), strerror(-r));
                watch_retry(unit->watches[j]);
            } else {
                watch_resume(unit->watches[j]);
                listener_is_back(supervisor, unit, listener, old_fd);
            }
        }
}

int supervisor_watch_listeners(struct supervisor *supervisor, struct unit *unit)
{
    for (size_t i = 0; i < unit->n_listeners; i++) {
        int r = watch_new(supervisor->event, unit->listeners[i], on_listener_lost, supervisor,
                          &unit->watches[i]);
        if (r < 0)
            return r;
    }
    return watch_traffic(unit);
}
