/* SPDX-License-Identifier: MIT */
#include "probe-socket.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

void probe_write_bytes(FILE *out, const char *bytes, size_t n)
{
    fputc('"', out);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];

        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

void probe_write_string(FILE *out, const char *text)
{
    probe_write_bytes(out, text, strlen(text));
}

/* The options that are an int; one that the socket does not know is left out. */
static const struct {
    const char *name;
    int level;
    int option;
} options[] = {
    {"SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE},
    {"SO_PRIORITY", SOL_SOCKET, SO_PRIORITY},
    {"SO_RCVBUF", SOL_SOCKET, SO_RCVBUF},
    {"SO_SNDBUF", SOL_SOCKET, SO_SNDBUF},
    {"SO_MARK", SOL_SOCKET, SO_MARK},
    {"SO_REUSEPORT", SOL_SOCKET, SO_REUSEPORT},
    {"SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR},
    {"SO_BROADCAST", SOL_SOCKET, SO_BROADCAST},
    {"SO_PASSCRED", SOL_SOCKET, SO_PASSCRED},
    {"SO_PASSSEC", SOL_SOCKET, SO_PASSSEC},
    {"SO_TIMESTAMP", SOL_SOCKET, SO_TIMESTAMP},
    {"SO_TIMESTAMPNS", SOL_SOCKET, SO_TIMESTAMPNS},
    {"SO_ACCEPTCONN", SOL_SOCKET, SO_ACCEPTCONN},
    {"SO_DONTROUTE", SOL_SOCKET, SO_DONTROUTE},
    {"SO_OOBINLINE", SOL_SOCKET, SO_OOBINLINE},
    {"SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT},
    {"SO_RXQ_OVFL", SOL_SOCKET, SO_RXQ_OVFL},
    {"SO_ERROR", SOL_SOCKET, SO_ERROR},
    {"TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY},
    {"TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE},
    {"TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL},
    {"TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT},
    {"TCP_DEFER_ACCEPT", IPPROTO_TCP, TCP_DEFER_ACCEPT},
    {"TCP_QUICKACK", IPPROTO_TCP, TCP_QUICKACK},
    {"TCP_FASTOPEN", IPPROTO_TCP, TCP_FASTOPEN},
    {"TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT},
    {"IP_TOS", IPPROTO_IP, IP_TOS},
    {"IP_TTL", IPPROTO_IP, IP_TTL},
    {"IP_FREEBIND", IPPROTO_IP, IP_FREEBIND},
    {"IP_TRANSPARENT", IPPROTO_IP, IP_TRANSPARENT},
    {"IP_PKTINFO", IPPROTO_IP, IP_PKTINFO},
    {"IP_RECVERR", IPPROTO_IP, IP_RECVERR},
    {"IP_MTU_DISCOVER", IPPROTO_IP, IP_MTU_DISCOVER},
    {"IPV6_UNICAST_HOPS", IPPROTO_IPV6, IPV6_UNICAST_HOPS},
    {"IPV6_TCLASS", IPPROTO_IPV6, IPV6_TCLASS},
    {"IPV6_V6ONLY", IPPROTO_IPV6, IPV6_V6ONLY},
    {"IPV6_FREEBIND", IPPROTO_IPV6, IPV6_FREEBIND},
    {"IPV6_TRANSPARENT", IPPROTO_IPV6, IPV6_TRANSPARENT},
    {"IPV6_RECVPKTINFO", IPPROTO_IPV6, IPV6_RECVPKTINFO},
    {"NETLINK_PKTINFO", SOL_NETLINK, NETLINK_PKTINFO},
};

static int option(int fd, int level, int name, int otherwise)
{
    int value = 0;
    socklen_t size = sizeof(value);

    return getsockopt(fd, level, name, &value, &size) < 0 ? otherwise : value;
}

static void write_options(FILE *out, int fd, int domain, int type)
{
    const char *separator = "";

    fputs(",\"options\":{", out);
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        int value = 0;
        socklen_t size = sizeof(value);

        /* Other families answer these with values of their own. */
        if (options[i].level != SOL_SOCKET && domain != AF_INET && domain != AF_INET6 &&
            domain != AF_NETLINK)
            continue;
        if (options[i].level == SOL_NETLINK && domain != AF_NETLINK)
            continue;
        if (options[i].level == IPPROTO_TCP && type != SOCK_STREAM)
            continue;
        if (getsockopt(fd, options[i].level, options[i].option, &value, &size) < 0)
            continue;
        fprintf(out, "%s\"%s\":%d", separator, options[i].name, value);
        separator = ",";
    }
    fputc('}', out);
}

static void write_text_option(FILE *out, int fd, int level, int name, const char *key)
{
    char value[64] = "";
    socklen_t size = sizeof(value) - 1;

    if (getsockopt(fd, level, name, value, &size) < 0)
        return;
    fprintf(out, ",\"%s\":", key);
    probe_write_string(out, value);
}

static void write_address(FILE *out, const char *key, int r, const struct sockaddr_storage *address,
                          socklen_t size)
{
    char text[128] = "";

    if (r < 0)
        return;
    fprintf(out, ",\"%s\":", key);
    if (address->ss_family == AF_UNIX && size > offsetof(struct sockaddr_un, sun_path)) {
        const struct sockaddr_un *sun = (const struct sockaddr_un *)(const void *)address;
        bool abstract = sun->sun_path[0] == '\0';
        size_t length = size - offsetof(struct sockaddr_un, sun_path);

        if (!abstract)
            length = strnlen(sun->sun_path, length);
        probe_write_bytes(out, sun->sun_path, length);
        return;
    }
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        char host[INET_ADDRSTRLEN];

        (void)snprintf(text, sizeof(text), "%s:%u",
                       inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host)), ntohs(in->sin_port));
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)address;
        char host[INET6_ADDRSTRLEN];

        (void)snprintf(text, sizeof(text), "[%s]:%u%%%u",
                       inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host)),
                       ntohs(in->sin6_port), in->sin6_scope_id);
    } else if (address->ss_family == AF_NETLINK) {
        const struct sockaddr_nl *nl = (const struct sockaddr_nl *)(const void *)address;

        (void)snprintf(text, sizeof(text), "netlink:%u", nl->nl_groups);
    } else if (address->ss_family == AF_VSOCK) {
        const struct sockaddr_vm *vm = (const struct sockaddr_vm *)(const void *)address;

        (void)snprintf(text, sizeof(text), "vsock:%u:%u", vm->svm_cid, vm->svm_port);
    }
    probe_write_string(out, text);
}

static void write_addresses(FILE *out, int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    int r = getsockname(fd, (struct sockaddr *)&address, &size);

    write_address(out, "name", r, &address, size);
    size = sizeof(address);
    r = getpeername(fd, (struct sockaddr *)&address, &size);
    write_address(out, "peer", r, &address, size);
}

/* The limit of a TCP listener's queue; a Unix one does not tell. */
static void write_backlog(FILE *out, int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
        fprintf(out, ",\"backlog\":%u", info.tcpi_sacked);
}

void probe_write_socket(FILE *out, int fd)
{
    int domain = option(fd, SOL_SOCKET, SO_DOMAIN, -1);
    int type = option(fd, SOL_SOCKET, SO_TYPE, -1);
    int listening = option(fd, SOL_SOCKET, SO_ACCEPTCONN, 0);

    fprintf(out, ",\"domain\":%d,\"socket_type\":%d,\"listening\":%s,\"protocol\":%d", domain, type,
            listening ? "true" : "false", option(fd, SOL_SOCKET, SO_PROTOCOL, -1));
    write_addresses(out, fd);
    write_options(out, fd, domain, type);
    write_text_option(out, fd, SOL_SOCKET, SO_BINDTODEVICE, "device");
    if (domain == AF_INET || domain == AF_INET6) {
        write_text_option(out, fd, IPPROTO_TCP, TCP_CONGESTION, "congestion");
        if (type == SOCK_STREAM && listening)
            write_backlog(out, fd);
    }
    if (domain == AF_UNIX) {
        struct ucred peer = {0};
        socklen_t size = sizeof(peer);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
            fprintf(out, ",\"peer_uid\":%d,\"peer_gid\":%d", (int)peer.uid, (int)peer.gid);
    }
}
