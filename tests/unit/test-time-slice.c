/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/syscall.h>

#include "supervisor/time-slice.h"

#define OURS_NSEC 100000U

static struct sched_attr attributes(void)
{
    struct sched_attr all = {0};

    ASSERT_CALL(syscall(SYS_sched_getattr, 0, &all, sizeof(all), 0));
    return all;
}

static void become(const struct sched_attr *wanted)
{
    ASSERT_CALL(syscall(SYS_sched_setattr, 0, wanted, 0));
}

static bool has_slices(void)
{
    return attributes().sched_runtime != 0;
}

static void assert_same(const struct sched_attr *expected)
{
    struct sched_attr actual = attributes();

    ASSERT_INT(actual.sched_policy, expected->sched_policy);
    ASSERT_INT(actual.sched_flags, expected->sched_flags);
    ASSERT_INT(actual.sched_nice, expected->sched_nice);
    ASSERT_INT(actual.sched_runtime, expected->sched_runtime);
    ASSERT_INT(actual.sched_util_max, expected->sched_util_max);
}

static void assert_same_in_child(const struct sched_attr *expected)
{
    IN_CHILD(assert_same(expected));
}

TEST(short_for_us_and_as_before_for_children)
{
    if (!has_slices())
        SKIP("needs Linux 6.12");
    IN_CHILD({
        struct sched_attr before = attributes();

        ASSERT(time_slice_shorten());
        ASSERT_INT(attributes().sched_runtime, OURS_NSEC);
        ASSERT_INT(attributes().sched_policy, before.sched_policy);
        ASSERT_INT(attributes().sched_nice, before.sched_nice);
        assert_same_in_child(&before);
    });
}

TEST(niceness_is_kept)
{
    if (!has_slices())
        SKIP("needs Linux 6.12");
    IN_CHILD({
        ASSERT_CALL(nice(3));
        struct sched_attr before = attributes();

        ASSERT(time_slice_shorten());
        ASSERT_INT(attributes().sched_nice, 3);
        assert_same_in_child(&before);
    });
}

/* Nothing changes, for us and for our children, when they would lose what we were given. */
static void assert_left_alone(const struct sched_attr *given)
{
    IN_CHILD({
        become(given);
        struct sched_attr before = attributes();

        ASSERT(!time_slice_shorten());
        assert_same(&before);
        assert_same_in_child(&before);
    });
}

TEST(a_chosen_slice_stays)
{
    struct sched_attr given = attributes();

    if (!has_slices())
        SKIP("needs Linux 6.12");
    given.sched_runtime = 20000000;
    assert_left_alone(&given);
    given.sched_runtime = OURS_NSEC;
    assert_left_alone(&given);
}

TEST(another_policy_stays)
{
    struct sched_attr given = attributes();

    given.sched_policy = SCHED_BATCH;
    assert_left_alone(&given);
    given.sched_policy = SCHED_IDLE;
    assert_left_alone(&given);
}

TEST(a_negative_nice_level_stays)
{
    struct sched_attr given = attributes();

    if (geteuid() != 0)
        SKIP("needs root");
    given.sched_nice = -3;
    assert_left_alone(&given);
}

TEST(a_utilization_clamp_stays)
{
    struct sched_attr given = attributes();

    given.sched_flags |= SCHED_FLAG_UTIL_CLAMP_MAX;
    given.sched_util_max = 1024;
    if (!has_slices() || syscall(SYS_sched_setattr, 0, &given, 0) < 0)
        SKIP("needs Linux 6.12 with CONFIG_UCLAMP_TASK");
    given.sched_util_max = 512;
    assert_left_alone(&given);
}
