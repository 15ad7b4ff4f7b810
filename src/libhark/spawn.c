/* SPDX-License-Identifier: MIT */
#include "libhark/spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "libhark/spawn-child.h"

/* The child needs about 1 KiB; the page below it faults instead of running over. */
#define STACK_SIZE ((size_t)32 * 1024)
#define GUARD_SIZE ((size_t)4 * 1024)

struct spawner {
    char *stack;
    pid_t parent; /* the parent of every SPAWN_SIBLING */
    int accept_error;
};

int spawner_new(struct spawner **ret_spawner)
{
    cleanup_free struct spawner *spawner = calloc(1, sizeof(*spawner));

    if (spawner == NULL)
        return -ENOMEM;
    spawner->stack = mmap(NULL, GUARD_SIZE + STACK_SIZE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (spawner->stack == MAP_FAILED)
        return -ENOMEM;
    (void)mprotect(spawner->stack, GUARD_SIZE, PROT_NONE);
    spawner->parent = getppid();
    *ret_spawner = take_pointer(&spawner);
    return 0;
}

struct spawner *spawner_free(struct spawner *spawner)
{
    if (spawner != NULL) {
        (void)munmap(spawner->stack, GUARD_SIZE + STACK_SIZE);
        free(spawner);
    }
    return NULL;
}

static void interrupt_handler(int signal_number)
{
    (void)signal_number;
}

int spawn_install_interrupt(void)
{
    const struct sigaction action = {.sa_handler = interrupt_handler};

    return sigaction(SIGURG, &action, NULL) < 0 ? -errno : 0;
}

pid_t spawn_run(struct spawner *spawner, struct prepared_plan *prepared,
                struct spawn_record *record)
{
    struct spawn_run run = {
        .prepared = prepared,
        .record = record,
        .parent = prepared->plan.flags & SPAWN_SIBLING ? spawner->parent : getpid(),
        .connection = -1,
    };
    int flags = CLONE_PARENT_SETTID | SIGCHLD |
                (prepared->plan.flags & SPAWN_SIBLING ? CLONE_PARENT : 0) |
                (prepared->plan.flags & SPAWN_OWN_MEMORY ? 0 : CLONE_VM | CLONE_VFORK);

    record->start_usec = monotonic_usec();
    pid_t pid = clone(spawn_child, spawner->stack + GUARD_SIZE + STACK_SIZE, flags, &run,
                      (pid_t *)&record->pid);
    if (pid < 0)
        return errno == EAGAIN ? -EUSERS : -errno;
    if (run.error == 0) /* always with SPAWN_OWN_MEMORY: that is our copy */
        return pid;
    if (run.failed_step == SPAWN_ADMISSION)
        return -EAGAIN;
    if (run.failed_step != SPAWN_ACCEPT)
        return -ECANCELED;
    if (run.error == EAGAIN)
        return -EAGAIN;
    spawner->accept_error = run.error;
    return -ENOBUFS;
}

int spawner_accept_error(const struct spawner *spawner)
{
    return spawner->accept_error;
}
