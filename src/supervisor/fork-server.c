/* SPDX-License-Identifier: MIT */
#include "supervisor/fork-server.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "basic/signals.h"
#include "supervisor/fork-server-state.h"
#include "supervisor/server-processor.h"
#include "supervisor/time-slice.h"

/* epoll data: an endpoint's number, or one of these. */
#define EVENT_CONTROL UINT32_MAX
#define EVENT_POKE    (UINT32_MAX - 1)

/* ---- Setting up ------------------------------------------------------------------------------ */

static void on_alarm(int signal_number)
{
    (void)signal_number;
}

/* What the program of a handler must not inherit goes here once, not in each child. Blocked instead
 * of ignored: an ignored signal would stay ignored over exec, and a terminal or a cgroup sends
 * TERM, INT, HUP and QUIT to everyone; when this process ends is the supervisor's decision. */
static int reset_signals(void)
{
    sigset_t all;

    sigfillset(&all);
    if (sigprocmask(SIG_SETMASK, &all, NULL) < 0)
        return -errno;
    signals_set_default();
    /* For an accept(2) that would wait. */
    if (sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_alarm}, NULL) < 0)
        return -errno;
    return spawn_install_interrupt();
}

static int close_inherited(const struct fork_server_setup *setup)
{
    size_t n = 0, n_listeners = 0;

    for (size_t i = 0; i < setup->n_units; i++)
        n_listeners += setup->units[i].n_listeners;
    cleanup_free int *keep = calloc(n_listeners + 3, sizeof(*keep));
    if (keep == NULL)
        return -ENOMEM;
    keep[n++] = setup->control_fd;
    keep[n++] = setup->wake_fd;
    keep[n++] = setup->poke_fd;
    for (size_t i = 0; i < setup->n_units; i++)
        for (size_t j = 0; j < setup->units[i].n_listeners; j++)
            keep[n++] = setup->units[i].listeners[j].fd;
    return fd_close_all_from(STDERR_FILENO + 1, keep, n);
}

static int prepare_endpoints(struct fork_server *server)
{
    const struct fork_server_setup *setup = server->setup;
    int r = endpoints_new(setup, &server->endpoints, &server->n_endpoints);

    if (r < 0)
        return r;
    server->hints = calloc(setup->n_units, sizeof(*server->hints));
    if (server->hints == NULL)
        return -ENOMEM;
    /* Servers start their searches apart, so that they rarely want the same slot. */
    for (uint32_t i = 0; i < setup->n_units; i++)
        server->hints[i] =
            (uint32_t)((uint64_t)setup->slots->units[i].n * setup->index / setup->n_servers);
    return 0;
}

static _Noreturn void leave(struct fork_server *server)
{
    fork_server_stop_watching_all(server);
    fork_server_poke_all(server);
    _exit(0);
}

static void start_program(struct fork_server *server, const struct server_message *request)
{
    struct server_message answer = {
        .type = SERVER_MESSAGE_STARTED, .unit = request->unit, .number = request->number};
    int r = -ENOENT;

    for (size_t i = 0; i < server->n_endpoints; i++) {
        struct endpoint *endpoint = &server->endpoints[i];

        if (endpoint->unit == request->unit && !endpoint->accept &&
            endpoint->program == request->slot)
            r = fork_server_start(server, endpoint, &answer.slot);
    }
    answer.error = -r;
    (void)server_message_send(server->setup->control_fd, &answer);
}

/* ---- The loop ----------------------------------------------------------------------------------
 */

static void handle_control(struct fork_server *server)
{
    struct server_message message;
    int r = server_message_receive(server->setup->control_fd, &message);

    if (r == 0)
        _exit(0); /* the supervisor is gone, and with it everyone who could be poked */
    if (r < 0)
        return;
    switch (message.type) {
    case SERVER_MESSAGE_LEAVE:
        leave(server);
    case SERVER_MESSAGE_PING:
        message.type = SERVER_MESSAGE_PONG;
        (void)server_message_send(server->setup->control_fd, &message);
        break;
    case SERVER_MESSAGE_START:
        start_program(server, &message);
        break;
    default:
        break;
    }
}

static _Noreturn void loop(struct fork_server *server)
{
    for (;;) {
        struct epoll_event events[16];
        int timeout = fork_server_end_pauses(server);
        int n = epoll_wait(server->epoll_fd, events, 16, timeout);

        for (int i = 0; i < n; i++) {
            uint32_t number = events[i].data.u32;

            if (number == EVENT_CONTROL)
                handle_control(server);
            else if (number == EVENT_POKE)
                fork_server_on_poke(server);
            else if (server->endpoints[number].watched)
                fork_server_serve(server, &server->endpoints[number]);
        }
    }
}

static int set_up(struct fork_server *server)
{
    const struct fork_server_setup *setup = server->setup;
    int r = reset_signals();

    if (r < 0)
        return r;
    r = close_inherited(setup);
    if (r < 0)
        return r;
    /* The control socket's end would do, but not while a child keeps this process waiting. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != setup->supervisor)
        return -ESRCH;
    (void)prctl(PR_SET_NAME, "hark-server");
    (void)setrlimit(RLIMIT_NOFILE, setup->open_files);
    if (setup->cpu >= 0)
        server_processor_pin(setup->cpu);
    (void)time_slice_shorten();
    r = spawner_new(&server->spawner);
    if (r < 0)
        return r;
    r = prepare_endpoints(server);
    if (r < 0)
        return r;
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll_fd < 0)
        return -errno;
    r = fork_server_watch(server, setup->control_fd, EPOLLIN, EVENT_CONTROL);
    if (r < 0)
        return r;
    return fork_server_watch(server, setup->poke_fd, EPOLLIN | EPOLLET, EVENT_POKE);
}

_Noreturn void fork_server_run(const struct fork_server_setup *setup)
{
    struct fork_server server = {
        .setup = setup,
        .epoll_fd = -1,
        .faults = {.interval_usec = 5 * USEC_PER_SEC, .burst = 1, .level = LOG_ERR},
    };
    struct server_message message = {.type = SERVER_MESSAGE_READY};
    int r = set_up(&server);

    if (r < 0) {
        message = (struct server_message){
            .type = SERVER_MESSAGE_TROUBLE, .error = -r, .number = SERVER_TROUBLE_SET_UP};
        (void)server_message_send(setup->control_fd, &message);
        _exit(1);
    }
    fork_server_watch_all(&server);
    (void)server_message_send(setup->control_fd, &message);
    loop(&server);
}
