/* SPDX-License-Identifier: MIT */
#include "supervisor/control-status.h"

#include <string.h>
#include <unistd.h>

#include "basic/clock.h"
#include "basic/signals.h"
#include "supervisor/supervisor-state.h"
#include "unit/socket-unit.h"

/* For json_pack's "o?": null without one. */
static json_t *text_or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? json_string(text) : json_null();
}

/* Names of units and paths may hold anything but a NUL: what is not UTF-8 is replaced. */
static json_t *any_text(const char *text)
{
    json_t *json = json_string(text);

    if (json != NULL)
        return json;
    char *copy = strdup(text);
    for (char *p = copy; p != NULL && *p != '\0'; p++)
        if ((unsigned char)*p >= 128)
            *p = '?';
    json = copy != NULL ? json_string(copy) : NULL;
    free(copy);
    return json;
}

static json_t *number_or_null(bool is_known, uint64_t number)
{
    return is_known ? json_integer((json_int_t)number) : json_null();
}

const char *control_state(const struct supervisor *supervisor)
{
    switch (supervisor->state) {
    case SUPERVISOR_STARTING:
        return "starting";
    case SUPERVISOR_DRAINING:
        return "draining";
    case SUPERVISOR_STOPPING:
        return "stopping";
    default:
        return supervisor->reload.state != RELOAD_NONE ? "reloading" : "serving";
    }
}

/* ---- Listeners and units --------------------------------------------------------------------- */

static const char *const kinds[] = {
    [LISTENER_STREAM] = "ListenStream",
    [LISTENER_DATAGRAM] = "ListenDatagram",
    [LISTENER_SEQPACKET] = "ListenSequentialPacket",
    [LISTENER_FIFO] = "ListenFIFO",
    [LISTENER_SPECIAL] = "ListenSpecial",
    [LISTENER_NETLINK] = "ListenNetlink",
    [LISTENER_MESSAGE_QUEUE] = "ListenMessageQueue",
};

/* The name of the unit that its traffic starts. */
static json_t *started_unit(const struct supervisor *supervisor, const struct unit_socket *socket)
{
    for (uint32_t i = 0; i < supervisor->now.n_units; i++) {
        const struct unit *unit = supervisor->now.units[i];

        for (size_t j = 0; !unit->is_leaving && j < unit->n_sockets; j++)
            if (unit->sockets[j] == socket && unit->starts[j])
                return any_text(unit->name);
    }
    return json_null();
}

static json_t *listener_json(const struct supervisor *supervisor, const struct unit_socket *socket,
                             size_t index)
{
    const struct listener *listener = socket->listeners[index].listener;
    const char *kind =
        socket->unit != NULL ? kinds[socket->unit->listeners.items[index].kind] : NULL;

    return json_pack("{so so so so sb}", "unit", started_unit(supervisor, socket), "socket",
                     any_text(socket->name), "kind", text_or_null(kind), "address",
                     any_text(listener_address(listener)), "passed", listener_was_passed(listener));
}

/* Takes the item; false when there is no memory. */
static bool append(json_t *array, json_t *item)
{
    return json_array_append_new(array, item) == 0;
}

static json_t *listeners_json(const struct supervisor *supervisor)
{
    json_t *array = json_array();
    bool good = array != NULL;

    for (uint32_t i = 0; i < supervisor->now.n_sockets; i++) {
        const struct unit_socket *socket = supervisor->now.sockets[i];

        for (size_t j = 0; j < socket->n_listeners && good; j++)
            if (socket->listeners[j].listener != NULL)
                good = append(array, listener_json(supervisor, socket, j));
    }
    if (good)
        return array;
    json_decref(array);
    return NULL;
}

static json_t *run_times_json(const struct statistics *statistics)
{
    json_t *array = json_array();
    uint64_t n = 0;

    for (size_t i = 0; i < STATISTICS_RUN_TIMES && array != NULL; i++) {
        n += statistics->run_times[i];
        if (!append(array, json_pack("{sI sI}", "up_to_usec", (json_int_t)statistics_run_times[i],
                                     "count", (json_int_t)n))) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *unit_json(const struct supervisor *supervisor, const struct unit *unit)
{
    const struct statistics *statistics = &unit->statistics;
    const struct slots_unit *slots = &supervisor->slots->units[unit->index];
    uint64_t p50 = 0, p99 = 0;
    bool some = statistics_percentile(statistics, 500, &p50) &&
                statistics_percentile(statistics, 990, &p99);

    return json_pack(
        "{so sb sb si so sI sI sI sf so so so so sI}", "name", any_text(unit->name), "accept",
        unit->config.accept, "leaving", unit->is_leaving, "running",
        (int)slots_used(supervisor->slots, unit->index), "limit",
        number_or_null(unit->config.accept && !unit->is_leaving, unit->max_connections), "done",
        (json_int_t)statistics->done, "failed", (json_int_t)statistics->failed, "refused",
        (json_int_t)atomic_load(&slots->refused), "rate",
        statistics_rate(statistics, monotonic_usec()), "p50_usec", number_or_null(some, p50),
        "p99_usec", number_or_null(some, p99), "last_failure",
        text_or_null(statistics->last_failure), "run_time", run_times_json(statistics),
        "run_time_total_usec", (json_int_t)statistics->run_time_usec);
}

static json_t *units_json(const struct supervisor *supervisor)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < supervisor->now.n_units && array != NULL; i++) {
        const struct unit *unit = supervisor->now.units[i];

        /* Until the next reload it keeps its place, with nothing in it. */
        if (unit->is_leaving && slots_used(supervisor->slots, i) == 0)
            continue;
        if (!append(array, unit_json(supervisor, unit))) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *servers_json(const struct supervisor *supervisor)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < supervisor->options.n_servers && array != NULL; i++) {
        pid_t pid = server_pool_pid(supervisor->pool, i);

        if (pid != 0 && !append(array, json_integer(pid))) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

json_t *control_status(const struct supervisor *supervisor, const char *name)
{
    const struct report *report = &supervisor->report;

    return json_pack("{so ss si ss sI so si sI sI so so so}", "name", any_text(name), "version",
                     HARK_VERSION, "pid", (int)getpid(), "state", control_state(supervisor),
                     "uptime_usec", (json_int_t)(monotonic_usec() - supervisor->start_usec),
                     "servers", servers_json(supervisor), "running",
                     (int)supervisor_count_running(supervisor), "done", (json_int_t)report->done,
                     "failed", (json_int_t)report->failed, "last_failure",
                     text_or_null(report->last_failure), "listeners", listeners_json(supervisor),
                     "units", units_json(supervisor));
}

/* ---- Handlers -------------------------------------------------------------------------------- */

static json_t *peer_json(const struct peer *peer)
{
    char text[PEER_TEXT_MAX];

    if (peer->family == AF_UNSPEC)
        return json_null();
    peer_format(peer, text);
    return any_text(text);
}

static json_t *handler_json(const struct spawn_record *record, const char *unit, uint64_t now)
{
    enum spawn_step step = (enum spawn_step)atomic_load(&record->step);
    uint64_t age = now > record->start_usec ? now - record->start_usec : 0;

    return json_pack("{so sI si so sI so}", "unit", any_text(unit), "number",
                     (json_int_t)record->number, "pid", (int)atomic_load(&record->pid), "peer",
                     peer_json(&record->peer), "age_usec", (json_int_t)age, "step",
                     text_or_null(step < SPAWN_EXEC ? spawn_step_name(step) : NULL));
}

json_t *control_handlers(const struct supervisor *supervisor, const char *unit)
{
    const struct slots *slots = supervisor->slots;
    uint64_t now = monotonic_usec();
    json_t *array = json_array();

    for (uint32_t i = 0; i < slots->header->n_slots && array != NULL; i++) {
        const struct spawn_record *record = &slots->records[i];
        const char *name = supervisor->now.units[slots_unit_of(slots, i)]->name;

        if (atomic_load(&record->pid) <= 0 || atomic_load(&record->step) <= SPAWN_ADMISSION ||
            (unit != NULL && strcmp(unit, name) != 0))
            continue;
        if (!append(array, handler_json(record, name, now))) {
            json_decref(array);
            return NULL;
        }
    }
    return array != NULL ? json_pack("{so}", "handlers", array) : NULL;
}

json_t *control_exit(const char *unit, const struct spawn_record *record,
                     const struct handler_exit *end, bool failed)
{
    char status[SIGNAL_NAME_MAX];
    const char *code = report_describe_code(end, status);
    const char *error = record->error != 0 ? strerrorname_np(record->error) : NULL;
    const char *step = record->error != 0 ? spawn_step_name((enum spawn_step)record->step) : NULL;

    return json_pack("{so sI si ss ss sb sI so so so}", "unit", any_text(unit), "number",
                     (json_int_t)record->number, "pid", (int)end->pid, "code", code, "status",
                     status, "failed", failed, "run_time_usec",
                     (json_int_t)report_run_time(record, end), "peer", peer_json(&record->peer),
                     "step", text_or_null(step), "error", text_or_null(error));
}
