/* SPDX-License-Identifier: MIT */
#include "deny.h"
#include "directory.h"
#include "test.h"

#include <sched.h>
#include <sys/stat.h>

#include "supervisor/processors.h"

/* With the directories above it. */
static void put(const char *name, const char *text)
{
    char path[512];

    (void)snprintf(path, sizeof(path), "%s", in(name));
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    write_file(path, text);
}

static uint32_t quota(void)
{
    return processors_quota(directory_path);
}

TEST(no_cgroup_no_quota)
{
    directory_make();
    ASSERT_INT(quota(), 0);
    directory_remove();
}

TEST(unified_hierarchy)
{
    directory_make();
    put("proc/self/cgroup", "0::/a.slice/b.service\n");
    put("proc/self/mountinfo", "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 "
                               "cgroup2 rw,nsdelegate\n");
    put("sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n");
    ASSERT_INT(quota(), 0);
    put("sys/fs/cgroup/a.slice/b.service/cpu.max", "250000 100000\n");
    ASSERT_INT(quota(), 3); /* rounded up */
    put("sys/fs/cgroup/a.slice/cpu.max", "50000 100000\n");
    ASSERT_INT(quota(), 1); /* the one above counts, too */
    directory_remove();
}

TEST(controllers_of_version_1)
{
    directory_make();
    put("proc/self/cgroup", "9:memory:/x\n4:cpuset:/y\n3:cpu,cpuacct:/a\n0::/\n");
    put("proc/self/mountinfo",
        "30 24 0:26 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
        "31 24 0:27 / /sys/fs/cgroup/cpu rw shared:1 master:2 - cgroup cgroup rw,cpu,cpuacct\n");
    put("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
    ASSERT_INT(quota(), 0);
    put("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "200000\n");
    ASSERT_INT(quota(), 2);
    directory_remove();
}

/* The mount shows the container's group as its root, /proc/self/cgroup the whole path. */
TEST(container)
{
    directory_make();
    put("proc/self/cgroup", "3:cpu:/machine/box/inner\n");
    put("proc/self/mountinfo",
        "31 24 0:27 /machine/box /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n");
    put("sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "100\n");
    put("sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100\n");
    ASSERT_INT(quota(), 1);
    put("proc/self/cgroup", "3:cpu:/elsewhere\n");
    put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "400\n");
    put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100\n");
    ASSERT_INT(quota(), 4);
    directory_remove();
}

static struct processors of(unsigned n, bool is_whole, uint32_t quota)
{
    struct processors processors = {.is_whole = is_whole, .quota = quota};

    for (unsigned i = 0; i < n; i++)
        CPU_SET(2 * i + 1, &processors.affinity);
    return processors;
}

TEST(how_many_and_where)
{
    struct processors four = of(4, true, 0), some = of(4, false, 2), one = of(1, true, 0);

    ASSERT_INT(processors_count_servers(&four), 4);
    ASSERT_INT(processors_count_servers(&some), 2);
    ASSERT_INT(processors_count_servers(&one), 1);
    ASSERT_INT(processors_choose(&four, 4, 2), 5);
    ASSERT_INT(processors_choose(&four, 8, 6), 5); /* going round */
    ASSERT_INT(processors_choose(&four, 3, 0), -1);
    ASSERT_INT(processors_choose(&one, 1, 0), -1);
}

TEST(what_handlers_get)
{
    struct processors whole = of(4, true, 0), some = of(4, false, 0), one = of(1, true, 0);

    ASSERT(processors_of_handlers(&one) == NULL);
    ASSERT_INT(CPU_COUNT(processors_of_handlers(&whole)), CPU_SETSIZE);
    ASSERT(CPU_EQUAL(processors_of_handlers(&some), &some.affinity));
}

TEST(reading_leaves_the_affinity_as_it_is)
{
    struct processors processors;
    cpu_set_t before, after, one;
    size_t last = 0;

    ASSERT_CALL(sched_getaffinity(0, sizeof(before), &before));
    ASSERT_OK(processors_read(&processors));
    ASSERT_CALL(sched_getaffinity(0, sizeof(after), &after));
    ASSERT(CPU_EQUAL(&before, &after) && CPU_EQUAL(&before, &processors.affinity));
    if (CPU_COUNT(&before) < 2)
        return;
    while (!CPU_ISSET(last, &before))
        last++;
    CPU_ZERO(&one);
    CPU_SET(last, &one);
    ASSERT_CALL(sched_setaffinity(0, sizeof(one), &one));
    ASSERT_OK(processors_read(&processors));
    ASSERT(!processors.is_whole && CPU_EQUAL(&one, &processors.affinity));
    ASSERT_CALL(sched_getaffinity(0, sizeof(after), &after));
    ASSERT(CPU_EQUAL(&one, &after));
    ASSERT_CALL(sched_setaffinity(0, sizeof(before), &before));
}

TEST(where_a_filter_forbids_it_nobody_is_pinned)
{
    struct processors four = of(4, true, 0);

    IN_CHILD({
        struct processors processors;

        deny(SYS_sched_setaffinity, EPERM);
        ASSERT_OK(processors_read(&processors));
        ASSERT(processors.is_fixed && !processors.is_whole);
    });
    four.is_fixed = true;
    ASSERT_INT(processors_choose(&four, 4, 2), -1);
    ASSERT(processors_of_handlers(&four) == NULL);
    ASSERT_INT(processors_count_servers(&four), 4);
}
