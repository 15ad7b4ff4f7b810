/* SPDX-License-Identifier: MIT */
/* Open-loop load: connections arrive at a rate, whether the server keeps up or not. One thread,
 * epoll. The latency of a connection runs from the moment it should have arrived until its end of
 * file is read.
 *
 *     overload [-r N] [-t TIME] [-o N] [-p TIME] [-s] PATH|PORT
 *
 * -r  arrivals per second (1000)          -o  at most so many under way (16000)
 * -t  connections arrive for so long (1s) -p  patience with those under way then (60s)
 * -s  orders replies that take 10 ms
 *
 * The server's handler must be handler-hold: each connection begins with an order byte. (Where the
 * server is to speak first, and the kernel answers a full backlog with SYN cookies, a client that
 * says nothing may take itself for connected, and wait for ever.)
 *
 * A client that finds the backlog of a Unix socket full waits, in line with those before it, and
 * tries again: it is under way. An arrival beyond -o is held back: it never was. Of the others each
 * is served (a whole reply), refused (the end of file and nothing before, or a reset, because the
 * order was not read), failed (with its error) or unanswered at the end of the patience. Prints one
 * line of JSON. Exit status: 0, 1 when one failed or was unanswered, 2 when nothing could be
 * measured. */
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

#define RATE_MAX      1000000
#define UNDER_WAY_MAX 1000000
#define OTHER_FILES   16
#define EVENTS_MAX    256
#define ARRIVALS_MAX  64 /* until events are looked at again */
#define TURN_MSEC     1
#define SOURCES       16 /* 127.0.0.1 and up: the ports of one would not do */
#define ERRORS_MAX    160
#define ERROR_REPLY   0 /* no errno has this number: the reply was not the right one */

#define REPLY        "ok\n"
#define REPLY_LENGTH (sizeof(REPLY) - 1)

struct client {
    int fd;
    bool ordered;
    uint32_t next; /* in line, or of those that are free */
    uint64_t arrived_usec;
};

struct overload {
    struct address address;
    uint64_t rate, duration_usec, patience_usec, under_way_max;
    bool slow;

    int epoll;
    struct client *clients;
    uint32_t free;                 /* the first of those without a connection */
    uint32_t line_head, line_tail; /* those that found the backlog full */
    uint64_t n_line, n_under_way, n_sources;

    uint64_t begin_usec, n_arrived, n_held_back, n_lined_up, n_peak;
    uint64_t n_resets, n_errors, errors[ERRORS_MAX];
    struct histogram served, refused;
};

/* ---- One client ------------------------------------------------------------------------------ */

static void client_free(struct overload *load, struct client *client)
{
    client->fd = fd_close(client->fd);
    client->next = load->free;
    load->free = (uint32_t)(client - load->clients);
    load->n_under_way--;
}

static void client_refused(struct overload *load, struct client *client)
{
    histogram_add(&load->refused, monotonic_usec() - client->arrived_usec);
    client_free(load, client);
}

static void client_fail(struct overload *load, struct client *client, int error)
{
    if (error == ECONNRESET) {
        load->n_resets++;
        client_refused(load, client);
        return;
    }
    load->n_errors++;
    load->errors[error < ERRORS_MAX ? error : ERRORS_MAX - 1]++;
    client_free(load, client);
}

static int choose_source(struct overload *load, int fd)
{
    struct sockaddr_in source = {.sin_family = AF_INET};

    if (load->address.socket.any.sa_family != AF_INET)
        return 0;
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(load->n_sources++ % SOURCES));
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int)) < 0 ||
        bind(fd, (struct sockaddr *)&source, sizeof(source)) < 0)
        return -errno;
    return 0;
}

static void client_watch(struct overload *load, struct client *client, int operation)
{
    struct epoll_event event = {.events = client->ordered ? EPOLLRDHUP : EPOLLOUT,
                                .data.u32 = (uint32_t)(client - load->clients)};

    if (epoll_ctl(load->epoll, operation, client->fd, &event) < 0)
        err(EXIT_UNMEASURED, "cannot watch a connection");
}

/* It is connected, or could not be. A server that has refused it by now has no use for the order:
 * what it left to be read tells the rest. */
static void client_order(struct overload *load, struct client *client)
{
    ssize_t sent = send(client->fd, load->slow ? "s" : "q", 1, MSG_NOSIGNAL);

    client->ordered = true;
    if (sent < 0 && errno != EPIPE)
        client_fail(load, client, errno);
}

/* False when the backlog is full. */
static bool client_connect(struct overload *load, struct client *client)
{
    int family = load->address.socket.any.sa_family;
    int r;

    client->ordered = false;
    client->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    r = client->fd < 0 ? -errno : choose_source(load, client->fd);
    if (r >= 0 && connect(client->fd, &load->address.socket.any, load->address.length) < 0)
        r = -errno;
    if (r == -EAGAIN && family == AF_UNIX) {
        client->fd = fd_close(client->fd);
        return false;
    }
    if (r < 0 && r != -EINPROGRESS) {
        client_fail(load, client, -r);
        return true;
    }
    if (r >= 0)
        client_order(load, client);
    if (client->fd >= 0)
        client_watch(load, client, EPOLL_CTL_ADD);
    return true;
}

/* The end of file is there, or an error. */
static void client_read(struct overload *load, struct client *client)
{
    char reply[REPLY_LENGTH + 1];
    size_t length = 0;
    ssize_t got;

    do {
        got = recv(client->fd, reply + length, sizeof(reply) - length, 0);
        if (got < 0) {
            client_fail(load, client, errno);
            return;
        }
        length += (size_t)got;
    } while (got > 0 && length < sizeof(reply));
    if (length == 0)
        client_refused(load, client);
    else if (length == REPLY_LENGTH && memcmp(reply, REPLY, REPLY_LENGTH) == 0) {
        histogram_add(&load->served, monotonic_usec() - client->arrived_usec);
        client_free(load, client);
    } else
        client_fail(load, client, ERROR_REPLY);
}

static void client_event(struct overload *load, struct client *client)
{
    if (client->ordered) {
        client_read(load, client);
        return;
    }
    client_order(load, client);
    if (client->fd >= 0)
        client_watch(load, client, EPOLL_CTL_MOD);
}

/* ---- Arrivals -------------------------------------------------------------------------------- */

static void line_up(struct overload *load, struct client *client)
{
    uint32_t number = (uint32_t)(client - load->clients);

    if (load->n_line++ == 0)
        load->line_head = number;
    else
        load->clients[load->line_tail].next = number;
    load->line_tail = number;
    load->n_lined_up++;
}

/* Those in line, the first of them first, as far as the backlog takes them. */
static void serve_line(struct overload *load)
{
    while (load->n_line > 0) {
        struct client *client = &load->clients[load->line_head];
        uint32_t next = client->next;

        if (!client_connect(load, client))
            return;
        load->n_line--;
        load->line_head = next;
    }
}

static void arrive(struct overload *load, uint64_t usec)
{
    struct client *client = &load->clients[load->free];

    load->free = client->next;
    client->arrived_usec = usec;
    if (++load->n_under_way > load->n_peak)
        load->n_peak = load->n_under_way;
    if (load->n_line > 0 || !client_connect(load, client))
        line_up(load, client);
}

/* Some of those that are due by now; false when all were. */
static bool take_arrivals(struct overload *load)
{
    uint64_t elapsed_usec = monotonic_usec() - load->begin_usec;
    uint64_t due;

    if (elapsed_usec > load->duration_usec)
        elapsed_usec = load->duration_usec;
    due = elapsed_usec * load->rate / USEC_PER_SEC;
    for (int i = 0; load->n_arrived < due && i < ARRIVALS_MAX; i++) {
        if (load->n_under_way >= load->under_way_max) {
            load->n_held_back += due - load->n_arrived;
            load->n_arrived = due;
            break;
        }
        arrive(load, load->begin_usec + load->n_arrived++ * USEC_PER_SEC / load->rate);
    }
    return load->n_arrived < due;
}

/* ---- The loop -------------------------------------------------------------------------------- */

static void turn(struct overload *load, bool more)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(load->epoll, events, EVENTS_MAX, more ? 0 : TURN_MSEC);

    if (n < 0 && errno != EINTR)
        err(EXIT_UNMEASURED, "cannot wait");
    for (int i = 0; i < n; i++)
        client_event(load, &load->clients[events[i].data.u32]);
    serve_line(load);
}

static void print(const struct overload *load, uint64_t served_meanwhile, uint64_t drain_usec)
{
    const char *separator = "";

    printf("{\"arrivals\": %" PRIu64 ", \"held_back\": %" PRIu64 ", \"served\": %" PRIu64
           ", \"refused\": %" PRIu64 ", \"resets\": %" PRIu64 ", \"failed\": %" PRIu64
           ", \"unanswered\": %" PRIu64,
           load->n_arrived, load->n_held_back, load->served.count, load->refused.count,
           load->n_resets, load->n_errors, load->n_under_way);
    printf(", \"served_meanwhile\": %" PRIu64 ", \"lined_up\": %" PRIu64
           ", \"under_way_peak\": %" PRIu64 ", \"seconds\": %.3f, \"drain_seconds\": %.3f",
           served_meanwhile, load->n_lined_up, load->n_peak,
           (double)load->duration_usec / USEC_PER_SEC, (double)drain_usec / USEC_PER_SEC);
    printf(", \"p50_us\": %" PRIu64 ", \"p99_us\": %" PRIu64 ", \"max_us\": %" PRIu64
           ", \"refused_p99_us\": %" PRIu64 ", \"errors\": {",
           histogram_percentile(&load->served, 50), histogram_percentile(&load->served, 99),
           load->served.maximum, histogram_percentile(&load->refused, 99));
    for (int i = 0; i < ERRORS_MAX; i++)
        if (load->errors[i] > 0) {
            printf("%s\"%s\": %" PRIu64, separator, i == ERROR_REPLY ? "wrong reply" : strerror(i),
                   load->errors[i]);
            separator = ", ";
        }
    printf("}}\n");
}

/* ---- Start ----------------------------------------------------------------------------------- */

static void configure(struct overload *load, int argc, char **argv)
{
    int option, r;

    while ((option = getopt(argc, argv, "r:t:o:p:s")) >= 0)
        switch (option) {
        case 'r':
            load->rate = number_option(option, optarg, RATE_MAX);
            break;
        case 't':
            load->duration_usec = time_option(option, optarg);
            break;
        case 'o':
            load->under_way_max = number_option(option, optarg, UNDER_WAY_MAX);
            break;
        case 'p':
            load->patience_usec = time_option(option, optarg);
            break;
        case 's':
            load->slow = true;
            break;
        default:
            exit(EXIT_UNMEASURED);
        }
    if (argc - optind != 1 || load->rate == 0 || load->under_way_max == 0)
        errx(EXIT_UNMEASURED, "usage: overload [-r N] [-t TIME] [-o N] [-p TIME] [-s] PATH|PORT");
    r = address_parse(argv[optind], &load->address);
    if (r < 0)
        errx(EXIT_UNMEASURED, "\"%s\" is neither a path nor a port: %s", argv[optind],
             strerror(-r));
}

static void prepare(struct overload *load)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        err(EXIT_UNMEASURED, "cannot read the limit of open files");
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < load->under_way_max + OTHER_FILES)
        errx(EXIT_UNMEASURED, "-o %" PRIu64 " needs more open files than the limit, %" PRIu64,
             load->under_way_max, (uint64_t)limit.rlim_max);
    load->clients = calloc(load->under_way_max, sizeof(*load->clients));
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load->clients == NULL || load->epoll < 0)
        err(EXIT_UNMEASURED, "cannot begin");
    for (uint32_t i = 0; i < load->under_way_max; i++)
        load->clients[i] = (struct client){.fd = -1, .next = i + 1};
}

int main(int argc, char **argv)
{
    static struct overload load = {
        .rate = 1000,
        .duration_usec = USEC_PER_SEC,
        .patience_usec = 60 * USEC_PER_SEC,
        .under_way_max = 16000,
    };
    uint64_t end_usec, served_meanwhile;

    configure(&load, argc, argv);
    prepare(&load);
    load.begin_usec = monotonic_usec();
    end_usec = load.begin_usec + load.duration_usec;
    while (monotonic_usec() < end_usec)
        turn(&load, take_arrivals(&load));
    served_meanwhile = load.served.count;
    while (load.n_under_way > 0 && monotonic_usec() < end_usec + load.patience_usec)
        turn(&load, false);
    print(&load, served_meanwhile, monotonic_usec() - end_usec);
    fd_close(load.epoll);
    free(load.clients);
    return load.n_errors == 0 && load.n_under_way == 0 ? 0 : 1;
}
