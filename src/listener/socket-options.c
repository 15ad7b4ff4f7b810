/* SPDX-License-Identifier: MIT */
#include "listener/socket-options.h"

#include <errno.h>
#include <limits.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "basic/clock.h"
#include "listener/listener.h"

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76 /* asm-generic/socket.h of Linux 6.5 */
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* … of Linux 6.16 */
#endif
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define SCTP_NODELAY_OPTION 3 /* linux/sctp.h, which not everybody has */

/* Who may not go above the system's limit gets that: it is not worth a warning. */
static int fallback_of(int level, int name)
{
    if (level != SOL_SOCKET)
        return 0;
    return name == SO_RCVBUFFORCE ? SO_RCVBUF : name == SO_SNDBUFFORCE ? SO_SNDBUF : 0;
}

static void add(struct socket_options *options, bool wanted, const char *key, int level, int name,
                uint64_t number)
{
    if (!wanted)
        return;
    options->items[options->n++] = (struct socket_option){
        .key = key,
        .level = level,
        .name = name,
        .fallback_name = fallback_of(level, name),
        .number = number > INT_MAX ? INT_MAX : (int)number,
    };
}

static void add_tcp(struct socket_options *options, const struct socket_unit *unit)
{
    bool sctp = unit->protocol == IPPROTO_SCTP;

    add(options, unit->keep_alive_time > 0, "KeepAliveTimeSec", IPPROTO_TCP, TCP_KEEPIDLE,
        unit->keep_alive_time / USEC_PER_SEC);
    add(options, unit->keep_alive_interval > 0, "KeepAliveIntervalSec", IPPROTO_TCP, TCP_KEEPINTVL,
        unit->keep_alive_interval / USEC_PER_SEC);
    add(options, unit->keep_alive_probes > 0, "KeepAliveProbes", IPPROTO_TCP, TCP_KEEPCNT,
        unit->keep_alive_probes);
    add(options, unit->defer_accept > 0, "DeferAcceptSec", IPPROTO_TCP, TCP_DEFER_ACCEPT,
        unit->defer_accept / USEC_PER_SEC);
    add(options, unit->no_delay, "NoDelay", sctp ? IPPROTO_SCTP : IPPROTO_TCP,
        sctp ? SCTP_NODELAY_OPTION : TCP_NODELAY, 1);
    if (unit->tcp_congestion)
        options->items[options->n++] = (struct socket_option){
            .key = "TCPCongestion",
            .level = IPPROTO_TCP,
            .name = TCP_CONGESTION,
            .text = unit->tcp_congestion,
        };
}

/* What the sender tells beside the data. */
static void add_passing(struct socket_options *options, const struct socket_unit *unit, int family)
{
    bool messages = family == AF_UNIX || family == AF_NETLINK;

    add(options, messages && unit->pass_credentials, "PassCredentials", SOL_SOCKET, SO_PASSCRED, 1);
    add(options, messages && unit->pass_security, "PassSecurity", SOL_SOCKET, SO_PASSSEC, 1);
    add(options, family == AF_UNIX && unit->pass_pidfd, "PassPIDFD", SOL_SOCKET, SO_PASSPIDFD, 1);
    add(options, family == AF_UNIX && !unit->accept_file_descriptors, "AcceptFileDescriptors",
        SOL_SOCKET, SO_PASSRIGHTS, 0);
    add(options, family == AF_NETLINK && unit->pass_packet_info, "PassPacketInfo", SOL_NETLINK,
        NETLINK_PKTINFO, 1);
    add(options, family == AF_INET && unit->pass_packet_info, "PassPacketInfo", IPPROTO_IP,
        IP_PKTINFO, 1);
    add(options, family == AF_INET6 && unit->pass_packet_info, "PassPacketInfo", IPPROTO_IPV6,
        IPV6_RECVPKTINFO, 1);
}

/* In systemd's order where that counts: IP_TOS sets a priority, too. */
void socket_options_of(const struct socket_unit *unit, int family, int type,
                       struct socket_options *ret_options)
{
    struct socket_options options = {0};
    bool v4 = family == AF_INET, internet = v4 || family == AF_INET6;

    add(&options, unit->keep_alive, "KeepAlive", SOL_SOCKET, SO_KEEPALIVE, 1);
    if (internet && type == SOCK_STREAM)
        add_tcp(&options, unit);
    add(&options, unit->broadcast, "Broadcast", SOL_SOCKET, SO_BROADCAST, 1);
    add_passing(&options, unit, family);
    add(&options, unit->timestamping != TIMESTAMPING_OFF, "Timestamping", SOL_SOCKET,
        unit->timestamping == TIMESTAMPING_NS ? SO_TIMESTAMPNS : SO_TIMESTAMP, 1);
    add(&options, unit->priority >= 0, "Priority", SOL_SOCKET, SO_PRIORITY,
        (uint64_t)unit->priority);
    add(&options, unit->receive_buffer > 0, "ReceiveBuffer", SOL_SOCKET, SO_RCVBUFFORCE,
        unit->receive_buffer);
    add(&options, unit->send_buffer > 0, "SendBuffer", SOL_SOCKET, SO_SNDBUFFORCE,
        unit->send_buffer);
    add(&options, unit->mark >= 0, "Mark", SOL_SOCKET, SO_MARK, (uint64_t)unit->mark);
    /* Of IPv6 sockets, too: for their IPv4 packets. IPV6_TCLASS is not systemd's. */
    add(&options, internet && unit->ip_tos >= 0, "IPTOS", IPPROTO_IP, IP_TOS,
        (uint64_t)unit->ip_tos);
    add(&options, internet && unit->ip_ttl >= 0, "IPTTL", v4 ? IPPROTO_IP : IPPROTO_IPV6,
        v4 ? IP_TTL : IPV6_UNICAST_HOPS, (uint64_t)unit->ip_ttl);
    *ret_options = options;
}

static const void *value_of(const struct socket_option *option, socklen_t *ret_size)
{
    *ret_size =
        option->text ? (socklen_t)(strlen(option->text) + 1) : (socklen_t)sizeof(option->number);
    return option->text ? (const void *)option->text : &option->number;
}

static int set(int fd, const struct socket_option *option)
{
    socklen_t size;
    const void *value = value_of(option, &size);

    if (setsockopt(fd, option->level, option->name, value, size) == 0 ||
        (option->fallback_name != 0 &&
         setsockopt(fd, option->level, option->fallback_name, value, size) == 0))
        return 0;
    return -errno;
}

/* Once: a socket is prepared anew with every try to bind it. */
void socket_options_warn(const struct socket_unit *unit, const char *key, int error,
                         struct problems *problems)
{
    const struct directive_use *use = unit_file_last_use(unit->file, SECTION_SOCKET, key);
    char value[UNIT_QUOTE_MAX], text[2 * UNIT_QUOTE_MAX];

    if (!problems)
        return;
    (void)snprintf(text, sizeof(text), "\"%s=%s\" has no effect: %s", key,
                   unit_quote(use ? use->value : "", value), strerror(-error));
    for (size_t i = 0; i < problems->n; i++)
        if (strcmp(problems->list[i].text, text) == 0)
            return;
    problems_add(problems, PROBLEM_WARNING, use ? use->file : unit->file->main, use ? use->line : 0,
                 "%s", text);
}

static int prepare_internet(const struct socket_unit *unit, int fd, int family,
                            struct problems *problems)
{
    bool v4 = family == AF_INET;
    int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
    int only = unit->ipv6_only == IPV6_ONLY_YES;
    struct socket_options options = {0};

    if (!v4 && unit->ipv6_only != IPV6_ONLY_DEFAULT &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) < 0)
        return -errno;
    if (unit->device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, unit->device,
                                   (socklen_t)strlen(unit->device)) < 0)
        return -errno;
    add(&options, unit->reuse_port, "ReusePort", SOL_SOCKET, SO_REUSEPORT, 1);
    add(&options, unit->free_bind, "FreeBind", level, v4 ? IP_FREEBIND : IPV6_FREEBIND, 1);
    add(&options, unit->transparent, "Transparent", level, v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT,
        1);
    for (size_t i = 0; i < options.n; i++) {
        int r = set(fd, &options.items[i]);
        if (r < 0)
            socket_options_warn(unit, options.items[i].key, r, problems);
    }
    return 0;
}

static int get_number(int fd, int name, int *ret_number)
{
    socklen_t size = sizeof(*ret_number);

    return getsockopt(fd, SOL_SOCKET, name, ret_number, &size) < 0 ? -errno : 0;
}

int socket_options_prepare(const struct socket_unit *unit, int fd, struct problems *problems)
{
    struct socket_options options;
    int family = AF_UNSPEC, type = 0, on = 1;
    int r = get_number(fd, SO_DOMAIN, &family);

    if (r == 0)
        r = get_number(fd, SO_TYPE, &type);
    if (r == 0 && (family == AF_INET || family == AF_INET6))
        r = prepare_internet(unit, fd, family, problems);
    if (r < 0)
        return r;
    /* As systemd. Elsewhere it would be of no use (Unix), or is libhark's: never for datagrams. */
    if (family != AF_INET && family != AF_INET6)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    socket_options_of(unit, family, type, &options);
    for (size_t i = 0; i < options.n; i++) {
        r = set(fd, &options.items[i]);
        if (r < 0 && options.items[i].name == SO_PASSRIGHTS && family == AF_UNIX)
            return r; /* it is there for safety */
        if (r < 0)
            socket_options_warn(unit, options.items[i].key, r, problems);
    }
    return 0;
}

int socket_options_check(const struct socket_unit *unit, int fd)
{
    int family, rights;
    int r = get_number(fd, SO_DOMAIN, &family);

    if (r < 0 || family != AF_UNIX || unit->accept_file_descriptors)
        return r;
    return get_number(fd, SO_PASSRIGHTS, &rights);
}

int socket_options_protocol(const struct socket_unit *unit, int type)
{
    switch (unit->protocol) {
    case IPPROTO_UDPLITE:
        return type == SOCK_DGRAM ? unit->protocol : 0;
    case IPPROTO_SCTP:
        return type == SOCK_DGRAM ? 0 : unit->protocol;
    case IPPROTO_MPTCP:
        return type == SOCK_STREAM ? unit->protocol : 0;
    default:
        return 0;
    }
}

/* One piece of memory: the options, their numbers, and the texts at its end. */
int listener_connection_options(const struct socket_unit *unit, int family,
                                struct spawn_socket_option **ret_options, size_t *ret_n)
{
    struct socket_options options;
    struct spawn_socket_option *list = NULL;
    size_t size = 0;

    socket_options_of(unit, family, SOCK_STREAM, &options);
    for (size_t i = 0; i < options.n; i++) {
        socklen_t length;
        (void)value_of(&options.items[i], &length);
        size += sizeof(*list) + length;
    }
    if (options.n > 0 && !(list = malloc(size)))
        return -ENOMEM;
    char *values = (char *)(list + options.n);
    for (size_t i = 0; i < options.n; i++) {
        const struct socket_option *option = &options.items[i];
        socklen_t length;
        const void *value = value_of(option, &length);
        list[i] = (struct spawn_socket_option){
            .level = option->level,
            .name = option->name,
            .fallback_name = option->fallback_name,
            .value = memcpy(values, value, length),
            .size = length,
        };
        values += length;
    }
    *ret_options = list;
    *ret_n = options.n;
    return 0;
}
