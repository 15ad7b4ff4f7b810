/* SPDX-License-Identifier: MIT */
/* Whether a descriptor is what a unit asks for. */
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "libhark/address.h"
#include "listener/kinds.h"
#include "listener/socket-options.h"

/* Whether what sd_is_…() said is yes. */
static bool yes(int answer)
{
    return answer > 0;
}

static bool is_unix(int fd, int type, int listening, const struct address *address)
{
    if (address->path)
        return yes(sd_is_socket_unix(fd, type, listening, address->path, 0));
    return yes(sd_is_socket_unix(fd, type, listening, address->socket.un.sun_path,
                                 address->length - offsetof(struct sockaddr_un, sun_path)));
}

/* A PORT is for all addresses, of both IP versions or of one. */
static bool is_any_address(int fd, int type, int listening, uint16_t port)
{
    union {
        struct sockaddr_storage storage;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } bound = {0};
    socklen_t length = sizeof(bound);

    if (!yes(sd_is_socket_inet(fd, AF_UNSPEC, type, listening, port)) ||
        getsockname(fd, (struct sockaddr *)&bound, &length) < 0)
        return false;
    if (bound.storage.ss_family == AF_INET)
        return bound.in.sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&bound.in6.sin6_addr);
}

static bool is_vsock(int fd, int type, int listening, const struct sockaddr_vm *vm)
{
    struct sockaddr_vm bound = {0};
    socklen_t length = sizeof(bound);

    return yes(sd_is_socket(fd, AF_VSOCK, type, listening)) &&
           getsockname(fd, (struct sockaddr *)&bound, &length) == 0 && length == sizeof(bound) &&
           bound.svm_cid == vm->svm_cid && bound.svm_port == vm->svm_port;
}

static bool has_protocol(int fd, int protocol)
{
    int actual;
    socklen_t size = sizeof(actual);

    return protocol == 0 ||
           (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &actual, &size) == 0 && actual == protocol);
}

static bool is_socket(const struct listener_request *request, int fd)
{
    const struct socket_listener *wanted = wanted_listener(request);
    int type = socket_type_of(wanted->kind);
    int listening = type == SOCK_DGRAM ? -1 : 1;
    struct address address;

    if (address_parse(wanted->address, &address) < 0 ||
        !has_protocol(fd, socket_options_protocol(request->unit, type)))
        return false;
    switch (address.family) {
    case AF_UNIX:
        return is_unix(fd, type, listening, &address);
    case AF_VSOCK:
        return is_vsock(fd, type, listening, &address.socket.vm);
    default:
        if (address.dual_stack)
            return is_any_address(fd, type, listening, ntohs(address.socket.in6.sin6_port));
        return yes(
            sd_is_socket_sockaddr(fd, type, &address.socket.generic, address.length, listening));
    }
}

bool listener_fits(const struct listener_request *request, int fd)
{
    const struct socket_listener *wanted = wanted_listener(request);

    switch (wanted->kind) {
    case LISTENER_FIFO:
        return yes(sd_is_fifo(fd, wanted->address));
    case LISTENER_SPECIAL:
        return yes(sd_is_special(fd, wanted->address));
    case LISTENER_NETLINK:
        return netlink_fits(wanted->address, fd);
    case LISTENER_MESSAGE_QUEUE:
        return queue_fits(wanted->address, fd);
    default:
        return is_socket(request, fd);
    }
}

bool listener_fits_kind(const struct listener_request *request, int fd)
{
    const struct socket_listener *wanted = wanted_listener(request);
    int type = socket_type_of(wanted->kind);

    switch (wanted->kind) {
    case LISTENER_FIFO:
        return yes(sd_is_fifo(fd, NULL));
    case LISTENER_SPECIAL:
        return yes(sd_is_special(fd, NULL));
    case LISTENER_NETLINK:
        return yes(sd_is_socket(fd, AF_NETLINK, 0, -1));
    case LISTENER_MESSAGE_QUEUE:
        return yes(sd_is_mq(fd, NULL));
    default:
        return yes(sd_is_socket(fd, AF_UNSPEC, type, type == SOCK_DGRAM ? -1 : 1)) &&
               has_protocol(fd, socket_options_protocol(request->unit, type));
    }
}
