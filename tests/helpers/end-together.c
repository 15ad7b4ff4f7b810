/* SPDX-License-Identifier: MIT */
/*
 * end-together: a handler that ends when it is told, and writes down when that was.
 *
 *   end-together FILE
 *
 * Reads one line from descriptor 3, "WHEN HOW NUMBER", and answers its pid. WHEN is now; or told:
 * when there is more to read or the end of it; or together: when the first word of FILE is not 0
 * any more (a futex). HOW is "exit" or "signal". FILE is shared by all: two words of 32 bits, the
 * signal to end and the number of entries, and the entries, which are two words of 64 bits: a pid
 * and the monotonic time of its end in nanoseconds.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CONNECTION 3

struct shared {
    _Atomic uint32_t end, n;
    struct {
        uint64_t pid, nanoseconds;
    } entries[];
};

static struct shared *map(const char *path, size_t *ret_size)
{
    struct stat status;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &status) < 0)
        return NULL;
    void *memory = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return NULL;
    *ret_size = (size_t)status.st_size;
    return memory;
}

static void write_down(struct shared *shared, size_t size)
{
    uint32_t i = atomic_fetch_add(&shared->n, 1);
    struct timespec now;

    if (i >= (size - sizeof(*shared)) / sizeof(shared->entries[0]))
        return;
    shared->entries[i].pid = (uint64_t)getpid();
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    shared->entries[i].nanoseconds = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv)
{
    char line[64], when[16], how[16], more;
    int number;
    size_t size;

    if (argc != 2)
        return 64;
    struct shared *shared = map(argv[1], &size);
    if (shared == NULL)
        return 66;
    ssize_t n = read(CONNECTION, line, sizeof(line) - 1);
    line[n > 0 ? n : 0] = '\0';
    /* NOLINTNEXTLINE(cert-err34-c): the test's own words */
    if (sscanf(line, "%15s %15s %d", when, how, &number) != 3)
        return 65;
    (void)prctl(PR_SET_DUMPABLE, 0);
    if (dprintf(CONNECTION, "%d\n", (int)getpid()) < 0)
        return 74;
    if (strcmp(when, "told") == 0 && read(CONNECTION, &more, 1) < 0)
        return 74;
    while (strcmp(when, "together") == 0 && atomic_load(&shared->end) == 0)
        (void)syscall(SYS_futex, &shared->end, FUTEX_WAIT, 0, NULL, NULL, 0);
    write_down(shared, size);
    if (strcmp(how, "signal") == 0)
        (void)kill(getpid(), number);
    _exit(number);
}
