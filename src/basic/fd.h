/* SPDX-License-Identifier: MIT */
/* File descriptors. -1 is the only "no descriptor"; 0 is a descriptor like any other. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Closes fd if it is one, keeps errno, returns -1 for assignment: fd = fd_close(fd). Never retried:
 * Linux frees the number even when close() is interrupted (close(2)). */
int fd_close(int fd);

/* Each returns 0, or a negative errno of fcntl(2). */
int fd_set_close_on_exec(int fd, bool enable);
int fd_set_nonblocking(int fd, bool enable);

/* Moves *fd to a number of at least minimum, close-on-exec; nothing happens when it is there
 * already. The old number is closed. 0, or -EMFILE, -EINVAL with *fd unchanged. */
int fd_move_above(int *fd, int minimum);

/* Closes every descriptor from first on, except the n_keep numbers in keep, which gets sorted.
 * 0, or a negative errno of close_range(2); where a filter does not know that call, of open(2) for
 * /proc/self/fd. */
int fd_close_all_from(int first, int *keep, size_t n_keep);
/* The same for the flag alone. */
int fd_set_close_on_exec_from(int first);
