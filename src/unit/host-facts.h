/* SPDX-License-Identifier: MIT */
/*
 * What specifiers say about the host, the user and the manager. All give a new string, to be freed,
 * and return 0, -ENOMEM, or what reading failed with. root is a prefix for files in /etc and /usr,
 * "" for none.
 */
#pragma once

#include <stdbool.h>

/* The value of a field of os-release(5): "" when it is not there. -ENOENT without such a file. */
int host_os_release(const char *root, const char *field, char **ret_value);
/* machine-id(5) and the boot's id: 32 hexadecimal digits. -EINVAL for a file that has none. */
int host_machine_id(const char *root, char **ret_id);
int host_boot_id(char **ret_id);
/* Of the kernel, "localhost" when it has none; the short one ends before the first dot; the pretty
 * one is of machine-info(5), and the host name when there is none. */
int host_name(char **ret_name);
int host_short_name(char **ret_name);
int host_pretty_name(const char *root, char **ret_name);
int host_kernel_release(char **ret_release);
/* The architecture in the words of ConditionArchitecture=: "x86-64". */
int host_architecture(char **ret_architecture);

/* Of the calling process. Home and shell: $HOME and $SHELL before the user database, -ENXIO
 * when neither knows; the numeric id where a name is not known. */
int host_user_name(char **ret_name);
int host_group_name(char **ret_name);
int host_user_home(char **ret_path);
int host_user_shell(char **ret_path);
/* $TMPDIR, $TEMP or $TMP where that is a directory, else fallback. */
int host_temporary_directory(const char *fallback, char **ret_path);
