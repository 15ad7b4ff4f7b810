/* SPDX-License-Identifier: MIT */
/* Starts a server and writes down when: so a start is not charged with the memory of the large
 * process that measures it, which the server's execve(2) would have to give back.
 *
 *     stamp FILE PROGRAM [ARGUMENT...]
 *
 * FILE gets the CPU time of this process and CLOCK_MONOTONIC, in nanoseconds, as they are just
 * before PROGRAM begins. */
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NSEC_PER_SEC UINT64_C(1000000000)

static uint64_t now(clockid_t clock)
{
    struct timespec time;

    if (clock_gettime(clock, &time) < 0)
        err(EXIT_FAILURE, "cannot read a clock");
    return (uint64_t)time.tv_sec * NSEC_PER_SEC + (uint64_t)time.tv_nsec;
}

int main(int argc, char **argv)
{
    int fd;

    if (argc < 3)
        errx(EXIT_FAILURE, "usage: stamp FILE PROGRAM [ARGUMENT...]");
    fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        err(EXIT_FAILURE, "cannot open \"%s\"", argv[1]);
    if (dprintf(fd, "%" PRIu64 " %" PRIu64 "\n", now(CLOCK_PROCESS_CPUTIME_ID),
                now(CLOCK_MONOTONIC)) < 0)
        err(EXIT_FAILURE, "cannot write to \"%s\"", argv[1]);
    (void)execvp(argv[2], argv + 2);
    err(EXIT_FAILURE, "cannot execute \"%s\"", argv[2]);
}
