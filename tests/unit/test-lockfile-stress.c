/* SPDX-License-Identifier: MIT */
/*
 * Updates of one file by processes that are killed at random: one at a time holds the lock, no
 * update is lost, a reader never sees a part of one, and nobody waits for the dead.
 *
 * HARK_STRESS_UPDATES says how many updates.
 */
#include "directory.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "libhark/hark.h"

enum { N_WORKERS = 6, DEFAULT_UPDATES = 3000 };

static struct {
    _Atomic pid_t holder;    /* who is inside */
    _Atomic pid_t condemned; /* who may have died inside */
    _Atomic long committed;
    _Atomic bool over;
} * shared;

static long read_number(const char *path)
{
    long one = -1, two = -2;
    FILE *file = fopen(path, "re");

    if (!file)
        return 0;
    ASSERT_INT(fscanf(file, "%ld %ld\n", &one, &two), 2);
    ASSERT_INT(one, two);
    fclose(file);
    return one;
}

static void enter(void)
{
    pid_t before = atomic_exchange(&shared->holder, getpid());

    ASSERT(before == 0 || before == atomic_load(&shared->condemned));
}

static void leave(void)
{
    pid_t expected = getpid();

    ASSERT(atomic_compare_exchange_strong(&shared->holder, &expected, 0));
}

static void update(const char *path, int variant)
{
    struct hark_lockfile *lock;
    FILE *stream;

    ASSERT_OK(hark_lockfile_hold(path, -1, variant % 3 == 0 ? HARK_LOCKFILE_APPEND : 0, &lock));
    enter();
    long number = read_number(path) + 1;
    if (variant % 3 == 0) {
        ASSERT_OK(hark_lockfile_close(lock));
        ASSERT_OK(hark_lockfile_reopen(lock));
    }
    ASSERT_OK(hark_lockfile_stream(lock, &stream));
    ASSERT(fprintf(stream, "%ld ", number) > 0);
    if (variant % 2 == 0)
        ASSERT_INT(fflush(stream), 0);
    ASSERT(fprintf(stream, "%ld\n", number) > 0);
    leave();
    if (variant % 5 != 0) {
        ASSERT_OK(hark_lockfile_commit(lock));
        atomic_fetch_add(&shared->committed, 1);
    }
    hark_lockfile_free(lock);
}

static pid_t start_worker(const char *path)
{
    pid_t pid = fork();

    ASSERT_CALL(pid);
    if (pid > 0)
        return pid;
    for (int i = 0; !atomic_load(&shared->over); i++)
        update(path, i);
    _exit(0);
}

static void kill_worker(pid_t pid)
{
    pid_t dead = pid;
    int status;

    atomic_store(&shared->condemned, pid);
    ASSERT_CALL(kill(pid, SIGKILL));
    ASSERT_INT(waitpid(pid, &status, 0), pid);
    ASSERT(WIFSIGNALED(status)); /* not by a failed assertion */
    (void)atomic_compare_exchange_strong(&shared->holder, &dead, 0);
}

TEST(updates_by_processes_that_are_killed)
{
    const char *text = getenv("HARK_STRESS_UPDATES");
    long wanted = text ? strtol(text, NULL, 10) : DEFAULT_UPDATES, n_killed = 0;
    pid_t workers[N_WORKERS];
    char path[64];
    int status;

    directory_make();
    snprintf(path, sizeof(path), "%s", in("x"));
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT(shared != MAP_FAILED);
    for (int i = 0; i < N_WORKERS; i++)
        workers[i] = start_worker(path);
    for (; atomic_load(&shared->committed) < wanted; n_killed++) {
        uint16_t random[2];
        ASSERT_INT(getrandom(random, sizeof(random), 0), sizeof(random));
        usleep(random[0] % 5000);
        (void)read_number(path);
        kill_worker(workers[random[1] % N_WORKERS]);
        workers[random[1] % N_WORKERS] = start_worker(path);
    }
    atomic_store(&shared->over, true);
    for (int i = 0; i < N_WORKERS; i++) {
        ASSERT_INT(waitpid(workers[i], &status, 0), workers[i]);
        ASSERT_INT(status, 0);
    }
    long number = read_number(path), committed = atomic_load(&shared->committed);
    printf("     %ld updates, %ld workers were killed\n", committed, n_killed);
    ASSERT(number >= committed && number <= committed + n_killed);
    ASSERT_CALL(munmap(shared, sizeof(*shared)));
    directory_remove();
}
