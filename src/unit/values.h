/* SPDX-License-Identifier: MIT */
/*
 * One parser for each kind of value in a unit file, accepting what systemd 252 accepts. The text is
 * a value without the blanks around it, after specifiers. All return 0, -EINVAL for what is no such
 * value, -ERANGE for one that is out of range, other errnos where said, and leave the output alone
 * on failure. The empty value, which resets many directives, is the caller's. File modes:
 * parse_mode() in basic/parse.h. What describes a process: unit/process-values.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "basic/parse.h" /* TIME_INFINITY, parse_mode() */

/* 1 yes y true t on, 0 no n false f off, in any case. */
int value_boolean(const char *text, bool *ret_value);

/* A whole number: decimal, 0x…, 0b…, 0o… or, as in C, with a leading 0 octal; with a sign. */
int value_integer(const char *text, int64_t minimum, int64_t maximum, int64_t *ret_value);
int value_unsigned(const char *text, uint64_t maximum, uint64_t *ret_value);

/* A time span in microseconds; a bare number means seconds. "infinity" is TIME_INFINITY. */
int value_time(const char *text, uint64_t *ret_usec);

/* The same where zero means "for ever": TimeoutSec= and its kin. */
int value_timeout(const char *text, uint64_t *ret_usec);

/* In nanoseconds, which a bare number means too: TimerSlackNSec=. */
int value_nanoseconds(const char *text, uint64_t *ret_nsec);

/* Bytes: "512", "1.5K", "1G 500M" (B K M G T P E, base 1024, from large to small). */
int value_size(const char *text, uint64_t *ret_bytes);

/* A part of the whole in hundredths of a percent: "50%", "12.5%", "125‰", "1250‱". Above 100% only
 * when unbound: CPUQuota=. */
int value_percent(const char *text, bool unbound, uint32_t *ret_permyriad);

/* An absolute path as systemd stores it: no doubled slashes, no "." components, no slash at the
 * end. The caller frees it. -EINVAL for what is relative, has "..", or is no
 * UTF-8, -ENAMETOOLONG for a component above NAME_MAX or a path above PATH_MAX, -ENOMEM. */
int value_path(const char *text, char **ret_path);

/* The same tidying of any path, in place, ".." and all; a relative path stays relative. */
void path_tidy(char *path);

/* /var/run/… becomes /run/…, in place: the paths of listeners, PIDFile=. */
void path_leave_var_run(char *path);

/* Whether the kernel could take it as a path: lengths, and not empty. */
bool path_is_possible(const char *path);

/* FileDescriptorName=: printable ASCII without ":", at most 255. */
int value_fd_name(const char *text);
