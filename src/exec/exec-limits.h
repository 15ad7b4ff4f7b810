/* SPDX-License-Identifier: MIT */
/*
 * Limit…=: a process has hark's own limits where the unit says nothing, but for the soft limit of
 * open files, which is at most 1024 as under systemd (DefaultLimitNOFILE=): programs with select(2)
 * need that, and hark may have raised its own. "+" leaves all of it out.
 */
#pragma once

#include "exec/exec-request.h"

#define EXEC_LIMITS_MAX (RLIM_NLIMITS + 1)

/* The number of those to set. */
size_t exec_limits_build(const struct exec_request *request,
                         struct spawn_limit limits[EXEC_LIMITS_MAX]);

/* Warns of those that hark may not raise: the process gets what hark has. */
void exec_limits_check(const struct exec_request *request, struct problems *problems);
