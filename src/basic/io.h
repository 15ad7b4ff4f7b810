/* SPDX-License-Identifier: MIT */
/* Reading and writing whole things. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* Reads until size bytes or the end of the file: the number of bytes read, or a negative errno. */
ssize_t read_up_to(int fd, void *buffer, size_t size);

/* Writes all of it: 0, or a negative errno with part of it written. */
int write_all(int fd, const void *data, size_t size);

/* Reads a small text file (a /proc or lock file) into buffer, always terminated; what does not fit
 * is cut off. The length, or a negative errno. Never blocks on a fifo; does not follow a link at
 * the end of path. */
ssize_t read_text_file(const char *path, char *buffer, size_t size);
