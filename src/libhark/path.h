/* SPDX-License-Identifier: MIT */
/* A path, taken apart: the directory as a descriptor, the last component as a name in it. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct path {
    char *text;       /* absolute, so that a later chdir(2) changes nothing */
    char *directory;  /* all but the last component, "/" for the root */
    const char *name; /* the last component, inside text */
    int directory_fd; /* O_PATH */
};
#define PATH_INIT                                                                                  \
    {                                                                                              \
        .directory_fd = -1                                                                         \
    }

/* The text as an absolute path whose last component can name a file. -EINVAL for "", "x/", "." and
 * "..", -ENAMETOOLONG above PATH_MAX, -ENOENT when the working directory is gone, -ENOMEM. */
int path_make_absolute(const char *path, char **ret_path);

/* That, and the directory opened: also -ENOENT, -ENOTDIR, -EACCES, -ELOOP, -EMFILE, -ENFILE. */
int path_open(const char *path, struct path *ret_path);
void path_done(struct path *path);

/* Where a chain of symbolic links at the end of path leads, whether that exists or not. -ELOOP
 * after 40 links, -ENAMETOOLONG, -ENOMEM, or an errno of readlink(2). */
int path_follow(const char *path, char **ret_path);
