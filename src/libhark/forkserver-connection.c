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

/* The hello, which stays where it is. */
static int peek_hello(int fd, struct forkserver_hello *ret_hello)
{
    int domain, type;
    socklen_t size = sizeof(int);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
        return -errno;
    if (domain != AF_UNIX || type != SOCK_SEQPACKET)
        return -EPROTOTYPE;
    ssize_t n = recv(fd, ret_hello, sizeof(*ret_hello), MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC);
    if (n == 0 || (n < 0 && errno == ECONNRESET))
        return -EPIPE;
    if (n < 0)
        return errno == EAGAIN || errno == ENOTCONN ? -EPROTOTYPE : -errno;
    if ((size_t)n < sizeof(ret_hello->version) ||
        (ret_hello->version ^ FORKSERVER_VERSION) & ~UINT32_C(0xff))
        return -EPROTOTYPE;
    return ret_hello->version != FORKSERVER_VERSION || n != (ssize_t)sizeof(*ret_hello)
               ? -EPROTONOSUPPORT
               : 0;
}

int hark_forkserver_from_fd(int fd, struct hark_forkserver **ret_server)
{
    struct hark_forkserver *handle;
    struct forkserver_hello hello;
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (!ret_server)
        return -EINVAL;
    int r = peek_hello(fd, &hello);
    if (r < 0)
        return r;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return -errno;
    r = fd_set_close_on_exec(fd, true);
    if (r >= 0)
        r = forkserver_handle_new(fd, peer.pid, hello.cookie, &handle);
    if (r < 0)
        return r;
    *ret_server = handle;
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
