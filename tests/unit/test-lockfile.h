/* SPDX-License-Identifier: MIT */
/* What the tests of lock files share. */
#pragma once

#include "directory.h"

#include "libhark/hark.h"

static inline struct hark_lockfile *hold(const char *path, unsigned flags)
{
    struct hark_lockfile *lock = NULL;

    ASSERT_OK(hark_lockfile_hold(path, 0, flags, &lock));
    return lock;
}

static inline int try_hold(const char *path, int timeout_ms, unsigned flags)
{
    struct hark_lockfile *untouched = (struct hark_lockfile *)&untouched, *lock = untouched;
    int r = hark_lockfile_hold(path, timeout_ms, flags, &lock);

    if (r < 0)
        ASSERT(lock == untouched);
    else
        hark_lockfile_free(lock);
    return r;
}
