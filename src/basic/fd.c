/* SPDX-License-Identifier: MIT */
#include "basic/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

int fd_close(int fd)
{
    if (fd >= 0) {
        int saved = errno;

        (void)close(fd);
        errno = saved;
    }
    return -1;
}

int fd_set_close_on_exec(int fd, bool enable)
{
    int flags = fcntl(fd, F_GETFD);

    if (flags < 0)
        return -errno;
    int wanted = enable ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC;
    if (wanted != flags && fcntl(fd, F_SETFD, wanted) < 0)
        return -errno;
    return 0;
}

int fd_set_nonblocking(int fd, bool enable)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return -errno;
    int wanted = enable ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    if (wanted != flags && fcntl(fd, F_SETFL, wanted) < 0)
        return -errno;
    return 0;
}

int fd_move_above(int *fd, int minimum)
{
    if (*fd >= minimum)
        return 0;
    int moved = fcntl(*fd, F_DUPFD_CLOEXEC, minimum);
    if (moved < 0)
        return -errno;
    fd_close(*fd);
    *fd = moved;
    return 0;
}

static int compare_int(const void *a, const void *b)
{
    int left = *(const int *)a, right = *(const int *)b;

    return (left > right) - (left < right);
}

static int close_between(int first, int last)
{
    if (first > last)
        return 0;
    return close_range((unsigned)first, (unsigned)last, 0) < 0 ? -errno : 0;
}

int fd_close_all_from(int first, int *keep, size_t n_keep)
{
    int next = first;

    if (n_keep > 0)
        qsort(keep, n_keep, sizeof(*keep), compare_int);
    for (size_t i = 0; i < n_keep; i++) {
        if (keep[i] < next)
            continue;
        int r = close_between(next, keep[i] - 1);
        if (r < 0)
            return r;
        next = keep[i] + 1;
    }
    return close_between(next, INT_MAX);
}
