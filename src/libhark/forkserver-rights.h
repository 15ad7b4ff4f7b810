/* SPDX-License-Identifier: MIT */
/*
 * Never more than the requester could take itself. Internal to the fork server.
 *
 * The ids: before its request, the requester sends claims on the request's own reply channel, as
 * SCM_CREDENTIALS; the kernel lets a process name only what it has (real, effective, saved), or
 * what its capabilities permit. One claim is the identity that is asked for. Four more name four
 * different groups: no process has so many, so they show that it might call setgroups(2).
 *
 * The limits: a hard limit is at most the server's own, which every child gets anyhow.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "libhark/forkserver-protocol.h"
#include "libhark/spawn.h"

/* The requester's side: both ends of the reply channel are here still. 0; -EPERM: that identity is
 * not one this process could take; -EINVAL: there is none of these ids in its user namespace. */
int forkserver_rights_claim(int near_fd, int far_fd, const struct forkserver_request *request);

/* The server's side: what the requester has claimed. */
struct forkserver_claims {
    bool identity; /* that which is asked for */
    bool groups;   /* any */
};

/* Reads all that sender, who sent the request, has claimed: also for a request that is refused, as
 * a channel that is closed with something unread in it loses its reply. */
struct forkserver_claims
forkserver_rights_receive(int reply_fd, const struct forkserver_request *request, pid_t sender);

/* What a plan needs for the identity that is asked for: in *ret_flags some of SPAWN_SET_UID,
 * SPAWN_SET_GID, SPAWN_SET_GROUPS, none when it is the server's own already. -EPERM: not claimed.
 */
int forkserver_rights_check_identity(const struct forkserver_claims *claims,
                                     const struct forkserver_request *request, const gid_t *groups,
                                     unsigned *ret_flags);

/* Room for request->n_limits. -EPERM: one is above the server's; -EINVAL: there is no such limit.
 */
int forkserver_rights_check_limits(const struct forkserver_request *request,
                                   const struct forkserver_limit *limits,
                                   struct spawn_limit *ret_limits);
