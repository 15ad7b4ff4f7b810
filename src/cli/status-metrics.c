/* SPDX-License-Identifier: MIT */
/* hark status as OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/). Only
 * types that Prometheus' older text format knows, too. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/clock.h"
#include "cli/control-client.h"
#include "cli/safe-text.h"
#include "cli/status-report.h"
#include "unit/text.h"
#include "varlink/varlink-message.h"

struct metrics {
    const struct hark_statuses *statuses;
    char **labels; /* of each hark: hark="name" */
    json_t *units; /* an array for each hark */
    uint64_t now_usec;
    FILE *out;
};

/* A sample's labels: those of a hark, and of a unit unless there is none. */
struct labels {
    const char *hark, *unit;
};

/* As it may stand between quotes. NULL when there is no memory. */
static char *escape(const char *value)
{
    cleanup_free char *safe = safe_text(value, 0);
    cleanup(text_done) struct text text = {0};

    if (!safe)
        return NULL;
    for (const char *c = safe; *c != '\0'; c++) {
        if ((*c == '"' || *c == '\\') && text_add_char(&text, '\\') < 0)
            return NULL;
        if (text_add_char(&text, *c) < 0)
            return NULL;
    }
    return text_take(&text);
}

static void put_family(const struct metrics *metrics, const char *name, const char *type,
                       const char *help)
{
    size_t length = strlen(name), unit = strlen("_seconds");

    (void)fprintf(metrics->out, "# TYPE %s %s\n", name, type);
    if (length > unit && strcmp(name + length - unit, "_seconds") == 0)
        (void)fprintf(metrics->out, "# UNIT %s seconds\n", name);
    (void)fprintf(metrics->out, "# HELP %s %s\n", name, help);
}

static void put_sample(const struct metrics *metrics, const char *name, const struct labels *labels,
                       int64_t value)
{
    (void)fprintf(metrics->out, "%s{%s%s%s} %" PRId64 "\n", name, labels->hark,
                  labels->unit ? "," : "", labels->unit ? labels->unit : "", value);
}

/* Microseconds as seconds, in the one way that the specification has for each number. */
static void format_seconds(int64_t usec, char text[40])
{
    char number[32];

    (void)snprintf(number, sizeof(number), "%.15g", (double)usec / (double)USEC_PER_SEC);
    (void)snprintf(text, 40, "%s%s", number, strpbrk(number, ".e") ? "" : ".0");
}

static void put_histogram(const struct metrics *metrics, const struct labels *labels,
                          const json_t *unit)
{
    static const char name[] = "hark_handler_run_time_seconds";
    int64_t n = answer_integer(unit, "done");
    char seconds[40];
    const json_t *buckets = json_object_get(unit, "run_time");

    for (size_t i = 0; i < json_array_size(buckets); i++) {
        const json_t *bucket = json_array_get(buckets, i);
        int64_t count = answer_integer(bucket, "count");
        if (!json_is_object(bucket))
            continue;
        format_seconds(answer_integer(bucket, "up_to_usec"), seconds);
        (void)fprintf(metrics->out, "%s_bucket{%s,%s,le=\"%s\"} %" PRId64 "\n", name, labels->hark,
                      labels->unit, seconds, count);
        if (count > n)
            n = count;
    }
    (void)fprintf(metrics->out, "%s_bucket{%s,%s,le=\"+Inf\"} %" PRId64 "\n", name, labels->hark,
                  labels->unit, n);
    (void)fprintf(metrics->out, "%s_count{%s,%s} %" PRId64 "\n", name, labels->hark, labels->unit,
                  n);
    format_seconds(answer_integer(unit, "run_time_total_usec"), seconds);
    (void)fprintf(metrics->out, "%s_sum{%s,%s} %s\n", name, labels->hark, labels->unit, seconds);
}

/* ---- The families, each: of one unit --------------------------------------------------------- */

static void put_running(const struct metrics *metrics, const struct labels *labels,
                        const json_t *unit)
{
    put_sample(metrics, "hark_handlers_running", labels, answer_integer(unit, "running"));
}

static void put_limit(const struct metrics *metrics, const struct labels *labels,
                      const json_t *unit)
{
    if (json_is_integer(json_object_get(unit, "limit")))
        put_sample(metrics, "hark_handlers_limit", labels, answer_integer(unit, "limit"));
}

static void put_total(const struct metrics *metrics, const struct labels *labels,
                      const json_t *unit)
{
    int64_t failed = answer_integer(unit, "failed"), done = answer_integer(unit, "done");

    (void)fprintf(metrics->out, "hark_handlers_total{%s,%s,result=\"success\"} %" PRId64 "\n",
                  labels->hark, labels->unit, done > failed ? done - failed : 0);
    (void)fprintf(metrics->out, "hark_handlers_total{%s,%s,result=\"failure\"} %" PRId64 "\n",
                  labels->hark, labels->unit, failed);
}

static void put_refused(const struct metrics *metrics, const struct labels *labels,
                        const json_t *unit)
{
    put_sample(metrics, "hark_connections_refused_total", labels, answer_integer(unit, "refused"));
}

static int put_units(const struct metrics *metrics,
                     void (*put)(const struct metrics *metrics, const struct labels *labels,
                                 const json_t *unit))
{
    for (size_t i = 0; i < metrics->statuses->n; i++) {
        const json_t *units = json_array_get(metrics->units, i);
        for (size_t k = 0; k < json_array_size(units); k++) {
            const json_t *unit = json_array_get(units, k);
            cleanup_free char *name = escape(answer_text(unit, "name")), *label = NULL;
            if (!name || asprintf(&label, "unit=\"%s\"", name) < 0) {
                label = NULL;
                return -ENOMEM;
            }
            const struct labels labels = {metrics->labels[i], label};
            put(metrics, &labels, unit);
        }
    }
    return 0;
}

static int put_unit_families(const struct metrics *metrics)
{
    static const struct {
        const char *name, *type, *help;
        void (*put)(const struct metrics *metrics, const struct labels *labels, const json_t *unit);
    } families[] = {
        {"hark_handlers_running", "gauge", "Handlers that run.", put_running},
        {"hark_handlers_limit", "gauge", "How many handlers may run at once.", put_limit},
        {"hark_handlers", "counter", "Handlers that have ended.", put_total},
        {"hark_connections_refused", "counter", "Connections closed without a handler.",
         put_refused},
        {"hark_handler_run_time_seconds", "histogram", "How long handlers have run.",
         put_histogram},
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(families) / sizeof(families[0]); i++) {
        put_family(metrics, families[i].name, families[i].type, families[i].help);
        r = put_units(metrics, families[i].put);
    }
    return r;
}

/* ---- Of one hark ----------------------------------------------------------------------------- */

static void put_up(const struct metrics *metrics, const struct labels *labels,
                   const struct hark_status *status)
{
    put_sample(metrics, "hark_up", labels, status_is_serving(status));
}

static void put_start(const struct metrics *metrics, const struct labels *labels,
                      const struct hark_status *status)
{
    int64_t uptime = answer_integer(status->status, "uptime_usec");
    int64_t msec = ((int64_t)metrics->now_usec - (uptime > 0 ? uptime : 0)) / 1000;

    if (status->status)
        (void)fprintf(metrics->out, "hark_start_time_seconds{%s} %.3f\n", labels->hark,
                      (double)msec / 1000);
}

static void put_servers(const struct metrics *metrics, const struct labels *labels,
                        const struct hark_status *status)
{
    if (status->status)
        put_sample(metrics, "hark_fork_servers", labels,
                   (int64_t)json_array_size(json_object_get(status->status, "servers")));
}

static void put_listeners(const struct metrics *metrics, const struct labels *labels,
                          const struct hark_status *status)
{
    if (status->status)
        put_sample(metrics, "hark_listeners", labels,
                   (int64_t)json_array_size(json_object_get(status->status, "listeners")));
}

static void put_hark_families(const struct metrics *metrics)
{
    static const struct {
        const char *name, *type, *help;
        void (*put)(const struct metrics *metrics, const struct labels *labels,
                    const struct hark_status *status);
    } families[] = {
        {"hark_up", "gauge", "Whether hark serves: 1 or 0.", put_up},
        {"hark_start_time_seconds", "gauge", "When hark was started, since 1970.", put_start},
        {"hark_fork_servers", "gauge", "Processes that create handlers.", put_servers},
        {"hark_listeners", "gauge", "Sockets that are served.", put_listeners},
    };

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        put_family(metrics, families[i].name, families[i].type, families[i].help);
        for (size_t k = 0; k < metrics->statuses->n; k++) {
            const struct labels labels = {.hark = metrics->labels[k]};
            families[i].put(metrics, &labels, &metrics->statuses->list[k]);
        }
    }
}

/* ---- Units of one name ----------------------------------------------------------------------- */

/* After a reload there may be several: those that were replaced have handlers still. No two samples
 * may be of the same labels. */
static json_t *find_unit(const json_t *units, const char *name)
{
    for (size_t i = 0; i < json_array_size(units); i++) {
        json_t *unit = json_array_get(units, i);
        if (strcmp(answer_text(unit, "name"), name) == 0)
            return unit;
    }
    return NULL;
}

static int add_member(json_t *sum, const json_t *other, const char *name)
{
    uint64_t total = (uint64_t)answer_integer(sum, name) + (uint64_t)answer_integer(other, name);

    return json_object_set_new(sum, name, json_integer((json_int_t)total));
}

/* 0, or -1 when there is no memory. */
static int add_unit(json_t *sum, const json_t *other)
{
    static const char *const members[] = {"running", "done", "failed", "refused",
                                          "run_time_total_usec"};
    const json_t *sums = json_object_get(sum, "run_time");
    const json_t *others = json_object_get(other, "run_time");

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (add_member(sum, other, members[i]) < 0)
            return -1;
    for (size_t i = 0; i < json_array_size(sums); i++) {
        json_t *bucket = json_array_get(sums, i);
        if (json_is_object(bucket) && add_member(bucket, json_array_get(others, i), "count") < 0)
            return -1;
    }
    return 0;
}

/* A copy in which each name is there once. NULL when there is no memory. */
static json_t *make_units(const json_t *status)
{
    cleanup(varlink_json_unref) json_t *units = json_array();
    const json_t *all = json_object_get(status, "units");

    for (size_t i = 0; units && i < json_array_size(all); i++) {
        json_t *unit = json_array_get(all, i);
        json_t *sum = find_unit(units, answer_text(unit, "name"));
        if (!json_is_object(unit))
            continue;
        if ((sum && add_unit(sum, unit) < 0) ||
            (!sum && json_array_append_new(units, json_deep_copy(unit)) < 0))
            return NULL;
    }
    return take_pointer(&units);
}

/* By name; by path where an earlier one has the name: no two samples may be of the same labels. */
static char *make_label(const struct hark_statuses *statuses, size_t i)
{
    const char *value = statuses->list[i].name;
    char *label;

    for (size_t k = 0; k < i; k++)
        if (strcmp(statuses->list[k].name, statuses->list[i].name) == 0)
            value = statuses->list[i].path;
    cleanup_free char *escaped = escape(value);
    if (!escaped || asprintf(&label, "hark=\"%s\"", escaped) < 0)
        return NULL;
    return label;
}

int status_print_metrics(const struct hark_statuses *statuses, uint64_t now_usec, FILE *out)
{
    cleanup(string_list_done) struct string_list labels = {0};
    cleanup(varlink_json_unref) json_t *units = json_array();

    for (size_t i = 0; i < statuses->n; i++) {
        char *label = make_label(statuses, i);
        int r = label ? string_list_take(&labels, label) : -ENOMEM;
        if (r == 0 && json_array_append_new(units, make_units(statuses->list[i].status)) < 0)
            r = -ENOMEM;
        if (r < 0)
            return r;
    }
    const struct metrics metrics = {.statuses = statuses,
                                    .labels = labels.items,
                                    .units = units,
                                    .now_usec = now_usec,
                                    .out = out};
    put_hark_families(&metrics);
    int r = put_unit_families(&metrics);
    (void)fprintf(out, "# EOF\n");
    return r;
}
