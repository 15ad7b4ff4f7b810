/* SPDX-License-Identifier: MIT */
#include "supervisor/supervisor.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "basic/signals.h"
#include "supervisor/supervisor-state.h"

#define WATCHDOG_PER_PERIOD 3

static const int handled_signals[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2};

/* ---- Signals and limits of the process ---------------------------------------------------------
 */

int supervisor_block_signals(bool *ret_ignore_hangup)
{
    struct sigaction hangup;
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(handled_signals) / sizeof(handled_signals[0]); i++)
        sigaddset(&set, handled_signals[i]);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGPIPE); /* a closed standard error is no reason to die */
    if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
        return -errno;
    if (sigaction(SIGHUP, NULL, &hangup) < 0)
        return -errno;
    /* An ignored SIGCHLD would have the kernel throw every exit status away. */
    signals_set_default();
    *ret_ignore_hangup = hangup.sa_handler == SIG_IGN;
    return 0;
}

/* A pidfd per long-lived handler needs descriptors; the handlers get the old limit back. */
static void raise_open_files(struct supervisor *supervisor)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &supervisor->open_files) < 0)
        return;
    limit = supervisor->open_files;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- State for the manager ------------------------------------------------------------------- */

static void say_ready(struct supervisor *supervisor)
{
    for (uint32_t i = 0; i < supervisor->now.n_sockets; i++)
        for (size_t j = 0; j < supervisor->now.sockets[i]->n_listeners; j++)
            log_info("listening on \"%s\"",
                     listener_address(supervisor->now.sockets[i]->listeners[j].listener));
    notify_state(supervisor->notify, "READY=1");
    notify_store_later(supervisor->notify);
    supervisor_report_state(supervisor);
}

/* ---- Sockets, one after another, then the fork servers -----------------------------------------
 */

/* Ends with that status, unless there is one already. */
static void give_up(struct supervisor *supervisor, int exit_status)
{
    if (supervisor->exit_status == 0)
        supervisor->exit_status = exit_status;
    if (supervisor->state < SUPERVISOR_DRAINING)
        supervisor_stop(supervisor);
}

static void start_servers(struct supervisor *supervisor)
{
    int r = 0;

    for (uint32_t i = 0; i < supervisor->now.n_units && r >= 0; i++)
        r = supervisor_watch_traffic(supervisor->now.units[i]);
    for (uint32_t i = 0; i < supervisor->now.n_sockets && r >= 0; i++)
        r = supervisor_watch_listeners(supervisor, supervisor->now.sockets[i]);
    if (r >= 0)
        r = server_pool_start(supervisor->pool);
    if (r >= 0) { /* while they get ready */
        supervisor->control = control_new(supervisor);
        return;
    }
    log_error("cannot set up: %s", strerror(-r));
    give_up(supervisor, EXIT_FAILURE);
}

static void start_next_socket(struct supervisor *supervisor)
{
    if (supervisor->now.n_started == supervisor->now.n_sockets)
        start_servers(supervisor);
    else
        unit_socket_start(supervisor->now.sockets[supervisor->now.n_started++]);
}

static int exit_status_of(int error)
{
    switch (error) {
    case -EADDRINUSE:
        return SUPERVISOR_EXIT_DISPLACED;
    case -ECHILD:
        return SUPERVISOR_EXIT_COMMAND;
    default:
        return SUPERVISOR_EXIT_CANNOT_LISTEN;
    }
}

static void on_socket_changed(struct unit_socket *socket, void *userdata)
{
    struct supervisor *supervisor = userdata;

    if (socket->state == UNIT_SOCKET_STOPPED)
        notify_store_later(supervisor->notify);
    if (serving_find_socket(&supervisor->now, socket->name) != socket) {
        supervisor_on_socket_of_reload(supervisor, socket);
        return;
    }
    if (socket->error < 0)
        give_up(supervisor, exit_status_of(socket->error));
    if (supervisor->state == SUPERVISOR_STARTING && socket->state == UNIT_SOCKET_LISTENING)
        start_next_socket(supervisor);
    else
        supervisor_end_if_done(supervisor);
}

/* ---- What the parts tell --------------------------------------------------------------------- */

/* With --once: the program's status becomes ours. */
static void end_with_program(struct supervisor *supervisor, const struct handler_exit *end)
{
    supervisor->exit_status = end->code == CLD_EXITED ? end->status : 128 + end->status;
    supervisor_drain(supervisor);
}

/* By the limit per source, before it became a handler. */
static bool was_refused(const struct spawn_record *record)
{
    return atomic_load(&record->step) == SPAWN_ADMISSION &&
           atomic_load(&record->error) == ECONNREFUSED;
}

static void count_exit(struct supervisor *supervisor, struct unit *unit,
                       const struct spawn_record *record, const struct handler_exit *end,
                       bool failed)
{
    statistics_count(&unit->statistics, end->end_usec, report_run_time(record, end), failed);
    if (failed)
        memcpy(unit->statistics.last_failure, supervisor->report.last_failure,
               sizeof(unit->statistics.last_failure));
    control_tell_exit(supervisor->control, unit->name, record, end, failed);
}

static void on_exit_of_handler(void *userdata, uint32_t slot, const struct handler_exit *end)
{
    struct supervisor *supervisor = userdata;
    struct unit *unit = supervisor->now.units[slots_unit_of(supervisor->slots, slot)];
    struct spawn_record *record = &supervisor->slots->records[slot];
    bool ignore_failure = unit_ignores_failure(unit);

    if (was_refused(record)) {
        (void)slots_count_refused(supervisor->slots, unit->index);
        return;
    }
    /* Not numbered yet, and numbers are unique. */
    if (atomic_load(&record->step) == SPAWN_ACCEPT && report_was_handler(record, end))
        record->number = atomic_fetch_add(&supervisor->slots->units[unit->index].instance, 1);
    if (report_exit(&supervisor->report, unit->name, record, end, ignore_failure))
        count_exit(supervisor, unit, record, end, !ignore_failure && report_is_failure(end));
    if (unit->service == NULL)
        return;
    service_on_exit(unit->service, ignore_failure || (end->code == CLD_EXITED && end->status == 0));
    if (supervisor->options.once)
        end_with_program(supervisor, end);
}

static void on_room(void *userdata)
{
    struct supervisor *supervisor = userdata;

    server_pool_poke(supervisor->pool);
}

static void on_stuck(void *userdata, uint32_t slot)
{
    struct supervisor *supervisor = userdata;
    const struct spawn_record *record = &supervisor->slots->records[slot];

    if (!log_limit_pass(&supervisor->stuck, "killed handlers"))
        return;
    const char *step = spawn_step_name((enum spawn_step)record->step);
    char peer[PEER_TEXT_MAX];

    peer_format(&record->peer, peer);
    log_event(
        &(const struct log_event){
            .level = LOG_WARNING,
            .id = MESSAGE_HANDLER_STUCK,
            .unit = supervisor->now.units[slots_unit_of(supervisor->slots, slot)]->name,
            .handler = record->pid,
            .peer = peer,
            .step = step,
        },
        "killed handler with pid %d: it did not become its program within 1 s; "
        "its last step was: %s",
        record->pid, step);
}

static void on_stuck_server(void *userdata, pid_t pid, uint32_t unit)
{
    struct supervisor *supervisor = userdata;

    if (log_limit_pass(&supervisor->stuck, "stuck handlers"))
        log_event(&(const struct log_event){.level = LOG_WARNING,
                                            .id = MESSAGE_HANDLER_STUCK,
                                            .unit = supervisor->now.units[unit]->name,
                                            .server = pid},
                  "fork server (pid %d) is killed: it could not go on for 1 s because of a file "
                  "that \"%s\" asks for; its connections wait for a while",
                  pid, supervisor->now.units[unit]->name);
}

/* Fork servers, and commands of sockets. */
static bool is_waited_for(void *userdata, pid_t pid)
{
    const struct supervisor *supervisor = userdata;

    for (uint32_t i = 0; i < supervisor->now.n_sockets; i++)
        if (commands_pid(supervisor->now.sockets[i]->running) == pid)
            return true;
    return supervisor_reload_has_pid(supervisor, pid) ||
           supervisor_upgrade_has_pid(supervisor, pid) ||
           server_pool_has_pid(supervisor->pool, pid);
}

static void on_child_signal(void *userdata)
{
    server_pool_kill_stopped(((struct supervisor *)userdata)->pool);
}

static pid_t server_pid(void *userdata, uint32_t index)
{
    return server_pool_pid(((struct supervisor *)userdata)->pool, index);
}

/* Connections that were closed because of a limit since the last look. */
static void tell_refusals(struct supervisor *supervisor)
{
    for (uint32_t i = 0; i < supervisor->now.n_units; i++) {
        struct slots_unit *unit = &supervisor->slots->units[i];

        if (atomic_load(&unit->refused_news) == 0 || atomic_exchange(&unit->refused_news, 0) == 0)
            continue;
        if (log_limit_pass(&supervisor->refusals, "refusals"))
            log_event(&(const struct log_event){.level = LOG_WARNING,
                                                .id = MESSAGE_CONNECTIONS_REFUSED,
                                                .unit = supervisor->now.units[i]->name},
                      "\"%s\" is at a limit, or its conditions are not met: %" PRIu64
                      " connections were refused so far",
                      supervisor->now.units[i]->name, atomic_load(&unit->refused));
    }
}

static void on_looked(void *userdata)
{
    struct supervisor *supervisor = userdata;

    tell_refusals(supervisor);
    for (uint32_t i = 0; i < supervisor->now.n_units; i++)
        if (supervisor->now.units[i]->service != NULL)
            service_on_room(supervisor->now.units[i]->service);
    if (supervisor->state == SUPERVISOR_STOPPING)
        supervisor_signal_handlers(supervisor, SIGTERM);
    if (supervisor->state != SUPERVISOR_STARTING)
        supervisor_report_state(supervisor);
    supervisor_end_if_done(supervisor);
}

static void on_servers_ready(void *userdata)
{
    struct supervisor *supervisor = userdata;

    if (supervisor->state == SUPERVISOR_STARTING) {
        supervisor->state = SUPERVISOR_SERVING;
        say_ready(supervisor);
        supervisor_end_reload(supervisor, false);
    }
    supervisor_on_servers_of_reload(supervisor, true);
    if (supervisor->watchdog_owed) {
        supervisor->watchdog_owed = false;
        notify_state(supervisor->notify, "WATCHDOG=1");
    }
    for (uint32_t i = 0; i < supervisor->now.n_units; i++)
        if (supervisor->now.units[i]->service != NULL)
            service_on_servers(supervisor->now.units[i]->service);
}

static void on_server_death(void *userdata)
{
    struct supervisor *supervisor = userdata;

    waiting_look(supervisor->waiting); /* what it left behind */
    supervisor_on_servers_of_reload(supervisor, false);
    supervisor_on_servers_of_upgrade(supervisor);
    for (uint32_t i = 0; i < supervisor->now.n_units; i++)
        if (supervisor->now.units[i]->service != NULL)
            service_on_servers(supervisor->now.units[i]->service);
    supervisor_end_if_done(supervisor);
}

static void on_server_message(void *userdata, const struct server_message *message)
{
    struct supervisor *supervisor = userdata;

    if (message->unit >= supervisor->now.n_units)
        return;
    struct unit *unit = supervisor->now.units[message->unit];
    if (message->type == SERVER_MESSAGE_STARTED && unit->service != NULL)
        service_on_started(unit->service, message);
    else if (message->type == SERVER_MESSAGE_TROUBLE &&
             log_limit_pass(&supervisor->troubles, "troubles"))
        log_event(&(const struct log_event){.level = LOG_WARNING,
                                            .id = MESSAGE_RESOURCES_SHORT,
                                            .unit = unit->name,
                                            .error = message->error},
                  "cannot serve \"%s\" for a moment: cannot %s: %s", unit->name,
                  server_trouble_name(message->number), strerror(message->error));
    else if (message->type == SERVER_MESSAGE_LIMIT && log_limit_pass(&supervisor->pauses, "pauses"))
        log_event(&(const struct log_event){.level = LOG_WARNING,
                                            .id = MESSAGE_UNIT_PAUSED,
                                            .unit = unit->name},
                  "\"%s\" has reached its trigger or poll limit: pausing until its interval is "
                  "over",
                  unit->name);
}

static const struct fork_server_unit *units_for_server(void *userdata, size_t *ret_n)
{
    struct supervisor *supervisor = userdata;

    *ret_n = supervisor->now.n_units;
    return serving_for_fork_server(&supervisor->now);
}

/* From a terminal that was closed it means the end, from anybody else "read your units again". */
static void on_hangup(struct supervisor *supervisor, bool from_kernel)
{
    if (supervisor->options.ignore_hangup)
        return;
    if (supervisor->options.reload == NULL || from_kernel)
        supervisor_stop(supervisor);
    else
        supervisor_reload(supervisor);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    struct supervisor *supervisor = userdata;

    (void)source;
    switch ((int)info->ssi_signo) {
    case SIGQUIT:
        supervisor_drain(supervisor);
        break;
    case SIGUSR2:
        if (supervisor->options.program != NULL) {
            supervisor_upgrade(supervisor);
            break;
        }
        __attribute__((fallthrough));
    case SIGUSR1: /* the program's, when there is one */
        for (uint32_t i = 0; i < supervisor->slots->header->n_slots; i++)
            if (supervisor->now.units[slots_unit_of(supervisor->slots, i)]->service != NULL &&
                atomic_load(&supervisor->slots->records[i].pid) > 0)
                (void)kill(supervisor->slots->records[i].pid, (int)info->ssi_signo);
        break;
    case SIGHUP:
        on_hangup(supervisor, info->ssi_code == SI_KERNEL);
        break;
    default:
        supervisor_stop(supervisor);
    }
    return 0;
}

static int on_watchdog(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct supervisor *supervisor = userdata;

    (void)usec;
    if (server_pool_ping(supervisor->pool))
        notify_state(supervisor->notify, "WATCHDOG=1");
    else
        supervisor->watchdog_owed = true;
    (void)sd_event_source_set_time_relative(source, supervisor->watchdog_usec);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void supervisor_cleanup(struct supervisor **supervisor)
{
    supervisor_free(*supervisor);
}

int supervisor_new(const struct supervisor_options *options, struct supervisor **ret_supervisor)
{
    cleanup(supervisor_cleanup) struct supervisor *supervisor = calloc(1, sizeof(*supervisor));

    if (supervisor == NULL)
        return -ENOMEM;
    supervisor->options = *options;
    supervisor->start_usec = monotonic_usec();
    supervisor->troubles =
        (struct log_limit){.interval_usec = 5 * USEC_PER_SEC, .burst = 5, .level = LOG_WARNING};
    supervisor->refusals = supervisor->stuck = supervisor->pauses = supervisor->troubles;
    int r = processors_read(&supervisor->processors);
    if (r < 0)
        return r;
    if (supervisor->options.n_servers == 0)
        supervisor->options.n_servers = processors_count_servers(&supervisor->processors);
    r = sd_event_new(&supervisor->event);
    if (r < 0)
        return r;
    r = notify_new(supervisor->event, &supervisor->notify);
    if (r == -EINVAL) { /* a manager of a kind we do not know is no reason not to serve */
        log_warning("cannot notify \"%s\": not a Unix socket's address", getenv("NOTIFY_SOCKET"));
        (void)unsetenv("NOTIFY_SOCKET");
        r = notify_new(supervisor->event, &supervisor->notify);
    }
    if (r < 0)
        return r;
    report_init(&supervisor->report, supervisor->notify);
    supervisor->report.to_manager = options->to_manager;
    supervisor->report.to_log = options->to_log;
    *ret_supervisor = take_pointer(&supervisor);
    return 0;
}

int supervisor_add_socket(struct supervisor *supervisor, const struct supervisor_socket *config)
{
    struct unit_socket *socket;
    int r = serving_add_socket(&supervisor->next, config, &socket);

    if (r < 0)
        return r;
    socket->event = supervisor->event;
    socket->open_files = &supervisor->open_files;
    socket->changed = on_socket_changed;
    socket->userdata = supervisor;
    return 0;
}

int supervisor_add_unit(struct supervisor *supervisor, const struct supervisor_unit *config)
{
    return serving_add_unit(&supervisor->next, config);
}

void supervisor_own(struct supervisor *supervisor, void *owner)
{
    supervisor->next.owner = owner;
}

bool supervisor_serves(const struct supervisor *supervisor, const char *socket)
{
    return serving_find_socket(&supervisor->now, socket) != NULL;
}

/* Sockets, units, and at last what they pointed to. */
static void free_serving(struct supervisor *supervisor, struct serving *serving)
{
    void *owner = serving->owner;

    serving_done(serving);
    if (owner != NULL)
        supervisor->options.release(supervisor->options.userdata, owner);
}

struct supervisor *supervisor_free(struct supervisor *supervisor)
{
    if (supervisor == NULL)
        return NULL;
    control_free(supervisor->control);
    log_tap_end();
    log_tap_done(&supervisor->reload.tap);
    sd_event_source_disable_unref(supervisor->watchdog_timer);
    sd_event_source_disable_unref(supervisor->stop_timer);
    sd_event_source_disable_unref(supervisor->extend_timer);
    sd_event_source_disable_unref(supervisor->goodbye_timer);
    sd_event_source_disable_unref(supervisor->backlog_timer);
    server_pool_free(supervisor->pool);
    waiting_free(supervisor->waiting);
    sd_event_source_disable_unref(supervisor->reload.waiter);
    sd_event_source_disable_unref(supervisor->reload.sweeper);
    free_serving(supervisor, &supervisor->now);
    free_serving(supervisor, &supervisor->next);
    while (supervisor->gone != NULL) {
        struct serving *gone = supervisor->gone;

        supervisor->gone = gone->next;
        free_serving(supervisor, gone);
        free(gone);
    }
    slots_free(supervisor->slots);
    notify_free(supervisor->notify);
    sd_event_unref(supervisor->event);
    free(supervisor->told);
    free(supervisor);
    return NULL;
}

static int make_slots(struct supervisor *supervisor)
{
    int r;

    if (supervisor->options.succession != NULL) {
        r = supervisor_take_succession(supervisor);
    } else {
        supervisor->now = supervisor->next;
        supervisor->next = (struct serving){0};
        r = supervisor_divide_slots(supervisor, &supervisor->now, NULL, &supervisor->slots);
    }
    if (r < 0)
        return r;
    supervisor->told = calloc(supervisor->slots->header->n_slots, sizeof(*supervisor->told));
    return supervisor->told == NULL ? -ENOMEM : 0;
}

static int make_waiting_and_pool(struct supervisor *supervisor)
{
    const struct waiting_callbacks waiting = {
        .on_exit = on_exit_of_handler,
        .on_room = on_room,
        .on_stuck = on_stuck,
        .on_stuck_server = on_stuck_server,
        .on_looked = on_looked,
        .on_child_signal = on_child_signal,
        .is_waited_for = is_waited_for,
        .server_pid = server_pid,
        .userdata = supervisor,
    };
    const struct server_pool_callbacks pool = {
        .on_ready = on_servers_ready,
        .on_message = on_server_message,
        .on_death = on_server_death,
        .units = units_for_server,
        .userdata = supervisor,
    };
    const struct succession *succession = supervisor->options.succession;
    int r = waiting_new(supervisor->event, supervisor->slots, &waiting, &supervisor->waiting);

    if (r < 0)
        return r;
    const struct server_pool_options options = {
        .n_servers = supervisor->options.n_servers,
        .processors = &supervisor->processors,
        .open_files = &supervisor->open_files,
        .wake_fd = waiting_wake_fd(supervisor->waiting),
        .incarnations = succession != NULL ? succession->incarnations : 0,
    };
    return server_pool_new(supervisor->event, supervisor->slots, &options, &pool,
                           &supervisor->pool);
}

static int add_signals_and_watchdog(struct supervisor *supervisor)
{
    uint64_t period;

    for (size_t i = 0; i < sizeof(handled_signals) / sizeof(handled_signals[0]); i++) {
        int r =
            sd_event_add_signal(supervisor->event, NULL, handled_signals[i], on_signal, supervisor);
        if (r < 0)
            return r;
    }
    if (sd_watchdog_enabled(0, &period) <= 0)
        return 0;
    supervisor->watchdog_usec = period / WATCHDOG_PER_PERIOD;
    return sd_event_add_time_relative(supervisor->event, &supervisor->watchdog_timer,
                                      CLOCK_MONOTONIC, supervisor->watchdog_usec, 0, on_watchdog,
                                      supervisor);
}

static int set_up(struct supervisor *supervisor)
{
    raise_open_files(supervisor);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1); /* what handlers leave behind comes to us */
    int r = make_slots(supervisor);
    if (r >= 0)
        r = make_waiting_and_pool(supervisor);
    if (r >= 0 && supervisor->options.succession != NULL)
        r = supervisor_succeed(supervisor);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < supervisor->now.n_units; i++) {
        r = supervisor_prepare_service(supervisor, supervisor->now.units[i]);
        if (r < 0)
            return r;
    }
    supervisor_resume_services(supervisor);
    r = add_signals_and_watchdog(supervisor);
    if (r < 0)
        return r;
    supervisor_store_listeners(supervisor);
    start_next_socket(supervisor);
    return 0;
}

/* What no later line has said. */
static void tell_suppressed(struct supervisor *supervisor)
{
    log_limit_tell(&supervisor->report.failures, "failures");
    log_limit_tell(&supervisor->report.exits, "exits");
    log_limit_tell(&supervisor->troubles, "troubles");
    log_limit_tell(&supervisor->stuck, "killed handlers");
    log_limit_tell(&supervisor->pauses, "pauses");
    log_limit_tell(&supervisor->refusals, "refusals");
}

int supervisor_run(struct supervisor *supervisor)
{
    int r = set_up(supervisor);

    if (r < 0) {
        log_error("cannot set up: %s", strerror(-r));
        return r;
    }
    supervisor->options.succession = NULL;
    r = sd_event_loop(supervisor->event);
    if (r < 0)
        log_error("cannot wait for events: %s", strerror(-r));
    tell_suppressed(supervisor);
    if (notify_lost(supervisor->notify) > 0)
        log_warning("%" PRIu64 " exit reports were left out: the service manager did not read",
                    notify_lost(supervisor->notify));
    return r;
}
