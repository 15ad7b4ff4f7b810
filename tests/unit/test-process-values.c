/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>

#include "unit/process-values.h"

/* One result of these parsers, or the negative errno times 10000: none of their values is that low.
 */
static int parsed(int (*parser)(const char *, int *), const char *text)
{
    int value = 4711, r = parser(text, &value);

    if (r < 0)
        ASSERT_INT(value, 4711);
    return r < 0 ? r * 10000 : value;
}
#define INVALID (-EINVAL * 10000)
#define RANGE   (-ERANGE * 10000)

TEST(signals)
{
    char buffer[VALUE_SIGNAL_NAME_MAX];

    ASSERT_INT(parsed(value_signal, "SIGTERM"), SIGTERM);
    ASSERT_INT(parsed(value_signal, "TERM"), SIGTERM);
    ASSERT_INT(parsed(value_signal, "15"), SIGTERM);
    ASSERT_INT(parsed(value_signal, "SIGVTALRM"), SIGVTALRM);
    ASSERT_INT(parsed(value_signal, "RTMIN"), SIGRTMIN);
    ASSERT_INT(parsed(value_signal, "SIGRTMIN+3"), SIGRTMIN + 3);
    ASSERT_INT(parsed(value_signal, "RTMAX-1"), SIGRTMAX - 1);
    ASSERT_INT(parsed(value_signal, "0"), RANGE);
    ASSERT_INT(parsed(value_signal, "65"), RANGE);
    ASSERT_INT(parsed(value_signal, "RTMIN+99"), RANGE);
    static const char *const wrong[] = {
        "",        "term",   "SIG",      "SIGSIGTERM", "RTMIN-1",
        "RTMAX+1", "RTMIN+", "RTMIN+-1", "RTMINx",     "VERYLONGSIGNALNAME"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ASSERT_INT(parsed(value_signal, wrong[i]), INVALID);
    for (int i = 1; i < NSIG; i++) {
        const char *name = value_signal_name(i, buffer);
        ASSERT_INT(parsed(value_signal, name), i);
    }
    ASSERT_STRING(value_signal_name(SIGHUP, buffer), "SIGHUP");
    ASSERT_STRING(value_signal_name(SIGRTMIN + 2, buffer), "SIGRTMIN+2");
    ASSERT(!value_signal_name(0, buffer));
    ASSERT(!value_signal_name(NSIG, buffer));
}

static int limit(const char *key, const char *text, struct rlimit *ret_limit)
{
    int resource;

    ASSERT_OK(limit_from_key(key, &resource));
    return value_limit(resource, text, ret_limit);
}

static void check_limit(const char *key, const char *text, rlim_t soft, rlim_t hard)
{
    struct rlimit got;

    ASSERT_OK(limit(key, text, &got));
    ASSERT(got.rlim_cur == soft);
    ASSERT(got.rlim_max == hard);
}

TEST(limits)
{
    struct rlimit got;
    int resource;

    check_limit("LimitNOFILE", "1024", 1024, 1024);
    check_limit("LimitNOFILE", "1024:524288", 1024, 524288);
    check_limit("LimitNOFILE", "1024:infinity", 1024, RLIM_INFINITY);
    check_limit("LimitCORE", "infinity", RLIM_INFINITY, RLIM_INFINITY);
    check_limit("LimitMEMLOCK", "8M:1G", 8 << 20, 1 << 30);
    check_limit("LimitCPU", "30:1min", 30, 60);
    check_limit("LimitCPU", "1500ms", 2, 2);
    check_limit("LimitCPU", "infinity:infinity", RLIM_INFINITY, RLIM_INFINITY);
    check_limit("LimitRTTIME", "30:1s", 30, 1000000);
    check_limit("LimitNICE", "-5", 25, 25);
    check_limit("LimitNICE", "+5", 15, 15);
    check_limit("LimitNICE", "5", 5, 5);
    ASSERT_ERROR(limit("LimitNOFILE", "2:1", &got), -EILSEQ);
    ASSERT_ERROR(limit("LimitNOFILE", "1K", &got), -EINVAL);
    ASSERT_ERROR(limit("LimitNOFILE", "", &got), -EINVAL);
    ASSERT_ERROR(limit("LimitNOFILE", "1:", &got), -EINVAL);
    ASSERT_ERROR(limit("LimitNOFILE", ":1", &got), -EINVAL);
    ASSERT_ERROR(limit("LimitNOFILE", "1:2:3", &got), -EINVAL);
    ASSERT_ERROR(limit("LimitNOFILE", "-1", &got), -ERANGE);
    ASSERT_ERROR(limit("LimitNICE", "+20", &got), -ERANGE);
    ASSERT_ERROR(limit("LimitNICE", "-21", &got), -ERANGE);
    ASSERT_ERROR(limit("LimitNICE", "infinity", &got), -EINVAL);
    ASSERT_ERROR(limit_from_key("LimitNOFILES", &resource), -EINVAL);
}

TEST(exit_conditions)
{
    struct exit_condition condition;

    ASSERT_OK(value_exit_condition("TEMPFAIL", &condition));
    ASSERT(!condition.is_signal);
    ASSERT_INT(condition.value, 75);
    ASSERT_OK(value_exit_condition("250", &condition));
    ASSERT(!condition.is_signal);
    ASSERT_INT(condition.value, 250);
    ASSERT_OK(value_exit_condition("SIGKILL", &condition));
    ASSERT(condition.is_signal);
    ASSERT_INT(condition.value, SIGKILL);
    ASSERT_ERROR(value_exit_condition("256", &condition), -ERANGE);
    ASSERT_ERROR(value_exit_condition("WHAT", &condition), -EINVAL);
    ASSERT_STRING(exit_status_name(203), "EXEC");
    ASSERT(!exit_status_name(99));
}

TEST(scheduling)
{
    ASSERT_INT(parsed(value_nice, "-20"), -20);
    ASSERT_INT(parsed(value_nice, "19"), 19);
    ASSERT_INT(parsed(value_nice, "20"), RANGE);
    ASSERT_INT(parsed(value_oom_score_adjust, "-1000"), -1000);
    ASSERT_INT(parsed(value_oom_score_adjust, "1001"), RANGE);
    ASSERT_INT(parsed(value_io_class, "best-effort"), 2);
    ASSERT_INT(parsed(value_io_class, "3"), 3);
    ASSERT_INT(parsed(value_io_class, "4"), RANGE);
    ASSERT_INT(parsed(value_io_class, "fast"), INVALID);
    ASSERT_INT(parsed(value_io_priority, "7"), 7);
    ASSERT_INT(parsed(value_io_priority, "8"), RANGE);
    ASSERT_INT(parsed(value_cpu_policy, "rr"), SCHED_RR);
    ASSERT_INT(parsed(value_cpu_policy, "3"), SCHED_BATCH);
    ASSERT_INT(parsed(value_cpu_policy, "4"), RANGE);
    ASSERT_INT(parsed(value_cpu_priority, "99"), 99);
    ASSERT_INT(parsed(value_cpu_priority, "100"), RANGE);
}

TEST(cpu_lists)
{
    static const char *const wrong[] = {"a", "1-", "-1", "1-2-3", "0-8192", "8192", "\"1"};
    static struct cpu_list list;

    ASSERT_OK(value_cpu_list("0-2,5 7", &list));
    for (unsigned i = 0; i < 70; i++)
        ASSERT_INT(cpu_list_has(&list, i), i <= 2 || i == 5 || i == 7);
    ASSERT_OK(value_cpu_list("64,8191", &list));
    ASSERT(cpu_list_has(&list, 64));
    ASSERT(cpu_list_has(&list, 8191));
    ASSERT(!cpu_list_has(&list, 8192));
    ASSERT_OK(value_cpu_list("60-50", &list));
    ASSERT(!cpu_list_has(&list, 55));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ASSERT(value_cpu_list(wrong[i], &list) < 0);
}

TEST(socket_words)
{
    int family;
    uint32_t groups = 0;

    ASSERT_INT(parsed(value_ip_tos, "low-delay"), 0x10);
    ASSERT_INT(parsed(value_ip_tos, "0x20"), 0x20);
    ASSERT_INT(parsed(value_ip_tos, "256"), RANGE);
    ASSERT_OK(value_netlink("kobject-uevent 1", &family, &groups));
    ASSERT_INT(family, NETLINK_KOBJECT_UEVENT);
    ASSERT_INT(groups, 1);
    ASSERT_OK(value_netlink("route", &family, &groups));
    ASSERT_INT(family, NETLINK_ROUTE);
    ASSERT_INT(groups, 0);
    ASSERT_OK(value_netlink("16 4294967295", &family, &groups));
    ASSERT_INT(family, NETLINK_GENERIC);
    ASSERT(groups == UINT32_MAX);
    ASSERT_ERROR(value_netlink("", &family, &groups), -EINVAL);
    ASSERT_ERROR(value_netlink("routes", &family, &groups), -EINVAL);
    ASSERT_ERROR(value_netlink("route x", &family, &groups), -EINVAL);
    ASSERT_ERROR(value_netlink("route 4294967296", &family, &groups), -ERANGE);
}
