/* SPDX-License-Identifier: MIT */
#include "unit/process-values.h"

#include <errno.h>
#include <linux/netlink.h>
#include <netinet/ip.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "unit/values.h"
#include "unit/words.h"

/* A table of words, ended by a NULL. */
struct named_value {
    const char *name;
    int value;
};

static const struct named_value *find_name(const struct named_value *table, const char *name)
{
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0)
            return table;
    return NULL;
}

static const struct named_value *find_value(const struct named_value *table, int value)
{
    for (; table->name; table++)
        if (table->value == value)
            return table;
    return NULL;
}

static int int_between(const char *text, int minimum, int maximum, int *ret_value)
{
    int64_t value;
    int r = value_integer(text, minimum, maximum, &value);

    if (r < 0)
        return r;
    *ret_value = (int)value;
    return 0;
}

/* A name of the table, or a number from 0 to maximum. */
static int name_or_number(const struct named_value *table, const char *text, int maximum,
                          int *ret_value)
{
    const struct named_value *found = find_name(table, text);

    if (!found)
        return int_between(text, 0, maximum, ret_value);
    *ret_value = found->value;
    return 0;
}

static const struct named_value signals[] = {
    {"SIGHUP", SIGHUP},       {"SIGINT", SIGINT},
    {"SIGQUIT", SIGQUIT},     {"SIGILL", SIGILL},
    {"SIGTRAP", SIGTRAP},     {"SIGABRT", SIGABRT},
    {"SIGBUS", SIGBUS},       {"SIGFPE", SIGFPE},
    {"SIGKILL", SIGKILL},     {"SIGUSR1", SIGUSR1},
    {"SIGSEGV", SIGSEGV},     {"SIGUSR2", SIGUSR2},
    {"SIGPIPE", SIGPIPE},     {"SIGALRM", SIGALRM},
    {"SIGTERM", SIGTERM},
#ifdef SIGSTKFLT
    {"SIGSTKFLT", SIGSTKFLT},
#endif
    {"SIGCHLD", SIGCHLD},     {"SIGCONT", SIGCONT},
    {"SIGSTOP", SIGSTOP},     {"SIGTSTP", SIGTSTP},
    {"SIGTTIN", SIGTTIN},     {"SIGTTOU", SIGTTOU},
    {"SIGURG", SIGURG},       {"SIGXCPU", SIGXCPU},
    {"SIGXFSZ", SIGXFSZ},     {"SIGVTALRM", SIGVTALRM},
    {"SIGPROF", SIGPROF},     {"SIGWINCH", SIGWINCH},
    {"SIGIO", SIGIO},         {"SIGPWR", SIGPWR},
    {"SIGSYS", SIGSYS},       {NULL, 0},
};

/* "RTMIN", "RTMIN+n", "RTMAX-n". */
static int parse_realtime_signal(const char *text, int *ret_signal)
{
    bool from_start = strncmp(text, "RTMIN", 5) == 0;
    int base = from_start ? SIGRTMIN : SIGRTMAX, distance = 0, r;

    if (!from_start && strncmp(text, "RTMAX", 5) != 0)
        return -EINVAL;
    text += 5;
    if (*text != '\0') {
        if (*text++ != (from_start ? '+' : '-') || *text == '+' || *text == '-')
            return -EINVAL;
        r = int_between(text, 0, SIGRTMAX - SIGRTMIN, &distance);
        if (r < 0)
            return r;
    }
    *ret_signal = from_start ? base + distance : base - distance;
    return 0;
}

int value_signal(const char *text, int *ret_signal)
{
    const struct named_value *found;
    char name[16];
    int r = int_between(text, 1, NSIG - 1, ret_signal);

    if (r != -EINVAL)
        return r;
    if (strncmp(text, "SIG", 3) == 0)
        text += 3;
    r = parse_realtime_signal(text, ret_signal);
    if (r != -EINVAL)
        return r;
    if (strlen(text) > 10)
        return -EINVAL;
    snprintf(name, sizeof(name), "SIG%s", text);
    found = find_name(signals, name);
    if (!found)
        return -EINVAL;
    *ret_signal = found->value;
    return 0;
}

const char *value_signal_name(int signal, char buffer[VALUE_SIGNAL_NAME_MAX])
{
    const struct named_value *found = signal > 0 ? find_value(signals, signal) : NULL;

    if (found)
        return found->name;
    if (signal < 1 || signal >= NSIG)
        return NULL;
    if (signal == SIGRTMIN)
        return "SIGRTMIN";
    if (signal > SIGRTMIN)
        snprintf(buffer, VALUE_SIGNAL_NAME_MAX, "SIGRTMIN+%d", signal - SIGRTMIN);
    else
        snprintf(buffer, VALUE_SIGNAL_NAME_MAX, "%d", signal);
    return buffer;
}

static const struct named_value limits[] = {
    {"LimitCPU", RLIMIT_CPU},
    {"LimitFSIZE", RLIMIT_FSIZE},
    {"LimitDATA", RLIMIT_DATA},
    {"LimitSTACK", RLIMIT_STACK},
    {"LimitCORE", RLIMIT_CORE},
    {"LimitRSS", RLIMIT_RSS},
    {"LimitNOFILE", RLIMIT_NOFILE},
    {"LimitAS", RLIMIT_AS},
    {"LimitNPROC", RLIMIT_NPROC},
    {"LimitMEMLOCK", RLIMIT_MEMLOCK},
    {"LimitLOCKS", RLIMIT_LOCKS},
    {"LimitSIGPENDING", RLIMIT_SIGPENDING},
    {"LimitMSGQUEUE", RLIMIT_MSGQUEUE},
    {"LimitNICE", RLIMIT_NICE},
    {"LimitRTPRIO", RLIMIT_RTPRIO},
    {"LimitRTTIME", RLIMIT_RTTIME},
    {NULL, 0},
};

int limit_from_key(const char *key, int *ret_resource)
{
    const struct named_value *found = find_name(limits, key);

    if (!found)
        return -EINVAL;
    *ret_resource = found->value;
    return 0;
}

/* RLIMIT_NICE is 20 - nice; "+n" and "-n" are nice levels, a bare number is the limit itself. */
static int parse_nice_limit(const char *text, rlim_t *ret_limit)
{
    bool is_level = *text == '+' || *text == '-';
    uint64_t value, maximum = *text == '+' ? 19 : *text == '-' ? 20 : 40;
    int r = value_unsigned(text + is_level, maximum, &value);

    if (r < 0)
        return r;
    *ret_limit = *text == '+' ? 20 - value : *text == '-' ? 20 + value : value;
    return 0;
}

/* One of the two numbers of a limit. */
static int parse_one_limit(int resource, const char *text, rlim_t *ret_limit)
{
    uint64_t value = 0;
    int r;

    if (resource == RLIMIT_NICE)
        return parse_nice_limit(text, ret_limit);
    if (strcmp(text, "infinity") == 0) {
        *ret_limit = RLIM_INFINITY;
        return 0;
    }
    switch (resource) {
    case RLIMIT_CPU: /* rounded up to seconds */
        r = value_time(text, &value);
        if (value != TIME_INFINITY)
            value = value / USEC_PER_SEC + (value % USEC_PER_SEC != 0);
        break;
    case RLIMIT_RTTIME:
        r = parse_loose_time_span(text, 1, &value);
        break;
    case RLIMIT_NOFILE:
    case RLIMIT_NPROC:
    case RLIMIT_LOCKS:
    case RLIMIT_SIGPENDING:
    case RLIMIT_RTPRIO:
        r = value_unsigned(text, RLIM_INFINITY - 1, &value);
        break;
    default:
        r = value_size(text, &value);
        if (r == 0 && value == RLIM_INFINITY)
            r = -ERANGE;
    }
    if (r < 0)
        return r;
    *ret_limit = value;
    return 0;
}

int value_limit(int resource, const char *text, struct rlimit *ret_limit)
{
    const char *colon = strchr(text, ':');
    cleanup_free char *soft = strndup(text, colon ? (size_t)(colon - text) : strlen(text));
    struct rlimit limit = {0};
    int r;

    if (!soft)
        return -ENOMEM;
    r = parse_one_limit(resource, soft, &limit.rlim_cur);
    if (r < 0)
        return r;
    limit.rlim_max = limit.rlim_cur;
    if (colon)
        r = parse_one_limit(resource, colon + 1, &limit.rlim_max);
    if (r < 0)
        return r;
    if (limit.rlim_cur > limit.rlim_max)
        return -EILSEQ;
    *ret_limit = limit;
    return 0;
}

/* sysexits.h, the init scripts' statuses, and systemd's own (systemd.exec(5), "Process Exit
 * Codes"). */
static const struct named_value exit_statuses[] = {
    {"SUCCESS", 0},
    {"FAILURE", 1},
    {"INVALIDARGUMENT", 2},
    {"NOTIMPLEMENTED", 3},
    {"NOPERMISSION", 4},
    {"NOTINSTALLED", 5},
    {"NOTCONFIGURED", 6},
    {"NOTRUNNING", 7},
    {"USAGE", 64},
    {"DATAERR", 65},
    {"NOINPUT", 66},
    {"NOUSER", 67},
    {"NOHOST", 68},
    {"UNAVAILABLE", 69},
    {"SOFTWARE", 70},
    {"OSERR", 71},
    {"OSFILE", 72},
    {"CANTCREAT", 73},
    {"IOERR", 74},
    {"TEMPFAIL", 75},
    {"PROTOCOL", 76},
    {"NOPERM", 77},
    {"CONFIG", 78},
    {"CHDIR", 200},
    {"NICE", 201},
    {"FDS", 202},
    {"EXEC", 203},
    {"MEMORY", 204},
    {"LIMITS", 205},
    {"OOM_ADJUST", 206},
    {"SIGNAL_MASK", 207},
    {"STDIN", 208},
    {"STDOUT", 209},
    {"CHROOT", 210},
    {"IOPRIO", 211},
    {"TIMERSLACK", 212},
    {"SECUREBITS", 213},
    {"SETSCHEDULER", 214},
    {"CPUAFFINITY", 215},
    {"GROUP", 216},
    {"USER", 217},
    {"CAPABILITIES", 218},
    {"CGROUP", 219},
    {"SETSID", 220},
    {"CONFIRM", 221},
    {"STDERR", 222},
    {"PAM", 224},
    {"NETWORK", 225},
    {"NAMESPACE", 226},
    {"NO_NEW_PRIVILEGES", 227},
    {"SECCOMP", 228},
    {"SELINUX_CONTEXT", 229},
    {"PERSONALITY", 230},
    {"APPARMOR", 231},
    {"ADDRESS_FAMILIES", 232},
    {"RUNTIME_DIRECTORY", 233},
    {"CHOWN", 235},
    {"SMACK_PROCESS_LABEL", 236},
    {"KEYRING", 237},
    {"STATE_DIRECTORY", 238},
    {"CACHE_DIRECTORY", 239},
    {"LOGS_DIRECTORY", 240},
    {"CONFIGURATION_DIRECTORY", 241},
    {"NUMA_POLICY", 242},
    {"CREDENTIALS", 243},
    {"BPF", 244},
    {"EXCEPTION", 255},
    {NULL, 0},
};

const char *exit_status_name(int status)
{
    const struct named_value *found = find_value(exit_statuses, status);

    return found ? found->name : NULL;
}

int value_exit_condition(const char *word, struct exit_condition *ret_condition)
{
    struct exit_condition condition = {0};
    int r = name_or_number(exit_statuses, word, 255, &condition.value);

    if (r == -EINVAL) {
        condition.is_signal = true;
        r = value_signal(word, &condition.value);
    }
    if (r < 0)
        return r;
    *ret_condition = condition;
    return 0;
}

int value_nice(const char *text, int *ret_nice)
{
    return int_between(text, -20, 19, ret_nice);
}

int value_oom_score_adjust(const char *text, int *ret_adjust)
{
    return int_between(text, -1000, 1000, ret_adjust);
}

int value_io_class(const char *text, int *ret_class)
{
    static const struct named_value classes[] = {
        {"none", 0}, {"realtime", 1}, {"best-effort", 2}, {"idle", 3}, {NULL, 0}};

    return name_or_number(classes, text, 3, ret_class);
}

int value_io_priority(const char *text, int *ret_priority)
{
    return int_between(text, 0, 7, ret_priority);
}

int value_cpu_policy(const char *text, int *ret_policy)
{
    static const struct named_value policies[] = {{"other", SCHED_OTHER}, {"batch", SCHED_BATCH},
                                                  {"idle", SCHED_IDLE},   {"fifo", SCHED_FIFO},
                                                  {"rr", SCHED_RR},       {NULL, 0}};
    int policy = 0, r = name_or_number(policies, text, INT_MAX, &policy);

    if (r < 0)
        return r;
    if (!find_value(policies, policy))
        return -ERANGE;
    *ret_policy = policy;
    return 0;
}

int value_cpu_priority(const char *text, int *ret_priority)
{
    return int_between(text, 0, 99, ret_priority);
}

#define BITS_PER_LONG (CHAR_BIT * sizeof(unsigned long))

/* "3" or "0-3". */
static int add_cpu_range(const char *word, struct cpu_list *list)
{
    const char *dash = strchr(word, '-');
    cleanup_free char *first = strndup(word, dash ? (size_t)(dash - word) : strlen(word));
    uint64_t low, high;
    int r;

    if (!first)
        return -ENOMEM;
    r = value_unsigned(first, CPU_LIST_MAX - 1, &low);
    high = low;
    if (r == 0 && dash)
        r = value_unsigned(dash + 1, CPU_LIST_MAX - 1, &high);
    if (r < 0)
        return r;
    for (; low <= high; low++)
        list->bits[low / BITS_PER_LONG] |= 1UL << (low % BITS_PER_LONG);
    return 0;
}

int value_cpu_list(const char *text, struct cpu_list *list)
{
    struct cpu_list added = *list;

    for (;;) {
        cleanup_free char *word = NULL;
        int r = word_next(&text, " \t\n\r,", WORD_QUOTES, &word);
        if (r < 0)
            return r;
        if (r == 0)
            break;
        r = add_cpu_range(word, &added);
        if (r < 0)
            return r;
    }
    *list = added;
    return 0;
}

bool cpu_list_has(const struct cpu_list *list, unsigned cpu)
{
    return cpu < CPU_LIST_MAX && (list->bits[cpu / BITS_PER_LONG] >> (cpu % BITS_PER_LONG) & 1);
}

int value_ip_tos(const char *text, int *ret_tos)
{
    static const struct named_value services[] = {{"low-delay", IPTOS_LOWDELAY},
                                                  {"throughput", IPTOS_THROUGHPUT},
                                                  {"reliability", IPTOS_RELIABILITY},
                                                  {"low-cost", IPTOS_LOWCOST},
                                                  {NULL, 0}};

    return name_or_number(services, text, 255, ret_tos);
}

static const struct named_value netlink_families[] = {
    {"route", NETLINK_ROUTE},
    {"firewall", NETLINK_FIREWALL},
    {"inet-diag", NETLINK_INET_DIAG},
    {"nflog", NETLINK_NFLOG},
    {"xfrm", NETLINK_XFRM},
    {"selinux", NETLINK_SELINUX},
    {"iscsi", NETLINK_ISCSI},
    {"audit", NETLINK_AUDIT},
    {"fib-lookup", NETLINK_FIB_LOOKUP},
    {"connector", NETLINK_CONNECTOR},
    {"netfilter", NETLINK_NETFILTER},
    {"ip6-fw", NETLINK_IP6_FW},
    {"dnrtmsg", NETLINK_DNRTMSG},
    {"kobject-uevent", NETLINK_KOBJECT_UEVENT},
    {"generic", NETLINK_GENERIC},
    {"scsitransport", NETLINK_SCSITRANSPORT},
    {"ecryptfs", NETLINK_ECRYPTFS},
    {NULL, 0},
};

int value_netlink(const char *text, int *ret_family, uint32_t *ret_groups)
{
    cleanup_free char *word = NULL;
    uint64_t groups = 0;
    int family, r = word_next(&text, NULL, WORDS_PLAIN, &word);

    if (r <= 0)
        return r < 0 ? r : -EINVAL;
    r = name_or_number(netlink_families, word, INT_MAX, &family);
    if (r == 0 && *text != '\0')
        r = value_unsigned(text, UINT32_MAX, &groups);
    if (r < 0)
        return r;
    *ret_family = family;
    *ret_groups = (uint32_t)groups;
    return 0;
}
