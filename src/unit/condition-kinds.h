/* SPDX-License-Identifier: MIT */
/*
 * The kinds of conditions, part of conditions.h. A check looks at a parameter when the unit is
 * read: 0, -EINVAL or another errno for one that can never be evaluated, -ENOMEM. A test evaluates
 * it: 1 or 0, or a negative errno when that cannot be found out. "!" is not theirs.
 */
#pragma once

int check_architecture(const char *name);
int check_capability(const char *name);
int check_cpus(const char *text);
int check_group(const char *name);
int check_kernel_version(const char *text);
int check_memory(const char *text);
int check_os_release(const char *text);
int check_user(const char *name);
int check_virtualization(const char *text);

int test_architecture(const char *name);
int test_capability(const char *name);
int test_cpus(const char *text);
int test_environment(const char *text);
int test_group(const char *name);
int test_host(const char *text);
int test_kernel_command_line(const char *text);
int test_kernel_version(const char *text);
int test_memory(const char *text);
int test_os_release(const char *text);
int test_user(const char *name);
int test_virtualization(const char *text);

int test_directory_not_empty(const char *path);
int test_file_is_executable(const char *path);
int test_file_not_empty(const char *path);
int test_path_exists(const char *path);
int test_path_exists_glob(const char *pattern);
int test_path_is_directory(const char *path);
int test_path_is_mount_point(const char *path);
int test_path_is_read_write(const char *path);
int test_path_is_symbolic_link(const char *path);
