/* SPDX-License-Identifier: MIT */
/* hark status for people. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "basic/cleanup.h"
#include "cli/control-client.h"
#include "cli/human.h"
#include "cli/safe-text.h"
#include "cli/status-report.h"

enum unit_column {
    COLUMN_UNIT,
    COLUMN_ADDRESS,
    COLUMN_RUNNING,
    COLUMN_TOTAL,
    COLUMN_FAILED,
    COLUMN_REFUSED,
    COLUMN_RATE,
    COLUMN_P50,
    COLUMN_P99,
};

static const struct table_column unit_columns[] = {
    [COLUMN_UNIT] = {.heading = "UNIT", .minimum = 8},
    [COLUMN_ADDRESS] = {.heading = "ADDRESS", .minimum = 11},
    [COLUMN_RUNNING] = {.heading = "RUNNING", .is_number = true},
    [COLUMN_TOTAL] = {.heading = "TOTAL", .is_number = true, .dispensable = 1},
    [COLUMN_FAILED] = {.heading = "FAILED", .is_number = true, .dispensable = 2},
    [COLUMN_REFUSED] = {.heading = "REFUSED", .is_number = true, .dispensable = 4},
    [COLUMN_RATE] = {.heading = "RATE", .is_number = true, .dispensable = 3},
    [COLUMN_P50] = {.heading = "P50", .is_number = true, .dispensable = 6},
    [COLUMN_P99] = {.heading = "P99", .is_number = true, .dispensable = 5},
};

enum handler_column {
    COLUMN_HANDLER,
    COLUMN_PID,
    COLUMN_AGE,
    COLUMN_PEER,
    COLUMN_STEP,
};

static const struct table_column handler_columns[] = {
    [COLUMN_HANDLER] = {.heading = "HANDLER", .minimum = 12},
    [COLUMN_PID] = {.heading = "PID", .is_number = true},
    [COLUMN_AGE] = {.heading = "AGE", .is_number = true},
    [COLUMN_PEER] = {.heading = "PEER", .minimum = 12, .dispensable = 1},
    [COLUMN_STEP] = {.heading = "STEP", .minimum = 6, .dispensable = 2},
};

/* Never negative: what is counted cannot be. */
static uint64_t count_of(const json_t *object, const char *name)
{
    int64_t value = answer_integer(object, name);

    return value > 0 ? (uint64_t)value : 0;
}

static enum style state_style(const char *state)
{
    if (strcmp(state, "serving") == 0)
        return STYLE_GOOD;
    return strcmp(state, "stopping") == 0 ? STYLE_BAD : STYLE_WARNING;
}

/* "mail: serving, up 3 d 4 h (pid 4242, 4 fork servers, hark 0.1.0)" */
static int print_heading(const struct hark_status *status, const struct screen *screen)
{
    const char *text = answer_text(status->status, "state");
    cleanup_free char *name = safe_text(status->name, 60), *state = safe_text(text, 20);
    cleanup_free char *version = safe_text(answer_text(status->status, "version"), 20);
    size_t n_servers = json_array_size(json_object_get(status->status, "servers"));
    char age[HUMAN_MAX];

    if (!name || !state || !version)
        return -ENOMEM;
    size_t taken = safe_text_columns(name) + strlen(": ") + safe_text_columns(state);
    cleanup_free char *rest = NULL, *shown = NULL;
    if (asprintf(&rest, ", up %s (pid %" PRIu64 ", %zu fork server%s, hark %s)",
                 human_age(count_of(status->status, "uptime_usec"), age),
                 count_of(status->status, "pid"), n_servers, n_servers == 1 ? "" : "s",
                 version) < 0) {
        rest = NULL;
        return -ENOMEM;
    }
    shown = safe_text(rest, screen->columns > taken ? screen->columns - taken : 0);
    if (!shown)
        return -ENOMEM;
    screen_put(screen, STYLE_HEADING, name);
    (void)fputs(": ", screen->out);
    screen_put(screen, state_style(text), state);
    (void)fprintf(screen->out, "%s\n", shown);
    return 0;
}

/* "ListenStream" says nothing: that is what a socket is. */
static const char *kind_name(const char *kind)
{
    static const char *const names[][2] = {
        {"ListenStream", ""},
        {"ListenDatagram", "datagram"},
        {"ListenSequentialPacket", "seqpacket"},
        {"ListenFIFO", "fifo"},
        {"ListenSpecial", "special file"},
        {"ListenNetlink", "netlink"},
        {"ListenMessageQueue", "message queue"},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(kind, names[i][0]) == 0)
            return names[i][1];
    return kind;
}

/* "[::]:53 (datagram, passed)"; NULL when there is no memory. */
static char *make_address(const json_t *listener)
{
    const char *kind = kind_name(answer_text(listener, "kind"));
    bool is_passed = json_is_true(json_object_get(listener, "passed"));
    const char *address = answer_text(listener, "address");
    char *text;

    if (*kind == '\0' && !is_passed)
        return strdup(address);
    if (asprintf(&text, "%s (%s%s%s)", address, kind, *kind != '\0' && is_passed ? ", " : "",
                 is_passed ? "passed" : "") < 0)
        return NULL;
    return text;
}

/* A listener knows its socket unit, "echo.socket", and a unit of handlers is "echo". */
static bool is_of(const json_t *listener, const char *unit)
{
    const char *socket = answer_text(listener, "unit");
    size_t length = strlen(unit);

    return strncmp(socket, unit, length) == 0 &&
           (socket[length] == '\0' || strcmp(socket + length, ".socket") == 0);
}

static int add_address(struct table *table, const json_t *listener)
{
    cleanup_free char *address = make_address(listener);

    if (!address)
        return -ENOMEM;
    table_add(table, COLUMN_ADDRESS, STYLE_NONE, address);
    return 0;
}

/* A row for each listener of the unit; the caller has filled in the first but for its address. */
static int add_listeners(struct table *table, const json_t *listeners, const char *unit)
{
    bool is_first = true;

    for (size_t i = 0; i < json_array_size(listeners); i++) {
        const json_t *listener = json_array_get(listeners, i);
        if (!is_of(listener, unit))
            continue;
        if (!is_first)
            table_end_row(table);
        int r = add_address(table, listener);
        if (r < 0)
            return r;
        is_first = false;
    }
    table_end_row(table);
    return 0;
}

static bool has_unit(const json_t *units, const json_t *listener)
{
    for (size_t i = 0; i < json_array_size(units); i++) {
        const json_t *unit = json_array_get(units, i);
        if (!json_is_true(json_object_get(unit, "leaving")) &&
            is_of(listener, answer_text(unit, "name")))
            return true;
    }
    return false;
}

/* Sockets of a service with another name. */
static int add_other_listeners(struct table *table, const json_t *status)
{
    const json_t *listeners = json_object_get(status, "listeners");
    const json_t *units = json_object_get(status, "units");
    const char *last = "";

    for (size_t i = 0; i < json_array_size(listeners); i++) {
        const json_t *listener = json_array_get(listeners, i);
        const char *name = answer_text(listener, "unit");
        if (has_unit(units, listener))
            continue;
        if (strcmp(last, name) != 0)
            table_add(table, COLUMN_UNIT, STYLE_NONE, name);
        last = name;
        int r = add_address(table, listener);
        if (r < 0)
            return r;
        table_end_row(table);
    }
    return 0;
}

/* Nothing is dim, so that the eye finds something. */
static void add_count(struct table *table, size_t column, uint64_t count, enum style style)
{
    char text[HUMAN_MAX];

    table_add(table, column, count == 0 ? STYLE_DIM : style, human_count(count, text));
}

static void add_duration(struct table *table, size_t column, const json_t *usec)
{
    char text[HUMAN_MAX];
    int64_t value = json_integer_value(usec);

    if (json_is_integer(usec) && value >= 0)
        table_add(table, column, STYLE_NONE, human_duration((uint64_t)value, text));
    else
        table_add(table, column, STYLE_DIM, "-");
}

/* "14/64" */
static void add_running(struct table *table, const json_t *unit)
{
    uint64_t running = count_of(unit, "running"), limit = count_of(unit, "limit");
    char count[HUMAN_MAX], most[HUMAN_MAX], text[2 * HUMAN_MAX];
    enum style style = running == 0 ? STYLE_DIM : STYLE_NONE;

    if (limit == 0) {
        add_count(table, COLUMN_RUNNING, running, STYLE_NONE);
        return;
    }
    (void)snprintf(text, sizeof(text), "%s/%s", human_count(running, count),
                   human_count(limit, most));
    table_add(table, COLUMN_RUNNING, running >= limit ? STYLE_WARNING : style, text);
}

static int add_unit(struct table *table, const json_t *unit, const json_t *listeners)
{
    const char *name = answer_text(unit, "name");
    cleanup_free char *leaving = NULL;
    char rate[HUMAN_MAX];
    double per_second = answer_number(unit, "rate");

    bool is_leaving = json_is_true(json_object_get(unit, "leaving"));
    if (is_leaving && asprintf(&leaving, "%s (leaving)", name) < 0) {
        leaving = NULL;
        return -ENOMEM;
    }
    table_add(table, COLUMN_UNIT, STYLE_NONE, leaving ? leaving : name);
    add_running(table, unit);
    add_count(table, COLUMN_TOTAL, count_of(unit, "running") + count_of(unit, "done"), STYLE_NONE);
    add_count(table, COLUMN_FAILED, count_of(unit, "failed"), STYLE_BAD);
    add_count(table, COLUMN_REFUSED, count_of(unit, "refused"), STYLE_WARNING);
    table_add(table, COLUMN_RATE, per_second > 0 ? STYLE_NONE : STYLE_DIM,
              human_rate(per_second, rate));
    add_duration(table, COLUMN_P50, json_object_get(unit, "p50_usec"));
    add_duration(table, COLUMN_P99, json_object_get(unit, "p99_usec"));
    return add_listeners(table, is_leaving ? NULL : listeners, name);
}

static int print_units(const json_t *status, const struct screen *screen)
{
    const json_t *listeners = json_object_get(status, "listeners");
    cleanup(table_done) struct table table = {0};
    const json_t *units = json_object_get(status, "units");

    table_init(&table, unit_columns, sizeof(unit_columns) / sizeof(unit_columns[0]));
    for (size_t i = 0; i < json_array_size(units); i++) {
        int r = add_unit(&table, json_array_get(units, i), listeners);
        if (r < 0)
            return r;
    }
    int r = add_other_listeners(&table, status);
    return r < 0 ? r : table_print(&table, screen);
}

static int print_failure(const char *text, const struct screen *screen)
{
    static const char label[] = "  last failure: ";
    size_t taken = sizeof(label) - 1;
    size_t room = screen->columns > taken + 8 ? screen->columns - taken : 8;
    cleanup_free char *shown = safe_text(text, screen->columns > 0 ? room : 0);

    if (!shown)
        return -ENOMEM;
    (void)fputs(label, screen->out);
    screen_put(screen, STYLE_BAD, shown);
    (void)fputc('\n', screen->out);
    return 0;
}

/* Of each unit that has one; or else of all, should the units not tell. */
static int print_failures(const json_t *status, const struct screen *screen)
{
    bool is_told = false;
    const json_t *units = json_object_get(status, "units");
    int r = 0;

    for (size_t i = 0; i < json_array_size(units); i++) {
        const char *text = answer_text(json_array_get(units, i), "last_failure");
        if (r == 0 && *text != '\0') {
            r = print_failure(text, screen);
            is_told = true;
        }
    }
    const char *text = answer_text(status, "last_failure");
    return r == 0 && !is_told && *text != '\0' ? print_failure(text, screen) : r;
}

static int print_handlers(const json_t *handlers, const struct screen *screen)
{
    cleanup(table_done) struct table table = {0};
    char text[HUMAN_MAX];

    if (json_array_size(handlers) == 0)
        return 0;
    table_init(&table, handler_columns, sizeof(handler_columns) / sizeof(handler_columns[0]));
    for (size_t i = 0; i < json_array_size(handlers); i++) {
        const json_t *handler = json_array_get(handlers, i);
        cleanup_free char *name = NULL;
        if (asprintf(&name, "%s@%" PRIu64, answer_text(handler, "unit"),
                     count_of(handler, "number")) < 0) {
            name = NULL;
            return -ENOMEM;
        }
        table_add(&table, COLUMN_HANDLER, STYLE_NONE, name);
        (void)snprintf(text, sizeof(text), "%" PRIu64, count_of(handler, "pid"));
        table_add(&table, COLUMN_PID, STYLE_NONE, text);
        table_add(&table, COLUMN_AGE, STYLE_NONE,
                  human_duration(count_of(handler, "age_usec"), text));
        table_add(&table, COLUMN_PEER, STYLE_NONE, answer_text(handler, "peer"));
        table_add(&table, COLUMN_STEP, STYLE_WARNING, answer_text(handler, "step"));
        table_end_row(&table);
    }
    (void)fputc('\n', screen->out);
    return table_print(&table, screen);
}

int status_print_table(const struct hark_statuses *statuses, const struct screen *screen)
{
    bool is_first = true;
    int r = 0;

    for (size_t i = 0; r == 0 && i < statuses->n; i++) {
        const struct hark_status *status = &statuses->list[i];
        if (!status->status)
            continue;
        if (!is_first)
            (void)fputc('\n', screen->out);
        is_first = false;
        r = print_heading(status, screen);
        if (r == 0)
            r = print_units(status->status, screen);
        if (r == 0)
            r = print_failures(status->status, screen);
        if (r == 0 && status->handlers)
            r = print_handlers(status->handlers, screen);
    }
    return r;
}

/* ---- Exits ----------------------------------------------------------------------------------- */

/* "exited with status 1", "was killed by SEGV (core dumped)", as hark's own messages. */
static void put_end(const json_t *exit, const char *status, const struct screen *screen)
{
    const char *code = answer_text(exit, "code");
    bool failed = json_is_true(json_object_get(exit, "failed"));
    char text[80];

    if (strcmp(code, "exited") == 0)
        (void)snprintf(text, sizeof(text), "exited with status %s", status);
    else
        (void)snprintf(text, sizeof(text), "was killed by %s%s", status,
                       strcmp(code, "dumped") == 0 ? " (core dumped)" : "");
    screen_put(screen, failed ? STYLE_BAD : STYLE_NONE, text);
}

static int put_details(const json_t *exit, const struct screen *screen)
{
    cleanup_free char *peer = safe_text(answer_text(exit, "peer"), 200);
    cleanup_free char *step = safe_text(answer_text(exit, "step"), 60);
    cleanup_free char *error = safe_text(answer_text(exit, "error"), 60);
    char time[HUMAN_MAX];

    if (!peer || !step || !error)
        return -ENOMEM;
    (void)fprintf(screen->out, " after %s", human_duration(count_of(exit, "run_time_usec"), time));
    if (*step != '\0')
        (void)fprintf(screen->out, " at step %s%s%s", step, *error != '\0' ? ": " : "", error);
    if (*peer != '\0' && strcmp(peer, "-") != 0)
        (void)fprintf(screen->out, ", peer %s", peer);
    (void)fputc('\n', screen->out);
    return 0;
}

int status_print_exit(const json_t *exit, const char *hark, const struct screen *screen)
{
    cleanup_free char *unit = safe_text(answer_text(exit, "unit"), 100);
    cleanup_free char *status = safe_text(answer_text(exit, "status"), 20);
    cleanup_free char *name = safe_text(hark ? hark : "", 60);
    time_t now = time(NULL);
    struct tm local;
    char clock[16] = "";

    if (!unit || !status || !name)
        return -ENOMEM;
    if (localtime_r(&now, &local))
        (void)strftime(clock, sizeof(clock), "%H:%M:%S", &local);
    screen_put(screen, STYLE_DIM, clock);
    if (hark)
        (void)fprintf(screen->out, " %s:", name);
    (void)fprintf(screen->out, " %s@%" PRIu64 " (pid %" PRIu64 ") ", unit, count_of(exit, "number"),
                  count_of(exit, "pid"));
    put_end(exit, status, screen);
    return put_details(exit, screen);
}
