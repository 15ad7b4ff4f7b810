/* SPDX-License-Identifier: MIT */
/* The program of a command: its path, or its name in the directories that systemd looks in. */
#pragma once

#include "exec/exec-request.h"

/* What systemd 252 of Debian is built with: it is also the $PATH of services. */
#define EXEC_DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* An absolute path, also when there is no such program, which is in problems then: an error, or
 * with "-" a warning. -ENOMEM. The caller frees it. */
int exec_program_find(const struct exec_request *request, struct problems *problems,
                      char **ret_path);
