/* SPDX-License-Identifier: MIT */
#include "libhark/forkserver-rights.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libhark/pass-fds.h"

/* More groups than a process has as its own: real, effective and saved. Any would do. */
#define N_GROUP_CLAIMS 4
#define GROUP_CLAIM(i) ((gid_t)(1 + (i)))

/* ---- The requester --------------------------------------------------------------------------- */

static int claim(int fd, const struct forkserver_request *request, uid_t uid, gid_t gid)
{
    const struct ucred credentials = {.pid = getpid(), .uid = uid, .gid = gid};
    struct message message = {.credentials = &credentials};

    message.data[0] = (struct iovec){
        .iov_base = (void *)(uintptr_t)request->cookie,
        .iov_len = FORKSERVER_COOKIE_SIZE,
    };
    ssize_t n = message_send(fd, &message, MSG_DONTWAIT);
    return n < 0 ? (int)n : 0;
}

int forkserver_rights_claim(int near_fd, int far_fd, const struct forkserver_request *request)
{
    int on = 1;

    if (setsockopt(far_fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
        return -errno;
    int r = claim(near_fd, request, request->uid, request->gid);
    /* Only needed for other groups than the server's, which it alone knows. */
    for (unsigned i = 0; i < N_GROUP_CLAIMS && r >= 0; i++)
        if (claim(near_fd, request, geteuid(), GROUP_CLAIM(i)) < 0)
            break;
    return r;
}

/* ---- The server ------------------------------------------------------------------------------ */

static bool receive_claim(int fd, const struct forkserver_request *request, pid_t sender,
                          struct ucred *ret_claimed)
{
    uint8_t cookie[FORKSERVER_COOKIE_SIZE + 1];
    struct iovec room = {.iov_base = cookie, .iov_len = sizeof(cookie)};
    struct ancillary ancillary;
    ssize_t n = message_receive(fd, &room, MSG_DONTWAIT, &ancillary);

    if (n < 0)
        return false;
    ancillary_done(&ancillary);
    *ret_claimed = ancillary.credentials;
    return n == FORKSERVER_COOKIE_SIZE &&
           memcmp(cookie, request->cookie, FORKSERVER_COOKIE_SIZE) == 0 &&
           ret_claimed->pid == sender;
}

struct forkserver_claims
forkserver_rights_receive(int reply_fd, const struct forkserver_request *request, pid_t sender)
{
    struct forkserver_claims claims;
    struct ucred claimed;

    claims.identity = receive_claim(reply_fd, request, sender, &claimed) &&
                      claimed.uid == request->uid && claimed.gid == request->gid;
    claims.groups = true;
    for (unsigned i = 0; i < N_GROUP_CLAIMS; i++)
        if (!receive_claim(reply_fd, request, sender, &claimed) || claimed.gid != GROUP_CLAIM(i))
            claims.groups = false;
    return claims;
}

static bool is_member(const gid_t *groups, size_t n, gid_t wanted)
{
    for (size_t i = 0; i < n; i++)
        if (groups[i] == wanted)
            return true;
    return false;
}

static bool has_groups(const gid_t *groups, size_t n)
{
    gid_t own[HARK_SPAWN_GROUPS_MAX];
    int n_own = getgroups(HARK_SPAWN_GROUPS_MAX, own);

    if (n_own < 0) /* more than can be asked for */
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_member(own, (size_t)n_own, groups[i]))
            return false;
    for (size_t i = 0; i < (size_t)n_own; i++)
        if (!is_member(groups, n, own[i]))
            return false;
    return true;
}

static bool has_ids(uid_t uid, gid_t gid)
{
    uid_t uids[3];
    gid_t gids[3];

    return getresuid(&uids[0], &uids[1], &uids[2]) == 0 &&
           getresgid(&gids[0], &gids[1], &gids[2]) == 0 && uids[0] == uid && uids[1] == uid &&
           uids[2] == uid && gids[0] == gid && gids[1] == gid && gids[2] == gid;
}

int forkserver_rights_check_identity(const struct forkserver_claims *claims,
                                     const struct forkserver_request *request, const gid_t *groups,
                                     unsigned *ret_flags)
{
    bool same_groups = has_groups(groups, request->n_groups);

    if (!claims->identity || !(same_groups || claims->groups))
        return -EPERM;
    *ret_flags = same_groups && has_ids(request->uid, request->gid)
                     ? 0
                     : SPAWN_SET_UID | SPAWN_SET_GID | SPAWN_SET_GROUPS;
    return 0;
}

static rlim_t limit_value(uint64_t value)
{
    return value == UINT64_MAX ? RLIM_INFINITY : (rlim_t)value;
}

int forkserver_rights_check_limits(const struct forkserver_request *request,
                                   const struct forkserver_limit *limits,
                                   struct spawn_limit *ret_limits)
{
    for (uint32_t i = 0; i < request->n_limits; i++) {
        const struct rlimit wanted = {
            .rlim_cur = limit_value(limits[i].soft),
            .rlim_max = limit_value(limits[i].hard),
        };
        struct rlimit own;

        if (limits[i].resource > INT32_MAX || wanted.rlim_cur > wanted.rlim_max ||
            getrlimit((__rlimit_resource_t)limits[i].resource, &own) < 0)
            return -EINVAL;
        if (wanted.rlim_max > own.rlim_max)
            return -EPERM;
        ret_limits[i] = (struct spawn_limit){.resource = (int)limits[i].resource, .value = wanted};
    }
    return 0;
}
