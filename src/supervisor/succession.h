/* SPDX-License-Identifier: MIT */
/*
 * What a hark leaves to the image of the program that takes its place (SIGUSR2): listeners with
 * their locks, the slots of running handlers, and what has been counted. Written as JSON to a memfd
 * whose number is in the environment; descriptors go across execve(2) by their numbers.
 *
 * The successor may be another version: it reads this before anything is given up, as a child
 * (HARK_SUCCESSION=check:FD), and says by its exit status whether it can go on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#define SUCCESSION_VARIABLE "HARK_SUCCESSION"

struct succession_listener {
    char *socket;    /* the unit: "foo.socket" */
    int kind;        /* enum listener_kind */
    char *address;   /* as the unit has it */
    int fd, lock_fd; /* lock_fd -1: none */
    bool passed;
    char *stored; /* the name under which the service manager keeps it; NULL: it does not */
};

struct succession_unit {
    char *name;
    bool accept;
    uint32_t program; /* of several, the one that is running */
    uint64_t done, failed;
};

struct succession {
    struct succession_listener *listeners;
    size_t n_listeners;
    struct succession_unit *units; /* as in the slots */
    size_t n_units;
    int slots_fd;
    uint32_t incarnations; /* of fork servers so far */
    uint64_t done, failed, start_usec;
    struct rlimit open_files; /* what hark was given, before it asked for more */
    char *directory;          /* where it was started */
};

/* The memfd, which is close-on-exec: 0, -ENOMEM, or an errno of memfd_create(2), write(2). */
int succession_write(const struct succession *succession, int *ret_fd);

/* -EINVAL for what is no such thing, -EPROTONOSUPPORT for what another version has written that
 * cannot be gone on with; -ENOMEM. Checks no descriptor. */
int succession_read(int fd, struct succession **ret_succession);
/* Closes no descriptor. */
struct succession *succession_free(struct succession *succession);

/* Whether it has a listener of that socket. */
bool succession_has_socket(const struct succession *succession, const char *socket);
/* The descriptors go across execve(2), or do not. */
void succession_keep_descriptors(const struct succession *succession, bool keep);
