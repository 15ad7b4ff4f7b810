/* SPDX-License-Identifier: MIT */
#include "listener/listener.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "libhark/address.h"
#include "listener/kinds.h"
#include "listener/socket-options.h"

struct listener {
    const struct socket_unit *unit;       /* NULL without one */
    const struct socket_listener *wanted; /* in the unit */
    struct hark_listener *socket;         /* Unix, internet, vsock; else NULL, and: */
    int fd;
    char *address;
    bool passed;
    pid_t maker;
    struct problems *problems; /* only while it is being made */
};

/* ---- Life ------------------------------------------------------------------------------------ */

static struct listener *new_listener(void)
{
    struct listener *listener = calloc(1, sizeof(*listener));

    if (!listener)
        return NULL;
    listener->fd = -1;
    listener->maker = getpid();
    return listener;
}

static void cleanup_listener(struct listener **listener)
{
    listener_free(*listener);
}

static void remove_name(const struct listener *listener)
{
    if (listener->wanted->kind == LISTENER_FIFO)
        fifo_remove(listener->wanted->address, listener->fd);
    else if (listener->wanted->kind == LISTENER_MESSAGE_QUEUE)
        queue_remove(listener->wanted->address, listener->fd);
}

struct listener *listener_free(struct listener *listener)
{
    if (!listener)
        return NULL;
    if (listener->fd >= 0 && !listener->passed && listener->unit->remove_on_stop &&
        listener->maker == getpid())
        remove_name(listener);
    hark_listener_free(listener->socket);
    fd_close(listener->fd);
    free(listener->address);
    free(listener);
    return NULL;
}

/* The address of what is no socket of libhark. */
static int write_address(struct listener *listener)
{
    const char *prefix = listener->wanted->kind == LISTENER_NETLINK         ? "netlink "
                         : listener->wanted->kind == LISTENER_MESSAGE_QUEUE ? "mqueue "
                                                                            : "";

    return asprintf(&listener->address, "%s%s", prefix, listener->wanted->address) < 0 ? -ENOMEM
                                                                                       : 0;
}

static int new_for(const struct listener_request *request, struct listener **ret_listener)
{
    struct listener *listener = new_listener();

    if (!listener)
        return -ENOMEM;
    listener->unit = request->unit;
    listener->wanted = wanted_listener(request);
    if (socket_type_of(listener->wanted->kind) == 0 && write_address(listener) < 0) {
        free(listener);
        return -ENOMEM;
    }
    *ret_listener = listener;
    return 0;
}

/* ---- Made ------------------------------------------------------------------------------------ */

static int prepare(int fd, void *userdata)
{
    struct listener *listener = userdata;

    return socket_options_prepare(listener->unit, fd, listener->problems);
}

static struct hark_listen_options options_for(const struct listener_request *request,
                                              struct listener *listener)
{
    const struct socket_unit *unit = request->unit;
    struct hark_listen_options options = HARK_LISTEN_OPTIONS_INIT;

    options.type = socket_type_of(listener->wanted->kind);
    options.protocol = socket_options_protocol(unit, options.type);
    options.backlog = unit->backlog > INT_MAX ? INT_MAX : (int)unit->backlog;
    options.mode = unit->socket_mode & 0777;
    options.directory_mode = unit->directory_mode & 01777;
    options.owner = request->owner;
    options.group = request->group;
    options.lock_timeout_ms = request->timeout_ms;
    options.flags = HARK_LISTEN_NONBLOCK | HARK_LISTEN_MKDIR | HARK_LISTEN_ONE_THREAD |
                    (unit->remove_on_stop ? 0U : (unsigned)HARK_LISTEN_KEEP_NAME);
    options.prepare = prepare;
    options.userdata = listener;
    return options;
}

/* For libhark a mere PORT is never IPv6 alone; for systemd net.ipv6.bindv6only decides, which is
 * what an IPv6 address gets when nothing else is said. */
static int listen_on_port(const struct address *address, const struct hark_listen_options *options,
                          struct hark_listener **ret_socket)
{
    unsigned port = ntohs(address->socket.in6.sin6_port);
    char text[sizeof("0.0.0.0:65535")];

    (void)snprintf(text, sizeof(text), "[::]:%hu", (unsigned short)port);
    int r = hark_listen(text, options, ret_socket);
    if (r != -EAFNOSUPPORT && r != -EADDRNOTAVAIL)
        return r;
    (void)snprintf(text, sizeof(text), "0.0.0.0:%hu", (unsigned short)port);
    return hark_listen(text, options, ret_socket);
}

static int make_socket(const struct listener_request *request, struct listener *listener)
{
    struct hark_listen_options options = options_for(request, listener);
    struct address address;
    int r = address_parse(listener->wanted->address, &address);

    if (r < 0)
        return r;
    listener->problems = request->problems;
    if (address.dual_stack)
        r = listen_on_port(&address, &options, &listener->socket);
    else
        r = hark_listen(listener->wanted->address, &options, &listener->socket);
    listener->problems = NULL;
    return r == -EAFNOSUPPORT && address.family != AF_INET6 ? -EPROTONOSUPPORT : r;
}

int listener_new(const struct listener_request *request, struct listener **ret_listener)
{
    cleanup(cleanup_listener) struct listener *listener = NULL;
    int r = new_for(request, &listener);

    if (r < 0)
        return r;
    switch (listener->wanted->kind) {
    case LISTENER_FIFO:
        r = fifo_open(request, &listener->fd);
        break;
    case LISTENER_SPECIAL:
        r = special_open(request, &listener->fd);
        break;
    case LISTENER_NETLINK:
        r = netlink_open(request, &listener->fd);
        break;
    case LISTENER_MESSAGE_QUEUE:
        r = queue_open(request, &listener->fd);
        break;
    default:
        r = make_socket(request, listener);
    }
    if (r < 0)
        return r;
    *ret_listener = take_pointer(&listener);
    return 0;
}

/* ---- Taken ----------------------------------------------------------------------------------- */

int listener_take(const struct listener_request *request, int fd, struct listener **ret_listener)
{
    cleanup(cleanup_listener) struct listener *listener = NULL;
    int type = socket_type_of(wanted_listener(request)->kind);
    int r = new_for(request, &listener);

    if (r < 0)
        return r;
    listener->passed = true;
    if (!listener_fits_kind(request, fd))
        return -EPROTOTYPE;
    if (type == 0) {
        r = fd_set_close_on_exec(fd, true);
        if (r < 0)
            return r;
        listener->fd = fd;
    } else {
        r = socket_options_check(request->unit, fd);
        if (r == 0)
            r = hark_listener_from_fd(fd, type, request->unit->fd_name, &listener->socket);
        if (r < 0)
            return r;
    }
    *ret_listener = take_pointer(&listener);
    return 0;
}

static int adopt_socket(const struct listener_request *request, int fd, int lock_fd,
                        struct listener *listener)
{
    const struct hark_listen_options options = options_for(request, listener);
    int r =
        hark_listener_adopt(listener->wanted->address, fd, lock_fd, &options, &listener->socket);

    /* Somebody has removed the lock file meanwhile: that one is nobody's any more. */
    if (r == -ESTALE) {
        r = hark_listener_adopt(listener->wanted->address, fd, -1, &options, &listener->socket);
        if (r >= 0)
            fd_close(lock_fd);
    }
    return r;
}

int listener_adopt(const struct listener_request *request, int fd, int lock_fd,
                   struct listener **ret_listener)
{
    cleanup(cleanup_listener) struct listener *listener = NULL;
    int r = new_for(request, &listener);

    if (r < 0)
        return r;
    if (socket_type_of(listener->wanted->kind) != 0) {
        r = adopt_socket(request, fd, lock_fd, listener);
    } else {
        r = listener_fits_kind(request, fd) ? fd_set_close_on_exec(fd, true) : -EPROTOTYPE;
        if (r >= 0)
            listener->fd = fd;
    }
    if (r < 0)
        return r;
    *ret_listener = take_pointer(&listener);
    return 0;
}

int listener_from_socket(struct hark_listener *socket, struct listener **ret_listener)
{
    struct listener *listener = new_listener();

    if (!listener)
        return -ENOMEM;
    listener->socket = socket;
    listener->passed = hark_listener_was_passed(socket);
    *ret_listener = listener;
    return 0;
}

/* ---- Gone on with ---------------------------------------------------------------------------- */

static bool same_text(const char *one, const char *other)
{
    return one && other ? strcmp(one, other) == 0 : one == other;
}

bool listener_is_same(const struct listener *listener, const struct listener_request *request)
{
    const struct socket_listener *wanted = wanted_listener(request);
    const struct socket_unit *before = listener->unit, *unit = request->unit;

    return before && listener->wanted->kind == wanted->kind &&
           strcmp(listener->wanted->address, wanted->address) == 0 &&
           before->protocol == unit->protocol && before->ipv6_only == unit->ipv6_only &&
           same_text(before->device, unit->device);
}

void listener_continue(struct listener *listener, const struct listener_request *request)
{
    bool new_backlog = listener->unit->backlog != request->unit->backlog;

    listener->unit = request->unit;
    listener->wanted = wanted_listener(request);
    int type = socket_type_of(listener->wanted->kind);
    if (new_backlog && !listener->passed && (type == SOCK_STREAM || type == SOCK_SEQPACKET))
        (void)listen(listener_fd(listener),
                     listener->unit->backlog > INT_MAX ? INT_MAX : (int)listener->unit->backlog);
}

/* ---- What it is ------------------------------------------------------------------------------ */

int listener_fd(const struct listener *listener)
{
    return listener->socket ? hark_listener_fd(listener->socket) : listener->fd;
}

int listener_lock_fd(const struct listener *listener)
{
    return listener->socket ? hark_listener_lock_fd(listener->socket) : -1;
}

const struct socket_listener *listener_wanted(const struct listener *listener)
{
    return listener->wanted;
}

const char *listener_address(const struct listener *listener)
{
    return listener->socket ? hark_listener_address(listener->socket) : listener->address;
}

const char *listener_fd_name(const struct listener *listener)
{
    return listener->unit ? listener->unit->fd_name : hark_listener_name(listener->socket);
}

bool listener_was_passed(const struct listener *listener)
{
    return listener->passed;
}

static int socket_number(const struct listener *listener, int name)
{
    int number;
    socklen_t size = sizeof(number);

    return getsockopt(listener_fd(listener), SOL_SOCKET, name, &number, &size) < 0 ? 0 : number;
}

int listener_family(const struct listener *listener)
{
    return socket_number(listener, SO_DOMAIN); /* AF_UNSPEC is 0 */
}

int listener_socket_type(const struct listener *listener)
{
    return socket_number(listener, SO_TYPE);
}

const struct socket_unit *listener_unit(const struct listener *listener)
{
    return listener->unit;
}

/* ---- Its name -------------------------------------------------------------------------------- */

const char *listener_directory(const struct listener *listener)
{
    return listener->socket ? hark_listener_directory(listener->socket) : NULL;
}

int listener_check(const struct listener *listener)
{
    return listener->socket ? hark_listener_check(listener->socket) : HARK_LISTENER_IN_PLACE;
}

int listener_rebind(struct listener *listener, int *ret_old_fd)
{
    return listener->socket ? hark_listener_rebind(listener->socket, ret_old_fd) : -EOPNOTSUPP;
}
