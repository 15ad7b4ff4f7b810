/* SPDX-License-Identifier: MIT */
#include "libhark/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "libhark/diag.h"

/* Through the descriptor: no matter how long the path is, and what happens to its name meanwhile.
 */
int probe_connect(int node_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    cleanup_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", node_fd);
    return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

struct overlay_search {
    uint32_t inode;
    const char *name;
};

static bool is_same_file(const struct diag_socket *socket, void *context)
{
    const struct overlay_search *search = context;
    size_t length = strlen(search->name);

    return socket->node_inode == search->inode &&
           (!socket->connected || socket->type == SOCK_DGRAM) && socket->name_length >= length &&
           strncmp(socket->name + strnlen(socket->name, socket->name_length) - length, search->name,
                   length) == 0;
}

/* A file of an overlay is another inode to connect() than the same file in its layer, but has its
 * number. Numbers of unrelated file systems agree easily (tmpfs counts from 1), hence the name. */
static bool is_alive_below_overlay(int node_fd, const char *name, const struct stat *node)
{
    struct overlay_search search = {.inode = (uint32_t)node->st_ino, .name = name};
    struct statfs file_system;

    return fstatfs(node_fd, &file_system) == 0 &&
           (unsigned long)file_system.f_type == OVERLAYFS_SUPER_MAGIC &&
           diag_unix(is_same_file, &search) == 1;
}

/* A state, or a negative errno. */
static int probe_node(int node_fd, const char *name, const struct stat *node)
{
    switch (probe_connect(node_fd)) {
    case 0:
    case -EPROTOTYPE:
    case -EPERM:
    case -EAGAIN:
        return PROBE_ALIVE;
    case -ECONNREFUSED:
        if (is_alive_below_overlay(node_fd, name, node))
            return PROBE_ALIVE;
        return PROBE_DEAD;
    case -ENOENT:
        return -ENOSYS;
    case -EMFILE:
        return -EMFILE;
    case -ENFILE:
        return -ENFILE;
    case -ENOMEM:
    case -ENOBUFS:
        return -ENOMEM;
    default:
        return PROBE_UNSURE;
    }
}

/* A state, whoever owns the node, or a negative errno. */
static int probe_name(int directory_fd, const char *name, int *ret_node_fd, struct stat *ret_node)
{
    cleanup_close int fd = openat(directory_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    int state;

    if (fd < 0)
        return errno == ENOENT ? PROBE_NOTHING : -errno;
    if (fstat(fd, ret_node) < 0)
        return -errno;
    state = S_ISSOCK(ret_node->st_mode) ? probe_node(fd, name, ret_node) : PROBE_NOT_SOCKET;
    if (state >= 0)
        *ret_node_fd = take_fd(&fd);
    return state;
}

int probe_path(int directory_fd, const char *name, struct probe *ret_probe)
{
    uid_t user = geteuid();
    struct stat node = {0};
    int fd = -1, state = probe_name(directory_fd, name, &fd, &node);

    if (state < 0)
        return state;
    if ((state == PROBE_DEAD || state == PROBE_UNSURE) && user != 0 && node.st_uid != user)
        state = PROBE_FOREIGN;
    *ret_probe = (struct probe){.state = (enum probe_state)state, .node_fd = fd};
    return 0;
}

int probe_ask(int directory_fd, const char *name)
{
    cleanup_close int fd = -1;
    struct stat node;

    return probe_name(directory_fd, name, &fd, &node);
}

void probe_done(struct probe *probe)
{
    probe->node_fd = fd_close(probe->node_fd);
}

int probe_unlink(int directory_fd, const char *name, const struct probe *probe)
{
    struct stat probed, now;

    if (fstat(probe->node_fd, &probed) < 0)
        return -errno;
    if (fstatat(directory_fd, name, &now, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? -ESTALE : -errno;
    if (probed.st_dev != now.st_dev || probed.st_ino != now.st_ino)
        return -ESTALE;
    return unlinkat(directory_fd, name, 0) < 0 ? -errno : 0;
}
