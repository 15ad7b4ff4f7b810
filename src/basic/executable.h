/* SPDX-License-Identifier: MIT */
#pragma once

/* Whether this process, with its effective ids, could execute the file. 0; -EISDIR, -EACCES for
 * what is no regular file or not executable, or an errno of stat(2). */
int executable_check(const char *path);
