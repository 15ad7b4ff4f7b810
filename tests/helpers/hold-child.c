/* SPDX-License-Identifier: MIT */
/*
 * Holds the next handler at one of its system calls: hold-child SERVER-PID CALLS
 *
 * Traces a fork server until it creates a child, lets the child make CALLS system calls and keeps
 * it at the entry of the next one until somebody ends it. Prints "ready" when it traces; "held
 * PID" when the child stands, or "held PID execve" when it is its last call; and "ended" when the
 * child is dead. "through PID" is a child that became its program before, "lost PID" one that ended
 * before, as it does when it finds no connection. The server is let go as soon as the child is
 * there.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSCALL_STOP (SIGTRAP | 0x80)
#define OPTIONS                                                                                    \
    (PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXEC |         \
     PTRACE_O_TRACESYSGOOD)

static void say(const char *text, pid_t pid, const char *more)
{
    printf("%s", text);
    if (pid > 0)
        printf(" %d%s", (int)pid, more);
    printf("\n");
    (void)fflush(stdout);
}

/* What of a stop is the process's own: a signal that is to be delivered. */
static int signal_of(int status)
{
    return status >> 16 == 0 && WSTOPSIG(status) != SYSCALL_STOP ? WSTOPSIG(status) : 0;
}

static bool wait_stop(pid_t pid, int *ret_status)
{
    return waitpid(pid, ret_status, __WALL) == pid && WIFSTOPPED(*ret_status);
}

/* The child's pid; the server goes on. 0: the server is gone. */
static pid_t wait_child(pid_t server)
{
    unsigned long child;
    int status;

    while (wait_stop(server, &status)) {
        int event = status >> 16;
        if (event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE ||
            event == PTRACE_EVENT_FORK) {
            if (ptrace(PTRACE_GETEVENTMSG, server, NULL, &child) < 0 ||
                ptrace(PTRACE_DETACH, server, NULL, NULL) < 0)
                return 0;
            return (pid_t)child;
        }
        (void)ptrace(PTRACE_CONT, server, NULL, (void *)(long)signal_of(status));
    }
    return 0;
}

/* NULL at the entry of that call, and *ret_number is which; otherwise what became of the child. */
static const char *run_to_call(pid_t child, long calls, long *ret_number)
{
    struct __ptrace_syscall_info info;
    int status;

    if (!wait_stop(child, &status)) /* at its birth */
        return "lost";
    for (;;) {
        if (ptrace(PTRACE_SYSCALL, child, NULL, (void *)(long)signal_of(status)) < 0 ||
            !wait_stop(child, &status))
            return "lost";
        if (status >> 16 == PTRACE_EVENT_EXEC)
            return "through";
        if (WSTOPSIG(status) == SYSCALL_STOP &&
            ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof(info), &info) > 0 &&
            info.op == PTRACE_SYSCALL_INFO_ENTRY && calls-- == 0) {
            *ret_number = (long)info.entry.nr;
            return NULL;
        }
    }
}

int main(int argc, char *argv[])
{
    long number;
    int status;

    if (argc != 3)
        return 64;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    pid_t server = (pid_t)strtol(argv[1], NULL, 10);
    if (ptrace(PTRACE_SEIZE, server, NULL, (void *)(long)OPTIONS) < 0) {
        perror("hold-child: PTRACE_SEIZE");
        return 1;
    }
    say("ready", 0, "");
    pid_t child = wait_child(server);
    if (child <= 0)
        return 1;
    const char *other = run_to_call(child, strtol(argv[2], NULL, 10), &number);
    if (other != NULL) {
        say(other, child, "");
        return 0; /* which lets it go */
    }
    say("held", child, number == SYS_execve ? " execve" : "");
    while (waitpid(child, &status, __WALL) == child && WIFSTOPPED(status))
        continue;
    say("ended", 0, "");
    return 0;
}
