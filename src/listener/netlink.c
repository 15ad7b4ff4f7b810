/* SPDX-License-Identifier: MIT */
/* ListenNetlink=. */
#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include "basic/cleanup.h"
#include "listener/kinds.h"
#include "listener/socket-options.h"
#include "unit/process-values.h"

int netlink_open(const struct listener_request *request, int *ret_fd)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    cleanup_close int fd = -1;
    int family;
    int r = value_netlink(wanted_listener(request)->address, &family, &address.nl_groups);

    if (r < 0)
        return r;
    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, family);
    if (fd < 0)
        return -errno;
    r = socket_options_prepare(request->unit, fd, request->problems);
    if (r < 0)
        return r;
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    *ret_fd = take_fd(&fd);
    return 0;
}

bool netlink_fits(const char *address, int fd)
{
    struct sockaddr_nl bound = {0};
    socklen_t length = sizeof(bound), size = sizeof(int);
    int family, protocol;
    uint32_t groups;

    return value_netlink(address, &family, &groups) == 0 &&
           getsockname(fd, (struct sockaddr *)&bound, &length) == 0 && length == sizeof(bound) &&
           bound.nl_family == AF_NETLINK && bound.nl_groups == groups &&
           getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == family;
}
