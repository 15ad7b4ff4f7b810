/* SPDX-License-Identifier: MIT */
#include "unit/virtualization.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "basic/io.h"

#define ENVIRONMENT_MAX 65536

/* These a container says itself to be. */
static const char *const container_names[] = {
    "lxc", "lxc-libvirt", "systemd-nspawn", "docker", "podman", "rkt", "wsl", "proot", "pouch",
};

static const char *const other_names[] = {
    "openvz", "container-other", "kvm",    "amazon",    "qemu",      "bochs", "xen",
    "uml",    "vmware",          "oracle", "microsoft", "parallels", "bhyve", "qnx",
    "acrn",   "powervm",         "apple",  "vm-other",
};

static const char *find_name(const char *const *names, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], text) == 0)
            return names[i];
    return NULL;
}

#define FIND_NAME(names, text) find_name((names), sizeof(names) / sizeof((names)[0]), (text))

bool virtualization_is_name(const char *text)
{
    return FIND_NAME(container_names, text) || FIND_NAME(other_names, text);
}

static ssize_t read_file(const char *root, const char *path, char *text, size_t size)
{
    char full[PATH_MAX];
    int n = snprintf(full, sizeof(full), "%s%s", root, path);

    if (n < 0 || (size_t)n >= sizeof(full))
        return -ENAMETOOLONG;
    return read_text_file(full, text, size);
}

int virtualization_read_line(const char *root, const char *path, char *line, unsigned long size)
{
    ssize_t n = read_file(root, path, line, size);

    if (n < 0)
        return (int)n;
    line[strcspn(line, "\n")] = '\0';
    return (int)strlen(line);
}

bool virtualization_has_file(const char *root, const char *path)
{
    char full[PATH_MAX];
    int n = snprintf(full, sizeof(full), "%s%s", root, path);

    return n >= 0 && (size_t)n < sizeof(full) && access(full, F_OK) == 0;
}

/* The program that traces this process is proot, which makes its tracees believe in a container. */
static bool is_in_proot(const char *root)
{
    char status[4096], path[64], command[64];

    if (read_file(root, "/proc/self/status", status, sizeof(status)) < 0)
        return false;
    const char *tracer = strstr(status, "\nTracerPid:");
    if (!tracer)
        return false;
    tracer += strlen("\nTracerPid:");
    tracer += strspn(tracer, " \t");
    int digits = (int)strspn(tracer, "0123456789");
    if (digits == 0 || digits > 10 || *tracer == '0')
        return false;
    (void)snprintf(path, sizeof(path), "/proc/%.*s/comm", digits, tracer);
    return virtualization_read_line(root, path, command, sizeof(command)) > 0 &&
           strncmp(command, "proot", 5) == 0;
}

/* $container of PID 1, "" when it cannot be seen, as without privileges. */
static void read_init_container(const char *root, char *value, size_t size)
{
    static const char name[] = "container=";
    char environment[ENVIRONMENT_MAX];
    ssize_t n = read_file(root, "/proc/1/environ", environment, sizeof(environment));

    *value = '\0';
    for (ssize_t i = 0; i < n; i += (ssize_t)strlen(environment + i) + 1)
        if (strncmp(environment + i, name, strlen(name)) == 0) {
            (void)snprintf(value, size, "%s", environment + i + strlen(name));
            return;
        }
}

/* All cgroups but the host's root have these files. */
static bool is_in_cgroup_namespace(const char *root)
{
    char full[PATH_MAX];
    struct statfs status;

    if (!virtualization_has_file(root, "/proc/self/ns/cgroup"))
        return false;
    (void)snprintf(full, sizeof(full), "%s/sys/fs/cgroup", root);
    if (statfs(full, &status) < 0)
        return false;
    if (status.f_type == CGROUP2_SUPER_MAGIC)
        return virtualization_has_file(root, "/sys/fs/cgroup/cgroup.events") &&
               (virtualization_has_file(root, "/sys/fs/cgroup/cgroup.type") ||
                !virtualization_has_file(root, "/sys/kernel/cgroup/features"));
    return virtualization_has_file(root, "/sys/fs/cgroup/systemd") &&
           !virtualization_has_file(root, "/sys/fs/cgroup/systemd/release_agent");
}

/* By the files that two container managers leave; docker's may also have come with an image. */
static const char *find_by_files(const char *root)
{
    if (virtualization_has_file(root, "/run/.containerenv"))
        return "podman";
    return virtualization_has_file(root, "/.dockerenv") ? "docker" : NULL;
}

/* "oci" is in images, whatever runs them. */
static const char *translate(const char *root, const char *said)
{
    const char *name =
        strcmp(said, "oci") == 0 ? find_by_files(root) : FIND_NAME(container_names, said);

    return name ? name : "container-other";
}

/* Kernels that are made to look like a host's. */
static const char *find_by_kernel(const char *root)
{
    char release[256];

    if (virtualization_has_file(root, "/proc/vz") && !virtualization_has_file(root, "/proc/bc"))
        return "openvz";
    if (virtualization_read_line(root, "/proc/sys/kernel/osrelease", release, sizeof(release)) >
            0 &&
        (strstr(release, "Microsoft") || strstr(release, "WSL")))
        return "wsl";
    return is_in_proot(root) ? "proot" : NULL;
}

/* What the container manager says, or PID 1 has written down: 1 with it in said, which is empty
 * for "no container"; 0 for nothing. */
static int read_said(const char *root, char *said, size_t size)
{
    int r = virtualization_read_line(root, "/run/host/container-manager", said, size);

    if (r > 0)
        return 1;
    if (r < 0 && r != -ENOENT)
        return r;
    if (getpid() == 1) {
        const char *variable = getenv("container");
        (void)snprintf(said, size, "%s", variable ? variable : "");
        return variable ? 1 : 0;
    }
    r = virtualization_read_line(root, "/run/systemd/container", said, size);
    if (r > 0)
        return 1;
    if (r < 0 && r != -ENOENT)
        return r;
    read_init_container(root, said, size);
    return *said != '\0';
}

int virtualization_detect_container(const char *root, struct virtualization *ret)
{
    const char *name = find_by_kernel(root);
    char said[256];

    if (!name) {
        int r = read_said(root, said, sizeof(said));
        if (r < 0)
            return r;
        if (r > 0)
            name = *said != '\0' ? translate(root, said) : NULL;
        else
            name = find_by_files(root);
        if (r == 0 && !name && is_in_cgroup_namespace(root))
            name = "container-other";
    }
    *ret = (struct virtualization){name ? VIRTUALIZATION_CONTAINER : VIRTUALIZATION_NONE, name};
    return 0;
}

int virtualization_detect(const char *root, struct virtualization *ret)
{
    struct virtualization found;
    int r = virtualization_detect_container(root, &found);

    if (r == 0 && found.kind == VIRTUALIZATION_NONE)
        r = virtualization_detect_vm(root, &found);
    if (r == 0)
        *ret = found;
    return r;
}

/* Whether ids are mapped to others than themselves, or not at all so far. */
static int has_mapping(const char *root, const char *path)
{
    char map[256];
    unsigned long inside, outside, count;
    int r = virtualization_read_line(root, path, map, sizeof(map));

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (r == 0)
        return 1;
    if (sscanf(map, "%lu %lu %lu", &inside, &outside, &count) != 3)
        return -EBADMSG;
    return !(inside == 0 && outside == 0 && count == UINT32_MAX);
}

int virtualization_has_private_users(const char *root)
{
    char text[16];
    int r = has_mapping(root, "/proc/self/uid_map");

    if (r == 0)
        r = has_mapping(root, "/proc/self/gid_map");
    if (r != 0)
        return r;
    r = virtualization_read_line(root, "/proc/self/setgroups", text, sizeof(text));
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return strcmp(text, "deny") == 0;
}
