/* SPDX-License-Identifier: MIT */
#include "libhark/forkserver-connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/cleanup.h"

#define FIRST_FREE_FD 3 /* a connection must never become a standard descriptor */

int forkserver_connection_pair(int *ret_client, int *ret_server)
{
    int ends[2], on = 1;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    cleanup_close int client = ends[0], server = ends[1];
    int r = fd_move_above(&client, FIRST_FREE_FD);
    if (r >= 0)
        r = fd_move_above(&server, FIRST_FREE_FD);
    if (r >= 0)
        r = fd_set_nonblocking(server, true);
    if (r < 0)
        return r;
    if (setsockopt(server, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
        return -errno;
    *ret_client = take_fd(&client);
    *ret_server = take_fd(&server);
    return 0;
}

int forkserver_handle_new(int fd, pid_t server_pid, const uint8_t *cookie,
                          struct hark_forkserver **ret_handle)
{
    struct hark_forkserver *handle = calloc(1, sizeof(*handle));

    if (!handle)
        return -ENOMEM;
    handle->fd = fd;
    handle->pidfd = -1;
    handle->pid = server_pid;
    handle->owner = getpid();
    memcpy(handle->cookie, cookie, FORKSERVER_COOKIE_SIZE);
    *ret_handle = handle;
    return 0;
}

void forkserver_handle_adopt(struct hark_forkserver *handle)
{
    handle->owner = getpid();
}

void forkserver_handle_free(struct hark_forkserver *handle)
{
    if (!handle)
        return;
    fd_close(handle->pidfd);
    fd_close(handle->fd);
    free(handle);
}
