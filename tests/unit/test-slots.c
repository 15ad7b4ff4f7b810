/* SPDX-License-Identifier: MIT */
#include "test.h"

#include <sched.h>
#include <sys/mman.h>

#include "basic/clock.h"
#include "supervisor/slots.h"

static struct slots *make(uint32_t first, uint32_t second)
{
    const struct slots_request requests[] = {{.n_slots = first}, {.n_slots = second}};
    struct slots *slots;

    ASSERT_OK(slots_new(requests, second > 0 ? 2 : 1, 2, &slots));
    return slots;
}

/* A server reserved it and the kernel wrote a pid. */
static uint32_t take(struct slots *slots, uint32_t unit, uint64_t key, pid_t pid)
{
    uint32_t hint = 0, slot;

    ASSERT_OK(slots_reserve(slots, unit, key, &hint, &slot));
    slots->records[slot].pid = pid;
    return slot;
}

TEST(numbers_that_make_no_sense)
{
    const struct slots_request zero[] = {{.n_slots = 1}, {.n_slots = 0}};
    const struct slots_request huge[] = {{.n_slots = SLOTS_MAX}, {.n_slots = 1}};
    const struct slots_request one[] = {{.n_slots = 1}};
    struct slots *slots = NULL;

    ASSERT_ERROR(slots_new(zero, 2, 1, &slots), -EINVAL);
    ASSERT_ERROR(slots_new(huge, 2, 1, &slots), -EINVAL);
    ASSERT_ERROR(slots_new(one, 0, 1, &slots), -EINVAL);
    ASSERT_ERROR(slots_new(one, 1, 0, &slots), -EINVAL);
    ASSERT_ERROR(slots_new(one, 1, SERVERS_MAX + 1, &slots), -EINVAL);
    ASSERT(!slots);
    ASSERT_OK(slots_new(huge, 1, SERVERS_MAX, &slots));
    slots->records[SLOTS_MAX - 1].number = 1; /* is in the memory */
    slots->windows[SERVERS_MAX - 1].slot = 1;
    slots_free(slots);
}

TEST(keys)
{
    ASSERT_INT(slot_key_incarnation(slot_key(1, 0)), 1);
    ASSERT_INT(slot_key_incarnation(slot_key(70000, UINT64_MAX)), 70000);
    ASSERT(slot_key(1, 1) != slot_key(2, 1) && slot_key(1, 1) != slot_key(1, 2));
}

TEST(the_limit_is_the_number_of_slots)
{
    struct slots *slots = make(3, 2);
    uint32_t hint = 0, slot;
    bool seen[5] = {false};

    for (uint64_t i = 0; i < 3; i++) {
        ASSERT_INT(slots_used(slots, 0), i);
        ASSERT_OK(slots_reserve(slots, 0, slot_key(1, i + 1), &hint, &slot));
        ASSERT(slot < 3 && !seen[slot]);
        seen[slot] = true;
        ASSERT_INT(slots_unit_of(slots, slot), 0);
    }
    slot = 99;
    ASSERT_ERROR(slots_reserve(slots, 0, slot_key(1, 4), &hint, &slot), -EBUSY);
    ASSERT_INT(slot, 99);
    ASSERT_INT(slots_used(slots, 0), 3);
    /* The other unit has its own. */
    ASSERT_INT(slots_used(slots, 1), 0);
    hint = 0;
    for (uint64_t i = 0; i < 2; i++) {
        ASSERT_OK(slots_reserve(slots, 1, slot_key(1, i + 5), &hint, &slot));
        ASSERT(slot >= 3 && slot < 5 && !seen[slot]);
        seen[slot] = true;
        ASSERT_INT(slots_unit_of(slots, slot), 1);
    }
    ASSERT_ERROR(slots_reserve(slots, 1, slot_key(1, 7), &hint, &slot), -EBUSY);
    slots_free(slots);
}

TEST(any_hint_finds_the_only_free_slot)
{
    struct slots *slots = make(5, 0);

    for (uint64_t i = 1; i <= 5; i++)
        (void)take(slots, 0, slot_key(1, i), 100);
    for (uint32_t free = 0; free < 5; free++)
        for (uint32_t start = 0; start < 12; start++) {
            uint32_t hint = start, slot;

            (void)slots_release(slots, free);
            ASSERT_OK(slots_reserve(slots, 0, slot_key(1, 9), &hint, &slot));
            ASSERT_INT(slot, free);
        }
    slots_free(slots);
}

TEST(a_release_says_once_that_servers_wait)
{
    struct slots *slots = make(2, 1);
    uint32_t hint = 0, slot;

    uint32_t a = take(slots, 0, slot_key(1, 1), 100), b = take(slots, 0, slot_key(1, 2), 101);
    uint32_t other = take(slots, 1, slot_key(1, 3), 102);
    ASSERT_ERROR(slots_reserve(slots, 0, slot_key(1, 4), &hint, &slot), -EBUSY);
    ASSERT(!slots_release(slots, other)); /* nobody waits for that unit */
    ASSERT(slots_release(slots, a));
    ASSERT(!slots_release(slots, b));
    ASSERT_INT(slots_used(slots, 0), 0);
    slots_free(slots);
}

TEST(what_was_found_full_is_so_until_something_happens)
{
    struct slots *slots = make(2, 1);
    uint32_t hint = 0, slot;

    uint32_t a = take(slots, 0, slot_key(1, 1), 100);
    (void)take(slots, 0, slot_key(1, 2), 101);
    uint32_t reservations = slots_reservations(slots, 0);
    ASSERT(!slots_are_as_before(slots, 0, reservations)); /* nobody has found it full */
    ASSERT_ERROR(slots_reserve(slots, 0, slot_key(1, 3), &hint, &slot), -EBUSY);
    ASSERT(slots_are_as_before(slots, 0, reservations));
    (void)take(slots, 1, slot_key(1, 4), 102); /* another unit's */
    ASSERT(slots_are_as_before(slots, 0, reservations));
    (void)slots_release(slots, a);
    ASSERT(!slots_are_as_before(slots, 0, reservations));
    /* Taken by another, who finds it full then. */
    ASSERT_OK(slots_reserve(slots, 0, slot_key(2, 1), &hint, &slot));
    ASSERT_ERROR(slots_reserve(slots, 0, slot_key(2, 2), &hint, &slot), -EBUSY);
    ASSERT(!slots_are_as_before(slots, 0, reservations));
    ASSERT(slots_are_as_before(slots, 0, slots_reservations(slots, 0)));
    slots_free(slots);
}

TEST(a_freed_slot_is_clean)
{
    struct slots *slots = make(1, 0);
    const struct spawn_record zero = {0};

    for (int cancelled = 0; cancelled < 2; cancelled++) {
        uint32_t slot = take(slots, 0, slot_key(1, 1), 100);

        memset(&slots->records[slot], 0x55, sizeof(zero));
        slots->sources[slot] = 0x55;
        if (cancelled)
            slots_cancel(slots, slot);
        else
            (void)slots_release(slots, slot);
        ASSERT_INT(memcmp(&slots->records[slot], &zero, sizeof(zero)), 0);
        ASSERT_INT(slots->sources[slot], 0);
        ASSERT_INT(slots->owners[slot], 0);
    }
    slots_free(slots);
}

TEST(what_a_dead_server_reserved_is_reclaimed)
{
    struct slots *slots = make(4, 0);
    uint32_t hint = 0, living, unused, other, slot;

    living = take(slots, 0, slot_key(7, 1), 100);
    unused = take(slots, 0, slot_key(7, 2), 0);
    other = take(slots, 0, slot_key(8, 1), 0);
    ASSERT(!slots_reclaim(slots, 7));
    ASSERT_INT(slots->owners[unused], 0);
    ASSERT(slots->owners[living] == slot_key(7, 1)); /* its child lives */
    ASSERT(slots->owners[other] == slot_key(8, 1));  /* another server's */
    /* Again, with somebody waiting. */
    (void)take(slots, 0, slot_key(9, 1), 0);
    (void)take(slots, 0, slot_key(9, 2), 0);
    ASSERT_ERROR(slots_reserve(slots, 0, slot_key(8, 2), &hint, &slot), -EBUSY);
    ASSERT(!slots_reclaim(slots, 7));
    ASSERT(slots_reclaim(slots, 9));
    ASSERT_INT(slots_used(slots, 0), 2);
    slots_free(slots);
}

TEST(the_sleeper_is_woken_once)
{
    struct slots *slots = make(1, 0);

    ASSERT(!slots_wake_needed(slots));
    slots->header->supervisor_asleep = 1;
    ASSERT(slots_wake_needed(slots));
    ASSERT(!slots_wake_needed(slots));
    slots_free(slots);
}

/* ---- Processes at the same time -------------------------------------------------------------- */

#define N_SLOTS  3
#define N_ROUNDS 20000

struct arena {
    _Atomic uint32_t holders[N_SLOTS];
    _Atomic bool go;
    _Atomic uint64_t reserved[2];
};

static void hammer(struct slots *slots, struct arena *arena, uint32_t server)
{
    uint32_t hint = server, slot;

    while (!arena->go)
        (void)sched_yield();
    for (uint64_t i = 1; arena->reserved[server] < N_ROUNDS; i++) {
        uint64_t key = slot_key(server + 1, i);

        if (slots_reserve(slots, 0, key, &hint, &slot) < 0) {
            (void)sched_yield();
            continue;
        }
        ASSERT_INT(atomic_fetch_add(&arena->holders[slot], 1), 0);
        ASSERT(atomic_load(&slots->owners[slot]) == key);
        ASSERT_INT(atomic_load(&slots->records[slot].pid), 0);
        slots->records[slot].pid = (pid_t)server + 1;
        if (i % 8 == 0)
            (void)sched_yield(); /* on a single CPU too the other one finds it taken */
        ASSERT_INT(slots->records[slot].pid, server + 1);
        ASSERT(atomic_load(&slots->owners[slot]) == key);
        ASSERT_INT(atomic_fetch_sub(&arena->holders[slot], 1), 1);
        if (i % 2 == 0)
            (void)slots_release(slots, slot);
        else
            slots_cancel(slots, slot);
        arena->reserved[server]++;
    }
}

TEST(two_servers_never_own_the_same_slot)
{
    struct slots *slots = make(N_SLOTS - 1, 1);
    struct arena *arena =
        mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[2];

    ASSERT(arena != MAP_FAILED);
    (void)take(slots, 0, slot_key(9, 1), 1); /* leaves one: it is contended all the time */
    for (uint32_t i = 0; i < 2; i++) {
        pids[i] = fork();
        ASSERT_CALL(pids[i]);
        if (pids[i] == 0) {
            hammer(slots, arena, i);
            _exit(0);
        }
    }
    arena->go = true;
    for (int i = 0; i < 2; i++) {
        int status;

        ASSERT_INT(waitpid(pids[i], &status, 0), pids[i]);
        ASSERT_INT(status, 0);
    }
    ASSERT_INT(slots_used(slots, 0), 1);
    munmap(arena, sizeof(*arena));
    slots_free(slots);
}

/* Whoever found no slot is told of the next one that is freed: the flag never gets lost between
 * the two. */
TEST(a_waiting_server_is_always_told)
{
    struct slots *slots = make(1, 0);
    int poke[2];
    char byte;

    ASSERT_CALL(pipe2(poke, O_CLOEXEC));
    pid_t server = fork();
    ASSERT_CALL(server);
    if (server == 0) {
        uint32_t hint = 0, slot;

        close(poke[1]);
        for (uint64_t i = 1; i <= 20000; i++) {
            while (slots_reserve(slots, 0, slot_key(1, i), &hint, &slot) < 0)
                if (read(poke[0], &byte, 1) != 1)
                    _exit(1);
            slots->records[slot].pid = 1; /* now the supervisor's to free */
        }
        _exit(0);
    }
    close(poke[0]);
    int status;
    (void)alarm(60);
    while (waitpid(server, &status, WNOHANG) == 0)
        if (slots->records[0].pid != 0 && slots_release(slots, 0))
            (void)!write(poke[1], "x", 1);
    (void)alarm(0);
    ASSERT_INT(status, 0);
    close(poke[1]);
    slots_free(slots);
}

TEST(each_unit_has_its_windows)
{
    const struct slots_request requests[] = {{.n_slots = 1, .n_listeners = 2},
                                             {.n_slots = 1, .n_listeners = 3}};
    struct slots *slots;

    ASSERT_OK(slots_new(requests, 2, 1, &slots));
    ASSERT_INT(slots->units[0].n_polls, 2);
    ASSERT_INT(slots->units[1].first_poll, 2);
    ASSERT_INT(slots->units[1].n_polls, 3);
    slots->polls[4].count = 1; /* is in the memory */
    ASSERT_INT(slots->owners[0], 0);
    slots_free(slots);
}

TEST(handlers_that_move_have_a_slot_each)
{
    const struct slots_request requests[] = {{.n_slots = 1, .n_living = 1},
                                             {.n_slots = 2, .n_living = 5}};
    struct slots *from = make(3, 3), *to;
    uint32_t hints[2] = {0};
    bool seen[6] = {false};

    ASSERT_OK(slots_new(requests, 2, 1, &to));
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t slot = take(from, i / 3, slot_key(1, i), (pid_t)(100 + i)), unit = i != 2;

        from->sources[slot] = i + 1;
        uint32_t at = slots_move(to, unit, from, slot, &hints[unit]);

        ASSERT_INT(slots_unit_of(to, at), unit);
        ASSERT(!seen[at]);
        seen[at] = true;
        ASSERT_INT(to->records[at].pid, (pid_t)(100 + i));
        ASSERT(to->owners[at] == slot_key(1, i));
        ASSERT_INT(to->sources[at], i + 1);
    }
    ASSERT_INT(slots_used(to, 0), 1);
    ASSERT_INT(slots_used(to, 1), 5);
    slots_free(from);
    slots_free(to);
}

/* When the unit may be served again, as fork servers see it. */
static uint64_t avoided_until(const struct slots *slots, uint32_t unit)
{
    return slots->units[unit].avoid_usec;
}

TEST(a_unit_is_avoided_in_other_memory_too)
{
    const uint64_t now = 1000 * USEC_PER_SEC;
    struct slots *from = make(1, 1), *to = make(1, 2), *same = make(1, 1);

    for (int i = 0; i < 3; i++) {
        slots_avoid(from, 1, now);
        slots_avoid(same, 1, now);
    }
    slots_copy_counts(to, 0, from, 1);
    slots_copy_counts(to, 0, from, 0); /* of two that become one, the one that is avoided */
    ASSERT_INT(avoided_until(to, 0), avoided_until(from, 1));
    ASSERT_INT(avoided_until(to, 1), 0);
    /* The next time it is for longer still. */
    slots_avoid(same, 1, now + USEC_PER_SEC);
    slots_avoid(to, 0, now + USEC_PER_SEC);
    ASSERT_INT(avoided_until(to, 0), avoided_until(same, 1));
    slots_free(from);
    slots_free(to);
    slots_free(same);
}

TEST(refused_connections_are_news_once)
{
    struct slots *slots = make(1, 1);

    ASSERT(slots_count_refused(slots, 1));
    ASSERT(!slots_count_refused(slots, 1));
    ASSERT(slots_count_refused(slots, 0));
    atomic_store(&slots->units[1].refused_news, 0);
    ASSERT(slots_count_refused(slots, 1));
    ASSERT_INT(slots->units[1].refused, 3);
    slots_free(slots);
}
