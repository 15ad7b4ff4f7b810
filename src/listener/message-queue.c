/* SPDX-License-Identifier: MIT */
/* ListenMessageQueue=: mq_overview(7). */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "libhark/bind.h"
#include "listener/kinds.h"

#define MQUEUE_MAGIC 0x19800202 /* ipc/mqueue.c of Linux */

int queue_open(const struct listener_request *request, int *ret_fd)
{
    const struct socket_unit *unit = request->unit;
    struct bind_request name = {
        .directory_fd = -1,
        .name = wanted_listener(request)->address,
        .mode = unit->socket_mode & 0777,
        .owner = request->owner,
        .group = request->group,
        .one_thread = true,
    };
    struct mq_attr attributes = {
        .mq_flags = O_NONBLOCK,
        .mq_maxmsg = unit->queue_max_messages,
        .mq_msgsize = unit->queue_message_size,
    };
    bool both = attributes.mq_maxmsg > 0 && attributes.mq_msgsize > 0;
    cleanup_close int fd = -1;
    struct stat status;
    int r = bind_queue(&name, both ? &attributes : NULL, &fd);

    if (r < 0)
        return r;
    if (fstat(fd, &status) < 0)
        return -errno;
    /* An earlier one with other limits is taken, as systemd does. */
    if ((status.st_mode & 0777) != name.mode || status.st_uid != wanted_owner(request) ||
        status.st_gid != wanted_group(request))
        return -EEXIST;
    *ret_fd = take_fd(&fd);
    return 0;
}

bool queue_fits(const char *name, int fd)
{
    struct statfs file_system;
    struct stat theirs, named;

    if (fstatfs(fd, &file_system) < 0 || (unsigned long)file_system.f_type != MQUEUE_MAGIC ||
        fstat(fd, &theirs) < 0)
        return false;
    cleanup_close int found = mq_open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (found < 0) /* not permitted to read; a mounted /dev/mqueue would tell, too */
        return errno == EACCES && sd_is_mq(fd, name) > 0;
    return fstat(found, &named) == 0 && theirs.st_dev == named.st_dev &&
           theirs.st_ino == named.st_ino;
}

void queue_remove(const char *name, int fd)
{
    if (queue_fits(name, fd))
        (void)mq_unlink(name);
}
