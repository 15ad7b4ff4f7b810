/* SPDX-License-Identifier: MIT */
/*
 * Where this host runs, as systemd-detect-virt(1) of systemd 252 tells it. root is a prefix of all
 * files that are looked at, "" but in tests. -EOPNOTSUPP where hark cannot tell (virtual machines
 * on s390, bare metal of Google), or what reading a file failed with.
 */
#pragma once

#include <stdbool.h>

enum virtualization_kind {
    VIRTUALIZATION_NONE,
    VIRTUALIZATION_VM,
    VIRTUALIZATION_CONTAINER, /* perhaps in a virtual machine */
};

struct virtualization {
    enum virtualization_kind kind;
    const char *name; /* "kvm", "docker", "container-other"; NULL where versions of systemd differ,
                         and for VIRTUALIZATION_NONE */
};

int virtualization_detect(const char *root, struct virtualization *ret);
int virtualization_detect_container(const char *root, struct virtualization *ret);
/* What the process is in apart from containers. */
int virtualization_detect_vm(const char *root, struct virtualization *ret);

/* A name that virtualization_detect() can give. */
bool virtualization_is_name(const char *text);

/* Whether this process is in a user namespace of its own: 1, 0, or an error. */
int virtualization_has_private_users(const char *root);

/* For virtualization.c and virtualization-vm.c: the first line of a file, cut off to size; its
 * length, or a negative errno. */
int virtualization_read_line(const char *root, const char *path, char *line, unsigned long size);
bool virtualization_has_file(const char *root, const char *path);
