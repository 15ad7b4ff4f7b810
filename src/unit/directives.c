/* SPDX-License-Identifier: MIT */
#include "unit/directives.h"

#include <stdlib.h>
#include <string.h>

#include "unit/process-values.h"
#include "unit/values.h"

static const struct {
    enum directive_section section;
    const char *name;
} sections[] = {
    {SECTION_UNIT, "Unit"},       {SECTION_INSTALL, "Install"}, {SECTION_SOCKET, "Socket"},
    {SECTION_SERVICE, "Service"}, {SECTION_X_HARK, "X-Hark"},
};

static int compare_name(const void *name, const void *directive)
{
    return strcmp(name, ((const struct directive *)directive)->name);
}

const struct directive *directive_find(enum directive_section section, const char *name)
{
    size_t n;
    const struct directive *table = directive_table(&n);
    const struct directive *found = bsearch(name, table, n, sizeof(*table), compare_name);

    if (!found)
        return NULL;
    while (found > table && strcmp(found[-1].name, name) == 0) /* one per meaning of the name */
        found--;
    for (; found < table + n && strcmp(found->name, name) == 0; found++)
        if (found->sections & section)
            return found;
    return NULL;
}

/* Whether two texts are the same value. */
static bool is_same(enum directive_neutral kind, const char *a, const char *b)
{
    bool yes_a, yes_b;
    uint64_t usec_a, usec_b;
    int signal_a, signal_b;

    if (strcmp(a, b) == 0)
        return true;
    switch (kind) {
    case NEUTRAL_BOOLEAN:
        return value_boolean(a, &yes_a) == 0 && value_boolean(b, &yes_b) == 0 && yes_a == yes_b;
    case NEUTRAL_TIME:
        return value_time(a, &usec_a) == 0 && value_time(b, &usec_b) == 0 && usec_a == usec_b;
    case NEUTRAL_SIGNAL:
        return value_signal(a, &signal_a) == 0 && value_signal(b, &signal_b) == 0 &&
               signal_a == signal_b;
    default:
        return false;
    }
}

bool directive_is_neutral(const struct directive *directive, const char *value)
{
    for (const char *p = directive->neutral; p; p = *p == '|' ? p + 1 : NULL) {
        char neutral[64] = "";
        size_t length = strcspn(p, "|");

        if (length < sizeof(neutral))
            memcpy(neutral, p, length);
        if (is_same(directive->neutral_kind, neutral, value))
            return true;
        p += length;
    }
    return false;
}

unsigned directive_section_from_name(const char *name)
{
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
        if (strcmp(sections[i].name, name) == 0)
            return sections[i].section;
    return 0;
}

const char *directive_section_name(enum directive_section section)
{
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
        if (sections[i].section == section)
            return sections[i].name;
    return NULL;
}

const char *directive_group_name(enum directive_group group)
{
    static const char *const names[] = {
        [GROUP_UNIT] = "unit",     [GROUP_INSTALL] = "install",
        [GROUP_SOCKET] = "socket", [GROUP_SERVICE] = "service",
        [GROUP_EXEC] = "exec",     [GROUP_KILL] = "kill",
        [GROUP_X_HARK] = "x-hark", [GROUP_RESOURCE_CONTROL] = "resource-control",
    };

    return names[group];
}

const char *directive_class_name(enum directive_class class)
{
    static const char *const names[] = {
        [CLASS_HONOURED] = "honoured",
        [CLASS_HARMLESS] = "harmless",
        [CLASS_REFUSED] = "refused",
        [CLASS_REFUSED_UNLESS_NEUTRAL] = "refused unless neutral",
    };

    return names[class];
}
