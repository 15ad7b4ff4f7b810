/* SPDX-License-Identifier: MIT */
/* The limit per source: max_per_source of a plan. */
#pragma once

#include "libhark/spawn-child.h"

/* After the accept: takes the child's number, and publishes number and source. */
void spawn_admission_begin(struct spawn_run *run);
/* The step SPAWN_ADMISSION: 0, or -ECONNREFUSED. */
int spawn_admit(struct spawn_run *run);

/* Whether a process has ended, or begun to: the kernel says so before it closes the descriptors of
 * the process, and so before its client can know. Without /proc nobody is ending. Outside of the
 * child, too. */
bool spawn_is_ending(pid_t pid);
