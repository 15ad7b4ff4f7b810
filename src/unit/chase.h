/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>

/*
 * Where path, absolute and seen from root ("" for none), really is: without links, "." and "..",
 * with root in front. Absolute links begin at root again, and ".." never leaves it. A part that is
 * missing is taken as it is written. With keep_last a link at the end of path is not followed. 0,
 * or -ELOOP after 40 links, -ENAMETOOLONG, -ENOMEM, or what readlink(2) failed with.
 */
int chase(const char *root, const char *path, bool keep_last, char **ret_path);

/* The file to open for path, which is absolute and has root in front: where it really is, so that
 * its links stay below root. With no root, and for a path that is not below it, path itself: the
 * kernel does it. */
int chase_below(const char *root, const char *path, char **ret_path);
