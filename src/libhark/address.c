/* SPDX-License-Identifier: MIT */
#include "libhark/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "basic/parse.h"

#define VSOCK_PREFIX "vsock:"

static int parse_port(const char *text, uint16_t *ret_port)
{
    uint64_t port;
    int r = parse_unsigned(text, UINT16_MAX, &port);

    if (r < 0)
        return r;
    if (port == 0)
        return -ERANGE;
    *ret_port = htons((uint16_t)port);
    return 0;
}

static int parse_interface(const char *text, uint32_t *ret_index)
{
    uint64_t number;

    if (*text == '\0')
        return -EINVAL;
    if (parse_unsigned(text, INT32_MAX, &number) == 0 && number > 0) {
        *ret_index = (uint32_t)number;
        return 0;
    }
    unsigned index = if_nametoindex(text);
    if (index == 0)
        return -ENODEV;
    *ret_index = index;
    return 0;
}

/* Copies length bytes and terminates them; -EINVAL when they do not fit. */
static int copy_part(const char *from, size_t length, char *buffer, size_t size)
{
    if (length >= size)
        return -EINVAL;
    memcpy(buffer, from, length);
    buffer[length] = '\0';
    return 0;
}

static int parse_path(const char *text, struct address *address)
{
    const char *name = strrchr(text, '/') + 1;

    if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -EINVAL;
    if (strlen(text) >= PATH_MAX)
        return -ENAMETOOLONG;
    address->family = AF_UNIX;
    address->path = text;
    return 0;
}

static int parse_abstract(const char *name, struct address *address)
{
    size_t length = strlen(name);

    if (length == 0)
        return -EINVAL;
    if (length > sizeof(address->socket.un.sun_path) - 1)
        return -ENAMETOOLONG;
    address->family = address->socket.un.sun_family = AF_UNIX;
    memcpy(address->socket.un.sun_path + 1, name, length);
    address->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
    return 0;
}

static int parse_inet(const char *text, struct address *address)
{
    char host[INET_ADDRSTRLEN];
    const char *colon = strchr(text, ':');

    if (!colon)
        return -EINVAL;
    int r = copy_part(text, (size_t)(colon - text), host, sizeof(host));
    if (r < 0)
        return r;
    address->family = address->socket.in.sin_family = AF_INET;
    address->length = sizeof(address->socket.in);
    if (inet_pton(AF_INET, host, &address->socket.in.sin_addr) != 1)
        return -EINVAL;
    return parse_port(colon + 1, &address->socket.in.sin_port);
}

/* text begins behind the bracket. */
static int parse_inet6(const char *text, struct address *address)
{
    char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 1], port[sizeof("65535")];
    const char *bracket = strchr(text, ']'), *outer;
    struct sockaddr_in6 *in6 = &address->socket.in6;

    if (!bracket || bracket[1] != ':')
        return -EINVAL;
    int r = copy_part(text, (size_t)(bracket - text), host, sizeof(host));
    if (r < 0)
        return r;
    char *inner = strchr(host, '%');
    if (inner)
        *inner++ = '\0';
    outer = strchr(bracket, '%');
    if (inner && outer)
        return -EINVAL;
    address->family = in6->sin6_family = AF_INET6;
    address->length = sizeof(*in6);
    if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
        return -EINVAL;
    r = copy_part(bracket + 2, outer ? (size_t)(outer - bracket - 2) : strlen(bracket + 2), port,
                  sizeof(port));
    if (r < 0)
        return r;
    r = parse_port(port, &in6->sin6_port);
    if (r < 0 || (!inner && !outer))
        return r;
    return parse_interface(inner ? inner : outer + 1, &in6->sin6_scope_id);
}

static int parse_port_only(const char *text, struct address *address)
{
    address->family = address->socket.in6.sin6_family = AF_INET6;
    address->length = sizeof(address->socket.in6);
    address->socket.in6.sin6_addr = in6addr_any;
    address->dual_stack = true;
    return parse_port(text, &address->socket.in6.sin6_port);
}

/* text begins behind "vsock:". */
static int parse_vsock(const char *text, struct address *address)
{
    char cid[sizeof("4294967295")];
    const char *colon = strchr(text, ':');
    uint64_t number = UINT32_MAX; /* VMADDR_CID_ANY */

    if (!colon)
        return -EINVAL;
    int r = copy_part(text, (size_t)(colon - text), cid, sizeof(cid));
    if (r < 0)
        return r;
    if (cid[0] != '\0') {
        r = parse_unsigned(cid, UINT32_MAX, &number);
        if (r < 0)
            return r;
    }
    address->socket.vm.svm_cid = (unsigned)number;
    /* The highest is VMADDR_PORT_ANY. */
    r = parse_unsigned(colon + 1, UINT32_MAX - 1, &number);
    if (r < 0)
        return r;
    if (number == 0)
        return -ERANGE;
    address->family = address->socket.vm.svm_family = AF_VSOCK;
    address->socket.vm.svm_port = (unsigned)number;
    address->length = sizeof(address->socket.vm);
    return 0;
}

int address_parse(const char *text, struct address *ret_address)
{
    struct address address = {0};
    int r;

    if (text[0] == '@')
        r = parse_abstract(text + 1, &address);
    else if (strchr(text, '/'))
        r = parse_path(text, &address);
    else if (text[0] == '[')
        r = parse_inet6(text + 1, &address);
    else if (strncmp(text, VSOCK_PREFIX, strlen(VSOCK_PREFIX)) == 0)
        r = parse_vsock(text + strlen(VSOCK_PREFIX), &address);
    else if (text[strspn(text, "0123456789")] == '\0')
        r = parse_port_only(text, &address);
    else
        r = parse_inet(text, &address);
    if (r < 0)
        return r;
    *ret_address = address;
    return 0;
}

static int fits(int length, size_t size)
{
    return length < 0 || (size_t)length >= size ? -ENOBUFS : length;
}

static int format_unix(const struct sockaddr_un *un, socklen_t length, char *text, size_t size)
{
    size_t used = 0, n = length - offsetof(struct sockaddr_un, sun_path);

    if (n == 0)
        return fits(snprintf(text, size, "unnamed"), size);
    if (un->sun_path[0] != '\0')
        return fits(snprintf(text, size, "%.*s", (int)strnlen(un->sun_path, n), un->sun_path),
                    size);
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)un->sun_path[i];
        bool printable = byte > ' ' && byte < 0x7f && byte != '\\';
        int r;

        if (i == 0)
            r = snprintf(text, size, "@");
        else
            r = snprintf(text + used, size - used, printable ? "%c" : "\\x%02x", byte);
        r = fits(r, size - used);
        if (r < 0)
            return r;
        used += (size_t)r;
    }
    return (int)used;
}

static int format_inet6(const struct sockaddr_in6 *in6, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "", interface[IF_NAMESIZE] = "";
    unsigned port = ntohs(in6->sin6_port);

    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
        (void)inet_ntop(AF_INET, in6->sin6_addr.s6_addr + 12, host, sizeof(host));
        return snprintf(text, size, "%s:%u", host, port);
    }
    (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
    if (in6->sin6_scope_id == 0)
        return snprintf(text, size, "[%s]:%u", host, port);
    if (!if_indextoname(in6->sin6_scope_id, interface))
        (void)snprintf(interface, sizeof(interface), "%u", in6->sin6_scope_id);
    return snprintf(text, size, "[%s]:%u%%%s", host, port, interface);
}

int address_format(const struct sockaddr *socket, socklen_t length, char *text, size_t size)
{
    if (length < sizeof(sa_family_t))
        return -EINVAL;
    switch (socket->sa_family) {
    case AF_UNIX:
        if (length > sizeof(struct sockaddr_un))
            return -EINVAL;
        return format_unix((const struct sockaddr_un *)(const void *)socket, length, text, size);
    case AF_INET: {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)socket;
        char host[INET_ADDRSTRLEN] = "";

        if (length < sizeof(*in))
            return -EINVAL;
        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        return fits(snprintf(text, size, "%s:%u", host, ntohs(in->sin_port)), size);
    }
    case AF_INET6:
        if (length < sizeof(struct sockaddr_in6))
            return -EINVAL;
        return fits(format_inet6((const struct sockaddr_in6 *)(const void *)socket, text, size),
                    size);
    case AF_VSOCK: {
        const struct sockaddr_vm *vm = (const struct sockaddr_vm *)(const void *)socket;

        if (length < sizeof(*vm))
            return -EINVAL;
        if (vm->svm_cid == VMADDR_CID_ANY)
            return fits(snprintf(text, size, "vsock::%u", vm->svm_port), size);
        return fits(snprintf(text, size, "vsock:%u:%u", vm->svm_cid, vm->svm_port), size);
    }
    default:
        return -EAFNOSUPPORT;
    }
}
