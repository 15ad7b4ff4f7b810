/* SPDX-License-Identifier: MIT */
/*
 * Kills a program at a given system call: kill-at-step MARKER STEP -- PROGRAM [ARGUMENT…]
 *
 * The program runs traced, with every process it creates. When it asks for the name MARKER (by
 * access(2) or any other call whose first or second argument is that path), counting begins: each
 * entry into and each return from a system call is a step. At step STEP all of it is killed with
 * SIGKILL, and the exit status is 0; when it ended before, the exit status is 1. Without luck and
 * without a hook in the program.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRACE_OPTIONS                                                                              \
    (PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |        \
     PTRACE_O_TRACEVFORK)
#define SYSCALL_STOP (SIGTRAP | 0x80)

static bool is_text(pid_t pid, uint64_t address, const char *text)
{
    char buffer[256];
    size_t size = strlen(text) + 1;
    struct iovec local = {buffer, size};
    struct iovec remote = {(void *)(uintptr_t)address, size};

    return size <= sizeof(buffer) &&
           process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)size &&
           memcmp(buffer, text, size) == 0;
}

static bool is_marker(pid_t pid, const char *marker)
{
    struct __ptrace_syscall_info info;

    return ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0 &&
           info.op == PTRACE_SYSCALL_INFO_ENTRY &&
           (is_text(pid, info.entry.args[0], marker) || is_text(pid, info.entry.args[1], marker));
}

/* Kills the program and the one that stands stopped; the others at their next stop. Waits for all.
 */
static int kill_all(pid_t program, pid_t stopped)
{
    (void)kill(program, SIGKILL);
    (void)kill(stopped, SIGKILL);
    for (int status;;) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0)
            return errno == ECHILD ? 0 : 2;
        if (!WIFEXITED(status) && !WIFSIGNALED(status))
            (void)kill(pid, SIGKILL);
    }
}

static int trace(pid_t program, const char *marker, long steps)
{
    bool counting = false;

    for (int status;;) {
        pid_t pid = waitpid(-1, &status, __WALL);
        int deliver = 0;

        if (pid < 0)
            return 1;
        if (!WIFSTOPPED(status)) {
            if (pid == program)
                return 1; /* PTRACE_O_EXITKILL ends what it left */
            continue;
        }
        if (WSTOPSIG(status) == SYSCALL_STOP) {
            if (!counting)
                counting = is_marker(pid, marker);
            else if (steps-- <= 0)
                return kill_all(program, pid);
        } else if (status >> 16 == 0 && WSTOPSIG(status) != SIGSTOP &&
                   WSTOPSIG(status) != SIGTRAP) {
            deliver = WSTOPSIG(status);
        }
        (void)ptrace(PTRACE_SYSCALL, pid, 0, deliver);
    }
}

int main(int argc, char **argv)
{
    if (argc < 5 || strcmp(argv[3], "--") != 0)
        return 2;
    pid_t program = fork();
    if (program == 0) {
        (void)raise(SIGSTOP);
        (void)execv(argv[4], argv + 4);
        _exit(127);
    }
    if (program < 0 || waitpid(program, NULL, WUNTRACED) != program ||
        ptrace(PTRACE_SEIZE, program, 0, TRACE_OPTIONS) < 0) {
        perror("kill-at-step");
        return 2;
    }
    (void)kill(program, SIGCONT);
    return trace(program, argv[1], strtol(argv[2], NULL, 10));
}
