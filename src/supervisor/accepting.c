/* SPDX-License-Identifier: MIT */
/* Listeners of a fork server: watched, paused at a limit, accepted from by a child, refused. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "libhark/spawn-admission.h"
#include "supervisor/fork-server-state.h"

/* How long to stop accepting when descriptors, memory or processes ran out. No poke ends it early:
 * siblings that all fail would poke each other without an end. */
#define BACK_OFF_USEC (100 * USEC_PER_MSEC)

/* A client can know of the end of a handler, by its connection, before the supervisor does, which
 * frees the slot: so long a connection waits for one before it is refused. */
#define GRACE_USEC     (15 * USEC_PER_MSEC)
#define ROOM_LOOKS_MAX 256           /* slots: a look costs some system calls */
#define REFUSE_USEC    USEC_PER_MSEC /* for as long all who wait are refused */

/* After so long a connection that was to be refused is gone: somebody else took it. */
#define ALARM_USEC (5 * USEC_PER_MSEC)

static void poke(int event_fd)
{
    uint64_t one = 1;

    (void)!write(event_fd, &one, sizeof(one));
}

void fork_server_poke_siblings(const struct fork_server *server)
{
    for (uint32_t i = 0; i < server->setup->n_servers; i++)
        if (i != server->setup->index)
            poke(server->setup->poke_fds[i]);
}

/* ---- Watching ----------------------------------------------------------------------------------
 */

int fork_server_watch(struct fork_server *server, int fd, uint32_t events, uint32_t number)
{
    struct epoll_event event = {.events = events, .data.u32 = number};

    return epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

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
    if (endpoint->paused_usec == 0 && server->back_off_usec == 0)
        endpoint->watched =
            fork_server_watch(server, endpoint->fd, EPOLLIN | EPOLLEXCLUSIVE, number) >= 0;
}

void fork_server_watch_all(struct fork_server *server)
{
    for (uint32_t i = 0; i < server->n_endpoints; i++)
        if (server->endpoints[i].accept)
            watch_again(server, i);
}

void fork_server_stop_watching_all(struct fork_server *server)
{
    for (size_t i = 0; i < server->n_endpoints; i++)
        stop_watching(server, &server->endpoints[i]);
}

void fork_server_on_poke(struct fork_server *server)
{
    for (size_t i = 0; i < server->n_endpoints; i++)
        if (server->endpoints[i].grace_usec != 0) /* there may be room: a new grace, if need be */
            server->endpoints[i].grace_usec = server->endpoints[i].paused_usec = 0;
    fork_server_watch_all(server);
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

static bool has_rate_limit(const struct fork_server *server, const struct endpoint *endpoint)
{
    const struct fork_server_unit *unit = &server->setup->units[endpoint->unit];

    return unit->trigger_limit.burst != 0 || unit->poll_limit.burst != 0;
}

/* Takes back what was counted: there was no connection for this process. */
static void uncount(struct fork_server *server, const struct endpoint *endpoint)
{
    if (!has_rate_limit(server, endpoint))
        return;
    rate_window_uncount(&server->setup->slots->units[endpoint->unit].triggers);
    if (endpoint->polls != NULL)
        rate_window_uncount(endpoint->polls);
}

/* Counts the connection that is about to be accepted. True when that would be too many for the
 * trigger limit of the unit, or the poll limit of the listener. */
static bool is_over_limit(struct fork_server *server, const struct endpoint *endpoint)
{
    const struct fork_server_unit *unit = &server->setup->units[endpoint->unit];
    uint64_t by_unit, by_listener = 0;

    if (!has_rate_limit(server, endpoint))
        return false;
    uint64_t now = monotonic_usec();
    by_unit = rate_window_count(&server->setup->slots->units[endpoint->unit].triggers,
                                &unit->trigger_limit, now);
    if (endpoint->polls != NULL)
        by_listener = rate_window_count(endpoint->polls, &unit->poll_limit, now);
    if (by_unit == 0 && by_listener == 0)
        return false;
    uncount(server, endpoint);
    pause_endpoints(server, endpoint, by_unit != 0, by_unit != 0 ? by_unit : by_listener);
    return true;
}

static bool somebody_waits(const struct endpoint *endpoint)
{
    struct pollfd ready = {.fd = endpoint->fd, .events = POLLIN};

    return poll(&ready, 1, 0) > 0;
}

static void end_pause(struct fork_server *server, uint32_t number)
{
    struct endpoint *endpoint = &server->endpoints[number];

    endpoint->paused_usec = 0;
    /* At once: who comes after this moment has a grace of its own. */
    if (endpoint->grace_usec != 0 && somebody_waits(endpoint))
        fork_server_serve(server, endpoint);
    if (endpoint->paused_usec == 0) {
        endpoint->grace_usec = 0;
        watch_again(server, number);
    }
}

int fork_server_end_pauses(struct fork_server *server)
{
    uint64_t next = server->back_off_usec != 0 ? server->back_off_usec : UINT64_MAX;

    for (uint32_t i = 0; i < server->n_endpoints; i++)
        if (server->endpoints[i].paused_usec != 0 && server->endpoints[i].paused_usec < next)
            next = server->endpoints[i].paused_usec;
    if (next == UINT64_MAX)
        return -1;
    uint64_t now = monotonic_usec();
    if (now < next) {
        uint64_t msec = (next - now) / USEC_PER_MSEC + 1;
        return msec > INT_MAX ? INT_MAX : (int)msec;
    }
    if (server->back_off_usec != 0 && server->back_off_usec <= now) {
        server->back_off_usec = 0;
        fork_server_watch_all(server);
    }
    for (uint32_t i = 0; i < server->n_endpoints; i++)
        if (server->endpoints[i].paused_usec != 0 && server->endpoints[i].paused_usec <= now)
            end_pause(server, i);
    return 0; /* look again at once */
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

/* Something ran out: the connections wait in the backlog, the siblings may fare better. */
static void back_off(struct fork_server *server, uint32_t unit, int error)
{
    if (server->back_off_usec == 0)
        tell(server, SERVER_MESSAGE_TROUBLE, unit, error);
    server->back_off_usec = monotonic_usec() + BACK_OFF_USEC;
    fork_server_stop_watching_all(server);
    fork_server_poke_siblings(server);
}

/* The one connection that this process ever has: to close it. False when there was none, or none
 * could be had. */
static bool refuse(struct fork_server *server, const struct endpoint *endpoint)
{
    struct slots *slots = server->setup->slots;
    int fd = -1;

    errno = EAGAIN;
    if (!endpoint->is_shared)
        fd = accept4(endpoint->fd, NULL, NULL, SOCK_CLOEXEC);
    else if (somebody_waits(endpoint))
        fd = accept_shared(endpoint->fd);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            back_off(server, endpoint->unit, errno);
        return false;
    }
    fd_close(fd);
    if (slots_count_refused(slots, endpoint->unit))
        poke(server->setup->wake_fd);
    return true;
}

/* ---- Creating children -------------------------------------------------------------------------
 */

/* 1: a child was created and has its connection, if it is for one; 0: a child was created, but
 * there is none. -EBUSY: no slot. Others: no child. */
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
    if (pid > 0 || pid == -ECANCELED)
        return 1;
    /* With a pid there was a child, and the slot is the supervisor's: it may be free by now, and
     * anybody's, so pid 0 does not say that there was none. */
    if (pid == -EAGAIN)
        return 0;
    if (pid != -ENOBUFS)
        slots_cancel(slots, slot);
    return pid == -EUSERS ? -EAGAIN : pid;
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

        if (atomic_load(&slots->owners[u->first + i]) == SLOT_CLOSED)
            continue;
        if (pid == 0 || atomic_load(&record->step) <= SPAWN_ACCEPT || spawn_is_ending(pid))
            return true;
    }
    return false;
}

static void begin_grace(struct fork_server *server, struct endpoint *endpoint)
{
    stop_watching(server, endpoint);
    endpoint->grace_usec = endpoint->paused_usec = monotonic_usec() + GRACE_USEC;
    endpoint->grace_look = atomic_load(&server->setup->slots->header->looks_begun);
    poke(server->setup->wake_fd);
}

/* No slot is free: who waits is refused when that is still so after the grace, and the supervisor
 * has looked meanwhile. */
static void overflow(struct fork_server *server, struct endpoint *endpoint, bool had_grace)
{
    const struct slots_header *header = server->setup->slots->header;
    uint64_t now = monotonic_usec();
    uint32_t slot;

    if (!had_grace || atomic_load(&header->looks_done) <= endpoint->grace_look ||
        room_is_near(server, endpoint->unit)) {
        begin_grace(server, endpoint);
        return;
    }
    /* Who comes later than this decision has a grace of its own. */
    while (monotonic_usec() - now < REFUSE_USEC)
        if (!refuse(server, endpoint) || create_child(server, endpoint, &slot) >= 0)
            return; /* nobody waits, or there is room again */
    begin_grace(server, endpoint);
}

/* Says why not, for only this process knows. */
static int prepare(struct fork_server *server, struct endpoint *endpoint)
{
    const struct plan_source *source = endpoint->source;
    int r = endpoint_prepare(endpoint, server->setup);

    if (r >= 0 || !log_limit_pass(&server->faults, "faults"))
        return r;
    const char *fault = source->fault != NULL ? source->fault(source->userdata) : NULL;
    const char *unit = server->setup->units[endpoint->unit].name;
    log_event(
        &(const struct log_event){
            .level = LOG_ERR, .id = MESSAGE_UNIT_NOT_STARTED, .unit = unit, .error = -r},
        "cannot start \"%s\": %s", unit, fault != NULL ? fault : strerror(-r));
    return r;
}

void fork_server_serve(struct fork_server *server, struct endpoint *endpoint)
{
    const struct fork_server_unit *unit = &server->setup->units[endpoint->unit];
    const struct plan_source *source = endpoint->source;
    bool had_grace = endpoint->grace_usec != 0;
    uint32_t slot;

    endpoint->grace_usec = 0;
    if (is_over_limit(server, endpoint))
        return;
    /* As with systemd, an instance that cannot be started takes its connection with it. */
    if ((source->may_start != NULL && !source->may_start(source->userdata)) ||
        prepare(server, endpoint) < 0) {
        (void)refuse(server, endpoint);
        return;
    }
    int r = create_child(server, endpoint, &slot);
    if (r <= 0)
        uncount(server, endpoint);
    if (r == -EBUSY && unit->overflow == OVERFLOW_CLOSE)
        overflow(server, endpoint, had_grace);
    else if (r == -EBUSY)
        pause_unit(server, endpoint->unit);
    else if (r < 0)
        back_off(server, endpoint->unit, -r);
}

int fork_server_start(struct fork_server *server, struct endpoint *endpoint, uint32_t *ret_slot)
{
    const struct plan_source *source = endpoint->source;

    /* Once for all programs, as with systemd. */
    if (endpoint->program == 0 && source->may_start != NULL && !source->may_start(source->userdata))
        return -ECANCELED;
    if (prepare(server, endpoint) < 0)
        return -ENOEXEC;
    int r = create_child(server, endpoint, ret_slot);
    return r < 0 ? r : 0;
}
