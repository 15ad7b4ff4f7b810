/* SPDX-License-Identifier: MIT */
#include "supervisor/server-processor.h"

#include <string.h>

void server_processor_pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    /* The CPU may have been taken from us (cpuset, hotplug): run anywhere then. */
    (void)sched_setaffinity(0, sizeof(set), &set);
}

void server_processor_stay(void)
{
    int cpu = sched_getcpu();

    if (cpu >= 0 && cpu < CPU_SETSIZE)
        server_processor_pin(cpu);
}

void server_processor_let_go(const cpu_set_t *affinity)
{
    cpu_set_t every;

    if (sched_setaffinity(0, sizeof(*affinity), affinity) >= 0)
        return;
    memset(&every, 0xff, sizeof(every)); /* the cpuset has changed: whatever it has now */
    (void)sched_setaffinity(0, sizeof(every), &every);
}
