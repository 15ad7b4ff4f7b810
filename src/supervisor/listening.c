/* SPDX-License-Identifier: MIT */
/* Listeners that lose their names while they serve: bound anew when nobody has the name, given up
 * when a living server has it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "supervisor/supervisor-state.h"

#define BACKLOG_LOOK_USEC (500 * USEC_PER_MSEC)

/* Whoever may write to the directory can remove a socket again and again. */
static struct log_limit rebinds = {
    .interval_usec = 5 * USEC_PER_SEC, .burst = 5, .level = LOG_NOTICE};

static int on_backlog_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct supervisor *supervisor = userdata;
    bool closed = false, left = false;

    (void)usec;
    for (uint32_t i = 0; i < supervisor->now.n_sockets; i++) {
        closed |= unit_socket_close_drained(supervisor->now.sockets[i]);
        left |= supervisor->now.sockets[i]->n_draining > 0;
    }
    if (closed)
        server_pool_renew(supervisor->pool);
    if (!left)
        return 0;
    (void)sd_event_source_set_time_relative(source, BACKLOG_LOOK_USEC);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Has the service, if there is one, watch the listeners as they are now. */
int supervisor_watch_traffic(struct unit *unit)
{
    cleanup_free struct service_listener *list =
        calloc(unit_count_listeners(unit) + 1, sizeof(*list));
    size_t n = 0;

    if (unit->service == NULL)
        return 0;
    if (list == NULL)
        return -ENOMEM;
    for (size_t i = 0; !unit->is_leaving && i < unit->n_sockets; i++)
        for (size_t j = 0; unit->starts[i] && j < unit->sockets[i]->n_listeners; j++)
            list[n++] = (struct service_listener){
                .listener = unit->sockets[i]->listeners[j].listener,
                .unit = unit->sockets[i]->unit,
            };
    return service_set_listeners(unit->service, list, n);
}

/* Where a listener is. */
struct location {
    struct unit_socket *socket;
    size_t index;
};

static bool find_listener(const struct supervisor *supervisor, const struct listener *listener,
                          struct location *ret_location)
{
    for (uint32_t i = 0; i < supervisor->now.n_sockets; i++)
        for (size_t j = 0; j < supervisor->now.sockets[i]->n_listeners; j++)
            if (supervisor->now.sockets[i]->listeners[j].listener == listener) {
                *ret_location = (struct location){supervisor->now.sockets[i], j};
                return true;
            }
    return false;
}

static void listener_is_back(struct supervisor *supervisor, const struct location *at, int old_fd)
{
    const struct unit_listener *one = &at->socket->listeners[at->index];
    bool running = false, accept = false;

    for (uint32_t i = 0; i < supervisor->now.n_units; i++) {
        struct unit *unit = supervisor->now.units[i];

        if (!unit_has_socket(unit, at->socket))
            continue;
        running |= unit->service != NULL && service_is_running(unit->service);
        accept |= unit->config.accept;
        (void)supervisor_watch_traffic(unit);
    }
    if (log_limit_pass(&rebinds, "removals"))
        log_event(&(const struct log_event){.level = LOG_NOTICE,
                                            .id = MESSAGE_LISTENER_BOUND_ANEW,
                                            .unit = at->socket->name,
                                            .listener = listener_address(one->listener)},
                  "\"%s\" was removed; bound it anew%s", listener_address(one->listener),
                  running ? ", for the next program: the one that runs keeps the old socket" : "");
    watch_resume(one->watch);
    notify_store_later(supervisor->notify);
    /* A program without accept that runs has the old socket itself; one that does not run would
     * have been started if anybody waited there. */
    if (accept)
        unit_socket_drain(at->socket, at->index, old_fd);
    else
        fd_close(old_fd);
    server_pool_renew(supervisor->pool);
    if (supervisor->backlog_timer != NULL)
        (void)sd_event_source_set_enabled(supervisor->backlog_timer, SD_EVENT_ONESHOT);
    else if (at->socket->n_draining > 0)
        (void)sd_event_add_time_relative(supervisor->event, &supervisor->backlog_timer,
                                         CLOCK_MONOTONIC, BACKLOG_LOOK_USEC, 0, on_backlog_timer,
                                         supervisor);
}

static void listener_is_displaced(struct supervisor *supervisor, const struct location *at,
                                  const struct listener *listener)
{
    const char *address = listener_address(listener);
    const struct log_event event = {.level = LOG_ERR,
                                    .id = MESSAGE_LISTENER_TAKEN_OVER,
                                    .unit = at->socket->name,
                                    .listener = address,
                                    .error = EADDRINUSE};
    struct hark_holder holder;
    char error[24];

    if (hark_address_holder(address, listener_socket_type(listener), &holder) >= 0 &&
        holder.pid > 0)
        log_event(&event, "\"%s\" was taken over by \"%s\" (pid %d): draining", address,
                  holder.command, holder.pid);
    else
        log_event(&event, "\"%s\" was taken over by another server: draining", address);
    supervisor->exit_status = SUPERVISOR_EXIT_DISPLACED;
    (void)snprintf(error, sizeof(error), "ERRNO=%d", EADDRINUSE);
    notify_state(supervisor->notify, error);
    supervisor_drain(supervisor);
}

static void on_listener_lost(struct listener *listener, void *userdata)
{
    struct supervisor *supervisor = userdata;
    struct location at;
    int old_fd;

    if (!find_listener(supervisor, listener, &at))
        return;
    int r = listener_rebind(listener, &old_fd);
    if (r == -EADDRINUSE) {
        listener_is_displaced(supervisor, &at, listener); /* frees it, and its watch */
    } else if (r < 0) {
        log_event(&(const struct log_event){.level = LOG_WARNING,
                                            .id = MESSAGE_LISTENER_LOST,
                                            .unit = at.socket->name,
                                            .listener = listener_address(listener),
                                            .error = -r},
                  "\"%s\" was removed and cannot be bound anew: %s; trying again",
                  listener_address(listener), strerror(-r));
        watch_retry(at.socket->listeners[at.index].watch);
    } else {
        listener_is_back(supervisor, &at, old_fd);
    }
}

int supervisor_watch_listeners(struct supervisor *supervisor, struct unit_socket *socket)
{
    for (size_t i = 0; i < socket->n_listeners; i++) {
        struct unit_listener *one = &socket->listeners[i];
        int r = one->watch != NULL ? 0
                                   : watch_new(supervisor->event, one->listener, on_listener_lost,
                                               supervisor, &one->watch);
        if (r < 0)
            return r;
    }
    return 0;
}
