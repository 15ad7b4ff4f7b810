/* SPDX-License-Identifier: MIT */
#include "basic/signals.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void signal_name(int number, char text[SIGNAL_NAME_MAX])
{
    const char *name = sigabbrev_np(number);

    if (name != NULL)
        (void)snprintf(text, SIGNAL_NAME_MAX, "%s", name);
    else if (number >= SIGRTMIN && number <= SIGRTMAX)
        (void)snprintf(text, SIGNAL_NAME_MAX, "RTMIN+%d", number - SIGRTMIN);
    else
        (void)snprintf(text, SIGNAL_NAME_MAX, "%d", number);
}

#define KERNEL_SIGSET_SIZE 8 /* 64 signals: rt_sigaction(2) */

/* Longer than the kernel's structure, which begins with the handler, on every machine. */
struct kernel_action {
    uintptr_t handler;
    char rest[56];
};

static void reset_internal(int number)
{
    static const struct kernel_action normal;
    struct kernel_action now = {0};

    if (syscall(SYS_rt_sigaction, number, NULL, &now, KERNEL_SIGSET_SIZE) == 0 &&
        now.handler == (uintptr_t)SIG_IGN)
        (void)syscall(SYS_rt_sigaction, number, &normal, NULL, KERNEL_SIGSET_SIZE);
}

void signals_set_default(void)
{
    const struct sigaction normal = {.sa_handler = SIG_DFL};

    for (int i = 1; i <= 8 * KERNEL_SIGSET_SIZE; i++)
        if (i >= __SIGRTMIN && i < SIGRTMIN)
            reset_internal(i);
        else
            (void)sigaction(i, &normal, NULL); /* not KILL, STOP */
}
