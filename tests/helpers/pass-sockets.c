/* SPDX-License-Identifier: MIT */
/*
 * pass-sockets: starts a program the way systemd passes sockets to a service.
 *
 *   pass-sockets [--names=A:B] [--fds=N] [--pid=N] FD… -- PROGRAM [ARGUMENT…]
 *
 * The descriptors named FD, which it inherits, become 3, 4, … of the program, and LISTEN_FDS,
 * LISTEN_PID and (with --names) LISTEN_FDNAMES are set. --fds and --pid set wrong values on
 * purpose.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int fds[64];
    int n = 0;
    const char *count = NULL;
    const char *pid = NULL;
    int i = 1;
    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--names=", 8) == 0)
            setenv("LISTEN_FDNAMES", argv[i] + 8, 1);
        else if (strncmp(argv[i], "--fds=", 6) == 0)
            count = argv[i] + 6;
        else if (strncmp(argv[i], "--pid=", 6) == 0)
            pid = argv[i] + 6;
        else if (n < 64)
            fds[n++] = (int)strtol(argv[i], NULL, 10);
    }
    if (i + 1 >= argc)
        return 64;
    for (int k = 0; k < n; k++) {
        int high = fcntl(fds[k], F_DUPFD, 200);
        if (high < 0) {
            perror("fcntl");
            return 1;
        }
        close(fds[k]);
        fds[k] = high;
    }
    for (int k = 0; k < n; k++) {
        dup2(fds[k], 3 + k);
        close(fds[k]);
    }
    char number[16];
    snprintf(number, sizeof(number), "%d", n);
    setenv("LISTEN_FDS", count ? count : number, 1);
    snprintf(number, sizeof(number), "%d", getpid());
    setenv("LISTEN_PID", pid ? pid : number, 1);
    execvp(argv[i + 1], argv + i + 1);
    perror(argv[i + 1]);
    return 127;
}
