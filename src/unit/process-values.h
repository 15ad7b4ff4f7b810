/* SPDX-License-Identifier: MIT */
/*
 * The values that describe a process or a socket: signals, limits, exit statuses, scheduling. The
 * manner is that of unit/values.h: 0, -EINVAL, -ERANGE, and the output stays alone on failure.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

/* "SIGTERM", "TERM", "15", "RTMIN+3", "RTMAX-1". */
int value_signal(const char *text, int *ret_signal);

/* "SIGTERM", "SIGRTMIN+3": the name for messages, NULL for what is no signal. The buffer is used
 * for those that have no name of their own. */
#define VALUE_SIGNAL_NAME_MAX 24
const char *value_signal_name(int signal, char buffer[VALUE_SIGNAL_NAME_MAX]);

/* The RLIMIT_… of a key: "LimitNOFILE". -EINVAL. */
int limit_from_key(const char *key, int *ret_resource);

/* "1024", "1024:524288", "infinity", "8M" for what counts bytes, "10s" for what counts time, "+5"
 * or "-5" (a nice level) for LimitNICE=. Also -EILSEQ when soft is above hard. */
int value_limit(int resource, const char *text, struct rlimit *ret_limit);

/* One word of SuccessExitStatus= and its kin: a status by number or name ("TEMPFAIL"), or a
 * signal. */
struct exit_condition {
    bool is_signal;
    int value;
};
int value_exit_condition(const char *word, struct exit_condition *ret_condition);

/* The name of an exit status ("TEMPFAIL"), or NULL. */
const char *exit_status_name(int status);

int value_nice(const char *text, int *ret_nice);               /* -20 to 19 */
int value_oom_score_adjust(const char *text, int *ret_adjust); /* -1000 to 1000 */

/* none, realtime, best-effort, idle: IOPRIO_CLASS_… of ioprio_set(2), 0 to 3. And 0 to 7. */
int value_io_class(const char *text, int *ret_class);
int value_io_priority(const char *text, int *ret_priority);

/* other, batch, idle, fifo, rr: SCHED_… of sched(7). And 0 to 99. */
int value_cpu_policy(const char *text, int *ret_policy);
int value_cpu_priority(const char *text, int *ret_priority);

#define CPU_LIST_MAX 8192 /* what Linux can be built for */

/* CPUs as a set of bits, all clear at first. */
struct cpu_list {
    unsigned long bits[CPU_LIST_MAX / (CHAR_BIT * sizeof(unsigned long))];
};

/* "0-3,8 10": adds to the list. A range from high to low is skipped, as systemd does. -ERANGE from
 * CPU_LIST_MAX on, -ENOMEM. "numa" is the caller's. */
int value_cpu_list(const char *text, struct cpu_list *list);
bool cpu_list_has(const struct cpu_list *list, unsigned cpu);

/* IPTOS=: low-delay, throughput, reliability, low-cost, or 0 to 255. */
int value_ip_tos(const char *text, int *ret_tos);

/* ListenNetlink=: "FAMILY" or "FAMILY GROUP": NETLINK_… and a mask of groups. -ENOMEM. */
int value_netlink(const char *text, int *ret_family, uint32_t *ret_groups);
