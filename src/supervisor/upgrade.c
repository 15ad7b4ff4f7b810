/* SPDX-License-Identifier: MIT */
/*
 * An upgrade (SIGUSR2): the program that is installed now takes the place of this one, in this
 * process, so that it stays the parent of every handler.
 *
 *   NONE --> CHECKING   a child of the new image reads what it would be left, and the units
 *     CHECKING --good--> EMPTYING   the fork servers leave, reports go out, then execve(2)
 *     CHECKING --bad--> NONE        nothing has changed
 *
 * Descriptors of listeners, their locks and the slots stay open across the exec; connections wait
 * in the backlog meanwhile.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "supervisor/stored.h"
#include "supervisor/supervisor-state.h"

#define CHECK_USEC (10 * USEC_PER_SEC)
/* To fork servers that leave, and a manager that does not read, no more than that. */
#define EMPTY_USEC (3 * USEC_PER_SEC)
#define LOOK_USEC  (2 * USEC_PER_MSEC)

/* ---- What is left to the next image ---------------------------------------------------------- */

static size_t count_listeners(const struct supervisor *supervisor)
{
    size_t n = 0;

    for (uint32_t i = 0; i < supervisor->now.n_sockets; i++)
        n += supervisor->now.sockets[i]->n_listeners;
    return n;
}

static int describe_listeners(const struct supervisor *supervisor, struct succession *succession)
{
    succession->listeners = calloc(count_listeners(supervisor) + 1, sizeof(*succession->listeners));
    if (succession->listeners == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < supervisor->now.n_sockets; i++) {
        const struct unit_socket *socket = supervisor->now.sockets[i];

        for (size_t j = 0; j < socket->n_listeners; j++) {
            const struct listener *listener = socket->listeners[j].listener;

            if (listener == NULL)
                continue;
            struct succession_listener *one = &succession->listeners[succession->n_listeners++];
            one->socket = strdup(socket->name);
            one->address = strdup(listener_wanted(listener)->address);
            one->kind = (int)listener_wanted(listener)->kind;
            one->fd = listener_fd(listener);
            one->lock_fd = listener_lock_fd(listener);
            one->passed = listener_was_passed(listener);
            const char *stored = stored_list_find(supervisor->options.stored, one->fd);
            one->stored = stored != NULL ? strdup(stored) : NULL;
            if (one->socket == NULL || one->address == NULL ||
                (stored != NULL && one->stored == NULL))
                return -ENOMEM;
        }
    }
    return 0;
}

static int describe_units(const struct supervisor *supervisor, struct succession *succession)
{
    succession->units = calloc(supervisor->now.n_units + 1, sizeof(*succession->units));
    if (succession->units == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < supervisor->now.n_units; i++) {
        const struct unit *unit = supervisor->now.units[i];
        struct succession_unit *one = &succession->units[succession->n_units++];

        one->name = strdup(unit->name);
        one->accept = unit->config.accept;
        one->program = unit->service != NULL ? service_program(unit->service) : 0;
        one->done = unit->statistics.done;
        one->failed = unit->statistics.failed;
        if (one->name == NULL)
            return -ENOMEM;
    }
    return 0;
}

static void succession_cleanup(struct succession **succession)
{
    succession_free(*succession);
}

static int describe(const struct supervisor *supervisor, struct succession **ret_succession)
{
    cleanup(succession_cleanup) struct succession *succession = calloc(1, sizeof(*succession));

    if (succession == NULL)
        return -ENOMEM;
    succession->slots_fd = supervisor->slots->fd;
    succession->incarnations = server_pool_incarnations(supervisor->pool);
    succession->done = supervisor->report.done;
    succession->failed = supervisor->report.failed;
    succession->start_usec = supervisor->start_usec;
    succession->open_files = supervisor->open_files;
    succession->directory = strdup(supervisor->options.directory);
    int r = succession->directory != NULL ? describe_listeners(supervisor, succession) : -ENOMEM;
    if (r >= 0)
        r = describe_units(supervisor, succession);
    if (r >= 0)
        *ret_succession = take_pointer(&succession);
    return r;
}

/* The memfd stays open across the exec; its number is in the environment. */
static int announce(const char *prefix, int fd)
{
    char value[32];

    (void)snprintf(value, sizeof(value), "%s%d", prefix, fd);
    if (setenv(SUCCESSION_VARIABLE, value, 1) < 0)
        return -errno;
    return fd_set_close_on_exec(fd, false);
}

/* ---- The end of an attempt ------------------------------------------------------------------- */

static void end_attempt(struct supervisor *supervisor)
{
    struct upgrade *upgrade = &supervisor->upgrade;

    upgrade->child_source = sd_event_source_disable_unref(upgrade->child_source);
    upgrade->timer = sd_event_source_disable_unref(upgrade->timer);
    upgrade->child = 0;
    upgrade->state = UPGRADE_NONE;
    (void)unsetenv(SUCCESSION_VARIABLE);
}

static void refuse(struct supervisor *supervisor, const char *why)
{
    log_event(&(const struct log_event){.level = LOG_ERR, .id = MESSAGE_UPGRADE_REFUSED},
              "cannot upgrade: %s; this hark goes on", why);
    end_attempt(supervisor);
    notify_state(supervisor->notify, "READY=1");
    supervisor_end_reload(supervisor, false); /* one that was asked for meanwhile */
}

static void kill_child(const struct upgrade *upgrade)
{
    if (upgrade->child <= 0)
        return;
    (void)kill(upgrade->child, SIGKILL);
    (void)waitpid(upgrade->child, NULL, 0);
}

void supervisor_abort_upgrade(struct supervisor *supervisor)
{
    struct upgrade *upgrade = &supervisor->upgrade;

    upgrade->wanted = false;
    kill_child(upgrade);
    if (upgrade->state != UPGRADE_NONE)
        end_attempt(supervisor);
}

bool supervisor_upgrade_has_pid(const struct supervisor *supervisor, pid_t pid)
{
    return pid == supervisor->upgrade.child;
}

/* ---- Taking the place ------------------------------------------------------------------------ */

static void go_on_as_before(struct supervisor *supervisor, int error)
{
    char why[128];

    (void)snprintf(why, sizeof(why), "cannot execute the new program: %s", strerror(error));
    refuse(supervisor, why);
    supervisor->control = control_new(supervisor);
    int r = server_pool_start(supervisor->pool);
    if (r < 0)
        log_error("cannot start fork servers: %s; trying again", strerror(-r));
}

/* Returns only when it failed. */
static int execute(struct supervisor *supervisor)
{
    cleanup(succession_cleanup) struct succession *succession = NULL;
    cleanup_close int fd = -1;
    int r = describe(supervisor, &succession);

    if (r >= 0)
        r = succession_write(succession, &fd);
    if (r >= 0)
        r = announce("", fd);
    if (r < 0)
        return r;
    succession_keep_descriptors(succession, true);
    (void)execv(supervisor->options.program, supervisor->options.arguments);
    r = -errno;
    succession_keep_descriptors(succession, false);
    return r;
}

/* Nobody else uses the slots, nothing is left to be said or to be served from an old socket. */
static bool is_empty(struct supervisor *supervisor)
{
    if (!server_pool_is_empty(supervisor->pool) || waiting_has_half_made(supervisor->waiting))
        return false;
    if (monotonic_usec() > supervisor->upgrade.deadline_usec)
        return true;
    for (uint32_t i = 0; i < supervisor->now.n_sockets; i++)
        if (supervisor->now.sockets[i]->n_draining > 0)
            return false;
    return supervisor->gone == NULL && notify_is_idle(supervisor->notify);
}

static void look(struct supervisor *supervisor)
{
    if (supervisor->upgrade.state != UPGRADE_EMPTYING)
        return;
    waiting_look(supervisor->waiting);
    if (!is_empty(supervisor)) {
        (void)sd_event_source_set_time_relative(supervisor->upgrade.timer, LOOK_USEC);
        (void)sd_event_source_set_enabled(supervisor->upgrade.timer, SD_EVENT_ONESHOT);
        return;
    }
    supervisor->control = control_free(supervisor->control);
    go_on_as_before(supervisor, -execute(supervisor));
}

void supervisor_on_servers_of_upgrade(struct supervisor *supervisor)
{
    struct upgrade *upgrade = &supervisor->upgrade;

    /* By the timer, soon: this is called by a look that is under way. */
    if (upgrade->state == UPGRADE_EMPTYING)
        (void)sd_event_source_set_enabled(upgrade->timer, SD_EVENT_ONESHOT);
}

/* ---- The check ------------------------------------------------------------------------------- */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct supervisor *supervisor = userdata;

    (void)source;
    (void)usec;
    if (supervisor->upgrade.state == UPGRADE_CHECKING)
        (void)kill(supervisor->upgrade.child, SIGKILL); /* on_checked() does the rest */
    else
        look(supervisor);
    return 0;
}

static int on_checked(sd_event_source *source, const siginfo_t *info, void *userdata)
{
    struct supervisor *supervisor = userdata;
    struct upgrade *upgrade = &supervisor->upgrade;
    char why[128];

    (void)source;
    upgrade->child = 0;
    if (info->si_code != CLD_EXITED || info->si_status != 0) {
        if (info->si_code == CLD_EXITED)
            (void)snprintf(why, sizeof(why), "the new program says no, with status %d",
                           info->si_status);
        else
            (void)snprintf(why, sizeof(why), "the new program was killed by signal %d",
                           info->si_status);
        refuse(supervisor, why);
        return 0;
    }
    upgrade->child_source = sd_event_source_disable_unref(upgrade->child_source);
    upgrade->state = UPGRADE_EMPTYING;
    upgrade->deadline_usec = monotonic_usec() + EMPTY_USEC;
    server_pool_dismiss(supervisor->pool);
    look(supervisor);
    return 0;
}

static _Noreturn void check(const struct supervisor *supervisor, int fd)
{
    sigset_t none;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setrlimit(RLIMIT_NOFILE, &supervisor->open_files);
    if (announce("check:", fd) >= 0)
        (void)execv(supervisor->options.program, supervisor->options.arguments);
    log_error("cannot execute \"%s\": %s", supervisor->options.program, strerror(errno));
    _exit(EXIT_FAILURE);
}

static int start_check(struct supervisor *supervisor)
{
    cleanup(succession_cleanup) struct succession *succession = NULL;
    struct upgrade *upgrade = &supervisor->upgrade;
    cleanup_close int fd = -1;
    int r = describe(supervisor, &succession);

    if (r >= 0)
        r = succession_write(succession, &fd);
    if (r >= 0)
        r = sd_event_add_time_relative(supervisor->event, &upgrade->timer, CLOCK_MONOTONIC,
                                       CHECK_USEC, USEC_PER_MSEC, on_timer, supervisor);
    if (r < 0)
        return r;
    upgrade->child = fork();
    if (upgrade->child < 0) {
        upgrade->child = 0;
        return -errno;
    }
    if (upgrade->child == 0)
        check(supervisor, fd);
    return sd_event_add_child(supervisor->event, &upgrade->child_source, upgrade->child, WEXITED,
                              on_checked, supervisor);
}

void supervisor_upgrade(struct supervisor *supervisor)
{
    struct upgrade *upgrade = &supervisor->upgrade;

    if (supervisor->state >= SUPERVISOR_DRAINING || upgrade->state != UPGRADE_NONE)
        return;
    if (supervisor->state == SUPERVISOR_STARTING || supervisor->reload.state != RELOAD_NONE) {
        upgrade->wanted = true;
        return;
    }
    upgrade->wanted = false;
    upgrade->state = UPGRADE_CHECKING;
    supervisor_tell_reloading(supervisor);
    int r = start_check(supervisor);
    if (r >= 0)
        return;
    kill_child(upgrade);
    refuse(supervisor, strerror(-r));
}

/* ---- The other side -------------------------------------------------------------------------- */

int supervisor_take_succession(struct supervisor *supervisor)
{
    const struct succession *succession = supervisor->options.succession;
    int r = slots_attach(succession->slots_fd, &supervisor->slots);

    if (r >= 0)
        r = fd_set_close_on_exec(succession->slots_fd, true);
    if (r >= 0 && supervisor->slots->header->n_units != succession->n_units)
        r = -EINVAL;
    for (size_t i = 0; i < succession->n_units && r >= 0; i++) {
        const struct succession_unit *one = &succession->units[i];
        struct unit *unit;

        r = unit_new_leaving(one->name, one->accept, &unit);
        if (r < 0)
            break;
        r = serving_keep_unit(&supervisor->now, unit);
        if (r < 0) {
            unit_free(unit);
            break;
        }
        unit->is_leaving = false; /* it hands its numbers over */
        unit->statistics.done = one->done;
        unit->statistics.failed = one->failed;
    }
    supervisor->now.n_leaving = 0;
    supervisor->open_files = succession->open_files;
    supervisor->report.done = succession->done;
    supervisor->report.failed = succession->failed;
    supervisor->start_usec = succession->start_usec;
    log_event(&(const struct log_event){.level = LOG_NOTICE, .id = MESSAGE_UPGRADED},
              "hark %s has taken over from another", HARK_VERSION);
    return r;
}

void supervisor_resume_services(struct supervisor *supervisor)
{
    const struct succession *succession = supervisor->options.succession;

    for (uint32_t i = 0; succession != NULL && i < supervisor->now.n_units; i++) {
        struct unit *unit = supervisor->now.units[i];

        if (unit->service == NULL || slots_used(supervisor->slots, i) == 0)
            continue;
        for (size_t j = 0; j < succession->n_units; j++)
            if (!succession->units[j].accept && strcmp(succession->units[j].name, unit->name) == 0)
                service_resume(unit->service, succession->units[j].program);
    }
}
