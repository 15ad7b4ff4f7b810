/* SPDX-License-Identifier: MIT */
/* Any bytes as a socket unit, and as a service: both are made, with defaults where nothing could be
 * read, and every error is about a line that exists. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "unit/conditions.h"
#include "unit/service-unit.h"
#include "unit/socket-unit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct unit_file *unit, const struct problems *problems, size_t max_lines)
{
    size_t n_refused = 0;

    for (size_t i = 0; i < unit->n_uses; i++)
        n_refused +=
            unit->uses[i].verdict == VERDICT_REFUSED || unit->uses[i].verdict == VERDICT_UNKNOWN;
    if (problems->n_errors < n_refused)
        abort();
    for (size_t i = 0; i < problems->n; i++)
        if (problems->list[i].line > max_lines || !*problems->list[i].text)
            abort();
}

static void check_socket(const struct unit_file *file, struct problems *problems)
{
    struct socket_unit *unit;

    if (socket_unit_new(file, problems, &unit) < 0 || !unit->service || !unit->fd_name)
        abort();
    if (unit->listeners.n == 0 && problems->n_errors == 0)
        abort();
    socket_unit_free(unit);
}

static void check_service(const struct unit_file *file, struct problems *problems)
{
    struct service_unit *unit;

    if (service_unit_new(file, problems, &unit) < 0)
        abort();
    service_unit_free(unit);
}

static void check_conditions(const struct unit_file *file, struct problems *problems)
{
    struct condition_list list;

    if (conditions_read(file, problems, &list) < 0)
        abort();
    for (size_t i = 0; i < list.n; i++)
        if (!list.items[i].parameter || !list.items[i].key)
            abort();
    conditions_done(&list);
}

static void run(const char *name, const uint8_t *data, size_t size)
{
    struct unit_source source = {.file = "fuzz", .data = (const char *)data, .size = size};
    struct unit_file_options options = {0};
    struct problems problems = {0};
    struct unit_file *file;

    if (unit_file_from_text(&options, name, &source, &problems, &file) < 0)
        abort();
    if (strcmp(name, "a@b.socket") == 0)
        check_socket(file, &problems);
    else
        check_service(file, &problems);
    check_conditions(file, &problems);
    check(file, &problems, size + 1);
    unit_file_free(file);
    problems_done(&problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536) /* specifiers could make it larger than a unit may be */
        return 0;
    run("a@b.socket", data, size);
    run("a@b.service", data, size);
    return 0;
}
