/* SPDX-License-Identifier: MIT */
/* Conditions about who the process is and what it may do. */
#include "unit/condition-kinds.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/parse.h"
#include "unit/unit-values.h"
#include "unit/values.h"

#define SYSTEM_UID_MAX     999 /* of systemd, unless it is built otherwise */
#define NOBODY             65534
#define DATABASE_ENTRY_MAX ((size_t)1 << 20)

/* The number of a name, which -ENOENT says that there is none of. */
typedef int (*id_finder)(const char *name, char *buffer, size_t size, uint32_t *ret_id);

static int find_user(const char *name, char *buffer, size_t size, uint32_t *ret_id)
{
    struct passwd entry, *found = NULL;
    int error = getpwnam_r(name, &entry, buffer, size, &found);

    if (!found)
        return error == 0 || error == ESRCH ? -ENOENT : -error;
    *ret_id = entry.pw_uid;
    return 0;
}

static int find_group(const char *name, char *buffer, size_t size, uint32_t *ret_id)
{
    struct group entry, *found = NULL;
    int error = getgrnam_r(name, &entry, buffer, size, &found);

    if (!found)
        return error == 0 || error == ESRCH ? -ENOENT : -error;
    *ret_id = entry.gr_gid;
    return 0;
}

/* A number as it is, root without a look at the database. */
static int find_id(const char *name, id_finder find, uint32_t *ret_id)
{
    uint64_t number;
    bool is_number = *name != '0' || name[1] == '\0'; /* to systemd "007" is a name */
    int r = -ERANGE;

    if (is_number && parse_unsigned(name, UINT32_MAX - 1, &number) == 0) {
        *ret_id = (uint32_t)number;
        return 0;
    }
    if (strcmp(name, "root") == 0) {
        *ret_id = 0;
        return 0;
    }
    for (size_t size = 4096; size <= DATABASE_ENTRY_MAX && r == -ERANGE; size *= 4) {
        cleanup_free char *buffer = malloc(size);
        if (!buffer)
            return -ENOMEM;
        r = find(name, buffer, size, ret_id);
    }
    return r;
}

int check_user(const char *name)
{
    return strcmp(name, "@system") == 0 || (*name != '@' && value_is_user(name)) ? 0 : -EINVAL;
}

int check_group(const char *name)
{
    return *name != '@' && value_is_user(name) ? 0 : -EINVAL;
}

int test_user(const char *name)
{
    uint32_t id = 0;

    if (strcmp(name, "@system") == 0)
        return getuid() <= SYSTEM_UID_MAX || geteuid() <= SYSTEM_UID_MAX;
    if (strcmp(name, "nobody") == 0)
        return getuid() == NOBODY || geteuid() == NOBODY;
    int r = find_id(name, find_user, &id);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return id == getuid() || id == geteuid();
}

static int has_group(gid_t group)
{
    if (group == getgid() || group == getegid())
        return 1;
    int n = getgroups(0, NULL);
    if (n <= 0)
        return n < 0 ? -errno : 0;
    cleanup_free gid_t *groups = calloc((size_t)n, sizeof(*groups));
    if (!groups)
        return -ENOMEM;
    n = getgroups(n, groups);
    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++)
        if (groups[i] == group)
            return 1;
    return 0;
}

int test_group(const char *name)
{
    uint32_t id = 0;
    int r = find_id(name, find_group, &id);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return has_group(id);
}

/* CAP_… by name, in any case, or number; systemd takes numbers that no kernel has so far. */
static int parse_capability(const char *name, int *ret_capability)
{
    static const char *const names[] = {
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    };
    int64_t number;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strncasecmp(name, "CAP_", 4) == 0 && strcasecmp(name + 4, names[i]) == 0) {
            *ret_capability = (int)i;
            return 0;
        }
    int r = value_integer(name, 0, 63, &number);
    if (r == 0)
        *ret_capability = (int)number;
    return r;
}

int check_capability(const char *name)
{
    int unused;

    return parse_capability(name, &unused);
}

/* In the bounding set: it could be had. */
int test_capability(const char *name)
{
    int capability = 0;
    int r = parse_capability(name, &capability);

    if (r < 0)
        return r;
    r = prctl(PR_CAPBSET_READ, (unsigned long)capability, 0UL, 0UL, 0UL);
    if (r < 0)
        return errno == EINVAL ? 0 : -errno; /* the kernel has no such capability */
    return r;
}
