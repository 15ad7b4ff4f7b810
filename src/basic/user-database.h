/* SPDX-License-Identifier: MIT */
/*
 * Users and groups by name or number, as the host's name service knows them. root and nobody are
 * known without asking it: they are the same everywhere, and in a container there may be nobody to
 * ask. May block, load modules and talk over the network: not for a process that serves.
 *
 * Each returns 0, -ESRCH when there is no such user or group, -ENOMEM, or what the name service
 * failed with.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct user_record {
    char *name;
    uid_t uid;
    gid_t gid;
    char *home;  /* tidy; NULL where it says nothing: none, relative, "/" */
    char *shell; /* the same; NULL also for one that only keeps users out */
};

int user_find(const char *name_or_number, struct user_record *ret_user);
void user_record_done(struct user_record *user);

int group_find(const char *name_or_number, gid_t *ret_gid);

/* The groups that a user has, group among them, for setgroups(2). The caller frees the list. */
int user_find_groups(const char *name, gid_t group, gid_t **ret_groups, size_t *ret_n);

/* Whether it is a number that can be a user's or a group's: not -1, in 16 or 32 bits. */
bool user_parse_number(const char *text, uid_t *ret_number);
