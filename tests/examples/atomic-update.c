/* SPDX-License-Identifier: MIT */
/* Adds one to the number in a file. Who reads the file sees the old or the new number, whole, and
 * of many that add at once, each counts. */
#include <errno.h>
#include <hark.h>
#include <stdio.h>
#include <string.h>

static int complain(const char *path, int r)
{
    struct hark_holder holder;

    if (r == -EBUSY && hark_lockfile_holder(path, &holder) == 0)
        fprintf(stderr, "%s (pid %d) is busy with it\n", holder.command, (int)holder.pid);
    fprintf(stderr, "cannot update \"%s\": %s\n", path, strerror(-r));
    return 1;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "counter";
    struct hark_lockfile *lock;
    unsigned long number = 0;
    FILE *new;

    int r = hark_lockfile_hold(path, 10000, HARK_LOCKFILE_FSYNC, &lock);
    if (r < 0)
        return complain(path, r);
    FILE *old = fopen(path, "re"); /* while we have the lock, it stays as it is */
    if (old) {
        if (fscanf(old, "%lu", &number) != 1)
            number = 0;
        fclose(old);
    }
    r = hark_lockfile_stream(lock, &new);
    if (r >= 0) {
        (void)fprintf(new, "%lu\n", number + 1); /* what fails here, fails the commit */
        r = hark_lockfile_commit(lock);
    }
    hark_lockfile_free(lock); /* without a commit the old file stays */
    return r < 0 ? complain(path, r) : 0;
}
