/* SPDX-License-Identifier: MIT */
/*
 * The shared memory between the supervisor and its fork servers: one slot per running handler.
 *
 * A unit's connection limit is its number of slots: reserving one is the limit's check, and nothing
 * is counted twice or forgotten, whoever dies when. A slot goes through
 *
 *   free       owner 0, source and record all zero
 *   reserved   a fork server put its key into owner; record.pid is still 0
 *   taken      the kernel wrote record.pid when the child was created, before it ran
 *   free       the supervisor waited for the child and cleared source and record, then the owner
 *
 * Only fork servers reserve, and only the supervisor frees a taken slot. A server that is killed
 * between the first two leaves a reserved slot without a pid; once that server has been waited for
 * there can be no child any more, so the supervisor frees it then.
 *
 * The memory is a memfd with a header, so that it can be handed to another image of the program.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libhark/spawn.h"
#include "supervisor/rate-window.h"

#define SLOTS_MAX     65536 /* of all limits together */
#define SERVERS_MAX   256   /* SOCKET_FORK_SERVERS_MAX, too */
#define SLOTS_VERSION 4
#define SLOTS_MAGIC   "hark-sl"

/* Which incarnation of a fork server reserved a slot, and its how-many-th reservation that was.
 * Never 0, never used twice: incarnations are numbered from 1 for the life of the supervisor. */
static inline uint64_t slot_key(uint32_t incarnation, uint64_t sequence)
{
    return (uint64_t)incarnation << 40 | (sequence & 0xffffffffff);
}

static inline uint32_t slot_key_incarnation(uint64_t key)
{
    return (uint32_t)(key >> 40);
}

struct slots_unit {
    uint32_t first, n;            /* its range of slots */
    uint32_t first_poll, n_polls; /* its range of polls: one per listener */
    uint32_t limit;               /* what was asked for */
    uint32_t surplus; /* more handlers live than the limit is now: so many slots are closed when
                         they become free */
    _Atomic uint32_t full;      /* a server found no free slot and waits to be poked */
    _Atomic uint32_t unhurried; /* nobody stands still for its children: they may take time */
    _Atomic uint32_t
        refused_news; /* more were refused than the supervisor knows (slots_count_refused()) */
    _Atomic uint32_t reservations; /* counted before each */
    _Atomic uint64_t instance;     /* number of the next connection or start */
    _Atomic uint64_t refused;      /* connections that were closed because of a limit */
    struct rate_window triggers;
    _Atomic uint64_t avoid_usec; /* servers leave it alone until then; 0 */
    uint32_t n_avoided;          /* the supervisor's: how often that was so */
};

/* What a server does right now that may keep it: it creates a child, and stands still until that
 * one's program runs; or it looks at the files that a unit's plan and conditions are about. */
struct slots_window {
    _Atomic uint64_t start_usec; /* 0: neither */
    _Atomic uint32_t slot;       /* of the child; SLOT_NONE: none, it looks … */
    _Atomic uint32_t unit;       /* … for this one */
};

struct slots_header {
    char magic[8];
    uint32_t version, n_units, n_servers, n_slots, n_listeners;
    /* The supervisor's looks at its children: what ended before one began is free when that is
     * done. */
    _Atomic uint64_t looks_begun, looks_done;
    _Atomic uint32_t
        supervisor_asleep; /* whoever takes a slot must wake it (slots_wake_needed()) */
};

struct slots {
    int fd;
    size_t size;
    struct slots_header *header;
    struct slots_unit *units;
    struct slots_window *windows; /* one per server */
    struct rate_window *polls;    /* one per listener */
    _Atomic uint64_t *owners;     /* one per slot, together, because they are searched */
    _Atomic uint32_t *sources;    /* … and so are these: struct spawn_records */
    struct spawn_record *records;
};

#define SLOT_NONE UINT32_MAX

/* The owner of a slot that nobody may take: see surplus. */
#define SLOT_CLOSED UINT64_MAX

/* What a unit needs: its limit (0 for one that only has handlers left), and room for those that
 * live already and will be moved in. */
struct slots_request {
    uint32_t n_slots, n_living, n_listeners;
};

/* -EINVAL when a unit has no slot at all (but for listeners) or too large, -ENOMEM, or an errno of
 * memfd_create(2), ftruncate(2). */
int slots_new(const struct slots_request *requests, uint32_t n_units, uint32_t n_servers,
              struct slots **ret_slots);
/* The memory that an earlier image of the program has left. fd is the slots' on success. -EINVAL
 * for what is no such memory, or another version's. */
int slots_attach(int fd, struct slots **ret_slots);
struct slots *slots_free(struct slots *slots);

/* Moves a handler into another memory: its unit's part of that has room. Nobody else may use
 * either, but a child that has not become its program may write to its record still: former-slots.h
 * is about those. *hint is the unit's, 0 at first. The slot it has there. */
uint32_t slots_move(struct slots *to, uint32_t unit, struct slots *from, uint32_t slot,
                    uint32_t *hint);
/* A unit's counts and windows, which go on, and until when it is avoided; of two that become one,
 * the greater ones. */
void slots_copy_counts(struct slots *to, uint32_t to_unit, const struct slots *from,
                       uint32_t from_unit);
/* What is started of to_unit has no number that from_unit has had. */
void slots_copy_number(struct slots *to, uint32_t to_unit, const struct slots *from,
                       uint32_t from_unit);

/* The unit a slot belongs to. */
uint32_t slots_unit_of(const struct slots *slots, uint32_t slot);
/* Whether it is reserved or taken. */
bool slots_is_used(const struct slots *slots, uint32_t slot);
/* How many of the unit are. */
uint32_t slots_used(const struct slots *slots, uint32_t unit);

/* Fork server: takes a free slot of the unit, searching from *hint, which moves on. -EBUSY: none,
 * and the unit is marked full, so that the supervisor pokes the servers when it frees one. */
int slots_reserve(struct slots *slots, uint32_t unit, uint64_t key, uint32_t *hint,
                  uint32_t *ret_slot);
/* How many reservations of the unit there have been, and whether there was none since so many and,
 * after slots_reserve() found none free, none became free: then all is as it was. */
uint32_t slots_reservations(const struct slots *slots, uint32_t unit);
bool slots_are_as_before(const struct slots *slots, uint32_t unit, uint32_t reservations);
/* Fork server: gives back a slot for which no child was created. */
void slots_cancel(struct slots *slots, uint32_t slot);
/* Fork server: true once when the supervisor sleeps and must be told of new children. */
bool slots_wake_needed(struct slots *slots);

/* Counts a connection that was refused; true once until the supervisor has looked. */
bool slots_count_refused(struct slots *slots, uint32_t unit);

/* Supervisor: the unit has cost a fork server, so it is left alone for a second, and each time for
 * longer, up to a minute; after an hour it begins anew. */
void slots_avoid(struct slots *slots, uint32_t unit, uint64_t now_usec);

/* Supervisor: frees the slot; true when servers wait for a slot of its unit. */
bool slots_release(struct slots *slots, uint32_t slot);
/* Supervisor: frees what a dead incarnation had reserved but not used; true when servers wait. */
bool slots_reclaim(struct slots *slots, uint32_t incarnation);
