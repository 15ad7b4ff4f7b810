/* SPDX-License-Identifier: MIT */
/* What proc_pid_stat(5) says of a process. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* The letter of its state; 0 when there is no such process. */
char process_state(pid_t pid);
/* Whether it runs a program of its own, since an exec: another one than its creator's. False also
 * when that cannot be known. */
bool process_has_executed(pid_t pid);
