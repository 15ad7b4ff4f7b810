/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "supervisor/server-processor.h"

static cpu_set_t own(void)
{
    cpu_set_t set;

    ASSERT_CALL(sched_getaffinity(0, sizeof(set), &set));
    return set;
}

static int last_of(const cpu_set_t *set)
{
    int cpu = CPU_SETSIZE - 1;

    while (!CPU_ISSET((size_t)cpu, set))
        cpu--;
    return cpu;
}

TEST(it_stays_on_the_pinned_one)
{
    cpu_set_t all = own(), set;

    IN_CHILD({
        server_processor_pin(last_of(&all));
        set = own();
        ASSERT_INT(CPU_COUNT(&set), 1);
        ASSERT_INT(sched_getcpu(), last_of(&all));
    });
}

TEST(it_stays_for_a_while)
{
    cpu_set_t all = own(), set;

    for (int i = 0; i < 100; i++) {
        server_processor_stay();
        set = own();
        ASSERT_INT(CPU_COUNT(&set), 1);
        ASSERT(CPU_ISSET((size_t)sched_getcpu(), &all));
        server_processor_let_go(&all);
        set = own();
        ASSERT(CPU_EQUAL(&set, &all));
    }
}

/* All that it was given are in use by others now. */
TEST(what_is_not_there_any_more_is_not_asked_for)
{
    cpu_set_t all = own(), gone, set;

    CPU_ZERO(&gone);
    CPU_SET(CPU_SETSIZE - 1, &gone);
    if (CPU_ISSET(CPU_SETSIZE - 1, &all))
        return;
    server_processor_stay();
    server_processor_let_go(&gone);
    set = own();
    ASSERT(CPU_COUNT(&set) >= CPU_COUNT(&all)); /* all of the cpuset */
    ASSERT_CALL(sched_setaffinity(0, sizeof(all), &all));
}
