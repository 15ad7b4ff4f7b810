/* SPDX-License-Identifier: MIT */
/* The ways to end: draining (handlers finish) and stopping (handlers are told to end). */
#include <signal.h>

#include "basic/clock.h"
#include "basic/parse.h"
#include "supervisor/supervisor-state.h"

#define GOODBYE_USEC (1 * USEC_PER_SEC) /* for a manager that does not read */
#define EXTEND_USEC  (5 * USEC_PER_SEC) /* while draining: ask for … */
#define EXTEND_STATE "EXTEND_TIMEOUT_USEC=15000000"

static void signal_handler_group(pid_t pid, int signal_number)
{
    /* A handler leads its own process group, unless it has not come that far. */
    if (kill(-pid, signal_number) < 0)
        (void)kill(pid, signal_number);
}

/* Every handler gets its SIGTERM once, whenever it is found. */
void supervisor_signal_handlers(struct supervisor *supervisor, int signal_number)
{
    const struct slots *slots = supervisor->slots;

    for (uint32_t i = 0; i < slots->header->n_slots; i++) {
        uint64_t key = atomic_load(&slots->owners[i]);
        pid_t pid = atomic_load(&slots->records[i].pid);

        if (key == 0 || pid <= 0)
            continue;
        if (signal_number == SIGTERM && supervisor->told[i] == key)
            continue;
        supervisor->told[i] = key;
        signal_handler_group(pid, signal_number);
        if (signal_number == SIGTERM)
            signal_handler_group(pid, SIGCONT);
    }
}

/* It is our child and not waited for yet, so the pid is nobody else's. */
bool supervisor_signal_handler(const struct supervisor *supervisor, int64_t pid, int signal_number)
{
    const struct slots *slots = supervisor->slots;

    for (uint32_t i = 0; i < slots->header->n_slots; i++)
        if (pid > 0 && atomic_load(&slots->records[i].pid) == pid) {
            signal_handler_group((pid_t)pid, signal_number);
            return true;
        }
    return false;
}

static int on_goodbye(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct supervisor *supervisor = userdata;

    (void)source;
    (void)usec;
    return sd_event_exit(supervisor->event, supervisor->exit_status);
}

/* Ends the loop when nobody is left and everything is told, or nobody wants to hear it. */
void supervisor_end_if_done(struct supervisor *supervisor)
{
    if (supervisor->state < SUPERVISOR_DRAINING || !server_pool_is_empty(supervisor->pool) ||
        supervisor_count_running(supervisor) > 0 || !supervisor_sockets_are_stopped(supervisor))
        return;
    supervisor->stop_timer = sd_event_source_disable_unref(supervisor->stop_timer);
    supervisor_report_state(supervisor);
    if (notify_is_idle(supervisor->notify)) {
        (void)sd_event_exit(supervisor->event, supervisor->exit_status);
        return;
    }
    if (supervisor->goodbye_timer == NULL)
        (void)sd_event_add_time_relative(supervisor->event, &supervisor->goodbye_timer,
                                         CLOCK_MONOTONIC, GOODBYE_USEC, 0, on_goodbye, supervisor);
}

static void on_all_told(void *userdata)
{
    supervisor_end_if_done(userdata);
}

static int on_extend(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct supervisor *supervisor = userdata;

    (void)usec;
    if (supervisor->state != SUPERVISOR_DRAINING)
        return 0;
    notify_state(supervisor->notify, EXTEND_STATE);
    (void)sd_event_source_set_time_relative(source, EXTEND_USEC);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* No new connections: who waits for our lock may have the names now. The state is changed first:
 * sockets that cannot be stopped as they should ask for a stop themselves. */
static void stop_accepting(struct supervisor *supervisor, enum supervisor_state state)
{
    bool is_first = supervisor->state < SUPERVISOR_DRAINING;

    supervisor->state = state;
    if (!is_first)
        return;
    supervisor_abort_reload(supervisor);
    supervisor_abort_upgrade(supervisor);
    notify_state(supervisor->notify, "STOPPING=1");
    notify_hurry(supervisor->notify, on_all_told, supervisor);
    for (uint32_t i = 0; i < supervisor->now.n_units; i++)
        if (supervisor->now.units[i]->service != NULL)
            service_stop(supervisor->now.units[i]->service);
    server_pool_dismiss(supervisor->pool);
    for (uint32_t i = 0; i < supervisor->now.n_sockets; i++)
        unit_socket_stop(supervisor->now.sockets[i]);
    supervisor->watchdog_timer = sd_event_source_disable_unref(supervisor->watchdog_timer);
    supervisor->backlog_timer = sd_event_source_disable_unref(supervisor->backlog_timer);
}

void supervisor_drain(struct supervisor *supervisor)
{
    if (supervisor->state >= SUPERVISOR_DRAINING)
        return;
    stop_accepting(supervisor, SUPERVISOR_DRAINING);
    (void)sd_event_add_time_relative(supervisor->event, &supervisor->extend_timer, CLOCK_MONOTONIC,
                                     0, 0, on_extend, supervisor);
    supervisor_report_state(supervisor);
    supervisor_end_if_done(supervisor);
}

/* Handlers, and the commands that are on their way. */
static void kill_all(struct supervisor *supervisor)
{
    supervisor_signal_handlers(supervisor, SIGKILL);
    for (uint32_t i = 0; i < supervisor->now.n_sockets; i++)
        commands_kill(supervisor->now.sockets[i]->running);
    for (const struct serving *gone = supervisor->gone; gone != NULL; gone = gone->next)
        for (uint32_t i = 0; i < gone->n_sockets; i++)
            commands_kill(gone->sockets[i]->running);
}

static int on_stop_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct supervisor *supervisor = userdata;

    (void)source;
    (void)usec;
    if (supervisor_count_running(supervisor) > 0)
        log_warning("%u handlers did not end in time, killing them",
                    supervisor_count_running(supervisor));
    kill_all(supervisor);
    return 0;
}

void supervisor_stop(struct supervisor *supervisor)
{
    if (supervisor->state == SUPERVISOR_STOPPING) { /* asked again: now */
        kill_all(supervisor);
        return;
    }
    stop_accepting(supervisor, SUPERVISOR_STOPPING);
    supervisor_signal_handlers(supervisor, SIGTERM);
    if (supervisor->options.stop_timeout_usec != TIME_INFINITY)
        (void)sd_event_add_time_relative(supervisor->event, &supervisor->stop_timer,
                                         CLOCK_MONOTONIC, supervisor->options.stop_timeout_usec, 0,
                                         on_stop_timeout, supervisor);
    supervisor_report_state(supervisor);
    supervisor_end_if_done(supervisor);
}
