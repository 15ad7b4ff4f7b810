/* SPDX-License-Identifier: MIT */
#pragma once

/* The first descriptor that was passed under this name. All that were passed become close-on-exec,
 * which is what sd_listen_fds(3) does; nothing else happens to the others. -ENOENT when there is
 * none, else as hark_passed_fds(). */
int passed_find(const char *name, int *ret_fd);
