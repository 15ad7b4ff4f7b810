/* SPDX-License-Identifier: MIT */
#include "unit/condition-kinds.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "basic/cleanup.h"

/* Whether a failed system call means that there is nothing; else it is not known. */
static bool is_absent(int error)
{
    return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENAMETOOLONG;
}

static int result_of_error(int error)
{
    return is_absent(error) ? 0 : -error;
}

int test_path_exists(const char *path)
{
    return access(path, F_OK) == 0 ? 1 : result_of_error(errno);
}

int test_path_is_directory(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 ? S_ISDIR(status.st_mode) : result_of_error(errno);
}

int test_path_is_symbolic_link(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0 ? S_ISLNK(status.st_mode) : result_of_error(errno);
}

int test_file_not_empty(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 ? S_ISREG(status.st_mode) && status.st_size > 0
                                    : result_of_error(errno);
}

int test_file_is_executable(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 ? S_ISREG(status.st_mode) && (status.st_mode & 0111)
                                    : result_of_error(errno);
}

int test_path_is_mount_point(const char *path)
{
    cleanup_free char *real = realpath(path, NULL);
    struct statx status;

    if (!real)
        return result_of_error(errno);
    if (strcmp(real, "/") == 0)
        return 1;
    if (statx(AT_FDCWD, real, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &status) < 0)
        return result_of_error(errno);
    if (!(status.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)) /* Linux before 5.8 */
        return -EOPNOTSUPP;
    return (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

int test_path_is_read_write(const char *path)
{
    struct statvfs status;

    if (statvfs(path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (status.f_flag & ST_RDONLY)
        return 0;
    /* NFS may only say it this way. */
    return !(access(path, W_OK) < 0 && errno == EROFS);
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t length = strlen(name), suffix_length = strlen(suffix);

    return length >= suffix_length && strcmp(name + length - suffix_length, suffix) == 0;
}

/* What does not make a directory a filled one: hidden files, and those that package managers and
 * editors leave. */
static bool is_passed_over(const char *name)
{
    static const char *const names[] = {"lost+found", "aquota.user", "aquota.group"};
    static const char *const suffixes[] = {
        "~",         ".rpmnew",    ".rpmsave",  ".rpmorig",     ".dpkg-old",    ".dpkg-new",
        ".dpkg-tmp", ".dpkg-dist", ".dpkg-bak", ".dpkg-backup", ".dpkg-remove", ".ucf-new",
        ".ucf-old",  ".ucf-dist",  ".swp",      ".bak",         ".old",         ".new",
    };

    if (*name == '.')
        return true;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
        if (has_suffix(name, suffixes[i]))
            return true;
    return false;
}

int test_directory_not_empty(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    int result = 0;

    if (!directory)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
    while (errno = 0, (entry = readdir(directory)))
        if (!is_passed_over(entry->d_name)) {
            result = 1;
            break;
        }
    if (!entry && errno != 0)
        result = -errno;
    closedir(directory);
    return result;
}

/* What glob(3) could not look at, as it tells only its callbacks. */
static _Thread_local int glob_error;

static void note_glob_error(void)
{
    if (!is_absent(errno))
        glob_error = -errno;
}

static void *open_for_glob(const char *path)
{
    DIR *directory = opendir(path);

    if (!directory)
        note_glob_error();
    return directory;
}

/* Without "." and "..", which are no match of ".*" to systemd. */
static struct dirent *read_for_glob(void *directory)
{
    struct dirent *entry;

    do
        entry = readdir(directory);
    while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    return entry;
}

static void close_for_glob(void *directory)
{
    closedir(directory);
}

static int stat_for_glob(const char *path, struct stat *status)
{
    int r = stat(path, status);

    if (r < 0)
        note_glob_error();
    return r;
}

static int lstat_for_glob(const char *path, struct stat *status)
{
    int r = lstat(path, status);

    if (r < 0)
        note_glob_error();
    return r;
}

int test_path_exists_glob(const char *pattern)
{
    glob_t found = {
        .gl_opendir = open_for_glob,
        .gl_readdir = read_for_glob,
        .gl_closedir = close_for_glob,
        .gl_stat = stat_for_glob,
        .gl_lstat = lstat_for_glob,
    };

    glob_error = 0;
    int r = glob(pattern, GLOB_NOSORT | GLOB_BRACE | GLOB_ALTDIRFUNC, NULL, &found);
    size_t n = r == 0 ? found.gl_pathc : 0;
    globfree(&found);
    if (r == GLOB_NOSPACE)
        return -ENOMEM;
    if (n > 0)
        return 1;
    if (r == 0 || r == GLOB_NOMATCH)
        return glob_error;
    return glob_error < 0 ? glob_error : -EIO;
}
