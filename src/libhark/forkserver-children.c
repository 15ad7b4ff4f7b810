/* SPDX-License-Identifier: MIT */
#include "libhark/forkserver-children.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "basic/clock.h"
#include "basic/fd.h"
#include "libhark/hark.h"

#define FIRST_BUCKETS  ((size_t)64)
#define FEW            ((size_t)64) /* so few are asked for at every signal */
#define YOUNG_USEC     (100 * USEC_PER_MSEC)
#define YOUNG_INTERVAL (5 * USEC_PER_MSEC)
#define ALL_INTERVAL   (50 * USEC_PER_MSEC)

int children_init(struct children *children)
{
    *children = (struct children){
        .buckets = calloc(FIRST_BUCKETS, sizeof(struct child *)),
        .n_buckets = FIRST_BUCKETS,
        .next_young = UINT64_MAX,
        .next_all = UINT64_MAX,
    };
    return children->buckets ? 0 : -ENOMEM;
}

struct child *child_new(void)
{
    return calloc(1, sizeof(struct child));
}

void child_free(struct child *child)
{
    free(child);
}

static struct child **bucket_of(struct child **buckets, size_t n_buckets, pid_t pid)
{
    return &buckets[(size_t)pid & (n_buckets - 1)]; /* pids are consecutive: no better spread */
}

/* Without memory the buckets merely get fuller. */
static void grow(struct children *children)
{
    size_t n_buckets = children->n_buckets * 2;
    struct child **buckets = calloc(n_buckets, sizeof(*buckets));

    if (!buckets)
        return;
    for (struct child *child = children->newest; child; child = child->older) {
        struct child **bucket = bucket_of(buckets, n_buckets, child->pid);

        child->next_in_bucket = *bucket;
        *bucket = child;
    }
    free(children->buckets);
    children->buckets = buckets;
    children->n_buckets = n_buckets;
}

void children_add(struct children *children, struct child *child, pid_t pid, int exit_fd,
                  uint64_t exit_cookie)
{
    struct child **bucket = bucket_of(children->buckets, children->n_buckets, pid);

    *child = (struct child){
        .next_in_bucket = *bucket,
        .older = children->newest,
        .start_usec = monotonic_usec(),
        .exit_cookie = exit_cookie,
        .pid = pid,
        .exit_fd = exit_fd,
    };
    *bucket = child;
    if (children->newest)
        children->newest->newer = child;
    else
        children->oldest = child;
    children->newest = child;
    children->n++;
    children->n_owed += exit_fd >= 0;
    if (children->n > children->n_buckets)
        grow(children);
}

static struct child *take_out(struct children *children, pid_t pid)
{
    struct child **link = bucket_of(children->buckets, children->n_buckets, pid);

    while (*link && (*link)->pid != pid)
        link = &(*link)->next_in_bucket;
    struct child *child = *link;
    if (!child)
        return NULL;
    *link = child->next_in_bucket;
    *(child->newer ? &child->newer->older : &children->newest) = child->older;
    *(child->older ? &child->older->newer : &children->oldest) = child->newer;
    children->n--;
    children->n_owed -= child->exit_fd >= 0;
    return child;
}

static uint64_t timeval_usec(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * USEC_PER_SEC + (uint64_t)time->tv_usec;
}

/* The channel was made for this one message, so that it always has room; a reader that is gone, or
 * whatever else it may be, is its owner's business. */
static void report(struct child *child, int status, const struct rusage *usage)
{
    const struct hark_exit end = {
        .pid = child->pid,
        .code = WIFEXITED(status)   ? CLD_EXITED
                : WCOREDUMP(status) ? CLD_DUMPED
                                    : CLD_KILLED,
        .status = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
        .user_usec = timeval_usec(&usage->ru_utime),
        .system_usec = timeval_usec(&usage->ru_stime),
        .max_rss_kib = (uint64_t)usage->ru_maxrss,
    };

    if (child->exit_fd < 0)
        return;
    (void)send(child->exit_fd, &end, sizeof(end), MSG_DONTWAIT | MSG_NOSIGNAL);
    child->exit_fd = fd_close(child->exit_fd);
}

/* Reaps one that has ended, if there is one: true, and it is out of the table. pid -1: any. */
static bool reap(struct children *children, pid_t pid)
{
    struct rusage usage;
    int status;

    pid = wait4(pid, &status, WNOHANG | __WALL, &usage);
    if (pid <= 0)
        return false;
    struct child *child = take_out(children, pid);
    if (child) {
        report(child, status, &usage);
        child_free(child);
    }
    return true;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void children_on_signal(struct children *children, pid_t pid)
{
    uint64_t now = monotonic_usec();

    if (pid > 0)
        (void)reap(children, pid);
    children->next_all = children->n <= FEW ? now : later(now, children->last_all + ALL_INTERVAL);
    children->next_young =
        children->n_young <= FEW ? now : later(now, children->last_young + YOUNG_INTERVAL);
}

static void sweep_young(struct children *children, uint64_t now)
{
    size_t n = 0;

    for (struct child *child = children->newest, *older; child; child = older, n++) {
        if (now - child->start_usec > YOUNG_USEC && now > child->start_usec)
            break;
        older = child->older;
        (void)reap(children, child->pid);
    }
    children->n_young = n;
    children->last_young = monotonic_usec();
    children->next_young = UINT64_MAX;
}

void children_sweep(struct children *children)
{
    uint64_t now = monotonic_usec();

    if (now >= children->next_all) {
        while (reap(children, -1))
            continue;
        children->last_all = monotonic_usec();
        children->next_all = children->next_young = UINT64_MAX;
    } else if (now >= children->next_young) {
        sweep_young(children, now);
    }
}

uint64_t children_next_sweep(const struct children *children)
{
    return children->next_all < children->next_young ? children->next_all : children->next_young;
}

int children_kill(const struct children *children, int signal_number, pid_t except)
{
    int n = 0;

    for (const struct child *child = children->newest; child; child = child->older)
        if (child->pid != except && kill(child->pid, signal_number) == 0)
            n++;
    return n;
}

int children_kill_one(const struct children *children, int signal_number, pid_t pid,
                      uint64_t exit_cookie)
{
    const struct child *child = *bucket_of(children->buckets, children->n_buckets, pid);

    while (child && child->pid != pid)
        child = child->next_in_bucket;
    if (!child || (exit_cookie != 0 && child->exit_cookie != exit_cookie))
        return -ESRCH;
    return kill(pid, signal_number) < 0 ? -errno : 0;
}
