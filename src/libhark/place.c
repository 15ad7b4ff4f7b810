/* SPDX-License-Identifier: MIT */
#include "libhark/place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "libhark/bind.h"
#include "libhark/diag.h"
#include "libhark/probe.h"

#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (SIOCPROTOPRIVATE + 0) /* linux/un.h, which clashes with sys/un.h */
#endif

int listen_socket(int family, const struct hark_listen_options *options, int *ret_fd)
{
    int type =
        options->type | SOCK_CLOEXEC | (options->flags & HARK_LISTEN_NONBLOCK ? SOCK_NONBLOCK : 0);
    int fd = socket(family, type, options->protocol);

    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

int listen_prepare(int fd, const struct hark_listen_options *options)
{
    int r = options->prepare ? options->prepare(fd, options->userdata) : 0;

    return r < 0 ? r : 0;
}

int listen_start(int fd, const struct hark_listen_options *options)
{
    if (options->type == SOCK_DGRAM)
        return 0;
    return listen(fd, options->backlog) < 0 ? -errno : 0;
}

static bool leads_to(int directory_fd, const char *name, const struct place *place)
{
    struct stat node;

    return fstatat(directory_fd, name, &node, AT_SYMLINK_NOFOLLOW) == 0 &&
           node.st_dev == place->device && node.st_ino == place->inode;
}

/* The node that fd is bound to: from the socket itself where the right to ask is there
 * (CAP_NET_ADMIN), else by its name. */
static int node_of(int fd, const struct path *path, struct stat *ret_node)
{
    cleanup_close int node_fd = ioctl(fd, SIOCUNIXFILE);

    if (node_fd >= 0 && fstat(node_fd, ret_node) == 0)
        return 0;
    return fstatat(path->directory_fd, path->name, ret_node, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

struct node_search {
    unsigned long inode; /* of the socket */
    uint32_t node_inode;
};

static bool is_the_socket(const struct diag_socket *socket, void *context)
{
    struct node_search *search = context;

    if (socket->inode != search->inode)
        return false;
    search->node_inode = socket->node_inode;
    return true;
}

/* Whether the name leads to what fd is bound to; without the right to ask the socket itself, as far
 * as the kernel's list tells, which does not show those of other network namespaces. */
static bool name_is_of(const struct path *path, const struct stat *node, int fd)
{
    cleanup(probe_done) struct probe probe = PROBE_INIT;
    struct node_search search = {0};
    struct stat status;

    if (fstat(fd, &status) < 0)
        return false;
    search.inode = status.st_ino;
    if (diag_unix(is_the_socket, &search) == 1)
        return search.node_inode == (uint32_t)node->st_ino;
    return probe_path(path->directory_fd, path->name, &probe) == 0 && probe.state == PROBE_ALIVE;
}

void place_find(struct place *place, int fd)
{
    cleanup_close int node_fd = ioctl(fd, SIOCUNIXFILE);
    const struct path *path = &place->path;
    struct stat node;
    bool known = node_fd >= 0 && fstat(node_fd, &node) == 0;

    if (!known)
        known = fstatat(path->directory_fd, path->name, &node, AT_SYMLINK_NOFOLLOW) == 0 &&
                S_ISSOCK(node.st_mode) && name_is_of(path, &node, fd);
    place->device = known ? node.st_dev : 0;
    place->inode = known ? node.st_ino : 0;
}

/* A set-group-id directory, an access control list or a file system with ideas of its own may have
 * given the node another group or mode. Nobody can have connected yet: the socket does not listen.
 */
static bool node_is_as_asked(const struct stat *node, const struct hark_listen_options *options)
{
    return (node->st_mode & 0777 & ~options->mode) == 0 &&
           (options->owner == (uid_t)-1 || node->st_uid == options->owner) &&
           (options->group == (gid_t)-1 || node->st_gid == options->group);
}

static int place_remember(struct place *place, int fd, const struct hark_listen_options *options)
{
    struct stat node;
    int r = node_of(fd, &place->path, &node);

    if (r < 0)
        return r == -ENOENT ? -ESTALE : r;
    place->device = node.st_dev;
    place->inode = node.st_ino;
    /* It was bound by its whole path: the directory may have been exchanged since it was opened. */
    if (!leads_to(place->path.directory_fd, place->path.name, place))
        return -ESTALE;
    return node_is_as_asked(&node, options) ? 0 : -EOPNOTSUPP;
}

void place_unlink(const struct place *place)
{
    if (place->inode != 0 && leads_to(place->path.directory_fd, place->path.name, place))
        (void)unlinkat(place->path.directory_fd, place->path.name, 0);
}

/* 0 when the name is free now; -EADDRINUSE: alive; -ESTALE: it changed while we looked. */
static int place_clear(const struct place *place)
{
    cleanup(probe_done) struct probe probe = PROBE_INIT;
    int r = probe_path(place->path.directory_fd, place->path.name, &probe);

    if (r < 0)
        return r;
    switch (probe.state) {
    case PROBE_NOTHING:
        return 0;
    case PROBE_NOT_SOCKET:
        return -EEXIST;
    case PROBE_ALIVE:
    case PROBE_UNSURE:
        return -EADDRINUSE;
    case PROBE_FOREIGN:
        return -EPERM;
    case PROBE_DEAD:
        return probe_unlink(place->path.directory_fd, place->path.name, &probe);
    }
    return -EADDRINUSE;
}

/* One try; the lock is held. */
static int place_bind(struct place *place, const struct hark_listen_options *options, int *ret_fd)
{
    struct bind_request request = {
        .directory_fd = place->path.directory_fd,
        .name = place->path.name,
        .path = place->path.text,
        .mode = options->mode,
        .owner = options->owner,
        .group = options->group,
        .one_thread = options->flags & HARK_LISTEN_ONE_THREAD,
    };
    cleanup_close int fd = -1;
    int r = place_clear(place);

    if (r < 0)
        return r;
    r = listen_socket(AF_UNIX, options, &fd);
    if (r == 0)
        r = listen_prepare(fd, options);
    if (r < 0)
        return r;
    r = bind_unix(fd, &request);
    if (r < 0)
        return r;
    r = place_remember(place, fd, options);
    if (r == 0)
        r = listen_start(fd, options);
    if (r < 0) {
        place_unlink(place);
        place->inode = 0;
        return r;
    }
    /* As systemd does: who watches for the name to connect, looks again when it can. */
    (void)utimensat(place->path.directory_fd, place->path.name, NULL, AT_SYMLINK_NOFOLLOW);
    *ret_fd = take_fd(&fd);
    return 0;
}

int place_bind_wait(struct place *place, const struct hark_listen_options *options,
                    struct backoff *backoff, int *ret_fd)
{
    for (;;) {
        int r = place_bind(place, options, ret_fd);
        if (r != -EADDRINUSE && r != -ESTALE)
            return r;
        r = backoff_wait(backoff);
        if (r < 0)
            return r == -ETIMEDOUT ? -EADDRINUSE : r;
    }
}

void place_done(struct place *place)
{
    place->lock = hark_lockfile_free(place->lock);
    path_done(&place->path);
}

int place_make_parents(const char *text, mode_t mode, bool one_thread)
{
    cleanup_free char *copy = strdup(text);
    cleanup_close int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char *state = NULL;

    if (!copy)
        return -ENOMEM;
    if (fd < 0)
        return -errno;
    *strrchr(copy, '/') = '\0';
    for (char *part = strtok_r(copy, "/", &state); part; part = strtok_r(NULL, "/", &state)) {
        struct bind_request request = {
            .directory_fd = fd,
            .name = part,
            .mode = mode,
            .owner = (uid_t)-1,
            .group = (gid_t)-1,
            .one_thread = one_thread,
        };
        int next = openat(fd, part, O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (next < 0 && errno == ENOENT) {
            int r = bind_directory(&request);
            if (r < 0 && r != -EEXIST)
                return r;
            next = openat(fd, part, O_PATH | O_DIRECTORY | O_CLOEXEC);
        }
        if (next < 0)
            return -errno;
        fd_close(fd);
        fd = next;
    }
    return 0;
}

int place_open(const char *text, const struct hark_listen_options *options, struct path *ret_path)
{
    cleanup_free char *absolute = NULL;
    int r = path_make_absolute(text, &absolute);

    if (r < 0)
        return r;
    r = path_open(absolute, ret_path);
    if (r != -ENOENT || !(options->flags & HARK_LISTEN_MKDIR))
        return r;
    r = place_make_parents(absolute, options->directory_mode,
                           options->flags & HARK_LISTEN_ONE_THREAD);
    return r < 0 ? r : path_open(absolute, ret_path);
}

int place_lock(struct place *place, int timeout_ms)
{
    int r = hark_lockfile_hold(place->path.text, timeout_ms, HARK_LOCKFILE_IDENTIFY, &place->lock);

    return r == -EBUSY ? -EADDRINUSE : r;
}

int place_adopt_lock(struct place *place, int lock_fd)
{
    int r = hark_lockfile_adopt(place->path.text, lock_fd, HARK_LOCKFILE_IDENTIFY, &place->lock);

    return r == -EBUSY ? -EADDRINUSE : r;
}
