/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/io.h"
#include "libhark/address.h"
#include "unit/unit-pairs.h"

/* A listener that can be in the way of another one. */
struct endpoint {
    const struct unit_set_socket *socket;
    const struct socket_listener *listener;
    struct address address; /* not of a FIFO */
    const char *path;       /* of what makes a node; else NULL */
    bool takes_ipv4;        /* [::] without IPV6_V6ONLY */
};

/* What BindIPv6Only=default means on this machine. */
static bool is_ipv6_only_by_default(void)
{
    char text[8];

    return read_text_file("/proc/sys/net/ipv6/bindv6only", text, sizeof(text)) > 0 &&
           text[0] == '1';
}

static bool is_any_ipv6(const struct address *address)
{
    return memcmp(&address->socket.in6.sin6_addr, &in6addr_any, sizeof(in6addr_any)) == 0;
}

static bool is_any_ipv4(const struct address *address)
{
    return address->socket.in.sin_addr.s_addr == htonl(INADDR_ANY);
}

/* False for what is in nobody's way: two may open the same file or queue, or hear the same netlink
 * group. */
static bool make_endpoint(const struct unit_set_socket *socket, size_t i, bool ipv6_only,
                          struct endpoint *endpoint)
{
    const struct socket_listener *listener = &socket->unit->listeners.items[i];
    const struct socket_unit *unit = socket->unit;

    *endpoint = (struct endpoint){.socket = socket, .listener = listener};
    if (listener->kind == LISTENER_FIFO) {
        endpoint->path = listener->address;
        return true;
    }
    if (listener->kind > LISTENER_SEQPACKET ||
        address_parse(listener->address, &endpoint->address) < 0)
        return false;
    endpoint->path = endpoint->address.path;
    endpoint->takes_ipv4 =
        endpoint->address.family == AF_INET6 && is_any_ipv6(&endpoint->address) &&
        (unit->ipv6_only == IPV6_ONLY_BOTH || (unit->ipv6_only == IPV6_ONLY_DEFAULT && !ipv6_only));
    return true;
}

static bool is_same_protocol(const struct endpoint *one, const struct endpoint *other)
{
    int a = one->socket->unit->protocol, b = other->socket->unit->protocol;
    bool a_is_own = a == IPPROTO_SCTP || a == IPPROTO_UDPLITE;
    bool b_is_own = b == IPPROTO_SCTP || b == IPPROTO_UDPLITE;

    /* TCP and MPTCP have their ports in common. */
    return one->listener->kind == other->listener->kind && (a == b || (!a_is_own && !b_is_own));
}

/* Datagrams go to the most specific of sockets that overlap, so only equal ones conflict; a second
 * listener cannot even be bound. */
static bool overlap(const struct endpoint *one, const struct endpoint *other)
{
    const struct address *a = &one->address, *b = &other->address;
    bool may_overlap = one->listener->kind == LISTENER_DATAGRAM;

    if (a->socket.in.sin_port != b->socket.in.sin_port) /* at the same place in both families */
        return false;
    if (a->family != b->family)
        return !may_overlap && (one->takes_ipv4 || other->takes_ipv4);
    if (a->family == AF_INET)
        return a->socket.in.sin_addr.s_addr == b->socket.in.sin_addr.s_addr ||
               (!may_overlap && (is_any_ipv4(a) || is_any_ipv4(b)));
    return (memcmp(&a->socket.in6.sin6_addr, &b->socket.in6.sin6_addr, sizeof(in6addr_any)) == 0 &&
            a->socket.in6.sin6_scope_id == b->socket.in6.sin6_scope_id) ||
           (!may_overlap && (is_any_ipv6(a) || is_any_ipv6(b)));
}

static bool conflict_inet(const struct endpoint *one, const struct endpoint *other)
{
    const struct socket_unit *a = one->socket->unit, *b = other->socket->unit;

    if ((a->reuse_port && b->reuse_port) || !is_same_protocol(one, other))
        return false;
    if (a->device && b->device && strcmp(a->device, b->device) != 0)
        return false;
    return overlap(one, other);
}

static bool is_inet(const struct endpoint *endpoint)
{
    return endpoint->address.family == AF_INET || endpoint->address.family == AF_INET6;
}

static bool conflict(const struct endpoint *one, const struct endpoint *other)
{
    const struct address *a = &one->address, *b = &other->address;

    if (one->path || other->path)
        return one->path && other->path && strcmp(one->path, other->path) == 0 &&
               !(one->listener->kind == LISTENER_FIFO && other->listener->kind == LISTENER_FIFO);
    if (is_inet(one) && is_inet(other))
        return conflict_inet(one, other);
    if (a->family != b->family || one->listener->kind != other->listener->kind)
        return false;
    if (a->family == AF_VSOCK)
        return a->socket.vm.svm_port == b->socket.vm.svm_port &&
               (a->socket.vm.svm_cid == b->socket.vm.svm_cid ||
                a->socket.vm.svm_cid == VMADDR_CID_ANY || b->socket.vm.svm_cid == VMADDR_CID_ANY);
    return a->length == b->length && memcmp(&a->socket, &b->socket, a->length) == 0;
}

static void report(const struct endpoint *one, const struct endpoint *other,
                   struct problems *problems)
{
    char address[UNIT_QUOTE_MAX], other_address[UNIT_QUOTE_MAX];

    unit_quote(one->listener->address, address);
    unit_quote(other->listener->address, other_address);
    problems->unit = one->socket->file->name;
    problems_add(problems, PROBLEM_ERROR, one->listener->file, one->listener->line,
                 "cannot listen on \"%s\": \"%s\" has \"%s=%s\" at %s:%u", address,
                 other->socket->file->name, listener_key(other->listener->kind), other_address,
                 other->listener->file, other->listener->line);
    problems->unit = NULL;
}

/* Each of them against those before it. */
static void compare_all(const struct endpoint *endpoints, size_t n, struct problems *problems)
{
    for (size_t i = 1; i < n; i++) {
        size_t j = 0;
        while (j < i && !conflict(&endpoints[i], &endpoints[j]))
            j++;
        if (j < i)
            report(&endpoints[i], &endpoints[j], problems);
    }
}

int listener_conflicts_check(const struct unit_set *set, struct problems *problems)
{
    cleanup_free struct endpoint *endpoints = NULL;
    bool ipv6_only = is_ipv6_only_by_default();
    size_t n_listeners = 0, n = 0;

    for (size_t i = 0; i < set->n_sockets; i++)
        n_listeners += set->sockets[i].unit->listeners.n;
    if (n_listeners > UNIT_SET_LISTENERS_MAX) {
        problems_add(problems, PROBLEM_ERROR, NULL, 0, "cannot serve %zu listeners: at most %d",
                     n_listeners, UNIT_SET_LISTENERS_MAX);
        return 0;
    }
    endpoints = calloc(n_listeners + 1, sizeof(*endpoints));
    if (!endpoints)
        return -ENOMEM;
    for (size_t i = 0; i < set->n_sockets; i++)
        for (size_t k = 0; k < set->sockets[i].unit->listeners.n; k++)
            n += make_endpoint(&set->sockets[i], k, ipv6_only, &endpoints[n]);
    compare_all(endpoints, n, problems);
    return 0;
}
