/* SPDX-License-Identifier: MIT */
#include "basic/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <stdlib.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/parse.h"

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

static void act_on(int fd, unsigned flags)
{
    if (flags & CLOSE_RANGE_CLOEXEC)
        (void)fd_set_close_on_exec(fd, true);
    else
        fd_close(fd);
}

/* Without malloc(3): there may have been threads before the fork. */
static int act_one_by_one(int first, int last, unsigned flags)
{
    cleanup_close int directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _Alignas(struct dirent64) char entries[2048];
    ssize_t size;

    if (directory < 0)
        return -errno;
    while ((size = getdents64(directory, entries, sizeof(entries))) > 0)
        for (ssize_t at = 0; at < size;) {
            const struct dirent64 *entry = (const struct dirent64 *)(const void *)(entries + at);
            uint64_t fd;

            if (parse_unsigned(entry->d_name, (uint64_t)last, &fd) >= 0 && fd >= (uint64_t)first &&
                fd != (uint64_t)directory)
                act_on((int)fd, flags);
            at += entry->d_reclen;
        }
    return size < 0 ? -errno : 0;
}

/* close_range(2) is younger (Linux 5.9) than the filter of many a container runtime. */
static int act_between(int first, int last, unsigned flags)
{
    if (first > last || close_range((unsigned)first, (unsigned)last, (int)flags) >= 0)
        return 0;
    return errno == ENOSYS || errno == EPERM ? act_one_by_one(first, last, flags) : -errno;
}

int fd_set_close_on_exec_from(int first)
{
    return act_between(first, INT_MAX, CLOSE_RANGE_CLOEXEC);
}

int fd_close_all_from(int first, int *keep, size_t n_keep)
{
    int next = first;

    if (n_keep > 0)
        qsort(keep, n_keep, sizeof(*keep), compare_int);
    for (size_t i = 0; i < n_keep; i++) {
        if (keep[i] < next)
            continue;
        int r = act_between(next, keep[i] - 1, 0);
        if (r < 0)
            return r;
        next = keep[i] + 1;
    }
    return act_between(next, INT_MAX, 0);
}
