/* SPDX-License-Identifier: MIT */
#include "libhark/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"

#define LINKS_MAX 40 /* as the kernel: path_resolution(7) */

int path_make_absolute(const char *path, char **ret_path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    cleanup_free char *here = NULL;

    if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -EINVAL;
    if (*path != '/') {
        here = getcwd(NULL, 0);
        if (!here)
            return -errno;
        /* The kernel's "(unreachable)": outside of our root. */
        if (*here != '/')
            return -ENOENT;
        while (strncmp(path, "./", 2) == 0)
            path += 1 + strspn(path + 1, "/");
    }
    char *absolute;
    if (asprintf(&absolute, "%s%s%s", here ? here : "", here && here[1] ? "/" : "", path) < 0)
        return -ENOMEM;
    if (strlen(absolute) >= PATH_MAX) {
        free(absolute);
        return -ENAMETOOLONG;
    }
    *ret_path = absolute;
    return 0;
}

int path_open(const char *path, struct path *ret_path)
{
    cleanup(path_done) struct path opened = PATH_INIT;
    int r = path_make_absolute(path, &opened.text);

    if (r < 0)
        return r;
    opened.name = strrchr(opened.text, '/') + 1;
    size_t length = (size_t)(opened.name - opened.text);
    while (length > 1 && opened.text[length - 1] == '/')
        length--;
    opened.directory = strndup(opened.text, length);
    if (!opened.directory)
        return -ENOMEM;
    opened.directory_fd = open(opened.directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (opened.directory_fd < 0)
        return -errno;
    *ret_path = opened;
    opened = (struct path)PATH_INIT;
    return 0;
}

void path_done(struct path *path)
{
    free(path->text);
    free(path->directory);
    fd_close(path->directory_fd);
    *path = (struct path)PATH_INIT;
}

/* 1 with the next path, 0 when path is not a link, or a negative errno. */
static int follow_once(const char *path, char **ret_next)
{
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof(target));
    const char *slash = strrchr(path, '/');

    if (length < 0)
        return errno == EINVAL || errno == ENOENT ? 0 : -errno;
    if ((size_t)length == sizeof(target))
        return -ENAMETOOLONG;
    int parent = slash && target[0] != '/' ? (int)(slash + 1 - path) : 0;
    return asprintf(ret_next, "%.*s%.*s", parent, path, (int)length, target) < 0 ? -ENOMEM : 1;
}

int path_follow(const char *path, char **ret_path)
{
    cleanup_free char *current = strdup(path);

    if (!current)
        return -ENOMEM;
    for (unsigned links = 0; links <= LINKS_MAX; links++) {
        char *next;
        int r = follow_once(current, &next);

        if (r < 0)
            return r;
        if (r == 0) {
            *ret_path = take_pointer(&current);
            return 0;
        }
        free(current);
        current = next;
    }
    return -ELOOP;
}
