/* SPDX-License-Identifier: MIT */
/*
 * A reload (SIGHUP): the units are read again, and what they say now is served instead.
 *
 *   NONE --read, and good--> STARTING   sockets that are new are made, with their commands
 *     STARTING --all listen--> RENEWING     the fork servers are replaced one by one
 *                         or > EMPTYING     … all at once, because the slots are divided anew
 *     EMPTYING --no server--> RENEWING
 *     RENEWING --all ready--> NONE
 *
 * Until all new sockets listen nothing has changed, and a failure leaves everything as it was. A
 * listener that is wanted as before is handed over as it is; connections wait in its backlog while
 * there is no server. Running handlers stay the supervisor's children, and in the slots of their
 * unit; the number of slots may change, so that they move, which is only possible while nobody else
 * writes there: fork servers, or children that are half-made. One that is stuck is killed after a
 * second, and not waited for when even that does not end it; the servers leave after that, so that
 * all others are served meanwhile.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "supervisor/supervisor-state.h"

#define HALF_MADE_USEC (5 * USEC_PER_MSEC)
/* For children that are stuck, with servers that serve: others may get stuck meanwhile. */
#define PATIENCE_USEC (3 * USEC_PER_SEC)

static void renew(struct supervisor *supervisor);
static void start_next_socket(struct supervisor *supervisor);

/* ---- What is not served any more ------------------------------------------------------------- */

static int on_sweep(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct supervisor *supervisor = userdata;

    (void)source;
    (void)usec;
    for (struct serving **at = &supervisor->gone; *at != NULL;) {
        struct serving *gone = *at;

        if (!serving_is_stopped(gone)) {
            at = &gone->next;
            continue;
        }
        void *owner = gone->owner;
        *at = gone->next;
        serving_done(gone);
        free(gone);
        if (owner != NULL)
            supervisor->options.release(supervisor->options.userdata, owner);
    }
    if (supervisor->gone == NULL && supervisor->reload.state == RELOAD_NONE)
        supervisor_end_reload(supervisor, false); /* one that waited for this */
    supervisor_end_if_done(supervisor);
    return 0;
}

/* Not at once: a socket that has just stopped is still in the middle of saying so. */
static void sweep_soon(struct supervisor *supervisor)
{
    struct reload *reload = &supervisor->reload;

    if (reload->sweeper == NULL)
        (void)sd_event_add_time_relative(supervisor->event, &reload->sweeper, CLOCK_MONOTONIC, 0,
                                         USEC_PER_MSEC, on_sweep, supervisor);
    else
        (void)sd_event_source_set_enabled(reload->sweeper, SD_EVENT_ONESHOT);
}

/* Its sockets stop, and all of it is freed then. Without memory it stays, which harms nobody. */
static void let_go(struct supervisor *supervisor, struct serving *serving)
{
    struct serving *gone = malloc(sizeof(*gone));

    if (gone == NULL)
        return;
    *gone = *serving;
    *serving = (struct serving){0};
    gone->next = supervisor->gone;
    supervisor->gone = gone;
    for (uint32_t i = 0; i < gone->n_sockets; i++)
        unit_socket_stop(gone->sockets[i]);
    sweep_soon(supervisor);
}

bool supervisor_reload_has_pid(const struct supervisor *supervisor, pid_t pid)
{
    for (uint32_t i = 0; i < supervisor->next.n_sockets; i++)
        if (commands_pid(supervisor->next.sockets[i]->running) == pid)
            return true;
    for (const struct serving *gone = supervisor->gone; gone != NULL; gone = gone->next)
        for (uint32_t i = 0; i < gone->n_sockets; i++)
            if (commands_pid(gone->sockets[i]->running) == pid)
                return true;
    return false;
}

/* ---- Begin and end --------------------------------------------------------------------------- */

void supervisor_tell_reloading(struct supervisor *supervisor)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, monotonic_usec());
    notify_state(supervisor->notify, text);
}

void supervisor_end_reload(struct supervisor *supervisor, bool done)
{
    struct reload *reload = &supervisor->reload;
    bool again = reload->again;

    reload->waiter = sd_event_source_disable_unref(reload->waiter);
    if (reload->state != RELOAD_NONE) {
        reload->state = RELOAD_NONE;
        if (done)
            log_event(&(const struct log_event){.level = LOG_NOTICE, .id = MESSAGE_RELOADED},
                      "reloaded");
        else
            log_event(&(const struct log_event){.level = LOG_ERR, .id = MESSAGE_RELOAD_REFUSED},
                      "reload failed: everything stays as it was");
        notify_state(supervisor->notify, "READY=1");
        notify_store_later(supervisor->notify);
        supervisor_report_state(supervisor);
        log_tap_end();
        control_tell_reload(supervisor->control, done, false);
        log_tap_done(&reload->tap);
    }
    reload->again = false;
    if (again)
        supervisor_reload(supervisor);
    else if (supervisor->upgrade.wanted)
        supervisor_upgrade(supervisor);
}

/* Nothing has changed yet. */
static void fail(struct supervisor *supervisor)
{
    for (uint32_t i = 0; i < supervisor->now.n_sockets; i++)
        unit_socket_forget_heirs(supervisor->now.sockets[i]);
    let_go(supervisor, &supervisor->next);
    supervisor_end_reload(supervisor, false);
}

void supervisor_abort_reload(struct supervisor *supervisor)
{
    struct reload *reload = &supervisor->reload;

    if (reload->state == RELOAD_STARTING || reload->state == RELOAD_EMPTYING)
        let_go(supervisor, &supervisor->next);
    reload->waiter = sd_event_source_disable_unref(reload->waiter);
    reload->again = false;
    if (reload->state == RELOAD_NONE)
        return;
    reload->state = RELOAD_NONE;
    log_tap_end();
    control_tell_reload(supervisor->control, false, true);
    log_tap_done(&reload->tap);
}

/* ---- From old to new ------------------------------------------------------------------------- */

/* Every unit of now has the same slots in next. */
static bool has_same_slots(const struct supervisor *supervisor)
{
    const struct serving *now = &supervisor->now, *next = &supervisor->next;

    if (now->n_units != next->n_units)
        return false;
    for (uint32_t i = 0; i < now->n_units; i++) {
        const struct slots_unit *slots = &supervisor->slots->units[i];

        if (strcmp(now->units[i]->name, next->units[i]->name) != 0 ||
            now->units[i]->config.accept != next->units[i]->config.accept ||
            slots->n != next->units[i]->max_connections || slots->n != slots->limit ||
            slots->n_polls != unit_count_listeners(next->units[i]))
            return false;
    }
    return true;
}

/* The same unit in next, or itself when it is kept there. */
static struct unit *find_heir(const struct supervisor *supervisor, const struct unit *unit)
{
    const struct serving *next = &supervisor->next;

    for (uint32_t i = 0; i < next->n_units; i++)
        if (strcmp(next->units[i]->name, unit->name) == 0 &&
            next->units[i]->config.accept == unit->config.accept)
            return next->units[i];
    return NULL;
}

/* Units that are gone but for their handlers, which end in their own time, go to the end of next.
 */
static int keep_those_with_handlers(struct supervisor *supervisor)
{
    struct serving *now = &supervisor->now;

    for (uint32_t i = 0; i < now->n_units; i++) {
        int r = 0;

        if (find_heir(supervisor, now->units[i]) == NULL && slots_used(supervisor->slots, i) > 0)
            r = serving_keep_unit(&supervisor->next, now->units[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Takes that back. */
static void keep_none(struct supervisor *supervisor)
{
    struct serving *now = &supervisor->now, *next = &supervisor->next;

    next->n_units -= next->n_leaving;
    next->n_leaving = 0;
    for (uint32_t i = 0; i < now->n_units; i++) {
        now->units[i]->index = i;
        now->units[i]->is_leaving = i >= now->n_units - now->n_leaving;
    }
}

/* Where the unit of a number now will be, and how many handlers will be there. */
static void map_units(const struct supervisor *supervisor, uint32_t *map, uint32_t *living)
{
    const struct serving *now = &supervisor->now;

    for (uint32_t i = 0; i < now->n_units; i++) {
        const struct unit *heir = find_heir(supervisor, now->units[i]);

        map[i] = heir != NULL ? heir->index : UINT32_MAX;
        if (heir != NULL)
            living[heir->index] += slots_used(supervisor->slots, i);
    }
}

/* Fills map: where each slot of before is then. units: where each unit is. */
static int move_slots(struct slots *slots, struct slots *before, const uint32_t *units,
                      uint32_t *map)
{
    cleanup_free uint32_t *hints = calloc(slots->header->n_units, sizeof(*hints));

    if (hints == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < before->header->n_units; i++) {
        const struct slots_unit *unit = &before->units[i];

        for (uint32_t slot = unit->first; slot < unit->first + unit->n; slot++)
            if (slots_is_used(before, slot))
                map[slot] = slots_move(slots, units[i], before, slot, &hints[units[i]]);
        if (units[i] != UINT32_MAX)
            slots_copy_counts(slots, units[i], before, i);
    }
    return 0;
}

/* Also from a unit to its template and back (Accept=): they are reported under the same name. */
static void continue_numbers(const struct supervisor *supervisor, struct slots *slots)
{
    const struct serving *now = &supervisor->now, *next = &supervisor->next;

    for (uint32_t i = 0; i < now->n_units; i++)
        for (uint32_t j = 0; j < next->n_units; j++)
            if (strcmp(now->units[i]->name, next->units[j]->name) == 0)
                slots_copy_number(slots, j, supervisor->slots, i);
}

/* Puts the handlers into their places in new memory. That of before is ours no more then. */
static int move_handlers(struct supervisor *supervisor, struct slots *slots, const uint32_t *units)
{
    struct slots *before = supervisor->slots;
    uint32_t n = before->header->n_slots;
    cleanup_free uint32_t *map = calloc(n, sizeof(*map));
    cleanup_free uint64_t *told = calloc(slots->header->n_slots, sizeof(*told));

    if (map == NULL || told == NULL)
        return -ENOMEM;
    continue_numbers(supervisor, slots);
    int r = move_slots(slots, before, units, map);
    if (r >= 0)
        r = waiting_move(supervisor->waiting, slots, map);
    if (r < 0)
        return r;
    free(supervisor->told);
    supervisor->told = take_pointer(&told);
    return 0;
}

/* Nobody but us uses the slots. */
static int divide_anew(struct supervisor *supervisor)
{
    uint32_t most = supervisor->now.n_units + supervisor->next.n_units;
    cleanup_free uint32_t *map = calloc(most, sizeof(*map));
    cleanup_free uint32_t *living = calloc(most, sizeof(*living));
    struct slots *slots;

    if (map == NULL || living == NULL)
        return -ENOMEM;
    int r = keep_those_with_handlers(supervisor);
    map_units(supervisor, map, living);
    if (r >= 0)
        r = supervisor_divide_slots(supervisor, &supervisor->next, living, &slots);
    if (r >= 0) {
        r = move_handlers(supervisor, slots, map);
        if (r < 0)
            slots_free(slots);
    }
    if (r < 0) {
        keep_none(supervisor);
        return r;
    }
    supervisor->slots = slots;
    server_pool_set_slots(supervisor->pool, slots);
    return 0;
}

/* A service goes on in the unit of the same name: its program may be running. So do its numbers. */
static void hand_over_units(struct supervisor *supervisor)
{
    for (uint32_t i = 0; i < supervisor->now.n_units; i++) {
        struct unit *unit = supervisor->now.units[i];
        struct unit *heir = find_heir(supervisor, unit);

        if (heir != NULL && heir != unit && !unit->is_leaving)
            heir->statistics = unit->statistics;
        if (heir != NULL && heir != unit && unit->service != NULL && heir->service == NULL)
            heir->service = take_pointer(&unit->service);
    }
}

static void hand_over_sockets(struct supervisor *supervisor)
{
    struct serving *now = &supervisor->now, *next = &supervisor->next;

    for (uint32_t i = 0; i < next->n_sockets; i++)
        for (uint32_t j = 0; j < now->n_sockets; j++)
            unit_socket_take_over(next->sockets[i], now->sockets[j]);
    for (uint32_t i = 0; i < now->n_sockets; i++) {
        struct unit_socket *heir = serving_find_socket(next, now->sockets[i]->name);

        if (heir != NULL)
            unit_socket_continue(now->sockets[i], heir);
    }
    for (uint32_t i = 0; i < next->n_sockets; i++)
        unit_socket_serve(next->sockets[i]);
}

/* A listener may go from one service to another: nobody watches it twice. */
static void forget_traffic(const struct serving *serving)
{
    for (uint32_t i = 0; i < serving->n_units; i++)
        if (serving->units[i]->service != NULL)
            service_forget_listeners(serving->units[i]->service);
}

/* Units and listeners that cannot be watched serve still, as far as others start them. */
static void watch_all(struct supervisor *supervisor)
{
    for (uint32_t i = 0; i < supervisor->now.n_units; i++) {
        struct unit *unit = supervisor->now.units[i];

        if (unit->is_leaving) {
            if (unit->service != NULL)
                service_stop(unit->service);
            continue;
        }
        int r = supervisor_prepare_service(supervisor, unit);
        if (r >= 0)
            r = supervisor_watch_traffic(unit);
        if (r < 0)
            log_error("cannot set up \"%s\" after a reload: %s", unit->name, strerror(-r));
    }
    for (uint32_t i = 0; i < supervisor->now.n_sockets; i++) {
        int r = supervisor_watch_listeners(supervisor, supervisor->now.sockets[i]);

        if (r < 0)
            log_error("cannot watch over \"%s\" after a reload: %s",
                      supervisor->now.sockets[i]->name, strerror(-r));
    }
}

/* What was served before is what next has not taken over. */
static struct serving swap(struct supervisor *supervisor)
{
    struct serving before = supervisor->now;

    hand_over_units(supervisor);
    for (uint32_t i = 0; i < before.n_units; i++)
        if (find_heir(supervisor, before.units[i]) == before.units[i])
            before.units[i] = NULL;
    supervisor->now = supervisor->next;
    supervisor->next = (struct serving){0};
    return before;
}

/* From here on the new is what is served. */
static void commit(struct supervisor *supervisor)
{
    forget_traffic(&supervisor->now);
    hand_over_sockets(supervisor);
    struct serving before = swap(supervisor);
    watch_all(supervisor);
    let_go(supervisor, &before);
    supervisor->reload.state = RELOAD_RENEWING;
}

int supervisor_succeed(struct supervisor *supervisor)
{
    int r = divide_anew(supervisor);

    if (r < 0)
        return r;
    struct serving before = swap(supervisor);
    serving_done(&before);
    return 0;
}

static int on_half_made(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct supervisor *supervisor = userdata;

    (void)source;
    (void)usec;
    supervisor->reload.waiter = sd_event_source_disable_unref(supervisor->reload.waiter);
    waiting_look(supervisor->waiting);
    if (supervisor->reload.state == RELOAD_STARTING)
        start_next_socket(supervisor);
    else
        renew(supervisor);
    return 0;
}

static void look_soon(struct supervisor *supervisor)
{
    (void)sd_event_add_time_relative(supervisor->event, &supervisor->reload.waiter, CLOCK_MONOTONIC,
                                     HALF_MADE_USEC, USEC_PER_MSEC, on_half_made, supervisor);
}

/* No server is there any more. */
static void renew(struct supervisor *supervisor)
{
    struct reload *reload = &supervisor->reload;

    if (reload->state != RELOAD_EMPTYING || reload->waiter != NULL)
        return;
    if (waiting_has_half_made(supervisor->waiting)) {
        look_soon(supervisor);
        return;
    }
    int divided = divide_anew(supervisor);
    if (divided >= 0)
        commit(supervisor);
    else
        log_error("cannot divide the slots anew: %s", strerror(-divided));
    int r = server_pool_start(supervisor->pool);
    if (r < 0)
        log_error("cannot start fork servers after a reload: %s; trying again", strerror(-r));
    if (divided < 0)
        fail(supervisor);
}

/* Servers that left now would leave everybody waiting until a child that is stuck has been killed.
 */
static bool is_held_up(struct supervisor *supervisor)
{
    struct reload *reload = &supervisor->reload;

    if (reload->waiter != NULL)
        return true;
    if (reload->patience_usec == 0)
        reload->patience_usec = monotonic_usec() + PATIENCE_USEC;
    if (!waiting_has_stuck(supervisor->waiting) || monotonic_usec() > reload->patience_usec)
        return false;
    look_soon(supervisor);
    return reload->waiter != NULL;
}

static void start_next_socket(struct supervisor *supervisor)
{
    struct serving *next = &supervisor->next;

    if (next->n_started < next->n_sockets) {
        unit_socket_start(next->sockets[next->n_started++]);
        return;
    }
    for (uint32_t i = 0; i < next->n_sockets; i++)
        if (!unit_socket_can_take_over(next->sockets[i])) {
            fail(supervisor);
            return;
        }
    if (has_same_slots(supervisor)) {
        commit(supervisor);
        server_pool_renew(supervisor->pool);
        return;
    }
    if (is_held_up(supervisor))
        return;
    supervisor->reload.state = RELOAD_EMPTYING;
    server_pool_dismiss(supervisor->pool);
    if (server_pool_is_empty(supervisor->pool))
        renew(supervisor);
}

void supervisor_on_socket_of_reload(struct supervisor *supervisor, struct unit_socket *socket)
{
    if (serving_find_socket(&supervisor->next, socket->name) != socket ||
        supervisor->reload.state != RELOAD_STARTING)
        sweep_soon(supervisor);
    else if (socket->state == UNIT_SOCKET_LISTENING)
        start_next_socket(supervisor);
    else
        fail(supervisor);
}

void supervisor_on_servers_of_reload(struct supervisor *supervisor, bool all_ready)
{
    struct reload *reload = &supervisor->reload;

    if (reload->state == RELOAD_RENEWING && all_ready)
        supervisor_end_reload(supervisor, true);
    else if (reload->state == RELOAD_EMPTYING && server_pool_is_empty(supervisor->pool))
        renew(supervisor);
}

void supervisor_reload(struct supervisor *supervisor)
{
    struct reload *reload = &supervisor->reload;
    const struct supervisor_options *options = &supervisor->options;

    if (supervisor->state >= SUPERVISOR_DRAINING)
        return;
    /* Also while sockets stop: one of them may be wanted again. */
    if (supervisor->state == SUPERVISOR_STARTING || reload->state != RELOAD_NONE ||
        supervisor->upgrade.state != UPGRADE_NONE || supervisor->gone != NULL) {
        reload->again = true;
        return;
    }
    reload->state = RELOAD_STARTING;
    reload->patience_usec = 0;
    log_tap_begin(&reload->tap);
    supervisor_tell_reloading(supervisor);
    if (options->reload(options->userdata, supervisor, &supervisor->next.owner) < 0) {
        fail(supervisor);
        return;
    }
    for (uint32_t i = 0; i < supervisor->next.n_sockets; i++) {
        struct unit_socket *socket = supervisor->next.sockets[i];

        socket->is_next = true;
        /* The unit of the same name chooses first. */
        struct unit_socket *before = serving_find_socket(&supervisor->now, socket->name);
        if (before != NULL)
            unit_socket_inherit(socket, before);
    }
    for (uint32_t i = 0; i < supervisor->next.n_sockets; i++) {
        struct unit_socket *socket = supervisor->next.sockets[i];

        for (uint32_t j = 0; j < supervisor->now.n_sockets; j++)
            unit_socket_inherit(socket, supervisor->now.sockets[j]);
        socket->goes_on = unit_socket_is_heir(socket) &&
                          serving_find_socket(&supervisor->now, socket->name) != NULL;
    }
    start_next_socket(supervisor);
}
