/* SPDX-License-Identifier: MIT */
/* How long the kernel lets a process run at a time: sched_setattr(2), since Linux 6.12. */
#pragma once

#include <stdbool.h>

/* Gives this process the shortest slice there is, and its children (SCHED_FLAG_RESET_ON_FORK) the
 * one it had. Its share of the CPU stays what it was, but woken, it need not wait until those with
 * longer slices are through with theirs.
 *
 * Whether it was done. It is not where the kernel has no such slices, where a filter forbids it,
 * and where the reset would take from the children what hark was started with: another policy, a
 * negative nice level, a slice or a utilization clamp that somebody chose. */
bool time_slice_shorten(void);
