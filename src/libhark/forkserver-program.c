/* SPDX-License-Identifier: MIT */
#include "libhark/forkserver-program.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/cleanup.h"

#define N_STANDARD 3 /* descriptors 0, 1, 2 */
#define N_EXTRA    2 /* the socket, the connection */

int incoming_take_body(struct incoming *incoming, char **ret_memory)
{
    if (!incoming->memfd)
        return 0;
    int r = forkserver_body_from_memfd(*incoming->memfd, incoming->request->body_size, ret_memory);
    *incoming->memfd = fd_close(*incoming->memfd);
    incoming->malformed = r == -EBADMSG;
    if (r >= 0)
        incoming->body = *ret_memory;
    return r;
}

/* The list of descriptors for a plan: copies are what was opened for it and is not the request's.
 */
struct hand_over {
    int fds[HARK_SPAWN_FDS_MAX + N_EXTRA];
    size_t n;
    int null_fd; /* one of the copies, or -1 */
    int copies[N_STANDARD + 1];
    size_t n_copies;
};

static void hand_over_done(struct hand_over *hand_over)
{
    for (size_t i = 0; i < hand_over->n_copies; i++)
        fd_close(hand_over->copies[i]);
}

static int hand_over_copy(struct hand_over *hand_over, int fd, int minimum)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, minimum);

    if (copy < 0)
        return -errno;
    hand_over->copies[hand_over->n_copies++] = copy;
    return copy;
}

static int hand_over_null(struct hand_over *hand_over, int minimum)
{
    cleanup_close int fd = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);

    return fd < 0 ? -errno : hand_over_copy(hand_over, fd, minimum);
}

/* One of those that the request lists, or leaves out: those stay the server's. */
static int hand_over_listed(struct hand_over *hand_over, struct incoming *incoming, size_t i,
                            size_t n)
{
    const struct forkserver_request *request = incoming->request;

    if (i >= request->n_fds)
        return hand_over_copy(hand_over, (int)i, (int)n);
    if (forkserver_fd_is_null(request, i)) {
        if (hand_over->null_fd < 0)
            hand_over->null_fd = hand_over_null(hand_over, (int)n);
        return hand_over->null_fd;
    }
    int *fd = incoming->program_fds++;
    int r = fd_move_above(fd, (int)n);
    return r < 0 ? r : *fd;
}

/* The socket and the connection come after the program's descriptors, but never in a standard one's
 * place. */
static int hand_over_fill(struct hand_over *hand_over, struct incoming *incoming)
{
    int *extra[] = {incoming->socket, incoming->connection};
    size_t n_listed = incoming->request->n_fds, n_extra = 0;

    for (size_t i = 0; i < N_EXTRA; i++)
        if (extra[i])
            extra[n_extra++] = extra[i];
    if (n_extra > 0 && n_listed < N_STANDARD)
        n_listed = N_STANDARD;
    const size_t n = n_listed + n_extra;
    for (size_t i = 0; i < n_listed; i++) {
        int fd = hand_over_listed(hand_over, incoming, i, n);
        if (fd < 0)
            return fd;
        hand_over->fds[hand_over->n++] = fd;
    }
    for (size_t i = 0; i < n_extra; i++) {
        int r = fd_move_above(extra[i], (int)n);
        if (r < 0)
            return r;
        hand_over->fds[hand_over->n++] = *extra[i];
    }
    return 0;
}

/* The pid, or the errno of whatever failed, in the child too; that one is reaped then. */
static pid_t run_plan(struct spawner *spawner, const struct spawn_plan *plan)
{
    struct prepared_plan *prepared;
    struct spawn_record record;

    memset(&record, 0, sizeof(record));
    int r = spawn_plan_prepare(plan, &prepared);
    if (r < 0)
        return r;
    pid_t pid = spawn_run(spawner, prepared, &record);
    spawn_plan_free(prepared);
    if (pid >= 0 || record.pid == 0)
        return pid == -EUSERS ? -EAGAIN : pid;
    while (waitid(P_PID, (id_t)record.pid, NULL, WEXITED | __WALL) < 0 && errno == EINTR)
        continue;
    return record.error != 0 ? -record.error : -ECHILD;
}

static pid_t start_strings(struct spawner *spawner, struct incoming *incoming,
                           const struct forkserver_strings *strings)
{
    const struct forkserver_request *request = incoming->request;
    cleanup(hand_over_done) struct hand_over hand_over = {.null_fd = -1};
    struct spawn_limit limits[HARK_SPAWN_LIMITS_MAX];
    unsigned flags = 0;
    int r = forkserver_rights_check_limits(request, strings->limits, limits);

    if (r >= 0 && request->flags & FORKSERVER_WITH_IDENTITY)
        r = forkserver_rights_check_identity(&incoming->claims, request, strings->groups, &flags);
    if (r >= 0)
        r = hand_over_fill(&hand_over, incoming);
    if (r < 0)
        return r;
    const struct spawn_plan plan = {
        .program = strings->program,
        .arguments = strings->arguments,
        .environment = strings->environment ? strings->environment : (const char **)environ,
        .flags = flags,
        .listener = -1,
        .fds = hand_over.fds,
        .n_fds = hand_over.n,
        .directory = strings->directory,
        .limits = limits,
        .n_limits = request->n_limits,
        .uid = request->uid,
        .gid = request->gid,
        .groups = strings->groups,
        .n_groups = request->n_groups,
    };
    return run_plan(spawner, &plan);
}

pid_t forkserver_program_start(struct spawner *spawner, struct incoming *incoming)
{
    cleanup(forkserver_strings_done) struct forkserver_strings strings = {0};
    int r = forkserver_body_parse(incoming->request, incoming->body, &strings);

    if (r < 0) {
        incoming->malformed = r == -EBADMSG;
        return r;
    }
    return start_strings(spawner, incoming, &strings);
}
