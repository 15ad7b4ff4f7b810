/* SPDX-License-Identifier: MIT */
#include "basic/io.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "basic/cleanup.h"

ssize_t read_up_to(int fd, void *buffer, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = read(fd, (char *)buffer + done, size - done);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int write_all(int fd, const void *data, size_t size)
{
    const char *next = data;

    while (size > 0) {
        ssize_t n = write(fd, next, size);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        next += n;
        size -= (size_t)n;
    }
    return 0;
}

ssize_t read_text_file(const char *path, char *buffer, size_t size)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return -errno;
    ssize_t n = read_up_to(fd, buffer, size - 1);
    if (n < 0)
        return n;
    buffer[n] = '\0';
    return n;
}
