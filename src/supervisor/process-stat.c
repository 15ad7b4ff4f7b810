/* SPDX-License-Identifier: MIT */
#include "supervisor/process-stat.h"

#include <stdio.h>
#include <string.h>

#include "basic/io.h"

/* PF_FORKNOEXEC of <linux/sched.h>, which is not for user space; ps(1) has it as F, too. */
#define FLAG_FORKED_NOT_EXECUTED 0x40u

#define TEXT_MAX 256

/* What follows the name in parentheses, which may hold anything: " S 1 …"; or NULL. */
static const char *read_stat(pid_t pid, char text[TEXT_MAX])
{
    char path[32];

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (pid <= 0 || read_text_file(path, text, TEXT_MAX) < 0)
        return NULL;
    const char *end = strrchr(text, ')');
    return end != NULL && end[1] == ' ' ? end + 1 : NULL;
}

char process_state(pid_t pid)
{
    char text[TEXT_MAX];
    const char *rest = read_stat(pid, text);

    return rest != NULL ? rest[1] : 0;
}

bool process_has_executed(pid_t pid)
{
    char text[TEXT_MAX];
    const char *rest = read_stat(pid, text);
    unsigned flags;

    return rest != NULL && sscanf(rest, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
           (flags & FLAG_FORKED_NOT_EXECUTED) == 0;
}
