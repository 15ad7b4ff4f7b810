/* SPDX-License-Identifier: MIT */
#include "unit/service-unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "unit/unit-name.h"
#include "unit/unit-values.h"
#include "unit/words.h"

struct service_unit *service_unit_free(struct service_unit *unit)
{
    if (!unit)
        return NULL;
    command_list_done(&unit->exec_start);
    string_list_done(&unit->sockets);
    exec_context_done(&unit->exec);
    free(unit);
    return NULL;
}

static void free_helper(struct service_unit **unit)
{
    service_unit_free(*unit);
}

static int read_type(const struct value_source *source, void *field)
{
    static const char *const names[] = {
        [SERVICE_SIMPLE] = "simple",
        [SERVICE_EXEC] = "exec",
        [SERVICE_ONESHOT] = "oneshot",
        NULL,
    };
    static const char *const others[] = {"forking", "notify", "notify-reload",
                                         "idle",    "dbus",   NULL};
    int choice = value_choice(source->use->value, names);

    if (choice < 0 && value_choice(source->use->value, others) >= 0) {
        problems_add(
            source->problems, PROBLEM_ERROR, source->use->file, source->use->line,
            "cannot honour \"Type=%s\": not in this version of hark: have the program stay "
            "in the foreground with Type=exec, or keep this unit with systemd",
            source->use->value);
        return UNIT_FAULT;
    }
    if (choice < 0)
        return value_fault(source, "not simple, exec or oneshot");
    *(enum service_type *)field = (enum service_type)choice;
    return 0;
}

static int read_sockets(const struct value_source *source, void *field)
{
    const char *text = source->use->value;
    int result = 0;

    for (;;) {
        cleanup_free char *word = NULL, *name = NULL;
        char quoted[UNIT_QUOTE_MAX];
        int r = word_next(&text, NULL, WORDS_PLAIN, &word);
        if (r == 0 || r == -ENOMEM)
            return r == 0 ? result : r;
        if (r < 0)
            return value_fault(source, "a backslash at the end");
        r = value_expand(source, word, EXPAND_UNIT_NAME, &name);
        if (r == 0) {
            enum unit_name_kind kind = unit_name_classify(name);
            if (kind == UNIT_NAME_INVALID || kind == UNIT_NAME_TEMPLATE ||
                strcmp(unit_name_type(name), "socket") != 0)
                r = value_fault(source, "\"%s\" is not the name of a .socket",
                                unit_quote(name, quoted));
            else
                r = string_list_take(field, take_pointer(&name));
        }
        if (r < 0)
            return r;
        if (r > 0)
            result = r;
    }
}

#define FIELD(name_) offsetof(struct service_unit, name_)

static const struct unit_key keys[] = {
    {"ExecStart", read_commands, FIELD(exec_start)},
    {"NonBlocking", read_boolean, FIELD(non_blocking)},
    {"Sockets", read_sockets, FIELD(sockets)},
    {"Type", read_type, FIELD(type)},
};

/* [X-Hark]. unit-file has read Ignore= by itself. */
static const struct unit_key own_keys[] = {
    {"Ignore", read_nothing, 0},
    {"StayInSession", read_boolean, FIELD(stay_in_session)},
    {"StayOnCPU", read_boolean, FIELD(stay_on_cpu)},
};

/* A part of systemd's service_verify(). */
static void verify(const struct service_unit *unit, struct problems *problems)
{
    const struct directive_use *start =
        unit_file_last_use(unit->file, SECTION_SERVICE, "ExecStart");
    const struct directive_use *type = unit_file_last_use(unit->file, SECTION_SERVICE, "Type");
    bool is_many = unit->exec_start.n > 1 && unit->type != SERVICE_ONESHOT;

    /* A type that is not known has been reported; it may allow several commands. */
    if (unit->exec_start.n == 0 && !unit->file->incomplete && (!start || *start->value == '\0'))
        problems_add(problems, PROBLEM_ERROR, unit->file->main, 0,
                     "\"%s\" runs nothing: add ExecStart=", unit->file->name);
    if (is_many &&
        (!type || strcmp(type->value, "simple") == 0 || strcmp(type->value, "exec") == 0))
        problems_add(problems, PROBLEM_ERROR, start->file, start->line,
                     "\"%s\" has %zu commands in ExecStart=: only with Type=oneshot can it have "
                     "more than one",
                     unit->file->name, unit->exec_start.n);
}

int service_unit_new(const struct unit_file *file, struct problems *problems,
                     struct service_unit **ret_unit)
{
    cleanup(free_helper) struct service_unit *unit = NULL;
    const char *type = unit_name_type(file->name);

    if (!type || strcmp(type, "service") != 0)
        return -EINVAL;
    unit = calloc(1, sizeof(*unit));
    if (!unit)
        return -ENOMEM;
    unit->file = file;
    exec_context_init(&unit->exec);
    struct unit_keys tables[] = {
        {keys, sizeof(keys) / sizeof(keys[0]), unit},
        exec_context_keys(&unit->exec),
    };
    const struct unit_keys own_table = {own_keys, sizeof(own_keys) / sizeof(own_keys[0]), unit};
    int r = unit_values_read(file, SECTION_SERVICE, tables, 2, problems);
    if (r == 0)
        r = unit_values_read(file, SECTION_X_HARK, &own_table, 1, problems);
    if (r < 0)
        return r;
    exec_context_settle(&unit->exec);
    verify(unit, problems);
    *ret_unit = take_pointer(&unit);
    return 0;
}
