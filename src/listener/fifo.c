/* SPDX-License-Identifier: MIT */
/* ListenFIFO= and ListenSpecial=. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "libhark/bind.h"
#include "libhark/place.h"
#include "listener/kinds.h"
#include "listener/socket-options.h"

uid_t wanted_owner(const struct listener_request *request)
{
    return request->owner == (uid_t)-1 ? geteuid() : request->owner;
}

gid_t wanted_group(const struct listener_request *request)
{
    return request->group == (gid_t)-1 ? getegid() : request->group;
}

/* The group of a set-group-id directory counts as our own: such a FIFO is what we would make. */
static bool group_is_right(const struct listener_request *request, int directory_fd, gid_t group)
{
    struct stat directory;

    if (group == wanted_group(request))
        return true;
    return request->group == (gid_t)-1 && fstat(directory_fd, &directory) == 0 &&
           (directory.st_mode & S_ISGID) && directory.st_gid == group;
}

/* Nothing but a FIFO is opened: what is there may be a device. */
static int open_node(int directory_fd, const char *name, struct stat *ret_node, int *ret_fd)
{
    cleanup_close int fd = -1;

    if (fstatat(directory_fd, name, ret_node, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (!S_ISFIFO(ret_node->st_mode))
        return -EEXIST;
    fd = openat(directory_fd, name, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);
    if (fd < 0)
        return errno == ELOOP ? -EEXIST : -errno;
    if (fstat(fd, ret_node) < 0)
        return -errno;
    if (!S_ISFIFO(ret_node->st_mode))
        return -EEXIST;
    *ret_fd = take_fd(&fd);
    return 0;
}

static int open_in(const struct path *path, const struct listener_request *request, int *ret_fd)
{
    struct bind_request node = {
        .directory_fd = path->directory_fd,
        .name = path->name,
        .mode = request->unit->socket_mode & 0777,
        .owner = request->owner,
        .group = request->group,
        .one_thread = true,
    };
    cleanup_close int fd = -1;
    struct stat status;
    int made = bind_fifo(&node);

    if (made < 0 && made != -EEXIST)
        return made;
    int r = open_node(path->directory_fd, path->name, &status, &fd);
    if (r < 0)
        return r;
    if ((status.st_mode & 0777) != node.mode || status.st_uid != wanted_owner(request) ||
        !group_is_right(request, path->directory_fd, status.st_gid)) {
        if (made < 0)
            return -EEXIST;
        fifo_remove(path->text, fd);
        return -EOPNOTSUPP; /* the directory or the file system has ideas of its own */
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

int fifo_open(const struct listener_request *request, int *ret_fd)
{
    const struct socket_unit *unit = request->unit;
    cleanup(path_done) struct path path = PATH_INIT;
    struct hark_listen_options options = HARK_LISTEN_OPTIONS_INIT;
    cleanup_close int fd = -1;

    options.flags = HARK_LISTEN_MKDIR | HARK_LISTEN_ONE_THREAD;
    options.directory_mode = unit->directory_mode & 01777;
    int r = place_open(wanted_listener(request)->address, &options, &path);
    if (r == 0)
        r = open_in(&path, request, &fd);
    if (r < 0)
        return r;
    int size = unit->pipe_size > INT_MAX ? INT_MAX : (int)unit->pipe_size;
    if (size > 0 && fcntl(fd, F_SETPIPE_SZ, size) < 0)
        socket_options_warn(unit, "PipeSize", -errno, request->problems);
    *ret_fd = take_fd(&fd);
    return 0;
}

void fifo_remove(const char *path, int fd)
{
    struct stat made, now;

    if (fstat(fd, &made) == 0 && lstat(path, &now) == 0 && made.st_dev == now.st_dev &&
        made.st_ino == now.st_ino)
        (void)unlink(path);
}

int special_open(const struct listener_request *request, int *ret_fd)
{
    int flags = (request->unit->writable ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY |
                O_NOFOLLOW;
    cleanup_close int fd = open(wanted_listener(request)->address, flags);
    struct stat status;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode) && !S_ISCHR(status.st_mode))
        return -EEXIST;
    *ret_fd = take_fd(&fd);
    return 0;
}
