/* SPDX-License-Identifier: MIT */
#pragma once

/* Finds a program as execvp(3) would: a name without a slash along PATH, anything else as it is.
 * Absolute then, because handlers may start elsewhere. -ENOENT, -EACCES (there, but not
 * executable), -EISDIR, -ENOTDIR, -ENOMEM. The caller frees *ret_path. */
int program_find(const char *name, char **ret_path);
