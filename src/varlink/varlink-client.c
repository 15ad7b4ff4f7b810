/* SPDX-License-Identifier: MIT */
#include "varlink/varlink-client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "basic/cleanup.h"
#include "basic/clock.h"

struct varlink_client {
    int fd; /* -1 after a failure */
    struct varlink_buffer input;
    bool expects, more; /* an answer, several of them */
};

/* ---- Time ----------------------------------------------------------------------------------- */

static uint64_t deadline_of(uint64_t timeout_usec)
{
    uint64_t now = monotonic_usec();

    return timeout_usec < UINT64_MAX - now ? now + timeout_usec : UINT64_MAX;
}

/* 0 when it has passed; UINT64_MAX: never. */
static uint64_t time_left(uint64_t deadline_usec)
{
    uint64_t now = monotonic_usec();

    if (deadline_usec == UINT64_MAX)
        return UINT64_MAX;
    return deadline_usec > now ? deadline_usec - now : 0;
}

/* 0 when there is something, or may be; -ETIMEDOUT. */
static int wait_for(int fd, short events, uint64_t deadline_usec)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    uint64_t left = time_left(deadline_usec);
    struct timespec time = {.tv_sec = (time_t)(left / USEC_PER_SEC),
                            .tv_nsec = (long)(left % USEC_PER_SEC * 1000)};
    int n = ppoll(&poll_fd, 1, left == UINT64_MAX ? NULL : &time, NULL);

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    return n == 0 ? -ETIMEDOUT : 0;
}

/* ---- Connecting ----------------------------------------------------------------------------- */

/* What is too long for an address is opened, and connected to by its descriptor. */
static int make_address(const char *path, struct sockaddr_un *address, socklen_t *ret_size,
                        int *ret_fd)
{
    size_t length = strlen(path);

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (length < sizeof(address->sun_path)) {
        memcpy(address->sun_path, path, length + 1);
        if (path[0] == '@')
            address->sun_path[0] = '\0';
        else
            length++;
        *ret_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
        return 0;
    }
    if (path[0] == '@')
        return -ENAMETOOLONG;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    (void)snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d", fd);
    *ret_size = sizeof(*address);
    *ret_fd = fd;
    return 0;
}

/* A full backlog cannot be polled for, but connect(2) waits as long as SO_SNDTIMEO says. */
static int connect_until(int fd, const struct sockaddr_un *address, socklen_t size,
                         uint64_t deadline_usec)
{
    for (;;) {
        uint64_t left = time_left(deadline_usec);
        struct timeval time = {.tv_sec = (time_t)(left / USEC_PER_SEC),
                               .tv_usec = (suseconds_t)(left % USEC_PER_SEC)};

        if (left == 0)
            time.tv_usec = 1; /* 0 would be for ever */
        if (left == UINT64_MAX)
            time = (struct timeval){0};
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time)) < 0)
            return -errno;
        if (connect(fd, (const struct sockaddr *)address, size) == 0)
            return 0;
        if (errno != EINTR)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
    }
}

int varlink_client_connect(const char *path, uint64_t timeout_usec,
                           struct varlink_client **ret_client)
{
    cleanup_close int fd = -1, node = -1;
    struct sockaddr_un address;
    socklen_t size = 0;
    uint64_t deadline = deadline_of(timeout_usec);
    int r = make_address(path, &address, &size, &node);

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    r = connect_until(fd, &address, size, deadline);
    if (r < 0)
        return r;
    r = varlink_client_new(fd, ret_client);
    if (r == 0)
        (void)take_fd(&fd);
    return r;
}

int varlink_client_new(int fd, struct varlink_client **ret_client)
{
    cleanup_free struct varlink_client *client = calloc(1, sizeof(*client));

    if (client == NULL)
        return -ENOMEM;
    int r = fd_set_nonblocking(fd, true);
    if (r < 0)
        return r;
    client->fd = fd;
    *ret_client = take_pointer(&client);
    return 0;
}

struct varlink_client *varlink_client_free(struct varlink_client *client)
{
    if (client == NULL)
        return NULL;
    fd_close(client->fd);
    varlink_buffer_done(&client->input);
    free(client);
    return NULL;
}

int varlink_client_fd(const struct varlink_client *client)
{
    return client->fd;
}

/* Nothing that comes now could be told apart from what should have come before. */
static int give_up(struct varlink_client *client, int error)
{
    client->fd = fd_close(client->fd);
    return error;
}

/* ---- Asking --------------------------------------------------------------------------------- */

static int send_all(struct varlink_client *client, struct varlink_buffer *output,
                    uint64_t deadline_usec)
{
    for (;;) {
        int r = varlink_buffer_send(output, client->fd);

        if (r == -EPIPE)
            return -ECONNRESET;
        if (r < 0 || varlink_buffer_length(output) == 0)
            return r;
        r = wait_for(client->fd, POLLOUT, deadline_usec);
        if (r < 0)
            return r;
    }
}

/* Takes the message over. */
static int ask(struct varlink_client *client, json_t *taken, bool expects, uint64_t deadline_usec)
{
    cleanup(varlink_json_unref) json_t *message = taken;
    struct varlink_buffer output = {0};

    if (client->fd < 0)
        return -ENOTCONN;
    if (client->expects)
        return -EBUSY;
    if (message == NULL)
        return -ENOMEM;
    int r = varlink_buffer_append(&output, message, VARLINK_REQUEST_MAX);
    if (r < 0) {
        varlink_buffer_done(&output);
        return r;
    }
    r = send_all(client, &output, deadline_usec);
    varlink_buffer_done(&output);
    /* Who refuses may have said so before it was asked: that is still to be read. */
    if (r < 0 && !(r == -ECONNRESET && expects))
        return give_up(client, r);
    client->expects = expects;
    return 0;
}

int varlink_client_more(struct varlink_client *client, const char *method, json_t *parameters,
                        uint64_t timeout_usec)
{
    json_t *message = varlink_make_request(method, parameters, "more");
    int r = ask(client, message, true, deadline_of(timeout_usec));

    if (r == 0)
        client->more = true;
    return r;
}

int varlink_client_oneway(struct varlink_client *client, const char *method, json_t *parameters,
                          uint64_t timeout_usec)
{
    json_t *message = varlink_make_request(method, parameters, "oneway");

    return ask(client, message, false, deadline_of(timeout_usec));
}

/* ---- Answers -------------------------------------------------------------------------------- */

static int take_answer(struct varlink_client *client, struct varlink_answer *ret_answer)
{
    struct varlink_answer answer;
    const char *text;
    size_t length;

    if (!varlink_buffer_next(&client->input, &text, &length))
        return -EAGAIN;
    int r = varlink_answer_parse(text, length, &answer);
    if (r < 0)
        return give_up(client, r);
    if (answer.continues && !client->more) {
        varlink_answer_done(&answer);
        return give_up(client, -EBADMSG);
    }
    client->expects = client->more = answer.continues;
    *ret_answer = answer;
    return 0;
}

static int receive_until(struct varlink_client *client, uint64_t deadline_usec,
                         struct varlink_answer *ret_answer)
{
    if (client->fd < 0)
        return -ENOTCONN;
    if (!client->expects)
        return -ENODATA;
    for (;;) {
        int r = take_answer(client, ret_answer);

        if (r != -EAGAIN)
            return r;
        r = varlink_buffer_receive(&client->input, client->fd, VARLINK_REPLY_MAX);
        if (r == -EAGAIN) {
            r = wait_for(client->fd, POLLIN, deadline_usec);
            if (r == -ETIMEDOUT)
                return r;
        } else if (r == 0) {
            r = -ECONNRESET;
        }
        if (r < 0 && r != -EINTR)
            return give_up(client, r);
    }
}

int varlink_client_receive(struct varlink_client *client, uint64_t timeout_usec,
                           struct varlink_answer *ret_answer)
{
    int r = receive_until(client, deadline_of(timeout_usec), ret_answer);

    return r == -ETIMEDOUT && timeout_usec == 0 ? -EAGAIN : r;
}

int varlink_client_call(struct varlink_client *client, const char *method, json_t *parameters,
                        uint64_t timeout_usec, struct varlink_answer *ret_answer)
{
    uint64_t deadline = deadline_of(timeout_usec);
    int r = ask(client, varlink_make_request(method, parameters, NULL), true, deadline);

    if (r < 0)
        return r;
    r = receive_until(client, deadline, ret_answer);
    return r == -ETIMEDOUT ? give_up(client, r) : r;
}
