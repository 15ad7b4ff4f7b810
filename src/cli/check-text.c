/* SPDX-License-Identifier: MIT */
/* The report of hark check for people. Columns are counted in characters. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "cli/check-report.h"
#include "cli/problem-lines.h"
#include "cli/safe-text.h"

#define WIDTH       100
#define VALUE_MIN   24
#define NOTE_MAX    96
#define PREFIX_SIZE 64

static int out_of_memory(void)
{
    return -ENOMEM;
}

/* What is said behind a value, with a blank in front, or "". */
static int describe_use(const struct check_report *report, const struct directive_use *use,
                        const struct condition *condition, char note[NOTE_MAX])
{
    enum check_state state;
    int error;

    note[0] = '\0';
    if (use->directive && use->directive->since > 0)
        (void)snprintf(note, NOTE_MAX, " (systemd %d)", use->directive->since);
    if (!condition)
        return 0;
    int r = check_condition(report, condition, &state, &error);
    if (r < 0)
        return r;
    if (state == CHECK_UNKNOWN)
        (void)snprintf(note, NOTE_MAX, " (not met: %s)", strerror(-error));
    else if (state == CHECK_PER_CONNECTION)
        (void)snprintf(note, NOTE_MAX, " (asked for each connection)");
    else
        (void)snprintf(note, NOTE_MAX, " (%s)", state == CHECK_MET ? "met now" : "not met now");
    return 0;
}

/* "    12  honoured     [Socket]  ListenStream=/run/foo.sock" */
static int print_use(const struct check_report *report, const struct check_unit *unit,
                     const struct directive_use *use, const struct condition *condition)
{
    cleanup_free char *expanded = NULL, *whole = NULL, *shown = NULL;
    char prefix[PREFIX_SIZE], section[16], note[NOTE_MAX];
    int r = describe_use(report, use, condition, note);

    if (r < 0)
        return r;
    (void)snprintf(section, sizeof(section), "[%s]", directive_section_name(use->section));
    (void)snprintf(prefix, sizeof(prefix), "%7u  %-11s  %-9s  ", use->line,
                   check_verdict(report, unit, use), section);
    expanded = problems_show(report->problems, use->expanded ? use->expanded : use->value);
    if (!expanded || asprintf(&whole, "%s=%s", use->key, expanded) < 0) {
        whole = NULL;
        return out_of_memory();
    }
    size_t taken = safe_text_columns(prefix) + safe_text_columns(note);
    shown = safe_text(whole, taken + VALUE_MIN < WIDTH ? WIDTH - taken : VALUE_MIN);
    if (!shown)
        return out_of_memory();
    printf("%s%s%s\n", prefix, shown, note);
    return 0;
}

static int print_file_name(const char *file)
{
    cleanup_free char *shown = safe_text(file, 0);

    if (!shown)
        return out_of_memory();
    printf("  %s\n", shown);
    return 0;
}

static int print_heading(const struct check_unit *unit)
{
    const struct string_list *aliases = &unit->files->aliases;
    size_t n = 0;

    printf("%s", unit->name);
    for (size_t i = 0; i < aliases->n; i++)
        if (!strchr(unit->name, '@') && strcmp(aliases->items[i], unit->name) != 0)
            printf("%s%s", n++ == 0 ? ", also called " : ", ", aliases->items[i]);
    printf("\n");
    return 0;
}

static int print_unit(const struct check_report *report, const struct check_unit *unit)
{
    const char *file = NULL;
    size_t cursor = 0;
    int r = print_heading(unit);

    if (r == 0 && unit->file->n_uses == 0)
        r = print_file_name(unit->file->main);
    for (size_t i = 0; i < unit->file->n_uses && r == 0; i++) {
        const struct directive_use *use = &unit->file->uses[i];
        if (!file || strcmp(file, use->file) != 0)
            r = print_file_name(use->file);
        file = use->file;
        if (r == 0)
            r = print_use(report, unit, use, check_find_condition(unit, use, &cursor));
    }
    printf("\n");
    return r;
}

static int print_run_without(const struct check_unit *unit)
{
    cleanup(string_list_done) struct string_list keys = {0};
    int r = check_run_without(unit, &keys);

    if (r < 0 || keys.n == 0)
        return r;
    printf("%s: run without", unit->name);
    for (size_t i = 0; i < keys.n; i++) {
        cleanup_free char *key = safe_text(keys.items[i], 0);
        if (!key)
            return out_of_memory();
        printf("%s %s=", i > 0 ? "," : "", key);
    }
    printf("\n");
    return 0;
}

static int print_pair(const struct check_report *report, size_t i)
{
    cleanup_free char *unmet = NULL;
    struct check_pair pair;
    int r = check_pair_get(report, i, &pair);

    if (r < 0)
        return r;
    printf("%s %s%s: ", pair.socket, pair.service ? "with " : "without a service",
           pair.service ? pair.service : "");
    if (pair.unmet) {
        unmet = safe_text(pair.unmet->value, 40);
        if (!unmet)
            return out_of_memory();
        printf("%s: \"%s=%s\" is not met\n",
               pair.is_runnable ? "would run, but not now" : "would not run now", pair.unmet->key,
               unmet);
    } else if (pair.is_runnable) {
        printf("would run\n");
    } else {
        printf("would not run: %zu error%s%s\n", pair.n_errors, pair.n_errors == 1 ? "" : "s",
               report->problems->n_dropped > 0 ? " or more" : "");
    }
    return 0;
}

static void print_line(enum problem_severity severity, const char *line)
{
    (void)severity;
    printf("%s\n", line);
}

int check_print_text(const struct check_report *report)
{
    size_t n_units = check_unit_count(report);
    struct problem_counts counts = {0};
    int r = 0;

    for (size_t i = 0; i < n_units && r == 0; i++) {
        struct check_unit unit = check_unit_get(report, i);
        r = print_unit(report, &unit);
    }
    if (r == 0)
        r = problem_lines(report->problems, print_line, &counts);
    for (size_t i = 0; i < n_units && r == 0; i++) {
        struct check_unit unit = check_unit_get(report, i);
        r = print_run_without(&unit);
    }
    if (r == 0 && report->problems->n > 0)
        printf("\n");
    for (size_t i = 0; i < report->set->n_sockets && r == 0; i++)
        r = print_pair(report, i);
    if (r == 0 && report->problems->n_errors > 0)
        printf("hark would not start: %zu error%s%s\n", counts.n_errors,
               counts.n_errors == 1 ? "" : "s", report->problems->n_dropped > 0 ? " or more" : "");
    return r;
}
