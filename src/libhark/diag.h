/* SPDX-License-Identifier: MIT */
/* The kernel's list of sockets: NETLINK_SOCK_DIAG, sock_diag(7). It shows those of the own network
 * namespace, and a dump is not atomic: what is listed exists, what is missing may exist too. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

struct diag_socket {
    int type;            /* SOCK_STREAM, … */
    bool connected;      /* an accepted or connecting one; of datagram sockets: with a peer */
    unsigned long inode; /* of the socket itself in sockfs */
    uid_t uid;           /* (uid_t)-1: not told */
    /* Unix sockets */
    uint32_t node_inode; /* of the file that it is bound to, low 32 bits; 0: none */
    uint32_t
        node_device;  /* of that file's file system, as the kernel counts: major << 20 | minor */
    const char *name; /* as bound, not terminated; an abstract one begins with NUL */
    size_t name_length;
    /* Internet sockets */
    uint16_t port;           /* host byte order */
    const uint32_t *address; /* one or four words, network byte order */
};

/* Calls found() for each socket until it returns true: 1 then, 0 at the end, or a negative errno
 * (-ENOENT, -EPROTONOSUPPORT: this kernel cannot tell). */
int diag_unix(bool (*found)(const struct diag_socket *socket, void *context), void *context);

/* family: AF_INET or AF_INET6; listening stream sockets, or all datagram sockets. -EPROTOTYPE for
 * another type. */
int diag_inet(int family, int type, bool (*found)(const struct diag_socket *, void *),
              void *context);
