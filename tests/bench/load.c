/* SPDX-License-Identifier: MIT */
/* Closed-loop load: -c connections are always under way; when one has brought its whole reply the
 * next is opened. One thread, epoll. The latency of a connection runs from connect() until its end
 * of file is read.
 *
 *     load [-c N] [-n COUNT | -t TIME] [-w TIME] [-k N] [-s] [-T TIME] PATH|PORT
 *
 * -c  connections under way at once (16)        -w  warm-up, not counted (0)
 * -n  stop after so many connections            -k  hold so many living connections open meanwhile,
 * or 0 -t  stop after this time (1s)                 -T  give a connection up after this time (5s)
 *
 * With -k, also -k 0, the server's handler must be handler-hold: each connection begins with an
 * order byte. So with -s, which orders replies that take 10 ms. Prints one line of JSON. Exit
 * status: 0, 1 when a connection failed, 2 when nothing could be measured. */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"
#include "arguments.h"
#include "basic/clock.h"
#include "basic/fd.h"
#include "latency.h"

/* A server that fails this often is not worth measuring; nor do we spin against one that is gone.
 */
#define ERRORS_MAX      100
#define CONCURRENCY_MAX 4096
#define HOLD_MAX        100000
#define TICK_MSEC       100
#define RETRY_MSEC      1
#define EVENTS_MAX      64

#define REPLY        "ok\n"
#define REPLY_LENGTH (sizeof(REPLY) - 1)

enum slot_state {
    SLOT_IDLE,       /* nothing under way */
    SLOT_RETRY,      /* the backlog was full; Unix sockets cannot be polled for that */
    SLOT_CONNECTING, /* has an order to send first */
    SLOT_READING,    /* waits for the reply and its end */
};

struct slot {
    enum slot_state state;
    int fd;
    uint64_t started_usec;
};

struct load {
    struct address address;
    uint64_t concurrency, count, duration_usec, warmup_usec, timeout_usec, hold;
    bool orders; /* each connection begins with an order byte */
    bool slow;

    int epoll;
    struct slot slots[CONCURRENCY_MAX];
    uint64_t n_retry, n_busy;
    uint64_t to_open; /* connections still to open, UINT64_MAX without end */

    int *held; /* connections that live on */
    uint64_t n_held, n_held_lost, hold_usec;
    bool holding;

    struct histogram latency;
    uint64_t n_errors, n_retried;
    char first_error[128];

    uint64_t window_begin_usec, window_usec, cpu_usec;
};

/* ---- one connection -------------------------------------------------------------------------- */

static void slot_free(struct load *load, struct slot *slot)
{
    if (slot->state == SLOT_RETRY)
        load->n_retry--;
    if (slot->state != SLOT_IDLE)
        load->n_busy--;
    slot->fd = fd_close(slot->fd);
    slot->state = SLOT_IDLE;
}

static void slot_fail(struct load *load, struct slot *slot, const char *what, int error)
{
    if (load->n_errors++ == 0)
        (void)snprintf(load->first_error, sizeof(load->first_error), "%s%s%s", what,
                       error != 0 ? ": " : "", error != 0 ? strerror(error) : "");
    if (load->n_errors >= ERRORS_MAX)
        load->to_open = 0;
    slot_free(load, slot);
}

static void slot_watch(struct load *load, struct slot *slot, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)(slot - load->slots)};

    if (epoll_ctl(load->epoll, operation, slot->fd, &event) < 0)
        err(EXIT_UNMEASURED, "cannot watch a connection");
}

/* A held connection is done with the reply; any other with the end of file, and to wait for that
 * alone saves the load its own wake-up between the two. */
static uint32_t slot_reply_events(const struct load *load)
{
    return load->holding ? EPOLLIN | EPOLLRDHUP : EPOLLRDHUP;
}

static int slot_send_order(const struct load *load, const struct slot *slot)
{
    const char *order = load->holding ? "h" : load->slow ? "s" : "q";
    ssize_t sent = send(slot->fd, order, 1, MSG_NOSIGNAL | MSG_DONTWAIT);

    return sent == 1 ? 0 : -errno;
}

/* Called for a slot that is idle or must try again: the time of the first try counts. */
static void slot_open(struct load *load, struct slot *slot)
{
    int r;

    if (slot->state == SLOT_IDLE) {
        if (load->to_open != UINT64_MAX)
            load->to_open--;
        load->n_busy++;
        slot->started_usec = monotonic_usec();
    } else
        load->n_retry--;
    slot->state = SLOT_READING;
    slot->fd =
        socket(load->address.socket.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (slot->fd < 0) {
        slot_fail(load, slot, "cannot create a socket", errno);
        return;
    }
    r = connect(slot->fd, &load->address.socket.any, load->address.length) < 0 ? -errno : 0;
    if (r == -EAGAIN && load->address.socket.any.sa_family == AF_UNIX) {
        slot->fd = fd_close(slot->fd);
        slot->state = SLOT_RETRY;
        load->n_retry++;
        load->n_retried++;
        return;
    }
    if (r < 0 && r != -EINPROGRESS) {
        slot_fail(load, slot, "cannot connect", -r);
        return;
    }
    if (load->orders && r == -EINPROGRESS) {
        slot->state = SLOT_CONNECTING;
        slot_watch(load, slot, EPOLL_CTL_ADD, EPOLLOUT);
        return;
    }
    if (load->orders) {
        r = slot_send_order(load, slot);
        if (r < 0) {
            slot_fail(load, slot, "cannot send the order", -r);
            return;
        }
    }
    slot_watch(load, slot, EPOLL_CTL_ADD, slot_reply_events(load));
}

/* The handler has answered, and should be alive. */
static void slot_hold(struct load *load, struct slot *slot)
{
    char reply[REPLY_LENGTH + 1];
    ssize_t got = recv(slot->fd, reply, sizeof(reply), 0);

    if (got != (ssize_t)REPLY_LENGTH || memcmp(reply, REPLY, REPLY_LENGTH) != 0) {
        slot_fail(load, slot, "wrong reply on a connection to hold", got < 0 ? errno : 0);
        return;
    }
    slot_watch(load, slot, EPOLL_CTL_DEL, 0);
    load->held[load->n_held++] = slot->fd;
    slot->fd = -1;
    slot_free(load, slot);
}

/* The end of file is there, or an error: the reply must be complete, and nothing more. */
static void slot_read(struct load *load, struct slot *slot)
{
    char reply[REPLY_LENGTH + 1];
    size_t length = 0;
    ssize_t got;

    do {
        got = recv(slot->fd, reply + length, sizeof(reply) - length, 0);
        if (got < 0) {
            slot_fail(load, slot, "cannot read the reply", errno);
            return;
        }
        length += (size_t)got;
    } while (got > 0 && length < sizeof(reply));
    if (length != REPLY_LENGTH || memcmp(reply, REPLY, REPLY_LENGTH) != 0) {
        slot_fail(load, slot, length == 0 ? "no reply" : "wrong reply", 0);
        return;
    }
    slot_free(load, slot);
    histogram_add(&load->latency, monotonic_usec() - slot->started_usec);
}

static void slot_event(struct load *load, struct slot *slot)
{
    if (slot->state == SLOT_CONNECTING) {
        int r = slot_send_order(load, slot);

        if (r < 0) {
            slot_fail(load, slot, "cannot connect", -r);
            return;
        }
        slot->state = SLOT_READING;
        slot_watch(load, slot, EPOLL_CTL_MOD, slot_reply_events(load));
    } else if (load->holding)
        slot_hold(load, slot);
    else
        slot_read(load, slot);
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* Opens what can be opened, gives up what took too long. */
static void load_tick(struct load *load)
{
    uint64_t now = monotonic_usec();

    for (uint64_t i = 0; i < load->concurrency; i++) {
        struct slot *slot = &load->slots[i];

        if (slot->state != SLOT_IDLE && slot->started_usec + load->timeout_usec < now)
            slot_fail(load, slot, "no complete reply in time", 0);
        if (slot->state == SLOT_RETRY || (slot->state == SLOT_IDLE && load->to_open > 0))
            slot_open(load, slot);
    }
}

/* One round of waiting and serving; next_tick is kept by the caller. */
static void load_turn(struct load *load, uint64_t *next_tick)
{
    struct epoll_event events[EVENTS_MAX];
    int n;

    if (load->n_retry > 0 || (load->to_open > 0 && load->n_busy < load->concurrency) ||
        monotonic_usec() >= *next_tick) {
        load_tick(load);
        *next_tick = monotonic_usec() + TICK_MSEC * USEC_PER_MSEC;
    }
    n = epoll_wait(load->epoll, events, EVENTS_MAX, load->n_retry > 0 ? RETRY_MSEC : TICK_MSEC);
    if (n < 0 && errno != EINTR)
        err(EXIT_UNMEASURED, "cannot wait");
    for (int i = 0; i < n; i++) {
        struct slot *slot = &load->slots[events[i].data.u64];

        slot_event(load, slot);
        if (slot->state == SLOT_IDLE && load->to_open > 0)
            slot_open(load, slot);
    }
}

static uint64_t cpu_usec(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * USEC_PER_SEC +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* What is counted begins here. */
static void load_begin_window(struct load *load)
{
    memset(&load->latency, 0, sizeof(load->latency));
    load->window_begin_usec = monotonic_usec();
    load->cpu_usec = cpu_usec();
}

static void load_end_window(struct load *load)
{
    load->window_usec = monotonic_usec() - load->window_begin_usec;
    load->cpu_usec = cpu_usec() - load->cpu_usec;
}

static void load_hold(struct load *load)
{
    uint64_t next_tick = 0, begin = monotonic_usec();

    load->holding = true;
    load->to_open = load->hold;
    while (load->to_open > 0 || load->n_busy > 0)
        load_turn(load, &next_tick);
    load->holding = false;
    load->hold_usec = monotonic_usec() - begin;
}

static void load_measure(struct load *load)
{
    uint64_t next_tick = 0, end = 0;

    load->to_open = UINT64_MAX;
    if (load->warmup_usec > 0) {
        end = monotonic_usec() + load->warmup_usec;
        while (monotonic_usec() < end && load->to_open > 0)
            load_turn(load, &next_tick);
    }
    if (load->n_errors >= ERRORS_MAX)
        return;
    load_begin_window(load);
    if (load->count > 0) {
        load->to_open = load->count;
        while (load->to_open > 0 || load->n_busy > 0)
            load_turn(load, &next_tick);
        load_end_window(load);
        return;
    }
    end = load->window_begin_usec + load->duration_usec;
    while (monotonic_usec() < end && load->to_open > 0)
        load_turn(load, &next_tick);
    load_end_window(load);
}

/* What is under way is still checked, but no longer counted; and those held must be alive. */
static void load_finish(struct load *load)
{
    struct histogram counted = load->latency;
    uint64_t next_tick = 0;
    char byte;

    load->to_open = 0;
    while (load->n_busy > 0)
        load_turn(load, &next_tick);
    load->latency = counted;
    for (uint64_t i = 0; i < load->n_held; i++)
        if (recv(load->held[i], &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
            load->n_held_lost++;
}

static void load_print(const struct load *load)
{
    double connections = (double)load->latency.count;

    printf("{\"connections\": %" PRIu64 ", \"seconds\": %.3f, \"rate\": %.1f, \"p50_us\": %" PRIu64
           ", \"p99_us\": %" PRIu64 ", \"max_us\": %" PRIu64 ", \"load_cpu_us\": %.2f",
           load->latency.count, (double)load->window_usec / USEC_PER_SEC,
           load->window_usec > 0 ? connections * USEC_PER_SEC / (double)load->window_usec : 0,
           histogram_percentile(&load->latency, 50), histogram_percentile(&load->latency, 99),
           load->latency.maximum, connections > 0 ? (double)load->cpu_usec / connections : 0);
    printf(", \"errors\": %" PRIu64 ", \"first_error\": \"%s\", \"backlog_full\": %" PRIu64,
           load->n_errors, load->first_error, load->n_retried);
    if (load->orders)
        printf(", \"held\": %" PRIu64 ", \"held_lost\": %" PRIu64 ", \"hold_rate\": %.1f",
               load->n_held, load->n_held_lost,
               load->hold_usec > 0 ? (double)load->n_held * USEC_PER_SEC / (double)load->hold_usec
                                   : 0);
    printf("}\n");
}

/* ---- start ----------------------------------------------------------------------------------- */

static void load_configure(struct load *load, int argc, char **argv)
{
    int option, r;

    while ((option = getopt(argc, argv, "c:n:t:w:k:sT:")) >= 0)
        switch (option) {
        case 'c':
            load->concurrency = number_option(option, optarg, CONCURRENCY_MAX);
            break;
        case 'n':
            load->count = number_option(option, optarg, UINT32_MAX);
            break;
        case 't':
            load->duration_usec = time_option(option, optarg);
            break;
        case 'w':
            load->warmup_usec = time_option(option, optarg);
            break;
        case 'k':
            load->hold = number_option(option, optarg, HOLD_MAX);
            load->orders = true;
            break;
        case 's':
            load->orders = load->slow = true;
            break;
        case 'T':
            load->timeout_usec = time_option(option, optarg);
            break;
        default:
            exit(EXIT_UNMEASURED);
        }
    if (argc - optind != 1 || load->concurrency == 0)
        errx(EXIT_UNMEASURED, "usage: load [-c N] [-n COUNT | -t TIME] [-w TIME] [-k N] [-s] "
                              "[-T TIME] PATH|PORT");
    r = address_parse(argv[optind], &load->address);
    if (r < 0)
        errx(EXIT_UNMEASURED, "\"%s\" is neither a path nor a port: %s", argv[optind],
             strerror(-r));
}

static void load_prepare(struct load *load)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    load->held = calloc(load->hold + 1, sizeof(*load->held));
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load->held == NULL || load->epoll < 0)
        err(EXIT_UNMEASURED, "cannot begin");
    for (uint64_t i = 0; i < load->concurrency; i++)
        load->slots[i].fd = -1;
}

int main(int argc, char **argv)
{
    static struct load load = {
        .concurrency = 16,
        .duration_usec = USEC_PER_SEC,
        .timeout_usec = 5 * USEC_PER_SEC,
    };

    load_configure(&load, argc, argv);
    load_prepare(&load);
    if (load.hold > 0)
        load_hold(&load);
    if (load.n_errors < ERRORS_MAX)
        load_measure(&load);
    load_finish(&load);
    load_print(&load);
    for (uint64_t i = 0; i < load.n_held; i++)
        fd_close(load.held[i]);
    fd_close(load.epoll);
    free(load.held);
    return load.n_errors == 0 && load.n_held_lost == 0 ? 0 : 1;
}
