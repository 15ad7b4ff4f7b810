/* SPDX-License-Identifier: MIT */
#include "supervisor/time-slice.h"

#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHORTEST_NSEC   (100U * 1000U) /* the kernel takes no less */
#define UTILIZATION_MAX 1024U

/* Debian 12's libc has no functions for the two. */
static bool get(struct sched_attr *ret_attributes)
{
    return syscall(SYS_sched_getattr, 0, ret_attributes, sizeof(*ret_attributes), 0) == 0;
}

static bool set(const struct sched_attr *attributes)
{
    return syscall(SYS_sched_setattr, 0, attributes, 0) == 0;
}

/* A child of a process with SCHED_FLAG_RESET_ON_FORK has all of this whatever its parent has. */
static bool is_as_after_reset(const struct sched_attr *attributes)
{
    return attributes->sched_policy == SCHED_NORMAL && attributes->sched_nice >= 0 &&
           attributes->sched_util_min == 0 &&
           /* 0 where the kernel has no clamps. */
           (attributes->sched_util_max == 0 || attributes->sched_util_max == UTILIZATION_MAX);
}

bool time_slice_shorten(void)
{
    struct sched_attr before = {0}, after_reset = {0}, wanted;

    /* A kernel without slices says 0. */
    if (!get(&before) || before.sched_runtime == 0 || !is_as_after_reset(&before))
        return false;
    wanted = before;
    wanted.sched_runtime = 0; /* the default, whose length nobody tells */
    if (!set(&wanted) || !get(&after_reset))
        return false;
    if (after_reset.sched_runtime != before.sched_runtime) {
        (void)set(&before);
        return false;
    }
    wanted.sched_runtime = SHORTEST_NSEC;
    wanted.sched_flags |= SCHED_FLAG_RESET_ON_FORK;
    return set(&wanted);
}
