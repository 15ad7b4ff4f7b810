/* SPDX-License-Identifier: MIT */
/*
 * The limit per source, kept by the children themselves. Runs in the child: see spawn-child.c for
 * what that permits.
 *
 * A child is refused when at least max_per_source others came before it (have a smaller number),
 * from the same source, and are still there. This is exact however many processes create children
 * at the same time: a child says "pending" before it takes its number, and the taking (a release
 * and acquire of the counter) makes everyone with a greater number see that, or what follows. What
 * is pending may turn out to have the smaller number: it is waited for. So nobody overlooks one who
 * came before, and of those that come at the same time the first are admitted. Who was refused is
 * not counted any more; neither is a handler that is ending: the client saw the end of its
 * connection and comes again before the supervisor has waited for it.
 *
 * All of this is told by one word per record, records.sources[]:
 *
 *     phase (2 bits)   none, pending, present
 *     hash (14 bits)   of the source, so that most records of others cost one look
 *     number (16 bits) the lowest of the number; 0 while it is pending
 *
 * The peer is written into the record before the first, the number before the second. A record may
 * be zeroed, and even used again, at any moment, while it is being read: the word is read before
 * and after, and pid and number must fit it. What was torn nonetheless does not fit, and its child
 * is gone, so it does not count.
 */
#include "libhark/spawn-admission.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum phase {
    PHASE_NONE = 0, /* no child, no known source, not accepted yet, or refused */
    PHASE_PENDING,
    PHASE_PRESENT,
};

#define HASH_BITS 14
#define HASH_MASK (((1U << HASH_BITS) - 1) << 2)

/* How often a child looks again at those that are pending: each has only a few instructions to go,
 * if it runs and was not killed. The last looks are a millisecond apart. */
#define PATIENCE    120
#define N_IMPATIENT 100
#define PAUSE_NSEC  1000000

#define PROCESS_EXITING 0x4 /* PF_EXITING: in the flags of proc_pid_stat(5) since Linux 2.6 */

CHILD_CODE static uint32_t make_word(enum phase phase, const struct peer *peer, uint64_t number)
{
    uint32_t hash = peer_source_hash(peer) >> (32 - HASH_BITS);

    return (uint32_t)phase | hash << 2 | (uint32_t)(uint16_t)number << 16;
}

CHILD_CODE static enum phase phase_of(uint32_t word)
{
    return (enum phase)(word & 3);
}

CHILD_CODE static uint16_t number_of(uint32_t word)
{
    return (uint16_t)(word >> 16);
}

CHILD_CODE static _Atomic uint32_t *source_of(const struct spawn_run *run)
{
    const struct spawn_records *records = &run->prepared->plan.records;

    return &records->sources[run->record - records->list];
}

CHILD_CODE void spawn_admission_begin(struct spawn_run *run)
{
    struct spawn_record *record = run->record;
    _Atomic uint32_t *source = source_of(run);
    bool is_known = record->peer.family != AF_UNSPEC;

    if (is_known)
        atomic_store_explicit(source, make_word(PHASE_PENDING, &record->peer, 0),
                              memory_order_release);
    record->number =
        atomic_fetch_add_explicit(run->prepared->plan.counter, 1, memory_order_acq_rel);
    if (is_known)
        atomic_store_explicit(source, make_word(PHASE_PRESENT, &record->peer, record->number),
                              memory_order_release);
}

/* The flags are the seventh field behind the name, which may hold anything. */
CHILD_CODE static unsigned long flags_in(const char *stat)
{
    const char *at = strrchr(stat, ')');
    unsigned long flags = 0;

    for (int field = 0; at != NULL && field < 7; field++)
        at = strchr(at + 1, ' ');
    for (; at != NULL && at[1] >= '0' && at[1] <= '9'; at++)
        flags = flags * 10 + (unsigned long)(at[1] - '0');
    return flags;
}

CHILD_CODE bool spawn_is_ending(pid_t pid)
{
    char path[sizeof("/proc//stat") + 20] = "/proc/", stat[512];
    size_t length = strlen("/proc/");

    length += format_decimal((uint64_t)pid, path + length);
    memcpy(path + length, "/stat", sizeof("/stat"));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return kill(pid, 0) < 0 && errno == ESRCH;
    ssize_t n = read(fd, stat, sizeof(stat) - 1);
    (void)close(fd);
    if (n <= 0)
        return true;
    stat[n] = '\0';
    return flags_in(stat) & PROCESS_EXITING;
}

CHILD_CODE static void wait_for_pending(unsigned looks)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NSEC};

    if (looks < N_IMPATIENT)
        (void)sched_yield();
    else
        (void)nanosleep(&pause, NULL);
}

/* Whether who is in this record, with the same hash, is there, from the same source, and came
 * before. */
CHILD_CODE static bool came_before(const struct spawn_records *records, size_t at,
                                   const struct spawn_record *own, unsigned *looks)
{
    const struct spawn_record *other = &records->list[at];

    do {
        uint32_t word = atomic_load_explicit(&records->sources[at], memory_order_acquire);

        if (phase_of(word) == PHASE_NONE)
            return false;
        struct peer peer = other->peer;
        uint64_t number = other->number;
        pid_t pid = atomic_load_explicit(&other->pid, memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&records->sources[at], memory_order_relaxed) != word)
            continue; /* to the condition */
        if (pid == 0 || !peer_same_source(&peer, &own->peer))
            return false;
        if (phase_of(word) == PHASE_PRESENT)
            return (uint16_t)number == number_of(word) && number < own->number;
        wait_for_pending(*looks);
    } while (++*looks < PATIENCE);
    return true; /* to be on the safe side: more than the limit are never admitted */
}

/* How many others there are, up to the limit. To look closer costs some calls for each. The first
 * look at a word need not be an acquiring one: the taking of the number was. */
CHILD_CODE static uint32_t count_others(const struct spawn_run *run, bool closer)
{
    const struct spawn_plan *plan = &run->prepared->plan;
    const struct spawn_records *records = &plan->records;
    uint32_t own = atomic_load_explicit(source_of(run), memory_order_relaxed), others = 0;
    unsigned looks = 0;

    for (size_t i = 0; i < records->n && others < plan->max_per_source; i++) {
        uint32_t word = atomic_load_explicit(&records->sources[i], memory_order_relaxed);

        if (word != 0 && ((word ^ own) & HASH_MASK) == 0 &&
            came_before(records, i, run->record, &looks) &&
            !(closer && spawn_is_ending(atomic_load(&records->list[i].pid))))
            others++;
    }
    return others;
}

CHILD_CODE int spawn_admit(struct spawn_run *run)
{
    uint32_t limit = run->prepared->plan.max_per_source;
    _Atomic uint32_t *source = source_of(run);

    if (phase_of(atomic_load_explicit(source, memory_order_relaxed)) == PHASE_NONE)
        return 0;
    if (count_others(run, false) < limit || count_others(run, true) < limit)
        return 0;
    atomic_store_explicit(source, 0, memory_order_release);
    return -ECONNREFUSED;
}
