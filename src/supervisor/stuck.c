/* SPDX-License-Identifier: MIT */
/* The one-second rule: who does not become its program, or looks at files that do not answer. */
#include <signal.h>

#include "basic/clock.h"
#include "supervisor/process-stat.h"
#include "supervisor/waiting-state.h"

#define STUCK_USEC   (1 * USEC_PER_SEC)
#define STARVED_USEC (10 * USEC_PER_SEC)  /* for who could run, if there were a processor */
#define GAP_USEC     (50 * USEC_PER_MSEC) /* between two looks no more than that counts */

void waiting_watch_time(struct waiting *waiting)
{
    uint64_t now = monotonic_usec(), passed = now - waiting->look_usec;

    waiting->watched_usec += passed < GAP_USEC ? passed : GAP_USEC;
    waiting->look_usec = now;
}

/* ---- Children -------------------------------------------------------------------------------- */

/* Its creator, when that waits for it: in the state of vfork(2), not stopped by somebody after it.
 */
static pid_t find_waiting_creator(const struct waiting *waiting, uint32_t slot)
{
    const struct slots *slots = waiting->slots;

    for (uint32_t i = 0; i < slots->header->n_servers; i++)
        if (atomic_load(&slots->windows[i].start_usec) != 0 &&
            atomic_load(&slots->windows[i].slot) == slot) {
            pid_t pid = waiting->callbacks.server_pid(waiting->callbacks.userdata, i);
            return process_state(pid) == 'D' ? pid : 0;
        }
    return 0;
}

bool waiting_is_half_made(const struct waiting *waiting, uint32_t slot)
{
    const struct slots *slots = waiting->slots;

    return (atomic_load(&slots->records[slot].step) < SPAWN_EXEC &&
            atomic_load(&slots->units[slots_unit_of(slots, slot)].unhurried) == 0) ||
           find_waiting_creator(waiting, slot) > 0;
}

static void signal_child(const struct spawn_record *record, int signal_number)
{
    pid_t pid = atomic_load(&record->pid);

    if (pid > 0)
        (void)kill(pid, signal_number);
}

/* Waiting for a connection on a listener that blocks? An interrupted accept(2) has taken none, so
 * SIGURG loses nothing, where a kill could. Who is still there a second after is stopped or stuck.
 */
static bool has_left_accept(struct waiting *waiting, struct young *young)
{
    const struct spawn_record *record = &waiting->slots->records[young->slot];

    if (atomic_load(&record->step) != SPAWN_ACCEPT)
        return true;
    if (young->interrupted_usec == 0)
        young->interrupted_usec = waiting->watched_usec;
    signal_child(record, SIGURG);
    return waiting->watched_usec - young->interrupted_usec > STUCK_USEC;
}

/* A connection is lost with it, so not one that is ready to run and only gets no processor. */
static bool is_stuck(const struct waiting *waiting, const struct young *young)
{
    uint64_t stood = waiting->watched_usec - young->since_usec;

    return stood > STUCK_USEC && waiting_is_half_made(waiting, young->slot) &&
           (stood > STARVED_USEC ||
            process_state(atomic_load(&waiting->slots->records[young->slot].pid)) != 'R');
}

void waiting_hurry(struct waiting *waiting, struct young *young)
{
    uint32_t slot = young->slot;

    if (young->killed_usec == 0) {
        if (!has_left_accept(waiting, young) || !is_stuck(waiting, young))
            return;
        signal_child(&waiting->slots->records[slot], SIGKILL);
        waiting->callbacks.on_stuck(waiting->callbacks.userdata, slot);
        young->killed_usec = waiting->watched_usec;
    }
    /* SIGKILL does not end it; its creator can be ended. */
    if (waiting->watched_usec - young->killed_usec > STUCK_USEC) {
        pid_t creator = find_waiting_creator(waiting, slot);
        if (creator > 0) {
            (void)kill(creator, SIGKILL);
            slots_avoid(waiting->slots, slots_unit_of(waiting->slots, slot), monotonic_usec());
        }
    }
}

bool waiting_is_beyond_help(const struct waiting *waiting, const struct young *young)
{
    return young->killed_usec != 0 && waiting->watched_usec > young->killed_usec + STUCK_USEC;
}

/* ---- Fork servers ---------------------------------------------------------------------------- */

bool waiting_hurry_servers(struct waiting *waiting)
{
    const struct waiting_callbacks *callbacks = &waiting->callbacks;
    struct slots *slots = waiting->slots;
    uint64_t now = monotonic_usec();
    bool some = false;

    for (uint32_t i = 0; i < slots->header->n_servers; i++) {
        uint64_t start = atomic_load(&slots->windows[i].start_usec);
        uint32_t unit = atomic_load(&slots->windows[i].unit);
        struct preparing *preparing = &waiting->preparing[i];
        pid_t pid = callbacks->server_pid(callbacks->userdata, i);

        if (start == 0 || atomic_load(&slots->windows[i].slot) != SLOT_NONE || pid <= 0)
            continue;
        some = true;
        if (preparing->start_usec != start)
            *preparing = (struct preparing){start, waiting->watched_usec};
        if (waiting->watched_usec - preparing->since_usec < STUCK_USEC ||
            unit >= slots->header->n_units)
            continue;
        if (now > atomic_load(&slots->units[unit].avoid_usec)) {
            slots_avoid(slots, unit, now);
            callbacks->on_stuck_server(callbacks->userdata, pid, unit);
        }
        (void)kill(pid, SIGKILL);
    }
    return some;
}
