/* SPDX-License-Identifier: MIT */
#include "supervisor/fork-server.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "basic/signals.h"
#include "libhark/spawn-admission.h"
#include "supervisor/endpoint.h"
#include "supervisor/log.h"
#include "supervisor/server-message.h"

/* How long to stop accepting when descriptors, memory or processes ran out; a poke ends it early.
 */
#define BACK_OFF_MSEC 100

/* A poke does not end it before: siblings that all fail would poke each other without an end. */
#define BACK_OFF_LEAST_USEC (10 * USEC_PER_MSEC)

/* A client can know of the end of a handler, by its connection, before the supervisor does, which
 * frees the slot: so long a connection waits for one before it is refused. */
#define GRACE_USEC     (15 * USEC_PER_MSEC)
#define ROOM_LOOKS_MAX 256 /* slots: a look costs some system calls */
#define REFUSE_MAX     256 /* connections in a row */

/* After so long a connection that was to be refused is gone: somebody else took it. */
#define ALARM_USEC (5 * USEC_PER_MSEC)

/* epoll data: an endpoint's number, or one of these. */
#define EVENT_CONTROL UINT32_MAX
#define EVENT_POKE    (UINT32_MAX - 1)

struct fork_server {
    const struct fork_server_setup *setup;
    struct spawner *spawner;
    struct endpoint *endpoints;
    size_t n_endpoints;
    uint32_t *hints; /* per unit: where to look for a free slot first */
    uint64_t sequence;
    int epoll_fd;
    bool backing_off;
    uint64_t backed_off_usec;
    struct log_limit faults;
};

static void poke(int event_fd)
{
    uint64_t one = 1;

    (void)!write(event_fd, &one, sizeof(one));
}

static void poke_siblings(const struct fork_server *server)
{
    for (uint32_t i = 0; i < server->setup->n_servers; i++)
        if (i != server->setup->index)
            poke(server->setup->poke_fds[i]);
}

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
    cleanup_free int *keep = calloc(setup->n_servers + n_listeners + 2, sizeof(*keep));
    if (keep == NULL)
        return -ENOMEM;
    keep[n++] = setup->control_fd;
    keep[n++] = setup->wake_fd;
    for (uint32_t i = 0; i < setup->n_servers; i++)
        keep[n++] = setup->poke_fds[i];
    for (size_t i = 0; i < setup->n_units; i++)
        for (size_t j = 0; j < setup->units[i].n_listeners; j++)
            keep[n++] = setup->units[i].listeners[j].fd;
    return fd_close_all_from(STDERR_FILENO + 1, keep, n);
}

static void pin(int cpu)
{
    cpu_set_t set;

    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    /* The CPU may have been taken from us (cpuset, hotplug): run anywhere then. */
    (void)sched_setaffinity(0, sizeof(set), &set);
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
    /* Whoever cannot be prepared now is tried again when there is something to do for it. */
    for (size_t i = 0; i < server->n_endpoints; i++)
        (void)endpoint_prepare(&server->endpoints[i], setup);
    return 0;
}

static int watch(struct fork_server *server, int fd, uint32_t events, uint32_t number)
{
    struct epoll_event event = {.events = events, .data.u32 = number};

    return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* ---- Starting and stopping to accept -----------------------------------------------------------
 */

static void stop_watching(struct fork_server *server, struct endpoint *endpoint)
{
    if (endpoint->watched) /* never by close(): events go on while a sibling has the file */
        (void)epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, endpoint->fd, NULL);
    endpoint->watched = false;
}

/* EPOLLEXCLUSIVE wakes one server per connection. If that one then does not accept, nothing wakes
 * the others: only removing and adding the listener makes epoll look at the backlog again. */
static void watch_again(struct fork_server *server, uint32_t number)
{
    struct endpoint *endpoint = &server->endpoints[number];

    stop_watching(server, endpoint);
    if (endpoint->paused_usec == 0)
        endpoint->watched = watch(server, endpoint->fd, EPOLLIN | EPOLLEXCLUSIVE, number) >= 0;
}

static void watch_all_again(struct fork_server *server)
{
    for (uint32_t i = 0; i < server->n_endpoints; i++)
        if (server->endpoints[i].accept)
            watch_again(server, i);
    server->backing_off = false;
}

/* ---- Limits ------------------------------------------------------------------------------------
 */

/* At the limit: the supervisor pokes everyone when it frees a slot. The siblings need no poke, the
 * limit is theirs too. */
static void pause_unit(struct fork_server *server, uint32_t unit)
{
    for (size_t i = 0; i < server->n_endpoints; i++)
        if (server->endpoints[i].unit == unit)
            stop_watching(server, &server->endpoints[i]);
    poke(server->setup->wake_fd);
}

static void tell(struct fork_server *server, enum server_message_type type, uint32_t unit,
                 int error)
{
    const struct server_message message = {.type = type, .unit = unit, .error = error};

    (void)server_message_send(server->setup->control_fd, &message);
}

/* The siblings count in the same windows and find out for themselves. */
static void pause_endpoints(struct fork_server *server, const struct endpoint *one, bool all,
                            uint64_t until_usec)
{
    for (size_t i = 0; i < server->n_endpoints; i++) {
        struct endpoint *endpoint = &server->endpoints[i];

        if (endpoint != one && !(all && endpoint->unit == one->unit))
            continue;
        stop_watching(server, endpoint);
        endpoint->paused_usec = until_usec;
    }
    tell(server, SERVER_MESSAGE_LIMIT, one->unit, 0);
}

/* True when the trigger limit of the unit, or the poll limit of the listener, is reached. */
static bool is_over_limit(struct fork_server *server, const struct endpoint *endpoint)
{
    const struct fork_server_unit *unit = &server->setup->units[endpoint->unit];
    struct slots_unit *slots = &server->setup->slots->units[endpoint->unit];

    if (unit->trigger_limit.burst == 0 && unit->poll_limit.burst == 0)
        return false;
    uint64_t now = monotonic_usec();
    uint64_t until = rate_window_count(&slots->triggers, &unit->trigger_limit, now);
    if (until > 0) {
        pause_endpoints(server, endpoint, true, until);
        return true;
    }
    if (endpoint->polls != NULL)
        until = rate_window_count(endpoint->polls, &unit->poll_limit, now);
    if (until > 0)
        pause_endpoints(server, endpoint, false, until);
    return until > 0;
}

static bool somebody_waits(const struct endpoint *endpoint)
{
    struct pollfd ready = {.fd = endpoint->fd, .events = POLLIN};

    return poll(&ready, 1, 0) > 0;
}

/* Ends the pauses that are over; how many milliseconds until the next one is, or -1. */
static int end_pauses(struct fork_server *server)
{
    uint64_t now = 0, next = UINT64_MAX;

    for (uint32_t i = 0; i < server->n_endpoints; i++) {
        struct endpoint *endpoint = &server->endpoints[i];

        if (endpoint->paused_usec == 0)
            continue;
        if (now == 0)
            now = monotonic_usec();
        if (endpoint->paused_usec > now) {
            next = endpoint->paused_usec < next ? endpoint->paused_usec : next;
            continue;
        }
        endpoint->paused_usec = 0;
        if (endpoint->grace_usec != 0 && !somebody_waits(endpoint))
            endpoint->grace_usec = 0;
        watch_again(server, i);
    }
    if (next == UINT64_MAX)
        return -1;
    uint64_t msec = (next - now) / USEC_PER_MSEC + 1;
    return msec > INT_MAX ? INT_MAX : (int)msec;
}

/* A shared listener may block, and a sibling may have been faster: an alarm ends the waiting, again
 * and again in case the first one came too early. */
static int accept_shared(int listener)
{
    const struct itimerval soon = {{0, ALARM_USEC}, {0, ALARM_USEC}}, never = {{0, 0}, {0, 0}};
    sigset_t alarm;

    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    (void)sigprocmask(SIG_UNBLOCK, &alarm, NULL);
    (void)setitimer(ITIMER_REAL, &soon, NULL);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    (void)setitimer(ITIMER_REAL, &never, NULL);
    (void)sigprocmask(SIG_BLOCK, &alarm, NULL);
    return fd;
}

/* The one connection that this process ever has: to close it. False when there was none. */
static bool refuse(struct fork_server *server, const struct endpoint *endpoint)
{
    struct slots *slots = server->setup->slots;
    int fd = -1;

    if (!endpoint->is_shared)
        fd = accept4(endpoint->fd, NULL, NULL, SOCK_CLOEXEC);
    else if (somebody_waits(endpoint))
        fd = accept_shared(endpoint->fd);
    if (fd < 0)
        return false;
    fd_close(fd);
    if (slots_count_refused(slots, endpoint->unit))
        poke(server->setup->wake_fd);
    return true;
}

/* Something ran out: the connections wait in the backlog, the siblings may fare better. */
static void back_off(struct fork_server *server, uint32_t unit, int error)
{
    for (size_t i = 0; i < server->n_endpoints; i++)
        stop_watching(server, &server->endpoints[i]);
    if (!server->backing_off)
        tell(server, SERVER_MESSAGE_TROUBLE, unit, error);
    server->backing_off = true;
    server->backed_off_usec = monotonic_usec();
    poke_siblings(server);
}

static _Noreturn void leave(struct fork_server *server)
{
    for (size_t i = 0; i < server->n_endpoints; i++)
        stop_watching(server, &server->endpoints[i]);
    poke_siblings(server);
    _exit(0);
}

/* ---- Creating children -------------------------------------------------------------------------
 */

/* 0: a child was created, whatever becomes of it. -EBUSY: no slot. Others: no child. */
static int create_child(struct fork_server *server, struct endpoint *endpoint, uint32_t *ret_slot)
{
    const struct fork_server_setup *setup = server->setup;
    struct slots *slots = setup->slots;
    struct slots_window *window = &slots->windows[setup->index];
    uint32_t slot;
    int r = slots_reserve(slots, endpoint->unit, slot_key(setup->incarnation, ++server->sequence),
                          &server->hints[endpoint->unit], &slot);

    if (r < 0)
        return r;
    if (slots_wake_needed(slots))
        poke(setup->wake_fd);
    atomic_store_explicit(&window->slot, slot, memory_order_relaxed);
    atomic_store_explicit(&window->start_usec, monotonic_usec(), memory_order_release);
    pid_t pid = spawn_run(server->spawner, endpoint->plan, &slots->records[slot]);
    atomic_store_explicit(&window->start_usec, 0, memory_order_release);
    *ret_slot = slot;
    if (pid > 0 || pid == -ECANCELED || pid == -EAGAIN)
        return 0;
    if (pid != -ENOBUFS) /* no child; otherwise the slot is the supervisor's by now */
        slots_cancel(slots, slot);
    return pid;
}

/* Whether a slot of the unit is about to be freed, as soon as the supervisor gets to it: its
 * process is ending, or found no connection, or is not there yet. */
static bool room_is_near(const struct fork_server *server, uint32_t unit)
{
    const struct slots *slots = server->setup->slots;
    const struct slots_unit *u = &slots->units[unit];

    for (uint32_t i = 0; i < u->n && i < ROOM_LOOKS_MAX; i++) {
        struct spawn_record *record = &slots->records[u->first + i];
        pid_t pid = atomic_load(&record->pid);

        if (pid == 0 || atomic_load(&record->step) <= SPAWN_ACCEPT || spawn_is_ending(pid))
            return true;
    }
    return false;
}

/* No slot is free: who waits is refused when that is still so after the grace. */
static void overflow(struct fork_server *server, struct endpoint *endpoint)
{
    uint64_t now = monotonic_usec();

    if (endpoint->grace_usec == 0)
        endpoint->grace_usec = now + GRACE_USEC;
    if (now < endpoint->grace_usec) {
        stop_watching(server, endpoint);
        endpoint->paused_usec = endpoint->grace_usec;
        poke(server->setup->wake_fd);
        return;
    }
    if (room_is_near(server, endpoint->unit)) {
        endpoint->grace_usec = endpoint->paused_usec = now + GRACE_USEC;
        stop_watching(server, endpoint);
        return;
    }
    for (int n = 0; n < REFUSE_MAX; n++) {
        uint32_t slot;

        if (!refuse(server, endpoint)) {
            endpoint->grace_usec = 0;
            return;
        }
        if (create_child(server, endpoint, &slot) >= 0) /* there is room again */
            return;
    }
}

/* Says why not, for only this process knows. */
static int prepare(struct fork_server *server, struct endpoint *endpoint)
{
    const struct plan_source *source = endpoint->source;
    int r = endpoint_prepare(endpoint, server->setup);

    if (r >= 0 || !log_limit_pass(&server->faults, "faults"))
        return r;
    const char *fault = source->fault != NULL ? source->fault(source->userdata) : NULL;
    log_error("cannot start \"%s\": %s", server->setup->units[endpoint->unit].name,
              fault != NULL ? fault : strerror(-r));
    return r;
}

static void serve(struct fork_server *server, struct endpoint *endpoint)
{
    const struct fork_server_unit *unit = &server->setup->units[endpoint->unit];
    const struct plan_source *source = endpoint->source;
    uint32_t slot;

    if (is_over_limit(server, endpoint))
        return;
    /* As with systemd, an instance that cannot be started takes its connection with it. */
    if ((source->may_start != NULL && !source->may_start(source->userdata)) ||
        prepare(server, endpoint) < 0) {
        (void)refuse(server, endpoint);
        return;
    }
    int r = create_child(server, endpoint, &slot);
    if (r >= 0)
        endpoint->grace_usec = 0;
    else if (r == -EBUSY && unit->overflow == OVERFLOW_CLOSE)
        overflow(server, endpoint);
    else if (r == -EBUSY)
        pause_unit(server, endpoint->unit);
    else
        back_off(server, endpoint->unit, -r);
}

static int start_endpoint(struct fork_server *server, struct endpoint *endpoint, uint32_t *ret_slot)
{
    const struct plan_source *source = endpoint->source;

    if (source->may_start != NULL && !source->may_start(source->userdata))
        return -ECANCELED;
    return prepare(server, endpoint) < 0 ? -ENOEXEC : create_child(server, endpoint, ret_slot);
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
            r = start_endpoint(server, endpoint, &answer.slot);
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

static void handle_poke(struct fork_server *server)
{
    uint64_t count;

    (void)!read(server->setup->poke_fds[server->setup->index], &count, sizeof(count));
    for (size_t i = 0; i < server->n_endpoints; i++)
        if (server->endpoints[i].grace_usec != 0) /* a slot was freed: a new grace, if need be */
            server->endpoints[i].grace_usec = server->endpoints[i].paused_usec = 0;
    if (!server->backing_off || monotonic_usec() - server->backed_off_usec >= BACK_OFF_LEAST_USEC)
        watch_all_again(server);
}

static _Noreturn void loop(struct fork_server *server)
{
    for (;;) {
        struct epoll_event events[16];
        int pause = end_pauses(server);
        int n =
            epoll_wait(server->epoll_fd, events, 16, server->backing_off ? BACK_OFF_MSEC : pause);

        if (n == 0 && server->backing_off)
            watch_all_again(server);
        for (int i = 0; i < n; i++) {
            uint32_t number = events[i].data.u32;

            if (number == EVENT_CONTROL)
                handle_control(server);
            else if (number == EVENT_POKE)
                handle_poke(server);
            else if (server->endpoints[number].watched)
                serve(server, &server->endpoints[number]);
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
    pin(setup->cpu);
    r = spawner_new(&server->spawner);
    if (r < 0)
        return r;
    r = prepare_endpoints(server);
    if (r < 0)
        return r;
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll_fd < 0)
        return -errno;
    r = watch(server, setup->control_fd, EPOLLIN, EVENT_CONTROL);
    if (r < 0)
        return r;
    return watch(server, setup->poke_fds[setup->index], EPOLLIN, EVENT_POKE);
}

_Noreturn void fork_server_run(const struct fork_server_setup *setup)
{
    struct fork_server server = {
        .setup = setup,
        .epoll_fd = -1,
        .faults = {.interval_usec = 5 * USEC_PER_SEC, .burst = 1},
    };
    struct server_message message = {.type = SERVER_MESSAGE_READY};
    int r = set_up(&server);

    if (r < 0) {
        message = (struct server_message){.type = SERVER_MESSAGE_TROUBLE, .error = -r};
        (void)server_message_send(setup->control_fd, &message);
        _exit(1);
    }
    watch_all_again(&server);
    (void)server_message_send(setup->control_fd, &message);
    loop(&server);
}
