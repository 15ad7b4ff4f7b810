/* SPDX-License-Identifier: MIT */
#include "cli/drop-in-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/io.h"
#include "libhark/hark.h"

#define DROP_IN_MAX     4096
#define LOCK_TIMEOUT_MS 2000

static int make_directories(const char *path)
{
    cleanup_free char *copy = strdup(path);

    if (copy == NULL)
        return -ENOMEM;
    for (char *slash = copy; (slash = strchr(slash + 1, '/')) != NULL; *slash = '/') {
        *slash = '\0';
        if (mkdir(copy, 0755) < 0 && errno != EEXIST)
            return -errno;
    }
    return 0;
}

int drop_in_write(const char *path, const char *text)
{
    struct hark_lockfile *lock = NULL;
    int r = make_directories(path);

    if (r >= 0)
        r = hark_lockfile_hold(path, LOCK_TIMEOUT_MS, HARK_LOCKFILE_FSYNC, &lock);
    if (r >= 0)
        r = write_all(hark_lockfile_fd(lock), text, strlen(text));
    if (r >= 0)
        r = fchmod(hark_lockfile_fd(lock), 0644) < 0 ? -errno : 0;
    if (r >= 0)
        r = hark_lockfile_commit(lock);
    hark_lockfile_free(lock);
    return r < 0 ? r : 0;
}

int drop_in_remove(const char *path)
{
    cleanup_free char *directory = strndup(path, (size_t)(strrchr(path, '/') - path));

    if (directory == NULL)
        return -ENOMEM;
    if (unlink(path) < 0 && errno != ENOENT)
        return -errno;
    (void)rmdir(directory); /* others' drop-ins may be there, too */
    return 0;
}

int drop_in_read(const char *path, char **ret_text)
{
    cleanup_free char *text = malloc(DROP_IN_MAX + 1);

    if (text == NULL)
        return -ENOMEM;
    ssize_t n = read_text_file(path, text, DROP_IN_MAX + 1);
    if (n < 0)
        return (int)n;
    if (n >= DROP_IN_MAX)
        return -EFBIG;
    *ret_text = take_pointer(&text);
    return 0;
}
