/* SPDX-License-Identifier: MIT */
/* The report of hark check for programs; hark(1) describes it. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "basic/cleanup.h"
#include "cli/check-report.h"
#include "cli/safe-text.h"

/* Of the form of the object, not of hark: grows when something is no longer as it was. */
#define FORMAT_VERSION 1

static void decref_helper(json_t **json)
{
    json_decref(*json);
}
#define cleanup_json cleanup(decref_helper)

/* json_pack() passes a missing part on as its own failure, and frees the others. */

static json_t *make_text(const char *text)
{
    cleanup_free char *valid = NULL;

    if (!text)
        return json_null();
    valid = valid_text(text);
    return valid ? json_string(valid) : NULL;
}

static json_t *make_shown(const struct check_report *report, const char *text)
{
    cleanup_free char *shown = NULL;

    if (!text)
        return json_null();
    shown = problems_show(report->problems, text);
    return shown ? make_text(shown) : NULL;
}

static json_t *make_list(const struct string_list *list)
{
    cleanup_json json_t *array = json_array();

    for (size_t i = 0; array && i < list->n; i++)
        if (json_array_append_new(array, make_text(list->items[i])) < 0)
            return NULL;
    return take_pointer(&array);
}

/* true, false, or null for what depends on the connection; NULL when there is no memory. */
static json_t *make_met(const struct check_report *report, const struct condition *condition)
{
    enum check_state state;
    int error;

    if (check_condition(report, condition, &state, &error) < 0)
        return NULL;
    if (state == CHECK_PER_CONNECTION)
        return json_null();
    return json_boolean(state == CHECK_MET);
}

static json_t *make_use(const struct check_report *report, const struct check_unit *unit,
                        const struct directive_use *use, const struct condition *condition)
{
    const struct directive *directive = use->directive;
    bool is_refused =
        directive && (use->verdict == VERDICT_REFUSED || use->verdict == VERDICT_IGNORED);
    cleanup_json json_t *json = json_pack(
        "{s:o, s:i, s:s, s:o, s:o, s:o, s:s, s:o, s:o}", "file", make_text(use->file), "line",
        (int)use->line, "section", directive_section_name(use->section), "key", make_text(use->key),
        "value", make_text(use->value), "expanded", make_shown(report, use->expanded), "verdict",
        check_verdict(report, unit, use), "since",
        directive && directive->since > 0 ? json_integer(directive->since) : json_null(), "instead",
        make_text(is_refused ? directive->instead : NULL));

    if (json && condition && json_object_set_new(json, "met", make_met(report, condition)) < 0)
        return NULL;
    return take_pointer(&json);
}

static json_t *make_problem(const struct problem *problem)
{
    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "severity",
                     problem->severity == PROBLEM_ERROR ? "error" : "warning", "unit",
                     make_text(problem->unit), "file", make_text(problem->file), "line",
                     problem->line > 0 ? json_integer(problem->line) : json_null(), "text",
                     make_text(problem->text));
}

/* Of one unit, or all of them. */
static json_t *make_problems(const struct check_report *report, const char *unit)
{
    cleanup_json json_t *array = json_array();

    for (size_t i = 0; array && i < report->problems->n; i++) {
        const struct problem *problem = &report->problems->list[i];
        bool is_wanted = unit ? problem->unit && strcmp(problem->unit, unit) == 0
                              : !problems_is_repeated(report->problems, i);
        if (is_wanted && json_array_append_new(array, make_problem(problem)) < 0)
            return NULL;
    }
    return take_pointer(&array);
}

static json_t *make_files(const struct check_unit *unit)
{
    cleanup_json json_t *array = make_list(&unit->files->drop_ins);

    if (!array || json_array_insert_new(array, 0, make_text(unit->file->main)) < 0)
        return NULL;
    return take_pointer(&array);
}

static json_t *make_without(const struct check_unit *unit)
{
    cleanup(string_list_done) struct string_list keys = {0};

    return check_run_without(unit, &keys) < 0 ? NULL : make_list(&keys);
}

static json_t *make_pairs(const struct check_report *report)
{
    cleanup_json json_t *array = json_array();

    for (size_t i = 0; array && i < report->set->n_sockets; i++) {
        struct check_pair pair;
        if (check_pair_get(report, i, &pair) < 0)
            return NULL;
        json_t *json =
            json_pack("{s:o, s:o, s:b, s:i, s:b, s:b}", "socket", make_text(pair.socket), "service",
                      make_text(pair.service), "accept", pair.accept, "errors", (int)pair.n_errors,
                      "runnable", pair.is_runnable, "met", pair.unmet == NULL);
        if (json_array_append_new(array, json) < 0)
            return NULL;
    }
    return take_pointer(&array);
}

/* jansson leaves DEL alone, which only strings can have. What goes wrong with the stream shows at
 * its end. */
static int write_part(const char *part, size_t size, void *unused)
{
    (void)unused;
    while (size > 0) {
        const char *next = memchr(part, 0x7f, size);
        size_t length = next ? (size_t)(next - part) : size;
        (void)fwrite(part, 1, length, stdout);
        if (next)
            printf("\\u007F");
        length += next != NULL;
        part += length;
        size -= length;
    }
    return 0;
}

/* Writes a value and frees it. */
static int print_value(const char *before, json_t *value)
{
    if (!value)
        return -ENOMEM;
    printf("%s", before);
    /* Nothing but ASCII: it may be looked at on a terminal. */
    int r = json_dump_callback(value, write_part, NULL, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    json_decref(value);
    return r < 0 ? -ENOMEM : 0;
}

static int print_uses(const struct check_report *report, const struct check_unit *unit)
{
    size_t cursor = 0;
    int r = 0;

    for (size_t i = 0; i < unit->file->n_uses && r == 0; i++) {
        const struct directive_use *use = &unit->file->uses[i];
        const struct condition *condition = check_find_condition(unit, use, &cursor);
        r = print_value(i > 0 ? ",\n    " : "\n    ", make_use(report, unit, use, condition));
    }
    return r;
}

static int print_unit(const struct check_report *report, const struct check_unit *unit)
{
    int r = print_value("\n  {\"name\": ", make_text(unit->name));

    if (r == 0)
        r = print_value(",\n   \"files\": ", make_files(unit));
    printf(",\n   \"keys\": [");
    if (r == 0)
        r = print_uses(report, unit);
    if (r == 0)
        r = print_value("],\n   \"run_without\": ", make_without(unit));
    if (r == 0)
        r = print_value(",\n   \"problems\": ", make_problems(report, unit->name));
    printf("}");
    return r;
}

/* Part by part: a unit may have very many lines. */
int check_print_json(const struct check_report *report)
{
    size_t n_units = check_unit_count(report);
    int r = 0;

    printf("{\"version\": %d,\n \"hark\": \"%s\",\n \"units\": [", FORMAT_VERSION, HARK_VERSION);
    for (size_t i = 0; i < n_units && r == 0; i++) {
        struct check_unit unit = check_unit_get(report, i);
        printf("%s", i > 0 ? "," : "");
        r = print_unit(report, &unit);
    }
    if (r == 0)
        r = print_value("],\n \"pairs\": ", make_pairs(report));
    if (r == 0)
        r = print_value(",\n \"problems\": ", make_problems(report, NULL));
    if (r == 0)
        r = print_value(",\n \"problems_dropped\": ",
                        json_integer((json_int_t)report->problems->n_dropped));
    if (r == 0)
        r = check_is_runnable(report);
    if (r >= 0)
        r = print_value(",\n \"runnable\": ", json_boolean(r));
    printf("}\n");
    return r;
}
