/* SPDX-License-Identifier: MIT */
/*
 * User=, Group= and SupplementaryGroups=: who a process is to be, and what has to be set for that.
 * Everything is looked up once, when units are loaded; what the name service says later on counts
 * from the next reload.
 *
 * As systemd: groups of User= also with "+" and "!", none where the group is root's; a service of
 * the system without User= is root with no groups, whatever hark's own are. Other than systemd:
 * a number without an entry is taken, when Group= says the group.
 */
#pragma once

#include "exec/exec-request.h"

struct exec_identity {
    char *user, *home, *shell; /* for the environment; NULL for none */
    unsigned flags;            /* SPAWN_SET_UID, _GID, _GROUPS: not what is so already */
    uid_t uid;
    gid_t gid;
    gid_t *groups;
    size_t n_groups;
};

/* What cannot be is in problems, with 0. -ENOMEM. */
int exec_identity_find(const struct exec_request *request, struct problems *problems,
                       struct exec_identity *ret_identity);
void exec_identity_done(struct exec_identity *identity);
