/* SPDX-License-Identifier: MIT */
/* Names of those who hold a lock or a socket. For messages: what cannot be found out is left empty.
 */
#pragma once

#include <stddef.h>

#include "libhark/hark.h"

#define HOLDER_TEXT_MAX 160

/* What a lock file says of its maker: "pid N", "boot UUID", "pidns INODE", a line each. Without
 * /proc the lines that need it are missing. The length, or -ENOBUFS. */
int holder_write_text(char *text, size_t size);

/* Who holds flock(2) on that file: by /proc/locks, else, for one in another pid namespace or on
 * another machine, by its text. -ESRCH when nobody does. */
int holder_of_lock(int directory_fd, const char *name, struct hark_holder *ret_holder);

/* A process of this pid namespace: fills in its user and its name. */
void holder_set_process(struct hark_holder *holder, pid_t pid);

/* The process that has a socket open, by a walk through /proc (own processes only, unless root).
 * The inode is that of the socket in sockfs, as diag and /proc/PID/fd show it. -ESRCH. */
int holder_of_socket(unsigned long inode, struct hark_holder *ret_holder);
