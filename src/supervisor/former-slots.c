/* SPDX-License-Identifier: MIT */
#include "supervisor/former-slots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "supervisor/process-stat.h"
#include "supervisor/waiting-state.h"

struct writer {
    uint32_t before, now; /* its slots */
};

struct former_slots {
    struct slots *slots;
    struct writer *writers;
    uint32_t n_writers;
    struct former_slots *next;
};

static struct former_slots *free_one(struct former_slots *former)
{
    struct former_slots *next = former->next;

    slots_free(former->slots);
    free(former->writers);
    free(former);
    return next;
}

struct former_slots *former_slots_free(struct former_slots *list)
{
    while (list != NULL)
        list = free_one(list);
    return NULL;
}

static struct writer *find(struct former_slots *former, uint32_t slot)
{
    for (uint32_t i = 0; i < former->n_writers; i++)
        if (former->writers[i].now == slot)
            return &former->writers[i];
    return NULL;
}

/* It writes where it was born, however often it has been moved since. */
static bool is_known(struct former_slots *list, uint32_t slot)
{
    for (; list != NULL; list = list->next)
        if (find(list, slot) != NULL)
            return true;
    return false;
}

/* One that has ended, but was not waited for, too: its last words may be newer than the move. */
static bool may_write(const struct slots *slots, uint32_t slot)
{
    return !process_has_executed(atomic_load(&slots->records[slot].pid));
}

/* From one unit's slots. */
static void add_writers(struct former_slots *former, uint32_t unit, const uint32_t *map,
                        const struct known_child *known)
{
    const struct slots *from = former->slots;
    const struct slots_unit *u = &from->units[unit];
    bool all = atomic_load(&u->unhurried) != 0;

    for (uint32_t i = u->first; i < u->first + u->n; i++)
        if (slots_is_used(from, i) && (all || known[i].key == 0 || known[i].pidfd < 0) &&
            !is_known(former->next, i) && may_write(from, i))
            former->writers[former->n_writers++] = (struct writer){.before = i, .now = map[i]};
}

static int add_one(struct former_slots **list, struct slots *from, const uint32_t *map,
                   const struct known_child *known)
{
    struct former_slots *former = malloc(sizeof(*former));
    struct writer *writers = calloc(from->header->n_slots, sizeof(*writers));

    if (former == NULL || writers == NULL) {
        free(former);
        free(writers);
        return -ENOMEM;
    }
    *former = (struct former_slots){.slots = from, .writers = writers, .next = *list};
    for (uint32_t i = 0; i < from->header->n_units; i++)
        add_writers(former, i, map, known);
    *list = former;
    return 0;
}

/* Those that are left of it are elsewhere now. */
static void follow(struct former_slots *former, const uint32_t *map)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < former->n_writers; i++) {
        const struct writer *writer = &former->writers[i];

        if (may_write(former->slots, writer->before))
            former->writers[kept++] =
                (struct writer){.before = writer->before, .now = map[writer->now]};
    }
    former->n_writers = kept;
}

static void drop_unused(struct former_slots **list)
{
    while (*list != NULL)
        if ((*list)->n_writers == 0)
            *list = free_one(*list);
        else
            list = &(*list)->next;
}

int former_slots_add(struct former_slots **list, struct slots *from, const uint32_t *map,
                     const struct known_child *known)
{
    int r = add_one(list, from, map, known);

    if (r < 0)
        return r;
    for (struct former_slots *former = (*list)->next; former != NULL; former = former->next)
        follow(former, map);
    drop_unused(list);
    return 0;
}

void former_slots_end(struct former_slots **list, struct slots *slots, uint32_t slot)
{
    for (struct former_slots *former = *list; former != NULL; former = former->next) {
        struct writer *writer = find(former, slot);

        if (writer == NULL)
            continue;
        memcpy(&slots->records[slot], &former->slots->records[writer->before],
               sizeof(slots->records[slot]));
        *writer = former->writers[--former->n_writers];
        break;
    }
    drop_unused(list);
}
