/* SPDX-License-Identifier: MIT */
/*
 * tiny: the smallest useful handler, linked statically, so that a test measures hark and not ld.so.
 *
 *   tiny [STATUS [FD]]
 *
 * Writes "ok\n" to FD (3) and exits with STATUS (0).
 */
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int status = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
    int fd = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 3;
    if (write(fd, "ok\n", 3) != 3)
        return 99;
    return status;
}
