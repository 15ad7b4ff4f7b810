/* SPDX-License-Identifier: MIT */
#include "libhark/diag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdalign.h>
#include <string.h>

#include "basic/cleanup.h"

#ifndef UDIAG_SHOW_UID /* Linux 5.3, and glibc's headers may be older */
#define UDIAG_SHOW_UID 0x40
#define UNIX_DIAG_UID  7
#endif

typedef bool (*parse_function)(const struct nlmsghdr *message, struct diag_socket *ret_socket);
typedef bool (*found_function)(const struct diag_socket *socket, void *context);

struct unix_request {
    struct nlmsghdr header;
    struct unix_diag_req body;
};

struct inet_request {
    struct nlmsghdr header;
    struct inet_diag_req_v2 body;
};

static int dump_start(const void *request, size_t size, int *ret_fd)
{
    static const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    cleanup_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

    if (fd < 0)
        return -errno;
    if (sendto(fd, request, size, MSG_NOSIGNAL, (const struct sockaddr *)&kernel, sizeof(kernel)) <
        0)
        return -errno;
    *ret_fd = take_fd(&fd);
    return 0;
}

/* The parts of one datagram: 1 found, 0 more to come, -ENODATA the end. */
static int dump_read(const void *buffer, size_t size, parse_function parse, found_function found,
                     void *context)
{
    const struct nlmsghdr *message = buffer;

    for (; NLMSG_OK(message, size); message = NLMSG_NEXT(message, size)) {
        struct diag_socket socket = {.uid = (uid_t)-1};

        if (message->nlmsg_type == NLMSG_DONE)
            return -ENODATA;
        if (message->nlmsg_type == NLMSG_ERROR) {
            const struct nlmsgerr *error = NLMSG_DATA(message);

            return message->nlmsg_len >= NLMSG_LENGTH(sizeof(*error)) && error->error < 0
                       ? error->error
                       : -EBADMSG;
        }
        if (message->nlmsg_type == SOCK_DIAG_BY_FAMILY && parse(message, &socket) &&
            found(&socket, context))
            return 1;
    }
    return 0;
}

static int dump(const void *request, size_t size, parse_function parse, found_function found,
                void *context)
{
    alignas(struct nlmsghdr) char buffer[16384];
    cleanup_close int fd = -1;
    int r = dump_start(request, size, &fd);

    if (r < 0)
        return r;
    for (;;) {
        ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        r = dump_read(buffer, (size_t)n, parse, found, context);
        if (r != 0)
            return r == -ENODATA ? 0 : r;
    }
}

static bool parse_unix(const struct nlmsghdr *message, struct diag_socket *ret_socket)
{
    const struct unix_diag_msg *body = NLMSG_DATA(message);

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*body)))
        return false;
    ret_socket->type = body->udiag_type;
    ret_socket->connected = body->udiag_state != TCP_LISTEN && body->udiag_state != TCP_CLOSE;
    ret_socket->inode = body->udiag_ino;
    const char *next = (const char *)(body + 1);
    const char *end = (const char *)message + message->nlmsg_len;
    while ((size_t)(end - next) >= sizeof(struct rtattr)) {
        const struct rtattr *attribute = (const struct rtattr *)(const void *)next;
        if (attribute->rta_len < sizeof(*attribute) || attribute->rta_len > end - next)
            break;
        next += RTA_ALIGN(attribute->rta_len) < (size_t)(end - next) ? RTA_ALIGN(attribute->rta_len)
                                                                     : (size_t)(end - next);
        const void *data = RTA_DATA(attribute);
        size_t size = RTA_PAYLOAD(attribute);

        if (attribute->rta_type == UNIX_DIAG_NAME) {
            ret_socket->name = data;
            ret_socket->name_length = size;
        } else if (attribute->rta_type == UNIX_DIAG_VFS && size >= sizeof(struct unix_diag_vfs)) {
            ret_socket->node_inode = ((const struct unix_diag_vfs *)data)->udiag_vfs_ino;
            ret_socket->node_device = ((const struct unix_diag_vfs *)data)->udiag_vfs_dev;
        } else if (attribute->rta_type == UNIX_DIAG_UID && size >= sizeof(uint32_t)) {
            ret_socket->uid = *(const uint32_t *)data;
        }
    }
    return true;
}

static bool parse_inet(const struct nlmsghdr *message, struct diag_socket *ret_socket)
{
    const struct inet_diag_msg *body = NLMSG_DATA(message);

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*body)))
        return false;
    ret_socket->inode = body->idiag_inode;
    ret_socket->uid = body->idiag_uid;
    ret_socket->port = ntohs(body->id.idiag_sport);
    ret_socket->address = body->id.idiag_src;
    return true;
}

int diag_unix(found_function found, void *context)
{
    struct unix_request request = {
        .header = {.nlmsg_len = sizeof(request),
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .body = {.sdiag_family = AF_UNIX,
                 .udiag_states = UINT32_MAX,
                 .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_UID},
    };

    return dump(&request, sizeof(request), parse_unix, found, context);
}

int diag_inet(int family, int type, found_function found, void *context)
{
    struct inet_request request = {
        .header = {.nlmsg_len = sizeof(request),
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .body = {.sdiag_family = (uint8_t)family,
                 .sdiag_protocol = type == SOCK_DGRAM ? IPPROTO_UDP : IPPROTO_TCP,
                 .idiag_states = type == SOCK_DGRAM ? UINT32_MAX : 1U << TCP_LISTEN},
    };

    if (type != SOCK_STREAM && type != SOCK_DGRAM)
        return -EPROTOTYPE;
    return dump(&request, sizeof(request), parse_inet, found, context);
}
