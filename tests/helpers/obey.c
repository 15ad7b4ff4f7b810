/* SPDX-License-Identifier: MIT */
/*
 * obey: a handler that ends as its client asks.
 *
 *   obey [FD]
 *
 * Reads one line from FD (3): "exit N" or "signal N", answers "ok\n", and does that. No core
 * file is written, whatever the limit.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int fd = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 3;
    char line[64];
    size_t used = 0;
    while (used < sizeof(line) - 1) {
        ssize_t n = read(fd, line + used, sizeof(line) - 1 - used);
        if (n <= 0)
            break;
        used += (size_t)n;
        if (memchr(line, '\n', used))
            break;
    }
    line[used] = '\0';
    if (write(fd, "ok\n", 3) != 3)
        return 99;
    if (strncmp(line, "exit ", 5) == 0)
        return (int)strtol(line + 5, NULL, 10);
    if (strncmp(line, "signal ", 7) == 0) {
        prctl(PR_SET_DUMPABLE, 0);
        kill(getpid(), (int)strtol(line + 7, NULL, 10));
        pause();
    }
    return 98;
}
