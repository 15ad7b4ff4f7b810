/* SPDX-License-Identifier: MIT */
#include "libhark/pass-fds.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "basic/cleanup.h"
#include "libhark/hark.h"

#ifndef SCM_PIDFD
#define SCM_PIDFD 4 /* Linux 6.5: a descriptor too, for who has set SO_PASSPIDFD */
#endif

/* Room for what the kernel can put beside one message, so that it cuts descriptors off only when
 * the process may not open more. */
union control {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(int) * HARK_FDS_MAX) + CMSG_SPACE(sizeof(struct ucred)) +
               CMSG_SPACE(sizeof(int))];
};

void ancillary_done(struct ancillary *ancillary)
{
    for (size_t i = 0; i < ancillary->n_fds; i++)
        ancillary->fds[i] = fd_close(ancillary->fds[i]);
    ancillary->n_fds = 0;
}

static void take_control(struct msghdr *header, struct ancillary *ancillary)
{
    for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item; item = CMSG_NXTHDR(header, item)) {
        size_t size = item->cmsg_len - CMSG_LEN(0);

        if (item->cmsg_level != SOL_SOCKET)
            continue;
        if (item->cmsg_type == SCM_RIGHTS) {
            size_t n = size / sizeof(int);

            memcpy(ancillary->fds + ancillary->n_fds, CMSG_DATA(item), n * sizeof(int));
            ancillary->n_fds += n;
        } else if (item->cmsg_type == SCM_CREDENTIALS && size == sizeof(struct ucred)) {
            memcpy(&ancillary->credentials, CMSG_DATA(item), sizeof(struct ucred));
        } else if (item->cmsg_type == SCM_PIDFD && size == sizeof(int)) {
            int pidfd;

            memcpy(&pidfd, CMSG_DATA(item), sizeof(pidfd));
            fd_close(pidfd);
        }
    }
}

ssize_t message_receive(int socket_fd, const struct iovec *data, int flags,
                        struct ancillary *ret_ancillary)
{
    union control control;
    struct iovec copy = *data;
    struct msghdr header = {
        .msg_iov = &copy,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    ssize_t n;

    do
        n = recvmsg(socket_fd, &header, flags | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    ret_ancillary->n_fds = 0;
    ret_ancillary->credentials = (struct ucred){.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
    take_control(&header, ret_ancillary);
    ret_ancillary->data_cut = header.msg_flags & MSG_TRUNC;
    ret_ancillary->fds_cut = header.msg_flags & MSG_CTRUNC;
    return n;
}

ssize_t message_send(int socket_fd, const struct message *message, int flags)
{
    union control control;
    struct iovec data[2] = {message->data[0], message->data[1]};
    struct msghdr header = {.msg_iov = data, .msg_iovlen = 2};
    size_t used = 0;
    ssize_t n;

    memset(&control, 0, sizeof(control)); /* the padding goes through the kernel too */
    struct cmsghdr *item = &control.align;
    if (message->n_fds > 0) {
        item->cmsg_level = SOL_SOCKET;
        item->cmsg_type = SCM_RIGHTS;
        item->cmsg_len = CMSG_LEN(sizeof(int) * message->n_fds);
        memcpy(CMSG_DATA(item), message->fds, sizeof(int) * message->n_fds);
        used = CMSG_SPACE(sizeof(int) * message->n_fds);
    }
    if (message->credentials) {
        item = (struct cmsghdr *)(void *)(control.space + used);
        item->cmsg_level = SOL_SOCKET;
        item->cmsg_type = SCM_CREDENTIALS;
        item->cmsg_len = CMSG_LEN(sizeof(struct ucred));
        memcpy(CMSG_DATA(item), message->credentials, sizeof(struct ucred));
        used += CMSG_SPACE(sizeof(struct ucred));
    }
    if (used > 0) {
        header.msg_control = &control;
        header.msg_controllen = used;
    }
    do
        n = sendmsg(socket_fd, &header, flags | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t hark_send_fds(int socket_fd, const void *data, size_t size, const int *fds, size_t n_fds)
{
    struct message message = {.fds = fds, .n_fds = n_fds};

    if (!data || size == 0 || (!fds && n_fds > 0))
        return -EINVAL;
    if (n_fds > HARK_FDS_MAX)
        return -E2BIG;
    message.data[0] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    return message_send(socket_fd, &message, 0);
}

ssize_t hark_receive_fds(int socket_fd, void *data, size_t size, int *ret_fds, size_t *fds_count)
{
    struct iovec room = {.iov_base = data, .iov_len = size};
    struct ancillary ancillary;

    if (!data || size == 0 || !fds_count || (!ret_fds && *fds_count > 0))
        return -EINVAL;
    ssize_t n = message_receive(socket_fd, &room, 0, &ancillary);
    if (n < 0)
        return n;
    if (ancillary.fds_cut || ancillary.data_cut || ancillary.n_fds > *fds_count) {
        ancillary_done(&ancillary);
        return ancillary.fds_cut ? -EMFILE : -EMSGSIZE;
    }
    if (ancillary.n_fds > 0)
        memcpy(ret_fds, ancillary.fds, ancillary.n_fds * sizeof(int));
    *fds_count = ancillary.n_fds;
    return n;
}
