/* SPDX-License-Identifier: MIT */
/* What harks answer, asked for and shown in the ways of hark status. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/table.h"
#include "unit/string-list.h"

/* One hark. */
struct hark_status {
    char *name;       /* what it calls itself; of one that has not answered, what it was asked by */
    char *path;       /* of its socket */
    json_t *status;   /* what GetStatus answers; NULL: it has not answered */
    json_t *handlers; /* an array; NULL: not asked for */
};

struct hark_statuses {
    struct hark_status *list;
    size_t n;
};

struct status_query {
    const char *argument; /* as control_find() */
    uint64_t timeout_usec;
    bool handlers; /* too */
};

/* 0; -ENOENT when there is no such hark, or none; -ENOMEM, which adds no problem; any other
 * negative errno when one has not answered. ret_statuses is set but for -ENOMEM. */
int statuses_get(const struct status_query *query, struct hark_statuses *ret_statuses,
                 struct string_list *problems);
void statuses_done(struct hark_statuses *statuses);

/* Whether it serves: not before, not when it ends. */
bool status_is_serving(const struct hark_status *status);

/* Each: 0 or -ENOMEM. What has not answered is left out, but for metrics, where it is not up. */
int status_print_table(const struct hark_statuses *statuses, const struct screen *screen);
int status_print_json(const struct hark_statuses *statuses, FILE *out);
/* OpenMetrics 1.0. now_usec: of the clock that people use, for the times of start. */
int status_print_metrics(const struct hark_statuses *statuses, uint64_t now_usec, FILE *out);
/* A line about an exit; hark is NULL where there is one only. */
int status_print_exit(const json_t *exit, const char *hark, const struct screen *screen);

/* For hark status --watch and --follow: they end with an exit status. */
int status_watch(const struct status_query *query, uint64_t interval_usec);
int status_follow(const struct status_query *query, bool is_json);

/* Standard output, as it is now. ret_rows may be NULL; 0: what is no terminal, or cannot be drawn
 * on. */
void status_screen(struct screen *ret_screen, size_t *ret_rows);
/* Says each problem; the exit status for the result of statuses_get() and its like. */
int status_end(int result, const struct string_list *problems);
