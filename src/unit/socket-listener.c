/* SPDX-License-Identifier: MIT */
#include "unit/socket-listener.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "basic/cleanup.h"
#include "libhark/address.h"
#include "unit/process-values.h"
#include "unit/values.h"

static const char *const listener_keys[] = {
    [LISTENER_STREAM] = "ListenStream",
    [LISTENER_DATAGRAM] = "ListenDatagram",
    [LISTENER_SEQPACKET] = "ListenSequentialPacket",
    [LISTENER_FIFO] = "ListenFIFO",
    [LISTENER_SPECIAL] = "ListenSpecial",
    [LISTENER_NETLINK] = "ListenNetlink",
    [LISTENER_MESSAGE_QUEUE] = "ListenMessageQueue",
    NULL,
};

const char *listener_key(enum listener_kind kind)
{
    return listener_keys[kind];
}

void listener_list_done(struct listener_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i].address);
    free(list->items);
    *list = (struct listener_list){0};
}

/* Takes the address over. */
static int add(struct listener_list *list, const struct socket_listener *listener)
{
    struct socket_listener *larger = reallocarray(list->items, list->n + 1, sizeof(*larger));

    if (!larger) {
        free(listener->address);
        return -ENOMEM;
    }
    list->items = larger;
    larger[list->n++] = *listener;
    return 0;
}

/* The part of a path that systemd gives to the kernel. */
static int tidy_path(const struct value_source *source, const char *text, char **ret_path)
{
    int r = value_check(source, value_path(text, ret_path), "an absolute path without \"..\"");

    if (r == 0)
        path_leave_var_run(*ret_path);
    return r;
}

/* A socket's address in the form of address_parse(). */
static int check_address(const struct value_source *source, enum listener_kind kind,
                         const char *text)
{
    struct address address;
    int r = address_parse(text, &address);

    if (r == -ENAMETOOLONG)
        return value_fault(source, "too long for a socket: at most %zu characters",
                           sizeof(address.socket.un.sun_path) - 1);
    if (r == -ENODEV)
        return value_fault(source, "there is no such interface");
    if (r == -ERANGE)
        return value_fault(source, "the port or CID is out of range");
    if (r < 0 || (address.path && *text != '/'))
        return value_fault(source, "not an address: PORT, IPV4:PORT, [IPV6]:PORT, /path, @name or "
                                   "vsock:CID:PORT");
    if (address.path && strlen(text) >= sizeof(address.socket.un.sun_path))
        return value_fault(source, "too long for a socket: at most %zu characters",
                           sizeof(address.socket.un.sun_path) - 1);
    if (kind == LISTENER_SEQPACKET && address.family != AF_UNIX)
        return value_fault(source, "only Unix sockets have sequential packets");
    return 0;
}

static int make_socket_address(const struct value_source *source, enum listener_kind kind,
                               const char *text, char **ret_address)
{
    cleanup_free char *address = NULL;
    int r = 0;

    if (*text == '/')
        r = tidy_path(source, text, &address);
    else if (!(address = strdup(text)))
        return -ENOMEM;
    if (r == 0)
        r = check_address(source, kind, address);
    if (r == 0)
        *ret_address = take_pointer(&address);
    return r;
}

static int make_netlink_address(const struct value_source *source, const char *text,
                                char **ret_address)
{
    uint32_t groups;
    int family;
    int r = value_check(source, value_netlink(text, &family, &groups),
                        "a netlink family, perhaps with a mask of groups");

    if (r != 0)
        return r;
    *ret_address = strdup(text);
    return *ret_address ? 0 : -ENOMEM;
}

static int make_queue_name(const struct value_source *source, const char *text, char **ret_address)
{
    cleanup_free char *name = NULL;
    int r = tidy_path(source, text, &name);

    if (r != 0)
        return r;
    if (name[1] == '\0' || strchr(name + 1, '/') || strlen(name + 1) > NAME_MAX)
        return value_fault(source, "not the name of a message queue: a slash, then no other one");
    *ret_address = take_pointer(&name);
    return 0;
}

static int make_address(const struct value_source *source, enum listener_kind kind,
                        const char *text, char **ret_address)
{
    switch (kind) {
    case LISTENER_FIFO:
    case LISTENER_SPECIAL:
        return tidy_path(source, text, ret_address);
    case LISTENER_NETLINK:
        return make_netlink_address(source, text, ret_address);
    case LISTENER_MESSAGE_QUEUE:
        return make_queue_name(source, text, ret_address);
    default:
        return make_socket_address(source, kind, text, ret_address);
    }
}

int read_listener(const struct value_source *source, void *field)
{
    const struct directive_use *use = source->use;
    struct socket_listener listener = {
        .kind = (enum listener_kind)value_choice(use->key, listener_keys),
        .file = use->file,
        .line = use->line,
    };
    cleanup_free char *text = NULL;

    if (*use->value == '\0') {
        listener_list_done(field);
        return 0;
    }
    int r = value_expand(source, use->value, EXPAND_PATH, &text);
    if (r == 0)
        r = make_address(source, listener.kind, text, &listener.address);
    return r == 0 ? add(field, &listener) : r;
}
