/* SPDX-License-Identifier: MIT */
#pragma once

/* The first descriptor that was passed under this name; the others are left as they are. -ENOENT
 * when there is none, else as hark_passed_fds(). */
int passed_find(const char *name, int *ret_fd);
