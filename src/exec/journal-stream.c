/* SPDX-License-Identifier: MIT */
#include "exec/journal-stream.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/fd.h"
#include "basic/io.h"

#define CONNECT_SECONDS 1

/* As systemd: so that a burst of lines does not stop the program. */
#define SEND_BUFFER (8 << 20)

/* A journald that does not accept must not hold up the process that serves. */
static int connect_within(int fd, const char *path, time_t seconds)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval limit = {.tv_sec = seconds}, none = {0};

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    (void)stpcpy(address.sun_path, path);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none)) < 0)
        return -errno;
    return 0;
}

static void enlarge_buffer(int fd)
{
    const int size = SEND_BUFFER;

    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static int write_header(int fd, const struct journal_stream *stream)
{
    cleanup_free char *header = NULL;
    /* A line break in it would move all other lines. */
    bool is_line = !strpbrk(stream->identifier, "\n\r");
    int length =
        asprintf(&header, "%s\n%s\n%d\n%d\n%d\n%d\n%d\n", is_line ? stream->identifier : "",
                 stream->unit, LOG_DAEMON | LOG_INFO, 1, /* "<3>" in front of a line is its level */
                 0,                                      /* not to syslog */
                 stream->to_kmsg, stream->to_console);

    if (length < 0) {
        header = NULL;
        return -ENOMEM;
    }
    return write_all(fd, header, (size_t)length);
}

int journal_stream_open(const struct journal_stream *stream, int *ret_fd)
{
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    int r = fd_move_above(&fd, STDERR_FILENO + 1);
    if (r >= 0)
        r = connect_within(fd, stream->socket ? stream->socket : JOURNAL_STREAM_SOCKET,
                           CONNECT_SECONDS);
    if (r >= 0 && shutdown(fd, SHUT_RD) < 0)
        r = -errno;
    if (r < 0)
        return r;
    enlarge_buffer(fd);
    r = write_header(fd, stream);
    if (r < 0)
        return r;
    *ret_fd = take_fd(&fd);
    return 0;
}

bool journal_stream_is_alive(int fd)
{
    struct pollfd state = {.fd = fd};

    return poll(&state, 1, 0) == 0;
}
