/* SPDX-License-Identifier: MIT */
/*
 * Is anyone bound to this path? And how to remove what nobody is bound to, and nothing else.
 *
 * The question is asked with connect(2) of a *datagram* socket, whatever the type of the server:
 * the kernel (net/unix/af_unix.c, unix_find_bsd) looks for the socket that is bound to the file
 * first, and then at its type. So a stream or seqpacket server gives EPROTOTYPE, whether it listens
 * already, has a full backlog, or is stopped, and never sees a connection; a datagram server gives
 * success or, when it has a peer of its own, EPERM, and sees no message. Only ECONNREFUSED means
 * that nobody is there: in every network namespace, and an accepted connection that outlived its
 * listener does not count.
 *
 * What connect() cannot see is a server that is bound to the same file below an overlay. There, and
 * only there, sock_diag(7) is asked too: see probe.c.
 */
#pragma once

#include <sys/types.h>

enum probe_state {
    PROBE_NOTHING = 0, /* no such name */
    PROBE_NOT_SOCKET,  /* something else, a symbolic link too */
    PROBE_ALIVE,
    PROBE_DEAD,    /* a socket that nobody is bound to, ours to remove */
    PROBE_UNSURE,  /* a socket that we may not ask */
    PROBE_FOREIGN, /* as dead or unsure, but another user's, and we are not root */
};

struct probe {
    enum probe_state state;
    int node_fd; /* O_PATH: pins the inode, so that no other file can get its number; -1: nothing */
};
#define PROBE_INIT                                                                                 \
    {                                                                                              \
        .node_fd = -1                                                                              \
    }

/* 0, -EACCES for a directory that may not be searched, -EMFILE, -ENFILE, -ENOMEM, -ENOSYS without
 * /proc. */
int probe_path(int directory_fd, const char *name, struct probe *ret_probe);
void probe_done(struct probe *probe);

/* The state alone, without regard to whose it is: never PROBE_FOREIGN. Errors as probe_path(). */
int probe_ask(int directory_fd, const char *name);

/* The bare question, of an O_PATH descriptor of a socket's node: what connect(2) of a datagram
 * socket says. 0, -EPROTOTYPE, -EPERM, -EAGAIN: somebody is bound to it, and need not listen;
 * -ECONNREFUSED: nobody; -ENOENT: there is no /proc. */
int probe_connect(int node_fd);

/* Removes the name if it still leads to what was probed: 0; -ESTALE when it does not; an errno of
 * unlink(2). */
int probe_unlink(int directory_fd, const char *name, const struct probe *probe);
