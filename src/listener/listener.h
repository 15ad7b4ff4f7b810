/* SPDX-License-Identifier: MIT */
/*
 * A listener of any kind that a socket unit can ask for (systemd.socket(5)), made as the unit says
 * or taken from whoever passed it; and, for programs without units, one of libhark.
 *
 *     r = listener_new(&request, &listener);        or listener_take(), listener_from_socket()
 *     if (r < 0)
 *         listener_explain(&request, r, text, sizeof(text));
 *     ... listener_fd(listener) ...
 *     listener_free(listener);
 *
 * What is made is close-on-exec and non-blocking, and has every option of the unit before anybody
 * can reach it. A passed one is never configured anew nor made non-blocking: it is the passer's,
 * too. Its connections get the unit's options (listener_connection_options()). The process must
 * have no second thread that makes files (HARK_LISTEN_ONE_THREAD).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "libhark/hark.h"
#include "libhark/spawn.h"
#include "unit/problem.h"
#include "unit/socket-unit.h"

struct listener;

struct listener_request {
    const struct socket_unit *unit; /* must outlive the listener */
    size_t index;                   /* which of unit->listeners */
    uid_t owner;                    /* SocketUser=, looked up; (uid_t)-1: not set */
    gid_t group;                    /* SocketGroup=, or the group of SocketUser=; (gid_t)-1 */
    int timeout_ms;                 /* how long to wait for who has the address, to go away */
    struct problems *problems;      /* gets a warning for each option that has no effect; or NULL */
};

/* Makes it. Errors as hark_listen(), and
 *   -EEXIST        what is at the path is something else, or is not as the unit wants it (a FIFO or
 *                  queue of another mode or owner)
 *   -EAFNOSUPPORT  only this: the address is one of IPv6, which this kernel does not have. systemd
 *                  warns and goes on without that listener; so may the caller. (A mere PORT is one
 *                  of IPv4 then.)
 *   -ENODEV        BindToDevice=: no such interface
 *   -ENOPROTOOPT   AcceptFileDescriptors=no needs Linux 6.16
 * All other options are as with systemd: what cannot be set is a warning. */
int listener_new(const struct listener_request *request, struct listener **ret_listener);

/* Whether a descriptor is what the request asks for: kind, type and address. */
bool listener_fits(const struct listener_request *request, int fd);
/* The same but for the address: in another mount namespace a path is another one. */
bool listener_fits_kind(const struct listener_request *request, int fd);
/* The same listener, from a passed descriptor, which is the listener's on success. -EPROTOTYPE: it
 * is not of that kind; -ENOPROTOOPT as above; -EBADF, -ENOMEM. */
int listener_take(const struct listener_request *request, int fd, struct listener **ret_listener);
/* What an earlier image of this program made for the same request, from its descriptors, which are
 * the listener's on success; lock_fd -1: it has no lock, or that is to be taken anew. Errors as
 * hark_listener_adopt(), and -EPROTOTYPE. */
int listener_adopt(const struct listener_request *request, int fd, int lock_fd,
                   struct listener **ret_listener);
/* Without a unit. The socket is the listener's on success. -ENOMEM. */
int listener_from_socket(struct hark_listener *socket, struct listener **ret_listener);

/* Whether the listener is what the request would make or take again, so that it can go on as that:
 * same kind, address and protocol, whatever else of the unit has changed. */
bool listener_is_same(const struct listener *listener, const struct listener_request *request);
/* It goes on as that, of another reading of the unit. What it was made with stays as it is (mode,
 * owner, options); but the backlog, and the options of its connections, are the new unit's. */
void listener_continue(struct listener *listener, const struct listener_request *request);

/* Closes it. What it made in the file system goes if RemoveOnStop= says so (without a unit always),
 * and only if it is still what was made. A forked child only closes. Returns NULL. */
struct listener *listener_free(struct listener *listener);

int listener_fd(const struct listener *listener);
/* The descriptor of its lock, or -1. */
int listener_lock_fd(const struct listener *listener);
/* What the unit calls it. */
const struct socket_listener *listener_wanted(const struct listener *listener);
/* As it is written in messages: "/run/x", "[::1]:80", "netlink route 1", "mqueue /x". */
const char *listener_address(const struct listener *listener);
/* FileDescriptorName=, or the name it was passed under; NULL for none. */
const char *listener_fd_name(const struct listener *listener);
bool listener_was_passed(const struct listener *listener);
/* AF_UNIX, AF_INET, …; AF_UNSPEC for what is no socket. */
int listener_family(const struct listener *listener);
/* SOCK_STREAM, …; 0 for what is no socket. */
int listener_socket_type(const struct listener *listener);
/* NULL without one. */
const struct socket_unit *listener_unit(const struct listener *listener);

/* Names that can be taken away (Unix sockets): hark_listener_directory(), _check() and _rebind().
 * The new socket has the options of the unit again. NULL, IN_PLACE and -EOPNOTSUPP for all others.
 */
const char *listener_directory(const struct listener *listener);
int listener_check(const struct listener *listener);
int listener_rebind(struct listener *listener, int *ret_old_fd);

/* FlushPending=: throws away what waits in it, connections or data. Bounded: something that is
 * always readable does not keep it for ever. */
void listener_flush(const struct listener *listener);

/* Why making or taking it failed, in one line for people ("cannot listen on \"/run/x\": …"), with
 * the name of who has the address where that can be known. */
void listener_explain(const struct listener_request *request, int error, char *text, size_t size);
/* The same of an address without a unit. type: SOCK_STREAM, … */
void listener_explain_address(const char *address, int type, int error, char *text, size_t size);

/* The options that systemd sets on every accepted connection of the unit, for spawn.h. Freed by
 * free(3), values and all. 0 or -ENOMEM. */
int listener_connection_options(const struct socket_unit *unit, int family,
                                struct spawn_socket_option **ret_options, size_t *ret_n);

/* Symlinks= of a unit whose node is there: as systemd, what is in the way is replaced only with
 * RemoveOnStop=, and a failure is no error but a problem, a warning. Not as systemd: a socket that
 * somebody lives behind is never replaced. */
void symlinks_make(const struct socket_unit *unit, struct problems *problems);
/* Whether both units want the same links, to the same node. */
bool symlinks_are_same(const struct socket_unit *one, const struct socket_unit *other);
/* With RemoveOnStop= those that still lead to the node; else nothing. */
void symlinks_remove(const struct socket_unit *unit);
