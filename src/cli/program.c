/* SPDX-License-Identifier: MIT */
#include "cli/program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/cleanup.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static int check_executable(const char *path)
{
    struct stat info;

    if (stat(path, &info) < 0)
        return -errno;
    if (S_ISDIR(info.st_mode))
        return -EISDIR;
    if (!S_ISREG(info.st_mode))
        return -EACCES;
    /* For the effective user: a handler runs as who we are. */
    return eaccess(path, X_OK) < 0 ? -errno : 0;
}

/* Makes it absolute without resolving links: a program may look at what it is called by. */
static int make_absolute(const char *path, char **ret_path)
{
    cleanup_free char *directory = NULL;
    char *absolute;

    if (path[0] == '/') {
        absolute = strdup(path);
    } else {
        directory = get_current_dir_name();
        if (directory == NULL)
            return -errno;
        if (asprintf(&absolute, "%s/%s", directory, path) < 0)
            absolute = NULL;
    }
    if (absolute == NULL)
        return -ENOMEM;
    *ret_path = absolute;
    return 0;
}

static int find_along_path(const char *name, const char *path, char **ret_path)
{
    int result = -ENOENT;

    for (;;) {
        size_t length = strcspn(path, ":");
        cleanup_free char *candidate = NULL;

        if (asprintf(&candidate, "%.*s%s%s", (int)length, path, length > 0 ? "/" : "./", name) < 0)
            return -ENOMEM;
        int r = check_executable(candidate);
        if (r >= 0)
            return make_absolute(candidate, ret_path);
        if (r == -EACCES)
            result = r;
        path += length;
        if (*path++ == '\0')
            return result;
    }
}

int program_find(const char *name, char **ret_path)
{
    const char *path = getenv("PATH");

    if (name[0] == '\0')
        return -ENOENT;
    if (strchr(name, '/') == NULL)
        return find_along_path(name, path != NULL ? path : DEFAULT_PATH, ret_path);
    int r = check_executable(name);
    return r < 0 ? r : make_absolute(name, ret_path);
}
