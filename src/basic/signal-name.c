/* SPDX-License-Identifier: MIT */
#include "basic/signal-name.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

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
