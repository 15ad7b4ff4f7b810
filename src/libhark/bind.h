/* SPDX-License-Identifier: MIT */
/*
 * Makes names in the file system that have their mode and owner from their first instant, whatever
 * the umask of the process is, and without changing anything of the process; with one_thread, the
 * umask during the call.
 *
 * Without it, for another owner or group, and for a path that does not fit sun_path, the work is
 * done by a short-lived child with the same descriptors (CLONE_FILES) and memory (CLONE_VM) but,
 * without CLONE_FS, an umask and a working directory of its own, and, as it uses raw system calls,
 * ids and capabilities of its own. (With another owner or group its memory is a copy: a change of
 * ids would make the process undumpable.) It has no exit signal: the host's wait(-1) and SIGCHLD do
 * not see it. The calling thread alone stands still, for some microseconds, with all signals
 * blocked.
 */
#pragma once

#include <mqueue.h>
#include <stdbool.h>
#include <sys/types.h>

struct bind_request {
    int directory_fd; /* where the name goes; O_PATH is enough */
    const char *name; /* the last component */
    const char *path; /* the whole path: what getsockname(2) says if it fits, else name is bound */
    mode_t mode;      /* 0 to 0777; of a directory 01000 too */
    uid_t owner;      /* (uid_t)-1: the caller */
    gid_t group;      /* (gid_t)-1: the caller's, or the directory's */
    bool one_thread;  /* nobody is met by a changed umask: see HARK_LISTEN_ONE_THREAD */
};

/* bind(2) of a Unix socket. 0, an errno of bind(2), -EPERM when the ids may not be taken,
 * -ENAMETOOLONG when even the last component does not fit sun_path, -EAGAIN or -ENOMEM of clone(2).
 */
int bind_unix(int fd, const struct bind_request *request);

/* mkdir(2) and mkfifo(3) of the name, with mode, owner and group as above. */
int bind_directory(const struct bind_request *request);
int bind_fifo(const struct bind_request *request);

/* mq_open(3) of request->name (with its slash), to read; attributes may be NULL. What exists is
 * opened as it is. The descriptor is close-on-exec and non-blocking. */
int bind_queue(const struct bind_request *request, const struct mq_attr *attributes, int *ret_fd);
