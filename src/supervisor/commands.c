/* SPDX-License-Identifier: MIT */
#include "supervisor/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "basic/parse.h"
#include "supervisor/log.h"
#include "supervisor/report.h"

#define FIRST_FD 3

struct commands {
    sd_event *event;
    struct commands_request request;
    size_t next; /* to be run */
    pid_t pid;
    bool terminated, timed_out, stopped;
    sd_event_source *child, *timer;
};

static void run_next(struct commands *commands);

pid_t commands_pid(const struct commands *commands)
{
    return commands != NULL ? commands->pid : 0;
}

/* A command leads its own process group. */
static void signal_command(const struct commands *commands, int signal_number)
{
    if (kill(-commands->pid, signal_number) < 0)
        (void)kill(commands->pid, signal_number);
}

void commands_kill(const struct commands *commands)
{
    if (commands != NULL && commands->pid > 0)
        signal_command(commands, SIGKILL);
}

struct commands *commands_free(struct commands *commands)
{
    if (commands == NULL)
        return NULL;
    sd_event_source_disable_unref(commands->child);
    sd_event_source_disable_unref(commands->timer);
    commands_kill(commands);
    sd_event_unref(commands->event);
    free(commands);
    return NULL;
}

static void finish(struct commands *commands, bool failed)
{
    commands->request.done(commands->request.userdata, failed);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct commands *commands = userdata;

    (void)usec;
    if (!commands->timed_out && !commands->stopped)
        log_warning("%s of \"%s\" (pid %d) did not end in time, stopping it", commands->request.key,
                    commands->request.unit, commands->pid);
    commands->timed_out = true;
    signal_command(commands, commands->terminated ? SIGKILL : SIGTERM);
    commands->terminated = true;
    (void)sd_event_source_set_time_relative(source, commands->request.timeout_usec);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int on_exit_of_command(sd_event_source *source, const siginfo_t *info, void *userdata)
{
    struct commands *commands = userdata;
    const struct plan_source *command = &commands->request.list[commands->next - 1];
    const struct handler_exit end = {
        .pid = info->si_pid, .code = info->si_code, .status = info->si_status};
    char text[64];

    (void)source;
    commands->child = sd_event_source_disable_unref(commands->child);
    commands->timer = sd_event_source_disable_unref(commands->timer);
    commands->pid = 0;
    /* Of a command, as systemd has it, no signal is a clean end. */
    if (commands->stopped) {
        finish(commands, true);
        return 0;
    }
    if (end.code != CLD_EXITED || end.status != 0 || commands->timed_out) {
        report_describe_end(&end, text, sizeof(text));
        log_warning("%s of \"%s\" (pid %d) %s%s", commands->request.key, commands->request.unit,
                    info->si_pid, text, command->ignore_failure ? ", which does not matter" : "");
        if (!command->ignore_failure) {
            finish(commands, true);
            return 0;
        }
    }
    run_next(commands);
    return 0;
}

void commands_stop(struct commands *commands)
{
    commands->stopped = true;
    signal_command(commands, SIGTERM);
    commands->terminated = true;
    if (commands->timer != NULL)
        (void)sd_event_source_set_time_relative(commands->timer, commands->request.timeout_usec);
}

/* ---- Starting one ---------------------------------------------------------------------------- */

/* The descriptors out of the way of the numbers that they are handed over as. */
struct copies {
    int *fds;
    size_t n;
};

static void copies_done(struct copies *copies)
{
    for (size_t i = 0; i < copies->n; i++)
        fd_close(copies->fds[i]);
    free(copies->fds);
}

static int copy_descriptors(const struct commands_request *request, struct copies *copies)
{
    copies->fds = calloc(request->n_fds + 1, sizeof(*copies->fds));
    if (copies->fds == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < request->n_fds; i++) {
        copies->fds[i] = fcntl(request->fds[i], F_DUPFD_CLOEXEC, FIRST_FD + (int)request->n_fds);
        if (copies->fds[i] < 0)
            return -errno;
        copies->n++;
    }
    return 0;
}

/* The plan's limits, and that of descriptors as hark was given it: the supervisor has raised its
 * own. */
static struct spawn_limit *add_open_files(const struct commands_request *request,
                                          struct spawn_plan *plan)
{
    struct spawn_limit *limits = calloc(plan->n_limits + 1, sizeof(*limits));

    if (limits == NULL)
        return NULL;
    limits[0] = (struct spawn_limit){.resource = RLIMIT_NOFILE, .value = *request->open_files};
    if (plan->n_limits > 0) /* later ones win */
        memcpy(limits + 1, plan->limits, plan->n_limits * sizeof(*limits));
    plan->limits = limits;
    plan->n_limits++;
    return limits;
}

static void free_prepared(struct prepared_plan **prepared)
{
    spawn_plan_free(*prepared);
}

static void free_spawner(struct spawner **spawner)
{
    spawner_free(*spawner);
}

/* The pid, or a negative errno. */
static pid_t spawn(const struct spawn_plan *plan)
{
    cleanup(free_prepared) struct prepared_plan *prepared = NULL;
    cleanup(free_spawner) struct spawner *spawner = NULL;
    struct spawn_record record = {0};
    sigset_t all, before;
    int r = spawn_plan_prepare(plan, &prepared);

    if (r >= 0)
        r = spawner_new(&spawner);
    if (r < 0)
        return r;
    sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = spawn_run(spawner, prepared, &record);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}

static pid_t start(struct commands *commands, const struct plan_source *command)
{
    const struct commands_request *request = &commands->request;
    cleanup(copies_done) struct copies copies = {0};
    struct spawn_plan plan = {.listener = -1};
    int r = copy_descriptors(request, &copies);

    if (r >= 0)
        r = command->build(command->userdata, &plan);
    if (r < 0)
        return r;
    plan.flags |= SPAWN_OWN_MEMORY | SPAWN_DEATH_SIGNAL_TERM;
    plan.fds = copies.fds;
    plan.n_fds = copies.n;
    cleanup_free struct spawn_limit *limits = add_open_files(request, &plan);
    return limits != NULL ? spawn(&plan) : -ENOMEM;
}

static int watch_command(struct commands *commands)
{
    int r = sd_event_add_child(commands->event, &commands->child, commands->pid, WEXITED,
                               on_exit_of_command, commands);

    commands->terminated = commands->timed_out = false;
    if (r < 0 || commands->request.timeout_usec == TIME_INFINITY)
        return r;
    return sd_event_add_time_relative(commands->event, &commands->timer, CLOCK_MONOTONIC,
                                      commands->request.timeout_usec, 0, on_timeout, commands);
}

static void run_next(struct commands *commands)
{
    while (commands->next < commands->request.n) {
        const struct plan_source *command = &commands->request.list[commands->next++];
        pid_t pid = start(commands, command);
        int r = pid < 0 ? pid : 0;

        if (r >= 0) {
            commands->pid = pid;
            log_debug("%s of \"%s\" runs (pid %d)", commands->request.key, commands->request.unit,
                      pid);
            r = watch_command(commands);
            if (r >= 0)
                return;
            signal_command(commands, SIGKILL);
            commands->pid = 0;
        }
        const char *fault =
            pid < 0 && command->fault != NULL ? command->fault(command->userdata) : NULL;
        log_error("cannot run %s of \"%s\": %s", commands->request.key, commands->request.unit,
                  fault != NULL ? fault : strerror(-r));
        if (!command->ignore_failure) {
            finish(commands, true);
            return;
        }
    }
    finish(commands, false);
}

int commands_run(sd_event *event, const struct commands_request *request,
                 struct commands **ret_commands)
{
    struct commands *commands = calloc(1, sizeof(*commands));

    if (commands == NULL)
        return -ENOMEM;
    *commands = (struct commands){.event = sd_event_ref(event), .request = *request};
    *ret_commands = commands; /* first: done() may want to free it */
    run_next(commands);
    return 0;
}
