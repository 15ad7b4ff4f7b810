/* SPDX-License-Identifier: MIT */
/* The options of [Socket] that are for setsockopt(2). */
#pragma once

#include <stdbool.h>

#include "unit/problem.h"
#include "unit/socket-unit.h"

#define SOCKET_OPTIONS_MAX 24

/* systemd sets these on a listener and again on each connection; a failure is a warning to it. */
struct socket_option {
    const char *key; /* of the unit */
    int level, name;
    int fallback_name; /* tried where name is not permitted; 0: none */
    int number;
    const char *text; /* instead of the number */
};

struct socket_options {
    struct socket_option items[SOCKET_OPTIONS_MAX];
    size_t n;
};

/* Those that the unit sets and that mean something to a socket of that family and type (SOCK_…). */
void socket_options_of(const struct socket_unit *unit, int family, int type,
                       struct socket_options *ret_options);

/* All that a new socket needs before bind(2). Options that cannot be set are warnings in problems
 * (NULL: nobody is told). What the unit cannot do without is an error: the errno of BindIPv6Only=,
 * BindToDevice=, AcceptFileDescriptors=no. */
int socket_options_prepare(const struct socket_unit *unit, int fd, struct problems *problems);

/* Whether AcceptFileDescriptors= can be kept on that socket: 0, or -ENOPROTOOPT on Linux before
 * 6.16. Changes nothing. */
int socket_options_check(const struct socket_unit *unit, int fd);

/* The protocol for socket(2): SocketProtocol= where it is for this type. */
int socket_options_protocol(const struct socket_unit *unit, int type);

/* A warning about the value of a key. */
void socket_options_warn(const struct socket_unit *unit, const char *key, int error,
                         struct problems *problems);
