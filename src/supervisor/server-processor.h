/* SPDX-License-Identifier: MIT */
/* On which processor this fork server runs, and so where its children begin: processors.h says what
 * is right. */
#pragma once

#include <sched.h>

/* For good. */
void server_processor_pin(int cpu);

/* For one that may run anywhere: while it creates a child it stays where it is, so the child begins
 * there, and not on another processor that is idle: to wake that, and to fill its caches, is a
 * third of what a child costs, where a quota counts it. In between it may be moved. The child has
 * to be given the affinity. */
void server_processor_stay(void);
void server_processor_let_go(const cpu_set_t *affinity);
