/* SPDX-License-Identifier: MIT */
/* A program of which only one may run. It may be killed in any way: the lock dies with it. */
#include <errno.h>
#include <hark.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "/tmp/only-once";
    struct hark_lockfile *lock;
    int r = hark_lockfile_hold(path, 0, HARK_LOCKFILE_IDENTIFY, &lock);

    if (r == -EBUSY) {
        fprintf(stderr, "already running\n");
        return 1;
    }
    if (r < 0) {
        fprintf(stderr, "cannot lock \"%s\": %s\n", path, strerror(-r));
        return 1;
    }
    printf("alone, as long as %s is mine\n", hark_lockfile_path(lock));
    hark_lockfile_free(lock);
    return 0;
}
