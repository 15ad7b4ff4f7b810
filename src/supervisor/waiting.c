/* SPDX-License-Identifier: MIT */
#include "supervisor/waiting-state.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "supervisor/former-slots.h"

#define BATCH_USEC   (5 * USEC_PER_MSEC)
#define YOUNG_USEC   (100 * USEC_PER_MSEC)
#define SWEEP_USEC   (50 * USEC_PER_MSEC) /* between two looks at all children … */
#define SWEEP_ALWAYS 64                   /* … when more than this many live */
#define SWEEP_MAX    1000                 /* orphans in one look */
#define SIGNAL_EVENT UINT32_MAX           /* epoll data; otherwise a slot */

/* ---- One child ---------------------------------------------------------------------------------
 */

static void forget(struct waiting *waiting, uint32_t slot)
{
    struct known_child *child = &waiting->known[slot];

    if (child->pidfd >= 0) {
        /* Closing alone would not do while a new fork server has not closed its copy yet. */
        (void)epoll_ctl(waiting->epoll_fd, EPOLL_CTL_DEL, child->pidfd, NULL);
        fd_close(child->pidfd);
    }
    *child = (struct known_child){0};
    waiting->n_living--;
    waiting->room |= slots_release(waiting->slots, slot);
}

/* True when the child in the slot has ended; it is reported and the slot is free then. */
static bool ask(struct waiting *waiting, uint32_t slot)
{
    siginfo_t info = {0};
    pid_t pid = atomic_load(&waiting->slots->records[slot].pid);

    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG) < 0) {
        if (errno != ECHILD)
            return false;
        info.si_pid = pid; /* cannot be: we alone wait. Better a free slot than a stuck one. */
        info.si_code = CLD_EXITED;
    }
    if (info.si_pid == 0)
        return false;
    const struct handler_exit end = {
        .pid = pid, .code = info.si_code, .status = info.si_status, .end_usec = monotonic_usec()};
    former_slots_end(&waiting->former, waiting->slots, slot);
    waiting->callbacks.on_exit(waiting->callbacks.userdata, slot, &end);
    forget(waiting, slot);
    return true;
}

/* From now on epoll says when it ends. True when that could be arranged. */
static bool grow_up(struct waiting *waiting, uint32_t slot)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = slot};
    int fd = pidfd_open(atomic_load(&waiting->slots->records[slot].pid), 0);

    if (fd < 0) /* out of descriptors: it stays among the young, which costs a little time */
        return false;
    if (epoll_ctl(waiting->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        fd_close(fd);
        return false;
    }
    waiting->known[slot].pidfd = fd;
    return true;
}

/* ---- All of them -------------------------------------------------------------------------------
 */

/* Finds the children that appeared since the last look. True when a slot is reserved, so that there
 * will be a child soon. */
static bool discover(struct waiting *waiting)
{
    const struct slots *slots = waiting->slots;
    bool reserved = false;

    for (uint32_t slot = 0; slot < slots->header->n_slots; slot++) {
        uint64_t key = atomic_load(&slots->owners[slot]);

        if (key == waiting->known[slot].key || key == 0 || key == SLOT_CLOSED)
            continue;
        /* With another key the slot was given back meanwhile, and the pid may be the next one's. */
        if (atomic_load(&slots->records[slot].pid) == 0 ||
            atomic_load(&slots->owners[slot]) != key) {
            reserved = true;
            continue;
        }
        waiting->known[slot] = (struct known_child){.key = key, .pidfd = -1};
        waiting->young[waiting->n_young++] =
            (struct young){.slot = slot, .since_usec = waiting->watched_usec};
        waiting->n_living++;
    }
    return reserved;
}

static void ask_young(struct waiting *waiting)
{
    uint64_t now = monotonic_usec();
    uint32_t kept = 0;

    for (uint32_t i = 0; i < waiting->n_young; i++) {
        struct young *young = &waiting->young[i];
        uint32_t slot = young->slot;
        uint64_t start = waiting->slots->records[slot].start_usec;
        uint64_t age = now > start ? now - start : 0;

        if (ask(waiting, slot))
            continue;
        if (age > YOUNG_USEC) {
            if (!waiting_is_half_made(waiting, slot) && grow_up(waiting, slot))
                continue;
            waiting_hurry(waiting, young);
        }
        waiting->young[kept++] = *young;
    }
    waiting->n_young = kept;
}

static void ask_grown_up(struct waiting *waiting)
{
    struct epoll_event events[256];
    int n;

    do {
        n = epoll_wait(waiting->epoll_fd, events, 256, 0);
        for (int i = 0; i < n; i++) {
            uint32_t slot = events[i].data.u32;

            if (slot != SIGNAL_EVENT && waiting->known[slot].key != 0)
                (void)ask(waiting, slot);
        }
    } while (n == 256);
}

static void drain(struct waiting *waiting)
{
    struct signalfd_siginfo info;
    uint64_t count;

    /* SIGCHLD is one bit: a single read takes it. */
    if (read(waiting->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        waiting->signalled = true;
    (void)!read(waiting->wake_fd, &count, sizeof(count));
}

static bool is_handler(const struct waiting *waiting, pid_t pid)
{
    const struct slots *slots = waiting->slots;

    for (uint32_t slot = 0; slot < slots->header->n_slots; slot++)
        if (atomic_load(&slots->records[slot].pid) == pid)
            return true;
    return false;
}

/* A look at all children, for those that are in no slot: orphans that we inherited. */
static void sweep(struct waiting *waiting)
{
    uint64_t now = monotonic_usec();

    if (!waiting->signalled ||
        (waiting->n_living > SWEEP_ALWAYS && now - waiting->sweep_usec < SWEEP_USEC))
        return;
    waiting->sweep_usec = now;
    waiting->signalled = false;
    waiting->callbacks.on_child_signal(waiting->callbacks.userdata);
    for (int i = 0; i < SWEEP_MAX; i++) {
        siginfo_t info = {0};

        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
            return;
        if (is_handler(waiting, info.si_pid) ||
            waiting->callbacks.is_waited_for(waiting->callbacks.userdata, info.si_pid))
            break; /* has its own way; what hides behind it is found the next time */
        (void)waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG);
    }
    waiting->signalled = true;
}

/* ---- Awake and asleep --------------------------------------------------------------------------
 */

static void stay_awake(struct waiting *waiting)
{
    atomic_store(&waiting->slots->header->supervisor_asleep, 0);
    if (!waiting->awake)
        (void)sd_event_source_set_enabled(waiting->sleeping, SD_EVENT_OFF);
    waiting->awake = true;
    (void)sd_event_source_set_time_relative(waiting->timer, BATCH_USEC);
    (void)sd_event_source_set_enabled(waiting->timer, SD_EVENT_ONESHOT);
}

/* False when a child appeared meanwhile: servers take the slot first and look at the flag then. */
static bool fall_asleep(struct waiting *waiting)
{
    atomic_store(&waiting->slots->header->supervisor_asleep, 1);
    if (discover(waiting) || waiting->n_young > 0 || waiting_hurry_servers(waiting))
        return false;
    if (waiting->awake)
        (void)sd_event_source_set_enabled(waiting->sleeping, SD_EVENT_ON);
    waiting->awake = false;
    (void)sd_event_source_set_enabled(waiting->timer, SD_EVENT_OFF);
    return true;
}

void waiting_look(struct waiting *waiting)
{
    if (waiting->looking) /* a callback asked for it */
        return;
    waiting->looking = true;
    uint64_t look = atomic_fetch_add(&waiting->slots->header->looks_begun, 1) + 1;
    waiting_watch_time(waiting);
    drain(waiting);
    bool reserved = discover(waiting);
    reserved |= waiting_hurry_servers(waiting);
    ask_young(waiting);
    ask_grown_up(waiting);
    sweep(waiting);
    atomic_store(&waiting->slots->header->looks_done, look);
    if (waiting->room) {
        waiting->room = false;
        waiting->callbacks.on_room(waiting->callbacks.userdata);
    }
    if (reserved || waiting->n_young > 0 || waiting->signalled || !fall_asleep(waiting))
        stay_awake(waiting);
    waiting->looking = false;
    waiting->callbacks.on_looked(waiting->callbacks.userdata);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    (void)source;
    (void)fd;
    (void)revents;
    waiting_look(userdata);
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    waiting_look(userdata);
    return 0;
}

/* ---- Moving ------------------------------------------------------------------------------------
 */

/* One that was created since the last look. */
static bool has_unknown(const struct waiting *waiting)
{
    const struct slots *slots = waiting->slots;

    for (uint32_t slot = 0; slot < slots->header->n_slots; slot++)
        if (slots_is_used(slots, slot) && atomic_load(&slots->records[slot].pid) > 0 &&
            waiting->known[slot].key != atomic_load(&slots->owners[slot]))
            return true;
    return false;
}

bool waiting_has_half_made(const struct waiting *waiting)
{
    const struct slots *slots = waiting->slots;

    for (uint32_t i = 0; i < waiting->n_young; i++) {
        uint32_t slot = waiting->young[i].slot;
        uint32_t step = atomic_load(&slots->records[slot].step);
        /* One with memory of its own may take for ever: slots_move() knows. */
        bool may_take_time = atomic_load(&slots->units[slots_unit_of(slots, slot)].unhurried) != 0;

        if (!waiting_is_beyond_help(waiting, &waiting->young[i]) &&
            (step <= SPAWN_ADMISSION || (step < SPAWN_EXEC && !may_take_time)))
            return true;
    }
    return has_unknown(waiting);
}

bool waiting_has_stuck(const struct waiting *waiting)
{
    uint64_t now = monotonic_usec();

    for (uint32_t i = 0; i < waiting->n_young; i++) {
        const struct young *young = &waiting->young[i];

        if (now > waiting->slots->records[young->slot].start_usec + YOUNG_USEC &&
            !waiting_is_beyond_help(waiting, young) && waiting_is_half_made(waiting, young->slot))
            return true;
    }
    return false;
}

/* n: how many slots there were before. */
static void move_children(struct waiting *waiting, const uint32_t *map, uint32_t n,
                          struct known_child *known)
{
    for (uint32_t i = 0; i < n; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = map[i]};

        if (waiting->known[i].key == 0)
            continue;
        known[map[i]] = waiting->known[i];
        if (waiting->known[i].pidfd >= 0)
            (void)epoll_ctl(waiting->epoll_fd, EPOLL_CTL_MOD, waiting->known[i].pidfd, &event);
    }
    for (uint32_t i = 0; i < waiting->n_young; i++)
        waiting->young[i].slot = map[waiting->young[i].slot];
}

int waiting_move(struct waiting *waiting, struct slots *slots, const uint32_t *map)
{
    uint32_t n = slots->header->n_slots, before = waiting->slots->header->n_slots;
    cleanup_free struct known_child *known = calloc(n, sizeof(*known));
    struct young *young =
        realloc(waiting->young, (n > before ? n : before) * sizeof(*waiting->young));

    if (young != NULL)
        waiting->young = young;
    if (known == NULL || young == NULL)
        return -ENOMEM;
    atomic_store(&slots->header->looks_begun, atomic_load(&waiting->slots->header->looks_begun));
    atomic_store(&slots->header->looks_done, atomic_load(&waiting->slots->header->looks_done));
    atomic_store(&slots->header->supervisor_asleep, waiting->awake ? 0 : 1);
    if (former_slots_add(&waiting->former, waiting->slots, map, waiting->known) < 0)
        return -ENOMEM;
    waiting->slots = slots;
    move_children(waiting, map, before, known);
    free(waiting->known);
    waiting->known = take_pointer(&known);
    return 0;
}

/* ---- Life --------------------------------------------------------------------------------------
 */

static void waiting_cleanup(struct waiting **waiting)
{
    waiting_free(*waiting);
}

struct waiting *waiting_free(struct waiting *waiting)
{
    if (waiting == NULL)
        return NULL;
    sd_event_source_disable_unref(waiting->sleeping);
    sd_event_source_disable_unref(waiting->wake);
    sd_event_source_disable_unref(waiting->timer);
    for (uint32_t i = 0; waiting->known != NULL && i < waiting->slots->header->n_slots; i++)
        if (waiting->known[i].key != 0)
            fd_close(waiting->known[i].pidfd);
    fd_close(waiting->epoll_fd);
    fd_close(waiting->signal_fd);
    fd_close(waiting->wake_fd);
    free(waiting->known);
    free(waiting->young);
    former_slots_free(waiting->former);
    free(waiting);
    return NULL;
}

static int open_descriptors(struct waiting *waiting)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = SIGNAL_EVENT};
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    waiting->signal_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (waiting->signal_fd < 0)
        return -errno;
    waiting->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (waiting->wake_fd < 0)
        return -errno;
    waiting->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (waiting->epoll_fd < 0)
        return -errno;
    return epoll_ctl(waiting->epoll_fd, EPOLL_CTL_ADD, waiting->signal_fd, &event) < 0 ? -errno : 0;
}

static int add_sources(struct waiting *waiting, sd_event *event)
{
    int r = sd_event_add_io(event, &waiting->sleeping, waiting->epoll_fd, EPOLLIN, on_io, waiting);

    if (r < 0)
        return r;
    r = sd_event_add_io(event, &waiting->wake, waiting->wake_fd, EPOLLIN, on_io, waiting);
    if (r < 0)
        return r;
    r = sd_event_add_time(event, &waiting->timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_timer,
                          waiting);
    if (r < 0)
        return r;
    return sd_event_source_set_enabled(waiting->timer, SD_EVENT_OFF);
}

int waiting_new(sd_event *event, struct slots *slots, const struct waiting_callbacks *callbacks,
                struct waiting **ret_waiting)
{
    cleanup(waiting_cleanup) struct waiting *waiting = calloc(1, sizeof(*waiting));
    uint32_t n = slots->header->n_slots;

    if (waiting == NULL)
        return -ENOMEM;
    waiting->slots = slots;
    waiting->callbacks = *callbacks;
    waiting->epoll_fd = waiting->signal_fd = waiting->wake_fd = -1;
    waiting->known = calloc(n, sizeof(*waiting->known));
    waiting->young = calloc(n, sizeof(*waiting->young));
    if (waiting->known == NULL || waiting->young == NULL)
        return -ENOMEM;
    int r = open_descriptors(waiting);
    if (r < 0)
        return r;
    r = add_sources(waiting, event);
    if (r < 0)
        return r;
    atomic_store(&slots->header->supervisor_asleep, 1);
    *ret_waiting = take_pointer(&waiting);
    return 0;
}

int waiting_wake_fd(const struct waiting *waiting)
{
    return waiting->wake_fd;
}
