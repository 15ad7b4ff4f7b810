/* SPDX-License-Identifier: MIT */
/*
 * One message with descriptors and the sender's credentials: what hark_send_fds(),
 * hark_receive_fds() and both sides of the fork server are made of.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "libhark/hark.h"

/* What came beside the data. The receiver owns the descriptors. */
struct ancillary {
    int fds[HARK_FDS_MAX]; /* close-on-exec */
    size_t n_fds;
    struct ucred credentials; /* pid 0 and ids -1 when none came: the socket has no SO_PASSCRED */
    bool data_cut;            /* there was more data than room */
    bool fds_cut;             /* there were more descriptors than this process may open */
};

/* Closes the descriptors. */
void ancillary_done(struct ancillary *ancillary);

/* One recvmsg(2), repeated on EINTR: the number of bytes, 0 at the end, or a negative errno
 * (nothing to clean up then). */
ssize_t message_receive(int socket_fd, const struct iovec *data, int flags,
                        struct ancillary *ret_ancillary);

struct message {
    struct iovec data[2];
    const int *fds;
    size_t n_fds; /* at most HARK_FDS_MAX */
    /* The kernel vouches for these: a sender may name any of its real, effective and saved ids. */
    const struct ucred *credentials; /* NULL: none */
};

/* One sendmsg(2) without SIGPIPE, repeated on EINTR: the number of bytes, or a negative errno. */
ssize_t message_send(int socket_fd, const struct message *message, int flags);
