/* SPDX-License-Identifier: MIT */
#include "supervisor/unit-socket.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/parse.h"
#include "supervisor/log.h"
#include "supervisor/supervisor.h"

#define LISTEN_TIMEOUT_MS 1000

/* ---- Life ------------------------------------------------------------------------------------ */

static void unit_socket_cleanup(struct unit_socket **socket)
{
    unit_socket_free(*socket);
}

int unit_socket_new(const struct supervisor_socket *config, struct unit_socket **ret_socket)
{
    cleanup(unit_socket_cleanup) struct unit_socket *socket = calloc(1, sizeof(*socket));

    if (socket == NULL)
        return -ENOMEM;
    socket->unit = config->unit;
    socket->is_up = config->is_up;
    socket->owner = config->owner;
    socket->group = config->group;
    for (size_t i = 0; i < SOCKET_N_COMMANDS; i++) {
        socket->commands[i] = config->commands[i];
        socket->n_commands[i] = config->n_commands[i];
    }
    socket->name = strdup(config->name);
    socket->listeners = calloc(config->n_listeners + 1, sizeof(*socket->listeners));
    socket->fds = calloc(config->n_listeners + 1, sizeof(*socket->fds));
    if (socket->name == NULL || socket->listeners == NULL || socket->fds == NULL)
        return -ENOMEM;
    for (size_t i = 0; config->listeners != NULL && i < config->n_listeners; i++)
        socket->listeners[i].listener = config->listeners[i];
    socket->n_listeners = config->n_listeners;
    *ret_socket = take_pointer(&socket);
    return 0;
}

static void close_listeners(struct unit_socket *socket)
{
    for (size_t i = 0; i < socket->n_listeners; i++) {
        struct unit_listener *one = &socket->listeners[i];

        one->watch = watch_free(one->watch);
        one->listener = listener_free(one->listener);
        free(one->options);
        one->options = NULL;
        one->n_options = 0;
    }
    if (socket->has_links)
        symlinks_remove(socket->unit);
    socket->has_links = false;
    for (size_t i = 0; i < socket->n_draining; i++)
        fd_close(socket->draining[i].fd);
    socket->n_draining = 0;
}

struct unit_socket *unit_socket_free(struct unit_socket *socket)
{
    if (socket == NULL)
        return NULL;
    commands_free(socket->running);
    close_listeners(socket);
    free(socket->listeners);
    free(socket->fds);
    free(socket->name);
    free(socket);
    return NULL;
}

/* ---- Listening ------------------------------------------------------------------------------- */

static void say_problems(const struct problems *problems)
{
    for (size_t i = 0; i < problems->n; i++)
        log_warning("%s:%u: %s", problems->list[i].file, problems->list[i].line,
                    problems->list[i].text);
}

bool unit_socket_is_heir(const struct unit_socket *socket)
{
    for (size_t i = 0; i < socket->n_listeners; i++)
        if (socket->listeners[i].heir_of != NULL)
            return true;
    return false;
}

static int make_listener(struct unit_socket *socket, size_t index)
{
    cleanup(problems_done) struct problems problems = {0};
    const struct listener_request request = {
        .unit = socket->unit,
        .index = index,
        .owner = socket->owner,
        .group = socket->group,
        /* Nothing goes away by itself at a reload, and those that are served must not wait. */
        .timeout_ms = socket->is_next ? 0 : LISTEN_TIMEOUT_MS,
        .problems = &problems,
    };
    char text[512];
    int r = listener_new(&request, &socket->listeners[index].listener);

    say_problems(&problems);
    if (r < 0) {
        listener_explain(&request, r, text, sizeof(text));
        log_error("%s:%u: %s", socket->unit->listeners.items[index].file,
                  socket->unit->listeners.items[index].line, text);
    }
    return r;
}

static void make_links(struct unit_socket *socket)
{
    cleanup(problems_done) struct problems problems = {0};

    symlinks_make(socket->unit, &problems);
    socket->has_links = true;
    say_problems(&problems);
}

static int listen_on_all(struct unit_socket *socket)
{
    int r = 0;

    for (size_t i = 0; i < socket->n_listeners && r >= 0; i++) {
        struct unit_listener *one = &socket->listeners[i];
        const struct unit_listener *here = one->heir_of != NULL ? one->heir_of : one;

        if (here->listener == NULL) {
            r = make_listener(socket, i);
            socket->made = true;
        }
        if (r >= 0 && socket->unit != NULL)
            r = listener_connection_options(socket->unit, listener_family(here->listener),
                                            &one->options, &one->n_options);
    }
    /* Links to a passed one are the passer's. */
    if (r >= 0 && (socket->made || socket->is_up) && !socket->is_next)
        make_links(socket);
    return r;
}

size_t unit_socket_list(const struct unit_socket *socket, bool with_draining,
                        struct fork_server_listener *list)
{
    size_t n = 0;

    for (size_t i = 0; i < socket->n_listeners; i++) {
        const struct unit_listener *one = &socket->listeners[i];

        if (one->listener == NULL)
            continue;
        list[n++] = (struct fork_server_listener){
            .fd = listener_fd(one->listener),
            .is_shared = listener_was_passed(one->listener),
            .options = one->options,
            .n_options = one->n_options,
        };
    }
    for (size_t i = 0; with_draining && i < socket->n_draining; i++) {
        const struct unit_listener *one = &socket->listeners[socket->draining[i].listener];

        list[n++] = (struct fork_server_listener){
            .fd = socket->draining[i].fd, .options = one->options, .n_options = one->n_options};
    }
    return n;
}

/* ---- Handing over at a reload ---------------------------------------------------------------- */

void unit_socket_forget_heirs(struct unit_socket *before)
{
    for (size_t i = 0; i < before->n_listeners; i++)
        before->listeners[i].is_promised = false;
}

/* The same FIFO, queue or netlink group may be listened to twice, in one unit or in two. */
void unit_socket_inherit(struct unit_socket *heir, struct unit_socket *before)
{
    for (size_t i = 0; i < heir->n_listeners; i++) {
        const struct listener_request request = {.unit = heir->unit, .index = i};

        for (size_t j = 0; heir->listeners[i].heir_of == NULL && j < before->n_listeners; j++)
            if (before->listeners[j].listener != NULL && !before->listeners[j].is_promised &&
                listener_is_same(before->listeners[j].listener, &request)) {
                heir->listeners[i].heir_of = &before->listeners[j];
                before->listeners[j].is_promised = true;
            }
    }
}

bool unit_socket_can_take_over(const struct unit_socket *heir)
{
    for (size_t i = 0; i < heir->n_listeners; i++)
        if (heir->listeners[i].heir_of != NULL && heir->listeners[i].heir_of->listener == NULL)
            return false;
    return true;
}

/* Old sockets of a listener go where it goes. */
static void take_over_draining(struct unit_socket *heir, size_t index, struct unit_socket *before)
{
    size_t kept = 0, n = before->n_draining;

    for (size_t i = 0; i < n; i++) {
        if (heir->listeners[index].heir_of == &before->listeners[before->draining[i].listener])
            unit_socket_drain(heir, index, before->draining[i].fd);
        else
            before->draining[kept++] = before->draining[i];
    }
    before->n_draining = kept;
}

void unit_socket_take_over(struct unit_socket *heir, struct unit_socket *before)
{
    for (size_t i = 0; i < heir->n_listeners; i++)
        take_over_draining(heir, i, before);
    for (size_t i = 0; i < heir->n_listeners; i++) {
        struct unit_listener *one = &heir->listeners[i];
        const struct listener_request request = {.unit = heir->unit, .index = i};

        if (one->heir_of == NULL || one->heir_of < before->listeners ||
            one->heir_of >= before->listeners + before->n_listeners)
            continue;
        heir->took_over = true;
        if (before->has_links && strcmp(before->name, heir->name) != 0) {
            symlinks_remove(before->unit); /* before the heir makes its own to the same node */
            before->has_links = false;
        }
        one->listener = take_pointer(&one->heir_of->listener);
        one->watch = take_pointer(&one->heir_of->watch);
        one->heir_of = NULL;
        listener_continue(one->listener, &request);
    }
}

/* Commands and links of one that is passed are the passer's business. */
static void settle(struct unit_socket *heir)
{
    for (size_t i = 0; i < heir->n_listeners; i++)
        if (!listener_was_passed(heir->listeners[i].listener))
            return;
    memset(heir->n_commands, 0, sizeof(heir->n_commands));
}

void unit_socket_serve(struct unit_socket *socket)
{
    socket->is_next = false;
    settle(socket);
    if (!socket->goes_on && (socket->made || socket->took_over))
        make_links(socket);
}

void unit_socket_continue(struct unit_socket *before, struct unit_socket *heir)
{
    before->continues = heir->took_over;
    if (!before->has_links || !heir->took_over)
        return;
    before->has_links = false;
    if (symlinks_are_same(before->unit, heir->unit)) {
        heir->has_links = true;
    } else {
        symlinks_remove(before->unit);
        make_links(heir);
    }
}

void unit_socket_drain(struct unit_socket *socket, size_t listener, int fd)
{
    if (socket->n_draining == DRAINING_MAX) {
        fd_close(fd);
        return;
    }
    socket->draining[socket->n_draining].fd = fd;
    socket->draining[socket->n_draining++].listener = listener;
}

bool unit_socket_close_drained(struct unit_socket *socket)
{
    size_t kept = 0, n = socket->n_draining;

    for (size_t i = 0; i < n; i++) {
        struct pollfd ready = {.fd = socket->draining[i].fd, .events = POLLIN};

        if (poll(&ready, 1, 0) > 0)
            socket->draining[kept++] = socket->draining[i];
        else
            fd_close(socket->draining[i].fd);
    }
    socket->n_draining = kept;
    return kept < n;
}

/* ---- From state to state --------------------------------------------------------------------- */

static void enter(struct unit_socket *socket, enum unit_socket_state state);

static void after_commands(void *userdata, bool failed)
{
    struct unit_socket *socket = userdata;

    socket->running = commands_free(socket->running);
    if (failed && socket->error == 0 && socket->state != UNIT_SOCKET_INTERRUPTED)
        socket->error = -ECHILD;
    switch (socket->state) {
    case UNIT_SOCKET_START_PRE:
        if (failed) {
            enter(socket, UNIT_SOCKET_STOPPED);
            break;
        }
        socket->error = listen_on_all(socket);
        enter(socket, socket->error < 0 ? UNIT_SOCKET_STOP_PRE : UNIT_SOCKET_START_POST);
        break;
    case UNIT_SOCKET_START_POST:
        enter(socket, failed ? UNIT_SOCKET_STOP_PRE : UNIT_SOCKET_LISTENING);
        break;
    case UNIT_SOCKET_INTERRUPTED:
    case UNIT_SOCKET_STOP_PRE:
        close_listeners(socket);
        enter(socket, UNIT_SOCKET_STOP_POST);
        break;
    default:
        enter(socket, UNIT_SOCKET_STOPPED);
    }
}

/* Which commands belong to a state, and whether they may be given the sockets. */
static const struct {
    const char *key;
    enum socket_commands commands;
    bool may_have_sockets;
} steps[] = {
    [UNIT_SOCKET_START_PRE] = {"ExecStartPre", SOCKET_START_PRE, false},
    [UNIT_SOCKET_START_POST] = {"ExecStartPost", SOCKET_START_POST, true},
    [UNIT_SOCKET_STOP_PRE] = {"ExecStopPre", SOCKET_STOP_PRE, true},
    [UNIT_SOCKET_STOP_POST] = {"ExecStopPost", SOCKET_STOP_POST, false}, /* they are closed */
};

static size_t collect_descriptors(struct unit_socket *socket)
{
    size_t n = 0;

    for (size_t i = 0; i < socket->n_listeners; i++) {
        const struct unit_listener *one = &socket->listeners[i];
        const struct unit_listener *here = one->heir_of != NULL ? one->heir_of : one;

        if (here->listener != NULL)
            socket->fds[n++] = listener_fd(here->listener);
    }
    return n;
}

static void run_commands(struct unit_socket *socket)
{
    enum socket_commands which = steps[socket->state].commands;
    bool with_sockets = steps[socket->state].may_have_sockets && socket->unit != NULL &&
                        socket->unit->pass_descriptors_to_exec;
    const struct commands_request request = {
        .unit = socket->name,
        .key = steps[socket->state].key,
        .list = socket->commands[which],
        .n = socket->n_commands[which],
        .timeout_usec = socket->unit != NULL ? socket->unit->timeout : TIME_INFINITY,
        .fds = socket->fds,
        .n_fds = with_sockets ? collect_descriptors(socket) : 0,
        .open_files = socket->open_files,
        .done = after_commands,
        .userdata = socket,
    };

    if (request.n == 0)
        after_commands(socket, false);
    else if (commands_run(socket->event, &request, &socket->running) < 0)
        after_commands(socket, true);
}

static void forget_watches(struct unit_socket *socket)
{
    for (size_t i = 0; i < socket->n_listeners; i++)
        socket->listeners[i].watch = watch_free(socket->listeners[i].watch);
}

static void enter(struct unit_socket *socket, enum unit_socket_state state)
{
    socket->state = state;
    if (state == UNIT_SOCKET_STOPPED)
        close_listeners(socket);
    if (state == UNIT_SOCKET_STOP_PRE) /* what becomes of the names now is not ours to mend */
        forget_watches(socket);
    if (state == UNIT_SOCKET_LISTENING || state == UNIT_SOCKET_STOPPED)
        socket->changed(socket, socket->userdata);
    else
        run_commands(socket);
}

/* One that inherits is up already: no commands, only what it listens on besides. */
static void start_heir(struct unit_socket *socket)
{
    socket->error = listen_on_all(socket);
    enter(socket, socket->error < 0 ? UNIT_SOCKET_STOPPED : UNIT_SOCKET_LISTENING);
}

void unit_socket_start(struct unit_socket *socket)
{
    if (socket->goes_on || socket->is_up)
        start_heir(socket);
    else
        enter(socket, UNIT_SOCKET_START_PRE);
}

void unit_socket_stop(struct unit_socket *socket)
{
    switch (socket->state) {
    case UNIT_SOCKET_DEAD:
        enter(socket, UNIT_SOCKET_STOPPED);
        break;
    case UNIT_SOCKET_START_PRE:
    case UNIT_SOCKET_START_POST:
        socket->state = UNIT_SOCKET_INTERRUPTED;
        commands_stop(socket->running);
        break;
    case UNIT_SOCKET_LISTENING: /* the unit of an heir that did not come to serve stays up */
        enter(socket, (socket->is_next && socket->goes_on) || socket->continues
                          ? UNIT_SOCKET_STOPPED
                          : UNIT_SOCKET_STOP_PRE);
        break;
    default:
        break; /* on its way */
    }
}
