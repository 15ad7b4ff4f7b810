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
#include "supervisor/server-processor.h"

/* How long to stop accepting when descriptors, memory or processes ran out. No poke ends it early:
 * siblings that all fail would poke each other without an end. */
#define BACK_OFF_USEC (100 * USEC_PER_MSEC)

/* A client can know of the end of a handler, by its connection, before the supervisor does, which
 * frees the slot: so long a connection waits for one before it is refused, with the supervisor
 * looking meanwhile. When all that time, and ten times as long, somebody has waited, it is refused
 * though a handler may be about to end. */
#define GRACE_USEC       (15 * USEC_PER_MSEC)
#define GRACE_MAX_USEC   (10 * GRACE_USEC)
#define ENDING_LOOKS_MAX 256           /* handlers: a look costs some system calls */
#define REFUSE_USEC      USEC_PER_MSEC /* for as long all who wait are refused */

/* After so long a connection that was to be refused is gone: somebody else took it. */
#define ALARM_USEC (5 * USEC_PER_MSEC)

static void poke(int event_fd)
{
    uint64_t one = 1;

    (void)!write(event_fd, &one, sizeof(one));
}

void fork_server_poke_all(const struct fork_server *server)
{
    poke(server->setup->poke_fd);
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
        if (server->endpoints[i].is_full) /* there may be room now */
            server->endpoints[i].paused_usec = 0;
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
                 int error, enum server_trouble trouble)
{
    const struct server_message message = {
        .type = type, .unit = unit, .error = error, .number = trouble};

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
    tell(server, SERVER_MESSAGE_LIMIT, one->unit, 0, SERVER_TROUBLE_ACCEPT);
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
    if (endpoint->is_full && somebody_waits(endpoint))
        fork_server_serve(server, endpoint);
    if (endpoint->paused_usec == 0)
        watch_again(server, number);
}

/* Nobody waits, so it was not too full: who comes now has a grace of its own. */
static void forget_old_graces(struct fork_server *server)
{
    for (uint32_t i = 0; i < server->n_endpoints; i++)
        if (server->endpoints[i].is_full && !somebody_waits(&server->endpoints[i]))
            server->endpoints[i].is_full = false;
}

int fork_server_end_pauses(struct fork_server *server)
{
    forget_old_graces(server);
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

/* Something ran out, or is forbidden: the connections wait in the backlog, the siblings may fare
 * better. */
static void back_off(struct fork_server *server, uint32_t unit, int error,
                     enum server_trouble trouble)
{
    if (server->back_off_usec == 0)
        tell(server, SERVER_MESSAGE_TROUBLE, unit, error, trouble);
    server->back_off_usec = monotonic_usec() + BACK_OFF_USEC;
    fork_server_stop_watching_all(server);
    fork_server_poke_all(server);
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
        if (!spawn_connection_is_gone(errno))
            back_off(server, endpoint->unit, errno, SERVER_TROUBLE_ACCEPT);
        return false;
    }
    fd_close(fd);
    if (slots_count_refused(slots, endpoint->unit))
        poke(server->setup->wake_fd);
    return true;
}

/* ---- Creating children -------------------------------------------------------------------------
 */

/* As spawn_run(). Only who is given an affinity may begin with another. */
static pid_t spawn_in_place(const struct fork_server *server, const struct endpoint *endpoint,
                            struct spawn_record *record)
{
    const struct fork_server_setup *setup = server->setup;
    const cpu_set_t *affinity = endpoint_affinity(endpoint, setup);

    if (setup->cpu >= 0 || affinity == NULL)
        return spawn_run(server->spawner, endpoint->plan, record);
    server_processor_stay();
    pid_t pid = spawn_run(server->spawner, endpoint->plan, record);
    server_processor_let_go(affinity);
    return pid;
}

/* 1: a child was created and has its connection, if it is for one; 0: a child was created, but
 * there is none. -EBUSY: no slot. Others: no child. ret_slot may be NULL. */
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
    pid_t pid = spawn_in_place(server, endpoint, &slots->records[slot]);
    atomic_store_explicit(&window->start_usec, 0, memory_order_release);
    if (ret_slot != NULL)
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

/* Whether a slot of the unit is in nobody's use: a child is being made that has no connection yet,
 * or found none. One that waits may be its own. */
static bool child_comes(const struct fork_server *server, uint32_t unit)
{
    const struct slots *slots = server->setup->slots;
    const struct slots_unit *u = &slots->units[unit];

    for (uint32_t slot = u->first; slot < u->first + u->n; slot++)
        if (atomic_load_explicit(&slots->records[slot].step, memory_order_relaxed) <=
                SPAWN_ACCEPT &&
            atomic_load(&slots->owners[slot]) != SLOT_CLOSED)
            return true;
    return false;
}

/* Whether a handler of the unit is ending, so that its slot is about to be freed. */
static bool handler_ends(const struct fork_server *server, uint32_t unit)
{
    const struct slots *slots = server->setup->slots;
    const struct slots_unit *u = &slots->units[unit];

    for (uint32_t i = 0; i < u->n && i < ENDING_LOOKS_MAX; i++) {
        pid_t pid = atomic_load(&slots->records[u->first + i].pid);

        if (pid != 0 && spawn_is_ending(pid))
            return true;
    }
    return false;
}

/* This process may have stood still: between two looks at the listener, which are a grace apart, no
 * more than twice that counts. Nor does time in which the supervisor did not look at all handlers,
 * from begin to end: it may stand still, with slots that nobody uses. */
static void count_waiting(const struct fork_server *server, struct endpoint *endpoint)
{
    const struct slots_header *header = server->setup->slots->header;
    uint64_t now = monotonic_usec(), passed = now - endpoint->seen_usec;

    if (!endpoint->is_full)
        endpoint->waited_usec = 0;
    else if (atomic_load(&header->looks_done) > endpoint->seen_look)
        endpoint->waited_usec += passed < 2 * GRACE_USEC ? passed : 2 * GRACE_USEC;
    endpoint->is_full = true;
    endpoint->seen_look = atomic_load(&header->looks_begun);
    endpoint->seen_usec = now;
}

static bool is_refused(const struct fork_server *server, const struct endpoint *endpoint)
{
    return endpoint->waited_usec >= GRACE_USEC &&
           (endpoint->waited_usec >= GRACE_MAX_USEC || !handler_ends(server, endpoint->unit));
}

/* Refuses who waits, for some time, as long as no slot becomes free and no child comes. -EBUSY, or
 * as create_child(); 0: nobody waits any more. */
static int refuse_all(struct fork_server *server, struct endpoint *endpoint)
{
    const struct slots *slots = server->setup->slots;
    uint64_t end = monotonic_usec() + REFUSE_USEC;

    while (monotonic_usec() < end) {
        /* The supervisor may have freed a slot just before its look counted. */
        int r = create_child(server, endpoint, NULL);
        uint32_t reservations = slots_reservations(slots, endpoint->unit);

        if (r != -EBUSY || child_comes(server, endpoint->unit))
            return r;
        do
            if (!refuse(server, endpoint))
                return 0;
        while (slots_are_as_before(slots, endpoint->unit, reservations) && monotonic_usec() < end);
    }
    return -EBUSY;
}

/* No slot is free: who waits is refused when it has been so for the grace, with somebody waiting
 * all the time. -EBUSY: it is so still; otherwise as create_child(). */
static int overflow(struct fork_server *server, struct endpoint *endpoint)
{
    int r = -EBUSY;

    count_waiting(server, endpoint);
    if (is_refused(server, endpoint))
        r = refuse_all(server, endpoint);
    if (r == -EBUSY) {
        stop_watching(server, endpoint);
        endpoint->paused_usec = endpoint->seen_usec + GRACE_USEC;
        poke(server->setup->wake_fd);
    }
    return r;
}

/* The supervisor kills a server whose looking at files does not end, and has the unit left alone
 * then: it must be awake for that. */
static void begin_preparing(struct fork_server *server, const struct endpoint *endpoint)
{
    struct slots_window *window = &server->setup->slots->windows[server->setup->index];

    atomic_store_explicit(&window->unit, endpoint->unit, memory_order_relaxed);
    atomic_store_explicit(&window->slot, SLOT_NONE, memory_order_relaxed);
    /* Before the look at whether it sleeps: it says that it does, and looks at this then. */
    atomic_store(&window->start_usec, monotonic_usec());
    if (slots_wake_needed(server->setup->slots))
        poke(server->setup->wake_fd);
}

static void end_preparing(struct fork_server *server)
{
    atomic_store_explicit(&server->setup->slots->windows[server->setup->index].start_usec, 0,
                          memory_order_release);
}

/* Because it has cost a server. */
static bool is_avoided(struct fork_server *server, struct endpoint *endpoint)
{
    uint64_t until = atomic_load_explicit(&server->setup->slots->units[endpoint->unit].avoid_usec,
                                          memory_order_relaxed);

    if (until == 0 || until <= monotonic_usec())
        return false;
    stop_watching(server, endpoint);
    endpoint->paused_usec = until;
    return true;
}

/* As with systemd, for each start. */
static bool may_start(struct fork_server *server, struct endpoint *endpoint)
{
    const struct plan_source *source = endpoint->source;

    if (source->may_start == NULL)
        return true;
    begin_preparing(server, endpoint);
    bool may = source->may_start(source->userdata);
    end_preparing(server);
    return may;
}

static int make_plan(struct fork_server *server, struct endpoint *endpoint)
{
    if (endpoint->plan != NULL && endpoint->source->fixed != NULL)
        return 0;
    begin_preparing(server, endpoint);
    int r = endpoint_prepare(endpoint, server->setup);
    end_preparing(server);
    return r;
}

/* It is not the unit's fault, and will pass. */
static bool ran_out(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

/* Says why not, for only this process knows. */
static int prepare(struct fork_server *server, struct endpoint *endpoint)
{
    const struct plan_source *source = endpoint->source;
    int r = make_plan(server, endpoint);

    if (r >= 0 || ran_out(r) || !log_limit_pass(&server->faults, "faults"))
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

    if (is_avoided(server, endpoint) || is_over_limit(server, endpoint))
        return;
    int r = may_start(server, endpoint) ? prepare(server, endpoint) : -ECANCELED;
    if (ran_out(r)) {
        back_off(server, endpoint->unit, -r, SERVER_TROUBLE_PREPARE);
        return;
    }
    /* As with systemd, an instance that cannot be started takes its connection with it. */
    if (r < 0) {
        (void)refuse(server, endpoint);
        return;
    }
    r = create_child(server, endpoint, NULL);
    if (r == -EBUSY && unit->overflow == OVERFLOW_CLOSE)
        r = overflow(server, endpoint);
    else if (r == -EBUSY)
        pause_unit(server, endpoint->unit);
    if (r <= 0)
        uncount(server, endpoint);
    if (r == -ENOBUFS)
        back_off(server, endpoint->unit, spawner_accept_error(server->spawner),
                 SERVER_TROUBLE_ACCEPT);
    else if (r < 0 && r != -EBUSY)
        back_off(server, endpoint->unit, -r, SERVER_TROUBLE_CREATE);
}

int fork_server_start(struct fork_server *server, struct endpoint *endpoint, uint32_t *ret_slot)
{
    if (is_avoided(server, endpoint))
        return -EAGAIN;
    /* Once for all programs, as with systemd. */
    if (endpoint->program == 0 && !may_start(server, endpoint))
        return -ECANCELED;
    if (prepare(server, endpoint) < 0)
        return -ENOEXEC;
    int r = create_child(server, endpoint, ret_slot);
    return r < 0 ? r : 0;
}
