/* SPDX-License-Identifier: MIT */
#include "unit/host-facts.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/io.h"

#define FACT_FILE_MAX 65536
#define USER_DATA_MAX 16384 /* of one user or group, as the database gives it */

static int give(const char *text, char **ret_text)
{
    char *copy = strdup(text);

    if (!copy)
        return -ENOMEM;
    *ret_text = copy;
    return 0;
}

/* Unlike read_text_file() it follows links: /etc/os-release is one. */
static int read_fact_file(const char *root, const char *path, char **ret_text)
{
    cleanup_free char *full = NULL, *text = malloc(FACT_FILE_MAX);

    if (!text || asprintf(&full, "%s%s", root, path) < 0) {
        full = NULL;
        return -ENOMEM;
    }
    cleanup_close int fd = open(full, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    ssize_t n = read_up_to(fd, text, FACT_FILE_MAX - 1);
    if (n < 0)
        return (int)n;
    text[n] = '\0';
    *ret_text = take_pointer(&text);
    return 0;
}

/* A value as a shell would read it, in place: quotes and backslashes go. False for an open quote.
 */
static bool unquote(char *value)
{
    char *to = value;
    char quote = '\0';

    for (const char *c = value; *c; c++) {
        if (quote ? *c == quote : (*c == '"' || *c == '\'')) {
            quote = (char)(quote ? '\0' : *c);
            continue;
        }
        /* Within double quotes a backslash is only special before what would be. */
        if (*c == '\\' && quote != '\'' && c[1] && (!quote || strchr("\"\\`$", c[1])))
            c++;
        *to++ = *c;
    }
    *to = '\0';
    return !quote;
}

/* The last KEY=VALUE line with that key; "" when there is none. */
static int find_field(char *text, const char *key, char **ret_value)
{
    const char *found = "";
    size_t key_length = strlen(key);
    char *rest = text;

    for (char *line; (line = strsep(&rest, "\n\r"));) {
        line += strspn(line, " \t");
        if (strncmp(line, key, key_length) != 0 || line[key_length] != '=')
            continue;
        char *value = line + key_length + 1;
        value += strspn(value, " \t");
        size_t length = strlen(value);
        while (length > 0 && strchr(" \t", value[length - 1]))
            value[--length] = '\0';
        if (unquote(value))
            found = value;
    }
    return give(found, ret_value);
}

int host_os_release(const char *root, const char *field, char **ret_value)
{
    cleanup_free char *text = NULL;
    int r = read_fact_file(root, "/etc/os-release", &text);

    if (r == -ENOENT)
        r = read_fact_file(root, "/usr/lib/os-release", &text);
    return r < 0 ? r : find_field(text, field, ret_value);
}

/* 32 digits, also with dashes between, as the kernel writes its ids. */
static int read_id(const char *root, const char *path, char **ret_id)
{
    cleanup_free char *text = NULL;
    char id[33];
    size_t n = 0;
    int r = read_fact_file(root, path, &text);

    if (r < 0)
        return r;
    for (const char *c = text; *c && *c != '\n'; c++) {
        if (*c == '-')
            continue;
        if (!isxdigit((unsigned char)*c) || n == 32)
            return -EINVAL;
        id[n++] = (char)tolower((unsigned char)*c);
    }
    if (n != 32)
        return -EINVAL;
    id[n] = '\0';
    return give(id, ret_id);
}

int host_machine_id(const char *root, char **ret_id)
{
    return read_id(root, "/etc/machine-id", ret_id);
}

int host_boot_id(char **ret_id)
{
    return read_id("", "/proc/sys/kernel/random/boot_id", ret_id);
}

int host_name(char **ret_name)
{
    struct utsname host;

    if (uname(&host) < 0)
        return -errno;
    if (!*host.nodename || strcmp(host.nodename, "(none)") == 0)
        return give("localhost", ret_name);
    return give(host.nodename, ret_name);
}

int host_short_name(char **ret_name)
{
    char *name = NULL;
    int r = host_name(&name);

    if (r < 0)
        return r;
    name[strcspn(name, ".")] = '\0';
    *ret_name = name;
    return 0;
}

int host_pretty_name(const char *root, char **ret_name)
{
    cleanup_free char *text = NULL, *name = NULL;
    int r = read_fact_file(root, "/etc/machine-info", &text);

    if (r == 0)
        r = find_field(text, "PRETTY_HOSTNAME", &name);
    if (r < 0 && r != -ENOENT)
        return r;
    if (!name || !*name)
        return host_name(ret_name);
    *ret_name = take_pointer(&name);
    return 0;
}

int host_kernel_release(char **ret_release)
{
    struct utsname host;

    return uname(&host) < 0 ? -errno : give(host.release, ret_release);
}

int host_architecture(char **ret_architecture)
{
    /* What differs from the kernel's word; a 32-bit x86 is any of i386 to i686. */
    static const struct {
        const char *machine, *architecture;
    } names[] = {
        {"x86_64", "x86-64"},
        {"aarch64", "arm64"},
        {"aarch64_be", "arm64-be"},
        {"ppc64le", "ppc64-le"},
        {"ppcle", "ppc-le"},
        {"armv8l", "arm"},
        {"armv8b", "arm-be"},
        {"armv7l", "arm"},
        {"armv7b", "arm-be"},
        {"armv6l", "arm"},
        {"armv6b", "arm-be"},
        {"armv5tl", "arm"},
        {"armv5tel", "arm"},
        {"armv5tejl", "arm"},
        {"i686", "x86"},
        {"i586", "x86"},
        {"i486", "x86"},
        {"i386", "x86"},
        {"loongarch64", "loongarch64"},
    };
    struct utsname host;

    if (uname(&host) < 0)
        return -errno;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(host.machine, names[i].machine) == 0)
            return give(names[i].architecture, ret_architecture);
    return give(host.machine, ret_architecture);
}

int host_user_name(char **ret_name)
{
    char data[USER_DATA_MAX];
    struct passwd user, *found = NULL;

    if (getuid() == 0)
        return give("root", ret_name);
    if (getpwuid_r(getuid(), &user, data, sizeof(data), &found) != 0 || !found)
        return asprintf(ret_name, "%u", getuid()) < 0 ? -ENOMEM : 0;
    return give(user.pw_name, ret_name);
}

int host_group_name(char **ret_name)
{
    char data[USER_DATA_MAX];
    struct group group, *found = NULL;

    if (getgid() == 0)
        return give("root", ret_name);
    if (getgrgid_r(getgid(), &group, data, sizeof(data), &found) != 0 || !found)
        return asprintf(ret_name, "%u", getgid()) < 0 ? -ENOMEM : 0;
    return give(group.gr_name, ret_name);
}

int host_user_home(char **ret_path)
{
    char data[USER_DATA_MAX];
    struct passwd user, *found = NULL;
    const char *variable = secure_getenv("HOME");

    if (variable && *variable == '/')
        return give(variable, ret_path);
    if (getuid() == 0)
        return give("/root", ret_path);
    if (getpwuid_r(getuid(), &user, data, sizeof(data), &found) != 0 || !found ||
        user.pw_dir[0] != '/')
        return -ENXIO;
    return give(user.pw_dir, ret_path);
}

int host_user_shell(char **ret_path)
{
    char data[USER_DATA_MAX];
    struct passwd user, *found = NULL;
    const char *variable = secure_getenv("SHELL");

    if (variable && *variable == '/')
        return give(variable, ret_path);
    if (getuid() == 0)
        return give(access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh", ret_path);
    if (getpwuid_r(getuid(), &user, data, sizeof(data), &found) != 0 || !found ||
        user.pw_shell[0] != '/')
        return -ENXIO;
    return give(user.pw_shell, ret_path);
}

int host_temporary_directory(const char *fallback, char **ret_path)
{
    static const char *const variables[] = {"TMPDIR", "TEMP", "TMP"};

    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        const char *path = secure_getenv(variables[i]);
        struct stat status;

        if (path && *path == '/' && stat(path, &status) == 0 && S_ISDIR(status.st_mode))
            return give(path, ret_path);
    }
    return give(fallback, ret_path);
}
