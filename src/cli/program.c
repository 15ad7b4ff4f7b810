/* SPDX-License-Identifier: MIT */
#include "cli/program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/executable.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

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
        int r = executable_check(candidate);
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
    int r = executable_check(name);
    return r < 0 ? r : make_absolute(name, ret_path);
}
