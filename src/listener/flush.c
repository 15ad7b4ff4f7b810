/* SPDX-License-Identifier: MIT */
/* FlushPending=. */
#include <errno.h>
#include <mqueue.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "listener/listener.h"

/* More than any backlog; and as long as the supervisor may stand still. */
#define FLUSH_COUNT_MAX 10000
#define FLUSH_USEC_MAX  (100 * USEC_PER_MSEC)

struct flush {
    int fd;
    int type; /* SOCK_…; 0: no socket */
    char *message;
    size_t message_size; /* of a queue; else 0 */
};

/* Each throws one thing away; false when there is nothing more. */
static bool flush_connection(int fd)
{
    int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

    if (connection < 0)
        return errno == EINTR || errno == ECONNABORTED;
    fd_close(connection);
    return true;
}

/* An error that waited is thrown away as well. */
static bool flush_datagram(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_TRUNC) >= 0 ||
           (errno != EAGAIN && errno != EBADF && errno != ENOMEM);
}

/* With a deadline that has passed: it does not wait, not even on a blocking descriptor. */
static bool flush_message(const struct flush *flush)
{
    const struct timespec past = {0};

    return mq_timedreceive(flush->fd, flush->message, flush->message_size, NULL, &past) >= 0 ||
           errno == EINTR;
}

static bool flush_bytes(int fd)
{
    char bytes[4096];
    ssize_t n = read(fd, bytes, sizeof(bytes));

    return n > 0 || (n < 0 && errno == EINTR);
}

static bool flush_one(const struct flush *flush)
{
    if (flush->message)
        return flush_message(flush);
    if (flush->type == SOCK_STREAM || flush->type == SOCK_SEQPACKET)
        return flush_connection(flush->fd);
    return flush->type != 0 ? flush_datagram(flush->fd) : flush_bytes(flush->fd);
}

void listener_flush(const struct listener *listener)
{
    uint64_t deadline = monotonic_usec() + FLUSH_USEC_MAX;
    struct flush flush = {.fd = listener_fd(listener), .type = listener_socket_type(listener)};
    cleanup_free char *message = NULL;
    struct mq_attr attributes;

    if (flush.type == 0 && mq_getattr(flush.fd, &attributes) == 0) {
        flush.message_size = (size_t)attributes.mq_msgsize;
        flush.message = message = malloc(flush.message_size);
        if (!message)
            return;
    }
    for (unsigned n = 0; n < FLUSH_COUNT_MAX && monotonic_usec() < deadline; n++) {
        struct pollfd ready = {.fd = flush.fd, .events = POLLIN};
        /* A passed one may be blocking. */
        if (poll(&ready, 1, 0) != 1 || !(ready.revents & (POLLIN | POLLERR)) || !flush_one(&flush))
            return;
    }
}
