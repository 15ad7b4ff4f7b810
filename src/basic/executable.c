/* SPDX-License-Identifier: MIT */
#include "basic/executable.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

int executable_check(const char *path)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return -errno;
    if (S_ISDIR(status.st_mode))
        return -EISDIR;
    if (!S_ISREG(status.st_mode))
        return -EACCES;
    return eaccess(path, X_OK) < 0 ? -errno : 0;
}
