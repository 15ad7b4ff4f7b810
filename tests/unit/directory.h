/* SPDX-License-Identifier: MIT */
/* A temporary directory for a test: directory_make(), paths in it by in(), directory_remove(). */
#pragma once

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static char directory_path[32];

static inline void directory_make(void)
{
    (void)snprintf(directory_path, sizeof(directory_path), "/tmp/hark-test-XXXXXX");
    ASSERT(mkdtemp(directory_path));
}

static inline int directory_remove_entry(const char *path, const struct stat *status, int type,
                                         struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void directory_remove(void)
{
    ASSERT_INT(nftw(directory_path, directory_remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* The path of name in the directory; eight of them are good at a time. */
static inline const char *in(const char *name)
{
    static char paths[8][4500];
    static unsigned next;
    char *path = paths[next++ % 8];

    ASSERT((size_t)snprintf(path, sizeof(paths[0]), "%s/%s", directory_path, name) <
           sizeof(paths[0]));
    return path;
}

static inline bool exists(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0;
}

static inline void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    ASSERT_CALL(fd);
    ASSERT_INT(write(fd, text, strlen(text)), strlen(text));
    ASSERT_CALL(close(fd));
}

static inline const char *read_file(const char *path)
{
    static char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    ASSERT_CALL(fd);
    ssize_t length = read(fd, text, sizeof(text) - 1);
    ASSERT_CALL(length);
    ASSERT_CALL(close(fd));
    text[length] = '\0';
    return text;
}
