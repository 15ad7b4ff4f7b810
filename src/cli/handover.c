/* SPDX-License-Identifier: MIT */
#include "cli/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "cli/drop-in-file.h"
#include "cli/exit-status.h"
#include "cli/safe-text.h"
#include "supervisor/log.h"
#include "unit/unit-name.h"

#define START_TIMEOUT   (30 * USEC_PER_SEC)
#define STOP_TIMEOUT    (30 * USEC_PER_SEC)
#define HEAL_TIMEOUT    (200 * USEC_PER_MSEC)
#define LOCK_TIMEOUT_MS 60000

/* A number that nobody else's descriptor has: a process that comes to the same pid has no such one.
 */
#define GUARD_FD_MIN 777

#define GUARD                                                                                      \
    "# Written by \"hark release\", which keeps hark from starting while it runs.\n"               \
    "[Unit]\nConditionPathExists=!/proc/%d/fd/%d\n\n"                                              \
    "[Service]\nKillSignal=SIGKILL\nSuccessExitStatus=SIGKILL\nLogLevelMax=warning\n"

static int out_of_memory(void)
{
    log_error("out of memory");
    return EXIT_STATUS_FAILURE;
}

static int fault(const struct handover *handover, const char *what)
{
    log_error("%s \"%s\": %s", what, handover->socket, systemd_manager_fault(handover->manager));
    return EXIT_STATUS_FAILURE;
}

/* ---- Opening --------------------------------------------------------------------------------- */

static int connect_manager(bool user, struct handover *handover)
{
    int r = systemd_manager_new(user, &handover->manager);

    if (r == -ENOMEM)
        return out_of_memory();
    if (r == -EHOSTDOWN && user)
        log_error("cannot reach the user's service manager: is XDG_RUNTIME_DIR set, and does "
                  "\"systemctl --user\" work?");
    else if (r == -EHOSTDOWN)
        log_error("cannot reach systemd: it does not run here as the first process, or this user "
                  "may not talk to it; \"hark run\" serves units without it");
    else if (r < 0)
        log_error("cannot talk to systemd: %s", strerror(-r));
    return r < 0 ? EXIT_STATUS_FAILURE : EXIT_STATUS_OK;
}

/* The name that the unit has at systemd. */
static int find_socket(struct handover *handover, const char *name)
{
    cleanup_free char *shown = safe_text(name, 60), *full = NULL, *state = NULL;
    enum unit_name_kind kind;

    if (shown == NULL || asprintf(&full, "%s%s", name, unit_name_type(name) ? "" : ".socket") < 0)
        return out_of_memory();
    kind = unit_name_classify(full);
    if (kind == UNIT_NAME_INVALID || kind == UNIT_NAME_TEMPLATE ||
        strcmp(unit_name_type(full), "socket") != 0) {
        log_error("\"%s\" is not the name of a socket unit that systemd could have", shown);
        return EXIT_STATUS_USAGE;
    }
    int r = systemd_manager_text(handover->manager, full, "Unit", "Id", &handover->socket);
    if (r >= 0)
        r = systemd_manager_text(handover->manager, full, "Unit", "LoadState", &state);
    if (r < 0) {
        log_error("cannot ask systemd for \"%s\": %s", full,
                  systemd_manager_fault(handover->manager));
        return EXIT_STATUS_FAILURE;
    }
    if (strcmp(state, "loaded") == 0)
        return EXIT_STATUS_OK;
    log_error("systemd has not loaded \"%s\": its state is \"%s\"; \"systemctl status\" tells more",
              full, state);
    return EXIT_STATUS_UNITS;
}

static int unit_directory(bool user, bool runtime, char **ret_directory)
{
    const char *base = getenv(runtime ? "XDG_RUNTIME_DIR" : "XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    int r;

    if (!user)
        r = asprintf(ret_directory, "%s/systemd/system", runtime ? "/run" : "/etc");
    else if (base != NULL && *base == '/')
        r = asprintf(ret_directory, "%s/systemd/user", base);
    else if (!runtime && home != NULL && *home == '/')
        r = asprintf(ret_directory, "%s/.config/systemd/user", home);
    else
        return -ENXIO;
    return r < 0 ? -ENOMEM : 0;
}

/* Where it is, or else where it would be put. */
static int find_drop_in(struct handover *handover, bool runtime)
{
    for (int i = 0; i < 2; i++) {
        cleanup_free char *directory = NULL, *path = NULL;
        bool wanted = runtime == (i == 1);
        int r = unit_directory(handover->user, i == 1, &directory);
        if (r == 0 && asprintf(&path, "%s/%s.d/hark.conf", directory, handover->socket) < 0)
            r = -ENOMEM;
        if (r == -ENOMEM)
            return r;
        if (r < 0 || (!wanted && access(path, F_OK) < 0))
            continue;
        if (handover->drop_in == NULL || access(path, F_OK) >= 0) {
            free(handover->drop_in);
            handover->drop_in = take_pointer(&path);
        }
    }
    return handover->drop_in != NULL ? 0 : -ENXIO;
}

static int name_hark(const struct handover *handover, bool sandboxed, char **ret_name)
{
    cleanup_free char *instance = NULL;
    int r = unit_name_without_type(handover->socket, &instance);

    return r < 0 ? r
                 : unit_name_build(sandboxed ? "hark-sandboxed" : "hark", instance, "service",
                                   ret_name);
}

/* The one that has it, or, if none has, the one that is wanted. */
static int find_hark(struct handover *handover, bool sandboxed)
{
    cleanup(string_list_done) struct string_list triggers = {0};
    cleanup_free char *text = NULL, *plain = NULL, *confined = NULL;
    int r =
        systemd_manager_list(handover->manager, handover->socket, "Unit", "Triggers", &triggers);

    if (r >= 0)
        r = name_hark(handover, false, &plain);
    if (r >= 0)
        r = name_hark(handover, true, &confined);
    if (r < 0)
        return r;
    (void)drop_in_read(handover->drop_in, &text);
    if (string_list_contains(&triggers, plain) || string_list_contains(&triggers, confined))
        sandboxed = string_list_contains(&triggers, confined);
    else if (text != NULL)
        sandboxed = strstr(text, confined) != NULL;
    handover->hark = take_pointer(sandboxed ? &confined : &plain);
    return 0;
}

static int find_guard(struct handover *handover)
{
    cleanup_free char *directory = NULL;
    int r = unit_directory(handover->user, true, &directory);

    if (r < 0)
        return r;
    return asprintf(&handover->guard, "%s/%s.d/hark-release.conf", directory, handover->hark) < 0
               ? -ENOMEM
               : 0;
}

int handover_open(const struct handover_options *options, const char *name,
                  struct handover *ret_handover)
{
    int r, status;

    *ret_handover = (struct handover){.user = options->user, .guard_fd = -1};
    status = connect_manager(options->user, ret_handover);
    if (status == EXIT_STATUS_OK)
        status = find_socket(ret_handover, name);
    if (status != EXIT_STATUS_OK)
        return status;
    r = find_drop_in(ret_handover, options->runtime);
    if (r >= 0)
        r = find_hark(ret_handover, options->sandboxed);
    if (r >= 0)
        r = find_guard(ret_handover);
    if (r == -ENXIO)
        log_error("cannot tell where the units of this user are: HOME and XDG_RUNTIME_DIR are not "
                  "set");
    else if (r == -ENAMETOOLONG)
        log_error("the name \"%s\" is too long to be an instance of hark@.service",
                  ret_handover->socket);
    else if (r < 0)
        return fault(ret_handover, "cannot find out about");
    return r < 0 ? EXIT_STATUS_FAILURE : EXIT_STATUS_OK;
}

void handover_done(struct handover *handover)
{
    systemd_manager_free(handover->manager);
    free(handover->socket);
    free(handover->hark);
    free(handover->drop_in);
    free(handover->guard);
    hark_lockfile_free(handover->lock);
    fd_close(handover->guard_fd);
}

int handover_lock(struct handover *handover)
{
    cleanup_free char *directory = NULL, *path = NULL;
    int r = unit_directory(handover->user, true, &directory);

    /* A name that no systemd reads. */
    if (r >= 0 && asprintf(&path, "%s/hark-%s", directory, handover->socket) < 0)
        r = -ENOMEM;
    if (r >= 0 && mkdir(directory, 0755) < 0 && errno != EEXIST)
        r = -errno;
    if (r >= 0)
        r = hark_lockfile_hold(path, LOCK_TIMEOUT_MS, HARK_LOCKFILE_IDENTIFY, &handover->lock);
    if (r >= 0) {
        handover->guard_fd = fcntl(hark_lockfile_fd(handover->lock), F_DUPFD_CLOEXEC, GUARD_FD_MIN);
        if (handover->guard_fd < 0) /* a low limit */
            handover->guard_fd = fcntl(hark_lockfile_fd(handover->lock), F_DUPFD_CLOEXEC, 0);
        r = handover->guard_fd < 0 ? -errno : 0;
    }
    if (r == -EBUSY)
        log_error("another \"hark adopt\" or \"hark release\" is busy with \"%s\"",
                  handover->socket);
    else if (r < 0)
        log_error("cannot lock \"%s\": %s", path != NULL ? path : "", strerror(-r));
    return r < 0 ? EXIT_STATUS_FAILURE : EXIT_STATUS_OK;
}

/* ---- Looking --------------------------------------------------------------------------------- */

static bool is_running(const char *state)
{
    return strcmp(state, "inactive") != 0 && strcmp(state, "failed") != 0;
}

static int look(const struct handover *handover, struct handover_state *ret_state)
{
    cleanup(string_list_done) struct string_list triggers = {0};
    cleanup_free char *active = NULL, *sub = NULL, *hark = NULL;
    struct systemd_manager *manager = handover->manager;
    const char *socket = handover->socket;
    struct handover_state state = {0};
    int r = systemd_manager_flag(manager, socket, "Socket", "Accept", &state.accept);

    if (r >= 0)
        r = systemd_manager_flag(manager, socket, "Unit", "NeedDaemonReload", &state.needs_reload);
    if (r >= 0)
        r = systemd_manager_text(manager, socket, "Unit", "ActiveState", &active);
    if (r >= 0)
        r = systemd_manager_text(manager, socket, "Unit", "SubState", &sub);
    if (r >= 0)
        r = systemd_manager_list(manager, socket, "Unit", "Triggers", &triggers);
    if (r >= 0)
        r = systemd_manager_text(manager, handover->hark, "Unit", "ActiveState", &hark);
    if (r < 0)
        return r;
    state.is_harks = !state.accept && string_list_contains(&triggers, handover->hark);
    state.is_listening = strcmp(sub, "listening") == 0;
    state.is_running = strcmp(sub, "running") == 0;
    state.is_active = is_running(active);
    state.hark_is_active = is_running(hark);
    *ret_state = state;
    return 0;
}

int handover_look(const struct handover *handover, struct handover_state *ret_state)
{
    return look(handover, ret_state) < 0 ? fault(handover, "cannot find out the state of")
                                         : EXIT_STATUS_OK;
}

/* ---- Over ------------------------------------------------------------------------------------ */

/* A half-way state is not for Ctrl-C. */
static void hold_signals(sigset_t *ret_before)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGQUIT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, ret_before);
}

static int write_file(const char *path, const char *text)
{
    int r = drop_in_write(path, text);

    if (r < 0)
        log_error("cannot write \"%s\": %s", path,
                  r == -EBUSY ? "somebody else is writing it" : strerror(-r));
    return r;
}

static int remove_file(const char *path)
{
    int r = drop_in_remove(path);

    if (r < 0)
        log_error("cannot remove \"%s\": %s", path, strerror(-r));
    return r;
}

/* Starts hark and waits until it serves: 1, or 0 if it does not. */
static int start_hark(const struct handover *handover)
{
    cleanup_free char *state = NULL;
    struct systemd_manager *manager = handover->manager;
    int r = systemd_manager_job(manager, "StartUnit", handover->hark);

    if (r >= 0)
        r = systemd_manager_wait(manager, handover->hark, "SubState",
                                 "running|reload|reload-notify|auto-restart|"
                                 "auto-restart-queued|failed",
                                 START_TIMEOUT);
    if (r > 0)
        r = systemd_manager_text(manager, handover->hark, "Unit", "ActiveState", &state);
    if (r < 0)
        return r;
    return state != NULL && (strcmp(state, "active") == 0 || strcmp(state, "reloading") == 0);
}

/* The drop-in is there, but systemd has not taken it, or not all of it. */
static void undo_give(const struct handover *handover)
{
    if (remove_file(handover->drop_in) >= 0 && systemd_manager_reload(handover->manager) < 0)
        (void)fault(handover, "cannot make systemd read the units again, without the drop-in, for");
    else
        log_notice("\"%s\" is as it was", handover->socket);
}

static int give(struct handover *handover, const char *text)
{
    struct handover_state state;

    if (write_file(handover->drop_in, text) < 0)
        return EXIT_STATUS_FAILURE;
    if (systemd_manager_reload(handover->manager) < 0 || look(handover, &state) < 0) {
        (void)fault(handover, "cannot make systemd read the units again, for");
        undo_give(handover);
        return EXIT_STATUS_FAILURE;
    }
    if (!state.is_harks) {
        log_error("systemd does not give \"%s\" to \"%s\": another drop-in says otherwise; see "
                  "\"systemctl cat %s\"",
                  handover->socket, handover->hark, handover->socket);
        undo_give(handover);
        return EXIT_STATUS_FAILURE;
    }
    if (!state.is_active)
        return EXIT_STATUS_OK;
    int r = start_hark(handover);
    if (r > 0)
        return EXIT_STATUS_OK;
    if (r < 0)
        (void)fault(handover, "cannot start hark for");
    else
        log_error("\"%s\" does not start; \"journalctl -u %s\" says why", handover->hark,
                  handover->hark);
    if (handover_take_back(handover, text, START_TIMEOUT) == EXIT_STATUS_OK)
        log_notice("\"%s\" is as it was", handover->socket);
    return EXIT_STATUS_FAILURE;
}

int handover_give(struct handover *handover, const char *text)
{
    sigset_t before;

    hold_signals(&before);
    /* What a release that was killed has left. */
    int status = drop_in_remove(handover->guard) < 0 ? EXIT_STATUS_FAILURE : give(handover, text);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}

/* ---- Back ------------------------------------------------------------------------------------ */

static int reload_and_look(const struct handover *handover, struct handover_state *ret_state)
{
    int r = systemd_manager_reload(handover->manager);

    return r < 0 ? r : look(handover, ret_state);
}

/* A socket without Accept= whose service is to be started by what is waiting: that can be done. */
static bool start_own_service(const struct handover *handover)
{
    cleanup(string_list_done) struct string_list triggers = {0};
    struct systemd_manager *manager = handover->manager;
    int r = systemd_manager_list(manager, handover->socket, "Unit", "Triggers", &triggers);

    if (r < 0 || triggers.n != 1 ||
        systemd_manager_job(manager, "StartUnit", triggers.items[0]) < 0)
        return false;
    return systemd_manager_wait(manager, triggers.items[0], "ActiveState",
                                "active|activating|reloading", HEAL_TIMEOUT) > 0;
}

/* 1: systemd has the socket, and listens; 0: a client was faster, and all is as it was. */
static int try_back(const struct handover *handover, const char *text)
{
    struct handover_state state = {0};
    int r = remove_file(handover->drop_in);

    if (r < 0)
        return r;
    r = reload_and_look(handover, &state);
    if (r >= 0 && !state.is_harks &&
        (state.is_listening || !state.is_active || (!state.accept && start_own_service(handover))))
        return 1;
    int error = r;
    r = write_file(handover->drop_in, text);
    if (r >= 0)
        r = systemd_manager_reload(handover->manager);
    /* Kept down by the guard, it makes systemd look after the socket again. */
    if (r >= 0)
        r = systemd_manager_job(handover->manager, "StartUnit", handover->hark);
    if (r >= 0)
        r = systemd_manager_wait(handover->manager, handover->socket, "SubState", "listening",
                                 HEAL_TIMEOUT);
    return error < 0 ? error : r < 0 ? r : 0;
}

/* Ends hark, but none of its handlers, and keeps it down. */
static int stop_hark(const struct handover *handover)
{
    cleanup_free char *text = NULL;

    if (asprintf(&text, GUARD, getpid(), handover->guard_fd) < 0)
        return -ENOMEM;
    int r = write_file(handover->guard, text);
    if (r >= 0)
        r = systemd_manager_reload(handover->manager);
    if (r >= 0)
        r = systemd_manager_job(handover->manager, "StopUnit", handover->hark);
    if (r < 0)
        return r;
    r = systemd_manager_wait(handover->manager, handover->hark, "ActiveState", "inactive|failed",
                             STOP_TIMEOUT);
    return r > 0 ? 0 : r < 0 ? r : -ETIMEDOUT;
}

/* 1, 0: it is hark's still, or a negative errno. */
static int take_back(const struct handover *handover, const char *text, uint64_t timeout_usec)
{
    uint64_t end = monotonic_usec() + timeout_usec;
    int r = stop_hark(handover);

    while (r == 0 && (r = try_back(handover, text)) == 0)
        if (monotonic_usec() >= end)
            break;
    if (remove_file(handover->guard) < 0 || systemd_manager_reload(handover->manager) < 0)
        (void)fault(handover, "cannot make systemd read the units again, for");
    return r;
}

int handover_take_back(struct handover *handover, const char *text, uint64_t timeout_usec)
{
    struct handover_state state;
    sigset_t before;

    hold_signals(&before);
    int r = take_back(handover, text, timeout_usec);
    int status = r > 0    ? EXIT_STATUS_OK
                 : r == 0 ? EXIT_STATUS_TOO_BUSY
                          : fault(handover, "cannot take back");
    if (r <= 0 && look(handover, &state) >= 0 && state.is_active && start_hark(handover) <= 0)
        log_error("\"%s\" does not start again; \"hark release --now %s\" gives the socket to "
                  "systemd all the same",
                  handover->hark, handover->socket);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}

int handover_take_back_now(struct handover *handover)
{
    struct handover_state state = {0};
    sigset_t before;

    hold_signals(&before);
    int r = stop_hark(handover);
    if (r >= 0)
        r = remove_file(handover->drop_in);
    if (r >= 0)
        r = reload_and_look(handover, &state);
    if (r >= 0 && state.is_active && !state.is_listening) {
        r = systemd_manager_job(handover->manager, "RestartUnit", handover->socket);
        if (r >= 0)
            r = systemd_manager_wait(handover->manager, handover->socket, "SubState",
                                     "listening|failed", STOP_TIMEOUT);
    }
    if (remove_file(handover->guard) >= 0 && r >= 0)
        r = reload_and_look(handover, &state);
    int status = r < 0 ? fault(handover, "cannot take back") : EXIT_STATUS_OK;
    if (r >= 0 && state.is_harks) {
        log_error("systemd still gives \"%s\" to \"%s\": another drop-in says so; see \"systemctl "
                  "cat %s\"",
                  handover->socket, handover->hark, handover->socket);
        status = EXIT_STATUS_FAILURE;
    }
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}
