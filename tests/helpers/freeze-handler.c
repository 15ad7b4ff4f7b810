/* SPDX-License-Identifier: MIT */
/*
 * Freezes the next handler before it is its program: freeze-handler SERVER-PID CALLS
 *
 * Traces a fork server until it creates a child, lets the child return from CALLS system calls,
 * stops it by SIGSTOP and lets go of both. Prints "ready" when it traces, and the child's pid when
 * that stands still. What a user with the rights to signal the handler could do at a bad moment.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSCALL_STOP (SIGTRAP | 0x80)

static pid_t wait_stop(pid_t pid, int *ret_status)
{
    pid_t stopped = waitpid(pid, ret_status, __WALL);

    if (stopped < 0 || !WIFSTOPPED(*ret_status)) {
        fprintf(stderr, "freeze-handler: the process is gone\n");
        exit(1);
    }
    return stopped;
}

/* The child's pid; the server stands at the event of its creation. */
static pid_t wait_child(pid_t server)
{
    int status;

    for (;;) {
        unsigned long child;

        (void)wait_stop(server, &status);
        int event = status >> 16;
        if (event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE ||
            event == PTRACE_EVENT_FORK) {
            if (ptrace(PTRACE_GETEVENTMSG, server, NULL, &child) < 0)
                exit(1);
            return (pid_t)child;
        }
        (void)ptrace(PTRACE_CONT, server, NULL, NULL);
    }
}

static void let_return(pid_t child, long calls)
{
    int status;

    (void)wait_stop(child, &status);                   /* at its birth */
    for (long stops = 0; stops < 2 * calls; stops++) { /* each call stops twice */
        if (ptrace(PTRACE_SYSCALL, child, NULL, NULL) < 0)
            exit(1);
        (void)wait_stop(child, &status);
        if (WSTOPSIG(status) != SYSCALL_STOP)
            stops--;
    }
}

int main(int argc, char *argv[])
{
    if (argc != 3)
        return 64;
    pid_t server = (pid_t)strtol(argv[1], NULL, 10);
    long calls = strtol(argv[2], NULL, 10);
    long options =
        PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACESYSGOOD;

    if (ptrace(PTRACE_SEIZE, server, NULL, (void *)options) < 0) {
        perror("freeze-handler: PTRACE_SEIZE");
        return 1;
    }
    printf("ready\n");
    (void)fflush(stdout);
    pid_t child = wait_child(server);
    let_return(child, calls);
    if (kill(child, SIGSTOP) < 0 || ptrace(PTRACE_DETACH, child, NULL, NULL) < 0 ||
        ptrace(PTRACE_DETACH, server, NULL, NULL) < 0)
        return 1;
    printf("%d\n", (int)child);
    return 0;
}
