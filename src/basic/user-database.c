/* SPDX-License-Identifier: MIT */
#include "basic/user-database.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/parse.h"

#define BUFFER_FIRST 4096
#define BUFFER_MAX   (16 << 20)
#define GROUPS_FIRST 64
#define NOBODY       65534
#define INVALID_16   65535

bool user_parse_number(const char *text, uid_t *ret_number)
{
    uint64_t number;

    if (parse_unsigned(text, UINT32_MAX - 1, &number) < 0 || number == INVALID_16)
        return false;
    *ret_number = (uid_t)number;
    return true;
}

void user_record_done(struct user_record *user)
{
    free(user->name);
    free(user->home);
    free(user->shell);
    *user = (struct user_record){0};
}

/* Drops doubled slashes and those at the end. */
static void tidy(char *path)
{
    char *to = path;

    for (const char *from = path; *from != '\0'; from++)
        if (*from != '/' || (from[1] != '/' && (from[1] != '\0' || to == path)))
            *to++ = *from;
    *to = '\0';
}

static bool is_useful_shell(const char *shell)
{
    static const char *const useless[] = {
        "/bin/nologin",      "/sbin/nologin", "/usr/bin/nologin",
        "/usr/sbin/nologin", "/bin/false",    "/usr/bin/false",
        "/bin/true",         "/usr/bin/true", NULL,
    };

    for (size_t i = 0; useless[i] != NULL; i++)
        if (strcmp(shell, useless[i]) == 0)
            return false;
    return true;
}

/* A copy of an absolute path, NULL for any other. */
static int copy_path(const char *path, char **ret_copy)
{
    char *copy = NULL;

    if (path != NULL && path[0] == '/') {
        copy = strdup(path);
        if (copy == NULL)
            return -ENOMEM;
        tidy(copy);
    }
    *ret_copy = copy;
    return 0;
}

static int fill(const struct passwd *entry, struct user_record *ret_user)
{
    cleanup(user_record_done) struct user_record user = {
        .name = strdup(entry->pw_name), .uid = entry->pw_uid, .gid = entry->pw_gid};

    if (user.name == NULL || copy_path(entry->pw_dir, &user.home) < 0 ||
        copy_path(entry->pw_shell, &user.shell) < 0)
        return -ENOMEM;
    if (user.home != NULL && strcmp(user.home, "/") == 0) {
        free(user.home);
        user.home = NULL;
    }
    if (user.shell != NULL && !is_useful_shell(user.shell)) {
        free(user.shell);
        user.shell = NULL;
    }
    *ret_user = user;
    user = (struct user_record){0};
    return 0;
}

/* POSIX has no single word for "not found". */
static int lookup_error(int error)
{
    switch (error) {
    case 0:
    case ENOENT:
    case ESRCH:
    case EBADF:
    case EPERM:
        return -ESRCH;
    default:
        return -error;
    }
}

/* Doubles the buffer of a lookup that said ERANGE. */
static int enlarge(char **buffer, size_t *size)
{
    size_t larger = *size > 0 ? *size * 2 : BUFFER_FIRST;
    char *data = larger <= BUFFER_MAX ? realloc(*buffer, larger) : NULL;

    if (data == NULL)
        return -ENOMEM;
    *buffer = data;
    *size = larger;
    return 0;
}

static int find_in_database(const char *text, struct user_record *ret_user)
{
    cleanup_free char *buffer = NULL;
    struct passwd entry, *found = NULL;
    size_t size = 0;
    uid_t uid = 0;
    bool is_number = user_parse_number(text, &uid);
    int error = ERANGE;

    while (error == ERANGE) {
        int r = enlarge(&buffer, &size);
        if (r < 0)
            return r;
        error = is_number ? getpwuid_r(uid, &entry, buffer, size, &found)
                          : getpwnam_r(text, &entry, buffer, size, &found);
    }
    return found == NULL ? lookup_error(error) : fill(found, ret_user);
}

int user_find(const char *name_or_number, struct user_record *ret_user)
{
    const bool is_root = strcmp(name_or_number, "root") == 0 || strcmp(name_or_number, "0") == 0;
    const bool is_nobody =
        strcmp(name_or_number, "nobody") == 0 || strcmp(name_or_number, "65534") == 0;
    char root[] = "root", nobody[] = "nobody", home[] = "/root", bash[] = "/bin/bash",
         sh[] = "/bin/sh";

    if (is_root) {
        const struct passwd entry = {
            .pw_name = root, .pw_dir = home, .pw_shell = access(bash, X_OK) == 0 ? bash : sh};
        return fill(&entry, ret_user);
    }
    if (is_nobody) {
        const struct passwd entry = {.pw_name = nobody, .pw_uid = NOBODY, .pw_gid = NOBODY};
        return fill(&entry, ret_user);
    }
    return find_in_database(name_or_number, ret_user);
}

int group_find(const char *name_or_number, gid_t *ret_gid)
{
    cleanup_free char *buffer = NULL;
    struct group entry, *found = NULL;
    size_t size = 0;
    gid_t gid = 0;
    bool is_number = user_parse_number(name_or_number, &gid);
    int error = ERANGE;

    if (strcmp(name_or_number, "root") == 0 || (is_number && gid == 0)) {
        *ret_gid = 0;
        return 0;
    }
    while (error == ERANGE) {
        int r = enlarge(&buffer, &size);
        if (r < 0)
            return r;
        error = is_number ? getgrgid_r(gid, &entry, buffer, size, &found)
                          : getgrnam_r(name_or_number, &entry, buffer, size, &found);
    }
    if (found == NULL)
        return lookup_error(error);
    *ret_gid = found->gr_gid;
    return 0;
}

int user_find_groups(const char *name, gid_t group, gid_t **ret_groups, size_t *ret_n)
{
    cleanup_free gid_t *groups = NULL;
    int size = GROUPS_FIRST;

    for (;;) {
        int n = size;
        gid_t *larger = reallocarray(groups, (size_t)size, sizeof(*groups));

        if (larger == NULL)
            return -ENOMEM;
        groups = larger;
        if (getgrouplist(name, group, groups, &n) >= 0) {
            *ret_n = (size_t)n;
            break;
        }
        if (n <= size) /* it was not about the room */
            return -ENOMEM;
        size = n;
    }
    *ret_groups = take_pointer(&groups);
    return 0;
}
