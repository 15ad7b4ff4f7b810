/* SPDX-License-Identifier: MIT */
#include "supervisor/slots.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/cleanup.h"
#include "basic/clock.h"

#define AVOID_USEC        (1 * USEC_PER_SEC)
#define AVOID_MAX_USEC    (60 * USEC_PER_SEC)
#define AVOID_FORGET_USEC (3600 * USEC_PER_SEC)

static size_t align(size_t size)
{
    return (size + 63) & ~(size_t)63;
}

static void slots_cleanup(struct slots **slots)
{
    slots_free(*slots);
}

struct slots *slots_free(struct slots *slots)
{
    if (slots == NULL)
        return NULL;
    if (slots->header != NULL)
        (void)munmap(slots->header, slots->size);
    fd_close(slots->fd);
    free(slots);
    return NULL;
}

static int map_memory(struct slots *slots)
{
    void *memory = mmap(NULL, slots->size, PROT_READ | PROT_WRITE, MAP_SHARED, slots->fd, 0);

    if (memory == MAP_FAILED)
        return -errno;
    slots->header = memory;
    return 0;
}

static int create_memory(struct slots *slots)
{
    slots->fd = memfd_create("hark-slots", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (slots->fd < 0)
        return -errno;
    if (ftruncate(slots->fd, (off_t)slots->size) < 0)
        return -errno;
    return map_memory(slots);
}

static uint32_t size_of(const struct slots_request *request)
{
    return request->n_slots > request->n_living ? request->n_slots : request->n_living;
}

/* Gives each unit its ranges. */
static void divide(struct slots *slots, const struct slots_request *requests, uint32_t n_units)
{
    uint32_t first = 0, first_poll = 0;

    for (uint32_t i = 0; i < n_units; i++) {
        slots->units[i].first = first;
        slots->units[i].n = size_of(&requests[i]);
        slots->units[i].limit = requests[i].n_slots;
        slots->units[i].surplus = slots->units[i].n - requests[i].n_slots;
        slots->units[i].first_poll = first_poll;
        slots->units[i].n_polls = requests[i].n_listeners;
        first += slots->units[i].n;
        first_poll += requests[i].n_listeners;
    }
}

/* Where the parts are; the size of all. */
static size_t lay_out(const struct slots_header *numbers, struct slots *slots)
{
    char *base = (char *)slots->header;
    size_t units = align(sizeof(struct slots_header));
    size_t windows = units + align(numbers->n_units * sizeof(struct slots_unit));
    size_t polls = windows + align(numbers->n_servers * sizeof(struct slots_window));
    size_t owners = polls + align(numbers->n_listeners * sizeof(struct rate_window));
    size_t sources = owners + align(numbers->n_slots * sizeof(uint64_t));
    size_t records = sources + align(numbers->n_slots * sizeof(uint32_t));

    if (base != NULL) {
        slots->units = (void *)(base + units);
        slots->windows = (void *)(base + windows);
        slots->polls = (void *)(base + polls);
        slots->owners = (void *)(base + owners);
        slots->sources = (void *)(base + sources);
        slots->records = (void *)(base + records);
    }
    return records + numbers->n_slots * sizeof(struct spawn_record);
}

int slots_new(const struct slots_request *requests, uint32_t n_units, uint32_t n_servers,
              struct slots **ret_slots)
{
    cleanup(slots_cleanup) struct slots *slots = calloc(1, sizeof(*slots));
    uint64_t n_slots = 0, limits = 0, n_listeners = 0;

    if (slots == NULL)
        return -ENOMEM;
    slots->fd = -1;
    for (uint32_t i = 0; i < n_units; i++) {
        if (size_of(&requests[i]) == 0)
            return -EINVAL;
        n_slots += size_of(&requests[i]);
        limits += requests[i].n_slots;
        n_listeners += requests[i].n_listeners;
    }
    /* Those of units that are left come on top of the limits. */
    if (n_units == 0 || n_servers == 0 || n_servers > SERVERS_MAX || limits > SLOTS_MAX ||
        n_slots > 2 * SLOTS_MAX || n_listeners > SLOTS_MAX)
        return -EINVAL;
    const struct slots_header numbers = {
        .magic = SLOTS_MAGIC,
        .version = SLOTS_VERSION,
        .n_units = n_units,
        .n_servers = n_servers,
        .n_slots = (uint32_t)n_slots,
        .n_listeners = (uint32_t)n_listeners,
    };
    slots->size = lay_out(&numbers, slots);
    int r = create_memory(slots);
    if (r < 0)
        return r;
    *slots->header = numbers;
    (void)lay_out(&numbers, slots);
    divide(slots, requests, n_units);
    *ret_slots = take_pointer(&slots);
    return 0;
}

static bool is_ours(const struct slots_header *header)
{
    return memcmp(header->magic, SLOTS_MAGIC, sizeof(SLOTS_MAGIC)) == 0 &&
           header->version == SLOTS_VERSION && header->n_units > 0 &&
           header->n_units <= SLOTS_MAX && header->n_servers <= SERVERS_MAX &&
           header->n_slots <= 2 * SLOTS_MAX && header->n_listeners <= SLOTS_MAX;
}

int slots_attach(int fd, struct slots **ret_slots)
{
    struct slots slots = {.fd = fd};
    struct slots_header header;
    struct stat info;

    if (fstat(fd, &info) < 0 || pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
        !is_ours(&header))
        return -EINVAL;
    slots.size = lay_out(&header, &slots);
    if ((size_t)info.st_size != slots.size)
        return -EINVAL;
    struct slots *copy = malloc(sizeof(*copy));
    if (copy == NULL)
        return -ENOMEM;
    int r = map_memory(&slots);
    if (r < 0) {
        free(copy);
        return r;
    }
    (void)lay_out(&header, &slots);
    *copy = slots;
    *ret_slots = copy;
    return 0;
}

uint32_t slots_move(struct slots *to, uint32_t unit, struct slots *from, uint32_t slot,
                    uint32_t *hint)
{
    uint32_t at = to->units[unit].first + (*hint)++;

    memcpy(&to->records[at], &from->records[slot], sizeof(to->records[at]));
    atomic_store(&to->sources[at], atomic_load(&from->sources[slot]));
    /* How far it comes from now on it writes elsewhere, and it is not to be hurried from here. */
    if (atomic_load(&to->records[at].step) < SPAWN_EXEC)
        atomic_store(&to->records[at].step, SPAWN_EXEC);
    atomic_store(&to->owners[at], atomic_load(&from->owners[slot]));
    return at;
}

void slots_copy_counts(struct slots *to, uint32_t to_unit, const struct slots *from,
                       uint32_t from_unit)
{
    struct slots_unit *target = &to->units[to_unit];
    const struct slots_unit *source = &from->units[from_unit];

    if (atomic_load(&source->refused) > atomic_load(&target->refused))
        atomic_store(&target->refused, atomic_load(&source->refused));
    memcpy(&target->triggers, &source->triggers, sizeof(target->triggers));
    if (atomic_load(&source->avoid_usec) > atomic_load(&target->avoid_usec)) {
        atomic_store(&target->avoid_usec, atomic_load(&source->avoid_usec));
        target->n_avoided = source->n_avoided;
    }
}

void slots_copy_number(struct slots *to, uint32_t to_unit, const struct slots *from,
                       uint32_t from_unit)
{
    uint64_t number = atomic_load(&from->units[from_unit].instance);

    if (number > atomic_load(&to->units[to_unit].instance))
        atomic_store(&to->units[to_unit].instance, number);
}

uint32_t slots_unit_of(const struct slots *slots, uint32_t slot)
{
    uint32_t unit = 0;

    while (slot >= slots->units[unit].first + slots->units[unit].n)
        unit++;
    return unit;
}

bool slots_is_used(const struct slots *slots, uint32_t slot)
{
    uint64_t owner = atomic_load_explicit(&slots->owners[slot], memory_order_relaxed);

    return owner != 0 && owner != SLOT_CLOSED;
}

uint32_t slots_used(const struct slots *slots, uint32_t unit)
{
    const struct slots_unit *u = &slots->units[unit];
    uint32_t used = 0;

    for (uint32_t i = u->first; i < u->first + u->n; i++)
        used += slots_is_used(slots, i);
    return used;
}

static int try_reserve(struct slots *slots, struct slots_unit *unit, uint64_t key, uint32_t *hint)
{
    for (uint32_t i = 0; i < unit->n; i++) {
        uint32_t at = (*hint + i) % unit->n;
        uint64_t none = 0;

        if (atomic_load_explicit(&slots->owners[unit->first + at], memory_order_relaxed) != 0)
            continue;
        atomic_fetch_add(&unit->reservations, 1);
        if (atomic_compare_exchange_strong(&slots->owners[unit->first + at], &none, key)) {
            *hint = at + 1;
            return (int)(unit->first + at);
        }
    }
    return -EBUSY;
}

int slots_reserve(struct slots *slots, uint32_t unit, uint64_t key, uint32_t *hint,
                  uint32_t *ret_slot)
{
    struct slots_unit *u = &slots->units[unit];
    int slot = try_reserve(slots, u, key, hint);

    if (slot < 0) {
        /* Tell first, look again then: the supervisor frees first and looks at the flag then, so
         * one of us sees the other. */
        atomic_store(&u->full, 1);
        slot = try_reserve(slots, u, key, hint);
        if (slot < 0)
            return slot;
    }
    *ret_slot = (uint32_t)slot;
    return 0;
}

uint32_t slots_reservations(const struct slots *slots, uint32_t unit)
{
    return atomic_load(&slots->units[unit].reservations);
}

bool slots_are_as_before(const struct slots *slots, uint32_t unit, uint32_t reservations)
{
    return atomic_load(&slots->units[unit].full) != 0 &&
           slots_reservations(slots, unit) == reservations;
}

static void give_back(struct slots *slots, uint32_t slot, uint64_t owner)
{
    atomic_store(&slots->sources[slot], 0);
    memset(&slots->records[slot], 0, sizeof(slots->records[slot]));
    atomic_store(&slots->owners[slot], owner);
}

void slots_cancel(struct slots *slots, uint32_t slot)
{
    give_back(slots, slot, 0);
}

bool slots_wake_needed(struct slots *slots)
{
    return atomic_load(&slots->header->supervisor_asleep) != 0 &&
           atomic_exchange(&slots->header->supervisor_asleep, 0) != 0;
}

bool slots_count_refused(struct slots *slots, uint32_t unit)
{
    struct slots_unit *u = &slots->units[unit];

    atomic_fetch_add(&u->refused, 1);
    return atomic_exchange(&u->refused_news, 1) == 0;
}

void slots_avoid(struct slots *slots, uint32_t unit, uint64_t now_usec)
{
    struct slots_unit *u = &slots->units[unit];

    if (now_usec > atomic_load(&u->avoid_usec) + AVOID_FORGET_USEC)
        u->n_avoided = 0;
    uint64_t pause = AVOID_USEC << (u->n_avoided < 6 ? u->n_avoided : 6);
    u->n_avoided++;
    atomic_store(&u->avoid_usec, now_usec + (pause < AVOID_MAX_USEC ? pause : AVOID_MAX_USEC));
}

bool slots_release(struct slots *slots, uint32_t slot)
{
    struct slots_unit *unit = &slots->units[slots_unit_of(slots, slot)];

    if (unit->surplus > 0) {
        unit->surplus--;
        give_back(slots, slot, SLOT_CLOSED);
        return false;
    }
    slots_cancel(slots, slot);
    return atomic_load(&unit->full) != 0 && atomic_exchange(&unit->full, 0) != 0;
}

bool slots_reclaim(struct slots *slots, uint32_t incarnation)
{
    bool waited_for = false;

    for (uint32_t i = 0; i < slots->header->n_slots; i++)
        if (slot_key_incarnation(atomic_load(&slots->owners[i])) == incarnation &&
            atomic_load(&slots->records[i].pid) == 0)
            waited_for |= slots_release(slots, i);
    return waited_for;
}
